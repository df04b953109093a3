"""Two objects of a log contradict each other: the one that leads to the signed root is right.

Source: docs/auditing.md, "What fsck checks".
"""

from dataclasses import dataclass

from pyrsia.errors import Malformed, Unavailable
from pyrsia.log import tiles
from pyrsia.log.checking import Fault, FetchTile, Wrong, blamed, first_difference, leads_to, wrong_entry
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.tiles import Bundle, Tile
from pyrsia.log.tree import TILE_WIDTH
from pyrsia.units import HASH_BYTES


@dataclass(frozen=True, slots=True)
class Blame:
    """The judge: `tree` is the signed one, `fetch` gives the tiles that lie there, wrong ones among them."""

    tree: Checkpoint
    fetch: FetchTile

    def between(self, bundle: Bundle, data: bytes, hashes: bytes, tile: Tile, stored: bytes) -> Wrong:
        """A bundle and its tile differ: the one that leads to the signed root is right."""
        position = first_difference(hashes, stored)
        at = position * HASH_BYTES
        ours, theirs = hashes[at : at + HASH_BYTES], stored[at : at + HASH_BYTES]
        index = tile.index * TILE_WIDTH + position
        if self._leads(0, index, theirs, tile, stored):
            return wrong_entry(bundle, data, hashes, stored)
        sure = self._leads(0, index, ours, tile, hashes)
        what = "a hash is not that of its entry" + ("" if sure else ", and the signed root bears out neither")
        return Wrong(Fault(tile.path, what, hash=index, offset=at, expected=ours.hex(), found=theirs.hex()))

    def deeper(self, tile: Tile, stored: bytes, wrong: Wrong) -> Wrong:
        """If what stands above was signed, all below it was changed, and to the same end."""
        index = wrong.fault.hash or 0
        at = index % TILE_WIDTH * HASH_BYTES
        if not self._leads(tile.level * tiles.TILE_HEIGHT, index, stored[at : at + HASH_BYTES], tile, stored):
            return wrong
        below = Tile(tile.level - 1, index)
        return blamed(
            wrong.fault,
            path=below.path,
            what="it agrees with what lies below it, and none of that was signed",
            hash=None,
            offset=None,
            expected=wrong.fault.found,
            found=wrong.fault.expected,
        )

    def _leads(self, level: int, index: int, node: bytes, tile: Tile, rows: bytes) -> bool:
        def fetch(wanted: Tile) -> bytes:
            return rows if wanted == tile else self.fetch(wanted)

        try:
            return leads_to(self.tree.root, self.tree.size, level, index, node, fetch)
        except (Malformed, Unavailable):
            return False
