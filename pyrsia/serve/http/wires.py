"""How bytes get onto a connection and off it: plainly, with files sent by the kernel. Every wait has an idle limit.

Left out: what the bytes mean (`connection`), and TLS (`tls`), which has the same face.
"""

import os
import socket
from contextlib import suppress
from typing import Final, Protocol

import trio

from pyrsia.units import (
    MAX_HTTP_LINGER_BYTES,
    MAX_HTTP_LINGER_S,
    MAX_HTTP_READ_BYTES,
    MAX_SENDFILE_BYTES,
    Limit,
)

_READ_AHEAD_BYTES: Final = 8 * MAX_SENDFILE_BYTES.value
_PAGES_BYTES: Final = 65_536  # read at a time, to be thrown away
WRITE_COST_BYTES: Final = 4_096  # what a call costs beside its bytes, so that small writes yield as well
_COLD_READERS: Final = Limit(4, "threads that wait for disks; more would only make a disk seek")

_cold_readers: Final = trio.CapacityLimiter(_COLD_READERS.value)
_byte: Final = bytearray(1)


async def in_memory(fd: int, offset: int, count: int) -> None:
    """See that these bytes are in the page cache: a cold file would stop the loop, and everybody, inside `sendfile`.

    Warm bytes cost two calls that never wait (`RWF_NOWAIT`); cold ones are read by a thread, and the kernel is told
    that more will be wanted.
    """
    if not count:
        return
    try:
        for at in (offset, offset + count - 1):
            os.preadv(fd, [_byte], at, os.RWF_NOWAIT)
    except BlockingIOError:
        await trio.to_thread.run_sync(_read, fd, offset, count, limiter=_cold_readers)
    except OSError:
        return  # a file system that cannot say, such as one in memory


def _read(fd: int, offset: int, count: int) -> None:
    with suppress(OSError):  # a disk that cannot read says so again where it is sent from
        os.posix_fadvise(fd, offset, _READ_AHEAD_BYTES, os.POSIX_FADV_WILLNEED)
        for at in range(offset, offset + count, _PAGES_BYTES):
            os.pread(fd, min(_PAGES_BYTES, offset + count - at), at)


class ClientGone(OSError):
    """The other side left or stopped moving; there is nobody to tell."""


class Wire(Protocol):
    """One connection's bytes. A method raises `ClientGone` when the other side left or stands still."""

    async def greet(self) -> str:
        """Before the first request; what is wrong with how the client began, "" if nothing is."""
        ...

    async def recv(self, most: int = MAX_HTTP_READ_BYTES.value) -> bytes:
        """Some bytes, nothing at the end. Waits without a limit; what is cancelled loses no byte."""
        ...

    async def send_all(self, data: bytes) -> None:
        """Write everything; each step may idle, the whole may take for ever."""
        ...

    async def send_file(self, fd: int, offset: int, count: int) -> None:
        """`count` bytes of `fd` from `offset`.

        Raises:
            EOFError: the file is shorter than announced; only closing is honest now.
        """
        ...

    async def until_heard(self) -> bool:
        """Wait until something of the client is here to be read (True) or the client has left (False)."""
        ...

    def cork(self, on: bool) -> None:
        """Hold the head back until the body's first bytes join it; letting go flushes."""
        ...

    async def finish(self) -> None:
        """Say that no answer follows, where that can be said."""
        ...

    async def linger(self) -> None:
        """Read and drop for a moment: closing on unread bytes would reset the answer away."""
        ...


class PlainWire:
    """Bytes as they are. Files go by `sendfile`."""

    def __init__(self, sock: trio.socket.SocketType, *, idle_s: float, tcp: bool) -> None:
        self._sock = sock
        self._idle_s = idle_s
        self._tcp = tcp
        self._unyielded = 0  # bytes written since other tasks had their turn

    async def greet(self) -> str:
        return ""

    async def recv(self, most: int = MAX_HTTP_READ_BYTES.value) -> bytes:
        try:
            while True:
                # Nearly always nothing is here yet: to try first, as trio's own `recv` does, costs a call and an error.
                await trio.lowlevel.wait_readable(self._sock)
                try:
                    return os.read(self._sock.fileno(), most)
                except BlockingIOError:
                    continue
        except OSError as error:
            raise ClientGone(str(error)) from None

    async def send_all(self, data: bytes) -> None:
        try:
            sent = self._send_now(data)
            self._unyielded += sent + WRITE_COST_BYTES
            if self._unyielded > MAX_SENDFILE_BYTES.value:
                self._unyielded = 0
                await trio.lowlevel.checkpoint()
            view = memoryview(data)
            while sent < len(data):
                with trio.move_on_after(self._idle_s) as scope:
                    sent += await self._sock.send(view[sent:])
                if scope.cancelled_caught:
                    raise ClientGone("the client stopped reading")
        except ClientGone:
            raise
        except OSError as error:
            raise ClientGone(str(error)) from None

    def _send_now(self, data: bytes) -> int:
        """What the socket's buffer takes at once: nearly always all of it, without a turn of the loop.

        Requests read ahead are few and every read is a turn, so no client can hold the loop this way.
        """
        try:
            return os.write(self._sock.fileno(), data) if data else 0
        except BlockingIOError:
            return 0

    async def send_file(self, fd: int, offset: int, count: int) -> None:
        out = self._sock.fileno()
        seen = offset  # in memory up to here
        while count:
            piece = min(count, MAX_SENDFILE_BYTES.value)
            if offset >= seen:
                await in_memory(fd, offset, piece)
                seen = offset + piece
            try:
                sent = os.sendfile(out, fd, offset, piece)
            except BlockingIOError:
                await self._writable()
                continue
            except OSError as error:
                raise ClientGone(str(error)) from None
            if sent == 0:
                raise EOFError("a file ended before its announced length")
            offset += sent
            count -= sent
            # Others run, and a cancelled connection stops, however fast this client reads.
            await trio.lowlevel.checkpoint()

    async def _writable(self) -> None:
        with trio.move_on_after(self._idle_s) as scope:
            await trio.lowlevel.wait_writable(self._sock)
        if scope.cancelled_caught:
            raise ClientGone("the client stopped reading")

    async def until_heard(self) -> bool:
        while True:
            with suppress(OSError):
                await trio.lowlevel.wait_readable(self._sock)
                return await self._sock.recv(1, socket.MSG_PEEK) != b""
            return False  # reset

    def cork(self, on: bool) -> None:
        if self._tcp:
            with suppress(OSError):
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, int(on))

    async def finish(self) -> None:
        """Closing says it."""

    async def linger(self) -> None:
        await drop_the_rest(self._sock)


async def drop_the_rest(sock: trio.socket.SocketType) -> None:
    """End our side, and read what the other still sends for a while: many clients only then see an early answer."""
    with suppress(OSError), trio.move_on_after(MAX_HTTP_LINGER_S.value):
        sock.shutdown(socket.SHUT_WR)
        dropped = 0
        while dropped < MAX_HTTP_LINGER_BYTES.value:
            data = await sock.recv(MAX_HTTP_READ_BYTES.value)
            if not data:
                return
            dropped += len(data)
