"""`deny` reaches what was pushed: each registry gives it until policy names it, and then says why to its client."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from pyrsia.errors import Refusal
from pyrsia.node.packages.local import LocalPackages
from pyrsia.serve.desks.supply import NoUpstream, Supply
from pyrsia.serve.desks.tokens import TokenOrder
from tests.unit.serve.maven_toys import shelf
from tests.unit.serve.toy import ToyNode, serving, toy_app

RREV = "0123456789abcdef" * 2
REVISION = f"/conan/v2/conans/zlib/1.3/_/_/revisions/{RREV}/files"
RECIPE = b"from conan import ConanFile\n"
MANIFEST = b"0\nconanfile.py: %b\n" % hashlib.md5(RECIPE, usedforsecurity=False).hexdigest().encode()
CONFIG = b"{}"
IMAGE = (
    b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":'
    b'"application/vnd.oci.image.config.v1+json","digest":"sha256:%b","size":2},"layers":[]}'
    % hashlib.sha256(CONFIG).hexdigest().encode()
)
KIND = {"content-type": "application/vnd.oci.image.manifest.v1+json"}


@asynccontextmanager
async def pushing(folder: Path) -> AsyncIterator[tuple[httpx.AsyncClient, LocalPackages]]:
    node = ToyNode(folder)
    token = (await node.keyring.make(TokenOrder("push", name="ci"))).token
    with shelf(folder) as local:
        async with serving(toy_app(node, Supply(node, local, NoUpstream()))) as server:
            async with httpx.AsyncClient(base_url=server.url, auth=("any", token), timeout=20) as client:
                yield client, local


async def push_image(client: httpx.AsyncClient) -> int:
    digest = f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"
    await client.post(f"/v2/team/app/blobs/uploads/?digest={digest}", content=CONFIG)
    return (await client.put("/v2/team/app/manifests/3", content=IMAGE, headers=KIND)).status_code


async def push_jar(client: httpx.AsyncClient) -> int:
    return (await client.put("/maven2/org/acme/lib/1.0/lib-1.0.jar", content=b"jar")).status_code


async def push_recipe(client: httpx.AsyncClient) -> int:
    await client.put(f"{REVISION}/conanfile.py", content=RECIPE)
    return (await client.put(f"{REVISION}/conanmanifest.txt", content=MANIFEST)).status_code


@pytest.mark.parametrize(
    ("push", "purl", "address"),
    [
        (push_image, "pkg:docker/team/app@3", "/v2/team/app/manifests/3"),
        (push_jar, "pkg:maven/org.acme/lib@1.0", "/maven2/org/acme/lib/1.0/lib-1.0.jar"),
        (push_recipe, "pkg:conan/zlib@1.3", f"{REVISION}/conanfile.py"),
    ],
    ids=["oci", "maven", "conan"],
)
async def test_what_was_pushed_is_given_until_policy_names_it(
    tmp_path: Path, push: object, purl: str, address: str
) -> None:
    async with pushing(tmp_path) as (client, local):
        assert callable(push)
        pushed = await push(client)
        given = await client.get(address)
        asked: list[str] = []

        def judge(about: str) -> Refusal | None:
            asked.append(about)
            no = Refusal("denied", what=f"policy refuses {about}", who="this node's policy", do="ask")
            return no if about == purl else None

        local.judge = judge
        refused = await client.get(address)

    assert (pushed, given.status_code) == (201, 200), given.text
    assert purl in asked
    assert refused.status_code == 403
    assert f"policy refuses {purl}" in refused.text + refused.reason_phrase
    assert given.content not in refused.content
