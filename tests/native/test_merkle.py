"""The kernel against its oracle, at every length where padding changes, and what it refuses."""

import ast
import hashlib
import re
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia._native import merkle
from tests.reference import merkle as oracle

NATIVE = Path(__file__).parents[2] / "pyrsia" / "_native"
EDGES = [0, 1, 54, 55, 56, 57, 62, 63, 64, 65, 118, 119, 120, 127, 128, 129, 65_535, 65_536, 65_537]
FORBIDDEN = {
    "trio",
    "zmq",
    "rocksdict",
    "socket",
    "time",
    "random",
    "os",
    "asyncio",
    "subprocess",
    "secrets",
    "nacl",
}


def rows(n: int, seed: bytes = b"") -> bytes:
    return b"".join(hashlib.sha256(seed + b"%d" % i).digest() for i in range(n))


@pytest.mark.parametrize("length", EDGES)
def test_a_leaf_of_every_edge_length_hashes_as_hashlib_says(length: int) -> None:
    item = bytes(i * 7 % 251 for i in range(length))
    assert merkle.leaf_hashes([item]) == hashlib.sha256(b"\x00" + item).digest()


def test_every_length_up_to_four_blocks_hashes_as_hashlib_says() -> None:
    items = [bytes([n % 251]) * n for n in range(257)]
    assert merkle.leaf_hashes(items) == oracle.leaf_hashes(items)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_a_batch_of_leaves_agrees_with_its_oracle(items: list[bytes]) -> None:
    assert merkle.leaf_hashes(items) == oracle.leaf_hashes(items)


@given(height=st.integers(0, 8), seed=st.binary(max_size=8))
def test_tile_root_agrees_with_its_oracle(height: int, seed: bytes) -> None:
    row = rows(2**height, seed)
    assert merkle.tile_root(row) == oracle.tile_root(row)


@given(pairs=st.integers(0, 40), seed=st.binary(max_size=8))
def test_a_level_agrees_with_its_oracle(pairs: int, seed: bytes) -> None:
    row = rows(2 * pairs, seed)
    assert merkle.level(row) == oracle.level(row)


@pytest.mark.parametrize("width", range(1, 130))
def test_the_root_of_any_number_of_leaves_is_the_definition_s(width: int) -> None:
    row = rows(width)
    assert merkle.range_root(row) == oracle.range_root(row)


@given(st.data())
def test_any_flipped_bit_gives_another_root(data: st.DataObject) -> None:
    row = bytearray(rows(data.draw(st.integers(1, 40))))
    honest = merkle.range_root(bytes(row))
    row[data.draw(st.integers(0, len(row) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert merkle.range_root(bytes(row)) != honest


@pytest.mark.parametrize("length", [0, 1, 31, 33, 96, 32 * 255, 32 * 257])
def test_a_row_that_is_not_a_power_of_two_wide_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="is not 32"):
        merkle.tile_root(bytes(length))


@pytest.mark.parametrize("length", [1, 32, 63, 65, 96])
def test_a_level_without_whole_pairs_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="whole pairs"):
        merkle.level(bytes(length))


@pytest.mark.parametrize("length", [0, 1, 31, 33])
def test_a_range_of_no_whole_hashes_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32-byte hashes"):
        merkle.range_root(bytes(length))


@pytest.mark.parametrize("wrong", [None, 7, "text", [b"x", "y"], [bytearray(3)], [memoryview(b"abc")]])
def test_leaves_that_are_not_bytes_are_refused(wrong: object) -> None:
    with pytest.raises(TypeError):
        merkle.leaf_hashes(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("call", [merkle.level, merkle.tile_root, merkle.range_root])
@pytest.mark.parametrize("wrong", [None, 7, "text", bytearray(64)])
def test_rows_that_are_not_bytes_are_refused(call: object, wrong: object) -> None:
    with pytest.raises(TypeError):
        call(wrong)  # type: ignore[operator]


def test_the_caller_s_bytes_are_never_written_to() -> None:
    row = rows(64)
    before = bytes(bytearray(row))
    merkle.tile_root(row)
    merkle.level(row)
    assert row == before


def test_threads_hash_side_by_side_and_agree() -> None:
    row = rows(4096)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(merkle.tile_root(row))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert found == [oracle.tile_root(row)] * 8


def imported(source: str) -> set[str]:
    """First parts of whatever a `.pyx` imports, cimports or takes from a header."""
    lines = re.findall(r"^\s*(?:from\s+([\w.]+)\s+c?import|c?import\s+([\w.]+))", source, re.MULTILINE)
    headers = re.findall(r'cdef extern from\s+["<]([^">]+)', source)
    return {(a or b).split(".")[0] for a, b in lines} | set(headers)


def test_the_compiled_parts_import_nothing_that_does_io_or_keeps_time() -> None:
    sources = sorted(NATIVE.glob("*.pyx"))
    assert NATIVE / "merkle.pyx" in sources
    own = {header.name for header in NATIVE.glob("*.h")}
    for source in sources:
        assert imported(source.read_text()) <= {"cpython", "libc"} | own
        assert not imported(source.read_text()) & FORBIDDEN


def test_the_compiled_parts_headers_include_only_the_language_s_and_the_compiler_s_own() -> None:
    headers = sorted(NATIVE.glob("*.h"))
    own = {header.name for header in headers}
    language = {"stddef.h", "stdint.h", "stdio.h", "stdlib.h", "string.h"}
    instructions = {"cpuid.h", "immintrin.h"}
    assert "sha256.h" in own
    for header in headers:
        included = set(re.findall(r"#include\s+[<\"]([^>\"]+)", header.read_text()))
        assert included <= language | instructions | own, header.name


def test_the_stub_names_exactly_what_the_kernel_has() -> None:
    stub = ast.parse((NATIVE / "merkle.pyi").read_text())
    said = {node.name for node in stub.body if isinstance(node, ast.FunctionDef)}
    assert said == {name for name in vars(merkle) if not name.startswith("_")}
