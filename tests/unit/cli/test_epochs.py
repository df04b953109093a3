"""What a user's commands know of epochs: learned from nodes that nobody believes, remembered, told, and refused."""

import hashlib
import json

import pytest

from pyrsia.keys import verify
from pyrsia.log.checkpoint import validator_keys
from pyrsia.log.policy import Policy
from pyrsia.verify import evidence
from pyrsia.verify.pins import Pins
from tests.reference.fakenode import FakeNode
from tests.reference.reigns import Reigns, three_epochs
from tests.reference.story import SIGNED_S, WHEEL, Story


@pytest.fixture(scope="module")
def story():
    return Story(world=three_epochs(Reigns(count=6)))


@pytest.fixture(autouse=True)
def today(monkeypatch):
    """The proofs were made in the ledger's own time."""
    monkeypatch.setattr("time.time", lambda: float(SIGNED_S + 60))


@pytest.fixture
def pins(tmp_path, monkeypatch):
    monkeypatch.setenv("PYRSIA_TRUST", str(tmp_path / "pins"))
    return Pins(tmp_path / "pins")


def answers(story, **more):
    world = story.world
    told = {f"/log/epochs/{at}": (200, step) for at, step in enumerate(world.steps)}
    told |= {"/log/genesis": (200, story.genesis.raw), "/log/checkpoint": (200, story.note())}
    return told | {f"/log/{path}": (200, body) for path, body in more.items()}


@pytest.fixture
def node(story):
    with FakeNode(answers(story)) as made:
        yield made


@pytest.fixture
def pinned(pyrsia, story, pins, tmp_path):
    """The network is pinned, by its genesis alone."""
    path = tmp_path / "net.genesis"
    path.write_bytes(story.genesis.raw)
    assert pyrsia("trust", "add", path)[0] == 0
    return path


def told(answer):
    code, out, _ = answer
    return code, json.loads(out)


def refused(answer):
    code, value = told(answer)
    return code, value["error"]["code"]


# -- trust --


def test_update_learns_the_epochs_and_the_newest_head_of_a_pinned_network(pyrsia, story, pins, pinned, node):
    code, value = told(pyrsia("trust", "update", node.url, "--json"))
    assert (code, value["epoch"], value["learned"], value["size"]) == (0, 2, 2, story.size)
    (pin,) = pins.all()
    assert pin.steps == tuple(story.world.steps)
    assert pins.newest(pin).size == story.size
    assert told(pyrsia("trust", "update", node.url, "--json"))[1]["learned"] == 0
    assert told(pyrsia("trust", "list", "--json"))[1]["pins"][0]["epoch"] == 2


def test_update_believes_neither_strangers_nor_forged_steps_nor_those_who_left(
    pyrsia, story, pins, pinned, node
):
    world = story.world
    node.answers["/log/epochs/1"] = (200, world.steps[0])
    assert refused(pyrsia("trust", "update", node.url, "--json")) == (1, "proof-invalid")
    node.answers |= answers(story, checkpoint=world.cosigned(story.head(), epoch=0))
    assert refused(pyrsia("trust", "update", node.url, "--json")) == (1, "proof-invalid")
    assert pins.all()[0].steps == ()
    node.answers |= answers(Story(world=Reigns(name="elsewhere")))
    assert refused(pyrsia("trust", "update", node.url, "--json")) == (3, "not-pinned")


def test_update_refuses_a_head_older_than_the_newest_seen(pyrsia, story, pinned, node):
    assert pyrsia("trust", "update", node.url)[0] == 0
    node.answers |= answers(story, checkpoint=story.note(story.head(story.size - 3)))
    assert refused(pyrsia("trust", "update", node.url, "--json")) == (3, "too-old")


def test_a_checkpoint_may_be_pinned_with_a_network(pyrsia, story, pins, node, tmp_path):
    note, digest = tmp_path / "head", f"sha256:{hashlib.sha256(story.genesis.raw).hexdigest()}"
    add = ("trust", "add", node.url, "--digest", digest, "--checkpoint", note, "--json")
    for lie in (b"", story.note(signers=2), story.world.cosigned(story.head(), epoch=0)):
        note.write_bytes(lie)
        assert refused(pyrsia(*add)) == (1, "proof-invalid")
        assert pins.all() == []
    note.write_bytes(story.note())
    code, value = told(pyrsia(*add))
    assert (code, value["epoch"], value["size"]) == (0, 2, story.size)
    (pin,) = pins.all()
    assert (len(pin.steps), pins.newest(pin).root) == (2, story.head().root)
    other = story.world.cosigned(story.head(root=b"\1" * 32))
    node.answers |= answers(story, checkpoint=other)
    code, value = told(pyrsia("trust", "update", node.url, "--json"))
    assert (code, "two histories" in value["error"]["what"]) == (1, True)


def test_a_trust_file_out_of_a_mirror_brings_its_epochs(pyrsia, story, pins, tmp_path):
    mirror = tmp_path / "mirror"
    (mirror / "epochs").mkdir(parents=True)
    (mirror / "genesis").write_bytes(story.genesis.raw)
    (mirror / "checkpoint").write_bytes(story.note())
    for at, step in enumerate(story.world.steps):
        (mirror / "epochs" / str(at)).write_bytes(step)
    assert pyrsia("trust", "add", mirror / "genesis", "--checkpoint", mirror / "checkpoint")[0] == 0
    assert pins.all()[0].line(verify).epoch == 2


# -- verify --


def test_verify_remembers_the_epochs_of_a_proof_and_refuses_old_keys_from_then_on(
    pyrsia, story, pins, pinned, tmp_path
):
    file, proof, _ = story.write(tmp_path)
    assert pyrsia("verify", file)[0] == 0
    assert pins.all()[0].line(verify).epoch == 2
    rows = [story.row(i, story.size) for i in story.leaves()]
    old = story.world.cosigned(story.head(), epoch=0)
    proof.write_bytes(story.proof(note=old, extra=evidence.pack(rows, story.now())))
    assert refused(pyrsia("verify", file, "--json")) == (1, "proof-invalid")
    # Who knows genesis alone cannot tell: that is what the memory is for.
    assert pyrsia("verify", file, "--trust", pinned)[0] == 0


def test_verify_asks_the_node_for_epochs_that_its_proof_has_no_room_for(
    pyrsia, story, pinned, node, tmp_path
):
    file = tmp_path / WHEEL
    file.write_bytes(story.data)
    rows = [story.row(i, story.size) for i in story.leaves()]
    late = story.proof(extra=evidence.pack(rows, story.now(), story.world.steps[1:], 1))
    (tmp_path / f"{WHEEL}.tlog-proof").write_bytes(late)
    assert refused(pyrsia("verify", file, "--json")) == (3, "no-proof")
    node.answers[f"/api/v1/artifacts/{story.sha256}/proof"] = (200, late)
    assert pyrsia("verify", file, "--node", node.url)[0] == 0
    assert pyrsia("verify", file)[0] == 0  # it knows them now


def test_a_leaf_of_a_later_epoch_is_verified_offline(pyrsia, story, pinned, tmp_path):
    index, path = story.artifact.leaf, tmp_path / "leaf.json"
    note = story.world.cosigned(story.head(), epoch=2)

    def write(steps):
        proof = story.proof(note=note, extra=evidence.pack_steps(steps)).decode()
        told = {"index": index, "entry": story.world.leaves[index].decode(), "proof": proof}
        path.write_text(json.dumps(told))
        return "log", "verify", path, "--json"

    assert told(pyrsia(*write(story.world.steps)))[1]["size"] == story.size
    assert refused(pyrsia(*write(story.world.steps[:1]))) == (1, "proof-invalid")


# -- policy --


def test_the_policy_is_that_of_the_newest_epoch(pyrsia, story, pinned, node, tmp_path):
    world, reign = story.world, story.world.reigns[2]
    code, value = told(pyrsia("log", "policy", "--node", node.url, "--json"))
    assert (code, value["epoch"]) == (0, f"2, from size {world.ends[1]} on")
    wanted = {
        str(key) for key in validator_keys(story.genesis.origin, [(one.log, one.cosign) for one in reign])
    }
    for line in value["policy"].splitlines():
        wanted -= set(line.split())
    assert wanted == set()
    assert len(Policy.parse(value["policy"].encode()).logs) == 4
    for note, holds in ((story.note(), 0), (world.cosigned(story.head(), epoch=0), 1)):
        (tmp_path / "note").write_bytes(note)
        assert pyrsia("log", "policy", "--node", node.url, "--check", tmp_path / "note")[0] == holds


def test_the_policy_of_a_trust_file_takes_the_epochs_beside_it(pyrsia, story, pins, tmp_path):
    path = tmp_path / "genesis"
    path.write_bytes(story.genesis.raw)
    assert told(pyrsia("log", "policy", "--trust", path, "--json"))[1]["epoch"] == "0"
    (tmp_path / "epochs").mkdir()
    (tmp_path / "epochs" / "0").write_bytes(story.world.steps[0])
    assert told(pyrsia("log", "policy", "--trust", path, "--json"))[1]["epoch"].startswith("1, ")
    (tmp_path / "epochs" / "1").write_bytes(b"junk")
    assert refused(pyrsia("log", "policy", "--trust", path, "--json")) == (1, "proof-invalid")
