"""Versions as their ecosystems compare them: against documents, against tables of what Maven says, against Conan."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pyrsia.knowledge.readers import MAX_VERSION_CHARS, compare, ordered, read
from tests.reference.knowledge import MADE

KINDS = sorted(MADE)


def sign(one, other):
    return (one > other) - (one < other)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_versions_compare_as_the_document_of_their_ecosystem_says(kind, data):
    one, other = data.draw(MADE[kind]), data.draw(MADE[kind])

    assert compare(kind, one.text, other.text) == sign(one.key, other.key)


# Said by Maven 3.9.11 itself (`ComparableVersion`), 3.8.7 alike; each is before the next.
MAVEN_ASCENDING = [
    "1.0.0-alpha-1",
    "1-alpha2",
    "1.0-beta-1",
    "1-b2",
    "1.0-M1",
    "1.0.M2",
    "1.0-RC1",
    "1.0.RC2",
    "1.0-SNAPSHOT",
    "1.0",
    "1.0.SP1",
    "1-sp-2",
    "1.0-android",
    "1.0-jre",
    "1.0-1",
    "1.0.1-SNAPSHOT",
    "1.0.1",
    "1.9",
    "1.10",
]
MAVEN_EQUAL = [
    ("1", "1.0.0"),
    ("1.0.GA", "1"),
    ("1.0.Final", "1.0"),
    ("5.2.4.RELEASE", "5.2.4"),
    ("1.0-cr1", "1.0.RC1"),
    ("1.0-a1", "1-alpha-1"),
    ("1.0X1", "1-x1"),
]
# Where the library by itself says otherwise than Maven does.
MAVEN_ORDER = [
    ("2.0.SP2", "2.0-rc1", 1),
    ("5.3.20.RELEASE", "5.3.21", -1),
    ("2.RELEASE", "2-sp1", -1),
    ("1.redhat-1", "1-rc1", -1),
    ("1.v20200101", "1-jre", 1),
    ("1.0.Final-redhat-1", "1.0.Final", 1),
]
MAVEN_UNREAD = [
    "2-RC1.release",  # 2-RC1.release.1 comes behind it, and the library says before
    "10cr.final.1",
    "2-20040616.release.10",
    "1.0.alpha1.release",
    "0a.ga.10",
    "1.0-0.2",
    "1-ga-1",
    "1-0-1",
    "1.0Final.20",
    "2-ga.1",
    "",
    "${revision}",
    "[1,2)",
    "1 0",
    "١.٢",
]


def test_maven_versions_stand_in_the_order_that_maven_says():
    for at, one in enumerate(MAVEN_ASCENDING):
        for then, other in enumerate(MAVEN_ASCENDING):
            assert compare("maven", one, other) == sign(at, then), (one, other)


@pytest.mark.parametrize(("one", "other"), MAVEN_EQUAL)
def test_maven_versions_that_differ_in_nothing_are_one(one, other):
    assert compare("maven", one, other) == compare("maven", other, one) == 0


@pytest.mark.parametrize(("one", "other", "order"), MAVEN_ORDER)
def test_maven_versions_are_ordered_as_maven_does_where_the_library_does_not(one, other, order):
    assert compare("maven", one, other) == order
    assert compare("maven", other, one) == -order


@pytest.mark.parametrize("text", MAVEN_UNREAD)
def test_a_maven_version_that_the_library_reads_wrongly_or_nobody_writes_is_not_read(text):
    assert compare("maven", text, "1.0") is None


PYPI_ASCENDING = [
    "0.9+local",
    "1.0.dev1",
    "1.0a1.dev1",
    "1.0a1",
    "1.0b2",
    "1.0rc1",
    "1.0",
    "1.0+abc",
    "1.0+abc.1",
    "1.0.post1",
    "1.1.dev0",
    "1!0.1",
]


def test_python_versions_stand_in_the_order_of_pep_440():
    for at, one in enumerate(PYPI_ASCENDING):
        for then, other in enumerate(PYPI_ASCENDING):
            assert compare("pypi", one, other) == sign(at, then), (one, other)
    assert compare("pypi", "1.0", "v1.0.0") == 0
    assert compare("pypi", "1.0", "2004d") is None


CONAN_TEXTS = st.from_regex(r"[0-9a-z_]{1,4}([.+-][0-9a-z_]{1,4}){0,4}", fullmatch=True)


@given(one=CONAN_TEXTS, other=CONAN_TEXTS)
def test_conan_versions_are_ordered_as_conan_itself_does(one, other):
    """It is its own oracle; 81 of 20,000 random pairs the library alone gets wrong."""
    conan = pytest.importorskip("conan.internal.model.version", reason="needs the client conan")
    left, right = conan.Version(one), conan.Version(other)

    assert compare("conan", one, other) == (0 if left == right else -1 if left < right else 1)


def test_hyphens_of_a_conan_pre_release_belong_to_it():
    assert compare("conan", "1.2-rc-x", "1.2") == -1
    assert compare("conan", "1-10-x", "2") == -1


@pytest.mark.parametrize("kind", KINDS)
@given(
    numbers=st.lists(st.integers(0, 30), min_size=1, max_size=6),
    others=st.lists(st.integers(0, 30), min_size=1, max_size=6),
)
def test_numbers_are_compared_as_the_library_would(kind, numbers, others):
    """The short way round the library gives what the library gives."""
    one, other = (".".join(map(str, part)) for part in (numbers, others))
    left, right = read(kind, one), read(kind, other)
    assume(left is not None and right is not None)

    assert compare(kind, one, other) == (0 if left.full == right.full else sign(left.full, right.full))


@pytest.mark.parametrize("kind", [*KINDS, "docker", "npm"])
@given(one=st.text(max_size=150), other=st.text(max_size=150))
def test_no_text_raises_anything_and_no_order_depends_on_who_comes_first(kind, one, other):
    order = compare(kind, one, other)

    assert order in (None, -1, 0, 1)
    assert compare(kind, other, one) == (None if order is None else -order)


HOSTILE = [
    "." * 100,
    "-" * 100,
    "1" * 100,
    "1a" * 50,
    "1.a" * 33,
    "1-" * 50,
    "0." * 49 + "1",
    "1!" * 50,
    "1+" * 50,
    "1.0.dev" * 14,
    "٣" * 20,
    "1\x00",
    "1\n",
    "²",
    "K",  # the Kelvin sign
    "a" * (MAX_VERSION_CHARS.value + 1),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_versions_are_read_or_not_and_never_raise(kind, text):
    assert compare(kind, text, "1.0") in (None, -1, 0, 1)
    assert compare(kind, text, text) == 0
    if not text.isascii() or len(text) > MAX_VERSION_CHARS.value:
        assert read(kind, text) is None


def test_a_maven_version_of_more_parts_than_anybody_writes_is_not_read():
    """Each is a list in a list: of 200 advisories with 64 ranges of them it took minutes to ask about one version."""
    assert read("maven", "1a" * 12) is not None
    assert read("maven", "1a" * 12 + "1") is None


def test_only_three_ecosystems_have_an_order():
    assert [kind for kind in ("pypi", "maven", "conan", "docker", "generic", "npm", "") if ordered(kind)] == [
        "pypi",
        "maven",
        "conan",
    ]
    assert compare("docker", "1.0", "1.1") is None
    assert compare("docker", "1.0", "1.0") == 0
