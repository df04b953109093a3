"""Which cached blobs go first: those that were used longest ago, no more of them than have to. Pure.

What may go at all (no pin, nobody's hold, not in somebody's hand) is decided by who offers them here (`blobs`).
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pyrsia.units import Limit

AT_ONCE = Limit(10_000, "blobs chosen in one look, 2 MB of memory; who needs more room looks again")
IN_HAND_S = Limit(10, "between the answer that names a path and the open of it lies less than a second")
TOUCHED = Limit(65_536, "times of use that wait for the index, 8 MB; those that a crash loses harm nobody")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A blob that may go; `used_s`: when it was last wanted, in seconds of this machine's clock."""

    used_s: int
    sha256: bytes
    size: int


class Oldest:
    """Of all that is offered the fewest that were used longest ago and free `need` bytes together."""

    def __init__(self, need: int, most: int = AT_ONCE.value) -> None:
        self._need = need
        self._most = most
        self._heap: list[tuple[int, bytes, Candidate]] = []  # the one used last stands first
        self._sum = 0

    def offer(self, one: Candidate) -> None:
        heapq.heappush(self._heap, (-one.used_s, _behind(one.sha256), one))
        self._sum += one.size
        while self._heap and (
            self._sum - self._heap[0][2].size >= self._need or len(self._heap) > self._most
        ):
            self._sum -= heapq.heappop(self._heap)[2].size

    def chosen(self) -> list[Candidate]:
        """In the order in which they go."""
        return sorted((one for _, _, one in self._heap), key=lambda one: (one.used_s, one.sha256))


class Uses:
    """When blobs were last wanted, as far as the index does not know yet.

    Args:
        clock_s: this machine's time, in seconds.
    """

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._touched: dict[bytes, int] = {}  # the one touched last stands last

    def note(self, sha256: bytes) -> None:
        self._touched.pop(sha256, None)
        self._touched[sha256] = int(self._clock_s())
        if len(self._touched) > TOUCHED.value:
            del self._touched[next(iter(self._touched))]

    def last_s(self, sha256: bytes, known_s: int) -> int:
        return max(known_s, self._touched.get(sha256, 0))

    def in_hand(self, sha256: bytes) -> bool:
        """Somebody was told its path a moment ago, and is about to open it."""
        now_s = int(self._clock_s())
        since = now_s - IN_HAND_S.value
        # What was touched "later" was touched before the clock was set back, and nobody knows how long before.
        return since < self._touched.get(sha256, since) <= now_s

    def items(self) -> list[tuple[bytes, int]]:
        return list(self._touched.items())

    def written(self, items: Iterable[tuple[bytes, int]]) -> None:
        """The index knows these; those that are in nobody's hand are forgotten here."""
        since = int(self._clock_s()) - IN_HAND_S.value
        for sha256, used_s in items:
            if used_s < since and self._touched.get(sha256) == used_s:
                del self._touched[sha256]

    def forget(self, sha256: bytes) -> None:
        self._touched.pop(sha256, None)


def _behind(sha256: bytes) -> bytes:
    """Sorts the other way round: of two that were used in the same second, the one with the larger digest stays."""
    return bytes(255 - byte for byte in sha256)
