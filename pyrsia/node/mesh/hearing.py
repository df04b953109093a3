"""What was broadcast lately, for those who read along: a ring with numbers. A reader holds nothing here.

A reader asks for what is behind a number and waits for the first one. Who is slower than the ring is told how many he
missed: no reader makes another one wait, or this node keep more.

Nobody needs a token to read, so waiting costs little: all readers who wait for a topic are told the same page, made
once, and a broadcast wakes nobody who waits for another topic. Of many readers the last ones are woken by no broadcast
at all: they look a few times a minute.
"""

from collections import deque
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

import trio

from pyrsia.serve.desks.messages import HeardPage, HeardStatus
from pyrsia.units import Limit

MAX_HEARD = Limit(2_000, "broadcasts that are shown again: some minutes of a busy network")
MAX_HEARD_BYTES = Limit(4 << 20, "the same in bytes of text")
MAX_WOKEN = Limit(
    64, "readers whom one broadcast wakes: an answer over HTTP takes the loop some tenths of a ms"
)
LATE_S: Final = 5.0  # between two looks of those beyond
PAGE: Final = 500  # in one answer


@dataclass(slots=True)
class _Waiting:
    """The readers who wait for one topic. `page`: what all of them get."""

    readers: int = 0
    came: trio.Event = field(default_factory=trio.Event)
    page: HeardPage = field(default_factory=lambda: HeardPage((), 0, 0))


class Heard:
    """The ring.

    Args:
        began: numbers are above this one. The clock of now, in ms, where a number of an earlier life must never look
            like one of this life.
    """

    def __init__(self, began: int = 0) -> None:
        self._rows: deque[HeardStatus] = deque()
        self._bytes = 0
        self._began = began
        self._waiting: dict[str, _Waiting] = {}  # by topic, "" for all
        self._readers = 0  # in all of these
        self.number = began  # of the newest one

    def add(self, row: HeardStatus) -> None:
        """The next one; its number is `number` + 1."""
        self.number = row.number
        self._rows.append(row)
        self._bytes += len(row.text)
        while len(self._rows) > MAX_HEARD.value or self._bytes > MAX_HEARD_BYTES.value:
            self._bytes -= len(self._rows.popleft().text)
        page = HeardPage((row,), row.number, 0)
        for topic in ("", row.topic):
            if (waiting := self._waiting.pop(topic, None)) is not None:
                waiting.page = page
                waiting.came.set()

    async def after(self, topic: str, after: int, count: int, wait_s: float) -> HeardPage:
        """At most `count` of `topic` (empty: of all) behind `after`; waits for the first one for so long."""
        page = self._page(topic, after, count)
        if page.messages or page.lost or wait_s <= 0:
            return page
        with trio.move_on_after(wait_s):
            if self._readers < MAX_WOKEN.value:
                return await self._next(topic)
            while not page.messages:
                await trio.sleep(LATE_S)
                page = self._page(topic, page.next, count)
            return page
        return self._page(topic, page.next, count)

    async def _next(self, topic: str) -> HeardPage:
        """The first one that comes from now on, as a page."""
        waiting = self._waiting.setdefault(topic, _Waiting())
        waiting.readers += 1
        self._readers += 1
        try:
            await waiting.came.wait()
        finally:
            self._readers -= 1
            waiting.readers -= 1
            if not waiting.readers and self._waiting.get(topic) is waiting:
                del self._waiting[topic]
        return waiting.page

    def _page(self, topic: str, after: int, count: int) -> HeardPage:
        """Looks only at what is behind `after`."""
        fresh = not after
        if not self._began <= after <= self.number:  # of an earlier life of this node, or of none
            after = self._began
        behind = list(takewhile(lambda row: row.number > after, reversed(self._rows)))
        found = [row for row in reversed(behind) if topic in ("", row.topic)]
        count = min(count, PAGE)
        end = self.number if len(found) <= count else found[count - 1].number
        oldest = self._rows[0].number if self._rows else self.number + 1
        return HeardPage(tuple(found[:count]), end, 0 if fresh else max(0, oldest - 1 - after))
