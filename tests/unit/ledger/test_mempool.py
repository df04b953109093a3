"""Pending entries: who may hold how many, whose turn it is, what is tried again and when."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.keys import verify
from pyrsia.ledger import mempool as pools
from pyrsia.ledger.execute import Refused
from pyrsia.ledger.mempool import ACCEPTED, DUPLICATE, RETRY_MS, Mempool
from pyrsia.units import MAX_BLOCK_BYTES, MAX_BLOCK_ENTRIES, MEMPOOL_AUTHOR_ENTRIES, Limit
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
    monkeypatch.setattr(pools, "MEMPOOL_AUTHOR_ENTRIES", Limit(3, "a test"))
    for raw in FACTS[0][:3]:
        assert add(pool, raw) == ACCEPTED
    with pytest.raises(Refusal, match="one author may") as no:
        add(pool, FACTS[0][3])
    assert (no.value.code, no.value.who) == ("busy", "the entry's author")
    assert add(pool, FACTS[1][0]) == ACCEPTED
    pool.remove([pools.entries.entry_id(FACTS[0][0])])
    assert add(pool, FACTS[0][3]) == ACCEPTED
    assert MEMPOOL_AUTHOR_ENTRIES.value == 200


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
