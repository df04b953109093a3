"""The report as SARIF 2.1.0, as code scanning takes it: a rule an advisory, a result each place that names it.

All text comes from others: what moves or hides output is written out, and what a reader of messages would take for a
link or a placeholder is marked as mere text. A run has no more results, and rules, than code scanning takes: the worst.

Source: OASIS SARIF 2.1.0, 3.11 to 3.59; GitHub, "SARIF support for code scanning" (`security-severity`, "Limits").
"""

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

from pyrsia import __version__
from pyrsia.consumers.auditing.components import Component
from pyrsia.consumers.auditing.findings import Finding, Report, shown
from pyrsia.knowledge.severities import UNKNOWN, rank
from pyrsia.ledger.standing import DISPUTED, WITHDRAWN
from pyrsia.units import Limit
from pyrsia.wire.text import safe

MAX_RESULTS = Limit(
    25_000, "results of one run: GitHub refuses a file with more, and reads no more rules either"
)
SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"

LEVELS: Final = {"critical": "error", "high": "error", "medium": "warning", "low": "note", "none": "note"}
_LEVEL_UNKNOWN: Final = "error"  # it may be the worst
# Scores in the middle of what CVSS calls by these words: readers of SARIF sort by numbers.
_SCORES: Final = {
    "critical": "9.5",
    "high": "8.0",
    "medium": "5.5",
    "low": "2.0",
    "none": "0.0",
    UNKNOWN: "9.5",
}
_AS_BAD: Final = "medium"  # as what the log says of a version counts beside advisories: both are warnings
_OURS: Final = "pyrsia/"  # how the rules below begin, and no advisory's
# What the log says of a version beside advisories -> the rule's name and its words.
_STATUSES: Final = {
    WITHDRAWN: ("pyrsia/withdrawn", "its maintainer or the network's members withdrew it"),
    DISPUTED: ("pyrsia/disputed", "builders no longer agree on what its source makes"),
}
_MOST_NAMES: Final = 20  # parts of a document that one result names
_MOST_TEXT: Final = 1_000  # of one message; GitHub shows as much
# 3.11.5: braces hold placeholders, a literal one is doubled; 3.11.6: `[text](target)` is a link, a backslash escapes.
_LITERALS: Final = {"\\": "\\\\", "[": "\\[", "]": "\\]", "{": "{{", "}": "}}"}


def document(report: Report, here: str = "") -> dict[str, Any]:
    """One run. What nothing is known of is told as notifications of its invocation.

    Args:
        here: the folder that paths below it are told from, so that they are the same wherever a project lies.
    """
    rows, left_out = _rows(report, here)
    rules = _rules(rows)
    places = {name: at for at, name in enumerate(rules)}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "pyrsia audit",
                        "version": __version__,
                        "semanticVersion": __version__,
                        "rules": list(rules.values()),
                    }
                },
                "columnKind": "unicodeCodePoints",
                "invocations": [
                    {
                        "executionSuccessful": not report.why_unknown,
                        "exitCode": report.exit,
                        "toolExecutionNotifications": _notifications(report, left_out),
                    }
                ],
                "results": [_result(row, places[row.rule]) for row in rows],
                "properties": {
                    "leftOut": left_out,
                    "logSize": report.answered.size,
                    "logTimeMs": report.answered.time_ms,
                    "whole": report.whole,
                },
            }
        ],
    }


def left_out(made: Mapping[str, Any]) -> str:
    """What people should know of a document that lacks results; "" of one that has all."""
    count: int = made["runs"][0]["properties"]["leftOut"]
    return _left_out(count) if count else ""


def _left_out(count: int) -> str:
    return (
        f"{count:,} result{'' if count == 1 else 's'} left out: code scanning takes {MAX_RESULTS.value:,} of one run,"
        " and the worst are here; --format json has all"
    )


@dataclass(frozen=True, slots=True)
class _Spot:
    """A line of a file. `again`: which of the lines of that file that name the same version."""

    uri: str
    line: int
    again: int


@dataclass(frozen=True, slots=True)
class _Row:
    """One result to be: a finding at a place, or (None) what the log says of a version there.

    Attributes:
        status: of the version, where there is no finding.
        named: what documents call the parts at that place.
    """

    finding: Finding | None
    component: Component
    status: str
    spot: _Spot
    named: Sequence[str]

    @property
    def rule(self) -> str:
        return _STATUSES[self.status][0] if self.finding is None else _called(self.finding)

    @property
    def order(self) -> tuple[bool, int]:
        """The worst first; what does not count, and stands there as suppressed, last."""
        if self.finding is None:
            return False, -rank(_AS_BAD)
        return bool(self.finding.lifted), -rank(self.finding.counted or self.finding.severity)


def _rows(report: Report, here: str) -> tuple[list[_Row], int]:
    """What becomes results, and of how many there is no room."""
    found = [
        _Row(one, one.component, "", spot, named)
        for one in report.findings
        for spot, named in _spots(one.component, here).items()
    ]
    found += [
        _Row(None, one, row.status, spot, named)
        for one, row in report.unwell
        for spot, named in _spots(one, here).items()
    ]
    more = max(0, len(found) - MAX_RESULTS.value)
    return (sorted(found, key=lambda row: row.order)[: MAX_RESULTS.value] if more else found), more


def _rules(rows: Sequence[_Row]) -> dict[str, dict[str, Any]]:
    """By name: an advisory's of several versions with the worst severity, then those about what the log says itself."""
    worst: dict[str, Finding] = {}
    for row in rows:
        one, name = row.finding, row.rule
        if one is not None and (name not in worst or rank(one.severity) > rank(worst[name].severity)):
            worst[name] = one
    said = {name: _rule(name, one) for name, one in worst.items()}
    for status in sorted({row.status for row in rows if row.finding is None}):
        name, text = _STATUSES[status]
        said[name] = {"id": name, "shortDescription": {"text": text}, "fullDescription": {"text": text},
                      "help": {"text": "see `pyrsia package show`"},
                      "defaultConfiguration": {"level": "warning"}}  # fmt: skip
    return said


def _called(one: Finding) -> str:
    """The rule of an advisory: its id.

    Issuers choose ids. One that looks like a rule of ours has a word before it; as no id has a blank in it, no other
    advisory is called like that.
    """
    return f"advisory {one.id}" if one.id.lower().startswith(_OURS) else one.id


def _rule(name: str, one: Finding) -> dict[str, Any]:
    text = next((said.text for said in one.said if said.text), "") or name
    return {
        "id": _text(name),
        "shortDescription": _message(text.splitlines()[0] if text.strip() else name),
        "fullDescription": _message(text),
        "help": _message(f"also called {', '.join(one.aliases)}" if one.aliases else name),
        "defaultConfiguration": {"level": _level(one.severity)},
        "properties": {
            "security-severity": _SCORES[one.severity],
            "tags": ["security", "vulnerability"],
        },
    }


def _level(severity: str) -> str:
    return LEVELS.get(severity, _LEVEL_UNKNOWN)


def _spots(component: Component, here: str) -> dict[_Spot, list[str]]:
    """Each line that names it, with what documents call the parts there: one purl may stand in many parts."""
    found: dict[tuple[str, int], list[str]] = {}
    for place in component.places:
        uri = _uri(place.artifact or place.file or component.purl, here)
        found.setdefault((uri, 0 if place.artifact else place.line), []).append(place.ref)
    before: Counter[str] = Counter()
    made = {}
    for (uri, line), named in found.items():
        before[uri] += 1
        made[_Spot(uri, line, before[uri])] = named
    return made


def _result(row: _Row, rule: int) -> dict[str, Any]:
    if row.finding is None:
        return _unwell(row, rule)
    one, name = row.finding, row.rule
    made: dict[str, Any] = {
        "ruleId": _text(name),
        "ruleIndex": rule,
        "level": _level(one.severity),
        "message": _message(_sentence(one)),
        "locations": [_location(row)],
        "partialFingerprints": _prints(row),
        "properties": {
            "purl": one.component.purl,
            "severity": one.severity,
            "fixedIn": [_text(version) for version in one.fixed],
            "issuers": sorted({_text(said.issuer) for said in one.said}),
        },
    }
    if one.lifted:
        made["suppressions"] = [
            {"kind": "external", "status": "accepted", "justification": _text(one.lifted)}
        ]
    return made


def _unwell(row: _Row, rule: int) -> dict[str, Any]:
    name, text = _STATUSES[row.status]
    package, version = shown(row.component.purl)
    return {
        "ruleId": name,
        "ruleIndex": rule,
        "level": "warning",
        "message": _message(f"{package} {version} is {row.status}: {text}"),
        "locations": [_location(row)],
        "partialFingerprints": _prints(row),
        "properties": {"purl": row.component.purl, "status": row.status},
    }


def _sentence(one: Finding) -> str:
    package, version = shown(one.component.purl)
    fixed = f"; fixed in {', '.join(one.fixed)}" if one.fixed else ""
    return f"{package} {version} has {one.id} ({one.severity}){fixed}. {one.said[0].why}".strip()


def _prints(row: _Row) -> dict[str, str]:
    """What stays the same from run to run: no line, no place of the log, no words of an advisory.

    GitHub heeds `primaryLocationLineHash` alone, together with the rule and the path; without one it hashes the text of
    the line, which is the whole document where that has one line.
    """
    said, spot = f"{row.component.purl}\n{row.rule}".encode("utf-8", "replace"), row.spot
    return {
        "primaryLocationLineHash": f"{hashlib.sha256(said).hexdigest()[:16]}:{spot.again}",
        "advisoryOfVersion/v1": hashlib.sha256(said + f"\n{spot.uri}\n{spot.again}".encode()).hexdigest(),
    }


def _location(row: _Row) -> dict[str, Any]:
    """A file with its line. An image, and a purl of the command line, are named as files are: code scanning takes no
    result without a path, and no address of another scheme."""
    where: dict[str, Any] = {"artifactLocation": {"uri": row.spot.uri}}
    if row.spot.line:
        where["region"] = {"startLine": row.spot.line}
    logical: list[dict[str, str]] = [{"fullyQualifiedName": row.component.purl, "kind": "package"}]
    logical += [{"name": _text(ref), "kind": "element"} for ref in dict.fromkeys(row.named) if ref]
    return {"physicalLocation": where, "logicalLocations": logical[:_MOST_NAMES]}


def _uri(file: str, here: str) -> str:
    path = PurePath(file)
    if here and path.is_relative_to(here):
        path = path.relative_to(here)
    encoded = quote(path.as_posix().encode("utf-8", "surrogateescape"), safe="/")
    return f"file://{encoded}" if encoded.startswith("/") else encoded


def _notifications(report: Report, more: int) -> list[dict[str, Any]]:
    said = [report.why_unknown] if report.why_unknown else []
    said += [_left_out(more)] if more else []
    said += [f"not audited: {one.what}: {one.why} ({one.place})" for one in report.left]
    said += [f"not looked into: {one}" for one in report.unseen]
    return [{"level": "warning", "message": _message(one)} for one in said]


def _text(text: str) -> str:
    told = safe(text) or "-"  # the standard wants some text wherever there is a message
    return told if len(told) <= _MOST_TEXT else f"{told[: _MOST_TEXT - 3]}..."


def _message(text: str) -> dict[str, str]:
    """A message of plain text: whoever wrote it, it holds no link and no placeholder.

    It is cut between two signs, so that no half of an escape is left.
    """
    signs = [_LITERALS.get(one, one) for one in (safe(text) or "-")[: _MOST_TEXT + 1]]
    ends = list(accumulate(map(len, signs)))
    if ends[-1] <= _MOST_TEXT:
        return {"text": "".join(signs)}
    return {"text": "".join(signs[: bisect_right(ends, _MOST_TEXT - 3)]) + "..."}
