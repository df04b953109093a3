"""What a CycloneDX document says of weaknesses in its components: its VEX.

Source: CycloneDX 1.6, "vulnerabilities"; docs/knowledge.md, "Importing".
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from pyrsia.consumers.documents.cyclonedx import Bom, Listed, listed
from pyrsia.consumers.documents.purls import canonical
from pyrsia.consumers.documents.reading import text

OUTCOMES: Final = {
    "exploitable": "affected",
    "false_positive": "not-affected",
    "in_triage": "under-investigation",
    "not_affected": "not-affected",
    "resolved": "fixed",
    "resolved_with_pedigree": "fixed",
}
# Those that say what a justification of VEX says; that a weakness asks for an environment or an option is none of them.
JUSTIFICATIONS: Final = {
    "code_not_present": "vulnerable-code-not-present",
    "code_not_reachable": "vulnerable-code-not-in-execute-path",
    "protected_at_perimeter": "inline-mitigations-already-exist",
    "protected_at_runtime": "inline-mitigations-already-exist",
    "protected_by_compiler": "inline-mitigations-already-exist",
    "protected_by_mitigating_control": "inline-mitigations-already-exist",
}
_AFFECTED: Final = "affected"  # of a version, where nothing else is said


class Analysis(msgspec.Struct):
    state: Any = ""
    justification: Any = ""
    detail: Any = ""


class Affected(msgspec.Struct):
    ref: Any = ""
    versions: list[Any] | None = None


class Weakness(msgspec.Struct):
    id: Any = ""
    analysis: Analysis | None = None
    affects: list[Affected] | None = None
    updated: Any = ""


class VexBom(Bom, kw_only=True):
    vulnerabilities: list[Weakness] | None = None


def purls_of(found: Bom) -> dict[str, str]:
    """Of the document's components and of what it is about, as they are written, by what the document calls them."""
    about = found.metadata.component if found.metadata is not None else None
    every: list[Listed] = [*([about] if about is not None else []), *listed(found)]
    return {text(one.ref): text(one.purl) for one in every if text(one.ref) and canonical(text(one.purl))}


def meant(one: Weakness, purls: dict[str, str], spell: Callable[[str], str] = canonical) -> Iterator[str]:
    """A purl for each thing that a statement names, "" for what has none; a version of its own replaces the purl's.

    Args:
        spell: a purl as it is written in the one spelling of the log.
    """
    for affected in one.affects or ():
        ref = text(affected.ref)
        purl = spell(purls.get(ref, ref))
        versions = [said for said in affected.versions or () if isinstance(said, dict)]
        if not purl or not versions:
            yield purl
            continue
        for said in versions:
            version = text(said.get("version"))
            # A range, or a version that is said to fare otherwise than the analysis: not one statement any more.
            plain = version and text(said.get("status")) in ("", _AFFECTED)
            yield spell(f"{purl.partition('@')[0]}@{version}") if plain else ""
