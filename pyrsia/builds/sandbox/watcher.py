"""Watches one running job from outside: sums what its tree uses, and ends it, whole, when it must.

A process tree is everything that descends from the process we started: inside a PID namespace orphans go to
its first process, in `confined` to the warden, so that nobody leaves the tree. What is summed is an
upper bound (shared memory counts once for each process), which errs on the safe side.

Source: docs/sandbox.md, "Limits".
"""

import contextlib
import os
import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyrsia import units

from .model import BuildLimits, Ended

_RESIDENT: Final = re.compile(rb"^Rss(?:Anon|Shmem):\s+(\d+) kB$", re.M)
_STAT_BYTES: Final = 4_096  # 52 numbers and a name of 64 bytes; the kernel gives all of it at once


@dataclass(frozen=True, slots=True)
class Member:
    """One process of a tree. The start time tells it from a later one with the same number."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a tree."""

    members: tuple[Member, ...]
    memory_bytes: int
    disk_bytes: int
    entries: int


def _stat(pid: int) -> tuple[Member, int] | None:
    """(member, parent) of a living process; None where it is gone or a zombie. proc(5), fields 3, 4, 22."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:  # without a file object: every process of the machine is asked at every look
        text = os.read(fd, _STAT_BYTES)
    except OSError:
        return None
    finally:
        os.close(fd)
    fields = text.rpartition(b")")[2].split(None, 20)
    if len(fields) < 20 or fields[0] in (b"Z", b"X"):
        return None
    return Member(pid, int(fields[19])), int(fields[1])


def tree(root: int) -> tuple[Member, ...]:
    """`root` and everything below it that lives."""
    found = [s for name in os.listdir("/proc") if name.isdigit() and (s := _stat(int(name)))]
    below: dict[int, list[Member]] = {}
    for member, parent in found:
        below.setdefault(parent, []).append(member)
    result = [member for member, _ in found if member.pid == root]
    queue = [root]
    while queue:
        children = below.pop(queue.pop(), [])
        result += children
        queue += [child.pid for child in children]
    return tuple(result)


def alive(members: Iterable[Member]) -> tuple[Member, ...]:
    return tuple(m for m in members if (now := _stat(m.pid)) and now[0] == m)


def _memory(pid: int) -> int:
    """Anonymous and shared memory of one process; pages of files are the kernel's cache and count for nobody."""
    try:
        text = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return 0
    return sum(int(kib) << 10 for kib in _RESIDENT.findall(text))


def disk(folders: Iterable[Path]) -> tuple[int, int]:
    """(bytes, entries) below `folders`, following no link; counting ends at the limit of entries."""
    total = entries = 0
    queue = [str(folder) for folder in folders]
    while queue and entries <= units.BUILD_ENTRIES.value:
        with contextlib.suppress(OSError), os.scandir(queue.pop()) as listing:
            for entry in listing:
                entries += 1
                if entries > units.BUILD_ENTRIES.value:
                    break
                with contextlib.suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    total += found.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        queue.append(entry.path)
    return total, entries


def look(root: int, folders: Iterable[Path]) -> Sample:
    """One sample. Blocks for some milliseconds: call it in a thread."""
    members = tree(root)
    used, entries = disk(folders)
    return Sample(members, sum(_memory(m.pid) for m in members), used, entries)


def broken(sample: Sample, limits: BuildLimits, overhead: int) -> Ended | None:
    """The limit that `sample` breaks.

    Args:
        overhead: processes in the tree that are ours and not the job's.
    """
    if len(sample.members) - overhead > limits.processes:
        return "processes"
    if sample.memory_bytes > limits.memory_bytes:
        return "memory"
    if sample.disk_bytes > limits.disk_bytes or sample.entries > units.BUILD_ENTRIES.value:
        return "disk"
    return None


def strike(root: int, known: Iterable[Member], *, spare_root: bool) -> tuple[Member, ...]:
    """Kill once all that is below `root` or was seen there; what still lives is returned.

    Args:
        spare_root: the root is a warden that ends its own tree; it must outlive it to catch orphans.
    """
    members = {*tree(root), *alive(known)}
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for member in members:
            if not (spare_root and member.pid == root):
                with contextlib.suppress(OSError):
                    os.kill(member.pid, number)
    return alive(members)
