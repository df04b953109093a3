"""Maven: a mirror of every repository in the user's settings.xml.

A `*` mirror takes the place of the repositories of settings, profiles, projects and plugins alike. Maven prefers a
mirror that names a repository by its id to one that names all, so each such mirror is a way past the node; `--strict`
takes those of the user's file out, and stands before those of the system's.

Source: Maven's "Guide to Mirror Settings" and "Settings Reference"; docs/setup.md.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from pyrsia.consumers import xml
from pyrsia.consumers.edits import Edit, Hole, Kind, Place, Plan, Seen, Want, broken, text_of, unsure
from pyrsia.consumers.xml import Element
from pyrsia.wire.text import safe

_ID: Final = "pyrsia"
_EMPTY: Final = b'<?xml version="1.0" encoding="UTF-8"?>\n<settings>\n</settings>\n'
_CENTRAL: Final = "https://repo.maven.apache.org/maven2"
_UNPACKED: Final = re.compile(r"(?i)maven|mvn")
# Maven's parser takes what follows a short option in the same word.
_OTHER_SETTINGS: Final = re.compile(
    r"-(?:s|gs|is|ps).*|--(?:settings|global-settings|install-settings|project-settings).*", re.DOTALL
)
_BLOCKER: Final = "external:http:*"  # Maven's own, which refuses plain HTTP elsewhere


def _own(place: Place) -> Path:
    return place.file if place.file is not None else place.home / ".m2" / "settings.xml"


def _system(place: Place) -> tuple[Path, ...]:
    named = place.env.get("MAVEN_HOME") or place.env.get("M2_HOME")
    usual = [place.root / "etc/maven/settings.xml", place.root / "usr/share/maven/conf/settings.xml"]
    # A Maven that was unpacked somewhere has its settings beside its bin.
    folders = [
        Path(one).parent for one in place.env.get("PATH", "").split(os.pathsep) if one.endswith("/bin")
    ]
    beside = [one / "conf" / "settings.xml" for one in folders if _UNPACKED.search(str(one))]
    return (*((Path(named) / "conf" / "settings.xml",) if named else usual), *beside)


def _arguments(place: Place) -> tuple[Path, ...]:
    """Of the project: Maven goes up to the folder that has a `.mvn`."""
    folders = (place.cwd, *place.cwd.parents)
    return (*(one / ".mvn" / "maven.config" for one in folders), place.home / ".mavenrc")


def _reads(place: Place) -> Sequence[Path]:
    return tuple(dict.fromkeys((_own(place), *_system(place), *_arguments(place))))


def _settings(path: Path, seen: Seen) -> Element:
    root = xml.read(seen.get(path, b"").strip() or _EMPTY, path)
    if root.name != "settings":
        raise broken(path, "it is no settings file of Maven's")
    return root


def _mirrors(path: Path, seen: Seen) -> list[Element]:
    return _settings(path, seen).all("mirrors", "mirror")


def _plan(place: Place, seen: Seen, want: Want) -> Plan:
    own = _own(place)
    data = seen.get(own, b"") if seen.get(own, b"").strip() else _EMPTY
    theirs = [one for one in _mirrors(own, seen) if not one.said("id").startswith(_ID)]
    system = [one.said("mirrorOf") for path in _system(place) for one in _mirrors(path, seen)]
    narrow = sorted({one for one in system if one and one not in ("*", _BLOCKER)})
    covers = ["*", *(narrow if want.strict else ())]
    stay = [] if want.strict else theirs
    made = data
    if not _says(data, own, want, covers, stay):
        made = _with_ours(_without(data, own, theirs if want.strict else []), own, want, covers)
    if not _says(made, own, want, covers, stay):
        raise unsure(own)
    holes = [] if want.strict else [_hole(own, one) for one in theirs]
    if not want.strict:
        holes += [
            Hole(f"the system's settings have a mirror of {safe(one)[:100]}", "use --strict")
            for one in narrow
        ]
    holes += _others(place, seen)
    told = tuple(_told(own, one) for one in theirs) if want.strict else ()
    return Plan((Edit(own, made),), tuple(holes), told, _advice(place, seen, own))


def _without(data: bytes, path: Path, gone: list[Element]) -> bytes:
    """The file without these mirrors and without ours, each with the line that it stands in."""
    ours = [one for one in xml.read(data, path).all("mirrors", "mirror") if one.said("id").startswith(_ID)]
    for one in sorted((*ours, *gone), key=lambda element: -element.start):
        start, end = one.start, one.end
        if not data[data.rfind(b"\n", 0, start) + 1 : start].strip(b" \t"):
            line_end = data.find(b"\n", end)
            if line_end >= 0 and not data[end:line_end].strip():
                start, end = data.rfind(b"\n", 0, start) + 1, line_end + 1
        data = data[:start] + data[end:]
    return data


def _with_ours(data: bytes, path: Path, want: Want, covers: list[str]) -> bytes:
    """The node's mirrors before the user's: of those that fit equally Maven takes the first."""
    root = xml.read(data, path)
    mirrors = root.child("mirrors")
    rows = [
        f"<mirror>\n  <id>{_ID if of == '*' else f'{_ID}-{number}'}</id>\n  <name>Pyrsia node</name>\n"
        f"  <url>{escape(want.node)}/maven2/</url>\n  <mirrorOf>{escape(of)}</mirrorOf>\n</mirror>"
        for number, of in enumerate(covers)
    ]
    if mirrors is not None and not mirrors.empty:
        depth = xml.indent_of(data, mirrors.start) + "  "
        return _insert(data, mirrors.inner, "".join("\n" + _indented(row, depth) for row in rows))
    depth = xml.indent_of(data, root.start) + "  "
    block = "\n".join(["<mirrors>", *(_indented(row, "  ") for row in rows), "</mirrors>"])
    if mirrors is not None:  # <mirrors/>
        block = _indented(block, xml.indent_of(data, mirrors.start)).lstrip()
        return data[: mirrors.start] + block.encode() + data[mirrors.end :]
    if root.empty:
        tag = data[root.start : root.inner - 2].rstrip()
        return (
            data[: root.start]
            + tag
            + f">\n{_indented(block, depth)}\n</settings>".encode()
            + data[root.inner :]
        )
    return _insert(data, root.inner, "\n" + _indented(block, depth))


def _insert(data: bytes, at: int, text: str) -> bytes:
    return data[:at] + text.encode() + data[at:]


def _indented(text: str, depth: str) -> str:
    return "\n".join(depth + line for line in text.split("\n"))


def _says(data: bytes, path: Path, want: Want, covers: list[str], theirs: list[Element]) -> bool:
    """Whether the file has our mirrors, and behind them exactly these of the user's."""
    found = xml.read(data, path)
    told = [(one.said("url"), one.said("mirrorOf")) for one in found.all("mirrors", "mirror")]
    ours = [(f"{want.node}/maven2/", of) for of in covers]
    stay = [(one.said("url"), one.said("mirrorOf")) for one in theirs]
    return len(found.all("mirrors")) == 1 and told == ours + stay


def _told(path: Path, mirror: Element) -> str:
    return f"the mirror {safe(mirror.said('id'))[:80]} of {safe(mirror.said('mirrorOf'))[:100]} in {path}"


def _hole(path: Path, mirror: Element) -> Hole:
    return Hole(f"{_told(path, mirror)}: {safe(mirror.said('url'))[:200]}", "use --strict")


def _others(place: Place, seen: Seen) -> list[Hole]:
    """Command lines that read other settings than the user's."""
    holes = []
    for path in _arguments(place):
        words = text_of(path, seen).split()
        if any(_OTHER_SETTINGS.fullmatch(one.strip("\"'")) for one in words):
            holes.append(Hole(f"{path} makes Maven read other settings", f"take -s out of {path}"))
    for name in ("MAVEN_ARGS", "MAVEN_CMD_LINE_ARGS"):
        value = place.env.get(name, "")
        if any(_OTHER_SETTINGS.fullmatch(one.strip("\"'")) for one in value.split()):
            holes.append(
                Hole(f"{name} makes Maven read other settings: {safe(value)[:100]}", f"unset {name}")
            )
    return holes


def _advice(place: Place, seen: Seen, own: Path) -> tuple[str, ...]:
    told = [
        "repositories of projects, profiles and plugins are asked for at the node; a build with -s FILE is not"
    ]
    profiles = _settings(own, seen).all("profiles", "profile", "repositories", "repository")
    if profiles:
        names = ", ".join(safe(one.said("id"))[:40] for one in profiles[:5])
        told.append(f"repositories of profiles in {own}, now asked for at the node: {names}")
    told.append(
        "artifacts that are in ~/.m2/repository already are not asked for again: pyrsia verify --m2 checks them"
    )
    return tuple(told)


def _now(place: Place, seen: Seen) -> Sequence[str]:
    rows = [one for path in (_own(place), *_system(place)) for one in _mirrors(path, seen)]
    told = [f"{safe(one.said('mirrorOf'))[:100]}: {safe(one.said('url'))[:200]}" for one in rows
            if one.said("mirrorOf") != _BLOCKER]  # fmt: skip
    return told or [f"central: {_CENTRAL}"]


KIND: Final = Kind("maven", "maven", ("mvn",), _reads, _plan, _now)
