"""A node's answers about many versions, asked in pages and merged. What it says of them is believed, not proven."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from pyrsia.client import Client, foreign, typed
from pyrsia.errors import Refusal
from pyrsia.serve.desks.knowing import AsOf, AuditAnswer, AuditOrder, AuditRow
from pyrsia.units import MAX_AUDITED, Limit

AUDIT: Final = "/api/v1/audit"
TRIES = Limit(6, "of a node that does other audits: half a minute, then it is one that cannot say")
MAX_PAUSE_S = Limit(10, "between two of them, whatever a node says: somebody waits")
Tick = Callable[[int, int, str], None]


@dataclass(slots=True)
class Answered:
    """What the node says.

    Attributes:
        size, time_ms: the earliest moment that a page of it speaks of.
        whole: whether no fact is missing at the node.
        rows: by purl.
    """

    size: int = -1
    time_ms: int = 0
    whole: bool = True
    rows: dict[str, AuditRow] = field(default_factory=dict)


def ask(node: Client, wanted: Sequence[str], at: AsOf, into: Answered, *, tick: Tick) -> None:
    """Ask about those of `wanted` that `into` has no row of.

    Raises:
        Refusal: the node's; `unavailable` for an answer that is none.
    """
    left = [one for one in wanted if one not in into.rows]
    for start in range(0, len(left), MAX_AUDITED.value):
        page = tuple(left[start : start + MAX_AUDITED.value])
        tick(start, len(left), page[0])
        _page(node, page, at, into)


def _page(node: Client, page: tuple[str, ...], at: AsOf, into: Answered) -> None:
    """One page; in halves where the node finds it too long: a past moment is read out of whole histories."""
    try:
        found = typed(_post(node, msgspec.to_builtins(AuditOrder(page, at))), AuditAnswer)
    except Refusal as refusal:
        if refusal.code != "too-large" or len(page) == 1:
            raise
        for half in (page[: len(page) // 2], page[len(page) // 2 :]):
            _page(node, half, at, into)
        return
    if tuple(row.purl for row in found.rows) != page:
        raise foreign("it speaks of other packages than were asked about")
    if into.size < 0 or found.size < into.size:
        into.size, into.time_ms = found.size, found.time_ms
    into.whole = into.whole and found.whole
    into.rows |= {row.purl: row for row in found.rows}


def _post(node: Client, order: Any) -> Any:
    """The node's answer; one that has other audits to do is asked again when it says so."""
    for _ in range(TRIES.value - 1):
        try:
            return node.post(AUDIT, order)
        except Refusal as refusal:
            if refusal.code != "busy":
                raise
            pause_s = min(max(1, refusal.retry_s), MAX_PAUSE_S.value)
        time.sleep(pause_s)
    return node.post(AUDIT, order)
