"""What waits to be given to peers, and whose turn it is. No I/O: the caller sends.

A peer may have several connections (lanes), one for each file that it brings. Bytes are shared evenly: the
next turn is the peer's that was given the fewest bytes since it began to wait, and among equals the one
with the fewest bytes queued. (The fewest queued bytes alone would starve a peer that asks for much.) Guests, whose
names cost nothing, have one share together, as large as one member's, and divide that among them in the same way.
What one peer may have waiting is bounded in bytes and in items; more is refused, and the peer asks again.

Short answers of a lane go before its chunks: what a node has, and that it refuses, is news. Bytes of chunks pass by
the node's limit (`Flow`); a peer that may get nothing now keeps nobody else waiting. Time comes as `now` in seconds of
any steady clock.

Source: docs/network.md, "Data links"; start-time fair queueing.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from pyrsia.transfer.buckets import Flow
from pyrsia.units import CHUNK_BYTES, MAX_PEERS, UPLOAD_QUEUE_CHUNKS, NodeId

QUEUE_BYTES: Final = UPLOAD_QUEUE_CHUNKS.value * CHUNK_BYTES.value
QUEUE_ITEMS: Final = 4 * UPLOAD_QUEUE_CHUNKS.value  # chunks and the short answers between them
SHORT_BYTES: Final = 64  # an answer without a payload

_T = TypeVar("_T")


@dataclass(slots=True)
class _Lane(Generic[_T]):
    """One connection: short answers, then (chunk or None, bytes, item), each in order."""

    node: NodeId
    short: deque[tuple[int, _T]] = field(default_factory=lambda: deque(maxlen=QUEUE_ITEMS))
    items: deque[tuple[tuple[bytes, int] | None, int, _T]] = field(
        default_factory=lambda: deque(maxlen=QUEUE_ITEMS)
    )


@dataclass(slots=True)
class _Peer:
    """One peer's account, or that of all guests. `share` grows by what it is given."""

    share: int
    guest: bool = False
    queued_bytes: int = 0
    queued_items: int = 0


class Uploads(Generic[_T]):
    """Items on their way out, by lane. A lane is the routing id of a connection."""

    def __init__(
        self, flow: Flow | None = None, *, guest: Callable[[NodeId], bool] = lambda node: False
    ) -> None:
        """
        Args:
            flow: the limit on what goes up; none by default.
            guest: whether a peer is one.
        """
        self._flow = flow
        self._guest = guest
        self._guests = _Peer(0)
        self._among_guests = 0  # the same as `_share`, of the last guest
        self._lanes: dict[bytes, _Lane[_T]] = {}
        self._peers: dict[NodeId, _Peer] = {}
        self._share = 0  # of whoever had the last turn: where a newcomer starts

    def __len__(self) -> int:
        return sum(peer.queued_items for peer in self._peers.values())

    def push(
        self, node: NodeId, lane: bytes, item: _T, size: int, chunk: tuple[bytes, int] | None = None
    ) -> bool:
        """Queue `item` of `size` bytes; False when the peer has too much waiting.

        Args:
            node: whose connection `lane` is.
            chunk: (manifest id, chunk number), by which it may be cancelled.
        """
        peer = self._peer(node)
        # A full queue still has room for the word that it is full.
        most = QUEUE_BYTES + (QUEUE_ITEMS * SHORT_BYTES if size <= SHORT_BYTES else 0)
        if peer.queued_items >= QUEUE_ITEMS or peer.queued_bytes + size > most:
            return False
        if peer.guest:
            if not self._guests.queued_items:
                self._guests.share = max(self._guests.share, self._share)
            self._guests.queued_items += 1
        peer.queued_items += 1
        peer.queued_bytes += size
        queue = self._lanes.get(lane)
        if queue is None:
            queue = self._lanes[lane] = _Lane(node)
        if size <= SHORT_BYTES and chunk is None:
            queue.short.append((size, item))
        else:
            queue.items.append((chunk, size, item))
        return True

    def waits(self, lane: bytes) -> bool:
        return lane in self._lanes

    def turn(self, lanes: Iterable[bytes], now: float = 0.0) -> bytes | None:
        """Which of `lanes` goes next; None when nothing waits on any of them, or nothing may go before `wait_s`."""
        may = (lane for lane in lanes if lane in self._lanes and not self._wait_s(lane, now))
        return min(may, key=self._order, default=None)

    def wait_s(self, lanes: Iterable[bytes], now: float) -> float:
        """Seconds until the limit lets one of `lanes` have its turn; 0 for now, infinite when nothing waits."""
        waiting = [lane for lane in lanes if lane in self._lanes]
        if not waiting:
            return math.inf
        return 0.0 if self._flow is None else min(self._wait_s(lane, now) for lane in waiting)

    def pop(self, lane: bytes, now: float = 0.0) -> _T | None:
        """The first item of `lane`, charged to its peer."""
        queue = self._lanes.get(lane)
        if queue is None:
            return None
        if queue.short:
            size, item = queue.short.popleft()
        else:
            _, size, item = queue.items.popleft()
            if self._flow is not None:
                self._flow.take(now, queue.node, size)
        peer = self._peers[queue.node]
        if peer.guest:
            self._among_guests = max(self._among_guests, peer.share)
            self._share = max(self._share, self._guests.share)
            self._guests.share += size
        else:
            self._share = max(self._share, peer.share)
        peer.share += size
        self._gone(lane, queue, [size])
        return item

    def give_back(
        self, node: NodeId, lane: bytes, entries: Sequence[tuple[tuple[bytes, int], int, _T]]
    ) -> None:
        """Chunks, with their bytes, that were popped just now and did not go: to where they were, their charge undone.

        No bound can be broken by it: nothing was pushed since.
        """
        queue = self._lanes.get(lane)
        if queue is None:
            queue = self._lanes[lane] = _Lane(node)
        queue.items.extendleft(reversed(entries))
        size = sum(one for _, one, _ in entries)
        for account in self._accounts(self._peers[node]):
            account.queued_items += len(entries)
            account.share -= size
        self._peers[node].queued_bytes += size
        if self._flow is not None:
            self._flow.give_back(node, size)

    def first(self, lane: bytes) -> _T | None:
        """What `pop` would give; None when that is a short answer, or nothing."""
        queue = self._lanes.get(lane)
        return queue.items[0][2] if queue is not None and not queue.short and queue.items else None

    def cancel(self, lane: bytes, chunks: Iterable[tuple[bytes, int]]) -> int:
        """Take these chunks out of `lane`; how many were still there."""
        queue = self._lanes.get(lane)
        if queue is None:
            return 0
        unwanted = frozenset(chunks)
        sizes = [size for chunk, size, _ in queue.items if chunk in unwanted]
        if sizes:
            kept = [entry for entry in queue.items if entry[0] not in unwanted]
            queue.items.clear()
            queue.items.extend(kept)
            self._gone(lane, queue, sizes)
        return len(sizes)

    def forget(self, lane: bytes) -> None:
        """The connection is gone."""
        queue = self._lanes.get(lane)
        if queue is not None:
            sizes = [size for size, _ in queue.short] + [size for _, size, _ in queue.items]
            queue.short.clear()
            queue.items.clear()
            self._gone(lane, queue, sizes)

    def _peer(self, node: NodeId) -> _Peer:
        """The peer's account. Who had nothing waiting gains no claim by it, and loses no debt."""
        peer = self._peers.get(node)
        if peer is None:
            if len(self._peers) >= MAX_PEERS.value:
                self._peers = {n: p for n, p in self._peers.items() if p.queued_items}
            peer = self._peers[node] = _Peer(0)
        if not peer.queued_items:
            guest = self._guest(node)
            debt = peer.share if guest == peer.guest else 0
            peer.share, peer.guest = max(debt, self._among_guests if guest else self._share), guest
        return peer

    def _accounts(self, peer: _Peer) -> Sequence[_Peer]:
        """Those that count what `peer` has waiting and is given."""
        return (peer, self._guests) if peer.guest else (peer,)

    def _wait_s(self, lane: bytes, now: float) -> float:
        queue = self._lanes[lane]
        if self._flow is None or queue.short:
            return 0.0
        return self._flow.wait_s(now, queue.node, queue.items[0][1])

    def _order(self, lane: bytes) -> tuple[int, int, int]:
        peer = self._peers[self._lanes[lane].node]
        return self._guests.share if peer.guest else peer.share, peer.share, peer.queued_bytes

    def _gone(self, lane: bytes, queue: _Lane[_T], sizes: list[int]) -> None:
        """Items of these sizes have left `queue`."""
        peer = self._peers[queue.node]
        if peer.guest:
            self._guests.queued_items -= len(sizes)
        peer.queued_items -= len(sizes)
        peer.queued_bytes -= sum(sizes)
        if not queue.items and not queue.short:
            del self._lanes[lane]
