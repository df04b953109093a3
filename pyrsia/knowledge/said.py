"""A fact of the log as its reader meets it. No decisions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from pyrsia.ledger import glance

ADVISORY: Final = "advisory"
VEX: Final = "vex"
LICENCE: Final = "licence"
SBOM: Final = "sbom"
DESCRIPTION: Final = "description"

FACT: Final = "fact.add"


@dataclass(frozen=True, slots=True)
class Said:
    """One `fact.add`.

    Attributes:
        leaf: its index in the log: what stands in the first `size` leaves is what has `leaf < size`.
        time_ms: block time; 0 where its reader did not ask.
        id: entry id in hex, by which a later fact supersedes it.
        author: node id in base32.
        body: as the log holds it (`ledger.bodies.facts`).
    """

    leaf: int
    time_ms: int
    id: str
    author: str
    body: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return str(self.body["kind"])

    @property
    def subject(self) -> str:
        return str(self.body["subject"])

    @property
    def supersedes(self) -> str:
        return str(self.body.get("supersedes", ""))

    @property
    def is_withdrawal(self) -> bool:
        """Whether it only takes an earlier one back."""
        return "withdrawn" in self.body


_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode  # of the log's own bytes: their form was checked


def said(leaf: int, raw: bytes, entry_id: str, time_ms: int = 0) -> Said | None:
    """A leaf as a fact; None for a leaf of another type."""
    if glance.kind(raw) != FACT:
        return None
    fields = _decode(raw)
    return Said(leaf, time_ms, entry_id, fields["author"], fields["body"])
