"""What each peer has earned: points for service and for faults, and the sentence behind the last fault.

Points fade: half of them are gone after ten minutes, so that a mended peer is a peer again. Below `IGNORED` a peer's
voluntary traffic (gossip, broadcasts, records) is dropped unread; what agreement needs is never judged by a score.

Time comes as `now` in seconds of any steady clock.

Source: docs/mesh.md, "Scores".
"""

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Final

from pyrsia.units import Limit, NodeId

HALF_LIFE_S: Final = 600.0
MOST: Final = 100.0  # nobody earns so much that it may sin for free
LEAST: Final = -300.0  # a liar is deaf for a quarter of an hour, and so is whom a bug made flood for a moment
IGNORED: Final = -100.0
OWES: Final = -1.0  # with less anybody may have been late once
MAX_REASONS = Limit(16, "kinds of faults counted of one peer; reasons may hold numbers, so the rest is one")
OTHER: Final = "others"
MAX_SCORES = Limit(4_096, "peers remembered; ids are free, and the longest silent one is forgotten first")

# What things are worth. A fault that no honest node commits costs what a busy peer earns in a day.
GAVE: Final = 0.1
RATE: Final = -1.0  # more than its share
FAULT: Final = -20.0  # bytes that are no message
LIE: Final = -60.0  # a wrong chunk, a false signature


@dataclass(slots=True)
class _Score:
    points: float
    at_s: float
    reason: str = ""
    faults: dict[str, int] = field(default_factory=dict)


class Scores:
    """Of one node's peers."""

    def __init__(self) -> None:
        self._by_node: OrderedDict[NodeId, _Score] = OrderedDict()

    def note(self, now: float, node: NodeId, points: float, reason: str = "") -> float:
        """Add `points` (bad ones are negative and have a reason); what `node` has then."""
        score = self._by_node.get(node)
        if score is None:
            score = self._by_node[node] = _Score(0.0, now)
        score.points = min(MOST, max(LEAST, _faded(score, now) + points))
        score.at_s = now
        if reason:
            score.reason = reason
            known = reason in score.faults or len(score.faults) < MAX_REASONS.value
            key = reason if known else OTHER
            score.faults[key] = score.faults.get(key, 0) + 1
        self._by_node.move_to_end(node)
        while len(self._by_node) > MAX_SCORES.value:
            self._by_node.popitem(last=False)
        return score.points

    def of(self, now: float, node: NodeId) -> float:
        """Points of `node` now; 0 for a stranger."""
        score = self._by_node.get(node)
        return 0.0 if score is None else _faded(score, now)

    def reason(self, node: NodeId) -> str:
        """Why it last lost points, in words; empty if it never did."""
        score = self._by_node.get(node)
        return "" if score is None else score.reason

    def faults(self, node: NodeId) -> dict[str, int]:
        """How often it lost points, by reason; since it was first noted here."""
        score = self._by_node.get(node)
        return {} if score is None else dict(score.faults)

    def worst(self, now: float, most: int) -> list[NodeId]:
        """At most so many who owe a point or more, who owe most first: whom people should see, linked or not."""
        found = [
            (points, node) for node, one in self._by_node.items() if (points := _faded(one, now)) <= OWES
        ]
        return [node for _, node in nsmallest(most, found)]

    def ignored(self, now: float, node: NodeId) -> bool:
        """Whether its voluntary traffic is dropped unread."""
        return self.of(now, node) <= IGNORED


def _faded(score: _Score, now: float) -> float:
    return score.points * math.pow(0.5, max(0.0, now - score.at_s) / HALF_LIFE_S)
