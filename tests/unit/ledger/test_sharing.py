"""Entries on their way to every validator: what is sent when, what a liar can and cannot do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.ledger import entries, sharing
from pyrsia.ledger import mempool as pools
from pyrsia.ledger.sharing import GATHER_S, ROUND_S, Blame, Now, Sharing, Tell, WakeAt, Work
from pyrsia.units import SHARE_BYTES, SHARE_ENTRIES, Limit
from pyrsia.wire import sharing as wire
from pyrsia.wire.sharing import Entries, Have, Want
from tests.reference.ledger import START, key
from tests.reference.sharing import WORLD, Net, fact, once

FACTS = [fact(author, f"{author} {i}") for i in range(30) for author in range(5)]
NAMES = [entries.entry_id(raw) for raw in FACTS]
ME, A, B, C = (bytes([i + 1]) * 32 for i in range(4))


def now(at_s=0.0):
    return Now(at_s, START + int(at_s * 1000))


class One:
    """A core alone, with what it asked for."""

    def __init__(self, linked=(A, B, C), validators=(ME, A, B, C)):
        self.validators = list(validators)
        self.pool = pools.Mempool(WORLD.genesis, once)
        self.final = set()
        self.core = Sharing(self.pool, self.reads, node=ME, validators=lambda: self.validators)
        self.core.on_start(now())
        for node in linked:
            self.core.on_link(now(), node, True)

    def reads(self, key):
        return b"1" if key in self.final else WORLD.db.get(key)

    def give(self, raws, at_s=0.0):
        return [effect for raw in raws for effect in self.core.on_entry(now(at_s), raw)[1]]

    def hear(self, peer, message, at_s=0.0):
        return self.core.on_message(
            now(at_s), peer, message if isinstance(message, bytes) else message.encode()
        )


def told(effects):
    """(receivers, message) of what was sent."""
    return [(effect.to, wire.decode(effect.data)) for effect in effects if isinstance(effect, Tell)]


def kinds(effects):
    return [type(effect) for effect in effects]


# -- batches --


def test_the_first_entry_goes_at_once_and_what_follows_within_a_moment_goes_together():
    one = One()
    first = one.give(FACTS[:1], 1.0)
    assert told(first) == [((A, B, C), Entries((FACTS[0],)))]
    assert Work in kinds(first)

    following = one.give(FACTS[1:40], 1.001)
    assert (told(following), Work in kinds(following)) == ([], False)
    assert following[-1] == WakeAt(1.0 + GATHER_S)

    after = one.core.on_timer(now(1.0 + GATHER_S))
    assert told(after) == [((A, B, C), Entries(tuple(FACTS[1:40])))]
    assert kinds(after).count(Work) == 1


def test_a_batch_ends_at_its_bound_of_entries_and_of_bytes():
    one = One()
    one.give(FACTS[:1], 1.0)
    sent = told(one.give(FACTS[1:150], 1.001))
    assert [len(message.raws) for _, message in sent] == [SHARE_ENTRIES.value] * 2

    large = [fact(i % 5, "x" * 1_000) for i in range(80)]
    other = One()
    other.give(FACTS[:1], 1.0)
    sent = told([*other.give(large, 1.001), *other.core.on_timer(now(2))])
    assert [raw for _, message in sent for raw in message.raws] == large
    assert all(len(message.encode()) <= SHARE_BYTES.value for _, message in sent)


def test_a_lone_entry_is_one_frame_to_each_and_a_busy_second_a_few_hundred(monkeypatch):
    """1,000 entries a second at one validator: before, 3,000 frames."""
    monkeypatch.setattr(pools, "MEMPOOL_ISSUER_ENTRIES", Limit(10_000, "a test"))
    net = Net(4, liars=0, delay_s=0.001)
    many = [fact(i % 5, f"busy {i}") for i in range(1_000)]
    for i, raw in enumerate(many):
        net.at(i / 1_000, lambda raw=raw: net.give(net.validators[0], raw))
    net.run(1.5)
    assert not net.missing()
    frames = [data for _, _, data in net.frames if data[0] == 1]
    assert len(frames) <= 3 * (1 / GATHER_S + 1)
    assert max(seat.worked for seat in net.honest) <= 1 / GATHER_S + 2


def test_what_a_peer_sends_is_taken_and_not_passed_on_again():
    one = One()
    effects = one.hear(A, Entries(tuple(FACTS[:3])))
    assert (told(effects), kinds(effects)) == ([], [Work, WakeAt])
    assert one.pool.ids() == tuple(NAMES[:3])
    assert one.hear(B, Entries(tuple(FACTS[:3]))) == []


def test_nobody_is_told_before_a_link_is_up_or_after_it_went_down_and_nobody_but_validators():
    one = One(linked=(A,))
    assert told(one.give(FACTS[:1], 1.0))[0][0] == (A,)
    one.core.on_link(now(2), A, False)
    assert told(one.give(FACTS[1:2], 2.0)) == []
    one.core.on_link(now(3), b"\x09" * 32, True)
    assert told(one.give(FACTS[2:3], 3.0)) == []


def test_a_refused_entry_is_told_to_its_sender_and_to_nobody_else():
    one = One()
    with pytest.raises(Refusal, match="no member"):
        one.core.on_entry(now(), WORLD.entry(key("stranger"), "fact.add", entries.parse(FACTS[0]).body))
    assert len(one.pool) == 0
    assert one.core.on_timer(now(0.1)) == [WakeAt(ROUND_S)]


# -- digests and pulls --


def test_an_idle_node_is_silent_and_news_alone_is_no_reason_for_a_digest():
    one = One()
    assert [told(one.core.on_timer(now(ROUND_S * i))) for i in range(1, 5)] == [[]] * 4
    one.give(FACTS[:5], 9.0)
    one.core.on_timer(now(9.1))
    assert told(one.core.on_timer(now(10.0))) == []  # they have been here less than a round
    one.pool.remove(NAMES[:5])
    assert told(one.core.on_timer(now(12.0))) == []  # and by then they are final


def test_what_waits_for_a_round_is_named_to_one_validator_after_the_other():
    one = One()
    one.give(FACTS[:5], 0.1)
    one.core.on_timer(now(0.2))
    sent = [told(one.core.on_timer(now(ROUND_S * i))) for i in range(1, 8)]
    assert sent[0] == []
    assert [receivers for rounds in sent[1:] for receivers, _ in rounds] == [(A,), (B,), (C,)] * 2
    assert sent[1][0][1] == Have(tuple(NAMES[:5]), False)


def test_who_comes_is_told_everything_and_asks_for_what_it_lacks():
    one, other = One(linked=()), One(linked=(A,))
    one.give(FACTS[:10], 1.0)
    other.give(FACTS[4:12], 1.0)
    [(to, have)] = told(one.core.on_link(now(5), B, True))
    assert (to, have) == ((B,), Have(tuple(NAMES[:10]), False))

    [(_, want)] = told(other.hear(A, have, 5.0))
    assert want == Want(tuple(NAMES[:4]), False)

    [(_, answer)] = told(one.hear(B, want, 5.1))
    assert answer == Entries(tuple(FACTS[:4]))
    other.hear(A, answer, 5.2)
    assert set(other.pool.ids()) == set(NAMES[:12])


def test_pages_follow_at_the_pace_of_who_reads_them_and_the_next_round_goes_on_where_one_ended(monkeypatch):
    monkeypatch.setattr(sharing, "SHARE_IDS", Limit(4, "a test"))
    one = One(linked=())
    one.give(FACTS[:10], 1.0)
    pages = told(one.core.on_link(now(5), A, True))
    while pages[-1][1].more:
        pages += told(one.hear(A, Want((), True), 5.0))
    assert [page.ids for _, page in pages] == [tuple(NAMES[:4]), tuple(NAMES[4:8]), tuple(NAMES[8:10])]

    broken = One(linked=())
    broken.give(FACTS[:10], 1.0)
    broken.core.on_link(now(5), A, True)
    broken.hear(A, Want((), True), 5.0)  # and then the link breaks
    broken.core.on_link(now(6), A, False)
    [(_, page)] = told(broken.core.on_link(now(7), A, True))
    assert page.ids == tuple(NAMES[4:8])


def test_what_is_final_or_waits_already_is_not_asked_for():
    one = One()
    one.final.add(b"id/" + NAMES[0].hex().encode())
    one.give(FACTS[1:2])
    assert told(one.hear(A, Have(tuple(NAMES[:3]), False))) == [((A,), Want(tuple(NAMES[2:3]), False))]
    assert told(one.hear(A, Have(tuple(NAMES[:3]), False))) == []  # asked for, and on its way
    assert told(one.hear(A, Have(tuple(NAMES[:3]), True))) == [((A,), Want((), True))]


def test_what_was_not_answered_is_asked_for_again_and_of_another_at_once():
    """Else one who names everything and gives nothing would keep entries from us."""
    one = One()
    have = Have(tuple(NAMES[:3]), False)
    assert told(one.hear(A, have, 1.0)) == [((A,), Want(tuple(NAMES[:3]), False))]
    assert told(one.hear(B, have, 1.1)) == [((B,), Want(tuple(NAMES[:3]), False))]
    assert told(one.hear(A, have, 2.9)) == []
    assert told(one.hear(A, have, 3.0)) == [((A,), Want(tuple(NAMES[:3]), False))]


def test_what_has_no_place_here_is_not_asked_for_again_so_soon(monkeypatch):
    monkeypatch.setattr(pools, "MEMPOOL_ISSUER_ENTRIES", Limit(1, "a test"))
    one = One()
    mine = [raw for raw in FACTS if entries.parse(raw).author == entries.parse(FACTS[0]).author][:2]
    names = tuple(map(entries.entry_id, mine))
    one.give(mine[:1])
    assert one.hear(A, Entries(tuple(mine[1:])), 1.0) == []
    assert one.core.counted["no place"] == 1
    assert told(one.hear(A, Have(names, False), 5.0)) == []
    assert told(one.hear(A, Have(names, False), 11.5)) == [((A,), Want(names[1:], False))]


def test_a_validator_that_joins_is_told_and_one_that_left_is_not():
    one = One(linked=(A,), validators=(ME, A))
    one.give(FACTS[:3], 0.1)
    for node in (B, C):
        one.core.on_link(now(0.2), node, True)
    one.validators = [ME, B, C]
    one.core.on_timer(now(ROUND_S))
    sent = [told(one.core.on_timer(now(ROUND_S * i))) for i in (2, 3, 4)]
    assert [receivers for rounds in sent for receivers, _ in rounds] == [(B,), (C,), (B,)]
    assert one.hear(A, Entries(tuple(FACTS[3:4])), 9.0) == []
    assert one.core.counted["not a validator"] == 1


# -- liars --


@pytest.mark.parametrize("noise", [b"", b"\1\5x", b"\7\1abc", b"\2\0\0\0", Entries((b"x",) * 65).encode()])
def test_bytes_that_are_no_message_are_blamed_on_their_sender_with_the_evidence(noise):
    one = One()
    [blame] = one.hear(A, noise)
    assert (blame.node, blame.evidence) == (A, noise)


def test_an_entry_that_its_sender_cannot_have_checked_is_blamed_and_the_rest_of_its_batch_is_taken():
    one = One()
    forged = FACTS[1].replace(entries.parse(FACTS[1]).signature.hex().encode(), b"00" * 64)
    effects = one.hear(A, Entries((FACTS[0], forged, b"{}", WORLD.genesis.raw, FACTS[2])))
    blamed = [effect for effect in effects if isinstance(effect, Blame)]
    assert [one.evidence for one in blamed] == [forged, b"{}", WORLD.genesis.raw]
    assert one.pool.ids() == (NAMES[0], NAMES[2])
    assert one.give(FACTS[1:2])  # the forgery kept nothing out


def test_what_an_honest_validator_may_send_is_blamed_on_nobody(monkeypatch):
    """Its state may differ: an entry that is late, twice, of a member that left, or has no room here."""
    monkeypatch.setattr(pools, "MEMPOOL_ISSUER_ENTRIES", Limit(1, "a test"))
    one = One()
    late = fact(0, "late", until=START - 1)
    gone = WORLD.entry(key("stranger"), "fact.add", entries.parse(FACTS[0]).body)
    effects = one.hear(A, Entries((FACTS[0], FACTS[0], FACTS[5], late, gone)))
    assert kinds(effects) == [Work, WakeAt]
    assert one.core.counted["no place"] == 3


def test_who_validates_nothing_is_not_listened_to():
    one = One()
    for message in (
        Entries(tuple(FACTS[:2])),
        Have(tuple(NAMES[:2]), False),
        Want(tuple(NAMES[:2]), True),
        b"?",
    ):
        assert one.hear(b"\x09" * 32, message) == []
        assert one.hear(ME, message) == []
    assert len(one.pool) == 0


def test_a_flood_of_digests_is_read_at_a_rate_and_a_new_link_brings_no_new_allowance():
    one = One()
    asked = 0
    for i in range(1_000):
        asked += len(told(one.hear(A, Have((i.to_bytes(32, "big"),), False), i / 1_000)))
        if i % 100 == 0:
            one.core.on_link(now(i / 1_000), A, False)
            one.core.on_link(now(i / 1_000), A, True)
    assert asked <= sharing.PAGES_BURST.value + sharing.PAGES_PER_S.value
    assert one.core.counted["digest not read"] == 1_000 - asked
    assert told(one.hear(B, Have(tuple(NAMES[:1]), False), 1.0))  # another's allowance is its own


def test_who_keeps_naming_what_it_does_not_give_is_not_heard_for_a_while():
    one = One()
    for page in range(3):
        names = tuple((page * 1_000 + i).to_bytes(32, "big") for i in range(1_000))
        one.hear(A, Have(names, False), page * 5.0)
    assert told(one.hear(A, Have(tuple(NAMES[:1]), False), 15.0)) == []
    assert one.core.counted["named what it has not"] == 1
    assert told(one.hear(A, Have(tuple(NAMES[:1]), False), 50.0)) == [((A,), Want(tuple(NAMES[:1]), False))]


def test_what_is_asked_of_one_peer_at_a_time_is_bounded(monkeypatch):
    monkeypatch.setattr(sharing, "ASKED", Limit(5, "a test"))
    one = One()
    first = told(one.hear(A, Have(tuple(NAMES[:4]), False)))
    second = told(one.hear(A, Have(tuple(NAMES[4:8]), False)))
    assert [len(want.ids) for _, want in (*first, *second)] == [4, 1]


def test_who_wants_everything_all_the_time_gets_so_many_bytes_a_second(monkeypatch):
    monkeypatch.setattr(sharing, "GIVEN_PER_S", Limit(1_000, "a test"))
    monkeypatch.setattr(sharing, "GIVEN_BURST", Limit(5_000, "a test"))
    one = One()
    one.give(FACTS[:40])
    given = 0
    for i in range(200):
        for _, message in told(one.hear(A, Want(tuple(NAMES[:40]), True), i / 100)):
            given += len(message.encode())
    assert 4_000 < given < 5_000 + 2 * 1_000 + 200


def test_a_flood_of_entries_is_looked_at_at_a_rate(monkeypatch):
    monkeypatch.setattr(sharing, "ENTRIES_PER_S", Limit(10, "a test"))
    monkeypatch.setattr(sharing, "ENTRIES_BURST", Limit(20, "a test"))
    looked, real = [], pools.entries.parse
    monkeypatch.setattr(pools.entries, "parse", lambda raw: looked.append(raw) or real(raw))
    one = One()
    for i in range(50):
        one.hear(A, Entries(tuple(FACTS[:20])), 1 + i / 50)
    assert len(one.pool) <= 30
    assert one.core.counted["too fast"] >= 50 * 20 - 32
    with pytest.raises(Refusal) as caught:
        one.give(FACTS, 2.0)
    assert (caught.value.code, caught.value.retry_s) == ("busy", 1)


def test_forgeries_cost_their_sender_its_allowance(monkeypatch):
    monkeypatch.setattr(sharing, "ENTRIES_PER_S", Limit(1, "a test"))
    monkeypatch.setattr(sharing, "ENTRIES_BURST", Limit(120, "a test"))
    one = One()
    forged = [raw.replace(entries.parse(raw).signature.hex().encode(), b"00" * 64) for raw in FACTS[:60]]
    effects = one.hear(A, Entries(tuple(forged)), 1.0)
    assert kinds(effects).count(Blame) == 3  # 120 tokens, 51 each
    effects = one.hear(B, Entries(tuple(FACTS[:3])), 1.0)
    assert len(one.pool) == 3


def test_peers_that_are_remembered_are_bounded_and_those_with_a_link_stay(monkeypatch):
    monkeypatch.setattr(sharing, "MAX_KNOWN", Limit(5, "a test"))
    one = One()
    for i in range(100):
        one.core.on_link(now(), bytes([9, i]) * 16, True)
        one.core.on_link(now(), bytes([9, i]) * 16, False)
    assert {A, B, C} <= set(one.core._peers)
    assert len(one.core._peers) <= 5


# -- the whole network --


NODES = st.integers(0, 5)
OPS = st.one_of(
    st.tuples(st.just("give"), NODES, st.integers(0, len(FACTS) - 1)),
    st.tuples(st.just("cut"), NODES, NODES),
    st.tuples(st.just("join"), NODES, NODES),
    st.tuples(st.just("restart"), NODES, NODES),
    st.tuples(st.just("final"), NODES, st.integers(0, len(FACTS) - 1)),
    st.tuples(st.just("lie"), NODES, st.sampled_from(
        ["nothing", "names", "everything", "garbage", "again", "forged", "noise"])),
    st.tuples(st.just("wait"), NODES, st.integers(1, 40)),
)  # fmt: skip


def happen(net, op, node, what):
    honest = net.validators[: len(net.validators) - len(net.liars)]
    at = net.validators[node % len(net.validators)]
    match op:
        case "give":
            net.give(at, FACTS[what])
        case "cut" | "join":
            other = net.validators[what % len(net.validators)]
            if other != at:
                net.link(at, other, op == "join")
        case "restart":
            net.restart(honest[node % len(honest)])
        case "final":
            if NAMES[what] in net.given:
                net.finalize(FACTS[what])
        case "lie":
            names = [name for seat in net.honest for name in seat.pool.ids()][:200]
            raws = [raw for raw in map(net.honest[0].pool.get, names) if raw is not None]
            if net.liars:
                net.lie(net.liars[node % len(net.liars)], what, list(dict.fromkeys(names)), raws)
        case "wait":
            net.run(what / 10)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(OPS, min_size=25, max_size=80),
    st.sampled_from([(4, 0), (4, 1), (7, 2)]),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.1, 0.5]),
)
def test_what_one_honest_node_was_given_comes_to_all_of_them_whatever_happens(ops, size, seed, loss):
    net = Net(*size, seed=seed, loss=loss)
    for op in ops:
        happen(net, *op)
    bound_s = net.heal()
    for _ in range(int(bound_s * 4)):  # liars go on
        for number in range(len(net.liars)):
            happen(net, "lie", number, net.rng.choice(["nothing", "names", "everything", "again", "noise"]))
        net.run(0.25)
    assert net.missing() == []
    # Nobody honest was blamed, and nobody waits for what is final.
    for seat in net.honest:
        assert {blame.node for blame in seat.blamed} <= set(net.liars)
        assert not any(b"id/" + name.hex().encode() in seat.final for name in seat.pool.ids())


def test_an_entry_reaches_all_when_the_f_others_that_it_was_given_to_drop_it():
    """f + 1 validators are given an entry: f drop it, and the one that does not is cut off from half of the rest."""
    net = Net(7, liars=2, loss=0.2, seed=5)
    first = net.validators[0]
    for other in net.validators[1:4]:
        net.link(first, other, False)
    assert net.give(first, FACTS[0])
    net.run(60.0)
    assert net.missing() == []


def test_thousands_of_waiting_entries_come_to_an_empty_node_within_seconds(monkeypatch):
    """As after a restart, or a split that has healed."""
    for name in ("MEMPOOL_ISSUER_ENTRIES", "CACHED_ENTRIES"):
        monkeypatch.setattr(pools, name, Limit(10_000, "a test"))
    net = Net(4, liars=0)
    many = [fact(i % 5, i) for i in range(3_000)]
    for node in net.validators[1:]:
        net.link(net.validators[0], node, False)
    for i, raw in enumerate(many):
        net.at(i / 2_000, lambda raw=raw: net.give(net.validators[1], raw))
    net.run(2.0)
    net.link(net.validators[0], net.validators[1], True)
    net.run(2.0)
    assert len(net.seats[net.validators[0]].pool) == len(many)
