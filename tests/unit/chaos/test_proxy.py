"""The chaos proxy does what it says: the tests that lean on it would else test nothing."""

import contextlib

import pytest
import trio
from trio.testing import MockClock

from tests.chaos.proxy import Proxy
from tests.reference.waiting import bounded


@contextlib.asynccontextmanager
async def an_echo_behind_a_proxy():
    """A proxy before a server that sends everything back."""

    async def echo(stream):
        with contextlib.suppress(trio.BrokenResourceError):
            async for data in stream:
                await stream.send_all(data)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, echo, listeners)
        proxy = Proxy(listeners[0].socket.getsockname()[1])
        await nursery.start(proxy.run)
        yield proxy
        nursery.cancel_scope.cancel()


async def ask(proxy, data, stream=None):
    """What comes back for `data`."""
    if stream is None:
        async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
            return await ask(proxy, data, stream)
    back = b""
    with bounded():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, data)
            while len(back) < len(data):
                piece = await stream.receive_some()
                if not piece:
                    raise trio.BrokenResourceError
                back += piece
    return back


async def test_fair_weather_changes_nothing():
    async with an_echo_behind_a_proxy() as proxy:
        data = bytes(range(256)) * 4_000
        assert await ask(proxy, data) == data
        assert proxy.there.passed == proxy.back.passed == len(data)


async def test_one_bit_of_one_byte_is_flipped():
    async with an_echo_behind_a_proxy() as proxy:
        proxy.there.corrupt_at = 70_000
        data = bytes(100_000)
        back = await ask(proxy, data)
        assert [at for at, byte in enumerate(back) if byte] == [70_000]
        assert back[70_000] == 1


async def test_latency_and_bandwidth_take_their_time():
    async with an_echo_behind_a_proxy() as proxy:
        proxy.there.latency_s, proxy.back.latency_s = 0.05, 0.03
        began_s = trio.current_time()
        await ask(proxy, b"x")
        assert trio.current_time() - began_s >= 0.08
        proxy.there.bytes_s = 1_000_000
        began_s = trio.current_time()
        await ask(proxy, bytes(100_000))
        assert trio.current_time() - began_s >= 0.18


async def test_connections_share_one_cable():
    async with an_echo_behind_a_proxy() as proxy:
        proxy.there.bytes_s = 1_000_000
        began_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(ask, proxy, bytes(50_000))
        assert trio.current_time() - began_s >= 0.2


async def test_a_cut_resets_and_refuses_until_it_is_mended():
    async with an_echo_behind_a_proxy() as proxy, contextlib.AsyncExitStack() as stack:
        stream = await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", proxy.port))
        assert await ask(proxy, b"before", stream) == b"before"
        proxy.cut()
        for broken in (stream, None):
            with pytest.raises(BaseExceptionGroup) as raised:
                await ask(proxy, b"lost", broken)
            assert raised.group_contains(trio.BrokenResourceError)
        proxy.mend()
        assert await ask(proxy, b"after") == b"after"


async def test_what_is_held_waits_and_then_goes_on():
    async with an_echo_behind_a_proxy() as proxy, contextlib.AsyncExitStack() as stack:
        stream = await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", proxy.port))
        assert await ask(proxy, b"before", stream) == b"before"
        proxy.hold()
        await stream.send_all(b"held")
        with trio.move_on_after(0.1) as silence:
            await stream.receive_some()
        assert silence.cancelled_caught
        proxy.mend()
        with bounded():
            assert await stream.receive_some() == b"held"


async def test_a_slow_reader_pushes_back():
    """With a tiny window and bandwidth a sender cannot get rid of its bytes."""
    async with an_echo_behind_a_proxy() as proxy, contextlib.AsyncExitStack() as stack:
        proxy.there.window, proxy.there.bytes_s = 64, 640.0
        stream = await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", proxy.port))
        with trio.move_on_after(0.3) as stuck:
            await stream.send_all(bytes(64 << 20))
        assert stuck.cancelled_caught
        assert proxy.there.passed <= 640


def test_the_cable_keeps_virtual_time_too():
    """Weather is counted on the loop's own clock."""

    async def main():
        proxy = Proxy(1)
        proxy.there.bytes_s = 100.0
        return proxy.there.busy(1_000) - trio.current_time(), proxy.there.busy(1_000) - trio.current_time()

    first, second = trio.run(main, clock=MockClock())
    assert (first, second) == (10.0, 20.0)
