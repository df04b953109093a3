"""Downloads that are read while they run: shared, given up, failed; over the real shelf and store."""

import os

import pytest
import trio
import trio.testing

from pyrsia.errors import Unavailable
from pyrsia.net.data import Counters
from pyrsia.node.storage.arriving import ABANDONED_S, Arrivals
from pyrsia.node.storage.shelf import BlobRef, Shelf
from pyrsia.store.blobs import Blobs
from pyrsia.store.rocks import Database
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import CHUNK_BYTES, MAX_HTTP_FETCH_WAIT_S, NodeId
from tests.reference.waiting import bounded, until

PEER = NodeId(b"p" * 32)
STEP = CHUNK_BYTES.value
DATA = os.urandom(4 * STEP + 5)


class Plane:
    """One peer, which gives chunk after chunk as the test lets it."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.data, self.described = DATA, DATA
        self.fetches = 0
        self.places: list[list[int]] = []
        self.turns, self.give = trio.open_memory_channel[int](100)
        self.ended = trio.Event()

    @property
    def paper(self) -> Manifest:
        return Manifest.of([self.described])

    async def manifest(self, manifest_id, sources):
        return self.paper

    async def fetch(self, manifest, sources, write, *, held=0, places=None, find=None):
        self.fetches += 1
        self.places.append(places())
        try:
            for _ in range(0, len(self.data), STEP):
                chunk = await self.give.receive()
                if chunk < 0:
                    raise Unavailable("the peer left")
                write(chunk * STEP, self.data[chunk * STEP : (chunk + 1) * STEP])
        finally:
            self.ended.set()

    def chunks(self, *numbers: int) -> None:
        for number in numbers:
            self.turns.send_nowait(number)


@pytest.fixture
def plane():
    made = Plane()
    yield made
    made.turns.close()
    made.give.close()


@pytest.fixture
async def shelf(tmp_path, plane):
    database = Database.open(tmp_path / "db")
    yield Shelf(database, Blobs(tmp_path / "blobs", database), plane, named=lambda _: True)
    database.close()


@pytest.fixture
async def arrivals(shelf):
    made = Arrivals(shelf)
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        yield made
        nursery.cancel_scope.cancel()


def ref(plane: Plane) -> BlobRef:
    paper = plane.paper
    return BlobRef(paper.id, paper.sha256, paper.size)


def partials(tmp_path):
    return list((tmp_path / "blobs" / "partial").iterdir())


async def read(arriving, into: bytearray) -> None:
    """Everything, as it comes, by one descriptor."""
    try:
        upto = await arriving.ready(0)
        with arriving.path.open("rb") as file:
            while True:
                into += os.pread(file.fileno(), upto - len(into), len(into))
                if len(into) == arriving.size:
                    return
                upto = await arriving.ready(len(into))
    finally:
        arriving.close()


async def test_many_read_one_download_while_it_runs_and_the_end_comes_with_the_digest(
    arrivals, plane, tmp_path
):
    got = [bytearray() for _ in range(5)]
    with bounded():
        async with trio.open_nursery() as nursery:
            for into in got:
                nursery.start_soon(read, arrivals.bring(ref(plane), [PEER]), into)
            plane.chunks(0, 2, 1)
            await until(lambda: [len(into) for into in got] == [3 * STEP] * 5)
            plane.chunks(4, 3)
    assert [bytes(into) for into in got] == [DATA] * 5
    assert (plane.fetches, plane.places, arrivals.brought) == (1, [[0] * 5], 1)
    assert partials(tmp_path) == []
    here = arrivals.bring(ref(plane), [PEER])
    assert (await here.ready(0), here.path.read_bytes()) == (len(DATA), DATA)


async def test_a_lie_in_the_log_s_manifest_never_becomes_a_whole_file(arrivals, plane, tmp_path):
    """Every chunk fits the manifest, the manifest says the digest that the log says, and the bytes are others."""
    plane.data = bytes(DATA[:-1]) + bytes([DATA[-1] ^ 1])
    into = bytearray()
    plane.chunks(0, 1, 2, 3, 4)
    with bounded(), pytest.raises(Unavailable, match="not the blob"):
        await read(arrivals.bring(ref(plane), [PEER]), into)
    assert 0 < len(into) <= len(DATA) - STEP
    assert partials(tmp_path) == []
    assert arrivals._running == {}


async def test_a_failure_in_the_middle_reaches_every_reader_and_the_next_asker_starts_anew(arrivals, plane):
    told = []

    async def tried() -> None:
        try:
            await read(arrivals.bring(ref(plane), [PEER]), bytearray())
        except Unavailable as error:
            told.append(str(error))

    with bounded():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tried)
            nursery.start_soon(tried)
            plane.chunks(0, -1)
        assert len(told) == 2
        assert "the peer left" in told[0]
        plane.chunks(0, 1, 2, 3, 4)
        into = bytearray()
        await read(arrivals.bring(ref(plane), [PEER]), into)
    assert (bytes(into), plane.fetches) == (DATA, 2)


class Standing(Shelf):
    """A shelf without a disk, for virtual time: its downloads move when a test says so."""

    def __init__(self) -> None:
        self.begun, self.cancelled = 0, 0
        self.growing = None

    def local(self, sha256):
        return None

    async def fetch(self, manifest_id, sha256, size, sources, growing=None):
        self.begun, self.growing = self.begun + 1, growing
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            self.cancelled += 1
            raise


async def test_a_download_that_nobody_reads_goes_on_a_while_for_those_who_come_back(autojump_clock):
    shelf, big = Standing(), BlobRef(b"m" * 32, b"s" * 32, 10 * STEP)
    arrivals = Arrivals(shelf)
    async with trio.open_nursery() as nursery:
        await nursery.start(arrivals.run)
        first = arrivals.bring(big, [PEER])
        await trio.testing.wait_all_tasks_blocked()
        first.close()
        await trio.sleep(ABANDONED_S.value - 1)
        second = arrivals.bring(big, [PEER])  # in time
        await trio.sleep(ABANDONED_S.value + 1)
        assert (shelf.begun, shelf.cancelled) == (1, 0)
        second.close()
        shelf.growing.wrote(0, STEP)  # that it moves does not keep it alive
        await trio.sleep(ABANDONED_S.value - 1)
        assert shelf.cancelled == 0
        await trio.sleep(2)
        assert (shelf.begun, shelf.cancelled) == (1, 1)
        arrivals.bring(big, [PEER]).close()
        await trio.testing.wait_all_tasks_blocked()
        assert shelf.begun == 2
        nursery.cancel_scope.cancel()


async def test_a_download_that_moves_has_no_limit_and_one_that_stands_still_does(autojump_clock):
    shelf, big = Standing(), BlobRef(b"m" * 32, b"s" * 32, 100 * STEP)
    arrivals = Arrivals(shelf)
    async with trio.open_nursery() as nursery:
        await nursery.start(arrivals.run)
        reader = arrivals.bring(big, [PEER])
        for chunk in range(20):
            await trio.sleep(MAX_HTTP_FETCH_WAIT_S.value - 1)
            shelf.growing.wrote(chunk * STEP, STEP)
        assert await reader.ready(0) == 20 * STEP
        began_s = trio.current_time()
        with pytest.raises(Unavailable, match="stood still"):
            await reader.ready(20 * STEP)
        assert trio.current_time() - began_s == pytest.approx(MAX_HTTP_FETCH_WAIT_S.value)
        reader.close()
        nursery.cancel_scope.cancel()


async def test_a_node_that_stops_tells_its_readers_and_fetches_nothing_more(autojump_clock):
    arrivals, big = Arrivals(Standing()), BlobRef(b"m" * 32, b"s" * 32, STEP)
    async with trio.open_nursery() as nursery:
        await nursery.start(arrivals.run)
        reader = arrivals.bring(big, [PEER])
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    with pytest.raises(Unavailable, match="stops"):
        await reader.ready(0)
    with pytest.raises(Unavailable, match="fetches nothing"):
        arrivals.bring(big, [PEER])


async def test_what_begins_anew_in_another_file_is_not_shown_to_who_reads_the_first(
    shelf, arrivals, plane, tmp_path
):
    """Its owner left, and the disk could not keep what had come: the new file has none of it."""
    blob, scope, lengths = ref(plane), trio.CancelScope(), []

    async def owner():
        with scope:
            await shelf.fetch(blob.manifest, blob.sha256, blob.size, [PEER])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(owner)
        plane.chunks(0, 1, 2)
        await trio.testing.wait_all_tasks_blocked(0.01)
        reader = arrivals.bring(blob, [PEER])
        assert await reader.ready(0) == 3 * STEP
        for path in (tmp_path / "blobs" / "coming").iterdir():
            path.unlink()
        scope.cancel()
        with bounded(), pytest.raises(Unavailable, match="was lost"):
            await reader.ready(3 * STEP)
        reader.close()

        await until(lambda: not arrivals._running)  # who comes now begins anew
        again = arrivals.bring(blob, [PEER])
        plane.chunks(3, 0, 1, 2, 4)
        lengths.append(await again.ready(0))
        assert again.path.read_bytes()[: lengths[0]] == DATA[: lengths[0]]
        await again.ready(blob.size)
        again.close()
    assert shelf.local(blob.sha256).read_bytes() == DATA
