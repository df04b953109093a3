"""What somebody who follows a log does with each checkpoint: pure, told the time, so that a test replays a week.

Feed it heads whose signatures hold, and what came of the work it asked for; do the effects in order. It never
believes a head before the log under it was proved to begin with the last one, and never steps back.

Source: docs/auditing.md, "Monitor"; RFC 9162 section 8.3 (what a monitor does).
"""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from pyrsia.audit.heads import Head
from pyrsia.units import Limit

EVERY_S: Final = 5.0  # a validator signs at most once a second, and a log at rest each minute
LONGEST_S = Limit(
    60, "between two attempts at a node that does not answer: as long as a log at rest is silent"
)
STALE_S = Limit(600, "ten minutes without a cosignature: ten that were due are missing")

Trouble: TypeAlias = Literal["fork", "shrunk"]


@dataclass(frozen=True, slots=True)
class Prove:
    """Find out whether the log at `new` begins with the one at `old`; tell `on_proved`."""

    old: Head
    new: Head


@dataclass(frozen=True, slots=True)
class Keep:
    """Remember `head`, which is proved to go on from all that were kept before, and how far was handed out."""

    head: Head
    position: int


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand out the leaves `first`.. up to `head`; tell `on_part` and, at the end, `on_delivered`."""

    head: Head
    first: int


@dataclass(frozen=True, slots=True)
class Alarm:
    """Two heads that no honest log has both signed. Keep them as evidence, tell everybody, and stop."""

    trouble: Trouble
    old: Head
    new: Head


@dataclass(frozen=True, slots=True)
class Warn:
    text: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask for the next checkpoint after so many seconds."""

    seconds: float


Effect: TypeAlias = Prove | Keep | Deliver | Alarm | Warn | Wait


class Following:
    """One log, followed from `position` on."""

    def __init__(
        self,
        *,
        last: Head | None = None,
        position: int | None = None,
        every_s: float = EVERY_S,
        patient: bool = False,
    ) -> None:
        """
        Args:
            last: the newest head that was proved, if there was one.
            position: the next leaf to hand out; None: the first after the first head.
            every_s: between two looks at a log that is well.
            patient: a smaller head is a node that lags, not a log that shrank; for who only reads along.
        """
        self.last = last
        self.position = position
        self._every_s = every_s
        self._patient = patient
        self._failures = 0
        self._stale = False

    def on_checkpoint(self, now_s: float, head: Head) -> list[Effect]:
        """`head`: its signatures hold, nothing else is known of it. `now_s`: Unix time."""
        last = self.last
        effects = self._freshness(now_s, head)
        if last is None:
            return effects + self._believed(head)
        old, new = last.checkpoint, head.checkpoint
        if old.size == new.size:
            if old.root != new.root:
                return [*effects, Alarm("fork", last, head)]
            newer = (head.time_s or 0) > (last.time_s or 0)
            return effects + (self._believed(head) if newer else self._work())
        if new.size < old.size:
            if self._patient:
                lags = Warn(f"the newest checkpoint here is of size {new.size}; {old.size} was seen before")
                return [*effects, *([] if self._failures else [lags]), *self._again()]
            return [*effects, Alarm("shrunk", last, head)]
        if old.size == 0:
            return effects + self._believed(head)  # everything begins with nothing
        return [*effects, Prove(last, head)]

    def on_proved(self, head: Head, *, consistent: bool) -> list[Effect]:
        """The answer to `Prove`; that the tiles lead to `head`'s own root was checked with it."""
        assert self.last is not None  # noqa: S101 (only then is a proof asked for)
        return self._believed(head) if consistent else [Alarm("fork", self.last, head)]

    def on_part(self, position: int) -> None:
        """All leaves below `position` are handed out, and there are more to come."""
        self.position = position

    def on_delivered(self, position: int) -> list[Effect]:
        """All leaves below `position` are handed out."""
        self.position = position
        return self._work()

    def on_trouble(self, why: str) -> list[Effect]:
        """The round came to nothing: nobody answers, the answer is none, or nobody took what was handed out."""
        first = not self._failures
        return [*([Warn(why)] if first else []), *self._again()]

    def _believed(self, head: Head) -> list[Effect]:
        self.last = head
        if self.position is None:
            self.position = head.checkpoint.size
        return [Keep(head, self.position), *self._work()]

    def _work(self) -> list[Effect]:
        assert self.last is not None  # noqa: S101
        assert self.position is not None  # noqa: S101
        if self.position < self.last.checkpoint.size:
            return [Deliver(self.last, self.position)]
        self._failures = 0
        return [Wait(self._every_s)]

    def _again(self) -> list[Effect]:
        self._failures += 1
        doubled = 2.0 ** min(self._failures - 1, 10)
        return [Wait(min(doubled, LONGEST_S.value))]

    def _freshness(self, now_s: float, head: Head) -> list[Effect]:
        stale = head.time_s is not None and now_s - head.time_s > STALE_S.value
        was, self._stale = self._stale, stale
        if stale == was:
            return []
        if stale:
            age_s = int(now_s - (head.time_s or 0))
            return [
                Warn(
                    f"the newest checkpoint is {age_s} s old: the log stands still, or this copy is not given more"
                )
            ]
        return [Warn("the checkpoint is fresh again")]
