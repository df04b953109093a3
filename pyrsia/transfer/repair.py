"""What a storage member lacks of what it is to keep, and in which order it is brought. Events in, effects out.

The rules:

1. A member keeps every blob that the log names of its shards. Members that are gone (dead beyond their grace, or about
   to leave) are passed over: the next in the shard's order keeps what was theirs, and only that.
2. What lacks is read from the index, a page at a time, shards with the fewest surviving owners first; nothing of it is
   remembered that could not be read again, and every ten minutes it is.
3. Before a blob is brought, the other owners of its shard are asked who has it: that gives sources, and how rare it is.
   The rarest is brought first. Who does not answer in time is not waited for.
4. No more bytes a second than the operator allows, four blobs at a time. What nobody is known to have takes two of the
   four places at most (it may be new, and its builders have it; it may be lost).
5. What did not come is tried again after half a minute, and twice as long each time, an hour at most. What cannot come
   (the entry that names it contradicts the bytes) is not tried again. A full disk stops everything for a minute.
6. What a member needs to keep no longer it is told as `Spare`; it lets go only when enough owners have it.
7. Who is about to leave brings nothing.

Left out: who is gone (`Grace`), where else a blob may be found (the shell), whether owners tell the truth (`copies`).

Source: docs/replication.md, "Repair".
"""

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from pyrsia.buckets import Bucket
from pyrsia.transfer.placement import Placement, shard_of
from pyrsia.transfer.wanted import Blob, Failed, Outcome, Stock
from pyrsia.units import FAILED_BLOBS, HASH_BYTES, HELD_BLOBS, SHARDS, Limit, NodeId

PULLS = Limit(4, "enough to hide round trips; more only take turns at one disk")
BLIND_PULLS = Limit(
    2, "blobs that nobody is known to have wait for seconds each; half of the places stay for others"
)
MAX_WANTS = Limit(4_096, "blobs that are being asked about, 1 MB; the rest waits in the index")
PAGE = Limit(256, "blobs read from the index before other tasks have their turn")
SHARDS_A_STEP = Limit(16, "shards looked at before other tasks have their turn: 15 ms with 1,000 members")
RESCAN_S: Final = 600.0
FULL_S: Final = 60.0
BURST_S: Final = 1.0

_NOBODY: Final[frozenset[NodeId]] = frozenset()


class Draw(Protocol):
    """What is needed of a random generator."""

    def randrange(self, stop: int, /) -> int: ...


@dataclass(frozen=True, slots=True)
class AskHeld:
    """Effect: ask this node which of these blobs it has; answer with `on_held` or `on_silent`."""

    node: NodeId
    blobs: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Pull:
    """Effect: bring this blob; `sources` are known to have it, others may. Answer with `on_pulled`."""

    blob: Blob
    sources: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class Spare:
    """Effect: this shard is others' now; what is here of it goes once they have it."""

    shard: int


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Effect: call `on_timer` then, instead of at any earlier wish."""

    at_s: float


Effect = AskHeld | Pull | Spare | WakeAt


class Grace:
    """Who is passed over: members that are dead for longer than they are given, and those that are about to leave."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s

    def gone(
        self,
        placement: Placement,
        dead_s: Callable[[NodeId], float | None],
        leaving: Iterable[NodeId] = (),
    ) -> tuple[frozenset[NodeId], frozenset[NodeId]]:
        """Those that are dead and those that leave.

        Args:
            dead_s: for how long a node has been dead, None for one that is not.
        """
        dead = set()
        for member in placement.members:
            since = dead_s(member.node)
            if since is not None and since >= self._after_s:
                dead.add(member.node)
        return frozenset(dead), frozenset(node for node in leaving if node in placement)


@dataclass(slots=True)
class _Want:
    """A blob on its way. `pending`: who has not said yet whether it has it."""

    blob: Blob
    pending: set[NodeId]
    holders: list[NodeId] = field(default_factory=list)
    running: bool = False


class Repair:
    """One storage member's work. Inert while the node is none.

    Args:
        rate: bytes a second.

    Attributes:
        mine: shards that this node keeps.
        full: whether the last blob found no room.
    """

    def __init__(self, node: NodeId, stock: Stock, draw: Draw, *, rate: float) -> None:
        self.mine: set[int] = set()
        self.full = False
        self._node = node
        self._stock = stock
        self._draw = draw
        self._bucket = Bucket(rate, rate * BURST_S)
        self._placement = Placement.of(())
        self._dead = _NOBODY
        self._leaving = _NOBODY
        self._unseen: deque[int] = deque()  # shards to be looked at anew
        self._dirty: list[tuple[int, int, bytes]] = []  # heap of (surviving owners, shard, after which key)
        self._queued: set[int] = set()  # the shards of it
        self._wants: dict[bytes, _Want] = {}
        self._unasked: dict[NodeId, deque[bytes]] = {}
        self._asking: dict[NodeId, tuple[bytes, ...]] = {}
        self._known: list[tuple[bool, int, bytes]] = []  # heap of (came not, holders, key): may be brought
        self._blind: list[tuple[bool, int, bytes]] = []  # the same of what nobody is known to have
        self._running = self._running_blind = 0
        self._failed = Failed()
        self._void: OrderedDict[bytes, None] = OrderedDict()
        self._rescan_s = 0.0
        self._stopped_s = 0.0  # until when a full disk stops it

    # -- what is known --

    @property
    def gone(self) -> frozenset[NodeId]:
        return self._dead | self._leaving

    @property
    def settled(self) -> bool:
        """Whether the index was read through since members changed, and nothing that can be had is on its way."""
        return not (self._unseen or self._dirty or self._wants)

    @property
    def coming(self) -> int:
        """Blobs that are known to lack and are asked for now."""
        return len(self._wants)

    @property
    def lost(self) -> int:
        """Blobs that nobody gave when they were asked for."""
        return len(self._failed)

    def owners_of(self, shard: int) -> tuple[NodeId, ...]:
        """Who is to keep this shard now."""
        return self._placement.owners_of(shard, self.gone)

    # -- events --

    def on_members(
        self, placement: Placement, dead: frozenset[NodeId] = _NOBODY, leaving: frozenset[NodeId] = _NOBODY
    ) -> bool:
        """The storage members, and who of them is passed over; whether that is news, with which `on_timer` begins."""
        if (placement, dead, leaving) == (self._placement, self._dead, self._leaving):
            return False
        self._placement, self._dead, self._leaving = placement, dead, leaving
        self._unseen = deque(range(SHARDS.value))
        return True

    def on_named(self, blobs: Iterable[Blob]) -> bool:
        """The log names these now, or they were here and are not any more; whether any is this node's to keep."""
        found = False
        for blob in blobs:
            shard = shard_of(blob.sha256)
            if shard not in self.mine:
                continue
            found = True
            if len(self._wants) < MAX_WANTS.value:
                self._want(blob)
            else:
                self._mark(shard)
        return found

    def on_held(self, node: NodeId, bits: Sequence[bool]) -> None:
        """What `node` says to the last `AskHeld`, a bit for each of its blobs."""
        for key, has in zip(self._asking.pop(node, ()), bits, strict=True):
            want = self._wants.get(key)
            if want is not None and node in want.pending:
                if has:
                    want.holders.append(node)
                self._heard(node, want)

    def on_silent(self, node: NodeId) -> None:
        """It did not answer: nothing is known of what it has, and nothing waits for it."""
        for key in (*self._asking.pop(node, ()), *self._unasked.pop(node, ())):
            want = self._wants.get(key)
            if want is not None and node in want.pending:
                self._heard(node, want)

    def on_pulled(self, now: float, blob: Blob, outcome: Outcome) -> None:
        want = self._wants.pop(blob.key, None)
        if want is not None and want.running:
            self._running -= 1
            self._running_blind -= not want.holders
        self.full = outcome is Outcome.FULL
        if outcome is Outcome.FULL:
            self._stopped_s = now + FULL_S
            self._failed.forget(blob)
            self._mark(shard_of(blob.sha256))
        elif outcome is Outcome.VOID:
            self._failed.forget(blob)
            self._void[blob.key] = None
            if len(self._void) > FAILED_BLOBS.value:
                self._void.popitem(last=False)
        elif outcome is Outcome.HERE:
            self._failed.forget(blob)
        else:
            self._failed.add(now, blob)

    def on_timer(self, now: float) -> list[Effect]:
        """One step: short, so that it may be called again at once (`WakeAt(now)`)."""
        if self._unseen:
            return [*self._look(), WakeAt(now)]
        if now >= self._rescan_s:
            self._rescan_s = now + RESCAN_S * (0.9 + self._draw.randrange(1_000) / 5_000)
            for shard in self.mine:
                self._mark(shard)
        if not self.mine:
            return [WakeAt(self._rescan_s)]
        for blob in self._failed.due(now, MAX_WANTS.value - len(self._wants)):
            if shard_of(blob.sha256) in self.mine:
                self._want(blob)
            else:
                self._failed.forget(blob)
        more = self._read()
        asks = self._ask(whole=more)
        pulls, wait_s = self._pull(now)
        return [*asks, *pulls, WakeAt(now if more else self._next(now, wait_s))]

    # -- steps --

    def _look(self) -> list[Effect]:
        """The next shards: are they ours now?"""
        spare: list[Effect] = []
        gone = self.gone
        for _ in range(min(SHARDS_A_STEP.value, len(self._unseen))):
            shard = self._unseen.popleft()
            if self._node in self._placement.owners_of(shard, gone):
                self.mine.add(shard)
                self._mark(shard)
            elif shard in self.mine:
                self.mine.discard(shard)
                spare.append(Spare(shard))
        return spare

    def _mark(self, shard: int) -> None:
        if shard not in self._queued:
            self._queued.add(shard)
            alive = sum(node not in self._dead for node in self._placement.owners_of(shard))
            heapq.heappush(self._dirty, (alive, shard, b""))

    def _read(self) -> bool:
        """A page of what lacks, of one shard or of several small ones; whether there is another to be read now."""
        rows = 0
        for _ in range(SHARDS_A_STEP.value):
            if not self._dirty or len(self._wants) + PAGE.value > MAX_WANTS.value:
                return False
            alive, shard, after = heapq.heappop(self._dirty)
            page = self._stock.lacks(shard, after, PAGE.value) if shard in self.mine else ()
            for blob, lacks in page:
                if lacks and blob.key not in self._failed and blob.key not in self._void:
                    self._want(blob)
            if len(page) == PAGE.value:
                heapq.heappush(self._dirty, (alive, shard, page[-1][0].key))
            else:
                self._queued.discard(shard)
            rows += len(page)
            if rows >= PAGE.value:
                break
        return bool(self._dirty)

    def _want(self, blob: Blob) -> None:
        if blob.key in self._wants:
            return
        friends = self._friends(shard_of(blob.sha256))
        want = self._wants[blob.key] = _Want(blob, set(friends))
        for node in friends:
            self._unasked.setdefault(node, deque()).append(blob.key)
        if not friends:
            self._ready(want)

    def _friends(self, shard: int) -> list[NodeId]:
        """Who may have it: the owners, and those that were before somebody was passed over."""
        owners = (*self._placement.owners_of(shard), *self.owners_of(shard))
        return [node for node in dict.fromkeys(owners) if node != self._node and node not in self._dead]

    def _heard(self, node: NodeId, want: _Want) -> None:
        want.pending.discard(node)
        if not want.pending:
            self._ready(want)

    def _ready(self, want: _Want) -> None:
        key = want.blob.key
        row = (key in self._failed, len(want.holders), key)
        heapq.heappush(self._known if want.holders else self._blind, row)

    def _ask(self, *, whole: bool) -> list[Effect]:
        """Questions to everybody who has not been asked; `whole`: none but full ones, for more is being read."""
        asks: list[Effect] = []
        for node in sorted(self._unasked.keys() - self._asking.keys()):
            waiting = self._unasked[node]
            if whole and len(waiting) < HELD_BLOBS.value:
                continue
            keys = [waiting.popleft() for _ in range(min(HELD_BLOBS.value, len(waiting)))]
            if not waiting:
                del self._unasked[node]
            # Two entries may name the same bytes: one question is enough, and the other waits for the next.
            asked = {key[:HASH_BYTES]: key for key in reversed(keys) if key in self._wants}
            again = [key for key in keys if key in self._wants and asked[key[:HASH_BYTES]] != key]
            if again:
                self._unasked.setdefault(node, deque()).extend(again)
            if asked:
                self._asking[node] = tuple(asked.values())
                asks.append(AskHeld(node, tuple(asked)))
        return asks

    def _pull(self, now: float) -> tuple[list[Effect], float]:
        """What is brought now, and how long the next has to wait for its bytes; 0 if it waits for something else."""
        pulls: list[Effect] = []
        if now < self._stopped_s:
            return pulls, self._stopped_s - now
        while self._running < PULLS.value:
            queue = self._blind if self._running_blind < BLIND_PULLS.value and self._blind else self._known
            if not queue:
                break
            want = self._wants.get(queue[0][2])
            if want is None or want.running:
                heapq.heappop(queue)
                continue
            if not self._bucket.take(now, want.blob.size):
                return pulls, self._bucket.wait_s(now, want.blob.size)
            heapq.heappop(queue)
            want.running = True
            self._running += 1
            self._running_blind += not want.holders
            pulls.append(Pull(want.blob, tuple(want.holders)))
        return pulls, 0.0

    def _next(self, now: float, wait_s: float) -> float:
        """When there is something to do that no answer begins."""
        at_s = min(self._rescan_s, self._failed.next_s)
        if wait_s > 0:
            at_s = min(at_s, now + wait_s)
        return max(now + 0.01, at_s)
