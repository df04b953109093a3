"""Proof files out of a real archive are what `verify` accepts; none is made before a head covers the leaf."""

import base64
import hashlib

import pytest

from pyrsia.errors import Refusal
from pyrsia.keys import verify
from pyrsia.log.prooffile import TlogProof
from pyrsia.node.log import proofs as module
from pyrsia.node.log.proofs import Proofs
from pyrsia.store import layout
from pyrsia.store.rocks import Batch
from pyrsia.verify.artifact import judge
from pyrsia.verify.evidence import check_leaf
from pyrsia.wire import canonical
from tests.reference.parts import Kept
from tests.reference.reigns import KeptReigns, three_epochs
from tests.reference.story import NOW_MS, WHEEL, Story


@pytest.fixture
def story(tmp_path):
    made = Story(world=Kept(tmp_path), dissenter=True)
    yield made
    made.world.close()


def publish(story, size=None):
    story.world.archive.keep_checkpoint(story.note(story.head(size)))
    return Proofs(story.world.archive)


def test_the_proof_file_of_an_artifact_is_accepted_with_its_dissenter(story, tmp_path):
    file = tmp_path / WHEEL
    file.write_bytes(story.data)
    proof = publish(story).of_artifact(story.sha256)
    found = judge(file, proof, [story.pin], now_ms=NOW_MS, expected=None, verify=verify)
    assert (found.verdict, len(found.builders), len(found.dissenting)) == ("REPRODUCED", 2, 1)
    assert proof == story.proof()


def test_each_file_of_a_build_has_its_own_proof_file(tmp_path):
    """Of three files the proof carries the one that it is about; the leaves that led to all of them are the same."""
    asked = {
        "coordinates": {"name": "text", "namespace": "org.example", "version": "1.0"},
        "ecosystem": "maven",
        "purl": "pkg:maven/org.example/text@1.0",
    }
    files = {"text-1.0-sources.jar": b"sources", "text-1.0.jar": b"a jar", "text-1.0.pom": b"<project/>"}
    story = Story(world=Kept(tmp_path, capabilities=["maven"]), asked=asked, files=files)
    proofs = publish(story)
    for name, data in files.items():
        one, file = story.of(name), tmp_path / name
        file.write_bytes(data)
        proof = proofs.of_artifact(one.sha256)
        assert proof == one.proof()
        found = judge(file, proof, [story.pin], now_ms=NOW_MS, expected=asked["purl"], verify=verify)
        assert (found.file, found.index, found.verdict) == (name, one.artifact.leaf, "REPRODUCED")
    story.world.close()


def test_without_a_head_that_covers_it_there_is_no_proof(story):
    proofs = Proofs(story.world.archive)
    assert (proofs.of_artifact(story.sha256), proofs.of_leaf(0)) == (None, None)
    proofs = publish(story, story.artifact.leaf)
    assert (proofs.of_artifact(story.sha256), proofs.of_leaf(story.artifact.leaf)) == (None, None)
    assert proofs.of_leaf(0) is not None
    assert publish(story, story.artifact.leaf + 2).of_artifact(story.sha256) is not None


def test_an_older_head_gives_a_proof_at_its_own_size(story):
    size = story.artifact.leaf + 2  # with its seal, as every head
    story.world.block(story.world.fact())
    proofs = publish(story, size)
    assert proofs.of_artifact(story.sha256) == story.proof(size=size)


def test_a_head_beyond_the_log_on_this_disk_gives_none(story):
    archive = story.world.archive
    before = archive.head
    story.world.block(story.world.fact())
    proofs = publish(story)
    assert proofs.of_artifact(story.sha256) is not None
    archive.head = before
    assert (proofs.of_artifact(story.sha256), proofs.of_leaf(0)) == (None, None)


def test_a_digest_that_nobody_published_has_no_proof(story):
    assert publish(story).of_artifact(hashlib.sha256(b"other").hexdigest()) is None


def test_every_leaf_has_a_proof_that_checks(story):
    proofs = publish(story)
    for index in range(story.size):
        fields = {
            "index": index,
            "entry": story.world.leaves[index].decode(),
            "proof": proofs.of_leaf(index).decode(),
        }
        assert check_leaf(fields, [story.pin], verify=verify)["index"] == index
    assert [proofs.of_leaf(index) for index in (-1, story.size)] == [None, None]


def test_only_the_round_that_counted_is_in_the_proof(tmp_path):
    """A draw that came to nothing left a commit behind; it is no part of what the verdict was made from."""
    world = Kept(tmp_path)
    story = Story(world=world, redrawn=True)
    assert (len(story.view.draws), len(story.view.commits)) == (2, 4)
    proof = publish(story).of_artifact(story.sha256)
    file = tmp_path / WHEEL
    file.write_bytes(story.data)
    found = judge(file, proof, [story.pin], now_ms=NOW_MS + 3_600_000, expected=None, verify=verify)
    assert (found.verdict, len(found.builders)) == ("REPRODUCED", 3)
    leaves = canonical.decode(TlogProof.parse(proof).extra, 1 << 20)["leaves"]
    assert len(leaves) == 1 + 1 + 3 + 3 + 2
    world.close()


def test_a_proof_that_would_not_fit_is_a_refusal(story, monkeypatch):
    monkeypatch.setattr(module.evidence, "pack", lambda *_: b"x" * 1_200_000)
    with pytest.raises(Refusal) as caught:
        publish(story).of_artifact(story.sha256)
    assert caught.value.code == "too-large"


def test_a_proof_brings_the_steps_up_to_its_checkpoint_or_the_newest_that_this_node_has(tmp_path):
    world = three_epochs(KeptReigns(tmp_path, count=6))
    story = Story(world=world)
    world.archive.keep_checkpoint(story.note())
    file = tmp_path / WHEEL
    file.write_bytes(story.data)

    def made():
        return Proofs(world.archive).of_artifact(story.sha256)

    def carried(proof):
        return canonical.decode(TlogProof.parse(proof).extra, 1 << 18)["epochs"]

    assert [base64.b64decode(one) for one in carried(made())["steps"]] == world.steps
    found = judge(file, made(), [story.pin], now_ms=NOW_MS, expected=None, verify=verify)
    assert (found.epoch, found.quorum) == (2, (4, 4))
    assert len(carried(Proofs(world.archive).of_leaf(story.artifact.leaf))["steps"]) == 2
    # A step that is known to be over and is not here, as with a node that does not know how the first epoch ended.
    world.database.write(Batch().delete(layout.EPOCHS, layout.number(0)))
    assert (carried(made())["first"], len(carried(made())["steps"])) == (1, 1)
    world.rotate(3, 2)
    after = Proofs(world.archive).of_leaf(story.artifact.leaf)
    assert len(carried(after)["steps"]) == 1  # the epoch that ended now did so behind the checkpoint
    world.close()
