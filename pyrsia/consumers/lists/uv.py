"""uv.lock. Source: uv's lock file."""

from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from pyrsia.consumers.lists.rows import Row, no
from pyrsia.consumers.lists.tables import Table, at, tables

_AGAIN: Final = "let uv write it again: `uv lock`"


def rows(path: Path, text: str) -> tuple[Row, ...]:
    return tuple(_row(path, one) for one in tables(path, text, _AGAIN))


def _row(path: Path, one: Table) -> Row:
    name, source = one.text("name"), one.told.get("source")
    if name and isinstance(source, str):
        what = f"{at(one.line)}{name[:80]} has a source as Cargo writes it, and the network knows no crates"
        raise no(path, what, "give a lock of Python, Maven, Gradle or Conan, or an SBOM")
    if not name or not isinstance(source, dict):
        raise no(path, f"{at(one.line)}a package without a name or a source", _AGAIN)
    if "registry" in source and one.text("version"):
        return Row("pip", canonicalize_name(name), one.text("version"), one.line, closure=False)
    left = f"{name}: its source is {next(iter(source), 'unknown')}, and no index"
    return Row("pip", name, "", one.line, closure=False, left=left)
