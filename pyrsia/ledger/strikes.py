"""Strikes: who was drawn and kept the others waiting. A record, and a place at the end of the next draws.

A struck builder is ranked last and never left out: in a small network the draw would starve, and whoever could get
strikes given to others would choose the builders by it. For the same reason only those strikes rank that the builder
alone can have earned: it did not commit while at least T of its draw did, or it committed, the gate opened and it did
not reveal. A round in which fewer than T committed says more about the package than about anybody; it is on record as
`unanswered`, and ranks nobody. A strike ranks for its ecosystem alone: a builder that lacks a compiler's environment is
still good for the others, and nobody takes it away from those by asking for what it lacks.

Source: docs/ledger.md, "Strikes"; docs/adr/0039.
"""

from collections.abc import Iterable
from typing import Any, Final

from pyrsia.ledger.context import Context
from pyrsia.ledger.state import View
from pyrsia.units import MAX_STRIKES, STRIKE_WINDOW_MS

SILENT: Final = "silent"  # committed nothing, or too late, while T others did
WITHHELD: Final = "withheld"  # committed, and did not reveal while it could
UNANSWERED: Final = "unanswered"  # committed nothing, and neither did T others
RANKING: Final = (SILENT, WITHHELD)

Row = list[Any]  # [block time in ms, ecosystem, request id, word]


def why(node: str, committed: Iterable[str], revealed: Iterable[str], agreeing: int) -> str:
    """The word for one builder of a round that has ended; an empty text if it did its part."""
    commits, reveals = frozenset(committed), frozenset(revealed)
    if node in reveals:
        return ""
    if len(commits) < agreeing:  # the gate never opened
        return "" if node in commits else UNANSWERED
    return WITHHELD if node in commits else SILENT


def add(ctx: Context, node: str, ecosystem: str, request: str, word: str) -> None:
    """Note a strike; old ones and those over MAX_STRIKES go."""
    rows = [row for row in of(ctx.view, node) if row[0] + STRIKE_WINDOW_MS.value >= ctx.now]
    ctx.view.put(f"strikes/{node}", [*rows, [ctx.now, ecosystem, request, word]][-MAX_STRIKES.value :])


def of(view: View, node: str) -> list[Row]:
    """The newest strikes of a builder, oldest first."""
    rows: list[Row] = view.get(f"strikes/{node}", [])
    return rows


def ranks(view: View, node: str, ecosystem: str, now: int) -> list[str]:
    """Requests for whose sake it goes last in a draw for this ecosystem at block time `now`; if there are any."""
    return [
        request
        for time_ms, struck, request, word in of(view, node)
        if word in RANKING and struck == ecosystem and time_ms + STRIKE_WINDOW_MS.value >= now
    ]
