"""Packages and files by the names of their ecosystems, as the original's questions and answers had them.

Source: docs/inspect.md, "Names"; the original: `name:tag`, `g:a:v`, files as `name@sha256:...` and `g/a/v/file`.
"""

from typing import Final, NoReturn

from packaging.version import InvalidVersion, Version

from pyrsia.builds.conan import names as conan
from pyrsia.errors import Malformed, Refusal
from pyrsia.serve.desks.inspecting import Package
from pyrsia.serve.oci import names as oci
from pyrsia.serve.oci.errors import Problem
from pyrsia.units import Limit
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl
from pyrsia.wire.text import safe

MAX_CHARS = Limit(400, "an image of 255 characters with a digest behind it")
_SHA256: Final = "sha256:"


def image(text: str) -> Package:
    """`name`, `name:tag` or `name@sha256:...`, by any of the names that clients use for one image.

    Raises:
        Refusal: `bad-request`, as all here.
    """
    name, at, digest = _bounded("image", text).partition("@")
    start = name.rfind("/") + 1
    colon = name.find(":", start)
    tag = name[colon + 1 :] if colon >= 0 else ""
    name = name[:colon] if colon >= 0 else name
    try:
        found = oci.read(name)
        if colon >= 0 and not oci.is_tag(tag):
            _bad("image", text, "its tag is none", "alpine:3.16")
        algorithm, sha256 = oci.digest(digest) if at else ("", "")
    except Problem as problem:
        _bad("image", text, str(problem), "alpine:3.16, or alpine@sha256:...")
    if at and algorithm != "sha256":
        _bad("image", text, "the log knows files by their SHA-256", "alpine@sha256:...")
    if at:
        return Package(found.spellings, frozenset((_SHA256 + sha256,)), sha256)
    return Package(found.spellings, frozenset((tag,)) if tag else frozenset())


def gav(text: str) -> Package:
    """`group:artifact` or `group:artifact:version`."""
    parts = _bounded("gav", text).split(":")
    if len(parts) not in (2, 3) or not all(parts):
        _bad("gav", text, "it is not group:artifact:version", "commons-codec:commons-codec:1.15")
    return _package("gav", text, Purl("maven", parts[0], parts[1], "".join(parts[2:])))


def pip(text: str) -> Package:
    """`name` or `name==version`, both in any spelling of PEP 503 and PEP 440."""
    name, equal, version = (part.strip() for part in _bounded("pip", text).partition("=="))
    if equal:
        try:
            version = str(Version(version))
        except InvalidVersion:
            _bad("pip", text, "its version is none of PEP 440", "idna==3.7")
    if set(name) & set("<>=!~"):
        _bad("pip", text, "one version is named by ==, every version by the name alone", "idna or idna==3.7")
    return _package("pip", text, Purl("pypi", "", purls.pypi_name(name), version))


def conan_ref(text: str) -> Package:
    """`name`, `name/version` or `name/version@user/channel`."""
    reference, _, home = _bounded("conan", text).partition("@")
    name, _, version = reference.partition("/")
    if version.startswith("["):
        _bad(
            "conan",
            text,
            "one version is named as it is, every version by the name alone",
            "zlib or zlib/1.3",
        )
    return _package("conan", text, Purl("conan", home, name, version))


def purl(text: str) -> Package:
    """A package URL, with or without a version."""
    try:
        found = purls.parse(_bounded("purl", text))
    except Malformed as error:
        _bad("purl", text, str(error), "pkg:pypi/idna@3.7")
    return _package("purl", text, found)


def _package(kind: str, text: str, meant: Purl) -> Package:
    try:
        found = purls.parse(str(meant))
    except Malformed as error:
        _bad(kind, text, str(error), "its name as its ecosystem writes it")
    every = purls.spellings(found)
    names = tuple(dict.fromkeys(str(one.versionless) for one in every))
    return Package(names, frozenset(one.version for one in every if one.version))


def package_id(text: str) -> str:
    """What its ecosystem calls a version: `alpine:3.16`, `g:a:v`, `idna==3.7`, `zlib/1.3@user/channel`.

    What stands under a node's own name has that node's id and `/` in front. `text`: a purl of the log.
    """
    found = purls.parse(text)
    own = f"{found.owner}/" if found.owner else ""
    one = found.package
    if one.type == "docker":
        name = oci.shown(str(one))
        return (
            own
            + name
            + (("@" if one.version.startswith(_SHA256) else ":") + one.version if one.version else "")
        )
    if one.type == "maven":
        return own + ":".join(part for part in (one.namespace, one.name, one.version) if part)
    if one.type == "pypi":
        return own + one.name + (f"=={one.version}" if one.version else "")
    if one.type == "conan":
        home = f"@{one.namespace}" if one.namespace else ""
        return own + one.name + (f"/{one.version}" if one.version else "") + home
    return text


def artifact_id(text: str, file: str, sha256: str) -> str:
    """What its ecosystem calls one file of a version: an image's by digest, others by the path in a repository."""
    found = purls.parse(text)
    own = f"{found.owner}/" if found.owner else ""
    one = found.package
    if one.type == "docker":
        return f"{own}{oci.shown(str(one.versionless))}@{_SHA256}{sha256}"
    if one.type == "maven":
        return f"{own}{one.namespace.replace('.', '/')}/{one.name}/{one.version}/{file}"
    if one.type == "conan":
        ref = conan.Ref(one.name, one.version, *(one.namespace.split("/") if one.namespace else ()))
        return f"{own}{ref}/{file}"
    return f"{own}{one.name}/{one.version}/{file}"


def _bounded(kind: str, text: str) -> str:
    if not 1 <= len(text) <= MAX_CHARS.value:
        _bad(kind, text[:40], f"it has 1 to {MAX_CHARS.value} characters", "a shorter one")
    return text


def _bad(kind: str, text: str, why: str, do: str) -> NoReturn:
    raise Refusal(
        "bad-request",
        what=f"the parameter `{kind}` is not understood: {safe(text[:120])!r}: {why}",
        who="the client's request",
        do=f"write {do}",
    )
