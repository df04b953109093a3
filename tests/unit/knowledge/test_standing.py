"""Which facts stand at a moment: against the definition, and against lists that no log would hold."""

from hypothesis import given
from hypothesis import strategies as st

from pyrsia.knowledge.said import said as read
from pyrsia.knowledge.standing import (
    STANDS,
    SUPERSEDED,
    TO_COME,
    WITHDRAWN,
    changes_at,
    every,
    standing,
)
from tests.reference.governance import Governed, fact
from tests.reference.knowledge import name, said, stands


@st.composite
def logs(draw):
    """Facts of two authors that end each other as they please: later ones, their own selves, in circles."""
    count = draw(st.integers(1, 8))
    facts = []
    for leaf in range(count):
        fields = {"valid_from": draw(st.integers(0, 4))}
        ends = draw(st.none() | st.integers(0, count - 1))
        if ends is not None:
            fields["supersedes"] = name(ends)
            if draw(st.booleans()):
                fields["withdrawn"] = True
        facts.append(said(leaf, author=draw(st.sampled_from("ab")), **fields))
    return facts


@given(facts=logs(), now=st.integers(0, 5))
def test_what_stands_is_what_the_definition_says_whatever_the_list_is(facts, now):
    assert standing(facts, now) == tuple(one for one in facts if stands(one, facts, now))
    assert standing(reversed(facts), now) == standing(facts, now)


@given(facts=logs(), now=st.integers(0, 5))
def test_time_alone_changes_what_stands_when_it_is_said_to_and_not_before(facts, now):
    at = changes_at(facts, now)
    before = every(facts, now)

    assert all(every(facts, moment) == before for moment in range(now, 9 if at is None else at))
    if at is not None:
        assert every(facts, at) != before


def states(*facts, now=10):
    return [one.state for one in every(facts, now)]


def test_a_fact_is_replaced_or_taken_back_by_its_author():
    replaced = said(1, supersedes=name(0))
    gone = said(2, supersedes=name(1), withdrawn=True)

    assert states(said(0), replaced) == [SUPERSEDED, STANDS]
    assert states(said(0), replaced, gone) == [SUPERSEDED, WITHDRAWN]
    assert [one.by for one in every([said(0), replaced, gone], 0)] == [replaced, gone]


def test_what_is_to_come_silences_nothing_until_it_comes():
    """An announced correction of an advisory leaves the advisory in force."""
    facts = [said(0), said(1, supersedes=name(0), valid_from=20)]

    assert states(*facts, now=19) == [STANDS, TO_COME]
    assert states(*facts, now=20) == [SUPERSEDED, STANDS]
    assert changes_at(facts, 19) == 20
    assert changes_at(facts, 20) is None


def test_a_withdrawal_to_come_takes_back_nothing_until_it_comes():
    facts = [said(0), said(1, supersedes=name(0), withdrawn=True, valid_from=20)]

    assert states(*facts, now=19) == [STANDS]
    assert states(*facts, now=20) == [WITHDRAWN]


def test_a_replacement_that_was_taken_back_brings_nothing_back():
    facts = [
        said(0),
        said(1, supersedes=name(0), valid_from=5),
        said(2, supersedes=name(1), withdrawn=True, valid_from=5),
    ]

    assert states(*facts, now=10) == [SUPERSEDED, WITHDRAWN]


def test_an_announcement_that_is_taken_back_before_it_comes_ends_nothing():
    """An issuer announces a correction and thinks better of it: its warning was never silent, and is not now."""
    facts = [
        said(0),
        said(1, supersedes=name(0), valid_from=20),
        said(2, supersedes=name(1), withdrawn=True, valid_from=10),
    ]

    for now in (9, 10, 20, 99):
        assert states(*facts, now=now)[0] == STANDS
    assert states(*facts, now=9) == [STANDS, TO_COME]
    assert states(*facts, now=10) == [STANDS, WITHDRAWN]
    assert every(facts, 10)[0].by is None


def test_a_correction_of_an_announcement_comes_into_its_place_or_leaves_it_to_come():
    announced = [said(0), said(1, supersedes=name(0), valid_from=20)]
    sooner = said(2, supersedes=name(1), valid_from=10)
    taken_back = said(3, supersedes=name(2), withdrawn=True, valid_from=5)

    assert states(*announced, sooner, now=10) == [SUPERSEDED, SUPERSEDED, STANDS]
    assert states(*announced, sooner, taken_back, now=19) == [STANDS, TO_COME, WITHDRAWN]
    assert states(*announced, sooner, taken_back, now=20) == [SUPERSEDED, STANDS, WITHDRAWN]


def test_nobody_ends_anothers_fact_and_no_fact_an_unborn_one():
    assert states(said(0), said(1, author="other", supersedes=name(0))) == [STANDS, STANDS]
    assert states(said(0, supersedes=name(1)), said(1)) == [STANDS, STANDS]


def test_facts_that_end_each_other_run_in_no_circle():
    circle = [said(0, supersedes=name(1)), said(1, supersedes=name(0)), said(2, supersedes=name(2))]

    assert states(*circle) == [SUPERSEDED, STANDS, STANDS]


def test_what_is_ended_twice_ended_with_the_first():
    facts = [said(0), said(1, supersedes=name(0)), said(2, supersedes=name(0), withdrawn=True)]

    assert every(facts, 10)[0].by == facts[1]


def test_a_leaf_is_read_as_a_fact_and_others_are_none():
    world = Governed()
    raw = world.entry(world.follower, "fact.add", fact("licence", text="hello"))

    one = read(7, raw, "ab" * 32, 5)

    assert (one.leaf, one.time_ms, one.id, one.kind, one.body["text"]) == (
        7,
        5,
        "ab" * 32,
        "licence",
        "hello",
    )
    assert not one.is_withdrawal
    assert read(7, raw.replace(b"fact.add", b"fact.xxx"), "ab" * 32) is None
