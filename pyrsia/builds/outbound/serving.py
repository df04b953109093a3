"""HTTP/1.1 with whatever runs inside: one connection, its bounds, and no way to raise out of it.

Reads requests with h11, asks for the answer, sends it. Everything that breaks the protocol or a bound ends this one
connection with a sentence, if there is still somebody to read it.

Source: docs/sources.md, "The recording proxy"; RFC 9112.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

import h11
import trio

from pyrsia.units import Limit

HEAD_BYTES: Final = Limit(16_384, "Maven, Conan, apt and git send heads below 1 KB; headers beyond are play")
HEAD_S: Final = Limit(30, "from the first byte of a request to its last, on a socket of the same machine")
IDLE_S: Final = Limit(300, "between two requests on one connection; clients work on what they got in between")
SEND_S: Final = Limit(60, "without one byte of progress of who reads on the same machine")
BODY_BYTES: Final = Limit(
    1 << 20, "git's question for one commit is below 1 KB; thousands of haves are below this"
)
REQUESTS: Final = Limit(100_000, "on one connection; a large project's closure is a few thousand files")
_READ: Final = 8_192  # small beside HEAD_BYTES, which holds for what is not whole yet
_WRITE: Final = 65_536
# Nobody is there any more, or nobody reads, or the cache lost the file under us: the connection ends.
_GONE: Final = (
    trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, h11.LocalProtocolError, OSError,
)  # fmt: skip
_HOST: Final = re.compile(rb"(?:127\.0\.0\.1|localhost)(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request whose form is right.

    Attributes:
        target: as it was written. headers: names in lower case, of no consequence but those that the answerer picks.
    """

    method: str
    target: bytes
    headers: Mapping[bytes, bytes]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer: a file of ours, or some words.

    Attributes:
        size: of `file`. headers: the few that a client needs to see.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    file: Path | None = None
    size: int = 0
    words: str = ""


Answerer = Callable[[Asked], Awaitable[Reply]]


class _Wrong(Exception):
    """A request that is refused for its form; the connection ends with it."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


async def serve(stream: trio.abc.Stream, answer: Answerer, refused: Callable[[str], None]) -> None:
    """Answer one connection until it ends; it is closed then.

    Args:
        refused: is told, in a sentence, what broke the protocol or a bound.
    """
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES.value)
    async with stream:
        try:
            for _ in range(REQUESTS.value):
                asked = await _next(http, stream)
                if asked is None:
                    return
                reply = await answer(asked)
                await _send(http, stream, reply, head=asked.method == "HEAD")
                if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                    return
                http.start_next_cycle()
        except (_Wrong, h11.RemoteProtocolError) as error:
            status = error.status if isinstance(error, _Wrong) else error.error_status_hint
            why = str(error) if isinstance(error, _Wrong) else f"it is no HTTP/1.1: {error}"
            refused(why)
            await _send_off(http, stream, Reply(status, words=why))
        except _GONE:
            return


async def _next(http: h11.Connection, stream: trio.abc.Stream) -> Asked | None:
    """The next whole request; None where the connection ended between two."""
    if http.trailing_data == (b"", False):
        with trio.move_on_after(IDLE_S.value) as idle:
            data = await stream.receive_some(_READ)
        if idle.cancelled_caught or not data:
            return None
        http.receive_data(bytes(data))
    with trio.move_on_after(HEAD_S.value):
        return await _request(http, stream)
    raise _Wrong(408, f"a request was not whole after {HEAD_S.value} s")


async def _request(http: h11.Connection, stream: trio.abc.Stream) -> Asked | None:
    request: h11.Request | None = None
    body = bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            if http.they_are_waiting_for_100_continue:
                await stream.send_all(
                    http.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                )
            http.receive_data(bytes(await stream.receive_some(_READ)))
        elif isinstance(event, h11.Request):
            request = event
            _check(request)
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > BODY_BYTES.value:
                raise _Wrong(413, f"a question has at most {BODY_BYTES.value} bytes")
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            method = request.method.decode("ascii")
            if body and method != "POST":
                raise _Wrong(400, f"{method} takes no body")
            return Asked(method, bytes(request.target), dict(request.headers), bytes(body))
        else:  # the connection ended, or asks to be another one
            return None


def _check(request: h11.Request) -> None:
    if request.method not in (b"GET", b"HEAD", b"POST"):
        raise _Wrong(405, "only GET and HEAD are answered here")
    if request.http_version != b"1.1":
        raise _Wrong(505, "only HTTP/1.1 is spoken here")
    hosts = [value for name, value in request.headers if name == b"host"]
    if len(hosts) != 1 or _HOST.fullmatch(hosts[0]) is None:
        raise _Wrong(421, "the host is 127.0.0.1 and nothing else; which server is meant says the path")


async def _send(http: h11.Connection, stream: trio.abc.Stream, reply: Reply, *, head: bool) -> None:
    words = f"{reply.words}\n".encode() if reply.words else b""
    size = reply.size if reply.file is not None else len(words)
    response = h11.Response(
        status_code=reply.status,
        reason=HTTPStatus(reply.status).phrase.encode(),
        headers=[*reply.headers, ("content-length", str(size))],
    )
    await _write(stream, http.send(response))
    if not head and reply.file is not None and size <= _WRITE:
        piece = await trio.to_thread.run_sync(reply.file.read_bytes)  # one turn in a thread instead of four
        await _write(stream, http.send(h11.Data(data=piece)))
    elif not head and reply.file is not None:
        async with await trio.open_file(reply.file, "rb") as file:
            while size and (piece := await file.read(min(_WRITE, size))):
                size -= len(piece)
                await _write(stream, http.send(h11.Data(data=piece)))
    elif not head and words:
        await _write(stream, http.send(h11.Data(data=words)))
    await _write(stream, http.send(h11.EndOfMessage()))


async def _write(stream: trio.abc.Stream, data: bytes | None) -> None:
    if data:
        with trio.fail_after(SEND_S.value):
            await stream.send_all(data)


async def _send_off(http: h11.Connection, stream: trio.abc.Stream, reply: Reply) -> None:
    if http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    try:
        await _send(
            http, stream, Reply(reply.status, (("connection", "close"),), words=reply.words), head=False
        )
    except _GONE:
        return
