"""Copies of what a node keeps, as the API tells of them, and the order to hand them over. No decisions."""

from typing import Protocol

import msgspec

from pyrsia.status import DrainStatus, ReplicationStatus


class DrainOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether this node is to hand over what it keeps; False takes it back."""

    leave: bool = True


class CopiesDesk(Protocol):
    """Where the node's operator sees how many copies there are, and hands over this node's."""

    def status(self) -> ReplicationStatus: ...

    def drained(self) -> DrainStatus: ...

    async def drain(self, *, leave: bool) -> DrainStatus:
        """
        Raises:
            Refusal: `conflict` where there is nobody to hand over to.
        """
        ...
