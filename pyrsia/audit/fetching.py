"""GET from a server that nobody trusts: every wait, byte, redirect and retry has an end.

`Fetcher` asks below one address and is used by several threads at once; each borrows a connection. What
comes back is bytes within a bound or one of three answers: `Absent` (the server says there is no such
thing), `Unavailable` (the world: later may help), `Malformed` (an answer that no honest server gives).
Whether the bytes are true is the caller's to check; content types are not looked at, lengths are.

One deadline covers a whole object from the request to the last byte, heads included, so a server that
drips a byte at a time costs as much as one that is silent. Only looking up a name is the system's own wait.

Source: C2SP tlog-tiles v0.1.0; docs/auditing.md, "Reading from strangers"; docs/adr/0027.
"""

import http.client
import socket
import ssl
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.units import Limit

CONNECT_S = Limit(
    10, "three round trips of the worst link with a lost packet; a server that needs more is down"
)
SILENCE_S = Limit(15, "without one byte; a static host that reads from cold storage answers within seconds")
OBJECT_S = Limit(120, "a bundle of ordinary entries is 100 KB and takes this long only below 1 KB/s")
REDIRECTS = Limit(3, "a slash added, a path moved; a longer chain on one host is a loop")
ATTEMPTS = Limit(4, "a restart of a server or proxy takes seconds; the pauses add up to those")
PAUSE_MS = Limit(250, "the first pause before asking again; each next one is twice as long")
IDLE_CONNECTIONS = Limit(32, "kept for the next question: more than the threads that ask at once")
READ_BYTES = Limit(65_536, "one read; a tile is 8 KB, a bundle of ordinary entries 100 KB")
GZIP_BYTES = Limit(4_096, "what packing may add to bytes that cannot be packed, with any file name inside")

_GONE: Final = (404, 410)
_MOVED: Final = (301, 302, 303, 307, 308)
_AGAIN: Final = (408, 425, 429, 500, 502, 503, 504)


class Absent(Unavailable):
    """The other side answers, and says that there is no such object."""


class _Again(Exception):
    """This attempt failed in a way that another may not; it never leaves this module."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds, and how often to try; tests are less patient than people."""

    connect_s: float = CONNECT_S.value
    silence_s: float = SILENCE_S.value
    object_s: float = OBJECT_S.value
    attempts: int = ATTEMPTS.value
    pause_s: float = PAUSE_MS.value / 1000


class _Pace:
    """The deadline of the object that a connection is busy with."""

    def __init__(self, patience: Patience) -> None:
        self._silence_s = patience.silence_s
        self.until_s = time.monotonic() + patience.object_s

    def left_s(self) -> float:
        left = self.until_s - time.monotonic()
        if left <= 0:
            raise TimeoutError("the whole answer took too long")
        return min(left, self._silence_s)


class _PacedSocket(socket.socket):
    """A socket whose every read ends by its pace; `http.client` reads through `recv_into` alone."""

    pace: _Pace | None = None

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        if self.pace is not None:
            self.settimeout(self.pace.left_s())
        return super().recv_into(*args, **kwargs)


class _PacedTls(ssl.SSLSocket):
    """The same over TLS."""

    pace: _Pace | None = None

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        if self.pace is not None:
            self.settimeout(self.pace.left_s())
        return super().recv_into(*args, **kwargs)


class _Connection(http.client.HTTPConnection):
    """One connection, and the pace that its socket keeps."""

    def __init__(self, dial: "Dial", patience: Patience) -> None:
        super().__init__(dial.host, dial.port)
        self._dial = dial
        self._patience = patience

    def connect(self) -> None:
        self.sock = self._dial.open(self._patience.connect_s)

    def start(self) -> None:
        """Begin the clock of one object."""
        if self.sock is None:
            self.connect()
        sock: Any = self.sock  # one of the two paced kinds
        sock.pace = _Pace(self._patience)
        sock.settimeout(self._patience.silence_s)

    def cut(self) -> None:
        """End what another thread reads; it closes the connection itself."""
        sock = self.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True, slots=True)
class Dial:
    """How to reach one server.

    Attributes:
        scheme: `http`, `https`, or `unix` for a node's control socket.
        host, port: what the `Host` field says.
        path: of the control socket.
    """

    scheme: str
    host: str
    port: int | None
    path: Path | None = None

    def open(self, connect_s: float = CONNECT_S.value) -> Any:
        """A connected socket that keeps a pace.

        Raises:
            OSError: as the system says it.
        """
        if self.path is not None:
            sock = _PacedSocket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(connect_s)
            try:
                sock.connect(str(self.path))
            except OSError:
                sock.close()
                raise
            return sock
        port = self.port or (443 if self.scheme == "https" else 80)
        plain = socket.create_connection((self.host, port), timeout=connect_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.scheme == "https":
            return self._wrapped(plain)
        paced = _PacedSocket(plain.family, plain.type, plain.proto, fileno=plain.detach())
        paced.settimeout(connect_s)
        return paced

    def _wrapped(self, plain: socket.socket) -> ssl.SSLSocket:
        context = ssl.create_default_context()
        context.sslsocket_class = _PacedTls
        try:
            return context.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


@dataclass(frozen=True, slots=True)
class Address:
    """A prefix that objects lie below; `text` ends with a slash."""

    text: str
    dial: Dial

    @classmethod
    def parse(cls, text: str) -> "Address":
        """An `http://` or `https://` prefix, with or without a slash at its end.

        Raises:
            Refusal: `usage`.
        """
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
            plain = text.isascii() and text.isprintable() and " " not in text
        except ValueError:  # a port that is no number, a bracket that is left open
            host, port, plain = None, None, False
        if not host or not plain or port == 0 or parts.scheme not in ("http", "https"):
            raise _no_address(text)
        if parts.query or parts.fragment or parts.username is not None:
            raise _no_address(text)
        return cls(text.rstrip("/") + "/", Dial(parts.scheme, host, port))

    def below(self, path: str) -> "Address":
        return Address(f"{self.text}{path}/", self.dial)


def _no_address(text: str) -> Refusal:
    return Refusal(
        "usage",
        what=f"{text} is no address of a log",
        who="your command",
        do="write http(s)://HOST[:PORT]/PREFIX, without a query",
    )


@dataclass(slots=True)
class Fetcher:
    """Objects below one address. Shared by threads; `close` ends what is under way in all of them."""

    address: Address
    headers: Mapping[str, str] = field(default_factory=dict)
    patience: Patience = field(default_factory=Patience)
    sleep: Callable[[float], None] = time.sleep
    _idle: deque[_Connection] = field(default_factory=deque)
    _busy: set[_Connection] = field(default_factory=set)
    _closed: bool = False

    def get(self, path: str, most: int, *, packed: bool = False) -> bytes:
        """The object at `path` below the address, at most `most` bytes of it.

        Args:
            packed: say that gzip is welcome; it is unpacked here, never beyond `most`.

        Raises:
            Absent: there is no such object.
            Unavailable: no whole answer in time.
            Malformed: an answer that cannot be the object.
        """
        url = self.address.text + path
        for _ in range(REDIRECTS.value + 1):
            found = self._patiently(url, most, packed)
            if isinstance(found, bytes):
                return found
            url = self._followed(url, found.location)
        raise Malformed(f"{self.address.text}{path} leads through more than {REDIRECTS.value} redirects")

    def close(self) -> None:
        """No question is asked any more; threads that wait for an answer get `Unavailable` at once."""
        self._closed = True
        for connection in tuple(self._busy):
            connection.cut()
        while self._idle:
            self._idle.pop().close()

    def _patiently(self, url: str, most: int, packed: bool) -> "bytes | _Moved":
        why = ""
        for attempt in range(self.patience.attempts):
            if attempt:
                self.sleep(self.patience.pause_s * 2 ** (attempt - 1))
            if self._closed:
                raise Unavailable(f"{url}: not asked any more")
            try:
                return self._reused_or_new(url, most, packed)
            except _Again as error:
                why = str(error)
        raise Unavailable(f"{url}: {why}")

    def _reused_or_new(self, url: str, most: int, packed: bool) -> "bytes | _Moved":
        """A server may have ended an idle connection at any time: that is no failure of its own."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._ask(_Connection(self.address.dial, self.patience), url, most, packed)
            try:
                return self._ask(connection, url, most, packed)
            except _Again:
                continue  # each time round one idle connection fewer is left

    def _ask(self, connection: _Connection, url: str, most: int, packed: bool) -> "bytes | _Moved":
        keep = False
        self._busy.add(connection)
        try:
            connection.start()
            connection.request("GET", _target(url), headers=self._fields(packed))
            response = connection.getresponse()
            if response.status == 200:
                body = _body(response, url, most)
                keep = not response.will_close
                return body
            return _not_ok(response, url)
        except TimeoutError:
            raise _Again("no whole answer in time") from None
        except (http.client.HTTPException, OSError) as error:
            raise _Again(f"{type(error).__name__} {error}"[:200]) from None
        finally:
            self._busy.discard(connection)
            if keep and not self._closed and len(self._idle) < IDLE_CONNECTIONS.value:
                self._idle.append(connection)
            else:
                connection.close()

    def _fields(self, packed: bool) -> dict[str, str]:
        agent = f"pyrsia/{version('pyrsia')} (log tools)"
        return {
            "user-agent": agent,
            "accept-encoding": "gzip" if packed else "identity",
            "accept": "*/*",
            **self.headers,
        }

    def _followed(self, url: str, location: str) -> str:
        """Only within one origin: elsewhere nobody asked us to go, and inner addresses answer there too."""
        target = urljoin(url, location)
        mine, theirs = urlsplit(url), urlsplit(target)
        if not (target.isascii() and target.isprintable() and " " not in target):
            raise Malformed(f"{url} leads to something that is no address")
        if (theirs.scheme, theirs.netloc) != (mine.scheme, mine.netloc):
            raise Malformed(f"{url} leads to another server")
        return target


@dataclass(frozen=True, slots=True)
class _Moved:
    location: str


def _target(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _not_ok(response: http.client.HTTPResponse, url: str) -> _Moved:
    status = response.status
    if status in _MOVED:
        return _Moved(response.getheader("location") or "")
    if status in _GONE:
        raise Absent(f"{url} is not there ({status})")
    if status in _AGAIN:
        raise _Again(f"the server answers {status}")
    raise Unavailable(f"{url}: the server answers {status}")


def _body(response: http.client.HTTPResponse, url: str, most: int) -> bytes:
    """The whole body, unpacked.

    Raises:
        Malformed: longer than `most`, shorter than announced, or packed in a way that nobody asked for.
    """
    coding = (response.getheader("content-encoding") or "identity").strip().lower()
    if coding not in ("identity", "gzip", "x-gzip"):
        raise Malformed(f"{url} comes in an encoding that was not asked for")
    raw = _read(response, url, most if coding == "identity" else most + GZIP_BYTES.value)
    return raw if coding == "identity" else _unpacked(raw, url, most)


def _read(response: http.client.HTTPResponse, url: str, most: int) -> bytes:
    if response.length is not None and response.length > most:
        raise Malformed(f"{url} is said to be {response.length} bytes long; {most} is the most")
    parts: list[bytes] = []
    size = 0
    while part := response.read1(READ_BYTES.value):
        size += len(part)
        if size > most:
            raise Malformed(f"{url} goes on after {most} bytes")
        parts.append(part)
    if response.length:
        raise _Again(f"the answer ends {response.length} bytes before its announced end")
    response.close()  # `read1` leaves a body that ended open, and the connection with it
    return b"".join(parts)


def _unpacked(raw: bytes, url: str, most: int) -> bytes:
    inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        data = inflate.decompress(raw, most + 1)
    except zlib.error:
        raise Malformed(f"{url} is said to be gzip and is not") from None
    if len(data) > most:
        raise Malformed(f"{url} unpacks to more than {most} bytes")
    if not inflate.eof or inflate.unused_data:
        raise Malformed(f"{url} is not one whole gzip stream")
    return data
