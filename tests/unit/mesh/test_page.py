"""Every test that docs/mesh.md names exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
NAMED = re.compile(r"`(test_[a-z_0-9]+\.py)::(test_[a-z_0-9]+)`")


def test_the_page_names_tests_that_exist():
    page = (ROOT / "docs" / "mesh.md").read_text(encoding="utf-8")
    named = set(NAMED.findall(page))
    assert len(named) > 15
    files = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    assert [
        f"{file}::{test}" for file, test in sorted(named) if f"def {test}(" not in files.get(file, "")
    ] == []


def test_no_place_of_the_page_waits_to_be_written():
    page = (ROOT / "docs" / "mesh.md").read_text(encoding="utf-8")
    assert [line for line in page.splitlines() if re.fullmatch(r"[A-Z]{4,}|.*TODO.*", line)] == []


def test_every_pitfall_has_a_test_or_says_why_it_cannot_occur():
    page = (ROOT / "docs" / "mesh.md").read_text(encoding="utf-8")
    table = page.partition("## Pitfalls")[2].partition("## How it is tested")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    assert len(rows) >= 16
    excused = ("cannot occur", "a context of its own")
    assert [row for row in rows if not NAMED.search(row) and not any(word in row for word in excused)] == []
