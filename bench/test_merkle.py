"""Nanoseconds per inner node of a full tile, and per leaf: the kernel beside hashlib in the same run.

`extra_info` holds the figures. The ratio counts; nanoseconds are the machine's.
"""

import hashlib

from pyrsia._native import merkle

ROW = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(256))
NODES = 255
LEAVES = [b"%d" % i * 100 for i in range(256)]


def hashlib_tile_root(row: bytes) -> bytes:
    """The plain Python way, one call per node."""
    while len(row) > 32:
        row = b"".join(hashlib.sha256(b"\x01" + row[at : at + 64]).digest() for at in range(0, len(row), 64))
    return row


def hashlib_leaf_hashes(items: list[bytes]) -> bytes:
    return b"".join(hashlib.sha256(b"\x00" + item).digest() for item in items)


def per_item(benchmark, count: int) -> None:
    if benchmark.stats:
        benchmark.extra_info["ns_each_at_best"] = round(benchmark.stats["min"] / count * 1e9, 1)


def test_tile_root(benchmark):
    assert benchmark(merkle.tile_root, ROW) == hashlib_tile_root(ROW)
    per_item(benchmark, NODES)


def test_tile_root_with_hashlib(benchmark):
    assert benchmark(hashlib_tile_root, ROW) == merkle.tile_root(ROW)
    per_item(benchmark, NODES)


def test_leaf_hashes(benchmark):
    assert benchmark(merkle.leaf_hashes, LEAVES) == hashlib_leaf_hashes(LEAVES)
    per_item(benchmark, len(LEAVES))


def test_leaf_hashes_with_hashlib(benchmark):
    assert benchmark(hashlib_leaf_hashes, LEAVES) == merkle.leaf_hashes(LEAVES)
    per_item(benchmark, len(LEAVES))
