"""How much is answered to one peer: questions are cheap, answers are not.

Source: docs/agreement.md, "Catch-up", rule S5.
"""

from pyrsia.units import Limit

ANSWERS = Limit(
    64, "of one peer at once: four ranges of blocks or lists of certificates, or 64 single blocks or Status"
)
ANSWERS_A_SECOND = Limit(512, "32 ranges of 128 blocks: more than a node executes in that time")
ANSWERED = Limit(256, "nodes whose questions are counted: as many as may be linked")
RANGE_COST = 16  # of 1 MiB of blocks, or of 64 certificates (280 KB of 100 members), in answers of one block


class Allowance:
    """A purse for each peer that fills by itself; who asks faster than that is not answered."""

    __slots__ = ("_purses",)

    def __init__(self) -> None:
        self._purses: dict[bytes, tuple[float, float]] = {}  # node -> what is left, and when that was

    def take(self, node: bytes, now_s: float, cost: int = 1) -> bool:
        """Whether an answer of this cost may go to `node` now."""
        left, since_s = self._purses.pop(node, (float(ANSWERS.value), now_s))
        left = min(ANSWERS.value, left + (now_s - since_s) * ANSWERS_A_SECOND.value)
        granted = left >= cost
        self._purses[node] = (left - cost if granted else left), now_s
        while len(self._purses) > ANSWERED.value:
            del self._purses[next(iter(self._purses))]  # who has been quiet for longest has a full one
        return granted
