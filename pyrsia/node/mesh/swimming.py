"""Membership as the node runs it: probes over its links, by links made on demand where there is none.

Tracked are the members of the log, nodes with a record in discovery's table, and whoever has a link. Nothing is
decided here; `mesh.swim` says who is thought alive.

Source: docs/mesh-membership.md.
"""

import logging
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import trio

from pyrsia import __version__, keys
from pyrsia.mesh.liveness import State
from pyrsia.mesh.membership import Blame, Changed, Effect, Mentioned, Send, World
from pyrsia.mesh.scores import Scores
from pyrsia.mesh.swim import Swim
from pyrsia.net.links import Handler, Links, NodeKey
from pyrsia.node.clock import NowMs, wall_ms
from pyrsia.node.kinds import Kind
from pyrsia.node.mesh.enduring import Border
from pyrsia.node.mesh.loop_lag import LoopLag
from pyrsia.node.mesh.parts import OnKind
from pyrsia.node.mesh.rates import SAMPLE_S, Rate, Rates
from pyrsia.units import MAX_PEERS, Limit, NodeId
from pyrsia.wire import membership as wire
from pyrsia.wire.membership import Vitals
from pyrsia.wire.text import b32

DEMAND_S: Final = 10.0  # a link made for a probe stays for the answer and what is asked of it
HELD_S: Final = 3.0  # what waits for such a link; older it answers nothing any more
LEAVE_S: Final = 0.3  # to say goodbye: the node ends within three seconds, requests and builds included
CRASHED_S: Final = 5.0  # between two turns of which the first found a bug
MAX_LOAD_MS: Final = 65_535
MAX_HELD = Limit(
    4, "messages for one node until its link is made: a ping, a question, a suspicion, an answer"
)

OnChange = Callable[[NodeId, State], None]

_log = logging.getLogger("pyrsia.mesh")


@dataclass(frozen=True, slots=True)
class Around:
    """What membership asks of the rest of a node.

    Attributes:
        members: of the log. recorded: nodes whose signed record is here.
        way: a numeric address at which a node may be dialled; empty for none.
        mentioned: a node that is not tracked was spoken of, by whom.
        log_size: of our own.
        moved: bytes of files received of a node and sent to it, so far.
        member: whether the log names a node now. called: what people call a node.
    """

    members: Callable[[], Iterable[NodeId]]
    recorded: Callable[[], Iterable[NodeId]]
    way: Callable[[NodeId], str]
    mentioned: Callable[[NodeId, NodeId], None]
    log_size: Callable[[], int]
    moved: Callable[[NodeId], tuple[int, int]] = lambda node: (0, 0)
    member: Callable[[NodeId], bool] = lambda node: True
    called: Callable[[NodeId], str] = lambda node: b32(node)[:8]


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of how a node does. Seconds and milliseconds are negative while unknown."""

    state: State
    gone_s: float
    heard_s: float  # ago
    rtt_ms: float
    rate: Rate
    vitals: Vitals | None
    suspected_by: tuple[NodeId, ...]


class Swimming:
    """What this node believes of the others.

    Attributes:
        on_change: called, in the loop, with each node whose state became another. They return at once and do not raise.
    """

    def __init__(
        self,
        node_key: NodeKey,
        chain_id: bytes,
        links: Links,
        scores: Scores,
        around: Around,
        now_ms: NowMs = wall_ms,
    ) -> None:
        self.on_change: list[OnChange] = []
        self.lag = LoopLag(self._on_lag)
        self._links = links
        self._scores = scores
        self._around = around
        self._rates = Rates()
        self._held: OrderedDict[NodeId, deque[tuple[float, bytes]]] = OrderedDict()
        self._kick = trio.Event()
        self._left = False
        self._missed: set[NodeId] = set()  # who is dead or gone, and was said to be; of those tracked
        self._border = Border("who is there is not looked after")
        world = World(
            sign=node_key.sign,
            verify=keys.verify,
            reach=lambda node: links.connected(node) or bool(around.way(node)),
            listen=links.heard_s,
            ignored=scores.ignored,
            vitals=self._vitals,
            member=around.member,
        )
        self.core = Swim(
            NodeId(node_key.public),
            chain_id,
            world,
            secrets.SystemRandom(),
            now=trio.current_time(),
            incarnation=now_ms(),
        )

    # -- what other parts ask --

    def state(self, node: NodeId) -> State:
        """Of `node` now; UNKNOWN for a stranger."""
        return self.core.state(node)

    def dead_since(self, node: NodeId, now: float) -> float | None:
        """For how many seconds `node` has been dead, or has been gone after it said goodbye; None while it is neither.

        `now` is `trio.current_time()`. Of a node that was dead before this one started, the time since it was found so.
        Time in which this node stood still is nobody's.
        """
        return self.core.beliefs.gone_s(min(now, self.core.wake_at), node)

    def seen(self, node: NodeId) -> Seen:
        """All that is known of how `node` does."""
        now_s, beliefs, contact = trio.current_time(), self.core.beliefs, self.core.contact(node)
        gone_s = beliefs.gone_s(now_s, node)
        return Seen(
            state=self.state(node),
            gone_s=-1.0 if gone_s is None else gone_s,
            heard_s=max(-1.0, now_s - heard) if (heard := beliefs.heard_s(node)) >= 0 else -1.0,
            rtt_ms=contact.rtt_s * 1000 if contact is not None and contact.rtt_s >= 0 else -1.0,
            rate=self._rates.of(node),
            vitals=None if contact is None else contact.vitals,
            suspected_by=tuple(one.author for one in beliefs.against(node)),
        )

    async def leave(self) -> None:
        """Say goodbye, so that nobody takes a restart for a failure. Nothing is answered after this."""
        self._do(self.core.on_leave(self._links.linked()))
        self._left = True
        with trio.move_on_after(LEAVE_S):
            while any(self._links.queued(node) for node in self._links.linked()):  # noqa: ASYNC110 (bounded)
                await trio.sleep(0.01)

    # -- a part of the mesh --

    @property
    def methods(self) -> Mapping[int, Handler]:
        return {}

    @property
    def messages(self) -> Mapping[int, OnKind]:
        return {Kind.SWIM: self._receive}

    def linked(self, node: NodeId, up: bool) -> None:
        now_s = trio.current_time()
        if up:
            self._do(self.core.on_known(now_s, [node]))
            for until_s, data in self._held.pop(node, ()):
                if until_s >= now_s:
                    self._links.send(node, Kind.SWIM, data)
        self._do(self.core.on_linked(now_s, node, up))

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.lag.run)
            nursery.start_soon(self._look)
            while True:
                now_s = trio.current_time()
                told = False
                with self._border.turn():
                    if now_s >= self.core.wake_at:
                        self._do(self.core.on_timer(now_s))
                    told = True
                if not told:  # its next moment may be overdue for ever
                    await trio.sleep(CRASHED_S)
                with trio.move_on_at(self.core.wake_at):
                    await self._kick.wait()
                self._kick = trio.Event()

    # -- inside --

    def _receive(self, node: NodeId, payload: bytes) -> None:
        """
        Raises:
            Malformed: no honest peer sends this.
        """
        self._do(self.core.on_bytes(trio.current_time(), node, payload), by=node)

    def _do(self, effects: Iterable[Effect], by: NodeId | None = None) -> None:
        if self._left:
            return
        for effect in effects:
            match effect:
                case Send(node, message):
                    self._send(node, wire.encode(message))
                case Changed(node, state):
                    self._tell(node, state)
                case Blame(node, points, reason):
                    self._scores.note(trio.current_time(), node, points, reason)
                case Mentioned(node) if by is not None:
                    self._around.mentioned(node, by)
        self._kick.set()  # the moment to wake at may be another now

    def _tell(self, node: NodeId, state: State) -> None:
        said = ""
        if state in (State.DEAD, State.LEFT) and self.core.contact(node) is not None:
            self._missed.add(node)
            said = "does not answer any more" if state is State.DEAD else "said goodbye"
        elif state is State.ALIVE and node in self._missed:
            self._missed.discard(node)
            said = "is back"
        if said:  # guests come and go, and their ids are free: nobody wants to read of each
            level = logging.INFO if self._around.member(node) else logging.DEBUG
            _log.log(level, "%s %s", self._around.called(node), said)
        for told in self.on_change:
            told(node, state)

    def _send(self, node: NodeId, data: bytes) -> None:
        """By the link; or by one that is made now, for as long as an answer takes."""
        if self._links.send(node, Kind.SWIM, data) or self._links.connected(node):
            return
        address = self._around.way(node)
        if not address:
            return
        self._links.dial([(node, address)], for_s=DEMAND_S)
        held = self._held.setdefault(node, deque(maxlen=MAX_HELD.value))
        held.append((trio.current_time() + HELD_S, data))
        self._held.move_to_end(node)
        if len(self._held) > MAX_PEERS.value:
            self._held.popitem(last=False)

    async def _look(self) -> None:
        """Follow the log, the table and the links; count bytes."""
        while True:
            with self._border.turn():
                self._follow(trio.current_time())
            await trio.sleep(SAMPLE_S)

    def _follow(self, now_s: float) -> None:
        """The log, the table and the links as they are now."""
        peers = [peer for peer in self._links.peers() if peer.connected]
        wanted = {peer.node for peer in peers}.union(self._around.members(), self._around.recorded())
        beliefs = self.core.beliefs
        self._do(self.core.on_known(now_s, sorted(wanted)))
        self._do(self.core.on_forgotten([node for node in beliefs.nodes() if node not in wanted]))
        self._missed &= wanted
        self._rates.sample(
            now_s, {peer.node: self._bytes(peer.node, peer.in_bytes, peer.out_bytes) for peer in peers}
        )

    def _bytes(self, node: NodeId, received: int, sent: int) -> tuple[int, int]:
        files = self._around.moved(node)
        return received + files[0], sent + files[1]

    def _vitals(self) -> Vitals:
        load = min(MAX_LOAD_MS, int(self.lag.worst_s * 1000))
        return Vitals(self._around.log_size(), load, __version__[:32])

    def _on_lag(self, worst_s: float) -> None:
        self.core.on_lag(worst_s)
