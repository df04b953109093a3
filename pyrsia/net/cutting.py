"""To end one connection of others to us: ZeroMQ has no way to, so it is done at the kernel's end of it.

A message says over which descriptor it came. The number may be another connection's by the time that one is to be cut,
so the kernel's own number of the socket is kept with it, and nothing is cut that is not the same.
"""

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass

import zmq


@dataclass(frozen=True, slots=True)
class Wire:
    """One connection: its descriptor, and the kernel's number of its socket."""

    fd: int
    inode: int

    @property
    def there(self) -> bool:
        """Whether it is open still."""
        return _inode(self.fd) == self.inode


def wire_of(frame: zmq.Frame) -> Wire | None:
    """The connection that this frame came over; None where that cannot be told, or it is gone."""
    try:
        fd = int(frame.get(zmq.SRCFD))
    except (zmq.ZMQError, ValueError, KeyError):
        return None
    inode = _inode(fd)
    return Wire(fd, inode) if inode else None


def cut(wire: Wire) -> bool:
    """End this connection; ZeroMQ sees that it broke. Whether it was there."""
    with contextlib.suppress(OSError), borrowed(wire.fd) as handle:
        if wire.there:
            handle.shutdown(socket.SHUT_RDWR)
            return True
    return False


@contextlib.contextmanager
def borrowed(fd: int) -> Iterator[socket.socket]:
    """ZeroMQ's descriptor itself: there may be none left for a copy, just when connections have to be cut."""
    handle = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
    try:
        yield handle
    finally:
        handle.detach()


def inode_of(frame: zmq.Frame) -> int:
    """The kernel's number of the connection that this frame came over; 0 where that cannot be told."""
    wire = wire_of(frame)
    return wire.inode if wire is not None else 0


def _inode(fd: int) -> int:
    """0 for what is no socket."""
    try:
        about = os.fstat(fd)
    except OSError:
        return 0
    return about.st_ino if stat.S_ISSOCK(about.st_mode) else 0
