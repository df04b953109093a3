"""A mistake in policy.toml is told in words for who wrote it: the line, what is wrong, what to write."""

import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.policy import wording
from pyrsia.policy.rules import parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[all]\nissuers = ["amber"]', "line 2: all.issuers[0]: a node's id is 52 small letters and digits"),
        ('[pip]\nbuilders = ["amber"]', "`pyrsia member show NAME` has it"),
        ("[all]\nmax_severity = high", "line 2: what stands here is no value; a text stands in quotes"),
        ('[all]\nagreeing = "2"',
         "line 2: all.agreeing: a whole number without quotes is expected, not a text in quotes"),
        ("[all]\ndeny = 3", "all.deny: a list in brackets is expected, not a whole number without quotes"),
        ("[all]\nagreeing = 0", "all.agreeing: 1 at least"),
        ("[all]\nagreeing = 101", "all.agreeing: 100 at most"),
        ('[all]\nupstream = []', "all.upstream: 1 of them at least"),
        ('[all]\noperators = [""]', "all.operators[0]: 1 characters at least"),
        ('[all]\naccept = [{ advisory = "", until = 2026-12-31, reason = "x" }]',
         "an advisory's id is 1 to 64 characters"),
        ('[all]\naccept = [{ advisory = "A", until = 2026-12-31T00:00:00Z, reason = "x" }]',
         "all.accept[0].until: a day without quotes, as in 2026-12-31 is expected, not a day with a time"),
        ('[all]\naccept = [{ advisory = "A", until = "soon", reason = "x" }]',
         "it is no date; write one as in 2026-12-31"),
        ('[all]\naccept = [{ advisory = "A", until = 2026-12-31, reason = " " }]',
         "a reason is a text that says something"),
        ('[all]\naccept = [{ advisory = "A", until = 2026-12-31 }]', "all.accept[0] has no `reason`"),
        ("[all]\n[all]", "line 2: the table [all] stands here twice"),
        ("[all]\nagreeing = 2\nagreeing = 3", "a key stands twice in one table"),
        ('[all]\nminimum = "x', "at its end: a text has no quote at its end"),
        ("[all]\nmax_severty = 3", "line 2: there is no key all.max_severty; did you mean max_severity?"),
        ("[piip]\nagreeing = 2", "line 1: there is no key piip; did you mean pip?"),
        ("[all]\nzzzz = 2", "line 2: there is no key all.zzzz"),
        ('[all]\ndeny = ["pkg:pypi/idna>=3"]', "versions are no comparison: write pkg:pypi/idna@3.*"),
        ('[all]\ndeny = ["pkg:pypi/idna@>=3"]', "a version is matched by `*` and `?`, not by comparison"),
        ("[all]\nagreeing = 2 3", "line 2: something stands behind a value"),
        ("[all\nagreeing = 2", "the name of a table has no ] behind it"),
        ('[all]\nminimum = "a\\q"', "line 2: a backslash in a text stands twice"),
    ],
)  # fmt: skip
def test_every_common_mistake_has_a_sentence_of_ours(text, expected):
    with pytest.raises(Refusal) as caught:
        parse(text.encode(), "policy.toml")
    assert expected in caught.value.what
    assert re.search(r"Expected|\\A|`str`|matching regex|Invalid", caught.value.what) is None


@given(st.text("[]=\"'{}#\\\n .,a1", max_size=30))
def test_no_text_makes_the_sentence_itself_fail(text):
    said = ""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = str(error)
    assert bool(wording.of_syntax(said)) is bool(said)


@given(st.text(max_size=60))
def test_a_sentence_that_is_not_known_is_passed_on(text):
    assert bool(wording.of_syntax(text)) is bool(text)
    assert isinstance(wording.readable(text)[1], str)
