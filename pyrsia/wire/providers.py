"""Who keeps which blobs, told and asked between nodes: bytes <-> frozen values, strict.

| method | tag | question | bytes after the tag | answer |
| --- | --- | --- | --- | --- |
| PROVIDE | 1 | `Provide` | seconds u16 (0: no longer), count u16, SHA-256 [32] each | empty |
| PROVIDE | 2 | `Leaving` | flag u8 | empty |
| PROVIDERS | 1 | `Who` | count u16, SHA-256 [32] each | of each: flag u8 (kept here), count u8, node ids [32] |
| PROVIDERS | 2 | `Held` | count u16, SHA-256 [32] each | a bit each, least significant first, zero-padded |
| PROVIDERS | 3 | `Sums` | count u16, shard u16 each, ascending | of each: count u32, sum [16] |

Big-endian. A `Sum` stands for the set of a shard's blobs that a node keeps: how many, and their SHA-256 added up, so
that two nodes find in twenty bytes that they keep the same. It proves nothing: who lies about it is found by asking
for a chunk.

Source: docs/replication.md, "Messages".
"""

import itertools
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pyrsia.errors import Malformed
from pyrsia.units import HASH_BYTES, HELD_BLOBS, SHARDS, Limit, NodeId

PROVIDE_BLOBS = Limit(1_024, "blobs in one message: 32 KiB; a cache of 100,000 tells each owner in some ten")
WHO_BLOBS = Limit(64, "blobs whose providers are asked for at once: 41 KB back at most")
SUM_SHARDS = Limit(256, "shards asked about at once: what the answerer looks through for it")
MAX_PROVIDERS = Limit(20, "providers told of one blob: a swarm uses eight")
MAX_TTL_S = Limit(900, "a provider that is not heard of for a quarter of an hour is none")

_U16: Final = struct.Struct(">H")
_PROVIDE: Final = struct.Struct(">BHH")
_SUM: Final = struct.Struct(">I16s")
_SUM_MOD: Final = 1 << 128


@dataclass(frozen=True, slots=True)
class Provide:
    """The sender keeps these blobs for `ttl_s` seconds more; 0: it does not any longer."""

    blobs: tuple[bytes, ...]
    ttl_s: int

    def encode(self) -> bytes:
        return _PROVIDE.pack(1, self.ttl_s, len(self.blobs)) + b"".join(self.blobs)


@dataclass(frozen=True, slots=True)
class Leaving:
    """Whether the sender wants others to take over what it keeps."""

    leaving: bool

    def encode(self) -> bytes:
        return bytes((2, self.leaving))


@dataclass(frozen=True, slots=True)
class Who:
    blobs: tuple[bytes, ...]

    def encode(self) -> bytes:
        return _hashes(1, self.blobs)


@dataclass(frozen=True, slots=True)
class Held:
    blobs: tuple[bytes, ...]

    def encode(self) -> bytes:
        return _hashes(2, self.blobs)


@dataclass(frozen=True, slots=True)
class Sums:
    shards: tuple[int, ...]

    def encode(self) -> bytes:
        return bytes((3,)) + struct.pack(f">{len(self.shards) + 1}H", len(self.shards), *self.shards)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one blob: whether it is kept at the answerer, and who else told that it keeps it."""

    here: bool
    providers: tuple[NodeId, ...] = ()


@dataclass(frozen=True, slots=True)
class Sum:
    """A set of blobs: how many, and their SHA-256 added up modulo 2^128."""

    count: int = 0
    total: bytes = bytes(16)

    @classmethod
    def of(cls, blobs: Iterable[bytes]) -> "Sum":
        count = total = 0
        for sha256 in blobs:
            count += 1
            total += int.from_bytes(sha256[16:], "big")
        return cls(count, (total % _SUM_MOD).to_bytes(16, "big"))


# -- questions --


def decode_told(data: bytes) -> Provide | Leaving:
    """The body of PROVIDE. Lets only `Malformed` escape."""
    if len(data) == 2 and data[0] == 2 and data[1] <= 1:
        return Leaving(bool(data[1]))
    if len(data) < _PROVIDE.size or data[0] != 1:
        raise Malformed("providers: no such message")
    _, ttl_s, count = _PROVIDE.unpack_from(data)
    if ttl_s > MAX_TTL_S.value:
        raise Malformed(f"providers: a record for {ttl_s} seconds")
    return Provide(_read_hashes(data, _PROVIDE.size, count, PROVIDE_BLOBS.value), ttl_s)


def decode_asked(data: bytes) -> Who | Held | Sums:
    """The body of PROVIDERS. Lets only `Malformed` escape."""
    if len(data) < 3:
        raise Malformed("providers: shorter than a question")
    (count,) = _U16.unpack_from(data, 1)
    match data[0]:
        case 1:
            return Who(_read_hashes(data, 3, count, WHO_BLOBS.value))
        case 2:
            return Held(_read_hashes(data, 3, count, HELD_BLOBS.value))
        case 3:
            return Sums(_read_shards(data, count))
        case _:
            raise Malformed(f"providers: no question has the tag {data[0]}")


# -- answers --


def encode_known(known: Sequence[Known]) -> bytes:
    parts: list[bytes] = []
    for one in known:
        parts += (bytes((one.here, len(one.providers))), *one.providers)
    return b"".join(parts)


def decode_known(data: bytes, count: int) -> tuple[Known, ...]:
    """The answer about `count` blobs. Lets only `Malformed` escape."""
    found, at = [], 0
    for _ in range(count):
        if len(data) < at + 2:
            raise Malformed("providers: an answer is cut")
        here, most = data[at], data[at + 1]
        end = at + 2 + most * HASH_BYTES
        if here > 1 or most > MAX_PROVIDERS.value or len(data) < end:
            raise Malformed(f"providers: {most} of one blob, or an answer that is cut")
        nodes = tuple(NodeId(data[start : start + HASH_BYTES]) for start in range(at + 2, end, HASH_BYTES))
        found.append(Known(bool(here), tuple(dict.fromkeys(nodes))))
        at = end
    if at != len(data):
        raise Malformed("providers: bytes behind the last answer")
    return tuple(found)


def encode_bits(bits: Sequence[bool]) -> bytes:
    packed = bytearray(-(-len(bits) // 8))
    for at, bit in enumerate(bits):
        packed[at // 8] |= bit << at % 8
    return bytes(packed)


def decode_bits(data: bytes, count: int) -> tuple[bool, ...]:
    """One bit for each of `count` blobs. Lets only `Malformed` escape."""
    if len(data) != -(-count // 8) or (count % 8 and data[-1] >> count % 8):
        raise Malformed(f"providers: {len(data)} bytes are no bits of {count} blobs")
    return tuple(bool(data[at // 8] >> at % 8 & 1) for at in range(count))


def encode_sums(sums: Sequence[Sum]) -> bytes:
    return b"".join(_SUM.pack(one.count, one.total) for one in sums)


def decode_sums(data: bytes, count: int) -> tuple[Sum, ...]:
    """The answer about `count` shards. Lets only `Malformed` escape."""
    if len(data) != count * _SUM.size:
        raise Malformed(f"providers: {len(data)} bytes are no sums of {count} shards")
    return tuple(Sum(number, total) for number, total in _SUM.iter_unpack(data))


def _hashes(tag: int, blobs: Sequence[bytes]) -> bytes:
    return bytes((tag,)) + _U16.pack(len(blobs)) + b"".join(blobs)


def _read_hashes(data: bytes, at: int, count: int, most: int) -> tuple[bytes, ...]:
    if not 1 <= count <= most or len(data) != at + count * HASH_BYTES:
        raise Malformed(f"providers: {count} blobs in {len(data)} bytes")
    found = tuple(data[start : start + HASH_BYTES] for start in range(at, len(data), HASH_BYTES))
    if len(set(found)) != count:
        raise Malformed("providers: a blob stands twice")
    return found


def _read_shards(data: bytes, count: int) -> tuple[int, ...]:
    if not 1 <= count <= SUM_SHARDS.value or len(data) != 3 + 2 * count:
        raise Malformed(f"providers: {count} shards in {len(data)} bytes")
    found = struct.unpack_from(f">{count}H", data, 3)
    if found[-1] >= SHARDS.value or any(a >= b for a, b in itertools.pairwise(found)):
        raise Malformed("providers: shards are ascending numbers below 4096")
    return tuple(found)
