"""Which reader a file needs. Its content decides: a name is only asked where two kinds look alike."""

import re
from pathlib import Path
from typing import Any, Final

import msgspec

from pyrsia.consumers.auditing import lists
from pyrsia.consumers.auditing.components import Gathered, Place
from pyrsia.consumers.documents import sboms
from pyrsia.consumers.documents.reading import typed
from pyrsia.consumers.lists import conan, pom, requirements, uv
from pyrsia.consumers.lists.rows import no
from pyrsia.errors import Malformed
from pyrsia.units import MAX_LIST_BYTES

_HEAD_BYTES: Final = 4_096
_LOCK: Final = re.compile(rb"^\[\[package\]\]", re.MULTILINE)
_PYLOCK: Final = re.compile(rb"^\[\[packages\]\]", re.MULTILINE)
_KNOWN: Final = "give requirements, a uv.lock, pom.xml, conan.lock, or a CycloneDX or SPDX document in JSON"
_INSIDE: Final = "what lies in the files that {} lists: a document says what its maker saw"


class _Marks(msgspec.Struct):
    """What tells JSON files apart."""

    bom: Any = msgspec.field(name="bomFormat", default=None)
    requires: Any = None
    build_requires: Any = None
    python_requires: Any = None
    config_requires: Any = None


def read(path: Path, said: str, into: Gathered) -> None:
    """What a file names.

    Args:
        said: its name, as places tell it.

    Raises:
        Refusal: it is none of the kinds, too large, or broken.
    """
    if not path.is_file():  # a pipe has no end, a device no size
        raise no(path, "it is no plain file", _KNOWN)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            rest = file.read(MAX_LIST_BYTES.value)
    except OSError as error:
        raise no(path, f"it cannot be read: {error.strerror}", "check its name and its rights") from None
    before = into.told
    _by_content(path, said, head, rest, into)
    if into.told == before:
        into.leave(said, "it names no package", Place(said))


def _by_content(path: Path, said: str, head: bytes, rest: bytes, into: Gathered) -> None:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"{"):
        _json(path, said, head + rest, into)
    elif b"\0" in head:
        raise no(path, "it is no text", "name an image as it is called: NAME:TAG; or " + _KNOWN)
    elif start.startswith(b"<"):
        lists.read(path, said, pom.rows, into)
    elif _LOCK.search(head + rest):
        lists.read(path, said, uv.rows, into)
    elif _PYLOCK.search(head):
        raise no(path, "pylock.toml is not read", "audit the environment that it makes: --venv DIR")
    elif len(head) + len(rest) > MAX_LIST_BYTES.value:
        what = f"it is larger than {MAX_LIST_BYTES.value:,} bytes, too long for the requirements that it looks like"
        raise no(path, what, _KNOWN)
    else:
        lists.read(path, said, requirements.rows, into)


def _json(path: Path, said: str, data: bytes, into: Gathered) -> None:
    if len(data) <= MAX_LIST_BYTES.value and _is_conan(data):
        lists.read(path, said, conan.rows, into)
    else:
        document(path, said, into)


def _is_conan(data: bytes) -> bool:
    try:
        marks = typed(data.removeprefix(b"\xef\xbb\xbf"), _Marks)
    except Malformed:
        return False  # whoever reads documents says what is wrong with it
    listed = (marks.requires, marks.build_requires, marks.python_requires, marks.config_requires)
    return marks.bom is None and any(one is not None for one in listed)


def document(path: Path, said: str, into: Gathered) -> None:
    """All that an SBOM names, also what it says that it is about.

    Raises:
        Refusal: it is none, or too large.
    """
    place = Place(said)
    for one in sboms.components(path, whole=True):
        if one.purl and "@" in one.purl:
            into.add(one.purl, place)
        else:
            what = f"{one.name} {one.version}".strip() or one.purl or "a component without a name"
            into.leave(what, "no version" if one.purl else "the document has no purl for it", place)
    into.not_looked_into([_INSIDE.format(said)])
