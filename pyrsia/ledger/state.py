"""The state as a map from ASCII keys to canonical JSON: names of the keys, and a writable view over reads.

Decides where each fact lives; what is written when is `execute`'s business, how it is hashed into `state_root`
`index`'s. docs/ledger.md lists the keys for auditors.

Source: docs/ledger.md, "State keys"; docs/adr/0005.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from pyrsia.wire import canonical

Reads = Callable[[bytes], bytes | None]

CHAIN: Final = "chain"  # beacon, height, time_ms of the newest sealed block
ROOT: Final = "root"  # both roots after the newest sealed block, and where their pages are; outside of both
CONFIG: Final = "config"
EPOCH: Final = "epoch"  # number of the current epoch
WAITING: Final = "waiting"  # heights whose requests wait for preimages
DUE: Final = "due"  # buckets of DUE_MS that hold deadlines, sorted
QUEUE: Final = "queue"  # first and end of the derived work that is still to do
IDS: Final = "ids"  # next bucket of BUCKET_MS to forget
MEMBERS: Final = "members"  # node ids of everybody who is a member now, sorted
MOTIONS: Final = "motions"  # [proposer, deadline, id] of each open motion, oldest first
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

    def put_encoded(self, key: str, data: bytes) -> None:
        """`put` of what `canonical.encode` gave; for rows of which a block has thousands."""
        self.writes[key.encode()] = data

    def delete(self, key: str) -> None:
        self.writes[key.encode()] = None
