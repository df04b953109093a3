"""Which numbers of one origin are here, as a few ranges. No clock, no bytes.

Numbers have gaps by nature: an origin that restarts goes on far above its last one. When there are too many ranges, the
two lowest become one: what lies between them is given up, and never asked for again.
"""

from bisect import bisect_right

from pyrsia.wire import gossip
from pyrsia.wire.gossip import Span


class Ranges:
    """A set of numbers 0..2^64-1."""

    __slots__ = ("_spans",)

    def __init__(self) -> None:
        self._spans: list[list[int]] = []

    def add(self, number: int) -> None:
        at = self._after(number)
        if at and number <= self._spans[at - 1][1]:
            return
        below = at > 0 and self._spans[at - 1][1] == number - 1
        above = at < len(self._spans) and self._spans[at][0] == number + 1
        if below and above:
            self._spans[at - 1][1] = self._spans.pop(at)[1]
        elif below:
            self._spans[at - 1][1] = number
        elif above:
            self._spans[at][0] = number
        else:
            self._spans.insert(at, [number, number])
            if len(self._spans) > gossip.MAX_ORIGIN_RANGES.value:
                self._spans[0][1] = self._spans.pop(1)[1]

    def __contains__(self, number: int) -> bool:
        at = self._after(number)
        return at > 0 and number <= self._spans[at - 1][1]

    def covers(self, spans: tuple[Span, ...]) -> bool:
        """Whether all of these numbers are in it."""
        mine = self.spans()
        return all(
            (at := bisect_right(mine, first, key=lambda span: span[0])) and last <= mine[at - 1][1]
            for first, last in spans
        )

    @property
    def top(self) -> int:
        """The largest number; -1 without any."""
        return self._spans[-1][1] if self._spans else -1

    def spans(self, most: int = gossip.MAX_ORIGIN_RANGES.value) -> tuple[Span, ...]:
        """At most `most` ranges that cover it: the newest ones as they are, the oldest as one."""
        return fewer(tuple((first, last) for first, last in self._spans), most)

    def _after(self, number: int) -> int:
        """Index of the first range that begins above `number`."""
        return bisect_right(self._spans, number, key=lambda span: span[0])


def fewer(spans: tuple[Span, ...], most: int) -> tuple[Span, ...]:
    """At most `most` ranges that cover these: the newest ones as they are, the oldest as one."""
    if len(spans) <= most:
        return spans
    return ((spans[0][0], spans[-most][1]), *spans[len(spans) - most + 1 :])


def union(spans: tuple[Span, ...], more: tuple[Span, ...]) -> tuple[Span, ...]:
    """Ranges, in order, that hold the numbers of both."""
    found: list[Span] = []
    for first, last in sorted((*spans, *more)):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


def within(number: int, spans: tuple[Span, ...]) -> bool:
    """Whether one of the ranges, which are in order, has `number`."""
    at = bisect_right(spans, number, key=lambda span: span[0])
    return at > 0 and number <= spans[at - 1][1]
