"""Simulated events a second, on one core, beside a heap that does nothing with them.

The heap is what any loop of this kind does at least: push, pop, one hash of a small message.
"""

import hashlib
import heapq

from bench.harness import LONG, Timed, row
from tests.sim.world import Plan, World

BUSY = Plan(entries=300, seconds=5.0)


def bare_heap(events: int) -> int:
    """Pop `events` events, each of which hashes 200 bytes and pushes the next."""
    heap = [(0.001 * number, number, b"m" * 200) for number in range(64)]
    for number in range(events):
        at, _, message = heapq.heappop(heap)
        hashlib.blake2b(message, digest_size=32).digest()
        heapq.heappush(heap, (at + 0.05, number, message))
    return events


@row(
    "simulator/busy-network",
    "events of one network with 300 entries",
    unit="events/s",
    clock="cpu",
    goal=100_000,
)
def test_events_of_one_busy_network(measure):
    def run() -> int:
        return World(7, BUSY).run().events

    events = run()
    measure(Timed(run, events), {"bare heap": Timed(lambda: bare_heap(100_000), 100_000)})
    assert events > 5_000


@LONG
@row(
    "simulator/seeds",
    "events of small networks with faults, 20 seeds",
    unit="events/s",
    clock="cpu",
    rounds=5,
)
def test_twenty_seeds(measure):
    def run() -> int:
        return sum(World(seed).run().events for seed in range(20))

    events = run()
    measure(Timed(run, events), {"bare heap": Timed(lambda: bare_heap(100_000), 100_000)})
    assert events > 5_000
