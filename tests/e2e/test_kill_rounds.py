"""Twenty rounds of kill -9 at random moments under load: nothing acknowledged is lost, one root everywhere."""

import random
import time

import pytest

from tests.e2e.chaos.load import Load

pytestmark = pytest.mark.processes

ROUNDS = 20
SEED = 20261124


def test_twenty_kills_lose_no_acknowledged_entry_and_leave_one_root(network):
    draw = random.Random(SEED)
    with Load(network) as load:
        network.wait(lambda: len(load.acknowledged) > 5, 30, "the load did not begin")
        for _ in range(ROUNDS):
            victim = draw.choice(network.validators)
            time.sleep(draw.uniform(0.0, 0.3))  # the moment of the kill is the random input, not a wait
            network.kill(victim)
            network.start(victim)
            network.wait_ready(victim)
        before = len(load.acknowledged)
        network.wait(lambda: len(load.acknowledged) > before + 5, 60, "the network did not go on")

    def one_head() -> bool:
        heads = [network.status(node)["log"] for node in network.nodes]
        return len({(head["size"], head["root"]) for head in heads}) == 1

    network.wait(one_head, 60, "the logs did not become equal")
    assert len(load.acknowledged) > ROUNDS
    for node in network.nodes:
        assert load.lost(node) == [], f"{node.name} lost acknowledged entries"
