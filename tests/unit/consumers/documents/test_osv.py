"""One OSV record as advisories: whatever a record holds, the ledger takes what comes of it or nothing comes."""

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.osv import records
from pyrsia.consumers.documents import osv
from pyrsia.errors import Malformed
from pyrsia.ledger.bodies.facts import AUTHORED
from pyrsia.serve.desks.knowing import FactTold
from pyrsia.units import MAX_AFFECTED, MAX_ENTRY_BYTES, MAX_FACT_ALIASES, MAX_FACT_VERSIONS
from tests.reference.facts_desk import body_of

NOW = 1_764_000_000_000
TOO_MANY = [str(one) for one in range(MAX_FACT_VERSIONS.value + 1)]
RANGE = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.7"}]}]


def affected(ecosystem="PyPI", name="idna", **more):
    return {"package": {"ecosystem": ecosystem, "name": name}, "ranges": RANGE, **more}


def record(**more):
    return {"id": "PYSEC-1", "modified": "2024-05-01T10:00:00Z", "affected": [affected()], **more}


def read(**more):
    return osv.read(json.dumps(record(**more)).encode(), NOW)


def only(found):
    (fact,) = found.facts
    checked(fact)
    return fact


def checked(fact):
    """The node can read it, the ledger takes it, and it fits into an entry."""
    told = msgspec.convert(msgspec.to_builtins(fact), FactTold)
    if not fact.withdraw:
        body = body_of(msgspec.to_builtins(told))
        AUTHORED["fact.add"](body)
        assert len(json.dumps(body)) < MAX_ENTRY_BYTES.value - 8_000


def test_a_record_is_an_advisory_for_each_of_its_packages():
    found = read(
        published="2024-04-11T08:30:00.123456Z",
        aliases=["GHSA-x", "CVE-2024-3651", "PYSEC-1"],
        summary="It is   slow\non long\x1b names",
        severity=[{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"}],
        affected=[affected(), affected("Maven", "org.a:b"), affected("ConanCenter", "ZLib")],
    )
    assert [one.subject for one in found.facts] == ["pkg:pypi/idna", "pkg:maven/org.a/b", "pkg:conan/zlib"]
    first = found.facts[0]
    checked(first)
    assert (first.kind, first.text, first.valid_from) == (
        "advisory",
        r"It is slow on long\x1b names",
        1_712_824_200_123,
    )
    assert first.fields == {
        "advisory": "PYSEC-1",
        "aliases": ["CVE-2024-3651", "GHSA-x"],
        "cvss": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H",
        "modified_ms": 1_714_557_600_000,
        "range": [{"introduced": "0", "fixed": "3.7"}],
        "severity": "high",
    }


@pytest.mark.parametrize(
    ("severity", "word", "said"),
    [
        ([], "MODERATE", "medium"),
        ([], "whatever", "unknown"),
        ([], None, "unknown"),
        ([{"type": "CVSS_V3", "score": "CVSS:3.1/nonsense"}], "LOW", "low"),
        ([{"type": "CVSS_V3", "score": 9.8}], "LOW", "low"),
        ([{"type": "Ubuntu", "score": "critical"}], "LOW", "low"),
        ([{"type": "CVSS_V2", "score": "AV:N/AC:L/Au:N/C:C/I:C/A:C"}], "LOW", "high"),
        (
            [
                {"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"},
                {
                    "type": "CVSS_V4",
                    "score": "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H",
                },
            ],
            "LOW",
            "critical",
        ),
    ],
)
def test_the_worst_vector_counts_before_a_databases_own_word(severity, word, said):
    fact = only(read(severity=severity, database_specific={"severity": word}))
    assert fact.fields["severity"] == said
    assert ("cvss" in fact.fields) == (said in ("high", "critical"))


@pytest.mark.parametrize("odd", [[], "HIGH", 1.5, {"severity": {"a": 1}}, {"severity": 10**400}, [[[]]]])
def test_a_hint_of_another_shape_costs_the_hint_and_not_the_record(odd):
    score = [{"type": "CVSS_V3", "score": 10**400}, {"type": "CVSS_V4", "score": odd}]
    fact = only(read(database_specific=odd, severity=score))
    assert (fact.fields["severity"], "cvss" in fact.fields) == ("unknown", False)


def test_a_packages_own_severity_counts_before_the_records():
    vector = "CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:N/I:N/A:L"
    own = [{"type": "CVSS_V3", "score": vector}]
    other = [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H"}]
    assert only(read(severity=other, affected=[affected(severity=own)])).fields["cvss"] == vector


def test_versions_one_by_one_count_where_no_range_speaks_of_versions():
    git = [{"type": "GIT", "repo": "https://x", "events": [{"introduced": "0"}]}]
    fact = only(read(affected=[affected(ranges=git, versions=["1.1", "1.0", "1.1"])]))
    assert fact.fields["versions"] == ["1.0", "1.1"]
    assert "range" not in fact.fields


def test_versions_that_lie_in_no_range_count_beside_them():
    listed = ["1.0", "3.6rc1", "3.7", "3.6.0", "2004-bulbasaur", "5.0+cu118"]
    fact = only(read(affected=[affected(versions=listed)]))
    assert fact.fields["range"] == [{"introduced": "0", "fixed": "3.7"}]
    assert fact.fields["versions"] == ["2004-bulbasaur", "3.7", "5.0+cu118"]
    assert "versions" not in only(read(affected=[affected(versions=["1.0", "0"])])).fields


def test_a_listed_version_that_no_package_can_have_does_not_cost_the_ranges():
    found = read(affected=[affected(versions=["9 9", "8", "1.0"])])
    assert only(found).fields["versions"] == ["8"]
    assert found.noted == ("listed versions that no package can have left out",)


def test_a_package_that_stands_twice_is_one_advisory():
    more = [{"type": "SEMVER", "events": [{"introduced": "5"}, {"last_affected": "5.2"}]}]
    fact = only(read(affected=[affected(), affected(name="IDNA", ranges=more)]))
    assert fact.fields["range"] == [{"introduced": "0", "fixed": "3.7"}, {"introduced": "5", "last": "5.2"}]


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([affected("npm", "x")], "unknown ecosystem npm"),
        ([affected("Debian:12", "x")], "unknown ecosystem Debian"),
        ([affected("", "x")], "unknown ecosystem without a name"),
        ([affected("\x1b[31m", "x")], r"unknown ecosystem \x1b[31m"),
        ([{"ranges": RANGE}], "names no package"),
        ([], "names no package"),
        ([affected(ranges=[], versions=[])], "names no versions"),
        (
            [affected(ranges=[{"type": "GIT", "events": [{"introduced": "0"}]}])],
            "git commits only, no versions",
        ),
    ],
)
def test_what_is_no_package_or_no_version_of_ours_is_left_out_with_its_reason(parts, why):
    found = read(affected=parts)
    assert (found.facts, found.skipped) == ((), (why,))


def test_an_ecosystem_may_have_a_suffix():
    assert only(read(affected=[affected("PyPI:https://example.org")])).subject == "pkg:pypi/idna"


def test_a_withdrawn_record_takes_back_and_one_that_will_be_stands_until_then():
    fact = only(read(withdrawn="2024-05-02T00:00:00Z"))
    assert (fact.withdraw, fact.fields) == (True, {"advisory": "PYSEC-1", "modified_ms": 1_714_557_600_000})
    assert not only(read(withdrawn="2124-05-02T00:00:00Z")).withdraw


def test_a_future_record_stands_from_then_on():
    assert only(read(published="9999-12-31T23:59:59Z")).valid_from == 253_402_300_799_000
    assert only(read(published="0001-01-01T00:00:00Z")).valid_from == 0
    assert only(read(published="2024-01-01T00:00:00")).valid_from == 1_704_067_200_000


def test_more_aliases_than_a_fact_may_have_leave_the_cves_and_say_so():
    aliases = [f"A-{one:03}" for one in range(MAX_FACT_ALIASES.value + 4)] + ["CVE-2024-1", "not an id"]
    found = read(aliases=aliases)
    assert found.noted == ("aliases left out",)
    kept = only(found).fields["aliases"]
    assert (len(kept), kept[-1]) == (MAX_FACT_ALIASES.value, "CVE-2024-1")


def test_a_text_is_cut_to_what_a_fact_has_room_for():
    for text in ("\N{GRINNING FACE}" * 900, "a" * 5_000, "\u202e" * 900):
        fact = only(read(summary=text))
        assert len(fact.text.encode()) <= 1_024
        assert fact.text.isprintable()
    assert only(read(summary=" ", details="It\n\nis so")).text == "It is so"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it ends before it is complete"),
        (b"[]", "it is a list, where an object belongs"),
        (b"\xff{}", "not UTF-8|malformed|invalid"),
        (b'{"id":' + b"[" * 100_000, "nested too deeply|`id` is a list, where a text belongs"),
        (b'{"x":' + b"[" * 100_000, "nested too deeply"),
        (b'{"id":"x"}', "it has no `modified`"),
        (b'{"id":1,"modified":"2024-01-01T00:00:00Z"}', "`id` is a number, where a text belongs"),
        (b'{"id":"a b","modified":"2024-01-01T00:00:00Z"}', "id: a printable"),
        (b'{"id":"x","modified":"yesterday"}', "`modified` is no time; one is written 2026-01-31T12:00:00Z"),
        (
            b'{"id":"x","modified":"2024-01-01T00:00:00Z","affected":{}}',
            "`affected` is an object, where a list belongs",
        ),
        (
            b'{"id":"x","modified":"2024-01-01T00:00:00Z","affected":[{"package":{}}]}',
            r"`affected\[0\].package` has no `ecosystem`",
        ),
    ],
)
def test_what_is_no_record_is_refused_with_the_place(data, why):
    with pytest.raises(Malformed, match=why):
        osv.read(data, NOW)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"affected": [affected(name="a b")]}, "PYSEC-1: a b is no pypi package"),
        ({"affected": [affected("Maven", "only-a-name")]}, "is no group:artifact"),
        ({"affected": [affected("Maven", "a:b:c")]}, "is no maven package"),
        ({"affected": [affected()] * (MAX_AFFECTED.value + 1)}, "packages"),
        (
            {
                "affected": [
                    affected(ranges=[], versions=[str(one) for one in range(MAX_FACT_VERSIONS.value + 1)])
                ]
            },
            "one by one",
        ),
        (
            {
                "affected": [
                    affected(ranges=[], versions=["9" * 99 + str(one) for one in range(1, 9)] + ["x" * 101])
                ]
            },
            "version",
        ),
        (
            {"affected": [affected(ranges=[{"type": "SEMVER", "events": [{"introduced": "1 0"}]}])]},
            "version 1 0",
        ),
        ({"affected": [affected(ranges=[{"type": "SEMVER", "events": [{"fixed": "1"}]}])]}, "never begins"),
        ({"affected": [affected(), affected(name="\N{KELVIN SIGN}")]}, "is no pypi package"),
        (
            {"affected": [affected(versions=[f"4.{one}" for one in range(MAX_FACT_VERSIONS.value + 1)])]},
            "one by one",
        ),
    ],
)
def test_a_record_that_cannot_be_said_whole_is_refused_whole_by_its_id(more, why):
    with pytest.raises(Malformed, match=why) as caught:
        read(**more)
    assert str(caught.value).startswith("PYSEC-1: ")


def test_made_records_are_taken_by_the_ledger():
    for one in records(500, packages=100):
        for fact in osv.read(json.dumps(one).encode(), NOW).facts:
            checked(fact)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
TEXT = st.text(max_size=12) | st.sampled_from(("0", "1.0", "2.0.0rc1", "*", "\u202e", "a b", "x" * 200))
EVENT = st.dictionaries(st.sampled_from(("introduced", "fixed", "last_affected", "limit")), TEXT, max_size=2)
PART = st.fixed_dictionaries(
    {
        "package": st.fixed_dictionaries(
            {
                "ecosystem": st.sampled_from(("PyPI", "Maven", "ConanCenter", "npm", "PyPI:x")),
                "name": TEXT | st.sampled_from(("idna", "org.a:b", "zlib")),
            }
        ),
    },
    optional={
        "ranges": st.lists(
            st.fixed_dictionaries(
                {
                    "type": st.sampled_from(("ECOSYSTEM", "SEMVER", "GIT", "?")),
                    "events": st.lists(EVENT, max_size=5),
                }
            ),
            max_size=3,
        ),
        "versions": st.lists(TEXT, max_size=4),
        "severity": JSON,
    },
)
RECORD = st.fixed_dictionaries(
    {"id": TEXT | st.just("CVE-1"), "modified": st.just("2024-01-01T00:00:00Z")},
    optional={
        "published": st.sampled_from(("2024-01-01T00:00:00Z", "9999-01-01T00:00:00Z", "no")),
        "withdrawn": st.sampled_from(("2024-01-01T00:00:00Z", "9999-01-01T00:00:00Z", None)),
        "aliases": st.lists(TEXT, max_size=20),
        "summary": TEXT,
        "details": JSON,
        "severity": JSON,
        "affected": st.lists(PART, max_size=4),
        "database_specific": JSON,
    },
)


@settings(max_examples=300)
@given(RECORD | JSON)
def test_whatever_a_record_holds_the_ledger_takes_what_comes_of_it(value):
    try:
        found = osv.read(json.dumps(value).encode(), NOW)
    except Malformed:
        return
    assert len({one.subject for one in found.facts}) == len(found.facts)
    for fact in found.facts:
        checked(fact)


@given(st.binary(max_size=200))
def test_whatever_the_bytes_are_nothing_else_is_raised(data):
    with suppress(Malformed):
        osv.read(data, NOW)
