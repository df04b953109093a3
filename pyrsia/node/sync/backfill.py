"""The log below a snapshot, fetched while the node runs: entries, tiles, and what is known by them.

From above downwards, since the newest is what people look at. Nothing is believed: the right edge of the tree came
with the snapshot's proof; each full tile is held against its hash in the tile above it, each bundle of entries
against its hash in level 1, or against the leaf hashes of the edge. What entries bring with them (their ids, the
blobs that they name, the histories that they belong to) is made here, not fetched.

Source: docs/storage.md, "Snapshots".
"""

import logging
from collections.abc import Iterator

import trio

from pyrsia._native import merkle
from pyrsia.errors import DatabaseDamaged, Malformed, Refusal, Unavailable
from pyrsia.ledger import entries, index, touches
from pyrsia.ledger.state import View
from pyrsia.log import tiles
from pyrsia.log.tree import TILE_BYTES, TILE_WIDTH
from pyrsia.node.kinds import Method
from pyrsia.node.log.archive import Archive, Hole
from pyrsia.node.sync.snapshots import Liars, Peers
from pyrsia.store import layout, segments
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import HASH_BYTES, SNAPSHOT_ASK_S, Limit, NodeId, TreeSize
from pyrsia.wire import snapshots as wire
from pyrsia.wire.text import b32

BUNDLES_AT_ONCE = Limit(8, "of entries of 250 bytes an answer has room for eight")
PAUSE_S = Limit(1, "after a peer that did not answer, or with nobody linked")

_log = logging.getLogger("pyrsia.backfill")


class Backfill:
    """Fills the hole of one archive."""

    def __init__(self, archive: Archive, database: Database, peers: Peers) -> None:
        self._archive = archive
        self._database = database
        self._peers = peers
        self._liars = Liars()

    async def run(self) -> None:
        """Until the log is whole, or cancelled."""
        while self._archive.hole is not None:
            try:
                if not await self.step():
                    await trio.sleep(PAUSE_S.value)
            except Unavailable as error:
                _log.info("the log below the snapshot has to wait: %s", error)
                await trio.sleep(PAUSE_S.value)
            await trio.lowlevel.checkpoint()
        await self._database.sync()

    async def step(self) -> bool:
        """Fetch some tiles, or some entries; False if nobody could be asked.

        Raises:
            Unavailable: no answer, or our own disk said no.
        """
        hole = self._archive.hole
        if hole is None:
            return True
        if lacking := list(self._lacking_tiles(hole)):
            return await self._fetch_tiles(lacking)
        if not hole.at:
            self._archive.keep_hole(Batch(), None)
            return True
        numbers = range((hole.at - 1) // TILE_WIDTH, -1, -1)[: BUNDLES_AT_ONCE.value]
        wanted = [(number, tiles.width(0, number, TreeSize(hole.end))) for number in numbers]
        if all(self._whole(hole, *one) for one in wanted):
            bundles: list[bytes] = []
            for number, width in wanted:
                bundles.append(segments.bundle(self._database, number, width) or b"")
        else:
            found = await self._ask(Method.BUNDLES, wire.ask_bundles(wanted), len(wanted))
            if found is None:
                return False
            node, bundles = found
            if not bundles:
                return False
            if not self._believed(node, wanted, bundles):
                return True
        for (number, width), bundle in zip(wanted, bundles, strict=False):
            self._keep(number, width, bundle)
            await trio.lowlevel.checkpoint()  # a bundle takes milliseconds
        return True

    def _whole(self, hole: Hole, number: int, width: int) -> bool:
        """Whether a bundle's entries and tile were here before the snapshot."""
        return (number + 1) * TILE_WIDTH <= hole.first and (
            segments.bundle(self._database, number, width) is not None
        )

    # -- tiles above level 0 --

    def _lacking_tiles(self, hole: Hole) -> Iterator[tuple[int, int]]:
        """Full tiles of the highest level that lacks some, a question's worth."""
        for level in reversed(range(1, wire.MAX_LEVELS.value)):
            count = 0
            for number in range(hole.first >> 8 * (level + 1), hole.end >> 8 * (level + 1)):
                if len(self._tile(level, number)) < TILE_BYTES:
                    yield level, number
                    count += 1
                    if count == wire.MAX_TILES.value:
                        return
            if count:
                return

    async def _fetch_tiles(self, wanted: list[tuple[int, int]]) -> bool:
        found = await self._ask(Method.TILES, wire.ask_tiles(wanted), len(wanted))
        if found is None or not found[1]:
            return False
        node, pieces = found
        batch = Batch()
        for (level, number), tile in zip(wanted, pieces, strict=False):
            if len(tile) != TILE_BYTES or merkle.tile_root(tile) != self._above(level, number):
                self._lied(node, "a tile that does not lead to the root")
                return True
            batch.put(layout.TILES, layout.tile(level, number), tile)
        self._database.write(batch)
        return True

    def _tile(self, level: int, number: int) -> bytes:
        return self._database.get(layout.TILES, layout.tile(level, number)) or b""

    def _above(self, level: int, number: int) -> bytes:
        """The root of a full tile, as the level above has it."""
        at = HASH_BYTES * (number % TILE_WIDTH)
        root = self._tile(level + 1, number // TILE_WIDTH)[at : at + HASH_BYTES]
        if not root:
            raise DatabaseDamaged(f"tile {number // TILE_WIDTH} of level {level + 1} lacks what its log has")
        return root

    # -- entries --

    def _believed(self, node: NodeId, wanted: list[tuple[int, int]], bundles: list[bytes]) -> bool:
        """Whether all bundles are those of the log; else their sender is to blame, and none is kept."""
        for (number, width), bundle in zip(wanted, bundles, strict=False):
            try:
                hashes = tiles.bundle_hashes(bundle, width)
            except Malformed as error:
                self._lied(node, str(error))
                return False
            if width == TILE_WIDTH:
                right = merkle.tile_root(hashes) == self._above(0, number)
            else:
                right = hashes == self._tile(0, number)[: len(hashes)]
            if not right:
                self._lied(node, "entries that do not lead to the root")
                return False
        return True

    def _keep(self, number: int, width: int, bundle: bytes) -> None:
        """One bundle of verified entries, with its tile and all that is known by them, in one batch."""
        archive, hole = self._archive, self._archive.hole
        if hole is None:
            return
        first = number * TILE_WIDTH
        batch = Batch()
        leaves = tiles.bundle_decode(bundle, width)
        hashes = tiles.bundle_hashes(bundle, width)
        # What is here of the bundle may begin anywhere in it; one row takes the place of all of them.
        for key, _ in self._database.scan(
            layout.ENTRIES, layout.number(first), TILE_WIDTH, before=layout.number(first + width)
        ):
            batch.delete(layout.ENTRIES, key)
        segments.put(batch, first, leaves)
        if len(hashes) > len(self._tile(0, number)):
            batch.put(layout.TILES, layout.tile(0, number), hashes)
        self._know(batch, first, leaves, hashes)
        archive.keep_hole(batch, Hole(hole.first, hole.end, first))

    def _know(self, batch: Batch, first: int, leaves: tuple[bytes, ...], hashes: bytes) -> None:
        """Ids, named blobs and rows of histories of these entries."""
        view = View(self._archive.state)
        named: dict[bytes, int] = {}
        for at, leaf in enumerate(leaves):
            place = first + at
            entry = entries.parse(leaf)
            if entry.author is not None:
                batch.put(layout.IDS, entry.id, layout.number(place))
            named.update(dict.fromkeys(entries.manifests(leaf), place))
            leaf_hash = hashes[HASH_BYTES * at : HASH_BYTES * (at + 1)]
            for key in touches.touched(entry, view):
                batch.put(self._archive.live.pages, index.row_key(key, place), leaf_hash)
        known = self._database.multi_get(layout.NAMED, list(named))
        for (manifest, place), newer in zip(named.items(), known, strict=True):
            if newer is None:
                batch.put(layout.NAMED, manifest, layout.number(place))

    # -- peers --

    async def _ask(self, method: Method, question: bytes, most: int) -> tuple[NodeId, list[bytes]] | None:
        """The next peer's answer; None with nobody to ask."""
        nodes = self._peers.drawn(self._liars)
        if not nodes:
            return None
        node = nodes[0]
        try:
            data = await self._peers.request(node, method, question, float(SNAPSHOT_ASK_S.value))
            return node, list(wire.decode_pieces(data, most))
        except Refusal as refusal:
            raise Unavailable(f"{b32(node)[:8]} refused: {refusal.what}") from None
        except Malformed as error:
            self._lied(node, str(error))
            return node, []

    def _lied(self, node: NodeId, why: str) -> None:
        _log.warning("%s lied about the log: %s", b32(node)[:8], why)
        self._liars.add(node)
        self._peers.blame(node, why)
