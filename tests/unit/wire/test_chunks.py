"""Frames of data links: every message survives, every other byte string is refused by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.units import CHUNK_BYTES, MAX_ASK_CHUNKS, MAX_CHUNKS, MAX_DATA_FRAME_BYTES, ROW_CHUNKS
from pyrsia.wire import chunks
from pyrsia.wire.chunks import Message, Type

ID = bytes(range(32))
numbers = st.integers(0, MAX_CHUNKS.value - 1)


@st.composite
def messages(draw):
    kind = draw(st.sampled_from(Type))
    ident = draw(st.binary(min_size=32, max_size=32))
    if kind is Type.HAVE:
        count = draw(st.integers(0, 300))
        held = draw(st.integers(0, (1 << count) - 1))
        return Message(
            kind, ident, count=count, bits=draw(st.sampled_from([b"", chunks.bits_of(held, count)]))
        )
    if kind is Type.CHUNK:
        return Message(kind, ident, (draw(numbers),))
    if kind is Type.ALSO:
        ids = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=8, unique=True)
        return Message(kind, ident, nodes=tuple(draw(ids)))
    if kind in chunks.NUMBERED:
        least = 0 if kind is Type.NAK else 1
        some = draw(st.lists(numbers, min_size=least, max_size=MAX_ASK_CHUNKS.value, unique=True))
        return Message(kind, ident, tuple(some))
    return Message(kind, ident)


def frames(message, payload=b"x"):
    return (
        [chunks.encode(message), payload] if message.type in chunks.WITH_PAYLOAD else [chunks.encode(message)]
    )


@given(messages())
def test_every_message_survives_the_wire_from_bytes_and_from_views(message):
    assert chunks.decode(frames(message)) == message
    assert chunks.decode([memoryview(frame) for frame in frames(message)]) == message


@pytest.mark.parametrize(
    ("message", "raw"),
    [
        (Message(Type.WANT_MANIFEST, ID), "0101" + ID.hex()),
        (Message(Type.MANIFEST, ID), "0201" + ID.hex()),
        (Message(Type.WANT_HAVE, ID), "0301" + ID.hex()),
        (Message(Type.HAVE, ID, count=3), "0401" + ID.hex() + "00000003"),
        (Message(Type.HAVE, ID, count=10, bits=b"\x01\x02"), "0401" + ID.hex() + "0000000a0102"),
        (Message(Type.GET, ID, (7, 1)), "0501" + ID.hex() + "0000000700000001"),
        (Message(Type.CHUNK, ID, (64_999,)), "0601" + ID.hex() + "0000fde7"),
        (Message(Type.CANCEL, ID, (0,)), "0701" + ID.hex() + "00000000"),
        (Message(Type.NAK, ID), "0801" + ID.hex()),
        (Message(Type.BUSY, ID, (2,)), "0901" + ID.hex() + "00000002"),
        (Message(Type.ALSO, ID, nodes=(ID,)), "0a01" + ID.hex() + ID.hex()),
    ],
)
def test_the_bytes_of_each_message_are_pinned(message, raw):
    assert chunks.encode(message).hex() == raw


def head(kind, body=b"", proto=1):
    return bytes([kind, proto]) + ID + body


def u32(*values):
    return b"".join(value.to_bytes(4, "big") for value in values)


@pytest.mark.parametrize(
    "lie",
    [
        [],
        [b""],
        [head(1)[:-1]],
        [head(1, proto=2)],
        [head(0)],
        [head(11)],
        [head(10)],
        [head(10, bytes(31))],
        [head(10, bytes(64))],
        [head(10, bytes(32) + bytes(range(1, 33)) * 9)],
        [head(1), b"payload"],
        [head(1, b"\0\0\0\0")],
        [head(2)],
        [head(2), b""],
        [head(2), bytes(MAX_DATA_FRAME_BYTES.value + 1)],
        [head(6, u32(1))],
        [head(6), b"x"],
        [head(6, u32(1, 2)), b"x"],
        [head(6, u32(1)), b""],
        [head(6, u32(1)), bytes(ROW_CHUNKS.value * CHUNK_BYTES.value + 1)],
        [head(6, u32(1)), b"x", b"y"],
        [head(6, u32(MAX_CHUNKS.value)), b"x"],
        [head(5)],
        [head(5, u32(1)[:-1])],
        [head(5, u32(1, 1))],
        [head(5, u32(*range(17)))],
        [head(5, u32(2**32 - 1))],
        [head(5, u32(*range(16)) * 100_000)],
        [head(7)],
        [head(9)],
        [head(8, u32(*range(17)))],
        [head(4)],
        [head(4, u32(9) + b"\xff")],
        [head(4, u32(9) + b"\xff\xff\xff")],
        [head(4, u32(9) + b"\xff\x02")],
        [head(4, u32(0) + b"\0")],
        [head(4, u32(MAX_CHUNKS.value + 1))],
        [head(4, u32(MAX_CHUNKS.value) + bytes(9_000))],
    ],
)
def test_each_breach_of_the_format_is_refused(lie):
    with pytest.raises(Malformed, match="chunks:"):
        chunks.decode(lie)


@given(st.lists(st.binary(max_size=80), max_size=3))
def test_no_bytes_bring_anything_but_a_message_or_malformed(raw):
    try:
        message = chunks.decode(raw)
    except Malformed:
        return
    assert chunks.encode(message) == raw[0]


@given(st.integers(1, 10), st.binary(max_size=70), st.booleans())
def test_what_has_an_honest_head_is_one_message_in_one_encoding_or_refused(kind, body, payload):
    raw = [head(kind, body), b"x"] if payload else [head(kind, body)]
    try:
        message = chunks.decode(raw)
    except Malformed:
        return
    assert chunks.encode(message) == raw[0]


@given(st.integers(0, 70).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, (1 << n) - 1))))
def test_a_bitfield_speaks_of_the_chunks_whose_bits_are_set(case):
    count, held = case
    message = Message(Type.HAVE, ID, count=count, bits=chunks.bits_of(held, count))

    assert chunks.held_of(chunks.decode([chunks.encode(message)])) == held
    assert chunks.held_of(Message(Type.HAVE, ID, count=count)) == (1 << count) - 1


def test_a_have_of_everything_has_no_bitfield_and_a_have_of_nothing_has_one():
    assert chunks.have(ID, 9, 0x1FF) == Message(Type.HAVE, ID, count=9)
    assert chunks.have(ID, 9, 0) == Message(Type.HAVE, ID, count=9, bits=b"\0\0")
    assert chunks.have(ID, 0, 0) == Message(Type.HAVE, ID)
    assert chunks.held_of(chunks.have(ID, 9, 0)) == 0


@pytest.mark.parametrize(
    "message",
    [
        Message(Type.GET, ID),
        Message(Type.GET, ID, tuple(range(17))),
        Message(Type.GET, ID, (1, 1)),
        Message(Type.GET, b"short", (1,)),
        Message(Type.CHUNK, ID, (-1,)),
        Message(Type.WANT_HAVE, ID, count=3),
        Message(Type.HAVE, ID, count=9, bits=b"\0"),
        Message(Type.HAVE, ID, (1,), count=9),
        Message(Type.ALSO, ID),
        Message(Type.ALSO, ID, nodes=(b"short",)),
        Message(Type.ALSO, ID, (1,), nodes=(ID,)),
        Message(Type.NAK, ID, nodes=(ID,)),
    ],
)
def test_a_message_that_cannot_be_is_the_callers_mistake(message):
    with pytest.raises(ValueError):
        chunks.encode(message)


@given(
    st.one_of(
        st.binary(max_size=80), st.binary(min_size=36, max_size=36).map(lambda tail: b"\x06\x01" + tail)
    ),
    st.integers(0, CHUNK_BYTES.value + 1),
)
def test_the_short_way_for_chunks_finds_what_decode_finds(first, size):
    def whole():
        try:
            return chunks.decode([first, bytes(size)])
        except Malformed:
            return None

    message = whole()
    found = chunks.chunk_of(first, size)
    if message is None or message.type is not Type.CHUNK:
        assert found is None
    else:
        assert found == (message.manifest_id, message.chunks[0])
        assert chunks.chunk_head(*found) == first
