"""Who the storage members are, as the log has it now, and so who owns which blob.

Nothing is decided here: members, roles, domains and operators are the log's, the rest is `transfer.placement`'s.

Source: docs/replication.md, "Placement".
"""

from collections.abc import Callable
from typing import Final

from pyrsia.ledger import roster
from pyrsia.ledger.state import Reads, View
from pyrsia.transfer.placement import Placement, StorageMember
from pyrsia.units import NodeId

ROLE: Final = "storage"


def storage_members(reads: Reads) -> tuple[StorageMember, ...]:
    """Everybody whose role it is to keep blobs, sorted by node id text. Each weighs the same."""
    found = (one for one in roster.members(View(reads)) if ROLE in one.roles)
    return tuple(StorageMember(one.node, one.domain, one.operator) for one in found)


class Owning:
    """The placement of one network, made anew when the log changes who its storage members are.

    Args:
        reads: the final state.
        size: of the log: the same size is the same state.
    """

    def __init__(self, node: NodeId, reads: Reads, size: Callable[[], int]) -> None:
        self.node = node
        self._reads = reads
        self._size = size
        self._seen = -1
        self._members: tuple[StorageMember, ...] = ()
        self._placement = Placement.of(())

    @property
    def placement(self) -> Placement:
        """The one object until members change: compare by identity."""
        size = self._size()
        if size != self._seen:
            self._seen = size
            members = storage_members(self._reads)
            if members != self._members:
                self._members, self._placement = members, Placement.of(members)
        return self._placement

    @property
    def ours(self) -> bool:
        """Whether this node is a storage member."""
        return self.node in self.placement

    def owners(self, sha256: bytes) -> tuple[NodeId, ...]:
        """Who is to keep the blob, the first choice first; nobody in a network without storage members."""
        return self.placement.owners(sha256)
