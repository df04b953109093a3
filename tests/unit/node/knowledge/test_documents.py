"""The document that a fact names: from here, from who said it, or a refusal; nothing else is ever given."""

import hashlib

import pytest
import trio
import trio.testing

from pyrsia.errors import Refusal, StorageFull, Unavailable
from pyrsia.ledger import entries
from pyrsia.node.knowledge.documents import BROUGHT, BROUGHT_OF_ONE, Documents
from pyrsia.units import MAX_DOCUMENT_BYTES, MAX_FETCHES, MAX_HTTP_FETCH_WAIT_S
from tests.reference.parts import Kept

DATA = b'{"bomFormat": "CycloneDX"}'
SHA256 = hashlib.sha256(DATA).hexdigest()
OTHER = b"o" * 32
SIZE = len(DATA)


class Arriving:
    def __init__(self, path, blob, error):
        self.path, self.size, self.sha256 = path, blob.size, blob.sha256.hex()
        self.error, self.closed = error, False

    async def ready(self, end):
        assert end == self.size
        if self.error is not None:
            raise self.error

    def close(self):
        self.closed = True


class Arrivals:
    def __init__(self, path):
        self.path, self.error, self.asked, self.running = path, None, [], set()

    def runs(self, sha256):
        return sha256.hex() in self.running

    def bring(self, blob, sources):
        self.asked.append((blob.sha256.hex(), blob.size, sources, Arriving(self.path, blob, self.error)))
        return self.asked[-1][-1]


@pytest.fixture
def world(tmp_path):
    made = Kept(tmp_path / "kept")
    yield made
    made.close()


def say(world, who=None, **fields):
    """The leaf of a fact that the log holds."""
    body = {"kind": "sbom", "subject": "pkg:docker/app@1", "text": "", "valid_from": 0, **fields}
    leaf = len(world.leaves)
    world.block(world.entry(who or world.follower, "fact.add", body))
    kinds = [entries.parse(raw).kind for raw in world.leaves[leaf:]]
    return leaf + kinds.index("fact.add")


def blob(size=SIZE):
    return {"format": "cyclonedx", "blob": {"manifest": "ab" * 32, "sha256": SHA256, "size": size}}


def unpublished(sha256):
    return ""


def nothing(sha256):
    return None


async def read(documents, leaf):
    """What is given, read from the file as it lies."""
    found = await documents.document(leaf)
    if found is None:
        return None
    assert found.size == found.path.stat().st_size
    assert found.sha256
    return found.path.read_bytes()


@pytest.fixture
def arrivals(tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    return Arrivals(path)


async def test_a_document_comes_from_who_said_the_fact_or_whom_the_node_knows(world, arrivals):
    leaf = say(world, **blob())
    documents = Documents(
        world.archive, arrivals, lambda sha256, holders: [OTHER, *holders], unpublished, nothing
    )
    given = await documents.document(leaf)
    assert given.path.read_bytes() == DATA
    ((sha256, size, sources, arriving),) = arrivals.asked
    assert (sha256, size, sources) == (SHA256, len(DATA), [OTHER, world.follower.public])
    assert given is arriving
    assert not arriving.closed  # by who sends it


async def test_a_leaf_without_a_document_gives_none(world, arrivals):
    bare = say(world, format="spdx")
    documents = Documents(world.archive, arrivals, lambda _, holders: holders, unpublished, nothing)
    for leaf in (0, bare, len(world.leaves), 1 << 60):
        assert await documents.document(leaf) is None
    assert arrivals.asked == []


async def test_what_is_too_large_or_with_nobody_is_refused(world, arrivals):
    large = say(world, **blob(MAX_DOCUMENT_BYTES.value + 1))
    leaf = say(world, **blob())
    documents = Documents(world.archive, arrivals, lambda _, holders: holders, unpublished, nothing)
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
    documents = Documents(
        world.archive, arrivals, lambda _, holders: holders, lambda one: names.get(one, ""), nothing
    )
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
    documents = Documents(world.archive, arrivals, lambda _, holders: holders, unpublished, nothing)
    with pytest.raises(Refusal) as caught:
        await documents.document(leaf)
    assert caught.value.code == "denied"
    assert arrivals.asked[-1][-1].closed


async def test_a_file_that_is_here_is_given_only_if_it_is_as_long_as_was_said(world, arrivals, tmp_path):
    """A claim of ten bytes is no way to read six gigabytes: nothing but the head of a file is ever read."""
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(6 << 30)
    leaf, right = say(world, **blob(10)), say(world, **blob())
    files = [big, arrivals.path]
    documents = Documents(
        world.archive, arrivals, lambda _, holders: holders, unpublished, lambda _: files[0]
    )
    for one in (leaf, right):
        with pytest.raises(Refusal, match="6,442,450,944 bytes") as caught:
            await documents.document(one)
        assert caught.value.code == "denied"
    files.pop(0)
    assert await read(documents, right) == DATA
    with pytest.raises(Refusal, match="the fact says 10"):
        await documents.document(leaf)
    assert arrivals.asked == []


async def test_a_file_that_went_is_no_document_now(world, arrivals):
    leaf = say(world, **blob())
    arrivals.path.unlink()
    documents = Documents(world.archive, arrivals, lambda _, holders: holders, unpublished, nothing)
    with pytest.raises(Refusal) as caught:
        await documents.document(leaf)
    assert (caught.value.code, arrivals.asked[-1][-1].closed) == ("unavailable", True)


async def never(end):
    await trio.sleep_forever()


class Slow(Arrivals):
    """What `gives` comes at once, everything else never."""

    def __init__(self, path, *gives):
        super().__init__(path)
        self.gives = gives

    def bring(self, blob, sources):
        made = super().bring(blob, sources)
        if blob.sha256.hex() not in self.gives:
            self.running.add(blob.sha256.hex())
            made.ready = never
        return made


async def test_what_nobody_gives_holds_up_no_other_document(world, arrivals, autojump_clock):
    """Neither one that is here, nor another member's, nor packages: those have room of their own."""
    never = [
        say(world, format="cyclonedx", blob={"manifest": f"{at:064x}", "sha256": f"{at:064x}", "size": 9})
        for at in range(4)
    ]
    leaf, other = say(world, **blob()), say(world, who=world.nodes[0], **blob())
    slow, here = Slow(arrivals.path, SHA256), {}
    documents = Documents(
        world.archive, slow, lambda _, holders: holders, unpublished, lambda sha256: here.get(sha256.hex())
    )
    refused = []

    async def ask(one):
        with pytest.raises(Refusal) as caught:
            await documents.document(one)
        refused.append((caught.value.code, trio.current_time() - began, caught.value.retry_s > 0))

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for one in (*never[:2], never[0]):  # the third waits for what is on its way already
            nursery.start_soon(ask, one)
        await trio.testing.wait_all_tasks_blocked()
        for one in (*never[2:], leaf):
            await ask(one)
        assert await read(documents, other) == DATA
        here[SHA256] = arrivals.path
        assert await read(documents, leaf) == DATA
        assert trio.current_time() == began
    wait = MAX_HTTP_FETCH_WAIT_S.value
    assert refused == [("busy", 0, True)] * 3 + [("unavailable", wait, False)] * 3
    assert all(one[-1].closed for one in slow.asked if one[0] != SHA256)
    here.clear()
    await ask(leaf)
    assert refused[-1][0] == "busy"  # though nobody waits, they are still on their way
    slow.running.clear()
    assert await read(documents, leaf) == DATA


async def test_documents_on_their_way_leave_room_for_packages(world, arrivals):
    assert BROUGHT_OF_ONE.value < BROUGHT.value <= MAX_FETCHES.value // 2


async def test_text_of_any_script_is_a_document(world, arrivals):
    for blanks in range(4):
        data = b" " * blanks + "ă€".encode() * 400
        arrivals.path.write_bytes(data)
        leaf = say(world, **blob(len(data)))
        documents = Documents(world.archive, arrivals, lambda _, holders: holders, unpublished, nothing)
        assert await read(documents, leaf) == data
