"""The table of messages in docs/mesh.md has every kind and method there is, and what each needs to be told of it."""

import re
from pathlib import Path

import pytest

from pyrsia.node.kinds import Kind, Method

PAGE = Path(__file__).parents[3] / "docs/mesh.md"
COLUMNS = ("number", "message or request", "who sends it", "bound", "what a wrong one costs")
COST = re.compile(r"link fault|-\d|nothing|the same|refused")
BOUND = re.compile(r"\d|no body|the same")


def table(text: str) -> dict[str, tuple[str, ...]]:
    """First cell -> the others, of the table with these columns."""
    lines = iter(text.splitlines())
    head = next(line for line in lines if cells(line) == COLUMNS)
    assert set(next(lines)) <= set("|- "), head
    rows: dict[str, tuple[str, ...]] = {}
    for line in lines:
        if not line.startswith("|"):
            break
        first, *rest = cells(line)
        assert first not in rows, f"{first} stands there twice"
        rows[first] = tuple(rest)
    return rows


def cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip().strip("|").split(" | "))


ROWS = table(PAGE.read_text(encoding="utf-8"))
WANTED = {
    **{f"message {one.value}": one.name for one in Kind},
    **{f"request {one.value}": one.name for one in Method},
}


def test_every_kind_and_method_has_a_row_and_no_row_is_of_none():
    assert ROWS.keys() == WANTED.keys()


@pytest.mark.parametrize("number", sorted(WANTED))
def test_each_row_names_it_its_sender_its_bound_and_its_cost(number):
    what, who, bound, cost = ROWS[number]
    assert what.startswith(WANTED[number]), what
    assert who
    assert BOUND.search(bound), bound
    assert COST.search(cost), cost


def test_a_row_too_few_is_found():
    text = (
        f"| {' | '.join(COLUMNS)} |\n| --- | --- | --- | --- | --- |\n| message 1 | x | y | 1 | -1 |\n\nrest"
    )
    assert table(text) == {"message 1": ("x", "y", "1", "-1")}
    assert table(text).keys() != WANTED.keys()
