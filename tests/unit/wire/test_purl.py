"""Purls: one spelling for each package."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_version
from packaging.version import Version

from pyrsia.errors import Malformed
from pyrsia.wire import purl
from pyrsia.wire.text import b32

NODE = b32(bytes(range(32)))

GOOD = [
    "pkg:pypi/idna@3.10",
    "pkg:pypi/a@1%212.0rc1.post2.dev3%2Blocal.1",
    "pkg:npm/%40angular/core@1.0",
    "pkg:generic/abc/tool@1",
    "pkg:pypi/idna",
    "pkg:maven/org.apache.commons/commons-text@1.12.0",
    "pkg:maven/com.example_x/scala-library_2.13@2.13.0-RC1",
    "pkg:maven/g/a@1.0%2Bbuild~5",
    "pkg:maven/g/A",
    "pkg:conan/zlib@1.3.1",
    "pkg:conan/team/stable/libstdc%2B%2B@cci.20230101",
    "pkg:conan/team/zlib@0",
    "pkg:docker/debian@bookworm-slim",
    "pkg:docker/team/sub-team/app_one.two@1.0_x",
    "pkg:docker/app@sha256:" + "ab" * 32,
    f"pkg:generic/{NODE}/pypi/idna@1.0",
    f"pkg:generic/{NODE}/maven/org.example/text@1.0",
    f"pkg:generic/{NODE}/conan/team/stable/zlib@1.3.1",
    f"pkg:generic/{NODE}/docker/app",
    f"pkg:generic/{NODE}/anything/Else@01",  # no type that is built: nobody's own name
    f"pkg:generic/{NODE[:-1]}b/pypi/Idna@01",  # no node id
]
BAD = [
    "", "pkg:", "pkg:pypi", "pkg:pypi/", "PKG:pypi/idna@1", "pkg:pypi/Idna@1", "pkg:pypi/a_b@1", "pkg:pypi/a--b@1",
    "pkg:pypi/idna@", "pkg:pypi/idna@01", "pkg:pypi/idna@1.0+x", "pkg:pypi/idna@1%2bx", "pkg:pypi/ns/idna@1",
    "pkg:pypi/id\u0131a@1", "pkg:pypi/idna@1\n", "pkg:npm/%61@1", "pkg:npm/../a@1", "pkg:npm/a%2Fb@1",
    "pkg:maven/text@1", "pkg:maven/a/b/text@1", "pkg:maven/org..example/text@1", "pkg:maven/.org/text@1",
    "pkg:maven/org/-x%2Fy@1", "pkg:maven/org/text@-1", "pkg:maven/org/text@1:0", "pkg:maven/org%20x/text@1",
    "pkg:conan/Zlib@1.3", "pkg:conan/z@1", "pkg:conan/a1/b1/c1/zlib@1", "pkg:conan/zlib@1.3@x", "pkg:conan/zlib@V1",
    "pkg:docker/App@1", "pkg:docker/host:5000/app@1", "pkg:docker/app@-1", "pkg:docker/app@sha256:" + "ab" * 31,
    "pkg:docker/a__b__/app@1", "pkg:docker/a...b@1", "pkg:docker/app@sha256:" + "AB" * 32,
    f"pkg:generic/{NODE}/pypi/Idna@1.0", f"pkg:generic/{NODE}/pypi/x/idna@1.0", f"pkg:generic/{NODE}/maven/text@1.0",
    f"pkg:generic/{NODE}/conan/Zlib@1.3", f"pkg:generic/{NODE}/docker/App@1",
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


@pytest.mark.parametrize("text", [one for one in GOOD if one.partition("/")[0][4:] in purl.BUILT])
def test_every_package_that_is_built_has_its_name_under_each_node(text):
    package = purl.parse(text)
    own = purl.under(NODE, package)
    assert purl.parse(str(own)) == own
    assert (own.owner, own.package, own.type) == (NODE, package, "generic")
    assert own.versionless.package == package.versionless
    assert (package.owner, package.package) == ("", package)


def test_what_only_looks_like_an_own_name_is_nobodys():
    for text in (
        "pkg:generic/abc/pypi/idna@1", f"pkg:generic/{NODE}/idna@1", f"pkg:generic/{NODE.upper()}/pypi/idna@1",
        f"pkg:npm/{NODE}/pypi/idna@1", f"pkg:generic/x/{NODE}/pypi/idna@1",
    ):  # fmt: skip
        found = purl.parse(text)
        assert (found.owner, found.package) == ("", found)


_PARTS = st.lists(st.integers(0, 12), min_size=1, max_size=5).map(lambda row: ".".join(map(str, row)))


@given(
    st.sampled_from(["", "1!"]),
    _PARTS,
    st.sampled_from(["", "a0", "rc10", ".post0", ".dev1", "rc1.dev0", "+1.0"]),
)
def test_versions_that_pep_440_takes_for_one_have_one_short_spelling(epoch, release, rest):
    version = str(Version(f"{epoch}{release}{rest}"))
    assert purl.pypi_version(version) == canonicalize_version(version)
    assert Version(purl.pypi_version(version)) == Version(version)
    assert purl.pypi_version(f"{epoch}{release}.0.0{rest}") == purl.pypi_version(f"{epoch}{release}{rest}")
