"""What membership has the rest of a node do, and what it needs of it.

Source: docs/mesh-membership.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pyrsia.mesh.liveness import State
from pyrsia.units import NodeId
from pyrsia.wire.membership import Message, Vitals

Sign = Callable[[bytes], bytes]
Verify = Callable[[bytes, bytes, bytes], bool]


class Draw(Protocol):
    """What is needed of a random generator."""

    def randrange(self, stop: int, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Send:
    """Effect: send this, by a link made on demand if there is none. It may be lost."""

    node: NodeId
    message: Message


@dataclass(frozen=True, slots=True)
class Changed:
    """Effect: the state of a node became another."""

    node: NodeId
    state: State


@dataclass(frozen=True, slots=True)
class Blame:
    """Effect: `node` did what costs points."""

    node: NodeId
    points: float
    reason: str


@dataclass(frozen=True, slots=True)
class Mentioned:
    """Effect: somebody speaks of a node that is not tracked; ask for its record, or do not."""

    node: NodeId


Effect = Send | Changed | Blame | Mentioned


@dataclass(frozen=True, slots=True)
class World:
    """The rest of the node.

    Attributes:
        sign: with the node key. verify: `(public, message, signature)`.
        reach: whether there is a link to a node, or a way to make one.
        listen: when something last came over a node's link, in the time of `now`; `-math.inf` for never.
        ignored: whether what a node tells is dropped unread (`Scores.ignored`).
        member: whether the log names a node: ids of all others are free.
        vitals: what we say of ourselves.
    """

    sign: Sign
    verify: Verify
    reach: Callable[[NodeId], bool]
    listen: Callable[[NodeId], float]
    ignored: Callable[[float, NodeId], bool]
    vitals: Callable[[], Vitals]
    member: Callable[[NodeId], bool] = lambda _: True
