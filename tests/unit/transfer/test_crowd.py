"""Nodes that fetch one file at the same time from one that has it, each line capped: how long, how often, despite whom.

A server that gives each its own copy takes eight times as long as one copy takes. Duplicates are counted at the
receiving end, in every scenario.
"""

import importlib.util
import sys
from pathlib import Path

import pytest

from pyrsia.transfer.buckets import Flow
from pyrsia.transfer.roster import HOPE_S, MAX_NAMED

sys.path.insert(0, str(Path(__file__).parent))
from crowd import Crowd, Member

assert importlib.util.find_spec("crowd")

COUNT = 256  # 64 MiB
UP = 10e6


def eight(apart_s=0.01, **options):
    return [Member(f"n{i}", UP, starts_s=apart_s * i, **options) for i in range(8)]


def ratios(crowd):
    """How long each took, in times of what one copy takes."""
    one_s = crowd.paper.size / UP
    assert not [member.failed for member in crowd.fetchers if member.failed]
    return [(member.done_s - member.starts_s) / one_s for member in crowd.fetchers]


def duplicates(crowd):
    """Share of the chunks that came twice."""
    came, here = sum(m.came for m in crowd.fetchers), sum(len(m.here) for m in crowd.fetchers)
    print(f"{came - here} of {here} chunks came twice")
    return (came - here) / here


def read_along(members):
    """Everybody's client takes the file from its start, as it comes."""
    for member in members:
        if member.starts_s is not None:
            member.places = lambda m=member: (_first_gap(m.swarm.held if m.swarm else 0),)
    return members


def _first_gap(held):
    return (~held & (held + 1)).bit_length() - 1


@pytest.mark.parametrize("reads", [False, True])
def test_eight_that_fetch_one_file_together_take_hardly_longer_than_one_alone(reads):
    members = [Member("seed", UP), *eight()]
    crowd = Crowd(COUNT, read_along(members) if reads else members, knows={"seed"}).run()

    assert max(ratios(crowd)) < 1.3
    assert members[0].gave < 1.3 * COUNT
    assert duplicates(crowd) < 0.01


def test_who_comes_later_is_helped_by_those_before_and_delays_nobody():
    crowd = Crowd(COUNT, [Member("seed", UP), *eight(apart_s=1.5)], knows={"seed"}).run()

    assert max(ratios(crowd)) < 1.4
    assert duplicates(crowd) < 0.01


@pytest.mark.parametrize(
    ("rate", "rtt_s"), [(4e6, 0.05), (125e6, 0.001), (125e6, 0.04)], ids=["slow", "near", "far"]
)
def test_slow_near_and_far_lines_alike(rate, rtt_s):
    members = [Member("seed", rate), *(Member(f"n{i}", rate, starts_s=0.01 * i) for i in range(8))]
    crowd = Crowd(COUNT, members, knows={"seed"}, rtt_s=rtt_s).run(2_000)

    one_s = crowd.paper.size / rate
    assert max(m.done_s - m.starts_s for m in crowd.fetchers) < 2 * one_s
    assert duplicates(crowd) < 0.01


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("fault", ["says it has all", "never gives", "hardly fetches"])
def test_one_that_does_not_do_its_part_costs_the_others_little_and_nobody_honest_is_blamed(fault, reads):
    bad = {
        "says it has all": Member("bad", UP, starts_s=0, claims=True),
        "never gives": Member("bad", UP, gives=False),
        "hardly fetches": Member("bad", UP, starts_s=0, down=Flow(1, 0)),
    }[fault]
    others = [Member("seed", UP), *eight()]
    if reads:
        read_along(others)
    crowd = Crowd(COUNT, [*others, bad], knows={"seed", "bad"})
    crowd.run(only=[m for m in others if m.starts_s is not None])

    assert max(ratios(crowd)) < 2
    assert duplicates(crowd) < 0.01
    assert not any(guilty for member in crowd.fetchers for guilty in member.dropped.values())


def test_when_the_seed_vanishes_those_who_have_all_of_it_among_them_still_finish():
    seed = Member("seed", UP, ends_s=1.25 * COUNT * 262_144 / UP)
    late = Member("late", UP, starts_s=5.0)
    crowd = Crowd(COUNT, [seed, *eight(), late], knows={"seed"}).run()

    assert max(ratios(crowd)) < 2
    assert duplicates(crowd) < 0.01


def test_when_nobody_has_the_rest_all_give_up_in_bounded_time_and_say_what_they_have():
    seed = Member("seed", UP, ends_s=3.0)
    crowd = Crowd(COUNT, [seed, *eight()], knows={"seed"}).run()

    assert all(member.failed for member in crowd.fetchers)
    assert {len(member.here) for member in crowd.fetchers} == {len(crowd.fetchers[0].here)}
    assert 40 < len(crowd.fetchers[0].here) < COUNT
    assert crowd.now < 3.0 + 4 * HOPE_S
    assert all(dict(member.failed)[seed.node] == "vanished" for member in crowd.fetchers)


def test_a_limit_on_what_comes_down_is_obeyed_and_makes_no_source_look_slow():
    limited = Member("limited", UP, starts_s=0.0, down=Flow(2e6, 0))
    crowd = Crowd(
        200, [Member("seed", 100e6), Member("seed2", 100e6), limited], knows={"seed", "seed2"}
    ).run()

    least_s = (crowd.paper.size - (1 << 20)) / 2e6
    assert least_s <= limited.done_s < 1.1 * least_s + 0.5
    assert limited.dropped == {}
    assert limited.duplicates == 0


def test_a_limit_for_each_source_lets_more_sources_give_more():
    limited = Member("limited", UP, starts_s=0.0, down=Flow(0, 2e6))
    crowd = Crowd(
        200, [*(Member(f"s{i}", 100e6) for i in range(4)), limited], knows={f"s{i}" for i in range(4)}
    )
    crowd.run()

    assert limited.done_s < 1.2 * crowd.paper.size / 8e6


def test_names_that_a_liar_invents_take_few_attempts_and_no_place_of_the_others():
    seed, liar = Member("seed", UP), Member("liar", UP, gives=False)
    ghosts = [Member(f"ghost{i}", UP, ends_s=0.0) for i in range(60)]
    crowd = Crowd(200, [seed, liar, *ghosts, *eight()], knows={"seed", "liar"})
    for ghost in ghosts:
        liar.askers.asked(0.0, ghost.node, b"m" * 32)
    crowd.run()

    assert max((m.done_s - m.starts_s) * UP / crowd.paper.size for m in crowd.fetchers) < 2.5
    tried = [sum(node in m.dropped for node in (g.node for g in ghosts)) for m in crowd.fetchers]
    assert max(tried) <= MAX_NAMED.value + 8
