"""Attestations as referrers: what is listed can be fetched, on any node, by tools that know nothing of this network."""

import json
import sys
from pathlib import Path

import pytest

from pyrsia.builds.oci import documents
from pyrsia.serve.oci import attested
from pyrsia.units import Limit

sys.path.insert(0, str(Path(__file__).parent))
from oci_toys import ENVELOPE, Images, client, code_of, digest, sha

PROVENANCE = "https://slsa.dev/provenance/v1"
SUMMARY = "https://slsa.dev/verification_summary/v1"


async def test_each_envelope_is_an_artifact_that_can_be_listed_and_fetched(tmp_path: Path):
    node = Images(tmp_path)
    made = node.image("team/app", "1")
    envelopes = node.attest(made["manifest"], PROVENANCE, SUMMARY)
    async with client(node) as web:
        listed = await web.get(f"/v2/team/app/referrers/{digest(made['manifest'])}")
        rows = listed.json()["manifests"]
        manifests = [await web.get(f"/v2/team/app/manifests/{row['digest']}") for row in rows]
        blobs = [
            await web.get(f"/v2/team/app/blobs/{one.json()['layers'][0]['digest']}") for one in manifests
        ]
        empty = await web.get(f"/v2/team/app/blobs/{manifests[0].json()['config']['digest']}")
        head = await web.head(f"/v2/team/app/blobs/{digest(envelopes[0])}")

    assert (listed.status_code, listed.headers["content-type"]) == (200, documents.INDEX)
    assert [row["artifactType"] for row in rows] == [ENVELOPE, ENVELOPE]
    assert [row["annotations"]["in-toto.io/predicate-type"] for row in rows] == [PROVENANCE, SUMMARY]
    for row, one in zip(rows, manifests, strict=True):
        assert (digest(one.content), len(one.content)) == (row["digest"], row["size"])
        assert one.headers["content-type"] == documents.MANIFEST
        assert one.json()["subject"] == {
            "mediaType": documents.MANIFEST,
            "digest": digest(made["manifest"]),
            "size": len(made["manifest"]),
        }
    assert [one.content for one in blobs] == envelopes
    assert empty.content == b"{}"
    assert int(head.headers["content-length"]) == len(envelopes[0])


async def test_what_one_node_listed_another_one_gives_without_being_asked_for_the_list(tmp_path: Path):
    node = Images(tmp_path)
    made = node.image("team/app", "1")
    node.image("team/other", "1", layer=b"other")
    node.attest(made["manifest"], PROVENANCE)
    async with client(node) as web:
        row = (await web.get(f"/v2/team/app/referrers/{digest(made['manifest'])}")).json()["manifests"][0]
    async with client(node) as web:
        manifest = await web.get(f"/v2/team/app/manifests/{row['digest']}")
        elsewhere = await web.get(f"/v2/team/other/manifests/{row['digest']}")

    assert digest(manifest.content) == row["digest"]
    assert code_of(elsewhere) == (404, "MANIFEST_UNKNOWN")


async def test_the_list_is_filtered_by_type_and_an_unknown_subject_has_none(tmp_path: Path):
    node = Images(tmp_path)
    made = node.image("app", "1")
    node.attest(made["manifest"], PROVENANCE)
    place = f"/v2/app/referrers/{digest(made['manifest'])}"
    async with client(node) as web:
        same = await web.get(place, params={"artifactType": ENVELOPE})
        other = await web.get(place, params={"artifactType": "application/x"})
        layer = await web.get(f"/v2/app/referrers/{digest(made['layer'])}")
        unknown = await web.get("/v2/app/referrers/sha256:" + "0" * 64)
        longer = await web.get("/v2/app/referrers/sha512:" + "0" * 128)

    assert len(same.json()["manifests"]) == 1
    assert same.headers["oci-filters-applied"] == other.headers["oci-filters-applied"] == "artifactType"
    assert [one.json()["manifests"] for one in (other, layer, unknown, longer)] == [[]] * 4


async def test_cosign_finds_all_of_them_behind_its_own_tag_which_is_not_listed(tmp_path: Path):
    node = Images(tmp_path)
    made = node.image("app", "1")
    envelopes = node.attest(made["manifest"], PROVENANCE, SUMMARY)
    tag = f"sha256-{sha(made['manifest'])}.att"
    async with client(node) as web:
        found = await web.get(f"/v2/app/manifests/{tag}")
        again = await web.get(f"/v2/app/manifests/{found.headers['docker-content-digest']}")
        config = await web.get(f"/v2/app/blobs/{found.json()['config']['digest']}")
        tags = await web.get("/v2/app/tags/list")
        none = await web.get(f"/v2/app/manifests/sha256-{'0' * 64}.att")

    layers = found.json()["layers"]
    assert [row["digest"] for row in layers] == [digest(one) for one in envelopes]
    assert [row["annotations"]["predicateType"] for row in layers] == [PROVENANCE, SUMMARY]
    assert again.content == found.content
    assert config.status_code == 200
    assert tags.json()["tags"] == ["1"]
    assert code_of(none) == (404, "MANIFEST_UNKNOWN")


async def test_a_bundle_is_read_once_for_strangers_digests_until_the_log_grows(tmp_path: Path):
    node = Images(tmp_path)
    made = node.image("app", "1")
    node.attest(made["manifest"], PROVENANCE)
    async with client(node) as web:
        for number in range(4):
            answer = await web.get(f"/v2/app/manifests/sha256:{number:064x}")
            assert answer.status_code == 404
        before = [one for one in node.asked if one.startswith("attestations")]
        node.image("app", "2", layer=b"new")
        await web.get(f"/v2/app/blobs/sha256:{9:064x}")
        after = [one for one in node.asked if one.startswith("attestations")]

    assert len(before) == 1
    assert len(after) == 3


async def test_a_stranger_s_digest_makes_no_peer_send_a_manifest_and_the_list_of_a_subject_does(
    tmp_path: Path,
):
    node = Images(tmp_path)
    made = node.image("app", "1")
    node.attest(made["manifest"], PROVENANCE)
    node.absent.add(sha(made["manifest"]))
    async with client(node) as web:
        await web.get(f"/v2/app/manifests/sha256:{1:064x}")
        before = node.fetching.is_set()
        listed = await web.get(f"/v2/app/referrers/{digest(made['manifest'])}")
        lost = node.image("app", "3", layer=b"lost")
        node.attest(lost["manifest"], PROVENANCE)
        node.absent.add(sha(lost["manifest"]))
        node.lost.add(sha(lost["manifest"]))
        none = await web.get(f"/v2/app/referrers/{digest(lost['manifest'])}")

    assert (before, node.fetching.is_set()) == (False, True)
    assert len(listed.json()["manifests"]) == 1
    assert none.json()["manifests"] == []


async def test_what_is_made_is_bounded_and_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(attested, "MAX_MADE_BYTES", Limit(2_000, "of this test"))
    monkeypatch.setattr(attested, "MAX_ENVELOPES", Limit(2, "of this test"))
    node = Images(tmp_path)
    images = [node.image("app", str(n), layer=b"%d" % n) for n in range(6)]
    envelopes = [
        node.attest(one["manifest"], f"{PROVENANCE}/{n}", SUMMARY, "third") for n, one in enumerate(images)
    ]
    async with client(node) as web:
        rows = [
            (await web.get(f"/v2/app/referrers/{digest(one['manifest'])}")).json()["manifests"]
            for one in images
        ]
        last = await web.get(f"/v2/app/manifests/{rows[-1][-1]['digest']}")
        listed = await web.get(f"/v2/app/referrers/{digest(images[0]['manifest'])}")
        blob = await web.get(f"/v2/app/blobs/{digest(envelopes[0][1])}")

    assert [len(one) for one in rows] == [2] * 6
    assert last.status_code == 200
    assert listed.json()["manifests"] == rows[0]
    assert blob.content == envelopes[0][1]


@pytest.mark.parametrize(
    "envelope", [b"junk", b"{}", b'{"payload":5}', b'{"payload":"AA=="}', b"[]", b"null"]
)
def test_an_envelope_that_cannot_be_read_is_an_artifact_without_a_word_on_what_it_says(envelope: bytes):
    made = attested.make(envelope, {"mediaType": "x/y", "digest": "sha256:" + "0" * 64, "size": 1})
    again = attested.make(envelope, {"mediaType": "x/y", "digest": "sha256:" + "0" * 64, "size": 1})

    assert made == again
    assert "annotations" not in json.loads(made.manifest)
    assert made.descriptor["digest"] == digest(made.manifest)
