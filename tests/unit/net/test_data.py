"""Chunks between nodes on loopback: several sources, liars, deaths, strangers and garbage."""

import importlib.util
import os
import random
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from pyrsia.errors import Unavailable
from pyrsia.mapping import MappedFile
from pyrsia.net import datalinks, serving
from pyrsia.net.counting import Counters
from pyrsia.net.data import DataPlane, Served
from pyrsia.net.serving import Maps
from pyrsia.net.zsock import ZSock
from pyrsia.transfer.buckets import Flow
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import CHUNK_BYTES, LINK_FAULTS, MAX_DATA_FRAME_BYTES, MAX_PEERS, UPLOAD_QUEUE_CHUNKS
from pyrsia.wire import chunks
from pyrsia.wire.chunks import Message, Type
from tests.reference.waiting import bounded, until

sys.path.insert(0, str(Path(__file__).parent))
from nodes import Node, join, pairs_by_id

assert importlib.util.find_spec("nodes")

CHUNK = CHUNK_BYTES.value
DATA = random.Random(11).randbytes(40 * CHUNK + 123)
MANIFEST = Manifest.of([DATA])


class Site(Node):
    """A node with a data plane and a shelf: manifest id -> what it offers."""

    def __init__(self, pair, **options):
        super().__init__(pair, data="tcp://127.0.0.1:*", **options)
        self.shelf = {}
        self.asks = []
        self.plane = DataPlane(self.links, self.offered)

    def offered(self, node, ident):
        self.asks.append(node)
        return self.shelf.get(ident)

    def put(self, path, data, *, manifest=None):
        """Offer `data` under its own manifest, or under that of other bytes."""
        manifest = manifest or Manifest.of([data])
        path.write_bytes(data)
        self.shelf[manifest.id] = Served(manifest.encode(), path)
        return manifest

    @property
    def counters(self):
        return self.plane.counters


class Sink:
    """Where a fetched file is written; it refuses a second write of the same bytes."""

    def __init__(self, size):
        self.data = bytearray(size)
        self.seen = set()

    def write(self, offset, data):
        assert offset not in self.seen
        self.seen.add(offset)
        self.data[offset : offset + len(data)] = data


@pytest.fixture
def sites():
    return [Site(pair) for pair in pairs_by_id(3)]


async def start(nursery, *sites, serve=None):
    """Link all; those in `serve` (default: all), and the last one, have data links."""
    await join(nursery, *sites)
    for site in sites if serve is None else (*serve, sites[-1]):
        await nursery.start(site.plane.run)


async def fetched(site, manifest, sources, **options):
    sink = Sink(manifest.size)
    with trio.fail_after(40):
        await site.plane.fetch(manifest, [source.id for source in sources], sink.write, **options)
    return bytes(sink.data)


async def raw_client(nursery, site, to):
    """A data connection without any manners of its own."""
    sock, monitor = site.links.client(to.id, to.links.data_endpoint, frame_bytes=chunks.FRAME_BYTES, hwm=32)
    sock._sock.disable_monitor()
    monitor.close()
    return sock


async def answer(sock):
    return (await answer_and_bytes(sock))[0]


async def answer_and_bytes(sock):
    with bounded():
        frames = await sock.recv()
    return chunks.decode([frame.buffer for frame in frames]), b"".join(frame.bytes for frame in frames[1:])


# -- the truth --


def test_counters_by_node_are_bounded_and_forget_who_was_longest_out_of_use():
    counters = Counters()
    for number in range(MAX_PEERS.value + 10):
        node = number.to_bytes(32, "big")
        counters.received(node, 2)
        counters.sent(node, 3)
        counters.lied(node, "why")
        counters.received(bytes(32), 1)
    for table in (counters.received_from, counters.sent_to, counters.liars):
        assert len(table) == MAX_PEERS.value
    assert counters.received_from[bytes(32)] == MAX_PEERS.value + 12
    assert bytes(32) not in counters.sent_to
    assert counters.bytes_sent == 3 * (MAX_PEERS.value + 10)


def test_what_is_paid_for_waits_for_this_nodes_own_limit(sites):
    a, b, _ = sites

    async def forty():
        a.plane.down = Flow(1e6)
        began_s = trio.current_time()
        for _ in range(40):
            await a.plane.pay(b.id, 250_000)
        return trio.current_time() - began_s

    assert 7.0 < trio.run(forty, clock=MockClock(autojump_threshold=0)) < 11.0


async def test_a_file_comes_from_two_sources_that_are_both_used(sites, tmp_path):
    a, b, c = sites
    gains = []
    c.counters.on_gave = gains.append
    for site in (a, b):
        site.put(tmp_path / f"{site.id.hex()[:8]}", DATA)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        with bounded():
            assert await c.plane.manifest(MANIFEST.id, [a.id, b.id]) == MANIFEST
        assert await fetched(c, MANIFEST, [a, b]) == DATA
        nursery.cancel_scope.cancel()

    assert set(c.counters.received_from) == {a.id, b.id}
    assert sum(c.counters.received_from.values()) == c.counters.bytes_received == len(DATA)
    assert c.counters.chunks_received == MANIFEST.count == 41
    assert a.counters.chunks_sent + b.counters.chunks_sent >= 41
    for giver in (a, b):
        assert giver.counters.sent_to == {c.id: giver.counters.bytes_sent}
    assert set(gains) == {a.id, b.id}
    assert len(gains) == 41
    assert a.counters.bytes_sent > 0
    assert b.counters.bytes_sent > 0


@pytest.mark.parametrize("size", [0, 1, CHUNK, 2 * CHUNK])
async def test_small_files_arrive_whole_and_two_chunks_come_from_two_sources(sites, tmp_path, size):
    a, b, c = sites
    for site in (a, b):
        manifest = site.put(tmp_path / f"{site.id.hex()[:8]}", DATA[:size])
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        assert await fetched(c, manifest, [a, b]) == DATA[:size]
        assert len(c.counters.received_from) == min(manifest.count, 2)
        assert await c.plane.manifest(manifest.id, [b.id, a.id]) == manifest
        assert await fetched(c, manifest, [a, b]) == DATA[:size]
        nursery.cancel_scope.cancel()

    assert c.counters.chunks_received == 2 * manifest.count


async def test_only_what_is_missing_is_fetched(sites, tmp_path):
    a, _, c = sites
    a.put(tmp_path / "f", DATA)
    held = sum(1 << i for i in range(MANIFEST.count) if i != 7)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        got = await fetched(c, MANIFEST, [a], held=held)
        nursery.cancel_scope.cancel()

    assert got[7 * CHUNK : 8 * CHUNK] == DATA[7 * CHUNK : 8 * CHUNK]
    assert not any(got[: 7 * CHUNK])
    assert c.counters.chunks_received == a.counters.chunks_sent == 1


async def test_many_files_at_once_and_the_same_one_twice_all_arrive(sites, tmp_path):
    a, b, c = sites
    parts = [DATA[i * CHUNK : (i + 6) * CHUNK] for i in range(20)]
    manifests = [a.put(tmp_path / f"a{i}", part) for i, part in enumerate(parts)]
    for i, part in enumerate(parts):
        b.put(tmp_path / f"b{i}", part)
    got = {}

    async def bring(key, manifest):
        got[key] = await fetched(c, manifest, [a, b])

    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        async with trio.open_nursery() as fetching:
            for i, manifest in enumerate([*manifests, *manifests[:5]]):
                fetching.start_soon(bring, i, manifest)
        nursery.cancel_scope.cancel()

    assert [got[i] for i in range(25)] == [*parts, *parts[:5]]


# -- liars and deaths --


async def test_a_source_that_corrupts_is_dropped_named_and_not_asked_again_and_the_file_still_arrives(
    sites, tmp_path
):
    a, b, c = sites
    a.put(tmp_path / "a", DATA)
    rotten = bytearray(DATA)
    for i in range(MANIFEST.count):
        rotten[i * CHUNK] ^= 1
    b.put(tmp_path / "b", bytes(rotten), manifest=MANIFEST)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        assert await fetched(c, MANIFEST, [b, a]) == DATA
        asked = len(b.asks)
        assert await fetched(c, MANIFEST, [b, a]) == DATA
        with pytest.raises(Unavailable, match="nobody is left to ask"):
            await fetched(c, MANIFEST, [b])
        nursery.cancel_scope.cancel()

    assert list(c.counters.liars) == [b.id]
    assert "wrong chunk" in c.counters.liars[b.id]
    assert b.id not in c.counters.received_from
    assert len(b.asks) == asked


async def test_when_all_corrupt_it_fails_with_their_names_and_writes_nothing(sites, tmp_path):
    a, b, c = sites
    for site in (a, b):
        site.put(tmp_path / site.id.hex(), bytes(len(DATA)), manifest=MANIFEST)
    sink = Sink(MANIFEST.size)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        with bounded(), pytest.raises(Unavailable, match=r"wrong chunk \d+; \w{8} sent a wrong"):
            await c.plane.fetch(MANIFEST, [a.id, b.id], sink.write)
        nursery.cancel_scope.cancel()

    assert sink.seen == set()
    assert set(c.counters.liars) == {a.id, b.id}


async def test_a_source_that_dies_in_the_middle_costs_time_and_not_the_file(sites, tmp_path):
    a, b, c = sites
    for site in (a, b):
        site.put(tmp_path / site.id.hex(), DATA)
    sink = Sink(MANIFEST.size)
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as life:
            await life.start(b.links.run)
            await nursery.start(a.links.run)
            await nursery.start(c.links.run)
            c.links.dial([a.at, b.at])
            await until(lambda: c.links.connected(a.id) and c.links.connected(b.id))
            await nursery.start(c.plane.run)
            await nursery.start(a.plane.run)
            await life.start(b.plane.run)

            def write(offset, data):
                sink.write(offset, data)
                if len(sink.seen) == 5:
                    life.cancel_scope.cancel()

            async def bring():
                with trio.fail_after(40):
                    await c.plane.fetch(MANIFEST, [a.id, b.id], write)
                nursery.cancel_scope.cancel()

            nursery.start_soon(bring)

    assert bytes(sink.data) == DATA
    assert c.counters.liars == {}


async def test_a_source_that_never_says_a_word_delays_and_does_not_stop(sites, tmp_path):
    a, b, c = sites
    a.put(tmp_path / "a", DATA)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites, serve=[a])
        assert await fetched(c, MANIFEST, [b, a]) == DATA
        with bounded():
            assert await c.plane.manifest(MANIFEST.id, [b.id, a.id]) == MANIFEST
        nursery.cancel_scope.cancel()

    assert set(c.counters.received_from) == {a.id}


GARBAGE = {
    "noise": [b"\xff" * 50],
    "nothing": [b""],
    "many frames": [b"x"] * 20,
    "another file": [chunks.encode(Message(Type.HAVE, b"o" * 32, count=41))],
    "an answer to nothing": [chunks.encode(Message(Type.BUSY, MANIFEST.id, (3,)))],
    "another size": [chunks.encode(Message(Type.HAVE, MANIFEST.id, count=40))],
    "wrong manifest": [chunks.encode(Message(Type.MANIFEST, MANIFEST.id)), MANIFEST.encode()[:-1] + b"?"],
}


@pytest.mark.parametrize("what", GARBAGE)
async def test_a_source_that_sends_garbage_is_named_and_costs_nothing(sites, tmp_path, what):
    a, b, c = sites
    a.put(tmp_path / "a", DATA)

    async def babble(router: ZSock):
        while True:
            route, *_ = await router.recv()
            with suppress(Unavailable):  # it may have been let go meanwhile
                await router.send([route, *GARBAGE[what]])

    async with trio.open_nursery() as nursery:
        await start(nursery, *sites, serve=[a])
        nursery.start_soon(babble, b.links.data_router)
        assert await fetched(c, MANIFEST, [b, a]) == DATA
        c.plane._liars.clear()
        assert await c.plane.manifest(MANIFEST.id, [b.id, a.id]) == MANIFEST
        nursery.cancel_scope.cancel()

    assert list(c.counters.liars) == [b.id]
    assert set(c.counters.received_from) == {a.id}


async def test_a_source_whose_frames_are_too_large_is_let_go(sites, tmp_path):
    a, b, c = sites
    a.put(tmp_path / "a", DATA)

    async def flood(router: ZSock):
        while True:
            route, *_ = await router.recv()
            with suppress(Unavailable):  # it may have been let go meanwhile, which is what it is here for
                await router.send([route, bytes(MAX_DATA_FRAME_BYTES.value + 2048)])

    async with trio.open_nursery() as nursery:
        await start(nursery, *sites, serve=[a])
        nursery.start_soon(flood, b.links.data_router)
        assert await fetched(c, MANIFEST, [b, a]) == DATA
        nursery.cancel_scope.cancel()

    assert set(c.counters.received_from) == {a.id}


# -- what is given to whom --


async def test_what_is_not_offered_is_refused_in_words_and_the_asker_is_known(sites, tmp_path):
    a, b, c = sites
    a.put(tmp_path / "a", DATA)
    other = Manifest.of([b"another file"])
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        with pytest.raises(Unavailable, match="does not offer the file"):
            await fetched(c, other, [a])
        with pytest.raises(Unavailable, match=r"does not offer it; \w{8} does not offer it"):
            await c.plane.manifest(other.id, [a.id, b.id])
        sock = await raw_client(nursery, c, a)
        for ask in (
            Message(Type.WANT_HAVE, other.id),
            Message(Type.WANT_MANIFEST, other.id),
            Message(Type.GET, other.id, (0, 1)),
        ):
            await sock.send([chunks.encode(ask)])
            assert await answer(sock) == Message(Type.NAK, other.id)
        await sock.send([chunks.encode(Message(Type.GET, MANIFEST.id, (41, 7, 64_999)))])
        got = [await answer(sock), await answer(sock)]
        nursery.cancel_scope.cancel()

    assert Message(Type.NAK, MANIFEST.id, (41, 64_999)) in got
    assert Message(Type.CHUNK, MANIFEST.id, (7,)) in got
    assert set(a.asks) == {c.id}
    assert c.counters.liars == {}


async def test_a_node_without_a_control_link_and_a_banned_one_get_nothing_at_all(
    sites, tmp_path, monkeypatch
):
    # The banned one still believes in its link, and so long in an answer over it.
    monkeypatch.setattr(datalinks, "ASK_S", 0.3)
    a, b, c = sites
    a.put(tmp_path / "a", DATA)
    asks = [Message(Type.WANT_MANIFEST, MANIFEST.id), Message(Type.GET, MANIFEST.id, (0,))]
    async with trio.open_nursery() as nursery:
        await start(nursery, a, c)
        await nursery.start(b.links.run)  # runs, knows the address, is linked to nobody
        stranger = await raw_client(nursery, b, a)
        for ask in asks:
            await stranger.send([chunks.encode(ask)])
        await until(lambda: a.links.counted["data-stranger"] == 2)
        with pytest.raises(Unavailable, match="is not connected"):
            await fetched(b, MANIFEST, [a])

        friend = await raw_client(nursery, c, a)
        await friend.send([chunks.encode(asks[0])])
        assert (await answer(friend)).type is Type.MANIFEST
        a.links.ban(c.id, "test")
        await friend.send([chunks.encode(asks[1])])
        await until(lambda: a.links.counted["data-stranger"] == 3)
        with pytest.raises(Unavailable):
            await fetched(c, MANIFEST, [a])
        for sock in (stranger, friend):
            with trio.move_on_after(0.05) as waited:
                await sock.recv()
            assert waited.cancelled_caught
        nursery.cancel_scope.cancel()

    assert a.counters.chunks_sent == 0
    assert set(a.asks) == {c.id}


async def test_garbage_and_oversize_frames_do_not_stop_service_and_who_goes_on_is_banned(sites, tmp_path):
    a, b, c = sites
    a.put(tmp_path / "a", DATA)
    draw = random.Random(3)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        large = await raw_client(nursery, b, a)
        await large.send([bytes(MAX_DATA_FRAME_BYTES.value + 2048)])
        noisy = await raw_client(nursery, b, a)
        for i in range(LINK_FAULTS.value):
            noise = [draw.randbytes(draw.randrange(200)) for _ in range(1 + i % 3)]
            await noisy.send(noise)
        assert await fetched(c, MANIFEST, [a]) == DATA
        await until(lambda: a.links.counted["banned-data-faults"] == 1)
        await until(lambda: not a.links.connected(b.id))
        assert await fetched(c, MANIFEST, [a]) == DATA
        nursery.cancel_scope.cancel()

    assert a.links.counted["data-malformed"] == LINK_FAULTS.value


async def test_a_peer_that_asks_without_end_and_never_reads_is_told_busy_and_delays_nobody(sites, tmp_path):
    a, b, c = sites
    a.put(tmp_path / "a", DATA)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        greedy = await raw_client(nursery, b, a)
        for _ in range(60):
            await greedy.send([chunks.encode(Message(Type.GET, MANIFEST.id, tuple(range(16))))])
        await until(lambda: len(b.asks) == 0 and a.asks.count(b.id) == 60)
        assert len(a.plane._server._uploads) <= 4 * UPLOAD_QUEUE_CHUNKS.value
        assert await fetched(c, MANIFEST, [a]) == DATA
        busy, given = False, 0
        while not busy or given < UPLOAD_QUEUE_CHUNKS.value:
            message, data = await answer_and_bytes(greedy)
            busy |= message.type is Type.BUSY
            given += len(data) // CHUNK
        nursery.cancel_scope.cancel()

    assert given < 60 * 16


async def test_chunks_that_follow_one_another_travel_together_three_at_most(sites, tmp_path):
    a, b, _ = sites
    a.put(tmp_path / "a", DATA)
    other = a.put(tmp_path / "other", DATA[: 2 * CHUNK])
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        sock = await raw_client(nursery, b, a)
        await sock.send([chunks.encode(Message(Type.GET, MANIFEST.id, (5, 6, 7, 8, 20, 22, 21, 39, 40)))])
        got = [await answer_and_bytes(sock) for _ in range(6)]
        await sock.send([chunks.encode(Message(Type.GET, MANIFEST.id, (0,)))])
        await sock.send([chunks.encode(Message(Type.GET, other.id, (1,)))])  # follows, in another file
        alone = [await answer_and_bytes(sock) for _ in range(2)]
        nursery.cancel_scope.cancel()

    assert [message.chunks for message, _ in got] == [(5,), (8,), (20,), (22,), (21,), (39,)]
    assert [len(data) for _, data in got] == [3 * CHUNK, CHUNK, CHUNK, CHUNK, CHUNK, CHUNK + 123]
    for message, data in got:
        assert DATA[message.chunks[0] * CHUNK :].startswith(data)
    assert [len(data) for _, data in alone] == [CHUNK, CHUNK]


async def test_a_rotten_chunk_costs_none_of_its_row(sites, tmp_path, monkeypatch):
    """The disk gives all of the file but chunk 6: who asks gets what else there is, and a no for that one."""
    a, b, _ = sites
    a.put(tmp_path / "a", DATA)
    whole = MappedFile.__getitem__

    def rotten(mapped, part):
        if part.start < 7 * CHUNK and part.stop > 6 * CHUNK:
            raise Unavailable("input/output error")
        return whole(mapped, part)

    monkeypatch.setattr(MappedFile, "__getitem__", rotten)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        sock = await raw_client(nursery, b, a)
        await sock.send([chunks.encode(Message(Type.GET, MANIFEST.id, tuple(range(5, 10))))])
        given, refused = set(), []
        while len(given) + len(refused) < 5:
            message, data = await answer_and_bytes(sock)
            if message.type is Type.NAK:
                refused += message.chunks
                continue
            (first,) = message.chunks
            assert DATA[first * CHUNK :].startswith(data)
            given.update(range(first, first + len(data) // CHUNK))
        nursery.cancel_scope.cancel()

    assert given == {5, 7, 8, 9}
    assert refused == [6]
    assert len(a.plane._server._uploads) == 0


async def test_what_cannot_be_given_is_charged_to_nobody(sites, tmp_path, monkeypatch):
    """Every third chunk is rotten: who asks gets the others at the pace of the limit, and not at a part of it."""
    a, b, _ = sites
    a.put(tmp_path / "a", DATA)
    charged = Counter()

    class Counted(Flow):
        def take(self, now, node, size):
            charged[node] += size

        def give_back(self, node, size):
            charged[node] -= size

    whole = MappedFile.__getitem__

    def rotten(mapped, part):
        if any(number % 3 == 1 for number in range(part.start // CHUNK, -(-part.stop // CHUNK))):
            raise Unavailable("input/output error")
        return whole(mapped, part)

    monkeypatch.setattr(MappedFile, "__getitem__", rotten)
    a.plane._server._uploads._flow = Counted()
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        sock = await raw_client(nursery, b, a)
        for first in range(0, 41, 10):
            asked = tuple(range(first, min(first + 10, 41)))
            await sock.send([chunks.encode(Message(Type.GET, MANIFEST.id, asked))])
        given, refused = [], []
        while len(given) + len(refused) < 41:
            message, data = await answer_and_bytes(sock)
            (given if data else refused).extend(
                range(message.chunks[0], message.chunks[0] + max(1, len(data) // CHUNK))
            )
        nursery.cancel_scope.cancel()

    assert sorted(refused) == list(range(1, 41, 3))
    assert sorted(given + refused) == list(range(41))
    assert charged[b.id] == len(DATA)  # the no for a chunk is asked for as well, and counts as one


async def test_a_limit_on_what_goes_up_holds_within_a_row(sites, tmp_path):
    """What follows travels along only if it may go now."""
    a, b, _ = sites
    a.plane._server._uploads._flow = Flow(4 * CHUNK)  # so much at once, and a second later as much again
    a.put(tmp_path / "a", DATA)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        sock = await raw_client(nursery, b, a)
        await sock.send([chunks.encode(Message(Type.GET, MANIFEST.id, tuple(range(5, 11))))])
        got = [await answer_and_bytes(sock) for _ in range(2)]
        nursery.cancel_scope.cancel()

    assert [(message.chunks, len(data)) for message, data in got] == [((5,), 3 * CHUNK), ((8,), CHUNK)]


async def test_cancelled_chunks_are_not_sent_and_an_asker_that_leaves_is_forgotten(sites, tmp_path):
    a, b, c = sites
    a.put(tmp_path / "a", DATA)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        sock = await raw_client(nursery, b, a)
        for first in (0, 16):
            await sock.send([chunks.encode(Message(Type.GET, MANIFEST.id, tuple(range(first, first + 16))))])
        await until(lambda: a.asks.count(b.id) == 2)
        sock.close()
        await until(lambda: not a.plane._server._senders)
        assert len(a.plane._server._uploads) == 0
        assert await fetched(c, MANIFEST, [a]) == DATA
        nursery.cancel_scope.cancel()

    assert a.plane._server._turns == {}


async def test_a_file_that_is_gone_or_another_size_and_a_shelf_that_crashes_are_a_no(sites, tmp_path):
    a, _, c = sites
    a.put(tmp_path / "short", DATA[:-1], manifest=MANIFEST)
    gone = a.put(tmp_path / "gone", b"gone")
    (tmp_path / "gone").unlink()
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        for manifest in (MANIFEST, gone):
            with pytest.raises(Unavailable, match="does not offer the file"):
                await fetched(c, manifest, [a])
        a.offered = None  # the plane keeps the method it was given
        a.shelf = None
        with pytest.raises(Unavailable, match="does not offer the file"):
            await fetched(c, MANIFEST, [a])
        nursery.cancel_scope.cancel()

    assert a.links.counted["data-crashed"] == 1
    assert a.links.counted["data-not-here"] == 2


async def test_a_file_that_is_cut_while_it_is_mapped_is_doubted_and_ends_no_node(sites, tmp_path):
    a, b, c = sites
    for site in (a, b):
        site.put(tmp_path / site.id.hex(), DATA)
    sink, doubted, offered = Sink(MANIFEST.size), [], b.plane._server._offered
    b.plane.doubted_by(doubted.append)

    def cut(
        node, ident
    ):  # asked once more for each GET, when the file is mapped and nothing of it is on its way
        if b.asks:
            os.truncate(tmp_path / b.id.hex(), 0)
        return offered(node, ident)

    b.plane._server._offered = cut
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        with trio.fail_after(40):
            await c.plane.fetch(MANIFEST, [a.id, b.id], sink.write)
        nursery.cancel_scope.cancel()

    assert bytes(sink.data) == DATA
    assert c.counters.liars == {}
    assert set(doubted) == {MANIFEST.sha256}


async def test_a_source_that_takes_its_offer_back_in_the_middle_is_left_for_another(sites, tmp_path):
    a, b, c = sites
    for site in (a, b):
        site.put(tmp_path / site.id.hex(), DATA)
    sink = Sink(MANIFEST.size)

    def write(offset, data):
        sink.write(offset, data)
        b.shelf.clear()

    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        with trio.fail_after(40):
            await c.plane.fetch(MANIFEST, [a.id, b.id], write)
        nursery.cancel_scope.cancel()

    assert bytes(sink.data) == DATA
    assert c.counters.liars == {}


async def test_connections_that_are_closed_while_they_are_made_stop_nobody_else(sites, tmp_path):
    """The I/O threads once blocked for ever on the monitor of a socket closed too early."""
    a, _, c = sites
    a.put(tmp_path / "a", DATA)
    nowhere = "tcp://198.51.100.1:9"  # TEST-NET-2: a dial there hangs or fails
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        for hwm in (4, 32) * 10:  # both I/O threads
            for socket in c.links.client(a.id, nowhere, frame_bytes=1000, hwm=hwm):
                socket.close()
        assert await fetched(c, MANIFEST, [a]) == DATA
        nursery.cancel_scope.cancel()

    assert c.counters.chunks_received == MANIFEST.count


# -- the caller --


async def test_what_the_callers_write_raises_ends_the_transfer_and_reaches_the_caller_bare(sites, tmp_path):
    a, _, c = sites
    a.put(tmp_path / "a", DATA)

    def full(offset, data):
        raise OSError(28, "No space left on device")

    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        with bounded(), pytest.raises(OSError, match="No space"):
            await c.plane.fetch(MANIFEST, [a.id], full)
        assert await fetched(c, MANIFEST, [a]) == DATA
        nursery.cancel_scope.cancel()

    assert c.counters.chunks_received == MANIFEST.count


async def test_a_cancelled_transfer_leaves_nothing_behind_and_the_next_one_goes_over_the_same_line(
    sites, tmp_path
):
    a, _, c = sites
    a.put(tmp_path / "a", DATA)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        assert await fetched(c, MANIFEST, [a]) == DATA
        line = await c.plane.lines.line(a.id)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            with trio.CancelScope() as scope:
                await c.plane.fetch(MANIFEST, [a.id], lambda *_, scope=scope: scope.cancel())
            assert scope.cancelled_caught
        assert len(os.listdir("/proc/self/fd")) <= before
        assert not line.busy
        assert await fetched(c, MANIFEST, [a]) == DATA
        assert await c.plane.lines.line(a.id) is line
        nursery.cancel_scope.cancel()

    assert c.counters.liars == {}


async def test_nobody_to_ask_is_said_at_once_and_a_node_never_asks_itself(sites):
    a, b, c = sites
    async with trio.open_nursery() as nursery:
        await start(nursery, a, c)
        for sources in ([], [c]):
            with pytest.raises(Unavailable, match="nobody is left to ask"):
                await fetched(c, MANIFEST, sources)
        with pytest.raises(Unavailable, match="is not connected"):
            await c.plane.manifest(MANIFEST.id, [b.id])
        nursery.cancel_scope.cancel()

    with pytest.raises(ValueError, match="no data socket"):
        await DataPlane(Node(pairs_by_id(1)[0]).links, lambda *_: None).run()


def test_mapped_files_are_bounded_and_a_view_outlives_its_map(tmp_path):
    maps = Maps(most=2)
    kept = []
    for i in range(5):
        data = bytes([i]) * (i + 1)
        path = tmp_path / str(i)
        path.write_bytes(data)
        manifest = Manifest.of([data])
        found, view = maps.get(manifest.id, Served(manifest.encode(), path))
        assert found == manifest
        kept.append(view[:1])
        path.unlink()

    assert len(maps) == 2
    assert [bytes(view)[0] for view in kept] == [0, 1, 2, 3, 4]
    maps.drop(manifest.id)
    assert len(maps) == 1


def test_a_file_that_went_and_came_again_is_mapped_anew(tmp_path):
    maps, path = Maps(), tmp_path / "file"
    manifest = Manifest.of([b"whole bytes"])
    served = Served(manifest.encode(), path)
    path.write_bytes(b"whole bytfs")
    assert bytes(maps.get(manifest.id, served)[1][:]) == b"whole bytfs"
    path.unlink()
    path.write_bytes(b"whole bytes")
    maps.forget(bytes(32))
    assert len(maps) == 1
    maps.forget(manifest.sha256)
    assert len(maps) == 0
    assert bytes(maps.get(manifest.id, served)[1][:]) == b"whole bytes"


async def test_a_connection_that_takes_nothing_for_long_is_given_up(sites, tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "STALLED_S", 0.2)
    odd = []
    a, b, _ = sites
    big = tmp_path / "big"
    data = DATA * 3
    manifest = a.put(big, data)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        deaf = await raw_client(nursery, b, a)
        a.counters.on_odd = lambda *told: odd.append(told)

        async def insist():  # until every buffer on the way is full
            for round_ in range(2000):
                first = 16 * (round_ % 7)
                ask = Message(Type.GET, manifest.id, tuple(range(first, first + 16)))
                await deaf.send([chunks.encode(ask)])
                await trio.sleep(0.005)

        nursery.start_soon(insist)
        await until(lambda: a.links.counted["data-asker-gone"] >= 1)
        nursery.cancel_scope.cancel()

    assert a.counters.chunks_sent < 1000
    assert odd[0] == (b.id, "takes nothing of what it asked for")
