"""Tests import helpers that lie beside them by a plain name; in one process a name can mean one file only."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[2]
IMPORTS = re.compile(r"^\s*(?:from|import) (.*)", re.MULTILINE)


def plainly_imported(text: str) -> set[str]:
    """Names of whole modules that a source imports without a package."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names if "." not in one.name}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module and "." not in node.module:
            found.add(node.module)
    return found


def test_no_two_folders_have_a_helper_of_one_name() -> None:
    homes: dict[str, set[str]] = {}
    for path in TESTS.rglob("*.py"):
        beside = {one.stem for one in path.parent.glob("*.py")}
        text = path.read_text(encoding="utf-8")
        named = {word for line in IMPORTS.findall(text) for word in re.findall(r"\w+", line)}
        for name in plainly_imported(text) if beside & named else ():  # no neighbour is named in most
            if (path.parent / f"{name}.py").exists():
                homes.setdefault(name, set()).add(path.parent.relative_to(TESTS).as_posix())
    assert len(homes) > 5
    assert {name: sorted(where) for name, where in homes.items() if len(where) > 1} == {}
