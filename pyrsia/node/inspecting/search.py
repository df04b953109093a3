"""Records of the log: which of them a question means, and how far one answer looks.

Questions about a package go by its history in the index, those about builds by the list of requests, others through the
leaves. Each leaf that is looked at costs work, and when the work of an answer is used up it holds what was found and
where to go on. Between short stretches the loop gets its turn.

Source: docs/inspect.md, "Pages".
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio
from msgspec.structs import replace

from pyrsia.errors import Refusal
from pyrsia.knowledge.about import about
from pyrsia.knowledge.advisories import asked
from pyrsia.ledger import glance, state, views
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.touches import digest_key, package_key
from pyrsia.node.inspecting.past import Log as PastLog
from pyrsia.node.inspecting.past import Past, Pasts
from pyrsia.node.inspecting.records import KINDS, Records
from pyrsia.node.knowledge.reading import leaves_at
from pyrsia.node.log import times
from pyrsia.serve.desks.inspecting import FIELDS, InspectPage, InspectQuery, Record
from pyrsia.serve.inspecting.where import TEXTS
from pyrsia.units import Limit
from pyrsia.wire import purl as purls

WORK = Limit(
    20_000, "leaves looked at for one answer: about a tenth of a second, so that any question stays polite"
)
STRETCH = Limit(64, "leaves between two turns of the loop: some milliseconds, if each becomes a record")
DEAR: Final = 10  # making a record costs as much as looking at ten leaves
_PAGE: Final = re.compile(r"([0-9]{1,15})\.([0-9]{1,15})\.([0-9]{1,4})")
_TEXTS: Final = tuple(name for name in FIELDS if name in TEXTS)


class Log(PastLog, Protocol):
    """What is needed of `archive.Archive`."""

    def leaf_of(self, entry_id: bytes) -> int | None: ...


@dataclass(slots=True)
class _Look:
    """One answer on its way.

    Attributes:
        now_ms: Unix time of the moment, for facts that are to come.
        after: where the next page begins: leaf index and records of it to pass over; None when there is nothing more.
    """

    query: InspectQuery
    records: Records
    size: int
    now_ms: int
    left: int
    skip: int
    scanned: int = 0
    rows: list[Record] = field(default_factory=list)
    after: tuple[int, int] | None = None
    pasts: dict[bytes, Past] = field(default_factory=dict)
    counted: dict[tuple[str, str], int] = field(default_factory=dict)  # advisories, by purl and digest
    done: bool = False  # `latest` has what it wants

    @property
    def over(self) -> bool:
        if self.query.latest and self.rows:
            return self.left <= 0  # the files of one build are told together
        return self.left <= 0 or len(self.rows) >= self.query.count


class Inspector:
    """Answers `InspectQuery` out of one log (`serve.desks.inspecting.Inspecting`)."""

    def __init__(
        self,
        log: Log,
        genesis: Genesis,
        *,
        pasts: Pasts | None = None,
        clock: Callable[[], float] = time.time,
        work: int = WORK.value,
    ) -> None:
        """`work`: leaves that one answer looks at, 1 or more."""
        self._log, self._genesis, self._clock, self._work = log, genesis, clock, work
        self._pasts = pasts or Pasts(log)

    async def inspect(self, query: InspectQuery) -> InspectPage:
        """
        Raises:
            Refusal: `bad-request`: a size that the log has not reached, a page that is none; `not-found`: a history
                that is not here yet.
        """
        clock_ms = int(self._clock() * 1000)
        moment = await times.moment(self._log, query.as_of, query.as_of_ms, clock_ms)
        size = moment.size
        begin, skip = None, 0
        if query.page:
            size, begin, skip = _page(query.page, size)
        low = 0 if query.since_ms is None else await times.first_at(self._log, query.since_ms)
        high = (
            size if query.until_ms is None else min(size, await times.first_at(self._log, query.until_ms + 1))
        )
        low = self._log.here_from(low)
        if begin is not None:
            low, high = (low, min(high, begin + 1)) if query.newest else (max(low, begin), high)
        then_ms = times.time_of(self._log, size - 1) if size else 0
        look = _Look(query, Records(self._log, self._genesis, size), size, moment.time_ms, self._work, skip)
        for stretch in self._stretches(query, low, high):
            await trio.lowlevel.checkpoint()
            for index, leaf in stretch:
                if look.over:
                    look.done = query.latest and bool(look.rows)
                    look.after = None if look.done else (index, 0)
                    break
                await self._leaf(look, index, leaf)
                if look.after is not None or look.done:
                    break
            if look.after is not None or look.done:
                break
        rows = tuple(reversed(look.rows)) if query.latest else tuple(look.rows)
        following = "" if look.after is None else f"{size}.{look.after[0]}.{look.after[1]}"
        return InspectPage(size, then_ms, rows, following, look.scanned, self._log.here_from(0) == 0)

    # -- where to look -------------------------------------------------------------------------

    def _stretches(self, query: InspectQuery, low: int, high: int) -> Iterator[Sequence[tuple[int, bytes]]]:
        """Leaves that may be records from `low` to `high`, that one excluded, in the order of the answer."""
        if query.package is not None:
            keys = tuple(package_key(one) for one in query.package.purls)
            walk = self._history_down if query.newest else self._history_up
            for found in walk(keys, low, high):
                there = tuple(leaves_at(self._log, sorted(found)))
                yield there[::-1] if query.newest else there
        elif query.what == "builds":
            yield from self._requests(low, high, query.newest)
        elif query.newest:
            for at in range(high, low, -STRETCH.value):
                begin = max(low, at - STRETCH.value)
                leaves = self._log.entries(begin, at - begin)
                yield tuple(zip(range(begin, at), leaves, strict=False))[::-1]
        else:
            for at in range(low, high, STRETCH.value):
                yield tuple(enumerate(self._log.entries(at, min(STRETCH.value, high - at)), at))

    def _history_up(self, keys: Sequence[bytes], low: int, high: int) -> Iterator[set[int]]:
        """Leaves of some histories together, upwards."""
        at = low
        while at < high:
            parts = [[index for index, _ in self._log.history(key, at, STRETCH.value)] for key in keys]
            # What lies behind the end of a part that goes on may have leaves of it between.
            end = min((part[-1] for part in parts if len(part) == STRETCH.value), default=high - 1)
            yield {index for part in parts for index in part if index <= end and index < high}
            at = end + 1

    def _history_down(self, keys: Sequence[bytes], low: int, high: int) -> Iterator[set[int]]:
        """The same downwards: in windows as wide as the histories are thin."""
        at, width = high, STRETCH.value
        while at > low:
            begin = max(low, at - width)
            parts = [[index for index, _ in self._log.history(key, begin, STRETCH.value)] for key in keys]
            if width > STRETCH.value and any(
                len(part) == STRETCH.value and part[-1] < at - 1 for part in parts
            ):
                width = max(STRETCH.value, width // 2)  # there may be more of it between its end and `at`
                continue
            yield {index for part in parts for index in part if index < at}
            at, width = begin, 2 * width

    def _requests(self, low: int, high: int, newest: bool) -> Iterator[Sequence[tuple[int, bytes]]]:
        """Build requests by the list that the state has of them."""
        count = int(state.load(self._log.state(state.RECENT.encode()), 0))
        first, end = self._request_from(low, count), self._request_from(high, count)
        numbers = range(end - 1, first - 1, -1) if newest else range(first, end)
        for at in range(0, len(numbers), STRETCH.value):
            yield [self._request(number) for number in numbers[at : at + STRETCH.value]]

    def _request_from(self, leaf: int, count: int) -> int:
        """Number of the first request at or behind a leaf, in halves."""
        low, high = 0, count
        while low < high:
            middle = (low + high) // 2
            if self._leaf_of(self._id(middle)) < leaf:
                low = middle + 1
            else:
                high = middle
        return low

    def _id(self, number: int) -> str:
        return str(state.load(self._log.state(f"recent/{number:016}".encode())))

    def _leaf_of(self, request: str) -> int:
        return int(state.load(self._log.state(f"request/{request}".encode()))["leaf"])

    def _request(self, number: int) -> tuple[int, bytes]:
        index = self._leaf_of(self._id(number))
        return index, self._log.entry(index) or b""

    # -- what is found -------------------------------------------------------------------------

    async def _leaf(self, look: _Look, index: int, leaf: bytes) -> None:
        """Look at one leaf, which may be several records."""
        look.scanned += 1
        look.left -= 1
        if glance.kind(leaf) not in KINDS[look.query.what]:
            return
        made = look.records.of(look.query.what, index, leaf)
        look.left -= DEAR
        skip, look.skip = look.skip, 0
        for number, record in enumerate(made):
            if number < skip:
                continue
            if len(look.rows) >= look.query.count:
                look.after = (index, number)
                return
            await self._record(look, record)
            if look.done:
                return

    async def _record(self, look: _Look, record: Record) -> None:
        """Put the record into the answer if it is asked for."""
        query = look.query
        if query.latest and look.rows and not _together(look.rows[0], record):
            look.done = True
            return
        if not _of_package(query, record):
            return
        if query.what == "artifacts":
            record = replace(record, status=await self._status(look, record))
        dear = [one for one in query.where if one.field == "advisories"]
        if not all(one.holds(getattr(record, one.field)) for one in query.where if one not in dear):
            return
        if query.text and not _says(record, query.text.lower()):
            return
        if record.purl and (query.advisories or dear):
            record = replace(record, advisories=await self._advisories(look, record))
        if all(one.holds(record.advisories) for one in dear):
            look.rows.append(record)
            if query.latest and len(look.rows) == 1:
                look.done = not record.build_id  # what belongs to no build comes alone
                look.left = self._work  # the rest of its build, wherever the search for it ended

    async def _status(self, look: _Look, record: Record) -> str:
        """What the state says, unless that came later than the size asked about."""
        found = views.status(self._log.state, record.artifact_hash, record.purl)
        if found is not None and found["leaf"] < look.size:
            return str(found["status"])
        package = package_key(str(purls.parse(record.purl).versionless))
        return (await self._past(look, package)).status(record.artifact_hash, record.purl)

    async def _advisories(self, look: _Look, record: Record) -> int | None:
        """Counted once a version, unless something was said of the very file."""
        names = asked(record.purl, record.artifact_hash).histories
        packages = [await self._past(look, package_key(name)) for name in names]
        file = await self._past(look, digest_key(record.artifact_hash)) if record.artifact_hash else Past()
        if not all(one.whole for one in (*packages, file)):
            return None
        sha256 = record.artifact_hash if file.facts else ""
        if (record.purl, sha256) not in look.counted:
            await trio.lowlevel.checkpoint()
            facts = [fact for one in (*packages, file) for fact in one.facts]
            known = about(facts, record.purl, sha256, look.now_ms, look.size, True)
            look.counted[record.purl, sha256] = len(known.advisories)
            look.left -= len(facts)
        return look.counted[record.purl, sha256]

    async def _past(self, look: _Look, key: bytes) -> Past:
        if key not in look.pasts:
            look.pasts[key], read = await self._pasts.at(key, look.size)
            look.left -= read
        return look.pasts[key]


def _together(first: Record, record: Record) -> bool:
    """Whether a record belongs to the newest one: the same was done to a file of the same build."""
    return bool(first.build_id) and (first.operation, first.build_id) == (record.operation, record.build_id)


def _of_package(query: InspectQuery, record: Record) -> bool:
    """Whether it is of the version that is asked about: the history is of all."""
    package = query.package
    if package is None:
        return True
    found = purls.parse(record.purl)
    if str(found.versionless) not in package.purls:
        return False
    if not (package.versions or package.digest):
        return True
    return found.version in package.versions or (
        package.digest != "" and record.artifact_hash == package.digest
    )


def _says(record: Record, text: str) -> bool:
    """Whether a text of the record has `text` in it, which is in lower case."""
    for name in _TEXTS:
        value = getattr(record, name)
        several = (
            value.values()
            if isinstance(value, dict)
            else value
            if isinstance(value, tuple)
            else (value or "",)
        )
        if any(text in one.lower() for one in several):
            return True
    return False


def _page(text: str, most: int) -> tuple[int, int, int]:
    """(size, leaf index, records of that leaf to pass over) of a page's name."""
    found = _PAGE.fullmatch(text)
    size, leaf, skip = (int(one) for one in found.groups()) if found else (0, 0, 0)
    if found is None or size > most or leaf >= size:
        raise Refusal(
            "bad-request",
            what="the parameter `page` is none that this node gave for this question",
            who="the client's request",
            do="send the `next` of the page before, with the same other parameters",
        )
    return size, leaf, skip
