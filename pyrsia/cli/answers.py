"""What a node's answers must look like, so that a stranger's JSON is a refusal and not a traceback.

The command's own code then reads plain dicts that have every field. What the fields say is believed as far as
the command says so; only `verify` proves anything.
"""

from typing import Any

import msgspec

from pyrsia.client import typed
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


def shaped(answer: Any, shape: Any) -> Any:
    """`answer` as plain dicts and lists with exactly the fields of `shape`.

    Raises:
        Refusal: as `typed`.
    """
    return msgspec.to_builtins(typed(answer, shape))
