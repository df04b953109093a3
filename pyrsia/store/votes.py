"""votes.wal: what this validator signed, on disk before it is on the wire, and how far its database was.

A file of its own, preallocated in steps. One append is one group with one CRC, and everything behind the last
sync is one group: so a torn tail (never synced, and so never sent) is told exactly from damage before the
tail, after which the key must not vote again (docs/agreement.md). Each group carries the newest mark; a mark
that comes alone waits for the next append's sync and is replaced by it (ADR 24). The CRC is salted, so that
no stranger's entry inside a group can pass for a group. `trim` replaces the file by rename. A file is one vote
key's memory and names it: beside another key it is damage, for what that key signed is not in it.

    file   = "PYRSIAW3" | key (32 bytes) | u32 salt | u32 crc32(all before) | group* | zeros
    group  = u32 length (> 0) | u32 crc32(salt, length | data) | data
    data   = u64 height | u64 sequence | (u32 length (> 0) | record)*
"""

import os
import secrets
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyrsia.errors import Refusal, Unavailable
from pyrsia.files import sync_folder, write_whole
from pyrsia.store.aside import Aside
from pyrsia.store.turns import Turns
from pyrsia.units import MAX_VOTE_RECORD_BYTES, VOTES_STEP_BYTES

MAGIC: Final = b"PYRSIAW3"
NO_KEY: Final = bytes(32)  # of a record that belongs to no vote key: tests and benches
_KEY_BYTES: Final = len(NO_KEY)
_U32 = struct.Struct(">I")
_FRAME = struct.Struct(">II")
_MARK = struct.Struct(">QQ")
# What a person is told when a vote key has lost its memory.
ROTATE: Final = "do not vote with this key again: have the members rotate it (pyrsia keys rotate vote)"
HEAD_BYTES: Final = len(MAGIC) + _KEY_BYTES + _FRAME.size
_MAX_DATA: Final = _MARK.size + _U32.size + MAX_VOTE_RECORD_BYTES.value


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a database was when it was last acknowledged: 0, 0 before the first time.

    Attributes:
        height: of the newest final block on disk.
        sequence: RocksDB's number of its newest change on disk; it covers every family.
    """

    height: int = 0
    sequence: int = 0

    def reaches(self, other: "Mark") -> bool:
        """Whether nothing that `other` promises is missing here."""
        return self.height >= other.height and self.sequence >= other.sequence


class VotesWal:
    """One validator's record file, open for appending.

    Once the disk has said no it is asked no more: the system tells of a lost page only once, so a second sync
    that succeeds would prove nothing.

    Attributes:
        key: the public vote key, 32 bytes, whose memory it is.
        records: every record, oldest first.
        marked: the newest mark.
    """

    def __init__(self, path: Path, handle: int, salt: int, key: bytes = NO_KEY) -> None:
        self.path = path
        self.key = key
        self.records: list[bytes] = []
        self.marked = Mark()
        self._salt = salt
        self._handle = handle
        self._end = self._allocated = HEAD_BYTES
        self._failed = ""  # what the disk said
        self._lock = Turns()
        self._aside = Aside()

    @property
    def size(self) -> int:
        """Bytes up to the end of the last append."""
        return self._end

    @classmethod
    def open(cls, path: Path, key: bytes = NO_KEY) -> "VotesWal":
        """Open or create; a torn tail is cut off. `key`: the public vote key whose memory it must be.

        Raises:
            Refusal: `data-damaged` when a group before the last whole one is broken, or the file is another key's.
            Unavailable: the disk said no.
        """
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _no_disk(path, error) from None
        try:
            return cls._opened(path, handle, key)
        except OSError as error:
            os.close(handle)
            raise _no_disk(path, error) from None
        except BaseException:
            os.close(handle)
            raise

    @classmethod
    def begin(cls, path: Path, key: bytes, mark: Mark) -> "VotesWal":
        """A new record of a key that has signed nothing; what lay at `path` is gone. It is there whole, or not at all.

        Raises:
            Unavailable: the disk said no.
        """
        salt = secrets.randbits(32)
        try:
            write_whole(path, head(salt, key) + frame(mark, (), salt), 0o600)
        except OSError as error:
            raise _no_disk(path, error) from None
        return cls.open(path, key)

    @classmethod
    def _opened(cls, path: Path, handle: int, key: bytes) -> "VotesWal":
        data = path.read_bytes()
        if not data.strip(b"\0"):
            data = head(secrets.randbits(32), key)
            _write_at(handle, data, 0)
            os.fdatasync(handle)
            sync_folder(path.parent)
        salt = _salt(data, path, key)
        wal = cls(path, handle, salt, key)
        for mark, records, end in scan(data, salt, path):
            wal.marked, wal._end = mark, end
            wal.records += records
        if data[wal._end :].strip(b"\0"):  # a torn tail: never synced, so never sent
            os.ftruncate(handle, wal._end)
        wal._allocated = _reserve(handle, wal._end, 1)
        os.fdatasync(handle)  # what the last process left unsynced is now the past
        return wal

    async def append(self, records: Sequence[bytes]) -> None:
        """Return when every record is on disk. Cancelled before its turn, nothing was written.

        Raises:
            Unavailable: the disk said no, now or earlier.
        """
        async with self._lock:
            groups = list(_groups(records, self.marked, self._salt))
            await self._in_thread(lambda: self._write(groups))
            self.records.extend(records)

    async def mark(self, mark: Mark) -> None:
        """Remember how far the database is on disk.

        Written at once, so that it outlives this process; durable with the next append, whose sync it
        shares. It stands behind the last append until then, and that append takes its place.

        Raises:
            Unavailable: the disk said no, now or earlier.
        """
        async with self._lock:
            self.marked = mark
            # 40 bytes into the page cache: not worth a thread
            self._try(lambda: self._place(frame(mark, (), self._salt)))

    async def trim(self, keep: Callable[[bytes], bool]) -> None:
        """Leave only the records that `keep` wants; the old file stays until the new one is synced.

        What is kept is chosen once no append is under way: a vote written meanwhile is never lost. The
        newest mark is on disk before the records below it are gone.

        Raises:
            Unavailable: the disk said no, now or earlier.
        """
        async with self._lock:
            records = [record for record in self.records if keep(record)]
            await self._in_thread(lambda: self._replace(records))
            self.records = records

    def close(self) -> None:
        self._aside.close()
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await self._aside.run(lambda: self._try(work))

    def _try(self, work: Callable[[], None]) -> None:
        if self._failed:
            raise Unavailable(self._failed)
        try:
            work()
        except OSError as error:
            no = _no_disk(self.path, error)
            self._failed = str(no)
            raise no from None

    def _write(self, groups: Sequence[bytes]) -> None:
        for group in groups:  # one sync each: behind the last sync there is never more than one group
            self._place(group)
            os.fdatasync(self._handle)
            self._end += len(group)

    def _place(self, group: bytes) -> None:
        if self._end + len(group) > self._allocated:
            self._allocated = _reserve(self._handle, self._end, len(group))
        _write_at(self._handle, group, self._end)

    def _replace(self, records: list[bytes]) -> None:
        temporary = self.path.with_name(self.path.name + ".new")
        groups = list(_groups(records, self.marked, self._salt)) or [frame(self.marked, (), self._salt)]
        data = head(self._salt, self.key) + b"".join(groups)
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _write_at(handle, data, 0)
            allocated = _reserve(handle, len(data), 1)
            os.fsync(handle)
            temporary.rename(self.path)
        except BaseException:
            os.close(handle)
            raise
        os.close(self._handle)  # only now: until its name is taken the old file is the record
        self._handle, self._end, self._allocated = handle, len(data), allocated
        sync_folder(self.path.parent)


def _reserve(handle: int, end: int, count: int) -> int:
    """Room ahead, so that an append changes no file size and its sync needs no journal; where it ends."""
    allocated = end + count + VOTES_STEP_BYTES.value
    os.posix_fallocate(handle, end, allocated - end)
    return allocated


def _write_at(handle: int, data: bytes, at: int) -> None:
    """All of `data`: a disk that is nearly full takes a part and calls that success."""
    left = memoryview(data)
    while left:
        count = os.pwrite(handle, left, at)
        left, at = left[count:], at + count


def missing(path: Path) -> bool:
    """Whether there is no vote record at `path`, or an empty one, which `VotesWal.open` would begin anew."""
    try:
        return not path.read_bytes().strip(b"\0")
    except FileNotFoundError:
        return True


def owner(path: Path) -> bytes | None:
    """The vote key whose memory the file at `path` is; None if there is none, or its beginning is damaged."""
    try:
        with path.open("rb") as file:
            data = file.read(HEAD_BYTES)
    except FileNotFoundError:
        return None
    found = _head_of(data)
    return found and found[1]


def head(salt: int, key: bytes = NO_KEY) -> bytes:
    """The start of the file of `key`, 32 bytes, whose CRCs begin with `salt`, 0..2^32-1."""
    start = MAGIC + key + _U32.pack(salt)
    return start + _U32.pack(zlib.crc32(start))


def frame(mark: Mark, records: Sequence[bytes], salt: int) -> bytes:
    """One group."""
    data = _MARK.pack(mark.height, mark.sequence)
    data += b"".join(_U32.pack(len(record)) + record for record in records)
    length = _U32.pack(len(data))
    return length + _U32.pack(zlib.crc32(length + data, salt)) + data


def _groups(records: Sequence[bytes], mark: Mark, salt: int) -> Iterator[bytes]:
    """The records in as few groups as their bound allows; none for no records."""
    group: list[bytes] = []
    room = _MAX_DATA - _MARK.size
    for record in records:
        if not 0 < len(record) <= MAX_VOTE_RECORD_BYTES.value:
            raise ValueError(f"a record of {len(record)} bytes")
        cost = _U32.size + len(record)
        if group and cost > room:
            yield frame(mark, group, salt)
            group, room = [], _MAX_DATA - _MARK.size
        group.append(record)
        room -= cost
    if group:
        yield frame(mark, group, salt)


def scan(data: bytes, salt: int, path: Path) -> Iterator[tuple[Mark, list[bytes], int]]:
    """(mark, records, end) of each whole group of a file, in order.

    Raises:
        Refusal: `data-damaged` at a broken group that a whole one follows.
    """
    at = HEAD_BYTES
    while at < len(data):
        found = _group_at(data, at, salt)
        if found is None:
            if _whole_group_after(data, at + 1, salt):
                raise _damaged(path, at)
            return
        at += _FRAME.size + len(found)
        yield Mark(*_MARK.unpack_from(found)), list(_records(found, path, at)), at


def _group_at(data: bytes, at: int, salt: int) -> bytes | None:
    """The data of the whole group at `at`."""
    if at + _FRAME.size > len(data):
        return None
    length, crc = _FRAME.unpack_from(data, at)
    start = at + _FRAME.size
    if not _MARK.size <= length <= min(_MAX_DATA, len(data) - start):
        return None
    found = data[start : start + length]
    return found if zlib.crc32(data[at : at + _U32.size] + found, salt) == crc else None


def _records(data: bytes, path: Path, end: int) -> Iterator[bytes]:
    at = _MARK.size
    while at < len(data):
        (length,) = _U32.unpack_from(data.ljust(at + _U32.size, b"\0"), at)
        at += _U32.size
        if not 0 < length <= len(data) - at:
            raise _damaged(path, end)
        yield data[at : at + length]
        at += length


def _whole_group_after(data: bytes, start: int, salt: int) -> bool:
    """Whether a whole group stands anywhere behind a broken one: then the break is damage, not a torn tail."""
    end = len(data.rstrip(b"\0"))
    return any(_group_at(data, at, salt) is not None for at in range(start, end - _FRAME.size + 1))


def _head_of(data: bytes) -> tuple[int, bytes] | None:
    """(salt, key) of a file with a whole head."""
    if len(data) < HEAD_BYTES:
        return None
    key = data[len(MAGIC) : len(MAGIC) + _KEY_BYTES]
    (salt,) = _U32.unpack_from(data, len(MAGIC) + _KEY_BYTES)
    return (salt, key) if data[:HEAD_BYTES] == head(salt, key) else None


def _salt(data: bytes, path: Path, key: bytes) -> int:
    """The salt of a file with a whole head that names `key`."""
    found = _head_of(data)
    if found is None:
        raise _damaged(path, 0)
    if found[1] != key:
        raise _of_another(path)
    return found[0]


def _damaged(path: Path, at: int) -> Refusal:
    return Refusal(
        "data-damaged",
        what=f"the vote record {path} is damaged at byte {at}",
        who="this machine's disk or whoever changed the file",
        do=ROTATE,
    )


def _of_another(path: Path) -> Refusal:
    return Refusal(
        "data-damaged",
        what=f"the vote record {path} is of another vote key",
        who="whoever changed the files of this node",
        do=ROTATE,
    )


def _no_disk(path: Path, error: OSError) -> Unavailable:
    return Unavailable(f"the vote record {path}: {error.strerror}")
