"""A file that fills up while it is read: which bytes may be sent, who waits for which, how it ends. No disk writes.

One writer tells what it wrote, in any order; readers wait for the run of bytes from where they stand. The last bytes
are held back until the writer says that the whole file is what it must be, so that no reader ever passes on a whole
wrong file; of a file that is shorter than that nothing is shown before. Left out: writing, checking and keeping it
(`blobs`, or whoever fetches), and when a download that nobody reads ends.
"""

import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from pathlib import Path

import trio

from pyrsia.errors import StorageFull, Unavailable
from pyrsia.units import CHUNK_BYTES


class Growing:
    """One file on its way; inside trio only.

    Args:
        size: bytes that it will have.
        sha256: lower-case hex, "" if nobody knows it yet.
        changed: called after every change of `readers` or `moved_s`.

    Attributes:
        readers: how many `Reader`s are open.
        moved_s: trio time of the last progress.
    """

    def __init__(self, size: int, *, sha256: str = "", changed: Callable[[], None] = lambda: None) -> None:
        self.size = size
        self.sha256 = sha256
        self.readers = 0
        self.moved_s = trio.current_time()
        self._changed = changed
        self._starts: list[int] = []  # of runs that are here, sorted; no two of them touch
        self._ends: list[int] = []
        self._shown = max(0, size - CHUNK_BYTES.value)  # nothing from here on before the end
        self._waiting: dict[int, trio.Event] = {}  # by offset: at most one a reader
        self._open: dict[Reader, int] = {}  # what each reader asked for last
        self._fd = -1
        self._path: Path | None = None
        self._failure: StorageFull | str = ""
        self._over = False

    @property
    def path(self) -> Path:
        """What to open; there is nothing before the first `ready` has returned."""
        if self._path is not None:
            return self._path
        # Also while the file is being renamed into its place: the descriptor has no name that changes.
        return Path(f"/proc/self/fd/{self._fd}")

    @property
    def over(self) -> bool:
        """It is whole, or will never be."""
        return self._over

    # -- the writer's side --

    def opened(self, path: Path) -> None:
        """The file exists; it may be shorter than it will be. Again, when somebody else goes on with it.

        If that is in another file, readers to whom something was shown of the first have it open, and it will never be
        whole: it fails for all. Whoever comes then begins anew.
        """
        before, self._fd = self._fd, os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if before >= 0:
            other = not os.path.sameopenfile(before, self._fd)
            os.close(before)
            if other and self._starts:
                self.fail("what had come of it was lost")
                self._changed()

    def wrote(self, offset: int, count: int) -> None:
        """These bytes are in the file, verified as far as they can be alone."""
        start, end = offset, offset + count
        first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]
        self.moved_s = trio.current_time()
        for at in [at for at in self._waiting if start <= at < min(end, self._shown)]:
            self._waiting.pop(at).set()
        self._changed()

    def finish(self, path: Path) -> None:
        """The whole is what it must be, and stands at `path` from now on."""
        self._path = path
        self._end()

    def fail(self, why: StorageFull | str) -> None:
        """The rest does not come, finds no room, or is not what it must be. Nothing happens if it is over."""
        if not self._over:
            self._failure = why or "the file does not come"
            self._end()

    def _end(self) -> None:
        self._over = True
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        while self._waiting:
            self._waiting.popitem()[1].set()

    # -- the readers' side --

    def reader(self) -> "Reader":
        """One more; it must be closed."""
        self.readers += 1
        reader = Reader(self)
        self._open[reader] = 0
        self._changed()
        return reader

    def left(self, reader: "Reader") -> None:
        self.readers -= 1
        del self._open[reader]
        self._changed()

    def lacking(self) -> list[int]:
        """For each reader the first byte that is not here from where it reads, as far as there is one."""
        ends = (max(at, self._run_end(at)) for at in self._open.values())
        return [end for end in ends if end < self.size]

    async def ready(self, offset: int, reader: "Reader | None" = None) -> int:
        """The end (exclusive) of the run that may be sent from `offset`; waits for it.

        At `size` and beyond it waits until the file is whole.

        Raises:
            StorageFull, Unavailable: the file failed.
        """
        if reader is not None:
            self._open[reader] = offset
        while True:
            if isinstance(self._failure, StorageFull):
                raise self._failure.again()
            if self._failure:
                raise Unavailable(self._failure)
            if self._over:
                return self.size
            end = self._until(offset)
            if end > offset:
                return end
            event = self._waiting.setdefault(offset, trio.Event())
            try:
                await event.wait()
            finally:
                if not event.is_set() and not event.statistics().tasks_waiting:  # the last one was cancelled
                    del self._waiting[offset]

    def _until(self, offset: int) -> int:
        return min(self._run_end(offset), self._shown)

    def _run_end(self, offset: int) -> int:
        """The end of the run that begins at `offset` or before it; 0 where there is none."""
        found = bisect_right(self._starts, offset) - 1
        return self._ends[found] if found >= 0 else 0


class Reader:
    """One reader's hold on a `Growing` (`serve.desks.views.Arriving`)."""

    def __init__(self, growing: Growing) -> None:
        self._growing = growing
        self._open = True
        self.size = growing.size
        self.sha256 = growing.sha256

    @property
    def path(self) -> Path:
        return self._growing.path

    async def ready(self, offset: int) -> int:
        return await self._growing.ready(offset, self)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._growing.left(self)


class Whole:
    """A file that is here already, for who takes one that arrives."""

    def __init__(self, path: Path, size: int, sha256: str = "") -> None:
        self.path = path
        self.size = size
        self.sha256 = sha256

    async def ready(self, offset: int) -> int:
        return self.size

    def close(self) -> None:
        """Nothing is held."""
