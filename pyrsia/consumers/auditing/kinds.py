"""Which reader a file needs. Its content decides; a name only helps to say what to give instead of what is no list."""

import re
from pathlib import Path
from typing import Any, Final

import msgspec

from pyrsia.consumers.auditing import lists
from pyrsia.consumers.auditing.components import Gathered, Place
from pyrsia.consumers.documents import bomxml, sboms
from pyrsia.consumers.documents.reading import typed, whole
from pyrsia.consumers.lists import conan, conan1, gradle, pdm, pipfile, poetry, pom, pylock, requirements, uv
from pyrsia.consumers.lists.rows import Reader, Row, no
from pyrsia.errors import Malformed, Refusal
from pyrsia.units import MAX_LIST_BYTES

STANDARD_INPUT: Final = "standard input"
SBOM: Final = "sbom"

_HEAD_BYTES: Final = 4_096
_MAX_REF: Final = 300  # characters of what a document calls a part: tools write a purl with an id
_KNOWN: Final = (
    "give requirements, a lock of pip, uv, Poetry, PDM, Pipenv, Conan or Gradle, a pom.xml, or a CycloneDX or SPDX"
    " document"
)
_INSIDE: Final = "what lies in the files that {} lists: a document says what its maker saw"

# In TOML: what stands on a line of its own in a lock of each, and in no other's.
_PACKAGE: Final = re.compile(rb"^\[\[package\]\]", re.MULTILINE)
_PYLOCK: Final = re.compile(rb"^(?:\[\[packages\]\]|packages[ \t]*=(?!=))", re.MULTILINE)
_PDM: Final = re.compile(rb"^lock_version[ \t]*=", re.MULTILINE)
_POETRY: Final = re.compile(
    rb"^(?:content-hash|lock-version)[ \t]*=|^# This file is .{0,40}Poetry", re.MULTILINE
)
_SECTION: Final = re.compile(rb"^\[[A-Za-z\"\[]")

# What people name first, and what has the versions.
_INSTEAD: Final = {
    "pyproject.toml": "its lock (uv.lock, poetry.lock, pdm.lock, pylock.toml), or `pip freeze | pyrsia audit -`",
    "setup.py": "`pip freeze | pyrsia audit -`, or --venv DIR",
    "setup.cfg": "`pip freeze | pyrsia audit -`, or --venv DIR",
    "pipfile": "Pipfile.lock (`pipenv lock`)",
    "conanfile.txt": "conan.lock (`conan lock create .`)",
    "conanfile.py": "conan.lock (`conan lock create .`)",
    "build.gradle": "gradle.lockfile (`gradle dependencies --write-locks`)",
    "build.gradle.kts": "gradle.lockfile (`gradle dependencies --write-locks`)",
}
# What others list in, by the ecosystems that the network does not know.
_STRANGE: Final = {
    "package.json": "npm",
    "package-lock.json": "npm",
    "npm-shrinkwrap.json": "npm",
    "yarn.lock": "npm",
    "pnpm-lock.yaml": "npm",
    "go.mod": "golang",
    "go.sum": "golang",
    "cargo.toml": "cargo",
    "gemfile.lock": "gem",
    "composer.lock": "composer",
    "packages.lock.json": "nuget",
}


class _Marks(msgspec.Struct):
    """What tells JSON files apart."""

    bom: Any = msgspec.field(name="bomFormat", default=None)
    spdx: Any = msgspec.field(name="spdxVersion", default=None)
    context: Any = msgspec.field(name="@context", default=None)
    requires: Any = None
    build_requires: Any = None
    python_requires: Any = None
    config_requires: Any = None
    graph: Any = msgspec.field(name=conan1.GRAPH, default=None)
    meta: Any = msgspec.field(name="_meta", default=None)
    npm: Any = msgspec.field(name="lockfileVersion", default=None)
    default: Any = None
    develop: Any = None


def _either_conan(path: Path, text: str) -> tuple[Row, ...]:
    """conan.lock, whichever Conan wrote it: that of Conan 2 has no graph."""
    try:
        first = typed(text.encode(), _Marks).graph is not None
    except Malformed:
        first = False  # whose reader says what is wrong
    return conan1.rows(path, text) if first else conan.rows(path, text)


READERS: Final[dict[str, Reader]] = {
    "requirements": requirements.rows,
    "uv.lock": uv.rows,
    "pylock.toml": pylock.rows,
    "poetry.lock": poetry.rows,
    "pdm.lock": pdm.rows,
    "Pipfile.lock": pipfile.rows,
    "pom.xml": pom.rows,
    "gradle.lockfile": gradle.rows,
    "conan.lock": _either_conan,
}


def read(path: Path, said: str, into: Gathered, *, kind: str = "", data: bytes | None = None) -> None:
    """What a file names.

    Args:
        said: its name, as places tell it.
        kind: one of `READERS` or `SBOM`, for what its content does not say.
        data: its content, where it is read already.

    Raises:
        Refusal: it is none of the kinds, too large, or broken.
    """
    before = into.told
    data = _utf8(path, whole(path) if data is None else data)
    kind = kind or _kind(path, data)
    if kind == SBOM:
        document(path, data, said, into)
    elif len(data) > MAX_LIST_BYTES.value:
        what = f"it is larger than {MAX_LIST_BYTES.value:,} bytes, too long for the {kind} that it looks like"
        raise no(path, what, "split it, or give an SBOM")
    else:
        lists.read(path, said, READERS[kind], data, into)
    if into.told == before:
        into.leave(said, "it names no package", Place(said))


def _utf8(path: Path, data: bytes) -> bytes:
    """What PowerShell writes with `>` is UTF-16, marked as such, and pip reads it too."""
    if not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data
    try:
        return data.decode("utf-16").encode()
    except UnicodeError:
        raise no(path, "it begins as UTF-16 and is none", "write it as UTF-8") from None


def _kind(path: Path, data: bytes) -> str:
    """
    Raises:
        Refusal: `usage`: it is none.
    """
    head = data[:_HEAD_BYTES]
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if b"\0" in head:
        raise no(path, "it is no text", "name an image as it is called: NAME:TAG; or " + _KNOWN)
    if start.startswith(b"{"):
        return _json(path, data)
    if start.startswith(b"<"):
        return SBOM if bomxml.root(data) in ("bom", "RDF") else "pom.xml"
    found = _toml(data[: MAX_LIST_BYTES.value])
    if found:
        return found
    if sboms.looks_like_spdx_text(data):
        return SBOM  # whose reader says what to do
    if gradle.looks_so(head.decode("utf-8", "replace")):
        return "gradle.lockfile"
    _check_name(path)
    if _SECTION.match(start):
        raise no(path, "it is none of the lists that are read here", _KNOWN)
    return "requirements"


def _check_name(path: Path) -> None:
    """Of what is no list by its content: what to give instead of what it is called."""
    name = path.name.lower()
    if name in _INSTEAD:
        what = "it names what a project asks for, and not which versions it gets"
        raise no(path, what, f"give {_INSTEAD[name]}")
    if name in _STRANGE:
        raise _strange(path, _STRANGE[name])


def _strange(path: Path, ecosystem: str) -> Refusal:
    what = f"its packages are of {ecosystem}, an ecosystem that the network does not know"
    return no(path, what, _KNOWN)


def _toml(data: bytes) -> str:
    """Whose lock it is; "" for none."""
    if _PACKAGE.search(data):
        if _PDM.search(data):
            return "pdm.lock"
        return "poetry.lock" if _POETRY.search(data) else "uv.lock"
    return "pylock.toml" if _PYLOCK.search(data) else ""


def _json(path: Path, data: bytes) -> str:
    """Whoever reads SBOMs says what is wrong with what is no JSON."""
    if len(data) > MAX_LIST_BYTES.value:
        return SBOM
    try:
        marks = typed(data, _Marks)
    except Malformed:
        return SBOM
    listed = (marks.requires, marks.build_requires, marks.python_requires, marks.config_requires, marks.graph)
    if marks.bom is not None:
        return SBOM
    if marks.npm is not None:
        raise _strange(path, "npm")  # which says `requires` as well
    if any(one is not None for one in listed):
        return "conan.lock"
    if marks.meta is not None and (marks.default is not None or marks.develop is not None):
        return "Pipfile.lock"
    if marks.spdx is None and marks.context is None:
        _check_name(path)
        raise no(path, "it is neither CycloneDX nor SPDX in JSON, nor a lock that is read here", _KNOWN)
    return SBOM


def document(path: Path, data: bytes, said: str, into: Gathered, *, artifact: str = "") -> None:
    """All that an SBOM names, also what it says that it is about.

    Args:
        artifact: what it is the SBOM of, where it is no file here.

    Raises:
        Refusal: it is none, or too large.
    """
    for one in sboms.components(path, whole=True, data=data):
        if one.purl and "@" in one.purl:
            into.add(one.purl, Place(said, one.line, one.ref[:_MAX_REF], artifact))
        else:
            what = f"{one.name} {one.version}".strip() or one.purl or "a component without a name"
            why = "no version" if one.purl else "the document has no purl for it"
            into.leave(what, why, Place(said, one.line))
    into.not_looked_into([_INSIDE.format(said)])
