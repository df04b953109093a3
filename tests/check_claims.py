"""Hold `tests/claims.toml` against what really ran.

    python tests/check_claims.py JUNIT_XML

Each claim names tests or bench rows. A claim fails when a named test did not run, was skipped, or
asserts nothing, or when a named bench row has no gate or was never recorded beside a baseline of one (CI runs
the rows themselves, `make bench-ci`); a run fails when a test was skipped for lack of vectors although they are
there.
"""

import ast
import json
import os
import sys
import tomllib
import xml.etree.ElementTree as ET  # our own pytest wrote the file
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ASSERTING_CALLS = {"raises", "fail", "warns"}
Functions = Mapping[str, ast.FunctionDef | ast.AsyncFunctionDef]


def outcomes(report: Path) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """(test id without parameters -> worst outcome, skipped tests with their reasons)."""
    found: dict[str, str] = {}
    skipped: list[tuple[str, str]] = []
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314
        module = case.get("classname", "").replace(".", "/") + ".py"
        name = f"{module}::{case.get('name', '').partition('[')[0]}"
        outcome = "passed"
        for child in case:
            if child.tag in ("failure", "error"):
                outcome = "failed"
            elif child.tag == "skipped":
                outcome = "skipped"
                skipped.append((name, child.get("message", "")))
        order = ("passed", "skipped", "failed")
        found[name] = max(found.get(name, "passed"), outcome, key=order.index)
    return found, skipped


def asserts(test_id: str) -> bool:
    """Whether the function that `test_id` names, or a helper it calls in its module, asserts something."""
    path, _, name = test_id.partition("::")
    functions = _functions(ROOT / path)
    return name in functions and _asserts(functions[name], functions, set())


@cache
def _functions(path: Path) -> Functions:
    """Those of a file, by name; none where there is no file."""
    if not path.exists():
        return {}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def _asserts(function: ast.AST, functions: Functions, seen: set[str]) -> bool:
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ASSERTING_CALLS:
                return True
            if called in functions and called not in seen:
                seen.add(called)
                if _asserts(functions[called], functions, seen):
                    return True
    return False


def row_of(bench_id: str) -> str:
    """The name of the bench row that a function is, by its `@row("area/what", ...)`; empty if it is none."""
    path, _, name = bench_id.partition("::")
    function = _functions(ROOT / path).get(name)
    for decorator in () if function is None else function.decorator_list:
        match decorator:
            case ast.Call(func=ast.Name("row"), args=[ast.Constant(str(row)), *_]):
                return row
    return ""


class Bench:
    """What is judged in the bench, and what was recorded (None where nothing ever was)."""

    def __init__(self, folder: Path) -> None:
        self._baselines: dict[str, list[str]] = {}
        for gate in tomllib.loads((folder / "gates.toml").read_text(encoding="utf-8"))["gate"]:
            self._baselines.setdefault(gate["row"], []).append(gate["baseline"])
        self.recorded: set[tuple[str, str]] | None = None
        if (folder / "recorded.json").exists():
            groups = json.loads((folder / "recorded.json").read_bytes())
            self.recorded = {(one["name"], one["beside"]) for rows in groups.values() for one in rows}

    def complaints(self, bench_id: str) -> list[str]:
        """Why a claim cannot rest on this row; nothing if it can."""
        row = row_of(bench_id)
        if not row:
            return [f"{bench_id} is no bench row"]
        if row not in self._baselines:
            return [f"{bench_id}: the row {row} has no gate in bench/gates.toml"]
        if self.recorded is None:
            return []
        return [
            f"{bench_id}: the row {row} was never recorded beside {baseline} (make bench RECORD=1)"
            for baseline in self._baselines[row]
            if (row, baseline) not in self.recorded
        ]


def complaints(claim: Mapping[str, Any], found: Mapping[str, str], bench: Bench) -> list[str]:
    """Why one claim does not hold; nothing if it does."""
    wrong: list[str] = [] if claim["tests"] else ["names no test"]
    for test in claim["tests"]:
        if test.startswith("bench/"):
            wrong += bench.complaints(test)
        elif found.get(test) != "passed":
            wrong.append(f"{test} is {found.get(test, 'missing')}")
        elif not asserts(test):
            wrong.append(f"{test} asserts nothing")
    return [f"{claim['says']}: {one}" for one in wrong]


def read_claims() -> Sequence[Mapping[str, Any]]:
    rows: Sequence[Mapping[str, Any]] = tomllib.loads(
        (ROOT / "tests" / "claims.toml").read_text(encoding="utf-8")
    )["claim"]
    return rows


def main() -> int:
    found, skipped = outcomes(Path(sys.argv[1]))
    wrong: list[str] = []
    if os.environ.get("PYRSIA_VECTORS"):
        wrong += [
            f"{name}: skipped although the vectors are there"
            for name, why in skipped
            if "PYRSIA_VECTORS" in why
        ]
    claims, bench = read_claims(), Bench(ROOT / "bench")
    for claim in claims:
        wrong += complaints(claim, found, bench)
    for line in wrong:
        print(f"claims: {line}")
    for name, why in skipped:
        print(f"skipped: {name}: {why}")
    if bench.recorded is None:
        print("claims: bench/recorded.json is not there, so no row was asked for its recorded ratio")
    print(f"claims: {len(claims)} rows, {len(wrong)} wrong; {len(skipped)} tests skipped")
    return bool(wrong) or not claims


if __name__ == "__main__":
    sys.exit(main())
