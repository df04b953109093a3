"""One file brought from several sources at once. Events and the time go in, effects come out.

The rules, in the order in which they were needed:

1. Nothing is written before its hash fits. A source that sends a wrong chunk, or one that nobody asked it
   for, is dropped for good and named as guilty.
2. Credit in bytes: asked of one source and not yet here, clamp(2 x rate x round trip, 1 MiB, 16 MiB),
   and 64 MiB over all sources. The factor 2 lets it grow from round to round until the path is full.
3. The first two chunks at random, then those that the fewest sources hold; ties at random. Where a client
   reads along: always the first that is wanted; it is sent nothing beyond a gap.
4. A chunk goes to the source that is expected to finish it first. One that would finish it long after all
   the others are done with the whole file gets none.
5. While another source is still being reached, the first one leaves half of the chunks, for two seconds.
6. A source without a sign of life for max(4 s, 4 x its p95) has its chunks given to others, and is then
   asked one chunk at a time; the third time in a row it is dropped.
7. A chunk that takes more than 2 x its source's p95 is asked of a second source as well, two such at a
   time. When nothing is left to ask (endgame), what is late by the p95 of the whole swarm is asked of
   every source that can be expected to be quicker. The losers are told.
8. A source that says HAVE, then NAK, has its credit halved and is not asked for that chunk again; the
   fourth such answer in a row drops it. BUSY halves the credit and pauses, eight times in a row.
9. A lost source is tried once more, after those that were not tried yet.

Time comes as `now` in seconds of any steady clock, randomness as a generator of the caller's. It answers
the same to the same calls.

Source: docs/network.md, "The swarm".
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from pyrsia.transfer.manifest import Manifest
from pyrsia.units import (
    CHUNK_BYTES,
    MAX_ASK_CHUNKS,
    MAX_SOURCES,
    PEER_CREDIT_BYTES,
    SWARM_BUSIES,
    SWARM_CREDIT_BYTES,
    SWARM_HEDGES,
    SWARM_NAKS,
    SWARM_STRIKES,
    NodeId,
)

MIN_CREDIT_BYTES: Final = 1 << 20  # four chunks keep a path of 10 ms at 100 MB/s full
TICK_S: Final = 0.1  # how often lateness is looked at
OPEN_S: Final = 6.0  # to connect and to say HAVE: a dial takes at most 5 s
AGAIN_S: Final = 0.5  # before a lost source is tried once more
SILENT_S: Final = 4.0
SILENT_MOST_S: Final = 30.0  # a source that is slow on purpose earns no more patience than this
HOLD_S: Final = 2.0  # how long chunks are kept for a source that is still being reached
BUSY_S: Final = 0.2  # the first pause; each further one is twice as long
BUSY_MOST_S: Final = 3.2
LATE_LEAST_S: Final = 0.25  # nothing is asked twice before this; a busy machine takes as long for itself
ENDGAME_LEAST_S: Final = 0.1
SLACK_S: Final = 0.1  # a source may be expected to end this much after the swarm
SOON_S: Final = 2.0  # a source that has given nothing yet is not late before this
RATE_WINDOW_S: Final = 0.05
RATE_WEIGHT: Final = 0.3
RANDOM_FIRST: Final = 2
ATTEMPTS: Final = 2
SAMPLES: Final = 64  # latencies remembered: enough for a p95
SAMPLES_LEAST: Final = 8
SCALE_LEAST: Final = 1 / 64  # of the credit, after halving
SCALE_UP: Final = 1.1  # per chunk that came


class Draw(Protocol):
    """What is needed of a random generator."""

    def randrange(self, stop: int, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Open:
    """Effect: reach this source and ask what it has; answer with `on_have`, `on_nak` or `on_lost`."""

    source: NodeId


@dataclass(frozen=True, slots=True)
class Ask:
    """Effect: ask for these chunks, at most 16."""

    source: NodeId
    chunks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Effect: tell this source that these chunks are not needed any more."""

    source: NodeId
    chunks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """Effect: a verified chunk from `source`, to be written at `offset`."""

    source: NodeId
    index: int
    offset: int
    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Drop:
    """Effect: let go of this source. `guilty`: no honest source does what it did."""

    source: NodeId
    why: str
    guilty: bool


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Effect: call `on_timer` then; replaces the moment named before."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Done:
    """Effect: every chunk was written."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Effect: no source is left; `why` names each with its reason."""

    why: tuple[tuple[NodeId, str], ...]


Effect = Open | Ask | Cancel | Write | Drop | WakeAt | Done | Failed


class _Phase(Enum):
    WAITING = "waiting"
    OPENING = "opening"
    READY = "ready"
    GONE = "gone"


@dataclass(slots=True, eq=False)
class _Source:
    """One source and what it was asked for."""

    node: NodeId
    phase: _Phase = _Phase.WAITING
    why: str = ""
    attempts: int = 0
    since_s: float = 0.0  # when it was opened
    heard_s: float = 0.0  # last sign of life while something was owed
    not_before_s: float = 0.0  # paused until then
    held: int = 0  # bit i: it has chunk i, as far as we know
    refused: int = 0  # bit i: it said NAK to chunk i
    owed: dict[int, float] = field(default_factory=dict)  # chunk -> when it was asked
    late: set[int] = field(default_factory=set)  # asked, then given up: may still come
    owed_bytes: int = 0
    given: int = 0  # chunks of it that fitted their hash
    scale: float = 1.0  # of its credit
    strikes: int = 0
    naks: int = 0
    busies: int = 0
    rtt_s: float = 0.0
    rate: float = 0.0  # bytes per second, 0 while unknown
    window_s: float = 0.0
    window_bytes: int = 0
    took_s: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    @property
    def credit(self) -> int:
        """Bytes that it may owe us (rules 2, 6, 8)."""
        if self.strikes:
            return CHUNK_BYTES.value
        whole = min(max(int(2 * self.rate * self.rtt_s), MIN_CREDIT_BYTES), PEER_CREDIT_BYTES.value)
        return max(CHUNK_BYTES.value, int(whole * self.scale))

    @property
    def patience_s(self) -> float:
        """How long it may be silent while it owes something (rule 6)."""
        return min(max(SILENT_S, 4 * (_p95(self.took_s) or 0.0)), SILENT_MOST_S)

    def ends_in(self, more: int) -> float:
        """Seconds until it has given what it owes and `more` bytes; 0 while its rate is unknown."""
        return (self.owed_bytes + more) / self.rate if self.rate else 0.0

    def room(self, started: bool) -> bool:
        """Whether it may be asked for one more chunk; a new round of asking waits for a quarter of its credit."""
        credit = self.credit
        step = CHUNK_BYTES.value if started or not self.owed else max(CHUNK_BYTES.value, credit // 4)
        return self.owed_bytes + step <= credit

    def came(self, now: float, asked_s: float, size: int) -> None:
        """Measure: rate over windows of 50 ms, shortest round trip, latencies."""
        took_s = now - asked_s
        self.took_s.append(took_s)
        self.rtt_s = min(self.rtt_s, took_s)
        self.window_bytes += size
        elapsed_s = now - self.window_s
        if elapsed_s >= RATE_WINDOW_S:
            seen = self.window_bytes / elapsed_s
            self.rate = self.rate + RATE_WEIGHT * (seen - self.rate) if self.rate else seen
            self.window_s, self.window_bytes = now, 0


class Swarm:
    """One download.

    Args:
        manifest: what is wanted.
        sources: who may have it, the preferred first; each once. At most eight are used at a time.
        draw: the caller's generator (`random.Random`).
        held: bit i is set for each chunk that was written (and verified) before: resume.
        ordered: somebody reads the file while it comes (rule 3).
    """

    def __init__(
        self,
        manifest: Manifest,
        sources: Sequence[NodeId],
        draw: Draw,
        held: int = 0,
        *,
        ordered: bool = False,
    ) -> None:
        self._manifest = manifest
        self._ordered = ordered
        self._all = (1 << manifest.count) - 1
        if held & ~self._all or held < 0:
            raise ValueError("chunks are held that the file does not have")
        self._sources = {node: _Source(node) for node in sources}
        self._queue = deque(self._sources.values(), maxlen=max(1, len(self._sources)))
        self._draw = draw
        self._held = held
        self._wanted = self._all & ~held  # nobody owes them
        self._missing = self._size_of(self._wanted)  # bytes not yet written
        self._reserve = self._wanted.bit_count() // 2
        self._rare = [self._all] + [0] * MAX_SOURCES.value  # [a]: chunks that a sources hold
        self._owners: dict[int, list[_Source]] = {}
        self._owed_bytes = 0
        self._picks = 0
        self._asked: set[NodeId] = set()
        self._hold_until_s: float | None = None
        self._took_s: deque[float] = deque(maxlen=SAMPLES)
        self._over = False
        self.duplicates = 0  # chunks that came although they were here

    @property
    def held(self) -> int:
        """Bit i is set for each chunk that is here: what `held` takes to resume."""
        return self._held

    @property
    def owed_bytes(self) -> dict[NodeId, int]:
        """What each source was asked for and has not given, bytes."""
        return {node: source.owed_bytes for node, source in self._sources.items()}

    # -- events --

    def on_start(self, now: float) -> list[Effect]:
        if self._held == self._all:
            self._over = True
            return [Done()]
        return self._turn(now, [], wake=True)

    def on_have(self, now: float, node: NodeId, count: int, held: int) -> list[Effect]:
        """`node` holds these chunks of a file of `count`."""
        source = self._live(node, _Phase.OPENING, _Phase.READY)
        if source is None:
            return []
        if count != self._manifest.count:
            return self._turn(now, self._drop(source, f"speaks of {count} chunks", guilty=True))
        if source.phase is _Phase.OPENING:
            source.phase = _Phase.READY
            source.rtt_s = now - source.since_s
            if self._hold_until_s is None:
                self._hold_until_s = now + HOLD_S
        gained = held & self._all & ~source.refused & ~source.held
        source.held |= gained
        self._more(gained)
        return self._turn(now, [])

    def on_chunk(self, now: float, node: NodeId, index: int, data: bytes | memoryview) -> list[Effect]:
        """`data` came from `node` as chunk `index`."""
        source = self._live(node, _Phase.READY)
        if source is None:
            return []
        asked_s = source.owed.get(index)
        if asked_s is None and index not in source.late:
            return self._turn(now, self._drop(source, f"sent chunk {index}, not asked for", guilty=True))
        self._settle(source, index)
        source.late.discard(index)
        if not self._manifest.holds(index, data):
            self._release(index)
            return self._turn(now, self._drop(source, f"sent a wrong chunk {index}", guilty=True))
        self._alive(source, now)
        if asked_s is not None:
            source.came(now, asked_s, self._manifest.span(index)[1])
            self._took_s.append(now - asked_s)
        if self._held >> index & 1:
            self.duplicates += 1
            return self._turn(now, [])
        return self._keep(now, source, index, data)

    def on_nak(self, now: float, node: NodeId, chunks: Sequence[int]) -> list[Effect]:
        """`node` does not give these chunks; with none named, nothing of the file."""
        source = self._live(node, _Phase.OPENING, _Phase.READY)
        if source is None:
            return []
        if not chunks or source.phase is _Phase.OPENING:
            return self._turn(now, self._drop(source, "does not offer the file"))
        if not self._take_back(source, chunks):
            return self._turn(now, self._drop(source, "refused what nobody asked for", guilty=True))
        refused = sum(1 << chunk for chunk in set(chunks)) & source.held
        source.refused |= refused
        source.held &= ~refused
        self._less(refused)
        source.heard_s = now
        source.scale = max(SCALE_LEAST, source.scale / 2)
        source.naks += 1
        if source.naks >= SWARM_NAKS.value:
            return self._turn(now, self._drop(source, "refuses what it says it has"))
        return self._turn(now, [])

    def on_busy(self, now: float, node: NodeId, chunks: Sequence[int]) -> list[Effect]:
        """`node` has no room for these now."""
        source = self._live(node, _Phase.READY)
        if source is None:
            return []
        if not chunks or not self._take_back(source, chunks):
            return self._turn(now, self._drop(source, "refused what nobody asked for", guilty=True))
        source.heard_s = now
        source.scale = max(SCALE_LEAST, source.scale / 2)
        source.not_before_s = now + min(BUSY_MOST_S, BUSY_S * 2**source.busies)
        source.busies += 1
        if source.busies >= SWARM_BUSIES.value:
            return self._turn(now, self._drop(source, "has no time for us"))
        return self._turn(now, [])

    def on_lost(self, now: float, node: NodeId, why: str) -> list[Effect]:
        """The connection to `node` is gone, or could not be made."""
        source = self._live(node, _Phase.OPENING, _Phase.READY)
        if source is None:
            return []
        self._leave(source, why)
        if source.attempts < ATTEMPTS:
            source.phase = _Phase.WAITING
            source.not_before_s = now + AGAIN_S
            self._queue.append(source)
        return self._turn(now, [])

    def on_fault(self, now: float, node: NodeId, why: str) -> list[Effect]:
        """`node` sent what no honest source sends (bytes that are no message)."""
        source = self._live(node, _Phase.OPENING, _Phase.READY)
        return [] if source is None else self._turn(now, self._drop(source, why, guilty=True))

    def on_timer(self, now: float) -> list[Effect]:
        """The moment of the last `WakeAt` has come."""
        if self._over:
            return []
        effects: list[Effect] = []
        for source in self._sources.values():
            if source.phase is _Phase.OPENING and now - source.since_s >= OPEN_S:
                effects += self._drop(source, "did not answer")
            elif source.phase is _Phase.READY and source.owed:
                if now - source.heard_s >= source.patience_s:
                    effects += self._strike(source, now)
        effects += self._ask_late(now)
        return self._turn(now, effects, wake=True)

    # -- what an event leads to --

    def _turn(self, now: float, effects: list[Effect], *, wake: bool = False) -> list[Effect]:
        """Every event ends here: reach more sources, ask for more, or say that it is over."""
        effects += self._open_more(now)
        effects += self._ask_more(now)
        if self._hopeless():
            self._over = True
            reasons = ((s.node, s.why or "has not the rest of it") for s in self._sources.values())
            effects.append(Failed(tuple(reasons)))
        elif wake:
            effects.append(WakeAt(now + TICK_S))
        return effects

    def _hopeless(self) -> bool:
        """Nobody owes anything, and nobody has or will have what is missing."""
        return not self._owners and not any(
            source.phase in (_Phase.WAITING, _Phase.OPENING)
            or (source.phase is _Phase.READY and source.held & self._wanted)
            for source in self._sources.values()
        )

    def _keep(self, now: float, source: _Source, index: int, data: bytes | memoryview) -> list[Effect]:
        bit = 1 << index
        self._held |= bit
        self._wanted &= ~bit
        offset, size = self._manifest.span(index)
        self._missing -= size
        effects: list[Effect] = [Write(source.node, index, offset, data)]
        for loser in tuple(self._owners.get(index, ())):
            self._settle(loser, index)
            loser.late.add(index)
            effects.append(Cancel(loser.node, (index,)))
        if self._held == self._all:
            self._over = True
            return [*effects, Done()]
        return self._turn(now, effects)

    def _open_more(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        used = sum(s.phase in (_Phase.OPENING, _Phase.READY) for s in self._sources.values())
        for _ in range(len(self._queue)):
            source = self._queue.popleft()
            if used >= MAX_SOURCES.value or now < source.not_before_s:
                self._queue.append(source)
                continue
            source.phase, source.since_s = _Phase.OPENING, now
            source.attempts += 1
            used += 1
            effects.append(Open(source.node))
        return effects

    def _ask_more(self, now: float) -> list[Effect]:
        asks: dict[NodeId, list[int]] = {}
        while self._wanted and self._owed_bytes + CHUNK_BYTES.value <= SWARM_CREDIT_BYTES.value:
            source = self._next_source(now, asks)
            if source is None:
                break
            index = self._pick(self._wanted & source.held)
            self._owe(source, index, now)
            asks.setdefault(source.node, []).append(index)
        return _asks(asks)

    def _next_source(self, now: float, asks: dict[NodeId, list[int]]) -> _Source | None:
        """Who should be asked for one more chunk: who is expected to bring it first (rules 4, 5)."""
        size = CHUNK_BYTES.value
        able = [
            source
            for source in self._sources.values()
            if source.phase is _Phase.READY
            and now >= source.not_before_s
            and self._wanted & source.held
            and not self._left_for_others(source, now)
        ]
        able.sort(key=lambda s: (s.ends_in(size), s.owed_bytes, s.given))
        quickest = next((source for source in able if not source.strikes), None)
        rate = sum(source.rate for source in able)
        ends_s = self._missing / rate + SLACK_S if rate else 0.0
        for source in able:
            if source.room(source.node in asks):
                if source is quickest or not source.rate or source.ends_in(size) <= ends_s:
                    return source
        return None

    def _left_for_others(self, source: _Source, now: float) -> bool:
        """Whether what is left to ask is kept for a source that is still being reached (rule 5)."""
        return (
            self._hold_until_s is not None
            and now < self._hold_until_s
            and not self._asked - {source.node}
            and self._wanted.bit_count() <= self._reserve
            and any(other.phase is _Phase.OPENING for other in self._sources.values())
        )

    def _pick(self, pool: int) -> int:
        """A chunk of `pool` (not empty), rule 3."""
        if self._ordered:
            return (pool & -pool).bit_length() - 1
        self._picks += 1
        if self._picks > RANDOM_FIRST:
            pool = next(found for rare in self._rare[1:] if (found := pool & rare))
        turn = self._draw.randrange(pool.bit_length())
        above = pool >> turn
        return turn + (above & -above).bit_length() - 1

    def _ask_late(self, now: float) -> list[Effect]:
        """Ask a second source for what is late (rule 7)."""
        endgame = not self._wanted
        free = len(self._owners) if endgame else SWARM_HEDGES.value
        free -= 0 if endgame else sum(len(owners) > 1 for owners in self._owners.values())
        asks: dict[NodeId, list[int]] = {}
        for index, (owner, *others) in sorted(
            self._owners.items(), key=lambda item: item[1][0].owed[item[0]]
        ):
            age_s = now - owner.owed[index]
            if free <= 0 or others or age_s < self._late_s(owner, endgame):
                continue
            helper = self._helper(index, owner, age_s, now)
            if helper is not None:
                self._owe(helper, index, now)
                asks.setdefault(helper.node, []).append(index)
                free -= 1
        return _asks(asks)

    def _late_s(self, owner: _Source, endgame: bool) -> float:
        if not owner.given:
            return SOON_S
        if endgame:
            return max(ENDGAME_LEAST_S, _p95(self._took_s) or 0.0)
        return max(LATE_LEAST_S, 2 * (_p95(owner.took_s) or SOON_S))

    def _helper(self, index: int, owner: _Source, age_s: float, now: float) -> _Source | None:
        """Another source for chunk `index` that is likely to bring it sooner than it already takes."""
        if self._owed_bytes + CHUNK_BYTES.value > SWARM_CREDIT_BYTES.value:
            return None
        size = CHUNK_BYTES.value
        able = [
            source
            for source in self._sources.values()
            if source is not owner
            and source.phase is _Phase.READY
            and source.held >> index & 1
            and not source.strikes
            and now >= source.not_before_s
            and source.room(True)
            and source.ends_in(size) < age_s
        ]
        return min(able, key=lambda s: (s.ends_in(size), s.owed_bytes), default=None)

    # -- book-keeping --

    def _live(self, node: NodeId, *phases: _Phase) -> _Source | None:
        source = self._sources.get(node)
        return None if self._over or source is None or source.phase not in phases else source

    def _alive(self, source: _Source, now: float) -> None:
        source.heard_s = now
        source.strikes = source.naks = source.busies = 0
        source.given += 1
        source.scale = min(1.0, source.scale * SCALE_UP)

    def _owe(self, source: _Source, index: int, now: float) -> None:
        size = self._manifest.span(index)[1]
        if not source.owed:
            source.heard_s = source.window_s = now
            source.window_bytes = 0
        source.owed[index] = now
        source.late.discard(index)
        source.owed_bytes += size
        self._owed_bytes += size
        self._owners.setdefault(index, []).append(source)
        self._wanted &= ~(1 << index)
        self._asked.add(source.node)

    def _settle(self, source: _Source, index: int) -> None:
        """`source` does not owe chunk `index` any more."""
        if source.owed.pop(index, None) is None:
            return
        size = self._manifest.span(index)[1]
        source.owed_bytes -= size
        self._owed_bytes -= size
        owners = self._owners[index]
        owners.remove(source)
        if not owners:
            del self._owners[index]

    def _release(self, index: int) -> None:
        """Chunk `index` may be asked again unless it is here or somebody owes it."""
        bit = 1 << index
        if not self._held & bit and index not in self._owners:
            self._wanted |= bit

    def _take_back(self, source: _Source, chunks: Iterable[int]) -> bool:
        """`source` said no to `chunks`; whether all of them had been asked of it."""
        known = True
        for index in chunks:
            if index in source.owed:
                self._settle(source, index)
                self._release(index)
            elif index in source.late:
                source.late.discard(index)
            else:
                known = False
        return known

    def _strike(self, source: _Source, now: float) -> list[Effect]:
        source.strikes += 1
        if source.strikes >= SWARM_STRIKES.value:
            return self._drop(source, "is silent")
        owed = tuple(source.owed)
        source.late.update(owed)
        for index in owed:
            self._settle(source, index)
            self._release(index)
        source.rate = 0.0
        step = MAX_ASK_CHUNKS.value
        return [Cancel(source.node, owed[at : at + step]) for at in range(0, len(owed), step)]

    def _drop(self, source: _Source, why: str, *, guilty: bool = False) -> list[Effect]:
        self._leave(source, why)
        return [Drop(source.node, why, guilty)]

    def _leave(self, source: _Source, why: str) -> None:
        """Nothing is expected of `source` any more."""
        source.phase, source.why = _Phase.GONE, why
        for index in tuple(source.owed):
            self._settle(source, index)
            self._release(index)
        self._less(source.held)
        source.held = source.strikes = 0
        source.rate = 0.0
        source.late.clear()

    def _more(self, mask: int) -> None:
        """One more source holds the chunks of `mask`."""
        for a in range(MAX_SOURCES.value - 1, -1, -1):
            moved = self._rare[a] & mask
            self._rare[a] ^= moved
            self._rare[a + 1] |= moved

    def _less(self, mask: int) -> None:
        for a in range(1, MAX_SOURCES.value + 1):
            moved = self._rare[a] & mask
            self._rare[a] ^= moved
            self._rare[a - 1] |= moved

    def _size_of(self, chunks: int) -> int:
        """Bytes of the chunks whose bits are set."""
        size = chunks.bit_count() * CHUNK_BYTES.value
        last = self._manifest.count - 1
        if last >= 0 and chunks >> last & 1:
            size -= CHUNK_BYTES.value - self._manifest.span(last)[1]
        return size


def _asks(asks: dict[NodeId, list[int]]) -> list[Effect]:
    step = MAX_ASK_CHUNKS.value
    return [
        Ask(node, tuple(chunks[at : at + step]))
        for node, chunks in asks.items()
        for at in range(0, len(chunks), step)
    ]


def _p95(took_s: deque[float]) -> float | None:
    """The 95th percentile, when there are enough samples to speak of one."""
    if len(took_s) < SAMPLES_LEAST:
        return None
    return sorted(took_s)[len(took_s) * 95 // 100]
