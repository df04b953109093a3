"""What a node says already, asked while the rest is still read: so that the same import again waits for one of both.

A question is a dry run and changes nothing. A record of which the node would say nothing new is done with; every other
one, and each of which no clear answer came, is said once all is read. Where little stands already (a first import) the
questions end with the first answer.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from pyrsia.cli.facts.saying import BATCH
from pyrsia.client import Client, typed
from pyrsia.consumers.documents.intake import Kept, Telling, order
from pyrsia.errors import Refusal
from pyrsia.serve.desks.knowing import FactsOutcome
from pyrsia.units import MAX_FACTS_ORDER_BYTES, MAX_FACTS_TOLD, Limit

ASKED = Limit(2, "orders on their way: a node looks at one faster than 500 records are read")
ANSWER_S = Limit(
    60, "of one order, twice the silence that ends a question: what takes longer is said without it"
)
_NOTHING_NEW: Final = frozenset(("same", "older"))
_WORTH: Final = 0.5  # of the records of an order, below which asking on would cost more than it saves


class Probing:
    """One import's questions. Use it as a context: at its end nothing is on its way."""

    def __init__(self, target: str | None) -> None:
        self._node = Client(target)
        self._pool = ThreadPoolExecutor(ASKED.value)
        self._running: list[Future[None]] = []
        self._next: list[Kept] = []
        self._facts = self._bytes = 0
        self._over = False

    def __enter__(self) -> "Probing":
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._pool.shutdown(cancel_futures=True)

    def take(self, kept: Kept) -> None:
        """Ask about this record, with others; `outcomes` of it are set if it has nothing new."""
        if self._over:
            return
        octets = sum(len(one.raw) + 1 for one in kept.tellings)
        full = (
            self._bytes + octets > MAX_FACTS_ORDER_BYTES.value
            or self._facts + kept.facts > MAX_FACTS_TOLD.value
        )
        if full and self._next:
            self._go()
        self._next.append(kept)
        self._facts += kept.facts
        self._bytes += octets

    def finish(self) -> None:
        """Wait for what is on its way."""
        if self._next and not self._over:
            self._go()
        while self._running and not self._over:
            self._wait()

    def _go(self) -> None:
        going, self._next = self._next, []
        self._facts = self._bytes = 0
        if len(self._running) >= ASKED.value:
            self._wait()
        if not self._over:
            self._running.append(self._pool.submit(self._ask, going))

    def _wait(self) -> None:
        """For the oldest. One that takes longer than the node's own patience is waited for no more."""
        try:
            self._running.pop(0).result(timeout=ANSWER_S.value)
        except TimeoutError:
            self._over = True

    def _ask(self, going: Sequence[Kept]) -> None:
        tellings = [one for kept in going for one in kept.tellings]
        try:
            told = typed(self._node.post_bytes(BATCH, order(tellings, dry_run=True)), FactsOutcome)
        except Refusal:  # what it is, and whether it lasts, is told when the facts are said
            self._over = True
            return
        if _known(going, tellings, told) < len(going) * _WORTH:
            self._over = True


def _known(going: Sequence[Kept], tellings: Sequence[Telling], told: FactsOutcome) -> int:
    """Mark the records that have nothing new; how many they are."""
    whole = sum(one.whole for one in tellings)
    if told.beside or (len(told.outcomes), len(told.whole)) != (len(tellings) - whole, whole):
        return 0
    outcomes, wholes = iter(told.outcomes), iter(told.whole)
    known = 0
    for kept in going:
        names = tuple(next(outcomes).outcome for _ in range(kept.facts))
        gone = next(wholes)
        if _NOTHING_NEW.issuperset(names) and not gone.withdrawn and gone.error is None:
            kept.outcomes = names
            known += 1
    return known
