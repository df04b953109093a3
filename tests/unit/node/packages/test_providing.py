"""What a provider is told of a package: by the real ledger and the real knowledge of a node."""

import random
from types import SimpleNamespace

import msgspec
import pytest
import trio

from pyrsia.errors import Refusal
from pyrsia.ledger import entries, views
from pyrsia.node.knowledge import auditing as audits
from pyrsia.node.knowledge.auditing import Auditing
from pyrsia.node.knowledge.knowing import Knowledge
from pyrsia.node.knowledge.telling import Telling
from pyrsia.node.members.past import PastMembers
from pyrsia.node.packages import providing
from pyrsia.node.packages.downloads import Downloads
from pyrsia.node.packages.providing import Provider, newest_first
from pyrsia.node.policy.policing import Policing
from pyrsia.node.pulse import Pulse
from pyrsia.serve.desks.knowing import AsOf
from pyrsia.serve.desks.providing import FileView
from pyrsia.serve.desks.supply import of_log
from pyrsia.store.rocks import Database
from pyrsia.units import Limit
from pyrsia.wire.text import b32
from tests.reference.governance import fact, mapping
from tests.reference.pasts import Eventful

PURL = "pkg:pypi/idna"


class NoCatalog:
    def files(self, name):
        return ()


def provider(archive, genesis, folder, downloads=None, **more):
    """A node's, over a log; policy lets everything pass and is not asked."""
    clock = lambda: 4_000_000_000.0  # noqa: E731 (behind every block)
    members = PastMembers(archive, genesis, database_rows(archive))
    telling = Telling(archive, genesis, Pulse(), members=members, clock=clock)
    knowledge = Knowledge(archive, clock=clock)
    policing = Policing(folder / "policy.toml", archive.state)
    auditing = Auditing(archive, knowledge, telling, policing, of_log(NoCatalog()))
    desk = SimpleNamespace(facts=telling.facts, audit=auditing.audit)
    return Provider(archive, desk, downloads, members=members, **more)


def database_rows(archive):
    return lambda start, count: archive._database.scan(archive.live.state, start, count)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = Eventful(tmp_path_factory.mktemp("world"))
    made.enacted = made.archive.size
    yield made
    made.close()


@pytest.fixture
def told(world, tmp_path):
    return provider(world.archive, world.genesis, tmp_path)


def of(overview, version):
    return next(one for one in overview.versions if one.version == version)


async def test_versions_come_newest_first_with_what_they_are_worth_and_why(told, world):
    found = await told.overview(PURL, AsOf())

    assert [one.version for one in found.versions] == ["3.0", "2.0", "1.0"]
    assert [one.status for one in found.versions] == ["WITHDRAWN", "REPRODUCED", "WITHDRAWN"]
    assert of(found, "3.0").reason
    assert len(of(found, "2.0").files) == 2
    assert all(len(file.agreeing) >= 2 for one in found.versions for file in one.files)
    assert (found.size, found.whole, found.package) == (world.archive.size, True, PURL)
    assert found.mapping.repository.startswith("https://")
    assert found.downloads is None  # nobody counts here


async def test_advisories_name_their_issuer_and_when_they_were_first_known(told, world):
    found = await told.overview(f"{PURL}@1.0", AsOf())
    (version,) = found.versions
    (one,) = version.advisories
    assert (one.id, one.severity, one.fixed) == ("CVE-1", "high", "1.1")
    assert one.issuer in {record["name"] for record in names(world).values()}
    assert one.first_known_ms > 0
    assert version.worst == "high"
    assert of(await told.overview(PURL, AsOf()), "2.0").advisories == ()


async def test_more_than_one_audit_holds_is_asked_for_in_parts_and_the_newest_versions_are_told(
    told, monkeypatch
):
    whole = await told.overview(PURL, AsOf())
    monkeypatch.setattr(audits, "COMPARED", Limit(1, "a test's"))
    assert await told.overview(PURL, AsOf()) == whole
    monkeypatch.setattr(providing, "MAX_ADVISORIES", Limit(0, "a test's"))
    fewer = await told.overview(PURL, AsOf())
    count = len(fewer.versions)
    assert 0 < count < len(whole.versions)
    assert (fewer.versions, fewer.more) == (whole.versions[:count], True)


def names(world):
    return {node: {"name": name} for node, name in views.names(world.db.get).items()}


async def test_at_each_moment_it_is_what_a_node_with_only_that_log_tells(told, world, tmp_path):
    """As-of is a replay of the prefix: nothing of what came later shines through."""
    for number, size in enumerate(sorted(set(world.ends))[3::5]):
        archive, database = world.upto(tmp_path / f"db{number}", size)
        try:
            then = provider(archive, world.genesis, tmp_path)
            assert await said(told, AsOf(size=size)) == await said(then, AsOf()), size
        finally:
            database.close()


async def test_members_have_the_names_that_they_had_then(tmp_path):
    """A member that is called otherwise today speaks under its name of then, and a fact is told so too."""
    (tmp_path / "world").mkdir()
    world = Eventful(tmp_path / "world")
    before = world.archive.size
    issuer = b32(world.nodes[0].public)
    fields = {**views.member(world.db.get, world.nodes[0].public), "name": "called otherwise"}
    world.enact({"kind": "member.replace", "member": fields, "node": issuer, "reason": "a new name"})
    node = provider(world.archive, world.genesis, tmp_path)
    for at, name in ((AsOf(), "called otherwise"), (AsOf(size=before), "node 0")):
        (one,) = of(await node.overview(PURL, at), "1.0").advisories
        assert one.issuer == name
        rows = (await node._desk.facts(PURL, at, kind="advisory", first=0, count=10)).facts
        assert {row.author_name for row in rows if row.author == issuer} == {name}
    world.close()


async def said(node, at):
    try:
        return plain(await node.overview(PURL, at))
    except Refusal as refusal:
        return refusal.code


def plain(overview):
    """Without the moment, which one of them names."""
    fields = msgspec.to_builtins(overview)
    del fields["time_ms"]
    return fields


async def test_what_the_log_has_not_is_refused_and_so_is_what_was_pushed_here(told, world, tmp_path):
    for purl in ("pkg:pypi/none", f"{PURL}@9"):
        with pytest.raises(Refusal) as caught:
            await told.overview(purl, AsOf())
        assert caught.value.code == "package-unknown"
        assert "moment" not in caught.value.what
    with pytest.raises(Refusal, match="no file of it at that moment"):
        await told.overview("pkg:pypi/none", AsOf(size=1))
    for purl, at in (("no purl", AsOf()), (PURL, AsOf(size=10**9)), (PURL, AsOf(1, 1))):
        with pytest.raises(Refusal) as caught:
            await told.overview(purl, at)
        assert caught.value.code == "bad-request"
    own = provider(world.archive, world.genesis, tmp_path, pushed=lambda package: package == PURL)
    with pytest.raises(Refusal, match="pushed to this node"):
        await own.overview(PURL, AsOf())


async def test_it_is_asked_for_some_of_the_newest_and_says_that_there_are_more(told):
    found = await told.overview(PURL, AsOf(), most=1)
    assert ([one.version for one in found.versions], found.more) == (["3.0"], True)


async def test_downloads_of_a_wheel_s_files_add_up_and_of_a_package_too(world, tmp_path):
    database = Database.open(tmp_path / "db")
    try:
        downloads = Downloads(database, lambda sha256: True)
        told = provider(world.archive, world.genesis, tmp_path, downloads)
        files = of(await told.overview(PURL, AsOf()), "2.0").files
        for file, times in zip(files, (2, 3), strict=True):
            for _ in range(times):
                downloads.given(file.sha256)
        found = await told.overview(PURL, AsOf())
        assert (of(found, "2.0").downloads, of(found, "1.0").downloads, found.downloads) == (5, 0, 5)
    finally:
        database.close()


async def test_descriptions_and_rechecks_are_told_with_who_said_them(world, tmp_path):
    me = world.nodes[2]
    request = world.second.artifact.body["request"]
    digest = world.sha256(world.other)
    world.block(
        world.entry(me, "fact.add", fact("description", PURL, tags=["dns"], text="names <b>", homepage="https://x")),
        world.entry(me, "fact.add", fact("recheck", f"{PURL}@1.0", outcome="agrees", request=request)),
        world.entry(me, "fact.add", fact("recheck", f"sha256:{digest}", outcome="failed",
                                         request=world.other.artifact.body["request"])),
    )  # fmt: skip
    found = await provider(world.archive, world.genesis, tmp_path).overview(PURL, AsOf())

    (one,) = found.descriptions
    assert (one.text, one.tags, one.homepage) == ("names <b>", ("dns",), "https://x")
    assert one.by == names(world)[b32(me.public)]["name"]
    assert [row.outcome for row in of(found, "1.0").rechecks] == ["agrees"]
    assert [row.outcome for row in of(found, "2.0").rechecks] == ["failed"]


async def test_an_advisory_about_a_file_says_since_when_it_is_known_as_one_about_the_package_does(
    world, tmp_path, monkeypatch
):
    me, digest = world.nodes[0], world.sha256(world.other)
    size = world.archive.size
    told = provider(world.archive, world.genesis, tmp_path)

    def tell(severity, **more):
        body = fact("advisory", f"sha256:{digest}", advisory="FILE-1", severity=severity, **more)
        entry = world.entry(me, "fact.add", body)
        world.block(entry)
        return entries.entry_id(entry).hex()

    first = tell("low")
    (one,) = of(await told.overview(PURL, AsOf()), "2.0").advisories
    assert (one.id, one.first_known_ms) == ("FILE-1", world.time)
    since = one.first_known_ms
    tell("high", supersedes=first)
    (one,) = of(await told.overview(f"{PURL}@2.0", AsOf()), "2.0").advisories
    assert (one.severity, one.first_known_ms) == ("high", since)  # since the one that was replaced
    assert since < world.time
    assert of(await told.overview(PURL, AsOf(size=size)), "2.0").advisories == ()
    monkeypatch.setattr(providing, "MAX_DIGESTS", Limit(0, "a test's"))
    assert of(await told.overview(PURL, AsOf()), "2.0").advisories[0].first_known_ms == 0


@pytest.mark.parametrize(
    ("kind", "published", "newest"),
    [
        ("pypi", ["1.10", "1.9", "2.0rc1", "1.0.post1"], ["2.0rc1", "1.10", "1.9", "1.0.post1"]),
        ("pypi", ["1.0", "nonsense-0", "0.9"], ["1.0", "0.9", "nonsense-0"]),
        ("maven", ["1.9", "1.10", "1.10-SNAPSHOT"], ["1.10", "1.10-SNAPSHOT", "1.9"]),
        ("docker", ["3", "latest", "2"], ["2", "latest", "3"]),
    ],
)
async def test_newest_is_what_the_ecosystem_calls_so(kind, published, newest):
    assert await newest_first(kind, published, 9) == newest
    assert await newest_first(kind, published, 2) == newest[:2]


@pytest.mark.parametrize(
    ("kind", "version"), [("pypi", "1.{}rc1"), ("maven", "1.{}-beta-{}"), ("docker", "v{}")]
)
async def test_thousands_of_versions_are_put_in_order_in_turns_with_others(kind, version):
    """Sorted at once they stop the node for a second, and anybody may ask for a badge."""
    published = [version.format(at, at) for at in range(2_000)]
    random.Random(5).shuffle(published)
    turns = CountTurns()
    trio.lowlevel.add_instrument(turns)
    try:
        newest = await newest_first(kind, published, 3)
    finally:
        trio.lowlevel.remove_instrument(turns)

    wanted = published[:-4:-1] if kind == "docker" else [version.format(at, at) for at in (1999, 1998, 1997)]
    assert newest == wanted
    assert turns.count >= len(published) // providing.SORTED_A_TURN


class CountTurns(trio.abc.Instrument):
    count = 0

    def before_task_step(self, task):
        self.count += 1


async def test_of_more_files_than_are_told_of_the_newest_are_and_the_answer_says_so(told, monkeypatch):
    everything = await told.overview(PURL, AsOf())
    monkeypatch.setattr(providing, "MAX_FILES", Limit(1, "less than there are"))
    some = await told.overview(PURL, AsOf())
    assert [one.version for one in some.versions] == [one.version for one in everything.versions][:1]
    assert (some.more, some.whole) == (True, False)
    for version in ("3.0", "1.0"):  # of the one that is asked about only its own files count
        assert (await told.overview(f"{PURL}@{version}", AsOf())).versions

    monkeypatch.setattr(providing, "MAX_FILES_SOUGHT", Limit(1, "less than there are"))
    assert not (await told.overview(f"{PURL}@3.0", AsOf())).whole
    with pytest.raises(Refusal, match="newest 1 files"):
        await told.overview(f"{PURL}@1.0", AsOf())


def test_a_version_is_worth_what_its_worst_file_is():
    """Whoever installs the wheel is not helped by a source archive that was built again."""
    files = [shown("REPRODUCED"), shown("WITNESSED"), shown("EQUIVALENT")]
    told = providing._Told(9, 1, True, (), {}, {}, False)
    version = providing._version("pypi", f"{PURL}@1", "1", files, None, told)
    assert (version.status, version.verdict) == ("WITNESSED", "WITNESSED")
    disputed = providing._version("pypi", f"{PURL}@1", "1", [*files, shown("DISPUTED", "why")], None, told)
    assert (disputed.status, disputed.reason) == ("DISPUTED", "why")


def shown(status, reason=""):
    return FileView(f"{status}.whl", "ab" * 32, 1, status, status, reason, (), (), 5, 7, "")


class Remapped(Eventful):
    """Whose mapping is another one in the end."""

    def _tell(self):
        super()._tell()
        self.remapped = self.archive.size
        self.enact(mapping(replaces=1, repository="https://example.org/other"))
        self.enact(mapping(replaces=2, repository="https://example.org/third"))


async def test_the_mapping_of_a_moment_is_the_one_that_was_in_force(tmp_path):
    """The state has the newest mapping alone: where that came later, a moment had none at all."""
    world = Remapped(tmp_path / "world")
    try:
        node = provider(world.archive, world.genesis, tmp_path)
        before = await node.overview(PURL, AsOf(size=world.remapped))
        assert (before.mapping.repository, before.whole) == ("https://github.com/kjd/idna", True)
        seen = set()
        for number, size in enumerate(one for one in world.ends[::3] if one > before.mapping.leaf):
            archive, database = world.upto(tmp_path / f"db{number}", size)
            ended = views.mapping(archive.state, PURL)
            database.close()
            try:
                then = (await node.overview(PURL, AsOf(size=size))).mapping
            except Refusal:
                continue  # before its first file
            assert (then.repository, then.leaf) == (ended["repository"], ended["leaf"])
            seen.add(then.repository)
        assert len(seen) >= 2
        assert (await node.overview(PURL, AsOf())).mapping.repository == "https://example.org/third"
    finally:
        world.close()
