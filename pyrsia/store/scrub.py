"""Reading every blob again to see whether it is still what its name says; a slow walk round all of them.

`Round` (pure) decides when a walk begins, `rest_s` how long to rest after a piece. `Scrubber` reads in a thread, from
the disk and not from the system's cache as far as that can be asked for, and twice before a blob is called rotten. Such
a blob is let go, index first; who wants it again hears of it by `on_rotten`. What says nothing about the blob (this
process is out of descriptors, or may not read it) lets nothing go: the walk rests. Where it stands is remembered, so
that a node that restarts each day gets round too. Left out: fetching it again (`node/storage/storing.py`).
"""

import errno
import hashlib
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, Literal

import msgspec
import trio

from pyrsia.errors import Unavailable
from pyrsia.store import layout
from pyrsia.store.blobs import BlobRecord, Blobs
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import Limit

PIECE_BYTES = Limit(4 << 20, "read at once: half a second of a slow disk, and a stop that comes soon")
NOTED_S = Limit(60, "what a crash makes a walk do again")
LOOK_S = Limit(600, "between two looks at whether a walk is due; it is days late at worst by this")
IN_A_ROW = Limit(
    8, "damaged blobs one after the other: beyond them the disk or its driver is ill, not the blobs"
)
DAMAGED: Final = frozenset({errno.ENOENT, errno.EIO})  # what an error says about the blob itself

_KEY: Final = b"storage/scrub"
_MB: Final = 1_000_000
DAY_S: Final = 86_400

Verdict = Literal["whole", "rotten", "gone"]

_log = logging.getLogger("pyrsia.store")


class Round(msgspec.Struct, array_like=True):
    """One walk through all blobs, in the order of their digests. Times are POSIX seconds.

    Attributes:
        after: the digest that was looked at last; empty before the first, and when it is over.
        began_s, ended_s: of this walk; the end is 0 while it goes on.
        blobs, read, rotten: what it has seen.
        last_s: when the newest whole walk ended; 0 for never.
    """

    after: bytes = b""
    began_s: int = 0
    ended_s: int = 0
    blobs: int = 0
    read: int = 0  # bytes
    rotten: int = 0
    last_s: int = 0

    def due(self, now_s: float, days: int) -> bool:
        """Whether there is something to read now. A clock that was set back makes a walk begin, not wait for years."""
        return not self.ended_s or not self.began_s <= now_s < self.began_s + days * DAY_S

    def begin(self, now_s: float) -> "Round":
        return Round(began_s=int(now_s), last_s=self.last_s)

    def saw(self, sha256: bytes, size: int, *, rotten: bool) -> None:
        self.after = sha256
        self.blobs += 1
        self.read += size
        self.rotten += rotten

    def end(self, now_s: float) -> None:
        self.after, self.ended_s, self.last_s = b"", int(now_s), int(now_s)


def rest_s(count: int, mb_s: int, took_s: float) -> float:
    """How long to rest after `count` bytes that took `took_s`, so that a second reads `mb_s` MB; 0 for no limit."""
    return max(0.0, count / (mb_s * _MB) - took_s) if mb_s else 0.0


class Row:
    """How many damaged blobs came one after the other in one walk."""

    def __init__(self) -> None:
        self._count = 0

    def saw(self, *, rotten: bool) -> None:
        """
        Raises:
            Unavailable: so many that the next ones had better be left alone for now.
        """
        self._count = self._count + 1 if rotten else 0
        if self._count >= IN_A_ROW.value:
            self._count = 0
            raise Unavailable(
                f"{IN_A_ROW.value} one after the other are damaged, so the disk itself may be: look at it"
            )


class Scrubber:
    """Looks at the blobs of one node.

    Attributes:
        round: the walk that goes on, or the one that ended last.
    """

    def __init__(
        self, blobs: Blobs, database: Database, *, mb_s: int, days: int, clock_s: Callable[[], float]
    ) -> None:
        self._blobs = blobs
        self._database = database
        self._mb_s = mb_s
        self._days = days
        self._clock_s = clock_s
        self._thread = trio.CapacityLimiter(1)
        self._noted_s = -1e9
        self._row = Row()
        self.round = self._read()

    async def run(self) -> None:
        """Walk whenever it is time, until cancelled. Nothing is read where the rate is 0."""
        while True:
            while self._mb_s and self.round.due(self._clock_s(), self._days):
                await self.step()
            await trio.sleep(LOOK_S.value)

    async def step(self) -> None:
        """Look at the next blob, or begin or end a walk.

        Raises:
            Unavailable: it could not be looked at, or too many were damaged; the walk goes on behind it.
        """
        if not self.round.began_s or self.round.ended_s:
            self.round = self.round.begin(self._clock_s())
        start = self.round.after + b"\0" if self.round.after else b""
        found = self._database.scan(layout.BLOBS, start, 1)
        if not found:
            self.round.end(self._clock_s())
            self._note()
            return
        sha256, raw = found[0]
        record = msgspec.msgpack.decode(raw, type=BlobRecord)
        try:
            verdict = await self.check(sha256, record.size, mb_s=self._mb_s)
        except Unavailable:
            self.round.after = sha256
            raise
        self.round.saw(sha256, record.size, rotten=verdict == "rotten")
        if trio.current_time() >= self._noted_s + NOTED_S.value:
            self._note()
        self._row.saw(rotten=verdict == "rotten")

    def walked(self, took_s: float, blobs: int, read: int, rotten: int) -> None:
        """Somebody had everything read: as good as a walk of our own, whose days begin with it."""
        now_s = int(self._clock_s())
        began_s = now_s - int(took_s)
        self.round = Round(
            began_s=began_s, ended_s=now_s, blobs=blobs, read=read, rotten=rotten, last_s=now_s
        )
        self._note()

    async def check(self, sha256: bytes, size: int, *, mb_s: int = 0) -> Verdict:
        """Whether a blob is what it must be; one that is not is let go.

        A disk or memory that erred once may be right the next time, so it is read twice.

        Raises:
            Unavailable: it cannot be told now.
        """
        for _ in range(2):
            # Its reading makes nobody want it: the time of its last use stays.
            with self._blobs.holding(sha256, use=False):
                good = await self._is_whole(sha256, size, mb_s)
            if good or self._blobs.size(sha256) != size:
                return "whole" if good else "gone"
            await self._blobs.in_thread(self._blobs.anchor.check)  # it is not the whole folder that is away
        if not await self._blobs.let_go(sha256, size):
            return "gone"
        _log.warning("the file of %s is damaged: it is let go, and wanted again", sha256.hex())
        return "rotten"

    async def _is_whole(self, sha256: bytes, size: int, mb_s: int) -> bool:
        path, flags = self._blobs.path(sha256), os.O_RDONLY | os.O_CLOEXEC
        try:
            handle = await trio.to_thread.run_sync(os.open, path, flags, limiter=self._thread)
        except OSError as error:
            return _damaged(error)
        try:
            if os.fstat(handle).st_size != size:
                return False
            digest = hashlib.sha256()
            for offset in range(0, size, PIECE_BYTES.value):
                count, began_s = min(PIECE_BYTES.value, size - offset), trio.current_time()
                piece = partial(_read, handle, offset, count)
                digest.update(await trio.to_thread.run_sync(piece, limiter=self._thread))
                await trio.sleep(rest_s(count, mb_s, trio.current_time() - began_s))
            return digest.digest() == sha256
        except OSError as error:
            return _damaged(error)
        finally:
            os.close(handle)

    def _note(self) -> None:
        """Remember where the walk stands; not synced, for what is lost is read again."""
        self._database.write(Batch().put(layout.MISC, _KEY, msgspec.msgpack.encode(self.round)))
        self._noted_s = trio.current_time()

    def _read(self) -> Round:
        raw = self._database.get(layout.MISC, _KEY)
        if raw is None:
            return Round()
        try:
            return msgspec.msgpack.decode(raw, type=Round)
        except msgspec.DecodeError:
            return Round()


def _read(handle: int, offset: int, count: int) -> bytes:
    """From the disk: what the system remembers of it says nothing about the disk."""
    with suppress(OSError):
        os.posix_fadvise(handle, offset, count, os.POSIX_FADV_DONTNEED)
    return os.pread(handle, count, offset)


def _damaged(error: OSError) -> bool:
    """False for an error that is the blob's own: it is not whole.

    Raises:
        Unavailable: for any other.
    """
    if error.errno not in DAMAGED:
        raise Unavailable(f"artifacts cannot be read now: {error.strerror}") from None
    return False
