"""What was broadcast lately, for those who read along: a ring with numbers. A reader holds nothing here.

A reader asks for what is behind a number and waits for the first one. Who is slower than the ring is told how many he
missed: no reader makes another one wait, or this node keep more.
"""

from collections import deque
from typing import Final

import trio

from pyrsia.serve.messages import HeardPage, HeardStatus
from pyrsia.units import Limit

MAX_HEARD = Limit(2_000, "broadcasts that are shown again: some minutes of a busy network")
MAX_HEARD_BYTES = Limit(4 << 20, "the same in bytes of text")
PAGE: Final = 500  # in one answer


class Heard:
    """The ring."""

    def __init__(self) -> None:
        self._rows: deque[HeardStatus] = deque()
        self._bytes = 0
        self._gone = trio.Event()
        self.number = 0  # of the newest one

    def add(self, row: HeardStatus) -> None:
        """The next one; its number is `number` + 1."""
        self.number = row.number
        self._rows.append(row)
        self._bytes += len(row.text)
        while len(self._rows) > MAX_HEARD.value or self._bytes > MAX_HEARD_BYTES.value:
            self._bytes -= len(self._rows.popleft().text)
        self._gone.set()
        self._gone = trio.Event()

    async def after(self, topic: str, after: int, count: int, wait_s: float) -> HeardPage:
        """At most `count` of `topic` (empty: of all) behind `after`; waits for the first one for so long."""
        page = self._page(topic, after, count)
        with trio.move_on_after(wait_s):
            while not page.messages and wait_s > 0:
                await self._gone.wait()
                page = self._page(topic, after, count)
        return page

    def _page(self, topic: str, after: int, count: int) -> HeardPage:
        if after > self.number:  # of an earlier life of this node
            after = 0
        oldest = self._rows[0].number if self._rows else self.number + 1
        found = [row for row in self._rows if row.number > after and topic in ("", row.topic)]
        count = min(count, PAGE)
        end = self.number if len(found) <= count else found[count - 1].number
        return HeardPage(tuple(found[:count]), end, max(0, oldest - 1 - after) if after else 0)
