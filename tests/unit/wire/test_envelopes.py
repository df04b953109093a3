"""Envelopes: read as they were written; noise, cuts and changed bytes are refused or do not verify."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia import keys
from pyrsia.errors import Malformed
from pyrsia.units import MAX_ENVELOPE_PAYLOAD_BYTES, NodeId
from pyrsia.wire import envelopes
from pyrsia.wire.envelopes import Envelope, Kind

PAIR = keys.KeyPair(b"k" * 32)
HASHES = st.binary(min_size=32, max_size=32)
ENVELOPES = st.builds(
    Envelope, st.sampled_from(Kind), HASHES, HASHES.map(NodeId), HASHES.map(NodeId),
    st.integers(0, 2**64 - 1), st.integers(0, 2**53 - 1), st.sampled_from(["", "head/", "a.b-c_d/".replace("_", "")]),
    st.binary(max_size=300),
)  # fmt: skip
GOOD = Envelope(
    Kind.BROADCAST, b"n" * 32, NodeId(PAIR.public), envelopes.EVERYBODY, 7, 1_000, "head/", b"payload"
)


def signed(envelope):
    return envelopes.encode(envelope, PAIR.sign(envelopes.to_sign(envelope)))


@given(ENVELOPES)
def test_an_envelope_is_read_as_it_was_written(envelope):
    data = signed(envelope)
    back, signature = envelopes.decode(data)
    assert back == envelope
    assert envelopes.encode(back, signature) == data


@given(st.binary(max_size=400))
def test_noise_is_refused_or_does_not_verify(data):
    try:
        envelope, signature = envelopes.decode(data)
    except Malformed:
        return
    assert not keys.verify(envelope.origin, envelopes.to_sign(envelope), signature)


@pytest.mark.parametrize("at", range(len(signed(GOOD))))
def test_a_changed_byte_is_refused_or_does_not_verify(at):
    data = bytearray(signed(GOOD))
    data[at] ^= 0x01
    try:
        envelope, signature = envelopes.decode(bytes(data))
    except Malformed:
        return
    assert not keys.verify(envelope.origin, envelopes.to_sign(envelope), signature)


@pytest.mark.parametrize("count", range(len(signed(GOOD))))
def test_a_cut_envelope_is_refused(count):
    with pytest.raises(Malformed):
        envelopes.decode(signed(GOOD)[:count])


@pytest.mark.parametrize("topic", ["head", "Head/", "/", "a" * 33 + "/", "a/b/", "a\n/"])
def test_what_is_no_topic_is_not_written(topic):
    with pytest.raises(ValueError, match="topic"):
        signed(Envelope(**{**{f: getattr(GOOD, f) for f in GOOD.__slots__}, "topic": topic}))


def test_a_payload_over_the_limit_is_not_written_and_not_read():
    large = Envelope(
        **{
            **{f: getattr(GOOD, f) for f in GOOD.__slots__},
            "payload": bytes(MAX_ENVELOPE_PAYLOAD_BYTES.value + 1),
        }
    )
    with pytest.raises(ValueError, match="payload"):
        signed(large)
    raw = signed(GOOD)
    grown = raw[: -64 - 7 - 4] + (2**32 - 1).to_bytes(4, "big") + raw[-64 - 7 :]
    with pytest.raises(Malformed):
        envelopes.decode(grown)


def test_ids_tell_envelopes_apart():
    other = Envelope(**{**{f: getattr(GOOD, f) for f in GOOD.__slots__}, "seq": 8})
    assert GOOD.id != other.id
    assert len(GOOD.id) == 16
