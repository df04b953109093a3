"""Proofs after the network changed: its numbers, its members and their keys are those that the log knows."""

import json

import pytest

from pyrsia.builds import attest
from pyrsia.errors import Refusal
from pyrsia.keys import verify
from pyrsia.node.log.proofs import Proofs
from pyrsia.verify.artifact import judge
from pyrsia.wire.text import b32
from tests.reference.governance import Governed, member_motion, numbers
from tests.reference.ledger import key
from tests.reference.parts import Kept
from tests.reference.story import NOW_MS, WHEEL, Story


class Deciding(Kept, Governed):
    """A world on disk whose validators agree on what they are asked."""


@pytest.fixture
def world(tmp_path):
    made = Deciding(tmp_path)
    yield made
    made.close()


def judged(story, folder):
    """What is found about the story's file by the proof that a node gives now."""
    story.world.archive.keep_checkpoint(story.note())
    file = folder / WHEEL
    file.write_bytes(story.data)
    proof = Proofs(story.world.archive).of_artifact(story.sha256)
    return judge(file, proof, [story.pin], now_ms=NOW_MS, expected=None, verify=verify)


def test_other_numbers_since_then_change_no_verdict(world, tmp_path):
    story = Story(world=world, dissenter=True)
    before = judged(story, tmp_path)
    world.enact(numbers(agreeing=3, builders=4))
    after = judged(story, tmp_path)
    assert after.size > before.size
    assert (after.verdict, after.builders, after.drawn) == (before.verdict, before.builders, 3)


def test_what_was_drawn_under_other_numbers_is_judged_by_them(world, tmp_path):
    world.enact(numbers(agreeing=3, builders=4))
    found = judged(Story(world=world), tmp_path)
    assert (found.drawn, len(found.builders)) == (4, 4)


def test_a_builder_that_rotated_its_key_still_counts_for_what_it_signed(world, tmp_path):
    story = Story(world=world)
    for at, builder in enumerate(story.builders):
        new = key("next", at, "build").public.hex()
        world.enact(member_motion("member.rotate", node=b32(builder.public), build=new))
    found = judged(story, tmp_path)
    assert (len(found.builders), found.uncounted) == (3, ())


def test_a_builder_that_left_is_named_as_gone_and_keeps_its_word(tmp_path):
    world = Deciding(tmp_path, count=6, builders=5)
    world.enact(numbers(agreeing=3, builders=5))
    story = Story(world=world)
    world.enact(
        member_motion("member.remove", node=b32(world.nodes[4].public))
    )  # a builder that does not validate
    found = judged(story, tmp_path)
    world.close()
    assert found.gone == ("node 4 (operator-4)",)
    assert len(found.builders) == 5


def test_provenance_by_a_key_that_never_was_the_builder_s_does_not_count(world, tmp_path):
    """The envelope's hint names another member's key: the proof shows whose that is, and it is not the builder's."""

    def borrowed(story, place, body):
        builder = story.builders[place]
        other = story.build_key(story.builders[(place + 1) % 3])
        return story.attestation(builder, body, signer=other) if place == 0 else None

    story = Story(world=world, attestations=borrowed)
    (hint,) = attest.key_ids(story.view.reveals[0].body["attestation"])
    assert hint == story.build_key(story.builders[1]).public.hex()
    found = judged(story, tmp_path)
    assert (len(found.builders), len(found.uncounted)) == (2, 1)


def test_a_proof_by_keys_that_it_does_not_show_is_refused(world, tmp_path):
    story = Story(world=world)
    for at, builder in enumerate(story.builders):
        new = key("next", at, "build").public.hex()
        world.enact(member_motion("member.rotate", node=b32(builder.public), build=new))
    file = tmp_path / WHEEL
    file.write_bytes(story.data)
    with pytest.raises(Refusal, match="0 builders signed sound provenance"):
        judge(file, story.proof(), [story.pin], now_ms=NOW_MS, expected=None, verify=verify)


def test_a_builder_s_later_role_operator_and_name_change_nothing_about_what_it_built(tmp_path):
    world = Deciding(tmp_path, count=6, builders=5)
    world.enact(numbers(agreeing=3, builders=5))
    story = Story(world=world)
    before = judged(story, tmp_path)
    fields = next(one for one in world.genesis.body["members"] if one["node"] == b32(world.nodes[4].public))
    other = next(one for one in world.genesis.body["members"] if one["node"] == b32(world.nodes[0].public))
    world.enact(member_motion(
        "member.replace", node=fields["node"],
        member={**fields, "build": "", "capabilities": [], "operator": other["operator"], "roles": ["storage"]},
    ))  # fmt: skip
    after = judged(story, tmp_path)
    world.close()
    assert (after.builders, after.uncounted, len(after.builders)) == (before.builders, (), 5)


def test_a_drawn_liar_cannot_make_an_artifact_unprovable(world, tmp_path):
    """What an envelope says of its keys is a stranger's text: nothing in it may keep a proof from being made."""

    def odd(story, place, body):
        if place:
            return None
        envelope = json.loads(story.attestation(story.builders[0], body))
        for hint in ("\ud800", "", "a" * 63, "A" * 64, 7, None, {}):
            envelope["signatures"].append({"keyid": hint, "sig": "AA=="})
        envelope["signatures"] = envelope["signatures"][::-1]
        return json.dumps(envelope)

    found = judged(Story(world=world, attestations=odd), tmp_path)
    assert (len(found.builders), found.uncounted) == (3, ())
