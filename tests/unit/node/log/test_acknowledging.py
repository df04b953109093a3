"""Acknowledgements out of an archive, and what a node believes of others' ones."""

import msgspec
import pytest

from pyrsia.errors import Refusal
from pyrsia.keys import verify
from pyrsia.ledger import entries
from pyrsia.log import tree
from pyrsia.node.log import acknowledging
from pyrsia.node.log.acknowledging import Acknowledgements, Believer
from pyrsia.units import Limit
from tests.reference import merkle
from tests.reference.certified import Certified


@pytest.fixture
def world(tmp_path):
    made = Certified(tmp_path)
    yield made
    made.close()


def filled(world, blocks=4, each=5):
    for height in range(blocks):
        world.block(*(world.fact(f"{height} {i}") for i in range(each)))
    return [at for at, leaf in enumerate(world.leaves) if entries.parse(leaf).author is not None]


def said_of(made, world, at):
    return made.of(entries.parse(world.leaves[at]).id, at)


@pytest.mark.parametrize(("blocks", "each", "step"), [(4, 5, 1), (3, 180, 29)])
def test_hashes_lead_to_the_root_of_the_block_and_are_those_of_the_definition(world, blocks, each, step):
    made = Acknowledgements(world.archive)
    for at in filled(world, blocks, each)[::step]:
        said = said_of(made, world, at)
        hashes = [merkle.leaf_hash(leaf) for leaf in world.leaves[: said.block.size]]
        assert [bytes.fromhex(one) for one in said.inclusion] == merkle.path(at, hashes)
        assert bytes.fromhex(said.block.root) == merkle.root(hashes)
        tree.verify_inclusion(hashes[at], at, said.block.size, merkle.path(at, hashes), merkle.root(hashes))


def test_entries_of_one_block_are_told_one_block_and_what_it_costs_is_paid_once(world, monkeypatch):
    places = filled(world, blocks=1, each=20)
    read, real = [], type(world.archive).nodes
    monkeypatch.setattr(
        type(world.archive),
        "nodes",
        lambda self, wanted, size: read.append(len(wanted)) or real(self, wanted, size),
    )
    made = Acknowledgements(world.archive)
    blocks = {id(said_of(made, world, at).block) for at in places}
    assert len(blocks) == 1
    # 20 proofs of five hashes each, in a tree that has 2 * 23 nodes at most.
    assert sum(read) <= 46


def test_many_are_told_in_their_order_what_each_would_be_told_alone(world):
    places = filled(world)
    asked = [(entries.parse(world.leaves[at]).id, at) for at in (*places[::-1], places[3])]
    made = Acknowledgements(world.archive)
    assert made.many(asked) == [Acknowledgements(world.archive).of(*one) for one in asked]
    assert made.many([]) == []


def test_blocks_at_hand_are_bounded_and_an_old_entry_is_acknowledged_the_same_again(world, monkeypatch):
    monkeypatch.setattr(acknowledging, "BLOCKS", Limit(2, "a test"))
    places = filled(world)
    made = Acknowledgements(world.archive)
    first = [said_of(made, world, at) for at in places]
    assert len(made._blocks) == 2
    assert [said_of(made, world, at) for at in places] == first
    assert [said_of(Acknowledgements(world.archive), world, at) for at in places] == first  # after a restart


def test_a_checkpoint_is_asked_for_only_where_one_covers_the_leaf(world):
    places = filled(world)
    asked = []
    made = Acknowledgements(
        world.archive, covered=lambda: places[3], of_leaf=lambda at: asked.append(at) or b"proof"
    )
    assert [said_of(made, world, at).checkpoint for at in places[:4]] == ["proof"] * 3 + [""]
    assert asked == places[:3]


def test_a_log_whose_seal_is_missing_is_the_nodes_own_fault_and_said_to_be(world, monkeypatch):
    places = filled(world, blocks=1)
    monkeypatch.setattr(acknowledging.glance, "is_seal", lambda leaf: False)
    with pytest.raises(Refusal) as caught:
        said_of(Acknowledgements(world.archive), world, places[0])
    assert caught.value.code == "internal"


def test_a_node_believes_what_a_quorum_of_a_known_epoch_signed_and_nothing_else(world):
    places = filled(world)
    made = Acknowledgements(world.archive)
    believes = Believer(world.genesis, world.db.get, verify)
    said = said_of(made, world, places[-1])
    leaf, other = world.leaves[places[-1]], world.leaves[places[0]]
    assert believes(leaf, said)
    assert believes(leaf, msgspec.structs.replace(said, checkpoint="not looked at"))
    assert not believes(other, said)
    assert not believes(leaf, msgspec.structs.replace(said, index=said.index - 1))
    assert not believes(leaf, msgspec.structs.replace(said, block=said_of(made, world, places[0]).block))
    begins_later = Believer(
        world.genesis, lambda key: None if key.startswith(b"epoch/") else world.db.get(key), verify
    )
    assert not begins_later(leaf, said)
