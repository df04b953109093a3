"""Which seeds make which run, one run in a process of its own, and what a broken one looks like.

Kinds of runs: `toy`, many and cheap, over a ledger of a page; `real`, over the ledger itself.
"""

import random
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from typing import Any

from .auditor import Broken
from .faults import Fault, Faults, shrink
from .plan import Plan
from .trace import Trace
from .world import World

PROCESSES = 2
CHUNK = 25  # seeds that a process takes at once
REAL_EVERY = 10  # one seed in so many runs over the real ledger, if both kinds are asked for


@dataclass(frozen=True)
class Ask:
    """What runs are wanted; the same ask and seed are the same run.

    Attributes:
        nodes: least and greatest n.
        byzantine: villains among them: a number, or `f`, `f-1`, `any` of each n.
        kind: `toy`, `real` or `both`.
        fixed: fields of `Plan` that are not drawn.
    """

    nodes: tuple[int, int] = (4, 4)
    byzantine: str = "any"
    kind: str = "both"
    fixed: tuple[tuple[str, Any], ...] = ()

    def plan(self, seed: int) -> Plan:
        rng = random.Random(f"plan {seed}")
        n = rng.randint(*self.nodes)
        f = (n - 1) // 3
        lots = {"f": f, "f-1": f - 1, "any": rng.randint(0, f)}
        liars = lots[self.byzantine] if self.byzantine in lots else int(self.byzantine)
        plan = Plan.random(rng, **{"n": n, "byzantine": liars, **dict(self.fixed)})
        if self.real(seed):
            return replace(plan, seconds=min(plan.seconds, 2.0), entries=min(plan.entries, 8))
        return plan

    def real(self, seed: int) -> bool:
        return self.kind == "real" or (self.kind == "both" and seed % REAL_EVERY == 0)

    def world(self, seed: int, **rest: Any) -> World:
        if self.real(seed):
            from .real import RealWorld

            return RealWorld(seed, self.plan(seed), requests=seed // REAL_EVERY % 3, **rest)
        return World(seed, self.plan(seed), **rest)


@dataclass
class Sum:
    """What many runs came to."""

    seeds: int = 0
    real: int = 0
    events: int = 0
    epochs: int = 0
    tails: int = 0
    blocks: int = 0
    accused: int = 0
    cpu_s: float = 0.0
    lies: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: "Sum") -> None:
        for name in ("seeds", "real", "events", "epochs", "tails", "blocks", "accused", "cpu_s"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.lies.update(other.lies)
        self.broken += other.broken


def one(ask: Ask, seed: int, told: Sum) -> None:
    """Run a seed and add it to the sum."""
    world: World | None = None
    try:
        world = ask.world(seed)
        world.run()
    except Broken as error:
        told.broken.append((seed, str(error)))
    except Exception as error:  # noqa: BLE001 (whatever a seed brings about is what is looked for)
        told.broken.append((seed, f"seed {seed}: {type(error).__name__}: {error}"))
    told.seeds += 1
    told.real += ask.real(seed)
    if world is not None:
        told.events += world.events
        told.epochs += max(world.auditor.epochs)
        told.tails += world.auditor.tails
        told.blocks += world.auditor.height
        told.accused += len(world.auditor.accused)
        for node in world.nodes:
            told.lies.update(node.villain.lied if node.villain is not None else {"twins": node.twin})


def _chunk(job: tuple[Ask, range]) -> Sum:
    ask, seeds = job
    told, began = Sum(), time.process_time()
    for seed in seeds:
        one(ask, seed, told)
    told.cpu_s = time.process_time() - began
    return told


def many(ask: Ask, seeds: range, processes: int = PROCESSES) -> Iterator[Sum]:
    """The sums of chunks of `seeds`, as they come."""
    jobs = [(ask, seeds[at : at + CHUNK]) for at in range(0, len(seeds), CHUNK)]
    if processes <= 1:
        yield from map(_chunk, jobs)
        return
    with get_context("forkserver").Pool(processes) as pool:
        yield from pool.imap_unordered(_chunk, jobs)


def total(sums: Iterable[Sum]) -> Sum:
    whole = Sum()
    for told in sums:
        whole.add(told)
    return whole


# -- one seed, looked at ---------------------------------------------------------------------------


def broken(ask: Ask, seed: int, faults: Faults, trace: Trace | None = None) -> str:
    """Why the run breaks when only these decisions take effect; empty if it holds."""
    try:
        ask.world(seed, faults=faults, trace=trace).run()
    except Broken as error:
        return str(error)
    return ""


def shrunk(ask: Ask, seed: int, tries: int = 2_000) -> tuple[list[Fault], str]:
    """The fewest decisions found that still break the seed in the same way, and how it breaks with them."""
    recorded = Faults(keep=True)
    first = broken(ask, seed, recorded)
    if not first or recorded.fired is None:
        return [], ""
    kind = invariant(first)

    def breaks(some: list[Fault]) -> bool:
        return invariant(broken(ask, seed, Faults(only=some))) == kind

    fired = list(dict.fromkeys(recorded.fired))
    if not breaks(fired):
        return fired, first
    few = shrink(fired, breaks, tries)
    return few, broken(ask, seed, Faults(only=few))


def invariant(text: str) -> str:
    """What a text of `Broken` says was broken: `I3`, `L1/L2/L5`, or its first words without numbers."""
    said = text.split(": ", 1)[-1]
    name = re.match(r"[A-Z]\d+(/[A-Z]\d+)*", said)
    return name[0] if name else re.sub(r"\d+", "", said.split(":", 1)[0])[:40]
