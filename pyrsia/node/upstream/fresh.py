"""For how long an answer of upstream's is good, and what it is known not to have. Times are the caller's."""

from collections import OrderedDict
from dataclasses import dataclass

from pyrsia.units import Limit

MAX_PATH_CHARS = Limit(500, "of a path that is remembered as absent; the longest of repositories have 300")
MAX_ABSENT = Limit(20_000, "names asked for in vain, 300 bytes each; a build tries some hundred places")


@dataclass(frozen=True, slots=True)
class Freshness:
    """
    Attributes:
        fresh_ms: what may change is not asked for again within that time of upstream's last word.
        absent_ms: nor is what upstream did not have.
    """

    fresh_ms: int
    absent_ms: int

    def holds(self, checked_ms: int, now_ms: int) -> bool:
        """Whether what upstream said then still counts. A clock that went back makes nothing fresh for ever."""
        return 0 <= now_ms - checked_ms < self.fresh_ms


class Absent:
    """What upstream had nothing of, lately."""

    def __init__(self, freshness: Freshness) -> None:
        self._freshness = freshness
        self._since: OrderedDict[tuple[str, str], int] = OrderedDict()

    def __contains__(self, asked: tuple[str, str, int]) -> bool:
        """(package, path, now in ms)"""
        package, path, now_ms = asked
        since = self._since.get((package, path))
        return since is not None and 0 <= now_ms - since < self._freshness.absent_ms

    def add(self, package: str, path: str, now_ms: int) -> None:
        if self._freshness.absent_ms and len(path) <= MAX_PATH_CHARS.value:
            self._since[package, path] = now_ms
            self._since.move_to_end((package, path))
            while len(self._since) > MAX_ABSENT.value:
                self._since.popitem(last=False)

    def forget(self, package: str, path: str) -> None:
        self._since.pop((package, path), None)
