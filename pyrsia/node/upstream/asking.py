"""One question to upstream and its answer: a no, a failure and a page told apart, all of it bounded.

Reading stops at a size and at a time, whatever the other side goes on sending; gzip is unpacked here, piece by piece
and no further than that size, since a kilobyte of it may be a gigabyte.

Source: RFC 9110 sections 8.4 (codings), 13 (validators), 14 (ranges).
"""

import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import httpx
import trio

from pyrsia.builds.outbound.addresses import bare, origin_of, shown
from pyrsia.builds.outbound.web import Web, stored
from pyrsia.errors import Malformed, Refusal
from pyrsia.node.upstream.gate import Asking, Gate, Resting
from pyrsia.node.upstream.settings import Ecosystem
from pyrsia.serve import via
from pyrsia.units import Limit
from pyrsia.wire.text import safe

HEAD_S = Limit(20, "from a question to the first byte of its answer; some builders' settings allow minutes")
PAGE_S = Limit(30, "from question to last byte of a page: 20 MB at 6 Mbit/s; clients give up after 15 to 60")
MAX_HEAD_CHARS = Limit(500, "a validator, a type: longer ones are not kept and not sent back")
MAX_NO_BYTES = Limit(1 << 20, "a page that says that there is none")

_PACKING: Final = 65_536  # bytes that the packing of what cannot be packed may add

ABSENT: Final = frozenset({404, 410})
_GIVEN: Final = frozenset({200, 206, 304})


class NoAnswer(Exception):
    """Upstream gave no usable answer; `why` is for people."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of one server.

    Attributes:
        chain: nodes that it has come through, this one last.
        headers: more of them: what is accepted, validators, a range.
    """

    url: str
    chain: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def head(self) -> dict[str, str]:
        told = {via.HEADER.decode(): ", ".join(self.chain)} if self.chain else {}
        return {"accept": "*/*", "accept-encoding": "identity", **self.headers, **told}


@dataclass(frozen=True, slots=True)
class Page:
    """A whole answer. `status`: 200, 304 or one of `ABSENT`."""

    status: int
    data: bytes = b""
    kind: str = ""
    url: str = ""
    etag: str = ""
    modified: str = ""


class Asker:
    """Asks the servers of one ecosystem through `gate`."""

    def __init__(self, web: Web, ecosystem: Ecosystem, gate: Gate) -> None:
        self.web = web
        self._ecosystem = ecosystem
        self._gate = gate

    @asynccontextmanager
    async def answer(self, question: Question) -> AsyncIterator[httpx.Response]:
        """An answer of 200, 206, 304 or one of `ABSENT`, its body unread.

        Raises:
            NoAnswer: there is none, or another.
        """
        try:
            async with self._gate.place(origin_of(question.url)) as asking:
                async with self._once(question, asking) as response:
                    if response.status_code != 401 or not await self._challenged(question, response):
                        self._check(question, asking, response)
                        yield response
                        return
                async with self._once(question, asking) as response:
                    self._check(question, asking, response)
                    yield response
        except Resting as error:
            raise NoAnswer(f"{shown(question.url)}: {error}") from None

    @asynccontextmanager
    async def _once(self, question: Question, asking: Asking) -> AsyncIterator[httpx.Response]:
        async with AsyncExitStack() as stack:
            response: httpx.Response | None = None
            try:
                with trio.move_on_after(HEAD_S.value):
                    auth = await self._ecosystem.auth(self.web, question.url)
                    opened = self.web.ask(question.url, headers=question.head(), auth=auth)
                    response = await stack.enter_async_context(opened)
            except Refusal as refusal:
                if isinstance(refusal.__cause__, httpx.HTTPError):
                    asking.failed()
                raise NoAnswer(refusal.what) from refusal
            if response is None:
                asking.failed()
                raise NoAnswer(f"{shown(question.url)}: no answer within {HEAD_S.value} s")
            try:
                yield response
            except httpx.HTTPError as error:
                raise NoAnswer(f"{shown(question.url)}: {_reason(error)}") from error

    async def _challenged(self, question: Question, response: httpx.Response) -> bool:
        try:
            return await self._ecosystem.challenged(self.web, question.url, response)
        except Refusal as refusal:
            raise NoAnswer(refusal.what) from refusal

    def _check(self, question: Question, asking: Asking, response: httpx.Response) -> None:
        usable = asking.answered(response)
        if not usable or response.status_code not in _GIVEN | ABSENT:
            words = f"{response.status_code} {safe(response.reason_phrase[:80])}".rstrip()
            raise NoAnswer(f"{shown(question.url)}: the answer was {words}")

    async def page(self, question: Question, most: int) -> Page:
        """The whole answer, of at most `most` bytes.

        Raises:
            NoAnswer: none that can be used, or not in time.
        """
        with trio.move_on_after(PAGE_S.value):
            async with self.answer(question) as response:
                if response.status_code == 206:
                    raise NoAnswer(f"{shown(question.url)}: a part came, where a page was asked for")
                # What is read to its end leaves the connection usable, also where it says no.
                whole = response.status_code == 200
                data = await _read(response, most if whole else MAX_NO_BYTES.value, shown(question.url))
                return Page(
                    response.status_code,
                    data if whole else b"",
                    head(response, "content-type"),
                    bare(str(response.url)),
                    head(response, "etag"),
                    head(response, "last-modified"),
                )
        raise NoAnswer(f"{shown(question.url)}: no whole answer within {PAGE_S.value} s")


def head(response: httpx.Response, name: str) -> str:
    """A field that may be kept and sent on: printable ASCII of a sensible length, else ""."""
    value = str(response.headers.get(name, ""))
    return value if len(value) <= MAX_HEAD_CHARS.value and value.isascii() and value.isprintable() else ""


async def _read(response: httpx.Response, most: int, where: str) -> bytes:
    body = bytearray()
    try:
        async with aclosing(_unpacked(response, most + 1)) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > most:
                    raise NoAnswer(f"{where}: a page of more than {most} bytes")
    except Malformed as error:
        raise NoAnswer(f"{where}: {error}") from error
    return bytes(body)


async def _unpacked(response: httpx.Response, most: int) -> AsyncGenerator[bytes, None]:
    """The body without its gzip, at most about `most` bytes of it."""
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity", "gzip", "x-gzip"):
        raise Malformed("it is packed in a way that was not asked for")
    inflate = zlib.decompressobj(31) if "gzip" in coding else None
    came = 0
    async with aclosing(stored(response)) as pieces:
        async for piece in pieces:
            if inflate is None:
                yield piece
                continue
            came += len(piece)
            if inflate.eof and piece:
                raise Malformed("bytes follow the end of its gzip")
            if came > 2 * most + _PACKING:  # (blocks that hold nothing could go on for ever)
                raise Malformed(f"a page of more than {most - 1} bytes")
            try:
                yield inflate.decompress(piece, most)
            except zlib.error as error:
                raise Malformed("its gzip is broken") from error
            if inflate.unused_data:  # zlib keeps all of it, and copies it with each piece
                raise Malformed("bytes follow the end of its gzip")
            if inflate.unconsumed_tail:
                raise Malformed(f"a page of more than {most - 1} bytes")
    if inflate is not None and not inflate.eof:
        raise Malformed("its gzip ends too early")


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "it did not go on in time"
    return safe(str(error)[:200]) or type(error).__name__
