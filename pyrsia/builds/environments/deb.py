"""Reads the files of one Debian package: its data archive only, never its scripts.

It runs inside the sandbox and imports only the standard library. A package is made by people whom an archive's
signature vouches for, and is read as if it were not.

Source: deb(5); Debian Policy, appendix "The .deb format".
"""

import gzip
import lzma
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from typing import IO, BinaryIO, Final, NamedTuple, cast

from pyrsia.builds.members import Hostile, shown

_MAGIC: Final = b"!<arch>\n"
_MEMBER: Final = 60
_ZSTD: Final = "/usr/bin/zstd"
_UNPACK_S: Final = 600.0  # the largest package unpacks in seconds; the sandbox has its own limit


class Entry(NamedTuple):
    """One member of a package.

    Attributes:
        path: relative, as the package writes it but for a leading `./`.
        kind: `file`, `folder`, `link` or `hard`.
        target: of a link as it is written; of a hard link the other path.
        contents: of a plain file; must be read before the next entry is asked for.
    """

    path: str
    kind: str
    exec: bool
    size: int
    target: str
    contents: IO[bytes] | None


def entries(file: BinaryIO, name: str) -> Iterator[Entry]:
    """The members of the package `file`, in its order.

    Raises:
        Hostile: not a package, a device or pipe, or a compressor that this machine lacks.
    """
    try:
        with tarfile.open(fileobj=_data(file, name), mode="r|", errorlevel=2) as archive:
            for item in archive:
                path = item.name.removeprefix("./").rstrip("/")
                if path in ("", "."):
                    continue
                if item.isdir():
                    yield Entry(path, "folder", True, 0, "", None)
                elif item.issym():
                    yield Entry(path, "link", False, 0, item.linkname, None)
                elif item.islnk():
                    yield Entry(path, "hard", False, 0, item.linkname.removeprefix("./"), None)
                elif item.isreg() and not item.issparse():
                    contents = archive.extractfile(item)
                    yield Entry(path, "file", bool(item.mode & 0o111), item.size, "", contents)
                else:
                    raise Hostile(f"{shown(name)}: {shown(path)} is a device, pipe or sparse file")
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError, ValueError, OverflowError) as error:
        raise Hostile(f"{shown(name)} is not a Debian package: {error}") from error


def _data(file: BinaryIO, name: str) -> IO[bytes]:
    """The decompressed stream of the member `data.tar.*`."""
    if file.read(len(_MAGIC)) != _MAGIC:
        raise Hostile(f"{shown(name)} is not an ar archive")
    while len(head := file.read(_MEMBER)) == _MEMBER:
        member, size = head[:16].decode("ascii", "replace").strip().rstrip("/"), int(head[48:58])
        if member.startswith("data.tar"):
            return _opened(member, cast("IO[bytes]", _Slice(file, size)), name)
        file.seek(size + size % 2, 1)
    raise Hostile(f"{shown(name)} holds no data archive")


def _opened(member: str, data: IO[bytes], name: str) -> IO[bytes]:
    if member == "data.tar.xz":
        return cast("IO[bytes]", lzma.open(data))
    if member == "data.tar.gz":
        return cast("IO[bytes]", gzip.open(data))
    if member == "data.tar":
        return data
    if member == "data.tar.zst" and shutil.which(_ZSTD):
        program = subprocess.Popen([_ZSTD, "-dcq"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return cast("IO[bytes]", _Zstd(program, data))
    raise Hostile(f"{shown(name)} is packed with {shown(member[8:])}, which cannot be read here")


class _Slice:
    """The next `size` bytes of a file, as a file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(piece)
        return piece


class _Zstd:
    """Feeds zstd on one side and reads from the other, by a whole file at once: packages are small."""

    def __init__(self, program: subprocess.Popen[bytes], data: IO[bytes]) -> None:
        out, _ = program.communicate(data.read(), timeout=_UNPACK_S)
        if program.returncode:
            raise OSError("zstd refuses it")
        self._out = memoryview(out)

    def read(self, size: int = -1) -> bytes:
        size = len(self._out) if size < 0 else size
        piece, self._out = bytes(self._out[:size]), self._out[size:]
        return piece
