"""How our own table answers: bytes with validators, files without copies, refusals in the form asked for.

One rendering of a refusal serves every application, so that the same fault reads the same everywhere.

Source: RFC 9110 sections 12.5.1 (Accept), 13.2.2 (precedence), 14 (ranges), 15.4.5 (304).
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from io import FileIO
from pathlib import Path
from typing import Final

import msgspec
import trio

from pyrsia.errors import Refusal, StorageFull, Unavailable
from pyrsia.serve.desks.views import Arriving
from pyrsia.serve.http.connection import Receive, Scope, Send
from pyrsia.serve.http.ranges import Span, Unsatisfiable, matches, open_ended, parse_range
from pyrsia.serve.http.reading import Header
from pyrsia.serve.http.waiting import while_there
from pyrsia.units import MAX_HTTP_FETCH_WAIT_S
from pyrsia.wire.text import safe

IMMUTABLE: Final = b"public, max-age=31536000, immutable"
REVALIDATE: Final = b"no-cache"
# Goes with every 401 (RFC 9110 section 11.6.1).
CHALLENGE: Final[Header] = (b"www-authenticate", b'Basic realm="pyrsia"')
WHOLE: Final = "pyrsia.whole"  # in a scope: the ETag of what the client has whole when this answer is through
_SNIFF: Final[Header] = (b"x-content-type-options", b"nosniff")
_RETRY_S: Final = b"5"


def header(scope: Scope, name: bytes) -> bytes:
    """The first value of `name` (lower case), or nothing."""
    return next((value for key, value in scope["headers"] if key == name), b"")


async def send_body(
    send: Send, status: int, body: bytes, headers: Sequence[Header], *, reason: bytes = b""
) -> None:
    """One whole answer; the server leaves the body out for HEAD."""
    start = {
        "type": "http.response.start",
        "status": status,
        "headers": [*headers, (b"content-length", b"%d" % len(body)), _SNIFF],
        "reason": reason,
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def send_nothing(send: Send, status: int, headers: Sequence[Header]) -> None:
    """An answer whose status says it all (301, 304)."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body"})


async def send_cached(
    scope: Scope,
    send: Send,
    body: bytes,
    *,
    kind: bytes,
    etag: bytes,
    caching: bytes,
    more: Sequence[Header] = (),
) -> None:
    """A body with a validator: 304 if the client has it, 200 otherwise."""
    headers = [(b"etag", etag), (b"cache-control", caching), *more]
    asked = header(scope, b"if-none-match")
    if asked and matches(asked, etag):
        await send_nothing(send, 304, headers)
        return
    if scope["method"] == "GET":
        scope[WHOLE] = etag
    await send_body(send, 200, body, [(b"content-type", kind), *headers])


async def send_bundle(scope: Scope, send: Send, bundle: bytes | None) -> None:
    """A bundle of attestations, an envelope a line. It grows by signatures that arrive later: not immutable."""
    if not bundle:
        raise not_found("nobody attests this file")
    etag = b'"%b"' % hashlib.sha256(bundle).hexdigest()[:32].encode("ascii")
    await send_cached(scope, send, bundle, kind=b"application/jsonl", etag=etag, caching=REVALIDATE)


async def send_file(
    scope: Scope,
    send: Send,
    path: Path | None,
    size: int,
    *,
    kind: bytes,
    etag: bytes,
    more: Sequence[Header] = (),
    caching: bytes = IMMUTABLE,
) -> None:
    """A file of `size` bytes, whole or in part. `path` None: only HEAD and 304 need no bytes.

    Raises:
        Refusal: the file on disk is not `size` bytes long; nothing was sent.
    """
    part = await _part(scope, send, size, kind=kind, etag=etag, more=more, caching=caching)
    if part is None:
        return
    if path is None:
        await send(part.start)
        await send({"type": "http.response.body"})
        return
    with _opened(path, size) as file:
        await send(part.start)
        await _send_span(scope, send, file, part.span)


async def send_arriving(
    scope: Scope,
    receive: Receive,
    send: Send,
    arriving: Arriving,
    *,
    kind: bytes,
    etag: bytes,
    more: Sequence[Header] = (),
) -> None:
    """As `send_file`, of a file whose bytes may still be on their way. Closes `arriving`.

    Raises:
        Refusal: `unavailable` or `storage-full`: nothing came, and nothing was sent.
        Unavailable: the rest does not come; the server cuts the connection.
        ClientGone: nobody is left to give it to.
    """
    try:
        part = await _part(scope, send, arriving.size, kind=kind, etag=etag, more=more)
        if part is not None:
            await while_there(receive, lambda: _send_runs(scope, send, arriving, part))
    finally:
        arriving.close()


async def _send_runs(scope: Scope, send: Send, arriving: Arriving, part: "_Part") -> None:
    offset, end = part.span.first, part.span.first + part.span.count
    try:
        upto = await _patiently(arriving, offset)
    except StorageFull:
        raise
    except Unavailable as error:
        raise _nobody_gives(str(error)) from None
    with _opened(arriving.path, None) as file:
        await send(part.start)
        while True:
            upto = min(upto, end)
            await _send_span(scope, send, file, Span(offset, upto - offset), more=upto < end)
            offset = upto
            if offset >= end:
                return
            upto = await _patiently(arriving, offset)


async def _patiently(arriving: Arriving, offset: int) -> int:
    """`Arriving.ready`, with a limit for one wait and none for the whole."""
    with trio.move_on_after(MAX_HTTP_FETCH_WAIT_S.value):
        return await arriving.ready(offset)
    raise Unavailable(f"no byte of it came in {MAX_HTTP_FETCH_WAIT_S.value} seconds")


@dataclass(frozen=True, slots=True)
class _Part:
    """The head of an answer, and the bytes that are to follow it."""

    start: dict[str, object]
    span: Span


async def _part(
    scope: Scope,
    send: Send,
    size: int,
    *,
    kind: bytes,
    etag: bytes,
    more: Sequence[Header],
    caching: bytes = IMMUTABLE,
) -> _Part | None:
    """What of a file is to be sent; None if no byte of it is, and the answer was given."""
    headers: list[Header] = [
        (b"etag", etag),
        (b"cache-control", caching),
        (b"accept-ranges", b"bytes"),
        *more,
    ]
    asked = header(scope, b"if-none-match")
    if asked and matches(asked, etag):
        await send_nothing(send, 304, headers)
        return None
    headers += [(b"content-type", kind), _SNIFF]
    span = _span(scope, size, etag)
    if isinstance(span, Unsatisfiable):
        raise_size = (b"content-range", b"bytes */%d" % size)
        await send_body(send, 416, b"", [raise_size, (b"accept-ranges", b"bytes")])
        return None
    status = 206 if span else 200
    if span is not None:
        headers.append((b"content-range", span.content_range(size)))
    else:
        span = Span(0, size)
    headers.append((b"content-length", b"%d" % span.count))
    start: dict[str, object] = {"type": "http.response.start", "status": status, "headers": headers}
    if scope["method"] == "HEAD":
        await send(start)
        await send({"type": "http.response.body"})
        return None
    if span.count == size or open_ended(header(scope, b"range")):
        scope[WHOLE] = etag
    return _Part(start, span)


def _span(scope: Scope, size: int, etag: bytes) -> Span | Unsatisfiable | None:
    condition = header(scope, b"if-range")
    if scope["method"] != "GET" or (condition and condition != etag):
        return None
    return parse_range(header(scope, b"range"), size)


def needs_bytes(scope: Scope, size: int, etag: bytes) -> bool:
    """Whether the answer has any byte of the file; 304, 416 and HEAD have none, and nothing is fetched for them."""
    known = header(scope, b"if-none-match")
    if scope["method"] == "HEAD" or (known and matches(known, etag)):
        return False
    return not isinstance(_span(scope, size, etag), Unsatisfiable)


def _opened(path: Path, size: int | None) -> FileIO:
    """The file, which must have `size` bytes where that is given."""
    try:
        file = FileIO(path, "rb")
    except OSError as error:
        raise _not_whole(path, error.strerror or "it cannot be opened") from None
    if size is not None and os.fstat(file.fileno()).st_size != size:
        file.close()
        raise _not_whole(path, "its length on disk is not the one in the log")
    return file


async def _send_span(scope: Scope, send: Send, file: FileIO, span: Span, *, more: bool = False) -> None:
    if "http.response.zerocopysend" in scope.get("extensions", {}):
        await send(
            {
                "type": "http.response.zerocopysend",
                "file": file,
                "offset": span.first,
                "count": span.count,
                "more_body": more,
            }
        )
        return
    await _send_copied(send, file.fileno(), span, more=more)


async def _send_copied(send: Send, descriptor: int, span: Span, *, more: bool) -> None:
    """For ASGI servers without zero-copy: pieces of 256 KiB."""
    offset, left = span.first, span.count
    while left:
        piece = os.pread(descriptor, min(left, 262_144), offset)
        if not piece:
            raise EOFError("a file ended before its announced length")
        offset += len(piece)
        left -= len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": more or left > 0})
    if not span.count and not more:
        await send({"type": "http.response.body"})


def put_back(sha256: str) -> str:
    """What helps where this node's copy of a file is damaged, before the node finds it by itself."""
    return (
        "ask another node; the operator of this one checks the disk, and has another copy fetched: "
        f"pyrsia storage scrub {sha256}"
    )


def _nobody_gives(why: str) -> Refusal:
    return Refusal(
        "unavailable",
        what=f"nobody gives this file now: {why}",
        who="who holds it, or the network between",
        do="try again; `pyrsia peers` shows who is connected",
    )


def _not_whole(path: Path, why: str) -> Refusal:
    return Refusal(
        "unavailable",
        what=f"this node's copy of the file cannot be served: {why}",
        who="this node's disk",
        do=put_back(path.name),
    )


async def send_refusal(scope: Scope, send: Send, refusal: Refusal, *, problem: bool = False) -> None:
    """Tell a no: JSON, or text for who prefers text. Its `what` is also the reason phrase.

    Args:
        problem: as Maven shows it: what to do stands in the reason phrase as well (3.8 and 3.9 show nothing else), and
            the JSON is a problem of RFC 9457 with our fields in it (4 shows that, and no reason phrase).
    """
    status = refusal.answer.http
    if _prefers_text(header(scope, b"accept")):
        kind = b"text/plain; charset=utf-8"
        lines = f"{safe(refusal.what)}\nwho: {safe(refusal.who)}\ndo:  {safe(refusal.do)}\n"
        body = lines.encode()  # a terminal may be what reads it
    else:
        kind = b"application/json"
        told: dict[str, object] = {"error": refusal.as_dict()}
        if (
            problem and status != HTTPStatus.NOT_FOUND
        ):  # with a problem in it, Maven 4 takes a 404 for a failure
            kind = b"application/problem+json"
            told |= {"type": "about:blank", "status": status}
            told |= {"title": safe(refusal.what), "detail": safe(refusal.do)}
        body = msgspec.json.encode(told) + b"\n"
    headers: list[Header] = [(b"content-type", kind), (b"cache-control", b"no-store"), (b"vary", b"accept")]
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        headers.append((b"retry-after", b"%d" % refusal.retry_s if refusal.retry_s else _RETRY_S))
    if status == HTTPStatus.UNAUTHORIZED:
        headers.append(CHALLENGE)
    # pip shows a refusal's reason phrase and nothing of its body.
    reason = f"{refusal.what} -- {refusal.do}" if problem else refusal.what
    await send_body(send, status, body, headers, reason=safe(reason).encode("ascii", "replace"))


async def send_not_allowed(scope: Scope, send: Send, allow: bytes = b"GET, HEAD") -> None:
    """405 with what is allowed; the body reads like every other refusal."""
    refusal = {
        "code": "bad-request",
        "what": f"{scope['method']} is not a method of this address",
        "who": "the client's request",
        "do": f"use {allow.decode('ascii')}",
    }
    body = msgspec.json.encode({"error": refusal}) + b"\n"
    await send_body(send, 405, body, [(b"allow", allow), (b"content-type", b"application/json")])


def not_found(what: str, *, do: str = "check the spelling of the address") -> Refusal:
    return Refusal("not-found", what=what, who="the client's request", do=do)


def quality(accept: bytes) -> list[tuple[str, float]]:
    """The media ranges of an Accept header, lower case, with their q; nonsense is left out."""
    ranges: list[tuple[str, float]] = []
    for part in accept.decode("latin-1").lower().split(",")[:50]:
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        q = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                q = _q(parameter[2:])
        if kind.count("/") == 1:
            ranges.append((kind, q))
    return ranges


def _q(text: str) -> float:
    # RFC 9110 section 12.4.2: 0, 1, or up to three decimals. float() would take "inf" and "1e9".
    whole, _, decimals = text.partition(".")
    if (
        whole not in ("0", "1")
        or len(decimals) > 3
        or (decimals and not (decimals.isascii() and decimals.isdigit()))
    ):
        return 0.0
    return min(1.0, int(whole) + int(decimals or 0) / float(10 ** len(decimals)))


def _prefers_text(accept: bytes) -> bool:
    ranges = quality(accept)
    text = max((q for kind, q in ranges if kind.startswith("text/")), default=0.0)
    other = max((q for kind, q in ranges if not kind.startswith("text/")), default=0.0)
    return text > 0 and text >= other
