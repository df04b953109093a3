"""A log's files, written so that a reader at any moment sees a checkpoint with everything below it.

Objects first, each by rename; all of them are on disk before the checkpoint that needs them is. So whoever is
killed leaves a folder that is whole at its checkpoint, with perhaps some files beyond it, which the next run
finds and, where they are true, need not fetch again.

Source: C2SP tlog-tiles, "Partial Tiles"; docs/auditing.md, "Copies".
"""

import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from pyrsia.audit.sources import CHECKPOINT, DirectorySource
from pyrsia.errors import Refusal
from pyrsia.files import sync_folder, write_whole
from pyrsia.log import tiles
from pyrsia.log.tiles import TILE_HEIGHT, Bundle, Tile
from pyrsia.log.tree import TILE_WIDTH
from pyrsia.units import Limit, TreeSize

LOCK: Final = ".lock"
UNSYNCED = Limit(
    4_096, "files written and not yet on disk: 300 MB of ordinary entries, and what a kill loses"
)


class Keeper:
    """The one writer of a folder, for several threads. What lies there is read through `files`."""

    def __init__(self, folder: Path) -> None:
        """Take the folder, which is made if it is not there.

        Raises:
            Refusal: `data-in-use` while another process writes there.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.files = DirectorySource(folder)
        self._handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._handle)
            raise Refusal(
                "data-in-use",
                what=f"another process writes into {folder}",
                who="another export or mirror",
                do="let it end, or name another folder",
            ) from None
        self._unsynced: set[Path] = set()
        self._guard = threading.Lock()

    @property
    def folder(self) -> Path:
        return self.files.folder

    def put(self, path: str, data: bytes) -> None:
        """Write one object, whole or not at all; it is on disk after `sync`."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.new")
        fresh.write_bytes(data)
        fresh.rename(target)
        with self._guard:
            self._unsynced.add(target)
            full = len(self._unsynced) >= UNSYNCED.value
        if full:
            self.sync()

    def sync(self) -> None:
        """Return when everything that was put is on disk, with its names."""
        with self._guard:
            paths, self._unsynced = self._unsynced, set()
        folders: set[Path] = set()
        for path in sorted(paths):
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            folders.update(_up_to(path.parent, self.folder))
        for folder in sorted(folders):
            sync_folder(folder)

    def publish(self, note: bytes) -> None:
        """Make `note` the checkpoint, after everything that was put."""
        self.sync()
        write_whole(self.folder / CHECKPOINT, note)

    def prune(self, old: TreeSize, new: TreeSize) -> int:
        """Remove partial files at the edge of size `old` whose full ones a log of `new` has; how many."""
        removed = 0
        level = 0
        while old >> TILE_HEIGHT * level:
            index = (old >> TILE_HEIGHT * level) // TILE_WIDTH
            if tiles.width(level, index, new) == TILE_WIDTH:
                removed += self._prune(Tile(level, index).path)
                removed += self._prune(Bundle(index).path) if level == 0 else 0
            level += 1
        return removed

    def _prune(self, full: str) -> int:
        partial = self.folder / f"{full}.p"
        if not (self.folder / full).is_file() or not partial.is_dir():
            return 0
        removed = 0
        for path in partial.iterdir():
            path.unlink()
            removed += 1
        with suppress(OSError):  # somebody put something there; it is no part of the log
            partial.rmdir()
        return removed

    def close(self) -> None:
        os.close(self._handle)


def _up_to(folder: Path, top: Path) -> list[Path]:
    """`folder` and the folders above it, `top` included: each may be new, and so without a durable name."""
    found = [folder]
    while found[-1] != top:
        found.append(found[-1].parent)
    return found
