"""Connections that send frames without end and never a last one: found by the kernel's count of bytes, and cut.

ZeroMQ assembles a message of many frames before anybody sees it; its marks count messages, and its limit on size is of
one frame. So no option bounds what such a connection takes. But the kernel counts what each connection has received,
and every message says over which descriptor it came. A connection to one of our ports that receives more than ZeroMQ
can hold of one that nobody reads, while we read and nothing comes of it, is cut; ZeroMQ then drops what it had.

Looked at only after this process has grown, since a look asks the kernel about each descriptor. Left out: connections
that we dialled, whose other end we chose; and systems whose kernel does not tell.

Source: docs/network.md, "What a liar can do".
"""

import contextlib
import os
import socket
import stat
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from pyrsia.net.zsock import ZSock
from pyrsia.units import Limit

GROWN_BYTES = Limit(
    32 << 20, "growth of this process before connections are looked at: a busy second of a node"
)
UNHEARD_BYTES = Limit(
    80 << 20,
    "received without one message: above the 32 of 2 MiB that ZeroMQ takes in unread, and one in the making",
)
ALL_UNHEARD_BYTES = Limit(
    256 << 20, "of all connections together; then a fifth of the above is enough of one"
)
LOOK_S: Final = 1.0
WATCH_S: Final = 0.25  # between two looks at those that are watched
STILL_LOOKS: Final = 40  # without a byte; then it is watched no more
_RECEIVED: Final = struct.Struct("Q")
_RECEIVED_AT: Final = 128  # of tcpi_bytes_received in the kernel's struct tcp_info


@dataclass(slots=True)
class _Watched:
    """One connection since it was last heard."""

    base: int  # bytes received then
    seen: int
    still: int = 0

    @property
    def unheard(self) -> int:
        return self.seen - self.base


class Hoarders:
    """Watches connections to some ports.

    Args:
        ports: that are ours.
        socks: what reads them.
        counted: `hoarder-cut`.
    """

    def __init__(
        self, ports: Callable[[], Collection[int]], socks: Collection[ZSock], counted: Counter[str]
    ) -> None:
        self._ports = ports
        self._socks = socks
        self._counted = counted
        self._heard: set[int] = set()  # descriptors over which messages came
        self._watched: dict[int, _Watched] = {}  # by inode

    async def run(self) -> None:
        """Until cancelled."""
        quiet = _own_bytes()
        while True:
            await trio.sleep(WATCH_S if self._watched else LOOK_S)
            size = _own_bytes()
            grown = size - quiet > GROWN_BYTES.value
            if grown or self._watched:
                self._look(everybody=grown)
            quiet = size if grown else min(quiet, size)

    def _look(self, *, everybody: bool) -> None:
        """Who was heard, or is still for long, is watched no more; who is neither and has grown, is cut.

        Args:
            everybody: watch all that are there, from now on.
        """
        heard, self._heard = self._heard, set()
        for sock in self._socks:
            sock.heard = self._heard
        watched: dict[int, _Watched] = {}
        with contextlib.ExitStack() as held:
            handles: dict[int, socket.socket] = {}
            for fd, inode, handle in _connections(self._ports()):
                held.callback(handle.close)
                received = _received(handle)
                known = self._watched.get(inode) if fd not in heard else None
                if known is None and not everybody:
                    continue
                one = known or _Watched(received, received)
                one.still = 0 if received != one.seen else one.still + 1
                one.seen = received
                if one.still < STILL_LOOKS:
                    watched[inode], handles[inode] = one, handle
            everything = sum(one.unheard for one in watched.values())
            most = UNHEARD_BYTES.value // (5 if everything > ALL_UNHEARD_BYTES.value else 1)
            for inode in [inode for inode, one in watched.items() if one.unheard > most]:
                del watched[inode]
                self._counted["hoarder-cut"] += 1
                with contextlib.suppress(OSError):
                    handles[inode].shutdown(
                        socket.SHUT_RDWR
                    )  # of the connection itself, whatever its number is now
        self._watched = watched
        if not watched:
            for sock in self._socks:
                sock.heard = None


def _connections(ports: Collection[int]) -> Iterator[tuple[int, int, socket.socket]]:
    """(descriptor, inode, a handle of its own) of each connection that somebody made to one of `ports`."""
    found: set[int] = set()  # a handle may get the number of the list that names it
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:  # no descriptor is left to look with; those who hold them are seen at the next look
        return
    for name in names:
        try:
            about = os.fstat(int(name))
            if not stat.S_ISSOCK(about.st_mode) or about.st_ino in found:
                continue
            found.add(about.st_ino)
            handle = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, os.dup(int(name)))
        except OSError:
            continue
        try:
            address = handle.getsockname()
            ours = isinstance(address, tuple) and address[1] in ports
            if ours:
                handle.getpeername()  # a listening socket has none
        except OSError:
            ours = False
        if ours:
            yield int(name), about.st_ino, handle
        else:
            handle.close()


def _received(handle: socket.socket) -> int:
    """Bytes that the connection has received; 0 where the kernel does not say."""
    try:
        told = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED_AT + _RECEIVED.size)
    except (OSError, AttributeError):
        return 0
    return int(_RECEIVED.unpack_from(told, _RECEIVED_AT)[0]) if len(told) > _RECEIVED_AT else 0


def _own_bytes() -> int:
    """Memory that this process alone holds; 0 where the kernel does not say."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    lines = (line.split() for line in status.splitlines() if line.startswith("RssAnon"))
    return next((int(words[1]) << 10 for words in lines), 0)
