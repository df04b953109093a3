"""Between a package's purl and what its ecosystem calls it, and the name that a result may stand under.

Source: docs/builds.md, "Ask for somebody else's package"; docs/ledger.md, "Leaves".
"""

from typing import Final

from pyrsia.errors import Malformed, Refusal
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import GENERIC, Purl, pypi_name

# plug-in -> purl type
TYPES: Final = {"pip": "pypi", "maven": "maven", "conan": "conan", "oci": "docker"}
_PLUGINS: Final = {kind: plugin for plugin, kind in TYPES.items()}


def own_name(purl: str, node: str) -> str:
    """`purl` as a result of the member `node` alone: `pkg:generic/<node>/<type>[/<namespace>]/<name>@<version>`."""
    found = purls.parse(purl)
    return purl if found.type == GENERIC else str(purls.under(node, found))


def want_of_purl(ecosystem: str, name: str) -> Purl:
    """The versionless purl of what `ecosystem` calls `name`.

    Raises:
        Refusal: `bad-request`: it is no name there.
    """
    kind = TYPES.get(ecosystem)
    if kind is None:
        raise _no_name(f"{ecosystem[:20]} has no names of its own; give a purl")
    namespace, name = _parts(kind, name)
    try:
        return purls.parse(str(Purl(kind, namespace, pypi_name(name) if kind == "pypi" else name, "")))
    except Malformed as error:
        raise _no_name(f"{name[:80]!r} is no {kind} package: {error}") from None


def _parts(kind: str, name: str) -> tuple[str, str]:
    if kind == "maven":
        group, _, artifact = name.partition(":")
        return group, artifact
    namespace, _, last = name.rpartition("/")
    return namespace, last


def coordinates(text: str) -> tuple[str, str, str | None]:
    """(plug-in, name in its words, version or None) of a purl, whose spelling need not be the canonical one.

    Raises:
        Refusal: `bad-request`: it cannot be read, or no plug-in builds its type.
    """
    try:
        found = purls.parse(canonical(text))
    except Malformed as error:
        raise _no_name(f"{text[:120]!r} is not a package URL: {error}") from None
    plugin = _PLUGINS.get(found.type)
    if plugin is None:
        raise _no_name(f"nothing here builds packages of the type {found.type}")
    return plugin, in_words(found), found.version or None


def in_words(purl: Purl) -> str:
    """What its ecosystem calls a package."""
    if not purl.namespace:
        return purl.name
    return f"{purl.namespace}{':' if purl.type == 'maven' else '/'}{purl.name}"


def canonical(text: str) -> str:
    """A pypi purl with its name in normal form; any other as it is."""
    start = "pkg:pypi/"
    if not text.startswith(start):
        return text
    name, at, version = text.removeprefix(start).partition("@")
    return f"{start}{pypi_name(name)}{at}{version}"


def _no_name(what: str) -> Refusal:
    return Refusal(
        "bad-request", what=what, who="your request", do="write pkg:pypi/name@version, or see docs/builds.md"
    )
