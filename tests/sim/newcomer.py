"""A node that is far behind takes a final state from many others, some of which lie, while everything goes wrong.

The core is `ledger.snapshot.Gathering`; the roots come from a seal, so what is put together must be that state (S1),
and no honest node may be found lying (I10).
"""

import random
from typing import TYPE_CHECKING, Any

from pyrsia.errors import ProofInvalid
from pyrsia.ledger import index, snapshot, views
from pyrsia.ledger.index import PACKAGES, STATE
from pyrsia.wire.snapshots import Place, Row, Rows

from .world import CALL, Node

if TYPE_CHECKING:
    from .real import RealWorld

BUDGET = 1_500  # bytes of an answer: many questions
AT_ONCE = 3
PATIENCE_S = 0.4

Rowset = dict[int, dict[bytes, Row]]


def rows(db: dict[bytes, bytes]) -> Rowset:
    """What stands in both trees of a store, by their keys of 32 bytes."""
    texts = {key: value for key, value in db.items() if key[0] > 31}  # rows of the index begin with no letter
    state = {index.state_key(key): (key, value) for key, value in texts.items() if index.covered(key)}
    prefix = index.record_key(b"")
    at = len(prefix)
    records = {
        key[at:]: (key[at:], value) for key, value in db.items() if key[:at] == prefix and len(key) == at + 32
    }
    return {STATE: state, PACKAGES: records}


class Newcomer:
    """Gathers the state at one height.

    Attributes:
        found: rows that were proven, by tree.
        lies: answers that proved nothing.
    """

    def __init__(self, world: "RealWorld", height: int) -> None:
        self.world = world
        self.rng = random.Random(f"{world.seed} newcomer")
        self.db = world.outcomes[height][1]
        self.kept = rows(self.db)
        self.trees = views.trees(self.db.get)
        self.roots = {STATE: self.trees.state.root, PACKAGES: self.trees.packages.root}
        self.core = snapshot.Gathering(dict(self.roots), lambda place: None)
        self.found: Rowset = {STATE: {}, PACKAGES: {}}
        self.lies = self.asked = 0
        self.open: dict[int, tuple[Place, ...]] = {}
        self.install(self.core.start())
        self.go()

    def install(self, proven: list[snapshot.Proven]) -> None:
        for part in proven:
            for (key, _), row in zip(part.pairs, part.rows, strict=True):
                self.found[part.place.tree][key] = row

    def go(self) -> None:
        """As many questions as may be under way."""
        while len(self.open) < AT_ONCE and self.core.waiting:
            self.asked += 1
            number, places = self.asked, self.core.ask(AT_ONCE)
            self.open[number] = places
            peer = self.rng.choice(self.world.nodes)
            if not self._lost():
                self.world.push(
                    self._soon(), CALL, peer.place, lambda node, n=number, p=places: self.answer(node, n, p)
                )
            self.world.push(self.world.now + PATIENCE_S, CALL, peer.place, lambda _, n=number: self.late(n))

    def _lost(self) -> bool:
        lot = self.rng.random()
        return not self.world.network.healed and lot < self.world.plan.drop

    def _soon(self) -> float:
        return self.world.now + self.rng.expovariate(1 / self.world.plan.delay_s)

    def answer(self, node: Node, number: int, places: tuple[Place, ...]) -> None:
        """What a node says that keeps this state; a liar changes it."""
        if node.core is None:
            return
        parts = snapshot.answer(
            {STATE: self.trees.state, PACKAGES: self.trees.packages},
            lambda keys: [self.db.get(key) for key in keys],
            lambda tree, keys: [self.kept[tree].get(key) for key in keys],
            places,
            BUDGET,
        )
        if not node.honest and self.rng.random() < 0.7:
            parts = lie(self.rng, parts)
        if not self._lost():
            self.world.push(self._soon(), CALL, node.place, lambda one: self.take(one, number, parts))

    def take(self, node: Node, number: int, parts: list[Any]) -> None:
        places = self.open.pop(number, None)
        if places is None:
            return
        try:
            self.install(self.core.take(places, parts))
        except ProofInvalid as error:
            self.lies += 1
            self.core.give_back(places)
            if node.honest:
                self.world.fail(f"I10: the newcomer finds honest {node.number} lying: {error}")
        self.go()

    def late(self, number: int) -> None:
        places = self.open.pop(number, None)
        if places is not None:
            self.core.give_back(places)
            self.go()

    def check(self) -> None:
        """S1: it has the whole state, and nothing else."""
        if not self.core.finished:
            self.world.fail(f"S1: the newcomer has {self.core.fraction:.0%} of the state")
        if self.found != self.kept:
            self.world.fail("S1: the newcomer has another state than the one whose roots it was given")


def lie(rng: random.Random, parts: list[Any]) -> list[Any]:
    """An answer with something left out, changed, or added."""
    out: list[Any] = []
    for part in parts:
        if isinstance(part, Rows) and part.rows:
            key, value = part.rows[0]
            changed = rng.choice(
                (
                    part.rows[1:],
                    ((key, value + b"1"), *part.rows[1:]),
                    (*part.rows, part.rows[0]),
                    ((key + b"1", value), *part.rows[1:]),
                )
            )
            part = Rows(part.place, tuple(changed))
        out.append(part)
    return out if rng.random() < 0.8 else out[1:]
