"""`witness`: the configuration it writes, what it shows of a node, and evidence that scripts can trust."""

import json

import pytest

from pyrsia import config, keys
from pyrsia.log import note
from pyrsia.log.note import COSIGNATURE, SignedNote, VerifierKey
from pyrsia.log.witness import WatchedLog, origin_hash
from tests.reference.fakenode import FakeNode
from tests.reference.toylog import ORIGIN, ToyLog

LOG = ToyLog(signers=3)
VKEYS = [str(key) for key in LOG.vkeys]
OWN = keys.KeyPair(b"w" * 32)
WITNESS = str(VerifierKey("w.example", COSIGNATURE, OWN.public))
EVIL = "\x1b[31m\u202eevil"


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "node"
    folder.mkdir()
    config.save(config.Config(), folder)
    return folder


def section(data):
    return config.load(data, environ={}).witness


def test_a_log_is_added_changed_and_removed(pyrsia, data):
    code, out, err = pyrsia("witness", "add-log", VKEYS[0], "--node", data)
    assert (code, err) == (0, "")
    assert "restart" in out
    assert section(data).logs == (VKEYS[0],)
    pyrsia("witness", "add-log", *VKEYS, "--need", "2", "--node", data)
    (line,) = section(data).logs
    log = WatchedLog.parse(line)
    assert (log.origin, log.need, len(log.keys)) == (ORIGIN, 2, 3)
    told = pyrsia(
        "witness", "add-log", VKEYS[0], "--origin", "go.sum database tree", "--node", data, "--json"
    )
    assert json.loads(told[1])["hash"] == origin_hash("go.sum database tree")
    assert len(section(data).logs) == 2
    assert pyrsia("witness", "remove-log", "go.sum database tree", "--node", data)[0] == 0
    assert section(data).logs == (line,)
    assert pyrsia("witness", "remove-log", "go.sum database tree", "--node", data)[0] == 1


def test_a_witness_to_ask_is_added_changed_and_removed(pyrsia, data):
    pyrsia("witness", "add-witness", WITNESS, "https://a.example/", "--node", data)
    pyrsia("witness", "add-witness", WITNESS, "https://b.example/x", "--node", data)
    assert section(data).outside == (f"{WITNESS} https://b.example/x",)
    assert pyrsia("witness", "remove-witness", VKEYS[0], "--node", data)[0] == 1
    assert pyrsia("witness", "remove-witness", WITNESS, "--node", data)[0] == 0
    assert section(data).outside == ()


@pytest.mark.parametrize(
    "arguments",
    [
        ["add-log", "junk"],
        ["add-log", WITNESS],
        ["add-log", VKEYS[0], VKEYS[0]],
        ["add-log", VKEYS[0], "--need", "2"],
        ["add-log", VKEYS[0], "--origin", "a\nb"],
        ["add-log"],
        ["add-witness", VKEYS[0], "https://a.example"],
        ["add-witness", WITNESS, "ftp://a.example"],
        ["add-log", VKEYS[0], "--node", "http://127.0.0.1:1"],
    ],
)
def test_what_is_none_is_refused_and_nothing_is_written(pyrsia, data, arguments):
    before = (data / config.CONFIG_NAME).read_bytes()
    where = [] if "--node" in arguments else ["--node", data]
    code, out, err = pyrsia("witness", *arguments, *where)
    assert (code, out) == (2, "")
    assert err
    assert (data / config.CONFIG_NAME).read_bytes() == before


def test_without_a_data_directory_there_is_nothing_to_change(pyrsia, tmp_path):
    assert pyrsia("witness", "add-log", VKEYS[0], "--node", tmp_path / "nowhere")[0] == 1


OUR_OWN = "net.example/abc"
STATUS = {
    "origin": OUR_OWN,
    "vkey": WITNESS,
    "stopped": "",
    "logs": [
        {"origin": ORIGIN, "hash": origin_hash(ORIGIN), "keys": VKEYS, "need": 1, "size": 5, "evidence": 1,
         "root": "ab" * 32, "time_s": 1_800_000_000},
        {"origin": EVIL, "hash": origin_hash(EVIL), "keys": VKEYS, "need": 1, "time_s": 2**62},
    ],
    "outside": [{"vkey": WITNESS, "url": "https://w.example", "trouble": EVIL}],
}  # fmt: skip


def answers(**changes):
    kept = LOG.note(5, signers=1)
    line = note.cosign_line(kept.text, "w.example", OWN.sign, OWN.public, 5)
    row = {
        "kind": "fork",
        "time_s": 1_800_000_000,
        "kept": SignedNote(kept.text, (*kept.lines, line)).encode().decode(),
        "told": LOG.note(5, fork=2, signers=1).encode().decode(),
    }
    return {
        "/witness/": (200, {**STATUS, **changes}),
        f"/witness/{origin_hash(ORIGIN)}/evidence": (200, {"origin": ORIGIN, "evidence": [row]}),
        f"/witness/{origin_hash(EVIL)}/evidence": (200, {"origin": EVIL, "evidence": []}),
        f"/witness/{origin_hash(OUR_OWN)}/evidence": (200, {"origin": OUR_OWN, "evidence": []}),
    }


def test_the_node_shows_what_it_watches_and_asks(pyrsia):
    with FakeNode(answers()) as node:
        code, out, err = pyrsia("witness", "list", "--node", node.url)
        assert (code, err) == (0, "")
        assert f"{ORIGIN}" in out
        assert "2027-01-15 08:00:00Z" in out
        assert "https://w.example" in out
        assert "\x1b" not in out
        assert "\u202e" not in out
        told = json.loads(pyrsia("witness", "list", "--node", node.url, "--json")[1])
        assert told["logs"][0]["size"] == 5
        assert pyrsia("witness", "key", "--node", node.url) == (0, f"{WITNESS}\n", "")


def test_a_node_without_logs_has_no_key_to_show(pyrsia):
    with FakeNode(answers(vkey="", logs=[], outside=[])) as node:
        assert pyrsia("witness", "key", "--node", node.url)[0] == 1
        assert "no log is watched" in pyrsia("witness", "list", "--node", node.url)[1]
        assert pyrsia("witness", "evidence", "--node", node.url)[:2] == (0, "no evidence against any log\n")


def test_a_stopped_witness_says_so(pyrsia):
    with FakeNode(answers(stopped="its memory is gone")) as node:
        assert "stopped: its memory is gone" in pyrsia("witness", "list", "--node", node.url)[1]
    forgotten = [{**STATUS["logs"][0], "stopped": "cosigned here no more\x1b"}]
    with FakeNode(answers(logs=forgotten)) as node:
        out = pyrsia("witness", "list", "--node", node.url)[1]
        assert out.startswith("cosigned here no more")
        assert "\x1b" not in out


def test_evidence_of_a_fork_ends_with_1_and_its_files_convict(pyrsia, tmp_path):
    with FakeNode(answers()) as node:
        code, out, _ = pyrsia("witness", "evidence", "--node", node.url, "--out", tmp_path / "found")
        assert code == 1
        assert "fork of toy.example/log" in out
        files = sorted((tmp_path / "found").iterdir())
        kept, told = (SignedNote.parse(path.read_bytes()) for path in files)
        for one in (kept, told):
            assert note.verify_note(one, LOG.vkeys, keys.verify)
        assert kept.text.split(b"\n")[1] == told.text.split(b"\n")[1]
        assert kept.text != told.text
        code, out, _ = pyrsia("witness", "evidence", ORIGIN, "--node", node.url, "--json")
        assert (code, json.loads(out)["evidence"][0]["kind"]) == (1, "fork")
        code, _, err = pyrsia("witness", "evidence", "unknown.example", "--node", node.url)
        assert (code, "watches no log unknown.example" in err) == (1, True)


def test_help_is_whole_and_what_is_no_key_is_called_so(pyrsia, data):
    lines = pyrsia("witness", "--help")[1].splitlines()
    assert not [line for line in lines if line.endswith("...") and not line.startswith("Usage")]
    for junk in ("bad", "+5"):
        err = pyrsia("witness", "add-log", "--node", data, "--", junk)[2]
        assert f"'{junk}' is no verifier key" in err


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {**STATUS, "logs": [{}]},
        {**STATUS, "outside": [{"vkey": EVIL, "url": ""}]},
        {**STATUS, "logs": 5},
        b"\x1b[31mjunk",
        [[]] * 1_000,
    ],
)
def test_a_hostile_answer_is_a_refusal(pyrsia, answer):
    with FakeNode({"/witness/": (200, answer)}) as node:
        for command in ("list", "key", "evidence"):
            code, out, err = pyrsia("witness", command, "--node", node.url)
            assert (code, out) == (1, "")
            assert "\x1b" not in err
