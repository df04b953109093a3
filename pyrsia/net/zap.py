"""Who may open a connection at all: everybody whose transport key is not banned right now, and whose address has not
as many already as one may have (loitering.py).

The answer to "who are you" comes later, in the greeting; here the key is only looked up in the deny-list
and handed on as the User-Id of every frame, where it cannot be forged. The handler runs as a trio task of
the node that owns the ZeroMQ context, and is bound before any server. Servers set ZAP_ENFORCE_DOMAIN, so
without a handler nothing connects.

Source: ZeroMQ RFC 27; docs/network.md, "Who is who".
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio
import zmq

from pyrsia.errors import Unavailable
from pyrsia.net.zsock import ZSock
from pyrsia.units import MAX_BANS

DOMAIN: Final = b"pyrsia"
_ENDPOINT: Final = "inproc://zeromq.zap.01"


class Bans:
    """Transport keys that are refused until their time is up. The oldest ban makes room for a new one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until_s: dict[bytes, float] = {}

    def add(self, key: bytes, seconds: float) -> None:
        until_s = max(self._until_s.pop(key, 0.0), self._clock() + seconds)
        while len(self._until_s) >= MAX_BANS.value:
            self._until_s.pop(next(iter(self._until_s)))
        self._until_s[key] = until_s

    def __contains__(self, key: bytes) -> bool:
        until_s = self._until_s.get(key)
        if until_s is None:
            return False
        if until_s <= self._clock():
            del self._until_s[key]
            return False
        return True

    def left_s(self, key: bytes) -> float:
        """Seconds for which `key` is still refused; 0 for one that is not."""
        return max(0.0, self._until_s.get(key, 0.0) - self._clock())

    def __len__(self) -> int:
        return len(self._until_s)


class Zap:
    """The handler. Construct (which binds) before the first server binds, then start `run`."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        bans: Bans,
        counted: Counter[str],
        may_come: Callable[[str], bool] = lambda address: True,
    ) -> None:
        sock = context.socket(zmq.ROUTER)
        sock.setsockopt(zmq.LINGER, 0)
        sock.bind(_ENDPOINT)
        self._sock = ZSock(sock)
        self._bans = bans
        self._counted = counted
        self._may_come = may_come

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        with suppress(Unavailable):
            while True:
                frames = [frame.bytes for frame in await self._sock.recv()]
                answer = self._answer(frames)
                if answer is not None:
                    await self._sock.send(answer)

    def close(self) -> None:
        self._sock.close()

    def _answer(self, frames: list[bytes]) -> list[bytes] | None:
        """RFC 27: routing id, empty, version, request id, domain, address, identity, mechanism, key."""
        if len(frames) < 8:
            return None
        route, empty, version, request, domain, address, _identity, mechanism, *credentials = frames
        head = [route, empty, version, request]
        if version != b"1.0" or domain != DOMAIN or mechanism != b"CURVE" or len(credentials) != 1:
            self._counted["connect-not-curve"] += 1
            return [*head, b"400", b"CURVE only", b"", b""]
        if credentials[0] in self._bans:
            self._counted["connect-banned"] += 1
            return [*head, b"400", b"banned", b"", b""]
        if not self._may_come(address.decode("latin-1")):
            return [*head, b"400", b"too many from this address", b"", b""]
        return [*head, b"200", b"OK", credentials[0].hex().encode(), b""]


def serve_with_curve(sock: zmq.Socket[bytes], secret: bytes) -> None:
    """Make `sock` a CURVE server that asks the handler about every connection."""
    sock.setsockopt(zmq.CURVE_SERVER, 1)
    sock.setsockopt(zmq.CURVE_SECRETKEY, secret)
    sock.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
    sock.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


def remote_of(frame: zmq.Frame) -> str:
    """The numeric address that the connection of `frame` comes from; empty when it is unknown."""
    try:
        return str(frame.get("Peer-Address"))
    except (zmq.ZMQError, ValueError, KeyError):
        return ""


def key_of(frame: zmq.Frame) -> bytes:
    """The transport key of the connection that `frame` came over; empty when it is unknown."""
    try:
        return bytes.fromhex(str(frame.get("User-Id")))
    except (zmq.ZMQError, ValueError, KeyError):
        return b""
