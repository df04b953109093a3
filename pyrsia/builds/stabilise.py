"""The normalisers `tar@1`, `gzip@1` and `sdist@1`: one packing for one content, and a list of what was taken away.

`tar@1`: files sorted by the bytes of their paths, modes 0644 and 0755, one time, owner 0 without a name, no entries for
folders, nothing extended but names that no plain header holds. `gzip@1`: the content in stored blocks behind a header
of zeros, so that no compressor takes part. `sdist@1` is `tar@1` in `gzip@1`. What hides nothing is normalised; what
could (links, setuid, duplicates, trailing data) is refused when the archive is read, and the exec bit stays.

It runs inside the sandbox and imports only the standard library.

Source: docs/builds-how.md, "Archives"; POSIX ustar and pax; RFC 1951, RFC 1952.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO, Final, Protocol

from pyrsia.builds import members_tar
from pyrsia.builds.members import Hostile, Member, stable
from pyrsia.builds.members_tar import Record

TAR: Final = "tar@1"
GZIP: Final = "gzip@1"
SDIST: Final = "sdist@1"
_PIECE: Final = 1 << 16
_BLOCK: Final = 512
_STORED: Final = 0xFFFF  # bytes of a stored block (RFC 1951, 3.2.4)
_HEADER: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # deflate, no flags, no time, no effort, unknown system
_LATEST: Final = (1 << 33) - 1  # what a plain header holds


class Sink(Protocol):
    """What bytes are written to."""

    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Stable:
    """What is left of an archive when its packing is taken away.

    Attributes:
        digest: over members (path, size, exec bit, content), or over the content of a lone gzip file.
        members: sorted by path; none for `gzip@1`.
        removed: `what:count`, sorted.
    """

    digest: str
    members: tuple[Member, ...]
    removed: tuple[str, ...]


def tar(file: BinaryIO, out: Sink, spool: BinaryIO, time_s: int) -> Stable:
    """Write `tar@1` of a tar file, compressed or not, to `out`.

    Args:
        spool: an empty file; members pass through it on their way into order.
        time_s: the one time of every member, in s since 1970.

    Raises:
        Hostile: what no honest tool packs, see `members_tar`.
    """
    records, places, members = [], {}, []
    for one, contents in members_tar.records(file):
        records.append(one)
        if contents is None:
            continue
        places[one.path] = spool.tell()
        digest = hashlib.sha256()
        while piece := contents.read(_PIECE):
            digest.update(piece)
            spool.write(piece)
        members.append(Member(one.path, digest.hexdigest(), one.size, bool(one.mode & 0o111)))
    time_s = max(0, min(time_s, _LATEST))
    for member in sorted(members, key=lambda one: one.path.encode()):
        out.write(_headers(member, time_s))
        spool.seek(places[member.path])
        _copy(spool, out, member.size)
        out.write(bytes(-member.size % _BLOCK))
    out.write(bytes(2 * _BLOCK))
    return Stable(stable(members), tuple(sorted(members)), tuple(_tar_removed(records, time_s)))


def gzip(file: BinaryIO, out: Sink) -> Stable:
    """Write `gzip@1` of one compressed file to `out`; its content is compared as it is, uncompressed.

    Raises:
        Hostile: it is no gzip file, it has data behind its end, or it unpacks to too much.
    """
    removed = gzip_removed(file)
    file.seek(0)
    stream, digest = members_tar.Gunzip(file), hashlib.sha256()
    writer = Stored(out)
    while piece := stream.read(_PIECE):
        digest.update(piece)
        writer.write(piece)
    writer.finish()
    return Stable(digest.hexdigest(), (), tuple(removed))


def sdist(file: BinaryIO, out: Sink, spool: BinaryIO, time_s: int) -> Stable:
    """Write `sdist@1` of a compressed tar file to `out`; see `tar`."""
    removed = gzip_removed(file)
    file.seek(0)
    writer = Stored(out)
    found = tar(file, writer, spool, time_s)
    writer.finish()
    return Stable(found.digest, found.members, tuple(sorted([*removed, *found.removed])))


class Stored:
    """A gzip file that is written without a compressor."""

    def __init__(self, out: Sink) -> None:
        self._out = out
        self._crc = 0
        self._size = 0
        self._waiting = bytearray()
        out.write(_HEADER)

    def write(self, data: bytes) -> int:
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        self._waiting += data
        while len(self._waiting) > _STORED:
            self._block(self._waiting[:_STORED], last=False)
            del self._waiting[:_STORED]
        return len(data)

    def finish(self) -> None:
        self._block(self._waiting, last=True)
        self._out.write(struct.pack("<LL", self._crc, self._size & 0xFFFFFFFF))

    def _block(self, data: bytes | bytearray, *, last: bool) -> None:
        self._out.write(struct.pack("<BHH", last, len(data), len(data) ^ 0xFFFF) + data)


def gzip_removed(file: BinaryIO) -> list[str]:
    """What `gzip@1` takes away from a gzip file, as `what:1`; sorted.

    Raises:
        Hostile: it is no gzip file.
    """
    file.seek(0)
    head = file.read(10)
    if len(head) < 10 or head[:3] != b"\x1f\x8b\x08" or head[3] & 0xE0:
        raise Hostile("not gzip data")
    flags, time, effort, system = head[3], *struct.unpack("<LBB", head[4:])
    found = {
        "gzip-comment": flags & 0x10,
        "gzip-compression": 1,
        "gzip-extra": flags & 0x04,
        "gzip-misc": flags & 0x03 or effort or system != 0xFF,
        "gzip-name": flags & 0x08,
        "gzip-time": time,
    }
    return [f"{what}:1" for what, there in sorted(found.items()) if there]


def _tar_removed(records: list[Record], time_s: int) -> Iterator[str]:
    files = [one for one in records if not one.folder]
    paths = [one.path for one in files]
    counts = {
        "tar-extended": sum(bool(set(one.extended) - {"path"}) for one in files),
        "tar-folders": len(records) - len(files),
        "tar-mode": sum(one.mode & 0o7777 != (0o755 if one.mode & 0o111 else 0o644) for one in files),
        "tar-order": int(paths != sorted(paths, key=str.encode)),
        "tar-owner": sum(one.owner != (0, 0, "", "") for one in files),
        "tar-time": sum(one.time != time_s for one in files),
    }
    yield from (f"{what}:{count}" for what, count in sorted(counts.items()) if count)


def _headers(member: Member, time_s: int) -> bytes:
    """The header of one file; before it, where no plain header holds its name or size, a pax header that does."""
    name = member.path.encode()
    mode = 0o755 if member.exec else 0o644
    extended = b""
    if len(name) > 100 or not member.path.isascii():
        extended += _keyword(b"path", name)
    if member.size >= 1 << 33:
        extended += _keyword(b"size", str(member.size).encode())
    plain = _header(member.path.encode("ascii", "replace")[:100], member.size % (1 << 33), mode, time_s, b"0")
    if not extended:
        return plain
    head = _header(b"pax", len(extended), 0o644, 0, b"x")
    return head + extended + bytes(-len(extended) % _BLOCK) + plain


def _keyword(name: bytes, value: bytes) -> bytes:
    """`length name=value\\n`, where the length counts its own digits (POSIX pax, extended header)."""
    rest = len(name) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, name, value)


def _header(name: bytes, size: int, mode: int, time_s: int, kind: bytes) -> bytes:
    """512 bytes of ustar."""
    fields = (
        name.ljust(100, b"\0"),
        b"%07o\0" % mode,
        b"%07o\0" % 0,
        b"%07o\0" % 0,
        b"%011o\0" % size,
        b"%011o\0" % time_s,
        b" " * 8,
        kind,
        bytes(100),
        b"ustar\x0000",
        bytes(64),
        b"%07o\0" % 0,
        b"%07o\0" % 0,
        bytes(167),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _copy(file: IO[bytes], out: Sink, size: int) -> None:
    while size:
        piece = file.read(min(size, _PIECE))
        out.write(piece)
        size -= len(piece)
