"""What the HTTP applications ask of the node: three Protocols and their frozen answers. No decisions.

The node implements them over ledger, store and mesh; tests implement them over a dict. Identifiers are
text here: digests and request ids in lower-case hex, node ids in base32, times in POSIX milliseconds.
A method that knows the thing but cannot give it raises `errors.Refusal`; one that does not know it
answers None or an empty sequence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from pyrsia.builds.explain.report import Explanation
from pyrsia.errors import Refusal
from pyrsia.ledger.matching import PurlGlob
from pyrsia.serve.desks.inspecting import Inspecting
from pyrsia.serve.desks.judging import Judge
from pyrsia.serve.desks.knowing import NOW, AsOf, KnowledgeDesk
from pyrsia.serve.desks.messages import MessageDesk
from pyrsia.serve.desks.orders import Desk
from pyrsia.serve.desks.providing import Provider, WithdrawalOrder
from pyrsia.serve.desks.replication import CopiesDesk
from pyrsia.serve.desks.storage import StorageDesk
from pyrsia.serve.desks.tokens import TokenDesk
from pyrsia.status import (
    BuildStatus,
    EntryStatus,
    KeyStatus,
    MembersStatus,
    MotionStatus,
    NodeStatus,
    PeerStatus,
)
from pyrsia.units import MAX_API_ROWS
from pyrsia.verify.acknowledged import Acknowledgement, FinalBlock
from pyrsia.verify.history import Subject


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


@dataclass(frozen=True, slots=True)
class Refused:
    """A file of the log that this node does not give, and why: `denied` by policy, `withdrawn` or `disputed`.

    Attributes:
        by_digest: who names its very bytes is given them all the same, as old lock files do; `file.yanked` says why
            nobody should begin to.
    """

    file: ProjectFile
    refusal: Refusal
    by_digest: bool = False


class PackageFile(msgspec.Struct, frozen=True):
    """One published file of a package, of whatever ecosystem."""

    file: str
    sha256: str
    size: int
    version: str
    verdict: str
    log_index: int
    upstream: str = "none"


class Arriving(Protocol):
    """A file whose bytes are here or on their way; what is readable is verified."""

    @property
    def path(self) -> Path:
        """A file of `size` bytes that fills up: to be opened right after `ready` has returned, and kept open."""
        ...

    @property
    def size(self) -> int:
        """What the answer announces."""
        ...

    @property
    def sha256(self) -> str:
        """Lower-case hex; "" while upstream's digest is unknown."""
        ...

    async def ready(self, offset: int) -> int:
        """Wait until the byte at `offset` may be sent; the end (exclusive) of the run that may be sent from there.

        At `size` and beyond it waits until the file is whole, and returns `size`.

        Raises:
            Unavailable: the rest does not come, or is not what it must be: cut the connection.
        """
        ...

    def close(self) -> None:
        """This reader is done; the last one of an abandoned download ends it."""
        ...


class Catalog(Protocol):
    """What the log publishes and this node's policy allows, and its bytes.

    A method that takes a digest raises `denied`, `withdrawn` or `disputed` for a file that nobody may be given, so that
    no door can forget to ask. What is withdrawn or disputed may be given to who names its bytes, if policy says so:
    `by_digest` and `named` find such a file, the methods that bring bytes bring it, and `files` and `file` never do.
    """

    def revision(self) -> int:
        """Changes whenever an answer of the methods below may have changed; the log's size will do."""
        ...

    def projects(self) -> Sequence[str]:
        """Normalised names, sorted."""
        ...

    def packages(self, start: str) -> Sequence[str]:
        """Versionless purls that begin with `start` (`pkg:maven/`), sorted."""
        ...

    def holds(self, package: str) -> bool:
        """Whether the log has anything under this versionless purl, given to clients or not.

        Asked before a push, and told to nobody: `files` may ask the network to build what the log lacks.
        """
        ...

    async def prepare(self, name: str) -> None:
        """Judge a project's files in turns with others, so that the next two methods answer at once.

        They answer without it too; a project of thousands of files holds up everybody meanwhile.
        """
        ...

    def files(self, name: str) -> Sequence[ProjectFile]:
        """The files of a normalised pypi name, or of a versionless purl of any ecosystem, in log order; empty for
        one the log does not hold. Only what may be given to clients."""
        ...

    def refused(self, name: str) -> Sequence[Refused]:
        """The other files of that name, in log order: to list them as what they are, and to say why."""
        ...

    def file(self, sha256: str) -> ProjectFile | None:
        """The published file with this digest."""
        ...

    def by_digest(self, sha256: str) -> ProjectFile | None:
        """The same, for a client that wrote the digest itself and chose no version: also what is withdrawn."""
        ...

    def named(self, sha256: str, filename: str) -> ProjectFile | None:
        """The same bytes under another file name, where the log gives them that too: an empty jar has many names.

        Only what may be given to clients, as `by_digest` has it.
        """
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

    def arriving(self, sha256: str) -> Arriving:
        """The file, here or on its way from peers: to send what has come while the rest comes. Close it.

        Raises:
            Refusal: `not-found` when the log has no such file.
        """
        ...

    async def metadata(self, sha256: str) -> bytes | None:
        """The METADATA of the wheel with this digest (PEP 658)."""
        ...

    async def proof(self, sha256: str) -> bytes | None:
        """The proof file (`.tlog-proof`) of the artifact; None while no cosigned checkpoint covers it."""
        ...

    async def attestations(self, sha256: str) -> bytes | None:
        """The bundle of its attestations (`.intoto.jsonl`), a DSSE envelope a line; None for an unknown file."""
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

    def epoch_end(self, number: int) -> bytes | None:
        """The step from epoch `number` to the next one (docs/log.md, "Epochs"); None before it has ended."""
        ...


class SubmitAck(msgspec.Struct, frozen=True):
    """What became of a submitted entry: `committed`, or `duplicate` if it stood in the log already.

    Attributes:
        leaf: the entry's bytes, where this node wrote it; who sent it has them.
        acknowledgement: the proof that it stands there (docs/submission.md).
    """

    entry: str
    state: str
    index: int = -1
    leaf: str = ""
    acknowledgement: Acknowledgement | None = None


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one entry of a batch: `committed`, or `refused` with a refusal's fields.

    Attributes:
        entry, index, inclusion: of its acknowledgement.
        height: of the block that its acknowledgement speaks of.
    """

    state: str
    entry: str = ""
    index: int = -1
    height: int = -1
    inclusion: tuple[str, ...] = ()
    error: dict[str, str | int] = {}


class ManyAck(msgspec.Struct, frozen=True):
    """What became of each entry of a batch, in its order, and the blocks that hold them, each once."""

    entries: tuple[Outcome, ...]
    blocks: tuple[FinalBlock, ...] = ()


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


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which leaves are wanted. None and empty fields ask for nothing.

    Attributes:
        first: leaf index at which the page begins; None: at the end that `order` begins with.
        count: 1..MAX_API_ROWS rows at most.
        order: `oldest` (from `first` up), `newest` (from `first` down) or nothing: then up from `first` if that is
            given; else newest first with filters, and without them the newest page, told oldest first.
        author: node id text, or the name of a member.
        text: in the leaf's bytes or its line; ASCII letters of either case are one.
        since_ms, until_ms: block times, both included.
        as_of, as_of_ms: the answer is that of a log which ended at this size, or with the last block of this
            time; at most one of them.
    """

    first: int | None = None
    count: int = MAX_API_ROWS.value
    order: str = ""
    kinds: frozenset[str] = frozenset()
    author: str = ""
    purl: PurlGlob | None = None
    verdicts: frozenset[str] = frozenset()
    text: str = ""
    since_ms: int | None = None
    until_ms: int | None = None
    as_of: int | None = None
    as_of_ms: int | None = None

    @property
    def filters(self) -> bool:
        """Whether it asks for some leaves and not for others."""
        return bool(self.kinds or self.author or self.purl or self.verdicts or self.text) or (
            self.since_ms is not None or self.until_ms is not None
        )


class LogPage(msgspec.Struct, frozen=True):
    """Leaves of a log of `size` leaves with this root.

    Attributes:
        first: where looking began, -1 in an empty log.
        next: `first` of the page that goes on in the same order, -1 when there is nothing more. It may be set
            although no row was found: one request looks at a bounded number of leaves.
        scanned: leaves that were looked at.
    """

    size: int
    root: str
    first: int
    entries: tuple[EntryStatus, ...]
    next: int
    scanned: int


def told(status: NodeStatus, scope: Mapping[str, Any]) -> NodeStatus:
    """What the one who asks may know of it: notices are for the operator."""
    if scope.get("pyrsia.near"):
        return status
    return msgspec.structs.replace(status, notices=(), disk=msgspec.structs.replace(status.disk, full=""))


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

    async def explain(self, request: str, *, deep: bool = False) -> Explanation:
        """Who said what about a build and why they differ; `deep`: with diffoscope's reports.

        Raises:
            Refusal: `not-found`; `no-sandbox`, `unavailable` only where `deep`.
        """
        ...

    async def log_entries(self, first: int, count: int) -> Sequence[EntryStatus]:
        """At most `count` leaves from index `first`, in order; fewer at the log's end."""
        ...

    async def explore(self, query: LogQuery) -> LogPage:
        """The leaves that `query` asks for, or a part of them and where to go on.

        Raises:
            Refusal: `bad-request`: an author that is no member, a size that the log has not reached.
        """
        ...

    async def prove(self, index: int) -> Inclusion | None: ...

    async def artifact(self, sha256: str) -> dict[str, Any] | None:
        """The `artifact.add` body with `log_index`, as JSON values."""
        ...

    async def proof_file(self, sha256: str, purl: str = "") -> bytes | None:
        """The proof of the bytes as published under `purl`; without one, or where it is none, under the first."""
        ...

    async def contents(self, sha256: str) -> bytes | None:
        """The list of its members (`builds.members.encode`) that the log names; None for an unknown file.

        Raises:
            Refusal: `unavailable` when no builder gave it in time, `too-large`.
        """
        ...

    async def attestations(self, sha256: str) -> bytes | None: ...

    async def package_files(self, package: str) -> Sequence[PackageFile]:
        """The files that are offered under a versionless purl, in log order."""
        ...

    async def history(self, subject: Subject) -> bytes | None:
        """The history file of a package or a digest; None while no cosigned checkpoint allows one.

        Raises:
            Refusal: `too-large`.
        """
        ...

    async def node_records(self) -> Sequence[bytes]:
        """Signed records of nodes that can be dialled, this one's first: some of them."""
        ...

    async def members(self, at: AsOf = NOW) -> MembersStatus:
        """Every member, and the motions that can be approved.

        Raises:
            Refusal: `bad-request`: there was no such moment.
        """
        ...

    async def motion(self, motion: str, at: AsOf = NOW) -> MotionStatus | None:
        """A motion by its entry id in hex, also one that is decided or expired; None if it was not proposed yet.

        Raises:
            Refusal: `bad-request`: there was no such moment.
        """
        ...

    async def document(self) -> dict[str, Any]:
        """This node's member document, with all its public keys."""
        ...

    async def keys(self) -> Sequence[KeyStatus]:
        """This node's keys: those in use and those made for a rotation; public halves."""
        ...

    async def ready(self) -> Sequence[str]:
        """Why this node should not be asked now; empty when it should."""
        ...

    @property
    def judge(self) -> Judge:
        """The node's policy."""
        ...

    @property
    def knowledge(self) -> KnowledgeDesk:
        """What the log's facts say of packages; its `say` only with the control token."""
        ...

    @property
    def provider(self) -> Provider:
        """What it knows of packages, for those who provide them."""
        ...

    @property
    def inspecting(self) -> Inspecting:
        """Where its log is read record by record."""
        ...

    # -- changes: only with the control token --

    @property
    def desk(self) -> Desk:
        """Where builds are ordered and followed."""
        ...

    @property
    def messages(self) -> MessageDesk:
        """Broadcasts, and messages to and from this node."""
        ...

    @property
    def tokens(self) -> TokenDesk:
        """Where tokens for clients are made and ended."""
        ...

    @property
    def copies(self) -> CopiesDesk:
        """Where copies of its blobs on other nodes are looked at, and handed over."""
        ...

    @property
    def storage(self) -> StorageDesk:
        """Where the node's disk is looked at and put in order."""
        ...

    async def add_fact(self, kind: str, subject: str, text: str, fields: Mapping[str, Any]) -> SubmitAck:
        """Author a `fact.add`, with the fields of its kind, and wait until it is in the log."""
        ...

    async def withdraw(self, order: WithdrawalOrder) -> SubmitAck:
        """See a maintainer's `artifact.withdraw` into the log.

        Raises:
            Refusal: `bad-request`, `entry-refused`, `forbidden` where this node is no member.
        """
        ...

    async def submit_entry(self, entry: bytes) -> SubmitAck: ...

    async def submit_entries(self, entries: Sequence[bytes]) -> ManyAck:
        """See a batch into the log; returns once each of them is there or refused."""
        ...

    async def ping(self, node_id: str) -> PingReply: ...

    async def propose(self, body: Mapping[str, Any], *, approve: bool) -> MotionStatus:
        """Author a `motion.propose`, and approve it if that is wanted and this node's approval counts.

        Raises:
            Refusal: `bad-request`, `conflict`, `entry-refused`.
        """
        ...

    async def approve(self, motion: str) -> MotionStatus:
        """Approve a motion as a validator, or accept the seat that it gives this node."""
        ...

    async def authorize(self, node: str, document: dict[str, Any] | None, reason: str) -> MotionStatus:
        """Propose that a node builds; `document`: None, and it is asked for its own."""
        ...

    async def rotate_keys(
        self, purposes: Sequence[str], reason: str, *, propose: bool
    ) -> tuple[dict[str, Any], MotionStatus | None, tuple[str, ...]]:
        """Make new keys and propose them: the motion's body, the motion if proposed, and what was replaced at once."""
        ...
