"""Which versions a fact means: ranges as OSV means them, and what cannot be compared counts as meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.knowledge import versions
from pyrsia.knowledge.versions import WHATEVER, _within, compare, fixed, meets, named, same
from tests.reference.knowledge import MADE, spans

KINDS = sorted(MADE)
JUNK = "not a version"
LINE = ({"introduced": "1.0", "fixed": "1.3"}, {"introduced": "2.0", "fixed": "2.1"})


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_version_is_meant_if_any_range_holds_it_or_a_name_is_its_own(kind, data):
    version = data.draw(MADE[kind])
    ranges = data.draw(st.lists(spans(MADE[kind]), max_size=3))
    names = data.draw(st.lists(MADE[kind], max_size=3))

    hit = meets(kind, version.text, [one.bounds for one in ranges], [one.text for one in names])

    meant = any(one.holds(version) for one in ranges) or any(one.key == version.key for one in names)
    assert (hit.affected, hit.sure) == (meant or not (ranges or names), True)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_what_is_called_fixed_is_the_least_end_above_that_is_not_meant_itself(kind, data):
    version = data.draw(MADE[kind])
    ranges = data.draw(st.lists(spans(MADE[kind]), min_size=1, max_size=4))

    found = fixed(kind, version.text, [one.bounds for one in ranges], ())

    ends = [one.fixed for one in ranges if one.fixed and one.fixed.key > version.key]
    good = [end for end in ends if not any(one.holds(end) for one in ranges)]
    least = min((end.key for end in good), default=None)
    assert least == next((end.key for end in good if end.text == found), None)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_the_lie_a_bound_that_nobody_can_read_never_frees_a_version(kind, data):
    """Whoever writes nonsense into a range makes it mean more, not less."""
    version = data.draw(MADE[kind])
    ranges = [one.bounds for one in data.draw(st.lists(spans(MADE[kind]), min_size=1, max_size=3))]
    before = meets(kind, version.text, ranges, ())
    spoiled = data.draw(st.sampled_from(ranges))
    spoiled[data.draw(st.sampled_from(sorted(spoiled)))] = JUNK

    after = meets(kind, version.text, ranges, ())

    assert after.affected >= before.affected


@pytest.mark.parametrize("kind", [*KINDS, "docker", "generic", "npm"])
@given(
    version=st.text(max_size=120),
    ranges=st.lists(
        st.fixed_dictionaries(
            {"introduced": st.text(max_size=120)},
            optional={"fixed": st.text(max_size=120), "last": st.text(max_size=120)},
        ),
        max_size=3,
    ),
    names=st.lists(st.text(max_size=120), max_size=3),
)
def test_whatever_stands_in_a_fact_there_is_an_answer(kind, version, ranges, names):
    for exactly in (False, True):
        hit = meets(kind, version, ranges, names, exactly=exactly)
        assert hit.affected or hit.sure
        assert bool(hit.why) == hit.affected


def test_ends_of_a_range_are_as_osv_means_them():
    def meant(version, **bounds):
        return meets("pypi", version, [{"introduced": "1.0", **bounds}], ()).affected

    assert [
        meant(one, fixed="1.3") for one in ("0.9", "1.0rc1", "1.0", "1.2.9", "1.3rc1", "1.3", "1.3.post1")
    ] == [
        False,
        False,
        True,
        True,
        True,
        False,
        False,
    ]
    assert [meant(one, last="1.3") for one in ("1.3", "1.3.0", "1.3.1")] == [True, True, False]
    assert meant("99!1")


def test_zero_is_before_every_version():
    for kind, first in (("pypi", "0.dev0"), ("maven", "0-alpha"), ("conan", "0-alpha"), ("docker", "latest")):
        assert meets(kind, first, [{"introduced": "0"}], ()).sure


def test_the_answer_says_which_range_and_where_it_is_fixed():
    hit = meets("pypi", "1.2", LINE, ())
    assert (hit.why, hit.fixed) == ("1.2 lies in [1.0, 1.3)", "1.3")
    assert meets("pypi", "2.0.5", LINE, ()).fixed == "2.1"
    assert meets("pypi", "1.2", [{"introduced": "0", "last": "1.2"}], ()).why == "1.2 lies in [0, 1.2]"
    assert not meets("pypi", "1.5", LINE, ()).affected


def test_a_fix_that_another_range_means_is_no_fix():
    ranges = [{"introduced": "0", "fixed": "1.5"}, {"introduced": "1.4", "fixed": "1.7"}]
    assert meets("pypi", "1.0", ranges, ()).fixed == "1.7"
    assert meets("pypi", "1.0", ranges[:1], ["1.5"]).fixed == ""


def test_ranges_that_end_one_behind_the_other_cost_a_look_and_no_more():
    """64 ranges, each inside the last: whoever writes them costs us no 64 looks at 64 ranges."""
    ranges = [{"introduced": "0", "fixed": f"{end}.0"} for end in range(2, 66)]
    assert meets("pypi", "1.0", ranges, ()).fixed == "65.0"
    assert meets("pypi", "1.0", [*ranges, {"introduced": "3.0"}], ()).fixed == ""


def test_a_fix_is_sought_in_a_few_places_and_no_more(monkeypatch):
    stairs = [{"introduced": str(at), "fixed": f"{at + 1}.5"} for at in range(1, 65)]
    asked = []
    monkeypatch.setattr(versions, "_within", lambda *told: asked.append(told) or _within(*told))
    assert fixed("pypi", "1.0", stairs, ()) == ""
    assert len(asked) == versions.FIXES_TRIED.value * len(stairs)
    assert fixed("pypi", "1.0", stairs[:7], ()) == "8.5"


def test_a_fact_without_ranges_and_versions_means_every_version():
    assert meets("pypi", "1.0", (), ()).why == WHATEVER
    assert meets("docker", "latest", (), ()).sure


@pytest.mark.parametrize(
    ("kind", "version", "bounds"),
    [
        ("pypi", "1.0", {"introduced": JUNK}),
        ("pypi", "1.0", {"introduced": "0", "fixed": JUNK}),
        ("pypi", JUNK, {"introduced": "1.0"}),
        ("docker", "1.0", {"introduced": "0", "fixed": "2.0"}),
        ("npm", "1.0.0", {"introduced": "0", "last": "0.9.0"}),
        ("maven", "1.0", {"introduced": "0", "fixed": "${revision}"}),
    ],
)
def test_what_cannot_be_compared_counts_as_meant_and_says_so(kind, version, bounds):
    hit = meets(kind, version, [bounds], ())
    assert (hit.affected, hit.sure) == (True, False)
    assert "cannot be compared" in hit.why


def test_what_can_be_settled_without_reading_is():
    assert meets("docker", "2.0", [{"introduced": "0", "fixed": "2.0"}], ()).affected is False
    assert meets("docker", "2.0", [{"introduced": "2.0"}], ()).sure
    assert meets("pypi", JUNK, (), [JUNK]).sure
    # One end surely leaves it out, whatever the other end is.
    assert meets("pypi", "1.0", [{"introduced": "2.0", "fixed": JUNK}], ()).affected is False
    assert meets("pypi", "3.0", [{"introduced": JUNK, "fixed": "2.0"}], ()).affected is False


def test_a_sure_range_counts_before_an_unsure_one():
    hit = meets("pypi", "1.2", [{"introduced": JUNK}, LINE[0]], ())
    assert (hit.sure, hit.why) == (True, "1.2 lies in [1.0, 1.3)")


def test_names_mean_what_their_ecosystem_calls_the_same():
    assert meets("pypi", "1.0", (), ["0.9", "1.0.0"]).sure
    assert meets("maven", "1.0.Final", (), ["1"]).sure
    assert meets("docker", "1.0", (), ["1.0.0"]).affected is False
    # A name of long ago that nobody can read means its own text alone, not every version.
    assert meets("pypi", "1.0", (), ["2004d", "0.1-foo-bar"]).affected is False
    assert meets("pypi", JUNK, (), ["1.0"]).sure is False


def test_against_a_local_version_speaks_what_names_its_public_one_but_not_in_its_favour():
    assert named("pypi", "1.0+cu118", "1.0") is True
    assert named("pypi", "1.0+cu118", "1.0+cpu") is False
    assert named("pypi", "1.0+cu118", "1.0", exactly=True) is False
    assert meets("pypi", "1.0+cu118", [{"introduced": "0", "last": "1.0"}], ()).affected
    assert not meets("pypi", "1.0+cu118", [{"introduced": "0", "last": "1.0"}], (), exactly=True).affected
    assert named("pypi", "1.0", "1.0.0", exactly=True) is True


def test_in_favour_of_a_maven_or_conan_version_speaks_only_its_own_spelling():
    for kind in ("maven", "conan"):
        assert named(kind, "1.0", "1.0.0") is True
        assert named(kind, "1.0", "1.0.0", exactly=True) is False


def test_texts_that_nobody_can_compare_are_neither_the_same_nor_not():
    assert same("pypi", "1.0", JUNK) is None
    assert same("pypi", JUNK, JUNK) is True
    assert same("docker", "1.0", "1.0.0") is False
    assert compare("pypi", "1.0", JUNK) is None


def test_a_range_without_an_end_is_written_as_people_write_it():
    assert meets("pypi", "2.0", [{"introduced": "1.0"}], ()).why == "2.0 lies in [1.0, ...)"
