"""Tables of results: for a terminal, and for docs/performance.md, where they stand between markers.

python -m bench.harness.report RESULTS     a table of a file of JSON lines
python -m bench.harness.report             writes docs/performance.md's tables anew from recorded.json
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from bench.harness.gates import Gate, Gates, Verdict, judge, worse
from bench.harness.machine import ROOT
from bench.harness.results import Recorded, Result, natural

PAGE: Final = ROOT / "docs" / "performance.md"
BEGIN: Final = "<!-- measured: written by make bench RECORD=1 from bench/recorded.json -->"
END: Final = "<!-- end of what is measured -->"
HEAD: Final = (
    f"{'row vs baseline':<52}{'ours':>11} {'theirs':>11}  {'unit':<17}{'ratio':>8} {'quartiles':>17} "
    f"{'floor':>9} {'recorded':>9}  verdict"
)
_PLOT_WIDTH: Final = 40


def line(found: Result, gate: Gate | None, recorded: Result | None) -> str:
    """One result on one line under `HEAD`."""
    spread = f"{short(found.ratio.q1)}..{short(found.ratio.q3)}"
    was = "-" if recorded is None else short(recorded.ratio.median)
    return (
        f"{found.key:<52}{short(found.subject.median):>11} {short(found.baseline.median):>11}  {found.unit:<17}"
        f"{short(found.ratio.median):>8} {spread:>17} {_floor(gate):>9} {was:>9}  {verdict(found, gate, recorded)}"
    )


def verdict(found: Result, gate: Gate | None, recorded: Result | None) -> str:
    """The gate's word on a result, and a second one where the recorded ratio was better."""
    if gate is None:
        return "no gate"
    held = judge(gate, found.ratio, found.machine)
    said = held.value
    if held is Verdict.NOT_JUDGED:
        said += f": no {', '.join(gate.lacks(found.machine))}"
    if recorded is not None and worse(gate, found.ratio, recorded.ratio):
        said += ", worse than recorded"
    return said


def _floor(gate: Gate | None) -> str:
    if gate is None:
        return "-"
    return f"{'>=' if gate.direction == 'higher' else '<='} {gate.floor:g}"


def short(value: float) -> str:
    """Three significant digits as people write them: 35.1, 0.0123, 161,000."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    whole = round(value, digits)
    return f"{whole:,.{max(0, digits)}f}"


def text(results: Iterable[Result], gates: Gates, recorded: Recorded) -> str:
    """All results under one head, in the order of their names."""
    rows = sorted(results, key=lambda one: natural(one.key))
    lines = [
        line(one, gates.get(one.name, {}).get(one.beside), recorded.get(one.machine.group, {}).get(one.key))
        for one in rows
    ]
    return "\n".join([HEAD, *lines]) + "\n"


# -- the page --


def page(old: str, recorded: Recorded, gates: Gates) -> str:
    """`old` with what stands between the markers written anew.

    Raises:
        ValueError: the markers are not there, each once and in order.
    """
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"{PAGE.name} needs the two markers of the measured part, once each")
    return before + BEGIN + "\n\n" + measured(recorded, gates) + "\n" + END + after


def measured(recorded: Recorded, gates: Gates) -> str:
    """Every group of machines with its rows and its curves, as Markdown."""
    parts = []
    for group in sorted(recorded):
        rows = sorted(recorded[group].values(), key=lambda one: natural(one.key))
        parts.append(_group(group, rows, gates))
    return "\n".join(parts) or "Nothing is recorded yet.\n"


def _group(group: str, rows: list[Result], gates: Gates) -> str:
    newest = max(rows, key=lambda one: one.date)
    facts = newest.machine
    loads = sorted(one.machine.load for one in rows)
    lines = [
        f"### {group}",
        "",
        f"{facts.cpu}; {', '.join(facts.flags) or 'no flags of interest'}; tree kernel `{facts.kernel}`; "
        f"Linux {facts.linux}, Python {facts.python}, OpenSSL {facts.openssl}. "
        f"Load while measuring: {loads[0]:g} to {loads[-1]:g}. Commits: {_commits(rows)}.",
        "",
        "| row | measures | unit | ours | beside | theirs | ratio (quartiles) | must be |",
        "| --- | --- | --- | ---: | --- | ---: | --- | --- |",
    ]
    lines += [_row(one, gates.get(one.name, {}).get(one.beside)) for one in rows]
    return "\n".join(lines) + "\n" + _curves(rows)


def _commits(rows: list[Result]) -> str:
    return ", ".join(f"`{name}`" for name in sorted({one.commit for one in rows}))


def _row(one: Result, gate: Gate | None) -> str:
    name = one.name if one.at is None else f"{one.name} at {_at(one.at)}"
    ours = short(one.subject.median)
    if one.goal is not None and gate is not None:
        met = one.subject.median >= one.goal if _more_is_better(one, gate) else one.subject.median <= one.goal
        ours += f" (goal {short(one.goal)}{'' if met else ', missed'})"
    ratio = f"{short(one.ratio.median)} ({short(one.ratio.q1)} to {short(one.ratio.q3)})"
    unit = one.unit + (", CPU" if one.clock == "cpu" else "")
    return (
        f"| {name} | {one.measures} | {unit} | {ours} | {one.beside} | {short(one.baseline.median)} "
        f"| {ratio} | {_floor(gate).replace('-', 'free')} |"
    )


def _more_is_better(one: Result, gate: Gate) -> bool:
    return gate.direction == "higher" if gate is not None else one.unit.endswith("/s")


def _at(at: int | str) -> str:
    return f"{at:,}" if isinstance(at, int) else at


def _curves(rows: list[Result]) -> str:
    """Families with three sizes or more, each as bars on a scale from nothing to its largest figure."""
    families: dict[tuple[str, str, str], dict[int, Result]] = {}
    for one in rows:
        if isinstance(one.at, int):
            families.setdefault((one.name, one.measures, one.unit), {})[one.at] = one
    return "".join(_curve(title, points) for title, points in families.items() if len(points) >= 3)


def _curve(title: tuple[str, str, str], points: Mapping[int, Result]) -> str:
    name, measures, unit = title
    top = max(one.subject.median for one in points.values())
    lines = [f"\n{name}: {measures} ({unit})\n", "```"]
    for at in sorted(points):
        figure = points[at].subject.median
        lines.append(f"{at:>12,}  {short(figure):>10}  {'#' * max(1, round(figure / top * _PLOT_WIDTH))}")
    return "\n".join([*lines, "```"]) + "\n"


def write_page(recorded: Recorded, gates: Gates, path: Path = PAGE) -> None:
    path.write_text(page(path.read_text(encoding="utf-8"), recorded, gates), encoding="utf-8")
