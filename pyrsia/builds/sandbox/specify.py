"""What the launcher is told, and how it is started: the specification of one job, without descriptors.

Decides the kernel's limits of each process and who the job is; `supervise` adds what only a running one has.

Source: docs/sandbox.md, "Limits" and "How a world is made".
"""

import contextlib
import functools
import marshal
import math
import os
from pathlib import Path
from typing import Any, Final

from . import host, world
from .model import BuildLimits, Job

_LAUNCHER: Final = Path(__file__).with_name("launcher.py")
# The launcher comes with its specification, compiled: no file of ours is shown inside, and no job compiles it anew.
_START: Final = "import marshal,sys;f=open(int(sys.argv[1]),'rb');exec(marshal.load(f))"
# A uid that nothing else on a host uses, so that a limit on processes counts ours only and DAC refuses the rest.
JOB_UID: Final = 61_534
# What one process maps without using it: a Java machine reserves some GiB that it never touches.
_ROOM: Final = 8 << 30
_SPARE: Final = 64  # processes between the watcher's limit, which names the cause, and the kernel's


@functools.cache
def launching() -> bytes:
    return marshal.dumps(compile(_LAUNCHER.read_bytes(), "launcher.py", "exec", dont_inherit=True))


def launch(spec_fd: int, status_fd: int) -> list[str]:
    """The argv that runs the launcher: isolated, without site packages, by the interpreter that runs us."""
    return [host.interpreter(), "-I", "-S", "-c", _START, str(spec_fd), str(status_fd)]


def rlimits(limits: BuildLimits, *, existing: int) -> dict[str, int]:
    """Kernel limits of each process; the watcher bounds the tree.

    Args:
        existing: processes that already run under the job's uid.
    """
    return {
        "CORE": 0,
        "CPU": max(1, math.ceil(limits.cpu_s)),
        "FSIZE": limits.file_bytes,
        # Address space, not memory: with some room the watcher is first and names the cause.
        "AS": limits.memory_bytes + _ROOM,
        "NPROC": limits.processes + _SPARE + existing,
        "NOFILE": 1024,
        "MEMLOCK": 65_536,
        "MSGQUEUE": 0,
    }


def threads_of_uid(uid: int) -> int:
    """Tasks that run as `uid` now: the kernel's limit on processes counts them all."""
    total = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{name}").st_uid == uid:
                    total += len(os.listdir(f"/proc/{name}/task"))
    return total


def specification(
    job: Job,
    *,
    seccomp: bytes,
    uid: int,
    map_to: int = -1,
    landlock: dict[str, Any] | None = None,
    place: tuple[list[world.Step], int] | None = None,
    host_name: str = "",
    loopback: bool = False,
) -> dict[str, Any]:
    """What the launcher is told.

    Args:
        uid: who the job is on the host; -1 for "as you are".
        map_to: who it is inside; -1 for the same.
        landlock: the fence of `confined`.
        place: steps to the job's file system, and who to be while they are made (-1 for "as you are").
        host_name: to set, in a namespace that has the host's; "" to leave it.
        loopback: whether the interface of a new network namespace has to be brought up.
    """
    existing = 0 if uid >= 0 else threads_of_uid(os.getuid())
    return {
        "argv": list(job.argv),
        "env": job.environment(),
        "cwd": job.cwd,
        "rlimits": rlimits(job.limits, existing=existing),
        "uid": uid,
        "map": map_to,
        "search": False,
        "landlock": landlock,
        "seccomp": seccomp,
        "sweep": landlock is not None,
        "stage": "",
        "node": os.getpid(),
        "world": place and (*place, world.entering()),
        "host_name": host_name,
        "loopback": loopback,
        "egress": None,
        "groups": [],
    }
