"""One measured row as a line of JSON, and the recorded ones that are committed."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from bench.harness.machine import ROOT, Machine
from bench.harness.rows import Row, key
from bench.harness.stats import ratios, rounded, spread

RECORDED: Final = ROOT / "bench" / "recorded.json"


class Side(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures of one half of a pair, in the row's unit."""

    median: float
    q1: float
    q3: float
    rounds: int


class Ratio(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Subject over baseline, round by round."""

    median: float
    q1: float
    q3: float


class Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row beside one baseline, as measured: the one format, for files and tables alike."""

    name: str
    at: int | str | None
    measures: str
    unit: str
    clock: str
    goal: float | None
    subject: Side
    beside: str  # name of the baseline
    baseline: Side
    ratio: Ratio
    machine: Machine
    commit: str
    date: str

    @property
    def key(self) -> str:
        return f"{key(self.name, self.at)} vs {self.beside}"


def result(
    row: Row, at: int | str | None, beside: str, figures: tuple[list[float], list[float]], machine: Machine, *,
    commit: str, date: str,
) -> Result:  # fmt: skip
    """What the rounds of a pair come to."""
    subject, baseline = figures
    return Result(
        name=row.name, at=at, measures=row.measures, unit=row.unit, clock=row.clock, goal=row.goal_at(at),
        subject=_side(subject), beside=beside, baseline=_side(baseline),
        ratio=Ratio(*map(rounded, spread(ratios(subject, baseline)))),
        machine=machine, commit=commit, date=date,
    )  # fmt: skip


def _side(figures: list[float]) -> Side:
    median, q1, q3 = map(rounded, spread(figures))
    return Side(median, q1, q3, len(figures))


Recorded = dict[str, dict[str, Result]]
"""Group of machines -> key of a row -> the last accepted result."""


def read_recorded(path: Path = RECORDED) -> Recorded:
    """The accepted ratios; none yet, where there is no file.

    Raises:
        ValueError: the file holds something else.
    """
    if not path.exists():
        return {}
    listed = msgspec.json.decode(path.read_bytes(), type=dict[str, list[Result]])
    return {group: {one.key: one for one in rows} for group, rows in listed.items()}


def write_recorded(recorded: Mapping[str, Mapping[str, Result]], path: Path = RECORDED) -> None:
    """One line a row, in a fixed order, so that a change is a readable diff."""
    groups = []
    for group in sorted(recorded):
        rows = [recorded[group][name] for name in sorted(recorded[group], key=natural)]
        lines = ",\n".join("  " + msgspec.json.encode(one).decode() for one in rows)
        groups.append(f"{msgspec.json.encode(group).decode()}: [\n{lines}\n]")
    path.write_text("{\n" + ",\n".join(groups) + "\n}\n", encoding="utf-8")


def write_lines(results: Iterable[Result], path: Path) -> None:
    """JSON lines, one a row."""
    path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in results))


def read_lines(path: Path) -> list[Result]:
    return [msgspec.json.decode(line, type=Result) for line in path.read_bytes().splitlines()]


def natural(name: str) -> list[tuple[int, str]]:
    """A sort key under which 1000 comes before 10000 and after 64."""
    parts: list[tuple[int, str]] = []
    digits = ""
    for char in name + " ":
        if char.isdigit():
            digits += char
            continue
        if digits:
            parts.append((int(digits), ""))
            digits = ""
        parts.append((-1, char))
    return parts
