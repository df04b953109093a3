"""conan.lock. Source: Conan 2, "Lockfiles"."""

import json
import re
from pathlib import Path
from typing import Any, Final

from pyrsia.consumers.lists.rows import Row, no

_REFERENCE: Final = re.compile(r"([^/@#%]+)/([^/@#%]+)(?:@([^/@#%]*)/([^/@#%]*))?(?:#[^%]*)?(?:%.*)?")
_AGAIN: Final = "make it again: `conan lock create`"


def rows(path: Path, text: str) -> tuple[Row, ...]:
    """What is needed at run time, then the tools that only builds need."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise no(path, f"it is no JSON: {error}", _AGAIN) from None
    requires = found.get("requires", []) if isinstance(found, dict) else None
    if not isinstance(requires, list):
        raise no(path, "it has no list of requires", "make it again with Conan 2: `conan lock create`")
    tools = found.get("build_requires")
    lines = {one.strip().rstrip(",").strip('"'): at for at, one in _backwards(text)}
    needed = [_row(path, one, lines) for one in requires]
    return (
        *needed,
        *(_row(path, one, lines, tool=True) for one in (tools if isinstance(tools, list) else ())),
    )


def _backwards(text: str) -> list[tuple[int, str]]:
    """Lines with their numbers, the last first: of two that are the same, the first one stays in a table."""
    return list(enumerate(text.splitlines(), 1))[::-1]


def _row(path: Path, one: Any, lines: dict[str, int], *, tool: bool = False) -> Row:
    match = _REFERENCE.fullmatch(one) if isinstance(one, str) else None
    if match is None:
        raise no(path, f"{str(one)[:80]!r} is no reference", _AGAIN)
    name, version, user, channel = match.groups()
    above = "/".join(part for part in (user, channel) if part and part != "_")
    named = f"{above}/{name}" if above else name
    left = f"{named}: a tool that only builds need" if tool else ""
    return Row("conan", named, version, lines.get(one, 0), closure=False, left=left)
