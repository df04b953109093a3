"""The other end of benches between two processes: a node, a bare ZeroMQ socket, TCP, TLS. Each is a process that ends
with its standard input, and prints where it listens.

    python -m bench.ends NAME [FILE] [MANIFEST]
"""

import json
import mmap
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio
import zmq

from pyrsia import keys
from pyrsia.net.data import DataPlane, Served
from pyrsia.net.links import Links
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import CHUNK_BYTES, NodeId

ROOT = Path(__file__).resolve().parents[1]
CHUNK = CHUNK_BYTES.value
METHOD = 2
GIVER = NodeId(keys.KeyPair(bytes([1]) * 32).public)
ANY = "tcp://127.0.0.1:*"


@contextmanager
def other_end(name: str, *arguments: str) -> Iterator[dict[str, str]]:
    """Run `name` in a process of its own; what it says of itself."""
    command = [sys.executable, "-m", "bench.ends", name, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def said(**what: str | int) -> None:
    print(json.dumps(what), flush=True)


def links_of(seed: int, *, plain: bool = False, data: bool = True, methods=None) -> Links:
    return Links(
        keys.KeyPair(bytes([seed]) * 32), b"c" * 32,
        control_addr=ANY, data_addr=ANY if data else "", plain_addr=ANY if plain else "",
        allow=lambda node: True, on_message=lambda node, kind, payload: None, methods=methods or {},
    )  # fmt: skip


async def linked(links: Links, endpoint: str) -> None:
    links.dial([(GIVER, endpoint)])
    with trio.fail_after(10):
        while not links.connected(GIVER):  # noqa: ASYNC110
            await trio.sleep(0.005)


# -- nodes --


async def node(path: str = "", manifest: str = "") -> None:
    """A node that gives one file, and answers METHOD with what it is sent."""
    links = links_of(1, plain=True, methods={METHOD: lambda _, body: body})
    paper = _read(manifest) if manifest else b""
    plane = DataPlane(links, lambda node, ident: Served(paper, Path(path)) if paper else None)
    async with trio.open_nursery() as nursery:
        await nursery.start(links.run)
        await nursery.start(plane.run)
        said(control=links.control_endpoint)
        await trio.to_thread.run_sync(sys.stdin.readline)
        nursery.cancel_scope.cancel()


async def receive(control: str, manifest: str, into: str) -> None:
    """A node that fetches one file: whose memory is watched."""
    paper = Manifest.decode(_read(manifest))
    links = links_of(2)
    plane = DataPlane(links, lambda *_: None)
    handle = os.open(into, os.O_RDWR | os.O_CREAT, 0o600)
    async with trio.open_nursery() as nursery:
        await nursery.start(links.run)
        await nursery.start(plane.run)
        await linked(links, control)
        await plane.fetch(paper, [GIVER], lambda at, data: os.pwrite(handle, data, at) and None)
        nursery.cancel_scope.cancel()
    os.close(handle)


def receiving(control: str, manifest: str, into: str) -> None:
    trio.run(receive, control, manifest, into)


# -- bare ZeroMQ --

BARE_SECRET = b"D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"  # the example of ZeroMQ's own manual
BARE_PUBLIC = zmq.curve_public(BARE_SECRET)


def bare(security: str, path: str = "") -> None:
    """A ROUTER: a number gets sixteen chunks from there on, anything else itself."""
    context = zmq.Context()
    sock = context.socket(zmq.ROUTER)
    sock.setsockopt(zmq.ROUTER_MANDATORY, 1)
    sock.setsockopt(zmq.SNDHWM, 32)
    sock.setsockopt(zmq.LINGER, 0)
    if security == "curve":
        sock.curve_server, sock.curve_secretkey = True, BARE_SECRET
    sock.bind(ANY)
    said(endpoint=sock.getsockopt_string(zmq.LAST_ENDPOINT))
    _end_with_stdin()
    view = memoryview(_mapped(path)) if path else memoryview(b"")
    while True:
        route, body = sock.recv_multipart()
        if not body.isdigit():
            sock.send_multipart([route, body])
            continue
        for at in range(int(body) * CHUNK, min(len(view), (int(body) + 16) * CHUNK), CHUNK):
            sock.send_multipart([route, b"c" * 38, view[at : at + CHUNK]], copy=False)


@contextmanager
def bare_client(security: str, endpoint: str) -> Iterator[zmq.Socket]:
    context = zmq.Context()
    sock = context.socket(zmq.DEALER)
    sock.setsockopt(zmq.RCVHWM, 32)
    sock.setsockopt(zmq.LINGER, 0)
    if security == "curve":
        sock.curve_serverkey = BARE_PUBLIC
        sock.curve_publickey, sock.curve_secretkey = zmq.curve_keypair()
    sock.connect(endpoint)
    try:
        yield sock
    finally:
        sock.close()
        context.term()


# -- streams --


def tcp(path: str) -> None:
    """Gives the file to whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        said(port=server.getsockname()[1])
        _end_with_stdin()
        view = memoryview(_mapped(path))
        while True:
            sock, _ = server.accept()
            with sock:
                for at in range(0, len(view), CHUNK):
                    sock.sendall(view[at : at + CHUNK])


async def tls(path: str, certificate: str) -> None:
    """The same over TLS, by trio."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    view = memoryview(_mapped(path))

    async def give(stream: trio.SSLStream) -> None:
        async with stream:
            for at in range(0, len(view), CHUNK):
                await stream.send_all(view[at : at + CHUNK])

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, give, listeners)
        said(port=listeners[0].transport_listener.socket.getsockname()[1])
        await trio.to_thread.run_sync(sys.stdin.readline)
        nursery.cancel_scope.cancel()


def _read(path: str) -> bytes:
    return Path(path).read_bytes()


def _mapped(path: str) -> mmap.mmap:
    with Path(path).open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _end_with_stdin() -> None:
    def wait() -> None:
        sys.stdin.readline()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    match name:
        case "node" | "tls":
            trio.run({"node": node, "tls": tls}[name], *arguments)
        case _:
            {"bare": bare, "tcp": tcp}[name](*arguments)
