"""Unverified copies of upstream's files and pages, apart from everything that is proven.

    proxied/<aa>/<sha256>      bytes, which never change       proxied/partial   on their way in
    proxied/index.sqlite       which bytes upstream gave for which path of which package, and when it last said so

Nothing here can be offered to a peer or named by the log, and all of it may be deleted while no node runs: it is asked
for again. So an index that is damaged is begun anew with its folder. Write order: bytes, fdatasync, rename, then the
row; eviction goes the other way round. A start removes rows without their file and files without a row.

The quota is kept before bytes come, by what they announce (`Room`). The bytes that were not asked for longest go first,
never those that somebody holds or was just told the path of.

Left out: what may be asked, how long an answer is fresh (node/upstream/).
"""

import os
import secrets
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import trio

from pyrsia.errors import Refusal, Unavailable
from pyrsia.store.quota import FULL, disk_full
from pyrsia.units import Limit

IN_HAND_S = Limit(60, "between the answer that names a path and the open of it lies less than a second")
SPARE_BYTES = Limit(512 << 20, "the log and what the node publishes need the same disk")
TOUCHED = Limit(
    10_000, "times of use that wait for the index, a megabyte; those that a crash loses harm nobody"
)
MAX_COPIES = Limit(500_000, "rows of 500 bytes; pages of a few KB would fill a quota with millions")
EVICTED_AT_ONCE = Limit(10_000, "rows looked at in one step, 20 ms; a file that needs more room asks again")

_T = TypeVar("_T")

INDEX: Final = "index.sqlite"
PARTIAL: Final = "partial"
_FORM: Final = 1  # of the tables; another one is begun anew
_TABLES: Final = """
CREATE TABLE files (sha256 TEXT PRIMARY KEY, size INTEGER NOT NULL, used_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX by_use ON files (used_ms);
CREATE TABLE copies (
    package TEXT NOT NULL, path TEXT NOT NULL, variant TEXT NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL,
    kind TEXT NOT NULL, asked TEXT NOT NULL, url TEXT NOT NULL, etag TEXT NOT NULL, modified TEXT NOT NULL,
    checked_ms INTEGER NOT NULL, PRIMARY KEY (package, path, variant)
) WITHOUT ROWID;
CREATE INDEX by_file ON copies (sha256);
"""
_COLUMNS: Final = "package, path, variant, sha256, size, kind, asked, url, etag, modified, checked_ms"


class Copy(msgspec.Struct, frozen=True):
    """What upstream gave for one path of one package.

    Attributes:
        package: versionless purl.
        variant: what the answer depends on beside the path, such as the media types that were wanted.
        sha256, size: of the bytes, as they were found.
        kind: Content-Type. asked: the URL that was asked. url: the one that answered, after redirects.
        etag, modified: its validators, "" for none.
        checked_ms: when upstream last said that it is this.
    """

    package: str
    path: str
    variant: str
    sha256: str
    size: int
    kind: str = ""
    asked: str = ""
    url: str = ""
    etag: str = ""
    modified: str = ""
    checked_ms: int = 0


class Copies:
    """The folder and its index. One per data directory; inside trio only, but for making and closing it.

    Attributes:
        quota: bytes that it may have, those on their way included.
        used: bytes of the files that are here.
        evicted: files that went to make room, since the start.
        said: what a start did that the operator should know; "" for nothing.
    """

    def __init__(
        self, folder: Path, *, quota: int, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        """Open or begin it, and put right what a crash left.

        Raises:
            Unavailable: the disk said no.
        """
        self.quota = quota
        self._folder = folder
        self._clock_ms = clock_ms
        self._thread = trio.CapacityLimiter(1)
        self._turn = trio.Lock()
        self._held: Counter[str] = Counter()
        self._touched: dict[str, int] = {}  # the one touched last stands last
        self._leaving: set[str] = set()
        self._reserved = 0
        self.used = self.evicted = self.rows = 0
        self.said = ""
        try:
            self._open()
        except (OSError, sqlite3.Error) as error:
            raise _no_disk(error) from None

    def close(self) -> None:
        """Keep the times of use, and let the folder go."""
        with suppress(sqlite3.Error):
            self._flush(list(self._touched.items()))
        self._reader.close()
        self._writer.close()

    def path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256

    # -- reading: the index, at once --

    def find(self, package: str, path: str, variant: str = "") -> Copy | None:
        """What is here of a path; its bytes stay for `IN_HAND_S` at least."""
        found = self._rows("package = ? AND path = ? AND variant = ?", package, path, variant)
        for one in found:
            self._touch(one.sha256)
        return found[0] if found else None

    def variants(self, package: str, path: str) -> list[Copy]:
        """Every form of a path that is here."""
        return self._rows("package = ? AND path = ?", package, path)

    def packages(self, sha256: str) -> list[str]:
        """Some of the packages for which upstream gave these bytes."""
        return [one.package for one in self._rows("sha256 = ? LIMIT 100", sha256)]

    def size(self, sha256: str) -> int | None:
        """Bytes of the file with this digest, which stay as those of `find`; None if it is not here."""
        if sha256 in self._leaving:
            return None
        try:
            row = self._reader.execute("SELECT size FROM files WHERE sha256 = ?", (sha256,)).fetchone()
        except sqlite3.Error as error:
            raise _no_disk(error) from None
        if row is None:
            return None
        self._touch(sha256)
        return int(row[0])

    def hold(self, sha256: str) -> None:
        """The file stays until `let_go` has been called as often."""
        self._held[sha256] += 1

    def let_go(self, sha256: str) -> None:
        self._held[sha256] -= 1
        if self._held[sha256] <= 0:
            del self._held[sha256]
        self._touch(sha256)

    def _touch(self, sha256: str) -> None:
        self._touched.pop(sha256, None)
        self._touched[sha256] = self._clock_ms()
        if len(self._touched) > TOUCHED.value:
            del self._touched[next(iter(self._touched))]

    def _in_use(self, sha256: str) -> bool:
        now_ms = self._clock_ms()
        since = now_ms - IN_HAND_S.value * 1_000
        # What was touched "later" was touched before the clock was set back, and nobody knows how long before.
        return sha256 in self._held or since < self._touched.get(sha256, since) <= now_ms

    def _rows(self, where: str, *values: str) -> list[Copy]:
        query = f"SELECT {_COLUMNS} FROM copies WHERE {where}"  # noqa: S608 (both texts are this module's)
        try:
            rows = self._reader.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise _no_disk(error) from None
        found = [Copy(*row) for row in rows]
        return [one for one in found if one.sha256 not in self._leaving]

    # -- writing: in a thread, one after the other --

    async def room(self, size: int) -> "Room":
        """A place for `size` bytes more; what is in the way and not in use goes.

        Raises:
            Refusal: `too-large`, or `busy` while everything that is kept is in use.
            Unavailable: the disk is full, or said no.
        """
        found = Room(self, self._folder / PARTIAL / secrets.token_hex(16))
        await found.grow(size)
        return found

    async def note(self, copy: Copy) -> None:
        """A row for bytes that are here: upstream said the same again, or has the same elsewhere.

        Nothing happens if they have gone meanwhile.
        """
        async with self._turn:
            if copy.sha256 not in self._leaving:
                self.rows += await self._write(lambda: _put_row(self._writer, copy))

    async def forget(self, package: str, path: str, variant: str = "") -> None:
        """Drop a row; bytes that no row names any more go in their turn."""
        where = "package = ? AND path = ? AND variant = ?"

        def drop() -> int:
            with self._writer:
                done = self._writer.execute(f"DELETE FROM copies WHERE {where}", (package, path, variant))  # noqa: S608
            return done.rowcount

        async with self._turn:
            self.rows -= await self._write(drop)

    async def lost(self, sha256: str, size: int) -> None:
        """Nothing is known any more of a file that is not there with this size: somebody tidied, or a disk lost it."""

        def drop() -> tuple[int, int]:
            return (0, 0) if is_whole(self.path(sha256), size) else self._drop([sha256])

        async with self._turn:
            less, rows = await self._write(drop)
            self.used -= less
            self.rows -= rows

    async def reserve(self, more: int, total: int) -> None:
        """Count `more` bytes that are on their way, `total` of one file; raises as `room`."""
        if total > self.quota:
            raise _too_large(total, self.quota)
        async with self._turn:
            while (over := self.used + self._reserved + more - self.quota) > 0:
                await self._evict(over)
            while self.rows >= MAX_COPIES.value:
                await self._evict(1)
            await self._write(lambda: _check_disk(self._folder, more))
            self._reserved += more

    def release(self, count: int) -> None:
        self._reserved -= count

    async def settle(self, temporary: Path, copy: Copy) -> Path:
        """Keep a whole file that was written to `temporary`; its path."""
        target, now_ms = self.path(copy.sha256), self._clock_ms()

        def work() -> tuple[int, int]:
            _sync(temporary)
            target.parent.mkdir(mode=0o700, exist_ok=True)
            temporary.rename(target)
            new = _put_file(self._writer, copy, now_ms)
            return (copy.size if new else 0), _put_row(self._writer, copy)

        async with self._turn:  # no eviction between the file and its row
            self._touch(copy.sha256)
            more, rows = await self._write(work)
            self.used += more
            self.rows += rows
        return target

    async def _evict(self, over: int) -> None:
        """Make room for `over` bytes, or a part of it: the rows go first, then the files. Within a turn.

        Raises:
            Refusal: `busy`.
        """
        touched = list(self._touched.items())
        oldest = await self._write(lambda: self._oldest(touched))
        freed = 0
        for sha256, size in oldest:
            if freed >= over:
                break
            if not self._in_use(
                sha256
            ):  # asked on the loop, where nobody can begin to use it before it is marked
                self._leaving.add(sha256)
                freed += size
        if not self._leaving:
            raise _all_in_use()
        try:
            size, rows = await self._write(lambda: self._drop(sorted(self._leaving)))
            self.evicted += len(self._leaving)
        finally:
            self._leaving.clear()
        self.used -= size
        self.rows -= rows

    def _oldest(self, touched: list[tuple[str, int]]) -> list[tuple[str, int]]:
        self._flush(touched)
        query = "SELECT sha256, size FROM files ORDER BY used_ms LIMIT ?"
        return self._writer.execute(query, (EVICTED_AT_ONCE.value + len(self._held),)).fetchall()

    def _drop(self, doomed: list[str]) -> tuple[int, int]:
        """Bytes and rows that went. Runs in the thread that writes."""
        size = rows = 0
        for sha256 in doomed:
            with self._writer:
                rows += self._writer.execute("DELETE FROM copies WHERE sha256 = ?", (sha256,)).rowcount
                found = self._writer.execute("DELETE FROM files WHERE sha256 = ? RETURNING size", (sha256,))
                size += sum(row[0] for row in found.fetchall())
            self.path(sha256).unlink(missing_ok=True)
        return size, rows

    def _flush(self, touched: list[tuple[str, int]]) -> None:
        """Times of use, into the index."""
        with self._writer:
            self._writer.executemany(
                "UPDATE files SET used_ms = ? WHERE sha256 = ?", [(at, sha256) for sha256, at in touched]
            )

    async def _write(self, work: Callable[[], _T]) -> _T:
        try:
            return await trio.to_thread.run_sync(work, limiter=self._thread)
        except (OSError, sqlite3.Error) as error:
            raise _no_disk(error) from None

    # -- the start --

    def _open(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.rmtree(self._folder / PARTIAL, ignore_errors=True)
        (self._folder / PARTIAL).mkdir(mode=0o700)
        try:
            self._connect()
            if not self._sound():
                raise sqlite3.DatabaseError("it is not what was written")
            self._reconcile()
        except sqlite3.Error as error:
            self._begin_anew()
            self.said = (
                f"the index of unverified copies was damaged ({error}); they are fetched again when asked for"
            )

    def _connect(self) -> None:
        path = self._folder / INDEX
        self._writer = sqlite3.connect(path, check_same_thread=False)
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.execute("PRAGMA synchronous = NORMAL")  # whole after a power cut; the last rows may lack
        form = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if form == 0:
            self._writer.executescript(f"{_TABLES} PRAGMA user_version = {_FORM};")
        elif form != _FORM:
            raise sqlite3.DatabaseError(f"it has the form {form}")
        self._reader = sqlite3.connect(path, isolation_level=None)

    def _sound(self) -> bool:
        found: object = self._writer.execute("PRAGMA quick_check(1)").fetchone()
        return found == ("ok",)

    def _begin_anew(self) -> None:
        for name in ("_writer", "_reader"):
            with suppress(AttributeError, sqlite3.Error):
                getattr(self, name).close()
        shutil.rmtree(self._folder)
        (self._folder / PARTIAL).mkdir(mode=0o700, parents=True)
        self._connect()

    def _reconcile(self) -> None:
        """Rows and files that belong together stay."""
        known = dict(self._writer.execute("SELECT sha256, size FROM files"))
        for file in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            if known.get(file.name) == file.stat().st_size:
                self.used += known.pop(file.name)
            else:
                file.unlink()
        with self._writer:
            for sha256 in known:
                self._writer.execute("DELETE FROM files WHERE sha256 = ?", (sha256,))
            self._writer.execute("DELETE FROM copies WHERE sha256 NOT IN (SELECT sha256 FROM files)")
        self.rows = self._writer.execute("SELECT count(*) FROM copies").fetchone()[0]


def is_whole(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


class Room:
    """A place for one file on its way in. It must be kept or dropped.

    Attributes:
        path: where to write it; nothing is there yet.
        size: bytes that there is room for.
    """

    def __init__(self, copies: Copies, path: Path) -> None:
        self._copies = copies
        self.path = path
        self.size = 0

    async def grow(self, more: int) -> None:
        """Room for `more` bytes than before; raises as `Copies.room`."""
        await self._copies.reserve(more, self.size + more)
        self.size += more

    async def keep(self, copy: Copy) -> Path:
        """The file is whole and is what `copy` says; its path from now on.

        Raises:
            Unavailable: the disk said no, and it is dropped.
        """
        try:
            return await self._copies.settle(self.path, copy)
        finally:
            self.drop()

    def drop(self) -> None:
        """Give the room back, with what was written. Calling it twice is harmless."""
        self._copies.release(self.size)
        self.size = 0
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


def _put_file(database: sqlite3.Connection, copy: Copy, now_ms: int) -> bool:
    """Whether these bytes are new here."""
    with database:
        done = database.execute(
            "INSERT INTO files VALUES (?, ?, ?) ON CONFLICT (sha256) DO NOTHING",
            (copy.sha256, copy.size, now_ms),
        )
    return done.rowcount == 1


def _put_row(database: sqlite3.Connection, copy: Copy) -> int:
    """How many rows more there are."""
    values = msgspec.structs.astuple(copy)
    with database:
        gone = database.execute(
            "DELETE FROM copies WHERE package = ? AND path = ? AND variant = ?", values[:3]
        ).rowcount
        came = database.execute(
            f"INSERT INTO copies SELECT {', '.join('?' * len(values))}"  # noqa: S608 (marks alone)
            " WHERE EXISTS (SELECT 1 FROM files WHERE sha256 = ?)",
            (*values, copy.sha256),
        ).rowcount
    return came - gone


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(handle)
    finally:
        os.close(handle)


def _check_disk(folder: Path, more: int) -> None:
    if shutil.disk_usage(folder).free - more < SPARE_BYTES.value:
        raise OSError(28, f"less than {SPARE_BYTES.value >> 20} MiB would be free")


def _no_disk(error: Exception) -> Unavailable:
    told = f"unverified copies cannot be kept or read: {error}"
    full = isinstance(error, OSError) and error.errno in FULL
    return disk_full(told) if full or "disk is full" in str(error) else Unavailable(told)


def _too_large(size: int, quota: int) -> Refusal:
    return Refusal(
        "too-large",
        what=f"a file of {size} bytes is more than this node keeps of upstream's files ({quota} bytes)",
        who="this node's quota for unverified copies",
        do="set proxy.quota_gb higher in config.toml",
    )


def _all_in_use() -> Refusal:
    return Refusal(
        "busy",
        what="everything that is kept of upstream's files is in use, and there is no room for more",
        who="this node's quota for unverified copies",
        do="try again in a minute, or set proxy.quota_gb higher in config.toml",
        retry_s=IN_HAND_S.value,
    )
