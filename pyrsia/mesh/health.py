"""How well this node itself is: a node that is late must not call others silent.

The score is 0 (well) to 8. It grows when a probe of ours fails and those who were asked to help do not even say no,
when others suspected us, and with the measured lag of our own loop; each answered probe lowers it. While others are
heard well, silence of some is rather theirs: it counts up to 2, or half of a network that was cut in two would take
minutes to see that the other half is gone. Everything that
waits for others waits (score + 1) times as long. The idea is that of Lifeguard (Dadgar, Phillips, Currey: "Lifeguard:
Local Health Awareness for More Accurate Failure Detection", 2018).

Source: docs/mesh-membership.md, "A node that is late itself".
"""

from typing import Final

WORST: Final = 8
WORST_HEARD: Final = 2  # by the silence of some, while others are heard
LAG_STEP_S: Final = 0.1  # of lag for each point: a loop that is late by a probe's patience is at 5


class Health:
    """Of this node, by its own measure."""

    def __init__(self) -> None:
        self._counted = 0
        self._late = 0

    @property
    def score(self) -> int:
        return max(self._counted, self._late)

    @property
    def factor(self) -> int:
        """By which every patience is multiplied."""
        return self.score + 1

    def better(self) -> None:
        self._counted = max(0, self._counted - 1)

    def worse(self, by: int = 1, most: int = WORST) -> None:
        """`most`: this reason carries it no further."""
        self._counted = max(self._counted, min(most, self._counted + by))

    def late(self, lag_s: float) -> None:
        """The loop's worst lag of the last seconds; replaces what was measured before."""
        self._late = min(WORST, int(max(0.0, lag_s) / LAG_STEP_S))
