"""Messages of membership: they survive their codec, and nothing but `Malformed` comes of other bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.units import MAX_INCARNATION, MAX_ROWS, MAX_TOLD, MAX_TREE_SIZE, NodeId
from pyrsia.wire.membership import (
    FIRST,
    LAST,
    MAX_MESSAGE_BYTES,
    Ack,
    Ask,
    Nack,
    Ping,
    Relayed,
    Row,
    Statement,
    Sync,
    Tell,
    Vitals,
    Word,
    decode,
    encode,
    to_sign,
)

ids = st.binary(min_size=32, max_size=32).map(NodeId)
numbers = st.integers(1, MAX_INCARNATION.value)
seqs = st.integers(0, (1 << 32) - 1)
ANN, BOB = NodeId(b"a" * 32), NodeId(b"b" * 32)


@st.composite
def statements(draw):
    word, node, author = draw(st.sampled_from(Word)), draw(ids), draw(ids)
    if word is not Word.SUSPECT or author == node:
        word, author = Word.ALIVE if word is Word.SUSPECT else word, node
    return Statement(word, node, draw(numbers), author, draw(st.binary(min_size=64, max_size=64)))


told = st.lists(statements(), max_size=4).map(tuple)
vitals = st.builds(
    Vitals,
    st.integers(0, MAX_TREE_SIZE.value),
    st.integers(0, 65_535),
    st.from_regex(r"[0-9A-Za-z.+\-]{0,32}", fullmatch=True),
)


@st.composite
def pages(draw):
    nodes = sorted(set(draw(st.lists(ids.filter(lambda one: one != FIRST), max_size=4))))
    rows = tuple(
        Row(node, draw(st.integers(0, MAX_INCARNATION.value)), draw(st.sampled_from(Word))) for node in nodes
    )
    return Sync(FIRST, LAST, rows)


messages = st.one_of(
    st.builds(Ping, seqs, told),
    st.builds(Ack, seqs, vitals, told),
    st.builds(Ask, seqs, ids, told),
    st.builds(Relayed, seqs),
    st.builds(Nack, seqs, st.booleans()),
    pages(),
    st.builds(Tell, told, st.lists(ids, max_size=4).map(tuple), st.none() | ids),
)


def alive(node=ANN, incarnation=1):
    return Statement(Word.ALIVE, node, incarnation, node, bytes(64))


EACH = (
    Ping(1, (alive(),)),
    Ack(1, Vitals(5, 6, "0.1.0"), (alive(),)),
    Ask(1, BOB, (alive(),)),
    Relayed(1),
    Nack(1, True),
    Sync(FIRST, LAST, (Row(ANN, 1, Word.ALIVE),)),
    Tell((Statement(Word.SUSPECT, ANN, 1, BOB, bytes(64)),), (ANN,), BOB),
)


@given(messages)
def test_a_message_survives_its_codec(message):
    assert decode(encode(message)) == message


@pytest.mark.parametrize("message", EACH, ids=lambda one: type(one).__name__)
def test_a_message_that_is_cut_short_or_too_long_is_refused(message):
    data = encode(message)
    for size in range(len(data)):
        with pytest.raises(Malformed):
            decode(data[:size])
    for more in (b"\0", b"\0" * MAX_MESSAGE_BYTES.value):
        with pytest.raises(Malformed):
            decode(data + more)


@given(st.binary(max_size=400), st.sampled_from(EACH), st.integers(0, 200), st.integers(0, 255))
def test_other_bytes_are_malformed_or_a_message(noise, message, at, byte):
    bent = bytearray(encode(message))
    bent[at % len(bent)] = byte
    for data in (noise, bytes(bent), bytes([byte % 9]) + noise):
        try:
            again = decode(data)
        except Malformed:
            continue
        assert encode(again) == data


def test_the_largest_messages_fit():
    suspect = Statement(Word.SUSPECT, ANN, 1, BOB, bytes(64))
    rows = tuple(
        Row(NodeId(number.to_bytes(32, "big")), 1, Word.ALIVE) for number in range(1, MAX_ROWS.value + 1)
    )
    for message in (
        Tell((suspect,) * MAX_TOLD.value, (ANN,) * MAX_ROWS.value, BOB),
        Sync(FIRST, LAST, rows),
    ):
        assert len(encode(message)) <= MAX_MESSAGE_BYTES.value
        assert decode(encode(message)) == message
    with pytest.raises(ValueError, match="65 statements"):
        encode(Ping(1, (suspect,) * (MAX_TOLD.value + 1)))


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (Ping(1, (alive(incarnation=MAX_INCARNATION.value + 1),)), "beyond all bounds"),
        (Ping(1, (alive(incarnation=(1 << 64) - 1),)), "beyond all bounds"),
        (Ping(1, (alive(incarnation=0),)), "from 1"),
        (Ping(1, (Statement(Word.SUSPECT, ANN, 1, ANN, bytes(64)),)), "nobody suspects itself"),
        (Sync(FIRST, LAST, (Row(BOB, 1, Word.ALIVE), Row(ANN, 1, Word.ALIVE))), "out of order"),
        (Sync(FIRST, LAST, (Row(ANN, 1, Word.ALIVE),) * 2), "out of order"),
        (Sync(BOB, LAST, (Row(ANN, 1, Word.ALIVE),)), "beyond their page"),
        (Sync(FIRST, ANN, (Row(BOB, 1, Word.ALIVE),)), "beyond their page"),
        (Sync(FIRST, LAST, (Row(ANN, 1 << 60, Word.ALIVE),)), "beyond all bounds"),
        (Ack(1, Vitals(MAX_TREE_SIZE.value + 1, 0, ""), ()), "larger than any"),
        (Ack(1, Vitals(0, 0, "1\x1b[2J"), ()), "no version"),
        (Ack(1, Vitals(0, 0, "1" * 33), ()), "no version"),
    ],
    ids=lambda one: one.replace(" ", "-") if isinstance(one, str) else type(one).__name__,
)
def test_what_no_honest_node_says_is_refused(message, why):
    with pytest.raises(Malformed, match=why):
        decode(encode(message))


def test_a_signature_counts_in_one_network_for_one_word_of_one_node():
    base = (b"n" * 32, Word.ALIVE, ANN, 1)
    others = [
        (b"m" * 32, Word.ALIVE, ANN, 1),
        (b"n" * 32, Word.LEFT, ANN, 1),
        (b"n" * 32, Word.ALIVE, BOB, 1),
    ]
    others.append((b"n" * 32, Word.ALIVE, ANN, 2))
    assert to_sign(*base) not in {to_sign(*other) for other in others}
    assert len({to_sign(*other) for other in others}) == 4
