"""A whole run of a small bench, in a process of its own: what it prints, keeps and exits with."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.harness.gates import read_gates
from bench.harness.report import BEGIN, END
from bench.harness.results import Result, read_lines, read_recorded
from bench.harness.session import Session

ROOT = Path(__file__).resolve().parents[3]
ROWS = """
import pytest
from bench.harness import LONG, Figure, row

@row("toy/rate", "toys", unit="toys/s", rounds=5)
def test_rate(measure):
    measure(Figure(lambda: {ours}), {{"plain": Figure(lambda: 10.0)}})

@pytest.mark.parametrize("at", [10, 100, pytest.param(1000, marks=LONG)])
@row("toy/curve", "toys of a size", unit="MB", rounds=1)
def test_curve(measure, at):
    measure(Figure(lambda: at / 100), {{"plain": Figure(lambda: 1.0)}})
"""
GATES = """
[[gate]]
row = "toy/rate"
baseline = "plain"
direction = "higher"
floor = 2
reason = "twice the plain one"

[[gate]]
row = "toy/curve"
baseline = "plain"
direction = "lower"
floor = 20
reason = "no toy is larger"
"""
PAGE = f"# Toys\n\n{BEGIN}\n{END}\n\nThe end.\n"


class Toy:
    """A checkout with the harness and two rows of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        ours = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "bench" / "harness", root / "bench" / "harness", ignore=ours)
        shutil.copy(ROOT / "bench" / "conftest.py", root / "bench")
        shutil.copy(ROOT / "pyproject.toml", root)
        (root / "docs").mkdir()
        self.page.write_text(PAGE)
        self.gates(GATES)
        self.rows(ROWS.format(ours="30.0"))

    def copy(self, root: Path) -> "Toy":
        copy = Toy(root)
        for name in ("bench/recorded.json", "docs/performance.md"):
            shutil.copy(self.root / name, root / name)
        return copy

    @property
    def page(self) -> Path:
        return self.root / "docs" / "performance.md"

    def gates(self, text: str) -> None:
        (self.root / "bench" / "gates.toml").write_text(text)

    def rows(self, text: str) -> None:
        (self.root / "bench" / "test_toy.py").write_text(text)

    def run(self, *options: str) -> tuple[int, str]:
        """The exit code and the output of a bench run."""
        environment = {**os.environ, "PYTHONPATH": f"{self.root}:{ROOT}", "COLUMNS": "200"}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:hypothesispytest", "bench", *options],
            cwd=self.root, env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def recorded(self) -> dict[str, Result]:
        (rows,) = read_recorded(self.root / "bench" / "recorded.json").values()
        return rows


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path)


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """One whose ratios are recorded; tests take a copy."""
    toy = Toy(tmp_path_factory.mktemp("accepted"))
    code, said = toy.run("--bench=all", "--bench-record")
    assert code == 0, said
    return toy


def test_a_run_prints_a_table_keeps_lines_of_json_and_leaves_long_rows_out(toy):
    code, said = toy.run("--bench-json", "out.jsonl")

    assert code == 0, said
    rows = {one.key: one for one in read_lines(toy.root / "out.jsonl")}
    assert set(rows) == {"toy/rate vs plain", "toy/curve@10 vs plain", "toy/curve@100 vs plain"}
    rate = rows["toy/rate vs plain"]
    assert (rate.subject.median, rate.baseline.median, rate.ratio.median) == (30.0, 10.0, 3.0)
    assert rate.subject.rounds == 5
    assert rate.machine.cores >= 1
    assert "3 ratios measured" in said
    assert all(name in said for name in rows)
    line = json.loads((toy.root / "out.jsonl").read_text().splitlines()[0])
    assert set(line) == {
        "name", "at", "measures", "unit", "clock", "goal", "subject", "beside", "baseline", "ratio",
        "machine", "commit", "date",
    }  # fmt: skip


def test_recording_keeps_the_ratios_by_group_and_writes_the_page(accepted):
    page = accepted.page.read_text()

    assert {one.ratio.median for one in accepted.recorded().values()} == {3.0, 0.1, 1.0, 10.0}
    assert page.startswith("# Toys")
    assert page.endswith("The end.\n")
    assert (
        "| toy/curve at 1,000 | toys of a size | MB | 10.0 | plain | 1.00 | 10.0 (10.0 to 10.0) | <= 20 |"
        in page
    )
    assert "toy/curve: toys of a size (MB)" in page


def test_recording_one_row_leaves_the_others_as_they_were(accepted, tmp_path):
    toy = accepted.copy(tmp_path)
    toy.rows(ROWS.format(ours="40.0").replace("at / 100", "at / 50"))

    code, said = toy.run("--bench=all", "--bench-record", "--bench-rows", "rate")

    assert code == 0, said
    assert toy.recorded()["toy/rate vs plain"].ratio.median == 4.0
    assert toy.recorded()["toy/curve@100 vs plain"].ratio.median == 1.0


def test_a_gate_that_fails_names_the_row_both_ratios_and_what_to_do_and_nothing_is_recorded(
    accepted, tmp_path
):
    toy = accepted.copy(tmp_path)
    toy.rows(ROWS.format(ours="15.0"))

    code, said = toy.run("--bench=all", "--bench-record")

    assert code == 1
    for part in (
        "toy/rate vs plain: the ratio must be at least 2", "measured  1.5", "recorded  3 ", "twice the plain one",
        "bench/gates.toml", "FAILS, worse than recorded", "1 gates failed", "not recorded",
    ):  # fmt: skip
        assert part in said
    assert "toy/curve" not in said.partition("FAILURES")[2]
    assert toy.recorded() == accepted.recorded()
    assert toy.page.read_text() == accepted.page.read_text()


def test_a_row_that_seems_to_fail_is_measured_once_more_and_that_counts(toy):
    figures = "import itertools\nFIGURES = itertools.chain([1.0] * 5, itertools.repeat(30.0))\n"
    toy.rows(figures + ROWS.format(ours="next(FIGURES)"))

    code, said = toy.run("--bench-json", "out.jsonl")

    assert code == 0, said
    (rate,) = [one for one in read_lines(toy.root / "out.jsonl") if one.name == "toy/rate"]
    assert rate.subject.rounds == 15


def test_a_short_run_is_not_recorded(toy):
    code, said = toy.run("--bench-record")

    assert code == 4
    assert "only a whole run is recorded" in said
    assert toy.page.read_text() == PAGE


def test_what_does_not_fit_together_ends_the_run_before_it_measures(accepted, tmp_path):
    toy = accepted.copy(tmp_path)
    again = '@row("toy/rate", "again", unit="MB")\ndef test_again(measure): pass\n'
    free = '@row("toy/free", "free", unit="MB")\ndef test_free(measure): pass\n'
    rows = ROWS.format(ours="30.0").replace("[10, ", "[")
    toy.rows(f"{rows}\ndef test_bare(): pass\n\n{again}\n{free}")
    toy.gates(GATES + GATES.replace("toy/", "gone/"))

    code, said = toy.run()

    assert code == 4
    for wrong in (
        "test_bare is no row", "two rows are called toy/rate", "row toy/free has no gate",
        "gate gone/rate has no row", "gate gone/curve has no row", "recorded ratio toy/curve@10 vs plain",
    ):  # fmt: skip
        assert wrong in said
    assert "measured" not in said


def test_a_row_that_measures_nothing_or_another_thing_fails_and_the_good_ones_stay(toy):
    bodies = {
        "nothing": "pass",
        "unheld": 'measure(Figure(lambda: 1.0), {"other": Figure(lambda: 1.0)})',
        "broken": "raise OSError('disk')",
        "absent": 'measure.absent("no nginx here", "apt-get install nginx")',
        "unable": 'measure.unable("no AVX-1024")',
    }
    more = [
        f'@row("toy/{name}", "odd", unit="MB")\ndef test_{name}(measure):\n    {body}\n'
        for name, body in bodies.items()
    ]
    toy.rows(ROWS.format(ours="30.0") + "\n".join(more))
    toy.gates(GATES + "".join(GATES.replace("/rate", f"/{name}").partition("\n\n")[0] for name in bodies))

    code, said = toy.run("--bench-json", "out.jsonl")

    assert code == 1
    for wrong in (
        "toy/nothing was measured 0 times", "no gate for the baseline 'other'", "OSError: disk",
        "not run: toy/absent: no nginx here; apt-get install nginx", "not run: toy/unable: no AVX-1024",
    ):  # fmt: skip
        assert wrong in said
    assert {one.name for one in read_lines(toy.root / "out.jsonl")} == {"toy/rate", "toy/curve"}


@pytest.mark.parametrize(("mode", "bad"), [("ci", True), ("all", False)])
def test_what_cannot_run_here_fails_in_ci_only(mode, bad):
    session = Session(mode, {}, {})
    session.unable["toy/unable"] = "no AVX-1024"
    assert session.closing()[1] is False

    session.absent["toy/absent"] = "no nginx here; apt-get install nginx"
    lines, failed = session.closing()

    assert failed is bad
    assert lines[:2] == [
        "not run: toy/absent: no nginx here; apt-get install nginx",
        "not run: toy/unable: no AVX-1024",
    ]


@pytest.mark.parametrize(
    ("mode", "seconds", "bad"), [("ci", 181, True), ("ci", 179, False), ("all", 9_999, False)]
)
def test_ci_waits_three_minutes_and_names_the_slowest_rows(mode, seconds, bad):
    session = Session(mode, {}, {}, began_s=time.monotonic() - seconds)
    session.spent("toy/slow", 170)
    session.spent("toy/fast", 1)

    lines, failed = session.closing()

    assert failed is bad
    assert any("toy/slow 170 s, toy/fast 1 s" in line for line in lines) is bad


def test_the_committed_rows_gates_and_ratios_fit_together():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "bench", "--bench=all", "--collect-only"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert read_gates()
