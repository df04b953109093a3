"""Records by HTTP: what a node gives, and what a liar cannot do with its answer."""

import base64

import pytest
import trio

from pyrsia.net import bootstrap
from pyrsia.net.bootstrap import MAX_ANSWER_BYTES, fetch
from tests.reference.waiting import bounded


async def asked(answer, *, path="/api/v1/mesh/records"):
    """What `fetch` makes of these raw bytes; the first line that it sent."""
    lines = []

    async def serve(stream):
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data:
                data += await stream.receive_some(4_096)
            lines.append(data.split(b"\r\n")[0].decode())
            try:
                await stream.send_all(answer)
            except trio.BrokenResourceError:
                return

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        with bounded():
            found = await fetch(f"http://127.0.0.1:{port}/")
        nursery.cancel_scope.cancel()
    assert lines == [f"GET {path} HTTP/1.1"]
    return found


def reply(body, *, status="200 OK", more=b""):
    head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n".encode()
    return head + more + b"\r\n" + body


async def test_records_come_as_they_are():
    raws = [b"one", b"two"]
    body = b'{"records": ["%s", "%s"]}' % tuple(map(base64.b64encode, raws))
    assert await asked(reply(body)) == raws


@pytest.mark.parametrize(
    "answer",
    [
        b"rubbish",
        reply(b"rubbish"),
        reply(b'{"records": 7}'),
        reply(b'{"records": ["!"]}'),
        reply(b'{"records": ["YQ=="]}', status="401 Unauthorized"),
        reply(b"", status="302 Found", more=b"location: http://127.0.0.1:1/\r\n"),
        reply(b" " * (MAX_ANSWER_BYTES.value + 1)),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"8000\r\n" + b" " * 0x8000 + b"\r\n",
    ],
    ids=["no http", "no json", "other json", "no base64", "refused", "elsewhere", "too long", "cut"],
)
async def test_anything_else_gives_nobody(answer):
    assert await asked(answer) == []


async def test_a_server_that_says_one_byte_now_and_then_is_left(monkeypatch):
    monkeypatch.setattr(bootstrap, "WAIT_S", bootstrap.Limit(1, "soon"))

    async def trickle(stream):
        async with stream:
            await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
            while True:
                await stream.send_all(b" ")
                await trio.sleep(0.05)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, trickle, 0)
        with bounded():
            assert await fetch(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}") == []
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "http://", "ftp://x/", "http://[::1"])
async def test_nobody_there_and_no_address_give_nobody(url):
    assert await fetch(url) == []
