"""Repair: whatever domain is lost, copies are back within a minute of the grace, and nothing moves that need not."""

import bisect
import random
from collections.abc import Sequence

import pytest

from pyrsia.transfer.placement import Placement, shard_of
from pyrsia.transfer.repair import AskHeld, Effect, Pull, Repair, Spare, WakeAt
from pyrsia.transfer.wanted import Blob, Outcome
from pyrsia.units import FAILED_BLOBS, NodeId
from tests.unit.transfer.storing import MB, RATE, World, blobs, members

GRACE_S = 600.0


@pytest.mark.parametrize("seed", range(4))
def test_a_lost_failure_domain_is_made_good_within_a_minute_of_the_grace(seed: int) -> None:
    """1,000 artifacts of 2 GB together, 12 members in 4 domains."""
    crowd = members(12, 4, seed)
    world = World(crowd, blobs(1_000, seed), seed)
    world.fill()
    world.start()
    world.run(30.0)
    assert world.restored()
    assert world.counted["pulls"] == 0  # nothing lacks, nothing moves
    before = {one.sha256: world.placement.owners(one.sha256) for one in world.named}
    lost = world.lose(f"domain {seed}")
    world.run(30.0 + GRACE_S - 3.0)
    assert world.counted["pulls"] == 0  # a reboot is no loss
    assert not world.restored()
    world.run(30.0 + GRACE_S + 60.0)
    assert world.restored()
    # What moved is what was lost: one copy of each blob for each owner that is gone, to who owns it now.
    for one in world.named:
        gone = lost & set(before[one.sha256])
        came = {node for node, keeper in world.keepers.items() if one.sha256 in keeper.pulled}
        assert came == set(world.placement.owners(one.sha256, lost)) - set(before[one.sha256])
        assert len(came) == len(gone)
    assert world.counted["pulls"] == sum(len(keeper.pulled) for keeper in world.keepers.values())
    # Nobody was told to let go of anything, and whoever returns finds his shards his own.
    world.back(lost)
    world.run(world.now + 30.0)
    assert world.counted["pulls"] == sum(len(keeper.pulled) for keeper in world.keepers.values())
    assert all(not world.keepers[node].spared for node in lost)
    assert any(keeper.spared for keeper in world.keepers.values())
    assert all(world.holders(one.sha256) >= set(before[one.sha256]) for one in world.named)


def test_a_new_blob_goes_from_its_builder_to_its_owners() -> None:
    world = World(members(6, 6, 3), [], 3)
    world.start()
    world.run(10.0)
    fresh = blobs(40, 9)
    world.elsewhere = {one.sha256 for one in fresh}
    world.named = fresh
    for one in fresh:
        world.by_shard.setdefault(shard_of(one.sha256), []).append(one)
    for keeper in world.keepers.values():
        keeper.core.on_named(fresh)
        world.wake(keeper)
    world.run(60.0)
    assert world.restored()
    assert all(world.holders(one.sha256) == set(world.placement.owners(one.sha256)) for one in fresh)


def test_a_joining_member_takes_only_what_it_owns() -> None:
    crowd = members(7, 7, 5)
    world = World(crowd, blobs(200, 5), 5)
    late = crowd[-1].node
    world.placement = Placement.of(crowd[:-1])
    world.fill()
    world.start()
    world.run(10.0)
    world.placement = Placement.of(crowd)
    world.run(120.0)
    assert world.restored()
    assert {one.sha256 for one in world.named if late in world.placement.owners(one.sha256)} == world.keepers[
        late
    ].held
    assert all(not keeper.pulled for node, keeper in world.keepers.items() if node != late)


def test_who_leaves_is_passed_over_gives_what_it_has_and_brings_nothing() -> None:
    world = World(members(7, 7, 6), blobs(200, 6), 6)
    world.fill()
    world.start()
    world.run(10.0)
    leaver = world.members[0].node
    mine = [one for one in world.named if leaver in world.placement.owners(one.sha256)]
    world.leaving = {leaver}
    world.run(120.0)
    assert mine
    for one in mine:
        assert world.holders(one.sha256) >= {leaver, *world.placement.owners(one.sha256, {leaver})}
    assert not world.keepers[leaver].pulled
    assert world.keepers[leaver].core.mine == set()
    # Undone: nothing was thrown away, so nothing has to move.
    pulls = world.counted["pulls"]
    world.leaving = set()
    world.run(240.0)
    assert world.counted["pulls"] == pulls
    assert world.restored()


def test_no_more_bytes_a_second_than_allowed() -> None:
    world = World(members(4, 4, 7), blobs(60, 7, 20 * MB), 7)
    for one in world.named:  # one has everything, another lost its disk
        for at in (0, 1, 2):
            world.keepers[world.members[at].node].held.add(one.sha256)
    world.start()
    empty = world.keepers[world.members[3].node]
    size = {one.sha256: one.size for one in world.named}
    for second in range(1, 60):
        world.run(float(second))
        assert sum(size[one] for one in empty.pulled) <= RATE * (second + 1) + 20 * MB
    assert {
        one.sha256 for one in world.named if empty.node in world.placement.owners(one.sha256)
    } <= empty.held


def test_a_full_member_waits_and_goes_on_when_there_is_room() -> None:
    world = World(members(4, 4, 8), blobs(50, 8), 8)
    world.fill()
    full = world.keepers[world.members[0].node]
    wanted = set(full.held)
    full.held.clear()
    full.refuses = True
    world.start()
    world.run(300.0)
    assert full.core.full
    assert not full.held
    assert full.wakes < 5_000  # it does not spin
    full.refuses = False
    world.run(460.0)
    assert full.held == wanted
    assert not full.core.full


def test_what_is_lost_is_tried_less_and_less_often_and_holds_up_nothing() -> None:
    """An entry may name what nobody has: two places of four are all that it ever takes."""
    world = World(members(4, 4, 2), blobs(60, 2), 2)
    world.fill()
    keeper = world.keepers[world.members[0].node]
    mine = sorted(keeper.held)
    lost, lacking = set(mine[:20]), set(mine[20:])
    for other in world.keepers.values():
        other.held -= lost
    keeper.held.clear()
    world.start()
    world.run(120.0)
    assert keeper.held == lacking
    world.run(400.0)
    assert keeper.core.lost == len(lost)
    before = world.counted["pulls"]
    world.run(3_000.0)
    calm = world.counted["pulls"]
    world.run(6_600.0)
    assert world.counted["pulls"] - calm <= 4 * 2 * len(
        lost
    )  # an hour: each of four members tries each once or so
    assert calm > before
    world.elsewhere = lost
    world.run(10_300.0)
    assert keeper.held == lacking | lost


def test_a_member_that_says_it_has_everything_costs_time_only() -> None:
    world = World(members(5, 5, 4), blobs(200, 4), 4)
    world.fill()
    liar, poor = world.keepers[world.members[0].node], world.keepers[world.members[1].node]
    liar.held.clear()
    liar.lies = True
    wanted = set(poor.held)
    poor.held.clear()
    world.start()
    world.run(200.0)
    assert poor.held == wanted


# -- the core by itself --


class Shelf:
    def __init__(self, named: list[Blob]) -> None:
        self.named = sorted(named, key=lambda one: one.key)
        self.here: set[bytes] = set()
        self.read = 0

    def lacks(self, shard: int, after: bytes, most: int) -> Sequence[tuple[Blob, bool]]:
        at = bisect.bisect_left(self.named, shard, key=lambda one: shard_of(one.sha256))
        rows: list[Blob] = []
        for one in self.named[at : at + most]:
            if shard_of(one.sha256) == shard and one.key > after:
                rows.append(one)
        self.read += len(rows)
        return [(one, one.sha256 not in self.here) for one in rows]


def alone(named: list[Blob], count: int = 4) -> tuple[Repair, Shelf, list[NodeId]]:
    """A core whose first looks are over, with the others of its network."""
    crowd = members(count, count, 1)
    shelf = Shelf(named)
    core = Repair(crowd[0].node, shelf, random.Random(1), rate=RATE)
    core.on_members(Placement.of(crowd))
    return core, shelf, [one.node for one in crowd[1:]]


def step(core: Repair, now: float = 0.0) -> list[Effect]:
    """Every effect until it waits for something."""
    found: list[Effect] = []
    for _ in range(10_000):
        effects = core.on_timer(now)
        found += [one for one in effects if not isinstance(one, WakeAt)]
        if effects[-1] != WakeAt(now):
            return found
    raise AssertionError("it never waits")


def test_the_rarest_comes_first() -> None:
    core, _, others = alone(blobs(2_000, 1, 2_000), count=3)
    asks = [one for one in step(core) if isinstance(one, AskHeld)]
    rare = {blob for at, blob in enumerate(asks[0].blobs) if at % 3 == 0}
    pulls: list[Pull] = []
    assert len(asks[0].blobs) == 1_024
    for _ in range(10):
        for ask in asks:
            core.on_held(ask.node, [ask.node == others[0] or blob not in rare for blob in ask.blobs])
        effects = step(core)
        asks = [one for one in effects if isinstance(one, AskHeld)]
        pulls += [one for one in effects if isinstance(one, Pull)]
        for pull in pulls[-4:]:
            core.on_pulled(0.0, pull.blob, Outcome.HERE)
    assert [len(one.sources) for one in pulls[:20]] == [1] * 20
    assert all(one.blob.sha256 in rare for one in pulls[:20])


def test_a_question_names_each_blob_once_and_at_most_a_thousand() -> None:
    named = blobs(1_500, 1, 2_000)
    twin = [
        Blob(one.sha256, bytes(32), one.size) for one in named[:10]
    ]  # the same bytes under a wrong manifest
    core, _, _ = alone([*named, *twin], count=3)
    asks = [one for one in step(core) if isinstance(one, AskHeld)]
    assert len(asks) == 2  # one to each of the others, and the next only after the answer
    assert all(len(one.blobs) == len(set(one.blobs)) <= 1_024 for one in asks)
    seen = {one.node: set(one.blobs) for one in asks}
    for _ in range(20):
        for one in asks:
            core.on_held(one.node, [False] * len(one.blobs))
        asks = [one for one in step(core) if isinstance(one, AskHeld)]
        for one in asks:
            seen[one.node] |= set(one.blobs)
    assert all(found == {one.sha256 for one in named} for found in seen.values())


def test_tables_are_bounded_however_much_lacks() -> None:
    core, shelf, _ = alone([])
    core.on_timer(0.0)
    step(core)
    shelf.named = sorted(blobs(6_000, 2, 2_000), key=lambda one: one.key)
    core.on_named(shelf.named)
    step(core)
    assert core.coming <= 4_096
    for round in range(20_000):
        blob = Blob(round.to_bytes(32, "little"), bytes(32), 1)
        core.on_pulled(0.0, blob, Outcome.FAILED)
    assert core.lost == FAILED_BLOBS.value


def test_what_contradicts_itself_is_not_tried_again() -> None:
    core, shelf, others = alone(blobs(1, 1), count=3)
    (wanted,) = shelf.named

    def pulled(now: float) -> list[Pull]:
        effects = step(core, now)
        for ask in effects:
            if isinstance(ask, AskHeld):
                core.on_held(ask.node, [True] * len(ask.blobs))
        return [one for one in (*effects, *step(core, now)) if isinstance(one, Pull)]

    assert [one.blob for one in pulled(0.0)] == [wanted]
    core.on_pulled(0.0, wanted, Outcome.VOID)
    assert pulled(5_000.0) == []
    assert core.settled
    assert len(others) == 2


def test_an_answer_of_the_wrong_length_is_a_bug_of_the_shell() -> None:
    core, _, _ = alone(blobs(5, 1), count=3)
    ask = next(one for one in step(core) if isinstance(one, AskHeld))
    with pytest.raises(ValueError, match="zip"):
        core.on_held(ask.node, [True] * (len(ask.blobs) + 1))


def test_a_node_that_is_no_storage_member_does_nothing() -> None:
    core = Repair(NodeId(b"x" * 32), Shelf(blobs(50, 1)), random.Random(1), rate=RATE)
    assert core.on_named(blobs(50, 1)) is False
    assert step(core) == []
    core.on_members(Placement.of(members(4, 4, 1)))
    assert step(core) == []
    assert core.mine == set()


def test_shards_that_become_others_are_told_once() -> None:
    crowd = members(4, 4, 1)
    core = Repair(crowd[0].node, Shelf([]), random.Random(1), rate=RATE)
    whole = Placement.of(crowd)
    core.on_members(whole, dead=frozenset({crowd[1].node}))
    step(core)
    wide = set(core.mine)
    assert core.on_members(whole)
    assert not core.on_members(whole)
    spared = [one.shard for one in step(core) if isinstance(one, Spare)]
    assert sorted(spared) == sorted(wide - core.mine)
    assert core.mine == set(whole.shards(crowd[0].node))
