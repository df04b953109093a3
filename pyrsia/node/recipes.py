"""Recipes of the files that this node has: made in the sandbox when first wanted, kept in the database.

Decides which files are worth cutting and how many are cut at once. A node without a sandbox cuts nothing, and gives and
takes whole files.

Source: docs/delta.md, "Cutting".
"""

import logging
import mmap
from pathlib import Path

import trio

from pyrsia.builds.cutting.spans import PROGRAM, spans
from pyrsia.builds.inside import Inside
from pyrsia.builds.shop import Shop
from pyrsia.errors import Malformed, PyrsiaError
from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database
from pyrsia.transfer import delta
from pyrsia.transfer.delta import Recipe
from pyrsia.units import Limit

WAITING = Limit(64, "files that wait to be cut; more are cut when they are asked for again")
LARGEST = Limit(
    512 << 20, "a file that is hashed in some tenths of a second; the largest that builders publish"
)
ENDINGS = (".whl", ".jar", ".zip")

_log = logging.getLogger("pyrsia.data")


class Recipes:
    """Of one node's files. `run` must run for any to be made.

    Args:
        shop: where the sandbox is; None where this machine has none.
    """

    def __init__(self, database: Database, shop: Shop | None) -> None:
        self._database = database
        self._inside = None if shop is None else Inside(shop.sandbox, shop.scratch, PROGRAM, shop.limits)
        self._waiting: dict[bytes, tuple[Path, int]] = {}
        self._more = trio.Event()
        self._one = trio.CapacityLimiter(1)  # cutting is for later; builds want the cores now

    @staticmethod
    def worth(filename: str, size: int) -> bool:
        """Whether a file of this name and size may share enough with another version."""
        return filename.endswith(ENDINGS) and delta.LEAST_FILE.value <= size <= LARGEST.value

    def kept(self, sha256: bytes, size: int) -> Recipe | None:
        """The recipe of a file of `size` bytes, if it was made before."""
        raw = self._database.get(layout.MISC, _row(sha256))
        if raw is None:
            return None
        try:
            return Recipe.decode(raw, size)
        except Malformed:
            return None

    def want(self, sha256: bytes, path: Path, size: int) -> None:
        """Have it cut some time; the next who asks finds it."""
        if self._inside is not None and len(self._waiting) < WAITING.value:
            self._waiting[sha256] = path, size
            self._more.set()

    def give(self, sha256: bytes, path: Path, size: int) -> bytes:
        """What a peer gets who asks for the recipe of a file: nothing if it is not made yet, or never will be."""
        raw = self._database.get(layout.MISC, _row(sha256))
        if raw is None and delta.LEAST_FILE.value <= size <= LARGEST.value and sha256 not in self._waiting:
            if _is_archive(path):
                self.want(sha256, path, size)
        return raw or b""

    async def of(self, sha256: bytes, path: Path, size: int) -> Recipe | None:
        """The recipe of the file `path` of `size` bytes; made now if need be. None where it cannot be."""
        found = self.kept(sha256, size)
        if found is not None or self._inside is None:
            return found
        async with self._one:
            found = self.kept(sha256, size)
            if found is None:
                offsets = delta.cuts(size, await spans(self._inside, path, size))
                found = await trio.to_thread.run_sync(_cut, path, offsets)
                await self._database.commit(Batch().put(layout.MISC, _row(sha256), found.encode()))
        return found

    def forget(self, sha256: bytes) -> None:
        """The file is gone."""
        self._waiting.pop(sha256, None)
        self._database.write(Batch().delete(layout.MISC, _row(sha256)))

    async def run(self) -> None:
        """Cut what is wanted, one after the other, until cancelled."""
        while True:
            while self._waiting:
                sha256, (path, size) = next(iter(self._waiting.items()))
                try:
                    await self.of(sha256, path, size)
                except (PyrsiaError, OSError) as error:
                    _log.info("%s cannot be cut now: %s", sha256.hex()[:16], error)
                self._waiting.pop(sha256, None)
            self._more = trio.Event()
            await self._more.wait()


def _cut(path: Path, offsets: list[int]) -> Recipe:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        with memoryview(mapped) as view:
            return delta.recipe_of(view, offsets)


def _row(sha256: bytes) -> bytes:
    return b"recipe/" + sha256


def _is_archive(path: Path) -> bool:
    """Whether it begins like a ZIP file: nothing else is worth a sandbox."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\3\4"
    except OSError:
        return False
