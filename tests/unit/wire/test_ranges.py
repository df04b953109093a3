"""Recipes and ranges on a data link: read as they were written, everything else refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.wire import chunks, ranges
from pyrsia.wire.ranges import Message, Type

ID = b"i" * 32
RANGES = st.lists(
    st.tuples(st.integers(0, ranges.MAX_OFFSET), st.integers(1, 1_024)), min_size=1, max_size=256
).map(tuple)
MESSAGES = st.one_of(
    st.just(Message(Type.WANT_RECIPE, ID)),
    st.just(Message(Type.RECIPE, ID)),
    st.builds(Message, st.just(Type.GET_RANGES), st.just(ID), st.integers(1, 2**32 - 1), RANGES),
    st.builds(Message, st.just(Type.RANGES), st.just(ID), st.integers(1, 2**32 - 1)),
    st.builds(Message, st.just(Type.NONE), st.just(ID), st.integers(0, 2**32 - 1)),
)


def frames_of(message):
    head = ranges.encode(message)
    return [head, b"payload"] if message.type in ranges.WITH_PAYLOAD else [head]


@given(MESSAGES)
def test_a_message_is_read_as_it_was_written(message):
    frames = frames_of(message)
    assert ranges.decode(frames) == message
    assert ranges.is_one(frames[0])


@given(st.lists(st.binary(max_size=120), max_size=3))
def test_noise_is_refused_or_encodes_to_itself(frames):
    try:
        message = ranges.decode(frames)
    except Malformed:
        return
    assert ranges.encode(message) == frames[0]


@given(MESSAGES, st.integers(0, 200))
def test_a_cut_message_is_refused_or_another_whole_one(message, count):
    frames = frames_of(message)
    cut = [frames[0][:count], *frames[1:]]
    try:
        found = ranges.decode(cut)
    except Malformed:
        return
    assert ranges.encode(found) == cut[0]


@pytest.mark.parametrize(
    "asked",
    [
        (),
        ((0, 0),),
        ((-1, 5),),
        ((2**53, 1),),
        ((0, 262_145),),
        tuple((at, 1) for at in range(257)),
        ((0, 2**40),),
    ],
    ids=["none", "empty", "before", "beyond", "too-much", "too-many", "overflow"],
)
def test_stretches_beyond_the_bounds_are_not_asked_for(asked):
    with pytest.raises((ValueError, ranges.struct.error)):
        ranges.encode(Message(Type.GET_RANGES, ID, 1, asked))


def test_an_answer_over_the_bounds_is_refused():
    head = ranges.encode(Message(Type.RANGES, ID, 1))
    assert ranges.decode([head, bytes(262_144)]).number == 1
    for payload in (b"", bytes(262_145)):
        with pytest.raises(Malformed):
            ranges.decode([head, payload])


def test_types_are_told_apart_from_those_of_chunks():
    assert not ranges.is_one(chunks.encode(chunks.Message(chunks.Type.WANT_HAVE, ID)))
    assert max(chunks.Type) < ranges.FIRST
    with pytest.raises(Malformed):
        chunks.decode([ranges.encode(Message(Type.WANT_RECIPE, ID))])
