"""Records on the disk: of nodes that had a link, for the next start, and this node's own.

Bounded, also in a life that meets thousands: the ones that expire first make room. What is lost or cannot be read
costs a question to a peer.

Source: docs/mesh-discovery.md, "Who asks whom".
"""

import logging
from collections.abc import Callable
from typing import Final

from pyrsia.errors import Malformed, Unavailable
from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import FUTURE_MS, RECORD_LIFE_MS, Limit, NodeId
from pyrsia.wire import records

MAX_SAVED = Limit(256, "as many nodes as may have links: one of them will be there tomorrow")
_OWN: Final = b"own"
_SAVED: Final = b"record/"
_PAGE: Final = 256

_log = logging.getLogger("pyrsia.mesh")


class Saved:
    """Of one node."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._expires: dict[bytes, int] = {}

    def load(self) -> list[bytes]:
        """Encoded records of an earlier life; what is more than enough, or none, is deleted."""
        found: dict[bytes, bytes] = {}
        key = _SAVED
        while rows := self._database.scan(layout.PEERS, key, _PAGE, before=_SAVED + b"\xff" * 33):
            for key, raw in rows:
                found[key] = raw
                self._expires[key] = _expires(raw)
            key += b"\0"
        gone = self._trim()
        return [raw for key, raw in found.items() if key not in gone and self._expires[key]]

    def keep(self, node: NodeId, raw: bytes) -> None:
        self._expires[_SAVED + node] = _expires(raw)
        self._write(Batch().put(layout.PEERS, _SAVED + node, raw))
        if len(self._expires) > 2 * MAX_SAVED.value:
            self._trim()

    def keep_own(self, raw: bytes) -> None:
        self._write(Batch().put(layout.PEERS, _OWN, raw))

    def own_seq(self, now_ms: int) -> int:
        """Of our last record: a clock that was set back must not make us older than we were."""
        raw = self._database.get(layout.PEERS, _OWN)
        try:
            seq = records.decode(raw)[0].seq if raw is not None else 0
        except Malformed:
            return 0
        return seq if seq <= now_ms + FUTURE_MS.value + RECORD_LIFE_MS.value else 0

    def _trim(self) -> set[bytes]:
        by_time: Callable[[bytes], tuple[int, bytes]] = lambda key: (self._expires[key], key)  # noqa: E731
        gone = set(sorted(self._expires, key=by_time, reverse=True)[MAX_SAVED.value :])
        gone |= {key for key, expires_ms in self._expires.items() if not expires_ms}
        batch = Batch()
        for key in gone:
            del self._expires[key]
            batch.delete(layout.PEERS, key)
        if len(batch):
            self._write(batch)
        return gone

    def _write(self, batch: Batch) -> None:
        try:
            self._database.write(batch)  # synced with the next block
        except Unavailable as error:
            _log.warning("peers are not remembered: %s", error)


def _expires(raw: bytes) -> int:
    """0 for what is no record of this version."""
    try:
        return records.decode(raw)[0].expires_ms
    except Malformed:
        return 0
