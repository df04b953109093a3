"""What makes a log whole: entries that give its hashes, hashes that give its root. Pure; others fetch.

Whoever checks a log walks its bundles in order. `entry_hashes` is what a bundle says, `same_rows` compares it
with a tile that says the same, `Rising` turns full tiles of level 0 into what every tile above must be and, at
the end, into the root. Whoever copies a log goes the other way: `ProvenTiles` takes tiles from the root down, so
that nothing is believed, or written, before it is part of the tree that was signed.

What is wrong is a `Wrong`: which object, which entry or hash, which byte, what should stand there.

Source: C2SP tlog-tiles v0.1.0; RFC 6962, 2.1; docs/auditing.md, "What fsck checks".
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pyrsia._native import form, merkle
from pyrsia.errors import Malformed, ProofInvalid
from pyrsia.log import tiles, tree
from pyrsia.log.tiles import TILE_HEIGHT, Bundle, Tile
from pyrsia.log.tree import EMPTY_ROOT, TILE_BYTES, TILE_WIDTH, Frontier
from pyrsia.units import HASH_BYTES, LeafIndex, TreeSize

_LENGTH_BYTES: Final = 2
_MAX_ENTRY_BYTES: Final = (1 << 16) - 1  # what the format's length can say; ours end at 60,000
_NO_LEAVES: Final = TreeSize(0)

FetchTile = Callable[[Tile], bytes]
"""A tile's hashes, as many as its width says; raises an error family of ours."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One wrong thing, as exactly as it can be named.

    Attributes:
        path: of the object below the log.
        what: the sentence.
        entry: leaf index in the log, if one entry is wrong.
        hash: position in the whole row of the tile's level, if one hash is wrong.
        offset: of the first wrong byte, or of the entry or hash, in the object.
        expected, found: hex of hashes, or a few words.
    """

    path: str
    what: str
    entry: int | None = None
    hash: int | None = None
    offset: int | None = None
    expected: str = ""
    found: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form; what does not apply is left out."""
        fields = {name: getattr(self, name) for name in ("entry", "hash", "offset")}
        texts = {name: getattr(self, name) for name in ("expected", "found")}
        return {
            "path": self.path,
            "what": self.what,
            **{name: value for name, value in fields.items() if value is not None},
            **{name: value for name, value in texts.items() if value},
        }


class Wrong(ProofInvalid):
    """An object that is not what the log says it is."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.path}: {fault.what}")
        self.fault = fault


# -- entries --


def entries_in(bundle: Bundle, data: bytes) -> list[bytes]:
    """The entries of a bundle, as many as its width says and no byte more; each up to 65,535 bytes.

    Raises:
        Wrong: the bytes end early or go on.
    """
    found: list[bytes] = []
    at = 0
    for position in range(bundle.width):
        start = at + _LENGTH_BYTES
        end = start + int.from_bytes(data[at:start], "big")
        if end > len(data) or start > len(data):
            raise Wrong(
                Fault(
                    bundle.path,
                    "the bundle ends inside an entry",
                    entry=bundle.index * TILE_WIDTH + position,
                    offset=at,
                    expected=f"{end - at} more bytes" if start <= len(data) else "an entry",
                    found=f"{len(data) - at} bytes",
                )
            )
        found.append(data[start:end])
        at = end
    if at != len(data):
        raise Wrong(
            Fault(
                bundle.path,
                "the bundle goes on after its last entry",
                offset=at,
                expected=f"{bundle.width} entries in {at} bytes",
                found=f"{len(data)} bytes",
            )
        )
    return found


def entry_hashes(bundle: Bundle, data: bytes, *, formed: bool) -> bytes:
    """The leaf hashes of a bundle's entries, 32 bytes each.

    Args:
        formed: the entries must be canonical JSON of at most 60,000 bytes, as in a log of Pyrsia.

    Raises:
        Wrong: the bundle is not so many entries, or one has not that form.
    """
    try:
        hashes = merkle.bundle_hashes(data, bundle.width, _MAX_ENTRY_BYTES)
    except ValueError:
        entries_in(bundle, data)  # says where
        raise
    if formed:
        position = form.first_malformed(data, bundle.width)
        if position >= 0:
            raise _malformed(bundle, data, position)
    return hashes


def _malformed(bundle: Bundle, data: bytes, position: int) -> Wrong:
    at = form.malformed_at(entries_in(bundle, data)[position])
    return Wrong(
        Fault(
            bundle.path,
            f"an entry is not canonical JSON from its byte {at} on",
            entry=bundle.index * TILE_WIDTH + position,
            offset=offset_of(data, position) + at,
        )
    )


def wrong_entry(bundle: Bundle, data: bytes, found: bytes, signed: bytes) -> Wrong:
    """The first entry of a bundle whose hash in `found` is not the one in `signed`."""
    position = first_difference(found, signed)
    at = position * HASH_BYTES
    return Wrong(
        Fault(
            bundle.path,
            "an entry is not the one that was signed",
            entry=bundle.index * TILE_WIDTH + position,
            offset=offset_of(data, position),
            expected=signed[at : at + HASH_BYTES].hex(),
            found=found[at : at + HASH_BYTES].hex(),
        )
    )


def offset_of(data: bytes, position: int) -> int:
    """Where the entry at `position` begins in a bundle, behind its length."""
    at = 0
    for _ in range(position):
        at += _LENGTH_BYTES + int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
    return at + _LENGTH_BYTES


# -- rows of hashes --


def same_rows(tile: Tile, stored: bytes, computed: bytes, what: str) -> None:
    """Return if a tile's stored hashes are the computed ones.

    Raises:
        Wrong: the first hash that differs.
    """
    if stored == computed:
        return
    position = first_difference(stored, computed)
    at = position * HASH_BYTES
    raise Wrong(
        Fault(
            tile.path,
            what,
            hash=tile.index * TILE_WIDTH + position,
            offset=at,
            expected=computed[at : at + HASH_BYTES].hex(),
            found=stored[at : at + HASH_BYTES].hex(),
        )
    )


def first_difference(one: bytes, other: bytes) -> int:
    """The position of the first hash in which two rows differ."""
    for position in range(max(len(one), len(other)) // HASH_BYTES):
        at = position * HASH_BYTES
        if one[at : at + HASH_BYTES] != other[at : at + HASH_BYTES]:
            return position
    raise ValueError("two rows that are equal")


@dataclass(slots=True)
class Rising:
    """The tree above level 0, from the roots of its full tiles in order."""

    _above: Frontier = field(default_factory=Frontier)

    def add(self, roots: bytes) -> Iterator[tuple[Tile, bytes]]:
        """Take roots of the next full tiles of level 0; every tile above that is full by now, with its hashes."""
        self._above, changed = self._above.append(roots)
        for (level, index), hashes in sorted(changed.items()):
            if len(hashes) == TILE_BYTES:
                yield Tile(level + 1, index), hashes

    def rest(self) -> Iterator[tuple[Tile, bytes]]:
        """The tiles above level 0 that are not full at the end, with their hashes."""
        for level, hashes in enumerate(self._above.edge):
            if hashes:
                yield (
                    Tile(level + 1, self._above.size >> TILE_HEIGHT * (level + 1), len(hashes) // HASH_BYTES),
                    hashes,
                )

    def root(self, last: bytes) -> bytes:
        """The root, `last` being the hashes of the last tile of level 0 if that is not full."""
        size = self._above.size * TILE_WIDTH + len(last) // HASH_BYTES
        edge = (last, *self._above.edge) if size else ()
        return Frontier(TreeSize(size), edge).root()


# -- from a root down --


def leads_to(root: bytes, size: TreeSize, level: int, index: int, node: bytes, fetch: FetchTile) -> bool:
    """Whether `node`, as the root of the full subtree (level, index), leads to `root` through the fetched tiles."""
    first = LeafIndex(index << level)
    proof = tree.inclusion_proof(first, size, lambda coords: _nodes(coords, size, fetch))
    # Above a full subtree the tree has the shape of one whose leaves are such subtrees, the last perhaps smaller.
    return tree.root_from_inclusion(node, index, -(-size >> level), proof[level:]) == root


def _nodes(coords: list[tree.Coord], size: TreeSize, fetch: FetchTile) -> list[bytes]:
    return tiles.nodes_in(coords, size, {tile: fetch(tile) for tile in tiles.plan_tiles(coords, size)})


@dataclass(slots=True)
class ProvenTiles:
    """Tiles of one signed tree, each proven before it is given: by its place in a tile above, or by the root.

    At most one tile of each level is remembered, so reading in order fetches each tile above level 0 once.

    Attributes:
        size, root: of the tree, as signed.
        fetch: where tiles come from.
    """

    size: TreeSize
    root: bytes
    fetch: FetchTile
    _edge: dict[Tile, bytes] | None = None
    _kept: dict[int, tuple[Tile, bytes]] = field(default_factory=dict)

    def tile(self, level: int, index: int) -> bytes:
        """The hashes of a tile, as wide as the tree has it.

        Raises:
            Wrong: what was fetched is not part of the tree.
            ValueError: the tree has no such tile.
        """
        tile = Tile(level, index, tiles.width(level, index, self.size))
        if tile.width == 0:
            raise ValueError(f"{tile.path} is not in a log of {self.size}")
        if tile.width < TILE_WIDTH:
            return self._proven_edge()[tile]
        kept = self._kept.get(level)
        if kept is None or kept[0] != tile:
            kept = (tile, self._checked(tile))
            self._kept[level] = kept
        return kept[1]

    def nodes(self, coords: list[tree.Coord]) -> list[bytes]:
        """`nodes` for `tree.consistency_proof`."""
        return _nodes(coords, self.size, lambda tile: self.tile(tile.level, tile.index))

    def _checked(self, tile: Tile) -> bytes:
        above = self.tile(tile.level + 1, tile.index // TILE_WIDTH)
        at = tile.index % TILE_WIDTH * HASH_BYTES
        expected = above[at : at + HASH_BYTES]
        data = _exact(tile, self.fetch(tile))
        found = merkle.tile_root(data)
        if found != expected:
            raise Wrong(
                Fault(
                    tile.path,
                    "the tile is not the one that the signed tree has there",
                    expected=expected.hex(),
                    found=found.hex(),
                )
            )
        return data

    def _proven_edge(self) -> dict[Tile, bytes]:
        """The partial tiles, one a level at most: together they are the root."""
        if self._edge is None:
            edge: dict[Tile, bytes] = {}
            rows: list[bytes] = []
            level = 0
            while count := self.size >> TILE_HEIGHT * level:
                index, width = divmod(count, TILE_WIDTH)
                tile = Tile(level, index, width) if width else None
                rows.append(_exact(tile, self.fetch(tile)) if tile else b"")
                if tile:
                    edge[tile] = rows[-1]
                level += 1
            found = Frontier(self.size, tuple(rows)).root() if self.size else EMPTY_ROOT
            if found != self.root:
                raise self._wrong_edge(sorted(edge), found)
            self._edge = edge
        return self._edge

    def _wrong_edge(self, edge: list[Tile], found: bytes) -> Wrong:
        """Which of the last tiles is wrong cannot be told without all that lies below them."""
        others = ", ".join(tile.path for tile in edge[1:])
        what = (
            f"it does not give the signed root, together with {others}"
            if others
            else "it is not the signed tree"
        )
        path = edge[0].path if edge else "checkpoint"
        return Wrong(Fault(path, what, expected=self.root.hex(), found=found.hex()))


def _exact(tile: Tile, data: bytes) -> bytes:
    if len(data) != tile.width * HASH_BYTES:
        raise Wrong(
            Fault(
                tile.path,
                "the tile has another length",
                expected=f"{tile.width * HASH_BYTES} bytes",
                found=f"{len(data)} bytes",
            )
        )
    return data


def check_growth(proven: ProvenTiles, old_size: TreeSize, old_root: bytes) -> None:
    """Return if the tree of `proven` begins with all of the tree of `old_size` leaves.

    Raises:
        ProofInvalid: it does not, or it is smaller.
    """
    if old_size == _NO_LEAVES:
        return
    if old_size > proven.size:
        raise ProofInvalid(f"{proven.size} leaves cannot hold {old_size}")
    if old_size == proven.size:
        tree.verify_consistency(old_size, old_root, proven.size, proven.root, [])
        return
    proof = tree.consistency_proof(old_size, proven.size, proven.nodes)
    tree.verify_consistency(old_size, old_root, proven.size, proven.root, proof)


def blamed(fault: Fault, **changes: Any) -> Wrong:
    """`fault` told of another object or with other words."""
    return Wrong(replace(fault, **changes))


def checked(path: str, error: Malformed) -> Wrong:
    """`error`, met while `path` was read, as a `Wrong`."""
    return error if isinstance(error, Wrong) else Wrong(Fault(path, str(error)))
