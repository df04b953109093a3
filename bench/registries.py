"""A node as a registry beside those that people would run instead: Debian's docker-registry, nginx, pypiserver.

The node is a process as users have it, alone of its network: what it serves was pushed to it over its own doors.
"""

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyrsia.builds.pip import host
from pyrsia.demo.network import Network
from pyrsia.demo.ports import Ports

LAYER_BYTES = 64 << 20
IMAGE = "bench/app"
ACCEPT = "application/vnd.oci.image.manifest.v1+json"
PULLED_S = 15.0


@dataclass(frozen=True, slots=True)
class Place:
    """One server: its address, its process, and where it has the manifest and the layer of the image."""

    url: str
    pid: int
    manifest: str
    layer: str


@dataclass(slots=True)
class Image:
    """An OCI layout on disk with one layer of noise."""

    folder: Path
    layer: str  # hex
    manifest: bytes = b""

    @classmethod
    def make(cls, folder: Path) -> "Image":
        blobs = folder / "blobs" / "sha256"
        blobs.mkdir(parents=True)

        def keep(data: bytes, kind: str) -> dict[str, object]:
            digest = hashlib.sha256(data).hexdigest()
            (blobs / digest).write_bytes(data)
            return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            item = tarfile.TarInfo("noise")
            item.size = LAYER_BYTES
            tar.addfile(item, io.BytesIO(os.urandom(1 << 20) * (LAYER_BYTES >> 20)))
        plain = packed.getvalue()
        layer = gzip.compress(plain, 1, mtime=0)  # skopeo would pack a plain one itself
        digest, inside = hashlib.sha256(layer).hexdigest(), hashlib.sha256(plain).hexdigest()
        config = {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{inside}"]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": ACCEPT,
            "config": keep(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
            "layers": [keep(layer, "application/vnd.oci.image.layer.v1.tar+gzip")],
        }
        raw = json.dumps(manifest).encode()
        listed = keep(raw, ACCEPT)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [listed]}))
        return cls(folder, digest, raw)

    def push(self, host_port: str, *more: str) -> None:
        command = [
            "skopeo",
            "copy",
            "-q",
            "--dest-tls-verify=false",
            *more,
            f"oci:{self.folder}",
            f"docker://{host_port}/{IMAGE}:1",
        ]
        subprocess.run(command, check=True, timeout=120)

    def place(self, url: str, pid: int) -> Place:
        return Place(url, pid, f"{url}/v2/{IMAGE}/manifests/1", f"{url}/v2/{IMAGE}/blobs/sha256:{self.layer}")


@dataclass(slots=True)
class Lone:
    """A running follower and a token that may push everything to it."""

    network: Network
    token: str

    @property
    def url(self) -> str:
        return self.network.follower.http

    @property
    def pid(self) -> int:
        process = self.network.follower.process
        assert process is not None
        return process.pid

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")


@contextmanager
def lone_node(**variables: str) -> Iterator[Lone]:
    """A node that nobody else of its network meets."""
    network = Network.create(isolation="namespace", environment=host.environment())
    network.variables = variables
    try:
        network.start(network.follower)
        network.wait_ready(network.follower)
        told = subprocess.run(
            [sys.executable, "-m", "pyrsia", "keys", "token", "--scope", "push", "--json",
             "--node", str(network.follower.data)],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        yield Lone(network, json.loads(told.stdout)["token"])
    finally:
        network.stop_all()
        network.remove()


@contextmanager
def docker_registry(folder: Path) -> Iterator[tuple[str, int]]:
    """(host:port, process id) of Debian's registry with its quickest settings."""
    settings = folder / "registry.yml"
    with closing(Ports()) as ports:
        (port,) = ports.hold(1)
        settings.write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f'storage: {{cache: {{blobdescriptor: inmemory}}, filesystem: {{rootdirectory: "{folder / "images"}"}}}}\n'
            f'http: {{addr: "127.0.0.1:{port}"}}\n'
        )
        with running(["docker-registry", "serve", str(settings)], port) as pid:
            yield f"127.0.0.1:{port}", pid


@contextmanager
def nginx(folder: Path) -> Iterator[tuple[str, int]]:
    """(URL, process id of the worker) of nginx that serves `folder`."""
    state = folder.parent / f"{folder.name}.nginx"
    state.mkdir()
    settings = state / "nginx.conf"
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    with closing(Ports()) as ports:
        (port,) = ports.hold(1)
        settings.write_text(_nginx(folder, state, port))
        with running([program, "-c", str(settings), "-p", str(state)], port) as pid:
            yield f"http://127.0.0.1:{port}", pid


def _nginx(folder: Path, state: Path, port: int) -> str:
    return (
        f"daemon off; master_process off; worker_processes 1; pid {state}/pid; error_log stderr crit;\n"
        "events { worker_connections 1024; }\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;\n"
        f"client_body_temp_path {state}/b; scgi_temp_path {state}/s;\n"
        f"proxy_temp_path {state}/p; fastcgi_temp_path {state}/f; uwsgi_temp_path {state}/u;\n"
        f"server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n"
    )


@contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    """The process id of a server that listens at `port` and dies with the block."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 20
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if time.monotonic() > until or process.poll() is not None:
                        raise RuntimeError(f"{command[0]} does not listen") from None
                    time.sleep(0.05)
            yield process.pid
        finally:
            process.send_signal(signal.SIGKILL)


# -- clients --


def ab(url: str, count: int, at_once: int, **headers: str) -> None:
    """`count` requests over `at_once` kept connections; every answer must be what the first one was.

    Raises:
        RuntimeError: an answer was no 2xx, was cut, or had another length.
    """
    more = [part for name, value in headers.items() for part in ("-H", f"{name.replace('_', '-')}: {value}")]
    done = subprocess.run(["ab", "-q", "-k", "-n", str(count), "-c", str(at_once), *more, url],
                          capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
    failed = re.search(r"Failed requests:\s+(\d+)", done.stdout)
    if done.returncode or "Non-2xx" in done.stdout or failed is None or failed[1] != "0":
        raise RuntimeError(f"{url}: {done.stdout[-800:]}{done.stderr[-400:]}")


def got(url: str, **headers: str) -> bytes:
    """A whole body."""
    more = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    return subprocess.run(
        ["curl", "-sS", "-f", *more, url], check=True, timeout=120, stdout=subprocess.PIPE
    ).stdout


def curl(url: str) -> None:
    """One whole body, thrown away."""
    subprocess.run(["curl", "-sS", "-f", "-o", "/dev/null", url], check=True, timeout=120)


def asked_ms(place: Place, count: int) -> list[float]:
    """Times of small requests, one after the other on one connection."""
    host_port = place.url.removeprefix("http://")
    name, _, port = host_port.partition(":")
    path = place.manifest.removeprefix(place.url)
    request = f"GET {path} HTTP/1.1\r\nHost: {host_port}\r\nAccept: {ACCEPT}, */*\r\n\r\n".encode()
    times = []
    with socket.create_connection((name, int(port)), 20) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            began = time.perf_counter()
            sock.sendall(request)
            answer = sock.recv(65_536)
            while not answer.endswith(b"}"):
                more = sock.recv(65_536)
                if not more:
                    raise RuntimeError(f"{place.url} closed")
                answer += more
            times.append((time.perf_counter() - began) * 1_000)
    return times


@contextmanager
def downloads(place: Place, count: int) -> Iterator[None]:
    """Whole layers over `count` connections, again and again until the block ends."""
    over = threading.Event()

    def one() -> None:
        while not over.is_set():
            curl(place.layer)

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@contextmanager
def slow_readers(place: Place, count: int) -> Iterator[None]:
    """Clients that asked for the layer, took the first bytes, and take no more."""
    host_port = place.url.removeprefix("http://")
    name, _, port = host_port.partition(":")
    path = place.layer.removeprefix(place.url)
    with ExitStack() as stack:
        for _ in range(count):
            sock = stack.enter_context(socket.create_connection((name, int(port)), 20))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host_port}\r\n\r\n".encode())
            if b" 200 " not in sock.recv(1_024):
                raise RuntimeError(f"{place.url} does not give the layer")
        time.sleep(0.5)  # what the server reads ahead for them, it has read
        yield


def percentile(times: list[float], part: float) -> float:
    return statistics.quantiles(times, n=1_000)[round(part * 1_000) - 1]


def wheels(folder: Path, count: int) -> list[str]:
    """Small pure wheels, each with one module; their names."""
    names = []
    for at in range(count):
        name, info = f"small_{at}", f"small_{at}-1.0.dist-info"
        members: Mapping[str, str] = {
            f"{name}.py": f"NUMBER = {at}\n",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: small-{at}\nVersion: 1.0\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
            for path, text in members.items():
                archive.writestr(path, text)
            archive.writestr(
                f"{info}/RECORD", "".join(f"{path},,\n" for path in (*members, f"{info}/RECORD"))
            )
        names.append(f"small-{at}")
    return names
