"""Requests out of bytes: what is taken, what is refused, and with which status. No I/O.

httptools (llhttp) parses; it is strict about framing (Transfer-Encoding with Content-Length, bare LF,
folded lines) and knows no sizes, so the bounds on head, headers and read-ahead are kept here. Nothing
that a stranger sends makes `feed` raise: the first fault is kept in `fault`, requests that came whole
before it are still answered. Left out: bodies are handed on as they come; their size is the server's.

Source: RFC 9112 (framing), RFC 9110 section 7.2 (Host), section 10.1.1 (Expect).
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import httptools

from pyrsia.units import MAX_HTTP_HEAD_BYTES, MAX_HTTP_HEADERS, MAX_HTTP_PIPELINE, Limit

Header = tuple[bytes, bytes]

# Framing may cost more than the body itself (one-byte chunks cost six), but not without end:
# an endless chunk extension is a body that never grows.
_CHUNK_OVERHEAD_BYTES: Final = 65_536
_CHUNK_OVERHEAD_FACTOR: Final = 16

_FORWARDED_HEADERS = Limit(4, "client, scheme, framing and expectation, or an empty host")
_FORWARDED_BYTES = Limit(1_024, "all of those headers together: a chain of proxies names some hosts")

VALUE_TAKEN: Final = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
_TARGET_TAKEN: Final = bytes(range(0x21, 0x7F))


@dataclass(frozen=True, slots=True)
class Fault:
    """Why no further request can be read here: an HTTP status and one sentence."""

    status: int
    what: str


@dataclass(slots=True)
class Incoming:
    """One request: its head is whole, its body comes in `chunks` until `complete`."""

    method: str
    target: bytes
    version: str
    headers: list[Header]
    keep_alive: bool
    length: int | None
    expects_continue: bool
    chunks: deque[bytes] = field(default_factory=deque)  # bounded: the server reads only when it is empty
    body_bytes: int = 0
    complete: bool = False

    def header(self, name: bytes) -> bytes:
        """The first value of `name` (lower case), or nothing."""
        return next((value for key, value in self.headers if key == name), b"")


class _Stop(Exception):
    """Ends one `feed_data`: the parser has no other way to be told."""


class RequestReader:
    """Feeds one connection's bytes to the parser; requests wait in `pending`."""

    __slots__ = (
        "_current",
        "_fields_bytes",
        "_head_bytes",
        "_headers",
        "_more_bytes",
        "_more_headers",
        "_overhead",
        "_parser",
        "_progress",
        "_target",
        "closing",
        "fault",
        "pending",
    )

    def __init__(self, *, forwarded: bool = False) -> None:
        """`forwarded`: by a worker, which adds some headers to what was taken from a client."""
        self._more_headers = _FORWARDED_HEADERS.value if forwarded else 0
        self._more_bytes = _FORWARDED_BYTES.value if forwarded else 0
        self.pending: deque[Incoming] = deque()  # bounded by MAX_HTTP_PIPELINE
        self.fault: Fault | None = None
        self.closing = False  # nothing after the last pending request will be read
        self._parser = httptools.HttpRequestParser(self)
        self._current: Incoming | None = None
        self._target = b""
        self._headers: list[Header] = []
        self._head_bytes = 0
        self._fields_bytes = 0
        self._overhead = 0
        self._progress = False

    @property
    def in_head(self) -> bool:
        """Some bytes of a head are here and its end is not."""
        return self._current is None and self._head_bytes > 0

    def feed(self, data: bytes) -> None:
        if self.fault is not None or self.closing:
            return
        self._progress = False
        current = self._current
        before = current.body_bytes if current else 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # We speak nothing else: answer in HTTP/1.1 and close (RFC 9110 section 7.8 lets us).
            self._end()
        except httptools.HttpParserError as error:
            if not self.closing:
                self._refuse(400, f"this is not HTTP/1.1: {_reason(error)}")
        if self.fault is None:
            self._account(len(data), current, before)

    def _account(self, fed: int, current: Incoming | None, before: int) -> None:
        if self._current is None:
            self._head_bytes = 0 if self._progress else self._head_bytes + fed
            if self._head_bytes > MAX_HTTP_HEAD_BYTES.value + self._more_bytes:
                self._refuse(431, f"the request's head is over {MAX_HTTP_HEAD_BYTES.value} bytes")
        elif self._current is current:
            self._overhead += fed - (current.body_bytes - before)
            if self._overhead > _CHUNK_OVERHEAD_BYTES + _CHUNK_OVERHEAD_FACTOR * current.body_bytes:
                self._refuse(400, "the request's body is more framing than content")

    def _refuse(self, status: int, what: str) -> None:
        if self.fault is None:
            self.fault = Fault(status, what)

    def _end(self) -> None:
        self.closing = True
        if self.pending:
            self.pending[-1].keep_alive = False

    # -- what httptools calls during feed_data --

    def on_message_begin(self) -> None:
        self._target, self._headers, self._fields_bytes = b"", [], 0

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._current is not None:  # a trailer: nothing here reads one
            return
        if len(self._headers) >= MAX_HTTP_HEADERS.value + self._more_headers:
            self._refuse(431, f"the request has over {MAX_HTTP_HEADERS.value} headers")
            raise _Stop
        # llhttp leaves the white space after a value on it; RFC 9112 section 5.1 does not count it in.
        value = value.strip(b" \t")
        self._headers.append((name.lower(), value))
        self._fields_bytes += len(name) + len(value) + 4

    def on_headers_complete(self) -> None:
        if len(self.pending) >= MAX_HTTP_PIPELINE.value:
            self._end()
            raise _Stop
        incoming = self._head()
        if isinstance(incoming, Fault):
            self.fault = incoming
            raise _Stop
        self._current, self._progress, self._head_bytes, self._overhead = incoming, True, 0, 0
        self.pending.append(incoming)

    def on_body(self, chunk: bytes) -> None:
        current = self._current
        if current is not None:
            current.chunks.append(chunk)
            current.body_bytes += len(chunk)

    def on_message_complete(self) -> None:
        current, self._current = self._current, None
        self._progress = True
        if current is not None:
            current.complete = True
            if not current.keep_alive:
                self.closing = True

    def _head(self) -> Incoming | Fault:
        """The head that just ended, or why it is refused."""
        parser = self._parser
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            return Fault(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
        size = len(self._target) + self._fields_bytes
        if size > MAX_HTTP_HEAD_BYTES.value + self._more_bytes:
            return Fault(431, f"the request's head is over {MAX_HTTP_HEAD_BYTES.value} bytes")
        if self._target.translate(None, _TARGET_TAKEN) or not self._target:
            return Fault(400, "the request's target holds bytes that no URL has")
        hosts, length, encodings, expect = [], None, [], b""
        for name, value in self._headers:
            if value.translate(None, VALUE_TAKEN):
                return Fault(400, "a header value holds control characters")
            match name:
                case b"host":
                    hosts.append(value)
                case b"content-length":
                    length = int(value)  # llhttp let only digits through, once
                case b"transfer-encoding":
                    encodings.append(value.lower())
                case b"expect":
                    expect = value.lower()
        if len(hosts) > 1 or (not hosts and version == "1.1"):
            return Fault(400, "a request names its Host exactly once")
        if encodings and encodings != [b"chunked"]:
            return Fault(501, "the only transfer coding known here is chunked")
        if encodings and version == "1.0":
            return Fault(400, "HTTP/1.0 has no transfer codings")
        if expect not in (b"", b"100-continue"):
            return Fault(417, "the only expectation known here is 100-continue")
        return Incoming(
            method=parser.get_method().decode("ascii"),
            target=self._target,
            version=version,
            headers=self._headers,
            keep_alive=parser.should_keep_alive(),
            length=length,
            expects_continue=bool(expect) and version == "1.1",
        )


def _reason(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)[:120]


def looks_like_tls(data: bytes) -> bool:
    """A TLS handshake record: someone asked this port with https://."""
    return data[:2] == b"\x16\x03"
