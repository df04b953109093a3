"""Signed envelopes: what outlives the connection that it came over, or is carried on by others.

An envelope is `kind u8 | proto u8 | net [32] | origin [32] | to [32] | seq u64 | expires_ms u64 | topic | payload | sig
[64]`, big-endian, the topic behind its length in one byte, the payload behind its length in four. The signature is the
origin's node key's over a domain string, the same fields, and the payload's BLAKE3 in place of the payload: a signer
hashes what is large and never feeds it to Ed25519. `to` is all zero where an envelope is for everybody.

What kinds mean, who may send them and how often is for others to decide. Pure; signing and checking are the caller's.

Source: docs/mesh.md, "Envelopes".
"""

import re
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from blake3 import blake3

from pyrsia.errors import Malformed
from pyrsia.units import MAX_ENVELOPE_PAYLOAD_BYTES, NodeId

PROTO: Final = 1
EVERYBODY: Final = NodeId(bytes(32))
_HEAD: Final = struct.Struct(">BB32s32s32sQQ")
_SIZE: Final = struct.Struct(">I")
_SIGNATURE_BYTES: Final = 64
_DOMAIN: Final = b"pyrsia/envelope/v1\0"
_TOPIC: Final = re.compile(
    rb"(?:[a-z0-9][a-z0-9._\-]{0,30}/)?"
)  # ends with "/": no topic begins like another one
_MOST_MS: Final = (1 << 53) - 1


class Kind(IntEnum):
    BROADCAST = 1
    MAIL = 2
    MAIL_RECEIPT = 3


@dataclass(frozen=True, slots=True)
class Envelope:
    """One envelope without its signature.

    Attributes:
        net: chain id, 32 bytes: an envelope counts in one network.
        to: who it is for; `EVERYBODY` for all.
        seq: the origin's own number: what it counts is the kind's business.
        expires_ms: Unix time from which on it counts for nothing.
        topic: empty, or a word and "/".
    """

    kind: Kind
    net: bytes
    origin: NodeId
    to: NodeId
    seq: int
    expires_ms: int
    topic: str
    payload: bytes

    @property
    def id(self) -> bytes:
        """16 bytes that tell it from every other one: of what is signed."""
        return id_of(to_sign(self))


def id_of(signed: bytes) -> bytes:
    """The id of the envelope that these bytes are signed for."""
    return blake3(signed).digest(16)


def to_sign(envelope: Envelope) -> bytes:
    """The bytes under the signature."""
    return _DOMAIN + _head(envelope) + blake3(envelope.payload).digest()


def is_topic(text: str) -> bool:
    """Whether something can be said under it: a word of a-z, 0-9, dot and hyphen, with a slash behind it."""
    return bool(text) and _TOPIC.fullmatch(text.encode("utf-8", "surrogateescape")) is not None


def encode(envelope: Envelope, signature: bytes) -> bytes:
    """
    Raises:
        ValueError: over a limit, or no topic; the caller has a bug.
    """
    if len(signature) != _SIGNATURE_BYTES:
        raise ValueError("a signature is 64 bytes")
    if len(envelope.payload) > MAX_ENVELOPE_PAYLOAD_BYTES.value:
        raise ValueError(f"a payload of {len(envelope.payload)} bytes")
    if not _TOPIC.fullmatch(envelope.topic.encode()):
        raise ValueError(f"{envelope.topic!r} is no topic")
    return _head(envelope) + _SIZE.pack(len(envelope.payload)) + envelope.payload + signature


def decode(data: bytes) -> tuple[Envelope, bytes]:
    """The envelope and its signature, not yet verified. Lets only `Malformed` escape."""
    if len(data) <= _HEAD.size:
        raise Malformed("envelope: shorter than its head")
    kind, proto, net, origin, to, seq, expires_ms = _HEAD.unpack_from(data)
    if proto != PROTO:
        raise Malformed(f"envelope: protocol {proto} is not {PROTO}")
    try:
        kind = Kind(kind)
    except ValueError:
        raise Malformed(f"envelope: no kind {kind}") from None
    if expires_ms > _MOST_MS:
        raise Malformed("envelope: it expires beyond all time")
    at = _HEAD.size + 1 + data[_HEAD.size]
    topic = data[_HEAD.size + 1 : at]
    if not _TOPIC.fullmatch(topic):
        raise Malformed("envelope: the topic is none")
    if len(data) < at + _SIZE.size + _SIGNATURE_BYTES:
        raise Malformed("envelope: cut short")
    (size,) = _SIZE.unpack_from(data, at)
    if size > MAX_ENVELOPE_PAYLOAD_BYTES.value or len(data) != at + _SIZE.size + size + _SIGNATURE_BYTES:
        raise Malformed("envelope: the payload is not as long as it says, or too long")
    payload = data[at + _SIZE.size : at + _SIZE.size + size]
    envelope = Envelope(kind, net, NodeId(origin), NodeId(to), seq, expires_ms, topic.decode(), payload)
    return envelope, data[-_SIGNATURE_BYTES:]


def _head(envelope: Envelope) -> bytes:
    fixed = _HEAD.pack(
        envelope.kind,
        PROTO,
        envelope.net,
        envelope.origin,
        envelope.to,
        envelope.seq,
        envelope.expires_ms,
    )
    topic = envelope.topic.encode()
    return fixed + bytes([len(topic)]) + topic
