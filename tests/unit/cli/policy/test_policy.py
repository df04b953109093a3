"""`log policy`: what it prints for whom, and what --check says with which exit code."""

import hashlib
import json

import pytest

from pyrsia import keys
from pyrsia.log import note
from pyrsia.log.note import COSIGNATURE, SignedNote, VerifierKey
from pyrsia.log.policy import Policy
from tests.reference.fakenode import FakeNode
from tests.reference.story import Story

WITNESS = keys.KeyPair(b"w" * 32)
VKEY = str(VerifierKey("w.example", COSIGNATURE, WITNESS.public))


@pytest.fixture(scope="module")
def evidence():
    return Story()


@pytest.fixture
def genesis(evidence, tmp_path):
    path = tmp_path / "net.genesis"
    path.write_bytes(evidence.genesis.raw)
    return path


@pytest.fixture
def network_note(evidence, tmp_path):
    """The file of a checkpoint that a quorum of the network cosigned."""
    path = tmp_path / "checkpoint"
    path.write_bytes(evidence.note())
    return path


def test_the_policy_of_a_trust_file_is_printed_and_reads_back(pyrsia, evidence, genesis):
    code, out, err = pyrsia("log", "policy", "--trust", genesis, "--url", "https://n.example/log")
    assert (code, err) == (0, "")
    read = Policy.parse(out.encode())
    assert len(read.logs) == len(evidence.genesis.validators)
    assert read.logs[0].url == "https://n.example/log"
    assert out.startswith("# network ")
    assert f"# genesis sha256:{hashlib.sha256(evidence.genesis.raw).hexdigest()}" in out
    told = json.loads(pyrsia("log", "policy", "--trust", genesis, "--json")[1])
    assert told["network"] == evidence.genesis.name
    assert Policy.parse(told["policy"].encode()).quorum == "validators"


def test_a_node_at_an_address_is_believed_only_for_a_pinned_network(pyrsia, evidence, genesis):
    with FakeNode({"/log/genesis": (200, evidence.genesis.raw)}) as node:
        code, out, err = pyrsia("log", "policy", "--node", node.url)
        assert (code, out) == (3, "")
        assert "not pinned" in err
        pyrsia("trust", "add", genesis)
        code, out, _ = pyrsia("log", "policy", "--node", node.url)
        assert code == 0
        assert len(Policy.parse(out.encode()).logs) == len(evidence.genesis.validators)
        node.answers["/log/genesis"] = (200, b"\x1b[31mjunk")
        assert pyrsia("log", "policy", "--node", node.url)[0] == 2


def test_the_user_s_own_node_needs_no_pin(pyrsia, evidence, tmp_path):
    with FakeNode({"/log/genesis": (200, evidence.genesis.raw)}, socket=tmp_path / "control.sock"):
        assert pyrsia("log", "policy", "--node", tmp_path)[0] == 0


def test_check_says_whether_a_checkpoint_satisfies_it(pyrsia, evidence, genesis, network_note, tmp_path):
    code, out, _ = pyrsia("log", "policy", "--trust", genesis, "--check", network_note)
    assert code == 0
    assert "satisfies the policy" in out
    assert pyrsia("log", "policy", "--trust", genesis, "--check", network_note, "--witness", VKEY)[0] == 1

    parsed = SignedNote.parse(network_note.read_bytes())
    line = note.cosign_line(parsed.text, "w.example", WITNESS.sign, WITNESS.public, 1_800_000_000)
    network_note.write_bytes(SignedNote(parsed.text, (*parsed.lines, line)).encode())
    code, out, _ = pyrsia(
        "log", "policy", "--trust", genesis, "--check", network_note, "--witness", VKEY, "--json"
    )
    told = json.loads(out)
    assert (code, told["satisfied"], told["origin"]) == (0, True, evidence.genesis.origin)
    assert {"witness": "outside-1", "time_s": 1_800_000_000} in told["cosigned"]

    written = tmp_path / "policy"
    written.write_text(pyrsia("log", "policy", "--trust", genesis, "--witness", VKEY)[1])
    assert pyrsia("log", "policy", "--from", written, "--check", network_note)[0] == 0
    assert pyrsia("log", "policy", "--from", written)[0] == 0


def test_a_proof_file_s_checkpoint_is_checked_too(pyrsia, evidence, genesis, tmp_path):
    proof = tmp_path / "file.tlog-proof"
    proof.write_bytes(evidence.proof())
    assert pyrsia("log", "policy", "--trust", genesis, "--check", proof)[0] == 0


def test_a_tampered_or_foreign_checkpoint_is_refused(pyrsia, evidence, genesis, network_note):
    good = network_note.read_bytes()
    lies = [
        b"",
        b"junk",
        good[:-1],
        good.replace(b"\n\n", b"\n"),
        good.replace(evidence.genesis.origin.encode(), b"other.example"),
        evidence.note(signers=2),
        b"x" * 10_000_000,
    ]
    size = good.split(b"\n")[1]
    lies += [good.replace(b"\n%b\n" % size, b"\n%b\n" % other) for other in (b"0" + size, b"+" + size)]
    for lie in lies:
        network_note.write_bytes(lie)
        code, out, err = pyrsia("log", "policy", "--trust", genesis, "--check", network_note)
        assert (code, out) == (1, "")
        assert "pyrsia:" in err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--need", "1"], 2),
        (["--witness", "junk"], 2),
        (["--witness", VKEY, "--witness", VKEY], 2),
        (["--witness", VKEY, "--need", "2"], 2),
        (["--url", "https://a b"], 2),
        (["--from", "{bad}"], 2),
        (["--from", "{bad}", "--witness", VKEY], 2),
    ],
)
def test_wrong_arguments_are_a_sentence(pyrsia, genesis, tmp_path, arguments, code):
    bad = tmp_path / "bad"
    bad.write_bytes(b"quorum \x1b[31mnobody\n")
    told = [one.format(bad=bad) for one in arguments]
    trust = [] if "--from" in told else ["--trust", genesis]
    found, out, err = pyrsia("log", "policy", *trust, *told)
    assert (found, out) == (code, "")
    assert "\x1b" not in err
