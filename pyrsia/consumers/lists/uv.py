"""uv.lock. Source: uv's lock file."""

import re
import tomllib
from pathlib import Path
from typing import Any, Final

from packaging.utils import canonicalize_name

from pyrsia.consumers.lists.rows import Row, no

_HEAD: Final = re.compile(r"^\[\[package\]\][ \t]*\r?$", re.MULTILINE)
_AGAIN: Final = "let uv write it again: `uv lock`"


def rows(path: Path, text: str) -> tuple[Row, ...]:
    tables = _tables(path, text)
    lines = _heads(text)
    if len(lines) != len(tables):  # a hand wrote it another way: better no line than a wrong one
        lines = [0] * len(tables)
    return tuple(_row(path, one, line) for one, line in zip(tables, lines, strict=True))


def _heads(text: str) -> list[int]:
    """Lines on which a package begins."""
    found, line, last = [], 1, 0
    for one in _HEAD.finditer(text):
        line += text.count("\n", last, one.start())
        last = one.start()
        found.append(line)
    return found


def _row(path: Path, one: dict[str, Any], line: int) -> Row:
    name, version, source = one.get("name"), one.get("version"), one.get("source")
    if not isinstance(name, str) or not isinstance(source, dict):
        raise no(path, "a package without a name or a source", _AGAIN)
    if "registry" in source and isinstance(version, str):
        return Row("pip", canonicalize_name(name), version, line, closure=False)
    left = f"{name}: its source is {next(iter(source), 'unknown')}, and no index"
    return Row("pip", name, "", line, closure=False, left=left)


def _tables(path: Path, text: str) -> list[dict[str, Any]]:
    try:
        found = tomllib.loads(text).get("package", [])
    except (ValueError, RecursionError) as error:  # also a number that is too long for Python
        raise no(path, f"it is no TOML: {error}", _AGAIN) from None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise no(path, "its packages are no list of tables", _AGAIN)
    return found
