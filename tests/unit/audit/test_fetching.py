"""A server can neither hold a reader nor fill it, and what it says of itself is not believed."""

import gzip
import socket
import threading
import time

import pytest

from pyrsia.audit import fetching
from pyrsia.audit.fetching import Absent, Address, Fetcher, Patience
from pyrsia.audit.sources import HttpSource, at_address
from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.log.tiles import Bundle, Tile
from pyrsia.units import MAX_NOTE_BYTES
from tests.unit.audit.files import HASTY, Site, objects, send
from tests.unit.log.logs import numbered

FILES = objects(numbered(300))
BOUND_S = 10  # a loaded machine; the deadlines of these tests end below two seconds


@pytest.fixture
def site():
    with Site(FILES) as made:
        yield made


def test_every_object_is_read_over_few_connections(site):
    source = site.source()
    assert source.checkpoint() == FILES["checkpoint"]
    assert source.tile(Tile(0, 0)) == FILES["tile/0/000"]
    assert source.bundle(Bundle(1, 44)) == FILES["tile/entries/001.p/44"]
    assert source.genesis() is None
    assert all("pyrsia/" in one["user-agent"] for one in site.headers)
    with pytest.raises(Absent):
        source.tile(Tile(3, 0, 1))
    source.close()


def test_a_partial_object_that_has_vanished_is_cut_out_of_the_full_one(site):
    whole = objects(numbered(512))
    site.files = {path: data for path, data in whole.items() if "/001.p/" not in path}
    source = site.source()
    assert source.tile(Tile(0, 1, 44)) == FILES["tile/0/001.p/44"]
    assert source.bundle(Bundle(1, 44)) == FILES["tile/entries/001.p/44"]
    site.files["tile/0/001"] = whole["tile/0/001"][:-1]
    with pytest.raises(Malformed, match="8191 bytes"):
        source.tile(Tile(0, 1, 44))


def drip_head(site):
    def answer(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not site.closing.wait(0.05):
            handler.wfile.write(b"x-wait: 1\r\n")

    return answer


def drip_body(site):
    def answer(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 8192\r\n\r\n")
        while not site.closing.wait(0.05):
            handler.wfile.write(b"x")

    return answer


def silence(site):
    return lambda handler: site.closing.wait()


def silence_in_the_body(site):
    def answer(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 8192\r\n\r\nxxx")
        site.closing.wait()

    return answer


def endless_interim_answers(site):
    def answer(handler):
        while not site.closing.wait(0.01):
            handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    return answer


@pytest.mark.parametrize(
    "hostile", [drip_head, drip_body, silence, silence_in_the_body, endless_interim_answers]
)
def test_a_slow_server_costs_a_deadline_and_no_more(site, hostile):
    site.on["tile/0/000"] = hostile(site)
    began_s = time.monotonic()
    with pytest.raises(Unavailable, match="no whole answer in time"):
        site.source().tile(Tile(0, 0))
    assert time.monotonic() - began_s < BOUND_S
    assert site.asked.count("tile/0/000") == HASTY.attempts


def endless_chunks(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        handler.wfile.write(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")


def endless_to_the_close(handler):
    handler.close_connection = True
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        handler.wfile.write(b"x" * 0x1000)


def announced_too_long(handler):
    send(handler, b"", length=10 << 20)


def ten_megabytes(handler):
    send(handler, b"x" * (10 << 20))


BOMB = gzip.compress(b"\0" * (16 << 20))


def bomb(handler):
    send(handler, BOMB, content_encoding="gzip")


@pytest.mark.parametrize(
    "hostile", [endless_chunks, endless_to_the_close, announced_too_long, ten_megabytes, bomb]
)
def test_an_endless_or_oversized_answer_is_cut_off_at_the_bound(site, hostile):
    site.on["checkpoint"] = site.on["tile/0/000"] = hostile
    source = site.source()
    for ask in (source.checkpoint, lambda: source.tile(Tile(0, 0))):
        with pytest.raises(Malformed, match="bytes"):
            ask()
    assert len(site.asked) == 2  # such an answer is not asked for again


def test_a_packed_bundle_is_unpacked_and_every_other_packing_refused(site):
    path = "tile/entries/000"
    data = FILES[path]
    source = site.source()
    site.on[path] = lambda handler: send(handler, gzip.compress(data), content_encoding="gzip")
    assert source.bundle(Bundle(0)) == data
    assert site.headers[-1]["accept-encoding"] == "gzip"
    for body, coding in [
        (gzip.compress(data)[:-1], "gzip"),  # cut
        (gzip.compress(data) + b"x", "gzip"),  # goes on
        (data, "gzip"),  # no gzip at all
        (data, "br"),
        (gzip.compress(gzip.compress(data)), "gzip, gzip"),
    ]:
        site.on[path] = lambda handler, body=body, coding=coding: send(handler, body, content_encoding=coding)
        with pytest.raises(Malformed):
            source.bundle(Bundle(0))


def test_a_length_that_lies_is_no_object(site):
    tile = FILES["tile/0/000"]

    def short(handler):
        handler.close_connection = True
        send(handler, tile[:100], length=len(tile))

    site.on["tile/0/000"] = short
    source = site.source()
    with pytest.raises(Unavailable, match="before its announced end"):
        source.tile(Tile(0, 0))
    site.on["tile/0/000"] = lambda handler: send(handler, tile, length=100)
    with pytest.raises(Malformed, match="100 bytes long"):
        source.tile(Tile(0, 0))
    site.on["tile/0/000"] = lambda handler: send(handler, tile[:-32])
    with pytest.raises(Malformed, match="8160 bytes long"):
        source.tile(Tile(0, 0))


def test_the_content_type_says_nothing(site):
    site.on["tile/0/000"] = lambda handler: send(handler, FILES["tile/0/000"], content_type="text/html")
    assert site.source().tile(Tile(0, 0)) == FILES["tile/0/000"]
    site.on["tile/0/000"] = lambda handler: send(handler, b"<html>moved</html>", content_type="text/html")
    with pytest.raises(Malformed, match="18 bytes long"):
        site.source().tile(Tile(0, 0))


def moved(where):
    return lambda handler: send(handler, b"", status=302, location=where)


def test_redirects_stay_on_one_origin_and_end(site):
    site.on["checkpoint"] = moved("/elsewhere")
    site.files["elsewhere"] = b"here"
    assert site.source().checkpoint() == b"here"
    site.on["elsewhere"] = moved("checkpoint")
    with pytest.raises(Malformed, match="redirects"):
        site.source().checkpoint()
    assert len(site.asked) == 2 + fetching.REDIRECTS.value + 1
    with Site({"checkpoint": b"inner"}) as other:
        for where in (
            f"{other.url}checkpoint",
            "https://127.0.0.1/checkpoint",
            "//127.0.0.1/x",
            "file:///etc/passwd",
        ):
            site.on["checkpoint"] = moved(where)
            with pytest.raises(Malformed, match="another server"):
                site.source().checkpoint()
        assert other.asked == []
    for where in ("/with space", "/\u00e9".encode().decode("latin-1"), "/a\x7f"):
        site.on["checkpoint"] = moved(where)
        with pytest.raises(Malformed):
            site.source().checkpoint()


def test_a_server_that_restarts_is_asked_again_with_growing_pauses(site):
    pauses = []
    left = [503, 500, 429]

    def flaky(handler):
        if left:
            send(handler, b"", status=left.pop())
        else:
            send(handler, FILES["checkpoint"])

    site.on["checkpoint"] = flaky
    fetcher = Fetcher(
        Address.parse(site.url), patience=Patience(attempts=4, pause_s=0.25), sleep=pauses.append
    )
    source = site.closed_at_the_end(HttpSource(fetcher))
    assert source.checkpoint() == FILES["checkpoint"]
    assert pauses == [0.25, 0.5, 1.0]
    site.on["checkpoint"] = lambda handler: send(handler, b"", status=503)
    with pytest.raises(Unavailable, match="503"):
        source.checkpoint()
    site.on["checkpoint"] = lambda handler: send(handler, b"", status=403)
    asked = len(site.asked)
    with pytest.raises(Unavailable, match="403"):
        source.checkpoint()
    assert len(site.asked) == asked + 1


def test_nobody_listening_and_garbage_instead_of_http_are_unavailable(site):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    closed = HttpSource(Fetcher(Address.parse(f"http://127.0.0.1:{port}"), patience=HASTY))
    with pytest.raises(Unavailable):
        closed.checkpoint()

    def garbage(handler):
        handler.close_connection = True
        handler.wfile.write(b"\x00\xff garbage\r\n\r\n")

    site.on["checkpoint"] = garbage
    with pytest.raises(Unavailable):
        site.source().checkpoint()


def test_an_idle_connection_that_the_server_ended_is_no_failure(site):
    source = site.source(Patience(attempts=1))
    site.on["checkpoint"] = lambda handler: (
        send(handler, b"one"),
        setattr(handler, "close_connection", True),
    )
    for _ in range(3):
        assert source.checkpoint() == b"one"


def test_closing_ends_what_other_threads_wait_for(site):
    site.on["checkpoint"] = silence(site)
    source = site.source(Patience(silence_s=60, object_s=60, pause_s=0))
    raised = []

    def ask():
        try:
            source.checkpoint()
        except Unavailable as error:
            raised.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    deadline_s = time.monotonic() + BOUND_S
    while not site.asked and time.monotonic() < deadline_s:
        thread.join(0.01)
    source.close()
    thread.join(BOUND_S)
    assert len(raised) == 1


NO_PREFIX = [
    "http://",
    "ftp://x/",
    "log.example.org",
    "/log",
    "",
    "http://[::1/",
    "http://h:0/",
    "http://h:99999/",
]
NO_PATH = ["http://h/?q", "http://h/#f", "http://u:p@h/", "http://h/\u00e9", "http://h/a b", "http://h/\n"]


@pytest.mark.parametrize("text", [*NO_PREFIX, *NO_PATH])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(Refusal) as refused:
        Address.parse(text)
    assert refused.value.code == "usage"


def test_a_nodes_address_leads_to_its_log(site):
    assert site.closed_at_the_end(at_address(site.url)).name == site.url
    site.files = {f"log/{path}": data for path, data in FILES.items()}
    found = site.closed_at_the_end(at_address(site.url.rstrip("/")))
    assert found.name == f"{site.url}log/"
    assert found.checkpoint() == FILES["checkpoint"]
    site.files = {}
    with pytest.raises(Absent):
        site.closed_at_the_end(at_address(site.url)).checkpoint()


def test_a_note_of_ten_megabytes_is_not_read(site):
    site.files["checkpoint"] = b"x" * (10 << 20)
    with pytest.raises(Malformed, match=f"{MAX_NOTE_BYTES.value} is the most"):
        site.source().checkpoint()
