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


@dataclass(frozen=True, slots=True)
class Place:
    """Of a fact: whose it is, where it stands, from when on, and what it ends then."""

    whose: tuple[str, str]
    leaf: int
    valid_from: int
    supersedes: str

    @classmethod
    def of(cls, one: Said) -> "Place":
        return cls((one.author, one.kind), one.leaf, one.body["valid_from"], one.supersedes)


@dataclass(slots=True)
class Held:
    """What is known of one index key.

    Attributes:
        count: rows that its history has; `rows`: how many of them were read.
        next: leaf from which on nothing was read yet; `began`: leaf below which nothing was here to be read.
        facts: those that were neither replaced nor taken back, by id, in log order.
        bytes: of the leaves behind `facts`.
        counts: of `facts`, by author and kind.
        left: what there was no room for, by id, as much again: it comes in when there is.
        lost: authors and kinds of which there was more still.
        back: facts that stand again, since what replaced them was taken back to before it came: whose, and the id.
    """

    key: bytes
    began: int = 0
    next: int = 0
    count: int = 0
    rows: int = 0
    facts: dict[str, Said] = field(default_factory=dict)
    bytes: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    left: dict[tuple[str, str], dict[str, Place]] = field(default_factory=dict)
    lost: set[tuple[str, str]] = field(default_factory=set)
    back: list[tuple[tuple[str, str], str]] = field(default_factory=list)
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
            self._end(one)
            if one.is_withdrawal:
                return
        whose, room = (one.author, one.kind), _room(one.kind)
        if self.counts[whose] >= room:
            left = self.left.setdefault(whose, {})
            if len(left) >= room:
                self.lost.add(whose)
            else:
                left[one.id] = Place.of(one)
            return
        self.facts[one.id] = one
        self.counts[whose] += 1
        self.bytes += size

    def place(self, name: str) -> Place | None:
        """Of the fact with this id, if it is kept or was left out."""
        found = self.facts.get(name)
        if found is not None:
            return Place.of(found)
        return next((left[name] for left in self.left.values() if name in left), None)

    def _end(self, one: Said) -> None:
        """Leave out what `one` ends by having come, and what that was to end, and so on."""
        before = self._drop(one.supersedes)
        if before is None:
            return
        if one.is_withdrawal and one.body["valid_from"] < before.valid_from:
            self.back.append((before.whose, before.supersedes))  # it never came, and ends nothing
            return
        while before is not None:
            before = self._drop(before.supersedes)

    def _drop(self, name: str) -> Place | None:
        found = self.place(name) if name else None
        if found is None:
            return None
        if self.facts.pop(name, None) is not None:
            self.counts[found.whose] -= 1
        else:
            del self.left[found.whose][name]
        return found

    def give_up_the_rest(self) -> None:
        """More came back than one question reads: whoever announces so much is named as one whose words are missing."""
        self.lost.update(whose for whose, _ in self.back)
        self.back.clear()

    def returning(self) -> Iterator[int]:
        """Leaves of what was left out and has room now; each is to be added before the next is asked for."""
        for whose, left in self.left.items():
            while left and self.counts[whose] < _room(whose[1]):
                yield left.pop(next(iter(left))).leaf


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

    def _coming_back(self, held: Held, now_ms: int) -> Iterator[int]:
        """Leaves of what stands again; each is to be added before the next is asked for.

        One that is still to come ends nothing yet: what it was to end stands again as well.
        """
        for _ in range(AT_ONCE.value):
            if not held.back:
                return
            whose, one = held.back.pop()
            leaf = self._log.leaf_of(bytes.fromhex(one)) if one and held.place(one) is None else None
            if leaf is None:
                continue
            yield leaf
            found = held.place(one)
            if found is not None and found.valid_from > now_ms:
                held.back.append((whose, found.supersedes))
        held.give_up_the_rest()

    def _read(self, held: Held, most: int) -> int:
        """Read the next `most` rows of a history; how many there were, at least 1."""
        before, size, now_ms = held.bytes, self._log.size, ended_ms(self._log)
        wanted = [leaf for leaf, _ in self._log.history(held.key, held.next, most)]
        for leaf, raw in leaves_at(self._log, wanted):
            told = fact(leaf, raw)
            if told is not None:
                held.add(told, len(raw), now_ms)
        for leaf in chain(self._coming_back(held, now_ms), held.returning()):
            again = self._log.entry(leaf)
            told = None if again is None else fact(leaf, again)
            if told is not None and again is not None:
                held.add(told, len(again), now_ms)
        held.rows += len(wanted)
        held.next = wanted[-1] + 1 if len(wanted) == most else size
        if self._held.get(held.key) is held:
            self._bytes += held.bytes - before
        return max(1, len(wanted))
