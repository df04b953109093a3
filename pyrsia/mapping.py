"""The bytes of a file that nobody changes, without a copy; and what cannot be read is an error and no signal.

Who touches a mapped page that the disk does not give, or that a truncation took away, gets SIGBUS, and the process ends
without a word: one bad sector would end a node. So each part is asked of the kernel before anybody touches it, which
brings the pages into the cache and says what is wrong instead (0.9 us for 256 KiB that are there). What is left is a
file that is cut in the moment between; whole files are renamed into their place and never written again.

Source: madvise(2), MADV_POPULATE_READ, Linux 5.14; where it is missing, the part is read into memory.
"""

import mmap
import os
import weakref
from functools import cache
from pathlib import Path
from typing import Final

from pyrsia.errors import Unavailable

_POPULATE_READ: Final = 22


class MappedFile:
    """`data[start:stop]` is a part of the file, which may outlive this object.

    Attributes:
        path: the file.
        size: its bytes.
    """

    def __init__(self, path: Path, size: int) -> None:
        """
        Raises:
            Unavailable: it cannot be opened, or has another size: a crash or the disk cut it.
        """
        self.path, self.size = path, size
        self._map: mmap.mmap | None = None
        self._view = memoryview(b"")
        self._handle: int | None = None
        try:
            self._open()
        except OSError as error:
            raise self._unavailable(error.strerror) from None

    def _open(self) -> None:
        handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        closing = weakref.finalize(self, os.close, handle)
        found = os.fstat(handle).st_size
        if found != self.size:
            closing()
            raise Unavailable(f"{self.path.name} is {found} bytes long and not {self.size}")
        if self.size and populates():
            self._map = mmap.mmap(handle, self.size, access=mmap.ACCESS_READ)
            self._view = memoryview(self._map)
            closing()
        else:
            self._handle = handle

    def __getitem__(self, part: slice) -> memoryview:
        """
        Raises:
            Unavailable: the disk does not give these bytes.
        """
        start, stop, _ = part.indices(self.size)
        length = max(0, stop - start)
        try:
            if self._map is None:
                return self._read(start, length)
            if length:
                first = start - start % mmap.PAGESIZE
                self._map.madvise(_POPULATE_READ, first, stop - first)
            return self._view[start:stop]
        except OSError as error:
            raise self._unavailable(f"{error.strerror} at byte {start}") from None

    def _read(self, start: int, length: int) -> memoryview:
        found = os.pread(self._handle, length, start) if self._handle is not None and length else b""
        if len(found) != length:
            raise self._unavailable(f"it ends before byte {start + length}")
        return memoryview(found)

    def _unavailable(self, why: str | None) -> Unavailable:
        return Unavailable(f"{self.path.name}: {why}")


@cache
def populates() -> bool:
    """Whether this kernel knows the question."""
    with mmap.mmap(-1, mmap.PAGESIZE) as page:
        try:
            page.madvise(_POPULATE_READ, 0, mmap.PAGESIZE)
        except OSError:
            return False
    return True
