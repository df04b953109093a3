"""A server on the job's own loopback that gives Conan what the lock holds; it only ever runs inside the sandbox.

While planning it is asked for sources by their SHA-256 (Conan's "backup sources" protocol) and fetches them through
the one way out from where the recipe says that they are, if that is below a configured remote. In a build there is no
way out: it answers from the files that the node laid there, as a remote that has nothing but the lock.

Only the standard library and modules that say the same of themselves are imported.

Source: docs/builds-conan.md; Conan 2, `conan/internal/rest/caching_file_downloader.py`.
"""

import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pyrsia.builds.conan import rest
from pyrsia.builds.conan.names import Ref
from pyrsia.units import Limit

PORT: Final = 7998
REMOTE: Final = "locked"
SOURCES: Final = "sources"
_RECORD: Final = json.dumps({"references": {}, "timestamp": 0}).encode()
_ONE_TIME_MS: Final = 1_000_000_000_000  # any will do that Conan does not take for none
_SHA256: Final = re.compile("[0-9a-f]{64}")

_PATIENCE_S: Final = Limit(
    600, "the proxy reads an answer to its end first, and gives up after five minutes itself"
)


@dataclass(slots=True)
class Stock:
    """What the desk has.

    Attributes:
        files: reference -> published file name -> path.
        sources: SHA-256 -> path.
        origins: remote name -> base URL, of remotes that sources may be fetched from while planning.
        way_out: the address of the recording proxy; "" in a build.
    """

    files: dict[Ref, dict[str, Path]] = field(default_factory=dict)
    sources: dict[str, Path] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    way_out: str = ""

    def shelf(self, ref: Ref) -> rest.Shelf:
        return rest.Shelf((name, _ONE_TIME_MS) for name in self.files.get(ref, {}))


def candidates(sha256: str, urls: list[str], origins: Mapping[str, str], way_out: str) -> list[str]:
    """Where a source may be, through the way out: the recipe's own addresses first, then by digest."""
    found = []
    for url in urls:
        for name, base in sorted(origins.items()):
            if url.startswith(base.rstrip("/") + "/"):
                found.append(f"{way_out}/{name}/{quote(unquote(url[len(base.rstrip('/')) + 1 :]), safe='/')}")
    return [*found, *(f"{way_out}/{name}/{sha256}" for name in sorted(origins))]


def serve(stock: Stock, port: int = PORT) -> ThreadingHTTPServer:
    """Start answering on `port` in a thread of its own; `shutdown` ends it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            return

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            area, _, path = unquote(parts.path).lstrip("/").partition("/")
            if area == SOURCES:
                self._source(path)
            elif area == REMOTE:
                self._remote(path, dict(parse_qsl(parts.query)))
            else:
                self._send(404, b"no such address", "text/plain")

        def _remote(self, path: str, query: dict[str, str]) -> None:
            match rest.answer(path, query, lambda: stock.files, stock.shelf):
                case rest.Pong():
                    self._send(200, b"", "text/plain")
                case rest.Json(value):
                    self._send(200, json.dumps(value).encode(), "application/json")
                case rest.Held(ref, place):
                    data = stock.files[ref][str(place)].read_bytes()
                    self._send(200, data, "application/octet-stream")
                case rest.Infos(ref, places):
                    texts = {
                        one: {"content": stock.files[ref][str(place)].read_text(errors="replace")}
                        for one, place in places.items()
                    }
                    self._send(200, json.dumps(texts).encode(), "application/json")
                case rest.Missing(what):
                    self._send(404, what.encode(), "text/plain")

        def _source(self, path: str) -> None:
            sha256 = path.removesuffix(".json")
            if _SHA256.fullmatch(sha256) is None:
                self._send(404, b"a source is asked for by its SHA-256", "text/plain")
            elif path != sha256:
                self._send(200, _RECORD, "application/json")
            elif sha256 in stock.sources:
                self._send(200, stock.sources[sha256].read_bytes(), "application/octet-stream")
            elif stock.way_out:
                self._fetched(sha256)
            else:
                self._send(404, b"the lock does not hold this source", "text/plain")

        def _fetched(self, sha256: str) -> None:
            try:
                urls = json.loads(self.headers.get("X-Conan-Origin-Urls", "[]"))
            except ValueError:
                urls = []
            told = [url for url in urls if isinstance(url, str)] if isinstance(urls, list) else []
            for url in candidates(sha256, told, stock.origins, stock.way_out):
                try:
                    with urllib.request.urlopen(url, timeout=_PATIENCE_S.value) as answer:  # noqa: S310 - the way out, on our loopback
                        data = answer.read()
                except (urllib.error.URLError, OSError):
                    continue
                self._send(200, data, "application/octet-stream")
                return
            self._send(404, b"no configured remote has this source", "text/plain")

        def _send(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Conan-Server-Capabilities", rest.CAPABILITIES)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
