"""On which line a key stands: of every way in which TOML may write it, against `tomllib`, and of a whole policy."""

import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.policy.lines import line_of
from pyrsia.policy.rules import MAX_POLICY_BYTES, parse

TEXT = '''# [not.a.table]
top = 1
"quoted key" = """
[no] = "table"
x = 3
"""
[a]
b.c = 'it''s'
list = [ # with a remark ]
  1,
  [2, "]", 3],  # and another
  { x = 1, y = { z = 2 } },
]
[[t]]
k = 1
[t.sub]
k = 2
[[t.deep]]
k = 3
[[t.deep]]
k = 4
[[t]]
k = 5
[t."s.u.b"]
"k\\u0041" = 1979-05-27 07:32:00
[[t.deep]]
'k' = inf
'''.replace("'it''s'", "'its'")


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("top",), 2),
        (("quoted key",), 3),
        (("a",), 7),
        (("a", "b", "c"), 8),
        (("a", "list", 0), 10),
        (("a", "list", 1, 2), 11),
        (("a", "list", 2, "y", "z"), 12),
        (("t",), 14),
        (("t", 0, "k"), 15),
        (("t", 0, "sub", "k"), 17),
        (("t", 0, "deep", 0, "k"), 19),
        (("t", 0, "deep", 1, "k"), 21),
        (("t", 1), 22),
        (("t", 1, "k"), 23),
        (("t", 1, "s.u.b", "kA"), 25),
        (("t", 1, "deep", 0, "k"), 27),
        (("t", 1, "deep", 0, "gone"), 26),
        (("a", "gone", 3), 7),
        (("gone",), 0),
        ((), 0),
    ],
)
def test_a_key_is_found_however_it_is_written(place, line):
    assert line_of(TEXT, place) == line


def walked(value, place=()):
    if place:
        yield place
    if isinstance(value, dict):
        for key, item in value.items():
            yield from walked(item, (*place, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from walked(item, (*place, number))


def test_every_key_and_element_that_tomllib_reads_has_its_line():
    for place in walked(tomllib.loads(TEXT)):
        assert line_of(TEXT, place) > 0
        assert place[-1] != "k" or "k" in TEXT.splitlines()[line_of(TEXT, place) - 1]


@example("0:{", [])
@example("a=[", [])
@given(st.text(max_size=200), st.lists(st.sampled_from(["a", "b", 0, 1]), max_size=3))
def test_any_text_whatever_has_a_line_or_none(text, place):
    """What `tomllib` refuses is never asked about; a wrong line would be a pity, an exception a bug."""
    assert 0 <= line_of(text, tuple(place)) <= text.count("\n") + 1


def test_text_that_nests_without_end_is_answered():
    assert line_of("x = " + "[" * 100_000, ("x",)) == 1


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("[all]\nagreeing = 2\n\nmax_severty = 'high'\n", 4, "there is no key all.max_severty"),
        ("[all]\n[pip]\n[pipp]\n", 3, "there is no key pipp"),
        ("mode = 'proxy'\n", 1, "there is no key mode"),
        ("all.agreeing = 2\nall.agreing = 2\n", 2, "there is no key all.agreing"),
        ("all = { agreeing = 2, agreing = 3 }\n", 1, "there is no key all.agreing"),
        ("[all]\nmax_severity = 'hihg'\n", 2, "all.max_severity: "),
        ("[all]\ndeny = [\n  'pkg:pypi/a',\n  'pkg:pypi/B*',\n]\n", 4, "[all] deny: 'pkg:pypi/B*': it matches nothing"),
        ("[all]\n\nallow = ['*',\n3]\n", 4, "all.allow[1]: "),
        ("[[all.accept]]\nadvisory = 'A'\nuntil = 2026-12-31\nreason = 'r'\n[[all.accept]]\nadvisory = 'B'\n"
         "until = 2026-12-31\n", 5, "all.accept[1] has no `reason`"),
        ("[[all.accept]]\nadvisory = 'A'\nuntil = 2026-12-31\nreason = ' '\n", 4, "all.accept[0].reason: "),
        ("[[all.accept]]\nadvisory = 'A'\nuntil = 'soon'\nreason = 'r'\n", 3, "all.accept[0].until: "),
        ("[[all.accept]]\nadvisory = 'A'\nuntil = 2026-12-31T00:00:00Z\nreason = 'r'\n", 3, "all.accept[0].until: "),
        ("[[all.accept]]\nadvisory = 'A'\nreason = 'r'\n", 1, "all.accept[0] has no `until`"),
        ("[all]\naccept = [\n  { advisory = 'A', until = 2026-12-31, reason = 'r' },\n"
         "  { advisory = 'B', untill = 2026-12-31, reason = 'r' },\n]\n", 4, "all.accept[1]"),
        ("[[pip.accept]]\nadvisory = 'A'\nuntil = 2026-12-31\nreason = 'r'\npackages = ['*', 'pkg:npm/x']\n", 5,
         "[pip] accept.packages: 'pkg:npm/x': it matches nothing"),
        ("[pip]\nlicences_allow = ['MIT',\n 'Apache']\n", 3, "'Apache': it matches nothing"),
        ("[pip]\nlicences_deny = ['GPL3*']\n", 2, "'GPL3*': it matches nothing"),
        ("[pip]\nlicences_allow = ['MIT OR Apache-2.0']\n", 2, "no expression"),
        ("[pip]\nissuers = ['x']\n", 2, "pip.issuers[0]: "),
        ("[all]\nsbom = true\n", 2, "all.sbom: "),
        ("[[rule]]\npackages = ['pkg:pypi/a']\nagreeing = 1\n[[rule]]\npackages = ['pkg:pypi/b']\nmode = 'proxy'\n", 6,
         "there is no key rule[1].mode"),
        ("[[rule]]\nagreeing = 1\n", 1, "rule[0] has no `packages`"),
        ("[[rule]]\npackages = []\nagreeing = 1\n", 2, "rule[0].packages: "),
        ("[[rule]]\npackages = ['*']\n", 1, "[[rule]] 1 says nothing of its packages"),
        ("[[rule]]\npackages = ['*']\nmax_head_age_s = 3\n", 3, "there is no key rule[0].max_head_age_s"),
        ("[[rule]]\npackages = ['*', 'pkg:pypi/A']\nsbom = 'any'\n", 2, "[[rule]] 1 packages: 'pkg:pypi/A': "),
        ("[all]\nagreeing = 2\nagreeing = 3\n", 3, "line 3"),
        ("[all]\n[pip]\n[all]\n", 3, "line 3"),
        ("[all]\nuntil = 2026-02-30\n", 2, ""),
    ],
)  # fmt: skip
def test_a_typo_in_a_policy_is_told_with_its_line(text, line, told):
    with pytest.raises(Refusal) as caught:
        parse(text.encode(), "policy.toml")
    assert (caught.value.code, caught.value.who) == ("config-invalid", "policy.toml")
    assert told in caught.value.what
    if told:
        assert f"line {line}" in caught.value.what


def test_the_line_of_a_typo_in_the_longest_policy_is_found_at_once():
    lines = MAX_POLICY_BYTES.value // 30
    text = "[all]\n" + "# a remark of some length\n" * lines + "agreing = 2\n"
    with pytest.raises(Refusal, match=f"line {lines + 2}: there is no key all.agreing"):
        parse(text.encode(), "p")
