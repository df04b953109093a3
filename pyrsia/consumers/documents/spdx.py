"""SPDX in JSON: the packages that a document lists; 2.2 and 2.3 as one object, 3.0 as a graph of elements.

Source: SPDX 2.3, "Package information"; SPDX 3.0.1, Software profile; docs/knowledge.md, "Importing".
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from pyrsia.consumers.documents.component import Component
from pyrsia.consumers.documents.lines import of_purls
from pyrsia.consumers.documents.purls import canonical
from pyrsia.consumers.documents.reading import document, refused, text
from pyrsia.consumers.documents.reading import whole as read

VERSIONS: Final = ("SPDX-2.2", "SPDX-2.3")
_DO: Final = "write it as SPDX 2.2, 2.3 or 3.0 in JSON (`pyspdxtools --infile FILE --outfile FILE.spdx.json`)"
# What stands around the version in the address of a context.
_CONTEXT: Final = re.compile(r".*spdx\.org/rdf/|/.*", re.DOTALL)
_NOTHING: Final = ("NOASSERTION", "NONE")  # what a tool writes that has not looked, or found nothing


class Checksum(msgspec.Struct):
    algorithm: Any = ""
    value: Any = msgspec.field(name="checksumValue", default="")


class Reference(msgspec.Struct):
    kind: Any = msgspec.field(name="referenceType", default="")
    locator: Any = msgspec.field(name="referenceLocator", default="")


class Package(msgspec.Struct):
    name: Any = ""
    id: Any = msgspec.field(name="SPDXID", default="")
    version: Any = msgspec.field(name="versionInfo", default="")
    concluded: Any = msgspec.field(name="licenseConcluded", default="")
    declared: Any = msgspec.field(name="licenseDeclared", default="")
    references: list[Reference] | None = msgspec.field(name="externalRefs", default=None)
    checksums: list[Checksum] | None = None


class Verified(msgspec.Struct):
    algorithm: Any = ""
    value: Any = msgspec.field(name="hashValue", default="")


class Identifier(msgspec.Struct):
    kind: Any = msgspec.field(name="externalIdentifierType", default="")
    identifier: Any = ""


class Element(msgspec.Struct):
    """Of a graph: packages are some of its elements."""

    type: Any = ""
    id: Any = msgspec.field(name="spdxId", default="")
    name: Any = ""
    version: Any = msgspec.field(name="software_packageVersion", default="")
    url: Any = msgspec.field(name="software_packageUrl", default="")
    identifiers: list[Identifier] | None = msgspec.field(name="externalIdentifier", default=None)
    verified: list[Verified] | None = msgspec.field(name="verifiedUsing", default=None)


class Spdx(msgspec.Struct):
    version: Any = msgspec.field(name="spdxVersion", default="")
    describes: list[Any] | None = msgspec.field(name="documentDescribes", default=None)
    packages: list[Package] | None = None
    graph: list[Element] | None = msgspec.field(name="@graph", default=None)
    context: Any = msgspec.field(name="@context", default="")


def components(path: Path, *, whole: bool = False, data: bytes | None = None) -> Iterator[Component]:
    """Every package of the document; what the document is about is none of them, where it says which that is.

    Args:
        whole: what the document is about as well; of a package with several purls one component for each.
        data: the document, where it is read already.

    Raises:
        Refusal: `too-large`, `bad-request`, before the first is given.
    """
    data = read(path) if data is None else data
    named, lines = _named(document(path, Spdx, data), path, whole=whole), of_purls(data)
    found = (_of(one, lines) for one in named)
    return (one for each in found for one in (each if whole else each[:1]))


def count(path: Path, data: bytes | None = None) -> int:
    """Of those that `components` gives.

    Raises:
        Refusal: as `components`.
    """
    return len(_named(document(path, Spdx, data), path, whole=False))


def _named(found: Spdx, path: Path, *, whole: bool) -> list[Package] | list[Element]:
    if is_graph(found):
        return [one for one in found.graph or () if _is_package(one)]
    if found.version not in VERSIONS:
        said = text(found.version)[:40] or _CONTEXT.sub("", str(found.context)[:200])[:40] or "missing"
        raise refused(path, f"it is SPDX of a version that is not read: {said}", _DO)
    roots = {text(one) for one in found.describes or ()} - {""}
    return [one for one in found.packages or () if whole or text(one.id) not in roots]


def _is_package(one: Element) -> bool:
    """Profiles have types of packages of their own (`ai_AIPackage`), and whatever has a purl is one to us."""
    types = one.type if isinstance(one.type, list) else [one.type]
    return any(text(kind).endswith("Package") for kind in types) or any(_locators(one))


def _locators(one: Element) -> list[str]:
    named = [text(other.identifier) for other in one.identifiers or () if other.kind == "packageUrl"]
    return [text(one.url), *named] if text(one.url) else named


def _of(one: Package | Element, lines: Mapping[str, int]) -> tuple[Component, ...]:
    """A component for each purl of a package, those that can be written first."""
    return _package(one, lines) if isinstance(one, Package) else _element(one, lines)


def is_graph(found: Spdx) -> bool:
    return found.graph is not None and "spdx.org/rdf/3.0" in str(found.context)[:200]


def _package(one: Package, lines: Mapping[str, int]) -> tuple[Component, ...]:
    # A tool may write the type as an address: http://spdx.org/rdf/references/purl
    kinds = ((text(ref.kind).rpartition("/")[2], ref) for ref in one.references or ())
    locators = [text(ref.locator) for kind, ref in kinds if kind == "purl"]
    sums = (text(sum.value).lower() for sum in one.checksums or () if sum.algorithm == "SHA256")
    licences = (text(said) for said in (one.concluded, one.declared))
    licence = next((said for said in licences if said and said not in _NOTHING), "")
    return _each(locators, one, next(sums, ""), licence, lines)


def _each(
    locators: Iterable[str], one: Package | Element, sha256: str, licence: str, lines: Mapping[str, int]
) -> tuple[Component, ...]:
    """One for each purl; one without a purl for all that cannot be written so, and for a package that has none."""
    written: dict[str, str] = {}
    for locator in locators:
        written.setdefault(canonical(locator), locator)
    found = sorted(written.items(), key=lambda pair: not pair[0]) or [("", "")]
    name, version, ref = text(one.name), text(one.version), text(one.id)
    return tuple(
        Component(purl, name, version, sha256, licence, ref, lines.get(locator, 0)) for purl, locator in found
    )


def _element(one: Element, lines: Mapping[str, int]) -> tuple[Component, ...]:
    """A graph says licences by relations between its elements; those are not followed."""
    sums = (text(sum.value).lower() for sum in one.verified or () if sum.algorithm == "sha256")
    return _each(_locators(one), one, next(sums, ""), "", lines)
