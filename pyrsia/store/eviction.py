"""Which cached blobs go first: those that were used longest ago, no more of them than have to. Pure.

What may go at all (no pin, nobody's hold, not in somebody's hand) is decided by who offers them here (`blobs`).
"""

import heapq
from dataclasses import dataclass

from pyrsia.units import Limit

AT_ONCE = Limit(10_000, "blobs chosen in one look, 2 MB of memory; who needs more room looks again")


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


def _behind(sha256: bytes) -> bytes:
    """Sorts the other way round: of two that were used in the same second, the one with the larger digest stays."""
    return bytes(255 - byte for byte in sha256)
