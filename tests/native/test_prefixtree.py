"""Pages byte by byte as docs/adr/0025 draws them, what their reader refuses, and an update's order of calls."""

import ast
import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyrsia._native import prefixtree
from tests.reference import prefixtree as oracle

STUB = Path(__file__).parents[2] / "pyrsia" / "_native" / "prefixtree.pyi"
TOP = bytes(32)
U64 = struct.Struct(">Q").pack


def sha(text: object) -> bytes:
    return hashlib.sha256(str(text).encode()).digest()


def key(first: int, last: int = 0) -> bytes:
    return bytes((first,)) + bytes(30) + bytes((last,))


def bucket(*pairs: tuple[bytes, bytes]) -> bytes:
    return bytes((1, len(pairs))) + b"".join(k + v for k, v in pairs)


def fork(slots: dict[int, tuple[bytes, int]]) -> bytes:
    bits = sum(1 << slot for slot in slots)
    return struct.pack(">BH", 2, bits) + b"".join(
        slots[slot][0] + U64(slots[slot][1]) for slot in sorted(slots)
    )


def updated(pages: dict[bytes, bytes], version: int | None, edits: dict[bytes, Any], new: int) -> Any:
    work = prefixtree.Update(9, version, edits)
    while wanted := work.wanted():
        work.feed([pages[one] for one in wanted])
    return work.finish(new)


# -- bytes --


def test_a_page_s_key_is_tag_depth_nibbles_and_version() -> None:
    path = bytes.fromhex("0123456789abcdef") + bytes(24)
    assert prefixtree.page_key(9, path, 0, 5) == b"\x09\x00" + U64(5)
    assert prefixtree.page_key(9, path, 5, 5) == b"\x09\x05\x01\x23\x40" + U64(5)
    assert prefixtree.page_key(255, path, 6, 2**64 - 1) == b"\xff\x06\x01\x23\x45" + b"\xff" * 8
    assert prefixtree.page_key(0, b"\xff" * 32, 63, 0) == b"\x00\x3f" + b"\xff" * 31 + b"\xf0" + bytes(8)


def test_a_small_tree_is_one_bucket_of_rising_keys() -> None:
    changed, root, pages, dropped = updated({}, None, {key(9): sha(1), key(3): sha(2)}, 4)
    assert pages == {b"\x09\x00" + U64(4): bucket((key(3), sha(2)), (key(9), sha(1)))}
    assert (changed, root, dropped) == (True, oracle.root({key(3): sha(2), key(9): sha(1)}), ())


def test_a_bucket_that_overflows_is_a_fork_of_buckets_with_their_roots_and_versions() -> None:
    full = prefixtree.BUCKET_PAIRS
    pairs = {key(number // 8 << 4, number): sha(number) for number in range(full)}
    _, _, pages, _ = updated({}, None, pairs, 1)
    assert len(pages) == 1

    changed, root, more, dropped = updated(pages, 1, {key(0xF0): sha("one more")}, 6)

    pairs[key(0xF0)] = sha("one more")
    parts: dict[int, dict[bytes, bytes]] = {}
    for one, value in pairs.items():
        parts.setdefault(one[0] >> 4, {})[one] = value
    assert more == {
        b"\x09\x00" + U64(6): fork({slot: (oracle.root(part), 6) for slot, part in parts.items()}),
        **{bytes((9, 1, slot << 4)) + U64(6): bucket(*sorted(part.items())) for slot, part in parts.items()},
    }
    assert (changed, root, dropped) == (True, oracle.root(pairs), (b"\x09\x00" + U64(1),))

    # Only the touched slot's page and those above it are new; the others keep their version in the fork.
    _, _, last, dropped = updated(more, 6, {key(0xF0): None}, 8)
    del parts[15]
    assert last == {
        b"\x09\x00" + U64(8): fork({slot: (oracle.root(part), 6) for slot, part in parts.items()})
    }
    assert dropped == (b"\x09\x00" + U64(6), b"\x09\x01\xf0" + U64(6))


# -- what the reader refuses --

A, B = (key(0x31), sha(1)), (key(0x32), sha(2))
BAD: dict[str, bytes] = {
    "nothing": b"",
    "a kind alone": b"\x01",
    "no kind": bytes(66),
    "an unknown kind": b"\x03" + bucket(A)[1:],
    "an empty bucket": b"\x01\x00",
    "an empty bucket with room": b"\x01\x00" + bytes(64),
    "a short bucket": bucket(A)[:-1],
    "a long bucket": bucket(A) + b"\0",
    "a count too low": b"\x01\x01" + bucket(A, B)[2:],
    "a count too high": b"\x01\x03" + bucket(A, B)[2:],
    "more than a bucket holds": bucket(
        *((key(0x30, number), sha(1)) for number in range(prefixtree.BUCKET_PAIRS + 1))
    ),
    "falling keys": bucket(B, A),
    "a key twice": bucket(A, A),
    "a first key of another page": bucket((key(0x21), sha(1)), A),
    "a last key of another page": bucket(A, (key(0x41), sha(1))),
    "a fork without slots": b"\x02\x00\x00",
    "a short fork": fork({1: (sha(1), 0), 2: (sha(2), 0)})[:-1],
    "a long fork": fork({1: (sha(1), 0)}) + b"\0",
    "a slot too many": b"\x02\x00\x06" + fork({1: (sha(1), 0)})[3:],
    "a page later than the fork": fork({1: (sha(1), 0), 2: (sha(2), 8)}),
}


@pytest.mark.parametrize("page", BAD.values(), ids=BAD)
def test_a_page_of_any_other_form_is_refused_by_every_reader(page: bytes) -> None:
    path = bytes((0x30,)) + bytes(31)
    with pytest.raises(prefixtree.BadPage):
        prefixtree.look(page, path, 1, 7, key(0x31))
    with pytest.raises(prefixtree.BadPage):
        prefixtree.read(page, path, 1, 7)
    top = fork({3: (sha("above"), 7)})
    work = prefixtree.Update(9, 7, {key(0x31): sha(3)})
    work.feed([top])
    with pytest.raises(prefixtree.BadPage):
        work.feed([page])


def test_a_fork_where_no_nibble_is_left_is_refused() -> None:
    page = fork({1: (sha(1), 0)})
    assert prefixtree.read(page, TOP, 62, 0)[1] == [(1, 0, sha(1))]
    with pytest.raises(prefixtree.BadPage):
        prefixtree.read(page, TOP, 63, 0)


@pytest.mark.parametrize("page", [bytearray(bucket(A)), memoryview(bucket(A)), "text", 7])
def test_a_page_that_is_not_bytes_is_the_caller_s_mistake(page: Any) -> None:
    with pytest.raises(TypeError):
        prefixtree.read(page, TOP, 0, 0)
    work = prefixtree.Update(9, 0, {key(1): None})
    with pytest.raises(TypeError):
        work.feed([page])


@pytest.mark.parametrize(
    ("path", "depth"), [(bytes(31), 0), (bytes(33), 0), (b"", 0), (bytes(32), -1), (bytes(32), 64)]
)
def test_a_path_of_another_length_is_the_caller_s_mistake(path: bytes, depth: int) -> None:
    for call in (
        lambda: prefixtree.page_key(1, path, depth, 0),
        lambda: prefixtree.read(bucket(A), path, depth, 0),
        lambda: prefixtree.look(bucket(A), path, depth, 0, key(1)),
    ):
        with pytest.raises(ValueError, match="a path is 32 bytes"):
            call()


def test_a_key_to_look_for_has_32_bytes_and_a_tag_one() -> None:
    with pytest.raises(ValueError, match="a key is 32 bytes"):
        prefixtree.look(bucket(A), TOP, 0, 0, bytes(31))
    for tag in (-1, 256):
        with pytest.raises(ValueError, match="one byte"):
            prefixtree.page_key(tag, TOP, 0, 0)
        with pytest.raises(ValueError, match="one byte"):
            prefixtree.Update(tag, None, {})


# -- the order of calls --


def test_an_update_takes_exactly_the_pages_it_wanted_and_is_finished_once() -> None:
    page = bucket(A, B)
    for pages in ([], [page, page]):
        work = prefixtree.Update(9, 3, {A[0]: None})
        assert work.wanted() == [b"\x09\x00" + U64(3)]
        with pytest.raises(ValueError, match="than were wanted"):
            work.feed(pages)
    work = prefixtree.Update(9, 3, {A[0]: None})
    with pytest.raises(ValueError, match="finished once"):
        work.finish(4)
    work.feed([page])
    assert work.wanted() == []
    assert work.finish(4)[2] == {b"\x09\x00" + U64(4): bucket(B)}
    with pytest.raises(ValueError, match="finished once"):
        work.finish(4)


def test_an_update_keeps_alive_what_it_points_into() -> None:
    edits = {bytes(bytearray(sha(number))): bytes(bytearray(sha(-number))) for number in range(500)}
    expected = oracle.root(edits)
    work = prefixtree.Update(9, None, edits)
    edits.clear()
    filler = [bytes(bytearray(b"\xaa" * 32)) for _ in range(5_000)]
    assert work.finish(0)[1] == expected
    assert len(filler) == 5_000


def test_every_way_to_hash_gives_the_same_root() -> None:
    """The module has its own choice of kernel, made when it is loaded: so each in a process of its own."""
    code = (
        "from pyrsia._native.prefixtree import Update; import hashlib\n"
        "work = Update(1, None, {hashlib.sha256(b'%d' % n).digest(): bytes(32) for n in range(999)})\n"
        "print(work.finish(0)[1].hex())"
    )
    pairs = {hashlib.sha256(b"%d" % number).digest(): bytes(32) for number in range(999)}
    for kernel in ("", "portable"):
        environment = {**os.environ, "PYRSIA_SHA256": kernel}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert done.stdout.strip() == oracle.root(pairs).hex()


def test_the_stub_names_exactly_what_the_module_has() -> None:
    stub = ast.parse(STUB.read_text())
    said = {node.name for node in stub.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    said |= {
        node.target.id
        for node in stub.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    has = {name for name in vars(prefixtree) if not name.startswith("_")}
    assert said == has - {"Sums"}  # an owner of memory
