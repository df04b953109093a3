"""Who builds next on this machine: priorities first, then fairness between requesters, then who came first.

`Line` decides and waits for nothing; `Turns` is the shell around it. A requester that asks for a thousand packages
delays its own thousand, and nobody else's one. Who has its turn keeps it for its share of time; longer only while
nobody of its own priority or a better one waits.

Source: docs/builds-how.md, "On a builder".
"""

import math
import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

import trio

from pyrsia.units import MAX_OPEN_REQUESTS, Limit

CORES_A_BUILD: Final = 2  # a compiler and its sandbox's warden, or a test suite with two workers
MAX_AT_ONCE = Limit(16, "builds at once of the largest machine: each may take 2 GiB of memory")
MAX_WAITING = Limit(
    2 * MAX_OPEN_REQUESTS.value, "everything that the log can have open, and as much that is checked again"
)


class Priority(IntEnum):
    """Smaller is sooner."""

    MANUAL = 0  # the operator put it first
    NEW = 1
    RETRY = 2  # this machine failed at it before
    SELF_CHECK = 3
    RECHECK = 4


@dataclass(slots=True)
class Ticket:
    """One that waits. `number` is its place in order of arrival."""

    request: str
    requester: str
    priority: Priority
    number: int
    ready: trio.Event = field(default_factory=trio.Event)


class Line:
    """Who waits, and who is next. Every decision is a function of what was told before."""

    def __init__(self) -> None:
        self._waiting: list[Ticket] = []
        self._served: dict[str, int] = {}  # requester -> turns, counted from the least of those that wait
        self._first: dict[str, None] = {}  # requests that the operator put first, the oldest wish first
        self._number = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, request: str, requester: str, priority: Priority) -> Ticket:
        """
        Raises:
            ValueError: more than MAX_WAITING wait; the caller offers no more than the log has open.
        """
        if len(self._waiting) >= MAX_WAITING.value:
            raise ValueError("the line is full")
        present = {one.requester for one in self._waiting}
        # Who was away brings no turns along that it did not take.
        least = min((self._served.get(one, 0) for one in present), default=0)
        self._served = {one: turns for one, turns in self._served.items() if one in present} | {
            requester: max(self._served.get(requester, 0), least)
        }
        ticket = Ticket(request, requester, priority, self._number)
        self._number += 1
        self._waiting.append(ticket)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """It waits no more."""
        if ticket in self._waiting:
            self._waiting.remove(ticket)

    def prefer(self, request: str) -> None:
        """Put a request first, also one that comes later; the newest MAX_WAITING wishes are kept."""
        self._first.pop(request, None)
        self._first[request] = None
        while len(self._first) > MAX_WAITING.value:
            del self._first[next(iter(self._first))]

    def drop_wishes(self, but: Collection[str]) -> None:
        """Forget the operator's wishes for requests other than these: they will not come."""
        self._first = {one: None for one in self._first if one in but}

    def order(self) -> list[Ticket]:
        """Those that wait, the next one first, as things stand now."""
        line, served, left = [], dict(self._served), list(self._waiting)
        while left:
            ticket = min(left, key=lambda one: self._place(one, served))
            served[ticket.requester] = served.get(ticket.requester, 0) + 1
            left.remove(ticket)
            line.append(ticket)
        return line

    def take(self) -> Ticket | None:
        """The next one; it leaves the line."""
        if not self._waiting:
            return None
        ticket = min(self._waiting, key=lambda one: self._place(one, self._served))
        self._waiting.remove(ticket)
        self._served[ticket.requester] = self._served.get(ticket.requester, 0) + 1
        ticket.priority = self._priority(ticket)
        self._first.pop(ticket.request, None)
        return ticket

    def waits(self, priority: Priority) -> bool:
        """Whether anything of this priority or a better one waits."""
        return any(self._priority(one) <= priority for one in self._waiting)

    def _priority(self, ticket: Ticket) -> Priority:
        return Priority.MANUAL if ticket.request in self._first else ticket.priority

    def _place(self, ticket: Ticket, served: dict[str, int]) -> tuple[int, int, int]:
        return int(self._priority(ticket)), served.get(ticket.requester, 0), ticket.number


def slots(configured: int) -> int:
    """Builds at once: what is configured, or with 0 one for every two cores that this process may use."""
    if configured:
        return configured
    return min(MAX_AT_ONCE.value, max(1, len(os.sched_getaffinity(0)) // CORES_A_BUILD))


@dataclass(slots=True)
class Turn:
    """A turn, held since `since` (trio's clock). `cut`: it ended because its share was used and others waited."""

    priority: Priority
    share_s: float
    since: float
    scope: trio.CancelScope
    cut: bool = False


class Turns:
    """Gives turns in the order of a `Line`, a bounded number at a time."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._line = Line()
        self._held: list[Turn] = []

    @asynccontextmanager
    async def turn(
        self, request: str, requester: str, priority: Priority, share_s: float = math.inf
    ) -> AsyncIterator[Turn]:
        """Wait for a turn and have it for the time of the block.

        Args:
            share_s: after this many seconds the block is cancelled as soon as something of the same priority or a
                better one waits; the code after it goes on, and finds the turn `cut`.
        """
        ticket = self._line.join(request, requester, priority)
        try:
            self._give()
            await ticket.ready.wait()
        except BaseException:
            self._line.leave(ticket)
            if ticket.ready.is_set():  # it was given the turn and will not use it
                self._back()
            self._judge()
            raise
        held = Turn(ticket.priority, share_s, trio.current_time(), trio.CancelScope())
        self._held.append(held)
        self._judge()
        try:
            with held.scope:
                yield held
        finally:
            self._held.remove(held)
            self._back()
        held.cut = held.scope.cancelled_caught

    def prefer(self, request: str) -> None:
        self._line.prefer(request)
        self._judge()

    def drop_wishes(self, but: Collection[str]) -> None:
        self._line.drop_wishes(but)

    def waiting(self) -> list[Ticket]:
        return self._line.order()

    @property
    def idle(self) -> bool:
        """Whether nobody waits and nothing is built."""
        return not len(self._line) and self._free > 0

    def _back(self) -> None:
        self._free += 1
        self._give()

    def _give(self) -> None:
        while self._free and (ticket := self._line.take()) is not None:
            self._free -= 1
            ticket.ready.set()
        self._judge()

    def _judge(self) -> None:
        """Who holds a turn has until the end of its share while somebody waits, else as long as it likes."""
        for held in self._held:
            waited_for = self._line.waits(held.priority)
            held.scope.deadline = held.since + held.share_s if waited_for else math.inf
