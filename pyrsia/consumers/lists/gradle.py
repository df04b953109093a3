"""gradle.lockfile, and the files of gradle/dependency-locks: what Gradle locked for each configuration.

Source: Gradle user manual, "Locking Versions".
"""

import re
from pathlib import Path
from typing import Final

from pyrsia.consumers.lists.rows import Row, has_more_lines, no, numbered
from pyrsia.units import Limit

MAX_LOCKED = Limit(
    50_000, "lines of one lock: a build of a hundred projects has some thousand, and an audit as many"
)

_LOCKED: Final = re.compile(r"([^\s:=]+):([^\s:=]+):([^\s:=]+)(?:=(\S*))?")
_NOTHING: Final = "empty="  # configurations that lock nothing
_AGAIN: Final = "let Gradle write it again: `gradle dependencies --write-locks`"


def looks_so(text: str) -> bool:
    """Whether the first line that says something is one of Gradle's; no requirement of pip looks so."""
    for line in text.splitlines()[:100]:
        said = line.strip()
        if said and not said.startswith("#"):
            return said.startswith(_NOTHING) or _LOCKED.fullmatch(said) is not None
    return "Gradle generated file for dependency locking" in text[:1_000]


def rows(path: Path, text: str) -> tuple[Row, ...]:
    """Of every configuration: what tests and annotation processors need runs on a developer's machine as well."""
    if has_more_lines(text, MAX_LOCKED.value):
        raise no(path, f"it has more than {MAX_LOCKED.value:,} lines", "split it")
    made = []
    for number, line in numbered(text):
        said = line.strip()
        if not said or said.startswith(("#", _NOTHING)):
            continue
        found = _LOCKED.fullmatch(said)
        if found is None:
            raise no(path, f"line {number} is no group:name:version: {said[:80]!r}", _AGAIN)
        made.append(Row("maven", f"{found[1]}:{found[2]}", found[3], number, closure=False))
    return tuple(made)
