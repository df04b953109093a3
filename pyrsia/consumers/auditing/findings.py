"""What an audit found: advisories of one weakness as one finding, which of them count, and how the audit ends.

Databases name one weakness in their own ways and list each other's names as aliases. Facts that share a name are one
finding, as bad as the worst of them. One more fact never makes a finding smaller: each is lifted by its own names, and
a fact without a severity gives way to one with it only where one issuer says both, under a name that both have.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pyrsia.consumers.auditing.asking import Answered
from pyrsia.consumers.auditing.components import Component, Gathered, Left
from pyrsia.knowledge.known import Advisory
from pyrsia.knowledge.severities import UNKNOWN, WORDS, rank
from pyrsia.ledger.standing import DISPUTED, WITHDRAWN
from pyrsia.serve.desks.knowing import AuditRow
from pyrsia.wire import purl as purls

FAIL_ON: Final = ("none", "low", "medium", "high", "critical", "any")
_NEVER: Final = len(WORDS) + 1  # above every rank


@dataclass(frozen=True, slots=True)
class Finding:
    """One weakness of one version.

    Attributes:
        id: what most people call it: its CVE if it has one, else its first name; `aliases`: its other names.
        severity: one of `knowledge.severities.WORDS`, or unknown.
        fixed: versions that repair it, as each fact says.
        counted: the severity of those facts that nothing lifts; "" where all are lifted, and `lifted` says why.
        said: the facts.
    """

    component: Component
    row: AuditRow
    id: str
    aliases: tuple[str, ...]
    severity: str
    fixed: tuple[str, ...]
    counted: str
    lifted: str
    said: tuple[Advisory, ...]

    @property
    def names(self) -> frozenset[str]:
        return frozenset((self.id, *self.aliases))

    @property
    def vex(self) -> tuple[tuple[str, str], ...]:
        """(issuer, outcome) of what is said of it for this very version."""
        return tuple(dict.fromkeys((issuer, outcome) for one in self.said for issuer, outcome, _ in one.vex))


@dataclass(frozen=True, slots=True)
class Report:
    """All of it. `components`: those with an answer, each with its row; `left`: not audited; `unknown`: why that is no
    answer; `unmatched`: names of --ignore that nothing has."""

    answered: Answered
    components: tuple[tuple[Component, AuditRow], ...]
    findings: tuple[Finding, ...]
    left: tuple[Left, ...]
    unseen: tuple[str, ...]
    unknown: tuple[str, ...]
    fail_on: str
    unmatched: tuple[str, ...] = ()
    _rank: int = field(default=_NEVER)

    def counts(self, finding: Finding) -> bool:
        """Whether it is at or above what was asked to fail on."""
        return bool(finding.counted) and rank(finding.counted) >= self._rank

    @property
    def whole(self) -> bool:
        """Whether every fact was there to be read."""
        known = (row.known for _, row in self.components)
        return self.answered.whole and all(one is None or one.whole for one in known)

    @property
    def why_unknown(self) -> str:
        """Why "nothing found" would be no answer; "" where it is one."""
        if self.fail_on == "none":
            return ""
        if not self.components:
            return "nothing was audited"
        if not self.whole:
            return "the node lacks facts of this log, so nobody can say that there are none"
        return "; ".join(self.unknown)

    @property
    def exit(self) -> int:
        if any(map(self.counts, self.findings)):
            return 1
        return 3 if self.why_unknown else 0

    @property
    def unknown_here(self) -> tuple[str, ...]:
        """Versions that the node has no file of; facts about them count all the same."""
        return tuple(one.purl for one, row in self.components if not row.origin)

    @property
    def unwell(self) -> tuple[tuple[Component, AuditRow], ...]:
        """Those that their members withdrew, or that builders no longer agree on."""
        return tuple(pair for pair in self.components if pair[1].status in (WITHDRAWN, DISPUTED))

    @property
    def refused(self) -> tuple[tuple[Component, AuditRow], ...]:
        """Those that policy does not let through."""
        return tuple(pair for pair in self.components if pair[1].allowed is False)


def report(
    gathered: Gathered,
    answered: Answered,
    *,
    fail_on: str,
    ignored: Sequence[str] = (),
    lifts: Mapping[tuple[str, int], str] | None = None,
) -> Report:
    """
    Args:
        fail_on: one of `FAIL_ON`.
        ignored: names of advisories that do not count.
        lifts: (purl, leaf of an advisory) -> why policy lets it pass.
    """
    pairs, left = [], list(gathered.left)
    for one in gathered.components:
        row = answered.rows[one.purl]
        if row.known is None:
            why = row.error or "the node says nothing of it"
            left += [Left(one.purl, why[:300], place) for place in one.places]
        else:
            pairs.append((one, row))
    found = [
        finding for one, row in pairs for finding in _findings(one, row, frozenset(ignored), lifts or {})
    ]
    found.sort(key=lambda each: (-rank(each.severity), each.component.purl, each.id))
    named = {name for each in found for name in each.names}
    return Report(
        answered,
        tuple(pairs),
        tuple(found),
        tuple(left),
        gathered.unseen,
        gathered.unknown,
        fail_on,
        tuple(one for one in dict.fromkeys(ignored) if one not in named),
        _threshold(fail_on),
    )


def _threshold(fail_on: str) -> int:
    if fail_on == "none":
        return _NEVER
    return 0 if fail_on == "any" else rank(fail_on)


def _findings(
    component: Component, row: AuditRow, ignored: frozenset[str], lifts: Mapping[tuple[str, int], str]
) -> Iterable[Finding]:
    known = row.known
    for said in _grouped(known.advisories if known is not None else ()):
        names = dict.fromkeys(name for one in said for name in one.names)
        first = next((name for name in names if name.startswith("CVE-")), next(iter(names)))
        lifted = {one.leaf: _lifted(one, component.purl, ignored, lifts) for one in said}
        counted = [one for one in said if not lifted[one.leaf]]
        yield Finding(
            component,
            row,
            first,
            tuple(name for name in names if name != first),
            _worst(said),
            tuple(dict.fromkeys(one.fixed for one in said if one.fixed)),
            _worst(counted) if counted else "",
            "" if counted else "; ".join(dict.fromkeys(lifted.values())),
            tuple(said),
        )


def _lifted(one: Advisory, purl: str, ignored: frozenset[str], lifts: Mapping[tuple[str, int], str]) -> str:
    dropped = next((name for name in one.names if name in ignored), "")
    return f"--ignore {dropped}" if dropped else lifts.get((purl, one.leaf), "")


def _grouped(advisories: Iterable[Advisory]) -> list[list[Advisory]]:
    """Those that share a name, also by way of a third; the group that the last one is in comes last."""
    groups: dict[str, list[tuple[int, Advisory]]] = {}  # by each of its names
    for number, one in enumerate(advisories):
        met = {id(group): group for name in one.names if (group := groups.get(name)) is not None}
        mine = max(met.values(), key=len, default=[])
        for other in met.values():
            if other is not mine:  # the smaller ones go into the largest: each advisory is moved seldom
                mine += other
                groups |= dict.fromkeys((name for _, moved in other for name in moved.names), mine)
        mine.append((number, one))
        groups |= dict.fromkeys(one.names, mine)
    each = {id(group): group for group in groups.values()}.values()
    in_order = sorted(each, key=lambda group: max(number for number, _ in group))
    return [sorted((one for _, one in group), key=lambda one: one.leaf) for group in in_order]


def _worst(said: Sequence[Advisory]) -> str:
    """The highest. A fact without a severity gives way to one that has it, where both are of one issuer and that
    issuer itself calls them one weakness: who else says so may say it to hide the first."""
    words = [
        one.severity
        for issuer in {one.issuer for one in said}
        for own in _grouped(one for one in said if one.issuer == issuer)
        for one in own
        if one.severity in WORDS or not any(other.severity in WORDS for other in own)
    ]
    worst = max(words, key=rank, default=UNKNOWN)
    return worst if worst in WORDS else UNKNOWN


def shown(purl: str) -> tuple[str, str]:
    """Package and version for people: `pypi/idna`, `3.10`."""
    read = purls.parse(purl)
    return str(read.versionless).removeprefix("pkg:"), read.version
