"""Orders, sources and logs: what an order means, whose name a result has, and when a log may be read."""

import hashlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
import trio

from pyrsia.builds.model import Planned, SourceWithheld, Unbuildable
from pyrsia.errors import Malformed, PeerFault, Refusal, Unavailable
from pyrsia.ledger import entries, views
from pyrsia.node.builds.desk import LOG_PART_BYTES, Desk
from pyrsia.node.builds.names import coordinates, own_name, want_of_purl
from pyrsia.node.builds.requests import Requests
from pyrsia.node.builds.sources import Sources
from pyrsia.node.storage.shelf import BlobRef
from pyrsia.serve.desks.orders import BuildOrder, GivenSource
from pyrsia.units import MAX_SOURCE_BYTES
from pyrsia.wire.text import b32
from tests.reference.ledger import blob
from tests.reference.story import Story

SOURCE = b"a tar of somebody's own"


class Shelf:
    """Blobs of a dict; `peers`: what others would give."""

    def __init__(self, folder):
        self.folder, self.pins, self.asked, self.peers = folder, {}, [], {}

    def local(self, sha256):
        path = self.folder / sha256.hex()
        return path if path.exists() else None

    def keep(self, data):
        sha256 = hashlib.sha256(data).digest()
        (self.folder / sha256.hex()).write_bytes(data)
        return BlobRef(sha256[::-1], sha256, len(data))

    async def put(self, data, *, pin=""):
        return self.keep(data)

    async def adopt(self, file, sha256, *, pin=""):
        data = file.read_bytes()
        assert hashlib.sha256(data).digest() == sha256
        self.pins[sha256] = pin
        return self.keep(data)

    async def fetch(self, manifest, sha256, size, sources):
        self.asked.append((manifest, sha256, size, list(sources)))
        await trio.lowlevel.checkpoint()
        if sha256 not in self.peers:
            raise Unavailable("nobody gave it")
        self.keep(self.peers[sha256])
        return self.local(sha256)


class Planner:
    """Plans one package, of the source that is given along if there is one."""

    def __init__(self, story):
        self.story, self.wants, self.refusal = story, [], None
        self.lock = b"pyrsia lock pip v1\n"

    async def plan(self, want, now_ms, progress):
        self.wants.append(want)
        if self.refusal:
            raise self.refusal
        asked = self.story.asked
        source = asked["source"]
        if want.source is not None:
            source = {"file": want.source.file, "sha256": want.source.sha256, "size": want.source.size}
        fields = {"name": "idna", "version": "2.0"}
        return (
            Planned("pkg:pypi/idna@2.0", fields, source, asked["recipe"], self.lock, asked["target"], "pip"),
        )


class Stage:
    def __init__(self, folder, **options):
        self.story = Story(**options)
        self.world = self.story.world
        self.shelf, self.planner = Shelf(folder / "blobs"), Planner(self.story)
        (folder / "blobs").mkdir()
        self.me = self.world.follower
        self.submitted = []
        self.jobs = {}
        self.builder = SimpleNamespace(
            job=lambda request, number: self.jobs.get((request, number)), waiting=lambda: ["x"], turns=None
        )
        self.sources = Sources(self.shelf, folder / "scratch", lambda: [])
        self.desk = self.desk_of(self.me)

    def desk_of(self, pair, *, sandbox=True):
        requests = Requests(
            pair.public,
            plugins={"pip": self.planner, "witness": self.planner},
            shelf=self.shelf,
            submitter=self,
            reads=self.world.db.get,
        )
        return Desk(
            pair.public,
            requests=requests if sandbox else None,
            builder=self.builder,
            sources=self.sources,
            shelf=self.shelf,
            submitter=self,
            reads=self.world.db.get,
            now_ms=lambda: 1,
        )

    async def submit(self, kind, body):
        self.submitted.append((kind, body))
        raw = self.world.entry(self.me, kind, body)
        await trio.lowlevel.checkpoint()
        return entries.entry_id(raw), 7

    async def given(self, data=SOURCE, file="own-1.0.tar"):
        async def chunks():
            for at in range(0, len(data), 5):
                yield data[at : at + 5]

        return await self.desk.take(file, chunks())


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path)


# -- orders --


async def test_a_purl_or_a_name_says_the_same(stage):
    for order in (
        BuildOrder(purl="pkg:pypi/Idna@2.0"),
        BuildOrder(ecosystem="pip", name="idna", version="2.0"),
    ):
        (asked,) = (await stage.desk.order(order)).requests
        assert (asked.purl, asked.known, asked.ecosystem) == ("pkg:pypi/idna@2.0", False, "pip")
    assert {(want.name, want.version) for want in stage.planner.wants} == {("idna", "2.0")}


@pytest.mark.parametrize(
    "order",
    [
        BuildOrder(),
        BuildOrder(ecosystem="pip"),
        BuildOrder(name="idna"),
        BuildOrder(purl="pkg:pypi/idna", name="idna"),
        BuildOrder(purl="pkg:npm/left-pad@1"),
        BuildOrder(purl="not a purl"),
        BuildOrder(purl="pkg:pypi/idna", ecosystem="maven"),
        BuildOrder(ecosystem="pip", name="idna", parameters={"a": "b"}),
        BuildOrder(ecosystem="npm", name="left-pad"),
        BuildOrder(
            ecosystem="pip", name="x", source=GivenSource("x-1.tar", "1" * 64, "2" * 64, 3)
        ),  # never sent
    ],
)
async def test_an_order_that_makes_no_sense_is_refused(stage, order):
    with pytest.raises(Refusal) as caught:
        await stage.desk.order(order)
    assert (caught.value.code, stage.submitted) == ("bad-request", [])


async def test_a_plan_shows_everything_and_asks_for_nothing(stage):
    published = stage.story.artifact.body
    stage.planner.lock = (
        b"pyrsia lock pip v1\n"
        + f"idna 1.0 {published['file']} {published['sha256']} 5\n".encode()
        + f"tool 1.0 tool-1.0.whl {'7' * 64} 9\n".encode()
    )
    (row,) = (await stage.desk.order(BuildOrder(purl="pkg:pypi/idna@2.0", dry_run=True))).plans
    assert (stage.submitted, row.purl, row.request) == ([], "pkg:pypi/idna@2.0", "")
    assert row.lock_sha256 == hashlib.sha256(stage.planner.lock).hexdigest()
    assert [(one.file, one.entry) for one in row.inputs] == [
        (published["file"], stage.story.artifact.leaf),
        ("tool-1.0.whl", -1),
    ]
    assert row.recipe == stage.story.asked["recipe"]
    with pytest.raises(Refusal) as caught:
        await stage.desk.order(BuildOrder(purl="pkg:pypi/idna@2.0", verified_only=True))
    assert (caught.value.code, "tool-1.0.whl" in caught.value.what, stage.submitted) == (
        "inputs-unverified", True, [],
    )  # fmt: skip


async def test_without_a_sandbox_nothing_is_planned(stage):
    with pytest.raises(Refusal) as caught:
        await stage.desk_of(stage.me, sandbox=False).order(BuildOrder(purl="pkg:pypi/idna"))
    assert caught.value.code == "no-sandbox"


@pytest.mark.parametrize("code", ["no-sdist", "build-failed"])
async def test_what_has_no_source_to_build_goes_to_the_witnesses_if_that_is_wanted(stage, code):
    refusal = Refusal(code, what="no source archive: idna 2.0", who="w", do="d")
    order = BuildOrder(purl="pkg:pypi/idna@2.0")
    stage.planner.refusal = refusal
    with pytest.raises(Refusal) as caught:
        await stage.desk.order(order)
    assert caught.value.code == code

    class Witness(Planner):
        pass

    witness = Witness(stage.story)
    stage.desk._requests._plugins = {"pip": stage.planner, "witness": witness}
    (asked,) = (await stage.desk.order(BuildOrder(purl="pkg:pypi/idna@2.0", witness=True))).requests
    assert "witnessed, not rebuilt: no source archive" in asked.note
    assert [want.name for want in witness.wants] == ["pkg:pypi/idna"]


async def test_of_a_closure_what_can_be_built_is_built_and_only_the_rest_is_witnessed(stage):
    """A dependency without a source archive keeps the package that needs it from nothing."""
    whole = [("dep", "1.0"), ("bare", "3.0"), ("idna", "2.0")]

    class Closure(Planner):
        async def plan(self, want, now_ms, progress):
            self.wants.append((want.name, want.version, want.closure))
            if want.closure:
                raise Unbuildable(
                    "no-sdist", what="no source archive: bare 3.0", who="w", do="d",
                    packages=[("bare", "3.0")], closure=whole,
                )  # fmt: skip
            (one,) = await super().plan(want, now_ms, progress)
            return (replace(one, purl=f"pkg:pypi/{want.name}@{want.version}"),)

    class Seeing(Planner):
        async def plan(self, want, now_ms, progress):
            self.wants.append(want)
            (one,) = await super().plan(want, now_ms, progress)
            return (replace(one, purl=f"{want.name}@{want.version}", ecosystem="witness"),)

    builds, sees = Closure(stage.story), Seeing(stage.story)
    stage.desk._requests._plugins = {"pip": builds, "witness": sees}
    order = BuildOrder(purl="pkg:pypi/idna@2.0", witness=True)
    asked = (await stage.desk.order(order)).requests
    assert [(one.purl, one.ecosystem, one.note) for one in asked] == [
        ("pkg:pypi/dep@1.0", "pip", ""),
        ("pkg:pypi/bare@3.0", "witness", "witnessed, not rebuilt: no source archive: bare 3.0"),
        ("pkg:pypi/idna@2.0", "pip", ""),
    ]


# -- sources --


async def test_a_source_given_along_leads_to_a_name_of_ones_own_and_its_request_names_the_blob(stage):
    given = await stage.given()
    assert (given.sha256, given.size) == (hashlib.sha256(SOURCE).hexdigest(), len(SOURCE))
    order = BuildOrder(ecosystem="pip", name="idna", version="2.0", source=given, parameters={"a": "b"})
    (asked,) = (await stage.desk.order(order)).requests
    me = b32(stage.me.public)
    assert asked.purl == f"pkg:generic/{me}/pypi/idna@2.0"
    (_, body), want = stage.submitted[-1], stage.planner.wants[-1]
    assert body["source"] == {
        "file": "own-1.0.tar", "manifest": given.manifest, "sha256": given.sha256, "size": given.size,
    }  # fmt: skip
    assert (body["purl"], want.generic, want.parameters) == (asked.purl, me, {"a": "b"})
    assert list(stage.shelf.pins.values()) == ["source"]


@pytest.mark.parametrize(
    "file", ["", "x", "../x.tar", "x.tar/..", "a b.tar", "-x.tar", "x.whl", "x" * 300 + ".tar"]
)
async def test_what_is_no_name_of_an_archive_is_refused(stage, file):
    with pytest.raises(Refusal) as caught:
        await stage.given(file=file)
    assert caught.value.code == "bad-request"


async def test_a_source_that_is_too_large_is_refused_and_leaves_nothing(stage, monkeypatch, tmp_path):
    monkeypatch.setattr("pyrsia.node.builds.sources.MAX_SOURCE_BYTES", type(MAX_SOURCE_BYTES)(10, "a test's"))
    with pytest.raises(Refusal) as caught:
        await stage.given()
    assert (caught.value.code, list((tmp_path / "scratch").iterdir())) == ("too-large", [])


async def test_a_builder_brings_the_source_from_its_authors_node_by_the_manifest_of_the_request(stage):
    sha256 = hashlib.sha256(SOURCE).digest()
    body = {
        "requester": b32(stage.me.public),
        "source": {"file": "x.tar", "manifest": "ab" * 32, "sha256": sha256.hex(), "size": len(SOURCE)},
    }
    with pytest.raises(Unavailable):
        await stage.sources.bring(body)
    stage.shelf.peers[sha256] = SOURCE
    path = await stage.sources.bring(body)
    assert path.read_bytes() == SOURCE
    assert stage.shelf.asked[-1] == (bytes.fromhex("ab" * 32), sha256, len(SOURCE), [stage.me.public])
    asked = len(stage.shelf.asked)
    assert (await stage.sources.bring(body), len(stage.shelf.asked)) == (path, asked)
    with pytest.raises(Unavailable, match="how its source travels"):
        await stage.sources.bring({**body, "source": {"sha256": "0" * 64, "size": 1, "file": "x"}})


@pytest.mark.parametrize("error", [Unavailable("away"), PeerFault("lies", peer=b"p" * 32), Malformed("junk")])
async def test_whatever_a_requesters_node_does_instead_of_giving_the_source_it_is_withheld(stage, error):
    body = {
        "requester": b32(stage.me.public),
        "source": {"file": "x.tar", "manifest": "ab" * 32, "sha256": "cd" * 32, "size": 5},
    }

    async def fetch(*_):
        raise error

    stage.shelf.fetch = fetch
    with pytest.raises(SourceWithheld, match="nobody gave the source"):
        await stage.sources.bring(body)


async def test_a_source_that_never_comes_whole_is_withheld(stage, autojump_clock):
    async def fetch(*_):
        await trio.sleep_forever()

    stage.shelf.fetch = fetch
    body = {
        "requester": b32(stage.me.public),
        "source": {"file": "x.tar", "manifest": "ab" * 32, "sha256": "cd" * 32, "size": 5},
    }
    with pytest.raises(SourceWithheld, match="in time"):
        await stage.sources.bring(body)


# -- logs --


async def test_a_log_is_given_once_its_builder_has_committed_and_not_before(tmp_path):
    stage = Stage(tmp_path)
    request, builders = stage.world.drawn(version="2.0")
    me = builders[0]
    desk, text = stage.desk_of(me), b"what came out\n" * 40_000
    kept = stage.shelf.keep(text)
    stage.jobs[(request, 0)] = {"log": kept.as_dict()}
    with pytest.raises(Refusal) as caught:
        await desk.log(request, "", 0)
    assert caught.value.code == "not-yet"
    stage.world.block(stage.world.commit(me, stage.world.reveal(request)))
    part = await desk.log(request, "", 0)
    assert (part.builder, part.size, len(part.data)) == (b32(me.public), len(text), LOG_PART_BYTES.value)
    rest = await desk.log(request, b32(me.public), LOG_PART_BYTES.value)
    assert part.data + rest.data == text[: 2 * LOG_PART_BYTES.value]
    with pytest.raises(Refusal) as other:  # who has committed and not revealed has shown nobody its log
        await desk.log(request, b32(builders[1].public), 0)
    assert other.value.code == "not-yet"


async def test_a_revealed_log_is_brought_from_its_builder(stage):
    view = views.request(stage.world.db.get, stage.story.request)
    who, told = view.reveals[0].author, view.reveals[0].body["log"]
    with pytest.raises(Refusal) as caught:
        await stage.desk.log(stage.story.request, who, 0)
    assert caught.value.code == "unavailable"
    stage.shelf.peers[bytes.fromhex(told["sha256"])] = b"text"
    (stage.shelf.folder / told["sha256"]).write_bytes(b"text")
    assert (await stage.desk.log(stage.story.request, who, 0)).data == b"text"
    with pytest.raises(Refusal) as nobody:
        await stage.desk.log(stage.story.request, b32(stage.me.public), 0)
    assert nobody.value.code == "not-found"


async def test_only_ones_own_request_can_be_cancelled_and_an_unknown_one_not_at_all(stage):
    author = views.request(stage.world.db.get, stage.story.request).author
    other = next(node for node in stage.world.nodes if b32(node.public) != author)
    with pytest.raises(Refusal) as caught:
        await stage.desk_of(other).cancel(stage.story.request)
    assert caught.value.code == "forbidden"
    with pytest.raises(Refusal) as unknown:
        await stage.desk.cancel("0" * 64)
    assert unknown.value.code == "not-found"
    mine = next(node for node in stage.world.nodes if b32(node.public) == author)
    done = await stage.desk_of(mine).cancel(stage.story.request)
    assert (done.request, stage.submitted[-1]) == (
        stage.story.request,
        ("build.cancel", {"request": stage.story.request}),
    )


# -- names --


@pytest.mark.parametrize(
    ("purl", "plugin", "name", "version"),
    [
        ("pkg:pypi/Foo_Bar@1.0", "pip", "foo-bar", "1.0"),
        ("pkg:maven/org.demo/lib@1.0", "maven", "org.demo:lib", "1.0"),
        ("pkg:conan/zlib@1.3.1", "conan", "zlib", "1.3.1"),
        ("pkg:conan/me/stable/own@1.0", "conan", "me/stable/own", "1.0"),
        ("pkg:docker/team/app@sha256:" + "a" * 64, "oci", "team/app", "sha256:" + "a" * 64),
        ("pkg:pypi/idna", "pip", "idna", None),
    ],
)
def test_purls_of_every_ecosystem_have_a_name_in_its_own_words_and_back(purl, plugin, name, version):
    assert coordinates(purl) == (plugin, name, version)
    assert str(want_of_purl(plugin, name)) == purl.partition("@")[0].replace("Foo_Bar", "foo-bar")


def test_a_name_of_ones_own_holds_type_and_namespace():
    node = b32(bytes(range(32)))
    assert own_name("pkg:maven/org.demo/lib@1", node) == f"pkg:generic/{node}/maven/org.demo/lib@1"
    assert own_name(own_name("pkg:pypi/a@1", node), node) == f"pkg:generic/{node}/pypi/a@1"
    assert blob("x") != blob("y")
