"""pom.xml: what a project asks for itself, in its profiles too, and what builds it: its parent, plugins, extensions.

Parents and BOMs are not fetched, so they fill nothing in. Of what a profile changes both are named.

Source: the POM reference of Maven.
"""

import itertools
import re
from pathlib import Path
from typing import Final
from xml.parsers import expat

from pyrsia.consumers.lists.rows import Row, no
from pyrsia.units import Limit

MAX_XML_DEPTH = Limit(100, "the deepest POM nests a dozen elements")
MAX_XML_ELEMENTS = Limit(
    200_000, "40,000 things asked for; a second and 100 MB. The largest POM has some thousand"
)
MAX_PROFILES = Limit(64, "profiles of one project; each is read over all that the project asks for")
MAX_PROPERTY_STEPS = Limit(20, "a property that names properties; more is a circle")
MAX_FILLED_IN = Limit(8, "properties of one coordinate that are filled in at a time; people write one or two")
MAX_COORDINATE = Limit(1_000, "characters of a group, a name or a version; long ones have a hundred")
MAX_ASKED = Limit(
    100_000, "what a project and each of its profiles ask for: a second; a large one has thousands"
)

_PROPERTY: Final = re.compile(r"\$\{([^${}]+)\}")
_NEWEST: Final = ("LATEST", "RELEASE")  # words that mean another version each day
_PLUGINS: Final = "org.apache.maven.plugins"  # the group of a plugin that names none
_BUILDS: Final = "it builds the project, and is no part of it"
_OUT_OF_SCOPE: Final = frozenset({"test", "provided", "system"})
_WRITE: Final = "write it here; parents and BOMs are not fetched (`mvn help:effective-pom` writes them in)"


def rows(path: Path, text: str) -> tuple[Row, ...]:
    project = _parsed(path, text)
    if project.name != "project":
        raise no(path, f"its root is {project.name[:40]!r}", "give the pom.xml of a project")
    profiles = _children(project.child("profiles"), "profile")
    if len(profiles) > MAX_PROFILES.value:
        raise no(path, f"it has more than {MAX_PROFILES.value} profiles", "split it")
    properties = _properties(project)
    managed = _managed(project, properties)
    found = _asked(path, project, properties, managed, "")
    for profile in profiles:
        of_it = {**properties, **_listed(profile)}
        here = {**managed, **_managed(profile, of_it)}
        why = f"only in the profile {profile.told('id')[:80] or 'default'}"
        found += _asked(path, profile, of_it, here, why)
        if here != managed or of_it != properties:
            found += _asked(path, project, of_it, here, why)
        if len(found) > MAX_ASKED.value:
            what = f"it asks for more than {MAX_ASKED.value:,} packages, each profile counted"
            raise no(path, what, "split it")
    each: dict[tuple[str, str, int], Row] = {}
    for row in found:
        each.setdefault((row.name, row.version, row.line), row)
    return tuple(each.values())


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
    begun = itertools.count()

    def begin(name: str, _: dict[str, str]) -> None:
        if len(open_) > MAX_XML_DEPTH.value:
            raise no(path, "its elements nest too deep", "check it")
        if next(begun) >= MAX_XML_ELEMENTS.value:
            raise no(path, f"it has more than {MAX_XML_ELEMENTS.value:,} elements", "split it")
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


_Managed = dict[tuple[str, str], str]  # versions by coordinates, for those that name none


def _asked(path: Path, above: _Element, properties: dict[str, str], managed: _Managed, why: str) -> list[Row]:
    """What a project or a profile of it asks for. `why`: it is not asked for to be built; "" for what may be."""
    found = [_row(path, one, properties, managed, why) for one in _dependencies(above)]
    build = above.child("build")
    extensions = build.child("extensions") if build is not None else None
    for one in (*_children(above, "parent"), *_children(extensions, "extension")):
        found.append(_row(path, one, properties, managed, _BUILDS))
    reporting = above.child("reporting")
    for part in (build, build.child("pluginManagement") if build is not None else None, reporting):
        for plugin in _children(part.child("plugins") if part is not None else None, "plugin"):
            found.append(_row(path, plugin, properties, managed, _BUILDS, _PLUGINS))
            found += [_row(path, one, properties, managed, _BUILDS) for one in _dependencies(plugin)]
    return found


def _row(
    path: Path, one: _Element, properties: dict[str, str], managed: _Managed, why: str, group: str = ""
) -> Row:
    named = _coordinates(one, properties, group)
    name = ":".join(named)
    scope = one.told("scope") or "compile"
    version = _filled(one.told("version") or managed.get(named, ""), properties)
    if max(map(len, (*named, version))) > MAX_COORDINATE.value:
        what = f"line {one.line}: a coordinate has more than {MAX_COORDINATE.value:,} characters"
        raise no(path, what, "correct it")
    left = open_ = ""
    if why:
        left = f"{name}: {why}"
    elif scope in _OUT_OF_SCOPE or one.told("optional") == "true":
        left = f"{name}: {'optional' if scope == 'compile' else f'scope {scope}'}"
    if not version or "${" in version or version.startswith(("[", "(")) or version in _NEWEST:
        open_ = f"{name} has no exact version in this file: {version[:80] or 'none'}"
        version = ""
    return Row("maven", name, version, one.line, left=left, open=open_, do=_WRITE if open_ else "")


def _dependencies(above: _Element | None) -> list[_Element]:
    return _children(above.child("dependencies") if above is not None else None, "dependency")


def _children(above: _Element | None, name: str) -> list[_Element]:
    return [] if above is None else [one for one in above.children if one.name == name]


def _managed(above: _Element, properties: dict[str, str]) -> _Managed:
    """Of dependencies and of plugins: their names do not meet."""
    build = above.child("build")
    plugins = build.child("pluginManagement") if build is not None else None
    listed = [(one, "") for one in _dependencies(above.child("dependencyManagement"))]
    if plugins is not None:
        listed += [(one, _PLUGINS) for one in _children(plugins.child("plugins"), "plugin")]
    return {_coordinates(one, properties, group): one.told("version") for one, group in listed}


def _coordinates(one: _Element, properties: dict[str, str], group: str = "") -> tuple[str, str]:
    """`group`: of what names none."""
    return _filled(one.told("groupId") or group, properties), _filled(one.told("artifactId"), properties)


def _properties(project: _Element) -> dict[str, str]:
    found = _listed(project)
    parent = project.child("parent")
    for name in ("groupId", "artifactId", "version"):
        told = project.told(name) or (parent.told(name) if parent is not None else "")
        found[f"project.{name}"] = found[f"pom.{name}"] = told
        if parent is not None:
            found[f"project.parent.{name}"] = parent.told(name)
    return _short(found)


def _listed(above: _Element) -> dict[str, str]:
    found = above.child("properties")
    return {} if found is None else _short({one.name: one.text for one in found.children})


def _short(properties: dict[str, str]) -> dict[str, str]:
    """Without what is too long for a coordinate: that fills none in, it is a text for something else."""
    return {name: text for name, text in properties.items() if len(text) <= MAX_COORDINATE.value}


def _filled(text: str, properties: dict[str, str]) -> str:
    """A stranger's POM names properties that name more of them: each step's work is bounded before it is done."""
    for _ in range(MAX_PROPERTY_STEPS.value):
        if len(text) > MAX_COORDINATE.value or "${" not in text:
            break
        made = _PROPERTY.sub(
            lambda match: properties.get(match[1], match[0]), text, count=MAX_FILLED_IN.value
        )
        if made == text or len(made) > MAX_COORDINATE.value:
            break
        text = made
    return text
