"""How a policy and its decisions are told in the terminal. No decisions here."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pyrsia.cli.tell import table
from pyrsia.policy.facts import NETWORK, Decision, Facts
from pyrsia.policy.rules import OTHER
from pyrsia.policy.writing import toml
from pyrsia.serve.judging import Judged, PolicyAnswer, RuleRow

_LAST_MS: Final = 253_402_300_800_000  # year 10,000: a node may say any number
_MOST_VALUE: Final = 60  # of a rule's value in a table; JSON has all of it


def rule_lines(answer: PolicyAnswer) -> Iterator[str]:
    """What holds for every ecosystem, then what only holds for one; as sections that a policy.toml may have."""
    yield f"# {answer.path or 'no policy.toml: these are the defaults'}"
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


def _rule_table(rows: Sequence[RuleRow]) -> list[str]:
    return table([(row.key, _short(row.value), row.origin) for row in rows], ("RULE", "VALUE", "FROM"))


def check_lines(rows: Sequence[tuple[str, bool, Sequence[Judged]]], whose: str) -> Iterator[str]:
    """A line for each file: what is said of it, and why not."""
    cells = []
    for said, _, files in rows:
        for one in files:
            against = "; ".join(reason.what for reason in one.reasons if not reason.allows)
            word = "allowed" if one.allowed else "REFUSED"
            cells.append((word, one.purl, one.file or "-", one.status, against))
        if not files:
            cells.append(("REFUSED", said, "-", "-", "the log holds no such package or file"))
    yield from table(cells, ("POLICY", "PACKAGE", "FILE", "STATUS", "WHY"))
    refused = [said for said, allowed, _ in rows if not allowed]
    yield f"{len(rows) - len(refused)} of {len(rows)} allowed by {whose}"
    if refused:
        yield f"why, and what would change it: pyrsia policy explain {refused[0]}"


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
    yield from (f"  {line}" for line in table(cells, ("RULE", "VALUE", "FROM", "OK", "SAYS")))
    ways = [f"{one.rule}: {one.do}" for one in decision.reasons if not one.allows and one.do]
    if ways:
        yield ""
        yield "  what would change it:"
        yield from (f"  - {way}" for way in ways)


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
