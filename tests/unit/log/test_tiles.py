"""Paths, widths and bundles of tlog-tiles: one way to write each, every other way refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.log import tiles
from pyrsia.log.tiles import Bundle, Tile
from pyrsia.units import MAX_ENTRY_BYTES, LeafIndex, TreeSize
from tests.reference import merkle as oracle
from tests.unit.log.logs import Log, numbered


@pytest.mark.parametrize(
    ("named", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 0, 5), "tile/0/000.p/5"),
        (Tile(1, 999, 255), "tile/1/999.p/255"),
        (Tile(3, 1_234_067), "tile/3/x001/x234/067"),
        (Tile(2, 1_000), "tile/2/x001/000"),
        (Bundle(0, 1), "tile/entries/000.p/1"),
        (Bundle(1_000_000), "tile/entries/x001/x000/000"),
    ],
)
def test_a_path_says_what_it_names(named: Tile | Bundle, path: str) -> None:
    assert named.path == path
    assert tiles.parse(path) == named


@pytest.mark.parametrize(
    "path",
    [
        "", "tile", "tile/0", "tile/0/", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/00/000", "tile/01/000",
        "tile/8/000", "tile/99/000", "tile/-1/000", "tile/0/000.p", "tile/0/000.p/", "tile/0/000.p/0",
        "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/1/", "tile/0/x000/001", "tile/0/001/000",
        "tile/0/x001/x000", "tile/0/x1/000", "/tile/0/000", "tile/0/000\n", "tile/0/000 ", "tile/data/000",
        "tile/entries/../000", "tile/0/\u0660\u0660\u0660", "tile/0/" + "x999/" * 9 + "999", "TILE/0/000",
        "tile/0/x000/x001/000",
    ],
)  # fmt: skip
def test_any_other_way_to_write_a_path_is_refused(path: str) -> None:
    with pytest.raises(Malformed):
        tiles.parse(path)


@given(st.integers(0, 7), st.integers(0, 2**53 - 1), st.integers(1, 256))
def test_every_path_leads_back(level: int, index: int, width: int) -> None:
    for named in (Tile(level, index, width), Bundle(index, width)):
        assert tiles.parse(named.path) == named


@given(st.from_regex(r"tile/(entries|[0-9]{1,2})/(x?[0-9]{1,3}/?){1,4}(\.p/[0-9]{1,3})?", fullmatch=True))
def test_what_parses_is_written_the_same_way(path: str) -> None:
    try:
        named = tiles.parse(path)
    except Malformed:
        return
    assert named.path == path


@pytest.mark.parametrize(
    ("size", "full", "partial"),
    [
        (0, 0, []),
        (255, 0, ["tile/0/000.p/255"]),
        (256, 1, ["tile/1/000.p/1"]),
        (70_000, 274, ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]),
    ],
)
def test_a_size_says_which_tiles_there_are(size: int, full: int, partial: list[str]) -> None:
    found = list(tiles.tiles_of(TreeSize(size)))
    assert sum(1 for tile in found if tile.width == 256) == full
    assert [tile.path for tile in found if tile.width < 256] == partial


@given(st.integers(0, 3), st.integers(0, 300), st.integers(0, 70_000))
def test_width_is_nothing_outside_the_log(level: int, index: int, size: int) -> None:
    widths = {(tile.level, tile.index): tile.width for tile in tiles.tiles_of(TreeSize(size))}
    assert tiles.width(level, index, TreeSize(size)) == widths.get((level, index), 0)


@given(st.integers(1, 700), st.data())
def test_a_bundle_gives_back_its_entries_and_nothing_else(size: int, data: st.DataObject) -> None:
    log = Log(numbered(size))
    index = data.draw(st.integers(0, (size - 1) // 256))
    width = tiles.width(0, index, TreeSize(size))
    encoded = log.bundle(Bundle(index, width))

    entries = log.entries[256 * index : 256 * index + width]
    assert list(tiles.bundle_decode(encoded, width)) == entries
    assert tiles.bundle_hashes(encoded, width) == oracle.leaf_hashes(entries)
    for wrong, count in (
        (encoded[:-1], width),
        (encoded + b"\0", width),
        (encoded, width + 1),
        (encoded, width - 1),
    ):
        for read in (tiles.bundle_decode, tiles.bundle_hashes):
            with pytest.raises(Malformed):
                read(wrong, count)


@given(st.binary(max_size=60), st.integers(0, 20))
def test_strange_bytes_are_no_bundle_or_the_one_they_encode(data: bytes, count: int) -> None:
    try:
        entries = tiles.bundle_decode(data, count)
    except Malformed:
        with pytest.raises(Malformed):
            tiles.bundle_hashes(data, count)
        return
    assert count == 0 or tiles.bundle_encode(entries) == data
    assert tiles.bundle_hashes(data, count) == oracle.leaf_hashes(entries)


def test_entries_that_no_bundle_can_hold_are_the_caller_s_bug() -> None:
    for wrong in ([], [b""] * 257, [bytes(MAX_ENTRY_BYTES.value + 1)]):
        with pytest.raises(ValueError, match="bundle"):
            tiles.bundle_encode(wrong)
    too_long = (MAX_ENTRY_BYTES.value + 1).to_bytes(2, "big") + bytes(MAX_ENTRY_BYTES.value + 1)
    for read in (tiles.bundle_decode, tiles.bundle_hashes):
        with pytest.raises(Malformed):
            read(too_long, 1)
    # A log of others may hold what the format can say.
    largest = b"\xff\xff" + bytes(tiles.FORMAT_ENTRY_BYTES)
    (entry,) = tiles.bundle_decode(largest, 1, tiles.FORMAT_ENTRY_BYTES)
    assert tiles.bundle_hashes(largest, 1, tiles.FORMAT_ENTRY_BYTES) == oracle.leaf_hash(entry)


def test_a_leaf_has_its_place_in_a_bundle() -> None:
    assert [tiles.place(LeafIndex(at)) for at in (0, 255, 256, 1_000)] == [(0, 0), (0, 255), (1, 0), (3, 232)]


def test_a_node_outside_the_log_is_the_caller_s_bug_and_a_short_tile_is_malformed() -> None:
    with pytest.raises(ValueError, match="not in a log"):
        tiles.tile_of((3, 1), TreeSize(15))
    for rows in ({}, {Tile(0, 0, 15): bytes(32 * 14)}, {Tile(0, 0, 15): bytes(32 * 16)}):
        with pytest.raises(Malformed):
            tiles.nodes_in([(3, 0)], TreeSize(15), rows)
