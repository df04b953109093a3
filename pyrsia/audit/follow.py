"""Following a log: the loop around `Following`, with a source, a clock and hands that do what it decides.

A node that restarts, a proxy that answers nonsense, a hook that fails: none of it ends the loop. What ends it
is a refusal that waiting does not mend (not pinned, wrong use) and an alarm.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from pyrsia.audit.following import Alarm, Deliver, Effect, Following, Keep, Prove, Wait, Warn
from pyrsia.audit.heads import Rule
from pyrsia.audit.proven import ProvenLog
from pyrsia.audit.sources import Source
from pyrsia.errors import Malformed, PyrsiaError, Refusal, Unavailable

# Refusals that mean "not now"; any other ends the loop.
_LATER: Final = frozenset(("not-running", "unavailable", "busy", "not-found"))


class Undelivered(PyrsiaError):
    """Nobody took what was handed out; it will be handed out again."""


class Hands(Protocol):
    """What is done with a log that is followed. What these raise as `Refusal` ends the loop."""

    def keep(self, effect: Keep) -> None: ...

    def deliver(self, log: ProvenLog, first: int) -> Iterator[int]:
        """Hand out the leaves from `first` to the log's end; yields each position that is safely reached.

        Raises:
            Undelivered: nobody took it.
        """
        ...

    def alarm(self, effect: Alarm, source: str) -> None:
        """Keep the evidence and tell everybody. `source`: where the new head was read.

        Raises:
            Refusal: always, at its end.
        """
        ...

    def warn(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Begun:
    """What the first checkpoint decides: whose signatures count, where to go on, and whose hands."""

    rule: Rule
    following: Following
    hands: Hands


class Follow:
    """Follow one log.

    Attributes:
        trouble: why the last round came to nothing, None if it did not.
    """

    def __init__(
        self,
        open_source: Callable[[], Source],
        begin: Callable[[Source, bytes], Begun],
        *,
        warn: Callable[[str], None],
        now_s: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """
        Args:
            begin: given the first note that the source gives; raises `Refusal` when it cannot be followed.
            warn: tells what goes wrong before there are hands.
        """
        self._open = open_source
        self._begin = begin
        self._warn = warn
        self._now_s = now_s
        self._sleep = sleep
        self._source: Source | None = None
        self._begun: Begun | None = None
        self._single = False  # one round, whose trouble is its refusal and told by whoever catches that
        self._early = Following()  # paces the attempts before the first checkpoint
        self.trouble: PyrsiaError | None = None

    def run(self) -> None:
        """Until an alarm, or for ever.

        Raises:
            Refusal: as the class says.
        """
        try:
            while True:
                self._sleep(self.round())
        finally:
            self._drop()

    def once(self) -> None:
        """One round, for scripts and timers.

        Raises:
            Refusal: also for what a later round might mend.
        """
        self._single = True
        try:
            self.round()
        finally:
            self._drop()
        if isinstance(self.trouble, Refusal):
            raise self.trouble
        if self.trouble is not None:
            raise Refusal(
                "proof-invalid" if isinstance(self.trouble, Malformed) else "unavailable",
                what=str(self.trouble),
                who="whoever gives this log, or takes what is handed out",
                do="try again; if it stays so, ask another node",
            )

    def round(self) -> float:
        """One look at the log, with all that follows from it; the seconds to wait before the next."""
        self.trouble = None
        effects = deque(self._tried(self._look))
        wait_s = 0.0
        while effects:
            effect = effects.popleft()
            if isinstance(effect, Wait):
                wait_s = effect.seconds
            else:
                effects.extend(self._tried(lambda effect=effect: self._do(effect)))  # type: ignore[misc]
        return wait_s

    # -- one step ------------------------------------------------------------------------------

    def _tried(self, step: Callable[[], list[Effect]]) -> list[Effect]:
        """What `step` leads to; trouble is told to the core, which knows how long to wait."""
        try:
            return step()
        except (Unavailable, Malformed, Undelivered) as error:
            self.trouble = error
        except Refusal as refusal:
            if refusal.code not in _LATER:
                raise
            self.trouble = refusal
        self._drop()
        why = self.trouble.what if isinstance(self.trouble, Refusal) else str(self.trouble)
        effects = (self._early if self._begun is None else self._begun.following).on_trouble(why)
        return [one for one in effects if not (self._single and isinstance(one, Warn))]

    def _look(self) -> list[Effect]:
        if self._source is None:
            self._source = self._open()
        note = self._source.checkpoint()
        if self._begun is None:
            self._begun = self._begin(self._source, note)
        head = self._begun.rule.read(note, self._source.epoch)
        return self._begun.following.on_checkpoint(self._now_s(), head)

    def _do(self, effect: Effect) -> list[Effect]:
        if isinstance(effect, Warn):
            (self._warn if self._begun is None else self._begun.hands.warn)(effect.text)
            return []
        assert self._begun is not None  # noqa: S101 (only warnings come before the first checkpoint)
        assert self._source is not None  # noqa: S101 (dropped only with trouble, after which there is no work)
        following, hands = self._begun.following, self._begun.hands
        match effect:
            case Prove(old, new):
                log = ProvenLog(self._source, new.checkpoint)
                return following.on_proved(new, consistent=log.begins_with(old.checkpoint))
            case Keep():
                hands.keep(effect)
            case Deliver(head, first):
                for position in hands.deliver(ProvenLog(self._source, head.checkpoint), first):
                    following.on_part(position)
                return following.on_delivered(head.checkpoint.size)
            case Alarm():
                hands.alarm(effect, self._source.name)
        return []

    def _drop(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None
