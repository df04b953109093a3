"""Where others reach a node: what is advertised, and who is asked to dial back."""

import importlib.util
import random
import sys
from pathlib import Path

import pytest

from pyrsia.mesh import scopes
from pyrsia.mesh.reach import AGAIN_S, DIFFER_S, MOST_ASKED, RETRY_S, AskBack, Reach
from pyrsia.mesh.scopes import Scope

sys.path.insert(0, str(Path(__file__).parent))
from township import ident

assert importlib.util.find_spec("township")

PORTS = (44_000, 44_001, 44_002)
NOBODY = ("", "", "")
ANYWHERE = "0.0.0.0"  # noqa: S104 (compared, not bound)
A, B, C, D = (ident(number) for number in range(4))
ALL = (True, True, True)


def reach_of(*where, seed=0, members=(), **more):
    return Reach(
        *where,
        draw=random.Random(seed),
        within=lambda host: scopes.may_dial(host, {Scope.GLOBAL}),
        member=lambda node: node in members,
        **more,
    )


def asked(reach, now, seen):
    return [one.node for one in reach.ask(now, seen)]


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "::1", "amber.internal"])
def test_who_listens_within_a_scope_is_there_for_whoever_is_too(host):
    reach = reach_of(host, PORTS)
    where = f"[{host}]" if ":" in host else host
    assert reach.addresses() == tuple(f"tcp://{where}:{port}" for port in PORTS)
    assert asked(reach, 0.0, {A: "8.8.8.8"}) == []


def test_what_the_operator_says_is_advertised_and_nobody_is_asked():
    reach = reach_of(ANYWHERE, (44_000, 44_001, 0), told="amber.example")
    assert reach.addresses() == ("tcp://amber.example:44000", "tcp://amber.example:44001", "")
    assert asked(reach, 0.0, {A: "8.8.8.8"}) == []


@pytest.mark.parametrize("host", [ANYWHERE, "::", "8.8.8.8"])
def test_what_nobody_reached_is_advertised_to_nobody(host):
    reach = reach_of(host, PORTS)
    assert reach.addresses() == NOBODY
    assert reach.ask(0.0, {A: "8.8.8.8", B: ""}) == [AskBack(A)]
    reach.on_back(1.0, A, "8.8.8.8", (False, False, False))
    assert (reach.addresses(), reach.found) == (NOBODY, False)


def test_what_more_of_them_reached_than_not_is_advertised():
    reach = reach_of(ANYWHERE, PORTS)
    three = asked(reach, 0.0, dict.fromkeys((A, B, C, D), "8.8.8.8"))
    assert len(three) == MOST_ASKED.value
    reach.on_back(1.0, three[0], "8.8.8.8", ALL)
    assert reach.addresses()[0] == "tcp://8.8.8.8:44000"
    reach.on_back(1.0, three[1], "8.8.8.8", (False, False, False))
    assert not reach.found  # one of two
    reach.on_back(1.0, three[2], "8.8.8.8", (True, False, True))
    assert reach.addresses() == ("tcp://8.8.8.8:44000", "", "tcp://8.8.8.8:44002")


def test_one_liar_of_three_moves_no_node():
    reach = reach_of(ANYWHERE, PORTS)
    three = asked(reach, 0.0, dict.fromkeys((A, B, C), "8.8.8.8"))
    reach.on_back(1.0, three[0], "6.6.6.6", ALL)
    reach.on_back(1.0, three[1], "8.8.8.8", ALL)
    reach.on_back(1.0, three[2], "8.8.8.8", ALL)
    assert reach.addresses()[0] == "tcp://8.8.8.8:44000"


@pytest.mark.parametrize(
    "host",
    ["", "0.0.0.0", "224.0.0.1", "evil.example", "127.0.0.1", "10.0.0.7", "169.254.169.254"],  # noqa: S104
)
def test_an_address_that_is_nobodys_is_no_word(host):
    reach = reach_of(ANYWHERE, PORTS)
    asked(reach, 0.0, {A: "8.8.8.8"})
    reach.on_back(1.0, A, host, ALL)
    assert reach.addresses() == NOBODY


def test_a_word_that_nobody_asked_for_is_none():
    reach = reach_of(ANYWHERE, PORTS)
    reach.on_back(1.0, A, "8.8.8.8", ALL)
    assert reach.addresses() == NOBODY


def test_who_does_not_answer_makes_room_and_words_are_asked_for_anew():
    reach = reach_of(ANYWHERE, PORTS)
    assert asked(reach, 0.0, {A: "8.8.8.8"}) == [A]
    assert asked(reach, 1.0, {A: "8.8.8.8"}) == []
    assert asked(reach, RETRY_S, {A: "8.8.8.8"}) == [A]
    reach.on_back(RETRY_S + 1, A, "8.8.8.8", ALL)
    assert asked(reach, RETRY_S + AGAIN_S, {A: "8.8.8.8"}) == []
    assert asked(reach, RETRY_S + 1 + AGAIN_S, {A: "8.8.8.8"}) == [A]
    assert not reach.found  # the old word is over


def test_who_is_asked_is_drawn_whatever_ids_there_are_and_members_come_first():
    crowd = [
        bytes([0, number]) + bytes(30) for number in range(3)
    ]  # ids that somebody has ground to be small
    honest = [ident(number) for number in range(30)]
    seen = dict.fromkeys([*crowd, *honest], "8.8.8.8")
    steered = 0
    for seed in range(200):
        steered += len(set(crowd) & set(asked(reach_of(ANYWHERE, PORTS, seed=seed), 0.0, seen))) >= 2
    assert steered <= 10
    members = set(honest[:3])
    assert set(asked(reach_of(ANYWHERE, PORTS, members=members), 0.0, seen)) == members


def test_words_that_differ_are_asked_for_anew_sooner():
    reach = reach_of(ANYWHERE, PORTS)
    first, second, third = asked(reach, 0.0, dict.fromkeys((A, B, C), "8.8.8.8"))
    reach.on_back(0.0, first, "8.8.8.8", ALL)
    reach.on_back(0.0, second, "6.6.6.6", ALL)
    reach.on_back(0.0, third, "6.6.6.6", ALL)
    seen = dict.fromkeys((A, B, C), "8.8.8.8")
    assert asked(reach, DIFFER_S - 1, seen) == []
    assert set(asked(reach, DIFFER_S, seen)) == {A, B, C}
