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

from pyrsia.builds.pip.simple import plain_name
from pyrsia.errors import Malformed
from pyrsia.units import MAX_LOCK_BYTES, MAX_LOCK_LINES

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
    return "".join(f"{line}\n" for line in [HEADER, *lines]).encode("ascii")


def decode(data: bytes) -> tuple[Locked, ...]:
    """Read a lock strictly: `encode(decode(data)) == data`.

    Raises:
        Malformed: anything that `encode` would not have written.
    """
    if len(data) > MAX_LOCK_BYTES.value:
        raise Malformed(f"a lock of {len(data)} bytes")
    try:
        lines = data.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise Malformed("a lock that is not ASCII") from error
    if lines[0] != HEADER or lines[-1] != "" or len(lines) - 2 > MAX_LOCK_LINES.value:
        raise Malformed("a lock without its first line, its last newline, or with too many lines")
    found = tuple(_line(line) for line in lines[1:-1])
    try:
        same = encode(found) == data
    except ValueError as error:
        raise Malformed(str(error)) from error
    if not same:
        raise Malformed("a lock whose lines are not in order")
    return found


def _line(text: str) -> Locked:
    match = _LINE.fullmatch(text)
    if match is None or not plain_name(match["file"]) or not match["file"].endswith(".whl"):
        raise Malformed(f"not a line of a lock: {text[:80]!r}")
    return Locked(match["name"], match["version"], match["file"], match["sha256"], int(match["size"]))
