"""Control links: one duplex connection per pair of nodes, with messages and requests both ways.

Whoever dials holds a DEALER, the other answers on its one ROUTER. The first frame is a greeting; nothing
else is looked at before it has bound the node id to the transport key that ZeroMQ vouches for, named our
chain, and been allowed. When two nodes dial each other at once, the link dialled by the smaller node id
stays: both sides apply the same rule, so the choice cannot flap. A node that has a link does not dial.

Delivery is at most once and not across a broken link: whoever needs an answer asks again. What the messages
mean is the node's business. `Links` is the face, and decides when a silent link is dead; the table in this
package's `__init__` says who decides the rest.

Source: docs/network.md, "Control links".
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import trio

from pyrsia.errors import Malformed, Unavailable
from pyrsia.mesh.scopes import Scope
from pyrsia.net.curve import curve_keys, curve_public
from pyrsia.net.dialling import Dialler
from pyrsia.net.door import Door
from pyrsia.net.faults import Faults
from pyrsia.net.greeting import Greeter, NodeKey
from pyrsia.net.hoarding import Hoarders
from pyrsia.net.loitering import Loiterers
from pyrsia.net.outbox import ORDINARY, URGENT
from pyrsia.net.peers import PeerLink, Peers
from pyrsia.net.requests import Answers, Busy, Handler, Questions
from pyrsia.net.sockets import Sockets
from pyrsia.net.targets import Target, Targets
from pyrsia.net.traffic import OnMessage, Traffic
from pyrsia.net.zap import Bans
from pyrsia.net.zsock import ZSock
from pyrsia.units import LINK_DEAD_S, NodeId
from pyrsia.wire import frames
from pyrsia.wire.frames import Frame, Type

__all__ = ["Busy", "Handler", "Links", "NodeKey", "OnMessage", "PeerLink"]

STOOD_S: Final = (
    5.0  # between two looks a second apart: no load does that, a stopped process or a sleeping machine does
)
PING_S: Final = 1.0  # a dead peer is noticed at the next ping; 60 bytes a second cost nothing


class Links:
    """All control links of one node, and the ZeroMQ context that it owns.

    Attributes:
        callers: who connected to our ports; whoever reads one says whose its connections are.

    Args:
        node_key: the Ed25519 node key (`public`, `seed`, `sign`).
        chain_id: 32 bytes; a peer of another chain is refused.
        control_addr: `tcp://host:port` to bind; port `*` or 0 lets the system choose.
        data_addr: the same for chunks (data.py); empty for none.
        broadcast_addr: the same for broadcasts; empty for none.
        plain_addr: the same for chunks without encryption, for who shows a ticket; empty for none.
        allow: whether a node has a place of its own.
        guest, guests: whether one without may have a link, and how many of those there may be.
        ours: scopes in which addresses of greetings are dialled as they are.
        blame: told of each fault of a node, in words.
        on_message: called for each one-way message, in the reader; it hands over and returns at once.
            A `PyrsiaError` from it counts as the peer's fault, anything else as a bug of ours.
        methods: number -> handler of a request. A `Refusal` from a handler is told to the asker.
        name: what we call ourselves, shown to peers.
        urgent: message kinds that overtake others.
        advertise: (control, data, broadcast) addresses told to peers instead of the bound ones.
        on_link: called with (node, True) when a peer is connected, (node, False) when it is gone.
    """

    def __init__(
        self,
        node_key: NodeKey,
        chain_id: bytes,
        *,
        control_addr: str,
        data_addr: str = "",
        broadcast_addr: str = "",
        plain_addr: str = "",
        allow: Callable[[NodeId], bool],
        on_message: OnMessage,
        methods: Mapping[int, Handler],
        name: str = "",
        urgent: Collection[int] = (1,),
        advertise: tuple[str, str, str] = ("", "", ""),
        on_link: Callable[[NodeId, bool], None] | None = None,
        guest: Callable[[NodeId], bool] = lambda node: False,
        guests: int = 0,
        ours: frozenset[Scope] = frozenset(Scope),
        blame: Callable[[NodeId, str], None] | None = None,
    ) -> None:
        self.node = NodeId(node_key.public)
        self.counted: Counter[str] = Counter()
        self.bans = Bans(trio.current_time)
        self._control_addr = control_addr
        self._data_addr = data_addr
        self._broadcast_addr = broadcast_addr
        self._plain_addr = plain_addr
        self._on_message = on_message
        self._methods = methods
        self._more: dict[int, Handler] = {}
        self._urgent = frozenset(urgent)
        self._advertise = advertise
        self._guests = guests
        self._hidden = False
        self._ours = ours
        self.callers = Loiterers(self.counted)
        self._sockets = Sockets(curve_keys(node_key.seed), self.bans, self.counted, self.callers.may_come)
        self._greeter = Greeter(node_key, chain_id, name, self._addresses, allow, guest)
        self._peers = Peers(self.counted, on_link)
        self.callers.know(lambda: self.control_endpoint, self._peers.inodes)
        self.on_refused: Callable[[NodeId, str], None] = lambda node, why: None
        self._faults = Faults(
            self._peers, self.bans, self.counted, blame, lambda node, why: self.on_refused(node, why)
        )
        self._questions = Questions(self.counted)
        self._targets = Targets(self.node, self._peers)

    # -- life --

    @property
    def control_endpoint(self) -> str:
        """The address that is bound; empty before."""
        return self._sockets.control_endpoint

    @property
    def data_endpoint(self) -> str:
        """The same for chunks; empty without a data address."""
        return self._sockets.data_endpoint

    @property
    def broadcast_endpoint(self) -> str:
        """The same for broadcasts; empty without a broadcast address."""
        return self._sockets.broadcast_endpoint

    @property
    def publisher(self) -> ZSock | None:
        """The XPUB of broadcasts; None without a broadcast address, or before `open`."""
        return self._sockets.broadcast

    @property
    def data_router(self) -> ZSock | None:
        """The socket of data.py; None without a data address, or before `open`."""
        return self._sockets.data

    @property
    def plain_router(self) -> ZSock | None:
        """The same without encryption; None unless it was asked for, or before `open`."""
        return self._sockets.plain

    @property
    def plain_endpoint(self) -> str:
        """The address that it got; empty without one."""
        return self._sockets.plain_endpoint

    def open(self) -> None:
        """Bind everything: the ZAP handler first, then the servers.

        Raises:
            Refusal: `port-taken`, or `config-invalid` where nobody could listen, with the address.
        """
        self._sockets.open(self._control_addr, self._data_addr, self._broadcast_addr, self._plain_addr)

    def close(self) -> None:
        """Close all sockets and the context. Calling it twice is harmless."""
        self._sockets.close()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled. Endpoints are known once this has started."""
        if not self._sockets.opened:
            self.open()
        zap, router = self._sockets.zap, self._sockets.control
        if zap is None or router is None:
            raise ValueError("links were closed")
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(zap.run)
                dialler, door = self._ends(nursery)
                nursery.start_soon(door.read, router)
                nursery.start_soon(self._watch)
                nursery.start_soon(self._questions.run)
                nursery.start_soon(Hoarders(self._sockets.ports, self._sockets.bound, self.counted).run)
                nursery.start_soon(self.callers.run)
                self._targets.begin(lambda target: nursery.start_soon(self._keep, dialler, target))
                task_status.started()
        finally:
            self._targets.end()
            for peer in self._peers.all():
                if peer.conn is not None:
                    self._peers.lose(peer.conn)
            self.close()

    def _ends(self, nursery: trio.Nursery) -> tuple[Dialler, Door]:
        """Both ends of links, and what crosses them; their tasks run in `nursery`."""
        peers, faults, counted = self._peers, self._faults, self.counted
        answers = Answers(self._handler, faults, counted, nursery)
        traffic = Traffic(peers, faults, self._questions, answers, self._on_message, counted)
        return (
            Dialler(self._sockets, self._greeter, peers, faults, traffic, counted),
            Door(self._greeter, peers, faults, traffic, counted, nursery, self._guests),
        )

    def _handler(self, method: int) -> Handler | None:
        return self._methods.get(method) or self._more.get(method)

    async def _keep(self, dialler: Dialler, target: Target) -> None:
        with target.scope:
            await dialler.keep(target)
        self._targets.gone(target)

    def _addresses(self) -> tuple[str, str, str]:
        """What peers are told: where they reach us."""
        if self._hidden:
            return "", "", ""
        control, data, broadcast = self._advertise
        return (
            control or self.control_endpoint,
            data or self.data_endpoint,
            (broadcast or self.broadcast_endpoint) if self.broadcast_endpoint else "",
        )

    # -- what callers do --

    def answer(self, methods: Mapping[int, Handler]) -> None:
        """Answer these methods as well. Before `run`, so that no peer asks too early.

        Raises:
            ValueError: one of them is answered already.
        """
        if taken := (self._methods.keys() | self._more.keys()) & methods.keys():
            raise ValueError(f"methods {sorted(taken)} are answered already")
        self._more.update(methods)

    def dial(self, addresses: Sequence[tuple[NodeId, str]], *, for_s: float | None = None) -> None:
        """Keep a link to each of these until `undial`; an address of ourselves is ignored.

        Args:
            for_s: have one for this long only, from now on; where there is a link already, nothing happens. It ends
                later while requests are under way, and sooner when many others are asked for.
        """
        for node, address in addresses:
            self._targets.dial(node, address, for_s)

    def undial(self, node: NodeId) -> None:
        """Dial `node` no more; a link that we dialled ends. One that it dialled stays."""
        self._targets.undial(node)

    def dials(self, node: NodeId) -> bool:
        """Whether `node` is dialled, for good or for a while."""
        return node in self._targets

    def dialled(self, node: NodeId) -> bool:
        """Whether the link with `node` is one that we dialled."""
        peer = self._peers.linked(node)
        return peer is not None and peer.conn is not None and peer.conn.dialled

    def seen_at(self, node: NodeId) -> str:
        """The numeric address at which `node`, which we dialled, says that it sees us; empty where it did not say."""
        peer = self._peers.linked(node)
        return peer.greeting.seen if peer is not None and peer.greeting is not None else ""

    def remote(self, node: NodeId) -> str:
        """The numeric address that the link with `node` comes from; empty where we dialled, or there is none."""
        peer = self._peers.linked(node)
        return peer.conn.remote if peer is not None and peer.conn is not None else ""

    def reached(self, node: NodeId) -> str:
        """The numeric address that the link with `node` goes to; empty where it dialled, or there is none."""
        peer = self._peers.linked(node)
        return peer.conn.reached if peer is not None and peer.conn is not None else ""

    def advertise(self, control: str, data: str, broadcast: str) -> None:
        """Tell peers these addresses from now on, in new greetings; empty ones stand for the bound ones."""
        self._advertise = (control, data, broadcast)
        self._hidden = False

    def hide(self) -> None:
        """Tell peers from now on that nobody can dial us."""
        self._hidden = True

    async def answers_at(self, node: NodeId, address: str) -> bool:
        """Whether a socket with the transport key of `node` answers at `address`, within the time for a greeting."""
        return await self._sockets.answers_at(node, address)

    def linked(self) -> list[NodeId]:
        """Every node that has a link, by node id."""
        return [peer.node for peer in self._peers.all() if peer.conn is not None]

    def connected(self, node: NodeId) -> bool:
        return self._peers.linked(node) is not None

    def guest(self, node: NodeId) -> bool:
        """Whether `node` has a link and no place of its own."""
        peer = self._peers.linked(node)
        return peer is not None and peer.guest

    def heard_s(self, node: NodeId) -> float:
        """When a frame last came over the link with `node`, by trio's clock; minus infinity without a link."""
        peer = self._peers.linked(node)
        return peer.conn.heard_s if peer is not None and peer.conn is not None else float("-inf")

    def queued(self, node: NodeId) -> int:
        """Bytes that wait to be sent to `node`."""
        peer = self._peers.linked(node)
        return 0 if peer is None else peer.outbox.size

    def send(self, node: NodeId, kind: int, payload: bytes) -> bool:
        """Queue a one-way message (at most 1 MiB). False: no link, or its queue is full."""
        peer = self._peers.linked(node)
        if peer is None:
            return False
        message = frames.encode(Frame(Type.SEND, number=kind, body=payload))
        if kind not in self._urgent:
            sent = peer.outbox.push(message, ORDINARY)
        else:
            sent = (peer.conn is not None and peer.conn.send_now(message)) or peer.outbox.push(
                message, URGENT
            )
        if not sent:
            self.counted["send-queue-full"] += 1
        return sent

    async def request(self, node: NodeId, method: int, payload: bytes, deadline_s: float) -> bytes:
        """Ask `node` and wait for its answer.

        Raises:
            Busy: the peer or our queue to it has no room now.
            Refusal: the peer's handler refused, in its own words.
            Unavailable: no link, the link broke, or no answer in time.
        """
        peer = self._peers.linked(node)
        if peer is None:
            raise Unavailable("there is no link to the peer")
        return await self._questions.ask(peer, method, payload, deadline_s)

    def peers(self) -> tuple[PeerLink, ...]:
        """Every node that we dial or that has a link, by node id."""
        return tuple(peer.snapshot() for peer in self._peers.all())

    def node_of_curve(self, key: bytes) -> NodeId | None:
        """The connected node whose transport key this is: how data.py knows who asks."""
        peer = self._peers.linked_by_curve(key)
        return peer.node if peer is not None else None

    def data_address(self, node: NodeId) -> str:
        """Where a connected node serves chunks; empty when it does not."""
        peer = self._peers.get(node)
        return (
            peer.at(peer.greeting.data, self._ours) if peer is not None and peer.greeting is not None else ""
        )

    def broadcast_address(self, node: NodeId) -> str:
        """Where a connected node publishes broadcasts; empty when it does not."""
        peer = self._peers.get(node)
        return (
            peer.at(peer.greeting.broadcast, self._ours)
            if peer is not None and peer.greeting is not None
            else ""
        )

    def subscriber(self, node: NodeId, address: str) -> tuple[ZSock, ZSock]:
        """A SUB connecting to the broadcasts of `node`, and the socket that tells when the connection is lost.

        Raises:
            Unavailable: the address is none, or the links are closed.
        """
        return self._sockets.subscriber(node, address)

    def refused_s(self, node: NodeId) -> float:
        """Seconds for which `node` is still refused; 0 for one that is not."""
        peer = self._peers.get(node)
        try:
            return self.bans.left_s(peer.curve if peer is not None else curve_public(node))
        except Malformed:
            return 0.0

    def ban(self, node: NodeId, why: str) -> None:
        """Refuse `node` for a while and drop its link. `why` is a counter's name."""
        self._faults.ban(node, why)

    def fault(self, node: NodeId, why: str) -> None:
        """A linked node said what no honest one says: it counts like a bad frame, and who goes on is refused."""
        peer = self._peers.linked(node)
        if peer is not None and peer.conn is not None:
            self._faults.of_link(peer.conn, Malformed(why))

    def client(
        self, node: NodeId, address: str, *, frame_bytes: int, hwm: int, plain: bool = False
    ) -> tuple[ZSock, ZSock]:
        """A DEALER connecting to `node`, and the socket that tells when the connection is lost.

        Raises:
            Unavailable: the address is none, or the links are closed.
        """
        return self._sockets.client(node, address, frame_bytes=frame_bytes, hwm=hwm, plain=plain)

    # -- watching --

    async def _watch(self) -> None:
        """Ping everybody; drop who has been silent too long."""
        ident, looked_s = 0, trio.current_time()
        while True:
            await trio.sleep(PING_S)
            now_s = trio.current_time()
            if (
                now_s - looked_s > STOOD_S
            ):  # this process stood still: what others said meanwhile waits to be read
                self._peers.heard(now_s)
            looked_s = now_s
            self._targets.sweep()
            for peer in self._peers.all():  # one of them may have been admitted, or not be a member any more
                peer.guest = not self._greeter.allows(peer.node)
            for conn in [*self._peers.inbound.values()]:
                if now_s - conn.heard_s > LINK_DEAD_S.value:
                    self._peers.lose(conn)
            for peer in self._peers.all():
                if peer.conn is None:
                    continue
                if now_s - peer.conn.heard_s > LINK_DEAD_S.value:
                    self._peers.lose(peer.conn)
                    continue
                if not peer.pinged[0]:
                    ident += 1
                    peer.pinged = (ident, now_s)
                peer.outbox.push(frames.encode(Frame(Type.PING, peer.pinged[0])), URGENT)
