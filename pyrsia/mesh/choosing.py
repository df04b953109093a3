"""Whose broadcasts a node follows: everybody's in a small network, else the validators' and a few at random.

Who is followed stays followed: a choice that changed with every look would lose what is under way. Random ones are this
node's own choice, so that nobody can place himself around it.
"""

from collections.abc import Collection
from typing import Final, Protocol

from pyrsia.units import Limit, NodeId

EVERYBODY: Final = Limit(
    64, "links up to which all are followed: 64 copies of a message cost some ms of hashing"
)
CHOSEN: Final = Limit(8, "peers at random: what each of them has reaches thousands of nodes in four steps")


class Draw(Protocol):
    """What is needed of a random generator."""

    def randrange(self, stop: int, /) -> int: ...


def chosen(
    linked: Collection[NodeId], always: Collection[NodeId], followed: Collection[NodeId], draw: Draw
) -> set[NodeId]:
    """Whom to follow now.

    Args:
        linked: who has a link, and can be followed.
        always: validators.
        followed: who is followed until now.
    """
    if len(linked) <= EVERYBODY.value:
        return set(linked)
    wanted = set(always) & set(linked)
    rest = sorted(set(linked) - wanted)
    random = sorted(set(followed) & set(rest))
    while len(random) > CHOSEN.value:  # the network was smaller
        random.pop(draw.randrange(len(random)))
    others = sorted(set(rest) - set(random))
    while others and len(random) < CHOSEN.value:
        random.append(others.pop(draw.randrange(len(others))))
    return wanted | set(random)
