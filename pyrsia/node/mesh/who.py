"""Who is a member, what people call whom, and whom they mean by a name or the beginning of an id.

A name counts where the log has it: what a peer calls itself, anybody may call himself. The log is read again after a
second, for each broadcast asks.
"""

from collections.abc import Callable, Iterable
from typing import Final

import trio

from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger import views
from pyrsia.units import NodeId
from pyrsia.wire.text import b32, unb32

FRESH_S: Final = 1.0
LEAST: Final = 6  # characters of an id; fewer are a slip of the hand

Reads = Callable[[bytes], bytes | None]


class Who:
    """Of one node's log, and those who have a link with it.

    Args:
        names: of those, what each calls itself: nothing that counts, and what people remember.
    """

    def __init__(
        self,
        reads: Reads,
        linked: Callable[[], Iterable[NodeId]],
        names: Callable[[], Iterable[tuple[NodeId, str]]] = tuple,
    ) -> None:
        self._reads = reads
        self._linked = linked
        self._names_of_linked = names
        self._until_s = -1.0
        self._names: dict[bytes, str] = {}

    def is_member(self, node: NodeId) -> bool:
        return node in self._members()

    def name_of(self, node: NodeId) -> str:
        """What the log calls it; empty for one that is no member."""
        return self._members().get(node, "")

    def called(self, node: bytes) -> str:
        """What people call it: its name, or the beginning of its id; empty for an empty id."""
        return (self.name_of(NodeId(node)) or b32(node)[:8]) if node else ""

    def find(self, text: str) -> NodeId:
        """Whom `text` means: a member's name, a node id, or the beginning of the id of a member or of a linked node.

        Raises:
            Refusal: `not-found` or `conflict`.
        """
        members = self._members()
        found = {node for node, name in members.items() if name == text}
        if not found:
            try:
                return NodeId(unb32(text))
            except Malformed:
                known = {*members, *self._linked()}
                found = {node for node in known if len(text) >= LEAST and b32(node).startswith(text)}
        if len(found) == 1:
            return NodeId(found.pop())
        if not found:
            self._refuse_own_name(text)
        told = ", ".join(sorted(f"{members.get(node, '?')} {b32(node)[:12]}" for node in found)[:5])
        raise Refusal(
            "conflict" if found else "not-found",
            what=f"{text[:80]} is {'several nodes: ' + told if found else 'no node that is known here'}",
            who="whoever writes the name",
            do=f"write a name of `pyrsia member list`, or {LEAST} characters or more of a node id",
        )

    def _refuse_own_name(self, text: str) -> None:
        """
        Raises:
            Refusal: `not-found`, where nodes with a link call themselves so: then it says which.
        """
        members = self._members()
        guests = sorted(
            b32(node) for node, name in self._names_of_linked() if name == text and node not in members
        )
        if not guests:
            return
        raise Refusal(
            "not-found",
            what=f"{text[:80]} is what {len(guests)} guest{'s call themselves' if len(guests) > 1 else ' calls itself'}"
            ", as anybody may",
            who="whoever writes the name",
            do=f"write the id of whom you mean: {', '.join(guests[:5])}",
        )

    def _members(self) -> dict[bytes, str]:
        now = trio.current_time()
        if now >= self._until_s:
            self._names = {unb32(text): name for text, name in views.names(self._reads).items()}
            self._until_s = now + FRESH_S
        return self._names
