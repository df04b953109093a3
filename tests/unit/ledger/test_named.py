"""Which blobs an entry names: all of them, however deep, and nothing that cannot be one."""

import msgspec

from pyrsia.ledger import entries, named
from pyrsia.units import CHUNK_BYTES, MAX_CHUNKS
from pyrsia.wire.text import b32
from tests.reference.governance import Governed
from tests.reference.ledger import blob


def leaf(**body):
    return msgspec.json.encode({"author": b32(bytes(32)), "body": body})


def triple(one):
    return bytes.fromhex(one["manifest"]), bytes.fromhex(one["sha256"]), one["size"]


def test_every_blob_of_a_reveal_and_of_its_request_is_named():
    world = Governed(storage=(0, 1, 2, 3))
    request, builders = world.drawn(lock=blob("lock"))
    body = world.reveal(request)
    for fields in (body, *(msgspec.json.decode(one)["body"] for one in world.leaves)):
        raw = msgspec.json.encode({"author": b32(builders[0].public), "body": fields})
        found = list(named.blobs(raw))
        assert {manifest for manifest, _, _ in found} == set(entries.manifests(raw))
    found = list(named.blobs(msgspec.json.encode({"author": b32(bytes(32)), "body": body})))
    output = body["outputs"][0]
    for one in (
        body["log"],
        output["raw"],
        output["raw"]["members"],
        output["canonical"],
        output["raw"]["metadata"],
    ):
        assert triple(one) in found


def test_what_has_no_size_or_one_beyond_all_files_is_no_blob():
    most = MAX_CHUNKS.value * CHUNK_BYTES.value
    small, huge = blob("small"), {**blob("huge"), "size": most + 1}
    assert list(named.blobs(leaf(a=small, b=[{"c": huge}]))) == [triple(small)]
    assert list(named.blobs(leaf(a={"manifest": "00" * 32}, b={**small, "size": "7"}))) == []
    assert list(named.blobs(leaf(text='no "manifest": here'))) == []
    assert list(named.blobs(leaf(a={**small, "size": most}))) == [triple({**small, "size": most})]


def test_who_had_them_are_the_builders_that_agreed_then_the_author():
    a, b = bytes([1]) * 32, bytes([2]) * 32
    raw = msgspec.json.encode({"author": b32(bytes(32)), "body": {"agreeing": [b32(a), b32(b), "no node"]}})
    assert named.givers(raw) == (a, b, bytes(32))
    assert named.givers(msgspec.json.encode({"body": {"agreeing": 2}})) == ()
