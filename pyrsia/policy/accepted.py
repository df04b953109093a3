"""An advisory that a user lives with for a while: which one, until when, why, and for which packages.

Source: docs/policy.md, "Living with an advisory".
"""

from datetime import UTC, date, datetime
from typing import Annotated, Any, Final

import msgspec

from pyrsia.ledger.matching import PurlGlob

EVERY: Final = ("*",)
_UPPER: Final = frozenset(("CVE", "GHSA", "PYSEC", "OSV"))  # databases whose ids begin so
DAY_MS: Final = 86_400_000
_LAST_MS: Final = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp()) * 1_000


class Accept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As policy.toml says it.

    Attributes:
        advisory: its id or one of its aliases, as its database writes it.
        until: the last day (UTC) on which it is accepted.
        packages: patterns of purls; left out, every package.
    """

    advisory: Annotated[str, msgspec.Meta(pattern=r"\A[!-~]{1,64}\Z")]
    until: date
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"\S")]
    packages: Annotated[
        tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=300)], ...],
        msgspec.Meta(min_length=1, max_length=100),
    ] = EVERY

    def as_dict(self) -> dict[str, Any]:
        """As policy.toml would say it."""
        found = {"advisory": self.advisory, "until": self.until, "reason": self.reason}
        return found if self.packages == EVERY else {**found, "packages": self.packages}


class Acceptance(msgspec.Struct, frozen=True):
    """The same, ready to be asked. `ends_ms`: from this moment on it counts no more."""

    said: Accept
    globs: tuple[PurlGlob, ...]
    ends_ms: int

    def means_package(self, purl: str) -> bool:
        """Whether it speaks of this package, exactly as it is written."""
        return any(glob.matches(purl) for glob in self.globs)


def never_named(advisory: str) -> str:
    """Why no database names an advisory so, and nothing would be accepted; "" where one may."""
    if "*" in advisory or "?" in advisory:
        return "an advisory is accepted by its whole id, no pattern"
    database, _, _ = advisory.partition("-")
    if database.upper() in _UPPER and database != database.upper():
        return f"its database writes {database.upper()}-..., and ids are compared as they are written"
    return ""


def ends_ms(until: date) -> int:
    """When the day is over in UTC; year 9999 ends with its last day's beginning, which nobody here sees."""
    begins = int(datetime(until.year, until.month, until.day, tzinfo=UTC).timestamp()) * 1_000
    return min(begins + DAY_MS, _LAST_MS)
