"""Agreed rules that this software does not have: where it says so, and what agreement is told."""

import pytest

from pyrsia.consensus.application import Seats
from pyrsia.consensus.committee import Committee
from pyrsia.consensus.tree import BlockTree
from pyrsia.ledger import views
from pyrsia.ledger.chain import InvalidBlock
from pyrsia.wire.blocks import Block, Body, Justification
from tests.reference.governance import Governed, numbers
from tests.unit.ledger.test_motions import Later, a_fact

SENTENCE = "rules version 2 begins with block {} and is not known to this node: install a newer one"


@pytest.fixture
def world():
    return Governed()


def agreed(world, monkeypatch, ahead=6):
    """Motions for the second version, enacted by members that have it; this software is the first again."""
    height = world.chain.head().height + ahead
    Later(monkeypatch)
    world.enact(numbers(rules={"height": height, "version": 2}))
    Later(monkeypatch, known=(1,))
    return height


def lacks(world):
    return world.chain.lacks(world.chain.head().hash)


def test_it_can_judge_every_block_below_their_height_and_none_from_there(world, monkeypatch):
    assert lacks(world) == ""
    height = agreed(world, monkeypatch)
    assert views.unknown_rules(world.db.get) == (2, height)
    while world.chain.head().height < height - 1:
        assert lacks(world) == ""
        world.offered_kinds(a_fact(world))
    assert lacks(world) == SENTENCE.format(height)
    Later(monkeypatch)
    assert lacks(world) == ""
    world.enact(numbers(agreeing=3))
    assert lacks(world) == ""
    Later(monkeypatch, known=(1,))  # of rules that have begun nobody tells the height any more
    assert lacks(world) == "rules version 2 is in force and is not known to this node: install a newer one"


def test_it_says_so_above_a_block_that_is_not_final_yet(world, monkeypatch):
    height = agreed(world, monkeypatch)
    while world.chain.head().height < height - 2:
        world.offered_kinds(a_fact(world))
    world.chain.mempool.add(a_fact(world), world.time + 1_000, world.db.get)
    slot = world.slot()
    draft = world.chain.build(world.chain.head().hash, slot)
    header = world.header(draft, slot)
    world.chain.check(header, draft.entries)
    assert header.height == height - 1
    assert lacks(world) == ""
    assert world.chain.lacks(header.hash()) == SENTENCE.format(height)


def test_a_final_block_of_theirs_is_refused_with_that_sentence_and_not_as_a_lie(world, monkeypatch):
    height = agreed(world, monkeypatch)
    while world.chain.head().height < height - 1:
        world.offered_kinds(a_fact(world))
    Later(monkeypatch)
    slot = world.slot()
    draft = world.chain.build(world.chain.head().hash, slot)
    header = world.header(draft, slot)
    Later(monkeypatch, known=(1,))
    world.chain._built = None  # (another node built it)
    with pytest.raises(InvalidBlock, match="rules version 2"):
        world.chain.check(header, draft.entries)
    seats = world.chain.seats(world.chain.head().hash)
    assert isinstance(seats, Seats)
    committee = Committee(seats, world.genesis.chain_id, world.genesis.origin)
    tree = BlockTree(world.chain, committee, world.chain.head())
    block = Block(header, Body(draft.entries, Justification(None)))
    tree.add(block)
    assert tree.refusal(block) == SENTENCE.format(height)
