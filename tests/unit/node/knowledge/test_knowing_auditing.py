"""Audits: what was answered at a moment is what is answered about that moment later, for ever."""

from types import SimpleNamespace

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings

from pyrsia.errors import Refusal
from pyrsia.ledger import views
from pyrsia.node.knowledge import auditing as audits
from pyrsia.node.knowledge.auditing import Auditing
from pyrsia.node.knowledge.knowing import Knowledge
from pyrsia.node.knowledge.telling import Telling
from pyrsia.node.policy.policing import Policing
from pyrsia.node.pulse import Pulse
from pyrsia.serve.desks.knowing import AsOf, AuditOrder
from pyrsia.wire import purl as purls
from tests.reference.governance import fact
from tests.reference.parts import Kept
from tests.reference.story import Story
from tests.reference.words import STEPS, SUBJECTS, Words

PURLS = tuple(one for one in SUBJECTS if one.startswith("pkg:"))
IDNA = "pkg:pypi/idna@1.0"


def supply(*pushed, proxied=()):
    return SimpleNamespace(
        local=SimpleNamespace(owns=lambda package: package in pushed),
        upstream=SimpleNamespace(takes=lambda package: package in proxied),
    )


def auditing(world, of=None, knowledge=None):
    archive = world.archive

    def clock():
        return world.time / 1_000

    knowledge = knowledge or Knowledge(archive, clock=clock)
    telling = Telling(archive, world.genesis, Pulse(), clock=clock)
    return Auditing(archive, knowledge, telling, Policing(None, archive.state, clock=clock), of or supply())


def bare(row):
    """What a past moment can say too; when an answer flips is told in the same words."""
    return msgspec.structs.replace(row, allowed=None, reasons=())


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
async def test_what_was_answered_once_is_what_is_answered_about_that_moment(tmp_path_factory, steps):
    world = Words(tmp_path_factory.mktemp("log"))
    try:
        kept, answered = Knowledge(world.archive, clock=lambda: world.time / 1_000), {}
        for size in world.play(steps):
            answer = await auditing(world, knowledge=kept).audit(AuditOrder(PURLS))
            answered[size] = [bare(row) for row in answer.rows]
            assert (answer.size, answer.whole) == (size, True)
        for size, rows in answered.items():
            later = await auditing(world).audit(AuditOrder(PURLS, AsOf(size=size)))
            assert [bare(row) for row in later.rows] == [
                msgspec.structs.replace(row, known=plain(row.known, then.known))
                for row, then in zip(rows, later.rows, strict=True)
            ]
    finally:
        world.close()


def plain(known, then):
    """An answer that was kept speaks of announcements that were still to come; one made anew of the same."""
    assert known.advisories == then.advisories
    assert known.licences == then.licences
    return then


@pytest.fixture
def told(tmp_path):
    """A log with a build of idna 1.0 that was published, and words about it before and behind."""
    world = Kept(tmp_path)
    world.block(world.fact())
    story = Story(world=world)
    yield world, story
    world.close()


async def test_a_published_version_is_told_with_its_status_and_policys_answer(told):
    world, _ = told
    answer = await auditing(world).audit(
        AuditOrder((IDNA, "pkg:pypi/idna", "pkg:pypi/idna@9", "pkg:pypi/none@1"))
    )
    version, package, other, unknown = answer.rows
    assert (version.origin, version.status, version.error) == ("network", "REPRODUCED", "")
    assert version.allowed is True
    assert version.reasons
    assert package.known.whole
    assert (other.status, other.allowed) == ("", None)
    assert (unknown.origin, unknown.status, unknown.allowed) == ("", "", None)


def file_of(world, purl=IDNA):
    found = views.project_files(world.archive.state, purl.partition("@")[0], every=True)
    return next(one.body["sha256"] for one in found if one.body["purl"] == purl)


def say(world, kind, subject, **fields):
    world.block(world.entry(world.nodes[0], "fact.add", fact(kind, subject, **fields)))


async def test_a_version_is_the_same_one_however_many_zeros_it_is_asked_for_with(told):
    world, _ = told
    say(world, "advisory", f"sha256:{file_of(world)}", advisory="CVE-9", severity="critical")
    for at in (AsOf(), AsOf(size=world.archive.size)):
        order = AuditOrder((IDNA, "pkg:pypi/idna@1", "pkg:pypi/idna@1.0.0", "pkg:pypi/idna@1.0.1"), at)
        *same, other = (await auditing(world).audit(order)).rows
        assert [(row.origin, row.status) for row in same] == [("network", "REPRODUCED")] * 3
        assert [[one.id for one in row.known.advisories] for row in same] == [["CVE-9"]] * 3
        assert len({row.allowed for row in same}) == 1
        assert (other.origin, other.known.advisories) == ("", ())


def test_an_official_image_is_the_same_one_by_both_of_its_names():
    short, long = (purls.parse(f"pkg:docker/{name}@1") for name in ("alpine", "library/alpine"))
    assert set(audits._packages(short)) == set(audits._packages(long))


async def test_vex_about_one_file_lifts_nothing_of_the_version(told):
    world, _ = told
    digest = f"sha256:{file_of(world)}"
    say(world, "advisory", IDNA, advisory="CVE-1", severity="critical")
    say(world, "vex", digest, advisory="CVE-1", outcome="not-affected")
    (row,) = (await auditing(world).audit(AuditOrder((IDNA,)))).rows
    assert [(one.id, one.vex) for one in row.known.advisories] == [("CVE-1", ())]
    say(world, "vex", digest, advisory="CVE-1", outcome="affected")
    say(world, "vex", IDNA, advisory="CVE-1", outcome="fixed")
    for at in (AsOf(), AsOf(size=world.archive.size)):
        (row,) = (await auditing(world).audit(AuditOrder((IDNA,), at))).rows
        assert [[outcome for _, outcome, _ in one.vex] for one in row.known.advisories] == [
            ["fixed", "affected"]
        ]


async def test_a_version_of_more_files_than_are_looked_at_is_not_whole(told, monkeypatch):
    world, _ = told
    for most, whole in ((1, True), (0, False)):
        monkeypatch.setattr(audits, "MAX_FILES", audits.Limit(most, "a test's"))
        for at in (AsOf(), AsOf(size=world.archive.size)):
            answer = await auditing(world).audit(AuditOrder((IDNA,), at))
            assert (answer.whole, answer.rows[0].known.whole) == (whole, whole)


async def test_before_it_was_published_it_has_no_status_and_policy_is_not_asked_about_the_past(told):
    world, _ = told
    sizes = range(1, world.archive.size + 1)
    found = [(await auditing(world).audit(AuditOrder((IDNA,), AsOf(size=size)))).rows[0] for size in sizes]
    states = [row.status for row in found]
    assert states == sorted(states)
    assert set(states) == {"", "REPRODUCED"}
    assert {row.allowed for row in found} == {None}
    assert [row.origin for row in found] == ["network" if one else "" for one in states]


async def test_what_is_not_the_networks_is_told_as_what_it_is(told):
    world, _ = told
    of = supply("pkg:pypi/mine", proxied=("pkg:pypi/theirs", "pkg:pypi/idna"))
    purls = ("pkg:pypi/mine@1", "pkg:pypi/theirs@1", IDNA)
    rows = (await auditing(world, of).audit(AuditOrder(purls))).rows
    assert [row.origin for row in rows] == ["local", "proxied", "network"]
    assert all(row.allowed is not None for row in rows)


async def test_a_purl_that_cannot_be_read_is_a_row_and_no_refusal(told):
    world, _ = told
    for at in (AsOf(), AsOf(size=2)):
        rows = (await auditing(world).audit(AuditOrder(("pkg:PyPI/x@1", "\x1b[2J", IDNA), at))).rows
        assert [bool(row.error) for row in rows] == [True, True, False]
        assert "\x1b" not in rows[1].purl
        assert rows[0].known is None


async def test_an_ecosystem_that_nobody_compares_is_no_clean_package(told):
    """Not even where somebody said something of it: no version is held against that."""
    world, _ = told
    for at in (AsOf(), AsOf(size=2)):
        (row, good) = (await auditing(world).audit(AuditOrder(("pkg:npm/a@1", IDNA), at))).rows
        assert (row.purl, row.known, row.allowed) == ("pkg:npm/a@1", None, None)
        assert row.error == "unknown ecosystem npm: this network compares none of its versions"
        assert good.known is not None


async def test_an_audit_of_too_long_a_past_is_refused_and_others_have_their_turn(told, monkeypatch):
    world, _ = told
    monkeypatch.setattr(audits, "WORK", audits.Limit(1, "a test's"))
    with pytest.raises(Refusal) as caught:
        await auditing(world).audit(AuditOrder((IDNA, "pkg:pypi/other@1"), AsOf(size=world.archive.size)))
    assert caught.value.code == "too-large"

    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await auditing(world).audit(AuditOrder(tuple(f"pkg:pypi/p{n}@1" for n in range(400))))
        nursery.cancel_scope.cancel()
    assert turns >= 400 - 1  # who counts may begin last


async def test_a_moment_that_never_was_is_refused(told):
    world, _ = told
    for at in (AsOf(size=10**6), AsOf(size=1, time_ms=1)):
        with pytest.raises(Refusal) as caught:
            await auditing(world).audit(AuditOrder((IDNA,), at))
        assert caught.value.code == "bad-request"


# -- anybody may ask --


@pytest.fixture
def talked(tmp_path):
    """A package with advisories of long words, and more licences of one author than are told."""
    world = Words(tmp_path)
    for at in range(20):
        world.say(0, "advisory", "pkg:pypi/idna", 0, advisory=f"CVE-9-{at}", text="x" * 1_000)
    for at in range(130):
        world.say(1, "licence", "pkg:pypi/idna", 0, expression=f"LicenseRef-{at}")
    world.say(2, "licence", "pkg:pypi/idna", 0)
    world.seal()
    yield world
    world.close()


async def in_halves(audit, purls, at, asked):
    """As `pyrsia audit` asks."""
    asked.append(len(purls))
    try:
        return list((await audit.audit(AuditOrder(purls, at))).rows)
    except Refusal as refusal:
        if refusal.code != "too-large" or len(purls) == 1:  # one version is always answered
            raise
    half = len(purls) // 2
    return [row for part in (purls[:half], purls[half:]) for row in await in_halves(audit, part, at, asked)]


@pytest.mark.parametrize(
    ("bound", "most"), [("MAX_ANSWER_BYTES", 40_000), ("COMPARED", 500), ("COMPARED", 1)]
)
async def test_what_is_more_than_one_answer_holds_is_asked_for_in_halves(talked, monkeypatch, bound, most):
    """A stranger's 30 KB made the node hold 335 MB and encode 237 MB in one turn."""
    purls = tuple(f"pkg:pypi/idna@1.{at}" for at in range(16))
    for at in (AsOf(), AsOf(size=talked.archive.size)):
        audit, asked = auditing(talked), []
        whole = list((await audit.audit(AuditOrder(purls, at))).rows)
        with monkeypatch.context() as patched:
            patched.setattr(audits, bound, audits.Limit(most, "a test's"))
            assert await in_halves(audit, purls, at, asked) == whole
            assert max(one for one in asked if asked.count(one) > 1) < 16
            for one in purls:
                assert (await audit.audit(AuditOrder((one,), at))).rows[0] in whole
        assert len(whole) == 16
        assert all(len(row.known.advisories) == 20 for row in whole)


async def test_no_order_however_it_is_made_gets_more_than_the_bound_and_a_version(talked):
    """Two hundred times one version and nothing else: the longest answer that was ever begun is told by its size."""
    order = AuditOrder(tuple(f"pkg:pypi/idna@{at}" for at in range(1_000)))
    with pytest.raises(Refusal) as caught:
        await auditing(talked).audit(order)
    assert caught.value.code == "too-large"
    assert "fewer" in caught.value.do
    answer = await auditing(talked).audit(AuditOrder(order.purls[:50]))
    assert len(msgspec.json.encode(answer)) < audits.MAX_ANSWER_BYTES.value


async def test_text_is_cut_and_whose_licences_are_left_out_is_said(talked):
    for at in (AsOf(), AsOf(size=talked.archive.size)):
        (row,) = (await auditing(talked).audit(AuditOrder((IDNA,), at))).rows
        assert {len(one.text) for one in row.known.advisories} == {audits.TEXT_CHARS.value}
        assert all(one.text.endswith("x…") for one in row.known.advisories)
        told = [one.expression for one in row.known.licences]
        assert len(told) == audits.MAX_WORDS.value
        assert "MIT" in told  # nobody talks another away
        leaves = [one.leaf for one in row.known.licences]
        assert leaves == sorted(leaves)
        much = next(one.issuer for one in row.known.licences if one.expression != "MIT")
        assert row.known.lacks("licence") == (much,)
        assert row.known.lacks("advisory", "vex") == ()


async def test_audits_wait_for_each_other_and_beyond_that_are_told_to_come_again(told, monkeypatch):
    world, _ = told
    audit, go = auditing(world), trio.Event()
    moment, under_way = audit._telling.moment, []

    async def slow(at):
        under_way.append(at)
        await go.wait()
        return await moment(at)

    monkeypatch.setattr(audit._telling, "moment", slow)
    answers = []

    async def ask():
        answers.append(await audit.audit(AuditOrder((IDNA,))))

    most = audits.AT_ONCE.value + audits.WAITING.value
    async with trio.open_nursery() as nursery:
        for _ in range(most):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert len(under_way) == audits.AT_ONCE.value
        with pytest.raises(Refusal) as caught:
            await audit.audit(AuditOrder((IDNA,)))
        assert (caught.value.code, caught.value.retry_s > 0) == ("busy", True)
        go.set()
    assert len(answers) == most
    await ask()
