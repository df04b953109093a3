"""Starts appenders and plays the disk for them: lets calls happen, makes one fail, kills, or cuts the power."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from tests.e2e.crash import operations
from tests.e2e.crash.operations import CHANGES, SYNCS, Operation, Supervisor

KILL = -1  # in front of the call
KILL_INSIDE = -2  # as soon as it was let happen: while it runs or just after it
Fault: TypeAlias = Callable[[Operation], int]  # 0: let it happen; an error number; or one of these two
LINE_BYTES = 4_096
LONGEST_S = 60.0

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Run:
    """What one appender did.

    Attributes:
        operations: its calls, in order, the one at which it was killed included.
        lines: what it acknowledged.
        exit: its exit code, negative for a signal.
    """

    operations: list[Operation] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    exit: int = 0

    def said(self, word: str) -> list[str]:
        return [line.partition(" ")[2] for line in self.lines if line.startswith(f"{word} ")]

    @property
    def size(self) -> int:
        """Leaves that were acknowledged by this run."""
        return max(map(int, self.said("size")), default=0)


class Ground:
    """One parent of appenders; `close` it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._asked = ours
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.crash.appender", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=ROOT,
        )
        theirs.close()

    def close(self) -> None:
        self._asked.close()
        self._parent.wait(LONGEST_S)

    def run(self, data: Path, fault: Fault, disk: "Disk | None" = None) -> Run:
        """Let one appender work in `data`.

        Args:
            fault: asked before each call that changes a file there.
            disk: is told of each call that was let happen.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            socket.send_fds(self._asked, [os.fsencode(data)], [theirs.fileno()])
            child = int(self._asked.recv(64))
            theirs.close()
            ours.settimeout(LONGEST_S)
            _, handles, _, _ = socket.recv_fds(ours, LINE_BYTES, 1)
            try:
                run = _watch(Supervisor(handles[0], data), ours, child, fault, disk)
            finally:
                os.close(handles[0])
        run.exit = int(self._asked.recv(64))
        return run


def _watch(by: Supervisor, link: socket.socket, child: int, fault: Fault, disk: "Disk | None") -> Run:
    """Answer an appender's calls until it ends."""
    run = Run()
    poll = select.poll()
    poll.register(by.listener, select.POLLIN)
    poll.register(link, select.POLLIN)
    while True:
        ready = dict(poll.poll(LONGEST_S * 1_000))
        assert ready, "an appender that neither works nor ends"
        if link.fileno() in ready:
            line = link.recv(LINE_BYTES)
            if not line:
                return run
            run.lines.append(line.decode())
        if ready.get(by.listener, 0) & select.POLLIN and (operation := by.next()) is not None:
            run.operations.append(operation)
            answer = fault(operation)
            if answer > 0:
                by.fail(operation.id, answer)
            elif answer != KILL:
                if disk is not None:
                    disk.happens(operation)
                by.allow(operation.id)
            elif disk is not None:
                disk.stops()
            if answer < 0:
                os.kill(child, signal.SIGKILL)


class Disk:
    """Which bytes of each file a sync has put on the disk, and what a power cut leaves.

    Names stay: the sync of a folder is not modelled, only the bytes of files.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._synced = {str(file.relative_to(data)): file.read_bytes() for file in _files(data)}
        self._dirty: set[str] = set()
        self._under_way: dict[
            int, tuple[Operation, bytes]
        ] = {}  # by thread, with the bytes that are being synced

    def happens(self, operation: Operation) -> None:
        """Told before each call that is let happen."""
        self._settle()
        if operation.name in CHANGES:
            self._dirty.add(operation.path)
        elif operation.name in SYNCS or operation.to:
            file = self._data / operation.path
            held = file.read_bytes() if operation.name in SYNCS and file.is_file() else b""
            self._under_way[operation.thread] = operation, held

    def stops(self) -> None:
        """Told before the process is killed."""
        self._settle()

    def _settle(self) -> None:
        """What has returned is done."""
        for thread, (operation, held) in list(self._under_way.items()):
            if not operations.waits_in(thread, operation.name):
                del self._under_way[thread]
                self._done(operation, held)

    def _done(self, operation: Operation, held: bytes) -> None:
        old, new = operation.path, operation.to
        if not new:
            self._synced[old] = held
            return
        self._synced.pop(new, None)
        self._dirty.discard(new)
        if old in self._synced:
            self._synced[new] = self._synced.pop(old)
        if old in self._dirty:
            self._dirty.remove(old)
            self._dirty.add(new)

    def cut_power(self) -> None:
        """Once the process has ended: what no sync put on the disk is gone."""
        for operation, held in self._under_way.values():
            if operation.to and not (self._data / operation.path).exists():
                self._done(operation, held)
        for name in self._dirty:
            file = self._data / name
            if file.is_file():
                file.write_bytes(self._synced.get(name, b""))


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]
