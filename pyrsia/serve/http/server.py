"""An ASGI 3 server for HTTP/1.1 on trio: sockets, keep-alive, framing, sendfile, drain.

Decides how bytes move and when a connection ends; knows nothing of packages. No exception of one
connection reaches another: a malformed request is answered and closed, an application that fails is a
logged 500. Every wait has an idle limit and no transfer a total one. Left out: HTTP/2, WebSocket,
lifespan (the node starts and stops what the applications need).

Extensions: `http.response.zerocopysend` and `http.response.pathsend`, by os.sendfile; `reason` in
`http.response.start`, because some package clients show nothing else of a refusal; `pyrsia.peer` in the
scope is `control` on the Unix socket and `tcp` elsewhere. On the socket of the node's own workers (`workers`) files
below the data directory are named instead of sent, and the client is whom the worker says.

Source: ASGI 3 with its HTTP message extensions; RFC 9112 sections 6 (framing) and 9 (connections).
"""

import errno
import logging
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import trio

from pyrsia.serve.http.connection import (
    App,
    ClientGone,
    Connection,
    HttpLimits,
    Message,
    Receive,
    Scope,
    Send,
)
from pyrsia.serve.http.listen import Listener, listen_tcp, listen_unix, peer_uid, write_token
from pyrsia.serve.http.reading import Fault
from pyrsia.units import Limit

__all__ = [
    "App",
    "ClientGone",
    "HttpLimits",
    "Listener",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "Server",
    "listen_tcp",
    "listen_unix",
    "peer_uid",
    "serve",
    "write_token",
]

_log = logging.getLogger("pyrsia.serve")

_ACCEPT_PAUSE_S: Final = 0.1  # after "too many open files": closing one takes at least as long
_TOLD_S: Final = 60.0  # between two lines of the diary about that
_REFUSED_LINGER: Final = Limit(64, "connections beyond the limit that are told why without a reset")
_ACCEPT_ENDED: Final = frozenset({errno.EBADF, errno.ENOTSOCK, errno.EINVAL})
_ACCEPT_HARMLESS: Final = frozenset(
    {errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.EHOSTUNREACH}
)


class Server:
    """One application behind some listeners. `run` serves until cancelled or drained."""

    def __init__(self, app: App, listeners: Sequence[Listener], limits: HttpLimits) -> None:
        self.app = app
        self.limits = limits
        self.listeners = tuple(listeners)
        self._listening = list(self.listeners)
        self.draining = False
        self.requests = 0  # answered since the start
        self._open: dict[str, set[Connection]] = {"tcp": set(), "control": set(), "worker": set()}
        self._refused = 0  # that are being told so
        self._told_s = -math.inf  # when the diary last had that none can be accepted
        self._accepting = trio.CancelScope()
        self._cut_at_s = math.inf

    @property
    def url(self) -> str:
        """`http://host:port` of the first TCP listener, or nothing."""
        return next((listener.name for listener in self.listeners if listener.peer == "tcp"), "")

    @property
    def connections(self) -> int:
        return sum(len(group) for group in self._open.values())

    async def run(self, task_status: trio.TaskStatus["Server"] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            async with trio.open_nursery() as connections:
                task_status.started(self)
                with self._accepting:
                    async with trio.open_nursery() as acceptors:
                        for listener in self.listeners:
                            acceptors.start_soon(self._accept, listener, connections)
                # Closed before the last answers end: who comes now is refused, not left waiting.
                self._close_listeners()
        finally:
            self._close_listeners()

    def _close_listeners(self) -> None:
        while self._listening:
            listener = self._listening.pop()
            listener.sock.close()
            if listener.peer != "tcp":
                with suppress(OSError):
                    os.unlink(listener.name)

    def drain(self, grace_s: float) -> None:
        """Accept nothing more, let requests in flight end within `grace_s`, then cut the rest."""
        self.draining = True
        self._cut_at_s = min(self._cut_at_s, trio.current_time() + grace_s)
        self._accepting.cancel()
        for group in self._open.values():
            for connection in tuple(group):
                connection.cut_at(self._cut_at_s)
                connection.close_if_idle()

    async def _accept(self, listener: Listener, nursery: trio.Nursery) -> None:
        while True:
            try:
                sock, address = await listener.sock.accept()
            except OSError as error:
                if error.errno in _ACCEPT_ENDED:
                    return
                if error.errno not in _ACCEPT_HARMLESS:
                    self._cannot_accept(error)
                    await trio.sleep(_ACCEPT_PAUSE_S)
                continue
            nursery.start_soon(self._serve, sock, address, listener)

    def _cannot_accept(self, error: OSError) -> None:
        """Into the diary, once a minute: it is tried ten times a second for as long as somebody holds everything."""
        now_s = trio.current_time()
        if now_s - self._told_s >= _TOLD_S:
            self._told_s = now_s
            _log.warning("cannot accept a connection: %s; tried again until one can be", error.strerror)

    async def _serve(self, sock: trio.socket.SocketType, address: Any, listener: Listener) -> None:
        connection = Connection(self, sock, address, listener)
        group = self._open[listener.peer]
        with sock, connection.scope:
            connection.cut_at(self._cut_at_s)
            try:
                if not self._admit(group, listener):
                    await self._refuse(connection)
                    return
                group.add(connection)
                await connection.run()
            except ClientGone:
                pass
            except Exception:  # noqa: BLE001 - the border: one connection's fault ends only that connection
                _log.exception("a connection ended in a fault of ours")
            finally:
                group.discard(connection)

    async def _refuse(self, connection: Connection) -> None:
        """No room. A few such may linger, so that their clients can read why; more hold nothing."""
        self._refused += 1
        try:
            full = Fault(503, "this node serves as many connections as it may")
            await connection.refuse(full, linger=self._refused <= _REFUSED_LINGER.value)
        finally:
            self._refused -= 1

    def _admit(self, group: set[Connection], listener: Listener) -> bool:
        """Room for one more; the connection that idled longest gives way before anyone is refused."""
        most = self.limits.control_connections if listener.peer == "control" else self.limits.connections
        if len(group) < most:
            return True
        idle = [connection for connection in group if connection.idle_since_s < math.inf]
        if not idle:
            return False
        oldest = min(idle, key=lambda connection: connection.idle_since_s)
        group.discard(oldest)
        oldest.close_if_idle()
        return True


async def serve(
    app: App,
    listeners: Sequence[Listener],
    *,
    limits: HttpLimits | None = None,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` until cancelled or until `Server.drain` has ended the last connection.

    `task_status` is given the `Server`. Cancelling closes every connection at once.
    """
    await Server(app, listeners, limits or HttpLimits()).run(task_status)
