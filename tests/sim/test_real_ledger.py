"""The same faults over the real ledger: every node executes the same log."""

import random

import pytest

from tests.sim.real import RealWorld
from tests.sim.world import Plan


@pytest.mark.parametrize("chunk", range(8))
def test_no_fault_makes_two_nodes_execute_different_logs(chunk: int) -> None:
    ran = []
    for seed in range(chunk * 25, (chunk + 1) * 25):
        plan = Plan.random(random.Random(seed), byzantine=0, n=4, seconds=2.0, entries=8)
        ran.append(RealWorld(seed, plan).run())

    assert len(ran) == 25
    assert all(len(world.nodes[0].app.leaves) > 12 for world in ran)
