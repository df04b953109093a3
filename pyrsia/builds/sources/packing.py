"""The one form in which a source is packed here: a tar file that depends on nothing but its files and one time.

Members are sorted by the bytes of their paths below one top folder, with modes 0644 and 0755, one time, owner 0 and no
names of owners; folders have no entries of their own. Two nodes that have the same tree write the same bytes. Runs
inside the sandbox and outside: only the standard library is imported.

Source: docs/sources.md, "Sources from git"; POSIX pax format.
"""

import hashlib
import tarfile
from collections.abc import Iterable, Iterator
from typing import IO, Final, NamedTuple

from pyrsia.builds.members import Hostile, Member, Names, encode, shown

EARLIEST: Final = 315_532_800  # 1980-01-01, as in a ZIP
_LATEST: Final = (1 << 33) - 1  # what a plain header holds
_PIECE: Final = 1 << 16
_LFS: Final = b"version https://git-lfs.github.com/spec/v1\n"
_LFS_BYTES: Final = 1_024  # a pointer is below that, its own specification says


class File(NamedTuple):
    """One file to pack: its path below the top folder, and a stream of exactly `size` bytes."""

    path: str
    executable: bool
    size: int
    content: IO[bytes]


def clamped(time_s: int) -> int:
    """A time that every archive can hold."""
    return max(EARLIEST, min(time_s, _LATEST))


def in_order(paths: Iterable[str]) -> list[str]:
    """Paths as they stand in an archive; a name that is not Unicode is refused by `pack`."""
    return sorted(paths, key=lambda path: path.encode("utf-8", "surrogateescape"))


def pack(out: IO[bytes], top: str, files: Iterable[File], time_s: int) -> list[Member]:
    """Write an archive with one folder `top`; the files' list, without `top`.

    Args:
        files: in the order of `in_order`.

    Raises:
        Hostile: a name that may not be unpacked, a Git LFS pointer, or too many or too large.
    """
    names, found = Names(), []
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8") as archive:
        for path, executable, size, content in files:
            names.admit(path, size, folder=False)
            item = tarfile.TarInfo(f"{top}/{path}")
            item.size, item.mtime = size, clamped(time_s)
            item.mode = 0o755 if executable else 0o644
            counted = _Hashing(content)
            archive.addfile(item, counted)
            if size < _LFS_BYTES and counted.start.startswith(_LFS):
                raise Hostile(
                    f"{shown(path)} is a Git LFS pointer: the file itself is not in the repository, give it along"
                )
            found.append(Member(path, counted.digest.hexdigest(), size, executable))
    return found


class _Hashing:
    """A stream that is hashed as it is read.

    Attributes:
        start: its first bytes.
    """

    def __init__(self, inner: IO[bytes]) -> None:
        self._inner = inner
        self.digest = hashlib.sha256()
        self.start = b""

    def read(self, size: int = -1) -> bytes:
        piece = self._inner.read(size)
        self.digest.update(piece)
        self.start = self.start or piece[: len(_LFS)]
        return piece


def tree_digest(members: Iterable[Member]) -> str:
    """SHA-256 (hex) of the list of a tree's files, paths without the top folder: what the log names beside a commit."""
    return hashlib.sha256(encode(members)).hexdigest()


def below(members: Iterable[Member], top: str) -> Iterator[Member]:
    """The same members with paths below their one top folder."""
    for one in members:
        head, slash, rest = one.path.partition("/")
        if head != top or not slash:
            raise Hostile(f"{shown(one.path)} is not below {shown(top)}")
        yield Member(rest, one.sha256, one.size, one.exec)


def file_name(name: str, version: str) -> str:
    """`<name>-<version>` as an archive and its top folder are called: what may not stand in a file's name is a `-`."""
    told = "".join(
        char if char.isascii() and (char.isalnum() or char in "._+!~-") else "-"
        for char in f"{name}-{version}"
    )
    return (told.lstrip("-.") or "source")[:190]
