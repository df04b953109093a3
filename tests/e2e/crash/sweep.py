"""Every call of an append, every fault: `python -m tests.e2e.crash.sweep [STEP]`. Exits 1 if one broke the log.

Two appends are swept: to a log that is there, across the edge of a tile, and to an empty directory.
"""

import errno
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from tests.e2e.crash import appender, oracle
from tests.e2e.crash.ground import KILL, KILL_INSIDE, Disk, Fault, Ground, Run
from tests.e2e.crash.operations import NEEDS_ROOM, SYNCS, Operation
from tests.e2e.crash.script import BLOCKS_BEFORE, Script


def once(answer: int, at: int) -> Fault:
    return lambda operation: answer if operation.number == at else 0


def full(at: int) -> Fault:
    """A disk without room from call `at` on."""
    return lambda operation: errno.ENOSPC if operation.number >= at and operation.name in NEEDS_ROOM else 0


@dataclass(frozen=True)
class Kind:
    """One way to fail: the fault at a call, whether the power goes at the end, and how the process may end."""

    name: str
    fault: Callable[[int], Fault]
    power: bool
    exits: tuple[int, ...]
    disk: type[Disk] = Disk


ENDS = (appender.DONE, appender.NO)
KINDS = (
    Kind("killed in front of the call", partial(once, KILL), False, (-9,)),
    Kind("killed inside it", partial(once, KILL_INSIDE), False, (-9, appender.DONE)),  # too late for the last
    Kind("power cut in front of it", partial(once, KILL), True, (-9,)),
    Kind("the call fails with EIO", partial(once, errno.EIO), False, ENDS),
    Kind("the same, then a power cut", partial(once, errno.EIO), True, ENDS),
    Kind("no room from the call on", full, False, ENDS),
)
QUICK = Path("/dev/shm")
STARTS = ("to a log", "to nothing")


class Field:
    """Where appends begin, and the process that starts appenders."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.script = Script()
        appender.before(self.script, folder / STARTS[0])
        appender.empty(self.script, folder / STARTS[1])
        self._ground = Ground()
        self._count = 0

    def close(self) -> None:
        self._ground.close()

    def calls(self, start: str) -> list[Operation]:
        """Those of an append that nothing disturbs."""
        run, _ = self._run(start, once(0, 0), None)
        assert run.exit == appender.DONE, run.lines
        return run.operations

    def attempt(self, start: str, kind: Kind, at: int) -> tuple[Run, int]:
        """One append with one fault, and what the disk held after it; raises if that was not right."""
        run, found = self._run(start, kind.fault(at), kind.disk if kind.power else None)
        assert run.exit in kind.exits, (run.exit, run.lines[-1:])
        return run, found

    def _run(self, start: str, fault: Fault, disk_of: type[Disk] | None) -> tuple[Run, int]:
        self._count += 1
        data = Path(shutil.copytree(self._folder / start, self._folder / f"run {self._count}"))
        disk = disk_of(data) if disk_of is not None else None
        run = self._ground.run(data, fault, disk)
        if disk is not None:
            disk.cut_power()
        began = self.script.steps[BLOCKS_BEFORE].size if start == STARTS[0] else 0
        found = trio.run(partial(oracle.check, self.script, data, run, began=began))
        shutil.rmtree(data)
        return run, found


def points(calls: list[Operation], kind: Kind) -> Iterator[int]:
    """The calls at which a kind of fault can tell something that another call does not."""
    for operation in calls:
        if kind.fault is not full or operation.name in NEEDS_ROOM:
            yield operation.number


def main() -> int:
    step = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    broken = 0
    with tempfile.TemporaryDirectory(
        prefix="pyrsia-crash-", dir=QUICK if os.access(QUICK, os.W_OK) else None
    ) as folder:
        field = Field(Path(folder))
        try:
            for start in STARTS:
                calls = field.calls(start)
                syncs = sum(operation.name in SYNCS for operation in calls)
                print(
                    f"append {start}: {len(calls)} calls that change files, {syncs} of them syncs", flush=True
                )
                for kind in KINDS:
                    broken += _sweep(field, start, kind, calls, step)
        finally:
            field.close()
    return 1 if broken else 0


def _sweep(field: Field, start: str, kind: Kind, calls: list[Operation], step: int) -> int:
    began_s, tried, failures = time.monotonic(), 0, []
    acknowledged: set[int] = set()
    for at in list(points(calls, kind))[::step]:
        tried += 1
        try:
            run, _ = field.attempt(start, kind, at)
            acknowledged.add(run.size)
        except Exception as error:  # noqa: BLE001 (each that breaks is told, and the sweep goes on)
            where = traceback.extract_tb(error.__traceback__)[-1]
            failures.append(
                f"    at {calls[at - 1]}: {where.line}: {type(error).__name__} {str(error)[:300]}"
            )
    took_s = time.monotonic() - began_s
    print(
        f"  {kind.name:30} {tried:4} runs, {len(acknowledged)} sizes acknowledged, {len(failures)} broken,"
        f" {took_s:.0f} s",
        *failures,
        sep="\n",
        flush=True,
    )
    return len(failures)


if __name__ == "__main__":
    sys.exit(main())
