"""`policy`: what is checked and how it is told; other rules are tried without telling the node; a hostile node."""

import hashlib
import json
import shlex

import msgspec
import pytest

from pyrsia.policy import rules, writing
from pyrsia.policy.facts import PROXIED, Facts
from tests.reference.fakenode import FakeNode
from tests.unit.serve.toyjudge import ToyJudge, known

WHEEL = b"a wheel"
DIGEST = hashlib.sha256(WHEEL).hexdigest()


@pytest.fixture
def judge():
    return ToyJudge(
        [
            known("pkg:pypi/idna@3.10", "idna-3.10-py3-none-any.whl", sha256=DIGEST),
            known("pkg:pypi/idna@3.11", "idna-3.11-py3-none-any.whl", status="WITNESSED", sha256="2" * 64),
            known("pkg:maven/org.acme/lib@1.0", "lib-1.0.jar", sha256="3" * 64),
            known("pkg:maven/org.acme/lib@1.0", "lib-1.0.pom", sha256="4" * 64),
            known("pkg:conan/zlib@1.3", "conan_package.tgz", sha256="5" * 64),
        ]
    )


@pytest.fixture
def node(judge):
    def facts(query):
        found = judge.known(query["purl"]) if "purl" in query else judge.facts_of_bytes(query["sha256"])
        return msgspec.to_builtins(found)

    answers = {
        "/api/v1/policy": (200, lambda _: msgspec.to_builtins(judge.policy())),
        "/api/v1/policy/facts": (200, facts),
    }
    with FakeNode(answers) as made:
        yield made


def test_what_is_allowed_exits_0_and_what_is_refused_1_with_the_reason(pyrsia, node, tmp_path):
    wheel = tmp_path / "idna-3.10-py3-none-any.whl"
    wheel.write_bytes(WHEEL)
    for good in ("pkg:pypi/idna@3.10", wheel, DIGEST, f"sha256:{DIGEST}", "pkg:pypi/idna"):
        code, out, err = pyrsia("policy", "check", good, "--node", node.url)
        assert (code, err) == (0, "")
        assert "1 of 1 allowed by the node's policy" in out
    code, out, _ = pyrsia("policy", "check", "pkg:pypi/idna@3.11", "pkg:pypi/idna@3.10", "--node", node.url)
    assert code == 1
    assert "it is WITNESSED, EQUIVALENT is the least" in out
    assert "pyrsia policy explain pkg:pypi/idna@3.11" in out
    code, out, _ = pyrsia("policy", "check", "pkg:pypi/idna@3.11", "--node", node.url, "--json")
    told = json.loads(out)
    assert (code, told["ok"]) == (1, False)
    against = [one["rule"] for one in told["checked"][0]["files"][0]["reasons"] if not one["allows"]]
    assert against == ["minimum"]


def test_one_refused_file_refuses_its_version(pyrsia, node, judge):
    judge.files.append(known("pkg:maven/org.acme/lib@1.1", "lib-1.1.jar", status="DISPUTED"))
    judge.files.append(known("pkg:maven/org.acme/lib@1.1", "lib-1.1.pom"))
    assert pyrsia("policy", "check", "pkg:maven/org.acme/lib@1.1", "--node", node.url)[0] == 1
    assert pyrsia("policy", "check", "pkg:maven/org.acme/lib", "--node", node.url)[0] == 0  # 1.0 passes


def test_what_the_log_does_not_hold_is_refused(pyrsia, node):
    code, out, _ = pyrsia("policy", "check", "pkg:pypi/unknown@1", "--node", node.url)
    assert code == 1
    assert "the log holds no such package" in out
    code, _, err = pyrsia("policy", "explain", "pkg:pypi/unknown@1", "--node", node.url)
    assert code == 1
    assert "pyrsia build request" in err


def test_lists_are_checked_as_a_whole(pyrsia, node, tmp_path):
    listed = tmp_path / "requirements.txt"
    listed.write_text("Idna==3.10\nlocal @ https://example.org/x.whl\n")
    lock = tmp_path / "conan.lock"
    lock.write_text(json.dumps({"version": "0.5", "requires": ["zlib/1.3#abc%1.0"]}))
    pom = tmp_path / "pom.xml"
    pom.write_text(
        "<project><dependencies><dependency><groupId>org.acme</groupId><artifactId>lib</artifactId>"
        "<version>1.0</version></dependency></dependencies></project>"
    )
    code, out, _ = pyrsia("policy", "check", "-r", listed, "-r", lock, "-r", pom, "--node", node.url)
    assert code == 0
    assert "3 of 3 allowed" in out
    assert "skipped: requirements.txt: line 2" in out
    listed.write_text("idna==3.11\n")
    assert pyrsia("policy", "check", "-r", listed, "--node", node.url)[0] == 1


def test_other_rules_are_tried_here_and_never_sent(pyrsia, node, tmp_path):
    tried = tmp_path / "tried.toml"
    tried.write_text('[pip]\nmode = "verified+witnessed"\ndeny = ["pkg:pypi/idna@3.10"]\n')
    assert pyrsia("policy", "check", "pkg:pypi/idna@3.11", "--policy", tried, "--node", node.url)[0] == 0
    code, out, _ = pyrsia("policy", "check", "pkg:pypi/idna@3.10", "--policy", tried, "--node", node.url)
    assert (code, "deny names it: pkg:pypi/idna@3.10" in out) == (1, True)
    assert {(method, body) for method, _, _, body in node.seen} == {("GET", b"")}
    assert {path.partition("?")[0] for _, path, _, _ in node.seen} == {"/api/v1/policy/facts"}
    tried.write_text("[pip]\nmode = 1\n")
    code, out, _ = pyrsia("policy", "check", "pkg:pypi/idna", "--policy", tried, "--node", node.url, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (2, "config-invalid")
    assert str(tried) in json.loads(out)["error"]["who"]


def test_every_rule_is_explained_with_value_origin_facts_and_what_would_change_it(pyrsia, node, judge):
    judge.text = '[all]\nmin_age_days = 7\n[pip]\nminimum = "REPRODUCED"\n'
    code, out, _ = pyrsia("policy", "explain", "pkg:pypi/idna@3.11", "--node", node.url)
    assert code == 1
    lines = out.splitlines()
    assert lines[0] == "pkg:pypi/idna@3.11  idna-3.11-py3-none-any.whl: REFUSED"
    assert "  agreed: org A (aaaaaaaa, namespace), org B (bbbbbbbb, namespace)" in lines
    told = {line.split()[0]: line for line in lines if line.startswith("  ")}
    unasked = {"mode", "operators", "builders", "isolation", "max_proof_age_days"}
    unasked |= {"accept", "issuers", "vex_issuers", "licences_deny", "withdrawn", "disputed"}
    assert set(rules.KEYS) - unasked <= set(told)
    assert ("[pip]" in told["minimum"], "[all]" in told["min_age_days"]) == (True, True)
    assert "what would change it:" in out
    code, out, _ = pyrsia("policy", "explain", DIGEST, "--node", node.url, "--json")
    assert (code, json.loads(out)["files"][0]["purl"]) == (1, "pkg:pypi/idna@3.10")


def test_a_head_that_is_too_old_is_told_of_each_file(pyrsia, node, judge):
    judge.head_age_ms = 7_200_000
    code, out, _ = pyrsia("policy", "check", "pkg:pypi/idna@3.10", "--node", node.url)
    assert code == 1
    assert "the log's head is 2 hours old, 10 minutes at most" in out


def test_rules_are_shown_with_where_they_come_from(pyrsia, node, judge, tmp_path, home):
    judge.text = '[maven]\nmode = "proxy"\n'
    code, out, _ = pyrsia("policy", "show", "--node", node.url)
    maven = out.partition("[maven]")[2].partition("[conan]")[0]
    assert code == 0
    assert ["mode", '"proxy"', "[maven]"] in [line.split() for line in maven.splitlines()]
    assert ["minimum", '"WITNESSED"', "mode", "proxy"] in [line.split() for line in maven.splitlines()]
    other = tmp_path / "other.toml"
    other.write_text("[all]\nagreeing = 3\n")
    told = json.loads(pyrsia("policy", "show", "--policy", other, "--json")[1])
    assert {"key": "agreeing", "value": 3, "origin": "[all]"} in told["rules"]["oci"]
    assert pyrsia("policy", "init", "--user")[0] == 0
    out = pyrsia("policy", "show", "--user")[1]
    assert str(home) in out.splitlines()[0]


def test_a_file_is_begun_once_and_is_the_default_policy(pyrsia, home, tmp_path):
    code, out, _ = pyrsia("policy", "init", "--print")
    assert (code, out) == (0, writing.render())
    code, out, _ = pyrsia("policy", "init", "--user")
    path = home / "xdg_config_home" / "pyrsia" / "policy.toml"
    assert (code, out.strip(), path.read_text()) == (0, str(path), writing.render())
    code, _, err = pyrsia("policy", "init", "--user")
    assert (code, "is there already" in err) == (1, True)
    data = tmp_path / "data"
    assert pyrsia("policy", "init", "--node", data)[0] == 1
    data.mkdir()
    assert pyrsia("policy", "init", "--node", data)[0] == 0
    assert (data / "policy.toml").read_text() == writing.render()
    assert pyrsia("policy", "init", "--node", "http://127.0.0.1:1")[0] == 2


@pytest.mark.parametrize("subject", ["idna", "pkg:pypi/Idna", "pkg:", "sha256:12", "no-such-file.whl", "."])
def test_what_is_no_package_is_a_mistake_in_the_command(pyrsia, node, subject):
    code, out, _ = pyrsia("policy", "check", subject, "--node", node.url, "--json")
    assert (code, json.loads(out)["error"]["code"], node.seen) == (2, "usage", [])


def test_nothing_named_is_a_mistake_in_the_command(pyrsia, node):
    assert pyrsia("policy", "check", "--node", node.url)[0] == 2


def test_an_upstream_file_is_told_as_unverified(pyrsia, node, judge):
    judge.files = [Facts("pkg:pypi/six@1.16", PROXIED)]
    assert pyrsia("policy", "check", "pkg:pypi/six@1.16", "--node", node.url)[0] == 1
    judge.text = '[pip]\nmode = "proxy"\n'
    code, out, _ = pyrsia("policy", "explain", "pkg:pypi/six@1.16", "--node", node.url)
    assert code == 0
    assert "it is upstream's and unverified, as mode proxy allows" in out


@pytest.mark.parametrize(
    "facts",
    [
        {"purl": "\x1b[31mpkg:pypi/x@1", "origin": "network"},
        {
            "purl": "pkg:pypi/idna@1",
            "origin": "network",
            "status": "REPRODUCED\x1b[2J",
            "published_ms": 10**30,
        },
        {"purl": "pkg:pypi/idna@1", "origin": "\u202e", "containment": "\x9b", "published_ms": -5},
        {
            "purl": "pkg:pypi/idna@1",
            "origin": "network",
            "status": "REPRODUCED",
            "upstream": "\x07",
            "file": "\x1b]0;",
        },
    ],
)
def test_a_hostile_node_neither_breaks_the_command_nor_reaches_the_terminal(pyrsia, facts):
    answers = {
        "/api/v1/policy": (200, msgspec.to_builtins(ToyJudge().policy())),
        "/api/v1/policy/facts": (
            200,
            {"owner": "\x1b", "now_ms": 10**30, "head_age_ms": -1, "files": [facts]},
        ),
    }
    with FakeNode(answers) as node:
        for command in ("check", "explain"):
            code, out, err = pyrsia("policy", command, "pkg:pypi/idna@1", "--node", node.url)
            assert code == 1
            assert (out + err).replace("\n", "").isprintable()


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"files":[{"purl":1}]}', b"[" * 100_000])
def test_an_answer_that_is_none_is_told(pyrsia, body):
    answers = {
        "/api/v1/policy": (200, msgspec.to_builtins(ToyJudge().policy())),
        "/api/v1/policy/facts": (200, body),
    }
    with FakeNode(answers) as node:
        code, out, _ = pyrsia("policy", "check", "pkg:pypi/idna@1", "--node", node.url, "--json")
        assert (code, json.loads(out)["error"]["code"]) == (3, "unavailable")


@pytest.mark.parametrize("command", ["check", "explain"])
def test_a_node_that_is_away_is_no_refusal_of_policy(pyrsia, tmp_path, command):
    for target in (tmp_path / "nowhere", "http://127.0.0.1:1"):
        code, out, err = pyrsia("policy", command, "pkg:pypi/idna@1", "--node", target)
        assert (code, out) == (3, "")
        assert "no node answers" in err
    code, out, _ = pyrsia("policy", command, "pkg:pypi/idna@1", "--node", target, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (3, "not-running")


def test_what_a_check_by_other_rules_names_explains_by_them_too(pyrsia, node, tmp_path):
    tried = tmp_path / "new rules.toml"
    tried.write_text('[all]\ndeny = ["*"]\n')
    code, out, _ = pyrsia("policy", "check", "pkg:pypi/idna@3.10", "--policy", tried, "--node", node.url)
    assert code == 1
    words = shlex.split(out.splitlines()[-1].partition(": pyrsia ")[2])
    assert words == ["policy", "explain", "pkg:pypi/idna@3.10", "--policy", str(tried)]
    code, out, _ = pyrsia(*words, "--node", node.url)
    assert (code, "REFUSED" in out) == (1, True)
