"""Beacons: a node's word to all on its cable that it is there, in one signed datagram.

`"pyrsia-1" | port u16 | at_ms u64 | record | signature [64]`, big-endian; the record is the node's own with its
signature (`wire.records`), and the signature is the same node's over a domain string and all before it. Who hears it
dials the sender's address at `port`. It counts for a minute, so that an old one is worth nothing elsewhere.

Pure; signing and checking are the caller's.

Source: docs/mesh-discovery.md, "The beacon".
"""

import struct
from dataclasses import dataclass
from typing import Final

from pyrsia.errors import Malformed
from pyrsia.units import MAX_RECORD_BYTES, Limit
from pyrsia.wire import records
from pyrsia.wire.records import Record

BEACON_LIFE_MS = Limit(60_000, "clocks on one cable are closer; a copy that is older is somebody else's")
_HEAD: Final = struct.Struct(">8sHQ")
_MAGIC: Final = b"pyrsia-1"
_SIGNATURE_BYTES: Final = 64
_DOMAIN: Final = b"pyrsia/beacon/v1\0"
MAX_BEACON_BYTES: Final = _HEAD.size + MAX_RECORD_BYTES.value + _SIGNATURE_BYTES


@dataclass(frozen=True, slots=True)
class Beacon:
    """`raw`: the encoded record, whose own signature is not yet verified."""

    port: int
    at_ms: int
    record: Record
    raw: bytes


def to_sign(port: int, at_ms: int, raw: bytes) -> bytes:
    """The bytes under the signature."""
    return _DOMAIN + _HEAD.pack(_MAGIC, port, at_ms) + raw


def encode(port: int, at_ms: int, raw: bytes, signature: bytes) -> bytes:
    return _HEAD.pack(_MAGIC, port, at_ms) + raw + signature


def decode(data: bytes) -> tuple[Beacon, bytes]:
    """The beacon and its signature, not yet verified. Lets only `Malformed` escape."""
    if not _HEAD.size + _SIGNATURE_BYTES < len(data) <= MAX_BEACON_BYTES:
        raise Malformed("beacon: cut short, or too long")
    magic, port, at_ms = _HEAD.unpack_from(data)
    if magic != _MAGIC or not port:
        raise Malformed("beacon: it is none")
    raw = data[_HEAD.size : -_SIGNATURE_BYTES]
    record, _ = records.decode(raw)
    return Beacon(port, at_ms, record, raw), data[-_SIGNATURE_BYTES:]
