"""The verifiable index at up to a million packages: a touched package, in memory and in RocksDB, and a proof.

All through `ledger.index.of_history`: the package's record read and appended to, its value in the tree changed, every
page on the way hashed and made. Packages are touched at random, so hardly two share a page below the first levels:
the dearest block there is.
"""

import hashlib
import math
import random
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from bench.harness import LONG, Figure, Timed, budget, row
from bench.memory import peak_mb
from pyrsia.ledger import index, prefixtree
from pyrsia.ledger.prefixtree import Tree
from pyrsia.ledger.touches import package_key
from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database

CI_SIZE = 10**5
BLOCK = 1_000  # packages that a full block touches at most, see MAX_BLOCK_ENTRIES
SMALL = 256
GROWTH = (
    10_000  # packages that come in at once while an index is built for a row; the memory row grows by blocks
)
PUT = 1_000  # rows of one write: far below MAX_BATCH_BYTES
ASKED = 200


def sizes(*powers: int) -> list[object]:
    return [
        pytest.param(10**power, marks=() if 10**power == CI_SIZE else LONG, id=f"{10**power}")
        for power in powers
    ]


def key(number: int) -> bytes:
    return package_key(f"pkg:pypi/load-{number}")


def touched(numbers: list[int], leaf: int) -> index.Touched:
    return {key(number): [(leaf + at, b"%032d" % at)] for at, number in enumerate(numbers)}


class Index:
    """An index of `size` packages with one leaf each, in a dict of pages and records."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.tree = Tree.empty(index.PACKAGES)
        self.size = self.version = 0

    def fetch(self, keys: list[bytes]) -> list[bytes | None]:
        return [self.rows.get(one) for one in keys]

    def put(self, rows: dict[bytes, bytes], dropped: tuple[bytes, ...]) -> None:
        self.rows.update(rows)
        for one in dropped:
            del self.rows[one]

    def grow(self, size: int, step: int = GROWTH) -> None:
        for first in range(self.size, size, step):
            self.touch(touched(list(range(first, min(size, first + step))), first))
        self.size = size

    def touch(self, by_block: index.Touched) -> None:
        """What a block does to the index."""
        change, rows = index.of_history(by_block, self.tree, self.fetch, self.version)
        rows.update(change.pages)
        self.put(rows, change.dropped)
        self.tree = change.tree
        self.version += 1


class StoredIndex(Index):
    """The same in a node's database."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.database = Database.open(folder / "db")

    def fetch(self, keys: list[bytes]) -> list[bytes | None]:
        return self.database.multi_get(layout.INDEX, keys)

    def put(self, rows: dict[bytes, bytes], dropped: tuple[bytes, ...]) -> None:
        batch = Batch()
        for one, value in rows.items():
            batch.put(layout.INDEX, one, value)
            if len(batch) == 4 * PUT:  # only while it grows; a block is one batch
                self.database.write(batch)
                batch = Batch()
        for one in dropped:
            batch.delete(layout.INDEX, one)
        self.database.write(batch)

    def close(self) -> None:
        self.database.close()


class Unproven:
    """What an index costs that proves nothing: how many leaves a package has, and which."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def touch(self, by_block: index.Touched) -> None:
        keys = [b"\xf0" + one for one in by_block]
        counts = self.database.multi_get(layout.INDEX, keys)
        batch = Batch()
        for one, count, [(leaf, leaf_hash)] in zip(keys, counts, by_block.values(), strict=True):
            counted = int.from_bytes(count or b"", "big") + 1
            batch.put(layout.INDEX, one, counted.to_bytes(8, "big"))
            batch.put(layout.INDEX, b"\xf1" + one + leaf.to_bytes(8, "big"), leaf_hash)
        self.database.write(batch)


@pytest.fixture(scope="module")
def indexes():
    """A function that gives the index of a size, each built once."""
    built: dict[int, Index] = {}

    def of(size: int) -> Index:
        if size not in built:
            built[size] = Index()
            built[size].grow(size)
        return built[size]

    return of


class Picks:
    """Random packages, chosen before the clock starts: `touched` says what a block does to them."""

    def __init__(self, size: int, count: int) -> None:
        self._random = random.Random(size)
        self._size, self._count = size, min(count, size)
        self.touched: index.Touched = {}
        self.next()

    def next(self) -> None:
        self.touched = touched(self._random.sample(range(self._size), self._count), self._size)

    def __len__(self) -> int:
        return self._count


def bare_paths(keys: index.Touched, size: int) -> bytes:
    """One path of hashes a package with hashlib: no tree, no pages, no history. One alone needs no fewer."""
    root = b""
    for one in keys:
        root = hashlib.sha256(one + bytes(32)).digest()
        for depth in range(math.ceil(math.log2(size))):
            root = hashlib.sha256(bytes((depth,)) + root + root).digest()
    return root


def one_update(one: Index, picks: Picks) -> None:
    """A block's change to the index, not kept: pages are never changed, so every call finds the same index."""
    index.of_history(picks.touched, one.tree, one.fetch, one.version)


def measure_update(measure, one: Index, count: int) -> None:
    picks = Picks(one.size, count)
    measure(
        Timed(lambda: one_update(one, picks), len(picks), before=picks.next),
        {"a path each, hashlib": Timed(lambda: bare_paths(picks.touched, one.size), len(picks))},
    )


@pytest.mark.parametrize("at", sizes(3, 4, 5, 6))
@row(
    "index/update",
    "1,000 touched in a block, of so many packages",
    unit="us per package",
    clock="cpu",
    goal=10,
)
def test_update(measure, indexes, at):
    one = indexes(at)
    assert sum(1 for _ in prefixtree.walk(one.tree, one.fetch)) == at
    measure_update(measure, one, BLOCK)


@pytest.mark.parametrize("at", sizes(5, 6))
@row(
    "index/update-256",
    "256 touched in a block, of so many packages",
    unit="us per package",
    clock="cpu",
    goal=10,
)
def test_update_256(measure, indexes, at):
    measure_update(measure, indexes(at), SMALL)


@pytest.mark.parametrize("at", sizes(5, 6))
@row("index/stored", "as before, read from and written to RocksDB", unit="us per package", clock="cpu")
def test_stored(measure, tmp_path, at):
    with closing(StoredIndex(tmp_path)) as one:
        one.grow(at)
        plain = Unproven(one.database)
        picks = Picks(at, BLOCK)
        measure(
            Timed(lambda: one.touch(picks.touched), BLOCK, before=picks.next),
            {"no proofs, RocksDB": Timed(lambda: plain.touch(picks.touched), BLOCK)},
        )


@pytest.mark.parametrize("at", sizes(3, 4, 5, 6))
@row("index/prove", "proof of one package's history, of so many", unit="us per proof", clock="cpu")
def test_prove(measure, indexes, at):
    one = indexes(at)
    keys = [key(number) for number in random.Random(at).sample(range(at), ASKED)]
    proofs = []
    for asked in keys:
        value, path = prefixtree.prove(one.tree, one.fetch, asked)
        assert value is not None
        prefixtree.verify_present(one.tree.root, asked, value, path)
        proofs.append((asked, value, path))
    measure(
        Timed(lambda: [prefixtree.prove(one.tree, one.fetch, asked) for asked in keys], ASKED),
        {
            "checking it, hashlib": Timed(
                lambda: [prefixtree.verify_present(one.tree.root, *proof) for proof in proofs], ASKED
            )
        },
    )


def grow_and_touch(size: str) -> None:
    """Run in a process of its own by `test_memory`."""
    with TemporaryDirectory() as folder, closing(StoredIndex(Path(folder))) as one:
        one.grow(int(size), BLOCK)
        picks = Picks(one.size, BLOCK)
        for _ in range(50):
            one.touch(picks.touched)
            picks.next()


@LONG
@pytest.mark.parametrize("at", sizes(5, 6))
@row("index/memory", "building and changing an index of so many packages", unit="MB", rounds=1)
def test_memory(measure, at):
    measure(
        Figure(lambda: peak_mb("bench.test_index", "grow_and_touch", str(at))),
        {"budget": budget(150.0)},
    )
