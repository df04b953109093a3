"""Entries on their way to every validator: batches as they come, digests of what waits, pulls of what is missing.

Whoever takes an entry in first sends it to the other validators, many in one message. That may be lost, so every
`ROUND_S` one of them, and each that has just come, is told the ids of what waits here, and asks for what it lacks.
So an entry that one honest validator holds comes to all of them, whatever the others do; what a liar can do is
bounded: it may name ids that nobody has, ask for everything, or send what nobody asked for, at a rate.

No I/O, no clock, no randomness: events and the time in, effects out, run in order by a shell. Who may hold how
much is the mempool's business.

Source: docs/submission.md, "How validators share".
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger.mempool import ACCEPTED, DUPLICATE, Mempool, Unsound
from pyrsia.ledger.state import Reads
from pyrsia.units import SHARE_BYTES, SHARE_ENTRIES, SHARE_IDS, Limit
from pyrsia.wire import sharing as wire
from pyrsia.wire.sharing import Entries, Have, Want

GATHER_S: Final = 0.005  # what comes within this time after a batch goes with the next one
ROUND_S: Final = 2.0  # between two digests; each goes to another validator
ANSWER_S: Final = 2.0  # what was asked for and did not come in this time is asked for again, or of another

ENTRIES_PER_S = Limit(5_000, "twice what the whole network takes a second, from one peer")
ENTRIES_BURST = Limit(10_000, "two seconds of that: what a link holds back while a disk is slow")
PAGES_PER_S = Limit(8, "ids that one peer may have looked up: 8,192 a second, 4 % of a core")
PAGES_BURST = Limit(64, "every id of a full mempool at once")
GIVEN_PER_S = Limit(4 << 20, "bytes of entries sent to one peer for the asking: a full mempool in 16 s")
GIVEN_BURST = Limit(8 << 20, "what its link may hold")
ASKED = Limit(4_096, "ids asked of one peer and not answered yet: four pages")
UNWANTED = Limit(4_096, "ids that had no place here a moment ago and are not asked for again so soon")
MAX_KNOWN = Limit(512, "peers whose rates are remembered: three times the members of the largest network")
_UNWANTED_S: Final = 10.0
_BROKEN_S: Final = 30.0  # who keeps naming what it does not give is not listened to for so long
_UNSOUND_COST: Final = 50  # a signature that does not hold costs as much as so many entries that wait already
_WEIGHT_BYTES: Final = 4_096  # a long entry counts once more for each of these


class Now(NamedTuple):
    """The moment of an event: a clock that never goes back, for timers, and Unix time, for the door."""

    mono_s: float
    wall_ms: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Effect: one message to each of these nodes. Losing it is allowed."""

    to: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Effect: call `on_timer` at this moment; replaces the moment asked for before."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Work:
    """Effect: there is something new to order; tell agreement."""


@dataclass(frozen=True, slots=True)
class Blame:
    """Effect: a peer sent what no honest validator sends. `evidence`: the bytes, as they came."""

    node: bytes
    what: str
    evidence: bytes


Effect = Tell | WakeAt | Work | Blame


class _Bucket:
    """Tokens that come at a rate and are kept up to a number."""

    __slots__ = ("_at_s", "_burst", "_left", "_per_s")

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s, self._burst, self._left, self._at_s = per_s, burst, burst, 0.0

    def take(self, now_s: float, cost: float) -> float:
        """0 if the tokens were there and are taken; else the seconds until they will be, and none is taken."""
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < cost:
            return (cost - self._left) / self._per_s
        self._left -= cost
        return 0.0

    def fine(self, cost: float) -> None:
        """Take tokens that need not be there."""
        self._left -= cost


def _entries_bucket() -> _Bucket:
    return _Bucket(ENTRIES_PER_S.value, ENTRIES_BURST.value)


def _pages_bucket() -> _Bucket:
    return _Bucket(PAGES_PER_S.value, PAGES_BURST.value)


@dataclass(slots=True)
class _Peer:
    """What is remembered of one node: its rates, what it was asked, and how far it was told.

    Attributes:
        taken: for entries that it sends.
        told, wanted: for pages that it sends, and that it asks with.
        given: bytes sent to it for the asking.
        asked: id -> when its answer is overdue, oldest first.
        broken: ids that it named and did not give, less those that it gave.
        deaf_s: until then its digests are not read.
        round_s: when the last round with it began.
        pages: ids of the round under way that it was not told yet.
        passed: how many ids of its rounds it has seen; the next round goes on from there.
    """

    linked: bool = False
    taken: _Bucket = field(default_factory=_entries_bucket)
    told: _Bucket = field(default_factory=_pages_bucket)
    wanted: _Bucket = field(default_factory=_pages_bucket)
    given: _Bucket = field(default_factory=lambda: _Bucket(GIVEN_PER_S.value, GIVEN_BURST.value))
    asked: dict[bytes, float] = field(default_factory=dict)
    broken: int = 0
    deaf_s: float = float("-inf")
    round_s: float = float("-inf")
    pages: tuple[bytes, ...] = ()
    passed: int = 0


class Sharing:
    """One validator's part. A node that validates nothing may run it too: it then has nobody to tell.

    Attributes:
        counted: what was dropped and why, for tests and for people.
    """

    def __init__(
        self, pool: Mempool, reads: Reads, *, node: bytes, validators: Callable[[], Collection[bytes]]
    ) -> None:
        """
        Args:
            pool: shared with the chain.
            reads: the final state.
            node: our own id.
            validators: node ids of those who validate now, this one maybe among them.
        """
        self._pool = pool
        self._reads = reads
        self._node = node
        self._validators = validators
        self._peers: dict[bytes, _Peer] = {}
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._sent_s = float("-inf")  # the last batch
        self._worked_s = float("-inf")  # the last `Work`
        self._work = False
        self._round_s = float("inf")
        self._waited: tuple[bytes, ...] = ()  # what waited at the last round
        self._unwanted: dict[bytes, float] = {}
        self.counted: Counter[str] = Counter()

    # -- events --

    def on_start(self, now: Now) -> list[Effect]:
        self._round_s = now.mono_s + ROUND_S
        return [self._wake()]

    def on_entry(self, now: Now, raw: bytes, peer: bytes = b"") -> tuple[str, list[Effect]]:
        """An entry that comes here first, from our own node or from `peer`: ours to pass on.

        Returns:
            `ACCEPTED` or `DUPLICATE`, and what to do.

        Raises:
            Refusal: why not; `busy` with the seconds after which there will be room.
        """
        known = self._peer(peer or self._node)
        wait_s = known.taken.take(now.mono_s, _weight(raw))
        if wait_s:
            raise Refusal(
                "busy",
                what=f"this sender has sent more than {ENTRIES_PER_S.value} entries a second",
                who="the sender",
                do=f"send it again in {int(wait_s) + 1} s",
                retry_s=int(wait_s) + 1,
            )
        try:
            outcome = self._take(raw, now)
        except Unsound:
            known.taken.fine(_UNSOUND_COST)
            raise
        if outcome != ACCEPTED:
            return outcome, []
        effects = self._gather(now, raw)
        return ACCEPTED, [*effects, *self._worked(now), self._wake()]

    def on_message(self, now: Now, peer: bytes, data: bytes) -> list[Effect]:
        """What another validator sends. Nothing of it is believed before it is checked."""
        if peer == self._node or peer not in self._validators():
            self.counted["not a validator"] += 1
            return []
        try:
            message = wire.decode(data)
        except Malformed as error:
            self.counted["malformed"] += 1
            return [Blame(peer, str(error), data)]
        known = self._peer(peer)
        match message:
            case Entries():
                return self._on_entries(now, peer, known, message)
            case Have():
                return self._on_have(now, peer, known, message)
            case Want():
                return self._on_want(now, peer, known, message)

    def on_link(self, now: Now, peer: bytes, up: bool) -> list[Effect]:
        """A link came up or went down. Who comes is told all that waits here."""
        known = self._peer(peer)
        known.linked = up
        known.pages = ()
        known.asked.clear()
        if not up or peer == self._node or peer not in self._validators():
            return []
        return self._round(now, peer, known, self._pool.ids())

    def on_timer(self, now: Now) -> list[Effect]:
        effects: list[Effect] = []
        if self._batch and now.mono_s >= self._sent_s + GATHER_S:
            effects += self._flush(now)
        if self._work and now.mono_s >= self._worked_s + GATHER_S:
            effects += self._worked(now)
        if now.mono_s >= self._round_s:
            self._round_s = now.mono_s + ROUND_S
            effects += self._next_round(now)
        return [*effects, self._wake()]

    # -- batches --

    def _gather(self, now: Now, raw: bytes) -> list[Effect]:
        """The first entry goes at once; what follows within a moment goes together."""
        effects: list[Effect] = []
        if self._batch_bytes + wire.cost(raw) > SHARE_BYTES.value - 2:
            effects += self._flush(now)
        self._batch.append(raw)
        self._batch_bytes += wire.cost(raw)
        if len(self._batch) >= SHARE_ENTRIES.value or now.mono_s >= self._sent_s + GATHER_S:
            effects += self._flush(now)
        return effects

    def _flush(self, now: Now) -> list[Effect]:
        batch, self._batch, self._batch_bytes = tuple(self._batch), [], 0
        self._sent_s = now.mono_s
        to = tuple(self._linked())
        return [Tell(to, Entries(batch).encode())] if batch and to else []

    def _worked(self, now: Now) -> list[Effect]:
        """Agreement hears of the first new entry at once, and of those that follow together."""
        if now.mono_s < self._worked_s + GATHER_S:
            self._work = True
            return []
        self._work, self._worked_s = False, now.mono_s
        return [Work()]

    def _on_entries(self, now: Now, peer: bytes, known: _Peer, message: Entries) -> list[Effect]:
        effects: list[Effect] = []
        fresh = False
        for raw in message.raws:
            if known.taken.take(now.mono_s, _weight(raw)):
                self.counted["too fast"] += 1
                continue
            try:
                fresh |= self._take(raw, now, known) == ACCEPTED
            except Unsound as error:
                # An honest validator checks what it passes on, so this one did not, or lies.
                known.taken.fine(_UNSOUND_COST)
                self.counted["unsound"] += 1
                effects.append(Blame(peer, error.what, raw))
            except Refusal:
                self.counted["no place"] += 1
        return [*effects, *self._worked(now), self._wake()] if fresh else effects

    def _take(self, raw: bytes, now: Now, known: _Peer | None = None) -> str:
        entry = self._pool.read(raw)
        asked = known is not None and known.asked.pop(entry.id, None) is not None
        if asked and known is not None:
            known.broken = max(0, known.broken - 1)
        try:
            return self._pool.take(entry, now.wall_ms, self._reads)
        except Unsound:
            raise
        except Refusal:
            self._unwanted.pop(entry.id, None)
            self._unwanted[entry.id] = now.mono_s + _UNWANTED_S
            if len(self._unwanted) > UNWANTED.value:
                del self._unwanted[next(iter(self._unwanted))]
            raise

    # -- digests --

    def _next_round(self, now: Now) -> list[Effect]:
        """Tell the validator that was told longest ago what has waited for a whole round: news travels by itself."""
        old = tuple(name for name in self._waited if self._pool.get(name) is not None)
        self._waited = self._pool.ids()
        linked = self._linked()
        if not old or not linked:
            return []
        peer = min(linked, key=lambda node: (self._peers[node].round_s, node))
        return self._round(now, peer, self._peers[peer], old)

    def _round(self, now: Now, peer: bytes, known: _Peer, ids: Sequence[bytes]) -> list[Effect]:
        """Begin to tell `peer` these ids, where the last round with it ended."""
        known.round_s = now.mono_s
        if not ids:
            return []
        at = known.passed % len(ids)
        known.pages = (*ids[at:], *ids[:at])
        return self._page(peer, known)

    def _page(self, peer: bytes, known: _Peer) -> list[Effect]:
        page: list[bytes] = []
        at = 0
        while at < len(known.pages) and len(page) < SHARE_IDS.value:
            if self._pool.get(known.pages[at]) is not None:
                page.append(known.pages[at])
            at += 1
        known.pages = known.pages[at:]
        return [Tell((peer,), Have(tuple(page), bool(known.pages)).encode())] if page else []

    def _on_have(self, now: Now, peer: bytes, known: _Peer, message: Have) -> list[Effect]:
        self._overdue(now, known)
        if now.mono_s < known.deaf_s or known.told.take(now.mono_s, 1):
            self.counted["digest not read"] += 1
            return []
        missing: list[bytes] = []
        for name in message.ids:
            if len(known.asked) + len(missing) >= ASKED.value:
                break
            # What was asked of another is asked again: that one may name everything and give nothing.
            if name in known.asked or self._unwanted.get(name, 0.0) > now.mono_s:
                continue
            if not self._pool.knows(name, self._reads):
                missing.append(name)
        known.asked.update(dict.fromkeys(missing, now.mono_s + ANSWER_S))
        if not missing and not message.more:
            return []
        return [Tell((peer,), Want(tuple(missing), message.more).encode())]

    def _overdue(self, now: Now, known: _Peer) -> None:
        """Count what `peer` named and did not give; one that goes on so is not listened to for a while."""
        while known.asked:
            name, due_s = next(iter(known.asked.items()))
            if due_s > now.mono_s:
                break
            del known.asked[name]
            known.broken += not self._pool.knows(name, self._reads)
        if known.broken > SHARE_IDS.value:
            known.broken, known.deaf_s = 0, now.mono_s + _BROKEN_S
            self.counted["named what it has not"] += 1

    def _on_want(self, now: Now, peer: bytes, known: _Peer, message: Want) -> list[Effect]:
        if known.wanted.take(now.mono_s, 1):
            self.counted["asked too often"] += 1
            return []
        raws: list[bytes] = []
        for name in message.ids:
            raw = self._pool.get(name)
            if raw is None:
                continue
            if known.given.take(now.mono_s, wire.cost(raw)):
                self.counted["asked for too much"] += 1
                break
            raws.append(raw)
        effects: list[Effect] = [Tell((peer,), batch.encode()) for batch in wire.batches(raws)]
        known.passed += SHARE_IDS.value
        if message.next:
            effects += self._page(peer, known)
        return effects

    # -- peers --

    def _linked(self) -> list[bytes]:
        """Validators that have a link to us, sorted."""
        return sorted(
            node
            for node in self._validators()
            if node != self._node and node in self._peers and self._peers[node].linked
        )

    def _peer(self, node: bytes) -> _Peer:
        """What is known of a node, also after its link broke: a new link brings no new allowance."""
        known = self._peers.get(node)
        if known is None:
            if len(self._peers) >= MAX_KNOWN.value:
                gone = next((name for name, one in self._peers.items() if not one.linked), None)
                if gone is not None:
                    del self._peers[gone]
            known = self._peers[node] = _Peer()
        return known

    def _wake(self) -> WakeAt:
        at_s = self._round_s
        if self._batch:
            at_s = min(at_s, self._sent_s + GATHER_S)
        if self._work:
            at_s = min(at_s, self._worked_s + GATHER_S)
        return WakeAt(at_s)


def _weight(raw: bytes) -> float:
    """What an entry costs its sender: reading it takes time by its length."""
    return 1 + len(raw) / _WEIGHT_BYTES


__all__ = [
    "ACCEPTED", "DUPLICATE", "Blame", "Effect", "Now", "Sharing", "Tell", "WakeAt", "Work",
]  # fmt: skip
