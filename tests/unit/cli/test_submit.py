"""`log submit` and the check of what it wrote."""

import base64
import json
from dataclasses import replace

import msgspec
import pytest

from pyrsia.cli.log import submit
from pyrsia.errors import Refusal
from pyrsia.ledger import entries
from pyrsia.node.log.acknowledging import Acknowledgements
from pyrsia.wire.blocks import FinalityProof
from tests.reference.certified import Certified
from tests.reference.fakenode import FakeNode

PATH = "/api/v1/entries"


@pytest.fixture
def world(tmp_path):
    made = Certified(tmp_path / "world")
    made.block(made.fact("one"), made.fact("two"))
    yield made
    made.close()


@pytest.fixture
def told(world):
    """A node's answer about the first entry, that entry, and the files that a user has."""
    at = next(at for at, leaf in enumerate(world.leaves) if entries.parse(leaf).author is not None)
    leaf = world.leaves[at]
    said = Acknowledgements(world.archive).of(entries.parse(leaf).id, at)
    said = msgspec.json.decode(msgspec.json.encode(said))
    return {
        "entry": said["entry"],
        "state": "committed",
        "index": at,
        "leaf": "",
        "acknowledgement": said,
    }, leaf


@pytest.fixture
def files(tmp_path, world, told):
    entry, trust = tmp_path / "entry.json", tmp_path / "genesis.json"
    entry.write_bytes(told[1] + b"\n")
    trust.write_bytes(world.genesis.raw)
    return entry, trust


def test_an_entry_is_submitted_byte_for_byte_and_its_acknowledgement_is_checked(pyrsia, told, files):
    entry, trust = files
    with FakeNode({PATH: (202, told[0])}) as node:
        code, out, _ = pyrsia("log", "submit", entry, "--node", node.url, "--trust", trust)
    assert code == 0
    assert [(method, body) for method, _, _, body in node.seen] == [("POST", told[1])]
    assert f"leaf {told[0]['index']}" in out
    assert "against the pinned network test" in out
    assert "none covers it yet" in out


def test_the_file_that_it_writes_is_checked_offline_by_log_verify(pyrsia, told, files, tmp_path):
    entry, trust = files
    kept = tmp_path / "ack.json"
    with FakeNode({PATH: (202, told[0])}) as node:
        code, out, _ = pyrsia("log", "submit", entry, "--node", node.url, "--out", kept)
    assert (code, "the network is not pinned here" in out) == (0, True)
    code, out, _ = pyrsia("log", "verify", kept, "--trust", trust)
    assert (code, out.strip()) == (0, f"leaf {told[0]['index']} is in test, final in block 1")
    code, out, _ = pyrsia("log", "verify", kept, "--trust", trust, "--json")
    assert json.loads(out)["height"] == 1

    lie = json.loads(kept.read_text())
    lie["acknowledgement"]["index"] += 1
    kept.write_text(json.dumps(lie))
    code, _, err = pyrsia("log", "verify", kept, "--trust", trust)
    assert (code, "do:" in err) == (1, True)


def test_json_carries_the_whole_acknowledgement(pyrsia, told, files):
    entry, trust = files
    with FakeNode({PATH: (202, told[0])}) as node:
        code, out, _ = pyrsia("log", "submit", entry, "--node", node.url, "--trust", trust, "--json")
    found = json.loads(out)
    assert (code, found["checked"], found["leaf"].encode()) == (0, "test", told[1])
    assert found["acknowledgement"] == told[0]["acknowledgement"]


def test_a_node_that_lies_to_who_has_pinned_the_network_is_found_out(pyrsia, told, files):
    entry, trust = files
    answer = json.loads(json.dumps(told[0]))
    answer["acknowledgement"]["block"]["size"] += 1
    with FakeNode({PATH: (202, answer)}) as node:
        code, _, err = pyrsia("log", "submit", entry, "--node", node.url, "--trust", trust)
    assert (code, "another block" in err) == (1, True)


def test_a_certificate_of_an_epoch_that_is_not_known_here_is_no_lie_and_no_proof(pyrsia, told, files, world):
    """The pin knows genesis alone; the certificate is of a later epoch's validators."""
    entry, trust = files
    answer = json.loads(json.dumps(told[0]))
    proof = FinalityProof.decode(base64.b64decode(answer["acknowledgement"]["block"]["finality"]))
    later = replace(proof, cert=replace(proof.cert, said=proof.cert.said._replace(epoch=1)))
    answer["acknowledgement"]["block"]["finality"] = base64.b64encode(later.encode()).decode()
    with FakeNode({PATH: (202, answer)}) as node:
        code, _, err = pyrsia("log", "submit", entry, "--node", node.url, "--trust", trust)
    assert (code, "pyrsia trust update" in err) == (3, True)


def test_a_busy_node_says_how_long_and_is_waited_for_as_long_as_one_likes(pyrsia, told, files, monkeypatch):
    entry, trust = files
    busy = Refusal("busy", what="full", who="load", do="send it again in 7 s", retry_s=7)
    with FakeNode({PATH: (429, {"error": busy.as_dict()})}) as node:
        code, _, err = pyrsia("log", "submit", entry, "--node", node.url)
        assert (code, "in 7 s" in err, len(node.seen)) == (1, True, 1)
        code, out, _ = pyrsia("log", "submit", entry, "--node", node.url, "--json")
        assert json.loads(out)["error"]["retry_s"] == 7

        clock = [0.0]
        slept = []

        def sleep(seconds):
            slept.append(seconds)
            clock[0] += seconds
            if len(slept) == 2:
                node.answers[PATH] = (202, told[0])

        monkeypatch.setattr(submit.time, "monotonic", lambda: clock[0])
        monkeypatch.setattr(submit.time, "sleep", sleep)
        code, _, err = pyrsia("log", "submit", entry, "--node", node.url, "--patience", 20, "--trust", trust)
        assert (code, slept, err.count("again in 7 s")) == (0, [7, 7], 2)

        node.answers[PATH] = (429, {"error": busy.as_dict()})
        slept.clear()
        code, _, _ = pyrsia("log", "submit", entry, "--node", node.url, "--patience", 6)
        assert (code, slept) == (1, [])


@pytest.mark.parametrize(
    "answer", [{}, [], {"entry": "x"}, {"entry": "", "state": "", "index": 1, "acknowledgement": 5}]
)
def test_an_answer_that_is_none_is_a_refusal(pyrsia, files, answer):
    with FakeNode({PATH: (202, answer)}) as node:
        code, _, err = pyrsia("log", "submit", files[0], "--node", node.url)
    assert (code, "not what a node gives" in err) == (1, True)
