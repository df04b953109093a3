"""The swarm in virtual time: fast and slow sources, liars, silence, loss, and what is never exceeded."""

import importlib.util
import random
import sys
from pathlib import Path

import pytest

from pyrsia.transfer import sources, swarm
from pyrsia.transfer.manifest import Manifest
from pyrsia.transfer.swarm import Ask, Cancel, Done, Drop, Failed, Open, Swarm, WakeAt, Write
from pyrsia.units import CHUNK_BYTES, MAX_SOURCES, NodeId

sys.path.insert(0, str(Path(__file__).parent))
from simulator import CHUNK, Paper, Peer, World

assert importlib.util.find_spec("simulator")

A, B, C = (NodeId(letter * 32) for letter in (b"a", b"b", b"c"))


def kinds(effects, kind):
    return [effect for effect in effects if isinstance(effect, kind)]


def asked(effects):
    return [(effect.source, chunk) for effect in kinds(effects, Ask) for chunk in effect.chunks]


def opened(count, *nodes, held=0):
    """A swarm whose sources have all said that they hold everything, and what it asked."""
    core = Swarm(Paper(count), nodes, random.Random(1), held)
    effects = core.on_start(0.0)
    for node in nodes:
        effects += core.on_have(0.01, node, count, (1 << count) - 1)
    return core, effects


# -- the truth --


@pytest.mark.parametrize("count", [2, 3, 5, 17, 200])
@pytest.mark.parametrize("second_opens_s", [0.005, 0.5, 1.5])
def test_two_sources_are_both_used_for_every_file_of_more_than_one_chunk(count, second_opens_s):
    for seed in range(20):
        world = World(count, [Peer("a"), Peer("b", open_s=second_opens_s, rate=20e6)], seed, last=1).run()

        assert world.done
        if (
            count < 200 or second_opens_s < 0.5
        ):  # a fast source is done with the large file before the other is there
            assert len(world.used) == 2


def test_a_file_of_one_chunk_is_asked_of_one_source():
    world = World(1, [Peer("a"), Peer("b")], last=9).run()

    assert world.done
    assert len(world.asked) == 1


def test_an_empty_file_and_a_complete_one_are_done_at_once():
    assert Swarm(Manifest.of([]), [], random.Random(0)).on_start(0.0) == [Done()]
    assert Swarm(Paper(3), [A], random.Random(0), held=0b111).on_start(0.0) == [Done()]


def test_a_file_without_any_source_fails_at_once():
    assert Swarm(Paper(3), [], random.Random(0)).on_start(0.0) == [Failed((), 0, 3)]


def test_what_is_held_is_never_asked_for_again():
    held = sum(1 << i for i in range(0, 400, 2))
    world = World(400, [Peer("a"), Peer("b")], held=held).run()

    assert world.done
    assert {chunk for _, _, chunk in world.asked} == set(range(1, 400, 2))
    assert world.swarm.held == (1 << 400) - 1
    with pytest.raises(ValueError, match="does not have"):
        Swarm(Paper(3), [A], random.Random(0), held=0b1000)


def test_both_sources_together_are_nearly_as_fast_as_their_rates_add_up():
    world = World(2000, [Peer("fast", rate=80e6), Peer("slow", rate=20e6)]).run()

    ideal_s = 2000 * CHUNK / 100e6
    assert world.now < 1.15 * ideal_s
    assert world.duplicates < 0.01 * 2000


@pytest.mark.parametrize("seed", range(20))
def test_without_loss_less_than_one_percent_comes_twice(seed):
    draw = random.Random(seed)
    peers = [
        Peer(f"p{i}", rate=draw.choice([2e6, 10e6, 50e6, 200e6]), rtt_s=draw.choice([0.0005, 0.02, 0.1]))
        for i in range(draw.randint(2, 8))
    ]
    world = World(1000, peers, seed).run()

    assert world.done
    assert world.duplicates <= 0.01 * 1000


@pytest.mark.parametrize("seed", range(8))
def test_among_sources_of_all_manners_less_than_one_percent_comes_twice(seed):
    """Counted by the world: all that came, less what was wrong and what was written."""
    world = World(800, mixed(random.Random(1_000 + seed)), seed).run(600)

    twice = world.came - world.wrong - len(world.written)
    print(f"{twice} of {len(world.written)} chunks came twice")
    assert world.done
    assert world.swarm.duplicates <= twice  # the rest was sent by who was dropped for it
    assert twice < 0.01 * 800


def test_credit_grows_until_a_long_and_wide_path_is_full():
    """125 MB/s at 40 ms need 5 MB on the way; the first megabyte alone would give 25 MB/s."""
    world = World(4000, [Peer("far", rate=125e6, rtt_s=0.04, open_s=0.08)]).run()

    assert world.now < 1.35 * 4000 * CHUNK / 125e6
    assert 5_000_000 < world.most_owed <= 16 << 20


def test_all_sources_of_a_file_together_never_owe_more_than_the_swarms_credit():
    """Eight far and fast sources could take 128 MiB on the way; the world refuses more than 64."""
    peers = [Peer(f"p{i}", rate=200e6, rtt_s=0.08, open_s=0.16) for i in range(8)]
    world = World(6000, peers).run()

    assert world.done
    assert world.most_owed_by_all > 48 << 20


def test_a_source_that_would_finish_long_after_the_others_is_asked_for_nothing_near_the_end():
    for seed in range(10):
        world = World(400, [Peer("fast", rate=100e6), Peer("slow", rate=1.5e6)], seed).run()

        assert Peer("slow").node in world.used
        assert len(world.asked) == 400, "the endgame had to ask elsewhere for what the slow one owed"
        assert world.now < 1.1 * 400 * CHUNK / 101.5e6


def test_sources_beyond_the_eighth_wait_until_one_of_the_first_is_gone():
    peers = [Peer(f"p{i}", offers=i > 3) for i in range(12)]
    world = World(400, peers).run()

    assert world.done
    assert MAX_SOURCES.value == 8
    assert world.used == {peer.node for peer in peers[4:]}


def test_the_rarest_chunks_are_asked_first():
    """All have the first half, only one has the rest: after the two random ones come those."""
    core = Swarm(Paper(60), [A, B, C], random.Random(3))
    core.on_start(0.0)
    half = (1 << 30) - 1
    core.on_have(0.0, B, 60, half)
    core.on_have(0.0, C, 60, half)

    effects = core.on_have(0.0, A, 60, (1 << 60) - 1)

    assert asked(effects)
    assert all(chunk >= 30 for node, chunk in asked(effects) if node == A)


def test_the_same_calls_get_the_same_answers():
    runs = []
    for _ in range(2):
        world = World(300, [Peer("a", naks=0.1), Peer("b", loses=0.1), Peer("c", lies=0.02)], seed=7).run()
        runs.append((world.asked, world.written, world.now))

    assert runs[0] == runs[1]


# -- lies, loss and silence --


def mixed(draw):
    """Up to ten sources of all manners, with one among them that is good, so that the file can arrive."""
    manners = [
        {},
        {"lies": 1.0},
        {"lies": 0.05},
        {"loses": 0.1},
        {"naks": 1.0},
        {"naks": 0.1},
        {"busy": 1.0},
        {"busy": 0.2},
        {"mute": True},
        {"silent": True},
        {"offers": False},
        {"wrong_count": True},
        {"pushes": True},
        {"vanishes_s": draw.random()},
        {"vanishes_s": draw.random(), "returns": True},
        {"held": draw.getrandbits(120)},
    ]
    peers = [
        Peer(
            f"p{i}",
            rate=draw.choice([1e6, 10e6, 100e6]),
            rtt_s=draw.choice([0.001, 0.05]),
            **draw.choice(manners),
        )
        for i in range(draw.randint(1, 9))
    ]
    peers.insert(draw.randint(0, len(peers)), Peer("good", rate=draw.choice([5e6, 50e6])))
    return peers


@pytest.mark.parametrize("block", range(10))
def test_with_one_good_source_the_file_arrives_whatever_the_others_do(block):
    """40 seeds a block; the world checks credit, writes and order of effects at every step."""
    for seed in range(40 * block, 40 * block + 40):
        draw = random.Random(seed)
        peers = mixed(draw)
        world = World(draw.choice([1, 2, 7, 120]), peers, seed, last=draw.choice([1, CHUNK])).run(120)

        assert world.done, f"seed {seed}: {world.ended}"
        accused = {node for node, guilty in world.dropped.items() if guilty}
        assert not [p.name for p in peers if p.honest and p.node in accused], f"seed {seed}"


@pytest.mark.parametrize(
    "manners",
    [
        {"lies": 1.0},
        {"naks": 1.0},
        {"busy": 1.0},
        {"mute": True},
        {"silent": True},
        {"offers": False},
        {"wrong_count": True},
        {"pushes": True},
        {"vanishes_s": 0.3},
        {"vanishes_s": 0.0},
        {"held": 0b111},
    ],
)
def test_with_none_good_it_fails_in_bounded_time_and_names_each_with_its_reason(manners):
    peers = [Peer(f"p{i}", rate=5e6, **manners) for i in range(3)]
    world = World(40, peers).run(60)

    assert isinstance(world.ended, Failed)
    assert {node for node, _ in world.ended.why} == set(world.peers)
    assert all(why for _, why in world.ended.why)


def test_a_wrong_chunk_drops_its_source_for_good_names_it_and_is_asked_elsewhere():
    core, effects = opened(8, A, B)
    wrong = next(chunk for node, chunk in asked(effects) if node == A)

    effects = core.on_chunk(0.02, A, wrong, b"not it")

    (drop,) = kinds(effects, Drop)
    assert drop == Drop(A, f"sent a wrong chunk {wrong}", guilty=True)
    assert not kinds(effects, Write)
    assert {node for node, _ in asked(effects)} <= {B}
    assert core.on_have(0.03, A, 8, 0xFF) == []
    assert core.on_chunk(0.03, A, wrong, b"chunk %d" % wrong) == []
    for step in range(200):
        assert Open(A) not in core.on_timer(0.1 * step)


def test_a_wrong_chunk_is_a_lie_even_when_the_right_one_is_here_already():
    core, effects = opened(8, A)
    (_, first), *_ = asked(effects)
    core.on_chunk(0.02, A, first, b"chunk %d" % first)

    (drop,) = kinds(core.on_chunk(0.03, A, first, b"chunk %d" % first), Drop)

    assert drop.guilty
    assert "not asked for" in drop.why


def stood_still(seed):
    """A source whose silence led to a strike: all that was asked of it, in order, and what was asked twice."""
    core = Swarm(Paper(4), [A], random.Random(seed))
    wire = [chunk for _, chunk in asked(core.on_start(0.0) + core.on_have(0.02, A, 4, 0b1111))]
    now = 0.02
    while now < 4.3:
        now += 0.1
        wire += [chunk for _, chunk in asked(core.on_timer(now))]
    (again,) = [chunk for chunk in set(wire) if wire.count(chunk) == 2]
    return core, now, wire, again


def test_a_source_whose_network_stood_still_may_answer_every_ask_of_a_chunk_and_no_more():
    for seed in range(20):
        core, now, wire, _ = stood_still(seed)

        ended = []
        for chunk in wire:
            told = core.on_chunk(now, A, chunk, b"chunk %d" % chunk)
            wire += [more for _, more in asked(told)]
            ended += kinds(told, Done)
            assert not kinds(told, Drop)

        assert ended
    core, now, _, again = stood_still(1)
    for _ in range(2):
        assert not kinds(core.on_chunk(now, A, again, b"chunk %d" % again), Drop)
    (drop,) = kinds(core.on_chunk(now, A, again, b"chunk %d" % again), Drop)
    assert drop.guilty


@pytest.mark.parametrize("no", [Swarm.on_nak, Swarm.on_busy])
def test_a_source_may_say_no_to_every_ask_of_a_chunk(no):
    core, now, _, again = stood_still(1)

    for _ in range(2):
        assert not kinds(no(core, now, A, (again,)), Drop)


def test_eight_slow_sources_do_not_shut_out_a_fast_one():
    slow = [Peer(f"s{i}", rate=CHUNK / 3.5) for i in range(MAX_SOURCES.value)]
    world = World(400, [*slow, Peer("fast", rate=50e6)]).run(200)

    assert world.done
    assert world.now < 40
    assert next(peer for peer in world.peers.values() if peer.name == "fast").gave > 300


def test_a_source_that_only_gets_what_is_here_gives_no_hope():
    count = 100
    core = Swarm(Paper(count), [A], random.Random(1), held=(1 << count) - 2)
    core.on_start(0.0)
    now, have = 0.01, 0b10
    told = core.on_have(now, A, count, have)
    while not kinds(told, Failed) and now < 60:
        now += 0.1
        have |= have << 1 & (1 << count) - 1
        told = [*core.on_timer(now), *core.on_have(now, A, count, have)]

    assert kinds(told, Failed)
    assert now < 20


def test_garbage_drops_its_source_and_counts_as_guilt():
    core, _ = opened(8, A, B)

    (drop,) = kinds(core.on_fault(0.02, A, "sent garbage"), Drop)

    assert drop == Drop(A, "sent garbage", guilty=True)
    assert core.on_fault(0.02, A, "sent garbage") == []


def test_the_chunks_of_a_lost_source_go_to_another_at_once_and_it_is_tried_once_more():
    core, effects = opened(8, A, B)
    of_a = {chunk for node, chunk in asked(effects) if node == A}
    of_b = {chunk for node, chunk in asked(effects) if node == B}
    for chunk in of_b:
        core.on_chunk(0.02, B, chunk, b"chunk %d" % chunk)

    effects = core.on_lost(0.03, A, "vanished")

    assert {chunk for node, chunk in asked(effects) if node == B} == of_a
    assert not kinds(effects, Open)
    assert kinds(core.on_timer(0.6), Open) == [Open(A)]
    core.on_lost(0.7, A, "vanished")
    assert not kinds(core.on_timer(2.0), Open)


def test_a_silent_source_costs_one_patience_then_its_chunks_go_to_another():
    world = World(40, [Peer("good"), Peer("silent", silent=True)]).run()

    assert world.done
    assert world.now < sources.SILENT_S + 1


def test_a_source_that_is_silent_three_times_in_a_row_is_dropped_without_blame():
    world = World(40, [Peer("silent", silent=True)]).run()

    assert isinstance(world.ended, Failed)
    assert world.dropped == {node: False for node in world.peers}
    assert 3 * sources.SILENT_S <= world.now < 3 * sources.SILENT_S + 1


def test_a_source_that_stalls_and_comes_back_is_used_again():
    core, effects = opened(40, A)
    first = asked(effects)
    effects = core.on_timer(sources.SILENT_S + 0.1)

    assert sorted(c for e in kinds(effects, Cancel) for c in e.chunks) == sorted(c for _, c in first)
    ((_, probe),) = asked(effects)
    effects = core.on_chunk(sources.SILENT_S + 0.2, A, probe, b"chunk %d" % probe)
    assert len(asked(effects)) > 1


def test_a_chunk_that_comes_after_it_was_given_up_still_counts():
    core, effects = opened(40, A)
    chunks = [chunk for _, chunk in asked(effects)]
    (_, probe), *_ = asked(core.on_timer(sources.SILENT_S + 0.1))
    late = next(chunk for chunk in chunks if chunk != probe)

    effects = core.on_chunk(sources.SILENT_S + 0.2, A, late, b"chunk %d" % late)

    assert [effect.index for effect in kinds(effects, Write)] == [late]


def test_in_the_endgame_a_late_chunk_is_asked_twice_and_the_loser_is_told():
    core, effects = opened(2, A, B)
    owner = {chunk: node for node, chunk in asked(effects)}
    assert set(owner.values()) == {A, B}
    mine, other = next(c for c in owner if owner[c] == A), next(c for c in owner if owner[c] == B)
    core.on_chunk(0.02, A, mine, b"chunk %d" % mine)
    assert asked(core.on_timer(1.0)) == []

    assert asked(core.on_timer(swarm.SOON_S + 0.1)) == [(A, other)]
    effects = core.on_chunk(swarm.SOON_S + 0.2, A, other, b"chunk %d" % other)
    assert Cancel(B, (other,)) in effects
    assert effects[-1] == Done()
    assert core.on_chunk(swarm.SOON_S + 0.3, B, other, b"chunk %d" % other) == []


def test_a_refused_chunk_is_not_asked_of_the_same_source_again_and_halves_its_credit():
    core, effects = opened(40, A)
    chunks = [chunk for _, chunk in asked(effects)]
    before = len(chunks)

    effects = core.on_nak(0.02, A, chunks)

    assert not {chunk for _, chunk in asked(effects)} & set(chunks)
    assert len(asked(effects)) == before // 2
    core.on_have(0.03, A, 40, (1 << 40) - 1)
    for step in range(30):
        ((_, next_one), *_) = asked(effects) or [(A, None)]
        if next_one is not None:
            effects = core.on_chunk(0.04 + step / 100, A, next_one, b"chunk %d" % next_one)
        assert not {chunk for _, chunk in asked(effects)} & set(chunks)
    world = World(120, [Peer("good", rate=5e6), Peer("n", naks=1.0)]).run()
    assert world.done
    assert world.dropped[Peer("n").node] is False


@pytest.mark.parametrize("refuse", ["on_nak", "on_busy"])
def test_refusing_what_nobody_asked_for_is_no_honest_answer(refuse):
    core, effects = opened(40, A, B)
    never = next(i for i in range(40) if i not in {chunk for _, chunk in asked(effects)})

    (drop,) = kinds(getattr(core, refuse)(0.02, A, [never]), Drop)

    assert drop.guilty


def test_a_busy_source_is_left_alone_for_a_while_then_asked_for_less():
    core, effects = opened(40, A)
    chunks = [chunk for _, chunk in asked(effects)]

    assert asked(core.on_busy(0.02, A, chunks)) == []
    assert asked(core.on_timer(0.1)) == []
    assert len(asked(core.on_timer(0.3))) == len(chunks) // 2


def test_chunks_left_for_a_source_that_never_comes_are_asked_of_the_first_after_two_seconds():
    world = World(2, [Peer("good"), Peer("mute", mute=True)]).run()

    assert world.done
    assert swarm.HOLD_S <= world.now < swarm.HOLD_S + 0.5


def test_a_timer_is_always_set_until_the_end():
    core, effects = opened(8, A)

    assert kinds(effects, WakeAt)
    assert kinds(core.on_timer(0.1), WakeAt) == [WakeAt(0.1 + swarm.TICK_S)]
    ends = core.on_nak(0.2, A, ())
    assert kinds(ends, Failed)
    assert core.on_timer(0.3) == []


def test_real_hashes_decide_as_well_as_papers():
    data = random.Random(5).randbytes(3 * CHUNK_BYTES.value + 7)
    manifest = Manifest.of([data])
    core = Swarm(manifest, [A, B], random.Random(2))
    core.on_start(0.0)
    effects = core.on_have(0.0, A, 4, 0b1111) + core.on_have(0.0, B, 4, 0b1111)
    out = bytearray(len(data))
    for node, chunk in asked(effects):
        offset, length = manifest.span(chunk)
        for write in kinds(core.on_chunk(0.1, node, chunk, data[offset : offset + length]), Write):
            out[write.offset : write.offset + len(write.data)] = write.data

    assert out == data


def test_who_refuses_what_it_says_it_has_is_let_go_with_a_word_and_who_has_nothing_is_not():
    core = Swarm(Paper(20), [A, B], random.Random(1))
    core.on_start(0.0)
    core.on_have(0.01, A, 20, (1 << 20) - 1)
    (nothing,) = [one for one in core.on_nak(0.02, B, ()) if isinstance(one, Drop)]
    assert (nothing.guilty, nothing.odd) == (False, False)
    dropped, now = [], 0.02
    while not dropped and now < 60.0:
        now += 0.1
        owed = tuple(core._roster.sources[A].owed)
        effects = core.on_nak(now, A, owed[:1]) if owed else core.on_have(now, A, 20, (1 << 20) - 1)
        dropped = [one for one in effects if isinstance(one, Drop)]
    assert [(one.source, one.guilty, one.odd) for one in dropped] == [(A, False, True)]
