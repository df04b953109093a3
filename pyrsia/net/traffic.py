"""What crosses a greeted link: frames in, each to whom it concerns, and what waits, out.

Readers parse and hand over, nothing more. What a peer sends wrongly is dropped and counted (faults.py).

Source: docs/network.md, "Control links", "ZeroMQ from trio".
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import trio

from pyrsia.errors import Malformed, PyrsiaError
from pyrsia.net.faults import Faults
from pyrsia.net.outbox import URGENT
from pyrsia.net.peers import Conn, Peer, Peers
from pyrsia.net.requests import Answers, Questions
from pyrsia.net.sockets import MOST_FRAMES
from pyrsia.net.zsock import RETRY_S
from pyrsia.units import NodeId
from pyrsia.wire import frames
from pyrsia.wire.frames import Frame, Type

# A member of an enumeration costs a look-up by name each time.
_BUNDLE: Final = Type.BUNDLE
_REPLY: Final = Type.REPLY
_REQUEST: Final = Type.REQUEST

_log = logging.getLogger("pyrsia.links")

OnMessage = Callable[[NodeId, int, bytes], None]


class Traffic:
    """Reads and writes for every greeted connection of one node."""

    def __init__(
        self,
        peers: Peers,
        faults: Faults,
        questions: Questions,
        answers: Answers,
        on_message: OnMessage,
        counted: Counter[str],
    ) -> None:
        self._peers = peers
        self._faults = faults
        self._questions = questions
        self._answers = answers
        self._on_message = on_message
        self._counted = counted

    async def write(self, conn: Conn) -> None:
        """Send what waits for the peer, for as long as this is its link.

        Raises:
            Unavailable: the connection is gone.
        """
        peer, prefix = conn.peer, [conn.route] if conn.route else []
        batch = conn.first
        while True:
            if batch:
                parts = conn.numbered(batch)
                await conn.sock.send([*prefix, *parts], retry_s=RETRY_S)
                peer.out_bytes += sum(map(len, parts))
            elif peer.conn is conn:
                conn.idle = True
                try:
                    await peer.outbox.wait()
                finally:
                    conn.idle = False
                conn.sock.rested()
            if (
                peer.conn is not conn and not conn.unsent
            ):  # what was taken for it goes out on it: it is still read
                return
            batch, conn.unsent = conn.unsent or peer.outbox.take(), []

    def take(self, conn: Conn, parts: Sequence[bytes]) -> None:
        """Take what came over `conn`. Never raises for anything that a peer can send."""
        peer = conn.peer
        conn.heard_s = trio.current_time()
        if len(parts) > MOST_FRAMES:
            self._faults.of_link(conn, Malformed("frame-batch: more frames in one message than a peer sends"))
            return
        taken = 0
        for part in parts:
            peer.in_bytes += len(part)
            if self._refused(peer):
                continue
            try:
                seq, data = frames.split_seq(part)
                if seq <= conn.seq_in:
                    raise Malformed("frame-replayed: its number was used")
                conn.seq_in = seq
                frame = frames.decode(data)
                if frame.type is _BUNDLE:
                    taken += self._take_bundle(conn, frame.body, MOST_FRAMES - taken)
                else:
                    taken += 1
                    self._take_frame(conn, frame)
            except PyrsiaError as error:
                self._faults.of_link(conn, error)
        if peer.conn is not None:  # this one, or the one that takes its place while it is read out
            peer.conn.flush()  # what could be answered at once, in one message

    def _refused(self, peer: Peer) -> bool:
        """Whether nothing more of `peer` is looked at: the frame before this one may have been one too many, or its
        BYE. Who has no link cannot be cut off for what it sends, so nothing that it sends is worth anything."""
        if self._faults.refused(peer.curve):
            self._counted["frame-banned"] += 1
        elif peer.conn is None:
            self._counted["frame-late"] += 1
        else:
            return False
        return True

    def _take_bundle(self, conn: Conn, body: bytes, most: int) -> int:
        """Frame by frame, like those that come alone: a bad one takes no other with it, and each costs its sender.
        How many there were."""
        found = frames.unbundled(body, most)
        for data in found:
            if self._refused(conn.peer):
                continue
            try:
                self._take_frame(conn, frames.decode(data))
            except PyrsiaError as error:
                self._faults.of_link(conn, error)
        return len(found)

    def _take_frame(self, conn: Conn, frame: Frame) -> None:
        kind, peer = frame.type, conn.peer
        if kind is _REPLY:  # of all kinds the most frequent two come first
            conn.used_s = conn.heard_s
            self._questions.take(peer, frame)
        elif kind is _REQUEST:
            conn.used_s = conn.heard_s
            self._answers.take(peer, frame)
        elif kind is Type.PART:
            whole = conn.assembler.add(frame)
            if whole is not None:
                self._dispatch(conn, whole)
        else:
            self._dispatch(conn, frame)

    def _dispatch(self, conn: Conn, frame: Frame) -> None:
        peer = conn.peer
        if frame.type not in (Type.PING, Type.PONG):
            conn.used_s = conn.heard_s
        match frame.type:
            case Type.SEND:
                self._take_message(peer, frame)
            case Type.REQUEST:
                self._answers.take(peer, frame)
            case Type.REPLY | Type.BUSY | Type.ERROR:
                self._questions.take(peer, frame)
            case Type.PING:
                peer.outbox.push(frames.encode(Frame(Type.PONG, frame.request)), URGENT)
            case Type.PONG:
                _take_pong(peer, frame)
            case Type.BYE:
                self._peers.lose(conn)
            case _:
                raise Malformed(f"frame: {frame.type.name} has no place on a greeted link")

    def _take_message(self, peer: Peer, frame: Frame) -> None:
        try:
            self._on_message(peer.node, frame.number, frame.body)
        except PyrsiaError:
            raise
        except Exception:  # noqa: BLE001 - a bug of ours, and like one in a handler it must not end the node
            self._counted["message-crashed"] += 1
            _log.exception("message of kind %d", frame.number)


def _take_pong(peer: Peer, frame: Frame) -> None:
    ident, sent_s = peer.pinged
    if frame.request == ident and ident:
        took_s = trio.current_time() - sent_s
        peer.rtt_s = took_s if peer.rtt_s < 0 else 0.8 * peer.rtt_s + 0.2 * took_s
        peer.pinged = (0, 0.0)
