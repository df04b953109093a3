"""Bytes a second, in and out, of each peer over the last seconds: what people look at."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pyrsia.units import NodeId

SAMPLE_S: Final = 2.0
WINDOW_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Rate:
    """Bytes a second."""

    received: float = 0.0
    sent: float = 0.0


class Rates:
    """Made of counters that only grow; one that fell belongs to a new link, and begins anew."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Mapping[NodeId, tuple[int, int]]]] = deque(
            maxlen=int(WINDOW_S / SAMPLE_S) + 1
        )

    def sample(self, now: float, counters: Mapping[NodeId, tuple[int, int]]) -> None:
        """`counters`: bytes received and sent so far, by node."""
        self._samples.append((now, dict(counters)))

    def of(self, node: NodeId) -> Rate:
        """Between the oldest sample in which it had this link, and the newest."""
        if not self._samples or node not in self._samples[-1][1]:
            return Rate()
        end_s, end = self._samples[-1][0], self._samples[-1][1][node]
        begin_s, begin = end_s, end
        for at_s, counters in reversed(self._samples):
            found = counters.get(node)
            if found is None or found[0] > begin[0] or found[1] > begin[1]:
                break
            begin_s, begin = at_s, found
        took_s = end_s - begin_s
        return Rate((end[0] - begin[0]) / took_s, (end[1] - begin[1]) / took_s) if took_s > 0 else Rate()
