"""What fits, what goes for it, and what is refused before a byte is written."""

import errno
import hashlib
import os
from contextlib import suppress

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.config import StorageSection, parse
from pyrsia.errors import Refusal, StorageFull, Unavailable
from pyrsia.store import layout
from pyrsia.store.anchor import MARK
from pyrsia.store.blobs import Blobs
from pyrsia.store.eviction import IN_HAND_S, TOUCHED, Candidate, Oldest, Uses
from pyrsia.store.quota import RECOVERED, STAYS_S, Account, Rules
from tests.reference.memory_database import MemoryDatabase
from tests.unit.store.test_failpoints import Failpoint


class Disk:
    """A store of 1,000 bytes on a disk whose room a test decides; a minute passes between two things."""

    def __init__(self, folder, *, database=None, **rules):
        self.folder = folder / "blobs"
        self.database = database or MemoryDatabase()
        self.now_s = 1_000_000
        self.free = 1 << 40
        self.rules = Rules(**{"quota": 1_000, **rules})
        self.open()

    def open(self):
        self.blobs = Blobs(
            self.folder, self.database, self.rules, clock_s=lambda: self.now_s, free=lambda _: self.free
        )

    async def put(self, number, size, pin=""):
        self.now_s += 60
        return await self.blobs.put_bytes(bytes([number]) * size, pin=pin)

    def files(self):
        return sum(1 for path in self.folder.rglob("*") if path.is_file() and path.name != MARK)


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path)


# -- who goes --


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 50)), max_size=40),
    st.integers(0, 400),
    st.integers(1, 50),
)
def test_the_fewest_that_were_used_longest_ago_go(blobs, need, most):
    candidates = [
        Candidate(used_s, hashlib.sha256(b"%d" % at).digest(), size)
        for at, (used_s, size) in enumerate(blobs)
    ]
    oldest = Oldest(need, most)
    for one in candidates:
        oldest.offer(one)

    expected, freed = [], 0
    for one in sorted(candidates, key=lambda one: (one.used_s, one.sha256))[:most]:
        if freed >= need:
            break
        expected.append(one)
        freed += one.size
    assert oldest.chosen() == expected


async def test_the_one_used_longest_ago_goes_first_and_pins_never(disk):
    kept = await disk.put(1, 300, pin="operator")
    old, new = await disk.put(2, 300), await disk.put(3, 300)
    disk.now_s += 60
    disk.blobs.touch(old)  # somebody reads it
    disk.now_s += 60

    await disk.put(4, 300)

    assert disk.blobs.has(kept)
    assert disk.blobs.has(old)
    assert not disk.blobs.has(new)
    assert not disk.blobs.path(new).exists()


async def test_uses_outlive_a_restart_once_they_were_written(disk):
    first, second = await disk.put(1, 400), await disk.put(2, 400)
    disk.now_s += 3_600
    disk.blobs.touch(first)
    await disk.blobs.note_uses()
    disk.now_s += 60
    disk.open()

    await disk.put(3, 400)

    assert (disk.blobs.has(first), disk.blobs.has(second)) == (True, False)


async def test_reading_writes_nothing(disk):
    digest = await disk.put(1, 100)
    before = disk.database.syncs, len(disk.database.waiting)
    for _ in range(1_000):
        disk.blobs.touch(digest)
    assert (disk.database.syncs, len(disk.database.waiting)) == before


async def test_what_somebody_has_in_hand_or_holds_is_not_evicted(disk):
    hand, held = await disk.put(1, 400), await disk.put(2, 400)
    disk.now_s += 60
    disk.blobs.touch(hand)
    with disk.blobs.holding(held):
        with pytest.raises(StorageFull):
            await disk.blobs.put_bytes(b"x" * 400)
        assert not await disk.blobs.evict(held)
    disk.now_s += IN_HAND_S.value + 1

    await disk.blobs.put_bytes(b"x" * 400)

    assert disk.blobs.used <= 1_000


async def test_an_evicted_file_is_read_to_its_end_by_who_has_it_open(disk):
    digest = await disk.put(1, 400)
    with disk.blobs.path(digest).open("rb") as reader:
        assert await disk.blobs.evict(digest)
        assert reader.read() == b"\1" * 400


def test_times_of_use_are_bounded():
    uses = Uses(lambda: 1_000)
    for number in range(TOUCHED.value + 10):
        uses.note(number.to_bytes(4))
    assert len(uses.items()) == TOUCHED.value
    assert uses.last_s((0).to_bytes(4), 5) == 5


def test_a_clock_that_was_set_back_leaves_nothing_in_hand_for_ever():
    now = [1_000]
    uses = Uses(lambda: now[0])
    uses.note(b"x")
    assert uses.in_hand(b"x")
    now[0] = 500
    assert not uses.in_hand(b"x")


# -- how much --


async def test_sixteen_downloads_at_once_do_not_overshoot(disk):
    taken, refused, partials = [], [], []

    async def fetch(number):
        try:
            partial = await disk.blobs.writer(100)
        except StorageFull as full:
            refused.append(full)
            return
        taken.append(number)
        partials.append(partial)

    async with trio.open_nursery() as nursery:
        for number in range(16):
            nursery.start_soon(fetch, number)

    assert (len(taken), len(refused)) == (10, 6)
    assert disk.blobs.account.promised == 1_000
    for partial in partials:
        partial.discard()
    assert disk.blobs.account.promised == 0


async def test_a_file_larger_than_the_quota_is_refused_at_once_with_the_numbers(disk):
    digest = await disk.put(1, 400)
    with pytest.raises(StorageFull, match=r"1,001 bytes does not fit: 1,000 bytes are allocated"):
        await disk.blobs.writer(1_001)
    assert disk.blobs.has(digest)


@pytest.mark.parametrize("size", [1 << 61, 1 << 63, 1 << 64, 10**40])
async def test_a_size_that_overflows_is_refused_before_anything_is_allocated(tmp_path, size):
    disk = Disk(tmp_path, quota=1 << 60)
    with pytest.raises(StorageFull):
        await disk.blobs.writer(size)
    assert disk.files() == 0


async def test_a_size_below_zero_is_the_callers_bug(disk):
    with pytest.raises(ValueError, match="-1"):
        await disk.blobs.reserve(-1)


async def test_what_is_pinned_fills_the_quota_and_others_are_refused_with_the_numbers(disk):
    await disk.put(1, 900, pin="shard")
    with pytest.raises(StorageFull, match=r"900 bytes are pinned") as caught:
        await disk.put(2, 200)
    assert caught.value.answer.http == 507
    assert "pyrsia storage status" in caught.value.do


async def test_a_result_that_others_wait_for_is_kept_beyond_the_quota(disk):
    await disk.put(1, 900, pin="build")
    cached = await disk.put(2, 100)
    await disk.put(3, 300, pin="build")
    assert disk.blobs.used == 1_200
    assert not disk.blobs.has(cached)


async def test_above_the_high_mark_the_cache_shrinks_to_the_low_one_of_what_pins_leave(disk):
    await disk.put(99, 500, pin="shard")
    for number in range(9):
        await disk.put(number, 51)
    assert (disk.blobs.account.high, disk.blobs.account.low) == (450, 350)
    disk.now_s += 60

    assert await disk.blobs.make_room(disk.blobs.account.surplus()) == 153

    assert disk.blobs.account.cache == 306
    assert disk.blobs.account.surplus() == 0


def test_pins_beyond_the_quota_leave_no_cache():
    account = Account(Rules(quota=100))
    account.kept(150, pinned=True)
    account.kept(10, pinned=False)
    assert (account.high, account.surplus()) == (0, 10)


async def test_a_restart_counts_what_is_here_and_tells_who_went(disk):
    told = []
    await disk.put(1, 300, pin="a")
    gone = await disk.put(2, 200)
    disk.open()
    disk.blobs.on_gone.append(told.append)
    assert (disk.blobs.account.blobs, disk.blobs.used, disk.blobs.account.pinned) == (2, 500, 300)

    await disk.blobs.evict(gone)

    assert told == [gone]
    assert (disk.blobs.account.blobs, disk.blobs.used) == (1, 300)


async def test_two_that_put_the_same_count_it_once(disk):
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(disk.blobs.put_bytes, b"x" * 200)
    assert disk.blobs.used == 200


async def test_a_put_while_the_same_is_evicted_leaves_it_whole(disk):
    digest = await disk.put(1, 300)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.blobs.evict, digest)
        nursery.start_soon(disk.blobs.put_bytes, b"\1" * 300)

    assert disk.blobs.has(digest)
    assert disk.blobs.path(digest).read_bytes() == b"\1" * 300
    assert disk.blobs.used == 300


# -- a full disk --


async def test_a_disk_that_would_be_too_full_makes_the_cache_go_and_then_refuses(tmp_path):
    disk = Disk(tmp_path, spare=500)
    cached = await disk.put(1, 300)
    pinned = await disk.put(2, 300, pin="a")
    disk.now_s += 60
    disk.free = 600

    with pytest.raises(StorageFull, match="takes no more files"):
        await disk.blobs.put_bytes(b"x" * 200)

    assert not disk.blobs.has(cached)
    assert disk.blobs.path(pinned).read_bytes() == b"\2" * 300
    assert disk.blobs.space.full


async def test_what_was_promised_and_is_not_on_the_disk_yet_counts(tmp_path):
    disk = Disk(tmp_path, spare=500)
    disk.free = 800
    with await disk.blobs.reserve(200):
        with pytest.raises(StorageFull) as refused:
            await disk.blobs.reserve(200)
        assert "would stay free on its disk" in str(refused.value)
        assert "blobs" not in str(refused.value)  # strangers are told no folder of this machine
    with await disk.blobs.reserve(200):
        assert disk.blobs.account.promised == 200


def test_a_full_disk_is_said_once_and_recovers_by_itself(tmp_path, caplog):
    caplog.set_level("INFO", "pyrsia.store")
    disk = Disk(tmp_path, spare=500)
    disk.free = 400

    async def main():
        for _ in range(3):
            await disk.blobs.space.look()
        enough = "files are taken again once 67.1 MB are free on the disk of "
        assert disk.blobs.space.full.startswith(enough)
        disk.free = 499 + RECOVERED.value  # more than the spare part, and it still holds
        await trio.sleep(STAYS_S.value)
        await disk.blobs.space.look()
        assert disk.blobs.space.full.startswith(enough)
        assert disk.blobs.space.full.endswith(str(disk.folder))
        disk.free = 500 + RECOVERED.value
        await disk.blobs.space.look()
        assert disk.blobs.space.full  # believed for a minute: a quota of the file system looks like room
        await trio.sleep(STAYS_S.value)
        await disk.blobs.space.look()
        await disk.put(1, 100)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))

    assert disk.blobs.space.full == ""
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "storage",
        "there is room on the disk again",
    ]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_every_call_that_finds_no_space_is_a_refusal_and_leaves_the_store_right(tmp_path, number):
    source = tmp_path / "source"
    source.write_bytes(b"s" * 300)
    digest = hashlib.sha256(b"s" * 300).digest()

    async def fetch(blobs):
        partial = await blobs.writer(300)
        try:
            partial.write_at(0, b"s" * 300)
            await partial.finish(digest)
        except BaseException:
            partial.discard()
            raise

    ways = {
        "put": lambda blobs: blobs.put_bytes(b"s" * 300),
        "adopt": lambda blobs: blobs.adopt(source, digest),
        "fetch": fetch,
    }
    failed = set()
    for name, way in ways.items():
        for at in range(1, 50):
            folder = tmp_path / f"{name}{at}"
            disk = Disk(folder)
            with Failpoint(at, number).set() as point:
                with suppress(StorageFull):
                    await way(disk.blobs)
            if point.failed:
                failed.add((name, point.failed))
            else:
                break
            assert not disk.blobs.has(digest)  # what was not acknowledged is not there
            assert disk.blobs.account.promised == 0
            assert disk.blobs.used == 300 * disk.blobs.has(digest)
            assert not list((folder / "blobs/partial").iterdir())
        else:
            raise AssertionError("the calls never end")
    assert {"put", "adopt", "fetch"} == {name for name, _ in failed}
    assert {call for _, call in failed} >= {"open", "pwrite", "posix_fallocate", "rename", "fdatasync"}


# -- configuration --


def test_marks_that_cross_are_refused_with_the_key(tmp_path):
    with pytest.raises(Refusal, match=r"storage\.low_percent must be below"):
        parse({"storage": {"low_percent": 80, "high_percent": 80}}, tmp_path / "config.toml")
    assert StorageSection().high_percent > StorageSection().low_percent


def test_an_index_row_of_an_older_version_has_no_time_of_use(tmp_path):
    database = MemoryDatabase()
    database.rows[layout.BLOBS, b"\1" * 32] = b"\x92\x05\x91\xa1a"  # [5, ["a"]]
    disk = Disk(tmp_path, database=database)
    assert (disk.blobs.used, disk.blobs.pins(b"\1" * 32)) == (5, ("a",))
    assert os.path.isdir(disk.folder)


async def test_who_is_told_of_an_eviction_and_fails_keeps_it_from_nobody_else(disk):
    told, shas = [], [await disk.blobs.put_bytes(bytes([number]) * 10) for number in range(3)]

    def fails(sha256):
        raise Unavailable("the database: Write stall")

    disk.blobs.on_gone += [fails, told.append]
    for sha256 in shas:
        assert await disk.blobs.evict(sha256)
    assert (told, disk.blobs.used) == (shas, 0)


async def test_what_cannot_fit_beside_pins_is_refused_at_once_and_costs_nobody_a_file(disk, monkeypatch):
    pinned, cached = await disk.put(1, 700, "shard"), await disk.put(2, 200)
    disk.now_s += 3_600
    rows = []
    monkeypatch.setattr(disk.blobs, "rows", lambda *args: rows.append(args))
    for _ in range(3):
        with pytest.raises(StorageFull, match="no room"):
            await disk.blobs.reserve(301)
    assert rows == []
    assert disk.blobs.has(pinned)
    assert disk.blobs.has(cached)
    monkeypatch.undo()
    with await disk.blobs.reserve(300):  # the cache gives way to what does fit
        assert not disk.blobs.has(cached)
        with pytest.raises(StorageFull):
            await disk.blobs.reserve(1)
