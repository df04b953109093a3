"""Pipfile.lock. Source: Pipenv's lock file, pipfile-spec 6."""

import json
import re
from pathlib import Path
from typing import Any, Final

from packaging.utils import canonicalize_name

from pyrsia.consumers.lists.rows import Row, no

_AGAIN: Final = "let Pipenv write it again: `pipenv lock`"
_META: Final = "_meta"
_KEY: Final = re.compile(r'^[ \t]*"([^"\\]+)"[ \t]*:[ \t]*\{', re.MULTILINE)
_EXACT: Final = re.compile(r"={2,3}([^\s,*]+)")

_Lines = dict[tuple[str, str], int]  # by category and package


def rows(path: Path, text: str) -> tuple[Row, ...]:
    """Of `default`, `develop` and every other category."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise no(path, f"it is no JSON: {error}", _AGAIN) from None
    if not isinstance(found, dict) or not isinstance(found.get(_META), dict):
        raise no(path, f"it has no {_META}", _AGAIN)
    lines = _lines(text, tuple(found))
    made = []
    for category, packages in found.items():
        if category == _META:
            continue
        if not isinstance(packages, dict):
            raise no(path, f"its {category[:40]} is no table of packages", _AGAIN)
        made += [_row(path, name, one, lines.get((category, name), 0)) for name, one in packages.items()]
    return tuple(made)


def _row(path: Path, name: str, one: Any, line: int) -> Row:
    if not isinstance(one, dict):
        where = f"line {line}: " if line else ""
        raise no(path, f"{where}{name[:80]!r} is no package", _AGAIN)
    version = one.get("version")
    exact = _EXACT.fullmatch(version) if isinstance(version, str) else None
    if exact is None:
        left = "" if "version" in one else f"{name}: it comes from an address or a path, and from no index"
        open_ = "" if left else f"{name} has no exact version: {str(version)[:80]!r}"
        return Row("pip", name, "", line, closure=False, left=left, open=open_, do=_AGAIN if open_ else "")
    return Row("pip", canonicalize_name(name), exact[1], line, closure=False)


def _lines(text: str, categories: tuple[str, ...]) -> _Lines:
    """Where each package begins, in a file with a line for each as Pipenv writes it. A category's name also is one
    where it stands as a package, if it is indented deeper than the first of them."""
    found: _Lines = {}
    category, outer, line, last = "", None, 1, 0
    for one in _KEY.finditer(text):
        line += text.count("\n", last, one.start())
        last = one.start()
        indent = len(one[0]) - len(one[0].lstrip())
        outer = indent if outer is None else outer
        if indent == outer and one[1] in categories:
            category = one[1]
        else:
            found.setdefault((category, one[1]), line)
    return found
