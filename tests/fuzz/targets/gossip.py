"""What broadcasts and messages travel in; the first byte says what is read. Each has one form, within its bounds."""

from pyrsia import keys
from pyrsia.mesh.gaps import Ranges, within
from pyrsia.units import MAX_ENVELOPE_PAYLOAD_BYTES, NodeId
from pyrsia.wire import envelopes, gossip, mail
from pyrsia.wire.envelopes import EVERYBODY, Envelope, Kind
from pyrsia.wire.mail import Form, Hops
from tests.fuzz import laws

MAX_BYTES = 2_048
PAIR = keys.KeyPair(b"k" * 32)


def check(data: bytes) -> bool:
    reads = (_envelope, _frame, _vector, _answer, _handed, _payload)
    return reads[data[0] % len(reads)](data[1:]) if data else False


def _envelope(data: bytes) -> bool:
    found = laws.one_form(data, envelopes.decode, lambda both: envelopes.encode(*both))
    if found is None:
        return False
    one, signature = found
    assert len(one.payload) <= MAX_ENVELOPE_PAYLOAD_BYTES.value
    assert envelopes.id_of(envelopes.to_sign(one)) == one.id
    laws.read(lambda raw: mail.read_receipt(one, raw), data)
    return keys.verify(one.origin, envelopes.to_sign(one), signature)


def _frame(data: bytes) -> bool:
    found = laws.one_form(data, gossip.unframe, b"".join)
    return found is not None


def _vector(data: bytes) -> bool:
    found = laws.one_form(data, gossip.decode_vector, gossip.encode_vector)
    if found is None:
        return False
    for spans in found.values():
        ranges = Ranges()
        for first, last in spans:
            ranges.add(first)
            ranges.add(last)
            assert within(first, spans)
            assert within(last, spans)
        assert all(a <= b for a, b in ranges.spans())
    return True


def _answer(data: bytes) -> bool:
    return laws.one_form(data, gossip.decode_answer, gossip.encode_answer) is not None


def _handed(data: bytes) -> bool:
    return laws.one_form(data, mail.read_handed, lambda both: mail.handed(*both)) is not None


def _payload(data: bytes) -> bool:
    found = laws.one_form(data, mail.read_payload, lambda both: mail.payload(*both))
    laws.read(lambda raw: mail.read_under_seal(NodeId(b"a" * 32), raw), data)
    return found is not None


def seeds() -> dict[str, bytes]:
    me = NodeId(PAIR.public)
    one = Envelope(Kind.BROADCAST, b"n" * 32, me, EVERYBODY, 7, 1_000, "news/", b"hello")
    raw = envelopes.encode(one, PAIR.sign(envelopes.to_sign(one)))
    vector = gossip.encode_vector({me: ((0, 3), (9, 2**64 - 1))})
    return {
        "envelope": b"\0" + raw,
        "envelope-cut": b"\0" + raw[:-1],
        "envelope-unsigned": b"\0" + raw[:-64] + bytes(64),
        "frame": b"\1" + gossip.frame("news/", raw),
        "frame-without-topic": b"\1" + raw,
        "vector": b"\2" + vector,
        "vector-touching": b"\2\0\1" + me + b"\2" + bytes(15) + b"\1" + bytes(7) + b"\2" + bytes(7) + b"\3",
        "answer": b"\3" + gossip.encode_answer([raw, b"x"]),
        "answer-cut": b"\3\0\7x",
        "handed": b"\4" + mail.handed(Hops.CARRIER, raw),
        "handed-twice": b"\4\2" + raw,
        "plain": b"\5" + mail.payload(Form.PLAIN, b"text"),
        "sealed": b"\5" + mail.payload(Form.SEALED, mail.under_seal(me, b"text")),
    }
