"""What people and scripts ask and tell a node (`serve.desks.views.Admin`): snapshots out of the running parts."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import trio
from msgspec import to_builtins
from msgspec.structs import replace

from pyrsia import __version__
from pyrsia.builds.explain.report import Explanation
from pyrsia.config import Config
from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.ledger import views
from pyrsia.ledger.bodies.facts import KINDS
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.views import RequestView
from pyrsia.log.tree import leaf_hash
from pyrsia.net.links import Links
from pyrsia.node.builds.builder import Builder
from pyrsia.node.builds.desk import Desk
from pyrsia.node.builds.explaining import Explaining
from pyrsia.node.builds.requests import Requests
from pyrsia.node.builds.told import is_served, told
from pyrsia.node.inspecting.past import Pasts
from pyrsia.node.inspecting.search import Inspector
from pyrsia.node.kinds import Method
from pyrsia.node.knowledge import speakers
from pyrsia.node.knowledge.desk import KnowledgeDesk
from pyrsia.node.log.archive import Archive
from pyrsia.node.log.batch import Batches
from pyrsia.node.log.explorer import Explorer
from pyrsia.node.log.proofs import Proofs
from pyrsia.node.log.submission import Acknowledge, Submitter
from pyrsia.node.log.summary import summary
from pyrsia.node.members.governing import Governing
from pyrsia.node.members.membership import Membership
from pyrsia.node.mesh.keeping import Keeping
from pyrsia.node.packages.catalog import Catalog
from pyrsia.node.policy.judging import Judge
from pyrsia.node.storage.desk import StorageDesk
from pyrsia.node.storage.shelf import Shelf
from pyrsia.node.tokens import Tokens
from pyrsia.node.witness.cosigning import Cosigning
from pyrsia.serve.desks.knowing import NOW, AsOf
from pyrsia.serve.desks.messages import MessageDesk
from pyrsia.serve.desks.providing import Provider, WithdrawalOrder
from pyrsia.serve.desks.views import (
    Inclusion,
    LogPage,
    LogQuery,
    ManyAck,
    Outcome,
    PackageFile,
    PingReply,
    SubmitAck,
)
from pyrsia.status import (
    AgreementStatus,
    BuildStatus,
    DiskStatus,
    EntryStatus,
    KeyStatus,
    LogStatus,
    MembersStatus,
    MotionStatus,
    NodeStatus,
    PeerStatus,
    TransferStatus,
    UpstreamStatus,
)
from pyrsia.units import Limit, NodeId
from pyrsia.verify.acknowledged import Acknowledgement, FinalBlock
from pyrsia.verify.history import Subject
from pyrsia.wire.text import b32, unb32

BUILDS = Limit(200, "what a screen can show; older ones are found by their request")
FACT_KINDS = tuple(KINDS)
PING_S = 5.0


@dataclass(slots=True)
class Admin:
    """One node's face.

    Attributes:
        agreement: where agreement stands, and this node's part in it.
        progress: what goes on in the background that its operator may wait for.
        given: signed records of nodes, for whoever asks over HTTP.
        notices: what its operator should know; none of it makes the node unready.
        stopped: why agreement ended here, empty while it goes on. A node that only must not vote any more
            follows and serves rightly, so it stays ready; its reason is among the notices.
    """

    genesis: Genesis
    config: Config
    node_id: NodeId
    role: Callable[[], str]
    isolation: str
    archive: Archive
    cosigning: Cosigning
    links: Links
    peer_rows: Callable[[], Sequence[PeerStatus]]
    catalog: Catalog
    explaining: Explaining
    proofs: Proofs
    shelf: Shelf
    submitter: Submitter
    membership: Membership
    governing: Governing
    batches: Batches
    acknowledge: Acknowledge
    acknowledge_all: Callable[[Sequence[tuple[bytes, int]]], list[Acknowledgement]]
    requests: Requests | None
    builder: Builder | None
    desk: Desk
    judge: Judge
    knowledge: KnowledgeDesk
    provider: Provider
    tokens: Tokens
    messages: MessageDesk
    storage: StorageDesk
    copies: Keeping
    http: Callable[[], str]
    notices: list[str]
    stopped: list[str]
    started_s: float
    agreement: Callable[[], AgreementStatus]
    progress: Callable[[], Sequence[str]] = tuple
    given: Callable[[], Sequence[bytes]] = tuple
    upstream: Callable[[], UpstreamStatus] = UpstreamStatus
    disk: Callable[[], DiskStatus] = DiskStatus
    pasts: Pasts | None = None  # what packages were; None: nothing of it is remembered
    pushed: Callable[[str], bool] = lambda package: (
        False
    )  # whether it was pushed to this node, by versionless purl

    # -- reading -------------------------------------------------------------------------------

    async def status(self) -> NodeStatus:
        connected = sum(1 for peer in self.links.peers() if peer.connected)
        note = self.requests.note if self.requests else ""
        return NodeStatus(
            node_id=b32(self.node_id),
            name=self.config.node.name,
            role=self.role(),
            network=self.genesis.name,
            demo=self.genesis.demo,
            version=__version__,
            uptime_s=round(trio.current_time() - self.started_s, 1),
            isolation=self.isolation,
            log=self._log(),
            peers=connected,
            peer_count_expected=len(views.members(self.archive.state)) - 1,
            building=self._building() + ((note,) if note else ()),
            queue=tuple(self.builder.waiting()) if self.builder else (),
            transfer=self._transfer(),
            upstream=self.upstream(),
            disk=self.disk(),
            agreement=self.agreement(),
            http=self.http(),
            notices=(*self.stopped, *self.notices, *self.cosigning.notices, *self.progress()),
        )

    def _log(self) -> LogStatus:
        head = self.archive.head
        assert head is not None  # noqa: S101 (block 0 is written before anything is served)
        size, time_s, cosigned = self.cosigning.cosigned
        return LogStatus(
            size=head.tree_size,
            root=head.tree_root.hex(),
            height=head.height,
            view=head.view,
            time_ms=head.time_ms,
            checkpoint_size=size,
            checkpoint_time_s=time_s,
            cosigned=cosigned,
            validators=len(views.validators(self.archive.state, self.genesis)),
        )

    def _building(self) -> tuple[str, ...]:
        if self.builder is None:
            return ()
        return tuple(f"{request[:8]}: {note}" for request, note in self.builder.notes.items())

    def _transfer(self) -> TransferStatus:
        moved = self.shelf.counters
        return TransferStatus(
            chunks_received=moved.chunks_received,
            bytes_received=moved.bytes_received,
            chunks_sent=moved.chunks_sent,
            bytes_sent=moved.bytes_sent,
            artifacts_built=self.builder.built if self.builder else 0,
            artifacts_fetched=self.catalog.fetched,
            sources={b32(node): count for node, count in moved.received_from.items()},
        )

    async def addresses(self) -> Sequence[str]:
        return [self.links.control_endpoint]

    async def peers(self) -> Sequence[PeerStatus]:
        return self.peer_rows()

    async def builds(self) -> Sequence[BuildStatus]:
        reads = self.archive.state
        found = (views.request(reads, one) for one in views.recent_requests(reads, BUILDS.value))
        return [self._build(view) for view in found if view is not None]

    async def build(self, request: str) -> BuildStatus | None:
        reads = self.archive.state
        view = views.request(reads, request)
        return None if view is None else replace(self._build(view), served=is_served(reads, view))

    async def explain(self, request: str, *, deep: bool = False) -> Explanation:
        return await self.explaining.explain(request, deep=deep)

    def _build(self, view: RequestView) -> BuildStatus:
        return told(view, self.builder.notes.get(view.id, "") if self.builder else "")

    async def log_entries(self, first: int, count: int) -> Sequence[EntryStatus]:
        names = views.names(self.archive.state)
        here = self.archive.here_from(first)
        if here < first + count:  # what of it is here; if nothing is, the archive says so
            first, count = here, first + count - here
        return [
            summary(first + offset, leaf, names)
            for offset, leaf in enumerate(self.archive.entries(first, count))
        ]

    async def explore(self, query: LogQuery) -> LogPage:
        return await Explorer(self.archive, self.genesis).find(query)

    @property
    def inspecting(self) -> Inspector:
        return Inspector(self.archive, self.genesis, pasts=self.pasts)

    async def prove(self, index: int) -> Inclusion | None:
        leaf = self.archive.entry(index)
        head = self.archive.head
        if leaf is None or head is None:
            return None
        proof = self.proofs.of_leaf(index)
        return Inclusion(
            index=index,
            size=head.tree_size,
            root=head.tree_root.hex(),
            leaf_hash=leaf_hash(leaf).hex(),
            hashes=tuple(one.hex() for one in self.archive.inclusion(index, head.tree_size)),
            entry=leaf.decode(),
            proof="" if proof is None else proof.decode(),
        )

    async def artifact(self, sha256: str) -> dict[str, Any] | None:
        found = views.artifact(self.archive.state, sha256)
        return None if found is None else {**found.body, "log_index": found.leaf}

    async def proof_file(self, sha256: str, purl: str = "") -> bytes | None:
        found = self.proofs.of_artifact(sha256, purl) if purl else None
        return found if found is not None else self.proofs.of_artifact(sha256)

    async def contents(self, sha256: str) -> bytes | None:
        return await self.catalog.contents(sha256)

    async def attestations(self, sha256: str) -> bytes | None:
        return await self.catalog.attestations(sha256)

    async def package_files(self, package: str) -> Sequence[PackageFile]:
        if self.pushed(package):  # nor is the catalogue asked, which may ask the network for what it lacks
            raise Refusal(
                "package-unknown",
                what=f"{package} was pushed to this node: the log knows nothing of it, and there is no proof",
                who="whoever pushed it here",
                do="get it with its own client, set up by `pyrsia setup`; ask no network for a private name",
            )
        await self.catalog.prepare(package)
        return [
            PackageFile(
                one.filename, one.sha256, one.size, one.version, one.verdict, one.log_index, one.upstream
            )
            for one in self.catalog.files(package)
        ]

    async def history(self, subject: Subject) -> bytes | None:
        return await self.proofs.of_history(subject)

    async def node_records(self) -> Sequence[bytes]:
        return self.given()

    async def members(self, at: AsOf = NOW) -> MembersStatus:
        return await self.membership.members_at(at)

    async def motion(self, motion: str, at: AsOf = NOW) -> MotionStatus | None:
        return await self.membership.motion_at(motion, at)

    async def document(self) -> dict[str, Any]:
        return self.governing.document()

    async def keys(self) -> Sequence[KeyStatus]:
        return self.governing.own_keys()

    async def ready(self) -> Sequence[str]:
        stale = self.judge.stale()
        return [*self.stopped, *([stale] if stale else [])]

    # -- changes -------------------------------------------------------------------------------

    async def add_fact(
        self, kind: str, subject: str, text: str, fields: Mapping[str, Any] | None = None
    ) -> SubmitAck:
        if kind not in FACT_KINDS:
            raise Refusal(
                "bad-request",
                what=f"{kind!r} is no kind of fact",
                who="your command",
                do=f"use one of {', '.join(FACT_KINDS)}",
            )
        speakers.check(kind, speakers.roles_of(self._member()))
        said = {"kind": kind, "subject": subject, "text": text, "valid_from": int(time.time() * 1000)}
        body = {**(fields or {}), **said}
        try:
            raw = self.submitter.author("fact.add", body)
        except ValueError as error:
            raise Refusal(
                "bad-request", what=f"not a fact: {error}", who="your command", do="correct it"
            ) from None
        done, _ = await self.submitter.acknowledged(raw, self.acknowledge)
        return SubmitAck(done.entry, "committed", done.index, raw.decode(), done)

    def _member(self) -> Mapping[str, Any] | None:
        """This node's fields as a member; None while it is none, or none any more."""
        found = views.member(self.archive.state, self.node_id)
        return None if found is None or "left" in found else found

    async def withdraw(self, order: WithdrawalOrder) -> SubmitAck:
        try:
            raw = self.submitter.author("artifact.withdraw", to_builtins(order))
        except ValueError as error:
            raise Refusal(
                "bad-request", what=f"not a withdrawal: {error}", who="your command", do="correct it"
            ) from None
        done, _ = await self.submitter.acknowledged(raw, self.acknowledge)
        return SubmitAck(done.entry, "committed", done.index, raw.decode(), done)

    async def submit_entry(self, entry: bytes) -> SubmitAck:
        said, known = await self.submitter.acknowledged(entry, self.acknowledge)
        return SubmitAck(said.entry, "duplicate" if known else "committed", said.index, "", said)

    async def submit_entries(self, entries: Sequence[bytes]) -> ManyAck:
        outcomes = await self.batches.submit(entries)
        acknowledged = iter(self.acknowledge_all([one for one in outcomes if not isinstance(one, Refusal)]))
        blocks: dict[int, FinalBlock] = {}

        def row(one: tuple[bytes, int] | Refusal) -> Outcome:
            if isinstance(one, Refusal):
                return Outcome("refused", error=one.as_dict())
            said = next(acknowledged)
            blocks[said.block.height] = said.block
            return Outcome(
                "committed", said.entry, said.index, height=said.block.height, inclusion=said.inclusion
            )

        rows = tuple(row(one) for one in outcomes)
        return ManyAck(rows, tuple(blocks.values()))

    async def propose(self, body: Mapping[str, Any], *, approve: bool) -> MotionStatus:
        proposed = await self.governing.propose(dict(body))
        return await self._approved(proposed) if approve else proposed

    async def _approved(self, motion: MotionStatus) -> MotionStatus:
        counts = self.membership.may_approve(motion)
        return await self.governing.approve(motion.id) if counts else motion

    async def approve(self, motion: str) -> MotionStatus:
        return await self.governing.approve(motion)

    async def authorize(self, node: str, document: dict[str, Any] | None, reason: str) -> MotionStatus:
        return await self.governing.authorize(node, document, reason)

    async def rotate_keys(
        self, purposes: Sequence[str], reason: str, *, propose: bool
    ) -> tuple[dict[str, Any], MotionStatus | None, tuple[str, ...]]:
        return await self.governing.rotate(purposes, reason, propose=propose)

    async def ping(self, node_id: str) -> PingReply:
        try:
            node = NodeId(unb32(node_id))
            began_s = trio.current_time()
            await self.links.request(node, Method.PING, b"", PING_S)
        except Malformed:
            raise Refusal(
                "bad-request", what="this is no node id", who="your command", do="see `pyrsia peers`"
            ) from None
        except Unavailable as error:
            raise Refusal(
                "unavailable", what=f"{node_id[:8]} does not answer: {error}", who="that node", do="try later"
            ) from None
        return PingReply(node_id, round((trio.current_time() - began_s) * 1000, 3))
