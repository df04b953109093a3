"""The cable: datagrams of some size from some senders at some rate, and addresses that are none."""

import socket as plain

import pytest
import trio

from pyrsia.errors import Refusal
from pyrsia.net import beacon
from pyrsia.net.beacon import HEARD_OF_ONE, Cable, on_cable, parsed
from pyrsia.wire.beacons import MAX_BEACON_BYTES
from tests.reference.waiting import bounded, until


def free_port():
    with plain.socket(plain.AF_INET, plain.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


async def test_what_one_says_all_on_the_cable_hear():
    port, heard = free_port(), []

    def cable(said):
        return Cable(
            f"127.255.255.255:{port}",
            "127.0.0.1",
            say=lambda: said,
            hear=lambda data, host: heard.append((data, host)),
            pause_s=lambda: 0.05,
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cable(b"one").run)
        nursery.start_soon(cable(b"").run)  # it listens, and has nothing to say
        await until(lambda: heard.count((b"one", "127.0.0.1")) >= 2)
        nursery.cancel_scope.cancel()
    assert {data for data, _ in heard} == {b"one"}


async def test_a_flood_and_what_is_too_long_are_dropped():
    port, heard = free_port(), []
    cable = Cable(
        f"127.255.255.255:{port}",
        "",
        say=lambda: b"",
        hear=lambda *one: heard.append(one),
        pause_s=lambda: 60.0,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cable.run)
        with trio.socket.socket(plain.AF_INET, plain.SOCK_DGRAM) as sock:
            sock.setsockopt(plain.SOL_SOCKET, plain.SO_BROADCAST, 1)
            where = ("127.255.255.255", port)
            await until(lambda: trio.lowlevel.current_statistics().tasks_living > 3)
            with bounded():
                while cable.dropped < 20:
                    await sock.sendto(b"x" * (MAX_BEACON_BYTES + 1), where)
                    await sock.sendto(b"y", where)
                    await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
    assert 0 < len(heard) <= HEARD_OF_ONE
    assert {data for data, _ in heard} == {b"y"}


async def test_a_cable_that_is_not_there_is_said_and_ends_nothing(caplog, monkeypatch):
    async def refuse(cable, sock):
        raise OSError("no such device")

    monkeypatch.setattr(beacon, "AGAIN_S", 0.01)
    monkeypatch.setattr(Cable, "_bind", refuse)
    cable = Cable("192.0.2.255:9", "", say=lambda: b"x", hear=lambda *_: None, pause_s=lambda: 0.01)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cable.run)
        await until(lambda: caplog.text.count("no beacon on 192.0.2.255: no such device") >= 2)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "text", ["", "239.255.77.77", "239.255.77.77:0", "x:1", "[ff02::1]:1", "1.2.3.4:70000"]
)
def test_an_address_that_is_none_is_refused_in_words(text):
    with pytest.raises(Refusal, match="no address for a beacon"):
        parsed(text)
    assert parsed("239.255.77.77:44003")[1] == 44_003


def test_what_is_on_a_cable_says_the_system():
    assert on_cable("127.0.0.1")
    assert not on_cable("240.0.0.1")  # nobody's
    assert not on_cable("no address")
