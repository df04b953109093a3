"""Who may have a file: which sources are tried, in which order, how often, and until when there is hope. No I/O.

Eight at a time; the rest wait for a place, those that were not tried yet first. A lost source is tried once more. More
sources may become known while the download runs: from a search (`on_source` without a teller), or by the word of a
source, which may name sixteen. One that has nothing for us gives its place to one that waits; so does, every ten
seconds while there are some that were never tried, the slowest. A source that still downloads may get what we lack:
there is hope for fifteen seconds after it last got anything of that.

Source: docs/network.md, "The swarm".
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from pyrsia.transfer.sources import Phase, Source
from pyrsia.units import MAX_PEERS, MAX_SOURCES, Limit, NodeId

OPEN_S: Final = 6.0  # to connect and to say HAVE: a dial takes at most 5 s
AGAIN_S: Final = 0.5  # before a lost source is tried once more
ATTEMPTS: Final = 2
LATER_S: Final = 5.0  # before one that was given up is tried anew because a search found it again
IDLE_S: Final = 2.0  # a place is kept this long by a source that has nothing for us while others wait
SWAP_S: Final = 10.0  # between two that give their place for being the slowest, and before the first
HOPE_S: Final = 15.0  # one that still downloads and got nothing for this long gets nothing more
MAX_KNOWN = MAX_PEERS  # more than these cannot be linked at once
MAX_NAMED = Limit(
    16, "sources believed on one source's word; a liar's inventions take no more attempts than this"
)
MAX_REVIVALS = Limit(3, "times that a search may bring back a source that was given up")


class Roster:
    """The sources of one download, the preferred first."""

    def __init__(self, nodes: Iterable[NodeId]) -> None:
        self.sources = {node: Source(node) for node in nodes}
        self._queue = deque(self.sources.values(), maxlen=max(MAX_KNOWN.value, len(self.sources)) or 1)
        self.seeking = False  # somebody still looks for sources
        self._swapped_s = 0.0

    def live(self, node: NodeId, *phases: Phase) -> Source | None:
        source = self.sources.get(node)
        return None if source is None or source.phase not in phases else source

    def ready(self) -> list[Source]:
        ready = Phase.READY
        return [source for source in self.sources.values() if source.phase is ready]

    def fetching(self) -> list[Source]:
        """Those that fetch the file too: who has a part of it, and who is said to and was not reached yet."""
        return [
            source
            for source in self.sources.values()
            if not source.whole
            and (
                source.phase is Phase.READY
                or (source.named_by is not None and source.phase is not Phase.GONE)
            )
        ]

    def opening(self) -> bool:
        return any(source.phase is Phase.OPENING for source in self.sources.values())

    def add(self, now: float, node: NodeId, teller: NodeId | None) -> bool:
        """`node` may have the file; `teller`: the source that says so. Whether that is news."""
        known = self.sources.get(node)
        if teller is not None:
            by = self.live(teller, Phase.READY)
            if by is None or known is not None or by.named >= MAX_NAMED.value:
                return False
            by.named += 1
        if known is None:
            if len(self.sources) >= MAX_KNOWN.value:
                return False
            known = self.sources[node] = Source(node, named_by=teller)
            self._queue.append(known)
            return True
        if known.phase is not Phase.GONE or known.guilty or known.revivals >= MAX_REVIVALS.value:
            return False
        known.revivals += 1
        known.attempts = 0
        self.wait(known, now + LATER_S)
        return True

    def wait(self, source: Source, until_s: float) -> None:
        """It waits for a place, until then at least."""
        source.phase, source.not_before_s = Phase.WAITING, until_s
        self._queue.append(source)

    def again(self, source: Source, now: float) -> None:
        """It was lost: once more, if it was not tried too often."""
        if source.attempts < ATTEMPTS:
            self.wait(source, now + AGAIN_S)

    def opened(self, now: float) -> list[Source]:
        """Those that are to be reached now."""
        found: list[Source] = []
        if not self._queue:
            return found
        used = sum(s.phase in (Phase.OPENING, Phase.READY) for s in self.sources.values())
        for _ in range(len(self._queue)):
            source = self._queue.popleft()
            if used >= MAX_SOURCES.value or now < source.not_before_s:
                self._queue.append(source)
                continue
            source.phase, source.since_s = Phase.OPENING, now
            source.attempts += 1
            used += 1
            found.append(source)
        return found

    def idle(self, now: float, wanted: int) -> Source | None:
        """A source whose place is needed more by one that waits."""
        if not any(now >= source.not_before_s for source in self._queue):
            return None
        if not self._full():
            return None
        longest: Source | None = None
        for source in self.ready():
            if source.owed or source.held & wanted:
                source.idle_s = now
            elif now - source.idle_s >= IDLE_S and (longest is None or source.idle_s < longest.idle_s):
                longest = source
        return longest

    def slowest(self, now: float) -> Source | None:
        """The one whose place is better used to try somebody new; at most one in a while."""
        if now - self._swapped_s < SWAP_S or not self._full():
            return None
        if not any(now >= source.not_before_s and not source.attempts for source in self._queue):
            return None
        borne = [source for source in self.ready() if now - source.since_s >= SWAP_S]
        if not borne:
            return None
        self._swapped_s = now
        return min(borne, key=lambda source: source.rate)

    def _full(self) -> bool:
        used = sum(s.phase in (Phase.OPENING, Phase.READY) for s in self.sources.values())
        return used >= MAX_SOURCES.value

    def hopeless(self, now: float, wanted: int) -> bool:
        """Nobody has or will have anything of `wanted`."""
        return not self.seeking and not any(
            source.phase in (Phase.WAITING, Phase.OPENING)
            or (source.phase is Phase.READY and (source.held & wanted or _may_gain(source, now)))
            for source in self.sources.values()
        )


def _may_gain(source: Source, now: float) -> bool:
    return not source.whole and now - source.gained_s < HOPE_S
