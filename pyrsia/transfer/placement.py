"""Which storage members keep a blob: weighted rendezvous hashing over 4,096 shards, copies in distinct failure domains.

A blob's shard is the first 12 bits of its SHA-256. For each shard the members stand in an order that everybody computes
alike from their node ids alone: each member draws one number a shard for every unit of its weight, the largest counts,
and the largest of all stands first. (The largest of w draws is distributed as a weight of w wants it; no logarithm, no
rounding, so that all machines agree, and one more unit of weight only ever wins shards.) The owners are the first in
that order, chosen in three rounds until there are enough:

1. who is alone in its failure domain among those chosen;
2. who is alone with its operator among those chosen;
3. anybody.

A member that is not chosen changes nothing, so who joins takes only what it now owns, and who leaves gives away only
what it owned. Orders are computed when they are first asked for, eight shards at a time: there is nothing to rebuild
when members change, and no one moment that takes long.

Who is a storage member, and what it is worth, the log says. Left out: who is alive (`repair`), who has what
(`providers`).

Source: docs/replication.md, "Placement"; docs/adr/0066.
"""

import struct
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from pyrsia.units import HASH_BYTES, SHARDS, Limit, NodeId

REPLICAS = Limit(3, "two may be lost at once; a fourth copy costs a third more disk and guards little more")
MAX_WEIGHT = Limit(64, "a member of 64 TB beside one of 1 TB; each unit is one more draw a shard")
MAX_MEMBERS = Limit(65_535, "members of an order are kept as two bytes each")
_CONTEXT: Final = "pyrsia v1 placement"
_DRAW_BYTES: Final = 8
_STRIDE: Final = 8  # shards whose draws are one block of BLAKE3's output
_DRAWS: Final = struct.Struct(f">{_STRIDE}Q")
_NOBODY: Final[frozenset[NodeId]] = frozenset()


@dataclass(frozen=True, slots=True)
class StorageMember:
    """One storage member as the log knows it; what fails together has the same `domain`."""

    node: NodeId
    domain: str
    operator: str
    weight: int = 1


def shard_of(sha256: bytes) -> int:
    """The shard, 0..4095, of the blob with this SHA-256 (32 bytes)."""
    if len(sha256) != HASH_BYTES:
        raise ValueError(f"a SHA-256 of {len(sha256)} bytes")
    return sha256[0] << 4 | sha256[1] >> 4


class Placement:
    """Owners under one set of storage members. Never changes: other members are another `Placement`.

    Attributes:
        members: by node id.
        replicas: how many copies are wanted; fewer are placed where there are fewer members.
    """

    def __init__(self, members: Iterable[StorageMember], replicas: int = REPLICAS.value) -> None:
        """
        Raises:
            ValueError: a node stands twice, or a weight is none.
        """
        self.members = tuple(sorted(members, key=lambda one: one.node))
        self.replicas = replicas
        self._by_node = {one.node: one for one in self.members}
        if len(self._by_node) != len(self.members) or len(self.members) > MAX_MEMBERS.value:
            raise ValueError("a storage member stands twice, or there are too many")
        if replicas < 1 or any(not 1 <= one.weight <= MAX_WEIGHT.value for one in self.members):
            raise ValueError(f"weights are 1 to {MAX_WEIGHT.value}, and a copy is the least")
        self._draws = [[_stream(one.node, unit) for unit in range(one.weight)] for one in self.members]
        self._orders: dict[int, array[int]] = {}

    @classmethod
    def of(cls, members: Iterable[StorageMember], replicas: int = REPLICAS.value) -> "Placement":
        """The placement that these members make, in whatever order they are named."""
        return cls(members, replicas)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Placement):
            return NotImplemented
        return (self.members, self.replicas) == (other.members, other.replicas)

    def __hash__(self) -> int:
        return hash((self.members, self.replicas))

    def __contains__(self, node: object) -> bool:
        return node in self._by_node

    def member(self, node: NodeId) -> StorageMember | None:
        return self._by_node.get(node)

    @property
    def wanted(self) -> int:
        """Copies that can be had: `replicas`, or as many as there are members."""
        return min(self.replicas, len(self.members))

    @property
    def domains(self) -> int:
        """Distinct failure domains."""
        return len({one.domain for one in self.members})

    # -- owners --

    def owners(self, sha256: bytes, gone: Collection[NodeId] = _NOBODY) -> tuple[NodeId, ...]:
        """Who keeps the blob with this SHA-256, the first choice first; nobody in a network without storage.

        Args:
            gone: members to be passed over: what they own, the next in order take, and nothing else moves.
        """
        return self.owners_of(shard_of(sha256), gone)

    def owners_of(self, shard: int, gone: Collection[NodeId] = _NOBODY) -> tuple[NodeId, ...]:
        """The same for a shard."""
        order = (one for one in self._ordered(shard) if one.node not in gone)
        return tuple(one.node for one in chosen(order, self.replicas))

    def order(self, shard: int) -> tuple[NodeId, ...]:
        """Every member in the order of this shard."""
        return tuple(one.node for one in self._ordered(shard))

    def shards(self, node: NodeId, gone: Collection[NodeId] = _NOBODY) -> tuple[int, ...]:
        """The shards that `node` owns, ascending. With 1,000 members the first call takes a second or two."""
        if node not in self._by_node:
            return ()
        return tuple(shard for shard in range(SHARDS.value) if node in self.owners_of(shard, gone))

    def _ordered(self, shard: int) -> Iterator[StorageMember]:
        order = self._orders.get(shard)
        if order is None:
            if not 0 <= shard < SHARDS.value:
                raise ValueError(f"shard {shard} of {SHARDS.value}")
            self._order_stride(shard // _STRIDE)
            order = self._orders[shard]
        members = self.members
        return (members[at] for at in order)

    def _order_stride(self, stride: int) -> None:
        """The orders of the shards of one stride."""
        at = stride * _STRIDE * _DRAW_BYTES
        rows = [_best([draw(at) for draw in draws]) for draws in self._draws]
        places = range(len(self.members))
        for number, column in enumerate(zip(*rows, strict=True)):
            # Python keeps the order of equals even downwards, so equal draws stand by node id.
            order = sorted(places, key=column.__getitem__, reverse=True)
            self._orders[stride * _STRIDE + number] = array("H", order)
        if not rows:
            self._orders.update((stride * _STRIDE + number, array("H")) for number in range(_STRIDE))


def chosen(order: Iterable[StorageMember], replicas: int) -> list[StorageMember]:
    """The owners among members in the order of a shard: distinct domains first, then distinct operators."""
    waiting, taken = order, list[StorageMember]()
    rounds: tuple[Callable[[StorageMember], str], ...] = (
        lambda one: one.domain,
        lambda one: one.operator,
        lambda one: one.node.hex(),
    )
    for what in rounds:
        used = {what(one) for one in taken}
        left = []
        for one in waiting:
            if what(one) in used:
                left.append(one)
                continue
            used.add(what(one))
            taken.append(one)
            if len(taken) == replicas:  # (before the next is looked at: an order may be long)
                return taken
        waiting = left
    return taken


def _stream(node: NodeId, unit: int) -> Callable[[int], tuple[int, ...]]:
    """Draws of one unit of a member's weight: those of a stride, by their offset in the endless output of a hash."""
    hashed = blake3(unit.to_bytes(2, "big") + node, derive_key_context=_CONTEXT)
    return lambda at: _DRAWS.unpack(hashed.digest(_DRAWS.size, seek=at))


def _best(draws: list[tuple[int, ...]]) -> tuple[int, ...]:
    return draws[0] if len(draws) == 1 else tuple(map(max, *draws))
