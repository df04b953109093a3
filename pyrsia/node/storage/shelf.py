"""Blobs with their manifests: what this node holds, gives to peers, and brings from them.

A blob is named three ways that belong together: SHA-256 (the log, clients), manifest id (peers), size.
Peers get only what the log names, so a build's result leaves this node no sooner than its
reveal stands in the log, but for what is lent: to storage members, whose receipts that reveal needs. A blob that is
brought is checked chunk by chunk, then whole.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrsia.net.data import Counters, DataPlane, Served
from pyrsia.node.storage.bringing import Bringing
from pyrsia.store import layout
from pyrsia.store.blobs import Blobs
from pyrsia.store.growing import Growing
from pyrsia.store.partials import Partials
from pyrsia.store.rocks import Batch, Database
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import CHUNK_BYTES, HASH_BYTES, NodeId

Named = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class BlobRef:
    """A blob as entries write it."""

    manifest: bytes
    sha256: bytes
    size: int

    def as_dict(self) -> dict[str, str | int]:
        return {"manifest": self.manifest.hex(), "sha256": self.sha256.hex(), "size": self.size}


class Shelf:
    """Every blob of one node."""

    def __init__(self, database: Database, blobs: Blobs, plane: DataPlane, *, named: Named) -> None:
        """`named` tells whether the log names a manifest id."""
        self._database = database
        self._blobs = blobs
        self._plane = plane
        self._named = named
        self._lent: Counter[tuple[NodeId, bytes]] = Counter()
        self.bringing = Bringing(Partials(blobs.folder, blobs), plane, self._describe)

    def on_gone(self, told: Callable[[bytes], None]) -> None:
        """From now on tell of each blob that is not here any more."""
        self._blobs.on_gone.append(told)

    @property
    def counters(self) -> Counters:
        return self._plane.counters

    def local(self, sha256: bytes) -> Path | None:
        """The blob's file if it is here; it never changes, and stays until its reader has opened it."""
        if not self._blobs.has(sha256):
            return None
        self._blobs.touch(sha256)
        return self._blobs.path(sha256)

    def holds(self, blob: Mapping[str, Any]) -> bool:
        """Whether the bytes of a blob record, as entries write it, are here under its manifest."""
        sha256 = bytes.fromhex(blob["sha256"])
        row = self._database.get(layout.MANIFESTS, bytes.fromhex(blob["manifest"]))
        here = row is not None and row[:HASH_BYTES] == sha256 and self.local(sha256) is not None
        return here and self._blobs.size(sha256) == blob["size"]

    def served(self, node: NodeId, manifest_id: bytes) -> Served | None:
        """What a peer may have under this id: the answer to `DataPlane`'s question."""
        if not (self._named(manifest_id) or (node, manifest_id) in self._lent):
            return None
        raw = self._database.get(layout.MANIFESTS, manifest_id)
        path = None if raw is None else self.local(raw[:HASH_BYTES])
        if raw is not None and path is not None:
            return Served(raw[HASH_BYTES:], path)
        coming = self.bringing.coming(manifest_id)
        if coming is None or coming.partial is None:
            return None
        partial = coming.partial
        # In the moment between its last byte and its row in the index the file has moved already.
        return Served(coming.encoded, self.local(partial.manifest.sha256) or partial.path, partial.held)

    @contextmanager
    def lent(self, node: NodeId, manifests: Collection[bytes]) -> Iterator[None]:
        """Meanwhile `node` may have these, whatever the log names."""
        keys = [(node, one) for one in manifests]
        self._lent.update(keys)
        try:
            yield
        finally:
            self._lent.subtract(keys)
            for key in keys:
                if self._lent[key] <= 0:
                    del self._lent[key]

    async def keep(
        self, sha256: bytes, *, pin: str, manifest: bytes = b"", sync: bool = True
    ) -> BlobRef | None:
        """Pin a blob that is here; None if it is not. Its manifest is indexed then.

        Args:
            manifest: an id that it may have: if it has, the file is not read for it.
            sync: return when the disk has the pin.
        """
        if not await self._blobs.pin(sha256, pin, sync=sync):
            return None
        raw = self._database.get(layout.MANIFESTS, manifest) if manifest else None
        if raw is not None and raw[:HASH_BYTES] == sha256:
            return BlobRef(manifest, sha256, self._blobs.size(sha256) or 0)
        return await self._describe(
            await self._blobs.in_thread(lambda: _manifest_of(self._blobs.path(sha256)))
        )

    async def put(self, data: bytes, *, pin: str = "") -> BlobRef:
        """Keep `data`."""
        manifest = Manifest.of(_pieces(data))
        await self._blobs.put_bytes(data, pin=pin)
        return await self._describe(manifest)

    async def adopt(self, file: Path, sha256: bytes, *, pin: str = "") -> BlobRef:
        """Keep a copy of `file`, whose bytes must have this digest.

        Raises:
            Refusal: `digest-mismatch`.
            Unavailable: the disk said no.
        """
        await self._blobs.adopt(file, sha256, pin=pin)
        manifest = await self._blobs.in_thread(lambda: _manifest_of(self._blobs.path(sha256)))
        return await self._describe(manifest)

    async def fetch(
        self,
        manifest_id: bytes,
        sha256: bytes,
        size: int,
        sources: Sequence[NodeId],
        growing: Growing | None = None,
    ) -> Path:
        """Bring a blob that the log names from any of `sources`, and from who else is found; its path.

        Whoever wants the same blob meanwhile shares the download. What was interrupted goes on where it was.

        Args:
            growing: is told what has come, for those who read along; its end is the caller's to tell.

        Raises:
            Unavailable: none of them gave it whole.
        """
        local = self.local(sha256)
        if local is not None:
            return local
        seek = self._named(manifest_id)
        return await self.bringing.bring(manifest_id, sha256, size, sources, growing, seek=seek)

    async def _describe(self, manifest: Manifest) -> BlobRef:
        """Index the manifest of a blob that is here."""
        row = manifest.sha256 + manifest.encode()
        await self._database.commit(Batch().put(layout.MANIFESTS, manifest.id, row))
        return BlobRef(manifest.id, manifest.sha256, manifest.size)


def _pieces(data: bytes) -> Iterator[bytes]:
    step = CHUNK_BYTES.value
    return (data[at : at + step] for at in range(0, len(data), step))


def _manifest_of(path: Path) -> Manifest:
    with path.open("rb") as file:
        return Manifest.of(iter(lambda: file.read(CHUNK_BYTES.value), b""))
