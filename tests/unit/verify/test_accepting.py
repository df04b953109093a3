"""`verify` and the user's own policy: the same rules as at a node, over what was proven."""

import json

import pytest

from pyrsia.errors import Refusal
from pyrsia.keys import verify
from pyrsia.policy import rules
from pyrsia.verify import accepting, evidence
from pyrsia.verify.artifact import judge_by, judge_digest
from tests.reference.ledger import World
from tests.reference.story import NOW_MS, SIGNED_S, WHEEL, Story
from tests.unit.verify.test_files import ALL

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def story():
    return Story(dissenter=True)


@pytest.fixture(scope="module")
def seen():
    return Story(world=World(capabilities=ALL), asked={"ecosystem": "witness"})


def judged(story, tmp_path, text="", now_ms=NOW_MS, current=False):
    file = tmp_path / WHEEL
    file.write_bytes(story.data)
    found = evidence.read(story.proof(), [story.pin], verify)
    options = {
        "now_ms": now_ms,
        "expected": None,
        "verify": verify,
        "policy": rules.parse(text.encode(), "mine"),
        "current": current,
    }
    told = []
    for judge, what in ((judge_by, file), (judge_digest, story.sha256)):
        try:
            told.append(judge(what, found, **options).status)
        except Refusal as refusal:
            told.append((refusal.code, refusal.what, refusal.who))
    assert told[0] == told[1]
    return told[0]


def test_what_was_rebuilt_is_accepted_and_what_was_only_seen_is_not_unless_the_user_says_so(
    story, seen, tmp_path
):
    assert judged(story, tmp_path) == "REPRODUCED"
    code, what, who = judged(seen, tmp_path)
    assert (code, who) == ("denied", "your policy")
    assert "it is WITNESSED, EQUIVALENT is the least" in what
    assert judged(seen, tmp_path, '[pip]\nmode = "verified+witnessed"\n') == "WITNESSED"


def test_the_facts_are_those_that_were_proven(story, tmp_path):
    file = tmp_path / WHEEL
    file.write_bytes(story.data)
    found = evidence.read(story.proof(), [story.pin], verify)
    facts = accepting.facts_of(judge_by(file, found, now_ms=NOW_MS, expected=None, verify=verify))
    body = story.artifact.body
    assert (facts.purl, facts.sha256, facts.published_ms) == (body["purl"], story.sha256, body["time_ms"])
    assert [one.node for one in facts.agreeing] == body["agreeing"]
    assert len({one.operator for one in facts.agreeing}) == 2
    assert (facts.status, facts.containment, facts.upstream) == (
        "REPRODUCED",
        body["containment"],
        body["upstream"],
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[all]\ndeny = ["pkg:pypi/idna"]', "deny names it"),
        ("[all]\nagreeing = 3", "2 operators agree, 3 must"),
        ('[all]\noperators = ["nobody"]', "0 trusted operators agree"),
        ("[all]\nmin_age_days = 3", "3 days are the least"),
        ('[pip]\nmode = "proxy"\ndeny = ["*"]', "deny names it"),
    ],
)
def test_each_rule_counts_offline_too(story, tmp_path, text, told):
    code, what, _ = judged(story, tmp_path, text)
    assert (code, told in what) == ("denied", True)


def test_a_proof_that_a_node_just_made_stands_on_a_young_head(story, tmp_path):
    soon, late = SIGNED_S * 1_000 + 600_000, SIGNED_S * 1_000 + 600_001
    assert judged(story, tmp_path, now_ms=soon, current=True) == "REPRODUCED"
    code, what, _ = judged(story, tmp_path, now_ms=late, current=True)
    assert (code, "the log's head is 10 minutes old" in what) == ("too-old", True)
    assert judged(story, tmp_path, now_ms=late) == "REPRODUCED"  # a proof beside the file
    assert judged(story, tmp_path, "[all]\nmax_head_age_s = 0", now_ms=late, current=True) == "REPRODUCED"


def test_how_old_a_proof_may_be_is_the_user_s_to_say(story, tmp_path):
    year = SIGNED_S * 1_000 + 365 * DAY_MS
    assert judged(story, tmp_path, now_ms=year) == "REPRODUCED"
    code, what, _ = judged(story, tmp_path, now_ms=year + 1)
    assert (code, "its proof is 365 days old, 365 days at most" in what) == ("too-old", True)
    assert judged(story, tmp_path, "[all]\nmax_proof_age_days = 400", now_ms=year + 1) == "REPRODUCED"
    code, _, _ = judged(story, tmp_path, "[all]\nmax_proof_age_days = 1\nagreeing = 9", now_ms=year + 1)
    assert code == "denied"  # age is not all that is against it


def test_the_user_s_file_counts_for_the_command_and_so_does_one_that_is_named(
    story, tmp_path, monkeypatch, capsys
):
    from pyrsia.cli.main import cli
    from pyrsia.cli.tell import run

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("time.time", lambda: float(SIGNED_S + 60))
    file, _, trust = story.write(tmp_path)
    mine = accepting.user_policy()
    assert str(mine).startswith(str(tmp_path))

    def called(*more):
        code = run(cli, ["verify", str(file), "--trust", str(trust), "--json", *map(str, more)])
        told = json.loads(capsys.readouterr().out)
        return code, told.get("error", {}).get("code", "")

    assert called() == (0, "")
    mine.parent.mkdir(parents=True)
    mine.write_text("[pip]\nagreeing = 3\n")
    assert called() == (1, "denied")
    named = tmp_path / "named.toml"
    named.write_text("")
    assert called("--policy", named) == (0, "")
    named.write_text("[all]\nmax_proof_age_days = 1\n")
    monkeypatch.setattr("time.time", lambda: float(SIGNED_S + 2 * 86_400))
    assert called("--policy", named) == (3, "too-old")
    mine.write_text("[pip]\nagreeing = many\n")
    assert called() == (2, "config-invalid")


def test_a_user_s_rules_that_cannot_be_reached_are_no_permission(tmp_path, monkeypatch):
    home = tmp_path / "config"
    monkeypatch.setattr(accepting, "user_policy", lambda: home / "policy.toml")
    assert accepting.of_user().of("pip").deny == ()  # no folder
    home.mkdir()
    assert accepting.of_user().of("pip").deny == ()  # no file
    (home / "policy.toml").symlink_to(tmp_path / "away")
    with pytest.raises(Refusal, match="cannot be read"):
        accepting.of_user()
    (home / "policy.toml").unlink()
    home.rmdir()
    home.symlink_to(tmp_path / "gone")
    with pytest.raises(Refusal, match="cannot be read"):
        accepting.of_user()
