"""Blobs with their manifests: what this node holds, offers and brings from peers.

A blob is named three ways that belong together: SHA-256 (the log, clients), manifest id (peers), size.
Peers get only what the log names, or what this node itself offered in an entry.
"""

from dataclasses import dataclass

import msgspec

from pyrsia.store.blobs import Blobs
from pyrsia.store.rocks import Database


class Held(msgspec.Struct, frozen=True, array_like=True):
    """What the index knows of a manifest: the blob it describes, and whether peers may have it."""

    sha256: bytes
    offered: bool


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

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs
