"""What a long or odd policy may cost: keys of many parts are refused before they are parsed, patterns are read once."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.ledger.matching import PurlGlob
from pyrsia.policy import dotted, naming, rules
from pyrsia.policy.evaluate import decide
from pyrsia.policy.facts import LOCAL, Facts
from pyrsia.policy.rules import MAX_POLICY_BYTES

HALF = (MAX_POLICY_BYTES.value - 100) // 2
LONG = "." * 200


@pytest.mark.parametrize(
    "text",
    [
        "a." * HALF + "a=1",
        "[a" + ".a" * (HALF - 3) + "]",
        "[[a" + " . a" * (HALF // 2 - 3) + "]]",
        "[all]\nx = {" + "a." * (HALF - 9) + "a=1}",
        '[all]\nx = """text""", ' + "a." * 100 + "a=1",
        '[all]\nx = """text"""""\n' + '"a".' * 100 + "a=1",
        "[all]\nx = '''it's''''\n" + "'a'." * 100 + "a=1",
    ],
    ids=range(7),
)
def test_a_key_of_thousands_of_parts_is_refused_before_it_is_parsed(text, monkeypatch):
    monkeypatch.setattr(tomllib, "loads", lambda _: pytest.fail("it was parsed"))
    with pytest.raises(Refusal, match="more than 32 dots outside of texts") as caught:
        rules.parse(text.encode(), "policy.toml")
    assert caught.value.code == "config-invalid"
    assert f"line {1 + text.count(chr(10))}:" in caught.value.what


def test_what_is_read_is_what_the_standard_library_reads_and_its_errors_are_that_ones():
    assert dotted.read("a.b = 1\n[c]\nd = 1.5") == {"a": {"b": 1}, "c": {"d": 1.5}}
    with pytest.raises(tomllib.TOMLDecodeError, match="line 2"):
        dotted.read("a = 1\n[b\n")
    with pytest.raises(dotted.TooManyParts, match="line 2"):
        dotted.read("a = 1\n" + "b." * 40 + "b = 1")


@pytest.mark.parametrize(
    "text",
    [
        f"# {LONG}\n",
        f'x = "{LONG}"',
        f"x = '{LONG}'",
        f'x = "\\"{LONG}"',
        f'x = """\n{LONG}\n\\"""{LONG}"""',
        f'x = """{LONG}""{LONG}"""""',
        f"x = '''{LONG}\n''{LONG}'''''",
        f"x = [{', '.join([chr(34) + 'pkg:maven/org.example/a.b@1.0' + chr(34)] * 50)}]",
    ],
    ids=range(8),
)
def test_dots_of_texts_and_comments_are_no_parts_of_a_key(text):
    tomllib.loads(text)
    assert dotted.line_of(text) == 0


@given(st.text(alphabet="a.\"'#\\=\n[] ", max_size=60), st.integers(0, 60))
def test_whatever_stands_before_it_a_long_key_that_would_be_parsed_is_found(text, at):
    """Told by the parser itself: what it reads as a key of many parts has been found."""
    made = text[:at] + "b." * 40 + "b = 1" + text[at:]
    try:
        document = tomllib.loads(made)
    except tomllib.TOMLDecodeError:
        return
    if "b." * 10 not in repr(document):  # no text, so a key, or a comment
        deep, here = 0, document
        while isinstance(here, dict) and "b" in here:
            deep, here = deep + 1, here["b"]
        assert deep < 40 or dotted.line_of(made) > 0


def test_patterns_are_matched_once_a_package(monkeypatch):
    globs = ", ".join(f'"pkg:pypi/bad-{at}"' for at in range(50))
    policy = rules.parse(f"[all]\ndeny = [{globs}]\n".encode(), "policy.toml")
    matched, matches = [], PurlGlob.matches
    monkeypatch.setattr(PurlGlob, "matches", lambda glob, purl: matched.append(glob) or matches(glob, purl))
    facts = Facts("pkg:pypi/idna@1.0", LOCAL)
    first = decide(policy, facts, 0)
    before = len(matched)
    assert [decide(policy, facts, 0) for _ in range(3)] == [first] * 3
    assert before >= 50
    assert len(matched) == before


def test_packages_that_are_asked_about_take_bounded_room(monkeypatch):
    monkeypatch.setattr(rules, "MAX_NAMED", naming.Limit(3, "a test's"))
    policy = rules.parse(b'[all]\ndeny = ["pkg:pypi/bad*"]\n', "policy.toml")
    for at in range(10):
        assert not decide(policy, Facts(f"pkg:pypi/bad-{at}@1", LOCAL), 0).allowed
        assert decide(policy, Facts(f"pkg:pypi/good-{at}@1", LOCAL), 0).allowed
        assert len(policy._named) <= 3
