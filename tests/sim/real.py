"""The simulator over the real ledger: the same faults, real entries, each node's state in a dict of its own."""

from functools import lru_cache

from pyrsia.consensus.application import InvalidBlock
from pyrsia.consensus.committee import Committee
from pyrsia.keys import verify
from pyrsia.ledger import entries
from pyrsia.ledger.chain import Chain, ChainHead, Commit
from pyrsia.ledger.genesis import Genesis
from pyrsia.wire.blocks import Block
from tests.reference.ledger import key, links_at, make_genesis

from .world import WALL_MS, Plan, World

GENESIS = Genesis.parse(make_genesis())
SEEDS = {key(i, "vote").public: key(i, "chain").seed for i in range(GENESIS.n)}
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

    def __init__(self) -> None:
        self.db: dict[bytes, bytes] = {}
        self.leaves: list[bytes] = []
        self.done: set[bytes] = set()
        self.pending = Pending(self)
        self.kept: ChainHead | None = None
        self.crash()
        self._write(self.inner.genesis_commit())

    def crash(self) -> None:
        self.inner = Chain(GENESIS, self.db.get, verify=once, head=self.kept, invalid=InvalidBlock)
        self.head, self.has_work, self.knows = self.inner.head, self.inner.has_work, self.inner.knows
        self.build, self.check = self.inner.build, self.inner.check

    @property
    def final(self):
        return self.inner.head()

    def _write(self, commit: Commit) -> None:
        self.leaves += commit.leaves
        self.kept = commit.head
        for name, value in commit.writes.items():
            if value is None:
                self.db.pop(name, None)
            else:
                self.db[name] = value

    def finalize(self, block: Block) -> None:
        self._write(self.inner.commit(block.hash))
        self.inner.final(block.hash)
        self.done.update(block.body.entries)


class RealWorld(World):
    """Four validators of a real genesis."""

    def __init__(self, seed: int, plan: Plan | None = None) -> None:
        super().__init__(seed, plan)
        self.committee = Committee(
            tuple(member.vote for member in GENESIS.validators), GENESIS.chain_id, GENESIS.origin
        )
        for node in self.nodes:
            node.app = Real()  # type: ignore[assignment]

    def reveal(self, member: int, view: int) -> bytes:
        return link(SEEDS[self.committee.keys[member]], view // self.committee.n)

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
        if self.final.setdefault(block.header.height, block).hash != block.hash:
            self.fail(f"I3: two final blocks at height {block.header.height}")

    def run(self) -> "RealWorld":
        super().run()
        low = min(len(node.app.leaves) for node in self.nodes)  # type: ignore[attr-defined]
        if len({tuple(node.app.leaves[:low]) for node in self.nodes}) != 1:  # type: ignore[attr-defined]
            self.fail("L3: the logs differ")
        return self
