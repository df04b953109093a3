"""A network beside its load: what a dead leader costs, what waiting for nothing costs, and that nothing piles up.

Networks of four validators, each a process. D0 is the delay that they assume of one message.
"""

import time

import pytest

from bench.harness import LONG, Figure, budget, row
from bench.load import Load
from bench.memory import held_mb
from bench.networks import D0_MS, Validators, Watch, validators

IDLE_S = 5.0
GROWN_FROM, GROWN_TO = 60_000, 160_000  # by then tables and caches that have a bound are nearly full
CHUNK = 8_000


@pytest.fixture(scope="module")
def network():
    with validators(4) as running:
        Load(running).full(1_600)
        yield running


@LONG
@row(
    "agreement/leader-killed",
    "next commit after kill -9 of the leader",
    unit="ms",
    goal=2 * D0_MS + 50,
    rounds=9,
)
def test_a_killed_leader_costs_two_delays(measure, network):
    load = Load(network)

    def wait_ms() -> float:
        settle(network, load)
        leader = network.leader()
        network.kill(leader)
        other = next(node for node in network.nodes if node is not leader)
        found = load.one(other) * 1000
        network.start(leader)
        network.wait_ready(leader)
        return found

    measure(Figure(wait_ms), {"two delays": Figure(lambda: 2.0 * D0_MS)})


def settle(network: Validators, load: Load) -> None:
    """All linked, and the network idle in one view, so that its leader is known."""
    network.wait(
        lambda: all(network.status(node)["peers"] == len(network.nodes) - 1 for node in network.nodes),
        30,
        "no links",
    )
    load.one(network.nodes[0])
    network.wait(lambda: len({network.view(node) for node in network.nodes}) == 1, 10, "no common view")


@LONG
@row("agreement/idle", "processor time of a node of an idle network", unit="% of a core", goal=2, rounds=5)
def test_an_idle_network_costs_next_to_nothing(measure, network):
    watch, count = Watch(network), len(network.nodes)
    time.sleep(2.0)  # the last checkpoint of what came before

    def share() -> float:
        watch.begin()
        time.sleep(IDLE_S)
        return watch.busy_s() / IDLE_S / count * 100

    measure(Figure(share), {"budget": budget(2.0)})


@LONG
@row("agreement/memory", "growth of a node over 100,000 entries", unit="MB", rounds=1)
def test_a_hundred_thousand_entries_leave_the_memory_flat(measure):
    def grown_mb() -> float:
        with validators(4) as network:
            load = Load(network)
            fill(load, GROWN_FROM)
            before = held(network)
            fill(load, GROWN_TO - GROWN_FROM)
            return held(network) - before

    measure(Figure(grown_mb), {"budget": budget(24.0)})


def fill(load: Load, many: int) -> None:
    for _ in range(-(-many // CHUNK)):
        load.full(CHUNK)
        assert load.refused == 0


def held(network: Validators) -> float:
    """MB that the largest of the nodes holds."""
    return max(held_mb(node.process.pid) for node in network.nodes)
