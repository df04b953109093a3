"""Ports that are one network's from the moment they are chosen until it is removed.

A port that is looked for and let go again may be given to somebody else before its node listens there, and again
whenever that node is down: to another demo that begins, or to any program that asks for a port. So each is held by a
socket that is bound and never listens. Linux lets a listener that sets SO_REUSEADDR, as nodes do, bind beside such a
socket, and gives the port to nobody who asks for any.

Source: ip(7) and socket(7), SO_REUSEADDR; ip-sysctl, `ip_local_port_range`.
"""

import socket
import sys
from contextlib import ExitStack
from typing import Final

LOOPBACK: Final = "127.0.0.1"

_IS_SHARED: Final = sys.platform == "linux"  # elsewhere the holder itself would keep the node out


class Ports:
    """Those of one network. Nothing is held before the first is asked for."""

    def __init__(self) -> None:
        self._held = ExitStack()

    def hold(self, count: int) -> list[int]:
        """`count` ports of the loopback address that nobody else has, until `close`.

        Raises:
            OSError: the system has no more ports, or no more sockets for this process.
        """
        with ExitStack() as fresh:
            found = [self._bound(fresh) for _ in range(count)]
            if _IS_SHARED:
                self._held.push(fresh.pop_all())
            return found

    def _bound(self, fresh: ExitStack) -> int:
        taken = fresh.enter_context(socket.socket())
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((LOOPBACK, 0))
        port: int = taken.getsockname()[1]
        return port

    def close(self) -> None:
        """Give all of them back."""
        self._held.close()
