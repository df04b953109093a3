"""Node records: what a node says of itself, signed, so that others may carry it on.

A record is `proto u8 | node [32] | net [32] | seq u64 | issued_ms u64 | expires_ms u64 | log size u64 | log root [32]`,
then name, version, control, data and broadcast address, each behind its length in one byte, then the node key's
signature [64] over a domain string and all that stands before it. Integers are big-endian; at most 1 KiB. An address
is `tcp://host:port`, or empty where nobody can dial. Roles are not in it: they come from the log.

Records travel in lists, each behind its length in two bytes. Who asks for records sends the same list first, then what
it has already: six bytes of each record's hash, so that the answer brings news. Between them stand ids of nodes whose
records it is after, behind their number in one byte.

That somebody claims a log size makes it no truth. Which records count is for `mesh.table` to decide. Pure; signing and
checking are the caller's.

Source: docs/mesh-discovery.md, "Records".
"""

import re
import struct
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from blake3 import blake3

from pyrsia.errors import Malformed
from pyrsia.units import (
    MAX_RECORD_BYTES,
    MAX_RECORDS,
    MAX_SOUGHT,
    MAX_TREE_SIZE,
    RECORD_LIFE_MS,
    Limit,
    NodeId,
)
from pyrsia.wire.frames import is_address

PROTO: Final = 1
MAX_HAVE = Limit(2_048, "records that an asker names as known: 12 KiB; with more, some come twice")
HAVE_BYTES: Final = 6
_NODE_BYTES: Final = 32
_HEAD: Final = struct.Struct(">B32s32sQQQQ32s")
_SIZE: Final = struct.Struct(">H")
_TEXTS: Final = 5
_SIGNATURE_BYTES: Final = 64
_LEAST: Final = _HEAD.size + _TEXTS + _SIGNATURE_BYTES
_DOMAIN: Final = b"pyrsia/record/v1\0"
_VERSION: Final = re.compile(r"[0-9A-Za-z.+\-]{0,32}")
_NAME_CHARS: Final = 64
_MOST: Final = (1 << 53) - 1


@dataclass(frozen=True, slots=True)
class Record:
    """One record without its signature.

    Attributes:
        net: chain id, 32 bytes: a record counts in one network.
        seq: grows with each record of a node; the larger one counts.
        issued_ms, expires_ms: Unix times; a day apart at most.
        log_size, log_root: what the node says that its log is.
        version: of the program; empty where it does not say.
        control, data, broadcast: where it can be dialled; empty where it cannot.
    """

    node: NodeId
    net: bytes
    seq: int
    issued_ms: int
    expires_ms: int
    log_size: int
    log_root: bytes
    name: str
    version: str
    control: str
    data: str
    broadcast: str


def to_sign(record: Record) -> bytes:
    """The bytes under the signature."""
    return _DOMAIN + _fields(record)


def encode(record: Record, signature: bytes) -> bytes:
    """
    Raises:
        ValueError: over a limit, or not what `decode` takes; the caller has a bug.
    """
    data = _fields(record) + signature
    try:
        decoded, _ = decode(data)
    except Malformed as error:
        raise ValueError(str(error)) from None
    if decoded != record:
        raise ValueError("the record does not survive its encoding")
    return data


def decode(data: bytes) -> tuple[Record, bytes]:
    """The record and its signature, not yet verified. Lets only `Malformed` escape."""
    if not _LEAST <= len(data) <= MAX_RECORD_BYTES.value:
        raise Malformed("record: cut short, or too long")
    proto, node, net, seq, issued_ms, expires_ms, size, root = _HEAD.unpack_from(data)
    if proto != PROTO:
        raise Malformed(f"record: protocol {proto} is not {PROTO}")
    if max(seq, issued_ms, expires_ms) > _MOST or size > MAX_TREE_SIZE.value:
        raise Malformed("record: a number beyond all bounds")
    if not 0 < expires_ms - issued_ms <= RECORD_LIFE_MS.value:
        raise Malformed("record: it must expire, within a day")
    name, version, *addresses = _texts(data)
    if len(name) > _NAME_CHARS or not name.isprintable():
        raise Malformed("record: the name is no name")
    if not _VERSION.fullmatch(version):
        raise Malformed("record: the version is no version")
    if not all(is_address(address) for address in addresses):
        raise Malformed("record: an address is no tcp://host:port")
    if (addresses[1] or addresses[2]) and not addresses[0]:
        raise Malformed("record: nobody can dial it, and yet it has addresses")
    record = Record(NodeId(node), net, seq, issued_ms, expires_ms, size, root, name, version, *addresses)
    return record, data[-_SIGNATURE_BYTES:]


def whose(data: bytes) -> NodeId:
    """The node of an encoded record; anything where it is none."""
    return NodeId(data[1:33])


def _texts(data: bytes) -> list[str]:
    end, at, texts = len(data) - _SIGNATURE_BYTES, _HEAD.size, []
    for _ in range(_TEXTS):
        stop = at + 1 + data[at] if at < end else end + 1
        if stop > end:
            raise Malformed("record: a text runs past the end")
        try:
            texts.append(data[at + 1 : stop].decode("utf-8"))
        except UnicodeDecodeError:
            raise Malformed("record: a text is not UTF-8") from None
        at = stop
    if at != end:
        raise Malformed("record: bytes left over")
    return texts


def _fields(record: Record) -> bytes:
    fixed = _HEAD.pack(
        PROTO,
        record.node,
        record.net,
        record.seq,
        record.issued_ms,
        record.expires_ms,
        record.log_size,
        record.log_root,
    )
    texts = (record.name, record.version, record.control, record.data, record.broadcast)
    encoded = [text.encode("utf-8") for text in texts]
    if any(len(text) > 255 for text in encoded):
        raise ValueError("a text of a record is over 255 bytes")
    return fixed + b"".join(bytes([len(text)]) + text for text in encoded)


# -- lists of them --


def digest(raw: bytes) -> bytes:
    """How an asker names an encoded record that it has."""
    return blake3(raw).digest(HAVE_BYTES)


def encode_list(raws: Sequence[bytes]) -> bytes:
    """
    Raises:
        ValueError: more than a message may have; the caller has a bug.
    """
    if len(raws) > MAX_RECORDS.value:
        raise ValueError(f"{len(raws)} records in one message")
    return bytes([len(raws)]) + b"".join(_SIZE.pack(len(raw)) + raw for raw in raws)


def decode_list(data: bytes) -> list[bytes]:
    """Encoded records, not looked at yet. Lets only `Malformed` escape."""
    raws, at = _list(data)
    if at != len(data):
        raise Malformed("records: bytes left over")
    return raws


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for records: some of the asker's own, its own record first; whom it seeks; what it has already."""

    raws: list[bytes]
    sought: tuple[NodeId, ...]
    have: frozenset[bytes]


def encode_asked(raws: Sequence[bytes], have: Iterable[bytes], sought: Sequence[NodeId] = ()) -> bytes:
    if len(sought) > MAX_SOUGHT.value:
        raise ValueError(f"{len(sought)} nodes sought in one message")
    names = bytes([len(sought)]) + b"".join(sought)
    return encode_list(raws) + names + b"".join(sorted(have)[: MAX_HAVE.value])


def decode_asked(data: bytes) -> Asked:
    """Lets only `Malformed` escape."""
    raws, at = _list(data)
    if at >= len(data) or data[at] > MAX_SOUGHT.value:
        raise Malformed("records: whom the asker seeks is no list, or a longer one than a peer sends")
    start, at = at + 1, at + 1 + data[at] * _NODE_BYTES
    rest = len(data) - at
    if rest < 0:
        raise Malformed("records: whom the asker seeks is cut short")
    sought = tuple(NodeId(data[i : i + _NODE_BYTES]) for i in range(start, at, _NODE_BYTES))
    if rest % HAVE_BYTES or rest > MAX_HAVE.value * HAVE_BYTES:
        raise Malformed("records: what the asker has is no list of digests")
    return Asked(raws, sought, frozenset(data[i : i + HAVE_BYTES] for i in range(at, len(data), HAVE_BYTES)))


def _list(data: bytes) -> tuple[list[bytes], int]:
    if not data or data[0] > MAX_RECORDS.value:
        raise Malformed("records: no list, or a longer one than a peer sends")
    raws, at = [], 1
    for _ in range(data[0]):
        if len(data) < at + _SIZE.size:
            raise Malformed("records: cut short")
        (size,) = _SIZE.unpack_from(data, at)
        at += _SIZE.size + size
        if size > MAX_RECORD_BYTES.value or at > len(data):
            raise Malformed("records: one is cut short, or too long")
        raws.append(data[at - size : at])
    return raws, at


class RecordsAnswer(msgspec.Struct, frozen=True):
    """Signed records as a node gives them over HTTP, each in base64."""

    records: tuple[str, ...] = ()


def news(raws: Iterable[bytes], have: Collection[bytes]) -> list[bytes]:
    """Those of `raws` that whoever has `have` lacks, in the same order, at most a message of them."""
    found: list[bytes] = []
    for raw in raws:
        if len(found) == MAX_RECORDS.value:
            break
        if digest(raw) not in have:
            found.append(raw)
    return found
