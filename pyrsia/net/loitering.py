"""Connections to our ports that lead to nothing: shut down, and no more of one address than it may have.

Whoever completes ZeroMQ's handshake with a key made up now has a connection, and with it a descriptor of ours; enough
of those, and the node can open no file and dial nobody. So a connection to our ports has to become somebody's within
the time of two greetings: a link, a data link, a subscription of a linked node. One that was, and is no more (its node
left, or was banned), has as long again. Who reads a port says which connections are somebody's, by inode.

Left out: what hoarders send (hoarding.py), and who may greet how often (door.py).

Source: docs/network.md, "What a liar can do".
"""

import contextlib
import os
import resource
import stat
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final

import trio

from pyrsia.net.cutting import Wire, borrowed, cut
from pyrsia.units import DIAL_WAIT_S, Limit

OF_ADDRESS = Limit(
    1024, "connections from one address: all peers that a node has, on one machine, with four each"
)
SHARE: Final = 4  # and no more than this part of the descriptors that we may have
MEET_S: Final = 2.0 * DIAL_WAIT_S.value  # the handshake may take one, the greeting another
LOOK_S: Final = 2.5
REST: Final = 50  # times what a look took: two microseconds for each descriptor

Known = Callable[[], Collection[int]]


@dataclass(slots=True)
class _Caller:
    """One socket of this process. `port` is 0 where nobody connected to a port of ours."""

    port: int
    address: str
    nobody_since_s: float


class Loiterers:
    """Watches connections to the ports of which somebody says whose they are.

    Args:
        counted: `loiterer-cut`, `connect-too-many`.
    """

    def __init__(self, counted: Counter[str]) -> None:
        self._counted = counted
        self._known: list[tuple[Callable[[], str], Known]] = []
        self._callers: dict[int, _Caller] = {}  # by inode
        self._present: Counter[str] = Counter()  # connections of each address, at the last look
        self._came: Counter[str] = Counter()  # and since
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most = min(OF_ADDRESS.value, descriptors // SHARE if descriptors > 0 else OF_ADDRESS.value)

    def know(self, endpoint: Callable[[], str], known: Known) -> None:
        """Connections to this endpoint are somebody's if their inode is one of `known`. Before it is bound."""
        self._known.append((endpoint, known))

    def may_come(self, address: str) -> bool:
        """Whether one more connection of this address is taken."""
        if self._present[address] + self._came[address] >= self._most:
            self._counted["connect-too-many"] += 1
            return False
        self._came[address] += 1
        return True

    async def run(self) -> None:
        """Until cancelled."""
        took_s = 0.0
        while True:
            await trio.sleep(max(LOOK_S, took_s * REST))
            began_s = time.perf_counter()
            self._look(trio.current_time())
            took_s = time.perf_counter() - began_s

    def _look(self, now_s: float) -> None:
        known = self._known_by_port()
        was, self._callers = self._callers, {}
        self._present.clear()
        self._came.clear()
        for wire in _sockets():
            one = self._callers[wire.inode] = was.get(wire.inode) or _caller(wire.fd, known, now_s)
            if not one.port:
                continue
            self._present[one.address] += 1
            if wire.inode in known[one.port]:
                one.nobody_since_s = now_s
            elif now_s - one.nobody_since_s >= MEET_S and cut(wire):
                self._counted["loiterer-cut"] += 1

    def _known_by_port(self) -> dict[int, set[int]]:
        known: dict[int, set[int]] = {}
        for endpoint, of_port in self._known:
            port = endpoint().rpartition(":")[2]
            if port.isdecimal():
                known.setdefault(int(port), set()).update(of_port())
        return known


def _sockets() -> Iterator[Wire]:
    """Each socket of this process."""
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:  # no descriptor is left to look with: one of those that are cut makes room
        names = [str(fd) for fd in range(resource.getrlimit(resource.RLIMIT_NOFILE)[0])]
    for name in names:
        try:
            about = os.fstat(int(name))
        except OSError:
            continue
        if stat.S_ISSOCK(about.st_mode):
            yield Wire(int(name), about.st_ino)


def _caller(fd: int, ports: Collection[int], now_s: float) -> _Caller:
    """Who is at the other end, if it connected to one of `ports`."""
    with contextlib.suppress(OSError), borrowed(fd) as handle:
        own = handle.getsockname()
        if isinstance(own, tuple) and len(own) > 1 and own[1] in ports:
            return _Caller(own[1], str(handle.getpeername()[0]), now_s)  # a listening socket has none
    return _Caller(0, "", now_s)
