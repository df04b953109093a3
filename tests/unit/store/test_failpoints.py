"""Every call that the store makes to the disk fails in its turn: an error of ours, and what was there is there.

In-process and exact: `tests/e2e/test_append_crashes.py` does the same to a whole append from outside, RocksDB's own
calls included. Here stand the rules that a fault must not break even while the process lives on.
"""

import errno
import hashlib
import os
from contextlib import contextmanager, suppress
from unittest import mock

import pytest
import trio

from pyrsia.errors import Unavailable
from pyrsia.files import write_whole
from pyrsia.node.log.archive import Archive
from pyrsia.store import layout
from pyrsia.store.blobs import PARTIAL, Blobs
from pyrsia.store.rocks import Batch, Database
from pyrsia.store.votes import Mark, VotesWal
from tests.reference.ledger import World

CALLS = ("open", "pwrite", "fsync", "fdatasync", "posix_fallocate", "rename", "mkdir", "ftruncate", "fdopen")


class Failpoint:
    """Counts calls to the disk; the one with the number `at` fails."""

    def __init__(self, at=0, number=errno.EIO):
        self.at, self.number, self.count = at, number, 0
        self.failed = ""

    @contextmanager
    def set(self):
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, self._counted(name, getattr(os, name)))
            yield self

    def _counted(self, name, real):
        def call(*args, **kwargs):
            self.count += 1
            if self.count == self.at:
                self.failed = name
                raise OSError(self.number, os.strerror(self.number))
            return real(*args, **kwargs)

        return call


def count(work):
    with Failpoint().set() as point:
        work()
    return point.count


@pytest.fixture
def database(tmp_path):
    opened = Database.open(tmp_path / "db")
    yield opened
    opened.close()


# -- the vote record --


async def _votes(path, say):
    """Appends, a mark and a trim; `say` hears of each record once it is acknowledged."""
    wal = VotesWal.open(path)
    try:
        for number in range(4):
            await wal.append([b"vote %d" % number])
            say(b"vote %d" % number)
            await wal.mark(Mark(number, 10 * number))
            if number == 2:
                await wal.trim(lambda record: record != b"vote 0")
    finally:
        wal.close()


def test_a_fault_at_any_call_of_the_vote_record_loses_no_acknowledged_vote(tmp_path):
    calls = count(lambda: trio.run(_votes, tmp_path / "whole.wal", lambda record: None))
    for at in range(1, calls + 1):
        path, said = tmp_path / f"{at}.wal", []
        with Failpoint(at).set() as point, pytest.raises(Unavailable):
            trio.run(_votes, path, said.append)
        again = VotesWal.open(path)
        again.close()

        assert point.failed
        kept = [record for record in said if record != b"vote 0" or record in again.records]
        assert [record for record in again.records if record in kept] == kept
        assert len(again.records) <= len(said) + 1  # one that was under way

    assert calls > 12


@pytest.mark.parametrize("name", ["pwrite", "fdatasync", "fsync", "posix_fallocate", "rename", "open"])
async def test_after_a_fault_the_vote_record_takes_nothing_more(tmp_path, name):
    """A sync that succeeds after one that failed proves nothing, and a failed trim has left its file behind."""
    wal = VotesWal.open(tmp_path / "votes.wal")
    await wal.append([b"a vote"])
    broken = mock.Mock(side_effect=OSError(errno.EIO, "broken"))
    with mock.patch.object(os, name, broken):
        with suppress(Unavailable):
            await wal.append([b"lost"])
        with pytest.raises(Unavailable, match="broken"):
            await wal.trim(lambda record: True)
    for again in (wal.append([b"later"]), wal.mark(Mark(1, 1)), wal.trim(lambda record: True)):
        with pytest.raises(Unavailable, match="broken"):
            await again
    wal.close()

    reopened = VotesWal.open(tmp_path / "votes.wal")
    reopened.close()
    assert reopened.records[0] == b"a vote"
    assert b"later" not in reopened.records


async def test_a_disk_that_takes_a_part_of_a_write_is_given_the_rest(tmp_path, monkeypatch):
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, data, at: real(handle, bytes(data)[:7], at))
    wal = VotesWal.open(tmp_path / "votes.wal")
    await wal.append([b"a vote longer than seven bytes"])
    await wal.trim(lambda record: True)
    wal.close()
    again = VotesWal.open(tmp_path / "votes.wal")
    again.close()

    assert again.records == [b"a vote longer than seven bytes"]


# -- the database --


class FailingFlush:
    """RocksDB whose flush fails the first time and then says yes, as a disk that dropped the pages does."""

    def __init__(self, real):
        self.real, self.flushes = real, 0

    def __getattr__(self, name):
        return getattr(self.real, name)

    def flush_wal(self, sync):
        self.flushes += 1
        if self.flushes == 1:
            raise Exception("IO error: While fdatasync: Input/output error")
        self.real.flush_wal(sync)


async def test_after_a_flush_that_failed_nobody_is_told_that_anything_is_on_disk(database):
    database._rdict = FailingFlush(database._rdict)
    told = []

    async def write(number):
        try:
            await database.commit(Batch().put(layout.MISC, layout.number(number), b"x"))
            told.append(number)
        except Unavailable:
            pass

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(write, number)
    with pytest.raises(Unavailable):
        await database.sync()
    database._rdict = database._rdict.real

    assert told == []


class FailingWrite:
    """RocksDB whose write number `at` fails, before it happens or after."""

    def __init__(self, real, at, *, after):
        self.real, self.at, self.after, self.writes = real, at, after, 0

    def __getattr__(self, name):
        return getattr(self.real, name)

    def write(self, batch):
        self.writes += 1
        if self.writes == self.at and not self.after:
            raise Exception("IO error: No space left on device: While appending to file")
        self.real.write(batch)
        if self.writes == self.at:
            raise Exception("IO error: No space left on device: While appending to file")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3])
async def test_a_block_that_could_not_be_written_is_not_in_the_archive_and_can_be_written_again(
    tmp_path, at, after
):
    world = World()
    commits = [world.chain.genesis_commit()]
    write = world.write
    world.write = lambda commit: (write(commit), commits.append(commit))
    for number in range(2):
        body = {"kind": "description", "subject": "pkg:pypi/idna@1", "text": f"{number}", "valid_from": 1}
        world.block(world.entry(world.follower, "fact.add", body))
    database = Database.open(tmp_path / "db")
    archive = Archive(database, world.genesis)
    database._rdict = FailingWrite(database._rdict, at, after=after)
    sizes = []
    for commit in commits:
        try:
            archive.write(commit, None, None)
        except Unavailable:
            sizes.append(archive.size)
            break
    database._rdict = database._rdict.real
    for commit in commits[at - 1 :]:
        archive.write(commit, None, None)
    await database.sync()
    database.close()
    again = Database.open(tmp_path / "db")
    found = Archive(again, world.genesis)
    leaves, head = found.entries(0, 100), found.head
    again.close()

    assert sizes == [0 if at == 1 else commits[at - 2].tree_size]
    assert leaves == world.leaves
    assert head == commits[-1].head


# -- blobs and whole files --


async def test_a_fault_at_any_call_of_a_blob_leaves_no_half_of_it_and_the_others_alone(tmp_path, database):
    blobs = Blobs(tmp_path / "blobs", database)
    first = await blobs.put_bytes(b"first", pin="test")
    at = 0
    while True:
        at += 1
        data = b"blob %d" % at
        digest = hashlib.sha256(data).digest()
        with Failpoint(at, errno.ENOSPC).set() as point:
            with suppress(Unavailable):
                await blobs.put_bytes(data)
        assert list((tmp_path / "blobs" / PARTIAL).iterdir()) == []
        assert blobs.has(digest) == (not point.failed)
        assert blobs.path(first).read_bytes() == b"first"
        if not point.failed:
            break
        assert await blobs.put_bytes(data) == digest  # and once there is room again, it is kept

    assert at > 6


def test_a_fault_at_any_call_of_a_whole_file_leaves_the_old_one_or_the_new_one(tmp_path):
    path = tmp_path / "file"
    calls = count(lambda: write_whole(path, b"old"))
    for at in range(1, calls + 1):
        write_whole(path, b"old")
        with Failpoint(at, errno.ENOSPC).set(), pytest.raises(OSError, match="No space"):
            write_whole(path, b"new")

        assert path.read_bytes() in (b"old", b"new")
        assert [file.name for file in tmp_path.iterdir()] == ["file"]

    assert calls >= 5


async def test_a_partial_blob_that_cannot_be_made_is_an_error_of_ours(tmp_path, database):
    blobs = Blobs(tmp_path / "blobs", database)
    for at in (1, 2):
        with Failpoint(at, errno.ENOSPC).set() as point, pytest.raises(Unavailable, match="room"):
            await blobs.writer(100)

        assert point.failed
        assert list((tmp_path / "blobs" / PARTIAL).iterdir()) == []
