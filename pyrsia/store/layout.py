"""Where what lies in the database: column families and their keys.

Keys that are scanned in order are big-endian numbers. A new kind of fact gets a family of its own.

Source: docs/storage.md, "Database".
"""

import struct
from typing import Final

META: Final = "meta"  # head of the log, frontier, chain id
STATE: Final = "state"  # the ledger's key-value state
ENTRIES: Final = "entries"  # index of its first leaf -> segment (segments.py)
TILES: Final = "tiles"  # (level, index) -> hashes so far
BLOCKS: Final = "blocks"  # height -> final block with its proof
INDEX: Final = "index"  # pages, records and histories of the verifiable index (ledger/index.py)
SEALS: Final = "seals"  # leaf index of a seal -> its trees, and the pages that it made superfluous
IDS: Final = "ids"  # entry id -> leaf index
BLOBS: Final = "blobs"  # SHA-256 -> size and pins
MANIFESTS: Final = "manifests"  # manifest id -> SHA-256 of the blob, then the manifest
NAMED: Final = "named"  # manifest id -> leaf index of the first entry that names it
JOBS: Final = "jobs"  # what this builder owes
PEERS: Final = "peers"
MISC: Final = "misc"

FAMILIES: Final = (
    META,
    STATE,
    ENTRIES,
    TILES,
    BLOCKS,
    INDEX,
    SEALS,
    IDS,
    BLOBS,
    MANIFESTS,
    NAMED,
    JOBS,
    PEERS,
    MISC,
)

_U64 = struct.Struct(">Q")
_TILE = struct.Struct(">BQ")


def number(value: int) -> bytes:
    """A key that sorts as the number does, 0..2^64-1."""
    return _U64.pack(value)


def read_number(key: bytes) -> int:
    return int(_U64.unpack(key)[0])


def tile(level: int, index: int) -> bytes:
    return _TILE.pack(level, index)
