"""What a node's operator sees of its disk, and can order (`serve.desks.storage.StorageDesk`)."""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from pyrsia.errors import PyrsiaError, Refusal
from pyrsia.node.storage.pins import OPERATOR, Wanted
from pyrsia.node.storage.shelf import BlobRef
from pyrsia.node.storage.storing import Storing
from pyrsia.serve.desks.storage import (
    PinAnswer,
    PinnedShare,
    PinOrder,
    ScrubStatus,
    ShelfShare,
    StorageStatus,
)
from pyrsia.status import ReplicationStatus, Swept
from pyrsia.store.quota import quota_full
from pyrsia.store.scrub import Row
from pyrsia.units import Limit

FETCHES = Limit(10_000, "blobs that one pin brings; a pattern that lacks more is a mirror of the network")

_log = logging.getLogger("pyrsia.store")


@dataclass(slots=True)
class _Walk:
    """A scrub that somebody ordered."""

    pattern: str
    of: int
    done: int = 0
    found: int = 0
    over: bool = False
    ended: str = ""  # why, before it was through


class StorageDesk:
    """
    Args:
        storing: runs while anything is ordered.
        local, proxied: bytes used and allowed, of what was pushed here and of unverified copies.
        copies: how far the blobs of this node's shards are kept elsewhere.
    """

    def __init__(
        self,
        storing: Storing,
        *,
        local: Callable[[], tuple[int, int]],
        proxied: Callable[[], tuple[int, int]],
        copies: Callable[[], ReplicationStatus] = ReplicationStatus,
    ) -> None:
        self._storing = storing
        self._blobs = storing.blobs
        self._local = local
        self._proxied = proxied
        self._copies = copies
        self._walk: _Walk | None = None
        self._coming: dict[bytes, tuple[BlobRef, str]] = {}  # what pins bring, in order, and by which order
        self._bringing = False

    async def status(self) -> StorageStatus:
        account, storing = self._blobs.account, self._storing
        await storing.measure()
        copies = self._copies()
        return StorageStatus(
            allocated=account.rules.quota,
            used=account.used,
            blobs=account.blobs,
            pinned=account.pinned,
            cache=account.cache,
            promised=account.promised,
            resting=account.idle,
            high=account.high,
            low=account.low,
            free=storing.free,
            spare=account.rules.spare,
            full=self._blobs.space.full,
            evicted=self._blobs.evicted,
            pins=await self._pinned(),
            patterns=storing.pins.patterns,
            sweep=storing.swept,
            scrub=self._scrubbed(),
            rotten=storing.rotten(),
            local=ShelfShare(*self._local()),
            proxied=ShelfShare(*self._proxied()),
            replication=copies.line(),
            copies=copies,
        )

    async def _pinned(self) -> tuple[PinnedShare, ...]:
        """By reason; what stands behind a colon is one case of many."""
        blobs, count = Counter[str](), Counter[str]()
        async for _, record in self._blobs.rows():
            for reason in {pin.partition(":")[0] for pin in record.pins}:
                blobs[reason] += 1
                count[reason] += record.size
        return tuple(PinnedShare(reason, blobs[reason], count[reason]) for reason in sorted(blobs))

    def _scrubbed(self) -> ScrubStatus:
        walk, settings = self._storing.scrubber.round, self._storing.settings
        ordered = self._walk
        return ScrubStatus(
            mb_s=settings.scrub_mb_s,
            days=settings.scrub_days,
            running=bool(walk.began_s and not walk.ended_s) or (ordered is not None and not ordered.over),
            blobs=walk.blobs,
            bytes=walk.read,
            rotten=walk.rotten,
            last_s=walk.last_s,
            ordered=ordered is not None and not ordered.over,
            order=ordered.pattern if ordered else "",
            done=ordered.done if ordered else 0,
            of=ordered.of if ordered else 0,
            found=ordered.found if ordered else 0,
            ended=ordered.ended if ordered else "",
        )

    # -- pins --

    async def pin(self, order: PinOrder) -> PinAnswer:
        wanted = Wanted.parse(order.pattern)
        told, lacking = await self._matching(wanted)
        if not told.blobs and not lacking and wanted.glob is None:
            raise Refusal(
                "not-found",
                what=f"neither this node nor the log has {wanted.text[:16]}",
                who="your command",
                do="check the digest",
            )
        if order.fetch:
            self._check_room(lacking)
        await self._storing.pins.add(wanted)
        if order.fetch:
            self._fetch(lacking, wanted.text)
        return PinAnswer(
            told.pattern, told.blobs, told.bytes, told.missing, told.missing_bytes, len(lacking) if order.fetch else 0
        )  # fmt: skip

    async def unpin(self, pattern: str) -> PinAnswer:
        wanted = Wanted.parse(pattern)
        told, _ = await self._matching(wanted)
        await self._storing.pins.remove(wanted)
        return told

    async def _matching(self, wanted: Wanted) -> tuple[PinAnswer, list[BlobRef]]:
        here, lacking = dict[bytes, BlobRef](), dict[bytes, BlobRef]()
        for one in await self._storing.pins.matching(wanted):
            (here if self._blobs.has(one.sha256) else lacking)[one.sha256] = one
        told = PinAnswer(
            pattern=wanted.text,
            blobs=len(here),
            bytes=sum(one.size for one in here.values()),
            missing=len(lacking),
            missing_bytes=sum(one.size for one in lacking.values()),
        )
        return told, list(lacking.values())

    def _check_room(self, lacking: list[BlobRef]) -> None:
        """
        Raises:
            Refusal: `too-large`, or `storage-full` where it does not fit beside what is pinned.
        """
        if len(lacking) > FETCHES.value:
            raise Refusal(
                "too-large",
                what=f"{len(lacking):,} files match that are not here, and {FETCHES.value:,} are brought at once",
                who="your command",
                do="pin a part of them with --fetch, or all of them without",
            )
        size, account = sum(one.size for one in lacking), self._blobs.account
        if account.pinned + size > account.rules.quota:
            raise quota_full(size, account)

    def _fetch(self, lacking: list[BlobRef], order: str) -> None:
        self._coming |= {one.sha256: (one, order) for one in lacking}
        if not self._bringing and self._coming:
            self._start(self._bring)
            self._bringing = True

    async def _bring(self) -> None:
        try:
            while self._coming:
                sha256, (blob, order) = next(iter(self._coming.items()))
                try:
                    if self._storing.pins.stands(order):
                        await self._storing.bring(blob)
                    if self._storing.pins.stands(order):  # it may have been taken back meanwhile
                        await self._blobs.pin(sha256, OPERATOR)
                except PyrsiaError as error:
                    _log.warning("%s is pinned and does not come: %s", sha256.hex(), error)
                finally:
                    self._coming.pop(sha256, None)
        finally:
            self._bringing = False

    # -- order --

    async def sweep(self, *, dry: bool) -> Swept:
        return await self._storing.sweep(dry=dry)

    async def scrub(self, pattern: str) -> StorageStatus:
        if self._walk is not None and not self._walk.over:
            raise Refusal(
                "conflict",
                what=f"artifacts are being read already: {self._walk.done} of {self._walk.of}",
                who="an order before yours",
                do="wait for it: pyrsia storage status shows how far it is",
            )
        wanted = Wanted.parse(pattern) if pattern else None
        rows = await self._rows(wanted)
        if not rows and wanted is not None:
            raise Refusal(
                "not-found",
                what=f"nothing that matches {wanted.text} is here",
                who="your command",
                do="see what is: pyrsia storage status",
            )
        walk = _Walk(pattern, len(rows))
        self._start(self._read, walk, rows)
        self._walk = walk
        return await self.status()

    async def _rows(self, wanted: Wanted | None) -> list[tuple[bytes, int]]:
        if wanted is None:
            return [(sha256, record.size) async for sha256, record in self._blobs.rows()]
        found = {one.sha256: one.size for one in await self._storing.pins.matching(wanted)}
        return [(sha256, size) for sha256, size in found.items() if self._blobs.has(sha256)]

    async def _read(self, walk: _Walk, rows: list[tuple[bytes, int]]) -> None:
        row, began = Row(), trio.current_time()
        try:
            for sha256, size in rows:
                rotten = await self._storing.scrubber.check(sha256, size) == "rotten"
                walk.found += rotten
                walk.done += 1
                row.saw(rotten=rotten)
            if not walk.pattern:
                read = sum(size for _, size in rows)
                self._storing.scrubber.walked(trio.current_time() - began, walk.of, read, walk.found)
        except PyrsiaError as error:
            walk.ended = str(error)
            _log.warning("artifacts cannot be read again: %s", error)
        finally:
            walk.over = True

    def _start(self, work: Callable[..., Awaitable[object]], *args: object) -> None:
        nursery = self._storing.nursery
        if nursery is None:
            raise Refusal(
                "unavailable", what="this node is starting", who="this node", do="try again in a moment"
            )
        nursery.start_soon(work, *args)
