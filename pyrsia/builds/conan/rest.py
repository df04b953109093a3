"""The Conan 2 REST API as pure functions: an address and what is held give one answer; what a change is about.

Three servers ask it: the gateway (what the log publishes, and what was pushed), the loopback desk of a build (what the
lock holds), and the stand-in for a remote in tests. A revision is shown only when every file that a client needs is
held: a client that finds half a package fails, one that finds none goes on to its next remote.

It runs inside the sandbox too and imports only the standard library.

Source: docs/builds-conan.md; Conan 2, `conan/internal/rest/client_routes.py` (addresses), `rest_client_v2.py`.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from pyrsia.builds.conan import names
from pyrsia.builds.conan.names import Place, Ref
from pyrsia.errors import Malformed

CAPABILITIES: Final = "revisions"
MAX_PATTERN_CHARS: Final = 200
MAX_STARS: Final = 4  # more make a pattern slow to match, and no client sends them
_PACKED: Final = names.PACKAGE.removesuffix("tgz")


@dataclass(slots=True)
class _Revision:
    time_ms: int = 0
    files: set[str] = field(default_factory=set)
    packages: dict[str, dict[str, "_Revision"]] = field(default_factory=dict)


class Shelf:
    """The files held of one reference, by revision."""

    def __init__(self, held: Iterable[tuple[str, int]]) -> None:
        """
        Args:
            held: (published file name, time in ms) in the order in which they came; other names are left out.
        """
        self._recipes: dict[str, _Revision] = {}
        for name, time_ms in held:
            try:
                self.add(names.place(name), time_ms)
            except Malformed:
                continue

    def add(self, place: Place, time_ms: int) -> None:
        """One more file; of any name, for what was pushed."""
        found = self._recipes.setdefault(place.rrev, _Revision())
        if place.package_id:
            by_id = found.packages.setdefault(place.package_id, {})
            found = by_id.setdefault(place.prev, _Revision())
        found.files.add(place.file)
        found.time_ms = max(found.time_ms, time_ms)

    def recipes(self) -> list[tuple[str, int]]:
        """(revision, time) of every whole recipe, newest first."""
        return _newest(self._recipes, whole_recipe)

    def recipe_files(self, rrev: str) -> list[str]:
        if rrev not in dict(self.recipes()):
            return []
        return sorted(self._recipes[rrev].files)

    def package_ids(self, rrev: str) -> list[str]:
        if rrev not in dict(self.recipes()):
            return []
        return sorted(one for one in self._recipes[rrev].packages if self.packages(rrev, one))

    def packages(self, rrev: str, package_id: str) -> list[tuple[str, int]]:
        """(revision, time) of every whole package of a whole recipe, newest first."""
        if rrev not in dict(self.recipes()):
            return []
        return _newest(self._recipes[rrev].packages.get(package_id, {}), whole_package)

    def package_files(self, rrev: str, package_id: str, prev: str) -> list[str]:
        if prev not in dict(self.packages(rrev, package_id)):
            return []
        return sorted(self._recipes[rrev].packages[package_id][prev].files)


def whole_recipe(files: Collection[str]) -> bool:
    """Whether a client can use a recipe that has these files."""
    return names.CONANFILE in files and names.MANIFEST in files


def whole_package(files: Collection[str]) -> bool:
    """The same of a package. Clients that compress otherwise call it conan_package.txz or .tzst; two are none."""
    packed = sum(one.startswith(_PACKED) for one in files)
    return names.INFO in files and names.MANIFEST in files and packed == 1


def _newest(
    found: Mapping[str, _Revision], is_whole: Callable[[Collection[str]], bool]
) -> list[tuple[str, int]]:
    whole = [(name, one.time_ms) for name, one in found.items() if is_whole(one.files)]
    order = {name: number for number, name in enumerate(found)}
    return sorted(whole, key=lambda pair: (-pair[1], -order[pair[0]]))


@dataclass(frozen=True, slots=True)
class Json:
    """An answer with status 200 and a JSON object as its body."""

    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a ping: 200, no body, the header X-Conan-Server-Capabilities."""


@dataclass(frozen=True, slots=True)
class Held:
    """A file that is held, by its reference and place."""

    ref: Ref
    place: Place


@dataclass(frozen=True, slots=True)
class Infos:
    """A JSON object that needs the contents of conaninfo.txt: package id -> place of it."""

    ref: Ref
    places: Mapping[str, Place]


@dataclass(frozen=True, slots=True)
class Missing:
    """404 with a sentence as text; the client goes on to its next remote."""

    what: str


Answer = Json | Pong | Held | Infos | Missing


def answer(
    path: str,
    query: Mapping[str, str],
    refs: Callable[[], Iterable[Ref]],
    shelf: Callable[[Ref], Shelf],
) -> Answer:
    """What a GET of `path` (below the remote's own address, without a slash in front) is answered with.

    Args:
        query: decoded parameters.
        refs: every reference that is held. shelf: the files of one; an empty shelf for one that is not held.
    """
    match path.split("/"):
        case ["v1" | "v2", "ping"]:
            return Pong()
        case ["v2", "conans", "search"]:
            return _search(query, refs)
        case ["v2", "conans", name, version, user, channel, *rest]:
            try:
                ref = names.ref(name, version, user, channel)
            except Malformed as error:
                return Missing(str(error))
            return _of(ref, rest, query, shelf(ref))
    return Missing("there is no such address; a remote is added by its base address")


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about: a reference, and how far its path goes into it.

    Attributes:
        rrev, package_id, prev: "" where the path ends before them.
        packages: all packages of a recipe are meant.
        file: one file; "" for all.
    """

    ref: Ref
    rrev: str = ""
    package_id: str = ""
    prev: str = ""
    file: str = ""
    packages: bool = False

    def reaches(self, place: Place) -> bool:
        """Whether it is about this file too."""
        if self.packages and not place.package_id:
            return False
        pairs = (
            (self.rrev, place.rrev),
            (self.package_id, place.package_id),
            (self.prev, place.prev),
            (self.file, place.file),
        )
        return all(asked in ("", held) for asked, held in pairs)


def target(path: str) -> Target | None:
    """What `path` is about; None for what is about no reference. Questions (`latest`, `search`) count as what they ask.

    Raises:
        Malformed: Conan would not take its reference.
    """
    match path.split("/"):
        case ["v2", "conans", name, version, user, channel, *rest]:
            ref = names.ref(name, version, user, channel)
        case _:
            return None
    match rest:
        case [] | ["latest" | "revisions" | "search"]:
            return Target(ref)
        case ["revisions", rrev] | ["revisions", rrev, "search" | "files"]:
            return Target(ref, rrev)
        case ["revisions", rrev, "files", *file]:
            return Target(ref, rrev, file="/".join(file))
        case ["revisions", rrev, "packages"]:
            return Target(ref, rrev, packages=True)
        case ["revisions", rrev, "packages", one] | [
            "revisions",
            rrev,
            "packages",
            one,
            "latest" | "revisions",
        ]:
            return Target(ref, rrev, one, packages=True)
        case ["revisions", rrev, "packages", one, "revisions", prev] | [
            "revisions", rrev, "packages", one, "revisions", prev, "files",
        ]:  # fmt: skip
            return Target(ref, rrev, one, prev, packages=True)
        case ["revisions", rrev, "packages", one, "revisions", prev, "files", *file]:
            return Target(ref, rrev, one, prev, "/".join(file), packages=True)
    return None


def _of(ref: Ref, rest: list[str], query: Mapping[str, str], held: Shelf) -> Answer:
    recipes = held.recipes()
    match rest:
        case ["latest"]:
            return _latest(recipes, f"recipe {ref}")
        case ["revisions"]:
            return _revisions(recipes, f"recipe {ref}")
        case ["search"] if recipes:
            return _packages(ref, recipes[0][0], query, held)
        case ["revisions", rrev, "search"]:
            return _packages(ref, rrev, query, held)
        case ["revisions", rrev, "files"]:
            return _files(held.recipe_files(rrev), f"recipe {ref}#{rrev}")
        case ["revisions", rrev, "files", *file] if "/".join(file) in held.recipe_files(rrev):
            return Held(ref, Place(rrev, "/".join(file)))
        case ["revisions", rrev, "packages", package_id, "latest"]:
            return _latest(held.packages(rrev, package_id), f"package {ref}:{package_id}")
        case ["revisions", rrev, "packages", package_id, "revisions"]:
            return _revisions(held.packages(rrev, package_id), f"package {ref}:{package_id}")
        case ["revisions", rrev, "packages", package_id, "revisions", prev, "files"]:
            return _files(held.package_files(rrev, package_id, prev), f"package {ref}:{package_id}#{prev}")
        case ["revisions", rrev, "packages", package_id, "revisions", prev, "files", *file] if "/".join(
            file
        ) in held.package_files(rrev, package_id, prev):
            return Held(ref, Place(rrev, "/".join(file), package_id, prev))
    return Missing(f"{ref} is not held here in this form")


def _latest(found: list[tuple[str, int]], what: str) -> Answer:
    if not found:
        return Missing(f"the {what} is not held here")
    return Json(_row(found[0]))


def _revisions(found: list[tuple[str, int]], what: str) -> Answer:
    if not found:
        return Missing(f"the {what} is not held here")
    return Json({"revisions": [_row(one) for one in found]})


def _row(found: tuple[str, int]) -> dict[str, str]:
    time = datetime.fromtimestamp(found[1] / 1000, UTC)
    return {"revision": found[0], "time": time.isoformat(timespec="microseconds")}


def _files(found: list[str], what: str) -> Answer:
    return Json({"files": {name: {} for name in found}}) if found else Missing(f"the {what} is not held here")


def _packages(ref: Ref, rrev: str, query: Mapping[str, str], held: Shelf) -> Answer:
    ids = held.package_ids(rrev)
    if rrev not in dict(held.recipes()):
        return Missing(f"the recipe {ref}#{rrev} is not held here")
    if query.get("list_only", "False").lower() == "true":
        return Json({one: {} for one in ids})
    return Infos(ref, {one: Place(rrev, names.INFO, one, held.packages(rrev, one)[0][0]) for one in ids})


def _search(query: Mapping[str, str], refs: Callable[[], Iterable[Ref]]) -> Answer:
    pattern = query.get("q", "*")
    if (
        len(pattern) > MAX_PATTERN_CHARS
        or pattern.count("*") > MAX_STARS
        or re.search(r"[\[\]\x00-\x1f]", pattern)
    ):
        return Missing("this pattern is too long, or has characters that no reference has")
    if query.get("ignorecase", "True").lower() == "true":
        pattern = pattern.lower()  # references are lower case
    found = [str(one) for one in sorted(refs()) if _matches(one, pattern)]
    return Json({"results": found})


def _matches(ref: Ref, pattern: str) -> bool:
    """A pattern is for the whole, or for the name alone: `zlib` finds every zlib."""
    return fnmatchcase(str(ref), pattern) or fnmatchcase(ref.name, pattern)
