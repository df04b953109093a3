"""OpenVEX: statements on whether a weakness affects products.

Source: OpenVEX specification 0.2.0; docs/knowledge.md, "Importing".
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from pyrsia.consumers.documents.reading import text

CONTEXT: Final = "openvex.dev/ns"
OUTCOMES: Final = {
    "affected": "affected",
    "fixed": "fixed",
    "not_affected": "not-affected",
    "under_investigation": "under-investigation",
}
JUSTIFICATIONS: Final = {
    "component_not_present": "component-not-present",
    "inline_mitigations_already_exist": "inline-mitigations-already-exist",
    "vulnerable_code_cannot_be_controlled_by_adversary": "vulnerable-code-cannot-be-controlled-by-adversary",
    "vulnerable_code_not_in_execute_path": "vulnerable-code-not-in-execute-path",
    "vulnerable_code_not_present": "vulnerable-code-not-present",
}


class Statement(msgspec.Struct):
    """Version 0.0.1 named weakness and products by a text, later ones by an object; a text is read as well."""

    vulnerability: Any = None
    status: Any = ""
    products: list[Any] | None = None
    justification: Any = ""
    timestamp: Any = ""
    impact: Any = msgspec.field(name="impact_statement", default="")
    action: Any = msgspec.field(name="action_statement", default="")
    notes: Any = msgspec.field(name="status_notes", default="")


class Vex(msgspec.Struct):
    context: Any = msgspec.field(name="@context", default="")
    timestamp: Any = ""
    statements: list[Statement] | None = None


def weakness(one: Statement) -> str:
    """Its name; "" where there is none."""
    said = one.vulnerability
    return text(said) or (text(said.get("name")) or text(said.get("@id")) if isinstance(said, dict) else "")


def products(one: Statement) -> Iterator[str]:
    """What each product is called: its purl if it has one."""
    for product in one.products or ():
        if isinstance(product, str):
            yield product
        elif isinstance(product, dict):
            ids = product.get("identifiers")
            yield text(ids.get("purl") if isinstance(ids, dict) else "") or text(product.get("@id"))
        else:
            yield ""


def words(one: Statement) -> str:
    """For people: the first that it has."""
    return next((said for said in map(text, (one.impact, one.action, one.notes)) if said), "")
