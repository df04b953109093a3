"""pylock.toml and pylock.*.toml: the lock file that Python's tools share.

Source: packaging.python.org, "pylock.toml Specification" (PEP 751), checked by the library that goes with it.
"""

import re
from pathlib import Path
from typing import Any, Final

from packaging.pylock import Pylock, PylockUnsupportedVersionError, PylockValidationError

from pyrsia.consumers.lists.rows import Row, no
from pyrsia.consumers.lists.tables import Table, at, document, listed

_AGAIN: Final = "let its tool write it again: `uv export --format pylock.toml`, `pdm lock`, `pip lock`"
_OTHER: Final = "update pyrsia, or audit the environment that it makes: --venv DIR"
_WHERE: Final = re.compile(r"packages\[(\d+)\]")
_NO_INDEX: Final = ("vcs", "directory", "archive")  # where a package comes from that no index gave


def rows(path: Path, text: str) -> tuple[Row, ...]:
    """Every package, also those that markers, extras and groups mean for others."""
    found = document(path, text, _AGAIN)
    packages = tuple(listed(path, text, found.get("packages", []), _AGAIN, "packages"))
    _check(path, found, packages)
    return tuple(map(_row, packages))


def _row(one: Table) -> Row:
    source = next((kind for kind in _NO_INDEX if kind in one.told), "")
    left = f"{one.text('name')}: its source is {source}, and no index" if source else ""
    version = "" if source else one.text("version")
    return Row("pip", one.text("name"), version, one.line, closure=False, left=left)


def _check(path: Path, found: dict[str, Any], packages: tuple[Table, ...]) -> None:
    try:
        Pylock.from_dict(found)
    except PylockUnsupportedVersionError as error:
        raise no(path, f"{error}"[:300], _OTHER) from None
    except PylockValidationError as error:
        said = f"{error}"[:300]
        where = _WHERE.search(error.context or "")
        line = packages[int(where[1])].line if where and int(where[1]) < len(packages) else 0
        raise no(path, f"{at(line)}it is no pylock.toml: {said}", _AGAIN) from None
