"""What this node gives to those that are far behind: points whose state it keeps for a while, and the log itself.

Every node keeps the state at the same points, so that one that is behind can ask many for parts of one state: after
the first sealed block of each minute of block time, and, when the log is at rest, after its newest one. A moment of
the database is kept for each, which costs room only as the state changes; the oldest goes.

Source: docs/storage.md, "Snapshots"; docs/network.md, "Requests".
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import trio

from pyrsia.consensus import catchup
from pyrsia.errors import Refusal
from pyrsia.ledger import index, snapshot, views
from pyrsia.ledger.index import PACKAGES, STATE
from pyrsia.ledger.prefixtree import Tree
from pyrsia.net.requests import Handler
from pyrsia.node.kinds import Method, nothing
from pyrsia.node.log.archive import Archive
from pyrsia.store.layout import Generation
from pyrsia.store.rocks import Database, Frozen
from pyrsia.units import SNAPSHOT_ANSWER_BYTES, Limit, NodeId
from pyrsia.wire import snapshots as wire
from pyrsia.wire.epochs import EpochEnd
from pyrsia.wire.snapshots import Anchor, Point, Row, Step

KEPT_POINTS = Limit(8, "minutes for one transfer, which takes less than one; older states cost room")
READERS = Limit(1, "answers read at once, in a thread: those who vote must not wait for those who are behind")
EVERY_MS: Final = 60_000
REST_S: Final = 3.0  # without a new seal; others have the same one by then


@dataclass(frozen=True, slots=True)
class _Kept:
    """A point and the database at its moment."""

    point: Point
    trees: dict[int, Tree]
    families: Generation
    frozen: Frozen

    def rows(self, tree: int, keys: Iterable[bytes]) -> list[Row | None]:
        """The rows behind keys of a tree."""
        wanted = list(keys)
        if tree == PACKAGES:
            records = self.frozen.multi_get(self.families.pages, [index.record_key(key) for key in wanted])
            return [
                None if record is None else (key, record) for key, record in zip(wanted, records, strict=True)
            ]
        names = self.frozen.multi_get(self.families.keys, wanted)
        values = self.frozen.multi_get(self.families.state, [name or b"" for name in names])
        return [
            None if name is None or value is None else (name, value)
            for name, value in zip(names, values, strict=True)
        ]

    def pages(self, keys: list[bytes]) -> list[bytes | None]:
        return self.frozen.multi_get(self.families.pages, keys)


class Points:
    """Keeps points, and answers who asks for them."""

    def __init__(
        self, archive: Archive, database: Database, *, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._archive = archive
        self._database = database
        self._clock = clock
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._minute = self._now_ms() // EVERY_MS
        self._sealed_s = clock()
        self._threads = trio.CapacityLimiter(READERS.value)
        archive.sealed = self._sealed

    @property
    def methods(self) -> dict[int, Handler]:
        """What the links hand over."""
        return {
            Method.POINTS: self._on_points,
            Method.ANCHOR: self._on_anchor,
            Method.STEPS: self._on_steps,
            Method.PARTS: self._on_parts,
            Method.BUNDLES: self._on_bundles,
            Method.TILES: self._on_tiles,
        }

    # -- keeping --

    def _now_ms(self) -> int:
        return int(views.chain(self._archive.state).get("time_ms", 0))

    def _sealed(self) -> None:
        """A block with a seal is written, and nothing after it."""
        self._sealed_s = self._clock()
        minute = self._now_ms() // EVERY_MS
        if minute != self._minute:
            self._minute = minute
            self._keep()

    def _keep(self) -> None:
        """Keep the state as it is after the newest seal."""
        point = self._newest()
        if point is None or point.block_hash in self._kept:
            return
        trees = views.trees(self._archive.state)
        live = self._archive.live
        self._kept[point.block_hash] = _Kept(
            point, {PACKAGES: trees.packages, STATE: trees.state}, live, self._database.freeze(live)
        )
        while len(self._kept) > KEPT_POINTS.value:
            self._kept.popitem(last=False)[1].frozen.close()

    def _newest(self) -> Point | None:
        """The point of the newest seal; None before the first block, which every node has."""
        head, sealed = self._archive.head, views.chain(self._archive.state)
        height = int(sealed.get("height", 0))
        if head is None or not height:
            return None
        if height == head.height:
            return Point(height, head.tree_size, head.block_hash)
        found = catchup.serve(height, height, self._archive.block, self._archive.finality)
        return None if found is None else Point(height, head.tree_size, found.blocks[0].hash)

    def _of(self, block_hash: bytes) -> _Kept:
        kept = self._kept.get(block_hash)
        if kept is None:
            raise Refusal(
                "not-found",
                what="this state is kept no more",
                who="the peer that asked",
                do="ask which points there are now",
            )
        return kept

    # -- answering --

    async def _on_points(self, _: NodeId, body: bytes) -> bytes:
        nothing(Method.POINTS, body)
        if self._clock() - self._sealed_s >= REST_S:
            self._keep()
        return wire.encode_points([kept.point for kept in self._kept.values()])

    async def _on_anchor(self, _: NodeId, asked: bytes) -> bytes:
        block_hash, size = wire.asked_anchor(asked)
        point = self._of(block_hash).point
        archive = self._archive
        found = catchup.serve(point.height, point.height, archive.block, archive.finality)
        seal = archive.entry(point.size - 1)
        if found is None or seal is None or found.blocks[0].hash != block_hash:
            raise Refusal("not-found", what="its block is not here", who="this node", do="ask another node")
        return Anchor(
            found.blocks[0],
            found.proof,
            seal,
            tuple(archive.inclusion(point.size - 1, point.size)),
            tuple(archive.edge(point.size)),
            self._grown(size, point.size),
        ).encode()

    async def _on_steps(self, _: NodeId, asked: bytes) -> bytes:
        first, size = wire.asked_steps(asked)
        steps: list[Step] = []
        room = SNAPSHOT_ANSWER_BYTES.value
        for number in range(first, first + wire.MAX_STEPS.value):
            end = self._archive.epoch_end(number)
            room -= 0 if end is None else len(end)
            if end is None or (steps and room < 0):
                break
            step = EpochEnd.decode(end)
            steps.append(Step(step, self._grown(size, step.proof.headers[-1].tree_size)))
        return wire.encode_steps(steps)

    async def _on_parts(self, _: NodeId, asked: bytes) -> bytes:
        block_hash, places = wire.asked_parts(asked)
        kept = self._of(block_hash)

        def read() -> bytes:
            parts = snapshot.answer(kept.trees, kept.pages, kept.rows, places)
            return b"".join(map(wire.encode_part, parts))

        return await trio.to_thread.run_sync(read, limiter=self._threads)

    async def _on_bundles(self, _: NodeId, asked: bytes) -> bytes:
        return _pieces(
            self._archive.bundle(number, width)
            for number, width in wire.asked_bundles(asked)
            if 0 < width <= 256
        )

    async def _on_tiles(self, _: NodeId, asked: bytes) -> bytes:
        return _pieces(self._archive.tile(level, number, 256) for level, number in wire.asked_tiles(asked))

    def _grown(self, old: int, new: int) -> tuple[bytes, ...]:
        """How the log grew from what the asker has; nothing to prove from nothing, to itself or backwards."""
        return tuple(self._archive.consistency(old, new)) if 0 < old < new else ()


def _pieces(found: Iterable[bytes | None]) -> bytes:
    """As many as fit; it ends at the first that is not here."""
    pieces: list[bytes] = []
    size = 0
    try:
        for piece in found:
            size += 0 if piece is None else len(piece)
            if piece is None or (pieces and size > SNAPSHOT_ANSWER_BYTES.value):
                break
            pieces.append(piece)
    except Refusal:  # a hole of our own
        if not pieces:
            raise
    return wire.encode_pieces(pieces)
