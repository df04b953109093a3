"""A node that answers what a test says, over HTTP or over a control socket. Loopback, a free port, one thread."""

import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit


class Posted:
    """An answer that depends on what was sent: `make` takes the body and gives a status and a value."""

    def __init__(self, make):
        self.make = make


class FakeNode:
    """`answers`: path -> (status, body): bytes, a value that becomes JSON, a function of the query that makes one, or
    `Posted`.

    Attributes:
        by_headers: if set, what every request is answered: a function of its headers that gives a status and a value.
        seen: (method, path with query, headers, body) of every request, in order.
    """

    def __init__(self, answers=None, *, socket=None):
        self.answers = answers or {}
        self.by_headers = None
        self.seen = []
        handler = self._handler()
        if socket is None:
            self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        else:
            self.server = _Unix(str(socket), handler)
            self.url = str(socket)
        self.server.daemon_threads = True
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)

    def _handler(self):
        node = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self._answer()

            def do_HEAD(self):
                self._answer()

            def do_POST(self):
                self._answer()

            def _answer(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                node.seen.append((self.command, self.path, dict(self.headers), body))
                status, value = node.answers.get(
                    urlsplit(self.path).path,
                    (404, {"error": {"code": "not-found", "what": "no", "who": "x", "do": "y"}}),
                )
                if node.by_headers is not None:
                    status, value = node.by_headers(dict(self.headers))
                if isinstance(value, Posted):
                    status, value = value.make(body)
                if callable(value):
                    value = value(dict(parse_qsl(urlsplit(self.path).query)))
                data = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def address_string(self):
                return "test"

            def log_message(self, *_):
                pass

        return Handler


class _Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    pass


NODE = "a" * 52
STATUS = {
    "node_id": NODE,
    "name": "alpha",
    "role": "validator",
    "network": "test",
    "demo": True,
    "version": "0",
    "uptime_s": 1.5,
    "isolation": "namespace",
    "log": {
        "size": 7,
        "root": "ab" * 32,
        "height": 3,
        "view": 4,
        "time_ms": 5,
        "cosigned": 3,
        "validators": 4,
    },
    "peers": 2,
    "peer_count_expected": 4,
    "http": "http://127.0.0.1:1",
    "notices": ["ALARM: look"],
}
PEER = {
    "node_id": "b" * 52,
    "name": "beta",
    "role": "member",
    "address": "tcp://x:1",
    "connected": True,
    "rtt_ms": 2,
    "state": "alive",
}
BUILD = {
    "request": "c" * 64,
    "purl": "pkg:pypi/idna@1.0",
    "state": "done",
    "verdict": "REPRODUCED",
    "builders": ["d" * 52, "e" * 52],
    "committed": ["d" * 52],
    "revealed": ["d" * 52],
    "agreeing": ["d" * 52],
    "dissenting": ["e" * 52],
    "file": "idna-1.0-py3-none-any.whl",
    "sha256": "f" * 64,
    "note": "a word",
}
FACT = {
    "leaf": 6,
    "time_ms": 5,
    "id": "12" * 32,
    "author": NODE,
    "author_name": "alpha",
    "kind": "advisory",
    "subject": "pkg:pypi/idna",
    "text": "it breaks",
    "state": "stands",
    "by": -1,
    "body": {
        "advisory": "CVE-1",
        "kind": "advisory",
        "severity": "high",
        "subject": "pkg:pypi/idna",
        "text": "it breaks",
        "valid_from": 1,
    },
}
TOLD = {"subject": "pkg:pypi/idna", "size": 7, "time_ms": 5, "whole": True, "facts": [FACT], "next": -1}
SAID = {"outcomes": [{"outcome": "added", "leaf": 7, "error": None}]}
PROOF = {
    "index": 2,
    "size": 7,
    "root": "ab" * 32,
    "leaf_hash": "cd" * 32,
    "hashes": ["00" * 32],
    "entry": "{}",
    "proof": "",
}
ANSWERS = {
    "/healthz": (200, {"ready": True}),
    "/api/v1/status": (200, STATUS),
    "/api/v1/peers": (200, {"peers": [PEER]}),
    "/peers": (200, [PEER["node_id"]]),
    "/api/v1/builds": (200, {"builds": [BUILD]}),
    f"/api/v1/builds/{BUILD['request']}": (200, BUILD),
    "/api/v1/facts": (200, TOLD),
    "/api/v1/facts/batch": (200, SAID),
    "/api/v1/facts/follow": (200, b"\n" + json.dumps(FACT).encode() + b"\n"),
    "/api/v1/log/head": (200, STATUS["log"]),
    "/api/v1/log/entries": (200, {"entries": [{"index": 6, "kind": "fact.add", "summary": "a fact"}]}),
    "/api/v1/log/prove": (200, PROOF),
}
