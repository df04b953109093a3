"""Package URLs by a grammar of our own: ASCII, one spelling for each package.

`pkg:type/namespace/name@version`. Accepts only the canonical spelling, so that equal purls are equal
text and agreement needs no purl, version or Unicode library. Qualifiers and subpaths are
left out: what shapes an output stands in the recipe and the target. By type:

- `pypi`: no namespace; the name is normalised as PEP 503 says, the version is in PEP 440's normal form.
- `maven`: `group/artifact`, letters as they are: Maven tells case apart.
- `conan`: `name`, or `user/name`, or `user/channel/name`, in lower case as Conan 2 asks.
- `docker`: `[namespace/...]name`, and a tag or `sha256:` with a digest as the version.
- `generic`: `NodeId/type[/namespace]/name`, what a node built under its own name (`under`); others as they are.
"""

import re
import string
from dataclasses import dataclass, replace
from typing import Final

from pyrsia.errors import Malformed
from pyrsia.wire.text import unb32

MAX_PURL_CHARS: Final = 300  # a registry's longest names are about 200 characters
MAX_ZEROS: Final = 6  # numbers that a release is written out to, where people differ in zeros at its end

_TYPE: Final = re.compile("[a-z][a-z0-9.+-]{0,31}")
# One path segment: unreserved characters as they are, other printable ASCII as upper-case percent codes.
_SEGMENT: Final = re.compile("(?:[A-Za-z0-9._~:-]|%[2-7][0-9A-F])+")
_CODE: Final = re.compile("%([0-9A-F]{2})")
_ALL_PLAIN: Final = re.compile("[A-Za-z0-9._~:-]*")
_PLAIN: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:-")
_PYPI_NAME: Final = re.compile("[a-z0-9]+(?:-[a-z0-9]+)*")
_RUNS: Final = re.compile(r"[-_.]+")
_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_N: Final = "(?:0|[1-9][0-9]*)"
_PYPI_VERSION: Final = re.compile(
    rf"(?:[1-9][0-9]*!)?{_N}(?:\.{_N})*(?:(?:a|b|rc){_N})?(?:\.post{_N})?(?:\.dev{_N})?"
    r"(?:\+[a-z0-9]+(?:\.[a-z0-9]+)*)?"
)
_PYPI_RELEASE: Final = re.compile(rf"(?:[1-9][0-9]*!)?{_N}(?:\.{_N})*")
_MAVEN: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_MAVEN_VERSION: Final = re.compile("[A-Za-z0-9][A-Za-z0-9._+~-]*")
_CONAN: Final = re.compile("[a-z0-9_][a-z0-9_+.-]{1,100}")
_CONAN_VERSION: Final = re.compile("[a-z0-9_][a-z0-9_+.-]{0,100}")
_DOCKER: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_OFFICIAL: Final = "library"
_DOCKER_VERSION: Final = re.compile("[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|sha256:[0-9a-f]{64}")

GENERIC: Final = "generic"
BUILT: Final = ("conan", "docker", "maven", "pypi")  # types of what is built, and what `under` takes


@dataclass(frozen=True, slots=True)
class Purl:
    """A package, or one version of it: `namespace` (segments joined by `/`) and `version` may be empty."""

    type: str
    namespace: str
    name: str
    version: str

    def __str__(self) -> str:
        path = "".join(_written(part) + "/" for part in self.namespace.split("/")) if self.namespace else ""
        version = "@" + _written(self.version) if self.version else ""
        return f"pkg:{self.type}/{path}{_written(self.name)}{version}"

    @property
    def versionless(self) -> "Purl":
        return Purl(self.type, self.namespace, self.name, "")

    @property
    def owner(self) -> str:
        """Node id text of the node under whose own name it stands, else an empty text (see `under`)."""
        owner, _, rest = self.namespace.partition("/")
        if self.type != GENERIC or rest.partition("/")[0] not in BUILT:
            return ""
        try:
            unb32(owner)
        except Malformed:
            return ""
        return owner

    @property
    def package(self) -> "Purl":
        """As its ecosystem names it: itself, or what stands under a node's own name."""
        if not self.owner:
            return self
        _, kind, *rest = self.namespace.split("/")
        return Purl(kind, "/".join(rest), self.name, self.version)


def under(owner: str, package: Purl) -> Purl:
    """`package` under a node's own name: what that node claims, and nobody else vouches for.

    Args:
        owner: node id text.
        package: of one of the types in `BUILT`.
    """
    path = (owner, package.type, package.namespace) if package.namespace else (owner, package.type)
    return Purl(GENERIC, "/".join(path), package.name, package.version)


def pypi_name(name: str) -> str:
    """The one spelling of a project's name: lower case, each run of `-`, `_` and `.` one hyphen (PEP 503).

    Only ASCII changes: a letter that merely lower-cases into ASCII (the Kelvin sign) must not become
    another project's name. Whether the result is a name at all is the caller's question.
    """
    return _RUNS.sub("-", name).translate(_LOWER)


def pypi_version(version: str) -> str:
    """A version in normal form without the zeros at the end of its release: equal for what is one version.

    PEP 440 compares 1.0 and 1.0.0 as equal, so pip takes a file of the one where the other was asked for.
    """
    found = _PYPI_RELEASE.match(version)
    release = found[0] if found is not None else ""
    short = release
    while short.endswith(".0"):
        short = short[:-2]
    return short + version[len(release) :]


def spellings(purl: Purl) -> tuple[Purl, ...]:
    """Every purl by which a client may mean this one, itself first; of zeros at a version's end some.

    An official image of Docker Hub is `alpine` and `library/alpine`; a Python version is 1.0 and 1.0.0.
    """
    if purl.type == "docker" and purl.namespace in ("", _OFFICIAL):
        return purl, replace(purl, namespace="" if purl.namespace else _OFFICIAL)
    if purl.type != "pypi" or not purl.version:
        return (purl,)
    short = pypi_version(purl.version)
    found = _PYPI_RELEASE.match(short)
    release = found[0] if found is not None else ""
    missing = range(max(0, MAX_ZEROS - release.count(".")))
    others = (f"{release}{'.0' * zeros}{short[len(release) :]}" for zeros in missing) if release else ()
    return purl, *(replace(purl, version=one) for one in others if one != purl.version)


def parse(text: str) -> Purl:
    """The package that `text` names.

    Raises:
        Malformed: not a purl, or not its canonical spelling.
    """
    if len(text) > MAX_PURL_CHARS:
        raise Malformed(f"a purl of {len(text)} characters, {MAX_PURL_CHARS} are allowed")
    if not text.startswith("pkg:"):
        raise Malformed("a purl starts with pkg:")
    path, _, version = text[4:].partition("@")
    segments = path.split("/")
    if len(segments) < 2 or _TYPE.fullmatch(segments[0]) is None:
        raise Malformed("a purl has a lower-case type and a name")
    names = [_read(segment) for segment in segments[1:]]
    purl = Purl(segments[0], "/".join(names[:-1]), names[-1], _read(version) if "@" in text else "")
    check = _CHECKS.get(purl.package.type)
    if check is not None:
        check(purl.package)
    if str(purl) != text:
        raise Malformed("not the canonical spelling of this purl")
    return purl


def _check_pypi(purl: Purl) -> None:
    if purl.namespace:
        raise Malformed("a pypi purl has no namespace")
    if _PYPI_NAME.fullmatch(purl.name) is None:
        raise Malformed("a pypi name is not normalised")
    if purl.version and _PYPI_VERSION.fullmatch(purl.version) is None:
        raise Malformed("a pypi version is not in normal form")


def _check_maven(purl: Purl) -> None:
    """Group and artifact as Maven's own tools take them; none could leave the folders of a repository."""
    if _MAVEN.fullmatch(purl.namespace) is None or _MAVEN.fullmatch(purl.name) is None:
        raise Malformed("a maven purl is group/artifact, of letters, digits, `.`, `_` and `-`")
    if purl.version and _MAVEN_VERSION.fullmatch(purl.version) is None:
        raise Malformed("not a maven version")


def _check_conan(purl: Purl) -> None:
    """Source: Conan 2, names of recipes."""
    parts = purl.namespace.split("/") if purl.namespace else []
    if len(parts) > 2 or any(_CONAN.fullmatch(part) is None for part in (*parts, purl.name)):
        raise Malformed("a conan purl is [user/[channel/]]name, in lower case")
    if purl.version and _CONAN_VERSION.fullmatch(purl.version) is None:
        raise Malformed("not a conan version")


def _check_docker(purl: Purl) -> None:
    """Source: the OCI distribution specification, names and tags."""
    parts = purl.namespace.split("/") if purl.namespace else []
    if any(_DOCKER.fullmatch(part) is None for part in (*parts, purl.name)):
        raise Malformed("a docker purl is [namespace/]name, in lower case")
    if purl.version and _DOCKER_VERSION.fullmatch(purl.version) is None:
        raise Malformed("neither a tag nor a digest")


_CHECKS: Final = {
    "conan": _check_conan,
    "docker": _check_docker,
    "maven": _check_maven,
    "pypi": _check_pypi,
}


def _read(segment: str) -> str:
    if _SEGMENT.fullmatch(segment) is None:
        raise Malformed("a purl segment is empty or holds a character that must be percent-encoded")
    plain = _CODE.sub(lambda code: chr(int(code.group(1), 16)), segment)
    if plain in (".", "..") or "/" in plain or "\x7f" in plain or " " in plain:
        raise Malformed("a purl segment that is no name")
    return plain


def _written(part: str) -> str:
    if _ALL_PLAIN.fullmatch(part) is not None:  # nearly every name there is
        return part
    return "".join(char if char in _PLAIN else f"%{ord(char):02X}" for char in part)
