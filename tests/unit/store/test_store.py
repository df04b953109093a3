"""RocksDB behind its face, blob files and the vote record: what is acknowledged is there again."""

import hashlib

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Refusal, Unavailable
from pyrsia.store import layout, votes
from pyrsia.store.blobs import PARTIAL, Blobs
from pyrsia.store.lock import DataDir
from pyrsia.store.rocks import Batch, Database
from pyrsia.store.votes import VotesWal


@pytest.fixture
def database(tmp_path):
    opened = Database.open(tmp_path / "db")
    yield opened
    opened.close()


async def test_a_committed_batch_is_there_after_reopening(tmp_path):
    database = Database.open(tmp_path / "db")
    await database.commit(Batch().put(layout.STATE, b"a", b"1").put(layout.META, b"b", b"2"))
    database.close()

    again = Database.open(tmp_path / "db")
    found = again.get(layout.STATE, b"a"), again.get(layout.META, b"b"), again.get(layout.STATE, b"b")
    again.close()

    assert found == (b"1", b"2", None)


async def test_many_waiters_share_flushes_and_all_return(database):
    done = []

    async def write(number: int) -> None:
        await database.commit(Batch().put(layout.STATE, layout.number(number), b"x"))
        done.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(write, number)

    assert sorted(done) == list(range(100))
    assert [key for key, _ in database.scan(layout.STATE, b"", 1000)] == [
        layout.number(n) for n in range(100)
    ]


def test_a_second_opener_is_refused_by_name(database, tmp_path):
    with pytest.raises(Refusal) as caught:
        Database.open(tmp_path / "db")

    assert caught.value.code == "data-in-use"


def test_an_oversized_batch_is_the_callers_bug(database):
    with pytest.raises(ValueError, match="at most"):
        database.write(Batch().put(layout.STATE, b"k", bytes(9 << 20)))


async def test_a_blob_is_kept_under_its_digest_and_swept_partials_are_gone(database, tmp_path):
    blobs = Blobs(tmp_path / "blobs", database)
    digest = await blobs.put_bytes(b"hello", pin="test")
    (tmp_path / "blobs" / PARTIAL / "left").write_bytes(b"half")

    again = Blobs(tmp_path / "blobs", database)

    assert again.path(digest).read_bytes() == b"hello"
    assert again.size(digest) == 5
    assert list((tmp_path / "blobs" / PARTIAL).iterdir()) == []


async def test_a_partial_with_one_wrong_byte_is_not_kept(database, tmp_path):
    blobs = Blobs(tmp_path / "blobs", database)
    partial = blobs.writer(4)
    partial.write_at(2, b"cd")
    partial.write_at(0, b"aX")

    with pytest.raises(Unavailable):
        await partial.finish(hashlib.sha256(b"abcd").digest())

    assert not blobs.has(hashlib.sha256(b"abcd").digest())
    assert list((tmp_path / "blobs" / PARTIAL).iterdir()) == []


async def test_adopting_a_file_that_is_not_its_digest_is_refused(database, tmp_path):
    blobs = Blobs(tmp_path / "blobs", database)
    (tmp_path / "f").write_bytes(b"other")

    with pytest.raises(Refusal, match="SHA-256"):
        await blobs.adopt(tmp_path / "f", bytes(32))


async def test_a_pinned_blob_is_not_evicted_and_an_unpinned_one_is(database, tmp_path):
    blobs = Blobs(tmp_path / "blobs", database)
    digest = await blobs.put_bytes(b"x", pin="job")
    with pytest.raises(ValueError, match="pinned"):
        await blobs.evict(digest)

    await blobs.unpin(digest, "job")
    await blobs.evict(digest)

    assert not blobs.has(digest)
    assert not blobs.path(digest).exists()


async def test_appended_votes_are_read_back_in_order(tmp_path):
    wal = VotesWal.open(tmp_path / "votes.wal")
    await wal.append([b"one", b"two"])
    await wal.append([b"three"])
    wal.close()

    again = VotesWal.open(tmp_path / "votes.wal")
    records = list(again.records)
    again.close()

    assert records == [b"one", b"two", b"three"]


async def test_trimming_keeps_only_what_is_wanted(tmp_path):
    wal = VotesWal.open(tmp_path / "votes.wal")
    await wal.append([b"old", b"new"])
    await wal.trim(lambda record: record == b"new")
    await wal.append([b"newer"])
    wal.close()

    again = VotesWal.open(tmp_path / "votes.wal")
    records = list(again.records)
    again.close()

    assert records == [b"new", b"newer"]


async def test_a_vote_that_is_written_while_the_file_is_trimmed_stays(tmp_path):
    wal = VotesWal.open(tmp_path / "votes.wal")
    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(wal.append, [b"vote %d" % number])
            if number % 5 == 0:
                nursery.start_soon(wal.trim, lambda record: record.startswith(b"vote"))
    wal.close()

    again = VotesWal.open(tmp_path / "votes.wal")
    records = sorted(again.records)
    again.close()

    assert records == sorted(b"vote %d" % number for number in range(40))


RECORDS = [b"first record", b"second", b"third one"]


@given(cut=st.integers(0, 40))
@settings(deadline=None)
def test_a_torn_tail_costs_only_the_torn_record(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("wal") / "votes.wal"
    data = votes.MAGIC + b"".join(votes.frame(record) for record in RECORDS)
    path.write_bytes(data[: len(data) - cut] if cut < len(votes.frame(RECORDS[-1])) else data)

    wal = VotesWal.open(path)
    records = list(wal.records)
    wal.close()

    assert records in (RECORDS, RECORDS[:2])


@given(
    at=st.integers(len(votes.MAGIC), len(votes.MAGIC) + len(votes.frame(RECORDS[0])) - 1),
    bit=st.integers(0, 7),
)
@settings(deadline=None)
def test_damage_before_the_tail_is_never_taken_for_a_torn_tail(tmp_path_factory, at, bit):
    path = tmp_path_factory.mktemp("wal") / "votes.wal"
    data = bytearray(votes.MAGIC + b"".join(votes.frame(record) for record in RECORDS))
    data[at] ^= 1 << bit
    path.write_bytes(data)

    with pytest.raises(Refusal, match="damaged"):
        VotesWal.open(path)


def test_a_data_directory_belongs_to_one_process_and_one_network(tmp_path):
    held = DataDir.open(tmp_path / "d", "network-a")
    with pytest.raises(Refusal) as in_use:
        DataDir.open(tmp_path / "d", "network-a")
    held.close()
    with pytest.raises(Refusal) as foreign:
        DataDir.open(tmp_path / "d", "network-b")

    assert in_use.value.code == "data-in-use"
    assert foreign.value.code == "data-foreign"
