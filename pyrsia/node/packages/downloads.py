"""How often this node gave a file of the log to clients: counted in memory, written down now and then.

A download is an answer that went to its end and left the client with the whole file; who asked is not kept. No answer
waits for the disk: the counts of the last minute go with a crash, never those before.

Source: docs/providers.md, "Downloads".
"""

import logging
import re
from collections import Counter
from collections.abc import Callable
from typing import Final

import trio

from pyrsia.errors import Unavailable
from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import Limit

_log = logging.getLogger("pyrsia.node")

EVERY_S = Limit(60, "between two writes: what a crash may lose")
MAX_COUNTED = Limit(
    500_000,
    "files with a count of their own, 40 bytes each: more than the log of a large network names in years",
)
MAX_UNWRITTEN = Limit(
    4_096, "files with counts that are not written yet: a busy minute's; then they are written at once"
)

_DIGEST: Final = re.compile("[0-9a-f]{64}")
_BYTES: Final = 8
_ROWS: Final = b""  # the key of their number; those of files have 32 bytes


class Downloads:
    """One node's counts, by the digest of a file."""

    def __init__(self, database: Database, named: Callable[[str], bool]) -> None:
        """`named`: whether the log publishes a file with this digest; nothing else is counted."""
        self._database = database
        self._named = named
        self._fresh: Counter[str] = Counter()
        self._rows = int.from_bytes(database.get(layout.DOWNLOADS, _ROWS) or b"")

    @property
    def full(self) -> bool:
        """Whether files that were never given before are counted no more."""
        return self._rows >= MAX_COUNTED.value

    def given(self, sha256: str) -> None:
        """A client has a whole copy of what has this digest."""
        if sha256 not in self._fresh:
            if not _DIGEST.fullmatch(sha256) or not self._named(sha256):
                return
            if len(self._fresh) >= MAX_UNWRITTEN.value:
                self.write()
        self._fresh[sha256] += 1

    def of(self, sha256: str) -> int:
        """How often it was given."""
        return self._written(sha256) + self._fresh[sha256]

    def write(self) -> None:
        """Put down what is not written yet, for the operating system to keep when it likes.

        A disk that takes nothing costs counts and nothing else: they wait for the next time, as long as there is room.
        """
        batch, rows = Batch(), self._rows
        for sha256, count in self._fresh.items():
            before = self._written(sha256)
            if before or rows < MAX_COUNTED.value:
                rows += not before
                batch.put(layout.DOWNLOADS, bytes.fromhex(sha256), (before + count).to_bytes(_BYTES))
        try:
            if len(batch):
                self._database.write(batch.put(layout.DOWNLOADS, _ROWS, rows.to_bytes(_BYTES)))
        except Unavailable as error:
            _log.warning("counts of downloads are not written: %s", error)
            if len(self._fresh) < MAX_UNWRITTEN.value:
                return
        else:
            self._rows = rows
        self._fresh.clear()

    async def run(self) -> None:
        """Write every minute, and at the end."""
        try:
            while True:
                await trio.sleep(EVERY_S.value)
                self.write()
        finally:
            self.write()

    def _written(self, sha256: str) -> int:
        return int.from_bytes(self._database.get(layout.DOWNLOADS, bytes.fromhex(sha256)) or b"")
