"""A verified copy between two nodes over loopback, beside a plain socket copy of the same bytes.

The two nodes share one process and one loop, so the figure is that of one core for both ends and CURVE in
the I/O threads; two processes do better. Connections are made before the clock starts. The second baseline is what
verification alone costs: each chunk's BLAKE3.
"""

import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from bench.harness import Figure, Timed, row
from pyrsia import keys
from pyrsia.net.data import DataPlane, Served
from pyrsia.net.links import Links
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import CHUNK_BYTES

SIZE = 64 << 20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(secrets.token_bytes(1 << 20) * (SIZE >> 20))
    return path


@contextmanager
def target(path: Path) -> Iterator[int]:
    """A preallocated file to write in any order."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(handle, 0, SIZE)
        yield handle
    finally:
        os.close(handle)


def links_of(seed: int) -> Links:
    address = "tcp://127.0.0.1:*"
    return Links(
        keys.KeyPair(bytes([seed]) * 32),
        b"c" * 32,
        control_addr=address,
        data_addr=address,
        allow=lambda node: True,
        on_message=lambda node, kind, payload: None,
        methods={},
    )


async def seconds_of_copy(manifest: Manifest, path: Path, handle: int, sources: int) -> float:
    """How long one fetch takes, between nodes that are connected."""
    givers, taker = [links_of(i + 1) for i in range(sources)], links_of(99)
    async with trio.open_nursery() as nursery:
        planes = [
            DataPlane(links, lambda node, ident: Served(manifest.encode(), path))
            for links in (*givers, taker)
        ]
        for links, plane in zip((*givers, taker), planes, strict=True):
            await nursery.start(links.run)
            await nursery.start(plane.run)
        taker.dial([(links.node, links.control_endpoint) for links in givers])
        with trio.fail_after(10):
            while not all(taker.connected(links.node) for links in givers):  # noqa: ASYNC110
                await trio.sleep(0.01)
        started = trio.current_time()
        await planes[-1].fetch(
            manifest,
            [links.node for links in givers],
            lambda offset, data: os.pwrite(handle, data, offset) and None,
        )
        took = trio.current_time() - started
        nursery.cancel_scope.cancel()
    assert planes[-1].counters.bytes_received == SIZE
    return took


def plain_copy(path: Path, handle: int) -> None:
    """The same bytes through one TCP socket, unverified: read, send, receive, write."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def give() -> None:
            with socket.create_connection(server.getsockname()) as sock, path.open("rb") as source:
                while data := source.read(CHUNK_BYTES.value):
                    sock.sendall(data)

        giving = threading.Thread(target=give)
        giving.start()
        sock, _ = server.accept()
        with sock:
            buffer, offset = memoryview(bytearray(CHUNK_BYTES.value)), 0
            while got := sock.recv_into(buffer):
                os.pwrite(handle, buffer[:got], offset)
                offset += got
        giving.join(10)
    assert offset == SIZE


def verify(manifest: Manifest, data: memoryview) -> None:
    """What verification costs: each chunk's BLAKE3, nothing else."""
    spans = (manifest.span(index) for index in range(manifest.count))
    assert all(manifest.holds(i, data[at : at + size]) for i, (at, size) in enumerate(spans))


@pytest.mark.parametrize("at", ["1-source", "2-sources"])
@row("transfer/verified-copy", "64 MiB between nodes, CURVE, one process", unit="GB/s", goal=0.7, rounds=5)
def test_verified_copy_over_curve(measure, file, tmp_path, at):
    sources = int(at[0])
    data = memoryview(file.read_bytes())
    manifest = Manifest.of([data])
    with target(tmp_path / "copy") as handle, target(tmp_path / "plain") as plain:
        measure(
            Figure(lambda: SIZE / 1e9 / trio.run(seconds_of_copy, manifest, file, handle, sources)),
            {
                "plain socket": Timed(lambda: plain_copy(file, plain), SIZE),
                "BLAKE3 alone": Timed(lambda: verify(manifest, data), SIZE),
            },
        )
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()
    assert (tmp_path / "plain").read_bytes() == file.read_bytes()
