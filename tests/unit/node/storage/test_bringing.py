"""One download a blob: gone on with, shared, given on while it comes, and what is said when it fails."""

import random

import pytest
import trio
import trio.testing

from pyrsia.errors import OtherBytes, Unavailable
from pyrsia.net.data import Counters
from pyrsia.node.storage.shelf import Shelf
from pyrsia.store.blobs import Blobs
from pyrsia.store.growing import Growing
from pyrsia.store.rocks import Database
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import CHUNK_BYTES, NodeId
from tests.reference.waiting import bounded, until

A, B, C = (NodeId(letter * 32) for letter in (b"a", b"b", b"c"))
STEP = CHUNK_BYTES.value
DATA = random.Random(2).randbytes(4 * STEP + 5)
PAPER = Manifest.of([DATA])


class Plane:
    """Peers that give chunk after chunk as the test lets them; a negative number: the last source leaves."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.data = DATA
        self.holders = {A}
        self.asked, self.held, self.sources, self.written = [], [], [], []
        self.places = self.find = None
        self.turns, self.give = trio.open_memory_channel[int](100)
        self.ran = trio.Event()

    async def manifest(self, manifest_id, sources):
        self.asked.append(list(sources))
        if not self.holders & set(sources):
            raise Unavailable("nobody gives the manifest: aaaaaaaa does not offer it")
        return PAPER

    async def fetch(self, manifest, sources, write, *, held=0, places=None, find=None):
        self.held.append(held)
        self.sources.append(list(sources))
        self.places, self.find = places, find
        self.ran.set()
        here = held
        while here != (1 << manifest.count) - 1:
            chunk = await self.give.receive()
            if chunk < 0:
                raise Unavailable("no source of the file is left: aaaaaaaa vanished")
            self.written.append(chunk)
            here |= 1 << chunk
            write(chunk * STEP, memoryview(self.data)[chunk * STEP : (chunk + 1) * STEP])

    def chunks(self, *numbers):
        for number in numbers:
            self.turns.send_nowait(number)


class Site:
    """A shelf that can be opened again."""

    def __init__(self, folder, plane):
        self.folder, self.plane, self.named = folder, plane, {PAPER.id}
        self.database = Database.open(folder / "db")
        self.start()

    def start(self):
        blobs = Blobs(self.folder / "blobs", self.database)
        self.shelf = Shelf(self.database, blobs, self.plane, named=self.named.__contains__)
        return self.shelf

    def fetch(self, *sources, growing=None):
        return self.shelf.fetch(PAPER.id, PAPER.sha256, PAPER.size, sources or [A], growing)


@pytest.fixture
def site(tmp_path):
    plane = Plane()
    made = Site(tmp_path, plane)
    yield made
    made.database.close()
    plane.turns.close()
    plane.give.close()


@pytest.mark.parametrize("restart", [False, True])
async def test_what_failed_is_gone_on_with_and_only_the_rest_is_brought(site, restart):
    site.plane.chunks(0, 3, -1)
    with bounded(), pytest.raises(Unavailable) as failed:
        await site.fetch()
    assert str(failed.value) == (
        "2 of 5 chunks came and are kept for the next try: no source of the file is left: aaaaaaaa vanished"
    )
    if restart:
        site.start()
    site.plane.chunks(1, 2, 4)
    with bounded():
        path = await site.fetch(B)

    assert path.read_bytes() == DATA
    assert site.plane.written == [0, 3, 1, 2, 4]
    assert site.plane.held == [0, 0b01001]
    assert site.plane.asked == [[A]]  # the manifest is asked for once


async def test_what_has_come_is_given_to_those_who_may_have_it_and_to_nobody_else(site):
    partial_path = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.fetch)
        site.plane.chunks(0, 3)
        await until(lambda: len(site.plane.written) == 2)
        served = site.shelf.served(C, PAPER.id)
        assert (served.manifest, served.held) == (PAPER.encode(), 0b01001)
        assert [chunk for chunk in range(5) if served.gives(chunk)] == [0, 3]
        assert served.path.read_bytes()[3 * STEP : 4 * STEP] == DATA[3 * STEP : 4 * STEP]
        partial_path = served.path
        site.named.clear()
        assert site.shelf.served(C, PAPER.id) is None
        with site.shelf.lent(C, [PAPER.id]):
            assert site.shelf.served(C, PAPER.id).held == 0b01001
            assert site.shelf.served(B, PAPER.id) is None
        site.named.add(PAPER.id)
        site.plane.chunks(1, 2, 4)

    whole = site.shelf.served(C, PAPER.id)
    assert whole.held is None
    assert whole.path.read_bytes() == DATA
    assert not partial_path.exists()


async def test_what_nobody_offers_yet_is_not_offered_here(site):
    async with trio.open_nursery() as nursery:
        site.plane.holders.clear()

        async def find(_):
            await trio.sleep_forever()

        site.shelf.bringing.find = find
        nursery.start_soon(site.fetch)
        await until(lambda: site.plane.asked)
        assert site.shelf.served(C, PAPER.id) is None
        nursery.cancel_scope.cancel()


async def test_two_that_want_it_share_one_download_and_the_sources_of_both(site):
    one, two, paths = Growing(len(DATA)), Growing(len(DATA)), []

    async def want(source, growing):
        paths.append(await site.fetch(source, growing=growing))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(want, A, one)
        site.plane.chunks(0, 1)
        await until(lambda: len(site.plane.written) == 2)
        nursery.start_soon(want, B, two)
        reader = two.reader()
        with bounded():
            assert await reader.ready(0) == 2 * STEP  # what came before it
            site.plane.chunks(2)
            assert await reader.ready(2 * STEP) == 3 * STEP  # and what comes
        assert list(await site.plane.find()) == [A, B]
        site.plane.chunks(3, 4)
    reader.close()
    for growing in (one, two):
        growing.fail("over")

    assert paths == [site.shelf.local(PAPER.sha256)] * 2
    assert len(site.plane.held) == 1


async def test_when_whoever_began_it_leaves_the_other_goes_on_with_what_is_here(site):
    got = []
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def first():
            with scope:
                await site.fetch()

        async def second():
            got.append(await site.fetch(B))

        nursery.start_soon(first)
        site.plane.chunks(0, 1)
        await until(lambda: len(site.plane.written) == 2)
        nursery.start_soon(second)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await until(lambda: len(site.plane.held) == 2)
        site.plane.chunks(2, 3, 4)

    assert site.plane.held == [0, 0b00011]
    assert got[0].read_bytes() == DATA


async def test_a_failure_is_told_to_all_who_wanted_it_in_words_of_their_own(site):
    told = []

    async def want():
        try:
            await site.fetch()
        except Unavailable as error:
            told.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(want)
        nursery.start_soon(want)
        site.plane.chunks(0, -1)
    assert [str(one) for one in told] == [str(told[0])] * 2
    assert told[0] is not told[1]
    assert "1 of 5 chunks" in str(told[0])


async def test_readers_say_where_they_wait_and_the_transfer_hears_of_it(site):
    growing = Growing(len(DATA))
    start, later = growing.reader(), growing.reader()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: site.fetch(growing=growing))
        await until(lambda: site.plane.places is not None)
        nursery.start_soon(later.ready, 2 * STEP + 7)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(site.plane.places()) == [0, 2]
        site.plane.chunks(0, 2)
        await until(lambda: sorted(site.plane.places()) == [1, 3])
        start.close()
        assert site.plane.places() == [3]
        later.close()
        assert site.plane.places() == []
        site.plane.chunks(1, 3, 4)
    growing.fail("over")


async def test_who_has_it_is_looked_for_when_those_who_are_known_do_not(site):
    site.plane.holders = {C}
    looked = []

    async def find(sha256):
        looked.append(sha256)
        return (C,)

    site.shelf.bringing.find = find
    site.plane.chunks(0, 1, 2, 3, 4)
    with bounded():
        path = await site.fetch(A)
    assert path.read_bytes() == DATA
    assert site.plane.asked == [[A], [C]]
    assert looked == [PAPER.sha256]
    assert site.plane.sources == [[A, C]]


async def test_what_no_entry_names_yet_is_looked_for_nowhere_else(site):
    site.named.clear()
    looked = []

    async def find(sha256):
        looked.append(sha256)
        return (C,)

    site.shelf.bringing.find = find
    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.fetch)
        await until(lambda: site.plane.find is not None)
        assert list(await site.plane.find()) == [A]
        nursery.cancel_scope.cancel()
    site.plane.holders.clear()
    with pytest.raises(Unavailable):
        await site.shelf.fetch(bytes(32), PAPER.sha256, PAPER.size, [A])
    assert looked == []


@pytest.mark.parametrize("sources", [(), (A,)])
async def test_a_failure_says_that_it_was_still_looked_for_and_why_each_was_no_help(site, sources):
    site.plane.holders.clear()
    with pytest.raises(Unavailable, match="it was looked for: ") as failed:
        await site.shelf.fetch(PAPER.id, PAPER.sha256, PAPER.size, sources)
    told = "aaaaaaaa does not offer it" if sources else "nobody is known to have it"
    assert told in str(failed.value)


async def test_a_file_whose_whole_is_not_the_blob_is_brought_anew_from_its_first_chunk(site):
    site.plane.data = DATA[:-1] + bytes([DATA[-1] ^ 1])
    site.plane.chunks(0, 1, 2, 3, 4)
    with bounded(), pytest.raises(Unavailable, match="not the blob"):
        await site.fetch()
    site.plane.data = DATA
    site.plane.chunks(0, 1, 2, 3, 4)
    with bounded():
        assert (await site.fetch()).read_bytes() == DATA
    assert site.plane.held == [0, 0]


async def test_a_bug_below_ends_one_download_and_comes_out_as_itself(site):
    def broken(*_, **__):
        raise ZeroDivisionError

    site.plane.fetch = broken
    with pytest.raises(ZeroDivisionError):
        await site.fetch()
    assert site.shelf.bringing.coming(PAPER.id) is None


async def test_who_leaves_while_the_index_is_synced_leaves_what_peers_can_be_given(site):
    """And nobody who shared the download brings it a second time."""
    scope, got, sync = trio.CancelScope(), [], site.database.sync

    async def leaving():
        scope.cancel()
        await sync()

    async def first():
        with scope:
            await site.fetch()

    async def second():
        got.append(await site.fetch(B))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(second)
        await trio.testing.wait_all_tasks_blocked()
        site.database.sync = leaving
        site.plane.chunks(0, 1, 2, 3, 4)
        await until(lambda: got or len(site.plane.held) > 1)
        site.plane.chunks(*range(5))
    site.database.sync = sync
    assert scope.cancel_called
    assert got == [site.shelf.local(PAPER.sha256)]
    assert len(site.plane.held) == 1
    assert site.shelf.served(A, PAPER.id) is not None


@pytest.mark.parametrize("liar_first", [True, False])
async def test_who_asks_for_other_bytes_under_the_same_manifest_ends_nobody_elses_download(site, liar_first):
    """The log may name a manifest with another digest or size: that is its author's lie alone."""
    said = {}

    async def want(name, sha256, size):
        try:
            said[name] = await site.shelf.fetch(PAPER.id, sha256, size, [A])
        except OtherBytes as error:
            said[name] = error

    honest, liar = ("honest", PAPER.sha256, PAPER.size), ("liar", b"x" * 32, PAPER.size)
    with bounded():
        async with trio.open_nursery() as nursery:
            for one in (liar, honest) if liar_first else (honest, liar):
                nursery.start_soon(want, *one)
                await trio.lowlevel.checkpoint()
            site.plane.chunks(*range(PAPER.count))
    assert said["honest"].read_bytes() == DATA
    assert isinstance(said["liar"], OtherBytes)
