"""A builder describes what it was the first to agree on: once, out of the published files, and only that."""

import json
from collections import Counter

import pytest
import trio
import trio.testing

from pyrsia.builds.describing import Description
from pyrsia.errors import Unavailable
from pyrsia.ledger import views
from pyrsia.node.builds.describing import TRIES, Describer, _of_description
from pyrsia.node.pulse import Pulse
from pyrsia.node.storage.shelf import BlobRef
from pyrsia.serve.desks.knowing import FactOutcome, FactsOutcome
from pyrsia.wire.text import unb32
from tests.reference.parts import Kept
from tests.reference.story import Story
from tests.reference.waiting import bounded

METADATA = (
    b"Metadata-Version: 2.4\nName: idna\nVersion: 1.0\nSummary: Names of hosts\nLicense-Expression: MIT\n\n"
)
LOCK = (
    b"# pyrsia lock v1\nhatchling 1.27.0 hatchling-1.27.0-py3-none-any.whl " + b"ab" * 32 + b" 7\nodd line\n"
)


class Site:
    """One builder's describer over a story's log; `here`: bytes by digest."""

    def __init__(self, story, who, tmp_path, *, fails=0):
        self.orders, self.put, self.looked, self.fails = [], [], Counter(), fails
        self.folder, body = tmp_path, story.artifact.body
        self.here, self.request = {}, body["request"]
        if "metadata" in body:
            self.keep(body["metadata"]["sha256"], METADATA)
        asked = views.request(story.world.archive.state, body["request"]).request.body
        self.keep(asked["lock"]["sha256"], LOCK)
        self.pulse, self.said = Pulse(), trio.Event()
        self.describer = Describer(
            unb32(who),
            reads=story.world.archive.state,
            local=self.local,
            say=self.say,
            put=self.keeps,
            pulse=self.pulse,
        )

    def keep(self, sha256, data):
        self.here[sha256] = self.folder / sha256
        self.here[sha256].write_bytes(data)

    def local(self, sha256):
        self.looked[sha256.hex()] += 1
        return self.here.get(sha256.hex())

    async def say(self, order):
        await trio.lowlevel.checkpoint()
        self.orders.append(order)
        self.said.set()
        if self.fails:
            self.fails -= 1
            raise Unavailable("no quorum")
        return FactsOutcome(tuple(FactOutcome("added", 1) for _ in order.facts))

    async def keeps(self, data):
        await trio.lowlevel.checkpoint()
        self.put.append(data)
        return BlobRef(b"\1" * 32, b"\2" * 32, len(data))

    async def look(self, times=1):
        for _ in range(times):
            await self.describer._look(self.request)


@pytest.fixture
async def story(tmp_path):
    told = Story(world=Kept(tmp_path / "log"))
    yield told
    told.world.close()


async def test_the_first_that_agreed_says_what_the_wheel_says_and_what_it_was_built_from(story, tmp_path):
    first = story.artifact.body["agreeing"][0]
    site = Site(story, first, tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.describer.run)
        with bounded():
            await site.said.wait()
        await trio.testing.wait_all_tasks_blocked()
        await site.look(2)
        nursery.cancel_scope.cancel()
    (order,) = site.orders
    told = {one.kind: one for one in order.facts}
    assert (told["description"].text, told["licence"].fields) == ("Names of hosts", {"expression": "MIT"})
    purl = story.artifact.body["purl"]
    assert {one.subject for one in order.facts} == {purl}
    assert told["sbom"].fields["components"] == 1
    assert told["sbom"].fields["blob"]["size"] == len(site.put[0])
    document = json.loads(site.put[0])
    assert document["metadata"]["component"]["purl"] == purl
    assert [one["name"] for one in document["metadata"]["component"]["components"]] == [
        story.artifact.body["file"]
    ]
    (part,) = document["components"]
    assert (part["purl"], part["scope"]) == ("pkg:pypi/hatchling@1.27.0", "excluded")
    assert part["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]


async def test_nobody_else_says_it(story, tmp_path):
    for who in story.numbers:
        if who != story.artifact.body["agreeing"][0]:
            site = Site(story, who, tmp_path)
            await site.look()
            assert site.orders == []


async def test_two_builders_write_the_same_document(story, tmp_path):
    site = Site(story, story.artifact.body["agreeing"][0], tmp_path)
    again = Site(story, story.artifact.body["agreeing"][0], tmp_path)
    await site.look()
    await again.look()
    assert site.put == again.put


async def test_what_the_network_does_not_take_is_said_again_and_not_for_ever(story, tmp_path):
    first = story.artifact.body["agreeing"][0]
    site = Site(story, first, tmp_path, fails=1)
    await site.look(TRIES.value + 2)
    assert len(site.orders) == 2
    site = Site(story, first, tmp_path, fails=10)
    await site.look(TRIES.value + 2)
    assert len(site.orders) == TRIES.value


async def test_a_package_whose_files_are_not_here_is_left_alone(story, tmp_path):
    site = Site(story, story.artifact.body["agreeing"][0], tmp_path)
    site.here.clear()
    await site.look()
    assert site.orders == []


def test_a_link_of_a_stranger_that_is_no_page_costs_not_the_rest_of_what_is_said():
    """`https://[` has the form of an address and is none: the node refuses a description with it."""
    (said,) = _of_description("pkg:pypi/idna@1", Description("domain names", "https://["))
    assert (said.text, said.fields) == ("domain names", {})
    (said,) = _of_description("pkg:pypi/idna@1", Description("domain names", "https://a.example"))
    assert said.fields == {"homepage": "https://a.example"}
    assert list(_of_description("pkg:pypi/idna@1", Description("", "https://["))) == []
