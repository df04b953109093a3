"""A node's policy over facts that a test names."""

from dataclasses import dataclass, field

from pyrsia.policy import rules
from pyrsia.policy.evaluate import decide
from pyrsia.policy.facts import NETWORK, Agreeing, Decision, Facts
from pyrsia.serve.desks import judging
from pyrsia.serve.desks.judging import FactsAnswer, PackagesAnswer, PolicyAnswer, RecentAnswer

NOW_MS = 1_800_000_000_000
AGREEING = (Agreeing("a" * 52, "org A", "namespace"), Agreeing("b" * 52, "org B", "namespace"))


def known(purl: str, file: str, *, status: str = "REPRODUCED", sha256: str = "0" * 64, **more) -> Facts:
    return Facts(purl, NETWORK, file, sha256, status, AGREEING, "full", "identical", NOW_MS - 1_000, **more)


@dataclass
class ToyJudge:
    """`serve.desks.judging.Judge` over a list."""

    files: list[Facts] = field(default_factory=list)
    text: str = ""
    head_age_ms: int = 0
    why_stale: str = ""

    def policy(self) -> PolicyAnswer:
        found = rules.parse(self.text.encode(), "policy.toml")
        return PolicyAnswer(
            "", self.text, "", self.head_age_ms, judging.told(found), judging.told_blocks(found)
        )

    async def facts(self, purl: str) -> FactsAnswer:
        return self.known(purl)

    def known(self, purl: str) -> FactsAnswer:
        found = [one for one in self.files if purl in (one.purl, one.purl.partition("@")[0])]
        return self._answer(found)

    def facts_of_bytes(self, sha256: str) -> FactsAnswer:
        return self._answer([one for one in self.files if one.sha256 == sha256])

    async def recent(self, since_ms: int, first: int) -> RecentAnswer:
        found = [one for one in self.files if one.published_ms >= since_ms]
        page = tuple(found[first : first + 2])
        behind = len(found) <= first + 2
        return RecentAnswer(NOW_MS, self.head_age_ms, page, -1 if behind else first + 2)

    def packages(self, start: str, after: str) -> PackagesAnswer:
        names = sorted({one.purl.partition("@")[0] for one in self.files})
        page = [one for one in names if one.startswith(start) and one > after]
        return PackagesAnswer(tuple(page[:2]), page[1] if len(page) > 2 else "")

    def decision(self, facts: Facts) -> Decision:
        return decide(rules.parse(self.text.encode(), "policy.toml"), facts, NOW_MS, self.head_age_ms)

    def stale(self) -> str:
        return self.why_stale

    def _answer(self, found: list[Facts]) -> FactsAnswer:
        return FactsAnswer(found[0].origin if found else "", NOW_MS, self.head_age_ms, tuple(found))
