"""What a node believes of another one: the four states, and the one before it knows any.

Source: docs/mesh-membership.md.
"""

from enum import StrEnum


class State(StrEnum):
    """Of one node, as another sees it now. It orders reads and starts repairs; it decides nothing of the log."""

    UNKNOWN = "unknown"  # nobody has told us, and it has not answered yet
    ALIVE = "alive"
    SUSPECT = "suspect"  # somebody could not reach it; it has time to answer
    DEAD = "dead"  # it had that time
    LEFT = "left"  # it said goodbye
