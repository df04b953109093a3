"""What the locks of all ecosystems have in common: ASCII lines under a head line, read back strictly.

What a line says, and how many there may be, each ecosystem decides.

Source: docs/builds-how.md, "Step by step".
"""

from collections.abc import Callable, Iterable

from pyrsia.errors import Malformed
from pyrsia.units import MAX_LOCK_BYTES, MAX_LOCK_LINES


def written(header: str, lines: Iterable[str]) -> bytes:
    """The bytes of a lock; `lines` are in their order."""
    return "".join(f"{line}\n" for line in [header, *lines]).encode("ascii")


def lines_of(
    data: bytes,
    header: str,
    *,
    most_bytes: int = MAX_LOCK_BYTES.value,
    most_lines: int = MAX_LOCK_LINES.value,
) -> list[str]:
    """The lines under the head line.

    Raises:
        Malformed: too long, not ASCII, another head line, or no newline at the end.
    """
    if len(data) > most_bytes:
        raise Malformed(f"a lock of {len(data)} bytes")
    try:
        lines = data.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise Malformed("a lock that is not ASCII") from error
    if lines[0] != header or lines[-1] != "" or len(lines) - 2 > most_lines:
        raise Malformed("a lock without its first line, its last newline, or with too many lines")
    return lines[1:-1]


def check_same(data: bytes, again: Callable[[], bytes], otherwise: str) -> None:
    """Hold `data` against what `again` writes of it.

    Raises:
        Malformed: they differ (`otherwise`), or what was read cannot be written.
    """
    try:
        same = again() == data
    except ValueError as error:
        raise Malformed(str(error)) from error
    if not same:
        raise Malformed(otherwise)
