"""What a witness saw: one line a file, `name version file sha256 size`, in bytes that every witness reproduces.

Which server gave a file is left out: two mirrors that serve the same bytes give one lock. The first file, by its
place in `source` of the request, is the package's own; the lines themselves are sorted by file name.

Source: docs/builds.md, "Witnessed".
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pyrsia.builds import locks
from pyrsia.errors import Malformed
from pyrsia.units import MAX_WITNESSED_FILES

HEADER: Final = "pyrsia lock witness v1"
_LINE: Final = re.compile(
    r"(?P<name>[!-~]{1,200}) (?P<version>[!-~]{1,128}) (?P<file>[A-Za-z0-9_][A-Za-z0-9._+!~-]{0,199})"
    r" (?P<sha256>[0-9a-f]{64}) (?P<size>0|[1-9][0-9]{0,11})"
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One file of a package at its origin."""

    file: str
    sha256: str
    size: int


def encode(name: str, version: str, files: Iterable[Seen]) -> bytes:
    """The lock's bytes; the order of `files` does not matter.

    Raises:
        ValueError: no file, too many, or two of one name.
    """
    ordered = sorted(files, key=lambda one: one.file)
    if not 1 <= len(ordered) <= MAX_WITNESSED_FILES.value or len({one.file for one in ordered}) != len(
        ordered
    ):
        raise ValueError("a witness sees a few files, each name once")
    lines = [f"{name} {version} {one.file} {one.sha256} {one.size}" for one in ordered]
    return locks.written(HEADER, lines)


def decode(data: bytes) -> tuple[Seen, ...]:
    """Read a lock strictly: encoding it again gives the same bytes.

    Raises:
        Malformed: anything that `encode` would not have written.
    """
    matches = [_LINE.fullmatch(line) for line in locks.lines_of(data, HEADER)]
    found = [match for match in matches if match is not None]
    if not found or len(found) != len(matches):
        raise Malformed("a lock without a file, or with a line that is none of a lock")
    seen = tuple(Seen(one["file"], one["sha256"], int(one["size"])) for one in found)
    locks.check_same(
        data,
        lambda: encode(found[0]["name"], found[0]["version"], seen),
        "a lock whose lines are not in order, or are of two packages",
    )
    return seen
