"""A connection that sends frames without end and never a last one is cut; one that is busy is not."""

import errno
import importlib.util
import struct
import sys
from pathlib import Path

import pytest
import trio
import zmq

from pyrsia.errors import Unavailable
from pyrsia.net import datalinks, hoarding
from pyrsia.units import Limit

sys.path.insert(0, str(Path(__file__).parent))
from nodes import pairs_by_id
from test_data import DATA, MANIFEST, Site, fetched, start
from test_datalinks import plain

from tests.reference.waiting import until

assert importlib.util.find_spec("nodes")

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + bytes(32)
READY = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
PART = b"\x03" + struct.pack(">Q", 1 << 20) + bytes(1 << 20)  # a frame of 1 MiB; more follow


@pytest.fixture
def watchful(monkeypatch):
    """Limits that a test reaches."""
    monkeypatch.setattr(hoarding, "GROWN_BYTES", Limit(-(1 << 60), "always"))
    monkeypatch.setattr(hoarding, "UNHEARD_BYTES", Limit(8 << 20, "a test"))
    monkeypatch.setattr(hoarding, "LOOK_S", 0.02)
    monkeypatch.setattr(hoarding, "WATCH_S", 0.02)


async def endlessly(stream, sent):
    while True:
        await stream.send_all(PART)
        sent.append(len(PART))


async def test_a_message_without_end_is_cut_off_and_a_transfer_beside_it_is_not(watchful, tmp_path):
    a, b, c = sites = [Site(pair) for pair in pairs_by_id(3)]
    plain(a)
    a.put(tmp_path / "a", DATA)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        stream = await trio.open_tcp_stream("127.0.0.1", int(a.links.plain_endpoint.rpartition(":")[2]))
        await stream.send_all(GREETING + b"\x04" + bytes([len(READY)]) + READY)
        sent = []
        with trio.fail_after(30), pytest.raises(trio.BrokenResourceError):
            await endlessly(stream, sent)
        assert a.links.counted["hoarder-cut"] == 1
        assert await fetched(c, MANIFEST, [a]) == DATA
        await stream.aclose()
        nursery.cancel_scope.cancel()

    assert len(sent) >= 8
    assert [up for node, up in a.events if node == b.id] == [True, False]  # the last one: the end of the test


async def test_a_connection_of_which_messages_come_is_never_cut_however_much_it_carries(watchful, tmp_path):
    a, _, c = sites = [Site(pair) for pair in pairs_by_id(3)]
    c.put(tmp_path / "c", DATA)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        line = await c.plane.lines.line(a.id)  # so a asks, and chunks come to its port
        await until(lambda: len(a.plane.lines) == 1)
        for _ in range(4):
            assert await fetched(a, MANIFEST, [c]) == DATA
        assert line.alive
        nursery.cancel_scope.cancel()

    assert a.links.counted["hoarder-cut"] == c.links.counted["hoarder-cut"] == 0


def test_where_no_descriptor_is_left_to_look_with_nobody_is_seen_and_nothing_raised(monkeypatch):
    def no(path):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(hoarding.os, "listdir", no)
    assert list(hoarding._connections([1])) == []


# -- no descriptor left --


async def test_who_asks_to_be_dialled_while_no_socket_can_be_opened_is_told_and_the_node_goes_on(
    tmp_path, monkeypatch
):
    a, _, c = sites = [Site(pair) for pair in pairs_by_id(3)]
    a.put(tmp_path / "a", DATA)

    def none_left(*args):
        raise zmq.ZMQError(errno.EMFILE)

    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        with monkeypatch.context() as patched:
            patched.setattr(zmq.Context, "socket", none_left)
            await c.links.request(a.id, datalinks.METHOD, datalinks.DIAL_ME, 3)
            await until(lambda: a.links.counted["no-socket"])
            for dial in (a.links.subscriber, lambda *to: a.links.client(*to, frame_bytes=1, hwm=1)):
                with pytest.raises(Unavailable, match="cannot dial"):
                    dial(c.id, "tcp://127.0.0.1:1")
            with pytest.raises(Unavailable, match="cannot dial"):
                await a.links.answers_at(c.id, "tcp://127.0.0.1:1")
        assert a.plane.lines._nursery is not None
        assert await fetched(c, MANIFEST, [a]) == DATA
        nursery.cancel_scope.cancel()
