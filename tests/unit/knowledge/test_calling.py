"""Telling a server of facts: against a log of random leaves, a receiver that fails as it likes, and crashes."""

import hashlib
import hmac
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.knowledge import calling
from pyrsia.knowledge.calling import (
    CLOCK_SLACK_MS,
    LONGEST_REST_S,
    MAX_CALL_BYTES,
    UNKEPT,
    Answer,
    Caller,
    Keep,
    Listen,
    Page,
    Place,
    Read,
    Rest,
    Send,
    Target,
    Told,
    signature,
)
from pyrsia.ledger.matching import PurlGlob
from pyrsia.units import MAX_CALL_FACTS

URL = "https://hooks.example/facts"
ANY = Target(URL, frozenset())


def told(leaf, kind="advisory", subject="pkg:pypi/idna", time_ms=1_000_000, size=10, **body):
    raw = json.dumps({"leaf": leaf, "pad": "x" * size}).encode()
    return Told(leaf, time_ms, kind, subject, body, raw)


def page(*facts, following=None, **more):
    return Page(
        facts, following if following is not None else facts[-1].leaf + 1, more.pop("more", False), **more
    )


class World:
    """A log, a receiver and a disk; time is what rests add up to.

    Attributes:
        leaves: kind of fact by leaf, "" for what is none. script: how each call goes; all that follow are taken.
        got: leaves of every call that was taken; ids: (id, leaves) of every call.
    """

    def __init__(self, leaves, script, target, page_leaves):
        self.leaves, self.script, self.target, self.page_leaves = leaves, list(script), target, page_leaves
        self.disk, self.got, self.ids, self.rested = Place(0), [], [], []
        self.before = self.disk
        self.begin()

    def begin(self):
        """A start of the node: from what is on disk."""
        self.caller = Caller(self.target, "net", self.disk)
        self.effects = self.caller.on_start()

    def page(self, first):
        end = min(len(self.leaves), first + self.page_leaves)
        facts = [told(at, kind=self.leaves[at]) for at in range(first, end) if self.leaves[at]]
        return Page(facts[: MAX_CALL_FACTS.value], end, end < len(self.leaves))

    def step(self):
        """Do what is next; False once it waits for the log."""
        *kept, following = self.effects
        for one in kept:
            self.before, self.disk = self.disk, one.place
        match following:
            case Read(first):
                self.effects = self.caller.on_page(self.page(first))
            case Send(call):
                self.send(call)
            case Rest(seconds):
                self.rested.append(seconds)
                self.effects = self.caller.on_rested()
            case Listen():
                return False
        return True

    def send(self, call):
        self.ids.append((call.id, call.leaves))
        assert [one["leaf"] for one in json.loads(call.body)["facts"]] == list(call.leaves)
        how = self.script.pop(0) if self.script else 200
        if how in (200, "crash after", "power"):
            self.got.append(call.leaves)
        if how == "power":  # what was written last is lost too
            self.disk = self.before
        if how in ("crash before", "crash after", "power"):
            self.begin()
        else:
            self.effects = self.caller.on_answer(5, Answer(how), 0.5)


KINDS = st.sampled_from(("", "", "advisory", "licence"))
HOWS = st.sampled_from((200, 200, 500, 503, 302, 404, 0, "crash before", "crash after", "power"))


@settings(max_examples=300, deadline=None)
@given(
    leaves=st.lists(KINDS, max_size=60),
    later=st.lists(KINDS, max_size=20),
    script=st.lists(HOWS, max_size=25),
    page_leaves=st.integers(1, 30),
    kinds=st.sampled_from((frozenset(), frozenset({"advisory"}))),
)
def test_every_fact_comes_at_least_once_in_order_whatever_fails(leaves, later, script, page_leaves, kinds):
    world = World(list(leaves), script, Target(URL, kinds), page_leaves)
    for more in ((), later):
        world.leaves += more
        if more:
            world.effects = world.caller.on_rested()
        for _ in range(20 * (len(world.leaves) + len(script) + 5)):
            if not world.step():
                break
        else:
            raise AssertionError("it never waits for the log")

    wanted = [at for at, kind in enumerate(world.leaves) if kind and (not kinds or kind in kinds)]
    firsts = list(dict.fromkeys(leaf for call in world.got for leaf in call))
    assert firsts == wanted  # none lost, none before one that the log has before it
    for call in world.got:
        assert list(call) == sorted(call)
    by_id = {}
    for name, about in world.ids:
        assert by_id.setdefault(name, about) == about
    once = {}  # whoever drops the ids that it has, has each fact once
    for call in world.got:
        once.setdefault(call, True)
    if "power" not in script:
        assert sorted(leaf for call in once for leaf in call) == wanted
    assert all(0 < seconds <= LONGEST_REST_S.value for seconds in world.rested)


@given(failures=st.integers(1, 60), chance=st.floats(0, 1), asked=st.floats(0, 1e9))
def test_rests_double_up_to_an_hour_and_are_never_shorter_than_asked_for(failures, chance, asked):
    caller = Caller(ANY, "net", Place(0))
    (sent,) = caller.on_page(page(told(0)))[1:]
    for _ in range(failures - 1):
        caller.on_answer(1, Answer(503), 0.0)
        assert caller.on_rested() == (sent,)
    *_, rest = caller.on_answer(9, Answer(503, rest_s=asked), chance)

    own = min(2.0 ** (failures - 1), 3_600)
    assert own / 2 <= max(rest.seconds, own / 2)
    assert rest.seconds <= 3_600
    assert rest.seconds >= min(asked, 3_600)
    if asked <= own / 2:
        assert rest.seconds == own * (0.5 + chance / 2)
    assert (caller.failures, caller.since_ms, caller.trouble) == (failures, 1 if failures > 1 else 9, "503")


def test_while_one_call_is_not_taken_no_other_is_made_and_its_place_stays():
    caller = Caller(ANY, "net", Place(0))
    keep, sent = caller.on_page(page(told(3), following=9))
    assert keep == Keep(Place(0, 9))
    assert isinstance(sent, Send)
    for kept in ([Keep(Place(0, 9, failing_ms=7))], [], [], [], []):
        *keeps, rest = caller.on_answer(7, Answer(500), 1.0)
        assert keeps == kept  # since when is written down once
        assert isinstance(rest, Rest)
        assert caller.on_rested() == (sent,)
    assert caller.place.at == 0
    assert caller.state == "failing"

    assert caller.on_answer(8, Answer(204), 1.0) == (Keep(Place(9)), Read(9))
    assert (caller.state, caller.failures, caller.since_ms, caller.delivered) == ("told", 0, 0, 1)


def test_since_when_it_fails_outlives_the_node_and_ends_with_the_first_answer_that_is_good():
    before = Caller(ANY, "net", Place(0))
    before.on_page(page(told(1)))
    before.on_answer(7, Answer(503), 0.5)
    kept = before.place
    assert kept.failing_ms == 7

    after = Caller(ANY, "net", kept)
    (sent,) = after.on_page(page(told(1)))
    assert isinstance(sent, Send)
    assert (after.since_ms, after.failures, after.state) == (7, 0, "sending")
    (rest,) = after.on_answer(90_000, Answer(503), 0.5)
    assert isinstance(rest, Rest)
    assert (after.since_ms, after.failures, after.state) == (7, 1, "failing")
    assert after.on_rested() == (sent,)
    assert after.on_answer(90_001, Answer(200), 0.5)[0] == Keep(Place(2))
    assert after.since_ms == 0


def test_where_nothing_of_the_call_that_failed_is_wanted_any_more_it_fails_no_longer():
    kept = Place(0, 2, failing_ms=7)
    caller = Caller(Target(URL, frozenset({"licence"})), "net", kept)
    keep, _ = caller.on_page(page(told(1), following=9))
    assert keep == Keep(Place(2))
    assert caller.since_ms == 0


def test_a_fault_of_ours_that_is_over_does_not_count_as_the_receivers():
    caller = Caller(ANY, "net", Place(0))
    caller.on_fault(7, 0.5)
    assert caller.since_ms == 7
    assert caller.on_page(page(told(1)))[0] == Keep(Place(0, 2))
    caller.on_answer(50, Answer(503), 0.5)
    assert caller.since_ms == 50


def test_after_a_crash_the_same_call_is_made_again_though_the_log_has_more():
    before = Caller(ANY, "net", Place(0))
    keep, sent = before.on_page(page(told(1), told(2)))
    after = Caller(ANY, "net", keep.place)
    assert after.on_page(page(told(1), told(2), told(3))) == (sent,)
    assert after.on_answer(1, Answer(200), 0.0)[-1] == Read(3)
    elsewhere = Caller(Target(URL + "/other", frozenset()), "net", Place(0))
    assert elsewhere.on_page(page(told(1), told(2)))[-1].call.id != sent.call.id


def test_who_is_gone_is_called_no_more():
    caller = Caller(ANY, "net", Place(0))
    caller.on_page(page(told(1)))
    assert caller.on_answer(1, Answer(410), 0.0) == ()
    assert caller.stopped
    assert caller.state == "stopped"
    assert caller.place.at == 0


def test_a_call_holds_no_more_than_its_bounds_and_always_one():
    many = [told(at) for at in range(MAX_CALL_FACTS.value + 20)]
    sent = Caller(ANY, "net", Place(0)).on_page(page(*many, following=500))[-1]
    assert sent.call.leaves == tuple(range(MAX_CALL_FACTS.value))
    assert sent.call.until == MAX_CALL_FACTS.value

    large = [told(at, size=MAX_CALL_BYTES.value // 3) for at in range(5)]
    sent = Caller(ANY, "net", Place(0)).on_page(page(*large))[-1]
    assert sent.call.leaves == (0, 1)
    huge = told(4, size=2 * MAX_CALL_BYTES.value)
    assert Caller(ANY, "net", Place(0)).on_page(page(huge))[-1].call.leaves == (4,)
    assert json.loads(sent.call.body)["network"] == "net"
    assert json.loads(sent.call.body)["next"] == 2


def test_what_is_missing_here_is_waited_for_and_nothing_behind_it_told():
    caller = Caller(ANY, "net", Place(5))
    (rest,) = caller.on_page(page(told(40), whole=False))
    assert isinstance(rest, Rest)
    assert caller.state == "waiting"
    assert "leaf 5" in caller.trouble
    assert caller.on_rested() == (Read(5),)
    assert caller.on_page(page(told(6)))[-1].call.leaves == (6,)


def test_leaves_that_nobody_wants_are_written_down_now_and_then():
    caller = Caller(Target(URL), "net", Place(0))
    assert caller.on_page(page(following=UNKEPT.value - 1)) == (Listen(),)
    at = UNKEPT.value + 1
    assert caller.on_page(page(following=at, more=True)) == (Keep(Place(at)), Read(at))
    assert caller.on_page(page(following=7)) == (Listen(),)  # a log that is shorter than its place
    assert caller.place.at == at


def test_a_new_one_hears_nothing_of_what_was_said_before_it_came():
    now = 10 * CLOCK_SLACK_MS.value
    caller = Caller(ANY, "net", Place(0, from_ms=now))
    old, late = told(1, time_ms=now - CLOCK_SLACK_MS.value - 1), told(2, time_ms=now - CLOCK_SLACK_MS.value)
    assert caller.on_page(page(old, late))[-1].call.leaves == (2,)


def test_what_is_wanted_is_told_by_kind_package_and_severity():
    def leaves(target, *facts):
        (*_, then) = Caller(target, "net", Place(0)).on_page(page(*facts))
        return then.call.leaves if isinstance(then, Send) else ()

    globs = (PurlGlob.parse("pkg:pypi/*"), PurlGlob.parse("pkg:maven/org.example/*"))
    facts = (
        told(0, severity="low"), told(1, severity="high"), told(2, severity="unknown"),
        told(3, severity="low", cvss="CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"),
        told(4, "licence", severity="low"), told(5, subject="pkg:maven/org.example/lib@1", severity="critical"),
        told(6, subject="sha256:" + "0" * 64, severity="critical"), told(7, subject="pkg:conan/zlib"),
    )  # fmt: skip
    assert leaves(ANY, *facts) == tuple(range(8))
    assert leaves(Target(URL), *facts) == (0, 1, 2, 3, 5, 6, 7)
    assert leaves(Target(URL, severity="high"), *facts) == (1, 2, 3, 5, 6, 7)
    assert leaves(Target(URL, packages=globs, severity="critical"), *facts) == (2, 3, 5)
    assert leaves(Target(URL, frozenset({"review"})), *facts) == ()


def test_the_signature_is_hmac_sha256_of_the_body():
    assert signature(b"key", b"body") == "sha256=" + hmac.digest(b"key", b"body", hashlib.sha256).hex()
    assert signature(b"other", b"body") != signature(b"key", b"body") != signature(b"key", b"bodY")


def test_an_answer_to_nothing_goes_on_reading():
    assert Caller(ANY, "net", Place(3)).on_answer(1, Answer(200), 0.0) == (Read(3),)
    assert calling.GONE == 410


def test_after_a_fault_of_ours_what_was_to_be_done_is_done_again():
    caller = Caller(ANY, "net", Place(3))
    for failures in (1, 2):
        *_, rest = caller.on_fault(7, 1.0)
        assert (rest, caller.failures, caller.since_ms, caller.state) == (
            Rest(float(failures)), failures, 7, "failing",
        )  # fmt: skip
        assert caller.on_rested() == (Read(3),)
    assert caller.on_page(Page((), 5, False)) == (Keep(Place(5)), Listen())
    assert (caller.failures, caller.trouble, caller.state) == (0, "", "told")
