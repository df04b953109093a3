"""Reading folders that strangers may have filled: bounded, through no symbolic link, never a pipe or device."""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyrsia.errors import Refusal
from pyrsia.units import Limit

MAX_ENTRIES = Limit(500_000, "files and folders below one folder; an environment with everything has 200,000")
MAX_DEPTH = Limit(64, "folders inside each other; the deepest real package nests 20")
MAX_TEXT_BYTES = Limit(16 << 20, "a RECORD or a lock; the largest seen has 4 MB")


@dataclass(frozen=True, slots=True)
class Found:
    """One file below a folder. `odd`: why its bytes are not read, "" for a regular file."""

    rel: str
    path: Path
    odd: str = ""


def walk(folder: Path) -> Iterator[Found]:
    """Every file below `folder` in order; what is no regular file is told as such and not opened.

    Raises:
        Refusal: `too-large`.
    """
    left = MAX_ENTRIES.value
    open_ones: list[tuple[Path, str, int]] = [(folder, "", 0)]
    while open_ones:
        here, rel, depth = open_ones.pop()
        with os.scandir(here) as entries:
            rows = []
            for entry in entries:
                left -= 1
                if left < 0 or depth > MAX_DEPTH.value:
                    raise Refusal("too-large", what=f"there is too much in {folder}", who="the folder",
                                  do="name a part of it")  # fmt: skip
                rows.append(entry)
        below = []
        for entry in sorted(rows, key=lambda one: one.name):
            name = f"{rel}{entry.name}"
            if entry.is_symlink():
                yield Found(name, Path(entry.path), "a symbolic link")
            elif entry.is_dir(follow_symlinks=False):
                below.append((Path(entry.path), f"{name}/", depth + 1))
            else:
                regular = entry.is_file(follow_symlinks=False)
                yield Found(name, Path(entry.path), "" if regular else "a pipe, socket or device")
        open_ones += reversed(below)


def digest(path: Path) -> str:
    """The SHA-256 of a regular file; "" for whatever is none, or is gone."""
    handle = _open(path)
    if handle is None:
        return ""
    with os.fdopen(handle, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text(path: Path, most: int = MAX_TEXT_BYTES.value) -> bytes | None:
    """At most `most` bytes of a regular file; None for whatever is none, or is longer."""
    handle = _open(path)
    if handle is None:
        return None
    with os.fdopen(handle, "rb") as file:
        data = file.read(most + 1)
    return data if len(data) <= most else None


def _open(path: Path) -> int | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    return None
