"""What a builder asks of a storage member, and what it gets: bytes <-> frozen values, strict.

An ask is `request [32] | count u16 | count times (manifest [32], sha256 [32], size u64)`, big-endian, sorted, none
twice. The answer is a signature, 64 bytes; what it covers is `ledger.receipts`' business.

Source: docs/ledger.md, "Receipts"; docs/mesh.md.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from pyrsia.errors import Malformed
from pyrsia.units import MAX_OUTPUTS, Limit

MAX_BLOBS = Limit(
    9 * MAX_OUTPUTS.value + 3,
    "three files of each output, each with its members and metadata; log, source and lock",
)
SIGNATURE_BYTES: Final = 64
_MOST_BYTES: Final = 1 << 50  # as in entries
_HEAD: Final = struct.Struct(">32sH")
_BLOB: Final = struct.Struct(">32s32sQ")


@dataclass(frozen=True, slots=True, order=True)
class Wanted:
    """A blob to be kept."""

    manifest: bytes
    sha256: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Ask:
    """Blobs of the asker's reveal of `request` (32 bytes). Make one with `of`."""

    request: bytes
    blobs: tuple[Wanted, ...]

    @classmethod
    def of(cls, request: bytes, blobs: Iterable[Wanted]) -> "Ask":
        """In the one order, each once.

        Raises:
            ValueError: none, or more than MAX_BLOBS.
        """
        found = sorted(set(blobs))
        if not 1 <= len(found) <= MAX_BLOBS.value:
            raise ValueError(f"an ask for {len(found)} blobs")
        return cls(request, tuple(found))

    def encode(self) -> bytes:
        head = _HEAD.pack(self.request, len(self.blobs))
        return head + b"".join(_BLOB.pack(one.manifest, one.sha256, one.size) for one in self.blobs)

    @classmethod
    def decode(cls, data: bytes) -> "Ask":
        """
        Raises:
            Malformed: other bytes. Nothing else escapes.
        """
        if len(data) < _HEAD.size:
            raise Malformed("receipts: shorter than its head")
        request, count = _HEAD.unpack_from(data)
        if not 1 <= count <= MAX_BLOBS.value or len(data) != _HEAD.size + count * _BLOB.size:
            raise Malformed("receipts: not as long as it says, or over its bound")
        blobs = tuple(Wanted(*fields) for fields in _BLOB.iter_unpack(data[_HEAD.size :]))
        if any(one.size > _MOST_BYTES for one in blobs):
            raise Malformed("receipts: a blob of more bytes than there are")
        if any(a >= b for a, b in pairwise(blobs)):
            raise Malformed("receipts: blobs that are not sorted, or stand twice")
        return cls(request, blobs)


def check_answer(data: bytes) -> bytes:
    """A signature.

    Raises:
        Malformed: bytes that are none.
    """
    if len(data) != SIGNATURE_BYTES:
        raise Malformed(f"receipts: a signature of {len(data)} bytes")
    return data
