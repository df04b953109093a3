"""A node with a past of any size, made by the real ledger: signed facts over 10,000 packages in full blocks.

Reads come from the archive, so memory does not grow with the log. Signatures are real, and are not checked while it is
made; whoever replays it checks them.
"""

from collections.abc import Iterator
from pathlib import Path

from pyrsia.ledger.chain import Chain
from pyrsia.ledger.genesis import Genesis
from pyrsia.node.log.archive import Archive
from pyrsia.store.rocks import Database
from pyrsia.wire.blocks import Block
from tests.reference.ledger import START, key, links_end, make_genesis
from tests.reference.past import Past

GENESIS = make_genesis(limits=[["member", 10**9]])
A_BLOCK = (
    900  # facts of a block: with its seal below MAX_BLOCK_ENTRIES, below MAX_BLOCK_BYTES at 550 bytes each
)


class Reads:
    """State and index of an archive as the one map that a `World` reads."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def get(self, name: bytes, otherwise: bytes | None = None) -> bytes | None:
        found = self._archive.index([name])[0] if name[0] < 32 else self._archive.state(name)
        return otherwise if found is None else found


class LongPast(Past):
    """`size` leaves or a few more, in `folder`. `close` it; its folder stays."""

    def __init__(self, folder: Path) -> None:
        self.database = Database.open(folder / "db")
        self.genesis = Genesis.parse(GENESIS)
        self.archive = Archive(self.database, self.genesis)
        self.db = Reads(self.archive)
        self.chain = Chain(
            self.genesis,
            self.archive.state,
            verify=lambda *_: True,
            fetch=self.archive.index,
            head=self.archive.head,
        )
        self.unproven = 0
        self.block_now = None
        self.count = self.view = 0
        self.time = START
        self.nodes = [key(i, "node") for i in range(len(self.genesis.members))]
        self.seeds = {
            links_end(key(i, "chain").seed): key(i, "chain").seed
            for i, _ in enumerate(self.genesis.validators)
        }
        self.vote_keys = {
            key(i, "vote").public: key(i, "vote") for i, _ in enumerate(self.genesis.validators)
        }
        self.follower = self.nodes[-1]
        if self.archive.head is None:
            self.archive.write(self.chain.genesis_commit(), None, None)

    def write(self, commit) -> None:
        block = self.block_now
        self.archive.write(commit, block, self.proof(block.header))

    def grow(self, size: int) -> "LongPast":
        while self.archive.size < size:
            self.offer(*(self.some_fact(at) for at in range(min(A_BLOCK, size - self.archive.size))))
        self.database.flush()
        return self

    def some_fact(self, at: int) -> bytes:
        body = {
            "kind": "description",
            "subject": f"pkg:pypi/load-{self.count % 10_000}@1.0",
            "text": f"what there is to say of it, {self.count} times over",
            "valid_from": 1,
        }
        return self.entry(self.nodes[at % len(self.nodes)], "fact.add", body)

    def blocks(self) -> Iterator[Block]:
        """All of them, from height 1."""
        for height in range(1, self.archive.head.height + 1):
            yield Block.decode(self.archive.block(height))
