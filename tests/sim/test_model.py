"""The voting rules hold in every run of a small network, and each of them is needed."""

from dataclasses import replace

import pytest

from tests.sim.model import Facts, Rules, Violation, agreement, lemmas, walk, walk_straight

RULES = Rules(honest=3, liars=1)


def test_three_honest_and_one_liar_agree_in_every_run_of_three_views() -> None:
    histories, seen = walk(RULES, 3)

    assert (seen.states, seen.steps, seen.blamed) == (9_530, 19_093, 0)
    assert any(facts.finalized for history in histories for facts in history[1:])
    assert any(facts.notarized and facts.nullified for history in histories for facts in history)


def test_walking_view_by_view_leaves_no_interleaving_out() -> None:
    """All steps of two views in every order reach exactly the same certificates."""
    straight, seen = walk_straight(RULES, 2)

    assert seen.states == 23_303
    assert straight == walk(RULES, 2)[0]


def test_five_honest_and_two_liars_agree_in_every_run_of_two_views() -> None:
    _, seen = walk(Rules(honest=5, liars=2, variants=5), 2)

    assert seen.states > 5_000
    assert seen.blamed == 0


NEEDED = {
    "a block that skips a view proves that it was given up": replace(RULES, gap=False),
    "one NOT in a view": replace(RULES, one_not=False, variants=2),
    "no NUL after FIN": replace(RULES, fin_bars_nul=False),
    "no FIN after NUL": replace(RULES, nul_bars_fin=False),
    "a quorum is n - f": replace(RULES, quorum_less=1),
}


@pytest.mark.parametrize("rule", NEEDED)
def test_without_a_rule_the_chain_forks(rule: str) -> None:
    with pytest.raises(Violation, match=r"agreement: .* are both final"):
        walk(NEEDED[rule], 3, agreement)


@pytest.mark.parametrize("rule", NEEDED)
def test_without_a_rule_some_lemma_of_the_argument_is_false(rule: str) -> None:
    with pytest.raises(Violation):
        walk(NEEDED[rule], 3, lemmas)


BLAMED = {
    "no NOT after FIN": replace(RULES, fin_bars_not=False),
    "no FIN of another block than the own NOT's": replace(RULES, own_block=False),
}


@pytest.mark.parametrize("rule", BLAMED)
def test_without_a_rule_the_honest_can_be_convicted(rule: str) -> None:
    """These rules guard no lemma: the chain stays one without them, but evidence would name the innocent."""
    _, seen = walk(BLAMED[rule], 3)

    assert seen.blamed > 0


def test_a_quorum_of_other_certificates_is_no_violation() -> None:
    block = (1, (0, None, 0), 0)
    start = Facts(frozenset({(0, None, 0)}), False, frozenset({(0, None, 0)}))
    both = Facts(frozenset({block}), True, frozenset())

    lemmas((start, both))

    with pytest.raises(Violation, match="given up and made final"):
        lemmas((start, Facts(frozenset({block}), True, frozenset({block}))))
