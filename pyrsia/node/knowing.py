"""What this node knows of one version: facts of its log about the package and about the file, as policies ask.

An answer is remembered until the history of the package or file grows or time alone changes it; the same answer is the
same object, so that whoever remembers a decision over it sees at once whether it still holds.

Source: docs/knowledge.md, "At a node".
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import trio

from pyrsia.knowledge import severities
from pyrsia.knowledge.about import about
from pyrsia.knowledge.advisories import asked
from pyrsia.knowledge.known import Known
from pyrsia.ledger.touches import digest_key, package_key
from pyrsia.node.knowledge.reading import Held, Log, Reading
from pyrsia.node.pulse import Pulse
from pyrsia.units import Limit

MAX_ANSWERS = Limit(10_000, "versions whose answer is remembered, 1 KB each; then all are asked anew")
MAX_ADVISORIES = Limit(50_000, "of all remembered answers together, 400 bytes each: 20 MB")


@dataclass(slots=True)
class _Answer:
    """`size`: of the log when it was last looked at; `seen`: the histories that it was made of."""

    known: Known
    size: int
    seen: tuple[tuple[int, bool], ...]


class Knowledge:
    """One node's."""

    def __init__(
        self, log: Log, *, clock: Callable[[], float] = time.time, pulse: Pulse | None = None
    ) -> None:
        """`pulse`: wakes who reads long histories in the background; None where nobody runs."""
        self._log, self._clock = log, clock
        self.reading = Reading(log, clock)
        self._answers: dict[tuple[str, str], _Answer] = {}
        self._advisories = 0  # of all of them
        self._revision = 0
        self._asked = pulse or Pulse()

    def known(self, purl: str, sha256: str = "") -> Known:
        """What stands about a version now, and about the file with this digest if one is named.

        The same object as long as nothing changed; its `size` is that of the log when it was made. Not `whole`
        while a long history is being read.

        Args:
            purl: canonical, with a version; without one what is said of the package as a whole.

        Raises:
            Malformed: it is no canonical purl.
        """
        size = self._log.size
        now_ms = int(self._clock() * 1_000)
        before = self._answers.get((purl, sha256))
        if before is not None:
            flips_ms = before.known.flips_ms
            if flips_ms is not None and now_ms >= flips_ms:
                before = None
            elif before.size == size and before.known.whole:
                return before.known
        held = [self.reading.look(key) for key in keys_of(purl, sha256)]
        seen = tuple((one.changes, one.whole) for one in held)
        if before is not None and before.seen == seen:
            before.size = size
            return before.known
        if not all(whole for _, whole in seen):
            self._asked.beat()
        known = self._about(held, purl, sha256, now_ms)
        self._remember((purl, sha256), _Answer(known, size, seen))
        return known

    def _remember(self, asked: tuple[str, str], answer: _Answer) -> None:
        before = self._answers.pop(asked, None)
        self._advisories += len(answer.known.advisories)
        self._advisories -= 0 if before is None else len(before.known.advisories)
        if len(self._answers) >= MAX_ANSWERS.value or self._advisories > MAX_ADVISORIES.value:
            self._answers.clear()
            self._advisories = len(answer.known.advisories)
        self._answers[asked] = answer

    def _about(self, held: list[Held], purl: str, sha256: str, now_ms: int) -> Known:
        facts = [fact for one in held for fact in one.facts.values()]
        if len(held) > 1:
            facts.sort(key=lambda one: one.leaf)
        known = about(facts, purl, sha256, now_ms, self._log.size, all(one.whole for one in held))
        beyond = sorted(set().union(*(one.beyond for one in held)))
        return replace(known, beyond=tuple(beyond)) if beyond else known

    async def read(self, purl: str, sha256: str = "") -> Known:
        """`known`, after reading all of a long history, in turns with others."""
        for key in keys_of(purl, sha256):
            await self.reading.read(key)
        return self.known(purl, sha256)

    def revision(self) -> int:
        """Grows when an answer may have changed although the log did not grow: a long history was read."""
        return self._revision

    async def run(self) -> None:
        """Read long histories that somebody asked about; until cancelled."""
        severities.warm()
        seen = 0
        while True:
            seen = await self._asked.after(seen)
            for key in self.reading.unread:
                await self.reading.read(key)
                self._revision += 1
            await trio.lowlevel.checkpoint()


@lru_cache(MAX_ANSWERS.value)
def keys_of(purl: str, sha256: str) -> tuple[bytes, ...]:
    """Index keys of the histories in which facts about a version and a file stand.

    Raises:
        Malformed: it is no canonical purl.
    """
    at = asked(purl, sha256)
    packages = tuple(package_key(package) for package in at.packages)
    return (*packages, digest_key(at.sha256)) if at.sha256 else packages
