"""How a package stood when the log had a certain size: what its files were worth, and which facts there were.

The state knows what is; what was is made again out of the package's history, by the very functions that wrote it. A
history is read in short stretches, so that others have their turn; of long ones a few are read at once, and the newest
are remembered, since the pages of one answer ask again and again for the same moment.

Source: docs/inspect.md, "As the log was".
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import trio

from pyrsia.knowledge import said as saying
from pyrsia.knowledge.ecosystems import DECIDING
from pyrsia.knowledge.said import Said
from pyrsia.ledger import entries, glance, motions, standing, views
from pyrsia.ledger.state import View, load
from pyrsia.node.knowledge.reading import Log as Archived
from pyrsia.node.knowledge.reading import fact, leaves_at
from pyrsia.units import Limit

MAX_HISTORY = Limit(
    200_000,
    "leaves of one package read for a moment: fifteen a build, five builds of each of 2,600 versions; 5 s",
)
MAX_FACT_BYTES = Limit(
    16 << 20, "leaves of facts of one package that are held at once, some 60 MB as values: 10,000 advisories"
)
LONG = Limit(
    2_000, "leaves from which on a history is remembered: 50 ms, which a page of an answer can do again"
)
LONG_AT_ONCE = Limit(
    2, "long histories that are read at once: whoever asks for more of them waits for the others"
)
REMEMBERED = Limit(
    64 << 20, "bytes of memory for what is remembered: three of the longest, or one full of facts"
)
LEAF_BYTES: Final = 100  # of a leaf that is no fact, as values
FACT_TIMES: Final = 4  # as values a fact has that many times the bytes of its leaf
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
        cut: its history is too long, and was not read to the moment: nothing is known of its files.
        whole: whether nothing is missing, of the facts neither.
        read: leaves that were read for it.
        facts: those about the package or a version of it, of the kinds that policies read.
        mapping: the body of the motion that set it last, with its `leaf`; None without one.
    """

    cut: bool = False
    whole: bool = True
    read: int = 0
    held: int = 0  # bytes of the leaves behind `facts`
    facts: list[Said] = field(default_factory=list)
    mapping: dict[str, Any] | None = None
    _then: View = field(default_factory=lambda: View(lambda _: None))
    _pending: str = ""  # a request whose verdict was met, and what it spoke against is not disputed yet

    @property
    def weight(self) -> int:
        """Bytes of memory, about: facts are kept with what they say."""
        return LEAF_BYTES * self.read + FACT_TIMES * min(self.held, MAX_FACT_BYTES.value)

    def status(self, sha256: str, purl: str) -> str:
        """What these bytes were worth under this purl; "" if the history was too long to tell."""
        return self._of(sha256, purl, "status")

    def reason(self, sha256: str, purl: str) -> str:
        """Why they were worth that; "" where the log does not say."""
        return self._of(sha256, purl, "reason")

    def _of(self, sha256: str, purl: str, field: str) -> str:
        found = self._then.get(standing.status_key(sha256, purl)) if not self.cut else None
        return "" if found is None else str(found.get(field, ""))

    def meet(self, reads: Reads, index: int, leaf: bytes) -> None:
        """The next leaf of the history."""
        kind = glance.kind(leaf)
        if kind == saying.FACT:
            told = fact(index, leaf)
            if told is not None and told.kind in DECIDING:
                self.held += len(leaf)
                if self.held > MAX_FACT_BYTES.value:
                    self.whole = False
                else:
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
            elif motion is not None and motion["body"]["kind"] == "mapping.set":
                self.mapping = {**motion["body"], "leaf": index}


def enacted(reads: Reads, index: int, motion: str) -> dict[str, Any] | None:
    """The record of a motion that the approval at leaf `index` enacted; None where it did not."""
    record: dict[str, Any] | None = load(reads(f"motion/{motion}".encode()))
    if record is None or record["phase"] != motions.ENACTED or record["decided"] != index:
        return None
    return record


class Pasts:
    """One node's packages of the past; what was read long for is remembered."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._kept: OrderedDict[tuple[bytes, int], Past] = OrderedDict()
        self._turns = trio.CapacityLimiter(LONG_AT_ONCE.value)

    async def at(self, key: bytes, size: int) -> tuple[Past, int]:
        """What the history under an index key says of its package in a log of `size` leaves, and how many were read.

        Raises:
            Refusal: `not-found`: the history is not here yet.
        """
        known = self._kept.get((key, size))
        if known is not None:
            self._kept.move_to_end((key, size))
            return known, 0
        found = Past()
        stretches = _history(self._log, key, size)
        await self._read(found, stretches, LONG.value)
        if found.read >= LONG.value:
            async with self._turns:
                await self._read(found, stretches, MAX_HISTORY.value)
            found.cut = next(stretches, None) is not None
            found.whole = found.whole and not found.cut
        found.settle(self._log.state)
        if found.read >= LONG.value:
            self._keep(key, size, found)
        return found, found.read

    async def _read(self, found: Past, stretches: Iterator[list[int]], most: int) -> None:
        while found.read < most:
            await trio.lowlevel.checkpoint()
            stretch = next(stretches, None)
            if stretch is None:
                return
            for index, leaf in leaves_at(self._log, stretch):
                found.read += 1
                found.meet(self._log.state, index, leaf)

    def _keep(self, key: bytes, size: int, found: Past) -> None:
        self._kept[key, size] = found
        while len(self._kept) > 1 and sum(one.weight for one in self._kept.values()) > REMEMBERED.value:
            self._kept.popitem(last=False)


def _history(log: Log, key: bytes, size: int) -> Iterator[list[int]]:
    """Leaves of a history below `size`, a stretch at a time; none is empty."""
    at = 0
    while at < size:
        rows = [index for index, _ in log.history(key, at, STRETCH.value)]
        below = [index for index in rows if index < size]
        if below:
            yield below
        if len(rows) < STRETCH.value:
            return
        at = rows[-1] + 1
