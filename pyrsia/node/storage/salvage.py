"""Artifact bytes outlive the database that knew them: a new one learns what lies in the blob folder.

Each file is hashed before it is known again. A note in the database says that its folder has been gone
through, so a walk that was interrupted is taken up at the next start, and no other start walks.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from pyrsia.store import layout
from pyrsia.store.blobs import BlobRecord
from pyrsia.store.rocks import Batch, Database
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import CHUNK_BYTES

PIN: Final = "salvaged"  # who wanted the blob is forgotten, so it is kept
_DONE: Final = b"blobs-walked"


def salvage(folder: Path, database: Database) -> int:
    """Index every whole blob file below `folder` that `database` lacks; how many. Blocks: for a start only.

    Hashing takes about a second a GB. A file that is not what its name says is left alone, and not indexed.

    Raises:
        Refusal, Unavailable: as the database says it.
    """
    if database.get(layout.META, _DONE) is not None:
        return 0
    found = 0
    for file in folder.glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]/*"):
        if database.get(layout.BLOBS, _digest(file)) is None and _index(file, database):
            found += 1
    database.write(Batch().put(layout.META, _DONE, b"\x01"))
    database.flush()
    return found


def _digest(file: Path) -> bytes:
    """The SHA-256 that a file's name claims; empty for another name."""
    try:
        return bytes.fromhex(file.name)
    except ValueError:
        return b""


def _index(file: Path, database: Database) -> bool:
    try:
        manifest = Manifest.of(_pieces(file))
    except (OSError, ValueError):  # unreadable, or too large for a blob: not one of ours
        return False
    if manifest.sha256 != _digest(file):
        return False
    record = msgspec.msgpack.encode(BlobRecord(manifest.size, (PIN,)))
    batch = Batch().put(layout.BLOBS, manifest.sha256, record)
    database.write(batch.put(layout.MANIFESTS, manifest.id, manifest.sha256 + manifest.encode()))
    return True


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        yield from iter(lambda: opened.read(CHUNK_BYTES.value), b"")
