"""What is asked of a node's policy, and what it answers: plain data, no decisions.

The node implements `Judge` over its rules, log and shelves. Who wants to try other rules takes the facts and evaluates
them with the same engine: nothing has to be sent to the node for that.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from pyrsia.policy.facts import Decision, Facts, Reason
from pyrsia.policy.rules import KEYS, Policy


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
    """

    path: str
    text: str
    notice: str
    head_age_ms: int
    rules: dict[str, tuple[RuleRow, ...]]


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
