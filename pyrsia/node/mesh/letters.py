"""The rows of direct messages: inbox, what was sent, and ids that must not come again.

    i + number            a message in the inbox          o + number      one that this node wrote
    w + expires + id      an id until it expires          n, m            the last number of inbox and sent

Decides nothing.

Source: docs/mesh-messages.md, "On disk".
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import NodeId

INBOX: Final = b"i"
SENT: Final = b"o"
_WINDOW: Final = b"w"
_LAST: Final = {INBOX: b"n", SENT: b"m"}
_SCAN: Final = 100  # rows at once: 3 MB of the largest messages


class Letter(msgspec.Struct, frozen=True, array_like=True):
    """A message in the inbox. `via`: node id of who carried it, empty for nobody."""

    origin: bytes
    member: bool
    text: bytes
    sealed: bool
    via: bytes
    received_ms: int


class Mine(msgspec.Struct, frozen=True, array_like=True):
    """A message that this node wrote, and what became of it (`mesh.outbox.Sent`); `raw`: its envelope."""

    to: bytes
    text: bytes
    sealed: bool
    sent_ms: int
    expires_ms: int
    raw: bytes
    state: str
    kept: bool
    tries: int
    why: str
    via: bytes
    delivered_ms: int


class Letters:
    """Of one node."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last = {box: self._read_last(box) for box in _LAST}

    def number(self, box: bytes) -> int:
        """The next number of a box."""
        self._last[box] += 1
        return self._last[box]

    @property
    def last(self) -> int:
        """Number of the newest message that ever came."""
        return self._last[INBOX]

    def letter(self, number: int) -> Letter | None:
        raw = self._database.get(layout.MAIL, INBOX + layout.number(number))
        return None if raw is None else msgspec.msgpack.decode(raw, type=Letter)

    def mine(self, number: int) -> Mine | None:
        raw = self._database.get(layout.MAIL, SENT + layout.number(number))
        return None if raw is None else msgspec.msgpack.decode(raw, type=Mine)

    def letters(self, after: int = 0) -> Iterator[tuple[int, Letter]]:
        for key, raw in self._scan(INBOX, after):
            yield layout.read_number(key[1:]), msgspec.msgpack.decode(raw, type=Letter)

    def all_mine(self) -> Iterator[tuple[int, Mine]]:
        for key, raw in self._scan(SENT, 0):
            yield layout.read_number(key[1:]), msgspec.msgpack.decode(raw, type=Mine)

    def window(self) -> Iterator[tuple[bytes, int, NodeId, bool]]:
        """(id, expires, author, whether a member then)."""
        for key, raw in self._scan(_WINDOW, 0):
            yield key[9:], layout.read_number(key[1:9]), NodeId(raw[1:]), bool(raw[0])

    # -- batches --

    def keep(self, batch: Batch, number: int, letter: Letter) -> None:
        batch.put(layout.MAIL, INBOX + layout.number(number), msgspec.msgpack.encode(letter))
        batch.put(layout.MAIL, _LAST[INBOX], layout.number(self._last[INBOX]))

    def keep_mine(self, batch: Batch, number: int, mine: Mine) -> None:
        batch.put(layout.MAIL, SENT + layout.number(number), msgspec.msgpack.encode(mine))
        batch.put(layout.MAIL, _LAST[SENT], layout.number(self._last[SENT]))

    def remember(self, batch: Batch, ident: bytes, expires_ms: int, author: NodeId, *, member: bool) -> None:
        batch.put(layout.MAIL, _WINDOW + layout.number(expires_ms) + ident, bytes([member]) + author)

    def forget(self, batch: Batch, ident: bytes, expires_ms: int) -> None:
        batch.delete(layout.MAIL, _WINDOW + layout.number(expires_ms) + ident)

    def delete(self, batch: Batch, box: bytes, number: int) -> None:
        batch.delete(layout.MAIL, box + layout.number(number))

    def write(self, batch: Batch) -> None:
        self._database.write(batch)

    async def sync(self) -> None:
        await self._database.sync()

    def _scan(self, box: bytes, after: int) -> Iterator[tuple[bytes, bytes]]:
        at, end = box + layout.number(after + 1) if after else box, bytes([box[0] + 1])
        while found := self._database.scan(layout.MAIL, at, _SCAN, before=end):
            yield from found
            at = found[-1][0] + b"\0"

    def _read_last(self, box: bytes) -> int:
        raw = self._database.get(layout.MAIL, _LAST[box])
        return 0 if raw is None else layout.read_number(raw)
