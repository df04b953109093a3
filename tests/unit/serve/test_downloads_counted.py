"""What counts as a download: a client that got a file to its end, once; never a look, a part, or what was cut."""

import hashlib
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.serve.maven_toys import publish, tool
from tests.unit.serve.test_apps import asking
from tests.unit.serve.toy import ToyNode, dial, serving, toy_app

sys.path.insert(0, str(Path(__file__).parent))
from oci_toys import Images, sha

from tests.reference.waiting import until

DATA = b"a wheel" * 2_000
# (method, headers) -> whether the client has the whole file behind it
ASKED: list[tuple[str, dict[str, str], bool]] = [
    ("GET", {}, True),
    ("HEAD", {}, False),
    ("GET", {"if-none-match": "ETAG"}, False),
    ("GET", {"if-none-match": '"other"'}, True),
    ("GET", {"range": "bytes=0-99"}, False),
    ("GET", {"range": "bytes=-100"}, False),  # the directory of a wheel: no download
    ("GET", {"range": f"bytes=100-{len(DATA) - 1}"}, False),
    ("GET", {"range": f"bytes=0-{len(DATA) - 1}"}, True),
    ("GET", {"range": "bytes=0-"}, True),
    ("GET", {"range": "bytes=100-"}, True),  # goes on with what was cut
    ("GET", {"range": f"bytes={len(DATA)}-"}, False),
    ("GET", {"range": "bytes=100-", "if-range": '"older"'}, True),
    ("GET", {"range": "bytes=0-1,3-4"}, True),  # several parts are answered with the whole
]


async def ask(client: httpx.AsyncClient, path: str, sha256: str, which: int) -> None:
    method, headers, _ = ASKED[which]
    named = {name: value.replace("ETAG", f'"{sha256}"') for name, value in headers.items()}
    answer = await client.request(method, path, headers=named)
    assert answer.status_code in (200, 206, 304, 416)


@settings(max_examples=15, deadline=None)
@given(order=st.lists(st.integers(0, len(ASKED) - 1), max_size=12))
def test_the_count_is_that_of_the_answers_that_left_a_whole_file(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    async def scenario() -> None:
        node = ToyNode(tmp_path_factory.mktemp("counted"))
        file = node.publish("a-1-py3-none-any.whl", DATA)
        path = f"/pypi/files/{file.sha256}/{file.filename}"
        async with asking(node) as client:
            for which in order:
                await ask(client, path, file.sha256, which)
        assert Counter(node.given) == Counter({file.sha256: sum(ASKED[i][2] for i in order)} if any(
            ASKED[i][2] for i in order) else {})  # fmt: skip

    trio.run(scenario)


@pytest.mark.parametrize("which", range(len(ASKED)))
async def test_each_kind_of_request_counts_as_it_should(tmp_path: Path, which: int) -> None:
    node = ToyNode(tmp_path)
    file = node.publish("a-1-py3-none-any.whl", DATA)
    async with asking(node) as client:
        await ask(client, f"/pypi/files/{file.sha256}/{file.filename}", file.sha256, which)
    assert node.given == [file.sha256] * ASKED[which][2]


async def test_other_doors_give_digests_too_and_pages_none(tmp_path: Path) -> None:
    node = ToyNode(tmp_path)
    file = node.publish("a-1-py3-none-any.whl", DATA)
    node.proofs[file.sha256] = b"proof\n"
    async with asking(node) as client:
        for path in (
            "/pypi/simple/",
            "/pypi/simple/a/",
            "/packages/pkg:pypi/a",
            "/api/v1/status",
            "/log/checkpoint",
        ):
            assert (await client.get(path)).status_code == 200
        await client.get(f"/pypi/files/{file.sha256}/{file.filename}.tlog-proof")
        await client.get("/pypi/files/" + "0" * 64 + "/none-1-py3-none-any.whl")
    assert file.sha256 not in node.given


async def test_a_maven_client_s_file_counts_and_its_checksums_and_lists_do_not(tmp_path: Path) -> None:
    node = ToyNode(tmp_path)
    publish(node, tool(), ".jar", b"PK a jar")
    base = "/maven2/org/example/tool"
    async with asking(node) as client:
        for path in (
            f"{base}/1.0/tool-1.0.jar",
            f"{base}/1.0/tool-1.0.jar.sha1",
            f"{base}/maven-metadata.xml",
        ):
            assert (await client.get(path)).status_code == 200
        await client.head(f"{base}/1.0/tool-1.0.jar")
    named = {one.sha256 for one in node.published.values()}
    assert [one for one in node.given if one in named] == [hashlib.sha256(b"PK a jar").hexdigest()]


async def test_a_pull_counts_each_of_its_files_once(tmp_path: Path) -> None:
    node = Images(tmp_path)
    image = node.image("team/app", "1")
    async with asking(node) as client:
        manifest = "/v2/team/app/manifests/1"
        assert (await client.head(manifest)).status_code == 200
        assert (await client.get(manifest)).status_code == 200
        assert (await client.get("/v2/team/app/tags/list")).status_code == 200
        for part in ("config", "layer"):
            assert (await client.get(f"/v2/team/app/blobs/sha256:{sha(image[part])}")).status_code == 200
    known = Counter(one for one in node.given if one in node.published)
    assert known == {sha(image[part]): 1 for part in ("config", "layer", "manifest")}


async def test_who_leaves_in_the_middle_has_downloaded_nothing(tmp_path: Path) -> None:
    node = ToyNode(tmp_path)
    file = node.publish("a-1-py3-none-any.whl", bytes(64 << 20))
    async with serving(toy_app(node)) as server:
        stream = await dial(server)
        request = f"GET /pypi/files/{file.sha256}/{file.filename} HTTP/1.1\r\nhost: localhost\r\n\r\n"
        await stream.send_all(request.encode())
        await stream.receive_some(4_096)
        await stream.aclose()
        await until(lambda: not server.connections)
    assert node.given == []
