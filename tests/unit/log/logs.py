"""A log in memory: entries, tiles and the frontier, grown as a store would."""

from collections.abc import Iterable, Sequence

from pyrsia._native import merkle
from pyrsia.log import tiles, tree
from pyrsia.units import TreeSize


class Log:
    def __init__(self, entries: Iterable[bytes] = ()) -> None:
        self.entries: list[bytes] = []
        self.frontier = tree.Frontier()
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.append(list(entries))

    def append(self, entries: Sequence[bytes]) -> None:
        self.entries += entries
        self.frontier, updates = self.frontier.append(merkle.leaf_hashes(entries))
        self.tiles.update(updates)

    def nodes(self, size: int | None = None) -> tree.Nodes:
        """Nodes read through tiles as wide as a log of `size` serves them."""
        at = TreeSize(self.frontier.size if size is None else size)

        def read(coords: list[tree.Coord]) -> list[bytes]:
            wanted = tiles.plan_tiles(coords, at)
            fetched = {tile: self.tiles[tile.level, tile.index][: 32 * tile.width] for tile in wanted}
            return tiles.nodes_in(coords, at, fetched)

        return read

    def bundle(self, bundle: tiles.Bundle) -> bytes:
        first = 256 * bundle.index
        return tiles.bundle_encode(self.entries[first : first + bundle.width])


def numbered(n: int) -> list[bytes]:
    return [b"entry %d" % i for i in range(n)]
