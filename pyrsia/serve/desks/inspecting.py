"""What the log is asked for record by record, and what it answers: plain data, no decisions.

A record is what the original called a transparency log: a file that was added or removed, a node that was. The first
thirteen fields are the original's, in its order and by its names; the rest is what it had no room for. Leaf indexes
count from 0; times are POSIX milliseconds, but for `timestamp`, which is in seconds as the original's; ids and digests
are lower-case hex, nodes base32.

Source: docs/inspect.md, "Fields".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import msgspec

from pyrsia.serve.inspecting.where import Condition

What = Literal["artifacts", "nodes", "builds"]

ADD_ARTIFACT: Final = "AddArtifact"
REMOVE_ARTIFACT: Final = "RemoveArtifact"
ADD_NODE: Final = "AddNode"
REMOVE_NODE: Final = "RemoveNode"
CHANGE_NODE: Final = "ChangeNode"  # keys, roles or name of a member; the original knew no such thing
REQUEST_BUILD: Final = "RequestBuild"
OPERATIONS: Final = (ADD_ARTIFACT, REMOVE_ARTIFACT, ADD_NODE, REMOVE_NODE, CHANGE_NODE, REQUEST_BUILD)

# What its ecosystem was called in the original, by the type of a purl.
PACKAGE_TYPES: Final = {"docker": "Docker", "maven": "Maven2", "pypi": "Pypi", "conan": "Conan"}


class Record(msgspec.Struct, frozen=True):
    """One record. An empty text is what the record has not.

    Attributes:
        id: of the log entry behind it, 64 hex digits.
        package_type: Docker, Maven2, Pypi or Conan; None for a node, and what is of no ecosystem.
        package_specific_id: the version as its ecosystem writes it: `alpine:3.16`, `g:a:v`, `idna==1.0`, `zlib/1.3`.
        num_artifacts: files that its build published.
        package_specific_artifact_id: the file as its ecosystem writes it.
        artifact_hash, source_hash: SHA-256 of the file, and of the source that it was built from.
        artifact_id: id of the file's manifest, by which nodes find and exchange its bytes.
        source_id: `git:` and the commit, else `file:` and the name of the source archive.
        timestamp: block time in seconds.
        operation: one of `OPERATIONS`.
        node_id: the first builder that agreed; who asked for a removal; the node itself; who requested a build.
        node_public_key: the ed25519 key of that node, hex.
        leaf: index of the entry in the log.
        build_id: the build request's entry id: the files of one build share it.
        status: at the moment asked about: of a file its verdict, DISPUTED or WITHDRAWN; of a node member or left; of
            a build open, drawn, done or cancelled.
        purl, file, size: what was published.
        agreeing, dissenting: builders, in the order of the draw.
        advisories: that stand about this version at the moment; None for what has no version, and where not every fact
            could be read.
        node_name, operator, roles, keys: of a node, as the record makes them; keys by what they are for.
        motion: entry id of the motion by which it came about; "" for what no motion did.
        reason: in the words of its author.
    """

    id: str
    package_type: str | None
    package_specific_id: str
    num_artifacts: int
    package_specific_artifact_id: str
    artifact_hash: str
    source_hash: str
    artifact_id: str
    source_id: str
    timestamp: int
    operation: str
    node_id: str
    node_public_key: str
    leaf: int
    time_ms: int
    build_id: str = ""
    verdict: str = ""
    status: str = ""
    purl: str = ""
    file: str = ""
    size: int = 0
    agreeing: tuple[str, ...] = ()
    dissenting: tuple[str, ...] = ()
    advisories: int | None = None
    node_name: str = ""
    operator: str = ""
    roles: tuple[str, ...] = ()
    keys: dict[str, str] = {}
    motion: str = ""
    reason: str = ""


FIELDS: Final[tuple[str, ...]] = Record.__struct_fields__
ORIGINAL: Final[tuple[str, ...]] = FIELDS[:13]


@dataclass(frozen=True, slots=True)
class Package:
    """Which package is asked about.

    Attributes:
        purls: versionless ones that mean it, the usual spelling first.
        versions: of which it must be one; empty for all.
        digest: SHA-256 of a file that it must be; "" for any. A version or a digest is enough.
    """

    purls: tuple[str, ...]
    versions: frozenset[str] = frozenset()
    digest: str = ""


@dataclass(frozen=True, slots=True)
class InspectQuery:
    """Which records are wanted. None and empty fields ask for nothing.

    Attributes:
        where: conditions that all hold.
        text: in any field, ASCII letters of either case.
        since_ms, until_ms: block times, both included.
        as_of, as_of_ms: as the log was when it had this size, or with the last block of this time; at most one of them.
        newest: newest first instead of oldest first.
        latest: the newest record, and those of the same operation and build. Needs `newest`.
        count: records at most, 1 or more.
        page: `next` of the page before; "" for the first.
        advisories: whether they are to be counted; that reads the histories of the packages.
    """

    what: What
    package: Package | None = None
    where: tuple[Condition, ...] = ()
    text: str = ""
    since_ms: int | None = None
    until_ms: int | None = None
    as_of: int | None = None
    as_of_ms: int | None = None
    newest: bool = False
    latest: bool = False
    count: int = 50
    page: str = ""
    advisories: bool = True


class InspectPage(msgspec.Struct, frozen=True):
    """Records of a log of `size` leaves.

    Attributes:
        time_ms: block time of that size.
        rows: with the fields that were asked for.
        next: `page` of the request that goes on, "" when there is nothing more. It may be set although no record was
            found: one request looks at a bounded number of leaves.
        scanned: leaves that were looked at.
        whole: whether this node has all of the log; a node that began from a snapshot lacks its beginning for a while.
    """

    size: int
    time_ms: int
    rows: tuple[Record, ...]
    next: str
    scanned: int
    whole: bool = True


class Inspecting(Protocol):
    """A node's log, for those who ask for records."""

    async def inspect(self, query: InspectQuery) -> InspectPage:
        """
        Raises:
            Refusal: `bad-request`: a size that the log has not reached, a page that is none; `not-found`: a part of the
                log that is not here yet.
        """
        ...


def chosen(record: Record, fields: tuple[str, ...]) -> dict[str, Any]:
    """A record as a dict with these fields, in this order."""
    every: Mapping[str, Any] = {name: getattr(record, name) for name in fields}
    return dict(every)
