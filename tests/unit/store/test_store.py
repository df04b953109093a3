"""RocksDB behind its face, blob files and the vote record: what is acknowledged is there again."""

import hashlib
import os

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Refusal, Unavailable
from pyrsia.store import layout, votes
from pyrsia.store.blobs import PARTIAL, Blobs
from pyrsia.store.lock import DataDir
from pyrsia.store.rocks import Batch, Database, classify
from pyrsia.store.votes import Mark, VotesWal


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


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("IO error: While lock file: /d/db/LOCK: Resource temporarily unavailable", Refusal),
        ("IO error: lock hold by current process, acquire time 1: /d/db/LOCK: No locks available", Refusal),
        ("IO error: While open a file for lock: /d/db/LOCK: Input/output error", Unavailable),
        ("IO error: While open a file for lock: /d/db/LOCK: No space left on device", Unavailable),
    ],
)
def test_a_lock_file_that_the_disk_refuses_is_not_another_process(tmp_path, text, kind):
    assert type(classify(Exception(text), tmp_path)) is kind


def test_changes_take_effect_in_the_order_in_which_they_were_added(database):
    batch = Batch().put(layout.STATE, b"a", b"1").put_all(layout.STATE, {b"a": None, b"b": b"2"})
    batch.put_all(layout.META, {}).put(layout.STATE, b"b", b"3").delete(layout.META, b"c")
    assert (len(batch), batch.size) == (5, 8)
    assert list(batch)[1:3] == [(layout.STATE, b"a", None), (layout.STATE, b"b", b"2")]
    database.write(batch)
    assert database.multi_get(layout.STATE, [b"a", b"b"]) == [None, b"3"]


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
    partial = await blobs.writer(4)
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
    assert not await blobs.evict(digest)
    assert blobs.has(digest)

    await blobs.unpin(digest, "job")
    assert await blobs.evict(digest)

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


RECORDS = [[b"first record"], [b"second", b"with it"], [b"third one"]]
SALT = 77


def written(*groups):
    return votes.head(SALT) + b"".join(votes.frame(Mark(1, 2), group, SALT) for group in groups)


def opened(path):
    """(records, mark) of the file at `path`."""
    wal = VotesWal.open(path)
    wal.close()
    return wal.records, wal.marked


LAST = len(votes.frame(Mark(1, 2), RECORDS[-1], SALT))


@given(cut=st.integers(1, LAST), torn=st.booleans())
@settings(deadline=None)
def test_a_torn_tail_costs_only_the_torn_append(tmp_path_factory, cut, torn):
    path = tmp_path_factory.mktemp("wal") / "votes.wal"
    data = written(*RECORDS)
    path.write_bytes(data[:-cut] + (bytes(cut + 100) if torn else b""))  # zeros: preallocated, never written

    records, _ = opened(path)

    assert records == [b"first record", b"second", b"with it"]


@given(hole=st.integers(0, LAST - 1), length=st.integers(1, LAST))
@settings(deadline=None)
def test_an_append_whose_pages_came_to_the_disk_in_any_order_is_torn_and_not_damage(
    tmp_path_factory, hole, length
):
    path = tmp_path_factory.mktemp("wal") / "votes.wal"
    long = [bytes([number]) * 300 for number in range(1, 9)]
    data, start = bytearray(written(RECORDS[0], long)), len(written(RECORDS[0]))
    data[start + hole : start + hole + length] = bytes(length)
    path.write_bytes(data)

    records, _ = opened(path)

    assert records == ([b"first record"] if data != written(RECORDS[0], long) else [b"first record", *long])


@given(
    at=st.integers(0, len(written(*RECORDS[:2])) - 1),
    bit=st.integers(0, 7),
)
@settings(deadline=None)
def test_damage_before_the_tail_is_never_taken_for_a_torn_tail(tmp_path_factory, at, bit):
    path = tmp_path_factory.mktemp("wal") / "votes.wal"
    data = bytearray(written(*RECORDS))
    data[at] ^= 1 << bit
    path.write_bytes(data)

    with pytest.raises(Refusal, match="damaged"):
        VotesWal.open(path)


def test_a_strangers_bytes_inside_a_torn_append_do_not_pass_for_a_group(tmp_path):
    """An entry may hold what looks like a group; without the salt its CRC is wrong."""
    forged = votes.frame(Mark(9, 9), [b"forged"], 0)
    data = bytearray(written(RECORDS[0], [b"x" * 50 + forged + b"x" * 50]))
    data[len(written(RECORDS[0])) + 30] ^= 1  # torn before it
    (tmp_path / "votes.wal").write_bytes(data)

    assert opened(tmp_path / "votes.wal") == ([b"first record"], Mark(1, 2))


async def test_a_mark_outlives_the_process_and_the_next_append_takes_its_place(tmp_path):
    path = tmp_path / "votes.wal"
    wal = VotesWal.open(path)
    await wal.append([b"a vote"])
    before = wal.size
    for sequence in range(50):
        await wal.mark(Mark(3, sequence))
    grown = wal.size - before
    (tmp_path / "killed").write_bytes(path.read_bytes())
    await wal.append([b"another"])
    wal.close()

    assert grown == 0
    assert opened(tmp_path / "killed") == ([b"a vote"], Mark(3, 49))
    assert opened(path) == ([b"a vote", b"another"], Mark(3, 49))


async def test_a_mark_costs_no_sync(tmp_path, monkeypatch):
    wal = VotesWal.open(tmp_path / "votes.wal")
    syncs = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda handle: syncs.append(real(handle)))

    await wal.mark(Mark(1, 1))
    marked = len(syncs)
    await wal.append([b"a vote"])
    wal.close()

    assert (marked, len(syncs)) == (0, 1)


async def test_trimming_makes_the_newest_mark_durable_before_the_records_below_it_go(tmp_path):
    path = tmp_path / "votes.wal"
    wal = VotesWal.open(path)
    await wal.append([b"old"])
    await wal.mark(Mark(8, 80))
    await wal.trim(lambda record: False)
    wal.close()

    assert opened(path) == ([], Mark(8, 80))


async def test_records_of_many_megabytes_come_back_whole(tmp_path):
    path = tmp_path / "votes.wal"
    wal = VotesWal.open(path)
    records = [bytes([number]) * 900_000 for number in range(1, 8)]
    await wal.append(records)
    wal.close()

    assert opened(path)[0] == records


async def test_a_sync_is_witnessed_once_and_before_those_who_wait_for_it_go_on(database):
    heard = []

    def witness(sequence):
        async def told():
            heard.append(sequence)

        return told

    database.witness = witness
    await database.commit(Batch().put(layout.STATE, b"a", b"1"))
    first = list(heard)
    await database.sync()

    assert first == [database.sequence]
    assert heard == first


async def test_a_scan_over_a_damaged_block_is_refused_and_not_cut_short(tmp_path):
    database = Database.open(tmp_path / "db")
    for number in range(400):
        database.write(Batch().put(layout.ENTRIES, layout.number(number), os.urandom(300)))
    database.close()
    Database.open(tmp_path / "db").close()  # what was in the log goes into a table
    table = max((tmp_path / "db").glob("*.sst"), key=lambda file: file.stat().st_size)
    data = bytearray(table.read_bytes())
    data[len(data) // 2] ^= 1
    table.write_bytes(data)

    again = Database.open(tmp_path / "db")
    with pytest.raises(Refusal) as refused:
        again.scan(layout.ENTRIES, b"", 1_000)
    again.close()

    assert refused.value.code == "data-damaged"
    assert "damaged" in (tmp_path / "db.suspect").read_text()


def test_a_data_directory_belongs_to_one_process_and_one_network(tmp_path):
    held = DataDir.open(tmp_path / "d", "network-a")
    with pytest.raises(Refusal) as in_use:
        DataDir.open(tmp_path / "d", "network-a")
    held.close()
    with pytest.raises(Refusal) as foreign:
        DataDir.open(tmp_path / "d", "network-b")

    assert in_use.value.code == "data-in-use"
    assert foreign.value.code == "data-foreign"


def test_a_frozen_moment_does_not_change(database):
    database.write(Batch().put(layout.STATE, b"a", b"1").put(layout.STATE, b"b", b"2"))
    frozen = database.freeze((layout.STATE,))
    database.write(Batch().put(layout.STATE, b"a", b"new").delete(layout.STATE, b"b"))

    assert frozen.multi_get(layout.STATE, [b"b", b"nobody", b"a"]) == [b"2", None, b"1"]
    assert frozen.get(layout.STATE, b"nobody") is None
    frozen.close()
    with pytest.raises(Unavailable):
        frozen.get(layout.STATE, b"a")


def test_a_database_closes_under_its_frozen_moments(tmp_path):
    database = Database.open(tmp_path / "db")
    frozen = database.freeze((layout.STATE,))
    database.close()
    with pytest.raises(Unavailable):
        frozen.get(layout.STATE, b"a")
    Database.open(tmp_path / "db").close()


def test_a_family_is_emptied_and_filled_in_one_batch(database):
    database.write(Batch().put(layout.STATE, b"\x00", b"1").put(layout.STATE, b"\xff" * 33, b"2"))
    database.write(Batch().put(layout.STATE, b"new", b"3").clear(layout.STATE))
    assert database.scan(layout.STATE, b"", 10) == [(b"new", b"3")]


async def test_who_pours_waits_for_a_disk_that_is_behind(database, monkeypatch):
    write, refused = database.write, []

    def behind(batch):
        if len(refused) < 3:
            refused.append(batch)
            raise Unavailable("the database: Incomplete: Write stall")
        return write(batch)

    monkeypatch.setattr(database, "write", behind)
    await database.pour(Batch().put(layout.STATE, b"a", b"1"))
    assert len(refused) == 3
    assert database.get(layout.STATE, b"a") == b"1"
