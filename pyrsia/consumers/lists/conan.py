"""conan.lock. All that it locks: what is needed at run time, tools of builds, code that recipes and Conan itself run.

Source: Conan 2, "Lockfiles".
"""

import json
import re
from pathlib import Path
from typing import Any, Final

from pyrsia.consumers.lists.rows import Row, no, numbered

_REFERENCE: Final = re.compile(r"([^/@#%]+)/([^/@#%]+)(?:@([^/@#%]*)/([^/@#%]*))?(?:#[^%]*)?(?:%.*)?")
_LAST: Final = re.compile(r'"([^"\\]+)"[\s,\]}]*$')
_AGAIN: Final = "make it again: `conan lock create`"
# Besides what is asked for to be built, and why it is not.
_OTHERS: Final = {
    "build_requires": "a tool that only builds need",
    "python_requires": "code that recipes run",
    "config_requires": "configuration that Conan itself installs",
}


def rows(path: Path, text: str) -> tuple[Row, ...]:
    """What is needed at run time, then the rest."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise no(path, f"it is no JSON: {error}", _AGAIN) from None
    requires = found.get("requires", []) if isinstance(found, dict) else None
    if not isinstance(requires, list):
        raise no(path, "it has no list of requires", "make it again with Conan 2: `conan lock create`")
    lines = lines_of(text)
    made = [row(path, one, lines, "") for one in requires]
    for key, why in _OTHERS.items():
        made += [row(path, one, lines, why) for one in _listed(path, found, key)]
    return tuple(made)


def _listed(path: Path, found: dict[str, Any], key: str) -> list[Any]:
    listed = found.get(key)
    if listed is not None and not isinstance(listed, list):
        raise no(path, f"its {key} are no list", _AGAIN)
    return listed or []


def lines_of(text: str) -> dict[str, int]:
    """Where each text stands that ends a line, also behind a name: of two that are the same the first one."""
    found: dict[str, int] = {}
    for number, line in numbered(text):
        quoted = _LAST.search(line)
        if quoted is not None:
            found.setdefault(quoted[1], number)
    return found


def row(path: Path, one: Any, lines: dict[str, int], why: str) -> Row:
    """One reference. `why`: it is not asked for to be built; "" for what is."""
    match = _REFERENCE.fullmatch(one) if isinstance(one, str) else None
    if match is None:
        line = lines.get(one, 0) if isinstance(one, str) else 0
        raise no(path, f"{f'line {line}: ' if line else ''}{str(one)[:80]!r} is no reference", _AGAIN)
    name, version, user, channel = match.groups()
    above = "/".join(part for part in (user, channel) if part and part != "_")
    named = f"{above}/{name}" if above else name
    left = f"{named}: {why}" if why else ""
    return Row("conan", named, version, lines.get(one, 0), closure=False, left=left)
