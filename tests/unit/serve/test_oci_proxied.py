"""Upstream's images in the mode `proxy`: what the log lacks, marked, never what this node refuses."""

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pyrsia.errors import Refusal
from pyrsia.node.packages.local import LocalPackages

sys.path.insert(0, str(Path(__file__).parent))
from oci_toys import PUSHES, Images, ToyUpstream, client, code_of, digest, push_image, shelf


@pytest.fixture
def node(tmp_path: Path) -> Images:
    return Images(tmp_path)


@pytest.fixture
def upstream(tmp_path: Path) -> ToyUpstream:
    return ToyUpstream(tmp_path)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalPackages]:
    with shelf(tmp_path) as found:
        yield found


async def test_an_image_that_the_log_does_not_hold_comes_from_upstream_and_says_so(
    node: Images, upstream: ToyUpstream
):
    made = upstream.image("alpine", "3")
    async with client(node, upstream=upstream) as web:
        tag = await web.get("/v2/library/alpine/manifests/3?ns=docker.io")
        head = await web.head("/v2/alpine/manifests/3")
        by_digest = await web.get(f"/v2/alpine/manifests/{digest(made['manifest'])}")
        blob = await web.get(f"/v2/alpine/blobs/{digest(made['layer'])}")
        part = await web.get(f"/v2/alpine/blobs/{digest(made['layer'])}", headers={"range": "bytes=0-4"})
        wrong = await web.get(f"/v2/alpine/blobs/{digest(made['layer'])}", headers={"range": "bytes=4-0"})
        size = await web.head(f"/v2/alpine/blobs/{digest(made['layer'])}")
        tags = await web.get("/v2/alpine/tags/list")
        none = await web.get("/v2/alpine/manifests/4")
        nobody = await web.get("/v2/nobody/tags/list")

    assert tag.content == by_digest.content == made["manifest"]
    assert (blob.content, part.content) == (made["layer"], made["layer"][:5])
    assert (wrong.status_code, size.headers["content-length"]) == (416, str(len(made["layer"])))
    assert tags.json()["tags"] == ["3"]
    for answer in (tag, head, by_digest, blob, part, size, tags):
        assert answer.headers["x-pyrsia-verified"] == "no"
    assert code_of(none) == (404, "MANIFEST_UNKNOWN")
    assert code_of(nobody) == (404, "NAME_UNKNOWN")
    assert {one.closed for one in upstream.opened} == {1}


async def test_upstream_adds_tags_to_a_name_of_the_log_and_changes_none(node: Images, upstream: ToyUpstream):
    ours = node.image("team/app", "1")
    theirs = upstream.image("team/app", "1", layer=b"another 1")
    added = upstream.image("team/app", "2")
    upstream.has["v2/team/app/tags/list"] = b'{"tags":["1","2","not a tag",5]}'
    async with client(node, upstream=upstream) as web:
        one = await web.get("/v2/team/app/manifests/1")
        two = await web.get("/v2/team/app/manifests/2")
        layer = await web.get(f"/v2/team/app/blobs/{digest(added['layer'])}")
        tags = await web.get("/v2/team/app/tags/list")

    assert (one.content, one.headers["x-pyrsia-verified"]) == (ours["manifest"], "yes")
    assert (two.content, two.headers["x-pyrsia-verified"]) == (added["manifest"], "no")
    assert layer.content == added["layer"]
    assert tags.json()["tags"] == ["1", "2"]
    assert "v2/team/app/manifests/1" not in upstream.asked
    assert theirs["manifest"] != ours["manifest"]


async def test_what_this_node_refuses_upstream_is_never_asked_for(node: Images, upstream: ToyUpstream):
    made = node.image("team/app", "1")
    node.image("team/app", "2", layer=b"good")
    upstream.image("team/app", "1", layer=b"layer" * 100)
    for place, data in (
        ("manifests/1", made["manifest"]),
        (f"manifests/{digest(made['manifest'])}", made["manifest"]),
        (f"blobs/{digest(made['layer'])}", made["layer"]),
    ):
        upstream.has[f"v2/team/app/{place}"] = data
        node.refuse(data)
    async with client(node, upstream=upstream) as web:
        answers = [
            await web.get(f"/v2/team/app/{place}")
            for place in (
                "manifests/1",
                f"manifests/{digest(made['manifest'])}",
                f"blobs/{digest(made['layer'])}",
            )
        ]

    assert [code_of(one) for one in answers] == [(403, "DENIED")] * 3
    assert upstream.asked == []


async def test_what_is_refused_stays_refused_under_upstream_s_other_tags_and_names(
    node: Images, upstream: ToyUpstream
):
    made = node.image("team/app", "1")
    for part in made.values():
        node.refuse(part, "withdrawn", what="it was withdrawn")
    for place in ("team/app", "copy/of"):
        upstream.has[f"v2/{place}/manifests/again"] = made["manifest"]
        upstream.has[f"v2/{place}/blobs/{digest(made['layer'])}"] = made["layer"]
    async with client(node, upstream=upstream) as web:
        answers = [
            await web.get(f"/v2/{name}/{place}")
            for name in ("team/app", "copy/of")
            for place in ("manifests/again", f"blobs/{digest(made['layer'])}")
        ]

    assert [code_of(one) for one in answers] == [(403, "DENIED")] * 4
    assert upstream.opened == []


async def test_a_local_name_has_nothing_of_upstream(
    node: Images, local: LocalPackages, upstream: ToyUpstream
):
    upstream.image("team/app", "2")
    async with client(node, local, upstream, token=PUSHES) as web:
        await push_image(web, "team/app", "1", b"mine")
        other = await web.get("/v2/team/app/manifests/2")
        tags = await web.get("/v2/team/app/tags/list")

    assert code_of(other) == (404, "MANIFEST_UNKNOWN")
    assert tags.json()["tags"] == ["1"]
    assert upstream.asked == []


async def test_a_name_outside_of_the_mode_is_a_quick_404_that_says_what_to_do(
    node: Images, upstream: ToyUpstream
):
    upstream.allowed = ()
    upstream.image("team/app", "1")
    async with client(node, upstream=upstream) as web:
        answers = [
            await web.get(f"/v2/team/app/{place}")
            for place in ("manifests/1", "tags/list", "blobs/sha256:" + "0" * 64)
        ]

    assert [code_of(one) for one in answers] == [(404, "NAME_UNKNOWN")] * 3
    assert "pyrsia build request pkg:docker/team/app@TAG" in answers[0].json()["errors"][0]["message"]
    assert upstream.asked == []


async def test_who_denies_one_spelling_of_a_name_denies_the_image(
    node: Images, local: LocalPackages, upstream: ToyUpstream
):
    denied = "pkg:docker/library/evil"
    upstream.image("evil", "1")
    upstream.takes = lambda package: package != denied  # type: ignore[method-assign]
    refusal = Refusal("denied", what="policy says no", who="policy.toml", do="ask for another")
    local.judge = lambda purl: refusal if purl.startswith(denied) else None
    async with client(node, local, upstream, token=PUSHES) as web:
        proxied = await web.get("/v2/evil/manifests/1")
        mirrored = await web.get("/v2/library/evil/manifests/1?ns=docker.io")
        await push_image(web, "evil", "1", b"mine")
        pushed = await web.get("/v2/evil/manifests/1")

    assert [code_of(one) for one in (proxied, mirrored)] == [(404, "NAME_UNKNOWN")] * 2
    assert code_of(pushed) == (403, "DENIED")
    assert upstream.asked == []


async def test_upstream_that_lies_or_is_down_is_never_believed(node: Images, upstream: ToyUpstream):
    made = upstream.image("team/app", "1")
    wanted = digest(b"what was asked for")
    upstream.has[f"v2/team/app/manifests/{wanted}"] = made["manifest"]
    upstream.has["v2/team/app/manifests/junk"] = b"<html>"
    upstream.has["v2/team/junk/tags/list"] = b"<html>"
    async with client(node, upstream=upstream) as web:
        lied = await web.get(f"/v2/team/app/manifests/{wanted}")
        junk = await web.get("/v2/team/app/manifests/junk")
        tags = await web.get("/v2/team/junk/tags/list")
        upstream.fails_at = 5
        with pytest.raises(httpx.RemoteProtocolError):
            await web.get(f"/v2/team/app/blobs/{digest(made['layer'])}")
        upstream.down = True
        down = await web.get("/v2/team/app/manifests/2")
        nothing = await web.get("/v2/team/app/tags/list")
        node.image("team/app", "9")
        ours = await web.get("/v2/team/app/tags/list")

    assert code_of(lied) == (502, "UNAVAILABLE")
    assert code_of(junk) == (404, "MANIFEST_UNKNOWN")
    assert tags.json()["tags"] == []
    assert code_of(down) == code_of(nothing) == (502, "UNAVAILABLE")
    assert (ours.json()["tags"], ours.headers["x-pyrsia-verified"]) == (["9"], "yes")
