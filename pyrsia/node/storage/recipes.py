"""Recipes of the files that this node has: made in the sandbox when first wanted, kept in the database.

Decides which files are worth cutting and how many are cut at once: one, and a file that nobody waits for any more is
cut all the same. A node without a sandbox cuts nothing, and gives and
takes whole files.

Source: docs/delta.md, "Cutting".
"""

import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import trio

from pyrsia.builds.cutting.spans import PROGRAM, spans
from pyrsia.builds.inside import Inside
from pyrsia.builds.shop import Shop
from pyrsia.errors import Malformed, PyrsiaError
from pyrsia.mapping import MappedFile
from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database
from pyrsia.transfer import delta
from pyrsia.transfer.delta import Recipe
from pyrsia.units import Limit

WAITING = Limit(64, "files that wait to be cut; more are cut when they are asked for again")
FORGOTTEN = Limit(
    1_000, "recipes that wait to be dropped while the database takes nothing; beyond them some stay"
)
FAILED_S = Limit(600, "a file that the sandbox could not cut: whoever asks for it in a loop starts none")
LARGEST = Limit(
    512 << 20, "a file that is hashed in some tenths of a second; the largest that builders publish"
)
ENDINGS = (".whl", ".jar", ".zip")

_log = logging.getLogger("pyrsia.data")


@dataclass(frozen=True, slots=True)
class _Job:
    path: Path
    size: int
    over: trio.Event = field(default_factory=trio.Event)


class Recipes:
    """Of one node's files. `run` must run for any to be made.

    Args:
        shop: where the sandbox is; None where this machine has none.
    """

    def __init__(self, database: Database, shop: Shop | None) -> None:
        self._database = database
        self._inside = None if shop is None else Inside(shop.sandbox, shop.scratch, PROGRAM, shop.limits)
        self._waiting: OrderedDict[bytes, _Job] = OrderedDict()
        self._failed: dict[bytes, float] = {}  # until when it is not tried again
        self._gone: dict[bytes, None] = {}  # files whose recipes the database would not drop
        self._more = trio.Event()

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

    def want(self, sha256: bytes, path: Path, size: int, *, first: bool = False) -> None:
        """Have it cut some time; the next who asks finds it. What could not be cut is not tried again for a while.

        Args:
            first: before what others ask for, and beyond what they may have waiting.
        """
        if self._inside is None or (sha256 in self._failed and self._failed[sha256] > trio.current_time()):
            return
        if sha256 not in self._waiting and len(self._waiting) < (2 if first else 1) * WAITING.value:
            self._waiting[sha256] = _Job(path, size)
            if first:
                self._waiting.move_to_end(sha256, last=False)
            self._more.set()

    def give(self, sha256: bytes, path: Path, size: int) -> bytes:
        """What a peer gets who asks for the recipe of a file: nothing if it is not made yet, or never will be."""
        raw = self._database.get(layout.MISC, _row(sha256))
        if raw is None and delta.LEAST_FILE.value <= size <= LARGEST.value and sha256 not in self._waiting:
            if _is_archive(path):
                self.want(sha256, path, size)
        return raw or b""

    async def soon(self, sha256: bytes, path: Path, size: int) -> Recipe | None:
        """The recipe of the file `path` of `size` bytes; waits until it is cut. None where it cannot be now.

        Who waits no longer leaves a file that is cut for the next time.
        """
        found = self.kept(sha256, size)
        if found is None:
            self.want(sha256, path, size, first=True)
            job = self._waiting.get(sha256)
            if job is not None:
                await job.over.wait()
                found = self.kept(sha256, size)
        return found

    async def _make(self, inside: Inside, sha256: bytes, job: _Job) -> None:
        if self.kept(sha256, job.size) is None:
            offsets = delta.cuts(job.size, await spans(inside, job.path, job.size))
            found = await trio.to_thread.run_sync(_cut, job.path, job.size, offsets)
            if (
                self._waiting.get(sha256) is job
            ):  # else its file went meanwhile, and nobody would drop its recipe
                self._gone.pop(sha256, None)
                await self._database.commit(Batch().put(layout.MISC, _row(sha256), found.encode()))

    def forget(self, sha256: bytes) -> None:
        """The file is gone. What the database refuses now is dropped with the next one that goes."""
        self._over(sha256)
        self._failed.pop(sha256, None)
        self._gone[sha256] = None
        batch = Batch()
        for one in self._gone:
            batch.delete(layout.MISC, _row(one))
        try:
            self._database.write(batch)
        except PyrsiaError as error:
            _log.warning("recipes of files that are gone stay for now: %s", error)
            while len(self._gone) > FORGOTTEN.value:
                del self._gone[next(iter(self._gone))]
        else:
            self._gone.clear()

    async def run(self) -> None:
        """Cut what is wanted, one after the other (builds want the cores), until cancelled."""
        while True:
            while self._waiting and self._inside is not None:
                sha256, job = next(iter(self._waiting.items()))
                try:
                    await self._make(self._inside, sha256, job)
                except (PyrsiaError, OSError) as error:
                    self._fails(sha256)
                    _log.info("%s cannot be cut now: %s", sha256.hex()[:16], error)
                except Exception:  # noqa: BLE001 - the border: whatever one file does, the next is cut
                    _log.exception("%s cannot be cut: a fault of ours", sha256.hex()[:16])
                    self._fails(sha256)
                if self._waiting.get(sha256) is job:  # else its file went, and came back
                    self._over(sha256)
            self._more = trio.Event()
            await self._more.wait()

    def _fails(self, sha256: bytes) -> None:
        self._failed[sha256] = trio.current_time() + FAILED_S.value
        if len(self._failed) > FORGOTTEN.value:
            del self._failed[next(iter(self._failed))]

    def _over(self, sha256: bytes) -> None:
        job = self._waiting.pop(sha256, None)
        if job is not None:
            job.over.set()


def _cut(path: Path, size: int, offsets: list[int]) -> Recipe:
    return delta.recipe_of(MappedFile(path, size), offsets)


def _row(sha256: bytes) -> bytes:
    return b"recipe/" + sha256


def _is_archive(path: Path) -> bool:
    """Whether it begins like a ZIP file: nothing else is worth a sandbox."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\3\4"
    except OSError:
        return False
