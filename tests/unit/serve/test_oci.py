"""`/v2/` as docker, containerd, podman and skopeo speak it, over a catalogue of images."""

import hashlib
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from pyrsia.builds.oci import documents
from pyrsia.errors import Refusal
from pyrsia.serve.views import ProjectFile
from pyrsia.wire import purl as purls

sys.path.insert(0, str(Path(__file__).parent))
from toy import NODE, TOKEN, ToyNode, serving, toy_app

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
SKOPEO = [documents.MANIFEST, documents.INDEX, DOCKER]


class Images(ToyNode):
    """A catalogue of images; `withdrawn` digests are refused."""

    withdrawn: set[str]

    def image(self, name: str, tag: str, *, layer: bytes = b"layer" * 100, owner: str = "") -> dict[str, Any]:
        """Publish one as the oci plug-in names its files; what it is made of."""
        config = documents.encoded({"os": "linux"})
        manifest = documents.manifest(
            config, [documents.Layer(documents.LAYER, sha(layer), len(layer), sha(layer))]
        )
        for file, data in (
            (f"sha256~{sha(config)}", config),
            (f"sha256~{sha(layer)}", layer),
            (f"manifest~{tag}", manifest),
        ):
            self.add(name, tag, file, data, owner)
        return {"config": config, "layer": layer, "manifest": manifest}

    def add(self, name: str, tag: str, file: str, data: bytes, owner: str = "") -> None:
        namespace, _, last = name.rpartition("/")
        package = purls.Purl("docker", namespace, last, tag)
        (self.folder / sha(data)).write_bytes(data)
        purl = str(purls.under(owner, package) if owner else package)
        self.rows.append(
            ProjectFile(
                file, sha(data), len(data), 1_700_000_000_000, purl, last, tag, "REPRODUCED", len(self.rows)
            )
        )

    @property
    def rows(self) -> list[ProjectFile]:
        return self.__dict__.setdefault("_rows", [])

    @property
    def asked(self) -> list[str]:
        return self.__dict__.setdefault("_asked", [])

    def revision(self) -> int:
        return len(self.rows)

    def files(self, name: str) -> Sequence[ProjectFile]:
        self.asked.append(name)
        return [one for one in self.rows if str(purls.parse(one.purl).versionless) == name]

    def packages(self, start: str) -> Sequence[str]:
        found = {str(purls.parse(one.purl).versionless) for one in self.rows}
        return sorted(one for one in found if one.startswith(start))

    def file(self, sha256: str) -> ProjectFile | None:
        if sha256 in self.__dict__.get("withdrawn", ()):
            raise Refusal("withdrawn", what="it was withdrawn", who="the members", do="take another one")
        return next((one for one in self.rows if one.sha256 == sha256), None)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@asynccontextmanager
async def client(node: Images) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(toy_app(node)) as server:
        listener = server.listeners[0]
        async with httpx.AsyncClient(
            base_url=f"http://{listener.host}:{listener.port}",
            verify=False,  # noqa: S501 - plain http; loading certificates takes longer than a test
        ) as found:
            yield found


@pytest.fixture
def node(tmp_path: Path) -> Images:
    return Images(tmp_path)


async def test_a_pull_as_docker_does_it(node: Images):
    made = node.image("team/app", "1.0")
    async with client(node) as web:
        hello = await web.get("/v2/")
        head = await web.head("/v2/team/app/manifests/1.0", headers={"accept": ", ".join(SKOPEO)})
        digest = head.headers["docker-content-digest"]
        manifest = await web.get(f"/v2/team/app/manifests/{digest}", headers={"accept": documents.MANIFEST})
        blobs = [
            await web.get(f"/v2/team/app/blobs/sha256:{sha(made[part])}") for part in ("config", "layer")
        ]

    assert (hello.status_code, hello.json()) == (200, {})
    assert hello.headers["docker-distribution-api-version"] == "registry/2.0"
    assert (head.status_code, head.headers["content-type"]) == (200, documents.MANIFEST)
    assert int(head.headers["content-length"]) == len(made["manifest"])
    assert digest == f"sha256:{sha(made['manifest'])}"
    assert manifest.content == made["manifest"]
    assert [one.content for one in blobs] == [made["config"], made["layer"]]
    assert {one.headers["content-type"] for one in blobs} == {"application/octet-stream"}
    assert all("content-encoding" not in one.headers for one in blobs)


async def test_a_blob_comes_in_parts_and_a_wrong_part_has_a_true_length(node: Images):
    made = node.image("app", "1")
    address = f"/v2/app/blobs/sha256:{sha(made['layer'])}"
    async with client(node) as web:
        first = await web.get(address, headers={"range": "bytes=0-9"})
        last = await web.get(address, headers={"range": "bytes=-5"})
        wrong = await web.get(address, headers={"range": "bytes=5000-6000"})
        known = await web.get(address, headers={"if-none-match": first.headers["etag"]})
        head = await web.head(address)

    assert (first.status_code, first.content) == (206, made["layer"][:10])
    assert (last.status_code, last.content) == (206, made["layer"][-5:])
    assert (wrong.status_code, wrong.headers["content-range"], wrong.headers["content-length"]) == (
        416,
        "bytes */500",
        "0",
    )
    assert known.status_code == 304
    assert (head.status_code, head.headers["content-length"]) == (200, "500")
    assert head.headers["docker-content-digest"] == f"sha256:{sha(made['layer'])}"


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ([], 200),
        ([""], 200),
        (["*/*"], 200),
        (SKOPEO, 200),
        ([DOCKER], 404),
        ([documents.INDEX], 404),
        ([f"{documents.MANIFEST};q=0, */*"], 404),
        (["application/*"], 200),
    ],
)
async def test_a_client_gets_a_kind_that_it_takes(node: Images, accept: list[str], status: int):
    node.image("app", "1")
    async with client(node) as web:
        del web.headers["accept"]
        answer = await web.get("/v2/app/manifests/1", headers=[("accept", one) for one in accept])

    assert answer.status_code == status
    assert answer.headers["content-type"] == (documents.MANIFEST if status == 200 else "application/json")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v2/nobody/manifests/1", 404, "NAME_UNKNOWN"),
        ("GET", "/v2/app/manifests/2", 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/app/manifests/sha256:" + "0" * 64, 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/app/manifests/-bad", 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/app/blobs/sha256:" + "0" * 64, 404, "BLOB_UNKNOWN"),
        ("GET", "/v2/app/blobs/md5:0", 400, "DIGEST_INVALID"),
        ("GET", "/v2/APP/manifests/1", 400, "NAME_INVALID"),
        ("GET", "/v2/app/referrers/x", 400, "DIGEST_INVALID"),
        ("GET", "/v2/app/tags/other", 404, "NAME_UNKNOWN"),
        ("GET", "/v2/app", 404, "NAME_UNKNOWN"),
        ("PUT", "/v2/app/manifests/1", 405, "UNSUPPORTED"),
        ("POST", "/v2/app/blobs/uploads/", 405, "UNSUPPORTED"),
        ("DELETE", "/v2/app/manifests/1", 405, "UNSUPPORTED"),
    ],
)
async def test_an_error_is_one_of_the_specification(
    node: Images, method: str, path: str, status: int, code: str
):
    node.image("app", "1")
    async with client(node) as web:
        answer = await web.request(method, path, headers={"authorization": f"Bearer {TOKEN}"})

    (row,) = answer.json()["errors"]
    assert (answer.status_code, row["code"]) == (status, code)
    assert row["message"]


async def test_what_stands_under_a_node_s_own_name_has_that_name_in_front(node: Images):
    node.image("app", "1", layer=b"mine", owner=NODE)
    node.image("team/app", "2", layer=b"other", owner=NODE)
    async with client(node) as web:
        own = await web.get(f"/v2/{NODE}/app/manifests/1")
        deeper = await web.get(f"/v2/{NODE}/team/app/manifests/2")
        plain = await web.get("/v2/app/manifests/1")
        names = await web.get("/v2/_catalog")

    assert (own.status_code, deeper.status_code, plain.status_code) == (200, 200, 404)
    assert names.json() == {"repositories": [f"{NODE}/app", f"{NODE}/team/app"]}


async def test_the_first_manifest_of_a_tag_stays(node: Images):
    first = node.image("app", "1")
    node.image("app", "1", layer=b"later")
    async with client(node) as web:
        answer = await web.get("/v2/app/manifests/1")

    assert answer.content == first["manifest"]


async def test_a_layer_that_images_share_is_given_under_each_of_them(node: Images):
    made = node.image("first", "1")
    node.add("second", "1", "manifest~1", made["manifest"] + b"\n")
    node.add("wheels", "1", "x.whl", b"no image")
    async with client(node) as web:
        shared = await web.get(f"/v2/second/blobs/sha256:{sha(made['layer'])}")
        foreign = await web.get(f"/v2/second/blobs/sha256:{sha(b'no image')}")

    assert shared.content == made["layer"]
    assert foreign.status_code == 404


async def test_tags_are_sorted_and_come_in_pages(node: Images):
    for tag in ("2", "1", "3"):
        node.image("app", tag, layer=tag.encode())
    node.add("app", "sha256:" + "0" * 64, "manifest~sha256~" + "0" * 64, b"x")
    async with client(node) as web:
        whole = await web.get("/v2/app/tags/list")
        page = await web.get("/v2/app/tags/list?n=2")
        rest = await web.get(page.links["next"]["url"])
        none = await web.get("/v2/app/tags/list?n=0")

    assert whole.json() == {"name": "app", "tags": ["1", "2", "3"]}
    assert "link" not in whole.headers
    assert page.json()["tags"] == ["1", "2"]
    assert rest.json()["tags"] == ["3"]
    assert none.json()["tags"] == []


async def test_an_unknown_subject_has_an_empty_list_of_referrers(node: Images):
    node.image("app", "1")
    async with client(node) as web:
        answer = await web.get("/v2/app/referrers/sha256:" + "0" * 64)

    assert (answer.status_code, answer.headers["content-type"]) == (200, documents.INDEX)
    assert answer.json()["manifests"] == []


async def test_what_was_withdrawn_is_denied_and_what_nobody_has_is_unavailable(node: Images):
    made = node.image("app", "1")
    digest = sha(made["layer"])
    node.add("app", "2", "manifest~2", b"{}")
    node.__dict__["withdrawn"] = {"1" * 64}
    node.absent.add(digest)
    node.lost.add(digest)
    async with client(node) as web:
        denied = await web.get("/v2/app/blobs/sha256:" + "1" * 64)
        lost = await web.get(f"/v2/app/blobs/sha256:{digest}")
        junk = await web.get("/v2/app/manifests/2")

    assert (denied.status_code, denied.json()["errors"][0]["code"]) == (403, "DENIED")
    assert denied.json()["errors"][0]["message"] == "it was withdrawn"
    assert lost.status_code == 503
    assert (junk.status_code, junk.json()["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")


async def test_the_files_of_an_image_are_looked_up_once_for_each_size_of_the_log(node: Images):
    made = node.image("app", "1")
    address = f"/v2/app/blobs/sha256:{sha(made['layer'])}"
    async with client(node) as web:
        answers = [(await web.get(address)).status_code for _ in range(3)]
        missing = [(await web.get("/v2/none/tags/list")).status_code for _ in range(2)]
        node.image("app", "2", layer=b"another" * 9)
        tags = await web.get("/v2/app/tags/list")

    assert (answers, missing) == ([200] * 3, [404] * 2)
    assert node.asked == ["pkg:docker/app", "pkg:docker/none", "pkg:docker/none", "pkg:docker/app"]
    assert tags.json()["tags"] == ["1", "2"]


async def test_an_address_with_too_many_parameters_is_a_bad_request(node: Images):
    async with client(node) as web:
        answer = await web.get("/v2/_catalog?" + "&".join(["a=1"] * 21))

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "UNSUPPORTED")
