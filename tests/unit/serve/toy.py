"""A node made of dicts, and clients that say exactly what a test wants said."""

import base64
import hashlib
import io
import zipfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from msgspec.structs import replace

from pyrsia.builds.explain.report import Explanation, Said
from pyrsia.errors import Refusal, Unavailable
from pyrsia.serve.app import LIMITS, build_app
from pyrsia.serve.desks.knowing import NOW, AsOf
from pyrsia.serve.desks.orders import BuildOrder, Cancelled, GivenSource, LogPart, Ordered, PlanRow, Requested
from pyrsia.serve.desks.providing import WithdrawalOrder
from pyrsia.serve.desks.storage import PinAnswer, PinnedShare, PinOrder, StorageStatus
from pyrsia.serve.desks.supply import Supply, of_log
from pyrsia.serve.desks.tokens import MadeToken, TokenOrder, TokenStatus
from pyrsia.serve.desks.views import (
    Arriving,
    Inclusion,
    LogPage,
    LogQuery,
    ManyAck,
    Outcome,
    PackageFile,
    PingReply,
    ProjectFile,
    Refused,
    SubmitAck,
)
from pyrsia.serve.grants import Grant
from pyrsia.serve.guard import Guard
from pyrsia.serve.http.server import App, HttpLimits, Listener, Server
from pyrsia.serve.http.server import listen_tcp as listen_tcp
from pyrsia.serve.http.server import serve as serve
from pyrsia.status import (
    BuildStatus,
    DrainStatus,
    EntryStatus,
    KeyStatus,
    LogStatus,
    MembersStatus,
    MemberStatus,
    MotionStatus,
    NodeStatus,
    PeerStatus,
    ReplicationStatus,
    Swept,
    Unplaced,
)
from pyrsia.verify.history import Subject
from tests.unit.serve import talk
from tests.unit.serve.talk import dial as dial
from tests.unit.serve.talk import read_answer as read_answer
from tests.unit.serve.talk import read_to_end as read_to_end
from tests.unit.serve.talk import say as say
from tests.unit.serve.toyinspector import ToyInspector
from tests.unit.serve.toyjudge import ToyJudge
from tests.unit.serve.toyknowledge import ToyKnowledge
from tests.unit.serve.toymessages import ToyMessages
from tests.unit.serve.toyprovider import ToyProvider

TOKEN = "toy-token"
NODE = "a" * 52
REQUEST = "ab" * 32
MOTION = MotionStatus(
    id="ef" * 32,
    kind="member.remove",
    summary="toy is a member no more",
    phase="open",
    author="toy",
    reason="its disk died",
    approvals=("a",),
    missing=("b", "c", "d"),
    needed=3,
    accepts="",
    time_ms=5,
    deadline_ms=9,
    leaf=7,
)


def toy_wheel(name: str, version: str, requires: Sequence[str] = ()) -> tuple[str, bytes, bytes]:
    """(file name, wheel, METADATA) of a wheel with one module."""
    folder = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: >=3.8\n"
    metadata += "".join(f"Requires-Dist: {item}\n" for item in requires)
    members = {
        f"{name}.py": f"version = {version!r}\n",
        f"{folder}/METADATA": metadata,
        f"{folder}/WHEEL": "Wheel-Version: 1.0\nGenerator: toy\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text)}\n"
    members[f"{folder}/RECORD"] = record + f"{folder}/RECORD,,\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in members.items():
            archive.writestr(path, text)
    return f"{name}-{version}-py3-none-any.whl", buffer.getvalue(), metadata.encode()


class ToyCopies:
    """A storage member that is half done with handing over."""

    def status(self) -> ReplicationStatus:
        return ReplicationStatus(True, 4, 4, 3, 3_072, True, 2)

    def drained(self) -> DrainStatus:
        left = (Unplaced("ab" * 32, 100, 2, "bcd does not answer"),)
        return DrainStatus("working", 3, 300, 2, 200, 3, 3, left, 1)

    async def drain(self, *, leave: bool) -> DrainStatus:
        return self.drained() if leave else DrainStatus()


class ToyStorage:
    """A disk of 10 GB with one blob."""

    async def status(self) -> StorageStatus:
        return StorageStatus(
            allocated=10**10, used=5, blobs=1, pinned=5, cache=0, promised=0, resting=0, high=9, low=7, free=10**9,
            spare=512, full="", evicted=0, pins=(PinnedShare("operator", 1, 5),), patterns=("pkg:pypi/a",),
        )  # fmt: skip

    async def pin(self, order: PinOrder) -> PinAnswer:
        return PinAnswer(order.pattern, blobs=1, bytes=5)

    async def unpin(self, pattern: str) -> PinAnswer:
        return PinAnswer(pattern)

    async def sweep(self, *, dry: bool) -> Swept:
        return Swept(dry=dry)

    async def scrub(self, pattern: str) -> StorageStatus:
        return await self.status()


@dataclass
class ToyTokens:
    """Tokens that say themselves what they allow: `push-NAME`, `read-NAME`, `admin-NAME`."""

    made: dict[str, TokenStatus] = field(default_factory=dict)
    failures: int = 0

    async def make(self, order: TokenOrder) -> MadeToken:
        name = order.name or "toy"
        self.made[name] = TokenStatus("1" * 12, name, order.scope, order.package, 5, 6)
        return MadeToken(f"{order.scope}-{name}", self.made[name])

    def list(self) -> Sequence[TokenStatus]:
        return list(self.made.values())

    async def revoke(self, which: str) -> TokenStatus:
        if which not in self.made:
            raise Refusal("not-found", what="no such token", who="you", do="list them")
        return self.made.pop(which)

    def grant(self, token: str) -> Grant | None:
        kept = self.made.get(token.partition("-")[2])
        return Grant(kept.name, kept.scope, kept.package) if kept is not None else None


def _called(file: ProjectFile, name: str) -> bool:
    """As the node's catalogue has it: Python's packages by their names, all others by versionless purls."""
    return file.purl.partition("@")[0] == name if name.startswith("pkg:") else file.name == name


@dataclass
class ToyNode:
    """Catalog, LogView and Admin at once."""

    folder: Path
    published: dict[str, ProjectFile] = field(default_factory=dict)
    kept_back: dict[str, Refused] = field(default_factory=dict)  # by digest
    metadatas: dict[str, bytes] = field(default_factory=dict)
    proofs: dict[str, bytes] = field(default_factory=dict)
    histories: dict[str, bytes] = field(default_factory=dict)  # subject -> history file
    judge: ToyJudge = field(default_factory=ToyJudge)
    knowledge: ToyKnowledge = field(default_factory=ToyKnowledge)
    inspecting: ToyInspector = field(default_factory=ToyInspector)
    absent: set[str] = field(default_factory=set)  # not local yet
    lost: set[str] = field(default_factory=set)  # no peer has it either
    fetching: trio.Event = field(default_factory=trio.Event)
    arrive: trio.Event | None = None
    fetch_cancelled: bool = False
    note: bytes | None = b"toy/abc\n3\nAAAA\n\n"
    why_not: tuple[str, ...] = ()
    changes: list[tuple[str, ...]] = field(default_factory=list)
    queries: list[LogQuery] = field(default_factory=list)
    keyring: ToyTokens = field(default_factory=ToyTokens)
    mailroom: ToyMessages = field(default_factory=ToyMessages)
    provider: ToyProvider = field(init=False)
    given: list[str] = field(default_factory=list)  # digests of what clients got whole, each time

    def __post_init__(self) -> None:
        self.provider = ToyProvider(self.published)

    def publish(self, filename: str, data: bytes, metadata: bytes = b"", **more: Any) -> ProjectFile:
        sha256 = hashlib.sha256(data).hexdigest()
        (self.folder / sha256).write_bytes(data)
        name, version = filename.split("-")[:2]
        name = name.lower().replace("_", "-")
        file = ProjectFile(
            filename=filename,
            sha256=sha256,
            size=len(data),
            upload_time_ms=1_700_000_000_123,
            purl=f"pkg:pypi/{name}@{version}",
            name=name,
            version=version,
            verdict="REPRODUCED",
            log_index=len(self.published) + 7,
            requires_python=">=3.8",
            metadata_sha256=hashlib.sha256(metadata).hexdigest() if metadata else "",
            **more,
        )
        self.published[sha256] = file
        if metadata:
            self.metadatas[sha256] = metadata
        return file

    # Catalog

    def revision(self) -> int:
        return len(self.published)

    def packages(self, start: str) -> Sequence[str]:
        names = {file.purl.partition("@")[0] for file in self.published.values()}
        return sorted(name for name in names if name.startswith(start))

    def projects(self) -> Sequence[str]:
        return sorted({file.name for file in self.published.values()})

    def holds(self, package: str) -> bool:
        return package in self.packages(package) or bool(self.refused(package))

    async def prepare(self, name: str) -> None:
        """Everything is there."""

    def files(self, name: str) -> Sequence[ProjectFile]:
        name = name.removeprefix("pkg:pypi/")  # a purl means the same
        return [
            file
            for file in self.published.values()
            if _called(file, name) and file.sha256 not in self.kept_back
        ]

    def refused(self, name: str) -> Sequence[Refused]:
        name = name.removeprefix("pkg:pypi/")
        return [one for one in self.kept_back.values() if _called(one.file, name)]

    def file(self, sha256: str) -> ProjectFile | None:
        if sha256 in self.kept_back:
            raise self.kept_back[sha256].refusal
        return self.published.get(sha256)

    def by_digest(self, sha256: str) -> ProjectFile | None:
        kept = self.kept_back.get(sha256)
        return kept.file if kept is not None and kept.by_digest else self.file(sha256)

    def named(self, sha256: str, filename: str) -> ProjectFile | None:
        return None

    def local(self, sha256: str) -> Path | None:
        return None if sha256 in self.absent else self.folder / sha256

    async def blob(self, sha256: str) -> Path:
        if sha256 in self.lost:
            raise Refusal("unavailable", what="no peer has it", who="the peers", do="try again")
        self.fetching.set()
        try:
            if self.arrive is not None:
                await self.arrive.wait()
        except trio.Cancelled:
            self.fetch_cancelled = True
            raise
        return self.folder / sha256

    def arriving(self, sha256: str) -> Arriving:
        return _Toyed(self, sha256)

    async def metadata(self, sha256: str) -> bytes | None:
        return self.metadatas.get(sha256)

    async def proof(self, sha256: str) -> bytes | None:
        return self.proofs.get(sha256)

    async def package_files(self, package: str) -> Sequence[PackageFile]:
        return [
            PackageFile(one.filename, one.sha256, one.size, one.version, one.verdict, one.log_index)
            for one in self.published.values()
            if one.purl.partition("@")[0] == package
        ]

    async def attestations(self, sha256: str) -> bytes | None:
        return b'{"payload":""}\n' if sha256 in self.proofs else None

    # LogView

    def checkpoint(self) -> bytes | None:
        return self.note

    def tile(self, level: int, index: int, width: int) -> bytes | None:
        return bytes([level, index % 256]) * 16 * width if index < 2_000_000 else None

    def bundle(self, index: int, width: int) -> bytes | None:
        return b"\0\1x" * width if index == 0 else None

    def genesis(self) -> bytes:
        return b'{"body":{},"type":"network.genesis","v":1}'

    def epoch_end(self, number: int) -> bytes | None:
        return b"step" if number == 0 else None

    # Admin

    async def status(self) -> NodeStatus:
        log = LogStatus(size=120, root="00" * 32, height=3, view=4, time_ms=5)
        return NodeStatus(NODE, "toy", "follower", "net", True, "0", 1.0, "namespace", log, 1, 4)

    async def addresses(self) -> Sequence[str]:
        return ["tcp://127.0.0.1:44000"]

    async def peers(self) -> Sequence[PeerStatus]:
        return [
            PeerStatus("b" * 52, "v1", "validator", "tcp://x", True),
            PeerStatus("c" * 52, "v2", "validator", "tcp://y", False),
        ]

    async def builds(self) -> Sequence[BuildStatus]:
        return [BuildStatus(REQUEST, "pkg:pypi/idna@3.10", "done")]

    async def build(self, request: str) -> BuildStatus | None:
        return BuildStatus(REQUEST, "pkg:pypi/idna@3.10", "done") if request == REQUEST else None

    async def explain(self, request: str, *, deep: bool = False) -> Explanation:
        if request != REQUEST:
            raise Refusal("not-found", what="no such build", who="you", do="list them")
        said = (Said("b" * 52, "org <b>", "A", "built", "namespace", True, ""),)
        words = ("deep",) if deep else ("quick",)
        return Explanation(REQUEST, "pkg:pypi/idna@3.10", "done", "REPRODUCED", said, (), words)

    async def log_entries(self, first: int, count: int) -> Sequence[EntryStatus]:
        return [EntryStatus(index, "fact.add", "a fact") for index in range(first, min(120, first + count))]

    async def explore(self, query: LogQuery) -> LogPage:
        self.queries.append(query)
        first = max(0, 120 - query.count) if query.first is None else query.first
        rows = tuple(await self.log_entries(first, query.count))
        after = first + len(rows)
        return LogPage(120, "00" * 32, first, rows, after if rows and after < 120 else -1, len(rows))

    async def prove(self, index: int) -> Inclusion | None:
        return Inclusion(index, 120, "00" * 32, "11" * 32, ("22" * 32,)) if index < 120 else None

    async def artifact(self, sha256: str) -> dict[str, Any] | None:
        file = self.published.get(sha256)
        return {"purl": file.purl, "log_index": file.log_index} if file else None

    async def history(self, subject: Subject) -> bytes | None:
        return self.histories.get(subject.text)

    async def contents(self, sha256: str) -> bytes | None:
        return b"[]" if sha256 in self.published else None

    async def proof_file(self, sha256: str, purl: str = "") -> bytes | None:
        return self.proofs.get(sha256)

    async def node_records(self) -> Sequence[bytes]:
        return [b"a signed record", b"another"]

    async def members(self, at: AsOf = NOW) -> MembersStatus:
        told = MembersStatus(2, 4, 3, (MemberStatus(NODE, "toy", "o", "d", ("validator",)),), (MOTION,))
        return told if at == NOW else replace(told, size=at.size or 9, time_ms=at.time_ms or 5)

    async def motion(self, motion: str, at: AsOf = NOW) -> MotionStatus | None:
        return MOTION if motion == MOTION.id and at in (NOW, AsOf(size=9)) else None

    async def document(self) -> dict[str, Any]:
        return {"node": NODE}

    async def keys(self) -> Sequence[KeyStatus]:
        return [KeyStatus("vote", "ab" * 32, "in force")]

    async def ready(self) -> Sequence[str]:
        return self.why_not

    async def withdraw(self, order: WithdrawalOrder) -> SubmitAck:
        self.changes.append(("withdraw", order.purl, order.sha256, order.reason))
        return SubmitAck("cd" * 32, "committed", 121)

    async def propose(self, body: Mapping[str, Any], *, approve: bool) -> MotionStatus:
        self.changes.append(("propose", str(body["kind"]), str(approve)))
        return MOTION

    async def approve(self, motion: str) -> MotionStatus:
        self.changes.append(("approve", motion))
        return MOTION

    async def authorize(self, node: str, document: dict[str, Any] | None, reason: str) -> MotionStatus:
        self.changes.append(("authorize", node, reason))
        return MOTION

    async def rotate_keys(
        self, purposes: Sequence[str], reason: str, *, propose: bool
    ) -> tuple[dict[str, Any], MotionStatus | None, tuple[str, ...]]:
        self.changes.append(("rotate", *purposes))
        return {"kind": "member.rotate"}, MOTION if propose else None, ()

    # Desk, which is its own

    @property
    def desk(self) -> "ToyNode":
        return self

    @property
    def copies(self) -> "ToyCopies":
        return ToyCopies()

    @property
    def storage(self) -> "ToyStorage":
        return ToyStorage()

    @property
    def messages(self) -> ToyMessages:
        return self.mailroom

    @property
    def tokens(self) -> "ToyTokens":
        return self.keyring

    async def order(self, order: BuildOrder) -> Ordered:
        if not order.name and not order.purl:
            raise Refusal("bad-request", what="no package", who="the order", do="name one")
        if order.name == "nothing":
            raise Refusal("package-unknown", what="no index has nothing", who="the index", do="check")
        if order.dry_run:
            return Ordered(plans=(PlanRow(order.purl, "pip", {}, {}, {}, "d" * 64, ()),))
        self.changes.append(("build", order.ecosystem, order.name, order.version))
        return Ordered((Requested(REQUEST, f"pkg:pypi/{order.name}@{order.version}"),))

    async def take(self, file: str, chunks: AsyncIterator[bytes]) -> GivenSource:
        data = b"".join([chunk async for chunk in chunks])
        self.changes.append(("source", file, str(len(data))))
        return GivenSource(file, "e" * 64, hashlib.sha256(data).hexdigest(), len(data))

    async def cancel(self, request: str) -> Cancelled:
        self.changes.append(("cancel", request))
        return Cancelled(request, 7)

    async def log(self, request: str, builder: str, offset: int) -> LogPart:
        text = b"one line\nand another\n"
        return LogPart(request, builder or NODE, offset, len(text), text[offset:])

    def prefer(self, request: str) -> None:
        self.changes.append(("prefer", request))

    def queue(self) -> Sequence[str]:
        return ("ab: new, asked by c",)

    async def submit_entries(self, entries: Sequence[bytes]) -> ManyAck:
        self.changes.append(("entries", *entries))
        return ManyAck(tuple(Outcome("committed", "e" * 64, at) for at in range(len(entries))))

    async def add_fact(self, kind: str, subject: str, text: str, fields: Mapping[str, Any]) -> SubmitAck:
        self.changes.append(("fact", kind, subject, text))
        return SubmitAck("cd" * 32, "committed", 120)

    async def submit_entry(self, entry: bytes) -> SubmitAck:
        self.changes.append(("entry", entry.decode()))
        return SubmitAck("cd" * 32, "accepted")

    async def ping(self, node_id: str) -> PingReply:
        self.changes.append(("ping", node_id))
        return PingReply(node_id, 0.5)


class _Toyed:
    """A file of a toy node, which is there whole or not at all."""

    def __init__(self, node: ToyNode, sha256: str) -> None:
        self.node, self.path, self.sha256 = node, node.folder / sha256, sha256
        self.size = next(file.size for file in node.published.values() if file.sha256 == sha256)

    async def ready(self, offset: int) -> int:
        try:
            await self.node.blob(self.sha256)
        except Refusal as refusal:
            raise Unavailable(refusal.what) from None
        return self.size

    def close(self) -> None:
        pass


def toy_app(node: ToyNode, supply: Supply | None = None, **guard: Any) -> App:
    return build_app(
        guard=Guard(control_token=TOKEN, tokens=node.keyring.grant, **guard),
        supply=supply or of_log(node),
        log_view=node,
        admin=node,
        served=node.given.append,
    )


def serving(app: App, *more: Listener, limits: HttpLimits = LIMITS) -> AbstractAsyncContextManager[Server]:
    """`talk.serving` with the limits of a node."""
    return talk.serving(app, *more, limits=limits)
