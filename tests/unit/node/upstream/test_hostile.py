"""Bad answers of upstream's: what leads inside, what is packed to burst, what never ends. Nothing of it is kept."""

import base64
import gzip
import zlib

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrsia.builds.pip.config import PipConfig
from pyrsia.errors import PyrsiaError, Refusal
from pyrsia.node.upstream import asking, pages
from pyrsia.node.upstream.pip import PackageIndexes
from pyrsia.units import Limit
from pyrsia.wire import purl as purls
from tests.reference.waiting import until
from tests.unit.node.upstream.toy import (
    JSON_TYPE,
    SIX,
    in_front,
    listening,
    page,
    plain,
    whole,
)

pytestmark = pytest.mark.usefixtures("bare_environment")
JAR = "org/acme/lib/1.0/lib-1.0.jar"
LIB = "pkg:maven/org.acme/lib"


@pytest.fixture
async def up():
    async with listening() as found:
        yield found


@pytest.fixture
async def inside():
    """Another server of this machine, which nobody configured."""
    async with listening() as found:
        found.says |= dict.fromkeys(("/", "/x", "/simple/six/", f"/m2/{JAR}"), plain(b"secret"))
        yield found


@pytest.fixture
async def front(up, tmp_path):
    ups = {"pip": (f"{up.url}/simple",), "maven": (f"{up.url}/m2",), "oci": (up.url,), "conan": (up.url,)}
    async with in_front(tmp_path, ups) as found:
        yield found


async def refused(asked):
    with pytest.raises(Refusal) as caught:
        await asked
    return caught.value


PLACES = [
    "http://127.0.0.1:{port}/x", "http://localhost:{port}/x", "http://[::ffff:127.0.0.1]:{port}/x",
    "http://127.1:{port}/x", "http://2130706433:{port}/x", "http://[::1]:{port}/x", "http://0.0.0.0:{port}/x",
    "http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://[fe80::1]/", "http://192.168.1.1/",
    "file:///etc/passwd", "gopher://127.0.0.1:{port}/x", "//127.0.0.1:{port}/x", "http://", "http://[", "",
    "http://user:word@127.0.0.1:{port}/x", "ftp://127.0.0.1/x", "\x00", "http://127.0.0.1:99999/",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
async def test_a_redirect_leads_to_no_closed_address(up, front, inside, place):
    location = place.format(port=inside.port)
    says = plain(b"", "302 Found", location=location)
    up.says |= {"/simple/six/": says, f"/m2/{JAR}": says}
    if location in ("", "\x00"):
        up.says = dict.fromkeys(up.says, plain(b"", "302 Found"))
    first = await refused(front.proxy.document(SIX, "six/"))
    second = await refused(front.proxy.file(LIB, JAR))

    assert {first.code, second.code} == {"index-unreachable"}
    assert inside.asked == []
    assert "word" not in first.what + second.what
    assert front.copies.used == 0


@pytest.mark.parametrize("place", PLACES[:11])
async def test_a_page_s_links_lead_to_no_closed_address(up, front, inside, place):
    link = place.format(port=inside.port)
    up.says["/simple/six/"] = plain(page(("six-1.0.tar.gz", link)), content_type=JSON_TYPE)
    assert (await front.proxy.document(SIX, "six/")).url == f"{up.url}/simple/six/"
    told = await refused(front.proxy.file(SIX, link))

    assert told.code == "index-unreachable"
    assert "not configured here" in told.what
    assert inside.asked == []


async def test_redirects_within_what_is_configured_are_followed_but_not_for_ever(up, front):
    up.says["/simple/six/"] = plain(b"", "301 Moved", location="/pages/six")
    up.says["/pages/six"] = plain(b"page")
    up.says[f"/m2/{JAR}"] = plain(b"", "302 Found", location=f"/m2/{JAR}")

    assert (await front.proxy.document(SIX, "six/")).url == f"{up.url}/pages/six"
    assert "redirects" in (await refused(front.proxy.file(LIB, JAR))).what
    assert up.times(f"/m2/{JAR}") == 6


async def test_credentials_go_to_the_index_alone(up, inside, tmp_path):
    """A link on another host that is configured too sees none; the index does."""
    link = f"{inside.url}/x"
    up.says["/simple/six/"] = plain(page(("six-1.0.tar.gz", link)), content_type=JSON_TYPE)
    secret = f"http://anna:word@127.0.0.1:{up.port}/simple"
    async with in_front(tmp_path, {"pip": (secret, f"{inside.url}/other")}) as front:
        await front.proxy.document(SIX, "six/")
        assert await whole(await front.proxy.file(SIX, link)) == b"secret"
        kept = [*front.copies.variants(SIX, "six/"), *front.copies.variants(SIX, link)]
        up.says["/simple/seven/"] = plain(b"", "500 No")
        told = await refused(front.proxy.document("pkg:pypi/seven", "seven/"))

    basic = "Basic " + base64.b64encode(b"anna:word").decode()
    assert {one.headers.get("authorization") for one in up.asked} == {basic}
    assert {one.headers.get("authorization") for one in inside.asked} == {None}
    assert "word" not in "".join(one.asked + one.url for one in kept) + told.what
    assert len(kept) == 2


async def test_a_token_is_not_asked_for_inside(up, front, inside):
    challenge = f'Bearer realm="{inside.url}/x",service="s"'
    up.says["/v2/team/app/manifests/1"] = plain(b"", "401 No", www_authenticate=challenge)
    told = await refused(front.proxy.document("pkg:docker/team/app", "v2/team/app/manifests/1"))

    assert "not configured here" in told.what
    assert inside.asked == []


async def test_an_image_of_another_registry_is_asked_for_nowhere_else(up, front, inside):
    name = "pkg:docker/ghcr.io/team/app"
    assert await front.proxy.document(name, "v2/team/app/manifests/1") is None
    assert await front.proxy.file("pkg:docker/127.0.0.1/app", f"v2/app/blobs/sha256:{'0' * 64}") is None

    assert [one.target for one in up.asked] == [f"/v2/app/blobs/sha256:{'0' * 64}"]


BOMB = gzip.compress(bytes(60 << 20))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (plain(BOMB, content_encoding="gzip"), "more than"),
        (plain(gzip.compress(BOMB), content_encoding="gzip, gzip"), "was not asked for"),
        (plain(b"x", content_encoding="br"), "was not asked for"),
        (plain(gzip.compress(b"page")[:-9], content_encoding="gzip"), "too early"),
        (plain(b"no gzip", content_encoding="gzip"), "broken"),
        (plain(zlib.compress(b"page"), content_encoding="gzip"), "broken"),
        (plain(gzip.compress(b"page") + b"x" * 200_000, content_encoding="gzip"), "follow the end"),
        (plain(gzip.compress(b"page") + b"x", content_encoding="gzip"), "follow the end"),
        (plain(gzip.compress(b"")[:-10] + b"\0\0\0\xff\xff" * 30_000, content_encoding="gzip"), "more than 1000 bytes"),
        (plain(b"x" * 2_000), "more than 1000 bytes"),
        (plain(b"x", "206 Partial Content"), "a part came"),
        (plain(b"", "304 Not Modified"), "nothing is known"),
        (plain(b"", "401 Unauthorized"), "401"),
        (plain(b"", "403 \x1b[31mNo"), "403"),
        (b"SSH-2.0-OpenSSH\r\n", ""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5, 7\r\n\r\nhello", ""),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 40_000 + b"\r\n", ""),
    ],
    ids=[
        "bomb", "bomb in gzip", "brotli", "torn", "no gzip", "zlib", "behind gzip", "a byte behind gzip",
        "empty blocks", "large", "part", "unasked 304", "401", "403",
        "SSH", "two lengths", "endless head",
    ],
)  # fmt: skip
async def test_a_page_that_is_none_is_a_clear_no(up, front, said, why):
    up.says["/simple/six/"] = said
    told = await refused(front.proxy.document(SIX, "six/", most=1_000))

    assert told.code == "index-unreachable"
    assert why in told.what
    assert "\x1b" not in told.what
    assert front.copies.rows == 0


async def test_a_page_is_unpacked_where_it_is_small_enough(up, front):
    up.says["/simple/six/"] = plain(gzip.compress(b"page" * 100), content_encoding="gzip")

    assert (await front.proxy.document(SIX, "six/")).data == b"page" * 100
    assert up.asked[0].headers["accept-encoding"] == "gzip"


async def test_an_endless_page_ends_at_its_size_and_a_drip_at_its_time(up, front, monkeypatch):
    async def endless(stream, _):
        await stream.send_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            await stream.send_all(b"400\r\n" + bytes(0x400) + b"\r\n")

    async def dripping(stream, _):
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nx")
        await trio.sleep_forever()

    up.says |= {"/simple/six/": endless, "/simple/seven/": dripping}
    assert "more than" in (await refused(front.proxy.document(SIX, "six/", most=100_000))).what
    monkeypatch.setattr(asking, "PAGE_S", Limit(0, "a test"))
    assert "within 0 s" in (await refused(front.proxy.document("pkg:pypi/seven", "seven/"))).what


async def test_a_server_that_takes_questions_and_never_answers_is_given_up_and_then_left_alone(
    up, front, monkeypatch
):
    async def silent(stream, _):
        await trio.sleep_forever()

    monkeypatch.setattr(asking, "HEAD_S", Limit(0, "a test"))
    told = []
    for number in range(4):
        path = f"org/acme/lib/{number}/lib-{number}.jar"
        up.says[f"/m2/{path}"] = silent
        told.append((await refused(front.proxy.file(LIB, path))).what)

    assert ["no answer within 0 s" in one for one in told] == [True, True, True, False]
    assert "is not asked for 5 s" in told[3]


async def test_who_has_an_old_page_does_not_wait_for_a_silent_server(up, front, monkeypatch):
    monkeypatch.setattr(pages, "UPSTREAM_PATIENCE_S", Limit(0, "a test"))
    go_on = trio.Event()

    async def silent(stream, _):
        await go_on.wait()
        await stream.send_all(plain(b"after"))

    up.says["/simple/six/"] = plain(b"before")
    await front.proxy.document(SIX, "six/")
    front.later(601)
    up.says["/simple/six/"] = silent
    old = [await front.proxy.document(SIX, "six/") for _ in range(3)]
    assert [(one.data, one.stale) for one in old] == [(b"before", True)] * 3
    go_on.set()
    # What nobody waited for is brought all the same, once.
    await until(lambda: front.copies.find(SIX, "six/").size == 5)
    new = await front.proxy.document(SIX, "six/")

    assert (new.data, new.stale) == (b"after", False)
    assert up.times("/simple/six/") == 2


async def test_a_manifest_has_the_digest_by_which_it_was_asked_for(up, front):
    path = f"v2/team/app/manifests/sha256:{'ab' * 32}"
    up.says[f"/{path}"] = plain(b"{}")
    told = await refused(front.proxy.document("pkg:docker/team/app", path))

    assert "another digest" in told.what
    assert front.copies.rows == 0


async def test_a_folder_in_an_index_s_place_gives_its_own_files_and_no_others(up, tmp_path):
    folder = tmp_path / "wheels"
    (folder / "six").mkdir(parents=True)
    (folder / "six" / "six-1.0.tar.gz").write_bytes(b"sdist")
    (folder / "secret.tar.gz").write_bytes(b"secret")
    (folder / "six" / "link-1.0.tar.gz").symlink_to(folder / "secret.tar.gz")
    root = folder.as_uri()
    async with in_front(tmp_path / "node", {"pip": (root,), "maven": (root,)}) as front:
        found = await front.proxy.document(SIX, "six/")
        assert b"six-1.0.tar.gz" in found.data
        assert await whole(await front.proxy.file(SIX, f"{root}/six/six-1.0.tar.gz")) == b"sdist"
        for other in (
            "secret.tar.gz",
            "six/../secret.tar.gz",
            "six/%2e%2e/secret.tar.gz",
            "six/link-1.0.tar.gz",
        ):
            assert await front.proxy.file(SIX, f"{root}/{other}") is None
        assert await front.proxy.file(SIX, "file:///etc/passwd") is None
        assert await front.proxy.file(LIB, JAR) is None
        assert front.copies.used == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    link=st.one_of(
        st.text(max_size=40), st.from_regex(r"(http|https|file|ftp)://[^\s]{0,30}", fullmatch=True)
    )
)
def test_no_url_of_a_client_s_is_ever_asked_for(link):
    """Only what a page names is; and what is no URL of http is refused as it stands."""
    places = PackageIndexes(PipConfig(indexes=("https://index.example/simple",)))
    six = purls.parse(SIX)
    try:
        urls = places.urls(six, link)
    except (PyrsiaError, ValueError):
        return
    assert list(urls) in ([link], ["https://index.example/simple/six/"])
    if list(urls) == [link]:
        assert link.startswith(("http://", "https://"))
