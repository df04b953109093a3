"""A state on its way: it grows in the families that are not live, and takes the live one's place by one write.

Whatever interrupts it, a state under construction is whole as far as it goes (rows and the pages over them share a
batch), so a fetch goes on from it, even towards a later point. The node that runs never sees it: a point that is
complete is adopted at the next start, in one batch: all of it or nothing.

Source: docs/storage.md, "Snapshots"; docs/adr/0032.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec
import trio

from pyrsia.ledger import index, places, prefixtree, snapshot, state
from pyrsia.ledger.chain import ChainHead
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.index import PACKAGES, STATE, Trees
from pyrsia.ledger.places import Pair
from pyrsia.ledger.prefixtree import Tree
from pyrsia.ledger.snapshot import Proven
from pyrsia.log import tree as log_tree
from pyrsia.node.log.archive import Archive, Hole, Sealed, generation
from pyrsia.store import layout, segments
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import KEPT_SEALS, Limit
from pyrsia.wire import canonical
from pyrsia.wire.snapshots import Anchor, Place, Row

GONE = Limit(4_096, "rows that go in one batch: their keys and pages stay below a megabyte")
PIECE_BYTES = Limit(
    128 << 10, "rows that come in one batch: with keys, pages and what is made from them some 3 MB"
)

_STAGING: Final = b"staging"
_LENGTH = struct.Struct(">I")


class _Staged(msgspec.Struct, frozen=True, array_like=True):
    """What is under construction: its trees so far; the anchor, once it is complete."""

    trees: dict[str, str | int]
    anchor: bytes = b""


class Staging:
    """The state under construction in `database`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._spare = layout.GENERATIONS[1 - generation(database)]
        raw = database.get(layout.META, _STAGING)
        staged = _Staged({}) if raw is None else msgspec.msgpack.decode(raw, type=_Staged)
        found = Trees.of(staged.trees)
        self._trees = {PACKAGES: found.packages, STATE: found.state}
        self._turn = trio.Lock()

    @property
    def roots(self) -> dict[int, bytes]:
        """Of both trees, so far."""
        return {number: tree.root for number, tree in self._trees.items()}

    def held(self, place: Place) -> bytes | None:
        """The root of what is here below a place; None for nothing."""
        return places.root(self._trees[place.tree], self._fetch, place)

    async def install(self, part: Proven, version: int) -> None:
        """Make these rows, which are proven, all that there is below their place.

        Args:
            version: of the pages, the height of the point that is fetched.

        Raises:
            ProofInvalid: a list of the state that is none.
            Unavailable: the disk said no.
        """
        async with self._turn:
            await self._install(part, version)

    async def _install(self, part: Proven, version: int) -> None:
        number = part.place.tree
        came = {key for key, _ in part.pairs}
        gone = [
            key
            for page in places.pairs(self._trees[number], self._fetch, part.place)
            for key, _ in page
            if key not in came
        ]
        for some in batched(gone, GONE.value):
            await self._apply(number, (), (), some, version)
        at, size = 0, 0
        for end, row in enumerate(part.rows, 1):
            size += sum(map(len, row))
            if size >= PIECE_BYTES.value or end == len(part.rows):
                await self._apply(number, part.rows[at:end], part.pairs[at:end], (), version)
                at, size = end, 0

    async def _apply(
        self, number: int, rows: Sequence[Row], pairs: Sequence[Pair], gone: Sequence[bytes], version: int
    ) -> None:
        """One batch: some rows come or go, with the pages over them and what is made from them."""
        tree, spare, batch = self._trees[number], self._spare, Batch()
        changes: dict[bytes, bytes | None] = dict(pairs)
        changes.update(dict.fromkeys(gone))
        change = prefixtree.update(tree, self._fetch, changes, max(version, tree.version or 0))
        self._without(batch, number, gone)
        for (key, _), row in zip(pairs, rows, strict=True):
            if number == PACKAGES:
                batch.put(spare.pages, index.record_key(key), row[1])
                continue
            batch.put(spare.state, *row).put(spare.keys, key, row[0])
            for made in snapshot.derived(*row):
                batch.put(spare.state, *made)
        for page, data in change.pages.items():
            batch.put(spare.pages, page, data)
        for page in change.dropped:
            batch.delete(spare.pages, page)
        trees = self._trees | {number: change.tree}
        self._keep(batch, trees, b"")
        await self._database.pour(batch)
        self._trees = trees

    def _without(self, batch: Batch, number: int, gone: Sequence[bytes]) -> None:
        """Rows that are no more, and what was made from them."""
        spare = self._spare
        if number == PACKAGES:
            for key in gone:
                batch.delete(spare.pages, index.record_key(key))
            return
        names = self._database.multi_get(spare.keys, gone)
        values = self._database.multi_get(spare.state, [name or b"" for name in names])
        for key, name, value in zip(gone, names, values, strict=True):
            batch.delete(spare.keys, key)
            if name is not None and value is not None:
                batch.delete(spare.state, name)
                for made, _ in snapshot.derived(name, value):
                    batch.delete(spare.state, made)

    async def complete(self, anchor: Anchor) -> None:
        """All rows are here: the next start adopts the point. On disk when this returns."""
        batch = Batch()
        self._keep(batch, self._trees, anchor.encode())
        self._database.write(batch)
        await self._database.sync()

    def _keep(self, batch: Batch, trees: dict[int, Tree], anchor: bytes) -> None:
        value = Trees(trees[PACKAGES], trees[STATE]).value()
        batch.put(layout.META, _STAGING, msgspec.msgpack.encode(_Staged(value, anchor)))

    def _fetch(self, keys: list[bytes]) -> list[bytes | None]:
        return self._database.multi_get(self._spare.pages, keys)


def adopt(database: Database, genesis: Genesis) -> str:
    """Let a complete point take the place of the live state, if it is further; what was done, in words.

    One batch, durable when this returns. Blocks: for a start only. The anchor was verified before it was staged.

    Raises:
        Unavailable: the disk said no.
    """
    raw = database.get(layout.META, _STAGING)
    staged = None if raw is None else msgspec.msgpack.decode(raw, type=_Staged)
    if staged is None or not staged.anchor:
        return ""
    anchor, archive = Anchor.decode(staged.anchor), Archive(database, genesis)
    batch = Batch()
    if anchor.point.size <= archive.size:  # (the log itself came further meanwhile)
        for family in layout.GENERATIONS[1 - generation(database)]:
            batch.clear(family)
        database.write(batch.delete(layout.META, _STAGING))
        database.flush()
        return ""
    _take_over(batch, archive, database, anchor, Trees.of(staged.trees))
    database.write(batch)
    database.flush()
    return (
        f"began from the state after block {anchor.point.height} (entry {anchor.point.size - 1}); the log before"
        " it is fetched while the node runs"
    )


def _take_over(batch: Batch, archive: Archive, database: Database, anchor: Anchor, trees: Trees) -> None:
    header, point = anchor.block.header, anchor.point
    live = generation(database)
    spare = layout.GENERATIONS[1 - live]
    frontier = snapshot.sealed(anchor, header).frontier
    head = ChainHead(
        block_hash=point.block_hash,
        height=header.height,
        view=header.view,
        time_ms=header.time_ms,
        tree_size=header.tree_size,
        tree_root=header.tree_root,
        beacon=header.beacon,
        frontier=frontier.encode(),
        epoch=header.epoch,
    )
    for family in layout.GENERATIONS[live]:
        batch.clear(family)
    batch.put(layout.META, b"generation", bytes((1 - live,))).put(
        layout.META, b"head", msgspec.msgpack.encode(head)
    )
    batch.delete(layout.META, _STAGING)
    batch.put(spare.state, state.ROOT.encode(), canonical.encode(trees.value()))
    for key, _ in database.scan(layout.SEALS, b"", 2 * KEPT_SEALS.value):
        batch.delete(layout.SEALS, key)
    sealed = Sealed(trees.value(), [])
    batch.put(layout.SEALS, layout.number(point.size - 1), msgspec.msgpack.encode(sealed))
    segments.put(batch, point.size - 1, (anchor.seal,))
    for level, row in enumerate(anchor.edge):
        count = point.size >> 8 * level
        batch.put(layout.TILES, layout.tile(level, (count - 1) // log_tree.TILE_WIDTH), row)
    encoded = anchor.block.encode()
    batch.put(
        layout.BLOCKS,
        layout.number(point.height),
        _LENGTH.pack(len(encoded)) + encoded + anchor.proof.encode(),
    )
    first = archive.size if archive.hole is None else min(archive.hole.first, archive.size)
    hole = Hole(first, point.size, point.size - 1)
    batch.put(layout.META, b"hole", msgspec.msgpack.encode(hole))


def batched(keys: Sequence[bytes], count: int) -> Iterator[list[bytes]]:
    """`keys` in lists of at most `count`."""
    rest = iter(keys)
    while some := list(islice(rest, count)):
        yield some
