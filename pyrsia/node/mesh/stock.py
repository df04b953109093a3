"""What the log names and what of it is here, by shard: an index of a storage member, built from the log.

Nothing is decided here. The index is derived: what it covers is written with it, so that it goes on where it stopped,
and a node that became a storage member late, or began from a snapshot, builds it from what it has of the log.

Source: docs/replication.md, "What a member keeps"; docs/storage.md, "Database".
"""

import struct
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from pyrsia.errors import Malformed
from pyrsia.ledger import named
from pyrsia.node.log.archive import Archive
from pyrsia.store import layout, segments
from pyrsia.store.blobs import Blobs
from pyrsia.store.rocks import Batch, Database
from pyrsia.transfer.manifest import Manifest
from pyrsia.transfer.placement import shard_of
from pyrsia.transfer.repair import Draw
from pyrsia.transfer.wanted import Blob
from pyrsia.units import HASH_BYTES, SHARDS, Limit, NodeId
from pyrsia.wire.providers import Sum

ROWS = Limit(256, "entries, or rows of an index, read before other tasks have their turn")
SUMS = Limit(4_096, "sums remembered: all shards")
LOOSE = Limit(4_096, "pins that wait; what does not fit is found again when the index is read again")
PIN: Final = "shard"  # of what a storage member keeps because it is an owner
SUM_S: Final = 30.0  # how old a sum may be: blobs come and go, and a wrong one only makes owners ask again
SUM_SHARE: Final = (
    0.01  # of the time of one shard's sum, at most: an author may put as much into one as it likes
)

_COVERED: Final = b"replication/indexed"
_SPAN: Final = struct.Struct(">QQ")


@dataclass(slots=True)
class _Known:
    """A sum that was counted: good until `until_s` while nothing changes, and until `least_s` whatever does."""

    sum: Sum
    until_s: float
    least_s: float
    stale: bool = False


class Stock:
    """The index of one node (`transfer.wanted.Stock`).

    Attributes:
        loose: blobs that were found here without the pin of an owner; who reads the index pins them.
    """

    def __init__(self, database: Database, archive: Archive, blobs: Blobs) -> None:
        self.loose: deque[bytes] = deque(maxlen=LOOSE.value)
        self._database = database
        self._archive = archive
        self._blobs = blobs
        self._has = blobs.has
        self._sums: OrderedDict[int, _Known] = OrderedDict()

    # -- growing --

    async def grow(self, ours: Callable[[Sequence[Blob]], object]) -> None:
        """Index what the log has grown by, and what came from below where it began.

        Args:
            ours: told what is named, a page at a time.
        """
        first, end = self._covered()
        here = self._archive.here_from(0)
        if (
            end < here
        ):  # a snapshot jumped over what lay between: begin there, and go down to what is known already
            first = end = here
        while end < self._archive.size:
            leaves = segments.some(self._database, end, ROWS.value)
            if not leaves:
                break
            ours(await self._index(leaves, first, end + len(leaves)))
            end += len(leaves)
            await trio.lowlevel.checkpoint()
        while (start := max(self._archive.here_from(0), first - ROWS.value)) < first:
            leaves = segments.some(self._database, start, first - start)
            if len(leaves) < first - start:
                break
            ours(await self._index(leaves, start, end))
            first = start
            await trio.lowlevel.checkpoint()

    def _covered(self) -> tuple[int, int]:
        """From which leaf on, and up to which, entries are indexed."""
        raw = self._database.get(layout.MISC, _COVERED)
        if raw is None:
            start = self._archive.here_from(0)
            return start, start
        first, end = _SPAN.unpack(raw)
        return first, end

    async def _index(self, leaves: Sequence[bytes], first: int, end: int) -> list[Blob]:
        batch, found = Batch(), list[Blob]()
        for leaf in leaves:
            for manifest, sha256, size in named.blobs(leaf):
                blob = Blob(sha256, manifest, size)
                found.append(blob)
                batch.put(layout.PLACED, blob.key, b"")
                self.changed(sha256)
        batch.put(layout.MISC, _COVERED, _SPAN.pack(first, end))
        await self._database.pour(batch)  # a whole log in a row, where a node becomes a storage member late
        return found

    @property
    def complete(self) -> bool:
        """Whether all that is here of the log is indexed."""
        first, end = self._covered()
        return first <= self._archive.here_from(0) and end >= self._archive.size

    @property
    def whole(self) -> bool:
        """Whether nothing of the log is still to come from below where it began."""
        return self._archive.here_from(0) == 0

    # -- reading --

    def lacks(self, shard: int, after: bytes, most: int) -> list[tuple[Blob, bool]]:
        """What `Stock` of `transfer.wanted` says, for a shard that is this node's to keep."""
        found = []
        for blob in self._rows(shard, after, most):
            here = self._has(blob.sha256)
            if here and PIN not in self._blobs.pins(blob.sha256):
                self.loose.append(blob.sha256)
            found.append((blob, not here))
        return found

    def named(self, sha256: bytes) -> list[Blob]:
        """How the log names these bytes; empty if it does not."""
        rows = self._database.scan(layout.PLACED, sha256, 8, before=sha256 + b"\xff" * (HASH_BYTES + 1))
        return [_blob(key) for key, _ in rows]

    def here(self, sha256: bytes) -> bool:
        """Whether the log names it and it is here."""
        return self._has(sha256) and bool(self.named(sha256))

    def total(self, shard: int) -> Sum:
        """What is here of a shard, as a sum: half a minute old, or as much older as it takes long to count."""
        known, began_s = self._sums.get(shard), trio.current_time()
        if known is not None and began_s < (
            known.least_s if known.stale else max(known.least_s, known.until_s)
        ):
            return known.sum
        found = Sum.of(self._held(shard))
        now = trio.current_time()
        self._sums[shard] = _Known(found, now + SUM_S, now + (now - began_s) / SUM_SHARE)
        self._sums.move_to_end(shard)
        if len(self._sums) > SUMS.value:
            self._sums.popitem(last=False)
        return found

    def changed(self, sha256: bytes) -> None:
        """It came, or went."""
        known = self._sums.get(shard_of(sha256))
        if known is not None:
            known.stale = True

    def pick(self, shard: int, draw: Draw) -> Blob | None:
        """Any blob of a shard that is here."""
        found = [blob for blob in self._rows(shard, b"", ROWS.value) if self._has(blob.sha256)]
        return found[draw.randrange(len(found))] if found else None

    def digest_of(self, manifest: bytes) -> bytes | None:
        """SHA-256 of the blob with this manifest id, as the entry says that named it first."""
        raw = self._database.get(layout.NAMED, manifest)
        leaf = None if raw is None else segments.one(self._database, layout.read_number(raw))
        found = () if leaf is None else named.blobs(leaf)
        return next((sha256 for one, sha256, _ in found if one == manifest), None)

    def givers(self, blob: Blob) -> tuple[NodeId, ...]:
        """Who had it when the log named it first."""
        raw = self._database.get(layout.NAMED, blob.manifest)
        leaf = None if raw is None else segments.one(self._database, layout.read_number(raw))
        return () if leaf is None else named.givers(leaf)

    def pinned(self, shard: int, after: bytes, most: int) -> tuple[list[bytes], bytes]:
        """Digests of a page of a shard that are here as an owner's, and where the next page begins; b"" at the end."""
        rows = self._rows(shard, after, most)
        found = [blob.sha256 for blob in rows if PIN in self._blobs.pins(blob.sha256)]
        return list(dict.fromkeys(found)), rows[-1].key if len(rows) == most else b""

    def manifest(self, blob: Blob) -> Manifest | None:
        """Its manifest, of a blob that is here."""
        raw = self._database.get(layout.MANIFESTS, blob.manifest)
        try:
            return None if raw is None else Manifest.decode(raw[HASH_BYTES:])
        except Malformed:
            return None

    def _held(self, shard: int) -> Iterator[bytes]:
        last = after = b""
        while rows := self._rows(shard, after, ROWS.value):
            for blob in rows:
                if blob.sha256 != last and self._has(blob.sha256):
                    yield blob.sha256
                last = blob.sha256
            after = rows[-1].key

    def _rows(self, shard: int, after: bytes, most: int) -> list[Blob]:
        start = max(_prefix(shard), after + b"\0" if after else b"")
        before = _prefix(shard + 1) if shard + 1 < SHARDS.value else None
        return [_blob(key) for key, _ in self._database.scan(layout.PLACED, start, most, before=before)]


def _prefix(shard: int) -> bytes:
    """Where a shard begins among digests."""
    return (shard << 4).to_bytes(2, "big")


def _blob(key: bytes) -> Blob:
    size = int.from_bytes(key[2 * HASH_BYTES :], "big")
    return Blob(key[:HASH_BYTES], key[HASH_BYTES : 2 * HASH_BYTES], size)
