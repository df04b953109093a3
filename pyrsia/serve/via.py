"""Which nodes a request has come through: `Pyrsia-Via`, so that nodes that are each other's upstream ask in no circle.

The application behind the port notes it for the task that answers, once for each request; whoever asks upstream on
behalf of that request reads it and adds this node.
"""

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Final

from pyrsia.units import Limit
from pyrsia.wire.text import NODE_ID

HEADER: Final = b"pyrsia-via"
MAX_HOPS = Limit(8, "a team's node, its site's and its company's are three")

_come_through: ContextVar[tuple[str, ...]] = ContextVar("pyrsia-via")


def note(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Remember what the head of the request says that this task answers.

    What cannot be read is remembered as too long a chain, which asks nobody.
    """
    told = [value.decode("latin-1") for name, value in headers if name == HEADER]
    names = [part.strip() for part in ",".join(told).split(",")] if told else []
    if len(names) > MAX_HOPS.value or not all(map(NODE_ID.fullmatch, names)):
        names = [""] * (MAX_HOPS.value + 1)
    _come_through.set(tuple(names))


def onward(node: str) -> tuple[str, ...] | None:
    """The chain with `node` at its end, for the question that goes on; None if it has been here, or is long enough."""
    chain = _come_through.get(())
    if node in chain or len(chain) >= MAX_HOPS.value:
        return None
    return (*chain, node)
