"""Where what lies in the database: column families and their keys.

Keys that are scanned in order are big-endian numbers. A new kind of fact gets a family of its own.

Source: docs/storage.md, "Database".
"""

import struct
from typing import Final, NamedTuple

META: Final = "meta"  # head of the log, frontier, chain id
STATE: Final = "state"  # the ledger's key-value state
ENTRIES: Final = "entries"  # index of its first leaf -> segment (segments.py)
TILES: Final = "tiles"  # (level, index) -> hashes so far
BLOCKS: Final = "blocks"  # height -> final block with its proof
INDEX: Final = "index"  # pages, records and histories of the verifiable index (ledger/index.py)
KEYS: Final = "keys"  # key in the tree behind state_root -> state key
SEALS: Final = "seals"  # leaf index of a seal -> its trees, and the pages that it made superfluous
IDS: Final = "ids"  # entry id -> leaf index
BLOBS: Final = "blobs"  # SHA-256 -> size and pins
MANIFESTS: Final = "manifests"  # manifest id -> SHA-256 of the blob, then the manifest
NAMED: Final = "named"  # manifest id -> leaf index of the first entry that names it
PLACED: Final = "placed"  # SHA-256, manifest id, size of each blob that the log names; on storage members
VOUCHES: Final = (
    "vouches"  # SHA-256 of a file, kind, builder -> its signature over the statement of that kind
)
JOBS: Final = "jobs"  # what this builder owes
PEERS: Final = "peers"
MISC: Final = "misc"
LOCAL: Final = "local"  # versionless purl, 0, key -> what was pushed to this node under it (local.py)
LOCAL_BYTES: Final = "local.bytes"  # SHA-256 -> size, and how many rows of `local` name it
TOKENS: Final = "tokens"  # id of a token -> its hash, and what it allows
MAIL: Final = (
    "mail"  # direct messages that came and went, and ids that must not come again (node/mesh/letters.py)
)
DOWNLOADS: Final = (
    "downloads"  # SHA-256 of a file -> how often this node gave it; the empty key: how many rows
)
# Name of a fact that this node says -> its leaf and digest, also by advisory; `next ...`: the leaf to go on with;
# `underway/` and a name: an entry that went out and may still come.
SAID: Final = "said"
EPOCHS: Final = "epochs"  # number of an epoch -> the step to the next one, where a snapshot brought it


class Generation(NamedTuple):
    """The families that hold one state: state, index and the keys between them."""

    state: str
    pages: str
    keys: str


# A state is either live or under construction (a snapshot on its way); the last byte of `meta/generation` is the
# number of the live one, and the one write that changes it makes the other live.
GENERATIONS: Final = (Generation(STATE, INDEX, KEYS), Generation("state.2", "index.2", "keys.2"))

FAMILIES: Final = (
    META,
    STATE,
    ENTRIES,
    TILES,
    BLOCKS,
    INDEX,
    KEYS,
    *GENERATIONS[1],
    EPOCHS,
    SEALS,
    IDS,
    BLOBS,
    MANIFESTS,
    NAMED,
    PLACED,
    VOUCHES,
    JOBS,
    PEERS,
    MISC,
    LOCAL,
    LOCAL_BYTES,
    TOKENS,
    MAIL,
    SAID,
    DOWNLOADS,
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
