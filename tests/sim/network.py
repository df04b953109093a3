"""Links between nodes: what is lost, late, doubled, held back, and who cannot reach whom.

Each direction of each pair has its own generator. Delays are exponential with a long tail, so messages overtake each
other by themselves; a copy comes three times as late.
"""

import random
from collections.abc import Callable, Iterable
from math import log

from .faults import Faults
from .plan import Plan

Pair = tuple[int, int]


class Network:
    """Decides when a message arrives; `deliver(at, to, sender, message)` does the rest."""

    def __init__(
        self, seed: int, plan: Plan, faults: Faults, deliver: Callable[[float, int, int, object], None]
    ) -> None:
        self.seed = seed
        self.plan = plan
        self.faults = faults
        self.deliver = deliver
        self.sent = 0
        self.healed = False
        self.fast: set[int] = set()  # whoever attacks has the better link
        self.cut: dict[Pair, int] = {}  # pair -> how many partitions lie between
        self.clogged: dict[int, list[tuple[int, int, object]]] = {}  # node -> what waits to come in
        self._links: dict[Pair, tuple[Callable[[], float], list[int]]] = {}
        self._drop, self._copy = plan.drop, plan.drop + plan.duplicate
        self._late = self._copy + plan.tail

    def post(self, now: float, sender: int, to: int, message: object) -> None:
        """One message on its way, or lost."""
        self.sent += 1
        link = self._links.get((sender, to))
        if link is None:
            link = self._links[sender, to] = random.Random(f"{self.seed} {sender} {to}").random, [0]
        draw, count = link
        lot, delay = draw(), -log(1.0 - draw())
        count[0] += 1
        if self.healed:
            self.deliver(now + 0.001 + 0.003 * lot, to, sender, message)
            return
        if (sender, to) in self.cut:
            return
        delay *= self.plan.delay_s
        if sender in self.fast and count[0] & 3:
            delay /= 20
        if lot < self._late and self.faults.on(
            "drop" if lot < self._drop else "copy" if lot < self._copy else "late", sender, to, count[0]
        ):
            if lot < self._drop:
                return
            if lot < self._copy:
                self.deliver(now + 3 * delay, to, sender, message)
            else:
                delay += (lot - self._copy) / self.plan.tail  # up to a second
        held = self.clogged.get(to)
        if held is not None:
            held.append((sender, to, message))
            return
        self.deliver(now + delay, to, sender, message)

    # -- partitions --

    def sever(self, pairs: Iterable[Pair]) -> None:
        for pair in pairs:
            self.cut[pair] = self.cut.get(pair, 0) + 1

    def mend(self, pairs: Iterable[Pair]) -> None:
        for pair in pairs:
            left = self.cut.get(pair, 0) - 1
            if left > 0:
                self.cut[pair] = left
            else:
                self.cut.pop(pair, None)

    def clog(self, node: int) -> None:
        self.clogged.setdefault(node, [])

    def unclog(self, now: float, node: int) -> None:
        """All that waited comes at once, in order."""
        for sender, to, message in self.clogged.pop(node, []):
            self.deliver(now + 0.0001, to, sender, message)

    def heal(self, now: float) -> None:
        """From now on every message arrives soon."""
        self.healed = True
        self.cut.clear()
        for node in sorted(self.clogged):
            self.unclog(now, node)


def partition(rng: random.Random, n: int) -> list[Pair]:
    """Pairs without a way: two sides, one way or both; or one node alone."""
    shape = rng.choice(("sides", "sides", "one way", "alone"))
    side = {rng.randrange(n)} if shape == "alone" else set(rng.sample(range(n), rng.randint(1, n - 1)))
    there = [(a, b) for a in sorted(side) for b in range(n) if b not in side]
    return there if shape == "one way" else there + [(b, a) for a, b in there]
