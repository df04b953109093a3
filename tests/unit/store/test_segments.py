"""Leaves in segments: whatever is cut where, each is found, and rows that are not whole are told of."""

import pytest

from pyrsia.errors import DatabaseDamaged
from pyrsia.log import tiles
from pyrsia.log.tree import TILE_WIDTH
from pyrsia.store import layout, segments
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import MAX_ENTRY_BYTES

LEAVES = [bytes([n % 251]) * (1 + n % 7) for n in range(2 * TILE_WIDTH + 9)]


@pytest.fixture
def database(tmp_path):
    made = Database.open(tmp_path / "db")
    yield made
    made.close()


def put(database, *blocks):
    batch, first = Batch(), 0
    for leaves in blocks:
        segments.put(batch, first, leaves)
        first += len(leaves)
    database.write(batch)


def test_every_stretch_of_leaves_is_read_as_it_was_written(database):
    put(database, LEAVES[:5], LEAVES[5:6], LEAVES[6:300], LEAVES[300:])
    for first in (0, 4, 5, 6, TILE_WIDTH - 1, TILE_WIDTH, 299, 300, len(LEAVES) - 1, len(LEAVES)):
        for count in (1, 2, 300, len(LEAVES)):
            assert segments.some(database, first, count) == LEAVES[first : first + count]


@pytest.mark.parametrize(
    "row",
    [
        tiles.bundle_encode(LEAVES[:3])[:-1],
        tiles.bundle_encode(LEAVES[:3]) + b"\0",
        tiles.bundle_encode(LEAVES[:3]) + b"\0\1",
        (MAX_ENTRY_BYTES.value + 1).to_bytes(2, "big") + bytes(MAX_ENTRY_BYTES.value + 1),
    ],
)
def test_a_row_that_is_not_whole_is_told_of(database, row):
    database.write(Batch().put(layout.ENTRIES, layout.number(0), row))
    with pytest.raises(DatabaseDamaged, match="from 0 on"):
        segments.some(database, 0, 4)
