"""Two requests for one reader, one for another: byte streams that set parsers against each other, into a real server.

h11 is the second reader. What it refuses is no request of ours, and what both take is the same; whatever stands
behind a request whose length is in doubt is never answered as a request.
"""

import re

import pytest

from pyrsia.serve.http.server import Receive, Scope, Send
from tests.unit.serve.http.test_reading import by_h11
from tests.unit.serve.talk import say, serving

HOST = b"Host: a\r\n"
INNER = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /outer HTTP/1.1\r\n" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def length(text: bytes) -> bytes:
    return b"Content-Length: " + text + b"\r\n"


# name -> (bytes, statuses of all answers)
PROBES = {
    "CL.TE": (POST + length(b"6") + CHUNKED + b"\r\n0\r\n\r\nG" + INNER, [400]),
    "TE.CL": (POST + CHUNKED + length(b"4") + b"\r\n2b\r\n" + INNER + b"\r\n0\r\n\r\n", [400]),
    "TE.TE, one behind a space": (
        POST + b"Transfer-Encoding : chunked\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
        [400],
    ),
    "TE.TE, a second coding": (POST + CHUNKED + b"Transfer-Encoding: x\r\n\r\n0\r\n\r\n" + INNER, [400, 501]),
    "chunked twice": (POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n" + INNER, [400, 501]),
    "chunked in a list": (
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + INNER,
        [400, 501],
    ),
    "chunked with a tab": (
        POST + b"Transfer-Encoding:\tchunked\x0b\r\n" + length(b"5") + b"\r\n0\r\n\r\n",
        [400],
    ),
    "chunked in quotes": (POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n' + INNER, [400, 501]),
    "a folded coding": (POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + INNER, [400]),
    "a folded length": (POST + b"Content-Length:\r\n 5\r\n\r\nabcde" + INNER, [400]),
    "two equal lengths": (POST + length(b"3") * 2 + b"\r\nabc" + INNER, [400]),
    "two lengths in a list": (POST + length(b"3, 3") + b"\r\nabc" + INNER, [400]),
    "two different lengths": (POST + length(b"0") + length(b"44") + b"\r\n" + INNER, [400]),
    "a hexadecimal length": (POST + length(b"0x10") + b"\r\n" + INNER, [400]),
    "a length with an underline": (POST + length(b"1_0") + b"\r\n0123456789" + INNER, [400]),
    "a length below zero": (POST + length(b"-1") + b"\r\n" + INNER, [400]),
    "a length over 64 bits": (POST + length(b"18446744073709551617") + b"\r\nx" + INNER, [400]),
    "an empty length": (POST + b"Content-Length:\r\n\r\n" + INNER, [400]),
    "a length in other digits": (POST + b"Content-Length: \xd9\xa3\r\n\r\nabc" + INNER, [400]),
    "a space before the colon": (POST + b"Content-Length : 5\r\n\r\nabcde" + INNER, [400]),
    "a space before a name": (POST + b" Content-Length: 44\r\n\r\n" + INNER, [400]),
    "a NUL in a name": (POST + b"Content-Length\0: 44\r\n\r\n" + INNER, [400]),
    "a NUL in a value": (POST + b"X: a\0\r\n" + length(b"44") + b"\r\n" + INNER, [400]),
    "a bare CR in a value": (POST + b"X: a\r" + length(b"44") + b"\r\n" + INNER, [400]),
    "a bare LF in a value": (POST + b"X: a\n" + length(b"44") + b"\r\n" + INNER, [400]),
    "a bare LF after the head": (POST + length(b"44") + b"\n" + INNER, [400]),
    "a header without a colon": (POST + b"Content-Length 44\r\n\r\n" + INNER, [400]),
    "a chunk size over 64 bits": (
        POST + CHUNKED + b"\r\n10000000000000003\r\nabc\r\n0\r\n\r\n" + INNER,
        [400],
    ),
    "a chunk size below zero": (POST + CHUNKED + b"\r\n-3\r\nabc\r\n0\r\n\r\n" + INNER, [400]),
    "a chunk size with 0x": (POST + CHUNKED + b"\r\n0x3\r\nabc\r\n0\r\n\r\n" + INNER, [400]),
    "a chunk size with a plus": (POST + CHUNKED + b"\r\n+3\r\nabc\r\n0\r\n\r\n" + INNER, [400]),
    "a chunk longer than its size": (POST + CHUNKED + b"\r\n3\r\nabcd\r\n0\r\n\r\n" + INNER, [400]),
    "a chunk ended by LF": (POST + CHUNKED + b"\r\n3\nabc\r\n0\r\n\r\n" + INNER, [400]),
    "a chunk extension with LF": (POST + CHUNKED + b"\r\n3;x\ny\r\nabc\r\n0\r\n\r\n" + INNER, [400]),
    "an extension without end": (POST + CHUNKED + b"\r\n3;" + b"x" * 200_000, [400]),
    "a trailer that is framing": (POST + CHUNKED + b"\r\n0\r\n" + length(b"44") + b"\r\n" + INNER, [400]),
    "chunks in HTTP/1.0": (b"POST / HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n0\r\n\r\n" + INNER, [400]),
    "a method with a space": (b"GET /a HTTP/1.1 HTTP/1.1\r\n" + HOST + b"\r\n", [400]),
    "a name where a request should be": (b"Host: a\r\n\r\n" + INNER, [400]),
    "no version": (b"GET /\r\n\r\n" + INNER, [400, 505]),
    "a lower-case version": (b"GET / http/1.1\r\n" + HOST + b"\r\n" + INNER, [400]),
    "an authority that is no Host": (b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n" + INNER, [400]),
}

# What is allowed, and how many requests it is.
HONEST = {
    "a body that looks like a request": (POST + length(b"%d" % len(INNER)) + b"\r\n" + INNER, ["/outer"]),
    "a chunk that looks like a request": (
        POST + CHUNKED + b"\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER),
        ["/outer"],
    ),
    "a coding in capitals": (
        POST + b"TRANSFER-ENCODING: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + INNER,
        ["/outer", "/smuggled"],
    ),
    "a quoted extension": (
        POST + CHUNKED + b'\r\n3;x="y"\r\nabc\r\n0\r\n\r\n' + INNER,
        ["/outer", "/smuggled"],
    ),
    "a GET with a body": (
        b"GET /outer HTTP/1.1\r\n" + HOST + length(b"3") + b"\r\nabc" + INNER,
        ["/outer", "/smuggled"],
    ),
}


class Seen:
    """Reads each request's body and remembers its path."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.hosts: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass
        self.paths.append(scope["path"])
        self.hosts.append(dict(scope["headers"])[b"host"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"."})


def statuses(answers: bytes) -> list[int]:
    return [int(code) for code in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", answers)]


@pytest.mark.parametrize("name", PROBES)
async def test_what_could_be_read_in_two_ways_is_read_in_none(name: str) -> None:
    data, expected = PROBES[name]
    app = Seen()
    async with serving(app) as server:
        answers = await say(server, data, half_close=False)
    (status,) = statuses(answers)
    assert status in expected
    assert b"\r\nconnection: close\r\n" in answers
    assert app.paths == []


@pytest.mark.parametrize("name", HONEST)
async def test_what_only_looks_like_it_is_read_as_the_second_reader_reads_it(name: str) -> None:
    data, expected = HONEST[name]
    app = Seen()
    async with serving(app) as server:
        answers = await say(server, data)
    assert (app.paths, statuses(answers)) == (expected, [200] * len(expected))
    theirs = by_h11(data)
    assert theirs is not None
    assert [target.decode() for _, target, _, _ in theirs] == expected


# Where h11 takes what we refuse: RFC 9112 lets a server do either.
STRICTER = {
    "CL.TE",
    "TE.CL",
    "a folded coding",
    "a folded length",
    "two equal lengths",
    "two lengths in a list",
    "a length over 64 bits",
    "a space before a name",
    "a bare LF in a value",
    "a bare LF after the head",
    "a chunk size over 64 bits",
    "an extension without end",
    "a trailer that is framing",
    "chunks in HTTP/1.0",
    "an authority that is no Host",
}


def test_the_second_reader_refuses_the_others_as_well() -> None:
    assert {name for name, (data, _) in PROBES.items() if by_h11(data)} <= STRICTER


async def test_the_host_of_an_absolute_target_counts_and_the_other_is_gone() -> None:
    """RFC 9112 section 3.2.2: so that the guard and whoever logs judge by the same name."""
    app = Seen()
    async with serving(app) as server:
        await say(server, b"GET http://evil.example/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await say(server, b"GET HTTP://evil.example HTTP/1.1\r\nHost: localhost\r\n\r\n")
        odd = await say(
            server, b"GET ftp://evil.example/x HTTP/1.1\r\nHost: localhost\r\n\r\n", half_close=False
        )
    assert (app.paths, app.hosts) == (["/x", "/"], [b"evil.example", b"evil.example"])
    assert statuses(odd) == [400]
