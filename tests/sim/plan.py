"""What one run does to its network: drawn from the seed, or given."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from pyrsia.consensus import catchup, core, epochs, sync, tree
from pyrsia.consensus.core import Simplex
from pyrsia.consensus.timing import Timing
from pyrsia.units import Limit

TIMING = Timing(delay_s=0.05, delay_max_s=2.0, heartbeat_s=1.0, fill_s=0.005, asleep_s=2.0)
HASTY = replace(TIMING, fill_s=0.0, heartbeat_s=0.0)  # a villain waits for nothing


@dataclass
class Plan:
    """Faults and sizes of one run. Rates are for each message or each sync, counts for the whole run.

    Attributes:
        spares: nodes that follow at first and may be seated.
        byzantine: validators that keep no rule; at most f of n.
        habits: of the villains; empty: each draws its own.
        twins: whether the villains are two correct copies of one node instead.
        seats: changes of who validates.
        dead: validators that die for good and are replaced.
        rollbacks: validators that come back with an old image of their disk.
        tight: limits of the code that are made tiny.
        lose_sync, impure, core: mutants: sends before the sync; a rule that is no function of the log; a wrong core.
    """

    n: int = 4
    spares: int = 0
    byzantine: int = 0
    habits: tuple[str, ...] = ()
    twins: bool = False
    seconds: float = 2.5
    drop: float = 0.0
    duplicate: float = 0.03
    tail: float = 0.02
    delay_s: float = 0.008
    crashes: int = 0
    partitions: int = 0
    clogs: int = 0
    entries: int = 12
    seats: int = 0
    dead: int = 0
    rollbacks: int = 0
    slow_disk: float = 0.02
    failing_disk: float = 0.0
    skew_ms: int = 300
    drift: float = 0.0
    jumps: int = 0
    tight: bool = False
    lose_sync: bool = False
    impure: bool = False
    core: type[Simplex] = field(default=Simplex)

    @classmethod
    def random(cls, rng: random.Random, **fixed: object) -> "Plan":
        """Everything that is not `fixed` is drawn."""
        few = (0, 0, 0, 1, 2)
        plan = cls(
            byzantine=rng.choice((0, 1)),
            twins=rng.random() < 0.1,
            drop=rng.choice((0.0, 0.0, 0.02, 0.1, 0.2)),
            delay_s=rng.choice((0.002, 0.008, 0.02)),
            crashes=rng.choice((0, 0, 1, 2, 4)),
            partitions=rng.choice((0, 0, 1, 2)),
            clogs=rng.choice((0, 0, 0, 1)),
            seats=rng.choice((0, 0, 0, 2, 4, 8)),
            spares=rng.choice((0, 1, 2)),
            failing_disk=rng.choice((0.0, 0.0, 0.0, 0.005)),
            skew_ms=rng.choice((0, 300, 5_000)),
            drift=rng.choice((0.0, 0.0, 1e-4, 1e-2)),
            jumps=rng.choice(few),
            tight=rng.random() < 0.15,
        )
        lots = rng.random(), rng.random()
        plan = replace(plan, **fixed)  # type: ignore[arg-type]
        spare_faults = (plan.n - 1) // 3 - plan.byzantine
        if spare_faults > 0 and "dead" not in fixed and "rollbacks" not in fixed:
            if lots[0] < 0.1:
                plan.dead, plan.spares = 1, max(1, plan.spares)
            elif lots[1] < 0.1:
                plan.rollbacks = 1  # nobody else may lose its memory of the votes that count then
                plan.crashes, plan.failing_disk = 0, 0.0
        return plan


_TIGHT: tuple[tuple[Any, str, int], ...] = (
    (core, "VIEW_WINDOW", 8),
    (catchup, "MAX_SYNC_BLOCKS", 2),
    (epochs, "MAX_SYNC_BLOCKS", 2),
    (sync, "MAX_SYNC_BLOCKS", 2),
    (sync, "SYNC_RANGES", 2),
    (tree, "MAX_RECENT_BLOCKS", 1),
    (epochs, "EARLY_MESSAGES", 1),
    (epochs, "EARLY_BLOCKS", 1),
)


@contextmanager
def tightened(tight: bool) -> Iterator[None]:
    """While it lasts, buffers and ranges are tiny, so that their edges are met all the time."""
    if not tight:
        yield
        return
    whole = [(module, name, getattr(module, name)) for module, name, _ in _TIGHT]
    for module, name, value in _TIGHT:
        setattr(module, name, Limit(value, "as little as the rules allow"))
    try:
        yield
    finally:
        for module, name, limit in whole:
            setattr(module, name, limit)
