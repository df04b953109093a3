"""Which facts stand at a moment, and what became of the others.

A fact stands unless its own author took it back or replaced it, and from the time on that it names. A pure function of
the facts in log order: what stood when the log had `size` leaves is what stands among the facts below `size`.

Source: docs/knowledge.md, "What stands".
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pyrsia.knowledge.said import Said

STANDS: Final = "stands"
TO_COME: Final = "to-come"  # its `valid_from` lies ahead
SUPERSEDED: Final = "superseded"
WITHDRAWN: Final = "withdrawn"


@dataclass(frozen=True, slots=True)
class Standing:
    """What became of one fact. `by`: the fact that replaced it or took it back."""

    said: Said
    state: str
    by: Said | None = None


def every(facts: Iterable[Said], now_ms: int) -> tuple[Standing, ...]:
    """Each fact in log order with what became of it; those that only take one back are no facts of their own.

    Args:
        now_ms: Unix time of the moment, for facts that are to come.
    """
    told = tuple(facts)
    ended = {one.supersedes: one for one in told if one.supersedes}
    return tuple(_standing(one, ended.get(one.id), now_ms) for one in told if not one.is_withdrawal)


def _standing(one: Said, by: Said | None, now_ms: int) -> Standing:
    if by is not None:
        return Standing(one, WITHDRAWN if by.is_withdrawal else SUPERSEDED, by)
    return Standing(one, TO_COME if one.body["valid_from"] > now_ms else STANDS)


def standing(facts: Iterable[Said], now_ms: int) -> tuple[Said, ...]:
    """The facts that stand, in log order."""
    return tuple(one.said for one in every(facts, now_ms) if one.state == STANDS)


def changes_at(facts: Iterable[Said], now_ms: int) -> int | None:
    """When time alone will make the next fact stand; None if none is to come."""
    ahead = (one.said.body["valid_from"] for one in every(facts, now_ms) if one.state == TO_COME)
    return min(ahead, default=None)
