"""Asks the sandbox where a file can be cut. Its answer is a stranger's word: numbers are checked, nothing is believed.

Source: docs/delta.md, "Cutting".
"""

from pathlib import Path
from typing import Any, Final

from pyrsia.builds.inside import Inside, Program
from pyrsia.builds.model import PhaseFailed
from pyrsia.units import CHUNK_BYTES

PROGRAM: Final = Program("builds/cutting/worker.py")
_MOST: Final = 1 << 50  # no file is so large; beyond it a number is no offset


async def spans(inside: Inside, path: Path, size: int) -> list[tuple[int, int]]:
    """(start, end) of members of the archive `path` of `size` bytes; of fixed pieces where it is none that can be cut.

    Raises:
        Unavailable: this machine cannot run the sandbox now.
    """
    try:
        async with inside.run(
            {"operation": "cut", "file": "file"}, {"file": path}, phase="cut", who=path.name
        ) as answer:
            found = _pairs(answer.value.get("spans"))
    except PhaseFailed:  # whatever it did to its reader, it is only cut otherwise
        found = None
    return fixed(size) if found is None else found


def fixed(size: int) -> list[tuple[int, int]]:
    """The file in steps of 256 KiB."""
    step = CHUNK_BYTES.value
    return [(at, min(at + step, size)) for at in range(0, size, step)]


def _pairs(value: Any) -> list[tuple[int, int]] | None:
    if not isinstance(value, list):
        return None
    found = []
    for one in value:
        if not isinstance(one, list) or len(one) != 2:
            return None
        start, end = one
        if type(start) is not int or type(end) is not int or not 0 <= start <= end <= _MOST:
            return None
        found.append((start, end))
    return found
