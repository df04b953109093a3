"""What broadcasts travel in: a frame of PUB/SUB, and question and answer of anti-entropy. Pure.

A frame is the topic, which subscriptions match, and the envelope behind it. A question (a vector) says which numbers of
each origin the asker has: `count u16 | (origin [32] | count u8 | (first u64, last u64) ...) ...`, origins in order,
ranges in order with a number missing between two of them: one set has one encoding. An answer is envelopes, each behind
its length in two bytes. Whether envelopes are good is for `mesh.broadcast`.

Source: docs/mesh-broadcast.md, "On the wire".
"""

import struct
from collections.abc import Iterable, Mapping
from typing import Final

from pyrsia.errors import Malformed
from pyrsia.units import BROADCAST_FRAME_BYTES, Limit, NodeId

MAX_ORIGINS = Limit(1_024, "more than the pools of broadcasts keep of members and others together")
MAX_ORIGIN_RANGES = Limit(
    64, "holes in what came of one origin: at its full rate and a loss of one in five, 10 s leave ten"
)
MAX_VECTOR_BYTES = Limit(
    262_144, "8,192 ranges and the heads of 640 origins take 152 KB; the usual one has some hundred bytes"
)
MAX_ANSWER_BYTES = Limit(262_144, "60 of the largest broadcasts; who lacks more asks again at once")
MAX_TOPIC_BYTES: Final = 32

Span = tuple[int, int]  # numbers from the first to the last, both included
Vector = Mapping[NodeId, tuple[Span, ...]]

_COUNT: Final = struct.Struct(">H")
_ORIGIN: Final = struct.Struct(">32sB")
_SPAN: Final = struct.Struct(">QQ")
_SIZE: Final = struct.Struct(">H")


def frame(topic: str, envelope: bytes) -> bytes:
    """What is published."""
    return topic.encode() + envelope


def unframe(data: bytes) -> tuple[bytes, bytes]:
    """Topic and envelope. Lets only `Malformed` escape."""
    if len(data) > BROADCAST_FRAME_BYTES.value:
        raise Malformed("broadcast: larger than any frame")
    end = data.find(b"/", 0, MAX_TOPIC_BYTES) + 1
    if not end:
        raise Malformed("broadcast: it begins with no topic")
    return data[:end], data[end:]


def encode_vector(vector: Vector) -> bytes:
    """
    Raises:
        ValueError: it has too much in it; the caller has a bug.
    """
    if len(vector) > MAX_ORIGINS.value:
        raise ValueError(f"a vector of {len(vector)} origins")
    parts = [_COUNT.pack(len(vector))]
    for origin in sorted(vector):
        spans = vector[origin]
        if not 0 < len(spans) <= MAX_ORIGIN_RANGES.value:
            raise ValueError(f"{len(spans)} ranges of one origin")
        parts.append(_ORIGIN.pack(origin, len(spans)))
        parts.extend(_SPAN.pack(*span) for span in spans)
    data = b"".join(parts)
    if len(data) > MAX_VECTOR_BYTES.value:
        raise ValueError(f"a vector of {len(data)} bytes")
    return data


def decode_vector(data: bytes) -> dict[NodeId, tuple[Span, ...]]:
    """Lets only `Malformed` escape."""
    if not _COUNT.size <= len(data) <= MAX_VECTOR_BYTES.value:
        raise Malformed("vector: too long, or without its count")
    (count,) = _COUNT.unpack_from(data)
    if count > MAX_ORIGINS.value:
        raise Malformed(f"vector: {count} origins")
    vector: dict[NodeId, tuple[Span, ...]] = {}
    at, before = _COUNT.size, b""
    for _ in range(count):
        if len(data) < at + _ORIGIN.size:
            raise Malformed("vector: cut short")
        origin, spans = _ORIGIN.unpack_from(data, at)
        if origin <= before:
            raise Malformed("vector: origins out of order")
        at, before = at + _ORIGIN.size, origin
        vector[NodeId(origin)] = _spans(data, at, spans)
        at += spans * _SPAN.size
    if at != len(data):
        raise Malformed("vector: bytes left over")
    return vector


def _spans(data: bytes, at: int, count: int) -> tuple[Span, ...]:
    if not 0 < count <= MAX_ORIGIN_RANGES.value:
        raise Malformed(f"vector: {count} ranges of one origin")
    if len(data) < at + count * _SPAN.size:
        raise Malformed("vector: cut short")
    spans: list[Span] = []
    for place in range(at, at + count * _SPAN.size, _SPAN.size):
        first, last = _SPAN.unpack_from(data, place)
        if first > last or (spans and first <= spans[-1][1] + 1):
            raise Malformed("vector: ranges that overlap, touch or run backwards")
        spans.append((first, last))
    return tuple(spans)


def encode_answer(envelopes: Iterable[bytes]) -> bytes:
    return b"".join(_SIZE.pack(len(one)) + one for one in envelopes)


def decode_answer(data: bytes) -> list[bytes]:
    """Lets only `Malformed` escape."""
    if len(data) > MAX_ANSWER_BYTES.value:
        raise Malformed(f"answer: {len(data)} bytes")
    found: list[bytes] = []
    at = 0
    while at < len(data):
        if len(data) < at + _SIZE.size:
            raise Malformed("answer: cut short")
        (size,) = _SIZE.unpack_from(data, at)
        at += _SIZE.size
        if not size or len(data) < at + size:
            raise Malformed("answer: an envelope is cut short, or empty")
        found.append(data[at : at + size])
        at += size
    return found
