"""Placement the long way: every draw of every member by itself, every rule as it is said."""

from collections.abc import Sequence

from blake3 import blake3

from pyrsia.transfer.placement import StorageMember


def draw(node: bytes, unit: int, shard: int) -> int:
    """The shard's eight bytes of a member's endless output."""
    whole = blake3(unit.to_bytes(2, "big") + node, derive_key_context="pyrsia v1 placement")
    return int.from_bytes(whole.digest(8 * (shard + 1))[-8:], "big")


def order(members: Sequence[StorageMember], shard: int) -> list[StorageMember]:
    """The largest of a member's draws decides; equals by node id."""
    best = {one.node: max(draw(one.node, unit, shard) for unit in range(one.weight)) for one in members}
    return sorted(members, key=lambda one: (-best[one.node], one.node))


def owners(members: Sequence[StorageMember], shard: int, replicas: int) -> list[bytes]:
    """One after the other: whoever adds a domain, else an operator, else whoever is first."""
    left, taken = order(members, shard), list[StorageMember]()
    while left and len(taken) < replicas:
        domains, operators = {one.domain for one in taken}, {one.operator for one in taken}
        for fits in (
            [one for one in left if one.domain not in domains],
            [one for one in left if one.operator not in operators],
            left,
        ):
            if fits:
                taken.append(fits[0])
                left.remove(fits[0])
                break
    return [one.node for one in taken]
