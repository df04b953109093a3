"""Which format an SBOM has, and its components by that."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from pyrsia.consumers.documents import cyclonedx, spdx
from pyrsia.consumers.documents.component import Component
from pyrsia.consumers.documents.reading import document, refused

CYCLONEDX: Final = "cyclonedx"
SPDX: Final = "spdx"


class _Marks(msgspec.Struct):
    """What tells the formats apart."""

    bom: Any = msgspec.field(name="bomFormat", default="")
    spdx: Any = msgspec.field(name="spdxVersion", default="")
    context: Any = msgspec.field(name="@context", default="")


def format_of(path: Path) -> str:
    """`cyclonedx` or `spdx`.

    Raises:
        Refusal: `too-large`, `bad-request` for neither.
    """
    marks = document(path, _Marks)
    if marks.bom == cyclonedx.FORMAT:
        return CYCLONEDX
    if marks.spdx or "spdx.org/rdf" in str(marks.context)[:200]:
        return SPDX
    raise refused(path, "it is neither CycloneDX nor SPDX in JSON")


def components(path: Path, *, whole: bool = False) -> Iterator[Component]:
    """Of either format.

    Args:
        whole: every package that the document names, with every purl that it has: also what the document is about.

    Raises:
        Refusal: as `format_of`.
    """
    if format_of(path) == CYCLONEDX:
        return cyclonedx.components(path, whole=whole)
    return spdx.components(path, whole=whole)


def described(path: Path) -> tuple[str, int]:
    """Its format, and how many components it lists: read whole, but no purl of it is spelled.

    Raises:
        Refusal: as `format_of`.
    """
    form = format_of(path)
    return form, cyclonedx.count(path) if form == CYCLONEDX else spdx.count(path)
