"""The page about one build, and the bundle of attestations: what they say, and what a stranger's text does there."""

import json

import httpx
import pytest

from pyrsia.builds.explain.report import SENTENCES, Differing, Explanation, Pair, Said
from pyrsia.serve.pages import builds, drawing
from tests.unit.serve.toy import REQUEST, TOKEN, ToyNode, serving, toy_app

EVIL = "<script>alert(1)</script>\x1b[31m\u202eevil"


@pytest.fixture
async def client(tmp_path):
    node = ToyNode(tmp_path)
    async with serving(toy_app(node)) as server, httpx.AsyncClient(base_url=server.url, timeout=20) as made:
        made.node = node
        yield made


async def test_a_build_s_page_names_verdict_builders_and_what_a_verdict_does_not_say(client):
    answer = await client.get(f"/builds/{REQUEST}")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    for text in ("pkg:pypi/idna@3.10", "REPRODUCED", "bbbbbbbb", "org &lt;b&gt;", "quick", "nothing about"):
        assert text in answer.text
    style = await client.get(drawing.style()[0])
    assert (style.status_code, style.headers["content-type"]) == (200, "text/css; charset=utf-8")


@pytest.mark.parametrize("path", ["", "x", REQUEST[:-1], REQUEST.upper(), f"{REQUEST}/", "../etc"])
async def test_another_address_has_no_page(client, path):
    assert (await client.get(f"/builds/{path}")).status_code == 404


async def test_the_page_changes_nothing(client):
    assert (
        await client.post(f"/builds/{REQUEST}", headers={"authorization": f"Bearer {TOKEN}"})
    ).status_code == 405


async def test_an_explanation_is_open_and_the_costly_one_needs_the_token(client):
    path = f"/api/v1/builds/{REQUEST}/explanation"
    assert (await client.get(path)).json()["sentences"] == ["quick"]
    assert (await client.post(path)).status_code == 401
    deep = await client.post(path, headers={"authorization": f"Bearer {TOKEN}"})
    assert deep.json()["sentences"] == ["deep"]
    assert (await client.get(f"/api/v1/builds/{'0' * 64}/explanation")).status_code == 404


def test_strangers_text_is_text_wherever_it_stands_on_the_page():
    said = (Said(EVIL, EVIL, "A", EVIL, EVIL, False, EVIL),)
    differing = tuple(Differing(EVIL, "content", name, ((EVIL, EVIL),)) for name in SENTENCES)
    pair = Pair(EVIL, EVIL, EVIL, 1, differing, 1, ("time", "mode", "order", "compression"), EVIL)
    found = Explanation(REQUEST, EVIL, EVIL, EVIL, said, (pair,), (EVIL,))
    page = drawing.draw("build", **builds.values(found)).decode()
    assert "<script" not in page
    assert not {"\x1b", "\u202e"} & set(page)


async def test_the_bundle_stands_beside_the_file_and_by_digest(client):
    file = client.node.publish("idna-3.10-py3-none-any.whl", b"bytes of a wheel")
    client.node.proofs[file.sha256] = b"a proof"
    beside = await client.get(f"/pypi/files/{file.sha256}/{file.filename}.intoto.jsonl")
    by_digest = await client.get(f"/api/v1/attestations/{file.sha256}")
    assert (beside.status_code, beside.headers["content-type"]) == (200, "application/jsonl")
    assert [json.loads(line) for line in beside.text.splitlines()] == [{"payload": ""}]
    assert by_digest.content == beside.content
    again = await client.get(str(beside.url), headers={"if-none-match": beside.headers["etag"]})
    assert again.status_code == 304
    assert (await client.get(f"/api/v1/attestations/{'0' * 64}")).status_code == 404


async def test_the_files_of_a_package_are_listed_by_its_purl(client):
    file = client.node.publish("idna-3.10-py3-none-any.whl", b"bytes of a wheel")
    listed = (await client.get("/api/v1/packages", params={"purl": "pkg:pypi/idna"})).json()
    assert [(one["file"], one["sha256"], one["version"]) for one in listed] == [
        (file.filename, file.sha256, "3.10")
    ]
    for purl, status in (("pkg:pypi/none", 404), ("no purl", 400), ("", 400)):
        assert (await client.get("/api/v1/packages", params={"purl": purl})).status_code == status
