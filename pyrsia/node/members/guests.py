"""What a node that is no member may say here: it reads and follows, and orders nothing.

A guest asks for blocks and serves those that it has, passes on whole checkpoints, and asks as anybody may. What only
validators send each other (entries that wait, lines under a checkpoint) does nothing when a guest sends it, and is its
fault: no honest guest does. An entry that it submits is refused in words and costs it nothing, for its operator may not
know better. A node whose own log is behind may take a new member for a stranger, so nobody is blamed while it is.

Votes need no rule here: agreement knows its validators and looks at nobody else's (`consensus`).

Source: docs/mesh-discovery.md, "Guests".
"""

import time
from collections.abc import Callable
from typing import Final, Self

from pyrsia.errors import Refusal
from pyrsia.ledger import views
from pyrsia.node.kinds import Kind
from pyrsia.node.log.archive import Archive
from pyrsia.units import Limit, NodeId

FRESH_MS = Limit(
    60_000, "a block's age: a network at rest makes an empty one every few seconds, so the log ends there"
)
_NOTE: Final = b"\x01"  # of Kind.COSIGN: a whole checkpoint, which proves itself


class Guests:
    """Of one node.

    Args:
        member: whether a node is a member now.
        age_ms: how old the newest final block is.
        fault: tells the links whose fault something was.
    """

    def __init__(
        self,
        member: Callable[[NodeId], bool],
        age_ms: Callable[[], int],
        fault: Callable[[NodeId, str], None],
    ) -> None:
        self._member = member
        self._age_ms = age_ms
        self._fault = fault

    @classmethod
    def of(
        cls,
        archive: Archive,
        fault: Callable[[NodeId, str], None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Of the node with this log.

        The age is the head block's: the state's own time stands still while no entry comes, and a network at rest
        would pardon everything.
        """

        def age_ms() -> int:
            return int(clock() * 1000) - (archive.head.time_ms if archive.head else 0)

        return cls(lambda node: views.is_member(archive.state, node), age_ms, fault)

    def may_say(self, node: NodeId, kind: int, payload: bytes) -> bool:
        """Whether a one-way message is looked at."""
        ordering = kind == Kind.SHARE or (kind == Kind.COSIGN and payload[:1] != _NOTE)
        if not ordering or self._member(node):
            return True
        if self._age_ms() <= FRESH_MS.value:
            self._fault(node, "guest: it says what only validators say")
        return False

    def may_submit(self, node: NodeId) -> None:
        """
        Raises:
            Refusal: `forbidden` where `node` is no member.
        """
        if self._member(node):
            return
        raise Refusal(
            "forbidden",
            what="entries are taken from members only, as far as the log of this validator goes",
            who="the node that sent it",
            do="send it through a member's node; to become a member, docs/join.md",
        )
