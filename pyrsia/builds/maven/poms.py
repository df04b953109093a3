"""What a project file says that matters before it is run: whose it is, its parent, its modules.

Nothing is interpolated or inherited here but group and version: Maven itself does that, in the sandbox. A value that
Maven would compute (`${revision}`) is taken for any value.

It runs inside the sandbox and imports only the standard library.

Source: docs/builds-maven.md; the POM reference of Maven.
"""

import posixpath
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

from pyrsia.builds.members import Hostile, shown

_DEPTH: Final = 60  # elements inside each other; a project file of a large build has 15
_ELEMENTS: Final = 1_000_000  # of one file; a project file of a large build has 10,000
FILE: Final = "pom.xml"
_PARENTS: Final = 20  # of one project; Maven's own have five
_RUN_TIME: Final = ("", "compile", "runtime")

Need = tuple[str, str, str]


@dataclass(slots=True)
class Element:
    """One element of an XML file, without name spaces and attributes."""

    name: str
    text: str = ""
    children: "list[Element]" = field(default_factory=list)

    def get(self, path: str) -> str:
        """The trimmed text below `path` (`parent/version`), "" where there is none."""
        found = self.all(path)
        return found[0].text.strip() if found else ""

    def all(self, path: str) -> "list[Element]":
        found = [self]
        for name in path.split("/"):
            found = [child for one in found for child in one.children if child.name == name]
        return found


@dataclass(frozen=True, slots=True)
class Pom:
    """One project.

    Attributes:
        group, version: its own, else its parent's. packaging: `jar` where it says nothing.
        parent: (group, artifact, version), empty strings without one.
        modules: folders as written. attaches_sources: it makes its sources jar by itself.
        needs: (group, artifact, version) of what it needs at run time as it says so itself; a version that it does not
            write out is "".
    """

    group: str
    name: str
    version: str
    packaging: str
    parent: tuple[str, str, str]
    modules: tuple[str, ...]
    final_name: str
    attaches_sources: bool
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """Where a project stands in a source.

    Attributes:
        root: folder of the project that Maven is started on, "" for the top one.
        module: folder below `root` of the asked project, "" where it is the same.
    """

    root: str
    module: str
    pom: Pom


def read_xml(data: bytes, *, most: int = _ELEMENTS) -> Element:
    """The root element.

    Raises:
        Hostile: not well-formed, too deep, of more than `most` elements, or with a document type, which no project file
            needs.
    """
    top = Element("")
    stack = [top]
    left = most
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True  # else each line end comes by itself: a text of them takes the square of it

    def start(name: str, _: dict[str, str]) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Hostile(f"more than {most} elements")
        if len(stack) > _DEPTH:
            raise Hostile("elements nested too deeply")
        one = Element(name.rpartition(" ")[2])
        stack[-1].children.append(one)
        stack.append(one)

    def end(_: str) -> None:
        stack.pop()

    def text(data: str) -> None:
        stack[-1].text += data

    def doctype(*_: object) -> None:
        raise Hostile("a document type declaration")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = text, doctype
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise Hostile(f"not well-formed XML: {str(error)[:100]}") from error
    return top.children[0]


def read(data: bytes) -> Pom:
    """
    Raises:
        Hostile: it is no project file.
    """
    root = read_xml(data)
    if root.name != "project" or not root.get("artifactId"):
        raise Hostile("not a project file of Maven")
    plugins = [one.get("artifactId") for one in root.all("build/plugins/plugin")]
    return Pom(
        group=root.get("groupId") or root.get("parent/groupId"),
        name=root.get("artifactId"),
        version=root.get("version") or root.get("parent/version"),
        packaging=root.get("packaging") or "jar",
        parent=(root.get("parent/groupId"), root.get("parent/artifactId"), root.get("parent/version")),
        modules=tuple(one.text.strip() for one in root.all("modules/module")),
        final_name=root.get("build/finalName"),
        attaches_sources="maven-source-plugin" in plugins,
        needs=_needs(root),
    )


def _needs(root: Element) -> tuple[Need, ...]:
    own = {
        "groupId": root.get("groupId") or root.get("parent/groupId"),
        "version": root.get("version") or root.get("parent/version"),
    }
    found = []
    for one in root.all("dependencies/dependency"):
        if one.get("scope") not in _RUN_TIME or one.get("optional") == "true":
            continue
        parts = []
        for name in ("groupId", "artifactId", "version"):
            text = one.get(name)
            for word, value in own.items():
                text = text.replace(f"${{project.{word}}}", value)
            parts.append("" if "${" in text else text)
        found.append((parts[0], parts[1], parts[2].strip("[]") if "," not in parts[2] else ""))
    return tuple(one for one in found if one[0] and one[1])


def inherited(pom: Pom, of: Callable[[Need], Pom | None]) -> list[Need]:
    """What a project needs by its own words and those of its parents, as far as `of` has them."""
    found = list(pom.needs)
    for _ in range(_PARENTS):
        above = of(pom.parent)
        if above is None:
            break
        pom = above
        found += pom.needs
    return found


def closure(start: Sequence[Need], of: Callable[[Need], Pom | None], jars: Collection[Need]) -> list[Need]:
    """All that `start` leads to among `jars`, dependencies first.

    Which version it is, Maven decided already: the one whose jar it fetched. Where it fetched several, because a
    plug-in needs another, the one that is written out counts.

    Args:
        of: the project file of a release, where it is there. jars: releases whose jar was fetched.
    """
    versions: dict[tuple[str, str], list[str]] = {}
    for group, name, version in jars:
        versions.setdefault((group, name), []).append(version)
    chosen: set[tuple[str, str]] = set()
    found: list[Need] = []
    waiting: list[tuple[Need, bool]] = [(one, False) for one in reversed(start)]
    while waiting:
        (group, name, version), finished = waiting.pop()
        if finished:
            found.append((group, name, version))
            continue
        here = versions.get((group, name), [])
        version = here[0] if len(here) == 1 else version
        if version not in here or (group, name) in chosen:
            continue
        chosen.add((group, name))
        waiting.append(((group, name, version), True))
        pom = of((group, name, version))
        if pom is not None:
            waiting += [(one, False) for one in reversed(inherited(pom, of))]
    return found


def find(poms: Mapping[str, Pom], group: str, name: str, version: str) -> Found:
    """The project that is asked for.

    Args:
        poms: by the folder that each stands in, "" for the top one.
        version: empty for any.

    Raises:
        Hostile: the source does not hold it.
    """
    fitting = [folder for folder, pom in poms.items() if _fits(pom, group, name, version)]
    if not fitting:
        raise Hostile(f"the source holds no project {shown(f'{group}:{name}:{version}')}")
    folder = min(fitting, key=lambda one: (one.count("/"), len(one), one))
    for root in _above(folder):
        if root != folder and folder in _reactor(poms, root):
            return Found(root, posixpath.relpath(folder, root or "."), poms[folder])
    return Found(folder, "", poms[folder])


def _fits(pom: Pom, group: str, name: str, version: str) -> bool:
    return all(
        said == wanted or "${" in said or not wanted
        for said, wanted in ((pom.group, group), (pom.name, name), (pom.version, version))
    )


def _above(folder: str) -> list[str]:
    """The folders above `folder`, the top one ("") first, itself last."""
    parts = folder.split("/") if folder else []
    return ["/".join(parts[:depth]) for depth in range(len(parts) + 1)]


def _reactor(poms: Mapping[str, Pom], root: str) -> set[str]:
    """The folders of all modules that Maven builds when it is started in `root`."""
    found: set[str] = set()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        if folder in found or folder not in poms:
            continue
        found.add(folder)
        for module in poms[folder].modules:
            place = posixpath.normpath(posixpath.join(folder or ".", module.removesuffix("/pom.xml")))
            waiting.append("" if place == "." else place)
    return found
