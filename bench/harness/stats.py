"""Median and quartiles, of figures and of paired ratios. No I/O, no clock.

Quartiles rather than a deviation: a machine that others share too is late now and then by a factor, never early.
"""

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """Where the middle half of the rounds lies."""

    median: float
    q1: float
    q3: float


def spread(figures: Sequence[float]) -> Spread:
    """Median and quartiles of at least one figure; one alone is all three."""
    if len(figures) == 1:
        return Spread(figures[0], figures[0], figures[0])
    q1, median, q3 = statistics.quantiles(figures, n=4, method="inclusive")
    return Spread(median, q1, q3)


def ratios(subject: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Each round's subject over the baseline of the same round.

    Paired, because both halves of a round met the same neighbours: what slows the machine for a second slows both.

    Raises:
        ValueError: a baseline's figure is zero; it measured nothing.
    """
    if not all(baseline):
        raise ValueError("a baseline of zero")
    return [ours / theirs for ours, theirs in zip(subject, baseline, strict=True)]


def rounded(value: float) -> float:
    """Four significant digits: more would be noise in a committed file."""
    return float(f"{value:.4g}")
