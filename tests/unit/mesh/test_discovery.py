"""Who asks whom for records, and when: crowds in virtual time, floods, lies, and a node at rest."""

import importlib.util
import random
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from pyrsia.mesh.discovery import (
    ASKED_BURST,
    FEW_PEERS,
    MOST_SOUGHT,
    OUTSIDE_AGAIN_S,
    OUTSIDE_LAST_S,
    RECORDS_BURST,
    SKEW_MS,
    SOUGHT_OF_ONE,
    Ask,
    AskOutside,
    Blame,
    Discovery,
    Save,
)
from pyrsia.mesh.outbound import Dial
from pyrsia.mesh.table import MAX_OF_SOURCE, PASSERS
from pyrsia.units import FUTURE_MS, MAX_RECORDS
from pyrsia.wire import records
from pyrsia.wire.records import Asked

sys.path.insert(0, str(Path(__file__).parent))
from township import DAY_MS, NET, NOW_MS, Crowd, ident, outbound_of, raw_of, sign, table_of

assert importlib.util.find_spec("township")

EVE, ANN = ident(0, crowd=9), ident(1, crowd=9)


def core(seed=0, *, outside=False, ignored=lambda node: False, me=99):
    draw, table = random.Random(seed), table_of(ident(me))
    made = Discovery(table, outbound_of(table, draw), draw, ignored=ignored, outside=outside)
    made.renew(raw_of(ident(me)))
    return made


def raws(count, first=1, crowd=0, **more):
    return [raw_of(ident(number, crowd=crowd), **more) for number in range(first, first + count)]


def blamed(effects):
    return [effect for effect in effects if isinstance(effect, Blame)]


# -- crowds --


@pytest.mark.parametrize("members", [4, 50], ids=["strangers", "members"])
@pytest.mark.parametrize("seed", range(2))
def test_a_joining_node_knows_all_of_a_network_of_fifty_within_five_seconds(seed, members):
    crowd = Crowd(50, seed, members=members, peers_of=lambda number: [number * 7 % number] if number else [])
    crowd.run(20.0)
    assert all(len(one.core.table) == 49 for one in crowd.nodes.values())

    joiner = crowd.add(50, fixed=[3])
    crowd.run(25.0)
    assert len(joiner.core.table) == 50
    assert not [blame for one in crowd.nodes.values() for blame in one.blamed]
    crowd.run(150.0)  # those at rest ask once a minute
    assert all(joiner.node in one.core.table for one in crowd.nodes.values() if one is not joiner)


def test_it_needs_no_more_when_the_peer_that_it_asks_is_slow_and_alone():
    crowd = Crowd(50, 1, peers_of=lambda number: [0] if number else [], delay_s=(0.3, 0.5))
    crowd.run(40.0)
    joiner = crowd.add(50, fixed=[0])
    crowd.run(45.0)
    assert len(joiner.core.table) == 50


@pytest.mark.parametrize("count", [10, 40])
def test_a_network_at_rest_asks_as_often_whatever_its_size(count):
    crowd = Crowd(count, 2, peers_of=lambda number: [0] if number else [])
    crowd.run(200.0)
    before = sum(one.asked for one in crowd.nodes.values())
    crowd.run(800.0)
    asked = sum(one.asked for one in crowd.nodes.values()) - before
    assert 5 <= asked / count <= 20  # ten minutes: once a minute, with jitter


def test_a_crowd_of_a_thousand_by_one_peer_displaces_nobody_and_is_not_all_that_is_dialled():
    crowd = Crowd(20, 3, peers_of=lambda number: [0] if number else [])
    crowd.run(10.0)
    victim = crowd.nodes[ident(5)]
    crowd.link(victim, ident(6))
    hostile = raws(1_000, crowd=1, address="tcp://127.0.0.1:9")
    for at in range(0, 1_000, 16):  # Eve's own questions bring sixteen each, as fast as she is heard
        crowd.now += 2.0
        asked = Asked(hostile[at : at + 16], (), frozenset())
        _, effects = victim.core.on_asked(crowd.now, NOW_MS, EVE, asked)
        crowd.do(victim, effects)

    honest = [ident(number) for number in range(20) if number != 5]
    assert all(node in victim.core.table for node in honest)
    assert victim.core.table.strangers_of(EVE) <= MAX_OF_SOURCE.value
    for node in list(victim.up):
        crowd.unlink(victim, crowd.nodes[node])
    victim.dialled.clear()
    crowd.run(crowd.now + 30.0)
    assert len({node for node, _ in victim.dialled} & set(honest)) >= 4


# -- lies and floods --


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (raw_of(ident(1), net=b"m" * 32), "record-wrong-net"),
        (raw_of(ident(1))[:-1] + b"\0", "record-unsigned"),
        (raw_of(ident(1))[:90], "record"),
        (bytes(2_000), "record"),
    ],
    ids=["other network", "unsigned", "truncated", "oversize"],
)
def test_what_no_honest_node_sends_costs_its_sender_and_ends_the_reading(bad, why):
    made = core()
    effects = made.on_answer(0.0, NOW_MS, EVE, [bad, *raws(3)])
    (blame,) = blamed(effects)
    assert (blame.node, blame.points < -10, blame.why.startswith(why)) == (EVE, True, True)
    assert len(made.table) == 0


def test_expired_and_future_records_cost_a_little_and_replayed_ones_nothing():
    made = core()
    assert blamed(made.on_answer(0.0, NOW_MS, EVE, raws(1, seq=5))) == []
    assert blamed(made.on_answer(0.0, NOW_MS, EVE, raws(1, seq=4))) == []
    old = made.on_answer(0.0, NOW_MS, EVE, raws(1, first=2, at_ms=NOW_MS - 2 * DAY_MS))
    new = made.on_answer(0.0, NOW_MS, EVE, raws(1, first=2, at_ms=NOW_MS + DAY_MS))
    assert [one.why for one in blamed(old) + blamed(new)] == [
        "a record was of no use: it has expired", "a record was of no use: it is from the future",
    ]  # fmt: skip
    assert [one.seq for one in made.table.records()] == [5]


def test_a_record_that_is_about_to_expire_is_handed_to_nobody_and_one_that_just_did_is_nobodys_fault():
    made, asked = core(), Asked([], (), frozenset())
    made.on_answer(0.0, NOW_MS, EVE, raws(3, life_ms=SKEW_MS.value + 1))
    assert len(made.on_asked(0.0, NOW_MS, ident(7), asked)[0]) == 1 + 3
    assert made.on_asked(1.0, NOW_MS + 1, ident(7), asked)[0] == [raw_of(ident(99))]
    made.on_timer(10.0, NOW_MS + 1)
    assert made._some(10, ()) == []
    late = raws(2, first=10, life_ms=1_000)
    assert blamed(made.on_answer(2.0, NOW_MS + 1_000 + SKEW_MS.value - 1, EVE, late)) == []
    assert len(blamed(made.on_answer(3.0, NOW_MS + 1_000 + SKEW_MS.value, EVE, late))) == 2
    early = raws(1, first=20, at_ms=NOW_MS + FUTURE_MS.value + SKEW_MS.value)
    assert blamed(made.on_answer(4.0, NOW_MS, EVE, early)) == []
    assert len(blamed(made.on_answer(5.0, NOW_MS - 1, EVE, early))) == 1


def test_a_flood_of_records_is_not_looked_at_and_costs_points():
    made, told = core(), []
    for at in range(100):
        told += blamed(made.on_answer(0.0, NOW_MS, EVE, raws(MAX_RECORDS.value, first=at * 40)))
    assert len(made.table) == RECORDS_BURST.value - 1  # our own was among them
    assert {blame.why for blame in told} == {"floods records"}
    assert len(told) == 100 - RECORDS_BURST.value // MAX_RECORDS.value
    assert blamed(made.on_answer(0.0, NOW_MS, ANN, raws(1, first=9_000))) == []  # others are heard


def test_who_asks_without_end_gets_nothing_and_loses_points():
    made = core()
    made.on_answer(0.0, NOW_MS, ANN, raws(5))
    answers = [made.on_asked(0.0, NOW_MS, EVE, Asked([], (), frozenset())) for _ in range(100)]
    assert sum(bool(given) for given, _ in answers) == ASKED_BURST.value
    assert {blame.why for _, effects in answers for blame in blamed(effects)} == {
        "asks for records without end"
    }


def test_who_lost_its_good_name_is_not_read():
    made = core(ignored=lambda node: node == EVE)
    made.on_answer(0.0, NOW_MS, EVE, raws(3))
    assert len(made.table) == 0
    made.on_answer(0.0, NOW_MS, ANN, raws(3))
    assert len(made.table) == 3


def test_a_question_brings_no_more_than_it_may():
    made = core()
    made.on_asked(0.0, NOW_MS, EVE, Asked(raws(MAX_RECORDS.value), (), frozenset()))
    assert len(made.table) == 16


# -- questions and answers --


def test_an_answer_has_our_own_record_first_then_whom_the_asker_seeks_and_nothing_that_it_has():
    made = core()
    made.on_answer(0.0, NOW_MS, ANN, raws(100))
    sought = ident(70)
    have = frozenset(records.digest(raw) for raw in raws(60))
    given, _ = made.on_asked(0.0, NOW_MS, EVE, Asked([], (sought, ident(500)), have))
    assert len(given) == MAX_RECORDS.value == len(set(given))
    assert given[:2] == [raw_of(ident(99)), raw_of(sought)]
    assert not {records.digest(raw) for raw in given} & have
    mine = frozenset({records.digest(raw_of(ident(99)))})
    assert raw_of(ident(99)) not in made.on_asked(0.0, NOW_MS, EVE, Asked([], (), mine))[0]


def test_a_link_that_we_dialled_is_asked_at_once_with_our_own_record_first():
    made = core()
    made.on_answer(0.0, NOW_MS, ANN, raws(40))
    assert made.on_linked(0.0, EVE, dialled=False) == []
    (ask,) = made.on_linked(0.0, ANN, dialled=True)
    asked = records.decode_asked(ask.question)
    assert (ask.node, asked.raws[0], len(asked.raws), len(asked.have)) == (ANN, raw_of(ident(99)), 16, 40)


def test_who_can_be_reached_elsewhere_now_says_so_at_once():
    made = core()
    made.on_linked(0.0, ANN, dialled=True)
    for now in range(1, 300):  # at rest by now
        made.on_timer(float(now), NOW_MS)
    made.renew(raw_of(ident(99), seq=2))
    assert not [one for one in made.on_timer(300.0, NOW_MS) if isinstance(one, Ask)]
    moved = raw_of(ident(99), seq=3, address="tcp://127.0.0.1:5")
    made.renew(moved, moved=True)
    (ask,) = [one for one in made.on_timer(300.1, NOW_MS) if isinstance(one, Ask)]
    assert records.decode_asked(ask.question).raws == [moved]


def test_who_was_mentioned_is_asked_for_by_name_of_whom_mentioned_it():
    made = core()
    made.on_linked(0.0, EVE, dialled=False)
    made.on_linked(0.0, ANN, dialled=False)
    made.on_mentioned(1.0, ident(7), by=ANN)
    asks = [one for at in range(20) for one in made.on_timer(1.0 + at, NOW_MS) if isinstance(one, Ask)]
    assert asks[0].node == ANN or asks[1].node == ANN
    for ask in asks:
        assert records.decode_asked(ask.question).sought == ((ident(7),) if ask.node == ANN else ())
    made.on_answer(30.0, NOW_MS, ANN, raws(1, first=7))
    assert ident(7) in made.table
    for number in range(2 * MOST_SOUGHT.value):
        made.on_mentioned(31.0, ident(number, crowd=3), by=EVE)
    assert len(made._sought) == SOUGHT_OF_ONE.value
    for number in range(2 * MOST_SOUGHT.value):
        made.on_mentioned(31.0, ident(number, crowd=4), by=ident(number, crowd=5))
    assert len(made._sought) == MOST_SOUGHT.value


def test_whom_guests_mentioned_that_are_gone_takes_no_place_for_ever():
    """Others are asked for them, once; a crowd that mentions and leaves must not fill the list for good."""
    made = core()
    made.on_linked(0.0, ANN, dialled=False)
    for number in range(8):
        guest = ident(number, crowd=5)
        made.on_linked(1.0, guest, dialled=False)
        for other in range(SOUGHT_OF_ONE.value):
            made.on_mentioned(1.0, ident(1_000 * number + other, crowd=6), by=guest)
        made.on_lost(1.0, guest)
    assert len(made._sought) == MOST_SOUGHT.value
    asked = set()
    for tick in range(MOST_SOUGHT.value):
        for one in made.on_timer(60.0 * tick, NOW_MS):
            if isinstance(one, Ask):
                asked.update(records.decode_asked(one.question).sought)
                made.on_answer(60.0 * tick, NOW_MS, one.node, [])
    assert len(asked) == MOST_SOUGHT.value
    assert made._sought == {}
    made.on_mentioned(1e6, ident(7), by=ANN)
    assert made._sought == {ident(7): ANN}


# -- outside, and the disk --


def outside(made, now):
    return any(isinstance(one, AskOutside) for one in made.on_timer(now, NOW_MS))


def test_names_and_http_are_asked_while_few_peers_have_links_with_growing_pauses():
    made, asked = core(outside=True), []
    for tick in range(2_000):
        if outside(made, tick / 20):
            asked.append(tick / 20)
    gaps = [after - before for before, after in pairwise(asked)]
    assert gaps[0] <= 0.1
    assert all(gap <= OUTSIDE_LAST_S * 1.5 + 0.05 for gap in gaps)
    assert gaps[-1] > 4.0

    for number in range(FEW_PEERS):
        made.on_linked(100.0, ident(number, crowd=4), dialled=True)
    assert sum(outside(made, 120.0 + tick) for tick in range(1_000)) <= 1
    assert sum(outside(made, 1_200.0 + tick) for tick in range(int(2 * OUTSIDE_AGAIN_S))) in (2, 3)


def test_without_names_and_addresses_nobody_outside_is_asked():
    made = core()
    assert not any(outside(made, now) for now in range(100))


def test_records_from_outside_fill_one_sources_share_and_lies_among_them_change_nothing():
    made = core()
    assert made.on_outside(0.0, NOW_MS, EVE, raws(3))
    assert not made.on_outside(0.0, NOW_MS, EVE, [raw_of(ident(9))[:-1] + b"\0", *raws(1, first=20)])
    assert (len(made.table), made.table.strangers_of(EVE)) == (4, 4)


def test_records_of_linked_nodes_are_saved_once_and_remembered():
    made = core()
    made.on_linked(0.0, ident(1), dialled=True)
    made.on_answer(0.0, NOW_MS, ident(1), raws(3))
    saved = [one for one in made.on_timer(1.0, NOW_MS) if isinstance(one, Save)]
    assert saved == [Save(ident(1), raw_of(ident(1)))]
    assert not [one for one in made.on_timer(2.0, NOW_MS) if isinstance(one, Save)]

    later = core()
    later.remember(
        NOW_MS + DAY_MS, [saved[0].raw, b"rubbish", raw_of(ident(3))[:-1]]
    )  # it has expired meanwhile
    assert [one.node for one in later.on_timer(0.0, NOW_MS + DAY_MS) if isinstance(one, Dial)] == [ident(1)]
    assert len(later.table) == 0


def test_strangers_that_come_and_go_are_neither_saved_nor_remembered_without_end():
    made = core()
    for number in range(100, 300):
        made.on_linked(0.0, ident(number), dialled=False)
        made.on_asked(0.0, NOW_MS, ident(number), Asked(raws(1, first=number), (), frozenset()))
        assert not [one for one in made.on_timer(1.0, NOW_MS) if isinstance(one, Save)]
        made.on_lost(0.0, ident(number))
        assert made.table.strangers_of(ident(number)) == 0
        assert made.table.strangers_of(PASSERS) == number - 99
    for number in range(100, 300):
        made.on_linked(0.0, ident(number), dialled=True)
        assert [one.node for one in made.on_timer(1.0, NOW_MS) if isinstance(one, Save)] == [ident(number)]
        made.on_lost(0.0, ident(number))
        assert made.table.strangers_of(ident(number)) == 1  # we dialled it
    assert not made._saved


def test_signatures_of_these_tests_are_checked():
    raw = raw_of(ident(1))
    record, signature = records.decode(raw)
    assert (record.net, signature) == (NET, sign(record))
