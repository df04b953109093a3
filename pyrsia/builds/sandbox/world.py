"""What the file system of a job is made of, as steps that the launcher carries out (`enter.py`).

A step is a tuple of its name and its place inside, then what it needs:

    ("dir", place)                        a folder of ours
    ("link", place, text)                 a symbolic link
    ("file", place, bytes)                a small file of ours
    ("bind", place, source, attributes)   a file or folder of the world outside, restricted by MOUNT_ATTR_* bits
    ("tmpfs", place, mode, bytes)         a folder in memory
    ("terminals", place)                  pseudo terminals that nobody else has
    ("proc", place)                       the processes of the job's own namespace
    ("fixed", place)                      nothing is written here any more

Decides what is shown where; the launcher decides nothing. A root that a job names is shown by its entries, so that
places for mounts can be made beside and below them: the root itself is never written.

Source: docs/sandbox.md, "How a world is made".
"""

import functools
import marshal
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pyrsia import errors, units

from . import host
from .model import Job

Step = tuple[Any, ...]

READ_ONLY, NO_SUID, NO_DEVICES = 1, 2, 4
_SHOWN: Final = READ_ONLY | NO_SUID | NO_DEVICES
# Made anew in every world, whatever a root holds there.
_OURS: Final = frozenset({"/proc", "/dev", "/tmp", "/sys", "/run"})  # noqa: S108 - places inside
# Who a job is and where, whatever a root says: programs ask by uid for a home, and by name for their own address.
_WHO: Final = {
    "/etc/group": b"root:x:0:\nbuilder:x:1000:\nnogroup:x:65534:\n",
    "/etc/hosts": b"127.0.0.1 localhost builder\n",
    "/etc/passwd": (
        b"root:x:0:0:root:/root:/bin/sh\n"
        b"builder:x:1000:1000:builder:/tmp:/bin/sh\n"
        b"nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
    ),
}
_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
_STREAMS: Final = (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2"))
_ENTER: Final = Path(__file__).with_name("enter.py")


@functools.cache
def entering() -> bytes:
    """The code that does the steps, compiled once here; the launcher runs it by the same interpreter."""
    return marshal.dumps(compile(_ENTER.read_bytes(), "enter.py", "exec", dont_inherit=True))


def of_root(root: Path, holes: Sequence[str], *, outside: str | None = None) -> Iterator[Step]:
    """The entries of `root`, read-only, with places left for `holes`.

    Args:
        root: the folder, as the node sees it.
        holes: absolute places inside where something else will be mounted.
        outside: the same folder as the launcher sees it, where that differs.

    Raises:
        Refusal: `no-environment`, it is not a file system that can be shown.
    """
    at = os.path.realpath(root) if outside is None else outside
    try:
        yield from _entries(os.path.realpath(root), at, "", frozenset(holes) | _OURS | _WHO.keys())
    except OSError as error:
        raise errors.Refusal(
            "no-environment",
            what=f"the build environment's files cannot be read: {error.strerror}",
            who="this machine",
            do="make the environment anew, or fetch it again",
        ) from error
    for place, data in _WHO.items():
        if not any(place == hole or place.startswith(hole + "/") for hole in holes):
            yield ("file", place, data)


def _entries(folder: str, outside: str, inside: str, holes: frozenset[str]) -> Iterator[Step]:
    with os.scandir(folder) as listing:
        found = sorted(listing, key=lambda entry: entry.name)
    for entry in found:
        place = f"{inside}/{entry.name}"
        if place in holes:
            continue
        below = any(hole.startswith(place + "/") for hole in holes)
        if below and not entry.is_dir(follow_symlinks=False):
            # Mounting would follow a link, to wherever the root's author wished.
            raise errors.Refusal(
                "no-environment",
                what=f"the build environment has a link or a file at {place}, where the build needs a folder",
                who="who made the environment",
                do="use another environment",
            )
        if entry.is_symlink():
            yield ("link", place, os.readlink(entry.path))
        elif below:
            yield ("dir", place)
            yield from _entries(entry.path, f"{outside}/{entry.name}", place, holes)
        elif entry.is_dir() or entry.is_file():
            yield ("bind", place, f"{outside}/{entry.name}", _SHOWN)


def of_host(beside: Sequence[str]) -> Iterator[Step]:
    """The host's own programs: its system folders, and those of the interpreter that runs us.

    Args:
        beside: places inside that will be mounted besides, whose folders above are made open to all.
    """
    for place in host.SYSTEM:
        if os.path.islink(place):
            yield ("link", place, os.readlink(place))
        elif os.path.isdir(place):
            yield ("bind", place, place, _SHOWN)
    for place in host.ETC:
        if os.path.lexists(place):
            yield ("bind", place, os.path.realpath(place), _SHOWN)
    for prefix in host.prefixes():
        # Below /tmp it must come after it; see `furniture`.
        if not prefix.is_relative_to("/tmp"):  # noqa: S108
            yield ("bind", str(prefix), os.path.realpath(prefix), _SHOWN)
    for place in beside:
        yield ("dir", os.path.dirname(place))


def furniture(job: Job, *, proc: bool) -> Iterator[Step]:
    """Devices, shared memory, /tmp and, where the host lets it be made, /proc: all the job's own."""
    yield ("tmpfs", "/dev", 0o755, 1 << 20)
    for name in _DEVICES:
        yield ("bind", f"/dev/{name}", f"/dev/{name}", NO_SUID)
    for name, rest in _STREAMS:
        yield ("link", f"/dev/{name}", f"/proc/self/fd{rest}")
    yield ("terminals", "/dev/pts")
    yield ("link", "/dev/ptmx", "pts/ptmx")
    yield ("tmpfs", "/dev/shm", 0o1777, units.BUILD_SHM_BYTES.value)  # noqa: S108
    yield ("fixed", "/dev")
    yield ("dir", "/run")
    yield ("proc", "/proc") if proc else ("dir", "/proc")
    yield ("tmpfs", "/tmp", 0o1777, tmp_bytes(job))  # noqa: S108
    if job.root is None:
        for prefix in host.prefixes():
            if prefix.is_relative_to("/tmp"):  # noqa: S108
                yield ("bind", str(prefix), os.path.realpath(prefix), _SHOWN)


def moved_furniture(job: Job) -> Iterator[Step]:
    """The same, with devices and processes as another program made them; its /tmp may hold an interpreter."""
    for place in ("/dev", "/proc"):
        yield ("bind", place, place, 0)
    yield ("dir", "/run")
    yield ("tmpfs", "/tmp", 0o1777, tmp_bytes(job))  # noqa: S108


def mounts(job: Job, outside: Mapping[str, str] | None = None) -> Iterator[Step]:
    """What the job brings.

    Args:
        outside: by target, where the world outside has it; None where that is the node's own world.
    """
    for mount in sorted(job.mounts, key=lambda mount: mount.target):
        source = os.path.realpath(mount.source) if outside is None else outside[mount.target]
        attributes = NO_SUID | NO_DEVICES | (0 if mount.writable else READ_ONLY)
        yield ("bind", mount.target, source, attributes)
    yield ("fixed", "/")


def tmp_bytes(job: Job) -> int:
    return min(units.BUILD_TMP_BYTES.value, job.limits.disk_bytes)
