"""What crossed the data links since the start, in all and by node.

Ids of nodes are free, so tables by node hold the last `MAX_PEERS` that moved anything.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pyrsia.units import MAX_PEERS, NodeId

_T = TypeVar("_T")


@dataclass(slots=True)
class Counters:
    """Received means verified and written; of the stretches that a file is made of, that they came.

    Attributes:
        duplicates: chunks that came twice, from two sources asked for them.
        received_from, sent_to: bytes by node.
        liars: source -> the last lie that it was dropped for.
        on_nothing: called with a source and a manifest id when it says that it has nothing of that file.
        on_gave: called with the source of each chunk that was received.
        on_odd: called with a node and what it did that an honest one does now and then, and a liar always.
    """

    chunks_received: int = 0
    bytes_received: int = 0
    chunks_sent: int = 0
    bytes_sent: int = 0
    duplicates: int = 0
    received_from: dict[NodeId, int] = field(default_factory=dict)
    sent_to: dict[NodeId, int] = field(default_factory=dict)
    liars: dict[NodeId, str] = field(default_factory=dict)
    on_nothing: Callable[[NodeId, bytes], object] = lambda node, manifest_id: None
    on_gave: Callable[[NodeId], object] = lambda node: None
    on_odd: Callable[[NodeId, str], object] = lambda node, why: None

    def received(self, source: NodeId, size: int) -> None:
        """A chunk of `size` bytes was verified and written."""
        self.chunks_received += 1
        self.came(source, size)
        self.on_gave(source)

    def came(self, source: NodeId, size: int) -> None:
        """So many bytes of a file came."""
        self.bytes_received += size
        _last(self.received_from, source, self.received_from.get(source, 0) + size)

    def sent(self, node: NodeId, size: int) -> None:
        """So many bytes of a file went out."""
        self.bytes_sent += size
        _last(self.sent_to, node, self.sent_to.get(node, 0) + size)

    def lied(self, source: NodeId, why: str) -> None:
        _last(self.liars, source, why)


def _last(table: dict[NodeId, _T], node: NodeId, value: _T) -> None:
    """Write it; whoever was longest out of use makes room."""
    table.pop(node, None)
    table[node] = value
    if len(table) > MAX_PEERS.value:
        del table[next(iter(table))]
