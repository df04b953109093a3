"""Where a log is read from: a folder, an address, or a node. Bytes with the right lengths, believed by nobody yet.

A `Source` gives objects of a C2SP tlog-tiles log as they lie there. It checks what needs no tree: lengths,
and that a partial object that has vanished is cut out of the full one (C2SP tlog-tiles, "Partial Tiles":
a log may drop partials once the full tile exists). Everything else is decided by who asks.

Source: C2SP tlog-tiles v0.1.0; docs/auditing.md, "Sources".
"""

import os
import stat
from pathlib import Path
from typing import Final, Protocol

from pyrsia.audit.fetching import Absent as Absent
from pyrsia.audit.fetching import Address, Fetcher
from pyrsia.errors import Malformed, Unavailable
from pyrsia.log.tiles import Bundle, Tile
from pyrsia.log.tree import TILE_BYTES, TILE_WIDTH
from pyrsia.units import HASH_BYTES, MAX_ENTRY_BYTES, MAX_NOTE_BYTES, MAX_STEP_BYTES, Limit
from pyrsia.verify.epochs import FOLDER

CHECKPOINT: Final = "checkpoint"
GENESIS: Final = "genesis"
MAX_BUNDLE_BYTES = Limit(256 * (2 + 65_535), "256 entries as long as the format's 16-bit length can say")
HTTP_LANES = Limit(8, "questions at once: enough to hide one round trip, few enough for a stranger's server")


class Source(Protocol):
    """A log to read. Safe to use from several threads at once.

    Every method raises `Absent` for what is not there, `Unavailable` for what cannot be had now, and
    `Malformed` for what cannot be the object that was asked for, such as a tile of another length.
    """

    @property
    def name(self) -> str:
        """The folder or address, for people."""
        ...

    @property
    def lanes(self) -> int:
        """How many threads at once this source serves best."""
        ...

    def checkpoint(self) -> bytes:
        """The newest signed checkpoint, at most `MAX_NOTE_BYTES`, not verified."""
        ...

    def tile(self, tile: Tile) -> bytes:
        """Exactly 32 bytes for each of the tile's hashes."""
        ...

    def bundle(self, bundle: Bundle) -> bytes:
        """An entry bundle, at most `MAX_BUNDLE_BYTES`; that it holds the right entries is not checked."""
        ...

    def genesis(self) -> bytes | None:
        """The trust file of a Pyrsia log; None where there is none."""
        ...

    def epoch(self, number: int) -> bytes | None:
        """The step from epoch `number` of a Pyrsia log to the next one, not verified; None where there is none."""
        ...

    def close(self) -> None:
        """Let go of what is held open. Reads under way in other threads end soon, with `Unavailable`."""
        ...


class Objects:
    """What the sources of files share: paths, bounds and lengths. `_get` is their own."""

    def checkpoint(self) -> bytes:
        return self._get(CHECKPOINT, MAX_NOTE_BYTES.value)

    def tile(self, tile: Tile) -> bytes:
        size = tile.width * HASH_BYTES
        try:
            return self._exactly(tile.path, size)
        except Absent:
            if tile.width == TILE_WIDTH:
                raise
        return self._exactly(Tile(tile.level, tile.index).path, TILE_BYTES)[:size]

    def bundle(self, bundle: Bundle) -> bytes:
        try:
            return self._get(bundle.path, MAX_BUNDLE_BYTES.value, packed=True)
        except Absent:
            if bundle.width == TILE_WIDTH:
                raise
        whole = self._get(Bundle(bundle.index).path, MAX_BUNDLE_BYTES.value, packed=True)
        return first_entries(whole, bundle.width)

    def genesis(self) -> bytes | None:
        try:
            return self._get(GENESIS, MAX_ENTRY_BYTES.value)
        except Absent:
            return None

    def epoch(self, number: int) -> bytes | None:
        try:
            return self._get(step_path(number), MAX_STEP_BYTES.value)
        except Absent:
            return None

    def _exactly(self, path: str, size: int) -> bytes:
        data = self._get(path, size)
        if len(data) != size:
            raise Malformed(f"{path} is {len(data)} bytes long, not {size}")
        return data

    def _get(self, path: str, most: int, *, packed: bool = False) -> bytes:
        """The object at `path` below the log; `packed` where gzip may help."""
        raise NotImplementedError


def step_path(epoch: int) -> str:
    """Where the step that ends an epoch lies below a log's address, and in its copies."""
    return f"{FOLDER}/{epoch}"


def first_entries(data: bytes, count: int) -> bytes:
    """The bytes of the first `count` entries of a bundle; all of it if it holds no more."""
    at = 0
    for _ in range(count):
        at += 2 + int.from_bytes(data[at : at + 2], "big")
    return data[:at]


class DirectorySource(Objects):
    """A log in files, as a static host has it and as `pyrsia log export` writes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def name(self) -> str:
        return str(self.folder)

    @property
    def lanes(self) -> int:
        return cores()

    def close(self) -> None:
        """Nothing is open between reads."""

    def raw(self, named: Tile | Bundle) -> bytes:
        """The file of exactly this name, of whatever length; nothing is cut out of another in its place."""
        return self._get(named.path, MAX_BUNDLE_BYTES.value)

    def _get(self, path: str, most: int, *, packed: bool = False) -> bytes:
        where = self.folder / path
        try:
            # O_NONBLOCK: a named pipe in somebody's folder must not hold us for ever.
            handle = os.open(where, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise Absent(f"{path} is not there") from None
        except OSError as error:
            raise Unavailable(f"{where}: {error.strerror}") from None
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise Malformed(f"{path} is no file")
            if status.st_size > most:
                raise Malformed(f"{path} is {status.st_size} bytes long; {most} is the most")
            return _whole(handle, path, status.st_size)
        except OSError as error:
            raise Unavailable(f"{where}: {error.strerror}") from None
        finally:
            os.close(handle)


def _whole(handle: int, path: str, size: int) -> bytes:
    """All of a file that was `size` bytes long a moment ago."""
    data = os.read(handle, size + 1)
    while len(data) <= size and (more := os.read(handle, size + 1 - len(data))):
        data += more  # a read may stop early; an empty one says that this was the end
    if len(data) > size:
        raise Unavailable(f"{path} grows while it is read")
    return data


class HttpSource(Objects):
    """A log behind an address: any tlog-tiles prefix, or `/log/` of a Pyrsia node."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    @property
    def name(self) -> str:
        return self._fetcher.address.text

    @property
    def lanes(self) -> int:
        return HTTP_LANES.value

    def close(self) -> None:
        self._fetcher.close()

    def _get(self, path: str, most: int, *, packed: bool = False) -> bytes:
        return self._fetcher.get(path, most, packed=packed)


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def at_address(text: str) -> HttpSource:
    """The log whose prefix is `text`; a node's own address will do, its log lies below `log/`.

    Raises:
        Refusal: `usage` for what is no address.
        Unavailable, Malformed: nobody answers there as a log does.
    """
    address = Address.parse(text)
    source = HttpSource(Fetcher(address))
    if _has_checkpoint(source):
        return source
    below = HttpSource(Fetcher(address.below("log")))
    if _has_checkpoint(below):
        return below
    return HttpSource(Fetcher(address))  # what is missing is then told of the address that was named


def _has_checkpoint(source: HttpSource) -> bool:
    """Whether there is one; the source is closed if not."""
    try:
        source.checkpoint()
    except Absent:
        source.close()
        return False
    except BaseException:
        source.close()
        raise
    return True
