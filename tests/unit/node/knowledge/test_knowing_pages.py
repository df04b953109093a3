"""Long pages of a package about which much is said: what they cost, and that nothing is remembered for too long."""

import hashlib
import itertools

import pytest
import trio

from pyrsia.ledger import views
from pyrsia.node.knowledge import knowing
from pyrsia.node.knowledge.knowing import Knowledge
from pyrsia.node.packages import catalog
from pyrsia.policy.facts import PROXIED, Facts
from pyrsia.units import Limit
from tests.reference.ledger import START
from tests.reference.story import Story
from tests.reference.words import Words
from tests.unit.node.policy.test_policing import Deciding
from tests.unit.node.policy.test_policing_knowledge import CEILING, Informed

VERSIONS, FILES = 25, 100


@pytest.fixture
def world(tmp_path):
    made = Words(tmp_path)
    yield made
    made.close()


@pytest.fixture
def story(tmp_path):
    made = Story(world=Deciding(tmp_path), dissenter=True)
    yield made
    made.world.close()


@pytest.fixture
def policed(story, tmp_path, monkeypatch):
    """A project of many versions, each of several files."""
    made = Informed(story, tmp_path)
    base = views.artifact(made.world.archive.state, story.sha256)
    rows = []
    for at in range(FILES):
        sha256 = hashlib.sha256(b"%d" % at).hexdigest()
        version = f"1.{at % VERSIONS}"
        more = {"sha256": sha256, "purl": f"pkg:pypi/idna@{version}", "file": f"idna-{version}-{at}.whl"}
        rows.append(views.Placed(base.leaf, {**base.body, **more}))
    monkeypatch.setattr(views, "project_history", lambda *_, **__: iter([(one, True) for one in rows]))
    monkeypatch.setattr(views, "status", lambda *_: {"status": base.body["verdict"]})
    return made


@pytest.fixture
def evaluated(monkeypatch):
    """What was matched against a version's advisories, each time."""
    found, about = [], knowing.about
    monkeypatch.setattr(knowing, "about", lambda facts, *rest: found.append(rest[:2]) or about(facts, *rest))
    return found


def advise(policed, name, subject="pkg:pypi/idna", fixed="1.5"):
    policed.tell(
        "advisory", subject, advisory=name, severity="high", range=[{"introduced": "0", "fixed": fixed}]
    )


def test_advisories_are_matched_once_a_version_and_only_where_something_was_said(policed, evaluated):
    policed.say(CEILING)
    advise(policed, "CVE-2026-1")
    assert policed.files == FILES - FILES // VERSIONS * 5
    assert len(evaluated) == VERSIONS
    advise(policed, "CVE-2026-2", "pkg:pypi/other")
    assert (policed.files, len(evaluated)) == (FILES - FILES // VERSIONS * 5, VERSIONS)
    one = next(iter(policed.catalog.files("idna")))
    policed.tell("advisory", f"sha256:{one.sha256}", advisory="CVE-2026-3", severity="high")
    assert policed.files == FILES - FILES // VERSIONS * 5 - 1
    assert evaluated[VERSIONS:] == [(one.purl, one.sha256)]
    advise(policed, "CVE-2026-4", fixed="1.6")
    assert policed.files == FILES - FILES // VERSIONS * 6
    assert one.sha256 not in [it.sha256 for it in policed.catalog.files("idna")]


def test_decisions_outlive_the_answers_that_they_were_made_of(policed, evaluated, monkeypatch):
    monkeypatch.setattr(knowing, "MAX_WORDS", Limit(3, "a test's"))
    policed.say(CEILING)
    for at in range(3):
        advise(policed, f"CVE-2026-{at}", fixed="2")
    assert (policed.files, len(policed.catalog.refused("idna"))) == (0, FILES)
    made = len(evaluated)
    advise(policed, "CVE-2026-9", "pkg:pypi/other")
    assert (policed.files, len(policed.catalog.refused("idna"))) == (0, FILES)
    assert len(evaluated) == made


async def test_a_page_is_prepared_in_turns_and_once_for_all_who_ask(policed, evaluated, autojump_clock):
    policed.say(CEILING)
    advise(policed, "CVE-2026-1")
    turns = []

    async def count():
        while True:
            turns.append(len(evaluated))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        async with trio.open_nursery() as askers:
            for _ in range(3):
                askers.start_soon(policed.catalog.prepare, "idna")
        nursery.cancel_scope.cancel()
    steps = [later - before for before, later in itertools.pairwise(turns)]
    assert max(steps) <= 2 * catalog.TURN.value  # in each round of the loop one of both is first
    assert len(evaluated) == VERSIONS
    assert policed.files == FILES - FILES // VERSIONS * 5
    assert len(evaluated) == VERSIONS


async def test_a_page_whose_policy_changes_meanwhile_is_none_of_before(policed):
    policed.say(CEILING)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(policed.catalog.prepare, "idna")
        await trio.lowlevel.checkpoint()
        advise(policed, "CVE-2026-1", fixed="2")
    assert policed.catalog._listings["idna"].files == []  # begun anew
    assert policed.files == 0


def test_listings_are_remembered_in_bounds(policed, monkeypatch):
    monkeypatch.setattr(catalog, "MAX_LISTED", Limit(FILES * 2, "a test's"))
    for name in ("idna", "other", "third", "idna"):
        assert len(policed.catalog.files(name)) == FILES
        assert policed.catalog._listed == FILES * len(policed.catalog._listings) <= FILES * 2


def test_a_file_s_digest_as_an_image_s_version_is_heeded(policed):
    """Its purl then names the file, though it is a package's history in which it stands."""
    image = f"pkg:docker/app@sha256:{'ab' * 32}"
    policed.tell("advisory", image, advisory="CVE-2026-1", severity="high")
    for asked in ("pkg:docker/app@1.0", image):
        assert policed.knowledge.known(asked, "ab" * 32).advisories
    assert not policed.knowledge.known("pkg:docker/app@1.0", "cd" * 32).advisories
    assert not policed.knowledge.known("pkg:docker/app@1.0").advisories


def test_a_clock_that_was_ahead_for_a_moment_decides_nothing_for_good(policed):
    """A machine that boots before it knows the time must not let young files pass until its next start."""
    policed.say("[all]\nmin_age_days = 7\n")
    assert policed.files == 0
    now_s, before = policed.clock.now_s, policed.catalog.revision()
    policed.clock.now_s = now_s + 30 * 86_400
    assert policed.files == FILES
    policed.clock.now_s = now_s + 5
    assert policed.files == 0
    assert policed.catalog.revision() > before


def test_what_is_known_for_a_time_to_come_is_not_known_now(policed):
    policed.say(CEILING)
    due_s = int(policed.clock.now_s) + 3_600
    policed.tell("advisory", advisory="CVE-2026-1", severity="high", valid_from=due_s * 1_000)
    now_s = policed.clock.now_s
    for _ in range(2):
        policed.clock.now_s = due_s + 5
        assert policed.files == 0
        policed.clock.now_s = now_s
        assert policed.files == FILES


def test_an_advisory_reaches_the_copies_that_nodes_have_under_their_own_names(policed):
    """As a denial does: the bytes may be the very same, and no database names a node's copy."""
    policed.say(f'{CEILING}[pip]\nmode = "proxy"\n')
    copy = Facts(f"pkg:generic/{'a' * 52}/pypi/idna@1.0", PROXIED)
    assert policed.policing.decision(copy).allowed
    advise(policed, "CVE-2026-1")
    assert [one.rule for one in policed.policing.decision(copy).reasons if not one.allows] == ["max_severity"]


@pytest.mark.parametrize("days", [2, -2])
def test_a_clock_that_was_wrong_for_a_moment_makes_no_standing_warning_go_away(world, days):
    """A correction is announced for tomorrow; asked once by a clock that is wrong, and then by one that is right."""
    now_s = [world.time / 1_000]
    first = world.say(0, "advisory", "pkg:pypi/idna", 0, severity="critical")
    world.seal()
    due = world.time - START + 86_400_000
    world.say(0, "advisory", "pkg:pypi/idna", 0, due, severity="low", supersedes=first)
    world.seal()
    wrong, right = (Knowledge(world.archive, clock=lambda: now_s[0]) for _ in range(2))
    now_s[0] = world.time / 1_000 + days * 86_400
    assert wrong.known("pkg:pypi/idna@1.0").whole
    now_s[0] = world.time / 1_000 + 60
    for grown in (False, True):
        if grown:
            world.say(0, "licence", "pkg:pypi/idna")
            world.seal()
        told = [[one.severity for one in it.known("pkg:pypi/idna@1.0").advisories] for it in (wrong, right)]
        assert told == [["critical"], ["critical"]]
    now_s[0] = (START + due) / 1_000 + 1
    told = [[one.severity for one in it.known("pkg:pypi/idna@1.0").advisories] for it in (wrong, right)]
    assert told == [["low"], ["low"]]


def test_a_clock_that_is_behind_the_log_is_the_log_s(world):
    first = world.say(0, "advisory", "pkg:pypi/idna", 0, severity="low")
    world.seal()
    world.say(0, "advisory", "pkg:pypi/idna", 0, world.time - START, severity="critical", supersedes=first)
    world.seal()
    knowledge = Knowledge(world.archive, clock=lambda: 1.0)
    assert [one.severity for one in knowledge.known("pkg:pypi/idna@1.0").advisories] == ["critical"]
