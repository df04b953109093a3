"""`/v2/` as docker, containerd, podman and skopeo read it, over a catalogue of images."""

import sys
from pathlib import Path

import pytest
import trio

from pyrsia.builds.oci import documents
from pyrsia.serve.http.server import Server

sys.path.insert(0, str(Path(__file__).parent))
from oci_toys import DOCKER, Images, client, code_of, digest, sha, whole
from talk import dial, say
from toy import NODE, TOKEN, serving

SKOPEO = [documents.MANIFEST, documents.INDEX, DOCKER]


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
        ("GET", "/v2/app/blobs/sha256:" + "A" * 64, 400, "DIGEST_INVALID"),
        ("GET", "/v2/app/manifests/sha256:baddigeststring", 400, "DIGEST_INVALID"),
        ("GET", "/v2/nobody/tags/list", 404, "NAME_UNKNOWN"),
        ("GET", "/v2/app/blobs/sha512:" + "0" * 128, 404, "BLOB_UNKNOWN"),
        ("POST", "/v2/app/manifests/1", 405, "UNSUPPORTED"),
        ("PATCH", "/v2/app/blobs/sha256:" + "0" * 64, 405, "UNSUPPORTED"),
        ("PUT", "/v2/app/tags/list", 405, "UNSUPPORTED"),
        ("POST", "/v2/", 405, "UNSUPPORTED"),
        ("POST", "/v2/_catalog", 405, "UNSUPPORTED"),
        ("GET", "/v2/app/blobs/uploads/", 405, "UNSUPPORTED"),
        ("PUT", "/v2/app/manifests/1", 403, "DENIED"),
        ("POST", "/v2/app/blobs/uploads/", 403, "DENIED"),
        ("DELETE", "/v2/app/manifests/1", 403, "DENIED"),
        ("POST", f"/v2/{NODE}/app/blobs/uploads/", 403, "DENIED"),
    ],
)
async def test_an_error_is_one_of_the_specification(
    node: Images, method: str, path: str, status: int, code: str
):
    node.image("app", "1")
    async with client(node) as web:
        answer = await web.request(method, path, headers={"authorization": f"Bearer {TOKEN}"})

    assert code_of(answer) == (status, code)


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


@pytest.mark.parametrize("code", ["denied", "withdrawn", "disputed"])
async def test_what_this_node_does_not_give_is_denied_with_its_reason_at_every_address(
    node: Images, code: str
):
    made = node.image("app", "1")
    node.image("app", "2", layer=b"another")
    for part in made.values():
        node.refuse(part, code, what="a builder lied")
    places = (
        "manifests/1",
        f"manifests/{digest(made['manifest'])}",
        f"blobs/{digest(made['layer'])}",
        f"blobs/{digest(made['manifest'])}",
        f"referrers/{digest(made['manifest'])}",
    )
    async with client(node) as web:
        answers = [await web.get(f"/v2/app/{place}") for place in places]
        other = await web.get("/v2/app/manifests/2")
        tags = await web.get("/v2/app/tags/list")
        head = await web.head("/v2/app/manifests/1")

    assert (head.status_code, head.reason_phrase) == (
        403,
        "a builder lied: ask for another version",
    )  # containerd's
    for answer in answers:
        assert code_of(answer) == (403, "DENIED")
        (row,) = answer.json()["errors"]
        assert row["message"] == "a builder lied: ask for another version"
        assert (row["detail"]["code"], row["detail"]["who"]) == (code, "policy.toml")
    assert other.status_code == 200
    assert tags.json()["tags"] == ["2"]


async def test_what_nobody_has_is_unavailable_and_what_is_no_manifest_is_unknown(node: Images):
    made = node.image("app", "1")
    node.add("app", "2", "manifest~2", b"{}")
    node.absent.add(sha(made["layer"]))
    node.lost.add(sha(made["layer"]))
    async with client(node) as web:
        lost = await web.get(f"/v2/app/blobs/{digest(made['layer'])}")
        junk = await web.get("/v2/app/manifests/2")

    assert lost.status_code == 503
    assert code_of(junk) == (404, "MANIFEST_UNKNOWN")


async def test_the_files_of_an_image_are_looked_up_once_for_each_size_of_the_log(node: Images):
    made = node.image("app", "1")
    address = f"/v2/app/blobs/sha256:{sha(made['layer'])}"
    async with client(node) as web:
        answers = [(await web.get(address)).status_code for _ in range(3)]
        missing = [(await web.get("/v2/none/tags/list")).status_code for _ in range(2)]
        node.image("app", "2", layer=b"another" * 9)
        tags = await web.get("/v2/app/tags/list")

    assert (answers, missing) == ([200] * 3, [404] * 2)
    app, none = (["pkg:docker/" + name, "pkg:docker/library/" + name] for name in ("app", "none"))
    assert node.asked == [*app, *none, *none, *app]
    assert tags.json()["tags"] == ["1", "2"]


async def test_an_address_with_too_many_parameters_is_a_bad_request(node: Images):
    async with client(node) as web:
        answer = await web.get("/v2/_catalog?" + "&".join(["a=1"] * 81))

    assert code_of(answer) == (400, "UNSUPPORTED")


@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        ("500-1499", 206, "bytes 500-1499/2048"),
        ("500-", 206, "bytes 500-2047/2048"),
        ("-500", 206, "bytes 1548-2047/2048"),
        ("2000-5000", 206, "bytes 2000-2047/2048"),
        ("500-0", 416, "bytes */2048"),
        ("5000-10000", 416, "bytes */2048"),
    ],
)
async def test_range_requests_of_the_official_suite(node: Images, asked: str, status: int, told: str):
    data = bytes(range(256)) * 8
    made = node.image("app", "1", layer=data)
    async with client(node) as web:
        answer = await web.get(f"/v2/app/blobs/{digest(made['layer'])}", headers={"range": f"bytes={asked}"})

    assert (answer.status_code, answer.headers["content-range"]) == (status, told)
    assert int(answer.headers["content-length"]) == len(answer.content)
    if status == 206:
        first, _, last = told.removeprefix("bytes ").partition("/")[0].partition("-")
        assert answer.content == data[int(first) : int(last) + 1]


async def test_what_is_verified_says_so(node: Images):
    made = node.image("app", "1")
    async with client(node) as web:
        answers = [
            await web.get(f"/v2/app/{place}")
            for place in ("manifests/1", "tags/list", f"blobs/{digest(made['layer'])}")
        ]

    assert [one.headers["x-pyrsia-verified"] for one in answers] == ["yes"] * 3


async def test_parallel_ranges_that_are_closed_early_make_a_whole_blob(node: Images):
    """containerd 2 asks for `bytes=OFFSET-` several times at once, reads its part of each answer, and closes."""
    data, step = bytes(range(256)) * 8_192, 262_144
    made = node.image("app", "1", layer=data)
    place = f"/v2/app/blobs/{digest(made['layer'])}"
    heads: list[bytes] = []
    parts: dict[int, bytes] = {}

    async def part(server: Server, first: int) -> None:
        async with await dial(server) as stream:
            asked = f"GET {place} HTTP/1.1\r\nHost: localhost\r\nRange: bytes={first}-\r\n"
            await stream.send_all(asked.encode() + b"Accept-Encoding: zstd, gzip, deflate\r\n\r\n")
            found = b""
            while len(found.partition(b"\r\n\r\n")[2]) < step:
                found += await stream.receive_some()
            head, _, body = found.partition(b"\r\n\r\n")
            heads.append(head.lower())
            parts[first] = body[:step]

    async with serving(whole(node)) as server:
        async with trio.open_nursery() as nursery:
            for first in range(0, len(data), step):
                nursery.start_soon(part, server, first)
        again = await say(
            server, f"GET {place} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )

    assert all(b" 206 " in head and b"content-encoding" not in head for head in heads)
    assert b"".join(parts[first] for first in sorted(parts)) == data
    assert again.endswith(data)


async def test_a_tls_hello_on_the_plain_port_is_answered_so_that_dockerd_falls_back(node: Images):
    async with serving(whole(node)) as server:
        answer = await say(server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 32)

    assert answer.startswith(b"HTTP/1.1 400 "), "Go's client knows by this that it speaks to plain HTTP"
