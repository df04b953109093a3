"""Every numbered rule of docs/agreement.md names tests that exist and say so."""

import ast
import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "agreement.md"
HERE = Path(__file__).parent
RULE = re.compile(r"[MLPVNCEATSFR]\d")


def rules(text: str) -> list[str]:
    """Rules in the order of the page: rows of its tables, and M1."""
    body = text[text.index("## A view") : text.index("## How it is tested")]
    return ["M1", *dict.fromkeys(re.findall(rf"^\| ({RULE.pattern})(?:, clock)? \|", body, re.MULTILINE))]


def told(text: str) -> dict[str, list[str]]:
    """Rule -> tests, as the page's last table says."""
    rows = re.findall(
        rf"^\| ({RULE.pattern}) \| (.+) \|$", text[text.index("## Rules and their tests") :], re.MULTILINE
    )
    return {rule: re.findall(r"`(test_\w+\.py::test_\w+)`", names) for rule, names in rows}


def found() -> dict[str, list[str]]:
    """Rule -> tests of this folder whose name or first words carry its number."""
    out: dict[str, list[str]] = {}
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                words = {*node.name.upper().split("_"), *RULE.findall(ast.get_docstring(node) or "")}
                for rule in sorted(words):
                    if RULE.fullmatch(rule):
                        out.setdefault(rule, []).append(f"{path.name}::{node.name}")
    return out


def test_every_rule_of_the_page_names_the_tests_that_carry_its_number() -> None:
    text = PAGE.read_text(encoding="utf-8")
    tests = found()

    assert len(rules(text)) == len(set(rules(text))) > 40
    assert told(text) == {rule: tests.get(rule, []) for rule in rules(text)}
    assert all(told(text).values())


if __name__ == "__main__":  # prints the table
    for name in rules(PAGE.read_text(encoding="utf-8")):
        print(f"| {name} | {', '.join(f'`{test}`' for test in found().get(name, []))} |")
