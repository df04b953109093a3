"""The simulator over the real ledger: the same faults and liars, real entries, each node's state in a dict of its own.

Beside the invariants of `World`: at every block that becomes final somewhere, every honest node has the same
state root, state and leaves at that height, and the tree root is the one of the definition (I6).
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

from pyrsia.consensus.application import BlockRef, Draft, InvalidBlock, Seats, Slot
from pyrsia.consensus.committee import Committee
from pyrsia.keys import verify
from pyrsia.ledger import entries, execute, views
from pyrsia.ledger.chain import Chain, ChainHead, Commit
from pyrsia.ledger.genesis import Genesis
from pyrsia.wire.blocks import Block, Header
from pyrsia.wire.epochs import Validator
from tests.reference import merkle
from tests.reference.ledger import keep, key, links_at, make_genesis

from .world import WALL_MS, Plan, World

GENESIS = Genesis.parse(make_genesis())
SEEDS = {key(i, "vote").public: key(i, "chain").seed for i in range(GENESIS.n)}
SEATS = Seats(
    0,
    tuple(Validator(m.node, m.vote, m.log, m.cosign, m.chain_end) for m in GENESIS.validators),
    frozenset(),
    (0,) * GENESIS.n,
)
AUTHOR = key(4, "node")

once = lru_cache(maxsize=10_000)(verify)
link = lru_cache(maxsize=10_000)(links_at)


class Pending:
    """The toy's `pending`, filled into a real mempool."""

    def __init__(self, app: "Real") -> None:
        self.app = app

    def __setitem__(self, raw: bytes, _: None) -> None:
        self.app.inner.mempool.add(raw, WALL_MS, self.app.db.get)


class Real:
    """A `Chain` and its store."""

    running = 0  # the node whose rules run now: what a pure rule cannot know, and a mutant asks

    def __init__(self, me: int) -> None:
        self.me = me
        self.db: dict[bytes, bytes] = {}
        self.leaves: list[bytes] = []
        self.done: set[bytes] = set()
        self.pending = Pending(self)
        self.kept: ChainHead | None = None
        self.executed: Callable[[Real], None] = lambda app: None
        self.crash()
        self._write(self.inner.genesis_commit())

    def crash(self) -> None:
        Real.running = self.me
        self.inner = Chain(GENESIS, self.db.get, verify=once, head=self.kept, invalid=InvalidBlock)
        self.head, self.has_work, self.knows = self.inner.head, self.inner.has_work, self.inner.knows
        self._ref = self.inner._ref

    @property
    def final(self) -> BlockRef:
        return self.inner.head()

    def build(self, parent: bytes, slot: Slot) -> Draft:
        Real.running = self.me
        return self.inner.build(parent, slot)

    def forge(self, parent: bytes, slot: Slot, rng: random.Random) -> Draft:
        """A liar's block for a slot that has one: executed rightly, at another time, with what entries it likes."""
        waiting = self.inner.mempool.ids()
        if waiting and rng.random() < 0.5:
            self.inner.mempool.remove([rng.choice(waiting)])
        return self.build(parent, slot)

    def seats(self, block_hash: bytes) -> Seats:
        return SEATS

    def check(self, header: Header, body: tuple[bytes, ...]) -> None:
        Real.running = self.me
        self.inner.check(header, body)

    def _write(self, commit: Commit) -> None:
        self.leaves += commit.leaves
        self.kept = commit.head
        keep(self.db, commit.writes, commit.growth)

    def finalize(self, block: Block) -> None:
        Real.running = self.me
        self._write(self.inner.commit(block.hash))
        self.inner.final(block.hash)
        self.done.update(block.body.entries)
        self.executed(self)

    @property
    def state_root(self) -> str:
        return views.state_root(self.db.get)


class RealWorld(World):
    """Four validators of a real genesis."""

    def __init__(self, seed: int, plan: Plan | None = None) -> None:
        super().__init__(seed, plan)
        self.committee = Committee(SEATS, GENESIS.chain_id, GENESIS.origin)
        self.outcomes: dict[int, tuple[str, dict[bytes, bytes], list[bytes]]] = {}  # by height
        for node in self.nodes:
            app = Real(node.number)
            node.app = app  # type: ignore[assignment]
            if node.villain is None:
                app.executed = self._executed

    def reveal(self, member: int, position: int) -> bytes:
        return link(SEEDS[self.committee.keys[member]], position)

    def _submit(self, entry: bytes, at: float) -> None:
        body = {
            "kind": "description",
            "subject": "pkg:pypi/x@1.0",
            "text": entry.decode(),
            "valid_from": WALL_MS,
        }
        raw = entries.author(
            "fact.add",
            body,
            net=GENESIS.net,
            author=AUTHOR.public,  # type: ignore[arg-type]
            nonce=len(self.expected).to_bytes(16, "big"),
            until_ms=WALL_MS + 3_600_000,
            sign=AUTHOR.sign,
        )
        super()._submit(raw, at)

    def _agreed(self, block: Block) -> None:
        """I3 and I7; what a block does is checked once it is executed."""
        height = block.header.height
        if self.final.setdefault(height, block).hash != block.hash:
            self.fail(f"I3: two final blocks at height {height}")
        for entry in block.body.entries:
            if self.entry_at.setdefault(entry, height) != height:
                self.fail(f"I7: {entry!r} is in two blocks")

    def _executed(self, app: Real) -> None:
        """I6: one state root, one state and one log at each height, and the tree that the header promised."""
        header = self.final[app.final.height].header
        known = self.outcomes.get(header.height)
        if known is None:
            root = merkle.root([merkle.leaf_hash(leaf) for leaf in app.leaves])
            if (len(app.leaves), root) != (header.tree_size, header.tree_root):
                self.fail(f"I6: {app.me} has another tree at height {header.height} than its header")
            self.outcomes[header.height] = app.state_root, dict(app.db), list(app.leaves)
        elif known != (app.state_root, app.db, app.leaves):
            self.fail(f"I6: {app.me} has another state root, state or log at height {header.height}")

    def run(self) -> "RealWorld":
        super().run()
        low = min(len(node.app.leaves) for node in self.honest)  # type: ignore[attr-defined]
        if len({tuple(node.app.leaves[:low]) for node in self.honest}) != 1:  # type: ignore[attr-defined]
            self.fail("L3: the logs differ")
        return self


# -- mutants of the ledger -------------------------------------------------------------------------

Impurity = Callable[[], int]


def by_half() -> int:
    """Asks which machine it runs on: half of them say the one, half the other."""
    return Real.running % 2


def by_one() -> int:
    """One machine of four has a newer library."""
    return int(Real.running == 3)


def by_luck(seed: int) -> Impurity:
    """Draws lots of its own, once in a while."""
    rng = random.Random(seed)
    return lambda: int(rng.random() < 0.1)


@contextmanager
def impure(rule: Impurity, *, sealed: bool = True) -> Iterator[None]:
    """While it lasts, every block of the real ledger writes to the state what `rule` makes up.

    Args:
        sealed: whether the write is made before the seal, and so covered by state_root.
    """
    honest = execute._Run._sealed

    def mutant(run: execute._Run, *rest: object) -> bytes:
        if sealed:
            run._view.put("impure", rule())
        seal = honest(run, *rest)  # type: ignore[arg-type]
        if not sealed:
            run._view.put("impure", rule())
        return seal

    execute._Run._sealed = mutant  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        execute._Run._sealed = honest  # type: ignore[method-assign]
