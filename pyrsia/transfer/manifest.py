"""What a file is to peers: its size, its hashes, and the hash of each 256 KiB chunk.

A chunk can be checked alone, in any order, as soon as it is here. Chunk, file and manifest are hashed in
three BLAKE3 contexts, so that no hash of one kind can pass for another. Encoded, big-endian:

    version u8 = 1 | size u64 | sha256 [32] | blake3 [32] | chunk hashes [32] each, ceil(size / 256 KiB)

`id` names a manifest. Whether its SHA-256 is that of its chunks no single chunk can tell: who keeps the
file compares SHA-256 and size with what the log names once the last chunk is written.

Source: docs/network.md, "Manifests"; docs/adr/0008.
"""

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from pyrsia.errors import Malformed
from pyrsia.units import CHUNK_BYTES, HASH_BYTES, MAX_CHUNKS

_STEP: Final = CHUNK_BYTES.value
VERSION: Final = 1
MAX_FILE_BYTES: Final = MAX_CHUNKS.value * CHUNK_BYTES.value
_HEAD: Final = struct.Struct(">BQ32s32s")
_CHUNK: Final = "pyrsia v1 chunk"
_FILE: Final = "pyrsia v1 file"
_MANIFEST: Final = "pyrsia v1 manifest"
_EMPTY_SHA256: Final = hashlib.sha256(b"").digest()
_EMPTY_BLAKE3: Final = blake3(b"", derive_key_context=_FILE).digest()

MAX_MANIFEST_BYTES: Final = _HEAD.size + HASH_BYTES * MAX_CHUNKS.value


@dataclass(frozen=True, slots=True)
class Manifest:
    """The chunks of one file.

    Attributes:
        size: bytes, 0..65,000 chunks (16 GiB). An empty file has no chunks.
        sha256: of the file, 32 bytes.
        blake3: of the file in its own context, 32 bytes.
        chunks: the chunk hashes, 32 bytes each, joined.
    """

    size: int
    sha256: bytes
    blake3: bytes
    chunks: bytes

    def __post_init__(self) -> None:
        """Raises `ValueError` for fields that do not fit each other."""
        wrong = _wrong(self)
        if wrong:
            raise ValueError(wrong)

    @property
    def id(self) -> bytes:
        """32 bytes: what the log names and peers ask for."""
        return id_of(self.encode())

    @property
    def count(self) -> int:
        """How many chunks the file has."""
        return len(self.chunks) // HASH_BYTES

    def span(self, index: int) -> tuple[int, int]:
        """(offset, length) in bytes of chunk `index`, 0 <= index < count; all but the last are 256 KiB."""
        offset = index * _STEP
        left = self.size - offset
        if index < 0 or left <= 0:
            raise ValueError(f"chunk {index} of {self.count}")
        return offset, _STEP if left > _STEP else left

    def holds(self, index: int, data: bytes | memoryview) -> bool:
        """Whether `data` is chunk `index`, whole and unchanged."""
        at = index * HASH_BYTES
        return len(data) == self.span(index)[1] and _chunk_hash(data) == self.chunks[at : at + HASH_BYTES]

    def encode(self) -> bytes:
        """At most 2 MiB; the same fields give the same bytes."""
        return _HEAD.pack(VERSION, self.size, self.sha256, self.blake3) + self.chunks

    @classmethod
    def decode(cls, data: bytes) -> "Manifest":
        """Read `encode`'s bytes, and nothing else. Lets only `Malformed` escape."""
        if not _HEAD.size <= len(data) <= MAX_MANIFEST_BYTES:
            raise Malformed(f"manifest: {len(data)} bytes")
        version, size, sha256, whole = _HEAD.unpack_from(data)
        if version != VERSION:
            raise Malformed(f"manifest: version {version} is not {VERSION}")
        try:
            return cls(size, sha256, whole, data[_HEAD.size :])
        except ValueError as error:
            raise Malformed(f"manifest: {error}") from None

    @classmethod
    def of(cls, pieces: Iterable[bytes | memoryview]) -> "Manifest":
        """The manifest of the file that `pieces` of any sizes (bytes each) make together.

        Raises:
            ValueError: the file is over 65,000 chunks.
        """
        sha256, whole = hashlib.sha256(), blake3(derive_key_context=_FILE)
        chunk, room, size = blake3(derive_key_context=_CHUNK), CHUNK_BYTES.value, 0
        hashes: list[bytes] = []
        for piece in pieces:
            view = memoryview(piece)
            size += len(view)
            if size > MAX_FILE_BYTES:
                raise ValueError(f"the file is over {MAX_FILE_BYTES} bytes")
            sha256.update(view)
            whole.update(view)
            while view:
                chunk.update(view[:room])
                taken = min(room, len(view))
                view, room = view[taken:], room - taken
                if not room:
                    hashes.append(chunk.digest())
                    chunk, room = blake3(derive_key_context=_CHUNK), CHUNK_BYTES.value
        if room < CHUNK_BYTES.value:
            hashes.append(chunk.digest())
        return cls(size, sha256.digest(), whole.digest(), b"".join(hashes))


def id_of(data: bytes) -> bytes:
    """The id of the manifest whose encoding `data` is (not looked into)."""
    return blake3(data, derive_key_context=_MANIFEST).digest()


def _chunk_hash(data: bytes | memoryview) -> bytes:
    return blake3(data, derive_key_context=_CHUNK).digest()


def _wrong(manifest: Manifest) -> str:
    """Which rule the fields break; empty when they break none."""
    if not 0 <= manifest.size <= MAX_FILE_BYTES:
        return f"a file of {manifest.size} bytes"
    if len(manifest.sha256) != HASH_BYTES or len(manifest.blake3) != HASH_BYTES:
        return "a hash that is not 32 bytes"
    if len(manifest.chunks) != HASH_BYTES * -(-manifest.size // CHUNK_BYTES.value):
        return f"{len(manifest.chunks)} bytes of chunk hashes for a file of {manifest.size}"
    if not manifest.size and (manifest.sha256, manifest.blake3) != (_EMPTY_SHA256, _EMPTY_BLAKE3):
        return "an empty file whose hashes are not those of no bytes"
    return ""
