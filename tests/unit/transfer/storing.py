"""Storage members in virtual time: seeded, no sockets, no waiting. The world keeps its own account of who has what.

Questions take some milliseconds, four blobs at a time share a link. A node that is down answers nothing. Each node
notices by itself, within seconds of another, that a node is gone.
"""

import hashlib
import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pyrsia.transfer.placement import Placement, StorageMember, shard_of
from pyrsia.transfer.repair import AskHeld, Grace, Pull, Repair, Spare, WakeAt
from pyrsia.transfer.wanted import Blob, Outcome
from pyrsia.units import NodeId

MB = 1_000_000
LINK = 125 * MB  # one gigabit
RATE = 25 * MB  # a fifth of it


def blobs(count: int, seed: int, largest: int = 4 * MB) -> list[Blob]:
    draw = random.Random(seed)
    found = []
    for at in range(count):
        sha256 = hashlib.sha256(f"{seed} {at}".encode()).digest()
        found.append(Blob(sha256, hashlib.sha256(sha256).digest(), draw.randrange(1_000, largest)))
    return found


def members(count: int, domains: int, seed: int) -> list[StorageMember]:
    draw = random.Random(seed)
    return [
        StorageMember(NodeId(draw.randbytes(32)), f"domain {at % domains}", f"operator {at}")
        for at in range(count)
    ]


@dataclass
class Keeper:
    """One storage member. `refuses`: it has no room."""

    node: NodeId
    world: "World"
    held: set[bytes] = field(default_factory=set)
    up: bool = True
    refuses: bool = False
    lies: bool = False  # it says that it has what it has not
    busy: int = 0
    pulled: list[bytes] = field(default_factory=list)
    spared: list[int] = field(default_factory=list)
    wakes: int = 0
    timer: int = 0

    def __post_init__(self) -> None:
        self.core = Repair(self.node, self, random.Random(self.node), rate=RATE)

    def lacks(self, shard: int, after: bytes, most: int) -> Sequence[tuple[Blob, bool]]:
        named = [one for one in self.world.by_shard.get(shard, ()) if one.key > after]
        return [(one, one.sha256 not in self.held) for one in named[:most]]


class World:
    """All of them."""

    def __init__(
        self, crowd: list[StorageMember], named: list[Blob], seed: int, after_s: float = 600.0
    ) -> None:
        self.now = 0.0
        self.members = crowd
        self.placement = Placement.of(crowd)
        self.named = sorted(named, key=lambda one: one.key)
        self.by_shard: dict[int, list[Blob]] = {}
        for one in self.named:
            self.by_shard.setdefault(shard_of(one.sha256), []).append(one)
        self.draw = random.Random(seed)
        self.grace = Grace(after_s)
        self.keepers = {one.node: Keeper(one.node, self) for one in crowd}
        self.down_s: dict[NodeId, float] = {}
        self.leaving: set[NodeId] = set()
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.counted = Counter[str]()
        self.at = 0
        self.elsewhere: set[bytes] = set()  # SHA-256 of what builders give

    # -- what happens --

    def later(self, delay_s: float, what: Callable[[], None]) -> None:
        self.at += 1
        heapq.heappush(self.events, (self.now + delay_s, self.at, what))

    def run(self, until_s: float) -> None:
        while self.events and self.events[0][0] <= until_s:
            self.now, _, what = heapq.heappop(self.events)
            what()
        self.now = until_s

    def fill(self) -> None:
        """Everything is where it belongs."""
        for one in self.named:
            for node in self.placement.owners(one.sha256):
                self.keepers[node].held.add(one.sha256)

    def start(self) -> None:
        for keeper in self.keepers.values():
            self.look(keeper)

    def look(self, keeper: Keeper) -> None:
        """What a node does every two seconds: who is gone?"""
        if keeper.up:
            dead, leaving = self.grace.gone(self.placement, self.dead_s, self.leaving)
            if keeper.core.on_members(self.placement, dead, leaving):
                self.wake(keeper)
        self.later(1.5 + self.draw.random(), lambda: self.look(keeper))

    def dead_s(self, node: NodeId) -> float | None:
        return self.now - self.down_s[node] if node in self.down_s else None

    def lose(self, domain: str) -> set[NodeId]:
        lost = {one.node for one in self.members if one.domain == domain}
        for node in lost:
            self.keepers[node].up = False
            self.down_s[node] = self.now
        return lost

    def back(self, nodes: set[NodeId]) -> None:
        for node in nodes:
            self.keepers[node].up = True
            del self.down_s[node]

    # -- effects --

    def wake(self, keeper: Keeper) -> None:
        if not keeper.up:
            return
        keeper.wakes += 1
        for effect in keeper.core.on_timer(self.now):
            self.do(keeper, effect)

    def do(self, keeper: Keeper, effect: object) -> None:
        match effect:
            case WakeAt(at_s):
                keeper.timer += 1
                mark = keeper.timer
                # A step that wants to go on at once takes a while of its own.
                delay = max(0.0005, at_s - self.now)
                self.later(delay, lambda: self.wake(keeper) if keeper.timer == mark else None)
            case AskHeld(node, wanted):
                self.counted["asks"] += 1
                self.later(self.draw.uniform(0.001, 0.02), lambda: self.answer(keeper, node, wanted))
            case Pull(blob, sources):
                self.pull(keeper, blob, sources)
            case Spare(shard):
                keeper.spared.append(shard)
            case _:
                raise AssertionError(effect)

    def answer(self, keeper: Keeper, node: NodeId, wanted: tuple[bytes, ...]) -> None:
        other = self.keepers[node]
        if not other.up:
            self.later(5.0, lambda: self.silent(keeper, node))
            return
        keeper.core.on_held(node, [other.lies or one in other.held for one in wanted])
        self.wake(keeper)

    def silent(self, keeper: Keeper, node: NodeId) -> None:
        keeper.core.on_silent(node)
        self.wake(keeper)

    def pull(self, keeper: Keeper, blob: Blob, sources: tuple[NodeId, ...]) -> None:
        self.counted["pulls"] += 1
        good = [node for node in sources if self.keepers[node].up and blob.sha256 in self.keepers[node].held]
        if keeper.refuses:
            self.later(0.01, lambda: self.pulled(keeper, blob, Outcome.FULL))
        elif good or blob.sha256 in self.elsewhere:
            keeper.busy += 1
            self.counted["bytes"] += blob.size
            self.later(0.01 + blob.size / (LINK / 4), lambda: self.pulled(keeper, blob, Outcome.HERE))
        else:
            self.later(6.0, lambda: self.pulled(keeper, blob, Outcome.FAILED))

    def pulled(self, keeper: Keeper, blob: Blob, outcome: Outcome) -> None:
        if outcome is Outcome.HERE:
            keeper.held.add(blob.sha256)
            keeper.pulled.append(blob.sha256)
        keeper.core.on_pulled(self.now, blob, outcome)
        self.wake(keeper)

    # -- the world's own account --

    def holders(self, sha256: bytes) -> set[NodeId]:
        return {node for node, keeper in self.keepers.items() if keeper.up and sha256 in keeper.held}

    def domains(self, sha256: bytes) -> int:
        by_node = {one.node: one.domain for one in self.members}
        return len({by_node[node] for node in self.holders(sha256)})

    def restored(self) -> bool:
        alive = {one.domain for one in self.members if self.keepers[one.node].up}
        return all(self.domains(one.sha256) >= min(3, len(alive)) for one in self.named)
