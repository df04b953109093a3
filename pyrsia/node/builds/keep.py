"""What builds leave on the disk, and when it goes: what an audit needs stays, what never came to be seen goes.

Kept: blobs that the log names (outputs, logs, sources, locks), until as many storage members as there should be say
that they have them, for ever where there are too few; and those of a reveal that is still owed. Let go after a day:
blobs of builds that were settled without this node, sources that were sent and never asked for, what was kept for
builders whose reveal never came into the log. Let go after hours: folders of jobs that ended with their process. The
index cache keeps what was asked for last.

Source: docs/builds-how.md, "On a builder"; docs/storage.md.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from pyrsia.builds.outbound.keeping import trim
from pyrsia.builds.sandbox.collect import discard
from pyrsia.errors import PyrsiaError
from pyrsia.node.builds import requests, reveal, sources
from pyrsia.node.mesh import receipting
from pyrsia.store import layout
from pyrsia.store.blobs import BlobRecord, Blobs
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import HASH_BYTES, MANIFEST_ROWS, Limit
from pyrsia.wire import canonical

EVERY_S = Limit(3_600, "what is left over is found within an hour of its day; a look reads two indexes")
GRACE_S = Limit(
    86_400, "an order, or a reveal that waits for its gate, takes minutes; a day forgives a weekend's clock"
)
FOLDER_GRACE_S = Limit(
    3_600, "beyond twice the longest build: a result that nobody adopted by then is nobody's"
)
ROWS = Limit(1_000, "rows read before other tasks have their turn")
ASKED = Limit(1_024, "blobs asked about at once: a message to each owner")
OURS: Final = frozenset({reveal.PIN, requests.PIN, sources.PIN})

Elsewhere = Callable[[Sequence[bytes]], Awaitable[Collection[bytes]]]

_log = logging.getLogger("pyrsia.builder")


@dataclass(frozen=True, slots=True)
class Swept:
    """What one look let go."""

    blobs: int
    folders: int


class Keeper:
    """Looks now and then for what nobody needs.

    Args:
        named: whether the log names a manifest id.
        folders: where jobs run and results wait to be adopted.
        spared: names in them that belong to no job: their owner bounds them, and uses them while it runs.
        longest_s: what one build may take.
        cache: of indexes and repositories; at most `cache_bytes` of it stay.
        forget: drops the jobs of settled requests.
        waits: ids of the requests that are open: what was kept for one of them may still come into the log.
        elsewhere: of these blobs, by digest, those that as many owners keep as there should be.
        now_s: this machine's time, as file times have it.
    """

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        *,
        named: Callable[[bytes], bool],
        folders: tuple[Path, ...],
        longest_s: float,
        cache: Path,
        cache_bytes: int,
        forget: Callable[[], Any],
        spared: Collection[str] = (),
        waits: Callable[[], Collection[str]] = tuple,
        elsewhere: Elsewhere | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._named = named
        self._folders = folders
        self._longest_s = longest_s
        self._cache = cache
        self._cache_bytes = cache_bytes
        self._forget = forget
        self._spared = frozenset(spared)
        self._waits = waits
        self._elsewhere = elsewhere
        self._now_s = now_s

    async def run(self) -> None:
        """Look every hour until cancelled."""
        while True:
            await trio.sleep(EVERY_S.value)
            try:
                swept = await self.sweep()
                if swept.blobs or swept.folders:
                    _log.info("let go %d blobs and %d folders of builds", swept.blobs, swept.folders)
            except (PyrsiaError, OSError) as error:
                _log.warning("what builds left cannot be looked through: %s", error)

    async def sweep(self) -> Swept:
        """One look."""
        await self._forget()
        folders = await trio.to_thread.run_sync(self._old_folders)
        gone = set()
        for sha256, raw, pins in await self._unneeded():
            if sha256 in await self._owed():
                continue
            # From here to the index nothing awaits: a build that made it again meanwhile has written file and row anew.
            if self._database.get(layout.BLOBS, sha256) != raw or not self._is_old(sha256):
                continue
            if any(self._awaited(pin) for pin in pins):
                continue
            if await self._blobs.evict(sha256, pins=pins):
                gone.add(sha256)
        await self._drop_manifests(frozenset(gone))
        await self._leave_to_owners()
        if self._cache.is_dir():
            await trio.to_thread.run_sync(trim, self._cache, self._cache_bytes, float(FOLDER_GRACE_S.value))
        return Swept(len(gone), folders)

    def _old_folders(self) -> int:
        before = self._now_s() - 2 * self._longest_s - FOLDER_GRACE_S.value
        count = 0
        for folder in self._folders:
            with suppress(FileNotFoundError):
                for path in (one for one in folder.iterdir() if one.name not in self._spared):
                    with suppress(FileNotFoundError):
                        if path.lstat().st_mtime < before:
                            discard(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                            count += 1
        return count

    async def _unneeded(self) -> list[tuple[bytes, bytes, tuple[str, ...]]]:
        """Blobs that only builds pinned, of over a day ago, that neither the log nor a job names; with row and pins."""
        waits = frozenset(
            self._waits()
        )  # before the log is looked at: what is settled then has its reveals there
        needed, found = await self._needed(), []
        async for sha256, raw in self._rows(layout.BLOBS):
            record = _record(raw)
            if record is None or not record.pins:
                continue
            settled = [pin for pin in record.pins if _settled(pin, waits)]
            if sha256 in needed:
                await self._spare_one(sha256, settled)
                continue
            if not OURS.union(settled).issuperset(record.pins):
                continue
            if self._is_old(sha256):
                found.append((sha256, raw, record.pins))
        return found

    def _is_old(self, sha256: bytes) -> bool:
        with suppress(FileNotFoundError):
            return self._blobs.path(sha256).stat().st_mtime < self._now_s() - GRACE_S.value
        return False

    def _awaited(self, pin: str) -> bool:
        return pin.startswith(receipting.PIN) and pin.removeprefix(receipting.PIN) in self._waits()

    async def _leave_to_owners(self) -> None:
        """Unpin what owners keep as often as they should: it is cache from then on, like anybody's."""
        if self._elsewhere is None:
            return
        owed, waits = await self._owed(), frozenset(self._waits())
        pinned: dict[bytes, list[str]] = {}
        async for sha256, raw in self._rows(layout.BLOBS):
            record = _record(raw)
            if record is None or sha256 in owed:
                continue
            pins = [pin for pin in record.pins if pin in OURS or _settled(pin, waits)]
            if pins:
                pinned[sha256] = pins
            if len(pinned) == ASKED.value:
                await self._ask_owners(pinned)
        await self._ask_owners(pinned)

    async def _ask_owners(self, pinned: dict[bytes, list[str]]) -> None:
        if self._elsewhere is not None and pinned:
            for sha256 in await self._elsewhere(tuple(pinned)):
                if sha256 in await self._owed():
                    continue  # of a job that began while they were asked
                for pin in pinned[sha256]:
                    await self._blobs.unpin(sha256, pin)
        pinned.clear()

    async def _spare_one(self, sha256: bytes, receipts: list[str]) -> None:
        """Of the pins that keep a blob of the log for settled requests one will do: equal logs come with each build."""
        for pin in receipts[1:]:
            await self._blobs.unpin(sha256, pin)

    async def _needed(self) -> set[bytes]:
        needed = set()
        async for manifest, row in self._rows(layout.MANIFESTS):
            if self._named(manifest):
                needed.add(row[:HASH_BYTES])
        return needed | await self._owed()

    async def _owed(self) -> set[bytes]:
        """What a job names that is not done."""
        owed = set()
        async for _, raw in self._rows(layout.JOBS):
            owed |= {bytes.fromhex(text) for text in _digests(canonical.decode(raw))}
        return owed

    async def _drop_manifests(self, gone: frozenset[bytes]) -> None:
        """Of what went, and did not come again meanwhile."""
        if not gone:
            return
        found = [
            (manifest, row[:HASH_BYTES])
            async for manifest, row in self._rows(layout.MANIFESTS)
            if row[:HASH_BYTES] in gone
        ]
        batch = Batch()
        for manifest, sha256 in found:
            if not self._blobs.has(sha256) and not self._blobs.is_coming(sha256):
                batch.delete(layout.MANIFESTS, manifest)
        await self._database.commit(batch)

    async def _rows(self, family: str) -> Any:
        start, most = b"", MANIFEST_ROWS.value if family == layout.MANIFESTS else ROWS.value
        while True:
            rows = list(self._database.scan(family, start, most))
            for key, value in rows:
                yield key, value
            if len(rows) < most:
                return
            start = rows[-1][0] + b"\0"
            await trio.lowlevel.checkpoint()


def _record(raw: bytes) -> BlobRecord | None:
    import msgspec

    try:
        return msgspec.msgpack.decode(raw, type=BlobRecord)
    except msgspec.DecodeError:
        return None


def _settled(pin: str, waits: Collection[str]) -> bool:
    """Whether it is a receipt's for a request that is open no more."""
    return pin.startswith(receipting.PIN) and pin.removeprefix(receipting.PIN) not in waits


def _digests(value: Any) -> Iterator[str]:
    """Every `sha256` of a reveal, however deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "sha256" and isinstance(inner, str):
                yield inner
            else:
                yield from _digests(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _digests(inner)
