"""Who builds a request: a rank that nobody can choose, one builder an operator.

Decides the order only. When the draw happens, and from which preimages its seed comes, is `execute`'s
business.

Source: docs/ledger.md, "The draw".
"""

from collections.abc import Iterable, Sequence

from blake3 import blake3

from pyrsia.ledger.genesis import Member


def able(members: Iterable[Member], ecosystem: str, excluded: str) -> list[Member]:
    """Builders that may be drawn: with the capability, of another operator than `excluded`."""
    return [
        member
        for member in members
        if "builder" in member.roles and ecosystem in member.capabilities and member.operator != excluded
    ]


def operators(members: Sequence[Member]) -> int:
    """How many can be drawn at once: one an operator."""
    return len({member.operator for member in members})


def seed(reveals: Sequence[bytes]) -> bytes:
    """The seed of a draw: the preimages of its first f + 1 distinct proposers, in block order."""
    return blake3(b"".join(reveals)).digest()


def rank(
    request: bytes,
    beacon: bytes,
    members: Sequence[Member],
    count: int,
    *,
    first: Sequence[str] = (),
    later: Sequence[str] = (),
    last: Sequence[str] = (),
) -> list[str]:
    """Node id texts of the `count` drawn builders in order, fewer if there are fewer operators.

    Args:
        request: 32-byte entry id.
        beacon: the seed, 32 bytes.
        first: node id texts that go before all others, whatever else is said of them (a repeated request keeps its
            builders).
        later: node id texts that go behind the others (they have built exactly this before).
        last: node id texts that go behind all those (they were silent before).
    """
    ahead = {text: place for place, text in enumerate(first)}
    behind, again = frozenset(last), frozenset(later)

    def place(member: Member) -> tuple[int, bool, bool, bytes]:
        text = member.text
        digest = blake3(request + beacon + member.node).digest()
        return ahead.get(text, len(ahead)), text in behind, text in again, digest

    drawn: list[str] = []
    taken: set[str] = set()
    for member in sorted(members, key=place):
        if member.operator not in taken and len(drawn) < count:
            taken.add(member.operator)
            drawn.append(member.text)
    return drawn
