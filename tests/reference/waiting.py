"""One way to wait in tests: for a condition, or for what a block does, within a bound.

In real time a bound only says that the test hangs, so it is far above what a loaded machine needs, and the pauses
between two looks stay short: some of what is waited for is soon over again. In virtual time nothing but the program
takes time: the bound says how long that may be, and a look costs more than the time between two.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import trio
from trio.testing import MockClock

HANGS_S = 60.0
LOOKED_S = 5.0  # in virtual time, where a test says nothing else


def bounded(virtual_s: float = LOOKED_S) -> AbstractContextManager[trio.CancelScope]:
    """A block that takes longer fails its test: `virtual_s` where the clock is virtual, else a minute."""
    return trio.fail_after(virtual_s if _virtual() else HANGS_S)


async def until(condition: Callable[[], object], virtual_s: float = LOOKED_S) -> None:
    """Return once `condition()` is true; a test that waits longer than the bound has failed."""
    pause_s, longest_s = 0.001, 1.0 if _virtual() else 0.01
    with bounded(virtual_s):
        while not condition():
            await trio.sleep(pause_s)
            pause_s = min(1.25 * pause_s, longest_s)


def unhindered_s() -> float:
    """Real seconds, less those in which this thread stood in line for a processor: for what has to be quick, and is no
    slower for what else a machine has to do. Where the kernel does not say how long it stood, just seconds.
    """
    try:
        waited_ns = int(Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        waited_ns = 0
    return time.monotonic() - waited_ns / 1e9


def _virtual() -> bool:
    return isinstance(trio.lowlevel.current_clock(), MockClock)
