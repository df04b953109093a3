"""Whom a node dials: members, and some of its own choice that no crowd can steer; scopes, rests and names."""

import importlib.util
import random
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from pyrsia.mesh.outbound import (
    CHOSEN,
    GIVE_UP_S,
    LAST_REST_S,
    MAX_HINTS,
    MAX_RESTING,
    NAMES_AT_ONCE,
    Dial,
    Resolve,
    Undial,
)
from pyrsia.mesh.scopes import Scope
from pyrsia.mesh.table import Taken

sys.path.insert(0, str(Path(__file__).parent))
from township import NOW_MS, ident, outbound_of, raw_of, table_of

assert importlib.util.find_spec("township")

EVE = ident(0, crowd=9)
GLOBAL = "tcp://8.8.{}.{}:44000"


def known(table, count, *, crowd=0, source=None, address="tcp://127.0.0.1:44000", first=1):
    """So many nodes in the table; their ids."""
    nodes = [ident(number, crowd=crowd) for number in range(first, first + count)]
    for number, node in enumerate(nodes):
        where = address.format(number // 250, number % 250 + 1)
        assert table.take(NOW_MS, raw_of(node, address=where), source or node) is Taken.NEW
    return nodes


def dialled(moves):
    return [move.node for move in moves if isinstance(move, Dial)]


def test_some_of_many_are_chosen_and_all_of_few():
    table, draw = table_of(), random.Random(1)
    known(table, 3)
    outbound = outbound_of(table, draw)
    assert len(dialled(outbound.plan(0.0, {}))) == 3
    known(table, 100, first=10)
    assert len(dialled(outbound.plan(1.0, {}))) == CHOSEN.value - 3
    assert outbound.plan(2.0, {}) == []


@pytest.mark.parametrize("seed", range(20))
def test_a_crowd_from_one_source_gets_no_more_choices_than_one_honest_node(seed):
    """1,000 hostile records by one peer beside ten honest sources with one node each: their share is one in eleven."""
    table, draw = table_of(), random.Random(seed)
    honest = set(known(table, 10))
    known(table, 1_000, crowd=1, source=EVE)
    chosen = dialled(outbound_of(table, draw).plan(0.0, {}))
    assert len(chosen) == CHOSEN.value
    assert len(honest & set(chosen)) >= CHOSEN.value / 2


def test_over_many_starts_a_crowds_share_is_that_of_one_source():
    chosen, table = Counter(), table_of()
    honest = set(known(table, 10))
    known(table, 200, crowd=1, source=EVE)
    for seed in range(200):
        moves = outbound_of(table, random.Random(seed)).plan(0.0, {})
        chosen.update(node in honest for node in dialled(moves))
    assert chosen[True] + chosen[False] == 200 * CHOSEN.value
    assert chosen[False] / chosen.total() < 0.2


def test_with_half_of_all_sources_hostile_hardly_anybody_is_surrounded():
    surrounded, table = 0, table_of()
    honest = set(known(table, 10))
    for number in range(10):
        known(table, 8, crowd=2, first=100 * number, source=ident(number, crowd=9))
    for seed in range(1_000):
        surrounded += not honest & set(dialled(outbound_of(table, random.Random(seed)).plan(0.0, {})))
    assert surrounded <= 12  # one in 256 of them would be four


def test_links_are_spread_over_address_groups():
    table, draw = table_of(), random.Random(3)
    for number in range(40):  # one source, forty addresses in five networks
        node, where = ident(number + 1), f"tcp://9.9.{number % 5}.{number + 1}:44000"
        table.take(NOW_MS, raw_of(node, address=where), EVE)
    chosen = dialled(outbound_of(table, draw).plan(0.0, {}))
    groups = Counter(table.address(node).split(".")[2] for node in chosen)
    assert sorted(groups.values()) == [1, 1, 2, 2, 2]


def test_inbound_links_are_no_choice_of_ours():
    """A crowd that dials us fills none of our own places."""
    table, draw = table_of(), random.Random(4)
    known(table, 20)
    crowd = {ident(number, crowd=1): False for number in range(60)}
    outbound = outbound_of(table, draw)
    chosen = dialled(outbound.plan(0.0, crowd))
    assert len(chosen) == CHOSEN.value
    assert outbound.plan(1.0, crowd | dict.fromkeys(chosen, True)) == []


def test_members_all_have_links_with_all_while_they_are_few():
    members = {ident(number) for number in range(1, 41)}
    table, draw = table_of(members=members), random.Random(5)
    known(table, 40)
    known(table, 10, crowd=1)
    assert set(dialled(outbound_of(table, draw, members=members).plan(0.0, {}))) == members


def test_in_a_large_network_a_validator_dials_all_validators_and_the_rest_at_random():
    members = {ident(number) for number in range(1, 101)}
    table, draw = table_of(members=members), random.Random(6)
    known(table, 100)
    needed = {ident(number) for number in range(1, 31)}
    chosen = dialled(outbound_of(table, draw, members=members, needed=needed).plan(0.0, {}))
    assert needed <= set(chosen)
    assert len(chosen) == 30
    follower = dialled(outbound_of(table, draw, members=members).plan(0.0, {}))
    assert len(follower) == CHOSEN.value


def test_who_cannot_be_reached_rests_longer_each_time_and_another_is_tried():
    table, draw = table_of(), random.Random(7)
    known(table, 1)
    outbound, now, tries = outbound_of(table, draw), 0.0, []
    while now < 40_000:
        for move in outbound.plan(now, {}):
            if isinstance(move, Dial):
                tries.append(now)
        now += 1.0
    gaps = [after - before for before, after in pairwise(tries)]
    assert gaps[0] < 2 * GIVE_UP_S.value + 1
    assert LAST_REST_S * 0.4 < gaps[-1] < LAST_REST_S * 1.6 + GIVE_UP_S.value
    assert len(tries) < 40

    others = known(table, 1, first=5)
    assert others[0] in dialled(outbound.plan(now, {}))


def test_a_link_that_is_lost_is_tried_again_before_it_rests():
    table, draw = table_of(), random.Random(8)
    (node,) = known(table, 1)
    outbound = outbound_of(table, draw)
    assert dialled(outbound.plan(0.0, {})) == [node]
    assert outbound.plan(5.0, {node: True}) == []
    assert outbound.plan(500.0, {node: True}) == []
    outbound.on_lost(510.0, node)
    assert outbound.plan(511.0, {}) == []
    assert outbound.plan(510.0 + GIVE_UP_S.value, {}) == [Undial(node)]


def test_a_node_that_left_the_network_is_dialled_no_more_linked_or_not():
    unwanted = set()
    table, draw = table_of(), random.Random(9)
    nodes = known(table, 2)
    outbound = outbound_of(table, draw, unwanted=unwanted)
    outbound.plan(0.0, {})
    unwanted |= set(nodes)
    moves = outbound.plan(1.0, {nodes[0]: True})
    assert sorted(moves, key=lambda move: move.node) == [Undial(node) for node in sorted(nodes)]
    assert outbound.plan(100.0, {}) == []


def test_a_new_address_is_dialled_and_a_forgotten_node_no_more():
    table, draw = table_of(), random.Random(10)
    (node,) = known(table, 1)
    outbound = outbound_of(table, draw)
    outbound.plan(0.0, {})
    table.take(NOW_MS, raw_of(node, seq=2, address="tcp://127.0.0.1:55"), node)
    assert outbound.plan(1.0, {}) == [Dial(node, "tcp://127.0.0.1:55")]
    table.forget(node)
    assert outbound.plan(2.0, {}) == [Undial(node)]


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:6379", "tcp://10.0.0.1:22", "tcp://169.254.169.254:80",
                                     "tcp://100.64.0.1:1", "tcp://0.0.0.0:1", "tcp://[::ffff:10.0.0.1]:1"])  # fmt: skip
def test_a_record_that_names_an_address_of_another_scope_is_not_dialled(address):
    table, draw = table_of(), random.Random(11)
    known(table, 1, address=address)
    outbound = outbound_of(table, draw, ours=[Scope.GLOBAL])
    outbound.hint(ident(5), address)
    assert outbound.plan(0.0, {}) == []


def test_what_was_heard_on_the_cable_is_dialled_where_it_was_heard():
    table, draw = table_of(), random.Random(12)
    outbound = outbound_of(table, draw, ours=[Scope.GLOBAL])
    known(table, 1, address="")
    outbound.hint(ident(1), "tcp://10.0.0.7:44000", here=True)
    outbound.hint(ident(2), "tcp://10.0.0.8:44000", here=True)
    moves = outbound.plan(0.0, {})
    assert Dial(ident(2), "tcp://10.0.0.8:44000") in moves


def test_a_name_is_resolved_and_what_it_names_is_held_to_its_scope():
    table, draw = table_of(), random.Random(13)
    known(table, 1, address="tcp://evil.example:22")
    outbound = outbound_of(table, draw, ours=[Scope.GLOBAL])
    assert outbound.plan(0.0, {}) == [Resolve("evil.example")]
    assert outbound.plan(1.0, {}) == []  # asked once
    outbound.on_resolved(1.5, "evil.example", ["10.0.0.1", "127.0.0.1", "::1"])
    assert outbound.plan(2.0, {}) == []
    assert outbound.plan(700.0, {}) == [Resolve("evil.example")]
    outbound.on_resolved(700.5, "evil.example", ["10.0.0.1", "8.8.8.8"])
    assert outbound.plan(701.0, {}) == [Dial(ident(1), "tcp://8.8.8.8:22")]


def test_names_in_strangers_records_are_rarely_asked_for():
    table, draw = table_of(), random.Random(17)
    known(table, 500, source=EVE, address="tcp://h{}-{}.victim.example:443")
    outbound = outbound_of(table, draw, ours=[Scope.GLOBAL])
    asked = [move for now in range(60) for move in outbound.plan(float(now), {})]
    assert all(isinstance(move, Resolve) for move in asked)
    assert NAMES_AT_ONCE.value <= len(asked) <= NAMES_AT_ONCE.value + 4
    honest = known(table, 2, crowd=2, address=GLOBAL)
    assert set(dialled(outbound.plan(61.0, {}))) == set(honest)


def test_a_members_name_is_asked_for_although_strangers_have_used_up_theirs():
    member = ident(1, crowd=3)
    table, draw = table_of(members={member}), random.Random(18)
    known(table, 50, source=EVE, address="tcp://h{}-{}.victim.example:443")
    outbound = outbound_of(table, draw, members={member}, ours=[Scope.GLOBAL])
    outbound.plan(0.0, {})
    table.take(NOW_MS, raw_of(member, address="tcp://member.example:443"), member)
    assert outbound.plan(1.0, {}) == [Resolve("member.example")]
    outbound.on_resolved(1.5, "member.example", ["8.8.8.8"])
    assert outbound.plan(2.0, {}) == [Dial(member, "tcp://8.8.8.8:443")]


def test_addresses_that_lead_nowhere_are_not_looked_at_again_and_again():
    """However many of them and of how many sources: a look in vain at so many is not taken again at once."""
    table, draw, looked = table_of(), random.Random(19), []
    for number in range(40):
        known(
            table, 50, crowd=4, first=50 * number, source=ident(number, crowd=9), address="tcp://10.0.{}.{}:1"
        )
    outbound = outbound_of(table, draw, ours=[Scope.GLOBAL])
    usable, tried = outbound._usable, outbound._try
    outbound._usable = lambda now, node: looked.append("row") or usable(now, node)
    outbound._try = lambda now, node, moves: looked.append("try") or tried(now, node, moves)
    for now in range(100):
        assert outbound.plan(now / 100, {}) == []
    assert Counter(looked) == {"row": 2_000}
    (honest,) = known(table, 1, crowd=2, address=GLOBAL)
    assert dialled(outbound.plan(1.0, {})) == [honest]


@pytest.mark.parametrize("seed", range(3))
def test_half_of_our_own_choices_are_members_where_strangers_are_a_crowd(seed):
    members = {ident(number) for number in range(1, 101)}
    table, draw = table_of(members=members), random.Random(seed)
    known(table, 100)
    for number in range(2_000):  # each a source of its own
        known(table, 1, crowd=5, first=number)
    chosen = dialled(outbound_of(table, draw, members=members).plan(0.0, {}))
    assert len(chosen) == CHOSEN.value
    assert len(members & set(chosen)) >= CHOSEN.value // 2


def test_where_somebody_answered_whom_the_operator_named_is_a_scope_of_ours():
    table, draw = table_of(), random.Random(16)
    known(table, 1, address="tcp://10.0.0.1:22")
    outbound = outbound_of(table, draw, ours=[Scope.GLOBAL])
    assert outbound.plan(0.0, {}) == []
    known(table, 1, address="tcp://127.0.0.1:6379", first=2)
    outbound.widen("10.0.0.5")
    outbound.widen("127.0.0.1")  # whoever keeps the name says so
    assert outbound.plan(1.0, {}) == [Dial(ident(1), "tcp://10.0.0.1:22")]


def test_memory_is_bounded_whatever_is_hinted_and_fails():
    table, draw = table_of(), random.Random(14)
    outbound = outbound_of(table, draw)
    for number in range(3 * MAX_HINTS.value):
        outbound.hint(ident(number), f"tcp://127.0.0.1:{number + 1}")
    assert len(outbound._hints) == MAX_HINTS.value
    for number in range(MAX_RESTING.value + 100):
        outbound._rest(0.0, ident(number))
    assert len(outbound._resting) == MAX_RESTING.value
    for number in range(2_000):
        outbound.on_resolved(0.0, f"{number}.example", ["8.8.8.8"] * 100)
    assert len(outbound._names) == 1_024


def test_who_is_configured_is_dialled_by_others_and_counts_as_our_own_choice():
    table, draw = table_of(), random.Random(15)
    nodes = known(table, 30)
    outbound = outbound_of(table, draw, fixed=nodes[:6])
    chosen = dialled(outbound.plan(0.0, dict.fromkeys(nodes[:6], True)))
    assert len(chosen) == CHOSEN.value - 6
    assert not set(chosen) & set(nodes[:6])
    outbound.hint(nodes[0], "tcp://127.0.0.1:1")
    assert nodes[0] not in outbound._hints
