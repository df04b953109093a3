"""What other rules would change: the files that the log published lately, by the rules in force and by those.

The node gives facts and its rules; both are evaluated here, and nothing is sent to it.

Source: docs/policy.md, "Trying rules".
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyrsia.policy.evaluate import decide
from pyrsia.policy.facts import Decision, Facts
from pyrsia.policy.rules import Policy
from pyrsia.units import Limit

if TYPE_CHECKING:
    from pyrsia.client import Client

MAX_PAGES = Limit(10_000, "of 500 files or 8,192 leaves each: a log of eighty million leaves")


@dataclass(frozen=True, slots=True)
class Change:
    """A file about which the two disagree. `decision`: by the rules that are tried."""

    facts: Facts
    decision: Decision

    @property
    def word(self) -> str:
        return "admitted" if self.decision.allowed else "refused"

    @property
    def why(self) -> str:
        return "; ".join(one.what for one in self.decision.reasons if not one.allows)


@dataclass(slots=True)
class Outcome:
    """Of all files that were looked at.

    Attributes:
        files: how many; `before`, `after`: how many of them are allowed by the rules in force, and by those tried.
        packages: versionless purl -> (allowed before, allowed after): whether any of its files is.
    """

    files: int = 0
    before: int = 0
    after: int = 0
    changes: list[Change] = field(default_factory=list)
    packages: dict[str, tuple[bool, bool]] = field(default_factory=dict)

    def add(self, facts: Facts, before: Decision, after: Decision) -> None:
        self.files += 1
        self.before += before.allowed
        self.after += after.allowed
        name = facts.purl.partition("@")[0]
        was, is_ = self.packages.get(name, (False, False))
        self.packages[name] = (was or before.allowed, is_ or after.allowed)
        if before.allowed != after.allowed:
            self.changes.append(Change(facts, after))

    def lost(self) -> list[str]:
        """Packages of which nothing would be given any more."""
        return sorted(name for name, (was, is_) in self.packages.items() if was and not is_)

    def won(self) -> list[str]:
        """Packages of which something would be given for the first time."""
        return sorted(name for name, (was, is_) in self.packages.items() if is_ and not was)


def run(node: "Client", since_ms: int, before: Policy, after: Policy) -> Outcome:
    """Both rules over what the node's log published since."""
    found = Outcome()
    for facts, now_ms, head_ms in _recent(node, since_ms):
        found.add(facts, decide(before, facts, now_ms, head_ms), decide(after, facts, now_ms, head_ms))
    return found


def _recent(node: "Client", since_ms: int) -> Iterator[tuple[Facts, int, int]]:
    from pyrsia.client import typed
    from pyrsia.serve.desks.judging import RecentAnswer

    first = 0
    for _ in range(MAX_PAGES.value):
        page = typed(node.get("/api/v1/policy/recent", since=since_ms, first=first), RecentAnswer)
        for one in page.files:
            yield one, page.now_ms, page.head_age_ms
        if page.next <= first:  # the last page, or a node that leads nowhere
            return
        first = page.next
