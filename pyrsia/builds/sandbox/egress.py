"""The one way out that a planning job may have: from a port of its own loopback to a Unix socket of the node's choice.

The launcher opens the listening socket inside the job's network namespace and hands it out; what accepts and
relays runs here, on the node's side. So the job has no process to attack, no file of the socket to open, and no
address but that port, and the way ends when the run ends. Relays bytes and understands none of them.

Source: docs/sandbox.md, "The way out".
"""

import contextlib
import os
import socket
from pathlib import Path
from typing import Final

import trio

from pyrsia import units

_DIAL_S: Final = units.Limit(10, "a socket of this machine; a node that does not take it now is stuck")
_PAUSE_S: Final = 0.05  # before the next try where a connection could not be taken


async def relay(way: socket.socket, target: Path) -> None:
    """Wait for the ear that comes through `way`, then serve it until cancelled.

    Args:
        way: our end of the pair that the launcher has the other end of.
        target: the Unix socket that every connection is led to.
    """
    ear = await _receive(way)
    if ear is None:
        return  # the launcher ended before it could listen; its own word says why
    places = trio.CapacityLimiter(int(units.SANDBOX_EGRESS_CONNECTIONS.value))
    with ear:
        async with trio.open_nursery() as nursery:
            while True:
                holder = object()
                await places.acquire_on_behalf_of(holder)
                try:
                    caller, _ = await ear.accept()
                except OSError:  # this machine has no descriptor left, or the caller went away
                    places.release_on_behalf_of(holder)
                    await trio.sleep(_PAUSE_S)
                    continue
                nursery.start_soon(_serve, trio.SocketStream(caller), target, places, holder)


async def _receive(way: socket.socket) -> trio.socket.SocketType | None:
    await trio.lowlevel.wait_readable(way)
    _, fds, _, _ = socket.recv_fds(way, 16, 1)
    if not fds:
        return None
    for extra in fds[1:]:
        os.close(extra)
    return trio.socket.from_stdlib_socket(socket.socket(fileno=fds[0]))


async def _serve(
    caller: trio.SocketStream, target: Path, places: trio.CapacityLimiter, holder: object
) -> None:
    """One connection, both ways, until each side has said its end or one has gone."""
    try:
        async with caller:
            with contextlib.suppress(OSError, trio.TooSlowError):
                with trio.fail_after(_DIAL_S.value):
                    far = await trio.open_unix_socket(target)
                async with far, trio.open_nursery() as nursery:
                    nursery.start_soon(_pour, caller, far)
                    nursery.start_soon(_pour, far, caller)
    finally:
        places.release_on_behalf_of(holder)


async def _pour(source: trio.SocketStream, into: trio.SocketStream) -> None:
    try:
        async for piece in source:
            await into.send_all(piece)
        await into.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
        # One side is gone: the other learns it, and no half of a connection lives on.
        await source.aclose()
        await into.aclose()
