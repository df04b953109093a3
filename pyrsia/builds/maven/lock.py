"""The lock of a Maven build: every file of a repository that the build reads, in bytes that all builders reproduce.

`group:artifact version path sha256 size`, sorted, under one head line. The path is the file's place in a repository, so
that the lock can be laid out as a local repository; name and version are written out for people and must be the path's
own. Which remote gave a file is left out: two operators with two mirrors must get the same lock.

Source: docs/builds-maven.md, "The lock".
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pyrsia.builds import locks
from pyrsia.builds.maven.coordinates import of_path
from pyrsia.errors import Malformed
from pyrsia.units import MAX_MAVEN_LOCK_BYTES, MAX_MAVEN_LOCK_LINES

HEADER: Final = "pyrsia lock maven v1"
SIDECARS: Final = (".sha1", ".md5", ".sha256", ".sha512", ".asc")
_LINE: Final = re.compile(
    r"(?P<name>[!-~]{3,201}) (?P<version>[!-~]{1,64}) (?P<path>[!-~]{1,400})"
    r" (?P<sha256>[0-9a-f]{64}) (?P<size>0|[1-9][0-9]{0,11})"
)


@dataclass(frozen=True, slots=True, order=True)
class Locked:
    """One file of the repository."""

    path: str
    sha256: str
    size: int


def encode(files: Iterable[Locked]) -> bytes:
    """The lock's bytes; the order of `files` does not matter.

    Raises:
        ValueError: a path stands twice, or names no artifact.
    """
    ordered = sorted(set(files))
    if len({one.path for one in ordered}) != len(ordered):
        raise ValueError("a lock names each file once")
    lines = []
    for one in ordered:
        artifact = of_path(one.path)
        if artifact is None:
            raise ValueError(f"{one.path[:120]!r} is no file of an artifact")
        name = f"{artifact.group}:{artifact.name}"
        lines.append(f"{name} {artifact.version} {one.path} {one.sha256} {one.size}")
    return locks.written(HEADER, lines)


def decode(data: bytes) -> tuple[Locked, ...]:
    """Read a lock strictly: `encode(decode(data)) == data`.

    Raises:
        Malformed: anything that `encode` would not have written.
    """
    lines = locks.lines_of(
        data, HEADER, most_bytes=MAX_MAVEN_LOCK_BYTES.value, most_lines=MAX_MAVEN_LOCK_LINES.value
    )
    found = []
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            raise Malformed(f"not a line of a lock: {line[:80]!r}")
        found.append(Locked(match["path"], match["sha256"], int(match["size"])))
    locks.check_same(
        data,
        lambda: encode(found),
        "a lock whose lines are not in order, or name another artifact than their path",
    )
    return tuple(found)


def kept(path: str) -> bool:
    """Whether a fetched file belongs into the lock: checksums and signatures are not read by a build offline."""
    return not path.endswith(SIDECARS)
