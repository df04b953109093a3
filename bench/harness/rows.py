"""What a row of the bench is: its name, what it measures, in which unit.

A row is a test function under `@row(...)` that calls its `measure` fixture once. With a parameter named `at` it is a
family of rows (a curve, a number of writers): one gate for all, one line for each.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import pytest

Clock = Literal["wall", "cpu"]
TIMES: Final = {"ns": 1e9, "us": 1e6, "ms": 1e3, "s": 1.0}
RATES: Final = {"GB/s": 1e-9, "MB/s": 1e-6}
LONG: Final = pytest.mark.long
"""Marks a row, or one `at` of a family, that takes too long for every change: `make bench` only."""

_NAME: Final = re.compile(r"[a-z0-9.-]+/[a-z0-9.-]+")


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that is measured.

    Attributes:
        name: `area/what`.
        measures: what the figure is of, in words that end a line of the table.
        unit: `ns per node` (ns, us, ms or s an item), `entries/s`, `GB/s`, or anything else for a `Figure`.
        clock: `wall`, or `cpu` for work of this process alone, which busy neighbours then disturb less.
        goal: what the figure is meant to reach on our machine, or of a family what it is where (`at` -> goal); a size
            that is not named has none. Shown, never judged: seconds are the machine's.
        rounds: at most so many; for what takes long by itself.
    """

    name: str
    measures: str
    unit: str
    clock: Clock = "wall"
    goal: float | Mapping[int | str, float] | None = None
    rounds: int | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"a row is named area/what in small letters, not {self.name!r}")

    def goal_at(self, at: int | str | None) -> float | None:
        """What is aimed at there."""
        if isinstance(self.goal, Mapping):
            return self.goal.get(at) if at is not None else None
        return self.goal

    def figure(self, seconds: float, items: float) -> float:
        """`items` done in `seconds`, in this row's unit.

        Raises:
            ValueError: the unit is neither a time an item nor a rate.
        """
        time, _, _ = self.unit.partition(" per ")
        if time in TIMES:
            return seconds / items * TIMES[time]
        if self.unit.endswith("/s"):
            return items / seconds * RATES.get(self.unit, 1.0)
        raise ValueError(f"{self.name}: {self.unit!r} is no unit of time; measure a Figure")


def row(name: str, measures: str, *, unit: str, **more: Any) -> Callable[[Any], Any]:
    """Make a test function a row; see `Row`."""
    return pytest.mark.row(Row(name, measures, unit, **more))


def key(name: str, at: int | str | None) -> str:
    """How a row of a family is called: `name@at`."""
    return name if at is None else f"{name}@{at}"
