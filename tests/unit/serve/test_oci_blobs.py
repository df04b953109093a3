"""Blobs on their way in: the official conformance suite's cases by name, for both digests, and uploads that lie."""

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrsia.config import LocalSection
from pyrsia.node.packages.local import IDLE_S, OPEN_UPLOADS, LocalPackages
from pyrsia.serve.oci.pushing import _RANGE

sys.path.insert(0, str(Path(__file__).parent))
from oci_toys import PUSHES, Images, client, code_of, digest, push_blob, shelf

from tests.reference.waiting import bounded

DATA = bytes(range(256)) * 8
BOTH = ("sha256", "sha512")
UPLOADS = "/v2/team/app/blobs/uploads/"


@pytest.fixture
def node(tmp_path: Path) -> Images:
    return Images(tmp_path)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalPackages]:
    with shelf(tmp_path) as found:
        yield found


async def begin(web: httpx.AsyncClient) -> str:
    answer = await web.post(UPLOADS)
    assert (answer.status_code, answer.headers["range"]) == (202, "0-0")
    assert answer.headers["location"].endswith(answer.headers["docker-upload-uuid"])
    return str(answer.headers["location"])


async def stands(web: httpx.AsyncClient, told: str, data: bytes) -> None:
    """HEAD, GET, DELETE, and gone."""
    place = f"/v2/team/app/blobs/{told}"
    head, got = await web.head(place), await web.get(place)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(data)))
    assert (got.status_code, got.content) == (200, data)
    assert {one.headers["docker-content-digest"] for one in (head, got)} == {told}
    assert got.headers["x-pyrsia-verified"] == "local"
    assert (await web.delete(place)).status_code == 202
    assert code_of(await web.get(place)) == (404, "NAME_UNKNOWN")
    assert (await web.delete(place)).status_code == 404


async def patch(web: httpx.AsyncClient, place: str, piece: bytes, first: int | None = None) -> httpx.Response:
    ranged = {} if first is None else {"content-range": f"{first}-{first + len(piece) - 1}"}
    return await web.patch(place, content=piece, headers=ranged)


@pytest.mark.parametrize("data", [b"", b"{}", DATA], ids=["empty", "emptyJSON", "bytes"])
async def test_a_blob_is_pushed_with_a_post_alone_or_a_post_and_a_put(
    node: Images, local: LocalPackages, data: bytes
):
    async with client(node, local, token=PUSHES) as web:
        for algorithm in BOTH:
            told = digest(data, algorithm)
            assert (await web.get(f"/v2/team/app/blobs/{told}")).status_code == 404  # get-missing
            only = await web.post(UPLOADS, params={"digest": told}, content=data)
            assert (only.status_code, only.headers["location"]) == (201, f"/v2/team/app/blobs/{told}")
            assert only.headers["docker-content-digest"] == told
            await stands(web, told, data)
            place = (await web.post(UPLOADS, params={"digest-algorithm": algorithm})).headers["location"]
            put = await web.put(place, params={"digest": told}, content=data)
            assert (put.status_code, put.headers["location"]) == (201, f"/v2/team/app/blobs/{told}")
            await stands(web, told, data)
            assert code_of(await web.get(place)) == (404, "BLOB_UPLOAD_UNKNOWN")
        assert code_of(await web.post(UPLOADS, params={"digest-algorithm": "md5"})) == (400, "UNSUPPORTED")


@pytest.mark.parametrize("case", ["single", "multi", "multi and put chunk", "stream"])
async def test_a_blob_is_pushed_in_chunks(node: Images, local: LocalPackages, case: str):
    size = 2_048 if case == "single" else 700
    async with client(node, local, token=PUSHES) as web:
        for told in (digest(DATA, algorithm) for algorithm in BOTH):
            pieces = [(at, DATA[at : at + size]) for at in range(0, len(DATA), size)]
            last = pieces.pop() if case == "multi and put chunk" else (0, b"")
            place = await begin(web)
            for at, piece in pieces:
                answer = await patch(web, place, piece, None if case == "stream" else at)
                assert (answer.status_code, answer.headers["range"]) == (202, f"0-{at + len(piece) - 1}")
                place = answer.headers["location"]
                status = await web.get(place)
                assert (status.status_code, status.headers["range"]) == (204, f"0-{at + len(piece) - 1}")
            more = {"content-range": f"{last[0]}-{len(DATA) - 1}"} if last[1] else {}
            put = await web.put(place, params={"digest": told}, content=last[1], headers=more)
            assert put.status_code == 201, put.text
            await stands(web, told, DATA)


async def test_a_chunk_out_of_order_is_told_where_to_go_on_and_nothing_of_it_stays(
    node: Images, local: LocalPackages
):
    async with client(node, local, token=PUSHES) as web:
        place = await begin(web)
        early = await patch(web, place, DATA[700:1400], 700)
        assert (code_of(early), early.headers["range"]) == ((416, "BLOB_UPLOAD_INVALID"), "0-0")
        assert (await patch(web, place, DATA[:700], 0)).status_code == 202
        again = await patch(web, place, DATA[:700], 0)
        assert (again.status_code, again.headers["range"], again.headers["location"]) == (416, "0-699", place)
        # out-of-order and put chunk
        late = await web.put(
            place,
            params={"digest": digest(DATA)},
            content=DATA[1400:],
            headers={"content-range": f"1400-{len(DATA) - 1}"},
        )
        assert code_of(late) == (416, "BLOB_UPLOAD_INVALID")
        assert (await web.get(place)).headers["range"] == "0-699"
        assert (await patch(web, place, DATA[700:1400], 700)).status_code == 202
        put = await web.put(
            place,
            params={"digest": digest(DATA)},
            content=DATA[1400:],
            headers={"content-range": f"1400-{len(DATA) - 1}"},
        )
        assert put.status_code == 201
        await stands(web, digest(DATA), DATA)


@pytest.mark.parametrize("case", ["post only", "post+put", "chunked", "chunked and put chunk", "stream"])
async def test_a_bad_digest_keeps_nothing(node: Images, local: LocalPackages, case: str):
    async with client(node, local, token=PUSHES) as web:
        for algorithm in BOTH:
            lie = digest(b"something else", algorithm)
            if case == "post only":
                answer = await web.post(UPLOADS, params={"digest": lie}, content=DATA)
            else:
                place, rest = await begin(web), DATA
                if case != "post+put":
                    upto = 700 if case == "chunked and put chunk" else len(DATA)
                    assert (
                        await patch(web, place, DATA[:upto], None if case == "stream" else 0)
                    ).status_code == 202
                    rest = DATA[upto:]
                answer = await web.put(place, params={"digest": lie}, content=rest)
                assert (await web.get(place)).status_code == 404
            assert code_of(answer) == (400, "DIGEST_INVALID")
            assert digest(DATA, algorithm) in answer.json()["errors"][0]["message"]
            assert (await web.get(f"/v2/team/app/blobs/{lie}")).status_code == 404

    assert not local.owns("pkg:docker/team/app")


async def test_a_blob_is_mounted_from_a_name_from_anywhere_or_not_at_all(node: Images, local: LocalPackages):
    async with client(node, local, token=PUSHES) as web:
        for algorithm in ("sha256", "sha512"):
            told = await push_blob(web, "other/repo", DATA, algorithm)
            mounted = await web.post(UPLOADS, params={"mount": told, "from": "other/repo"})
            assert (mounted.status_code, mounted.headers["location"]) == (201, f"/v2/team/app/blobs/{told}")
            await stands(web, told, DATA)
            assert (await web.post(UPLOADS, params={"mount": told})).status_code == 201  # anonymous
            assert (await web.post(UPLOADS, params={"mount": told})).status_code == 201  # it is here already
            await stands(web, told, DATA)
        wrong = await web.post(UPLOADS, params={"mount": digest(DATA), "from": "third/repo"})
        missing = await web.post(UPLOADS, params={"mount": digest(b"nowhere"), "from": "other/repo"})
        nonsense = await web.post(UPLOADS, params={"mount": digest(b"nowhere"), "from": "NO/NAME"})
        put = await web.put(
            missing.headers["location"], params={"digest": digest(b"nowhere")}, content=b"nowhere"
        )

    assert [one.status_code for one in (wrong, missing, nonsense, put)] == [202, 202, 202, 201]
    assert "range" in missing.headers


async def test_an_upload_is_cancelled(node: Images, local: LocalPackages):
    async with client(node, local, token=PUSHES) as web:
        place = await begin(web)
        assert (await patch(web, place, DATA)).status_code == 202
        assert (await web.delete(place)).status_code == 204
        assert code_of(await patch(web, place, DATA)) == (404, "BLOB_UPLOAD_UNKNOWN")
        assert code_of(await web.delete(place)) == (404, "BLOB_UPLOAD_UNKNOWN")


async def test_bytes_that_come_without_a_digest_begin_nothing(node: Images, local: LocalPackages):
    async with client(node, local, token=PUSHES) as web:
        answer = await web.post(UPLOADS, content=DATA)
        assert code_of(answer) == (400, "DIGEST_INVALID")
    assert not local._uploads


async def test_an_upload_belongs_to_the_name_it_was_begun_under(node: Images, local: LocalPackages):
    async with client(node, local, token=PUSHES) as web:
        place = await begin(web)
        for method in ("GET", "PATCH", "PUT", "DELETE"):
            answer = await web.request(method, place.replace("team/app", "team/other"))
            assert answer.status_code == 404
        assert (await web.get(place)).status_code == 204


@pytest.mark.parametrize(
    ("query", "headers", "expected"),
    [
        ({}, {}, (400, "DIGEST_INVALID")),
        ({"digest": "sha256:short"}, {}, (400, "DIGEST_INVALID")),
        ({"digest": "md5:" + "0" * 32}, {}, (400, "DIGEST_INVALID")),
        ({"digest": digest(DATA)}, {"content-range": "nonsense"}, (400, "BLOB_UPLOAD_INVALID")),
        ({"digest": digest(DATA)}, {"content-range": "0-5"}, (400, "SIZE_INVALID")),
        ({"digest": digest(DATA)}, {"content-range": "5-0"}, (416, "BLOB_UPLOAD_INVALID")),
    ],
)
async def test_a_put_that_makes_no_sense_is_a_bad_request_and_the_upload_goes_on(
    node: Images,
    local: LocalPackages,
    query: dict[str, str],
    headers: dict[str, str],
    expected: tuple[int, str],
):
    async with client(node, local, token=PUSHES) as web:
        place = await begin(web)
        answer = await web.put(place, params=query, content=DATA, headers=headers)
        assert code_of(answer) == expected
        assert (await web.put(place, params={"digest": digest(DATA)}, content=DATA)).status_code == 201


async def test_a_chunk_longer_or_shorter_than_it_says_ends_its_upload(node: Images, local: LocalPackages):
    async def lying(size: int):
        yield DATA[:size]

    async with client(node, local, token=PUSHES) as web:
        for size in (99, 101):
            place = await begin(web)
            answer = await web.patch(place, content=lying(size), headers={"content-range": "0-99"})
            assert code_of(answer) == (400, "SIZE_INVALID")
            assert (await web.get(place)).status_code == 404


async def test_without_a_token_or_with_one_for_other_names_nothing_is_begun(
    node: Images, local: LocalPackages
):
    async with client(node, local) as web:
        none = await web.post(UPLOADS)
        reading = await web.post(UPLOADS, auth=("u", "read"))
        team = await web.post("/v2/other/app/blobs/uploads/", auth=("u", "push-team"))
        wrong = await web.post(UPLOADS, auth=("u", "stolen"))
        allowed = await web.post(UPLOADS, auth=("u", "push-team"))
        bearer = await web.post(UPLOADS, headers={"authorization": f"Bearer {PUSHES}"})

    assert code_of(none) == (401, "UNAUTHORIZED")
    assert none.headers["www-authenticate"] == 'Basic realm="pyrsia"'
    assert "pyrsia keys token --scope push" in none.json()["errors"][0]["message"]
    assert code_of(reading) == code_of(team) == (403, "DENIED")
    assert code_of(wrong) == (401, "UNAUTHORIZED")
    assert (allowed.status_code, bearer.status_code) == (202, 202)


async def test_a_client_that_leaves_in_a_chunk_goes_on_where_the_node_says(
    node: Images, local: LocalPackages
):
    async with client(node, local, token=PUSHES) as web:
        place = await begin(web)
        upload = local.upload(place.rpartition("/")[2])
        assert upload is not None
        async with await trio.open_tcp_stream(web.base_url.host, web.base_url.port or 0) as stream:
            head = f"PATCH {place} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {PUSHES}\r\n"
            await stream.send_all(f"{head}content-length: {len(DATA)}\r\n\r\n".encode() + DATA[:1000])
            with bounded():
                while upload.size < 1000:
                    await trio.lowlevel.checkpoint()
        with bounded():
            while (status := await web.get(place)).status_code != 204 or not upload.idle:
                await trio.lowlevel.checkpoint()
        assert status.headers["range"] == "0-999"
        assert (await patch(web, place, DATA[1000:], 1000)).status_code == 202
        assert (await web.put(place, params={"digest": digest(DATA)})).status_code == 201
        await stands(web, digest(DATA), DATA)


async def test_uploads_are_bounded_in_size_and_number(node: Images, tmp_path: Path):
    with shelf(tmp_path, LocalSection(quota_gb=0)) as local:
        async with client(node, local, token=PUSHES) as web:
            none = await web.post(UPLOADS)
    assert code_of(none) == (403, "DENIED")
    assert "local.quota_gb" in none.json()["errors"][0]["message"]


async def test_too_many_uploads_are_busy_until_one_is_abandoned(node: Images, local: LocalPackages):
    uploads = [await local.open("pkg:docker/team/app", by="ci") for _ in range(OPEN_UPLOADS.value)]
    async with client(node, local, token=PUSHES) as web, client(node, local, token="push-team") as other:
        busy = await web.post(UPLOADS)
        assert (await other.post(UPLOADS)).status_code == 202  # one token's uploads keep no other out
        uploads[9].touched_s -= IDLE_S.value
        freed = await web.post(UPLOADS)
        gone = await web.get(UPLOADS + uploads[9].id)

    assert (code_of(busy), busy.headers["retry-after"]) == ((429, "TOOMANYREQUESTS"), "60")
    assert freed.status_code == 202
    assert code_of(gone) == (404, "BLOB_UPLOAD_UNKNOWN")


@given(st.binary(max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_content_range_is_two_numbers_or_none(told: bytes):
    found = _RANGE.fullmatch(told)
    assert found is None or (int(found[1]) >= 0 and int(found[2]) >= 0)


async def test_two_clients_push_one_blob_at_once(node: Images, local: LocalPackages):
    told = digest(DATA)
    async with client(node, local, token=PUSHES) as web:
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(push_blob, web, "team/app", DATA)
        assert (await web.get(f"/v2/team/app/blobs/{told}")).content == DATA
        await stands(web, told, DATA)
