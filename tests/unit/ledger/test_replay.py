"""A log executed again from its leaves: a true one whole, a forged one refused where it goes wrong, never a crash."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.keys import verify
from pyrsia.ledger import entries, views
from pyrsia.ledger.execute import Parses
from pyrsia.ledger.replay import NotReplayed, Replay
from pyrsia.units import MAX_BLOCK_ENTRIES, MAX_DERIVED
from pyrsia.wire import canonical
from tests.reference.governance import Governed, about, numbers
from tests.reference.ledger import World


@pytest.fixture(scope="module")
def world():
    """Builds, an idle block, a motion and its effect."""
    made = Governed()
    sha256 = made.published()
    made.propose()
    made.enact(about("artifact.withdraw", sha256))
    made.enact(numbers(agreeing=3, builders=4))
    made.published(version="2.0")
    return made


def replay(world, leaves):
    made = Replay(world.genesis, Parses(verify, 1_000))
    made.feed(leaves)
    return made


def first_wrong(world, leaves):
    with pytest.raises(NotReplayed) as caught:
        replay(world, leaves)
    return caught.value.leaf


def test_a_true_log_gives_the_state_it_was_made_with_in_any_portions(world):
    whole = Replay(world.genesis, Parses(verify, 1_000))
    blocks = sum(whole.feed([leaf]) for leaf in world.leaves)
    assert (whole.size, whole.pending, whole.height) == (len(world.leaves), 0, world.chain.head().height)
    assert blocks == sum(entries.parse(leaf).kind == "block.seal" for leaf in world.leaves)
    assert views.trees(whole.kept.get) == views.trees(world.db.get)
    assert {key: row for key, row in whole.kept.rows.items() if key[0] > 31} == world.state()


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_a_leaf_changed_left_out_doubled_or_moved_is_named(world, data):
    at = data.draw(st.integers(0, len(world.leaves) - 1))
    leaves = list(world.leaves)
    match data.draw(st.sampled_from(["bit", "out", "twice", "swap"])):
        case "bit":
            leaf = bytearray(leaves[at])
            leaf[data.draw(st.integers(0, len(leaf) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            leaves[at] = bytes(leaf)
        case "out":
            del leaves[at]
        case "twice":
            leaves.insert(at, leaves[at])
        case "swap":
            other = (at + 1) % len(leaves)
            leaves[at], leaves[other] = leaves[other], leaves[at]
    refused, found = None, None
    try:
        found = replay(world, leaves)
    except NotReplayed as no:
        refused = no
    if refused is not None:
        assert refused.leaf <= len(leaves)
        return
    # Without its last seal a log is not wrong, only not whole.
    assert leaves[: found.size] == world.leaves[: found.size]
    assert found.pending > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"proposer": 7},
        {"view": 0},
        {"height": 0},
        {"time_ms": 1},
        {"time_ms": (1 << 53) - 1},
        {"epoch": 1},
        {"reveal": "00" * 32},
        {"state_root": "00" * 32},
        {"index_root": "00" * 32},
        {"beacon": "00" * 32},
        {"first_leaf": 1},
    ],
)
def test_every_word_of_a_seal_counts(world, changes):
    at = next(i for i in range(2, len(world.leaves)) if entries.parse(world.leaves[i]).kind == "block.seal")
    fields = json.loads(world.leaves[at])
    fields["body"].update(changes)
    assert first_wrong(world, [*world.leaves[:at], canonical.encode(fields)]) == at


@pytest.mark.parametrize("before_the_end_of_numbers", [0, 1_000, 700_000])
def test_a_time_at_the_end_of_numbers_is_refused_and_never_a_crash(before_the_end_of_numbers):
    """A network whose genesis a stranger wrote: deadlines beyond 2^53 would be no JSON."""
    world = Governed()
    end = (1 << 53) - 1
    world.time = end - before_the_end_of_numbers - 1_000
    slot = world.slot(1_000)
    motion = world.entry(world.follower, "motion.propose", numbers(limits=[["member", 100]]), until=end)
    body = {
        "beacon": "00" * 32, "epoch": 0, "first_leaf": 2, "height": 1, "index_root": "00" * 32,
        "proposer": slot.proposer, "reveal": slot.reveal.hex(), "state_root": "00" * 32,
        "time_ms": slot.time_ms, "view": slot.view,
    }  # fmt: skip
    seal = entries.derive("block.seal", body, net=world.genesis.net)
    assert first_wrong(world, [*world.leaves, motion, seal]) == 3


def test_another_genesis_or_no_end_of_a_block_is_refused(world):
    assert first_wrong(world, World(name="other").leaves) == 0
    endless = [world.leaves[2]] * (MAX_BLOCK_ENTRIES.value + MAX_DERIVED.value + 2)
    assert first_wrong(world, [*world.leaves[:2], *endless]) == 2
