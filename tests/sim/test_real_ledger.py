"""The same faults and liars over the real ledger: all honest nodes execute one log, and what began ends."""

import random

import pytest

from pyrsia.ledger import views
from tests.sim.plan import Plan
from tests.sim.real import RealWorld


def ran(seeds: range, requests: int = 0, **fixed: object) -> list[RealWorld]:
    plans = [Plan.random(random.Random(seed), **{"seconds": 2.0, "entries": 8, **fixed}) for seed in seeds]
    return [RealWorld(seed, plan, requests=requests).run() for seed, plan in zip(seeds, plans, strict=True)]


def test_liars_over_the_real_ledger_are_put_on_record_by_the_honest() -> None:
    worlds = ran(range(6), byzantine=1, twins=False, habits=("equivocate", "everything"))

    liars = {(world, node.number) for world in worlds for node in world.nodes if node.villain is not None}
    recorded = [
        (world, number)
        for world, number in liars
        if any(
            views.fault(world.honest[0].app.db.get, *_named(world, number, epoch))
            for epoch in world.auditor.epochs
        )
    ]
    assert len(recorded) >= 4


def _named(world: RealWorld, number: int, epoch: int) -> tuple[str, int, str]:
    from pyrsia.wire.text import b32

    return b32(world.id_of(number)), epoch, "votes"


def test_builds_go_on_while_epochs_change_and_no_reveal_comes_before_its_gate() -> None:
    worlds = ran(range(100, 112), requests=2, seats=6, spares=2)

    assert sum(world.gates for world in worlds) > 30
    assert sum(world.kept for world in worlds) > 10
    assert sum(max(world.auditor.epochs) for world in worlds) > 10
    assert all(not world.open_requests() for world in worlds)


def test_members_that_follow_become_validators_and_vote() -> None:
    worlds = ran(range(200, 208), seats=8, spares=2, byzantine=0)

    seated = [
        node
        for world in worlds
        for node in world.nodes[world.plan.n :]
        if node.core is not None and node.core.seat is not None
    ]
    assert len(seated) > 3
    assert all(node.core is not None and node.core.voting for node in seated)


def test_a_dead_validator_of_four_is_replaced_and_the_network_goes_on() -> None:
    worlds = ran(range(300, 305), seconds=3.0, dead=1, spares=1, byzantine=0, seats=0, rollbacks=0)

    assert all(max(world.auditor.epochs) >= 1 for world in worlds)
    for world in worlds:
        dead = [node for node in world.nodes if node.dead]
        newest = world.auditor.epochs[max(world.auditor.epochs)]
        assert [world.id_of(node.number) in {one.node for one in newest.validators} for node in dead] == [
            False
        ]


def test_a_few_runs_sign_their_votes_with_real_keys() -> None:
    plans = [
        Plan.random(random.Random(seed), seconds=1.0, entries=5, byzantine=seed % 2) for seed in range(4)
    ]

    worlds = [RealWorld(seed, plan, keys=True).run() for seed, plan in enumerate(plans)]

    assert all(world.auditor.height > 5 for world in worlds)


@pytest.mark.parametrize("requests", [0, 3])
def test_seven_real_validators_agree_beside_two_liars(requests: int) -> None:
    worlds = ran(range(400, 403), requests=requests, n=7, byzantine=2)

    assert all(world.auditor.height > 5 for world in worlds)
