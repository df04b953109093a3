"""Four builders, a follower that people's clients use, and upstreams that count what they are asked for.

No file enters a store by hand: what the follower gives was built or witnessed by the others, from upstreams on this
machine. An upstream can be cut, and holds what policy refuses as well, so that a client that went around would get it.
"""

import concurrent.futures
import hashlib
import http.client
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyrsia.client import Client
from pyrsia.demo.network import Network, Node
from pyrsia.errors import Refusal

SUMS = {".sha1": "sha1", ".md5": "md5"}
ASKED_AT_ONCE = 8  # orders on their way to a node; it plans one after the other anyway


class Tree:
    """Files below a folder over HTTP, with Maven's checksums made as they are asked for; counts what it is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        tree = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                tree.asked.append(self.path)
                data = tree.read(self.path)
                self.send_response(200 if data is not None else 404)
                self.send_header("content-length", str(len(data or b"")))
                self.send_header(
                    "content-type", "text/html" if self.path.endswith("/") else "application/octet-stream"
                )
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(data or b"")

            do_HEAD = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def read(self, path: str) -> bytes | None:
        path, found = path.partition("?")[0].lstrip("/"), None
        if ".." in path.split("/"):
            return None
        for ending, kind in SUMS.items():
            beside = self.folder / path.removesuffix(ending)
            if path.endswith(ending) and beside.is_file():
                return hashlib.new(kind, beside.read_bytes()).hexdigest().encode()
        place = self.folder / path
        if place.is_dir():
            place = place / "index.html"
        if place.is_file():
            found = place.read_bytes()
        return found

    def given(self) -> list[str]:
        """Paths below the root that were asked for and are there."""
        return sorted({path.lstrip("/") for path in self.asked if (self.folder / path.lstrip("/")).is_file()})

    def cut(self) -> None:
        """Stop answering, for good."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class Between:
    """A proxy before a server that lies about bytes or goes away, so that a client can be watched.

    Attributes:
        lie: a file whose path has this in it comes with its last byte changed.
        cut: the first answer for each path that has this in it ends half-way.
    """

    def __init__(self, url: str) -> None:
        self.lie = self.cut = "\0"
        self.asked: list[str] = []
        host = urlsplit(url).netloc
        between, cut_before = self, set[str]()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                between.asked.append(self.path)
                link = http.client.HTTPConnection(host, timeout=60)
                link.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                link.putheader("Host", host)
                for name, value in self.headers.items():  # image tools send a line of Accept for each kind
                    if name.lower() != "host":
                        link.putheader(name, value)
                link.endheaders()
                answer = link.getresponse()
                data = answer.read()
                link.close()
                self.send_response(answer.status, answer.reason)
                for name, value in answer.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                        self.send_header(name, value)
                self.end_headers()
                if self.command == "HEAD":
                    return
                if between.lie in self.path and data and answer.status in (200, 206):
                    data = data[:-1] + bytes([data[-1] ^ 1])
                if between.cut in self.path and self.path not in cut_before and len(data) > 1:
                    cut_before.add(self.path)
                    self.wfile.write(data[: len(data) // 2])
                    self.close_connection = True
                    return
                self.wfile.write(data)

            do_HEAD = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def between(url: str) -> Iterator[Between]:
    found = Between(url)
    try:
        yield found
    finally:
        found.close()


def gavs(paths: Iterable[str]) -> list[str]:
    """The packages that files of a Maven repository belong to, as purls."""
    found = set()
    for path in paths:
        *group, artifact, version, name = path.split("/")
        if name.endswith((".pom", ".jar")) and group:
            found.add(f"pkg:maven/{'.'.join(group)}/{artifact}@{version}")
    return sorted(found)


@dataclass
class Field:
    """A network, and the node that clients use."""

    network: Network
    folder: Path
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def follower(self) -> Node:
        return self.network.follower

    @property
    def url(self) -> str:
        return self.follower.http

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def policy(self, text: str) -> None:
        """Let the follower's policy be this; it begins with it."""
        (self.follower.data / "policy.toml").write_text(text)

    @contextmanager
    def rules(self, text: str) -> Iterator[None]:
        """Other rules at the running follower until the block ends."""
        path = self.follower.data / "policy.toml"
        before = path.read_text()
        try:
            self.take_over(text)
            yield
        finally:
            self.take_over(before)

    def take_over(self, text: str, at: Node | None = None) -> None:
        """Let a running node's policy be this, which says something else than before; without `at` the follower's."""
        path = (at or self.follower).data / "policy.toml"
        if path.read_text() == text:
            return
        path.write_text(text)
        with (at or self.follower).client() as node:
            was = node.get("/api/v1/policy")["rules"]

            def taken() -> bool:
                return bool(node.get("/api/v1/policy")["rules"] != was)

            self.network.wait(taken, 20, "the node does not take other rules over")

    def pyrsia(self, *words: str, good: bool | None = True) -> str:
        """What a command printed that asks the follower; `good`: whether it must succeed, None: it may fail."""
        done = subprocess.run(
            [sys.executable, "-m", "pyrsia", *words],
            env=os.environ | {"PYRSIA_NODE": str(self.follower.data)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert good is None or (done.returncode == 0) == good, done.stdout[-3_000:] + done.stderr[-3_000:]
        return done.stdout + done.stderr

    def publish(self, orders: Sequence[Mapping[str, Any]], patience_s: float = 500.0) -> dict[str, str]:
        """Have the network build or witness something; purl -> verdict."""
        with concurrent.futures.ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
            told = pool.map(lambda order: self._order(order, patience_s), orders)
            names = [one for requests in told for one in requests]
        return self._verdicts(names, patience_s)

    def _order(self, order: Mapping[str, Any], patience_s: float) -> list[str]:
        """The requests that came of one order."""
        with self.network.nodes[0].client(patience_s) as node:
            while True:
                try:
                    told = node.post("/api/v1/builds", dict(order))
                    return [one["request"] for one in told["requests"]]
                except Refusal as refusal:
                    if refusal.code != "busy":
                        raise
                    time.sleep(refusal.retry_s or 0.2)

    def _verdicts(self, requests: Sequence[str], patience_s: float) -> dict[str, str]:
        found: dict[str, str] = {}
        left = list(dict.fromkeys(requests))

        def over() -> bool:
            with self.follower.client() as node:
                for request in tuple(left):
                    build = _build(node, request)
                    if build is None or build["state"] != "done":
                        return False
                    found[build["purl"]] = build["verdict"]
                    left.remove(request)
            return True

        self.network.wait(over, patience_s, f"{len(left)} builds do not end")
        return found


def _build(node: Client, request: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = node.get(f"/api/v1/builds/{request}")
        return found
    except Refusal as refusal:
        if refusal.code == "not-found":  # the follower is a block behind
            return None
        raise
