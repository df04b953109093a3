"""What a node knows of versions, now and then, against the log replayed from its beginning."""

from contextlib import aclosing
from types import SimpleNamespace

import msgspec
import pytest
import trio
import trio.lowlevel
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.knowledge import standing
from pyrsia.knowledge.about import about
from pyrsia.knowledge.said import Said
from pyrsia.ledger import entries
from pyrsia.ledger.bodies import facts as bodies
from pyrsia.ledger.matching import PurlGlob
from pyrsia.node.knowledge import reading, telling
from pyrsia.node.knowledge.knowing import Knowledge
from pyrsia.node.knowledge.telling import Telling
from pyrsia.node.log.archive import Hole
from pyrsia.node.pulse import Pulse
from pyrsia.serve.desks.knowing import NOW, AsOf
from pyrsia.units import Limit
from pyrsia.wire.text import b32
from tests.reference.ledger import START
from tests.reference.story import Story
from tests.reference.waiting import bounded
from tests.reference.words import DIGEST, STEPS, SUBJECTS, Words

FILE = DIGEST.removeprefix("sha256:")
SLOW = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Clock:
    """Seconds; the time of the newest block, unless a test moves it."""

    def __init__(self, world):
        self.world, self.ahead_s = world, 0

    def __call__(self):
        return self.world.time / 1_000 + self.ahead_s


def replay(leaves, size):
    """Every fact of the first `size` leaves, and the time of the last block, by parsing them all."""
    found, time, waiting = [], 0, []
    for at, raw in enumerate(leaves[:size]):
        entry = entries.parse(raw)
        if entry.kind == "block.seal":
            time = entry.body["time_ms"]
            found += [Said(leaf, time, name, author, body) for leaf, name, author, body in waiting]
            waiting = []
        elif entry.kind == "fact.add":
            waiting.append((at, entry.id.hex(), b32(entry.author), entry.body))
    return found, time


def of(found, *subjects):
    """Those about packages or files, by the definition of an index key."""
    wanted = {bodies.about(one) for one in subjects}
    return [one for one in found if bodies.about(one.subject) in wanted]


@pytest.fixture
def world(tmp_path):
    made = Words(tmp_path)
    yield made
    made.close()


def plainly(known, at_ms):
    """Without the size, which an answer that still holds may be older than; and when it changes, if it still will."""
    return (
        known.whole, known.advisories, known.licences, known.sboms,
        known.flips_ms if known.flips_ms is None or known.flips_ms > at_ms else "over",
    )  # fmt: skip


@SLOW
@given(STEPS, st.sampled_from([one for one in SUBJECTS if "@" in one]))
def test_what_is_known_after_each_block_is_what_a_replay_says(tmp_path_factory, steps, purl):
    world = Words(tmp_path_factory.mktemp("log"))
    try:
        clock = Clock(world)
        knowledge = Knowledge(world.archive, clock=clock)
        for size in world.play(steps):
            facts, _ = replay(world.leaves, size)
            facts = [one for one in facts if one.kind in reading.DECIDING]
            for ahead_s in (60, 10, 0):  # the clock of one that remembers only goes on
                clock.ahead_s = ahead_s
                at_ms = int(clock() * 1_000)
                for sha256, subjects in (("", (purl,)), (FILE, (purl, DIGEST))):
                    wanted = about(of(facts, *subjects), purl, sha256, at_ms, size, True)
                    assert Knowledge(world.archive, clock=clock).known(purl, sha256) == wanted
            assert plainly(knowledge.known(purl, FILE), at_ms) == plainly(wanted, at_ms)
    finally:
        world.close()


@SLOW
@given(STEPS, st.sampled_from(SUBJECTS), st.integers(1, 9))
async def test_pages_of_any_past_moment_are_those_of_a_replay_of_the_prefix(
    tmp_path_factory, steps, subject, count
):
    world = Words(tmp_path_factory.mktemp("log"))
    try:
        sizes = list(world.play(steps))
        told = Telling(world.archive, world.genesis, Pulse())
        for size in sizes:
            facts, time_ms = replay(world.leaves, size)
            for at, now_ms in (
                (AsOf(size=size), time_ms),
                (AsOf(time_ms=time_ms), time_ms),
                (AsOf(time_ms=time_ms + 500), time_ms + 500),
            ):
                rows, first = [], 0
                while first >= 0:
                    page = await told.facts(subject, at, kind="", first=first, count=count)
                    assert (page.size, page.time_ms, page.whole) == (size, now_ms, first == 0 or page.whole)
                    assert len(page.facts) <= count
                    rows += page.facts
                    first = page.next
                wanted = [
                    (one.said.leaf, one.said.time_ms, one.said.id, one.said.author, one.state,
                     one.by.leaf if one.by is not None and one.state in (standing.SUPERSEDED, standing.WITHDRAWN)
                     else -1)
                    for one in standing.every(of(facts, subject), now_ms)
                    if speaks_of(one.said, subject)
                ]  # fmt: skip
                assert [(r.leaf, r.time_ms, r.id, r.author, r.state, r.by) for r in rows] == wanted
    finally:
        world.close()


def speaks_of(one, subject):
    """By the definition: without ranges a word about a package is one about each version of it."""
    return "@" not in subject or one.subject in (subject, subject.partition("@")[0])


async def test_the_newest_of_the_whole_log_come_in_both_orders(world):
    for at in range(7):
        world.say(at % 3, ("licence", "review")[at % 2], SUBJECTS[at], at)
        if at % 2:
            world.seal()
    world.seal()
    told = Telling(world.archive, world.genesis, Pulse())

    async def leaves(**asked):
        found = await told.newest(AsOf(), **{"kind": "", "first": None, "count": 100, **asked})
        return [one.leaf for one in found.facts], found.next

    every, _ = replay(world.leaves, world.archive.size)
    all_of_them = [one.leaf for one in every]
    assert await leaves() == (all_of_them[::-1], -1)
    assert await leaves(first=0) == (all_of_them, -1)
    assert await leaves(kind="review") == ([one.leaf for one in every if one.kind == "review"][::-1], -1)
    page, following = await leaves(count=2)
    assert page == all_of_them[-1:-3:-1]
    assert (await leaves(first=following, order="newest"))[0] == all_of_them[-3::-1]
    assert (await leaves(first=all_of_them[2], count=1))[0] == [all_of_them[2]]


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"at": AsOf(size=10**9)}, "was never as long"),
        ({"at": AsOf(size=1, time_ms=1)}, "two moments"),
        ({"at": AsOf(time_ms=4_070_908_800_000)}, "lies ahead"),
        ({"kind": "rumour"}, "no kind of fact"),
        ({"subject": "pkg:PyPI/idna"}, "names no package"),
        ({"subject": "sha256:AB"}, "names no package"),
        ({"subject": "sha256:" + "AB" * 32}, "names no package"),
        ({"subject": "sha256:" + "zz" * 32}, "names no package"),
        ({"subject": ""}, "names no package"),
    ],
)
async def test_a_question_about_nothing_is_refused(world, asked, word):
    told = Telling(world.archive, world.genesis, Pulse())
    wanted = {"subject": "pkg:pypi/idna", "at": AsOf(), "kind": "", "first": 0, "count": 5, **asked}
    with pytest.raises(Refusal, match=word) as caught:
        await told.facts(wanted.pop("subject"), wanted.pop("at"), **wanted)
    assert caught.value.code == "bad-request"


def test_the_same_answer_is_the_same_object_until_something_about_it_is_said(world):
    purl = "pkg:pypi/idna@1.0"
    knowledge = Knowledge(world.archive, clock=Clock(world))
    first = knowledge.known(purl)
    world.say(0, "licence", "pkg:pypi/other")
    world.say(0, "review", "pkg:pypi/idna")  # about it, but nothing that a policy reads
    world.seal()
    assert knowledge.known(purl) is first
    assert knowledge.known(purl, FILE) is first  # nothing is said of that one
    world.say(0, "licence", "pkg:pypi/idna")
    world.seal()
    second = knowledge.known(purl)
    assert second is not first
    assert [one.expression for one in second.licences] == ["MIT"]


def test_an_announced_word_holds_from_its_time_on_without_anything_said(world):
    clock = Clock(world)
    knowledge = Knowledge(world.archive, clock=clock)
    world.say(0, "advisory", "pkg:pypi/idna", later=60_000)
    world.seal()
    before = knowledge.known("pkg:pypi/idna@1.0")
    assert (before.advisories, before.flips_ms) == ((), START + 60_000)
    clock.ahead_s = 60
    assert len(knowledge.known("pkg:pypi/idna@1.0").advisories) == 1


def test_a_correction_announced_and_corrected_again_ends_what_it_was_to_end(world):
    """The first is to be replaced later; then its replacement is, at once, which ends both."""
    world.say(0, "advisory", "pkg:pypi/idna", 0)
    world.seal()
    world.end(0, later=900_000, severity="high")
    world.seal()
    world.end(0, severity="medium")
    world.seal()
    known = Knowledge(world.archive, clock=Clock(world)).known("pkg:pypi/idna@1.0")
    assert [one.severity for one in known.advisories] == ["medium"]


async def test_a_long_history_is_read_in_the_background_and_counts_as_incomplete_until_then(
    world, monkeypatch
):
    monkeypatch.setattr(reading, "AT_ONCE", reading.Limit(3, "a test's"))
    monkeypatch.setattr(reading, "STRETCH", reading.Limit(2, "a test's"))
    for at in range(9):
        world.say(at % 3, "advisory", "pkg:pypi/idna", at)
    world.seal()
    knowledge = Knowledge(world.archive, clock=Clock(world))
    early = knowledge.known("pkg:pypi/idna@1.0")
    assert not early.whole
    assert len(early.advisories) == 3
    async with trio.open_nursery() as nursery:
        nursery.start_soon(knowledge.run)
        with bounded():
            while not knowledge.revision():
                await trio.lowlevel.checkpoint()
        known = knowledge.known("pkg:pypi/idna@1.0")
        assert known.whole
        assert (
            known.advisories
            == (await Knowledge(world.archive, clock=Clock(world)).read("pkg:pypi/idna@1.0")).advisories
        )
        nursery.cancel_scope.cancel()


def test_what_a_snapshot_left_out_is_missing_until_it_comes(world):
    world.say(0, "advisory", "pkg:pypi/idna")
    world.seal()
    hole = world.archive.size
    world.say(0, "advisory", "pkg:pypi/idna", 1)
    world.say(0, "advisory", "pkg:pypi/other", 1)
    world.seal()
    knowledge = Knowledge(world.archive, clock=Clock(world))
    world.archive.hole = Hole(0, hole, hole)
    known = knowledge.known("pkg:pypi/idna@1.0")
    assert ([one.id for one in known.advisories], known.whole) == (["CVE-1"], False)
    assert knowledge.known("pkg:pypi/other@1.0").whole  # all that was ever said of it came later
    world.archive.hole = None
    known = knowledge.known("pkg:pypi/idna@1.0")
    assert ([one.id for one in known.advisories], known.whole) == (["CVE-0", "CVE-1"], True)


@pytest.fixture
def room(monkeypatch):
    """For three words of each author and kind."""
    monkeypatch.setattr(reading, "MAX_ISSUED", reading.Limit(3, "a test's"))
    monkeypatch.setattr(reading, "MAX_WORDS", reading.Limit(3, "a test's"))


def test_a_flood_of_one_member_s_licences_hides_no_advisory_and_nothing_of_others(world, room):
    """Anybody may say a licence: who says too many loses words of its own, of this kind, and nothing else changes."""
    for at in range(9):
        world.say(1, "licence", f"pkg:pypi/idna@{at}", at)
        world.say(1, "sbom", "pkg:pypi/idna@1.0", at)
        world.say(1, "review", "pkg:pypi/idna", at)
    world.say(0, "advisory", "pkg:pypi/idna")
    world.say(2, "licence", "pkg:pypi/idna@1.0")
    world.seal()
    flooder = b32(world.nodes[1].public)
    known = Knowledge(world.archive, clock=Clock(world)).known("pkg:pypi/idna@1.0")
    assert known.whole
    assert [one.id for one in known.advisories] == ["CVE-0"]
    assert b32(world.nodes[2].public) in [one.issuer for one in known.licences]
    assert known.beyond == ((flooder, "licence"), (flooder, "sbom"))
    assert known.lacks("advisory") == ()


def test_who_says_more_advisories_than_there_is_room_for_is_named_and_others_count_whole(world, room):
    for at in range(9):
        world.say(0, "advisory", "pkg:pypi/idna", at)
    world.say(1, "advisory", "pkg:pypi/idna", 1, severity="critical")
    world.seal()
    known = Knowledge(world.archive, clock=Clock(world)).known("pkg:pypi/idna@1.0")
    assert (known.whole, known.lacks("advisory")) == (True, (b32(world.nodes[0].public),))
    assert [one.severity for one in known.advisories if one.issuer == b32(world.nodes[1].public)] == [
        "critical"
    ]


def test_who_takes_its_flood_back_is_heard_again(world, room):
    knowledge = Knowledge(world.archive, clock=Clock(world))
    for at in range(5):
        world.say(0, "advisory", "pkg:pypi/idna", at, advisory=f"CVE-{at}")
    world.seal()
    assert knowledge.known("pkg:pypi/idna@1.0").lacks("advisory")
    for _ in range(3):
        world.end(0)
    world.seal()
    known = knowledge.known("pkg:pypi/idna@1.0")
    assert ([one.id for one in known.advisories], known.beyond) == (["CVE-3", "CVE-4"], ())


def test_what_is_kept_is_bounded_and_what_was_given_up_is_read_again(world, monkeypatch):
    monkeypatch.setattr(reading, "KEPT_SUBJECTS", reading.Limit(2, "a test's"))
    monkeypatch.setattr("pyrsia.node.knowledge.knowing.MAX_ANSWERS", reading.Limit(2, "a test's"))
    for subject in SUBJECTS:
        world.say(0, "licence", subject)
    world.seal()
    knowledge = Knowledge(world.archive, clock=Clock(world))
    wanted = {one: Knowledge(world.archive, clock=Clock(world)).known(one) for one in SUBJECTS if "@" in one}
    for _ in range(2):
        assert {one: knowledge.known(one) for one in wanted} == wanted
    assert len(knowledge.reading._held) <= 2
    assert knowledge.reading._bytes == sum(one.bytes for one in knowledge.reading._held.values())


def test_answers_with_many_advisories_are_remembered_in_bounds(world, monkeypatch):
    monkeypatch.setattr("pyrsia.node.knowledge.knowing.MAX_WORDS", reading.Limit(4, "a test's"))
    for at in range(3):
        world.say(at, "advisory", "pkg:pypi/idna", at)
    world.seal()
    knowledge = Knowledge(world.archive, clock=Clock(world))
    for version in ("1.0", "2.0", "3.0", "3.0"):
        assert len(knowledge.known(f"pkg:pypi/idna@{version}").advisories) == 3
        assert knowledge._words == sum(len(one.known.advisories) for one in knowledge._answers.values())
    assert len(knowledge._answers) == 1


def test_answers_with_many_licences_are_remembered_in_the_same_bounds(world, monkeypatch):
    """Else one member's two thousand of a package would be kept once for each of its versions."""
    monkeypatch.setattr("pyrsia.node.knowledge.knowing.MAX_WORDS", reading.Limit(7, "a test's"))
    for at in range(3):
        world.say(at, "licence", "pkg:pypi/idna", at)
    world.seal()
    knowledge = Knowledge(world.archive, clock=Clock(world))
    for number in range(20):
        assert len(knowledge.known(f"pkg:pypi/idna@{number}").licences) == 3
    assert len(knowledge._answers) <= 2
    assert knowledge._words == sum(len(one.known.licences) for one in knowledge._answers.values())


async def test_facts_that_come_are_told_from_any_leaf_on(world):
    pulse = Pulse()
    told = Telling(world.archive, world.genesis, pulse)
    world.say(0, "licence", "pkg:pypi/idna@1.0")
    world.say(1, "review", "pkg:pypi/idna@1.0")
    world.say(1, "licence", "pkg:pypi/other")
    world.seal()
    heard = []
    globs = {"": None, "pkg:pypi/id*": PurlGlob.parse("pkg:pypi/id*")}

    async def listen(after, kind, glob):
        async for row in told.follow(after, kind, glob):
            heard.append((kind, glob, row.leaf))

    async with trio.open_nursery() as nursery:
        for kind in ("", "licence"):
            for glob in globs:
                nursery.start_soon(listen, 0, kind, glob)
        nursery.start_soon(listen, None, "", "")
        await trio.testing.wait_all_tasks_blocked()
        before = len(heard)
        world.end(0)  # what takes a word back is told too
        world.say(2, "licence", "pkg:pypi/idna")
        world.seal()
        pulse.beat()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    every, _ = replay(world.leaves, world.archive.size)
    for kind in ("", "licence"):
        for glob, pattern in globs.items():
            wanted = [
                one.leaf for one in every
                if (not kind or one.kind == kind)
                and (pattern is None or pattern.matches(one.subject))
            ]  # fmt: skip
            got = [leaf for one, two, leaf in heard if (one, two) == (kind, glob)]
            extra = wanted[-2:] if (kind, glob) == ("", "") else []  # of the one that began at the end
            assert sorted(got) == sorted(wanted + extra)
    assert before == 3 + 2 + 2 + 1


async def test_who_reads_along_hears_what_is_taken_back_and_which_fact_that_was(world):
    pulse = Pulse()
    told = Telling(world.archive, world.genesis, pulse, clock=lambda: (world.time + 5) / 1_000)
    world.say(0, "advisory", "pkg:pypi/idna", 1)
    world.say(0, "licence", "pkg:pypi/idna")
    world.seal()
    world.end(0)  # the advisory
    world.end(0, later=10**9)  # the licence, in a week
    world.seal()
    said = {
        row.kind: row
        for row in (await told.newest(AsOf(), kind="", first=0, count=100)).facts
        if row.ended is None
    }
    heard = []
    async with aclosing(told.follow(0, "", "")) as rows:
        async for row in rows:
            heard.append(row)
            if len(heard) == 4:
                break
    gone = {row.kind: row for row in heard if row.ended is not None}
    for kind, state in (("advisory", "withdrawn"), ("licence", "to-come")):
        row = gone[kind]
        assert (row.state, row.by, row.ends, row.ended) == (state, -1, said[kind].leaf, said[kind].body)
        assert row.body["withdrawn"] is True
    assert [one.leaf for one in heard] == sorted(one.leaf for one in heard)
    about = await told.facts("pkg:pypi/idna", AsOf(), kind="", first=0, count=100)
    assert [(row.kind, row.state, row.by) for row in about.facts] == [
        ("advisory", "withdrawn", gone["advisory"].leaf), ("licence", "stands", -1)
    ]  # fmt: skip
    newest = (await told.newest(AsOf(), kind="advisory", first=None, count=1)).facts
    assert [row.leaf for row in newest] == [gone["advisory"].leaf]


async def test_what_replaces_a_fact_says_which(world):
    world.say(0, "licence", "pkg:pypi/idna")
    world.seal()
    world.end(0, text="otherwise")
    world.seal()
    told = Telling(world.archive, world.genesis, Pulse())
    old, new = (await told.newest(AsOf(), kind="", first=0, count=100)).facts
    assert (old.ends, old.by, new.ends, new.ended) == (-1, new.leaf, old.leaf, None)


async def test_what_cannot_be_followed_is_refused_at_once(world):
    told = Telling(world.archive, world.genesis, Pulse())
    for after, kind, glob in ((10**6, "", ""), (0, "rumour", ""), (0, "", "not a glob")):
        with pytest.raises(Refusal):
            told.follow(after, kind, glob)
    world.archive.hole = Hole(0, 1, 1)
    with pytest.raises(Refusal, match="not here yet"):
        told.follow(-1, "", "")


async def test_a_filter_that_meets_nothing_ends_after_its_share_of_work(world, monkeypatch):
    monkeypatch.setattr(telling, "WORK", telling.Limit(5, "a test's"))
    for at in range(12):
        world.say(at % 3, "review", "pkg:pypi/idna", at)
    world.seal()
    told = Telling(world.archive, world.genesis, Pulse())
    first, met = 0, 0
    while first >= 0:
        page = await told.facts("pkg:pypi/idna", AsOf(), kind="licence", first=first, count=5)
        met += 1
        assert page.facts == ()
        first = page.next
    assert met == 3


@given(
    st.lists(st.tuples(st.sampled_from(["1.0", "1.0.0", "2.0", "1.0rc1"]), st.integers(0, 5)), max_size=12),
    st.integers(0, 130),
    st.integers(0, 13),
    st.integers(0, 6),
)
def test_the_files_of_a_version_are_those_that_a_walk_over_all_finds_or_the_newest_and_it_is_said(
    made, size, sought, most
):
    """Against the whole history read without bounds; one file may be published under several spellings, and again."""
    key = "project/pkg:pypi/idna"
    rows = {key: len(made)}
    for at, (version, file) in enumerate(made):
        body = {"purl": f"pkg:pypi/idna@{version}", "sha256": f"{file:064}"}
        rows[f"{key}/{at:016}"] = {"leaf": 10 * at, "body": body, "served": True}
    log = SimpleNamespace(state=lambda name: msgspec.json.encode(rows[name.decode()]))
    there = [one for at, one in enumerate(made) if 10 * at < size][::-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telling, "MAX_FILES_SOUGHT", Limit(sought, "a test's"))
        patch.setattr(telling, "MAX_FILES", Limit(most, "a test's"))
        asking = Telling(log, None, Pulse())._files(telling.Subject.parse("pkg:pypi/idna@1"), size)
        found, whole = trio.run(lambda: asking)
    every = dict.fromkeys(f"{file:064}" for version, file in there if version in ("1.0", "1.0.0"))
    near = dict.fromkeys(f"{file:064}" for version, file in there[:sought] if version in ("1.0", "1.0.0"))
    assert found == list(near)[:most]
    assert whole == (len(there) <= sought and len(every) <= most)
    assert not whole or found == list(every)


async def test_what_is_said_of_a_version_s_file_is_told_with_the_version(tmp_path, monkeypatch):
    """And not what is said of another's, nor of one that was published later; pages of it join."""
    world = Words(tmp_path)
    try:
        story = Story(world=world)
        file, before = "sha256:" + story.sha256, world.archive.size
        for at, subject in enumerate((file, "pkg:pypi/idna@1.0", DIGEST, "pkg:pypi/idna@2.0", file, file)):
            world.say(0, "advisory" if at < 5 else "review", subject, at)
        world.seal()
        world.end(4)
        world.seal()
        told = Telling(world.archive, world.genesis, Pulse())

        async def leaves(subject, at=NOW, count=100, kind="advisory"):
            rows, first = [], 0
            while first >= 0:
                page = await told.facts(subject, at, kind=kind, first=first, count=count)
                assert page.whole or first
                rows += [(row.leaf, row.subject, row.state) for row in page.facts]
                first = page.next
            return rows

        first = before
        mine = [(first, file, "stands"), (first + 1, "pkg:pypi/idna@1.0", "stands")]
        gone = (first + 4, file, "withdrawn")
        assert await leaves("pkg:pypi/idna@1.0") == [*mine, gone]
        assert await leaves("pkg:pypi/idna@1.0.0", count=1) == [*mine, gone]
        assert await leaves("pkg:pypi/idna@1.0", AsOf(size=first + 2)) == mine
        assert await leaves("pkg:pypi/idna@2.0") == [(first + 3, "pkg:pypi/idna@2.0", "stands")]
        assert file not in [subject for _, subject, _ in await leaves("pkg:pypi/idna")]
        (page, *_) = [await told.facts("pkg:pypi/idna@1.0", NOW, kind="", first=0, count=100)]
        assert [row.by_ms > 0 for row in page.facts] == [row.by >= 0 for row in page.facts]
        monkeypatch.setattr(telling, "MAX_FILES", Limit(0, "a test's"))
        assert not (await told.facts("pkg:pypi/idna@1.0", NOW, kind="", first=0, count=100)).whole
        monkeypatch.undo()
        monkeypatch.setattr(telling, "MAX_FILES_SOUGHT", Limit(0, "a test's"))
        assert not (await told.facts("pkg:pypi/idna@1.0", NOW, kind="", first=0, count=100)).whole
    finally:
        world.close()
