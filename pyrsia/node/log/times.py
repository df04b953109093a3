"""Leaves by block time: the seal that ends a block carries its time and its first leaf.

The next seal at or behind a leaf is never further away than the largest block; so leaves are found by time in halves,
with no table of their own.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import trio

from pyrsia.errors import Refusal
from pyrsia.ledger import glance
from pyrsia.ledger.glance import MAX_BLOCK_LEAVES, Seal

_FIRST_LOOK: Final = 16  # leaves: most blocks are small
_WIDEST: Final = 128


class Log(Protocol):
    """What is needed of `archive.Archive`."""

    @property
    def size(self) -> int: ...
    def entries(self, first: int, count: int) -> list[bytes]: ...


async def first_at(log: Log, time_ms: int) -> int:
    """The first leaf whose block has this time or a later one; the log's size if none has."""
    low, high = 0, log.size
    while low < high:
        await trio.lowlevel.checkpoint()
        middle = (low + high) // 2
        index, seal = seal_behind(log, middle)
        if seal is None or seal.time_ms >= time_ms:
            high = middle if seal is None else min(middle, seal.first_leaf)
        else:
            low = index + 1
    return low


async def size_at(log: Log, size: int | None, time_ms: int | None) -> int:
    """The log's size at a moment: `size` itself, with the last block of `time_ms`, or now.

    Raises:
        Refusal: `bad-request`: this node's log never had that size.
    """
    if size is None:
        return log.size if time_ms is None else min(log.size, await first_at(log, time_ms + 1))
    if size > log.size:
        raise Refusal(
            "bad-request",
            what=f"this node's log has {log.size} leaves; it was never as long as {size}",
            who="the client's request",
            do="see GET /api/v1/log/head for its size",
        )
    return size


def seal_behind(log: Log, index: int) -> tuple[int, Seal | None]:
    """The next seal at or behind a leaf, with its own index."""
    end, count = index + MAX_BLOCK_LEAVES, _FIRST_LOOK
    while index < end:
        leaves = log.entries(index, min(count, end - index))
        for offset, leaf in enumerate(leaves):
            seal = glance.seal(leaf)
            if seal is not None:
                return index + offset, seal
        if not leaves:
            break
        index, count = index + len(leaves), min(2 * count, _WIDEST)
    return index, None


def time_of(log: Log, index: int) -> int:
    """Block time of a leaf; 0 where no seal stands behind it."""
    _, seal = seal_behind(log, index)
    return 0 if seal is None else seal.time_ms


def times_of(log: Log, first: int, leaves: Sequence[bytes]) -> list[int]:
    """Block time of each of some neighbouring leaves; 0 where no seal stands behind one."""
    _, seal = seal_behind(log, first + len(leaves) - 1)
    times = [0] * len(leaves)
    for offset in range(len(leaves) - 1, -1, -1):
        seal = glance.seal(leaves[offset]) or seal
        times[offset] = 0 if seal is None else seal.time_ms
    return times
