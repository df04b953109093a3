"""Logs of any size in a folder, as a node keeps them: entries, tiles, ids and head, written through the archive.

Entries are canonical `fact.add` lines of 400 bytes over 10,000 packages, each with an id of its own. Their signatures
are noise and no state is executed: rows here are about the log, `commit/` is about all of it.
"""

import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path

from blake3 import blake3
from rocksdict import Options, Rdict

from pyrsia._native import merkle
from pyrsia.ledger.chain import ChainHead, Commit
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.index import NOTHING
from pyrsia.log import tiles, tree
from pyrsia.log.tree import TILE_WIDTH, Coord, Frontier
from pyrsia.node.log.archive import Archive
from pyrsia.store.rocks import Database
from pyrsia.units import LeafIndex, TreeSize
from tests.reference.ledger import make_genesis

ENTRY_BYTES = 400
BLOCK = 1_000  # entries of a full block, see MAX_BLOCK_ENTRIES
PACKAGES = 10_000


def entries(first: int, count: int) -> tuple[bytes, ...]:
    """Leaves `first` to `first + count` of every log here; most of each is hex of a hash, which nothing compresses."""
    made = []
    for index in range(first, first + count):
        noise = blake3(b"%d" % index).hexdigest(length=ENTRY_BYTES // 2).encode()
        head = b'{"author":"bench","body":{"kind":"description","subject":"pkg:pypi/load-%d@1","text":"' % (
            index % PACKAGES
        )
        middle = b'"},"net":"bench","nonce":"%b","sig":"%b' % (noise[:32], noise[32:160])
        tail = b'","type":"fact.add","until":1,"v":1}'
        room = ENTRY_BYTES - len(head + middle + tail)
        made.append(head + noise[160 : 160 + room] + middle + tail)
    return tuple(made)


def ids(leaves: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """What an entry is called: agreement has hashed it long before it is written."""
    return tuple(blake3(leaf).digest() for leaf in leaves)


class Log:
    """A log that grows block by block. `close` it; its folder stays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database.open(folder / "db")
        self.archive = Archive(self.database, Genesis.parse(make_genesis()))
        head = self.archive.head
        self.frontier = Frontier() if head is None else Frontier.decode(head.frontier)
        self.height = 0 if head is None else head.height + 1

    @property
    def size(self) -> int:
        return int(self.frontier.size)

    def append(self, leaves: tuple[bytes, ...], named: tuple[bytes, ...]) -> None:
        """One block: hashed, put into the tree, written as one batch; visible, durable after `flush`."""
        first = self.size
        hashes = merkle.leaf_hashes(leaves)
        self.frontier, _ = self.frontier.append(hashes)
        root = self.frontier.root()
        head = ChainHead(
            block_hash=b"h" * 32, height=self.height, view=self.height, time_ms=1, tree_size=self.size,
            tree_root=root, beacon=b"b" * 32, frontier=self.frontier.encode(),
        )  # fmt: skip
        commit = Commit(
            height=self.height, leaves=leaves, leaf_hashes=hashes, first_leaf=first, writes={}, growth=NOTHING,
            tree_size=self.size, tree_root=root, head=head, entry_ids=named,
        )  # fmt: skip
        self.archive.write(commit, None, None)
        self.height += 1

    def append_all(self, leaves: tuple[bytes, ...], named: tuple[bytes, ...], block: int = BLOCK) -> None:
        """Any number of entries in blocks, then one flush."""
        for at in range(0, len(leaves), block):
            self.append(leaves[at : at + block], named[at : at + block])
        self.flush()

    def flush(self) -> None:
        """Make what was appended durable."""
        self.database.flush()

    def grow(self, size: int) -> "Log":
        """Append until there are `size` leaves."""
        while self.size < size:
            leaves = entries(self.size, min(10 * BLOCK, size - self.size))
            self.append_all(leaves, ids(leaves))
        return self

    @property
    def root(self) -> bytes:
        return self.frontier.root()

    def octets(self) -> int:
        """Bytes of all files of the log."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())

    def close(self) -> None:
        self.database.close()


def plain_database(folder: Path) -> Rdict:
    """RocksDB as it comes, but for raw bytes."""
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    return Rdict(str(folder), options)


def node_key(level: int, index: int) -> bytes:
    return struct.pack(">cBQ", b"n", level, index)


class PlainLog:
    """What one would write first: a put an entry and an id, hashlib for the tree, one key a node of it."""

    def __init__(self, folder: Path) -> None:
        self._rdict = plain_database(folder)
        self._stack: list[bytes] = []  # roots of the perfect subtrees, largest first
        self.size = 0

    def append_all(self, leaves: tuple[bytes, ...], named: tuple[bytes, ...]) -> None:
        put, sha256 = self._rdict.put, hashlib.sha256
        for leaf, name in zip(leaves, named, strict=True):
            index, level = self.size, 0
            put(b"e" + index.to_bytes(8, "big"), leaf)
            put(b"i" + name, index.to_bytes(8, "big"))
            node = sha256(b"\0" + leaf).digest()
            put(node_key(0, index), node)
            while index & 1:
                node = sha256(b"\1" + self._stack.pop() + node).digest()
                index, level = index >> 1, level + 1
                put(node_key(level, index), node)
            self._stack.append(node)
            self.size += 1
        self._rdict.flush_wal(True)

    @property
    def root(self) -> bytes:
        root = self._stack[-1]
        for left in reversed(self._stack[:-1]):
            root = hashlib.sha256(b"\1" + left + root).digest()
        return root

    def close(self) -> None:
        self._rdict.close()


class NodeStore:
    """The nodes of some proofs, one key each, as a log without tiles keeps them."""

    def __init__(self, folder: Path, log: Log, indices: Sequence[int]) -> None:
        self._rdict = plain_database(folder)
        self._size = TreeSize(log.size)
        for index in indices:
            coords = tree.plan_inclusion(LeafIndex(index), self._size)
            for coord, node in zip(coords, nodes(log.archive, coords, self._size), strict=True):
                self._rdict.put(node_key(*coord), node)

    def inclusion(self, index: int) -> list[bytes]:
        get = self._rdict.get
        return tree.inclusion_proof(
            LeafIndex(index), self._size, lambda coords: [get(node_key(*coord)) for coord in coords]
        )

    def close(self) -> None:
        self._rdict.close()


def nodes(archive: Archive, coords: list[Coord], size: TreeSize) -> list[bytes]:
    """The hashes of nodes, out of the archive's tiles."""
    planned = tiles.plan_tiles(coords, size)
    fetched = {tile: archive.tile(tile.level, tile.index, tile.width) or b"" for tile in planned}
    return tiles.nodes_in(coords, size, fetched)


# -- in a process of its own, see bench/memory.py --


def build_and_check(folder: str, size: str) -> None:
    """Build a log of `size` leaves; open it again, and hold every entry and tile against its root."""
    log = Log(Path(folder)).grow(int(size))
    log.close()
    log = Log(Path(folder))
    check(log)
    log.close()


def check(log: Log) -> None:
    """Every entry is read, hashed and appended to an empty tree; each tile that this gives is what is stored."""
    found = Frontier()
    for first in range(0, log.size, 3 * TILE_WIDTH):
        leaves = log.archive.entries(first, 3 * TILE_WIDTH)
        found, changed = found.append(merkle.leaf_hashes(leaves))
        for (level, index), row in changed.items():
            stored = log.archive.tile(level, index, len(row) // 32)
            assert stored == row, f"tile {index} of level {level}"
    assert found.size == log.size
    assert found.root() == log.root
