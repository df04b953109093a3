"""Requests a second of our server beside a plain Python baseline, and bytes a second of a file.

Each server is a process of its own; the client is the same for both: 32 keep-alive connections, one
request on each, then every answer. Ratios count, seconds do not. The baseline is `http.server` of the
standard library with keep-alive and one thread a connection.
"""

import http.server
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trio

from pyrsia.serve.http import listen_tcp, serve

BODY = b'{"ok":true,"v":"' + b"x" * 480 + b'"}'
REQUEST = b"GET /%b HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"
CONNECTIONS = 32
ROUNDS = 20
FILE_BYTES = 64 * 1024 * 1024


async def app(scope, receive, send):
    """A small body, or the file that a path names (the bench's own; no server of ours does this)."""
    if scope["path"] == "/small":
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})
        return
    headers = [(b"content-length", b"%d" % FILE_BYTES)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    with open(scope["path"], "rb") as file:  # noqa: ASYNC230
        await send({"type": "http.response.zerocopysend", "file": file, "count": FILE_BYTES})


async def run_ours() -> None:
    listener = await listen_tcp("127.0.0.1", 0)
    print(listener.port, flush=True)
    await serve(app, [listener])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet, as ours

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *args):
        pass


def run_baseline() -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


@contextmanager
def running(kind: str) -> Iterator[int]:
    """The port of a server process that dies with the block."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    with subprocess.Popen(
        [sys.executable, __file__, kind], stdout=subprocess.PIPE, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


def ask(socks: list[socket.socket]) -> None:
    request = REQUEST % b"small"
    for _ in range(ROUNDS):
        for sock in socks:
            sock.sendall(request)
        for sock in socks:
            answer = sock.recv(65_536)
            while not answer.endswith(b'"}'):
                more = sock.recv(65_536)
                assert more, "the server closed"
                answer += more


@pytest.mark.benchmark(group="small GET over 32 connections")
@pytest.mark.parametrize("kind", ["ours", "http.server"])
def test_small_get(benchmark, kind):
    with running(kind) as port, ExitStack() as stack:
        socks = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(CONNECTIONS)
        ]
        benchmark(ask, socks)
    benchmark.extra_info["requests_per_s"] = round(CONNECTIONS * ROUNDS / benchmark.stats.stats.median)


@pytest.mark.benchmark(group="file GET, 64 MiB over one connection")
def test_file_get(benchmark, tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(os.urandom(1 << 20) * (FILE_BYTES >> 20))
    buffer = bytearray(1 << 20)

    def fetch(sock):
        sock.sendall(REQUEST % str(path).lstrip("/").encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(65_536)
        left = FILE_BYTES - len(head.partition(b"\r\n\r\n")[2])
        while left:
            left -= sock.recv_into(buffer, min(left, len(buffer)))

    with running("ours") as port, socket.create_connection(("127.0.0.1", port)) as sock:
        benchmark(fetch, sock)
    benchmark.extra_info["gb_per_s"] = round(FILE_BYTES / benchmark.stats.stats.median / 1e9, 2)


if __name__ == "__main__":
    if sys.argv[1] == "ours":
        trio.run(run_ours)
    else:
        run_baseline()
