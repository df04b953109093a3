"""One leaf and its proof, as `pyrsia log prove` writes them."""

import pytest

from pyrsia.errors import Refusal
from pyrsia.keys import verify
from pyrsia.log.prooffile import TlogProof
from pyrsia.units import LeafIndex
from pyrsia.verify.evidence import check_leaf
from tests.reference import merkle
from tests.reference.ledger import World
from tests.reference.story import Story


@pytest.fixture(scope="module")
def story():
    return Story()


def told(story, at, /, **changes):
    """What a node answers to `log prove`."""
    hashes = tuple(merkle.path(at, story.hashes(story.size)))
    proof = TlogProof(None, LeafIndex(at), hashes, story.note()).encode().decode()
    return {"index": at, "entry": story.world.leaves[at].decode(), "proof": proof, **changes}


def test_every_leaf_of_the_log_is_checked_against_the_pinned_network(story):
    for index in range(story.size):
        found = check_leaf(told(story, index), [story.pin], verify=verify)
        assert (found["ok"], found["index"], found["size"]) == (True, index, story.size)
        assert (found["root"], found["network"]) == (story.head().root.hex(), "test")


def test_another_leaf_index_or_text_is_refused(story):
    entry = story.world.leaves[3].decode()
    lies = [
        {"index": 4},
        {"index": True},
        {"index": 2.0},
        {"entry": entry},
        {"entry": told(story, 2)["entry"] + " "},
    ]
    for lie in lies:
        with pytest.raises(Refusal) as caught:
            check_leaf(told(story, 2, **lie), [story.pin], verify=verify)
        assert caught.value.code == "proof-invalid"


@pytest.mark.parametrize(
    "lie", [{"entry": 5}, {"proof": ""}, {"proof": ["list"]}, {"entry": None}, {"proof": 7}]
)
def test_what_is_no_leafs_proof_is_said_to_be_none(story, lie):
    with pytest.raises(Refusal) as caught:
        check_leaf(told(story, 2, **lie), [story.pin], verify=verify)
    assert (caught.value.code, caught.value.answer.exit) == ("bad-request", 2)


def test_surrogates_of_a_json_reader_are_a_refusal(story):
    for lie in ({"entry": "\ud800"}, {"proof": "\ud800"}):
        with pytest.raises(Refusal) as caught:
            check_leaf(told(story, 2, **lie), [story.pin], verify=verify)
        assert caught.value.code == "proof-invalid"


def test_a_leaf_of_a_network_that_is_not_pinned_exits_3(story):
    with pytest.raises(Refusal) as caught:
        check_leaf(told(story, 2), [Story(world=World(name="other")).pin], verify=verify)
    assert caught.value.answer.exit == 3
