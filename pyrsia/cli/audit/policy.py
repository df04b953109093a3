"""What policy says of what was audited: which advisories it lets pass, and with --policy what it refuses.

The node's own decisions come with its answers. The rules of a file are decided on here, over what the node knows.
"""

import dataclasses
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pyrsia.client import Client
from pyrsia.consumers.auditing.asking import Answered, Tick
from pyrsia.errors import Refusal

if TYPE_CHECKING:
    from pyrsia.policy.rules import Policy
    from pyrsia.serve.desks.judging import FactsAnswer
    from pyrsia.serve.desks.knowing import AuditRow


def decide(node: Client, tried: Path | None, answered: Answered, *, tick: Tick) -> dict[tuple[str, int], str]:
    """(purl, leaf of an advisory) -> why it passes; with `tried` its decisions take the place of the node's.

    Raises:
        Refusal: `config-invalid`: the file is no policy. The node's.
    """
    told = [row for row in answered.rows.values() if row.known is not None and row.known.advisories]
    if tried is None and not told:
        return {}
    rules = _rules(node, tried)
    if rules is None:
        return {}
    if tried is not None:
        for number, row in enumerate(list(answered.rows.values())):
            tick(number, len(answered.rows), row.purl)
            answered.rows[row.purl] = _decided(node, rules, row)
    return dict(_lifts(rules, told))


def issuers(node: Client, tried: Path | None, purls: Iterable[str]) -> frozenset[str]:
    """Those whose facts about any of these count by policy; empty: everybody's.

    Raises:
        Refusal: as `decide`.
    """
    rules = _rules(node, tried)
    return frozenset(one for purl in purls if rules is not None for one in rules.at(purl).issuers)


def _rules(node: Client, tried: Path | None) -> "Policy | None":
    """None where a node of another version has rules that are not known here: then they lift nothing."""
    from pyrsia.cli.policy.command import rules_of

    try:
        return rules_of(node, tried)
    except Refusal as refusal:
        if tried is not None or refusal.code != "config-invalid":
            raise
        return None


def _lifts(rules: "Policy", rows: "list[AuditRow]") -> "Iterator[tuple[tuple[str, int], str]]":
    from pyrsia.policy.weighing import lifts

    now_ms = int(time.time() * 1_000)
    for row in rows:
        ours = rules.at(row.purl)
        whys: dict[int, list[str]] = {}
        for one in row.known.advisories if row.known is not None else ():
            whys.setdefault(one.leaf, []).append(lifts(ours, row.purl, one, now_ms))
        for leaf, why in whys.items():
            if all(why):  # a node may tell one advisory of several files, each with its VEX
                yield (row.purl, leaf), f"policy: {why[0]}"


def _decided(node: Client, rules: "Policy", row: "AuditRow") -> "AuditRow":
    """The row by these rules; nothing is decided where there is no file to decide on."""
    from pyrsia.policy.evaluate import decide as judge

    if not row.origin:
        return msgspec.structs.replace(row, allowed=None, reasons=())
    found = _facts(node, row)
    made = [
        judge(rules, dataclasses.replace(one, known=row.known), found.now_ms, found.head_age_ms)
        for one in found.files
    ]
    against = {one: None for each in made for one in each.reasons if not one.allows}
    allowed = all(one.allowed for one in made) if made else None
    return msgspec.structs.replace(row, allowed=allowed, reasons=tuple(against))


def _facts(node: Client, row: "AuditRow") -> "FactsAnswer":
    """What rules decide on, by the spelling under which the log has the version: 3.0 may be its 3.0.0."""
    from pyrsia.cli.policy.command import facts_about
    from pyrsia.cli.subjects import Subject
    from pyrsia.wire import purl as purls

    found = facts_about(node, Subject(row.purl, purl=row.purl))
    for other in purls.spellings(purls.parse(row.purl))[1:] if row.status else ():  # then it has files there
        if found.files:
            break
        found = facts_about(node, Subject(row.purl, purl=str(other)))
    return found
