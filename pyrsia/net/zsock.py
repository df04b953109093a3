"""One ZeroMQ socket shared by many trio tasks. It moves messages; it decides nothing.

libzmq offers one edge-triggered file descriptor per socket that means only "look at ZMQ_EVENTS", and
nearly every call on the socket swallows that signal. The rules that keep wake-ups from being lost:

1. one of the tasks that wait watches the descriptor, the others are parked; nothing touches the socket but this
   class. Who ends its watch, whatever the reason, wakes one of the parked, who watches if it finds nothing;
2. whoever may have swallowed the signal re-reads ZMQ_EVENTS and wakes the tasks that it concerns;
3. after a success both directions are looked at, the own one too;
4. after EAGAIN only the other direction is woken (else senders to full ROUTER peers wake each other
   for ever), then the task parks;
5. nothing yields between a failed attempt and the wait;
6. receiving is take-or-leave: the checkpoint after a success cannot be cancelled. A send that is
   cancelled while parked has not been sent, and a multipart goes out in one call;
7. tasks yield by time, not by message; who has just waited for something has yielded.

Source: docs/network.md, "ZeroMQ from trio"; docs/adr/0022.
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import trio
import zmq
import zmq.backend
from trio.lowlevel import (
    ParkingLot,
    cancel_shielded_checkpoint,
    checkpoint_if_cancelled,
    notify_closing,
    wait_readable,
)

from pyrsia.errors import Unavailable

# A checkpoint is a turn of the whole loop: twice in a millisecond it is free, and nobody else waits longer.
SLICE_S: Final = 0.0005
# Plain numbers and the plain socket: what pyzmq lays around them costs as much as the calls themselves.
_IN: Final = int(zmq.POLLIN)
_OUT: Final = int(zmq.POLLOUT)
_Plain: Final[Any] = zmq.backend.Socket
_EVENTS: Final = int(zmq.EVENTS)
_SRCFD: Final = int(zmq.SRCFD)
_DONTWAIT: Final = int(zmq.DONTWAIT)
_MORE: Final = int(zmq.DONTWAIT | zmq.SNDMORE)
RETRY_S: Final = 0.05  # look again at a full ROUTER peer (rule 4)


class ZSock:
    """A trio face of `sock`. Close with `close`."""

    __slots__ = ("_closed", "_fd", "_readers", "_slice_ends_s", "_sock", "_watcher", "_writers", "heard")

    def __init__(self, sock: zmq.Socket[bytes]) -> None:
        self._sock = sock
        self._fd = int(sock.getsockopt(zmq.FD))
        self._readers = ParkingLot()
        self._writers = ParkingLot()
        self._watcher: ParkingLot | None = None  # among whom the one who watches would be parked
        self._slice_ends_s = 0.0
        self._closed = False
        self.heard: set[int] | None = (
            None  # while somebody wants to know: descriptors that messages came over
        )

    async def recv(self) -> list[zmq.Frame]:
        """The next message as frames (not copied).

        Raises:
            Unavailable: the socket was closed.
        """
        await checkpoint_if_cancelled()
        self._refuse_closed()
        here = self._has_some()  # half of what an attempt for nothing costs, and most begin with nothing here
        while True:
            if here:
                try:
                    frames = self._received()
                except zmq.Again:
                    if self._writers or self._watcher is self._writers:
                        self._kick()  # rule 4
                else:
                    await self._after_success()
                    return frames
            await self._wait(self._readers)  # rule 5
            self._refuse_closed()
            here = True

    def recv_now(self) -> list[zmq.Frame] | None:
        """A message that is here already; None if there is none this moment, or the time for a turn of the loop is up
        (rule 7): `recv` is called next."""
        if self._closed or time.perf_counter() >= self._slice_ends_s:
            return None
        try:
            frames = self._received()
        except zmq.Again:
            if self._writers or self._watcher is self._writers:
                self._kick()  # rule 4
            return None
        if self._readers or self._writers or self._watcher is not None:
            self._kick()  # rule 3
        return frames

    async def send(
        self,
        parts: Sequence[bytes | memoryview | zmq.Frame],
        *,
        copy: bool = True,
        retry_s: float | None = None,
    ) -> None:
        """Send one message, waiting while the peer's queue is full.

        Args:
            parts: the frames, routing id first on a ROUTER.
            copy: False hands over the buffers; they must then never change.
            retry_s: on a ROUTER another task's attempt may swallow this peer's signal (rule 4), so
                look again after this long at the latest.

        Raises:
            Unavailable: the socket was closed, or a ROUTER has no such peer any more.
        """
        await checkpoint_if_cancelled()
        while True:
            self._refuse_closed()
            try:
                self._send(parts, copy)
            except zmq.Again:
                if self._readers or self._watcher is self._readers:
                    self._kick()
                if retry_s is None:
                    await self._wait(self._writers)
                else:
                    with trio.move_on_after(retry_s):
                        await self._wait(self._writers)
                continue
            except zmq.ZMQError as error:
                self._kick()  # rule 2: a refused send has swallowed the signal as well
                raise Unavailable(f"the peer is gone: {error}") from None
            await self._after_success()
            return

    def send_now(self, parts: Sequence[bytes]) -> bool:
        """Send one message if its peer's queue has room this moment, without waiting. False: nothing was sent."""
        if self._closed:
            return False
        try:
            self._send(parts, copy=True)
        except zmq.Again:
            if self._readers or self._watcher is self._readers:
                self._kick()  # rule 4
            return False
        except zmq.ZMQError:
            self._kick()  # as in `send`, which whoever has something for this peer calls next
            return False
        if self._readers or self._writers or self._watcher is not None:
            self._kick()  # rule 3
        return True

    def send_some(
        self, messages: Iterable[Sequence[bytes | memoryview]]
    ) -> Sequence[bytes | memoryview] | None:
        """Send messages without a copy and without waiting, one after another, and look at the socket once for all.

        The next one is asked for when the last one is sent. The one that found no room is given back, for `send`;
        None when they came to an end.

        Raises:
            Unavailable: as `send`.
        """
        self._refuse_closed()
        parts: Sequence[bytes | memoryview] = ()
        try:
            for parts in messages:
                self._send(parts, copy=False)
        except zmq.Again:
            return parts  # `send` refuses it as well, or sends it: rule 4
        except zmq.ZMQError as error:
            raise Unavailable(f"the peer is gone: {error}") from None
        finally:
            if self._readers or self._writers or self._watcher is not None:
                self._kick()  # rules 2 and 3
        return None

    async def breathe(self) -> None:
        """A turn of the loop, if it is time for one (rule 7)."""
        if time.perf_counter() >= self._slice_ends_s:
            await cancel_shielded_checkpoint()
            self.rested()

    def subscribe(self, prefix: bytes, *, wanted: bool = True) -> None:
        """On a SUB: take messages that begin so, or take them no longer. On an XPUB in manual mode: grant what was
        received last."""
        self._refuse_closed()
        self._sock.setsockopt(zmq.SUBSCRIBE if wanted else zmq.UNSUBSCRIBE, prefix)
        self._kick()  # rule 2: this swallows the signal too

    def rested(self) -> None:
        """The task that uses this socket has just waited, here or elsewhere: its time begins anew (rule 7)."""
        self._slice_ends_s = time.perf_counter() + SLICE_S

    def close(self) -> None:
        """Close now; parked tasks get `Unavailable`. Calling it twice is harmless."""
        if self._closed:
            return
        self._closed = True
        notify_closing(self._fd)
        # An I/O thread that tells a monitor whose other end is closed blocks for ever, and every
        # socket of the context with it; so the monitor ends before either of the two sockets.
        if not self._sock.closed:  # with its context, which ends before the last of those who use it
            self._sock.disable_monitor()
            self._sock.close(linger=0)
        self._readers.unpark_all()
        self._writers.unpark_all()

    def _received(self) -> list[zmq.Frame]:
        """One message, all of it or none: ZeroMQ hands over no part before the last one is here."""
        frame = _Plain.recv(self._sock, _DONTWAIT, copy=False)
        frames: list[zmq.Frame] = [frame]
        while frame.more:
            frame = _Plain.recv(self._sock, _DONTWAIT, copy=False)
            frames.append(frame)
        if self.heard is not None:
            with suppress(zmq.ZMQError, ValueError):  # of a connection that is gone
                self.heard.add(int(frame.get(_SRCFD)))
        return frames

    def _send(self, parts: Sequence[bytes | memoryview | zmq.Frame], copy: bool) -> None:
        """One message: ZeroMQ refuses its first part, or none."""
        last = len(parts) - 1
        for at, part in enumerate(parts):
            _Plain.send(self._sock, part, _MORE if at < last else _DONTWAIT, copy=copy)

    async def _wait(self, lot: ParkingLot) -> None:
        """Until it is worth trying again: watching the descriptor, or parked while another does (rule 1)."""
        if self._watcher is not None:
            await lot.park()
            self.rested()
            return
        self._watcher = lot
        try:
            await wait_readable(self._fd)
        except trio.ClosedResourceError:
            pass  # it was closed, which the next attempt says, or another task has seen something for us
        finally:
            self._watcher = None
            lot = self._readers or self._writers
            if lot:
                lot.unpark()
        self.rested()

    def _wake(self, lot: ParkingLot) -> None:
        if lot:
            lot.unpark_all()
        if self._watcher is lot:
            notify_closing(self._fd)  # trio's one way to call back who waits for a descriptor

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Unavailable("the socket is closed")

    def _has_some(self) -> bool:
        """Whether a message is here. Wakes who waits to send, if there is room (rules 2 and 4)."""
        events: int = _Plain.get(self._sock, _EVENTS)
        if events & _OUT:
            self._wake(self._writers)
        return bool(events & _IN)

    def _kick(self) -> None:
        if self._closed:
            return
        events: int = _Plain.get(self._sock, _EVENTS)  # rule 2: this swallows the signal too
        if events & _IN:
            self._wake(self._readers)
        if events & _OUT:
            self._wake(self._writers)

    async def _after_success(self) -> None:
        if self._readers or self._writers or self._watcher is not None:
            self._kick()  # rule 3
        if time.perf_counter() >= self._slice_ends_s:  # rule 7
            await cancel_shielded_checkpoint()  # rule 6
            self.rested()
