"""A package that a client missed is asked for by itself, within what the operator allowed: globs and a number an hour.

Off unless globs are configured. A name that the log does not hold tells others what somebody here wants, so nothing
leaves this node for a name that no glob allows.

Source: docs/builds-how.md, "Asking by itself"; DESIGN 9, "Each normalised name has one owner".
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from pyrsia.errors import Malformed, PyrsiaError
from pyrsia.ledger.matching import PurlGlob
from pyrsia.units import Limit
from pyrsia.wire import purl as purls

WAITING = Limit(64, "misses that wait to be asked for; of more, the newest are let go")
REMEMBERED = Limit(4_096, "names that were asked for; none is asked for twice within an hour")
HOUR_S: Final = 3_600.0

_log = logging.getLogger("pyrsia.builder")


class Auto:
    """Asks for what clients missed.

    Args:
        globs: of versionless purls; none: nothing is ever asked for.
        per_hour: requests, at most.
        ask: orders one purl.
    """

    def __init__(self, globs: Sequence[str], per_hour: int, ask: Callable[[str], Awaitable[object]]) -> None:
        """
        Raises:
            Malformed: one is no glob.
        """
        self._globs = [PurlGlob.parse(text) for text in globs]
        self._per_hour = per_hour
        self._ask = ask
        self._asked: dict[str, float] = {}  # purl -> when
        self._times: deque[float] = deque()
        self._waiting: deque[str] = deque()
        self._news = trio.Event()

    def missed(self, purl: str) -> bool:
        """Told of each versionless purl that a client asked for and the log does not hold; whether it is asked for.

        Never waits and never raises: a client's answer does not depend on it.
        """
        if not self._allowed(purl) or purl in self._waiting or len(self._waiting) >= WAITING.value:
            return False
        now_s = trio.current_time()
        if now_s - self._asked.get(purl, -HOUR_S) < HOUR_S or not self._room(now_s):
            return False
        self._times.append(now_s)
        self._remember(purl, now_s)
        self._waiting.append(purl)
        self._news.set()
        return True

    async def run(self) -> None:
        """Ask until cancelled, one after the other."""
        while True:
            while self._waiting:
                purl = self._waiting.popleft()
                try:
                    await self._ask(purl)
                    _log.info("asked for %s, which a client missed", purl)
                except PyrsiaError as error:
                    _log.warning("%s, which a client missed, is not asked for: %s", purl, error)
            self._news = trio.Event()
            await self._news.wait()

    def _allowed(self, purl: str) -> bool:
        try:
            purls.parse(purl)
        except Malformed:
            return False
        return any(glob.matches(purl) for glob in self._globs)

    def _room(self, now_s: float) -> bool:
        while self._times and now_s - self._times[0] >= HOUR_S:
            self._times.popleft()
        return len(self._times) < self._per_hour

    def _remember(self, purl: str, now_s: float) -> None:
        self._asked.pop(purl, None)
        self._asked[purl] = now_s
        while len(self._asked) > REMEMBERED.value:
            del self._asked[next(iter(self._asked))]
