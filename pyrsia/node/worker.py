"""The process of one worker: listens on the node's address, forwards to the node, ends with it.

What it needs comes as one line of JSON on standard input; the end of standard input is the end of the node, or its
wish that the worker ends. Nothing is decided here.
"""

import logging
import signal
import sys
from pathlib import Path
from typing import Final

import msgspec
import trio

from pyrsia import config
from pyrsia.errors import Refusal
from pyrsia.node import diary
from pyrsia.serve.http.server import HttpLimits, Server, listen_tcp
from pyrsia.serve.http.tls import configured
from pyrsia.serve.workers.forward import Forward

READY: Final = b"ready\n"
DRAIN_S: Final = 1.0  # as the node's own
_LINE_BYTES: Final = 65_536  # settings are a few hundred bytes

_log = logging.getLogger("pyrsia.serve")


class WorkerSettings(msgspec.Struct, frozen=True):
    """What a node tells its workers. `http.port` is the port that the node listens on, never 0."""

    data: str
    socket: str
    http: config.HttpSection
    log: config.LogSection
    limits: HttpLimits


async def run(settings: WorkerSettings, stdin: trio.abc.ReceiveStream, stdout: trio.abc.SendStream) -> None:
    """Serve until `stdin` ends or SIGTERM comes.

    Raises:
        Refusal: `port-taken`, `config-invalid`.
    """
    data, http = Path(settings.data), settings.http
    tls = configured(data, http.tls_cert, http.tls_key)
    listener = await listen_tcp(http.host, http.port, tls=tls, shared=True)
    forward = Forward(Path(settings.socket), data)
    server = Server(forward, [listener], settings.limits)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        await stdout.send_all(READY)
        async with trio.open_nursery() as ending:
            ending.start_soon(_until_closed, stdin, ending.cancel_scope)
            ending.start_soon(_until_told, ending.cancel_scope)
        server.drain(DRAIN_S)
        with trio.move_on_after(DRAIN_S):
            while server.connections:  # noqa: ASYNC110 (bounded; the server has no event for it)
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    forward.close()


async def _until_closed(stdin: trio.abc.ReceiveStream, scope: trio.CancelScope) -> None:
    while await stdin.receive_some(_LINE_BYTES):
        pass
    scope.cancel()


async def _until_told(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


async def _main() -> None:
    stdin, stdout = trio.lowlevel.FdStream(0), trio.lowlevel.FdStream(1)
    line = bytearray()
    while b"\n" not in line:
        part = await stdin.receive_some(_LINE_BYTES)
        if not part or len(line) > _LINE_BYTES:
            return
        line += part
    settings = msgspec.json.decode(line, type=WorkerSettings)
    diary.start(settings.log)
    try:
        await run(settings, stdin, stdout)
    except Refusal as refusal:
        _log.error("a worker cannot start: %s", refusal)
        sys.exit(1)


if __name__ == "__main__":
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # the terminal's Ctrl-C is for the node, which ends its workers
    trio.run(_main)
