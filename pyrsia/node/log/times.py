"""Leaves by block time: the seal that ends a block carries its time and its first leaf.

The next seal at or behind a leaf is never further away than the largest block; so leaves are found by time in halves,
with no table of their own.

Every question about the past means its moment by `moment`, and is refused by it in the same words: a log that is not
yet, or not yet so long, and one that had not begun.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

import trio

from pyrsia.errors import Refusal
from pyrsia.ledger import glance
from pyrsia.ledger.glance import MAX_BLOCK_LEAVES, Seal
from pyrsia.units import Limit

AHEAD_MS = Limit(
    60_000, "that a moment may lie ahead of this clock: a client's clock is a minute wrong at most"
)
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


@dataclass(frozen=True, slots=True)
class Moment:
    """What an answer speaks of: so many leaves, and what time it was then. `past`: the question named it."""

    size: int
    time_ms: int
    past: bool


async def moment(log: Log, size: int | None, time_ms: int | None, now_ms: int) -> Moment:
    """The moment that a question names: a size of the log, or the last block of a time; neither is now.

    Args:
        now_ms: this node's clock.

    Raises:
        Refusal: `bad-request`: two moments, one that lies ahead, or one before the log began.
    """
    if size is None and time_ms is None:
        return Moment(log.size, now_ms, False)
    if size is not None and time_ms is not None:
        raise _refused("a size and a time are two moments", "send one of them")
    if time_ms is not None and time_ms > now_ms + AHEAD_MS.value:
        raise _refused(
            "this moment lies ahead: nobody knows that log yet",
            "send none for what is known now; or look at the clocks of both machines",
        )
    if size is not None and size > log.size:
        raise _refused(
            f"this node's log has {log.size} leaves; it was never as long as {size}",
            "see `pyrsia status` for its size, or GET /api/v1/log/head",
        )
    found = size if time_ms is None else min(log.size, await first_at(log, time_ms + 1))
    if not found:
        raise _before(log)
    return Moment(found, time_of(log, found - 1) if time_ms is None else time_ms, True)


def _before(log: Log) -> Refusal:
    """Of a moment at which there was no log: nobody knew nothing then, there was nobody."""
    began_ms = time_of(log, 0) if log.size else 0
    began = datetime.fromtimestamp(began_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return _refused(
        f"the log began later: its first block is of {began}",
        "ask about a size of 1 or more, or a later time",
    )


def _refused(what: str, do: str) -> Refusal:
    return Refusal("bad-request", what=what, who="the client's request", do=do)


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
