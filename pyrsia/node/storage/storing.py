"""What a node does for its disk by itself: makes room, sweeps, scrubs, and wants damaged blobs back.

A damaged blob that somebody pinned, or that the log names, is fetched from whoever has it and pinned as it was; until
then it is told as wanted. Nothing here waits for a disk on the loop. Left out: which blob goes first
(`store/eviction`), what is damaged (`store/scrub`, `store/sweep`), the operator's orders (`storage_desk`).

Source: docs/storage.md, "Disk".
"""

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import trio

from pyrsia.config import StorageSection
from pyrsia.errors import PyrsiaError, Unavailable
from pyrsia.ledger import views
from pyrsia.ledger.state import Reads
from pyrsia.net.links import Handler
from pyrsia.node.mesh.parts import OnKind
from pyrsia.node.storage.arriving import Arrivals
from pyrsia.node.storage.pins import Pins
from pyrsia.node.storage.shelf import BlobRef
from pyrsia.serve.desks.storage import RottenBlob
from pyrsia.status import DiskStatus, Swept
from pyrsia.store import layout
from pyrsia.store.blobs import MEND, BlobRecord, Blobs
from pyrsia.store.partials import Partials
from pyrsia.store.quota import free_bytes
from pyrsia.store.rocks import Batch, Database
from pyrsia.store.scrub import Scrubber
from pyrsia.store.sweep import Sweeper
from pyrsia.units import HASH_BYTES, MANIFEST_ROWS, Limit, NodeId
from pyrsia.wire.text import unb32

LOOK_S = Limit(10, "a disk that fills at 50 MB/s is seen with the spare part of 512 MB just taken")
NOTED_S = Limit(600, "times of use and standing orders; a blob of the last ten minutes goes last anyway")
SWEEP_S = Limit(3_600, "what a crash left is seldom, and costs disk alone")
SWEEP_FIRST_S = Limit(300, "a node that starts has better to do than to look through its disk")
MEND_S = Limit(600, "between two tries to get a damaged blob back that nobody gave")
MENDED = Limit(16, "damaged blobs that are shown after they were mended")
DOUBTED = Limit(
    64, "blobs that wait to be read again because somebody met them damaged; the others are met again"
)
WANTED = Limit(1_000, "damaged blobs looked at in one turn; more is a disk that has to be replaced")

_log = logging.getLogger("pyrsia.store")

Bring = Callable[[BlobRef], Awaitable[None]]


class Storing:
    """The disk of one node (a `Part` of the mesh, though no peer asks it anything).

    Args:
        folder: of the blobs.
        reads: the final state. named: whether the log names a manifest id.
        bring: fetches a blob from whoever has it.
    """

    methods: Final[Mapping[int, Handler]] = {}
    messages: Final[Mapping[int, OnKind]] = {}

    def __init__(
        self,
        folder: Path,
        database: Database,
        blobs: Blobs,
        settings: StorageSection,
        *,
        reads: Reads,
        named: Callable[[bytes], bool],
        bring: Bring,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self.blobs = blobs
        self.settings = settings
        self.pins = Pins(database, blobs, reads)
        self.sweeper = Sweeper(folder, blobs, database, named=named, clock_s=clock_s)
        self.scrubber = Scrubber(
            blobs, database, mb_s=settings.scrub_mb_s, days=settings.scrub_days, clock_s=clock_s
        )
        self.partials: Partials | None = None  # downloads that were interrupted
        self.swept: Swept | None = None
        self.nursery: trio.Nursery | None = None
        self.free = 0  # bytes of the disk, as the last look found them
        self.bring = bring
        self._database = database
        self._named = named
        self._clock_s = clock_s
        self._damaged = trio.Event()
        self._doubted: dict[bytes, None] = {}  # in order
        self._doubts = trio.Event()
        self._mended: deque[RottenBlob] = deque(maxlen=MENDED.value)
        self._notes: dict[bytes, str] = {}  # why a blob is not back yet
        blobs.on_rotten.append(self._on_rotten)

    @property
    def notice(self) -> str:
        """For the operator: that the folder is away, or why nothing is taken; "" while all is well."""
        if self.blobs.anchor.away:
            return f"storage: {self.blobs.anchor.away}"
        return f"storage: full: {self.blobs.space.full}" if self.blobs.space.full else ""

    def glance(self) -> DiskStatus:
        account = self.blobs.account
        return DiskStatus(account.used, account.rules.quota, account.pinned, self.free, self.blobs.space.full)

    def linked(self, node: NodeId, up: bool) -> None:
        """A peer more may have what is wanted."""
        if up and self._notes:
            self._damaged.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            self.nursery = nursery
            nursery.start_soon(self._every, LOOK_S.value, self.look, 0)
            nursery.start_soon(self._every, NOTED_S.value, self.note, NOTED_S.value)
            nursery.start_soon(self._every, SWEEP_S.value, self._sweep, SWEEP_FIRST_S.value)
            nursery.start_soon(self._scrub)
            nursery.start_soon(self._mend)
            nursery.start_soon(self._check)

    async def _every(self, period_s: float, work: Callable[[], Awaitable[object]], first_s: float) -> None:
        await trio.sleep(first_s)
        while True:
            try:
                await work()
            except (PyrsiaError, OSError) as error:
                _log.warning("the disk cannot be put in order: %s", error)
            await trio.sleep(period_s)

    # -- room --

    async def look(self) -> None:
        """Shrink the cache that has grown too large, and see whether the disk has room."""
        await self.measure()
        await self.blobs.space.look()

    async def measure(self) -> None:
        """How much of the disk is free. Changes nothing: who asks how a node is does not empty its cache."""
        self.free = await self.blobs.in_thread(lambda: free_bytes(self.folder))

    async def note(self) -> None:
        """Write down what has to be remembered now and then, and pin what has come and was ordered to stay."""
        await self.blobs.note_uses()
        if self.pins.patterns:
            await self.pins.apply()

    async def sweep(self, *, dry: bool = False) -> Swept:
        """
        Raises:
            Unavailable: the disk said no.
        """
        found = await self.sweeper.sweep(dry=dry)
        if self.partials is not None:
            count, size = await self.partials.sweep(dry=dry)
            found.partials += count
            found.partial_bytes += size
        if not dry:
            self.swept = found
        return found

    async def _sweep(self) -> None:
        found = await self.sweep()
        if found.rows or found.known or found.removed or found.partials:
            _log.info(
                "swept: %d artifacts are gone from the disk, %d are known again, %d files and %d old downloads removed",
                found.rows, found.known, found.removed, found.partials,
            )  # fmt: skip

    async def _scrub(self) -> None:
        while True:
            try:
                await self.scrubber.run()
            except (PyrsiaError, OSError) as error:
                _log.warning("artifacts cannot be read again: %s", error)
                await trio.sleep(MEND_S.value)

    def doubt(self, sha256: bytes) -> None:
        """Somebody met a file that is not what it was: it is read again soon."""
        if len(self._doubted) < DOUBTED.value:
            self._doubted[sha256] = None
            self._doubts.set()

    def met(self, sha256: bytes) -> None:
        """Somebody is about to read it: what is plainly not whole is read again soon, and the next one is given it."""
        size = self.blobs.size(sha256)
        try:
            whole = size is None or self.blobs.path(sha256).stat().st_size == size
        except OSError:
            whole = False
        if not whole:
            self.doubt(sha256)

    async def _check(self) -> None:
        while True:
            self._doubts = trio.Event()
            while self._doubted:
                sha256 = next(iter(self._doubted))
                size = self.blobs.size(sha256)
                try:
                    if size is not None:
                        await self.scrubber.check(sha256, size)
                except (PyrsiaError, OSError) as error:
                    _log.warning("%s cannot be read again: %s", sha256.hex()[:16], error)
                del self._doubted[sha256]  # not before: who meets it meanwhile adds nothing
            await self._doubts.wait()

    # -- what was damaged --

    def rotten(self) -> tuple[RottenBlob, ...]:
        """Damaged blobs: those that are wanted, then those that came back since the start."""
        rows = self._database.scan(layout.MISC, MEND, WANTED.value, before=MEND + b"\xff" * (HASH_BYTES + 1))
        found = []
        for key, raw in rows:
            sha256 = key[len(MEND) :]
            since_s = msgspec.msgpack.decode(raw, type=BlobRecord).used_s
            note = self._notes.get(sha256, "")
            found.append(RottenBlob(sha256.hex(), since_s, "wanted", note))
        return (*found, *self._mended)

    def _on_rotten(self, sha256: bytes) -> None:
        self._notes[sha256] = "nobody was asked yet"
        self._damaged.set()

    async def _mend(self) -> None:
        """Fetch what was damaged, now, whenever more is, and again while nobody gave it."""
        while True:
            self._damaged = trio.Event()
            try:
                await self.mend()
            except (PyrsiaError, OSError) as error:
                _log.warning("damaged artifacts cannot be fetched again: %s", error)
            with trio.move_on_after(MEND_S.value):
                await self._damaged.wait()

    async def mend(self) -> None:
        """One try for each blob that was damaged."""
        rows = self._database.scan(layout.MISC, MEND, WANTED.value, before=MEND + b"\xff" * (HASH_BYTES + 1))
        for key, _ in rows:
            await self._mend_one(key[len(MEND) :])

    async def _mend_one(self, sha256: bytes) -> None:
        raw = self._database.get(layout.MISC, MEND + sha256)  # now: fetching those before it takes minutes
        if raw is None:
            return
        was = msgspec.msgpack.decode(raw, type=BlobRecord)
        if not self.blobs.has(sha256):
            blob = await self._known(sha256, was.size)
            if self._database.get(layout.MISC, MEND + sha256) != raw:
                return  # let go once more meanwhile, so it is looked at once more
            if blob is None or not (was.pins or self._named(blob.manifest)):
                if not was.pins:  # mere cache that nobody can name: nobody misses it
                    await self._settled(sha256)
                else:
                    self._notes[sha256] = "no manifest of it is known, so nobody can be asked"
                return
            try:
                await self.bring(blob)
            except Unavailable as error:
                self._notes[sha256] = str(error)
                return
        if self.blobs.has(sha256):
            self._mended.append(RottenBlob(sha256.hex(), int(self._clock_s()), "mended"))
            _log.info("the damaged file of %s was fetched again", sha256.hex())
            await self._settled(sha256)

    async def _settled(self, sha256: bytes) -> None:
        await self._database.commit(Batch().delete(layout.MISC, MEND + sha256))
        self._notes.pop(sha256, None)

    async def _known(self, sha256: bytes, size: int) -> BlobRef | None:
        """The blob as peers know it: by its manifest, which stays here as long as the blob is wanted."""
        start = b""
        while rows := self._database.scan(layout.MANIFESTS, start, MANIFEST_ROWS.value):
            for ident, row in rows:
                if row[:HASH_BYTES] == sha256:
                    return BlobRef(ident, sha256, size)
            start = rows[-1][0] + b"\0"
            await trio.lowlevel.checkpoint()
        return None


async def bring_from(arrivals: Arrivals, blob: BlobRef, sources: Sequence[NodeId]) -> None:
    """Fetch a blob, or wait for whoever fetches it already.

    Raises:
        Unavailable: nobody gave it, or there is no room for it.
    """
    arriving = arrivals.bring(blob, sources)
    try:
        await arriving.ready(blob.size)
    finally:
        arriving.close()


def holders(reads: Reads, sha256: bytes, linked: Sequence[NodeId]) -> list[NodeId]:
    """Who may have a blob: its builders as the log has them, then whoever is there."""
    placed = views.artifact(reads, sha256.hex())
    builders = [NodeId(unb32(node)) for node in placed.body["agreeing"]] if placed else []
    return list(dict.fromkeys((*builders, *linked)))
