"""Facts of one package or file, out of its history: read once, and from then on only what is new.

What decides now is kept: facts of the kinds that policies read, without those that their authors took back or replaced.
A history may be long and hold few facts, so a question reads a bounded stretch of it, and says that there is more.

Each author has room of its own for each kind. Who says more than that loses its own further words, which is told by
name; nobody can so displace another's warning, or make what is known of a package look incomplete to a rule that asks
for something else.

Source: docs/knowledge.md, "At a node".
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, Protocol

import msgspec
import trio
from blake3 import blake3

from pyrsia._native import form
from pyrsia.knowledge.ecosystems import DECIDING
from pyrsia.knowledge.said import FACT, Said
from pyrsia.ledger import entries, glance, index, prefixtree
from pyrsia.ledger.bodies.facts import ISSUED
from pyrsia.ledger.chain import ChainHead
from pyrsia.node.log.archive import Hole
from pyrsia.units import Limit

STRETCH = Limit(128, "leaves of a history between two turns of the loop: some three milliseconds")
AT_ONCE = Limit(1_024, "leaves read within one question, 20 ms; a longer history is read beside it, once")
KEPT_BYTES = Limit(8 << 20, "leaves whose facts are kept, some 30 MB as values: a thousand busy packages")
KEPT_SUBJECTS = Limit(20_000, "histories remembered, mostly without a fact: 10 MB, a mirror's packages")
MAX_ISSUED = Limit(
    5_000,
    "advisories, or VEX, of one issuer that stand about one package: ten times what the most watched one has",
)
MAX_WORDS = Limit(
    2_000, "licences, or SBOMs, of one member about one package: one each for more versions than boto3 has"
)
GAP = Limit(32, "leaves between two of a history that are read along rather than sought one by one")

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


class Log(Protocol):
    """What is needed of `archive.Archive`."""

    @property
    def hole(self) -> Hole | None: ...
    @property
    def size(self) -> int: ...
    @property
    def head(self) -> ChainHead | None: ...
    def entry(self, index: int) -> bytes | None: ...
    def entries(self, first: int, count: int) -> list[bytes]: ...
    def history(self, key: bytes, first: int, count: int) -> list[tuple[int, bytes]]: ...
    def here_from(self, first: int) -> int: ...
    def index(self, keys: list[bytes]) -> list[bytes | None]: ...
    def leaf_of(self, entry_id: bytes) -> int | None: ...


def ended_ms(log: Log) -> int:
    """What gave way until then has done so for good: the time of the newest block, which never goes back.

    This machine's clock may: what it left out for a time that is not yet, nobody would read again.
    """
    return 0 if log.head is None else log.head.time_ms


def fact(leaf: int, raw: bytes, time_ms: int = 0) -> Said | None:
    """A leaf of the log as a fact; None for a leaf of another type. Its fields were checked before it became one."""
    if glance.kind(raw) != FACT:
        return None
    parts = form.authored(raw, entries.DOMAIN)
    if parts is None:
        entry = entries.parse(raw)
        return Said(leaf, time_ms, entry.id.hex(), glance.author(raw), entry.body)
    author, body, *_, signed = parts
    return Said(leaf, time_ms, blake3(signed).hexdigest(), author, _decode(body))


def leaves_at(log: Log, wanted: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """These leaves, which must be here, with their indexes; `wanted` in order. Neighbours are read together."""
    at = 0
    while at < len(wanted):
        end = at + 1
        while end < len(wanted) and wanted[end] - wanted[end - 1] <= GAP.value:
            end += 1
        first = wanted[at]
        if end == at + 1:
            raw = log.entry(first)
            if raw is not None:
                yield first, raw
        else:
            read = log.entries(first, wanted[end - 1] - first + 1)
            for one in wanted[at:end]:
                if one - first < len(read):
                    yield one, read[one - first]
        at = end


@dataclass(slots=True)
class Held:
    """What is known of one index key.

    Attributes:
        count: rows that its history has; `rows`: how many of them were read.
        next: leaf from which on nothing was read yet; `began`: leaf below which nothing was here to be read.
        facts: those that were neither replaced nor taken back, by id, in log order.
        bytes: of the leaves behind `facts`.
        counts: of `facts`, by author and kind.
        left: what there was no room for, as ids and leaves, as much again: it comes in when there is.
        lost: authors and kinds of which there was more still.
        back: ids of facts that stand again, since what replaced them was taken back to before it came.
    """

    key: bytes
    began: int = 0
    next: int = 0
    count: int = 0
    rows: int = 0
    facts: dict[str, Said] = field(default_factory=dict)
    bytes: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    left: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    lost: set[tuple[str, str]] = field(default_factory=set)
    back: list[str] = field(default_factory=list)
    changes: int = 0

    @property
    def whole(self) -> bool:
        """Whether the history was read to its end."""
        return self.rows == self.count

    @property
    def beyond(self) -> set[tuple[str, str]]:
        """Authors and kinds of which more stands than there is room for."""
        return {whose for whose, left in self.left.items() if left} | self.lost

    def add(self, one: Said, size: int, now_ms: int) -> None:
        """One more fact of the history; what it ends is left out from then on, unless it will end it only later.

        `now_ms`: as `ended_ms`.
        """
        if one.kind not in DECIDING:
            return
        self.changes += 1
        if one.body["valid_from"] <= now_ms:
            ended: str = one.supersedes
            while ended:  # and what that one was to end
                before = self.facts.pop(ended, None)
                if before is None:
                    self.left.get((one.author, one.kind), {}).pop(ended, None)
                    break
                self.counts[before.author, before.kind] -= 1
                if one.is_withdrawal and one.body["valid_from"] < before.body["valid_from"]:
                    self.back.append(before.supersedes)  # it never came, and ends nothing
                    break
                ended = before.supersedes
            if one.is_withdrawal:
                return
        whose, room = (one.author, one.kind), _room(one.kind)
        if self.counts[whose] >= room:
            left = self.left.setdefault(whose, {})
            if len(left) >= room:
                self.lost.add(whose)
            else:
                left[one.id] = one.leaf
            return
        self.facts[one.id] = one
        self.counts[whose] += 1
        self.bytes += size

    def returning(self) -> Iterator[int]:
        """Leaves of what was left out and has room now; each is to be added before the next is asked for."""
        for whose, left in self.left.items():
            while left and self.counts[whose] < _room(whose[1]):
                yield left.pop(next(iter(left)))


def _room(kind: str) -> int:
    return MAX_ISSUED.value if kind in ISSUED else MAX_WORDS.value


class Reading:
    """The histories that are kept."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._held: OrderedDict[bytes, Held] = OrderedDict()
        self._bytes = 0
        self._unread: dict[bytes, None] = {}  # keys that somebody shall read on

    def look(self, key: bytes) -> Held:
        """What is known of an index key now, after reading at most `AT_ONCE` leaves."""
        held = self._counted(key)
        left = AT_ONCE.value
        while left > 0 and self._more(held):
            left -= self._read(held, min(left, STRETCH.value))
        if self._more(held):
            self._unread[key] = None
        return held

    def kept(self, key: bytes) -> Held | None:
        """What was known of it when it was looked at last, without reading on."""
        return self._held.get(key)

    async def read(self, key: bytes) -> Held:
        """The same, after reading all of it, in turns with others."""
        held = self._counted(key)
        while self._more(held):
            await trio.lowlevel.checkpoint()
            self._read(held, STRETCH.value)
        self._unread.pop(key, None)
        return held

    @property
    def unread(self) -> Iterable[bytes]:
        """Keys of histories that were asked for and are not read to their end."""
        return tuple(self._unread)

    def _counted(self, key: bytes) -> Held:
        held = self._held.get(key)
        began = self._log.here_from(0)
        if held is None or (held.began and not began):  # what a snapshot left out has come since
            held = self._put(Held(key, began, began))
        else:
            self._held.move_to_end(key)
        [record] = self._log.index([index.record_key(key)])
        held.count = 0 if record is None else prefixtree.history_count(record)
        return held

    def _put(self, held: Held) -> Held:
        before = self._held.pop(held.key, None)
        self._bytes -= 0 if before is None else before.bytes
        self._held[held.key] = held
        while len(self._held) > 1 and (
            self._bytes > KEPT_BYTES.value or len(self._held) > KEPT_SUBJECTS.value
        ):
            _, gone = self._held.popitem(last=False)
            self._bytes -= gone.bytes
        return held

    def _more(self, held: Held) -> bool:
        return held.rows < held.count and held.next < self._log.size

    def _leaves(self, held: Held) -> list[int]:
        """Where those stand that came back."""
        ids, held.back = held.back, []
        found = [self._log.leaf_of(bytes.fromhex(one)) for one in ids if one and one not in held.facts]
        return [leaf for leaf in found if leaf is not None]

    def _read(self, held: Held, most: int) -> int:
        """Read the next `most` rows of a history; how many there were, at least 1."""
        before, size, now_ms = held.bytes, self._log.size, ended_ms(self._log)
        wanted = [leaf for leaf, _ in self._log.history(held.key, held.next, most)]
        for leaf, raw in leaves_at(self._log, wanted):
            told = fact(leaf, raw)
            if told is not None:
                held.add(told, len(raw), now_ms)
        for leaf in chain(self._leaves(held), held.returning()):
            again = self._log.entry(leaf)
            told = None if again is None else fact(leaf, again)
            if told is not None and again is not None:
                held.add(told, len(again), now_ms)
        held.rows += len(wanted)
        held.next = wanted[-1] + 1 if len(wanted) == most else size
        if self._held.get(held.key) is held:
            self._bytes += held.bytes - before
        return max(1, len(wanted))
