"""Clients that lie, stall, leave or ask for nonsense: the right status, and nothing is held for them afterwards."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from pyrsia.errors import Refusal
from pyrsia.serve.answers import send_file, send_refusal
from pyrsia.serve.http.server import HttpLimits, Receive, Scope, Send, Server
from pyrsia.units import MAX_HTTP_BODY_READ_BYTES
from tests.reference.waiting import bounded, until
from tests.unit.serve.talk import dial, read_answer, read_to_end, say, serving

DATA = os.urandom(1_000)
LIMITS = HttpLimits(idle_s=0.2, head_wait_s=0.2, keep_alive_s=0.2, body_bytes=1 << 40)
PUT = b"PUT /%b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


class Registry:
    """Gives one file, takes uploads, refuses them; remembers how they came."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "file"
        self.path.write_bytes(DATA)
        self.largest, self.taken, self.ended = 0, 0, 0
        self.may_read = trio.Event()
        self.may_read.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["path"] == "/refused":
                refusal = Refusal("unauthenticated", what="no token", who="you", do="log in")
                await send_refusal(scope, send, refusal)
            elif scope["method"] == "PUT":
                await self.take(receive, send)
            else:
                await send_file(scope, send, self.path, len(DATA), kind=b"x/y", etag=b'"e"')
        finally:
            self.ended += 1

    async def take(self, receive: Receive, send: Send) -> None:
        await self.may_read.wait()
        more = True
        while more:
            event = await receive()
            self.largest = max(self.largest, len(event["body"]))
            self.taken += len(event["body"])
            more = event["more_body"]
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def registry(tmp_path: Path) -> AsyncIterator[tuple[Registry, Server]]:
    app = Registry(tmp_path)
    async with serving(app, limits=LIMITS) as server:
        yield app, server
        await until(lambda: not server.connections)


WHOLE = (200, None, DATA)
NONE = (416, "bytes */1000", b"")
RANGES = {
    "bytes=0-0": (206, "bytes 0-0/1000", DATA[:1]),
    "bytes=999-": (206, "bytes 999-999/1000", DATA[999:]),
    "bytes=-1": (206, "bytes 999-999/1000", DATA[999:]),
    "bytes=-5000": (206, "bytes 0-999/1000", DATA),
    "bytes=0-99999999999999999999999": (206, "bytes 0-999/1000", DATA),
    f"bytes=0-{2**70}": (206, "bytes 0-999/1000", DATA),
    f"bytes={2**70}-": NONE,
    f"bytes={2**70}-{2**71}": NONE,
    "bytes=1000-": NONE,
    "bytes=1000-1001": NONE,
    "bytes=-0": NONE,
    "bytes=5-4": WHOLE,  # no valid range: as if it were not there
    "bytes=--5": WHOLE,
    "bytes=-5-9": WHOLE,
    "bytes=a-b": WHOLE,
    "bytes=": WHOLE,
    "bytes=-": WHOLE,
    "bytes": WHOLE,
    "bits=0-5": WHOLE,
    "bytes=0-1,3-4": WHOLE,  # several, or overlapping, or a thousand: the whole file, once
    "bytes=0-,0-,0-": WHOLE,
    "bytes=" + ",".join(["0-999"] * 1000): WHOLE,
    "bytes=" + "9" * 5_000 + "-": NONE,
    "bytes=0x0-0x5": WHOLE,
    "bytes=0-5\t": (206, "bytes 0-5/1000", DATA[:6]),
}


@pytest.mark.parametrize("asked", RANGES, ids=lambda text: text[:24])
async def test_an_absurd_range_gets_a_part_the_whole_or_416(tmp_path: Path, asked: str) -> None:
    async with registry(tmp_path) as (_, server), await dial(server) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\nRange: %b\r\n\r\n" % asked.encode())
        status, headers, body = await read_answer(stream, bytearray())
    assert (status, headers.get("content-range"), body) == RANGES[asked]


async def test_two_range_headers_are_no_way_to_more_than_the_file(tmp_path: Path) -> None:
    async with registry(tmp_path) as (_, server), await dial(server) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=0-9\r\nRange: bytes=0-\r\n\r\n")
        status, _, body = await read_answer(stream, bytearray())
    assert (status, body) == (206, DATA[:10])


async def test_a_refusal_reaches_a_client_that_sends_first_and_reads_later(tmp_path: Path) -> None:
    """Not a byte of the body is given to the application, and the connection is not reset before the answer is read."""
    async with registry(tmp_path) as (app, server), await dial(server) as stream:
        await stream.send_all(PUT % (b"refused", 1 << 30))
        for _ in range(20):
            await stream.send_all(bytes(1 << 20))
        await stream.send_eof()
        answer = await read_to_end(stream)
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert b"connection: close" in answer
        assert b"<reset>" not in answer
        assert app.taken == 0


async def test_who_waits_for_100_gets_the_refusal_instead(tmp_path: Path) -> None:
    async with registry(tmp_path) as (_, server):
        head = PUT % (b"refused", 1 << 30)
        answer = await say(server, head[:-2] + b"Expect: 100-continue\r\n\r\n", half_close=False)
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_a_large_upload_comes_in_pieces_and_waits_for_who_takes_it(tmp_path: Path) -> None:
    size = 48 << 20
    async with registry(tmp_path) as (app, server), await dial(server) as stream:
        app.may_read = trio.Event()
        sent = 0

        async def send_it() -> None:
            nonlocal sent
            await stream.send_all(PUT % (b"x", size))
            while sent < size:
                await stream.send_all(bytes(1 << 20))
                sent += 1 << 20

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_it)
            await trio.testing.wait_all_tasks_blocked(0.02)  # the buffers of two sockets are full
            assert sent < size // 2
            app.may_read.set()
        assert (await read_answer(stream, bytearray()))[0] == 201
        assert (app.taken, app.largest <= MAX_HTTP_BODY_READ_BYTES.value) == (size, True)


async def test_a_body_that_is_shorter_than_announced_is_never_taken_for_whole(tmp_path: Path) -> None:
    async with registry(tmp_path) as (app, server):
        left = await say(server, PUT % (b"x", 1_000) + b"half")  # closes
        stalled = await say(server, PUT % (b"x", 1_000) + b"half", half_close=False)  # stands still
        assert (left, stalled.startswith(b"HTTP/1.1 408 ")) == (b"", True)
        assert app.ended == 2


async def test_bytes_beyond_the_announced_body_are_another_request_or_a_fault(tmp_path: Path) -> None:
    async with registry(tmp_path) as (app, server):
        answers = await say(server, PUT % (b"x", 4) + b"bodyand more than that\r\n\r\n", half_close=False)
        assert answers.count(b"HTTP/1.1 201 ") == answers.count(b"HTTP/1.1 400 ") == 1
        assert app.taken == 4


async def test_half_closed_and_silent_and_dribbling_clients_are_let_go(tmp_path: Path) -> None:
    async with registry(tmp_path) as (_, server):
        assert await say(server, b"") == b""  # closes its side at once
        assert await say(server, b"", half_close=False) == b""  # says nothing, ever
        assert (await say(server, b"GET / HT", half_close=False)).startswith(b"HTTP/1.1 408 ")
        assert await say(server, b"GET / HT") == b""  # leaves in the middle of its head
        whole = await say(server, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")  # done asking, still listening
        assert whole.endswith(DATA)


async def test_a_head_that_dribbles_ends_in_time_however_many_bytes_it_has(tmp_path: Path) -> None:
    async with registry(tmp_path) as (_, server), await dial(server) as stream:
        got = b""

        async def dribble() -> None:
            for byte in b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 1_000:
                await stream.send_all(bytes([byte]))
                await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(dribble)
            with bounded():
                got = await stream.receive_some()
            nursery.cancel_scope.cancel()
        assert got.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("answers", [1, 50])
async def test_a_client_that_asks_and_leaves_costs_nothing_afterwards(tmp_path: Path, answers: int) -> None:
    async with registry(tmp_path) as (app, server):
        app.path.write_bytes(DATA)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            stream = await dial(server)
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * answers)
            await stream.aclose()
        await until(lambda: not server.connections)
        assert len(os.listdir("/proc/self/fd")) == before
