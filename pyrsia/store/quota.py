"""How much disk blobs may take: what counts, what has to go first, and what is refused before a byte is written.

Three kinds of bytes: pinned ones, which stay whatever happens; the cache, which is all the rest that is here; and what
is on its way, which counts from its promise on (`Room`), so that sixteen downloads at once cannot overshoot.
What must be kept (a builder's own results) may exceed the quota; nothing else does. Beside the quota a part of the disk
stays free for the log. Left out: which blob goes first (`eviction`), files and index (`blobs`).
"""

import errno
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import trio

from pyrsia.errors import StorageFull, Unavailable
from pyrsia.units import Limit

UNBOUNDED: Final = 1 << 60  # of a store without a quota: more than any disk has
RECOVERED = Limit(
    64 << 20,
    "free beyond the spare part before the disk is called well again: no notice flaps with a log line",
)
STAYS_S = Limit(60, "a full quota of the file system looks like room: who found it is believed for a minute")
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

_log = logging.getLogger("pyrsia.store")


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator decided.

    Attributes:
        quota: bytes that blobs may take, those on their way included.
        high, low: percent of what pins leave of it: above the first the cache shrinks to the second.
        spare: bytes of the disk that stay free.
    """

    quota: int = UNBOUNDED
    high: int = 90
    low: int = 70
    spare: int = 0


class Account:
    """What is kept and what was promised, in bytes. Pure."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.blobs = self.used = 0  # all that the index names
        self.pinned = 0  # of these
        self.promised = 0  # of what is on its way
        self.idle = 0  # of downloads that rest, which nobody has promised anything

    @property
    def cache(self) -> int:
        return self.used - self.pinned

    @property
    def taken(self) -> int:
        return self.used + self.promised + self.idle

    @property
    def stays(self) -> int:
        """Of what is taken, that which no room can be made of."""
        return self.pinned + self.promised

    @property
    def high(self) -> int:
        """Bytes of cache above which it shrinks."""
        return self._share(self.rules.high)

    @property
    def low(self) -> int:
        """Bytes to which it does."""
        return self._share(self.rules.low)

    def _share(self, percent: int) -> int:
        return max(0, self.rules.quota - self.pinned) * percent // 100

    def kept(self, size: int, *, pinned: bool) -> None:
        self.blobs += 1
        self.used += size
        self.pinned += size if pinned else 0

    def dropped(self, size: int, *, pinned: bool) -> None:
        self.blobs -= 1
        self.used -= size
        self.pinned -= size if pinned else 0

    def lacking(self, more: int) -> int:
        """Bytes that have to go before `more` fit."""
        return max(0, self.taken + more - self.rules.quota)

    def surplus(self) -> int:
        """Bytes of cache that go now: none below the high mark, and above it all down to the low one."""
        return self.cache - self.low if self.cache > self.high else 0


class Room:
    """A promise of some bytes, until they are kept or given up. A context manager."""

    def __init__(self, account: Account, size: int) -> None:
        self._account = account
        self.size = size
        self.on_disk = False  # the file system has set them aside too
        account.promised += size

    def release(self) -> None:
        """Calling it twice is harmless."""
        self._account.promised -= self.size
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Space:
    """The account with the disk beneath it.

    Args:
        folder: on the file system in question.
        evict: frees so many bytes of cache, or as many as it can; how many.
        free: bytes of the file system below a folder that may be taken.

    Attributes:
        full: why nothing more is taken now, for people; "" while there is room.
    """

    def __init__(
        self,
        folder: Path,
        rules: Rules,
        *,
        evict: Callable[[int], Awaitable[int]],
        free: Callable[[Path], int] | None = None,
    ) -> None:
        self.account = Account(rules)
        self.drop_resting: Callable[[int], Awaitable[int]] | None = None  # of `partials`: frees so many bytes
        self.full = ""
        self._folder = folder
        self._evict = evict
        self._free = free or free_bytes
        self._turn = trio.Lock()
        self._rooms: list[Room] = []
        self._full_s = 0.0  # when somebody last met it

    async def reserve(self, size: int, *, must: bool = False) -> Room:
        """Promise `size` bytes; cache that is in the way goes.

        Args:
            must: others rely on these bytes, so they are taken beyond the quota and into the spare part.

        Raises:
            StorageFull: there is no room, and what could go has gone.
            ValueError: the size is below zero.
        """
        if size < 0:
            raise ValueError(f"a blob of {size} bytes")
        quota = self.account.rules.quota
        if size > UNBOUNDED or (size > quota and not must):
            raise too_large(size, quota)
        async with self._turn:
            await self._clear(size, must=must)
            room = Room(self.account, size)
            self._rooms = [one for one in self._rooms if one.size and not one.on_disk]
            self._rooms.append(room)
            return room

    async def _clear(self, size: int, *, must: bool) -> None:
        """Evict until `size` bytes fit; within a turn."""
        account = self.account
        if not must and account.stays + size > account.rules.quota:
            raise quota_full(
                size, account
            )  # nothing that may go would do: it stays, and nobody looks through it
        if lacking := account.lacking(size):
            await self._let_rest_go(lacking)
        if lacking := account.lacking(size):
            await self._evict(max(lacking, account.cache - account.low))
            if account.lacking(size) and not must:
                raise quota_full(size, account)
        short = await self._short_of(size)
        if short > 0 and account.idle:
            await self._let_rest_go(short)
            short = await self._short_of(size)
        if short > 0 and account.cache:
            await self._evict(short)
            short = await self._short_of(size)
        if short > 0 and not must:
            self.say(self._until())
            raise disk_full(f"less than {_mb(account.rules.spare)} would stay free on its disk")

    async def _let_rest_go(self, need: int) -> None:
        """Downloads that rest go before anything that is whole."""
        if self.account.idle and self.drop_resting is not None:
            await self.drop_resting(need)

    async def _short_of(self, size: int) -> int:
        """Bytes that the disk lacks for `size` more beside the spare part, and for what was promised before."""
        if not self.account.rules.spare and not self.full:
            return 0
        coming = sum(one.size for one in self._rooms if not one.on_disk)
        free = await trio.to_thread.run_sync(self._free, self._folder)
        return size + coming + self.account.rules.spare - free

    async def look(self) -> None:
        """Shrink a cache that has grown too large, see whether the disk has room, and make some where the log needs it.

        For the one who looks now and then: two who look at once evict once.

        Raises:
            Unavailable: the disk said no.
        """
        async with self._turn:
            if surplus := self.account.surplus():
                await self._evict(surplus)
            short = await self._short_of(RECOVERED.value if self.full else 0)
            if short > 0 and self.account.cache:
                await self._evict(short)
                short = await self._short_of(RECOVERED.value if self.full else 0)
            if short > 0:
                self.say(self._until())
            elif self.full and trio.current_time() >= self._full_s + STAYS_S.value:
                self.full = ""
                _log.info("there is room on the disk again: files are taken as before")

    def _until(self) -> str:
        """What the operator has to reach. More than the spare part, so "less than it is free" would soon be untrue."""
        enough = _mb(self.account.rules.spare + RECOVERED.value)
        return f"files are taken again once {enough} are free on the disk of {self._folder.absolute()}"

    def say(self, why: str) -> None:
        """Nothing more fits; told to the diary once."""
        if not self.full:
            _log.warning("storage: full: %s; what is here is served, nothing more is taken", why)
        self.full = why
        with suppress(RuntimeError):  # at a start, before trio runs
            self._full_s = trio.current_time()

    def no_disk(self, where: str, error: OSError) -> Unavailable:
        """What an error of the system means for who wanted to write."""
        if error.errno in FULL:
            self.say(f"{where}: {error.strerror}")
        return no_disk(where, error)


def no_disk(where: str, error: OSError) -> Unavailable:
    """An error of the system as one of ours."""
    told = f"{where}: {error.strerror}"
    return disk_full(told) if error.errno in FULL else Unavailable(told)


def free_bytes(folder: Path) -> int:
    """Of the file system below `folder`, as far as this process may take them."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def disk_full(why: str) -> StorageFull:
    return StorageFull(
        f"this node takes no more files: {why}",
        do="ask another node; the operator of this one makes room on the disk, see pyrsia storage status",
    )


def quota_full(size: int, account: Account) -> StorageFull:
    return StorageFull(
        f"there is no room for {_mb(size)}: of {_mb(account.rules.quota)} that are allocated {_mb(account.pinned)} are "
        f"pinned and {_mb(account.taken - account.pinned)} in use",
        do="try again later; the operator raises storage.allocated_gb or unpins, see pyrsia storage status",
    )


def too_large(size: int, quota: int) -> StorageFull:
    return StorageFull(
        f"a file of {_mb(size)} does not fit: {_mb(quota)} are allocated to all",
        do="ask another node; the operator of this one raises storage.allocated_gb",
    )


def _mb(count: int) -> str:
    """Bytes for a person: in MB, and small ones as they are."""
    return f"{count / 1_000_000:,.1f} MB" if count >= 100_000 else f"{count:,} bytes"
