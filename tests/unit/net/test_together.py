"""Nodes that fetch one file at the same time over real links, from one on a narrow line: they give it to each other."""

import importlib.util
import random
import sys
from pathlib import Path

import pytest
import trio

from pyrsia.errors import Unavailable
from pyrsia.net.data import DataPlane
from pyrsia.node.storage.shelf import BlobRef, Shelf
from pyrsia.store.blobs import Blobs
from pyrsia.store.rocks import Database
from pyrsia.transfer.buckets import Flow
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import CHUNK_BYTES
from tests.reference.waiting import until

sys.path.insert(0, str(Path(__file__).parent))
from nodes import Node, join, pairs_by_id

assert importlib.util.find_spec("nodes")

COUNT = 120
DATA = random.Random(12).randbytes(COUNT * CHUNK_BYTES.value - 9)
PAPER = Manifest.of([DATA])
REF = BlobRef(PAPER.id, PAPER.sha256, PAPER.size)


class Site(Node):
    """A node with links, a data plane and a shelf; `up`: bytes a second that it gives."""

    def __init__(self, pair, folder, up=0, down=0):
        super().__init__(pair, data="tcp://127.0.0.1:*")
        folder.mkdir()
        self.folder, self.database = folder, Database.open(folder / "db")
        self.plane = DataPlane(
            self.links, lambda node, ident: self.shelf.served(node, ident), up=Flow(up), down=Flow(down)
        )
        self.start_shelf()

    def start_shelf(self):
        blobs = Blobs(self.folder / "blobs", self.database)
        self.shelf = Shelf(self.database, blobs, self.plane, named=lambda _: True)

    async def fetch(self, *sources):
        with trio.fail_after(60):
            return await self.shelf.fetch(REF.manifest, REF.sha256, REF.size, [one.id for one in sources])


@pytest.fixture
def sites(tmp_path):
    made = [Site(pair, tmp_path / str(at), up=20e6) for at, pair in enumerate(pairs_by_id(5))]
    yield made
    for site in made:
        site.database.close()


async def start(nursery, sites):
    await join(nursery, *sites)
    for site in sites:
        await nursery.start(site.plane.run)


async def test_four_that_know_only_the_seed_hear_of_each_other_and_take_most_from_each_other(sites):
    seed, *others = sites
    await seed.shelf.put(DATA)
    paths = []

    async def fetch(site):
        paths.append(await site.fetch(seed))

    async with trio.open_nursery() as nursery:
        await start(nursery, sites)
        async with trio.open_nursery() as fetching:
            for site in others:
                fetching.start_soon(fetch, site)
        nursery.cancel_scope.cancel()

    assert all(path.read_bytes() == DATA for path in paths)
    came = [site.plane.counters for site in others]
    assert sum(one.chunks_received for one in came) == 4 * COUNT
    assert sum(one.duplicates for one in came) < 0.01 * 4 * COUNT
    assert seed.plane.counters.chunks_sent < 2 * COUNT  # each with its own copy would take four times
    assert sum(one.received_from.get(seed.id, 0) for one in came) < 0.5 * 4 * len(DATA)
    assert not any(one.liars for one in came)


async def test_when_the_source_goes_what_has_come_rests_and_another_source_gives_the_rest(sites):
    first, second, site = sites[:3]
    await first.shelf.put(DATA)
    await second.shelf.put(DATA)
    told = ""
    async with trio.open_nursery() as nursery:
        life = await nursery.start(_live, first)
        for one in (second, site):
            await nursery.start(one.links.run)
            one.links.dial([first.at, second.at])
        await until(lambda: site.links.connected(first.id) and site.links.connected(second.id))
        for one in (second, site):
            await nursery.start(one.plane.run)
        nursery.start_soon(_end_when, life, lambda: site.plane.counters.chunks_received > COUNT // 4)
        try:
            await site.fetch(first)
        except Unavailable as error:
            told = str(error)
        assert "of 120 chunks came and are kept for the next try: " in told
        came = site.plane.counters.chunks_received
        assert COUNT // 4 < came < COUNT
        site.start_shelf()  # as after a restart
        path = await site.fetch(second)
        nursery.cancel_scope.cancel()

    assert path.read_bytes() == DATA
    assert site.plane.counters.chunks_received == COUNT


async def _live(site, *, task_status):
    """A node until its scope, which is handed out, is cancelled."""
    async with trio.open_nursery() as nursery:
        await nursery.start(site.links.run)
        await nursery.start(site.plane.run)
        task_status.started(nursery.cancel_scope)


async def _end_when(scope, condition):
    await until(condition)
    scope.cancel()
