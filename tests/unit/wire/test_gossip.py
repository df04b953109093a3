"""Frames, vectors and answers of broadcasts: read as they were written, and what is none is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.units import BROADCAST_FRAME_BYTES, NodeId
from pyrsia.wire import gossip

TOP = 2**64 - 1


@st.composite
def spans(draw):
    edges = sorted(draw(st.sets(st.integers(0, TOP), min_size=2, max_size=12)))
    made, last = [], -2
    for first, end in zip(edges[::2], edges[1::2], strict=False):
        if first > last + 1:
            made.append((first, end))
            last = end
    return tuple(made)


VECTORS = st.dictionaries(st.binary(min_size=32, max_size=32).map(NodeId), spans(), max_size=6)


@given(VECTORS)
def test_a_vector_is_read_as_it_was_written_and_has_one_encoding(vector):
    data = gossip.encode_vector(vector)
    assert gossip.decode_vector(data) == vector
    assert gossip.encode_vector(gossip.decode_vector(data)) == data


@given(st.binary(max_size=300))
def test_noise_is_no_vector_or_encodes_to_itself(data):
    try:
        vector = gossip.decode_vector(data)
    except Malformed:
        return
    assert gossip.encode_vector(vector) == data


ONE = {NodeId(b"a" * 32): ((1, 2), (9, 9)), NodeId(b"b" * 32): ((0, TOP),)}


@pytest.mark.parametrize("cut", range(len(gossip.encode_vector(ONE))))
def test_a_cut_vector_is_refused(cut):
    with pytest.raises(Malformed):
        gossip.decode_vector(gossip.encode_vector(ONE)[:cut])


def raw(origin, *ranges):
    words = b"".join(first.to_bytes(8, "big") + last.to_bytes(8, "big") for first, last in ranges)
    return origin + bytes([len(ranges)]) + words


@pytest.mark.parametrize(
    "body",
    [
        b"\x00\x01" + raw(b"a" * 32, (5, 4)),
        b"\x00\x01" + raw(b"a" * 32, (1, 5), (5, 9)),
        b"\x00\x01" + raw(b"a" * 32, (1, 5), (6, 9)),
        b"\x00\x01" + raw(b"a" * 32, (6, 9), (1, 2)),
        b"\x00\x01" + raw(b"a" * 32, (0, TOP), (0, 0)),
        b"\x00\x01" + raw(b"a" * 32),
        b"\x00\x02" + raw(b"a" * 32, (1, 1)) + raw(b"a" * 32, (3, 3)),
        b"\x00\x02" + raw(b"b" * 32, (1, 1)) + raw(b"a" * 32, (3, 3)),
        b"\x00\x00left over",
        b"\xff\xff" + raw(b"a" * 32, (1, 1)),
        bytes(gossip.MAX_VECTOR_BYTES.value + 1),
    ],
    ids=["backwards", "overlap", "touch", "order", "all", "none", "twice", "origins", "rest", "many", "long"],
)
def test_vectors_that_lie_in_their_form_are_refused(body):
    with pytest.raises(Malformed):
        gossip.decode_vector(body)


def test_a_vector_with_too_much_in_it_is_the_callers_mistake():
    many = {NodeId(number.to_bytes(32, "big")): ((1, 1),) for number in range(gossip.MAX_ORIGINS.value + 1)}
    with pytest.raises(ValueError, match="origins"):
        gossip.encode_vector(many)
    with pytest.raises(ValueError, match="ranges"):
        gossip.encode_vector({NodeId(b"a" * 32): tuple((2 * n, 2 * n) for n in range(65))})


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20))
def test_an_answer_is_read_as_it_was_written(envelopes):
    assert gossip.decode_answer(gossip.encode_answer(envelopes)) == envelopes


@given(st.binary(max_size=200))
def test_noise_is_no_answer_or_encodes_to_itself(data):
    try:
        found = gossip.decode_answer(data)
    except Malformed:
        return
    assert gossip.encode_answer(found) == data


@pytest.mark.parametrize(
    "data", [b"\x00\x00", b"\x00", b"\x00\x05abc", bytes(gossip.MAX_ANSWER_BYTES.value + 1)]
)
def test_an_answer_that_is_cut_or_too_long_is_refused(data):
    with pytest.raises(Malformed):
        gossip.decode_answer(data)


def test_a_frame_is_its_topic_and_the_envelope():
    assert gossip.unframe(gossip.frame("news/", b"envelope/with")) == (b"news/", b"envelope/with")


@pytest.mark.parametrize("data", [b"", b"news", b"x" * 40 + b"/", b"a/" + bytes(BROADCAST_FRAME_BYTES.value)])
def test_what_begins_with_no_topic_is_no_frame(data):
    with pytest.raises(Malformed):
        gossip.unframe(data)
