"""A verified copy between two nodes over loopback, beside a plain socket copy of the same bytes.

The two nodes share one process and one loop, so the figure is that of one core for both ends and CURVE in
the I/O threads; two processes do better. `extra_info` holds GB/s. The ratio counts, seconds are the machine's.
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

from pyrsia import keys
from pyrsia.net.data import DataPlane, Served
from pyrsia.net.links import Links
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import CHUNK_BYTES

SIZE = 64 << 20
ROUNDS = 3


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


async def seconds_of_copies(path: Path, handle: int, sources: int) -> list[float]:
    """How long each of a few fetches takes, connections included."""
    manifest = Manifest.of([path.read_bytes()])  # noqa: ASYNC240 - before anything runs
    givers, taker = [links_of(i + 1) for i in range(sources)], links_of(99)
    took = []
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
        for _ in range(ROUNDS):
            started = trio.current_time()
            await planes[-1].fetch(
                manifest,
                [links.node for links in givers],
                lambda offset, data: os.pwrite(handle, data, offset) and None,
            )
            took.append(trio.current_time() - started)
        nursery.cancel_scope.cancel()
    assert planes[-1].counters.bytes_received == ROUNDS * SIZE
    return took


def report(benchmark, took: list[float]) -> None:
    benchmark.extra_info["gb_per_s_at_best"] = round(SIZE / min(took) / 1e9, 2)


@pytest.mark.benchmark(group="verified copy, 64 MiB")
@pytest.mark.parametrize("sources", [1, 2])
def test_verified_copy_over_curve(benchmark, file, tmp_path, sources):
    with target(tmp_path / "copy") as handle:
        took = benchmark.pedantic(
            lambda: trio.run(seconds_of_copies, file, handle, sources), rounds=1, iterations=1
        )
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()
    report(benchmark, took)


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


@pytest.mark.benchmark(group="verified copy, 64 MiB")
def test_plain_socket_copy(benchmark, file, tmp_path):
    with target(tmp_path / "copy") as handle:
        benchmark.pedantic(plain_copy, (file, handle), rounds=ROUNDS, iterations=1)
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()
    if benchmark.stats:
        report(benchmark, [benchmark.stats["min"]])


@pytest.mark.benchmark(group="verified copy, 64 MiB")
def test_hashing_alone(benchmark, file):
    """What verification costs: each chunk's BLAKE3, nothing else."""
    data = memoryview(file.read_bytes())
    manifest = Manifest.of([data])

    def verify() -> bool:
        spans = (manifest.span(index) for index in range(manifest.count))
        return all(manifest.holds(i, data[at : at + size]) for i, (at, size) in enumerate(spans))

    assert benchmark.pedantic(verify, rounds=ROUNDS, iterations=1)
    if benchmark.stats:
        report(benchmark, [benchmark.stats["min"]])
