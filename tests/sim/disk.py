"""A node's votes.wal and its final blocks: what is synced, what only written, and what a crash leaves of it."""

import random
import struct
from dataclasses import dataclass, field

from pyrsia.consensus.effects import Act, Persist
from pyrsia.wire.blocks import FinalityProof

from .faults import Faults
from .plan import Plan

Records = list[bytes]


@dataclass
class Image:
    """A copy of everything on one disk."""

    wal: Records
    blocks: dict[int, bytes]
    proofs: dict[int, bytes]
    proof: FinalityProof | None
    app: object


@dataclass
class Disk:
    """One node's. A turn with a record that needs a sync waits for it; all turns behind it wait too."""

    number: int
    rng: random.Random
    plan: Plan
    faults: Faults
    wal: Records = field(default_factory=list)  # synced
    loose: Records = field(default_factory=list)  # written, not synced
    durable: set[bytes] = field(default_factory=set)
    waiting: list[list[Act]] = field(default_factory=list)
    blocks: dict[int, bytes] = field(default_factory=dict)
    proofs: dict[int, bytes] = field(default_factory=dict)
    proof: FinalityProof | None = None
    syncs: int = 0

    def sync_s(self, healed: bool) -> float:
        """How long the next fdatasync takes; negative: it fails, at that moment."""
        self.syncs += 1
        lot, usual = self.rng.random(), self.rng.uniform(0.0002, 0.003)
        if healed:
            return usual
        if lot < self.plan.failing_disk and self.faults.on("fails", self.number, self.syncs):
            return -usual
        slow = lot > 1 - self.plan.slow_disk and self.faults.on("slow", self.number, self.syncs)
        return 0.2 if slow else usual

    def synced(self) -> list[list[Act]]:
        """One fdatasync covered everything written so far: the turns that may go on, in order."""
        turns, self.waiting = self.waiting, []
        records = self.loose + [e.record for turn in turns for e in turn if isinstance(e, Persist)]
        self.wal += records
        self.durable.update(records)
        self.loose = []
        return turns

    def crash(self) -> None:
        """What was not synced survives as far as it likes: any prefix of it."""
        written = self.loose + [e.record for turn in self.waiting for e in turn if isinstance(e, Persist)]
        torn = self.rng.randint(0, len(written))
        if torn and self.faults.on("torn", self.number, self.syncs):
            self.wal += written[:torn]
            self.durable.update(written[:torn])
        self.loose, self.waiting = [], []

    def trim(self, epoch: int, view: int) -> None:
        """A block is stored: records up to its place are of no use."""
        floor = epoch, view
        self.wal = [record for record in self.wal if place(record) > floor]

    def image(self, app: object) -> Image:
        return Image(list(self.wal), dict(self.blocks), dict(self.proofs), self.proof, app)

    def restore(self, image: Image) -> None:
        self.wal, self.loose, self.waiting = list(image.wal), [], []
        self.blocks, self.proofs, self.proof = dict(image.blocks), dict(image.proofs), image.proof
        self.durable = set(self.wal)


def place(record: bytes) -> tuple[int, int]:
    """(epoch, view) of a record, read from its fixed places: the test's own reading."""
    at = 1 + 32 if record[0] == 2 else 2
    return struct.unpack_from(">QQ", record, at)  # type: ignore[return-value]
