"""The report of `audit` for people: findings, the worst first; what policy refuses besides; what nobody looked at."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from pyrsia.cli.log.when import told
from pyrsia.cli.tell import table
from pyrsia.consumers.auditing.as_json import counts
from pyrsia.consumers.auditing.components import Left, Place
from pyrsia.consumers.auditing.findings import Finding, Report, shown
from pyrsia.knowledge.severities import WORDS
from pyrsia.ledger.standing import DISPUTED, WITHDRAWN
from pyrsia.serve.desks.knowing import AuditRow

HEADER: Final = ("PACKAGE", "VERSION", "ADVISORY", "SEVERITY", "FIXED IN", "POLICY", "WHERE")
_WHY: Final = {
    WITHDRAWN: "`pyrsia package show` has the reason",
    DISPUTED: "builders no longer agree on what its source makes",
}
_WIDE: Final = 60  # columns of a cell; whole texts are in JSON
_MOST: Final = 12  # lines of one kind below the table; JSON has all


def lines(report: Report) -> Iterator[str]:
    if report.findings:
        yield from table([_cells(one, report) for one in report.findings], HEADER)
        yield ""
    yield from _vex(report)
    yield from _refused(report)
    yield from _some(
        "in the log",
        [_left(f"{one.purl} is {row.status}", _WHY[row.status], one.places) for one, row in report.unwell],
    )
    yield from _some(
        "not audited", [_left(what, why, places) for (what, why), places in _merged(report.left)]
    )
    if len(report.unknown_here) == 1:
        yield f"unknown here: {report.unknown_here[0]}; facts about it count all the same"
    elif report.unknown_here:
        few = ", ".join(report.unknown_here[:3])
        more = ", ..." if len(report.unknown_here) > 3 else ""
        yield f"unknown here: {len(report.unknown_here)} of them ({few}{more}); facts about them count all the same"
    yield from _some("not looked into", report.unseen)
    yield from (f"--ignore {one}: no advisory here has this name" for one in report.unmatched)
    yield from summary(report)


def summary(report: Report) -> Iterator[str]:
    """The last lines: how many, as of when, and what the exit code says."""
    number = counts(report)
    by_word = [f"{number['findings'][word]} {word}" for word in (*reversed(WORDS), "unknown")
               if word in number["findings"]]  # fmt: skip
    found = f"{len(report.findings):,} advisories ({', '.join(by_word)})" if by_word else "no advisory"
    if len(report.findings) == 1:
        found = f"1 advisory ({by_word[0].removeprefix('1 ')})"
    when = told(report.answered.time_ms)
    at = f" at size {report.answered.size} of the log" + (f", {when} UTC" if when != "-" else "")
    at = at if report.answered.size >= 0 else ""  # nothing was asked about
    audited = f"{_versions(number['audited'])} audited{at}: {found}"
    audited = audited if number["audited"] else "nothing audited"
    unwell = f", and {len(report.unwell)} withdrawn or disputed" if report.unwell else ""
    yield audited + unwell + (f"; {number['not_audited']} not audited" if number["not_audited"] else "")
    if report.exit == 1:
        yield f"{number['counted']} at or above {report.fail_on}: failed"
    elif report.why_unknown:
        yield f"no answer: {report.why_unknown}"
    elif report.findings and report.fail_on != "none":
        yield f"none that counts is at or above {report.fail_on}"


def _versions(count: int) -> str:
    return f"{count} version{'' if count == 1 else 's'}"


def _cells(one: Finding, report: Report) -> tuple[str, ...]:
    package, version = shown(one.component.purl)
    others = f" ({', '.join(one.aliases)})" if one.aliases else ""
    perhaps = "" if any(said.sure for said in one.said) else " (perhaps)"
    severity = f"{one.severity}{perhaps}"
    policy = one.lifted or _policy(one.row)
    cells = (package, version, f"{one.id}{others}", severity, ", ".join(one.fixed) or "-", policy)
    return (*map(_cut, cells), _where(one.component.places))


def _where(places: Sequence[Place]) -> str:
    """The first of them, by its end: that is where the file's name and the line stand."""
    first = str(places[0]) or "-"
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    return (first if len(first) <= _WIDE else f"...{first[3 - _WIDE :]}") + more


def _policy(row: AuditRow) -> str:
    if row.allowed is None:
        return "-"
    return "allowed" if row.allowed else f"REFUSED: {_against(row)}"


def _against(row: AuditRow) -> str:
    return "; ".join(one.what for one in row.reasons if not one.allows) or "it says no reason"


def _vex(report: Report) -> Iterator[str]:
    said = [
        f"VEX of {one.id}, {one.component.purl}: {issuer[:8]} says {outcome}"
        for one in report.findings
        for issuer, outcome in one.vex
    ]
    yield from said[:_MOST]
    if len(said) > _MOST:
        yield f"VEX: {len(said) - _MOST} more"


def _refused(report: Report) -> Iterator[str]:
    """What policy refuses without an advisory: rows of the table tell the others."""
    told_above = {one.component.purl for one in report.findings}
    said = [f"{one.purl}: {_against(row)}" for one, row in report.refused if one.purl not in told_above]
    yield from _some("refused by policy", said)


def _merged(left: Iterable[Left]) -> list[tuple[tuple[str, str], list[Place]]]:
    found: dict[tuple[str, str], list[Place]] = {}
    for one in left:
        found.setdefault((one.what, one.why), []).append(one.place)
    return list(found.items())


def _left(what: str, why: str, places: Sequence[Place]) -> str:
    where = str(places[0]) + (f" and {len(places) - 1} more" if len(places) > 1 else "")
    return f"{what}: {why}" + (f" ({where})" if where else "")


def _some(head: str, said: Sequence[str]) -> Iterator[str]:
    for one in said[:_MOST]:
        yield f"{head}: {one}"
    if len(said) > _MOST:
        yield f"{head}: {len(said) - _MOST} more, all in --format json"


def _cut(cell: str) -> str:
    return cell if len(cell) <= _WIDE else f"{cell[: _WIDE - 3]}..."
