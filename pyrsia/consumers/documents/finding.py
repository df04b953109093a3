"""The records of files, folders and ZIP exports, one after the other, each within a bound. Nothing is unpacked to disk.

Links inside a folder are passed over, so that no loop is walked and nobody's folder shows another's files. What a ZIP
file says of itself is added up before its first member is read.
"""

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from pyrsia.consumers.documents.outcome import Tally
from pyrsia.consumers.documents.reading import refused
from pyrsia.errors import Malformed
from pyrsia.units import MAX_IMPORTED, MAX_OSV_RECORD_BYTES, Limit

MAX_DIRECTORY_BYTES = Limit(64 << 20, "of a ZIP file's own list: 500,000 names of 80 characters")
MAX_EXPANSION = Limit(60, "times its own size that a ZIP file of records unpacks to; real exports reach ten")
PACKING_SLACK = Limit(
    1 << 16, "bytes that a member may have packed beyond its own: those that do not pack grow by 5 in 16,383"
)
SMALL_BYTES = Limit(64 << 20, "that any ZIP file may unpack to, whatever its own size")

_ZIP: Final = b"PK\x03\x04"
_EMPTY_ZIP: Final = b"PK\x05\x06"
_LISTED: Final = b"PK\1\2"  # before each member in the list
_WIDE: Final = struct.Struct("<4s36xQ8x")  # zip64's end: its mark, and how long the list is
_TAIL: Final = (
    22 + 65_535 + 20 + 56
)  # the end of a ZIP's directory, its longest comment, zip64's and its pointer
_LOCAL: Final = struct.Struct("<4s22x2H")
_ENCRYPTED: Final = 0x1
_DAMAGED: Final = (
    zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError, struct.error, OSError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """One record's bytes and where they stand, for people."""

    where: str
    data: bytes


def records(path: Path, tally: Tally) -> Iterator[Found]:
    """Every record below a path that a person named; what is passed over and what cannot be read goes to `tally`.

    Raises:
        Refusal: the file cannot be read at all, or is no ZIP file that can be.
        OSError: the path itself cannot be opened.
    """
    if path.is_dir():
        yield from _folder(path, tally)
    elif not path.is_file():
        raise refused(path, "it is no plain file and no folder" if path.exists() else "there is no such file")
    elif _is_zip(path):
        try:
            yield from _zip_at(path, tally)
        except Malformed as error:
            raise refused(path, str(error)) from None
    elif path.suffix.lower() == ".zip":
        raise refused(path, "it is no ZIP file, whatever its name says")
    else:
        yield from _file(path, tally)


def _folder(folder: Path, tally: Tally) -> Iterator[Found]:
    """What cannot be read inside of it is refused by name."""
    for path in _files(folder, tally):
        try:
            if path.suffix.lower() == ".json":
                yield from _file(path, tally)
            else:
                yield from _zip_at(path, tally)
        except Malformed as error:
            tally.refuse(str(path), str(error))
        except OSError as error:
            tally.refuse(str(path), f"it cannot be read: {error.strerror}")


def _files(folder: Path, tally: Tally) -> Iterator[Path]:
    """Sorted, so that every run reads in the same order; by a list and not by recursion: folders nest deeply."""
    waiting = [str(folder)]
    while waiting:
        at = waiting.pop()
        try:
            with os.scandir(at) as entries:
                inside = sorted(entries, key=lambda one: one.name)
        except OSError as error:
            tally.refuse(at, f"it cannot be read: {error.strerror}")
            continue
        waiting += [one.path for one in reversed(inside) if one.is_dir(follow_symlinks=False)]
        for one in inside:
            if one.is_symlink():
                tally.skip("a link inside a folder")
            elif one.is_file(follow_symlinks=False):
                if one.name.lower().endswith((".json", ".zip")):
                    yield Path(one.path)
                else:
                    tally.skip("no .json and no .zip file")
            elif not one.is_dir(follow_symlinks=False):
                tally.skip("no plain file")


def _file(path: Path, tally: Tally) -> Iterator[Found]:
    with path.open("rb") as file:
        data = file.read(MAX_OSV_RECORD_BYTES.value + 1)
    if len(data) > MAX_OSV_RECORD_BYTES.value:
        tally.refuse(
            str(path), f"it is longer than the {MAX_OSV_RECORD_BYTES.value:,} bytes that a record may have"
        )
    else:
        yield Found(str(path), data)


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return is_zip(file.read(4))


def is_zip(start: bytes) -> bool:
    """Whether a file with these first four bytes is to be read as an archive."""
    return start in (_ZIP, _EMPTY_ZIP)


def _zip_at(path: Path, tally: Tally) -> Iterator[Found]:
    try:
        with path.open("rb") as file:
            yield from archive(file, str(path), tally)
    except OSError as error:
        raise _unread(error) from None


def archive(file: IO[bytes], where: str, tally: Tally) -> Iterator[Found]:
    """The members of a ZIP file that are records. `where`: its name for people.

    Raises:
        Malformed: it is no ZIP file, or one that would unpack to too much.
    """
    try:
        size = _check_directory(file)
        members = zipfile.ZipFile(file).infolist()
        _check_sizes(members, size)
        for member in members:
            yield from _member(file, member, f"{where}: {member.filename}", tally)
    except _DAMAGED as error:
        raise _unread(error) from None


def _unread(error: Exception) -> Malformed:
    return Malformed(f"it is no ZIP file that can be read: {str(error)[:200]}")


def _member(file: IO[bytes], member: zipfile.ZipInfo, where: str, tally: Tally) -> Iterator[Found]:
    why = _barred(member)
    if why:
        tally.skip(why)
        return
    if member.flag_bits & _ENCRYPTED:
        tally.refuse(where, "it is encrypted")
        return
    if member.file_size > MAX_OSV_RECORD_BYTES.value:
        tally.refuse(
            where, f"it has {member.file_size:,} bytes, a record has {MAX_OSV_RECORD_BYTES.value:,} at most"
        )
        return
    try:
        data = _content(file, member)
    except (Malformed, zlib.error, struct.error, ValueError, OSError) as error:
        tally.refuse(where, f"it cannot be unpacked: {str(error)[:200]}")
        return
    yield Found(where, data)


def _content(file: IO[bytes], member: zipfile.ZipInfo) -> bytes:
    """A member's bytes, as its entry in the list promises them; half of the time that `zipfile` takes for small ones.

    Source: PKWARE APPNOTE 6.3.10, sections 4.3.7 and 4.4.5.

    Raises:
        Malformed, zlib.error, struct.error, ValueError, OSError: it is damaged, or packed in another way.
    """
    if member.compress_size > member.file_size + PACKING_SLACK.value:
        raise Malformed(f"{member.compress_size:,} packed bytes are no {member.file_size:,} unpacked ones")
    file.seek(member.header_offset)
    magic, names, extra = _LOCAL.unpack(file.read(_LOCAL.size))
    if magic != _ZIP:
        raise Malformed("it does not stand where the list of members says")
    file.seek(names + extra, os.SEEK_CUR)
    data = file.read(member.compress_size)
    if member.compress_type == zipfile.ZIP_DEFLATED:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.file_size + 1)
    elif member.compress_type != zipfile.ZIP_STORED:
        raise Malformed(f"it is packed by method {member.compress_type}, which records are not")
    if len(data) != member.file_size or zlib.crc32(data) != member.CRC:
        raise Malformed("its size or its checksum is not the one in the list of members")
    return data


def _barred(member: zipfile.ZipInfo) -> str:
    """Why a member is none of ours to read; "" if it is."""
    if member.is_dir():
        return "a folder of an archive"
    if member.filename.lower().endswith((".zip", ".gz", ".tgz", ".tar")):
        return "an archive inside an archive"
    return "" if member.filename.lower().endswith(".json") else "no .json file in an archive"


def _check_sizes(members: list[zipfile.ZipInfo], packed: int) -> None:
    """Members may share bytes, and each may look small: what all of them come to is what a bomb cannot hide.

    Packed as well as unpacked: what is shared is read, and copied, once for each member.
    """
    if sum(one.compress_size for one in members) > packed:
        raise Malformed(f"its members overlap: together they would be longer than its {packed:,} bytes")
    total = sum(one.file_size for one in members if one.file_size <= MAX_OSV_RECORD_BYTES.value)
    if total > max(SMALL_BYTES.value, packed * MAX_EXPANSION.value):
        times = MAX_EXPANSION.value
        raise Malformed(f"{packed:,} bytes would unpack to {total:,}, more than {times} times as much")


def _check_count(members: int) -> None:
    if members > MAX_IMPORTED.value:
        raise Malformed(f"it has {members:,} members, {MAX_IMPORTED.value:,} are read")


def _check_directory(file: IO[bytes]) -> int:
    """Before `zipfile` reads the list whole, and makes an object of each member; how long the file is.

    The end is looked for where `zipfile` does: a second place would be one for another length.

    Source: PKWARE APPNOTE 6.3.10, sections 4.3.14 to 4.3.16.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL))
    tail = file.read(_TAIL)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise Malformed("it is no ZIP file, or its end is missing")
    length, end = struct.unpack_from("<L", tail, at + 12)[0], max(0, size - _TAIL) + at
    if at >= 20 and tail[at - 20 : at - 16] == b"PK\6\7":
        end -= 20 + _WIDE.size
        wide = tail[max(0, at - 20 - _WIDE.size) : at - 20]
        if len(wide) < _WIDE.size or struct.unpack_from("<Q", tail, at - 12)[0] != end:
            raise Malformed("the long form of its end is not where it says")
        mark, length = _WIDE.unpack(wide)
        if mark != b"PK\6\6":
            raise Malformed("the long form of its end is missing")
    if length > min(end, MAX_DIRECTORY_BYTES.value):
        raise Malformed(f"its list of members has {length:,} bytes, {MAX_DIRECTORY_BYTES.value:,} are read")
    file.seek(end - length)
    _check_count(file.read(length).count(_LISTED))
    file.seek(0)
    return size
