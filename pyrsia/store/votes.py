"""votes.wal: what this validator signed, on disk before it is on the wire.

A file of its own, preallocated in steps; each record is framed with its length and CRC, so a torn tail
(a record that was never synced, and so never sent) is told from damage before the tail, after which the
key must not vote again (consensus.md B.14). `trim` replaces the file by rename.

    file   = "PYRSIAW1" record*  zeros
    record = u32 length (> 0) | u32 crc32(length || data) | data
"""

import os
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import trio

from pyrsia.errors import Refusal
from pyrsia.units import MAX_VOTE_RECORD_BYTES, VOTES_STEP_BYTES

MAGIC: Final = b"PYRSIAW1"
_FRAME = struct.Struct(">II")


class VotesWal:
    """One validator's record file, open for appending. Records come back in order from `records`."""

    def __init__(self, path: Path, handle: int, end: int, allocated: int, records: list[bytes]) -> None:
        self.path = path
        self.records = records
        self._handle = handle
        self._end = end
        self._allocated = allocated
        self._lock = trio.Lock()
        self._thread = trio.CapacityLimiter(1)

    @property
    def size(self) -> int:
        return self._end

    @classmethod
    def open(cls, path: Path) -> "VotesWal":
        """Open or create; a torn tail is cut off.

        Raises:
            Refusal: `data-damaged` when a record before the last whole one is broken.
        """
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        data = path.read_bytes()
        if not data.strip(b"\0"):
            os.pwrite(handle, MAGIC, 0)
            data = MAGIC
            os.fdatasync(handle)
            _sync_folder(path.parent)
        try:
            records, end = scan(data, path)
        except Refusal:
            os.close(handle)
            raise
        if data[end:].strip(b"\0"):  # a torn tail: never synced, so never sent
            os.ftruncate(handle, end)
        wal = cls(path, handle, end, end, records)
        wal._reserve(1)
        os.fdatasync(handle)
        return wal

    async def append(self, records: Sequence[bytes]) -> None:
        """Return when every record is on disk. Cancelled before its turn, nothing was written."""
        data = b"".join(frame(record) for record in records)
        async with self._lock:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._write, data, limiter=self._thread)
            self.records.extend(records)

    async def trim(self, keep: Callable[[bytes], bool]) -> None:
        """Leave only the records that `keep` wants; the old file stays until the new one is synced.

        What is kept is chosen once no append is under way: a vote written meanwhile is never lost.
        """
        async with self._lock:
            records = [record for record in self.records if keep(record)]
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._replace, records, limiter=self._thread)
            self.records = records

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _write(self, data: bytes) -> None:
        self._reserve(len(data))
        os.pwrite(self._handle, data, self._end)
        os.fdatasync(self._handle)
        self._end += len(data)

    def _reserve(self, count: int) -> None:
        """Room ahead, so that an append changes no file size and its sync needs no journal."""
        if self._end + count > self._allocated:
            self._allocated = self._end + count + VOTES_STEP_BYTES.value
            os.posix_fallocate(self._handle, self._end, self._allocated - self._end)

    def _replace(self, records: list[bytes]) -> None:
        temporary = self.path.with_name(self.path.name + ".new")
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        data = MAGIC + b"".join(frame(record) for record in records)
        os.pwrite(handle, data, 0)
        self._end = self._allocated = len(data)
        old, self._handle = self._handle, handle
        self._reserve(1)
        os.fsync(handle)
        temporary.rename(self.path)
        _sync_folder(self.path.parent)
        os.close(old)


def frame(record: bytes) -> bytes:
    if not 0 < len(record) <= MAX_VOTE_RECORD_BYTES.value:
        raise ValueError(f"a record of {len(record)} bytes")
    length = struct.pack(">I", len(record))
    return length + struct.pack(">I", zlib.crc32(length + record)) + record


def scan(data: bytes, path: Path) -> tuple[list[bytes], int]:
    """The whole records of a file, and where they end."""
    if not data.startswith(MAGIC):
        raise _damaged(path, 0)
    records: list[bytes] = []
    at = len(MAGIC)
    while at + _FRAME.size <= len(data):
        length, crc = _FRAME.unpack_from(data, at)
        if length == 0:
            break
        record = data[at + _FRAME.size : at + _FRAME.size + length]
        if len(record) < length or zlib.crc32(data[at : at + 4] + record) != crc:
            if _whole_record_after(data, at + 1):
                raise _damaged(path, at)
            break
        records.append(record)
        at += _FRAME.size + length
    return records, at


def _whole_record_after(data: bytes, start: int) -> bool:
    """Whether a whole record stands anywhere behind a broken one: then the break is damage, not a torn tail."""
    end = len(data.rstrip(b"\0"))
    for at in range(start, end - _FRAME.size + 1):
        length, crc = _FRAME.unpack_from(data, at)
        if 0 < length <= min(MAX_VOTE_RECORD_BYTES.value, len(data) - at - _FRAME.size):
            record = data[at + _FRAME.size : at + _FRAME.size + length]
            if zlib.crc32(data[at : at + 4] + record) == crc:
                return True
    return False


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _damaged(path: Path, at: int) -> Refusal:
    return Refusal(
        "data-damaged",
        what=f"the vote record {path} is damaged at byte {at}",
        who="this machine's disk or whoever changed the file",
        do="do not vote with this key again: have the members rotate it, and run as a follower until then",
    )
