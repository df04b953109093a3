"""What became of each record of a document: counted, and the first of each sort kept to be shown. No decisions."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from pyrsia.units import Limit
from pyrsia.wire.text import safe

MAX_REFUSED_SHOWN = Limit(100, "refused records that are named; a page that people read, the rest is counted")
MAX_REASONS = Limit(200, "sorts of what was left out: there are some fifty ecosystems; more are one sort")
MAX_NAME_CHARS = Limit(200, "of a record's file or id in a sentence: the longest of real ones have 120")
MANY: Final = "other reasons"

OUTCOMES: Final = ("added", "changed", "same", "older", "withdrawn")


@dataclass(slots=True)
class Tally:
    """Of one import.

    Attributes:
        records: that were read, whatever became of them.
        outcomes: of facts, by `OUTCOMES`.
        skipped: what an import leaves out on purpose, by reason: parts of records too.
        noted: what was changed on the way, by reason.
        refused: that nothing was said of, because they are wrong or the node said no.
        shown: the first of those: (where, why).
    """

    records: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    shown: list[tuple[str, str]] = field(default_factory=list)

    def skip(self, reason: str) -> None:
        _count(self.skipped, reason)

    def note(self, reason: str) -> None:
        _count(self.noted, reason)

    def refuse(self, where: str, why: str) -> None:
        self.refused += 1
        if len(self.shown) < MAX_REFUSED_SHOWN.value:
            self.shown.append((shown(where), safe(why)))

    def as_dict(self) -> dict[str, Any]:
        """For scripts: the same on every run over the same records."""
        return {
            "records": self.records,
            **{name: self.outcomes[name] for name in OUTCOMES},
            "skipped": dict(sorted(self.skipped.items())),
            "noted": dict(sorted(self.noted.items())),
            "refused": self.refused,
            "refusals": [{"where": where, "why": why} for where, why in self.shown],
        }


def _count(counter: Counter[str], reason: str) -> None:
    reason = safe(reason)
    if reason not in counter and len(counter) >= MAX_REASONS.value:
        reason = MANY
    counter[reason] += 1


def shown(name: str) -> str:
    """A stranger's name as it may stand in a sentence."""
    most = MAX_NAME_CHARS.value
    return safe(name if len(name) <= most else name[: most - 1] + "\u2026")
