"""TLS on a listener: which files, which versions, and the wire that encrypts. The kernel sends no file here.

Decides that only TLS 1.2 and later is spoken, and how a client is told that asked with http://. Python's TLS reads and
writes memory, so a file goes through it in pieces of 16 KiB, one record each; larger ones stay with every slow reader.

Source: RFC 8446 section 6.1 (close_notify); RFC 7301 (ALPN).
"""

import os
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from pyrsia.errors import Refusal
from pyrsia.serve.http.wires import WRITE_COST_BYTES, ClientGone, PlainWire, drop_the_rest, in_memory
from pyrsia.units import MAX_HTTP_HEAD_WAIT_S, MAX_HTTP_READ_BYTES, MAX_SENDFILE_BYTES

PLAIN: Final = "this port speaks HTTPS: ask with https://, not http://"
_PIECE_BYTES: Final = 16_384  # four times as much saves a third of the time, and costs 200 KB a slow reader
_HANDSHAKE: Final = 0x16  # the record that a TLS client begins with


def tls_context(cert: Path, key: Path) -> ssl.SSLContext:
    """What a listener needs to speak TLS.

    Raises:
        Refusal: `config-invalid`: a file is missing, unreadable or no PEM, or the key is not the certificate's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key, password=_no_passphrase)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise Refusal(
            "config-invalid",
            what=f"the certificate {cert} with the key {key} cannot be used: {_why(error)}",
            who="http.tls_cert and http.tls_key in config.toml",
            do="name a PEM file with the certificate chain, and one with its key without a passphrase",
        ) from None
    return context


def configured(folder: Path, cert: str, key: str) -> ssl.SSLContext | None:
    """By the configuration's two file names, which count from `folder`; None where there is none.

    Raises:
        Refusal: `config-invalid`.
    """
    if bool(cert) != bool(key):
        raise Refusal(
            "config-invalid",
            what="http.tls_cert and http.tls_key stand only together",
            who="http.tls_cert and http.tls_key in config.toml",
            do="name both files, or none",
        )
    return tls_context(folder / cert, folder / key) if cert else None


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "it is no PEM file").lower().replace("_", " ")
    return getattr(error, "strerror", None) or str(error)


class TlsWire:
    """Encrypted bytes over a socket (`wires.Wire`). One task may read while another writes."""

    def __init__(self, sock: trio.socket.SocketType, context: ssl.SSLContext, *, idle_s: float) -> None:
        self._sock = sock
        self._idle_s = idle_s
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._heard: bytes | None = None  # read while waiting for the client to leave
        self._sending = trio.Lock()
        self._plain: PlainWire | None = None  # for the one answer to a client that speaks no TLS
        self._unyielded = 0  # bytes written since other tasks had their turn
        self._rest = memoryview(b"")  # made by TLS, not yet on the socket

    async def greet(self) -> str:
        with trio.move_on_after(MAX_HTTP_HEAD_WAIT_S.value):
            first = await self._from_socket()
            if first and first[0] != _HANDSHAKE:
                self._plain = PlainWire(self._sock, idle_s=self._idle_s, tcp=True)
                return PLAIN
            self._in.write(first)
            while True:
                try:
                    self._tls.do_handshake()
                except ssl.SSLWantReadError:
                    await self._flush()
                    await self._feed()
                except (ssl.SSLError, ValueError) as error:
                    with suppress(ClientGone):
                        await self._flush()  # the alert says why
                    raise ClientGone(f"no TLS: {error}") from None
                else:
                    await self._flush()
                    return ""
        raise ClientGone("the TLS handshake did not come to its end")

    async def recv(self, most: int = MAX_HTTP_READ_BYTES.value) -> bytes:
        if self._heard is not None:
            heard, self._heard = self._heard, None
            return heard
        return await self._read()

    async def _read(self) -> bytes:
        while True:
            try:
                return self._tls.read(MAX_HTTP_READ_BYTES.value)
            except ssl.SSLWantReadError:
                await self._flush()  # a key update wants an answer
                await self._feed()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            except ssl.SSLError as error:
                raise ClientGone(f"no TLS: {error}") from None

    async def _feed(self) -> None:
        data = await self._from_socket()
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()

    async def _from_socket(self) -> bytes:
        try:
            return await self._sock.recv(MAX_HTTP_READ_BYTES.value)
        except OSError as error:
            raise ClientGone(str(error)) from None

    async def send_all(self, data: bytes) -> None:
        if self._plain is not None:
            await self._plain.send_all(data)
            return
        for at in range(0, len(data), _PIECE_BYTES):
            try:
                self._tls.write(data[at : at + _PIECE_BYTES])
            except ssl.SSLError as error:
                raise ClientGone(f"no TLS: {error}") from None
            await self._flush()

    async def _flush(self) -> None:
        """What TLS wants to say, onto the socket; in order, whoever asks."""
        async with self._sending:
            while self._rest or self._out.pending:
                if not self._rest:
                    self._rest = memoryview(self._out.read(_PIECE_BYTES * 2))
                sent = await self._send_some(self._rest)
                self._rest = self._rest[sent:]
                self._unyielded += sent + WRITE_COST_BYTES
                if self._unyielded > MAX_SENDFILE_BYTES.value:
                    self._unyielded = 0
                    await trio.lowlevel.checkpoint()

    async def _send_some(self, data: memoryview) -> int:
        """What the socket takes, mostly without a turn of the loop."""
        try:
            return os.write(self._sock.fileno(), data)
        except BlockingIOError:
            pass
        except OSError as error:
            raise ClientGone(str(error)) from None
        with trio.move_on_after(self._idle_s):
            try:
                return await self._sock.send(data)
            except OSError as error:
                raise ClientGone(str(error)) from None
        raise ClientGone("the client stopped reading")

    async def send_file(self, fd: int, offset: int, count: int) -> None:
        seen = offset  # in memory up to here
        while count:
            if offset >= seen:
                ahead = min(count, MAX_SENDFILE_BYTES.value)
                await in_memory(fd, offset, ahead)
                seen = offset + ahead
            piece = os.pread(fd, min(count, _PIECE_BYTES), offset)
            if not piece:
                raise EOFError("a file ended before its announced length")
            await self.send_all(piece)
            offset += len(piece)
            count -= len(piece)

    async def until_heard(self) -> bool:
        if self._heard is None:
            try:
                self._heard = await self._read()
            except ClientGone:
                return False
        return self._heard != b""

    def cork(self, on: bool) -> None:
        """Records are their own packets."""

    async def finish(self) -> None:
        if self._plain is None:
            with suppress(ClientGone, ValueError):
                with suppress(ssl.SSLError):  # the client's own goodbye is not waited for
                    self._tls.unwrap()
                await self._flush()

    async def linger(self) -> None:
        await self.finish()
        await drop_the_rest(self._sock)
