"""The recording proxy: what it gives, what it writes down, and what a hostile program inside gets for its pains."""

import gzip
import hashlib
import os
import stat
from contextlib import asynccontextmanager

import h11
import pytest
import trio

from pyrsia.builds.outbound import proxy as proxies
from pyrsia.builds.outbound import serving as bounds
from pyrsia.builds.outbound.proxy import Fetched, ProxyLimits, RecordingProxy, Remote
from pyrsia.builds.outbound.settings import Outbound
from pyrsia.builds.outbound.web import Web
from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.units import Limit
from tests.reference.waiting import bounded
from tests.unit.builds.outbound.upstream import Upstream, serving

JAR = b"jar" * 50_000


@pytest.fixture
async def upstream():
    async with serving() as found:
        found.page("/maven2/g/a/1/a-1.jar", JAR)
        found.page("/maven2/g/a/maven-metadata.xml", b"<metadata/>", "text/xml")
        yield found


@asynccontextmanager
async def proxied(upstream, folder, remotes=None, **limits):
    web = Web(Outbound(netrc=False).configured([upstream.url]))
    remotes = remotes or {"central": f"{upstream.url}/maven2"}
    async with web, RecordingProxy(web, remotes, folder / "cache", ProxyLimits(**limits)) as proxy:
        yield proxy


async def raw(proxy, data, *, parts=None):
    """Everything that comes back for these bytes, until the proxy closes."""
    stream = await trio.open_unix_socket(str(proxy.socket))
    async with stream:
        try:
            for part in [data] if parts is None else parts:
                await stream.send_all(part)
            if parts is None:
                await stream.send_eof()
        except trio.BrokenResourceError:
            pass  # it has hung up on us already, and may have said why
        found = b""
        with bounded():
            try:
                while piece := await stream.receive_some(65_536):
                    found += piece
            except trio.BrokenResourceError:
                pass
        return found


async def ask(proxy, target, method="GET", headers=(), body=b""):
    """(status, headers, body) of one well-formed request."""
    http = h11.Connection(h11.CLIENT)
    told = [("host", "127.0.0.1:7999"), *headers]
    if body:
        told.append(("content-length", str(len(body))))
    async with await trio.open_unix_socket(str(proxy.socket)) as stream:
        await stream.send_all(http.send(h11.Request(method=method, target=target, headers=told)))
        if body:
            await stream.send_all(http.send(h11.Data(data=body)))
        await stream.send_all(http.send(h11.EndOfMessage()))
        response, found = None, b""
        with bounded():
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    http.receive_data(bytes(await stream.receive_some(65_536)))
                elif isinstance(event, h11.Response):
                    response = event
                elif isinstance(event, h11.Data):
                    found += bytes(event.data)
                else:
                    heads = {name.decode(): value.decode() for name, value in response.headers}
                    return response.status_code, heads, found


async def test_what_was_given_out_stands_in_the_record_with_its_digest_and_its_file(upstream, tmp_path):
    async with proxied(upstream, tmp_path) as proxy:
        status, heads, body = await ask(proxy, "/central/g/a/1/a-1.jar")
        page = await ask(proxy, "/central/g/a/maven-metadata.xml")
        missing = await ask(proxy, "/central/g/a/1/a-1.pom")

    assert (status, body) == (200, JAR)
    assert page[1]["content-type"] == "text/xml"
    assert missing[0] == 404
    assert proxy.record == [
        Fetched("central", "g/a/1/a-1.jar", hashlib.sha256(JAR).hexdigest(), len(JAR), proxy.record[0].file),
        Fetched(
            "central", "g/a/maven-metadata.xml", hashlib.sha256(b"<metadata/>").hexdigest(), 11, tmp_path
        ),
    ]
    assert proxy.record[0].file.read_bytes() == JAR
    assert proxy.record[0].file == tmp_path / "cache" / proxy.record[0].sha256
    assert (proxy.refused, proxy.trouble) == ((), None)
    assert not proxy.socket.exists()
    assert heads["content-length"] == str(len(JAR))


async def test_the_same_path_gives_the_same_bytes_whatever_the_remote_says_later(upstream, tmp_path):
    async with proxied(upstream, tmp_path) as proxy:
        first = await ask(proxy, "/central/g/a/maven-metadata.xml")
        upstream.page("/maven2/g/a/maven-metadata.xml", b"<another/>")
        upstream.page("/maven2/g/late", b"late")
        second = await ask(proxy, "/central/g/a/maven-metadata.xml")
        other_spelling = await ask(proxy, "/central/g/%61/maven%2Dmetadata.xml")

    assert first[2] == second[2] == other_spelling[2] == b"<metadata/>"
    assert upstream.times("/maven2/g/a/maven-metadata.xml") == 1


async def test_many_who_ask_at_once_share_one_fetch(upstream, tmp_path):
    found = []
    async with proxied(upstream, tmp_path) as proxy, trio.open_nursery() as nursery:

        async def one():
            found.append(await ask(proxy, "/central/g/a/1/a-1.jar"))

        for _ in range(12):
            nursery.start_soon(one)

    assert [body for _, _, body in found] == [JAR] * 12
    assert upstream.times("/maven2/g/a/1/a-1.jar") == 1


async def test_a_head_is_answered_from_the_same_bytes_and_is_no_input(upstream, tmp_path):
    async with proxied(upstream, tmp_path) as proxy:
        status, heads, body = await ask(proxy, "/central/g/a/1/a-1.jar", "HEAD")
        only_looked_at = proxy.record
        await ask(proxy, "/central/g/a/1/a-1.jar")

    assert (status, heads["content-length"], body) == (200, str(len(JAR)), b"")
    assert only_looked_at == []
    assert len(proxy.record) == 1


async def test_a_hook_takes_away_what_is_younger_or_refuses(upstream, tmp_path):
    async def cut(answered):
        if answered.path.endswith(".xml"):
            return b"<older/>"
        if answered.path.endswith("/none"):
            raise Malformed("it says nothing")
        if answered.path.endswith("/later"):
            raise Unavailable("its time is not known now")
        if answered.size > 5:
            raise Refusal("too-old", what="it came after the cut-off", who="the remote", do="wait")
        return None

    upstream.page("/maven2/small", b"small")
    upstream.page("/maven2/a/none", b"")
    upstream.page("/maven2/a/later", b"")
    remotes = {"central": Remote(f"{upstream.url}/maven2", cut=cut)}
    async with proxied(upstream, tmp_path, remotes) as proxy:
        answers = [
            await ask(proxy, f"/central/{path}")
            for path in ("g/a/maven-metadata.xml", "small", "g/a/1/a-1.jar", "a/none", "a/later")
        ]

    assert [(status, body) for status, _, body in answers[:2]] == [(200, b"<older/>"), (200, b"small")]
    assert [status for status, _, _ in answers[2:]] == [502, 502, 502]
    assert [(one.path, one.sha256) for one in proxy.record] == [
        ("g/a/maven-metadata.xml", hashlib.sha256(b"<older/>").hexdigest()),
        ("small", hashlib.sha256(b"small").hexdigest()),
    ]
    assert any("after the cut-off" in why for why in proxy.refused)
    assert proxy.trouble is not None  # of the three, one is no rule of ours but the world
    assert proxy.trouble.what == "prefetch: central gave no usable answer for a/later"


async def test_a_remote_that_fails_is_a_502_that_names_no_host_inside_and_all_of_it_outside(
    upstream, tmp_path
):
    upstream.pages["/maven2/broken"] = (403, {}, b"secret words")
    upstream.pages["/maven2/away"] = (302, {"location": "http://169.254.169.254/latest"}, b"")
    async with proxied(upstream, tmp_path) as proxy:
        broken = await ask(proxy, "/central/broken")
        away = await ask(proxy, "/central/away")

    assert (broken[0], away[0]) == (502, 502)
    assert proxy.trouble is not None
    assert (proxy.trouble.code, proxy.trouble.what) == (
        "index-unreachable",
        "prefetch: central gave no usable answer for broken",
    )
    assert b"127.0.0.1" not in broken[2] + away[2]
    assert b"secret" not in broken[2]
    assert any("169.254.169.254 is a loopback, private or link-local address" in why for why in proxy.refused)
    assert proxy.record == []


async def test_credentials_stay_with_us_and_with_their_own_origin(tmp_path):
    async with serving() as private, serving() as stranger:
        private.page("/repo/a", b"a")
        private.pages["/repo/b"] = (302, {"location": f"{stranger.url}/b"}, b"")
        stranger.page("/b", b"b")
        url = f"http://me:hush@127.0.0.1:{private.port}/repo"
        web = Web(Outbound(netrc=False).configured([url, stranger.url]))
        async with web, RecordingProxy(web, {"own": url}, tmp_path) as proxy:
            answers = [await ask(proxy, "/own/a"), await ask(proxy, "/own/b")]

    assert [body for _, _, body in answers] == [b"a", b"b"]
    assert "authorization" in private.asked[0][2]
    assert "authorization" not in stranger.asked[0][2]
    assert "hush" not in repr(answers)


async def test_a_filter_says_what_of_a_remote_may_be_asked(upstream, tmp_path):
    only = Remote(f"{upstream.url}/maven2", allowed=lambda path: path.endswith(".xml"))
    async with proxied(upstream, tmp_path, {"central": only}) as proxy:
        answers = [await ask(proxy, f"/central/g/a/{path}") for path in ("maven-metadata.xml", "1/a-1.jar")]

    assert [status for status, _, _ in answers] == [200, 403]
    assert upstream.times("/maven2/g/a/1/a-1.jar") == 0


async def test_git_is_asked_its_own_questions_and_nothing_else(upstream, tmp_path):
    advert = "/r.git/info/refs?service=git-upload-pack"
    upstream.page(advert, b"0000", "application/x-git-upload-pack-advertisement")
    upstream.page("/r.git/git-upload-pack", b"PACK", "application/x-git-upload-pack-result")
    remotes = {"source": Remote(f"{upstream.url}/r.git", git=True), "plain": f"{upstream.url}/r.git"}
    kind = ("content-type", "application/x-git-upload-pack-request")
    zipped = ("content-encoding", "gzip")
    async with proxied(upstream, tmp_path, remotes) as proxy:
        good = [
            await ask(proxy, "/source/info/refs?service=git-upload-pack"),
            await ask(proxy, "/source/git-upload-pack", "POST", [kind], b"0014command=ls-refs"),
            await ask(proxy, "/source/git-upload-pack", "POST", [kind, zipped], gzip.compress(b"0000")),
        ]
        bad = [
            await ask(proxy, "/source/info/refs?service=git-receive-pack"),
            await ask(proxy, "/source/objects/info/packs"),
            await ask(proxy, "/source/git-receive-pack", "POST", [kind], b"x"),
            await ask(proxy, "/source/info/lfs/objects/batch", "POST", [kind], b"{}"),
            await ask(proxy, "/plain/git-upload-pack", "POST", [kind], b"x"),
            await ask(proxy, "/source/git-upload-pack", "POST", [], b"x"),
        ]

    assert [(status, body) for status, _, body in good] == [(200, b"0000"), (200, b"PACK"), (200, b"PACK")]
    assert [status for status, _, _ in bad] == [403] * 6
    assert [(method, body) for method, _, _, body in upstream.asked[1:]] == [
        ("POST", b"0014command=ls-refs"),
        ("POST", upstream.asked[2][3]),
    ]
    assert gzip.decompress(upstream.asked[2][3]) == b"0000"
    assert all(heads["git-protocol"] == "version=2" for _, _, heads, _ in upstream.asked)
    assert proxy.record == []


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"CONNECT pypi.org:443 HTTP/1.1\r\nhost: pypi.org:443\r\n\r\n", 405),
        (b"GET http://127.0.0.1:7999/central/x HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", 403),
        (b"GET http://evil.example/x HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", 403),
        (b"GET //evil.example/x HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", 403),
        (b"OPTIONS * HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", 405),
        (b"PUT /central/x HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1\r\n\r\nx", 405),
        (b"POST /central/x HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1\r\n\r\nx", 403),
        (b"GET /central/x HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1\r\n\r\nx", 400),
        (b"GET /central/x HTTP/1.1\r\nhost: evil.example\r\n\r\n", 421),
        (b"GET /central/x HTTP/1.1\r\nhost: 127.0.0.1:7999@evil.example\r\n\r\n", 421),
        (b"GET /central/x HTTP/1.1\r\nhost: 127.0.0.1\r\nhost: evil.example\r\n\r\n", 400),
        (b"GET /central/x HTTP/1.1\r\n\r\n", 400),
        (b"GET /central/x HTTP/1.0\r\nhost: 127.0.0.1\r\n\r\n", 505),
        (b"GET /central/x HTTP/1.1\r\nhost: 127.0.0.1\r\nx: " + b"y" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"y" * 40_000, 431),
        (b"GET /central/x HTTP/1.1\r\nhost: 127.0.0.1\r\nbad header\r\n\r\n", 400),
        (
            b"GET /central/x HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"
            b"0\r\n\r\nGET /central/y HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
            404,
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 405),
    ],
)
async def test_a_hostile_request_gets_a_sentence_and_leads_nowhere(upstream, tmp_path, request_, status):
    async with proxied(upstream, tmp_path) as proxy:
        said = await raw(proxy, request_)
        still = await ask(proxy, "/central/g/a/maven-metadata.xml")

    assert said.startswith(b"HTTP/1.1 %d " % status), said[:200]
    assert still[0] == 200
    assert {target.partition("?")[0] for _, target, _, _ in upstream.asked} <= {
        "/maven2/x",
        "/maven2/y",
        "/maven2/g/a/maven-metadata.xml",
    }
    assert all(heads["host"] == f"127.0.0.1:{upstream.port}" for _, _, heads, _ in upstream.asked)


async def test_requests_sent_ahead_are_answered_one_by_one_and_hold_no_more_than_a_buffer(
    upstream, tmp_path, monkeypatch
):
    monkeypatch.setattr(bounds, "REQUESTS", Limit(5, "a test"))
    one = b"GET /central/g/a/maven-metadata.xml HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
    async with proxied(upstream, tmp_path) as proxy:
        said = await raw(proxy, one * 50)

    assert said.count(b"HTTP/1.1 200 ") == 5


async def test_who_says_nothing_sends_slowly_or_does_not_read_is_left_after_a_while(
    upstream, tmp_path, monkeypatch
):
    def patience(**seconds):
        for name, value in {"HEAD_S": 60, "IDLE_S": 60, "SEND_S": 60, **seconds}.items():
            monkeypatch.setattr(bounds, name, Limit(value, "a test"))

    upstream.page("/maven2/large", bytes(4 << 20))
    async with proxied(upstream, tmp_path) as proxy:
        patience(IDLE_S=0)
        nothing = await raw(proxy, b"", parts=[])
        patience(HEAD_S=0)
        slow = await raw(proxy, b"GET /central/")
        patience(SEND_S=0)
        cut = await raw(proxy, b"GET /central/large HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")

    assert nothing == b""
    assert slow.startswith(b"HTTP/1.1 408 ")
    assert len(cut) < 4 << 20
    assert any("not whole" in why for why in proxy.refused)


async def test_the_bounds_of_one_planning_hold(upstream, tmp_path):
    for number in range(6):
        upstream.page(f"/maven2/{number}", bytes(1_000))
    async with proxied(upstream, tmp_path, requests=3) as proxy:
        by_count = [(await ask(proxy, f"/central/{number}"))[0] for number in range(6)]
        again = (await ask(proxy, "/central/0"))[0]
    async with proxied(upstream, tmp_path, total_bytes=2_500) as proxy:
        by_bytes = [(await ask(proxy, f"/central/{number}"))[0] for number in range(6)]
    async with proxied(upstream, tmp_path, file_bytes=999) as proxy:
        by_size = (await ask(proxy, "/central/0"))[0]
    async with proxied(upstream, tmp_path, seconds=0) as proxy:
        by_time = (await ask(proxy, "/central/0"))[0]

    assert by_count == [200, 200, 200, 403, 403, 403]
    assert again == 200
    assert by_bytes[:2] == [200, 200]
    assert set(by_bytes[2:]) <= {403, 502}
    assert (by_size, by_time) == (502, 502)


async def test_an_answer_without_a_length_is_cut_while_it_is_read(upstream, tmp_path):
    upstream.pages["/maven2/endless"] = (200, {"transfer-encoding": "chunked"}, bytes(5_000))
    async with proxied(upstream, tmp_path, file_bytes=4_000) as proxy:
        status, _, _ = await ask(proxy, "/central/endless")

    assert status == 502
    assert proxy.record == []
    assert list((tmp_path / "cache").iterdir()) == []


async def test_more_connections_than_places_wait_their_turn(upstream, tmp_path):
    async with proxied(upstream, tmp_path, connections=2) as proxy:
        async with await trio.open_unix_socket(str(proxy.socket)) as one:
            await one.send_all(b"GET /central/")
            answers = [await ask(proxy, "/central/g/a/maven-metadata.xml") for _ in range(5)]

    assert [status for status, _, _ in answers] == [200] * 5


async def test_refusals_are_listed_and_the_list_has_a_bound(upstream, tmp_path, monkeypatch):
    monkeypatch.setattr(proxies, "_REFUSED", Limit(3, "a test"))
    async with proxied(upstream, tmp_path) as proxy:
        said = [await ask(proxy, "/elsewhere/x") for _ in range(6)]

    assert {status for status, _, _ in said} == {403}
    assert said[0][2] == b"there is no remote elsewhere here; there are: central\n"
    assert len(proxy.refused) == 3


async def test_what_the_run_raises_comes_out_as_it_is_and_the_socket_goes(upstream, tmp_path):
    sockets = []

    async def run():
        async with proxied(upstream, tmp_path) as proxy, await trio.open_unix_socket(str(proxy.socket)):
            sockets.append(proxy.socket)
            raise Refusal("build-failed", what="it fails", who="a test", do="nothing")

    with pytest.raises(Refusal) as caught:
        await run()

    assert caught.value.what == "it fails"
    assert not sockets[0].parent.exists()


async def test_the_way_out_is_this_users_alone(upstream, tmp_path):
    async with proxied(upstream, tmp_path) as proxy:
        folder = os.stat(proxy.socket.parent)
        long = len(os.fsencode(proxy.socket))

    assert stat.S_IMODE(folder.st_mode) == 0o700
    assert folder.st_uid == os.getuid()
    assert long <= 100


def test_a_remote_has_a_plain_name():
    with pytest.raises(ValueError, match="cannot name a remote"):
        RecordingProxy(Web(Outbound()), {"../x": "https://one.example"}, Upstream)
