"""One run of the bench: what is to be measured, what came of it, and what a run means for its exit code.

pytest finds the rows and calls them (bench/conftest.py hands its hooks on to here); the `measure` fixture of a row is
a `Measure`. A run in CI is short: long rows are left out, and it may take three minutes at most.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

import pytest

from bench.harness import gates as gating
from bench.harness import machine as facts
from bench.harness import report
from bench.harness.gates import Gates, Verdict
from bench.harness.measure import FULL, QUICK, Effort, Half, interleaved
from bench.harness.results import RECORDED, Recorded, Result, result, write_recorded
from bench.harness.rows import Row, key

CI_S: Final = 180  # what a change may wait for its bench, by the issue that asked for it
At = int | str | None


@dataclass
class Session:
    """What one run knows.

    Attributes:
        mode: `ci` leaves long rows out and is brief; `all` is neither.
        say: prints a line at once, past pytest's capture.
        absent: rows that lacked something that can be had, each with its reason.
        unable: rows that this processor is not made for.
    """

    mode: Literal["ci", "all"]
    gates: Gates
    recorded: Recorded
    say: Callable[[str], None] = print
    declared: dict[str, set[At]] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    unable: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    took_s: dict[str, float] = field(default_factory=dict)
    began_s: float = field(default_factory=time.monotonic)

    @property
    def effort(self) -> Effort:
        return QUICK if self.mode == "ci" else FULL

    def expect(self, rows: Iterable[tuple[Row, At]], *, whole: bool) -> list[str]:
        """Take the rows of this run down; what does not fit gates.toml and recorded.json."""
        known: dict[str, Row] = {}
        wrong = []
        for row, at in rows:
            if known.setdefault(row.name, row) != row:
                wrong.append(f"two rows are called {row.name}")
            ats = self.declared.setdefault(row.name, set())
            if at in ats:
                wrong.append(f"two rows are called {key(row.name, at)}")
            ats.add(at)
        return wrong + gating.misfits(self.declared, self.gates, self.recorded, whole=whole)

    def was(self, found: Result) -> Result | None:
        """The accepted result of this row on this group of machines."""
        return self.recorded.get(found.machine.group, {}).get(found.key)

    def take(self, found: list[Result]) -> list[str]:
        """Keep the results of one row, print them; what its gates say against them."""
        if not self.results and not self.failed:
            self.say(report.HEAD)
        self.results += found
        wrong = []
        for one in found:
            gate = self.gates[one.name][one.beside]
            self.say(report.line(one, gate, self.was(one)))
            if gating.judge(gate, one.ratio, one.machine) is Verdict.FAILS:
                wrong.append(gating.failure(gate, one, self.was(one)))
        self.failed += wrong
        return wrong

    def spent(self, name: str, seconds: float) -> None:
        self.took_s[name] = self.took_s.get(name, 0.0) + seconds

    def closing(self) -> tuple[list[str], bool]:
        """The lines at the end of a run, and whether it failed as a whole beyond its rows."""
        total_s = time.monotonic() - self.began_s
        lines = [f"not run: {name}: {why}" for name, why in (self.absent | self.unable).items()]
        lines.append(
            f"{len(self.results)} ratios measured in {total_s:.0f} s, {len(self.failed)} gates failed"
        )
        bad = False
        if self.mode == "ci" and self.absent:
            bad = True
            lines.append("a row that cannot run here judges nothing: CI must have what it needs")
        if self.mode == "ci" and total_s > CI_S:
            bad = True
            slowest = sorted(self.took_s.items(), key=lambda item: -item[1])[:5]
            named = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in slowest)
            lines.append(f"more than {CI_S} s; the slowest rows: {named}. Make one shorter, or mark it LONG")
        return lines, bad

    def record(self, path: Path = RECORDED, page: Path = report.PAGE) -> None:
        """Make what was measured the accepted ratios, and write the page's tables from them."""
        for one in self.results:
            self.recorded.setdefault(one.machine.group, {})[one.key] = one
        write_recorded(self.recorded, path)
        report.write_page(self.recorded, self.gates, page)


@dataclass
class Measure:
    """What a row calls, once: its subject beside its baselines, in turns, then judged.

    Attributes:
        quick: a run in CI; a row whose set-up is heavy may make less of it, under another `at`.
    """

    session: Session
    row: Row
    at: At
    calls: int = 0

    @property
    def quick(self) -> bool:
        return self.session.mode == "ci"

    def __call__(self, subject: Half, baselines: Mapping[str, Half]) -> None:
        """Measure and judge. A row that fails its gate is measured once more, three times as long; that counts.

        Raises:
            pytest.fail.Exception: a gate failed, or the baselines are not those that have gates.
        """
        __tracebackhide__ = True
        self.calls += 1
        wrong = gating.unmatched(self.row.name, list(baselines), self.session.gates)
        if wrong:
            pytest.fail("\n".join(wrong), pytrace=False)
        effort = self.session.effort
        if self.row.rounds is not None:
            effort = replace(effort, least=min(effort.least, self.row.rounds), most=self.row.rounds)
        halves = [half.halves(self.row, effort.round_s) for half in (subject, *baselines.values())]
        found = self._results(list(baselines), interleaved(halves, effort))
        if any(self._fails(one) for one in found):
            found = self._results(list(baselines), interleaved(halves, effort.again()))
        wrong = self.session.take(found)
        if wrong:
            pytest.fail("\n".join(wrong), pytrace=False)

    def absent(self, what: str, do: str) -> NoReturn:
        """End this row: `what` is not on this machine; `do` says how it gets there. A run in CI fails."""
        __tracebackhide__ = True
        self.calls += 1
        self.session.absent[key(self.row.name, self.at)] = f"{what}; {do}"
        pytest.skip(what)

    def unable(self, what: str) -> NoReturn:
        """End this row: the processor is not made for it, and nobody can help that."""
        __tracebackhide__ = True
        self.calls += 1
        self.session.unable[key(self.row.name, self.at)] = what
        pytest.skip(what)

    def _fails(self, found: Result) -> bool:
        gate = self.session.gates[found.name][found.beside]
        return gating.judge(gate, found.ratio, found.machine) is Verdict.FAILS

    def _results(self, names: list[str], figures: list[list[float]]) -> list[Result]:
        subject, *others = figures
        here, commit, date = facts.machine(), facts.commit(), facts.today()
        return [
            result(self.row, self.at, name, (subject, other), here, commit=commit, date=date)
            for name, other in zip(names, others, strict=True)
        ]


def declared(item: Any) -> tuple[Row, At] | None:
    """The row that a collected test is, and its `at`."""
    mark = item.get_closest_marker("row")
    if mark is None:
        return None
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return mark.args[0], parameters.get("at")
