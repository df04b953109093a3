"""The door: whoever dials us has to greet first; before that nothing of it is looked at.

One ROUTER takes all connections. A route that has greeted is a connection of its node; any other frame
is a greeting that is believed, from a node that is wanted, or it is dropped and counted.

Who has a place of its own (a member of the log) always gets a link. Others are guests: as many as the operator wants,
and where all places are taken the guest that was idle for the longest makes room for a member. Identities are free and
addresses are not: of an address group that has more than a quarter of the guests' places one makes room for a guest of
a group that has fewer, and so does whoever is idle for a minute. Who comes again and
again in a short while is kept away for a moment, by its key and by the address that it comes from.

Source: docs/network.md, "Who is who", "Control links"; docs/mesh-discovery.md, "Guests".
"""

from collections import Counter
from typing import Final

import trio
import zmq

from pyrsia.buckets import Buckets
from pyrsia.errors import Malformed, Unavailable
from pyrsia.mesh import scopes
from pyrsia.net.cutting import inode_of
from pyrsia.net.faults import Faults
from pyrsia.net.greeting import Greeter
from pyrsia.net.peers import DRAIN_S, Conn, Peer, Peers
from pyrsia.net.sockets import MOST_FRAMES, bytes_of
from pyrsia.net.traffic import Traffic
from pyrsia.net.zap import key_of, remote_of
from pyrsia.net.zsock import RETRY_S, ZSock
from pyrsia.units import MAX_PEERS, Limit
from pyrsia.wire import frames
from pyrsia.wire.frames import Frame, Greeting, Type

COMINGS = Limit(
    32, "greetings of one key at once: a node that loses its link again and again tries 20 times a minute"
)
COMINGS_OF_ADDRESS = Limit(256, "greetings from one address at once: as many nodes as may have links at all")
GUEST_IDLE_S = Limit(60, "a follower asks for blocks every few seconds, and whoever fetches all the time")
GROUP_PART: Final = 4  # one in so many of the guests' places is an address group's own
COMINGS_RATE: Final = 1.0  # of a key, each second, when those are used up
COMINGS_OF_ADDRESS_RATE: Final = 16.0


class Door:
    """Holds the answering end of links.

    Args:
        guests: how many may be linked that have no place of their own.
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
        guests: int,
    ) -> None:
        self._greeter = greeter
        self._peers = peers
        self._faults = faults
        self._traffic = traffic
        self._counted = counted
        self._nursery = nursery
        self._guests = guests
        self._by_key: Buckets[bytes] = Buckets(COMINGS_RATE, COMINGS.value)
        self._by_address: Buckets[str] = Buckets(COMINGS_OF_ADDRESS_RATE, COMINGS_OF_ADDRESS.value)

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
                self._meet(router, route.bytes, parts[0], data)

    def _meet(self, router: ZSock, route: bytes, frame: zmq.Frame, parts: list[bytes]) -> None:
        """The first frames of a connection: a good greeting, or nothing."""
        key, remote = key_of(frame), remote_of(frame)
        if not key or self._faults.refused(key):
            self._counted["stranger-banned"] += 1
            return
        if not self._by_address.of(remote).take(trio.current_time()):
            self._counted["greetings-of-address"] += 1
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
        if not self._by_key.of(key).take(trio.current_time()):
            self._faults.in_a_loop(greeting.node, key)
            return
        if not self._welcome_at_all(greeting, remote):
            self._faults.not_ours(key)
            self._nursery.start_soon(_refuse, router, route)
            return
        peer = self._peers.know(greeting.node)
        if self._peers.twin(peer):
            self._peers.unkeep_if_alone(peer)
            self._faults.of_stranger(key, Malformed("greeting-twin: another id has its transport key"))
            return
        held = peer.conn
        if held is not None and held.dialled and self._greeter.node < peer.node:
            # Ours is the one that stays. The other side waits for it after a BYE.
            self._counted["duplicate-link"] += 1
            bye = Conn(peer, router, route, [frames.encode(Frame(Type.BYE))], seq)
            self._nursery.start_soon(_write_farewell, bye)
            return
        conn = self._let_in(peer, Conn(peer, router, route, [], seq, remote, inode_of(frame)), greeting)
        self._traffic.take(conn, parts[1:])

    def _let_in(self, peer: Peer, conn: Conn, greeting: Greeting) -> Conn:
        welcome = self._greeter.make(greeting.node, greeting.nonce, welcome=True, seen=conn.remote)
        for old in [c for c in self._peers.inbound.values() if c.peer is peer]:
            self._peers.lose(old)  # it came anew: what was in flight is lost
        peer = conn.peer = self._peers.know(greeting.node)
        peer.guest = not self._greeter.allows(greeting.node)
        conn.first = [frames.encode(welcome)]
        self._peers.inbound[conn.route] = conn
        self._peers.adopt(conn, greeting)
        self._nursery.start_soon(self._write, conn)
        return conn

    def _welcome_at_all(self, greeting: Greeting, remote: str) -> bool:
        node, guests = greeting.node, self._guests_now()
        member = self._greeter.allows(node)
        if not member and not self._greeter.may_be_guest(node):
            self._counted["not-allowed"] += 1
            return False
        if node in self._peers:
            return True
        if not member and len(guests) >= self._guests:
            one = self._gives_way(guests, remote)
            if one is None:
                self._counted["too-many-guests" if self._guests else "not-allowed"] += 1
                return False
            self._show_out(one)
        if len(self._peers) < MAX_PEERS.value:
            return True
        if member and guests and guests[0].conn is not None:
            self._show_out(guests[0].conn)
            return True
        self._counted["too-many-peers"] += 1
        return False

    def _gives_way(self, guests: list[Peer], remote: str) -> Conn | None:
        """Whoever makes room for one who comes from `remote`: nobody of a group that would have fewer then."""
        conns = [peer.conn for peer in guests if peer.conn is not None]
        groups = Counter(_group(conn.remote) for conn in conns)
        own = _group(remote)
        others = [conn for conn in conns if groups[_group(conn.remote)] > groups[own]]
        most = max((groups[_group(conn.remote)] for conn in others), default=0)
        if most > max(1, self._guests // GROUP_PART):
            return next(conn for conn in others if groups[_group(conn.remote)] == most)
        idle = (conn for conn in others if trio.current_time() - conn.used_s > GUEST_IDLE_S.value)
        return next(idle, None)

    def _show_out(self, conn: Conn) -> None:
        self._counted["guest-gave-way"] += 1
        self._faults.not_ours(conn.peer.curve)
        self._peers.lose(conn)

    def _guests_now(self) -> list[Peer]:
        """The longest idle first; some may have become members since they came."""
        for peer in self._peers.guests():
            peer.guest = not self._greeter.allows(peer.node)
        return self._peers.guests()

    async def _write(self, conn: Conn) -> None:
        try:
            with conn.scope:
                await self._traffic.write(conn)
        except Unavailable:
            self._peers.lose(conn)


def _group(remote: str) -> str:
    return scopes.group_of(scopes.join(remote, 1))


async def _write_farewell(conn: Conn) -> None:
    with trio.move_on_after(DRAIN_S):
        try:
            await conn.sock.send([conn.route, *conn.numbered(conn.first)], retry_s=RETRY_S)
        except Unavailable:
            return


async def _refuse(router: ZSock, route: bytes) -> None:
    """Say at once that there is no place, so that nobody waits for a greeting."""
    with trio.move_on_after(DRAIN_S):
        try:
            await router.send([route, frames.with_seq(1, frames.encode(Frame(Type.BYE)))], retry_s=RETRY_S)
        except Unavailable:
            return
