"""Packages of the past against a node whose log ended then: what a search finds, and what versions were worth."""

import json
from functools import partial
from types import SimpleNamespace

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pyrsia.errors import Refusal
from pyrsia.ledger import views
from pyrsia.node.inspecting import past as pasts
from pyrsia.node.log.proofs import Proofs
from pyrsia.node.log.times import Moment
from pyrsia.node.packages import past
from pyrsia.node.packages.catalog import Catalog
from pyrsia.node.packages.providing import Provider
from pyrsia.node.policy.policing import Policing
from pyrsia.serve.desks.knowing import AsOf
from pyrsia.serve.desks.supply import LocalRow, NoLocal, NoUpstream, Supply
from pyrsia.serve.finding import Finder
from pyrsia.units import Limit
from tests.reference.governance import about
from tests.reference.parts import Kept
from tests.reference.pasts import PACKAGES, Mixed

ALL = '[all]\nmode = "verified+witnessed"\n'
QUERIES = ("", "z", "idna", "IDNA@1", "idna==2", "alpine:3", "zlib/1", "pkg:maven", "*lib*", "commons-codec", "none",
           "idna@5*")  # fmt: skip


class Rising(Mixed):
    """Of four ecosystems, with a file that was seen at first and then built, and versions that rise and fall."""

    def start(self, folder):
        Kept.__init__(self, folder, count=12, builders=11, capabilities=sorted((*PACKAGES, "witness")))

    def _tell(self):
        self._built("later", purl="pkg:pypi/idna@2.0", coordinates={"name": "idna", "version": "2.0"})
        super()._tell()
        five = {"purl": "pkg:pypi/idna@5.0", "coordinates": {"name": "idna", "version": "5.0"}}
        self.seen = self._built("seen", ecosystem="witness", **five)
        self.propose(wait=3_600_000)
        self.built = self._built("made", **five)
        self.enact(about("artifact.withdraw", self.sha256(self.built), "pkg:pypi/idna@5.0"))


async def no_bundle(sha256):
    return None


class Searched:
    """A node's search over a log, as of now and as of then; policy lets everything pass."""

    def __init__(self, archive, genesis, folder, local=None):
        path = folder / "policy.toml"
        path.write_text(ALL)
        policing = Policing(path, archive.state)
        catalog = Catalog(archive, None, Proofs(archive), no_bundle, policing=policing)
        self.finder = Finder(Supply(catalog, local or NoLocal(), NoUpstream()))
        self.provider = Provider(archive, SimpleNamespace(), clock=lambda: 4_000_000_000.0)

    async def now(self, query, **more):
        return await self.finder.search(query, **more)

    async def then(self, query, at, **more):
        return await self.finder.search(query, then=await self.provider.then(at), **more)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = Rising(tmp_path_factory.mktemp("world"))
    yield made
    made.close()


@pytest.fixture
def node(world, tmp_path):
    return Searched(world.archive, world.genesis, tmp_path)


def of_now(found):
    return replace(found, size=-1, time_ms=0)


def test_this_world_has_what_shall_be_told(world):
    assert [world.seen.verdict.body["verdict"], world.built.verdict.body["verdict"]] == [
        "WITNESSED",
        "REPRODUCED",
    ]
    files = [placed.body["purl"] for placed in views.project_files(world.db.get, "idna", every=True)]
    assert files.count("pkg:pypi/idna@5.0") == 2


async def test_at_each_moment_a_search_finds_what_a_node_with_only_that_log_finds(node, world, tmp_path):
    seen = set()
    for number, size in enumerate(sorted(set(world.ends), reverse=True)[::2]):
        archive, database = world.upto(tmp_path / f"db{number}", size)
        try:
            ended = Searched(archive, world.genesis, tmp_path)
            for query in QUERIES:
                then, now = await node.then(query, AsOf(size=size)), await ended.now(query)
                assert of_now(then) == now, (size, query)
                assert then.size == size
                seen |= {(one.verdict, bool(one.refused)) for one in now.packages}
        finally:
            database.close()
    assert seen >= {("REPRODUCED", False), ("REPRODUCED", True), ("WITNESSED", False)}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_pages_of_a_moment_are_parts_of_the_whole_answer(world, tmp_path_factory, data):
    node = Searched(world.archive, world.genesis, tmp_path_factory.getbasetemp())
    at = AsOf(size=data.draw(st.integers(1, world.archive.size)))
    query = data.draw(st.sampled_from(QUERIES))
    count = data.draw(st.integers(1, 4))
    whole = trio.run(partial(node.then, query, at))
    found, first = [], 0
    while first >= 0:
        page = trio.run(partial(node.then, query, at, first=first, count=count))
        assert len(page.packages) <= count
        assert page.more is (page.next >= 0)
        found, first = [*found, *page.packages], page.next
    assert (tuple(found), whole.next) == (whole.packages, -1)


async def test_a_time_is_the_last_block_of_it_and_later_files_do_not_shine_through(node, world):
    later = await node.then("idna", AsOf(time_ms=world.time))
    assert later.packages[0].refused[0] == "5.0"
    assert of_now(later) == await node.now("idna")
    leaf = world.seen.artifact.leaf
    before, after = [(await node.then("idna", AsOf(size=size))).packages[0] for size in (leaf, leaf + 1)]
    assert "5.0" not in before.versions + before.refused
    assert (after.versions[0], after.verdict) == ("5.0", "WITNESSED")


async def test_what_was_pushed_to_this_node_is_not_of_the_log_and_hides_nothing_of_the_past(world, tmp_path):
    class Own(NoLocal):
        def packages(self, start):
            return ["pkg:pypi/idna", "pkg:pypi/secret"]

        def rows(self, package, start="", *, most=None):
            return [LocalRow(package, "files/x", "ab" * 32, 3, 1, "ci", {"version": "9"})]

    node = Searched(world.archive, world.genesis, tmp_path, Own())
    assert [one.origin for one in (await node.now("idna")).packages] == ["local"]
    [one] = (await node.then("idna", AsOf(size=world.archive.size))).packages
    assert (one.origin, set(one.versions)) == ("network", {"1.0", "2.0"})
    assert (await node.then("secret", AsOf(size=world.archive.size))).packages == ()


async def test_a_page_ends_where_its_work_does_and_the_next_goes_on(node, world, monkeypatch):
    whole = await node.then("", AsOf(size=world.archive.size))
    monkeypatch.setattr(past, "WORK", Limit(2, "a test's"))
    found, pages = [], 0
    while True:
        page = await node.then("", AsOf(size=world.archive.size), first=len(found))
        found += page.packages
        pages += 1
        if not page.more:
            break
    assert (tuple(found), pages > 2) == (whole.packages, True)


async def test_newer_files_cost_nothing_and_a_package_of_too_many_files_says_that_it_is_not_whole(
    monkeypatch,
):
    """Newer ones were passed one by one, without a bound; and what was cut was told as all that there was."""
    rows = {b"project/pkg:pypi/a": b"300000"}
    asked = []

    def state(key):
        asked.append(key)
        number = key.decode().rpartition("/")[2]
        if key in rows or len(number) != 16:
            return rows.get(key)
        at = int(number)
        body = {"file": f"f{at}", "purl": f"pkg:pypi/a@{at}", "sha256": f"{at:064}", "verdict": "REPRODUCED"}
        return json.dumps({"leaf": at, "body": body, "served": True}).encode()

    def then(size):
        asked.clear()
        return past.Then(SimpleNamespace(state=state), None, None, Moment(size, 0, True), 1)

    monkeypatch.setattr(past.Then, "_unchanged", lambda _, one: "REPRODUCED")
    monkeypatch.setattr(past, "MAX_FILES", Limit(5, "a test's"))
    early = then(3)
    stood = await early.stood("pkg:pypi/a")
    assert (stood.offered, stood.whole, early.read, len(asked) < 50) == (("2", "1", "0"), True, 3, True)
    assert (await then(5).stood("pkg:pypi/a")).whole
    for size in (6, 10, 300_000, 400_000):
        stood = await then(size).stood("pkg:pypi/a")
        newest = min(size, 300_000)
        assert stood.offered == tuple(str(newest - 1 - at) for at in range(5))
        assert not stood.whole
    assert (await then(0).stood("pkg:pypi/a")).offered == ()


async def test_a_package_whose_history_is_too_long_says_so(node, world, monkeypatch):
    monkeypatch.setattr(pasts, "LONG", Limit(1, "a test's"))
    monkeypatch.setattr(pasts, "STRETCH", Limit(8, "a test's"))
    monkeypatch.setattr(pasts, "MAX_HISTORY", Limit(1, "a test's"))
    [one] = (await node.then("idna", AsOf(size=world.built.artifact.leaf + 1))).packages
    assert not one.whole
    [one] = (await node.then("idna", AsOf(size=world.archive.size))).packages
    assert one.whole  # nothing happened since, so nothing is read


@pytest.mark.parametrize(
    ("at", "what"),
    [
        (AsOf(size=0), "the log began later"),
        (AsOf(size=10**9), "never as long"),
        (AsOf(time_ms=4_100_000_000_000), "lies ahead"),
        (AsOf(time_ms=0), "the log began later"),
        (AsOf(1, 1), "two moments"),
    ],
)
async def test_what_is_no_moment_is_refused(node, at, what):
    with pytest.raises(Refusal, match=what) as caught:
        await node.then("idna", at)
    assert caught.value.code == "bad-request"


async def test_names_that_come_between_two_questions_are_taken_in(world):
    """Two questions may read on at once; each name has one place, whoever read it."""
    rows = {b"projects": b"0"}
    names = past.Names(SimpleNamespace(state=rows.get))
    await names.read()
    assert (names.count(9), names.place("pkg:pypi/p0")) == (0, None)
    for number in range(1_500):
        rows[f"projects/{number:016}".encode()] = f'"pkg:pypi/p{number}"'.encode()
        rows[f"project/pkg:pypi/p{number}/{0:016}".encode()] = f'{{"leaf":{7 * number}}}'.encode()
    rows[b"projects"] = b"1500"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(names.read)
        nursery.start_soon(names.read)
    assert [names.place(f"pkg:pypi/p{number}") for number in range(1_500)] == list(range(1_500))
    assert [names.count(size) for size in (0, 1, 7, 8, 7 * 1_499, 10**6)] == [0, 1, 1, 2, 1_499, 1_500]
