"""The face that registries see: who may ask for what, how often upstream hears of it, what is kept of its answers."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pyrsia.errors import Refusal
from tests.reference.waiting import until
from tests.unit.node.upstream.toy import (
    JSON_TYPE,
    SIX,
    in_front,
    listening,
    page,
    plain,
    sha256,
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
async def front(up, tmp_path):
    ups = {"pip": (f"{up.url}/simple",), "maven": (f"{up.url}/m2",), "conan": (up.url,), "oci": (up.url,)}
    async with in_front(tmp_path, ups, fresh_s=600, absent_s=60) as found:
        yield found


async def test_fifty_askers_are_one_question(up, front):
    asked_at = trio.Event()

    async def slowly(stream, _):
        await asked_at.wait()
        await stream.send_all(plain(b"page", content_type="text/html"))

    up.says["/simple/six/"] = slowly
    found = []

    async def ask():
        found.append(await front.proxy.document(SIX, "six/"))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
        await until(lambda: up.asked)
        await wait_all_tasks_blocked()
        asked_at.set()

    assert [one.data for one in found] == [b"page"] * 50
    assert up.times("/simple/six/") == 1
    again = await front.proxy.document(SIX, "six/")
    assert (again.data, again.kind, again.stale) == (b"page", "text/html", False)
    assert up.times("/simple/six/") == 1


async def test_the_first_asker_leaves_and_the_others_have_their_answer(up, front):
    go_on, found = trio.Event(), []

    async def slowly(stream, _):
        await go_on.wait()
        await stream.send_all(plain(b"page"))

    up.says["/simple/six/"] = slowly
    async with trio.open_nursery() as nursery:
        first = trio.CancelScope()

        async def leaving():
            with first:
                await front.proxy.document(SIX, "six/")

        async def staying():
            found.append(await front.proxy.document(SIX, "six/"))

        nursery.start_soon(leaving)
        await until(lambda: up.asked)
        nursery.start_soon(staying)
        await wait_all_tasks_blocked()
        first.cancel()
        await wait_all_tasks_blocked()
        go_on.set()

    assert [one.data for one in found] == [b"page"]
    assert up.times("/simple/six/") == 1


async def test_what_upstream_does_not_have_is_not_asked_for_again_at_once(up, front):
    assert await front.proxy.document(SIX, "six/") is None
    assert await front.proxy.document(SIX, "six/") is None
    assert await front.proxy.file(LIB, JAR) is None
    assert await front.proxy.file(LIB, JAR) is None
    assert len(up.asked) == 2
    front.later(61)
    up.says["/simple/six/"] = plain(b"there")
    assert (await front.proxy.document(SIX, "six/")).data == b"there"


async def test_a_page_that_is_old_is_asked_for_with_its_validator_and_stays_if_nothing_changed(up, front):
    up.says["/simple/six/"] = plain(b"page", etag='"one"')
    await front.proxy.document(SIX, "six/")
    front.later(601)
    up.says["/simple/six/"] = plain(b"", "304 Not Modified")
    renewed = await front.proxy.document(SIX, "six/")
    front.later(599)
    again = await front.proxy.document(SIX, "six/")

    assert (renewed.data, again.data) == (b"page", b"page")
    assert [one.headers.get("if-none-match") for one in up.asked] == [None, '"one"']


@pytest.mark.parametrize(
    "said",
    [
        plain(b"", "429 Too Many Requests", retry_after="100"),
        plain(b"", "503 Service Unavailable"),
        plain(b"half", length=10_000),
        b"HTTP/1.1 what\r\n\r\n",
        b"",
    ],
)
async def test_upstream_s_trouble_gives_what_it_said_before_marked_as_old(up, front, said):
    up.says["/simple/six/"] = plain(b"before")
    await front.proxy.document(SIX, "six/")
    front.later(601)

    async def then_gone(stream, _):
        await stream.send_all(said)
        await stream.aclose()

    up.says["/simple/six/"] = then_gone
    old = await front.proxy.document(SIX, "six/")

    assert (old.data, old.stale) == (b"before", True)
    assert front.counters.stale == 1
    with pytest.raises(Refusal) as caught:
        await front.proxy.document(SIX, "six/", accept="another form")
    assert caught.value.code == "index-unreachable"


async def test_a_server_that_asks_for_a_rest_has_it(up, front):
    up.says["/simple/six/"] = plain(b"", "429 Too Many Requests", retry_after="100")
    for _ in range(5):
        with pytest.raises(Refusal, match=r"429|not asked for"):
            await front.proxy.document(SIX, "six/")

    assert len(up.asked) == 1


async def test_a_server_that_is_down_is_a_quick_no(tmp_path):
    async with listening() as up:
        port = up.port
    ups = {"pip": (f"http://127.0.0.1:{port}/simple",)}
    async with in_front(tmp_path, ups) as front:
        told = []
        for number in range(6):
            with pytest.raises(Refusal) as caught:
                await front.proxy.document(f"pkg:pypi/n{number}", f"n{number}/")
            told.append(caught.value.what)

    assert all("not asked for" not in one for one in told[:3])
    assert all("is not asked for 5 s" in one for one in told[3:])


async def test_a_file_comes_once_for_all_and_is_here_then(up, front):
    data = b"jar" * 400_000
    up.says[f"/m2/{JAR}"] = plain(data, content_type="application/java-archive")
    found = []

    async def read():
        found.append(await whole(await front.proxy.file(LIB, JAR)))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(read)

    assert found == [data] * 20
    assert len(up.asked) == 1
    assert front.proxy.kept(LIB, JAR).read_bytes() == data
    front.later(10_000_000)
    assert await whole(await front.proxy.file(LIB, JAR)) == data
    assert len(up.asked) == 1


async def test_nothing_is_asked_where_the_mode_the_globs_or_the_owner_speak_against_it(up, tmp_path):
    ups = {"pip": (f"{up.url}/simple",)}
    async with in_front(tmp_path, ups, allow=("pkg:pypi/team-*", "pkg:maven/*")) as front:
        assert not front.proxy.takes(SIX)
        assert front.proxy.takes("pkg:pypi/team-x")
        front.ours.names.add("pkg:pypi/team-x")
        assert not front.proxy.takes("pkg:pypi/team-x")
        assert front.proxy.takes("pkg:maven/org.acme/lib")
        front.modes["maven"] = "verified"
        assert not front.proxy.takes("pkg:maven/org.acme/lib")
        assert not front.proxy.takes("pkg:generic/x")
        assert not front.proxy.takes("no purl")
        for package, path in ((SIX, "six/"), ("pkg:pypi/team-x", "team-x/"), ("pkg:maven/org.acme/lib", JAR)):
            with pytest.raises(Refusal) as page_:
                await front.proxy.document(package, path)
            with pytest.raises(Refusal) as file:
                await front.proxy.file(package, path)
            assert {page_.value.code, file.value.code} == {"denied"}
            assert front.proxy.kept(package, path) is None

    assert up.asked == []


async def test_a_version_that_the_log_holds_cannot_be_had_from_upstream_refused_or_not(up, front):
    """Zero requests, by whatever address: of its version, or by its digest under any name."""
    data = b"refused"
    front.ours.held[LIB] = {"1.0"}
    front.ours.held["pkg:docker/app"] = {"1.0"}
    front.ours.held["pkg:conan/zlib"] = {"1.3"}
    front.ours.digests.add(sha256(data))
    up.says[f"/m2/{JAR}"] = plain(data)
    digest = f"sha256:{sha256(data)}"
    wanted = [
        (LIB, JAR),
        (LIB, f"{JAR}.sha1"),
        ("pkg:docker/app", "v2/app/manifests/1.0"),
        ("pkg:docker/other", f"v2/other/manifests/{digest}"),
        ("pkg:docker/other", f"v2/other/blobs/{digest}"),
        ("pkg:conan/zlib", "v2/conans/zlib/1.3/_/_/latest"),
    ]
    for package, path in wanted:
        for ask in (front.proxy.document, front.proxy.file):
            with pytest.raises(Refusal) as caught:
                await ask(package, path)
            assert caught.value.code == "denied"
            assert "the log" in caught.value.what
    with pytest.raises(Refusal):
        await front.proxy.file(
            "pkg:maven/org.acme/other", "org/acme/other/2/other-2.jar", sha256=sha256(data)
        )
    assert up.asked == []

    newer = "org/acme/lib/1.1/lib-1.1.jar"
    up.says[f"/m2/{newer}"] = plain(b"newer")
    assert await whole(await front.proxy.file(LIB, newer)) == b"newer"


@pytest.mark.parametrize(("known", "asked"), [("alpine", "library/alpine"), ("library/alpine", "alpine")])
async def test_an_official_image_is_one_package_in_both_its_spellings(up, front, known, asked):
    front.ours.held[f"pkg:docker/{known}"] = {"3"}
    with pytest.raises(Refusal, match="the log holds"):
        await front.proxy.document(f"pkg:docker/{asked}", f"v2/{asked}/manifests/3")
    assert up.asked == []
    assert front.proxy.takes(f"pkg:docker/{asked}")
    front.ours.names.add(f"pkg:docker/{known}")
    assert not front.proxy.takes(f"pkg:docker/{asked}")


async def test_the_policy_knows_when_a_page_says_that_a_file_was_uploaded(up, front):
    links = [f"{up.url}/files/six-{number}.tar.gz" for number in (1, 2)]
    old = page(("six-1.tar.gz", links[0]), **{"upload-time": "2024-09-14T02:58:28.463127Z"})
    up.says["/simple/six/"] = plain(old, content_type=JSON_TYPE)
    await front.proxy.file(SIX, links[0])
    assert front.judged[-1].published_ms == 1_726_282_708_463
    up.says["/simple/six/"] = plain(page(("six-2.tar.gz", links[1])), content_type=JSON_TYPE)
    front.later(601)
    await front.proxy.document(SIX, "six/")
    await front.proxy.file(SIX, links[1])

    assert (front.judged[-1].purl, front.judged[-1].published_ms) == ("pkg:pypi/six@2", 0)


async def test_the_policy_is_asked_about_each_file_and_what_it_refuses_is_not_fetched(up, tmp_path):
    def judge(facts):
        if facts.purl == "pkg:maven/org.acme/lib@1.0" or facts.purl.startswith("pkg:pypi/evil@"):
            return Refusal("denied", what=f"policy refuses {facts.purl}", who="policy", do="no")
        return None

    ups = {"maven": (f"{up.url}/m2",), "pip": (f"{up.url}/simple",)}
    async with in_front(tmp_path, ups, judge=judge) as front:
        for ask, what in (
            (front.proxy.file(LIB, JAR), "pkg:maven/org.acme/lib@1.0"),
            (
                front.proxy.document("pkg:pypi/evil", "evil/"),
                "pkg:pypi/evil",
            ),  # no version that only a probe has
        ):
            with pytest.raises(Refusal) as caught:
                await ask
            assert caught.value.what == f"policy refuses {what}"
        assert up.asked == []
        await front.proxy.document(LIB, "org/acme/lib/maven-metadata.xml")
        facts = front.judged[0]

    assert (facts.origin, facts.file, facts.published_ms) == ("proxied", "lib-1.0.jar", 0)
    assert len(up.asked) == 1


async def test_files_of_an_index_come_only_by_links_of_the_project_s_own_page(up, front):
    link = f"{up.url}/files/six-1.0.tar.gz"
    up.says["/simple/six/"] = plain(page(("six-1.0.tar.gz", link)), content_type=JSON_TYPE)
    up.says["/simple/seven/"] = plain(page(("seven-1.0.tar.gz", link)), content_type=JSON_TYPE)
    up.says["/files/six-1.0.tar.gz"] = plain(b"sdist")
    up.says["/files/six-1.0.tar.gz.metadata"] = plain(b"metadata")
    up.says["/files/other.tar.gz"] = plain(b"other")

    assert await whole(await front.proxy.file(SIX, link)) == b"sdist"
    assert await whole(await front.proxy.file(SIX, f"{link}.metadata")) == b"metadata"
    for other in (f"{up.url}/files/other.tar.gz", "http://169.254.169.254/latest", f"{link}?x=1"):
        with pytest.raises(Refusal) as caught:
            await front.proxy.file(SIX, other)
        assert caught.value.code == "denied"
        assert "no page of" in caught.value.what
    assert await front.proxy.file(SIX, "file:///etc/passwd") is None
    assert await front.proxy.document(SIX, link) is None
    assert [one.target for one in up.asked] == [
        "/simple/six/", "/files/six-1.0.tar.gz", "/files/six-1.0.tar.gz.metadata"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "path",
    ["seven/", "six/../seven/", "six", "six//", "%73ix/", "../six/", "six/?x", "six/#a", "six/\r\nx: y", ""],
)
async def test_a_path_of_another_package_or_none_asks_nobody(up, front, path):
    assert await front.proxy.document(SIX, path) is None
    assert await front.proxy.file(LIB, f"org/acme/lib/1.0/../../{path}") is None
    assert await front.proxy.document("pkg:docker/app", f"v2/other/manifests/{path}") is None
    assert await front.proxy.document("pkg:conan/zlib", f"v2/conans/{path}") is None
    assert up.asked == []


async def test_a_file_that_is_expected_comes_from_whatever_copy_is_the_same(up, front):
    data = b"layer"
    path = f"blobs/sha256:{sha256(data)}"
    up.says[f"/v2/library/one/{path}"] = plain(data)
    assert await whole(await front.proxy.file("pkg:docker/one", f"v2/one/{path}")) == data
    assert await whole(await front.proxy.file("pkg:docker/team/two", f"v2/team/two/{path}")) == data

    assert len(up.asked) == 1


async def test_the_first_place_that_has_it_gives_it_and_one_that_is_silent_is_not_passed_over(up, tmp_path):
    """A name that a private index has must not come from a public one because the private one is down."""
    ups = {"maven": (f"{up.url}/private", f"{up.url}/public")}
    async with in_front(tmp_path, ups) as front:
        up.says[f"/public/{JAR}"] = plain(b"public")
        assert await whole(await front.proxy.file(LIB, JAR)) == b"public"
        other = JAR.replace("1.0", "2.0")
        up.says[f"/public/{other}"] = plain(b"public")
        up.says[f"/private/{other}"] = plain(b"", "500 Internal Server Error")
        with pytest.raises(Refusal, match="500"):
            await front.proxy.file(LIB, other)

    assert up.times(f"/public/{other}") == 0


async def test_a_file_that_moves_is_asked_for_again_when_it_is_old(up, front):
    path = "org/acme/lib/1-SNAPSHOT/lib-1-SNAPSHOT.jar"
    up.says[f"/m2/{path}"] = plain(b"one", etag='"1"')
    assert await whole(await front.proxy.file(LIB, path)) == b"one"
    front.later(601)
    up.says[f"/m2/{path}"] = plain(b"", "304 Not Modified")
    assert await whole(await front.proxy.file(LIB, path)) == b"one"
    front.later(601)
    up.says[f"/m2/{path}"] = plain(b"two", etag='"2"')
    assert await whole(await front.proxy.file(LIB, path)) == b"two"
    front.later(601)
    up.says[f"/m2/{path}"] = plain(b"", "502 Bad Gateway")
    assert await whole(await front.proxy.file(LIB, path)) == b"two"

    assert [one.headers.get("if-none-match") for one in up.asked] == [None, '"1"', '"1"', '"2"']
    assert front.counters.stale == 1


async def test_outside_of_its_run_nothing_is_asked(up, front, tmp_path):
    async with in_front(tmp_path / "two", {"pip": (up.url,)}) as other:
        pass
    with pytest.raises(Refusal) as caught:
        await other.proxy.document(SIX, "six/")

    assert caught.value.code == "unavailable"


async def test_a_node_s_status_counts_what_upstream_was_asked_and_what_is_kept_of_it(up, front):
    up.says["/simple/six/"] = plain(b"page")
    up.says[f"/m2/{JAR}"] = plain(b"jar")
    await front.proxy.document(SIX, "six/")
    for _ in range(2):
        await whole(await front.proxy.file(LIB, JAR))
        await until(lambda: front.under_way == 0)
    assert await front.proxy.file(LIB, "org/acme/lib/9/lib-9.jar") is None
    up.says["/simple/other/"] = plain(b"", "503 Service Unavailable")
    with pytest.raises(Refusal):
        await front.proxy.document("pkg:pypi/other", "other/")
    found = front.proxy.status()

    assert set(found.modes.values()) == {"proxy"}
    assert (found.asked, found.copied, found.absent, found.failed, found.refused) == (
        len(up.asked),
        1,
        1,
        1,
        0,
    )
    assert (found.bytes_received, found.kept_bytes, found.evicted) == (7, 7, 0)
    assert found.quota_bytes == front.copies.quota
