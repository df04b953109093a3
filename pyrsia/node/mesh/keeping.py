"""The parts by which a node keeps, finds and hands over blobs, made from its house.

Source: docs/replication.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from pyrsia.config import StorageSection
from pyrsia.ledger import views
from pyrsia.mesh.scores import Scores
from pyrsia.net.data import DataPlane
from pyrsia.net.links import Links
from pyrsia.node.log.archive import Archive
from pyrsia.node.mesh.draining import Draining
from pyrsia.node.mesh.owning import Owning
from pyrsia.node.mesh.parts import Part
from pyrsia.node.mesh.providing import Providing
from pyrsia.node.mesh.replicating import Replicating, Rules
from pyrsia.node.mesh.stock import Stock
from pyrsia.node.pulse import Pulse
from pyrsia.node.storage.shelf import Shelf
from pyrsia.status import DrainStatus, ReplicationStatus
from pyrsia.store.blobs import Blobs
from pyrsia.store.rocks import Database
from pyrsia.units import NodeId

UNLINKED_S: Final = 10.0  # a member of which nothing is known has this long to link before it is passed over

DeadFor = Callable[[NodeId], float | None]


@dataclass(frozen=True, slots=True)
class Keeping:
    """All of it."""

    owning: Owning
    providing: Providing
    replicating: Replicating
    draining: Draining

    @property
    def parts(self) -> list[Part]:
        return [self.providing, self.replicating, self.draining]

    # -- for the operator (`serve.desks.replication.CopiesDesk`) --

    def status(self) -> ReplicationStatus:
        return self.replicating.status()

    def drained(self) -> DrainStatus:
        return self.draining.status

    async def drain(self, *, leave: bool) -> DrainStatus:
        return await self.draining.order(leave=leave)


class Unlinked:
    """For how long a node has had no link: what a node without a membership protocol knows of the dead."""

    def __init__(self, connected: Callable[[NodeId], bool]) -> None:
        self._connected = connected
        self._since: dict[NodeId, float] = {}

    def dead_s(self, node: NodeId) -> float | None:
        """None while it has one."""
        if self._connected(node):
            self._since.pop(node, None)
            return None
        return trio.current_time() - self._since.setdefault(node, trio.current_time())


def make_keeping(
    *,
    archive: Archive,
    database: Database,
    blobs: Blobs,
    shelf: Shelf,
    plane: DataPlane,
    links: Links,
    pulse: Pulse,
    scores: Scores,
    settings: StorageSection,
    dead_s: DeadFor = lambda _: None,
    strange: Callable[[NodeId], bool] = lambda _: True,
) -> Keeping:
    """
    Args:
        dead_s: for how long a node has been dead, None for one that is not.
        strange: whether nothing is known of a node, as of one that was gone before this node began: links tell then.
    """
    unlinked = Unlinked(links.connected)

    def member(node: NodeId) -> bool:
        return views.is_member(archive.state, node)

    def dead(node: NodeId) -> float | None:
        told = dead_s(node)
        if told is not None or not strange(node) or not member(node):
            return told  # ids of guests are free: nothing is written down of them
        return unlinked.dead_s(node)

    def believed(node: NodeId) -> bool:
        return dead_s(node) is not None or (dead(node) or 0.0) > UNLINKED_S

    owning = Owning(links.node, archive.state, lambda: archive.size)
    stock = Stock(database, archive, blobs)
    providing = Providing(
        owning,
        stock,
        blobs,
        links,
        scores,
        member=member,
        dead=believed,
    )
    replicating = Replicating(
        owning,
        stock,
        blobs,
        shelf,
        plane,
        providing,
        Rules(float(settings.repair_after_s), settings.repair_mb_s * 1e6),
        dead_s=dead,
        reaches=lambda node: links.connected(node) and bool(links.data_address(node)),
        pulse=pulse,
        scores=scores,
        called=lambda node: views.called(archive.state, node),
    )
    plane.counters.on_nothing = providing.nothing
    draining = Draining(owning, replicating, providing, blobs, database, linked=links.linked)
    return Keeping(owning, providing, replicating, draining)
