"""The lock of an image: every published file, every blob of a base and every root that goes into it.

`name version file sha256 size` under the first line, sorted. `name` is what the file is published as (`click`), or
`rootfs` and `image` for a base. The source itself stands in the request.

Source: docs/builds-oci.md.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from pyrsia.builds import locks
from pyrsia.errors import Malformed
from pyrsia.units import MAX_LOCK_BYTES

HEADER: Final = "pyrsia lock oci v1"
ROOTFS: Final = "rootfs"
IMAGE: Final = "image"
_LINE: Final = re.compile(
    r"(?P<name>[!-~]{1,200}) (?P<version>[!-~]{1,150}) (?P<file>[A-Za-z0-9_][A-Za-z0-9._+!~-]{0,199})"
    r" (?P<sha256>[0-9a-f]{64}) (?P<size>0|[1-9][0-9]{0,14})"
)


class Locked(NamedTuple):
    """One file."""

    name: str
    version: str
    file: str
    sha256: str
    size: int


def encode(lines: Iterable[Locked]) -> bytes:
    """The lock's bytes; the order of `lines` does not matter, and a file that stands twice counts once."""
    rows = [f"{one.name} {one.version} {one.file} {one.sha256} {one.size}" for one in sorted(set(lines))]
    return locks.written(HEADER, rows)


def decode(data: bytes) -> tuple[Locked, ...]:
    """Read a lock strictly.

    Raises:
        Malformed: anything that `encode` would not have written.
    """
    # Its bytes bound its lines: a large image has more of them than a build has tools.
    found = tuple(_line(row) for row in locks.lines_of(data, HEADER, most_lines=MAX_LOCK_BYTES.value))
    locks.check_same(data, lambda: encode(found), "a lock whose lines are not in order")
    return found


def _line(row: str) -> Locked:
    match = _LINE.fullmatch(row)
    if match is None:
        raise Malformed(f"not a line of a lock: {row[:80]!r}")
    return Locked(match["name"], match["version"], match["file"], match["sha256"], int(match["size"]))
