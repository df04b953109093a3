"""Artifact bytes: immutable files named by their SHA-256, below `blobs/<aa>/<bb>/`.

Write order: bytes, fdatasync, rename, fsync of every new directory, then the index; so the
index never names a missing file. Eviction goes the other way round. A sweep at start removes what was
half written. Reading is the caller's: the path is given out, the file never changes.
"""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import trio

from pyrsia.errors import Refusal, Unavailable
from pyrsia.files import into_place
from pyrsia.store import layout
from pyrsia.store.growing import Growing
from pyrsia.store.rocks import Batch, Database

_T = TypeVar("_T")

PARTIAL: Final = "partial"
COPY_BYTES: Final = 1 << 20


class BlobRecord(msgspec.Struct, frozen=True, array_like=True):
    """What the index says of a blob: bytes, and who wants it kept."""

    size: int
    pins: tuple[str, ...] = ()


class Blobs:
    """The files below `folder`, with their index in `database`."""

    def __init__(self, folder: Path, database: Database) -> None:
        """Make `folder`, and empty what was half written in it.

        Raises:
            Unavailable: the disk said no.
        """
        self._folder = folder
        self._database = database
        self._partials = folder / PARTIAL
        self._thread = trio.CapacityLimiter(4)
        try:
            self._partials.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sweep()
        except OSError as error:
            raise self._no_disk(error) from None

    def path(self, sha256: bytes) -> Path:
        name = sha256.hex()
        return self._folder.joinpath(name[:2], name[2:4], name)

    def has(self, sha256: bytes) -> bool:
        return self._record(sha256) is not None

    def size(self, sha256: bytes) -> int | None:
        record = self._record(sha256)
        return None if record is None else record.size

    async def put_bytes(self, data: bytes, *, pin: str = "") -> bytes:
        """Keep `data`; its SHA-256."""
        sha256 = hashlib.sha256(data).digest()
        temporary = self._temporary()
        with _dropped_on_failure(temporary):
            await self.in_thread(lambda: _write_file(temporary, data))
            await self.settle(temporary, sha256, len(data), pin)
        return sha256

    async def adopt(self, file: Path, sha256: bytes, *, pin: str = "") -> None:
        """Keep a copy of `file`, after its bytes were checked against `sha256`."""
        temporary = self._temporary()
        with _dropped_on_failure(temporary):
            found, size = await self.in_thread(lambda: _copy(file, temporary))
            if found != sha256:
                raise Refusal(
                    "digest-mismatch",
                    what=f"{file.name} has the SHA-256 {found.hex()}, not {sha256.hex()}",
                    who="whoever made the file",
                    do="make it again",
                )
            await self.settle(temporary, sha256, size, pin)

    async def writer(self, size: int, growing: Growing | None = None) -> "PartialBlob":
        """A file of `size` bytes to be written in any order; `growing` is told what has come.

        Raises:
            Unavailable: the disk has no room for it.
        """
        path = self._temporary()
        with _dropped_on_failure(path):
            handle = await self.in_thread(lambda: _reserve(path, size))
        partial = PartialBlob(self, path, handle, size, growing)
        if growing is not None:
            try:
                growing.opened(path)
            except OSError as error:
                partial.discard()
                raise self._no_disk(error) from None
        return partial

    async def pin(self, sha256: bytes, reason: str) -> None:
        record = self._record(sha256)
        if record is not None and reason not in record.pins:
            await self._index(sha256, BlobRecord(record.size, (*record.pins, reason)))

    async def unpin(self, sha256: bytes, reason: str) -> None:
        record = self._record(sha256)
        if record is not None and reason in record.pins:
            await self._index(sha256, BlobRecord(record.size, tuple(p for p in record.pins if p != reason)))

    async def evict(self, sha256: bytes) -> None:
        """Forget an unpinned blob: index first, synced, then the file."""
        record = self._record(sha256)
        if record is None:
            return
        if record.pins:
            raise ValueError(f"{sha256.hex()} is pinned by {', '.join(record.pins)}")
        await self._database.commit(Batch().delete(layout.BLOBS, sha256))
        await self.in_thread(lambda: self.path(sha256).unlink(missing_ok=True))

    def _record(self, sha256: bytes) -> BlobRecord | None:
        raw = self._database.get(layout.BLOBS, sha256)
        return None if raw is None else msgspec.msgpack.decode(raw, type=BlobRecord)

    async def _index(self, sha256: bytes, record: BlobRecord) -> None:
        await self._database.commit(Batch().put(layout.BLOBS, sha256, msgspec.msgpack.encode(record)))

    async def settle(self, temporary: Path, sha256: bytes, size: int, pin: str) -> None:
        await self.in_thread(lambda: into_place(temporary, self.path(sha256)))
        known = self._record(sha256)
        pins = known.pins if known else ()
        if pin and pin not in pins:
            pins = (*pins, pin)
        await self._index(sha256, BlobRecord(size, pins))

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
        return Unavailable(f"the blob folder {self._folder}: {error.strerror}")


class PartialBlob:
    """A blob on its way: written in any order, kept only when its SHA-256 is right."""

    def __init__(
        self, blobs: Blobs, path: Path, handle: int, size: int, growing: Growing | None = None
    ) -> None:
        self._blobs = blobs
        self._path = path
        self._size = size
        self._handle = handle
        self._growing = growing

    def write_at(self, offset: int, data: bytes) -> None:
        if offset < 0 or offset + len(data) > self._size:
            raise ValueError("outside the blob")
        try:
            os.pwrite(self._handle, data, offset)
        except OSError as error:
            raise Unavailable(f"a blob cannot be written: {error.strerror}") from None
        if self._growing is not None:
            self._growing.wrote(offset, len(data))

    async def finish(self, sha256: bytes, *, pin: str = "") -> Path:
        """Check, sync and keep it; its path."""
        found = await self._blobs.in_thread(self._sync_and_hash)
        os.close(self._handle)
        self._handle = -1
        if found != sha256:
            self._path.unlink(missing_ok=True)
            raise Unavailable("the bytes that arrived are not the blob that was asked for")
        await self._blobs.settle(self._path, sha256, self._size, pin)
        return self._blobs.path(sha256)

    def discard(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        self._path.unlink(missing_ok=True)

    def _sync_and_hash(self) -> bytes:
        os.fdatasync(self._handle)
        with self._path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()


@contextmanager
def _dropped_on_failure(temporary: Path) -> Iterator[None]:
    """A full disk is not made fuller by what could not be kept."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _reserve(path: Path, size: int) -> int:
    """A new file with its disk taken, in a thread: some file systems write every byte of it; the descriptor."""
    handle = -1
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        if size:
            os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if handle >= 0:
            os.close(handle)
        raise Unavailable(f"no room for {size} bytes: {error.strerror}") from None
    return handle


def _write_file(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fdatasync(file.fileno())


def _copy(source: Path, target: Path) -> tuple[bytes, int]:
    digest, size = hashlib.sha256(), 0
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with source.open("rb") as reader, os.fdopen(handle, "wb") as writer:
        while data := reader.read(COPY_BYTES):
            digest.update(data)
            size += len(data)
            writer.write(data)
        writer.flush()
        os.fdatasync(writer.fileno())
    return digest.digest(), size
