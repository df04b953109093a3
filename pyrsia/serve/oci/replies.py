"""Answers that several parts of `/v2/` give: JSON in pages, manifests, and headers that go with everything.

Source: OCI distribution-spec 1.1, "Listing Tags" (n, last, Link), "Pulling manifests"; RFC 9110 section 14.2 (ranges).
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

import msgspec

from pyrsia.serve.answers import IMMUTABLE, REVALIDATE, header, quality, send_body, send_cached, send_nothing
from pyrsia.serve.http.connection import ClientGone, Receive, Scope, Send
from pyrsia.serve.http.reading import Header
from pyrsia.serve.oci.errors import JSON, Problem
from pyrsia.serve.oci.errors import VERSION as VERSION
from pyrsia.serve.oci.names import Name
from pyrsia.units import Limit

MAX_PAGE = Limit(1_000, "names or tags of one page; a client asks again with the last one")
BYTES: Final = b"application/octet-stream"
NETWORK: Final[Header] = (b"x-pyrsia-verified", b"yes")
LOCAL: Final[Header] = (b"x-pyrsia-verified", b"local")
PROXIED: Final[Header] = (b"x-pyrsia-verified", b"no")
_ACCEPT_KEPT: Final = 1_000  # bytes of an Accept header whose meaning is remembered
_INVERTED: Final = re.compile(rb"bytes=[ \t]*([0-9]{1,18})-([0-9]{1,18})[ \t]*", re.IGNORECASE)


class Request:
    """One request: what came, and where its answer goes.

    Attributes:
        query: each parameter's first value; `tags` are all of `tag`.
    """

    __slots__ = ("_whole", "method", "query", "receive", "scope", "send", "tags")

    def __init__(self, scope: Scope, receive: Receive, send: Send, query: Sequence[tuple[str, str]]) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.method: str = scope["method"]
        self.query: dict[str, str] = {}
        for key, value in query:
            self.query.setdefault(key, value)
        self.tags = [value for key, value in query if key == "tag"]
        self._whole = False

    @property
    def reads(self) -> bool:
        return self.method in ("GET", "HEAD")

    def only(self, *methods: str) -> None:
        """
        Raises:
            Problem: the address does not take this method.
        """
        if self.method not in methods:
            allow = ", ".join(methods)
            raise Problem(
                405,
                "UNSUPPORTED",
                f"{self.method} is not a method of this address",
                f"use {allow}",
                ((b"allow", allow.encode("ascii")),),
            )

    async def piece(self) -> bytes | None:
        """The next bytes of the body, as they come; None behind its end.

        Raises:
            ClientGone: the client left in the middle.
        """
        while not self._whole:
            event = await self.receive()
            if event["type"] == "http.disconnect":
                raise ClientGone("the client left in the middle of its upload")
            self._whole = not event.get("more_body", False)
            if event.get("body"):
                return bytes(event["body"])
        return None

    async def json(self, value: Mapping[str, Any], *, link: str = "", more: Sequence[Header] = ()) -> None:
        headers = [JSON, (b"cache-control", REVALIDATE), VERSION, *more]
        if link:
            headers.append((b"link", link.encode("ascii")))
        await send_body(self.send, 200, msgspec.json.encode(value), headers)

    async def nothing(self, status: int, *more: Header) -> None:
        """An answer without a body."""
        headers = [*more, VERSION]
        if status == 204:
            await send_nothing(self.send, status, headers)
        else:
            await send_body(self.send, status, b"", headers)

    async def manifest(self, data: bytes, kind: str, digest: str, reference: str, mark: Header) -> None:
        """The bytes as they are stored.

        Raises:
            Problem: the client does not take what it is.
        """
        if not _accepted(kind, _accept(self.scope)):
            raise Problem(
                404,
                "MANIFEST_UNKNOWN",
                "the manifest is of a kind that the client does not take",
                f"it is {kind}; ask with that in Accept",
            )
        more = [content(digest), VERSION, (b"vary", b"Accept"), mark]
        caching = IMMUTABLE if ":" in reference else REVALIDATE
        await send_cached(
            self.scope,
            self.send,
            data,
            kind=kind.encode("ascii"),
            etag=etag(digest),
            caching=caching,
            more=more,
        )

    async def small_blob(self, data: bytes, digest: str, mark: Header) -> None:
        """A small blob that is no file."""
        more = [content(digest), VERSION, mark]
        await send_cached(
            self.scope, self.send, data, kind=BYTES, etag=etag(digest), caching=IMMUTABLE, more=more
        )

    def check_range(self, size: int) -> None:
        """An inverted range is refused, as the specification's own suite asks; RFC 9110 leaves the choice.

        Raises:
            Problem: 416.
        """
        found = _INVERTED.fullmatch(header(self.scope, b"range").strip())
        if found is not None and int(found[1]) > int(found[2]):
            place = (b"content-range", b"bytes */%d" % size)
            raise Problem(416, "SIZE_INVALID", "the range ends before it begins", "", (place,))


def content(digest: str) -> Header:
    return b"docker-content-digest", digest.encode("ascii")


def etag(digest: str) -> bytes:
    return b'"%b"' % digest.encode("ascii")


def page(found: Sequence[str], address: str, request: Request) -> tuple[list[str], str]:
    """The rows of `found` (sorted) behind `last`, at most `n` of them, and the Link to the rest."""
    text, last = request.query.get("n", ""), request.query.get("last", "")
    plain = text.isascii() and text.isdecimal() and len(text) < 10
    count = min(int(text), MAX_PAGE.value) if plain else MAX_PAGE.value
    rows = [one for one in found if one > last] if last else found
    some = list(rows[:count])
    if len(rows) == len(some) or not some:
        return some, ""
    joined = f"{address}{'&' if '?' in address else '?'}n={count}&last={quote(some[-1], safe='')}"
    return some, f'<{joined}>; rel="next"'


def with_headers(send: Send, more: Sequence[Header]) -> Send:
    """`send` that adds headers to the start of the answer."""

    async def sending(event: Any) -> None:
        if event["type"] == "http.response.start":
            event = {**event, "headers": [*event["headers"], *more]}
        await send(event)

    return sending


def name_unknown(name: Name, do: str) -> Problem:
    return Problem(404, "NAME_UNKNOWN", f"this node has no image {name.asked}", do)


def _accept(scope: Scope) -> bytes:
    """All Accept lines as one: skopeo and podman send a line for each kind."""
    return b", ".join(value for key, value in scope["headers"] if key == b"accept")


def _accepted(kind: str, accept: bytes) -> bool:
    """Whether a client takes `kind`; one that names nothing takes anything."""
    return _takes(kind, accept) if len(accept) <= _ACCEPT_KEPT else _takes.__wrapped__(kind, accept)


@lru_cache(512)  # a program asks with the same words each time
def _takes(kind: str, accept: bytes) -> bool:
    ranges = quality(accept)
    if not accept.strip():
        return True
    wanted = (kind.lower(), kind.partition("/")[0].lower() + "/*", "*/*")
    found = [q for word in wanted for one, q in ranges if one == word]
    return bool(found) and found[0] > 0
