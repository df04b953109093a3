"""How many bytes may pass in one direction: all peers together, and one of them. No I/O.

What comes down is limited by what is asked for, what goes up by whose turn it is (`uploads`). A quarter of a second
may pass at once, or a megabyte where that is more, so that those who look ten times a second fill the line.

Source: docs/network.md, "Limits".
"""

from typing import Final

from pyrsia.buckets import Bucket, Buckets
from pyrsia.units import MAX_PEERS, NodeId

BURST_S: Final = 0.25
BURST_LEAST_BYTES: Final = 1 << 20


class Flow:
    """One direction of one node.

    Args:
        bytes_s: bytes a second of all peers together; 0 for no limit.
        peer_bytes_s: of one peer; 0 for no limit of its own.
    """

    def __init__(self, bytes_s: float = 0, peer_bytes_s: float = 0) -> None:
        self._all = Bucket(bytes_s, _burst(bytes_s)) if bytes_s else None
        self._each = (
            Buckets[NodeId](peer_bytes_s, _burst(peer_bytes_s), MAX_PEERS.value) if peer_bytes_s else None
        )

    def wait_s(self, now: float, node: NodeId, size: int) -> float:
        """Seconds until `size` bytes of (or for) `node` may pass; 0 for now."""
        all_s = self._all.wait_s(now, size) if self._all is not None else 0.0
        peer_s = self._each.of(node).wait_s(now, size) if self._each is not None else 0.0
        return max(all_s, peer_s)

    def take(self, now: float, node: NodeId, size: int) -> None:
        """They pass: `wait_s` said 0, or they are too few to wait."""
        if self._all is not None:
            self._all.take(now, size)
        if self._each is not None:
            self._each.of(node).take(now, size)

    def give_back(self, node: NodeId, size: int) -> None:
        """What was taken did not pass after all."""
        if self._all is not None:
            self._all.give_back(size)
        if self._each is not None:
            self._each.of(node).give_back(size)


def flow_of(mb_s: float, peer_percent: float) -> Flow | None:
    """The limit of an operator who writes megabytes a second, and what share of them one peer may have.

    None for no limit.
    """
    if not mb_s:
        return None
    bytes_s = mb_s * 1_000_000
    return Flow(bytes_s, bytes_s * peer_percent / 100 if peer_percent < 100 else 0)


def _burst(bytes_s: float) -> float:
    return max(BURST_LEAST_BYTES, bytes_s * BURST_S)
