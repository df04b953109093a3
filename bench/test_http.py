"""Requests a second of our server beside a plain Python baseline, and bytes a second of a file.

Each server is a process of its own; the client is the same for both: 32 keep-alive connections, one
request on each, then every answer. The baseline is `http.server` of the standard library with keep-alive and
one thread a connection; for a file, a thread that does nothing but `sendfile`.
"""

import http.server
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import trio

from bench.harness import Timed, row
from pyrsia.serve.http.server import listen_tcp, serve

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


def run_sendfile() -> None:
    """One connection: a head, then the file that the request names, straight from the kernel."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        sock, _ = server.accept()
    with sock:
        while request := sock.recv(65_536):
            sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % FILE_BYTES)
            with open(request.split()[1], "rb") as file:
                sock.sendfile(file)


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


@contextmanager
def connected(port: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(CONNECTIONS)]


@row("http/small-get", "500-byte answers over 32 connections", unit="requests/s")
def test_small_get(measure):
    with (
        running("ours") as our_port,
        running("http.server") as their_port,
        connected(our_port) as ours,
        connected(their_port) as theirs,
    ):
        asked = CONNECTIONS * ROUNDS
        measure(Timed(lambda: ask(ours), asked), {"http.server": Timed(lambda: ask(theirs), asked)})


def read_file(sock: socket.socket, path: Path, buffer: bytearray) -> None:
    """Ask for the file and take every byte of it."""
    sock.sendall(REQUEST % str(path).lstrip("/").encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(65_536)
    left = FILE_BYTES - len(head.partition(b"\r\n\r\n")[2])
    while left:
        got = sock.recv_into(buffer, min(left, len(buffer)))
        assert got, "the server closed"
        left -= got


@row("http/file-get", "64 MiB over one connection", unit="GB/s")
def test_file_get(measure, tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(os.urandom(1 << 20) * (FILE_BYTES >> 20))
    buffer = bytearray(1 << 20)
    with (
        running("ours") as our_port,
        running("sendfile") as their_port,
        socket.create_connection(("127.0.0.1", our_port)) as ours,
        socket.create_connection(("127.0.0.1", their_port)) as theirs,
    ):
        measure(
            Timed(lambda: read_file(ours, path, buffer), FILE_BYTES),
            {"bare sendfile": Timed(lambda: read_file(theirs, path, buffer), FILE_BYTES)},
        )


if __name__ == "__main__":
    {"ours": lambda: trio.run(run_ours), "http.server": run_baseline, "sendfile": run_sendfile}[sys.argv[1]]()
