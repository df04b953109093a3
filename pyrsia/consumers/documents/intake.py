"""Many records as the orders that a node takes: of two with one id the newer counts, whatever the order of the files.

All records are read before the first is said, so that a file that cannot be read changes nothing. What waits is kept as
it will be sent, some hundred bytes a fact. Beside its facts goes what packages a record names at all, so that the node
takes back what it said of others when the record was another.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from pyrsia.consumers.documents import osv
from pyrsia.consumers.documents.finding import Found
from pyrsia.consumers.documents.outcome import Tally
from pyrsia.errors import Malformed, Refusal
from pyrsia.serve.desks.knowing import FactTold, WholeAdvisory
from pyrsia.units import MAX_ADVISORIES_TOLD, MAX_FACTS_ORDER_BYTES, MAX_FACTS_TOLD, MAX_IMPORTED, Limit

MAX_KEPT_BYTES = Limit(1 << 30, "of all facts as they are sent: 500,000 usual records come to 290 MB")
MAX_KEPT_FACTS = Limit(3_000_000, "of one import: six a record; each costs 150 bytes beside its text")

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Telling:
    """One fact on its way: as it is sent, and whose it is if the node says no. `whole`: it is a `WholeAdvisory`."""

    raw: bytes
    where: str
    whole: bool = False


@dataclass(slots=True)
class Kept:
    """One record's.

    Attributes:
        tellings: its facts, and last what packages it names.
        outcomes: of its facts, where it is known that the node has nothing new to say of all this.
    """

    modified_ms: int
    where: str
    subjects: tuple[str, ...]
    tellings: tuple[Telling, ...]
    outcomes: tuple[str, ...] | None = None

    @property
    def facts(self) -> int:
        return len(self.tellings) - 1

    @property
    def octets(self) -> int:
        return sum(len(one.raw) for one in self.tellings)

    @property
    def newness(self) -> tuple[int, list[bytes], tuple[str, ...]]:
        """Of two with one date what they say decides, so that the order of files never does."""
        return self.modified_ms, [one.raw for one in self.tellings], self.subjects


@dataclass(slots=True)
class Intake:
    """Records by id, and what became of those that are none."""

    now_ms: int
    tally: Tally = field(default_factory=Tally)
    _kept: dict[str, Kept] = field(default_factory=dict)
    _octets: int = 0  # of all that is kept
    _facts: int = 0

    def take(self, found: Found) -> Kept | None:
        """Keep what the record comes to, or say why it comes to nothing; None then, or if a newer one is kept.

        Raises:
            Refusal: `too-large`: more records than one import has room for, or records that come to more.
        """
        self.tally.records += 1
        if self.tally.records > MAX_IMPORTED.value:
            raise _too_large(f"more than {MAX_IMPORTED.value:,} records")
        try:
            record = osv.read(found.data, self.now_ms)
        except Malformed as error:
            self.tally.refuse(found.where, str(error))
            return None
        return self._keep(record, found.where)

    def _keep(self, record: osv.Record, where: str) -> Kept | None:
        where = f"{where}: {record.id}"
        named = _encode(WholeAdvisory(record.id, record.subjects, record.modified_ms))
        tellings = (*(telling(one, where) for one in record.facts), Telling(named, where, whole=True))
        kept = Kept(record.modified_ms, where, record.subjects, tellings)
        before = self._kept.get(record.id)
        if before is not None:
            if [one.raw for one in before.tellings] != [one.raw for one in tellings]:
                self.tally.note("two records of one id, of which the newer counts")
            if kept.newness < before.newness:
                return None
        for reason in record.skipped:
            self.tally.skip(reason)
        for reason in record.noted:
            self.tally.note(reason)
        self._weigh(kept, before)
        self._kept[record.id] = kept
        return kept

    def _weigh(self, kept: Kept, before: Kept | None) -> None:
        """A record of a thousand packages says each of its words a thousand times: what it comes to is bounded too."""
        self._octets += kept.octets - (0 if before is None else before.octets)
        self._facts += kept.facts - (0 if before is None else before.facts)
        if self._octets > MAX_KEPT_BYTES.value:
            raise _too_large(f"the records come to more than {MAX_KEPT_BYTES.value:,} bytes of facts")
        if self._facts > MAX_KEPT_FACTS.value:
            raise _too_large(f"the records come to more than {MAX_KEPT_FACTS.value:,} facts")

    def settle(self) -> None:
        """Count the outcomes of records of which the node has nothing new to say, and forget those."""
        for name, kept in list(self._kept.items()):
            if kept.outcomes is not None:
                self.tally.outcomes.update(kept.outcomes)
                del self._kept[name]

    @property
    def facts(self) -> int:
        return sum(kept.facts for kept in self._kept.values())

    def tellings(self) -> Iterator[Telling]:
        """The facts of each record, and behind them what it names."""
        for kept in self._kept.values():
            yield from kept.tellings


def _too_large(what: str) -> Refusal:
    return Refusal(
        "too-large", what=what, who="your command", do="import the export of one ecosystem at a time"
    )


def telling(fact: FactTold, where: str) -> Telling:
    return Telling(_encode(fact), where)


def batches(tellings: Iterator[Telling]) -> Iterator[list[Telling]]:
    """As many at once as an order may have."""
    batch: list[Telling] = []
    left = _room()
    octets = 0
    for one in tellings:
        if batch and (not left[one.whole] or octets + len(one.raw) > MAX_FACTS_ORDER_BYTES.value):
            yield batch
            batch, left, octets = [], _room(), 0
        batch.append(one)
        left[one.whole] -= 1
        octets += len(one.raw) + 1
    if batch:
        yield batch


def _room() -> list[int]:
    """Of an order: for facts, and for what advisories name."""
    return [MAX_FACTS_TOLD.value, MAX_ADVISORIES_TOLD.value]


def order(batch: list[Telling], *, dry_run: bool) -> bytes:
    """The body of a request, as `serve.desks.knowing.FactsOrder`."""
    facts = b",".join(one.raw for one in batch if not one.whole)
    whole = b",".join(one.raw for one in batch if one.whole)
    end = b',"dry_run":true}' if dry_run else b"}"
    return b'{"facts":[' + facts + b'],"whole":[' + whole + b"]" + end
