"""Files that are sent while they come: what clients see from the first run to the last byte, or to the cut."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from pyrsia.errors import Refusal, Unavailable
from pyrsia.serve.answers import send_arriving, send_refusal
from pyrsia.serve.bringing import send_published
from pyrsia.serve.desks.views import ProjectFile
from pyrsia.serve.http.server import Receive, Scope, Send, Server
from pyrsia.store.growing import Growing
from pyrsia.units import CHUNK_BYTES
from tests.reference.waiting import until
from tests.unit.serve.talk import dial, read_answer, read_to_end, say, serving

STEP = CHUNK_BYTES.value
DATA = os.urandom(6 * STEP + 100)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n"
ETAG = b'"abc"'


class Source:
    """A file on its way, chunk by chunk, as the test wants it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(len(DATA)))
        self.growing = Growing(len(DATA))
        self.growing.opened(path)

    def come(self, *chunks: int) -> None:
        with self.path.open("r+b") as file:
            for chunk in chunks:
                piece = DATA[chunk * STEP : (chunk + 1) * STEP]
                file.seek(chunk * STEP)
                file.write(piece)
                file.flush()
                self.growing.wrote(chunk * STEP, len(piece))

    def end(self) -> None:
        self.path = self.path.rename(self.path.with_name("kept"))
        self.growing.finish(self.path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reader = self.growing.reader()
        try:
            await send_arriving(scope, receive, send, reader, kind=b"text/x", etag=ETAG)
        except Refusal as refusal:
            await send_refusal(scope, send, refusal)


@asynccontextmanager
async def sourced(tmp_path: Path) -> AsyncIterator[tuple[Source, Server]]:
    source = Source(tmp_path / "partial")
    async with serving(source) as server:
        yield source, server
        source.growing.fail("the test is over")


async def test_bytes_are_sent_as_they_come_and_the_connection_is_kept(tmp_path: Path) -> None:
    async with sourced(tmp_path) as (source, server), await dial(server) as stream:
        got = bytearray()

        async def have(count: int) -> None:
            while len(got) < count:
                part = await stream.receive_some()
                assert part
                got.extend(part)

        await stream.send_all(GET % b"")
        await until(lambda: source.growing.readers == 1)
        source.come(1, 2)  # nothing may be sent before the first byte is here
        source.come(0)
        await have(1)
        head, _, body = bytes(got).partition(b"\r\n\r\n")
        await have(len(head) + 4 + 3 * STEP)
        source.come(4, 5, 6, 3)
        await have(len(head) + 4 + 5 * STEP)
        source.end()
        await have(len(head) + 4 + len(DATA))
        assert bytes(got[len(head) + 4 :]) == DATA
        assert b"content-length: %d" % len(DATA) in head
        await stream.send_all(GET % b"Range: bytes=5-9\r\n")
        status, headers, body = await read_answer(stream, bytearray())
        assert (status, headers["content-range"], body) == (206, f"bytes 5-9/{len(DATA)}", DATA[5:10])
    assert source.growing.readers == 0


async def test_a_part_is_sent_as_soon_as_it_is_here_whatever_is_missing_before_it(tmp_path: Path) -> None:
    async with sourced(tmp_path) as (source, server), httpx.AsyncClient(base_url=server.url) as client:
        source.come(3)
        answer = await client.get("/", headers={"range": f"bytes={3 * STEP + 1}-{4 * STEP - 1}"})
        assert (answer.status_code, answer.content) == (206, DATA[3 * STEP + 1 : 4 * STEP])


@pytest.mark.parametrize(
    ("asked", "status", "length"),
    [
        ({"if-none-match": '"abc"'}, 304, None),
        ({"range": "bytes=999999999-"}, 416, "0"),
        ({}, 200, str(len(DATA))),  # of a HEAD
        ({"range": "bytes=0-0"}, 200, str(len(DATA))),
    ],
)
async def test_what_needs_no_bytes_waits_for_none(
    tmp_path: Path, asked: dict, status: int, length: str
) -> None:
    async with sourced(tmp_path) as (source, server), httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.request("GET" if status > 300 else "HEAD", "/", headers=asked)
        assert (answer.status_code, answer.headers.get("content-length"), answer.content) == (
            status,
            length,
            b"",
        )
        assert (answer.headers.get("etag"), source.growing.readers) == (None if status == 416 else '"abc"', 0)


@pytest.mark.parametrize("condition", ['"abc"', '"other"'])
async def test_a_range_counts_only_for_the_file_that_the_client_has(tmp_path: Path, condition: str) -> None:
    async with sourced(tmp_path) as (source, server), httpx.AsyncClient(base_url=server.url) as client:
        source.come(*range(7))
        source.end()
        answer = await client.get("/", headers={"range": "bytes=0-9", "if-range": condition})
    assert answer.content == (DATA[:10] if condition == '"abc"' else DATA)


async def test_what_never_begins_is_a_clean_refusal(tmp_path: Path) -> None:
    async with sourced(tmp_path) as (source, server):
        source.growing.fail("all peers left")
        async with httpx.AsyncClient(base_url=server.url) as client:
            for _ in range(2):  # on one connection
                answer = await client.get("/")
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
                assert "all peers left" in answer.json()["error"]["what"]
        assert server.requests == 2


async def test_every_byte_but_a_wrong_digest_is_cut_and_never_whole(tmp_path: Path) -> None:
    async with sourced(tmp_path) as (source, server), await dial(server) as stream:
        await stream.send_all(GET % b"")
        source.come(*range(7))
        await until(lambda: source.growing.readers == 1)
        kept = await stream.receive_some()
        source.growing.fail("the bytes are not what the log says")
        answer = kept + await read_to_end(stream)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"content-length: %d" % len(DATA) in head
        assert 0 < len(body) <= len(DATA) - STEP
        assert DATA.startswith(body)
        await until(lambda: server.connections == 0)


async def test_a_client_that_leaves_lets_go_of_the_download(tmp_path: Path) -> None:
    async with sourced(tmp_path) as (source, server):
        for come in ((), (0,)):  # before its head, and in the middle
            source.come(*come)
            stream = await dial(server)
            await stream.send_all(GET % b"")
            await until(lambda: source.growing.readers == 1)
            await stream.aclose()
            await until(lambda: source.growing.readers == 0)
        await until(lambda: server.connections == 0)


async def test_a_download_that_stops_moving_cuts_its_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Soon:
        value = 0.05

    monkeypatch.setattr("pyrsia.serve.answers.MAX_HTTP_FETCH_WAIT_S", Soon)
    async with sourced(tmp_path) as (source, server):
        refused = await say(server, GET % b"Connection: close\r\n", half_close=False)
        source.come(0)
        cut = await say(server, GET % b"", half_close=False)
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert cut.startswith(b"HTTP/1.1 200 ")
    assert len(cut.partition(b"\r\n\r\n")[2]) == STEP


async def test_a_server_without_zero_copy_sends_the_same(tmp_path: Path) -> None:
    source, sent = Source(tmp_path / "partial"), []

    async def receive() -> dict[str, str]:
        await trio.sleep_forever()
        raise AssertionError

    async def send(event: Any) -> None:
        sent.append(event)
        if len(sent) == 2:
            source.come(*range(1, 7))
            source.end()

    source.come(0)
    scope = {"method": "GET", "headers": [], "extensions": {}}
    await send_arriving(scope, receive, send, source.growing.reader(), kind=b"x/y", etag=ETAG)
    assert b"".join(event.get("body", b"") for event in sent) == DATA
    assert [event.get("more_body", True) for event in sent[1:]].index(False) == len(sent) - 2


async def test_a_reader_is_closed_whatever_happens(tmp_path: Path) -> None:
    source = Source(tmp_path / "partial")

    async def receive() -> dict[str, str]:
        await trio.sleep_forever()
        raise AssertionError

    async def send(event: Any) -> None:
        raise OSError("broken")

    source.come(0)
    scope = {"method": "GET", "headers": [], "extensions": {}}
    with pytest.raises(OSError, match="broken"):
        await send_arriving(scope, receive, send, source.growing.reader(), kind=b"x/y", etag=ETAG)
    assert source.growing.readers == 0
    source.growing.fail("over")
    with pytest.raises(Unavailable):
        await source.growing.ready(0)


@pytest.mark.parametrize(
    ("body", "status"), [(b"zz\r\n", 400), (b"100000\r\n" + bytes(0x100000) + b"\r\n1\r\n", 413)]
)
async def test_a_body_that_nobody_wants_is_judged_while_the_file_is_waited_for(
    tmp_path: Path, body: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with sourced(tmp_path) as (source, server):
        request = GET % b"Transfer-Encoding: chunked\r\n" + body + b"x" * 100_000
        answer = await say(server, request, half_close=False)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert source.growing.readers == 0
    assert caplog.records == []


@pytest.mark.parametrize(
    ("method", "asked", "status", "fetched"),
    [
        ("GET", b"", 200, 1),
        ("GET", b"Range: bytes=1-2\r\n", 206, 1),
        ("GET", b'If-None-Match: "other"\r\n', 200, 1),
        ("GET", b'If-None-Match: "abc"\r\n', 304, 0),
        ("GET", b"If-None-Match: *\r\n", 304, 0),
        ("GET", b"Range: bytes=9999999-\r\n", 416, 0),
        ("GET", b'Range: bytes=9999999-\r\nIf-Range: "other"\r\n', 200, 1),
        ("HEAD", b"", 200, 0),
        ("HEAD", b"Range: bytes=1-2\r\n", 200, 0),
    ],
)
async def test_a_published_file_is_fetched_only_for_an_answer_that_has_bytes_of_it(
    tmp_path: Path, method: str, asked: bytes, status: int, fetched: int
) -> None:
    source, brought = Source(tmp_path / "partial"), []
    source.come(*range(7))
    source.end()

    class Peers:
        def local(self, sha256: str) -> None:
            return None

        def arriving(self, sha256: str) -> Any:
            brought.append(sha256)
            return source.growing.reader()

    file = ProjectFile("f", "ab" * 32, len(DATA), 1, "pkg:pypi/f@1", "f", "1", "REPRODUCED", 7)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_published(Peers(), scope, receive, send, file, kind=b"x/y", etag=ETAG)

    async with serving(app) as server:
        request = GET.replace(b"GET", method.encode()) % (asked + b"Connection: close\r\n")
        answer = await say(server, request, half_close=False)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert (len(brought), source.growing.readers) == (fetched, 0)
