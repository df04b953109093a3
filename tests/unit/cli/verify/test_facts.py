"""`verify` by rules that ask what is known: with proven histories, from files or from a node, and without."""

import json

import pytest
import trio

from pyrsia.node.log.proofs import Proofs
from pyrsia.verify.history import Subject
from tests.reference.fakenode import FakeNode
from tests.reference.governance import fact
from tests.reference.parts import Kept
from tests.reference.story import SIGNED_S, Story

IDNA = "pkg:pypi/idna"


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A log with an advisory in it; its histories by what they are about."""
    world = Kept(tmp_path_factory.mktemp("kept"))
    story = Story(world=world, dissenter=True)
    warned = fact(
        "advisory", IDNA, advisory="CVE-1", severity="high", range=[{"introduced": "0", "fixed": "1.1"}]
    )
    world.block(world.entry(world.follower, "fact.add", warned))
    world.archive.keep_checkpoint(story.note())
    proofs = Proofs(world.archive)
    yield (
        story,
        {one: trio.run(proofs.of_history, Subject.parse(one)) for one in (IDNA, story.sha256)},
    )
    world.close()


@pytest.fixture
def case(told, tmp_path, monkeypatch):
    monkeypatch.setenv("PYRSIA_TRUST", str(tmp_path / "pins"))
    monkeypatch.setattr("time.time", lambda: float(SIGNED_S + 60))
    story, histories = told
    file, proof, trust = story.write(tmp_path)
    rules = tmp_path / "policy.toml"
    rules.write_text('[all]\nmax_severity = "medium"\n')
    options = []
    for number, data in enumerate(histories.values()):
        path = tmp_path / f"{number}.history"
        path.write_bytes(data)
        options += ["--facts", path]
    return file, proof, ["--trust", trust, "--policy", rules], options, rules


def test_without_facts_the_refusal_says_how_to_bring_them(pyrsia, case, told):
    file, _, asked, _, _ = case
    code, out, _ = pyrsia("verify", file, *asked, "--json")
    error = json.loads(out)["error"]
    assert (code, error["code"], error["who"]) == (3, "no-proof", "your policy")
    assert f"pyrsia log history {IDNA} --prove FACTS1" in error["do"]
    assert "pyrsia verify --facts FACTS1 --facts FACTS2" in error["do"]


def test_facts_of_files_decide(pyrsia, case):
    file, _, asked, facts, rules = case
    code, out, _ = pyrsia("verify", file, *asked, *facts, "--json")
    assert (code, "CVE-1 is high, medium is the worst allowed" in json.loads(out)["error"]["what"]) == (
        1,
        True,
    )
    rules.write_text(
        '[all]\nmax_severity = "medium"\n[[all.accept]]\nadvisory = "CVE-1"\nuntil = 9999-12-31\nreason = "r"\n'
    )
    assert pyrsia("verify", file, *asked, *facts)[0] == 0
    rules.write_text('[all]\nmax_severity = "high"\n')
    assert pyrsia("verify", file, *asked, *facts)[0] == 0


def test_a_history_that_somebody_changed_is_no_proof(pyrsia, case):
    file, _, asked, facts, _ = case
    facts[1].write_bytes(facts[1].read_bytes().replace(b"CVE-1", b"CVE-2"))
    code, out, _ = pyrsia("verify", file, *asked, *facts, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "proof-invalid")


def test_a_node_is_asked_for_proofs_where_a_rule_asks(pyrsia, case, told):
    file, proof, asked, _, _ = case
    story, histories = told
    answers = {
        f"/api/v1/artifacts/{story.sha256}/proof": (200, proof.read_bytes()),
        "/api/v1/log/history": (200, lambda query: histories[query["of"]]),
    }
    with FakeNode(answers) as node:
        code, out, _ = pyrsia("verify", file, *asked, "--node", node.url, "--json")
        seen = [path.partition("?")[0] for _, path, _, _ in node.seen]
    assert (code, json.loads(out)["error"]["code"]) == (1, "denied")
    assert seen.count("/api/v1/log/history") == 2
