"""Facts of this node on their way to the log: each at most once, a change in the place of what it changes.

Decides what an order's rows come to (added, changed, same, older, withdrawn, refused); seeing entries into the log is
`batch`'s. An order that speaks of what an earlier one is just speaking of (the same name, the same advisory) waits for
that one and holds up nobody else, so two orders for one fact make no two entries. Some entries are on their way at a
time, fewer than one author may have waiting, so that what the node itself must say finds room.

Source: docs/knowledge.md, "At a node".
"""

import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import trio

from pyrsia.errors import Malformed, Refusal
from pyrsia.knowledge.ecosystems import DECIDING, strange
from pyrsia.knowledge.homepages import strange_page
from pyrsia.knowledge.said import ADVISORY, FACT
from pyrsia.ledger.bodies import AUTHORED
from pyrsia.ledger.bodies.facts import KINDS
from pyrsia.ledger.facts import RECHECK
from pyrsia.ledger.roster import ISSUER
from pyrsia.node.knowledge.speakers import check, may_say, no_issuer, roles_of
from pyrsia.node.knowledge.underway import Entry, Turn, Underway
from pyrsia.node.knowledge.words import Advisory, Word, Words, name_of, says
from pyrsia.node.log.batch import Outcome
from pyrsia.node.log.submission import BUSY
from pyrsia.serve.desks.knowing import (
    FactOutcome,
    FactsOrder,
    FactsOutcome,
    FactTold,
    WholeOutcome,
)
from pyrsia.units import MEMPOOL_AUTHOR_ENTRIES, MEMPOOL_ISSUER_ENTRIES, Limit

TOGETHER = Limit(40, "entries signed between two turns of the loop, 6 ms, and sent together")
ON_THE_WAY = Limit(
    4, "groups at once: 160 entries of the 200 that one author may have waiting, so that its builds find room"
)
ISSUING = Limit(
    10, "the same of an issuer: 400 of 500, so that a block that costs 20 ms by itself holds hundreds"
)
ORDERS = Limit(8, "orders at once, a few megabytes each; more wait in their requests")
GONE = Limit(
    2_000, "facts that one order takes back by `whole`: two monorepos; the rest is told to be sent again"
)
AGAIN_S: Final = 1  # until the rest of them may be sent
TURN: Final = 200  # rows looked at between two turns of the loop, 4 ms

ADDED, CHANGED, SAME, WITHDRAWN, REFUSED = "added", "changed", "same", "withdrawn", "refused"
OLDER: Final = "older"  # than the record that this node's word of the same advisory came from
_OPEN: Final = frozenset((BUSY, "unavailable"))  # refusals after which an entry may still come into the log
_OURS: Final = ("kind", "subject", "supersedes", "text", "valid_from", "withdrawn")

assert TOGETHER.value * ON_THE_WAY.value < MEMPOOL_AUTHOR_ENTRIES.value  # noqa: S101 (two numbers that belong together)
assert TOGETHER.value * ISSUING.value < MEMPOOL_ISSUER_ENTRIES.value  # noqa: S101 (the same)


@dataclass(slots=True)
class _Row:
    """One fact of an order: what it comes to, and the body to say for that."""

    told: FactTold
    name: bytes = b""
    body: dict[str, Any] = field(default_factory=dict)
    outcome: FactOutcome | None = None
    becomes: str = ""
    first: bool = False  # the body only makes way for the one that the row is about


class Saying:
    """One node's."""

    def __init__(
        self,
        words: Words,
        *,
        author: Callable[[str, dict[str, Any]], bytes],
        submit: Callable[[Sequence[bytes]], Awaitable[list[Outcome]]],
        member: Callable[[], Mapping[str, Any] | None],
        holds: Callable[[Mapping[str, Any]], bool],
        underway: Underway,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            author: a signed entry of this node.
            submit: sees entries into the log together (`batch.Batches.submit`).
            member: this node's fields as a member; None while it is none.
            holds: whether the bytes of a blob record are here.
            underway: remembers what went out, beyond a crash.
        """
        self._words, self._author, self._submit = words, author, submit
        self._member, self._holds, self._clock = member, holds, clock
        self._underway = underway
        self._following = trio.Lock()
        self._orders = trio.CapacityLimiter(ORDERS.value)
        self._groups = trio.Semaphore(ON_THE_WAY.value)
        self._issuing = trio.Semaphore(ISSUING.value)
        # Orders by what they speak of, the earliest first.
        self._being_said: dict[Turn, list[trio.Event]] = {}

    async def say(self, order: FactsOrder) -> FactsOutcome:
        """As `serve.desks.knowing.KnowledgeDesk.say`."""
        roles = roles_of(self._member())
        async with self._orders:
            rows = await self._read_all(order.facts, roles)
            asked = [row for row in rows if row.outcome is None]
            turns = {*map(_turn, asked), *(one.advisory for one in order.whole)}
            async with self._in_turn(turns):
                waits = {} if order.dry_run else await self._settle(turns)
                gone, beside = await self._plan(asked, order, roles, waits)
                every = (*rows, *chain.from_iterable(gone), *beside)
                wanted = [row for row in every if row.outcome is None]
                if order.dry_run:
                    for row in wanted:
                        row.outcome = FactOutcome(row.becomes)
                else:
                    await self._see_all(wanted, roles)
        told = tuple(row.outcome for row in rows if row.outcome is not None)
        return FactsOutcome(told, tuple(map(_whole, gone)), len(beside))

    async def _see_all(self, rows: Sequence[_Row], roles: Collection[str]) -> None:
        groups = self._issuing if ISSUER in roles else self._groups
        await self._see(rows, groups)
        again = [
            row for row in rows if row.first and row.outcome is not None and row.outcome.outcome == WITHDRAWN
        ]
        for row in again:
            row.outcome, row.first = None, False
        if again:
            await self._plan(again, FactsOrder(), roles, {})
            await self._see([row for row in again if row.outcome is None], groups)

    async def _settle(self, turns: Iterable[Turn]) -> dict[Turn, Refusal]:
        """Offer again what went out earlier and may still come; why not, for what is open all the same."""
        going = self._underway.open(turns, int(self._clock() * 1_000))
        if not going:
            return {}
        told = await self._submit([one.raw for one in going])
        still = {
            one.turn: said
            for one, said in zip(going, told, strict=True)
            if isinstance(said, Refusal) and said.code in _OPEN
        }
        self._underway.settled(one.name for one in going if one.turn not in still)
        return still

    @asynccontextmanager
    async def _in_turn(self, turns: Iterable[Turn]) -> AsyncIterator[None]:
        """Wait for the orders before this one that speak of one of these; those behind it wait for it.

        All turns are taken at once, so no two orders wait for each other.
        """
        through = trio.Event()
        earlier: dict[trio.Event, None] = {}
        for one in turns:
            queue = self._being_said.setdefault(one, [])
            earlier.update(dict.fromkeys(queue))
            queue.append(through)
        try:
            for event in earlier:
                await event.wait()
            yield
        finally:
            for one in turns:
                queue = self._being_said[one]
                queue.remove(through)
                if not queue:
                    del self._being_said[one]
            through.set()

    # -- planning --

    async def _read_all(self, facts: Iterable[FactTold], roles: Collection[str]) -> list[_Row]:
        """Rows in the order of the facts; those that nothing can come of are refused."""
        rows = [_Row(told) for told in facts]
        named: set[bytes] = set()
        for at, row in enumerate(rows):
            if at % TURN == 0:
                await trio.lowlevel.checkpoint()
            try:
                self._read(row, roles)
                if row.name in named:
                    raise _bad("the order says something of this before", "send it once")
                named.add(row.name)
            except Refusal as refusal:
                row.name, row.outcome = b"", _refused(refusal)
        return rows

    async def _plan(
        self,
        asked: Sequence[_Row],
        order: FactsOrder,
        roles: Collection[str],
        waits: Mapping[Turn, Refusal],
    ) -> tuple[list[list[_Row]], list[_Row]]:
        """What each row comes to; those that need an entry have no outcome yet, but a body.

        Returns rows of their own for what each of the order's `whole` takes back, and for what stands under the name of
        a row beside its latest word. Of what `waits` nothing is said.
        """
        for row in asked:
            wait = waits.get(_turn(row))
            row.outcome = None if wait is None else _refused(wait)
        asked = [row for row in asked if row.outcome is None]
        async with self._following:
            await self._words.catch_up()
        now_ms = int(self._clock() * 1_000)
        said = self._said(asked, order)
        gone = self._gone(order, said, {row.name for row in asked}, roles, waits, now_ms)
        rows = [*asked, *(row for one in gone for row in one if row.outcome is None)]
        newest = {name: one.modified_ms for name, one in said.items()}
        beside: list[_Row] = []
        for row, word in zip(rows, self._words.find([row.name for row in rows]), strict=True):
            if _is_older(row.told, word, newest, now_ms):
                row.outcome = FactOutcome(OLDER)
                continue
            word = None if word is None or word.gone else word
            _decide(row, word, now_ms)
            if word is not None and row.told.withdraw and row.body["valid_from"] < word.valid_from:
                self._make_way(row, word, now_ms)
            if row.outcome is None:
                self._check(row)
            if word is not None and (row.outcome is None or row.outcome.outcome == SAME):
                beside += [_taking_back(row, one, now_ms) for one in word.beside]
        return gone, beside

    def _make_way(self, row: _Row, word: Word, now_ms: int) -> None:
        """What is announced in the place of a fact, and taken back before it comes, must take that place first.

        Else it never ended anything: what it was to replace would go on, and nobody could end that any more. It takes
        it at the moment of the withdrawal, so it is never seen.
        """
        body = self._words.body(word)
        if "supersedes" in body:
            at_ms = max(row.body["valid_from"], now_ms)
            row.body = {**body, "supersedes": word.id.hex(), "valid_from": at_ms}
            row.first = True

    def _said(self, rows: Iterable[_Row], order: FactsOrder) -> dict[str, Advisory]:
        """What this node ever said, by the ids that rows with a date and the order's `whole` name."""
        dated = (row.told.fields["advisory"] for row in rows if _modified_ms(row.told))
        ids = list(dict.fromkeys([*dated, *(one.advisory for one in order.whole)]))
        return dict(zip(ids, self._words.of_advisories(ids), strict=True))

    def _gone(
        self,
        order: FactsOrder,
        said: Mapping[str, Advisory],
        named: set[bytes],
        roles: Collection[str],
        waits: Mapping[Turn, Refusal],
        now_ms: int,
    ) -> list[list[_Row]]:
        """For each advisory what this node says of subjects that it has no more; of names in `named` rows speak.

        A list of subjects that is older than what was said takes nothing back.
        """
        found: list[list[_Row]] = []
        left = sys.maxsize if order.dry_run else GONE.value
        for one in order.whole:
            if one.advisory in waits:
                told = FactTold(ADVISORY, "", withdraw=True)
                found.append([_Row(told, outcome=_refused(waits[one.advisory]))])
                continue
            before = said[one.advisory]
            names = () if _passed(one.modified_ms, before.modified_ms, now_ms) else before.names
            ended = [name for name in names if name not in named]
            if not ended:  # as nearly always: its facts stand in the same order
                found.append([])
                continue
            fields: dict[str, Any] = {"advisory": one.advisory}
            if one.modified_ms:
                fields["modified_ms"] = one.modified_ms
            kept = {name_of({"kind": ADVISORY, "subject": it, **fields}) for it in one.subjects}
            ended = [name for name in ended if name not in kept]
            words = zip(ended, self._words.find(ended), strict=True)
            rows = [
                _Row(FactTold(ADVISORY, self._words.subject(word), fields=fields, withdraw=True), name)
                for name, word in words
                if word is not None and not word.gone
            ]
            if rows and not may_say(ADVISORY, roles):
                rows = [_Row(row.told, outcome=_refused(no_issuer(ADVISORY))) for row in rows[:1]]
            elif len(rows) > left:
                rows = [*rows[:left], _Row(rows[left].told, outcome=_refused(_too_many()))]
            left -= len(rows)
            found.append(rows)
        return found

    def _read(self, row: _Row, roles: Collection[str]) -> None:
        """
        Raises:
            Refusal: it is nothing that this node can say.
        """
        told = row.told
        if told.kind not in KINDS:
            raise _bad(f"{told.kind[:40]!r} is no kind of fact", f"use one of {', '.join(KINDS)}")
        if told.kind == RECHECK:
            raise _bad("re-checks are said by builders, of what they built", "see docs/builds.md")
        check(told.kind, roles)
        wrong = next((name for name in _OURS if name in told.fields), None)
        if wrong is not None:
            raise _bad(f"`{wrong}` stands beside `fields`, not in it", "move it")
        row.body = {**told.fields, "kind": told.kind, "subject": told.subject, "text": told.text}
        try:
            row.name = name_of(row.body)
        except (ValueError, TypeError, RecursionError) as error:
            raise _bad(f"it holds what JSON cannot: {error}", "correct it") from None

    def _check(self, row: _Row) -> None:
        """Refuse a row whose body the log would not take."""
        try:
            AUTHORED[FACT](row.body)
            unknown = strange(row.told.subject) if row.told.kind in DECIDING and not row.told.withdraw else ""
            if unknown:
                raise _bad(unknown, f"leave it out: no {row.told.kind} of it would decide anything")
            page = row.told.fields.get("homepage", "")
            if page and not row.told.withdraw and (why := strange_page(page)):
                raise _bad(f"homepage: {why}", "write one that begins with https://")
            blob = row.body.get("blob")
            if blob is not None and not self._holds(blob):
                raise _bad(
                    "the bytes of its blob are not on this node", "send them first to /api/v1/facts/blob"
                )
        except Malformed as error:
            row.outcome = _refused(_bad(f"not a fact: {error}", "correct it"))
        except Refusal as refusal:
            row.outcome = _refused(refusal)

    # -- saying --

    async def _see(self, rows: Sequence[_Row], groups: trio.Semaphore) -> None:
        """Into the log, some groups at a time; once there was no room for a whole group, no more is tried."""
        full: list[FactOutcome] = []

        async def group(part: Sequence[_Row]) -> None:
            try:
                full.extend(await self._group(part))
            finally:
                groups.release()

        async with trio.open_nursery() as nursery:
            for at in range(0, len(rows), TOGETHER.value):
                part = rows[at : at + TOGETHER.value]
                await groups.acquire()
                if full:
                    groups.release()
                    for row in rows[at:]:
                        row.outcome = full[0]
                    break
                nursery.start_soon(group, part)

    async def _group(self, rows: Sequence[_Row]) -> Sequence[FactOutcome]:
        """The refusal that all of them met, if it says that there is no room."""
        ready: list[tuple[_Row, bytes]] = []
        for row in rows:
            try:
                ready.append((row, self._author(FACT, row.body)))
            except (ValueError, TypeError, Malformed, OverflowError, RecursionError) as error:
                row.outcome = _refused(_bad(f"not a fact: {error}", "correct it"))
        await trio.lowlevel.checkpoint()
        self._underway.keep(Entry(row.name, _turn(row), raw) for row, raw in ready if row.name)
        told = await self._submit([raw for _, raw in ready])
        self._underway.settled(
            row.name for (row, _), said in zip(ready, told, strict=True) if not _is_open(said)
        )
        busy: list[FactOutcome] = []
        for (row, _), said in zip(ready, told, strict=True):
            if isinstance(said, Refusal):
                row.outcome = _refused(said)
                if said.code == BUSY:
                    busy.append(row.outcome)
            else:
                row.outcome = FactOutcome(row.becomes, said[1])
        return busy[:1] if ready and len(busy) == len(ready) else ()


def _turn(row: _Row) -> Turn:
    """Who speaks of an advisory may take back all that was said under its id, so that is one turn."""
    advisory = row.told.fields.get("advisory") if row.told.kind == ADVISORY else None
    return advisory if isinstance(advisory, str) else row.name


def _is_open(said: Outcome) -> bool:
    """Whether an entry may still come into the log, whatever was said of it."""
    return isinstance(said, Refusal) and said.code in _OPEN


def _whole(rows: Sequence[_Row]) -> WholeOutcome:
    outcomes = [row.outcome for row in rows if row.outcome is not None]
    errors = (one.error for one in outcomes if one.error is not None)
    return WholeOutcome(sum(one.outcome == WITHDRAWN for one in outcomes), next(errors, None))


def _modified_ms(told: FactTold) -> int:
    """Of the record that a told advisory comes from; 0 for what comes from none."""
    if told.kind != ADVISORY or not isinstance(told.fields.get("advisory"), str):
        return 0
    date = told.fields.get("modified_ms", 0)
    return date if type(date) is int else 0


def _passed(told_ms: int, known_ms: int, now_ms: int) -> bool:
    """Whether a record's date lies before a known one's. A date ahead of now holds up nobody."""
    return 0 < told_ms < known_ms <= now_ms


def _is_older(told: FactTold, word: Word | None, newest: Mapping[str, int], now_ms: int) -> bool:
    """Whether a newer record spoke of this advisory, or took this word of it back."""
    told_ms = _modified_ms(told)
    if not told_ms:
        return False
    known_ms = (newest.get(told.fields["advisory"], 0), 0 if word is None else word.modified_ms)
    return any(_passed(told_ms, one, now_ms) for one in known_ms)


def _decide(row: _Row, word: Word | None, now_ms: int) -> None:
    """What a row comes to beside what this node says already."""
    told = row.told
    if told.withdraw:
        if word is None:
            row.outcome = FactOutcome(SAME)
            return
        row.body = _withdrawal(told, word.id, now_ms, word.valid_from)
        row.becomes = WITHDRAWN
        return
    if (
        word is not None
        and word.says == says(row.body)
        and _holds_from(told.valid_from, word.valid_from, now_ms)
    ):
        row.outcome = FactOutcome(SAME, word.leaf)
        return
    row.body["valid_from"] = told.valid_from or min(_modified_ms(told) or now_ms, now_ms)
    row.becomes = ADDED
    if word is not None:
        row.body["supersedes"] = word.id.hex()
        row.becomes = CHANGED


def _withdrawal(told: FactTold, which: bytes, now_ms: int, since_ms: int = 0) -> dict[str, Any]:
    """`since_ms`: when the word holds from: before that it would not end what that word ended."""
    at_ms = told.valid_from or min(_modified_ms(told) or now_ms, now_ms)
    return {
        "kind": told.kind,
        "subject": told.subject,
        "text": told.text,
        "supersedes": which.hex(),
        "valid_from": max(at_ms, since_ms) if since_ms <= now_ms else at_ms,
        "withdrawn": True,
    }


def _taking_back(row: _Row, which: bytes, now_ms: int) -> _Row:
    """An earlier word under a row's name, which a later one was said beside. Without a name: the row is its word."""
    told = FactTold(row.told.kind, row.told.subject, withdraw=True)
    return _Row(told, body=_withdrawal(told, which, now_ms), becomes=WITHDRAWN)


def _holds_from(wanted_ms: int, said_ms: int, now_ms: int) -> bool:
    """Whether what is said holds from when it shall: a given time is that time, none is now."""
    return wanted_ms == said_ms if wanted_ms else said_ms <= now_ms


def _too_many() -> Refusal:
    return Refusal(
        BUSY,
        what=f"one order takes back {GONE.value:,} facts at most",
        who="the order",
        do="send it again for the rest",
        retry_s=AGAIN_S,
    )


def _bad(what: str, do: str) -> Refusal:
    return Refusal("bad-request", what=what, who="the order", do=do)


def _refused(refusal: Refusal) -> FactOutcome:
    return FactOutcome(REFUSED, error=refusal.as_dict())
