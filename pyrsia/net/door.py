"""The door: whoever dials us has to greet first; before that nothing of it is looked at.

One ROUTER takes all connections. A route that has greeted is a connection of its node; any other frame
is a greeting that is believed, from a node that is allowed, or it is dropped and counted.

Source: docs/network.md, "Who is who", "Control links".
"""

from collections import Counter

import trio

from pyrsia.errors import Malformed, Unavailable
from pyrsia.net.faults import Faults
from pyrsia.net.greeting import Greeter
from pyrsia.net.peers import DRAIN_S, Conn, Peer, Peers
from pyrsia.net.sockets import MOST_FRAMES, bytes_of
from pyrsia.net.traffic import Traffic
from pyrsia.net.zap import key_of
from pyrsia.net.zsock import RETRY_S, ZSock
from pyrsia.units import MAX_PEERS
from pyrsia.wire import frames
from pyrsia.wire.frames import Frame, Greeting, Type


class Door:
    """Holds the answering end of links.

    Args:
        nursery: for the writers, one for each connection.
    """

    def __init__(
        self,
        greeter: Greeter,
        peers: Peers,
        faults: Faults,
        traffic: Traffic,
        counted: Counter[str],
        nursery: trio.Nursery,
    ) -> None:
        self._greeter = greeter
        self._peers = peers
        self._faults = faults
        self._traffic = traffic
        self._counted = counted
        self._nursery = nursery

    async def read(self, router: ZSock) -> None:
        """Until cancelled, or until the socket is closed: `Unavailable`."""
        while True:
            route, *parts = await router.recv()
            if not parts:
                continue
            conn, data = self._peers.inbound.get(route.bytes), bytes_of(parts)
            if conn is not None:
                self._traffic.take(conn, data)
            else:
                self._meet(router, route.bytes, key_of(parts[0]), data)

    def _meet(self, router: ZSock, route: bytes, key: bytes, parts: list[bytes]) -> None:
        """The first frames of a connection: a good greeting, or nothing."""
        if not key or self._faults.refused(key):
            self._counted["stranger-banned"] += 1
            return
        try:
            if len(parts) > MOST_FRAMES:
                raise Malformed("frame-batch: more frames in one message than a peer sends")
            seq, data = frames.split_seq(parts[0])
            greeting = self._greeter.check(frames.decode(data), key, None, Type.HELLO)
        except Malformed as error:
            if self._peers.lost(route):
                self._counted["frame-late"] += 1
            else:
                self._faults.of_stranger(key, error)
            return
        if not self._welcome_at_all(greeting):
            self._faults.not_ours(key)
            return
        peer = self._peers.know(greeting.node)
        held = peer.conn
        if held is not None and held.dialled and self._greeter.node < peer.node:
            # Ours is the one that stays. The other side waits for it after a BYE.
            self._counted["duplicate-link"] += 1
            bye = Conn(peer, router, route, [frames.encode(Frame(Type.BYE))], seq)
            self._nursery.start_soon(_write_farewell, bye)
            return
        conn = self._let_in(peer, router, route, greeting, seq)
        self._traffic.take(conn, parts[1:])

    def _let_in(self, peer: Peer, router: ZSock, route: bytes, greeting: Greeting, seq: int) -> Conn:
        welcome = self._greeter.make(greeting.node, greeting.nonce, welcome=True)
        for old in [c for c in self._peers.inbound.values() if c.peer is peer]:
            self._peers.lose(old)  # it came anew: what was in flight is lost
        peer = self._peers.know(greeting.node)
        conn = Conn(peer, router, route, [frames.encode(welcome)], seq)
        self._peers.inbound[route] = conn
        self._peers.adopt(conn, greeting)
        self._nursery.start_soon(self._write, conn)
        return conn

    def _welcome_at_all(self, greeting: Greeting) -> bool:
        if not self._greeter.allows(greeting.node):
            self._counted["not-allowed"] += 1
            return False
        if greeting.node not in self._peers and len(self._peers) >= MAX_PEERS.value:
            self._counted["too-many-peers"] += 1
            return False
        return True

    async def _write(self, conn: Conn) -> None:
        try:
            with conn.scope:
                await self._traffic.write(conn)
        except Unavailable:
            self._peers.lose(conn)


async def _write_farewell(conn: Conn) -> None:
    with trio.move_on_after(DRAIN_S):
        try:
            await conn.sock.send([conn.route, *conn.numbered(conn.first)], retry_s=RETRY_S)
        except Unavailable:
            return
