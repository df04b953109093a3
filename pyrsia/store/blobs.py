"""Artifact bytes: immutable files named by their SHA-256, below `blobs/<aa>/<bb>/`.

Write order: bytes, fdatasync, rename, fsync of every new directory, then the index; so the
index never names a missing file. Eviction goes the other way round. A sweep at start removes what was
half written. Reading is the caller's: the path is given out, the file never changes.

A blob with a pin stays. The others are cache: the one used longest ago goes first (`eviction`) when room is needed
(`quota`), but for what somebody holds, or was told the path of a moment ago. Times of use are remembered and written
now and then, so that reading writes nothing.
"""

import hashlib
import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import trio

from pyrsia.errors import Refusal, Unavailable
from pyrsia.files import into_place
from pyrsia.store import layout
from pyrsia.store.anchor import Anchor
from pyrsia.store.eviction import Candidate, Oldest, Uses
from pyrsia.store.growing import Growing
from pyrsia.store.incoming import PartialBlob, copy, dropped_on_failure, set_aside, write_file
from pyrsia.store.quota import Account, Room, Rules, Space
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import BLOB_ROWS, Limit

COARSE_S = Limit(600, "a time of use that is newer by less is not worth a write")
EVICTED_AT_ONCE = Limit(256, "blobs of one batch and one sync; a put of one of them waits for both")

_T = TypeVar("_T")

_log = logging.getLogger("pyrsia.store")

PARTIAL: Final = "partial"
# In MISC, then a SHA-256: the record of a blob that was let go and is wanted again since then.
MEND: Final = b"storage/mend/"


class BlobRecord(msgspec.Struct, frozen=True, array_like=True):
    """What the index says of a blob: bytes, who wants it kept, and about when it was last used (POSIX seconds)."""

    size: int
    pins: tuple[str, ...] = ()
    used_s: int = 0


Told = Callable[[bytes], object]


class Blobs:
    """The files below `folder`, with their index in `database`.

    Attributes:
        space: what they take, and whether there is room.
        anchor: whether the folder is there at all.
        on_kept: called with the digest of each blob that is here from now on, whole and synced.
        on_gone: called with the digest of each blob that is not here any more.
        on_rotten: called with the digest of each that was damaged or missing, after it was let go.
        evicted: blobs that went to make room, since the start.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        rules: Rules | None = None,
        *,
        clock_s: Callable[[], float] = time.time,
        free: Callable[[Path], int] | None = None,
    ) -> None:
        """Make `folder`, empty what was half written in it, and count what is here.

        Args:
            rules: None for no quota.
            free: bytes of the file system below a folder that may be taken.

        Raises:
            Unavailable: the disk said no.
        """
        self._folder = folder
        self._database = database
        self._partials = folder / PARTIAL
        self._thread = trio.CapacityLimiter(4)
        self._clock_s = clock_s
        self._held: Counter[bytes] = Counter()
        self._settling: Counter[bytes] = Counter()
        self._leaving: dict[bytes, trio.Event] = {}
        self._uses = Uses(clock_s)
        self.on_kept: list[Told] = []
        self.on_gone: list[Told] = []
        self.on_rotten: list[Told] = []
        self.evicted = 0
        self.space = Space(folder, rules or Rules(), evict=self.make_room, free=free)
        try:
            self._partials.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sweep()
        except OSError as error:
            raise self._no_disk(error) from None
        self._count()
        self.anchor = Anchor(folder, database, empty=not self.account.blobs)

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def account(self) -> Account:
        return self.space.account

    @property
    def used(self) -> int:
        """Bytes of all blobs that are here."""
        return self.account.used

    async def reserve(self, size: int, *, must: bool = False) -> Room:
        """Room for `size` bytes that are to come: a context manager. See `Space.reserve`.

        Raises:
            StorageFull: there is none, and what could go has gone.
        """
        return await self.space.reserve(size, must=must)

    def path(self, sha256: bytes) -> Path:
        name = sha256.hex()
        return self._folder.joinpath(name[:2], name[2:4], name)

    def has(self, sha256: bytes) -> bool:
        return self._record(sha256) is not None

    def size(self, sha256: bytes) -> int | None:
        record = self._record(sha256)
        return None if record is None else record.size

    async def put_bytes(self, data: bytes, *, pin: str = "") -> bytes:
        """Keep `data`; its SHA-256. With a pin it is kept beyond the quota too.

        Raises:
            StorageFull, Unavailable: the disk said no.
        """
        sha256 = hashlib.sha256(data).digest()
        temporary = self._temporary()
        with await self.reserve(len(data), must=bool(pin)) as room, dropped_on_failure(temporary):
            await self.in_thread(lambda: write_file(temporary, data))
            await self.settle(temporary, sha256, len(data), pin, room)
        return sha256

    async def adopt(self, file: Path, sha256: bytes, *, pin: str = "") -> None:
        """Keep a copy of `file`, after its bytes were checked against `sha256`; with a pin beyond the quota too.

        Raises:
            Refusal: `digest-mismatch`.
            StorageFull, Unavailable: the disk said no.
        """
        temporary = self._temporary()
        size = await self.in_thread(lambda: file.stat().st_size)
        with await self.reserve(size, must=bool(pin)) as room, dropped_on_failure(temporary):
            found, size = await self.in_thread(lambda: copy(file, temporary))
            if found != sha256:
                raise Refusal(
                    "digest-mismatch",
                    what=f"{file.name} has the SHA-256 {found.hex()}, not {sha256.hex()}",
                    who="whoever made the file",
                    do="make it again",
                )
            await self.settle(temporary, sha256, size, pin, room)

    async def writer(self, size: int, growing: Growing | None = None) -> PartialBlob:
        """A file of `size` bytes to be written in any order; `growing` is told what has come.

        Raises:
            StorageFull: there is no room for it.
            Unavailable: the disk said no.
        """
        path = self._temporary()
        room = await self.reserve(size)
        try:
            with dropped_on_failure(path):
                handle = await self.in_thread(lambda: set_aside(path, size))
        except BaseException:
            room.release()
            raise
        room.on_disk = True
        partial = PartialBlob(self, path, handle, size, growing, room)
        if growing is not None:
            try:
                growing.opened(path)
            except OSError as error:
                partial.discard()
                raise self._no_disk(error) from None
        return partial

    # -- who wants them --

    async def pin(self, sha256: bytes, reason: str, *, sync: bool = True) -> bool:
        """Whether it is here; then it stays until it is unpinned for the same reason.

        Args:
            sync: return when the disk has it; who pins many syncs once.
        """
        return await self._pins(sha256, lambda pins: pins if reason in pins else (*pins, reason), sync=sync)

    async def unpin(self, sha256: bytes, reason: str) -> bool:
        """Whether it is here."""
        return await self._pins(sha256, lambda pins: tuple(one for one in pins if one != reason))

    async def _pins(
        self, sha256: bytes, change: Callable[[tuple[str, ...]], tuple[str, ...]], *, sync: bool = True
    ) -> bool:
        record = self._record(sha256)
        if record is None:
            return False
        pins = change(record.pins)
        if pins != record.pins:
            self._write(sha256, msgspec.structs.replace(record, pins=pins))
        if sync:  # also what another has just written
            await self._database.sync()
        return True

    def pins(self, sha256: bytes) -> tuple[str, ...]:
        """For what reasons it stays."""
        record = self._record(sha256)
        return () if record is None else record.pins

    @contextmanager
    def holding(self, sha256: bytes, *, use: bool = True) -> Iterator[None]:
        """What is here of it is not evicted meanwhile: a pin that a restart forgets.

        Args:
            use: somebody wants it; False for who only looks at it.
        """
        self._held[sha256] += 1
        try:
            yield
        finally:
            _less(self._held, sha256)
            if use:
                self.touch(sha256)

    def touch(self, sha256: bytes) -> None:
        """Somebody wants it now; for some seconds it is not evicted."""
        self._uses.note(sha256)

    async def note_uses(self) -> None:
        """Write when blobs were used, where that has changed much. Not synced: a crash loses it, and nothing else."""
        touched = self._uses.items()
        for at in range(0, len(touched), BLOB_ROWS.value):
            batch = Batch()
            for sha256, used_s in touched[at : at + BLOB_ROWS.value]:
                record = self._record(sha256)
                if record is not None and used_s - record.used_s >= COARSE_S.value:
                    replaced = msgspec.structs.replace(record, used_s=used_s)
                    batch.put(layout.BLOBS, sha256, msgspec.msgpack.encode(replaced))
            if len(batch):
                self._database.write(batch)
            await trio.lowlevel.checkpoint()
        self._uses.written(touched)

    # -- who goes --

    async def evict(self, sha256: bytes, *, pins: Collection[str] = ()) -> bool:
        """Forget a blob that nobody pinned or holds: index first, synced, then the file. Whether it went.

        Args:
            pins: those that keep it no longer; they go with it, or stay where it does.
        """
        return bool(await self._evict([sha256], pins=pins))

    async def let_go(self, sha256: bytes, size: int = -1) -> bool:
        """Forget a damaged blob, pinned or not, but for who wanted it and since when (`MEND`). Whether it was here.

        Args:
            size: its file is known to be gone or damaged only for the record with this size.

        Raises:
            Unavailable: the folder is away, so nothing is known of its files.
        """
        await self.in_thread(self.anchor.check)
        record = self._record(sha256)
        if record is None or size not in (-1, record.size) or not self._free_of_others(sha256):
            return False
        wanted = msgspec.structs.replace(record, used_s=int(self._clock_s()))
        mend = Batch().put(layout.MISC, MEND + sha256, msgspec.msgpack.encode(wanted))
        await self._drop({sha256: record}, mend)
        for told in self.on_rotten:
            told(sha256)
        return True

    def is_coming(self, sha256: bytes) -> bool:
        """Its file is being put into its place."""
        return sha256 in self._settling

    async def know(self, sha256: bytes, size: int, used_s: int) -> bool:
        """Name a whole file that lies in its place, and that a crash left without a row. Whether it does now."""
        if self.has(sha256) or not self._free_of_others(sha256):
            return False
        self._write(sha256, BlobRecord(size, self._missed(sha256), used_s))
        await self._database.sync()
        return True

    async def forget_file(self, sha256: bytes) -> bool:
        """Remove a file without a row; whether there is none now."""
        if self.has(sha256) or not self._free_of_others(sha256):
            return False
        over = self._leaving[sha256] = trio.Event()
        try:
            with trio.CancelScope(shield=True):
                await self.in_thread(lambda: self._unlink([sha256]))
        finally:
            del self._leaving[sha256]
            over.set()
        return True

    async def make_room(self, need: int) -> int:
        """Evict cache until `need` bytes went, or nothing is left that may; how many went."""
        freed = 0
        while freed < need:
            oldest = Oldest(need - freed)
            async for sha256, record in self.rows():
                if self._may_go(sha256, record):
                    oldest.offer(Candidate(self._uses.last_s(sha256, record.used_s), sha256, record.size))
            chosen, went = [one.sha256 for one in oldest.chosen()], 0
            for at in range(0, len(chosen), EVICTED_AT_ONCE.value):
                went += await self._evict(chosen[at : at + EVICTED_AT_ONCE.value], cache=True)
            if not went:
                break
            freed += went
        return freed

    def rows(self, start: bytes = b"") -> AsyncIterator[tuple[bytes, BlobRecord]]:
        """Every blob from a digest on, in their order; others have a turn between."""
        return _Rows(self._database, start)

    async def _evict(
        self, wanted: Sequence[bytes], *, cache: bool = False, pins: Collection[str] = ()
    ) -> int:
        """Bytes of those that went.

        Args:
            cache: leave what is in somebody's hand.
        """
        going: dict[bytes, BlobRecord] = {}
        for sha256 in wanted:
            record = self._record(sha256)
            if record is None or not self._free_of_others(sha256):
                continue
            if sha256 in self._held or not frozenset(pins).issuperset(record.pins):
                continue
            if not (cache and self._uses.in_hand(sha256)):
                going[sha256] = record
        if cache:
            self.evicted += len(going)
        await self._drop(going)
        return sum(record.size for record in going.values())

    async def _drop(self, going: dict[bytes, BlobRecord], batch: Batch | None = None) -> None:
        """Index, sync, files, in this order. Nothing awaits before the index has changed.

        Args:
            batch: what becomes visible with it.
        """
        if not going:
            return
        batch, over = batch or Batch(), trio.Event()
        for sha256 in going:
            batch.delete(layout.BLOBS, sha256)
        self._database.write(batch)
        try:
            for sha256, record in going.items():
                self._leaving[sha256] = over
                self.account.dropped(record.size, pinned=bool(record.pins))
                self._uses.forget(sha256)
            with trio.CancelScope(shield=True):  # half of it would be a file that only a walk finds
                await self._database.sync()
                await self.in_thread(lambda: self._unlink(going))
        finally:
            for sha256 in going:
                del self._leaving[sha256]
            over.set()
            self._tell_gone(going)

    def _unlink(self, gone: Iterable[bytes]) -> None:
        """In a thread. What cannot be unlinked is found by the next walk."""
        for sha256 in gone:
            with suppress(OSError):
                self.path(sha256).unlink(missing_ok=True)

    def _tell_gone(self, gone: Iterable[bytes]) -> None:
        for sha256 in gone:
            for told in self.on_gone:
                try:
                    told(sha256)
                except Exception:  # noqa: BLE001 - the border: the others are told all the same, and room was made
                    _log.exception("somebody who was told that %s is gone", sha256.hex()[:16])

    def _free_of_others(self, sha256: bytes) -> bool:
        """Nobody is putting it here, or taking it away."""
        return sha256 not in self._settling and sha256 not in self._leaving

    def _may_go(self, sha256: bytes, record: BlobRecord) -> bool:
        if record.pins or sha256 in self._held or not self._free_of_others(sha256):
            return False
        return not self._uses.in_hand(sha256)

    # -- the index --

    def is_missed(self, sha256: bytes) -> bool:
        """It was damaged or missing, and is wanted again."""
        return self._database.get(layout.MISC, MEND + sha256) is not None

    def _missed(self, sha256: bytes) -> tuple[str, ...]:
        """Who wanted a blob that was let go: they want it when it is back, whoever brought it."""
        raw = self._database.get(layout.MISC, MEND + sha256)
        return () if raw is None else _decoded(raw).pins

    def _record(self, sha256: bytes) -> BlobRecord | None:
        raw = self._database.get(layout.BLOBS, sha256)
        return None if raw is None else _decoded(raw)

    def _write(self, sha256: bytes, record: BlobRecord) -> None:
        """Make a record visible, and count it; not durable. Nothing awaits between reading the old one and this."""
        before = self._record(sha256)
        self._database.write(Batch().put(layout.BLOBS, sha256, msgspec.msgpack.encode(record)))
        if before is not None:
            self.account.dropped(before.size, pinned=bool(before.pins))
        self.account.kept(record.size, pinned=bool(record.pins))

    async def settle(
        self, temporary: Path, sha256: bytes, size: int, pin: str = "", room: Room | None = None
    ) -> None:
        """Put a whole file, synced and checked, into its place; durable when this returns.

        Args:
            room: what was promised for it: it is used up.

        Raises:
            StorageFull, Unavailable: the disk said no.
        """
        while sha256 in self._leaving:
            await self._leaving[sha256].wait()
        self._settling[sha256] += 1
        try:
            await self.in_thread(lambda: _into_place(temporary, self.path(sha256)))
            known = self._record(sha256)
            pins = known.pins if known else self._missed(sha256)
            if pin and pin not in pins:
                pins = (*pins, pin)
            self._write(sha256, BlobRecord(size, pins, int(self._clock_s())))
            self.touch(sha256)
            if room is not None:
                room.release()
        finally:
            _less(self._settling, sha256)
        with trio.CancelScope(shield=True):  # it is here now, and all who want to know hear of it
            await self._database.sync()
        for told in self.on_kept:
            told(sha256)

    def _count(self) -> None:
        """What the index names, at the start."""
        start = b""
        while rows := self._database.scan(layout.BLOBS, start, BLOB_ROWS.value):
            for _, raw in rows:
                record = _decoded(raw)
                self.account.kept(record.size, pinned=bool(record.pins))
            start = rows[-1][0] + b"\0"

    def _temporary(self) -> Path:
        return self._partials / secrets.token_hex(12)

    def _sweep(self) -> None:
        """What was half written when the process ended is nobody's."""
        for path in self._partials.iterdir():
            path.unlink(missing_ok=True)

    async def in_thread(self, work: Callable[[], _T]) -> _T:
        try:
            return await trio.to_thread.run_sync(work, limiter=self._thread)
        except OSError as error:
            raise self._no_disk(error) from None

    def _no_disk(self, error: OSError) -> Unavailable:
        return self.space.no_disk(f"the blob folder {self._folder}", error)


class _Rows:
    """The index, a page at a time. No generator: one that is left in the middle would want to be closed."""

    def __init__(self, database: Database, start: bytes) -> None:
        self._database = database
        self._start = start
        self._page: Iterator[tuple[bytes, bytes]] = iter(())

    def __aiter__(self) -> "_Rows":
        return self

    async def __anext__(self) -> tuple[bytes, BlobRecord]:
        for sha256, raw in self._page:
            return sha256, _decoded(raw)
        await trio.lowlevel.checkpoint()
        rows = self._database.scan(layout.BLOBS, self._start, BLOB_ROWS.value)
        if not rows:
            raise StopAsyncIteration
        self._start = rows[-1][0] + b"\0"
        self._page = iter(rows)
        return await self.__anext__()


def _into_place(temporary: Path, target: Path) -> None:
    try:
        into_place(temporary, target)
    except FileNotFoundError:  # a sweep took the new folder for an empty one
        into_place(temporary, target)


def _decoded(raw: bytes) -> BlobRecord:
    return msgspec.msgpack.decode(raw, type=BlobRecord)


def _less(counter: Counter[bytes], sha256: bytes) -> None:
    counter[sha256] -= 1
    if not counter[sha256]:
        del counter[sha256]
