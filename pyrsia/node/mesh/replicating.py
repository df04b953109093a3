"""A storage member keeps what is its to keep: the shell around `transfer.repair` and `transfer.copies`.

Runs their effects: questions, downloads, pins, checks. Decides two things itself. What this node keeps as an owner has
the pin `shard`, which goes only when the shard is others' and as many owners as there can be say that they have it.
And who is told to be about to leave counts as leaving for half an hour, unless it says so again.

Source: docs/replication.md.
"""

import logging
import math
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from pyrsia.errors import OtherBytes, PyrsiaError, StorageFull
from pyrsia.mesh.scores import LIE, Scores
from pyrsia.net.data import DataPlane
from pyrsia.net.links import Handler
from pyrsia.node.mesh.enduring import Border, Enduring
from pyrsia.node.mesh.owning import Owning
from pyrsia.node.mesh.parts import OnKind
from pyrsia.node.mesh.providing import Providing
from pyrsia.node.mesh.stock import PIN, Stock
from pyrsia.node.pulse import Pulse
from pyrsia.node.storage.shelf import Shelf
from pyrsia.status import ReplicationStatus
from pyrsia.store.blobs import Blobs
from pyrsia.transfer import copies, repair
from pyrsia.transfer.copies import Copies
from pyrsia.transfer.manifest import Manifest
from pyrsia.transfer.placement import shard_of
from pyrsia.transfer.repair import Grace, Repair
from pyrsia.transfer.wanted import Blob, Outcome
from pyrsia.units import Limit, NodeId
from pyrsia.wire.providers import Sum
from pyrsia.wire.text import b32

LOOK_S: Final = 2.0
PULL_S: Final = 900.0  # one blob; the largest at a tenth of the slowest disk takes longer, and is resumed
PROBE_S: Final = 20.0
SHOWN_S: Final = 10.0  # after an owner gave a chunk its word is taken for so long
LEAVING_S: Final = 1_800.0
CALM_S: Final = (
    10.0  # who says now that it leaves and now that it stays costs everybody one look at all shards
)
SPARE_S: Final = 60.0
SPARED_S: Final = 3_600.0  # pins that no shard of ours explains are looked for
DOUBTFUL = Limit(1_024, "blobs that were other bytes once; a forgotten one costs one more download")
SPARE_PAGE = Limit(256, "blobs of a shard asked about before one of their pins goes")

_log = logging.getLogger("pyrsia.storage")


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator decided: when a dead member's shards are taken over, and at how many bytes a second."""

    after_s: float
    rate: float


class Replicating:
    """The part of one node that keeps copies.

    Args:
        dead_s: for how long a node has been dead, None for one that is not.
        reaches: whether a node has a link now and serves files.
        called: what people call a node.
        pulse: beats when the log has grown.

    Attributes:
        leaving: whether this node hands over what it keeps (`Draining` sets it).
    """

    def __init__(
        self,
        owning: Owning,
        stock: Stock,
        blobs: Blobs,
        shelf: Shelf,
        plane: DataPlane,
        providing: Providing,
        rules: Rules,
        *,
        dead_s: Callable[[NodeId], float | None],
        reaches: Callable[[NodeId], bool],
        pulse: Pulse,
        scores: Scores,
        called: Callable[[NodeId], str] = lambda node: b32(node)[:8],
    ) -> None:
        draw = secrets.SystemRandom()
        self.leaving = False
        self.repair = Repair(owning.node, stock, draw, rate=rules.rate)
        self.copies = Copies(owning.node, stock.total, draw, Sum())
        self.stock = stock
        self.providing = providing
        self._owning = owning
        self._blobs = blobs
        self._shelf = shelf
        self._plane = plane
        self._grace = Grace(rules.after_s)
        self._dead_s = dead_s
        self._reaches = reaches
        self._pulse = pulse
        self._scores = scores
        self._called = called
        self._told_dead: frozenset[NodeId] = frozenset()  # of whom the diary said so last
        self._others_leave: dict[NodeId, float] = {}
        self._believed: frozenset[NodeId] = frozenset()  # of these, who is passed over
        self._calm_s = 0.0
        self._spared: set[int] = set()
        self._known: tuple[int, int] = (-1, 0)  # rounds of copies, and shards under R then
        self._shown: dict[NodeId, float] = {}  # owners: when one last gave a chunk that it was asked for
        self._doubtful: dict[bytes, None] = {}  # blobs that came whole once, and were other bytes
        self._wake = trio.Event()
        self._endures = Enduring("copies are not looked after")
        self._border = Border("an owner's answer about copies is not read")
        providing.on_leaving = self._on_leaving
        blobs.on_rotten.append(self.on_rotten)

    # -- as a part of the mesh --

    @property
    def methods(self) -> Mapping[int, Handler]:
        return {}

    @property
    def messages(self) -> Mapping[int, OnKind]:
        return {}

    def linked(self, node: NodeId, up: bool) -> None:
        """Who is there is asked about its state, every two seconds."""

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._index)
            nursery.start_soon(self._work, nursery)
            nursery.start_soon(self._count, nursery)
            nursery.start_soon(self._release)
            while True:
                with self._endures.turn():
                    self._look()
                    await self._pin_loose()
                await trio.sleep(LOOK_S)

    # -- what others ask of it --

    def on_rotten(self, sha256: bytes) -> None:
        """It was here, and is damaged: bring it again."""
        self.stock.changed(sha256)
        if self.repair.on_named(self.stock.named(sha256)):
            self._poke()

    async def confirmed(self, blobs: Sequence[bytes], *, least: int, without_us: bool = False) -> set[bytes]:
        """Those of which at least so many owners say now that they have them.

        Saying so proves nothing: whoever says it is asked for a chunk of one of them, and counts if it gives it.

        Args:
            without_us: owners are counted as if this node were gone.
        """
        me, placement = self._owning.node, self._owning.placement
        gone: Collection[NodeId] = self.repair.gone | ({me} if without_us else set())
        asked: dict[NodeId, list[bytes]] = {}
        count: dict[bytes, int] = dict.fromkeys(blobs, 0)
        for at, sha256 in enumerate(count):
            for owner in placement.owners(sha256, gone):
                if owner != me:
                    asked.setdefault(owner, []).append(sha256)
                elif PIN in self._blobs.pins(sha256):
                    count[sha256] += 1
            if at % 256 == 255:
                await trio.lowlevel.checkpoint()

        async def ask(owner: NodeId, wanted: list[bytes]) -> None:
            bits = await self.providing.asking.held(owner, wanted)
            if bits is None or self.copies.doubted(trio.current_time(), owner):
                return
            said = [sha256 for sha256, has in zip(wanted, bits, strict=True) if has]
            if said and await self._shows(owner, said):
                for sha256, has in zip(wanted, bits, strict=True):
                    count[sha256] += has

        async with trio.open_nursery() as nursery:
            for owner, wanted in asked.items():
                nursery.start_soon(ask, owner, wanted)
        return {sha256 for sha256, found in count.items() if found >= least}

    async def _shows(self, owner: NodeId, blobs: Sequence[bytes]) -> bool:
        """Whether `owner` gives a chunk of one of these, or did a moment ago."""
        if self.shown(owner):
            return True
        here = [blob for blob in self.stock.named(secrets.choice(blobs)) if self._blobs.has(blob.sha256)]
        manifest = next((one for blob in here if (one := self.stock.manifest(blob)) is not None), None)
        if manifest is None:
            return False
        if manifest.count and not await self._gives(owner, manifest):
            return False
        self._shown[owner] = trio.current_time()
        return True

    def shown(self, owner: NodeId) -> bool:
        """Whether `owner` gave a chunk a moment ago."""
        return trio.current_time() - self._shown.get(owner, -math.inf) < SHOWN_S

    async def kept_elsewhere(self, blobs: Sequence[bytes]) -> set[bytes]:
        """Of these, what a builder need not pin any more: as many owners as there should be have it."""
        placement = self._owning.placement
        if len(placement.members) < placement.replicas:
            return set()
        return await self.confirmed(blobs, least=placement.replicas)

    def status(self) -> ReplicationStatus:
        placement = self._owning.placement
        counted = self.copies.rounds
        if counted != self._known[0]:
            self._known = (counted, self.copies.under())
        return ReplicationStatus(
            member=self._owning.ours,
            members=len(placement.members),
            domains=placement.domains,
            replicas=placement.wanted,
            shards=len(self.repair.mine),
            counted=counted > 0 and self.repair.settled,
            under=self._known[1],
            coming=self.repair.coming,
            lost=self.repair.lost,
            gone=tuple(sorted(b32(node) for node in self.repair.gone)),
            full=self.repair.full,
            leaving=self.leaving,
        )

    def line(self) -> str:
        """For `pyrsia storage status`; empty on a node that keeps no copies."""
        return self.status().line()

    def leaves(self, node: NodeId) -> bool:
        """Whether `node` said within half an hour that it hands over what it keeps, and did not take it back."""
        return self._others_leave.get(node, -math.inf) > trio.current_time()

    # -- the log and its members --

    async def _index(self) -> None:
        seen = 0
        while True:
            with self._endures.turn():
                if self._owning.placement.wanted:
                    await self.stock.grow(self._named)
            with trio.move_on_after(60.0):  # (a hole fills without a beat)
                seen = await self._pulse.after(seen)

    def _named(self, blobs: Iterable[Blob]) -> None:
        lacking = [blob for blob in blobs if PIN not in self._blobs.pins(blob.sha256)]
        if self.repair.on_named(lacking):
            self._poke()

    def _look(self) -> None:
        """Who are the members, and who of them is passed over?"""
        now, placement = trio.current_time(), self._owning.placement
        self._others_leave = {node: until_s for node, until_s in self._others_leave.items() if until_s > now}
        owners_leave = frozenset(node for node in self._others_leave if node in placement)
        if now >= self._calm_s and self._believed != owners_leave:
            self._calm_s, self._believed = now + CALM_S, owners_leave
        leaving = self._believed | {self._owning.node} if self.leaving else self._believed
        dead, left = self._grace.gone(placement, self._dead_s, leaving)
        dead -= {self._owning.node}
        if self.repair.on_members(placement, dead, left):
            self.providing.gone = self.repair.gone
            self._tell(frozenset(dead))
            self._poke()

    def _tell(self, dead: frozenset[NodeId]) -> None:
        """Who is gone, once, and who is back."""
        for node in sorted(dead - self._told_dead):
            _log.warning("storage member %s is gone: others keep what it kept", self._called(node))
        for node in sorted(self._told_dead - dead):
            if node in self._owning.placement:
                _log.info("storage member %s is back: it keeps its own again", self._called(node))
        self._told_dead = dead

    def _on_leaving(self, node: NodeId, leaving: bool) -> None:
        """A member's own word. It counts for storage members, and is shown of all."""
        if leaving:
            self._others_leave[node] = trio.current_time() + LEAVING_S
        else:
            self._others_leave.pop(node, None)

    # -- bringing --

    def _poke(self) -> None:
        self._wake.set()

    async def _work(self, nursery: trio.Nursery) -> None:
        was_settled = False
        while True:
            self._wake = trio.Event()
            at_s = trio.current_time() + LOOK_S
            with self._endures.turn():
                for effect in self.repair.on_timer(trio.current_time()):
                    match effect:
                        case repair.AskHeld(node, blobs):
                            nursery.start_soon(self._ask, node, blobs)
                        case repair.Pull(blob, sources):
                            nursery.start_soon(self._pull, blob, sources)
                        case repair.Spare(shard):
                            self._spared.add(shard)
                        case repair.WakeAt(wake_s):
                            at_s = wake_s
            if self.repair.settled != was_settled:
                was_settled = self.repair.settled
                if was_settled:
                    self._recount()
            if at_s <= trio.current_time():
                await trio.lowlevel.checkpoint()
            else:
                with trio.move_on_at(at_s):
                    await self._wake.wait()

    def _recount(self) -> None:
        self.copies.on_members(
            trio.current_time(), self._owning.placement, self.repair.gone, frozenset(self.repair.mine)
        )

    async def _ask(self, node: NodeId, blobs: tuple[bytes, ...]) -> None:
        bits = None
        with self._border.turn():  # an answer that finds a bug is none
            bits = await self.providing.asking.held(node, blobs)
        with self._endures.turn():
            if bits is None:
                self.repair.on_silent(node)
            elif self.copies.doubted(trio.current_time(), node):
                self.repair.on_held(node, [False] * len(blobs))
            else:
                self.repair.on_held(node, bits)
        self._poke()

    async def _pull(self, blob: Blob, known: tuple[NodeId, ...]) -> None:
        outcome = Outcome.FAILED
        try:
            with trio.move_on_after(PULL_S):
                outcome = await self._brought(blob, known)
        except Exception:  # noqa: BLE001 - the border: one download's fault ends only that download
            _log.exception("a copy could not be kept for a fault of ours")
        finally:
            self.repair.on_pulled(trio.current_time(), blob, outcome)
            self._poke()

    async def _brought(self, blob: Blob, known: tuple[NodeId, ...]) -> Outcome:
        builders = self.stock.givers(blob)
        if known:
            others = self.providing.sources(blob.sha256, builders)
        else:
            others = await self.providing.find(blob.sha256, builders)
        sources = tuple(dict.fromkeys((*known, *others)))
        try:
            await self._shelf.fetch(blob.manifest, blob.sha256, blob.size, sources)
            kept = await self._blobs.pin(blob.sha256, PIN)
        except StorageFull:
            return Outcome.FULL
        except OtherBytes as error:
            _log.warning("no copy of %s: %s", blob.sha256.hex()[:16], error)
            return self._other_bytes(blob)
        except PyrsiaError as error:
            _log.info("no copy of %s: %s", blob.sha256.hex()[:16], error)
            return Outcome.FAILED
        self.stock.changed(blob.sha256)
        return Outcome.HERE if kept else Outcome.FAILED

    def _other_bytes(self, blob: Blob) -> Outcome:
        """The first time a disk may be to blame; the second time it is whoever named it."""
        if blob.key in self._doubtful:
            del self._doubtful[blob.key]
            return Outcome.VOID
        self._doubtful[blob.key] = None
        if len(self._doubtful) > DOUBTFUL.value:
            del self._doubtful[next(iter(self._doubtful))]
        return Outcome.FAILED

    async def _pin_loose(self) -> None:
        while self.stock.loose:
            sha256 = self.stock.loose.popleft()
            if shard_of(sha256) in self.repair.mine:
                await self._blobs.pin(sha256, PIN)

    # -- counting --

    async def _count(self, nursery: trio.Nursery) -> None:
        while True:
            self._step(nursery)
            await trio.sleep(LOOK_S)

    def _step(self, nursery: trio.Nursery) -> None:
        if not self.repair.mine:
            return
        with self._endures.turn():
            for effect in self.copies.on_timer(trio.current_time()):
                match effect:
                    case copies.AskSums(node, shards):
                        nursery.start_soon(self._sums, nursery, node, shards)
                    case copies.Probe(node, shard):
                        nursery.start_soon(self._probe, node, shard)

    async def _sums(self, nursery: trio.Nursery, node: NodeId, shards: tuple[int, ...]) -> None:
        sums = None
        with self._border.turn():
            sums = await self.providing.asking.sums(node, shards)
        if sums is None:
            self.copies.on_silent(node)
        else:
            with self._endures.turn():
                self.copies.on_sums(trio.current_time(), node, sums)
        self._step(nursery)  # the next question at once

    async def _probe(self, node: NodeId, shard: int) -> None:
        """Ask for one chunk of what it says that it keeps."""
        manifest = None
        with self._endures.turn():
            blob = self.stock.pick(shard, secrets.SystemRandom())
            manifest = None if blob is None else self.stock.manifest(blob)
        if manifest is None or not manifest.count or not self._reaches(node):
            return
        with self._border.turn():
            await self._gives(node, manifest)

    async def _gives(self, node: NodeId, manifest: Manifest) -> bool:
        """Whether it gives a chunk of this; what follows from a no."""
        good = await self._plane.gives(manifest, node, secrets.randbelow(manifest.count), PROBE_S)
        if good is None and not self._reaches(node):
            return False  # it is gone
        now = trio.current_time()
        if self.copies.on_probe(now, node, good):
            _log.warning("%s says that it keeps blobs that it does not have", self._called(node))
            self._scores.note(now, node, LIE, "it says that it keeps blobs, and gives no chunk of them")
        return bool(good)

    # -- letting go --

    async def _release(self) -> None:
        looked_s = trio.current_time()
        while True:
            await trio.sleep(SPARE_S)
            if self.leaving or not self.repair.settled:
                continue
            with self._endures.turn():
                if trio.current_time() >= looked_s + SPARED_S:
                    looked_s = trio.current_time()
                    await self._find_spared()
                for shard in sorted(self._spared):
                    if shard in self.repair.mine or await self._let_go(shard):
                        self._spared.discard(shard)

    async def _find_spared(self) -> None:
        async for sha256, record in self._blobs.rows():
            if PIN in record.pins and shard_of(sha256) not in self.repair.mine:
                self._spared.add(shard_of(sha256))

    async def _let_go(self, shard: int) -> bool:
        """Unpin what the owners have; whether nothing of the shard is left that they have not."""
        least, left, after = self._owning.placement.wanted, 0, b""
        while True:
            page, after = self.stock.pinned(shard, after, SPARE_PAGE.value)
            good = await self.confirmed(page, least=max(1, least)) if page else set()
            for sha256 in good:
                if shard not in self.repair.mine:
                    await self._blobs.unpin(sha256, PIN)
            left += len(page) - len(good)
            if not after:
                return not left
