"""The state as a map from ASCII keys to canonical JSON: names of the keys, and a writable view over reads.

Decides where each fact lives and how writes are hashed into `state_root`; what is written when is
`execute`'s business. docs/ledger.md lists the keys for auditors.

Source: docs/ledger.md, "Roots", "State keys"; docs/adr/0005.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from pyrsia.wire import canonical

Reads = Callable[[bytes], bytes | None]

CHAIN: Final = "chain"  # beacon, height, time_ms of the newest sealed block
ROOT: Final = "root"  # state_root after the newest sealed block; the one key outside the hash
CONFIG: Final = "config"
WAITING: Final = "waiting"  # heights whose requests wait for preimages
DUE: Final = "due"  # buckets of DUE_MS that hold deadlines, sorted
QUEUE: Final = "queue"  # first and end of the derived work that is still to do
IDS: Final = "ids"  # next bucket of BUCKET_MS to forget
OPEN: Final = "open"  # ids of requests without a verdict, in log order
RECENT: Final = "recent"  # how many requests there ever were
PROJECTS: Final = "projects"  # how many projects have a file

DUE_MS: Final = 1_000  # deadlines take effect at the next full second
BUCKET_MS: Final = 600_000  # ids are forgotten ten minutes at a time

_decode = msgspec.json.Decoder().decode  # our own bytes: written canonically, covered by state_root


def load(data: bytes | None, otherwise: Any = None) -> Any:
    return otherwise if data is None else _decode(data)


class View:
    """`reads` with writes on top. Values are fresh copies: changing one changes nothing until `put`."""

    __slots__ = ("_reads", "writes")

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self.writes: dict[bytes, bytes | None] = {}

    def raw(self, key: str) -> bytes | None:
        name = key.encode()
        return self.writes[name] if name in self.writes else self._reads(name)

    def get(self, key: str, otherwise: Any = None) -> Any:
        return load(self.raw(key), otherwise)

    def put(self, key: str, value: Any) -> None:
        self.writes[key.encode()] = canonical.encode(value)

    def delete(self, key: str) -> None:
        self.writes[key.encode()] = None


def next_root(previous: bytes, writes: Mapping[bytes, bytes | None]) -> bytes:
    """state_root after `writes`: SHA-256(previous root || each write in key order).

    A write is its key, a byte 1 and its value, or its key and a byte 0 for a deletion; key and value
    are led by their length as 4 bytes, most significant first. `ROOT` itself is left out.
    """
    digest = hashlib.sha256(previous)
    for key in sorted(writes):
        if key == ROOT.encode():
            continue
        value = writes[key]
        digest.update(len(key).to_bytes(4, "big") + key)
        digest.update(b"\0" if value is None else b"\1" + len(value).to_bytes(4, "big") + value)
    return digest.digest()
