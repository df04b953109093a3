"""Whatever is put, fetched, pinned, unpinned, held, evicted and swept, and whenever the power goes: the rules hold.

No blob with an acknowledged pin is lost, no row lacks its file, the account is what the index says, and beyond the
quota lies only what is pinned or held. A crash is a cut of the power at any call to disk or database: from there on
each call fails, what was not synced of the database is lost in part, and another life begins on what is left.
"""

import hashlib
import os
from contextlib import ExitStack, contextmanager, suppress

import msgspec
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrsia.errors import PyrsiaError, StorageFull
from pyrsia.store import layout
from pyrsia.store.blobs import BlobRecord, Blobs
from pyrsia.store.quota import Rules
from pyrsia.store.sweep import FILE_GRACE_S, Sweeper
from tests.reference.memory_database import MemoryDatabase

QUOTA = 100
DATA = [bytes([number]) * size for number, size in enumerate((0, 7, 33, 49, 60, 101))]
NAMES = [hashlib.sha256(data).digest() for data in DATA]
CALLS = ("open", "pwrite", "fsync", "fdatasync", "posix_fallocate", "rename", "mkdir", "unlink", "rmdir")


class Power:
    """Calls to disk and database until the power goes; from there on each fails."""

    def __init__(self):
        self.left = -1  # calls; below zero: it stays on

    @property
    def off(self):
        return self.left == 0

    def use(self):
        if self.off:
            raise OSError(5, "the power is off")
        if self.left > 0:
            self.left -= 1

    @contextmanager
    def wired(self):
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, self._through(getattr(os, name)))
            yield self

    def _through(self, real):
        def call(*args, **kwargs):
            self.use()
            return real(*args, **kwargs)

        return call


class Life:
    """A store under test, with what was acknowledged of it."""

    def __init__(self, folder):
        self.folder = folder
        self.power = Power()
        self.now_s = 1_000_000.0
        self.database = MemoryDatabase()
        self.pinned = {}  # digest -> pins that must be there: whoever pinned heard that it is done
        self.maybe = {}  # digest -> pins that may be there: the power went before anybody heard
        self.holds = ExitStack()
        self.held = set()
        self.open()

    def open(self):
        self.blobs = Blobs(
            self.folder, self.database, Rules(quota=QUOTA), clock_s=lambda: self.now_s, free=lambda _: 1 << 40
        )
        self.sweeper = Sweeper(
            self.folder, self.blobs, self.database, named=lambda _: True, clock_s=lambda: self.now_s
        )

    async def do(self, operation, number, pin):
        self.now_s += 60  # nothing is in anybody's hand
        sha256, blobs = NAMES[number], self.blobs
        match operation:
            case "put":
                self._may(sha256, pin)
                with suppress(StorageFull):
                    await blobs.put_bytes(DATA[number], pin=pin)
                    self._must(sha256, pin)
            case "fetch":
                with suppress(StorageFull):
                    await self._fetch(number)
            case "pin":
                self._may(sha256, pin or "a")
                if await blobs.pin(sha256, pin or "a"):
                    self._must(sha256, pin or "a")
            case "unpin":
                self._may(sha256, pin or "a")
                self.pinned.get(sha256, set()).discard(pin or "a")
                await blobs.unpin(sha256, pin or "a")
                self.maybe.get(sha256, set()).discard(pin or "a")
            case "evict":
                await blobs.evict(sha256)
            case "hold":
                self.holds.enter_context(blobs.holding(sha256))
                if blobs.has(sha256):
                    self.held.add(sha256)
            case "release":
                self.holds.close()
                self.held.clear()
            case "touch":
                blobs.touch(sha256)
                await blobs.note_uses()
            case "sweep":
                self.now_s += FILE_GRACE_S.value + 100_000
                await self.sweeper.sweep()
            case "shrink":
                await blobs.make_room(blobs.account.surplus())

    async def _fetch(self, number):
        data = DATA[number]
        partial = await self.blobs.writer(len(data))
        try:
            half = len(data) // 2
            partial.write_at(half, data[half:])
            partial.write_at(0, data[:half])
            await partial.finish(NAMES[number])
        except BaseException:
            with suppress(OSError):  # the power may be off
                partial.discard()
            raise

    def _may(self, sha256, pin):
        if pin:
            self.maybe.setdefault(sha256, set()).add(pin)

    def _must(self, sha256, pin):
        if pin:
            self.pinned.setdefault(sha256, set()).add(pin)

    def crash(self, kept):
        self.holds = ExitStack()  # nobody is left to let go
        self.held.clear()
        self.power.left = -1
        self.database = self.database.crash(kept)
        self.open()

    def check(self):
        blobs, account = self.blobs, self.blobs.account
        records = {
            sha256: msgspec.msgpack.decode(raw, type=BlobRecord)
            for sha256, raw in self.database.scan(layout.BLOBS, b"", 1_000)
        }
        assert self.held <= records.keys(), "what somebody holds is gone"
        for sha256, pins in self.pinned.items():
            assert pins <= set(records[sha256].pins) if pins else True
        for sha256, record in records.items():
            assert blobs.path(sha256).read_bytes() == DATA[NAMES.index(sha256)]
            assert record.size == len(DATA[NAMES.index(sha256)])
            assert set(record.pins) <= self.maybe.get(sha256, set()) | self.pinned.get(sha256, set())
        pinned = sum(record.size for record in records.values() if record.pins)
        held = sum(
            record.size for sha256, record in records.items() if sha256 in self.held and not record.pins
        )
        assert (account.blobs, account.used) == (len(records), sum(one.size for one in records.values()))
        assert (account.pinned, account.promised) == (pinned, 0)
        assert account.used - held <= max(QUOTA, pinned), "the cache grew beyond the quota"


OPERATIONS = (
    "put",
    "put",
    "fetch",
    "pin",
    "unpin",
    "evict",
    "evict",
    "hold",
    "release",
    "touch",
    "sweep",
    "shrink",
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(OPERATIONS),
        st.integers(0, len(DATA) - 1),
        st.sampled_from(("", "a", "b")),
        st.one_of(
            st.just(-1), st.just(-1), st.integers(1, 6), st.integers(7, 14)
        ),  # calls until the power goes
        st.integers(0, 3),  # unsynced batches that survive
    ),
    min_size=5,
    max_size=30,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_no_interleaving_loses_what_is_pinned_or_counts_wrongly(tmp_path_factory, steps):
    life = Life(tmp_path_factory.mktemp("life") / "blobs")

    async def main():
        for operation, number, pin, calls, kept in steps:
            life.power.left = calls
            try:
                with life.power.wired():
                    life.database.off = False
                    await _powered(life, operation, number, pin)
            except (OSError, PyrsiaError) as error:
                if not life.power.off:
                    raise AssertionError(f"{operation} failed: {error}") from error
                life.crash(kept)
            else:
                life.power.left = -1
            if operation in ("unpin", "release") or calls > 0:  # what may go now goes at the next look
                life.now_s += 60  # who held it has used it, so it is in somebody's hand for a moment
                await life.blobs.make_room(life.blobs.account.surplus())
            life.check()

    trio.run(main)


async def _powered(life, operation, number, pin):
    """One operation, whose writes to the database need power too."""
    database = life.database
    write, sync = database.write, database.sync

    def writing(batch):
        life.power.use()
        write(batch)

    async def syncing():
        life.power.use()
        await sync()

    database.write, database.sync = writing, syncing
    try:
        await life.do(operation, number, pin)
        if life.power.off:  # it went with the last call: nobody heard that it was done
            raise OSError(5, "the power is off")
    finally:
        database.write, database.sync = write, sync
        database.off = life.power.off
