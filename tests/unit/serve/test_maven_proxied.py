"""A Maven repository in the mode `proxy`, and what policy refuses: upstream fills no gap that somebody else owns."""

import hashlib
import threading

import httpx
import pytest

from pyrsia.builds.maven.coordinates import Artifact
from pyrsia.builds.maven.poms import read_xml
from pyrsia.serve.maven import lists, refusals
from pyrsia.units import Limit
from tests.unit.serve.maven_toys import (
    JAR,
    SUMS,
    ToyUpstream,
    asking,
    publish,
    refuse,
    shelf,
    tool,
)
from tests.unit.serve.maven_toys import (
    Artifact as Named,
)
from tests.unit.serve.toy import ToyNode

BASE = "/org/example/tool"
PLUGINS = "org.apache.maven.plugins"


@pytest.fixture
def node(tmp_path):
    return ToyNode(tmp_path)


@pytest.fixture
def local(tmp_path):
    with shelf(tmp_path) as made:
        yield made


@pytest.fixture
def upstream(tmp_path):
    folder = tmp_path / "upstream"
    folder.mkdir()
    return ToyUpstream(folder)


def sha1(data):
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def listing(*versions, plugins=()):
    rows = "".join(f"<version>{version}</version>" for version in versions)
    more = "".join(f"<plugin><prefix>{p}</prefix><artifactId>{a}</artifactId></plugin>" for p, a in plugins)
    return (
        f"<metadata><versioning><versions>{rows}</versions><lastUpdated>20300101000000</lastUpdated></versioning>"
        f"<plugins>{more}</plugins></metadata>"
    ).encode()


# -- upstream's files --


async def test_a_file_of_upstream_s_is_marked_and_has_checksums_of_the_bytes_that_came(node, local, upstream):
    upstream.has = {
        "net/far/lib/1/lib-1.jar": JAR,
        "net/far/lib/1/lib-1.jar.sha1": sha1(JAR).upper().encode() + b"  x\n",
    }
    upstream.step = 4
    async with asking(node, local, upstream) as client:
        got = await client.get("/net/far/lib/1/lib-1.jar")
        again = await client.get("/net/far/lib/1/lib-1.jar")
        part = await client.get("/net/far/lib/1/lib-1.jar", headers={"range": "bytes=3-5"})
        head = await client.head("/net/far/lib/1/lib-1.jar")
        beside = {ending: await client.get(f"/net/far/lib/1/lib-1.jar{ending}") for ending in SUMS}
        absent = await client.get("/net/far/lib/1/lib-1.pom")
        proof = await client.get("/net/far/lib/1/lib-1.jar.tlog-proof")

    assert (got.content, got.headers["x-pyrsia-verified"]) == (JAR, "no")
    assert got.headers["x-checksum-sha1"] == sha1(JAR)
    assert again.content == JAR
    assert (part.status_code, part.content, head.content) == (206, JAR[3:6], b"")
    assert {ending: one.text for ending, one in beside.items()} == {
        ending: hashlib.new(kind, JAR, usedforsecurity=False).hexdigest() for ending, kind in SUMS.items()
    }
    assert all(one.headers["x-pyrsia-verified"] == "no" for one in beside.values())
    assert (absent.status_code, proof.status_code) == (404, 404)
    assert all(one.closed == 1 for one in upstream.opened)


async def test_a_file_that_upstream_s_own_checksum_does_not_name_never_looks_whole(node, local, upstream):
    upstream.has = {"net/far/lib/1/lib-1.jar": JAR, "net/far/lib/1/lib-1.jar.sha1": b"0" * 40}
    upstream.step = 4
    async with asking(node, local, upstream) as client:
        with pytest.raises(httpx.RemoteProtocolError, match=r"incomplete|closed"):
            await client.get("/net/far/lib/1/lib-1.jar")
        beside = await client.get("/net/far/lib/1/lib-1.jar.sha1")
        upstream.step = 1 << 30  # it is here whole: nothing of it is sent
        here = await client.get("/net/far/lib/1/lib-1.jar")

    assert (beside.status_code, here.status_code) == (503, 503)
    assert "SHA-1" in beside.json()["error"]["what"]


async def test_what_no_digest_tells_apart_is_never_spliced_of_two_files(node, local, upstream):
    """Upstream has no .sha1, and other bytes of the same length after this node forgot the first."""
    path = "org/acme/lib/1.0/lib-1.0.jar"
    etags, parts = [], []
    for data in (b"A" * 1_000, b"B" * 1_000):
        upstream.has[path] = data
        async with asking(node, local, upstream) as client:
            first = await client.get(f"/{path}", headers={"range": "bytes=0-499"})
            rest = {"range": "bytes=500-", "if-range": etags[0] if etags else first.headers["etag"]}
            parts.append(await client.get(f"/{path}", headers=rest))
            etags.append(first.headers["etag"])
            again = await client.get(f"/{path}", headers={"if-none-match": etags[0]})
    assert [answer.status_code for answer in parts] == [206, 200]
    assert (parts[1].content, again.status_code, len(set(etags))) == (b"B" * 1_000, 200, 2)


async def test_a_transfer_that_upstream_breaks_off_is_cut(node, local, upstream):
    path = "net/far/lib/1/lib-1.jar"
    upstream.has = {path: JAR, f"{path}.sha1": sha1(JAR).encode()}
    upstream.step, upstream.fails_at = 4, 8
    async with asking(node, local, upstream) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/net/far/lib/1/lib-1.jar")
        upstream.fails_at = -1
        again = await client.get("/net/far/lib/1/lib-1.jar")
        del upstream.has[f"{path}.sha1"]
        upstream.fails_at = 8
    async with asking(node, local, upstream) as client:
        unsaid = await client.get("/net/far/lib/1/lib-1.jar")

    assert again.content == JAR
    assert (unsaid.status_code, upstream.opened[-1].closed) == (503, 1)


async def test_what_is_kept_whole_asks_upstream_for_no_checksum_again(node, local, upstream):
    path = "net/far/lib/1/lib-1.jar"
    upstream.has = {path: JAR, f"{path}.sha1": sha1(JAR).encode()}
    async with asking(node, local, upstream) as client:
        await client.get(f"/{path}", headers={"cache-control": "no-cache", "pragma": "no-cache"})
        upstream.here.add(path)
        upstream.asked.clear()
        answers = [await client.get(f"/{path}", headers={"cache-control": "no-cache"}) for _ in range(2)]

    assert [one.content for one in answers] == [JAR, JAR]
    assert f"{path}.sha1" not in upstream.asked
    assert all(one.headers["x-checksum-sha512"] == hashlib.sha512(JAR).hexdigest() for one in answers)


async def test_upstream_fills_no_version_that_the_log_holds_and_no_local_name(node, local, upstream):
    publish(node, tool("1.0"), ".jar", JAR)
    refuse(node, tool("2.0"), ".jar", b"witnessed")
    for version in ("1.0", "2.0", "3.0"):
        for ending in ("", "-sources"):
            upstream.has[f"org/example/tool/{version}/tool-{version}{ending}.jar"] = b"upstream's"
    upstream.has["org/acme/lib/9/lib-9.jar"] = b"upstream's"
    async with asking(node, local, upstream, token="push") as client:
        await client.put("/org/acme/lib/1/lib-1.jar", content=b"ours")
        answers = {
            name: await client.get(f"/{name}")
            for name in ("org/example/tool/1.0/tool-1.0.jar", "org/example/tool/1.0/tool-1.0-sources.jar",
                         "org/example/tool/2.0/tool-2.0.jar", "org/example/tool/2.0/tool-2.0-sources.jar",
                         "org/acme/lib/9/lib-9.jar", "org/acme/lib/1/lib-1.jar")
        }  # fmt: skip
        assert upstream.asked == []
        added = await client.get(f"{BASE}/3.0/tool-3.0.jar")

    assert [one.status_code for one in answers.values()] == [200, 404, 403, 404, 404, 200]
    assert (added.content, added.headers["x-pyrsia-verified"]) == (b"upstream's", "no")


async def test_outside_of_the_globs_nobody_is_asked_and_the_answer_says_what_to_do(node, local, upstream):
    upstream.allowed = "pkg:maven/net.far/"
    async with asking(node, local, upstream) as client:
        answer = await client.get("/org/else/x/1/x-1.jar")
        listed = await client.get("/org/else/x/maven-metadata.xml")
        claimed = await client.get(f"/{'a' * 52}/net/far/x/1/x-1.jar")
        moving = await client.get("/net/far/x/1-SNAPSHOT/x-1-SNAPSHOT.jar")

    assert [one.status_code for one in (answer, listed, claimed, moving)] == [404] * 4
    assert upstream.asked == []
    assert "pyrsia build request pkg:maven/org.else/x@1" in answer.json()["error"]["do"]
    assert answer.headers["content-type"] == "application/json"  # Maven 4 takes a problem for a failure


async def test_upstream_that_is_down_is_no_404(node, local, upstream):
    upstream.down = True
    async with asking(node, local, upstream) as client:
        answers = [
            await client.get(path)
            for path in ("/net/far/x/1/x-1.jar", "/net/far/x/1/x-1.jar.sha1", "/net/far/x/maven-metadata.xml",
                         "/net/far/x/1-SNAPSHOT/maven-metadata.xml")
        ]  # fmt: skip

    assert [one.status_code for one in answers] == [502] * 4


# -- lists --


async def test_a_list_has_the_network_s_versions_first_and_says_that_it_is_not_all_verified(
    node, local, upstream
):
    publish(node, tool("1.5"), ".jar", JAR)
    publish(node, tool("1.4"), ".jar", JAR + b"4")
    refuse(node, tool("1.6"), ".jar", b"witnessed")
    upstream.has["org/example/tool/maven-metadata.xml"] = listing("1.4", "1.5", "1.6", "2.0", "3.0-rc1")
    async with asking(node, local, upstream) as client:
        got = await client.get(f"{BASE}/maven-metadata.xml")
        beside = await client.get(f"{BASE}/maven-metadata.xml.sha1")
        upstream.down = True
        alone = await client.get(f"{BASE}/maven-metadata.xml")

    root = read_xml(got.content)
    assert [one.text for one in root.all("versioning/versions/version")] == ["1.5", "1.4", "2.0", "3.0-rc1"]
    assert [root.get(f"versioning/{name}") for name in ("latest", "release")] == ["1.5", "1.5"]
    assert root.get("versioning/lastUpdated") == "20300101000000"
    assert (got.headers["x-pyrsia-verified"], alone.headers["x-pyrsia-verified"]) == ("no", "yes")
    assert beside.text == sha1(got.content)
    assert [one.text for one in read_xml(alone.content).all("versioning/versions/version")] == ["1.5", "1.4"]


async def test_a_list_of_upstream_s_alone_is_passed_on_as_it_is(node, local, upstream):
    upstream.has = {
        "net/far/x/maven-metadata.xml": listing("1", "2", plugins=[("p", "p-maven-plugin")]),
        "net/far/x/1-SNAPSHOT/maven-metadata.xml": b"<metadata><version>1-SNAPSHOT</version></metadata>",
    }
    async with asking(node, local, upstream) as client:
        answers = {path: await client.get(f"/{path}") for path in upstream.has}
        beside = {path: await client.get(f"/{path}.sha1") for path in upstream.has}
        upstream.has["net/far/x/maven-metadata.xml"] = b"<html>no list</html>"
        broken = await client.get("/net/far/x/maven-metadata.xml")

    for path, answer in answers.items():
        assert answer.headers["x-pyrsia-verified"] == "no"
        assert beside[path].text == sha1(answer.content)
    assert answers["net/far/x/maven-metadata.xml"].content == listing(
        "1", "2", plugins=[("p", "p-maven-plugin")]
    )
    assert broken.status_code == 502


async def test_upstream_s_plugins_come_last_and_none_of_a_local_name(node, local, upstream):
    publish(node, Artifact(PLUGINS, "maven-clean-plugin", "1"), ".jar", JAR)
    upstream.allowed = f"pkg:maven/{PLUGINS}/"  # a glob that speaks of the group's artifacts
    upstream.has["org/apache/maven/plugins/maven-metadata.xml"] = listing(
        plugins=[("clean", "evil-maven-plugin"), ("jar", "maven-jar-plugin"), ("acme", "acme-maven-plugin")]
    )
    upload = await local.open(f"pkg:maven/{PLUGINS}/acme-maven-plugin")
    await upload.write(JAR)
    await upload.keep("1/acme-maven-plugin-1.jar", by="ci", more={})
    async with asking(node, local, upstream) as client:
        got = await client.get("/org/apache/maven/plugins/maven-metadata.xml")

    found = [
        (one.get("prefix"), one.get("artifactId")) for one in read_xml(got.content).all("plugins/plugin")
    ]
    assert found == [("clean", "maven-clean-plugin"), ("jar", "maven-jar-plugin")]
    assert got.headers["x-pyrsia-verified"] == "no"


async def test_a_long_list_is_read_beside_the_loop_once_and_one_without_end_not_at_all(
    node, local, upstream, monkeypatch
):
    read, path = [], "/net/far/x/maven-metadata.xml"

    def reads(data, really=lists.read):
        read.append((len(data), threading.get_ident()))
        return really(data)

    monkeypatch.setattr(lists, "read", reads)
    long = listing(*(f"1.{number}" for number in range(5_000)))
    upstream.has[path[1:]] = long
    async with asking(node, local, upstream, token="push") as client:
        first, again = await client.get(path), await client.get(path)
        await client.put("/org/acme/lib/1/lib-1.jar", content=JAR)
        pushed = await client.put("/org/acme/lib/maven-metadata.xml", content=long)
        upstream.has[path[1:]] = listing(*["1"] * 200_000)
        endless = await client.get(path)

    assert first.content == again.content == long
    assert [size for size, _ in read] == [len(long)] * 2  # upstream's once, and the pushed one
    assert threading.get_ident() not in {thread for _, thread in read}
    assert (pushed.status_code, endless.status_code) == (201, 502)


async def test_prefixes_are_not_told_where_upstream_may_have_more(node, local, upstream):
    async with asking(node, local, upstream) as client:
        assert (await client.get("/.meta/prefixes.txt")).status_code == 404


# -- refusals --


@pytest.mark.parametrize("code", ["denied", "withdrawn", "disputed"])
async def test_a_refused_file_is_a_403_whose_phrase_says_why_whatever_the_reason(node, local, upstream, code):
    refuse(node, tool("1.0"), ".jar", JAR, code)
    upstream.has["org/example/tool/1.0/tool-1.0.jar"] = JAR
    async with asking(node, local, upstream) as client:
        answers = [await client.get(f"{BASE}/1.0/tool-1.0.jar{ending}") for ending in ("", ".sha1")]
        listed = await client.get(f"{BASE}/maven-metadata.xml")

    for answer in (*answers, listed):
        assert answer.status_code == 403  # 404 and 410 would make Maven look elsewhere, and remember it
        assert "it is WITNESSED, REPRODUCED is the least" in answer.reason_phrase
        assert "lower `minimum`" in answer.reason_phrase
    assert "more plug-ins" not in answers[0].reason_phrase
    # Maven 4 prints no reason phrase, and this it does (RFC 9457).
    assert answers[0].headers["content-type"] == "application/problem+json"
    told = answers[0].json()
    assert f"{told['title']} -- {told['detail']}" == answers[0].reason_phrase
    assert answers[0].json()["status"] == 403


async def test_a_refused_plugin_names_all_that_stand_as_it_does(node, local, monkeypatch):
    names = [f"maven-{word}-plugin" for word in ("clean", "jar", "install")]
    for name in names:
        for ending in (".jar", ".pom"):
            refuse(node, Named(PLUGINS, name, "1"), ending, f"{name}{ending}".encode())
    refuse(node, Named("net.far", "far-maven-plugin", "2"), ".jar", b"far")
    refuse(node, Named("net.far", "far-maven-plugin", "3"), ".jar", b"farther")
    refuse(node, Named("net.far", "parent-maven-plugin", "3"), ".pom", b"only a pom")
    refuse(node, Named("net.far", "withdrawn-maven-plugin", "2"), ".jar", b"gone", code="withdrawn")
    refuse(node, Named("net.far", "library", "2"), ".jar", b"library")
    publish(node, Named(PLUGINS, "maven-good-plugin", "1"), ".jar", JAR)
    async with asking(node, local) as client:
        path = "/org/apache/maven/plugins/maven-clean-plugin"
        pom = await client.get(f"{path}/1/maven-clean-plugin-1.pom")
        listed = await client.get(f"{path}/maven-metadata.xml")
        prefixes = await client.get("/org/apache/maven/plugins/maven-metadata.xml")
        refuse(node, Named(PLUGINS, "maven-new-plugin", "1"), ".jar", b"new")
        later = await client.get(f"{path}/1/maven-clean-plugin-1.jar")
        monkeypatch.setattr(refusals, "_NAMED", Limit(2, "fewer"))
        short = await client.get(f"{path}/1/maven-clean-plugin-1.jar")

    others = "maven-install-plugin:1, maven-jar-plugin:1, net.far:far-maven-plugin:2 3"
    told = set(pom.reason_phrase.partition("of the log: ")[2].partition("; mode =")[0].split(", "))
    assert told == set(others.split(", "))
    assert "3 more plug-ins" in pom.reason_phrase
    assert 'mode = "verified+witnessed" in [maven] of the node\'s policy.toml takes them' in pom.reason_phrase
    assert listed.status_code == 403
    assert "4 more plug-ins" in later.reason_phrase
    assert "maven-new-plugin:1" in later.reason_phrase
    assert short.reason_phrase.count("-plugin:") == 2
    assert "and 2 more" in short.reason_phrase
    # A prefix leads to a refused plug-in as well: its refusal says more than that there is no such prefix.
    assert "<prefix>clean</prefix>" in prefixes.text
