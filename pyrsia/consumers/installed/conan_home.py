"""A Conan home: downloaded recipes and packages, and what was unpacked from them.

Conan's own database says which folder stands for which reference and revision; the proof says what the files in it are.
Archives are kept below `d/` as they came and are checked by digest; what they were unpacked to is compared with their
list of members. Links are in no such list: one is accepted if it leads to an accepted file of its own package.

Not compared: sources (`s/`), builds (`b/`) and what a recipe's `finalize()` made (`f/`), which were made here.

Source: Conan 2, `conan/internal/cache/`.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyrsia.builds.conan import names
from pyrsia.consumers.installed import walking
from pyrsia.consumers.installed.prover import Prover
from pyrsia.consumers.installed.rows import ACCEPTED, NO_PROOF, REFUSED, Row, of_refusal
from pyrsia.consumers.installed.sources import Source
from pyrsia.errors import Malformed, Refusal
from pyrsia.units import Limit
from pyrsia.verify.finding import Finding
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl

MAX_FOLDERS = Limit(20_000, "recipes and packages of one cache; a large one has some hundred")
_AGAIN: Final = "take it out with `conan remove` and install it again from the node"
_SMALL: Final = (names.CONANFILE, names.MANIFEST, names.INFO)  # often the same at several places
Tick = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class _Held:
    """One row of Conan's database."""

    shown: str
    purl: str
    start: str  # how the log calls its files: `<rrev>~` or `<rrev>~<package id>~<prev>~`
    folder: Path
    package: bool


class _Judge:
    """The prover, and what the source lists at each place of a package."""

    def __init__(self, prover: Prover, source: Source) -> None:
        self.prover = prover
        self._source = source
        # versionless purl -> (version, file) -> digest
        self._listed: dict[str, dict[tuple[str, str], str]] = {}

    def may_stand(self, one: _Held, name: str, told: Finding, digest: str) -> bool:
        """Whether bytes that are proven at another place of this version are listed at this one too.

        Small files are often the same in several revisions, and a proof of this version names one of them; of another
        version or package they are not enough.
        """
        if not one.purl or told.purl != one.purl or told.file.rpartition("~")[2] != name:
            return False
        package = _versionless(one.purl)
        if package not in self._listed:
            found = self._source.files(package)
            self._listed[package] = {(row.version, row.file): row.sha256 for row in found}
        place = (purls.parse(one.purl).version, f"{one.start}{name}")
        return self._listed[package].get(place) == digest


def check(root: Path, prover: Prover, source: Source, *, tick: Tick) -> list[Row]:
    """A row for each file of every recipe and package of the cache.

    Raises:
        Refusal: `not-found`, `data-damaged`; `too-large`.
    """
    held = list(_database(root))
    judge = _Judge(prover, source)
    rows: list[Row] = []
    for number, one in enumerate(held):
        tick(number, len(held), one.shown)
        rows += _package(one, judge) if one.package else _recipe(one, judge)
    return rows


def _database(root: Path) -> Iterator[_Held]:
    path = root / "p" / "cache.sqlite3"
    if not path.is_file():
        raise Refusal("usage", what=f"{path} is not there", who="your command",
                      do="name Conan's home, as `conan config home` tells it")  # fmt: skip
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            limit = MAX_FOLDERS.value + 1
            recipes = database.execute(
                "SELECT reference, rrev, path FROM recipes LIMIT ?", (limit,)
            ).fetchall()
            packages = database.execute(
                "SELECT reference, rrev, path, pkgid, prev FROM packages LIMIT ?", (limit,)
            ).fetchall()
    except sqlite3.Error as error:
        raise Refusal("data-damaged", what=f"{path} cannot be read: {error}", who="the file",
                      do="look at it with `conan cache check-integrity`") from None  # fmt: skip
    if len(recipes) + len(packages) > MAX_FOLDERS.value:
        raise Refusal("too-large", what="the cache holds more than can be checked", who="the cache",
                      do="take out what is not used: conan remove --lru")  # fmt: skip
    for reference, rrev, where, *rest in sorted((*recipes, *packages), key=str):
        yield _held(path.parent, str(reference), str(rrev), str(where), [str(one) for one in rest])


def _held(cache: Path, reference: str, rrev: str, where: str, rest: list[str]) -> _Held:
    try:
        ref = names.parse(reference)
    except Malformed:
        purl = ""
    else:
        purl = str(Purl("conan", ref.namespace, ref.name, ref.version))
    inside = ".." not in Path(where).parts and not Path(where).is_absolute()
    start = "".join(f"{part}~" for part in (rrev, *rest))
    shown = f"{reference}#{rrev[:8]}" + (f":{rest[0][:8]}" if rest else "")
    return _Held(shown, purl, start, cache / where if inside else Path(os.devnull), bool(rest))


def _recipe(one: _Held, judge: _Judge) -> Iterator[Row]:
    if not (one.folder / "d").is_dir():
        yield _local(one)
        return
    for name in (names.CONANFILE, names.MANIFEST):
        yield _file(one, one.folder / "e" / name, name, judge)
    yield from _unpacked(one, names.EXPORT, one.folder / "e", (names.CONANFILE, names.MANIFEST), judge)
    if (one.folder / "d" / names.SOURCES).exists():
        yield from _unpacked(one, names.SOURCES, one.folder / "es", (), judge)


def _package(one: _Held, judge: _Judge) -> Iterator[Row]:
    if not (one.folder / "d").is_dir():
        yield _local(one)
        return
    for name in (names.INFO, names.MANIFEST):
        yield _file(one, one.folder / "p" / name, name, judge)
    yield from _unpacked(one, names.PACKAGE, one.folder / "p", (names.INFO, names.MANIFEST), judge)


def _local(one: _Held) -> Row:
    return Row(one.shown, one.purl, NO_PROOF, why="it was exported or built on this machine, or its folder is gone",
               do="nobody else can prove it: install what the network built, with --build=never")  # fmt: skip


def _file(one: _Held, path: Path, name: str, judge: _Judge) -> Row:
    """A file that stands in the log by itself, at its place of this reference and revision."""
    what = f"{one.shown} {name}"
    digest = walking.digest(path)
    if not digest:
        return Row(what, one.purl, REFUSED, why="missing, or no plain file", do=_AGAIN)
    try:
        told = judge.prover.prove(digest, one.purl).finding
    except Refusal as refusal:
        if refusal.code == "not-running":
            raise
        return of_refusal(what, one.purl, refusal, digest)
    exact = (told.purl, told.file) == (one.purl, f"{one.start}{name}")
    if not exact and not (name in _SMALL and judge.may_stand(one, name, told, digest)):
        return Row(what, one.purl, REFUSED, digest, why=f"these bytes are {told.purl} {told.file}", do=_AGAIN)
    return Row(what, told.purl, ACCEPTED, digest, told.verdict, told.builders)


def _versionless(purl: str) -> str:
    return purl.partition("@")[0]


def _unpacked(
    one: _Held, archive: str, folder: Path, beside: tuple[str, ...], judge: _Judge
) -> Iterator[Row]:
    """An archive by its digest, and what was unpacked from it by its list of members."""
    packed = one.folder / "d" / archive
    if not packed.exists() and not packed.is_symlink():
        if archive == names.EXPORT:  # a recipe that is its conanfile.py alone
            return
    row = _file(one, packed, archive, judge)
    yield row
    if row.outcome != ACCEPTED:
        return
    try:
        held = {member.path: member for member in judge.prover.members(row.sha256)}
    except Refusal as refusal:
        if refusal.code == "not-running":
            raise
        yield of_refusal(f"{one.shown} {archive}, unpacked", one.purl, refusal)
        return
    found = (
        {entry.rel: entry for entry in walking.walk(folder) if entry.rel not in beside}
        if folder.is_dir()
        else {}
    )
    good: set[Path] = set()
    for rel, member in held.items():
        digest = walking.digest(found[rel].path) if rel in found else ""
        what = f"{one.shown} {rel}"
        if digest == member.sha256:
            good.add(found[rel].path)
            yield Row(what, one.purl, ACCEPTED, digest, row.verdict, row.builders)
        else:
            why = "changed: it is not what the archive holds" if digest else "missing: the archive holds it"
            yield Row(what, one.purl, REFUSED, digest, why=why, do=_AGAIN)
    for rel, entry in found.items():
        if rel not in held and not (entry.path.is_symlink() and _leads_to(entry.path, good)):
            why = f"additional: {entry.odd or 'the archive does not hold it'}"
            yield Row(f"{one.shown} {rel}", one.purl, REFUSED, why=why, do=_AGAIN)


def _leads_to(link: Path, good: set[Path]) -> bool:
    """Whether a link leads, without leaving its folder's files, to one that was accepted."""
    target = Path(os.path.normpath(link.parent / os.readlink(link)))
    return target in good or (
        target.is_symlink() and target != link and Path(os.path.realpath(target)) in good
    )
