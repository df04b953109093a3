"""policy.toml at a node: taken over when it changes, never half-written, and answers that time and the log change."""

import itertools
import os

import msgspec
import pytest
import trio

from pyrsia.errors import Refusal
from pyrsia.ledger import views
from pyrsia.node.log.proofs import Proofs
from pyrsia.node.packages.catalog import Catalog
from pyrsia.node.policy.judging import Judge
from pyrsia.node.policy.policing import LOOK_S, Policing, facts_of
from pyrsia.policy.evaluate import NEVER_MS, decide
from pyrsia.policy.facts import LOCAL, Facts
from pyrsia.policy.rules import parse
from pyrsia.serve.desks.supply import LocalRow, NoLocal, NoUpstream, Supply, of_log
from pyrsia.units import Limit
from tests.reference.governance import Governed, about
from tests.reference.parts import Kept
from tests.reference.story import Story
from tests.unit.node.packages.test_catalog import Shelf, no_bundle

DAY_S = 86_400


class Deciding(Kept, Governed):
    """A world on disk whose validators agree on what they are asked."""


class Clock:
    """Seconds that a test moves."""

    def __init__(self, now_s):
        self.now_s = now_s

    def __call__(self):
        return self.now_s


@pytest.fixture
def story(tmp_path):
    made = Story(world=Deciding(tmp_path), dissenter=True)
    yield made
    made.world.close()


@pytest.fixture
def clock(story):
    return Clock(story.artifact.body["time_ms"] / 1_000 + 10)


@pytest.fixture
def shelf(tmp_path):
    (tmp_path / "blobs").mkdir()
    made = Shelf(tmp_path / "blobs")
    made.gate.set()
    return made


class Policed:
    """A catalogue, its policy file and its head."""

    def __init__(self, story, shelf, clock, path):
        archive = story.world.archive
        self.path, self.clock, self.head_s = path, clock, int(clock())
        self.policing = Policing(path, archive.state, head_s=lambda: self.head_s, clock=clock)
        self.catalog = Catalog(archive, shelf, Proofs(archive), no_bundle, policing=self.policing)

    def say(self, text):
        """Written, and looked at until it counts."""
        self.path.write_text(text)
        for _ in range(2):
            self.clock.now_s += 2.1
            _ = self.policing.policy


@pytest.fixture
def policed(story, shelf, clock, tmp_path):
    return Policed(story, shelf, clock, tmp_path / "policy.toml")


def test_the_facts_of_a_file_are_what_the_log_says(story):
    reads = story.world.archive.state
    facts = facts_of(reads, views.artifact(reads, story.sha256), "REPRODUCED")
    body = story.artifact.body
    assert (facts.purl, facts.sha256, facts.published_ms) == (body["purl"], story.sha256, body["time_ms"])
    assert [one.node for one in facts.agreeing] == body["agreeing"]
    assert len({one.operator for one in facts.agreeing}) == len(facts.agreeing) == 2
    assert {one.isolation for one in facts.agreeing} == {"namespace"}


def test_what_fell_is_told_with_the_reason_that_the_log_gives(story, monkeypatch):
    reads = story.world.archive.state
    placed = views.artifact(reads, story.sha256)
    record = {"leaf": 1, "status": "WITHDRAWN", "reason": "it greets the wrong people"}
    monkeypatch.setattr("pyrsia.ledger.views.status", lambda *_: record)
    facts = facts_of(reads, placed, "WITHDRAWN")
    assert facts.why == "it greets the wrong people"
    against = [one.what for one in decide(parse(b"", "x"), facts, 0).reasons if not one.allows]
    assert "its status is WITHDRAWN: it greets the wrong people" in against
    assert facts_of(reads, placed, "DISPUTED").why == ""  # of another moment: its reason is none of this
    assert facts_of(reads, placed, "REPRODUCED").why == ""
    del record["reason"]
    assert facts_of(reads, placed, "WITHDRAWN").why == ""


async def test_what_is_denied_is_given_at_no_door_and_nothing_is_fetched_for_it(policed, shelf, story):
    before = policed.catalog.revision()
    policed.say('[pip]\ndeny = ["pkg:pypi/idna"]\n')
    catalog = policed.catalog
    assert catalog.revision() > before
    assert list(catalog.files("idna")) == []
    (refused,) = catalog.refused("idna")
    assert (refused.file.sha256, refused.refusal.code) == (story.sha256, "denied")
    assert "deny names it" in refused.refusal.what
    for door in (catalog.file, catalog.arriving):
        with pytest.raises(Refusal, match="deny names it"):
            door(story.sha256)
    for door in (catalog.blob, catalog.metadata):
        with pytest.raises(Refusal, match="deny names it"):
            await door(story.sha256)
    assert shelf.asked == []
    (shelf.folder / story.sha256).write_bytes(story.data)
    with pytest.raises(Refusal, match="deny names it"):  # nor when it is here
        await catalog.blob(story.sha256)
    assert await catalog.published(story.sha256) == shelf.folder / story.sha256  # a builder's input


def test_a_refusal_is_a_new_one_each_time_so_that_no_traceback_grows(policed, story):
    policed.say('[pip]\ndeny = ["*"]\n')
    caught = []
    for _ in range(2):
        with pytest.raises(Refusal) as info:
            policed.catalog.file(story.sha256)
        caught.append(info.value)
    kept = policed.catalog._known[story.sha256, False]
    assert len({id(one) for one in (*caught, kept)}) == 3
    assert kept.__traceback__ is None


def test_what_is_asked_for_by_digest_is_remembered_until_something_changes_and_within_a_bound(
    policed, story, monkeypatch
):
    catalog, looked = policed.catalog, []
    judged = catalog._judged
    monkeypatch.setattr(catalog, "_judged", lambda *asked: looked.append(asked[0]) or judged(*asked))
    for _ in range(5):
        assert catalog.file(story.sha256).purl == "pkg:pypi/idna@1.0"
        assert catalog.file("0" * 64) is None
    assert looked.count(story.sha256) == 1
    assert list(catalog._known) == [(story.sha256, False)]
    policed.say('[pip]\ndeny = ["*"]\n')
    with pytest.raises(Refusal):
        catalog.file(story.sha256)
    policed.say("")
    assert catalog.file(story.sha256) is not None
    story.world.enact(about("artifact.withdraw", story.sha256))
    with pytest.raises(Refusal, match="WITHDRAWN"):
        catalog.file(story.sha256)
    monkeypatch.setattr("pyrsia.node.packages.catalog.MAX_KNOWN", Limit(1, "for a test"))
    for _ in range(3):
        with pytest.raises(Refusal):
            catalog.file(story.sha256)
    assert len(catalog._known) == 1


async def test_the_first_to_ask_after_a_change_is_answered_by_the_new_rules(
    story, shelf, tmp_path, autojump_clock
):
    path, base_s = tmp_path / "policy.toml", story.artifact.body["time_ms"] / 1_000 + 10
    path.write_text("[all]\n")
    policed = Policed(story, shelf, lambda: base_s + trio.current_time(), path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(policed.policing.run)
        assert policed.catalog.file(story.sha256) is not None
        path.write_text('[all]\ndeny = ["pkg:pypi/idna"]\n')
        await trio.sleep(3 * LOOK_S)  # nobody asks
        with pytest.raises(Refusal, match="deny names it"):
            policed.catalog.file(story.sha256)
        path.write_text("[all")
        await trio.sleep(3 * LOOK_S)
        assert "the rules before that change stay in force" in policed.policing.notice
        nursery.cancel_scope.cancel()


def test_a_file_that_became_bad_changes_nothing_and_is_told(policed):
    policed.say('[pip]\ndeny = ["*"]\n')
    assert not policed.catalog.files("idna")
    policed.say("[pip]\ndeny = [")
    assert "the rules before that change stay in force" in policed.policing.notice
    assert not policed.catalog.files("idna")
    policed.say("[pip]\nseverity = 3\n")
    assert "there is no key pip.severity" in policed.policing.notice
    policed.say("")
    assert (policed.policing.notice, len(policed.catalog.files("idna"))) == ("", 1)


def test_a_file_that_is_being_written_is_not_believed(policed):
    policed.say('[pip]\ndeny = ["*"]\n')
    policed.path.unlink()  # as an editor does before it writes anew
    policed.clock.now_s += 2.1
    assert policed.policing.policy.of("pip").deny
    policed.path.write_text('[pip]\ndeny = ["pkg:pypi/x"]\n')
    policed.clock.now_s += 2.1
    assert [one.pattern for one in policed.policing.policy.of("pip").deny] == ["*"]
    policed.clock.now_s += 2.1
    assert [one.pattern for one in policed.policing.policy.of("pip").deny] == ["pkg:pypi/x"]


def _loop(path, real):
    path.unlink()
    path.symlink_to(path)


def _unmounted(path, real):
    real.parent.rename(real.parent.with_name("away"))


def _deleted(path, real):
    path.unlink()


@pytest.mark.parametrize("lose", [_loop, _unmounted, _deleted])
def test_a_file_that_cannot_be_reached_any_more_takes_no_rule_away(story, clock, tmp_path, lose):
    real, path = tmp_path / "mount/policy.toml", tmp_path / "policy.toml"
    real.parent.mkdir()
    real.write_text('[all]\ndeny = ["pkg:pypi/evil*"]\n')
    path.symlink_to(real)
    policing, evil = Policing(path, story.world.archive.state, clock=clock), Facts("pkg:pypi/evil@1", LOCAL)

    def look():
        for _ in range(3):
            clock.now_s += 2.1
            _ = policing.policy
        return policing.decision(evil).allowed, bool(policing.notice)

    assert look() == (False, False)
    lose(path, real)
    assert look() == (False, True)
    assert "the rules before that change stay in force" in policing.notice
    path.unlink(missing_ok=True)
    path.write_text("")  # an empty file is a decision
    assert look() == (True, False)


def test_a_start_with_a_link_that_leads_nowhere_is_refused_and_one_without_a_file_is_not(story, tmp_path):
    path = tmp_path / "policy.toml"
    assert Policing(path, story.world.archive.state).policy.of("pip").deny == ()
    path.symlink_to(tmp_path / "away")
    with pytest.raises(Refusal, match="cannot be read") as caught:
        Policing(path, story.world.archive.state)
    assert caught.value.code == "config-invalid"


def test_between_looks_the_file_is_not_touched(policed, monkeypatch):
    looks = []
    monkeypatch.setattr(type(policed.policing), "_stat", lambda _: looks.append(1))
    for _ in range(100):
        policed.catalog.files("idna")
        policed.catalog.revision()
    assert looks == []
    policed.clock.now_s -= 3_600  # a clock that is set back
    _ = policed.policing.policy
    assert looks == [1]


def test_a_bad_file_ends_the_start_with_its_key(story, tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text("[pip]\nmode = 7\n")
    with pytest.raises(Refusal, match=r"pip\.mode") as caught:
        Policing(path, story.world.archive.state)
    assert (caught.value.code, caught.value.who) == ("config-invalid", str(path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_cannot_be_read_is_no_permission(story, tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text("")
    path.chmod(0)
    with pytest.raises(Refusal, match="cannot be read"):
        Policing(path, story.world.archive.state)


def test_a_minimum_age_ends_when_it_is_due_and_pages_hear_of_it(policed, story):
    policed.say("[all]\nmin_age_days = 3\n")
    assert policed.catalog.files("idna") == []
    before = policed.catalog.revision()
    policed.head_s = 1 << 40
    policed.clock.now_s = story.artifact.body["time_ms"] / 1_000 + 3 * DAY_S - 1
    assert (policed.catalog.revision(), policed.catalog.files("idna")) == (before, [])
    policed.clock.now_s += 1.5
    assert policed.catalog.revision() == before + 1
    assert [one.sha256 for one in policed.catalog.files("idna")] == [story.sha256]
    policed.clock.now_s += 30 * DAY_S
    assert policed.catalog.revision() == before + 1


def test_a_stale_head_refuses_and_a_fresh_one_gives_again(policed, story):
    catalog, before = policed.catalog, policed.catalog.revision()
    assert catalog.files("idna")
    policed.clock.now_s += 11 * 60
    assert catalog.revision() == before + 1
    assert catalog.files("idna") == []
    with pytest.raises(Refusal, match="the log's head is 11 minutes old, 10 minutes at most"):
        catalog.file(story.sha256)
    assert policed.policing.stale() == "the log's head is 11 minutes old, 10 minutes at most"
    policed.head_s = int(policed.clock.now_s)
    policed.clock.now_s += 1.1
    assert (catalog.revision(), len(catalog.files("idna")), policed.policing.stale()) == (before + 2, 1, "")
    policed.head_s = 0
    policed.clock.now_s += 1.1
    assert (policed.policing.head_age_ms(), policed.policing.stale()) == (
        NEVER_MS,
        "there is no signed head of the log, 10 minutes at most",
    )


def test_what_was_withdrawn_is_told_as_that_whatever_the_policy_says(policed, story):
    policed.say('[pip]\ndeny = ["*"]\n')
    story.world.enact(about("artifact.withdraw", story.sha256))
    (refused,) = policed.catalog.refused("idna")
    assert refused.refusal.code == "withdrawn"


def test_answers_are_remembered_within_a_bound(policed, monkeypatch):
    monkeypatch.setattr("pyrsia.node.policy.policing.MAX_JUDGED", Limit(2, "for a test"))
    placed = views.project_files(policed.policing._reads, "idna")[0]
    for status in ("REPRODUCED", "EQUIVALENT", "WITNESSED", "DISPUTED", "REPRODUCED"):
        said = policed.policing.refuses(placed, status)
        assert (said is None) == (status in ("REPRODUCED", "EQUIVALENT"))
        assert len(policed.policing._judged) <= 2


# -- what people ask --


def judge(policed, supply):
    return Judge(policed.policing, policed.policing._reads, supply, policed.clock)


async def test_the_facts_that_people_ask_for_are_those_that_the_doors_decide_on(policed, story):
    policed.say('[pip]\ndeny = ["pkg:pypi/idna@1.0"]\n')
    asked = judge(policed, of_log(policed.catalog))
    for found in (
        await asked.facts("pkg:pypi/idna"),
        await asked.facts("pkg:pypi/idna@1.0"),
        asked.facts_of_bytes(story.sha256),
    ):
        (facts,) = found.files
        assert (found.owner, facts.sha256, facts.status) == ("network", story.sha256, "REPRODUCED")
        assert not asked.decision(facts).allowed
    assert ((await asked.facts("pkg:pypi/idna@2")).files, (await asked.facts("pkg:pypi/x")).files) == ((), ())
    assert asked.facts_of_bytes("0" * 64).files == ()
    assert asked.facts_of_bytes(story.sha256).files[0].by_digest  # who has the digest names the bytes
    assert asked.packages("pkg:pypi/", "").packages == ("pkg:pypi/idna",)
    assert (asked.packages("pkg:maven/", "").packages, asked.packages("", "pkg:pypi/idna").packages) == (
        (),
        (),
    )
    policed.say('# a remark\n[pip]\ndeny = ["pkg:pypi/idna@1.0"]\n')
    told = asked.policy()
    assert "remark" not in told.text
    assert parse(told.text.encode(), "p").of("pip").as_dict() == policed.policing.policy.of("pip").as_dict()
    assert (told.path, told.notice) == (str(policed.path), "")
    rows = {row.key: row for row in told.rules["pip"]}
    assert (rows["deny"].value, rows["deny"].origin) == (("pkg:pypi/idna@1.0",), "[pip]")


@pytest.mark.parametrize("version", ["", "pkg:pypi/idna@1.0", "pkg:pypi/idna@3.0"])
def test_the_files_that_are_judged_are_those_that_pages_list_and_those_that_fell(version, monkeypatch):
    """Of every mix of versions, listed and not, offered and not; what is of another version is not even looked up."""
    made = list(itertools.product(("1.0", "2.0"), (True, False), (True, False)))
    key, rows, good, looked = "project/pkg:pypi/idna", {}, {}, []
    for at, (of, served, offered) in enumerate(made):
        body = {"purl": f"pkg:pypi/idna@{of}", "sha256": f"{at:064}"}
        rows[f"{key}/{at:016}"] = {"leaf": at, "body": body, "served": served}
        good[body["sha256"]] = offered
    rows[key] = len(made)

    def offered_now(_, sha256, purl):
        looked.append(purl)
        return good[sha256]

    monkeypatch.setattr(views, "offered", offered_now)
    asked = Judge(None, lambda name: msgspec.json.encode(rows[name.decode()]), None)
    found = [one.leaf for one in asked._published("pkg:pypi/idna", version)]
    assert found == [
        at
        for at, (of, served, offered) in enumerate(made)
        if version in ("", f"pkg:pypi/idna@{of}") and ((served and offered) or not offered)
    ]
    assert not version or set(looked) <= {version}


class OwnShelf(NoLocal):
    """One package that was pushed here."""

    def owns(self, package):
        return package == "pkg:pypi/ours"

    def rows(self, package, start="", *, most=None):
        return [LocalRow(package, "ours-1.whl", "3" * 64, 5, 7, "ci")]


class AllOfUpstream(NoUpstream):
    """Mode proxy."""

    def takes(self, package):
        return True


async def test_what_was_pushed_and_what_upstream_has_are_judged_by_their_origin(policed):
    policed.say('[pip]\nmode = "proxy"\n')
    asked = judge(policed, Supply(policed.catalog, OwnShelf(), AllOfUpstream()))
    ours = await asked.facts("pkg:pypi/ours@1")
    assert (ours.owner, [(one.file, one.origin) for one in ours.files]) == (LOCAL, [("ours-1.whl", LOCAL)])
    theirs = await asked.facts("pkg:pypi/six@1.16")
    assert (theirs.owner, [one.purl for one in theirs.files]) == ("proxied", ["pkg:pypi/six@1.16"])
    assert asked.decision(theirs.files[0]).allowed
    policed.say("")
    assert not asked.decision(theirs.files[0]).allowed
