"""Reading ZIP files of strangers: every byte is accounted for, or the file is refused by name.

`zipfile` forgives what polyglots live from: data before the first and behind the last record, two
records of one name, local headers that disagree with the directory. This reader does not. It runs
inside the sandbox and imports only the standard library.

Two degrees: `strict` is the form that may be published (docs/builds-pip.md, "Normalising"): no extra field
but zip64 and timestamps, no comment, gap or duplicate. Without it, an archive is only made safe to
unpack: build tools come in wheels whose packing is none of our business.

Source: PKWARE APPNOTE 6.3.10, sections 4.3 to 4.5.
"""

import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO, Final

from pyrsia.builds.members import Hostile, Names, shown

_END: Final = struct.Struct("<4s4H2LH")
_CENTRAL: Final = struct.Struct("<4s4B4HL2L5H2L")
_LOCAL: Final = struct.Struct("<4s2B4HL2L2H")
_UTF8: Final = 0x800
_DESCRIPTOR: Final = 0x8
_LEVEL_BITS: Final = 0x6  # a hint about the compressor's effort
_ZIP64: Final = 0x0001
_TIMES: Final = (0x5455, 0x000A)  # extended timestamp, NTFS times
_JAR: Final = 0xCAFE  # "this is a jar": empty, written by Java's own tools
_NEWEST: Final = (
    63  # "version needed to extract", tenths: of the APPNOTE below; `zipfile` opens nothing newer
)
_ALL_ONES: Final = 0xFFFFFFFF
_CHUNK: Final = 1 << 16
EARLIEST: Final = 315_532_800  # 1980-01-01, the first date that ZIP can write


@dataclass(frozen=True, slots=True)
class ZipMember:
    """One record as the directory and its local header agree on it.

    Attributes:
        time: last modification in s since 1970; DOS times carry no zone and are read as UTC.
        start: offset of the (compressed) bytes. packed: their number.
        link: its bytes name another path; see `builds.links`.
    """

    path: str
    folder: bool
    size: int
    crc: int
    mode: int
    time: int
    method: int
    start: int
    packed: int
    link: bool = False

    @property
    def exec(self) -> bool:
        return bool(self.mode & 0o111)


def read(file: BinaryIO, *, strict: bool, links: bool = False) -> list[ZipMember]:
    """The records of `file` in the order of its directory.

    Args:
        links: they are given as what they are, for who follows none of them on a disk; else they are refused.

    Raises:
        Hostile: with the rule that it breaks. Contents are checked by `content`, not here.
    """
    size = file.seek(0, 2)
    count, start, length = _end(file, size)
    file.seek(start)
    directory = file.read(length)
    names = Names()
    found: list[ZipMember] = []
    spans: list[tuple[int, int, str]] = []
    at = 0
    for _ in range(count):
        member, (first, last), at = _record(file, directory, at, names, strict=strict, links=links)
        found.append(member)
        spans.append((first, last, member.path))
    if at != len(directory):
        raise Hostile("the directory is longer than its records")
    _no_overlap(sorted(spans), start, strict=strict)
    return found


def content(file: BinaryIO, member: ZipMember) -> Iterator[bytes]:
    """The decompressed bytes of `member`, in pieces; size and CRC are checked at the end.

    Raises:
        Hostile: the bytes are not what the record promises; raised before more than `size` bytes came out.
    """
    file.seek(member.start)
    left, crc, got = member.packed, 0, 0
    inflate = zlib.decompressobj(-15) if member.method == 8 else None
    while left:
        piece = file.read(min(_CHUNK, left))
        if not piece:
            raise Hostile(f"{shown(member.path)} ends early")
        left -= len(piece)
        for out in _inflated(inflate, piece, member):
            got += len(out)
            if got > member.size:
                raise Hostile(f"{shown(member.path)} unpacks to more than its record says")
            crc = zlib.crc32(out, crc)
            yield out
    if inflate is not None and (not inflate.eof or inflate.unused_data):
        raise Hostile(f"{shown(member.path)}: its compressed bytes do not end where its record says")
    if got != member.size or crc != member.crc:
        raise Hostile(f"{shown(member.path)}: size or checksum differ from its record")


def _inflated(inflate: "zlib._Decompress | None", piece: bytes, member: ZipMember) -> Iterator[bytes]:
    if inflate is None:
        yield piece
        return
    try:
        while piece:
            out = inflate.decompress(piece, _CHUNK)
            piece = inflate.unconsumed_tail
            if out:
                yield out
            elif inflate.eof or not piece:
                return
    except zlib.error as error:
        raise Hostile(f"{shown(member.path)} is not deflated data") from error


def _end(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """(number of records, offset, length) of the directory."""
    if size < _END.size:
        raise Hostile("too short for a ZIP file")
    file.seek(size - _END.size)
    magic, disk, first_disk, here, count, length, start, comment = _END.unpack(file.read(_END.size))
    if magic != b"PK\5\6" or comment:
        raise Hostile("trailing data or a comment behind the ZIP directory")
    if disk or first_disk or here != count or count == 0xFFFF or _ALL_ONES in (length, start):
        raise Hostile("a ZIP file of several parts or with a zip64 directory")
    if start + length != size - _END.size:
        raise Hostile("prepended data, or a gap before the end of the ZIP file")
    return count, start, length


def _record(
    file: BinaryIO, directory: bytes, at: int, names: Names, *, strict: bool, links: bool
) -> tuple[ZipMember, tuple[int, int], int]:
    """Read one directory record and its local header; (member, bytes it covers, next position)."""
    if at + _CENTRAL.size > len(directory):
        raise Hostile("the directory ends inside a record")
    fields = _CENTRAL.unpack_from(directory, at)
    (magic, _, system, needed, _, flags, method, clock, day, crc, packed, size) = fields[:12]
    (name_len, extra_len, comment_len, disk, _, attributes, offset) = fields[12:]
    at += _CENTRAL.size
    raw_name = directory[at : at + name_len]
    extra = directory[at + name_len : at + name_len + extra_len]
    at += name_len + extra_len + comment_len
    if magic != b"PK\1\2" or at > len(directory) or disk:
        raise Hostile("a broken record in the directory")
    name = _decode(raw_name, flags, strict=strict)
    if flags & ~(_UTF8 | _DESCRIPTOR | _LEVEL_BITS):
        raise Hostile(f"{shown(name)} is encrypted or uses a feature that is not accepted")
    if needed > _NEWEST:
        raise Hostile(f"{shown(name)} asks for version {needed / 10} of ZIP, which no client reads")
    if method not in (0, 8):
        raise Hostile(f"{shown(name)} is compressed with method {method}")
    if strict and comment_len:
        raise Hostile(f"a comment on {shown(name)}")
    size, packed, offset = _zip64(extra, size, packed, offset, name, strict=strict)
    folder = name.endswith("/")
    path = names.admit(name, size, folder=folder)
    mode = attributes >> 16 if system == 3 else 0
    link = links and stat.S_ISLNK(mode) and not folder
    mode = 0o644 if link else _mode(mode, path, folder=folder)
    if folder and size:
        raise Hostile(f"the folder {shown(path)} has contents")
    if method == 0 and packed != size:
        raise Hostile(f"{shown(path)} is stored with two sizes")
    start, last = _local(file, offset, raw_name, flags, method, (crc, packed, size), path, strict=strict)
    member = ZipMember(path, folder, size, crc, mode, _time(day, clock), method, start, packed, link)
    return member, (offset, last), at


def _local(
    file: BinaryIO,
    offset: int,
    raw_name: bytes,
    flags: int,
    method: int,
    sums: tuple[int, int, int],
    path: str,
    *,
    strict: bool,
) -> tuple[int, int]:
    """(start of the bytes, end of the record), after the local header was held against the directory."""
    file.seek(offset)
    head = file.read(_LOCAL.size)
    if len(head) != _LOCAL.size:
        raise Hostile(f"{shown(path)} has no local header")
    magic, _, _, flags2, method2, _, _, crc, packed, size, name_len, extra_len = _LOCAL.unpack(head)
    name = file.read(name_len)
    extra = file.read(extra_len)
    if (
        magic != b"PK\3\4"
        or name != raw_name
        or method2 != method
        or flags2 != flags
        or len(extra) != extra_len
    ):
        raise Hostile(f"the local header of {shown(path)} disagrees with the directory")
    size, packed, _ = _zip64(extra, size, packed, 0, path, strict=strict)
    streamed = bool(flags & _DESCRIPTOR)
    if (crc, packed, size) != sums and not (streamed and (crc, packed, size) == (0, 0, 0)):
        raise Hostile(f"the local header of {shown(path)} disagrees with the directory")
    start = offset + _LOCAL.size + name_len + extra_len
    end = start + sums[1]
    return start, end + (_descriptor(file, end, sums, path) if streamed else 0)


def _descriptor(file: BinaryIO, at: int, sums: tuple[int, int, int], path: str) -> int:
    """The length of the data descriptor at `at`, which must repeat the directory's numbers."""
    file.seek(at)
    tail = file.read(24)
    for form in ("<4x3L", "<4xLQQ", "<3L", "<LQQ"):
        length = struct.calcsize(form)
        signed = form.startswith("<4x")
        if len(tail) >= length and (not signed or tail[:4] == b"PK\7\x08"):
            if struct.unpack_from(form, tail) == sums:
                return length
    raise Hostile(f"the data descriptor of {shown(path)} disagrees with the directory")


def _zip64(
    extra: bytes, size: int, packed: int, offset: int, name: str, *, strict: bool
) -> tuple[int, int, int]:
    """Walk the extra fields; real sizes where the record says they stand in zip64's.

    A reader that takes zip64's numbers whether they are asked for or not must not see others than one that does not,
    so one such field at most, with the numbers that the record leaves to it and no more.
    """
    at, wide = 0, False
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        body = extra[at + 4 : at + 4 + length]
        at += 4 + length
        if len(body) != length:
            break
        if kind == _ZIP64:
            if wide or (strict and length % 8):
                raise Hostile(f"a second or broken zip64 field at {shown(name)}")
            wide = True
            values = list(struct.unpack(f"<{length // 8}Q", body[: length // 8 * 8]))
            size = values.pop(0) if size == _ALL_ONES and values else size
            packed = values.pop(0) if packed == _ALL_ONES and values else packed
            offset = values.pop(0) if offset == _ALL_ONES and values else offset
            if strict and values:
                raise Hostile(f"a zip64 field at {shown(name)} with numbers that nothing asks for")
        elif strict and kind not in _TIMES and (kind != _JAR or length):
            raise Hostile(f"an extra field {kind:#06x} at {shown(name)}")
    if strict and at != len(extra):
        raise Hostile(f"broken extra fields at {shown(name)}")
    return size, packed, offset


def _decode(raw: bytes, flags: int, *, strict: bool) -> str:
    if b"\0" in raw:
        raise Hostile(f"a zero byte in the name {raw[:80]!r}")
    if strict and not flags & _UTF8 and not raw.isascii():
        # Java reads it as UTF-8, Python and unzip as cp437: one archive with two lists of names.
        raise Hostile(f"a name that readers read in two ways: {raw[:80]!r}")
    try:
        return raw.decode("utf-8" if flags & _UTF8 else "cp437")
    except UnicodeDecodeError as error:
        raise Hostile(f"a name that is not UTF-8: {raw[:80]!r}") from error


def _mode(mode: int, path: str, *, folder: bool) -> int:
    if folder and mode == 0o177777:
        return 0o755  # the -1 that Maven's archiver wrote for years on folders it added by itself
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFLNK:
        raise Hostile(f"{shown(path)} is a link")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR) > folder:
        raise Hostile(f"{shown(path)} is no plain file")
    if mode & 0o7000 and not folder:
        raise Hostile(f"{shown(path)} is setuid, setgid or sticky")
    return mode & 0o777


def _time(day: int, clock: int) -> int:
    try:
        stamp = datetime(
            1980 + (day >> 9),
            day >> 5 & 15,
            day & 31,
            clock >> 11,
            clock >> 5 & 63,
            (clock & 31) * 2,
            tzinfo=UTC,
        )
    except ValueError:  # month 0 or second 62: written by no clock
        return EARLIEST
    return int(stamp.timestamp())


def _no_overlap(spans: list[tuple[int, int, str]], end: int, *, strict: bool) -> None:
    """Records must follow each other without a byte between them, and never share one."""
    at = 0
    for first, last, path in spans:
        if first < at:
            raise Hostile(f"{shown(path)} overlaps another record")
        if first > at and (strict or at == 0):
            raise Hostile(f"prepended data or a gap before {shown(path)}")
        at = last
    if at > end or (strict and at != end):
        raise Hostile("a gap or an overlap before the ZIP directory")
