"""Who connects and becomes nobody is shut out again; who has a link, a data link or a subscription stays."""

import contextlib
import importlib.util
import os
import sys
from pathlib import Path

import pytest
import trio
import zmq

from pyrsia import keys
from pyrsia.net import loitering
from pyrsia.net.curve import curve_keys, curve_public

sys.path.insert(0, str(Path(__file__).parent))
from nodes import Node, join, pairs_by_id
from test_broadcasting import casters, published_until
from test_data import DATA, MANIFEST, Site, fetched, start

from tests.reference.waiting import bounded, until

assert importlib.util.find_spec("nodes")

ANN, BOB = pairs_by_id(2)


@pytest.fixture
def impatient(monkeypatch):
    """Looks that a test can wait for."""
    monkeypatch.setattr(loitering, "LOOK_S", 0.05)
    monkeypatch.setattr(loitering, "MEET_S", 0.5)


@contextlib.contextmanager
def strangers(node, endpoint, count, kind=zmq.DEALER):
    """Connections with keys made up now, which say nothing."""
    context, socks = zmq.Context(), []
    try:
        for number in range(count):
            sock = context.socket(kind)
            mine = curve_keys(keys.KeyPair(bytes([200, number]) * 16).seed)
            sock.setsockopt(zmq.LINGER, 0)
            sock.setsockopt(zmq.RECONNECT_IVL, -1)
            sock.setsockopt(zmq.CURVE_SERVERKEY, curve_public(node.id))
            sock.setsockopt(zmq.CURVE_PUBLICKEY, mine.public)
            sock.setsockopt(zmq.CURVE_SECRETKEY, mine.secret)
            sock.connect(endpoint)
            socks.append(sock)
        yield
    finally:
        for sock in socks:
            sock.close(linger=0)
        context.term()


def connections(node):
    return node.links.callers._present.total()


async def test_connections_that_never_greet_are_shut_and_those_of_linked_nodes_stay(impatient, tmp_path):
    a, b, c = sites = [Site(pair) for pair in pairs_by_id(3)]
    a.put(tmp_path / "a", DATA)
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        line = await c.plane.lines.line(a.id)
        assert await fetched(c, MANIFEST, [a]) == DATA
        await until(lambda: connections(a))
        with (
            strangers(a, a.links.control_endpoint, 5),
            strangers(a, a.links.data_endpoint, 5),
        ):
            await until(lambda: a.links.counted["loiterer-cut"] >= 10)
            await until(lambda: connections(a) <= 3)
        assert line.alive
        assert a.links.connected(b.id)
        assert a.links.connected(c.id)
        assert a.links.counted["loiterer-cut"] == 10
        nursery.cancel_scope.cancel()


async def test_one_whose_link_was_ended_has_no_connection_soon_after(impatient):
    ann, bob = Node(ANN), Node(BOB)
    async with trio.open_nursery() as nursery:
        await join(nursery, ann, bob)
        await until(lambda: connections(ann) == 1)
        for conn in [*ann.links._peers.inbound.values()]:
            ann.links._peers.lose(conn)
        await until(lambda: ann.links.counted["loiterer-cut"] == 1)
        await until(lambda: ann.links.connected(bob.id))  # and it comes again
        assert ann.links.counted["loiterer-cut"] == 1
        nursery.cancel_scope.cancel()


async def test_an_address_that_has_as_many_connections_as_one_may_have_gets_no_more(monkeypatch):
    ann, bob = Node(ANN), Node(BOB)
    async with trio.open_nursery() as nursery:
        await join(nursery, ann, bob)
        monkeypatch.setattr(ann.links.callers, "_most", 4)
        with strangers(ann, ann.links.control_endpoint, 8):
            await until(lambda: ann.links.counted["connect-too-many"] >= 1)
            assert ann.links.callers._came["127.0.0.1"] <= 4
        assert ann.links.connected(bob.id)
        nursery.cancel_scope.cancel()


async def test_where_no_descriptor_is_left_to_look_with_loiterers_are_found_all_the_same(
    impatient, monkeypatch
):
    ann = Node(ANN)

    def no(*path):
        raise OSError(24, "Too many open files")

    async with trio.open_nursery() as nursery:
        await nursery.start(ann.links.run)
        with strangers(ann, ann.links.control_endpoint, 2), monkeypatch.context() as patched:
            # A million of them takes half a second to look through, and a look rests fifty times as long as it took.
            most = 100 + max(int(name) for name in os.listdir("/proc/self/fd"))
            patched.setattr(loitering.resource, "getrlimit", lambda which: (most, most))
            patched.setattr(loitering.os, "listdir", no)
            patched.setattr(loitering.os, "dup", no)
            await until(lambda: ann.links.counted["loiterer-cut"] == 2)
        await until(lambda: connections(ann) == 0)
        assert ann.links.counted["loiterer-cut"] == 2
        nursery.cancel_scope.cancel()


async def test_who_connects_for_broadcasts_and_is_granted_none_is_shut_out(impatient):
    async with casters(2) as (ann, bob):
        bob.air.follow([ann.id])
        await published_until(ann, lambda: bob.got)
        with strangers(ann, ann.links.broadcast_endpoint, 3, zmq.SUB):
            await until(lambda: ann.links.counted["loiterer-cut"] == 3)
        assert bob.air.following == {ann.id}


async def test_followers_whose_links_stand_are_left_alone(impatient):
    async with casters(3) as (ann, bob, eve):
        for one in (bob, eve):
            one.air.follow([ann.id])
        await published_until(ann, lambda: bob.got and eve.got)
        looks = 0
        with bounded():
            while looks < 20:
                looks += 1
                await trio.sleep(loitering.LOOK_S)
                assert ann.air.publish("news/", b"on")
        assert ann.links.counted["loiterer-cut"] == 0
        assert bob.air.following == eve.air.following == {ann.id}
