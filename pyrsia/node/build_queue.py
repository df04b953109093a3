"""Who builds next on this machine: priorities first, then fairness between requesters, then who came first.

`Line` decides and waits for nothing; `Turns` is the shell around it. A requester that asks for a thousand packages
delays its own thousand, and nobody else's one.

Source: docs/builds.md, "On a builder".
"""

import os
from collections.abc import AsyncIterator
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
        self._first: set[str] = set()  # requests that the operator put first
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
        if len(self._first) < MAX_WAITING.value:
            self._first.add(request)

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
        self._first.discard(ticket.request)
        return ticket

    def _place(self, ticket: Ticket, served: dict[str, int]) -> tuple[int, int, int]:
        priority = Priority.MANUAL if ticket.request in self._first else ticket.priority
        return int(priority), served.get(ticket.requester, 0), ticket.number


def slots(configured: int) -> int:
    """Builds at once: what is configured, or with 0 one for every two cores that this process may use."""
    if configured:
        return configured
    return min(MAX_AT_ONCE.value, max(1, len(os.sched_getaffinity(0)) // CORES_A_BUILD))


class Turns:
    """Gives turns in the order of a `Line`, a bounded number at a time."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._line = Line()

    @asynccontextmanager
    async def turn(self, request: str, requester: str, priority: Priority) -> AsyncIterator[None]:
        """Wait for a turn and have it for the time of the block."""
        ticket = self._line.join(request, requester, priority)
        try:
            self._give()
            await ticket.ready.wait()
        except BaseException:
            self._line.leave(ticket)
            if ticket.ready.is_set():  # it was given the turn and will not use it
                self._back()
            raise
        try:
            yield
        finally:
            self._back()

    def prefer(self, request: str) -> None:
        self._line.prefer(request)

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
