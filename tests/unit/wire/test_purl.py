"""Purls: one spelling for each package."""

import pytest

from pyrsia.errors import Malformed
from pyrsia.wire import purl

GOOD = [
    "pkg:pypi/idna@3.10",
    "pkg:pypi/a@1%212.0rc1.post2.dev3%2Blocal.1",
    "pkg:npm/%40angular/core@1.0",
    "pkg:generic/abc/tool@1",
    "pkg:pypi/idna",
]
BAD = [
    "", "pkg:", "pkg:pypi", "pkg:pypi/", "PKG:pypi/idna@1", "pkg:pypi/Idna@1", "pkg:pypi/a_b@1", "pkg:pypi/a--b@1",
    "pkg:pypi/idna@", "pkg:pypi/idna@01", "pkg:pypi/idna@1.0+x", "pkg:pypi/idna@1%2bx", "pkg:pypi/ns/idna@1",
    "pkg:pypi/id\u0131a@1", "pkg:pypi/idna@1\n", "pkg:npm/%61@1", "pkg:npm/../a@1", "pkg:npm/a%2Fb@1",
    "pkg:pypi/idna@1?x=y", "pkg:pypi/idna@1#x", "pkg:pypi/idna@\u0661", "pkg:pypi/" + "a" * 300,
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_the_canonical_spelling_comes_back(text):
    assert str(purl.parse(text)) == text


@pytest.mark.parametrize("text", BAD)
def test_every_other_spelling_is_refused(text):
    with pytest.raises(Malformed):
        purl.parse(text)


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("Foo.Bar_-baz", "foo-bar-baz"),
        ("idna", "idna"),
        ("\u212aa", "\u212aa"),  # the Kelvin sign would lower-case to k
        ("\u0130x", "\u0130x"),
    ],
)
def test_a_pypi_name_has_one_spelling_and_only_ascii_changes(name, normal):
    assert purl.pypi_name(name) == normal
