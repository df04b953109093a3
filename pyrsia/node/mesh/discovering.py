"""Discovery as the node runs it: its core's effects by links, database, DNS and HTTP; its own record, anew in time.

Nothing is decided here: who is asked and believed says `mesh.discovery`, who is dialled `mesh.outbound`, what is
advertised `mesh.reach`.

Source: docs/mesh-discovery.md.
"""

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import trio
from blake3 import blake3

from pyrsia import __version__, keys
from pyrsia.buckets import Bucket, Buckets
from pyrsia.config import NetSection
from pyrsia.errors import Malformed, PyrsiaError, Refusal
from pyrsia.keys import KeyPair
from pyrsia.mesh import scopes
from pyrsia.mesh.discovery import Ask, AskOutside, Blame, Discovery, Effect, Save
from pyrsia.mesh.outbound import Dial, Outbound, Resolve, Undial
from pyrsia.mesh.reach import AskBack, Reach
from pyrsia.mesh.scopes import Scope
from pyrsia.mesh.scores import Scores
from pyrsia.mesh.table import Table
from pyrsia.net import beacon as cables
from pyrsia.net.beacon import Cable
from pyrsia.net.curve import curve_public
from pyrsia.net.links import Handler, Links
from pyrsia.node.kinds import Method
from pyrsia.node.mesh.cabling import CABLE, make_cable
from pyrsia.node.mesh.enduring import Border
from pyrsia.node.mesh.parts import OnKind
from pyrsia.node.mesh.saved import Saved
from pyrsia.store.rocks import Database
from pyrsia.units import RECORD_LIFE_MS, Limit, NodeId
from pyrsia.wire import backs, records
from pyrsia.wire.records import Record

ASK_S: Final = 5.0  # a peer answers from memory
BACK_S: Final = 20.0  # three dials, one after the other
ISSUE_S: Final = 600.0  # our record anew: how old a log size is that others see
MAX_GIVEN = Limit(128, "records in an answer over HTTP: 64 KiB, a whole network for most")
BACKS_AT_ONCE = Limit(4, "dials for others at a time; each takes five seconds at worst")
BACKS_BURST = Limit(16, "dials for others in a minute or so, of all")
_OF_A_CABLE: Final = frozenset({Scope.PRIVATE, Scope.CARRIER})

_log = logging.getLogger("pyrsia.mesh")


@dataclass(frozen=True, slots=True)
class Log:
    """What a node tells of its log, and what discovery asks of it.

    Attributes:
        head: size and root.
        member: whether a node is a member now; `left`, whether it was one.
        members: how many there are.
        needed: validators that must have links with each other, where this node is one.
    """

    head: Callable[[], tuple[int, bytes]]
    member: Callable[[NodeId], bool]
    left: Callable[[NodeId], bool]
    members: Callable[[], int]
    needed: Callable[[], Collection[NodeId]]


class Discovering:
    """One node's discovery.

    Attributes:
        table: who is known.
    """

    def __init__(
        self,
        node_key: KeyPair,
        chain_id: bytes,
        net: NetSection,
        *,
        name: Callable[[], str],
        links: Links,
        database: Database,
        scores: Scores,
        log: Log,
        fixed: Mapping[NodeId, str],
        ours: frozenset[Scope],
    ) -> None:
        self._key = node_key
        self._chain_id = chain_id
        self._net = net
        self._name = name
        self._links = links
        self._saved = Saved(database)
        self._scores = scores
        self._log = log
        # Whom the operator wants dialled by a host name: where one of them answers counts as named too.
        hosts = {node: scopes.split(address)[0] for node, address in fixed.items()}
        self._by_name = {node for node, host in hosts.items() if scopes.scope_of(host) is Scope.NAME}
        draw = secrets.SystemRandom()
        me = NodeId(node_key.public)
        self.table = Table(me, chain_id, verify=keys.verify, curve=curve_public, member=log.member)
        outbound = Outbound(
            self.table,
            draw,
            ours=ours,
            fixed=fixed,
            member=log.member,
            members=log.members,
            needed=log.needed,
            unwanted=lambda node: log.left(node) or scores.ignored(trio.current_time(), node),
        )
        self._core = Discovery(
            self.table,
            outbound,
            draw,
            ignored=lambda node: scores.ignored(trio.current_time(), node),
            outside=bool(net.dns or net.bootstrap),
        )
        self._todo: list[Effect | AskBack] = []
        self._kick = trio.Event()
        self._looking = False
        self._border = Border("nodes are not looked for")
        self._own: Record | None = None
        self._raw = b""
        self._issued_s = -ISSUE_S
        self._reach: Reach | None = None
        self._backs = trio.CapacityLimiter(BACKS_AT_ONCE.value)
        self._backs_of: Buckets[NodeId] = Buckets(1 / 30, 2)
        self._backs_all = Bucket(0.25, BACKS_BURST.value)

    # -- what other parts ask --

    @property
    def record(self) -> Record | None:
        """This node's own, as others get it; None before it runs."""
        return self._own

    def mentioned(self, node: NodeId, by: NodeId) -> None:
        """`by` spoke of a node that is not in the table: its record is asked for soon."""
        self._core.on_mentioned(trio.current_time(), node, by)
        self._kick.set()

    def way(self, node: NodeId) -> str:
        """Where `node` may be dialled for a while; empty for nowhere."""
        return self._core.outbound.way(node)

    def given(self) -> list[bytes]:
        """Some signed records for whoever asks over HTTP, this node's own first."""
        raws = [row.raw for row in self.table if row.record.control]
        secrets.SystemRandom().shuffle(raws)
        return [*([self._raw] if self._raw else []), *raws][: MAX_GIVEN.value]

    def cable(self, address: str) -> Cable:
        """Beacons of this node to that address, and what it hears there."""
        return make_cable(
            address,
            self._net.host,
            key=self._key,
            chain_id=self._chain_id,
            own=lambda: (self._raw, self._ports()[0]),
            heard=self.on_beacon,
        )

    def on_beacon(self, node: NodeId, raw: bytes, address: str) -> None:
        """A good beacon was heard: the record in it counts as another, and its sender is dialled where it was heard.

        Anybody on the cable can write any sender into a datagram. So a sender is believed where it is on a cable of
        ours, where whoever wrote it can go himself; and this machine and link-local addresses in our scopes alone.
        """
        if not self._core.on_outside(trio.current_time(), _now_ms(), CABLE, [raw]):
            return
        host, _ = scopes.split(address)
        within = self._core.outbound.within(host)
        if within or (scopes.scope_of(host) in _OF_A_CABLE and cables.on_cable(host)):
            self._core.on_hint(trio.current_time(), node, address, here=True)
            self._kick.set()

    # -- a part of the mesh --

    @property
    def methods(self) -> Mapping[int, Handler]:
        return {Method.RECORDS: self._on_records, Method.DIAL_BACK: self._on_dial_back}

    @property
    def messages(self) -> Mapping[int, OnKind]:
        return {}

    def linked(self, node: NodeId, up: bool) -> None:
        now_s = trio.current_time()
        if up:
            self._do(self._core.on_linked(now_s, node, dialled=self._links.dialled(node)))
            if node in self._by_name and self._links.dialled(node):
                self._core.outbound.widen(self._links.reached(node))
        else:
            self._core.on_lost(now_s, node)
        self._kick.set()

    async def run(self) -> None:
        """Until cancelled."""
        self._core.remember(_now_ms(), self._saved.load())
        self._reach = Reach(
            self._net.host,
            self._ports(),
            self._net.advertise,
            draw=secrets.SystemRandom(),
            within=self._core.outbound.within,
            member=self._log.member,
        )
        async with trio.open_nursery() as nursery:
            if self._net.lan:
                nursery.start_soon(self.cable(self._net.lan).run)
            while True:
                now_s, now_ms = trio.current_time(), _now_ms()
                if self._reach.found:
                    self._links.advertise(*self._reach.addresses())
                elif self._reach.decided:
                    self._links.hide()
                with self._border.turn():
                    self._renew(now_s, now_ms)
                with self._border.turn():
                    self._do(self._core.on_timer(now_s, now_ms))
                    self._do(self._reach.ask(now_s, self._seen()))
                todo, self._todo = self._todo, []
                for effect in todo:
                    with self._border.turn():
                        self._perform(nursery, effect)
                with trio.move_on_after(self._core.wait_s(trio.current_time())):
                    await self._kick.wait()
                self._kick = trio.Event()
                await trio.sleep(0.01)  # what comes in a burst is dealt with at once

    # -- effects --

    def _do(self, effects: Iterable[Effect | AskBack]) -> None:
        self._todo.extend(effects)

    def _perform(self, nursery: trio.Nursery, effect: Effect | AskBack) -> None:
        match effect:
            case Ask(node, question):
                nursery.start_soon(self._guarded, self._ask, node, question)
            case AskBack(node):
                nursery.start_soon(self._guarded, self._ask_back, node)
            case Dial(node, address):
                self._links.dial([(node, address)])
            case Undial(node):
                self._links.undial(node)
            case Resolve(host):
                nursery.start_soon(self._guarded, self._resolve, host)
            case AskOutside():
                nursery.start_soon(self._guarded, self._look_outside)
            case Blame(node, points, why):
                self._scores.note(trio.current_time(), node, points, why)
            case Save(node, raw):
                self._saved.keep(node, raw)

    async def _guarded(self, ask: Callable[..., Awaitable[None]], *given: object) -> None:
        """What somebody answers, a peer, a name server or an HTTP port, ends this question at most."""
        with self._border.turn():
            await ask(*given)

    async def _ask(self, node: NodeId, question: bytes) -> None:
        try:
            answer = await self._links.request(node, Method.RECORDS, question, ASK_S)
            raws = records.decode_list(answer)
        except Malformed as error:
            self._links.fault(node, str(error))
            return
        except PyrsiaError:
            return  # another peer is asked at the next turn
        self._do(self._core.on_answer(trio.current_time(), _now_ms(), node, raws))
        self._kick.set()

    async def _ask_back(self, node: NodeId) -> None:
        host = self._links.seen_at(node)
        try:
            answer = await self._links.request(
                node, Method.DIAL_BACK, backs.encode_ports(self._ports()), BACK_S
            )
            reached = backs.decode_reached(answer)
        except PyrsiaError:
            return
        if self._reach is not None:
            self._reach.on_back(trio.current_time(), node, host, reached)
            self._kick.set()

    async def _resolve(self, host: str) -> None:
        from pyrsia.net.names import resolve  # dnspython is wanted by few: 20 ms of every other node's start

        self._core.outbound.on_resolved(trio.current_time(), host, await resolve(host))
        self._kick.set()

    async def _look_outside(self) -> None:
        """Ask DNS names and the HTTP ports of nodes, one question at a time."""
        if self._looking:
            return
        self._looking = True
        try:
            if self._net.dns:
                await self._ask_names()
            if self._net.bootstrap and len(self._links.linked()) < 3:
                await self._ask_http()
        finally:
            self._looking = False
            self._kick.set()

    async def _ask_names(self) -> None:
        from pyrsia.net.names import Names

        names = Names()
        for name in self._net.dns:
            for node, address in await names.look_up(name):
                self._core.on_hint(trio.current_time(), node, address)

    async def _ask_http(self) -> None:
        from pyrsia.net.bootstrap import fetch

        for url in self._net.bootstrap:
            source = NodeId(blake3(b"http\0" + url.encode()).digest())
            raws = await fetch(url)
            if not self._core.on_outside(trio.current_time(), _now_ms(), source, raws):
                _log.warning("net.bootstrap: what %s gives are not all records of this network", url)

    # -- what peers ask --

    async def _on_records(self, node: NodeId, body: bytes) -> bytes:
        asked = records.decode_asked(body)
        raws, effects = self._core.on_asked(trio.current_time(), _now_ms(), node, asked)
        self._do(effects)
        self._kick.set()
        return records.encode_list(raws)

    async def _on_dial_back(self, node: NodeId, body: bytes) -> bytes:
        """Dial the asker where its link comes from, and nowhere else."""
        ports = backs.decode_ports(body)
        host, now_s = self._links.remote(node), trio.current_time()
        if not host:
            raise _not_now("this node dialled you: your address is known to answer")
        if scopes.scope_of(host) in (Scope.MACHINE, Scope.LINK) and not self._core.outbound.within(host):
            raise _not_now("you come from this machine or its cable, behind a relay it may be")
        if not self._backs_of.of(node).take(now_s) or not self._backs_all.take(now_s):
            raise _not_now("it was asked too often in a short while")
        reached: list[bool] = []
        async with self._backs:
            for port in ports:
                reached.append(bool(port) and await self._links.answers_at(node, scopes.join(host, port)))
        return backs.encode_reached((reached[0], reached[1], reached[2]))

    # -- our own record --

    def _renew(self, now_s: float, now_ms: int) -> None:
        """Make our record anew where something in it has changed, or it is old."""
        assert self._reach is not None  # noqa: S101 (made by `run`, which calls this)
        addresses = self._reach.addresses()
        old = self._own
        moved = old is None or (old.control, old.data, old.broadcast) != addresses
        if not moved and now_s - self._issued_s < ISSUE_S:
            return
        size, root = self._log.head()
        record = Record(
            node=self._links.node,
            net=self._chain_id,
            seq=max(now_ms, old.seq + 1 if old is not None else self._saved.own_seq(now_ms) + 1),
            issued_ms=now_ms,
            expires_ms=now_ms + RECORD_LIFE_MS.value,
            log_size=size,
            log_root=root,
            name=self._name()[:64],
            version=__version__,
            control=addresses[0],
            data=addresses[1],
            broadcast=addresses[2],
        )
        self._raw = records.encode(record, self._key.sign(records.to_sign(record)))
        self._own, self._issued_s = record, now_s
        self._core.renew(self._raw, moved=moved)
        self._saved.keep_own(self._raw)

    def _ports(self) -> tuple[int, int, int]:
        links = self._links
        ends = (links.control_endpoint, links.data_endpoint, links.broadcast_endpoint)
        control, data, broadcast = (scopes.split(end)[1] for end in ends)
        return control, data, broadcast

    def _seen(self) -> dict[NodeId, str]:
        """Where the peers that we dialled say that they see us."""
        links = self._links
        return {node: links.seen_at(node) for node in links.linked() if links.dialled(node)}


def _now_ms() -> int:
    return int(time.time() * 1000)


def _not_now(why: str) -> Refusal:
    return Refusal(
        "unavailable", what=f"no dial-back: {why}", who="your node", do="ask another peer, or later"
    )
