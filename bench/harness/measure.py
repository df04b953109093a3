"""Running subject and baselines in turns, A B B A, until there are rounds enough for a median.

Never A at length and then B: over seconds a shared machine drifts by more than most of what we want to see. Each
round's pair stands side by side, and the order turns every round, so that neither half always comes second.
"""

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.harness.rows import Clock, Row

CLOCKS: Final[dict[Clock, Callable[[], float]]] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True, slots=True)
class Effort:
    """How long one row may take.

    Attributes:
        least: rounds, however slow they are: below five a quartile means nothing.
        most: rounds, however fast.
        budget_s: no new round after this.
        round_s: a timed half repeats its call for so long; far above the clock's grain and a timer's tick.
    """

    least: int
    most: int
    budget_s: float
    round_s: float

    def again(self) -> "Effort":
        """Three times as much, for a row that seemed to fail."""
        return Effort(self.least * 3, self.most * 3, self.budget_s * 3, self.round_s)


QUICK: Final = Effort(least=5, most=60, budget_s=0.8, round_s=0.004)
FULL: Final = Effort(least=9, most=300, budget_s=4.0, round_s=0.01)


@dataclass(frozen=True, slots=True)
class Timed:
    """Half of a pair: a call that is timed.

    Attributes:
        call: what is timed; called again and again.
        items: how many nodes, entries or bytes one call deals with.
        before: makes each call's own ground, untimed; the call is then timed singly.
    """

    call: Callable[[], Any]
    items: float = 1
    before: Callable[[], Any] | None = None

    def halves(self, row: Row, round_s: float) -> Callable[[], float]:
        """A function that does one round and gives its figure. The call is warmed up here."""
        clock = CLOCKS[row.clock]

        def timed(loops: int) -> float:
            call = self.call
            began_s = clock()
            for _ in range(loops):
                call()
            return clock() - began_s

        if self.before is not None:
            before = self.before

            def singly() -> float:
                before()
                return row.figure(timed(1), self.items)

            singly()
            return singly
        once_s = timed(1)
        if once_s < round_s:  # the first call also loads what the others find loaded
            once_s = timed(1)
        loops = max(1, math.ceil(round_s / max(once_s, 1e-9)))
        return lambda: row.figure(timed(loops), self.items * loops)


@dataclass(frozen=True, slots=True)
class Figure:
    """Half of a pair: a call that gives its own figure, in the row's unit."""

    call: Callable[[], float]

    def halves(self, row: Row, round_s: float) -> Callable[[], float]:
        """A function that does one round. Nothing is warmed up: such a call is long, or counts bytes."""
        del row, round_s
        return lambda: float(self.call())


Half = Timed | Figure


def budget(value: float) -> Figure:
    """A bound as the other half, for what has one on every machine: bytes, never seconds."""
    return Figure(lambda: value)


def interleaved(
    halves: Sequence[Callable[[], float]],
    effort: Effort,
    now_s: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
    """The figures of each half, round by round."""
    figures: list[list[float]] = [[] for _ in halves]
    began_s = now_s()
    for number in range(effort.most):
        if number >= effort.least and now_s() - began_s >= effort.budget_s:
            break
        turn = list(enumerate(halves))
        for at, half in turn if number % 2 == 0 else reversed(turn):
            figures[at].append(_undisturbed(half))
    return figures


def _undisturbed(half: Callable[[], float]) -> float:
    """One round without the collector: whose turn it falls into would be chance."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        return half()
    finally:
        if was_on:
            gc.enable()
