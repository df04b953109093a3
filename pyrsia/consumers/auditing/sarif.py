"""The report as SARIF 2.1.0, as code scanning takes it: a rule an advisory, a result each place that names it.

All text comes from others: what moves or hides output is written out.

Source: OASIS SARIF 2.1.0, 3.13 to 3.59; GitHub, "SARIF support for code scanning" (`security-severity`).
"""

import hashlib
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

from pyrsia import __version__
from pyrsia.consumers.auditing.components import Place
from pyrsia.consumers.auditing.findings import Finding, Report, shown
from pyrsia.knowledge.severities import UNKNOWN, rank
from pyrsia.wire.text import safe

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
_MOST_TEXT: Final = 1_000  # of one message; GitHub shows as much


def document(report: Report) -> dict[str, Any]:
    """One run. What nothing is known of is told as notifications of its invocation."""
    rules = _rules(report)
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
                        "toolExecutionNotifications": _notifications(report),
                    }
                ],
                "results": [
                    _result(one, places, place) for one in report.findings for place in one.component.places
                ],
                "properties": {
                    "logSize": report.answered.size,
                    "logTimeMs": report.answered.time_ms,
                    "whole": report.whole,
                },
            }
        ],
    }


def _rules(report: Report) -> dict[str, dict[str, Any]]:
    """By the advisory's name; of several versions the worst severity."""
    worst: dict[str, Finding] = {}
    for one in report.findings:
        if one.id not in worst or rank(one.severity) > rank(worst[one.id].severity):
            worst[one.id] = one
    return {name: _rule(name, one) for name, one in worst.items()}


def _rule(name: str, one: Finding) -> dict[str, Any]:
    text = next((said.text for said in one.said if said.text), "") or name
    return {
        "id": _text(name),
        "shortDescription": {"text": _text(text.splitlines()[0] if text.strip() else name)},
        "fullDescription": {"text": _text(text)},
        "help": {"text": _text(f"also called {', '.join(one.aliases)}" if one.aliases else name)},
        "defaultConfiguration": {"level": _level(one.severity)},
        "properties": {
            "security-severity": _SCORES[one.severity],
            "tags": ["security", "vulnerability"],
        },
    }


def _level(severity: str) -> str:
    return LEVELS.get(severity, _LEVEL_UNKNOWN)


def _result(one: Finding, places: dict[str, int], place: Place) -> dict[str, Any]:
    made: dict[str, Any] = {
        "ruleId": _text(one.id),
        "ruleIndex": places[one.id],
        "level": _level(one.severity),
        "message": {"text": _text(_message(one))},
        "locations": [_location(one, place)],
        "partialFingerprints": {"advisoryOfVersion/v1": _print(one, place)},
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


def _message(one: Finding) -> str:
    package, version = shown(one.component.purl)
    fixed = f"; fixed in {', '.join(one.fixed)}" if one.fixed else ""
    return f"{package} {version} has {one.id} ({one.severity}){fixed}. {one.said[0].why}".strip()


def _print(one: Finding, place: Place) -> str:
    return hashlib.sha256(
        f"{one.component.purl}\n{one.id}\n{place.file}".encode("utf-8", "replace")
    ).hexdigest()


def _location(one: Finding, place: Place) -> dict[str, Any]:
    """A file with its line; what was named on the command line is no file, and only has a name."""
    named = {"fullyQualifiedName": one.component.purl, "kind": "package"}
    if not place.file:
        return {"logicalLocations": [named]}
    where: dict[str, Any] = {"artifactLocation": {"uri": _uri(place.file)}}
    if place.line:
        where["region"] = {"startLine": place.line}
    return {"physicalLocation": where, "logicalLocations": [named]}


def _uri(file: str) -> str:
    path = PurePath(file).as_posix()
    encoded = quote(path.encode("utf-8", "surrogateescape"), safe="/")
    return f"file://{encoded}" if path.startswith("/") else encoded


def _notifications(report: Report) -> list[dict[str, Any]]:
    said = [report.why_unknown] if report.why_unknown else []
    said += [f"not audited: {one.what}: {one.why} ({one.place})" for one in report.left]
    said += [f"not looked into: {one}" for one in report.unseen]
    return [{"level": "warning", "message": {"text": _text(one)}} for one in said]


def _text(text: str) -> str:
    told = safe(text) or "-"  # the standard wants some text wherever there is a message
    return told if len(told) <= _MOST_TEXT else f"{told[: _MOST_TEXT - 3]}..."
