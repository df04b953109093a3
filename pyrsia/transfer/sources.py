"""One source of a download: what it has, owes and gave, how fast it is, and what it may be asked for. No I/O.

Rules 2, 6 and 8 of `swarm` in numbers. Rate is bytes a second over windows of 50 ms in which something was owed, so
a pause of our own (a limit on what comes down, nothing to ask) is nobody's slowness. Who gives all that it may owe in
less is asked for twice as much at once: on a near line 50 ms are a whole file.

Source: docs/network.md, "The swarm".
"""

from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from pyrsia.units import CHUNK_BYTES, PEER_CREDIT_BYTES, NodeId

MIN_CREDIT_BYTES: Final = 1 << 20  # four chunks keep a path of 10 ms at 100 MB/s full
RTT_LEAST_S: Final = 0.01  # for the credit alone: what a fast source owes is asked for some chunks at a time
SILENT_S: Final = 4.0
SILENT_MOST_S: Final = 30.0  # a source that is slow on purpose earns no more patience than this
RATE_WINDOW_S: Final = 0.05
RATE_SOON_S: Final = 0.005  # a shorter one, in which as much came as it may owe: it could have given more
RATE_LEAST: Final = MIN_CREDIT_BYTES / (2 * RTT_LEAST_S)  # what doubling starts from, bytes a second
RATE_WEIGHT: Final = 0.3
RATE_UP: Final = 0.6  # a window that is wider shows in the next round, a hiccup in some
SAMPLES: Final = 64  # latencies remembered: enough for a p95
SAMPLES_LEAST: Final = 8
SCALE_LEAST: Final = 1 / 64  # of the credit, after halving
SCALE_UP: Final = 1.1  # per chunk that came


class Phase(Enum):
    WAITING = "waiting"
    OPENING = "opening"
    READY = "ready"
    GONE = "gone"


@dataclass(slots=True, eq=False)
class Source:
    """One source and what it was asked for."""

    node: NodeId
    named_by: NodeId | None = None  # the source that said that it fetches the file too
    phase: Phase = Phase.WAITING
    why: str = ""
    guilty: bool = False
    attempts: int = 0
    since_s: float = 0.0  # when it was opened
    heard_s: float = 0.0  # last sign of life while something was owed
    not_before_s: float = 0.0  # paused until then
    held: int = 0  # bit i: it has chunk i, as far as we know
    whole: bool = False  # it said that it has all of it
    gained_s: float = 0.0  # when it last said that it has more than before
    looked_s: float = 0.0  # when it was last asked what it has
    idle_s: float = 0.0  # since when it has nothing for us; meaningful while nothing is owed
    refused: int = 0  # bit i: it said NAK to chunk i
    owed: dict[int, float] = field(default_factory=dict)  # chunk -> when it was asked
    late: Counter[int] = field(default_factory=Counter)  # asks given up: as many copies may still come
    owed_bytes: int = 0
    given: int = 0  # chunks of it that fitted their hash
    named: int = 0  # others that it named
    revivals: int = 0
    scale: float = 1.0  # of its credit
    strikes: int = 0
    naks: int = 0
    busies: int = 0
    last: int = -1  # the chunk that it was asked for last
    rtt_s: float = 0.0
    rate: float = 0.0  # bytes per second, 0 while unknown
    window_s: float = 0.0
    window_bytes: int = 0
    took_s: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    @property
    def credit(self) -> int:
        """Bytes that it may owe us."""
        if self.strikes:
            return CHUNK_BYTES.value
        wanted = int(2 * self.rate * max(self.rtt_s, RTT_LEAST_S))
        whole = min(max(wanted, MIN_CREDIT_BYTES), PEER_CREDIT_BYTES.value)
        return max(CHUNK_BYTES.value, int(whole * self.scale))

    @property
    def patience_s(self) -> float:
        """How long it may be silent while it owes something."""
        return min(max(SILENT_S, 4 * (p95(self.took_s) or 0.0)), SILENT_MOST_S)

    def ends_in(self, more: int) -> float:
        """Seconds until it has given what it owes and `more` bytes; 0 while its rate is unknown."""
        return (self.owed_bytes + more) / self.rate if self.rate else 0.0

    def room(self, started: bool) -> bool:
        """Whether it may be asked for one more chunk; a new round of asking waits for a quarter of its credit."""
        credit = self.credit
        step = CHUNK_BYTES.value if started or not self.owed else max(CHUNK_BYTES.value, credit // 4)
        return self.owed_bytes + step <= credit

    def owe(self, now: float, index: int, size: int) -> None:
        """It is asked for chunk `index`."""
        if not self.owed:
            self.heard_s = self.window_s = now
            self.window_bytes = 0
        self.owed[index] = now
        self.owed_bytes += size

    def came(self, now: float, asked_s: float, size: int) -> None:
        """Measure: rate over windows of 50 ms, shortest round trip, latencies."""
        took_s = now - asked_s
        self.took_s.append(took_s)
        self.rtt_s = min(self.rtt_s, took_s)
        self.window_bytes += size
        elapsed_s = now - self.window_s
        if elapsed_s >= RATE_WINDOW_S:
            seen = self.window_bytes / elapsed_s
            weight = RATE_UP if seen > self.rate else RATE_WEIGHT
            self.rate = self.rate + weight * (seen - self.rate) if self.rate else seen
        elif elapsed_s >= RATE_SOON_S and self.window_bytes >= self.credit:
            # No more than double: what a limit of its own lets pass at once says little of what follows.
            seen = min(self.window_bytes / elapsed_s, 2 * max(self.rate, RATE_LEAST))
            self.rate = max(self.rate, seen)
        else:
            return
        self.window_s, self.window_bytes = now, 0

    def alive(self, now: float) -> None:
        """It gave a chunk that fitted."""
        self.heard_s = now
        self.strikes = self.naks = self.busies = 0
        self.given += 1
        self.scale = min(1.0, self.scale * SCALE_UP)

    def halve(self, now: float) -> None:
        """It said no."""
        self.heard_s = now
        self.scale = max(SCALE_LEAST, self.scale / 2)

    def leave(self, why: str, *, guilty: bool = False) -> None:
        """Nothing is expected of it any more. What it owes the caller has settled."""
        self.phase, self.why, self.guilty = Phase.GONE, why, guilty
        self.held, self.whole, self.strikes, self.rate = 0, False, 0, 0.0
        self.late.clear()

    def excuse(self, index: int) -> bool:
        """Whether chunk `index` is the answer to an ask that was given up; each of them has one."""
        if not self.late[index]:
            return False
        self.late[index] -= 1
        return True


def p95(took_s: deque[float]) -> float | None:
    """The 95th percentile, when there are enough samples to speak of one."""
    if len(took_s) < SAMPLES_LEAST:
        return None
    return sorted(took_s)[len(took_s) * 95 // 100]
