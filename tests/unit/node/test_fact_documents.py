"""The document that a fact names: from here, from who said it, or a refusal; nothing else is ever given."""

import hashlib

import pytest

from pyrsia.errors import Refusal, StorageFull, Unavailable
from pyrsia.ledger import entries
from pyrsia.node.knowledge.documents import Documents
from pyrsia.units import MAX_DOCUMENT_BYTES
from tests.reference.parts import Kept

DATA = b'{"bomFormat": "CycloneDX"}'
SHA256 = hashlib.sha256(DATA).hexdigest()
OTHER = b"o" * 32
SIZE = len(DATA)


class Arriving:
    def __init__(self, path, size, error):
        self.path, self.size, self.error, self.closed = path, size, error, False

    async def ready(self, end):
        assert end == self.size
        if self.error is not None:
            raise self.error

    def close(self):
        self.closed = True


class Arrivals:
    def __init__(self, path):
        self.path, self.error, self.asked = path, None, []

    def bring(self, blob, sources):
        self.asked.append((blob.sha256.hex(), blob.size, sources, Arriving(self.path, blob.size, self.error)))
        return self.asked[-1][-1]


@pytest.fixture
def world(tmp_path):
    made = Kept(tmp_path / "kept")
    yield made
    made.close()


def say(world, **fields):
    """The leaf of a fact that the log holds."""
    body = {"kind": "sbom", "subject": "pkg:docker/app@1", "text": "", "valid_from": 0, **fields}
    leaf = len(world.leaves)
    world.block(world.entry(world.follower, "fact.add", body))
    kinds = [entries.parse(raw).kind for raw in world.leaves[leaf:]]
    return leaf + kinds.index("fact.add")


def blob(size=SIZE):
    return {"format": "cyclonedx", "blob": {"manifest": "ab" * 32, "sha256": SHA256, "size": size}}


def unpublished(sha256):
    return ""


@pytest.fixture
def arrivals(tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    return Arrivals(path)


async def test_a_document_comes_from_who_said_the_fact_or_whom_the_node_knows(world, arrivals):
    leaf = say(world, **blob())
    documents = Documents(world.archive, arrivals, lambda sha256, holders: [OTHER, *holders], unpublished)
    assert await documents.document(leaf) == DATA
    ((sha256, size, sources, arriving),) = arrivals.asked
    assert (sha256, size, sources) == (SHA256, len(DATA), [OTHER, world.follower.public])
    assert arriving.closed


async def test_a_leaf_without_a_document_gives_none(world, arrivals):
    bare = say(world, format="spdx")
    documents = Documents(world.archive, arrivals, lambda _, holders: holders, unpublished)
    for leaf in (0, bare, len(world.leaves), 1 << 60):
        assert await documents.document(leaf) is None
    assert arrivals.asked == []


async def test_what_is_too_large_or_with_nobody_is_refused(world, arrivals):
    large = say(world, **blob(MAX_DOCUMENT_BYTES.value + 1))
    leaf = say(world, **blob())
    documents = Documents(world.archive, arrivals, lambda _, holders: holders, unpublished)
    with pytest.raises(Refusal) as caught:
        await documents.document(large)
    assert (caught.value.code, arrivals.asked) == ("too-large", [])
    for error, code in (
        (Unavailable("nobody has it"), "unavailable"),
        (StorageFull("full", do="x"), "storage-full"),
    ):
        arrivals.error = error
        with pytest.raises(Refusal) as caught:
            await documents.document(leaf)
        assert caught.value.code == code
    assert all(one[-1].closed for one in arrivals.asked)


async def test_a_published_file_is_no_document_whatever_a_fact_says(world, arrivals):
    """Its own door asks the policy; this one does not, so it never gives it, nor brings it from anybody."""
    leaf = say(world, **blob())
    names = {SHA256: "pkg:pypi/idna@1.0"}
    documents = Documents(world.archive, arrivals, lambda _, holders: holders, lambda one: names.get(one, ""))
    with pytest.raises(Refusal) as caught:
        await documents.document(leaf)
    assert (caught.value.code, arrivals.asked) == ("denied", [])
    assert "pkg:pypi/idna@1.0" in caught.value.what


@pytest.mark.parametrize(
    "data", [b"PK\x03\x04\x14\x00\x08\x00", b"\x1f\x8b\x08 " * 8, b"{}\0" + b" " * 5_000]
)
async def test_what_is_no_text_is_no_document(world, arrivals, data):
    arrivals.path.write_bytes(data)
    leaf = say(world, **blob(len(data)))
    documents = Documents(world.archive, arrivals, lambda _, holders: holders, unpublished)
    with pytest.raises(Refusal) as caught:
        await documents.document(leaf)
    assert caught.value.code == "denied"


async def test_text_of_any_script_is_a_document(world, arrivals):
    for blanks in range(4):
        data = b" " * blanks + "ă€".encode() * 400
        arrivals.path.write_bytes(data)
        leaf = say(world, **blob(len(data)))
        documents = Documents(world.archive, arrivals, lambda _, holders: holders, unpublished)
        assert await documents.document(leaf) == data
