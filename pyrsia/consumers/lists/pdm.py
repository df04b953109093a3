"""pdm.lock. Source: PDM's lock file, lock_version 3 and 4."""

from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from pyrsia.consumers.lists.rows import Row, no
from pyrsia.consumers.lists.tables import Table, at, tables

_AGAIN: Final = "let PDM write it again: `pdm lock`"
_NO_INDEX: Final = ("git", "hg", "svn", "bzr", "path", "url")


def rows(path: Path, text: str) -> tuple[Row, ...]:
    """Every package of every group; one with extras stands there once more, which is one package."""
    return tuple(_row(path, one) for one in tables(path, text, _AGAIN))


def _row(path: Path, one: Table) -> Row:
    name, version = one.text("name"), one.text("version")
    source = next((kind for kind in _NO_INDEX if kind in one.told), "")
    if not name or not (version or source):
        raise no(path, f"{at(one.line)}a package without a name or a version", _AGAIN)
    if source:
        left = f"{name}: its source is {source}, and no index"
        return Row("pip", name, "", one.line, closure=False, left=left)
    return Row("pip", canonicalize_name(name), version, one.line, closure=False)
