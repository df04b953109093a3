"""The same faults and liars over the real ledger: every honest node executes the same log."""

import random
import re

import pytest

from tests.sim.real import RealWorld, by_half, by_luck, by_one, impure
from tests.sim.world import Broken, Plan


def ran(seeds: range, **fixed: object) -> list[RealWorld]:
    plans = [Plan.random(random.Random(seed), n=4, seconds=2.0, entries=8, **fixed) for seed in seeds]
    return [RealWorld(seed, plan).run() for seed, plan in zip(seeds, plans, strict=True)]


@pytest.mark.parametrize("chunk", range(8))
def test_no_fault_makes_two_nodes_execute_different_logs(chunk: int) -> None:
    worlds = ran(range(chunk * 25, (chunk + 1) * 25), byzantine=0)

    assert len(worlds) == 25
    assert all(len(world.nodes[0].app.leaves) > 12 for world in worlds)


@pytest.mark.parametrize("chunk", range(4))
def test_no_liar_makes_two_honest_nodes_execute_different_logs(chunk: int) -> None:
    worlds = ran(range(1_000 + chunk * 25, 1_000 + (chunk + 1) * 25), byzantine=1)

    assert all(len(world.honest) == 3 for world in worlds)
    assert all(len(world.honest[0].app.leaves) > 12 for world in worlds)
    assert all(len(world.outcomes) >= 5 for world in worlds)


def test_liars_over_the_real_ledger_propose_twice_and_vote_twice_and_are_accused() -> None:
    """The runs above prove little if the lies in them were no lies."""
    worlds = ran(range(1_000, 1_025), byzantine=1)

    liars = [node.villain for world in worlds for node in world.nodes if node.villain is not None]
    accused = [accusation for world in worlds for accusation in world.accused]
    assert sum(liar.equivocated for liar in liars) > 10
    assert len({accusation.first.said.kind for accusation in accused}) > 1
    assert all(world.nodes[a.signer].villain is not None for world in worlds for a in world.accused)


IMPURE = {
    "half of the machines differ": (by_half, True, "L1"),
    "one machine differs": (by_one, True, "our rules refuse"),
    "it draws lots": (by_luck(1), True, "our rules refuse|L1|I6"),  # a leader believes its own draft
    "one machine differs behind the seal's back": (by_one, False, "I6"),
}


@pytest.mark.parametrize("name", IMPURE)
def test_a_rule_of_the_real_ledger_that_is_no_function_of_the_log_is_caught(name: str) -> None:
    rule, sealed, invariant = IMPURE[name]
    broken = []
    with impure(rule, sealed=sealed):
        for seed in range(3):
            with pytest.raises(Broken) as caught:
                ran(range(seed, seed + 1), byzantine=0)
            broken.append(str(caught.value))

    assert [text for text in broken if not re.search(invariant, text)] == []


def test_the_same_seeds_are_whole_without_the_planted_rule() -> None:
    assert len(ran(range(3), byzantine=0)) == 3
