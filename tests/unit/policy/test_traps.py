"""Traps that local policies of other systems fell into, each as a test: what is counted, over whom, and how it rounds.

There: a share of those that answered, so that silencing builders raises it; two thirds of four rounded down; an absent
answer that is no answer at all; one builder that counts as often as it is listed.
"""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.knowledge.known import Advisory, Known, Licence
from pyrsia.policy.evaluate import decide
from pyrsia.policy.facts import NETWORK, Agreeing, Facts
from pyrsia.policy.rules import parse

NOW_MS = 1_800_000_000_000
OPERATORS = ["org A", "org B", "org C", "org D", "org E"]
NODES = [letter * 52 for letter in "abcde"]
EVERYBODY = tuple(Agreeing(node, who, "namespace") for node, who in zip(NODES, OPERATORS, strict=True))
FILE = Facts(
    purl="pkg:pypi/idna@3.10", origin=NETWORK, file="idna.whl", status="REPRODUCED", agreeing=EVERYBODY
)
FIVE = f"operators = {OPERATORS}".replace("'", '"')


def allowed(text, agreeing=EVERYBODY, **more):
    policy = parse(f"[all]\n{text}\n".encode(), "p")
    return decide(policy, dataclasses.replace(FILE, agreeing=tuple(agreeing), **more), NOW_MS).allowed


@given(st.integers(1, 5), st.permutations(EVERYBODY))
def test_silencing_builders_never_raises_the_share(needed, order):
    """It is counted over those who were chosen, whoever answers: fewer answers are never more agreement."""
    for answered in range(6):
        assert allowed(f"{FIVE}\nagreeing = {needed}", order[:answered]) == (answered >= needed)


def test_two_of_two_that_answered_are_not_three_of_five():
    assert not allowed(f"{FIVE}\nagreeing = 3", EVERYBODY[:2])


@pytest.mark.parametrize("share", ["0.5", "2.0", '"67%"', '"2/3"', "0", "-1"])
def test_there_is_no_share_to_round_only_whole_numbers(share):
    with pytest.raises(Refusal, match="agreeing"):
        parse(f"[all]\nagreeing = {share}\n".encode(), "p")


@pytest.mark.parametrize(("needed", "there"), [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4)])
def test_one_too_few_is_too_few_whatever_the_numbers(needed, there):
    assert not allowed(f"{FIVE}\nagreeing = {needed}", EVERYBODY[:there])
    assert allowed(f"{FIVE}\nagreeing = {needed}", EVERYBODY[:needed])


def test_an_absent_answer_is_a_no():
    assert not allowed(FIVE, ())
    assert not allowed(FIVE, EVERYBODY[:1])


def test_who_must_be_more_than_there_are_is_never_lowered_to_those_that_there_are():
    assert not allowed('operators = ["org A"]\nagreeing = 2')


def test_a_builder_that_is_listed_twice_counts_once():
    twice = f'builders = ["{NODES[0]}", "{NODES[0]}"]'
    assert not allowed(twice, EVERYBODY[:1])
    assert not allowed(twice, (EVERYBODY[0], EVERYBODY[0]))
    assert not allowed(f'{twice}\noperators = ["org A"]', (EVERYBODY[0], EVERYBODY[0]))


def test_many_builders_of_one_operator_are_one_voice():
    many = tuple(Agreeing(node, "org A", "namespace") for node in NODES)
    assert not allowed("agreeing = 2", many)
    assert not allowed(f"builders = {NODES}".replace("'", '"'), many)


def test_builders_that_nobody_chose_add_nothing():
    assert not allowed('operators = ["org A", "org B"]', (EVERYBODY[0], *EVERYBODY[2:]))


def test_what_nobody_knows_is_no_good_news():
    """A node that was told nothing yet, or only a part, must not answer as if there were nothing."""
    assert not allowed('max_severity = "critical"', known=None)
    assert not allowed('max_severity = "critical"', known=Known(9, whole=False))
    assert allowed('max_severity = "critical"', known=Known(9, whole=True))


def test_a_severity_that_nobody_knows_and_a_version_that_nobody_can_compare_pass_no_ceiling():
    def known(severity, sure):
        return Known(9, True, (Advisory("CVE-1", (), severity, "", "", sure, "", NODES[0], 3),))

    assert not allowed('max_severity = "critical"', known=known("unknown", True))
    assert not allowed('max_severity = "critical"', known=known("low", False))
    assert allowed('max_severity = "critical"', known=known("critical", True))
    assert allowed('max_severity = "any"', known=known("unknown", False))


def test_no_line_reads_as_a_pass_beside_an_advisory_that_is_against_it():
    policy = parse(b'[all]\nmax_severity = "medium"\n', "p")

    def said(severity):
        known = Known(9, True, (Advisory("CVE-1", (), severity, "", "", True, "", NODES[0], 3),))
        reasons = decide(policy, dataclasses.replace(FILE, known=known), NOW_MS).reasons
        return [one.allows for one in reasons if one.rule == "max_severity"]

    assert said("high") == [False]
    assert said("low") == [True, True]


def test_a_word_that_lifts_counts_from_nobody_who_was_not_named():
    advisory = Advisory(
        "CVE-1", (), "high", "", "", True, "", NODES[0], 3, vex=((NODES[1], "not-affected", 4),)
    )
    known = Known(9, True, (advisory,))
    assert not allowed('max_severity = "low"', known=known)
    assert not allowed(f'max_severity = "low"\nvex_issuers = ["{NODES[0]}"]', known=known)
    assert allowed(f'max_severity = "low"\nvex_issuers = ["{NODES[1]}"]', known=known)
    other = dataclasses.replace(advisory, vex=(*advisory.vex, (NODES[2], "affected", 5)))
    both = f'max_severity = "low"\nvex_issuers = ["{NODES[1]}", "{NODES[2]}"]'
    assert not allowed(both, known=Known(9, True, (other,)))  # those whose word lifts do not agree


MANY = f'issuers = ["{NODES[0]}"]'


@pytest.mark.parametrize(
    ("text", "kind", "passes"),
    [
        ('max_severity = "medium"', "licence", True),  # anybody may say those
        ('max_severity = "medium"', "sbom", True),
        ('max_severity = "medium"', "advisory", False),
        ('max_severity = "medium"', "vex", True),  # nobody's lifts
        (f'max_severity = "medium"\nvex_issuers = ["{NODES[1]}"]', "vex", False),
        (f'max_severity = "medium"\n{MANY}', "advisory", True),
        ('licences_deny = ["GPL-*"]', "licence", False),
        (f'licences_deny = ["GPL-*"]\n{MANY}', "licence", True),
        ('licences_deny = ["GPL-*"]', "advisory", True),
    ],
)
def test_who_says_too_much_is_left_out_where_that_could_hide_a_word_against(text, kind, passes):
    known = Known(9, True, licences=(Licence("MIT", NODES[0], 3),), beyond=((NODES[1], kind),))
    assert allowed(text, known=known) == passes


def test_a_licence_of_the_package_that_a_copy_is_of_speaks_against_it_and_not_for_it():
    def licensed(*said):
        return Known(9, True, licences=said)

    text = 'licences_deny = ["GPL-*"]'
    theirs, own = Licence("MIT", NODES[0], 3, copied=True), Licence("MIT", NODES[0], 4)
    assert not allowed(text, known=licensed(theirs))
    assert allowed(text, known=licensed(theirs, own))
    assert not allowed(text, known=licensed(Licence("GPL-2.0-only", NODES[0], 3, copied=True), own))
