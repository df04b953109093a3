"""Manifests on their way in and out: the official conformance suite's data cases by name, and documents that lie."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.builds.oci import documents
from pyrsia.config import LocalSection
from pyrsia.errors import Refusal
from pyrsia.node.packages import local as local_module
from pyrsia.node.packages.local import LocalPackages
from pyrsia.serve.oci import listing
from pyrsia.serve.oci.errors import Problem
from pyrsia.serve.oci.images import MANIFEST_BYTES
from pyrsia.serve.oci.manifests import MAX_TAGS_AT_ONCE, read
from pyrsia.units import Limit
from pyrsia.wire import purl as purls

sys.path.insert(0, str(Path(__file__).parent))
from oci_toys import (
    DOCKER,
    EMPTY,
    PUSHES,
    Images,
    client,
    code_of,
    descriptor,
    digest,
    encoded,
    image_of,
    push_blob,
    push_image,
    shelf,
)

NAME = "conformance/repo1"
ARTIFACT = "application/vnd.example.thing.v1+json"
CONFIG = encoded({"os": "linux"})
LAYER = b"a layer"


@pytest.fixture
def node(tmp_path: Path) -> Images:
    return Images(tmp_path)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalPackages]:
    with shelf(tmp_path) as found:
        yield found


async def put(
    web: httpx.AsyncClient, reference: str, data: bytes, kind: str = documents.MANIFEST, query: str = ""
) -> httpx.Response:
    return await web.put(
        f"/v2/{NAME}/manifests/{reference}{query}",
        content=data,
        headers={"content-type": kind} if kind else {},
    )


async def stands(web: httpx.AsyncClient, tag: str, data: bytes, kind: str, algorithm: str = "sha256") -> None:
    """Listed, and the same bytes at HEAD and GET by tag and by digest."""
    told = digest(data, algorithm)
    assert tag in (await web.get(f"/v2/{NAME}/tags/list")).json()["tags"]
    for reference in (tag, told):
        for method in ("HEAD", "GET"):
            answer = await web.request(method, f"/v2/{NAME}/manifests/{reference}", headers={"accept": kind})
            assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
            assert answer.headers["docker-content-digest"] == told
            assert int(answer.headers["content-length"]) == len(data)
            assert answer.content == (data if method == "GET" else b"")


def artifact(layers: list[bytes], **more: Any) -> bytes:
    return encoded(
        {
            "schemaVersion": 2,
            "mediaType": documents.MANIFEST,
            "artifactType": ARTIFACT,
            "config": descriptor(b"{}", EMPTY),
            "layers": [descriptor(one, ARTIFACT) for one in layers],
            **more,
        }
    )


def index(*manifests: bytes, **more: Any) -> bytes:
    rows = [descriptor(one, documents.MANIFEST) for one in manifests]
    return encoded({"schemaVersion": 2, "mediaType": documents.INDEX, "manifests": rows, **more})


UNSENT = {
    "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "digest": digest(b"never pushed"),
    "size": 123_456,
    "urls": ["https://store.example/blob"],
}
IMAGE = image_of(CONFIG, LAYER)
CASES: dict[str, bytes] = {
    "image": IMAGE,
    "image-uncompressed": image_of(CONFIG, b"\0" * 1024),
    "large-manifest": image_of(CONFIG, LAYER, annotations={f"a{at}": "A" * 10_000 for at in range(390)}),
    "index": index(IMAGE),
    "nested-index": index(index(IMAGE)),
    "empty-index": index(),
    "artifact": artifact([LAYER]),
    "artifact-index": index(artifact([LAYER]), artifactType=ARTIFACT),
    "artifact-without-layers": encoded(
        {
            "schemaVersion": 2,
            "mediaType": documents.MANIFEST,
            "artifactType": ARTIFACT,
            "config": descriptor(b"{}", EMPTY),
            "layers": [descriptor(b"{}", EMPTY)],
        }
    ),
    "data-field": encoded(
        {
            "schemaVersion": 2,
            "mediaType": documents.MANIFEST,
            "config": descriptor(CONFIG, documents.CONFIG) | {"data": "eyJvcyI6ImxpbnV4In0="},
            "layers": [descriptor(LAYER, documents.LAYER) | {"data": "YSBsYXllcg=="}],
        }
    ),
    "non-distributable-layers": encoded(
        {
            "schemaVersion": 2,
            "mediaType": documents.MANIFEST,
            "config": descriptor(CONFIG, documents.CONFIG),
            "layers": [UNSENT, {**UNSENT, "mediaType": UNSENT["mediaType"].removesuffix("+gzip")}],  # type: ignore[attr-defined]
        }
    ),
    "custom-fields": image_of(CONFIG, LAYER, **{"org.example.own": {"deep": [1, None]}}),
    "no-layers": image_of(CONFIG),
    "sparse-image": image_of(CONFIG, LAYER, b"a hole"),
    "sparse-index": index(IMAGE, b"a manifest that nobody has"),
    "missing-subject": image_of(
        CONFIG, LAYER, subject={"mediaType": documents.MANIFEST, "digest": digest(b"gone"), "size": 123}
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_manifest_is_pushed_listed_headed_pulled_and_deleted(
    node: Images, local: LocalPackages, case: str
):
    data = CASES[case]
    kind = documents.INDEX if "index" in case else documents.MANIFEST
    async with client(node, local, token=PUSHES) as web:
        for blob in (CONFIG, LAYER, b"{}", b"\0" * 1024):
            await push_blob(web, NAME, blob)
        by_digest = await put(web, digest(data), data, kind)
        by_tag = await put(web, case, data, kind)
        for answer in (by_digest, by_tag):
            assert (answer.status_code, answer.headers["docker-content-digest"]) == (201, digest(data))
            assert answer.headers["location"] == f"/v2/{NAME}/manifests/{digest(data)}"
        assert ("oci-subject" in by_tag.headers) == (case == "missing-subject")
        await stands(web, case, data, kind)
        assert (await web.delete(f"/v2/{NAME}/manifests/{case}")).status_code == 202
        assert code_of(await web.get(f"/v2/{NAME}/manifests/{case}")) == (404, "MANIFEST_UNKNOWN")
        assert (await web.get(f"/v2/{NAME}/manifests/{digest(data)}")).status_code == 200
        assert (await put(web, "again", data, kind)).status_code == 201
        assert (await web.delete(f"/v2/{NAME}/manifests/{digest(data)}")).status_code == 202
        for reference in (digest(data), "again"):
            assert code_of(await web.get(f"/v2/{NAME}/manifests/{reference}")) == (404, "MANIFEST_UNKNOWN")
            assert (await web.delete(f"/v2/{NAME}/manifests/{reference}")).status_code == 404


async def test_sha512_is_what_a_manifest_is_called_that_was_pushed_by_it(node: Images, local: LocalPackages):
    data = image_of(CONFIG, LAYER, algorithm="sha512")
    told = digest(data, "sha512")
    async with client(node, local, token=PUSHES) as web:
        for blob in (CONFIG, LAYER):
            await push_blob(web, NAME, blob, "sha512")
        pushed = await put(web, told, data, query="?tag=one&tag=two")  # tag-param, also for sha512
        assert pushed.status_code == 201, pushed.text
        assert pushed.headers["docker-content-digest"] == told
        assert pushed.headers.get_list("oci-tag") == ["one", "two"]
        for tag in ("one", "two"):
            await stands(web, tag, data, documents.MANIFEST, "sha512")
        assert (await web.get(f"/v2/{NAME}/manifests/{digest(data)}")).status_code == 404


REFUSED: list[tuple[str, bytes, str, tuple[int, str]]] = [
    ("sha256:baddigeststring", IMAGE, "", (400, "DIGEST_INVALID")),
    (digest(IMAGE), IMAGE + b"  ", "", (400, "DIGEST_INVALID")),  # bad-digest-image
    (digest(IMAGE, "sha512"), IMAGE + b" ", "", (400, "DIGEST_INVALID")),
    ("-no-tag", IMAGE, "", (400, "MANIFEST_INVALID")),
    ("1?tag=-no-tag", IMAGE, "", (400, "MANIFEST_INVALID")),
    ("1?" + "&".join(["tag=t"] * MAX_TAGS_AT_ONCE.value), IMAGE, "", (414, "UNSUPPORTED")),
    ("1", b"no json", "", (400, "MANIFEST_INVALID")),
    ("1", b"[" * 100_000, "", (400, "MANIFEST_INVALID")),
    ("1", b"[]", "", (400, "MANIFEST_INVALID")),
    ("1", encoded({"schemaVersion": 1}), "", (400, "MANIFEST_INVALID")),
    ("1", encoded({"schemaVersion": 2}), "", (400, "MANIFEST_INVALID")),
    ("1", encoded({"schemaVersion": 2}), "no kind", (400, "MANIFEST_INVALID")),
    ("1", IMAGE, documents.INDEX, (400, "MANIFEST_INVALID")),
    ("1", IMAGE.replace(b'"size":', b'"size":1'), documents.MANIFEST, (400, "MANIFEST_INVALID")),
    ("1", image_of(CONFIG, b"missing"), documents.MANIFEST, (404, "MANIFEST_BLOB_UNKNOWN")),
    ("1", image_of(b"missing", LAYER), documents.MANIFEST, (404, "MANIFEST_BLOB_UNKNOWN")),
    ("1", index(IMAGE).replace(b"sha256:", b"sha1:"), documents.INDEX, (400, "MANIFEST_INVALID")),
    ("1", image_of(CONFIG, LAYER, subject="it"), documents.MANIFEST, (400, "MANIFEST_INVALID")),
    ("1", b" " * (MANIFEST_BYTES.value + 1), documents.MANIFEST, (413, "MANIFEST_INVALID")),
]


async def test_a_manifest_that_is_none_is_refused_and_not_kept(node: Images, local: LocalPackages):
    async with client(node, local, token=PUSHES) as web:
        for blob in (CONFIG, LAYER):
            await push_blob(web, NAME, blob)
        for reference, data, kind, expected in REFUSED:
            answer = await put(web, reference, data, kind)
            assert code_of(answer) == expected, (reference, data[:80], kind)
        tags = await web.get(f"/v2/{NAME}/tags/list")

    assert tags.json()["tags"] == []
    assert not local.rows(f"pkg:docker/{NAME}", "manifests/")


async def test_a_manifest_of_four_mebibytes_is_taken(node: Images, local: LocalPackages):
    filled = image_of(CONFIG, LAYER, annotations={"a": ""})
    data = filled.replace(b'"a":""', b'"a":"' + b"A" * (MANIFEST_BYTES.value - len(filled)) + b'"')
    async with client(node, local, token=PUSHES) as web:
        for blob in (CONFIG, LAYER):
            await push_blob(web, NAME, blob)
        assert (await put(web, "large", data)).status_code == 201
        await stands(web, "large", data, documents.MANIFEST)


async def test_a_tag_moves_and_what_it_led_to_stays_by_digest(node: Images, local: LocalPackages):
    async with client(node, local, token=PUSHES) as web:
        first = await push_image(web, NAME, "1", LAYER)
        second = await push_image(web, NAME, "1", b"another layer")
        now = await web.get(f"/v2/{NAME}/manifests/1")
        before = await web.get(f"/v2/{NAME}/manifests/{digest(first)}")
        fresh = await web.get(f"/v2/{NAME}/manifests/1", headers={"if-none-match": now.headers["etag"]})

    assert (now.content, before.content) == (second, first)
    assert fresh.status_code == 304


async def test_tags_come_in_pages_whose_last_is_exclusive(node: Images, local: LocalPackages):
    async with client(node, local, token=PUSHES) as web:
        for tag in ("b", "a", "C", "d"):
            await push_image(web, NAME, tag, LAYER)
        whole = await web.get(f"/v2/{NAME}/tags/list")
        first = await web.get(f"/v2/{NAME}/tags/list?n=2")
        rest = await web.get(first.links["next"]["url"])
        behind = await web.get(f"/v2/{NAME}/tags/list?last=a")
        space = await web.get(f"/v2/{NAME}/tags/list?n=2&ns=docker.io")
        names = await web.get("/v2/_catalog?n=1")

    assert whole.json() == {"name": NAME, "tags": ["C", "a", "b", "d"]}
    assert (first.json()["tags"], rest.json()["tags"]) == (["C", "a"], ["b", "d"])
    assert "next" not in rest.links
    assert behind.json()["tags"] == ["b", "d"]
    assert space.links["next"]["url"] == f"/v2/{NAME}/tags/list?ns=docker.io&n=2&last=a"
    assert (names.json(), "link" in names.headers) == ({"repositories": [NAME]}, False)


async def test_an_empty_repository_has_no_tags_and_an_empty_list_of_referrers(
    node: Images, local: LocalPackages
):
    async with client(node, local) as web:
        tags = await web.get(f"/v2/{NAME}/tags/list")
        referrers = await web.get(f"/v2/{NAME}/referrers/{digest(b'any')}")

    assert code_of(tags) == (404, "NAME_UNKNOWN")
    assert (referrers.status_code, referrers.headers["content-type"]) == (200, documents.INDEX)
    assert referrers.json() == {"schemaVersion": 2, "mediaType": documents.INDEX, "manifests": []}


async def test_referrers_are_listed_with_what_they_are_and_filtered(node: Images, local: LocalPackages):
    """artifacts-with-subject, index-with-subject."""
    subject = {"mediaType": documents.MANIFEST, "digest": digest(IMAGE), "size": len(IMAGE)}
    one = artifact([LAYER], subject=subject, annotations={"org.example": "hello"})
    two = image_of(CONFIG, LAYER, subject=subject)
    three = index(subject=subject, artifactType=ARTIFACT)
    async with client(node, local, token=PUSHES) as web:
        for blob in (CONFIG, LAYER, b"{}"):
            await push_blob(web, NAME, blob)
        for data, kind in ((one, documents.MANIFEST), (two, documents.MANIFEST), (three, documents.INDEX)):
            answer = await put(web, digest(data), data, kind)
            assert answer.headers["oci-subject"] == digest(IMAGE)
        place = f"/v2/{NAME}/referrers/{digest(IMAGE)}"
        every = await web.get(place)
        some = await web.get(place, params={"artifactType": ARTIFACT})
        other = await web.get(place, params={"artifactType": "application/none"})
        await web.delete(f"/v2/{NAME}/manifests/{digest(one)}")
        after = await web.get(place)

    rows = {row["digest"]: row for row in every.json()["manifests"]}
    assert rows[digest(one)] == {
        "mediaType": documents.MANIFEST,
        "digest": digest(one),
        "size": len(one),
        "artifactType": ARTIFACT,
        "annotations": {"org.example": "hello"},
    }
    assert rows[digest(two)]["artifactType"] == documents.CONFIG
    assert rows[digest(three)]["mediaType"] == documents.INDEX
    assert "oci-filters-applied" not in every.headers
    assert some.headers["oci-filters-applied"] == other.headers["oci-filters-applied"] == "artifactType"
    assert {row["digest"] for row in some.json()["manifests"]} == {digest(one), digest(three)}
    assert other.json()["manifests"] == []
    assert digest(one) not in {row["digest"] for row in after.json()["manifests"]}


async def test_many_referrers_come_in_pages(
    node: Images, local: LocalPackages, monkeypatch: pytest.MonkeyPatch
):
    from pyrsia.serve.oci import listing
    from pyrsia.units import Limit

    monkeypatch.setattr(listing, "MAX_REFERRERS", Limit(2, "of this test"))
    subject = {"mediaType": documents.MANIFEST, "digest": digest(IMAGE), "size": len(IMAGE)}
    made = [artifact([LAYER], subject=subject, annotations={"n": str(n)}) for n in range(5)]
    found: list[str] = []
    async with client(node, local, token=PUSHES) as web:
        for blob in (LAYER, b"{}"):
            await push_blob(web, NAME, blob)
        for data in made:
            await put(web, digest(data), data)
        place: str | None = (
            f"/v2/{NAME}/referrers/{digest(IMAGE)}?artifactType={ARTIFACT.replace('+', '%2B')}"
        )
        while place:
            answer = await web.get(place)
            found += [row["digest"] for row in answer.json()["manifests"]]
            place = answer.links.get("next", {}).get("url")

    assert found == sorted(digest(one) for one in made)


async def test_deletion_is_for_admins_where_the_configuration_says_so(node: Images, tmp_path: Path):
    with shelf(tmp_path, LocalSection(delete=False)) as local:
        async with client(node, local, token=PUSHES) as web:
            data = await push_image(web, NAME, "1", LAYER)
            places = ("manifests/1", f"manifests/{digest(data)}", f"blobs/{digest(LAYER)}")
            answers = [await web.delete(f"/v2/{NAME}/{place}") for place in places]
            assert (await web.get(f"/v2/{NAME}/manifests/1")).content == data
            anonymous = await web.delete(f"/v2/{NAME}/manifests/1", auth=("", ""))

    assert [code_of(one) for one in answers] == [(405, "UNSUPPORTED")] * 3
    assert code_of(anonymous) == (401, "UNAUTHORIZED")


async def test_what_policy_denies_is_denied_under_every_name_that_leads_to_it(
    node: Images, local: LocalPackages
):
    local.judge = lambda purl: (
        Refusal("denied", what="policy says no", who="policy.toml", do="ask for another")
        if purl == f"pkg:docker/{NAME}@bad"
        else None
    )
    async with client(node, local, token=PUSHES) as web:
        data = await push_image(web, NAME, "bad", LAYER)
        fine = await push_image(web, NAME, "fine", LAYER)
        await put(web, "also", data)
        refused = [await web.get(f"/v2/{NAME}/manifests/{one}") for one in ("bad", "also", digest(data))]
        given = [await web.get(f"/v2/{NAME}/manifests/{one}") for one in ("fine", digest(fine))]
        await web.delete(f"/v2/{NAME}/manifests/bad")
        after = await web.get(f"/v2/{NAME}/manifests/also")

    assert [code_of(one) for one in refused] == [(403, "DENIED")] * 3
    assert [one.status_code for one in given] == [200, 200]
    assert after.content == data


async def test_what_is_called_by_sha512_is_judged_by_a_purl_that_there_is(node: Images, local: LocalPackages):
    judged: list[str] = []
    local.judge = lambda purl: judged.append(str(purls.parse(purl)))
    data = image_of(CONFIG, LAYER)
    async with client(node, local, token=PUSHES) as web:
        for blob in (CONFIG, LAYER):
            await push_blob(web, NAME, blob)
        await put(web, digest(data, "sha512"), data, query="?tag=1")
        answer = await web.get(f"/v2/{NAME}/manifests/{digest(data, 'sha512')}")

    assert answer.content == data
    assert judged == [
        f"pkg:docker/{NAME}@sha256:{digest(data).removeprefix('sha256:')}",
        f"pkg:docker/{NAME}@1",
    ]


async def test_docker_s_own_kinds_are_taken_as_they_are(node: Images, local: LocalPackages):
    data = encoded(
        {
            "schemaVersion": 2,
            "mediaType": DOCKER,
            "config": descriptor(CONFIG, "application/vnd.docker.container.image.v1+json"),
            "layers": [descriptor(LAYER, "application/vnd.docker.image.rootfs.diff.tar.gzip")],
        }
    )
    async with client(node, local, token=PUSHES) as web:
        for blob in (CONFIG, LAYER):
            await push_blob(web, NAME, blob)
        assert (await put(web, "1", data, DOCKER)).status_code == 201
        await stands(web, "1", data, DOCKER)


@given(
    st.recursive(
        st.none()
        | st.integers(-5, 5)
        | st.text(max_size=5)
        | st.sampled_from([digest(b"x"), documents.MANIFEST]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "mediaType",
                        "config",
                        "layers",
                        "manifests",
                        "digest",
                        "size",
                        "subject",
                        "artifactType",
                    ]
                ),
                inner,
                max_size=6,
            )
        ),
        max_leaves=12,
    )
)
@settings(deadline=None)
def test_no_document_of_a_stranger_does_more_than_be_refused(value: Any):
    document = {"schemaVersion": 2, **value} if isinstance(value, dict) else value
    outcome = ""
    try:
        found = read(encoded(document), documents.MANIFEST)
    except Problem as problem:
        outcome = f"{problem.status} {problem.code}"
    else:
        assert all(size >= 0 and told.startswith("sha") for told, size in (*found.config, *found.layers))
    assert outcome in ("", "400 MANIFEST_INVALID")


@pytest.mark.parametrize(
    "kind",
    ["text/html", "TEXT/HTML", "application/xhtml+xml", "image/svg+xml", "text/json", "application/pdf"],
)
async def test_a_kind_that_a_browser_shows_is_no_manifest(
    node: Images, local: LocalPackages, kind: str
) -> None:
    async with client(node, local, token=PUSHES) as web:
        for data in (encoded({"schemaVersion": 2, "mediaType": kind}), encoded({"schemaVersion": 2})):
            assert code_of(await put(web, "evil", data, kind)) == (400, "MANIFEST_INVALID")
        assert (await web.get(f"/v2/{NAME}/manifests/evil")).status_code == 404


async def test_what_policy_keeps_back_as_a_manifest_is_kept_back_as_a_blob_and_as_a_subject(
    node: Images, local: LocalPackages
) -> None:
    def judge(purl: str) -> Refusal | None:
        denied = purl.endswith(("repo1@bad", "repo1@sha256:" + digest(LAYER)[7:]))
        return Refusal("denied", what="policy says no", who="policy.toml", do="ask") if denied else None

    async with client(node, local, token=PUSHES) as web:
        good = await push_image(web, NAME, "good", b"another layer")
        bad = await push_image(web, NAME, "bad", LAYER)
        local.judge = judge
        asked = {
            path: (await web.get(f"/v2/{NAME}/{path}")).status_code
            for path in (
                "manifests/bad",
                f"blobs/{digest(bad)}",
                f"referrers/{digest(bad)}",
                f"blobs/{digest(LAYER)}",
                f"blobs/{digest(good)}",
                f"referrers/{digest(good)}",
            )
        }
    assert list(asked.values()) == [403, 403, 403, 403, 200, 200], asked


async def test_one_document_is_one_thing(node: Images, local: LocalPackages) -> None:
    """Neither an image and an index at once, nor of one type today and of another tomorrow."""
    image = {"config": descriptor(CONFIG, documents.CONFIG), "layers": [descriptor(LAYER, documents.LAYER)]}
    both = encoded({"schemaVersion": 2, **image, "manifests": []})
    plain = encoded({"schemaVersion": 2, **image})
    async with client(node, local, token=PUSHES) as web:
        for data in (CONFIG, LAYER):
            await push_blob(web, NAME, data)
        for kind in (documents.MANIFEST, documents.INDEX, ARTIFACT):
            assert code_of(await put(web, "both", both, kind)) == (400, "MANIFEST_INVALID")
        assert (await put(web, "one", plain, documents.MANIFEST)).status_code == 201
        assert (await put(web, "again", plain, documents.MANIFEST)).status_code == 201
        assert code_of(await put(web, "other", plain, documents.DOCKER_MANIFEST)) == (400, "MANIFEST_INVALID")
        answer = await web.get(f"/v2/{NAME}/manifests/{digest(plain)}")
    assert answer.headers["content-type"] == documents.MANIFEST


async def test_a_page_of_large_referrers_reads_a_bounded_part_and_goes_on(
    node: Images, local: LocalPackages, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = {"mediaType": documents.MANIFEST, "digest": digest(IMAGE), "size": len(IMAGE)}
    pushed = [
        artifact([LAYER], subject=subject, annotations={"at": str(at)}, padding="x" * 10_000)
        for at in range(5)
    ]
    monkeypatch.setattr(listing, "MAX_READ_BYTES", Limit(25_000, "a test"))
    async with client(node, local, token=PUSHES) as web:
        for data in (b"{}", LAYER):
            await push_blob(web, NAME, data)
        for data in pushed:
            assert (await put(web, digest(data), data)).status_code == 201
        pages, path = [], f"/v2/{NAME}/referrers/{digest(IMAGE)}"
        while path:
            answer = await web.get(path)
            pages.append([row["annotations"]["at"] for row in answer.json()["manifests"]])
            path = answer.links.get("next", {}).get("url", "")
    assert [len(page) for page in pages] == [3, 2]
    assert sorted(at for page in pages for at in page) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("annotations", [[], "x", 5, {"a": {"b": 1}}, None])
async def test_annotations_of_any_form_break_no_list(
    node: Images, local: LocalPackages, annotations: Any
) -> None:
    subject = {"mediaType": documents.MANIFEST, "digest": digest(IMAGE), "size": len(IMAGE)}
    data = artifact([LAYER], subject=subject, annotations=annotations)
    async with client(node, local, token=PUSHES) as web:
        for blob in (b"{}", LAYER):
            await push_blob(web, NAME, blob)
        assert (await put(web, digest(data), data)).status_code == 201
        (row,) = (await web.get(f"/v2/{NAME}/referrers/{digest(IMAGE)}")).json()["manifests"]
    assert row["digest"] == digest(data)
    assert ("annotations" in row) == isinstance(annotations, dict)


async def test_a_full_package_s_tags_move_and_no_manifest_is_kept_without_its_tag(
    node: Images, local: LocalPackages, monkeypatch: pytest.MonkeyPatch
):
    async with client(node, local, token=PUSHES) as web:
        first = await push_image(web, NAME, "latest", LAYER)
        other = image_of(encoded({"os": "linux", "of": "latest"}), LAYER, annotations={"a": "b"})
        assert (await put(web, digest(other), other)).status_code == 201
        rows = len(local.rows(f"pkg:docker/{NAME}"))
        monkeypatch.setattr(local_module, "PACKAGE_ROWS", Limit(rows, "a test"))

        moved = await put(web, "latest", other)
        assert (moved.status_code, (await web.get(f"/v2/{NAME}/manifests/latest")).content) == (201, other)
        assert (await put(web, "latest", first)).status_code == 201

        monkeypatch.setattr(local_module, "PACKAGE_ROWS", Limit(rows + 1, "a test"))
        third = image_of(encoded({"os": "linux", "of": "latest"}), LAYER, annotations={"a": "c"})
        assert (await put(web, "third", third)).status_code == 413
        assert (await web.get(f"/v2/{NAME}/manifests/{digest(third)}")).status_code == 404
        assert (await put(web, digest(third), third)).status_code == 201
