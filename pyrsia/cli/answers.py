"""What a node's answers must look like, so that a stranger's JSON is a refusal and not a traceback.

The command's own code then reads plain dicts that have every field. What the fields say is believed as far as
the command says so; only `verify` proves anything.
"""

from typing import Any, TypeVar

import msgspec

from pyrsia.errors import Refusal
from pyrsia.serve.desks import orders
from pyrsia.serve.desks.views import PackageFile
from pyrsia.status import BuildStatus, EntryStatus, LogStatus, NodeStatus, PeerStatus

Status = NodeStatus
Head = LogStatus
Build = BuildStatus


class Peers(msgspec.Struct):
    peers: tuple[PeerStatus, ...]


class Builds(msgspec.Struct):
    builds: tuple[BuildStatus, ...]


class Entries(msgspec.Struct):
    entries: tuple[EntryStatus, ...]


class Page(msgspec.Struct):
    size: int
    root: str
    entries: tuple[EntryStatus, ...]
    next: int
    scanned: int = 0


class Artifact(msgspec.Struct):
    file: str
    size: int
    purl: str


class FileFacts(msgspec.Struct):
    purl: str
    sha256: str
    origin: str = ""
    status: str = ""


class PolicyFacts(msgspec.Struct):
    files: tuple[FileFacts, ...]


Ordered = orders.Ordered
GivenSource = orders.GivenSource
LogPart = orders.LogPart


class Queue(msgspec.Struct):
    queue: tuple[str, ...]


Cancelled = orders.Cancelled


class Proof(msgspec.Struct):
    index: int
    size: int
    root: str
    leaf_hash: str
    hashes: tuple[str, ...]
    entry: str = ""
    proof: str = ""


PackageFiles = tuple[PackageFile, ...]
T = TypeVar("T")


def typed(answer: Any, shape: type[T]) -> T:
    """`answer` as a value of the type `shape`.

    Raises:
        Refusal: as `shaped`.
    """
    try:
        return msgspec.convert(answer, shape)
    except (msgspec.ValidationError, RecursionError) as error:
        raise _foreign(error) from None


def shaped(answer: Any, shape: Any) -> Any:
    """`answer` as plain dicts and lists with exactly the fields of `shape`.

    Raises:
        Refusal: `unavailable`; whoever answered is no node of this version.
    """
    try:
        return msgspec.to_builtins(msgspec.convert(answer, shape))
    except (msgspec.ValidationError, RecursionError) as error:
        raise _foreign(error) from None


def _foreign(error: Exception) -> Refusal:
    return Refusal(
        "unavailable",
        what=f"the answer is not what a node gives: {str(error)[:200]}",
        who="whatever listens at that address",
        do="check the address; is it a Pyrsia node of this version?",
    )
