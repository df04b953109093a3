"""A node's wall clock: off by a constant, faster or slower than time, and set anew now and then."""

import random

from pyrsia.consensus.effects import Now

from .plan import Plan

WALL_MS = 1_800_000_000_000


class Clock:
    """`Now` of one node. The monotonic clock is true: only its origin could differ, and nobody compares it."""

    __slots__ = ("drift", "skew_ms")

    def __init__(self, rng: random.Random, plan: Plan, *, wrong: bool) -> None:
        """`wrong`: off by the whole of the plan's skew; otherwise by a tenth of it at most."""
        span = plan.skew_ms if wrong else plan.skew_ms // 10
        self.skew_ms = rng.randint(-span, span)
        self.drift = rng.uniform(-plan.drift, plan.drift)

    def now(self, at_s: float) -> Now:
        return Now(at_s, WALL_MS + self.skew_ms + int(at_s * (1000 + 1000 * self.drift)))

    def jump(self, by_ms: int) -> None:
        self.skew_ms += by_ms

    def set_right(self) -> None:
        self.skew_ms, self.drift = 0, 0.0
