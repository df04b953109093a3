"""The request reader: what it takes is what h11 takes, and nothing makes it raise."""

import re

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.serve.http.reading import RequestReader, looks_like_tls

HOST = b"Host: a\r\n"

MALFORMED = {
    "space before the colon": (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "length and chunks": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "two lengths": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        400,
    ),
    "a signed length": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n\r\nabc", 400),
    "a huge length": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n", 400),
    "a bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "a folded header": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n", 400),
    "a NUL in a value": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n", 400),
    "a control character in a value": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x01b\r\n\r\n", 400),
    "an unknown coding": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "chunks in 1.0": (b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a chunk size that is no number": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        400,
    ),
    "an unknown expectation": (b"GET / HTTP/1.1\r\n" + HOST + b"Expect: miracles\r\n\r\n", 417),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/3.7": (b"GET / HTTP/3.7\r\n" + HOST + b"\r\n", 400),
    "not HTTP at all": (b"\x00\x01\x02\x03 garbage", 400),
    "101 headers": (b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 100 + b"\r\n", 431),
    "a head over 32 KiB": (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 33_000 + b"\r\n\r\n", 431),
    "a head without end": (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 33_000, 431),
    "a target over 32 KiB": (b"GET /" + b"y" * 33_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
    "a target with high bytes": ("GET /ü HTTP/1.1\r\n".encode() + HOST + b"\r\n", 400),
}


def test_the_table_of_malformed_requests_is_whole() -> None:
    assert len(MALFORMED) == 23


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("step", [1 << 20, 4096, 1])
def test_a_malformed_request_becomes_one_fault_however_it_is_cut(name: str, step: int) -> None:
    data, status = MALFORMED[name]
    reader = RequestReader()

    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])

    assert reader.fault is not None, name
    assert reader.fault.status == status, reader.fault
    assert reader.fault.what.isprintable()


def test_a_good_request_before_a_bad_one_is_still_answered() -> None:
    reader = RequestReader()

    reader.feed(b"GET /one HTTP/1.1\r\n" + HOST + b"\r\nGARBAGE\r\n\r\n")

    assert [request.target for request in reader.pending] == [b"/one"]
    assert reader.fault is not None


def test_an_endless_chunk_extension_is_refused() -> None:
    reader = RequestReader()
    reader.feed(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1;")

    for _ in range(40):
        reader.feed(b"x" * 4096)

    assert reader.fault is not None
    assert reader.fault.status == 400


def test_endless_empty_lines_before_a_request_are_refused() -> None:
    reader = RequestReader()

    for _ in range(20):
        reader.feed(b"\r\n" * 1024)

    assert reader.fault is not None
    assert reader.fault.status == 431


def test_requests_beyond_the_read_ahead_are_left_for_another_connection() -> None:
    reader = RequestReader()

    reader.feed((b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 200)

    assert len(reader.pending) == 64
    assert reader.closing
    assert reader.fault is None
    assert [request.keep_alive for request in reader.pending] == [True] * 63 + [False]


def test_an_upgrade_is_answered_as_plain_http_and_ends_the_connection() -> None:
    reader = RequestReader()

    reader.feed(b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nrest")

    (request,) = reader.pending
    assert request.complete
    assert not request.keep_alive
    assert reader.closing
    assert reader.fault is None


def test_a_tls_hello_is_known_by_its_first_bytes() -> None:
    assert looks_like_tls(bytes.fromhex("160301"))
    assert not looks_like_tls(b"GET / HTTP/1.1")


Reading = tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]


def by_h11(data: bytes) -> list[Reading] | None:
    """What a strict second parser reads of `data`; None if it refuses.

    Each request gets a parser of its own and is tidied first: llhttp grants two freedoms that h11 does
    not, empty lines before a request (RFC 9112 section 2.2 wants one passed over) and a second space in
    the request line. Neither moves the border between two requests.
    """
    found: list[Reading] = []
    while data := data.lstrip(b"\r\n"):
        line, ending, rest = data.partition(b"\r\n")
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        connection.receive_data(re.sub(rb" +", b" ", line) + ending + rest)
        try:
            request = connection.next_event()
            if not isinstance(request, h11.Request):
                break
            body = b""
            while isinstance(event := connection.next_event(), h11.Data):
                body += bytes(event.data)
        except h11.RemoteProtocolError:
            return None
        found.append((request.method, request.target, list(request.headers), body))
        if not isinstance(event, h11.EndOfMessage) or connection.their_state is not h11.DONE:
            break
        data = connection.trailing_data[0]
    return found


def by_us(data: bytes) -> list[Reading] | None:
    reader = RequestReader()
    reader.feed(data)
    if reader.fault is not None:
        return None
    return [
        (request.method.encode(), request.target, list(request.headers), b"".join(request.chunks))
        for request in reader.pending
    ]


LINES = [
    b"X-A: b\r\n",
    b"Accept: */*\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Connection: close\r\n",
    b"Host: b\r\n",
]
BODIES = {
    b"": b"",
    b"Content-Length: 3\r\n": b"abc",
    b"Transfer-Encoding: chunked\r\n": b"3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n",
}
TAKEN: list[int] = []
FLAWS = [
    b"",
    b" ",
    b"\t",
    b"\r",
    b"\n",
    b"\r\n",
    b"\0",
    b":",
    b",",
    b"+",
    b"-",
    b"0x",
    b"\x7f",
    b"\xff",
    b";",
    b"3",
    *LINES,
]


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One to three honest requests in a row, then up to two bytes or lines put, lost or replaced."""
    data = b""
    for _ in range(draw(st.integers(1, 3))):
        framing, body = draw(st.sampled_from(sorted(BODIES.items())))
        method = b"POST" if framing else draw(st.sampled_from([b"GET", b"HEAD", b"DELETE"]))
        target = draw(st.sampled_from([b"/", b"/a?b=c", b"http://a/b"]))
        lines = b"".join(draw(st.lists(st.sampled_from(LINES[:2]), max_size=2)))
        data += method + b" " + target + b" HTTP/1.1\r\n" + HOST + lines + framing + b"\r\n" + body
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.sampled_from(FLAWS)) + data[at + draw(st.integers(0, 2)) :]
    return data


@settings(max_examples=600, deadline=None)
@given(data=requests())
def test_whatever_we_take_a_strict_second_parser_takes_and_reads_the_same(data: bytes) -> None:
    ours, theirs = by_us(data), by_h11(data)

    if ours:
        TAKEN.append(1)
        assert theirs is not None, data
        assert ours[: len(theirs)] == theirs[: len(ours)]


def test_the_second_parser_had_something_to_compare() -> None:
    """Runs after the one above: a generator that makes only garbage would prove nothing."""
    assert not TAKEN or len(TAKEN) > 100


@settings(max_examples=400, deadline=None)
@given(data=st.binary(max_size=300), cut=st.integers(1, 40))
def test_no_bytes_make_the_reader_raise(data: bytes, cut: int) -> None:
    reader = RequestReader()
    for start in range(0, len(data), cut):
        reader.feed(data[start : start + cut])
    reader.feed(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")

    # What is no request is one fault with a status of the 4xx or 5xx kind, or a head that still waits for its end.
    assert reader.fault is None or 400 <= reader.fault.status < 600
    assert reader.fault is not None or reader.pending or reader.in_head


@settings(max_examples=300, deadline=None)
@given(data=requests(), cut=st.integers(1, 12))
def test_how_the_bytes_are_cut_changes_nothing(data: bytes, cut: int) -> None:
    whole, parts = RequestReader(), RequestReader()
    whole.feed(data)
    for start in range(0, len(data), cut):
        parts.feed(data[start : start + cut])

    assert (whole.fault is None) == (parts.fault is None)
    assert [r.target for r in whole.pending] == [r.target for r in parts.pending]
    assert [b"".join(r.chunks) for r in whole.pending] == [b"".join(r.chunks) for r in parts.pending]
