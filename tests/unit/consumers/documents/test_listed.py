"""Versions listed beside ranges, held against the rules by which a node asks later."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.consumers.documents import listed
from pyrsia.consumers.documents.listed import MAX_COMPARED, outside
from pyrsia.errors import Malformed
from pyrsia.knowledge.versions import meets

NUMBER = st.sampled_from(("0", "1", "2", "10", "00", "01"))
END = st.sampled_from(
    ("", "", "", "rc1", ".dev1", "-1", ".post2", "-SNAPSHOT", ".RELEASE", "-beta.2", "b", "k", "+local", "_3",
     "-0.5", " x", ".Final", "-jre", ".x", "a1", "!1", ".0.0")
)  # fmt: skip
VERSION = st.builds(lambda parts, end: ".".join(parts) + end, st.lists(NUMBER, min_size=1, max_size=4), END)
VERSIONS = VERSION | st.sampled_from(("v1.0", "1!2.0", "cci.20200101", "bulbasaur", ""))
STRETCH = st.builds(
    lambda begin, end, how: {"introduced": begin, **({how: end} if how else {})},
    st.just("0") | VERSION,
    VERSION,
    st.sampled_from(("fixed", "last", "")),
)
KINDS = st.sampled_from(("pypi", "maven", "conan"))


@settings(max_examples=400)
@given(KINDS, st.lists(STRETCH, min_size=1, max_size=3), st.sets(VERSIONS, max_size=6), VERSION)
def test_what_is_left_out_means_nothing_less(kind, stretches, versions, asked):
    kept = outside(kind, stretches, versions)
    before = meets(kind, asked, stretches, sorted(versions))
    after = meets(kind, asked, stretches, kept)
    assert (after.affected, after.sure) == (before.affected, before.sure)


@settings(max_examples=400)
@given(KINDS, st.lists(STRETCH, min_size=1, max_size=3), st.sets(VERSIONS, min_size=1, max_size=6))
def test_what_a_range_surely_holds_is_left_out(kind, stretches, versions):
    kept = outside(kind, stretches, versions)
    assert kept == sorted(set(kept))
    assert set(kept) <= versions
    if any("+" in bound for one in stretches for bound in one.values()):
        return
    for version in versions - {""}:
        hit = meets(kind, version, stretches, ())
        assert (version in kept) == (not (hit.affected and hit.sure))


def test_more_than_anybody_would_compare_is_refused(monkeypatch):
    monkeypatch.setattr(listed, "MAX_COMPARED", type(MAX_COMPARED)(5, "for a test"))
    stretches = [{"introduced": "0", "fixed": "1"}] * 2
    with pytest.raises(Malformed, match="3 versions beside 2 ranges"):
        outside("pypi", stretches, {"1", "2", "3"})
