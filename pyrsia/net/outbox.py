"""What waits to be sent to one peer: three lanes, bounded, above the socket so that order can change.

Urgent frames (votes, answers, pings) overtake ordinary ones; both overtake the parts of a big message.
Each batch carries at least one frame of every lane that has one, and at most one part, so nothing
starves. The last MiB of room is kept for small urgent frames: a queue full of blocks takes a vote.
"""

from collections import deque
from typing import Final

import trio

from pyrsia.units import (
    LINK_BATCH_FRAMES,
    LINK_QUEUE_BYTES,
    LINK_QUEUE_MESSAGES,
    MAX_LINK_MESSAGE_BYTES,
    MAX_PART_BYTES,
)
from pyrsia.wire import frames

URGENT: Final = 0
ORDINARY: Final = 1


class Outbox:
    """Encoded frames (without sequence numbers) on their way to one peer."""

    __slots__ = ("_big", "_bytes", "_cut", "_ident", "_lanes", "_wake")

    def __init__(self) -> None:
        limit = LINK_QUEUE_MESSAGES.value
        self._lanes: tuple[deque[bytes], deque[bytes]] = (deque(maxlen=limit), deque(maxlen=limit))
        self._big: deque[bytes] = deque(maxlen=limit)
        self._bytes = 0
        self._cut = 0  # parts of the first big message that are already out
        self._ident = 0
        self._wake = trio.Event()

    def __len__(self) -> int:
        return len(self._lanes[0]) + len(self._lanes[1]) + len(self._big)

    def __bool__(self) -> bool:
        return self._bytes > 0  # no frame is empty

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return self._bytes

    def push(self, message: bytes, lane: int, *, wake: bool = True) -> bool:
        """Queue `message`; False when the lane is full. A message over one part goes to the big lane.

        Args:
            wake: whoever waits; else the caller calls `kick`, or takes it out itself.
        """
        small = len(message) <= MAX_PART_BYTES.value
        queue = self._lanes[lane] if small else self._big
        kept = 0 if small and lane == URGENT else MAX_LINK_MESSAGE_BYTES.value
        room = LINK_QUEUE_BYTES.value - kept - self._bytes
        if len(queue) >= LINK_QUEUE_MESSAGES.value or len(message) > room:
            return False
        queue.append(message)
        self._bytes += len(message)
        if wake:
            self._wake.set()
        return True

    def take(self) -> list[bytes]:
        """The next batch, empty when nothing waits."""
        batch: list[bytes] = []
        size = 0
        for lane in self._lanes:
            first = True
            while lane and (first or (len(batch) < LINK_BATCH_FRAMES.value and size < MAX_PART_BYTES.value)):
                first = False
                message = lane.popleft()
                self._bytes -= len(message)
                size += len(message)
                batch.append(message)
        if self._big:
            batch.append(self._next_part())
        return batch

    async def wait(self) -> None:
        """Return when something may be waiting."""
        if not self:
            self._wake = trio.Event()
            await self._wake.wait()

    def kick(self) -> None:
        """Wake whoever waits, so that it sees that its link is no longer the one in use."""
        self._wake.set()

    def rewind(self) -> None:
        """The link changed: the big message that was half out starts over."""
        self._cut = 0

    def clear(self) -> None:
        """The peer is gone; what it did not get, it asks for again."""
        for queue in (*self._lanes, self._big):
            queue.clear()
        self._bytes = self._cut = 0

    def _next_part(self) -> bytes:
        message = self._big[0]
        if self._cut == 0:
            self._ident += 1
        piece = frames.part(message, self._ident, self._cut)
        self._cut += 1
        if self._cut == frames.part_count(len(message)):
            self._big.popleft()
            self._bytes -= len(message)
            self._cut = 0
        return piece
