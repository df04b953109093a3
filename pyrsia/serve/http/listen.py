"""Sockets to listen on: a TCP address, and the control socket that only this user may open.

Decides what is said when an address is taken or is not this machine's. Left out: accepting.
"""

import errno
import os
import secrets
import socket
import ssl
import stat
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from pyrsia.errors import Refusal
from pyrsia.files import write_whole
from pyrsia.units import MAX_CONTROL_PATH_BYTES

_BACKLOG: Final = 1_024


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound, listening socket.

    Attributes:
        peer: `tcp`; `control` for the node's own user; `worker` for its own workers, who say for whom they ask.
        tls: what it speaks TLS with, if it does.
        folder: with `worker`, the data directory, whose files are named instead of sent.
    """

    sock: trio.socket.SocketType
    peer: str
    name: str  # "http://127.0.0.1:7888" or the path of the Unix socket
    host: str = ""
    port: int = 0
    tls: ssl.SSLContext | None = None
    folder: Path | None = None


async def listen_tcp(
    host: str, port: int, *, tls: ssl.SSLContext | None = None, shared: bool = False
) -> Listener:
    """Listen on one address; port 0 takes a free one. `shared`: other processes of this user may listen there too.

    Raises:
        Refusal: `port-taken`, or `config-invalid` for an address that is not this machine's.
    """
    try:
        sock = await (_shared_socket(host, port) if shared else _socket(host, port))
    except OSError as error:
        raise _cannot_listen(host, port, error) from None
    address = sock.getsockname()
    shown = f"[{address[0]}]" if ":" in address[0] else address[0]
    scheme = "http" if tls is None else "https"
    return Listener(sock, "tcp", f"{scheme}://{shown}:{address[1]}", address[0], address[1], tls)


async def _socket(host: str, port: int) -> trio.socket.SocketType:
    opened = await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
    for extra in opened[1:]:
        await extra.aclose()
    return opened[0].socket


async def _shared_socket(host: str, port: int) -> trio.socket.SocketType:
    """With SO_REUSEPORT: the kernel deals new connections out to everybody who listens."""
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, number, _, address = found[0]
    sock = trio.socket.socket(family, kind, number)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        await sock.bind(address)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _cannot_listen(host: str, port: int, error: OSError) -> Refusal:
    # trio groups the errors of several addresses under a plain OSError; the first cause tells.
    causes: list[BaseException] = [error]
    if isinstance(error.__cause__, BaseExceptionGroup):
        causes.extend(error.__cause__.exceptions)
    elif error.__cause__ is not None:
        causes.append(error.__cause__)
    if any(isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE for cause in causes):
        return Refusal(
            "port-taken",
            what=f"port {port} on {host} is already in use",
            who="another program on this machine",
            do="stop it, or choose another port with http.port in config.toml (0 takes a free one)",
        )
    return Refusal(
        "config-invalid",
        what=f"cannot listen on {host} port {port}: {error.strerror or error}",
        who="http.host or http.port in config.toml",
        do="choose an address of this machine and a port that this user may open",
    )


async def listen_unix(path: Path, *, folder: Path | None = None) -> Listener:
    """Listen on the control socket: mode 0600, bound under another name and renamed into place.

    Args:
        folder: it is the socket of the node's workers instead, and this the data directory.

    Raises:
        Refusal: the path is too long, or a living server answers there.
    """
    target = str(path)
    if len(os.fsencode(target)) > MAX_CONTROL_PATH_BYTES.value:
        raise Refusal(
            "config-invalid",
            what=f"the control socket's path is over {MAX_CONTROL_PATH_BYTES.value} bytes: {path}",
            who="the place of the data directory",
            do="use a data directory with a shorter path",
        )
    if await _answers(target):
        raise Refusal(
            "data-in-use",
            what=f"another node answers on {path}",
            who="another pyrsia process",
            do="stop it, or give this node a data directory of its own",
        )
    temporary = f"{target}.new"
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        await sock.bind(temporary)
        os.chmod(temporary, stat.S_IRUSR | stat.S_IWUSR)
        sock.listen(64)
        os.rename(temporary, target)
    except OSError as error:
        sock.close()
        raise Refusal(
            "config-invalid",
            what=f"cannot make the control socket {path}: {error.strerror}",
            who="the data directory",
            do="check that the directory exists and belongs to this user",
        ) from None
    return Listener(sock, "control" if folder is None else "worker", target, folder=folder)


def write_token(path: Path) -> str:
    """A fresh token for changes, in a file that only this user may read; the old one stops working."""
    token = secrets.token_urlsafe(32)
    write_whole(path, f"{token}\n".encode(), stat.S_IRUSR | stat.S_IWUSR)
    return token


async def _answers(path: str) -> bool:
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, trio.move_on_after(1):
        try:
            await probe.connect(path)
        except OSError:
            return False
        return True
    return True  # nobody accepts, but somebody listens


def peer_uid(sock: trio.socket.SocketType) -> int:
    """The user at the other end of a Unix socket, as the kernel knows it."""
    packed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", packed)
    return int(uid)
