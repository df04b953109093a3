"""How many copies there are: which owners keep the same as this node, as far as they say and as far as it was checked.

The rules:

1. Owners of the same shards compare sums of what they keep (`wire.providers.Sum`), every five minutes and soon after
   something changed; shards without a blob are left out. Equal sums are a copy; the shard of an owner that keeps less,
   more, or says nothing is none.
2. Saying so proves nothing, for everybody can compute the sum of what the log names. So after each round one owner is
   asked for a chunk of something that it says it keeps. Twice in a row its own no, or a wrong one, is a lie: for an
   hour what it says counts for nothing. Six times in a row no word is no lie, and counts for as little.

Left out: bringing what lacks (`repair`), sums and chunks themselves (the shell).

Source: docs/replication.md, "How many copies there are".
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from pyrsia.transfer.placement import Placement
from pyrsia.transfer.repair import Draw
from pyrsia.units import Limit, NodeId

ASK_SHARDS = Limit(256, "shards in one question")
SCAN_SHARDS = Limit(128, "shards looked through in one step, 3 ms; all of them take half a minute of steps")
STRIKES = Limit(
    2, "checks without the chunk before it is a lie: one may have met a rotten blob, or a full queue"
)
UNHEARD = Limit(6, "checks without a word in a row; half an hour of a busy or slow owner")
ROUND_S: Final = 300.0
SOON_S: Final = 10.0
DOUBT_S: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class AskSums:
    """Effect: ask this node for its sums of these shards; answer with `on_sums` or `on_silent`."""

    node: NodeId
    shards: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """Effect: ask this node for any chunk of any blob of this shard; answer with `on_probe`."""

    node: NodeId
    shard: int


Effect = AskSums | Probe


class Copies:
    """What this storage member knows of the copies of its shards.

    Args:
        total: this node's sum of a shard, now.
        empty: the sum of a shard without blobs.
    """

    def __init__(
        self, node: NodeId, total: Callable[[int], object], draw: Draw, empty: object = None
    ) -> None:
        self._node = node
        self._total = total
        self._draw = draw
        self._placement = Placement.of(())
        self._gone: Collection[NodeId] = frozenset()
        self._mine: Collection[int] = ()
        self._empty = empty
        self._same: dict[NodeId, set[int]] = {}
        self._filled: set[int] = set()  # shards in which there is something to ask for
        self._scan: deque[int] = deque()  # shards to be looked at before owners are asked
        self._queue: dict[NodeId, deque[tuple[int, ...]]] = {}
        self._asked: dict[NodeId, tuple[int, ...]] = {}
        self._strikes: dict[NodeId, int] = {}
        self._unheard: dict[NodeId, int] = {}  # checks without a word
        self._doubted: dict[NodeId, float] = {}
        self._round_s = 0.0
        self._open = False  # a round is under way
        self.rounds = 0

    # -- what is known --

    def doubted(self, now: float, node: NodeId) -> bool:
        """Whether what this node says that it keeps counts for nothing."""
        return now < self._doubted.get(node, 0.0)

    def copies(self, shard: int) -> int:
        """Copies of the whole shard that are known of, this node's included."""
        owners = self._placement.owners_of(shard, self._gone)
        return sum(node == self._node or shard in self._same.get(node, ()) for node in owners)

    def under(self) -> int:
        """Shards with something in them of which fewer copies are known than the network can have."""
        wanted = min(self._placement.replicas, len(self._placement.members))
        return sum(self.copies(shard) < wanted for shard in self._filled if shard in self._mine)

    @property
    def next_s(self) -> float:
        return self._round_s

    # -- events --

    def on_members(
        self, now: float, placement: Placement, gone: Collection[NodeId], mine: Collection[int]
    ) -> None:
        self._placement, self._gone, self._mine = placement, gone, mine
        for node in [*self._same]:
            if node in gone or node not in placement:
                del self._same[node]
        self.soon(now)

    def soon(self, now: float) -> None:
        """Something changed: what owners keep is asked again, when they had time for it."""
        self._round_s = min(self._round_s, now + SOON_S)

    def on_timer(self, now: float) -> list[Effect]:
        if now >= self._round_s and not self._open:
            self._round_s = now + ROUND_S * (0.8 + self._draw.randrange(1_000) / 2_500)
            self._open, self._scan = True, deque(sorted(self._mine))
        if self._scan:
            self._look()
            if self._scan:
                return []
            self._begin()
        asks: list[Effect] = []
        for node in sorted(self._queue.keys() - self._asked.keys()):
            self._asked[node] = self._queue[node].popleft()
            if not self._queue[node]:
                del self._queue[node]
            asks.append(AskSums(node, self._asked[node]))
        if self._open and not self._asked:
            self._open = False
            self.rounds += 1
            asks += self._probe(now)
        return asks

    def on_sums(self, now: float, node: NodeId, sums: Sequence[object]) -> None:
        """What `node` says to the last `AskSums`, a sum for each of its shards."""
        same = self._same.setdefault(node, set())
        for shard, total in zip(self._asked.pop(node, ()), sums, strict=True):
            if total == self._total(shard) and not self.doubted(now, node):
                same.add(shard)
            else:
                same.discard(shard)

    def on_silent(self, node: NodeId) -> None:
        """It did not answer: nothing is known of what it keeps."""
        self._asked.pop(node, None)
        self._queue.pop(node, None)
        self._same.pop(node, None)

    def on_probe(self, now: float, node: NodeId, good: bool | None) -> bool:
        """Whether it gave the chunk, None where it said nothing; True if it is found to lie now."""
        if good is None:
            unheard = self._unheard[node] = self._unheard.get(node, 0) + 1
            if unheard >= UNHEARD.value:
                self._doubt(now, node)
            return False
        self._unheard.pop(node, None)
        if good:
            self._strikes.pop(node, None)
            return False
        strikes = self._strikes[node] = self._strikes.get(node, 0) + 1
        if strikes < STRIKES.value:
            self.soon(now)
            return False
        del self._strikes[node]
        self._doubt(now, node)
        return True

    def _doubt(self, now: float, node: NodeId) -> None:
        self._doubted[node] = now + DOUBT_S
        self._same.pop(node, None)
        self._unheard.pop(node, None)

    # -- steps --

    def _look(self) -> None:
        """In which of the next shards is something?"""
        for _ in range(min(SCAN_SHARDS.value, len(self._scan))):
            shard = self._scan.popleft()
            (self._filled.discard if self._total(shard) == self._empty else self._filled.add)(shard)

    def _begin(self) -> None:
        self._filled.intersection_update(self._mine)
        shared: dict[NodeId, list[int]] = {}
        for shard in sorted(self._filled):
            for node in self._placement.owners_of(shard, self._gone):
                if node != self._node:
                    shared.setdefault(node, []).append(shard)
        step = ASK_SHARDS.value
        for node, shards in shared.items():
            self._queue[node] = deque(tuple(shards[at : at + step]) for at in range(0, len(shards), step))

    def _probe(self, now: float) -> list[Effect]:
        """One owner of those that say that they keep what this node keeps; who gave no chunk last time comes first."""
        claims = {
            node: sorted(filled) for node, shards in self._same.items() if (filled := shards & self._filled)
        }
        nodes = sorted(node for node in self._strikes if node in claims) or sorted(claims)
        if not nodes:
            return []
        node = nodes[self._draw.randrange(len(nodes))]
        return [Probe(node, claims[node][self._draw.randrange(len(claims[node]))])]
