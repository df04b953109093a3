"""Which chunk is asked next: rule 3 of `swarm`. No I/O.

Nobody reads along: the first two at random, so that those who start together start differently; then those that the
fewest sources hold, ties at random. Somebody reads along: the first that is wanted from where a reader stands, each
reader in turn. But where others fetch the file at the same time that order would have all of them ask the one who has
it for the same chunks: then the rarest of the next sixty-four are asked, and only the reader's very next one in order.

Source: docs/network.md, "The swarm".
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from pyrsia.units import MAX_SOURCES, Limit

RANDOM_FIRST: Final = 2
AHEAD: Final = 64  # chunks, 16 MiB: what those who read along together exchange among themselves
MAX_PLACES = Limit(16, "readers whose places are looked at; of more, the first ones in the file")

Places = Callable[[], Sequence[int]]


class Draw(Protocol):
    """What is needed of a random generator."""

    def randrange(self, stop: int, /) -> int: ...


class Picking:
    """Of one download.

    Args:
        count: chunks of the file.
        places: the chunks that readers wait for now; None when nobody ever reads along.
    """

    def __init__(self, count: int, draw: Draw, places: Places | None) -> None:
        self._draw = draw
        self._places = places
        self._rare = [(1 << count) - 1] + [0] * MAX_SOURCES.value  # [a]: chunks that a sources hold
        self._picks = 0

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

    def pick(self, pool: int, *, shared: bool) -> int:
        """A chunk of `pool` (not empty). `shared`: others fetch the file too."""
        self._picks += 1
        places = sorted(set(self._places()))[: MAX_PLACES.value] if self._places is not None else ()
        if self._places is not None and not places:
            places = [0]
        for turn in range(len(places)):
            place = places[(self._picks + turn) % len(places)]
            ahead = pool >> place
            if not ahead:
                continue
            if not shared:
                return place + _lowest(ahead)
            if ahead & 1:
                return place
            near = ahead & (1 << AHEAD) - 1
            return self._rarest(near << place) if near else self._rarest(pool)
        if self._places is not None and not shared:
            return _lowest(pool)
        return self._any(pool) if self._picks <= RANDOM_FIRST else self._rarest(pool)

    def _rarest(self, pool: int) -> int:
        return self._any(next((found for rare in self._rare[1:] if (found := pool & rare)), pool))

    def _any(self, pool: int) -> int:
        """Each with the same chance: who shares gaps with others must not share what comes after them."""
        nth, at = self._draw.randrange(pool.bit_count()), 0
        width = pool.bit_length()
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
