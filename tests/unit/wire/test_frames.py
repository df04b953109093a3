"""Frames, parts and greetings of control links: one reading for each byte string, bounded memory, one way to fail."""

import contextlib
import struct
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.keys import KeyPair, verify
from pyrsia.units import MAX_LINK_MESSAGE_BYTES, MAX_PART_BYTES, NodeId
from pyrsia.wire import frames
from pyrsia.wire.frames import Assembler, Frame, Greeting, Type

STEP, MOST = MAX_PART_BYTES.value, MAX_LINK_MESSAGE_BYTES.value
PAIR = KeyPair(bytes(32))
U64, U32, U16 = st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 32) - 1), st.integers(0, 65_535)
NUMBERED = (Type.SEND, Type.REQUEST)


@st.composite
def any_frame(draw):
    kind = draw(st.sampled_from(Type))
    number = draw(U16) if kind in NUMBERED else 0
    return Frame(kind, draw(U64), draw(U32), number, draw(st.binary(max_size=300)))


def parts_of(message, ident=7):
    """The PART frames of an encoded message, as a reader sees them."""
    return [frames.decode(frames.part(message, ident, i)) for i in range(frames.part_count(len(message)))]


def put_together(parts):
    assembler = Assembler()
    return [assembler.add(part) for part in parts]


def big(size=3 * STEP, kind=Type.SEND):
    body = bytes(i % 251 for i in range(1_000)) * (size // 1_000 + 1)
    return Frame(kind, 5, 6, 7 if kind in NUMBERED else 0, body[:size])


# -- frames --


@given(U64, U32, U16, st.binary(max_size=40))
def test_requests_and_replies_have_a_short_way_to_the_same_bytes(ident, deadline_ms, method, body):
    asked = Frame(Type.REQUEST, ident, deadline_ms, method, body)
    assert frames.request(ident, deadline_ms, method, body) == frames.encode(asked)
    assert frames.reply(ident, body) == frames.encode(Frame(Type.REPLY, ident, body=body))


@pytest.mark.parametrize(
    "write", [lambda body: frames.request(1, 1, 1, body), lambda body: frames.reply(1, body)]
)
def test_the_short_way_has_the_same_bound(write):
    assert len(write(bytes(MOST))) > MOST
    with pytest.raises(ValueError, match="over"):
        write(bytes(MOST + 1))


# -- bundles --


def out_of(packed):
    """The frames in what was packed, in order."""
    found = []
    for one in packed:
        frame = frames.decode(one)
        found += frames.unbundled(frame.body, 99) if frame.type is Type.BUNDLE else [one]
    return found


@given(st.lists(st.integers(0, 70_000) | st.integers(0, 99), max_size=70))
def test_what_was_bundled_comes_out_in_order_and_no_bundle_is_larger_than_a_part(sizes):
    batch = [frames.reply(at, bytes(size)) for at, size in enumerate(sizes)]
    packed = frames.bundled(batch)
    assert out_of(packed) == batch
    for one in packed:
        assert one in batch or len(one) <= frames.HEADER_BYTES + STEP
    small = sum(len(one) + 4 for one in batch) <= STEP
    assert len(packed) == (min(1, len(batch)) if small else len(packed))


def test_one_frame_travels_as_it_is():
    assert frames.bundled([b"alone"]) == [b"alone"]
    assert frames.bundled([]) == []


@given(st.binary(max_size=60), st.integers(0, 5))
@example(b"", 0)
@example(b"\0\0\0\0" * 3, 2)
@example(b"\0\0\0\x01", 5)
@example(b"\0\0\0", 5)
@example(b"\xff\xff\xff\xffx", 5)
def test_a_bundle_is_refused_or_has_one_reading(body, most):
    try:
        found = frames.unbundled(body, most)
    except Malformed:
        return
    assert len(found) <= most
    assert b"".join(struct.pack(">I", len(one)) + one for one in found) == body


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\0\0\0", "cut off"),
        (b"\0\0\0\x02x", "cut off"),
        (b"\xff\xff\xff\xffx", "cut off"),
        (b"\0\0\0\0" * 3, "more frames than a peer sends"),
    ],
)
def test_a_bundle_that_is_none(body, why):
    with pytest.raises(Malformed, match=why):
        frames.unbundled(body, 2)


@given(any_frame())
def test_what_was_encoded_is_decoded(frame):
    data = frames.encode(frame)
    assert frames.decode(data) == frame
    head = struct.pack(">BBQI", frame.type, 1, frame.request, frame.deadline_ms)
    number = struct.pack(">H", frame.number) if frame.type in NUMBERED else b""
    assert data == head + number + frame.body


@given(st.binary(max_size=60) | any_frame().map(frames.encode))
@example(b"")
def test_bytes_are_refused_or_have_one_reading(data):
    try:
        frame = frames.decode(data)
    except Malformed:
        return
    assert frames.encode(frame) == data


@given(any_frame(), st.data())
def test_a_cut_or_changed_head_is_refused_or_another_frame(frame, data):
    raw = frames.encode(frame)
    cut = data.draw(st.integers(0, frames.HEADER_BYTES - 1))
    with pytest.raises(Malformed):
        frames.decode(raw[:cut])
    at, flip = data.draw(st.integers(0, frames.HEADER_BYTES - 1)), data.draw(st.integers(1, 255))
    changed = raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :]
    with contextlib.suppress(Malformed):
        assert frames.decode(changed) != frame


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x03\x01" + bytes(12), "no message number"),
        (b"\x03\x01" + bytes(13), "no message number"),
        (b"\x00\x01" + bytes(12), "no type 0"),
        (b"\x0d\x01" + bytes(12), "no type 13"),
        (b"\x08\x00" + bytes(12), "protocol 0"),
        (b"\x08\x02" + bytes(12), "protocol 2"),
        (b"\x08\x01" + bytes(11), "shorter than its header"),
    ],
)
def test_the_reason_is_told(data, why):
    with pytest.raises(Malformed, match=why):
        frames.decode(data)


def test_a_body_over_the_limit_is_the_callers_mistake():
    assert len(frames.encode(Frame(Type.REPLY, body=bytes(MOST)))) == frames.HEADER_BYTES + MOST
    with pytest.raises(ValueError, match="over"):
        frames.encode(Frame(Type.REPLY, body=bytes(MOST + 1)))


@given(U64, st.binary(max_size=40))
def test_the_number_goes_before_the_frame(seq, data):
    assert frames.split_seq(frames.with_seq(seq, data)) == (seq, data)
    with pytest.raises(Malformed):
        frames.split_seq(data[: frames.SEQ_BYTES - 1])


# -- parts --


@settings(max_examples=40)
@given(
    st.sampled_from(["first", "exact", "over", "most"]),
    st.sampled_from([Type.SEND, Type.REQUEST, Type.REPLY]),
)
def test_a_big_message_comes_out_whole_after_its_last_part(which, kind):
    size = {"first": STEP, "exact": 2 * STEP - 16, "over": 2 * STEP + 1, "most": MOST}[which]
    frame = big(size, kind)
    message = frames.encode(frame)
    parts = parts_of(message)
    assert len(parts) == -(-len(message) // STEP)
    assert all(len(frames.with_seq(1, frames.encode(part))) <= frames.FRAME_BYTES for part in parts)
    assert put_together(parts) == [None] * (len(parts) - 1) + [frame]


def part(ident, index, of, piece):
    return Frame(Type.PART, ident, 0, 0, struct.pack(">HH", index, of) + piece)


FULL = bytes(STEP)


@pytest.mark.parametrize(
    ("sequence", "why"),
    [
        ([part(1, 1, 3, FULL)], "1 of 3 does not follow"),
        ([part(1, 0, 3, FULL), part(1, 2, 3, b"x")], "2 of 3 does not follow"),
        ([part(1, 0, 3, FULL), part(2, 1, 3, FULL)], "does not follow"),  # of another message
        ([part(1, 0, 3, FULL), part(1, 1, 4, FULL)], "does not follow"),  # that says another length
        ([part(1, 0, 3, FULL), part(1, 1, 3, FULL), part(1, 1, 3, FULL)], "does not follow"),
        ([part(1, 0, 3, FULL), part(1, 1, 3, FULL), part(1, 3, 3, FULL)], "does not follow"),
        ([part(1, 0, 1, b"x")], "a message of 1 parts"),
        ([part(1, 0, 0, b"x")], "a message of 0 parts"),
        ([part(1, 0, 18, FULL)], "a message of 18 parts"),
        ([part(1, 0, 65_535, FULL)], "a message of 65535 parts"),
        ([part(1, 0, 2, FULL[:-1])], "65535 bytes"),
        ([part(1, 0, 2, FULL + b"x")], "65537 bytes"),
        ([part(1, 0, 2, FULL), part(1, 1, 2, b"")], "0 bytes"),
        ([part(1, 0, 2, FULL), part(1, 1, 2, FULL + b"x")], "65537 bytes"),
        ([Frame(Type.PART, 1, body=b"\0\0\0")], "shorter than its header"),
        ([part(1, 0, 2, FULL), part(1, 1, 2, b"x")], "protocol 0"),  # no frame inside
    ],
)
def test_parts_that_no_honest_sender_makes_are_refused(sequence, why):
    assembler = Assembler()
    for item in sequence[:-1]:
        assert assembler.add(item) is None
    with pytest.raises(Malformed, match=why):
        assembler.add(sequence[-1])


def test_parts_within_parts_are_refused():
    inner = frames.encode(Frame(Type.PART, body=bytes(2 * STEP)))
    with pytest.raises(Malformed, match="parts within parts"):
        put_together(parts_of(inner))


def test_a_message_over_the_limit_is_refused_when_it_is_whole():
    """Seventeen full parts hold more than a message may."""
    message = frames.encode(Frame(Type.REPLY, body=bytes(MOST))) + bytes(100)
    with pytest.raises(Malformed, match="too large"):
        put_together(parts_of(message))


def test_a_sender_may_start_over_and_the_half_message_is_dropped():
    first, second = (parts_of(frames.encode(big(2 * STEP + i)), ident=i) for i in (1, 2))
    assert put_together([*first[:2], *second]) == [None] * (2 + len(second) - 1) + [big(2 * STEP + 2)]


def test_messages_follow_each_other():
    messages = [big(STEP), big(3 * STEP), big(STEP + 1)]
    parts = [part for i, message in enumerate(messages) for part in parts_of(frames.encode(message), i)]
    assert [whole for whole in put_together(parts) if whole is not None] == messages


def held(assembler):
    return sum(map(len, assembler._pieces))


def test_a_whole_that_does_not_decode_leaves_nothing_behind_and_takes_no_further_part():
    """Memory: the parts of a message that was refused must not be added to for ever."""
    assembler = Assembler()
    assembler.add(part(1, 0, 2, FULL))
    with pytest.raises(Malformed):
        assembler.add(part(1, 1, 2, FULL))
    assert held(assembler) == 0
    for index in (2, 3, 4):
        with pytest.raises(Malformed, match="does not follow"):
            assembler.add(part(1, index, 2, FULL))
    assert held(assembler) == 0
    assert [assembler.add(item) for item in parts_of(frames.encode(big()))][-1] == big()


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(0, 20) | U16,
            st.sampled_from([0, 1, 2, 3, 17, 18, 65_535]),
            st.sampled_from(
                [FULL, b"", b"x", FULL + b"x", frames.encode(Frame(Type.REPLY, body=FULL))[:STEP]]
            ),
        ),
        max_size=30,
    )
)
def test_whatever_parts_come_only_malformed_escapes_and_memory_is_one_message(sequence):
    assembler = Assembler()
    for item in sequence:
        with contextlib.suppress(Malformed):
            whole = assembler.add(part(*item))
            assert whole is None or len(whole.body) <= MOST
        assert held(assembler) <= 17 * STEP


# -- greetings --

NAMES = st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), max_size=64)
ADDRESSES = st.sampled_from(["", "tcp://127.0.0.1:44000", "tcp://[::1]:1", "tcp://a-b.example.org:65535"])
HASHES = st.binary(min_size=32, max_size=32)
GREETINGS = st.builds(
    Greeting, HASHES.map(NodeId), HASHES, HASHES.map(NodeId), st.binary(min_size=16, max_size=16), U64,
    NAMES, ADDRESSES, ADDRESSES, ADDRESSES,
)  # fmt: skip
GOOD = Greeting(
    NodeId(PAIR.public),
    b"c" * 32,
    NodeId(b"t" * 32),
    b"n" * 16,
    5,
    "ann",
    "tcp://127.0.0.1:1",
    "tcp://127.0.0.1:2",
    "tcp://127.0.0.1:3",
)


def signed(greeting, welcome=False):
    return frames.encode_greeting(greeting, PAIR.sign(frames.greeting_to_sign(greeting, welcome=welcome)))


@given(GREETINGS, st.binary(min_size=64, max_size=64))
def test_a_greeting_is_read_as_it_was_said(greeting, signature):
    assert frames.decode_greeting(frames.encode_greeting(greeting, signature)) == (greeting, signature)


@given(st.binary(max_size=400))
def test_noise_is_no_greeting(data):
    try:
        greeting, signature = frames.decode_greeting(data)
    except Malformed:
        return
    assert frames.encode_greeting(greeting, signature) == data


@settings(max_examples=300)
@given(st.data())
def test_a_greeting_with_one_changed_cut_or_added_byte_is_refused_or_its_signature_is_wrong(data):
    raw = signed(GOOD)
    at = data.draw(st.integers(0, len(raw) - 1))
    how = data.draw(st.sampled_from(["change", "cut", "add"]))
    middle = {
        "change": bytes([raw[at] ^ data.draw(st.integers(1, 255))]),
        "cut": b"",
        "add": raw[at : at + 1] + b"x",
    }
    changed = raw[:at] + middle[how] + raw[at + 1 :]
    try:
        greeting, signature = frames.decode_greeting(changed)
    except Malformed:
        return
    assert not verify(greeting.node, frames.greeting_to_sign(greeting, welcome=False), signature)


def test_a_hello_never_passes_for_a_welcome():
    greeting, signature = frames.decode_greeting(signed(GOOD))
    assert verify(greeting.node, frames.greeting_to_sign(greeting, welcome=False), signature)
    assert not verify(greeting.node, frames.greeting_to_sign(greeting, welcome=True), signature)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"name": "x" * 65}, "the name"),
        ({"name": "a\x1b[2Jb"}, "the name"),
        ({"name": "a\u202eb"}, "the name"),
        ({"name": "a\nb"}, "the name"),
        ({"control": "udp://127.0.0.1:1"}, "address"),
        ({"control": "tcp://127.0.0.1"}, "address"),
        ({"control": "tcp://127.0.0.1:1;tcp://evil:2"}, "address"),
        ({"control": "tcp://user@host:1"}, "address"),
        ({"control": "ipc:///tmp/x"}, "address"),
        ({"control": "inproc://x"}, "address"),
        ({"control": "tcp://" + "a" * 201 + ":1"}, "address"),
        ({"control": "tcp://\u00e9:1"}, "address"),
        ({"data": "tcp://127.0.0.1:1\n"}, "address"),
        ({"data": "tcp://[::1:1"}, "address"),
        ({"data": "tcp://*:*"}, "address"),
    ],
)
def test_names_and_addresses_are_what_they_say(change, why):
    with pytest.raises(Malformed, match=why):
        frames.decode_greeting(signed(replace(GOOD, **change)))


def test_lengths_that_do_not_fit_are_refused():
    raw = signed(GOOD)
    fixed = 32 * 3 + 16 + 8
    for data in (b"", raw[:fixed], raw[: fixed + 66], raw + bytes(800), bytes(fixed + 2 + 64)):
        with pytest.raises(Malformed):
            frames.decode_greeting(data)
    for length in (4, 200, 255):  # the name's own length byte lies
        with pytest.raises(Malformed):
            frames.decode_greeting(raw[:fixed] + bytes([length]) + raw[fixed + 1 :])
    with pytest.raises(Malformed, match="UTF-8"):
        frames.decode_greeting(raw[: fixed + 1] + b"\xff" + raw[fixed + 2 :])
    with pytest.raises(Malformed, match="left over"):
        frames.decode_greeting(raw[:-64] + b"x" + raw[-64:])
    with pytest.raises(ValueError, match="64 bytes"):
        frames.encode_greeting(GOOD, bytes(63))
