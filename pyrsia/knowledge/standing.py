"""Which facts stand at a moment, and what became of the others.

A fact stands from its `valid_from` on, until its own author took it back or replaced it. A later fact with a
`valid_from` ahead ends it only then: who announces a correction does not silence the warning until it comes, and who
takes the announcement back before does not silence it at all. A pure function of the facts in log order: what stood
when the log had `size` leaves is what stands among those below `size`.

The ledger lets a fact end only one that stands earlier, of the same author, kind and subject, and end it once. This
module does not lean on that: whatever it is given, nobody ends another's fact, and nothing runs in circles.

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
    """What became of one fact.

    Attributes:
        by: the fact that replaced it or took it back; of one that stands, the fact that will. None where that one was
            taken back before it came.
        ends_ms: when it ended or will; None for never.
    """

    said: Said
    state: str
    by: Said | None = None
    ends_ms: int | None = None

    @property
    def stands(self) -> bool:
        return self.state == STANDS


def every(facts: Iterable[Said], now_ms: int) -> tuple[Standing, ...]:
    """Each fact in log order with what became of it; those that only take one back are no facts of their own.

    Args:
        facts: in any order; what they end stands among them, or is not told of.
        now_ms: Unix time of the moment.
    """
    told = sorted(facts, key=_leaf)
    enders = _enders(told)
    ends: dict[str, int] = {}
    for one in reversed(told):  # an ender stands later, so its own end is known when its turn comes
        by = enders.get(one.id)
        end = None if by is None else _takes_over(by, enders.get(by.id), ends.get(by.id))
        if end is not None:
            ends[one.id] = end
    return tuple(
        _standing(one, enders.get(one.id), ends.get(one.id), now_ms) for one in told if not one.is_withdrawal
    )


def _leaf(one: Said) -> int:
    return one.leaf


def _from(one: Said) -> int:
    return int(one.body["valid_from"])


def _takes_over(by: Said, then: Said | None, ends_ms: int | None) -> int | None:
    """When what `by` ends gives way: to it, or to what came into its place before; None if neither ever comes.

    Args:
        then: what ends `by`. ends_ms: when.
    """
    if by.is_withdrawal or ends_ms is None or then is None or ends_ms >= _from(by):
        return _from(by)
    return None if then.is_withdrawal else ends_ms


def _enders(told: list[Said]) -> dict[str, Said]:
    """By the id of what it ends: the first later fact of the same author that does."""
    by_id = {one.id: one for one in told}
    enders: dict[str, Said] = {}
    for one in told:
        before = by_id.get(one.supersedes) if one.supersedes else None
        if before is not None and before.author == one.author and before.leaf < one.leaf:
            enders.setdefault(before.id, one)
    return enders


def _standing(one: Said, by: Said | None, ends_ms: int | None, now_ms: int) -> Standing:
    if by is not None and ends_ms is not None and ends_ms <= now_ms:
        return Standing(one, WITHDRAWN if by.is_withdrawal else SUPERSEDED, by, ends_ms)
    state = TO_COME if _from(one) > now_ms else STANDS
    return Standing(one, state, by if ends_ms is not None else None, ends_ms)


def standing(facts: Iterable[Said], now_ms: int) -> tuple[Said, ...]:
    """The facts that stand, in log order."""
    return tuple(one.said for one in every(facts, now_ms) if one.stands)


def changes_at(facts: Iterable[Said], now_ms: int) -> int | None:
    """When time alone will next make a fact stand or end; None if it never will."""
    return next_change(every(facts, now_ms), now_ms)


def next_change(all_of_them: Iterable[Standing], now_ms: int) -> int | None:
    """The same of facts that `every` told apart at `now_ms`."""
    ahead: list[int] = []
    for one in all_of_them:
        if one.state == TO_COME:
            ahead.append(_from(one.said))
        if one.ends_ms is not None and one.ends_ms > now_ms:
            ahead.append(one.ends_ms)
    return min(ahead, default=None)
