"""What rules say of what is known of a version: advisories, licences, lists of what is inside.

A word against a version counts from everybody, or from those that `issuers` names; a word that lifts one from nobody
but those that `vex_issuers` names, and the user. What nobody knows speaks against a version wherever a rule asks.

Source: docs/policy.md, "What is known".
"""

from collections.abc import Iterable, Iterator
from typing import Final

from pyrsia.knowledge.known import Advisory, Known
from pyrsia.knowledge.licences import permitted
from pyrsia.knowledge.said import ADVISORY, LICENCE, VEX
from pyrsia.policy.accepted import Acceptance
from pyrsia.policy.facts import Facts, Reason
from pyrsia.policy.keys import ANY, SEVERITIES
from pyrsia.policy.rules import Rules
from pyrsia.units import Limit

MAX_TOLD = Limit(
    20, "advisories that one decision tells one by one; a person reads no more, `pyrsia audit` does"
)

SEVERITY: Final = "max_severity"
LICENCES: Final = "licences_allow"
DENIED: Final = "licences_deny"
SBOM: Final = "sbom"
_LIFTING: Final = ("not-affected", "fixed")


def reasons(rules: Rules, facts: Facts, now_ms: int) -> Iterator[Reason]:
    """Of every rule that asks for what is known; of those that do not, that they do not."""
    if facts.any_version:
        yield from _of_file(rules, facts, now_ms)
        return
    if rules.max_severity == ANY:
        yield Reason(SEVERITY, True, "known weaknesses are not asked for")
    else:
        told = list(_advisories(rules, facts, now_ms))
        blind = _blind(rules, facts)
        if blind is not None:
            yield blind
        elif all(one.allows for one in told):
            yield Reason(SEVERITY, True, f"nothing that counts is worse than {rules.max_severity}")
        yield from told
    yield from _licences(rules, facts)
    if rules.sbom == ANY:
        yield Reason(SBOM, True, "no list of what is inside is asked for")
    else:
        yield _sbom(rules, facts)


def _of_file(rules: Rules, facts: Facts, now_ms: int) -> Iterator[Reason]:
    """Where nobody can say of which version a file is, what is said against its bytes counts all the same."""
    if facts.known is None:
        return
    if rules.max_severity != ANY:
        blind = _blind(rules, facts)
        yield from _advisories(rules, facts, now_ms) if blind is None else [blind]
    if rules.asks_licences and facts.known.licences:
        yield from _licences(rules, facts)


def flips_at(rules: Rules, facts: Facts, now_ms: int) -> int | None:
    """When time alone changes what is known, or ends an acceptance that a decision leans on; None if it does not."""
    known = facts.known
    if known is None or not rules.asks_knowledge:
        return None
    due = [] if known.flips_ms is None else [known.flips_ms]
    if rules.max_severity != ANY:
        names = {name for advisory in known.advisories for name in advisory.names}
        due += [one.ends_ms for one in _accepting(rules, facts.purl, names)]
    return min((one for one in due if one > now_ms), default=None)


def lifts(rules: Rules, purl: str, one: Advisory, now_ms: int) -> str:
    """Why rules let an advisory pass whatever the ceiling; "" where they do not. An audit counts none of these."""
    if not _counts(rules, one.issuer):
        return f"`issuers` does not name {one.issuer[:8]}"
    valid = [it for it in _accepting(rules, purl, one.names) if now_ms < it.ends_ms]
    last = max(valid, key=lambda it: it.ends_ms).said if valid else None
    accepted = f"{last.advisory} accepted until {last.until}: {last.reason}" if last is not None else ""
    return _lifted(rules, one) or accepted


def _blind(rules: Rules, facts: Facts) -> Reason | None:
    """Why nobody here can say which advisories mean it."""
    return _unknown(SEVERITY, facts, "which advisories mean it") or _beyond(SEVERITY, _silenced(rules, facts))


def _unknown(rule: str, facts: Facts, what: str) -> Reason | None:
    """Why a rule cannot be answered, where it cannot."""
    if facts.known is None:
        do = "ask a node (`--node URL`), or give its proven history (`--facts FILE`)"
        return Reason(rule, False, f"nobody here knows {what}", do)
    if not facts.known.whole:
        what = f"only a part of what the log says is here, so nobody here knows {what}"
        do = "wait until the node has the whole log (`pyrsia status`), or ask one that has"
        return Reason(rule, False, what, do)
    return None


def _beyond(rule: str, authors: list[str]) -> Reason | None:
    """Why a rule cannot be answered where words against a version may be missing: their author says too many."""
    if not authors:
        return None
    what = f"{authors[0][:8]} says so much of this package that some of its words are left out"
    return Reason(rule, False, what, "let it take words back, or name others in `issuers`")


# -- advisories --


def _silenced(rules: Rules, facts: Facts) -> list[str]:
    """Of those whose advisories count, or whose VEX has a say in lifting one, who says more than is kept."""
    if facts.known is None:
        return []
    told = [one for one in facts.known.lacks(ADVISORY) if _counts(rules, one)]
    return told + [one for one in facts.known.lacks(VEX) if one in rules.vex_issuers]


def _advisories(rules: Rules, facts: Facts, now_ms: int) -> Iterator[Reason]:
    """What is against it first, so that a long list hides none of that."""
    known = facts.known or Known(0, False)
    said = [_advisory(rules, facts, one, now_ms) for one in known.advisories]
    said.sort(key=lambda one: one.allows)
    most = MAX_TOLD.value
    yield from said[:most]
    if len(said) > most:
        rest = said[most:]
        bad = sum(not one.allows for one in rest)
        what = f"{len(rest)} advisories more{f', {bad} of them against it' if bad else ''}"
        yield Reason(SEVERITY, not bad, what, "pyrsia audit tells all of them" if bad else "")


def _advisory(rules: Rules, facts: Facts, one: Advisory, now_ms: int) -> Reason:
    what = f"{one.id} ({one.severity}{'' if one.sure else ', perhaps'})"
    if not _counts(rules, one.issuer):
        return Reason(SEVERITY, True, f"{what} is not counted: `issuers` does not name {one.issuer[:8]}")
    if not _is_over(rules, one):
        return Reason(SEVERITY, True, f"{what} is under the ceiling")
    if lifted := _lifted(rules, one):
        return Reason(SEVERITY, True, f"{what} is lifted: {lifted}")
    meant = _accepting(rules, facts.purl, one.names)
    if valid := [it for it in meant if now_ms < it.ends_ms]:
        last = max(valid, key=lambda it: it.ends_ms).said
        return Reason(SEVERITY, True, f"{last.advisory} accepted until {last.until}: {last.reason}")
    return Reason(SEVERITY, False, _against(rules, one, meant), _way(one))


def _accepting(rules: Rules, purl: str, names: Iterable[str]) -> list[Acceptance]:
    """Acceptances that mean any of these names of advisories at this package."""
    named = (it for name in dict.fromkeys(names) for it in rules.accepted.get(name, ()))
    return [it for it in named if it.means_package(purl)]


def _counts(rules: Rules, issuer: str) -> bool:
    return not rules.issuers or issuer in rules.issuers


def _is_over(rules: Rules, one: Advisory) -> bool:
    """A version that cannot be compared, and a severity that nobody knows, are over every ceiling."""
    if not one.sure or one.severity not in SEVERITIES:
        return True
    return SEVERITIES.index(one.severity) > SEVERITIES.index(rules.max_severity)


def _lifted(rules: Rules, one: Advisory) -> str:
    """Who says that it does not matter here; "" where nobody does whose word lifts, or another such one disagrees."""
    said = [(issuer, outcome) for issuer, outcome, _ in one.vex if issuer in rules.vex_issuers]
    if not said or any(outcome not in _LIFTING for _, outcome in said):
        return ""
    issuer, outcome = said[0]
    return f"{issuer[:8]} says {outcome}"


def _against(rules: Rules, one: Advisory, expired: list[Acceptance]) -> str:
    severity = "of unknown severity" if one.severity not in SEVERITIES else one.severity
    what = f"{one.id} is {severity}, {rules.max_severity} is the worst allowed"
    if not one.sure:
        what = f"{one.id} ({one.severity}) may mean it, and its version cannot be compared"
    if expired:
        what += f"; it was accepted until {max(it.said.until for it in expired)}"
    return what


def _way(one: Advisory) -> str:
    way = f"use {one.fixed} or later" if one.fixed else "use another version"
    return f"{way}, or add {one.id} to `accept` with a day and a reason"


# -- licences --


def _licences(rules: Rules, facts: Facts) -> Iterator[Reason]:
    if not rules.asks_licences:
        yield Reason(LICENCES, True, "its licence is not asked for")
        return
    rule = LICENCES if rules.licences_allow else DENIED
    known = facts.known
    lacking = [] if known is None else [one for one in known.lacks(LICENCE) if _counts(rules, one)]
    unknown = _unknown(rule, facts, "its licence") or _beyond(rule, lacking)
    if unknown is not None or known is None:
        yield unknown or Reason(rule, False, "nobody here knows its licence")
        return
    said = {one.expression for one in known.licences if _counts(rules, one.issuer)}
    for expression in sorted(said)[: MAX_TOLD.value]:
        yield _licence(rules, rule, expression)
    if len(said) > MAX_TOLD.value:
        yield Reason(
            rule, False, f"{len(said)} licences are named, {MAX_TOLD.value} are read", "name `issuers`"
        )
    if not any(_counts(rules, one.issuer) for one in known.licences if not one.copied):
        whose = " of `issuers`" if rules.issuers else ""
        do = "let somebody say it: pyrsia facts add, or allow it by a [[rule]]"
        yield Reason(rule, False, f"nobody{whose} says its licence", do)


def _licence(rules: Rules, rule: str, expression: str) -> Reason:
    """Each word for a licence must pass: whoever says another one speaks against the file."""
    if not expression:
        return Reason(rule, False, "its licence is a text without an SPDX expression", "read it")
    allowed, why = permitted(expression, rules.licences_allow, rules.licences_deny)
    do = "" if allowed else f"read it: pyrsia facts, and mend `{rule}` or use another package"
    return Reason(rule, allowed, f"its licence is {expression}: {why}", do)


# -- what is inside --


def _sbom(rules: Rules, facts: Facts) -> Reason:
    if (unknown := _unknown(SBOM, facts, "what is inside it")) is not None:
        return unknown
    for one in facts.known.sboms if facts.known else ():
        if _counts(rules, one.issuer):
            return Reason(SBOM, True, f"{one.issuer[:8]} lists what is inside ({one.format})")
    whose = " of `issuers`" if rules.issuers else ""
    do = "let somebody give one: pyrsia facts import sbom, or set `sbom` to any"
    return Reason(SBOM, False, f"nobody{whose} lists what is inside", do)
