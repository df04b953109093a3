"""Dialling: keep a link to each node that we were told of, with growing pauses while it cannot be had.

A node that has a link does not dial. When two nodes dial each other at once, the link dialled by the
smaller node id stays (door.py applies the same rule at the other end).

Source: docs/network.md, "Control links".
"""

import secrets
from collections import Counter
from typing import Final

import trio

from pyrsia.errors import Malformed, Unavailable
from pyrsia.net.faults import Faults
from pyrsia.net.greeting import Greeter
from pyrsia.net.peers import DRAIN_S, Conn, Peer, Peers
from pyrsia.net.sockets import Sockets, bytes_of, until_lost
from pyrsia.net.targets import Target
from pyrsia.net.traffic import Traffic
from pyrsia.net.zap import remote_of
from pyrsia.net.zsock import ZSock
from pyrsia.units import DIAL_WAIT_S, LINK_HWM, REDIAL_S
from pyrsia.wire import frames
from pyrsia.wire.frames import Type

FIRST_REDIAL_S: Final = 0.05


class Dialler:
    """Holds the dialled end of links."""

    def __init__(
        self,
        sockets: Sockets,
        greeter: Greeter,
        peers: Peers,
        faults: Faults,
        traffic: Traffic,
        counted: Counter[str],
    ) -> None:
        self._sockets = sockets
        self._greeter = greeter
        self._peers = peers
        self._faults = faults
        self._traffic = traffic
        self._counted = counted

    async def keep(self, target: Target) -> None:
        """Keep a link to the target until cancelled; returns only if its id is no public key."""
        try:
            peer = self._peers.know(target.node)
        except Malformed:
            self._counted["dial-bad-node"] += 1
            return
        pause_s = FIRST_REDIAL_S
        while True:
            peer.address = target.address
            while peer.conn is not None:
                changed = peer.changed
                await changed.wait()
                pause_s = FIRST_REDIAL_S
            if not self._faults.refused(peer.curve):
                self._counted["dialled"] += 1
                if await self._once(peer, target.address):
                    pause_s = FIRST_REDIAL_S
            # Two nodes that lost each other must not dial in step for ever.
            await trio.sleep(pause_s * (0.5 + secrets.randbelow(1000) / 1000))
            pause_s = min(2 * pause_s, float(REDIAL_S.value))

    async def _once(self, peer: Peer, address: str) -> bool:
        """One connection from dial to loss; whether it ever was a link."""
        try:
            sock, monitor = self._sockets.client(
                peer.node, address, frame_bytes=frames.FRAME_BYTES, hwm=LINK_HWM.value
            )
        except Unavailable:
            self._counted["dial-failed"] += 1
            return False
        linked = False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(until_lost, monitor, nursery.cancel_scope)
                conn = await self._greet(peer, sock)
                if conn is not None:
                    linked = True
                    conn.scope = nursery.cancel_scope
                    if peer.conn is not conn:
                        conn.scope.deadline = trio.current_time() + DRAIN_S
                    nursery.start_soon(self._traffic.write, conn)
                    while True:
                        self._traffic.take(conn, bytes_of(await sock.recv()))
                nursery.cancel_scope.cancel()
        except* Unavailable:
            pass
        finally:
            if peer.conn is not None and peer.conn.sock is sock:
                self._peers.lose(peer.conn)
            sock.close()
            monitor.close()
        return linked

    async def _greet(self, peer: Peer, sock: ZSock) -> Conn | None:
        nonce = secrets.token_bytes(frames.NONCE_BYTES)
        hello = self._greeter.make(peer.node, nonce, welcome=False)
        with trio.move_on_after(DIAL_WAIT_S.value):
            await sock.send([frames.with_seq(1, frames.encode(hello))])
            parts = await sock.recv()
            first, *rest = bytes_of(parts)
            try:
                seq, data = frames.split_seq(first)
                frame = frames.decode(data)
                if frame.type is Type.BYE:  # it keeps a link of its own to us, or does not want us
                    self._counted["dial-refused"] += 1
                    return None
                greeting = self._greeter.check(frame, peer.curve, nonce, Type.WELCOME)
            except Malformed as error:
                self._faults.of_dialled(peer, error)
                return None
            if greeting.node != peer.node:
                self._faults.of_dialled(peer, Malformed("greeting: another node"))
                return None
            if self._peers.twin(peer):
                self._faults.of_dialled(peer, Malformed("greeting-twin: another id has its transport key"))
                return None
            conn = Conn(peer, sock, b"", [], seq, reached=remote_of(parts[0]))
            conn.seq_out = 1
            peer.guest = not self._greeter.allows(
                peer.node
            )  # whom we chose to dial is a stranger all the same
            if peer.conn is None or self._greeter.node < peer.node:
                self._peers.adopt(conn, greeting)
            # Else it dialled as well and its link is the one that stays; ours is read out and closed.
            if rest:
                self._traffic.take(conn, rest)
            return conn
        self._counted["dial-timeout"] += 1
        return None
