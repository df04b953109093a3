"""Events of OSV as stretches, held against the format's own algorithm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.consumers.documents.ranges import MAX_EVENTS, Event, Range, stretches
from pyrsia.errors import Malformed
from pyrsia.units import MAX_FACT_RANGES


def affected(version, events):
    """The algorithm of the schema, word for word, for versions that are whole numbers."""
    vulnerable = False
    for what, at in sorted(events, key=lambda one: one[1]):
        if what == "introduced" and version >= at:
            vulnerable = True
        elif (what == "fixed" and version >= at) or (what == "last_affected" and version > at):
            vulnerable = False
    return vulnerable


def meant(version, found):
    return any(
        version >= int(one["introduced"])
        and ("fixed" not in one or version < int(one["fixed"]))
        and ("last" not in one or version <= int(one["last"]))
        for one in found
    )


def of(events, kind="pypi", sort="ECOSYSTEM"):
    return stretches(kind, [Range(sort, [Event(**one) for one in events])])


EVENTS = st.lists(
    st.tuples(st.sampled_from(("introduced", "fixed", "last_affected")), st.integers(1, 30)),
    min_size=1,
    max_size=8,
    unique_by=lambda one: one[1],  # the schema leaves open what two events at one version come to
).filter(lambda events: any(what == "introduced" for what, _ in events))


@given(EVENTS, st.sampled_from(("pypi", "maven", "conan")))
def test_stretches_mean_what_the_formats_algorithm_means_and_never_less(events, kind):
    found = of([{what: str(at)} for what, at in events], kind)
    for version in range(32):
        if affected(version, events):
            assert meant(version, found), (version, found)


@given(EVENTS)
def test_sorted_events_mean_exactly_what_the_algorithm_means(events):
    events = sorted(events, key=lambda one: one[1])
    found = of([{what: str(at)} for what, at in events])
    assert [meant(version, found) for version in range(32)] == [
        affected(version, events) for version in range(32)
    ]


def test_several_lines_in_one_range_are_several_stretches():
    found = of([{"introduced": "0"}, {"fixed": "1.5"}, {"introduced": "2.0"}, {"last_affected": "2.3"}])
    assert found == [{"introduced": "0", "fixed": "1.5"}, {"introduced": "2.0", "last": "2.3"}]


def test_events_out_of_order_are_sorted_by_the_rules_of_the_ecosystem():
    found = of([{"introduced": "0"}, {"introduced": "1.10"}, {"fixed": "1.9"}, {"fixed": "1.11"}])
    assert found == [{"introduced": "0", "fixed": "1.9"}, {"introduced": "1.10", "fixed": "1.11"}]


def test_an_alternating_list_that_falls_is_sorted_too_and_one_that_nobody_can_compare_is_believed():
    assert of([{"introduced": "2.0"}, {"fixed": "1.0rc1"}]) == [{"introduced": "2.0"}]
    assert of([{"introduced": "?"}, {"fixed": "!"}]) == [{"introduced": "?", "fixed": "!"}]


def test_a_limit_ends_what_has_no_end_and_a_star_is_none():
    assert of([{"introduced": "1"}, {"limit": "3"}]) == [{"introduced": "1", "fixed": "3"}]
    assert of([{"introduced": "1"}, {"limit": "*"}]) == [{"introduced": "1"}]
    assert of([{"introduced": "1"}, {"limit": "3"}, {"limit": "9"}, {"limit": "8"}]) == [
        {"introduced": "1", "fixed": "9"}
    ]
    assert of([{"introduced": "1"}, {"limit": "3"}, {"limit": "*"}]) == [{"introduced": "1"}]
    two = [{"introduced": "1"}, {"fixed": "2"}, {"introduced": "4"}, {"last_affected": "5"}]
    assert of([*two, {"limit": "1.5"}]) == [{"introduced": "1", "fixed": "1.5"}]
    assert of([*two, {"limit": "5"}])[1:] == [{"introduced": "4", "fixed": "5"}]
    assert of([*two, {"limit": "5.1"}])[1:] == [{"introduced": "4", "last": "5"}]


LIMITED = st.lists(st.integers(1, 30), min_size=1, max_size=3)


@given(EVENTS, LIMITED, st.sampled_from(("pypi", "maven", "conan")))
def test_limits_mean_what_the_formats_algorithm_means(events, limits, kind):
    events = sorted(events, key=lambda one: one[1])
    given = [{what: str(at)} for what, at in events] + [{"limit": str(at)} for at in limits]
    found = of(given, kind)
    for version in range(32):
        before = any(version < limit for limit in limits)
        assert meant(version, found) == (before and affected(version, events))


def test_one_event_may_be_a_beginning_and_its_end_as_old_records_have_it():
    assert of([{"introduced": "1", "fixed": "2"}]) == [{"introduced": "1", "fixed": "2"}]


def test_commits_are_no_versions_and_the_same_stretch_counts_once():
    assert of([{"introduced": "0"}], sort="GIT") == []
    twice = [Range("ECOSYSTEM", [Event(introduced="0")]), Range("SEMVER", [Event(introduced="0")])]
    assert stretches("pypi", twice) == [{"introduced": "0"}]
    assert stretches("pypi", [Range("SEMVER", []), Range("SEMVER")]) == []


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([{"fixed": "1"}], "never begins"),
        ([{"introduced": "1"}] * (MAX_EVENTS.value + 1), "events"),
        ([{"introduced": "a b c"}, {"introduced": "x y"}, {"fixed": "1"}], "cannot be compared"),
        ([{"introduced": "1"}, {"limit": "2"}, {"limit": "x y"}], "cannot be compared"),
        ([{"introduced": "1"}, {"fixed": "2"}, {"limit": "x y"}], "cannot be compared"),
    ],
)
def test_what_nobody_can_put_in_order_is_refused(events, why):
    with pytest.raises(Malformed, match=why):
        of(events)


def test_more_stretches_than_a_fact_may_have_are_refused():
    pairs = [
        ({"introduced": f"{line}.1"}, {"fixed": f"{line}.2"}) for line in range(MAX_FACT_RANGES.value + 1)
    ]
    with pytest.raises(Malformed, match="64 ranges"):
        of([one for pair in pairs for one in pair])
