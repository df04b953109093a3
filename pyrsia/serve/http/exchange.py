"""One request and its answer, as an ASGI application sees them: framing, 100-continue, lengths that are kept.

Decides how the body of an answer ends (content-length, chunked, with the connection), that a body shorter or longer
than announced never looks whole, and whom a request is believed to come from. Left out: which request is next, and what
becomes of the connection (`connection`).

Source: RFC 9112 sections 6, 7; RFC 9110 section 10.1.1; ASGI 3 with its HTTP message extensions.
"""

import logging
import os
import re
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time
from typing import Final, Protocol
from urllib.parse import unquote_to_bytes

import trio

from pyrsia.errors import Unavailable
from pyrsia.serve.http.asgi import App, HttpLimits, Message, Scope
from pyrsia.serve.http.listen import Listener
from pyrsia.serve.http.reading import VALUE_TAKEN, Fault, Header, Incoming, RequestReader
from pyrsia.serve.http.wires import ClientGone, Wire, in_memory
from pyrsia.serve.workers import accel
from pyrsia.units import Limit
from pyrsia.wire.text import safe

_log = logging.getLogger("pyrsia.serve")

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}
_JOINED_BYTES: Final = 65_536  # head and body in one write up to here; copying more costs more than it saves
_READ_BYTES: Final = 32_768  # of a file, read and joined with the head: one call instead of five
_REASON_BYTES: Final = Limit(
    4_096, "half of the line that clients take (8 KB); Maven shows a refusal's reasons nowhere but here"
)
_BODILESS: Final = frozenset({204, 304})
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)([^#]*)", re.IGNORECASE)


class BodyFault(Exception):
    """The request's body cannot be taken; `fault` says why. Applications let it pass."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.what)
        self.fault = fault


class Host(Protocol):
    """What a connection needs of its server."""

    app: App
    limits: HttpLimits
    draining: bool
    requests: int


class Line(Protocol):
    """What an exchange needs of its connection."""

    @property
    def server(self) -> Host: ...

    @property
    def listener(self) -> Listener: ...

    @property
    def client(self) -> tuple[str, int] | None: ...

    @property
    def reader(self) -> RequestReader: ...

    @property
    def wire(self) -> Wire: ...

    async def read_body(self) -> None:
        """Feed some more bytes of the current request's body."""
        ...

    async def refuse(self, fault: Fault) -> None:
        """Say why and end the connection."""
        ...


class Exchange:
    """One request and its answer, as an ASGI application sees them."""

    def __init__(self, connection: Line, incoming: Incoming) -> None:
        self._connection = connection
        self._incoming = incoming
        self._body_most = connection.server.limits.body_bytes
        self._continued = not incoming.expects_continue
        self._status = 0
        self._reason = b""
        self._headers: list[Header] = []
        self._head_sent = False
        self._finished = False
        self._left = -1  # bytes still owed of an announced length; -1: none announced
        self._chunked = False
        self._bodiless = False
        self._unframed = False  # the body ends where the connection does
        self._named = False  # the body is a file that a worker is told to send
        self._keep = incoming.keep_alive
        self._gone = False  # writing to it failed
        self._silent = False  # it has left, or sends nothing more: to an application that is the same
        self._done = trio.Event()

    @property
    def whole(self) -> bool:
        """The answer was written to its end."""
        return self._finished and not self._gone

    @property
    def cut(self) -> bool:
        """The answer stopped in the middle, and nothing that was sent tells so."""
        return self._unframed and not self.whole

    @property
    def reusable(self) -> bool:
        """The connection is in step: request read whole, answer written whole, both sides willing."""
        return self.whole and self._keep and self._incoming.complete

    async def run(self) -> None:
        scope = _scope(self._connection, self._incoming)
        if isinstance(scope, Fault):
            await self._fail(scope)
            return
        self._body_most = self._connection.server.limits.body_limit(scope["path"])
        if (self._incoming.length or 0) > self._body_most:
            await self._fail(self._too_large())
            return
        try:
            await self._connection.server.app(scope, self._receive, self._send)
        except BodyFault as error:
            await self._fail(error.fault)
        except ClientGone:
            raise
        except Unavailable as error:  # what was promised does not come; told before, or cut
            _log.warning("%s was cut short: %s", safe(scope["path"][:200]), error)
            await self._fail(Fault(503, "the node cannot reach what it needs for this answer"))
        except Exception as error:  # noqa: BLE001 - an application's bug costs one answer, never the node
            if self._gone or self._silent:
                raise ClientGone(str(error)) from None
            _log.exception(
                "%s %s failed", self._incoming.method, scope["path"][:200].encode("unicode_escape")
            )
            await self._fail(Fault(500, "the node failed to answer; its diary has the details"))
        else:
            if not self._finished:
                await self._fail(Fault(500, "the node gave no whole answer"))
        finally:
            self._done.set()

    def _too_large(self) -> Fault:
        return Fault(413, f"the request's body is over {self._body_most} bytes")

    async def _fail(self, fault: Fault) -> None:
        """Answer a fault if that is still possible; a begun answer can only be cut short."""
        self._keep = False
        if not self._head_sent and not self._gone:
            await self._connection.refuse(fault)

    # -- ASGI receive --

    async def _receive(self) -> Message:
        incoming = self._incoming
        if incoming.complete and not incoming.chunks and self._body_told:
            return await self._disconnect()
        while not incoming.chunks and not incoming.complete:
            if self._connection.reader.fault is not None:
                raise BodyFault(self._connection.reader.fault)
            if not self._continued and not self._head_sent:
                self._continued = True
                await self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await self._connection.read_body()
        if incoming.body_bytes > self._body_most:
            raise BodyFault(self._too_large())
        body = b"".join(incoming.chunks)
        incoming.chunks.clear()
        self._body_told = incoming.complete
        return {"type": "http.request", "body": body, "more_body": not incoming.complete}

    _body_told = False

    async def _disconnect(self) -> Message:
        """Wait until the answer is whole or the client has left, without eating its next request."""
        if not (self._done.is_set() or self._gone or self._silent):
            # A pipelined request, read already or here to be read: so the client is here too.
            if self._connection.reader.pending or await self._connection.wire.until_heard():
                await self._done.wait()
            else:
                self._silent = True
        return {"type": "http.disconnect"}

    # -- ASGI send --

    async def _send(self, event: Message) -> None:
        if self._gone:
            raise ClientGone("the client has left")
        kind = event["type"]
        if kind == "http.response.start":
            self._start(event)
        elif not self._status:
            raise RuntimeError(f"{kind} before http.response.start")
        elif self._finished:
            raise RuntimeError(f"{kind} after the end of the answer")
        elif kind == "http.response.body":
            await self._body(bytes(event.get("body", b"")), more=bool(event.get("more_body", False)))
        elif kind == "http.response.zerocopysend":
            await self._file(event)
        elif kind == "http.response.pathsend":
            with open(event["path"], "rb") as file:  # noqa: ASYNC230 - the open of a local file
                await self._file({"file": file})
        else:
            raise RuntimeError(f"unknown ASGI message {kind!r}")

    def _start(self, event: Message) -> None:
        if self._status:
            raise RuntimeError("http.response.start twice")
        headers: list[Header] = []
        left = -1
        for name, value in event.get("headers", ()):
            lowered = _lower_name(name)
            if not lowered or value.translate(None, VALUE_TAKEN):
                raise RuntimeError(f"not a header: {name!r}: {value!r}")
            if lowered == b"content-length":
                left = int(value)
            if lowered == b"connection":
                self._keep = self._keep and value.lower() != b"close"
            elif lowered != b"transfer-encoding":  # framing is the server's
                headers.append((lowered, value))
        self._status, self._headers, self._left = int(event["status"]), headers, left
        self._reason = _printable(event.get("reason", b""))

    async def _body(self, body: bytes, *, more: bool) -> None:
        head = b"" if self._head_sent else self._frame(len(body), more=more)
        self._owe(len(body), more=more)
        if self._bodiless:
            body = b""
        elif self._chunked:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        if len(body) <= _JOINED_BYTES:
            await self._write(head + body)
        else:
            await self._write(head)
            await self._write(body)
        self._end_if(not more)

    async def _file(self, event: Message) -> None:
        fd = event["file"].fileno()
        more = bool(event.get("more_body", False))
        offset = event.get("offset")
        if offset is None:
            offset = os.lseek(fd, 0, os.SEEK_CUR)
        count = event.get("count")
        if count is None:
            count = max(0, os.fstat(fd).st_size - offset)
        folder = self._connection.listener.folder
        if folder is not None and not self._head_sent and not more:
            if headers := accel.named(folder, event["file"], offset, count):
                self._named = True
                self._headers += headers
        head = b"" if self._head_sent else self._frame(count, more=more)
        self._owe(count, more=more)
        if self._bodiless:
            await self._write(head)
        elif self._named:
            await self._write(head)  # the worker sends the bytes
        else:
            await self._send_file(fd, offset, count, head, more=more)
        self._end_if(not more)

    async def _send_file(self, fd: int, offset: int, count: int, head: bytes, *, more: bool) -> None:
        wire = self._connection.wire
        if count <= _READ_BYTES and not self._chunked:
            await in_memory(fd, offset, count)
            data = os.pread(fd, count, offset)
            if len(data) < count:
                raise EOFError("a file ended before its announced length")
            await self._write(head + data)
            return
        chunked = self._chunked and count
        wire.cork(True)
        try:
            await self._write(head + (b"%x\r\n" % count if chunked else b""))
            await wire.send_file(fd, offset, count)
            await self._write(
                (b"\r\n" if chunked else b"") + (b"0\r\n\r\n" if self._chunked and not more else b"")
            )
        except ClientGone:
            self._gone = True
            raise
        finally:
            wire.cork(False)

    def _frame(self, size: int, *, more: bool) -> bytes:
        """Choose how the body ends and write the head. RFC 9112 section 6.3."""
        incoming = self._incoming
        self._head_sent = True
        self._bodiless = incoming.method == "HEAD" or self._status in _BODILESS
        headers = self._headers
        # To HEAD an application may give no body, whatever its length would be.
        told = size or incoming.method != "HEAD"
        if self._left < 0 and not more and told and self._status not in _BODILESS:
            self._left = size
            headers.append((b"content-length", b"%d" % size))
        if self._left < 0 and not self._bodiless:
            if incoming.version == "1.1":
                self._chunked = True
                headers.append((b"transfer-encoding", b"chunked"))
            else:
                self._keep, self._unframed = False, True
        if not incoming.complete or self._connection.server.draining:
            self._keep = False  # what is left of the request is not worth reading
        if not self._keep:
            headers.append((b"connection", b"close"))
        elif incoming.version == "1.0":
            headers.append((b"connection", b"keep-alive"))
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        return status_line(self._status, self._reason) + date_line() + lines + b"\r\n"

    def _owe(self, size: int, *, more: bool) -> None:
        """Hold the application to the length it announced; a body that lies must not look whole."""
        if self._left < 0 or self._bodiless:
            return
        self._left -= size
        if self._left < 0 or (self._left and not more):
            self._keep = False
            raise RuntimeError("the body is not as long as its content-length")

    def _end_if(self, ended: bool) -> None:
        if ended:
            self._finished = True
            self._done.set()

    async def _write(self, data: bytes) -> None:
        try:
            await self._connection.wire.send_all(data)
        except ClientGone:
            self._gone = True
            raise


@lru_cache(256)  # of our own applications: some tens
def _lower_name(name: bytes) -> bytes:
    """A header's name in lower case, nothing if it is none."""
    return name.lower() if _NAME.fullmatch(name) else b""


def _scope(connection: Line, incoming: Incoming) -> Scope | Fault:
    """The ASGI scope of a request, or why its target cannot be one."""
    target, headers = incoming.target, incoming.headers
    if match := _ABSOLUTE.fullmatch(target):
        # RFC 9112 section 3.2.2: the target's authority replaces Host.
        host, target = match.group(1), match.group(2) or b"/"
        headers = [(b"host", host), *(header for header in headers if header[0] != b"host")]
        if not target.startswith(b"/"):
            target = b"/" + target
    if not target.startswith(b"/"):
        return Fault(400, "the request's target is not a path")
    raw_path, _, query = target.partition(b"?")
    raw_path = raw_path.partition(b"#")[0]
    try:
        path = unquote_to_bytes(raw_path).decode("utf-8")
    except UnicodeDecodeError:
        return Fault(400, "the request's path is not UTF-8")
    if "\0" in path:
        return Fault(400, "the request's path holds a NUL")
    listener = connection.listener
    peer, client = listener.peer, connection.client
    scheme = "http" if listener.tls is None else "https"
    if peer == "worker":
        # The only socket on which anybody is believed about somebody else's address: 0600, and by user id.
        told = dict(headers)
        address, _, port = told.get(accel.CLIENT, b"").decode("ascii", "replace").rpartition(" ")
        if not (address and port.isdigit()):
            return Fault(400, "a worker says for whom it asks")
        peer, client, scheme = (
            "tcp",
            (address, int(port)),
            told.get(accel.SCHEME, b"http").decode("ascii", "replace"),
        )
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": incoming.version,
        "method": incoming.method,
        "scheme": scheme,
        "path": path,
        "raw_path": raw_path,
        "root_path": "",
        "query_string": query,
        "headers": headers,
        "client": client,
        "server": (listener.host, listener.port) if peer == "tcp" else (listener.name, None),
        "extensions": {"http.response.zerocopysend": {}, "http.response.pathsend": {}},
        "pyrsia.peer": peer,
    }


def status_line(status: int, reason: bytes) -> bytes:
    return b"HTTP/1.1 %d %b\r\n" % (status, reason or _REASONS.get(status, b"Unknown"))


def _printable(reason: bytes) -> bytes:
    return bytes(byte if 0x20 <= byte < 0x7F else 0x3F for byte in reason[: _REASON_BYTES.value])


_dated: tuple[int, bytes] = (0, b"")


def date_line() -> bytes:
    """The Date header, made once a second. RFC 9110 section 6.6.1."""
    global _dated
    now = int(time())
    if _dated[0] != now:
        _dated = (now, b"date: %b\r\nserver: pyrsia\r\n" % formatdate(now, usegmt=True).encode("ascii"))
    return _dated[1]
