"""`policy test` and `policy dry-run`: cases beside rules, what other rules would change; what is known, explained."""

import dataclasses
import json

import msgspec
import pytest

from pyrsia.knowledge.known import Advisory, Known, Licence, Sbom
from tests.reference.fakenode import FakeNode
from tests.unit.serve.toyjudge import NOW_MS, ToyJudge, known

ISSUER = "c" * 52
ADVISORY = Advisory(
    "CVE-2026-1", ("GHSA-1",), "high", "", "3.10 lies in [3.0, 3.12)", True, "3.12", ISSUER, 7,
    vex=((ISSUER, "under-investigation", 9),),
)  # fmt: skip
KNOWN = Known(20, True, (ADVISORY,), (Licence("BSD-3-Clause", ISSUER, 4),), (Sbom("spdx", ISSUER, 5),))
RULES = """
[all]
max_severity = "medium"
accept = [{ advisory = "CVE-2026-9", until = 2026-12-31, reason = "we never call it" }]

[[rule]]
packages = ["pkg:pypi/inner-*"]
max_severity = "any"
"""
CASES = """
[[case]]
name = "a bad one is refused"
purl = "pkg:pypi/idna@3.7"
expect = "refuse"
because = "max_severity"
facts.advisories = [{ id = "CVE-2026-2", severity = "high", fixed = "3.8" }]

[[case]]
name = "the one that we accept"
purl = "pkg:pypi/idna@3.7"
expect = "allow"
today = 2026-12-31
[case.facts]
advisories = [{ id = "GHSA-9", aliases = ["CVE-2026-9"], severity = "critical" }]

[[case]]
name = "the day after"
purl = "pkg:pypi/idna@3.7"
expect = "refuse"
because = "max_severity"
today = 2027-01-01
facts.advisories = [{ id = "GHSA-9", aliases = ["CVE-2026-9"], severity = "critical" }]

[[case]]
purl = "pkg:pypi/inner-tool@1"
expect = "allow"
facts = { known = false, agreeing = ["us", { operator = "them", isolation = "confined" }], age_days = -1 }
"""


@pytest.fixture
def judge():
    return ToyJudge(
        [
            known("pkg:pypi/idna@3.10", "idna-3.10.whl", sha256="1" * 64, known=KNOWN),
            known("pkg:pypi/idna@3.12", "idna-3.12.whl", sha256="2" * 64, known=Known(20, True)),
            known("pkg:pypi/six@1.0", "six-1.0.whl", sha256="3" * 64, known=KNOWN),
            known(
                "pkg:pypi/seen@1.0",
                "seen-1.0.whl",
                sha256="4" * 64,
                status="WITNESSED",
                known=Known(20, True),
            ),
            dataclasses.replace(known("pkg:pypi/old@1.0", "old.whl", sha256="5" * 64), published_ms=5),
        ]
    )


@pytest.fixture
def node(judge):
    def recent(query):
        found = [one for one in judge.files if one.published_ms >= int(query["since"])]
        first = int(query["first"])
        behind = len(found) <= first + 2
        return msgspec.to_builtins(
            {
                "now_ms": NOW_MS,
                "head_age_ms": 0,
                "files": found[first : first + 2],
                "next": -1 if behind else first + 2,
            }
        )

    answers = {
        "/api/v1/policy": (200, lambda _: msgspec.to_builtins(judge.policy())),
        "/api/v1/policy/facts": (200, lambda query: msgspec.to_builtins(judge.known(query["purl"]))),
        "/api/v1/policy/recent": (200, recent),
    }
    with FakeNode(answers) as made:
        yield made


@pytest.fixture
def written(tmp_path):
    (tmp_path / "policy.toml").write_text(RULES)
    (tmp_path / "cases.toml").write_text(CASES)
    return tmp_path


def test_cases_that_are_decided_as_expected_exit_0_and_others_1_with_their_line(pyrsia, written):
    cases, policy = written / "cases.toml", written / "policy.toml"
    code, out, err = pyrsia("policy", "test", cases, "--policy", policy)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "4 of 4 as expected"
    cases.write_text(CASES.replace('expect = "refuse"', 'expect = "allow"', 1))
    code, out, _ = pyrsia("policy", "test", cases, "--policy", policy)
    assert code == 1
    assert "cases.toml line 2: allow because of max_severity was expected: CVE-2026-2 is high" in out
    assert out.splitlines()[-1] == "3 of 4 as expected"
    code, out, _ = pyrsia("policy", "test", cases, "--policy", policy, "--json")
    told = json.loads(out)
    assert (code, told["ok"], [one["ok"] for one in told["cases"]]) == (1, False, [False, True, True, True])


def test_the_right_answer_for_another_reason_is_not_as_expected(pyrsia, written):
    cases = written / "cases.toml"
    cases.write_text(CASES.replace('because = "max_severity"', 'because = "licences_allow"', 1))
    assert pyrsia("policy", "test", cases, "--policy", written / "policy.toml")[0] == 1


def test_cases_may_be_json_and_rules_those_of_the_node(pyrsia, written, node, judge):
    cases = written / "cases.json"
    case = {"purl": "pkg:pypi/idna@1", "expect": "refuse", "because": "sbom"}
    cases.write_text(json.dumps({"case": [case]}))
    assert pyrsia("policy", "test", cases, "--node", node.url)[0] == 1
    judge.text = '[all]\nsbom = "required"\n'
    assert pyrsia("policy", "test", cases, "--node", node.url)[0] == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[case]]\npurl = 'pkg:pypi/a@1'\nexpect = 'refused'\n",
         "line 3: case[0].expect: 'refused' is none of allow, refuse"),
        ("[[case]]\npurl = 'pkg:pypi/a@1'\n", "line 1: case[0] has no `expect`"),
        ("[[case]]\npurl = 'pkg:pypi/A@1'\nexpect = 'allow'\n", "line 2: pkg:pypi/A@1: "),
        ("[[case]]\npurl = 'pkg:pypi/a@1'\nexpect = 'allow'\nbecause = 'sboms'\n", "line 4: there is no rule sboms"),
        ("[[case]]\npurl = 'pkg:pypi/a@1'\nexpect = 'allow'\n[case.facts]\nlicence = 'MIT'\n",
         "line 5: there is no key case[0].facts.licence"),
        ("[[case]]\npurl = 'pkg:pypi/a@1'\nexpect = 'allow'\nfacts.advisories = [\n{ id = 'A', severity = 'bad' }]\n",
         "line 5: case[0].facts.advisories[0].severity: 'bad' is none of none, low, medium, high, critical, unknown"),
        ("[[case]]\npurl = 'pkg:pypi/a@1'\nexpect = 'allow'\nfacts.status = 'GOOD'\n",
         "'GOOD' is none of REPRODUCED, EQUIVALENT, WITNESSED, DISPUTED, WITHDRAWN, \"\""),
        ("[[case]]\npurl = 'pkg:pypi/a@1'\nexpect = 'allow'\nfacts.sboms = [{ format = 'xml' }]\n",
         "'xml' is none of cyclonedx, spdx"),
        ("", "has no `case`"),
        ("case = []", "case: "),
        ("[[case]\n", "line 1"),
        ("x = " + "[" * 90_000, "nested too deeply"),
        ("#" * (1 << 20) + "#", "it has more than"),
        ("[[case]]\n" + "a." * 200_000 + "a = 1", "line 2: it has more than 32 dots outside of texts"),
        ("[[case]]\nfacts = {" + "'a' . " * 99_999 + "a = 1}", "line 2: it has more than 32 dots"),
    ],
)  # fmt: skip
def test_a_typo_in_a_case_is_a_mistake_with_its_line_and_tests_nothing(pyrsia, written, text, told):
    cases = written / "cases.toml"
    cases.write_text(text)
    code, out, _ = pyrsia("policy", "test", cases, "--policy", written / "policy.toml", "--json")
    error = json.loads(out)["error"]
    assert (code, error["code"], error["who"]) == (2, "config-invalid", str(cases))
    assert told in error["what"]


def test_a_dry_run_says_which_files_would_be_refused_or_admitted_and_of_what_nothing_is_left(
    pyrsia, written, node, judge
):
    tried = written / "policy.toml"
    tried.write_text('[all]\nmax_severity = "medium"\n[pip]\nmode = "verified+witnessed"\n')
    code, out, err = pyrsia(
        "policy", "dry-run", "--policy", tried, "--last", "2025-12-01", "--node", node.url
    )
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert ["refused", "pkg:pypi/idna@3.10", "idna-3.10.whl"] in [line[:3] for line in lines]
    assert ["admitted", "pkg:pypi/seen@1.0", "seen-1.0.whl"] in [line[:3] for line in lines]
    assert "4 files since 2025-12-01 00:00 UTC: 3 allowed by the rules in force, 2 by" in out
    assert "2 would be refused, 1 would be admitted" in out
    assert "nothing left of: pkg:pypi/six" in out  # idna has another version
    assert "something at last of: pkg:pypi/seen" in out
    assert {(method, body) for method, _, _, body in node.seen} == {("GET", b"")}
    code, out, _ = pyrsia(
        "policy", "dry-run", "--policy", tried, "--last", "2025-12-01", "--node", node.url, "--json"
    )
    told = json.loads(out)
    assert (told["allowed"], told["packages"]) == (
        {"before": 3, "after": 2},
        {"refused": ["pkg:pypi/six"], "admitted": ["pkg:pypi/seen"]},
    )


def test_a_dry_run_of_the_rules_in_force_is_against_the_defaults(pyrsia, node, judge):
    judge.text = '[all]\ndeny = ["pkg:pypi/six"]\n'
    out = pyrsia("policy", "dry-run", "--last", "2025-12-01", "--node", node.url)[1]
    assert "deny names it: pkg:pypi/six" in out
    assert "3 allowed by the defaults, 2 by the rules in force" in out
    assert pyrsia("policy", "dry-run", "--last", "soon", "--node", node.url)[0] == 2


@pytest.mark.parametrize("last", ["0d", "0s", "2999-01-01", "2999-01-01T00:00", "30y"])
def test_a_dry_run_over_no_time_at_all_is_a_mistake(pyrsia, node, last):
    code, out, err = pyrsia("policy", "dry-run", "--last", last, "--node", node.url)
    assert (code, out, node.seen) == (2, "", [])
    assert last in err
    assert last != "30y" or "(s, m, h, d, w)" in err.replace("\n", " ")


def test_a_node_that_leads_nowhere_ends_a_dry_run(pyrsia, node):
    page = {"now_ms": NOW_MS, "head_age_ms": 0, "files": [], "next": 0}
    node.answers["/api/v1/policy/recent"] = (200, page)
    code, out, _ = pyrsia("policy", "dry-run", "--node", node.url)
    assert (code, "0 files since" in out) == (0, True)


def test_what_is_known_is_explained_with_who_says_it_and_the_rule_for_the_package(pyrsia, node, judge):
    judge.text = RULES.replace("inner-*", "six")
    code, out, _ = pyrsia("policy", "explain", "pkg:pypi/idna@3.10", "--node", node.url)
    assert code == 1
    assert (
        "advisory: CVE-2026-1 (GHSA-1): high, 3.10 lies in [3.0, 3.12), fixed in 3.12, says cccccccc in leaf 7"
        in out
    )
    assert "VEX: CVE-2026-1: under-investigation, says cccccccc in leaf 9" in out
    assert "licence: BSD-3-Clause, says cccccccc in leaf 4" in out
    assert "inside: spdx, says cccccccc in leaf 5" in out
    assert "CVE-2026-1 is high, medium is the worst allowed" in out
    assert "use 3.12 or later, or add CVE-2026-1 to `accept` with a day and a reason" in out
    code, out, _ = pyrsia("policy", "explain", "pkg:pypi/six@1.0", "--node", node.url)
    (row,) = [line.split() for line in out.splitlines() if line.split()[:1] == ["max_severity"]]
    assert (code, row[:4]) == (0, ["max_severity", '"any"', "[[rule]]", "1"])
    out = pyrsia("policy", "show", "--node", node.url)[1]
    assert 'packages = ["pkg:pypi/six"]' in out
