"""poetry.lock. Source: Poetry's lock file, lock-version 1.0 to 2.1."""

from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from pyrsia.consumers.lists.rows import Row, no
from pyrsia.consumers.lists.tables import Table, at, tables

_AGAIN: Final = "let Poetry write it again: `poetry lock`"
_INDEX: Final = ("legacy", "")  # an index that the project names, and PyPI


def rows(path: Path, text: str) -> tuple[Row, ...]:
    """Every package of every group, optional ones too."""
    return tuple(_row(path, one) for one in tables(path, text, _AGAIN))


def _row(path: Path, one: Table) -> Row:
    name, version, source = one.text("name"), one.text("version"), one.told.get("source", {})
    if not name or not version or not isinstance(source, dict):
        raise no(path, f"{at(one.line)}a package without a name or a version", _AGAIN)
    kind = str(source.get("type", ""))[:40]
    if kind in _INDEX:
        return Row("pip", canonicalize_name(name), version, one.line, closure=False)
    left = f"{name}: its source is {kind}, and no index"
    return Row("pip", name, "", one.line, closure=False, left=left)
