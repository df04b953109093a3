"""Packages to ask for, out of the files that people have: requirements.txt, uv.lock, pom.xml, conan.lock.

Decides which lines are packages to ask for, and says of every other one why it is not. Nothing is resolved here: a
file that leaves a version open is refused with its line, since two people would get two answers from it.
"""

from dataclasses import dataclass
from pathlib import Path

from pyrsia.consumers.lists import conan, pom, requirements, uv
from pyrsia.consumers.lists.rows import Reader, no
from pyrsia.consumers.lists.rows import text as text_of
from pyrsia.units import Limit

MAX_LISTED = Limit(2_000, "packages of one file; a larger application is several")


@dataclass(frozen=True, slots=True)
class Item:
    """One package to ask for, in its ecosystem's words.

    Attributes:
        closure: whether what it needs has to be asked for as well; a lock file lists that itself.
    """

    ecosystem: str
    name: str
    version: str
    closure: bool = True


@dataclass(frozen=True, slots=True)
class Listed:
    """What a file asks for. `skipped`: what it names besides, each with the reason, for people."""

    items: tuple[Item, ...]
    skipped: tuple[str, ...] = ()


def read(path: Path) -> Listed:
    """The packages of a file, by its name; each once, in the file's order.

    Raises:
        Refusal: `usage`: it is none of the four, cannot be read, or leaves something open.
    """
    reader = _reader(path)
    found = listed(path, text_of(path), reader)
    if len(found.items) > MAX_LISTED.value:
        raise no(path, f"it lists {len(found.items)} packages, {MAX_LISTED.value} are taken", "split it")
    return found


def listed(path: Path, text: str, reader: Reader) -> Listed:
    """
    Raises:
        Refusal: `usage`: it is not what it is called, or leaves something open.
    """
    items, skipped = [], []
    for row in reader(path, text):
        if row.left:
            skipped.append(row.left)
        elif row.open:
            raise no(path, row.open, row.do)
        else:
            items.append(Item(row.ecosystem, row.name, row.version, row.closure))
    return Listed(tuple(dict.fromkeys(items)), tuple(skipped))


def _reader(path: Path) -> Reader:
    name = path.name.lower()
    if name.endswith("uv.lock"):
        return uv.rows
    if name.endswith("conan.lock"):
        return conan.rows
    if name.endswith((".xml", ".pom")):
        return pom.rows
    if name.endswith((".txt", ".in")):
        return requirements.rows
    raise no(
        path, "its name does not say what it is", "name a requirements*.txt, uv.lock, pom.xml or conan.lock"
    )
