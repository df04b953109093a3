"""Which checkpoint this validator signs and when, and which one a quorum has signed.

Feed it final tree heads, time and other validators' lines; do the effects in order. It decides:
signing at the first final block of each later second, once more when the log is at rest, and the same
size anew every minute; never a smaller size, never another root at a size once signed. Lines are
verified before they count, and per validator only the newest few sizes are kept, so one that lies
crowds out nobody but itself. Signing is not agreement: nothing here makes a block final.

A follower is a Cosigner without a seat: it signs nothing and collects all the same.

Source: docs/log.md, "When a validator signs"; C2SP tlog-cosignature and tlog-witness (check, persist, answer).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from pyrsia.errors import Malformed
from pyrsia.log import note as notes
from pyrsia.log.checkpoint import (
    Checkpoint,
    Trusted,
    cosign_key,
    cosign_line,
    log_key,
    log_line,
    quorum,
    validator_keys,
)
from pyrsia.log.note import Sign, SignatureLine, SignedNote, Verify
from pyrsia.units import COSIGN_AGAIN_S, COSIGN_QUIET_MS, COSIGN_SIZES, MAX_NOTE_BYTES, TreeSize

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
        member: whose lines these are, our own index if it is this node's own final head that differs
            from what it signed; -1 if quorums signed both, which more than f liars can do.
    """

    member: int
    first: bytes
    second: bytes


Effect: TypeAlias = Signed | Send | NewBest | WakeAt | Conflict


@dataclass(frozen=True, slots=True)
class _Claim:
    """A validator's verified word on one tree head."""

    checkpoint: Checkpoint
    lines: tuple[SignatureLine, SignatureLine]
    time_s: int

    def evidence(self) -> bytes:
        return SignedNote(self.checkpoint.text(), self.lines).encode()


@dataclass(slots=True)
class Cosigner:
    """One validator's part in signing the log, or a follower's view of it.

    Attributes:
        origin: of the log.
        me: index among the validators, None for a follower.
        validators: (log key, cosign key) of each, in the network's order.
        q: cosignatures that make a checkpoint trusted.
        sign_log, sign_cosign: signatures by our two keys.
        verify: the one Ed25519 verifier.
        last: what we signed last, from before a restart.
    """

    origin: str
    me: int | None
    validators: Sequence[tuple[bytes, bytes]]
    q: int
    sign_log: Sign
    sign_cosign: Sign
    verify: Verify
    last: Signed | None = None
    _head: Checkpoint | None = None
    _grown_s: float = 0.0
    _signed_s: float | None = None  # by the monotonic clock; None before the first of this run
    _block_s: int = -1  # the newest second of block time in which we signed; wall clocks do not count
    _claims: dict[int, dict[int, _Claim]] = field(default_factory=dict)  # member -> size -> claim
    _best: NewBest | None = None

    def best(self) -> bytes | None:
        """The newest checkpoint note that a quorum signed, or None yet."""
        return self._best.note if self._best else None

    def trusted(self) -> Trusted | None:
        """The same, as what it says."""
        return self._best.trusted if self._best else None

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
        if time_s > self._block_s:
            self._block_s = time_s
            return [*self._sign(now_s, head, time_s), *self._wake()]
        return self._wake()

    def on_timer(self, now_s: float, time_s: int) -> list[Effect]:
        """Time passed; `time_s` is our wall clock."""
        head = self._head
        if head is None or self.me is None or now_s < self._due_s():
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
        return [] if self.me is None or self._head is None else [WakeAt(self._due_s())]

    def _sign(self, now_s: float, head: Checkpoint, time_s: int) -> list[Effect]:
        if self.me is None:
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
        log, cosign = self.validators[self.me]
        lines = (
            log_line(head, self.sign_log, log),
            cosign_line(head, self.sign_cosign, cosign, time_s),
        )
        sent = Send(head.size, head.root, b"".join(line.encode() for line in lines))
        return [self.last, sent, *self._count(self.me, _Claim(head, lines, time_s))]

    # -- the others' --

    def on_lines(self, sender: int, size: int, root: bytes, lines: bytes) -> list[Effect]:
        """Validator `sender`'s two lines for a tree head, as its `Send` had them.

        Raises:
            Malformed: not its lines, or not signatures of this tree head; no honest validator sends
                that. Lines that merely came late raise nothing.
        """
        if not 0 <= sender < len(self.validators) or len(lines) > MAX_NOTE_BYTES.value:
            raise Malformed("signature lines from nobody, or without end")
        if sender == self.me or (self._best and size < self._best.trusted.checkpoint.size):
            return []
        parsed = tuple(SignatureLine.parse(line) for line in lines.splitlines(keepends=True)[: _LINES + 1])
        if len(parsed) != _LINES:
            raise Malformed(f"a validator sends {_LINES} signature lines")
        return self._count(sender, self._verified(sender, size, root, (parsed[0], parsed[1])))

    def on_note(self, data: bytes) -> list[Effect]:
        """A whole checkpoint note, from a node that has one already.

        Raises:
            Malformed: not a note that a quorum of our validators signed (`ProofInvalid` among them).
        """
        note = SignedNote.parse(data)
        keys = validator_keys(self.origin, self.validators)
        trusted = quorum(note, keys, self.q, self.verify)
        # What we serve and pass on is what we verified: lines of strangers end here.
        known = {(key.name, key.id) for key in keys}
        lines = tuple(line for line in note.lines if (line.name, line.key_id) in known)
        return self._improve(NewBest(SignedNote(note.text, lines).encode(), trusted))

    def _verified(
        self, sender: int, size: int, root: bytes, lines: tuple[SignatureLine, SignatureLine]
    ) -> _Claim:
        # Written and read again: the size and root must be ones that a checkpoint can hold.
        checkpoint = Checkpoint.parse(Checkpoint(self.origin, TreeSize(size), root).text())
        text = checkpoint.text()
        log, cosign = self.validators[sender]
        notes.verify_line(text, lines[0], log_key(self.origin, log), self.verify)
        time_s = notes.verify_line(text, lines[1], cosign_key(self.origin, cosign), self.verify).time_s
        return _Claim(checkpoint, lines, time_s or 0)

    def _count(self, member: int, claim: _Claim) -> list[Effect]:
        claims = self._claims.setdefault(member, {})
        size = claim.checkpoint.size
        known = claims.get(size)
        if known is not None and known.checkpoint != claim.checkpoint:
            return [Conflict(member, known.evidence(), claim.evidence())]
        split = self._split(member, claim)
        if known is not None and known.time_s >= claim.time_s:
            return []  # a replay, or our newer word overtook it
        claims[size] = claim
        for old in sorted(claims)[: -COSIGN_SIZES.value]:
            del claims[old]
        return [*split, *self._agreed(claim.checkpoint)]

    def _split(self, member: int, claim: _Claim) -> list[Effect]:
        """Another root than our own at a size that we signed: the split view that witnesses look for."""
        if self.me is None or member == self.me:
            return []
        mine = self._claims.get(self.me, {}).get(claim.checkpoint.size)
        if mine is None or mine.checkpoint == claim.checkpoint:
            return []
        return [Conflict(member, mine.evidence(), claim.evidence())]

    def _agreed(self, checkpoint: Checkpoint) -> list[Effect]:
        """A new best, if q validators now say this."""
        saying = [
            (self.validators[member][1], claims[checkpoint.size])
            for member, claims in sorted(self._claims.items())
            if checkpoint.size in claims and claims[checkpoint.size].checkpoint == checkpoint
        ]
        if len(saying) < self.q:
            return []
        lines = tuple(line for _, claim in saying for line in claim.lines)
        time_s = sorted((claim.time_s for _, claim in saying), reverse=True)[self.q - 1]
        keys = tuple(cosign for cosign, _ in saying)
        note = SignedNote(checkpoint.text(), lines).encode()
        return self._improve(NewBest(note, Trusted(checkpoint, time_s, keys)))

    def _improve(self, new: NewBest) -> list[Effect]:
        """Take `new` if it is larger, or as large and younger, or the same with more signers."""
        head = new.trusted.checkpoint
        if self._best is not None:
            old = self._best.trusted
            if head.size == old.checkpoint.size and head != old.checkpoint:
                return [Conflict(-1, self._best.note, new.note)]
            if _rank(new.trusted) <= _rank(old):
                return []
        self._best = new
        for claims in self._claims.values():
            for size in [size for size in claims if size < head.size]:
                del claims[size]
        return [new]


def _rank(trusted: Trusted) -> tuple[int, int, int]:
    return trusted.checkpoint.size, trusted.time_s, len(trusted.cosigners)
