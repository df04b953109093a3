"""What this node knows of one version: facts of its log about the package and about the file, as policies ask.

An answer is remembered until the history of the package or file grows or time alone changes it. Files of a version of
which nobody says anything by their digest share one: a page of thousands of files costs as much as its versions. Who
remembers a decision remembers `seen` with it, and sees so whether it still holds, also when the answer was given up.

Source: docs/knowledge.md, "At a node".
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import trio

from pyrsia.knowledge import severities
from pyrsia.knowledge.about import about
from pyrsia.knowledge.advisories import asked
from pyrsia.knowledge.known import Known
from pyrsia.ledger.bodies.facts import DIGEST
from pyrsia.ledger.touches import digest_key, package_key
from pyrsia.node.knowledge.reading import Held, Log, Reading, ended_ms
from pyrsia.node.pulse import Pulse
from pyrsia.units import Limit

MAX_ANSWERS = Limit(10_000, "versions whose answer is remembered, 1 KB each; then all are asked anew")
MAX_WORDS = Limit(
    50_000, "advisories, licences and SBOMs of all remembered answers together, 400 bytes each: 20 MB"
)
MAX_LOOKS = Limit(
    20_000, "histories looked at since the last block, 300 bytes each; then all are looked at again"
)
RATED = Limit(50, "vectors rated between two turns of the loop when a node begins, 1 ms")

_FILE = "pkg:generic/file"  # of facts about a file none is about this one
_Seen = tuple[int | bool | str, ...]


@dataclass(slots=True)
class _Answer:
    """`size`: of the log when it was last looked at, -1 while it is not whole; `made_ms`: for which time.

    `seen`: what it was made of.
    """

    known: Known
    size: int
    made_ms: int
    seen: tuple[_Seen, ...]

    def holds_at(self, now_ms: int) -> bool:
        """Whether time alone, forwards or back, has not changed it."""
        flips_ms = self.known.flips_ms
        return self.made_ms <= now_ms and (flips_ms is None or now_ms < flips_ms)


@dataclass(frozen=True, slots=True)
class _Look:
    """At one history.

    Attributes:
        seen: another one where anything in it is another.
        empty: whether nothing stands in it, and all of it was read.
        files: whether anything in it is about a file, though it is a package's: an image's digest is a version.
    """

    seen: _Seen
    whole: bool
    empty: bool
    files: bool


def _words(known: Known) -> int:
    """Any member may say thousands of licences of a package, and each version's answer has them all."""
    return len(known.advisories) + len(known.licences) + len(known.sboms)


def _is_silent(purl: str, keys: tuple[bytes, ...], looks: Sequence[_Look]) -> bool:
    """Whether nothing is said of a file, whose history is the last, but what is said of its version."""
    if not purl or keys_of(purl, "") != keys[:-1]:
        return False
    return looks[-1].empty and not any(one.files for one in looks)


def _look_at(held: Held) -> _Look:
    newest = next(reversed(held.facts), "")
    return _Look(
        (held.whole, held.changes, len(held.facts), newest),
        held.whole,
        held.whole and not held.facts,
        any(f"@{DIGEST}" in one.subject for one in held.facts.values()),
    )


class Knowledge:
    """One node's."""

    def __init__(
        self, log: Log, *, clock: Callable[[], float] = time.time, pulse: Pulse | None = None
    ) -> None:
        """`pulse`: wakes who reads long histories in the background; None where nobody runs."""
        self._log, self._clock = log, clock
        self.reading = Reading(log)
        self._answers: dict[tuple[str, str], _Answer] = {}
        self._words = 0  # of all of them
        self._looks: dict[bytes, _Look] = {}
        self._looked = -1  # size of the log then
        self._revision = 0
        self._asked = pulse or Pulse()

    def known(self, purl: str, sha256: str = "") -> Known:
        """What stands about a version now, and about the file with this digest if one is named.

        The same object as long as it is remembered and nothing changed; its `size` is that of the log when it was
        made. Not `whole` while a long history is being read.

        Args:
            purl: canonical, with a version; without one what is said of the package as a whole; "" for what is said
                of the file alone.

        Raises:
            Malformed: it is no canonical purl.
        """
        size, now_ms = self._log.size, int(self._clock() * 1_000)
        before = self._answers.get((purl, sha256))
        if before is not None and before.size == size and before.holds_at(now_ms):
            return before.known
        now_ms = max(now_ms, ended_ms(self._log))
        keys = keys_of(purl, sha256)
        looks = self._looks_at(keys)
        if sha256 and _is_silent(purl, keys, looks):
            sha256, keys, looks = "", keys[:-1], looks[:-1]
        seen = tuple([one.seen for one in looks])
        before = self._answers.get((purl, sha256))
        if before is not None and before.seen == seen and before.holds_at(now_ms):
            before.size = size if before.known.whole else -1
            return before.known
        held = [self.reading.kept(key) or self.reading.look(key) for key in keys]
        known = self._about(held, purl, sha256, now_ms)
        self._remember((purl, sha256), _Answer(known, size if known.whole else -1, now_ms, seen))
        return known

    def seen(self, purl: str, sha256: str = "") -> tuple[_Seen, ...]:
        """Equal as long as `known` cannot have changed but by time; asked again and again it costs a microsecond.

        Raises:
            Malformed: it is no canonical purl.
        """
        return tuple([one.seen for one in self._looks_at(keys_of(purl, sha256))])

    def _looks_at(self, keys: Sequence[bytes]) -> list[_Look]:
        looks = [self._look(key) for key in keys]
        if not all([one.whole for one in looks]):
            self._asked.beat()
        return looks

    def _look(self, key: bytes) -> _Look:
        """At a history, once between two blocks where all of it was read."""
        size = self._log.size
        if size != self._looked or len(self._looks) >= MAX_LOOKS.value:
            self._looks.clear()
            self._looked = size
        found = self._looks.get(key)
        if found is None:
            found = _look_at(self.reading.look(key))
            if found.whole:
                self._looks[key] = found
        return found

    def _remember(self, asked: tuple[str, str], answer: _Answer) -> None:
        """Answers that were made first are given up first."""
        before = self._answers.pop(asked, None)
        self._words += _words(answer.known)
        self._words -= 0 if before is None else _words(before.known)
        while self._answers and (len(self._answers) >= MAX_ANSWERS.value or self._words > MAX_WORDS.value):
            gone = self._answers.pop(next(iter(self._answers)))
            self._words -= _words(gone.known)
        self._answers[asked] = answer

    def _about(self, held: list[Held], purl: str, sha256: str, now_ms: int) -> Known:
        facts = [fact for one in held for fact in one.facts.values()]
        if len(held) > 1:
            facts.sort(key=lambda one: one.leaf)
        known = about(facts, purl or _FILE, sha256, now_ms, self._log.size, all(one.whole for one in held))
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
        """Read long histories that somebody asked about; until cancelled.

        Before that, what every first question would wait for: the library of severities, and its ratings.
        """
        severities.warm()
        for number, vector in enumerate(severities.common()):
            severities.of_vector(vector)
            if number % RATED.value == 0:
                await trio.lowlevel.checkpoint()
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
    if not purl:
        return (digest_key(sha256),)
    at = asked(purl, sha256)
    packages = tuple(package_key(package) for package in at.histories)
    return (*packages, digest_key(at.sha256)) if at.sha256 else packages
