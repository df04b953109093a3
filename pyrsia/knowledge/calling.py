"""Telling another server of facts, in the log's order and each at least once: what to send, when again, where next.

A `Caller` for each webhook. It looks through the log behind its place and sends what is wanted as one call; only a 2xx
moves the place on, and nothing else is sent before. Which leaves a call is about is kept before it goes out, so that it
has the same id when it is repeated after a crash, and its receiver can drop what it has already.

Each `on_...` gives effects, to be done in order; the last is what happens next, and what comes of it is told back here.

Source: docs/knowledge.md, "Webhooks".
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from pyrsia.knowledge import severities
from pyrsia.ledger.matching import PurlGlob
from pyrsia.units import MAX_CALL_FACTS, Limit

MAX_CALL_BYTES = Limit(
    1 << 20,
    "what most receivers take without being told to, 1 MiB; a fact alone is far smaller, and always goes",
)
FIRST_REST_S = Limit(1, "a receiver that restarts is asked again at once")
LONGEST_REST_S = Limit(3_600, "what is up again is called within an hour")
HOLE_REST_S = Limit(60, "between two looks for leaves that a snapshot left out: those come within minutes")
UNKEPT = Limit(1_000, "leaves that are looked at again after a crash, where none of them was wanted: 0.1 s")
CLOCK_SLACK_MS = Limit(600_000, "that a block's time may lie before ours, and be no history: ten minutes")

GONE: Final = 410
ADVISORY: Final = "advisory"
_DOUBLINGS: Final = 12  # 2^12 s is above the longest rest already


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to tell of what.

    Attributes:
        kinds: of fact; empty for every kind.
        packages: what the subject must match one of; empty for every subject, files too.
        severity: least one of an advisory (`severities.WORDS`); one that nobody knows is never below it.
    """

    url: str
    kinds: frozenset[str] = frozenset((ADVISORY,))
    packages: tuple[PurlGlob, ...] = ()
    severity: str = severities.WORDS[0]

    def wants(self, kind: str, subject: str, body: Mapping[str, Any]) -> bool:
        if self.kinds and kind not in self.kinds:
            return False
        if self.packages and not any(one.matches(subject) for one in self.packages):
            return False
        if kind != ADVISORY:
            return True
        bad = severities.severity(body.get("severity", ""), body.get("cvss", ""))
        return severities.rank(bad) >= severities.rank(self.severity)


@dataclass(frozen=True, slots=True)
class Place:
    """How far a webhook is told.

    Attributes:
        at: first leaf that it may not know yet.
        until: end of the call that may have gone out, which begins at `at`; -1 for none.
        from_ms: facts of before are history to it.
        failing_ms: when the first of the failures in a row was, 0 for none: a restart of the node is no answer.
    """

    at: int
    until: int = -1
    from_ms: int = 0
    failing_ms: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """One fact of the log; `raw`: as it is told, JSON."""

    leaf: int
    time_ms: int
    kind: str
    subject: str
    body: Mapping[str, Any]
    raw: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """What a `Read` found.

    Attributes:
        facts: of any kind, in order. following: first leaf that was not looked at.
        more: the log has it already. whole: nothing was missing from where the page should begin.
    """

    facts: Sequence[Told]
    following: int
    more: bool
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `id` is the same whenever it is about the same leaves; `until`: where the next one begins."""

    id: str
    body: bytes
    leaves: tuple[int, ...]
    until: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call. `status`: 0 without an answer; `why`: in words; `rest_s`: how long it asks us to wait."""

    status: int
    why: str = ""
    rest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Keep:
    """Write down the place, before what follows."""

    place: Place


@dataclass(frozen=True, slots=True)
class Read:
    """Facts from a leaf on; `on_page` next."""

    first: int


@dataclass(frozen=True, slots=True)
class Send:
    """`on_answer` next."""

    call: Call


@dataclass(frozen=True, slots=True)
class Rest:
    """`on_rested` next, after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Listen:
    """`on_rested` next, once the log has grown."""


Effect = Keep | Read | Send | Rest | Listen


class Caller:
    """One webhook's.

    Attributes:
        place: how far it is told.
        failures: calls in a row that were not answered with 2xx in this life of the node.
        trouble: why it is not being told now, "" while it is.
        stopped: it wants to hear nothing more (410).
        delivered: facts that it took in this life of the node; `last_ms`: when it took the last, 0 for never.
    """

    def __init__(self, target: Target, network: str, place: Place) -> None:
        self.target, self.place = target, place
        self.failures = self.delivered = self.last_ms = 0
        self.trouble, self.stopped = "", False
        self._network = network
        self._kept = place
        self._call: Call | None = None

    @property
    def since_ms(self) -> int:
        """When the first of the failures in a row was, in this life or an earlier one; 0 for none."""
        return self.place.failing_ms

    @property
    def state(self) -> str:
        """In one word: told, sending, failing, waiting or stopped."""
        if self.stopped:
            return "stopped"
        if self.failures:
            return "failing"
        if self.trouble:
            return "waiting"
        return "told" if self._call is None else "sending"

    def on_start(self) -> tuple[Effect, ...]:
        return (Read(self.place.at),)

    def on_rested(self) -> tuple[Effect, ...]:
        """A rest is over, or the log has grown."""
        return (Send(self._call),) if self._call is not None else (Read(self.place.at),)

    def on_page(self, page: Page) -> tuple[Effect, ...]:
        """Facts from `place.at` on."""
        if not page.whole:
            self.trouble = f"what lies behind leaf {self.place.at} is not here yet"
            return (Rest(float(HOLE_REST_S.value)),)
        self.failures, self.trouble = 0, ""  # no call failed in this life: one that did is made first
        end = max(page.following, self.place.at)
        if self.place.until >= 0:  # a call that may have gone out is made again of the same leaves
            end = min(end, self.place.until)
        facts, end = _cut([one for one in page.facts if one.leaf < end and self._wants(one)], end)
        if not facts:
            self.place = replace(self.place, at=end, until=-1, failing_ms=0)
            moved = (
                self.place.at - self._kept.at >= UNKEPT.value
                or self._kept.until >= 0
                or self._kept.failing_ms > 0
            )
            goes_on: Effect = Read(end) if page.more or end < page.following else Listen()
            return (*self._keep(), goes_on) if moved else (goes_on,)
        # Without a call that may have gone out, what failed was ours, and is over.
        since_ms = self.place.failing_ms if self.place.until >= 0 else 0
        self.place = replace(self.place, until=end, failing_ms=since_ms)
        self._call = _call(self.target.url, self._network, facts, end)
        return (*self._keep(), Send(self._call))

    def on_answer(self, now_ms: int, answer: Answer, chance: float) -> tuple[Effect, ...]:
        """What came of the call.

        Args:
            chance: 0 to 1, drawn anew each time: receivers that many nodes call are not called by all at once.
        """
        call, self._call = self._call, None
        if call is None:
            return (Read(self.place.at),)
        if 200 <= answer.status < 300:
            self.failures, self.trouble = 0, ""
            self.delivered += len(call.leaves)
            self.last_ms = now_ms
            self.place = replace(self.place, at=call.until, until=-1, failing_ms=0)
            return (*self._keep(), Read(self.place.at))
        self.trouble = answer.why or str(answer.status)
        if answer.status == GONE:
            self.stopped = True
            return ()
        self._call = call
        return self._failed(now_ms, answer.rest_s, chance)

    def on_fault(self, now_ms: int, chance: float) -> tuple[Effect, ...]:
        """What was to be done ended in a fault of this node: it is done again later."""
        self.trouble = "a fault of this node, see its diary"
        return self._failed(now_ms, 0.0, chance)

    def _failed(self, now_ms: int, wanted_s: float, chance: float) -> tuple[Effect, ...]:
        """Once more, later. Since when it fails is kept with the first failure alone."""
        self.failures += 1
        self.place = replace(self.place, failing_ms=self.place.failing_ms or now_ms)
        return (*self._keep(), Rest(_rest_s(self.failures, wanted_s, chance)))

    def _wants(self, one: Told) -> bool:
        if one.leaf < self.place.at or one.time_ms + CLOCK_SLACK_MS.value < self.place.from_ms:
            return False
        return self.target.wants(one.kind, one.subject, one.body)

    def _keep(self) -> tuple[Keep, ...]:
        if self._kept == self.place:
            return ()
        self._kept = self.place
        return (Keep(self.place),)


def signature(secret: bytes, body: bytes) -> str:
    """What says that whoever has `secret` sent these bytes: `sha256=` and an HMAC-SHA256 in hex."""
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def _cut(facts: Sequence[Told], end: int) -> tuple[Sequence[Told], int]:
    """As many as one call takes, at least one of them, and the leaf behind what it is about."""
    size = 0
    for count, one in enumerate(facts):
        size += len(one.raw) + 1
        if count and (count >= MAX_CALL_FACTS.value or size > MAX_CALL_BYTES.value):
            return facts[:count], facts[count - 1].leaf + 1
    return facts, end


def _call(url: str, network: str, facts: Sequence[Told], until: int) -> Call:
    leaves = tuple(one.leaf for one in facts)
    about = "\n".join((url, network, ",".join(map(str, leaves))))
    body = b'{"network":%s,"facts":[%s],"next":%d}' % (
        msgspec.json.encode(network), b",".join(one.raw for one in facts), until,
    )  # fmt: skip
    return Call(hashlib.sha256(about.encode()).hexdigest()[:32], body, leaves, until)


def _rest_s(failures: int, wanted_s: float, chance: float) -> float:
    """Doubling, half of it by chance; longer where the receiver asks for that, and never above an hour."""
    own = min(FIRST_REST_S.value * 2.0 ** min(failures - 1, _DOUBLINGS), float(LONGEST_REST_S.value))
    return min(max(own * (0.5 + chance / 2), wanted_s), float(LONGEST_REST_S.value))
