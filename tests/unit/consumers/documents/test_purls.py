"""Purls as others write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.consumers.documents.purls import canonical, spelled
from pyrsia.errors import Malformed
from pyrsia.wire.purl import parse


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("pkg:pypi/Django_Foo@1.0.0-RC1?file_name=x#sub", "pkg:pypi/django-foo@1.0.0rc1"),
        ("PKG:PyPI/idna", "pkg:pypi/idna"),
        ("pkg://pypi/idna@3.10", "pkg:pypi/idna@3.10"),
        ("pkg:maven/org.a/b@1.2?type=jar", "pkg:maven/org.a/b@1.2"),
        ("pkg:conan/ZLib@1.3", "pkg:conan/zlib@1.3"),
        ("pkg:conan/zlib@1.3?user=acme&channel=stable", "pkg:conan/acme/stable/zlib@1.3"),
        ("pkg:npm/%40angular/core@1.0", "pkg:npm/%40angular/core@1.0"),
        ("pkg:npm/@angular/core@1.0", "pkg:npm/%40angular/core@1.0"),
        ("pkg:docker/library/alpine@3", "pkg:docker/library/alpine@3"),
        ("pkg:golang/github.com/x/y@v1%2Bincompatible", "pkg:golang/github.com/x/y@v1%2Bincompatible"),
    ],
)
def test_what_others_write_gets_the_one_spelling(written, found):
    assert canonical(written) == found
    assert canonical(found) == found


@pytest.mark.parametrize(
    "written",
    [
        "", "idna", "pkg:", "pkg:pypi", "pkg:pypi/", "pkg:pypi/\N{KELVIN SIGN}", "pkg:pypi/a@1 0", "pkg:pypi/a/b",
        "pkg:maven/only-a-name", "pkg:pypi/%ff", "pkg:pypi/" + "a" * 400, "pkg:x/../y", "pkg:x/a%2Fb",
        "pkg:conan/x@1?user=%00&channel=y", "pkg:pypi/x?" + "&" * 4_000,
    ],
)  # fmt: skip
def test_what_names_no_package_has_no_spelling(written):
    assert canonical(written) == ""


@given(st.text(max_size=60) | st.from_regex(r"pkg:(pypi|maven|conan|docker|npm)/[ -~]{0,60}", fullmatch=True))
def test_whatever_is_written_is_canonical_or_nothing(written):
    found = canonical(written)
    assert not found or str(parse(found)) == found


def test_parts_that_are_no_package_are_refused():
    assert spelled("maven", "org.a", "b") == "pkg:maven/org.a/b"
    with pytest.raises(Malformed):
        spelled("maven", "", "b")
    with pytest.raises(Malformed):
        spelled("pypi", "", "a b")
