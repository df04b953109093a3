"""Placement: everybody computes the same owners, they fail apart, and a change of members moves only what it must."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.transfer import placement
from pyrsia.transfer.placement import MAX_WEIGHT, Placement, StorageMember, shard_of
from pyrsia.units import SHARDS, NodeId
from tests.reference import placement as oracle

SOME = (0, 1, 7, 8, 2_047, 4_095)

_members = st.lists(
    st.builds(
        StorageMember,
        st.binary(min_size=32, max_size=32).map(NodeId),
        st.sampled_from(("north", "south", "east", "west")),
        st.sampled_from(("ann", "bob", "cy")),
        st.integers(1, 4),
    ),
    max_size=9,
    unique_by=lambda one: one.node,
)


def crowd(count: int, domains: int, seed: int = 1, weight: int = 1) -> list[StorageMember]:
    draw = random.Random(seed)
    return [
        StorageMember(NodeId(draw.randbytes(32)), f"domain {at % domains}", f"operator {at}", weight)
        for at in range(count)
    ]


def owned(members: list[StorageMember], replicas: int = 3) -> list[frozenset[NodeId]]:
    made = Placement.of(members, replicas)
    return [frozenset(made.owners_of(shard)) for shard in range(SHARDS.value)]


@given(_members, st.sampled_from(SOME), st.integers(1, 4))
@settings(max_examples=80, deadline=None)
def test_owners_are_those_of_the_long_way(members: list[StorageMember], shard: int, replicas: int) -> None:
    made = Placement.of(members, replicas)
    assert list(made.owners_of(shard)) == oracle.owners(members, shard, replicas)
    assert list(made.order(shard)) == [one.node for one in oracle.order(members, shard)]


@given(_members, st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_every_order_of_the_list_gives_one_answer(members: list[StorageMember], draw: random.Random) -> None:
    mixed = members[:]
    draw.shuffle(mixed)
    assert Placement.of(mixed) == Placement.of(members)
    assert [Placement.of(mixed).owners_of(at) for at in SOME] == [
        Placement.of(members).owners_of(at) for at in SOME
    ]


@given(_members, st.integers(0, 8))
@settings(max_examples=80, deadline=None)
def test_who_is_no_owner_changes_nothing(members: list[StorageMember], at: int) -> None:
    """Joining takes only what it then owns; leaving gives away only what it owned; passing over is as leaving."""
    if not members:
        return
    other = members[at % len(members)]
    whole, without = Placement.of(members), Placement.of([one for one in members if one != other])
    for shard in SOME:
        if other.node not in whole.owners_of(shard):
            assert whole.owners_of(shard) == without.owners_of(shard)
        assert whole.owners_of(shard, {other.node}) == without.owners_of(shard)


def test_owners_are_in_distinct_domains_then_of_distinct_operators_then_anybody() -> None:
    apart = Placement.of(crowd(40, 4))
    for shard in range(0, SHARDS.value, 16):
        assert len({one.domain for node in apart.owners_of(shard) if (one := apart.member(node))}) == 3
    two = Placement.of(crowd(40, 2))
    for shard in range(0, SHARDS.value, 16):
        found = [two.member(node) for node in two.owners_of(shard)]
        assert len({one.domain for one in found if one}) == 2
        assert len({one.operator for one in found if one}) == 3
    alike = [StorageMember(one.node, "cellar", "ann") for one in crowd(5, 1)]
    assert all(len(set(found)) == 3 for found in owned(alike))


def test_fewer_members_than_copies_keep_everything_and_nobody_keeps_nothing() -> None:
    pair = crowd(2, 2)
    assert owned(pair) == [frozenset(one.node for one in pair)] * SHARDS.value
    assert Placement.of(pair).wanted == 2
    none = Placement.of(())
    assert not none.owners(bytes(32))
    assert not none.shards(pair[0].node)
    assert none.wanted == 0


def test_a_lost_member_moves_its_shares_and_no_others() -> None:
    members = crowd(30, 10)
    before, after = owned(members), owned(members[1:])
    lost = members[0].node
    assert sum(lost in one for one in before) > 0
    for old, new in zip(before, after, strict=True):
        assert new == old if lost not in old else old - {lost} <= new


@pytest.mark.parametrize("seed", [1, 2])
def test_shares_follow_weights(seed: int) -> None:
    """Of 12 members alike but for one of weight 4: it stands first 4/15 of the time, others 1/15."""
    members = crowd(12, 12, seed)
    heavy = StorageMember(members[0].node, members[0].domain, members[0].operator, 4)
    made = Placement.of([heavy, *members[1:]])
    first = [made.order(shard)[0] for shard in range(SHARDS.value)]
    share = SHARDS.value / 15  # 273, deviation 16; of the heavy one 1,092, deviation 28
    assert abs(first.count(heavy.node) - 4 * share) < 5 * 28
    for one in members[1:]:
        assert abs(first.count(one.node) - share) < 5 * 16


def test_more_weight_only_wins() -> None:
    members = crowd(12, 12)
    heavier = StorageMember(members[0].node, members[0].domain, members[0].operator, 2)
    before, after = owned(members), owned([heavier, *members[1:]])
    won = [at for at in range(SHARDS.value) if before[at] != after[at]]
    assert won
    assert all(heavier.node in after[at] - before[at] for at in won)


def test_shards_of_a_node_are_those_that_name_it() -> None:
    members = crowd(9, 3)
    made = Placement.of(members)
    mine = made.shards(members[4].node)
    assert mine == tuple(at for at in range(SHARDS.value) if members[4].node in made.owners_of(at))
    gone = made.owners_of(mine[0])[0]
    assert made.shards(gone, {gone}) == ()


def test_a_shard_is_the_first_twelve_bits() -> None:
    assert shard_of(bytes.fromhex("abc" + "f" * 61)) == 0xABC
    assert shard_of(bytes.fromhex("000f" + "0" * 60)) == 0
    with pytest.raises(ValueError, match="31 bytes"):
        shard_of(bytes(31))


def test_the_orders_that_are_computed_today_are_those_of_tomorrow() -> None:
    """The form is an agreement between nodes: another one would move every blob of every network."""
    members = [StorageMember(NodeId(bytes([at]) * 32), f"d{at}", f"o{at}", 1 + at % 2) for at in range(1, 6)]
    orders = [[node[0] for node in Placement.of(members).order(shard)] for shard in (0, 1, 4_095)]
    assert orders == [[1, 5, 2, 4, 3], [2, 3, 5, 1, 4], [1, 3, 2, 5, 4]]


def test_what_is_no_set_of_members_is_refused() -> None:
    one = crowd(1, 1)[0]
    for wrong in ([one, one], [StorageMember(one.node, "d", "o", 0)]):
        with pytest.raises(ValueError, match=r"member|weight"):
            Placement.of(wrong)
    with pytest.raises(ValueError, match="weight"):
        Placement.of([StorageMember(one.node, "d", "o", MAX_WEIGHT.value + 1)])
    with pytest.raises(ValueError, match="shard"):
        Placement.of([one]).owners_of(SHARDS.value)


def test_equal_draws_stand_by_node_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "_stream", lambda node, unit: lambda at: (7,) * 8)
    members = crowd(5, 5)
    assert list(Placement.of(members).order(3)) == sorted(one.node for one in members)
