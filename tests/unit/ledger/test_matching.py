"""What a glance at a leaf says is what parsing it says; patterns mean what people expect and never hang."""

import fnmatch
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.ledger import entries, glance
from pyrsia.ledger.matching import KINDS, MAX_PATTERN_CHARS, MAX_STARS, Filter, PurlGlob, packages_of
from pyrsia.wire.text import b32
from tests.reference.ledger import World
from tests.reference.story import Story


@pytest.fixture(scope="module")
def story():
    return Story(dissenter=True)


def nobody(request):
    return ""


def test_a_glance_at_every_leaf_says_what_parsing_it_says(story):
    kinds = set()
    for leaf in story.world.leaves:
        entry = entries.parse(leaf)
        kinds.add(entry.kind)
        assert glance.kind(leaf) == entry.kind
        assert glance.author(leaf) == ("" if entry.author is None else b32(entry.author))
        refers = entry.kind.startswith("build.") and entry.kind != "build.request"
        assert glance.reference(leaf) == (entry.body["request"] if refers else "")
        assert glance.verdict(leaf) == entry.body.get("verdict", "")
        assert glance.packages(leaf) == tuple(entry.body[name] for name in ("purl",) if name in entry.body)
        seal = glance.seal(leaf)
        assert (seal is not None) == (entry.kind == "block.seal")
        if seal is not None:
            assert (seal.first_leaf, seal.time_ms) == (entry.body["first_leaf"], entry.body["time_ms"])
    assert len(kinds) >= 8
    assert kinds <= KINDS


TRICKS = [
    '"type":"block.seal","v":1}',
    ',"type":"build.verdict","until":5,"v":1}',
    '"purl":"pkg:pypi/evil@1"',
    "pkg:pypi/evil@1",
    '"verdict":"DIVERGED"',
    '\\"verdict\\":\\"DIVERGED\\"',
    '{"author":"' + "a" * 52 + '"',
    '"request":"' + "0" * 64 + '"',
]


@settings(max_examples=150, deadline=None)
@given(text=st.one_of(st.sampled_from(TRICKS), st.text(max_size=60)), more=st.sampled_from(["", *TRICKS]))
def test_no_text_inside_an_entry_can_pretend_to_be_its_fields(text, more):
    world = WORLD
    subject = "pkg:pypi/idna@1.0"
    body = {"kind": "description", "subject": subject, "text": (text + more)[:900], "valid_from": 1}
    try:
        leaf = world.entry(world.follower, "fact.add", body)
    except ValueError:  # a lone surrogate or the like is no text of an entry
        return
    assert glance.kind(leaf) == "fact.add"
    assert glance.author(leaf) == b32(world.follower.public)
    assert (glance.reference(leaf), glance.verdict(leaf), glance.seal(leaf)) == ("", "", None)
    assert glance.packages(leaf) == (subject,)


WORLD = World()


@given(st.binary(max_size=200))
def test_a_glance_at_any_bytes_raises_nothing(data):
    for look in (glance.kind, glance.author, glance.packages, glance.reference, glance.verdict, glance.seal):
        look(data)
    assert not Filter(kinds=frozenset(["fact.add"]), author="a").passes(data, nobody)


# -- patterns --


@pytest.mark.parametrize(
    ("pattern", "purl", "yes"),
    [
        ("pkg:pypi/idna", "pkg:pypi/idna@3.7", True),
        ("pkg:pypi/idna", "pkg:pypi/idna", True),
        ("pkg:pypi/idna", "pkg:pypi/idna-ssl@1", False),
        ("pkg:pypi/idna@3.7", "pkg:pypi/idna@3.7", True),
        ("pkg:pypi/idna@3.7", "pkg:pypi/idna@3.70", False),
        ("pkg:pypi/idna@3.7", "pkg:pypi/idna", True),
        ("pkg:pypi/idna@3.7", "pkg:pypi/idna@%3C4", True),
        ("pkg:pypi/idna@3.7", "pkg:pypi/other", False),
        ("pkg:pypi/idna@3.*", "pkg:pypi/idna@3.10.1", True),
        ("pkg:pypi/idna@3.*", "pkg:pypi/idna@4.0", False),
        ("pkg:pypi/idna@", "pkg:pypi/idna@1", False),
        ("pkg:pypi/*", "pkg:pypi/a@1", True),
        ("pkg:pypi/*", "pkg:npm/a@1", False),
        ("*", "pkg:npm/%40scope/a@1", True),
        ("pkg:*/idna", "pkg:pypi/idna@1", True),
        ("pkg:pypi/i?na", "pkg:pypi/idna@1", True),
        ("pkg:pypi/i?na", "pkg:pypi/ina@1", False),
        ("pkg:pypi/i.na", "pkg:pypi/idna@1", False),
        ("pkg:pypi/[i]dna", "pkg:pypi/idna", False),
    ],
)
def test_patterns_mean_what_people_expect(pattern, purl, yes):
    assert PurlGlob.parse(pattern).matches(purl) is yes


LETTERS = st.text("ab*?", max_size=8)


@settings(max_examples=300)
@given(pattern=LETTERS, text=st.text("ab", max_size=12))
def test_a_pattern_matches_as_the_slow_definition_says(pattern, text):
    slow = fnmatch.fnmatchcase(text, pattern)
    assert PurlGlob.parse("pkg:" + pattern).matches("pkg:" + text) is slow


@pytest.mark.parametrize(
    "pattern",
    ["", "idna", "pkg:a b", "pkg:\n", "pkg:é", "pkg:\x1b", 'pkg:"', "pkg:" + "a" * MAX_PATTERN_CHARS.value,
     "*" * (MAX_STARS.value + 1)],
)  # fmt: skip
def test_what_is_no_pattern_is_refused(pattern):
    with pytest.raises(Malformed):
        PurlGlob.parse(pattern)


def test_no_pattern_of_a_stranger_takes_long():
    worst = PurlGlob.parse("pkg:" + "*a" * MAX_STARS.value + "b")
    began_s = time.perf_counter()
    assert not worst.matches("pkg:" + "a" * 20_000)
    assert time.perf_counter() - began_s < 1


def test_only_a_pattern_for_one_package_names_it():
    assert PurlGlob.parse("pkg:pypi/idna@3.*").package == "pkg:pypi/idna"
    assert PurlGlob.parse("pkg:pypi/i*").package == ""
    assert PurlGlob.parse("pkg:pypi/Idna").package == ""


# -- filters --


def test_each_field_asks_for_what_it_says(story):
    leaves = story.world.leaves
    purl = json.loads(leaves[story.artifact.leaf])["body"]["purl"]

    def of_request(request):
        return purl if request == story.request else ""

    def picked(**fields):
        wanted = Filter(**fields)
        return {i for i, leaf in enumerate(leaves) if wanted.passes(leaf, of_request)}

    everything = set(range(len(leaves)))
    assert picked() == everything
    assert picked(kinds=frozenset(["build.commit"])) == set(story.kinds("build.commit"))
    assert picked(author=b32(story.builders[0].public)) == {
        i for i, leaf in enumerate(leaves) if entries.parse(leaf).author == story.builders[0].public
    }
    assert picked(verdicts=frozenset(["REPRODUCED"])) == {
        *story.kinds("build.verdict"),
        *story.kinds("artifact.add"),
    }
    # Everything of the build, although most of its entries name the request alone.
    assert picked(purls=(PurlGlob.parse("pkg:pypi/idna"),)) == set(story.leaves())
    assert picked(purls=(PurlGlob.parse("pkg:pypi/other"), PurlGlob.parse("pkg:npm/*"))) == set()
    by_digest = picked(digests=(story.sha256,))
    assert story.artifact.leaf in by_digest
    assert by_digest < set(story.leaves())
    assert picked(purls=(PurlGlob.parse("pkg:npm/*"),), digests=(story.sha256,)) == by_digest


def test_a_request_that_nobody_knows_is_about_no_package(story):
    commit = story.world.leaves[story.kinds("build.commit")[0]]
    assert packages_of(commit, nobody) == ()
    assert packages_of(commit, lambda _: "pkg:pypi/idna@1.0") == ("pkg:pypi/idna@1.0",)
