"""`log history` and `log verify-history` as a person meets them."""

import json

import pytest
import trio

from pyrsia.config import CONTROL_SOCKET
from pyrsia.node.house import GENESIS
from pyrsia.node.log.proofs import Proofs
from pyrsia.verify.history import Subject
from tests.reference.fakenode import PEER, STATUS, FakeNode
from tests.reference.ledger import World
from tests.reference.parts import Kept
from tests.reference.story import Story

ADDRESS = "/api/v1/log/history"
IDNA = "pkg:pypi/idna"


@pytest.fixture
def story(tmp_path, monkeypatch):
    monkeypatch.setenv("PYRSIA_TRUST", str(tmp_path / "pins"))
    world = Kept(tmp_path)
    made = Story(world=world)
    world.archive.keep_checkpoint(made.note())
    yield made
    world.close()


@pytest.fixture
def trust(story, tmp_path):
    path = tmp_path / "genesis.json"
    path.write_bytes(story.genesis.raw)
    return path


def of(story, text):
    return trio.run(Proofs(story.world.archive).of_history, Subject.parse(text))


def test_a_history_is_told_written_and_checked_again_offline(pyrsia, node, story, trust, tmp_path):
    node.answers[ADDRESS] = (200, of(story, IDNA))
    file = tmp_path / "idna.history"
    code, out, err = pyrsia(
        "log", "history", f"{IDNA}@1.0", "--prove", file, "--trust", trust, "--node", node.url
    )
    assert (code, err) == (0, "")
    assert "artifact.add" in out
    assert f"about {IDNA} in test up to {story.size}, proven" in out
    code, out, _ = pyrsia("log", "verify-history", file, "--trust", trust, "--json")
    told = json.loads(out)
    assert (code, told["complete"], told["of"], told["size"]) == (0, True, IDNA, story.size)
    assert [one["leaf"].encode() for one in told["leaves"]] == [
        story.world.leaves[at["index"]] for at in told["leaves"]
    ]


def test_as_of_a_size_it_holds_what_the_log_held_then_and_no_more(pyrsia, node, story, trust, tmp_path):
    node.answers[ADDRESS] = (200, of(story, IDNA))
    file = tmp_path / "idna.history"
    asked = ("log", "history", IDNA, "--prove", file, "--trust", trust, "--node", node.url)
    every = json.loads(pyrsia(*asked, "--json")[1])["leaves"]
    size = every[-1]["index"]
    told = json.loads(pyrsia(*asked, "--as-of", size, "--json")[1])
    assert (told["leaves"], told["size"], told["as_of"]) == (every[:-1], story.size, size)
    code, out, _ = pyrsia("log", "verify-history", file, "--as-of", size + 1, "--trust", trust)
    assert f"all {len(every)} leaves about {IDNA} in test up to {size + 1}, proven by the log of size" in out
    assert (code, pyrsia(*asked, "--as-of", 1)[1].split(":")[0]) == (0, "nothing")
    code, _, err = pyrsia(*asked, "--as-of", story.size + 1)
    assert (code, f"proven up to size {story.size:,}" in err) == (2, True)


def test_as_of_a_time_the_node_says_how_long_the_log_was_and_the_proof_says_the_rest(
    pyrsia, node, story, trust, tmp_path
):
    page = {"size": 3, "root": "00", "entries": [], "next": -1}
    node.answers |= {ADDRESS: (200, of(story, IDNA)), "/api/v1/log/entries": (200, page)}
    file = tmp_path / "h"
    asked = ("log", "history", IDNA, "--prove", file, "--trust", trust, "--node", node.url)
    by_size = json.loads(pyrsia(*asked, "--as-of", 3, "--json")[1])
    assert json.loads(pyrsia(*asked, "--as-of", "2026-01-31", "--json")[1]) == by_size
    assert node.seen[-1][1] == "/api/v1/log/entries?as_of_time=1769817600000&count=1"
    node.answers["/api/v1/log/entries"] = (200, {**page, "size": story.size + 1})  # more than it can prove
    assert pyrsia(*asked, "--as-of", "2026-01-31")[0] == 2
    for wrong, why in (("0", "no log has size 0"), ("2999-01-01", "lies ahead"), ("soon", "is no time")):
        code, _, err = pyrsia(*asked, "--as-of", wrong)
        assert (code, why in err) == (2, True)
    code, _, err = pyrsia("log", "verify-history", file, "--as-of", "2026-01-31", "--trust", trust)
    assert (code, "--as-of" in err) == (2, True)


def test_nothing_ever_is_a_proof_too(pyrsia, node, story, trust):
    node.answers[ADDRESS] = (200, of(story, "0" * 64))
    code, out, _ = pyrsia("log", "history", "sha256:" + "0" * 64, "--trust", trust, "--node", node.url)
    assert (code, out.split(":")[0]) == (0, "nothing")


def test_without_a_pin_nothing_is_believed(pyrsia, node, story, trust, tmp_path):
    node.answers[ADDRESS] = (200, of(story, IDNA))
    file = tmp_path / "h"
    code, out, _ = pyrsia("log", "history", IDNA, "--prove", file, "--node", node.url, "--json")
    assert (code, json.loads(out)["error"]["code"], file.exists()) == (3, "not-pinned", False)


def test_the_network_of_one_s_own_node_needs_no_pin(pyrsia, story, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / GENESIS).write_bytes(story.genesis.raw)
    with FakeNode({ADDRESS: (200, of(story, IDNA))}, socket=folder / CONTROL_SOCKET):
        code, out, err = pyrsia("log", "history", IDNA, "--node", folder)
        assert (code, err) == (0, "")
        monkeypatch.setenv("PYRSIA_NODE", str(folder))
        assert pyrsia("log", "history", IDNA)[:2] == (0, out)
        (folder / GENESIS).write_bytes(World(name="another").genesis.raw)
        assert pyrsia("log", "history", IDNA)[0] == 3


@pytest.mark.parametrize("own", [True, False])
def test_who_came_after_genesis_has_the_name_that_one_s_own_node_knows(
    pyrsia, node, story, trust, tmp_path, own
):
    """And none that a stranger's node says: beside what is proven its word would look like more."""
    members = story.genesis.members
    peers = {"peers": [{**PEER, "node_id": member.text, "name": "newcomer"} for member in members]}
    answers = {ADDRESS: of(story, IDNA), "/api/v1/peers": peers, "/api/v1/status": STATUS}
    folder = tmp_path / "data"
    folder.mkdir()
    with FakeNode({path: (200, told) for path, told in answers.items()}, socket=folder / CONTROL_SOCKET):
        node.answers |= {path: (200, told) for path, told in answers.items()}
        where = folder if own else node.url
        code, out, _ = pyrsia("log", "history", IDNA, "--trust", trust, "--node", where)
        assert (code, "newcomer" in out) == (0, own)


@pytest.mark.parametrize(
    "lie",
    [
        lambda data, other: other,
        lambda data, other: data.replace(b"\n2 ", b"\n1 ", 1),
        lambda data, other: b"\n".join(data.split(b"\n")[:-2]) + b"\n",
        lambda data, other: b"<html>",
        lambda data, other: b"",
    ],
)
def test_another_history_or_a_shorter_one_is_refused_and_not_written(
    pyrsia, node, story, trust, tmp_path, lie
):
    node.answers[ADDRESS] = (200, lie(of(story, IDNA), of(story, "pkg:pypi/other")))
    file = tmp_path / "h"
    code, out, _ = pyrsia(
        "log", "history", IDNA, "--prove", file, "--trust", trust, "--node", node.url, "--json"
    )
    assert (code, json.loads(out)["error"]["code"], file.exists()) == (1, "proof-invalid", False)


def test_a_subject_that_is_none_is_a_usage_error(pyrsia):
    code, _, err = pyrsia("log", "history", "idna")
    assert code == 2
    assert "neither a purl" in err
