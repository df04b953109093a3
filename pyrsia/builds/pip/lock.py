"""The lock: the wheels of a build environment, one line each, in bytes that every builder reproduces.

The first line names the format, so that a lock without any tool still has bytes and a digest. Then
`name version file sha256 size`, sorted by name. Which index gave a file is left out on purpose: two
builders with two mirrors must get the same lock.

Source: docs/builds-pip.md, "The lock"; docs/adr/0013.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pyrsia.builds import locks
from pyrsia.builds.pip.simple import plain_name
from pyrsia.errors import Malformed

HEADER: Final = "pyrsia lock pip v1"
_LINE: Final = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9-]{0,99}) (?P<version>[A-Za-z0-9.!+_-]{1,64}) (?P<file>[!-~]{1,255})"
    r" (?P<sha256>[0-9a-f]{64}) (?P<size>0|[1-9][0-9]{0,11})"
)


@dataclass(frozen=True, slots=True, order=True)
class Locked:
    """One wheel of the environment."""

    name: str
    version: str
    file: str
    sha256: str
    size: int


def encode(wheels: Iterable[Locked]) -> bytes:
    """The lock's bytes; the order of `wheels` does not matter.

    Raises:
        ValueError: two wheels of one project.
    """
    ordered = sorted(wheels)
    if len({one.name for one in ordered}) != len(ordered):
        raise ValueError("a lock names each project once")
    lines = [f"{one.name} {one.version} {one.file} {one.sha256} {one.size}" for one in ordered]
    return locks.written(HEADER, lines)


def decode(data: bytes) -> tuple[Locked, ...]:
    """Read a lock strictly: `encode(decode(data)) == data`.

    Raises:
        Malformed: anything that `encode` would not have written.
    """
    found = tuple(_line(line) for line in locks.lines_of(data, HEADER))
    locks.check_same(data, lambda: encode(found), "a lock whose lines are not in order")
    return found


def _line(text: str) -> Locked:
    match = _LINE.fullmatch(text)
    if match is None or not plain_name(match["file"]) or not match["file"].endswith(".whl"):
        raise Malformed(f"not a line of a lock: {text[:80]!r}")
    return Locked(match["name"], match["version"], match["file"], match["sha256"], int(match["size"]))
