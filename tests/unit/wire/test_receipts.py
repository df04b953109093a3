"""Asks for receipts: one form each, pinned bytes, and nothing else is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.units import MAX_LINK_MESSAGE_BYTES, MAX_OUTPUTS, MAX_PART_BYTES
from pyrsia.wire.receipts import MAX_BLOBS, Ask, Wanted, check_answer

hashes = st.binary(min_size=32, max_size=32)
blobs = st.builds(Wanted, hashes, hashes, st.integers(0, 1 << 50))
asks = st.builds(Ask.of, hashes, st.lists(blobs, min_size=1, max_size=20))


def wanted(word, size=1):
    return Wanted(bytes([word]) * 32, bytes([word]) * 32, size)


@given(asks)
def test_every_ask_is_read_as_it_was_written(ask):
    assert Ask.decode(ask.encode()) == ask


@given(st.binary(max_size=300))
def test_whatever_is_read_has_one_form_and_nothing_but_malformed_escapes(data):
    try:
        ask = Ask.decode(data)
    except Malformed:
        return
    assert ask.encode() == data


@given(asks, st.data())
def test_an_ask_that_is_cut_longer_or_out_of_order_is_refused(ask, data):
    whole = ask.encode()
    cut = data.draw(st.integers(0, len(whole) - 1))
    bad = [whole[:cut], whole + b"\0", Ask(ask.request, ask.blobs + ask.blobs[-1:]).encode()]
    if len(ask.blobs) > 1:
        bad.append(Ask(ask.request, ask.blobs[::-1]).encode())
    for wrong in bad:
        with pytest.raises(Malformed):
            Ask.decode(wrong)


def test_the_bytes_are_those_of_the_page():
    ask = Ask.of(b"r" * 32, [wanted(2, 3), wanted(1, 0x0102), wanted(2, 3)])
    said = b"r" * 32 + b"\0\2" + b"\1" * 64 + b"\0\0\0\0\0\0\1\2" + b"\2" * 64 + b"\0\0\0\0\0\0\0\3"
    assert ask.encode() == said


def test_the_bounds_hold_at_both_ends():
    for count in (0, MAX_BLOBS.value + 1):
        many = [wanted(1, size) for size in range(count)]
        with pytest.raises(ValueError, match=f"{count} blobs"):
            Ask.of(bytes(32), many)
        with pytest.raises(Malformed):
            Ask.decode(Ask(bytes(32), tuple(many)).encode())
    most = Ask.of(bytes(32), [wanted(1, size) for size in range(MAX_BLOBS.value)])
    assert Ask.decode(most.encode()) == most
    assert len(most.encode()) <= MAX_PART_BYTES.value < MAX_LINK_MESSAGE_BYTES.value
    assert MAX_BLOBS.value == 9 * MAX_OUTPUTS.value + 3
    with pytest.raises(Malformed, match="more bytes than there are"):
        Ask.decode(Ask(bytes(32), (wanted(1, (1 << 50) + 1),)).encode())


@pytest.mark.parametrize("size", [0, 63, 65, 1_000])
def test_an_answer_is_a_signature(size):
    with pytest.raises(Malformed):
        check_answer(bytes(size))
    assert check_answer(bytes(64)) == bytes(64)
