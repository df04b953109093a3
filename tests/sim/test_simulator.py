"""Thousands of networks, each broken in its own way: what is final stays one chain, and healing brings it forward."""

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pyrsia.consensus.core import Simplex
from pyrsia.consensus.effects import Now
from pyrsia.wire.blocks import Block
from tests.sim.world import Broken, Plan, World

SEEDS = 50  # a chunk
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("chunk", range(20))
def test_no_fault_of_network_disk_clock_or_one_liar_breaks_agreement_of_four(chunk: int) -> None:
    ran = [World(seed).run() for seed in range(chunk * SEEDS, (chunk + 1) * SEEDS)]

    assert len(ran) == 50
    assert all(len(world.final) >= 5 for world in ran)


def test_seven_members_agree_beside_two_liars() -> None:
    ran = [
        World(seed, Plan.random(random.Random(seed), n=7, byzantine=2)).run()
        for seed in range(10_000, 10_030)
    ]

    assert len(ran) == 30


def test_liars_are_accused_with_two_signatures_that_exclude_each_other() -> None:
    accused = [a for seed in range(30) for a in World(seed, Plan(byzantine=1)).run().accused]

    pairs = [a for a in accused if a.second is not None]

    assert pairs
    assert all(a.first.signer == a.second.signer and a.first.said != a.second.said for a in pairs)


def test_an_idle_network_is_quiet() -> None:
    """L4: with nothing to order, one empty block a heartbeat and its votes, nothing else."""
    world = World(1, Plan(entries=0, seconds=10.0, skew_ms=0, duplicate=0.0, slow_disk=0.0, delay_s=0.0005))
    for node in world.nodes:
        world._start(node)
    world.healed = True
    world._until(10.0, lambda: False)

    blocks = len(world.final)
    assert 8 <= blocks <= 10
    assert world.messages < blocks * 75 + 60


def test_a_lone_entry_on_an_idle_network_is_final_after_three_delays_and_their_syncs() -> None:
    world = World(2, Plan(entries=0, skew_ms=0))
    world.healed = True
    for node in world.nodes:
        world._start(node)
    world._until(0.5, lambda: False)
    for node in world.nodes:
        world.push(0.5, 3, node.number, b"alone")
    done = world._until(1.0, lambda: all(b"alone" in node.app.done for node in world.nodes))

    assert done
    assert world.now - 0.5 < 0.025


# -- the simulator bites ---------------------------------------------------------------------------


class NoGap(Simplex):
    """Mutant (ava-labs/Simplex 281): believes that the views between parent and block were given up."""

    def _absorb(self, block: Block) -> bool:
        parent = block.body.justification.parent_cert
        return parent is None or self._offer(parent)


class BothVotes(Simplex):
    """Mutant: forgets that it gave a view up when it finalizes, and the other way round."""

    def _nullify(self, now: Now) -> None:
        state = self.counting.at(self.view)
        mine, state.my_fin = state.my_fin, None
        super()._nullify(now)
        state.my_fin = state.my_fin or mine

    def _finalize_open(self, now: Now) -> None:
        mine = {view: state.my_nul for view, state in self._views.items()}
        for state in self._views.values():
            state.my_nul = None
        super()._finalize_open(now)
        for view, vote in mine.items():
            if view in self._views:
                self._views[view].my_nul = vote


MUTANTS = {
    "nogap": (40, {"core": NoGap, "byzantine": 1, "entries": 150}, "I3|two final chains"),
    "nullify-and-finalize": (10, {"core": BothVotes}, "I2|I5"),
    "send-before-sync": (3, {"lose_sync": True}, "I8"),
    "impure-ledger": (3, {"impure": True}, "I6|L1|refuse"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(name: str) -> None:
    """By the invariant that it breaks: a mutant that merely crashes some part is not caught by that."""
    seeds, fixed, invariants = MUTANTS[name]
    broken = []
    for seed in range(seeds):
        try:
            World(seed, Plan.random(random.Random(seed), **fixed)).run()
        except Broken as error:
            broken.append(str(error))
            if re.search(invariants, broken[-1]):
                break

    assert broken
    assert re.search(invariants, broken[-1]), broken


# -- one seed, one run -----------------------------------------------------------------------------

_PROGRAM = "from tests.sim.world import World; print(*(World(s).run().audit.hexdigest() for s in range(8)))"


def test_the_same_seed_is_the_same_run_whatever_the_hash_seed() -> None:
    def run(hash_seed: str) -> str:
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            env=env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout

    first = run("1")
    assert len(set(first.split())) == 8
    assert run("77") == first
