"""What an SPDX expression leaves to choose."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.knowledge.licences import MAX_DEPTH, MAX_EXPRESSION_CHARS, ids, permitted, tree

IDS = ["MIT", "Apache-2.0", "GPL-2.0-only", "GPL-2.0-only WITH Classpath-exception-2.0", "LicenseRef-ours"]


@st.composite
def expressions(draw, depth=2):
    """An expression, and what it means as nested tuples."""
    if depth == 0 or draw(st.booleans()):
        one = draw(st.sampled_from(IDS))
        return one, one
    word = draw(st.sampled_from(["AND", "OR", "and", "or"]))
    parts = [draw(expressions(depth=depth - 1)) for _ in range(draw(st.integers(2, 3)))]
    return f" {word} ".join(f"({text})" for text, _ in parts), (
        word.upper(),
        [meaning for _, meaning in parts],
    )


def allowed(meaning, allow, deny):
    """As the docstring says, by sets of whole names."""
    if isinstance(meaning, str):
        spelled = {meaning, meaning.partition(" WITH ")[0]}
        free = meaning.startswith("LicenseRef-")
        return not spelled & deny and (bool(spelled & allow) if allow else not (deny and free))
    word, parts = meaning
    answers = [allowed(part, allow, deny) for part in parts]
    return any(answers) if word == "OR" else all(answers)


NAMES = st.sets(st.sampled_from([*IDS, "BSD-3-Clause"]), max_size=3)


@given(expressions(), NAMES, NAMES)
def test_or_is_a_choice_and_and_asks_for_both(made, allow, deny):
    text, meaning = made
    if len(text) > MAX_EXPRESSION_CHARS.value:
        return

    found, why = permitted(text, allow, deny)

    assert found == allowed(meaning, allow, deny)
    assert why


@given(expressions(), NAMES, NAMES, NAMES)
def test_a_further_denial_never_permits(made, allow, deny, more):
    assert permitted(made[0], allow, deny | more)[0] <= permitted(made[0], allow, deny)[0]


@pytest.mark.parametrize(
    ("expression", "allow", "deny", "found"),
    [
        ("MIT", [], [], True),
        ("mit", ["MIT"], [], True),
        ("MIT OR GPL-3.0-only", ["MIT"], ["GPL-*"], True),
        ("MIT AND GPL-3.0-only", ["MIT", "GPL-*"], ["GPL-*"], False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", ["gpl-2.0-only"], [], True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", ["GPL-2.0-only WITH *"], [], True),
        ("GPL-2.0-only", ["GPL-2.0-only WITH *"], [], False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", [], ["GPL-2.0-only"], False),
        ("GPL-2.0+", [], ["GPL-2.0"], False),
        ("GPL-2.0", [], ["GPL-2.0-only"], False),
        ("GPL-2.0", [], ["GPL-2.0-or-later"], True),
        ("GPL-2.0+", [], ["GPL-2.0-or-later"], False),
        ("GPL-2.0-or-later", [], ["GPL-2.0+"], False),
        ("GPL-2.0-or-later", [], ["GPL-2.0"], False),
        ("GPL-2.0-or-later", [], ["GPL-2.0-only"], True),
        ("GPL-2.0-only", [], ["GPL-2.0-or-later"], True),
        ("GPL-2.0-only", [], ["GPL-2.0"], False),
        ("AGPL-3.0", [], ["AGPL-3.0-only"], False),
        ("lgpl-2.1+", [], ["LGPL-2.1-or-later"], False),
        ("GFDL-1.3", [], ["GFDL-1.3-only"], False),
        ("GPL-2.0", ["GPL-2.0-only"], [], True),
        ("GPL-2.0", ["GPL-2.0-or-later"], [], False),
        ("GPL-2.0-with-classpath-exception", [], ["GPL-2.0-only"], False),
        ("GPL-2.0-with-classpath-exception", [], ["GPL-2.0-only WITH Classpath-*"], False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", [], ["GPL-2.0-with-classpath-exception"], False),
        ("eCos-2.0", [], ["GPL-2.0-or-later"], False),
        ("BSD-2-Clause-NetBSD", ["BSD-2-Clause"], [], True),
        ("GPL", [], ["AGPL-3.0-only"], False),
        ("GPLv2", [], ["GPL-2.0-only"], False),
        ("Proprietary", [], ["GPL-*"], False),
        ("LicenseRef-ours", [], ["GPL-*"], False),
        ("LicenseRef-ours", ["*", "LicenseRef-ours"], ["GPL-*"], True),
        ("MIT OR LicenseRef-ours", [], ["GPL-*"], True),
        ("MIT AND LicenseRef-ours", [], ["GPL-*"], False),
        ("MIT WITH Ours-exception", [], ["GPL-*"], False),
        ("Apache-2.0+ AND MPL-1.1+ AND Net-SNMP", [], ["GPL-*"], True),
        ("A AND B OR C", ["C"], [], True),
        ("A AND (B OR C)", ["C"], [], False),
        ("LicenseRef-scancode-x", ["LicenseRef-*"], [], True),
        ("MIT", ["[M]IT"], [], False),
    ],
)
def test_patterns_mean_licences_and_deny_wins(expression, allow, deny, found):
    assert permitted(expression, allow, deny)[0] is found


UNREADABLE = [
    "",
    " ",
    "NOASSERTION",
    "NONE",
    "MIT AND NOASSERTION",
    "Apache License 2.0",
    "MIT/X11",
    "MIT AND",
    "(AND 0",
    "OR",
    "()",
    "(MIT",
    "MIT)",
    "MIT WITH",
    "(MIT OR BSD) WITH X",
    "MIT; BSD",
    "М\u0406T",
    "(" * (MAX_DEPTH.value + 1) + "MIT" + ")" * (MAX_DEPTH.value + 1),
    "(" * 200,
    "MIT AND " * 30 + "MIT",
]


@pytest.mark.parametrize("expression", UNREADABLE, ids=range(len(UNREADABLE)))
def test_what_is_no_expression_permits_nothing(expression):
    assert tree(expression) is None
    assert permitted(expression, ["*"], []) == (False, "it is no SPDX expression that can be read")
    assert ids(expression) == ()


@given(
    st.one_of(
        st.text(max_size=210),
        st.lists(st.sampled_from(["MIT", "(", ")", "AND", "OR", "WITH", "+"])).map(" ".join),
    )
)
def test_no_text_raises(expression):
    assert permitted(expression, ["MIT"], ["X*"])[0] in (True, False)


def test_the_licences_of_an_expression_are_told_once_each():
    assert ids("MIT OR (Apache-2.0 AND MIT) OR GPL-2.0-only WITH X") == (
        "MIT",
        "Apache-2.0",
        "GPL-2.0-only WITH X",
    )


def test_the_reason_names_the_licence_and_the_pattern():
    assert permitted("MIT AND GPL-3.0-only", [], ["GPL-*"])[1] == "GPL-3.0-only is denied by GPL-*"
    assert permitted("ISC", ["MIT"], [])[1] == "ISC is not among those allowed"
    assert permitted("ISC OR MIT", ["MIT"], [])[1] == "MIT is allowed by MIT"
