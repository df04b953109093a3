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

import trio

from pyrsia.errors import Refusal
from pyrsia.files import write_whole
from pyrsia.units import MAX_CONTROL_PATH_BYTES


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound, listening socket; `peer` is `tcp` or `control`. `tls`: what it speaks TLS with, if it does."""

    sock: trio.socket.SocketType
    peer: str
    name: str  # "http://127.0.0.1:7888" or the path of the Unix socket
    host: str = ""
    port: int = 0
    tls: ssl.SSLContext | None = None


async def listen_tcp(host: str, port: int, *, tls: ssl.SSLContext | None = None) -> Listener:
    """Listen on one address; port 0 takes a free one.

    Raises:
        Refusal: `port-taken`, or `config-invalid` for an address that is not this machine's.
    """
    try:
        opened = await trio.open_tcp_listeners(port, host=host, backlog=1024)
    except OSError as error:
        raise _cannot_listen(host, port, error) from None
    for extra in opened[1:]:
        await extra.aclose()
    sock = opened[0].socket
    address = sock.getsockname()
    shown = f"[{address[0]}]" if ":" in address[0] else address[0]
    scheme = "http" if tls is None else "https"
    return Listener(sock, "tcp", f"{scheme}://{shown}:{address[1]}", address[0], address[1], tls)


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


async def listen_unix(path: Path) -> Listener:
    """Listen on the control socket: mode 0600, bound under another name and renamed into place.

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
    return Listener(sock, "control", target)


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
