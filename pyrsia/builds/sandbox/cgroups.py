"""Control groups around one job: the kernel itself bounds what the whole tree holds, between two looks of the watcher.

Decides where groups can be made on this host, found by making one: in version 2 below a group that is the node's own
to divide (a service with `Delegate=yes`, a user's scope), else in version 1 where memory and pids are writable, else
nowhere, and the watcher stands alone. The job enters its groups by its own hand, before it is confined, through
descriptors that were opened here, so nothing of the host's groups is visible inside.

Source: docs/sandbox.md, "Limits"; Linux Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.
"""

import contextlib
import errno
import functools
import os
import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from pyrsia import units

from .model import BuildLimits

_PREFIX: Final = "pyrsia-job-"  # then the number of the process that made it
_LEAF: Final = "pyrsia-node"  # where the node itself moves in a group that it may divide
_DELEGATED: Final = ("user.delegate", "trusted.delegate")  # systemd's word that a group is ours to divide
_WANTED: Final = ("memory", "pids")
_SPARE: Final = (
    64  # threads between the watcher's limit on processes, which names the cause, and the kernel's
)


@dataclass(frozen=True, slots=True)
class Places:
    """Groups that jobs' groups are made below.

    Attributes:
        version: 2 or 1.
        folders: by what they bound; in version 2 all name one folder.
        kill: a version 2 group for ending a tree at once, None where there is none.
    """

    version: int
    folders: Mapping[str, Path]
    kill: Path | None

    @property
    def parents(self) -> tuple[Path, ...]:
        found = [*self.folders.values(), *([self.kill] if self.kill else [])]
        return tuple(dict.fromkeys(found))


def _mounted(mounts: str) -> dict[str, Path]:
    """Where each hierarchy is mounted: a controller's name for version 1, "" for version 2. proc(5)."""
    found: dict[str, Path] = {}
    for line in mounts.splitlines():
        words = line.split()
        if len(words) < 4:
            continue
        if words[2] == "cgroup2":
            found.setdefault("", Path(words[1]))
        elif words[2] == "cgroup":
            for option in words[3].split(","):
                found.setdefault(option, Path(words[1]))
    return found


def own(mounts: str, groups: str) -> dict[str, Path]:
    """The folders of the groups that a process is in: by controller for version 1, "" for version 2.

    Args:
        mounts: text of /proc/self/mounts.
        groups: text of /proc/self/cgroup.
    """
    mounted = _mounted(mounts)
    found = {}
    for line in groups.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for name in controllers.split(","):
            if name in mounted and path.startswith("/"):
                found[name] = mounted[name] / path[1:]
    return found


def _words(path: Path) -> set[str]:
    try:
        return set(path.read_text().split())
    except OSError:
        return set()


def _is_ours(group: Path) -> bool:
    """Whether an administrator gave us `group` to divide; that it can be written is not enough.

    A terminal's scope is writable for its user too, and holds his shell: those processes are not ours to move.
    """
    for name in _DELEGATED:
        with contextlib.suppress(OSError):
            if os.getxattr(group, name) == b"1":
                return True
    return False


def _divide(group: Path) -> Path | None:
    """A version 2 group below which others can have memory and pids bounded; None where that cannot be had."""
    if group.name == _LEAF:
        group = group.parent
    if not set(_WANTED) <= _words(group / "cgroup.controllers"):
        return None
    control = group / "cgroup.subtree_control"
    if set(_WANTED) <= _words(control):
        return group
    enable = " ".join(f"+{name}" for name in _WANTED)
    try:
        control.write_text(enable)
    except OSError as error:
        if error.errno != errno.EBUSY or not _is_ours(group):
            return None
    else:
        return group
    # A group holds processes or bounds groups, never both: all that is in it moves one down.
    with contextlib.suppress(OSError):
        (group / _LEAF).mkdir(exist_ok=True)
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (group / _LEAF / "cgroup.procs").write_text(pid)
        control.write_text(enable)
        return group
    return None


def find(folders: Mapping[str, Path]) -> Places | None:
    """The best places among the groups that this process is in; see `own`. They are not tried yet."""
    unified = folders.get("")
    if unified is not None and (group := _divide(unified)) is not None:
        return Places(2, dict.fromkeys(_WANTED, group), group)
    if all(name in folders for name in _WANTED):
        return Places(1, {name: folders[name] for name in _WANTED}, unified)
    return None


@functools.cache
def here() -> Places | None:
    """The places of this host in which a group was made, bounded, entered and removed when this was first asked.

    Blocks for some 20 ms then: call it in a thread.
    """
    try:
        folders = own(Path("/proc/self/mounts").read_text(), Path("/proc/self/cgroup").read_text())
        places = find(folders)
        if places is None:
            return None
        for parent in places.parents:
            _clear(parent)
        with contextlib.suppress(OSError):
            _try(places)
            return places
        bare = Places(places.version, places.folders, None)
        if places.version == 1 and places.kill:
            _try(bare)
            return bare
    except (OSError, subprocess.SubprocessError):
        pass
    return None


def _clear(parent: Path) -> None:
    """Remove the empty groups of nodes that were killed before they could."""
    for old in parent.glob(f"{_PREFIX}*-*"):
        if not os.path.exists(f"/proc/{old.name.removeprefix(_PREFIX).partition('-')[0]}"):
            with contextlib.suppress(OSError):
                old.rmdir()


def _try(places: Places) -> None:
    group = Group(places, BuildLimits())
    try:
        for folder in group.folders:
            enter = f'echo 0 > "{folder}/cgroup.procs"'
            subprocess.run(["/bin/sh", "-c", enter], check=True, capture_output=True, timeout=10)
    except subprocess.CalledProcessError as error:
        raise OSError("a process may not enter") from error
    finally:
        group._left()


def told() -> str:
    """What bounds a job's memory and processes here, for people."""
    places = here()
    if places is None:
        return "by a look at them every 100 ms; no control group is ours to use"
    return f"by the kernel (control groups, version {places.version}), and by a look at them every 100 ms"


class Group:
    """The groups of one job, made and bounded. Remove them when its tree is dead."""

    def __init__(self, places: Places, limits: BuildLimits) -> None:
        """
        Raises:
            OSError: this host does not let it be made.
        """
        name = f"{_PREFIX}{os.getpid()}-{secrets.token_hex(6)}"
        self._places = places
        self._of = {kind: parent / name for kind, parent in places.folders.items()}
        self._kill = places.kill and places.kill / name
        self.folders = tuple(parent / name for parent in places.parents)
        try:
            for folder in self.folders:
                folder.mkdir()
            self._bound(limits)
        except OSError:
            self._left()
            raise

    def _bound(self, limits: BuildLimits) -> None:
        memory, pids = self._of["memory"], self._of["pids"]
        (pids / "pids.max").write_text(str(limits.processes + _SPARE))
        if self._places.version == 2:
            (memory / "memory.max").write_text(str(limits.memory_bytes))
            (memory / "memory.oom.group").write_text("1")
            swap, allowed = memory / "memory.swap.max", 0
        else:
            (memory / "memory.limit_in_bytes").write_text(str(limits.memory_bytes))
            swap, allowed = memory / "memory.memsw.limit_in_bytes", limits.memory_bytes
        with contextlib.suppress(OSError):  # only where the kernel counts swap
            swap.write_text(str(allowed))

    def doors(self) -> list[int]:
        """Descriptors, one for each group: who writes "0" to it is in. The caller closes them."""
        opened: list[int] = []
        try:
            for folder in self.folders:
                opened.append(os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
        except OSError:
            for fd in opened:
                os.close(fd)
            raise
        return opened

    def memory_broken(self) -> bool:
        """Whether the kernel ended something in the group because its memory was used up."""
        name = "memory.events" if self._places.version == 2 else "memory.oom_control"
        with contextlib.suppress(OSError, ValueError):
            for line in (self._of["memory"] / name).read_text().splitlines():
                word, _, count = line.partition(" ")
                if word == "oom_kill":
                    return int(count) > 0
        return False

    def kill(self) -> None:
        """End all that is in the group at once, where the kernel can (Linux 5.14); else the watcher does it alone."""
        if self._kill is not None:
            with contextlib.suppress(OSError):
                (self._kill / "cgroup.kill").write_text("1")

    def _left(self) -> list[Path]:
        """Folders that are still there after one try to remove each."""
        left = []
        for folder in self.folders:
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                left.append(folder)
        return left

    async def remove(self) -> None:
        """Wait until the kernel has let go of the last process, for as long as a kill may take.

        What is left then stays behind, empty and bounded; the next node here removes it.
        """
        with trio.move_on_after(units.SANDBOX_KILL_MS.value / 1000):
            while self._left():  # noqa: ASYNC110 - the kernel tells nobody
                await trio.sleep(0.002)


def make(limits: BuildLimits) -> Group | None:
    """Groups for one job, None where this host gives none. Takes a fifth of a millisecond once `here` was asked."""
    places = here()
    if places is None:
        return None
    try:
        return Group(places, limits)
    except OSError:
        return None
