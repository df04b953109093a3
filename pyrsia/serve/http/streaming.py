"""Answers that nobody holds whole: lines of JSON without an end, each sent when there is one, and files as they lie.

Nothing is kept for a slow reader: the next line is asked for when the last one is sent. A silent stream sends an empty
line now and then, so that a connection that died is noticed on both sides.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import trio

from pyrsia.serve.answers import send_file
from pyrsia.serve.desks.views import Arriving
from pyrsia.serve.http.connection import Receive, Scope, Send
from pyrsia.serve.http.waiting import while_there

LINES: Final = "application/jsonl"
ALIVE_S: Final = 15.0  # between two signs of life; proxies cut what is silent for 30 or 60
_HEADERS: Final = [
    (b"content-type", LINES.encode()),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-accel-buffering", b"no"),
]


class Lines:
    """What a handler gives instead of an answer: each of `rows` becomes a line."""

    def __init__(self, rows: AsyncIterator[Any]) -> None:
        self._rows = rows

    async def send(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Raises:
            ClientGone: the usual end.
        """
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        await while_there(receive, lambda: self._pump(send))
        await send({"type": "http.response.body", "body": b""})

    async def _pump(self, send: Send) -> None:
        into, out = trio.open_memory_channel[bytes](0)

        async def read() -> None:
            async with into:
                async for row in self._rows:
                    await into.send(msgspec.json.encode(row) + b"\n")

        async with trio.open_nursery() as nursery, out:
            nursery.start_soon(read)
            await send(
                {"type": "http.response.body", "body": b"\n", "more_body": True}
            )  # heads go out at once
            while True:
                line = b"\n"
                with trio.move_on_after(ALIVE_S):
                    try:
                        line = await out.receive()
                    except trio.EndOfChannel:
                        return
                await send({"type": "http.response.body", "body": line, "more_body": True})


class Stored:
    """What a handler gives instead of bytes: a whole file, sent from the disk and closed."""

    def __init__(self, file: Arriving, media: str) -> None:
        self._file, self._media = file, media

    async def send(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Raises:
            Refusal: `unavailable`: the file on disk is not what it was; nothing was sent.
        """
        file = self._file
        try:
            await send_file(
                scope,
                send,
                file.path,
                file.size,
                kind=self._media.encode(),
                etag=b'"%b"' % file.sha256.encode(),
                caching=b"no-store",
            )
        finally:
            file.close()
