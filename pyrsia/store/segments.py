"""Leaves in the database, in segments: one row for what one block adds to one bundle.

A block of a thousand leaves costs five rows instead of a thousand, and whoever reads a whole log reads a row a
bundle. A segment is what C2SP tlog-tiles calls an entry bundle, begun at any leaf: its key is the index of its
first leaf, it never reaches beyond the bundle of 256 that this leaf lies in, and it is never changed.

Source: docs/storage.md, "Database"; C2SP tlog-tiles, "Log Entries".
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from pyrsia.errors import DatabaseDamaged
from pyrsia.log import tiles
from pyrsia.log.tree import TILE_WIDTH
from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import MAX_ENTRY_BYTES

Row = tuple[int, bytes]  # first leaf, segment
_LENGTH_BYTES: Final = 2


def put(batch: Batch, first: int, leaves: Sequence[bytes]) -> None:
    """Add `leaves`, of which the first is leaf `first` of the log, to a batch.

    Raises:
        ValueError: a leaf is longer than an entry may be.
    """
    at = 0
    while at < len(leaves):
        room = TILE_WIDTH - (first + at) % TILE_WIDTH
        segment = tiles.bundle_encode(leaves[at : at + room])
        batch.put(layout.ENTRIES, layout.number(first + at), segment)
        at += room


def one(database: Database, index: int) -> bytes | None:
    """Leaf `index`, or None beyond the end of the log.

    Raises:
        Refusal: `data-damaged`.
    """
    found = database.at_or_before(layout.ENTRIES, layout.number(index))
    if found is None:
        return None
    first, segment = layout.read_number(found[0]), found[1]
    start = _end(segment, index - first)
    if start is None or start == len(segment):
        return None
    end = _end(segment[start:], 1)
    if end is None:
        raise _damaged(first)
    return segment[start + _LENGTH_BYTES : start + end]


def some(database: Database, first: int, count: int) -> list[bytes]:
    """At most `count` leaves from `first` on, in order; fewer where the log ends.

    Raises:
        Refusal: `data-damaged`.
    """
    leaves: list[bytes] = []
    for start, segment in _rows(database, first, first + count):
        if start > first + len(leaves):
            break  # a hole: what lies behind it is not what comes next
        leaves += _decoded(start, segment)[max(0, first - start) :]
    return leaves[:count]


def bundle(database: Database, index: int, width: int) -> bytes | None:
    """Entry bundle `index` as wide as asked, 1 to 256; None where the log is not that long.

    Raises:
        Refusal: `data-damaged`.
    """
    first = index * TILE_WIDTH
    rows = _rows(database, first, first + width)
    held = 0  # in all rows but the last, known from where the next begins
    for (start, _), (following, _) in pairwise(rows):
        held += following - start
    if not rows or rows[0][0] != first:
        return None
    end = _end(rows[-1][1], width - held)
    if end is None:
        return None
    return b"".join([*(segment for _, segment in rows[:-1]), rows[-1][1][:end]])


def _rows(database: Database, first: int, end: int) -> list[Row]:
    """The segments that hold leaves of [first, end), in order."""
    begin = database.at_or_before(layout.ENTRIES, layout.number(first))
    if begin is None:
        return []
    rows = [(layout.read_number(begin[0]), begin[1])]
    # A row holds one leaf or more, so there are never more rows than leaves.
    following = layout.number(rows[0][0] + 1)
    rest = database.scan(layout.ENTRIES, following, end - first, before=layout.number(end))
    return rows + [(layout.read_number(key), segment) for key, segment in rest]


def _end(segment: bytes, count: int) -> int | None:
    """Where `count` leaves of a segment end."""
    at = 0
    for _ in range(count):
        if at + _LENGTH_BYTES > len(segment):
            return None
        at += _LENGTH_BYTES + int.from_bytes(segment[at : at + _LENGTH_BYTES], "big")
    return at if at <= len(segment) else None


def _decoded(first: int, segment: bytes) -> list[bytes]:
    """Its leaves; as `tiles.bundle_decode` of whatever count, in one walk."""
    leaves: list[bytes] = []
    at, size, number = 0, len(segment), int.from_bytes
    while at < size:
        start = at + _LENGTH_BYTES
        length = number(segment[at:start], "big")
        at = start + length
        if length > MAX_ENTRY_BYTES.value:
            raise _damaged(first)
        leaves.append(segment[start:at])
    if at != size:
        raise _damaged(first)
    return leaves


def _damaged(first: int) -> DatabaseDamaged:
    return DatabaseDamaged(f"the database's leaves from {first} on are not whole")
