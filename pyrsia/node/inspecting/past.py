"""How a package stood when the log had a certain size: what its files were worth, and which facts there were.

The state knows what is; what was is made again out of the package's history, by the very functions that wrote it.

Source: docs/inspect.md, "As the log was".
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import trio

from pyrsia.knowledge import said as saying
from pyrsia.knowledge.said import Said
from pyrsia.ledger import entries, glance, motions, standing, views
from pyrsia.ledger.state import View, load
from pyrsia.node.knowledge.reading import DECIDING, fact, leaves_at
from pyrsia.node.knowledge.reading import Log as Archived
from pyrsia.units import Limit

MAX_HISTORY = Limit(20_000, "leaves of one package read for one answer: half a second, in turns with others")
STRETCH = Limit(128, "leaves of a history between two turns of the loop: some three milliseconds")
_VERDICT: Final = "build.verdict"
_ADD: Final = "artifact.add"
_WITHDRAW: Final = "artifact.withdraw"
_APPROVE: Final = "motion.approve"
_WITNESS: Final = "witness"

Reads = Callable[[bytes], bytes | None]


class Log(Archived, Protocol):
    """What is needed of `archive.Archive`."""

    def state(self, key: bytes) -> bytes | None: ...


@dataclass(slots=True)
class Past:
    """One package at one size.

    Attributes:
        whole: whether all of its history was read.
        read: leaves that were read for it.
        facts: those about the package or a version of it, of the kinds that policies read.
    """

    whole: bool = True
    read: int = 0
    facts: list[Said] = field(default_factory=list)
    _then: View = field(default_factory=lambda: View(lambda _: None))
    _pending: str = ""  # a request whose verdict was met, and what it spoke against is not disputed yet

    def status(self, sha256: str, purl: str) -> str:
        """What these bytes were worth under this purl; "" if the history was too long to tell."""
        return self._of(sha256, purl, "status")

    def reason(self, sha256: str, purl: str) -> str:
        """Why they were worth that; "" where the log does not say."""
        return self._of(sha256, purl, "reason")

    def _of(self, sha256: str, purl: str, field: str) -> str:
        found = self._then.get(standing.status_key(sha256, purl)) if self.whole else None
        return "" if found is None else str(found.get(field, ""))

    def meet(self, reads: Reads, index: int, leaf: bytes) -> None:
        """The next leaf of the history."""
        kind = glance.kind(leaf)
        if kind == saying.FACT:
            told = fact(index, leaf)
            if told is not None and told.kind in DECIDING:
                self.facts.append(told)
        elif kind in (_VERDICT, _ADD, _WITHDRAW, _APPROVE):
            body = entries.parse(leaf).body
            if kind != _ADD or body["request"] != self._pending:
                self.settle(reads)
            self._change(reads, index, kind, body)

    def settle(self, reads: Reads) -> None:
        """A verdict publishes first, and then speaks against what was published before."""
        request, self._pending = self._pending, ""
        if not request:
            return
        seen = load(reads(f"request/{request}".encode()))["body"]["ecosystem"] == _WITNESS
        for body, why in views.contradicted(reads, request):
            if self._then.get(standing.status_key(body["sha256"], body["purl"])) is not None:
                standing.dispute(self._then, body, 0, why, witnessed=seen)

    def _change(self, reads: Reads, index: int, kind: str, body: dict[str, Any]) -> None:
        if kind == _VERDICT:
            self._pending = body["request"]
        elif kind == _ADD:
            standing.publish(self._then, {"body": body, "leaf": index})
        elif kind == _WITHDRAW:
            standing.withdraw(self._then, body, index)
        else:
            motion = enacted(reads, index, body["motion"])
            if motion is not None and motion["body"]["kind"] == _WITHDRAW:
                standing.withdraw(self._then, motion["body"], index)
            elif motion is not None and motion["body"]["kind"] == "dispute.resolve":
                standing.resolve(self._then, motion["body"], index)


def enacted(reads: Reads, index: int, motion: str) -> dict[str, Any] | None:
    """The record of a motion that the approval at leaf `index` enacted; None where it did not."""
    record: dict[str, Any] | None = load(reads(f"motion/{motion}".encode()))
    if record is None or record["phase"] != motions.ENACTED or record["decided"] != index:
        return None
    return record


async def past(log: Log, key: bytes, size: int) -> Past:
    """What the history under an index key says of its package, in a log of `size` leaves.

    Raises:
        Refusal: `not-found`: the history is not here yet.
    """
    found = Past()
    for stretch in _history(log, key, size):
        await trio.lowlevel.checkpoint()
        for index, leaf in leaves_at(log, stretch):
            found.read += 1
            found.meet(log.state, index, leaf)
        if found.read >= MAX_HISTORY.value:
            found.whole = False
            break
    found.settle(log.state)
    return found


def _history(log: Log, key: bytes, size: int) -> Iterator[list[int]]:
    at = 0
    while at < size:
        rows = [index for index, _ in log.history(key, at, STRETCH.value)]
        yield [index for index in rows if index < size]
        if len(rows) < STRETCH.value:
            return
        at = rows[-1] + 1
