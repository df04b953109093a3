"""What is installed in a Python environment, as its metadata says. Nothing of it is imported or run.

A distribution's folder and its METADATA both name a version. Where they differ both are asked about: whoever changed
one of them cannot hide what the other says.

Source: the core metadata and "Recording installed projects" of the Python packaging specifications.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pyrsia.consumers.auditing.components import Gathered, Place
from pyrsia.consumers.installed import walking
from pyrsia.consumers.installed.sites import has_metadata, sites
from pyrsia.errors import Refusal
from pyrsia.units import Limit
from pyrsia.wire.purl import pypi_name

MAX_METADATA_BYTES = Limit(1 << 20, "headers and a readme; the longest real ones have 300 KB")
MAX_FOLDERS = Limit(100_000, "names in one site-packages: every package of an index's mirror is fewer")

_FIELD: Final = re.compile(r"(name|version)[ \t]*:[ \t]*(.*?)\s*", re.IGNORECASE)
_LINES: Final = re.compile(r"\r\n|\r|\n")  # no other: a field may hold what Python calls the end of a line
_BUILT_FOR: Final = re.compile(r"-py[0-9]+(\.[0-9]+)*")
_KINDS: Final = {".dist-info": "METADATA", ".egg-info": "PKG-INFO"}
_UNSEEN: Final = (
    "copies of packages inside other packages, what .pth files and eggs add, and the interpreter: only *.dist-info is"
    " read, and *.egg-info"
)
_SYSTEM: Final = "packages of the system, which {} uses too: audit them by --venv as well"
_SHARES: Final = re.compile(r"\s*include-system-site-packages\s*=(?!\s*false\s*$).*", re.IGNORECASE)


def read(root: Path, said: str, into: Gathered) -> None:
    """Every distribution of an environment, or of a folder that packages were installed into.

    Raises:
        Refusal: `usage`: it is none, or too large.
    """
    try:
        found, before = sites(root), into.told
        if root not in found and has_metadata(root):
            found.append(root)
        for site in found:
            if site != root and any(one.is_symlink() for one in (site, site.parent)):
                into.leave(str(site), "a symbolic link, where a folder belongs", Place(said))
                continue
            for name in _names(site):
                _distribution(site, name, into)
        if into.told == before:
            into.leave(said, "nothing is installed in it", Place(said))
    except OSError as error:
        raise Refusal("usage", what=f"{said} cannot be read: {error.strerror}", who="this machine",
                      do="check the folder's rights") from None  # fmt: skip
    into.not_looked_into([_UNSEEN])
    settings = walking.text(root / "pyvenv.cfg", MAX_METADATA_BYTES.value)
    if settings is not None and any(map(_SHARES.fullmatch, settings.decode("utf-8", "replace").splitlines())):
        into.not_looked_into([_SYSTEM.format(said)])


def _names(site: Path) -> list[str]:
    found = []
    with os.scandir(site) as entries:
        for number, entry in enumerate(entries):
            if number >= MAX_FOLDERS.value:
                raise Refusal("usage", what=f"there is too much in {site}", who="the folder",
                              do="name a part of it")  # fmt: skip
            if entry.name.lower().endswith(tuple(_KINDS)):  # as importlib takes them
                found.append(entry.name)
    return sorted(found)


def _distribution(site: Path, folder: str, into: Gathered) -> None:
    stem, dot, kind = folder.rpartition(".")
    path = site / folder
    called = _called(stem)
    file = path / _KINDS[f"{dot}{kind}".lower()] if path.is_dir() else path
    data = None if path.is_symlink() else walking.text(file, MAX_METADATA_BYTES.value)
    told = {
        name: (value, line) for name, value, line in _fields(data.decode("utf-8", "replace") if data else "")
    }
    (name, _), (version, line) = told.get("name", ("", 0)), told.get("version", ("", 0))
    place = Place(str(file), line)
    if not version:
        into.leave(stem, "its metadata names no version, or is no plain file", place)
    else:
        into.named("pypi", "", name or called[0], version, place)
    if called[1] and (pypi_name(name), version) != (pypi_name(called[0]), called[1]):
        into.named("pypi", "", called[0], called[1], Place(str(path)))


def _called(stem: str) -> tuple[str, str]:
    """Name and version of a folder `name-version.dist-info`, or `name-version-py3.11.egg-info`."""
    named, tag, rest = stem.rpartition("-py")
    if _BUILT_FOR.fullmatch(tag + rest):
        stem = named
    name, _, version = stem.rpartition("-")
    return (name, version) if name else (version, "")


def _fields(text: str) -> Iterator[tuple[str, str, int]]:
    """The first of each field in the headers, with its line; a field that is there twice means the first, as importers
    read it."""
    seen = set()
    for number, line in enumerate(_LINES.split(text), 1):
        if not line:
            return
        found = _FIELD.fullmatch(line)
        if found is not None and (name := found[1].lower()) not in seen:
            seen.add(name)
            yield name, found[2], number
