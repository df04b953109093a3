"""When a node asks whom for broadcasts that it lacks. Pure: `on_x(now, ...)`, then `due(now)`; wake it at `wake_at`.

One peer at random every 5 to 10 s. A new link is asked at once, which also shows that the other side knows of it, and
once more when its subscription must have reached it: what was said in between came by neither way. Who answered with
all that one answer holds is asked again after a moment; and who asks us, and has what we lack, is asked back: so news
spreads in both directions, and two halves of a network that were apart are one again within some rounds.
"""

import math
from typing import Final

from pyrsia.mesh.choosing import Draw
from pyrsia.units import Limit, NodeId

EVERY_MS = Limit(5_000, "at least between two questions: twice that is as long as a lost broadcast may take")
JITTER_MS = Limit(5_000, "on top, at random, so that nodes which started together do not ask together")
SETTLED_S: Final = 1.0  # a subscription takes some round trips
AGAIN_S: Final = 1.0


class Pulls:
    """The timetable of one node."""

    def __init__(self, now: float, draw: Draw) -> None:
        self._draw = draw
        self._linked: set[NodeId] = set()
        self._soon: dict[NodeId, float] = {}
        self._asked_s: dict[NodeId, float] = {}
        self._round_s = now + self._pause()

    @property
    def wake_at(self) -> float:
        if not self._linked:
            return math.inf
        return min(self._round_s, *self._soon.values()) if self._soon else self._round_s

    def on_linked(self, now: float, node: NodeId) -> None:
        self._linked.add(node)
        self._soon[node] = now

    def on_gone(self, node: NodeId) -> None:
        self._linked.discard(node)
        self._soon.pop(node, None)
        self._asked_s.pop(node, None)

    def on_followed(self, now: float, node: NodeId) -> None:
        """A subscription to `node` was just made."""
        if node in self._linked:
            self._soon[node] = now + SETTLED_S

    def on_full(self, now: float, node: NodeId) -> None:
        """Its answer had no room for more."""
        if node in self._linked:
            self._soon[node] = now + AGAIN_S

    def on_ahead(self, now: float, node: NodeId) -> None:
        """It asked, and says to have what we lack. Whoever says so in vain is asked no more often than others."""
        if node in self._linked and now - self._asked_s.get(node, -math.inf) >= EVERY_MS.value / 1000:
            self._soon[node] = now

    def due(self, now: float) -> list[NodeId]:
        """Whom to ask now."""
        asked = [node for node, at_s in self._soon.items() if at_s <= now]
        for node in asked:
            del self._soon[node]
        if self._round_s <= now:
            self._round_s = now + self._pause()
            others = sorted(self._linked.difference(asked))
            if others:
                asked.append(others[self._draw.randrange(len(others))])
        self._asked_s.update(dict.fromkeys(asked, now))
        return asked

    def _pause(self) -> float:
        return (EVERY_MS.value + self._draw.randrange(JITTER_MS.value)) / 1000
