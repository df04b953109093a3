"""Looking through the log: pages, filters, and the log as it was at a size or a time.

Decides which leaves a `LogQuery` means and how far one request looks: every leaf costs work, and when the work
of a request is used up its answer holds what was found and where to go on. Between short stretches the loop
gets its turn, so that a filter which matches nothing disturbs nobody.

Times are those of blocks (`times`).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import trio

from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger import glance, views
from pyrsia.ledger.chain import ChainHead
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.matching import Filter
from pyrsia.ledger.touches import package_key
from pyrsia.log import tiles
from pyrsia.log.tree import EMPTY_ROOT, Frontier
from pyrsia.node.log import times
from pyrsia.node.log.summary import summary
from pyrsia.serve.desks.views import LogPage, LogQuery
from pyrsia.status import EntryStatus
from pyrsia.units import Limit, TreeSize
from pyrsia.wire.text import unb32

WORK = Limit(
    20_000, "leaves looked at for one answer: about a tenth of a second, so that any filter stays polite"
)
STRETCH = Limit(64, "leaves between two turns of the loop: three milliseconds, if each becomes a row")
DEAR = 10  # making a leaf's line, or looking up its request, costs as much as looking at ten leaves


class Log(Protocol):
    """What is needed of `archive.Archive`."""

    @property
    def head(self) -> ChainHead | None: ...
    @property
    def size(self) -> int: ...
    def entry(self, index: int) -> bytes | None: ...
    def entries(self, first: int, count: int) -> list[bytes]: ...
    def leaf_of(self, entry_id: bytes) -> int | None: ...
    def state(self, key: bytes) -> bytes | None: ...
    def history(self, key: bytes, first: int, count: int) -> list[tuple[int, bytes]]: ...
    def tile(self, level: int, index: int, width: int) -> bytes | None: ...
    def here_from(self, first: int) -> int: ...


@dataclass(slots=True)
class _Look:
    """One request on its way: what it wants, what it may still do, and what it found."""

    filter: Filter
    text: bytes
    count: int
    left: int
    package: bytes | None  # index key, if only one package is asked for
    scanned: int = 0
    rows: list[EntryStatus] = field(default_factory=list)
    packages: dict[str, str] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return self.left <= 0 or len(self.rows) >= self.count


class Explorer:
    """Answers `LogQuery` out of one log."""

    def __init__(
        self, log: Log, genesis: Genesis, *, clock: Callable[[], float] = time.time, work: int = WORK.value
    ) -> None:
        """One request's: it knows the members' names of now. `work`: leaves that one answer looks at, 1 or more."""
        self._log, self._clock = log, clock
        self._work = work
        self._names = names_of(log, genesis)

    async def find(self, query: LogQuery) -> LogPage:
        """
        Raises:
            Refusal: `bad-request`: an author that is no member, a size that the log has not reached.
        """
        look = self._look(query)
        now_ms = int(self._clock() * 1000)
        size = (await times.moment(self._log, query.as_of, query.as_of_ms, now_ms)).size
        low = 0 if query.since_ms is None else await times.first_at(self._log, query.since_ms)
        high = (
            size if query.until_ms is None else min(size, await times.first_at(self._log, query.until_ms + 1))
        )
        first, down = _start(query, low, high)
        if query.first is None and not down and first > low:  # the newest page: what is here of it
            first = min(self._log.here_from(first), high - 1)
        after = -1
        if down:
            walk = self._down if look.package is None else self._history_down
            after = await walk(look, min(first, high - 1), low)
        else:
            walk = self._up if look.package is None else self._history_up
            after = await walk(look, max(first, low), high)
        return LogPage(size, self._root(size).hex(), first, tuple(look.rows), after, look.scanned)

    # -- what is meant -------------------------------------------------------------------------

    def _look(self, query: LogQuery) -> _Look:
        author, text = self._author(query.author), query.text.encode("utf-8", "replace").lower()
        if query.purl is not None and query.purl.package:
            # The index knows every leaf about the package, so only a version is left to ask for.
            purls = (query.purl,) if "@" in query.purl.pattern else ()
            package = package_key(query.purl.package)
        else:
            purls, package = (() if query.purl is None else (query.purl,)), None
        wanted = Filter(query.kinds, author, purls, (), query.verdicts)
        return _Look(wanted, text, query.count, self._work, package)

    def _author(self, wanted: str) -> str:
        """The node id text that `wanted` is or names; an id need not be a present member's."""
        named = [text for text, name in self._names.items() if name == wanted]
        if named or not wanted:
            return named[0] if named else ""
        try:
            unb32(wanted)
        except Malformed:
            raise Refusal(
                "bad-request",
                what=f"no member is called {wanted}",
                who="the client's request",
                do="send author=<node id>, or the name of a member of now or of genesis",
            ) from None
        return wanted

    def _root(self, size: int) -> bytes:
        head = self._log.head
        if head is not None and head.tree_size == size:
            return head.tree_root
        if size == 0:
            return EMPTY_ROOT
        of = TreeSize(size)

        def row(level: int, index: int) -> bytes:
            return self._log.tile(level, index, tiles.width(level, index, of)) or b""

        return Frontier.from_tiles(of, row).root()

    # -- looking -------------------------------------------------------------------------------

    async def _up(self, look: _Look, at: int, end: int) -> int:
        """Look from leaf `at` to `end`, that one excluded; where to go on, or -1."""
        while at < end and not look.over:
            await trio.lowlevel.checkpoint()
            leaves = self._log.entries(at, min(STRETCH.value, end - at, look.left))
            if not leaves:
                return -1
            at += self._stretch(look, at, leaves, range(len(leaves)))
        return at if at < end else -1

    async def _down(self, look: _Look, at: int, end: int) -> int:
        """Look from leaf `at` down to `end`, that one included; where to go on, or -1."""
        while at >= end and not look.over:
            await trio.lowlevel.checkpoint()
            count = min(STRETCH.value, at - end + 1, look.left)
            count = min(count, max(1, at + 1 - self._log.here_from(at - count + 1)))
            leaves = self._log.entries(at - count + 1, count)
            if len(leaves) < count:
                return -1
            at -= self._stretch(look, at - count + 1, leaves, range(count - 1, -1, -1))
        return at if at >= end else -1

    async def _history_up(self, look: _Look, at: int, end: int) -> int:
        """`_up`, over the leaves that the index has for one package."""
        assert look.package is not None  # noqa: S101 (only then is this called)
        while at < end and not look.over:
            await trio.lowlevel.checkpoint()
            wanted = min(STRETCH.value, look.left)
            found = [index for index, _ in self._log.history(look.package, at, wanted)]
            for index in found:
                if index >= end:
                    return -1
                self._single(look, index)
                at = index + 1
                if look.over:
                    break
            if len(found) < wanted and not look.over:
                return -1
        return at if at < end else -1

    async def _history_down(self, look: _Look, at: int, end: int) -> int:
        """`_down`, over the leaves that the index has for one package: in windows as wide as they are thin."""
        assert look.package is not None  # noqa: S101 (only then is this called)
        width = STRETCH.value
        while at >= end and not look.over:
            await trio.lowlevel.checkpoint()
            begin = max(end, at - width + 1)
            found = [
                index for index, _ in self._log.history(look.package, begin, STRETCH.value) if index <= at
            ]
            if len(found) == STRETCH.value and found[-1] < at and width > STRETCH.value:
                width = max(STRETCH.value, width // 2)  # there may be more between the last of them and `at`
                continue
            at = begin - 1
            for index in reversed(found):
                self._single(look, index)
                if look.over:
                    at = index - 1
                    break
            width *= 2
        return at if at >= end else -1

    def _single(self, look: _Look, index: int) -> None:
        """Look at one leaf."""
        leaf = self._log.entry(index)
        if leaf is not None:
            self._stretch(look, index, (leaf,), range(1))

    def _stretch(self, look: _Look, first: int, leaves: Sequence[bytes], order: range) -> int:
        """Look at `leaves` in `order` until the look is over; how many were looked at."""
        sealed: list[int] = []
        for done, offset in enumerate(order, 1):
            look.scanned += 1
            look.left -= 1
            row = self._row(look, first + offset, leaves[offset])
            if row is not None:
                sealed = sealed or times.times_of(self._log, first, leaves)
                look.rows.append(msgspec.structs.replace(row, time_ms=sealed[offset]))
            if look.over:
                return done
        return len(order)

    def _row(self, look: _Look, index: int, leaf: bytes) -> EntryStatus | None:
        """The leaf's line if it is wanted."""
        if not look.filter.passes(leaf, lambda entry: self._package(look, entry)):
            return None
        if look.text and look.text not in leaf.lower():
            look.left -= DEAR
            row = summary(index, leaf, self._names)
            return row if look.text in row.summary.encode("utf-8", "replace").lower() else None
        return summary(index, leaf, self._names)

    def _package(self, look: _Look, entry: str) -> str:
        """The purl that a request or motion is about; "" for none."""
        if entry not in look.packages:
            look.left -= DEAR
            index = self._log.leaf_of(bytes.fromhex(entry))
            leaf = None if index is None else self._log.entry(index)
            named = () if leaf is None else glance.packages(leaf)
            look.packages[entry] = named[0] if named else ""
        return look.packages[entry]


def names_of(log: Log, genesis: Genesis) -> dict[str, str]:
    """What people call the members: those of genesis, who may have left, and those of now."""
    return {member.text: member.name for member in genesis.members} | views.names(log.state)


def _start(query: LogQuery, low: int, high: int) -> tuple[int, bool]:
    """(where the page begins, whether it goes down). `low` and `high` bound what may be shown."""
    if query.order == "newest" or (not query.order and query.first is None and query.filters):
        return (high - 1 if query.first is None else query.first), True
    if query.first is not None:
        return query.first, False
    return (low if query.order else max(low, high - query.count)), False
