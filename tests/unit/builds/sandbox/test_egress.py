"""The relay between a job's loopback and the node's socket, with both ends in our hands."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from pyrsia.builds.sandbox import egress
from pyrsia.units import SANDBOX_EGRESS_CONNECTIONS
from tests.reference.waiting import bounded


@asynccontextmanager
async def relayed(target: Path) -> AsyncIterator[int]:
    """The port of a relay to `target`; its ear is handed over as the launcher does."""
    here, there = socket.socketpair()
    with here, there, socket.create_server(("127.0.0.1", 0)) as ear:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(egress.relay, here, target)
            socket.send_fds(there, [b"e"], [ear.fileno()])
            yield ear.getsockname()[1]
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def answering(place: Path, answer) -> AsyncIterator[None]:
    with trio.socket.socket(socket.AF_UNIX) as ear:
        await ear.bind(str(place))
        ear.listen(100)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, answer, [trio.SocketListener(ear)])
            yield
            nursery.cancel_scope.cancel()


async def echo(stream: trio.SocketStream) -> None:
    async with stream:
        async for piece in stream:
            await stream.send_all(piece)
        await stream.send_eof()


async def test_bytes_pass_both_ways_and_each_side_may_end_first(tmp_path: Path):
    sent = bytes(range(256)) * 4096
    with bounded():
        async with answering(tmp_path / "s", echo), relayed(tmp_path / "s") as port:
            async with await trio.open_tcp_stream("127.0.0.1", port) as one, trio.open_nursery() as nursery:
                got = b""

                async def say() -> None:
                    await one.send_all(sent)
                    await one.send_eof()

                nursery.start_soon(say)
                async for piece in one:
                    got += piece

    assert got == sent


async def test_no_more_connections_are_served_at_once_than_the_bound(tmp_path: Path):
    bound = int(SANDBOX_EGRESS_CONNECTIONS.value)
    opened: list[int] = []

    async def count(stream: trio.SocketStream) -> None:
        opened.append(1)
        await echo(stream)

    with bounded():
        async with answering(tmp_path / "s", count), relayed(tmp_path / "s") as port:
            streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(bound + 1)]
            for one in streams:
                await one.send_all(b"x")
            for one in streams[:bound]:
                assert await one.receive_some(1) == b"x"
            assert len(opened) == bound
            await streams[0].aclose()

            assert await streams[bound].receive_some(1) == b"x"  # its turn has come

            for one in streams:
                await one.aclose()


@pytest.mark.parametrize("end", ["gone", "closes", "resets"])
async def test_where_the_far_end_is_not_there_the_caller_is_let_go(end: str, tmp_path: Path):
    async def leave(stream: trio.SocketStream) -> None:
        if end == "resets":
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1] + [0] * 7))
        await stream.aclose()

    with bounded():
        async with answering(tmp_path / "s", leave):
            target = tmp_path / ("s" if end != "gone" else "nobody")
            async with relayed(target) as port:
                for _ in range(3):  # and the relay goes on
                    async with await trio.open_tcp_stream("127.0.0.1", port) as one:
                        try:
                            said = await one.receive_some(1)
                        except trio.BrokenResourceError:
                            said = b""
                        assert said == b""


async def test_a_launcher_that_ends_before_it_listens_ends_the_relay(tmp_path: Path):
    here, there = socket.socketpair()
    with here, bounded():
        there.close()
        await egress.relay(here, tmp_path / "s")

    assert here.fileno() == -1
