"""Frames on a data link: who holds which chunks of a file, and the chunks. Pure.

Each message is one ZeroMQ frame, `type u8 | proto u8 | manifest id [32] | body`, big-endian; MANIFEST and
CHUNK carry their bytes in a second frame, so that a chunk goes from the file to the socket uncopied.

    asker to server                         server to asker
    WANT_MANIFEST                           MANIFEST  + the manifest's bytes
    WANT_HAVE                               HAVE      count u32, then nothing (all) or a bitfield
                                            ALSO      node ids [32] each, 1 to 8; only where there are any
    GET      chunk numbers, u32 each        CHUNK     number u32  + the chunk's bytes, and of those that follow it
    CANCEL   chunk numbers                  NAK       chunk numbers; none: nothing of this file
                                            BUSY      chunk numbers: not now, ask again later

A bitfield has chunk i at bit i % 8 (of value 1 << i % 8) of byte i // 8; bits after the last are zero.
Chunk numbers are in any order, each once, at most 16. A CHUNK with more than 256 KiB holds the chunks that follow as
well, at most three in all: each message wakes threads, and a chunk's share of that is as large as its hash's.

A node gives the verified chunks of a file that it still fetches. What it has grows, so an asker sends WANT_HAVE
again (how often `transfer/swarm.py` decides) and takes the newest HAVE: a server keeps no list of whom to tell.
ALSO comes after a HAVE and names others that asked for the same file lately (`transfer/sharing.py`): hearsay,
signed by nobody, good for no more than an attempt. Types 16 to 31 are kept for ranges of other files (delta).

Source: docs/network.md, "Data links".
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeVar

from pyrsia.errors import Malformed
from pyrsia.units import (
    CHUNK_BYTES,
    HASH_BYTES,
    MAX_ALSO,
    MAX_ASK_CHUNKS,
    MAX_CHUNKS,
    MAX_DATA_FRAME_BYTES,
    ROW_CHUNKS,
    NodeId,
)

PROTO: Final = 1
HEAD_BYTES: Final = 2 + HASH_BYTES
# The largest honest frame. Sockets refuse anything above it.
FRAME_BYTES: Final = MAX_DATA_FRAME_BYTES.value + 1024
_U32: Final = struct.Struct(">I")
_CHUNK: Final = struct.Struct(">BB32sI")  # the whole first frame of a CHUNK
_KIND: Final = 6  # `Type.CHUNK`
_MOST: Final = MAX_CHUNKS.value
_BYTES: Final = ROW_CHUNKS.value * CHUNK_BYTES.value


class Type(IntEnum):
    WANT_MANIFEST = 1
    MANIFEST = 2
    WANT_HAVE = 3
    HAVE = 4
    GET = 5
    CHUNK = 6
    CANCEL = 7
    NAK = 8
    BUSY = 9
    ALSO = 10


NUMBERED: Final = (Type.GET, Type.CANCEL, Type.NAK, Type.BUSY)
WITH_PAYLOAD: Final = (Type.MANIFEST, Type.CHUNK)


@dataclass(frozen=True, slots=True)
class Message:
    """One message without its payload frame.

    Attributes:
        type: which one.
        manifest_id: 32 bytes.
        chunks: numbers of GET, CANCEL, NAK, BUSY; of CHUNK the first one.
        count: of HAVE, how many chunks the file has.
        bits: of HAVE, the bitfield; empty when all are held.
        nodes: of ALSO, each once.
    """

    type: Type
    manifest_id: bytes
    chunks: tuple[int, ...] = ()
    count: int = 0
    bits: bytes = b""
    nodes: tuple[NodeId, ...] = ()


def encode(message: Message) -> bytes:
    """The first frame.

    Raises:
        ValueError: a field is out of range; the caller has a bug.
    """
    wrong = _wrong(message)
    if wrong:
        raise ValueError(wrong)
    if message.type is Type.HAVE:
        body = _U32.pack(message.count) + message.bits
    elif message.type is Type.ALSO:
        body = b"".join(message.nodes)
    else:
        body = b"".join(map(_U32.pack, message.chunks))
    return bytes((message.type, PROTO)) + message.manifest_id + body


def decode(frames: Sequence[bytes | memoryview]) -> Message:
    """Read the frames of one message; the payload is the second of them. Lets only `Malformed` escape."""
    if len(frames) == 2:
        chunk = chunk_of(frames[0], len(frames[1]))
        if chunk is not None:
            return Message(Type.CHUNK, chunk[0], (chunk[1],))
    head = opened(frames, 4 + (MAX_CHUNKS.value + 7) // 8 + 1, "chunks")
    kind = kind_of(Type, head[0], len(frames), WITH_PAYLOAD, "chunks")
    message = _body(kind, head[2:HEAD_BYTES], head[HEAD_BYTES:])
    wrong = _wrong(message)
    if wrong:
        raise Malformed(f"chunks: {wrong}")
    if len(frames) == 2:
        most = _BYTES if kind is Type.CHUNK else MAX_DATA_FRAME_BYTES.value
        if not 1 <= len(frames[1]) <= most:
            raise Malformed(f"chunks: {len(frames[1])} bytes in a {kind.name}")
    return message


_Kind = TypeVar("_Kind", bound=IntEnum)


def opened(frames: Sequence[bytes | memoryview], most: int, word: str) -> bytes:
    """The first frame of a message on a data link, as far as its head and `most` bytes of body.

    Args:
        word: which family of messages an error speaks of.

    Raises:
        Malformed: no message of one or two frames, too short, or of another protocol.
    """
    if not 1 <= len(frames) <= 2:
        raise Malformed(f"{word}: {len(frames)} frames")
    head = bytes(frames[0][: HEAD_BYTES + most])
    if len(head) < HEAD_BYTES:
        raise Malformed(f"{word}: shorter than its head")
    if head[1] != PROTO:
        raise Malformed(f"{word}: protocol {head[1]} is not {PROTO}")
    return head


def kind_of(kinds: type[_Kind], number: int, frames: int, with_payload: Sequence[_Kind], word: str) -> _Kind:
    """Which of `kinds` a first byte means.

    Raises:
        Malformed: none of them, or one that does not come in so many frames.
    """
    try:
        kind = kinds(number)
    except ValueError:
        raise Malformed(f"{word}: no type {number}") from None
    if (frames == 2) != (kind in with_payload):
        raise Malformed(f"{word}: a {kind.name} of {frames} frames")
    return kind


def chunk_of(head: bytes | memoryview, size: int) -> tuple[bytes, int] | None:
    """Manifest id and first number of a CHUNK with this first frame and so many bytes; None if it is another message
    or none.

    Nearly all that comes is one, and this takes a fifth of the time that `decode` takes.
    """
    if len(head) != _CHUNK.size:
        return None
    kind, proto, manifest_id, number = _CHUNK.unpack(head)
    if kind != _KIND or proto != PROTO or number >= _MOST or not 1 <= size <= _BYTES:
        return None
    return manifest_id, number


def chunk_head(manifest_id: bytes, number: int) -> bytes:
    """The first frame of a CHUNK; the same as `encode`, which a chunk of a file that is known to have it can spare."""
    return _CHUNK.pack(Type.CHUNK, PROTO, manifest_id, number)


def have(manifest_id: bytes, count: int, held: int) -> Message:
    """A HAVE of the chunks whose bits are set in `held`; without a bitfield when those are all."""
    whole = held == (1 << count) - 1
    return Message(Type.HAVE, manifest_id, count=count, bits=b"" if whole else bits_of(held, count))


def bits_of(held: int, count: int) -> bytes:
    """The bitfield of the chunks whose bits are set in `held` (bit i: chunk i), for a file of `count`."""
    return held.to_bytes((count + 7) // 8, "little")


def held_of(message: Message) -> int:
    """The chunks that a HAVE speaks of, as an int with bit i set for chunk i."""
    return int.from_bytes(message.bits, "little") if message.bits else (1 << message.count) - 1


def _body(kind: Type, manifest_id: bytes, body: bytes) -> Message:
    if kind is Type.HAVE:
        if len(body) < _U32.size:
            raise Malformed("chunks: a HAVE without a count")
        return Message(kind, manifest_id, count=_U32.unpack_from(body)[0], bits=body[_U32.size :])
    if kind is Type.ALSO:
        if len(body) % HASH_BYTES or len(body) > HASH_BYTES * MAX_ALSO.value:
            raise Malformed(f"chunks: {len(body)} bytes of node ids")
        ids = (NodeId(body[at : at + HASH_BYTES]) for at in range(0, len(body), HASH_BYTES))
        return Message(kind, manifest_id, nodes=tuple(ids))
    if len(body) % _U32.size or len(body) > _U32.size * MAX_ASK_CHUNKS.value:
        raise Malformed(f"chunks: {len(body)} bytes of chunk numbers")
    return Message(kind, manifest_id, tuple(number for (number,) in _U32.iter_unpack(body)))


def _wrong(message: Message) -> str:
    """Which rule a message breaks; empty when it breaks none."""
    kind, chunks = message.type, message.chunks
    if len(message.manifest_id) != HASH_BYTES:
        return "a manifest id is 32 bytes"
    least, most = (1, MAX_ASK_CHUNKS.value) if kind in NUMBERED else (0, 0)
    if kind is Type.NAK:
        least = 0
    elif kind is Type.CHUNK:
        least = most = 1
    if not least <= len(chunks) <= most:
        return f"a {kind.name} of {len(chunks)} chunk numbers"
    if len(set(chunks)) != len(chunks):
        return "a chunk number stands twice"
    if any(not 0 <= number < MAX_CHUNKS.value for number in chunks):
        return "a chunk number is out of range"
    if message.nodes or kind is Type.ALSO:
        wrong = _wrong_nodes(kind, message.nodes)
        if wrong:
            return wrong
    if kind is not Type.HAVE:
        return "a bitfield belongs to HAVE" if message.count or message.bits else ""
    return _wrong_bits(message.count, message.bits)


def _wrong_nodes(kind: Type, nodes: tuple[NodeId, ...]) -> str:
    if kind is not Type.ALSO:
        return "node ids belong to ALSO"
    if not 1 <= len(nodes) <= MAX_ALSO.value:
        return f"an ALSO of {len(nodes)} nodes"
    if any(len(node) != HASH_BYTES for node in nodes):
        return "a node id is 32 bytes"
    return "" if len(set(nodes)) == len(nodes) else "a node stands twice"


def _wrong_bits(count: int, bits: bytes) -> str:
    if not 0 <= count <= MAX_CHUNKS.value:
        return f"a file of {count} chunks"
    if not bits:
        return ""
    if len(bits) != (count + 7) // 8:
        return f"a bitfield of {len(bits)} bytes for {count} chunks"
    if int.from_bytes(bits, "little") >> count:
        return "a bitfield with bits after its end"
    return ""
