"""What strangers wrote runs nowhere on the origin of the node's pages, and caches keep nothing that a token read."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.serve.http.outgoing import completed
from pyrsia.serve.pypi import JSON
from tests.unit.serve.maven_toys import asking, shelf
from tests.unit.serve.toy import TOKEN, ToyNode, serving, toy_app

EVIL = b"""<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body><script>
fetch('/v2/_token')</script></body></html>"""
BEARER = {"authorization": f"Bearer {TOKEN}"}
POLICY = "content-security-policy"


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    node = ToyNode(tmp_path)
    node.publish("idna-3.10-py3-none-any.whl", EVIL)
    async with serving(toy_app(node)) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
            yield client


async def test_a_pushed_pom_that_is_a_page_is_given_as_one_that_runs_nothing(tmp_path: Path) -> None:
    with shelf(tmp_path / "shelf") as local:
        async with asking(ToyNode(tmp_path), local) as client:
            path = "/org/acme/lib/1.0/lib-1.0.pom"
            assert (await client.put(path, content=EVIL, auth=("ci", "push"))).status_code == 201
            answer = await client.get(path)
    assert answer.content == EVIL
    policy = answer.headers[POLICY].split("; ")
    assert "default-src 'none'" in policy
    assert not {"allow-scripts", "allow-same-origin", "allow-forms"} & set(policy[0].split())
    assert policy[0].startswith("sandbox")


@pytest.mark.parametrize(
    "path",
    [
        "/pypi/simple/idna/",
        "/pypi/simple/",
        "/maven2/org/example/tool/maven-metadata.xml",
        "/v2/",
        "/v2/a/manifests/b",
        "/conan/v2/ping",
        "/log/checkpoint",
        "/api/v1/status",
        "/api/v1/nothing",
        "/witness/nothing",
        "/healthz",
        "/nothing",
    ],
)
@pytest.mark.parametrize("host", ["", "evil.example"])
async def test_every_answer_says_that_it_runs_nothing_but_the_nodes_own(
    web: httpx.AsyncClient, path: str, host: str
) -> None:
    answer = await web.get(path, headers={"host": host} if host else {})
    assert (answer.status_code == 421) == bool(host)
    told = answer.headers.get_list(POLICY)
    assert len(told) == 1
    ours = answer.headers["content-type"].startswith("text/html") and not path.startswith("/pypi/")
    assert told[0].startswith("default-src 'self';" if ours else "sandbox")


async def test_no_cache_on_the_way_keeps_what_a_token_read(web: httpx.AsyncClient) -> None:
    page = (await web.get("/pypi/simple/idna/", headers={"accept": JSON})).json()
    path = f"/pypi/simple/idna/{page['files'][0]['url']}"
    for more in ({}, {"range": "bytes=0-3"}, {"if-none-match": "*"}):
        free = await web.get(path, headers=more)
        told = await web.get(path, headers={**BEARER, **more})
        assert free.status_code == told.status_code
        assert free.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert told.headers["cache-control"] == "private, max-age=31536000, immutable"
    head = await web.head(path, headers={"authorization": "Bearer anonymous"})
    assert (head.status_code, head.headers["cache-control"][:8]) == (200, "private,")


_VALUES = st.sampled_from([b"public", b"public, max-age=9", b"max-age=9, public", b"private", b"no-cache"])
_NAMES = st.sampled_from([b"cache-control", b"etag", POLICY.encode()])


@given(headers=st.lists(st.tuples(_NAMES, _VALUES), max_size=5), token=st.booleans())
def test_other_headers_pass_as_they_are(headers: list[tuple[bytes, bytes]], token: bool) -> None:
    scope = {"headers": [(b"authorization", b"Basic eA==")] if token else []}
    done = completed(scope, headers)
    assert [value for name, value in done if name == b"etag"] == [v for n, v in headers if n == b"etag"]
    assert sum(name == POLICY.encode() for name, _ in done) == 1
    told = [value for name, value in done if name == b"cache-control"]
    if token:
        assert not any(b"public" in value for value in told)
    else:
        assert told == [v for n, v in headers if n == b"cache-control"]
