"""A client reads a file over HTTP while the node brings it from two others over data links."""

import hashlib
import importlib.util
import os
import sys
from pathlib import Path

import httpx
import trio

from pyrsia.node.storage.arriving import Arrivals
from pyrsia.node.storage.shelf import BlobRef, Shelf
from pyrsia.serve.answers import send_arriving
from pyrsia.store.blobs import Blobs
from pyrsia.store.rocks import Database
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import CHUNK_BYTES
from tests.unit.serve.talk import dial, serving

sys.path.insert(0, str(Path(__file__).parent))
from nodes import pairs_by_id
from test_data import Site, start

from tests.reference.waiting import until

assert importlib.util.find_spec("nodes")

STEP = CHUNK_BYTES.value
DATA = os.urandom(40 * STEP + 123)


class Reader:
    """A node that holds nothing: its data links, its shelf, and an application that gives one file."""

    def __init__(self, site, folder, sources):
        self.site, self.sources = site, sources
        self.database = Database.open(folder / "db")
        self.shelf = Shelf(
            self.database, Blobs(folder / "blobs", self.database), site.plane, named=lambda _: True
        )
        self.arrivals = Arrivals(self.shelf)
        paper = Manifest.of([DATA])
        self.ref = BlobRef(paper.id, paper.sha256, paper.size)

    async def __call__(self, scope, receive, send):
        arriving = self.arrivals.bring(self.ref, [source.id for source in self.sources])
        await send_arriving(scope, receive, send, arriving, kind=b"x/y", etag=b'"e"')


async def test_ten_clients_get_every_byte_of_one_download(tmp_path):
    a, b, c = sites = [Site(pair) for pair in pairs_by_id(3)]
    for site in (a, b):
        site.put(tmp_path / site.id.hex()[:8], DATA)
    reader, got = Reader(c, tmp_path, [a, b]), []
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        await nursery.start(reader.arrivals.run)
        async with serving(reader) as server, httpx.AsyncClient(base_url=server.url) as client:

            async def ask(first):
                answer = await client.get("/", headers={"range": f"bytes={first}-"})
                got.append(answer.content == DATA[first:])

            async with trio.open_nursery() as clients:
                for first in range(10):
                    clients.start_soon(ask, first * 4 * STEP)
        nursery.cancel_scope.cancel()
    kept = reader.shelf.local(reader.ref.sha256)
    reader.database.close()
    assert got == [True] * 10
    assert c.counters.chunks_received == 41
    assert kept is not None
    assert hashlib.sha256(kept.read_bytes()).digest() == reader.ref.sha256


async def test_when_the_source_dies_in_the_middle_the_client_is_cut(tmp_path):
    """A part arrives, verified, never the whole; and nothing is kept."""
    a, c = [Site(pair) for pair in pairs_by_id(2)]
    a.put(tmp_path / "file", DATA)
    reader = Reader(c, tmp_path, [a])
    bring, answer = c.plane.fetch, bytearray()
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as life:
            await life.start(a.links.run)
            await nursery.start(c.links.run)
            c.links.dial([a.at])
            await until(lambda: c.links.connected(a.id))
            await life.start(a.plane.run)
            await nursery.start(c.plane.run)
            await nursery.start(reader.arrivals.run)

            async def fetch(manifest, sources, write, **options):
                def dying(offset, data):
                    write(offset, data)
                    if offset >= 20 * STEP:
                        life.cancel_scope.cancel()

                await bring(manifest, sources, dying, **options)

            c.plane.fetch = fetch
            nursery.start_soon(read_all, reader, answer, nursery.cancel_scope)
    kept = reader.shelf.local(reader.ref.sha256)
    reader.database.close()
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-length: %d" % len(DATA) in head
    assert 20 * STEP < len(body) < len(DATA)
    assert DATA.startswith(body)
    assert kept is None
    assert list((tmp_path / "blobs" / "partial").iterdir()) == []


async def read_all(reader, answer, scope):
    """One client, until it is closed; then everything ends."""
    async with serving(reader) as server, await dial(server) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        async for part in stream:
            answer += part
        await until(lambda: not server.connections)
    scope.cancel()
