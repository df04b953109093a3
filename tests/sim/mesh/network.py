"""A network in memory, in virtual time, for pure cores of the mesh: one heap, one seed, any number of nodes.

A `Host` is a core and whatever runs its effects: it is told messages and the time, and calls `Network.send`. Messages
are whatever the hosts send each other: objects, or bytes where the codec is to be tried as well.

What can happen to a message: it is late (delays differ, so messages overtake each other), lost, doubled, or it meets a
partition. What can happen to a node: it stands still (what comes meanwhile waits, and its own time comes late), it
crashes (what was on its way to it is gone), it starts again as another host. The same seed gives the same run.
"""

import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, Protocol


class Host(Protocol):
    """One node.

    Attributes:
        wake_at: when `tick` is wanted; `math.inf` for never. Read after every call.
    """

    wake_at: float

    def take(self, now: float, sender: Any, message: Any) -> None: ...

    def tick(self, now: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Weather:
    """Of every message: seconds on the way, and the odds of what else may happen."""

    least_s: float = 0.005
    most_s: float = 0.05
    loss: float = 0.0
    twice: float = 0.0
    late: float = 0.0  # the odds of `late_s` more
    late_s: float = 0.5


CALM = Weather()


class Network:
    """All nodes, by any id.

    Attributes:
        sent: messages by sender. lost: of all, by reason.
        tap: sees every message that is sent, with the time; for accounts and oracles.
    """

    def __init__(self, seed: int, weather: Weather = CALM) -> None:
        self.now = 0.0
        self.weather = weather
        self.draw = random.Random(seed)
        self.hosts: dict[Any, Host] = {}
        self.sent: Counter[Any] = Counter()
        self.lost: Counter[str] = Counter()
        self.tap: Callable[[float, Any, Any, Any], None] | None = None
        self._heap: list[tuple[float, int, int, Any, Any, Any]] = []
        self._order = 0
        self._life: Counter[Any] = (
            Counter()
        )  # grows at each start and crash: what was meant for another life is gone
        self._due: dict[Any, float] = {}  # the earliest tick of each that is on the heap
        self._still: dict[Any, float] = {}  # until when
        self._waits: dict[Any, list[tuple[Any, Any]]] = {}
        self._side: dict[Any, Hashable] = {}
        self._cut: set[tuple[Any, Any]] = set()

    # -- nodes --

    def start(self, node: Any, host: Host) -> None:
        """From now on `host` is `node`."""
        self.crash(node)
        self.hosts[node] = host
        self._schedule(node)

    def crash(self, node: Any) -> None:
        """It is gone, without a word."""
        self._life[node] += 1
        for table in (self.hosts, self._due, self._still, self._waits):
            table.pop(node, None)

    def stall(self, node: Any, for_s: float) -> None:
        """It stands still: it neither hears nor wakes."""
        self._still[node] = max(self._still.get(node, 0.0), self.now + for_s)
        self.at(self._still[node], lambda: self._go_on(node))

    def woken(self, node: Any) -> None:
        """A host whose `wake_at` was changed from outside is looked at again."""
        self._schedule(node)

    # -- the way --

    def partition(self, *sides: Iterable[Any]) -> None:
        """Nodes of different sides hear nothing of each other; who is on none is on the first."""
        self._side = {node: number for number, side in enumerate(sides) for node in side}

    def heal(self) -> None:
        self._side.clear()
        self._cut.clear()

    def cut(self, sender: Any, to: Any) -> None:
        """Nothing of `sender` comes to `to`: one direction."""
        self._cut.add((sender, to))

    def send(self, sender: Any, to: Any, message: Any) -> None:
        """One message on its way, or lost."""
        self.sent[sender] += 1
        if self.tap is not None:
            self.tap(self.now, sender, to, message)
        if self._cut and (sender, to) in self._cut:
            self.lost["cut"] += 1
            return
        if self._side and self._side.get(sender, 0) != self._side.get(to, 0):
            self.lost["partition"] += 1
            return
        weather, chance = self.weather, self.draw.random
        if weather.loss and chance() < weather.loss:
            self.lost["weather"] += 1
            return
        for _ in range(2 if weather.twice and chance() < weather.twice else 1):
            delay = weather.least_s + (weather.most_s - weather.least_s) * chance()
            if weather.late and chance() < weather.late:
                delay += weather.late_s * chance()
            self._push(self.now + delay, self._life[to], to, sender, message)

    # -- time --

    def at(self, when: float, action: Callable[[], None]) -> None:
        self._push(when, -1, None, None, action)

    def run(self, until: float) -> None:
        """Let time pass."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            when, _, life, node, sender, message = heappop(heap)
            self.now = when
            if life == -1:
                message()
            elif life == self._life[node] and node in self.hosts:
                self._deliver(node, sender, message)
            elif message is not None:
                self.lost["nobody"] += 1
        self.now = until

    def run_until(self, done: Callable[[], bool], *, within: float, step: float = 0.25) -> float:
        """Let time pass until `done`; the seconds that it took. AssertionError when it takes longer than `within`."""
        began = self.now
        while not done():
            assert self.now - began < within, f"not within {within} s of virtual time"
            self.run(self.now + step)
        return self.now - began

    # -- inside --

    def _push(self, when: float, life: int, node: Any, sender: Any, message: Any) -> None:
        self._order += 1
        heappush(self._heap, (when, self._order, life, node, sender, message))

    def _schedule(self, node: Any) -> None:
        """Have the host's next tick on the heap; one that comes too early finds nothing to do."""
        wake = self.hosts[node].wake_at
        if wake < self._due.get(node, float("inf")):
            self._due[node] = wake
            self._push(max(wake, self.now), self._life[node], node, None, None)

    def _deliver(self, node: Any, sender: Any, message: Any) -> None:
        host = self.hosts[node]
        if message is None and self._due.get(node) is not None and self._due[node] <= self.now:
            del self._due[node]
        if node in self._still:
            if message is not None:
                self._waits.setdefault(node, []).append((sender, message))
            return
        if message is None:
            if host.wake_at <= self.now:
                host.tick(self.now)
        else:
            host.take(self.now, sender, message)
        if node in self.hosts:
            self._schedule(node)

    def _go_on(self, node: Any) -> None:
        """After a stall: its own time and what waited, in an order that nobody promised."""
        if self._still.get(node, float("inf")) > self.now:
            return
        del self._still[node]
        waits = self._waits.pop(node, [])
        if node not in self.hosts:
            return
        late = [(None, None)] if self.hosts[node].wake_at <= self.now else []
        for sender, message in late + waits if self.draw.random() < 0.5 else waits + late:
            self._deliver(node, sender, message)
        if node in self.hosts:
            self._schedule(node)
