"""The one spelling of a purl that others write in many: qualifiers and subpaths off, names and versions normalised."""

import re
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qs, unquote

from packaging.version import InvalidVersion, Version

from pyrsia.errors import Malformed
from pyrsia.knowledge.ecosystems import strange
from pyrsia.units import SPELLINGS_KNOWN
from pyrsia.wire.purl import MAX_PURL_CHARS, Purl, parse, pypi_name

MAX_WRITTEN_CHARS: Final = 8 * MAX_PURL_CHARS  # before qualifiers go and codes are read
_LOWER: Final = frozenset(("conan", "docker"))  # ecosystems whose names are lower case
_SAYS_NOTHING: Final = {"maven": ("type=jar",)}  # qualifiers that say what is so without them
_ASCII: Final = re.compile("[!-~]+")


@lru_cache(SPELLINGS_KNOWN.value)
def canonical(written: str) -> str:
    """`written` as the log spells it, with its version if it has one; "" for what cannot be written so."""
    try:
        return str(_read(written))
    except (Malformed, ValueError, UnicodeError):
        return ""


def narrowed(written: str) -> bool:
    """Whether a purl names less than its version, or another registry's: one file, a classifier, a platform."""
    front, _, subpath = written.partition("#")
    rest, _, qualifiers = front.partition("?")
    if subpath:
        return True
    kind = rest.partition(":")[2].lstrip("/").partition("/")[0].lower()
    return any(
        pair and pair.lower() not in _SAYS_NOTHING.get(kind, ()) and not _in_name(kind, pair)
        for pair in qualifiers.split("&")
    )


def _in_name(kind: str, pair: str) -> bool:
    """Conan's user and channel stand in the name that the log has."""
    return kind == "conan" and pair.partition("=")[0].lower() in ("user", "channel")


def ours(purl: str) -> bool:
    """Whether a canonical purl is of an ecosystem that the network knows."""
    return not strange(purl)


def spelled(kind: str, namespace: str, name: str, version: str = "") -> str:
    """A purl of parts as an ecosystem's people write them.

    Raises:
        Malformed: they are no package of that ecosystem.
    """
    return str(_checked(kind, namespace, name, version))


def _read(written: str) -> Purl:
    """Source: the purl specification, "parsing": from the right, since what stands there may hold anything."""
    if len(written) > MAX_WRITTEN_CHARS:
        raise Malformed("a purl of more characters than any")
    rest, _, qualifiers = written.partition("#")[0].partition("?")
    scheme, _, path = rest.partition(":")
    kind, _, path = path.lstrip("/").partition("/")
    if scheme.lower() != "pkg" or not path:
        raise Malformed("a purl starts with pkg: and a type")
    names, at, version = path.rpartition("@")
    if not at or not names or "/" in version:  # @scope/name of npm, written without its code
        names, version = path, ""
    parts = [unquote(part, errors="strict") for part in names.strip("/").split("/") if part]
    kind = kind.lower()
    if kind == "conan":
        parts = _conan(parts, qualifiers)
    return _checked(kind, "/".join(parts[:-1]), parts[-1] if parts else "", unquote(version, errors="strict"))


def _conan(parts: list[str], qualifiers: str) -> list[str]:
    """The specification puts a package's user and channel in qualifiers, the log before its name."""
    said = parse_qs(qualifiers, max_num_fields=32)
    user, channel = (said.get(one, [""])[0] for one in ("user", "channel"))
    return [part for part in (user, channel, *parts[-1:]) if part] if user else parts


def _checked(kind: str, namespace: str, name: str, version: str) -> Purl:
    if kind == "pypi":
        name, version = pypi_name(name), _pypi_version(version)
    elif kind in _LOWER:
        namespace, name = _lower(namespace), _lower(name)
        version = _lower(version) if kind == "conan" else version
    if not all(_ASCII.fullmatch(part) for part in (namespace, name, version) if part) or not name:
        raise Malformed("a name or a version that is empty, or not printable ASCII")
    return parse(str(Purl(kind, namespace, name, version)))


def _lower(text: str) -> str:
    """Only ASCII: another alphabet's letter must not become one of ours."""
    return text.lower() if text.isascii() else text


def _pypi_version(version: str) -> str:
    try:
        return str(Version(version)) if version and version.isascii() else version
    except InvalidVersion:
        return version
