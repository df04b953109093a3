"""Tables: figures as people write them, the page written anew between its markers, and never by hand."""

import pytest

from bench.harness.__main__ import main
from bench.harness.gates import Gate, read_gates
from bench.harness.machine import Machine, commit, machine
from bench.harness.report import BEGIN, END, PAGE, line, page, short, text
from bench.harness.results import natural, read_lines, read_recorded, result, write_lines, write_recorded
from bench.harness.rows import Row

MACHINE = Machine(
    cpu="Some CPU", kind="Maker family 1", cores=2, flags=["sha_ni"], kernel="shani", linux="6.1",
    python="3.11.7", openssl="3.0.0", load=0.5,
)  # fmt: skip
GATE = Gate("toy/curve", "plain", "lower", 2.0, "words of a reason")
GATES = {"toy/curve": {"plain": GATE}}


def point(at, figure, goal=None):
    row = Row("toy/curve", "toys", "ms", goal=goal)
    figures = ([figure] * 3, [10.0] * 3)
    return result(row, at, "plain", figures, MACHINE, commit="abc", date="2026-11-27")


def recorded(*points):
    return {MACHINE.group: {one.key: one for one in points}}


@pytest.mark.parametrize(
    ("value", "written"),
    [(0, "0"), (35.14, "35.1"), (0.012345, "0.0123"), (161_234.0, "161,000"), (9.996, "10.00"), (7, "7.00")],
)
def test_figures_have_three_digits_that_count(value, written):
    assert short(value) == written


@pytest.mark.parametrize(("at", "said"), [(10, "(goal 12.0, missed)"), (100, "(goal 40.0)"), (1000, None)])
def test_a_goal_may_depend_on_the_size(at, said):
    written = page(f"{BEGIN}\n{END}\n", recorded(point(at, 15.0, goal={10: 12.0, 100: 40.0})), GATES)
    assert (said or "| 15.0 |") in written
    assert ("goal" in written) == (said is not None)


def test_sizes_sort_as_numbers():
    names = ["curve@1000", "curve@10000", "curve@64", "other"]

    assert sorted(reversed(names), key=natural) == ["curve@64", "curve@1000", "curve@10000", "other"]


def test_a_line_shows_figures_ratio_floor_and_what_was_recorded():
    said = line(point(10, 15.0), GATE, point(10, 12.0))

    assert said.split() == [
        "toy/curve@10", "vs", "plain", "15.0", "10.0", "ms", "1.50", "1.50..1.50", "<=", "2", "1.20", "holds",
    ]  # fmt: skip
    assert line(point(10, 18.0), GATE, point(10, 12.0)).endswith("holds, worse than recorded")
    assert line(point(10, 21.0), GATE, None).endswith("-  FAILS")


def test_the_page_is_written_anew_between_its_markers_and_nowhere_else():
    old = f"Before.\n{BEGIN}\nstale\n{END}\nAfter.\n"

    new = page(old, recorded(point(10, 15.0, goal=12.0), point(100, 20.0), point(1000, 5.0)), GATES)

    assert new.startswith(f"Before.\n{BEGIN}\n\n### Maker family 1, 2 cores\n")
    assert new.endswith(f"{END}\nAfter.\n")
    assert "stale" not in new
    assert "| 15.0 (goal 12.0, missed) |" in new
    assert "         100        20.0  " + "#" * 40 + "\n" in new
    assert "       1,000        5.00  " + "#" * 10 + "\n" in new
    assert page(new, {}, {}) != new
    assert page(new, recorded(point(10, 15.0)), GATES).count(BEGIN) == 1


@pytest.mark.parametrize(
    "old", ["", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{END}{END}", f"{BEGIN}{BEGIN}{END}"]
)
def test_a_page_without_its_markers_is_left_alone(old):
    with pytest.raises(ValueError, match="markers"):
        page(old, {}, {})


def test_results_come_back_from_their_files_as_they_went(tmp_path):
    points = [point(10, 15.0), point(100, 20.0)]

    write_lines(points, tmp_path / "lines")
    write_recorded(recorded(*points), tmp_path / "recorded")

    assert read_lines(tmp_path / "lines") == points
    assert read_recorded(tmp_path / "recorded") == recorded(*points)
    assert (tmp_path / "recorded").read_text().count("\n") == 6
    assert read_recorded(tmp_path / "none") == {}


def test_a_file_of_lines_is_shown_as_a_table(tmp_path, capsys):
    write_lines([point(100, 20.0), point(10, 15.0)], tmp_path / "lines")

    assert main([str(tmp_path / "lines")]) == 0
    assert capsys.readouterr().out == text([point(10, 15.0), point(100, 20.0)], read_gates(), read_recorded())
    assert main(["one", "two"]) == 2


def test_the_facts_of_this_machine_are_all_there():
    here = machine()

    assert here.cpu
    assert here.cores >= 1
    assert here.kernel
    assert here.group == f"{here.kind}, {here.cores} cores"
    assert commit() == "unknown" or len(commit().rstrip("+")) == 12


def test_the_committed_page_says_what_is_recorded():
    """Whoever changes recorded.json or a gate writes the page anew: python -m bench.harness."""
    old = PAGE.read_text(encoding="utf-8")

    assert page(old, read_recorded(), read_gates()) == old
