"""Rules over what is known, at a node: what a fact changes at its doors, and when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.knowledge.known import Known
from pyrsia.ledger import views
from pyrsia.node.knowledge.knowing import Knowledge
from pyrsia.node.log.proofs import Proofs
from pyrsia.node.packages.catalog import Catalog
from pyrsia.node.policy.judging import Judge
from pyrsia.node.policy.policing import Policing
from pyrsia.policy.facts import PROXIED, Facts
from pyrsia.serve.desks.supply import of_log
from pyrsia.units import Limit
from pyrsia.wire.text import b32
from tests.reference.governance import fact
from tests.reference.story import Story
from tests.reference.words import STEPS, SUBJECTS, Words
from tests.unit.node.packages.test_catalog import Shelf, no_bundle
from tests.unit.node.policy.test_policing import Clock, Deciding, Policed

CEILING = '[all]\nmax_severity = "medium"\n'


@pytest.fixture
def story(tmp_path):
    made = Story(world=Deciding(tmp_path), dissenter=True)
    yield made
    made.world.close()


class Informed(Policed):
    """A catalogue whose policy hears of the log's facts."""

    def __init__(self, story, folder):
        archive = story.world.archive
        self.world = story.world
        self.clock = Clock(story.artifact.body["time_ms"] / 1_000 + 10)
        self.path, self.head_s = folder / "policy.toml", int(self.clock.now_s)
        self.knowledge = Knowledge(archive, clock=self.clock)
        self.asked = []
        self.policing = Policing(
            self.path,
            archive.state,
            known=self.known,
            seen=self.knowledge.seen,
            learned=self.knowledge.revision,
            clock=self.clock,
        )
        (folder / "blobs").mkdir()
        shelf = Shelf(folder / "blobs")
        self.catalog = Catalog(archive, shelf, Proofs(archive), no_bundle, policing=self.policing)

    def known(self, purl, sha256):
        self.asked.append(purl)
        return self.knowledge.known(purl, sha256)

    def tell(self, kind, subject="pkg:pypi/idna", author=None, **fields):
        entry = self.world.entry(author or self.world.follower, "fact.add", fact(kind, subject, **fields))
        self.world.block(entry)
        self.clock.now_s = max(self.clock.now_s, self.world.time / 1_000)

    @property
    def files(self):
        return len(self.catalog.files("idna"))


@pytest.fixture
def policed(story, tmp_path):
    return Informed(story, tmp_path)


def test_an_advisory_takes_a_version_away_and_its_correction_gives_it_back(policed, story):
    policed.say(CEILING)
    assert policed.files == 1
    policed.tell(
        "advisory", advisory="CVE-2026-1", severity="high", range=[{"introduced": "0", "fixed": "1.1"}]
    )
    assert policed.files == 0
    with pytest.raises(Refusal, match="CVE-2026-1 is high, medium is the worst allowed") as caught:
        policed.catalog.file(story.sha256)
    assert (caught.value.code, "use 1.1 or later" in caught.value.do) == ("denied", True)
    policed.tell("vex", "pkg:pypi/idna@1.0", advisory="CVE-2026-1", outcome="not-affected")
    assert policed.files == 0  # nobody was named whose word lifts
    issuer = b32(story.world.follower.public)
    policed.say(f'{CEILING}vex_issuers = ["{issuer}"]\n')
    assert policed.files == 1


def test_a_ceiling_that_is_written_into_the_file_holds_without_a_restart_and_is_told(policed):
    policed.tell("advisory", advisory="CVE-2026-1", severity="critical")
    assert policed.files == 1
    before = policed.catalog.revision()
    policed.say(CEILING)
    assert (policed.catalog.revision() > before, policed.files) == (True, 0)
    told = Judge(policed.policing, policed.world.archive.state, of_log(policed.catalog)).policy()
    rows = {row.key: (row.value, row.origin) for row in told.rules["pip"]}
    assert rows["max_severity"] == ("medium", "[all]")
    policed.say('[all]\nmax_severity = "medum"\n')
    assert "line 2: all.max_severity" in policed.policing.notice
    assert policed.files == 0  # the rules before that change
    policed.say('[[rule]]\npackages = ["pkg:pypi/idna"]\nmax_severity = "any"\n' + CEILING)
    assert (policed.policing.notice, policed.files) == ("", 1)


def test_an_acceptance_ends_by_itself(policed):
    today = datetime.fromtimestamp(policed.clock.now_s, UTC).date()
    policed.tell("advisory", advisory="GHSA-1", aliases=["CVE-2026-1"], severity="critical")
    policed.say(
        f'{CEILING}accept = [{{ advisory = "CVE-2026-1", until = {today}, reason = "not called" }}]\n'
    )
    assert policed.files == 1
    (found,) = policed.catalog.files("idna")
    placed = views.artifact(policed.world.archive.state, found.sha256)
    said = policed.policing.decision(Facts(placed.body["purl"], PROXIED))
    assert any(one.what == f"CVE-2026-1 accepted until {today}: not called" for one in said.reasons)
    before = policed.catalog.revision()
    midnight = datetime(today.year, today.month, today.day, tzinfo=UTC) + timedelta(days=1)
    policed.clock.now_s = midnight.timestamp() - 2
    assert policed.files == 1
    policed.clock.now_s = midnight.timestamp() + 2
    assert policed.catalog.revision() > before
    assert policed.files == 0
    (refused,) = policed.catalog.refused("idna")
    assert f"it was accepted until {today}" in refused.refusal.what


def test_an_advisory_that_is_to_come_counts_from_its_time_on(policed):
    policed.say(CEILING)
    due_s = int(policed.clock.now_s) + 3_600
    policed.tell("advisory", advisory="CVE-2026-1", severity="high", valid_from=due_s * 1_000)
    assert policed.files == 1
    before = policed.catalog.revision()
    policed.clock.now_s = due_s + 1.5
    assert policed.catalog.revision() > before
    assert policed.files == 0


def test_rules_that_ask_for_nothing_known_look_nothing_up(policed):
    policed.tell("advisory", advisory="CVE-2026-1", severity="critical")
    policed.say("[all]\nagreeing = 2\n")
    assert (policed.files, policed.asked) == (1, [])
    policed.say('[[rule]]\npackages = ["pkg:pypi/other"]\nmax_severity = "low"\n')
    assert (policed.files, policed.asked) == (1, [])


def test_a_node_that_knows_nothing_refuses_where_a_rule_asks(story, tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(f'{CEILING}[pip]\nmode = "proxy"\n')
    policing = Policing(path, story.world.archive.state)
    said = policing.decision(Facts("pkg:pypi/six@1.0", PROXIED))
    assert [one.rule for one in said.reasons if not one.allows] == ["max_severity"]
    partly = Policing(path, story.world.archive.state, known=lambda purl, sha256: Known(9, whole=False))
    said = partly.decision(Facts("pkg:pypi/six@1.0", PROXIED))
    assert "only a part of what the log says is here" in next(
        one.what for one in said.reasons if not one.allows
    )


def test_what_is_known_is_asked_of_upstreams_files_too(policed):
    policed.say(f'{CEILING}[pip]\nmode = "proxy"\n')
    six = Facts("pkg:pypi/six@1.0", PROXIED)
    assert policed.policing.decision(six).allowed
    policed.tell("advisory", "pkg:pypi/six", advisory="CVE-2026-2", severity="unknown")
    assert not policed.policing.decision(six).allowed
    page = Facts(
        "pkg:pypi/six@0.0.0.dev0", PROXIED, any_version=True
    )  # the list of its versions goes on being told
    assert policed.policing.decision(page).allowed
    policed.say(f'{CEILING}deny = ["pkg:pypi/six"]\n[pip]\nmode = "proxy"\n')
    assert not policed.policing.decision(page).allowed


async def test_who_tries_other_rules_is_told_what_is_known_and_what_was_published_lately(
    policed, story, monkeypatch
):
    policed.tell("advisory", advisory="CVE-2026-1", severity="high", text="x" * 900)
    asked = Judge(
        policed.policing, policed.world.archive.state, of_log(policed.catalog), log=policed.world.archive
    )
    (facts,) = (await asked.facts("pkg:pypi/idna@1.0")).files
    (advisory,) = facts.known.advisories
    assert (advisory.id, len(advisory.text)) == ("CVE-2026-1", 200)
    published_ms = story.artifact.body["time_ms"]
    found = await asked.recent(published_ms, 0)
    assert ([one.sha256 for one in found.files], found.next) == ([story.sha256], -1)
    assert found.files[0].known == facts.known
    assert (await asked.recent(published_ms + 10_000_000, 0)).files == ()
    monkeypatch.setattr("pyrsia.node.policy.judging.MAX_LOOKED", Limit(3, "for a test"))
    monkeypatch.setattr("pyrsia.node.policy.judging.MAX_WORDS", Limit(1, "for a test"))
    seen, first = [], 0
    while first >= 0:
        page = await asked.recent(0, first)
        assert page.next == -1 or page.next > first
        seen += page.files
        first = page.next
    assert [one.sha256 for one in seen] == [story.sha256]


POLICIES = (
    '[all]\nmax_severity = "none"\n',
    '[all]\nmax_severity = "low"\naccept = [{ advisory = "CVE-2", until = 2026-01-01, reason = "r" }]\n',
    '[all]\nlicences_allow = ["MIT"]\nsbom = "required"\n',
    '[all]\nlicences_deny = ["GPL-*"]\n[[rule]]\npackages = ["pkg:pypi/*"]\nmax_severity = "medium"\n',
)
MODES = "".join(f'[{one}]\nmode = "proxy"\n' for one in ("pip", "maven"))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.sampled_from(POLICIES), st.integers(1, 4))
def test_two_nodes_with_one_policy_and_one_log_decide_alike_whenever_they_asked(
    tmp_path_factory, steps, text, every
):
    """One asks after each block, and remembers; the other asks once, behind the last."""
    folder = tmp_path_factory.mktemp("log")
    path = folder / "policy.toml"
    head, rule, blocks = text.partition("[[rule]]")
    path.write_text(f"{head}{MODES}{rule}{blocks}")
    world = Words(folder)

    def clock():
        return world.time / 1_000

    def node():
        knowledge = Knowledge(world.archive, clock=clock)
        return Policing(path, world.archive.state, known=knowledge.known, clock=clock)

    def answers(policing):
        return [policing.decision(Facts(one, PROXIED)).allowed for one in SUBJECTS if "@" in one]

    try:
        early = node()
        for number, _ in enumerate(world.play(steps)):
            if number % every == 0:
                answers(early)
        assert answers(early) == answers(node())
    finally:
        world.close()


def test_bytes_of_no_version_are_judged_by_what_is_said_of_them_alone(policed):
    """A layer by its digest: nobody can say of which version it is, and a fact about the bytes needs no version."""
    policed.say(f'{CEILING}licences_deny = ["GPL-*"]\nsbom = "required"\n[oci]\nmode = "proxy"\n')
    layer = Facts("pkg:docker/app@0.0.0.dev0", PROXIED, "", "ab" * 32, any_version=True)
    policed.tell("advisory", "pkg:docker/app", advisory="CVE-2026-1", severity="critical")
    policed.tell("licence", f"sha256:{'cd' * 32}", expression="GPL-3.0-only")
    assert policed.policing.decision(layer).allowed
    policed.tell("advisory", f"sha256:{'ab' * 32}", advisory="MAL-1", severity="critical")
    (against,) = [one for one in policed.policing.decision(layer).reasons if not one.allows]
    assert "MAL-1 is critical" in against.what
    other = Facts("pkg:docker/app@0.0.0.dev0", PROXIED, "", "cd" * 32, any_version=True)
    (against,) = [one for one in policed.policing.decision(other).reasons if not one.allows]
    assert against.rule == "licences_deny"


def test_a_client_reads_who_is_in_the_way_by_name_and_letters_whatever_the_files_origin(policed, story):
    policed.say(CEILING + '[pip]\nmode = "proxy"\n')
    issuer = b32(story.world.follower.public)
    name = views.names(story.world.db.get)[issuer]
    known = policed.knowledge.known

    def spoken(purl, sha256):
        return replace(known(purl, sha256), beyond=((issuer, "advisory"),))

    policed.policing = policed.catalog.policing = Policing(
        policed.path, story.world.archive.state, known=spoken, clock=policed.clock
    )
    said = f"{name} ({issuer[:8]}) says so much of this package"
    with pytest.raises(Refusal) as caught:
        policed.catalog.file(story.sha256)
    assert said in caught.value.what
    assert said in policed.policing.refusal(Facts("pkg:pypi/other@1", PROXIED)).what
    against = [one.what for one in policed.policing.decision(Facts("pkg:pypi/other@1", PROXIED)).reasons]
    assert any(one.startswith(f"{issuer[:8]} says so much") for one in against)  # no names in decisions


@pytest.mark.parametrize("others", [(), ("twin",)])
def test_letters_of_a_stranger_or_of_two_authors_stay_letters(policed, story, others):
    policed.say(CEILING)
    issuer = b32(story.world.follower.public)
    authors = [issuer[:8] + "a" * 44, *([issuer] if others else [])]
    beyond = tuple((one, "advisory") for one in authors)
    known = policed.knowledge.known
    policing = Policing(
        policed.path,
        story.world.archive.state,
        known=lambda purl, sha256: replace(known(purl, sha256), beyond=beyond),
        clock=policed.clock,
    )
    policed.catalog.policing = policing
    with pytest.raises(Refusal) as caught:
        policed.catalog.file(story.sha256)
    assert f": {issuer[:8]} says so much of this package" in caught.value.what
