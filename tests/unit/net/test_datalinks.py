"""One data connection for a pair of nodes: kept, shared by files and directions, made anew, plain by ticket only."""

import contextlib
import importlib.util
import sys
from pathlib import Path

import pytest
import trio
import zmq

from pyrsia.errors import Unavailable
from pyrsia.mesh.scores import FAULT, LIE
from pyrsia.net import datalinks, serving
from pyrsia.net.lines import HELLO, LINE_CHUNKS, hello
from pyrsia.net.zsock import ZSock
from pyrsia.transfer import swarm
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import CHUNK_BYTES, Limit
from pyrsia.wire import chunks
from pyrsia.wire.chunks import Message, Type
from tests.chaos.proxy import Proxy

sys.path.insert(0, str(Path(__file__).parent))
from nodes import join, pairs_by_id
from test_data import DATA, MANIFEST, Sink, Site, answer, fetched, raw_client, start

from tests.reference.waiting import bounded, until

assert importlib.util.find_spec("nodes")

CHUNK = CHUNK_BYTES.value
SMALL = DATA[:1000]


@pytest.fixture
def sites():
    return [Site(pair) for pair in pairs_by_id(3)]


def plain(*sites):
    """Make them bind for plain connections too."""
    for site in sites:
        site.links._plain_addr = "tcp://127.0.0.1:*"


def keys_of(site):
    """The lines that others dialled: `c` and `p` tell encrypted and plain ones."""
    return [key[:1] for key in site.plane.lines._held]


async def brought(site, manifest, source):
    """A file as the shelf brings it: its manifest, then its chunks."""
    with bounded():
        found = await site.plane.manifest(manifest.id, [source.id])
    return await fetched(site, found, [source])


# -- kept --


async def test_files_after_one_another_and_at_once_go_over_one_connection(sites, tmp_path):
    a, _, c = sites
    parts = [DATA[i : i + 2 * CHUNK] for i in range(12)]
    manifests = [a.put(tmp_path / str(i), part) for i, part in enumerate(parts)]
    got = {}

    async def bring(i):
        got[i] = await brought(c, manifests[i], a)

    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        await bring(0)
        line = await c.plane.lines.line(a.id)
        async with trio.open_nursery() as fetching:
            for i in range(1, 12):
                fetching.start_soon(bring, i)
        assert await c.plane.lines.line(a.id) is line
        assert (len(c.plane.lines), len(a.plane.lines)) == (1, 1)
        nursery.cancel_scope.cancel()

    assert [got[i] for i in range(12)] == parts


async def test_a_small_file_takes_one_ask_for_its_manifest_and_its_chunk(sites, tmp_path):
    a, _, c = sites
    manifest = a.put(tmp_path / "a", SMALL)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        assert await brought(c, manifest, a) == SMALL
        nursery.cancel_scope.cancel()

    assert a.asks == [c.id, c.id]
    assert a.counters.chunks_sent == c.counters.chunks_received == 1


async def test_a_check_of_a_chunk_tells_a_yes_a_no_and_no_word_apart(sites, tmp_path, monkeypatch):
    a, b, c = sites
    a.put(tmp_path / "a", DATA)
    b.put(tmp_path / "b", bytes(len(DATA)), manifest=MANIFEST)
    said = []

    async def ask(site, wait_s=10.0):
        said.append(await c.plane.gives(MANIFEST, site.id, 3, wait_s))

    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        for _ in range(c.plane._slots.total_tokens):  # downloads of our own are nobody's silence
            c.plane._slots.acquire_on_behalf_of_nowait(object())
        await ask(a)
        await ask(b)
        a.shelf.clear()
        await ask(a)
        monkeypatch.setattr(b.plane._server._uploads, "push", lambda *item: False)
        await ask(b, 0.05)
        c.links.ban(b.id, "test")
        await ask(b, 0.05)
        assert await fetched_none(c)
        nursery.cancel_scope.cancel()

    assert said == [True, False, False, None, None]
    assert c.counters.liars == {}


def dropped(site, by):
    """The other end forgets the lines that `site` dialled."""
    for line in [line for line in by.plane.lines._held.values() if line.node == site.id]:
        by.plane.lines._forget(line, "test")


async def test_a_plain_line_that_the_other_end_forgot_costs_one_wait_and_no_source(
    sites, tmp_path, monkeypatch
):
    monkeypatch.setattr(swarm, "OPEN_S", 0.7)
    a, _, c = sites
    plain(a, c)
    a.put(tmp_path / "a", DATA)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        assert await fetched(c, MANIFEST, [a]) == DATA
        dropped(c, a)
        assert await fetched(c, MANIFEST, [a]) == DATA
        assert keys_of(a) == [b"p"]
        nursery.cancel_scope.cancel()

    assert c.counters.liars == {}


@pytest.mark.parametrize("clear", [False, True])
async def test_who_can_only_dial_out_is_dialled_by_again_when_its_line_was_forgotten(sites, tmp_path, clear):
    a, _, c = sites
    if clear:
        plain(a, c)
    manifest = c.put(tmp_path / "c", DATA)
    sees = a.links.data_address
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        a.links.data_address = lambda node: "" if node == c.id else sees(node)
        for _ in range(3):
            assert await fetched(a, manifest, [c]) == DATA
            dropped(c, a)
        nursery.cancel_scope.cancel()

    assert a.counters.liars == {}


async def test_a_control_link_that_breaks_for_a_moment_costs_no_line(sites, tmp_path, monkeypatch):
    monkeypatch.setattr(datalinks, "SWEEP_S", 0.02)
    monkeypatch.setattr(datalinks, "UNLINKED_S", 60.0)  # a moment, however long this process stands still
    a, _, c = sites
    plain(a, c)
    a.put(tmp_path / "a", DATA)
    real, away = a.links.connected, set()
    monkeypatch.setattr(a.links, "connected", lambda node: node not in away and real(node))
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        assert await fetched(c, MANIFEST, [a]) == DATA
        (line,) = a.plane.lines._held.values()
        away.add(c.id)
        (mine,) = c.plane.lines._dialled.values()
        mine.post(chunks.encode(Message(Type.WANT_HAVE, MANIFEST.id)))
        await until(lambda: a.links.counted["data-stranger"])
        assert line.alive
        away.clear()
        assert await fetched(c, MANIFEST, [a]) == DATA
        assert line.alive
        monkeypatch.setattr(datalinks, "UNLINKED_S", 0.05)
        away.add(c.id)
        await until(lambda: not line.alive)
        nursery.cancel_scope.cancel()


async def test_where_the_plain_port_is_closed_files_come_over_the_other_one(sites, tmp_path, monkeypatch):
    monkeypatch.setattr(swarm, "OPEN_S", 0.3)
    a, _, c = sites
    plain(a, c)
    a.put(tmp_path / "a", DATA)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        nothing = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = nothing[0].socket.getsockname()[1]
        await nothing[0].aclose()

        async def ticket(node, address):
            return bytes(32), f"tcp://127.0.0.1:{port}"

        monkeypatch.setattr(c.plane.lines, "_ticket", ticket)
        assert await fetched(c, MANIFEST, [a]) == DATA
        assert keys_of(a) == [b"c"]
        nursery.cancel_scope.cancel()


async def fetched_none(site):
    """Whether no check waits for anything any more."""
    await until(lambda: not any(line.busy for line in site.plane.lines._dialled.values()))
    return True


async def test_a_manifest_that_nobody_fetches_for_keeps_no_line_busy(sites, tmp_path):
    a, _, c = sites
    manifests = [a.put(tmp_path / str(size), DATA[:size]) for size in (0, 1000)]
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        for manifest in manifests:
            with bounded():
                assert await c.plane.manifest(manifest.id, [a.id]) == manifest
        line = await c.plane.lines.line(a.id)
        await until(lambda: not line.busy)
        for manifest in manifests:
            assert await fetched(c, manifest, [a]) == DATA[: manifest.size]
        nursery.cancel_scope.cancel()

    assert c.counters.chunks_received == a.counters.chunks_sent == 1


async def test_who_goes_away_while_the_first_chunk_is_awaited_leaves_nothing_on_the_line(
    sites, tmp_path, monkeypatch
):
    a, _, c = sites
    a.put(tmp_path / "a", DATA)
    monkeypatch.setattr(a.plane._server, "_queue", lambda line, ask: None)  # a manifest, and never a chunk
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        for _ in range(3):
            manifest = await c.plane.manifest(MANIFEST.id, [a.id])
            with trio.move_on_after(0.05) as gone:
                await c.plane.fetch(manifest, [a.id], lambda offset, data: None)
            assert gone.cancelled_caught
        line = await c.plane.lines.line(a.id)
        assert not line.busy
        assert not any(line._talks.values())
        nursery.cancel_scope.cancel()


async def test_a_line_that_its_holder_ended_is_no_fault_of_who_answers_over_it_still(sites, tmp_path):
    a, _, c = sites
    manifest = c.put(tmp_path / "c", DATA)
    sees, blamed = a.links.data_address, []
    a.plane._blame = lambda node, points, why: blamed.append(why)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        a.links.data_address = lambda node: "" if node == c.id else sees(node)
        proxy = await through_a_proxy(nursery, c, a)
        proxy.there.bytes_s = 20e6
        proxy.there.latency_s = 0.1
        sink, ended = Sink(manifest.size), []

        def write(offset, data):
            sink.write(offset, data)
            if len(sink.seen) == 5 and not ended:
                (line,) = a.plane.lines._held.values()
                ended.append(sum(talk.outstanding for talks in line._talks.values() for talk in talks))
                line.end("the connection takes nothing")

        with trio.fail_after(30):
            await a.plane.fetch(manifest, [c.id], write)
        assert ended[0] > 0  # answers that come after the end
        nursery.cancel_scope.cancel()

    assert blamed == []


async def test_a_first_chunk_that_is_wrong_is_the_senders_fault_and_not_written(sites, tmp_path):
    a, b, c = sites
    manifest = a.put(tmp_path / "a", SMALL)
    b.put(tmp_path / "b", SMALL[:-1] + b"?", manifest=manifest)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        with bounded():
            found = await c.plane.manifest(manifest.id, [b.id])
        assert await fetched(c, found, [b, a]) == SMALL
        nursery.cancel_scope.cancel()

    assert "wrong chunk" in c.counters.liars[b.id]
    assert set(c.counters.received_from) == {a.id}


async def test_a_line_that_nobody_uses_is_closed_and_a_new_one_is_made(sites, tmp_path, monkeypatch):
    monkeypatch.setattr(datalinks, "IDLE_S", 0.2)
    monkeypatch.setattr(datalinks, "SWEEP_S", 0.05)
    a, _, c = sites
    manifest = a.put(tmp_path / "a", SMALL)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        assert await brought(c, manifest, a) == SMALL
        first = await c.plane.lines.line(a.id)
        await until(lambda: len(c.plane.lines) == len(a.plane.lines) == 0)
        assert not first.alive
        assert await brought(c, manifest, a) == SMALL
        nursery.cancel_scope.cancel()

    assert c.counters.liars == {}


async def test_the_line_that_was_idle_longest_makes_room_and_one_in_use_does_not(
    sites, tmp_path, monkeypatch
):
    monkeypatch.setattr(datalinks, "MAX_LINES", Limit(1, "a test"))
    a, b, c = sites
    for site in (a, b):
        site.put(tmp_path / site.id.hex(), DATA)
    refused = []
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        assert await fetched(c, MANIFEST, [a]) == DATA
        first = await c.plane.lines.line(a.id)
        sink = Sink(MANIFEST.size)

        def write(offset, data):
            sink.write(offset, data)
            if len(sink.seen) == 1:
                nursery.start_soon(ask_a)

        async def ask_a():
            try:
                await c.plane.lines.line(a.id)
            except Unavailable as error:
                refused.append(str(error))

        with bounded():
            await c.plane.fetch(MANIFEST, [b.id], write)
        await until(lambda: refused)
        nursery.cancel_scope.cancel()

    assert not first.alive
    assert bytes(sink.data) == DATA
    assert refused == ["too many data links are in use"]


async def test_both_ends_ask_over_the_connection_that_one_of_them_dialled(sites, tmp_path):
    a, _, c = sites
    a.put(tmp_path / "a", DATA)
    other = c.put(tmp_path / "c", DATA[::-1])
    got = {}

    async def bring(site, manifest, source):
        got[site.id] = await fetched(site, manifest, [source])

    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        await bring(c, MANIFEST, a)
        async with trio.open_nursery() as both:
            both.start_soon(bring, c, MANIFEST, a)
            both.start_soon(bring, a, other, c)
        assert not a.plane.lines._dialled
        assert (len(a.plane.lines), len(c.plane.lines)) == (1, 1)
        nursery.cancel_scope.cancel()

    assert got == {c.id: DATA, a.id: DATA[::-1]}


@pytest.mark.parametrize("address", ["", "tcp://127.0.0.1:1"], ids=["none", "nobody listens"])
async def test_a_node_that_can_only_dial_out_serves_over_the_connection_that_it_is_asked_to_make(
    sites, tmp_path, address
):
    a, _, c = sites
    manifest = c.put(tmp_path / "c", DATA)
    a_sees = a.links.data_address
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        a.links.data_address = lambda node: address if node == c.id else a_sees(node)
        assert await fetched(a, manifest, [c]) == DATA
        assert keys_of(a) == [b"c"]
        nursery.cancel_scope.cancel()

    assert a.counters.liars == {}


async def test_a_line_that_breaks_in_the_middle_is_made_anew_and_nothing_is_asked_twice_for_good(
    sites, tmp_path
):
    a, _, c = sites
    a.put(tmp_path / "a", DATA)
    sink, lines = Sink(MANIFEST.size), []
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)

        def write(offset, data):
            sink.write(offset, data)
            if len(sink.seen) == 5:
                lines.append(c.plane.lines._dialled[a.id])
                lines[0].scope.cancel()

        with bounded():
            await c.plane.fetch(MANIFEST, [a.id], write)
        lines.append(await c.plane.lines.line(a.id))
        nursery.cancel_scope.cancel()

    assert bytes(sink.data) == DATA
    assert lines[1] is not lines[0]
    assert c.counters.liars == {}


async def test_a_file_that_is_evicted_while_it_is_given_is_given_to_its_end(sites, tmp_path):
    a, _, c = sites
    a.put(tmp_path / "a", DATA)
    sink = Sink(MANIFEST.size)

    def write(offset, data):
        sink.write(offset, data)
        (tmp_path / "a").unlink(missing_ok=True)

    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        with bounded():
            await c.plane.fetch(MANIFEST, [a.id], write)
        nursery.cancel_scope.cancel()

    assert bytes(sink.data) == DATA


async def test_what_is_asked_over_one_line_is_bounded_whatever_the_files_want(sites):
    a, b, _ = sites
    manifests = [Manifest.of([DATA[i:]]) for i in range(6)]
    async with trio.open_nursery() as nursery:
        await join(nursery, a, b)
        await nursery.start(b.plane.run)
        line = await b.plane.lines.line(a.id)  # a gives nothing: its data links do not run
        talks = [line.talk(manifest.id, None) for manifest in manifests]
        for talk in talks:
            talk.get(tuple(range(40)))
        asked = [len(talk.active) for talk in talks]
        assert sum(asked) == LINE_CHUNKS
        talks[0].cancel(range(40))
        assert sum(len(talk.active) for talk in talks[1:]) > sum(asked[1:])
        for talk in talks:
            talk.close()
        assert not line.busy
        nursery.cancel_scope.cancel()


# -- weather --


async def through_a_proxy(nursery, site, source):
    """A proxy between the two, for data links that `site` dials."""
    proxy = Proxy(int(source.links.data_endpoint.rpartition(":")[2]))
    await nursery.start(proxy.run)
    others = site.links.data_address
    site.links.data_address = lambda node: proxy.address if node == source.id else others(node)
    return proxy


async def test_a_connection_that_is_reset_in_the_middle_is_made_anew(sites, tmp_path):
    a, _, c = sites
    a.put(tmp_path / "a", DATA)
    sink = Sink(MANIFEST.size)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        proxy = await through_a_proxy(nursery, c, a)

        def write(offset, data):
            sink.write(offset, data)
            if len(sink.seen) == 5:
                proxy.cut()
                proxy.mend()

        with bounded():
            await c.plane.fetch(MANIFEST, [a.id], write)
        nursery.cancel_scope.cancel()

    assert bytes(sink.data) == DATA
    assert proxy.connections == 2
    assert c.counters.liars == {}


async def test_a_flipped_bit_breaks_an_encrypted_line_and_is_nobodys_lie(sites, tmp_path):
    a, b, c = sites
    for site in (a, b):
        site.put(tmp_path / site.id.hex(), DATA)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        proxy = await through_a_proxy(nursery, c, a)
        proxy.back.corrupt_at = 300_000
        assert await fetched(c, MANIFEST, [a, b]) == DATA
        nursery.cancel_scope.cancel()

    assert c.counters.liars == {}
    assert c.counters.received_from[b.id] > len(DATA) // 2


async def test_who_reads_a_byte_a_second_is_owed_no_more_than_its_queue_and_delays_nobody(
    sites, tmp_path, monkeypatch
):
    monkeypatch.setattr(serving, "STALLED_S", 0.5)
    a, b, c = sites
    a.put(tmp_path / "a", DATA)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        proxy = await through_a_proxy(nursery, c, a)
        line = await c.plane.lines.line(a.id)
        await until(lambda: len(a.plane.lines) == 1)
        proxy.back.bytes_s, proxy.back.window = 1.0, 1
        for _ in range(12):
            line.ask(Message(Type.GET, MANIFEST.id, tuple(range(16))))
            await trio.sleep(0.01)
        assert a.plane._server._uploads._peers[c.id].queued_items <= 4 * LINE_CHUNKS
        assert await fetched(b, MANIFEST, [a]) == DATA
        await until(lambda: a.links.counted["data-asker-gone"] == 1)
        assert not a.plane._server.serves(line.key)
        nursery.cancel_scope.cancel()

    assert proxy.back.passed < CHUNK


# -- what peers send --


async def babbling(site, reply):
    """Answer every message on the data socket of `site` with what `reply(parts)` gives."""
    with contextlib.suppress(Unavailable):
        while True:
            route, *parts = await site.links.data_router.recv()
            for message in reply([part.bytes for part in parts]):
                await site.links.data_router.send([route, *message])


async def test_the_same_chunk_again_and_again_is_late_once_at_most_and_then_a_fault(sites, tmp_path):
    a, b, c = sites
    a.put(tmp_path / "a", DATA)

    def reply(parts):
        if parts[0][0] == HELLO:
            return
        ask = chunks.decode(parts)
        if ask.type is Type.WANT_HAVE:
            yield [chunks.encode(chunks.have(MANIFEST.id, MANIFEST.count, (1 << MANIFEST.count) - 1))]
        for chunk in ask.chunks if ask.type is Type.GET else ():
            at, size = MANIFEST.span(chunk)
            for _ in range(3):
                yield [chunks.encode(Message(Type.CHUNK, MANIFEST.id, (chunk,))), DATA[at : at + size]]

    async with trio.open_nursery() as nursery:
        await start(nursery, *sites, serve=[a])
        nursery.start_soon(babbling, b, reply)
        assert await fetched(c, MANIFEST, [b, a]) == DATA
        await until(lambda: b.id in c.counters.liars or c.links.counted["data-malformed"])
        nursery.cancel_scope.cancel()

    assert c.counters.chunks_received == MANIFEST.count


def row(first, *numbers):
    """A CHUNK that begins with chunk `first`, and holds the bytes of these."""
    spans = [MANIFEST.span(number) for number in numbers]
    return [chunks.chunk_head(MANIFEST.id, first), b"".join(DATA[at : at + size] for at, size in spans)]


ROWS = {
    "the second one is another": lambda chunk: row(chunk, chunk, (chunk + 2) % 40),
    "nobody asked for what follows": lambda chunk: row(chunk, chunk, *(chunk + 1,) * (chunk < 39)) * 2,
    "four": lambda chunk: row(chunk, *[chunk] * 4),
    "one chunk and a bit": lambda chunk: [chunks.chunk_head(MANIFEST.id, chunk), row(chunk, chunk, 40)[1]],
    "beyond the end": lambda chunk: row(chunk, *range(chunk, min(chunk + 3, 41)), *[0] * max(0, chunk - 38)),
}


@pytest.mark.parametrize("lie", ROWS)
async def test_a_row_that_lies_costs_its_sender_and_not_the_file(sites, tmp_path, lie):
    a, b, c = sites
    a.put(tmp_path / "a", DATA)

    def reply(parts):
        if parts[0][0] == HELLO:
            return
        ask = chunks.decode(parts)
        if ask.type is Type.WANT_HAVE:
            yield [chunks.encode(chunks.have(MANIFEST.id, MANIFEST.count, (1 << MANIFEST.count) - 1))]
        for chunk in ask.chunks if ask.type is Type.GET else ():
            yield ROWS[lie](chunk)

    async with trio.open_nursery() as nursery:
        await start(nursery, *sites, serve=[a])
        nursery.start_soon(babbling, b, reply)
        assert await fetched(c, MANIFEST, [b, a]) == DATA
        await until(lambda: b.id in c.counters.liars or c.links.counted["data-malformed"])
        nursery.cancel_scope.cancel()

    assert c.counters.chunks_received == MANIFEST.count
    assert a.id not in c.counters.liars


async def test_answers_of_a_peer_that_was_not_asked_are_its_fault_and_nobody_elses(sites, tmp_path):
    a, b, c = sites
    a.put(tmp_path / "a", DATA)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        meddler = await raw_client(nursery, b, c)
        for chunk in range(4):
            at, size = MANIFEST.span(chunk)
            await meddler.send(
                [chunks.encode(Message(Type.CHUNK, MANIFEST.id, (chunk,))), DATA[at : at + size]]
            )
        await meddler.send([chunks.encode(Message(Type.NAK, MANIFEST.id))])
        assert await fetched(c, MANIFEST, [a]) == DATA
        await until(lambda: c.links.counted["data-malformed"] == 5)
        nursery.cancel_scope.cancel()

    assert c.counters.liars == {}
    assert set(c.counters.received_from) == {a.id}


ASKS = [
    Message(Type.WANT_MANIFEST, MANIFEST.id),
    Message(Type.WANT_HAVE, MANIFEST.id),
    Message(Type.GET, MANIFEST.id, (0, 1)),
    Message(Type.CANCEL, MANIFEST.id, (0, 1)),
    Message(Type.HAVE, MANIFEST.id, count=41),
    Message(Type.NAK, MANIFEST.id, (1,)),
    Message(Type.BUSY, MANIFEST.id, (1,)),
]


@pytest.mark.parametrize("kind", [ask.type.name for ask in ASKS])
async def test_every_kind_cut_short_too_long_or_in_two_frames_is_counted_and_service_goes_on(
    sites, tmp_path, kind
):
    a, b, c = sites
    a.put(tmp_path / "a", DATA)
    whole = chunks.encode(next(ask for ask in ASKS if ask.type.name == kind))
    bad = [[whole[:-3]], [whole[:1]], [whole + b"???"], [whole, b"more"], [whole, b"", b""]]
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        sock = await raw_client(nursery, b, a)
        for message in bad:
            await sock.send(message)
        await until(lambda: a.links.counted["data-malformed"] == len(bad))
        assert await fetched(c, MANIFEST, [a]) == DATA
        nursery.cancel_scope.cancel()

    assert a.links.connected(b.id) is False or a.links.counted["banned-data-faults"] == 0


@pytest.mark.parametrize("frame", [hello()[:-1], hello() + b"?", bytes((HELLO, 9)) + bytes(32)])
async def test_a_hello_that_is_none_is_counted(sites, frame):
    a, b, _ = sites
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        sock = await raw_client(nursery, b, a)
        await sock.send([frame])
        await until(lambda: a.links.counted["data-malformed"] == 1)
        assert a.links.connected(b.id)
        nursery.cancel_scope.cancel()


async def test_lies_and_garbage_cost_points_with_a_reason(sites, tmp_path):
    a, b, c = sites
    manifest = a.put(tmp_path / "a", SMALL)
    b.put(tmp_path / "b", SMALL[:-1] + b"?", manifest=manifest)
    blamed = []
    c.plane._blame = lambda node, points, why: blamed.append((node, points, why))
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        assert await c.plane.manifest(manifest.id, [b.id]) == manifest
        assert await fetched(c, manifest, [b, a]) == SMALL
        sock = await raw_client(nursery, a, c)
        await sock.send([b"noise"])
        await until(lambda: len(blamed) == 2)
        nursery.cancel_scope.cancel()

    assert [(node, points) for node, points, _ in blamed] == [(b.id, LIE), (a.id, FAULT)]
    assert "wrong chunk 0" in blamed[0][2]
    assert "garbage" in blamed[1][2]


async def test_who_connects_in_a_loop_fills_no_table(sites):
    a, b, _ = sites
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        for _ in range(3 * datalinks.MAX_HELD_OF_NODE.value):
            sock = await raw_client(nursery, b, a)
            await sock.send([chunks.encode(Message(Type.WANT_HAVE, MANIFEST.id))])
            assert (await answer(sock)).type is Type.NAK
            sock.close()
        assert len(a.plane.lines) <= datalinks.MAX_HELD_OF_NODE.value
        nursery.cancel_scope.cancel()


# -- plain --


async def test_two_nodes_that_both_say_so_use_a_plain_connection(sites, tmp_path):
    a, b, c = sites
    plain(a, c)
    for site in (a, b):
        site.put(tmp_path / site.id.hex(), DATA)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        assert await fetched(c, MANIFEST, [a]) == DATA
        assert await fetched(c, MANIFEST, [b]) == DATA
        assert await fetched(b, MANIFEST, [a]) == DATA
        assert (keys_of(a), keys_of(b)) == ([b"p", b"c"], [b"c"])
        a.links.ban(c.id, "test")
        sent = a.counters.chunks_sent
        c.plane.lines._dialled[a.id].ask(Message(Type.GET, MANIFEST.id, (0,)))
        await until(lambda: a.links.counted["data-stranger"])
        assert a.counters.chunks_sent == sent
        nursery.cancel_scope.cancel()


async def plain_client(site, to):
    """A plain connection without any manners of its own."""
    sock, monitor = site.links.client(
        to.id, to.links.plain_endpoint, frame_bytes=chunks.FRAME_BYTES, hwm=32, plain=True
    )
    sock._sock.disable_monitor()
    monitor.close()
    return sock


async def test_a_plain_connection_with_no_a_wrong_or_a_used_ticket_gets_nothing(sites, tmp_path):
    a, b, c = sites
    plain(a, c)
    a.put(tmp_path / "a", SMALL)
    ask = chunks.encode(Message(Type.GET, MANIFEST.id, (0,)))
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        ticket = (await c.links.request(a.id, datalinks.METHOD, datalinks.TICKET, 5))[:32]
        good = await plain_client(c, a)
        await good.send([hello(ticket)])
        await good.send([ask])
        assert (await answer(good)).type is Type.NAK  # it is heard; the file is not there
        heard = len(a.asks)
        for first in (None, hello(), hello(b"x" * 32), hello(ticket), hello(ticket)[:-1]):
            thief = await plain_client(b, a)
            before = a.links.counted["data-stranger"]
            for frame in ([first] if first else []) + [ask]:
                await thief.send([frame])
            sent = 2 if first else 1
            await until(lambda before=before, sent=sent: a.links.counted["data-stranger"] == before + sent)
            with trio.move_on_after(0.02) as waited:
                await thief.recv()
            assert waited.cancelled_caught
            thief.close()
        good.close()
        nursery.cancel_scope.cancel()

    assert len(a.asks) == heard
    assert len(a.plane.lines._tickets) == 0


async def test_a_node_that_is_not_configured_so_gives_no_ticket_and_an_odd_ask_is_a_fault(sites):
    a, b, c = sites
    plain(c)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        assert await c.links.request(a.id, datalinks.METHOD, datalinks.TICKET, 5) == b""
        with pytest.raises(Unavailable):
            await c.links.request(a.id, datalinks.METHOD, b"?", 5)
        nursery.cancel_scope.cancel()

    assert any(name.startswith("bad-data link") for name in a.links.counted)
    assert b.links.plain_endpoint == ""


async def test_the_plain_socket_takes_no_larger_frame_than_the_other(sites, tmp_path):
    a, _, c = sites
    plain(a, c)
    a.put(tmp_path / "a", DATA)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        large = ZSock(c.links._sockets._context.socket(zmq.DEALER))
        large._sock.setsockopt(zmq.LINGER, 0)
        large._sock.connect(a.links.plain_endpoint)
        await large.send([bytes(chunks.FRAME_BYTES + 65)])
        assert await fetched(c, MANIFEST, [a]) == DATA
        large.close()
        nursery.cancel_scope.cancel()

    assert a.links.counted["data-stranger"] == 0
