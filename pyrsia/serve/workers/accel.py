"""Files by name instead of bytes, between a node and its own workers: which may be named, and how.

Only files below the folders of immutable bytes, and only on the workers' socket: to anybody else a name would tell
where a node keeps its files. What is on its way has no lasting name and is sent by the node itself.
"""

import os
from io import FileIO
from pathlib import Path
from typing import Any, Final

from pyrsia.serve.http.reading import Header

REDIRECT: Final = b"x-accel-redirect"  # the name that nginx gave to this
BYTES: Final = b"x-accel-bytes"  # first-count, decimal
CLIENT: Final = b"x-pyrsia-client"  # address and port of who asks
SCHEME: Final = b"x-pyrsia-scheme"  # http or https
FOLDERS: Final = ("blobs", "local", "proxied")  # of immutable files, below the data directory
LEAST_BYTES: Final = 65_536  # below it naming costs as much as sending


def named(folder: Path, file: Any, offset: int, count: int) -> list[Header] | None:
    """The headers that name `count` bytes of an open file; None for one that must be sent."""
    name = getattr(file, "name", None)
    if count < LEAST_BYTES or not isinstance(name, (str, Path)):
        return None
    try:
        inside = Path(name).relative_to(folder)
    except ValueError:
        return None
    path = inside.as_posix()
    if not _may_be_named(path):
        return None
    return [(REDIRECT, path.encode("ascii")), (BYTES, b"%d-%d" % (offset, count))]


def opened(folder: Path, name: bytes, span: bytes) -> tuple[FileIO, int, int]:
    """The file that the node named, open, and which bytes of it are meant.

    Raises:
        ValueError: no node of ours names such a file.
        OSError: it is not there (any more).
    """
    path = name.decode("ascii")
    if not _may_be_named(path):
        raise ValueError(f"no file of that name is given to workers: {path[:100]!r}")
    first, _, count = span.partition(b"-")
    if not (first.isdigit() and count.isdigit() and len(span) <= 40):
        raise ValueError("which bytes of it are meant is not said")
    real = Path(os.path.realpath(folder / path))
    if not any(real.is_relative_to(os.path.realpath(folder / one)) for one in FOLDERS):
        raise ValueError("the name leads out of the folders of files")
    file = FileIO(os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb")
    return file, int(first), int(count)


def _may_be_named(path: str) -> bool:
    parts = path.split("/")
    plain = all(
        part and part not in (".", "..") and part.isascii() and part.replace(".", "").isalnum()
        for part in parts
    )
    return plain and len(parts) >= 2 and parts[0] in FOLDERS and "partial" not in parts
