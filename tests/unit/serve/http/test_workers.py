"""A worker between client and node: the same answers, files by name, and no belief in what clients say they are."""

import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from pyrsia.serve.http.server import (
    ClientGone,
    HttpLimits,
    Receive,
    Scope,
    Send,
    Server,
    listen_tcp,
    listen_unix,
    serve,
)
from pyrsia.serve.workers import accel, forward
from pyrsia.serve.workers.answers import Answer
from pyrsia.serve.workers.forward import Forward
from pyrsia.units import Limit
from tests.reference.waiting import bounded, until
from tests.unit.serve.talk import dial, read_to_end, say

SIZE = 1_000_001
LOOKALIKE = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
NAME = "blobs/ab/cd/" + "ab" * 32


class Node:
    """Answers files, echoes, and remembers what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blob = folder / NAME
        self.asked: list[Scope] = []
        self.left = trio.Event()
        self.reading = trio.Event()
        self.go_on = trio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope)
        path = scope["path"]
        if path == "/file":
            await self.give(send, self.blob, int(dict(scope["headers"]).get(b"x-first", b"0")))
        elif path == "/growing":
            await self.give_in_parts(send)
        elif path == "/elsewhere":
            await self.give(send, self.folder / "keys", 0)
        elif path == "/refused":
            headers = [(b"www-authenticate", b"Basic"), (b"content-length", b"2")]
            await send(
                {"type": "http.response.start", "status": 401, "headers": headers, "reason": b"no token"}
            )
            await send({"type": "http.response.body", "body": b"no"})
        elif path == "/wait":
            self.reading.set()
            while (await receive())["type"] != "http.disconnect":
                pass
            self.left.set()
        elif path == "/stalling":
            await self.stall(send)
        elif path == "/cut":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise RuntimeError("the rest does not come")
        else:
            await self.echo(scope, receive, send)

    async def give(self, send: Send, path: Path, first: int) -> None:
        size = os.stat(path).st_size - first
        headers = [(b"content-length", b"%d" % size), (b"etag", b'"x"')]
        await send({"type": "http.response.start", "status": 206 if first else 200, "headers": headers})
        with path.open("rb") as file:
            event: dict[str, Any] = {"type": "http.response.zerocopysend", "file": file}
            await send({**event, "offset": first, "count": size})

    async def give_in_parts(self, send: Send) -> None:
        """As a file that is still on its way."""
        headers = [(b"content-length", b"%d" % SIZE)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        with self.blob.open("rb") as file:
            for first in range(0, SIZE, 300_000):
                count = min(300_000, SIZE - first)
                event: dict[str, Any] = {"type": "http.response.zerocopysend", "file": file, "count": count}
                await send({**event, "offset": first, "more_body": first + count < SIZE})

    async def stall(self, send: Send) -> None:
        """A file on its way from elsewhere; what comes late in it reads like an answer."""
        headers = [(b"content-length", b"%d" % (1_000 + len(LOOKALIKE)))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"a" * 1_000, "more_body": True})
        await self.go_on.wait()
        await send({"type": "http.response.body", "body": LOOKALIKE})

    async def echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        count, more = 0, scope["method"] != "GET"
        while more:
            event = await receive()
            count, more = count + len(event["body"]), event["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        line = f"{scope['method']} {scope['path']}?{scope['query_string'].decode()} {count}"
        await send({"type": "http.response.body", "body": line.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = Node(tmp_path)
    made.blob.parent.mkdir(parents=True)
    made.blob.write_bytes(os.urandom(SIZE))
    (tmp_path / "keys").write_bytes(os.urandom(SIZE))
    return made


@asynccontextmanager
async def worker_of(node: Node, limits: HttpLimits | None = None) -> AsyncIterator[tuple[Server, Server]]:
    """(the node's server, the worker's) in one loop."""
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            limits = limits or HttpLimits(body_bytes=10_000_000)

            async def run(app: Any, listener: Any, *, task_status: trio.TaskStatus[Server]) -> None:
                await serve(app, [listener], limits=limits, task_status=task_status)

            private = await listen_unix(node.folder / "workers.sock", folder=node.folder)
            ours = await nursery.start(run, node, private)
            passing = Forward(node.folder / "workers.sock", node.folder)
            theirs = await nursery.start(run, passing, await listen_tcp("127.0.0.1", 0))
            try:
                yield ours, theirs
            finally:
                passing.close()
            nursery.cancel_scope.cancel()


async def test_a_file_is_named_by_the_node_and_sent_by_the_worker(node: Node) -> None:
    async with worker_of(node) as (_, worker), httpx.AsyncClient(base_url=worker.url) as client:
        answer = await client.get("/file")
        part = await client.get("/file", headers={"x-first": "400000"})
        head = await client.head("/file")
    assert answer.content == node.blob.read_bytes()
    assert part.content == node.blob.read_bytes()[400_000:]
    assert (answer.headers["etag"], answer.headers["content-length"]) == ('"x"', str(SIZE))
    assert (part.status_code, head.content, head.headers["content-length"]) == (206, b"", str(SIZE))
    assert not [name for name in answer.headers if name.startswith(("x-accel", "x-pyrsia"))]


async def test_the_bytes_do_not_pass_the_private_socket(node: Node) -> None:
    async with worker_of(node):
        async with await trio.open_unix_socket(str(node.folder / "workers.sock")) as stream:
            await stream.send_all(
                b"GET /file HTTP/1.1\r\nhost: a\r\nx-pyrsia-client: 10.0.0.1 5\r\nconnection: close\r\n\r\n"
            )
            answer = await read_to_end(stream)
    assert (node.asked[0]["client"], node.asked[0]["pyrsia.peer"]) == (("10.0.0.1", 5), "tcp")  # no loopback
    assert f"x-accel-redirect: {NAME}\r\n".encode() in answer
    assert b"x-accel-bytes: 0-%d\r\n" % SIZE in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_a_file_outside_of_the_folders_is_sent_and_not_named(node: Node) -> None:
    async with worker_of(node) as (_, worker), httpx.AsyncClient(base_url=worker.url) as client:
        assert (await client.get("/elsewhere")).content == (node.folder / "keys").read_bytes()


async def test_a_file_that_is_still_coming_passes_through_whole(node: Node) -> None:
    async with worker_of(node) as (_, worker), httpx.AsyncClient(base_url=worker.url) as client:
        assert (await client.get("/growing")).content == node.blob.read_bytes()


async def test_a_client_never_gets_a_name_and_cannot_say_who_it_is(node: Node) -> None:
    """Neither to the worker nor to the node itself; what it claims is dropped or is an ordinary header."""
    lies = {"x-pyrsia-client": "127.0.0.1 1", "x-pyrsia-scheme": "https", "x-accel-redirect": NAME}
    async with worker_of(node) as (_, worker), httpx.AsyncClient(base_url=worker.url) as client:
        assert (await client.get("/file", headers=lies)).content == node.blob.read_bytes()
        (scope,) = node.asked
        assert (scope["client"][1] > 1, scope["scheme"], scope["pyrsia.peer"]) == (True, "http", "tcp")
        assert [name for name, _ in scope["headers"]].count(b"x-pyrsia-client") == 1


async def test_only_who_says_for_whom_it_asks_is_answered_on_the_private_socket(node: Node) -> None:
    async with worker_of(node):
        assert stat.S_IMODE(os.stat(node.folder / "workers.sock").st_mode) == 0o600
        async with await trio.open_unix_socket(str(node.folder / "workers.sock")) as stream:
            await stream.send_all(b"GET /file HTTP/1.1\r\nhost: a\r\n\r\n")
            assert (await read_to_end(stream)).startswith(b"HTTP/1.1 400 ")
    assert node.asked == []


@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_pass_whole_and_links_are_used_again(node: Node, chunked: bool) -> None:
    data = os.urandom(300_000)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 100_000):
            yield data[at : at + 100_000]

    async with worker_of(node) as (ours, worker), httpx.AsyncClient(base_url=worker.url) as client:
        for _ in range(3):
            answer = await client.put("/put?a=b", content=pieces() if chunked else data)
            assert answer.text == "PUT /put?a=b 300000"
        assert (await client.get("/get")).text == "GET /get? 0"
        assert ours.connections == 1


async def test_a_refusal_comes_before_the_body_and_without_100(node: Node) -> None:
    head = b"PUT /refused HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\nExpect: 100-continue\r\n\r\n"
    async with worker_of(node) as (_, worker):
        answer = await say(worker, head, half_close=False)
    assert answer.startswith(b"HTTP/1.1 401 no token\r\n")
    assert b"www-authenticate: Basic" in answer


async def test_a_client_that_waits_for_100_gets_it_once_the_node_wants_the_body(node: Node) -> None:
    async with worker_of(node) as (_, worker), await dial(worker) as stream:
        await stream.send_all(
            b"PUT /put HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
        with bounded():
            assert await stream.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await stream.send_all(b"body")
        await stream.send_eof()
        assert b"PUT /put? 4" in await read_to_end(stream)


async def test_the_node_learns_that_a_client_left(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "HALF_CLOSED_S", Limit(0, "a test"))
    async with worker_of(node) as (ours, worker):
        stream = await dial(worker)
        await stream.send_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        await node.reading.wait()
        await stream.aclose()
        await node.left.wait()
        await until(lambda: not ours.connections and not worker.connections)


async def test_what_is_left_of_an_answer_whose_client_left_is_nobody_elses(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "HALF_CLOSED_S", Limit(0, "a test"))
    async with worker_of(node) as (ours, worker):
        async with await dial(worker) as leaving:
            await leaving.send_all(b"GET /stalling HTTP/1.1\r\nHost: a\r\n\r\n")
            got = b""
            while not got.endswith(b"aaa"):
                got += await leaving.receive_some()
        await until(lambda: not worker.connections)
        node.go_on.set()
        answer = await say(worker, b"GET /get HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert answer.endswith(b"GET /get? 0")
        assert b"evil" not in answer
        await until(lambda: ours.connections <= 1)  # the link of the first is closed, not kept


async def test_a_client_that_says_it_sends_nothing_more_is_answered(node: Node) -> None:
    async with worker_of(node) as (_, worker), await dial(worker) as stream:
        await stream.send_all(b"GET /stalling HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        await stream.send_eof()
        got = b""
        while not got.endswith(b"aaa"):
            got += await stream.receive_some()
        node.go_on.set()
        assert (await read_to_end(stream)).endswith(LOOKALIKE)


async def test_as_many_headers_as_a_client_may_send_pass_a_worker(node: Node) -> None:
    many = b"".join(b"x%d: y\r\n" % number for number in range(98))
    async with worker_of(node) as (_, worker):
        head = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        answer = await say(worker, head + many + b"\r\n", half_close=False)
        assert answer.startswith(b"HTTP/1.1 200 ")
        answer = await say(
            worker,
            b"GET /a HTTP/1.1\r\nHost: a\r\nz: z\r\ny: y\r\nx: x\r\n" + many + b"\r\n",
            half_close=False,
        )
        assert answer.startswith(b"HTTP/1.1 431 ")


async def test_a_length_that_nobody_knows_is_not_made_up_for_head(node: Node) -> None:
    async with worker_of(node) as (_, worker), httpx.AsyncClient(base_url=worker.url) as client:
        head = await client.head("/echo")
        assert (head.status_code, head.headers.get("content-length")) == (200, None)
        assert (await client.get("/get")).text == "GET /get? 0"  # the connection is in step


@pytest.mark.parametrize(("method", "asked"), [("GET", 2), ("HEAD", 2), ("POST", 1), ("DELETE", 1)])
async def test_what_changes_something_is_not_asked_twice_of_a_node_that_dies(
    node: Node, method: str, asked: int
) -> None:
    times = []

    async def dying(scope: Scope, receive: Receive, send: Send) -> None:
        times.append(scope["method"])
        raise ClientGone("the node is killed")

    async with worker_of(node) as (ours, worker), httpx.AsyncClient(base_url=worker.url) as client:
        assert (await client.get("/get")).status_code == 200  # so that a link idles
        ours.app = dying
        assert (await client.request(method, "/change")).status_code == 503
    assert times == [method] * asked


async def test_an_answer_that_the_node_cuts_is_cut_for_the_client(node: Node) -> None:
    async with worker_of(node) as (_, worker):
        answer = await say(worker, b"GET /cut HTTP/1.1\r\nHost: a\r\n\r\n", half_close=False)
    assert b"content-length: 9\r\n" in answer
    assert answer.endswith(b"\r\n\r\nhalf")


async def test_without_a_node_and_without_the_file_it_is_503(node: Node) -> None:
    async with worker_of(node) as (ours, worker), httpx.AsyncClient(base_url=worker.url) as client:
        assert (await client.get("/get")).status_code == 200
        real, node.blob = node.blob, node.folder / "blobs" / "ab" / "gone"
        node.blob.write_bytes(bytes(SIZE))
        evicted = trio.Path(node.blob)

        async def evicting(scope: Scope, receive: Receive, send: Send) -> None:
            async def sending(event: Any) -> None:
                if event["type"] == "http.response.zerocopysend":
                    await evicted.unlink()
                await send(event)

            await node(scope, receive, sending)

        ours.app = evicting
        lost = await client.get("/file")
        assert (lost.status_code, lost.json()["error"]["code"]) == (503, "unavailable")
        node.blob, ours.app = real, node
        assert (await client.get("/file")).status_code == 200
        ours.drain(0)
        await until(lambda: not ours.connections)
        assert (await client.get("/get")).status_code == 503


async def test_a_slow_reader_of_a_file_holds_no_link_to_the_node(node: Node) -> None:
    with node.blob.open("ab") as file:
        file.truncate(40_000_000)  # more than the buffers between take
    async with worker_of(node) as (ours, worker), httpx.AsyncClient(base_url=worker.url) as client:
        slow = [await dial(worker) for _ in range(5)]
        for stream in slow:
            await stream.send_all(b"GET /file HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert (await stream.receive_some(100)).startswith(b"HTTP/1.1 200 ")
        assert (await client.get("/get")).status_code == 200
        assert (worker.connections, ours.connections) == (6, 1)
        for stream in slow:
            answer = await read_to_end(stream)
            assert len(answer) > 39_999_000
            await stream.aclose()
        assert (await client.get("/get")).status_code == 200
        assert ours.connections == 1


async def test_a_link_that_the_node_closed_meanwhile_costs_no_request(node: Node) -> None:
    async with worker_of(node) as (ours, worker), httpx.AsyncClient(base_url=worker.url) as client:
        for method in ("GET", "PUT"):
            assert (await client.get("/get")).status_code == 200
            for connection in tuple(ours._open["worker"]):
                connection.close_if_idle()
            await until(lambda: not ours.connections)
            answer = await client.request(method, "/again", content=b"body" if method == "PUT" else b"")
            assert (answer.status_code, answer.text.split()[0]) == (200, method)


@pytest.mark.parametrize(
    "name",
    [
        b"keys/node",
        b"blobs/../keys/node",
        b"blobs//etc/passwd",
        b"/etc/passwd",
        b"blobs",
        b"",
        b"blobs/./x",
        b"blobs/partial/x",
        b"control.token",
        b"blobs/link/secret",
        b"blobs/file-link",
        b"blobs/a\x00b",
        b"blobs/\xff",
    ],
)
def test_a_name_that_leads_elsewhere_opens_nothing(tmp_path: Path, name: bytes) -> None:
    for folder in ("keys", "blobs", "blobs/partial"):
        (tmp_path / folder).mkdir()
    for file in ("keys/node", "blobs/partial/x", "control.token", "keys/secret", "blobs/x"):
        (tmp_path / file).write_bytes(b"secret")
    (tmp_path / "blobs" / "link").symlink_to(tmp_path / "keys")
    (tmp_path / "blobs" / "filelink").symlink_to(tmp_path / "control.token")
    with pytest.raises((ValueError, OSError)):
        accel.opened(tmp_path, name.replace(b"file-link", b"filelink"), b"0-6")[0].close()
    file, first, count = accel.opened(tmp_path, b"blobs/x", b"2-4")
    with file:
        assert (file.read(), first, count) == (b"secret", 2, 4)


@pytest.mark.parametrize("span", [b"", b"1", b"-1-5", b"a-b", b"0-" + b"9" * 50])
def test_which_bytes_are_meant_is_said_or_nothing_is_opened(tmp_path: Path, span: bytes) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "x").write_bytes(b"1")
    with pytest.raises(ValueError, match="meant"):
        accel.opened(tmp_path, b"blobs/x", span)


def test_what_is_no_answer_of_a_node_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        Answer(bodiless=False).feed(b"\x16\x03\x01 not http")


@pytest.mark.parametrize(
    ("bodiless", "more"),
    [
        (False, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        (True, b"okHTTP/1.1 200 OK\r\n\r\n"),
        (True, b"o"),
    ],
)
def test_a_link_on_which_more_came_than_was_asked_for_is_not_kept(bodiless: bool, more: bytes) -> None:
    answer = Answer(bodiless=bodiless)
    answer.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n" + (b"" if bodiless else b"ok"))
    assert (answer.complete, answer.keep) == (True, True)
    with suppress(ValueError):
        answer.feed(more)
    assert (answer.status, answer.keep) == (200, False)
