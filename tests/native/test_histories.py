"""Histories byte by byte as docs/adr/0025 draws their records, and what is refused."""

import ast
import hashlib
import struct
from pathlib import Path

import pytest

from pyrsia._native import histories

STUB = Path(__file__).parents[2] / "pyrsia" / "_native" / "histories.pyi"
U64 = struct.Struct(">Q").pack


def sha(text: object) -> bytes:
    return hashlib.sha256(str(text).encode()).digest()


def test_a_record_is_its_count_and_the_right_edge() -> None:
    rows = [U64(number) + sha(number) for number in range(11)]
    [record], value = histories.append([None], [b"".join(rows)])
    leaves = [hashlib.sha256(b"\0" + row).digest() for row in rows]

    def node(left: bytes, right: bytes) -> bytes:
        return hashlib.sha256(b"\1" + left + right).digest()

    pairs = [node(leaves[at], leaves[at + 1]) for at in range(0, 10, 2)]
    eight = node(node(pairs[0], pairs[1]), node(pairs[2], pairs[3]))
    assert record == U64(11) + eight + pairs[4] + leaves[10]
    assert value == hashlib.sha256(U64(11) + node(eight, node(pairs[4], leaves[10]))).digest()


def test_as_many_rows_as_records() -> None:
    assert histories.append([], []) == ([], b"")
    for records, rows in (([None], []), ([], [bytes(40)])):
        with pytest.raises(ValueError, match="records"):
            histories.append(records, rows)  # type: ignore[arg-type]
    for rows in ([None], ["text"], [bytearray(40)]):
        with pytest.raises(TypeError):
            histories.append([None], rows)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        histories.append([bytearray(40)], [bytes(40)])  # type: ignore[list-item]


@pytest.mark.parametrize(
    "record", [b"", bytes(8), U64(1), U64(3) + bytes(32), U64(2) + bytes(64), U64(1 << 53) + bytes(32)]
)
def test_a_record_that_does_not_fit_its_count_is_refused(record: bytes) -> None:
    with pytest.raises(histories.BadRecord):
        histories.append([record], [bytes(40)])


def test_one_bad_record_among_good_ones_gives_nothing() -> None:
    good, _ = histories.append([None, None], [bytes(40), bytes(80)])
    with pytest.raises(histories.BadRecord):
        histories.append([*good, b"bad"], [bytes(40)] * 3)
    with pytest.raises(ValueError, match="40 bytes"):
        histories.append([*good, None], [bytes(40), bytes(40), bytes(39)])


def test_the_stub_names_exactly_what_the_module_has() -> None:
    stub = ast.parse(STUB.read_text())
    said = {node.name for node in stub.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert said == {name for name in vars(histories) if not name.startswith("_")} - {
        "Work"
    }  # an owner of memory
