"""The report as SARIF: what the standard's schema asks of each part that is used, and text of others made harmless."""

import copy
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.consumers.auditing import kinds, sarif
from pyrsia.consumers.auditing.asking import Answered
from pyrsia.consumers.auditing.components import Gathered, Place
from pyrsia.consumers.auditing.findings import report
from pyrsia.serve.desks.knowing import AuditOrder
from pyrsia.units import Limit
from tests.reference.toyaudit import ToyAudit, sbom
from tests.unit.consumers.auditing.sarifrules import check


def reported(toy, places, **more):
    gathered = Gathered()
    for purl, place in places:
        gathered.add(purl, place)
    return answered_by(toy, gathered, **more)


def answered_by(toy, gathered, **more):
    found = toy.audit(AuditOrder(tuple(one.purl for one in gathered.components)))
    answered = Answered(found.size, found.time_ms, found.whole, {one.purl: one for one in found.rows})
    gathered.leave("open", "no version", Place("requirements.txt", 9))
    return report(gathered, answered, **{"fail_on": "high", **more})


def uris(run):
    return [one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in run["results"]]


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


@pytest.mark.parametrize("status", ["WITHDRAWN", "DISPUTED"])
def test_a_version_that_is_withdrawn_or_disputed_is_a_result_of_its_own_at_each_place(toy, status):
    toy.here = {
        "pkg:pypi/idna@3.6": ("network", status, None),
        "pkg:pypi/six@1": ("network", "REPRODUCED", None),
    }
    places = [
        ("pkg:pypi/idna@3.6", Place("one.txt", 3)),
        ("pkg:pypi/idna@3.6", Place("two.txt", 1)),
        ("pkg:pypi/six@1", Place("one.txt", 4)),
    ]
    made = sarif.document(reported(toy, places))
    check(made)
    (run,) = made["runs"]
    assert [one["id"] for one in run["tool"]["driver"]["rules"]] == [f"pyrsia/{status.lower()}"]
    assert uris(run) == ["one.txt", "two.txt"]
    assert {(one["level"], one["properties"]["purl"]) for one in run["results"]} == {
        ("warning", "pkg:pypi/idna@3.6")
    }
    assert len({one["partialFingerprints"]["advisoryOfVersion/v1"] for one in run["results"]}) == 2


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
    assert uris(run) == ["r.txt", "pkg%3Apypi/b%401", "r.txt"]
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


def test_no_advisory_takes_the_rule_by_which_the_log_itself_speaks(toy):
    """Issuers choose their ids. A reader filters alerts by rule, and sorts by the severity that a rule has."""
    toy.here = {"pkg:pypi/idna@3.6": ("network", "WITHDRAWN", None)}
    toy.advisory("pkg:pypi/idna", "pyrsia/withdrawn", "critical")
    toy.advisory("pkg:pypi/idna", "Pyrsia/Disputed", "low")
    made = sarif.document(reported(toy, [("pkg:pypi/idna@3.6", Place("r.txt", 1))]))
    check(made)
    run = made["runs"][0]
    rules = {one["id"]: one for one in run["tool"]["driver"]["rules"]}
    assert sorted(rules) == ["advisory Pyrsia/Disputed", "advisory pyrsia/withdrawn", "pyrsia/withdrawn"]
    assert rules["advisory pyrsia/withdrawn"]["properties"]["security-severity"] == "9.5"
    assert "properties" not in rules["pyrsia/withdrawn"]
    said = {one["ruleId"]: (one["level"], one["message"]["text"]) for one in run["results"]}
    assert said["pyrsia/withdrawn"] == (
        "warning",
        "pypi/idna 3.6 is WITHDRAWN: its maintainer or the network's members withdrew it",
    )
    assert said["advisory pyrsia/withdrawn"][0] == "error"
    prints = [tuple(one["partialFingerprints"].values()) for one in run["results"]]
    assert len(set(prints)) == 3


LINK = re.compile(r"(?<!\\)(?:\\\\)*\[(?:[^\]\\]|\\.)*\]\(")
PLACEHOLDER = re.compile(r"(?<!\{)(?:\{\{)*\{[0-9]+\}")


def plain(text):
    """What a reader shows of a message: SARIF 2.1.0, 3.11.5 and 3.11.6."""
    assert not LINK.search(text), text
    assert not PLACEHOLDER.search(text), text
    return re.sub(r"\\([\\\[\]])", r"\1", text).replace("{{", "{").replace("}}", "}")


def messages(value):
    """Every message of a document."""
    if isinstance(value, list):
        return [text for one in value for text in messages(one)]
    if not isinstance(value, dict):
        return []
    return [value["text"]] if "text" in value else messages(list(value.values()))


def test_no_issuer_sets_a_link_or_a_placeholder_into_an_alert(toy):
    said = r"see [the fix](https://evil.example) or \[this](0), {0}, {{1}}, {\{2}}"
    toy.advisory("pkg:pypi/a", "[X](1)", "high", text=said, fixed="[3.2](https://evil.example/x.whl)")
    made = sarif.document(reported(toy, [("pkg:pypi/a@1", Place("r.txt", 1))]))
    check(made)
    run = made["runs"][0]
    assert plain(run["tool"]["driver"]["rules"][0]["fullDescription"]["text"]) == said
    assert "compared with [0, [3.2](https://evil.example/x.whl)" in plain(
        run["results"][0]["message"]["text"]
    )


@given(st.text("\\[](){}01a", max_size=1_200))
def test_whatever_a_message_says_it_is_shown_as_it_was_said_and_cut_between_signs(said):
    toy = ToyAudit()
    toy.advisory("pkg:pypi/a", "X-1", "high", text=said)
    made = sarif.document(reported(toy, [("pkg:pypi/a@1", Place("r.txt", 1))]))
    for text in messages(made):
        assert len(text) <= 1_000
        plain(text)
    shown = plain(made["runs"][0]["tool"]["driver"]["rules"][0]["fullDescription"]["text"])
    assert shown == (said or "X-1") or (shown.endswith("...") and said.startswith(shown[:-3]))


def test_what_nobody_knows_is_no_successful_execution(toy):
    toy.whole = False
    made = sarif.document(reported(toy, [("pkg:pypi/a@1", Place("r.txt", 1))]))
    check(made)
    (invocation,) = made["runs"][0]["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (False, 3)
    said = [one["message"]["text"] for one in invocation["toolExecutionNotifications"]]
    assert "not audited: open: no version (requirements.txt:9)" in said


def of_document(toy, tmp_path, data, **more):
    into = Gathered()
    path = tmp_path / "bom"
    path.write_bytes(data)
    kinds.document(path, data, "bom", into, **more)
    made = sarif.document(answered_by(toy, into))
    check(made)
    return made["runs"][0]


BOM = {
    "bomFormat": "CycloneDX",
    "components": [
        {"bom-ref": "first", "name": "a", "purl": "pkg:pypi/a@1"},
        {"bom-ref": "again", "name": "a", "purl": "pkg:pypi/a@1"},
        {"bom-ref": "\u202ebad", "name": "b", "purl": "pkg:pypi/b@1"},
    ],
}


def test_a_part_of_an_sbom_has_its_line_and_what_the_document_calls_it(toy, tmp_path):
    toy.advisory("pkg:pypi/a", "X-1", "high")
    toy.advisory("pkg:pypi/b", "X-2", "low")
    run = of_document(toy, tmp_path, json.dumps(BOM, indent=1).encode())
    first, second = (one["locations"][0] for one in run["results"])
    assert first["physicalLocation"] == {"artifactLocation": {"uri": "bom"}, "region": {"startLine": 7}}
    assert first["logicalLocations"] == [
        {"fullyQualifiedName": "pkg:pypi/a@1", "kind": "package"},
        {"name": "first", "kind": "element"},
        {"name": "again", "kind": "element"},
    ]
    assert second["physicalLocation"]["region"] == {"startLine": 17}
    assert second["logicalLocations"][1]["name"] == "\\u202ebad"


def test_a_part_of_a_document_in_one_line_and_of_xml_and_spdx_has_a_line_too(toy, tmp_path):
    toy.advisory("pkg:pypi/a", "X-1", "high")
    xml = (
        b'<bom xmlns="http://cyclonedx.org/schema/bom/1.4">\n<components>\n<component bom-ref="r">\n'
        b"<name>a</name>\n<purl>pkg:pypi/a@1</purl></component></components></bom>"
    )
    reference = {"referenceType": "purl", "referenceLocator": "pkg:pypi/a@1"}
    spdx = {
        "spdxVersion": "SPDX-2.3",
        "packages": [{"SPDXID": "r", "name": "a", "externalRefs": [reference]}],
    }
    for data, line in ((xml, 3), (json.dumps(spdx).encode(), 1), (json.dumps(spdx, indent=1).encode(), 10)):
        (found,) = of_document(toy, tmp_path, data)["results"]
        assert found["locations"][0]["physicalLocation"]["region"] == {"startLine": line}
        assert found["locations"][0]["logicalLocations"][1] == {"name": "r", "kind": "element"}


def test_what_is_inside_an_image_is_told_of_the_image_and_the_same_by_every_sbom_of_it(toy, tmp_path):
    toy.advisory("pkg:pypi/a", "X-1", "high")
    made = []
    for data in (sbom("pkg:pypi/a@1"), json.dumps(BOM, indent=1).encode()):
        run = of_document(toy, tmp_path, data, artifact="localhost:5000/team/app:1.2")
        (found,) = (one for one in run["results"] if one["ruleId"] == "X-1")
        assert found["locations"][0]["physicalLocation"] == {
            "artifactLocation": {"uri": "localhost%3A5000/team/app%3A1.2"}
        }
        made.append(found["partialFingerprints"])
    assert made[0] == made[1]


def test_a_result_is_the_same_one_when_lines_move_words_change_and_a_project_lies_elsewhere(toy):
    """An alert of code scanning that is not the same one is closed, and comes again as another."""
    toy.advisory("pkg:pypi/a", "X-1", "high", fixed="2")

    def prints(place, here=""):
        run = sarif.document(reported(toy, [("pkg:pypi/a@1", place)]), here)["runs"][0]
        return run["results"][0]["partialFingerprints"], uris(run)

    first = prints(Place("sub/r.txt", 3))
    assert first == prints(Place("sub/r.txt", 90))
    assert first == prints(Place("./sub/r.txt", 3))
    assert first == prints(Place("/home/one/sub/r.txt", 3), "/home/one")
    assert first == prints(Place("/srv/two/sub/r.txt", 3), "/srv/two")
    toy.advisory("pkg:pypi/a", "X-1", "critical", text="worse than we thought")
    assert first == prints(Place("sub/r.txt", 3))
    assert first != prints(Place("other/r.txt", 3))
    assert prints(Place("/srv/twofold/r.txt"), "/srv/two")[1] == ["file:///srv/twofold/r.txt"]


def test_lines_of_one_file_that_name_one_version_are_results_of_their_own(toy):
    toy.advisory("pkg:pypi/a", "X-1", "high")
    places = [("pkg:pypi/a@1", Place("r.txt", line)) for line in (1, 5)]
    made = sarif.document(reported(toy, places))
    check(made)
    assert len(made["runs"][0]["results"]) == 2


@given(
    st.lists(
        st.tuples(st.text(max_size=20), st.integers(0, 9), st.text(max_size=20), st.text(max_size=9)),
        max_size=5,
    ),
    st.text(min_size=1, max_size=20),
)
def test_whatever_files_and_parts_are_called_it_is_sarif(places, said):
    toy = ToyAudit()
    toy.advisory("pkg:pypi/a", "X-1", "unknown", text=said)
    made = sarif.document(reported(toy, [("pkg:pypi/a@1", Place(*one)) for one in places]), "/")
    check(made)
    assert bool(made["runs"][0]["results"]) == bool(places)


def many(toy, **more):
    """Results of every kind: one critical at two places, one low, one that does not count, one withdrawn version."""
    toy.advisory("pkg:pypi/a", "X-LOW", "low")
    toy.advisory("pkg:pypi/b", "X-HIGH", "high")
    toy.advisory("pkg:pypi/c", "X-CRITICAL", "critical")
    toy.here = {"pkg:pypi/d@1": ("network", "WITHDRAWN", None)}
    places = [(f"pkg:pypi/{name}@1", Place("r", line)) for line, name in enumerate("abcdc", 1)]
    return reported(toy, places, ignored=("X-HIGH",), **more)


def test_of_more_results_than_code_scanning_takes_the_worst_are_told_and_how_many_are_not(toy, monkeypatch):
    monkeypatch.setattr(sarif, "MAX_RESULTS", Limit(3, "a test's"))
    made = sarif.document(many(toy))
    check(made)
    (run,) = made["runs"]
    assert [one["ruleId"] for one in run["results"]] == ["X-CRITICAL", "X-CRITICAL", "pyrsia/withdrawn"]
    assert [one["id"] for one in run["tool"]["driver"]["rules"]] == ["X-CRITICAL", "pyrsia/withdrawn"]
    assert run["properties"]["leftOut"] == 2
    said = run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]
    assert said == sarif.left_out(made)
    assert said.startswith("2 results left out: code scanning takes 3 of one run")
    assert run["invocations"][0]["exitCode"] == 1  # what is told less counts as much


def test_what_does_not_count_is_the_first_to_be_left_out_and_nothing_is_where_there_is_room(toy, monkeypatch):
    found = many(toy)
    monkeypatch.setattr(sarif, "MAX_RESULTS", Limit(4, "a test's"))
    made = sarif.document(found)
    assert [one["ruleId"] for one in made["runs"][0]["results"]][2:] == ["pyrsia/withdrawn", "X-LOW"]
    assert sarif.left_out(made).startswith("1 result left out")
    monkeypatch.setattr(sarif, "MAX_RESULTS", Limit(5, "a test's"))
    made = sarif.document(found)
    check(made)
    assert (len(made["runs"][0]["results"]), sarif.left_out(made)) == (5, "")
    assert [one["level"] for one in made["runs"][0]["invocations"][0]["toolExecutionNotifications"]] == [
        "warning"  # of what has no version
    ]


def test_the_rules_of_this_test_find_faults(toy):
    toy.advisory("pkg:pypi/a", "X-1", "high")
    toy.advisory("pkg:pypi/b", "X-2", "low")
    fine = sarif.document(reported(toy, [("pkg:pypi/a@1", Place("r", 1)), ("pkg:pypi/b@1", Place("r", 2))]))
    check(fine)

    def broken(change):
        made = copy.deepcopy(fine)
        change(made["runs"][0])
        with pytest.raises(AssertionError):
            check(made)

    broken(lambda run: run["results"][0].update(ruleIndex=1))
    broken(lambda run: run["results"][0].update(level="high"))
    broken(lambda run: run["results"][0].pop("message"))
    broken(lambda run: run["results"][0].update(location={}))
    broken(lambda run: run["results"].append(run["results"][0]))
    broken(lambda run: run["results"][0]["locations"][0]["physicalLocation"]["region"].update(startLine=0))
    broken(
        lambda run: run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"].update(
            uri="a b"
        )
    )
    broken(lambda run: run["tool"]["driver"]["rules"].append(run["tool"]["driver"]["rules"][0]))
    broken(lambda run: run["tool"]["driver"].pop("name"))
