"""The ZeroMQ context of one node, and the sockets that links are made of, each with its bounds.

Decides how sockets are set up: who encrypts, how much may wait, how large a frame may be. Knows no peers.

Source: docs/network.md, "Who is who", "ZeroMQ from trio".
"""

import contextlib
import ctypes
import functools
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import trio
import zmq

from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.net.curve import CurveKeys, curve_public
from pyrsia.net.zap import Bans, Zap, serve_with_curve
from pyrsia.net.zsock import ZSock
from pyrsia.units import (
    BROADCAST_FRAME_BYTES,
    BROADCAST_HWM,
    DATA_HWM,
    DIAL_WAIT_S,
    LINK_BATCH_FRAMES,
    LINK_DEAD_S,
    LINK_HWM,
    MAX_DATA_FRAME_BYTES,
    MAX_PEERS,
    Limit,
    NodeId,
)
from pyrsia.wire import frames

CURVE_BYTES: Final = 64  # what encryption adds to a frame (33), which ZeroMQ counts before it decrypts
KEEPALIVE_S: Final = 5  # three probes unanswered, and a link is dead
# Chunks have I/O threads of their own, since a connection is encrypted by one thread; the first is for all else.
DATA_THREADS: Final = max(1, min(4, (os.cpu_count() or 1) // 2))
KEPT_BYTES = Limit(16 << 20, "freed memory that a thread keeps: the most that one source may owe")
_M_TRIM_THRESHOLD: Final = -1  # of malloc.h
_M_MMAP_THRESHOLD: Final = -3
_DATA_AFFINITY: Final = (1 << (1 + DATA_THREADS)) - 2
MOST_FRAMES: Final = LINK_BATCH_FRAMES.value + 2  # one more of the second lane, and a part
_LOST_EVENTS: Final = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


class Sockets:
    """What one node binds and dials with.

    Attributes:
        control, data: the bound ROUTERs while open; `data` stays None without a data address.
        broadcast: the bound XPUB; None without a broadcast address.
        control_endpoint, data_endpoint, broadcast_endpoint, plain_endpoint: the addresses that they got.
        plain: the ROUTER for chunks without encryption; None unless it was asked for.
        zap: the handler that every encrypted server asks.
    """

    def __init__(
        self,
        curve: CurveKeys,
        bans: Bans,
        counted: Counter[str],
        may_come: Callable[[str], bool] = lambda address: True,
    ) -> None:
        self.control_endpoint = ""
        self.data_endpoint = ""
        self.broadcast_endpoint = ""
        self.plain_endpoint = ""
        self.control: ZSock | None = None
        self.data: ZSock | None = None
        self.broadcast: ZSock | None = None
        self.plain: ZSock | None = None
        self.zap: Zap | None = None
        self._curve = curve
        self._bans = bans
        self._counted = counted
        self._may_come = may_come
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None

    @property
    def opened(self) -> bool:
        return self._context is not None

    @property
    def bound(self) -> list[ZSock]:
        """Every socket that others connect to."""
        every = (self.control, self.data, self.broadcast, self.plain)
        return [sock for sock in every if sock is not None]

    def ports(self) -> frozenset[int]:
        """Where they connect to."""
        every = (self.control_endpoint, self.data_endpoint, self.broadcast_endpoint, self.plain_endpoint)
        ports = (endpoint.rpartition(":")[2] for endpoint in every)
        return frozenset(int(port) for port in ports if port.isdecimal())

    def open(self, control_addr: str, data_addr: str, broadcast_addr: str = "", plain_addr: str = "") -> None:
        """Bind everything: the ZAP handler first, then the servers.

        Raises:
            Refusal: `port-taken`, or `config-invalid` where nobody could listen, with the address.
        """
        _keep_pages()
        context = self._context = zmq.Context(io_threads=1 + DATA_THREADS)
        context.set(zmq.MAX_SOCKETS, 4 * MAX_PEERS.value)
        try:
            self.zap = Zap(context, self._bans, self._counted, self._may_come)
            router = self._server(context, frames.FRAME_BYTES, LINK_HWM.value)
            self.control_endpoint = _bind(router, control_addr)
            self.control = ZSock(router)
            if data_addr:
                data = self._server(context, MAX_DATA_FRAME_BYTES.value + 1024, DATA_HWM.value)
                data.setsockopt(zmq.AFFINITY, _DATA_AFFINITY)
                self.data_endpoint = _bind(data, data_addr)
                self.data = ZSock(data)
            if plain_addr:
                self._open_plain(context, plain_addr)
            if broadcast_addr:
                self._open_broadcast(context, broadcast_addr)
        except Refusal:
            self.close()
            raise

    def close(self) -> None:
        """Close all sockets and the context. Calling it twice is harmless."""
        for sock in (self.control, self.data, self.broadcast, self.plain):
            if sock is not None:
                sock.close()
        if self.zap is not None:
            self.zap.close()
        if self._context is not None:
            self._context._warn_destroy_close = False  # sockets that never became a ZSock
            self._context.destroy(linger=0)
        self._context = None

    def client(
        self, node: NodeId, address: str, *, frame_bytes: int, hwm: int, plain: bool = False
    ) -> tuple[ZSock, ZSock]:
        """A DEALER connecting to `node`, and the socket that tells when the connection is lost.

        It never reconnects: a lost connection is a new one, greeting and all. A `plain` one proves nobody's key.

        Raises:
            Unavailable: the address is none, or the sockets are closed.
        """
        sock = self._socket(zmq.DEALER)
        try:
            _bound(sock, frame_bytes, hwm)
            if hwm != LINK_HWM.value:
                sock.setsockopt(zmq.AFFINITY, _DATA_AFFINITY)
            return self._connected(sock, address) if plain else self._dialled(sock, node, address)
        except (zmq.ZMQError, Malformed) as error:
            sock.close(linger=0)
            raise Unavailable(f"cannot dial: {error}") from None

    def subscriber(self, node: NodeId, address: str) -> tuple[ZSock, ZSock]:
        """A SUB connecting to the broadcasts of `node`, and the socket that tells when the connection is lost.

        It subscribes to nothing yet; `ZSock.subscribe` does.

        Raises:
            Unavailable: the address is none, or the sockets are closed.
        """
        sock = self._socket(zmq.SUB)
        try:
            _bound(sock, BROADCAST_FRAME_BYTES.value, BROADCAST_HWM.value)
            return self._dialled(sock, node, address)
        except (zmq.ZMQError, Malformed) as error:
            sock.close(linger=0)
            raise Unavailable(f"cannot dial: {error}") from None

    async def answers_at(self, node: NodeId, address: str) -> bool:
        """Whether a server with the transport key of `node` completes a handshake at `address`. Nothing is sent.

        Raises:
            Unavailable: this node cannot tell now.
        """
        sock = self._socket(zmq.DEALER)
        try:
            _bound(sock, frames.FRAME_BYTES, 1)
            dialled, monitor = self._dialled(
                sock, node, address, _LOST_EVENTS | zmq.EVENT_HANDSHAKE_SUCCEEDED
            )
        except (zmq.ZMQError, Malformed):
            sock.close(linger=0)
            return False
        try:
            with trio.move_on_after(DIAL_WAIT_S.value):
                event = await monitor.recv()
                number = int.from_bytes(event[0].bytes[:2], sys.byteorder)
                return number == int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
            return False
        except Unavailable:
            return False
        finally:
            dialled.close()
            monitor.close()

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        """
        Raises:
            Unavailable: the sockets are closed, or this process may open no more.
        """
        if self._context is None:
            raise Unavailable("the links are closed")
        try:
            return self._context.socket(kind)
        except zmq.ZMQError as error:  # no descriptor is left: others may hold them, and ask us to dial
            self._counted["no-socket"] += 1
            raise Unavailable(f"cannot dial: {error}") from None

    def _dialled(
        self, sock: zmq.Socket[bytes], node: NodeId, address: str, events: int = _LOST_EVENTS
    ) -> tuple[ZSock, ZSock]:
        sock.setsockopt(zmq.CURVE_SERVERKEY, curve_public(node))
        sock.setsockopt(zmq.CURVE_PUBLICKEY, self._curve.public)
        sock.setsockopt(zmq.CURVE_SECRETKEY, self._curve.secret)
        return self._connected(sock, address, events)

    def _connected(
        self, sock: zmq.Socket[bytes], address: str, events: int = _LOST_EVENTS
    ) -> tuple[ZSock, ZSock]:
        sock.setsockopt(zmq.RECONNECT_IVL, -1)
        sock.setsockopt(zmq.CONNECT_TIMEOUT, DIAL_WAIT_S.value * 1000)
        sock.setsockopt(zmq.IPV6, int("[" in address))
        monitor = sock.get_monitor_socket(events)
        try:
            sock.connect(address)
        except zmq.ZMQError:
            sock.disable_monitor()
            monitor.close(linger=0)
            raise
        return ZSock(sock), ZSock(monitor)

    def _open_broadcast(self, context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
        """An XPUB drops at its mark and never waits: what is lost, anti-entropy brings (docs/mesh.md)."""
        sock = context.socket(zmq.XPUB)
        _bound(sock, BROADCAST_FRAME_BYTES.value, BROADCAST_HWM.value)
        sock.setsockopt(zmq.XPUB_MANUAL, 1)  # broadcasting.py grants a subscription, or does not
        sock.setsockopt(zmq.HANDSHAKE_IVL, DIAL_WAIT_S.value * 1000)
        serve_with_curve(sock, self._curve.secret)
        self.broadcast_endpoint = _bind(sock, address)
        self.broadcast = ZSock(sock)

    def _open_plain(self, context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
        """Anybody connects; what a connection may have, a ticket says (`tickets`)."""
        sock = context.socket(zmq.ROUTER)
        _bound(sock, MAX_DATA_FRAME_BYTES.value + 1024, DATA_HWM.value)
        sock.setsockopt(zmq.ROUTER_MANDATORY, 1)
        sock.setsockopt(zmq.HANDSHAKE_IVL, DIAL_WAIT_S.value * 1000)
        sock.setsockopt(zmq.AFFINITY, _DATA_AFFINITY)
        self.plain_endpoint = _bind(sock, address)
        self.plain = ZSock(sock)

    def _server(
        self, context: zmq.Context[zmq.Socket[bytes]], frame_bytes: int, hwm: int
    ) -> zmq.Socket[bytes]:
        sock = context.socket(zmq.ROUTER)
        _bound(sock, frame_bytes, hwm)
        sock.setsockopt(zmq.ROUTER_MANDATORY, 1)
        sock.setsockopt(zmq.HANDSHAKE_IVL, DIAL_WAIT_S.value * 1000)
        serve_with_curve(sock, self._curve.secret)
        return sock


@functools.cache
def _keep_pages() -> None:
    """Tell glibc to keep what is freed: it gives memory of a chunk's size back to the kernel each time, and getting it
    anew for each chunk costs as much as a fifth of a transfer."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # another C library has none
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES.value)
        mallopt(_M_MMAP_THRESHOLD, 1 << 20)


def bytes_of(parts: Sequence[zmq.Frame]) -> list[bytes]:
    """Copies of no more frames than it takes to see that there are too many."""
    return [part.bytes for part in parts[: MOST_FRAMES + 1]]


async def until_lost(monitor: ZSock, scope: trio.CancelScope) -> None:
    """End `scope` with the first event that says that the connection is gone."""
    with contextlib.suppress(Unavailable):
        await monitor.recv()
    scope.cancel()


def _bound(sock: zmq.Socket[bytes], frame_bytes: int, hwm: int) -> None:
    """The limits that every socket has."""
    sock.setsockopt(zmq.LINGER, 0)
    sock.setsockopt(zmq.SNDHWM, hwm)
    sock.setsockopt(zmq.RCVHWM, hwm)
    sock.setsockopt(zmq.MAXMSGSIZE, frame_bytes + CURVE_BYTES)
    # A dead peer's connection ends by the kernel's probes. Not by ZeroMQ's heartbeats: libzmq 4.3.5 aborts the process
    # when one falls due on a connection that broke while its messages waited to be read (zeromq/libzmq#4841).
    sock.setsockopt(zmq.TCP_KEEPALIVE, 1)
    sock.setsockopt(zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_S)
    sock.setsockopt(zmq.TCP_KEEPALIVE_INTVL, KEEPALIVE_S)
    sock.setsockopt(zmq.TCP_KEEPALIVE_CNT, LINK_DEAD_S.value // KEEPALIVE_S)
    sock.setsockopt(zmq.TCP_MAXRT, LINK_DEAD_S.value * 1000)  # the same for what is sent and never confirmed


def _bind(sock: zmq.Socket[bytes], address: str) -> str:
    try:
        sock.setsockopt(zmq.IPV6, int("[" in address))
        sock.bind(address.removesuffix(":0") + ":*" if address.endswith(":0") else address)
    except zmq.ZMQError as error:
        sock.close(linger=0)
        raise _cannot_listen(address, error) from None
    return sock.getsockopt_string(zmq.LAST_ENDPOINT)


def _cannot_listen(address: str, error: zmq.ZMQError) -> Refusal:
    """Only an address that somebody holds is free again some time (`node.ports`)."""
    what = f"cannot listen on {address}: {error.strerror}"
    if error.errno == zmq.EADDRINUSE:
        return Refusal(
            "port-taken",
            what=what,
            who="this machine: another program or another node holds the address",
            do="stop it, or choose another address in the configuration",
        )
    return Refusal(
        "config-invalid",
        what=what,
        who="the addresses in config.toml: `host` and the ports of [net]",
        do="choose an address of this machine, and ports that this user may open",
    )
