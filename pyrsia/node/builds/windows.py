"""How a drawn builder divides its commit window: until when it waits for a source, builds, and may hold a slot.

A build that hangs, and a source that its author keeps back, are the requester's doing: both are committed as a failure
while there is time for it, so that no builder is struck for being silent about them.

Source: docs/builds-how.md, "On a builder"; docs/ledger.md, "Strikes".
"""

from dataclasses import dataclass
from typing import Final

from pyrsia.ledger.asking import commit_window_ms
from pyrsia.ledger.views import Assignment
from pyrsia.units import Limit

SPARE_MS = Limit(
    60_000,
    "left of a commit window when a build ends at the latest: files are kept, an entry finds its block",
)
SHARE: Final = 3  # a request may hold a slot for this part of its window while others wait
_SOURCE_THIRDS: Final = 2  # of the window, until which a source that was given along has to come


@dataclass(frozen=True, slots=True)
class Times:
    """Of one assignment, in ms of this machine's clock.

    Attributes:
        source_by_ms: a source that nobody gave by then is not given.
        end_ms: nothing is built after it.
        share_s: a slot is held no longer while others wait for it.
        spare_s: what is left of the window after `end_ms`, where nobody came late.
    """

    source_by_ms: int
    end_ms: int
    share_s: float
    spare_s: float = SPARE_MS.value / 1000


def times(owed: Assignment, now_ms: int) -> Times:
    """How the rest of a window is divided. Who comes late, after a restart, still builds for half of what is left."""
    window = commit_window_ms(owed.view.request.body)
    left = max(owed.deadline_ms - now_ms, 0)
    end = now_ms + max(left - SPARE_MS.value, left // 2)
    source_by = owed.deadline_ms - window + window * _SOURCE_THIRDS // 3
    return Times(min(source_by, end), end, window / SHARE / 1000)
