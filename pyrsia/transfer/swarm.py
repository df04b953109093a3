"""One file brought from several sources at once. Events and the time go in, effects come out.

The rules, in the order in which they were needed:

1. Nothing is written before its hash fits. A source that sends a wrong chunk, or one that nobody asked it
   for, is dropped for good and named as guilty.
2. Credit in bytes: asked of one source and not yet here, clamp(2 x rate x round trip, 1 MiB, 16 MiB),
   and 64 MiB over all sources. The factor 2 lets it grow from round to round until the path is full.
3. The first two chunks at random, then those that the fewest sources hold; ties at random. Where a client
   reads along: always the first that is wanted; it is sent nothing beyond a gap (`picking`).
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
9. A lost source is tried once more, after those that were not tried yet; more sources may come while it
   runs. While some were never tried and ten more seconds are expected, the slowest gives its place (`roster`).
10. A source that still downloads is asked four times a second what it has by now, any other every two
   seconds: the answer also names who else fetches the file. A HAVE never takes back what an older one said.
11. What this node's own limit does not let in is not asked for, so no source looks slow by it.

Time comes as `now` in seconds of any steady clock, randomness as a generator of the caller's. It answers
the same to the same calls. Left out: what a source is (`sources`), who is tried (`roster`), which chunk is
next (`picking`).

Source: docs/network.md, "The swarm"; docs/adr/0064.
"""

import functools
from collections import deque
from collections.abc import Sequence
from operator import or_
from typing import Final, Protocol

from pyrsia.transfer.effects import Ask as Ask
from pyrsia.transfer.effects import Cancel as Cancel
from pyrsia.transfer.effects import Done as Done
from pyrsia.transfer.effects import Drop as Drop
from pyrsia.transfer.effects import Effect as Effect
from pyrsia.transfer.effects import Failed as Failed
from pyrsia.transfer.effects import Look as Look
from pyrsia.transfer.effects import Open as Open
from pyrsia.transfer.effects import WakeAt as WakeAt
from pyrsia.transfer.effects import Write as Write
from pyrsia.transfer.manifest import Manifest
from pyrsia.transfer.owing import Owing
from pyrsia.transfer.picking import Draw, Picking, Places
from pyrsia.transfer.roster import LATER_S, OPEN_S, SWAP_S, Roster
from pyrsia.transfer.sources import SAMPLES, Phase, Source, p95
from pyrsia.units import (
    CHUNK_BYTES,
    MAX_ASK_CHUNKS,
    SWARM_BUSIES,
    SWARM_CREDIT_BYTES,
    SWARM_HEDGES,
    SWARM_NAKS,
    SWARM_STRIKES,
    NodeId,
)

TICK_S: Final = 0.1  # how often lateness is looked at
HOLD_S: Final = 2.0  # how long chunks are kept for a source that is still being reached
LOOK_S: Final = 2.0  # before a source is asked again what it has, and who else fetches the file
LOOK_PART_S: Final = 0.25  # the same for a source that still downloads
BUSY_S: Final = 0.2  # the first pause; each further one is twice as long
BUSY_MOST_S: Final = 3.2
LATE_LEAST_S: Final = 0.25  # nothing is asked twice before this; a busy machine takes as long for itself
ENDGAME_LEAST_S: Final = 0.1
SLACK_S: Final = 0.1  # a source may be expected to end this much after the swarm
SOON_S: Final = 2.0  # a source that has given nothing yet is not late before this


class Down(Protocol):
    """What may still be asked for now: limits of this node, which are no source's fault (`buckets.Flow`)."""

    def wait_s(self, now: float, node: NodeId, size: int, /) -> float: ...

    def take(self, now: float, node: NodeId, size: int, /) -> None: ...


class Swarm:
    """One download.

    Args:
        manifest: what is wanted.
        sources: who may have it, the preferred first; each once. At most eight are used at a time.
        draw: the caller's generator (`random.Random`).
        held: bit i is set for each chunk that was written (and verified) before: resume.
        ordered: somebody reads the file from its start while it comes (rule 3).
        places: the chunks at which readers wait now, called at each choice; in place of `ordered`.
        down: this node's own limit.
        seeking: somebody looks for further sources; nothing is given up before `on_sought`.
        me: the node that downloads, by which those who download together part the chunks among them.
    """

    def __init__(
        self,
        manifest: Manifest,
        sources: Sequence[NodeId],
        draw: Draw,
        held: int = 0,
        *,
        ordered: bool = False,
        places: Places | None = None,
        down: Down | None = None,
        seeking: bool = False,
        me: NodeId | None = None,
    ) -> None:
        self._manifest = manifest
        self._roster = Roster(sources)
        self._roster.seeking = seeking
        if places is None and ordered:
            places = _from_the_start
        self._picking = Picking(manifest.count, draw, places)
        self._down = down
        self._me = me
        self._owing = Owing(manifest, held)
        self._reserve = self._owing.wanted.bit_count() // 2
        self._asked: set[NodeId] = set()
        self._hold_until_s: float | None = None
        self._took_s: deque[float] = deque(maxlen=SAMPLES)
        self._over = False
        self.duplicates = 0  # chunks that came although they were here

    @property
    def held(self) -> int:
        """Bit i is set for each chunk that is here: what `held` takes to resume, and what is given to others."""
        return self._owing.held

    @property
    def owed_bytes(self) -> dict[NodeId, int]:
        """What each source was asked for and has not given, bytes."""
        return {node: source.owed_bytes for node, source in self._roster.sources.items()}

    # -- events --

    def on_start(self, now: float) -> list[Effect]:
        if self._owing.complete:
            self._over = True
            return [Done()]
        return self._turn(now, [], wake=True)

    def on_source(self, now: float, node: NodeId, teller: NodeId | None = None) -> list[Effect]:
        """`node` may have the file: a search says so, or the source `teller`."""
        if self._over or not self._roster.add(now, node, teller):
            return []
        return self._turn(now, [])

    def on_sought(self, now: float) -> list[Effect]:
        """The search for further sources has told what it found."""
        if self._over:
            return []
        self._roster.seeking = False
        return self._turn(now, [])

    def on_have(self, now: float, node: NodeId, count: int, held: int) -> list[Effect]:
        """`node` holds these chunks of a file of `count`."""
        source = self._live(node, Phase.OPENING, Phase.READY)
        if source is None:
            return []
        if count != self._manifest.count:
            return self._turn(now, self._drop(source, f"speaks of {count} chunks", guilty=True))
        if source.phase is Phase.OPENING:
            source.phase = Phase.READY
            source.rtt_s = now - source.since_s
            source.looked_s = source.gained_s = source.idle_s = now
            if self._hold_until_s is None:
                self._hold_until_s = now + HOLD_S
        held &= self._owing.all
        source.whole = source.whole or held == self._owing.all
        gained = held & ~source.refused & ~source.held
        if gained:
            if gained & ~self._owing.held:  # more of what is here already is no reason to hope
                source.gained_s = now
            source.held |= gained
            self._picking.more(gained)
        return self._turn(now, [])

    def on_chunk(self, now: float, node: NodeId, index: int, data: bytes | memoryview) -> list[Effect]:
        """`data` came from `node` as chunk `index`."""
        source = self._roster.sources.get(node)
        if self._over or source is None or source.phase is not Phase.READY:
            return []
        asked_s = source.owed.get(index)
        if asked_s is None and not source.excuse(index):
            return self._turn(now, self._drop(source, f"sent chunk {index}, not asked for", guilty=True))
        if not self._manifest.holds(index, data):
            return self._turn(now, self._drop(source, f"sent a wrong chunk {index}", guilty=True))
        self._owing.settle(source, index)
        source.alive(now)
        if asked_s is not None:
            source.came(now, asked_s, self._manifest.span(index)[1])
            self._took_s.append(now - asked_s)
        if self._owing.held >> index & 1:
            self.duplicates += 1
            return self._turn(now, [])
        return self._keep(now, source, index, data)

    def on_nak(self, now: float, node: NodeId, chunks: Sequence[int]) -> list[Effect]:
        """`node` does not give these chunks; with none named, nothing of the file."""
        source = self._live(node, Phase.OPENING, Phase.READY)
        if source is None:
            return []
        if not chunks or source.phase is Phase.OPENING:
            return self._turn(now, self._drop(source, "does not offer the file"))
        if not self._owing.take_back(source, chunks):
            return self._turn(now, self._drop(source, "refused what nobody asked for", guilty=True))
        refused = sum(1 << chunk for chunk in set(chunks)) & source.held
        source.refused |= refused
        source.held &= ~refused
        self._picking.less(refused)
        source.halve(now)
        source.naks += 1
        if source.naks >= SWARM_NAKS.value:
            return self._turn(now, self._drop(source, "refuses what it says it has", odd=True))
        return self._turn(now, [])

    def on_busy(self, now: float, node: NodeId, chunks: Sequence[int]) -> list[Effect]:
        """`node` has no room for these now."""
        source = self._live(node, Phase.READY)
        if source is None:
            return []
        if not chunks or not self._owing.take_back(source, chunks):
            return self._turn(now, self._drop(source, "refused what nobody asked for", guilty=True))
        source.halve(now)
        source.not_before_s = now + min(BUSY_MOST_S, BUSY_S * 2**source.busies)
        source.busies += 1
        if source.busies >= SWARM_BUSIES.value:
            return self._turn(now, self._drop(source, "has no time for us"))
        return self._turn(now, [])

    def on_lost(self, now: float, node: NodeId, why: str) -> list[Effect]:
        """The connection to `node` is gone, or could not be made."""
        source = self._live(node, Phase.OPENING, Phase.READY)
        if source is None:
            return []
        self._leave(source, why)
        self._roster.again(source, now)
        return self._turn(now, [])

    def on_fault(self, now: float, node: NodeId, why: str) -> list[Effect]:
        """`node` sent what no honest source sends (bytes that are no message)."""
        source = self._live(node, Phase.OPENING, Phase.READY)
        return [] if source is None else self._turn(now, self._drop(source, why, guilty=True))

    def on_timer(self, now: float) -> list[Effect]:
        """The moment of the last `WakeAt` has come."""
        if self._over:
            return []
        effects: list[Effect] = []
        for source in self._roster.sources.values():
            if source.phase is Phase.OPENING and now - source.since_s >= OPEN_S:
                effects += self._drop(source, "did not answer")
                self._roster.again(source, now)  # by a new line: the other end may have forgotten this one
            elif source.phase is Phase.READY and source.owed and now - source.heard_s >= source.patience_s:
                effects += self._strike(source, now)
        idle = self._roster.idle(now, self._owing.wanted)
        if idle is not None:
            effects += self._drop(idle, "has nothing that is missing")
            self._roster.wait(idle, now + LATER_S)
        slow = self._roster.slowest(now) if self._lasts() else None
        if slow is not None:
            effects += self._drop(slow, "is the slowest, and others wait")
            self._roster.wait(slow, now + LATER_S)
        effects += self._ask_late(now)
        effects += self._look(now)
        return self._turn(now, effects, wake=True)

    # -- what an event leads to --

    def _turn(self, now: float, effects: list[Effect], *, wake: bool = False) -> list[Effect]:
        """Every event ends here: reach more sources, ask for more, or say that it is over."""
        effects += [Open(source.node) for source in self._roster.opened(now)]
        effects += self._ask_more(now)
        if not self._owing.owners and self._roster.hopeless(now, self._owing.wanted):
            self._over = True
            reasons = tuple(
                (s.node, s.why or "has not the rest of it") for s in self._roster.sources.values()
            )
            effects.append(Failed(reasons, self._owing.held.bit_count(), self._manifest.count))
        elif wake:
            effects.append(WakeAt(now + TICK_S))
        return effects

    def _lasts(self) -> bool:
        """Whether somebody new would still be of use."""
        return self._owing.missing > SWAP_S * sum(source.rate for source in self._roster.ready())

    def _keep(self, now: float, source: Source, index: int, data: bytes | memoryview) -> list[Effect]:
        self._owing.keep(index)
        effects: list[Effect] = [Write(source.node, index, self._manifest.span(index)[0], data)]
        for loser in tuple(self._owing.owners.get(index, ())):
            self._owing.settle(loser, index)
            loser.late[index] += 1
            effects.append(Cancel(loser.node, (index,)))
        if self._owing.complete:
            self._over = True
            return [*effects, Done()]
        return self._turn(now, effects)

    def _look(self, now: float) -> list[Effect]:
        """Who is asked once more what it has (rule 10)."""
        effects: list[Effect] = []
        for source in self._roster.ready():
            if now - source.looked_s >= (LOOK_S if source.whole else LOOK_PART_S) - TICK_S / 2:
                source.looked_s = now
                effects.append(Look(source.node))
        return effects

    def _ask_more(self, now: float) -> list[Effect]:
        owing = self._owing
        if not owing.wanted:
            return []
        ready = self._roster.ready()
        if not any(source.room(False) for source in ready):
            return []  # most chunks that come find this; the rest is for who has room
        if self._me is not None:
            others = self._roster.fetching()
            spread = functools.reduce(or_, (source.held for source in others if source.given), 0)
            self._picking.share([source.node for source in others], self._me, spread)
        asks: dict[NodeId, list[int]] = {}
        while owing.wanted and owing.bytes + CHUNK_BYTES.value <= SWARM_CREDIT_BYTES.value:
            source = self._next_source(now, ready, asks)
            if source is None:
                break
            index = self._picking.pick(now, owing.wanted & source.held, source.last)
            self._owe(source, index, now)
            asks.setdefault(source.node, []).append(index)
        return _asks(asks)

    def _next_source(
        self, now: float, ready: Sequence[Source], asks: dict[NodeId, list[int]]
    ) -> Source | None:
        """Who should be asked for one more chunk: who is expected to bring it first (rules 4, 5, 11)."""
        size, wanted = CHUNK_BYTES.value, self._owing.wanted
        holding = self._hold_until_s is not None and now < self._hold_until_s
        able = [
            source
            for source in ready
            if now >= source.not_before_s
            and wanted & source.held
            and not (holding and self._left_for_others(source))
        ]
        if len(able) == 1 and not able[0].strikes:  # the quickest; what follows is for choosing among several
            alone = able[0]
            return alone if alone.room(alone.node in asks) and self._may(now, alone) else None
        able.sort(key=lambda s: (s.ends_in(size), s.owed_bytes, s.given))
        quickest = next((source for source in able if not source.strikes), None)
        rate = sum(source.rate for source in able)
        ends_s = self._owing.missing / rate + SLACK_S if rate else 0.0
        for source in able:
            if source.room(source.node in asks) and self._may(now, source):
                if source is quickest or not source.rate or source.ends_in(size) <= ends_s:
                    return source
        return None

    def _may(self, now: float, source: Source) -> bool:
        """Whether this node's own limit lets a chunk of `source` in."""
        return self._down is None or not self._down.wait_s(now, source.node, CHUNK_BYTES.value)

    def _left_for_others(self, source: Source) -> bool:
        """Whether what is left to ask is kept for a source that is still being reached (rule 5)."""
        return (
            not self._asked - {source.node}
            and self._owing.wanted.bit_count() <= self._reserve
            and self._roster.opening()
        )

    def _ask_late(self, now: float) -> list[Effect]:
        """Ask a second source for what is late (rule 7)."""
        endgame = not self._owing.wanted
        owners_of = self._owing.owners
        free = len(owners_of) if endgame else SWARM_HEDGES.value
        free -= 0 if endgame else sum(len(owners) > 1 for owners in owners_of.values())
        asks: dict[NodeId, list[int]] = {}
        for index, (owner, *others) in sorted(owners_of.items(), key=lambda item: item[1][0].owed[item[0]]):
            age_s = now - owner.owed[index]
            if free <= 0 or others or age_s < self._late_s(owner, endgame):
                continue
            helper = self._helper(index, owner, age_s, now)
            if helper is not None:
                self._owe(helper, index, now)
                asks.setdefault(helper.node, []).append(index)
                free -= 1
        return _asks(asks)

    def _late_s(self, owner: Source, endgame: bool) -> float:
        if not owner.given:
            return SOON_S
        if endgame:
            return max(ENDGAME_LEAST_S, p95(self._took_s) or 0.0)
        return max(LATE_LEAST_S, 2 * (p95(owner.took_s) or SOON_S))

    def _helper(self, index: int, owner: Source, age_s: float, now: float) -> Source | None:
        """Another source for chunk `index` that is likely to bring it sooner than it already takes."""
        if self._owing.bytes + CHUNK_BYTES.value > SWARM_CREDIT_BYTES.value:
            return None
        size = CHUNK_BYTES.value
        able = [
            source
            for source in self._roster.ready()
            if source is not owner
            and source.held >> index & 1
            and not source.strikes
            and now >= source.not_before_s
            and source.room(True)
            and source.ends_in(size) < age_s
            and self._may(now, source)
        ]
        return min(able, key=lambda s: (s.ends_in(size), s.owed_bytes), default=None)

    # -- book-keeping --

    def _live(self, node: NodeId, *phases: Phase) -> Source | None:
        return None if self._over else self._roster.live(node, *phases)

    def _owe(self, source: Source, index: int, now: float) -> None:
        self._owing.owe(source, index, now)
        source.last = index
        self._asked.add(source.node)
        if self._down is not None:
            self._down.take(now, source.node, self._manifest.span(index)[1])

    def _strike(self, source: Source, now: float) -> list[Effect]:
        source.strikes += 1
        if source.strikes >= SWARM_STRIKES.value:
            return self._drop(source, "is silent")
        owed = tuple(source.owed)
        source.late.update(owed)
        self._owing.release(source, owed)
        source.rate = 0.0
        step = MAX_ASK_CHUNKS.value
        return [Cancel(source.node, owed[at : at + step]) for at in range(0, len(owed), step)]

    def _drop(self, source: Source, why: str, *, guilty: bool = False, odd: bool = False) -> list[Effect]:
        self._leave(source, why, guilty=guilty)
        return [Drop(source.node, why, guilty, odd)]

    def _leave(self, source: Source, why: str, *, guilty: bool = False) -> None:
        self._owing.release(source, tuple(source.owed))
        self._picking.less(source.held)
        source.leave(why, guilty=guilty)


def _from_the_start() -> Sequence[int]:
    return (0,)


def _asks(asks: dict[NodeId, list[int]]) -> list[Effect]:
    step = MAX_ASK_CHUNKS.value
    return [
        Ask(node, tuple(chunks[at : at + step]))
        for node, chunks in asks.items()
        for at in range(0, len(chunks), step)
    ]
