"""Membership among guests that come and go: whatever happens in whatever order, the forgotten leave nothing behind.

A node dies of an exception in its membership, and strangers choose when they come, what they say and when they go.
"""

import math
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pyrsia.mesh import beliefs, probing, swim
from pyrsia.mesh.liveness import State
from pyrsia.mesh.membership import Blame, Send, World
from pyrsia.mesh.swim import Swim
from pyrsia.wire.membership import (
    FIRST,
    LAST,
    Ack,
    Ask,
    Nack,
    Ping,
    Relayed,
    Row,
    Statement,
    Sync,
    Tell,
    Vitals,
    Word,
)
from tests.sim.mesh.swimmers import NET, node_id, said, sign, verify

ME = node_id(0)
CROWD = [node_id(number) for number in range(1, 9)]
VITALS = Vitals(1, 0, "1")

nodes = st.sampled_from(CROWD)
incarnations = st.integers(0, 3)
back = st.integers(0, 6)  # so many numbers before the last one: an answer to a ping that may be under way


@st.composite
def statements(draw):
    word, node = draw(st.sampled_from(Word)), draw(st.sampled_from([ME, *CROWD]))
    author = draw(nodes.filter(lambda one: one != node)) if word is Word.SUSPECT else node
    if author == ME or draw(st.integers(0, 9)) == 0:
        return Statement(word, node, draw(incarnations), author, bytes(64))
    return said(word, node, draw(incarnations), author)


told = st.lists(statements(), max_size=3).map(tuple)


class ComeAndGo(RuleBasedStateMachine):
    """One node, and a crowd that does as it likes."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.linked, self.unreachable, self.heard = set(), set(), {}
        world = World(
            sign=lambda data: sign(ME, data),
            verify=verify,
            reach=lambda node: node not in self.unreachable,
            listen=lambda node: self.heard.get(node, -math.inf),
            ignored=lambda now, node: False,
            vitals=lambda: VITALS,
            member=lambda node: node in CROWD[:3],
        )
        self.core = Swim(ME, NET, world, Random(7), now=0.0, incarnation=1)
        self.last_seq = 0

    def note(self, effects):
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, Ping):
                self.last_seq = effect.message.seq

    def says(self, node, message):
        self.note(self.core.on_message(self.now, node, message))

    @rule(some=st.lists(nodes, max_size=4))
    def known(self, some):
        self.note(self.core.on_known(self.now, some))

    @rule(some=st.lists(nodes, max_size=4))
    def forgotten(self, some):
        self.note(self.core.on_forgotten(some))

    @rule(node=nodes, up=st.booleans())
    def link(self, node, up):
        self.note(self.core.on_linked(self.now, node, up))

    @rule(node=nodes)
    def comes_and_goes(self, node):
        """What a guest does that looks in for a moment: its probe is under way when it is forgotten."""
        self.note(self.core.on_known(self.now, [node]))
        self.note(self.core.on_linked(self.now, node, True))
        self.note(self.core.on_linked(self.now, node, False))
        self.timers(2)
        self.note(self.core.on_forgotten([node]))

    @rule(node=nodes, can=st.booleans())
    def reach(self, node, can):
        (self.unreachable.discard if can else self.unreachable.add)(node)

    @rule(node=nodes)
    def sound(self, node):
        self.heard[node] = self.now

    @rule(node=nodes, seq=st.integers(0, 9), told=told)
    def pings(self, node, seq, told):
        self.says(node, Ping(seq, told))

    @rule(node=nodes, seq=back, told=told)
    def answers(self, node, seq, told):
        self.says(node, Ack((self.last_seq - seq) & 0xFFFFFFFF, VITALS, told))

    @rule(node=nodes, whom=st.sampled_from([ME, *CROWD]), told=told)
    def asks(self, node, whom, told):
        self.says(node, Ask(5, whom, told))

    @rule(node=nodes, seq=back, able=st.sampled_from([None, True, False]))
    def helps(self, node, seq, able):
        number = (self.last_seq - seq) & 0xFFFFFFFF
        self.says(node, Relayed(number) if able is None else Nack(number, able))

    @rule(node=nodes, told=told)
    def tells(self, node, told):
        self.says(node, Tell(told))

    @rule(node=nodes, rows=st.lists(st.tuples(nodes, incarnations, st.sampled_from([Word.ALIVE, Word.LEFT]))))
    def compares(self, node, rows):
        listed = {one: Row(one, number, word) for one, number, word in rows}
        self.says(node, Sync(FIRST, LAST, tuple(listed[one] for one in sorted(listed))))

    @rule(count=st.integers(1, 12))
    def timers(self, count):
        for _ in range(count):
            self.now = max(self.now, self.core.wake_at)
            self.note(self.core.on_timer(self.now))

    @rule(late_s=st.floats(0.0, 90.0))
    def late(self, late_s):
        self.now = max(self.now, self.core.wake_at) + late_s
        self.note(self.core.on_timer(self.now))

    @rule(lag_s=st.floats(-1.0, 30.0))
    def lags(self, lag_s):
        self.core.on_lag(lag_s)

    @invariant()
    def the_forgotten_leave_nothing_behind(self):
        held, prober = self.core.beliefs, self.core._prober
        tracked = held._said.keys()
        for table in (held._silent, held._suspects, held._gone, held._heard, held._renewed):
            assert table.keys() <= tracked
        assert prober.contacts.keys() <= tracked
        assert prober._doubts.keys() <= tracked
        assert set(prober._first) <= tracked
        for probe in prober._probes.values():
            assert {probe.target, *probe.helpers} <= tracked
            assert probe.able >= 0
        for relay in prober._relays.values():
            assert {relay.asker, relay.target} <= tracked
        assert self.core._ledger._ids == sorted({ME, *tracked})
        told_on = {node for node, _ in self.core._hearsay.rumours._waiting}
        assert told_on <= {ME, *tracked}

    @invariant()
    def nothing_grows(self):
        held, prober = self.core.beliefs, self.core._prober
        assert len(held._deadlines) <= beliefs.SLACK.value + beliefs.AUTHORS * len(CROWD)
        assert len(prober._probes) <= 64
        assert len(prober._relays) <= probing.MAX_RELAYS.value
        assert len(prober._round) <= 2 * len(CROWD) + 1

    @invariant()
    def counts_and_waits_make_sense(self):
        held = self.core.beliefs
        assert 0 <= held.present <= len(held)
        assert all(0 < held.wait_s(authors) < math.inf for authors in range(1, beliefs.AUTHORS + 2))
        assert self.core.wake_at < math.inf


TestComeAndGo = ComeAndGo.TestCase
TestComeAndGo.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def alone():
    crowd = ComeAndGo()
    crowd.timers(1)
    return crowd


def test_guests_whose_probes_are_under_way_when_they_go_are_no_ghosts():
    """As it was found: each such guest made the network smaller by one, and at -2 its logarithm has no value."""
    crowd = alone()
    for number in range(100, 140):
        guest = node_id(number)
        crowd.note(crowd.core.on_known(crowd.now, [guest]))
        crowd.note(crowd.core.on_linked(crowd.now, guest, True))
        crowd.timers(1)
        crowd.note(crowd.core.on_linked(crowd.now, guest, False))
        crowd.timers(2)
        crowd.note(crowd.core.on_forgotten([guest]))
        crowd.timers(30)
        crowd.the_forgotten_leave_nothing_behind()
    assert crowd.core.beliefs.present == 0
    assert crowd.core.beliefs.gone() == []


def test_what_is_said_of_who_is_not_tracked_changes_nothing():
    held = alone().core.beliefs
    ann, bob = CROWD[:2]
    for one in (said(Word.SUSPECT, ann, 0, bob), said(Word.ALIVE, ann, 2), said(Word.LEFT, ann, 2)):
        assert not held.matters(1.0, one)
        held.take(1.0, one)
    held.heard(1.0, ann)
    held.bury(1.0, ann)
    held.settle(1e9)
    assert held.state(ann) is State.UNKNOWN
    assert (held.changed, held.gone(), held.present, held.last_heard_s) == ([], [], 0, -math.inf)


def test_deadlines_of_the_forgotten_are_swept_away():
    held = alone().core.beliefs
    ann, bob = CROWD[:2]
    held.track(0.0, bob)
    for _ in range(20):
        held.take(0.0, said(Word.SUSPECT, bob, 0, ann))
    for _ in range(2 * beliefs.SLACK.value):
        held.track(0.0, ann)
        held.take(0.0, said(Word.SUSPECT, ann, 0, bob))
        held.forget(ann)
    assert len(held._deadlines) <= beliefs.SLACK.value + 2 * beliefs.AUTHORS
    held.settle(1e9)
    assert held.state(bob) is State.DEAD


def test_a_helper_that_is_forgotten_owes_no_answer_and_who_asked_us_hears_that_we_have_no_way():
    crowd = alone()
    core = crowd.core
    crowd.note(core.on_known(crowd.now, CROWD))  # so many that somebody is left when helpers are gone
    ann, bob = CROWD[:2]
    crowd.says(ann, Ping(1, ()))
    crowd.says(ann, Ask(77, bob, ()))
    effects = core.on_forgotten([bob])
    assert Send(ann, Nack(77, False)) in effects
    assert core._prober._relays == {}
    while not any(probe.helpers for probe in core._prober._probes.values()):
        for node in CROWD:
            if node in core.beliefs and core.state(node) is not State.ALIVE:
                crowd.says(node, Ping(1, ()))
        crowd.timers(1)
    (probe,) = [one for one in core._prober._probes.values() if one.helpers]
    before = core.health.score
    core.on_forgotten(list(probe.helpers))
    assert (probe.helpers, probe.able) == (set(), 0)
    crowd.timers(2)
    assert core.health.score == before


# -- what strangers say of us --


def told_it_is_suspected(by, *, sender, seconds=120):
    """A node with three members and five guests that answer its pings, told once a second that `by(n)` suspects it.

    The node, what it sent without being asked, and whom it blamed.
    """
    crowd = ComeAndGo()
    core = crowd.core
    aloud, blamed, now = [], [], 0.0

    def note(effects):
        for effect in effects:
            if isinstance(effect, Blame):
                blamed.append(effect.node)
            elif isinstance(effect, Send) and isinstance(effect.message, Ping):
                note(core.on_message(now, effect.node, Ack(effect.message.seq, VITALS, ())))
            elif isinstance(effect, Send) and isinstance(effect.message, Tell):
                aloud.append(effect.node)

    note(core.on_known(0.0, CROWD))
    for second in range(1, seconds + 1):
        while core.wake_at <= second:
            now = core.wake_at
            note(core.on_timer(now))
        now = float(second)
        author = by(second)
        if author is not None:
            note(core.on_message(now, sender, Tell((said(Word.SUSPECT, ME, core.own.incarnation, author),))))
    return core, aloud, blamed


GUEST, MEMBER = CROWD[5], CROWD[1]  # the first three are members


@pytest.mark.parametrize(
    "by",
    [lambda number: node_id(1_000 + number), lambda _: GUEST, lambda number: CROWD[3 + number % 5]],
    ids=["new ids", "itself", "guests that are tracked"],
)
def test_a_strangers_suspicion_of_us_tells_us_nothing_and_nobody_else(by):
    """As it was found: one guest held the patience of a node at nine times its length, and had it call out for ever."""
    core, aloud, blamed = told_it_is_suspected(by, sender=GUEST)
    assert (core.health.score, core.own.incarnation, aloud, blamed) == (0, 1, [], [])


def test_a_member_that_believes_a_stranger_is_answered_and_nobody_else():
    core, aloud, blamed = told_it_is_suspected(lambda number: node_id(1_000 + number), sender=MEMBER)
    assert core.own.incarnation > 100
    assert set(aloud) == {MEMBER}
    assert (core.health.score, blamed) == (0, [])


def test_a_members_suspicion_counts_whoever_brings_it_and_costs_it_when_it_stood_alone():
    core, aloud, blamed = told_it_is_suspected(
        lambda number: MEMBER if number == 1 else None, sender=GUEST, seconds=1
    )
    assert (core.health.score, core.own.incarnation, blamed) == (1, 2, [MEMBER])
    assert len(set(aloud)) >= 2  # as many as it knows alive


def test_old_suspicions_of_us_are_answered_once_a_message():
    core = ComeAndGo().core
    core.on_known(0.0, CROWD)
    core.on_message(1.0, MEMBER, Tell((said(Word.SUSPECT, ME, 1, MEMBER),)))
    old = tuple(said(Word.SUSPECT, ME, 1, node_id(number)) for number in range(100, 130))
    answers = core.on_message(9.0, GUEST, Tell(old))
    assert answers.count(Send(GUEST, Tell((core.own,)))) == 1


# -- links that break all the time --


def found_dead_after(breaks, *, breaking_s=1.0, link=False):
    """How long a member that falls silent is alive for us, while somebody's link comes and breaks every so often."""
    crowd = ComeAndGo()
    core = crowd.core
    now, silent, dead_s = 0.0, CROWD[0], 60.0

    def note(effects):
        for effect in effects:
            if not isinstance(effect, Send) or (effect.node == silent and now >= dead_s):
                continue
            if isinstance(effect.message, Ping):
                note(core.on_message(now, effect.node, Ack(effect.message.seq, VITALS, ())))
            elif isinstance(effect.message, Ask):
                note(core.on_message(now, effect.node, Nack(effect.message.seq, True)))

    note(core.on_known(0.0, CROWD))
    for node in CROWD:
        note(core.on_linked(0.0, node, True))
    number, stay = 0, []
    while now < 400.0:
        at = number * breaking_s
        while core.wake_at <= at:
            now = core.wake_at
            note(core.on_timer(now))
            if core.state(silent) is State.DEAD:
                return now - dead_s
        now = at
        if link and at >= dead_s:
            note(core.on_linked(now, silent, False))
            link = False
        node = breaks(number)
        if node is not None:
            note(core.on_known(now, [node]))
            note(core.on_linked(now, node, True))
            note(core.on_linked(now, node, False))
            if node not in CROWD:
                stay.append(node)
            if len(stay) > 2:
                note(core.on_forgotten([stay.pop(0)]))
        number += 1
    return math.inf


@pytest.mark.parametrize(
    ("breaks", "breaking_s"),
    [
        (lambda _: GUEST, 1.0),
        (lambda number: CROWD[3 + number % 5], 0.1),
        (lambda _: MEMBER, 0.5),
        (lambda number: CROWD[1 + number % 2], 0.5),
        (lambda number: node_id(1_000 + number), 0.5),
        (lambda number: node_id(1_000 + number), 0.1),
    ],
    ids=["a guest", "five guests", "a member", "two members", "new ids", "many new ids"],
)
def test_who_loses_its_link_all_the_time_takes_nobodys_turn(breaks, breaking_s):
    """As it was found: a guest that came back once a second took every probe, and a dead member was alive for ever."""
    alone_s = found_dead_after(lambda _: None)
    assert found_dead_after(breaks, breaking_s=breaking_s) < 2 * alone_s


def test_a_members_broken_link_is_looked_at_before_all_guests():
    alone_s = found_dead_after(lambda _: None, link=True)
    among_s = found_dead_after(lambda number: CROWD[3 + number % 5], breaking_s=0.05, link=True)
    assert among_s < alone_s + 5


def test_nodes_whose_links_broke_stand_in_line_once_and_leave_it_when_they_are_forgotten():
    core = ComeAndGo().core
    core.on_known(0.0, CROWD)
    for _ in range(3):
        for node in CROWD:
            core.on_linked(1.0, node, False)
    prober = core._prober
    assert (list(prober._first), list(prober._restless)) == (CROWD[:3], CROWD[3:])
    core.on_forgotten(CROWD)
    assert not any((prober._first, prober._restless, prober._jumped))


# -- comparisons --


def pages(effects):
    return [
        (effect.node, effect.message.after)
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, Sync)
    ]


def many_known():
    core = ComeAndGo().core
    core.on_known(0.0, [*CROWD, *(node_id(number) for number in range(100, 1_500))])
    return core


def test_a_guests_new_link_neither_takes_a_members_comparison_nor_ends_one():
    core = many_known()
    assert pages(core.on_linked(1.0, GUEST, True)) == [(GUEST, FIRST)]
    (first,) = pages(core.on_linked(1.1, MEMBER, True))
    assert first == (MEMBER, FIRST)
    assert pages(core.on_linked(2.5, GUEST, True)) == []
    ((node, after),) = pages(core.on_message(2.6, MEMBER, Tell(())))
    assert node == MEMBER
    assert after > FIRST
    assert pages(core.on_linked(2.6 + swim.PAGE_S + 0.1, GUEST, True)) == [(GUEST, FIRST)]  # it said no more


def test_a_comparison_only_goes_forwards_so_it_ends():
    """As it was found: who answered each page with "again from the start" had the page again, some times its size."""
    core = many_known()
    (asked,) = pages(core.on_linked(1.0, GUEST, True))
    seen = [asked[1]]
    for _ in range(40):
        for _, after in pages(core.on_message(2.0, GUEST, Tell((), (), FIRST))):
            assert after > seen[-1]
            seen.append(after)
    assert 1 < len(seen) < 30
    assert core._page is None
