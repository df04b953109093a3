"""What a node holds, what it gives to peers, and what it brings from them."""

import hashlib

import pytest

from pyrsia.errors import Refusal, Unavailable
from pyrsia.net.data import Counters, Served
from pyrsia.node.storage.shelf import Shelf
from pyrsia.store.blobs import Blobs
from pyrsia.store.rocks import Database
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import CHUNK_BYTES, NodeId

PEER = NodeId(b"p" * 32)
DATA = bytes(range(256)) * 2_000  # two chunks


class Plane:
    """Peers that hold `files`, each under its manifest id."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.files = {}
        self.asked = []

    def hold(self, data, described=None):
        manifest = Manifest.of([described or data])
        self.files[manifest.id] = (manifest, data)
        return manifest

    async def manifest(self, manifest_id, sources):
        self.asked.append(list(sources))
        if manifest_id not in self.files:
            raise Unavailable("nobody has it")
        return self.files[manifest_id][0]

    async def fetch(self, manifest, sources, write, *, held=0, places=None, find=None):
        data = self.files[manifest.id][1]
        step = CHUNK_BYTES.value
        for at in range(0, len(data), step):
            write(at, data[at : at + step])


@pytest.fixture
def named():
    return set()


@pytest.fixture
def plane():
    return Plane()


@pytest.fixture
async def shelf(tmp_path, plane, named):
    database = Database.open(tmp_path / "db")
    yield Shelf(database, Blobs(tmp_path / "blobs", database), plane, named=named.__contains__)
    database.close()


async def test_a_blob_is_named_by_digest_manifest_and_size(shelf):
    ref = await shelf.put(DATA)

    assert ref.sha256 == hashlib.sha256(DATA).digest()
    assert ref.manifest == Manifest.of([DATA]).id
    assert ref.as_dict() == {"manifest": ref.manifest.hex(), "sha256": ref.sha256.hex(), "size": len(DATA)}
    assert shelf.local(ref.sha256).read_bytes() == DATA


async def test_an_adopted_file_is_the_same_blob_and_a_wrong_digest_is_refused(shelf, tmp_path):
    file = tmp_path / "out.whl"
    file.write_bytes(DATA)

    with pytest.raises(Refusal) as refused:
        await shelf.adopt(file, bytes(32))

    assert await shelf.adopt(file, hashlib.sha256(DATA).digest()) == await shelf.put(DATA)
    assert refused.value.code == "digest-mismatch"
    assert shelf.local(bytes(32)) is None


async def test_an_empty_blob_is_a_blob(shelf):
    ref = await shelf.put(b"")

    assert ref.size == 0
    assert shelf.local(ref.sha256).read_bytes() == b""


async def test_peers_get_a_blob_only_once_the_log_names_it(shelf, named):
    ref = await shelf.put(DATA)
    before = shelf.served(PEER, ref.manifest)
    named.add(ref.manifest)
    after = shelf.served(PEER, ref.manifest)
    named.add(b"m" * 32)

    assert before is None
    assert after == Served(Manifest.of([DATA]).encode(), shelf.local(ref.sha256))
    assert shelf.served(PEER, b"m" * 32) is None


async def test_a_blob_is_brought_once_and_then_given_on(shelf, plane, named):
    manifest = plane.hold(DATA)
    named.add(manifest.id)

    path = await shelf.fetch(manifest.id, manifest.sha256, manifest.size, [PEER])
    again = await shelf.fetch(manifest.id, manifest.sha256, manifest.size, [PEER])

    assert path.read_bytes() == DATA
    assert again == path
    assert plane.asked == [[PEER]]
    assert shelf.served(PEER, manifest.id).path == path


@pytest.mark.parametrize("lie", ["sha256", "size"])
async def test_a_manifest_that_contradicts_the_log_brings_nothing(shelf, plane, lie):
    manifest = plane.hold(DATA)
    sha256 = bytes(32) if lie == "sha256" else manifest.sha256
    size = manifest.size + (lie == "size")

    with pytest.raises(Unavailable, match="other bytes than the log"):
        await shelf.fetch(manifest.id, sha256, size, [PEER])

    assert shelf.local(sha256) is None


async def test_bytes_that_are_not_the_blob_are_not_kept(shelf, plane, tmp_path):
    other = bytes(reversed(DATA))
    manifest = plane.hold(other, described=DATA)

    with pytest.raises(Unavailable, match="not the blob"):
        await shelf.fetch(manifest.id, manifest.sha256, manifest.size, [PEER])

    assert shelf.local(manifest.sha256) is None
    assert list((tmp_path / "blobs" / "partial").iterdir()) == []


async def test_what_nobody_has_is_unavailable_and_leaves_nothing(shelf, tmp_path):
    with pytest.raises(Unavailable):
        await shelf.fetch(b"n" * 32, bytes(32), 10, [PEER])

    assert list((tmp_path / "blobs" / "partial").iterdir()) == []
