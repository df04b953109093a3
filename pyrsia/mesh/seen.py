"""Ids of what came lately, so that the same thing is looked at once. Two generations; the older one is dropped whole.

An id is remembered for `life_s` to twice as long, or until `most` others came in the meantime: forgetting early costs a
second look at something, never a second delivery, which numbers prevent (`gaps`).
"""


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
