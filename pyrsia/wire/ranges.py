"""Frames on a data link beside those of `chunks`: the recipe of a file, and stretches of its bytes. Pure.

The same head, `type u8 | proto u8 | manifest id [32]`, big-endian; RECIPE and RANGES have a second frame of bytes.

    asker to server                                       server to asker
    WANT_RECIPE                                           RECIPE  + the recipe's bytes (`transfer.delta`)
    GET_RANGES  number u32, then offset u64, size u32     RANGES  number u32  + the bytes, one after the other
                of 1 to 256 stretches, 256 KiB in all     NONE    number u32: no recipe (0), or not these bytes now

What comes is believed when the chunks that it makes fit the manifest, and not before.

Source: docs/delta.md, "Messages".
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from pyrsia.errors import Malformed
from pyrsia.units import HASH_BYTES, MAX_DATA_FRAME_BYTES, MAX_RANGE_BYTES, MAX_RANGES
from pyrsia.wire.chunks import HEAD_BYTES, PROTO, kind_of, opened

FIRST: Final = 16  # types below are of `chunks`
MAX_OFFSET: Final = (1 << 53) - 1
_U32: Final = struct.Struct(">I")
_RANGE: Final = struct.Struct(">QI")


class Type(IntEnum):
    WANT_RECIPE = 16
    RECIPE = 17
    GET_RANGES = 18
    RANGES = 19
    NONE = 20


ASKS: Final = (Type.WANT_RECIPE, Type.GET_RANGES)
NUMBERED: Final = (Type.GET_RANGES, Type.RANGES, Type.NONE)
WITH_PAYLOAD: Final = (Type.RECIPE, Type.RANGES)


@dataclass(frozen=True, slots=True)
class Message:
    """One message without its payload frame.

    Attributes:
        number: the asker's, of GET_RANGES from 1 on; its answer bears it. 0 speaks of the recipe.
        ranges: (offset, size) in bytes, in the order in which the answer has them.
    """

    type: Type
    manifest_id: bytes
    number: int = 0
    ranges: tuple[tuple[int, int], ...] = ()


def is_one(frame: bytes | memoryview) -> bool:
    """Whether a first frame is of this module and not of `chunks`."""
    return len(frame) > 0 and frame[0] >= FIRST


def encode(message: Message) -> bytes:
    """The first frame.

    Raises:
        ValueError: a field is out of range; the caller has a bug.
    """
    wrong = _wrong(message)
    if wrong:
        raise ValueError(wrong)
    body = _U32.pack(message.number) if message.type in NUMBERED else b""
    return (
        bytes((message.type, PROTO))
        + message.manifest_id
        + body
        + b"".join(_RANGE.pack(offset, size) for offset, size in message.ranges)
    )


def decode(frames: Sequence[bytes | memoryview]) -> Message:
    """Read the frames of one message; the payload is the second of them. Lets only `Malformed` escape."""
    head = opened(frames, _U32.size + _RANGE.size * MAX_RANGES.value + 1, "ranges")
    kind = kind_of(Type, head[0], len(frames), WITH_PAYLOAD, "ranges")
    message = _body(kind, head[2:HEAD_BYTES], head[HEAD_BYTES:])
    wrong = _wrong(message)
    if wrong:
        raise Malformed(f"ranges: {wrong}")
    if len(frames) == 2:
        most = MAX_RANGE_BYTES.value if kind is Type.RANGES else MAX_DATA_FRAME_BYTES.value
        if not 1 <= len(frames[1]) <= most:
            raise Malformed(f"ranges: {len(frames[1])} bytes in a {kind.name}")
    return message


def _body(kind: Type, manifest_id: bytes, body: bytes) -> Message:
    number = 0
    if kind in NUMBERED:
        if len(body) < _U32.size:
            raise Malformed(f"ranges: a {kind.name} without its number")
        (number,) = _U32.unpack_from(body)
        body = body[_U32.size :]
    if len(body) % _RANGE.size:
        raise Malformed(f"ranges: {len(body)} bytes of stretches")
    return Message(kind, manifest_id, number, tuple(_RANGE.iter_unpack(body)))


def _wrong(message: Message) -> str:
    """Which rule a message breaks; empty when it breaks none."""
    kind, ranges = message.type, message.ranges
    if len(message.manifest_id) != HASH_BYTES:
        return "a manifest id is 32 bytes"
    numbers = range(0, 1) if kind not in NUMBERED else range(kind is not Type.NONE, 1 << 32)
    if message.number not in numbers:
        return f"the number {message.number} in a {kind.name}"
    if kind is not Type.GET_RANGES:
        return "stretches belong to GET_RANGES" if ranges else ""
    if not 1 <= len(ranges) <= MAX_RANGES.value:
        return f"{len(ranges)} stretches"
    if any(size <= 0 or not 0 <= offset <= MAX_OFFSET for offset, size in ranges):
        return "a stretch that is none"
    total = sum(size for _, size in ranges)
    return f"{total} bytes asked for at once" if total > MAX_RANGE_BYTES.value else ""
