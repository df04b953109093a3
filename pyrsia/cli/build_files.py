"""Packages out of the files that people have: requirements.txt, uv.lock, pom.xml, conan.lock. Read as data, never run.

Decides which lines are packages to ask for, and says of every other one why it is not. Nothing is resolved here: a
file that leaves a version open is refused with its line, since two people would get two answers from it.

Source: pip's requirements file format (PEP 508); uv's lock file; the POM reference of Maven; Conan 2, lockfiles.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.parsers import expat

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pyrsia.errors import Refusal
from pyrsia.units import Limit

MAX_LIST_BYTES = Limit(8 << 20, "a lock file of a thousand packages with all their hashes is 2 MB")
MAX_LISTED = Limit(2_000, "packages of one file; a larger application is several")
MAX_XML_DEPTH = Limit(100, "the deepest POM nests a dozen elements")
MAX_PROPERTY_STEPS = Limit(20, "a property that names properties; more is a circle")

_PROPERTY: Final = re.compile(r"\$\{([^${}]+)\}")
_CONAN: Final = re.compile(r"([^/@#%]+)/([^/@#%]+)(?:@([^/@#%]*)/([^/@#%]*))?(?:#[^%]*)?(?:%.*)?")
_OUT_OF_SCOPE: Final = frozenset({"test", "provided", "system"})


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
    try:
        with path.open("rb") as file:
            data = file.read(MAX_LIST_BYTES.value + 1)
    except OSError as error:
        raise _no(path, f"it cannot be read: {error.strerror}", "check its name") from None
    if len(data) > MAX_LIST_BYTES.value:
        raise _no(path, f"it is larger than {MAX_LIST_BYTES.value} bytes", "split it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _no(path, "it is not UTF-8", "convert it") from None
    found = reader(path, text)
    items = tuple(dict.fromkeys(found.items))
    if len(items) > MAX_LISTED.value:
        raise _no(path, f"it lists {len(items)} packages, {MAX_LISTED.value} are taken", "split it")
    return Listed(items, found.skipped)


def _reader(path: Path) -> Callable[[Path, str], Listed]:
    name = path.name.lower()
    if name.endswith("uv.lock"):
        return _uv
    if name.endswith("conan.lock"):
        return _conan
    if name.endswith((".xml", ".pom")):
        return _pom
    if name.endswith((".txt", ".in")):
        return _requirements
    raise _no(
        path, "its name does not say what it is", "name a requirements*.txt, uv.lock, pom.xml or conan.lock"
    )


def _no(path: Path, what: str, do: str) -> Refusal:
    return Refusal("usage", what=f"{path.name}: {what}", who="that file", do=do)


# -- requirements.txt --


def _requirements(path: Path, text: str) -> Listed:
    items, skipped = [], []
    for number, line in _lines(text):
        where = f"line {number}"
        if line.startswith("-"):
            skipped.append(
                f"{where}: the option {line.split()[0]} is the node's own configuration's business"
            )
            continue
        line = re.split(r"\s--(?:hash|config-settings|global-option)\b", line)[0].strip()
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            raise _no(path, f"{where} is no requirement: {line[:80]!r}", "correct it") from None
        if wanted.marker is not None and not wanted.marker.evaluate():
            skipped.append(f"{where}: {wanted.name} is not for this machine: {wanted.marker}")
        elif wanted.url:
            skipped.append(f"{where}: {wanted.name} comes from an address and from no index")
        else:
            items.append(Item("pip", canonicalize_name(wanted.name), _pinned(path, where, wanted)))
    return Listed(tuple(items), tuple(skipped))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """(number of its first line, text) of each logical line, without comments and continuations."""
    begun, parts = 0, [""]
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*$", "", raw).rstrip()
        begun = begun or number
        if raw.rstrip().endswith("\\") and line:
            parts.append(line.removesuffix("\\"))
            continue
        whole = " ".join((*parts, line)).strip()
        if whole:
            yield begun, whole
        begun, parts = 0, [""]


def _pinned(path: Path, where: str, wanted: Requirement) -> str:
    exact = [one for one in wanted.specifier if one.operator in ("==", "===")]
    if not wanted.specifier:
        return ""
    if len(wanted.specifier) != 1 or not exact or "*" in exact[0].version:
        raise _no(
            path,
            f"{where} leaves the version of {wanted.name} open: {wanted.specifier}",
            "pin it (`pip freeze` and `pip-compile` do), or leave the version out for the newest",
        )
    return exact[0].version


# -- uv.lock --


def _uv(path: Path, text: str) -> Listed:
    items, skipped = [], []
    for one in _tables(path, text):
        name, version, source = one.get("name"), one.get("version"), one.get("source")
        if not isinstance(name, str) or not isinstance(source, dict):
            raise _no(path, "a package without a name or a source", "let uv write it again: `uv lock`")
        if "registry" in source and isinstance(version, str):
            items.append(Item("pip", canonicalize_name(name), version, closure=False))
        else:
            skipped.append(f"{name}: its source is {next(iter(source), 'unknown')}, and no index")
    return Listed(tuple(items), tuple(skipped))


def _tables(path: Path, text: str) -> list[dict[str, Any]]:
    try:
        found = tomllib.loads(text).get("package", [])
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _no(path, f"it is no TOML: {error}", "let uv write it again: `uv lock`") from None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise _no(path, "its packages are no list of tables", "let uv write it again: `uv lock`")
    return found


# -- conan.lock --


def _conan(path: Path, text: str) -> Listed:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _no(path, f"it is no JSON: {error}", "make it again: `conan lock create`") from None
    requires = found.get("requires", []) if isinstance(found, dict) else None
    if not isinstance(requires, list):
        raise _no(path, "it has no list of requires", "make it again with Conan 2: `conan lock create`")
    items = []
    for one in requires:
        match = _CONAN.fullmatch(one) if isinstance(one, str) else None
        if match is None:
            raise _no(path, f"{str(one)[:80]!r} is no reference", "make it again: `conan lock create`")
        name, version, user, channel = match.groups()
        above = "/".join(part for part in (user, channel) if part and part != "_")
        items.append(Item("conan", f"{above}/{name}" if above else name, version, closure=False))
    tools = len(found.get("build_requires", [])) if isinstance(found.get("build_requires"), list) else 0
    skipped = (f"{tools} tools that only builds need",) if tools else ()
    return Listed(tuple(items), skipped)


# -- pom.xml --


@dataclass(slots=True)
class _Element:
    name: str
    text: str
    children: list["_Element"]

    def child(self, name: str) -> "_Element | None":
        return next((one for one in self.children if one.name == name), None)

    def told(self, name: str) -> str:
        found = self.child(name)
        return "" if found is None else found.text.strip()


def _parsed(path: Path, text: str) -> _Element:
    """The document without namespaces. A document type is refused: no entity is ever expanded."""
    root = _Element("", "", [])
    open_: list[_Element] = [root]
    parser = expat.ParserCreate(namespace_separator="}")

    def begin(name: str, _: dict[str, str]) -> None:
        if len(open_) > MAX_XML_DEPTH.value:
            raise _no(path, "its elements nest too deep", "check it")
        made = _Element(name.rpartition("}")[2], "", [])
        open_[-1].children.append(made)
        open_.append(made)

    def data(part: str) -> None:
        open_[-1].text += part

    def doctype(*_: object) -> None:
        raise _no(path, "it declares a document type, and a POM has none", "remove the DOCTYPE")

    parser.StartElementHandler = begin
    parser.EndElementHandler = lambda _: open_.pop()
    parser.CharacterDataHandler = data
    parser.StartDoctypeDeclHandler = doctype
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise _no(path, f"it is no XML: {error}", "correct it") from None
    return root.children[0]


def _pom(path: Path, text: str) -> Listed:
    project = _parsed(path, text)
    if project.name != "project":
        raise _no(path, f"its root is {project.name[:40]!r}", "give the pom.xml of a project")
    properties = _properties(project)
    managed = {
        _coordinates(one, properties): one.told("version")
        for one in _dependencies(project.child("dependencyManagement"))
    }
    items, skipped = [], []
    for one in _dependencies(project):
        group, artifact = named = _coordinates(one, properties)
        scope = one.told("scope") or "compile"
        version = _filled(one.told("version") or managed.get(named, ""), properties)
        if scope in _OUT_OF_SCOPE or one.told("optional") == "true":
            skipped.append(f"{group}:{artifact}: {'optional' if scope == 'compile' else f'scope {scope}'}")
        elif not version or "${" in version or version.startswith(("[", "(")):
            raise _no(
                path,
                f"{group}:{artifact} has no exact version in this file: {version or 'none'}",
                "write it here; parents and BOMs are not fetched (`mvn help:effective-pom` writes them in)",
            )
        else:
            items.append(Item("maven", f"{group}:{artifact}", version))
    return Listed(tuple(items), tuple(skipped))


def _dependencies(above: _Element | None) -> list[_Element]:
    found = above.child("dependencies") if above is not None else None
    return [] if found is None else [one for one in found.children if one.name == "dependency"]


def _coordinates(one: _Element, properties: dict[str, str]) -> tuple[str, str]:
    return _filled(one.told("groupId"), properties), _filled(one.told("artifactId"), properties)


def _properties(project: _Element) -> dict[str, str]:
    listed = project.child("properties")
    found = {one.name: one.text.strip() for one in (listed.children if listed is not None else ())}
    parent = project.child("parent")
    for name in ("groupId", "artifactId", "version"):
        told = project.told(name) or (parent.told(name) if parent is not None else "")
        found[f"project.{name}"] = found[f"pom.{name}"] = told
        if parent is not None:
            found[f"project.parent.{name}"] = parent.told(name)
    return found


def _filled(text: str, properties: dict[str, str]) -> str:
    for _ in range(MAX_PROPERTY_STEPS.value):
        made = _PROPERTY.sub(lambda match: properties.get(match.group(1), match.group(0)), text)
        if made == text or len(made) > 1_000:
            break
        text = made
    return text
