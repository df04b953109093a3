"""What the operator ordered stays, what was damaged comes back as it was, and a full disk is said and got over."""

import errno
import os
from hashlib import sha256 as hashed

import pytest
import trio
import trio.testing

from pyrsia.config import StorageSection
from pyrsia.errors import Refusal, StorageFull, Unavailable
from pyrsia.node.storage.desk import StorageDesk
from pyrsia.node.storage.pins import OPERATOR, PATTERNS, Wanted
from pyrsia.node.storage.salvage import PIN as SALVAGED
from pyrsia.node.storage.salvage import salvage
from pyrsia.node.storage.storing import MENDED, Storing, holders
from pyrsia.serve.desks.storage import PinOrder
from pyrsia.status import ReplicationStatus
from pyrsia.store import layout
from pyrsia.store.blobs import MEND, Blobs
from pyrsia.store.quota import Rules
from pyrsia.store.rocks import Batch, Database
from pyrsia.store.scrub import IN_A_ROW
from pyrsia.transfer.manifest import Manifest
from pyrsia.wire.text import unb32
from tests.reference.memory_database import MemoryDatabase
from tests.reference.parts import Kept
from tests.reference.story import Story
from tests.reference.waiting import until

PURL = "pkg:pypi/idna@1.0"


class Ground:
    """A node's disk under a log that publishes one wheel; `peers`: digest -> bytes that somebody gives."""

    def __init__(self, folder, story, quota=1 << 20):
        self.story = story
        self.folder = folder / "blobs"
        self.database = MemoryDatabase()
        self.peers, self.asked = {}, []
        self.now_s = 1_000_000
        self.free = 1 << 40
        self.rules = Rules(quota=quota, spare=1_000)
        self.blobs = Blobs(
            self.folder, self.database, self.rules, clock_s=lambda: self.now_s, free=lambda _: self.free
        )
        self.storing = self.made()
        self.desk = StorageDesk(self.storing, local=lambda: (1, 2), proxied=lambda: (3, 4))

    def made(self):
        return Storing(
            self.folder,
            self.database,
            self.blobs,
            StorageSection(),
            reads=self.story.world.archive.state,
            named=self.story.world.archive.names,
            bring=self.bring,
            clock_s=lambda: self.now_s,
        )

    async def bring(self, blob):
        self.asked.append(blob.sha256)
        if blob.sha256 not in self.peers:
            raise Unavailable("nobody has it")
        await self.blobs.put_bytes(self.peers[blob.sha256])

    async def put(self, data, *pins):
        """A blob with its manifest."""
        sha256 = await self.blobs.put_bytes(data)
        for pin in pins:
            await self.blobs.pin(sha256, pin)
        manifest = Manifest.of([data])
        row = sha256 + manifest.encode()
        await self.database.commit(Batch().put(layout.MANIFESTS, manifest.id, row))
        self.now_s += 60
        return sha256

    def kept(self, sha256, pin):
        """Whether a pin of a blob is remembered: by its row, or by what says that it is wanted again."""
        assert pin in self.blobs.pins(sha256) or pin in self.blobs._missed(sha256)
        return True

    async def spoil(self, sha256):
        self.blobs.path(sha256).write_bytes(b"?" * self.blobs.size(sha256))
        assert await self.storing.scrubber.check(sha256, self.blobs.size(sha256)) == "rotten"


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """Nothing here changes it."""
    made = Story(world=Kept(tmp_path_factory.mktemp("story")))
    yield made
    made.world.close()


@pytest.fixture
def ground(tmp_path, story):
    return Ground(tmp_path, story)


async def test_copies_elsewhere_are_told_in_fields_and_in_a_line_of_the_same_moment(ground):
    told = iter([ReplicationStatus(member=True, members=4, replicas=3, shards=9, counted=True, under=2)])
    desk = StorageDesk(
        ground.storing, local=lambda: (1, 2), proxied=lambda: (3, 4), copies=lambda: next(told)
    )
    status = await desk.status()
    assert (status.copies.under, status.copies.shards, status.copies.replicas) == (2, 9, 3)
    assert status.replication == "2 of 9 shards under 3 copies"
    assert (await ground.desk.status()).replication == ""  # no member of a network that keeps copies


# -- what was damaged --


async def test_a_damaged_blob_comes_back_with_every_pin_that_it_had(ground):
    sha256 = await ground.put(b"artifact", "shard", "receipt:1")
    await ground.spoil(sha256)
    (wanted,) = ground.storing.rotten()
    assert (wanted.sha256, wanted.state) == (sha256.hex(), "wanted")

    ground.peers[sha256] = b"artifact"
    await ground.storing.mend()

    assert set(ground.blobs.pins(sha256)) == {"shard", "receipt:1"}
    assert ground.blobs.path(sha256).read_bytes() == b"artifact"
    assert [one.state for one in ground.storing.rotten()] == ["mended"]
    assert (layout.MISC, MEND + sha256) not in ground.database.durable


async def test_one_that_nobody_gives_stays_wanted_with_the_reason_also_after_a_restart(ground):
    sha256 = await ground.put(b"artifact", "shard")
    await ground.spoil(sha256)
    await ground.storing.mend()
    assert [(one.state, one.note) for one in ground.storing.rotten()] == [("wanted", "nobody has it")]

    ground.database = ground.database.crash(0)
    ground.blobs = Blobs(ground.folder, ground.database, ground.rules, clock_s=lambda: ground.now_s)
    ground.storing = ground.made()
    ground.peers[sha256] = b"artifact"
    await ground.storing.mend()

    assert ground.blobs.pins(sha256) == ("shard",)


async def test_damaged_cache_that_nothing_names_is_nobodys_loss(ground):
    sha256 = await ground.put(b"cache")
    await ground.spoil(sha256)
    await ground.storing.mend()
    assert (ground.asked, ground.storing.rotten()) == ([], ())


async def test_one_that_another_part_fetched_first_is_pinned_and_not_fetched_twice(ground):
    sha256 = await ground.put(b"artifact", "shard")
    await ground.spoil(sha256)
    await ground.put(b"artifact")
    await ground.storing.mend()
    assert (ground.asked, ground.blobs.pins(sha256)) == ([], ("shard",))


async def test_what_is_shown_of_mended_ones_is_bounded(ground):
    for number in range(MENDED.value + 3):
        sha256 = await ground.put(b"%d" % number, "shard")
        await ground.spoil(sha256)
        ground.peers[sha256] = b"%d" % number
    await ground.storing.mend()
    assert len(ground.storing.rotten()) == MENDED.value


async def test_a_blob_that_somebody_met_damaged_is_read_again_at_once(ground, monkeypatch):
    monkeypatch.setattr("pyrsia.node.storage.storing.DOUBTED", type(MENDED)(2, "a test"))
    bad, good = await ground.put(b"artifact", "shard"), await ground.put(b"others")
    ground.peers[bad] = b"artifact"
    ground.blobs.path(bad).write_bytes(b"rotten!!")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ground.storing.run)
        for one in (bytes(32), bad, good):  # one that is not here is no trouble, the third is one too many
            ground.storing.doubt(one)
        # Its file is back a moment before its row, and before the row says so it is wanted: never neither.
        await until(lambda: ground.kept(bad, "shard") and ground.storing._mended)
        await until(lambda: not ground.storing._doubted)
        assert (ground.blobs.pins(bad), ground.blobs.has(good)) == (("shard",), True)
        assert ground.blobs.path(bad).read_bytes() == b"artifact"
        nursery.cancel_scope.cancel()


async def test_one_that_is_pinned_and_damaged_again_while_others_are_fetched_keeps_its_new_pin(ground):
    first, second = sorted((b"one", b"two"), key=lambda data: hashed(data).digest())
    pinned, cache = await ground.put(first, "shard"), await ground.put(second)
    for one in (pinned, cache):
        await ground.spoil(one)
    ground.peers[pinned] = first

    async def slowly(blob):
        await ground.blobs.put_bytes(second, pin="receipt:1")
        await ground.spoil(cache)
        await ground.bring(blob)

    ground.storing.bring = slowly
    await ground.storing.mend()
    assert ground.kept(pinned, "shard")
    assert ground.kept(cache, "receipt:1")

    ground.storing.bring, ground.peers[cache] = ground.bring, second
    await ground.storing.mend()
    assert ground.blobs.pins(cache) == ("receipt:1",)


@pytest.mark.parametrize("how", ["missing", "cut"])
async def test_a_file_that_a_client_is_to_be_given_and_that_is_not_whole_comes_from_peers(ground, how):
    bad, good = await ground.put(b"artifact", "shard"), await ground.put(b"others")
    ground.peers[bad] = b"artifact"
    ground.blobs.path(bad).unlink() if how == "missing" else ground.blobs.path(bad).write_bytes(b"art")
    for one in (bytes(32), good, bad, bad):
        ground.storing.met(one)
    assert list(ground.storing._doubted) == [bad]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ground.storing.run)
        await until(lambda: not ground.storing._doubted and ground.blobs.has(bad))
        nursery.cancel_scope.cancel()
    assert (ground.blobs.path(bad).read_bytes(), ground.asked) == (b"artifact", [bad])


def test_its_builders_are_asked_before_others(story):
    builders = [unb32(one) for one in story.artifact.body["agreeing"]]
    found = holders(story.world.archive.state, bytes.fromhex(story.sha256), [b"\1" * 32, builders[0]])
    assert found == [*builders, b"\1" * 32]
    assert holders(story.world.archive.state, b"\0" * 32, [b"\1" * 32]) == [b"\1" * 32]


# -- what was ordered to stay --


@pytest.mark.parametrize("pattern", [PURL, "pkg:pypi/idna", "pkg:pypi/id*@1.*", "*idna*", "digest"])
async def test_a_pin_keeps_what_is_here_and_an_unpin_lets_it_go(ground, story, pattern):
    pattern = story.sha256 if pattern == "digest" else pattern
    sha256, other = await ground.put(story.data), await ground.put(b"other")

    told = await ground.desk.pin(PinOrder(pattern))
    assert (told.blobs, told.bytes) == (1, len(story.data))
    assert ground.blobs.pins(sha256) == (OPERATOR,)
    assert ground.blobs.pins(other) == ()
    assert (await ground.desk.status()).patterns == (pattern,)

    await ground.desk.unpin(pattern)
    assert ground.blobs.pins(sha256) == ()
    assert (await ground.desk.status()).patterns == ()


async def test_a_pin_stands_for_what_comes_later_and_through_a_restart(ground, story):
    told = await ground.desk.pin(PinOrder("pkg:pypi/idna*"))
    assert (told.blobs, told.missing >= 1) == (0, True)
    ground.storing = ground.made()
    sha256 = await ground.put(story.data)
    await ground.storing.note()
    assert ground.blobs.pins(sha256) == (OPERATOR,)


def test_what_commands_call_own_is_a_pattern_of_the_purls_of_that_node():
    node = "h3ehcmyl" + "a" * 44
    order = Wanted.parse("own:h3ehcmyl/pypi/greeter@1.0")
    assert order.text == "pkg:generic/h3ehcmyl*/pypi/greeter@1.0"
    assert order.glob.matches(f"pkg:generic/{node}/pypi/greeter@1.0")
    assert not order.glob.matches(f"pkg:generic/{node}/pypi/greeter@1.1")
    assert not order.glob.matches("pkg:generic/i3ehcmyl/pypi/greeter@1.0")
    for text in ("own:", "own:h3ehcmyl", "own:h3ehc/pypi/greeter", "own:h3ehcmyl/pypi/gree ter", "own:*/x"):
        with pytest.raises(Refusal, match="neither a SHA-256 in hex nor a purl"):
            Wanted.parse(text)


async def test_a_pin_of_others_is_left_alone(ground, story):
    sha256 = await ground.put(story.data, "build")
    await ground.desk.pin(PinOrder(PURL))
    await ground.desk.unpin(PURL)
    assert ground.blobs.pins(sha256) == ("build",)


async def test_what_a_lost_database_had_pinned_can_be_let_go(ground):
    sha256 = await ground.put(b"salvaged", SALVAGED)
    await ground.desk.unpin(sha256.hex())
    assert ground.blobs.pins(sha256) == ()
    with pytest.raises(Refusal, match="nothing is pinned by") as caught:
        await ground.desk.unpin(sha256.hex())
    assert caught.value.code == "not-found"


@pytest.mark.parametrize("text", ["", "flask", "pkg:" + "*" * 40, "ab" * 31, "AB" * 32, "pkg:pypi/\x1b[2J"])
def test_what_is_no_pattern_is_refused(text):
    with pytest.raises(Refusal) as caught:
        Wanted.parse(text)
    assert caught.value.code == "bad-request"


async def test_a_digest_that_nobody_knows_is_refused(ground):
    with pytest.raises(Refusal, match="neither this node nor the log"):
        await ground.desk.pin(PinOrder("12" * 32))


async def test_orders_are_bounded(ground, monkeypatch):
    monkeypatch.setattr("pyrsia.node.storage.pins.PATTERNS", type(PATTERNS)(3, "a test"))
    for number in range(3):
        await ground.storing.pins.add(Wanted.parse(f"pkg:pypi/p{number}"))
    with pytest.raises(Refusal, match="pins already"):
        await ground.storing.pins.add(Wanted.parse("pkg:pypi/one-more"))
    await ground.storing.pins.add(Wanted.parse("pkg:pypi/p0"))


async def test_a_pin_fetches_what_is_not_here_and_keeps_it(ground, story):
    sha256 = bytes.fromhex(story.sha256)
    ground.peers[sha256] = story.data
    async with trio.open_nursery() as nursery:
        ground.storing.nursery = nursery
        told = await ground.desk.pin(PinOrder(PURL, fetch=True))
        assert told.fetching == told.missing >= 1
    assert ground.blobs.pins(sha256) == (OPERATOR,)


async def test_what_is_unpinned_while_it_is_pinned_or_fetched_stays_pinned_for_nobody(ground, story):
    sha256, later = await ground.put(story.data), trio.Event()
    matching = ground.storing.pins.matching

    async def slowly(wanted):
        found = await matching(wanted)
        await later.wait()
        return found

    ground.storing.pins.matching = slowly
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ground.storing.pins.add, Wanted.parse(PURL))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ground.storing.pins.remove, Wanted.parse(PURL))
        await trio.testing.wait_all_tasks_blocked()
        later.set()
    assert (ground.storing.pins.patterns, ground.blobs.pins(sha256)) == ((), ())


async def test_what_is_unpinned_while_it_comes_stays_pinned_for_nobody(ground, story):
    sha256, began, go = bytes.fromhex(story.sha256), trio.Event(), trio.Event()

    async def bring(blob):
        began.set()
        await go.wait()
        await ground.blobs.put_bytes(story.data)

    ground.storing.bring = bring
    async with trio.open_nursery() as nursery:
        ground.storing.nursery = nursery
        await ground.desk.pin(PinOrder(PURL, fetch=True))
        await began.wait()
        await ground.desk.unpin(PURL)
        go.set()
    assert ground.blobs.has(sha256)
    assert ground.blobs.pins(sha256) == ()


async def test_a_pin_that_cannot_fit_is_refused_before_anything_is_fetched(tmp_path, story):
    small = Ground(tmp_path, story, quota=10)
    with pytest.raises(StorageFull):
        await small.desk.pin(PinOrder(PURL, fetch=True))
    assert (small.asked, small.storing.pins.patterns) == ([], ())


# -- orders --


async def test_an_ordered_scrub_tells_how_far_it_is_and_runs_once_at_a_time(ground):
    bad, _ = await ground.put(b"bad", "shard"), await ground.put(b"good")
    ground.blobs.path(bad).write_bytes(b"BAD")
    async with trio.open_nursery() as nursery:
        ground.storing.nursery = nursery
        began = (await ground.desk.scrub("")).scrub
        assert (began.ordered, began.of) == (True, 2)
        with pytest.raises(Refusal, match="being read already"):
            await ground.desk.scrub("")
    ended = (await ground.desk.status()).scrub
    assert (ended.ordered, ended.done, ended.found) == (False, 2, 1)


async def test_a_whole_scrub_that_was_ordered_is_the_last_walk_and_one_of_a_part_or_with_an_end_is_none(
    ground, monkeypatch
):
    sha256 = await ground.put(b"some bytes")
    async with trio.open_nursery() as nursery:
        ground.storing.nursery = nursery
        await ground.desk.scrub(sha256.hex())
    assert (await ground.desk.status()).scrub.last_s == 0
    with monkeypatch.context() as ill:
        ill.setattr(os, "pread", lambda *_: (_ for _ in ()).throw(OSError(errno.EMFILE, "EMFILE")))
        async with trio.open_nursery() as nursery:
            ground.storing.nursery = nursery
            await ground.desk.scrub("")
    assert (await ground.desk.status()).scrub.last_s == 0
    async with trio.open_nursery() as nursery:
        ground.storing.nursery = nursery
        await ground.desk.scrub("")
    assert (await ground.desk.status()).scrub.last_s == ground.now_s
    assert ground.made().scrubber.round.last_s == ground.now_s  # after a restart too
    assert not ground.made().scrubber.round.due(ground.now_s + 1, 30)


async def test_a_damaged_file_is_told_since_it_was_found_so_and_not_since_its_last_use(ground):
    sha256 = await ground.put(b"some bytes")
    ground.now_s += 86_400
    await ground.spoil(sha256)
    (wanted,) = ground.storing.rotten()
    assert wanted.time_s == ground.now_s


@pytest.mark.parametrize("how", ["away", "ill"])
async def test_an_ordered_scrub_of_a_disk_that_is_away_or_ill_ends_and_says_why(ground, monkeypatch, how):
    blobs = [await ground.put(b"bytes %d" % number, "build") for number in range(3 * IN_A_ROW.value)]
    if how == "away":
        ground.folder.rename(ground.folder.with_name("away"))
        ground.folder.mkdir()
    else:
        monkeypatch.setattr(os, "pread", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "EIO")))
    async with trio.open_nursery() as nursery:
        ground.storing.nursery = nursery
        await ground.desk.scrub("")
    ended = (await ground.desk.status()).scrub
    assert ("mount its disk" if how == "away" else "the disk itself may be") in ended.ended
    assert (ended.ordered, ended.found) == (False, 0 if how == "away" else IN_A_ROW.value)
    assert sum(map(ground.blobs.has, blobs)) == len(blobs) - ended.found


async def test_a_scrub_of_what_is_not_here_is_refused(ground):
    with pytest.raises(Refusal, match="nothing that matches"):
        await ground.desk.scrub(PURL)


async def test_the_status_counts_by_who_pinned(ground):
    await ground.put(b"12345", "receipt:1", "receipt:2", "shard")
    await ground.put(b"cache")
    told = await ground.desk.status()
    assert [(one.reason, one.blobs, one.bytes) for one in told.pins] == [("receipt", 1, 5), ("shard", 1, 5)]
    assert (told.used, told.pinned, told.cache, told.blobs) == (10, 5, 5, 2)
    assert (told.local.quota, told.proxied.used) == (2, 3)


async def test_orders_before_the_node_runs_are_refused(ground, story):
    await ground.put(b"x")
    with pytest.raises(Refusal, match="is starting"):
        await ground.desk.scrub("")
    with pytest.raises(Refusal, match="is starting"):
        await ground.desk.pin(PinOrder(PURL, fetch=True))
    sha256 = bytes.fromhex(story.sha256)
    ground.peers[sha256] = story.data
    async with trio.open_nursery() as nursery:  # and are taken when it does
        ground.storing.nursery = nursery
        await ground.desk.scrub("")
        await ground.desk.pin(PinOrder(PURL, fetch=True))
    assert ground.blobs.pins(sha256) == (OPERATOR,)


# -- a disk that is full --


async def test_a_full_disk_is_a_notice_what_is_here_stays_and_the_cache_gives_way(ground):
    kept, cached = await ground.put(b"kept", "shard"), await ground.put(b"cached")
    ground.free = 900
    await ground.storing.look()
    assert "storage: full: " in ground.storing.notice
    assert ground.storing.glance().full
    assert (ground.blobs.has(kept), ground.blobs.has(cached)) == (True, False)
    with pytest.raises(StorageFull):
        await ground.blobs.put_bytes(b"new")


async def test_a_node_that_runs_looks_at_its_disk_by_itself_and_gets_over_it(ground, autojump_clock):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ground.storing.run)
        ground.free = 900
        await trio.sleep(30)
        assert "storage: full" in ground.storing.notice
        ground.free = 1 << 40
        await trio.sleep(90)
        assert ground.storing.notice == ""
        nursery.cancel_scope.cancel()


async def test_a_disk_that_says_no_ends_no_task(ground, autojump_clock):
    def broken(_):
        raise OSError(5, "EIO")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ground.storing.run)
        ground.blobs.space._free = broken
        await trio.sleep(100)
        ground.blobs.space._free = lambda _: 1 << 40
        await trio.sleep(250)
        assert ground.storing.swept is not None
        nursery.cancel_scope.cancel()


async def test_what_outlived_a_database_is_counted_as_pinned(tmp_path, ground):
    sha256 = await ground.put(b"outlived", "build")
    database = Database.open(tmp_path / "new")
    try:
        assert salvage(ground.folder, database) == 1
        account = Blobs(ground.folder, database, ground.rules).account
        assert (account.blobs, account.used, account.pinned) == (1, 8, 8)
        assert Blobs(ground.folder, database).pins(sha256) == (SALVAGED,)
    finally:
        database.close()


async def test_many_looks_at_once_shrink_the_cache_to_its_low_mark_and_a_status_to_none(tmp_path, story):
    ground = Ground(tmp_path, story, quota=10_000)
    for number in range(95):
        await ground.put(b"%c" % number * 100)
    before = ground.blobs.account.cache
    assert before > ground.blobs.account.high
    for _ in range(3):
        assert (await ground.desk.status()).cache == before

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ground.storing.look)
    assert ground.blobs.account.low - 100 < ground.blobs.account.cache <= ground.blobs.account.low
