"""What was pushed and deleted, line by line beside the bytes: from it a lost database learns the rows again.

    newline, crc32 of the rest in hex, a space, JSON: [package, key, SHA-256, size, time, by, more]
                                                       [package, key]: deleted

A line is on disk before the database's row. The last line of a key counts; a torn or damaged one is passed over, and
spoils no other: each begins with its own newline. The database is the truth while there is one: the file is written
anew from it when most of it is history, at a start and in between.
"""

import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from pyrsia.files import sync_folder
from pyrsia.units import Limit

MAX_LINE_BYTES = Limit(
    1 << 20, "a row with 64 KiB of remembered text takes 400 KB where each byte is escaped"
)
HISTORY_LINES = Limit(
    10_000, "lines that say nothing any more before the file is written anew: some megabytes"
)

HISTORY_BYTES = Limit(64 << 20, "the same for long lines: a second to read at a start")

Line = tuple[str, str, str, int, int, str, dict[str, str]]
Deleted = tuple[str, str]

_CRC_CHARS: Final = 8


class Journal:
    """The file. `append` blocks: for a thread; one at a time, so that its order is the database's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0
        self._settled = 0  # bytes that it had when it was last looked through, or written anew

    def exists(self) -> bool:
        return self._path.exists()

    def append(self, line: Line | Deleted) -> None:
        """Durable when this returns.

        Raises:
            OSError: as the system says it.
        """
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(_written(line))
            file.flush()
            os.fdatasync(file.fileno())
            self._size = os.fstat(file.fileno()).st_size

    @property
    def grown(self) -> bool:
        """Whether it became so long since it was settled that it should be written anew."""
        return self._size > 2 * self._settled + HISTORY_BYTES.value

    def settle(self) -> None:
        """It is as short as it gets for now."""
        self._settled = self._size

    def anew(self) -> "Anew":
        """
        Raises:
            OSError: as the system says it.
        """
        return Anew(self._path)

    def replaced(self, anew: "Anew") -> None:
        """Let it say what `anew` does and nothing else, by rename.

        Raises:
            OSError: as the system says it.
        """
        self._size = anew.into_place()
        self.settle()

    def outgrown(self, rows: int) -> bool:
        """Whether much of it is history, where there are so many rows; or it is not there. Settles it.

        Raises:
            OSError: as the system says it.
        """
        if not self.exists():
            return True
        with self._path.open("rb") as file:
            lines = sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
            self._size = file.tell()
        self.settle()
        long = self._size > HISTORY_BYTES.value and lines > rows
        return long or lines > 2 * rows + HISTORY_LINES.value

    def rows(self) -> dict[tuple[str, str], Line]:
        """What it says in the end, by package and key.

        Raises:
            OSError: as the system says it.
        """
        found: dict[tuple[str, str], Line] = {}
        for line in self._read():
            place = (line[0], line[1])
            if len(line) == 2:
                found.pop(place, None)
            else:
                found[place] = line
        return found

    def _read(self) -> Iterator[Line | Deleted]:
        with self._path.open("rb") as file:
            while raw := file.readline(MAX_LINE_BYTES.value):
                crc, text = raw[:_CRC_CHARS], raw[_CRC_CHARS + 1 :].removesuffix(b"\n")
                if crc != b"%08x" % zlib.crc32(text):
                    continue
                try:
                    yield msgspec.json.decode(text, type=Line)
                except msgspec.ValidationError:
                    yield msgspec.json.decode(text, type=Deleted)


class Anew:
    """A journal that is to take the place of the one that there is. Blocks, as that does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f"{path.name}.new")
        handle = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(handle, "wb")

    def add(self, lines: Iterable[Line]) -> None:
        """
        Raises:
            OSError: as the system says it.
        """
        self._file.writelines(map(_written, lines))

    def into_place(self) -> int:
        """How many bytes it has. Durable when this returns.

        Raises:
            OSError: as the system says it.
        """
        with self._file as file:
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        self._temporary.rename(self._path)
        sync_folder(self._path.parent)
        return size

    def drop(self) -> None:
        """Nothing is left of one that took no place."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)


def _written(line: Line | Deleted) -> bytes:
    text = msgspec.json.encode(line)
    return b"\n%08x " % zlib.crc32(text) + text
