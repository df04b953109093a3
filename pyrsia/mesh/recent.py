"""Broadcasts that are kept for those who lack them, and which numbers came. No clock of its own.

Bounded for each origin and as a whole. Where one origin has too much, its own oldest go; where all together have, the
oldest of the one that takes most: a spammer pushes nobody else out. Which numbers came is remembered longer than what
they said.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from pyrsia.mesh.gaps import Ranges
from pyrsia.units import NodeId
from pyrsia.wire.gossip import Span


@dataclass(frozen=True, slots=True)
class Room:
    """What a pool may hold."""

    origins: int
    origin_bytes: int
    origin_count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Kept:
    """One broadcast. `ident` tells its content from other content under the same number."""

    seq: int
    expires_ms: int
    ident: bytes
    raw: bytes


@dataclass(slots=True)
class _Origin:
    numbers: Ranges = field(default_factory=Ranges)
    kept: dict[int, Kept] = field(default_factory=dict)
    order: deque[int] = field(default_factory=deque)  # as they came
    bytes: int = 0
    until_ms: int = 0  # when everything of it will have expired


class Pool:
    """Of some origins. Which origins share a pool is the caller's choice."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._origins: OrderedDict[NodeId, _Origin] = OrderedDict()  # who was heard longest ago first
        self.bytes = 0

    def came(self, origin: NodeId, seq: int) -> bool:
        found = self._origins.get(origin)
        return found is not None and seq in found.numbers

    def covers(self, origin: NodeId, spans: tuple[Span, ...]) -> bool:
        """Whether all of these came."""
        found = self._origins.get(origin)
        return found is not None and found.numbers.covers(spans)

    def get(self, origin: NodeId, seq: int) -> Kept | None:
        found = self._origins.get(origin)
        return None if found is None else found.kept.get(seq)

    def top(self, origin: NodeId) -> int:
        """The largest number of `origin` that came; -1 for none."""
        found = self._origins.get(origin)
        return -1 if found is None else found.numbers.top

    def add(self, origin: NodeId, kept: Kept) -> None:
        """Keep what has not come yet, and make room for it."""
        row = self._origins.get(origin)
        if row is None:
            row = self._origins[origin] = _Origin()
            while len(self._origins) > self._room.origins:
                _, gone = self._origins.popitem(last=False)
                self.bytes -= gone.bytes
        self._origins.move_to_end(origin)
        self._replace(row, kept.seq)
        row.numbers.add(kept.seq)
        row.until_ms = max(row.until_ms, kept.expires_ms)
        row.kept[kept.seq] = kept
        row.order.append(kept.seq)
        row.bytes += len(kept.raw)
        self.bytes += len(kept.raw)
        while row.bytes > self._room.origin_bytes or len(row.kept) > self._room.origin_count:
            self._drop(row)
        while self.bytes > self._room.bytes:
            self._drop(max(self._origins.values(), key=lambda one: one.bytes))

    def expire(self, now_ms: int, forget_ms: int) -> None:
        """Let go what has expired; and numbers of origins from whom nothing came for `forget_ms` since."""
        for origin, row in list(self._origins.items()):
            for seq in [one.seq for one in row.kept.values() if one.expires_ms <= now_ms]:
                gone = row.kept.pop(seq)
                row.bytes -= len(gone.raw)
                self.bytes -= len(gone.raw)
            if len(row.order) > 2 * len(row.kept):
                row.order = deque(seq for seq in row.order if seq in row.kept)
            if row.until_ms + forget_ms <= now_ms:
                self.bytes -= row.bytes
                del self._origins[origin]

    def spans(self, most: int) -> Iterator[tuple[NodeId, tuple[Span, ...]]]:
        """What came, by origin, at most `most` ranges each."""
        for origin, row in self._origins.items():
            yield origin, row.numbers.spans(most)

    def spans_of(self, origin: NodeId) -> tuple[Span, ...]:
        """What came of this one."""
        found = self._origins.get(origin)
        return () if found is None else found.numbers.spans()

    def kept(self) -> Iterator[tuple[NodeId, list[Kept]]]:
        """What is kept, by origin, in the order in which it came."""
        for origin, row in self._origins.items():
            yield origin, [row.kept[seq] for seq in row.order if seq in row.kept]

    def __len__(self) -> int:
        return len(self._origins)

    def _replace(self, row: _Origin, seq: int) -> None:
        """A number that comes again, as ours does where none is left, must not be counted, nor given, twice."""
        old = row.kept.pop(seq, None)
        if old is not None:
            row.order.remove(seq)
            row.bytes -= len(old.raw)
            self.bytes -= len(old.raw)

    def _drop(self, row: _Origin) -> None:
        while row.order:
            gone = row.kept.pop(row.order.popleft(), None)
            if gone is not None:
                row.bytes -= len(gone.raw)
                self.bytes -= len(gone.raw)
                return
        raise AssertionError("bytes without a broadcast")
