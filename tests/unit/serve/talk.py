"""A server of any application for the time of a block, and clients that say exactly what a test wants said."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from pyrsia.serve.http.server import App, HttpLimits, Listener, Server, listen_tcp, serve
from tests.reference.waiting import bounded

DEFAULT = HttpLimits()


@asynccontextmanager
async def serving(
    app: App, *more: Listener, limits: HttpLimits = DEFAULT, own: Listener | None = None
) -> AsyncIterator[Server]:
    """A server of `app` on a free port, or on `own`; nothing of it survives the block."""
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            listeners = [own or await listen_tcp("127.0.0.1", 0), *more]

            async def run(*, task_status: trio.TaskStatus[Server]) -> None:
                await serve(app, listeners, limits=limits, task_status=task_status)

            server = await nursery.start(run)
            yield server
            nursery.cancel_scope.cancel()


async def dial(server: Server) -> trio.SocketStream:
    listener = server.listeners[0]
    return await trio.open_tcp_stream(listener.host, listener.port)


async def read_to_end(stream: trio.abc.ReceiveStream) -> bytes:
    with bounded():
        parts = []
        try:
            async for part in stream:
                parts.append(part)
        except trio.BrokenResourceError:
            parts.append(b"<reset>")
        return b"".join(parts)


async def say(server: Server, data: bytes, *, half_close: bool = True) -> bytes:
    """Send bytes, then read until the server closes."""
    stream = await dial(server)
    async with stream:
        await stream.send_all(data)
        if half_close:
            await stream.send_eof()
        return await read_to_end(stream)


async def read_answer(stream: trio.abc.ReceiveStream, kept: bytearray) -> tuple[int, dict[str, str], bytes]:
    """One answer with a content-length; what follows it stays in `kept`."""
    with bounded():
        while b"\r\n\r\n" not in kept:
            part = await stream.receive_some()
            assert part, f"the server closed after {bytes(kept)!r}"
            kept += part
        head, _, _ = bytes(kept).partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        end = len(head) + 4 + int(headers.get("content-length", "0"))
        while len(kept) < end:
            part = await stream.receive_some()
            assert part, "the server closed in the middle of a body"
            kept += part
        body = bytes(kept[len(head) + 4 : end])
        del kept[:end]
        return int(lines[0].split()[1]), headers, body
