"""CycloneDX: the components that a document lists. Version 1.2 to 1.6 have these fields in common, in JSON and XML.

Source: CycloneDX 1.6, bom-1.6.schema.json; docs/knowledge.md, "Importing".
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from pyrsia.consumers.documents.component import Component
from pyrsia.consumers.documents.purls import canonical
from pyrsia.consumers.documents.reading import document, refused, text

FORMAT = "CycloneDX"
_DO: Final = "write it as CycloneDX 1.6 (`cyclonedx convert --output-version v1_6`), or update pyrsia"


class Hash(msgspec.Struct):
    alg: Any = ""
    content: Any = ""


class Named(msgspec.Struct):
    id: Any = ""
    name: Any = ""


class LicenceChoice(msgspec.Struct):
    license: Named | None = None
    expression: Any = ""


class Listed(msgspec.Struct):
    """A component; those that it is made of stand inside."""

    name: Any = ""
    version: Any = ""
    group: Any = ""
    purl: Any = ""
    ref: Any = msgspec.field(name="bom-ref", default="")
    hashes: list[Hash] | None = None
    licenses: list[LicenceChoice] | None = None
    components: "list[Listed] | None" = None


class About(msgspec.Struct):
    component: Listed | None = None


class Bom(msgspec.Struct):
    format: Any = msgspec.field(name="bomFormat", default="")
    version: Any = msgspec.field(name="specVersion", default="")
    metadata: About | None = None
    components: list[Listed] | None = None


def of_json(path: Path, data: bytes | None = None) -> Bom:
    """
    Args:
        data: the document, where it is read already.

    Raises:
        Refusal: `too-large`, `bad-request`.
    """
    found = document(path, Bom, data)
    if found.format != FORMAT:
        raise refused(path, "it is no CycloneDX document in JSON: bomFormat is missing")
    version = text(found.version)
    if version and not version.startswith("1."):
        raise refused(path, f"it is CycloneDX of a version that is not read: {version[:40]}", _DO)
    return found


def components(found: Bom, lines: Mapping[str, int], *, whole: bool = False) -> Iterator[Component]:
    """Every component of the document, those inside others too; what the document is about is none of them.

    Args:
        lines: of purls, as they are written.
        whole: what the document is about as well, and what stands inside that.
    """
    about = found.metadata.component if found.metadata is not None else None
    return (_component(one, lines) for one in listed(found, about if whole else None))


def count(found: Bom) -> int:
    """Of those that `components` gives."""
    return sum(1 for _ in listed(found))


def listed(found: Bom, about: Listed | None = None) -> Iterator[Listed]:
    """In the order of the document, each before what it is made of; `about` before all of them."""
    waiting = list(reversed(found.components or ()))
    if about is not None:
        waiting.append(about)
    while waiting:
        one = waiting.pop()
        yield one
        waiting.extend(reversed(one.components or ()))


def _component(one: Listed, lines: Mapping[str, int]) -> Component:
    group, name, purl = text(one.group), text(one.name), text(one.purl)
    return Component(
        canonical(purl),
        f"{group}/{name}" if group else name,
        text(one.version),
        _sha256(one.hashes or ()),
        _licence(one.licenses or ()),
        text(one.ref),
        lines.get(purl, 0),
    )


def _sha256(hashes: "list[Hash] | tuple[()]") -> str:
    return next((text(one.content).lower() for one in hashes if one.alg == "SHA-256"), "")


def _licence(choices: "list[LicenceChoice] | tuple[()]") -> str:
    """Several licences beside each other all hold, as the schema says."""
    said = [text(one.expression) or (_named(one.license) if one.license else "") for one in choices]
    named = sorted({one for one in said if one})
    if len(named) < 2:
        return "".join(named)
    return " AND ".join(f"({one})" if " " in one else one for one in named)


def _named(one: Named) -> str:
    return text(one.id) or text(one.name)
