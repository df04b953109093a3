"""Token buckets: how much of something may come in a while. They count messages or bytes, whichever the caller means.

Time comes as `now` in seconds of any steady clock. Nothing waits here: who must wait is told how long.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from pyrsia.units import Limit

Key = TypeVar("Key", bound=Hashable)

MAX_BUCKETS: Final = Limit(
    4_096, "keys with a bucket of their own; who comes back after so many others finds a full one"
)


class Bucket:
    """Holds `burst` at most and fills by `rate` a second; it begins full."""

    __slots__ = ("_at_s", "_burst", "_held", "_rate")

    def __init__(self, rate: float, burst: float) -> None:
        if rate <= 0 or burst <= 0:
            raise ValueError("a bucket that never fills lets nothing through")
        self._rate = rate
        self._burst = burst
        self._held = burst
        self._at_s = 0.0

    def has(self, now: float, amount: float = 1.0) -> bool:
        """Whether `amount` could be taken now; more than the burst counts as the burst."""
        if now > self._at_s:
            self._fill(now)
        return self._held >= amount or self._held >= self._burst

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Take `amount` if it is there; False takes nothing. More than the burst leaves a debt."""
        if not self.has(now, amount):
            return False
        self._held -= amount
        return True

    def give_back(self, amount: float) -> None:
        """What was taken did not happen after all."""
        self._held = min(self._burst, self._held + amount)

    def wait_s(self, now: float, amount: float = 1.0) -> float:
        """Seconds until `take` will do; 0 for now."""
        self._fill(now)
        return max(0.0, (min(amount, self._burst) - self._held) / self._rate)

    def _fill(self, now: float) -> None:
        self._held = min(self._burst, self._held + max(0.0, now - self._at_s) * self._rate)
        self._at_s = max(now, self._at_s)


class Buckets(Generic[Key]):
    """A bucket for each key. The one that was asked for longest ago makes room."""

    def __init__(self, rate: float, burst: float, most: int = MAX_BUCKETS.value) -> None:
        self._rate = rate
        self._burst = burst
        self._most = most
        self._by_key: OrderedDict[Key, Bucket] = OrderedDict()

    def of(self, key: Key) -> Bucket:
        found = self._by_key.get(key)
        if found is None:
            found = self._by_key[key] = Bucket(self._rate, self._burst)
            if len(self._by_key) > self._most:
                self._by_key.popitem(last=False)
        else:
            self._by_key.move_to_end(key)
        return found

    def __len__(self) -> int:
        return len(self._by_key)
