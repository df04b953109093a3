"""The report for scripts. Its shape is promised: docs/knowledge.md, "Auditing a project"."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from pyrsia.consumers.auditing.components import Component, Left, Place
from pyrsia.consumers.auditing.findings import Finding, Report, shown
from pyrsia.knowledge.known import Known
from pyrsia.serve.desks.knowing import AuditRow

VERSION = 1


def document(report: Report) -> dict[str, Any]:
    """Fields are added in later versions, and none is taken away or means something else."""
    by_purl: dict[str, list[Finding]] = {}
    for finding in report.findings:
        by_purl.setdefault(finding.component.purl, []).append(finding)
    return {
        "version": VERSION,
        "ok": report.exit == 0,
        "exit": report.exit,
        "fail_on": report.fail_on,
        "why_unknown": _text(report.why_unknown),
        "at": {"size": report.answered.size, "time_ms": report.answered.time_ms, "whole": report.whole},
        "counts": counts(report),
        "components": [
            _component(one, row, by_purl.get(one.purl, ()), report) for one, row in report.components
        ],
        "not_audited": [_left(one) for one in report.left],
        "not_looked_into": [_text(one) for one in report.unseen],
        "unmatched_ignores": [_text(one) for one in report.unmatched],
    }


def counts(report: Report) -> dict[str, Any]:
    """How many of each. `findings`: by severity, those that are lifted among them; `counted`: that made it fail."""
    return {
        "audited": len(report.components),
        "not_audited": len(report.left),
        "unknown_here": len(report.unknown_here),
        "refused_by_policy": len(report.refused),
        "with_findings": len({one.component.purl for one in report.findings}),
        "findings": dict(Counter(one.severity for one in report.findings)),
        "lifted": sum(1 for one in report.findings if one.lifted),
        "counted": sum(1 for one in report.findings if report.counts(one)),
    }


def _component(one: Component, row: AuditRow, found: Sequence[Finding], report: Report) -> dict[str, Any]:
    package, version = shown(one.purl)
    known = row.known or Known(0, False)
    return {
        "purl": one.purl,
        "package": package,
        "version": version,
        "places": [_place(each) for each in one.places],
        "origin": row.origin,
        "status": row.status,
        "allowed": row.allowed,
        "reasons": msgspec.to_builtins(row.reasons),
        "licences": msgspec.to_builtins(known.licences),
        "sboms": msgspec.to_builtins(known.sboms),
        "findings": [_finding(each, report) for each in found],
    }


def _finding(one: Finding, report: Report) -> dict[str, Any]:
    return {
        "id": one.id,
        "aliases": list(one.aliases),
        "severity": one.severity,
        "fixed": list(one.fixed),
        "counted": report.counts(one),
        "lifted": one.lifted,
        "said": [
            {
                **{key: value for key, value in msgspec.to_builtins(fact).items() if key != "vex"},
                "vex": [
                    {"issuer": issuer, "outcome": outcome, "leaf": leaf} for issuer, outcome, leaf in fact.vex
                ],
            }
            for fact in one.said
        ],
    }


def _left(one: Left) -> dict[str, Any]:
    return {"what": _text(one.what), "why": _text(one.why), **_place(one.place)}


def _place(one: Place) -> dict[str, Any]:
    where = {"file": _text(one.file), "line": one.line}
    return {**where, "ref": _text(one.ref)} if one.ref else where


def _text(text: str) -> str:
    """Names of files may hold what is no text: it is written out, since strict readers of JSON refuse it."""
    return text.encode("utf-8", "backslashreplace").decode()
