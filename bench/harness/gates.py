"""Which ratios must hold, and whether one does. Ratios only: seconds belong to the machine.

A gate that no row meets, a row that no gate holds, and a recorded ratio of no row are errors: each would be a check
that cannot fail.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal

from bench.harness.machine import ROOT, Machine
from bench.harness.results import Ratio, Recorded, Result

GATES: Final = ROOT / "bench" / "gates.toml"
_FIELDS: Final = {"row", "baseline", "direction", "floor", "reason"}
_OPTIONAL: Final = {"needs"}
# Medians of two runs on one machine differ by less; a change beyond it is worth a look, not a failure.
DRIFT: Final = 0.25


@dataclass(frozen=True, slots=True)
class Gate:
    """A ratio that must hold.

    Attributes:
        direction: `higher` if a higher ratio is better, else `lower`.
        floor: the worst ratio that is accepted.
        reason: why that number.
        needs: flags of the processor, or `kernel:NAME`, without which the gate is not judged.
    """

    row: str
    baseline: str
    direction: Literal["higher", "lower"]
    floor: float
    reason: str
    needs: tuple[str, ...] = ()

    def lacks(self, machine: Machine) -> list[str]:
        """What of `needs` this machine has not."""
        has = {*machine.flags, f"kernel:{machine.kernel}"}
        return [need for need in self.needs if need not in has]


class Verdict(Enum):
    HOLDS = "holds"
    NARROWLY = "holds within the spread"
    FAILS = "FAILS"
    NOT_JUDGED = "not judged here"


def judge(gate: Gate, ratio: Ratio, machine: Machine) -> Verdict:
    """Whether `ratio` meets the floor. The better quartile decides: a noisy run has the benefit of its noise."""
    if gate.lacks(machine):
        return Verdict.NOT_JUDGED
    sign = 1 if gate.direction == "higher" else -1
    if sign * ratio.median >= sign * gate.floor:
        return Verdict.HOLDS
    best = ratio.q3 if gate.direction == "higher" else ratio.q1
    return Verdict.NARROWLY if sign * best >= sign * gate.floor else Verdict.FAILS


def worse(gate: Gate, ratio: Ratio, recorded: Ratio) -> bool:
    """Whether the whole middle half lies beyond `DRIFT` on the bad side of what was recorded."""
    if gate.direction == "higher":
        return ratio.q3 < recorded.median * (1 - DRIFT)
    return ratio.q1 > recorded.median * (1 + DRIFT)


def failure(gate: Gate, found: Result, recorded: Result | None) -> str:
    """What a person needs who broke a gate."""
    was = "nothing yet for this kind of machine"
    if recorded is not None:
        was = f"{_shown(recorded.ratio)} at commit {recorded.commit} ({recorded.date})"
    bound = "at least" if gate.direction == "higher" else "at most"
    return (
        f"{found.key}: the ratio must be {bound} {gate.floor:g}\n"
        f"  measured  {_shown(found.ratio)}   {found.unit}: {found.subject.median:g} against "
        f"{found.baseline.median:g}, {found.subject.rounds} rounds, load {found.machine.load:g}\n"
        f"  recorded  {was}\n"
        f"  reason    {gate.reason}\n"
        f"  do        make it fast again (make bench ROWS={found.name} measures at length); if the loss\n"
        "            is meant, change the floor and its reason in bench/gates.toml"
    )


def _shown(ratio: Ratio) -> str:
    return f"{ratio.median:g} [{ratio.q1:g} to {ratio.q3:g}]"


Gates = dict[str, dict[str, Gate]]
"""Name of a row -> name of a baseline -> gate."""


def read_gates(path: Path = GATES) -> Gates:
    """The gates of gates.toml.

    Raises:
        ValueError: a field is missing, unknown or senseless, or a pair has two gates.
    """
    gates: Gates = {}
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    for raw in document.get("gate", []):
        gate = _gate(raw)
        if gate.baseline in gates.setdefault(gate.row, {}):
            raise ValueError(f"two gates for {gate.row} beside {gate.baseline}")
        gates[gate.row][gate.baseline] = gate
    return gates


def _gate(raw: Mapping[str, Any]) -> Gate:
    name = raw.get("row", "without a row")
    if not raw.keys() >= _FIELDS or raw.keys() - _FIELDS - _OPTIONAL:
        raise ValueError(f"gate {name}: its fields are {', '.join(sorted(_FIELDS))} and perhaps needs")
    gate = Gate(**{**raw, "needs": tuple(raw.get("needs", ()))})
    if gate.direction not in ("higher", "lower"):
        raise ValueError(f"gate {name}: direction is higher or lower, not {gate.direction!r}")
    if not isinstance(gate.floor, int | float) or not gate.floor > 0:
        raise ValueError(f"gate {name}: a floor is a ratio above 0, not {gate.floor!r}")
    if len(gate.reason.split()) < 3:
        raise ValueError(f"gate {name}: say why {gate.floor:g} is the number")
    return gate


def misfits(
    declared: Mapping[str, Iterable[int | str | None]], gates: Gates, recorded: Recorded, *, whole: bool
) -> list[str]:
    """What does not belong together, each as a sentence.

    Args:
        declared: every row with the values of its `at`.
        whole: the rows are all that there are; else only what they lack is said.
    """
    wrong = [
        f"row {name} has no gate: add one to bench/gates.toml" for name in declared if not gates.get(name)
    ]
    if not whole:
        return wrong
    wrong += [f"gate {name} has no row: nothing can break it" for name in gates if name not in declared]
    for group, rows in recorded.items():
        for one in rows.values():
            known = one.at in declared.get(one.name, ()) and one.beside in gates.get(one.name, {})
            if not known:
                wrong.append(
                    f"recorded ratio {one.key} ({group}) has no row: take it out of bench/recorded.json"
                )
    return wrong


def unmatched(name: str, measured: Sequence[str], gates: Gates) -> list[str]:
    """Baselines that a row ran without a gate, and gates whose baseline it did not run."""
    held = gates.get(name, {})
    wrong = [f"{name}: no gate for the baseline {one!r}" for one in measured if one not in held]
    return wrong + [
        f"{name}: the gate's baseline {one!r} was not measured" for one in held if one not in measured
    ]
