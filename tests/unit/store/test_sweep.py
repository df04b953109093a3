"""What a crash left between files and index is found and put right; what is none of ours stays."""

import errno
import hashlib
import os
import shutil
from pathlib import Path

import msgspec
import pytest
import trio

from pyrsia.errors import Unavailable
from pyrsia.store import layout
from pyrsia.store.anchor import MARK
from pyrsia.store.blobs import MEND, PARTIAL, BlobRecord, Blobs
from pyrsia.store.partials import COMING
from pyrsia.store.quota import Rules
from pyrsia.store.rocks import Batch
from pyrsia.store.scrub import DAY_S, IN_A_ROW, Round, Scrubber, rest_s
from pyrsia.store.sweep import FILE_GRACE_S, PARTIAL_AGE_S, STRANGERS, STRAY_FILES, Sweeper
from pyrsia.transfer.manifest import Manifest
from tests.reference.memory_database import MemoryDatabase

LATER_S = 10_000_000_000  # everything on this disk is old


class Ground:
    """A store with a sweeper and a scrubber; `named`: manifest ids that the log names, None for all."""

    def __init__(self, folder):
        self.folder = folder / "blobs"
        self.database = MemoryDatabase()
        self.now_s = LATER_S
        self.named = None
        self.rotten, self.gone = [], []
        self.open()

    def open(self):
        clock_s = lambda: self.now_s  # noqa: E731
        self.blobs = Blobs(self.folder, self.database, Rules(quota=10_000), clock_s=clock_s)
        self.blobs.on_rotten.append(self.rotten.append)
        self.blobs.on_gone.append(self.gone.append)
        self.sweeper = Sweeper(
            self.folder,
            self.blobs,
            self.database,
            named=lambda ident: self.named is None or ident in self.named,
            clock_s=clock_s,
        )
        self.scrubber = Scrubber(self.blobs, self.database, mb_s=1, days=30, clock_s=clock_s)

    async def put(self, data, pin=""):
        sha256 = await self.blobs.put_bytes(data, pin=pin)
        manifest = Manifest.of([data])
        await self.database.commit(Batch().put(layout.MANIFESTS, manifest.id, sha256 + manifest.encode()))
        self.now_s += 2 * FILE_GRACE_S.value
        return sha256

    def stray(self, data, *, name=None):
        """A file in its place, without a row."""
        path = self.blobs.path(name or hashlib.sha256(data).digest())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def spoil(self, sha256):
        """One bit of the file is another, and its length is the same."""
        data = bytearray(self.blobs.path(sha256).read_bytes())
        data[len(data) // 2] ^= 1
        self.blobs.path(sha256).write_bytes(bytes(data))


@pytest.fixture
def ground(tmp_path):
    return Ground(tmp_path)


# -- the sweep --


async def test_a_file_without_a_row_that_the_log_names_is_known_again(ground):
    path = ground.stray(b"whole")
    sha256 = hashlib.sha256(b"whole").digest()

    found = await ground.sweeper.sweep()

    assert (found.known, found.removed) == (1, 0)
    assert ground.blobs.path(sha256) == path
    assert (ground.blobs.has(sha256), ground.blobs.used, ground.blobs.account.pinned) == (True, 5, 0)
    assert ground.database.get(layout.MANIFESTS, Manifest.of([b"whole"]).id) is not None


@pytest.mark.parametrize("lie", ["unnamed", "damaged"])
async def test_a_file_without_a_row_that_nobody_names_or_that_lies_is_removed(ground, lie):
    if lie == "unnamed":
        ground.named = set()
        path = ground.stray(b"secret")
    else:
        path = ground.stray(b"other bytes", name=hashlib.sha256(b"whole").digest())

    found = await ground.sweeper.sweep()

    assert (found.known, found.removed) == (0, 1)
    assert not path.exists()
    assert ground.blobs.used == 0


async def test_a_file_that_is_new_waits_for_its_row(ground):
    path = ground.stray(b"whole")
    ground.now_s = path.stat().st_mtime + FILE_GRACE_S.value - 1
    found = await ground.sweeper.sweep()
    assert (found.known, found.removed) == (0, 0)
    assert path.exists()


async def test_a_row_without_its_file_is_dropped_and_told_with_who_wanted_it(ground):
    lost, cut, whole = (
        await ground.put(b"lost", "shard"),
        await ground.put(b"longer"),
        await ground.put(b"whole"),
    )
    ground.blobs.path(lost).unlink()
    ground.blobs.path(cut).write_bytes(b"short")

    found = await ground.sweeper.sweep()

    assert found.rows == 2
    assert set(ground.rotten) == set(ground.gone) == {lost, cut}
    assert [ground.blobs.has(one) for one in (lost, cut, whole)] == [False, False, True]
    wanted = msgspec.msgpack.decode(ground.database.durable[layout.MISC, MEND + lost], type=BlobRecord)
    assert (wanted.size, wanted.pins) == (4, ("shard",))
    # Its manifest stays: without it nobody could be asked for it again.
    assert ground.database.get(layout.MANIFESTS, Manifest.of([b"lost"]).id) is not None


async def test_a_manifest_without_its_blob_goes_and_a_blob_without_its_manifest_gets_one(ground):
    evicted, kept = await ground.put(b"evicted"), await ground.put(b"kept")
    await ground.blobs.evict(evicted)
    ident = Manifest.of([b"kept"]).id
    await ground.database.commit(Batch().delete(layout.MANIFESTS, ident))

    found = await ground.sweeper.sweep()

    assert (found.manifests_gone, found.manifests_made) == (1, 1)
    assert ground.database.get(layout.MANIFESTS, Manifest.of([b"evicted"]).id) is None
    assert ground.database.get(layout.MANIFESTS, ident)[:32] == kept


async def test_old_downloads_and_empty_folders_go_and_new_ones_stay(ground):
    old, new = ground.folder / PARTIAL / "old", ground.folder / PARTIAL / "new"
    old.write_bytes(b"xx")
    new.write_bytes(b"x")
    os.utime(old, (LATER_S - PARTIAL_AGE_S.value - 1,) * 2)
    os.utime(new, (LATER_S - PARTIAL_AGE_S.value + 1,) * 2)
    sha256 = await ground.put(b"x")
    ground.now_s = LATER_S
    await ground.blobs.evict(sha256)

    found = await ground.sweeper.sweep()

    assert (found.partials, found.partial_bytes) == (1, 2)
    assert (old.exists(), new.exists()) == (False, True)
    assert found.folders == 2
    assert not ground.blobs.path(sha256).parent.parent.exists()


async def test_a_dry_run_tells_the_same_and_changes_nothing(ground):
    lost = await ground.put(b"lost")
    ground.blobs.path(lost).unlink()
    stray = ground.stray(b"whole")
    before = dict(ground.database.rows)

    dry = await ground.sweeper.sweep(dry=True)

    assert (dry.rows, dry.known) == (1, 1)
    assert ground.database.rows == before
    assert stray.exists()
    wet = await ground.sweeper.sweep()
    assert (wet.rows, wet.known) == (1, 1)


async def test_names_that_are_none_of_ours_stay_and_are_counted(ground):
    folder = ground.folder / "ab" / "cd"
    folder.mkdir(parents=True)
    for name in ("notes.txt", "AB" * 32, "ab" * 31):
        (folder / name).write_bytes(b"x")
    (folder / ("cd" * 32)).write_bytes(b"x")  # a digest in the wrong folder
    (ground.folder / "junk").write_bytes(b"x")
    (ground.folder / "ab" / ("ab" * 32)).write_bytes(b"x")
    (ground.folder / "lost+found").mkdir()
    (ground.folder / COMING).mkdir(exist_ok=True)  # the node's own, of downloads to come
    (ground.folder / "ab" / "ef").symlink_to(ground.folder)

    for dry in (True, False):
        found = await ground.sweeper.sweep(dry=dry)

        assert (found.strange, found.removed, found.known) == (8, 0, 0)
        assert found.strangers[:4] == ["junk", "lost+found", "ab/" + "ab" * 32, "ab/ef"]
        assert set(found.strangers[4:]) == {f"ab/cd/{one.name}" for one in folder.iterdir()}
    assert len(list(folder.iterdir())) == 4


async def test_of_many_names_that_are_none_of_ours_the_first_are_told(ground):
    for number in range(STRANGERS.value + 5):
        (ground.folder / f"notes {number:02}").write_bytes(b"x")
    found = await ground.sweeper.sweep()
    assert found.strange == STRANGERS.value + 5
    assert found.strangers == [f"notes {number:02}" for number in range(STRANGERS.value)]


async def test_one_turn_is_bounded_and_says_that_more_is_left(ground, monkeypatch):
    monkeypatch.setattr("pyrsia.store.sweep.STRAY_FILES", type(STRAY_FILES)(3, "a test"))
    for number in range(5):
        ground.stray(b"%d" % number)
    first = await ground.sweeper.sweep()
    second = await ground.sweeper.sweep()
    assert (first.known, first.more, second.known, second.more) == (3, True, 2, False)


async def test_a_put_while_its_folder_is_swept_away_is_kept(ground):
    data = [b"%d" % number for number in range(40)]

    async def sweep():
        for _ in range(6):
            await ground.sweeper.sweep()

    async def put(one):
        await ground.blobs.evict(await ground.blobs.put_bytes(one))
        await ground.blobs.put_bytes(one)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sweep)
        for one in data:
            nursery.start_soon(put, one)

    assert all(ground.blobs.path(hashlib.sha256(one).digest()).read_bytes() == one for one in data)


# -- the scrub --


async def test_a_damaged_blob_is_let_go_and_told_and_a_whole_one_stays(ground):
    bad, good = await ground.put(b"bad bytes", "shard"), await ground.put(b"good bytes")
    ground.spoil(bad)

    assert await ground.scrubber.check(bad, 9) == "rotten"
    assert await ground.scrubber.check(good, 10) == "whole"

    assert (ground.rotten, ground.blobs.has(bad), ground.blobs.has(good)) == ([bad], False, True)
    assert not ground.blobs.path(bad).exists()
    assert (ground.blobs.used, ground.blobs.account.pinned) == (10, 0)


async def test_a_disk_that_cannot_read_a_file_is_damage(ground, monkeypatch):
    sha256 = await ground.put(b"unreadable")
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda *args: (_ for _ in ()).throw(OSError(5, "EIO")))
    assert await ground.scrubber.check(sha256, 10) == "rotten"
    monkeypatch.setattr(os, "pread", real)
    assert ground.rotten == [sha256]


@pytest.mark.parametrize("cause", [errno.EMFILE, errno.ENFILE, errno.EACCES, errno.ENOMEM, errno.ESTALE])
@pytest.mark.parametrize("at", ["open", "pread"])
async def test_an_error_that_says_nothing_about_a_blob_lets_none_go(ground, monkeypatch, cause, at):
    blobs = [await ground.put(b"bytes %d" % number, "built") for number in range(3)]

    def no(*args):
        raise OSError(cause, os.strerror(cause))

    with monkeypatch.context() as patched:
        patched.setattr(os, at, no)
        for _ in blobs:
            with pytest.raises(Unavailable, match=os.strerror(cause)):
                await ground.scrubber.step()

    assert (ground.rotten, ground.scrubber.round.rotten) == ([], 0)
    assert all(ground.blobs.has(one) and ground.blobs.path(one).exists() for one in blobs)
    await ground.scrubber.step()  # the walk went on behind each
    assert ground.scrubber.round.ended_s


async def test_a_row_of_damaged_blobs_makes_the_walk_rest(ground, monkeypatch):
    for number in range(IN_A_ROW.value + 1):
        await ground.put(b"bytes %d" % number, "built")
    monkeypatch.setattr(os, "pread", lambda *args: (_ for _ in ()).throw(OSError(errno.EIO, "EIO")))
    for _ in range(IN_A_ROW.value - 1):
        await ground.scrubber.step()
    with pytest.raises(Unavailable, match="the disk itself"):
        await ground.scrubber.step()
    assert len(ground.rotten) == IN_A_ROW.value


async def test_a_file_without_a_row_that_cannot_be_read_now_stays(ground, monkeypatch):
    path = ground.stray(b"whole")
    real = Path.open

    def no(self, *args, **kwargs):
        if self == path:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", no)
        found = await ground.sweeper.sweep()
    assert (found.known, found.removed, path.exists()) == (0, 0, True)
    assert (await ground.sweeper.sweep()).known == 1


async def test_memory_that_errs_once_condemns_nothing(ground, monkeypatch):
    sha256 = await ground.put(b"right on the disk")
    real, calls = os.pread, []

    def once(*args):
        calls.append(args)
        return b"wrong in memory!!" if len(calls) == 1 else real(*args)

    monkeypatch.setattr(os, "pread", once)
    assert await ground.scrubber.check(sha256, 17) == "whole"
    assert len(calls) == 2


async def test_what_goes_while_it_is_read_is_no_damage(ground):
    sha256 = await ground.put(b"soon gone")
    await ground.blobs.evict(sha256)
    assert await ground.scrubber.check(sha256, 9) == "gone"
    assert ground.rotten == []


async def test_reading_to_check_makes_nobody_want_it(ground):
    sha256 = await ground.put(b"x")
    ground.now_s += 3_600
    await ground.scrubber.check(sha256, 1)
    await ground.blobs.note_uses()
    record = msgspec.msgpack.decode(ground.database.get(layout.BLOBS, sha256), type=BlobRecord)
    assert record.used_s < ground.now_s - 3_600


async def test_a_walk_sees_every_blob_once_and_goes_on_after_a_restart(ground):
    for number in range(5):
        await ground.put(b"%d" % number * 10)
    for _ in range(2):
        await ground.scrubber.step()
    ground.scrubber._note()  # what the minute would write
    ground.open()
    assert (ground.scrubber.round.blobs, ground.scrubber.round.read) == (2, 20)
    for _ in range(4):
        await ground.scrubber.step()
    assert (ground.scrubber.round.blobs, ground.scrubber.round.last_s) == (5, ground.now_s)
    assert not ground.scrubber.round.due(ground.now_s, 30)


def test_a_walk_begins_in_its_time_and_when_a_clock_was_set_back():
    walk = Round(began_s=1_000_000, ended_s=1_000_500, last_s=1_000_500)
    assert not walk.due(1_000_000 + 30 * DAY_S - 1, 30)
    assert walk.due(1_000_000 + 30 * DAY_S, 30)
    assert walk.due(999_999, 30)
    assert Round().due(0, 30)


@pytest.mark.parametrize(
    ("count", "mb_s", "took_s", "rest"),
    [(4_000_000, 8, 0.1, 0.4), (4_000_000, 8, 0.6, 0), (4_000_000, 0, 0, 0)],
)
def test_a_rest_makes_up_for_what_was_read_too_quickly(count, mb_s, took_s, rest):
    assert rest_s(count, mb_s, took_s) == pytest.approx(rest)


# -- a folder that is away --


async def test_while_the_folder_is_away_nothing_is_let_go_and_nothing_is_lost_when_it_is_back(ground):
    """Its disk is not mounted for an hour: an empty folder lies there, and then another node's."""
    blobs = [await ground.put(b"bytes %d" % number, "build") for number in range(3 * IN_A_ROW.value)]
    ground.named = set()  # of reveals that no log names yet
    away = ground.folder.with_name("away")
    ground.folder.rename(away)
    other = Blobs(ground.folder, MemoryDatabase())
    strange = await other.put_bytes(b"of another node")

    for again in range(2):
        with pytest.raises(Unavailable, match="mount its disk"):
            await ground.sweeper.sweep()
        for sha256 in blobs:
            with pytest.raises(Unavailable, match="mount its disk"):
                await ground.scrubber.check(sha256, ground.blobs.size(sha256))
        with pytest.raises(Unavailable, match="mount its disk"):
            await ground.blobs.let_go(blobs[0])
        assert all(ground.blobs.pins(one) == ("build",) for one in blobs)
        assert other.path(strange).exists()
        if not again:
            ground.open()  # a start changes nothing of it
            assert "mount its disk" in ground.blobs.anchor.away

    ground.folder.rename(ground.folder.with_name("other"))
    away.rename(ground.folder)
    found = await ground.sweeper.sweep()
    assert (found.rows, found.removed, ground.rotten, ground.blobs.anchor.away) == (0, 0, [], "")
    assert all(ground.blobs.path(one).exists() for one in blobs)


async def test_a_folder_that_comes_or_goes_while_rows_are_looked_at_lets_nothing_go(ground, monkeypatch):
    sha256 = await ground.put(b"whole", "build")
    away = ground.folder.with_name("away")
    check = ground.blobs.anchor.check
    ground.folder.rename(away)

    def back():
        if away.exists():
            away.rename(ground.folder)
        check()

    with monkeypatch.context() as patched:
        patched.setattr(ground.blobs.anchor, "check", back)
        assert ground.sweeper._wrong([(sha256, 5)]) == []
        ground.folder.rename(away)
        assert await ground.scrubber.check(sha256, 5) == "whole"
    assert (ground.rotten, ground.blobs.pins(sha256)) == ([], ("build",))


async def test_files_that_are_lost_for_good_are_said_to_be_by_an_empty_mark(ground):
    lost = await ground.put(b"lost", "build")
    shutil.rmtree(ground.folder)
    ground.open()
    with pytest.raises(Unavailable):
        await ground.sweeper.sweep()

    (ground.folder / MARK).write_bytes(b"")

    assert (await ground.sweeper.sweep()).rows == 1
    assert (ground.rotten, ground.blobs.has(lost)) == ([lost], False)
    assert (await ground.sweeper.sweep()).rows == 0  # it is marked now


async def test_a_folder_that_was_copied_is_the_same_and_an_index_without_blobs_takes_any(ground):
    sha256 = await ground.put(b"whole")
    shutil.copytree(ground.folder, ground.folder.with_name("copy"))
    shutil.rmtree(ground.folder)
    ground.folder.with_name("copy").rename(ground.folder)
    ground.open()
    assert (await ground.sweeper.sweep()).rows == 0

    await ground.blobs.evict(sha256)
    shutil.rmtree(ground.folder)
    ground.open()
    assert ground.blobs.anchor.away == ""
    assert (await ground.sweeper.sweep()).rows == 0


async def test_a_disk_that_takes_no_mark_starts_and_lets_nothing_go_until_it_does(ground, monkeypatch):
    sha256 = await ground.put(b"whole", "build")
    (ground.folder / MARK).unlink()
    del ground.database.rows[layout.MISC, b"storage/folder"]  # of an earlier version
    with monkeypatch.context() as patched:
        patched.setattr(
            "pyrsia.store.anchor.write_whole", lambda *_: (_ for _ in ()).throw(OSError(28, "full"))
        )
        ground.open()
        with pytest.raises(Unavailable):
            await ground.blobs.let_go(sha256)
    assert (ground.blobs.has(sha256), (await ground.sweeper.sweep()).rows) == (True, 0)


async def test_a_file_that_comes_back_after_its_row_was_let_go_is_kept_as_it_was(ground):
    sha256 = await ground.put(b"owed to the log", "receipt:1")
    ground.named = set()
    path = ground.blobs.path(sha256)
    path.rename(ground.folder / "aside")
    await ground.sweeper.sweep()
    assert ground.blobs.is_missed(sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    (ground.folder / "aside").rename(path)

    found = await ground.sweeper.sweep()

    assert (found.known, found.removed, ground.blobs.pins(sha256)) == (1, 0, ("receipt:1",))


async def test_what_rots_again_before_it_was_mended_is_still_wanted_by_who_wanted_it(ground):
    sha256 = await ground.put(b"on a dying disk", "build")
    await ground.blobs.pin(sha256, "operator")
    for _ in range(3):
        await ground.blobs.let_go(sha256)
        await ground.blobs.put_bytes(b"on a dying disk")  # a client fetched it
        assert ground.blobs.pins(sha256) == ("build", "operator")
        assert not await ground.blobs.evict(sha256)
