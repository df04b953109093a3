"""Reading source archives of strangers (.tar.gz, .tar): plain files and folders only, and nothing behind the end.

It runs inside the sandbox and imports only the standard library. Decompression is counted while it
happens, so a bomb stops at the limit and not at the end of memory.

Source: POSIX pax format as `tarfile` reads it; PEP 517 and PEP 625 for what a source archive is.
"""

import tarfile
import zlib
from collections.abc import Iterator
from typing import IO, BinaryIO, NamedTuple, cast

from pyrsia.builds.members import Hostile, Names, shown
from pyrsia.units import MAX_UNPACKED_BYTES

_CHUNK = 1 << 16


class Gunzip:
    """A readable stream of decompressed bytes that refuses bombs and anything behind the gzip stream."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflate = zlib.decompressobj(31)
        self._buffer = bytearray()
        self._total = 0
        self._ended = False

    def read(self, size: int) -> bytes:
        while len(self._buffer) < size and not self._ended:
            self._more()
        out = bytes(self._buffer[:size])
        del self._buffer[:size]
        return out

    def rest_is_zero(self) -> bool:
        """Read to the end; whether everything left is padding."""
        while not self._ended:
            self._more()
            if any(self._buffer):
                return False
            self._buffer.clear()
        return not any(self._buffer)

    def _more(self) -> None:
        piece = self._inflate.unconsumed_tail or self._file.read(_CHUNK)
        try:
            out = self._inflate.decompress(piece, _CHUNK)
        except zlib.error as error:
            raise Hostile("not gzip data") from error
        self._total += len(out)
        # Headers and padding cost up to 1 KiB a member; twice the limit covers every admissible archive.
        if self._total > 2 * MAX_UNPACKED_BYTES.value:
            raise Hostile(f"unpacks to more than {MAX_UNPACKED_BYTES.value} bytes")
        self._buffer += out
        if self._inflate.eof:
            self._ended = True
            if self._inflate.unused_data or self._file.read(1):
                raise Hostile("trailing data behind the gzip stream")
        elif not piece and not out:
            raise Hostile("the gzip stream ends early")


class _Plain:
    """The same face for an archive that is not compressed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._total = 0

    def read(self, size: int) -> bytes:
        out = self._file.read(size)
        self._total += len(out)
        if self._total > 2 * MAX_UNPACKED_BYTES.value:
            raise Hostile(f"unpacks to more than {MAX_UNPACKED_BYTES.value} bytes")
        return out

    def rest_is_zero(self) -> bool:
        """Read to the end; whether everything left is padding."""
        while piece := self.read(_CHUNK):
            if any(piece):
                return False
        return True


class _Contents:
    """The bytes of one member; what is broken inside it is hostile like everything else."""

    def __init__(self, inner: IO[bytes], name: str) -> None:
        self._inner = inner
        self._name = name

    def read(self, size: int = -1) -> bytes:
        try:
            return self._inner.read(size)
        except (tarfile.TarError, EOFError) as error:
            raise Hostile(f"{shown(self._name)} ends early") from error


class Record(NamedTuple):
    """One member as it is packed.

    Attributes:
        time: s since 1970. owner: uid, gid and their names. extended: keywords of its pax header, sorted.
    """

    path: str
    folder: bool
    size: int
    mode: int
    time: int
    owner: tuple[int, int, str, str]
    extended: tuple[str, ...]


def records(file: BinaryIO) -> Iterator[tuple[Record, IO[bytes] | None]]:
    """Each member with its contents, in order; the contents must be read before the next member is asked for.

    Args:
        file: at its beginning; compressed with gzip or not.

    Raises:
        Hostile: a name or kind of member that may not be unpacked, or a broken archive.
    """
    gzip = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    stream = Gunzip(file) if gzip else _Plain(file)
    names = Names()
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|", errorlevel=2) as archive:
            for item in archive:
                if item.issparse() or not (item.isreg() or item.isdir()):
                    linked = item.issym() or item.islnk()
                    kind = "a link, and those are not followed" if linked else "a device, pipe or sparse file"
                    raise Hostile(f"{shown(item.name)} is {kind}")
                if item.mode & 0o6000 and item.isreg():
                    raise Hostile(f"{shown(item.name)} is setuid or setgid")
                name = item.name.removeprefix("./")
                if item.isdir() and name in ("", "."):
                    continue
                path = names.admit(name, item.size, folder=item.isdir())
                inner = archive.extractfile(item) if item.isreg() else None
                contents = None if inner is None else cast("IO[bytes]", _Contents(inner, item.name))
                owner = (item.uid, item.gid, item.uname, item.gname)
                time = max(0, int(item.mtime))
                extended = tuple(sorted(item.pax_headers))
                yield Record(path, item.isdir(), item.size, item.mode, time, owner, extended), contents
            # What it read ahead of the end as well: records are larger than blocks.
            while archive.fileobj is not None and (piece := archive.fileobj.read(_CHUNK)):
                if any(piece):
                    raise Hostile("trailing data behind the tar archive")
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError, UnicodeError) as error:
        raise Hostile(f"not a tar archive: {error}") from error
    if not stream.rest_is_zero():
        raise Hostile("trailing data behind the tar archive")


def read(file: BinaryIO) -> Iterator[tuple[str, bool, int, bool, int, IO[bytes] | None]]:
    """(path, is a folder, size, is executable, time in s, contents) of each member; see `records`."""
    for one, contents in records(file):
        yield one.path, one.folder, one.size, bool(one.mode & 0o111), one.time, contents
