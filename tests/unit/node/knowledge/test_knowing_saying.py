"""What an order of facts comes to: each said once, changes in the place of what they change, refusals row by row."""

import itertools

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pyrsia.errors import Refusal
from pyrsia.knowledge import standing
from pyrsia.knowledge.said import Said
from pyrsia.ledger import entries
from pyrsia.node.knowledge import saying as said
from pyrsia.node.knowledge import underway
from pyrsia.node.knowledge import words as told
from pyrsia.node.knowledge.saying import Saying
from pyrsia.node.knowledge.underway import Entry, Underway
from pyrsia.serve.desks.knowing import FactsOrder, FactTold, WholeAdvisory, WholeOutcome
from pyrsia.store import layout
from pyrsia.store.rocks import Batch
from pyrsia.units import MEMPOOL_AUTHOR_ENTRIES
from pyrsia.wire.text import b32
from tests.reference.ledger import START, blob
from tests.reference.waiting import until
from tests.reference.words import Words

IDNA = "pkg:pypi/idna"


class Desk:
    """A member that says facts into a world of its own.

    Attributes:
        roles: its; None while it is no member.
        sent: how many entries each group had.
        no: what is refused, by a text that the entry holds.
        hold: groups wait for it.
    """

    def __init__(self, folder):
        self.world = Words(folder)
        self.me = self.world.nodes[0]
        self.roles = ["issuer"]
        self.sent, self.no, self.hold = [], {}, None
        self.here = set()
        self.words = told.Words(self.world.archive, self.world.database, b32(self.me.public))
        self.saying = self.born(self.submit)

    def born(self, submit):
        """What says facts, as of a node that begins."""
        return Saying(
            self.words,
            author=lambda kind, body: self.world.entry(self.me, kind, body),
            submit=submit,
            member=lambda: None if self.roles is None else {"roles": self.roles},
            holds=lambda record: record["sha256"] in self.here,
            underway=Underway(self.world.database, self.world.archive.leaf_of),
            clock=lambda: self.world.time / 1_000,
        )

    def underway_rows(self):
        return self.world.database.scan(layout.SAID, b"underway/", 10, before=b"underway0")

    async def submit(self, raws):
        self.sent.append(len(raws))
        if self.hold is not None:
            await self.hold.wait()
        found, taken = [], []
        for raw in raws:
            no = next((refusal for text, refusal in self.no.items() if text.encode() in raw), None)
            found.append(no)
            if no is None:
                taken.append(raw)
        if taken:
            self.world.block(*taken)
        names = [entries.entry_id(raw) for raw in raws]
        return [no or (name, self.world.archive.leaf_of(name)) for no, name in zip(found, names, strict=True)]

    async def say(self, *facts, dry_run=False):
        return (await self.saying.say(FactsOrder(tuple(facts), dry_run))).outcomes

    async def words_of(self, *facts, **more):
        return [one.outcome for one in await self.say(*facts, **more)]

    def facts(self, first=0):
        """Bodies of every fact in the log, from a leaf on."""
        parsed = (entries.parse(raw) for raw in self.world.leaves[first:])
        return [one.body for one in parsed if one.kind == "fact.add"]


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    yield made
    made.world.close()


def licence(text="MIT", subject=IDNA, **more):
    return FactTold("licence", subject, fields={"expression": text}, **more)


def advisory(number=1, severity="high", **more):
    return FactTold(
        "advisory", IDNA, "weak", fields={"advisory": f"CVE-{number}", "severity": severity}, **more
    )


async def test_said_twice_is_one_entry_and_said_otherwise_replaces_it(desk):
    assert await desk.words_of(licence(), advisory(1), advisory(2)) == ["added"] * 3
    assert await desk.words_of(licence(), advisory(1), advisory(2)) == ["same"] * 3
    changed = await desk.say(advisory(2, "low"), licence())
    assert [one.outcome for one in changed] == ["changed", "same"]
    bodies = desk.facts()
    assert len(bodies) == 4
    before = desk.world.archive.leaf_of(bytes.fromhex(bodies[3]["supersedes"]))
    assert entries.parse(desk.world.leaves[before]).body["advisory"] == "CVE-2"
    assert entries.parse(desk.world.leaves[changed[0].leaf]).body["severity"] == "low"
    stands = entries.parse(desk.world.leaves[changed[1].leaf]).body
    assert (stands["kind"], stands["expression"]) == ("licence", bodies[0]["expression"])


async def test_what_is_taken_back_is_gone_and_taking_back_nothing_is_no_entry(desk):
    assert await desk.words_of(licence(withdraw=True)) == ["same"]
    await desk.say(licence())
    assert await desk.words_of(licence(withdraw=True)) == ["withdrawn"]
    assert await desk.words_of(licence(withdraw=True)) == ["same"]
    assert await desk.words_of(licence()) == ["added"]
    assert len(desk.facts()) == 3


async def test_a_trial_says_what_would_become_of_it_and_nothing_else(desk):
    await desk.say(licence())
    rows = (licence(), licence("X", "pkg:pypi/a"), licence("Y"), advisory(severity="dire"))
    assert await desk.words_of(rows[0], rows[1], dry_run=True) == ["same", "added"]
    assert await desk.words_of(*rows[2:], dry_run=True) == ["changed", "refused"]
    assert len(desk.facts()) == 1


async def test_from_when_it_holds_is_a_change_only_where_a_time_is_given(desk):
    await desk.say(licence(valid_from=START))
    assert await desk.words_of(licence()) == ["same"]
    assert await desk.words_of(licence(valid_from=START)) == ["same"]
    assert await desk.words_of(licence(valid_from=START + 10**9)) == ["changed"]
    assert await desk.words_of(licence()) == ["changed"]  # now, and not only then


async def test_other_members_words_are_not_ours(desk):
    desk.world.say(1, "licence", IDNA)
    desk.world.seal()
    assert await desk.words_of(FactTold("licence", IDNA, "word 0", fields={"expression": "MIT"})) == ["added"]


async def test_a_row_that_cannot_be_said_is_refused_with_its_reason_and_the_others_go_on(desk):
    desk.here.add("11" * 32)
    rows = {
        "no kind": FactTold("rumour", IDNA),
        "builders": FactTold("recheck", IDNA),
        "beside `fields`": FactTold("licence", IDNA, fields={"subject": "x"}),
        "beside": FactTold("licence", IDNA, fields={"withdrawn": True}),
        "not a fact": FactTold("licence", "pkg:PyPI/idna"),
        "not a fact: ": FactTold("licence", IDNA, "x" * 1_500, fields={}),
        "unknown": FactTold("licence", "pkg:pypi/b", fields={"tags": ["x"]}),
        "float": FactTold("licence", "pkg:pypi/c", fields={"expression": 1.5}),
        "blob": FactTold("sbom", "pkg:pypi/d@1", fields={"blob": blob("elsewhere")}),
    }
    outcomes = await desk.say(licence(), *rows.values(), licence("X", "pkg:pypi/z"))
    assert [one.outcome for one in outcomes] == ["added", *["refused"] * len(rows), "added"]
    for word, one in list(zip(rows, outcomes[1:-1], strict=True)):
        assert one.error["code"] == "bad-request"
        if word in ("no kind", "builders", "beside `fields`", "not a fact", "blob"):
            assert word in one.error["what"]
        assert one.error["do"]


@pytest.mark.parametrize("kind", ["advisory", "vex", "licence", "sbom"])
async def test_what_would_decide_of_an_ecosystem_that_nobody_compares_is_refused_and_taken_back(desk, kind):
    """Who said one before takes it back as any other; what decides nothing is said of anything."""
    fields = {
        "advisory": {"advisory": "X-1", "severity": "high"},
        "vex": {"advisory": "X-1", "outcome": "fixed"},
        "licence": {"expression": "MIT"},
    }.get(kind, {"format": "spdx"})
    one = FactTold(kind, "pkg:npm/foo@1", fields=fields)
    (refused,) = await desk.say(one)
    assert (refused.outcome, refused.error["code"]) == ("refused", "bad-request")
    assert "unknown ecosystem npm" in refused.error["what"]
    (back,) = await desk.say(FactTold(kind, "pkg:npm/foo@1", fields=fields, withdraw=True))
    assert back.error is None
    review = FactTold("review", "pkg:npm/foo@1", "read")
    assert await desk.words_of(review) == ["added"]


async def test_a_homepage_that_is_no_page_on_the_web_is_refused(desk):
    for page in ("javascript:alert(1)", "data:text/html,x", "ftp://a", "a.example", "https://", "http://[:"):
        (one,) = await desk.say(FactTold("description", "pkg:pypi/idna", fields={"homepage": page}))
        assert (one.outcome, one.error["code"]) == ("refused", "bad-request")
        assert "no page on the web" in one.error["what"]
    (one,) = await desk.say(
        FactTold("description", "pkg:pypi/idna", fields={"homepage": "https://a.example/x"})
    )
    assert one.error is None


async def test_the_same_name_twice_in_one_order_is_refused(desk):
    outcomes = await desk.say(licence(), licence("X"), licence(withdraw=True))
    assert [one.outcome for one in outcomes] == ["added", "refused", "refused"]
    assert "before" in outcomes[1].error["what"]


async def test_one_subject_has_many_words_where_they_are_of_different_things(desk):
    sboms = [FactTold("sbom", IDNA + "@1.0", fields={"format": one}) for one in ("spdx", "cyclonedx")]
    vex = [FactTold("vex", IDNA, fields={"advisory": f"CVE-{n}", "outcome": "fixed"}) for n in range(2)]
    assert await desk.words_of(*sboms, *vex) == ["added"] * 4
    assert await desk.words_of(*sboms, *vex) == ["same"] * 4


async def test_what_an_advisory_is_about_no_more_is_taken_back(desk):
    def about(*names, number=1):
        return [replace(advisory(number), subject=f"pkg:pypi/{name}") for name in names]

    async def told(*names, **more):
        whole = (WholeAdvisory("CVE-1", tuple(f"pkg:pypi/{name}" for name in names)),)
        return (await desk.saying.say(FactsOrder(tuple(about(*names)), whole=whole, **more))).whole

    await desk.say(*about("a", "b", "c"), *about("b", number=2), licence(subject="pkg:pypi/b"))
    await desk.say(
        replace(advisory(), subject="pkg:pypi/b@2", fields={"advisory": "CVE-1", "severity": "low"})
    )
    assert await told("a", "d", dry_run=True) == (WholeOutcome(3),)
    assert len(desk.facts()) == 6
    assert await told("a", "d") == (WholeOutcome(3),)
    gone = [body["subject"] for body in desk.facts() if "withdrawn" in body]
    assert sorted(gone) == ["pkg:pypi/b", "pkg:pypi/b@2", "pkg:pypi/c"]
    assert await told("a", "d") == (WholeOutcome(0),)
    assert await told() == (WholeOutcome(2),)
    assert len(desk.facts()) == 6 + 1 + 3 + 2
    assert await desk.words_of(*about("b", number=2), licence(subject="pkg:pypi/b")) == ["same", "same"]


async def test_other_members_words_of_an_advisory_are_not_taken_back(desk):
    desk.world.say(1, "advisory", IDNA, 1)
    desk.world.seal()
    order = FactsOrder(whole=(WholeAdvisory("CVE-1"),))
    assert (await desk.saying.say(order)).whole == (WholeOutcome(0),)


DAY = 86_400_000


def dated(day, severity="high", subject=IDNA, number=1, **more):
    """What the record of a day says; the log begins on day 10."""
    fields = {"advisory": f"CVE-{number}", "modified_ms": START + (day - 10) * DAY}
    return FactTold(
        "advisory", subject, fields=fields if "withdraw" in more else {**fields, "severity": severity}, **more
    )


async def test_an_older_record_takes_no_newer_word_back(desk):
    assert await desk.words_of(dated(1, "unknown")) == ["added"]
    assert await desk.words_of(dated(2)) == ["changed"]
    assert await desk.words_of(dated(1, "unknown"), dry_run=True) == ["older"]
    assert await desk.words_of(dated(1, "unknown")) == ["older"]
    assert await desk.words_of(dated(1, withdraw=True)) == ["older"]
    assert await desk.words_of(dated(2)) == ["same"]
    assert [body["severity"] for body in desk.facts()] == ["unknown", "high"]
    assert await desk.words_of(advisory(1, "low")) == ["changed"]  # by hand, of no record
    assert await desk.words_of(dated(1)) == ["older"]
    assert await desk.words_of(dated(3)) == ["changed"]


@pytest.mark.parametrize("page", [1, 500])
async def test_an_older_record_does_not_raise_what_a_newer_one_took_back(desk, monkeypatch, page):
    monkeypatch.setattr(told, "PAGE", told.Limit(page, "a test's"))
    await desk.say(dated(1), dated(1, subject="pkg:pypi/other"))
    assert await desk.words_of(dated(3, withdraw=True)) == ["withdrawn"]
    assert await desk.words_of(dated(1)) == ["older"]
    assert await desk.words_of(dated(2)) == ["older"]  # between the two, and never said
    assert await desk.words_of(dated(3, withdraw=True)) == ["same"]
    assert await desk.words_of(dated(1, subject="pkg:pypi/other")) == ["same"]
    assert await desk.words_of(dated(1, number=2)) == ["added"]
    assert await desk.words_of(dated(4)) == ["added"]
    assert await desk.words_of(dated(3, withdraw=True)) == ["older"]


async def test_what_was_taken_back_by_hand_comes_again_with_a_record_of_a_later_day(desk):
    await desk.say(dated(1))
    assert await desk.words_of(advisory(1, withdraw=True)) == ["withdrawn"]
    assert await desk.words_of(dated(1)) == ["older"]
    desk.world.time += 9 * DAY
    assert await desk.words_of(dated(12)) == ["added"]


async def test_an_older_list_of_packages_neither_takes_back_nor_brings_back(desk):
    def order(day, *names):
        subjects = tuple(f"pkg:pypi/{name}" for name in names)
        whole = WholeAdvisory("CVE-1", subjects, START + (day - 10) * DAY)
        return FactsOrder(tuple(dated(day, subject=one) for one in subjects), whole=(whole,))

    async def outcomes(*what):
        found = await desk.saying.say(order(*what))
        return [one.outcome for one in found.outcomes], found.whole

    assert await outcomes(2, "a", "b") == (["added"] * 2, (WholeOutcome(0),))
    assert await outcomes(1, "a", "c") == (["older"] * 2, (WholeOutcome(0),))
    assert await outcomes(3, "a") == (["changed"], (WholeOutcome(1),))
    assert await outcomes(2, "a", "b") == (["older"] * 2, (WholeOutcome(0),))
    assert await outcomes(4, "a", "b") == (["changed", "added"], (WholeOutcome(0),))


async def test_a_record_from_a_day_to_come_holds_nobody_up(desk):
    await desk.say(dated(9_000))
    assert await desk.words_of(dated(5)) == ["changed"]
    await desk.say(dated(5, withdraw=True, valid_from=START + 9_000 * DAY))
    assert await desk.words_of(dated(6)) == ["added"]


async def test_more_than_one_order_takes_back_is_asked_for_again(desk, monkeypatch):
    monkeypatch.setattr(said, "GONE", said.Limit(2, "a test's"))
    await desk.say(*(replace(advisory(), subject=f"pkg:pypi/{name}") for name in "abc"))
    order = FactsOrder(whole=(WholeAdvisory("CVE-1"),))
    assert (await desk.saying.say(replace(order, dry_run=True))).whole == (WholeOutcome(3),)
    (first,) = (await desk.saying.say(order)).whole
    assert (first.withdrawn, first.error["code"]) == (2, "busy")
    assert (await desk.saying.say(order)).whole == (WholeOutcome(1),)


async def test_who_is_no_issuer_any_more_takes_nothing_back_by_an_advisory(desk):
    await desk.say(advisory())
    desk.roles = ["validator"]
    (told,) = (await desk.saying.say(FactsOrder(whole=(WholeAdvisory("CVE-1"),)))).whole
    assert (told.withdrawn, told.error["code"]) == (0, "forbidden")
    assert len(desk.facts()) == 1


async def test_a_fact_and_what_takes_its_advisory_back_do_not_pass_each_other(desk):
    desk.hold = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.words_of, advisory())
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(desk.saying.say, FactsOrder(whole=(WholeAdvisory("CVE-1"),)))
        await trio.testing.wait_all_tasks_blocked()
        assert len(desk.sent) == 1
        desk.hold.set()
    assert [("withdrawn" in body) for body in desk.facts()] == [False, True]


async def test_who_may_not_say_it_hears_so_at_once(desk):
    desk.roles = ["validator"]
    outcomes = await desk.say(advisory(), licence())
    assert [one.outcome for one in outcomes] == ["refused", "added"]
    assert (outcomes[0].error["code"], "motion" in outcomes[0].error["do"]) == ("forbidden", True)
    desk.roles = None
    with pytest.raises(Refusal, match="no member") as caught:
        await desk.say(licence())
    assert caught.value.code == "forbidden"


async def test_what_the_log_refuses_is_refused_in_its_row(desk):
    desk.no['"MIT"'] = Refusal("entry-refused", what="no", who="x", do="y")
    outcomes = await desk.say(licence(), licence("X", "pkg:pypi/a"))
    assert [one.outcome for one in outcomes] == ["refused", "added"]
    assert outcomes[0].error["code"] == "entry-refused"


async def test_once_there_is_no_room_the_rest_is_not_even_signed(desk, monkeypatch):
    monkeypatch.setattr(said, "TOGETHER", said.Limit(2, "a test's"))
    full = Refusal("busy", what="its author has used its entries", who="x", do="wait", retry_s=77)
    desk.no["pkg:pypi/full"] = full
    rows = [licence(subject="pkg:pypi/a"), licence(subject="pkg:pypi/b")]
    rows += [licence(subject=f"pkg:pypi/full{n}") for n in range(40)]
    outcomes = await desk.say(*rows)
    assert [one.outcome for one in outcomes] == ["added"] * 2 + ["refused"] * 40
    assert {(one.error["code"], one.error["retry_s"]) for one in outcomes[2:]} == {("busy", 77)}
    assert len(desk.sent) <= 1 + said.ON_THE_WAY.value  # those that were on their way when it was told


async def test_two_orders_for_one_fact_make_one_entry(desk):
    desk.hold = trio.Event()
    found = {}

    async def order(number, *facts):
        found[number] = await desk.words_of(*facts)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(order, number, licence(), licence(subject=f"pkg:pypi/only{number}"))
        await trio.testing.wait_all_tasks_blocked()
        assert len(desk.sent) == 1  # the others wait for it
        desk.hold.set()
    assert sorted(one[0] for one in found.values()) == ["added", "same", "same"]
    assert {one[1] for one in found.values()} == {"added"}
    assert len(desk.facts()) == 4


async def test_orders_for_other_facts_do_not_wait(desk):
    desk.hold = trio.Event()
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(desk.words_of, licence(subject=f"pkg:pypi/only{number}"))
        await trio.testing.wait_all_tasks_blocked()
        assert len(desk.sent) == 3
        desk.hold.set()


async def test_who_waits_for_another_order_holds_up_nobody_else(desk):
    desk.hold = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.words_of, licence())
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(desk.words_of, licence("X"), licence(subject="pkg:pypi/a"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(desk.words_of, licence(subject="pkg:pypi/b"))
        await trio.testing.wait_all_tasks_blocked()
        assert len(desk.sent) == 2  # the third went past the second, which waits for the first
        desk.hold.set()
    assert len(desk.facts()) == 4


async def test_who_gives_up_waiting_lets_nobody_past_the_one_it_waited_for(desk):
    desk.hold = trio.Event()
    found = []

    async def order():
        found.extend(await desk.words_of(licence()))

    async def impatient(scope):
        with scope:
            await order()

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        for one in (order, lambda: impatient(scope), order):
            nursery.start_soon(one)
            await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert (len(desk.sent), found) == (1, [])
        desk.hold.set()
    assert found == ["added", "same"]


async def given_up(desk, *facts):
    """An order whose client goes away while its entries wait with other nodes; they, and a node that begins again."""
    held = []

    async def submit(raws):
        held.extend(raws)
        client.cancel()
        await trio.sleep_forever()

    desk.saying = desk.born(submit)
    with trio.CancelScope() as client:
        await desk.say(*facts)
    desk.saying = desk.born(desk.submit)
    return held


async def test_what_went_out_before_a_crash_is_offered_again_and_never_said_twice(desk):
    held = await given_up(desk, advisory(), licence())
    assert await desk.words_of(advisory(), licence()) == ["same", "same"]
    assert len(desk.facts()) == 2
    assert {entries.parse(raw).id for raw in held} == {
        one.id for one in map(entries.parse, desk.world.leaves) if one.kind == "fact.add"
    }
    assert desk.underway_rows() == []


async def test_what_comes_into_the_log_by_itself_is_known_and_what_is_too_old_is_said_anew(desk):
    held = await given_up(desk, advisory(1), advisory(2))
    desk.world.block(held[0])
    desk.world.time += 10**9
    assert await desk.words_of(advisory(1), advisory(2)) == ["same", "added"]
    assert len(desk.facts()) == 2


async def test_what_is_remembered_of_what_went_out_has_a_bound_and_no_damage_ends_it(desk, monkeypatch):
    database, author = desk.world.database, desk.world.entry
    raws = [author(desk.me, "fact.add", {"kind": "licence", "subject": IDNA, "text": str(n), "valid_from": 0})
            for n in range(4)]  # fmt: skip
    names = [bytes([n]) * 16 for n in range(4)]
    monkeypatch.setattr(underway, "MAX_UNDERWAY", said.Limit(2, "a test's"))
    made = Underway(database, desk.world.archive.leaf_of)
    made.keep(Entry(name, name, raw) for name, raw in zip(names, raws, strict=True))
    assert [one.name for one in made.open(names, 0)] == names[2:]
    database.write(Batch().put(layout.SAID, b"underway/torn", b"\xc1"))
    again = Underway(database, desk.world.archive.leaf_of)
    assert [one.raw for one in again.open(names, 0)] == raws[2:]
    assert again.open(names, 10**15) == []
    assert [key for key, _ in desk.underway_rows()] == [b"underway/torn"]


async def test_while_an_earlier_word_may_still_come_nothing_else_is_said_of_it(desk):
    await given_up(desk, advisory())
    desk.no["CVE-1"] = Refusal("unavailable", what="nobody is there", who="x", do="y")
    (row, other) = await desk.say(advisory(1, "low"), advisory(2))
    assert (row.outcome, row.error["code"], other.outcome) == ("refused", "unavailable", "added")
    (whole,) = (await desk.saying.say(FactsOrder(whole=(WholeAdvisory("CVE-1"),)))).whole
    assert (whole.withdrawn, whole.error["code"]) == (0, "unavailable")
    desk.no.clear()
    assert await desk.words_of(advisory(1, "low")) == ["changed"]


async def test_all_that_stands_under_one_name_is_replaced_and_taken_back(desk):
    for kind, more in (("licence", {}), ("advisory", {"advisory": "CVE-1", "severity": "high"})):
        for number in range(3):
            desk.world.say(0, kind, IDNA, number, **more)
    desk.world.seal()
    assert await desk.words_of(licence("X")) == ["changed"]
    assert await desk.words_of(advisory(1, withdraw=True)) == ["withdrawn"]
    facts = [entries.parse(raw) for raw in desk.world.leaves if b'"fact.add"' in raw]
    ended = {one.body.get("supersedes") for one in facts}
    assert [one.body for one in facts if one.id.hex() not in ended and "withdrawn" not in one.body] == [
        one.body for one in facts if one.body.get("expression") == "X"
    ]
    assert await desk.words_of(licence("X"), advisory(1, withdraw=True)) == ["same", "same"]


async def test_what_stands_beside_the_same_words_is_taken_back(desk):
    desk.world.say(0, "licence", IDNA, 1)
    await desk.say(licence())  # replaces it
    body = {"kind": "licence", "subject": IDNA, "text": "", "valid_from": START, "expression": "MIT"}
    desk.world.block(desk.world.entry(desk.me, "fact.add", body))
    for dry_run, beside in ((True, 1), (False, 1), (True, 0)):  # who only asks is told that there is more
        told = await desk.saying.say(FactsOrder((licence(),), dry_run))
        assert ([one.outcome for one in told.outcomes], told.beside) == (["same"], beside)
    facts = [entries.parse(raw) for raw in desk.world.leaves if b'"fact.add"' in raw]
    ended = {one.body.get("supersedes") for one in facts}
    assert len([one for one in facts if one.id.hex() not in ended and "withdrawn" not in one.body]) == 1


def stand(desk, now=None, first=0):
    """What stands by the log alone, of what was said from a leaf on."""
    leaves = enumerate(desk.world.leaves[first:], first)
    parsed = [(leaf, entries.parse(raw)) for leaf, raw in leaves if b'"fact.add"' in raw]
    facts = [Said(leaf, 0, one.id.hex(), one.author, one.body) for leaf, one in parsed]
    return [one.body for one in standing.standing(facts, desk.world.time if now is None else now)]


async def test_what_is_only_announced_is_taken_back_with_what_it_was_to_replace(desk):
    await desk.say(advisory(1, "critical"))
    await desk.say(advisory(1, "low", valid_from=START + 10**9))
    assert [one["severity"] for one in stand(desk)] == ["critical"]
    assert await desk.words_of(advisory(1, withdraw=True), dry_run=True) == ["withdrawn"]
    assert await desk.words_of(advisory(1, withdraw=True)) == ["withdrawn"]
    assert stand(desk) == stand(desk, START + 10**10) == []
    assert await desk.words_of(advisory(1, withdraw=True)) == ["same"]


@pytest.mark.parametrize(("days", "seen"), [(1, ["critical"]), (9, ["critical", "low"])])
async def test_what_is_announced_comes_no_earlier_because_it_will_be_taken_back(desk, days, seen):
    announced, end = START + 5 * DAY, START + days * DAY
    await desk.say(advisory(1, "critical"))
    await desk.say(advisory(1, "low", valid_from=announced))
    assert await desk.words_of(advisory(1, withdraw=True, valid_from=end)) == ["withdrawn"]
    moments = (desk.world.time, min(announced, end) - 1, announced, end - 1, end)
    told = [[one["severity"] for one in stand(desk, at)] for at in moments]
    assert [one for one, _ in itertools.groupby(itertools.chain(*told))] == seen
    assert told[-1] == []


async def test_an_announcement_gives_way_to_the_same_words_again(desk):
    await desk.say(advisory(1, "critical"))
    await desk.say(advisory(1, "low", valid_from=START + 10**9))
    assert await desk.words_of(advisory(1, "critical")) == ["changed"]
    assert [one["severity"] for one in stand(desk, START + 10**10)] == ["critical"]
    assert await desk.words_of(advisory(1, withdraw=True)) == ["withdrawn"]
    assert stand(desk) == []


async def test_a_withdrawn_record_ends_all_that_was_said_of_it_whatever_its_dates(desk):
    def dated(days, severity="high", **more):
        fields = {"advisory": "CVE-1", "modified_ms": START - 10**10 + days * 86_400_000}
        return FactTold("advisory", IDNA, fields=fields if more else {**fields, "severity": severity}, **more)

    await desk.say(advisory(1, "critical"))  # by hand, now
    desk.world.time += 5_000
    await desk.say(dated(1))
    await desk.say(dated(2, "low"))
    assert await desk.words_of(dated(3, withdraw=True)) == ["withdrawn"]
    assert stand(desk) == []


async def test_an_order_that_is_given_up_lets_the_next_one_through(desk):
    desk.hold = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.say, licence())
        await until(lambda: desk.sent)
        nursery.cancel_scope.cancel()
    desk.hold = None
    assert await desk.words_of(licence()) == ["same"]  # what went out for the first is offered again
    assert len(desk.facts()) == 1


async def test_where_words_of_ours_may_be_missing_nothing_is_said(desk):
    desk.saying = Saying(
        told.Words(_Missing(desk.world.archive), desk.world.database, b32(desk.me.public)),
        author=None, submit=desk.submit, member=lambda: {"roles": ()}, holds=None,
        underway=Underway(desk.world.database, desk.world.archive.leaf_of),
    )  # fmt: skip
    with pytest.raises(Refusal, match="not here yet"):
        await desk.say(licence())
    assert desk.sent == []


class _Missing:
    """A log whose beginning is not here."""

    def __init__(self, archive):
        self.size = archive.size

    def entries(self, first, count):
        raise Refusal("not-found", what="not here yet", who="this node", do="ask later")


def test_enough_room_is_left_for_what_the_node_itself_must_say():
    assert MEMPOOL_AUTHOR_ENTRIES.value - said.TOGETHER.value * said.ON_THE_WAY.value >= 20


SUBJECTS = ("pkg:pypi/idna{}", "pkg:pypi/a{}@1")  # by where the log begins to speak of them
NAMES = st.tuples(st.sampled_from(("licence", "description")), st.sampled_from(SUBJECTS))
SOON, LATER = START + 5 * 10**8, START + 10**9
MOMENTS = (0, SOON, LATER)  # now, and when something may change by time alone
ORDERS = st.lists(
    st.lists(
        st.tuples(NAMES, st.integers(0, 2), st.sampled_from((0, START, SOON, LATER)), st.booleans()),
        max_size=4,
    ),
    max_size=6,
)
BLOCKS = 200  # of one log: its validators have links for some hundreds
IDNA_IS = ("description", SUBJECTS[0])
SAID, ANNOUNCED = (IDNA_IS, 0, 0, False), (IDNA_IS, 0, LATER, False)


class Dict:
    """What a member says, as a dict would hold it: of each name the latest text, and what stands at which moment.

    Attributes:
        holds: name -> (text, from when, whether it was said in the place of another).
        stands: name -> {moment: text}, of what it holds.
        over: (name, moment, text) of what stands until a withdrawal that is still to come.
        entries: in the log.
    """

    def __init__(self):
        self.holds, self.stands, self.over, self.entries = {}, {}, set(), 0

    def say(self, name, text, at, gone, now):
        """What becomes of it; the time `at` is 0 for now."""
        earlier, at = self.holds.get(name), at or now
        outcome = becomes(earlier, text, at, gone, now)
        if outcome == "same":
            return outcome
        line = self.stands.setdefault(name, {})
        line.update((moment, None if gone else text) for moment in MOMENTS if (moment or now) >= at)
        self.entries += 1
        if gone:
            # What waits to replace another must have replaced it: else that one would go on.
            self.entries += earlier[2] and earlier[1] > max(at, now)
            self.over |= {
                (name, moment, one) for moment, one in self.stands.pop(name).items() if one is not None
            }
            del self.holds[name]
        else:
            self.holds[name] = text, at, earlier is not None
        return outcome

    def standing(self):
        """Each (name, moment, text) once."""
        held = {(name, moment, text) for name, line in self.stands.items() for moment, text in line.items()}
        return self.over | {one for one in held if one[2] is not None}


@pytest.fixture
def roomy(tmp_path):
    """A desk, the same for many orders: to open its database costs 50 times what an order does."""
    desks = [Desk(tmp_path / "0")]

    def desk():
        if desks[-1].world.view > BLOCKS:
            desks[-1].world.close()
            desks.append(Desk(tmp_path / str(len(desks))))
        return desks[-1]

    yield desk
    desks[-1].world.close()


def becomes(earlier, text, at, gone, now):
    if earlier is None:
        return "same" if gone else "added"
    if gone:
        return "withdrawn"
    since = earlier[1] <= now if at == now else earlier[1] == at
    return "same" if since and earlier[0] == text else "changed"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ORDERS, st.integers(1, 5))
@example([[SAID], [ANNOUNCED], [(IDNA_IS, 0, 0, True)]], 1)
@example([[SAID], [ANNOUNCED], [(IDNA_IS, 0, SOON, True)]], 1)
@example([[SAID], [(IDNA_IS, 1, SOON, False)], [(IDNA_IS, 0, LATER, True)]], 1)
async def test_any_orders_leave_what_a_dict_would_hold_and_no_entry_without_a_change(roomy, orders, page):
    desk, model = roomy(), Dict()
    first = desk.world.archive.size  # its packages are named by it, so nobody spoke of them before
    before, told.PAGE = told.PAGE, told.Limit(page, "a test's")
    try:
        for order in filter(None, orders):
            now, named = desk.world.time, set()
            rows = [((kind, subject.format(first)), *words) for (kind, subject), *words in order]
            outcomes = await desk.words_of(
                *(FactTold(*name, f"word {text}", at, withdraw=gone) for name, text, at, gone in rows)
            )
            for (name, *words), outcome in zip(rows, outcomes, strict=True):
                assert outcome == ("refused" if name in named else model.say(name, *words, now))
                named.add(name)
            assert len(desk.facts(first)) == model.entries
        assert told_by(desk, first) == {name: text for name, (text, *_) in model.holds.items()}
        found = {
            ((body["kind"], body["subject"]), moment, int(body["text"].removeprefix("word ")))
            for moment in MOMENTS
            for body in stand(desk, moment or None, first)
        }
        assert found == model.standing()
    finally:
        told.PAGE = before


def told_by(desk, first):
    """What nothing ends of the facts from a leaf on, by the log alone: name -> text."""
    parsed = [entries.parse(raw) for raw in desk.world.leaves[first:]]
    facts = [(one.id.hex(), one.body) for one in parsed if one.kind == "fact.add"]
    ended = {body.get("supersedes") for _, body in facts}
    return {
        (body["kind"], body["subject"]): int(body["text"].removeprefix("word "))
        for name, body in facts
        if name not in ended and "withdrawn" not in body and body["text"].startswith("word ")
    }
