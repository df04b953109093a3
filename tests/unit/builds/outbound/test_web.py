"""The outbound rules in one place: where a fetch may go, what a redirect may do, who sees credentials."""

import base64
import socket
from contextlib import suppress

import httpx
import pytest
import trio

from pyrsia.builds.outbound import addresses, transport, web
from pyrsia.builds.outbound.addresses import address_allowed, check_host, origin_of
from pyrsia.builds.outbound.settings import Blame, Outbound
from pyrsia.builds.outbound.web import Web, stored
from pyrsia.errors import Malformed, Refusal
from pyrsia.units import Limit
from tests.reference.garbage import collected
from tests.reference.waiting import until
from tests.unit.builds.outbound.upstream import serving

SETTINGS = Outbound(netrc=False)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(web, "INDEX_ATTEMPTS", Limit(1, "a test"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


async def body(client, url, **more):
    async with client.get(url, accept="*/*", limit=more.pop("limit", 1 << 20), **more) as response:
        return b"".join([piece async for piece in stored(response)])


async def refused(settings, url, **more):
    async with Web(settings) as client:
        with pytest.raises(Refusal) as caught:
            await body(client, url, **more)
    return caught.value


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.1",
        "192.0.0.8", "198.18.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "::ffff:10.0.0.1", "::7f00:1",
        "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:f5ff:fffe", "fc00::1", "fe80::1%eth0",
        "fec0::1", "ff02::1", "64:ff9b:1::7f00:1", "::ffff:0:7f00:1", "::ffff:0:a00:1", "100::1", "2001:db8::1",
        "3fff::1",
        "5f00::1", "2001:10::1", "2001:2::1", "192.0.2.1", "192.88.99.1", "198.51.100.1", "203.0.113.1",
    ],
)  # fmt: skip
def test_closed_networks_are_closed_however_they_are_written(address):
    assert not address_allowed(address)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "172.32.0.1", "2606:4700::1", "64:ff9b::101:101", "2002:101:101::", "::ffff:0:101:101"],
)
def test_the_open_internet_is_open(address):
    assert address_allowed(address)


@pytest.mark.parametrize("dot", ["\u3002", "\uff0e", "\uff61", "%2e"])
def test_a_host_that_only_idna_or_percent_codes_make_an_address_has_no_origin(dot):
    """A proxy is asked for what they make of it, so that nobody else would look at the address."""
    with pytest.raises(Malformed, match="ASCII form"):
        origin_of(f"http://169.254.169{dot}254/latest/meta-data")
    assert origin_of("http://[fe80::1%25eth0]:81/") == ("http", "fe80::1%25eth0", 81)
    assert origin_of("https://xn--bcher-kva.example/") == ("https", "xn--bcher-kva.example", 443)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.",
        "x.localhost",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "[::1]".strip("[]"),
    ],
)
def test_this_machine_is_refused_by_every_name_before_a_proxy_could_reach_it(host):
    with pytest.raises(addresses.Forbidden, match="not configured here"):
        check_host(host, 80, frozenset())
    check_host(host.lower().rstrip("."), 80, frozenset({(host.lower().rstrip("."), 80)}))
    check_host("one.example", 80, frozenset())


async def test_only_the_configured_port_of_a_private_host_is_open(monkeypatch):
    async with serving() as one, serving() as two:
        one.page("/a", b"a")
        two.page("/a", b"a")
        settings = SETTINGS.configured([one.url])
        async with Web(settings) as client:
            assert await body(client, f"{one.url}/a") == b"a"
        error = await refused(settings, f"{two.url}/a")

    assert error.code == "source-unreachable"
    assert "is a loopback, private or link-local address and is not configured here" in error.what
    assert "pip" not in str(error)
    assert two.asked == []


async def test_a_name_is_resolved_once_and_the_checked_address_is_the_one_that_is_asked(monkeypatch):
    """DNS rebinding: a name that is public when it is checked and private when it is dialled."""
    answers, dialled = [["93.184.216.34"], ["127.0.0.1"], ["127.0.0.1"]], []

    async def resolve(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in answers.pop(0)]

    async def dial(self, host, *_, **__):
        dialled.append(host)
        raise addresses.httpcore.ConnectError("nobody is there")

    monkeypatch.setattr(trio.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(addresses.httpcore.AnyIOBackend, "connect_tcp", dial)
    first = await refused(SETTINGS, "http://rebinding.example/a")
    second = await refused(SETTINGS, "http://rebinding.example/a")

    assert "nobody is there" in first.what
    assert dialled == ["93.184.216.34"]
    assert "not configured here" in second.what
    assert len(answers) == 1


async def test_a_name_with_one_private_address_among_others_is_refused(monkeypatch):
    async def resolve(host, port, **_):
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in ("93.184.216.34", "10.0.0.1")
        ]

    monkeypatch.setattr(trio.socket, "getaddrinfo", resolve)
    assert "not configured here" in (await refused(SETTINGS, "http://mixed.example/a")).what


async def test_every_hop_of_a_redirect_is_checked_anew(monkeypatch):
    monkeypatch.setattr(web, "INDEX_REDIRECTS", Limit(3, "a test"))
    async with serving() as one, serving() as closed:
        for path, target in {
            "/ok": "/a",
            "/private": f"{closed.url}/a",
            "/metadata": "http://169.254.169.254/latest/meta-data",
            "/file": "file:///etc/passwd",
            "/gopher": "gopher://127.0.0.1:70/x",
            "/loop": "/loop",
            "/none": "http://one.example:port/",
            "/many": "http://one.example:99999/",
            "/empty": "http://a..b/",
            "/dot": "http://.one.example/",
            "/long": f"http://{'a' * 64}.example/",
            "/longer": f"http://{'a.' * 140}example/",
            "/idna": "http://xn--0/",
        }.items():
            one.pages[path] = (302, {"location": target}, b"")
        one.page("/a", b"a")
        settings = SETTINGS.configured([one.url])
        async with Web(settings) as client:
            assert await body(client, f"{one.url}/ok") == b"a"
        said = {
            path: (await refused(settings, f"{one.url}{path}")).what
            for path in one.pages
            if path not in ("/ok", "/a")
        }

    assert "not configured here" in said["/private"]
    assert "not configured here" in said["/metadata"]
    assert "neither http nor https" in said["/file"]
    assert "neither http nor https" in said["/gopher"]
    assert "more than 3 redirects" in said["/loop"]
    assert "Invalid URL" in said["/none"]
    assert "cannot be read" in said["/many"]
    for path in ("/empty", "/dot", "/long", "/longer"):
        assert "empty or too long" in said[path]
    assert said["/idna"]
    assert closed.asked == []


async def test_https_is_never_left_for_http(monkeypatch):
    def answer(request):
        return httpx.Response(302, headers={"location": "http://one.example/a"})

    made = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    monkeypatch.setattr(web, "make_client", lambda *_, **__: made)
    assert "from https to http" in (await refused(SETTINGS, "https://one.example/a")).what


async def test_credentials_go_to_the_origin_that_they_were_written_for(tmp_path, monkeypatch):
    async with serving() as mine, serving() as other:
        for path in ("/to-other", "/to-me"):
            mine.pages[path] = (302, {"location": f"{other.url if path == '/to-other' else mine.url}/a"}, b"")
        mine.page("/a", b"a")
        other.page("/a", b"a")
        url = mine.url.replace("://", "://me:h%40sh@")
        async with Web(SETTINGS.configured([url, other.url])) as client:
            for path in ("/to-other", "/to-me"):
                await body(client, f"{url}{path}")
        own = httpx.BasicAuth("this", "call")
        async with Web(SETTINGS.configured([mine.url, other.url])) as client:
            await body(client, f"{mine.url}/to-other", auth=own)

    sent = [(target, heads.get("authorization", "")) for _, target, heads, _ in mine.asked]
    basic = "Basic " + base64.b64encode(b"me:h@sh").decode()
    assert sent[:3] == [("/to-other", basic), ("/to-me", basic), ("/a", basic)]
    assert sent[3][1] == "Basic " + base64.b64encode(b"this:call").decode()
    assert ["authorization" in heads for _, _, heads, _ in other.asked] == [False, False]


async def test_a_client_certificate_is_shown_to_configured_hosts_only(monkeypatch):
    made = []

    def note(settings, *, trusted, own):
        made.append((trusted, own))
        return httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, content=b"a")))

    monkeypatch.setattr(web, "make_client", note)
    settings = Outbound(netrc=False, trusted_hosts=("two.example",)).configured(["https://one.example"])
    async with Web(settings) as client:
        for host in ("one.example", "two.example", "three.example"):
            async with client.get(f"https://{host}/a", accept="*/*", limit=9) as response:
                assert response.status_code == 200
    assert made == [(False, True), (True, False), (False, False)]
    assert transport._tls(Outbound(client_cert="/none/at/all"), False, False) is not None
    with pytest.raises(Refusal) as caught:
        transport._tls(Outbound(client_cert="/none/at/all"), False, True)
    assert caught.value.code == "config-invalid"


async def test_this_machine_is_not_asked_for_through_a_proxy():
    async with serving() as proxy:
        proxy.page("http://one.example/a", b"a")
        settings = Outbound(netrc=False, proxy=proxy.url)
        async with Web(settings) as client:
            assert await body(client, "http://one.example/a") == b"a"
        error = await refused(settings, "http://169.254.169.254/latest")

    assert "not configured here" in error.what
    assert proxy.times("http://169.254.169.254/latest") == 0


async def test_a_refusal_blames_who_was_asked_and_hides_credentials():
    blame = Blame("index-unreachable", "the Maven repositories of your settings", "look into settings.xml")
    error = await refused(Outbound(netrc=False, blame=blame), "http://me:hush@127.0.0.1:9/a?token=x")

    assert (error.code, error.who, error.do) == ("index-unreachable", blame.who, blame.do)
    assert "hush" not in str(error)
    assert "token" not in str(error)


async def test_a_question_with_a_body_follows_redirects_with_the_same_checks():
    async with serving() as one, serving() as closed:
        one.pages["/moved"] = (301, {"location": "/ask"}, b"")
        one.pages["/away"] = (307, {"location": f"{closed.url}/ask"}, b"")
        one.page("/ask", b"answer")
        async with Web(SETTINGS.configured([one.url])) as client:
            async with client.post(f"{one.url}/moved", b"question", headers={}, limit=100) as response:
                assert await response.aread() == b"answer"
            with pytest.raises(Refusal, match="not configured here"):
                async with client.post(f"{one.url}/away", b"question", headers={}, limit=100):
                    pass

    assert [(method, sent) for method, _, _, sent in one.asked] == [("POST", b"question")] * 3
    assert closed.asked == []


async def test_an_answer_that_is_too_large_or_no_answer_is_refused():
    async with serving() as one:
        one.page("/large", bytes(101))
        one.pages["/no"] = (403, {}, b"secret")
        settings = SETTINGS.configured([one.url])
        large = await refused(settings, f"{one.url}/large", limit=100)
        no = await refused(settings, f"{one.url}/no")
        async with Web(settings) as client:
            async with client.get(f"{one.url}/missing", accept="*/*", limit=9, missing_ok=True) as response:
                assert response.status_code == 404

    assert large.code == "too-large"
    assert "the answer was 403" in no.what
    assert "secret" not in str(no)


def test_a_host_is_a_name_that_a_resolver_takes():
    for host in ("one.example", "one.example.", "a" * 63 + ".example", "_srv.one.example", "127.0.0.1", "a"):
        assert origin_of(f"https://{host}/")[1] == host
    for host in ("one..example", ".example", "one.example..", "a" * 64 + ".example", "a." * 127 + "b", "."):
        with pytest.raises(Malformed, match="empty or too long"):
            origin_of(f"https://{host}/")


async def test_whatever_a_resolver_thinks_of_a_name_is_a_refusal(monkeypatch):
    async def resolve(*_, **__):
        raise UnicodeError("label empty or too long")

    monkeypatch.setattr(trio.socket, "getaddrinfo", resolve)
    assert "does not resolve" in (await refused(SETTINGS, "https://one.example/")).what

    async def send(*_, **__):
        raise UnicodeError("no name")

    monkeypatch.setattr(httpx.AsyncClient, "send", send)
    assert "no name" in (await refused(SETTINGS, "https://one.example/")).what


def test_what_is_no_address_cannot_be_configured():
    with pytest.raises(Malformed):
        SETTINGS.configured(["ftp://one.example"])


class Deaf:
    """A receiver that reads the head of a request and then nothing, or hangs up.

    Attributes: heads: how many it read so far; hangs_up: it does, without an answer.
    """

    def __init__(self, hangs_up):
        self.hangs_up, self.heads = hangs_up, 0

    async def __call__(self, stream):
        got = b""
        while b"\r\n\r\n" not in got:
            got += bytes(await stream.receive_some(1_024))
        self.heads += 1
        if not self.hangs_up:
            await trio.sleep_forever()
        await stream.aclose()


def opened(port):
    return Web(Outbound(netrc=False, open_hosts=frozenset({("127.0.0.1", port)})))


@pytest.mark.parametrize("hangs_up", [False, True])
@pytest.mark.parametrize("method", ["tell", "post", "put"])
async def test_a_body_that_is_not_sent_to_its_end_leaves_nothing_open(method, hangs_up):
    """A generator that nobody closes is a warning of trio's, and so an error here, once it is collected."""
    more = {} if method == "tell" else {"limit": 1 << 20}
    deaf, listeners = Deaf(hangs_up), await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    client = opened(port)

    async def call():
        asked = getattr(client, method)(f"http://127.0.0.1:{port}/", bytes(8 << 20), headers={}, **more)
        with suppress(Refusal):
            async with asked:
                pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, deaf, listeners)
        with collected():
            async with client:
                for count in range(1, 11):
                    async with trio.open_nursery() as calls:
                        calls.start_soon(call)
                        await until(lambda count=count: deaf.heads >= count)
                        if not hangs_up:
                            calls.cancel_scope.cancel()
        nursery.cancel_scope.cancel()
    assert deaf.heads == 10


async def test_a_body_that_is_cancelled_before_its_first_byte_leaves_nothing_open():
    with collected():  # what was left open warns then
        async with serving() as server, opened(server.port) as client:
            for steps in range(40):  # each step of a call once, the one before its body is written among them
                async with trio.open_nursery() as calls:

                    async def call():
                        async with client.tell(server.url + "/", b"{}", headers={}):
                            pass

                    calls.start_soon(call)
                    for _ in range(steps):
                        await trio.lowlevel.checkpoint()
                    calls.cancel_scope.cancel()
    assert server.asked
    assert {(heads["content-length"], body) for _, _, heads, body in server.asked} == {("2", b"{}")}
