"""The shell around `log.cosigner`: checkpoints signed after finality, collected, kept and passed on."""

import logging
import struct
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec
import trio

from pyrsia.errors import Malformed
from pyrsia.keys import KeyRing, verify
from pyrsia.ledger.genesis import Genesis
from pyrsia.log.cosigner import Conflict, Cosigner, Effect, NewBest, Send, Signed, WakeAt
from pyrsia.node.archive import Archive
from pyrsia.node.kinds import Kind
from pyrsia.status import EvidenceRow
from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import Limit, NodeId, TreeSize

QUEUE = Limit(512, "final heads and lines of a few seconds; a newer head makes an older one needless")

_SIGNED = b"cosigned"
_CONFLICT = b"conflict/"
_LINES = struct.Struct(">Q32s")
_log = logging.getLogger("pyrsia.cosigning")


class _Conflict(msgspec.Struct, frozen=True):
    """Who signed two tree heads (an index among the validators, -1 for a quorum), and both."""

    member: int
    row: EvidenceRow


class Cosigning:
    """Runs one node's cosigner: a validator signs and collects, a follower only collects."""

    def __init__(
        self,
        keys: KeyRing,
        genesis: Genesis,
        me: int | None,
        *,
        database: Database,
        archive: Archive,
        send: Callable[[NodeId, int, bytes], bool],
        audience: Callable[[], Sequence[NodeId]],
        decorated: Callable[[bytes], bytes] = lambda note: note,
    ) -> None:
        """`audience`: every connected member; `me`: index among the validators; `decorated`: the note as served."""
        self._decorated = decorated
        self._genesis = genesis
        self._index = {member.node: number for number, member in enumerate(genesis.validators)}
        self._database = database
        self._archive = archive
        self._send = send
        self._audience = audience
        self.notices: list[str] = []
        self._alarmed: dict[int, EvidenceRow] = {}
        for key, kept in database.scan(layout.MISC, _CONFLICT, len(genesis.validators) + 1):
            if key.startswith(_CONFLICT):
                self._remind(msgspec.msgpack.decode(kept, type=_Conflict))
        self._ahead: NewBest | None = None  # cosigned, and longer than the log on this disk
        raw = database.get(layout.META, _SIGNED)
        self._core = Cosigner(
            genesis.origin,
            me,
            [(member.log, member.cosign) for member in genesis.validators],
            genesis.q,
            keys.log.sign,
            keys.cosign.sign,
            verify,
            None if raw is None else msgspec.msgpack.decode(raw, type=Signed),
        )
        self._inbox, self._events = trio.open_memory_channel[tuple[NodeId, bytes] | tuple[int, bytes, int]](
            QUEUE.value
        )
        self._wake_s = float("inf")
        note = archive.checkpoint()
        if note is not None:
            self._remember(note)

    def _remember(self, note: bytes) -> None:
        try:
            self._core.on_note(note)
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
        self._offer((size, root, time_ms // 1000))

    def receive(self, peer: NodeId, data: bytes) -> None:
        """Signature lines of a validator, or a whole note of any member."""
        self._offer((peer, data))

    def welcome(self, peer: NodeId) -> None:
        """A member connected: give it the newest trusted checkpoint."""
        note = self._core.best()
        if note is not None:
            self._send(peer, Kind.COSIGN, b"\x01" + note)

    def _offer(self, event: tuple[NodeId, bytes] | tuple[int, bytes, int]) -> None:
        try:
            self._inbox.send_nowait(event)
        except trio.WouldBlock:
            _log.debug("the cosigning queue is full; one event is dropped")

    async def run(self) -> None:
        while True:
            await self._do(await self._turn())

    async def _turn(self) -> Iterable[Effect]:
        with trio.move_on_at(self._wake_s):
            return self._hear(await self._events.receive())
        self._wake_s = float("inf")
        return self._core.on_timer(trio.current_time(), int(time.time()))

    def _hear(self, event: tuple[NodeId, bytes] | tuple[int, bytes, int]) -> Iterable[Effect]:
        if len(event) == 3:
            size, root, time_s = event
            self._serve()
            return self._core.on_final(trio.current_time(), TreeSize(size), root, time_s)
        peer, data = event
        try:
            if data[:1] == b"\x01":
                return self._core.on_note(data[1:])
            if data[:1] != b"\x00" or len(data) < 1 + _LINES.size or peer not in self._index:
                raise Malformed("neither lines of a validator nor a note")
            size, root = _LINES.unpack_from(data, 1)
            return self._core.on_lines(self._index[peer], size, root, data[1 + _LINES.size :])
        except Malformed as error:
            _log.warning("a bad checkpoint signature from %s: %s", peer.hex()[:8], error)
            return []

    async def _do(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Signed():
                    await self._database.commit(
                        Batch().put(layout.META, _SIGNED, msgspec.msgpack.encode(effect))
                    )
                case Send(size, root, lines):
                    self._tell(b"\x00" + _LINES.pack(size, root) + lines)
                case NewBest():
                    self._ahead = effect
                    self._serve()
                case WakeAt(at_s):
                    self._wake_s = at_s
                case Conflict(member, first, second):
                    await self._alarm(member, first, second)

    def _serve(self) -> None:
        """Keep the newest checkpoint as the served one, once every leaf and tile below it is here."""
        if self._ahead is not None and self._ahead.trusted.checkpoint.size <= self._archive.size:
            self._archive.keep_checkpoint(self._decorated(self._ahead.note))
            self._ahead = None

    def _tell(self, data: bytes) -> None:
        for node in self._audience():
            self._send(node, Kind.COSIGN, data)

    async def _alarm(self, member: int, first: bytes, second: bytes) -> None:
        """Once for each member: a liar repeats itself as often as it likes."""
        if member in self._alarmed:
            return
        row = EvidenceRow("fork", int(time.time()), first.decode(), second.decode())
        conflict = _Conflict(member, row)
        name = self._remind(conflict)
        _log.error("two tree heads of one size, signed by %s: %r and %r", name, first, second)
        key = _CONFLICT + layout.number(member + 1)
        await self._database.commit(Batch().put(layout.MISC, key, msgspec.msgpack.encode(conflict)))

    def _remind(self, conflict: "_Conflict") -> str:
        """Tell the operator, now and after every start; the name of who signed twice."""
        member = conflict.member
        self._alarmed[member] = conflict.row
        name = self._genesis.validators[member].name if member >= 0 else "a quorum"
        self.notices.append(f"ALARM: {name} signed two tree heads of one size; see `pyrsia witness evidence`")
        return name

    def evidence(self) -> tuple[EvidenceRow, ...]:
        """Two notes of our own log for each who signed two tree heads of one size."""
        return tuple(self._alarmed.values())
