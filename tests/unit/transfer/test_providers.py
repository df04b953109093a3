"""Providers: records run out, tables are bounded whoever tells, and whom to ask first is a matter of order."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.transfer import providers
from pyrsia.transfer.providers import (
    AGAIN_S,
    BLOB_RECORDS,
    MAX_RECORDS,
    MAX_TOLD,
    NODE_RECORDS,
    TTL_S,
    Announcer,
    Misses,
    Tracker,
    ranked,
)
from pyrsia.units import NodeId


def node(at: int) -> NodeId:
    return NodeId(b"n" + at.to_bytes(31, "big"))


def blob(at: int) -> bytes:
    return b"b" + at.to_bytes(31, "big")


def test_a_record_stands_until_it_runs_out_or_is_taken_back() -> None:
    tracker = Tracker()
    tracker.on_provide(0.0, node(1), blob(1), 900)
    tracker.on_provide(1.0, node(2), blob(1), 60)
    tracker.on_provide(2.0, node(3), blob(1), 1e9)  # longer than anybody may claim
    assert tracker.of(3.0, blob(1)) == (node(3), node(2), node(1))
    assert tracker.of(100.0, blob(1)) == (node(3), node(1))
    tracker.on_provide(100.0, node(1), blob(1), 0)
    assert tracker.of(100.0, blob(1)) == (node(3),)
    assert tracker.of(2.0 + TTL_S, blob(1)) == ()
    tracker.sweep(2.0 + TTL_S)
    assert len(tracker) == 0
    assert tracker.of(0.0, blob(9)) == ()


def test_who_does_not_have_it_is_forgotten() -> None:
    tracker = Tracker()
    for at in range(5):
        tracker.on_provide(0.0, node(1), blob(at), 900)
    tracker.on_missed(node(1), blob(0))
    tracker.on_missed(node(2), blob(0))
    assert tracker.of(0.0, blob(0)) == ()
    assert len(tracker) == 4


def test_one_provider_fills_its_own_share_only() -> None:
    tracker = Tracker()
    tracker.on_provide(0.0, node(2), blob(0), 900)
    for at in range(NODE_RECORDS.value + 500):
        tracker.on_provide(0.0, node(1), blob(at), 900)
    assert len(tracker) == NODE_RECORDS.value + 1
    assert tracker.of(0.0, blob(0)) == (node(2),)  # its own oldest made room
    assert tracker.of(0.0, blob(NODE_RECORDS.value + 499)) == (node(1),)


def test_a_full_table_forgets_records_of_the_largest_teller() -> None:
    tracker = Tracker()
    tracker.on_provide(0.0, node(99), blob(0), 900)
    for teller in range(9):
        for at in range(NODE_RECORDS.value):
            tracker.on_provide(0.0, node(teller), blob(teller * 10_000 + at), 900)
    assert len(tracker) == MAX_RECORDS.value
    assert node(99) in tracker.of(0.0, blob(0))


def test_a_blob_has_twenty_providers_the_newest() -> None:
    tracker = Tracker()
    for at in range(25):
        tracker.on_provide(float(at), node(at), blob(1), 900)
    assert tracker.of(30.0, blob(1)) == tuple(node(at) for at in range(24, 24 - BLOB_RECORDS.value, -1))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from((0, 10, 900))), max_size=60))
@settings(max_examples=100, deadline=None)
def test_the_table_says_what_was_told_last(told: list[tuple[int, int, int]]) -> None:
    tracker, known, now = Tracker(), dict[tuple[int, int], float](), 0.0
    for who, what, ttl_s in told:
        now += 1.0
        tracker.on_provide(now, node(who), blob(what), ttl_s)
        known[who, what] = now + ttl_s
    now += 1.0
    for what in range(6):
        expected = {node(who) for (who, which), until_s in known.items() if which == what and until_s > now}
        assert set(tracker.of(now, blob(what))) == expected
    tracker.sweep(now)
    assert len(tracker) == sum(until_s > now for until_s in known.values())


def test_changes_are_told_soon_in_one_message_and_the_newest_word_counts() -> None:
    announcer = Announcer(random.Random(1), 1_024)
    for at in range(10):
        announcer.add(0.0, node(1), blob(at), True)
    announcer.add(0.0, node(1), blob(3), False)
    assert announcer.take(0.5) == []
    told = announcer.take(3.0)
    assert [(one.owner, len(one.blobs), one.here) for one in told] == [
        (node(1), 9, True),
        (node(1), 1, False),
    ]
    assert told[1].blobs == (blob(3),)
    assert announcer.take(100.0) == []


def test_everything_is_told_every_ten_minutes_and_not_by_all_at_once() -> None:
    nexts = set()
    for seed in range(20):
        announcer = Announcer(random.Random(seed), 1_024)
        assert announcer.again(1.0)
        assert not announcer.again(2.0)
        nexts.add(announcer.next_s)
        assert 1.0 + 0.8 * AGAIN_S <= announcer.next_s <= 1.0 + 1.2 * AGAIN_S < 1.0 + TTL_S
    assert len(nexts) > 15


def test_much_to_tell_goes_in_many_messages_and_too_much_waits_for_the_next_time() -> None:
    announcer = Announcer(random.Random(1), 1_024)
    for at in range(MAX_TOLD.value + 100):
        announcer.add(0.0, node(1), blob(at), True)
    told, now = [], 0.0
    while announcer.next_s < 900.0 and now < 900.0:
        now += 1.0
        told += announcer.take(now)
        if not announcer._waiting:
            break
    assert sum(len(one.blobs) for one in told) == MAX_TOLD.value
    assert max(len(one.blobs) for one in told) == 1_024
    announcer.add(now, node(2), blob(1), True)
    announcer.drop(node(2))
    assert announcer.take(now + 10.0) == []


def test_who_did_not_have_it_is_not_asked_for_it_for_a_while() -> None:
    misses = Misses()
    assert misses.note(0.0, node(1), blob(1)) == 1
    assert misses.note(1.0, node(1), blob(2)) == 2
    assert misses.missed(2.0, node(1), blob(1))
    assert not misses.missed(2.0, node(1), blob(3))
    assert not misses.missed(2.0, node(2), blob(1))
    assert not misses.missed(providers.MISS_S, node(1), blob(1))
    assert misses.note(1.0 + providers.MISS_S, node(1), blob(3)) == 1
    for at in range(providers.MAX_MISSES.value + 10):
        misses.note(4.0, node(2), blob(at))
    assert not misses.missed(4.0, node(2), blob(0))
    assert misses.missed(4.0, node(2), blob(11))


def test_linked_owners_first_then_builders_providers_far_owners_and_the_dead() -> None:
    owners, builders, told = (node(1), node(2), node(3)), (node(4), node(1)), (node(5), node(4))
    order = ranked(
        owners, builders, told, linked=lambda one: one in (node(2), node(5)), dead=lambda one: one == node(4)
    )
    assert order == (node(2), node(1), node(5), node(3), node(4))
    assert ranked((), (), (), linked=lambda _: True, dead=lambda _: False) == ()
