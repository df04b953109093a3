"""What must hold: read strictly, judged by ratio, and nothing in it that cannot fail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.gates import Gate, Verdict, failure, judge, misfits, read_gates, unmatched, worse
from bench.harness.machine import Machine
from bench.harness.results import Ratio, result
from bench.harness.rows import Row

MACHINE = Machine(
    cpu="Some CPU", kind="Maker family 1", cores=2, flags=["sha_ni"], kernel="shani", linux="6.1",
    python="3.11.7", openssl="3.0.0", load=0.5,
)  # fmt: skip
FASTER = Gate("merkle/node", "hashlib", "higher", 8.0, "eight times is asked for")
SMALLER = Gate("index/memory", "budget", "lower", 1.0, "a budget is not exceeded")
WHOLE = """
[[gate]]
row = "merkle/node"
baseline = "hashlib"
direction = "higher"
floor = 8
reason = "eight times is asked for"
"""


def measured(name="merkle/node", at=None, beside="hashlib", ours=(9.0,), theirs=(1.0,), commit="abc"):
    row = Row(name, "words", "nodes/s")
    return result(row, at, beside, (list(ours), list(theirs)), MACHINE, commit=commit, date="2026-11-27")


@pytest.mark.parametrize(
    ("gate", "ratio", "verdict"),
    [
        (FASTER, Ratio(9.0, 8.5, 9.5), Verdict.HOLDS),
        (FASTER, Ratio(8.0, 7.0, 8.1), Verdict.HOLDS),
        (FASTER, Ratio(7.9, 7.0, 8.1), Verdict.NARROWLY),
        (FASTER, Ratio(7.9, 7.8, 7.95), Verdict.FAILS),
        (SMALLER, Ratio(0.9, 0.8, 1.1), Verdict.HOLDS),
        (SMALLER, Ratio(1.1, 0.9, 1.2), Verdict.NARROWLY),
        (SMALLER, Ratio(1.1, 1.05, 1.2), Verdict.FAILS),
    ],
)
def test_a_gate_fails_when_even_the_better_quartile_misses_the_floor(gate, ratio, verdict):
    assert judge(gate, ratio, MACHINE) is verdict


@given(st.floats(0.01, 100), st.sampled_from(["higher", "lower"]), st.floats(0.01, 100))
def test_a_steady_ratio_is_judged_by_its_floor_alone(median, direction, floor):
    gate = Gate("a/b", "c", direction, floor, "words of a reason")

    good = median >= floor if direction == "higher" else median <= floor

    assert judge(gate, Ratio(median, median, median), MACHINE) is (Verdict.HOLDS if good else Verdict.FAILS)


def test_a_gate_that_needs_what_the_machine_lacks_is_not_judged():
    needs = Gate("a/b", "c", "higher", 8.0, "words of a reason", needs=("sha_ni", "avx2", "kernel:shani"))

    assert needs.lacks(MACHINE) == ["avx2"]
    assert judge(needs, Ratio(1.0, 1.0, 1.0), MACHINE) is Verdict.NOT_JUDGED


def test_worse_than_recorded_is_a_whole_middle_half_a_quarter_behind():
    recorded = Ratio(10.0, 9.0, 11.0)

    assert worse(FASTER, Ratio(7.0, 6.0, 7.4), recorded)
    assert not worse(FASTER, Ratio(7.0, 6.0, 7.6), recorded)
    assert worse(SMALLER, Ratio(13.0, 12.6, 14.0), recorded)
    assert not worse(SMALLER, Ratio(13.0, 12.4, 14.0), recorded)


def test_who_breaks_a_gate_is_told_the_row_both_ratios_and_what_to_do():
    found = measured(ours=[7.0], theirs=[1.0])

    told = failure(FASTER, found, measured(ours=[9.0], theirs=[1.0], commit="fedcba"))

    for part in ("merkle/node vs hashlib", "at least 8", "measured  7 ", "recorded  9 ", "fedcba", "gates.toml",
                 "eight times is asked for"):  # fmt: skip
        assert part in told
    assert "nothing yet" in failure(FASTER, found, None)


def test_gates_are_read_by_row_and_baseline(tmp_path):
    path = tmp_path / "gates.toml"
    path.write_text(WHOLE + WHOLE.replace("hashlib", "OpenSSL") + 'needs = ["sha_ni"]\n')

    gates = read_gates(path)

    assert gates["merkle/node"]["hashlib"] == FASTER
    assert gates["merkle/node"]["OpenSSL"].needs == ("sha_ni",)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("floor = 8\n", ""), "its fields are"),
        (("reason", "because"), "its fields are"),
        (("floor = 8", 'floor = "8"'), "a ratio above 0"),
        (("floor = 8", "floor = 0"), "a ratio above 0"),
        (("floor = 8", "floor = nan"), "a ratio above 0"),
        (('"higher"', '"up"'), "higher or lower"),
        (("eight times is asked for", "so"), "say why"),
    ],
)
def test_a_gate_that_says_too_little_is_refused(tmp_path, change, why):
    path = tmp_path / "gates.toml"
    path.write_text(WHOLE.replace(*change))

    with pytest.raises(ValueError, match=why):
        read_gates(path)


def test_one_pair_has_one_gate(tmp_path):
    path = tmp_path / "gates.toml"
    path.write_text(WHOLE * 2)

    with pytest.raises(ValueError, match="two gates"):
        read_gates(path)


GATES = {"merkle/node": {"hashlib": FASTER}}


def recorded(*found):
    return {MACHINE.group: {one.key: one for one in found}}


def test_what_fits_together_is_no_misfit():
    assert misfits({"merkle/node": {None}}, GATES, recorded(measured()), whole=True) == []


@pytest.mark.parametrize(
    ("declared", "gates", "kept", "said"),
    [
        ({"merkle/node": {None}}, {}, (), "row merkle/node has no gate"),
        ({"merkle/node": {None}}, {"merkle/node": {}}, (), "row merkle/node has no gate"),
        ({}, GATES, (), "gate merkle/node has no row"),
        ({"merkle/node": {None}}, GATES, (measured("merkle/gone"),), "recorded ratio merkle/gone vs hashlib"),
        ({"merkle/node": {None}}, GATES, (measured(beside="gone"),), "recorded ratio merkle/node vs gone"),
        ({"merkle/node": {10}}, GATES, (measured(at=11),), "recorded ratio merkle/node@11"),
    ],
)
def test_a_row_a_gate_or_a_recorded_ratio_alone_is_an_error(declared, gates, kept, said):
    (wrong,) = misfits(declared, gates, recorded(*kept), whole=True)

    assert said in wrong


def test_of_a_part_of_the_bench_only_its_own_lack_is_said():
    assert misfits({}, GATES, recorded(measured("merkle/gone")), whole=False) == []
    assert misfits({"other/row": {None}}, GATES, {}, whole=False) != []


def test_baselines_and_gates_of_a_row_are_the_same_names():
    assert unmatched("merkle/node", ["hashlib"], GATES) == []
    assert unmatched("merkle/node", ["hashlib", "C"], GATES) == ["merkle/node: no gate for the baseline 'C'"]
    assert unmatched("merkle/node", [], GATES) == [
        "merkle/node: the gate's baseline 'hashlib' was not measured"
    ]
