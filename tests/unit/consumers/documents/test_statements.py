"""VEX of either format as facts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.consumers.documents.outcome import Tally
from pyrsia.consumers.documents.statements import read
from pyrsia.errors import Refusal
from pyrsia.ledger.bodies.facts import AUTHORED
from tests.reference.facts_desk import body_of
from tests.unit.consumers.documents.test_osv import checked

PURL = "pkg:pypi/idna@3.6"


def statement(**more):
    return {"vulnerability": {"name": "CVE-1"}, "products": [{"@id": PURL}], "status": "not_affected", **more}


def openvex(*statements, **more):
    return {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "timestamp": "2024-01-01T00:00:00Z",
        "statements": statements,
        **more,
    }


def cyclonedx(*weaknesses):
    return {
        "bomFormat": "CycloneDX",
        "metadata": {"component": {"bom-ref": "root", "name": "app", "purl": "pkg:pypi/app@1"}},
        "components": [
            {"bom-ref": "c1", "name": "idna", "purl": "pkg:pypi/idna@3.6"},
            {"bom-ref": "c2", "name": "no purl"},
        ],
        "vulnerabilities": weaknesses,
    }


@pytest.fixture
def told(tmp_path):
    def facts(value):
        path = tmp_path / "vex.json"
        path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
        tally = Tally()
        found = read([path], tally)
        for fact in found:
            checked(fact)
        return found, tally

    return facts


def test_a_statement_is_a_fact_for_each_product(told):
    one = statement(
        products=[
            {"@id": PURL},
            {"@id": "x", "identifiers": {"purl": "pkg:maven/org.a/b"}},
            "pkg:conan/ZLib",
        ],
        justification="vulnerable_code_not_in_execute_path",
        impact_statement="never\ncalled",
    )
    found, tally = told(openvex(one))
    assert [fact.subject for fact in found] == [PURL, "pkg:maven/org.a/b", "pkg:conan/zlib"]
    assert found[0].text == "never called"
    assert found[0].fields == {
        "advisory": "CVE-1", "outcome": "not-affected", "justification": "vulnerable-code-not-in-execute-path",
    }  # fmt: skip
    assert (tally.records, tally.refused) == (1, 0)


def test_of_two_statements_about_one_thing_the_newer_counts_whatever_the_order(told):
    new, old = (
        statement(status="fixed", timestamp="2024-03-01T00:00:00Z"),
        statement(timestamp="2024-02-01T00:00:00Z"),
    )
    for order in ((new, old), (old, new)):
        (fact,), tally = told(openvex(*order))
        assert fact.fields == {"advisory": "CVE-1", "outcome": "fixed"}
        assert sum(tally.noted.values()) == 1


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (statement(status=None), "says no outcome"),
        (statement(products=[]), "names no product"),
        (statement(products=[{"@id": "https://x"}]), "a product without a purl, or a range of versions"),
        (statement(products=[7]), "a product without a purl, or a range of versions"),
        (statement(products=["pkg:npm/x@1"]), "unknown ecosystem pkg:npm"),
    ],
)
def test_what_names_nothing_of_ours_is_left_out_with_its_reason(told, one, why):
    found, tally = told(openvex(one))
    assert (found, dict(tally.skipped)) == ([], {why: 1})


def test_an_outcome_that_nobody_knows_is_told_with_its_document(told, tmp_path):
    found, tally = told(openvex(statement(status="bog\x1bus")))
    (why,) = tally.skipped
    assert found == []
    assert why.startswith(r"says an unknown outcome: bog\x1bus (" + str(tmp_path))


def test_a_weakness_without_a_name_is_refused_by_its_number(told):
    found, tally = told(openvex(statement(vulnerability={}), statement(vulnerability="CVE-2")))
    assert [fact.fields["advisory"] for fact in found] == ["CVE-2"]
    assert tally.refused == 1
    assert tally.shown[0][0].endswith("vex.json: statement 1")


def test_analyses_of_cyclonedx_are_statements_about_their_components(told):
    found, _ = told(
        cyclonedx(
            {
                "id": "CVE-1",
                "analysis": {
                    "state": "not_affected",
                    "justification": "code_not_present",
                    "detail": "cut out",
                },
                "affects": [{"ref": "c1"}, {"ref": "root"}],
            },
            {"id": "CVE-2", "analysis": {"state": "resolved"}, "affects": [{"ref": "pkg:pypi/other"}]},
            {
                "id": "CVE-3",
                "analysis": {"state": "exploitable"},
                "affects": [{"ref": "c1", "versions": [{"version": "9"}]}],
            },
        )
    )
    assert [(fact.subject, fact.fields["advisory"], fact.fields["outcome"]) for fact in found] == [
        ("pkg:pypi/idna@3.6", "CVE-1", "not-affected"),
        ("pkg:pypi/app@1", "CVE-1", "not-affected"),
        ("pkg:pypi/other", "CVE-2", "fixed"),
        ("pkg:pypi/idna@9", "CVE-3", "affected"),
    ]
    assert found[0].fields["justification"] == "vulnerable-code-not-present"
    assert found[0].text == "cut out"


def test_a_range_or_a_version_that_fares_otherwise_is_not_guessed_at(told):
    versions = [{"range": "vers:pypi/<3"}, {"version": "3", "status": "unaffected"}]
    one = {
        "id": "CVE-1",
        "analysis": {"state": "exploitable"},
        "affects": [{"ref": "c1", "versions": versions}, {"ref": "c2"}],
    }
    found, tally = told(cyclonedx(one, {"id": "CVE-2"}))
    assert found == []
    assert dict(tally.skipped) == {
        "a product without a purl, or a range of versions": 3,
        "says no outcome": 1,
    }


@pytest.mark.parametrize(
    "value",
    [b"", b"{}", b"[]", b"\xff", {"@context": 3}, {"@context": "https://openvex.dev/ns", "statements": 3}],
)
def test_what_is_no_vex_document_is_refused(told, value):
    with pytest.raises(Refusal) as caught:
        told(value)
    assert caught.value.code == "bad-request"


KEYS = (
    "products", "vulnerability", "status", "name", "@id", "id", "affects", "ref", "versions", "analysis", "state",
    "timestamp", "identifiers", "purl",
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=6) | st.sampled_from((PURL, "CVE-1", "fixed", "2024-01-01", "c1")),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(KEYS), inner, max_size=5,
    ),
    max_leaves=14,
)  # fmt: skip


@given(st.lists(JSON, max_size=4), st.booleans())
def test_whatever_a_document_holds_the_ledger_takes_what_comes_of_it(tmp_path_factory, statements, ours):
    path = tmp_path_factory.mktemp("any") / "vex.json"
    path.write_text(json.dumps(openvex(*statements) if ours else cyclonedx(*statements)))
    try:
        found = read([path], Tally())
    except Refusal:
        return
    for fact in found:
        AUTHORED["fact.add"](body_of({"kind": fact.kind, "subject": fact.subject, "text": fact.text,
                                      "valid_from": fact.valid_from, "fields": fact.fields}))  # fmt: skip


PARTS = [
    "pkg:maven/g/a@1?classifier=sources",
    "pkg:maven/g/a@1?type=jar&classifier=tests",
    "pkg:pypi/idna@1?file_name=idna-1-mips.whl",
    "pkg:docker/app@1?repository_url=registry.other.example",
    "pkg:pypi/idna@1#src/x",
]


@pytest.mark.parametrize("written", PARTS)
@pytest.mark.parametrize("form", ["openvex", "cyclonedx"])
def test_what_speaks_for_a_part_of_a_version_does_not_speak_for_the_version(told, written, form):
    def document(openvex_status, state):
        if form == "openvex":
            return openvex(statement(products=[{"@id": written}], status=openvex_status))
        made = cyclonedx({"id": "CVE-1", "analysis": {"state": state}, "affects": [{"ref": "part"}]})
        made["components"].append({"bom-ref": "part", "name": "x", "purl": written})
        return made

    for words in (("not_affected", "not_affected"), ("fixed", "resolved")):
        found, tally = told(document(*words))
        assert found == []
        assert sum(tally.skipped.values()) == 1
        assert "part alone" in next(iter(tally.skipped))
    (fact,), _ = told(document("affected", "exploitable"))
    assert "?" not in fact.subject


def test_qualifiers_that_say_nothing_narrow_nothing(told):
    products = [{"@id": "pkg:maven/g/a@1?type=jar"}, {"@id": "pkg:conan/zlib@1.3?user=me&channel=stable"}]
    found, tally = told(openvex(statement(products=products)))
    assert [one.subject for one in found] == ["pkg:maven/g/a@1", "pkg:conan/me/stable/zlib@1.3"]
    assert not tally.skipped
