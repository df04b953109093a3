"""What the HTTP applications ask of the node: three Protocols and their frozen answers. No code.

The node implements them over ledger, store and mesh; tests implement them over a dict. Identifiers are
text here: digests and request ids in lower-case hex, node ids in base32, times in POSIX milliseconds.
A method that knows the thing but cannot give it raises `errors.Refusal`; one that does not know it
answers None or an empty sequence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from pyrsia.status import BuildStatus, EntryStatus, NodeStatus, PeerStatus


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """One file that the log publishes under a project name (an `artifact.add`).

    Attributes:
        name: the normalised project name.
        size: bytes of the file; whatever is served has exactly these many.
        upload_time_ms: block time of the entry.
        requires_python: the metadata's field, "" if it has none.
        metadata_sha256: digest of the METADATA file that `Catalog.metadata` gives, "" if there is none.
        yanked: why installers should pass over it, "" if they should not.
        upstream: how the file stands to upstream's: identical, equivalent, different or none.
    """

    filename: str
    sha256: str
    size: int
    upload_time_ms: int
    purl: str
    name: str
    version: str
    verdict: str
    log_index: int
    request: str = ""
    requires_python: str = ""
    metadata_sha256: str = ""
    yanked: str = ""
    upstream: str = "none"
    agreeing: tuple[str, ...] = ()
    dissenting: tuple[str, ...] = ()


class Catalog(Protocol):
    """What the log publishes, and its bytes."""

    def revision(self) -> int:
        """Changes whenever an answer of the methods below may have changed; the log's size will do."""
        ...

    def projects(self) -> Sequence[str]:
        """Normalised names, sorted."""
        ...

    def files(self, name: str) -> Sequence[ProjectFile]:
        """The files of a normalised name, in log order; empty for a name the log does not hold."""
        ...

    def file(self, sha256: str) -> ProjectFile | None:
        """The published file with this digest."""
        ...

    def local(self, sha256: str) -> Path | None:
        """The file's path if its bytes are here now; never waits."""
        ...

    async def blob(self, sha256: str) -> Path:
        """The file's path; brings the bytes from peers if they are not here.

        Raises:
            Refusal: `unavailable` when nobody gave them in time, `not-found` when the log has no such file.
        """
        ...

    async def metadata(self, sha256: str) -> bytes | None:
        """The METADATA of the wheel with this digest (PEP 658)."""
        ...

    async def proof(self, sha256: str) -> bytes | None:
        """The proof file (`.tlog-proof`) of the artifact; None while no cosigned checkpoint covers it."""
        ...


class LogView(Protocol):
    """The log as C2SP tlog-tiles; every method answers at once, None for what is not there."""

    def checkpoint(self) -> bytes | None:
        """The newest checkpoint with a quorum of cosignatures, a signed note."""
        ...

    def tile(self, level: int, index: int, width: int) -> bytes | None:
        """`width` hashes (1..256) of a tile, exactly `32 * width` bytes."""
        ...

    def bundle(self, index: int, width: int) -> bytes | None:
        """The first `width` (1..256) entries of a bundle, length-prefixed."""
        ...

    def genesis(self) -> bytes:
        """The trust file: the genesis document byte for byte."""
        ...


class Requested(msgspec.Struct, frozen=True):
    """One build request that now stands in the log's queue."""

    request: str
    purl: str


class SubmitAck(msgspec.Struct, frozen=True):
    """What became of a submitted entry: `accepted`, `duplicate` or `committed` (then with its index)."""

    entry: str
    state: str
    index: int = -1


class PingReply(msgspec.Struct, frozen=True):
    """A peer answered."""

    node_id: str
    rtt_ms: float


class Inclusion(msgspec.Struct, frozen=True):
    """One leaf and the way from it to a root. Hashes in hex, from the leaf upwards."""

    index: int
    size: int
    root: str
    leaf_hash: str
    hashes: tuple[str, ...]
    entry: str = ""  # the leaf's canonical JSON
    proof: str = ""  # the same as a C2SP tlog-proof, when a cosigned checkpoint covers the leaf


class Admin(Protocol):
    """The node's face for its operator and for anyone who may read it."""

    async def status(self) -> NodeStatus: ...

    async def addresses(self) -> Sequence[str]:
        """Where this node listens for peers."""
        ...

    async def peers(self) -> Sequence[PeerStatus]: ...

    async def builds(self) -> Sequence[BuildStatus]:
        """Newest first, at most a few hundred."""
        ...

    async def build(self, request: str) -> BuildStatus | None: ...

    async def log_entries(self, first: int, count: int) -> Sequence[EntryStatus]:
        """At most `count` leaves from index `first`, in order; fewer at the log's end."""
        ...

    async def prove(self, index: int) -> Inclusion | None: ...

    async def artifact(self, sha256: str) -> dict[str, Any] | None:
        """The `artifact.add` body with `log_index`, as JSON values."""
        ...

    async def proof_file(self, sha256: str) -> bytes | None: ...

    async def ready(self) -> Sequence[str]:
        """Why this node should not be asked now; empty when it should."""
        ...

    # -- changes: only with the control token --

    async def request_build(self, ecosystem: str, name: str, version: str) -> Sequence[Requested]:
        """Plan the closure and ask the network for what it lacks. `version` may be empty: the newest."""
        ...

    async def add_fact(self, kind: str, subject: str, text: str) -> SubmitAck:
        """Author a `fact.add` and wait until it is in the log."""
        ...

    async def submit_entry(self, entry: bytes) -> SubmitAck: ...

    async def ping(self, node_id: str) -> PingReply: ...
