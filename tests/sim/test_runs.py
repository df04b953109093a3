"""Many seeds by one command, one seed looked at, and a broken one made small."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim import __main__ as command
from tests.sim.faults import Faults, shrink
from tests.sim.mutants import BothVotes
from tests.sim.plan import Plan
from tests.sim.runs import Ask, broken, invariant, many, shrunk, total
from tests.sim.trace import Trace

ROOT = Path(__file__).parents[2]
BOTH = Ask((4, 4), "0", "toy", (("core", BothVotes), ("drop", 0.05)))


def breaking() -> int:
    """The first seed at which a core that says NUL and FIN breaks, and would not without any fault."""
    return next(
        seed
        for seed in range(100)
        if broken(BOTH, seed, Faults()) and not broken(BOTH, seed, Faults(only=[]))
    )


def test_the_last_line_says_how_many_seeds_held() -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [
        sys.executable,
        "-m",
        "tests.sim",
        "--seeds",
        "30",
        "--first",
        "1",
        "--nodes",
        "4..7",
        "--byzantine",
        "f",
    ]
    done = subprocess.run(line, env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)

    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "30 seeds held"


def test_a_summary_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    code = command.main(["--seeds", "3", "--nodes", "4", "--ledger", "toy", "--processes", "1", "--json"])

    told = json.loads(capsys.readouterr().out)
    assert (code, told["seeds"], told["broken"]) == (0, 3, [])
    assert told["events"] > 1_000


def test_a_seed_that_breaks_is_on_the_last_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = breaking()
    monkeypatch.setattr(command, "Ask", lambda *_: BOTH)

    line = f"--first {seed} --seeds 1 --processes 1 --nodes 4..5 --byzantine f --ledger toy"
    code = command.main(line.split())

    out = capsys.readouterr().out.splitlines()
    assert code == 1
    assert out[-1] == (
        f"seed {seed} breaks; look at it with"
        f" make sim ARGS='--replay {seed} --nodes 4..5 --byzantine f --ledger toy'"
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--byzantine", "99"], "a number up to 33, f, f-1, or any"),
        (["--byzantine", "x"], "a number up to 33, f, f-1, or any"),
        (["--byzantine", "-1"], "a number up to 33, f, f-1, or any"),
        (["--nodes", "4..7", "--byzantine", "2"], "4 nodes bear 1 liars and no more, not 2"),
        (["--nodes", "3"], "from 4 to 100 nodes"),
        (["--nodes", "7..4"], "from 4 to 100 nodes"),
        (["--nodes", "4.."], "from 4 to 100 nodes"),
        (["--nodes", "many"], "from 4 to 100 nodes"),
        (["--seeds", "0"], "one at least"),
        (["--seeds", "few"], "one at least"),
        (["--processes", "0"], "one at least"),
    ],
)
def test_words_that_make_no_sense_are_refused_with_a_sentence(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        command.main(words)

    assert stop.value.code == 2
    assert says in capsys.readouterr().err


def test_two_processes_find_what_one_finds() -> None:
    ask = Ask((4, 4), "any", "toy")

    one, two = (total(many(ask, range(60), processes)) for processes in (1, 2))

    assert (one.events, one.blocks, one.lies) == (two.events, two.blocks, two.lies)


def test_a_broken_seed_is_shrunk_to_the_few_decisions_that_break_it() -> None:
    seed = breaking()
    recorded = Faults(keep=True)
    whole = broken(BOTH, seed, recorded)

    few, why = shrunk(BOTH, seed, tries=150)

    assert whole
    assert recorded.fired is not None
    assert 0 < len(few) < len(set(recorded.fired)) / 4
    assert invariant(why) == invariant(whole)


def test_a_trace_tells_who_said_what() -> None:
    trace = Trace(lines=4_000)
    broken(Ask((4, 4), "0", "toy", (("seats", 8), ("drop", 0.2))), 3, Faults(), trace)

    told = str(trace)
    for word in (
        "proposes block",
        "proposes epoch end",
        "NOT(",
        "FIN(",
        "certificate NUL(",
        "delivers",
        "starts at height",
    ):
        assert word in told


def test_shrinking_keeps_what_matters() -> None:
    faults = [("drop", i) for i in range(100)]

    few = shrink(faults, lambda some: ("drop", 17) in some and ("drop", 71) in some)

    assert few == [("drop", 17), ("drop", 71)]


def test_shrinking_ends_even_if_nothing_can_be_left_out() -> None:
    tried = []

    few = shrink(
        [("drop", i) for i in range(50)], lambda some: bool(tried.append(1)) or len(some) == 50, tries=70
    )

    assert len(few) == 50
    assert len(tried) <= 71


def test_leaving_a_decision_out_does_not_change_what_others_draw() -> None:
    recorded = Faults(keep=True)
    broken(Ask((4, 4), "0", "toy", (("drop", 0.1),)), 5, recorded)
    assert recorded.fired
    gone = recorded.fired[0]

    rest = Faults(only=[fault for fault in recorded.fired if fault != gone], keep=True)
    broken(Ask((4, 4), "0", "toy", (("drop", 0.1),)), 5, rest)

    assert rest.fired is not None
    assert gone not in rest.fired


def test_the_same_ask_and_seed_are_the_same_plan() -> None:
    ask = Ask((4, 10), "f", "both")

    assert [ask.plan(seed) for seed in range(20)] == [ask.plan(seed) for seed in range(20)]
    assert all(plan.byzantine == (plan.n - 1) // 3 for plan in map(ask.plan, range(20)))
    assert isinstance(ask.plan(1), Plan)
