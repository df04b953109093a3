"""`pyrsia node drain`: what this node has is handed over before it leaves, and it says when it may be stopped.

While the order stands this node counts as leaving: it says so to the storage members, which pass it over, so that the
next owners bring what it keeps, and to everybody else with a link, who shows it. It brings nothing itself. Every blob
that the log names and that is here, an owner's or not, is then asked about until as many others as the network wants,
or has, say that they have it. The order outlives a restart. As long as the index does not cover the log, nothing is
safe. Nothing is deleted: taking the order back makes the node what it was.

Source: docs/replication.md, "Leaving".
"""

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Final

import trio

from pyrsia.errors import Refusal
from pyrsia.net.links import Handler
from pyrsia.node.mesh.asking import ASK_S
from pyrsia.node.mesh.enduring import Enduring
from pyrsia.node.mesh.owning import Owning
from pyrsia.node.mesh.parts import OnKind
from pyrsia.node.mesh.providing import Providing
from pyrsia.node.mesh.replicating import Replicating
from pyrsia.status import DrainStatus, Unplaced
from pyrsia.store import layout
from pyrsia.store.blobs import Blobs
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import HELD_BLOBS, Limit, NodeId
from pyrsia.wire.providers import Leaving
from pyrsia.wire.text import b32

PASS_S: Final = 5.0  # between two looks at all that is here
AGAIN_S: Final = 300.0  # how often others are told, who believe it for half an hour
SHOW_S: Final = 1.0  # who keeps no copies only shows it: how long its answer is waited for
SHOWN = Limit(20, "files named of those that are not placed: enough to see who is in the way")

_KEY: Final = b"replication/leaving"
_log = logging.getLogger("pyrsia.storage")


class Draining:
    """The order of one node, and how far it is.

    Args:
        linked: who has a link now.
    """

    def __init__(
        self,
        owning: Owning,
        replicating: Replicating,
        providing: Providing,
        blobs: Blobs,
        database: Database,
        *,
        linked: Callable[[], list[NodeId]],
    ) -> None:
        self._owning = owning
        self._replicating = replicating
        self._providing = providing
        self._blobs = blobs
        self._database = database
        self._linked = linked
        self._wake = trio.Event()
        self._told_s = 0.0
        self._untold: set[NodeId] = set()  # whose link came since all were told
        self._status = DrainStatus()
        self._endures = Enduring("how far the handing over is cannot be told")
        replicating.leaving = database.get(layout.MISC, _KEY) is not None
        if replicating.leaving:
            self._status = DrainStatus("working")

    # -- as a part of the mesh --

    @property
    def methods(self) -> Mapping[int, Handler]:
        return {}

    @property
    def messages(self) -> Mapping[int, OnKind]:
        return {}

    def linked(self, node: NodeId, up: bool) -> None:
        """Who comes back hears that this node leaves: a storage member at once, others at the next look, for guests may
        come back all the time.
        """
        if not up:
            self._untold.discard(node)
        elif self._replicating.leaving:
            self._untold.add(node)
            if node in self._owning.placement:
                self._wake.set()

    # -- the order --

    @property
    def status(self) -> DrainStatus:
        return self._status

    async def order(self, *, leave: bool) -> DrainStatus:
        """Begin, or take it back. Durable when this returns.

        Raises:
            Refusal: `conflict` where there is nobody to hand over to.
        """
        others = [one for one in self._owning.placement.members if one.node != self._owning.node]
        if leave and not others:
            raise Refusal(
                "conflict",
                what="this network has no other storage member, so there is nobody to hand over to",
                who="the network's members",
                do="have a node admitted with the role `storage` first: pyrsia member propose add",
            )
        if leave != self._replicating.leaving:
            batch = Batch()
            if leave:
                batch.put(layout.MISC, _KEY, b"\x01")
            else:
                batch.delete(layout.MISC, _KEY)
            await self._database.commit(batch)
            self._replicating.leaving = leave
            self._status = DrainStatus("working" if leave else "off")
            _log.warning(
                "this node %s", "hands over what it keeps" if leave else "stays, and keeps what it kept"
            )
        self._wake.set()
        return self._status

    async def run(self) -> None:
        """Until cancelled."""
        told = False
        while True:
            self._wake = trio.Event()
            leaving, now = self._replicating.leaving, trio.current_time()
            with self._endures.turn():
                if leaving != told or (leaving and now >= self._told_s):
                    told, self._told_s = leaving, now + AGAIN_S
                    self._untold.update(self._linked())
                if self._untold:
                    nodes, self._untold = self._untold, set()
                    await self._tell(nodes, leaving)
                if leaving:
                    await self._look()
            with trio.move_on_after(PASS_S):
                await self._wake.wait()

    async def _tell(self, nodes: Collection[NodeId], leaving: bool) -> None:
        """These, all at once; who does not hear it is told again with the others, or when its link is back."""
        async with trio.open_nursery() as nursery:
            for node in nodes:
                nursery.start_soon(self._tell_one, node, leaving)

    async def _tell_one(self, node: NodeId, leaving: bool) -> None:
        with trio.move_on_after(ASK_S if node in self._owning.placement else SHOW_S):
            await self._providing.asking.tell(node, Leaving(leaving))

    async def _look(self) -> None:
        """One pass over all that is here."""
        placement = self._owning.placement
        gone = self._replicating.repair.gone | {self._owning.node}
        others = sum(one.node not in gone for one in placement.members)
        wanted, possible = placement.replicas, min(placement.replicas, others)
        stock = self._replicating.stock
        known, whole = stock.complete, stock.whole
        files = placed = size = placed_size = 0
        unplaced: list[Unplaced] = []
        batch: list[tuple[bytes, int]] = []

        async def count() -> None:
            nonlocal placed, placed_size
            good = await self._replicating.confirmed(
                [sha256 for sha256, _ in batch], least=max(1, possible), without_us=True
            )
            placed += len(good)
            placed_size += sum(one for sha256, one in batch if sha256 in good)
            bad = [row for row in batch if row[0] not in good][: SHOWN.value - len(unplaced)]
            unplaced.extend(await self._why(bad))
            batch.clear()

        async for sha256, record in self._blobs.rows():
            if not stock.named(sha256) and (whole or not record.pins):
                continue  # of a log that is not whole here, whatever is pinned may be named
            files += 1
            size += record.size
            batch.append((sha256, record.size))
            if len(batch) == HELD_BLOBS.value:
                await count()
        if batch:
            await count()
        if not self._replicating.leaving:
            return  # taken back meanwhile
        if placed < files or not (known and stock.complete):
            phase = "working"
        else:
            phase = "safe" if possible >= wanted else "short"
        if phase != self._status.phase and phase != "working":
            if phase == "safe":
                _log.info("everything is kept elsewhere: safe to stop")
            else:
                _log.warning(
                    "%d of %d copies are kept elsewhere, for there are no more storage members",
                    possible,
                    wanted,
                )
        self._status = DrainStatus(
            phase,
            files,
            size,
            placed,
            placed_size,
            wanted,
            possible,
            tuple(unplaced),
            self._status.rounds + 1,
        )

    async def _why(self, rows: list[tuple[bytes, int]]) -> list[Unplaced]:
        """Who does not have each of these, in words."""
        if not rows:
            return []
        gone = self._replicating.repair.gone | {self._owning.node}
        placement = self._owning.placement  # while owners are asked, the log may change who they are
        blobs = [sha256 for sha256, _ in rows]
        said: dict[NodeId, dict[bytes, bool] | None] = {}
        for sha256 in blobs:
            for node in placement.owners(sha256, gone):
                if node not in said:
                    bits = await self._providing.asking.held(node, blobs)
                    said[node] = None if bits is None else dict(zip(blobs, bits, strict=True))
        found = []
        for sha256, size in rows:
            owners = placement.owners(sha256, gone)
            lacking = [node for node in owners if not (said[node] or {}).get(sha256)]
            told = [
                f"{b32(node)[:8]} {'does not answer' if said[node] is None else 'does not have it yet'}"
                for node in lacking
            ]
            told += [
                f"{b32(node)[:8]} says that it has it and gives no chunk that it was asked for"
                for node in owners
                if node not in lacking and not self._replicating.shown(node)
            ]
            found.append(Unplaced(sha256.hex(), size, len(owners) - len(lacking), ", ".join(told)))
        return found
