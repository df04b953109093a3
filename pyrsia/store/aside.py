"""Work that waits for a disk, in a thread beside the loop, for one owner that has one piece at a time.

`trio.to_thread` is for anybody: it asks a limiter, copies a context, names the thread, and comes back through a task
that wakes the one that waits. A block needs three syncs of every node, so that is most of what a sync costs. Here the
thread raises an event descriptor, which wakes the waiting task itself.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import start_thread_soon, wait_readable

if TYPE_CHECKING:
    from outcome import Outcome


class Aside:
    """One owner's thread. Not for two pieces of work at once: whoever owns it keeps their order."""

    __slots__ = ("_done", "_fd", "_result")

    def __init__(self) -> None:
        self._fd = -1
        self._result: Outcome[None] | None = None
        self._done = False

    async def run(self, work: Callable[[], None]) -> None:
        """Return or raise what `work` does; once begun it is waited for, whatever is cancelled.

        Raises:
            ValueError: it is closed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._done:
            raise ValueError("closed")
        if self._fd < 0:
            self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        start_thread_soon(work, self._deliver)
        with trio.CancelScope(shield=True):
            # The result is there a moment before the descriptor is raised: what counts is the descriptor, which also
            # tells that the thread is through with it.
            while not self._raised():
                await wait_readable(self._fd)
        result, self._result = self._result, None
        assert result is not None  # noqa: S101 (for the type checker; it is set before the descriptor is raised)
        result.unwrap()

    def close(self) -> None:
        """Give back the descriptor; nothing may be under way. Calling it twice is harmless."""
        self._done = True
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _raised(self) -> bool:
        """Whether the thread has raised the descriptor; it is lowered."""
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return False
        return True

    def _deliver(self, result: "Outcome[None]") -> None:
        self._result = result
        os.eventfd_write(self._fd, 1)
