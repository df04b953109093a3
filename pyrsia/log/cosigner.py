"""Which checkpoint this validator signs and when, and which one a quorum has signed.

Feed it epochs, final tree heads, time and other validators' lines; do the effects in order. It decides:
signing at the first final block of each later second, once more when the log is at rest, and the same
size anew every minute; never a smaller size, never another root at a size once signed. Lines are
verified before they count, and per validator only the newest few sizes are kept, so one that lies
crowds out nobody but itself. Signing is not agreement: nothing here makes a block final.

Whose lines count at a size is known once our own log is that long: the validators of the epoch that the
size lies in, at the very end of an epoch those of the next one as well, and never some of each. What
speaks of a longer log waits, unread and bounded, until ours is.

A follower is a Cosigner without a seat: it signs nothing and collects all the same.

Source: docs/log.md, "When a validator signs"; C2SP tlog-cosignature and tlog-witness (check, persist, answer).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from pyrsia.errors import Malformed
from pyrsia.log import note as notes
from pyrsia.log.checkpoint import (
    Checkpoint,
    Pair,
    Trusted,
    cosign_key,
    cosign_line,
    log_key,
    log_line,
    quorum_of,
    validator_keys,
)
from pyrsia.log.note import Sign, SignatureLine, SignedNote, Verify
from pyrsia.units import (
    COSIGN_AGAIN_S,
    COSIGN_QUIET_MS,
    COSIGN_SIZES,
    MAX_NOTE_BYTES,
    MAX_VALIDATORS,
    Limit,
    TreeSize,
    needed,
)

EARLY_NOTES = Limit(8, "whole notes of a longer log than ours: one is enough, and some of them may be lies")
LINES_BYTES = Limit(2_048, "two lines with names of 255 bytes each, twice over")

_LINES: Final = 2  # of one validator: as the log, and as itself


@dataclass(frozen=True, slots=True)
class Signed:
    """Effect: keep this durably before any `Send` after it; give it back after a restart."""

    size: TreeSize
    root: bytes
    time_s: int


@dataclass(frozen=True, slots=True)
class Send:
    """Effect: send our two lines for this tree head to every other validator and follower."""

    size: TreeSize
    root: bytes
    lines: bytes


@dataclass(frozen=True, slots=True)
class NewBest:
    """Effect: a quorum signed this; keep it and serve `note` as the log's checkpoint."""

    note: bytes
    trusted: Trusted


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Effect: call `on_timer` no later than this, in seconds of the caller's monotonic clock."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Conflict:
    """Effect: tell the operator. Two tree heads of one size, each signed by a validator.

    Both are kept as texts with the lines that sign them: together they convict.

    Attributes:
        node: whose lines these are, our own if it is this node's own final head that differs from what it
            signed; None if quorums signed both, which more than f liars can do.
    """

    node: bytes | None
    first: bytes
    second: bytes


@dataclass(frozen=True, slots=True)
class Bad:
    """Effect: what `sender` said earlier turned out, now that it could be read, to be what no honest node says."""

    sender: bytes
    why: str


Effect: TypeAlias = Signed | Send | NewBest | WakeAt | Conflict | Bad


class Signers(NamedTuple):
    """Who signs the log in one epoch.

    Attributes:
        first, last: the tree sizes between which their word counts, both included: the sizes of the blocks that
            end the epoch before and this one; `last` is None while it goes on.
        seats: node id -> that validator's public keys `log` and `cosign`.
    """

    epoch: int
    first: TreeSize
    last: TreeSize | None
    seats: Mapping[bytes, Pair]

    @property
    def q(self) -> int:
        return needed(len(self.seats))

    def speak_for(self, size: int) -> bool:
        return self.first <= size and (self.last is None or size <= self.last)


@dataclass(frozen=True, slots=True)
class _Claim:
    """A validator's verified word on one tree head, with the keys that it signed with."""

    checkpoint: Checkpoint
    lines: tuple[SignatureLine, SignatureLine]
    time_s: int
    pair: Pair

    def evidence(self) -> bytes:
        return SignedNote(self.checkpoint.text(), self.lines).encode()


_Told: TypeAlias = tuple[Checkpoint, tuple[SignatureLine, SignatureLine]]  # parsed, not verified


@dataclass(slots=True)
class Cosigner:
    """One validator's part in signing the log, or a follower's view of it.

    Attributes:
        origin: of the log.
        me: this node's id.
        key: signs with the private half of a public key that this node has; None for any other.
        verify: the one Ed25519 verifier.
        last: what we signed last, from before a restart.
        size: how long our own log is.
    """

    origin: str
    me: bytes
    key: Callable[[bytes], Sign | None]
    verify: Verify
    last: Signed | None = None
    size: int = 0
    _epochs: tuple[Signers, ...] = ()  # the newest, behind the one before it
    _head: Checkpoint | None = None
    _grown_s: float = 0.0
    _signed_s: float | None = None  # by the monotonic clock; None before the first of this run
    _block_s: int = -1  # the newest second of block time in which we signed; wall clocks do not count
    _claims: dict[bytes, dict[int, _Claim]] = field(default_factory=dict)  # node -> size -> claim
    _early: dict[bytes, dict[int, _Told]] = field(default_factory=dict)  # the same of a longer log than ours
    _early_notes: dict[bytes, tuple[int, SignedNote]] = field(default_factory=dict)  # sender -> its newest
    _best: NewBest | None = None

    def best(self) -> bytes | None:
        """The newest checkpoint note that a quorum signed, or None yet."""
        return self._best.note if self._best else None

    def trusted(self) -> Trusted | None:
        """The same, as what it says."""
        return self._best.trusted if self._best else None

    @property
    def epoch(self) -> int:
        """The newest that `on_epoch` told of; -1 before."""
        return self._epochs[-1].epoch if self._epochs else -1

    def on_epoch(self, now: Signers, before: Signers | None) -> None:
        """The validators have changed, or this node has just begun.

        Args:
            now: those of the epoch that goes on; call `on_final` behind it, with the block that ended the last one.
            before: those of the epoch that ended, whose word still counts up to its end.
        """
        self._epochs = (now,) if before is None else (before, now)
        for claims in self._claims.values():
            for size in [size for size in claims if not self._speakers(size)]:
                del claims[size]

    def _speakers(self, size: int) -> list[Signers]:
        """Whose quorums count at `size`: two where an epoch ends, nobody for what is long past."""
        return [one for one in self._epochs if one.speak_for(size)]

    # -- our own word --

    def on_final(self, now_s: float, size: TreeSize, root: bytes, time_s: int) -> list[Effect]:
        """A block became final, a heartbeat perhaps.

        Args:
            now_s: our monotonic clock.
            time_s: the block's time, so that all validators choose the same block of a second.
        """
        head = Checkpoint(self.origin, size, root)
        if self._head is None or size > self._head.size:
            self._head, self._grown_s = head, now_s
        self.size = max(self.size, size)
        mine: list[Effect] = []
        if time_s > self._block_s:
            self._block_s = time_s
            mine = self._sign(now_s, head, time_s)
        return [*mine, *self._caught_up(), *self._wake()]

    def on_timer(self, now_s: float, time_s: int) -> list[Effect]:
        """Time passed; `time_s` is our wall clock."""
        head = self._head
        if head is None or self._seat() is None or now_s < self._due_s():
            return self._wake()
        return [*self._sign(now_s, head, time_s), *self._wake()]

    def _due_s(self) -> float:
        """When to sign next, should nothing happen."""
        if self._head is None:
            return float("inf")
        if self._signed_s is None or self.last is None or self._head.size > self.last.size:
            return self._grown_s + COSIGN_QUIET_MS.value / 1000
        return self._signed_s + COSIGN_AGAIN_S.value

    def _wake(self) -> list[Effect]:
        return [] if self._seat() is None or self._head is None else [WakeAt(self._due_s())]

    def _seat(self) -> tuple[Pair, Sign, Sign] | None:
        """What this node signs with now: its keys of the newest epoch, if it is in it and has both of them."""
        pair = self._epochs[-1].seats.get(self.me) if self._epochs else None
        if pair is None:
            return None
        log, cosign = self.key(pair[0]), self.key(pair[1])
        return None if log is None or cosign is None else (pair, log, cosign)

    def _sign(self, now_s: float, head: Checkpoint, time_s: int) -> list[Effect]:
        seat = self._seat()
        if seat is None or head.size < self._epochs[-1].first:
            return []
        self._signed_s = now_s  # also when refusing: the next look is due in a minute, not at once
        if self.last is not None and head.size <= self.last.size:
            if head.size < self.last.size:
                return []
            if head.root != self.last.root:
                mine = Checkpoint(self.origin, self.last.size, self.last.root)
                return [Conflict(self.me, mine.text(), head.text())]
        # A wall clock set back must not make the newest word look older than the last one.
        time_s = max(time_s, self.last.time_s if self.last else 0)
        self.last = Signed(head.size, head.root, time_s)
        pair, log, cosign = seat
        lines = (log_line(head, log, pair[0]), cosign_line(head, cosign, pair[1], time_s))
        sent = Send(head.size, head.root, b"".join(line.encode() for line in lines))
        return [self.last, sent, *self._count(self.me, _Claim(head, lines, time_s, pair))]

    # -- the others' --

    def on_lines(self, sender: bytes, size: int, root: bytes, lines: bytes) -> list[Effect]:
        """Node `sender`'s two lines for a tree head, as its `Send` had them.

        Raises:
            Malformed: not lines of a validator for this tree head; no honest one sends that. Lines that merely
                came late raise nothing, and of those that came early it is told later, as `Bad`.
        """
        if len(lines) > LINES_BYTES.value:
            raise Malformed("signature lines without end")
        parsed = tuple(SignatureLine.parse(line) for line in lines.splitlines(keepends=True)[: _LINES + 1])
        if len(parsed) != _LINES:
            raise Malformed(f"a validator sends {_LINES} signature lines")
        # Written and read again: the size and root must be ones that a checkpoint can hold.
        checkpoint = Checkpoint.parse(Checkpoint(self.origin, TreeSize(size), root).text())
        told: _Told = (checkpoint, (parsed[0], parsed[1]))
        if sender == self.me or self._over(size):
            return []
        if size > self.size:
            self._keep_early(sender, told)
            return []
        return self._count(sender, self._verified(sender, *told))

    def on_note(self, sender: bytes, data: bytes) -> list[Effect]:
        """A whole checkpoint note, from a node that has one already.

        Raises:
            Malformed: not a note that a quorum of validators signed (`ProofInvalid` among them); of one that came
                early it is told later, as `Bad`.
        """
        if len(data) > MAX_NOTE_BYTES.value:
            raise Malformed("a note without end")
        note = SignedNote.parse(data)
        size = Checkpoint.parse(note.text).size
        if self._over(size):
            return []  # somebody lags
        if size > self.size:
            self._early_notes.pop(sender, None)
            self._early_notes[sender] = size, note
            if len(self._early_notes) > EARLY_NOTES.value:
                del self._early_notes[next(iter(self._early_notes))]
            return []
        return self._read(note, size)

    def _over(self, size: int) -> bool:
        """Whether nothing new can be said at `size`: a larger one is cosigned, or its epoch is long over."""
        if self._best is not None and size < self._best.trusted.checkpoint.size:
            return True
        return bool(self._epochs) and size < self._epochs[0].first

    def _read(self, note: SignedNote, size: int) -> list[Effect]:
        if self._epochs and size < self._epochs[0].first:
            return []  # somebody lags
        seats = [tuple(one.seats.values()) for one in self._speakers(size)]
        trusted = quorum_of(note, self.origin, seats, self.verify)
        # What we serve and pass on is what we verified: lines of strangers, and of those who left, end here.
        known = {(key.name, key.id) for key in validator_keys(self.origin, trusted.of)}
        lines = tuple(line for line in note.lines if (line.name, line.key_id) in known)
        return self._improve(NewBest(SignedNote(note.text, lines).encode(), trusted))

    def _keep_early(self, sender: bytes, told: _Told) -> None:
        kept = self._early.setdefault(sender, {})
        kept[told[0].size] = told
        for old in sorted(kept)[: -COSIGN_SIZES.value]:
            del kept[old]
        if len(self._early) > 2 * MAX_VALIDATORS.value:
            del self._early[next(iter(self._early))]

    def _caught_up(self) -> list[Effect]:
        """What was told of a log as long as ours is now."""
        effects: list[Effect] = []
        for sender, kept in list(self._early.items()):
            for size in sorted(size for size in kept if size <= self.size):
                effects += self._late(sender, kept.pop(size))
            if not kept:
                del self._early[sender]
        for sender, (size, note) in list(self._early_notes.items()):
            if size <= self.size:
                del self._early_notes[sender]
                effects += self._late(sender, note)
        return effects

    def _late(self, sender: bytes, told: "_Told | SignedNote") -> list[Effect]:
        try:
            if isinstance(told, SignedNote):
                return self._read(told, Checkpoint.parse(told.text).size)
            if self._over(told[0].size):
                return []
            return self._count(sender, self._verified(sender, *told))
        except Malformed as error:
            return [Bad(sender, str(error))]

    def _verified(
        self, sender: bytes, checkpoint: Checkpoint, lines: tuple[SignatureLine, SignatureLine]
    ) -> _Claim:
        pair = self._pair(sender, checkpoint.size, lines)
        text = checkpoint.text()
        notes.verify_line(text, lines[0], log_key(self.origin, pair[0]), self.verify)
        time_s = notes.verify_line(text, lines[1], cosign_key(self.origin, pair[1]), self.verify).time_s
        return _Claim(checkpoint, lines, time_s or 0, pair)

    def _pair(self, sender: bytes, size: int, lines: tuple[SignatureLine, SignatureLine]) -> Pair:
        """The keys with which `sender` may have signed this: where an epoch ends, its old or its new ones."""
        mine = [one.seats[sender] for one in self._speakers(size) if sender in one.seats]
        for pair in reversed(mine):
            if lines[1].key_id == cosign_key(self.origin, pair[1]).id:
                return pair
        if mine:
            return mine[-1]  # whose signature then does not hold
        raise Malformed("signature lines of nobody who signs a log of this size")

    def _count(self, node: bytes, claim: _Claim) -> list[Effect]:
        claims = self._claims.setdefault(node, {})
        size = claim.checkpoint.size
        known = claims.get(size)
        if known is not None and known.checkpoint != claim.checkpoint:
            return [Conflict(node, known.evidence(), claim.evidence())]
        split = self._split(node, claim)
        if known is not None and known.time_s >= claim.time_s and known.pair == claim.pair:
            return []  # a replay, or our newer word overtook it
        claims[size] = claim
        for old in sorted(claims)[: -COSIGN_SIZES.value]:
            del claims[old]
        return [*split, *self._agreed(claim.checkpoint)]

    def _split(self, node: bytes, claim: _Claim) -> list[Effect]:
        """Another root than our own at a size that we signed: the split view that witnesses look for."""
        mine = self._claims.get(self.me, {}).get(claim.checkpoint.size)
        if node == self.me or mine is None or mine.checkpoint == claim.checkpoint:
            return []
        return [Conflict(node, mine.evidence(), claim.evidence())]

    def _agreed(self, checkpoint: Checkpoint) -> list[Effect]:
        """A new best, if q validators of one epoch now say this."""
        for signers in reversed(self._speakers(checkpoint.size)):
            saying = [
                claims[checkpoint.size]
                for node, claims in sorted(self._claims.items())
                if checkpoint.size in claims
                and claims[checkpoint.size].checkpoint == checkpoint
                and claims[checkpoint.size].pair == signers.seats.get(node)
            ]
            if len(saying) >= signers.q:
                lines = tuple(line for claim in saying for line in claim.lines)
                time_s = sorted((claim.time_s for claim in saying), reverse=True)[signers.q - 1]
                keys = tuple(claim.pair[1] for claim in saying)
                note = SignedNote(checkpoint.text(), lines).encode()
                trusted = Trusted(checkpoint, time_s, keys, tuple(signers.seats.values()))
                return self._improve(NewBest(note, trusted))
        return []

    def _improve(self, new: NewBest) -> list[Effect]:
        """Take `new` if it is larger, or as large and younger, or the same with more signers."""
        head = new.trusted.checkpoint
        if self._best is not None:
            old = self._best.trusted
            if head.size == old.checkpoint.size and head != old.checkpoint:
                return [Conflict(None, self._best.note, new.note)]
            if _rank(new.trusted) <= _rank(old):
                return []
        self._best = new
        for claims in self._claims.values():
            for size in [size for size in claims if size < head.size]:
                del claims[size]
        return [new]


def _rank(trusted: Trusted) -> tuple[int, int, int]:
    return trusted.checkpoint.size, trusted.time_s, len(trusted.cosigners)
