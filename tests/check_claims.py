"""Hold `tests/claims.toml` against what really ran.

    python tests/check_claims.py JUNIT_XML

Each claim names tests or bench rows. A claim fails when a named test did not run, was skipped, or
asserts nothing; a run fails when a test was skipped for lack of vectors although they are there.
"""

import ast
import os
import sys
import tomllib
import xml.etree.ElementTree as ET  # our own pytest wrote the file
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ASSERTING_CALLS = {"raises", "fail", "warns"}


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
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = {
        node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return name in functions and _asserts(functions[name], functions, set())


def _asserts(
    function: ast.AST, functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef], seen: set[str]
) -> bool:
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


def main() -> int:
    found, skipped = outcomes(Path(sys.argv[1]))
    wrong: list[str] = []
    if os.environ.get("PYRSIA_VECTORS"):
        wrong += [
            f"{name}: skipped although the vectors are there"
            for name, why in skipped
            if "PYRSIA_VECTORS" in why
        ]
    claims = tomllib.loads((ROOT / "tests" / "claims.toml").read_text(encoding="utf-8"))["claim"]
    for claim in claims:
        for test in claim["tests"]:
            if test.startswith("bench/"):
                if test.partition("::")[2] not in (ROOT / test.partition("::")[0]).read_text(
                    encoding="utf-8"
                ):
                    wrong.append(f"{claim['says']}: no bench row {test}")
            elif found.get(test) != "passed":
                wrong.append(f"{claim['says']}: {test} is {found.get(test, 'missing')}")
            elif not asserts(test):
                wrong.append(f"{claim['says']}: {test} asserts nothing")
    for line in wrong:
        print(f"claims: {line}")
    for name, why in skipped:
        print(f"skipped: {name}: {why}")
    print(f"claims: {len(claims)} rows, {len(wrong)} wrong; {len(skipped)} tests skipped")
    return bool(wrong) or not claims


if __name__ == "__main__":
    sys.exit(main())
