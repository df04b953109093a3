"""Frames on a control link: header, greeting, parts. Pure; sockets and signatures are the caller's.

A frame is `seq u64 | type u8 | proto u8 | request u64 | deadline_ms u32 | body`, big-endian. `seq` grows
by one with each frame of a connection, so a repeated frame shows. SEND and REQUEST start their body with
a u16 number (message kind or method). A message that does not fit one frame is cut into PART frames of
at most 64 KiB, in order, one message at a time, so that small frames go between them. Small frames that leave together
travel as one BUNDLE, with one number: `size u32 | frame` for each. What ZeroMQ, encryption and the caller do for a
frame costs more than most of these frames do themselves.

A greeting (HELLO, WELCOME) is a node record signed by the node key over a domain string. It names the
node it is meant for and carries a nonce; a WELCOME repeats the HELLO's nonce. That the transport key is
the node key's image is for the caller to check.

Source: docs/network.md, "Control links".
"""

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, cast

from pyrsia.errors import Malformed
from pyrsia.units import MAX_LINK_MESSAGE_BYTES, MAX_PART_BYTES, NodeId

PROTO: Final = 1
NONCE_BYTES: Final = 16
_HEADER: Final = struct.Struct(">BBQI")
_SEQ: Final = struct.Struct(">Q")
_PART: Final = struct.Struct(">HH")
_NUMBER: Final = struct.Struct(">H")
_SIZE: Final = struct.Struct(">I")
_NUMBERED: Final = struct.Struct(">BBQIH")  # a header and a number
_GREETING: Final = struct.Struct(">32s32s32s16sQ")
_TEXTS: Final = 5  # a greeting's name, addresses, and where it sees whom it greets
_SIGNATURE_BYTES: Final = 64
_DOMAIN: Final = b"pyrsia/greeting/v1\0"
_ADDRESS: Final = re.compile(
    r"tcp://[0-9A-Za-z.\-]{1,200}:[0-9]{1,5}|tcp://\[[0-9A-Fa-f:.]{2,45}\]:[0-9]{1,5}|"
)
_HOST: Final = re.compile(r"[0-9A-Fa-f.:]{0,45}")

SEQ_BYTES: Final = _SEQ.size
HEADER_BYTES: Final = _HEADER.size
# The largest honest frame: a full part with its heads. Sockets refuse anything above it.
FRAME_BYTES: Final = SEQ_BYTES + HEADER_BYTES + _PART.size + MAX_PART_BYTES.value
_MESSAGE_BYTES: Final = HEADER_BYTES + _NUMBER.size + MAX_LINK_MESSAGE_BYTES.value
_PARTS: Final = -(-_MESSAGE_BYTES // MAX_PART_BYTES.value)


class Type(IntEnum):
    HELLO = 1
    WELCOME = 2
    SEND = 3
    REQUEST = 4
    REPLY = 5
    BUSY = 6  # deadline_ms says when to try again
    ERROR = 7  # body: a refusal as JSON
    PING = 8
    PONG = 9
    PART = 10
    BYE = 11
    BUNDLE = 12  # body: frames without numbers of their own, each after its size


# Plain numbers: a member of an enumeration costs a look-up by name, and a conversion, each time.
_SEND: Final = int(Type.SEND)
_REQUEST: Final = int(Type.REQUEST)
_REPLY: Final = int(Type.REPLY)
_MOST_BYTES: Final = MAX_LINK_MESSAGE_BYTES.value
_TYPES: Final = {int(one): one for one in Type}  # what calling the class finds too, at a tenth of the time


class Frame(NamedTuple):
    """One frame without its sequence number. `number` is the kind or method of SEND and REQUEST."""

    type: Type
    request: int = 0
    deadline_ms: int = 0
    number: int = 0
    body: bytes = b""


_new: Final = cast("Callable[[type[Frame], tuple[Type, int, int, int, bytes]], Frame]", tuple.__new__)


def is_address(text: str) -> bool:
    """Whether `text` is `tcp://host:port` with a port that can be dialled, or empty: nobody can."""
    if not _ADDRESS.fullmatch(text):
        return False
    return not text or 0 < int(text.rpartition(":")[2]) < 1 << 16


def is_numeric(text: str) -> bool:
    """Whether a greeting may have `text` as the address that it sees somebody at; empty: it does not say."""
    return _HOST.fullmatch(text) is not None


def request(ident: int, deadline_ms: int, method: int, body: bytes) -> bytes:
    """`encode` of a REQUEST, without a `Frame` on the way; likewise `reply`."""
    _fits(body)
    return _NUMBERED.pack(_REQUEST, PROTO, ident, deadline_ms, method) + body


def reply(ident: int, body: bytes) -> bytes:
    _fits(body)
    return _HEADER.pack(_REPLY, PROTO, ident, 0) + body


def _fits(body: bytes) -> None:
    if len(body) > _MOST_BYTES:
        raise ValueError(f"a message of {len(body)} bytes is over {_MOST_BYTES}")


def encode(frame: Frame) -> bytes:
    """The bytes after `seq`.

    Raises:
        ValueError: the body is over the limit of a message; the caller has a bug.
    """
    kind, ident, deadline_ms, number, body = frame
    _fits(body)
    if kind is Type.SEND or kind is Type.REQUEST:
        return _NUMBERED.pack(kind, PROTO, ident, deadline_ms, number) + body
    return _HEADER.pack(kind, PROTO, ident, deadline_ms) + body


def decode(data: bytes) -> Frame:
    """Read `encode`'s bytes. Lets only `Malformed` escape."""
    if len(data) < HEADER_BYTES:
        raise Malformed("frame: shorter than its header")
    kind, proto, ident, deadline_ms = _HEADER.unpack_from(data)
    if proto != PROTO:
        raise Malformed(f"frame: protocol {proto} is not {PROTO}")
    type_ = _TYPES.get(kind)
    if type_ is None:
        raise Malformed(f"frame: no type {kind}")
    if kind != _SEND and kind != _REQUEST:
        return _new(Frame, (type_, ident, deadline_ms, 0, data[HEADER_BYTES:]))
    if len(data) < _NUMBERED.size:
        raise Malformed("frame: no message number")
    number = _NUMBER.unpack_from(data, HEADER_BYTES)[0]
    return _new(Frame, (type_, ident, deadline_ms, number, data[_NUMBERED.size :]))


def with_seq(seq: int, data: bytes) -> bytes:
    return _SEQ.pack(seq) + data


def split_seq(data: bytes) -> tuple[int, bytes]:
    if len(data) < SEQ_BYTES:
        raise Malformed("frame: shorter than its number")
    return _SEQ.unpack_from(data)[0], data[SEQ_BYTES:]


def bundled(batch: Sequence[bytes]) -> list[bytes]:
    """The encoded frames of `batch` in as few as they fit into: bundles of a part's size, and what goes alone."""
    if len(batch) < 2:
        return [*batch]
    packed: list[bytes] = []
    some: list[bytes] = []
    size = 0
    for message in batch:
        size += _SIZE.size + len(message)
        if size > MAX_PART_BYTES.value and some:
            packed.append(_bundle(some))
            some, size = [], _SIZE.size + len(message)
        some.append(message)
    packed.append(_bundle(some))
    return packed


def _bundle(some: Sequence[bytes]) -> bytes:
    if len(some) == 1:
        return some[0]
    body = b"".join([piece for one in some for piece in (_SIZE.pack(len(one)), one)])
    return _HEADER.pack(Type.BUNDLE, PROTO, 0, 0) + body


def unbundled(body: bytes, most: int) -> list[bytes]:
    """The frames in a BUNDLE's body, not yet decoded. Lets only `Malformed` escape.

    Args:
        most: how many there may be.
    """
    found: list[bytes] = []
    at, end = 0, len(body)
    while at < end:
        start = at + _SIZE.size
        if start > end or len(found) >= most:
            raise Malformed("bundle: more frames than a peer sends" if start <= end else "bundle: cut off")
        at = start + _SIZE.unpack_from(body, start - _SIZE.size)[0]
        if at > end:
            raise Malformed("bundle: cut off")
        found.append(body[start:at])
    return found


def part_count(size: int) -> int:
    """How many PART frames an encoded message of `size` bytes takes."""
    return -(-size // MAX_PART_BYTES.value)


def part(message: bytes, ident: int, index: int) -> bytes:
    """Part `index` of the encoded `message`, itself encoded as a frame."""
    step = MAX_PART_BYTES.value
    piece = message[index * step : (index + 1) * step]
    return encode(Frame(Type.PART, ident, 0, 0, _PART.pack(index, part_count(len(message))) + piece))


class Assembler:
    """Puts parts together again: one message at a time, in order, at most one message of memory."""

    __slots__ = ("_ident", "_of", "_pieces")

    def __init__(self) -> None:
        self._ident = 0
        self._of = 0
        self._pieces: list[bytes] = []

    def add(self, frame: Frame) -> Frame | None:
        """Take a PART; the whole message when it was the last. A part out of order is `Malformed`."""
        if len(frame.body) < _PART.size:
            raise Malformed("part: shorter than its header")
        index, of = _PART.unpack_from(frame.body)
        piece = frame.body[_PART.size :]
        if not 2 <= of <= _PARTS:
            raise Malformed(f"part: a message of {of} parts")
        if index == 0:  # a sender that changed links starts over
            self._ident, self._of, self._pieces = frame.request, of, []
        if (frame.request, of) != (self._ident, self._of) or index != len(self._pieces):
            raise Malformed(f"part: {index} of {of} does not follow")
        last = index == of - 1
        if (
            len(piece) > MAX_PART_BYTES.value
            or (not last and len(piece) != MAX_PART_BYTES.value)
            or not piece
        ):
            raise Malformed(f"part: {len(piece)} bytes")
        self._pieces.append(piece)
        if not last:
            return None
        whole, self._pieces, self._of = b"".join(self._pieces), [], 0  # first: decoding may refuse it
        message = decode(whole)
        if message.type is Type.PART:
            raise Malformed("part: parts within parts")
        if len(message.body) > MAX_LINK_MESSAGE_BYTES.value:
            raise Malformed("part: the message is too large")
        return message


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a node says of itself first. Addresses are `tcp://host:port`, or empty when it has none.

    `seen` is the numeric address that the other one's connection comes from; empty where whoever dials says HELLO.
    """

    node: NodeId
    chain_id: bytes
    to: NodeId
    nonce: bytes
    issued_ms: int
    name: str
    control: str
    data: str
    broadcast: str = ""
    seen: str = ""


def greeting_to_sign(greeting: Greeting, *, welcome: bool) -> bytes:
    """The bytes that the node key signs; a HELLO can never pass for a WELCOME."""
    return _DOMAIN + (b"W" if welcome else b"H") + _greeting_fields(greeting)


def encode_greeting(greeting: Greeting, signature: bytes) -> bytes:
    if len(signature) != _SIGNATURE_BYTES:
        raise ValueError("a signature is 64 bytes")
    return _greeting_fields(greeting) + signature


def decode_greeting(data: bytes) -> tuple[Greeting, bytes]:
    """The greeting and its signature, not yet verified. Lets only `Malformed` escape."""
    least = _GREETING.size + _SIGNATURE_BYTES
    if not least + _TEXTS <= len(data) <= least + _TEXTS * 256:
        raise Malformed("greeting: wrong length")
    node, chain_id, to, nonce, issued_ms = _GREETING.unpack_from(data)
    texts, at = [], _GREETING.size
    for _ in range(_TEXTS):
        end = at + 1 + data[at] if at < len(data) else len(data) + 1
        if end > len(data) - _SIGNATURE_BYTES:
            raise Malformed("greeting: a text runs past the end")
        try:
            texts.append(data[at + 1 : end].decode("utf-8"))
        except UnicodeDecodeError:
            raise Malformed("greeting: a text is not UTF-8") from None
        at = end
    if at != len(data) - _SIGNATURE_BYTES:
        raise Malformed("greeting: bytes left over")
    name, control, data_address, broadcast, seen = texts
    if len(name) > 64 or not name.isprintable():
        raise Malformed("greeting: the name is no name")
    if not all(map(is_address, (control, data_address, broadcast))):
        raise Malformed("greeting: an address is no tcp://host:port")
    if not is_numeric(seen):
        raise Malformed("greeting: where it sees us is no numeric address")
    greeting = Greeting(NodeId(node), chain_id, NodeId(to), nonce, issued_ms, *texts)
    return greeting, data[at:]


def _texts_of(greeting: Greeting) -> tuple[str, ...]:
    return greeting.name, greeting.control, greeting.data, greeting.broadcast, greeting.seen


def _greeting_fields(greeting: Greeting) -> bytes:
    fixed = _GREETING.pack(greeting.node, greeting.chain_id, greeting.to, greeting.nonce, greeting.issued_ms)
    texts = (text.encode("utf-8") for text in _texts_of(greeting))
    return fixed + b"".join(bytes([len(text)]) + text for text in texts)
