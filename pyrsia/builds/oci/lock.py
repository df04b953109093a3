"""The lock of an image: every published file, every blob of a base and every root that goes into it.

`name version file sha256 size` under the first line, sorted. `name` is what the file is published as (`click`), or
`rootfs` and `image` for a base. The source itself stands in the request.

Source: docs/builds-oci.md.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

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
    return "".join(f"{row}\n" for row in [HEADER, *rows]).encode("ascii")


def decode(data: bytes) -> tuple[Locked, ...]:
    """Read a lock strictly.

    Raises:
        Malformed: anything that `encode` would not have written.
    """
    if len(data) > MAX_LOCK_BYTES.value:
        raise Malformed(f"a lock of {len(data)} bytes")
    try:
        rows = data.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise Malformed("a lock that is not ASCII") from error
    if rows[0] != HEADER or rows[-1] != "":
        raise Malformed("a lock without its first line or its last newline")
    found = tuple(_line(row) for row in rows[1:-1])
    if encode(found) != data:
        raise Malformed("a lock whose lines are not in order")
    return found


def _line(row: str) -> Locked:
    match = _LINE.fullmatch(row)
    if match is None:
        raise Malformed(f"not a line of a lock: {row[:80]!r}")
    return Locked(match["name"], match["version"], match["file"], match["sha256"], int(match["size"]))
