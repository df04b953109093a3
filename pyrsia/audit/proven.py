"""A log at one head, read from whoever has it, believed only where it leads to the head's root.

Entries come a bundle at a time. One inclusion proof, that of a bundle's first leaf, holds all of it: the other
leaves are in its sibling hashes, which are computed from the bundle's own bytes; the rest of the way comes from
tiles. So a liar can withhold, and change nothing.

Source: docs/auditing.md, "Tail"; C2SP tlog-tiles; RFC 9162 sections 2.1.3.2 and 2.1.4.2.
"""

from collections import OrderedDict
from collections.abc import Iterator

from pyrsia._native import merkle
from pyrsia.audit.sources import Source
from pyrsia.errors import Malformed, ProofInvalid
from pyrsia.log import tiles, tree
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.tiles import TILE_HEIGHT, Bundle, Tile
from pyrsia.log.tree import TILE_WIDTH, Coord
from pyrsia.units import HASH_BYTES, LeafIndex, Limit, TreeSize

KEPT_TILES = Limit(64, "the way to any leaf of the largest log has seven tiles; half a megabyte")


class ProvenLog:
    """For one thread; `source` may be shared. Every method may raise what the source raises."""

    def __init__(self, source: Source, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._source = source
        self._tiles: OrderedDict[Tile, bytes] = OrderedDict()

    def begins_with(self, old: Checkpoint) -> bool:
        """Whether this log's first `old.size` leaves are those of `old`, 1 <= old.size <= size.

        Yes and no are both proved: the root of those leaves is computed from tiles that lead to our own root.

        Raises:
            ProofInvalid: the tiles do not lead to it, so that nothing is known.
        """
        size, root = self.checkpoint.size, self.checkpoint.root
        if old.size == size:
            return old.root == root
        ours = _folded(self._nodes(_peaks(old.size)))
        proof = tree.consistency_proof(old.size, size, self._nodes)
        tree.verify_consistency(old.size, ours, size, root, proof)
        return ours == old.root

    def included(self, index: int, leaf_hash: bytes) -> None:
        """Return if the leaf with this hash stands at `index`.

        Raises:
            ProofInvalid: it is not proved.
        """
        size, root = self.checkpoint.size, self.checkpoint.root
        if not 0 <= index < size:
            raise ProofInvalid(f"leaf {index} is not in a log of {size}")
        proof = tree.inclusion_proof(LeafIndex(index), size, self._nodes)
        tree.verify_inclusion(leaf_hash, index, size, proof, root)

    def bundle(self, index: int) -> tuple[bytes, ...]:
        """Every entry of bundle `index`, each in its place in the log.

        Raises:
            ProofInvalid: they are not those of the log.
            ValueError: the log is not that long.
        """
        size, first = self.checkpoint.size, index * TILE_WIDTH
        width = tiles.width(0, index, size)
        entries = tiles.bundle_decode(self._source.bundle(Bundle(index, width)), width)
        hashes = merkle.leaf_hashes(entries)

        def nodes(wanted: list[Coord]) -> list[bytes]:
            inside = [_within(coord, first, width) for coord in wanted]
            asked = iter(self._nodes([coord for coord, own in zip(wanted, inside, strict=True) if not own]))
            return [
                _node(hashes, coord, first) if own else next(asked)
                for coord, own in zip(wanted, inside, strict=True)
            ]

        proof = tree.inclusion_proof(LeafIndex(first), size, nodes)
        tree.verify_inclusion(hashes[:HASH_BYTES], first, size, proof, self.checkpoint.root)
        return entries

    def entries(self, first: int, end: int) -> Iterator[tuple[int, bytes]]:
        """(index, entry) from `first` up to `end`, that one excluded; 0 <= first <= end <= size."""
        at = first
        while at < end:
            number, within = divmod(at, TILE_WIDTH)
            for entry in self.bundle(number)[within:]:
                if at < end:
                    yield at, entry
                at += 1

    def _nodes(self, wanted: list[Coord]) -> list[bytes]:
        size = self.checkpoint.size
        return tiles.nodes_in(wanted, size, {one: self._tile(one) for one in tiles.plan_tiles(wanted, size)})

    def _tile(self, tile: Tile) -> bytes:
        found = self._tiles.get(tile)
        if found is None:
            found = self._tiles[tile] = self._source.tile(tile)
            if len(self._tiles) > KEPT_TILES.value:
                self._tiles.popitem(last=False)
        else:
            self._tiles.move_to_end(tile)
        return found


def _within(coord: Coord, first: int, width: int) -> bool:
    level, index = coord
    return level <= TILE_HEIGHT and first <= index << level and (index + 1) << level <= first + width


def _node(hashes: bytes, coord: Coord, first: int) -> bytes:
    level, index = coord
    at = ((index << level) - first) * HASH_BYTES
    return merkle.tile_root(hashes[at : at + (HASH_BYTES << level)])


def _peaks(size: TreeSize) -> list[Coord]:
    """The perfect subtrees that a tree of `size` is the sum of, largest first."""
    found: list[Coord] = []
    low = 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            found.append((level, low >> level))
            low += 1 << level
    return found


def _folded(peaks: list[bytes]) -> bytes:
    if any(len(one) != HASH_BYTES for one in peaks):
        raise Malformed("a hash is not 32 bytes long")
    root = peaks[-1]
    for left in reversed(peaks[:-1]):
        root = tree.hash_children(left, root)
    return root
