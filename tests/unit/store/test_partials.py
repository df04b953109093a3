"""Downloads that were interrupted: what is gone on with, what is not believed, what goes, and what the disk is told."""

import errno
import itertools
import os
import random
import signal
import sys

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrsia.errors import StorageFull, Unavailable
from pyrsia.store import partials as module
from pyrsia.store.blobs import Blobs
from pyrsia.store.growing import Growing
from pyrsia.store.partials import FLUSH_S, HELD, REST_FILES, REST_S, Partials
from pyrsia.store.quota import Rules
from pyrsia.store.rocks import Database
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import CHUNK_BYTES
from tests.reference.waiting import bounded

STEP = CHUNK_BYTES.value
DATA = random.Random(1).randbytes(4 * STEP + 5)
PAPER = Manifest.of([DATA])


def piece(chunk, data=DATA):
    return chunk * STEP, data[chunk * STEP : (chunk + 1) * STEP]


class Disk:
    """A blob folder that can be opened again, as a node does that starts."""

    def __init__(self, folder, rules=None):
        self.folder, self.now = folder, 1_000_000.0
        self.database = Database.open(folder / "db")
        self.start(rules)

    def start(self, rules=None):
        self.blobs = Blobs(self.folder / "blobs", self.database, rules)
        self.partials = Partials(self.folder / "blobs", self.blobs, clock_s=lambda: self.now)
        return self.partials

    @property
    def files(self):
        return sorted(path.name for path in (self.folder / "blobs" / "coming").iterdir())

    @property
    def account(self):
        return self.blobs.account


@pytest.fixture
def disk(tmp_path):
    made = Disk(tmp_path)
    yield made
    made.database.close()


async def begun(disk, *chunks, paper=PAPER, data=DATA):
    partial = await disk.partials.open(paper)
    for chunk in chunks:
        partial.write_at(*piece(chunk, data))
    return partial


async def test_what_was_interrupted_goes_on_where_it_was_after_a_start_too(disk):
    (await begun(disk, 0, 3)).rest()
    assert disk.account.idle == disk.partials.resting == len(DATA)

    partial = await disk.start().open(PAPER)
    assert partial.held == 0b01001
    for chunk in (1, 2, 4):
        partial.write_at(*piece(chunk))
    path = await partial.finish(PAPER.sha256)

    assert path.read_bytes() == DATA
    assert disk.files == []
    assert (disk.account.idle, disk.account.promised, disk.account.used) == (0, 0, len(DATA))


async def test_its_manifest_is_known_without_asking_anybody(disk):
    (await begun(disk, 2)).rest()

    assert await disk.start().manifest(PAPER.id) == PAPER
    assert await disk.partials.manifest(bytes(32)) is None


async def test_a_process_that_is_killed_loses_what_came_since_the_last_flush_and_no_more(disk):
    partial = await begun(disk, 0, 1)
    await partial.flush()
    partial.write_at(*piece(2))
    os.close(partial._handle)  # killed

    again = await disk.start().open(PAPER)
    assert again.held == 0b00011
    again.discard()


KILLED = """
import os, signal, sys
from pathlib import Path
import trio
from pyrsia.store.blobs import Blobs
from pyrsia.store.partials import Partials
from pyrsia.store.rocks import Database
from pyrsia.transfer.manifest import Manifest

async def main():
    folder, data = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
    partial = await Partials(folder / "blobs", Blobs(folder / "blobs", Database.open(folder / "db"))).open(
        Manifest.of([data])
    )
    step = 262_144
    for chunk in (1, 2):
        partial.write_at(chunk * step, data[chunk * step : (chunk + 1) * step])
    await partial.flush()
    partial.write_at(0, data[:step])
    os.kill(os.getpid(), signal.SIGKILL)

trio.run(main)
"""


async def test_kill_9_in_the_middle_costs_what_came_since_the_last_flush(tmp_path):
    (tmp_path / "data").write_bytes(DATA)
    (tmp_path / "node").mkdir()
    killed = await trio.run_process(
        [sys.executable, "-c", KILLED, str(tmp_path / "node"), str(tmp_path / "data")], check=False
    )
    assert killed.returncode == -signal.SIGKILL

    disk = Disk(tmp_path / "node")
    partial = await disk.partials.open(PAPER)
    assert partial.held == 0b00110
    for chunk in (0, 3, 4):
        partial.write_at(*piece(chunk))
    assert (await partial.finish(PAPER.sha256)).read_bytes() == DATA
    disk.database.close()


async def test_before_the_first_flush_nothing_is_left_of_a_process_that_is_killed(disk):
    partial = await begun(disk, 0, 1)
    os.close(partial._handle)  # killed

    disk.start()
    assert disk.files == []
    assert disk.account.idle == 0


def test_flushes_come_every_other_second_and_never_for_each_chunk(disk, monkeypatch):
    synced = []
    monkeypatch.setattr(module.os, "fdatasync", synced.append)

    async def at_once(work):
        return work()

    async def check():
        disk.blobs.in_thread = at_once  # virtual time waits for no thread
        partial = await begun(disk)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial.keep_flushing)
            for chunk in range(4):
                partial.write_at(*piece(chunk))
            await trio.sleep(10.5 * FLUSH_S)  # nothing new comes: nothing is written
            assert len(synced) == 1
            partial.write_at(*piece(4))
            await trio.sleep(3 * FLUSH_S)
            nursery.cancel_scope.cancel()
        partial.discard()
        assert len(synced) == 2

    trio.run(check, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("lie", ["bits of what never came", "bytes that changed", "bits beyond the end"])
async def test_the_bits_are_a_hint_and_hashes_decide(disk, lie):
    partial = await begun(disk, 0, 1)
    if lie == "bits of what never came":
        partial.held = 0b11111
    partial.rest()
    beside = next(path for path in (disk.folder / "blobs" / "coming").iterdir() if path.name.endswith(HELD))
    if lie == "bytes that changed":
        with beside.with_name(beside.name.removesuffix(HELD)).open("r+b") as file:
            file.seek(7)
            file.write(b"!")
    if lie == "bits beyond the end":
        beside.write_bytes(beside.read_bytes()[:-1] + b"\xff")

    again = await disk.start().open(PAPER)
    assert again.held == {"bits of what never came": 0b11, "bytes that changed": 0b10}.get(lie, 0)
    again.discard()
    assert disk.files == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=400), cut=st.integers(0, 400), keep=st.booleans())
def test_whatever_stands_beside_a_file_nothing_wrong_is_held_and_nothing_raises(disk, raw, cut, keep):
    async def check():
        (await begun(disk, 0, 1, 2)).rest()
        for path in (disk.folder / "blobs" / "coming").iterdir():
            if path.name.endswith(HELD):
                path.write_bytes(path.read_bytes()[:cut] + raw if keep else raw)
        partial = await disk.start().open(PAPER)
        assert partial.held & ~0b111 == 0
        partial.discard()
        assert disk.files == []
        assert (disk.account.idle, disk.account.promised) == (0, 0)

    trio.run(check)


async def test_a_file_of_another_size_and_names_of_nobody_are_begun_anew_or_removed(disk):
    (await begun(disk, 0)).rest()
    folder = disk.folder / "blobs" / "coming"
    (name,) = [name for name in disk.files if not name.endswith(HELD)]
    os.truncate(folder / name, 3)
    for stray in ("notes.txt", "ab" * 32, f"{'ab' * 32}.12345678", f"{'cd' * 32}.12345678{HELD}"):
        (folder / stray).write_bytes(b"x")

    partial = await disk.start().open(PAPER)
    assert partial.held == 0
    assert len(disk.files) == 1
    assert disk.files != [name]  # whoever has mapped the old file never sees this one's bytes under its name
    partial.discard()


async def test_bytes_that_are_not_the_blob_leave_nothing_and_a_cancelled_check_leaves_all(disk):
    wrong = await begun(disk, 0, 1, 2, 3, 4)
    with pytest.raises(Unavailable, match="not the blob"):
        await wrong.finish(bytes(32))
    assert disk.files == []

    partial = await begun(disk, 0, 1, 2, 3, 4)
    with trio.CancelScope() as scope:
        scope.cancel()
        await partial.finish(PAPER.sha256)
    assert (await disk.partials.open(PAPER)).held == 0b11111


async def test_resting_and_discarding_twice_counts_once(disk):
    partial = await begun(disk, 0)
    partial.rest()
    partial.rest()
    partial.discard()
    assert disk.account.idle == len(DATA)
    assert len(disk.files) == 2
    (await begun(disk)).rest()  # it was gone on with, and nothing of it is lost
    assert disk.account.idle == len(DATA)


def paper_of(number):
    data = bytes([number]) * (2 * STEP)
    return Manifest.of([data]), data


async def test_what_rests_too_long_goes_and_a_dry_look_says_what_would(disk):
    for number in range(3):
        paper, data = paper_of(number)
        (await begun(disk, 0, paper=paper, data=data)).rest()
        disk.now += REST_S.value / 2
    assert await disk.partials.sweep(dry=True) == (1, 2 * STEP)
    assert disk.partials.resting == 6 * STEP
    assert await disk.partials.sweep() == (1, 2 * STEP)
    assert await disk.partials.sweep(disk.now + 10 * REST_S.value) == (2, 4 * STEP)
    assert (disk.files, disk.account.idle) == ([], 0)


async def test_of_too_many_and_too_much_the_oldest_go(tmp_path, monkeypatch):
    disk = Disk(tmp_path, Rules(quota=8 * 5 * STEP))  # an eighth: five chunks
    for number in range(4):
        paper, data = paper_of(number)
        (await begun(disk, 0, paper=paper, data=data)).rest()
        disk.now += 1
    assert await disk.partials.sweep() == (2, 4 * STEP)
    assert await disk.partials.manifest(paper_of(3)[0].id) is not None
    assert await disk.partials.manifest(paper_of(0)[0].id) is None
    monkeypatch.setattr(module, "REST_FILES", type(REST_FILES)(1, "a test"))
    assert await disk.partials.sweep() == (1, 2 * STEP)
    disk.database.close()


async def test_what_rests_goes_before_a_new_download_is_refused(tmp_path):
    disk = Disk(tmp_path, Rules(quota=5 * STEP))
    paper, data = paper_of(1)
    (await begun(disk, 0, paper=paper, data=data)).rest()

    partial = await begun(disk, 0)
    assert disk.account.idle == 0
    with pytest.raises(StorageFull):
        await disk.partials.open(paper_of(2)[0])
    partial.rest()
    assert disk.account.taken == len(DATA)
    disk.database.close()


async def test_what_rests_goes_before_what_is_whole_and_no_more_of_it_than_is_needed(tmp_path):
    disk = Disk(tmp_path, Rules(quota=8 * STEP))
    whole = await disk.blobs.put_bytes(bytes(STEP))
    for number in range(3):
        paper, data = paper_of(number)
        (await begun(disk, 0, paper=paper, data=data)).rest()
        disk.now += 1
    await disk.blobs.put_bytes(bytes(2 * STEP), pin="a result")
    assert disk.blobs.has(whole)
    assert disk.account.idle == 4 * STEP
    assert await disk.partials.manifest(paper_of(0)[0].id) is None
    assert await disk.partials.manifest(paper_of(2)[0].id) is not None
    disk.database.close()


@pytest.mark.parametrize("cause", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("coming", [False, True])
async def test_a_file_that_finds_no_room_when_it_is_set_aside_makes_the_disk_full(
    disk, monkeypatch, cause, coming
):
    def no(*args):
        raise OSError(cause, os.strerror(cause))

    monkeypatch.setattr(os, "posix_fallocate", no)
    with pytest.raises(StorageFull):
        await (disk.partials.open(PAPER) if coming else disk.blobs.writer(5_000))
    assert os.strerror(cause) in disk.blobs.space.full
    assert (disk.account.promised, disk.files) == (0, [])


async def test_what_rests_and_goes_is_gone_though_its_remover_is_cancelled(disk):
    (await begun(disk, 0)).rest()
    with trio.CancelScope() as scope:
        scope.cancel()
        await disk.partials.make_room(1)
    assert (disk.partials.resting, disk.account.idle, disk.files) == (0, 0, [])


async def test_who_comes_later_is_told_what_is_here_and_what_comes(disk):
    partial = await begun(disk, 0, 1, 3)
    growing = Growing(len(DATA))
    partial.follow(growing)
    reader, later = growing.reader(), growing.reader()

    with bounded():
        assert await reader.ready(0) == 2 * STEP
        assert await later.ready(3 * STEP + 1) == 3 * STEP + 5  # the last bytes are held back
        assert sorted(growing.lacking()) == [2 * STEP, 4 * STEP]
        partial.write_at(*piece(2))
        assert await reader.ready(2 * STEP) == 3 * STEP + 5
    with reader.path.open("rb") as file:
        assert os.pread(file.fileno(), STEP, 2 * STEP) == piece(2)[1]
    reader.close()
    assert growing.lacking() == [4 * STEP]
    later.close()
    growing.fail("over")
    partial.discard()


@given(st.integers(0, (1 << 200) - 1))
def test_runs_are_those_of_the_set_bits(held):
    runs = list(module._runs(held))
    assert sum(((1 << end) - 1) & ~((1 << first) - 1) for first, end in runs) == held
    assert all(a_end < b_first for (_, a_end), (b_first, _) in itertools.pairwise(runs))


# -- a disk that loses what it took --


@pytest.fixture
def failing(monkeypatch):
    """The next sync fails, and those behind it say that all is well: so Linux tells an error of writing back."""
    left = [errno.EIO]
    real = os.fdatasync

    def once(handle):
        if left:
            raise OSError(left.pop(), "Input/output error")
        real(handle)

    monkeypatch.setattr(os, "fdatasync", once)
    return left


@pytest.mark.parametrize("first", ["flush", "finish"])
async def test_what_a_sync_once_refused_is_never_kept(disk, failing, first):
    partial = await begun(disk, 0, 1, 2, 3, 4)
    with pytest.raises(Unavailable, match="Input/output error"):
        await (partial.flush() if first == "flush" else partial.finish(PAPER.sha256))
    for _ in range(2):
        if first == "flush":
            with pytest.raises(Unavailable, match="brought anew"):
                await partial.finish(PAPER.sha256, pin="receipt:1")

    assert failing == []
    assert not disk.blobs.has(PAPER.sha256)
    assert (disk.files, disk.account.idle, disk.account.promised) == ([], 0, 0)
    again = await begun(disk)
    assert again.held == 0
    again.discard()


async def test_what_a_sync_refused_does_not_rest_and_takes_no_more(disk, failing):
    partial = await begun(disk, 0, 1)
    with pytest.raises(Unavailable):
        await partial.flush()
    with pytest.raises(Unavailable, match="brought anew"):
        partial.write_at(*piece(2))
    partial.rest()
    assert (disk.files, disk.account.idle, partial.lost) == ([], 0, True)
