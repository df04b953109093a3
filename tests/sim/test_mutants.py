"""The simulator bites: a core or a ledger without one of its rules is caught, by the invariant that it breaks."""

import random
import re

import pytest

from tests.sim.auditor import Broken
from tests.sim.mutants import MUTANTS
from tests.sim.plan import Plan
from tests.sim.real import RealWorld, by_half, by_luck, by_one, impure
from tests.sim.world import World


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(name: str) -> None:
    """A mutant that merely makes some part crash is not caught by that."""
    mutant = MUTANTS[name]
    broken: list[str] = []
    with mutant.within():
        for seed in range(mutant.seeds):
            plan = Plan.random(random.Random(seed), **mutant.plan)
            try:
                if mutant.real >= 0:
                    RealWorld(seed, plan, requests=mutant.real).run()
                else:
                    World(seed, plan).run()
            except Broken as error:
                broken.append(str(error))
                if re.search(mutant.caught, broken[-1]):
                    break

    assert broken
    assert re.search(mutant.caught, broken[-1]), broken


IMPURE = {
    "half of the machines differ": (by_half, True, "L1"),
    "one machine differs": (by_one, True, "our rules refuse"),
    "it draws lots": (by_luck(1), True, "our rules refuse|L1|I6"),  # a leader believes its own draft
    "one machine differs behind the seal's back": (by_one, False, "I6"),
}


def plain(seed: int) -> RealWorld:
    return RealWorld(
        seed,
        Plan.random(random.Random(seed), seconds=2.0, entries=8, byzantine=0, seats=0, rollbacks=0, dead=0),
    )


@pytest.mark.parametrize("name", IMPURE)
def test_a_rule_of_the_real_ledger_that_is_no_function_of_the_log_is_caught(name: str) -> None:
    rule, sealed, invariant = IMPURE[name]
    with impure(rule, sealed=sealed):
        for seed in range(2):
            with pytest.raises(Broken, match=invariant):
                plain(seed).run()


def test_the_same_seeds_are_whole_without_the_planted_rule() -> None:
    assert [plain(seed).run().auditor.height > 5 for seed in range(2)] == [True, True]
