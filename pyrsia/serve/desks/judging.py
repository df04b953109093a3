"""What is asked of a node's policy, and what it answers: plain data, no decisions.

The node implements `Judge` over its rules, log and shelves. Who wants to try other rules takes the facts and evaluates
them with the same engine: nothing has to be sent to the node for that.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from pyrsia.policy.facts import Decision, Facts, Reason
from pyrsia.policy.rules import KEYS, Policy


class BlockRow(msgspec.Struct, frozen=True):
    """A [[rule]], by its number from 1. `rules`: the keys that it says."""

    number: int
    packages: tuple[str, ...]
    rules: tuple["RuleRow", ...]


class RuleRow(msgspec.Struct, frozen=True):
    """One rule of an ecosystem. `origin`: where its value comes from."""

    key: str
    value: Any
    origin: str


class PolicyAnswer(msgspec.Struct, frozen=True):
    """The rules in force.

    Attributes:
        path: of the file that says them, "" where there is none; to strangers its name alone.
        text: the same rules as a policy.toml.
        notice: what is wrong with the file as it is now; the rules before that change stay in force.
        head_age_ms: since the validators signed the newest head that the node knows.
        rules: by ecosystem; `other`: what belongs to none.
        blocks: rules for single packages, in the order in which they are asked.
    """

    path: str
    text: str
    notice: str
    head_age_ms: int
    rules: dict[str, tuple[RuleRow, ...]]
    blocks: tuple[BlockRow, ...] = ()


class FactsAnswer(msgspec.Struct, frozen=True):
    """What a policy decides on.

    Attributes:
        owner: who has the package: network, local or proxied; "" for nobody.
        now_ms, head_age_ms: the node's clock, and since the newest head was signed.
    """

    owner: str
    now_ms: int
    head_age_ms: int
    files: tuple[Facts, ...]


class RecentAnswer(msgspec.Struct, frozen=True):
    """Facts of the files that the log published since a moment, a page of them, in log order.

    Attributes:
        next: ask again with `first` this; -1 behind the last page.
        now_ms, head_age_ms: as in `FactsAnswer`.
    """

    now_ms: int
    head_age_ms: int
    files: tuple[Facts, ...]
    next: int


class Judged(msgspec.Struct, frozen=True):
    """The answer about one file, with every reason for and against."""

    purl: str
    file: str
    sha256: str
    status: str
    origin: str
    allowed: bool
    reasons: tuple[Reason, ...]


class CheckAnswer(msgspec.Struct, frozen=True):
    """`allowed`: there are files, and none of them is refused."""

    owner: str
    allowed: bool
    files: tuple[Judged, ...]


class PackagesAnswer(msgspec.Struct, frozen=True):
    """Packages by name, a page of them. `next`: ask again with `after` this; "" behind the last page."""

    packages: tuple[str, ...]
    next: str


class Judge(Protocol):
    """A node's policy, for those who ask about it."""

    def policy(self) -> PolicyAnswer: ...

    async def facts(self, purl: str) -> FactsAnswer:
        """Of the files of a purl, with or without a version, that clients could ask for."""
        ...

    def facts_of_bytes(self, sha256: str) -> FactsAnswer:
        """Of every name that these bytes have in the log."""
        ...

    async def recent(self, since_ms: int, first: int) -> RecentAnswer:
        """Of the files that were published from `since_ms` on, those at or behind the leaf `first`.

        Raises:
            Refusal: `not-found`: the log's old leaves are not here.
        """
        ...

    def packages(self, start: str, after: str) -> PackagesAnswer:
        """Versionless purls that the log holds, which begin with `start` and come behind `after`, sorted."""
        ...

    def decision(self, facts: Facts) -> Decision: ...

    def stale(self) -> str:
        """Why the log's head is too old to go by; "" while it is not."""
        ...


def judged(facts: Facts, decision: Decision) -> Judged:
    return Judged(
        purl=facts.purl,
        file=facts.file,
        sha256=facts.sha256,
        status=facts.status or facts.origin,
        origin=facts.origin,
        allowed=decision.allowed,
        reasons=decision.reasons,
    )


def checked(owner: str, rows: Sequence[Judged]) -> CheckAnswer:
    return CheckAnswer(owner, bool(rows) and all(one.allowed for one in rows), tuple(rows))


def told(policy: Policy) -> dict[str, tuple[RuleRow, ...]]:
    """Every rule of every ecosystem, with where its value comes from."""
    return {
        name: tuple(RuleRow(key, rules.as_dict()[key], rules.origins[key]) for key in KEYS)
        for name, rules in policy.rules.items()
    }


def told_blocks(policy: Policy) -> tuple[BlockRow, ...]:
    """Rules for single packages, as the file says them."""
    return tuple(
        BlockRow(
            one.number,
            tuple(glob.pattern for glob in one.packages),
            tuple(RuleRow(key, value, f"[[rule]] {one.number}") for key, value in one.said.items()),
        )
        for one in policy.overrides
    )


def told_at(policy: Policy, purl: str, rows: Mapping[str, Sequence[RuleRow]]) -> tuple[RuleRow, ...]:
    """Every rule as it holds for one package.

    Args:
        rows: by ecosystem, where the policy's text says nothing of where its values came from.

    Raises:
        Malformed: not a purl.
    """
    rules = policy.at(purl)
    values = rules.as_dict()
    origins = {row.key: row.origin for row in rows.get(rules.ecosystem, ())}
    block = "[[rule]]"
    return tuple(
        RuleRow(key, values[key], own if block in (own := rules.origins[key]) else origins.get(key, own))
        for key in KEYS
    )
