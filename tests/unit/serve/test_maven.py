"""The Maven repository of a toy node, asked as Maven's clients ask."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from pyrsia.builds.maven.coordinates import Artifact
from pyrsia.builds.maven.poms import read_xml
from pyrsia.serve.maven import metadata
from tests.unit.serve.maven_toys import publish
from tests.unit.serve.toy import TOKEN, ToyNode, serving, toy_app

OWNER = "a" * 52
JAR = b"PK not really a jar"
SUMS = {".sha1": "sha1", ".md5": "md5", ".sha256": "sha256", ".sha512": "sha512"}


def tool(version: str = "1.0") -> Artifact:
    return Artifact("org.example", "tool", version)


@pytest.fixture
def node(tmp_path: Path) -> ToyNode:
    node = ToyNode(tmp_path)
    publish(node, tool("1.9"), ".jar", JAR)
    publish(node, tool("1.10"), ".jar", JAR + b"1", time_s=1_700_000_100)
    publish(node, tool("1.10"), ".pom", b"<project/>")
    publish(node, tool("1.2"), ".jar", JAR + b"2")
    return node


@asynccontextmanager
async def asking(node: ToyNode) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(toy_app(node)) as server:
        async with httpx.AsyncClient(base_url=f"{server.url}/maven2", timeout=20) as client:
            yield client


BASE = "/org/example/tool"


async def test_a_file_is_served_with_its_checksums_beside_it_and_in_its_head(node: ToyNode):
    async with asking(node) as client:
        answer = await client.get(f"{BASE}/1.9/tool-1.9.jar")
        head = await client.head(f"{BASE}/1.9/tool-1.9.jar")
        beside = {ending: await client.get(f"{BASE}/1.9/tool-1.9.jar{ending}") for ending in SUMS}
        pom = await client.get(f"{BASE}/1.10/tool-1.10.pom")

    assert (answer.status_code, answer.content) == (200, JAR)
    assert answer.headers["content-type"] == "application/java-archive"
    assert "immutable" in answer.headers["cache-control"]
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(JAR)))
    assert pom.headers["content-type"] == "text/xml"
    for ending, kind in SUMS.items():
        digest = hashlib.new(kind, JAR).hexdigest()
        assert beside[ending].text == digest
        assert answer.headers[f"x-checksum-{kind}"] == digest


@pytest.mark.parametrize(
    "since",
    [
        "Mon, 01 Jan 2020 00:00:00 +99999999999999999999",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2020 00:00:00 +9999",
        "Mon, 01 Jan 0000 00:00:00 GMT",
        "x",
    ],
)
async def test_a_time_that_no_calendar_has_is_no_condition(node: ToyNode, since: str):
    async with asking(node) as client:
        answer = await client.get(f"{BASE}/1.9/tool-1.9.jar", headers={"if-modified-since": since})

    assert (answer.status_code, answer.content) == (200, JAR)


async def test_what_the_client_has_is_not_sent_again(node: ToyNode):
    async with asking(node) as client:
        path = f"{BASE}/1.9/tool-1.9.jar"
        first = await client.get(path)
        told = {name: first.headers[name] for name in ("etag", "last-modified")}
        by_tag = await client.get(path, headers={"if-none-match": told["etag"]})
        by_time = await client.get(path, headers={"if-modified-since": told["last-modified"]})
        both = await client.get(
            path, headers={"if-none-match": '"other"', "if-modified-since": told["last-modified"]}
        )
        older = await client.get(path, headers={"if-modified-since": "Thu, 01 Jan 1970 00:00:00 GMT"})
        nonsense = await client.get(path, headers={"if-modified-since": "yesterday"})
        part = await client.get(path, headers={"range": "bytes=3-5"})

    assert [one.status_code for one in (by_tag, by_time)] == [304, 304]
    assert [one.status_code for one in (both, older, nonsense)] == [200, 200, 200]
    assert (part.status_code, part.content) == (206, JAR[3:6])


async def test_the_list_of_versions_is_the_log_s_and_so_are_its_checksums(node: ToyNode):
    async with asking(node) as client:
        answer = await client.get(f"{BASE}/maven-metadata.xml")
        sha1 = await client.get(f"{BASE}/maven-metadata.xml.sha1")
        again = await client.get(
            f"{BASE}/maven-metadata.xml", headers={"if-none-match": answer.headers["etag"]}
        )
        publish(node, tool("2.0"), ".jar", b"new")
        later = await client.get(f"{BASE}/maven-metadata.xml")

    root = read_xml(answer.content)
    assert [one.text for one in root.all("versioning/versions/version")] == ["1.9", "1.10", "1.2"]
    assert [root.get(f"versioning/{name}") for name in ("latest", "release")] == ["1.10", "1.10"]
    assert root.get("versioning/lastUpdated") == "20231114221500"
    assert sha1.text == hashlib.new(SUMS[".sha1"], answer.content).hexdigest()
    assert again.status_code == 304
    assert "<release>2.0</release>" in later.text
    assert answer.headers["cache-control"] == "no-cache"


async def test_what_a_node_claims_stands_below_its_own_name_only(node: ToyNode):
    publish(node, Artifact("org.example", "own", "1"), ".jar", b"claimed", owner=OWNER)
    async with asking(node) as client:
        own = await client.get(f"/{OWNER}/org/example/own/1/own-1.jar")
        named = await client.get("/org/example/own/1/own-1.jar")
        listed = await client.get(f"/{OWNER}/org/example/own/maven-metadata.xml")
        not_theirs = await client.get(f"/{OWNER}{BASE}/1.9/tool-1.9.jar")

    assert (own.status_code, own.content) == (200, b"claimed")
    assert "<version>1</version>" in listed.text
    assert (named.status_code, not_theirs.status_code) == (404, 404)


async def test_the_first_file_of_a_name_stays(node: ToyNode):
    publish(node, tool("1.9"), ".jar", b"another")
    async with asking(node) as client:
        assert (await client.get(f"{BASE}/1.9/tool-1.9.jar")).content == JAR


async def test_the_proof_and_the_attestations_lie_beside_the_file(node: ToyNode):
    file = node.published["pkg:maven/org.example/tool@1.9 tool-1.9.jar 0"]
    async with asking(node) as client:
        early = await client.get(f"{BASE}/1.9/tool-1.9.jar.tlog-proof")
        node.proofs[file.sha256] = b"proof"
        proof = await client.get(f"{BASE}/1.9/tool-1.9.jar.tlog-proof")
        bundle = await client.get(f"{BASE}/1.9/tool-1.9.jar.intoto.jsonl")

    assert early.status_code == 404
    assert proof.content == b"proof"
    assert bundle.content == b'{"payload":""}\n'


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/org",
        "/org/example",
        BASE,
        f"{BASE}/",
        f"{BASE}/1.9",
        f"{BASE}/1.9/",
        f"{BASE}/1.9/tool-1.9.war",
        f"{BASE}/1.9/tool-1.9.jar.asc",
        f"{BASE}/1.9/tool-1.9.jar.sha1.sha1",
        f"{BASE}/1.10/tool-1.9.jar",
        f"{BASE}/3.0/tool-3.0.jar",
        f"{BASE}/1.9/maven-metadata.xml",
        f"{BASE}/maven-metadata.xml.asc",
        "/org/example/maven-metadata.xml",
        "/org/example/other/maven-metadata.xml",
        f"{BASE}/1.9/..%2Ftool-1.9.jar",
        f"{BASE}/1.9/tool%201.9.jar",
        "/org/example/t%C3%B6%C3%B6l/1/x.jar",
        "/.meta/prefixes.txt.sha1",
        f"/{OWNER}",
        f"/{OWNER}/",
    ],
)
async def test_what_does_not_exist_is_a_quick_404(node: ToyNode, path: str):
    async with asking(node) as client:
        assert (await client.get(path)).status_code == 404


async def test_a_folder_is_a_404_that_says_where_things_are(node: ToyNode):
    async with asking(node) as client:
        answers = [await client.get(path) for path in ("/", "/org/example/", f"{BASE}/1.9/", f"/{OWNER}/")]

    assert [one.status_code for one in answers] == [404] * 4
    assert all("have no pages" in one.json()["error"]["what"] for one in answers)


async def test_nobody_pushes_to_what_the_network_owns(node: ToyNode):
    async with asking(node) as client:
        answer = await client.put(
            f"{BASE}/1.9/tool-1.9.jar", content=b"x", headers={"authorization": f"Bearer {TOKEN}"}
        )

    # This node has no shelf.
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")


async def test_a_file_that_nobody_has_is_a_503_that_maven_does_not_remember(node: ToyNode):
    file = node.published["pkg:maven/org.example/tool@1.9 tool-1.9.jar 0"]
    node.absent.add(file.sha256)
    node.lost.add(file.sha256)
    async with asking(node) as client:
        answers = [
            await client.get(f"{BASE}/1.9/tool-1.9.jar{ending}") for ending in ("", ".sha1", ".sha256")
        ]

    # The log itself says the SHA-256; the others need the bytes.
    assert [one.status_code for one in answers] == [503, 503, 200]


def test_a_list_of_versions_escapes_what_strangers_wrote(tmp_path: Path):
    file = publish(ToyNode(tmp_path), Artifact("org.example", "tool", "1<2"), ".jar", b"x")

    root = read_xml(metadata("org.example", "tool", [file]))
    assert root.get("versioning/release") == "1<2"
