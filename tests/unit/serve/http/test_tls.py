"""The same server behind TLS: real clients, files, early ends, and who asks in the wrong language."""

import os
import shutil
import ssl
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import trio

from pyrsia.errors import Refusal
from pyrsia.serve.http.server import Listener, Receive, Scope, Send, Server, listen_tcp
from pyrsia.serve.http.tls import configured, tls_context
from tests.reference.waiting import until
from tests.unit.serve.certificates import make_certificate
from tests.unit.serve.talk import read_answer, read_to_end, say, serving

SIZE = 3_000_001  # more than any buffer between
GET = b"GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path)


@pytest.fixture
async def listener(files: tuple[Path, Path]) -> Listener:
    return await listen_tcp("127.0.0.1", 0, tls=tls_context(*files))


@pytest.fixture
def trusting(files: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(files[0]))


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(os.urandom(SIZE))
    return path


def app_of(blob: Path):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/blob":
            headers = [(b"content-length", b"%d" % SIZE)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            with blob.open("rb") as file:
                await send({"type": "http.response.zerocopysend", "file": file, "count": SIZE})
            return
        if scope["path"] == "/wait":
            while (await receive())["type"] != "http.disconnect":
                pass
            scope["path"] = "/left"
        body, more = b"", True
        while more and scope["path"] == "/echo":
            event = await receive()
            body, more = body + event["body"], event["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["scheme"].encode() + b" " + body})

    return app


async def dial_tls(server: Server, trusting: ssl.SSLContext) -> trio.SSLStream[trio.SocketStream]:
    stream = await trio.open_tcp_stream("127.0.0.1", server.listeners[0].port)
    return trio.SSLStream(stream, trusting, server_hostname="localhost", https_compatible=True)


async def test_httpx_reads_small_and_large_answers_and_sends_large_bodies(listener, trusting, blob) -> None:
    async with serving(app_of(blob), own=listener) as server:
        async with httpx.AsyncClient(base_url=server.url, verify=trusting) as client:
            assert server.url.startswith("https://")
            assert (await client.get("/x")).content == b"https "
            assert (await client.get("/blob")).content == blob.read_bytes()
            sent = os.urandom(700_000)
            assert (await client.post("/echo", content=sent)).content == b"https " + sent
        assert server.requests == 3


@pytest.mark.parametrize("version", ["--tlsv1.2", "--tlsv1.3"])
async def test_curl_believes_the_certificate_and_gets_every_byte(listener, files, blob, version) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    async with serving(app_of(blob), own=listener) as server:
        most = "--tls-max", version.removeprefix("--tlsv")
        command = ["curl", "-sS", "--fail", "--cacert", str(files[0]), version, *most, f"{server.url}/blob"]
        done = await trio.run_process(command, capture_stdout=True)
    assert done.stdout == blob.read_bytes()


async def test_requests_are_kept_alive_and_pipelined_as_without_tls(listener, trusting, blob) -> None:
    async with serving(app_of(blob), own=listener) as server:
        async with await dial_tls(server, trusting) as stream:
            kept = bytearray()
            await stream.send_all(GET % b"1" + GET % b"2")
            assert (await read_answer(stream, kept))[2] == b"https "
            await stream.send_all(GET % b"blob")
            assert (await read_answer(stream, kept))[2] == b"https "
            assert (await read_answer(stream, kept))[2] == blob.read_bytes()


async def test_tls_1_1_is_not_spoken(listener, trusting, blob) -> None:
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        trusting.minimum_version = trusting.maximum_version = ssl.TLSVersion.TLSv1_1
    trusting.set_ciphers("ALL:@SECLEVEL=0")
    async with serving(app_of(blob), own=listener) as server:
        async with await dial_tls(server, trusting) as stream:
            with pytest.raises(trio.BrokenResourceError) as caught:
                await stream.do_handshake()
            assert isinstance(caught.value.__cause__, ssl.SSLError)


async def test_who_asks_with_http_is_told_in_plain_words(listener, blob) -> None:
    async with serving(app_of(blob), own=listener) as server:
        answer = await say(server, GET % b"x", half_close=False)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"https://" in answer


@pytest.mark.parametrize("opening", [b"", b"\x16", b"\x16\x03\x01\x00\x05hello", b"\x16" + b"\xff" * 70_000])
async def test_a_broken_handshake_ends_only_its_connection(listener, trusting, blob, opening) -> None:
    async with serving(app_of(blob), own=listener) as server:
        with suppress(trio.BrokenResourceError):  # the server may have closed before all was said
            assert b"HTTP" not in await say(server, opening)
        async with await dial_tls(server, trusting) as stream:
            await stream.send_all(GET % b"x")
            assert (await read_answer(stream, bytearray()))[2] == b"https "
        await until(lambda: not server.connections)


async def test_a_client_that_leaves_is_noticed_while_its_answer_is_made(listener, trusting, blob) -> None:
    async with serving(app_of(blob), own=listener) as server:
        stream = await dial_tls(server, trusting)
        await stream.send_all(GET % b"wait")
        await until(lambda: server.connections)
        await stream.transport_stream.aclose()
        await until(lambda: not server.connections)


async def test_a_file_that_shrank_is_cut_and_never_looks_whole(listener, trusting, blob) -> None:
    with blob.open("r+b") as file:
        file.truncate(SIZE - 1)
    async with serving(app_of(blob), own=listener) as server:
        async with await dial_tls(server, trusting) as stream:
            await stream.send_all(GET % b"blob")
            head, _, body = (await read_to_end(stream)).partition(b"\r\n\r\n")
    assert b"content-length: %d" % SIZE in head
    assert len(body) < SIZE


@pytest.mark.parametrize("flaw", ["no file", "no PEM", "foreign key", "passphrase", "one alone"])
def test_files_that_cannot_be_used_are_refused_by_name(tmp_path: Path, flaw: str) -> None:
    make_certificate(tmp_path, b"secret" if flaw == "passphrase" else b"")
    cert, key = "cert.pem", "key.pem"
    if flaw == "no file":
        cert = "missing.pem"
    elif flaw == "no PEM":
        (tmp_path / key).write_text("nothing")
    elif flaw == "foreign key":
        (tmp_path / "other").mkdir()
        key = str(make_certificate(tmp_path / "other")[1])
    elif flaw == "one alone":
        key = ""
    with pytest.raises(Refusal) as caught:
        configured(tmp_path, cert, key)
    assert caught.value.code == "config-invalid"
    assert "http.tls_cert" in caught.value.who + caught.value.what


def test_without_the_two_names_there_is_no_tls(tmp_path: Path) -> None:
    assert configured(tmp_path, "", "") is None
