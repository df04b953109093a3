"""One connection: which request is next, when it may be kept and when it must end.

Decides idle limits, refusals that no application can give, and what is said before a connection closes. Left out: the
answer to one request (`exchange`), which requests are good (`reading`), accepting and draining (`http`).

Source: RFC 9112 section 9.
"""

import math
import os
import socket
import struct
from contextlib import suppress
from typing import Any, Final

import msgspec
import trio

from pyrsia.serve.http.asgi import App as App
from pyrsia.serve.http.asgi import HttpLimits as HttpLimits
from pyrsia.serve.http.asgi import Message as Message
from pyrsia.serve.http.asgi import Receive as Receive
from pyrsia.serve.http.asgi import Scope as Scope
from pyrsia.serve.http.asgi import Send as Send
from pyrsia.serve.http.exchange import BodyFault, Exchange, Host, date_line, status_line
from pyrsia.serve.http.listen import Listener, peer_uid
from pyrsia.serve.http.reading import Fault, Incoming, RequestReader, looks_like_tls
from pyrsia.serve.http.tls import TlsWire
from pyrsia.serve.http.wires import ClientGone as ClientGone
from pyrsia.serve.http.wires import PlainWire, Wire
from pyrsia.units import MAX_HTTP_BODY_READ_BYTES

_FAULT_WORDS: Final = {
    403: ("forbidden", "ask as the user who runs the node, or over HTTP"),
    408: ("bad-request", "send the request without pauses"),
    413: ("too-large", "send less; the address's limits are in docs/http.md"),
    500: ("internal", "look into the node's diary"),
    503: ("unavailable", "try again later"),
}


class Connection:
    """The task of one socket."""

    def __init__(self, server: Host, sock: trio.socket.SocketType, address: Any, listener: Listener) -> None:
        self.server = server
        self.listener = listener
        self.client: tuple[str, int] | None = (address[0], address[1]) if listener.peer == "tcp" else None
        self.scope = trio.CancelScope()
        self.reader = RequestReader(forwarded=listener.peer == "worker")
        self.wire = _wire(sock, listener, server.limits.idle_s)
        self.idle_since_s = math.inf  # since when it waits for a next request; inf while it works
        self._sock = sock
        self._cut_at_s = math.inf  # set by a drain

    def cut_at(self, deadline_s: float) -> None:
        """End by `deadline_s` whatever is going on."""
        self._cut_at_s = deadline_s
        self.scope.deadline = min(self.scope.deadline, deadline_s)

    def close_if_idle(self) -> None:
        if self.idle_since_s < math.inf:
            self.scope.cancel()

    async def run(self) -> None:
        """Answer requests until either side is done. Raises `ClientGone` when the other side left."""
        if self.listener.peer == "tcp":
            with suppress(OSError):  # it may have left already
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        elif peer_uid(self._sock) != os.geteuid():
            await self.refuse(Fault(403, "the control socket answers only the user who runs the node"))
            return
        self.idle_since_s = trio.current_time()
        wrong = await self.wire.greet()
        self.idle_since_s = math.inf
        if wrong:
            await self.refuse(Fault(400, wrong))
            return
        while incoming := await self._next_request():
            exchange = Exchange(self, incoming)
            try:
                await exchange.run()
            finally:
                if exchange.cut:
                    self._reset()
            self.server.requests += 1
            if not exchange.reusable or self.server.draining:
                if not incoming.complete:
                    await self.wire.linger()
                elif exchange.whole:
                    await self.wire.finish()
                return
        await self.wire.finish()

    def _reset(self) -> None:
        """Close without an end: where the body ends with the connection, only so does the client see it was cut."""
        with suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def _next_request(self) -> Incoming | None:
        reader = self.reader
        first, head_due_s = True, math.inf
        while not reader.pending:
            if reader.fault is not None:
                await self.refuse(reader.fault)
                return None
            if reader.closing or (self.server.draining and not reader.in_head):
                return None
            data = await self._read_head_bytes(head_due_s)
            if data is None:
                if reader.in_head:
                    await self.refuse(Fault(408, "the request's head did not come in time"))
                return None
            if not data:
                return None
            if first and looks_like_tls(data):
                await self.refuse(Fault(400, "this port speaks plain HTTP: ask with http://, not https://"))
                return None
            first = False
            reader.feed(data)
            if reader.in_head and head_due_s == math.inf:
                head_due_s = trio.current_time() + self.server.limits.head_wait_s
        return reader.pending.popleft()

    async def _read_head_bytes(self, head_due_s: float) -> bytes | None:
        """Some bytes, b"" at the end, None when the wait was too long."""
        try:
            if self.reader.in_head:
                with trio.CancelScope(deadline=head_due_s):
                    return await self.wire.recv()
                return None
            # Between requests nobody needs an answer: the connection's own scope may just end it, and
            # moving its deadline costs a third of a new scope.
            self.idle_since_s = trio.current_time()
            self.scope.deadline = min(self.idle_since_s + self.server.limits.keep_alive_s, self._cut_at_s)
            data = await self.wire.recv()
            self.scope.deadline = self._cut_at_s
            return data
        finally:
            self.idle_since_s = math.inf

    async def read_body(self) -> None:
        """Feed some more bytes of the current request's body."""
        data = None
        with trio.move_on_after(self.server.limits.idle_s):
            data = await self.wire.recv(MAX_HTTP_BODY_READ_BYTES.value)
        if data is None:
            raise BodyFault(Fault(408, "the request's body stopped coming"))
        if not data:
            raise ClientGone("the client left in the middle of its request")
        self.reader.feed(data)

    async def refuse(self, fault: Fault, *, linger: bool = True) -> None:
        """Say why and end the connection so that the sender can read it. `linger`: unless it may hold nothing."""
        # Written here by hand: a fault of framing has no scope that an application could answer.
        code, do = _FAULT_WORDS.get(fault.status, ("bad-request", "send HTTP/1.1 as RFC 9112 has it"))
        who = "this node" if fault.status in (500, 503) else "the client's request"
        refusal = {"code": code, "what": fault.what, "who": who, "do": do}
        body = msgspec.json.encode({"error": refusal}) + b"\n"
        head = status_line(fault.status, b"") + date_line()
        head += b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(
            body
        )
        await self.wire.send_all(head + body)
        if linger:
            await self.wire.linger()


def _wire(sock: trio.socket.SocketType, listener: Listener, idle_s: float) -> Wire:
    if listener.tls is not None:
        return TlsWire(sock, listener.tls, idle_s=idle_s)
    return PlainWire(sock, idle_s=idle_s, tcp=listener.peer == "tcp")
