"""A file that is read while it comes: its chunks are asked for from the first to the last, of all sources at once."""

import importlib.util
import random
import sys
from pathlib import Path

import pytest

from pyrsia.transfer.swarm import Swarm

sys.path.insert(0, str(Path(__file__).parent))
from simulator import Peer, World

assert importlib.util.find_spec("simulator")


def run(peers, *, ordered, seed=0):
    world = World(200, peers, seed)
    world.swarm = Swarm(world.paper, list(world.peers), random.Random(seed + 1), ordered=ordered)
    return world.run()


def first_asked(world):
    """Chunks in the order in which they were first asked for."""
    return list(dict.fromkeys(chunk for _, _, chunk in world.asked))


@pytest.mark.parametrize("seed", range(5))
def test_chunks_are_asked_for_in_order_and_from_both_sources(seed):
    world = run([Peer("a"), Peer("b", rate=20e6)], ordered=True, seed=seed)
    assert world.done
    assert first_asked(world) == list(range(200))
    assert len(world.used) == 2


def test_without_a_reader_they_are_not():
    assert first_asked(run([Peer("a"), Peer("b")], ordered=False)) != list(range(200))


def test_a_liar_and_a_loss_leave_no_gap_behind():
    """What they owed is asked of the others first, because it is the first that is wanted."""
    world = run([Peer("a"), Peer("b", lies=True), Peer("c", vanishes_s=0.3)], ordered=True)
    assert world.done
    assert sorted(world.written) == list(range(200))
