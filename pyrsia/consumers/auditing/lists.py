"""Lists of packages as components. All that a file pins is asked about: also for other machines, tests and builds.

A weakness of a test's tool runs on a developer's machine as well, so scopes and markers leave nothing out here.

Who audits a stranger's change in public reads what the change names, and a line that is no requirement is told: so a
list leads only to others of its own folder or of the one that the command runs in, never to a key or a token elsewhere.
"""

import os
import posixpath
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pyrsia.consumers.auditing.components import Gathered, Place
from pyrsia.consumers.lists import pom, requirements
from pyrsia.consumers.lists.rows import Reader, Row, decoded, no, text
from pyrsia.units import Limit

MAX_LISTS = Limit(100, "files of requirements that lead to each other; a large project has ten")

_TYPES: Final = {"pip": "pypi", "maven": "maven", "conan": "conan"}
_DIRECT: Final = "what packages of {} need in turn: it names what it asks for, a lock names all"
_POM: Final = f"{_DIRECT}; nor what its parent and its modules ask for"
_UNSEEN: Final[dict[Reader, str]] = {requirements.rows: _DIRECT, pom.rows: _POM}


def read(path: Path, said: str, reader: Reader, data: bytes, into: Gathered) -> None:
    """Every package of a list, and of those that requirements lead to.

    Args:
        data: its content; those that it leads to are read from beside it.

    Raises:
        Refusal: `usage`: it is not what it looks like.
    """
    before = into.told
    waiting, seen = [(path, said)], {os.path.realpath(path)}
    folders = (os.path.realpath(path.parent), os.path.realpath("."))
    first: str | None = decoded(path, data)
    while waiting:
        path, said = waiting.pop()
        for row in reader(path, text(path) if first is None else first):
            place = Place(said, row.line)
            if not row.leads:
                _take(path, row, place, into)
                continue
            other = path.parent / row.leads
            if "://" in row.leads or not os.path.isfile(other):  # as Path's, but any name may stand there
                into.leave(f"-r {row.leads}", "it cannot be read here", place)
            elif not _inside(os.path.realpath(other), folders):
                into.leave(f"-r {row.leads}", "it lies outside of this folder: name it too", place)
            elif os.path.realpath(other) not in seen:
                if len(seen) >= MAX_LISTS.value:
                    raise no(path, f"it leads to more than {MAX_LISTS.value} lists", "audit them one by one")
                seen.add(os.path.realpath(other))
                waiting.append(
                    (other, posixpath.normpath(posixpath.join(posixpath.dirname(said), row.leads)))
                )
        first = None
    if reader in _UNSEEN and into.told != before:  # what names nothing needs nothing in turn
        into.not_looked_into([_UNSEEN[reader].format(said)])


def _inside(real: str, folders: Iterable[str]) -> bool:
    return any(os.path.commonpath((real, folder)) == folder for folder in folders)


def _take(path: Path, row: Row, place: Place, into: Gathered) -> None:
    if row.version:
        above, _, name = row.name.rpartition(":" if row.ecosystem == "maven" else "/")
        into.named(_TYPES[row.ecosystem], above, name, row.version, place)
    elif row.name.startswith("-"):
        if row.name in ("-e", "--editable"):
            into.leave(row.name, "it lies beside, or comes from an address", place)
    elif row.open and row.do == "correct it" and not _is_place(row.name):
        raise no(path, row.open, f"{row.do}; if it is no list of requirements, --as says what it is")
    else:
        into.leave(row.name, _why(row), place)


def _is_place(line: str) -> bool:
    return "://" in line or line.startswith((".", "/")) or line.endswith((".whl", ".tar.gz", ".zip"))


def _why(row: Row) -> str:
    if row.left and "index" in row.left:
        return "it comes from no index"
    if row.open and _is_place(row.name):
        return "no version: it is a path or an address"
    return "no version: it is left open" if row.open else "no version"
