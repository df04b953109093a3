"""Ranges of numbers beside a plain set; ids that are forgotten; whom to follow and whom to ask."""

import itertools
import math
import random

from hypothesis import given
from hypothesis import strategies as st

from pyrsia.mesh.choosing import CHOSEN, EVERYBODY, chosen
from pyrsia.mesh.gaps import Ranges, within
from pyrsia.mesh.pulling import AGAIN_S, EVERY_MS, JITTER_MS, SETTLED_S, Pulls
from pyrsia.mesh.seen import Seen
from pyrsia.units import NodeId
from pyrsia.wire import gossip

NUMBERS = st.one_of(st.integers(0, 60), st.integers(0, 2**64 - 1), st.integers(2**64 - 30, 2**64 - 1))
SMALL = st.integers(0, 80)


def filled(numbers):
    ranges = Ranges()
    for number in numbers:
        ranges.add(number)
    return ranges


@given(st.lists(SMALL, max_size=60), SMALL)
def test_ranges_hold_what_a_set_holds(numbers, asked):
    ranges = filled(numbers)
    assert (asked in ranges) == (asked in set(numbers))
    assert [n for first, last in ranges.spans() for n in range(first, last + 1)] == sorted(set(numbers))
    assert ranges.top == max(numbers, default=-1)
    assert within(asked, ranges.spans()) == (asked in ranges)


@given(st.lists(NUMBERS, max_size=200), st.lists(NUMBERS, max_size=20))
def test_ranges_are_few_in_order_and_never_lose_a_number(numbers, others):
    ranges = filled(numbers)
    spans = ranges.spans()
    assert len(spans) <= gossip.MAX_ORIGIN_RANGES.value
    assert all(a[1] + 1 < b[0] for a, b in itertools.pairwise(spans))
    assert all(number in ranges for number in numbers)
    assert ranges.covers(filled(numbers[::2]).spans())
    apart = filled(others).spans()
    assert ranges.covers(apart) == all(
        any(a <= first and last <= b for a, b in spans) for first, last in apart
    )


@given(st.sets(NUMBERS, min_size=1, max_size=50), st.integers(1, 8))
def test_told_in_fewer_ranges_the_newest_gaps_stay_and_the_oldest_are_given_up(numbers, most):
    ranges = filled(numbers)
    few, whole = ranges.spans(most), ranges.spans()
    assert len(few) <= most
    assert few[-(most - 1) :] == whole[-(most - 1) :] or most == 1
    assert all(within(number, few) for number in numbers)
    assert (few[0][0], few[-1][1]) == (min(numbers), max(numbers))


def test_a_jump_to_the_largest_number_leaves_the_small_ones_as_they_are():
    ranges = filled([1, 2, 3, 2**64 - 1])
    assert ranges.spans() == ((1, 3), (2**64 - 1, 2**64 - 1))
    assert 4 not in ranges


def test_ids_are_forgotten_after_one_to_two_lives_and_when_too_many_come():
    seen = Seen(10.0, 4)
    seen.add(0.0, b"a")
    seen.add(11.0, b"b")
    assert seen.has(b"a")
    seen.add(22.0, b"c")
    assert (seen.has(b"a"), seen.has(b"b"), seen.has(b"c")) == (False, True, True)
    for number in range(1_000):
        seen.add(22.0, b"%d" % number)
        assert len(seen) <= 8
    assert seen.has(b"999")


def test_after_a_long_silence_nothing_old_is_left():
    seen = Seen(10.0, 100)
    seen.add(0.0, b"a")
    seen.add(1_000.0, b"b")
    assert not seen.has(b"a")
    assert seen.has(b"b")


NODES = [NodeId(number.to_bytes(32, "big")) for number in range(1, 200)]


def test_in_a_small_network_everybody_is_followed_and_in_a_large_one_validators_and_a_few():
    draw = random.Random(1)
    small = NODES[: EVERYBODY.value]
    assert chosen(small, NODES[:4], (), draw) == set(small)
    large = chosen(NODES, [*NODES[:4], NodeId(b"x" * 32)], small, draw)
    assert len(large) == 4 + CHOSEN.value
    assert large >= set(NODES[:4])


def test_who_is_followed_stays_followed_while_he_is_linked():
    draw = random.Random(2)
    first = chosen(NODES, NODES[:4], (), draw)
    assert chosen(NODES, NODES[:4], first, draw) == first
    gone = sorted(first)[-1]
    after = chosen([node for node in NODES if node != gone], NODES[:4], first, draw)
    assert gone not in after
    assert len(first & after) == len(first) - 1
    assert len(after) == len(first)


def test_a_new_link_is_asked_at_once_and_again_when_its_subscription_has_arrived():
    pulls = Pulls(0.0, random.Random(3))
    assert pulls.wake_at == math.inf
    pulls.on_linked(1.0, NODES[0])
    assert pulls.wake_at <= 1.0
    assert pulls.due(1.0) == [NODES[0]]
    pulls.on_followed(1.5, NODES[0])
    assert pulls.due(1.6) == []
    assert pulls.due(1.5 + SETTLED_S) == [NODES[0]]
    pulls.on_full(3.0, NODES[0])
    assert pulls.due(3.0 + AGAIN_S) == [NODES[0]]


def test_then_somebody_is_asked_every_five_to_ten_seconds():
    pulls = Pulls(0.0, random.Random(4))
    for node in NODES[:5]:
        pulls.on_linked(0.0, node)
    asked, now = [], 0.0
    pulls.due(now)
    while now < 1_000:
        now = pulls.wake_at
        asked.append((now, pulls.due(now)))
    gaps = [b[0] - a[0] for a, b in itertools.pairwise(asked)]
    assert all(EVERY_MS.value <= gap * 1000 <= EVERY_MS.value + JITTER_MS.value for gap in gaps)
    assert {node for _, nodes in asked for node in nodes} == set(NODES[:5])


def test_who_claims_in_vain_to_have_more_is_asked_no_more_often_than_others():
    pulls = Pulls(0.0, random.Random(5))
    pulls.on_linked(0.0, NODES[0])
    asked = 0
    for tenth in range(600):
        now = tenth / 10
        pulls.on_ahead(now, NODES[0])
        asked += len(pulls.due(now))
    assert asked <= 1 + 60 / (EVERY_MS.value / 1000) + 60 / (EVERY_MS.value / 1000)


def test_who_is_gone_is_not_asked_whatever_was_planned():
    pulls = Pulls(0.0, random.Random(6))
    pulls.on_linked(0.0, NODES[0])
    pulls.on_gone(NODES[0])
    for plan in (pulls.on_followed, pulls.on_full, pulls.on_ahead):
        plan(0.0, NODES[0])
    assert pulls.due(100.0) == []
    assert pulls.wake_at == math.inf
