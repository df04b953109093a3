"""Ids of what came lately. `Seen`: so that the same thing is looked at once; `Told`: so that none is handed over twice.

Of `Seen` there are two generations; the older one is dropped whole. An id is remembered for `life_s` to twice as long,
or until `most` others came in the meantime: forgetting early costs a second look at something. `Told` remembers what
was handed over until it has expired and nobody would take it anyway. Numbers (`gaps`) say the same, but those of an
origin go when many others have spoken, and ids of origins may be free.
"""

from heapq import heappop, heappush


class Seen:
    """A set that forgets."""

    __slots__ = ("_began_s", "_life_s", "_most", "_new", "_old")

    def __init__(self, life_s: float, most: int) -> None:
        self._life_s = life_s
        self._most = most
        self._began_s = 0.0
        self._new: set[bytes] = set()
        self._old: set[bytes] = set()

    def has(self, ident: bytes) -> bool:
        return ident in self._new or ident in self._old

    def add(self, now: float, ident: bytes) -> None:
        idle = now - self._began_s
        if idle >= self._life_s or len(self._new) >= self._most:
            self._old = self._new if idle < 2 * self._life_s else set()
            self._new = set()
            self._began_s = now
        self._new.add(ident)

    def __len__(self) -> int:
        return len(self._new) + len(self._old)


class Told:
    """Ids of what was handed over, each until it expires. Where there are more than `most`, the first to expire go."""

    __slots__ = ("_ends", "_ids", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._ids: set[bytes] = set()
        self._ends: list[tuple[int, bytes]] = []

    @property
    def full(self) -> bool:
        return len(self._ids) >= self._most

    def add(self, ident: bytes, expires_ms: int) -> None:
        if ident in self._ids:
            return
        self._ids.add(ident)
        heappush(self._ends, (expires_ms, ident))
        if len(self._ids) > self._most:
            self._ids.discard(heappop(self._ends)[1])

    def expire(self, now_ms: int) -> None:
        while self._ends and self._ends[0][0] <= now_ms:
            self._ids.discard(heappop(self._ends)[1])

    def __contains__(self, ident: bytes) -> bool:
        return ident in self._ids

    def __len__(self) -> int:
        return len(self._ids)
