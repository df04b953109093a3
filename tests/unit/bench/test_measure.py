"""Rounds in turns, paired ratios, units: what a figure of the bench is made of."""

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.measure import CLOCKS, Effort, Figure, Timed, budget, interleaved
from bench.harness.rows import Row, key
from bench.harness.stats import ratios, spread

EFFORT = Effort(least=4, most=8, budget_s=10.0, round_s=0.0)
ROW = Row("area/what", "words", "ns per node")


def clock(step_s: float):
    """A clock that goes on by `step_s` at each look."""
    at = -step_s

    def now_s() -> float:
        nonlocal at
        at += step_s
        return at

    return now_s


def test_halves_take_turns_and_the_order_turns_each_round():
    calls: list[str] = []

    def half(name: str):
        return lambda: calls.append(name) or 1.0

    interleaved([half("a"), half("b"), half("c")], Effort(3, 3, 0.0, 0.0))

    assert "".join(calls) == "abc" + "cba" + "abc"


@pytest.mark.parametrize(("step_s", "rounds"), [(0.0, 8), (100.0, 4), (5.1, 5)])
def test_rounds_end_with_the_budget_but_never_before_the_least_or_after_the_most(step_s, rounds):
    figures = interleaved([lambda: 1.0, lambda: 2.0], EFFORT, clock(step_s))

    assert figures == [[1.0] * rounds, [2.0] * rounds]


def test_a_machine_that_slows_down_for_a_while_does_not_move_the_ratio():
    """The subject takes twice its baseline; the machine drifts by a factor of eight meanwhile."""
    slow = iter([1, 1, 2, 4, 8, 8, 8, 3, 1, 1, 1, 1, 1, 1, 1, 1])
    now = 1.0

    def subject() -> float:
        nonlocal now
        now = float(next(slow))
        return 2 * now

    ours, theirs = interleaved([subject, lambda: now], Effort(1, 1, 0.0, 0.0))
    for _ in range(7):
        one, other = interleaved([subject, lambda: now], Effort(1, 1, 0.0, 0.0))
        ours, theirs = ours + one, theirs + other

    assert spread(ratios(ours, theirs)) == (2.0, 2.0, 2.0)
    assert spread(ours).q3 > 2 * spread(ours).q1


def test_the_collector_rests_inside_a_half_and_not_between_halves():
    seen: list[bool] = []

    interleaved([lambda: seen.append(gc.isenabled()) or 1.0], Effort(1, 1, 0.0, 0.0))

    assert seen == [False]
    assert gc.isenabled()


def test_a_half_that_fails_leaves_the_collector_as_it_was():
    def fail() -> float:
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        interleaved([fail], EFFORT)

    assert gc.isenabled()


def test_a_short_call_is_repeated_until_the_clock_can_tell_and_counted_by_items(monkeypatch):
    calls = 0
    at_s = 0.0

    def call() -> None:
        nonlocal calls, at_s
        calls += 1
        at_s += 0.001

    monkeypatch.setitem(CLOCKS, "wall", lambda: at_s)
    one_round = Timed(call, items=10).halves(ROW, 0.0095)
    warm_up = calls

    assert one_round() == pytest.approx(100_000.0)  # a millisecond for ten nodes
    assert calls - warm_up == 10


def test_ground_that_is_made_before_each_call_is_not_timed(monkeypatch):
    at_s = 0.0
    made: list[str] = []

    def pass_time(seconds: float, what: str) -> None:
        nonlocal at_s
        at_s += seconds
        made.append(what)

    monkeypatch.setitem(CLOCKS, "wall", lambda: at_s)
    half = Timed(lambda: pass_time(1e-6, "call"), before=lambda: pass_time(5.0, "ground"))
    one_round = half.halves(ROW, 1.0)

    assert one_round() == pytest.approx(1_000.0)
    assert made == ["ground", "call"] * 2


@pytest.mark.parametrize(
    ("unit", "figure"),
    [("ns per node", 5e8), ("us per proof", 5e5), ("ms", 500.0), ("s per block", 0.5), ("entries/s", 2.0)],
)
def test_a_figure_comes_in_the_unit_of_its_row(unit, figure):
    assert Row("a/b", "words", unit).figure(seconds=2.0, items=4) == pytest.approx(figure)


def test_bytes_a_second_are_told_in_their_prefix():
    assert Row("a/b", "words", "GB/s").figure(seconds=2.0, items=6e9) == pytest.approx(3.0)
    assert Row("a/b", "words", "MB/s").figure(seconds=2.0, items=6e6) == pytest.approx(3.0)


def test_a_unit_that_is_no_time_cannot_be_timed():
    with pytest.raises(ValueError, match="no unit of time"):
        Timed(lambda: None).halves(Row("a/b", "words", "MB"), 0.0)()


def test_a_figure_of_its_own_and_a_budget_need_no_clock():
    row = Row("a/b", "words", "MB")

    assert Figure(lambda: 7).halves(row, 1.0)() == 7.0
    assert budget(150.0).halves(row, 1.0)() == 150.0


@pytest.mark.parametrize("name", ["merkle", "Merkle/node", "merkle/", "a/b/c", "a b/c", ""])
def test_a_row_has_a_name_of_area_and_what(name):
    with pytest.raises(ValueError, match="area/what"):
        Row(name, "words", "ms")


def test_a_member_of_a_family_is_named_by_its_place():
    assert key("curve/append", 1000) == "curve/append@1000"
    assert key("curve/append", None) == "curve/append"


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=30))
def test_a_quarter_of_the_figures_lies_beyond_each_quartile_at_most(figures):
    found = spread(figures)
    quarter = len(figures) / 4 + 1

    assert min(figures) <= found.q1 <= found.median <= found.q3 <= max(figures)
    assert sum(one < found.q1 for one in figures) <= quarter
    assert sum(one > found.q3 for one in figures) <= quarter


def test_a_baseline_of_nothing_is_no_baseline():
    with pytest.raises(ValueError, match="baseline of zero"):
        ratios([1.0, 1.0], [1.0, 0.0])
