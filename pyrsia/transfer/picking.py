"""Which chunk is asked next: rule 3 of `swarm`. No I/O.

Nobody reads along: the first two at random, so that those who start together start differently; then those that the
fewest sources hold, ties at random, row by row of three: what follows a chunk travels with it (`wire/chunks`). Somebody
reads along: the first that is wanted from where a reader stands, each reader in turn.

Where others fetch the file too, all would ask its one holder for the same chunks, by chance or in order. So each looks
first for its share of what is not spread among them yet: of n that fetch, as far as a node sees them, the r-th by id
has the chunks i with i mod n = r. A reader's first chunk, and the next one of a reader that stands still for a second,
come in order all the same. With eight such nodes their common source gives each chunk 1.04 times, and 1.09 times when
all read along; without shares it was 1.16 and 2.2 (simulated). Rows are only for who fetches alone.

Source: docs/network.md, "The swarm".
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from pyrsia.units import MAX_SOURCES, ROW_CHUNKS, Limit, NodeId

RANDOM_FIRST: Final = 2
AHEAD: Final = 64  # chunks, 16 MiB: what those who read along together exchange among themselves first
FAR_AHEAD: Final = 4 * AHEAD
ROW: Final = ROW_CHUNKS.value
DARTS: Final = 3  # thrown at a pool before its bits are counted: most hit a dense one
STALL_S: Final = 1.0  # before a reader that stands still gets its next chunk from whoever has it
MAX_PLACES = Limit(16, "readers whose places are looked at; of more, the first ones in the file")

Places = Callable[[], Sequence[int]]


class Draw(Protocol):
    """What is needed of a random generator."""

    def randrange(self, stop: int, /) -> int: ...


class Picking:
    """Of one download.

    Args:
        count: chunks of the file.
        places: the chunks that readers wait for now; None, and none, when nobody reads along.
    """

    def __init__(self, count: int, draw: Draw, places: Places | None) -> None:
        self._draw = draw
        self._places = places
        self._rare = [(1 << count) - 1] + [0] * MAX_SOURCES.value  # [a]: chunks that a sources hold
        self._picks = 0
        self._seen: list[int] = []  # where readers stood at the last choice
        self._first, self._first_s = -1, 0.0
        self._count = count
        self._every = self._mine = (1 << count) - 1
        self._share = (0, 1)
        self._spread = 0

    def more(self, mask: int) -> None:
        """One more source holds the chunks of `mask`."""
        for a in range(MAX_SOURCES.value - 1, -1, -1):
            moved = self._rare[a] & mask
            self._rare[a] ^= moved
            self._rare[a + 1] |= moved

    def less(self, mask: int) -> None:
        """One source fewer holds them."""
        for a in range(1, MAX_SOURCES.value + 1):
            moved = self._rare[a] & mask
            self._rare[a] ^= moved
            self._rare[a - 1] |= moved

    def share(self, others: Sequence[NodeId], me: NodeId, spread: int) -> None:
        """`others` fetch the file as well, each in one share of its chunks; ours is what we look for first.

        `spread`: the chunks that one of those has who have given us something. Who only says so counts for nothing.
        """
        self._spread = spread
        share = (sorted((*others, me)).index(me), len(others) + 1)
        if share != self._share:
            self._share = share
            rank, of = share
            period = "0" * (of - 1 - rank) + "1" + "0" * rank
            self._mine = int(period * (self._count // of + 1), 2) if others else self._every

    def pick(self, now: float, pool: int, after: int = -1) -> int:
        """A chunk of `pool` (not empty).

        Args:
            after: what the same source was asked for last; -1: nothing.
        """
        self._picks += 1
        places = sorted(set(self._places()))[: MAX_PLACES.value] if self._places is not None else []
        if not places:
            return self._any(pool) if self._picks <= RANDOM_FIRST else self._rarest(pool, after)
        shared = self._share[1] > 1 and not self._stalls(now, places)
        fresh = next((place for place in places if not self._follows(place)), None)
        self._seen = [place for place in places if place == fresh or self._follows(place)]
        if fresh is not None and pool >> fresh:
            return fresh + _lowest(pool >> fresh)
        for turn in range(len(places)):
            place = places[(self._picks + turn) % len(places)]
            near = pool >> place
            if shared and (scarce := near & ~(self._spread >> place)):
                return place + self._among(scarce, self._mine >> place)
            if near:
                return place + _lowest(near)
        return _lowest(pool)

    def _among(self, scarce: int, mine: int) -> int:
        """One of these chunks, which are not spread: of our share near by, of our share further on, of any."""
        near, far = (1 << AHEAD) - 1, (1 << FAR_AHEAD) - 1
        for some in (scarce & mine & near, scarce & mine & far, scarce & near):
            if some:
                return self._any(some)
        return _lowest(scarce)

    def _stalls(self, now: float, places: list[int]) -> bool:
        """Whether the first reader has stood too long where it stands: it gets one chunk in order."""
        if places[0] != self._first:
            self._first, self._first_s = places[0], now
        if now - self._first_s < STALL_S:
            return False
        self._first_s = now
        return True

    def _follows(self, place: int) -> bool:
        """Whether a reader at `place` may be one that was seen before."""
        return any(0 <= place - before <= AHEAD for before in self._seen)

    def _rarest(self, pool: int, after: int) -> int:
        pool = next((found for rare in self._rare[1:] if (found := pool & rare)), pool)
        if self._share[1] > 1:
            return self._any(pool & self._mine or pool)
        if (after + 1) % ROW and pool >> after + 1 & 1:
            return after + 1
        at = self._any(pool)
        row = at - at % ROW
        return row + _lowest(pool >> row)

    def _any(self, pool: int) -> int:
        """Each with the same chance: who shares gaps with others must not share what comes after them."""
        width = pool.bit_length()
        for _ in range(DARTS):
            at = self._draw.randrange(width)
            if pool >> at & 1:
                return at
        nth, at = self._draw.randrange(pool.bit_count()), 0
        while width > 1:
            half = width // 2
            low = pool & (1 << half) - 1
            if nth < (below := low.bit_count()):
                pool, width = low, half
            else:
                pool, width, nth, at = pool >> half, width - half, nth - below, at + half
        return at


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1
