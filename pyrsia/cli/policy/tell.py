"""How a policy and its decisions are told in the terminal. No decisions here."""

import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pyrsia.cli.tell import table
from pyrsia.knowledge.known import Known
from pyrsia.policy.facts import NETWORK, Decision, Facts
from pyrsia.policy.rules import OTHER
from pyrsia.policy.writing import toml
from pyrsia.serve.desks.judging import Judged, PolicyAnswer, RuleRow

if TYPE_CHECKING:
    from pyrsia.cli.policy.cases import Result
    from pyrsia.cli.policy.dry import Outcome

_LAST_MS: Final = 253_402_300_800_000  # year 10,000: a node may say any number
_MOST_CHANGES: Final = 200  # versions in a table
_MOST_NAMES: Final = 20  # of packages in a sentence, of facts about one version
_MOST_VALUE: Final = 60  # of a rule's value in a table; JSON has all of it


def rule_lines(answer: PolicyAnswer) -> Iterator[str]:
    """What holds for every ecosystem, then what only holds for one; as sections that a policy.toml may have."""
    without = "the rules of before" if answer.notice else "no policy.toml: these are the defaults"
    yield f"# {answer.path or without}"
    if answer.notice:
        yield f"# NOT IN FORCE: {answer.notice}"
    named = {
        name: rows for name, rows in answer.rules.items() if name != OTHER
    }  # no section can speak of these
    several = list(named.values())
    common = [row for row in several[0] if all(row in rows for rows in several)] if several else []
    for name, rows in (("all", common), *named.items()):
        own = [row for row in rows if rows is common or row not in common]
        yield from ("", f"[{name}]") if own else ()
        yield from _rule_table(own) if own else ()

    for block in answer.blocks:
        yield from ("", "[[rule]]", f"packages = {_short(block.packages)}", *_rule_table(block.rules))


def _rule_table(rows: Sequence[RuleRow]) -> list[str]:
    return table([(row.key, _short(row.value), row.origin) for row in rows], ("RULE", "VALUE", "FROM"))


def check_lines(rows: Sequence[tuple[str, bool, Sequence[Judged]]], tried: Path | None) -> Iterator[str]:
    """A line for each file: what is said of it, and why not. `tried`: whose rules decided, if not the node's."""
    cells = []
    for said, _, files in rows:
        for one in files:
            against = "; ".join(reason.what for reason in one.reasons if not reason.allows)
            word = "allowed" if one.allowed else "REFUSED"
            cells.append((word, one.purl, one.file or "-", one.status, against))
        if not files:
            cells.append(("REFUSED", said, "-", "-", "the log holds no such package or file"))
    yield from table(cells, ("POLICY", "PACKAGE", "FILE", "STATUS", "WHY"), whole=True)
    refused = [said for said, allowed, _ in rows if not allowed]
    whose = str(tried) if tried else "the node's policy"
    yield f"{len(rows) - len(refused)} of {len(rows)} allowed by {whose}"
    if refused:
        by = f" --policy {shlex.quote(str(tried))}" if tried else ""
        yield f"why, and what would change it: pyrsia policy explain {shlex.quote(refused[0])}{by}"


def explain_lines(facts: Facts, decision: Decision, rules: Sequence[RuleRow]) -> Iterator[str]:
    """Facts, every rule with its value and what it says, and what would change a refusal."""
    yield f"{facts.purl}  {facts.file}".rstrip() + f": {'allowed' if decision.allowed else 'REFUSED'}"
    yield from (f"  {name}: {told}" for name, told in _facts(facts))
    yield ""
    values = {row.key: row for row in rules}
    cells = []
    for one in decision.reasons:
        rule = values.get(one.rule)
        value, origin = (_short(rule.value), rule.origin) if rule is not None else ("", "")
        cells.append((one.rule, value, origin, "yes" if one.allows else "NO", one.what))
    head = ("RULE", "VALUE", "FROM", "OK", "SAYS")
    yield from (f"  {line}" for line in table(cells, head, whole=True, indent=2))
    ways = [f"{one.rule}: {one.do}" for one in decision.reasons if not one.allows and one.do]
    if ways:
        yield ""
        yield "  what would change it:"
        yield from (f"  - {way}" for way in ways)


def case_lines(results: "Sequence[Result]", name: str) -> Iterator[str]:
    """A line for each case, then what was decided otherwise, with the line where it stands."""
    cells = [
        (
            "pass" if one.passed else "FAIL",
            one.case.name or one.case.purl,
            one.case.expect,
            "allow" if one.decision.allowed else "refuse",
            ", ".join(one.rules) if not one.decision.allowed else "",
        )
        for one in results
    ]
    yield from table(cells, ("CASE", "OF", "EXPECTED", "IS", "BY"))
    failed = [one for one in results if not one.passed]
    for one in failed:
        place = f"{name} line {one.line}" if one.line else name
        why = "; ".join(it.what for it in one.decision.reasons if it.allows == one.decision.allowed)
        expected = f"{one.case.expect}{f' because of {one.case.because}' if one.case.because else ''}"
        yield f"{place}: {expected} was expected: {why}"
    yield f"{len(results) - len(failed)} of {len(results)} as expected"


def case_dict(one: "Result") -> dict[str, Any]:
    decision = one.decision
    return {
        "ok": one.passed,
        "name": one.case.name,
        "purl": one.case.purl,
        "line": one.line,
        "expect": one.case.expect,
        "because": one.case.because,
        "allowed": decision.allowed,
        "reasons": [
            {"rule": it.rule, "allows": it.allows, "what": it.what, "do": it.do} for it in decision.reasons
        ],
    }


def outcome_lines(found: "Outcome", since_ms: int, whose: str, against: str) -> Iterator[str]:
    """Each version about which two policies disagree, then sums, and packages of which all is lost or won."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for one in found.changes:
        rows.setdefault((one.word, one.facts.purl, one.why or "-"), []).append(one.facts.file or "-")
    cells = [
        (word, purl, files[0] if len(files) == 1 else f"{len(files)} files", why)
        for (word, purl, why), files in islice(rows.items(), _MOST_CHANGES)
    ]
    if cells:
        yield from table(cells, ("WOULD BE", "PACKAGE", "FILE", "WHY"))
    if len(rows) > _MOST_CHANGES:
        yield f"and {len(rows) - _MOST_CHANGES} more (--json has all)"
    refused = sum(not one.decision.allowed for one in found.changes)
    admitted = len(found.changes) - refused
    yield f"{found.files} files since {_day(since_ms)}: {found.before} allowed by {against}, {found.after} by {whose}"
    yield f"{refused} would be refused, {admitted} would be admitted"
    for word, names in (("nothing left of", found.lost()), ("something at last of", found.won())):
        if names:
            more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
            yield f"{word}: {', '.join(names[:_MOST_NAMES])}{more}"


def outcome_dict(found: "Outcome", since_ms: int) -> dict[str, Any]:
    return {
        "since_ms": since_ms,
        "files": found.files,
        "allowed": {"before": found.before, "after": found.after},
        "changes": [
            {
                "would_be": one.word,
                "purl": one.facts.purl,
                "file": one.facts.file,
                "sha256": one.facts.sha256,
                "why": one.why,
            }
            for one in found.changes
        ],
        "packages": {"refused": found.lost(), "admitted": found.won()},
    }


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(min(time_ms, _LAST_MS) / 1_000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _known(known: Known) -> Iterator[tuple[str, str]]:
    for one in known.advisories[:_MOST_NAMES]:
        names = f" ({', '.join(one.aliases[:3])})" if one.aliases else ""
        fixed = f", fixed in {one.fixed}" if one.fixed else ""
        yield (
            "advisory",
            f"{one.id}{names}: {one.severity}, {one.why}{fixed}, says {one.issuer[:8]} in leaf {one.leaf}",
        )
        for issuer, outcome, leaf in one.vex[:_MOST_NAMES]:
            yield "VEX", f"{one.id}: {outcome}, says {issuer[:8]} in leaf {leaf}"
    if len(known.advisories) > _MOST_NAMES:
        yield "advisories", f"{len(known.advisories)} in all: pyrsia audit tells all of them"
    for it in known.licences[:_MOST_NAMES]:
        yield "licence", f"{it.expression or 'a text'}, says {it.issuer[:8]} in leaf {it.leaf}"
    for sbom in known.sboms[:_MOST_NAMES]:
        yield "inside", f"{sbom.format or 'a list'}, says {sbom.issuer[:8]} in leaf {sbom.leaf}"
    if not known.whole:
        yield "known", "only a part of what the log says is here"


def _facts(facts: Facts) -> Iterator[tuple[str, str]]:
    if facts.sha256:
        yield "sha256", facts.sha256
    yield "status", facts.status or f"none, it is {facts.origin}"
    if facts.origin == NETWORK:
        yield (
            "agreed",
            ", ".join(_person(one.node, one.operator, one.isolation) for one in facts.agreeing) or "nobody",
        )
        yield "found in its source", facts.containment or "unsaid"
        yield "upstream's file", facts.upstream
    if facts.known is not None:
        yield from _known(facts.known)
    if 0 < facts.published_ms < _LAST_MS:
        yield (
            "since",
            datetime.fromtimestamp(facts.published_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        )


def _person(node: str, operator: str, isolation: str) -> str:
    return f"{operator} ({node[:8]}{f', {isolation}' if isolation else ''})"


def _short(value: Any) -> str:
    text = toml(value)
    return text if len(text) <= _MOST_VALUE else f"{text[: _MOST_VALUE - 4]} ..."
