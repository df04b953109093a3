"""Many facts to a node: some orders at once, those again for which it had no room, and an end that says what stands.

A fact that the node says already is no new entry, so the same import can be stopped and run again at any time.
"""

import threading
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any, Final

import click

from pyrsia.cli.log.common import Progress
from pyrsia.client import Client, foreign, typed
from pyrsia.consumers.documents.intake import Telling, batches, order
from pyrsia.consumers.documents.outcome import OUTCOMES, Tally
from pyrsia.errors import Refusal
from pyrsia.serve.desks.knowing import FactOutcome, FactsOutcome, WholeOutcome
from pyrsia.units import Limit

BATCH: Final = "/api/v1/facts/batch"
AT_ONCE = Limit(
    4, "orders of 500 facts on their way: the next is read while the blocks of the last are agreed"
)
MAX_PAUSE_S = Limit(
    60, "between two attempts while a node is busy: people look at their terminal once a minute"
)
PATIENCE_S: Final = 300.0  # of one answer: 500 facts of a busy network take some seconds
_LOOK_S: Final = 0.2  # between two looks at what came back
_QUIET_S: Final = 10.0  # between two words about a busy node
# No other fact fares better: the node is no issuer, or this user may not say anything.
_ENDS: Final = frozenset(("forbidden", "unauthenticated"))


_Outcome = FactOutcome | WholeOutcome


class Counting(Progress):
    """How many are done, how fast, and how long the rest takes at that."""

    def __init__(self, doing: str, things: str = "facts") -> None:
        super().__init__(doing)
        self._things = things

    def line(self, done: int, total: int, rate: float) -> str:
        of = f" of {total:,}" if total else ""
        left_s = int((total - done) / rate) if total and rate >= 1 else 0
        left = f", {left_s // 60}:{left_s % 60:02} left" if left_s else ""
        return f"{self._doing} {done:,}{of} {self._things}, {rate:,.0f}/s{left}"


class Saying:
    """One import's facts on their way to one node."""

    def __init__(
        self, target: str | None, tally: Tally, *, dry_run: bool, patience_s: float, quiet: bool
    ) -> None:
        """`patience_s`: how long a busy node may put off one order without taking anything of it."""
        self._node = Client(target, patience_s=PATIENCE_S)
        self._tally = tally
        self._dry_run, self._patience_s, self._quiet = dry_run, patience_s, quiet
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._done = 0
        self._next_word_s = 0.0

    def all(self, tellings: Iterable[Telling], total: int) -> None:
        """See them said. Interrupted or refused, what is on its way is waited for, so that the tally is true.

        Raises:
            Refusal: the node's, where it concerns them all; what was said before stands.
        """
        progress = Counting("said")
        waiting = batches(iter(tellings))
        running: set[Future[None]] = set()
        with ThreadPoolExecutor(AT_ONCE.value) as pool:
            try:
                while True:
                    for batch in islice(waiting, AT_ONCE.value - len(running)):
                        running.add(pool.submit(self._order, batch))
                    if not running:
                        break
                    done, running = wait(running, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
                    for one in done:
                        one.result(timeout=0)
                    progress(self._done, total)
            finally:
                self._stop.set()
                progress.end()
                if running:
                    click.echo("waiting for what is on its way", err=True)

    def _order(self, batch: list[Telling]) -> None:
        """One order and what is left of it, until the node took all or said no."""
        left, put_off_s = batch, 0.0
        while left and not self._stop.is_set():
            before = len(left)
            left, busy = self._once(left)
            if busy is None:
                continue
            put_off_s = 0.0 if len(left) < before else put_off_s  # what goes on slowly goes on
            pause_s = min(max(1, busy.retry_s), MAX_PAUSE_S.value)
            if put_off_s + pause_s > self._patience_s:
                raise busy.again()
            self._tell_busy(pause_s)
            self._stop.wait(pause_s)
            put_off_s += pause_s

    def _tell_busy(self, pause_s: int) -> None:
        """Not more often than people read."""
        with self._lock:
            now_s = time.monotonic()
            if self._quiet or now_s < self._next_word_s:
                return
            self._next_word_s = now_s + _QUIET_S
        click.echo(f"the node is busy; again in {pause_s} s", err=True)

    def _once(self, batch: list[Telling]) -> tuple[list[Telling], Refusal | None]:
        """Those that must be said again, and the node's reason."""
        try:
            answer = self._node.post_bytes(BATCH, order(batch, dry_run=self._dry_run))
        except Refusal as refusal:
            if refusal.code != "busy":
                raise
            return batch, refusal
        told = typed(answer, FactsOutcome)
        facts = [one for one in batch if not one.whole]
        whole = [one for one in batch if one.whole]
        if (len(told.outcomes), len(told.whole)) != (len(facts), len(whole)):
            raise _miscounted(len(batch), len(told.outcomes) + len(told.whole))
        pairs: list[tuple[Telling, _Outcome]] = [*zip(facts, told.outcomes, strict=True)]
        pairs += zip(whole, told.whole, strict=True)
        again: list[Telling] = []
        busy: Refusal | None = None
        end: Refusal | None = None
        for telling, outcome in pairs:
            no = _no(outcome)
            if no is not None and no.code in _ENDS:
                end = end or no  # of the others some may stand: they are told of before all ends
                continue
            if no is not None and no.code == "busy":
                again.append(telling)
                busy = no if busy is None or no.retry_s > busy.retry_s else busy
            self._count(telling, outcome, no)
        if end is not None:
            raise end
        return again, busy

    def _count(self, telling: Telling, outcome: _Outcome, no: Refusal | None) -> None:
        """What is said again is counted then; what was taken back of an advisory before that is."""
        with self._lock:
            if isinstance(outcome, WholeOutcome):
                self._tally.outcomes["withdrawn"] += outcome.withdrawn
            elif no is None:
                self._tally.outcomes[outcome.outcome] += 1
            busy = no is not None and no.code == "busy"
            if no is not None and not busy:
                self._tally.refuse(telling.where, f"{no.what}; {no.do}")
            self._done += not (telling.whole or busy)


def _no(outcome: _Outcome) -> Refusal | None:
    if isinstance(outcome, WholeOutcome):
        return None if outcome.error is None else Refusal.from_dict(outcome.error)
    if outcome.outcome in OUTCOMES:
        return None
    return Refusal.from_dict(outcome.error or {})


def _miscounted(asked: int, answered: int) -> Refusal:
    return foreign(f"{asked} facts were sent and {answered} answered for")


def goes_by(error: BaseException) -> bool:
    """Whether the same command may end otherwise later: it was interrupted, or the node is busy or away."""
    return not isinstance(error, Refusal) or error.code not in _ENDS


def stood(tally: Tally, *, again: bool = True) -> str:
    """What an import that ends early leaves behind, in a sentence. `again`: whether running it again may help."""
    said = ", ".join(f"{tally.outcomes[name]:,} {name}" for name in OUTCOMES if tally.outcomes[name])
    return f"so far: {said or 'nothing said'}{'; run the same command again for the rest' * again}"


def summary(tally: Tally, *, dry_run: bool, most: int) -> Iterable[str]:
    """What became of everything. `most`: rows of each list; the rest is counted."""
    would = "would be " if dry_run else ""
    yield f"{tally.records:,} record{'s' * (tally.records != 1)} read"
    for name in OUTCOMES:
        if name != "older":
            yield f"  {tally.outcomes[name]:>9,}  {'' if name == 'same' else would}{name}"
    if tally.outcomes["older"]:
        yield f"  {tally.outcomes['older']:>9,}  older than what this node said since, or took back: not said"
    for title, counted in (("left out:", tally.skipped), ("on the way:", tally.noted)):
        if counted:
            yield title
            yield from (f"  {count:>9,}  {reason}" for reason, count in islice(counted.most_common(), most))
    if len(tally.skipped) > most:
        yield f"             and {len(tally.skipped) - most:,} more reasons; --json has them"
    if tally.refused:
        yield f"refused: {tally.refused:,}"
        yield from (f"  {where}: {why}" for where, why in tally.shown[:most])
    if tally.refused > most:
        yield f"  and {tally.refused - most:,} more; --json has the first {len(tally.shown):,}"


def as_answer(tally: Tally, *, dry_run: bool) -> dict[str, Any]:
    return {"ok": not tally.refused, "dry_run": dry_run, **tally.as_dict()}
