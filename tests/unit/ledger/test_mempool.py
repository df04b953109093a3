"""Pending entries: who may hold how many, whose turn it is, what is tried again and when."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.keys import verify
from pyrsia.ledger import mempool as pools
from pyrsia.ledger import roster
from pyrsia.ledger.chain import Chain
from pyrsia.ledger.execute import Refused
from pyrsia.ledger.mempool import ACCEPTED, DUPLICATE, RETRY_MS, Mempool
from pyrsia.ledger.state import View
from pyrsia.units import (
    MAX_BLOCK_BYTES,
    MAX_BLOCK_ENTRIES,
    MAX_TIME_MS,
    MAX_UNTIL_MS,
    MEMPOOL_AUTHOR_ENTRIES,
    MEMPOOL_ISSUER_ENTRIES,
    Limit,
)
from pyrsia.wire.text import b32
from tests.reference.ledger import World, key

WORLD = World()
MOST, MOST_BYTES = MAX_BLOCK_ENTRIES.value, MAX_BLOCK_BYTES.value
SIZE = 441


def fact(author=4, text="x", until=None):
    body = {"kind": "description", "subject": "pkg:pypi/idna@1.0", "text": text, "valid_from": 1}
    node = WORLD.nodes[author] if isinstance(author, int) else author
    return WORLD.entry(node, "fact.add", body, until=until)


FACTS = {author: [fact(author, f"{author} {i}") for i in range(12)] for author in range(5)}


@pytest.fixture
def pool():
    return Mempool(WORLD.genesis, verify)


def add(pool, raw, now=WORLD.time, reads=WORLD.db.get):
    return pool.add(raw, now, reads)


def test_an_entry_is_taken_once(pool):
    raw = fact()
    assert add(pool, raw) == ACCEPTED
    assert add(pool, raw) == DUPLICATE
    assert (len(pool), pool.ids()) == (1, (pools.entries.entry_id(raw),))
    assert pool.get(pool.ids()[0]) == raw
    assert pool.get(b"other") is None


def test_what_is_final_is_a_duplicate_whether_remembered_or_read_from_the_state(pool):
    raw = fact()
    name = pools.entries.entry_id(raw)
    assert (
        add(pool, raw, reads=lambda key: b"1" if key == b"id/" + name.hex().encode() else None) == DUPLICATE
    )
    add(pool, raw)
    pool.remove([name])
    assert add(pool, raw) == DUPLICATE
    assert len(pool) == 0


def test_the_memory_of_final_ids_is_bounded(pool, monkeypatch):
    monkeypatch.setattr(pools, "RECENT_IDS", Limit(3, "a test"))
    pool.remove([bytes([i]) * 32 for i in range(10)])
    assert list(pool._recent) == [bytes([i]) * 32 for i in (7, 8, 9)]


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "breaks its format"),
        (b"{}", "breaks its format"),
        (WORLD.genesis.raw, "has no author"),
        (WORLD.leaves[-1], "has no author"),
        (fact(author=key("stranger")), "no member"),
        (fact(until=WORLD.time - 1), "its time is over"),
    ],
)
def test_what_can_never_stand_is_refused_with_a_reason(pool, raw, why):
    with pytest.raises(Refusal, match=why) as no:
        add(pool, raw)
    assert no.value.code == "entry-refused"
    assert len(pool) == 0


def test_a_wrong_signature_takes_no_room_and_does_not_keep_the_right_one_out(pool):
    raw = fact()
    entry = pools.entries.parse(raw)
    forged = raw.replace(entry.signature.hex().encode(), b"00" * 64)
    with pytest.raises(Refusal, match="not signed"):
        add(pool, forged)
    assert add(pool, raw) == ACCEPTED
    assert add(pool, forged) == DUPLICATE  # the same id waits already; its signature is not even checked
    assert pool.pick(MOST, MOST_BYTES) == (raw,)


def test_one_author_holds_a_bounded_number_and_others_are_not_kept_out(pool, monkeypatch):
    monkeypatch.setattr(pools, "MEMPOOL_ISSUER_ENTRIES", Limit(3, "a test"))
    for raw in FACTS[0][:3]:
        assert add(pool, raw) == ACCEPTED
    with pytest.raises(Refusal, match="one author may") as no:
        add(pool, FACTS[0][3])
    assert (no.value.code, no.value.who) == ("busy", "the entry's author")
    assert add(pool, FACTS[1][0]) == ACCEPTED
    pool.remove([pools.entries.entry_id(FACTS[0][0])])
    assert add(pool, FACTS[0][3]) == ACCEPTED


@pytest.mark.parametrize(("roles", "most"), [((), 2), (("issuer",), 3), (("storage", "validator"), 2)])
def test_an_issuer_holds_more_than_who_brings_no_databases(pool, monkeypatch, roles, most):
    monkeypatch.setattr(pools, "MEMPOOL_AUTHOR_ENTRIES", Limit(2, "a test"))
    monkeypatch.setattr(pools, "MEMPOOL_ISSUER_ENTRIES", Limit(3, "a test"))
    view = View(WORLD.db.get)
    record = {**roster.fields(view, b32(WORLD.nodes[0].public)), "roles": list(roles)}
    view.put(f"member/{record['node']}", record)
    for raw in FACTS[0][:most]:
        assert add(pool, raw, reads=lambda name: view.raw(name.decode())) == ACCEPTED
    with pytest.raises(Refusal, match="one author may"):
        add(pool, FACTS[0][most], reads=lambda name: view.raw(name.decode()))


def test_how_many_wait_at_most_is_what_the_docs_say():
    assert (MEMPOOL_AUTHOR_ENTRIES.value, MEMPOOL_ISSUER_ENTRIES.value) == (200, 500)


def test_what_was_signed_here_is_not_checked_again_and_nothing_else_is_believed():
    checked = []

    def counting(*asked):
        checked.append(asked)
        return verify(*asked)

    pool = Mempool(WORLD.genesis, counting)
    mine, other = fact(text="mine"), fact(text="other")
    entry = pools.entries.parse(mine)
    pool.parse.know(entry)
    forged = mine.replace(entry.signature.hex().encode(), b"00" * 64)
    with pytest.raises(Refusal, match="not signed"):
        add(pool, forged)
    assert len(checked) == 1
    assert (add(pool, mine), len(checked)) == (ACCEPTED, 1)
    assert (add(pool, other), len(checked)) == (ACCEPTED, 2)
    assert add(pool, mine) == DUPLICATE


@pytest.mark.parametrize(
    ("name", "most", "taken"),
    [("MEMPOOL_ENTRIES", 4, 4), ("MEMPOOL_BYTES", 3 * SIZE, 3), ("MEMPOOL_AUTHOR_BYTES", 2 * SIZE, 2)],
)
def test_entries_and_bytes_are_bounded_and_freed(pool, monkeypatch, name, most, taken):
    assert SIZE - 20 < len(FACTS[0][0]) <= SIZE
    monkeypatch.setattr(pools, name, Limit(most, "a test"))
    for raw in FACTS[0][:taken]:
        assert add(pool, raw) == ACCEPTED
    with pytest.raises(Refusal) as no:
        add(pool, FACTS[0][taken])
    assert no.value.code == "busy"
    pool.remove(pool.ids())
    assert (pool._bytes, pool._by_author, pool._id_of) == (0, {}, {})
    assert add(pool, FACTS[0][-1]) == ACCEPTED


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 11)), unique=True), st.integers(0, 30))
def test_authors_take_turns_and_each_ones_entries_keep_their_order(arrivals, most):
    pool = Mempool(WORLD.genesis, verify)
    for author, i in arrivals:
        add(pool, FACTS[author][i])
    mine = {}
    for author, i in arrivals:
        mine.setdefault(author, []).append(FACTS[author][i])

    picked = pool.pick(most, MOST_BYTES)

    expected = [queue[turn] for turn in range(12) for queue in mine.values() if turn < len(queue)]
    assert picked == tuple(expected[:most])


def test_a_block_holds_no_more_bytes_than_it_may(pool):
    for author in range(5):
        for raw in FACTS[author][:4]:
            add(pool, raw)
    picked = pool.pick(MOST, 3 * SIZE)
    assert 0 < sum(map(len, picked)) <= 3 * SIZE
    assert len(pool.pick(MOST, MOST_BYTES)) == 20


def test_whoever_was_served_waits_behind_those_who_were_not(pool):
    """Room for two of five authors with large entries: each has its turn within three blocks."""
    for author in range(5):
        for raw in FACTS[author][:3]:
            add(pool, raw)
    served = []
    for _ in range(3):
        picked = pool.pick(2, MOST_BYTES)
        served += [pools.entries.parse(raw).author for raw in picked]
        pool.remove([pools.entries.entry_id(raw) for raw in picked])
    assert len(set(served)) == 5


def test_what_did_not_apply_is_offered_on_another_state_or_a_second_later(pool):
    late, good = fact(0), fact(1)
    for raw in (late, good):
        add(pool, raw)
    pool.set_aside(
        [Refused(late, "entry-refused", "later", True), Refused(b"?", "x", "y", True)], b"root", 1_000
    )

    assert pool.pick(MOST, MOST_BYTES, b"root", 1_001) == (good,)
    assert pool.pick(MOST, MOST_BYTES, b"other", 1_001) == (late, good)
    assert pool.pick(MOST, MOST_BYTES, b"root", 1_000 + RETRY_MS) == (late, good)
    assert pool.waiting(b"root")
    pool.remove([pools.entries.entry_id(good)])
    assert not pool.waiting(b"root")  # no work: an idle network stays quiet
    assert pool.waiting(b"other")


def test_what_did_not_apply_for_good_is_no_work_and_is_tried_by_blocks_that_are_made_anyway(pool):
    """Or a second proof of one fault would cost an empty block after every other block, for ten minutes."""
    raw = fact(0)
    add(pool, raw)
    pool.set_aside([Refused(raw, "entry-refused", "on record already", False)], b"root", 1_000)

    assert not pool.waiting(b"root")
    assert not pool.waiting(b"other")
    assert pool.pick(MOST, MOST_BYTES, b"other", 1_001) == (raw,)
    pool.set_aside([Refused(raw, "entry-refused", "its epoch is to come", True)], b"other", 1_001)
    assert pool.waiting(b"root")  # the block that forbade it was abandoned


def test_expired_entries_are_forgotten(pool):
    raws = [fact(until=WORLD.time + i * 1_000) for i in range(1, 5)]
    for raw in raws:
        add(pool, raw)
    pool.expire(WORLD.time + 2_000)
    assert pool.pick(MOST, MOST_BYTES) == tuple(raws[1:])  # an entry may stand at its very `until`


def test_a_later_chance_is_kept_and_a_persons_conflict_is_told_at_once():
    world = World()
    pool = world.chain.mempool
    raw, request = world.request()
    world.block(raw)
    assert pool.add(world.commit(world.nodes[0], world.reveal(request)), world.time, world.db.get) == ACCEPTED
    with pytest.raises(Refusal, match="is being built") as no:
        pool.add(world.request()[0], world.time, world.db.get)
    assert (no.value.code, no.value.do) == ("conflict", "wait and send it again")


def test_a_commit_that_came_before_its_draw_stands_in_the_first_block_after_it():
    world = World(count=4, builders=4, operators=["a", "b", "c", "d"])
    raw, request = world.request(author=world.nodes[3])
    world.block(raw)
    for node in world.nodes[:3]:
        world.chain.mempool.add(world.commit(node, world.reveal(request)), world.time, world.db.get)
    kinds = world.settle()
    assert kinds.index("build.draw") < kinds.index("build.commit")
    assert kinds.count("build.commit") == 3
    assert len(world.chain.mempool) == 0


# -- room --


def drained(pool, first, last, a_second):
    """A block a second that took so many entries, of an author whose queue is filled again each time."""
    for at in range(first, last):
        pool._drain.left, pool._drain.left_bytes = a_second * min(at, 1), a_second * SIZE * min(at, 1)
        pool.expire(WORLD.time + at * 1_000)


def test_a_full_table_makes_room_for_a_light_author_at_the_cost_of_the_heaviest_ones_newest(
    pool, monkeypatch
):
    monkeypatch.setattr(pools, "MEMPOOL_ENTRIES", Limit(8, "a test"))
    for raw in FACTS[0][:6]:
        add(pool, raw)
    for raw in FACTS[1][:2]:
        add(pool, raw)
    assert add(pool, FACTS[2][0]) == ACCEPTED
    assert add(pool, FACTS[1][2]) == ACCEPTED
    assert add(pool, FACTS[2][1]) == ACCEPTED
    held = [pool.get(name) for name in pool.ids()]
    assert held == [*FACTS[0][:3], *FACTS[1][:2], FACTS[2][0], FACTS[1][2], FACTS[2][1]]
    # Now nobody is heavier than the newcomer would be.
    with pytest.raises(Refusal) as no:
        add(pool, FACTS[1][3])
    assert (no.value.code, len(pool)) == ("busy", 8)


def test_bytes_are_freed_as_many_as_an_entry_needs_and_the_heaviest_makes_none_for_itself(pool, monkeypatch):
    monkeypatch.setattr(pools, "MEMPOOL_BYTES", Limit(6 * SIZE, "a test"))
    for raw in FACTS[0][:6]:
        add(pool, raw)
    with pytest.raises(Refusal, match="this validator holds"):
        add(pool, FACTS[0][6])
    large = fact(1, "y" * 2 * SIZE)
    assert add(pool, large) == ACCEPTED
    assert pool._bytes <= 6 * SIZE
    assert pool.get(pool.ids()[0]) == FACTS[0][0]


def test_a_forged_entry_costs_nobody_its_place(pool, monkeypatch):
    """Room is made only for what has passed every other check."""
    monkeypatch.setattr(pools, "MEMPOOL_ENTRIES", Limit(4, "a test"))
    for raw in FACTS[0][:4]:
        add(pool, raw)
    entry = pools.entries.parse(FACTS[1][0])
    with pytest.raises(pools.Unsound):
        add(pool, FACTS[1][0].replace(entry.signature.hex().encode(), b"00" * 64))
    assert len(pool) == 4
    assert add(pool, FACTS[1][0]) == ACCEPTED


def test_what_has_no_room_costs_no_check_of_a_signature(monkeypatch):
    monkeypatch.setattr(pools, "MEMPOOL_ISSUER_ENTRIES", Limit(1, "a test"))
    checked = []
    pool = Mempool(WORLD.genesis, lambda *words: checked.append(words) or verify(*words))
    add(pool, FACTS[0][0])
    for raw in FACTS[0][1:]:
        with pytest.raises(Refusal):
            add(pool, raw)
    assert len(checked) == 1


def test_busy_says_how_long_the_queue_takes_at_the_rate_at_which_it_empties(pool, monkeypatch):
    monkeypatch.setattr(pools, "MEMPOOL_ISSUER_ENTRIES", Limit(3, "a test"))

    def told(raw):
        with pytest.raises(Refusal) as no:
            add(pool, raw)
        assert f"in {no.value.retry_s} s" in no.value.do
        return no.value.retry_s

    for raw in FACTS[0][:3]:
        add(pool, raw)
    assert told(FACTS[0][3]) == 5  # nothing has left yet: a heartbeat
    drained(pool, 0, 4, 1)
    # One a second leaves, and those who were told before come before, as many as may wait at once.
    assert [told(raw) for raw in FACTS[0][4:8]] == [3, 4, 4, 4]
    pool.remove([pools.entries.entry_id(FACTS[0][0])])
    for raw in FACTS[1][:3]:
        add(pool, raw)
    add(pool, FACTS[0][3])
    assert told(FACTS[1][3]) == 3  # two authors take turns: one place in two seconds
    drained(pool, 4, 8, 1_000)
    assert told(FACTS[1][4]) == 1
    for raw in FACTS[1][5:] * 200:
        assert 1 <= told(raw) <= pools.RETRY_AFTER_S.value


def test_an_hours_quota_is_told_until_the_hour_ends():
    world = World(limits=[["member", 2], ["validator", 60]])
    world.time = 3_600_000 * 500_000 + 3_000_000
    world.propose()
    pool = world.chain.mempool
    raws = [world.entry(world.follower, "fact.add", pools.entries.parse(fact()).body) for _ in range(3)]
    for raw in raws[:2]:
        assert pool.add(raw, world.time, world.db.get) == ACCEPTED
    with pytest.raises(Refusal, match="used its 2 entries") as no:
        pool.add(raws[2], world.time, world.db.get)
    left_s = (3_600_000 - world.time % 3_600_000) / 1_000
    assert left_s <= no.value.retry_s <= left_s + 1


@pytest.mark.parametrize("ahead_ms", [0, 3_600_000, -3_600_000])
def test_a_clock_that_is_an_hour_off_neither_refuses_what_is_good_nor_takes_what_is_over(ahead_ms):
    world = World()
    world.block(world.entry(world.follower, "fact.add", pools.entries.parse(fact()).body))
    pool = world.chain.mempool
    good = world.entry(
        world.follower, "fact.add", pools.entries.parse(fact()).body, until=world.time + 600_000
    )
    over = world.entry(world.follower, "fact.add", pools.entries.parse(fact()).body, until=world.time - 1)
    wall_ms = world.time + ahead_ms
    assert pool.add(good, wall_ms, world.db.get) == ACCEPTED
    with pytest.raises(Refusal, match="its time is over"):
        pool.add(over, wall_ms, world.db.get)


@pytest.mark.parametrize("ahead_ms", [1, 86_400_000, MAX_TIME_MS.value - WORLD.time - 200_000_000])
def test_what_no_block_takes_for_more_than_a_day_is_refused_at_the_door(pool, ahead_ms):
    """Whoever signs with a clock that is days ahead waited without a word, and so did the entry, for ever."""
    most = WORLD.time + MAX_UNTIL_MS.value + pools.CLOCK_AHEAD_MS.value
    with pytest.raises(Refusal, match="more than 24 hours ahead") as no:
        add(pool, fact(until=most + ahead_ms))
    assert (no.value.code, len(pool)) == ("not-yet", 0)  # a builder tries again
    assert "clock" in no.value.do
    assert add(pool, fact(until=most)) == ACCEPTED  # clocks differ by so much


def test_after_days_without_blocks_the_wall_clock_says_what_a_day_ahead_is():
    world = World()
    world.block(world.entry(world.follower, "fact.add", pools.entries.parse(fact()).body))
    now_ms = world.time + 3 * MAX_UNTIL_MS.value
    raw = world.entry(world.follower, "fact.add", pools.entries.parse(fact()).body, until=now_ms + 600_000)
    assert world.chain.mempool.add(raw, now_ms, world.db.get) == ACCEPTED
    back = fact(
        until=world.time + 600_000
    )  # a validator's own clock was set back by days: blocks have the time
    assert world.chain.mempool.add(back, 1, world.db.get) == ACCEPTED


def test_a_block_finds_what_waits_checked_and_verifies_nothing_again(monkeypatch):
    """Signatures are checked once a node: at the door, however long ago, and not in the block."""
    monkeypatch.setattr(pools, "CACHED_ENTRIES", Limit(4, "a test"))  # many blocks have gone by since
    checked = []

    def counting(*words):
        checked.append(words)
        return verify(*words)

    leader, voter = World(), World()
    pool = Mempool(voter.genesis, counting)
    voter.chain = Chain(voter.genesis, voter.db.get, verify=verify, mempool=pool)
    raws = [fact(i % 5, f"once {i}") for i in range(40)]
    for raw in raws:
        leader.chain.mempool.add(raw, leader.time, leader.db.get)
        pool.add(raw, voter.time, voter.db.get)
    assert len(checked) == 40
    slot = leader.slot()
    draft = leader.chain.build(leader.chain.head().hash, slot)
    assert len(draft.entries) == 40
    voter.chain.check(leader.header(draft, slot), draft.entries)
    assert len(checked) == 40
