"""The server over real sockets on loopback: framing, limits, slow and rude clients, drain."""

import errno
import os
import socket
import stat
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from pyrsia.errors import Refusal
from pyrsia.serve.http.server import (
    App,
    HttpLimits,
    Listener,
    Message,
    Receive,
    Scope,
    Send,
    Server,
    listen_tcp,
    listen_unix,
    write_token,
)
from pyrsia.units import MAX_SENDFILE_BYTES
from tests.reference.waiting import bounded
from tests.unit.serve.http.test_reading import MALFORMED
from tests.unit.serve.talk import dial, read_answer, read_to_end, say, serving

GET = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"


async def start(send: Send, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def fetch(server: Server, path: str = "/") -> bytes:
    async with httpx.AsyncClient(base_url=server.url) as client:
        return (await client.get(path)).content


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers method, path and body."""
    body, more = b"", True
    while more:
        event = await receive()
        body += event["body"]
        more = event["more_body"]
    await start(send)
    line = f"{scope['method']} {scope['path']} ".encode()
    await send({"type": "http.response.body", "body": line + body})


def file_app(path: Path, **event: Any) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        size = os.stat(path).st_size
        count = event.get("count", size - event.get("offset", 0))
        await start(send, 200, (b"content-length", b"%d" % count))
        with path.open("rb") as file:
            await send({"type": "http.response.zerocopysend", "file": file, **event})

    return app


# -- keep-alive, pipelining, versions --


async def test_one_connection_serves_many_requests_in_turn() -> None:
    async with serving(echo) as server, await dial(server) as stream:
        kept = bytearray()
        for number in range(20):
            await stream.send_all(GET % str(number).encode())
            status, headers, body = await read_answer(stream, kept)
            assert (status, body) == (200, f"GET /{number} ".encode())
            assert "connection" not in headers
        assert server.requests >= 19  # the last is counted after it was sent


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving(echo) as server, await dial(server) as stream:
        await stream.send_all(b"".join(GET % str(number).encode() for number in range(50)))
        kept = bytearray()
        bodies = [(await read_answer(stream, kept))[2] for _ in range(50)]

    assert bodies == [f"GET /{number} ".encode() for number in range(50)]


async def test_pipelining_beyond_the_limit_closes_after_whole_answers() -> None:
    async with serving(echo) as server:
        answer = await say(server, (GET % b"x") * 500)

    assert answer.count(b"HTTP/1.1 200") == 64
    assert answer.count(b"connection: close") == 1
    assert answer.endswith(b"GET /x ")


@pytest.mark.parametrize(
    ("request_head", "kept"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
async def test_who_asks_to_close_is_closed(request_head: bytes, kept: bool) -> None:
    async with serving(echo) as server, await dial(server) as stream:
        await stream.send_all(request_head)
        buffer = bytearray()
        _, headers, _ = await read_answer(stream, buffer)
        if kept:
            assert headers["connection"] == "keep-alive"
            await stream.send_all(request_head)
            await read_answer(stream, buffer)
        else:
            assert headers["connection"] == "close"
            assert await read_to_end(stream) == b""


async def test_head_tells_the_length_and_sends_no_body() -> None:
    async with serving(echo) as server:
        answer = await say(server, b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n" + GET % b"y")

    first, second, third = answer.split(b"\r\n\r\n")
    assert b"content-length: 8" in first
    assert second.startswith(b"HTTP/1.1 200 OK")
    assert third == b"GET /y "


async def test_a_stream_without_a_length_is_chunked_in_1_1_and_ends_the_connection_in_1_0() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        for part in (b"one", b"", b"two"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})

    async with serving(app) as server:
        new = await say(server, GET % b"")
        old = await say(server, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")

    assert b"transfer-encoding: chunked" in new
    assert new.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
    assert b"transfer-encoding" not in old
    assert old.endswith(b"\r\n\r\nonetwo")


async def test_an_absolute_target_names_the_host() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["path"], scope["query_string"], dict(scope["headers"])[b"host"]))
        await echo(scope, receive, send)

    async with serving(app) as server:
        await say(server, b"GET http://other:1/p%20q?x=%31 HTTP/1.1\r\nHost: a\r\n\r\n")

    assert seen == [("/p q", b"x=%31", b"other:1")]


@pytest.mark.parametrize("target", [b"*", b"/%ff", b"/a%00b", b"a"])
async def test_a_target_that_is_no_path_is_refused(target: bytes) -> None:
    async with serving(echo) as server:
        answer = await say(server, b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")


# -- bodies --


async def test_bodies_come_by_length_and_by_chunks() -> None:
    big = os.urandom(300_000)

    async def parts() -> Any:
        for offset in range(0, len(big), 50_000):
            yield big[offset : offset + 50_000]

    limits = HttpLimits()
    async with serving(echo, limits=limits) as server, httpx.AsyncClient(base_url=server.url) as client:
        by_length = await client.post("/x", content=big)
        by_chunks = await client.post("/x", content=parts())
        empty = await client.post("/x")

    assert by_length.content == by_chunks.content == b"POST /x " + big
    assert empty.content == b"POST /x "


async def test_expect_gets_100_only_when_the_body_is_wanted() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"

    async def unwilling(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send, 403)
        await send({"type": "http.response.body", "body": b"no"})

    async with serving(echo) as server, await dial(server) as stream:
        await stream.send_all(head)
        assert await stream.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await stream.send_all(b"abc")
        assert (await read_answer(stream, bytearray()))[2] == b"POST / abc"
    async with serving(unwilling) as server:
        answer = await say(server, head, half_close=True)
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"connection: close" in answer


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_route_s_limit_is_413_and_the_sender_can_read_it(chunked: bool) -> None:
    limits = HttpLimits(body_routes=(("/small", 1000), ("/", 2_000_000)))
    body = b"x" * 400_000
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body

    async with serving(echo, limits=limits) as server:
        small = await say(server, b"POST /small HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n" + sent)
        large = await say(server, b"POST /large HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n" + sent)

    assert small.startswith(b"HTTP/1.1 413 ")
    assert b'"what":"the request\'s body is over 1000 bytes"' in small
    assert large.endswith(body)


async def test_a_body_that_breaks_its_framing_is_400() -> None:
    async with serving(echo) as server:
        answer = await say(
            server,
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX",
            half_close=False,
        )

    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_forgotten() -> None:
    async with serving(echo) as server:
        assert await say(server, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc") == b""
        assert (await say(server, GET % b"")).startswith(b"HTTP/1.1 200")


# -- malformed, limits, rude clients --


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_http_is_answered_closed_and_survived(name: str) -> None:
    data, status = MALFORMED[name]

    async with serving(echo) as server:
        answer = await say(server, data, half_close=False)
        after = await say(server, GET % b"after")

    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert answer.count(b"\r\ndate: ") == 1
    assert b"connection: close" in answer
    assert after.endswith(b"GET /after ")


async def test_a_tls_hello_is_told_in_plain_words() -> None:
    async with serving(echo) as server:
        answer = await say(server, bytes.fromhex("16030100f8010000f4") + os.urandom(200), half_close=False)

    assert b"plain HTTP: ask with http://" in answer


async def test_an_upgrade_is_answered_in_http_1_1() -> None:
    async with serving(echo) as server:
        answer = await say(
            server,
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
        )

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer


async def test_a_head_that_dribbles_is_408_and_a_silent_connection_is_just_closed() -> None:
    limits = HttpLimits(head_wait_s=0.05, keep_alive_s=0.05)
    async with serving(echo, limits=limits) as server:
        assert (await say(server, b"GET / HT", half_close=False)).startswith(b"HTTP/1.1 408 ")
        assert await say(server, b"", half_close=False) == b""


async def test_a_body_that_stops_coming_is_408() -> None:
    async with serving(echo, limits=HttpLimits(idle_s=0.05)) as server:
        answer = await say(
            server, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", half_close=False
        )

    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_over_the_connection_limit_the_longest_idle_gives_way_and_the_busy_stay() -> None:
    working = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/wait":
            await working.wait()
        await echo(scope, receive, send)

    async with serving(app, limits=HttpLimits(connections=2)) as server:
        busy, idle = await dial(server), await dial(server)
        async with busy, idle:
            await busy.send_all(GET % b"wait")
            await idle.send_all(GET % b"idle")
            await read_answer(idle, bytearray())
            third = await dial(server)
            await third.send_all(GET % b"wait")
            assert await read_to_end(idle) == b""  # gave way
            refused = await say(server, GET % b"x")
            assert refused.startswith(b"HTTP/1.1 503 ") or refused == b"<reset>"
            working.set()
            assert (await read_answer(busy, bytearray()))[0] == 200
            assert (await read_answer(third, bytearray()))[0] == 200
            await third.aclose()


# -- answers: files, faults of applications --


@pytest.mark.parametrize("size", [0, 1, 65_536, 3_000_001])
async def test_a_file_arrives_byte_for_byte(tmp_path: Path, size: int) -> None:
    path = tmp_path / "blob"
    path.write_bytes(os.urandom(size))

    async with serving(file_app(path)) as server, httpx.AsyncClient(base_url=server.url) as client:
        whole = await client.get("/")
        again = await client.get("/")
        head = await client.head("/")

    assert whole.content == again.content == path.read_bytes()
    assert head.headers["content-length"] == str(size)
    assert head.content == b""


async def test_a_part_of_a_file_and_a_path_are_sent(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(os.urandom(100_000))

    async def by_path(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await send({"type": "http.response.pathsend", "path": str(path)})

    async def two_parts(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        with path.open("rb") as file:
            part = {"type": "http.response.zerocopysend", "file": file, "count": 10}
            await send({**part, "offset": 5, "more_body": True})
            await send({**part, "offset": 0})

    async with serving(file_app(path, offset=10, count=70_000)) as server:
        assert await fetch(server) == path.read_bytes()[10:70_010]
    async with serving(by_path) as server:
        assert await fetch(server) == path.read_bytes()
    async with serving(two_parts) as server:
        assert await fetch(server) == path.read_bytes()[5:15] + path.read_bytes()[:10]


async def test_a_file_that_shrank_is_never_a_whole_answer(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"x" * 1000)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send, 200, (b"content-length", b"5000"))
        with path.open("rb") as file:
            await send({"type": "http.response.zerocopysend", "file": file, "count": 5000})

    async with serving(app) as server, httpx.AsyncClient(base_url=server.url) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/")


async def test_a_slow_reader_gets_everything_however_long_it_takes(tmp_path: Path) -> None:
    """More than twice the idle limit passes while bytes move: no total limit cuts the transfer."""
    path = tmp_path / "blob"
    path.write_bytes(os.urandom(4_000_000))

    async with serving(file_app(path), limits=HttpLimits(idle_s=0.8)) as server:
        sock = trio.socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        with sock:
            await sock.connect(("127.0.0.1", server.listeners[0].port))
            await sock.send(GET % b"")
            begun, received, wanted = trio.current_time(), bytearray(), path.read_bytes()
            while not received.endswith(wanted[-1000:]):
                piece = await sock.recv(20_000)
                assert piece, f"cut after {len(received)} bytes"
                received += piece
                # Each pause is far below the idle limit, their sum far above it.
                with trio.move_on_after(0.01):
                    await trio.sleep_forever()

    assert trio.current_time() - begun > 2 * 0.8
    assert received.partition(b"\r\n\r\n")[2] == wanted


async def test_a_reader_that_stops_is_cut_and_others_never_waited(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(bytes(30_000_000))

    async with serving(file_app(path), limits=HttpLimits(idle_s=1.0)) as server:
        stuck = [await dial(server) for _ in range(20)]
        for stream in stuck:
            await stream.send_all(GET % b"")
        async with httpx.AsyncClient() as client:
            assert len((await client.get(server.url)).content) == 30_000_000
        while server.connections:
            await trio.testing.wait_all_tasks_blocked(0.01)
        for stream in stuck:
            await stream.aclose()


@pytest.mark.parametrize(
    "headers",
    [[(b"x", b"a\r\nset-cookie: b")], [(b"x y", b"a")], [(b"", b"a")], [(b"x", b"a\0")]],
)
async def test_a_header_that_would_split_the_answer_is_a_500(headers: list[tuple[bytes, bytes]]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send, 200, *headers)
        await send({"type": "http.response.body"})

    async with serving(app) as server:
        answer = await say(server, GET % b"")

    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in answer


async def test_an_application_s_faults_cost_one_connection_each() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        match scope["path"]:
            case "/raises":
                raise ValueError("a bug")
            case "/group":
                raise ExceptionGroup("bugs", [KeyError("x")])
            case "/silent":
                return
            case "/late":
                await start(send, 200, (b"content-length", b"10"))
                await send({"type": "http.response.body", "body": b"abc", "more_body": True})
                raise ValueError("a late bug")
            case "/short":
                await start(send, 200, (b"content-length", b"10"))
                await send({"type": "http.response.body", "body": b"abc"})
            case "/long":
                await start(send, 200, (b"content-length", b"2"))
                await send({"type": "http.response.body", "body": b"abc"})
        if scope["path"] == "/fine":
            await echo(scope, receive, send)

    async with serving(app) as server:
        for path in (b"raises", b"group", b"silent"):
            assert (await say(server, GET % path)).startswith(b"HTTP/1.1 500 "), path
        for path in (b"late", b"short", b"long"):
            async with httpx.AsyncClient(base_url=server.url) as client:
                with pytest.raises(httpx.RemoteProtocolError):
                    await client.get("/" + path.decode())
        assert (await say(server, GET % b"fine")).endswith(b"GET /fine ")


async def test_receive_tells_when_the_client_leaves() -> None:
    told = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.request"
        event: Message = await receive()
        assert event["type"] == "http.disconnect"
        told.set()

    async with serving(app) as server:
        stream = await dial(server)
        await stream.send_all(GET % b"")
        await stream.aclose()
        with bounded():
            await told.wait()


# -- ends --


def test_a_node_without_descriptors_says_so_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    tried = []

    async def accept() -> None:
        tried.append(trio.current_time())
        raise OSError(errno.EMFILE if len(tried) < 1_195 else errno.EBADF, "Too many open files")

    async def main() -> None:
        listener: Any = SimpleNamespace(sock=SimpleNamespace(accept=accept))
        async with trio.open_nursery() as nursery:
            await Server(echo, [], HttpLimits())._accept(listener, nursery)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert 119 < tried[-1] - tried[0] < 120  # it goes on trying
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "cannot accept a connection: Too many open files"
    ] * 2


async def test_a_drain_ends_the_idle_at_once_and_lets_answers_finish() -> None:
    going, go = trio.Event(), trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            going.set()
            await go.wait()
        await echo(scope, receive, send)

    async with serving(app) as server:
        idle, slow = await dial(server), await dial(server)
        async with idle, slow:
            await idle.send_all(GET % b"x")
            await read_answer(idle, bytearray())
            await slow.send_all(GET % b"slow")
            await going.wait()

            server.drain(20)

            assert await read_to_end(idle) == b""
            with pytest.raises(OSError, match=r".*"):
                await dial(server)
            go.set()
            status, headers, _ = await read_answer(slow, bytearray())
            assert (status, headers["connection"]) == (200, "close")
            assert await read_to_end(slow) == b""


async def test_a_drain_cuts_what_outlives_its_grace() -> None:
    going = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        going.set()
        await trio.sleep_forever()

    async with serving(app) as server, await dial(server) as stream:
        await stream.send_all(GET % b"")
        await going.wait()
        server.drain(0.05)
        assert await read_to_end(stream) == b""
        assert server.connections == 0


async def test_cancelling_the_server_ends_every_connection() -> None:
    going = trio.Event()
    ended = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        going.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.append(scope["path"])

    async with serving(app) as server:
        stream = await dial(server)
        await stream.send_all(GET % b"x")
        await going.wait()
    assert ended == ["/x"]
    assert await read_to_end(stream) == b""
    await stream.aclose()


async def test_a_taken_port_is_a_refusal_that_names_it() -> None:
    first = await listen_tcp("127.0.0.1", 0)
    with first.sock, pytest.raises(Refusal) as refused:
        await listen_tcp("127.0.0.1", first.port)

    assert refused.value.code == "port-taken"
    assert str(first.port) in refused.value.what


async def test_an_address_of_another_machine_is_a_refusal() -> None:
    with pytest.raises(Refusal) as refused:
        await listen_tcp("203.0.113.7", 0)

    assert refused.value.code == "config-invalid"


# -- the control socket --


async def control(tmp_path: Path) -> Listener:
    return await listen_unix(tmp_path / "control.sock")


async def test_the_control_socket_is_private_marked_and_removed_at_the_end(tmp_path: Path) -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["pyrsia.peer"])
        await echo(scope, receive, send)

    path = tmp_path / "control.sock"
    async with serving(app, await control(tmp_path)) as server:
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as client:
            assert (await client.post("http://localhost/x", content=b"y")).text == "POST /x y"
        await say(server, GET % b"")

    assert seen == ["control", "tcp"]
    assert os.listdir(tmp_path) == []


async def test_another_user_is_told_no_on_the_control_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(echo, await control(tmp_path)):
        monkeypatch.setattr(os, "geteuid", lambda: 54_321)
        stream = await trio.open_unix_socket(str(tmp_path / "control.sock"))
        async with stream:
            await stream.send_all(GET % b"")
            answer = await read_to_end(stream)

    assert answer.startswith(b"HTTP/1.1 403 ")


def test_the_token_is_new_at_each_start_and_private(tmp_path: Path) -> None:
    path = tmp_path / "control.token"

    tokens = {write_token(path) for _ in range(3)}

    assert len(tokens) == 3
    assert path.read_text().strip() in tokens
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(tmp_path) == ["control.token"]


async def test_a_stale_socket_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async with serving(echo, await control(tmp_path)):
        with pytest.raises(Refusal) as refused:
            await control(tmp_path)
        assert refused.value.code == "data-in-use"


async def test_a_path_that_no_socket_can_have_is_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(Refusal) as refused:
        await listen_unix(tmp_path / ("x" * 120) / "control.sock")

    assert refused.value.code == "config-invalid"


@pytest.mark.parametrize("size", [0, 1, 20_000, 2_000_000])
async def test_a_cold_file_is_read_by_a_thread_before_it_is_sent(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, asked, read = tmp_path / "cold", [], []
    path.write_bytes(os.urandom(size))

    def cold(fd: int, buffers: list[bytearray], offset: int, flags: int) -> int:
        assert flags == os.RWF_NOWAIT
        asked.append(offset)
        raise BlockingIOError

    def reading(fd: int, offset: int, count: int) -> None:
        read.append((offset, count, threading.current_thread() is threading.main_thread()))

    monkeypatch.setattr("os.preadv", cold)
    monkeypatch.setattr("pyrsia.serve.http.wires._read", reading)
    async with serving(file_app(path)) as server:
        assert await fetch(server) == path.read_bytes()
    assert sum(count for _, count, _ in read) == size
    assert not any(main for *_, main in read)
    assert len(asked) == len(read) == -(-size // MAX_SENDFILE_BYTES.value)


async def test_a_file_system_that_cannot_tell_what_is_cold_serves_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*arguments: object) -> int:
        raise OSError(95, "not supported")

    path = tmp_path / "file"
    path.write_bytes(os.urandom(900_000))
    monkeypatch.setattr("os.preadv", cannot)
    async with serving(file_app(path)) as server:
        assert await fetch(server) == path.read_bytes()


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_an_answer_of_unknown_length_that_is_cut_never_looks_whole(version: bytes) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("the rest does not come")

    async with serving(app) as server, await dial(server) as stream:
        await stream.send_all(b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version)
        got, ended = b"", False
        try:
            while data := await stream.receive_some():
                got += data
            ended = True
        except trio.BrokenResourceError:
            pass
    # Cut by a reset, or without the last chunk.
    assert (ended, got.endswith(b"0\r\n\r\n")) == (version == b"1.1", False)
