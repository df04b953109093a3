"""What a blob folder holds that its index does not say, and the other way round: found now and then, and put right.

- Downloads that rest too long go. So do folders that are empty.
- A row whose file is gone, or has another size, is dropped, and whoever wants the blob is told (`Blobs.on_rotten`).
  While the folder itself is away (`anchor`), nothing is.
- A file without a row was left by a crash between the two: it is known again if it is what its name says and the log
  names it or somebody here missed it, and removed otherwise; not before it is an hour old, and not where it cannot
  be read.
- A manifest without its blob goes; a blob without its manifest, which no peer could be given, gets one.

A turn is bounded: what is left over waits for the next. All that touches files runs in threads. Names that are none of
ours are left alone. Left out: blobs that lie in the index and are damaged (`scrub`), and those that go to make room.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import trio

from pyrsia.errors import Unavailable
from pyrsia.status import Swept
from pyrsia.store import layout
from pyrsia.store.anchor import MARK
from pyrsia.store.blobs import PARTIAL, Blobs
from pyrsia.store.partials import COMING
from pyrsia.store.rocks import Batch, Database
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import BLOB_ROWS, CHUNK_BYTES, HASH_BYTES, MANIFEST_ROWS, Limit

FILE_GRACE_S = Limit(
    3_600, "between a file's last byte and its row lie seconds, on the slowest disk a minute"
)
PARTIAL_AGE_S = Limit(86_400, "a download that nobody went on with for a day")
STRAY_FILES = Limit(1_000, "files without a row that one turn deals with; a crash leaves a few")
STRAY_BYTES = Limit(8 << 30, "of them that are hashed in one turn: some ten seconds")
MANIFESTS = Limit(200_000, "digests in memory at once, 20 MB; where there are more, none is made anew")
MANIFESTS_MADE = Limit(100, "blobs read again in one turn to make their manifest")

STRANGERS = Limit(20, "names that are none of ours told by name: enough to see whose they are")

_FOLDERS: Final = tuple(f"{number:02x}" for number in range(256))


class Sweeper:
    """Puts right one node's blob folder.

    Args:
        named: whether the log names a manifest id.
        clock_s: this machine's time, as file times have it.
    """

    def __init__(
        self,
        folder: Path,
        blobs: Blobs,
        database: Database,
        *,
        named: Callable[[bytes], bool],
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._blobs = blobs
        self._database = database
        self._named = named
        self._clock_s = clock_s
        self._turn = trio.Lock()

    async def sweep(self, *, dry: bool = False) -> Swept:
        """One turn; a second one waits for it.

        Raises:
            Unavailable: the disk said no, or the folder is away.
        """
        async with self._turn:
            await self._blobs.in_thread(self._blobs.anchor.check)
            began_s, found = trio.current_time(), Swept(dry=dry)
            await self._rows(found)
            await self._blobs.in_thread(lambda: self._strangers(found))
            await self._files(found)
            await self._manifests(found)
            await self._blobs.in_thread(lambda: self._partials(found))
            if not dry:
                found.folders = await self._blobs.in_thread(self._empty_folders)
            found.took_ms = int((trio.current_time() - began_s) * 1_000)
            found.at_s = int(self._clock_s())
            return found

    # -- rows without files --

    async def _rows(self, found: Swept) -> None:
        rows: list[tuple[bytes, int]] = []
        async for sha256, record in self._blobs.rows():
            rows.append((sha256, record.size))
            if len(rows) == BLOB_ROWS.value:
                await self._check(rows, found)
                rows = []
        await self._check(rows, found)

    async def _check(self, rows: list[tuple[bytes, int]], found: Swept) -> None:
        wrong = await self._blobs.in_thread(lambda: self._wrong(rows))
        for sha256, size in wrong:
            if found.dry or await self._blobs.let_go(sha256, size):
                found.rows += 1

    def _wrong(self, rows: list[tuple[bytes, int]]) -> list[tuple[bytes, int]]:
        """In a thread. Twice, with a look at the folder between: it may have gone, or come, just then."""
        found = [row for row in rows if not self._is_there(*row)]
        if found:
            self._blobs.anchor.check()
        return [row for row in found if not self._is_there(*row)]

    def _is_there(self, sha256: bytes, size: int) -> bool:
        try:
            return self._blobs.path(sha256).stat().st_size == size
        except FileNotFoundError:
            return False

    # -- names that are none of ours --

    def _strangers(self, found: Swept) -> None:
        """In a thread: beside the 256 folders, and beside theirs. What lies deeper is met with the files."""
        ours = {*_FOLDERS, PARTIAL, COMING, MARK}
        for path in _names(self._folder):
            if path.name not in ours:
                self._strange(path, found)
        for name in _FOLDERS:
            for path in _names(self._folder / name):
                if path.is_symlink() or not path.is_dir():
                    self._strange(path, found)

    def _strange(self, path: Path, found: Swept) -> None:
        found.strange += 1
        if len(found.strangers) < STRANGERS.value:
            found.strangers.append(str(path.relative_to(self._folder)))

    # -- files without rows --

    async def _files(self, found: Swept) -> None:
        looked = hashed = 0
        for name in _FOLDERS:
            files = await self._blobs.in_thread(partial(_files_in, self._folder / name))
            for path, size, changed_s in files:
                sha256 = _digest(path)
                if not sha256 or self._blobs.path(sha256) != path:
                    self._strange(path, found)
                    continue
                if self._blobs.has(sha256) or changed_s > self._clock_s() - FILE_GRACE_S.value:
                    continue
                looked, hashed = looked + 1, hashed + size
                if looked > STRAY_FILES.value or hashed > STRAY_BYTES.value:
                    found.more = True
                    return
                await self._stray(path, sha256, size, int(changed_s), found)

    async def _stray(self, path: Path, sha256: bytes, size: int, changed_s: int, found: Swept) -> None:
        try:
            manifest = await self._blobs.in_thread(lambda: _manifest_of(path))
        except Unavailable:  # whatever it is, it is not known to be nobody's
            return
        if manifest is not None and manifest.sha256 != sha256:
            manifest = None
        if manifest is not None and (self._named(manifest.id) or self._blobs.is_missed(sha256)):
            if found.dry or await self._blobs.know(sha256, size, changed_s):
                found.known += 1
            if not found.dry:
                await self._describe(manifest)
        elif found.dry or await self._blobs.forget_file(sha256):
            found.removed += 1
            found.removed_bytes += size

    # -- manifests --

    async def _manifests(self, found: Swept) -> None:
        told: set[bytes] | None = set()
        start = b""
        while rows := self._database.scan(layout.MANIFESTS, start, MANIFEST_ROWS.value):
            batch = Batch()
            for ident, row in rows:
                sha256 = row[:HASH_BYTES]
                if not self._is_known(sha256):
                    batch.delete(layout.MANIFESTS, ident)
                    found.manifests_gone += 1
                elif told is not None:
                    told.add(sha256)
            if len(batch) and not found.dry:
                self._database.write(batch)
            if told is not None and len(told) > MANIFESTS.value:
                told = None
            start = rows[-1][0] + b"\0"
            await trio.lowlevel.checkpoint()
        if told is not None:
            await self._describe_others(told, found)

    def _is_known(self, sha256: bytes) -> bool:
        """Also what is being put here, and what was damaged and is wanted again."""
        return self._blobs.has(sha256) or self._blobs.is_coming(sha256) or self._blobs.is_missed(sha256)

    async def _describe_others(self, told: set[bytes], found: Swept) -> None:
        """Make the manifest of blobs that a crash left without one; a new blob is about to get its own."""
        before_s = self._clock_s() - FILE_GRACE_S.value
        async for sha256, record in self._blobs.rows():
            if sha256 in told or record.used_s > before_s:
                continue
            if found.manifests_made >= MANIFESTS_MADE.value:
                found.more = True
                return
            read = partial(_manifest_of, self._blobs.path(sha256))
            try:
                manifest = None if found.dry else await self._blobs.in_thread(read)
            except Unavailable:  # the scrub says what is wrong with it
                continue
            if found.dry or (manifest is not None and manifest.sha256 == sha256):
                found.manifests_made += 1
            if manifest is not None and manifest.sha256 == sha256:
                await self._describe(manifest)

    async def _describe(self, manifest: Manifest) -> None:
        row = manifest.sha256 + manifest.encode()
        await self._database.commit(Batch().put(layout.MANIFESTS, manifest.id, row))

    # -- what is half done or empty; in a thread --

    def _partials(self, found: Swept) -> None:
        before_s = self._clock_s() - PARTIAL_AGE_S.value
        for path, size, changed_s in _listed(self._folder / PARTIAL):
            if changed_s < before_s:
                if not found.dry:
                    path.unlink(missing_ok=True)
                found.partials += 1
                found.partial_bytes += size

    def _empty_folders(self) -> int:
        """A folder that somebody is about to use is made again by him (`Blobs.settle`)."""
        gone = 0
        for name in _FOLDERS:
            outer = self._folder / name
            with suppress(OSError):
                inner = [one.path for one in os.scandir(outer) if one.is_dir(follow_symlinks=False)]
                for path in [*inner, str(outer)]:
                    with suppress(OSError):  # it is not empty
                        os.rmdir(path)
                        gone += 1
        return gone


def _files_in(outer: Path) -> list[tuple[Path, int, float]]:
    """Path, size and time of change of every file of one of the 256 folders."""
    try:
        inner = [Path(one.path) for one in os.scandir(outer) if one.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    return [one for folder in inner for one in _listed(folder)]


def _names(folder: Path) -> list[Path]:
    """Everything in a folder, sorted; nothing of one that is not there, or that is none."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(Path(one.path) for one in os.scandir(folder))
    return []


def _listed(folder: Path) -> Iterator[tuple[Path, int, float]]:
    with suppress(FileNotFoundError):
        for one in os.scandir(folder):
            with suppress(FileNotFoundError):
                if one.is_file(follow_symlinks=False):
                    said = one.stat(follow_symlinks=False)
                    yield Path(one.path), said.st_size, said.st_mtime


def _digest(path: Path) -> bytes:
    """The SHA-256 that a file's name claims; empty for another name."""
    try:
        found = bytes.fromhex(path.name)
    except ValueError:
        return b""
    return found if len(found) == HASH_BYTES and found.hex() == path.name else b""


def _manifest_of(path: Path) -> Manifest | None:
    """None for a file that is too large for a blob."""
    try:
        with path.open("rb") as file:
            return Manifest.of(iter(lambda: file.read(CHUNK_BYTES.value), b""))
    except ValueError:
        return None
