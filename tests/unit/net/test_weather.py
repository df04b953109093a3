"""Links and transfers through the chaos proxy: what a cable does costs time and nothing else."""

import contextlib
import os

import pytest
import trio

from pyrsia import keys
from pyrsia.net.data import DataPlane, Served
from pyrsia.net.links import Links
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import CHUNK_BYTES
from tests.chaos.proxy import Proxy
from tests.reference.waiting import until
from tests.unit.net.nodes import CHAIN

SIZE = 40 * CHUNK_BYTES.value


class Giver:
    """A node that gives one file; its data socket is reached through a proxy only."""

    def __init__(self, seed, manifest, path, ports):
        self.links = links_of(seed, advertise=("", "tcp://127.0.0.1:9", ""))
        self.plane = DataPlane(self.links, lambda node, ident: Served(manifest.encode(), path))
        self.proxy = None

    async def start(self, nursery):
        self.links.open()
        self.proxy = Proxy(int(self.links.data_endpoint.rpartition(":")[2]))
        await nursery.start(self.proxy.run)
        self.links._advertise = ("", self.proxy.address, "")
        await nursery.start(self.links.run)
        await nursery.start(self.plane.run)


def links_of(seed, advertise=("", "", "")):
    address = "tcp://127.0.0.1:*"
    return Links(
        keys.KeyPair(bytes([seed]) * 32), CHAIN, control_addr=address, data_addr=address, advertise=advertise,
        allow=lambda node: True, on_message=lambda node, kind, payload: None, methods={},
    )  # fmt: skip


class Town:
    """Givers behind proxies, and a taker that writes into memory."""

    def __init__(self, manifest, givers, taker, plane):
        self.manifest, self.givers, self.taker, self.plane = manifest, givers, taker, plane
        self.copy = bytearray(manifest.size)
        self.written = 0

    async def fetch(self):
        await self.plane.fetch(self.manifest, [one.links.node for one in self.givers], self.write)

    def write(self, offset, data):
        self.copy[offset : offset + len(data)] = data
        self.written += len(data)


@contextlib.asynccontextmanager
async def town(path, count):
    data = os.urandom(SIZE)
    path.write_bytes(data)
    step = CHUNK_BYTES.value
    manifest = Manifest.of(data[at : at + step] for at in range(0, SIZE, step))
    givers = [Giver(number + 1, manifest, path, 1) for number in range(count)]
    taker = links_of(99)
    plane = DataPlane(taker, lambda node, ident: None)
    async with trio.open_nursery() as nursery:
        for giver in givers:
            await giver.start(nursery)
        await nursery.start(taker.run)
        await nursery.start(plane.run)
        taker.dial([(one.links.node, one.links.control_endpoint) for one in givers])
        await until(lambda: all(taker.connected(one.links.node) for one in givers))
        yield Town(manifest, givers, taker, plane)
        nursery.cancel_scope.cancel()


async def fetched(here, during=None):
    """Fetch while `during` does something to the cables; the bytes are right."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.fetch)
            if during is not None:
                await during()
    assert bytes(here.copy) == b"".join(_read(here))
    assert here.written == SIZE


def _read(here):
    giver = here.givers[0]
    served = giver.plane._server._offered(here.taker.node, here.manifest.id)
    yield served.path.read_bytes()


async def test_a_cable_that_is_cut_and_mended(tmp_path):
    async with town(tmp_path / "file", 1) as here:
        proxy = here.givers[0].proxy
        proxy.back.bytes_s = 8_000_000

        async def cut():
            await until(lambda: here.written > SIZE // 4)
            proxy.cut()
            proxy.mend()

        await fetched(here, cut)
        assert proxy.connections >= 2


async def test_one_of_two_cables_is_held_and_nobody_is_told(tmp_path):
    async with town(tmp_path / "file", 2) as here:
        for giver in here.givers:
            giver.proxy.back.bytes_s = 8_000_000
        held = here.givers[0].proxy

        async def hold():
            await until(lambda: here.written > SIZE // 4)
            held.hold()

        await fetched(here, hold)
        assert here.plane.counters.liars == {}


async def test_a_bit_that_flips_breaks_the_connection_and_no_byte(tmp_path):
    """CURVE refuses the frame: a broken cable is no liar."""
    async with town(tmp_path / "file", 1) as here:
        proxy = here.givers[0].proxy
        proxy.back.corrupt_at = 3_000_000

        async def heal():
            await until(lambda: proxy.connections >= 2)
            proxy.back.corrupt_at = -1

        await fetched(here, heal)
        assert here.plane.counters.liars == {}


async def test_a_long_cable(tmp_path):
    async with town(tmp_path / "file", 1) as here:
        for weather in (here.givers[0].proxy.there, here.givers[0].proxy.back):
            weather.latency_s = 0.02
        await fetched(here)
        assert here.plane.counters.duplicates == 0


async def test_a_reader_that_takes_a_trickle_delays_nobody(tmp_path):
    async with town(tmp_path / "file", 1) as here:
        slow, giver = links_of(77), here.givers[0]
        plane = DataPlane(slow, lambda node, ident: None)
        trickle = Proxy(int(giver.links.data_endpoint.rpartition(":")[2]))
        async with trio.open_nursery() as nursery:
            await nursery.start(trickle.run)
            trickle.back.window, trickle.back.bytes_s = 64, 64.0
            giver.links._advertise = ("", trickle.address, "")
            await nursery.start(slow.run)
            await nursery.start(plane.run)
            slow.dial([(giver.links.node, giver.links.control_endpoint)])
            await until(lambda: slow.connected(giver.links.node))
            with trio.CancelScope() as given_up:
                async with trio.open_nursery() as slowly:
                    slowly.start_soon(
                        plane.fetch, here.manifest, [giver.links.node], lambda offset, data: None
                    )
                    await until(lambda: trickle.connections > 0)
                    await fetched(here)
                    given_up.cancel()
            assert plane.counters.bytes_received == 0
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("direction", ["there", "back"])
async def test_a_greeting_with_a_flipped_bit_makes_no_link_and_the_next_one_does(direction):
    ann, bob = links_of(1), links_of(2)
    async with trio.open_nursery() as nursery:
        await nursery.start(ann.run)
        proxy = Proxy(int(ann.control_endpoint.rpartition(":")[2]))
        await nursery.start(proxy.run)
        getattr(proxy, direction).corrupt_at = 200  # in what the handshake seals; before it is padding
        await nursery.start(bob.run)
        bob.dial([(ann.node, proxy.address)])
        await until(lambda: proxy.connections >= 2)
        assert not bob.connected(ann.node)
        getattr(proxy, direction).corrupt_at = -1
        await until(lambda: bob.connected(ann.node) and ann.connected(bob.node))
        nursery.cancel_scope.cancel()
