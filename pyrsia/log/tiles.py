"""C2SP tlog-tiles: how a log lies in files. Paths, widths, entry bundles, nodes out of tiles.

Strict both ways: one path per tile, one encoding per bundle. Which tile is stored where, and answering
with 404, are the business of store and serve. A partial tile is a prefix of the full one, so whoever
holds a wide one can serve every narrower width.

Source: C2SP tlog-tiles.md; docs/log.md, "Tiles".
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pyrsia._native import merkle
from pyrsia.errors import Malformed
from pyrsia.log.tree import TILE_WIDTH, Coord, Nodes
from pyrsia.units import HASH_BYTES, MAX_ENTRY_BYTES, MAX_TREE_SIZE, LeafIndex, TreeSize

TILE_HEIGHT: Final = 8  # levels of nodes in one tile
MAX_TILE_LEVEL: Final = 63 // TILE_HEIGHT  # of the largest size that the format can write

FORMAT_ENTRY_BYTES: Final = 65_535  # what a bundle's u16 can say; our own entries end at MAX_ENTRY_BYTES
_LENGTH_BYTES: Final = 2
_PATH: Final = re.compile(
    r"tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/)*)([0-9]{3})(?:\.p/([0-9]{1,3}))?", re.ASCII
)


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """`width` hashes (1..256) of tile `index` on tile level `level`."""

    level: int
    index: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """`tile/<L>/<N>[.p/<W>]`."""
        return f"tile/{self.level}/{_numbered(self.index, self.width)}"


@dataclass(frozen=True, slots=True, order=True)
class Bundle:
    """`width` entries (1..256), of which the first is leaf 256 * `index`."""

    index: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """`tile/entries/<N>[.p/<W>]`."""
        return f"tile/entries/{_numbered(self.index, self.width)}"


def parse(path: str) -> Tile | Bundle:
    """What `path` names; `parse(x.path) == x` and nothing else parses.

    Raises:
        Malformed: not a path of the format, or not the one way to write it.
    """
    found = _PATH.fullmatch(path) if len(path) <= 64 else None
    if found is None:
        raise Malformed("not a tile path")
    kind, groups, last, partial = found.groups()
    index = int(groups.replace("x", "").replace("/", "") + last)
    width = TILE_WIDTH if partial is None else int(partial)
    if index > MAX_TREE_SIZE.value or not 1 <= width <= TILE_WIDTH:
        raise Malformed("a tile path with a number out of range")
    named: Tile | Bundle = Bundle(index, width) if kind == "entries" else Tile(int(kind), index, width)
    # Refuses leading zeros, empty groups in front, and .p/256.
    if named.path != path or (isinstance(named, Tile) and named.level > MAX_TILE_LEVEL):
        raise Malformed("not the way to write this tile path")
    return named


def _numbered(index: int, width: int) -> str:
    """Groups of three digits, all but the last with an x in front; then the width unless full."""
    groups = [f"{index % 1000:03d}"]
    while index >= 1000:
        index //= 1000
        groups.append(f"x{index % 1000:03d}")
    return "/".join(reversed(groups)) + ("" if width == TILE_WIDTH else f".p/{width}")


# -- widths --


def width(level: int, index: int, size: TreeSize) -> int:
    """How many hashes tile (level, index) holds in a log of `size`: 0 (no such tile) to 256.

    At level 0 it is also how many entries bundle `index` holds.
    """
    return max(0, min(TILE_WIDTH, (size >> TILE_HEIGHT * level) - index * TILE_WIDTH))


# A node only serves; this, `bundle_decode` and `Frontier.from_tiles` are for who reads a whole log: the log
# tools (copy, check), and today the tests, which read like one.


def tiles_of(size: TreeSize) -> Iterator[Tile]:
    """Every tile of a log of `size`, level by level."""
    level = 0
    while size >> TILE_HEIGHT * level:
        for index in range(-(-(size >> TILE_HEIGHT * level) // TILE_WIDTH)):
            yield Tile(level, index, width(level, index, size))
        level += 1


# -- nodes out of tiles --


def tile_of(coord: Coord, size: TreeSize) -> Tile:
    """The tile, as wide as a log of `size` has it, whose hashes give node `coord`.

    Raises:
        ValueError: the node is not a whole subtree of a log of `size`.
    """
    level, index = _above(coord, size)
    return Tile(level, index, width(level, index, size))


def _above(coord: Coord, size: TreeSize) -> tuple[int, int]:
    """(level, index) of that tile."""
    level, index = coord
    if (index + 1) << level > size:
        raise ValueError(f"node {coord} is not in a log of {size}")
    return level // TILE_HEIGHT, index >> (TILE_HEIGHT - level % TILE_HEIGHT)


def plan_tiles(coords: Sequence[Coord], size: TreeSize) -> list[Tile]:
    """The tiles to fetch for `coords`, each once."""
    places = sorted({_above(coord, size) for coord in coords})
    return [Tile(level, index, width(level, index, size)) for level, index in places]


def nodes_in(coords: Sequence[Coord], size: TreeSize, fetched: Mapping[Tile, bytes]) -> list[bytes]:
    """The hashes of `coords`, from the tiles that `plan_tiles` named.

    Raises:
        Malformed: a tile is missing or has not the length that its width says.
    """
    found: list[bytes] = []
    whole: dict[tuple[int, int], bytes] = {}  # a proof has some eight nodes in one tile
    for coord in coords:
        place = _above(coord, size)
        rows = whole.get(place)
        if rows is None:
            tile = Tile(*place, width(*place, size))
            rows = whole[place] = fetched.get(tile, b"")
            if len(rows) != tile.width * HASH_BYTES:
                raise Malformed(f"{tile.path} is not {tile.width} hashes")
        level, index = coord
        within = level % TILE_HEIGHT
        at = (index << within) % TILE_WIDTH * HASH_BYTES
        found.append(merkle.tile_root(rows[at : at + (HASH_BYTES << within)]))
    return found


def reader(size: TreeSize, fetched: Mapping[Tile, bytes]) -> Nodes:
    """`nodes` for `tree.inclusion_proof` and `tree.consistency_proof`, out of tiles at hand."""
    return lambda coords: nodes_in(coords, size, fetched)


# -- entry bundles --


def bundle_encode(entries: Sequence[bytes]) -> bytes:
    """Each entry behind its length as u16 BE.

    Raises:
        ValueError: no entry, more than 256, or one beyond `MAX_ENTRY_BYTES`.
    """
    if not 1 <= len(entries) <= TILE_WIDTH:
        raise ValueError(f"a bundle holds 1 to {TILE_WIDTH} entries, not {len(entries)}")
    if any(len(entry) > MAX_ENTRY_BYTES.value for entry in entries):
        raise ValueError("an entry is too long for a bundle")
    return b"".join(len(entry).to_bytes(_LENGTH_BYTES, "big") + entry for entry in entries)


def bundle_decode(data: bytes, count: int, largest: int = MAX_ENTRY_BYTES.value) -> tuple[bytes, ...]:
    """Exactly `count` entries, no byte left over.

    Args:
        largest: bytes of the largest entry; for a log of others `FORMAT_ENTRY_BYTES`.

    Raises:
        Malformed: the bytes end early, go on, or hold an entry beyond `largest`.
    """
    entries: list[bytes] = []
    at = 0
    for _ in range(count):
        start = at + _LENGTH_BYTES
        length = int.from_bytes(data[at:start], "big")
        at = start + length
        if length > largest or at > len(data):
            raise Malformed("an entry bundle ends early or holds an entry too long")
        entries.append(data[start:at])
    if at != len(data):
        raise Malformed(f"an entry bundle goes on after {count} entries")
    return tuple(entries)


def bundle_hashes(data: bytes, count: int, largest: int = MAX_ENTRY_BYTES.value) -> bytes:
    """The leaf hashes of what `bundle_decode` would give, 32 bytes each, without an object per entry.

    Raises:
        Malformed: as for `bundle_decode`.
    """
    try:
        return merkle.bundle_hashes(data, count, largest)
    except ValueError as error:
        raise Malformed(str(error)) from error


def place(index: LeafIndex) -> tuple[int, int]:
    """(bundle index, position in it) of a leaf."""
    return divmod(index, TILE_WIDTH)
