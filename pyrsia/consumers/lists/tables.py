"""Locks of Python's tools in TOML: a table for each package, and the lines on which they begin."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyrsia.consumers.lists.rows import no
from pyrsia.policy import dotted

_HEADS: Final = {
    key: re.compile(rf"^[ \t]*\[\[[ \t]*[\"']?{key}[\"']?[ \t]*\]\][ \t]*(?:#.*)?\r?$", re.MULTILINE)
    for key in ("package", "packages")
}


@dataclass(frozen=True, slots=True)
class Table:
    """One package. `line`: 0 where nobody can say."""

    told: dict[str, Any]
    line: int

    def text(self, name: str) -> str:
        """A field that is a text, else ""."""
        found = self.told.get(name)
        return found if isinstance(found, str) else ""


def document(path: Path, text: str, again: str) -> dict[str, Any]:
    """
    Args:
        again: how the file is made again.

    Raises:
        Refusal: `usage`: it is no TOML.
    """
    try:
        return dotted.read(text)
    except dotted.TooManyParts as error:
        raise no(path, str(error), again) from None
    except (ValueError, RecursionError) as error:  # also a number that is too long for Python
        raise no(path, f"it is no TOML: {error}", again) from None


def tables(path: Path, text: str, again: str, key: str = "package") -> Iterator[Table]:
    """Each `[[package]]` of a lock, in order.

    Raises:
        Refusal: `usage`: it is no TOML, or they are no tables.
    """
    return listed(path, text, document(path, text, again).get(key, []), again, key)


def listed(path: Path, text: str, found: Any, again: str, key: str) -> Iterator[Table]:
    """As `tables`, of a document that is read already."""
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise no(path, "its packages are no list of tables", again)
    lines = _heads(text, _HEADS[key])
    if len(lines) != len(found):  # a hand wrote it another way: better no line than a wrong one
        lines = [0] * len(found)
    return map(Table, found, lines)


def _heads(text: str, head: re.Pattern[str]) -> list[int]:
    """Lines on which a package begins."""
    found, line, last = [], 1, 0
    for one in head.finditer(text):
        line += text.count("\n", last, one.start())
        last = one.start()
        found.append(line)
    return found


def at(line: int) -> str:
    """The beginning of a sentence about a table."""
    return f"line {line}: " if line else ""
