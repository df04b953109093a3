"""What is known of each node: whether it has a link, which connection that is, what waits for it.

`Peers` is the one place where a connection becomes a node's link and where a link ends.

Source: docs/network.md, "Control links".
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from pyrsia.mesh import scopes
from pyrsia.mesh.scopes import Scope
from pyrsia.net.curve import curve_public
from pyrsia.net.outbox import Outbox
from pyrsia.net.zsock import ZSock
from pyrsia.units import MAX_PART_BYTES, MAX_PEERS, NodeId
from pyrsia.wire import frames
from pyrsia.wire.frames import Frame, Greeting

DRAIN_S: Final = 1.0  # the losing one of two links is still read for this long

OnLink = Callable[[NodeId, bool], None]


@dataclass(frozen=True, slots=True)
class PeerLink:
    """One peer at a glance. `rtt_ms` is negative while unknown, `since_ms` 0 while not connected."""

    node: NodeId
    name: str
    address: str
    data_address: str
    connected: bool
    dialled: bool
    rtt_ms: float
    in_bytes: int
    out_bytes: int
    since_ms: int
    guest: bool = False  # it has no place of its own, and gives way to who has


class Waiting:
    """A request of ours on its way, and the task that waits for its answer."""

    __slots__ = ("answer", "done", "task", "until_s")

    def __init__(self, task: trio.lowlevel.Task, until_s: float) -> None:
        self.until_s = until_s
        self.answer: Frame | None = None
        self.done = False
        self.task: trio.lowlevel.Task | None = task  # while it sleeps

    def abort(self, _: object) -> trio.lowlevel.Abort:
        """The task is cancelled, or its time is up."""
        self.task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def end(self, answer: Frame | None = None) -> None:
        """Wake the task: with the answer, or because none will come."""
        self.answer, self.done = answer, True
        if self.task is not None:
            trio.lowlevel.reschedule(self.task)
            self.task = None


class Peer:
    """What we know of one node, connected or not."""

    __slots__ = (
        "address",
        "changed",
        "conn",
        "curve",
        "greeting",
        "guest",
        "in_bytes",
        "node",
        "out_bytes",
        "outbox",
        "pinged",
        "rtt_s",
        "serving",
        "since_ms",
        "waiting",
    )

    def __init__(self, node: NodeId, curve: bytes) -> None:
        self.node = node
        self.curve = curve
        self.outbox = Outbox()
        self.conn: Conn | None = None
        self.greeting: Greeting | None = None
        self.guest = False
        self.address = ""
        self.rtt_s = -1.0
        self.pinged: tuple[int, float] = (0, 0.0)
        self.in_bytes = self.out_bytes = self.since_ms = self.serving = 0
        self.waiting: dict[int, Waiting] = {}
        self.changed = trio.Event()

    def snapshot(self) -> PeerLink:
        greeting = self.greeting
        return PeerLink(
            node=self.node,
            name=greeting.name if greeting is not None else "",
            address=(greeting.control if greeting is not None else "") or self.address,
            data_address=greeting.data if greeting is not None else "",
            connected=self.conn is not None,
            dialled=self.conn is not None and self.conn.dialled,
            rtt_ms=self.rtt_s * 1000 if self.rtt_s >= 0 else -1.0,
            in_bytes=self.in_bytes,
            out_bytes=self.out_bytes,
            since_ms=self.since_ms,
            guest=self.guest and self.conn is not None,
        )

    def at(self, address: str, ours: frozenset[Scope]) -> str:
        """`address` of its greeting; at the machine that the link goes to, where it names none that we may dial.

        That is one that listens at every address, one within another network (another machine here), and a name:
        it would be resolved where nobody holds it to its scope. A guest is where its link leads and nowhere else: ids
        are free, and with a word in some greetings all nodes of a network would knock at one door of somebody else's.
        """
        said, port = scopes.split(address)
        if not port or (scopes.may_dial(said, ours) and not self.guest):
            return address
        conn = self.conn
        host = (conn.remote or conn.reached if conn is not None else "") or scopes.split(self.address)[0]
        return scopes.join(host, port) if host else ""

    def turned(self) -> None:
        """Tell whoever waits for `changed`: the link came or went."""
        self.changed.set()
        self.changed = trio.Event()


class Conn:
    """One connection to `peer` that has greeted.

    Attributes:
        route: empty where we dialled.
        remote: the numeric address that the connection comes from; empty where we dialled.
        reached: the one that it goes to, where we dialled.
        inode: the kernel's number of that connection; 0 where we dialled.
        used_s: when anything but a ping went over it.
    """

    __slots__ = (
        "assembler",
        "faults",
        "first",
        "heard_s",
        "idle",
        "inode",
        "peer",
        "reached",
        "remote",
        "route",
        "scope",
        "seq_in",
        "seq_out",
        "sock",
        "unsent",
        "used_s",
    )

    def __init__(
        self,
        peer: Peer,
        sock: ZSock,
        route: bytes,
        first: list[bytes],
        seq_in: int,
        remote: str = "",
        inode: int = 0,
        reached: str = "",
    ) -> None:
        self.peer = peer
        self.sock = sock
        self.route = route
        self.first = first  # frames that go out before anything from the queue
        self.seq_in = seq_in
        self.seq_out = 0
        self.remote = remote
        self.reached = reached
        self.inode = inode
        self.heard_s = self.used_s = trio.current_time()
        self.idle = False  # its writer waits for nothing but the outbox
        self.unsent: list[bytes] = []  # taken out of the outbox, and not sent yet
        self.faults = 0
        self.assembler = frames.Assembler()
        self.scope = trio.CancelScope()

    @property
    def dialled(self) -> bool:
        return not self.route

    def send_now(self, message: bytes) -> bool:
        """Send one small message past the outbox, where that overtakes nothing: to wake a writer costs as much again.

        False: it has to take its turn.
        """
        if not self.idle or self.unsent or self.peer.outbox or len(message) > MAX_PART_BYTES.value:
            return False
        self.seq_out += 1
        parts = [frames.with_seq(self.seq_out, message)]
        if not self.sock.send_now([self.route, *parts] if self.route else parts):
            self.seq_out -= 1  # the number was not used
            return False
        self.peer.out_bytes += len(parts[0])
        return True

    def flush(self) -> None:
        """Send what waits in the outbox now, where that takes no waiting; else wake the writer."""
        outbox = self.peer.outbox
        if not outbox:
            return
        if not self.idle or self.unsent:
            outbox.kick()
            return
        batch = outbox.take()
        parts = self.numbered(batch)
        if self.sock.send_now([self.route, *parts] if self.route else parts):
            self.peer.out_bytes += sum(map(len, parts))
        else:
            self.seq_out -= len(parts)
            self.unsent = batch
        if outbox or self.unsent:
            outbox.kick()

    def numbered(self, batch: Sequence[bytes]) -> list[bytes]:
        """Frames that are ready to be sent, with the next numbers of this connection."""
        packed = frames.bundled(batch)
        start = self.seq_out + 1
        self.seq_out += len(packed)
        return [frames.with_seq(start + i, message) for i, message in enumerate(packed)]


class Peers:
    """Every node that we dial or that has a link.

    Attributes:
        inbound: routing id -> the greeted connection of somebody who dialled us.
    """

    def __init__(self, counted: Counter[str], on_link: OnLink | None) -> None:
        self.inbound: dict[bytes, Conn] = {}
        self._lost: dict[bytes, None] = {}  # routes of links that are no more, newest last
        self._by_node: dict[NodeId, Peer] = {}
        self._by_curve: dict[bytes, Peer] = {}
        self._dialling: set[NodeId] = set()
        self._counted = counted
        self._on_link = on_link

    def __contains__(self, node: NodeId) -> bool:
        return node in self._by_node

    def __len__(self) -> int:
        return len(self._by_node)

    def all(self) -> list[Peer]:
        """By node id; the list stays what it is while links come and go."""
        return [self._by_node[node] for node in sorted(self._by_node)]

    def get(self, node: NodeId) -> Peer | None:
        return self._by_node.get(node)

    def linked(self, node: NodeId) -> Peer | None:
        """The peer, if it has a link."""
        peer = self._by_node.get(node)
        return peer if peer is not None and peer.conn is not None else None

    def linked_by_curve(self, key: bytes) -> Peer | None:
        """The linked peer whose transport key this is."""
        peer = self._by_curve.get(key)
        return peer if peer is not None and peer.conn is not None else None

    def know(self, node: NodeId) -> Peer:
        """The peer, made now if it is new.

        Raises:
            Malformed: the id is no public key.
        """
        peer = self._by_node.get(node)
        if peer is None:
            peer = self._by_node[node] = Peer(node, curve_public(node))
        return peer

    def twin(self, peer: Peer) -> bool:
        """Whether another id has a link with the same transport key: an Ed25519 key and its sign-flipped twin do."""
        linked = self._by_curve.get(peer.curve)
        return linked is not None and linked is not peer

    def unkeep_if_alone(self, peer: Peer) -> None:
        """Forget a peer that was only just made known, and is neither dialled nor linked."""
        if peer.node not in self._dialling and peer.conn is None:
            self._by_node.pop(peer.node, None)

    def guests(self) -> list[Peer]:
        """Those who dialled us and have no place of their own, the longest idle first."""
        found = [conn for conn in self.inbound.values() if conn.peer.guest and conn.peer.conn is conn]
        return [conn.peer for conn in sorted(found, key=lambda conn: conn.used_s)]

    def inodes(self) -> set[int]:
        """The connections of those who dialled us and greeted."""
        return {conn.inode for conn in self.inbound.values()}

    def heard(self, now_s: float) -> None:
        """Nobody counts as silent up to now."""
        for conn in self.inbound.values():
            conn.heard_s = max(conn.heard_s, now_s)
        for peer in self._by_node.values():
            if peer.conn is not None:
                peer.conn.heard_s = max(peer.conn.heard_s, now_s)

    def lost(self, route: bytes) -> bool:
        """Whether what comes over `route` was sent on a link that is no more: late, and nobody's fault."""
        return route in self._lost

    def keep(self, node: NodeId) -> bool:
        """Remember that `node` is dialled, so that it stays known without a link; False: no need or no room."""
        if node in self._dialling or len(self._dialling) >= MAX_PEERS.value:
            return False
        self._dialling.add(node)
        return True

    def unkeep(self, node: NodeId) -> None:
        """It is dialled no more: without a link it is forgotten."""
        self._dialling.discard(node)
        peer = self._by_node.get(node)
        if peer is not None and peer.conn is None:
            del self._by_node[node]

    def adopt(self, conn: Conn, greeting: Greeting) -> None:
        """From now on `conn` is its peer's link; one that was there before is read out and closed."""
        peer, old = conn.peer, conn.peer.conn
        peer.conn, peer.greeting = conn, greeting
        self._by_curve[peer.curve] = peer
        peer.since_ms = int(time.time() * 1000)
        peer.outbox.rewind()
        peer.outbox.kick()
        if old is not None:
            self._counted["link-replaced"] += 1
            if old.dialled:
                old.scope.deadline = trio.current_time() + DRAIN_S
            return
        self._counted["linked"] += 1
        peer.turned()
        if self._on_link is not None:
            self._on_link(peer.node, True)

    def lose(self, conn: Conn) -> None:
        """Forget `conn`; if it was its peer's link, whoever waits for answers is told."""
        if self.inbound.pop(conn.route, None) is not None:
            self._lost[conn.route] = None
            if len(self._lost) > MAX_PEERS.value:
                del self._lost[next(iter(self._lost))]
        conn.scope.cancel()
        peer = conn.peer
        if peer.conn is not conn:
            return
        peer.conn = None
        peer.since_ms = 0
        peer.rtt_s = -1.0
        peer.outbox.clear()
        for waiting in peer.waiting.values():
            waiting.end()
        self._counted["link-lost"] += 1
        peer.turned()
        self._by_curve.pop(peer.curve, None)
        if peer.node not in self._dialling:
            self._by_node.pop(peer.node, None)
        if self._on_link is not None:
            self._on_link(peer.node, False)
