"""Numbers of what this node signs: each larger than every one before, also over a restart or a lost database.

A block of numbers is taken in advance, on disk, so that a number costs no write. A start goes on behind the block, or
at the clock's milliseconds where that is more: who lost the database does not say the same number twice.
"""

from typing import Final

from pyrsia.node.clock import NowMs, wall_ms
from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database

BLOCK: Final = 1_024


class Numbers:
    """Those under one key of `layout.MISC`."""

    def __init__(self, database: Database, key: bytes, now_ms: NowMs = wall_ms) -> None:
        self._database = database
        self._key = key
        raw = database.get(layout.MISC, key)
        self._taken = 0 if raw is None else layout.read_number(raw)
        self._durable = 0
        self._next = max(self._taken, now_ms())

    async def next(self, least: int = 0) -> int:
        """A number of `least` or more; nobody else gets it, in this life or another."""
        number = max(self._next, least)
        self._next = number + 1
        if number >= self._taken:
            self._taken = number + BLOCK
            self._database.write(Batch().put(layout.MISC, self._key, layout.number(self._taken)))
        if number >= self._durable:
            taken = self._taken
            await self._database.sync()
            self._durable = max(self._durable, taken)
        return number
