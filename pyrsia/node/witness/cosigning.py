"""The shell around `log.cosigner`: checkpoints signed after finality, collected, kept and passed on.

Whose signatures count is read from the ledger's state, at every final head: the validators of the epoch that goes
on, and of the one before it.

What waits here is in three queues, taken in this order: our own final heads, validators' lines, whole notes. Anybody
may send a note, so notes are rare for each peer, and none is verified that is the one that we have.
"""

import logging
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
import trio

from pyrsia.buckets import Buckets
from pyrsia.errors import Malformed
from pyrsia.keys import verify
from pyrsia.ledger import views
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.seats import Epoch
from pyrsia.log.cosigner import Bad, Conflict, Cosigner, Effect, NewBest, Send, Signed, Signers, WakeAt
from pyrsia.log.note import Sign
from pyrsia.mesh.scores import RATE
from pyrsia.node.kinds import Kind
from pyrsia.node.log.archive import Archive
from pyrsia.status import EvidenceRow
from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import Limit, NodeId, TreeSize

QUEUE = Limit(512, "validators' lines of a few seconds")
HEADS = Limit(64, "final heads that wait: a newer one makes an older one needless")
NOTES = Limit(64, "whole notes that wait: each costs two signatures of every validator")
NOTES_BURST = Limit(8, "notes of one peer: it sends one for each link, and may lose a few links")
NOTES_RATE: Final = 0.5  # a second
CONFLICTS = Limit(256, "liars whose evidence is kept: more than twice the validators that a network can have")

_SIGNED = b"cosigned"
_CONFLICT = b"conflict/"
_LINES = struct.Struct(">Q32s")
_log = logging.getLogger("pyrsia.cosigning")


class _Conflict(msgspec.Struct, frozen=True):
    """Who signed two tree heads (a node id; empty for a quorum), and both."""

    node: bytes
    row: EvidenceRow


class Cosigning:
    """Runs one node's cosigner: a validator signs and collects, a follower only collects."""

    def __init__(
        self,
        node: NodeId,
        genesis: Genesis,
        *,
        signer: Callable[[bytes], Sign | None],
        database: Database,
        archive: Archive,
        send: Callable[[NodeId, int, bytes], bool],
        audience: Callable[[], Sequence[NodeId]],
        decorated: Callable[[bytes], bytes] = lambda note: note,
        fault: Callable[[NodeId, str], None] = lambda node, why: None,
        blame: Callable[[NodeId, float, str], None] = lambda node, points, why: None,
    ) -> None:
        """
        Args:
            signer: of the log or cosign key with this public half; None for one that is not this node's, or that
                has lost the memory of what it signed.
            audience: every node that has a link.
            decorated: the note as served.
            fault: a peer sent what no honest one sends; blame: it lost points, and nothing else.
        """
        self._decorated = decorated
        self._genesis = genesis
        self._database = database
        self._archive = archive
        self._send = send
        self._audience = audience
        self._fault = fault
        self._points = blame
        self.notices: list[str] = []
        self._alarmed: dict[bytes, EvidenceRow] = {}
        for key, kept in database.scan(layout.MISC, _CONFLICT, CONFLICTS.value):
            if key.startswith(_CONFLICT):
                self._remind(msgspec.msgpack.decode(kept, type=_Conflict))
        raw = database.get(layout.META, _SIGNED)
        self._core = Cosigner(
            genesis.origin,
            node,
            signer,
            verify,
            None if raw is None else msgspec.msgpack.decode(raw, type=Signed),
            archive.size,
        )
        self._follow()
        self._heads: deque[tuple[int, bytes, int]] = deque(maxlen=HEADS.value)
        self._lines: deque[tuple[NodeId, bytes]] = deque()
        self._notes: deque[tuple[NodeId, bytes]] = deque()
        self._notes_of: Buckets[NodeId] = Buckets(NOTES_RATE, NOTES_BURST.value)
        self._some = trio.Event()
        self._wake_s = float("inf")
        note = archive.checkpoint()
        if note is not None:
            self._remember(note)

    def _follow(self) -> None:
        """Tell the core who signs now, if that has changed since it was told."""
        reads = self._archive.state
        now = views.current(reads, self._genesis)
        if now.number != self._core.epoch:
            before = views.epoch(reads, now.number - 1)
            self._core.on_epoch(_signers(now), None if before is None else _signers(before, now.size))

    def _remember(self, note: bytes) -> None:
        try:
            self._core.on_note(self._core.me, note)
        except Malformed as error:  # the next quorum makes a new one
            _log.error("the kept checkpoint is damaged: %s", error)

    @property
    def cosigned(self) -> tuple[int, int, int]:
        """(size, time in seconds, signers) of the newest trusted checkpoint; zeros before the first."""
        trusted = self._core.trusted()
        if trusted is None:
            return 0, 0, 0
        return trusted.checkpoint.size, trusted.time_s, len(trusted.cosigners)

    def final(self, size: int, root: bytes, time_ms: int) -> None:
        """A block became final."""
        self._heads.append((size, root, time_ms // 1000))
        self._some.set()

    def receive(self, peer: NodeId, data: bytes) -> None:
        """Signature lines of a validator, or a whole note of any member."""
        queue, most = (self._notes, NOTES) if data[:1] == b"\x01" else (self._lines, QUEUE)
        if queue is self._notes:
            if data[1:] == self._core.best():
                return
            if not self._notes_of.of(peer).take(trio.current_time()):
                self._points(peer, RATE, "sends checkpoints without end")
                return
        if len(queue) >= most.value:
            _log.debug("the cosigning queue is full; one message is dropped")
            return
        queue.append((peer, data))
        self._some.set()

    def welcome(self, peer: NodeId) -> None:
        """A node has a link now: give it the newest trusted checkpoint."""
        note = self._core.best()
        if note is not None:
            self._send(peer, Kind.COSIGN, b"\x01" + note)

    async def run(self) -> None:
        while True:
            await self._do(await self._turn())

    async def _turn(self) -> Iterable[Effect]:
        with trio.move_on_at(self._wake_s):
            while not (self._heads or self._lines or self._notes):
                self._some = trio.Event()
                await self._some.wait()
            await trio.lowlevel.checkpoint()
            if self._heads:
                size, root, time_s = self._heads.popleft()
                self._follow()
                return self._core.on_final(trio.current_time(), TreeSize(size), root, time_s)
            return self._hear(*(self._lines or self._notes).popleft())
        self._wake_s = float("inf")
        return self._core.on_timer(trio.current_time(), int(time.time()))

    def _hear(self, peer: NodeId, data: bytes) -> Iterable[Effect]:
        try:
            if data[:1] == b"\x01":
                return self._core.on_note(peer, data[1:])
            if data[:1] != b"\x00" or len(data) < 1 + _LINES.size:
                raise Malformed("neither lines of a validator nor a note")
            size, root = _LINES.unpack_from(data, 1)
            return self._core.on_lines(peer, size, root, data[1 + _LINES.size :])
        except Malformed as error:
            self._blame(peer, str(error))
            return []

    def _blame(self, peer: bytes, why: str) -> None:
        self._fault(NodeId(peer), f"checkpoint: {why}")
        _log.warning("a bad checkpoint signature from %s: %s", peer.hex()[:8], why)

    async def _do(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Signed():
                    await self._database.commit(
                        Batch().put(layout.META, _SIGNED, msgspec.msgpack.encode(effect))
                    )
                case Send(size, root, lines):
                    self._tell(b"\x00" + _LINES.pack(size, root) + lines)
                case NewBest(note):
                    self._archive.keep_checkpoint(self._decorated(note))
                case WakeAt(at_s):
                    self._wake_s = at_s
                case Conflict(node, first, second):
                    await self._alarm(node or b"", first, second)
                case Bad(sender, why):
                    self._blame(sender, why)

    def _tell(self, data: bytes) -> None:
        for node in self._audience():
            self._send(node, Kind.COSIGN, data)

    async def _alarm(self, node: bytes, first: bytes, second: bytes) -> None:
        """Once for each member: a liar repeats itself as often as it likes."""
        if node in self._alarmed or len(self._alarmed) >= CONFLICTS.value:
            return
        row = EvidenceRow("fork", int(time.time()), first.decode(), second.decode())
        conflict = _Conflict(node, row)
        name = self._remind(conflict)
        _log.error("two tree heads of one size, signed by %s: %r and %r", name, first, second)
        await self._database.commit(
            Batch().put(layout.MISC, _CONFLICT + node, msgspec.msgpack.encode(conflict))
        )

    def _remind(self, conflict: "_Conflict") -> str:
        """Tell the operator, now and after every start; the name of who signed twice."""
        self._alarmed[conflict.node] = conflict.row
        name = self._name(conflict.node) if conflict.node else "a quorum"
        self.notices.append(f"ALARM: {name} signed two tree heads of one size; see `pyrsia witness evidence`")
        return name

    def _name(self, node: bytes) -> str:
        record = views.member(self._archive.state, node)
        return str(record["name"]) if record else node.hex()[:8]

    def evidence(self) -> tuple[EvidenceRow, ...]:
        """Two notes of our own log for each who signed two tree heads of one size."""
        return tuple(self._alarmed.values())


def _signers(epoch: Epoch, last: int | None = None) -> Signers:
    """Who signs in an epoch; `last`: the size at which it ended."""
    seats = {one.node: (one.log, one.cosign) for one in epoch.validators}
    return Signers(epoch.number, TreeSize(epoch.size), None if last is None else TreeSize(last), seats)
