"""What people may ask of this node's policy (`serve.desks.judging.Judge`): rules, facts, decisions."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import trio

from pyrsia.ledger import entries, glance, views
from pyrsia.ledger.state import Reads
from pyrsia.node.log import times
from pyrsia.node.policy.policing import Policing, facts_of
from pyrsia.policy.facts import LOCAL, NETWORK, PROXIED, Decision, Facts
from pyrsia.policy.writing import written
from pyrsia.serve.desks import judging
from pyrsia.serve.desks.judging import FactsAnswer, PackagesAnswer, PolicyAnswer, RecentAnswer
from pyrsia.serve.desks.supply import Supply
from pyrsia.units import MAX_API_ROWS, Limit
from pyrsia.wire import purl as purls

MAX_LOOKED = Limit(8_192, "leaves looked at for one page of published files: some 30 ms, in turns")
MAX_RECENT = Limit(500, "files on one page of them, 1 MB where each has a few advisories")
MAX_WORDS = Limit(20_000, "advisories in one answer, 10 MB: a hundred files of a package with two hundred")
MAX_TEXT = Limit(200, "characters of an advisory's text that are told with a file; the fact has all of it")
TURN: Final = 8  # files between two turns of others: each takes about half a millisecond


_STRETCH: Final = 64  # leaves between two turns


class Judge:
    """One node's."""

    def __init__(
        self,
        policing: Policing,
        reads: Reads,
        supply: Supply,
        clock: Callable[[], float] = time.time,
        log: times.Log | None = None,
    ) -> None:
        """`log`: whose leaves say what was published when; None: nobody asks."""
        self._policing, self._reads, self._supply, self._clock = policing, reads, supply, clock
        self._log = log

    def policy(self) -> PolicyAnswer:
        policy, path = self._policing.policy, self._policing.path
        return PolicyAnswer(
            path=str(path) if path is not None and path.exists() else "",
            text=written(policy),
            notice=self._policing.notice,
            head_age_ms=self._policing.head_age_ms(),
            rules=judging.told(policy),
            blocks=judging.told_blocks(policy),
        )

    async def facts(self, purl: str) -> FactsAnswer:
        package = str(purls.parse(purl).versionless)
        version = "" if purl == package else purl
        if self._supply.local.owns(package):
            return self._answer(LOCAL, self._pushed(package, version))
        found: list[Facts] = []
        for one in self._published(package, version):
            found.append(self._of(one))
            if len(found) % TURN == 0:  # each is read and parsed on the loop
                await trio.lowlevel.checkpoint()
            if len(found) >= MAX_API_ROWS.value or _told(found) >= MAX_WORDS.value:
                break
        if found:
            return self._answer(NETWORK, tuple(found))
        if self._supply.upstream.takes(package):
            return self._answer(PROXIED, (self._with_knowledge(Facts(purl, PROXIED)),))
        return self._answer("", ())

    def facts_of_bytes(self, sha256: str) -> FactsAnswer:
        return self._answer(NETWORK, tuple(replace(one, by_digest=True) for one in self._named(sha256)))

    async def recent(self, since_ms: int, first: int) -> RecentAnswer:
        found: list[Facts] = []
        log = self._log
        at = end = 0
        full = False
        if log is not None:
            at = max(first, await times.first_at(log, since_ms))
            end = min(log.size, at + MAX_LOOKED.value)
        while log is not None and at < end and not full:
            for raw in log.entries(at, min(_STRETCH, end - at)):
                at += 1
                if glance.kind(raw) == "artifact.add":
                    found += self._added(raw)
                if full := len(found) >= MAX_RECENT.value or _told(found) >= MAX_WORDS.value:
                    break
            await trio.lowlevel.checkpoint()
        behind = log is None or at >= log.size
        head_ms = self._policing.head_age_ms()
        return RecentAnswer(int(self._clock() * 1_000), head_ms, tuple(found), -1 if behind else at)

    def _added(self, raw: bytes) -> Iterator[Facts]:
        body = entries.parse(raw).body
        placed = views.artifact(self._reads, body["sha256"], body["purl"])
        if placed is not None:
            yield self._of(placed)

    def packages(self, start: str, after: str) -> PackagesAnswer:
        found = [one for one in self._supply.network.packages(start) if one > after]
        page = tuple(found[: MAX_API_ROWS.value])
        return PackagesAnswer(page, page[-1] if len(found) > len(page) else "")

    def decision(self, facts: Facts) -> Decision:
        return self._policing.decision(facts)

    def stale(self) -> str:
        return self._policing.stale()

    def _answer(self, owner: str, files: tuple[Facts, ...]) -> FactsAnswer:
        known = owner if files or owner != NETWORK else ""
        return FactsAnswer(
            known,
            int(self._clock() * 1_000),
            self._policing.head_age_ms(),
            files[: MAX_API_ROWS.value],
        )

    def _pushed(self, package: str, version: str) -> tuple[Facts, ...]:
        """Which of them belong to a version is the registry's to know: rules ask nothing of pushed files."""
        rows = self._supply.local.rows(package, most=MAX_API_ROWS.value)
        return tuple(
            Facts(version or package, LOCAL, file=row.key, sha256=row.sha256, published_ms=row.time_ms)
            for row in rows
        )

    def _published(self, package: str, version: str) -> Iterator[views.Placed]:
        """Those that pages list, and what was withdrawn or is disputed; which these are is read before the first."""
        history = views.project_history(self._reads, package)
        asked = [(one, served) for one, served in history if version in ("", one.body["purl"])]
        for one, served in asked:
            if served or not views.offered(self._reads, one.body["sha256"], one.body["purl"]):
                yield one

    def _named(self, sha256: str) -> Iterator[Facts]:
        for name in views.names_of(self._reads, sha256):
            found = views.artifact(self._reads, sha256, name)
            if found is not None:
                yield self._of(found)

    def _of(self, placed: views.Placed) -> Facts:
        record = views.status(self._reads, placed.body["sha256"], placed.body["purl"])
        found = facts_of(self._reads, placed, "" if record is None else str(record["status"]))
        return self._with_knowledge(found)

    def _with_knowledge(self, facts: Facts) -> Facts:
        """Whether or not a rule asks: who tries other rules may have one that does."""
        known = self._policing.known(facts.purl, facts.sha256)
        if known is None:
            return facts
        told = tuple(replace(one, text=one.text[: MAX_TEXT.value]) for one in known.advisories)
        return replace(facts, known=replace(known, advisories=told))


def _told(found: Sequence[Facts]) -> int:
    """Advisories that stand in an answer."""
    return sum(len(one.known.advisories) for one in found if one.known is not None)
