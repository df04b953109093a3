"""Packages that were pushed to this node: rows in the database, bytes in files of their own.

    local/<aa>/<bb>/<sha256>   bytes, which never change       local/partial   on their way in
    local/rows                 what the rows are (journal.py)

Apart from `blobs/`, so that nothing here can be offered to a peer or named by the log. Write order: bytes, fdatasync,
rename, a line of the journal, then one batch with the row and the count of rows that name the bytes; where the last of
them goes the bytes go last. So a row never names a missing file, and what a crash leaves is files without a row, which
a start removes. No other node has any of it: where the database was begun anew, its rows are made of the journal.

Left out: who may push, how much, and what the keys mean (node/packages/local.py, and the registries).
"""

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Final

import msgspec
import trio

from pyrsia.errors import Unavailable
from pyrsia.files import into_place, sync_folder
from pyrsia.store import layout
from pyrsia.store.blobs import PARTIAL
from pyrsia.store.journal import Journal, Line
from pyrsia.store.quota import no_disk
from pyrsia.store.rocks import Batch, Database
from pyrsia.store.turns import Turns
from pyrsia.units import Limit

SCAN_ROWS = Limit(1_000, "rows that one step through the database holds at once: about a megabyte")

ROWS: Final = "rows"
_KNOWN: Final = b"local-known"  # in MISC: the rows of this database are those of the folder
_BEHIND: Final = "\x01"  # follows the 0 between package and key


class Pushed(msgspec.Struct, frozen=True, array_like=True):
    """A row: whose bytes, pushed when and with which token, and what the registry remembers beside them."""

    sha256: bytes
    size: int
    time_ms: int
    by: str
    more: dict[str, str]


class _When(msgspec.Struct, frozen=True, array_like=True):
    """The beginning of a row: what is behind the time is passed over."""

    sha256: bytes
    size: int
    time_ms: int


class _Held(msgspec.Struct, frozen=True, array_like=True):
    """Bytes that `rows` rows name."""

    size: int
    rows: int


class LocalStore:
    """The folder and its rows. One per data directory; rows change on the trio loop only.

    Attributes:
        packages: versionless purl -> how many rows it has.
        used: bytes of all files that rows name.
        remembered: bytes that the rows themselves take, in the database and in the journal.
        said: what a start did that the operator should know; "" for nothing.
    """

    def __init__(self, folder: Path, database: Database) -> None:
        """Read what there is, and remove what was left half done. Blocks: for a start only.

        Raises:
            Unavailable: the disk said no.
        """
        self._folder = folder
        self._database = database
        self._journal = Journal(folder / ROWS)
        self._turns = Turns()  # so that the journal has the order of the database
        self._settling: Counter[bytes] = Counter()  # digests whose file is in place and whose row is to come
        self._thread = trio.CapacityLimiter(4)
        self.packages: Counter[str] = Counter()
        self.used = 0
        self.remembered = 0
        try:
            (folder / PARTIAL).mkdir(mode=0o700, parents=True, exist_ok=True)
            self.said = self._learn()
            self._load()
            self._sweep()
            self._shorten()
        except OSError as error:
            raise self._no_disk(error) from None

    # -- reading --

    def get(self, package: str, key: str) -> Pushed | None:
        raw = self._database.get(layout.LOCAL, _key(package, key))
        return None if raw is None else _row(raw)

    def rows(self, package: str, start: str) -> Iterator[tuple[str, Pushed]]:
        """Keys that begin with `start`, in order of their UTF-8."""
        skip = len(_key(package, ""))
        first = _key(package, start)
        for key, raw in self._scan(layout.LOCAL, first, _key(package, "", _BEHIND)):
            if not key.startswith(first):
                return
            yield key[skip:].decode(), _row(raw)

    def latest(self, package: str, start: str, most: int) -> list[tuple[str, Pushed]]:
        """Of the same the `most` that were pushed last, in order of their keys; the others are hardly looked at."""
        skip = len(_key(package, ""))
        found = heapq.nlargest(most, self._times(package, start))
        return [(key[skip:].decode(), _row(raw)) for _, key, raw in sorted(found, key=itemgetter(1))]

    def _times(self, package: str, start: str) -> Iterator[tuple[int, bytes, bytes]]:
        first = _key(package, start)
        for key, raw in self._scan(layout.LOCAL, first, _key(package, "", _BEHIND)):
            if not key.startswith(first):
                return
            yield msgspec.msgpack.decode(raw, type=_When).time_ms, key, raw

    def keys(self, package: str, start: str) -> Iterator[str]:
        """The keys of `rows` without what stands there, for a twentieth of the work."""
        skip = len(_key(package, ""))
        first = _key(package, start)
        for key, _ in self._scan(layout.LOCAL, first, _key(package, "", _BEHIND)):
            if not key.startswith(first):
                return
            yield key[skip:].decode()

    def size(self, sha256: bytes) -> int | None:
        """Of bytes that a row names."""
        held = self._held(sha256)
        return None if held is None else held.size

    def path(self, sha256: bytes) -> Path:
        name = sha256.hex()
        return self._folder.joinpath(name[:2], name[2:4], name)

    def partial(self, name: str) -> Path:
        """Where bytes are collected; emptied by every start."""
        return self._folder / PARTIAL / name

    # -- changing --

    async def keep(self, arrived: Path, package: str, key: str, row: Pushed) -> None:
        """Durable when this returns. `arrived` holds the row's bytes and is synced; it is gone then.

        Raises:
            Unavailable: the disk said no; nothing was acknowledged.
        """
        self._settling[row.sha256] += 1
        try:
            await self._aside(lambda: into_place(arrived, self.path(row.sha256)))
            dropped = await self._write(package, key, row)
        finally:
            self._settling -= Counter([row.sha256])
        await self._database.sync()
        self._unlink(dropped)

    async def link(self, package: str, key: str, row: Pushed) -> bool:
        """A row for bytes that another row names already; False if none does. Durable when this returns."""
        self._settling[row.sha256] += 1  # nobody takes the bytes away in between
        try:
            if self._held(row.sha256) is None:
                return False
            dropped = await self._write(package, key, row)
        finally:
            self._settling -= Counter([row.sha256])
        await self._database.sync()
        self._unlink(dropped)
        return True

    async def delete(self, package: str, key: str) -> bool:
        """Whether there was such a row. It is gone for good when this returns."""
        async with self._turns:
            row = self.get(package, key)
            if row is None:
                return False
            await self._aside(lambda: self._journal.append((package, key)))
            batch = Batch().delete(layout.LOCAL, _key(package, key))
            self._count(batch, {row.sha256: -1}, row.size)
            self._database.write(batch)
            self._counted(package, -1)
            self.remembered -= _weight(_key(package, key), msgspec.msgpack.encode(row))
            await self._shortened()
        await self._database.sync()
        self._unlink(row.sha256)
        return True

    async def _write(self, package: str, key: str, row: Pushed) -> bytes:
        """A row, told to the journal first; the digest of the row before it."""
        async with self._turns:
            await self._aside(lambda: self._journal.append(_line(package, key, row)))
            dropped = self._put(package, key, row)
            await self._shortened()
            return dropped

    async def _shortened(self) -> None:
        """Write the journal anew where it has outgrown what it says. In its turn, so that no row changes meanwhile."""
        if not self._journal.grown:
            return
        try:
            anew = await trio.to_thread.run_sync(self._journal.anew, limiter=self._thread)
            try:
                for lines in self._pieces():
                    await self._aside(partial(anew.add, lines))
                await self._aside(partial(self._journal.replaced, anew))
            finally:
                anew.drop()
        except (OSError, Unavailable):  # the row is kept all the same
            self._journal.settle()

    async def _aside(self, work: Callable[[], None]) -> None:
        """
        Raises:
            Unavailable: the disk said no.
        """
        try:
            await trio.to_thread.run_sync(work, limiter=self._thread)
        except OSError as error:
            raise self._no_disk(error) from None

    def _put(self, package: str, key: str, row: Pushed) -> bytes:
        """Write a row and the counts; the digest of the row before it. Nothing awaits: all of it or nothing is seen."""
        before = self.get(package, key)
        place, raw = _key(package, key), msgspec.msgpack.encode(row)
        batch = Batch().put(layout.LOCAL, place, raw)
        if before is None or before.sha256 != row.sha256:
            self._count(batch, {row.sha256: 1}, row.size)
            if before is not None:
                self._count(batch, {before.sha256: -1}, before.size)
        self._database.write(batch)
        if before is None:
            self._counted(package, 1)
        else:
            self.remembered -= _weight(place, msgspec.msgpack.encode(before))
        self.remembered += _weight(place, raw)
        return before.sha256 if before is not None else b""

    def _count(self, batch: Batch, changes: dict[bytes, int], size: int) -> None:
        for sha256, change in changes.items():
            held = self._held(sha256)
            rows = (held.rows if held is not None else 0) + change
            if rows > 0:
                batch.put(layout.LOCAL_BYTES, sha256, msgspec.msgpack.encode(_Held(size, rows)))
            else:
                batch.delete(layout.LOCAL_BYTES, sha256)
            self.used += size * ((rows > 0) - (held is not None))

    def _counted(self, package: str, change: int) -> None:
        self.packages[package] += change
        if self.packages[package] <= 0:
            del self.packages[package]

    def _unlink(self, sha256: bytes) -> None:
        """Remove bytes that no row names and none is about to; on the loop, so that none can come between."""
        if sha256 and self._held(sha256) is None and sha256 not in self._settling:
            with suppress(OSError):  # the next start tries again
                self.path(sha256).unlink(missing_ok=True)

    def _held(self, sha256: bytes) -> _Held | None:
        raw = self._database.get(layout.LOCAL_BYTES, sha256)
        return None if raw is None else msgspec.msgpack.decode(raw, type=_Held)

    # -- starting --

    def _learn(self) -> str:
        """Rows for a database that has none, of the journal; what the operator should know of it.

        A file is hashed before a row names it again: a disk that lost the database may have lost more.
        """
        if self._database.get(layout.MISC, _KNOWN) is not None:
            return ""
        if not self._journal.exists() and any(self._files()):
            return self._set_aside()
        found, lost = 0, 0
        checked: dict[bytes, bool] = {}
        for line in self._journal.rows().values() if self._journal.exists() else ():
            package, key, digest, size, time_ms, by, more = line
            row = Pushed(bytes.fromhex(digest), size, time_ms, by, more)
            if row.sha256 not in checked:
                checked[row.sha256] = self._is_whole(row)
            if checked[row.sha256]:
                self._put(package, key, row)
                found += 1
            else:
                lost += 1
        self._know()
        self.packages.clear()  # they are counted with all the others
        self.used = self.remembered = 0
        if not found + lost:
            return ""
        gone = f"; the files of {lost} are damaged or gone" if lost else ""
        return (
            f"the database that named the packages pushed here is lost: {found} names are known again{gone}"
        )

    def _set_aside(self) -> str:
        """Files that neither a database nor a journal names: no sweep may take them for leftovers."""
        number = 1
        while (aside := self._folder.with_name(f"{self._folder.name}.aside-{number}")).exists():
            number += 1
        self._folder.rename(aside)
        sync_folder(self._folder.parent)
        (self._folder / PARTIAL).mkdir(mode=0o700, parents=True)
        self._know()
        return f"nothing names the packages pushed here any more: their files are kept in {aside.name}"

    def _know(self) -> None:
        self._database.write(Batch().put(layout.MISC, _KNOWN, b"\x01"))
        self._database.flush()

    def _is_whole(self, row: Pushed) -> bool:
        try:
            with self.path(row.sha256).open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest() == row.sha256
        except OSError:
            return False

    def _shorten(self) -> None:
        """Write the journal anew where most of it is history, and where an older version left none."""
        if not self._journal.outgrown(sum(self.packages.values())):
            return
        anew = self._journal.anew()
        try:
            for lines in self._pieces():
                anew.add(lines)
            self._journal.replaced(anew)
        finally:
            anew.drop()

    def _pieces(self) -> Iterator[list[Line]]:
        """All rows, so many at once as a turn of the loop may take."""
        rows = self._scan(layout.LOCAL, b"", None)
        while found := list(islice(rows, SCAN_ROWS.value)):
            places = ((place.decode().partition("\0"), raw) for place, raw in found)
            yield [_line(package, key, _row(raw)) for (package, _, key), raw in places]

    def _load(self) -> None:
        for place, raw in self._scan(layout.LOCAL, b"", None):
            self.packages[place.partition(b"\0")[0].decode()] += 1
            self.remembered += _weight(place, raw)
        for _, raw in self._scan(layout.LOCAL_BYTES, b"", None):
            self.used += msgspec.msgpack.decode(raw, type=_Held).size

    def _sweep(self) -> None:
        for left in (self._folder / PARTIAL).iterdir():
            left.unlink(missing_ok=True)
        for file in self._files():
            if self._held(bytes.fromhex(file.name)) is None:
                file.unlink(missing_ok=True)

    def _files(self) -> Iterator[Path]:
        for file in self._folder.glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]/*"):
            with suppress(ValueError):  # a name that is none of ours
                if len(bytes.fromhex(file.name)) == 32:
                    yield file

    def _scan(self, family: str, first: bytes, before: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        at = first
        while found := self._database.scan(family, at, SCAN_ROWS.value, before=before):
            yield from found
            at = found[-1][0] + b"\0"

    def _no_disk(self, error: OSError) -> Unavailable:
        return no_disk(f"the folder of local packages {self._folder}", error)


def _row(raw: bytes) -> Pushed:
    return msgspec.msgpack.decode(raw, type=Pushed)


def _line(package: str, key: str, row: Pushed) -> Line:
    return package, key, row.sha256.hex(), row.size, row.time_ms, row.by, row.more


def _weight(place: bytes, raw: bytes) -> int:
    """Bytes of a row on the disk, about: in the database, and once more in the journal."""
    return 2 * (len(place) + len(raw))


def _key(package: str, key: str, between: str = "\0") -> bytes:
    return f"{package}{between}{key}".encode()
