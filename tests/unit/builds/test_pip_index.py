"""Index pages, and the client that fetches them."""

import datetime
import hashlib
import ipaddress
import json
import os
import ssl
import time
from contextlib import suppress

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.builds.outbound import addresses
from pyrsia.builds.pip import cache, index, simple
from pyrsia.builds.pip.config import PipConfig
from pyrsia.builds.pip.index import IndexClient, open_hosts
from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.units import Limit

DIGEST = "ab" * 32
JSON_PAGE = {
    "meta": {"api-version": "1.1"},
    "name": "thing",
    "files": [
        {
            "filename": "thing-1.0.tar.gz",
            "url": "../../files/thing-1.0.tar.gz",
            "hashes": {"sha256": DIGEST},
            "size": 7,
            "upload-time": "2024-09-14T02:58:28.463127Z",
            "requires-python": ">=3.8",
            "yanked": "CVE",
            "core-metadata": {"sha256": DIGEST},
        },
        {"filename": "../evil.tar.gz", "url": "x", "hashes": {"sha256": DIGEST}},
        {"filename": "thing-2.0.tar.gz", "url": "javascript:alert(1)", "hashes": {}},
        "nonsense",
    ],
}
HTML_PAGE = f"""<!DOCTYPE html><html><head><meta name="pypi:repository-version" content="1.0"></head><body>
<a href="../../files/thing-1.0.tar.gz#sha256={DIGEST}" data-requires-python="&gt;=3.8" data-yanked="CVE"
   data-dist-info-metadata="sha256={DIGEST}">thing-1.0.tar.gz</a>
<a href="https://[broken/x.whl">broken</a></body></html>"""


def test_the_json_and_the_html_page_say_the_same():
    url = "https://one.example/simple/thing/"
    page = simple.parse(json.dumps(JSON_PAGE).encode(), simple.JSON_TYPE, url, "Thing", "one")
    html = simple.parse(HTML_PAGE.encode(), "text/html; charset=utf-8", url, "thing", "one")

    assert page.files == (
        simple.IndexFile(
            "thing-1.0.tar.gz",
            "https://one.example/files/thing-1.0.tar.gz",
            DIGEST,
            7,
            1_726_282_708_463,
            ">=3.8",
            True,
            DIGEST,
        ),
    )
    assert html.files[0].url == page.files[0].url
    assert html.files[0].metadata_sha256 == DIGEST
    assert [(file.requires_python, file.yanked) for file in html.files] == [(">=3.8", True)]


def test_the_new_name_of_metadata_wins_over_the_old_one_even_when_it_says_no():
    item = {**JSON_PAGE["files"][0], "core-metadata": False, "dist-info-metadata": {"sha256": DIGEST}}
    body = json.dumps({**JSON_PAGE, "files": [item]}).encode()

    assert simple.parse(body, simple.JSON_TYPE, "https://x/", "thing", "x").files[0].metadata_sha256 is None


@settings(max_examples=200)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=20),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["files", "meta", "url", "filename", "hashes", "api-version"]), inner
                )
            ),
            max_leaves=12,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    st.sampled_from([simple.JSON_TYPE, "text/html"]),
)
def test_a_hostile_page_is_malformed_or_a_page(body, kind):
    try:
        page = simple.parse(body, kind, "https://x.example/", "thing", "x")
    except Malformed:
        return
    assert all(simple.plain_name(file.filename) for file in page.files)


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.31.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("151.101.0.223", True),
        ("2a04:4e42::223", True),
    ],
)
def test_closed_networks_are_closed(address, allowed):
    assert addresses.address_allowed(address) is allowed


class Server:
    """A tiny HTTP server on loopback: path -> (status, headers, body); remembers what it was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.port = 0

    async def run(self, task_status=trio.TASK_STATUS_IGNORED):
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        await trio.serve_listeners(self._serve, listeners, task_status=task_status)

    async def _serve(self, stream):
        async with stream:
            with suppress(trio.BrokenResourceError):  # a client that has read enough hangs up
                await self._answer(stream)

    async def _answer(self, stream):
        data = b""
        while b"\r\n\r\n" not in data:
            piece = await stream.receive_some(4096)
            if not piece:
                return
            data += piece
        lines = data.decode().split("\r\n")
        path = lines[0].split(" ")[1]
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        self.asked.append((path, headers))
        status, extra, body = self.pages.get(path, (404, {}, b"no"))
        head = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", "connection: close"]
        head += [f"{name}: {value}" for name, value in extra.items()]
        await stream.send_all("\r\n".join([*head, "", ""]).encode() + body)

    def page(self, name: str, data: bytes, *, sha256: str | None = None) -> None:
        digest = sha256 or hashlib.sha256(data).hexdigest()
        files = [
            {"filename": f"{name}-1.0.tar.gz", "url": "/f", "hashes": {"sha256": digest}, "size": len(data)}
        ]
        body = json.dumps({"meta": {"api-version": "1.0"}, "name": name, "files": files}).encode()
        self.pages[f"/simple/{name}/"] = (200, {"content-type": simple.JSON_TYPE}, body)
        self.pages["/f"] = (200, {}, data)


@pytest.fixture
async def server():
    async with trio.open_nursery() as nursery:
        found = Server()
        await nursery.start(found.run)
        yield found
        nursery.cancel_scope.cancel()


async def test_the_first_index_that_has_the_project_wins(server, tmp_path):
    first = tmp_path / "first" / "thing"
    first.mkdir(parents=True)
    (first / "thing-9.tar.gz").write_bytes(b"mine")
    server.page("thing", b"theirs")
    server.page("other", b"theirs")
    config = PipConfig(indexes=((tmp_path / "first").as_uri(), f"http://127.0.0.1:{server.port}/simple"))

    async with IndexClient(config, tmp_path / "cache") as client:
        mine = await client.project("Thing")
        theirs = await client.project("other")

    assert [file.filename for file in mine.files] == ["thing-9.tar.gz"]
    assert mine.files[0].sha256 == hashlib.sha256(b"mine").hexdigest()
    assert [file.filename for file in theirs.files] == ["other-1.0.tar.gz"]
    assert [path for path, _ in server.asked] == ["/simple/other/"]


async def test_a_file_is_fetched_once_and_kept_under_its_digest(server, tmp_path):
    server.page("thing", b"bytes")
    async with IndexClient(
        PipConfig(indexes=(f"http://127.0.0.1:{server.port}/simple",)), tmp_path / "cache"
    ) as client:
        file = (await client.project("thing")).files[0]
        paths = [await client.fetch(file), await client.fetch(file)]

    assert paths[0] == paths[1]
    assert paths[0].read_bytes() == b"bytes"
    assert [path for path, _ in server.asked] == ["/simple/thing/", "/f"]


async def test_other_bytes_than_promised_are_refused_with_both_digests(server, tmp_path):
    server.page("thing", b"bytes", sha256=DIGEST)
    async with IndexClient(
        PipConfig(indexes=(f"http://127.0.0.1:{server.port}/simple",)), tmp_path / "cache"
    ) as client:
        file = (await client.project("thing")).files[0]
        with pytest.raises(Refusal) as caught:
            await client.fetch(file)

    assert caught.value.code == "digest-mismatch"
    assert DIGEST in caught.value.what
    assert hashlib.sha256(b"bytes").hexdigest() in caught.value.what
    assert list((tmp_path / "cache").iterdir()) == []


async def test_a_longer_answer_than_promised_is_cut_off(server, tmp_path):
    server.page("thing", b"bytes")
    server.pages["/f"] = (200, {}, b"bytes" * 1000)
    async with IndexClient(
        PipConfig(indexes=(f"http://127.0.0.1:{server.port}/simple",)), tmp_path / "cache"
    ) as client:
        file = (await client.project("thing")).files[0]
        with pytest.raises(Refusal) as caught:
            await client.fetch(file)

    assert caught.value.code == "too-large"


async def test_an_unknown_package_and_a_silent_index_are_told_apart(server, tmp_path):
    here = f"http://127.0.0.1:{server.port}/simple"
    async with IndexClient(PipConfig(indexes=(here,)), tmp_path) as client:
        with pytest.raises(Refusal) as unknown:
            await client.project("nothing")
    async with IndexClient(PipConfig(indexes=("http://127.0.0.1:9/simple",)), tmp_path) as client:
        with pytest.raises(Refusal) as silent:
            await client.project("nothing")

    assert (unknown.value.code, silent.value.code) == ("package-unknown", "index-unreachable")


async def test_a_redirect_into_a_closed_network_is_not_followed(server, tmp_path):
    server.pages["/simple/thing/"] = (302, {"location": "http://127.0.0.1:9/secret"}, b"")
    async with IndexClient(
        PipConfig(indexes=(f"http://127.0.0.1:{server.port}/simple",)), tmp_path
    ) as client:
        with pytest.raises(Refusal) as caught:
            await client.project("thing")

    assert "loopback, private or link-local" in caught.value.what


def test_what_is_configured_is_open_and_pypi_is_one_service_under_two_names():
    files = ("files.pythonhosted.org", 443)
    assert open_hosts(["https://pypi.org/simple/"]) == {("pypi.org", 443), files}
    for others in (["https://index.example:8443/simple/"], ["http://pypi.org/simple/"], []):
        assert files not in open_hosts(others)


async def test_an_endless_redirect_ends(server, tmp_path):
    server.pages["/simple/thing/"] = (302, {"location": "/simple/thing/"}, b"")
    async with IndexClient(
        PipConfig(indexes=(f"http://127.0.0.1:{server.port}/simple",)), tmp_path
    ) as client:
        with pytest.raises(Refusal) as caught:
            await client.project("thing")

    assert "redirects" in caught.value.what
    assert len(server.asked) == 6


async def test_credentials_go_to_their_own_host_only_and_are_never_shown(server, tmp_path):
    async with trio.open_nursery() as nursery:
        other = Server()
        await nursery.start(other.run)
        server.pages["/simple/thing/"] = (
            302,
            {"location": f"http://127.0.0.1:{other.port}/simple/thing/"},
            b"",
        )
        other.page("thing", b"x")
        indexes = (
            f"http://user:secret@127.0.0.1:{server.port}/simple",
            f"http://127.0.0.1:{other.port}/simple",
        )
        async with IndexClient(PipConfig(indexes=indexes), tmp_path) as client:
            page = await client.project("thing")
            shown = client.indexes
        nursery.cancel_scope.cancel()

    assert "authorization" in server.asked[0][1]
    assert "authorization" not in other.asked[0][1]
    assert "secret" not in " ".join(shown) + page.index


async def test_a_page_of_a_stranger_does_not_make_us_read_local_files(server, tmp_path):
    secret = tmp_path / "secret.tar.gz"
    secret.write_bytes(b"secret")
    digest = hashlib.sha256(b"secret").hexdigest()
    files = [{"filename": "thing-1.0.tar.gz", "url": secret.as_uri(), "hashes": {"sha256": digest}}]
    body = json.dumps({"meta": {"api-version": "1.0"}, "name": "thing", "files": files}).encode()
    server.pages["/simple/thing/"] = (200, {"content-type": simple.JSON_TYPE}, body)
    async with IndexClient(
        PipConfig(indexes=(f"http://127.0.0.1:{server.port}/simple",)), tmp_path / "cache"
    ) as client:
        file = (await client.project("thing")).files[0]
        with pytest.raises(Refusal) as caught:
            await client.fetch(file)

    assert caught.value.code == "index-unreachable"


def test_the_sample_archives_are_the_same_bytes_on_every_run(tmp_path):
    from pyrsia.demo import sample

    sample.write_index(tmp_path / "one")
    sample.write_index(tmp_path / "two")
    made = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.tar.gz"))

    assert len(made) == 4
    for path in made:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()


async def test_a_page_older_than_the_moment_asked_about_is_read_again(server, tmp_path):
    server.page("thing", b"bytes")
    now = [1_000]
    config = PipConfig(indexes=(f"http://127.0.0.1:{server.port}/simple",))
    async with IndexClient(config, tmp_path / "cache", lambda: now[0]) as client:
        for since, requests in ((0, 1), (0, 1), (1_000, 1), (1_001, 2), (1_001, 3), (None, 4)):
            await client.project("thing", since)
            assert len(server.asked) == requests, since
        now[0] = 2_000
        await client.project("thing", 1_500)
        await client.project("thing", 2_000)

    assert len(server.asked) == 5


async def test_a_page_that_was_read_long_ago_is_read_again_whatever_is_asked(server, tmp_path):
    """What was uploaded or yanked since is then seen by a node that runs for weeks as by a new one."""
    server.page("thing", b"bytes")
    now = [1_000_000_000]
    config = PipConfig(indexes=(f"http://127.0.0.1:{server.port}/simple",))
    async with IndexClient(config, tmp_path / "cache", lambda: now[0]) as client:
        for passed_ms, requests in ((0, 1), (599_999, 1), (2, 2), (600_000, 2), (1, 3)):
            now[0] += passed_ms
            await client.project("thing", 0)
            assert len(server.asked) == requests, passed_ms


async def test_pages_in_memory_have_a_bound(server, tmp_path, monkeypatch):
    monkeypatch.setattr(index, "_PAGES", Limit(2, "a test"))
    for name in ("a", "b", "c"):
        server.page(name, b"bytes")
    config = PipConfig(indexes=(f"http://127.0.0.1:{server.port}/simple",))
    async with IndexClient(config, tmp_path / "cache") as client:
        for name in ("a", "b", "c", "c", "a"):
            await client.project(name)

    assert [path for path, _ in server.asked] == [f"/simple/{name}/" for name in "abca"]


def certificate(folder):
    """(certificate, key) of a server on 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an index")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem", folder / "key.pem"


async def test_an_https_index_is_believed_under_its_certificate_or_where_pip_was_told_to(tmp_path):
    cert, key = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    found = Server()
    found.page("thing", b"bytes")

    async def serve(stream):
        with suppress(trio.BrokenResourceError):
            await found._serve(trio.SSLStream(stream, context, server_side=True, https_compatible=True))

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        url = f"https://127.0.0.1:{port}/simple"
        for trust in (
            {"cert": str(cert)},
            {"trusted_hosts": ("127.0.0.1",)},
            {"trusted_hosts": (f"127.0.0.1:{port}",)},
        ):
            async with IndexClient(PipConfig(indexes=(url,), **trust), tmp_path / "cache") as client:
                assert (await client.fetch((await client.project("thing")).files[0])).read_bytes() == b"bytes"
        async with IndexClient(PipConfig(indexes=(url,)), tmp_path / "none") as client:
            with pytest.raises(Refusal) as stranger:
                await client.project("thing")
        nursery.cancel_scope.cancel()

    assert stranger.value.code == "index-unreachable"
    assert "certificate" in stranger.value.what.lower()


async def test_a_certificate_file_that_is_not_there_is_said_so(server, tmp_path):
    config = PipConfig(indexes=(f"http://127.0.0.1:{server.port}/simple",), cert=str(tmp_path / "none.pem"))
    async with IndexClient(config, tmp_path / "cache") as client:
        with pytest.raises(Refusal) as caught:
            await client.project("thing")

    assert caught.value.code == "config-invalid"


def test_the_files_that_were_not_asked_for_longest_go_first_and_fresh_ones_stay(tmp_path):
    now = time.time()
    for name, age in (("old", 9_000), ("older", 10_000), ("recent", 5_000), ("fresh", 10)):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (now - age, now - age))

    cache.trim(tmp_path, 400, 3_600)
    assert len(list(tmp_path.iterdir())) == 4
    cache.trim(tmp_path, 250, 3_600)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "recent"]
    cache.trim(tmp_path, 0, 3_600)
    assert [path.name for path in tmp_path.iterdir()] == ["fresh"]


async def test_a_file_that_was_dropped_is_fetched_again(server, tmp_path):
    server.page("thing", b"bytes")
    config = PipConfig(indexes=(f"http://127.0.0.1:{server.port}/simple",))
    async with IndexClient(config, tmp_path / "cache") as client:
        file = (await client.project("thing")).files[0]
        (await client.fetch(file)).unlink()
        assert (await client.fetch(file)).read_bytes() == b"bytes"


async def test_a_cache_that_cannot_be_written_is_the_machine_s_fault_and_no_crash(server, tmp_path):
    server.page("thing", b"bytes")
    (tmp_path / "cache").write_text("a file where the folder should be")
    config = PipConfig(indexes=(f"http://127.0.0.1:{server.port}/simple",))
    async with IndexClient(config, tmp_path / "cache") as client:
        file = (await client.project("thing")).files[0]
        with pytest.raises(Unavailable, match="cannot be kept"):
            await client.fetch(file)
