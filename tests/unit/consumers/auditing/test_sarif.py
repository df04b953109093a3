"""The report as SARIF: what the standard's schema asks of each part that is used, and text of others made harmless."""

import re

import pytest

from pyrsia.consumers.auditing import sarif
from pyrsia.consumers.auditing.asking import Answered
from pyrsia.consumers.auditing.components import Gathered, Place
from pyrsia.consumers.auditing.findings import report
from pyrsia.serve.desks.knowing import AuditOrder
from tests.reference.toyaudit import ToyAudit

LEVELS = {"none", "note", "warning", "error"}
URI = re.compile(r"(?:file:///)?[A-Za-z0-9._~%/!$&'()*+,;=@-]+")


def reported(toy, places, **more):
    gathered = Gathered()
    for purl, place in places:
        gathered.add(purl, place)
    found = toy.audit(AuditOrder(tuple(one.purl for one in gathered.components)))
    answered = Answered(found.size, found.time_ms, found.whole, {one.purl: one for one in found.rows})
    gathered.leave("open", "no version", Place("requirements.txt", 9))
    return report(gathered, answered, **{"fail_on": "high", **more})


def check(document):
    """Constraints of the SARIF 2.1.0 schema on the parts that are written here: required fields, types, sets."""
    assert set(document) == {"$schema", "version", "runs"}
    assert document["version"] == "2.1.0"
    for run in document["runs"]:
        driver = run["tool"]["driver"]
        assert driver["name"]
        ids = [one["id"] for one in driver["rules"]]
        assert len(ids) == len(set(ids))
        for rule in driver["rules"]:
            for part in ("shortDescription", "fullDescription", "help"):
                message(rule[part])
            assert rule["defaultConfiguration"]["level"] in LEVELS
            assert 0 <= float(rule["properties"]["security-severity"]) <= 10
            assert len(set(rule["properties"]["tags"])) == len(rule["properties"]["tags"])
        for result in run["results"]:
            message(result["message"])
            assert result["level"] in LEVELS
            assert ids[result["ruleIndex"]] == result["ruleId"]
            assert result["locations"]
            assert all(isinstance(one, str) for one in result["partialFingerprints"].values())
            for one in result["locations"]:
                location(one)
            for one in result.get("suppressions", ()):
                assert one["kind"] in ("inSource", "external")
                assert one["status"] in ("accepted", "underReview", "rejected")
        for one in run["invocations"]:
            assert isinstance(one["executionSuccessful"], bool)
            assert isinstance(one["exitCode"], int)
            for note in one["toolExecutionNotifications"]:
                assert note["level"] in LEVELS
                message(note["message"])


def message(one):
    assert isinstance(one["text"], str)
    assert one["text"]
    assert one["text"].isprintable()


def location(one):
    assert one.keys() <= {"physicalLocation", "logicalLocations"}
    for each in one["logicalLocations"]:
        assert each["fullyQualifiedName"]
    if "physicalLocation" in one:
        assert URI.fullmatch(one["physicalLocation"]["artifactLocation"]["uri"])
        region = one["physicalLocation"].get("region", {"startLine": 1})
        assert region["startLine"] >= 1


@pytest.fixture
def toy():
    return ToyAudit()


def test_a_finding_has_its_rule_its_file_and_its_line(toy):
    toy.advisory(
        "pkg:pypi/idna", "PYSEC-1", "high", fixed="3.7", aliases=["CVE-1"], text="It is slow.\nVery."
    )
    made = sarif.document(reported(toy, [("pkg:pypi/idna@3.6", Place("a b/requirements.txt", 3))]))
    check(made)
    (run,) = made["runs"]
    (rule,), (result,) = run["tool"]["driver"]["rules"], run["results"]
    assert (rule["id"], rule["properties"]["security-severity"]) == ("CVE-1", "8.0")
    assert rule["shortDescription"]["text"] == "It is slow."
    assert result["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "a%20b/requirements.txt"},
        "region": {"startLine": 3},
    }
    assert "pypi/idna 3.6 has CVE-1 (high); fixed in 3.7" in result["message"]["text"]
    assert run["invocations"][0]["exitCode"] == 1


@pytest.mark.parametrize(
    ("severity", "level"),
    [
        ("critical", "error"),
        ("high", "error"),
        ("medium", "warning"),
        ("low", "note"),
        ("none", "note"),
        ("unknown", "error"),
    ],
)
def test_severities_are_levels(toy, severity, level):
    toy.advisory("pkg:pypi/a", "X-1", severity)
    made = sarif.document(reported(toy, [("pkg:pypi/a@1", Place("/abs/uv.lock"))]))
    check(made)
    (result,) = made["runs"][0]["results"]
    assert result["level"] == level
    assert result["locations"][0]["physicalLocation"] == {"artifactLocation": {"uri": "file:///abs/uv.lock"}}


def test_one_advisory_of_two_versions_is_one_rule_and_each_place_a_result(toy):
    toy.advisory("pkg:pypi/a", "X-1", "low")
    toy.advisory("pkg:pypi/b", "X-1", "critical")
    places = [
        ("pkg:pypi/a@1", Place("r.txt", 1)),
        ("pkg:pypi/b@1", Place("r.txt", 2)),
        ("pkg:pypi/b@1", Place("")),
    ]
    made = sarif.document(reported(toy, places, ignored=["X-1"]))
    check(made)
    (run,) = made["runs"]
    assert [one["properties"]["security-severity"] for one in run["tool"]["driver"]["rules"]] == ["9.5"]
    assert len(run["results"]) == 3
    assert "physicalLocation" not in run["results"][1]["locations"][0]
    assert all(one["suppressions"][0]["justification"] == "--ignore X-1" for one in run["results"])
    prints = {one["partialFingerprints"]["advisoryOfVersion/v1"] for one in run["results"]}
    assert len(prints) == 3


def test_text_of_others_is_made_harmless(toy):
    toy.advisory("pkg:pypi/a", "X-1", "high", text="\x1b[2J\u202eevil\x85" + "long " * 1_000)
    made = sarif.document(reported(toy, [("pkg:pypi/a@1", Place("r\u202e\n.txt", 1))]))
    check(made)
    assert len(made["runs"][0]["tool"]["driver"]["rules"][0]["fullDescription"]["text"]) == 1_000
    toy.advisory("pkg:pypi/b", "X-2", "high", text="\n\n")
    check(sarif.document(reported(toy, [("pkg:pypi/b@1", Place("", 0))])))


def test_what_nobody_knows_is_no_successful_execution(toy):
    toy.whole = False
    made = sarif.document(reported(toy, [("pkg:pypi/a@1", Place("r.txt", 1))]))
    check(made)
    (invocation,) = made["runs"][0]["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (False, 3)
    said = [one["message"]["text"] for one in invocation["toolExecutionNotifications"]]
    assert "not audited: open: no version (requirements.txt:9)" in said
