"""Workers of a node: so many processes are started, started anew when they die, and end with it.

Decides how often a worker that dies is replaced: one that cannot live must not be started for ever; the node itself
listens on the same address, so it serves on alone. What a worker does is serve/workers.
"""

import logging
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import trio

from pyrsia.node.worker import READY, WorkerSettings
from pyrsia.units import Limit

SOCKET: Final = "workers.sock"
DEATHS: Final = Limit(5, "of one worker within ten minutes; then it is given up")
_WINDOW_S: Final = 600.0
_END_S: Final = 2.0  # after its wish to end a worker drains for one second

_log = logging.getLogger("pyrsia.serve")


class Workers:
    """The workers of one node.

    Args:
        settings: what each is told.
        notice: shows its operator a sentence.
        command: what is started.
        again_s: before a dead one is replaced; a fault at start must not fill the diary.
    """

    def __init__(
        self,
        count: int,
        settings: WorkerSettings,
        notice: Callable[[str], object],
        *,
        command: Sequence[str] = (sys.executable, "-m", "pyrsia.node.worker"),
        again_s: float = 1.0,
    ) -> None:
        self._command = list(command)
        self._again_s = again_s
        self._count = count
        self._line = msgspec.json.encode(settings) + b"\n"
        self._notice = notice
        self._ending = False
        self._running: set[trio.Process] = set()
        self.ready = 0  # workers that listen now

    async def run(self) -> None:
        """Keep them running, until cancelled."""
        async with trio.open_nursery() as nursery:
            for number in range(1, self._count + 1):
                nursery.start_soon(self._keep, number)

    def drain(self) -> None:
        """Let each end by itself what it has begun; none is started any more."""
        self._ending = True
        for process in self._running:
            if process.stdin is not None:
                _close(process.stdin)

    @property
    def pids(self) -> list[int]:
        return sorted(process.pid for process in self._running)

    async def _keep(self, number: int) -> None:
        deaths: deque[float] = deque(maxlen=DEATHS.value)
        while not self._ending:
            code = await self._one()
            if self._ending:
                return
            now_s = trio.current_time()
            deaths.append(now_s)
            _log.warning("worker %d ended by itself (%s)", number, code)
            if len(deaths) == DEATHS.value and now_s - deaths[0] < _WINDOW_S:
                self._notice(f"worker {number} died {DEATHS.value} times and is given up; the node serves on")
                return
            await trio.sleep(self._again_s)

    async def _one(self) -> int | None:
        """From start to end of one process; its exit code."""
        process = await trio.lowlevel.open_process(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._running.add(process)
        listens = False
        try:
            if process.stdin is not None and process.stdout is not None:
                try:
                    await process.stdin.send_all(self._line)
                    listens = await process.stdout.receive_some(len(READY)) == READY
                except trio.BrokenResourceError:
                    pass  # it died before it read
            self.ready += listens
            return await process.wait()
        finally:
            self.ready -= listens
            self._running.discard(process)
            await _end(process)


def _close(stream: trio.abc.SendStream) -> None:
    """The end of a worker's standard input; closing a pipe waits for nothing."""
    if isinstance(stream, trio.lowlevel.FdStream):
        stream.close()


async def _end(process: trio.Process) -> None:
    with trio.CancelScope(shield=True):
        if process.stdin is not None:
            await process.stdin.aclose()
        with trio.move_on_after(_END_S):
            await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
        if process.stdout is not None:
            await process.stdout.aclose()
