"""What may still come over a connection whose line was given up: as much as was asked, and no more."""

import importlib.util
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from pyrsia.errors import Malformed, Unavailable
from pyrsia.mesh.scores import RATE
from pyrsia.net import datalinks
from pyrsia.net.data import DataPlane
from pyrsia.net.lines import RANGES_AT_ONCE, Line
from pyrsia.transfer.buckets import Flow
from pyrsia.units import Limit

sys.path.insert(0, str(Path(__file__).parent))
from nodes import Node, pairs_by_id
from test_data import DATA, MANIFEST, Sink, Site, fetched, start
from test_datalinks import through_a_proxy

from tests.reference.waiting import until

assert importlib.util.find_spec("nodes")


class Nobody:
    """Who talks over a line and hears nothing more."""

    def lost(self, node, why, *, guilty):
        pass


class Pipe:
    def send_now(self, parts):
        return True


async def test_a_line_that_ends_says_how_many_answers_may_still_come():
    line = Line(b"n" * 32, b"c1", Pipe(), b"r", lambda line: None)
    talk = line.talk(b"m" * 32, Nobody())
    talk.want_manifest()
    talk.want_have()  # and whom else to ask
    talk.get((1, 2, 3))
    line.range_listeners[b"m" * 32] = Nobody()
    line.end("the control link is gone")
    assert line.late == 1 + 2 + 3 + RANGES_AT_ONCE

    again = Line(b"n" * 32, b"c1", Pipe(), b"r", lambda line: None)
    again.expect_no_more(line.late)
    for _ in range(line.late):
        again.take_chunk(b"m" * 32, 1, memoryview(b""))
    with pytest.raises(Malformed, match="nobody asked"):
        again.take_chunk(b"m" * 32, 1, memoryview(b""))


async def test_answers_over_a_connection_whose_line_was_given_up_are_nobodys_fault(tmp_path):
    """c can only dial out; its control link is gone for a moment while its file comes."""
    a, _, c = sites = [Site(pair) for pair in pairs_by_id(3)]
    manifest, sink = c.put(tmp_path / "c", DATA), Sink(MANIFEST.size)
    sees, flapped = a.links.data_address, []
    a.links.data_address = lambda node: "" if node == c.id else sees(node)

    def write(offset, data):
        sink.write(offset, data)
        if len(sink.seen) == 5:
            for line in list(a.plane.lines._held.values()):
                flapped.append(line.key)
                a.plane.lines._forget(line, "it has no control link")

    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        proxy = await through_a_proxy(nursery, c, a)
        proxy.there.bytes_s, proxy.there.latency_s = 20e6, 0.3
        with trio.fail_after(30):
            await a.plane.fetch(manifest, [c.id], write)
        await until(lambda: not a.plane.lines._late)
        nursery.cancel_scope.cancel()

    assert flapped
    assert bytes(sink.data) == DATA
    assert a.links.counted["data-malformed"] == 0


@pytest.mark.parametrize("guest", [True, False])
async def test_lines_over_which_guests_are_given_something_make_room_for_our_own_fetches(
    tmp_path, monkeypatch, guest
):
    """b asks to be dialled, and fetches slowly over that line, the only one that a may dial."""
    monkeypatch.setattr(datalinks, "MAX_LINES", Limit(1, "as 64 of 64"))
    a, b, c = sites = [Site(pair) for pair in pairs_by_id(3)]
    a.plane._server._uploads._flow = Flow(300_000)
    a.put(tmp_path / "a", DATA)
    small = c.put(tmp_path / "c", DATA[:1_000])
    a.links.guest = lambda node: guest and node == b.id
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        sees = b.links.data_address
        b.links.data_address = lambda node: "" if node == a.id else sees(node)
        nursery.start_soon(slowly, b, a)
        lines = a.plane.lines
        await until(lambda: b.id in lines._dialled and lines._serves(lines._dialled[b.id].key))
        lines._serves = lambda key: True  # it always asks for more
        if guest:
            assert await fetched(a, small, [c]) == DATA[:1_000]
        else:
            with pytest.raises(Unavailable, match="too many data links"):
                await fetched(a, small, [c])
        nursery.cancel_scope.cancel()


async def slowly(site, source):
    with suppress(Unavailable):
        await site.plane.fetch(MANIFEST, [source.id], lambda offset, data: None)


async def test_those_who_ask_to_be_dialled_have_half_of_the_places_and_a_member_comes_before_guests(
    monkeypatch,
):
    monkeypatch.setattr(datalinks, "MAX_ASKED", Limit(1, "as 32"))
    a, b, c = sites = [Site(pair) for pair in pairs_by_id(3)]
    guests = {b.id}
    a.links.guest = guests.__contains__
    lines = a.plane.lines
    async with trio.open_nursery() as nursery:
        await start(nursery, *sites)
        await b.links.request(a.id, datalinks.METHOD, datalinks.DIAL_ME, 3)
        await until(lambda: b.id in lines._dialled)
        lines._serves = lambda key: True
        await c.links.request(a.id, datalinks.METHOD, datalinks.DIAL_ME, 3)
        await until(lambda: c.id in lines._dialled)
        assert set(lines._dialled) == lines._askers == {c.id}
        with pytest.raises(Unavailable, match="too many data links"):
            lines._room(b.id)
        nursery.cancel_scope.cancel()


def test_what_an_honest_node_does_now_and_then_costs_it_a_point_with_the_reason():
    told = []
    plane = DataPlane(
        Node(pairs_by_id(1)[0], data="tcp://127.0.0.1:*").links,
        lambda *_: None,
        blame=lambda *given: told.append(given),
    )
    plane.counters.on_odd(b"n" * 32, "takes nothing of what it asked for")
    assert told == [(b"n" * 32, RATE, "takes nothing of what it asked for")]
