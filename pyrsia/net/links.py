"""Control links: one duplex connection per pair of nodes, with messages and requests both ways.

Whoever dials holds a DEALER, the other answers on its one ROUTER. The first frame is a greeting; nothing
else is looked at before it has bound the node id to the transport key that ZeroMQ vouches for, named our
chain, and been allowed. When two nodes dial each other at once, the link dialled by the smaller node id
stays: both sides apply the same rule, so the choice cannot flap. A node that has a link does not dial.

Readers parse and hand over, nothing more. What a peer sends wrongly is dropped and counted; who goes on
is refused by transport key for a while. Delivery is at most once and not across a broken link: whoever
needs an answer asks again. What the messages mean is the node's business.

Source: peer-to-peer.md B.1, B.2, B.6, B.10, D.7-D.11; design page, section 6.
"""

import contextlib
import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import trio
import zmq

from pyrsia import keys
from pyrsia.errors import Malformed, PyrsiaError, Refusal, Unavailable
from pyrsia.net.curve import curve_keys, curve_public
from pyrsia.net.outbox import ORDINARY, URGENT, Outbox
from pyrsia.net.zap import Bans, Zap, key_of, serve_with_curve
from pyrsia.net.zsock import ZSock
from pyrsia.units import (
    BAN_S,
    DATA_HWM,
    DIAL_WAIT_S,
    LINK_BATCH_FRAMES,
    LINK_DEAD_S,
    LINK_FAULTS,
    LINK_HWM,
    MAX_BANS,
    MAX_DATA_FRAME_BYTES,
    MAX_LINK_MESSAGE_BYTES,
    MAX_PEERS,
    MAX_REQUESTS,
    MAX_REQUESTS_PER_PEER,
    REDIAL_S,
    REQUEST_DEADLINE_S,
    NodeId,
)
from pyrsia.wire import frames
from pyrsia.wire.frames import Frame, Greeting, Type

PING_S: Final = 1.0  # a dead peer is noticed at the next ping; 60 bytes a second cost nothing
BUSY_AGAIN_MS: Final = 200
DRAIN_S: Final = 1.0  # the losing one of two links is still read for this long
RETRY_S: Final = 0.05  # look again at a full ROUTER peer (zsock.py, rule 4)
FIRST_REDIAL_S: Final = 0.05
CURVE_BYTES: Final = 64  # what encryption adds to a frame (33), which ZeroMQ counts before it decrypts
MOST_FRAMES: Final = LINK_BATCH_FRAMES.value + 2  # one more of the second lane, and a part
REFUSED_S: Final = 5.0  # pause for a peer that is honest but not ours: other chain, not allowed
_LOST_EVENTS: Final = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)

_log = logging.getLogger("pyrsia.links")

OnMessage = Callable[[NodeId, int, bytes], None]
Handler = Callable[[NodeId, bytes], Awaitable[bytes]]


class NodeKey(Protocol):
    """What links need of the node's Ed25519 key."""

    @property
    def public(self) -> bytes: ...
    @property
    def seed(self) -> bytes: ...
    def sign(self, message: bytes) -> bytes: ...


class Busy(Unavailable):
    """The peer has too much to do; ask again after `retry_s`."""

    def __init__(self, retry_s: float) -> None:
        super().__init__(f"the peer is busy, try again in {retry_s:g} s")
        self.retry_s = retry_s


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


@dataclass(slots=True)
class _Waiting:
    """A request of ours on its way."""

    done: trio.Event
    answer: Frame | None = None


class _Peer:
    """What we know of one node, connected or not."""

    __slots__ = (
        "address",
        "changed",
        "conn",
        "curve",
        "greeting",
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
        self.conn: _Conn | None = None
        self.greeting: Greeting | None = None
        self.address = ""
        self.rtt_s = -1.0
        self.pinged: tuple[int, float] = (0, 0.0)
        self.in_bytes = self.out_bytes = self.since_ms = self.serving = 0
        self.waiting: dict[int, _Waiting] = {}
        self.changed = trio.Event()


class _Conn:
    """One connection to `peer` that has greeted. `route` is empty where we dialled."""

    __slots__ = (
        "assembler",
        "faults",
        "first",
        "heard_s",
        "peer",
        "route",
        "scope",
        "seq_in",
        "seq_out",
        "sock",
    )

    def __init__(self, peer: _Peer, sock: ZSock, route: bytes, first: list[bytes], seq_in: int) -> None:
        self.peer = peer
        self.sock = sock
        self.route = route
        self.first = first  # frames that go out before anything from the queue
        self.seq_in = seq_in
        self.seq_out = 0
        self.heard_s = trio.current_time()
        self.faults = 0
        self.assembler = frames.Assembler()
        self.scope = trio.CancelScope()

    @property
    def dialled(self) -> bool:
        return not self.route

    def numbered(self, batch: Sequence[bytes]) -> list[bytes]:
        start = self.seq_out + 1
        self.seq_out += len(batch)
        return [frames.with_seq(start + i, message) for i, message in enumerate(batch)]


class Links:
    """All control links of one node, and the ZeroMQ context that it owns.

    Args:
        node_key: the Ed25519 node key (`public`, `seed`, `sign`).
        chain_id: 32 bytes; a peer of another chain is refused.
        control_addr: `tcp://host:port` to bind; port `*` or 0 lets the system choose.
        data_addr: the same for chunks (data.py); empty for none.
        allow: whether a node may have a link at all.
        on_message: called for each one-way message, in the reader; it hands over and returns at once.
            A `PyrsiaError` from it counts as the peer's fault, anything else as a bug of ours.
        methods: number -> handler of a request. A `Refusal` from a handler is told to the asker.
        name: what we call ourselves, shown to peers.
        urgent: message kinds that overtake others.
        advertise: (control, data) addresses told to peers instead of the bound ones.
        on_link: called with (node, True) when a peer is connected, (node, False) when it is gone.
    """

    def __init__(
        self,
        node_key: NodeKey,
        chain_id: bytes,
        *,
        control_addr: str,
        data_addr: str = "",
        allow: Callable[[NodeId], bool],
        on_message: OnMessage,
        methods: Mapping[int, Handler],
        name: str = "",
        urgent: Collection[int] = (1,),
        advertise: tuple[str, str] = ("", ""),
        on_link: Callable[[NodeId, bool], None] | None = None,
    ) -> None:
        self.node = NodeId(node_key.public)
        self.control_endpoint = ""
        self.data_endpoint = ""
        self.counted: Counter[str] = Counter()
        self.bans = Bans(trio.current_time)
        self.data_router: ZSock | None = None
        self._key = node_key
        self._curve = curve_keys(node_key.seed)
        self._chain_id = chain_id
        self._control_addr = control_addr
        self._data_addr = data_addr
        self._allow = allow
        self._on_message = on_message
        self._methods = methods
        self._name = name
        self._urgent = frozenset(urgent)
        self._advertise = advertise
        self._on_link = on_link
        self._peers: dict[NodeId, _Peer] = {}
        self._by_curve: dict[bytes, _Peer] = {}
        self._inbound: dict[bytes, _Conn] = {}
        self._stranger_faults: Counter[bytes] = Counter()
        self._dialling: set[NodeId] = set()
        self._to_dial: list[tuple[NodeId, str]] = []
        self._serving = 0
        self._next_request = 0
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._zap: Zap | None = None
        self._router: ZSock | None = None
        self._nursery: trio.Nursery | None = None

    # -- life --

    def open(self) -> None:
        """Bind everything: the ZAP handler first, then the servers.

        Raises:
            Refusal: `port-taken` with the address.
        """
        self._context = zmq.Context(io_threads=2)
        self._context.set(zmq.MAX_SOCKETS, 4 * MAX_PEERS.value)
        try:
            self._zap = Zap(self._context, self.bans, self.counted)
            router = self._server(frames.FRAME_BYTES, LINK_HWM.value)
            self.control_endpoint = _bind(router, self._control_addr)
            self._router = ZSock(router)
            if self._data_addr:
                data = self._server(MAX_DATA_FRAME_BYTES.value + 1024, DATA_HWM.value)
                data.setsockopt(zmq.AFFINITY, 2)  # chunks have an I/O thread of their own
                self.data_endpoint = _bind(data, self._data_addr)
                self.data_router = ZSock(data)
        except Refusal:
            self.close()
            raise

    def close(self) -> None:
        """Close all sockets and the context. Calling it twice is harmless."""
        for sock in (self._router, self.data_router):
            if sock is not None:
                sock.close()
        if self._zap is not None:
            self._zap.close()
        if self._context is not None:
            self._context._warn_destroy_close = False  # sockets that never became a ZSock
            self._context.destroy(linger=0)
        self._context = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled. Endpoints are known once this has started."""
        if self._context is None:
            self.open()
        zap, router = self._zap, self._router
        if zap is None or router is None:
            raise ValueError("links were closed")
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await nursery.start(zap.run)
                await nursery.start(router.run)
                nursery.start_soon(self._read_router, router)
                nursery.start_soon(self._watch)
                for node, address in self._to_dial:
                    nursery.start_soon(self._keep_dialling, node, address)
                self._to_dial.clear()
                task_status.started()
        finally:
            self._nursery = None
            for peer in [*self._peers.values()]:
                if peer.conn is not None:
                    self._lose(peer.conn)
            self.close()

    # -- what callers do --

    def dial(self, addresses: Sequence[tuple[NodeId, str]]) -> None:
        """Keep a link to each of these; an address of ourselves or one already dialled is ignored."""
        for node, address in addresses:
            if node == self.node or node in self._dialling or len(self._dialling) >= MAX_PEERS.value:
                continue
            self._dialling.add(node)
            if self._nursery is None:
                self._to_dial.append((node, address))
            else:
                self._nursery.start_soon(self._keep_dialling, node, address)

    def connected(self, node: NodeId) -> bool:
        peer = self._peers.get(node)
        return peer is not None and peer.conn is not None

    def send(self, node: NodeId, kind: int, payload: bytes) -> bool:
        """Queue a one-way message (at most 1 MiB). False: no link, or its queue is full."""
        peer = self._peers.get(node)
        if peer is None or peer.conn is None:
            return False
        message = frames.encode(Frame(Type.SEND, number=kind, body=payload))
        sent = peer.outbox.push(message, URGENT if kind in self._urgent else ORDINARY)
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
        peer = self._peers.get(node)
        if peer is None or peer.conn is None:
            raise Unavailable("there is no link to the peer")
        if len(peer.waiting) >= MAX_REQUESTS_PER_PEER.value:
            raise Busy(BUSY_AGAIN_MS / 1000)
        deadline_s = min(deadline_s, float(REQUEST_DEADLINE_S.value))
        self._next_request += 1
        ident, waiting = self._next_request, _Waiting(trio.Event())
        frame = Frame(Type.REQUEST, ident, max(1, int(deadline_s * 1000)), method, payload)
        if not peer.outbox.push(frames.encode(frame), ORDINARY):
            self.counted["send-queue-full"] += 1
            raise Busy(BUSY_AGAIN_MS / 1000)
        peer.waiting[ident] = waiting
        try:
            with trio.move_on_after(deadline_s):
                await waiting.done.wait()
        finally:
            peer.waiting.pop(ident, None)
        return _answer_of(waiting, deadline_s)

    def peers(self) -> tuple[PeerLink, ...]:
        """Every node that we dial or that has a link, by node id."""
        return tuple(_snapshot(self._peers[node]) for node in sorted(self._peers))

    def node_of_curve(self, key: bytes) -> NodeId | None:
        """The connected node whose transport key this is: how data.py knows who asks."""
        peer = self._by_curve.get(key)
        return peer.node if peer is not None and peer.conn is not None else None

    def data_address(self, node: NodeId) -> str:
        """Where a connected node serves chunks; empty when it does not."""
        peer = self._peers.get(node)
        return peer.greeting.data if peer is not None and peer.greeting is not None else ""

    def ban(self, node: NodeId, why: str) -> None:
        """Refuse `node` for a while and drop its link. `why` is a counter's name."""
        self.counted[f"banned-{why}"] += 1
        peer = self._peers.get(node)
        key = peer.curve if peer is not None else curve_public(node)
        self.bans.add(key, BAN_S.value)
        if peer is not None and peer.conn is not None:
            self._lose(peer.conn)

    def client(self, node: NodeId, address: str, *, frame_bytes: int, hwm: int) -> tuple[ZSock, ZSock]:
        """A DEALER connecting to `node`, and the socket that tells when the connection is lost.

        It never reconnects: a lost connection is a new one, greeting and all (peer-to-peer.md D.9).

        Raises:
            Unavailable: the address is none, or the links are closed.
        """
        if self._context is None:
            raise Unavailable("the links are closed")
        sock = self._context.socket(zmq.DEALER)
        try:
            _bound(sock, frame_bytes, hwm)
            if hwm != LINK_HWM.value:
                sock.setsockopt(zmq.AFFINITY, 2)
            sock.setsockopt(zmq.CURVE_SERVERKEY, curve_public(node))
            sock.setsockopt(zmq.CURVE_PUBLICKEY, self._curve.public)
            sock.setsockopt(zmq.CURVE_SECRETKEY, self._curve.secret)
            sock.setsockopt(zmq.RECONNECT_IVL, -1)
            sock.setsockopt(zmq.CONNECT_TIMEOUT, DIAL_WAIT_S.value * 1000)
            monitor = sock.get_monitor_socket(_LOST_EVENTS)
            sock.connect(address)
        except (zmq.ZMQError, Malformed) as error:
            sock.close(linger=0)
            raise Unavailable(f"cannot dial: {error}") from None
        return ZSock(sock), ZSock(monitor)

    # -- dialling --

    async def _keep_dialling(self, node: NodeId, address: str) -> None:
        try:
            peer = self._peer(node)
        except Malformed:
            self.counted["dial-bad-node"] += 1
            return
        peer.address = address
        pause_s = FIRST_REDIAL_S
        while True:
            while peer.conn is not None:
                changed = peer.changed
                await changed.wait()
                pause_s = FIRST_REDIAL_S
            if peer.curve not in self.bans:
                self.counted["dialled"] += 1
                if await self._dial_once(peer, address):
                    pause_s = FIRST_REDIAL_S
            # Two nodes that lost each other must not dial in step for ever.
            await trio.sleep(pause_s * (0.5 + secrets.randbelow(1000) / 1000))
            pause_s = min(2 * pause_s, float(REDIAL_S.value))

    async def _dial_once(self, peer: _Peer, address: str) -> bool:
        """One connection from dial to loss; whether it ever was a link."""
        try:
            sock, monitor = self.client(
                peer.node, address, frame_bytes=frames.FRAME_BYTES, hwm=LINK_HWM.value
            )
        except Unavailable:
            self.counted["dial-failed"] += 1
            return False
        linked = False
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(sock.run)
                await nursery.start(monitor.run)
                nursery.start_soon(_until_lost, monitor, nursery.cancel_scope)
                conn = await self._greet(peer, sock)
                if conn is not None:
                    linked = True
                    conn.scope = nursery.cancel_scope
                    if peer.conn is not conn:
                        conn.scope.deadline = trio.current_time() + DRAIN_S
                    nursery.start_soon(self._write, conn)
                    while True:
                        self._handle(conn, _bytes_of(await sock.recv()))
                nursery.cancel_scope.cancel()
        except* Unavailable:
            pass
        finally:
            if peer.conn is not None and peer.conn.sock is sock:
                self._lose(peer.conn)
            sock.close()
            monitor.close()
        return linked

    async def _greet(self, peer: _Peer, sock: ZSock) -> _Conn | None:
        nonce = secrets.token_bytes(frames.NONCE_BYTES)
        hello = Frame(Type.HELLO, body=self._greeting(peer.node, nonce, welcome=False))
        with trio.move_on_after(DIAL_WAIT_S.value):
            await sock.send([frames.with_seq(1, frames.encode(hello))])
            first, *rest = _bytes_of(await sock.recv())
            try:
                seq, data = frames.split_seq(first)
                frame = frames.decode(data)
                if frame.type is Type.BYE:  # it keeps a link of its own to us, or does not want us
                    self.counted["dial-refused"] += 1
                    return None
                greeting = self._check_greeting(frame, peer.curve, nonce, Type.WELCOME)
            except Malformed as error:
                self._fault_of_dialled(peer, error)
                return None
            if greeting.node != peer.node:
                self._fault_of_dialled(peer, Malformed("greeting: another node"))
                return None
            conn = _Conn(peer, sock, b"", [], seq)
            conn.seq_out = 1
            if peer.conn is None or self.node < peer.node:
                self._adopt(conn, greeting)
            # Else it dialled as well and its link is the one that stays; ours is read out and closed.
            if rest:
                self._handle(conn, rest)
            return conn
        self.counted["dial-timeout"] += 1
        return None

    def _fault_of_dialled(self, peer: _Peer, error: Malformed) -> None:
        self._count_fault(error)
        self.bans.add(peer.curve, REFUSED_S)

    # -- the ROUTER --

    async def _read_router(self, router: ZSock) -> None:
        while True:
            route, *parts = await router.recv()
            if not parts:
                continue
            conn, data = self._inbound.get(route.bytes), _bytes_of(parts)
            if conn is not None:
                self._handle(conn, data)
            else:
                self._meet(router, route.bytes, key_of(parts[0]), data)

    def _meet(self, router: ZSock, route: bytes, key: bytes, parts: list[bytes]) -> None:
        """The first frames of a connection: a good greeting, or nothing."""
        if not key or key in self.bans:
            self.counted["stranger-banned"] += 1
            return
        try:
            if len(parts) > MOST_FRAMES:
                raise Malformed("frame-batch: more frames in one message than a peer sends")
            seq, data = frames.split_seq(parts[0])
            frame = frames.decode(data)
            greeting = self._check_greeting(frame, key, None, Type.HELLO)
        except Malformed as error:
            self._stranger_fault(key, error)
            return
        if not self._welcome_at_all(greeting):
            self.bans.add(key, REFUSED_S)
            return
        peer = self._peer(greeting.node)
        held = peer.conn
        if held is not None and held.dialled and self.node < peer.node:
            # Ours is the one that stays. The other side waits for it after a BYE.
            self.counted["duplicate-link"] += 1
            self._farewell(_Conn(peer, router, route, [frames.encode(Frame(Type.BYE))], seq))
            return
        welcome = frames.encode(
            Frame(Type.WELCOME, body=self._greeting(peer.node, greeting.nonce, welcome=True))
        )
        for old in [c for c in self._inbound.values() if c.peer is peer]:
            self._lose(old)  # it came anew: what was in flight is lost
        peer = self._peer(greeting.node)
        conn = _Conn(peer, router, route, [welcome], seq)
        self._inbound[route] = conn
        self._adopt(conn, greeting)
        if self._nursery is not None:
            self._nursery.start_soon(self._write_inbound, conn)
        self._handle(conn, parts[1:])

    def _welcome_at_all(self, greeting: Greeting) -> bool:
        if greeting.node == self.node or not self._allow(greeting.node):
            self.counted["not-allowed"] += 1
            return False
        if greeting.node not in self._peers and len(self._peers) >= MAX_PEERS.value:
            self.counted["too-many-peers"] += 1
            return False
        return True

    def _stranger_fault(self, key: bytes, error: Malformed) -> None:
        self._count_fault(error)
        if len(self._stranger_faults) >= MAX_BANS.value:
            self._stranger_faults.clear()
        self._stranger_faults[key] += 1
        if self._stranger_faults[key] >= LINK_FAULTS.value:
            del self._stranger_faults[key]
            self.counted["banned-stranger"] += 1
            self.bans.add(key, BAN_S.value)

    def _farewell(self, conn: _Conn) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._write_farewell, conn)

    async def _write_farewell(self, conn: _Conn) -> None:
        with trio.move_on_after(DRAIN_S):
            try:
                await conn.sock.send([conn.route, *conn.numbered(conn.first)], retry_s=RETRY_S)
            except Unavailable:
                return

    # -- greetings --

    def _greeting(self, to: NodeId, nonce: bytes, *, welcome: bool) -> bytes:
        control, data = self._advertise
        greeting = Greeting(
            self.node,
            self._chain_id,
            to,
            nonce,
            int(time.time() * 1000),
            self._name,
            control or self.control_endpoint,
            data or self.data_endpoint,
        )
        signature = self._key.sign(frames.greeting_to_sign(greeting, welcome=welcome))
        return frames.encode_greeting(greeting, signature)

    def _check_greeting(self, frame: Frame, key: bytes, nonce: bytes | None, expected: Type) -> Greeting:
        """Raises `Malformed` unless `frame` greets us, now, from the owner of the transport key `key`."""
        if frame.type is not expected:
            raise Malformed("greeting: something else came first")
        greeting, signature = frames.decode_greeting(frame.body)
        if greeting.to != self.node or (nonce is not None and greeting.nonce != nonce):
            raise Malformed("greeting-replayed: meant for another connection")
        if greeting.chain_id != self._chain_id:
            raise Malformed("greeting-wrong-chain: of another network")
        if curve_public(greeting.node) != key:
            raise Malformed("greeting-not-its-key: the node id does not belong to the transport key")
        signed = frames.greeting_to_sign(greeting, welcome=expected is Type.WELCOME)
        if not keys.verify(greeting.node, signed, signature):
            raise Malformed("greeting: the signature is wrong")
        return greeting

    # -- one connection --

    def _peer(self, node: NodeId) -> _Peer:
        peer = self._peers.get(node)
        if peer is None:
            peer = self._peers[node] = _Peer(node, curve_public(node))
            self._by_curve[peer.curve] = peer
        return peer

    def _adopt(self, conn: _Conn, greeting: Greeting) -> None:
        peer, old = conn.peer, conn.peer.conn
        peer.conn, peer.greeting = conn, greeting
        peer.since_ms = int(time.time() * 1000)
        peer.outbox.rewind()
        peer.outbox.kick()
        if old is not None:
            self.counted["link-replaced"] += 1
            if old.dialled:
                old.scope.deadline = trio.current_time() + DRAIN_S
            return
        self.counted["linked"] += 1
        peer.changed.set()
        peer.changed = trio.Event()
        if self._on_link is not None:
            self._on_link(peer.node, True)

    def _lose(self, conn: _Conn) -> None:
        """Forget `conn`; if it was its peer's link, whoever waits for answers is told."""
        self._inbound.pop(conn.route, None)
        conn.scope.cancel()
        peer = conn.peer
        if peer.conn is not conn:
            return
        peer.conn = None
        peer.since_ms = 0
        peer.rtt_s = -1.0
        peer.outbox.clear()
        for waiting in peer.waiting.values():
            waiting.done.set()
        self.counted["link-lost"] += 1
        peer.changed.set()
        peer.changed = trio.Event()
        if peer.node not in self._dialling:
            self._peers.pop(peer.node, None)
            self._by_curve.pop(peer.curve, None)
        if self._on_link is not None:
            self._on_link(peer.node, False)

    async def _write_inbound(self, conn: _Conn) -> None:
        try:
            with conn.scope:
                await self._write(conn)
        except Unavailable:
            self._lose(conn)

    async def _write(self, conn: _Conn) -> None:
        """Send what waits for the peer, for as long as this is its link."""
        peer, prefix = conn.peer, [conn.route] if conn.route else []
        batch = conn.first
        while True:
            if batch:
                parts = conn.numbered(batch)
                await conn.sock.send([*prefix, *parts], retry_s=RETRY_S)
                peer.out_bytes += sum(map(len, parts))
            elif peer.conn is conn:
                await peer.outbox.wait()
            if peer.conn is not conn:
                return
            batch = peer.outbox.take()

    def _handle(self, conn: _Conn, parts: Sequence[bytes]) -> None:
        """Take what came over `conn`. Never raises for anything that a peer can send."""
        peer = conn.peer
        conn.heard_s = trio.current_time()
        if len(parts) > MOST_FRAMES:
            self._fault(conn, Malformed("frame-batch: more frames in one message than a peer sends"))
            return
        for part in parts:
            peer.in_bytes += len(part)
            if peer.curve in self.bans:
                self.counted["frame-banned"] += 1
                continue
            try:
                seq, data = frames.split_seq(part)
                if seq <= conn.seq_in:
                    raise Malformed("frame-replayed: its number was used")
                conn.seq_in = seq
                frame: Frame | None = frames.decode(data)
                if frame is not None and frame.type is Type.PART:
                    frame = conn.assembler.add(frame)
                if frame is not None:
                    self._dispatch(conn, frame)
            except PyrsiaError as error:
                self._fault(conn, error)

    def _fault(self, conn: _Conn, error: PyrsiaError) -> None:
        self._count_fault(error)
        conn.faults += 1
        if conn.faults >= LINK_FAULTS.value:
            self.ban(conn.peer.node, "faults")

    def _dispatch(self, conn: _Conn, frame: Frame) -> None:
        peer = conn.peer
        match frame.type:
            case Type.SEND:
                self._take_message(peer, frame)
            case Type.REQUEST:
                self._take_request(peer, frame)
            case Type.REPLY | Type.BUSY | Type.ERROR:
                waiting = peer.waiting.get(frame.request)
                if waiting is None or waiting.answer is not None:
                    self.counted["reply-late"] += 1
                    return
                waiting.answer = frame
                waiting.done.set()
            case Type.PING:
                peer.outbox.push(frames.encode(Frame(Type.PONG, frame.request)), URGENT)
            case Type.PONG:
                ident, sent_s = peer.pinged
                if frame.request == ident and ident:
                    took_s = trio.current_time() - sent_s
                    peer.rtt_s = took_s if peer.rtt_s < 0 else 0.8 * peer.rtt_s + 0.2 * took_s
                    peer.pinged = (0, 0.0)
            case Type.BYE:
                self._lose(conn)
            case _:
                raise Malformed(f"frame: {frame.type.name} has no place on a greeted link")

    # -- answering --

    def _take_message(self, peer: _Peer, frame: Frame) -> None:
        try:
            self._on_message(peer.node, frame.number, frame.body)
        except PyrsiaError:
            raise
        except Exception:  # noqa: BLE001 - as for handlers
            # A bug of ours, and like one in a handler it must not end the node.
            self.counted["message-crashed"] += 1
            _log.exception("message of kind %d", frame.number)

    def _take_request(self, peer: _Peer, frame: Frame) -> None:
        handler = self._methods.get(frame.number)
        full = peer.serving >= MAX_REQUESTS_PER_PEER.value or self._serving >= MAX_REQUESTS.value
        if handler is None or full or self._nursery is None:
            self.counted["request-unknown" if handler is None else "request-busy"] += 1
            answer = Frame(Type.ERROR, frame.request) if handler is None else _busy(frame.request)
            peer.outbox.push(frames.encode(answer), URGENT)
            return
        peer.serving += 1
        self._serving += 1
        self._nursery.start_soon(self._answer, peer, handler, frame)

    async def _answer(self, peer: _Peer, handler: Handler, frame: Frame) -> None:
        answer: Frame | None = None
        try:
            with trio.move_on_after(min(frame.deadline_ms / 1000, REQUEST_DEADLINE_S.value)):
                body = await handler(peer.node, frame.body)
                if len(body) > MAX_LINK_MESSAGE_BYTES.value:
                    raise ValueError("the answer is over the limit of a message")
                answer = Frame(Type.REPLY, frame.request, body=body)
        except Refusal as refusal:
            answer = Frame(Type.ERROR, frame.request, body=json.dumps(refusal.as_dict()).encode())
        except PyrsiaError as error:
            self._count_fault(error)
            answer = Frame(Type.ERROR, frame.request)
        except Exception:  # noqa: BLE001 - a peer's bytes must not end the node, whatever bug they find
            self.counted["request-crashed"] += 1
            _log.exception("request for method %d", frame.number)
            answer = Frame(Type.ERROR, frame.request)
        finally:
            peer.serving -= 1
            self._serving -= 1
        if answer is not None and peer.conn is not None:
            if not peer.outbox.push(frames.encode(answer), URGENT):
                self.counted["send-queue-full"] += 1

    # -- watching --

    async def _watch(self) -> None:
        """Ping everybody; drop who has been silent too long."""
        ident = 0
        while True:
            await trio.sleep(PING_S)
            now_s = trio.current_time()
            for conn in [*self._inbound.values()]:
                if now_s - conn.heard_s > LINK_DEAD_S.value:
                    self._lose(conn)
            for peer in [*self._peers.values()]:
                if peer.conn is None:
                    continue
                if now_s - peer.conn.heard_s > LINK_DEAD_S.value:
                    self._lose(peer.conn)
                    continue
                if not peer.pinged[0]:
                    ident += 1
                    peer.pinged = (ident, now_s)
                peer.outbox.push(frames.encode(Frame(Type.PING, peer.pinged[0])), URGENT)

    def _count_fault(self, error: PyrsiaError) -> None:
        rule = str(error).partition(":")[0][:24] if isinstance(error, Malformed) else "other"
        known = len(self.counted) < MAX_PEERS.value  # a rule's name might hold a stranger's text
        self.counted[f"bad-{rule}" if known else "bad-other"] += 1

    def _server(self, frame_bytes: int, hwm: int) -> zmq.Socket[bytes]:
        if self._context is None:
            raise ValueError("links are not open")
        sock = self._context.socket(zmq.ROUTER)
        _bound(sock, frame_bytes, hwm)
        sock.setsockopt(zmq.ROUTER_MANDATORY, 1)
        sock.setsockopt(zmq.HANDSHAKE_IVL, DIAL_WAIT_S.value * 1000)
        serve_with_curve(sock, self._curve.secret)
        return sock


def _bound(sock: zmq.Socket[bytes], frame_bytes: int, hwm: int) -> None:
    """The limits that every socket has."""
    sock.setsockopt(zmq.LINGER, 0)
    sock.setsockopt(zmq.SNDHWM, hwm)
    sock.setsockopt(zmq.RCVHWM, hwm)
    sock.setsockopt(zmq.MAXMSGSIZE, frame_bytes + CURVE_BYTES)
    sock.setsockopt(zmq.HEARTBEAT_IVL, 5_000)
    sock.setsockopt(zmq.HEARTBEAT_TIMEOUT, LINK_DEAD_S.value * 1000)
    sock.setsockopt(zmq.HEARTBEAT_TTL, LINK_DEAD_S.value * 1000)


def _bytes_of(parts: Sequence[zmq.Frame]) -> list[bytes]:
    """Copies of no more frames than it takes to see that there are too many."""
    return [part.bytes for part in parts[: MOST_FRAMES + 1]]


def _bind(sock: zmq.Socket[bytes], address: str) -> str:
    try:
        sock.bind(address.removesuffix(":0") + ":*" if address.endswith(":0") else address)
    except zmq.ZMQError as error:
        sock.close(linger=0)
        raise Refusal(
            "port-taken",
            what=f"cannot listen on {address}: {error}",
            who="this machine: another program or another node holds the address",
            do="stop it, or choose another address in the configuration",
        ) from None
    return sock.getsockopt_string(zmq.LAST_ENDPOINT)


async def _until_lost(monitor: ZSock, scope: trio.CancelScope) -> None:
    """End `scope` with the first event that says that the connection is gone."""
    with contextlib.suppress(Unavailable):
        await monitor.recv()
    scope.cancel()


def _busy(request: int) -> Frame:
    return Frame(Type.BUSY, request, BUSY_AGAIN_MS)


def _answer_of(waiting: _Waiting, deadline_s: float) -> bytes:
    answer = waiting.answer
    if answer is None:
        lost = waiting.done.is_set()
        raise Unavailable("the link broke" if lost else f"no answer within {deadline_s:g} s")
    if answer.type is Type.REPLY:
        return answer.body
    if answer.type is Type.BUSY:
        raise Busy(answer.deadline_ms / 1000)
    try:
        fields = json.loads(answer.body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise Unavailable("the peer could not answer")
    raise Refusal.from_dict(fields)


def _snapshot(peer: _Peer) -> PeerLink:
    greeting = peer.greeting
    return PeerLink(
        node=peer.node,
        name=greeting.name if greeting is not None else "",
        address=(greeting.control if greeting is not None else "") or peer.address,
        data_address=greeting.data if greeting is not None else "",
        connected=peer.conn is not None,
        dialled=peer.conn is not None and peer.conn.dialled,
        rtt_ms=peer.rtt_s * 1000 if peer.rtt_s >= 0 else -1.0,
        in_bytes=peer.in_bytes,
        out_bytes=peer.out_bytes,
        since_ms=peer.since_ms,
    )
