"""A real node's port: with workers beside it, and with TLS; how it starts, is killed, and ends.

The node is a follower that runs alone: nothing here needs agreement.
"""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from pyrsia.demo.network import Network, Node
from tests.unit.serve.certificates import make_certificate

pytestmark = pytest.mark.processes

PUSH = b"PUT /v2/app/manifests/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n"


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    made = Network.create(isolation="namespace", environment="host:" + "0" * 64)
    try:
        yield made
    finally:
        made.stop_all()
        made.remove()


@contextlib.contextmanager
def running(network: Network, **http: str) -> Iterator[Node]:
    """The follower alone, with these values of its section `http`."""
    network.variables = {f"PYRSIA_HTTP__{key.upper()}": value for key, value in http.items()}
    node = network.follower
    network.start(node)
    try:
        yield node
    finally:
        network.stop(node)


def until(condition: Callable[[], object], patience_s: float = 30.0) -> None:
    end_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end_s, "it did not come to pass"
        time.sleep(0.02)


def workers_of(node: Node) -> list[int]:
    """Process ids of the node's workers, by their parent."""
    assert node.process is not None
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = status.read_text()
            if int(text.rpartition(")")[2].split()[1]) == node.process.pid:
                found.append(int(status.parent.name))
    return [pid for pid in found if b"pyrsia.node.worker" in _command(pid)]


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def alive(pid: int) -> bool:
    return b"pyrsia.node.worker" in _command(pid)


def answers(node: Node, **options) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{node.http}/healthz", **options).status_code == 200
    return False


def listeners(port: int) -> int:
    """How many sockets listen on a port of loopback."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[1] == f"0100007F:{port:04X}" and line.split()[3] == "0A" for line in lines)


def test_workers_answer_as_the_node_does_and_end_with_it(network: Network) -> None:
    with running(network, workers="2") as node:
        until(lambda: listeners(node.http_port) == 3)
        workers = workers_of(node)
        assert len(workers) == 2
        seen = [
            httpx.get(f"{node.http}/log/genesis").content for _ in range(12)
        ]  # new connections, dealt out
        assert set(seen) == {network.trust.read_bytes()}
        assert {httpx.get(node.http, headers={"host": "evil.example"}).status_code for _ in range(6)} == {421}
        assert {httpx.post(f"{node.http}/api/v1/entries").status_code for _ in range(6)} <= {401, 403}
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: listeners(node.http_port) == 3 and workers[0] not in workers_of(node))
        workers = workers_of(node)
        assert node.process is not None
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(10) == 0
        until(lambda: not any(map(alive, workers)), 5)
    assert not (node.data / "workers.sock").exists()


def test_a_node_that_is_killed_leaves_no_worker_and_starts_again(network: Network) -> None:
    with running(network, workers="1") as node:
        until(lambda: listeners(node.http_port) == 2)
        workers = workers_of(node)
        network.kill(node)
        until(lambda: not any(map(alive, workers)), 10)
        network.start(node)
        until(lambda: listeners(node.http_port) == 2 and answers(node))


def test_a_port_that_another_node_has_is_taken_also_with_workers(network: Network) -> None:
    with running(network, workers="1") as node:
        until(lambda: listeners(node.http_port) == 2)
        other = network.validators[0].data
        done = subprocess.run(
            [sys.executable, "-m", "pyrsia", "node", "run", "--data", str(other)],
            env=os.environ | {"PYRSIA_HTTP__WORKERS": "1", "PYRSIA_HTTP__PORT": str(node.http_port)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode != 0
        assert f"port {node.http_port} on 127.0.0.1 is already in use" in done.stderr


def test_a_push_without_a_token_is_refused_before_its_body_by_node_and_worker(network: Network) -> None:
    with running(network, workers="1") as node:
        until(lambda: listeners(node.http_port) == 2)
        for _ in range(6):
            with socket.create_connection(("127.0.0.1", node.http_port)) as sock:
                sock.sendall(PUSH + b"Expect: 100-continue\r\n\r\n")
                assert sock.recv(4_096).startswith(b"HTTP/1.1 401 ")


def test_a_node_with_a_certificate_speaks_tls_to_everybody(network: Network) -> None:
    cert, key = make_certificate(network.follower.data)
    with running(network, workers="1", tls_cert=cert.name, tls_key=key.name) as node:
        until(lambda: listeners(node.http_port) == 2)
        trusting = ssl.create_default_context(cafile=str(cert))
        url = node.http.replace("http:", "https:")
        for _ in range(6):
            assert httpx.get(f"{url}/log/genesis", verify=trusting).content == network.trust.read_bytes()
            assert "https://" in httpx.get(f"{node.http}/healthz").text
        assert httpx.get(f"{url}/api/v1/status", verify=trusting).json()["http"] == url
        if shutil.which("curl"):
            got = subprocess.run(
                ["curl", "-sS", "--fail", "--cacert", str(cert), f"{url}/healthz"],
                capture_output=True,
                check=True,
            )
            assert got.stdout


def test_a_certificate_that_cannot_be_used_ends_the_start_with_a_sentence(network: Network) -> None:
    node = network.follower
    make_certificate(node.data, b"secret")
    done = subprocess.run(
        [sys.executable, "-m", "pyrsia", "node", "run", "--data", str(node.data)],
        env=os.environ | {"PYRSIA_HTTP__TLS_CERT": "cert.pem", "PYRSIA_HTTP__TLS_KEY": "key.pem"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "passphrase" in done.stderr
    assert "Traceback" not in done.stderr
