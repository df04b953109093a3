"""Who else has a blob: records that caches give to its owners, what a cache has to tell them, and whom to ask first.

Owners of a blob are found by computing (`placement`); they are the trackers of everybody else who has it. A record is a
provider's own word about itself over its own link, for a quarter of an hour, and costs an asker a question if it is
false. Tables are bounded per provider, per blob and as a whole, so that nobody fills them alone: who tells too much
pushes out its own oldest records, and of a full table the largest teller does.

Whom to ask, in this order: linked owners, builders that agreed on the bytes, providers, owners that have to be dialled,
and last whoever is believed dead.

Source: docs/replication.md, "Providers".
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from pyrsia.transfer.repair import Draw
from pyrsia.units import Limit, NodeId

MAX_RECORDS = Limit(65_536, "of all providers, 20 MB; a full table forgets, and a provider tells again")
NODE_RECORDS = Limit(
    8_192, "of one provider: its newest; an owner of a small network hears most of its cache"
)
BLOB_RECORDS = Limit(20, "providers of one blob: what one answer names")
MAX_MISSES = Limit(8_192, "false records remembered, 2 MB")
MAX_TOLD = Limit(8_192, "blobs that wait to be told to one owner; what does not fit is told next time")
TTL_S: Final = 900.0
AGAIN_S: Final = 600.0
SOON_S: Final = 2.0
MISS_S: Final = 900.0


class Tracker:
    """What providers told this owner."""

    def __init__(self) -> None:
        self._by_blob: dict[bytes, dict[NodeId, float]] = {}
        self._by_node: dict[NodeId, OrderedDict[bytes, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def of(self, now: float, sha256: bytes) -> tuple[NodeId, ...]:
        """Who told that it has this blob, the last one first."""
        rows = self._by_blob.get(sha256, {})
        return tuple(node for node, until_s in reversed(rows.items()) if until_s > now)

    def on_provide(self, now: float, node: NodeId, sha256: bytes, ttl_s: float) -> None:
        """`node` has this blob for so long; 0: no longer. That the log names it, and that it is ours, is checked."""
        self._forget(node, sha256)
        if ttl_s <= 0:
            return
        rows = self._by_blob.setdefault(sha256, {})
        while len(rows) >= BLOB_RECORDS.value:
            self._forget(next(iter(rows)), sha256, keep=True)
        rows[node] = now + min(ttl_s, TTL_S)
        told = self._by_node.setdefault(node, OrderedDict())
        told[sha256] = None
        self._count += 1
        if len(told) > NODE_RECORDS.value:
            self._forget(node, next(iter(told)))
        if self._count > MAX_RECORDS.value:
            largest = max(self._by_node, key=lambda one: len(self._by_node[one]))
            self._forget(largest, next(iter(self._by_node[largest])))

    def on_missed(self, node: NodeId, sha256: bytes) -> None:
        """It does not have it."""
        self._forget(node, sha256)

    def sweep(self, now: float) -> None:
        """Forget what has run out."""
        over = [
            (node, sha256)
            for sha256, rows in self._by_blob.items()
            for node, until_s in rows.items()
            if until_s <= now
        ]
        for node, sha256 in over:
            self._forget(node, sha256)

    def _forget(self, node: NodeId, sha256: bytes, *, keep: bool = False) -> None:
        rows = self._by_blob.get(sha256, {})
        if rows.pop(node, None) is None:
            return
        self._count -= 1
        if not rows and not keep:
            del self._by_blob[sha256]
        told = self._by_node[node]
        del told[sha256]
        if not told:
            del self._by_node[node]


@dataclass(frozen=True, slots=True)
class Tell:
    """Effect: tell this owner that these blobs are here, or are no longer."""

    owner: NodeId
    blobs: tuple[bytes, ...]
    here: bool


class Announcer:
    """What this cache has to tell owners: soon after it changes, and all of it now and then. One message an owner."""

    def __init__(self, draw: Draw, batch: int) -> None:
        self._draw = draw
        self._batch = batch
        self._waiting: dict[NodeId, OrderedDict[bytes, bool]] = {}
        self._due: dict[NodeId, float] = {}
        self._again_s = 0.0

    @property
    def next_s(self) -> float:
        return min((self._again_s, *self._due.values()))

    def again(self, now: float) -> bool:
        """Whether it is time to tell everything (call `add` with it): every ten minutes, everybody at another time."""
        if now < self._again_s:
            return False
        self._again_s = now + AGAIN_S * (0.8 + self._draw.randrange(1_000) / 2_500)
        return True

    def add(self, now: float, owner: NodeId, sha256: bytes, here: bool) -> None:
        """The newest word about a blob counts."""
        waiting = self._waiting.setdefault(owner, OrderedDict())
        waiting.pop(sha256, None)
        waiting[sha256] = here
        if len(waiting) > MAX_TOLD.value:
            waiting.popitem(last=False)
        if owner not in self._due:
            self._due[owner] = now + SOON_S * (0.5 + self._draw.randrange(1_000) / 1_000)

    def take(self, now: float) -> list[Tell]:
        """What is to be told now: at most one message to each owner for each of here and gone."""
        told: list[Tell] = []
        for owner in [one for one, due_s in self._due.items() if due_s <= now]:
            waiting = self._waiting[owner]
            for here in (True, False):
                blobs = [sha256 for sha256, word in waiting.items() if word is here][: self._batch]
                for sha256 in blobs:
                    del waiting[sha256]
                if blobs:
                    told.append(Tell(owner, tuple(blobs), here))
            if waiting:
                self._due[owner] = now + SOON_S
            else:
                del self._waiting[owner], self._due[owner]
        return told

    def drop(self, owner: NodeId) -> None:
        """It is no owner any more, or cannot be told: what waits for it is told when everything is."""
        self._waiting.pop(owner, None)
        self._due.pop(owner, None)


class Misses:
    """Who was named as having a blob and did not. Not asked for it again for a while."""

    def __init__(self) -> None:
        self._until: OrderedDict[tuple[NodeId, bytes], float] = OrderedDict()
        self._times: OrderedDict[NodeId, tuple[float, int]] = OrderedDict()

    def note(self, now: float, node: NodeId, sha256: bytes) -> int:
        """It did not have it; how many times that was so of any blob, with less than a quarter of an hour between."""
        self._until.pop((node, sha256), None)
        self._until[node, sha256] = now + MISS_S
        if len(self._until) > MAX_MISSES.value:
            self._until.popitem(last=False)
        last_s, before = self._times.pop(node, (0.0, 0))
        times = before + 1 if now < last_s + MISS_S else 1
        self._times[node] = (now, times)
        if len(self._times) > MAX_MISSES.value:
            self._times.popitem(last=False)
        return times

    def gave(self, node: NodeId) -> None:
        self._times.pop(node, None)

    def missed(self, now: float, node: NodeId, sha256: bytes) -> bool:
        return now < self._until.get((node, sha256), 0.0)


def ranked(
    owners: Iterable[NodeId],
    builders: Iterable[NodeId],
    providers: Iterable[NodeId],
    *,
    linked: Callable[[NodeId], bool],
    dead: Callable[[NodeId], bool],
) -> tuple[NodeId, ...]:
    """Whom to ask for a blob, the best first, each once."""
    owners = tuple(owners)
    near = (node for node in owners if linked(node))
    far = (node for node in owners if not linked(node))
    order = tuple(dict.fromkeys((*near, *builders, *providers, *far)))
    return tuple(sorted(order, key=dead))
