"""pom.xml: what a project asks for itself. Parents and BOMs are not fetched, so they fill nothing in.

Source: the POM reference of Maven.
"""

import re
from pathlib import Path
from typing import Final
from xml.parsers import expat

from pyrsia.consumers.lists.rows import Row, no
from pyrsia.units import Limit

MAX_XML_DEPTH = Limit(100, "the deepest POM nests a dozen elements")
MAX_PROPERTY_STEPS = Limit(20, "a property that names properties; more is a circle")

_PROPERTY: Final = re.compile(r"\$\{([^${}]+)\}")
_OUT_OF_SCOPE: Final = frozenset({"test", "provided", "system"})
_WRITE: Final = "write it here; parents and BOMs are not fetched (`mvn help:effective-pom` writes them in)"


def rows(path: Path, text: str) -> tuple[Row, ...]:
    project = _parsed(path, text)
    if project.name != "project":
        raise no(path, f"its root is {project.name[:40]!r}", "give the pom.xml of a project")
    properties = _properties(project)
    managed = {
        _coordinates(one, properties): one.told("version")
        for one in _dependencies(project.child("dependencyManagement"))
    }
    return tuple(_row(one, properties, managed) for one in _dependencies(project))


class _Element:
    """`line`: where it begins."""

    __slots__ = ("children", "line", "name", "parts")

    def __init__(self, name: str, line: int) -> None:
        self.name = name
        self.line = line
        self.parts: list[str] = []
        self.children: list[_Element] = []

    def child(self, name: str) -> "_Element | None":
        return next((one for one in self.children if one.name == name), None)

    @property
    def text(self) -> str:
        return "".join(self.parts).strip()

    def told(self, name: str) -> str:
        found = self.child(name)
        return "" if found is None else found.text


def _parsed(path: Path, text: str) -> _Element:
    """The document without namespaces. A document type is refused: no entity is ever expanded."""
    root = _Element("", 0)
    open_: list[_Element] = [root]
    parser = expat.ParserCreate(namespace_separator="}")

    def begin(name: str, _: dict[str, str]) -> None:
        if len(open_) > MAX_XML_DEPTH.value:
            raise no(path, "its elements nest too deep", "check it")
        made = _Element(name.rpartition("}")[2], parser.CurrentLineNumber)
        open_[-1].children.append(made)
        open_.append(made)

    def doctype(*_: object) -> None:
        raise no(path, "it declares a document type, and a POM has none", "remove the DOCTYPE")

    parser.StartElementHandler = begin
    parser.EndElementHandler = lambda _: open_.pop()
    parser.CharacterDataHandler = lambda part: open_[-1].parts.append(part)
    parser.StartDoctypeDeclHandler = doctype
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise no(path, f"it is no XML: {error}", "correct it") from None
    return root.children[0]


def _row(one: _Element, properties: dict[str, str], managed: dict[tuple[str, str], str]) -> Row:
    named = _coordinates(one, properties)
    name = ":".join(named)
    scope = one.told("scope") or "compile"
    version = _filled(one.told("version") or managed.get(named, ""), properties)
    left = open_ = ""
    if scope in _OUT_OF_SCOPE or one.told("optional") == "true":
        left = f"{name}: {'optional' if scope == 'compile' else f'scope {scope}'}"
    if not version or "${" in version or version.startswith(("[", "(")):
        open_ = f"{name} has no exact version in this file: {version or 'none'}"
        version = ""
    return Row("maven", name, version, one.line, left=left, open=open_, do=_WRITE if open_ else "")


def _dependencies(above: _Element | None) -> list[_Element]:
    found = above.child("dependencies") if above is not None else None
    return [] if found is None else [one for one in found.children if one.name == "dependency"]


def _coordinates(one: _Element, properties: dict[str, str]) -> tuple[str, str]:
    return _filled(one.told("groupId"), properties), _filled(one.told("artifactId"), properties)


def _properties(project: _Element) -> dict[str, str]:
    listed = project.child("properties")
    found = {one.name: one.text for one in (listed.children if listed is not None else ())}
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
