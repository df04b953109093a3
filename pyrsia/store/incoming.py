"""Files on their way into a blob folder: written in any order or at once, synced, hashed; nothing half written stays.

Left out: where they go then, and what the index says of them (`blobs`).
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

from pyrsia.errors import OtherBytes
from pyrsia.store.growing import Growing
from pyrsia.store.quota import Room, Space

COPY_BYTES: Final = 1 << 20


class Store(Protocol):
    """Where a file goes when it is whole (`blobs.Blobs`)."""

    @property
    def space(self) -> Space: ...

    def path(self, sha256: bytes) -> Path: ...

    async def in_thread(self, work: Callable[[], bytes], /) -> bytes: ...

    async def settle(
        self, temporary: Path, sha256: bytes, size: int, pin: str = "", room: Room | None = None
    ) -> None: ...


class PartialBlob:
    """A blob on its way: written in any order, kept only when its SHA-256 is right."""

    def __init__(
        self,
        blobs: Store,
        path: Path,
        handle: int,
        size: int,
        growing: Growing | None = None,
        room: Room | None = None,
    ) -> None:
        self._blobs = blobs
        self._path = path
        self._size = size
        self._handle = handle
        self._growing = growing
        self._room = room

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        if offset < 0 or offset + len(data) > self._size:
            raise ValueError("outside the blob")
        try:
            os.pwrite(self._handle, data, offset)
        except OSError as error:
            raise self._blobs.space.no_disk("a blob cannot be written", error) from None
        if self._growing is not None:
            self._growing.wrote(offset, len(data))

    async def finish(self, sha256: bytes, *, pin: str = "") -> Path:
        """Check, sync and keep it; its path."""
        found = await self._blobs.in_thread(self._sync_and_hash)
        os.close(self._handle)
        self._handle = -1
        if found != sha256:
            self._path.unlink(missing_ok=True)
            raise OtherBytes("the bytes that arrived are not the blob that was asked for")
        await self._blobs.settle(self._path, sha256, self._size, pin, self._room)
        return self._blobs.path(sha256)

    def discard(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        self._path.unlink(missing_ok=True)
        if self._room is not None:
            self._room.release()

    def _sync(self) -> None:
        """In a thread. After one failure it proves nothing any more: the system says it once, and counts as written."""
        os.fdatasync(self._handle)

    def _sync_and_hash(self) -> bytes:
        self._sync()
        with self._path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()


@contextmanager
def dropped_on_failure(temporary: Path) -> Iterator[None]:
    """A full disk is not made fuller by what could not be kept."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def set_aside(path: Path, size: int) -> int:
    """A new file with its disk taken, in a thread: some file systems write every byte of it; the descriptor.

    Raises:
        OSError: as the system says it. A quota of the file system is met here first.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        if size:
            os.posix_fallocate(handle, 0, size)
    except OSError:
        os.close(handle)
        raise
    return handle


def write_file(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fdatasync(file.fileno())


def copy(source: Path, target: Path) -> tuple[bytes, int]:
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
