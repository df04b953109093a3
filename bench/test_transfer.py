"""A verified copy between two nodes over loopback, beside plain copies of the same bytes; the first byte; memory.

`transfer/verified-copy`: the two nodes share one process and one loop, so the figure is that of one core for both ends
and CURVE in the I/O threads. The second baseline is what verification alone costs: each chunk's BLAKE3.

`transfer/between-processes`: each node has a process of its own, and so has each baseline's other end. Raw ZeroMQ is a
ROUTER and a DEALER with the same security and credit, that verify and write nothing.

Connections are made before the clock starts.
"""

import datetime
import ipaddress
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bench.ends import CHUNK, GIVER, bare_client, linked, other_end
from bench.ends import links_of as node_of
from bench.harness import LONG, Figure, Timed, budget, row
from bench.memory import peak_mb
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


# -- a process each --


async def seconds_between(manifest: Manifest, handle: int, control: str, plain: bool) -> float:
    """How long one fetch from another process takes, over a line that is open."""
    links = node_of(2, plain=plain)
    plane = DataPlane(links, lambda *_: None)
    async with trio.open_nursery() as nursery:
        await nursery.start(links.run)
        await nursery.start(plane.run)
        await linked(links, control)
        await plane.lines.line(GIVER)
        started = time.perf_counter()
        await plane.fetch(manifest, [GIVER], lambda at, data: os.pwrite(handle, data, at) and None)
        took = time.perf_counter() - started
        nursery.cancel_scope.cancel()
    assert plane.counters.bytes_received == manifest.size
    return took


def seconds_bare(security: str, endpoint: str, count: int) -> float:
    """The same chunks over bare ZeroMQ, 64 asked ahead: received and dropped."""
    with bare_client(security, endpoint) as sock:
        sock.send(b"ready")
        sock.recv()
        started, asked = time.perf_counter(), 0
        for got in range(count):
            while asked < count and asked - got < 64:
                sock.send(b"%d" % asked)
                asked += 16
            sock.recv_multipart(copy=False)
        return time.perf_counter() - started


def seconds_tcp(port: int, handle: int, size: int) -> float:
    buffer, at = memoryview(bytearray(CHUNK)), 0
    started = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        while got := sock.recv_into(buffer):
            os.pwrite(handle, buffer[:got], at)
            at += got
    assert at == size
    return time.perf_counter() - started


async def seconds_tls(port: int, handle: int, size: int, certificate: Path) -> float:
    context, at = ssl.create_default_context(cafile=str(certificate)), 0
    stream = await trio.open_ssl_over_tcp_stream(
        "127.0.0.1", port, ssl_context=context, https_compatible=True
    )
    await stream.do_handshake()
    started = time.perf_counter()
    while data := await stream.receive_some(CHUNK):
        os.pwrite(handle, data, at)
        at += len(data)
    assert at == size
    took = time.perf_counter() - started
    await stream.aclose()
    return took


def certificate_in(folder: Path) -> Path:
    """A key and a certificate of 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.mark.parametrize("at", ["curve", "plain"])
@row(
    "transfer/between-processes",
    "64 MiB from one process to another, verified and written",
    unit="GB/s",
    goal={"curve": 0.7, "plain": 1.2},
    rounds=7,
)
def test_verified_copy_between_processes(measure, file, tmp_path, at):
    manifest, certificate = Manifest.of([file.read_bytes()]), certificate_in(tmp_path)
    paper = tmp_path / "manifest"
    paper.write_bytes(manifest.encode())

    def rate(seconds: Callable[[], float]) -> Figure:
        return Figure(lambda: SIZE / 1e9 / seconds())

    with ExitStack() as ends:
        node = ends.enter_context(other_end("node", str(file), str(paper)))
        bare = ends.enter_context(other_end("bare", at, str(file)))
        tcp = ends.enter_context(other_end("tcp", str(file)))
        tls = ends.enter_context(other_end("tls", str(file), str(certificate)))
        into, other = (
            ends.enter_context(target(tmp_path / "copy")),
            ends.enter_context(target(tmp_path / "raw")),
        )
        measure(
            rate(lambda: trio.run(seconds_between, manifest, into, node["control"], at == "plain")),
            {
                "raw ZeroMQ": rate(lambda: seconds_bare(at, bare["endpoint"], manifest.count)),
                "raw TCP": rate(lambda: seconds_tcp(tcp["port"], other, SIZE)),
                "trio TLS": rate(lambda: trio.run(seconds_tls, tls["port"], other, SIZE, certificate)),
            },
        )
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()


@LONG
@row("transfer/rsync", "64 MiB from one process to another, beside rsync of the file", unit="GB/s", rounds=5)
def test_copy_beside_rsync(measure, file, tmp_path):
    """rsync compares and writes a local file through a pipe between two processes of its own."""
    program = shutil.which("rsync")
    if program is None:
        measure.unable("rsync is not installed")
        return
    manifest, paper = Manifest.of([file.read_bytes()]), tmp_path / "manifest"
    paper.write_bytes(manifest.encode())

    def by_rsync() -> float:
        copy = tmp_path / "rsynced"
        copy.unlink(missing_ok=True)
        started = time.perf_counter()
        subprocess.run([program, "--whole-file", str(file), str(copy)], check=True)
        return SIZE / 1e9 / (time.perf_counter() - started)

    with other_end("node", str(file), str(paper)) as node, target(tmp_path / "copy") as into:
        measure(
            Figure(lambda: SIZE / 1e9 / trio.run(seconds_between, manifest, into, node["control"], False)),
            {"rsync": Figure(by_rsync)},
        )


def large(folder: Path, size: int) -> tuple[Path, Path, Manifest]:
    """A file of zeros that takes no disk, and its manifest; the hashes of the whole are made up, since only a
    shelf looks at them."""
    path, paper = folder / f"zeros-{size}", folder / f"manifest-{size}"
    with path.open("wb") as file:
        file.truncate(size)
    one = Manifest.of([bytes(CHUNK)])
    manifest = Manifest(size, one.sha256, one.blake3, one.chunks * (size // CHUNK))
    paper.write_bytes(manifest.encode())
    return path, paper, manifest


async def ms_to_first_byte(manifest_id: bytes, control: str) -> float:
    """From asking for a file of which nothing is known but its name to its first verified byte; nothing is open."""
    links = node_of(2)
    plane = DataPlane(links, lambda *_: None)
    async with trio.open_nursery() as nursery:
        await nursery.start(links.run)
        await nursery.start(plane.run)
        await linked(links, control)
        started, took = time.perf_counter(), []

        def write(at: int, data: bytes | memoryview) -> None:
            if not took:
                assert at == 0
                took.append(time.perf_counter() - started)
                nursery.cancel_scope.cancel()

        manifest = await plane.manifest(manifest_id, [GIVER])
        await plane.fetch(manifest, [GIVER], write, ordered=True)
    return took[0] * 1e3


@row("transfer/first-byte", "first byte of 1 GiB, no data link open yet", unit="ms", goal=50, rounds=9)
def test_first_byte(measure, tmp_path):
    path, paper, manifest = large(tmp_path, 1 << 30)
    with other_end("node", str(path), str(paper)) as node, other_end("bare", "curve") as bare:

        def connect_and_ask() -> float:
            started = time.perf_counter()
            with bare_client("curve", bare["endpoint"]) as sock:
                sock.send(b"ready")
                sock.recv()
                return (time.perf_counter() - started) * 1e3

        measure(
            Figure(lambda: trio.run(ms_to_first_byte, manifest.id, node["control"])),
            {"a bare ZeroMQ connection and one answer": Figure(connect_and_ask)},
        )


@LONG
@row("transfer/memory", "growth of the receiving node while 1 GiB comes", unit="MB", goal=32, rounds=3)
def test_memory_while_a_large_file_comes(measure, tmp_path):
    """Against the same node that fetches one chunk."""

    def peak(size: int) -> float:
        path, paper, _ = large(tmp_path, size)
        with other_end("node", str(path), str(paper)) as node:
            return peak_mb("bench.ends", "receiving", node["control"], str(paper), str(tmp_path / "into"))

    measure(Figure(lambda: peak(1 << 30) - peak(CHUNK)), {"budget": budget(64.0)})
