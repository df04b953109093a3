"""The ASGI application of a worker: each request goes to the node, its answer or the file it names to the client.

Decides what of a request is passed on, and that a request's body is asked for only when the node wants it: the node
refuses a push before a byte of it moved. Left out: every decision about packages; it is the node's.

Source: RFC 9110 section 7.6.1 (what concerns one connection alone), section 10.1.1 (Expect).
"""

import socket
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

import trio

from pyrsia.errors import Refusal, Unavailable
from pyrsia.serve.answers import header, send_refusal
from pyrsia.serve.guard import SAFE_METHODS
from pyrsia.serve.http.connection import Message, Receive, Scope, Send
from pyrsia.serve.http.reading import Header
from pyrsia.serve.workers.accel import BYTES, CLIENT, REDIRECT, SCHEME, opened
from pyrsia.serve.workers.answers import Answer
from pyrsia.units import MAX_HTTP_READ_BYTES, Limit

_OWN_HEADERS: Final = frozenset({CLIENT, SCHEME, b"expect", b"content-length"})  # of the link; said anew
_HOP_HEADERS: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
_ANSWER_HEADERS: Final = _HOP_HEADERS | {b"date", b"server", REDIRECT, BYTES}
_IDLE_LINKS: Final = Limit(64, "links to the node that are kept between requests")
_IDLE_S: Final = Limit(
    30, "well below the node's own limit, so that it never closes one that is just being used"
)


HALF_CLOSED_S = Limit(3, "what the node may work on for a client that sends nothing more, and may have left")


class _NodeGone(Exception):
    """The node does not answer on its socket, or stopped in the middle."""


class _Link:
    """One connection to the node."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.sock = sock
        self.used = False  # by a request before this one
        self.idle_since_s = 0.0

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[await self.sock.send(view) :]
        except OSError as error:
            raise _NodeGone(str(error)) from None

    async def read(self, answer: Answer) -> None:
        """Feed some more bytes."""
        try:
            data = await self.sock.recv(MAX_HTTP_READ_BYTES.value)
        except OSError as error:
            raise _NodeGone(str(error)) from None
        if not data:
            raise _NodeGone("it closed the connection")
        try:
            answer.feed(data)
        except ValueError as error:
            raise _NodeGone(str(error)) from None


class Forward:
    """Forwards to the node that listens on the Unix socket `node`; its files lie below `folder`."""

    def __init__(self, node: Path, folder: Path) -> None:
        self._node = str(node)
        self._folder = folder
        self._idle: deque[_Link] = deque()  # bounded by _IDLE_LINKS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(event: Message) -> None:
            nonlocal begun
            begun = True
            await send(event)

        try:
            await self._ask(scope, receive, sending)
        except _NodeGone as error:
            if begun:
                raise Unavailable(f"the node stopped in the middle: {error}") from None
            await send_refusal(scope, send, _no_node())

    def close(self) -> None:
        """Let the idle links go."""
        while self._idle:
            self._idle.pop().sock.close()

    async def _ask(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = _body(scope)
        head = _head(scope, body)
        while True:
            link = await self._link()
            answer = Answer(bodiless=scope["method"] == "HEAD")
            try:
                await link.send(head)
                exchange = _Exchange(link, answer, receive, body)
                await exchange.run(partial(self._give, scope, send, link, answer))
            except _NodeGone:
                self._let_go(link, answer, clean=False)
                # It was closed while it idled, most likely. A node that stopped in the middle may have done it
                # already: again is asked only what changes nothing, and what begins with a body that was not sent.
                again = bool(body) or scope["method"] in SAFE_METHODS
                if link.used and again and not answer.head and not answer.continued:
                    continue
                raise
            except BaseException:
                self._let_go(link, answer, clean=False)
                raise
            # A client that left takes nothing with it: the rest of its answer would be the next one's.
            self._let_go(link, answer, clean=exchange.body_sent and answer.complete)
            return

    async def _give(self, scope: Scope, send: Send, link: _Link, answer: Answer) -> None:
        """The answer, whose head is here, to the client."""
        if answer.header(REDIRECT):
            self._let_go(
                link, answer, clean=not _body(scope)
            )  # the node is done; a slow reader holds nothing of it
            await self._give_file(send, answer)
            return
        await send(_start(answer))
        while not answer.complete:
            piece = _taken(answer)
            if piece:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await link.read(answer)
        await send({"type": "http.response.body", "body": _taken(answer)})

    async def _give_file(self, send: Send, answer: Answer) -> None:
        try:
            file, first, count = opened(self._folder, answer.header(REDIRECT), answer.header(BYTES))
        except (OSError, ValueError) as error:
            raise _NodeGone(f"a file that it named cannot be sent: {error}") from None
        with file:
            await send(_start(answer))
            await send({"type": "http.response.zerocopysend", "file": file, "offset": first, "count": count})

    async def _link(self) -> _Link:
        while self._idle:
            link = self._idle.pop()
            if trio.current_time() - link.idle_since_s < _IDLE_S.value:
                return link
            link.sock.close()
        sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            await sock.connect(self._node)
        except OSError as error:
            sock.close()
            raise _NodeGone(str(error)) from None
        return _Link(sock)

    def _let_go(self, link: _Link, answer: Answer, *, clean: bool) -> None:
        """The exchange on it is over; said again, the link may be somebody else's by now."""
        if answer.over:
            return
        answer.over = True
        if clean and answer.keep and len(self._idle) < _IDLE_LINKS.value:
            link.used, link.idle_since_s = True, trio.current_time()
            self._idle.append(link)
        else:
            link.sock.close()


class _Exchange:
    """The request's body to the node and the answer's head back, until one of three has left."""

    def __init__(self, link: _Link, answer: Answer, receive: Receive, body: bytes) -> None:
        self._link = link
        self._answer = answer
        self._receive = receive
        self._body = body
        self._wanted = trio.Event()
        self.body_sent = not body

    async def run(self, give: Callable[[], Awaitable[None]]) -> None:
        """Raises what ended it: of the node, the client, or the request's body."""
        failed: list[Exception] = []

        async def ends(work: Callable[[], Awaitable[None]]) -> None:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - raised again below, without the nursery's group around it
                failed.append(error)
            nursery.cancel_scope.cancel()

        async def answered() -> None:
            while not self._answer.head:
                await self._link.read(self._answer)
                if self._answer.continued:
                    self._wanted.set()
            await give()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends, answered)
            nursery.start_soon(ends, self._send_body)
        if failed:
            raise failed[0]

    async def _send_body(self) -> None:
        """What the client sends, then nothing until it leaves."""
        more = self._body != b""
        if more:
            await self._wanted.wait()
        while more:
            event = await self._receive()
            piece, more = event.get("body", b""), event.get("more_body", False)
            await self._link.send(self._framed(piece, more=more))
        self.body_sent = True
        while (await self._receive())["type"] != "http.disconnect":
            pass
        # It may have ended its own side alone, as `nc -N` does: to who is gone for good, writing fails at once.
        await trio.sleep(HALF_CLOSED_S.value)

    def _framed(self, piece: bytes, *, more: bool) -> bytes:
        if self._body != b"chunked":
            return piece
        return (b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b"") + (b"" if more else b"0\r\n\r\n")


def _body(scope: Scope) -> bytes:
    """How the request's body is framed: nothing where it has none, `chunked`, or its length."""
    if header(scope, b"transfer-encoding"):
        return b"chunked"
    length = header(scope, b"content-length")
    return length if length.strip(b"0") else b""


def _head(scope: Scope, body: bytes) -> bytes:
    """The request as the node is told it."""
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    dropped = _OWN_HEADERS | _HOP_HEADERS
    headers: list[Header] = [pair for pair in scope["headers"] if pair[0] not in dropped]
    if not header(scope, b"host"):
        headers.append((b"host", b""))  # the node has its own answer to that
    host, port = scope["client"]
    headers += [(CLIENT, f"{host} {port}".encode()), (SCHEME, scope["scheme"].encode())]
    if body:
        framing = b"transfer-encoding" if body == b"chunked" else b"content-length"
        headers += [(framing, body), (b"expect", b"100-continue")]
    lines = b"".join(b"%b: %b\r\n" % pair for pair in headers)
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (scope["method"].encode("ascii"), target, lines)


def _start(answer: Answer) -> Message:
    headers = [pair for pair in answer.headers if pair[0] not in _ANSWER_HEADERS]
    start = {"type": "http.response.start", "status": answer.status, "headers": headers}
    return {**start, "reason": answer.reason}


def _taken(answer: Answer) -> bytes:
    pieces = b"".join(answer.pieces)
    answer.pieces.clear()
    return pieces


def _no_node() -> Refusal:
    return Refusal(
        "unavailable",
        what="the node is not there to answer now",
        who="this machine: its node stops, starts or is overloaded",
        do="try again in some seconds",
    )
