"""The tree's kernels beside what one would write without them: hashlib, OpenSSL's one-shot call, a plain C loop."""

import ctypes
import functools
import hashlib

import pytest

from bench.harness import Timed, row
from bench.plain import looped
from pyrsia._native import merkle
from pyrsia.log import tree
from pyrsia.units import LeafIndex, TreeSize

ROW = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(256))
NODES = 255
ENTRIES = [hashlib.sha256(b"%d" % i).digest() * 12 + bytes(16) for i in range(256)]  # 400 bytes each
APPENDED = ROW * 40  # ten thousand leaves, more or less
PROOFS = 256


def hashlib_level(rows: bytes) -> bytes:
    return b"".join(hashlib.sha256(b"\x01" + rows[at : at + 64]).digest() for at in range(0, len(rows), 64))


def hashlib_tile_root(rows: bytes) -> bytes:
    while len(rows) > 32:
        rows = hashlib_level(rows)
    return rows


def hashlib_leaf_hashes(items: list[bytes]) -> bytes:
    return b"".join(hashlib.sha256(b"\x00" + item).digest() for item in items)


def hashlib_tile_roots(rows: bytes) -> bytes:
    return b"".join(hashlib_tile_root(rows[at : at + 8192]) for at in range(0, len(rows), 8192))


@row("merkle/node", "nodes of a level of 256 hashes", unit="ns per node", clock="cpu", goal=40)
def test_node(measure):
    nodes = len(ROW) // 64
    loops = looped("level", nodes * 32, ROW, ctypes.c_size_t(nodes))
    want = merkle.level(ROW)
    assert want == hashlib_level(ROW)
    assert all(call() == want for call in loops.values())
    measure(
        Timed(lambda: merkle.level(ROW), nodes),
        {"hashlib": Timed(lambda: hashlib_level(ROW), nodes)}
        | {name: Timed(call, nodes) for name, call in loops.items()},
    )


@row("merkle/tile-root", "256 hashes to the root of their tile", unit="us per tile", clock="cpu", goal=11)
def test_tile_root(measure):
    loops = looped("tile_root", 4096, ROW)
    want = merkle.tile_root(ROW)
    assert want == hashlib_tile_root(ROW)
    assert all(call()[:32] == want for call in loops.values())
    measure(
        Timed(lambda: merkle.tile_root(ROW)),
        {"hashlib": Timed(lambda: hashlib_tile_root(ROW))}
        | {name: Timed(call) for name, call in loops.items()},
    )


@row("merkle/kernel", "the same by each kernel that can be forced", unit="us per tile", clock="cpu")
@pytest.mark.parametrize("at", ["portable", "avx2"])
def test_kernel(measure, at):
    active = merkle.kernel()
    if not merkle._select(at.encode()):
        measure.unable(f"this processor has no {at}")
    try:
        assert merkle.tile_root(ROW) == hashlib_tile_root(ROW)
        plain = looped("tile_root", 4096, ROW).get("plain C")
        if plain is None:
            measure.absent("no C compiler", "apt-get install build-essential")
        measure(Timed(lambda: merkle.tile_root(ROW)), {"plain C": Timed(plain)})
    finally:
        merkle._select(active.encode())


@row("merkle/leaf-hashes", "leaves of 400 bytes, 256 a call", unit="ns per leaf", clock="cpu")
def test_leaf_hashes(measure):
    count, size = len(ENTRIES), len(ENTRIES[0])
    joined = b"".join(ENTRIES)
    loops = looped("leaves", count * 32, joined, ctypes.c_size_t(size), ctypes.c_size_t(count))
    want = merkle.leaf_hashes(ENTRIES)
    assert want == hashlib_leaf_hashes(ENTRIES)
    assert all(call() == want for call in loops.values())
    measure(
        Timed(lambda: merkle.leaf_hashes(ENTRIES), count),
        {"hashlib": Timed(lambda: hashlib_leaf_hashes(ENTRIES), count)}
        | {name: Timed(call, count) for name, call in loops.items()},
    )


@row("merkle/append", "leaf hashes put behind a log of 257, with their tiles", unit="leaves/s", clock="cpu")
def test_append(measure):
    frontier, _ = tree.Frontier().append(ROW + ROW[:32])
    leaves = len(APPENDED) // 32
    assert len(frontier.append(APPENDED)[1]) == 42
    measure(
        Timed(lambda: frontier.append(APPENDED), leaves),
        {"full tiles, hashlib": Timed(lambda: hashlib_tile_roots(APPENDED), leaves)},
    )


@row("merkle/proofs", "inclusion proofs of a log of 65,536, 256 a call", unit="us per proof", clock="cpu")
def test_proofs(measure):
    rows = ROW * 256
    _, tiles = tree.Frontier().append(rows)
    size, root = TreeSize(65_536), merkle.range_root(rows)

    def nodes(coords):
        return [merkle.tile_root(node(tiles, *coord)) for coord in coords]

    claims = [
        tree.Inclusion(
            rows[32 * at : 32 * at + 32], at, size, tree.inclusion_proof(LeafIndex(at), size, nodes), root
        )
        for at in range(0, size, size // PROOFS)
    ]
    assert len(claims) == PROOFS
    assert tree.unproved(claims) == []
    measure(
        Timed(lambda: tree.unproved(claims), PROOFS),
        {"hashlib, one by one": Timed(lambda: [hashlib_root(claim) for claim in claims], PROOFS)},
    )


def node(tiles: dict[tuple[int, int], bytes], level: int, index: int) -> bytes:
    """The hashes below a node in its tile."""
    within = level % 8
    tile, at = divmod(index << within, 256)
    return tiles[level // 8, tile][32 * at : 32 * (at + (1 << within))]


def hashlib_root(claim: tree.Inclusion) -> bytes:
    """A proof in a log whose size is a power of two: the index alone says left or right."""

    def above(below: bytes, step: tuple[int, bytes]) -> bytes:
        level, sibling = step
        pair = sibling + below if claim.index >> level & 1 else below + sibling
        return hashlib.sha256(b"\x01" + pair).digest()

    return functools.reduce(above, enumerate(claim.proof), claim.leaf)
