"""Downloads that were interrupted, and go on where they were: a file, and beside it what is in it.

    coming/<manifest id>.<8 hex>        the bytes, at their full size from the start
    coming/<manifest id>.<8 hex>.held   length of the manifest u32, the manifest, a bit for each chunk that is here

The bits are written now and then, after the bytes are durable, and never for each chunk. They are a hint: who goes on
reads every chunk that they name and believes its hash alone, so a crash, a power cut or a stranger's bits cost some
chunks and never truth. A name is used for one file only, so whoever has mapped it never sees another's bytes.

A file that the disk once refused to make durable goes, and is brought anew: the system tells such a failure once, and
reads the lost bytes from its memory as if they were on the disk.

What rests is bounded in bytes and in age; it counts as taken disk (`quota`). It goes before a new download is refused.

Source: docs/storage.md, "Downloads that rest".
"""

import logging
import os
import secrets
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import trio

from pyrsia.errors import Malformed, Unavailable
from pyrsia.files import write_whole
from pyrsia.store.blobs import Blobs
from pyrsia.store.growing import Growing
from pyrsia.store.incoming import PartialBlob, dropped_on_failure, set_aside
from pyrsia.store.quota import Room
from pyrsia.transfer.manifest import MAX_MANIFEST_BYTES, Manifest
from pyrsia.units import CHUNK_BYTES, HASH_BYTES, MAX_CHUNKS, Limit

COMING: Final = "coming"
HELD: Final = ".held"
REST_S = Limit(86_400, "who was interrupted comes back the same day")
REST_BYTES = Limit(4 << 30, "a few of the largest files; with a small quota an eighth of it")
REST_FILES = Limit(256, "interrupted downloads; small ones cost more to keep than to bring again")
FLUSH_S: Final = 2.0  # what a crash costs at most
VERIFIED_AT_ONCE: Final = 128  # chunks read again before others have a turn: 32 MiB
_LENGTH: Final = struct.Struct(">I")
_MOST: Final = _LENGTH.size + MAX_MANIFEST_BYTES + MAX_CHUNKS.value // 8 + 1

_log = logging.getLogger("pyrsia.store")


@dataclass(frozen=True, slots=True)
class _Rest:
    """One that nobody works on."""

    path: Path
    size: int
    since_s: float


class Partials:
    """Of one blob folder.

    Args:
        folder: of the blobs.
    """

    def __init__(self, folder: Path, blobs: Blobs, *, clock_s: Callable[[], float] = time.time) -> None:
        """Look what rests there. A file without its bits is nobody's, and goes.

        Raises:
            Unavailable: the disk said no.
        """
        self._folder = folder / COMING
        self._blobs = blobs
        self._clock_s = clock_s
        self._resting: dict[bytes, _Rest] = {}
        self._account = blobs.account
        blobs.space.drop_resting = self.make_room
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._find()
        except OSError as error:
            raise blobs.space.no_disk(f"the folder {self._folder}", error) from None

    @property
    def resting(self) -> int:
        """Bytes of downloads that rest."""
        return sum(one.size for one in self._resting.values())

    async def manifest(self, manifest_id: bytes) -> Manifest | None:
        """The manifest of a download that rests: nobody has to be asked for it."""
        rest = self._resting.get(manifest_id)
        if rest is None:
            return None
        said = await self._blobs.in_thread(lambda: _read(rest.path))
        return None if said is None or said[0].id != manifest_id else said[0]

    async def open(self, manifest: Manifest) -> "Partial":
        """The file of this manifest, to be written in any order; what rests of it and is true is in it.

        Nobody else may have it open.

        Raises:
            StorageFull: there is no room for it.
            Unavailable: the disk said no.
        """
        rest = self._resting.pop(manifest.id, None)
        self._account.idle -= rest.size if rest else 0
        room: Room | None = None
        try:
            room = await self._blobs.reserve(manifest.size)
            resumed = None if rest is None else await self._resume(rest, manifest, room)
        except BaseException:
            if room is not None:
                room.release()
            if rest is not None:
                self._rest(manifest.id, rest)
            raise
        return await self._begin(manifest, room) if resumed is None else resumed

    async def _resume(self, rest: _Rest, manifest: Manifest, room: Room) -> "Partial | None":
        """None where nothing of it is of use."""
        found = await self._blobs.in_thread(lambda: _reopened(rest.path, manifest))
        if found is None:
            return None
        room.on_disk = True
        resumed = Partial(self, self._blobs, rest.path, found[0], manifest, found[1], room)
        try:
            await resumed.verify()
        except BaseException:
            os.close(found[0])
            raise
        return resumed

    async def _begin(self, manifest: Manifest, room: Room) -> "Partial":
        path = self._folder / f"{manifest.id.hex()}.{secrets.token_hex(4)}"
        try:
            with dropped_on_failure(path):
                handle = await self._blobs.in_thread(lambda: set_aside(path, manifest.size))
        except BaseException:
            room.release()
            raise
        room.on_disk = True
        return Partial(self, self._blobs, path, handle, manifest, 0, room)

    async def sweep(self, now: float | None = None, *, dry: bool = False) -> tuple[int, int]:
        """Remove what rests too long, and the oldest of what is too much; (downloads, bytes) that went.

        Args:
            now: the time of day; None for this machine's.
            dry: say only what would go.
        """
        before_s = (self._clock_s() if now is None else now) - REST_S.value
        most = min(REST_BYTES.value, self._account.rules.quota // 8)
        oldest = sorted(self._resting.items(), key=lambda item: item[1].since_s)
        left, going = self.resting, []
        for nth, (ident, rest) in enumerate(oldest):
            if rest.since_s >= before_s and left <= most and len(oldest) - nth <= REST_FILES.value:
                break
            left -= rest.size
            going.append(ident)
        freed = self.resting - left
        if not dry:
            await self._drop(going)
        return len(going), freed

    async def make_room(self, need: int) -> int:
        """Remove what rests, the oldest first, until `need` bytes went or nothing is left; how many went."""
        going, size = [], 0
        for ident, rest in sorted(self._resting.items(), key=lambda item: item[1].since_s):
            if size >= need:
                break
            going.append(ident)
            size += rest.size
        return await self._drop(going)

    async def _drop(self, idents: list[bytes]) -> int:
        going = [rest for rest in (self._resting.pop(ident, None) for ident in idents) if rest is not None]
        freed = sum(rest.size for rest in going)
        self._account.idle -= freed
        with trio.CancelScope(shield=True):  # they are counted no more, so nobody else would remove them
            await self._blobs.in_thread(lambda: _unlink(*(rest.path for rest in going)))
        return freed

    def _rest(self, ident: bytes, rest: _Rest) -> None:
        self._resting[ident] = rest
        self._account.idle += rest.size

    def rests(self, ident: bytes, path: Path, size: int) -> None:
        """A download was interrupted, and its file is closed."""
        self._rest(ident, _Rest(path, size, self._clock_s()))

    def _find(self) -> None:
        names = {path.name for path in self._folder.iterdir()}
        for name in sorted(names):
            ident, path = _ident(name), self._folder / name
            if ident and name + HELD in names and ident not in self._resting:
                said = path.stat()
                self._rest(ident, _Rest(path, said.st_size, said.st_mtime))
            elif not (name.endswith(HELD) and name.removesuffix(HELD) in names):
                _unlink(path)


class Partial(PartialBlob):
    """One download that is worked on.

    Attributes:
        held: bit i is set for each chunk that is in the file.
        path: of the file.
        lost: the disk could not make durable what came, so no byte of it is believed to lie there.
    """

    def __init__(
        self,
        partials: Partials,
        blobs: Blobs,
        path: Path,
        handle: int,
        manifest: Manifest,
        held: int,
        room: Room,
    ) -> None:
        super().__init__(blobs, path, handle, manifest.size, None, room)
        self.manifest = manifest
        self.held = held
        self.path = path
        self._partials = partials
        self._store = blobs
        self._readers: list[Growing] = []
        self._ident = manifest.id
        self._flushed = held
        self._over = False
        self.lost = False

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        if self.lost:
            raise _lost()
        super().write_at(offset, data)
        self.held |= 1 << offset // CHUNK_BYTES.value
        for growing in self._readers:
            growing.wrote(offset, len(data))

    def follow(self, growing: Growing) -> None:
        """Tell `growing` what is here, and what comes.

        Raises:
            Unavailable: the file cannot be opened.
        """
        if growing.over:
            return
        try:
            growing.opened(self.path)
        except OSError as error:
            raise self._store.space.no_disk("a blob on its way", error) from None
        if growing.over:
            return  # its readers have another file open
        for first, end in _runs(self.held):
            offset = first * CHUNK_BYTES.value
            growing.wrote(offset, min(end * CHUNK_BYTES.value, self.manifest.size) - offset)
        self._readers.append(growing)

    async def verify(self) -> None:
        """Read what is said to be here, and take back what is not."""
        chunks = [chunk for first, end in _runs(self.held) for chunk in range(first, end)]
        for at in range(0, len(chunks), VERIFIED_AT_ONCE):
            some = chunks[at : at + VERIFIED_AT_ONCE]
            self.held &= ~await self._store.in_thread(partial(self._wrong, some))

    async def keep_flushing(self) -> None:
        """Make what has come durable, and say so, every other second; until cancelled."""
        try:
            while True:
                await trio.sleep(FLUSH_S)
                if self.held != self._flushed:
                    await self.flush()
        except Unavailable as error:  # whoever writes to the file, or finishes it, is told too
            _log.warning("what has come of a file cannot be made durable: %s", error)

    async def flush(self) -> None:
        """What has come survives a power cut when this returns.

        Raises:
            Unavailable: the disk said no.
        """
        held, beside = self.held, _beside(self.path)

        def work() -> None:
            self._sync()
            write_whole(beside, _said(self.manifest, held), 0o600)

        await self._store.in_thread(work)
        self._flushed = held

    def _sync(self) -> None:
        if self.lost:
            raise _lost()
        try:
            super()._sync()
        except OSError:
            self.lost = True
            raise

    async def finish(self, sha256: bytes, *, pin: str = "") -> Path:
        """Check, sync and keep it; its path. If the bytes are not those, or were lost, they are gone; else it rests."""
        try:
            path = await super().finish(sha256, pin=pin)
        except BaseException:
            self.rest()
            raise
        self._over = True
        _unlink(self.path)
        return path

    def rest(self) -> None:
        """Close it, to be gone on with later; what is empty or gone leaves nothing behind. Twice is harmless."""
        if self._over:
            return
        if self.lost or not self.held or not self.path.exists():
            self.discard()
            return
        try:
            with _beside(self.path).open("wb") as file:  # quickly: what is said here is not believed anyway
                file.write(_said(self.manifest, self.held))
        except OSError:
            self.discard()
            return
        self._close()
        self._partials.rests(self._ident, self.path, self.manifest.size)

    def discard(self) -> None:
        if not self._over:
            self._close()
            _unlink(self.path)

    def _close(self) -> None:
        self._over = True
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        if self._room is not None:
            self._room.release()

    def _wrong(self, chunks: list[int]) -> int:
        """In a thread: the bits of those that are not what they must be."""
        wrong = 0
        for chunk in chunks:
            offset, size = self.manifest.span(chunk)
            if not self.manifest.holds(chunk, os.pread(self._handle, size, offset)):
                wrong |= 1 << chunk
        return wrong


def _lost() -> Unavailable:
    return Unavailable("the disk lost a part of what came: it is brought anew")


def _beside(path: Path) -> Path:
    return path.with_name(path.name + HELD)


def _unlink(*paths: Path) -> None:
    for path in paths:
        for one in (path, _beside(path)):
            with suppress(OSError):
                one.unlink(missing_ok=True)


def _reopened(path: Path, manifest: Manifest) -> tuple[int, int] | None:
    """In a thread: descriptor and bits of what rests; None, and nothing of it is left, where it is of no use."""
    said = _read(path)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    if said is not None and said[0] == manifest and os.fstat(handle).st_size == manifest.size:
        return handle, said[1]
    os.close(handle)
    _unlink(path)
    return None


def _ident(name: str) -> bytes:
    """The manifest id that a file's name begins with; empty for another name."""
    head, dot, tail = name.partition(".")
    try:
        ident = bytes.fromhex(head)
    except ValueError:
        return b""
    return ident if dot and len(tail) == 8 and tail.isalnum() and len(ident) == HASH_BYTES else b""


def _said(manifest: Manifest, held: int) -> bytes:
    raw = manifest.encode()
    return _LENGTH.pack(len(raw)) + raw + held.to_bytes((manifest.count + 7) // 8, "little")


def _read(path: Path) -> tuple[Manifest, int] | None:
    """In a thread: manifest and bits beside this file; None for what is no such thing."""
    try:
        with _beside(path).open("rb") as file:
            raw = file.read(_MOST + 1)
        (length,) = _LENGTH.unpack_from(raw)
        manifest = Manifest.decode(raw[_LENGTH.size : _LENGTH.size + length])
    except (OSError, struct.error, Malformed):
        return None
    bits = raw[_LENGTH.size + length :]
    held = int.from_bytes(bits, "little")
    return (manifest, held) if len(bits) == (manifest.count + 7) // 8 and not held >> manifest.count else None


def _runs(held: int) -> Iterator[tuple[int, int]]:
    """(first, end) of each run of set bits."""
    at = 0
    while held:
        gap = (held & -held).bit_length() - 1
        held >>= gap
        length = (~held & (held + 1)).bit_length() - 1
        yield at + gap, at + gap + length
        held >>= length
        at += gap + length
