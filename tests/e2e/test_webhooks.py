"""A real node's webhook: what comes of it when its receiver is down, and when the node is killed meanwhile."""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from pyrsia import config
from pyrsia.demo.network import DemoFailed, Network, Node
from pyrsia.knowledge.calling import signature

pytestmark = pytest.mark.processes

SECRET = "0123456789abcdef" * 4


class Receiver(ThreadingHTTPServer):
    """Answers with `status`.

    Attributes:
        taken: leaves of each call that it took; ids: of every call; forged: calls that were not signed rightly.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 503
        self.taken: list[list[int]] = []
        self.ids: list[str] = []
        self.forged = 0

    def leaves(self) -> list[int]:
        """In the order in which they first came: a call may come twice."""
        return list(dict.fromkeys(leaf for call in self.taken for leaf in call))


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.forged += self.headers["x-pyrsia-signature"] != signature(SECRET.encode(), body)
        self.server.ids.append(self.headers["x-pyrsia-delivery"])
        if self.server.status == 200:
            self.server.taken.append([one["leaf"] for one in json.loads(body)["facts"]])
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def pyrsia(node: Node, *words: str) -> str:
    command = [sys.executable, "-m", "pyrsia", *words, "--node", str(node.data)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def say(node: Node, advisory: str) -> int:
    """An advisory, by an issuer; its leaf."""
    words = (
        "facts", "add", "advisory", "pkg:pypi/greeting", "--text", "it greets",
        "--field", f"advisory={advisory}", "--field", "severity=high",
    )  # fmt: skip
    return int(pyrsia(node, *words).rpartition("leaf ")[2])


def hook(node: Node) -> dict[str, object]:
    found: list[dict[str, object]] = json.loads(pyrsia(node, "facts", "webhooks", "--json"))["webhooks"]
    return found[0]


def test_a_receiver_that_was_down_and_a_node_that_was_killed_lose_no_fact(network: Network) -> None:
    node, issuer = network.follower, network.nodes[0]
    before = say(issuer, "CVE-2026-1")  # there is no webhook yet
    # What a node fetches only after its webhook began would be told of too.
    network.wait(lambda: network.status(node)["log"]["size"] > before, 30, "the follower lags")
    with receiving() as server:
        network.stop(node)
        (node.data / "hook.secret").write_text(SECRET)
        settings = config.load(node.data, environ={})
        told = config.Webhook(
            f"http://127.0.0.1:{server.server_port}/facts",
            severity="high",
            secret_file="hook.secret",
            private=True,
        )
        config.save(msgspec.structs.replace(settings, knowledge=config.KnowledgeSection((told,))), node.data)
        network.start(node)
        network.wait_ready(node)
        network.wait(lambda: hook(node)["behind"] == 0, 30, "the webhook is not where the log is")

        leaves = [say(issuer, "CVE-2026-2")]
        network.wait(lambda: int(str(hook(node)["failures"])) >= 3, 60, "the webhook is not called again")
        [notice] = [one for one in network.status(node)["notices"] if one.startswith("webhook")]
        assert f"webhook http://127.0.0.1:{server.server_port} has not answered since" in notice
        network.kill(node)
        leaves.append(say(issuer, "CVE-2026-3"))
        calls = len(server.ids)
        server.status = 200
        network.start(node)
        try:
            network.wait(lambda: server.leaves() == leaves, 60, "facts are missing")
        except DemoFailed as error:
            pytest.fail(f"{error}: {server.taken} of {leaves}; {hook(node)}\n{node.diary(40)}")
        assert server.taken[0] == leaves[:1]
        assert len(set(server.ids[: calls + 1])) == 1  # the call after the kill is the one of before
        network.wait(lambda: int(str(hook(node)["delivered"])) >= 2, 30, "the node does not know it")
        assert "yes" in pyrsia(node, "facts", "webhooks")
        assert server.forged == 0
        assert SECRET not in node.diary(10_000)
