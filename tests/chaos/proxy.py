"""A TCP proxy with weather: latency, bandwidth, cuts, half-open connections, a corrupted byte, a slow reader.

It stands between two real ends and lives in the test's own trio loop. What the weather is, the test decides, at any
moment: each direction has its own, and every connection of the proxy shares its bandwidth, as those of one cable do.
"""

import contextlib
import math
import socket
from collections import deque
from dataclasses import dataclass, field
from typing import Final

import trio

PIECE: Final = 65_536
UNDER_WAY: Final = 8 << 20  # bytes that a cable holds at once: 80 ms at 100 MB/s; then the sender has to wait


@dataclass(slots=True)
class Weather:
    """What one direction does to bytes.

    Attributes:
        latency_s: from one end to the other.
        bytes_s: bandwidth, shared by all connections; infinite by default.
        corrupt_at: the byte of each connection, counted from 0, whose lowest bit is flipped; -1 for none.
        held: nothing passes and nobody is told: half-open.
        window: bytes that the reading side takes from its socket at once; small, it is a slow reader.
    """

    latency_s: float = 0.0
    bytes_s: float = math.inf
    corrupt_at: int = -1
    held: bool = False
    window: int = PIECE
    passed: int = 0  # bytes, of all connections
    _free_s: float = field(default=0.0, repr=False)  # until when the cable is busy

    def busy(self, count: int) -> float:
        """When the last of `count` more bytes has entered the cable."""
        now_s = trio.current_time()
        self._free_s = max(self._free_s, now_s) + (0.0 if math.isinf(self.bytes_s) else count / self.bytes_s)
        return self._free_s


class Proxy:
    """Forwards connections from its own port to `target`.

    Attributes:
        there: weather from who dials to the target.
        back: weather of the answers.
        connections: how many have been made.
    """

    def __init__(self, target: int, host: str = "127.0.0.1") -> None:
        self.there = Weather()
        self.back = Weather()
        self.connections = 0
        self._target = target
        self._host = host
        self._whole = True
        self._changed = trio.Event()
        self._scopes: set[trio.CancelScope] = set()
        self._listeners: list[trio.SocketListener] = []
        self._nursery: trio.Nursery | None = None

    @property
    def port(self) -> int:
        return int(self._listeners[0].socket.getsockname()[1])

    @property
    def address(self) -> str:
        return f"tcp://{self._host}:{self.port}"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; `port` is known once this has started."""
        self._listeners = await trio.open_tcp_listeners(0, host=self._host)
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.serve_listeners(self._join, self._listeners)

    # -- what a test does to it --

    def cut(self) -> None:
        """Connections are reset, and new ones are refused, until `mend`."""
        self._whole = False
        for scope in [*self._scopes]:
            scope.cancel()

    def mend(self) -> None:
        """Everything passes again; what was held goes on."""
        self._whole = True
        self.there.held = self.back.held = False
        self._tell()

    def hold(self) -> None:
        """Half-open: connections stay, nothing passes, nobody is told. New ones are taken and go nowhere."""
        self.there.held = self.back.held = True

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # -- one connection --

    async def _join(self, near: trio.SocketStream) -> None:
        self.connections += 1
        with trio.CancelScope() as scope, contextlib.suppress(OSError, trio.BrokenResourceError):
            self._scopes.add(scope)
            try:
                if not self._whole:
                    scope.cancel()
                far = await trio.open_tcp_stream(self._host, self._target)
                async with near, far:
                    async with trio.open_nursery() as both:
                        both.start_soon(self._carry, near, far, self.there, both.cancel_scope)
                        both.start_soon(self._carry, far, near, self.back, both.cancel_scope)
            finally:
                self._scopes.discard(scope)
                if scope.cancel_called:
                    _reset(near)
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(near)

    async def _carry(
        self, source: trio.SocketStream, sink: trio.SocketStream, weather: Weather, both: trio.CancelScope
    ) -> None:
        """One direction: read, delay, pace, write; either end's close ends the connection."""
        cable = _Cable()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deliver, cable, sink, weather, both)
            seen = 0
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while data := await source.receive_some(weather.window):
                    while weather.held:
                        await self._changed.wait()
                    if seen <= weather.corrupt_at < seen + len(data):
                        data = _flipped(data, weather.corrupt_at - seen)
                    seen += len(data)
                    weather.passed += len(data)
                    entered_s = weather.busy(len(data))
                    await trio.sleep_until(entered_s)
                    await cable.put(entered_s + weather.latency_s, data)
            await cable.put(trio.current_time() + weather.latency_s, b"")

    async def _deliver(
        self, cable: "_Cable", sink: trio.SocketStream, weather: Weather, both: trio.CancelScope
    ) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while True:
                due_s, data = await cable.take()
                await trio.sleep_until(due_s)
                while weather.held:
                    await self._changed.wait()
                if not data:
                    break
                await sink.send_all(data)
        both.cancel()


class _Cable:
    """Bytes under way, in order, no more than a cable holds."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._moved = trio.Event()

    async def put(self, due_s: float, data: bytes) -> None:
        while self._size > UNDER_WAY:
            await self._moved.wait()
        self._pieces.append((due_s, data))
        self._size += len(data)
        self._tell()

    async def take(self) -> tuple[float, bytes]:
        while not self._pieces:
            await self._moved.wait()
        due_s, data = self._pieces.popleft()
        self._size -= len(data)
        self._tell()
        return due_s, data

    def _tell(self) -> None:
        self._moved.set()
        self._moved = trio.Event()


def _flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def _reset(stream: trio.SocketStream) -> None:
    """What follows is a reset and no goodbye."""
    with contextlib.suppress(OSError, ValueError):
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
