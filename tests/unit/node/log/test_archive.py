"""The log on disk against the definition: random blocks in, the slow tree's answers out."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.ledger import prefixtree
from pyrsia.ledger.chain import ChainHead, Commit
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.index import NOTHING
from pyrsia.log import tiles
from pyrsia.log.tree import Frontier
from pyrsia.node.log import archive as module
from pyrsia.node.log.archive import PAGE, Archive
from pyrsia.store import layout, segments
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import Limit
from tests.reference import merkle
from tests.reference.governance import Governed, fact
from tests.reference.ledger import make_genesis
from tests.reference.parts import Kept


class Oracle:
    """What the archive was told, in lists."""

    def __init__(self, folder):
        self.folder = folder
        self.genesis = Genesis.parse(make_genesis())
        self.leaves, self.ids, self.state = [], {}, {}
        self.frontier, self.height = Frontier(), 0
        self.open()

    def open(self):
        self.database = Database.open(self.folder / "db")
        self.archive = Archive(self.database, self.genesis)

    def reopen(self):
        self.database.close()
        self.open()

    def append(self, leaves, ids=(), writes=None):
        """One block: `ids` are (offset, entry id)."""
        hashes = merkle.leaf_hashes(leaves)
        first = len(self.leaves)
        self.frontier, _ = self.frontier.append(hashes)
        self.leaves += leaves
        root = merkle.root(self.hashes())
        assert self.frontier.root() == root
        head = ChainHead(
            b"h" * 32, self.height, self.height, 1, len(self.leaves), root, b"b" * 32, self.frontier.encode()
        )
        named = dict(ids)
        self.ids.update({name: first + offset for offset, name in ids})
        self.state.update(writes or {})
        entry_ids = tuple(named.get(offset, b"") for offset in range(len(leaves)))
        commit = Commit(
            self.height,
            tuple(leaves),
            hashes,
            first,
            writes or {},
            NOTHING,
            len(self.leaves),
            root,
            head,
            entry_ids,
        )
        self.archive.write(commit, None, None)
        self.height += 1

    def hashes(self):
        return [merkle.leaf_hash(leaf) for leaf in self.leaves]

    def check(self, rng, looks=40):
        size, hashes = len(self.leaves), self.hashes()
        assert (self.archive.size, self.archive.head.tree_root) == (size, merkle.root(hashes))
        for name, index in self.ids.items():
            assert self.archive.leaf_of(name) == index
        for name, value in self.state.items():
            assert self.archive.state(name) == value
        for _ in range(looks):
            of = rng.randint(1, size)
            index, old = rng.randrange(of), rng.randint(1, of)
            assert self.archive.inclusion(index, of) == merkle.path(index, hashes[:of])
            assert self.archive.consistency(old, of) == merkle.proof(old, hashes[:of])
            assert self.archive.entry(index) == self.leaves[index]
            first, count = rng.randrange(size), rng.randint(1, 300)
            assert self.archive.entries(first, count) == self.leaves[first : first + count]
        for tile in tiles.tiles_of(size):
            row = self.archive.tile(tile.level, tile.index, tile.width)
            spans = [
                hashes[at << (8 * tile.level) : (at + 1) << (8 * tile.level)]
                for at in range(tile.index * 256, tile.index * 256 + tile.width)
            ]
            assert row == b"".join(merkle.root(span) for span in spans)
            if tile.level == 0:
                bundle = self.archive.bundle(tile.index, tile.width)
                at = 256 * tile.index
                assert list(tiles.bundle_decode(bundle, tile.width)) == self.leaves[at : at + tile.width]


@pytest.fixture
def oracle(tmp_path):
    made = Oracle(tmp_path)
    yield made
    made.database.close()


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1 << 30), sizes=st.lists(st.integers(1, 90), min_size=1, max_size=9))
def test_any_blocks_give_the_definitions_tree_proofs_and_tiles_also_after_a_restart(
    tmp_path_factory, seed, sizes
):
    rng = random.Random(seed)
    oracle = Oracle(tmp_path_factory.mktemp("archive"))
    try:
        for block, size in enumerate(sizes):
            leaves = [b"%d/%d " % (block, at) + rng.randbytes(rng.randint(0, 40)) for at in range(size)]
            ids = [(at, rng.randbytes(32)) for at in range(0, size, 3)]
            oracle.append(leaves, ids, {b"key": rng.randbytes(8), b"block %d" % block: b"here"})
            if rng.random() < 0.3:
                oracle.reopen()
        oracle.check(rng)
        oracle.reopen()
        oracle.check(rng)
    finally:
        oracle.database.close()


@pytest.mark.parametrize("size", [1, 255, 256, 257, 512, 700])
def test_the_edges_of_tiles_hold(oracle, size):
    oracle.append([b"%d" % at for at in range(size)])
    oracle.check(random.Random(size), looks=25)


def test_nothing_is_there_that_was_not_written(oracle):
    assert (oracle.archive.head, oracle.archive.size, oracle.archive.checkpoint()) == (None, 0, None)
    oracle.append([b"a", b"b", b"c"])
    archive = oracle.archive
    assert [archive.entry(-1), archive.entry(3), archive.entry(1 << 60)] == [None] * 3
    assert [archive.entries(3, 5), archive.entries(-1, 2), archive.entries(0, 0), archive.entries(0, -4)] == [
        []
    ] * 4
    assert (archive.leaf_of(b"x" * 32), archive.state(b"x"), archive.names(b"x" * 32)) == (None, None, False)
    assert (archive.tile(0, 0, 4), archive.tile(0, 1, 1), archive.tile(5, 0, 1)) == (None, None, None)
    assert (archive.bundle(0, 4), archive.bundle(1, 1)) == (None, None)
    assert (archive.block(1), archive.finality(1)) == (None, None)
    assert archive.entries(1, 10_000) == [b"b", b"c"]


def test_one_page_is_bounded(oracle):
    oracle.append([b"%d" % at for at in range(PAGE.value + 5)])
    assert len(oracle.archive.entries(0, 1 << 40)) == PAGE.value


def test_state_that_a_block_deletes_is_gone(oracle):
    oracle.append([b"a"], writes={b"k": b"1", b"l": b"2"})
    oracle.append([b"b"], writes={b"k": None})
    oracle.reopen()
    assert (oracle.archive.state(b"k"), oracle.archive.state(b"l")) == (None, b"2")


def test_the_served_checkpoint_survives_a_restart(oracle):
    oracle.append([b"a"])
    oracle.archive.keep_checkpoint(b"a note")
    oracle.reopen()
    assert oracle.archive.checkpoint() == b"a note"


def test_a_batch_too_large_changes_nothing_at_all(oracle):
    oracle.append([b"a"])
    with pytest.raises(ValueError, match="batch"):
        oracle.append([b"x" * 60_000] * 160)
    assert oracle.archive.size == 1
    oracle.database.close()
    oracle.open()
    assert (oracle.archive.size, oracle.archive.entry(1)) == (1, None)


def test_the_real_ledgers_blocks_reopen_as_they_were(tmp_path):
    world = Kept(tmp_path)
    for at in range(40):
        world.block(world.fact(f"number {at}"), world.fact(f"second {at}"))
    root, state = world.chain.head().tree_root, world.state()
    world.close()
    database = Database.open(tmp_path / "db")
    archive = Archive(database, world.genesis)
    assert (archive.size, archive.head.tree_root) == (len(world.leaves), root)
    assert archive.entries(0, 1_000) == world.leaves
    assert all(archive.state(name) == value for name, value in state.items())
    assert archive.inclusion(7, archive.size) == merkle.path(
        7, [merkle.leaf_hash(leaf) for leaf in world.leaves]
    )
    database.close()


class Deciding(Kept, Governed):
    """A world on disk whose validators agree on what they are asked."""


def test_the_newest_seals_stay_provable_and_pages_of_older_ones_go(tmp_path, monkeypatch):
    """With few kept seals, many blocks and a restart: every page of a kept seal is there, and no other page is."""
    kept = 8
    monkeypatch.setattr(module, "KEPT_SEALS", Limit(kept, "few, so that many go"))
    world, rng = Deciding(tmp_path), random.Random(1)
    trees = {world.archive.size - 1: world.archive.trees(world.archive.size - 1)}
    for at in range(60):
        before = world.archive.size
        subjects = [f"pkg:pypi/p{rng.randrange(150)}" for _ in range(rng.choice([0, 1, 3, 20]))]
        entries = [world.entry(world.follower, "fact.add", fact(subject=subject)) for subject in subjects]
        world.block(*entries) if entries else world.propose()
        if at == 30:
            world.archive = Archive(world.database, world.genesis)
        if world.archive.size != before:
            trees[world.archive.size - 1] = world.archive.trees(world.archive.size - 1)
        assert all(world.archive.trees(seal) is None for seal in sorted(trees)[:-kept])
    live = set()
    for seal in sorted(trees)[-kept:]:
        assert world.archive.trees(seal) == trees[seal]
        for tree in (trees[seal].packages, trees[seal].state):
            live |= {key for key, _ in prefixtree.pages(tree, world.archive.index)}
            assert list(prefixtree.walk(tree, world.archive.index))
    stored = {key for key, _ in world.database.scan(layout.INDEX, b"", 1 << 20) if key[0] in (0, 1)}
    world.close()
    assert len(trees) > 3 * kept
    assert stored == live


async def test_what_a_segment_holds_is_read_leaf_by_leaf(tmp_path):
    """Of any number of leaves in a segment, at its edges and beyond the log's end."""
    database = Database.open(tmp_path / "db")
    leaves = [bytes([at % 251]) * (at % 300) for at in range(600)]
    batch = Batch()
    for first, count in ((0, 2), (2, 300), (302, 1), (303, 297)):
        segments.put(batch, first, leaves[first : first + count])
    database.write(batch)
    assert [segments.one(database, at) for at in range(600)] == leaves
    assert segments.one(database, 600) is None
    database.close()
