"""Messages that this node wrote: which are to be tried now, and what became of each. Pure.

One that nobody takes is tried again with growing pauses, until it has expired; or not at all, where its author did not
want that. When its recipient comes it is tried at once: one time between two others, for a link can come and go as its
owner likes; and not before the time that the recipient asked for. Whatever becomes of it, its row says so. Rows of what
is settled make room for new ones; what still waits never does.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from pyrsia.errors import Refusal
from pyrsia.units import Limit, NodeId

MAX_ROWS = Limit(500, "messages that this node remembers to have sent")
MAX_WAITING = Limit(200, "of those, ones that still wait for their recipient")
LEAST_PAUSE_S: Final = 2.0
MOST_PAUSE_S: Final = 60.0
# What another attempt does not change.
FINAL_CODES: Final = frozenset({"forbidden", "bad-request", "too-large", "too-old"})

WAITING: Final = "waiting"
DELIVERED: Final = "delivered"
REFUSED: Final = "refused"
EXPIRED: Final = "expired"
FAILED: Final = "not delivered"


@dataclass(frozen=True, slots=True)
class Sent:
    """One message. `why`: the last thing that kept it from its recipient. `via`: who carried it."""

    number: int
    to: NodeId
    expires_ms: int
    state: str = WAITING
    kept: bool = False  # tried again until it expires
    tries: int = 0
    why: str = ""
    via: bytes = b""
    delivered_ms: int = 0


class Outbox:
    """All of one node, oldest first."""

    def __init__(self) -> None:
        self._rows: dict[int, Sent] = {}
        self._next_s: dict[int, float] = {}  # of those that wait, and are not being tried now
        self._hasty: set[int] = set()  # tried because their recipient came, and not because it was time
        self._patient_s: dict[
            int, float
        ] = {}  # of those that wait: until then it makes no difference who comes

    def load(self, now: float, row: Sent) -> None:
        """A row of an earlier life, in order of numbers."""
        if row.state == WAITING and not row.kept:  # it was being tried when the life ended
            row = replace(row, state=FAILED, why="the node stopped before it was delivered")
        self._rows[row.number] = row
        if row.state == WAITING:
            self._next_s[row.number] = now

    def add(self, row: Sent) -> list[int]:
        """A new one, which is being tried; numbers of rows that made room.

        Raises:
            Refusal: `busy`.
        """
        if sum(one.state == WAITING for one in self._rows.values()) >= MAX_WAITING.value:
            raise Refusal(
                "busy",
                what=f"{MAX_WAITING.value} messages of this node wait for their recipients already",
                who="whoever writes them",
                do="see `pyrsia inbox --sent`; delete some of them, or wait until they expire",
            )
        self._rows[row.number] = row
        settled = [number for number, one in self._rows.items() if one.state != WAITING]
        gone = settled[: max(0, len(self._rows) - MAX_ROWS.value)]
        for number in gone:
            del self._rows[number]
        return gone

    def get(self, number: int) -> Sent | None:
        return self._rows.get(number)

    def delete(self, number: int) -> bool:
        self._next_s.pop(number, None)
        self._settle(number)
        return self._rows.pop(number, None) is not None

    def rows(self) -> Iterator[Sent]:
        return iter(self._rows.values())

    # -- trying --

    @property
    def wake_at(self) -> float:
        return min(self._next_s.values(), default=math.inf)

    def on_linked(self, now: float, node: NodeId) -> None:
        """A recipient may have come."""
        for number in self._next_s:
            if (
                self._rows[number].to == node
                and self._patient_s.get(number, now) <= now < self._next_s[number]
            ):
                self._next_s[number] = now
                self._hasty.add(number)

    def due(self, now: float, now_ms: int) -> tuple[list[Sent], list[Sent]]:
        """What to try now, and what has expired meanwhile."""
        tried, expired = [], []
        for number in [number for number, at_s in self._next_s.items() if at_s <= now]:
            del self._next_s[number]
            row = self._rows[number]
            if row.expires_ms <= now_ms:
                expired.append(self._set(replace(row, state=EXPIRED)))
            else:
                tried.append(row)
        return tried, expired

    def on_delivered(self, number: int, via: bytes, delivered_ms: int) -> Sent | None:
        """A receipt came, which holds. None: the row was deleted meanwhile."""
        row = self._rows.get(number)
        if row is None:
            return None
        return self._set(
            replace(row, state=DELIVERED, tries=row.tries + 1, via=via, why="", delivered_ms=delivered_ms)
        )

    def on_failed(self, now: float, number: int, refusal: Refusal) -> Sent | None:
        """Nobody took it, or its recipient does not want it. None: the row was deleted meanwhile."""
        row = self._rows.get(number)
        if row is None:
            return None
        row = replace(row, tries=row.tries + 1, why=refusal.what)
        if refusal.code in FINAL_CODES:
            return self._set(replace(row, state=REFUSED))
        if not row.kept:
            return self._set(replace(row, state=FAILED))
        pause_s = min(MOST_PAUSE_S, LEAST_PAUSE_S * 2.0 ** min(row.tries, 10))
        self._next_s[number] = now + max(pause_s, refusal.retry_s)
        self._patient_s[number] = self._next_s[number] if number in self._hasty else now + refusal.retry_s
        self._hasty.discard(number)
        return self._set(row)

    def _set(self, row: Sent) -> Sent:
        self._rows[row.number] = row
        if row.state != WAITING:
            self._settle(row.number)
        return row

    def _settle(self, number: int) -> None:
        self._hasty.discard(number)
        self._patient_s.pop(number, None)
