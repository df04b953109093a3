"""Pushes to a Maven repository as Maven and Gradle make them, right and wrong."""

import hashlib

import httpx
import pytest
import trio

from pyrsia.builds.maven.coordinates import Artifact
from pyrsia.builds.maven.poms import read_xml
from pyrsia.config import LocalSection
from pyrsia.errors import Refusal
from pyrsia.serve.maven import deploy, snapshots
from pyrsia.units import Limit
from tests.reference.waiting import bounded
from tests.unit.serve.maven_toys import JAR, SUMS, asking, publish, repository, shelf, tool
from tests.unit.serve.talk import read_answer
from tests.unit.serve.toy import TOKEN, ToyNode

LIB = "/org/acme/lib"
SNAP = f"{LIB}/1.0-SNAPSHOT"
PACKAGE = "pkg:maven/org.acme/lib"


@pytest.fixture
def node(tmp_path):
    return ToyNode(tmp_path)


@pytest.fixture
def local(tmp_path):
    with shelf(tmp_path) as made:
        yield made


def digest(kind, data):
    return hashlib.new(kind, data, usedforsecurity=False).hexdigest()


async def push(client, path, data, **headers):
    return await client.put(
        path, content=data, headers={name.replace("_", "-"): text for name, text in headers.items()}
    )


async def test_a_release_is_there_with_checksums_of_its_bytes_and_in_the_list(node, local):
    async with asking(node, local, token="push") as client:
        put = [
            await push(client, f"{LIB}/1.0/lib-1.0.jar", JAR),
            await push(client, f"{LIB}/1.0/lib-1.0.jar.sha1", digest("sha1", JAR).encode()),
            await push(
                client, f"{LIB}/1.0/lib-1.0.jar.md5", digest("md5", JAR).upper().encode() + b"  lib-1.0.jar\n"
            ),
            await push(client, f"{LIB}/1.0/lib-1.0.jar.sha512", digest("sha512", JAR).encode()),
            await push(client, f"{LIB}/1.0/lib-1.0.pom", b"<project/>"),
            await push(client, f"{LIB}/1.0/lib-1.0.module", b"{}"),
            await push(client, f"{LIB}/1.0/lib-1.0.jar.asc", b"signed"),
            await push(client, f"{LIB}/maven-metadata.xml", b"<metadata><versioning/></metadata>"),
            await push(client, f"{LIB}/maven-metadata.xml.sha1", b"whatever"),
        ]
        got = await client.get(f"{LIB}/1.0/lib-1.0.jar")
        part = await client.get(f"{LIB}/1.0/lib-1.0.jar", headers={"range": "bytes=3-5"})
        head = await client.head(f"{LIB}/1.0/lib-1.0.jar")
        known = await client.get(f"{LIB}/1.0/lib-1.0.jar", headers={"if-none-match": got.headers["etag"]})
        since = await client.get(
            f"{LIB}/1.0/lib-1.0.jar", headers={"if-modified-since": got.headers["last-modified"]}
        )
        beside = {ending: (await client.get(f"{LIB}/1.0/lib-1.0.jar{ending}")).text for ending in SUMS}
        signature = await client.get(f"{LIB}/1.0/lib-1.0.jar.asc")
        of_signature = await client.get(f"{LIB}/1.0/lib-1.0.jar.asc.sha1")
        listed = await client.get(f"{LIB}/maven-metadata.xml")
        list_sum = await client.get(f"{LIB}/maven-metadata.xml.sha256")
        absent = await client.get(f"{LIB}/1.0/lib-1.0-sources.jar")
        proof = await client.get(f"{LIB}/1.0/lib-1.0.jar.tlog-proof")

    assert [one.status_code for one in put] == [201] * len(put)
    assert (got.status_code, got.content, got.headers["x-pyrsia-verified"]) == (200, JAR, "local")
    assert "immutable" in got.headers["cache-control"]
    assert (part.status_code, part.content) == (206, JAR[3:6])
    assert (head.content, head.headers["content-length"]) == (b"", str(len(JAR)))
    assert (known.status_code, since.status_code) == (304, 304)
    assert beside == {ending: digest(kind, JAR) for ending, kind in SUMS.items()}
    assert all(got.headers[f"x-checksum-{kind}"] == digest(kind, JAR) for kind in SUMS.values())
    assert (signature.content, of_signature.text) == (b"signed", digest("sha1", b"signed"))
    root = read_xml(listed.content)
    assert (root.get("groupId"), root.get("versioning/release")) == ("org.acme", "1.0")
    assert list_sum.text == digest("sha256", listed.content)
    assert (absent.status_code, proof.status_code) == (404, 404)


async def test_a_release_does_not_change_and_the_same_bytes_are_no_change(node, local):
    async with asking(node, local, token="push") as client:
        path = f"{LIB}/1.0/lib-1.0.jar"
        answers = [await push(client, path, data) for data in (JAR, JAR, JAR + b"x", b"", JAR[:-1])]
        got = await client.get(path)

    assert [one.status_code for one in answers] == [201, 201, 409, 409, 409]
    assert "publish a new version" in answers[2].json()["error"]["do"]
    assert got.content == JAR


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [("", 401, "unauthenticated"), ("read", 403, "forbidden"), ("other", 403, "forbidden")],
)
@pytest.mark.parametrize(
    "path",
    [f"{LIB}/1.0/lib-1.0.jar", f"{LIB}/1.0/lib-1.0.jar.sha1", f"{LIB}/maven-metadata.xml",
     f"{LIB}/maven-metadata.xml.sha1", f"{SNAP}/maven-metadata.xml"],
)  # fmt: skip
async def test_nothing_is_taken_without_the_right_token(node, local, token, status, code, path):
    async with asking(node, local, token=token) as client:
        put = await push(client, path, b"<metadata><versioning/></metadata>")
        deleted = await client.delete(f"{LIB}/1.0/lib-1.0.jar")

    if path.endswith("xml.sha1") and token == "other":
        assert put.status_code == 201  # of bytes that nobody keeps
    else:
        assert (put.status_code, put.json()["error"]["code"]) == (status, code)
    assert deleted.status_code == status
    if not token:
        assert put.headers["www-authenticate"].startswith("Basic")
    assert not local.owns(PACKAGE)


async def test_who_may_not_push_hears_so_before_a_byte_is_read(node, local):
    async with repository(node, local) as url:
        host, port = url.removeprefix("http://").removesuffix("/maven2").split(":")
        stream = await trio.open_tcp_stream(host, int(port))
        async with stream:
            await stream.send_all(
                f"PUT /maven2{LIB}/1.0/lib-1.0.jar HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n"
                "Expect: 100-continue\r\n\r\n".encode()
            )
            status, headers, _ = await read_answer(stream, bytearray())
    assert (status, headers["www-authenticate"][:5]) == (401, "Basic")


async def test_who_may_push_is_told_to_go_on(node, local):
    async with repository(node, local) as url:
        host, port = url.removeprefix("http://").removesuffix("/maven2").split(":")
        stream = await trio.open_tcp_stream(host, int(port))
        async with stream:
            await stream.send_all(
                f"PUT /maven2{LIB}/1.0/lib-1.0.jar HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(JAR)}\r\n"
                f"Authorization: Bearer push\r\nExpect: 100-continue\r\n\r\n".encode()
            )
            kept = bytearray()
            first, _, _ = await read_answer(stream, kept)
            await stream.send_all(JAR)
            second, _, _ = await read_answer(stream, kept)
    assert (first, second) == (100, 201)


async def test_a_wrong_checksum_in_the_head_keeps_nothing(node, local):
    async with asking(node, local, token="push") as client:
        wrong = await push(client, f"{LIB}/1.0/lib-1.0.jar", JAR, x_checksum_sha1="0" * 40)
        right = await push(
            client, f"{LIB}/1.0/lib-1.0.jar", JAR, x_checksum_sha256=digest("sha256", JAR).upper()
        )

    assert wrong.status_code == 400
    assert "the sha1 that was sent for lib-1.0.jar" in wrong.json()["error"]["what"]
    assert right.status_code == 201


@pytest.mark.parametrize("body", [b"0" * 40, b"", b"not a digest", b"\xff" * 40])
async def test_a_file_whose_own_pusher_says_that_it_is_another_is_taken_back(node, local, body):
    async with asking(node, local, token="push") as client:
        await push(client, f"{LIB}/1.0/lib-1.0.jar", JAR)
        wrong = await push(client, f"{LIB}/1.0/lib-1.0.jar.sha1", body)
        gone = await client.get(f"{LIB}/1.0/lib-1.0.jar")
        again = await push(client, f"{LIB}/1.0/lib-1.0.jar", JAR + b"right")

    assert wrong.status_code == 400
    assert "the file was taken back" in wrong.json()["error"]["what"]
    assert (gone.status_code, again.status_code) == (404, 201)


async def test_a_wrong_checksum_takes_nothing_back_that_is_old_or_another_s(node, local, monkeypatch):
    async with asking(node, local, token="push") as client:
        await push(client, f"{LIB}/1.0/lib-1.0.jar", JAR)
        async with asking(node, local, token=TOKEN) as admin:
            theirs = await push(admin, f"{LIB}/1.0/lib-1.0.jar.sha1", b"0" * 40)
        monkeypatch.setattr(deploy, "TAKE_BACK_MS", Limit(-1, "all is old"))
        old = await push(client, f"{LIB}/1.0/lib-1.0.jar.sha1", b"0" * 40)
        got = await client.get(f"{LIB}/1.0/lib-1.0.jar")

    assert (theirs.status_code, old.status_code, got.content) == (400, 400, JAR)
    assert "stays" in theirs.json()["error"]["what"]


async def test_where_pushers_take_nothing_back_a_wrong_checksum_changes_no_release(node, tmp_path):
    path = "/org/acme/lib/1.0/lib-1.0.jar"
    with shelf(tmp_path, LocalSection(delete=False)) as local:
        async with asking(node, local, token="push") as client:
            assert (await client.put(path, content=b"one")).status_code == 201
            wrong = await client.put(f"{path}.sha1", content=b"0" * 40)
            other = await client.put(path, content=b"two")
            assert (wrong.status_code, other.status_code) == (400, 409)
            assert "stays" in wrong.json()["error"]["what"]
            assert (await client.get(path)).content == b"one"


@pytest.mark.parametrize(
    "name",
    [
        "lib-1.0-99999999.999999-9.jar",
        "lib-1.0-20260230.000000-9.jar",
        "lib-1.0-20990101.000000-9.jar",
        "lib-1.0-20260101.000000-1006.jar",
        "lib-1.0-20260101.000000-999999999.jar",
        "lib-1.0-20260101.000000-000000006.jar",
    ],
)
async def test_a_build_from_nowhere_does_not_end_a_snapshot(node, local, name):
    folder = "/org/acme/lib/1.0-SNAPSHOT"
    async with asking(node, local, token="push") as client:
        for number in range(1, 6):
            good = await client.put(f"{folder}/lib-1.0-20260101.000000-{number}.jar", content=b"%d" % number)
            assert good.status_code == 201
        assert (await client.put(f"{folder}/{name}", content=b"evil")).status_code == 400
        assert (await client.get(f"{folder}/lib-1.0-SNAPSHOT.jar")).content == b"5"
        after = await client.put(f"{folder}/lib-1.0-20260101.000000-1005.jar", content=b"next")
        assert after.status_code == 201


async def test_a_checksum_before_its_file_is_told_the_order(node, local):
    async with asking(node, local, token="push") as client:
        answer = await push(client, f"{LIB}/1.0/lib-1.0.jar.sha1", b"0" * 40)

    assert answer.status_code == 409
    assert "push the file, then its checksums" in answer.json()["error"]["do"]


def build(number, time="20260102.030405", tail=".jar"):
    return f"{SNAP}/lib-1.0-{time}-{number}{tail}"


async def test_a_snapshot_grows_and_its_moving_name_leads_to_the_newest_build(node, local):
    async with asking(node, local, token="push") as client:
        before = await client.get(f"{SNAP}/maven-metadata.xml")
        for number in (1, 2):
            assert (await push(client, build(number), JAR + b"%d" % number)).status_code == 201
        assert (await push(client, build(1, tail="-sources.jar"), b"sources")).status_code == 201
        changed = await push(client, build(2), b"other")
        listed = await client.get(f"{SNAP}/maven-metadata.xml")
        sum_of_list = await client.get(f"{SNAP}/maven-metadata.xml.sha1")
        above = await client.get(f"{LIB}/maven-metadata.xml")
        newest = await client.get(f"{SNAP}/lib-1.0-SNAPSHOT.jar")
        newest_sum = await client.get(f"{SNAP}/lib-1.0-SNAPSHOT.jar.sha1")
        sources = await client.get(f"{SNAP}/lib-1.0-SNAPSHOT-sources.jar")
        none = await client.get(f"{SNAP}/lib-1.0-SNAPSHOT.war")

    assert before.status_code == 404
    assert changed.status_code == 409
    root = read_xml(listed.content)
    assert root.get("versioning/snapshot/buildNumber") == "2"
    assert root.get("version") == "1.0-SNAPSHOT"
    assert sum_of_list.text == digest("sha1", listed.content)
    top = read_xml(above.content)
    assert (top.get("versioning/latest"), top.get("versioning/release")) == ("1.0-SNAPSHOT", "")
    assert (newest.content, newest.headers["cache-control"]) == (JAR + b"2", "no-cache")
    assert newest_sum.text == digest("sha1", JAR + b"2")
    assert (sources.content, none.status_code) == (b"sources", 404)


async def test_old_builds_of_a_snapshot_go_and_all_files_of_the_newest_stay(node, local):
    most = snapshots.BUILDS_KEPT.value
    async with asking(node, local, token="push") as client:
        for number in range(1, most + 3):
            for tail in (".jar", ".pom"):
                await push(client, build(number, tail=tail), b"%d" % number)
        left = [row.key for row in local.rows(PACKAGE)]
        first = await client.get(build(1))
        last = await client.get(build(most + 2))

    assert len(left) == 2 * most
    assert (first.status_code, last.content) == (404, b"%d" % (most + 2))


async def test_clients_that_push_the_moving_name_replace_what_was_there(node, local):
    async with asking(node, local, token="push") as client:
        path = f"{SNAP}/lib-1.0-SNAPSHOT.jar"
        answers = [await push(client, path, data) for data in (b"one", b"two")]
        got = await client.get(path)
        listed = await client.get(f"{SNAP}/maven-metadata.xml")

    assert [one.status_code for one in answers] == [201, 201]
    assert got.content == b"two"
    assert read_xml(listed.content).get("versioning/snapshotVersions/snapshotVersion/value") == "1.0-SNAPSHOT"


async def test_a_plugin_s_prefix_is_what_was_deployed_and_nobody_else_s_can_be_set(node, local):
    publish(node, Artifact("org.acme", "maven-net-plugin", "1"), ".jar", JAR)
    said = b"".join(
        b"<plugin><name>N</name><prefix>%b</prefix><artifactId>%b</artifactId></plugin>" % pair
        for pair in [(b"odd", b"odd-tool"), (b"evil", b"maven-net-plugin"), (b"none", b"not-here")]
    )
    async with asking(node, local, token="push") as client:
        await push(client, "/org/acme/odd-tool/1/odd-tool-1.jar", JAR)
        answers = [
            await push(
                client, "/org/acme/maven-metadata.xml", b"<metadata><plugins>%b</plugins></metadata>" % said
            )
            for _ in range(2)
        ]
        listed = await client.get("/org/acme/maven-metadata.xml")
        sha1 = await client.get("/org/acme/maven-metadata.xml.sha1")
        files = await client.get("/org/acme/odd-tool/maven-metadata.xml")
    async with asking(node, local, token="other") as stranger:
        await push(stranger, "/org/acme/maven-metadata.xml",
                   b"<metadata><plugins><plugin><prefix>x</prefix><artifactId>odd-tool</artifactId></plugin></plugins>"
                   b"</metadata>")  # fmt: skip
        after = await stranger.get("/org/acme/maven-metadata.xml")

    assert [one.status_code for one in answers] == [201, 201]
    found = [
        (one.get("prefix"), one.get("artifactId")) for one in read_xml(listed.content).all("plugins/plugin")
    ]
    assert found == [("odd", "odd-tool"), ("net", "maven-net-plugin")]
    assert sha1.text == digest("sha1", listed.content)
    assert [one.text for one in read_xml(files.content).all("versioning/versions/version")] == ["1"]
    assert after.content == listed.content


async def test_nobody_pushes_to_a_package_of_the_network(node, local):
    publish(node, tool("1.0"), ".jar", JAR)
    async with asking(node, local, token=TOKEN) as client:
        answers = [
            await push(client, "/org/example/tool/9/tool-9.jar", b"mine"),
            await push(client, "/org/example/tool/1.0/tool-1.0.jar.sha1", digest("sha1", JAR).encode()),
            await push(client, "/org/example/tool/maven-metadata.xml", b"<metadata><versioning/></metadata>"),
        ]

    assert [one.status_code for one in answers] == [409] * 3
    assert answers[0].reason_phrase.startswith("pkg:maven/org.example/tool is a package of the network")
    assert not local.packages("pkg:")


async def test_what_was_pushed_first_stays_local_when_the_log_names_it_later(node, local):
    async with asking(node, local, token="push") as client:
        await push(client, f"{LIB}/1.0/lib-1.0.jar", JAR)
        publish(node, Artifact("org.acme", "lib", "2.0"), ".jar", b"theirs")
        listed = await client.get(f"{LIB}/maven-metadata.xml")
        theirs = await client.get(f"{LIB}/2.0/lib-2.0.jar")

    assert "<version>2.0</version>" not in listed.text
    assert theirs.status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        f"{LIB}/1.0/other-1.0.jar",
        f"{LIB}/1.0/lib-1.1.jar",
        f"{LIB}/1.0/lib-1.0",
        f"{LIB}/1.0/lib-1.0.",
        f"{LIB}/1.0/lib-1.0x.jar",
        f"{SNAP}/lib-1.0.jar",
        f"{SNAP}/lib-1.0-20260101-1.jar",
        f"{LIB}/1.0/lib-1.0.jar.tlog-proof",
        f"{LIB}/1.0/lib-1.0.jar.intoto.jsonl",
        f"/{'a' * 52}{LIB}/1.0/lib-1.0.jar",
        f"{LIB}/1.0/lib-1.0.jar.sha1.sha1",
    ],
)
async def test_what_has_no_place_in_a_repository_is_refused(node, local, path):
    async with asking(node, local, token=TOKEN) as client:
        answer = await push(client, path, b"x")

    assert answer.status_code in (400, 409)
    assert not local.packages("pkg:")


@pytest.mark.parametrize(
    "path", [f"{LIB}/1.0/..%2F..%2Fx-1.0.jar", "/x", f"{LIB}/..%2F/lib-1.jar", "/.meta/prefixes.txt"]
)
async def test_what_is_no_path_of_a_repository_is_not_found(node, local, path):
    async with asking(node, local, token=TOKEN) as client:
        assert (await push(client, path, b"x")).status_code == 404


async def test_lists_and_checksums_that_are_none_are_told_so(node, local):
    async with asking(node, local, token="push") as client:
        broken = await push(client, f"{LIB}/maven-metadata.xml", b"<metadata>")
        long = await push(client, f"{LIB}/maven-metadata.xml", b"x" * (deploy.LIST_BYTES.value + 1))
        await push(client, f"{LIB}/1.0/lib-1.0.jar", JAR)
        long_sum = await push(client, f"{LIB}/1.0/lib-1.0.jar.sha1", b"0" * (deploy.SUM_BYTES.value + 1))

    assert [one.status_code for one in (broken, long, long_sum)] == [400, 413, 413]


async def test_a_file_is_taken_back_by_who_may_push_it(node, local):
    async with asking(node, local, token="push") as client:
        await push(client, f"{LIB}/1.0/lib-1.0.jar", JAR)
        refused = [
            await client.delete(f"{LIB}/1.0/lib-1.0.jar.sha1"),
            await client.delete(f"{LIB}/maven-metadata.xml"),
        ]
        async with asking(node, local, token="other") as stranger:
            foreign = await stranger.delete(f"{LIB}/1.0/lib-1.0.jar")
        deleted = await client.delete(f"{LIB}/1.0/lib-1.0.jar")
        again = await client.delete(f"{LIB}/1.0/lib-1.0.jar")
        listed = await client.get(f"{LIB}/maven-metadata.xml")

    assert [one.status_code for one in refused] == [400, 400]
    assert (foreign.status_code, deleted.status_code, again.status_code, listed.status_code) == (
        403,
        204,
        404,
        404,
    )


async def test_what_policy_denies_of_the_shelf_is_not_given(node, local):
    no = Refusal("denied", what="deny names it", who="this node's policy", do="take it out of `deny`")
    local.judge = lambda purl: no if purl == f"{PACKAGE}@1.0" else None
    async with asking(node, local, token="push") as client:
        for version in ("1.0", "1.1"):
            await push(client, f"{LIB}/{version}/lib-{version}.jar", JAR + version.encode())
        denied = [await client.get(f"{LIB}/1.0/lib-1.0.jar{ending}") for ending in ("", ".sha1")]
        given = await client.get(f"{LIB}/1.1/lib-1.1.jar")

    assert [one.status_code for one in denied] == [403, 403]
    assert denied[0].reason_phrase == "deny names it -- take it out of `deny`"
    assert given.content == JAR + b"1.1"


async def test_where_pushers_take_nothing_back_an_admin_still_does(node, tmp_path):
    with shelf(tmp_path, LocalSection(delete=False)) as local:
        async with asking(node, local, token="push") as client:
            await push(client, f"{LIB}/1.0/lib-1.0.jar", JAR)
            refused = await client.delete(f"{LIB}/1.0/lib-1.0.jar")
        async with asking(node, local, token=TOKEN) as admin:
            deleted = await admin.delete(f"{LIB}/1.0/lib-1.0.jar")

    assert (refused.status_code, deleted.status_code) == (403, 204)
    assert refused.reason_phrase.startswith("push tokens take nothing back on this node -- ask its operator")


async def test_two_pushes_of_one_file_at_once_do_not_mix(node, local):
    held, let_go = trio.Event(), trio.Event()

    async def slowly():
        yield JAR
        held.set()
        await let_go.wait()
        yield b" and the rest"

    first: list[httpx.Response] = []
    async with asking(node, local, token="push") as client, trio.open_nursery() as nursery:

        async def push_slowly() -> None:
            first.append(await client.put(f"{LIB}/1.0/lib-1.0.jar", content=slowly()))

        nursery.start_soon(push_slowly)
        await held.wait()
        while (await push(client, f"{LIB}/1.0/lib-1.0.jar", b"x")).status_code != 409:
            await local.delete(PACKAGE, "1.0/lib-1.0.jar")  # the slow one had not begun
        let_go.set()
    got = local.row(PACKAGE, "1.0/lib-1.0.jar")
    assert first[0].status_code == 201
    assert got.size == len(JAR) + len(b" and the rest")


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(node, local):
    async with repository(node, local) as url:
        host, port = url.removeprefix("http://").removesuffix("/maven2").split(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(
                f"PUT /maven2{LIB}/1.0/lib-1.0.jar HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n"
                f"Authorization: Bearer push\r\n\r\nabc".encode()
            )
        async with asking(node, local, token="push") as client:
            with bounded():
                while (await push(client, f"{LIB}/1.0/lib-1.0.jar", JAR)).status_code != 201:
                    await trio.sleep(0.01)
    assert local.row(PACKAGE, "1.0/lib-1.0.jar").size == len(JAR)


async def test_the_prefixes_are_those_of_the_log_and_of_the_shelf(node, local):
    publish(node, tool("1.0"), ".jar", JAR)
    async with asking(node, local, token="push") as client:
        await push(client, f"{LIB}/1.0/lib-1.0.jar", JAR)
        answer = await client.get("/.meta/prefixes.txt")

    assert answer.text == "## repository-prefixes/2.0\n/org/acme\n/org/example\n"
