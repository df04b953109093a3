"""The table that `pyrsia verify` answers with: one row a file, and one exit code for all of them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyrsia.errors import ANSWERS, Refusal

ACCEPTED: Final = "accepted"
REFUSED: Final = "refused"
NO_PROOF: Final = "no proof"
GENERATED: Final = "generated"  # made here by the installer: nobody could have proven it
SKIPPED: Final = "skipped"  # left out because the command says so


@dataclass(frozen=True, slots=True)
class Row:
    """One file.

    Attributes:
        what: where it is, as people find it.
        package: the purl that it belongs to; "" where nobody owns it.
        outcome: one of the five above.
        verdict: the log's; builders: names of those that agreed.
        why, do: of an outcome that is not `ACCEPTED`.
    """

    what: str
    package: str
    outcome: str
    sha256: str = ""
    verdict: str = ""
    builders: tuple[str, ...] = ()
    why: str = ""
    do: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "file": self.what,
            "package": self.package,
            "outcome": self.outcome,
            "sha256": self.sha256,
            "verdict": self.verdict,
            "builders": list(self.builders),
            "why": self.why,
            "do": self.do,
        }


def of_refusal(what: str, package: str, refusal: Refusal, sha256: str = "") -> Row:
    """The row of a file whose proof was refused, or that has none."""
    outcome = NO_PROOF if ANSWERS[refusal.code].exit == 3 else REFUSED
    return Row(what, package, outcome, sha256, why=refusal.what, do=refusal.do)


def exit_code(rows: Iterable[Row]) -> int:
    """0: all accepted. 1: something was refused. 3: nothing was, and something has no proof, or there was nothing."""
    said = {row.outcome for row in rows}
    if REFUSED in said:
        return 1
    return 3 if NO_PROOF in said or not said else 0


def as_dict(rows: Sequence[Row]) -> dict[str, Any]:
    return {"ok": exit_code(rows) == 0, "counts": _counts(rows), "files": [row.as_dict() for row in rows]}


def _counts(rows: Sequence[Row]) -> dict[str, int]:
    kinds = (ACCEPTED, REFUSED, NO_PROOF, GENERATED, SKIPPED)
    return {kind: sum(1 for row in rows if row.outcome == kind) for kind in kinds}


HEADER: Final = ("file", "package", "verdict", "builders", "outcome", "why")


def cells(rows: Sequence[Row], *, every: bool) -> Iterator[tuple[str, ...]]:
    """The cells: what is not accepted first, then the accepted files of a package in one line unless `every`."""
    bad = [row for row in rows if row.outcome in (REFUSED, NO_PROOF)]
    good = [row for row in rows if row.outcome == ACCEPTED]
    yield from (_cells(row) for row in bad)
    if every:
        yield from (_cells(row) for row in rows if row not in bad)
        return
    for package in dict.fromkeys(row.package for row in good):
        mine = [row for row in good if row.package == package]
        first = mine[0]
        what = first.what if len(mine) == 1 else f"{len(mine)} files"
        yield what, package, first.verdict, _names(first.builders), ACCEPTED, ""


def _cells(row: Row) -> tuple[str, ...]:
    return row.what, row.package, row.verdict, _names(row.builders), row.outcome, row.why


def _names(builders: Sequence[str]) -> str:
    return ", ".join(builders)


def closing_lines(rows: Sequence[Row]) -> Iterator[str]:
    """The sum, and what to do, each advice once."""
    counts = _counts(rows)
    words = {kind: f"{kind} (compared with nothing)" if kind == GENERATED else kind for kind in counts}
    yield ", ".join(f"{count} {words[kind]}" for kind, count in counts.items() if count) or "nothing to check"
    for do in list(dict.fromkeys(row.do for row in rows if row.do and row.outcome in (REFUSED, NO_PROOF)))[
        :5
    ]:
        yield f"  do:  {do}"
