"""The kernels against their oracle and each other, at every length where padding changes, and what they refuse.

Every test of a hash runs once for each kernel that this processor can run; which one works is chosen when the
module is loaded, so that choice is tested in processes of its own.
"""

import ast
import hashlib
import itertools
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia._native import merkle
from tests.reference import merkle as oracle

NATIVE = Path(__file__).parents[2] / "pyrsia" / "_native"
EDGES = [0, 1, 54, 55, 56, 57, 62, 63, 64, 65, 118, 119, 120, 127, 128, 129]
# Up to 1,015 bytes a leaf is copied and padded in one piece; beyond, its middle is read in place.
EDGES += [1_013, 1_014, 1_015, 1_016, 1_077, 1_078, 1_079, 1_080, 65_535, 65_536, 65_537]
ALL_KERNELS = ["portable", "avx2", "shani"]
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


def runnable() -> list[str]:
    """The kernels that this processor can run."""
    active = merkle.kernel().encode()
    found = [name for name in ALL_KERNELS if merkle._select(name.encode())]
    assert merkle._select(active)
    return found


KERNELS = runnable()


@pytest.fixture(scope="module", params=KERNELS, autouse=True)
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    active = merkle.kernel().encode()
    assert merkle._select(request.param.encode())
    assert merkle.kernel() == request.param
    yield request.param
    assert merkle._select(active)


def rows(n: int, seed: bytes = b"") -> bytes:
    return b"".join(hashlib.sha256(seed + b"%d" % i).digest() for i in range(n))


def made(length: int) -> bytes:
    return bytes(i * 7 % 251 for i in range(length))


# -- hashes --


@pytest.mark.parametrize("length", EDGES)
def test_a_message_of_every_edge_length_hashes_as_hashlib_says(length: int) -> None:
    item = made(length)
    for count in range(1, 18):  # alone, with lanes left empty, and with all of them full
        assert merkle.leaf_hashes([item] * count) == hashlib.sha256(b"\x00" + item).digest() * count
    assert merkle._messages([item]) == hashlib.sha256(item).digest()


def test_every_length_up_to_four_blocks_hashes_as_hashlib_says() -> None:
    items = [bytes([n % 251]) * n for n in range(257)]
    for order in (items, items[::-1]):
        assert merkle.leaf_hashes(order) == oracle.leaf_hashes(order)
        assert merkle._messages(order) == b"".join(hashlib.sha256(item).digest() for item in order)


def test_edge_lengths_in_every_order_share_the_lanes() -> None:
    items = [made(length) for length in EDGES]
    for turn in range(len(items)):
        order = items[turn:] + items[:turn]
        assert merkle.leaf_hashes(order) == oracle.leaf_hashes(order)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_a_batch_of_leaves_agrees_with_its_oracle(items: list[bytes]) -> None:
    assert merkle.leaf_hashes(items) == oracle.leaf_hashes(items)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 3_000), max_size=30), st.randoms(use_true_random=False))
def test_messages_of_very_different_lengths_share_the_lanes(lengths: list[int], random) -> None:
    items = [random.randbytes(length) for length in lengths]
    assert merkle.leaf_hashes(items) == oracle.leaf_hashes(items)


@pytest.mark.parametrize("count", [*range(1, 20), 63, 64, 65])
def test_nodes_of_any_prefix_and_any_last_byte_hash_as_hashlib_says(count: int) -> None:
    pairs = rows(2 * count, b"pairs")
    prefixes = bytes(i * 37 % 256 for i in range(count))
    cut = [pairs[at : at + 64] for at in range(0, len(pairs), 64)]
    want = [hashlib.sha256(bytes([one]) + pair).digest() for one, pair in zip(prefixes, cut, strict=True)]
    assert merkle._nodes(prefixes, pairs) == b"".join(want)
    assert merkle._nodes(None, pairs) == b"".join(hashlib.sha256(pair).digest() for pair in cut)


def test_all_256_second_blocks_of_a_node_and_all_256_prefixes_are_right() -> None:
    pairs = b"".join(rows(1)[:31] + made(32) + bytes([last]) for last in range(256))
    prefixes = bytes(range(255, -1, -1))
    want = [hashlib.sha256(prefixes[i : i + 1] + pairs[64 * i : 64 * i + 64]).digest() for i in range(256)]
    assert merkle._nodes(prefixes, pairs) == b"".join(want)


# -- levels and roots --


@given(height=st.integers(0, 8), seed=st.binary(max_size=8))
def test_tile_root_agrees_with_its_oracle(height: int, seed: bytes) -> None:
    row = rows(2**height, seed)
    assert merkle.tile_root(row) == oracle.tile_root(row)


@given(pairs=st.integers(0, 140), seed=st.binary(max_size=8))
def test_a_level_agrees_with_its_oracle(pairs: int, seed: bytes) -> None:
    row = rows(2 * pairs, seed)
    assert merkle.level(row) == oracle.level(row)


def test_the_root_of_any_number_of_leaves_is_the_definition_s() -> None:
    for width in range(1, 131):
        row = rows(width)
        assert merkle.range_root(row) == oracle.range_root(row)


@given(st.data())
def test_any_flipped_bit_gives_another_root(data: st.DataObject) -> None:
    row = bytearray(rows(data.draw(st.integers(1, 40))))
    honest = merkle.range_root(bytes(row))
    row[data.draw(st.integers(0, len(row) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert merkle.range_root(bytes(row)) != honest


# -- tiles --

WIDTHS = st.one_of(st.integers(0, 3), st.integers(250, 262), st.integers(0, 255))


@settings(max_examples=40)
@given(st.lists(st.integers(0, 255), max_size=3), st.one_of(WIDTHS, st.integers(0, 2_000)))
def test_append_agrees_with_its_oracle(edges: list[int], count: int) -> None:
    edge = tuple(rows(width, b"edge") for width in edges)
    hashes = rows(count, b"new")
    assert merkle.append(edge, hashes) == oracle.append(edge, hashes)


def test_append_fills_three_levels_at_once() -> None:
    edge = (rows(255, b"0"), rows(255, b"1"), rows(255, b"2"))
    assert merkle.append(edge, rows(1)) == oracle.append(edge, rows(1))
    assert merkle.append(edge, rows(1))[1] == (b"", b"", b"", merkle.append(edge, rows(1))[0][3][0])


def test_verify_tiles_names_the_first_that_differs() -> None:
    tiles = [rows(256, b"%d" % i) for i in range(11)]
    above = b"".join(oracle.tile_root(tile) for tile in tiles)
    assert merkle.verify_tiles(tiles, above) == oracle.verify_tiles(tiles, above) == -1
    assert merkle.verify_tiles([], b"") == -1
    for position in range(11):
        bent = list(tiles)
        for wrong in {position, 10}:
            row = bytearray(bent[wrong])
            row[position * 743 % 8192] ^= 1 << position % 8
            bent[wrong] = bytes(row)
        assert merkle.verify_tiles(bent, above) == oracle.verify_tiles(bent, above) == position
        higher = bytearray(above)
        higher[32 * position + 31] ^= 1
        assert merkle.verify_tiles(tiles, bytes(higher)) == position


# -- bundles --


def bundled(entries: list[bytes]) -> bytes:
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


@given(st.lists(st.binary(max_size=200), max_size=30))
def test_a_bundle_s_leaves_are_those_of_its_entries(entries: list[bytes]) -> None:
    assert merkle.bundle_hashes(bundled(entries), len(entries), 65_535) == oracle.leaf_hashes(entries)


def test_a_bundle_may_hold_the_format_s_largest_entry_and_no_larger_one_than_asked() -> None:
    bundle = bundled([b"", bytes(65_535), b"x"])
    assert merkle.bundle_hashes(bundle, 3, 65_535) == oracle.bundle_hashes(bundle, 3, 65_535)
    with pytest.raises(ValueError, match="too long"):
        merkle.bundle_hashes(bundle, 3, 65_534)


@settings(max_examples=300)
@given(st.binary(max_size=40), st.integers(-1, 9), st.integers(0, 30))
def test_strange_bytes_are_refused_as_a_bundle_where_the_oracle_refuses(
    data: bytes, count: int, largest: int
) -> None:
    try:
        want = oracle.bundle_hashes(data, count, largest)
    except ValueError:
        with pytest.raises(ValueError, match="bundle"):
            merkle.bundle_hashes(data, count, largest)
    else:
        assert merkle.bundle_hashes(data, count, largest) == want


def test_a_bundle_cut_anywhere_or_with_one_byte_more_is_refused() -> None:
    bundle = bundled([b"one", b"", b"three"])
    for wrong in [bundle[:end] for end in range(len(bundle))] + [bundle + b"\0", bundle + b"\0\0"]:
        with pytest.raises(ValueError, match="bundle"):
            merkle.bundle_hashes(wrong, 3, 65_535)


def test_a_count_beyond_any_bundle_asks_for_no_memory() -> None:
    for count in (-1, 2**40, 2**62):
        with pytest.raises(ValueError, match="does not hold"):
            merkle.bundle_hashes(b"\0\0", count, 65_535)


# -- proofs --


def proofs_of(size: int, seed: bytes = b"") -> tuple[bytes, list[bytes], list[bytes]]:
    """(leaves, proof of each, all roots as one list)."""
    leaves = rows(size, seed)
    cut = oracle.rows_of(leaves)
    return leaves, [b"".join(oracle.path(i, cut)) for i in range(size)], [oracle.root(cut)] * size


@pytest.mark.parametrize("size", [1, 2, 3, 63, 64, 65, 130])
def test_fold_many_leads_to_the_root_for_every_leaf(size: int) -> None:
    leaves, proofs, roots = proofs_of(size)
    assert merkle.fold_many(leaves, range(size), [size] * size, proofs) == roots


def test_fold_many_takes_proofs_of_many_sizes_at_once() -> None:
    cases = [proofs_of(size, b"%d" % size) for size in range(1, 40)]
    leaves = b"".join(case[0] for case in cases)
    indices = list(itertools.chain.from_iterable(range(size) for size in range(1, 40)))
    sizes = list(itertools.chain.from_iterable([size] * size for size in range(1, 40)))
    proofs = list(itertools.chain.from_iterable(case[1] for case in cases))
    want = list(itertools.chain.from_iterable(case[2] for case in cases))
    assert merkle.fold_many(leaves, indices, sizes, proofs) == want
    assert merkle.fold_many(leaves[::-1], indices, sizes, proofs) != want


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.integers(-2, 20) | st.integers(2**63 - 2, 2**64 + 2),
            st.integers(-2, 20) | st.integers(2**63 - 2, 2**64 + 2),
            st.integers(0, 4) | st.integers(0, 70),
            st.sampled_from([0, 0, 0, 1, 31]),
        ),
        max_size=12,
    )
)
def test_fold_many_agrees_with_its_oracle_about_any_claim(claims: list[tuple[int, int, int, int]]) -> None:
    leaves = rows(len(claims))
    proofs = [rows(hashes, b"proof") + bytes(more) for _, _, hashes, more in claims]
    found = merkle.fold_many(leaves, [a for a, *_ in claims], [b for _, b, *_ in claims], proofs)
    want = oracle.fold_many(leaves, [a for a, *_ in claims], [b for _, b, *_ in claims], proofs)
    assert found == want


def test_fold_many_of_the_largest_log_ends() -> None:
    proof = rows(64)
    (root,) = merkle.fold_many(rows(1), [2**64 - 2], [2**64 - 1], [proof[: 32 * 63]])
    assert root == oracle.fold(rows(1), 2**64 - 2, 2**64 - 1, oracle.rows_of(proof[: 32 * 63]))
    assert root is not None


# -- refusals --


@pytest.mark.parametrize(
    ("leaves", "indices", "sizes", "proofs"),
    [
        (bytes(32), [0], [1], []),
        (bytes(32), [0], [], [b""]),
        (bytes(32), [], [1], [b""]),
        (bytes(31), [0], [1], [b""]),
        (bytes(64), [0], [1], [b""]),
    ],
)
def test_fold_many_of_uneven_arguments_is_refused(leaves, indices, sizes, proofs) -> None:
    with pytest.raises(ValueError, match="bytes of leaves"):
        merkle.fold_many(leaves, indices, sizes, proofs)


@pytest.mark.parametrize("proof", [None, "", bytearray(32), 7])
def test_fold_many_takes_proofs_as_bytes_only(proof: object) -> None:
    with pytest.raises(TypeError):
        merkle.fold_many(bytes(32), [0], [1], [proof])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        merkle.fold_many(bytes(32), ["0"], [1], [b""])  # type: ignore[list-item]


@pytest.mark.parametrize("edge", [(bytes(31),), (bytes(8_192),), (bytes(8_224),), (b"", bytes(1)), (None,)])
def test_append_to_what_is_no_edge_is_refused(edge) -> None:
    with pytest.raises(ValueError, match="no partial tile"):
        merkle.append(edge, bytes(32))


def test_append_of_half_a_hash_or_of_no_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="whole 32-byte hashes"):
        merkle.append((), bytes(33))
    for edge, hashes in (([], b""), (None, b""), ((), None), ((7,), b""), ((), bytearray(32))):
        with pytest.raises(TypeError):
            merkle.append(edge, hashes)  # type: ignore[arg-type]


def test_verify_tiles_of_no_full_tiles_is_refused() -> None:
    for tiles, above in (([bytes(8_192)], b""), ([], bytes(32)), ([bytes(8_160)], bytes(32))):
        with pytest.raises(ValueError, match="tile"):
            merkle.verify_tiles(tiles, above)
    with pytest.raises(TypeError):
        merkle.verify_tiles([bytearray(8_192)], bytes(32))  # type: ignore[list-item]


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
    has = {name for name, value in vars(merkle).items() if callable(value) and not name.startswith("__")}
    assert said == has
