"""What slow readers cost: counted in a process of its own, because memory has no owner inside of one."""

import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.unit.serve.certificates import make_certificate

FILE_BYTES = 32 << 20  # more than the buffers of two sockets take
ROOT = Path(__file__).resolve().parents[4]

SERVER = """
import sys
from pathlib import Path
import trio
from pyrsia.serve.answers import send_file
from pyrsia.serve.http.server import listen_tcp, serve
from pyrsia.serve.http.tls import configured

path, *files = map(Path, sys.argv[1:])

async def app(scope, receive, send):
    await send_file(scope, send, path, path.stat().st_size, kind=b"x/y", etag=b'"e"')

async def main():
    tls = configured(Path("/"), str(files[0]), str(files[1])) if files else None
    listener = await listen_tcp("127.0.0.1", 0, tls=tls)
    print(listener.port, flush=True)
    await serve(app, [listener])

trio.run(main)
"""


@contextmanager
def server(*arguments: Path) -> Iterator[tuple[int, int]]:
    """(process id, port) of a server of one file."""
    command = [sys.executable, "-c", SERVER, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            yield process.pid, int(process.stdout.readline())
        finally:
            process.kill()


def anonymous_bytes(pid: int) -> int:
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found.group(1)) * 1024


def ask(port: int, trusting: ssl.SSLContext | None) -> socket.socket:
    """A client that asks for the file and has read a kilobyte of it."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    if trusting is not None:
        sock = trusting.wrap_socket(sock, server_hostname="localhost")
    sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert sock.recv(1_024).startswith(b"HTTP/1.1 200 ")
    return sock


@pytest.mark.processes
@pytest.mark.parametrize(
    ("tls", "readers", "most_bytes"), [(False, 200, 20 << 20), (True, 50, 10 << 20)], ids=["plain", "TLS"]
)
def test_slow_readers_of_one_file_cost_little_memory(
    tmp_path: Path, tls: bool, readers: int, most_bytes: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1 << 20) * (FILE_BYTES >> 20))
    files = make_certificate(tmp_path) if tls else ()
    trusting = ssl.create_default_context(cafile=str(files[0])) if files else None
    with server(path, *files) as (pid, port), ExitStack() as stack:
        ask(port, trusting).close()  # what is needed once is there
        before = anonymous_bytes(pid)
        slow = [stack.enter_context(ask(port, trusting)) for _ in range(readers)]
        for _ in range(3):  # slow, not stalled: each still gets on
            for reader in slow:
                assert reader.recv(4_096)
        assert anonymous_bytes(pid) - before <= most_bytes
