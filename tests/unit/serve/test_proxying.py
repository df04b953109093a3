"""Four registries in the mode `proxy` before one upstream: who owns a name, what is marked, what is never asked for."""

import hashlib
import json
from contextlib import asynccontextmanager

import httpx
import pytest

from pyrsia.builds.maven.coordinates import Artifact
from pyrsia.builds.maven.poms import read_xml
from pyrsia.errors import Refusal
from pyrsia.serve.app import build_app
from pyrsia.serve.desks.supply import Supply
from pyrsia.serve.desks.views import Refused
from pyrsia.serve.guard import Guard
from tests.unit.node.upstream.toy import JSON_TYPE, NODE, bare_environment, in_front, listening, page, plain
from tests.unit.serve.maven_toys import publish, refuse, shelf
from tests.unit.serve.toy import TOKEN, ToyNode, serving, toy_wheel

NO, YES = "no", "yes"
SIMPLE = {"accept": JSON_TYPE}


class Held:
    """What the toy's log and shelf own (`node.upstream.proxy.Ours`)."""

    def __init__(self, node, local):
        self.node, self.local = node, local

    def pushed(self, package):
        return self.local.owns(package)

    def versions(self, package):
        name = package.removeprefix("pkg:pypi/")
        kept = [one.file for one in self.node.refused(name)]
        return frozenset(one.version for one in (*self.node.files(name), *kept))

    def holds(self, sha256):
        return sha256 in {one.sha256 for one in self.node.published.values()} | set(self.node.kept_back)


class Field:
    """Attributes: up: upstream. node, local: what else there is. front: the node's upstream. http: a client."""

    def __init__(self, up, node, local, front, http):
        self.up, self.node, self.local, self.front, self.http = up, node, local, front, http

    def has(self, path, data, **headers):
        self.up.says[path] = plain(data, **headers)

    def has_six(self, *versions):
        """A page of six with a wheel each, which upstream has."""
        rows = []
        for version in versions:
            name, data, _ = toy_wheel("six", version)
            self.has(f"/files/{name}", data + version.encode())
            rows.append((name, f"{self.up.url}/files/{name}"))
        sums = {
            name: hashlib.sha256(self.up.says[f"/files/{name}"].partition(b"\r\n\r\n")[2]).hexdigest()
            for name, _ in rows
        }
        listed = json.loads(page(*rows))
        for one in listed["files"]:
            one["hashes"] = {"sha256": sums[one["filename"]]}
        self.has("/simple/six/", json.dumps(listed).encode(), content_type=JSON_TYPE)
        return sums

    async def pip(self):
        return (await self.http.get("/pypi/simple/six/", headers=SIMPLE)).json()


@asynccontextmanager
async def standing(tmp_path):
    async with listening() as up:
        ups = {"pip": (f"{up.url}/simple",), "maven": (f"{up.url}/m2",), "conan": (up.url,), "oci": (up.url,)}
        node = ToyNode(tmp_path)
        with shelf(tmp_path) as local:
            async with in_front(tmp_path, ups, ours=Held(node, local)) as front:
                supply = Supply(node, local, front.proxy)
                app = build_app(guard=Guard(control_token=TOKEN), supply=supply, log_view=node, admin=node)
                async with serving(app) as server, httpx.AsyncClient(base_url=server.url) as http:
                    yield Field(up, node, local, front, http)


__all__ = ["bare_environment"]
pytestmark = pytest.mark.usefixtures("bare_environment")


@pytest.fixture
async def field(tmp_path):
    async with standing(tmp_path) as found:
        yield found


def files_of(listed):
    return {one["filename"]: one for one in listed["files"]}


async def test_what_only_upstream_has_comes_through_every_registry_marked_and_once(field):
    sums = field.has_six("1.0")
    jar, layer = b"PK jar", b"layer"
    blob = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []}
    ).encode()
    export = "v2/conans/zlib/1.3/_/_/revisions/" + "a" * 32 + "/files/conanfile.py"
    field.has("/m2/org/acme/lib/1.0/lib-1.0.jar", jar)
    field.has(f"/v2/library/alpine/blobs/{blob}", layer)
    field.has("/v2/library/alpine/manifests/3", manifest)
    field.has(f"/{export}", b"recipe")
    wheel = files_of(await field.pip())["six-1.0-py3-none-any.whl"]
    wanted = {
        str(httpx.URL("/pypi/simple/six/").join(wheel["url"])): sums["six-1.0-py3-none-any.whl"],
        "/maven2/org/acme/lib/1.0/lib-1.0.jar": hashlib.sha256(jar).hexdigest(),
        f"/v2/library/alpine/blobs/{blob}": blob[7:],
        "/v2/library/alpine/manifests/3": hashlib.sha256(manifest).hexdigest(),
        f"/conan/{export}": hashlib.sha256(b"recipe").hexdigest(),
    }
    assert wheel["_pyrsia"]["origin"] == "proxied"
    for _ in range(2):
        for path, sha256 in wanted.items():
            answer = await field.http.get(path)
            assert (path, answer.status_code, answer.headers["x-pyrsia-verified"]) == (path, 200, NO)
            assert hashlib.sha256(answer.content).hexdigest() == sha256
        asked = len(field.up.asked)

    assert asked == len({one.target for one in field.up.asked})
    assert field.node.published == {}


async def test_upstream_adds_versions_to_a_name_of_the_log_and_never_a_file_of_one_that_it_holds(field):
    name, data, _ = toy_wheel("six", "1.0")
    field.node.publish(name, data)
    field.has_six("1.0", "2.0")
    publish(field.node, Artifact("org.acme", "lib", "1.0"), ".jar", b"ours")
    field.has(
        "/m2/org/acme/lib/maven-metadata.xml",
        b"<metadata><versioning><versions><version>1.0</version><version>2.0</version></versions></versioning></metadata>",
    )
    field.has("/m2/org/acme/lib/1.0/lib-1.0.jar", b"theirs")
    field.has("/m2/org/acme/lib/1.0/lib-1.0-sources.jar", b"theirs")
    field.has("/m2/org/acme/lib/2.0/lib-2.0.jar", b"theirs")

    listed = files_of(await field.pip())
    assert {one: row["_pyrsia"]["origin"] for one, row in listed.items()} == {
        name: "network", "six-2.0-py3-none-any.whl": "proxied"
    }  # fmt: skip
    assert listed[name]["hashes"]["sha256"] == hashlib.sha256(data).hexdigest()
    lists = await field.http.get("/maven2/org/acme/lib/maven-metadata.xml")
    assert [one.text for one in read_xml(lists.content).all("versioning/versions/version")] == ["1.0", "2.0"]
    ours = await field.http.get("/maven2/org/acme/lib/1.0/lib-1.0.jar")
    theirs = await field.http.get("/maven2/org/acme/lib/2.0/lib-2.0.jar")
    beside = await field.http.get("/maven2/org/acme/lib/1.0/lib-1.0-sources.jar")
    assert (ours.content, theirs.content, beside.status_code) == (b"ours", b"theirs", 404)
    assert (ours.headers["x-pyrsia-verified"], theirs.headers["x-pyrsia-verified"]) == (YES, NO)
    assert not [one for one in field.up.asked if "/1.0/" in one.target or "six-1.0" in one.target]


async def test_what_policy_refuses_is_not_to_be_had_from_upstream_by_any_address(field):
    """Upstream holds the very files, and is asked for none of them."""
    name, data, _ = toy_wheel("six", "1.0")
    file = field.node.publish(name, data)
    refusal = Refusal("denied", what="policy refuses it", who="this node's policy", do="no")
    field.node.kept_back[file.sha256] = Refused(file, refusal)
    field.has(f"/files/{name}", data)
    field.has("/simple/six/", page((name, f"{field.up.url}/files/{name}")), content_type=JSON_TYPE)
    artifact = Artifact("org.acme", "lib", "1.0")
    jar = refuse(field.node, artifact, ".jar", b"refused")
    for path in ("lib-1.0.jar", "lib-1.0.pom", "lib-1.0.jar.sha1"):
        field.has(f"/m2/org/acme/lib/1.0/{path}", b"refused")
    field.has(f"/v2/library/alpine/blobs/sha256:{jar.sha256}", b"refused")
    field.has(f"/v2/library/alpine/manifests/sha256:{jar.sha256}", b"refused")

    await field.pip()
    refused = [
        f"/pypi/files/{file.sha256}/{name}",
        f"/pypi/proxied/six/{file.sha256}/{name}",
        "/maven2/org/acme/lib/1.0/lib-1.0.jar",
        "/maven2/org/acme/lib/1.0/lib-1.0.jar.sha1",
        "/maven2/org/acme/lib/1.0/lib-1.0.pom",
        f"/v2/library/alpine/blobs/sha256:{jar.sha256}",
        f"/v2/library/alpine/manifests/sha256:{jar.sha256}",
    ]
    for path in refused:
        answer = await field.http.get(path)
        assert (path, answer.status_code in (403, 404)) == (path, True)

    assert [one.target for one in field.up.asked if one.target != "/simple/six/"] == []


async def test_a_name_of_this_node_s_own_is_nobody_else_s(field):
    field.has_six("1.0")
    upload = await field.local.open("pkg:pypi/six")
    await upload.write(b"own")
    await upload.keep("files/six-9.0.tar.gz", by="ci", more={"filename": "six-9.0.tar.gz", "version": "9.0"})
    jar = await field.local.open("pkg:maven/org.acme/lib")
    await jar.write(b"own")
    await jar.keep("1.0/lib-1.0.jar", by="ci")
    field.has("/m2/org/acme/lib/2.0/lib-2.0.jar", b"theirs")

    assert "six-1.0-py3-none-any.whl" not in files_of(await field.pip())
    assert (await field.http.get("/maven2/org/acme/lib/2.0/lib-2.0.jar")).status_code == 404
    assert (await field.http.get("/maven2/org/acme/lib/maven-metadata.xml")).status_code == 200
    assert field.up.asked == []


async def test_a_request_that_came_through_this_node_already_asks_nobody(field):
    field.has_six("1.0")
    field.has("/m2/org/acme/lib/1.0/lib-1.0.jar", b"jar")
    for path in (
        "/pypi/simple/six/", "/maven2/org/acme/lib/1.0/lib-1.0.jar", "/v2/library/alpine/manifests/3",
        "/conan/v2/conans/zlib/1.3/_/_/latest",
    ):  # fmt: skip
        answer = await field.http.get(path, headers={"pyrsia-via": f"{'b' * 52}, {NODE}", **SIMPLE})
        assert (path, answer.status_code) == (path, 404)
    assert field.up.asked == []
    assert (await field.http.get("/pypi/simple/six/", headers=SIMPLE)).status_code == 200
    assert field.up.asked[0].headers["pyrsia-via"] == NODE


async def test_other_bytes_than_upstream_s_page_promises_are_cut(field):
    field.has_six("1.0")
    wheel = files_of(await field.pip())["six-1.0-py3-none-any.whl"]
    body = field.up.says["/files/six-1.0-py3-none-any.whl"].partition(b"\r\n\r\n")[2]
    field.has("/files/six-1.0-py3-none-any.whl", b"\0" * len(body))
    path = httpx.URL("/pypi/simple/six/").join(wheel["url"])
    answer = await field.http.get(path)

    # A small file is held back whole until it is checked, so that there can be a refusal.
    assert answer.status_code == 503
    assert field.front.counters.refused == 1
    assert field.front.copies.rows == 1


async def test_upstream_goes_away_and_what_was_there_stays(field):
    field.has_six("1.0")
    before = await field.pip()
    field.front.later(601)
    field.has("/simple/six/", b"", status="429 Too Many Requests", retry_after="60")
    assert await field.pip() == before
    field.has("/m2/org/acme/lib/1.0/lib-1.0.jar", b"", status="503 Service Unavailable")
    answer = await field.http.get("/maven2/org/acme/lib/1.0/lib-1.0.jar")

    assert answer.status_code == 502
    assert len(field.up.asked) == 2
