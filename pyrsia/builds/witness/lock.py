"""What a witness saw: one line a file, `name version file sha256 size`, in bytes that every witness reproduces.

Which server gave a file is left out: two mirrors that serve the same bytes give one lock. The first file, by its
place in `source` of the request, is the package's own; the lines themselves are sorted by file name.

Source: docs/builds.md, "Witnessed".
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pyrsia.errors import Malformed
from pyrsia.units import MAX_LOCK_BYTES, MAX_WITNESSED_FILES

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
    return "".join(f"{line}\n" for line in [HEADER, *lines]).encode("ascii")


def decode(data: bytes) -> tuple[Seen, ...]:
    """Read a lock strictly: encoding it again gives the same bytes.

    Raises:
        Malformed: anything that `encode` would not have written.
    """
    if len(data) > MAX_LOCK_BYTES.value:
        raise Malformed(f"a lock of {len(data)} bytes")
    try:
        lines = data.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise Malformed("a lock that is not ASCII") from error
    if lines[0] != HEADER or lines[-1] != "" or len(lines) < 3:
        raise Malformed("a lock without its first line, its last newline, or without a file")
    matches = [_LINE.fullmatch(line) for line in lines[1:-1]]
    found = [match for match in matches if match is not None]
    if len(found) != len(matches):
        raise Malformed("not a line of a lock")
    seen = tuple(Seen(one["file"], one["sha256"], int(one["size"])) for one in found)
    try:
        same = encode(found[0]["name"], found[0]["version"], seen) == data
    except ValueError as error:
        raise Malformed(str(error)) from error
    if not same:
        raise Malformed("a lock whose lines are not in order, or are of two packages")
    return seen
