"""Who was refused for its faults, for the diary: one line for each, as long as they are few.

Ids are free, so a crowd may have itself refused by the thousand; a diary of that would be their doing too.

Source: docs/mesh-membership.md, "What people see".
"""

import logging
from collections.abc import Callable
from typing import Final

import trio

from pyrsia.buckets import Bucket
from pyrsia.mesh.scores import Scores
from pyrsia.units import BAN_S, Limit, NodeId

LINES = Limit(20, "lines at once: as many peers as an operator looks at")
LINES_RATE: Final = 1 / 30  # a second; the others are counted

_log = logging.getLogger("pyrsia.mesh")


class Refusing:
    """Of one node.

    Args:
        called: what people call a node. member: whether the log names it.
    """

    def __init__(
        self, scores: Scores, called: Callable[[NodeId], str], member: Callable[[NodeId], bool]
    ) -> None:
        self._scores = scores
        self._called = called
        self._member = member
        self._lines = Bucket(LINES_RATE, LINES.value)
        self._more = 0

    def on_refused(self, node: NodeId, why: str) -> None:
        """`why` is said where its score knows no reason."""
        if not self._lines.take(trio.current_time()):
            self._more += 1
            return
        more, self._more = self._more, 0
        _log.warning(
            "%s %s gets no connection for %d s: %s%s",
            "member" if self._member(node) else "guest",
            self._called(node),
            BAN_S.value,
            self._scores.reason(node) or why,
            f" (and {more} more nodes before it)" if more else "",
        )
