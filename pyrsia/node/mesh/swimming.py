"""Membership as the node runs it: probes over its links, and what it believes of every other node.

Source: docs/mesh-membership.md.
"""

from collections.abc import Callable

from pyrsia.mesh.liveness import State
from pyrsia.units import NodeId

OnChange = Callable[[NodeId, State], None]


class Swimming:
    """What this node believes of the others.

    Attributes:
        on_change: called, in the loop, with each node whose state became another. They return at once and do not raise.
    """

    def __init__(self) -> None:
        self.on_change: list[OnChange] = []

    def state(self, node: NodeId) -> State:
        """Of `node` now; UNKNOWN for a stranger."""
        raise NotImplementedError

    def dead_since(self, node: NodeId, now: float) -> float | None:
        """For how many seconds `node` has been dead, or has been gone after it said goodbye; None while it is neither.

        `now` is `trio.current_time()`. Of a node that was dead before this one started, the time since it was found so.
        """
        raise NotImplementedError
