"""Sources that come, grow and give way while a download runs; limits; what a search and a liar may add."""

import importlib.util
import itertools
import random
import sys
from pathlib import Path

import pytest

from pyrsia.transfer import roster, swarm
from pyrsia.transfer.buckets import Flow
from pyrsia.transfer.picking import AHEAD, STALL_S, Picking
from pyrsia.transfer.roster import HOPE_S, IDLE_S, MAX_KNOWN, MAX_NAMED, MAX_REVIVALS
from pyrsia.transfer.swarm import Ask, Done, Drop, Failed, Look, Open, Swarm
from pyrsia.units import MAX_SOURCES, NodeId

sys.path.insert(0, str(Path(__file__).parent))
from simulator import Paper, Peer, World

assert importlib.util.find_spec("simulator")

A, B, C = (NodeId(letter * 32) for letter in (b"a", b"b", b"c"))


def node(number):
    return NodeId(b"%032d" % number)


def kinds(effects, kind):
    return [effect for effect in effects if isinstance(effect, kind)]


def asked(effects):
    return [(effect.source, chunk) for effect in kinds(effects, Ask) for chunk in effect.chunks]


def data(chunk):
    return b"chunk %d" % chunk


def made(count, *nodes, **options):
    core = Swarm(Paper(count), nodes, random.Random(1), **options)
    return core, core.on_start(0.0)


# -- sources that come --


def test_a_source_that_becomes_known_is_used_and_one_that_is_known_is_not_opened_twice():
    core, _ = made(8, A)
    core.on_have(0.0, A, 8, 0b1)

    effects = core.on_source(0.1, B)
    assert kinds(effects, Open) == [Open(B)]
    assert core.on_source(0.2, B) == []
    assert core.on_source(0.2, A, B) == []
    assert {chunk for _, chunk in asked(core.on_have(0.3, B, 8, 0xFF))} <= set(range(1, 8))


def test_while_a_search_runs_nothing_is_given_up_and_after_it_at_once():
    core, effects = made(3, seeking=True)
    assert not kinds(effects, Failed)
    assert not kinds(core.on_timer(60.0), Failed)
    assert kinds(core.on_sought(61.0), Failed) == [Failed((), 0, 3)]
    assert core.on_source(62.0, A) == []
    found, _ = made(3, seeking=True)
    assert kinds(found.on_source(1.0, A), Open) == [Open(A)]
    assert not kinds(found.on_sought(1.1), Failed)


def test_the_word_of_a_source_is_good_for_sixteen_names_and_of_a_stranger_for_none():
    core, _ = made(40, A)
    assert core.on_source(0.1, C, B) == []
    assert core.on_source(0.1, C, A) == []  # it is not ready: it said nothing yet
    core.on_have(0.1, A, 40, 1)
    opened = []
    for number in range(200):
        effects = core.on_source(0.2, node(number), A)
        opened += kinds(effects, Open)
        for one in kinds(effects, Open):
            opened += kinds(core.on_nak(0.2, one.source, ()), Open)
    assert len(opened) == MAX_NAMED.value
    assert core.on_source(0.3, A, A) == []


def test_a_search_adds_no_more_sources_than_can_be_linked_and_takes_back_none_that_lied():
    core, _ = made(40, A)
    core.on_have(0.0, A, 40, 0)
    for number in range(2_000):
        core.on_source(0.1, node(number))
    assert len(core._roster.sources) <= MAX_KNOWN.value
    core.on_fault(0.2, node(0), "sent garbage")
    for step in range(50):
        core.on_source(1.0 + step, node(0))
        assert Open(node(0)) not in core.on_timer(1.0 + step)


def test_a_lost_source_is_tried_again_when_a_search_finds_it_but_not_for_ever():
    core, effects = made(4, A, seeking=True)
    opens, now = kinds(effects, Open), 0.0
    for _ in range(30):
        now += 3.0
        effects = core.on_source(now, A) + core.on_timer(now)
        opens += kinds(effects, Open)
        core.on_lost(now, A, "vanished")
    assert len(opens) == (1 + MAX_REVIVALS.value) * roster.ATTEMPTS


def test_one_that_has_nothing_for_us_gives_its_place_to_one_that_waits():
    nodes = [node(number) for number in range(MAX_SOURCES.value + 1)]
    core, effects = made(40, *nodes)
    assert len(kinds(effects, Open)) == MAX_SOURCES.value
    for one in nodes[:-1]:
        core.on_have(0.0, one, 40, 0)
    waited = [core.on_timer(0.1 * step) for step in range(int(10 * IDLE_S) + 2)]
    drops = [drop for effects in waited for drop in kinds(effects, Drop)]
    assert [drop.guilty for drop in drops] == [False]
    assert kinds(waited[-1], Open) + kinds(waited[-2], Open) + kinds(waited[-3], Open) == [Open(nodes[-1])]
    assert asked(core.on_have(3.0, nodes[-1], 40, 1))


# -- sources that grow --


def test_a_source_that_still_downloads_is_asked_again_and_again_and_gives_what_it_says():
    core, _ = made(8, A)
    assert asked(core.on_have(0.0, A, 8, 0b1)) == [(A, 0)]
    looks = [step for step in range(1, 41) if kinds(core.on_timer(step / 10), Look)]
    assert 14 <= len(looks) <= 20  # four times a second
    core.on_chunk(4.0, A, 0, data(0))
    assert asked(core.on_have(4.1, A, 8, 0b101)) == [(A, 2)]
    whole, _ = made(8, A)
    whole.on_have(0.0, A, 8, 0xFF)
    assert len([step for step in range(1, 39) if kinds(whole.on_timer(step / 10), Look)]) == 1


def test_a_have_never_takes_back_and_never_brings_back_what_was_refused():
    core, _ = made(8, A)
    core.on_have(0.0, A, 8, 0b11)
    core.on_nak(0.1, A, (0, 1))
    assert asked(core.on_have(0.2, A, 8, 0b1111)) == [(A, 2), (A, 3)] or {
        chunk for _, chunk in asked(core.on_timer(0.3))
    } <= {2, 3}
    assert not {0, 1} & {chunk for _, chunk in asked(core.on_have(0.4, A, 8, 0xFF))}
    kept, _ = made(8, A)
    kept.on_have(0.0, A, 8, 0b11)
    kept.on_have(0.1, A, 8, 0)
    assert kept.on_chunk(0.2, A, 0, data(0))[0].index == 0


def test_there_is_hope_while_a_source_still_gets_something_and_for_a_while_after():
    core, _ = made(8, A)
    core.on_have(0.0, A, 8, 0)
    assert not kinds(core.on_timer(HOPE_S - 0.1), Failed)
    core.on_have(HOPE_S - 0.1, A, 8, 0b1)
    core.on_chunk(HOPE_S, A, 0, data(0))
    assert not kinds(core.on_timer(1.9 * HOPE_S), Failed)
    (failed,) = kinds(core.on_timer(2.1 * HOPE_S), Failed)
    assert (failed.held, failed.count) == (1, 8)
    assert failed.why == ((A, "has not the rest of it"),)


def test_two_that_have_half_each_and_wait_for_each_other_give_up():
    """A source that only says that it still downloads holds nobody up for ever."""
    half = (1 << 20) - 1
    world = World(40, [Peer("a", held=half), Peer("b", held=half)]).run(60)
    assert isinstance(world.ended, Failed)
    assert world.ended.held == 20


@pytest.mark.parametrize("seed", range(5))
def test_a_liar_about_what_it_has_costs_little_whatever_it_says(seed):
    draw = random.Random(seed)
    core_peers = [
        Peer("good", rate=20e6),
        Peer("liar", naks=1.0),
        Peer("half", held=draw.getrandbits(400), silent=True),
    ]
    world = World(400, core_peers, seed).run()
    assert world.done
    assert world.now < 400 * 262_144 / 20e6 + 2 * 4.0
    assert world.duplicates <= 4


# -- readers --


def test_each_reader_in_turn_gets_what_it_waits_for():
    places = [0, 500]
    picking = Picking(1000, random.Random(1), lambda: places)
    pool, picked = (1 << 1000) - 1, []
    for step in range(40):
        chunk = picking.pick(step / 100, pool)
        pool &= ~(1 << chunk)
        picked.append(chunk)
    first = sum(chunk < 500 for chunk in picked)
    assert 19 <= first <= 21
    assert sorted(picked) == [*range(first), *range(500, 540 - first)]


def test_a_reader_that_comes_is_served_from_where_it_is_even_when_others_fetch_too():
    places = [0]
    picking = Picking(1000, random.Random(1), lambda: places)
    picking.share([B], A, 0)
    pool = (1 << 1000) - 1
    picking.pick(0.0, pool)
    places[:] = [0, 700]
    assert picking.pick(0.1, pool & ~1) == 700


def test_where_others_fetch_too_ours_is_asked_first_and_a_reader_that_stands_still_is_not_forgotten():
    picking = Picking(1000, random.Random(1), lambda: [0])
    picking.share([B, C], A, 0)
    pool, picked = (1 << 1000) - 1, []
    for _ in range(20):
        chunk = picking.pick(0.1, pool)
        pool &= ~(1 << chunk)
        picked.append(chunk)
    assert picked[0] == 0
    assert all(chunk % 3 == 0 and chunk < AHEAD for chunk in picked[1:])
    first = min(chunk for chunk in range(1000) if pool >> chunk & 1)
    assert first % 3
    assert picking.pick(0.2 + STALL_S, pool) == first


@pytest.mark.parametrize("others", range(1, 8))
def test_shares_are_disjoint_and_together_the_whole_file(others):
    nodes = [node(number) for number in range(others + 1)]
    masks = []
    for me in nodes:
        picking = Picking(1001, random.Random(1), None)
        picking.share([one for one in nodes if one != me], me, 0)
        masks.append(picking._mine & (1 << 1001) - 1)
    assert sum(mask.bit_count() for mask in masks) == 1001
    union = 0
    for mask in masks:
        union |= mask
    assert union == (1 << 1001) - 1


# -- this node's own limit --


def test_what_the_limit_does_not_let_in_is_not_asked_for_and_nobody_is_late_by_it():
    flow = Flow(1_000_000)
    core, _ = made(100, A, down=flow)
    first = asked(core.on_have(0.0, A, 100, (1 << 100) - 1))
    assert len(first) == 4  # a megabyte at once
    for _, chunk in first:
        core.on_chunk(0.01, A, chunk, data(chunk))
    chunks, now = 0, 0.01
    while now < 20.0:
        now += 0.1
        effects = core.on_timer(now)
        assert not kinds(effects, Drop)
        for _, chunk in asked(effects):
            chunks += 1
            assert not kinds(core.on_chunk(now, A, chunk, data(chunk)), Drop)
    assert 0.9 * 20e6 / 262_144 <= chunks <= 20e6 / 262_144 + 1
    assert core.duplicates == 0


# -- the path --


@pytest.mark.parametrize(
    ("rate", "rtt_s", "most"), [(125e6, 0.04, 1.1), (12.5e6, 0.2, 1.1), (125e6, 0.2, 1.5), (1e9, 0.01, 1.4)]
)
def test_a_gibibyte_over_a_long_path_takes_little_longer_than_the_path_alone(rate, rtt_s, most):
    """1 Gbit/s at 40 ms is 5 MB on the way; at 200 ms it would be 25 MB, of which one source may owe 16 MiB."""
    world = World(4096, [Peer("far", rate=rate, rtt_s=rtt_s, open_s=2 * rtt_s)]).run()
    assert world.now < most * (1 << 30) / min(rate, (16 << 20) / rtt_s)
    assert world.duplicates == 0


def test_a_path_of_5_mb_is_full_after_half_a_second():
    world = World(4096, [Peer("far", rate=125e6, rtt_s=0.04, open_s=0.08)]).run()
    came = sum(0.6 <= at_s < 1.6 for _, at_s in world.written.values())
    assert came * 262_144 > 0.95 * 125e6


def test_an_empty_file_needs_no_source_whatever_is_told():
    core, effects = made(0)
    assert effects == [Done()]
    assert core.on_source(1.0, A) == core.on_sought(1.0) == core.on_timer(1.0) == []
    assert swarm.LOOK_PART_S < swarm.LOOK_S


@pytest.mark.parametrize("lies", [1.0, 0.02])
def test_a_gibibyte_from_three_of_which_one_corrupts_and_one_dies_halfway(lies):
    """Not slower than the honest one alone, the corrupter named, and less than one percent twice."""
    alone = World(4096, [Peer("honest", rate=100e6)]).run()
    corrupt, dies = Peer("corrupt", rate=100e6, lies=lies), Peer("dies", rate=100e6, vanishes_s=alone.now / 4)
    world = World(4096, [corrupt, dies, Peer("honest", rate=100e6)]).run()

    assert world.done
    assert world.now < alone.now
    assert world.dropped[corrupt.node] is True
    assert world.swarm.duplicates < 0.01 * 4096
    assert world.most_owed_by_all <= 64 << 20


def test_what_one_source_is_asked_for_comes_row_by_row_unless_others_fetch_the_file_too():
    def picked(shared):
        picking = Picking(300, random.Random(1), None)
        picking.more((1 << 300) - 1)
        if shared:
            picking.share([NodeId(b"b" * 32)], NodeId(b"a" * 32), 0)
        pool, order = (1 << 300) - 1, [-1]
        while pool:
            order.append(picking.pick(0.0, pool, order[-1]))
            pool ^= 1 << order[-1]
        return order[1:]

    alone, shared = picked(False), picked(True)
    assert sorted(alone) == sorted(shared) == list(range(300))
    follow = sum(after == before + 1 for before, after in itertools.pairwise(alone))
    assert follow >= 195  # two of three, but for the first two chunks
    assert alone[:30] != sorted(alone[:30])
    assert all(chunk % 2 == 0 for chunk in shared[2:140])
