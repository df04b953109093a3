"""Reads back what a job left, as one reads a stranger's letter: plain files only, counted, through no link.

Every step is relative to an open folder and refuses links (O_NOFOLLOW), so a name can never lead outside.
Call these only when the job's whole tree is dead.
"""

import contextlib
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyrsia import errors, units

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# NONBLOCK: a pipe where a file was expected must not hold us.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DEPTH: Final = 64  # folders in folders; sources nest a dozen deep
_DISCARD_S: Final = units.Limit(
    120, "200,000 files on a slow disk; what is left then is left to the operator"
)
_PIECE: Final = 1 << 20


@dataclass(slots=True)
class _Budget:
    entries: int
    size: int

    def take(self, *, entries: int = 0, size: int = 0) -> None:
        self.entries -= entries
        self.size -= size
        if self.entries < 0 or self.size < 0:
            raise errors.Malformed("the build left more than its limit of files or bytes")


def outputs(folder: Path, *, suffix: str = "") -> dict[str, bytes]:
    """The plain files directly in `folder` whose name ends with `suffix`, by name, in order.

    Raises:
        Malformed: too many or too large, a link or a device under such a name, or no such folder.
    """
    budget = _Budget(units.COLLECT_FILES.value, units.COLLECT_BYTES.value)
    result: dict[str, bytes] = {}
    try:
        top = os.open(folder, _FOLDER)
    except OSError as error:
        raise errors.Malformed(f"the build left no folder {folder.name!r}") from error
    try:
        for name in _names(top, budget):
            if name.endswith(suffix):
                result[name] = b"".join(_read(top, name, budget))
    finally:
        os.close(top)
    return result


def output(folder: Path, name: str, *, most: int | None = None) -> bytes:
    """One plain file directly in `folder`, of at most `most` bytes.

    Raises:
        Malformed: it is not there, not a plain file, or too large.
    """
    budget = _Budget(1, units.COLLECT_BYTES.value if most is None else most)
    if "/" in name or name in ("", ".", ".."):
        raise errors.Malformed(f"{name!r} is not a file's name")
    try:
        top = os.open(folder, _FOLDER)
    except OSError as error:
        raise errors.Malformed(f"the build left no folder {folder.name!r}") from error
    try:
        return b"".join(_read(top, name, budget))
    finally:
        os.close(top)


def _names(top: int, budget: _Budget) -> list[str]:
    names = []
    with os.scandir(top) as listing:
        for entry in listing:
            budget.take(entries=1)
            names.append(entry.name)
    return sorted(names, key=os.fsencode)


def _read(top: int, name: str, budget: _Budget) -> Iterator[bytes]:
    try:
        fd = os.open(name, _FILE, dir_fd=top)
    except OSError as error:
        raise errors.Malformed(f"{name!r} cannot be read as a plain file") from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise errors.Malformed(f"{name!r} is not a plain file")
        while piece := os.read(fd, _PIECE):
            budget.take(size=len(piece))
            yield piece
    finally:
        os.close(fd)


def copy(source: Path, target: Path, *, entries: int, size: int) -> None:
    """Copy a file, or a folder with all below it. Links are copied as links, devices and sockets left out.

    `target` must not exist for a file, and must be an empty folder for a folder. Modes keep only their
    rwx bits; times are kept, since builders put them into archives.

    Raises:
        Malformed: more than `entries` or `size` bytes, nested too deep, or unreadable.
    """
    budget = _Budget(entries, size)
    try:
        if source.is_dir():
            above, into = os.open(source, _FOLDER), os.open(target, _FOLDER)
            try:
                _copy_folder(above, into, budget, _DEPTH)
            finally:
                os.close(above)
                os.close(into)
        else:
            above, into = os.open(source.parent, _FOLDER), os.open(target.parent, _FOLDER)
            try:
                _copy_file(above, source.name, into, target.name, budget)
            finally:
                os.close(above)
                os.close(into)
    except OSError as error:
        raise errors.Malformed(f"a build's folder cannot be copied: {error}") from error


def _copy_folder(above: int, into: int, budget: _Budget, depth: int) -> None:
    if depth == 0:
        raise errors.Malformed(f"the build nested folders more than {_DEPTH} deep")
    for name in _names(above, budget):
        found = os.stat(name, dir_fd=above, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            os.mkdir(name, 0o700, dir_fd=into)
            here, there = os.open(name, _FOLDER, dir_fd=above), os.open(name, _FOLDER, dir_fd=into)
            try:
                _copy_folder(here, there, budget, depth - 1)
                os.fchmod(there, found.st_mode & 0o777 | 0o700)
                os.utime(there, ns=(found.st_mtime_ns, found.st_mtime_ns))
            finally:
                os.close(here)
                os.close(there)
        elif stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(name, dir_fd=above), name, dir_fd=into)
        elif stat.S_ISREG(found.st_mode):
            _copy_file(above, name, into, name, budget)


def _copy_file(above: int, name: str, into: int, new: str, budget: _Budget) -> None:
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=into)
    try:
        for piece in _read(above, name, budget):
            view = memoryview(piece)
            while view:
                view = view[os.write(fd, view) :]
        found = os.stat(name, dir_fd=above, follow_symlinks=False)
        os.fchmod(fd, found.st_mode & 0o777)
        os.utime(fd, ns=(found.st_mtime_ns, found.st_mtime_ns))
    finally:
        os.close(fd)


def _walk(top: int, act: Callable[[int, str, os.stat_result], None], depth: int) -> None:
    for name in os.listdir(top):
        found = os.stat(name, dir_fd=top, follow_symlinks=False)
        act(top, name, found)
        if stat.S_ISDIR(found.st_mode) and depth:
            below = os.open(name, _FOLDER, dir_fd=top)
            try:
                _walk(below, act, depth - 1)
            finally:
                os.close(below)


def give(folder: Path, uid: int) -> None:
    """As root: make `folder` and all below it belong to `uid`.

    A file with a second name stays as it is: the other name may be a file that the job must not own.
    """

    def act(top: int, name: str, found: os.stat_result) -> None:
        if found.st_uid != uid and (stat.S_ISDIR(found.st_mode) or found.st_nlink == 1):
            os.chown(name, uid, uid, dir_fd=top, follow_symlinks=False)

    top = os.open(folder, _FOLDER)
    try:
        os.fchown(top, uid, uid)
        _walk(top, act, _DEPTH)
    finally:
        os.close(top)


def discard(folder: Path) -> None:
    """Remove `folder` and all below it, however deep and whatever its modes. Blocks: call it in a thread.

    By coreutils, which need no recursion; a job can nest folders deeper than Python's stack.
    """
    with contextlib.suppress(OSError):
        os.lstat(folder)
        if _quietly("rm", "-rf", "--", os.fspath(folder)):
            _quietly("chmod", "-R", "u+rwX", "--", os.fspath(folder))
            _quietly("rm", "-rf", "--", os.fspath(folder))


def _quietly(*words: str) -> int:
    nowhere = subprocess.DEVNULL
    env = {"PATH": "/usr/bin:/bin"}  # whatever the node's own says
    try:
        done = subprocess.run(
            words,
            stdin=nowhere,
            stdout=nowhere,
            stderr=nowhere,
            env=env,
            check=False,
            timeout=_DISCARD_S.value,
        )
    except subprocess.TimeoutExpired:
        return 1
    return done.returncode
