"""Who asks a server next: a few at once for each and in all, a bounded queue, nobody while it rests.

Pages and files have places of their own, so that no page waits behind large downloads.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import httpx
import trio

from pyrsia.builds.outbound.addresses import Origin
from pyrsia.errors import Refusal
from pyrsia.node.upstream.circuits import Circuits, rest_s
from pyrsia.units import UPSTREAM_AT_ONCE, Limit

AT_ONCE_OF_ONE = Limit(8, "of them at one server: what browsers and package clients allow themselves")
MAX_QUEUE = Limit(512, "who waits for a place: two builds that ask for all they need at once")

_OWN_FAILURES: Final = frozenset({500, 502, 503, 504})
_LEAVE_ALONE: Final = frozenset({429, 503})


class Resting(Exception):
    """This server is not asked for the next `wait_s` seconds."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"it did not answer, or asked for a rest, and is not asked for {wait_s:.0f} s")
        self.wait_s = wait_s


class Gate:
    """Places for questions of one kind. `circuits` may be shared with others."""

    def __init__(self, circuits: Circuits, unix_s: Callable[[], float]) -> None:
        self._circuits = circuits
        self._unix_s = unix_s
        self._all = trio.CapacityLimiter(UPSTREAM_AT_ONCE.value)
        self._of: dict[Origin, trio.CapacityLimiter] = {}
        self._waiting = 0

    @asynccontextmanager
    async def place(self, origin: Origin) -> AsyncIterator["Asking"]:
        """One place, for as long as the context lasts; the answer must be told to what this gives.

        Raises:
            Resting: nobody asks this server now.
            Refusal: `busy`: too many wait already.
        """
        self._check_queue()
        one, token = self._of.setdefault(origin, trio.CapacityLimiter(AT_ONCE_OF_ONE.value)), object()
        self._waiting += 1
        try:
            # The server's own places first: who waits for a slow one must not take a place from the others.
            await one.acquire_on_behalf_of(token)
            try:
                await self._all.acquire_on_behalf_of(token)
            except BaseException:
                one.release_on_behalf_of(token)
                raise
        finally:
            self._waiting -= 1
            self._tidy(origin)
        try:
            wait_s = self._circuits.wait_s(origin, trio.current_time())
            if wait_s:
                raise Resting(wait_s)
            asking = Asking(self._circuits, origin, self._unix_s)
            try:
                yield asking
            finally:
                asking.over()
        finally:
            self._all.release_on_behalf_of(token)
            one.release_on_behalf_of(token)
            self._tidy(origin)

    def _check_queue(self) -> None:
        if self._waiting >= MAX_QUEUE.value:
            raise Refusal(
                "busy",
                what=f"{MAX_QUEUE.value} questions to upstream wait already",
                who="the clients of this node",
                do="try again in a moment",
                retry_s=5,
            )

    def _tidy(self, origin: Origin) -> None:
        one = self._of.get(origin)
        if one is not None and not one.borrowed_tokens and not one.statistics().tasks_waiting:
            del self._of[origin]


class Asking:
    """One question that is under way: tell it what came of it."""

    def __init__(self, circuits: Circuits, origin: Origin, unix_s: Callable[[], float]) -> None:
        self._circuits = circuits
        self._origin = origin
        self._unix_s = unix_s
        self._told = False

    def answered(self, response: httpx.Response) -> bool:
        """Whether this is an answer; else the server failed, or wants to be left alone."""
        status = response.status_code
        rest = rest_s(status, response.headers.get("retry-after", ""), self._unix_s())
        if status in _OWN_FAILURES or status in _LEAVE_ALONE:
            self._bad(rest if status in _LEAVE_ALONE else 0.0)
            return False
        self._told = True
        self._circuits.good(self._origin)
        return True

    def failed(self) -> None:
        """No answer came, or not the whole of it."""
        self._bad(0.0)

    def _bad(self, rest: float) -> None:
        self._told = True
        self._circuits.bad(self._origin, trio.current_time(), rest)

    def over(self) -> None:
        if not self._told:
            self._circuits.unsaid(self._origin)
