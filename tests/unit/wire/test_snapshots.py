"""One byte string for each word about snapshots, and nothing but `Malformed` for any other."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.wire import snapshots as wire
from pyrsia.wire.blocks import Block, Body, FinalityProof, Justification
from pyrsia.wire.epochs import EpochEnd
from pyrsia.wire.snapshots import Anchor, Fork, Place, Point, Rows, Step
from tests.unit.consensus.test_light import FIRST, SECOND, Net

HASHES = tuple(bytes([number]) * 32 for number in range(5))


def anchor() -> Anchor:
    net = Net(FIRST)
    header = net.block()
    return Anchor(
        Block(header, Body((), Justification(None))),
        net.proof(),
        b"seal",
        HASHES[:3],
        (HASHES[0], HASHES[1] * 2),
        HASHES[:1],
    )


def step() -> EpochEnd:
    return Net(FIRST).end(SECOND, tails=1)


def encode_anchor(found: Anchor) -> bytes:
    return found.encode()


def encode_parts(parts: tuple[wire.Part, ...]) -> bytes:
    return b"".join(map(wire.encode_part, parts))


def pieces(data: bytes) -> tuple[bytes, ...]:
    return wire.decode_pieces(data, 3)


PLACE = Place(wire.STATE, 3, bytes.fromhex("abc0") + bytes(30))
# decoder, encoder, what is said
WORDS: dict[str, tuple[Callable, Callable, object]] = {
    "points": (wire.decode_points, wire.encode_points, (Point(3, 400, HASHES[1]), Point(9, 800, HASHES[2]))),
    "no-points": (wire.decode_points, wire.encode_points, ()),
    "ask-anchor": (wire.asked_anchor, lambda told: wire.ask_anchor(*told), (HASHES[3], 77)),
    "anchor": (Anchor.decode, encode_anchor, anchor()),
    "ask-steps": (wire.asked_steps, lambda told: wire.ask_steps(*told), (2, 77)),
    "steps": (wire.decode_steps, wire.encode_steps, (Step(step(), HASHES[:2]), Step(step()))),
    "ask-parts": (
        wire.asked_parts,
        lambda told: wire.ask_parts(*told),
        (HASHES[4], (*wire.ROOTS, PLACE, PLACE.child(7))),
    ),
    "parts": (
        wire.decode_parts,
        encode_parts,
        (Fork(PLACE, ((0, HASHES[0]), (15, HASHES[1]))), Rows(PLACE, ((b"key", b"value"), (b"k", b"")))),
    ),
    "ask-bundles": (wire.asked_bundles, wire.ask_bundles, ((7, 256), (6, 1))),
    "ask-tiles": (wire.asked_tiles, wire.ask_tiles, ((1, 9), (2, 0))),
    "pieces": (pieces, wire.encode_pieces, (b"one", b"", b"three")),
}


@pytest.mark.parametrize("word", WORDS)
def test_every_word_is_read_back(word: str) -> None:
    decode, encode, told = WORDS[word]
    data = encode(told)
    assert decode(data) == told
    for cut in range(len(data)):
        with suppress(Malformed):
            assert encode(decode(data[:cut])) == data[:cut]


@given(word=st.sampled_from(sorted(WORDS)), at=st.integers(min_value=0), byte=st.integers(0, 255))
def test_altered_bytes_say_something_else_or_nothing(word: str, at: int, byte: int) -> None:
    decode, encode, told = WORDS[word]
    data = bytearray(encode(told))
    if not data:
        return
    data[at % len(data)] = byte
    try:
        found = decode(bytes(data))
    except Malformed:
        return
    assert encode(found) == bytes(data)


@given(data=st.binary(max_size=200), word=st.sampled_from(sorted(WORDS)))
def test_any_bytes_are_refused_or_have_one_form(data: bytes, word: str) -> None:
    decode, encode, _ = WORDS[word]
    try:
        found = decode(data)
    except Malformed:
        return
    assert encode(found) == data


@pytest.mark.parametrize(
    ("decode", "data"),
    [
        (wire.decode_points, bytes((17,)) + bytes(17 * 48)),
        (wire.asked_parts, bytes(32) + b"\0"),
        (wire.asked_parts, bytes(32) + b"\x41" + b"\x01\x00" * 65),
        (wire.asked_parts, bytes(32) + b"\x01\x02\x00"),  # no such tree
        (wire.asked_parts, bytes(32) + b"\x01\x01\x40" + bytes(32)),  # 64 nibbles
        (wire.asked_parts, bytes(32) + b"\x01\x01\x01\xff"),  # a nibble behind the last
        (wire.decode_parts, b"\x01\x00\x03"),  # no such kind
        (wire.decode_parts, b"\x01\x00\x02\x00\x00"),  # a fork of nothing
        (wire.decode_parts, b"\x01\x00\x01\xff\xff\xff\xff"),  # four billion rows
        (wire.asked_bundles, b""),
        (wire.asked_bundles, bytes(10 * 65)),
        (wire.asked_tiles, bytes(9 * 49)),
        (pieces, wire.encode_pieces([b"x"] * 4)),
    ],
)
def test_what_is_too_much_or_names_nothing_is_refused(decode: Callable, data: bytes) -> None:
    with pytest.raises(Malformed):
        decode(data)


def test_a_place_knows_its_keys() -> None:
    key = bytes.fromhex("abcd") + bytes(30)
    assert PLACE.holds(key)
    assert PLACE.slot(key) == 0xD
    assert PLACE.child(0xD).holds(key)
    assert not PLACE.child(0xE).holds(key)
    assert PLACE.child(0xD) == Place(wire.STATE, 4, key)


def test_an_anchor_names_its_point() -> None:
    found = anchor()
    header = found.block.header
    assert found.point == Point(header.height, header.tree_size, header.hash())
    assert FinalityProof.decode(found.proof.encode()) == found.proof
