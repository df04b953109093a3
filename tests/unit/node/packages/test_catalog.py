"""What package clients see, and one download however many ask."""

import hashlib

import pytest
import trio
import trio.testing

from pyrsia.errors import Refusal, Unavailable
from pyrsia.keys import verify
from pyrsia.node.log.proofs import Proofs
from pyrsia.node.packages.catalog import Catalog
from pyrsia.node.policy.policing import Policing
from pyrsia.serve import grants
from pyrsia.serve.grants import PUSH, READ, Grant
from pyrsia.units import MAX_HTTP_FETCH_WAIT_S
from pyrsia.verify.artifact import judge
from pyrsia.wire import purl
from pyrsia.wire.text import b32, unb32
from tests.reference.governance import Governed, about
from tests.reference.parts import Kept
from tests.reference.story import NOW_MS, WHEEL, Story


class Shelf:
    """Blobs that a test brings; `fetch` waits until it is let go."""

    def __init__(self, folder):
        self.folder, self.asked, self.gate, self.fails = folder, [], trio.Event(), []

    def local(self, sha256):
        path = self.folder / sha256.hex()
        return path if path.exists() else None

    async def fetch(self, manifest, sha256, size, sources, growing):
        self.asked.append((manifest, sha256, size, list(sources)))
        await self.gate.wait()
        if self.fails:
            raise self.fails.pop(0)
        path = self.folder / sha256.hex()
        path.write_bytes(b"bytes")
        return path


@pytest.fixture
def story(tmp_path):
    made = Story(world=Kept(tmp_path), dissenter=True)
    yield made
    made.world.close()


@pytest.fixture
def shelf(tmp_path):
    (tmp_path / "blobs").mkdir()
    return Shelf(tmp_path / "blobs")


@pytest.fixture
async def catalog(story, shelf):
    made = Catalog(story.world.archive, shelf, Proofs(story.world.archive), no_bundle)
    async with trio.open_nursery() as nursery:
        await nursery.start(made.arrivals.run)
        yield made
        nursery.cancel_scope.cancel()


async def no_bundle(sha256):
    return None


async def many(catalog, sha256, count=5):
    """(paths, refusals) of so many askers at once, started now."""
    paths, refusals = [], []

    async def ask():
        try:
            paths.append(await catalog.blob(sha256))
        except Refusal as refusal:
            refusals.append(refusal)

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        catalog._shelf.gate.set()
    return paths, refusals


async def test_the_projects_and_files_of_the_log_are_told(catalog, story):
    assert list(catalog.projects()) == ["idna"]
    (file,) = catalog.files("idna")
    assert (file.filename, file.sha256, file.verdict) == (
        "idna-1.0-py3-none-any.whl",
        story.sha256,
        "REPRODUCED",
    )
    assert (len(file.agreeing), len(file.dissenting), file.log_index) == (2, 1, story.artifact.leaf)
    assert catalog.file(story.sha256) == file
    assert (catalog.file("0" * 64), list(catalog.files("other"))) == (None, [])
    assert catalog.revision() == story.size


async def test_many_askers_share_one_download_from_those_that_agreed(catalog, shelf, story):
    paths, refusals = await many(catalog, story.sha256)
    assert (len(set(paths)), len(paths), refusals) == (1, 5, [])
    ((_, sha256, size, sources),) = shelf.asked
    assert (sha256.hex(), size) == (story.sha256, len(story.data))
    assert sources == [unb32(one) for one in story.artifact.body["agreeing"]]
    assert catalog.fetched == 1
    assert await catalog.blob(story.sha256) == paths[0]
    assert len(shelf.asked) == 1


async def test_a_failed_download_is_told_to_all_that_waited_and_tried_anew_later(catalog, shelf, story):
    shelf.fails = [Unavailable("nobody gave it")]
    paths, refusals = await many(catalog, story.sha256)
    assert (paths, [one.code for one in refusals], len(shelf.asked)) == ([], ["unavailable"] * 5, 1)
    assert "did not come: nobody gave it" in refusals[0].what
    assert await catalog.blob(story.sha256)
    assert (len(shelf.asked), catalog.fetched) == (2, 1)


async def test_when_one_that_waits_goes_away_the_download_goes_on_for_the_others(catalog, shelf, story):
    got, first = [], trio.CancelScope()

    async def leave():
        with first:
            await catalog.blob(story.sha256)

    async def stay():
        got.append(await catalog.blob(story.sha256))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(stay)
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()
        await trio.testing.wait_all_tasks_blocked()
        shelf.gate.set()
    assert (len(got), len(shelf.asked)) == (1, 1)


async def test_a_download_that_hangs_ends(catalog, shelf, story, autojump_clock):
    began = trio.current_time()
    with pytest.raises(Refusal) as caught:
        await catalog.blob(story.sha256)
    waited_s = trio.current_time() - began
    assert (caught.value.code, waited_s) == ("unavailable", pytest.approx(MAX_HTTP_FETCH_WAIT_S.value))
    assert catalog.arrivals._running == {}


async def test_a_digest_that_the_log_does_not_name_never_goes_to_peers(catalog, shelf):
    with pytest.raises(Refusal) as caught:
        await catalog.blob(hashlib.sha256(b"x").hexdigest())
    assert (caught.value.code, await catalog.metadata("0" * 64), shelf.asked) == ("not-found", None, [])


async def test_metadata_is_brought_once_for_all_that_ask(catalog, shelf, story):
    got = []

    async def ask():
        got.append(await catalog.metadata(story.sha256))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        shelf.gate.set()
    assert (got, len(shelf.asked)) == ([b"bytes"] * 3, 1)


async def test_what_a_file_holds_is_brought_from_those_that_agreed_on_it(catalog, shelf, story):
    shelf.gate.set()
    assert await catalog.contents(story.sha256) == b"bytes"
    assert len(shelf.asked) == 1
    assert await catalog.contents("0" * 64) is None


async def test_a_proof_comes_from_the_archive(catalog, story):
    assert await catalog.proof(story.sha256) is None
    story.world.archive.keep_checkpoint(story.note())
    assert await catalog.proof(story.sha256) == story.proof()


class Deciding(Kept, Governed):
    """A world on disk whose validators agree on what they are asked."""


def policing(folder, world, text):
    """The answers of a policy.toml that says this."""
    path = folder / "policy.toml"
    path.write_text(text)
    return Policing(path, world.archive.state)


async def test_what_is_withdrawn_is_offered_no_more_and_its_proof_says_so(tmp_path, shelf):
    story = Story(world=Deciding(tmp_path))
    try:
        archive = story.world.archive
        rules = policing(tmp_path, story.world, '[all]\nwithdrawn = "refused"\n')
        catalog = Catalog(archive, shelf, Proofs(archive), no_bundle, policing=rules)
        assert [one.sha256 for one in catalog.files("idna")] == [story.sha256]
        story.world.enact(about("artifact.withdraw", story.sha256))
        archive.keep_checkpoint(story.note())
        assert catalog.files("idna") == []
        with pytest.raises(Refusal, match="because it is so") as caught:
            catalog.file(story.sha256)
        assert caught.value.code == "withdrawn"
        (refused,) = catalog.refused("idna")
        assert (refused.refusal.code, refused.by_digest, refused.file.yanked) == ("withdrawn", False, "")
        assert caught.value.who == "the network's members, in its log"
        with pytest.raises(Refusal, match="because it is so") as caught:
            catalog.by_digest(story.sha256)
        assert (caught.value.code, caught.value.who) == ("withdrawn", "this node's policy")
        assert "use another version" in caught.value.do
        with pytest.raises(Refusal, match="because it is so"):
            await catalog.blob(story.sha256)
        with pytest.raises(Refusal, match="because it is so"):
            await catalog.metadata(story.sha256)
        file = tmp_path / WHEEL
        file.write_bytes(story.data)
        proof = await catalog.proof(story.sha256)
        with pytest.raises(Refusal, match="because it is so") as caught:
            judge(file, proof, [story.pin], now_ms=NOW_MS, expected=None, verify=verify)
        assert caught.value.code == "withdrawn"
    finally:
        story.world.close()


async def test_what_is_withdrawn_is_given_to_who_names_its_bytes_with_the_reason_beside_it(tmp_path, shelf):
    story = Story(world=Deciding(tmp_path))
    try:
        shelf.gate.set()
        catalog = Catalog(story.world.archive, shelf, Proofs(story.world.archive), no_bundle)
        async with trio.open_nursery() as nursery:
            await nursery.start(catalog.arrivals.run)
            story.world.enact(about("artifact.withdraw", story.sha256))
            assert catalog.files("idna") == []
            with pytest.raises(Refusal, match="WITHDRAWN: because it is so"):
                catalog.file(story.sha256)
            (refused,) = catalog.refused("idna")
            assert (refused.refusal.code, refused.by_digest) == ("withdrawn", True)
            found = catalog.by_digest(story.sha256)
            assert found == refused.file
            assert found.yanked == "the artifact's status is WITHDRAWN: because it is so"
            assert catalog.named(story.sha256, WHEEL) == found
            assert catalog.named(story.sha256, "other-1.0-py3-none-any.whl") is None
            assert (await catalog.blob(story.sha256)).read_bytes() == b"bytes"
            assert await catalog.metadata(story.sha256) == b"bytes"
            nursery.cancel_scope.cancel()
    finally:
        story.world.close()


@pytest.mark.parametrize(
    ("rule", "given"), [("", False), ('disputed = "by-digest"', True), ('withdrawn = "by-digest"', False)]
)
async def test_what_is_disputed_is_given_by_its_digest_only_where_policy_says_so(
    tmp_path, shelf, monkeypatch, rule, given
):
    story = Story(world=Deciding(tmp_path))
    try:
        rules = policing(tmp_path, story.world, f"[all]\n{rule}\n")
        catalog = Catalog(story.world.archive, shelf, Proofs(story.world.archive), no_bundle, policing=rules)
        record = {"leaf": 1, "status": "DISPUTED", "reason": "builders differ"}
        monkeypatch.setattr("pyrsia.ledger.views.status", lambda *_: record)
        monkeypatch.setattr("pyrsia.ledger.views.offered", lambda *_: False)
        (refused,) = catalog.refused("idna")
        assert (refused.refusal.code, refused.by_digest) == ("disputed", given)
        with pytest.raises(Refusal, match="builders differ"):
            catalog.file(story.sha256)
        if given:
            assert "DISPUTED" in catalog.by_digest(story.sha256).yanked
        else:
            with pytest.raises(Refusal, match="builders differ"):
                catalog.by_digest(story.sha256)
    finally:
        story.world.close()


@pytest.mark.parametrize("text", ['deny = ["pkg:pypi/idna"]', 'operators = ["x"]'])
async def test_every_other_rule_is_asked_of_what_is_withdrawn_as_well(tmp_path, shelf, text):
    story = Story(world=Deciding(tmp_path))
    try:
        rules = policing(tmp_path, story.world, f"[pip]\n{text}\n")
        catalog = Catalog(story.world.archive, shelf, Proofs(story.world.archive), no_bundle, policing=rules)
        story.world.enact(about("artifact.withdraw", story.sha256))
        (refused,) = catalog.refused("idna")
        assert (refused.refusal.code, refused.by_digest) == ("withdrawn", False)
        for ask in (catalog.file, catalog.by_digest, catalog.arriving):
            with pytest.raises(Refusal, match="because it is so"):
                ask(story.sha256)
    finally:
        story.world.close()


async def test_what_the_log_does_not_hold_is_told_as_missed_and_what_was_withdrawn_is_not(tmp_path, shelf):
    story, missed = Story(world=Deciding(tmp_path)), []
    try:
        archive = story.world.archive
        catalog = Catalog(archive, shelf, Proofs(archive), no_bundle, missed.append)
        assert catalog.files("idna")
        story.world.enact(about("artifact.withdraw", story.sha256))
        assert (catalog.files("idna"), missed) == ([], [])
        assert (catalog.files("other"), catalog.files("pkg:maven/g/a")) == ([], [])
        assert missed == ["pkg:pypi/other", "pkg:maven/g/a"]
        assert [catalog.holds(one) for one in ("pkg:pypi/idna", "pkg:pypi/new")] == [True, False]
        for grant in (Grant("ci", PUSH, "pkg:pypi/new"), Grant("reader", READ), None):
            grants.note({"pyrsia.grant": grant})
            assert catalog.files("new") == []
            assert catalog.files("newer") == []
        assert missed[2:] == ["pkg:pypi/newer", *["pkg:pypi/new", "pkg:pypi/newer"] * 2]
    finally:
        story.world.close()


async def test_a_copy_under_an_own_name_neither_speaks_for_its_package_nor_takes_it_away(tmp_path, shelf):
    """It was there first, and has the very bytes; asked by digest, the package's own name answers."""
    world = Deciding(tmp_path, count=12, builders=11)
    try:
        own = str(purl.under(b32(world.follower.public), purl.parse("pkg:pypi/idna@1.0")))
        copy = Story(world=world, asked={"purl": own}, revealed={"source": "claimed"})
        archive, proofs = world.archive, Proofs(world.archive)
        catalog = Catalog(archive, shelf, proofs, no_bundle)
        assert catalog.file(copy.sha256).purl == own
        known = Story(world=world)
        assert known.sha256 == copy.sha256
        assert catalog.file(known.sha256).purl == "pkg:pypi/idna@1.0"
        world.enact(about("artifact.withdraw", known.sha256))
        archive.keep_checkpoint(known.note())
        assert catalog.files("idna") == []
        assert [one.purl for one in catalog.files(own.partition("@")[0])] == [own]
        with pytest.raises(Refusal, match="because it is so"):
            catalog.file(known.sha256)  # not by the copy's name either
        assert catalog.by_digest(known.sha256).yanked
        file = tmp_path / WHEEL
        file.write_bytes(copy.data)
        found = judge(
            file, proofs.of_artifact(copy.sha256, own), [copy.pin], now_ms=NOW_MS, expected=own, verify=verify
        )
        assert (found.purl, found.status) == (own, "REPRODUCED")
    finally:
        world.close()


async def test_whoever_looks_after_the_disk_hears_what_is_about_to_be_read(catalog, shelf):
    met = []
    catalog.met = met.append
    sha256 = "ab" * 32
    assert (catalog.local(sha256), met) == (None, [])
    (shelf.folder / sha256).write_bytes(b"bytes")
    assert catalog.local(sha256) == shelf.folder / sha256
    assert met == [bytes.fromhex(sha256)]
