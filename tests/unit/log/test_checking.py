"""Tiles from a root down and from the leaves up; where an entry is wrong, which and at which byte."""

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia._native import merkle
from pyrsia.errors import ProofInvalid
from pyrsia.log import tiles
from pyrsia.log.checking import (
    ProvenTiles,
    Rising,
    Wrong,
    check_growth,
    entries_in,
    entry_hashes,
    leads_to,
    offset_of,
)
from pyrsia.log.tiles import Bundle, Tile
from pyrsia.log.tree import Frontier
from pyrsia.units import TreeSize
from tests.reference import merkle as oracle

SIZES = [1, 2, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 70_000]
MOST = 70_000
LEAVES = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(MOST))


def tree_of(size):
    """(root, (level, index) -> hashes) of the first `size` leaves."""
    frontier, found = Frontier().append(LEAVES[: size * 32])
    return frontier.root(), found


TREES = {size: tree_of(size) for size in SIZES}


def proven(size, lies=None):
    root, found = TREES[size]

    def fetch(tile):
        data = found[tile.level, tile.index][: tile.width * 32]
        return lies.get(tile.path, data) if lies else data

    return ProvenTiles(TreeSize(size), root, fetch)


@pytest.mark.parametrize("size", SIZES)
def test_every_tile_is_given_as_the_tree_has_it(size):
    given_tiles = proven(size)
    for tile in tiles.tiles_of(TreeSize(size)):
        if tile.level or tile.index in (0, 1, tile.index // 2 * 2, size // 256):
            assert given_tiles.tile(tile.level, tile.index) == TREES[size][1][tile.level, tile.index]
    with pytest.raises(ValueError, match="not in a log"):
        given_tiles.tile(0, size // 256 + 1)


@pytest.mark.parametrize("size", SIZES)
def test_the_tiles_above_rise_from_the_roots_of_level_0_in_any_steps(size):
    root, found = TREES[size]
    assert size > 600 or root == oracle.root(oracle.rows_of(LEAVES[: size * 32]))
    for step in (1, 7, 256):
        rising, seen = Rising(), {}
        full = size // 256
        for first in range(0, full, step):
            roots = b"".join(merkle.tile_root(found[0, i]) for i in range(first, min(first + step, full)))
            seen.update(rising.add(roots))
        seen.update(rising.rest())
        assert {tile.path: data for tile, data in seen.items()} == {
            tile.path: found[tile.level, tile.index] for tile in tiles.tiles_of(TreeSize(size)) if tile.level
        }
        assert rising.root(found.get((0, full), b"") if size % 256 else b"") == root


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_tile_with_any_bit_changed_is_never_given(data):
    size = data.draw(st.sampled_from(SIZES))
    planned = list(tiles.tiles_of(TreeSize(size)))
    tile = data.draw(st.sampled_from(planned))
    honest = TREES[size][1][tile.level, tile.index]
    bit = data.draw(st.integers(0, len(honest) * 8 - 1))
    lie = honest[: bit // 8] + bytes([honest[bit // 8] ^ 1 << bit % 8]) + honest[bit // 8 + 1 :]
    for wrong in (lie, honest[:-32], honest + honest[:32]):
        with pytest.raises(Wrong):
            proven(size, {tile.path: wrong}).tile(tile.level, tile.index)


def test_growth_is_proved_between_all_sizes_and_refused_from_any_other_past():
    for old, new in [*pairwise(SIZES), *((size, MOST) for size in SIZES), *((size, size) for size in SIZES)]:
        root = TREES[old][0]
        check_growth(proven(new), TreeSize(old), root)
        with pytest.raises(ProofInvalid):
            check_growth(proven(new), TreeSize(old), bytes([root[0] ^ 1]) + root[1:])
    check_growth(proven(1), TreeSize(0), b"")  # everything begins with nothing
    with pytest.raises(ProofInvalid):
        check_growth(proven(255), TreeSize(256), TREES[256][0])


@pytest.mark.parametrize("size", SIZES)
def test_a_node_leads_to_the_root_and_no_other_does(size):
    root, found = TREES[size]

    def fetch(tile):
        return found[tile.level, tile.index][: tile.width * 32]

    for level, index in [(0, 0), (0, size - 1), (8, 0), (8, size // 256 - 1), (16, 0)]:
        if index < 0 or (index + 1) << level > size:
            continue
        row = found[level // 8, index // 256]
        node = row[index % 256 * 32 :][:32]
        assert leads_to(root, TreeSize(size), level, index, node, fetch)
        assert not leads_to(root, TreeSize(size), level, index, hashlib.sha256(node).digest(), fetch)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8), st.data())
def test_a_bundle_is_so_many_entries_and_says_where_it_is_not(entries, data):
    bundle = Bundle(3, len(entries))
    packed = tiles.bundle_encode(entries)
    assert entries_in(bundle, packed) == entries
    assert entry_hashes(bundle, packed, formed=False) == oracle.leaf_hashes(entries)
    for position, entry in enumerate(entries):
        assert packed[offset_of(packed, position) :].startswith(entry)
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(Wrong) as wrong:
        entry_hashes(bundle, packed[:cut], formed=False)
    fault = wrong.value.fault
    assert fault.path == bundle.path
    position = fault.entry - 3 * 256
    assert (
        fault.offset
        == offset_of(packed, position) - 2
        <= cut
        < offset_of(packed, position) + len(entries[position])
    )
    with pytest.raises(Wrong) as wrong:
        entry_hashes(bundle, packed + b"x", formed=False)
    assert wrong.value.fault.offset == len(packed)


def test_the_longest_entry_of_the_format_is_read_and_ours_is_shorter():
    longest = b'"' + b"x" * 65_533 + b'"'
    packed = len(longest).to_bytes(2, "big") + longest
    assert entry_hashes(Bundle(0, 1), packed, formed=False) == oracle.leaf_hash(longest)
    with pytest.raises(Wrong) as wrong:
        entry_hashes(Bundle(0, 1), packed, formed=True)
    assert (wrong.value.fault.entry, wrong.value.fault.offset) == (0, 2 + 60_000)


def test_a_fault_says_only_what_it_knows():
    with pytest.raises(Wrong) as wrong:
        proven(256, {Tile(0, 0).path: b"\0" * 8192}).tile(0, 0)
    assert set(wrong.value.fault.as_dict()) == {"path", "what", "expected", "found"}
    assert str(wrong.value).startswith("tile/0/000: ")
