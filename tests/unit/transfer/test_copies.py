"""Counting copies: what owners say counts until they cannot give what they say they have."""

import random

from pyrsia.transfer.copies import (
    ASK_SHARDS,
    DOUBT_S,
    ROUND_S,
    SOON_S,
    UNHEARD,
    AskSums,
    Copies,
    Effect,
    Probe,
)
from pyrsia.transfer.placement import Placement
from pyrsia.units import SHARDS, NodeId
from tests.unit.transfer.storing import members

CROWD = members(5, 5, 1)
PLACEMENT = Placement.of(CROWD)
ME = CROWD[0].node
MINE = PLACEMENT.shards(ME)


def begun() -> Copies:
    core = Copies(ME, lambda shard: shard, random.Random(1))
    core.on_members(0.0, PLACEMENT, frozenset(), MINE)
    return core


def begin(core: Copies, now: float) -> list[Effect]:
    """The first questions, after its own shards are looked at."""
    for _ in range(SHARDS.value):
        effects = core.on_timer(now)
        if effects:
            break
    return effects


def round_of(
    core: Copies, now: float, wrong: frozenset[int] = frozenset(), mute: frozenset[NodeId] = frozenset()
) -> list[Effect]:
    """Everybody answers; `wrong`: shards of which the others have another sum. The effects at its end."""
    effects = begin(core, now)
    asks = [one for one in effects if isinstance(one, AskSums)]
    while asks:
        for ask in asks:
            assert len(ask.shards) <= ASK_SHARDS.value
            if ask.node in mute:
                core.on_silent(ask.node)
            else:
                core.on_sums(now, ask.node, [-1 if shard in wrong else shard for shard in ask.shards])
        effects = core.on_timer(now)
        asks = [one for one in effects if isinstance(one, AskSums)]
    return effects


def test_equal_sums_are_copies() -> None:
    core = begun()
    round_of(core, SOON_S, mute=frozenset(one.node for one in CROWD))
    assert core.under() == len(MINE)
    round_of(core, SOON_S + 2 * ROUND_S)
    assert core.under() == 0
    assert all(core.copies(shard) == 3 for shard in MINE)
    assert core.rounds == 2
    wrong = frozenset(MINE[:7])
    round_of(core, SOON_S + 4 * ROUND_S, wrong)
    assert core.under() == 7
    assert core.copies(MINE[0]) == 1


def test_nobody_is_asked_between_rounds_and_nobody_twice_at_once() -> None:
    core = begun()
    first = [one for one in begin(core, SOON_S) if isinstance(one, AskSums)]
    assert len({one.node for one in first}) == len(first) == 4
    assert core.on_timer(SOON_S) == []
    for one in first:
        core.on_silent(one.node)
    assert core.on_timer(SOON_S) == []
    assert SOON_S + 0.8 * ROUND_S <= core.next_s <= SOON_S + 1.2 * ROUND_S


def test_who_says_nothing_has_nothing() -> None:
    core = begun()
    round_of(core, SOON_S)
    mute = CROWD[1].node
    round_of(core, 1_000.0, mute=frozenset({mute}))
    hers = [shard for shard in MINE if mute in PLACEMENT.owners_of(shard)]
    assert core.under() == len(hers) > 0


def test_who_is_gone_is_no_copy_and_the_next_in_order_is() -> None:
    core = begun()
    round_of(core, SOON_S)
    gone = frozenset({CROWD[1].node})
    mine = [shard for shard in range(SHARDS.value) if ME in PLACEMENT.owners_of(shard, gone)]
    core.on_members(100.0, PLACEMENT, gone, mine)
    assert core.under() > 0
    effects = round_of(core, 100.0 + SOON_S)
    assert core.under() == 0
    assert all(one.node not in gone for one in effects if isinstance(one, Probe))


def test_a_liar_is_found_by_asking_for_a_chunk() -> None:
    """Everybody can compute the sum of what the log names; nobody can compute the bytes."""
    core = begun()
    liar, now, struck = CROWD[2].node, SOON_S, 0
    for _ in range(60):
        for probe in round_of(core, now):
            assert isinstance(probe, Probe)
            assert ME in PLACEMENT.owners_of(probe.shard)
            assert probe.node in PLACEMENT.owners_of(probe.shard)
            struck += core.on_probe(now, probe.node, probe.node != liar)
        if struck:
            break
        now = core.next_s
    assert struck == 1
    assert core.doubted(now, liar)
    assert not any(core.doubted(now, one.node) for one in CROWD if one.node != liar)
    round_of(core, now + ROUND_S * 1.2)
    hers = [shard for shard in MINE if liar in PLACEMENT.owners_of(shard)]
    assert core.under() == len(hers)
    assert not core.doubted(now + DOUBT_S, liar)


def test_one_missing_chunk_is_asked_for_again_at_once_and_forgiven() -> None:
    core = begun()
    (probe,) = round_of(core, SOON_S)
    assert isinstance(probe, Probe)
    assert core.on_probe(SOON_S, probe.node, False) is False
    assert core.next_s == 2 * SOON_S
    (again,) = round_of(core, 2 * SOON_S)
    assert isinstance(again, Probe)
    assert again.node == probe.node
    assert core.on_probe(2 * SOON_S, again.node, True) is False
    assert core.on_probe(2 * SOON_S, again.node, False) is False
    assert not core.doubted(2 * SOON_S, again.node)


def test_no_word_is_no_lie_and_counts_for_nothing_after_six_in_a_row() -> None:
    core = begun()
    (probe,) = round_of(core, SOON_S)
    assert isinstance(probe, Probe)
    for _ in range(3):
        for _ in range(UNHEARD.value - 1):
            assert core.on_probe(SOON_S, probe.node, None) is False
        assert core.on_probe(SOON_S, probe.node, True) is False
        assert not core.doubted(SOON_S, probe.node)
    for _ in range(UNHEARD.value):
        assert core.on_probe(SOON_S, probe.node, None) is False
    assert core.doubted(SOON_S, probe.node)
    assert not core.doubted(SOON_S + DOUBT_S, probe.node)


def test_nobody_is_asked_about_an_empty_shard() -> None:
    core = Copies(ME, lambda shard: shard // 4_000, random.Random(1), empty=0)
    core.on_members(0.0, PLACEMENT, frozenset(), MINE)
    asked = {shard for one in begin(core, SOON_S) if isinstance(one, AskSums) for shard in one.shards}
    filled = {shard for shard in MINE if shard >= 4_000}
    assert asked == filled
    assert core.under() == len(filled)


def test_without_storage_members_there_is_nothing_to_count() -> None:
    core = Copies(ME, lambda shard: shard, random.Random(1))
    core.on_members(0.0, Placement.of(()), frozenset(), ())
    assert round_of(core, SOON_S) == []
    assert core.under() == 0
