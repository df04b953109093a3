"""Which format an SBOM has, and its components by that."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from pyrsia.consumers.documents import bomxml, cyclonedx, spdx
from pyrsia.consumers.documents.component import Component
from pyrsia.consumers.documents.lines import of_purls
from pyrsia.consumers.documents.reading import document, refused
from pyrsia.consumers.documents.reading import whole as read
from pyrsia.errors import Malformed

CYCLONEDX: Final = "cyclonedx"
SPDX: Final = "spdx"

_SPDX_TEXT: Final = re.compile(rb"^(?:SPDXVersion|spdxVersion)[ \t]*:", re.MULTILINE)
_HEAD_BYTES: Final = 4_096
_JSON: Final = "write it as JSON (`pyspdxtools --infile FILE --outfile FILE.spdx.json`)"


class _Marks(msgspec.Struct):
    """What tells the formats apart."""

    bom: Any = msgspec.field(name="bomFormat", default="")
    spdx: Any = msgspec.field(name="spdxVersion", default="")
    context: Any = msgspec.field(name="@context", default="")


def looks_like_spdx_text(data: bytes) -> bool:
    """Whether it is SPDX as tags or YAML, which are not read: better said than guessed about."""
    return _SPDX_TEXT.search(data[:_HEAD_BYTES]) is not None


def format_of(path: Path, data: bytes | None = None) -> str:
    """`cyclonedx` or `spdx`.

    Args:
        data: the document, where it is read already.

    Raises:
        Refusal: `too-large`, `bad-request` for neither.
    """
    data = read(path) if data is None else data
    root = bomxml.root(data)
    if root == "bom":
        return CYCLONEDX
    if root == "RDF" or looks_like_spdx_text(data):
        raise refused(path, "it is SPDX, but not in JSON", _JSON)
    if root:
        raise refused(path, f"its root is {root[:40]!r}, and CycloneDX has 'bom'")
    marks = document(path, _Marks, data)
    if marks.bom == cyclonedx.FORMAT:
        return CYCLONEDX
    if marks.spdx or "spdx.org/rdf" in str(marks.context)[:200]:
        return SPDX
    raise refused(path, "it is neither CycloneDX nor SPDX in JSON")


def components(path: Path, *, whole: bool = False, data: bytes | None = None) -> Iterator[Component]:
    """Of either format.

    Args:
        whole: every package that the document names, with every purl that it has: also what the document is about.
        data: the document, where it is read already.

    Raises:
        Refusal: as `format_of`.
    """
    data = read(path) if data is None else data
    if format_of(path, data) == SPDX:
        return spdx.components(path, whole=whole, data=data)
    if bomxml.root(data):
        return cyclonedx.components(*_xml(path, data), whole=whole)
    return cyclonedx.components(cyclonedx.of_json(path, data), of_purls(data), whole=whole)


def described(path: Path) -> tuple[str, int]:
    """Its format, and how many components it lists: read whole, but no purl of it is spelled.

    Raises:
        Refusal: as `format_of`.
    """
    data = read(path)
    form = format_of(path, data)
    if form == SPDX:
        return form, spdx.count(path, data)
    found = _xml(path, data)[0] if bomxml.root(data) else cyclonedx.of_json(path, data)
    return form, cyclonedx.count(found)


def _xml(path: Path, data: bytes) -> tuple[cyclonedx.Bom, dict[str, int]]:
    try:
        return bomxml.read(data)
    except Malformed as error:
        raise refused(path, str(error)) from None
