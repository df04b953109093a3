"""Tickets: 32 random bytes that bind a plain data connection to whoever holds the control link they were given over.

A plain connection has no key of its own, so what it shows first is a ticket: given once, good once, for half a minute,
for one node. Who sees one pass on the line comes too late: it was used on the connection that carried it.

Time comes as `now` in seconds of any steady clock.

Source: docs/network.md, "Data links"; docs/adr/0065.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from pyrsia.units import Limit, NodeId

TICKET_BYTES: Final = 32
GOOD_S: Final = 30.0  # a dial takes five seconds at most; a slow start six times as long
MAX_TICKETS = Limit(4, "of one node at a time: one for each attempt to connect within half a minute")
MAX_ALL_TICKETS = Limit(512, "two of each of the most peers; the oldest gives way")


class Tickets:
    """Those that one node has given and nobody has used.

    Args:
        draw: so many random bytes that nobody can guess.
    """

    def __init__(self, draw: Callable[[int], bytes]) -> None:
        self._draw = draw
        self._given: OrderedDict[bytes, tuple[NodeId, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._given)

    def give(self, now: float, node: NodeId) -> bytes:
        """A new one for `node`; its oldest is void when it has too many."""
        own = [ticket for ticket, (holder, _) in self._given.items() if holder == node]
        for ticket in own[: len(own) + 1 - MAX_TICKETS.value] if len(own) >= MAX_TICKETS.value else ():
            del self._given[ticket]
        while len(self._given) >= MAX_ALL_TICKETS.value:
            self._given.popitem(last=False)
        ticket = self._draw(TICKET_BYTES)
        self._given[ticket] = (node, now + GOOD_S)
        return ticket

    def use(self, now: float, ticket: bytes) -> NodeId | None:
        """Whose it is; it is void from now on. None: it never was one, was used, or is too old."""
        node, until_s = self._given.pop(ticket, (None, 0.0))
        return node if now <= until_s else None
