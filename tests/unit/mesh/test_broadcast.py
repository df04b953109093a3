"""What one node takes of broadcasts: the truth once, lies never, floods a little; and whose fault it is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia import keys
from pyrsia.errors import Refusal
from pyrsia.mesh import broadcast, circles, scores
from pyrsia.mesh.broadcast import Blame, Deliver, Republish
from pyrsia.mesh.recent import Kept, Pool, Room
from pyrsia.mesh.scores import Scores
from pyrsia.mesh.seen import Told
from pyrsia.units import NodeId
from pyrsia.wire import envelopes, gossip
from pyrsia.wire.envelopes import Kind
from tests.unit.mesh.speakers import (
    ANN,
    BLAMED,
    BOB,
    CID,
    DELIVERED,
    GUEST,
    IDS,
    LIFE_MS,
    ME,
    NOW_MS,
    PAIRS,
    core,
    envelope,
    frame,
    kinds,
    said,
    signed,
)


def hear(node, raw, sender=BOB, now=0.0, now_ms=NOW_MS, topic="news/"):
    return node.on_frame(now, now_ms, sender, frame(raw, topic))


def pull(node, asked, raws, peer=BOB, now=0.0, now_ms=NOW_MS):
    return [effect for effects in node.on_answer(now, now_ms, peer, asked, raws) for effect in effects]


# -- the way of what is right --


def test_a_broadcast_is_delivered_and_carried_on_once_whoever_brings_it():
    node = core()
    raw = said()
    effects = hear(node, raw)
    assert kinds(effects) == DELIVERED
    assert effects[0].envelope == envelope()
    assert (effects[1].topic, effects[1].raw) == ("news/", raw)
    assert not hear(node, raw)
    assert not hear(node, raw, sender=CID)
    assert not pull(node, {}, [raw])


def test_the_same_again_after_its_id_is_forgotten_is_still_not_delivered_twice():
    node = core()
    raw = said()
    hear(node, raw)
    for number in range(5):  # ids are forgotten in the meantime, numbers are not
        hear(node, said(seq=100 + number), now=broadcast.SEEN_S.value * (number + 1))
    assert not hear(node, raw, now=broadcast.SEEN_S.value * 6)


def test_what_was_published_here_is_not_news_when_it_comes_back():
    node = core()
    _, raw = node.publish(0.0, NOW_MS, "news/", b"mine", 7, PAIRS[0].sign)
    assert not hear(node, raw)
    assert node.next_seq() == 8
    assert node.vector(NOW_MS) == {ME: ((7, 7),)}


@pytest.mark.parametrize(
    ("payload", "topic", "code"),
    [
        (bytes(broadcast.MAX_PAYLOAD_BYTES.value + 1), "news/", "too-large"),
        (b"x", "news", "bad-request"),
        (b"x", "", "bad-request"),
        (b"x", "News/", "bad-request"),
        (b"x", "a/b/", "bad-request"),
    ],
)
def test_what_others_would_refuse_is_refused_before_it_is_published(payload, topic, code):
    with pytest.raises(Refusal) as refused:
        core().publish(0.0, NOW_MS, topic, payload, 1, PAIRS[0].sign)
    assert refused.value.code == code


def test_who_publishes_more_than_others_take_is_told_to_wait():
    node = core()
    for seq in range(circles.MEMBER_BURST.value):
        node.publish(0.0, NOW_MS, "news/", b"x", seq, PAIRS[0].sign)
    with pytest.raises(Refusal) as refused:
        node.publish(0.0, NOW_MS, "news/", b"x", 999, PAIRS[0].sign)
    assert (refused.value.code, refused.value.retry_s) == ("busy", 1)
    assert node.publish(1.0, NOW_MS, "news/", b"x", 999, PAIRS[0].sign)


# -- lies --


@pytest.mark.parametrize(
    ("fields", "points"),
    [
        ({"net": b"m" * 32}, scores.FAULT),
        ({"to": BOB}, scores.FAULT),
        ({"kind": Kind.MAIL}, scores.FAULT),
        ({"kind": Kind.MAIL_RECEIPT}, scores.FAULT),
        ({"payload": bytes(broadcast.MAX_PAYLOAD_BYTES.value + 1)}, scores.FAULT),
        ({"expires_ms": NOW_MS - broadcast.SKEW_MS.value}, scores.RATE),
        ({"expires_ms": 0}, scores.RATE),
        ({"expires_ms": NOW_MS + LIFE_MS + 2 * broadcast.SKEW_MS.value + 1}, scores.RATE),
        ({"expires_ms": 2**53 - 1}, scores.RATE),
    ],
    ids=["net", "to", "mail", "receipt", "large", "expired", "ancient", "too-late", "never"],
)
def test_what_no_honest_node_publishes_costs_who_sent_it_and_changes_nothing(fields, points):
    node = core()
    effects = hear(node, said(**fields))
    assert kinds(effects) == BLAMED
    assert (effects[0].node, effects[0].points) == (BOB, points)
    assert effects[0].reason
    assert node.vector(NOW_MS) == {}
    assert node.kept_bytes == 0


@pytest.mark.parametrize("early_ms", [1 - broadcast.SKEW_MS.value, -3, 5, broadcast.SKEW_MS.value])
def test_an_honest_relay_has_no_blame_for_a_time_that_runs_out_on_the_way(early_ms):
    """Its origin chooses the moment: in time by the relay's clock, and no more, or not yet, by ours."""
    relay, node = core(BOB), core(CID)
    ends = NOW_MS + 1 if early_ms > 0 else NOW_MS + LIFE_MS + broadcast.SKEW_MS.value
    for seq in range(50):
        _, carried = hear(relay, said(seq=seq, expires_ms=ends), sender=ANN)
        assert isinstance(carried, Republish)
        assert list(hear(node, carried.raw, now_ms=NOW_MS + early_ms)) == []
    assert node.vector(NOW_MS) == {}


@pytest.mark.parametrize("way", ["pushed", "pulled"])
def test_what_was_handed_over_is_not_again_when_many_others_have_spoken_since(way):
    node, raw = core(), said(PAIRS[4], seq=7)
    assert kinds(hear(node, raw)) == DELIVERED
    now = 1.0
    for number in range(200):  # guests: their ids are free
        now += 0.1
        pair = keys.KeyPair(bytes([100, number]) + bytes(30))
        assert kinds(hear(node, said(pair), sender=IDS[1 + number % 3], now=now)) == DELIVERED
    assert GUEST not in node.vector(NOW_MS), "its numbers are forgotten"
    later = now + 10 * broadcast.SEEN_S.value
    node._seen.add(later, b"x")
    if way == "pushed":
        assert list(hear(node, raw, now=later)) == []
    else:
        assert pull(node, node.vector(NOW_MS), [raw], now=later) == []
    node.vector(NOW_MS + LIFE_MS)
    assert not node._guests.told


def test_ids_of_what_was_handed_over_are_bounded():
    told = Told(3)
    for number in range(10):
        told.add(b"%d" % number, number)
        told.add(b"%d" % number, 99)
    assert (len(told), told.full) == (3, True)
    assert [b"%d" % number in told for number in range(6, 10)] == [False, True, True, True]
    told.expire(8)
    assert (len(told), told.full) == (1, False)


def test_a_topic_that_is_not_the_envelopes_is_none():
    effects = hear(core(), said(), topic="other/")
    assert [effect.points for effect in effects] == [scores.FAULT]


@pytest.mark.parametrize("cut", range(0, len(said()), 7))
def test_a_cut_broadcast_costs_who_sent_it(cut):
    effects = hear(core(), said()[:cut])
    assert kinds(effects) == BLAMED
    assert effects[0].node == BOB


@settings(max_examples=60)
@given(st.binary(max_size=400))
def test_noise_raises_nothing_and_is_never_delivered(data):
    node = core()
    assert all(isinstance(effect, Blame) for effect in node.on_frame(0.0, NOW_MS, BOB, data))
    assert node.kept_bytes == 0


@pytest.mark.parametrize("at", range(0, len(said()), 5))
def test_one_changed_byte_is_never_delivered(at):
    raw = bytearray(said())
    raw[at] ^= 1
    node = core()
    assert Deliver not in kinds(hear(node, bytes(raw)))
    assert Deliver not in kinds(pull(node, {}, [bytes(raw)]))
    assert node.kept_bytes == 0


def test_a_forged_broadcast_neither_uses_up_its_victims_share_nor_its_number():
    node = core()
    forged = envelopes.encode(envelope(), bytes(64))
    effects = hear(node, forged, sender=CID)
    assert [(effect.node, effect.points) for effect in effects] == [(CID, scores.LIE)]
    for seq in range(3 * circles.MEMBER_BURST.value):
        hear(node, envelopes.encode(envelope(seq=seq), bytes(64)), sender=CID)
    assert kinds(hear(node, said())) == DELIVERED


def test_the_twin_of_a_key_whose_sign_is_flipped_has_no_voice():
    twin = NodeId(ANN[:31] + bytes([ANN[31] ^ 0x80]))
    node = core(members=frozenset((*IDS[:4], twin)))
    raw = signed(envelope(origin=twin))
    assert [effect.points for effect in hear(node, raw)] == [scores.LIE]
    assert not node.vector(NOW_MS)


def test_two_broadcasts_under_one_number_convict_their_origin_and_the_second_one_is_refused():
    book = Scores()
    node = core(ignored=book.ignored)
    assert kinds(hear(node, said(payload=b"one"))) == DELIVERED
    effects = hear(node, said(payload=b"two"))
    assert [(effect.node, effect.points) for effect in effects] == [(ANN, scores.LIE)]
    assert not hear(node, said(payload=b"two")), "the same proof again costs nothing more"
    book.note(0.0, ANN, scores.LIE, effects[0].reason)
    book.note(0.0, ANN, scores.LIE, effects[0].reason)
    assert not hear(node, said(seq=2)), "who lies like that is not listened to"
    assert kinds(hear(node, said(PAIRS[3], seq=2))) == DELIVERED


def test_a_forged_second_one_convicts_who_brought_it_and_not_its_origin():
    node = core()
    hear(node, said(payload=b"one"))
    effects = hear(node, envelopes.encode(envelope(payload=b"two"), bytes(64)), sender=CID)
    assert [(effect.node, effect.points) for effect in effects] == [(CID, scores.LIE)]


def test_another_signature_over_the_same_words_is_no_second_broadcast():
    node = core(verify=lambda public, message, signature: True)
    assert kinds(hear(node, envelopes.encode(envelope(), b"1" * 64))) == DELIVERED
    assert not hear(node, envelopes.encode(envelope(), b"2" * 64))


def test_a_jump_to_the_largest_number_harms_nobody():
    node = core()
    assert kinds(hear(node, said(seq=2**64 - 1))) == DELIVERED
    assert kinds(hear(node, said(seq=5))) == DELIVERED
    assert kinds(hear(node, said(seq=0))) == DELIVERED
    assert node.vector(NOW_MS) == {ANN: ((0, 0), (5, 5), (2**64 - 1, 2**64 - 1))}
    assert gossip.decode_vector(gossip.encode_vector(node.vector(NOW_MS))) == node.vector(NOW_MS)
    hear(node, said(PAIRS[0], seq=2**64 - 1))
    assert node.next_seq() == 2**63, "a number in our name that has no successor is no bar"


def test_whom_nobody_listens_to_costs_nothing_more():
    node = core(ignored=lambda now, peer: peer == BOB)
    assert not hear(node, said())
    assert not hear(node, b"garbage")
    assert kinds(hear(node, said(), sender=CID)) == DELIVERED


# -- floods --


def test_one_member_that_floods_is_cut_to_its_share_and_the_others_go_on():
    node = core()
    taken = sum(kinds(hear(node, said(seq=seq))) == DELIVERED for seq in range(400))
    assert taken == circles.MEMBER_BURST.value
    assert kinds(hear(node, said(PAIRS[3]))) == DELIVERED
    later = sum(kinds(hear(node, said(seq=1_000 + seq), now=10.0)) == DELIVERED for seq in range(400))
    assert later == 10 * circles.MEMBER_RATE.value
    assert hear(node, said(seq=5_000), now=10.0) == (), "too much is no lie"


def test_many_guests_by_one_peer_share_one_allowance_and_take_nothing_from_members():
    node = core(verify=lambda public, message, signature: True)

    def by(sender, first):
        """How many of 500 made-up guests are heard of by this peer."""
        origins = [NodeId(number.to_bytes(32, "big")) for number in range(first, first + 500)]
        raws = [envelopes.encode(envelope(origin=origin), bytes(64)) for origin in origins]
        return sum(kinds(hear(node, raw, sender)) == DELIVERED for raw in raws)

    assert by(CID, 0) == circles.CARRIED_BURST.value
    assert by(BOB, 1_000) == circles.GUESTS_BURST.value - circles.CARRIED_BURST.value
    assert by(IDS[9], 2_000) == 0
    assert kinds(hear(node, said())) == DELIVERED
    assert len(node.vector(NOW_MS)) <= circles.GUESTS_ROOM.origins + 1


def test_one_guest_says_less_than_a_member():
    node = core()
    taken = sum(kinds(hear(node, said(PAIRS[4], seq=seq))) == DELIVERED for seq in range(50))
    assert taken == circles.GUEST_BURST.value
    assert GUEST in node.vector(NOW_MS)


def test_copies_without_end_are_dropped_unread_and_cost_a_little_each():
    node = core()
    effects = [
        effect for _ in range(10_000) for effect in node.on_frame(0.0, NOW_MS, BOB, b"news/" + bytes(300))
    ]
    floods = [effect for effect in effects if effect.points == broadcast.FLOOD]
    assert len(floods) == 10_000 - broadcast.FRAMES.value
    assert floods[0].node == BOB


def test_signatures_that_one_peer_has_us_check_are_bounded():
    checked = []

    def verify(public, message, signature):
        checked.append(public)
        return False

    members = frozenset(NodeId(number.to_bytes(32, "big")) for number in range(200))
    node = core(members=members, verify=verify)
    for number in range(broadcast.FRAMES.value - 1):
        raw = envelopes.encode(
            envelope(origin=NodeId((number % 200).to_bytes(32, "big")), seq=number), bytes(64)
        )
        hear(node, raw)
    assert len(checked) == broadcast.CHECKS.value


# -- gaps --


def test_what_lacks_is_asked_for_answered_and_delivered_but_not_carried_on():
    ann, bob = core(ANN), core(BOB)
    for seq in range(6):
        _, raw = ann.publish(0.0, NOW_MS, "news/", b"%d" % seq, seq, PAIRS[1].sign)
        if seq % 2:
            hear(bob, raw, sender=ANN)
    asked = bob.vector(NOW_MS)
    assert asked == {ANN: ((1, 1), (3, 3), (5, 5))}
    effects = pull(bob, asked, ann.answer(0.0, NOW_MS, BOB, asked), peer=ANN)
    assert [effect.envelope.seq for effect in effects] == [0, 2, 4]
    assert bob.vector(NOW_MS) == {ANN: ((0, 5),)}
    assert ann.answer(0.0, NOW_MS, BOB, bob.vector(NOW_MS)) == []
    assert not ann.lacks(bob.vector(NOW_MS))
    assert core(CID).lacks(bob.vector(NOW_MS))


def test_an_answer_with_what_nobody_asked_for_or_garbage_costs_its_giver_and_ends_there():
    node = core()
    hear(node, said(seq=1))
    asked = node.vector(NOW_MS)
    for bad in (said(seq=1), b"garbage", said(net=b"m" * 32), said(to=BOB), said(kind=Kind.MAIL)):
        effects = pull(node, asked, [bad, said(seq=50)], peer=CID)
        assert [(effect.node, effect.points) for effect in effects] == [(CID, scores.FAULT)]
    assert 50 not in [first for first, _ in node.vector(NOW_MS)[ANN]]


def test_an_expired_or_forged_one_in_an_answer_is_passed_over_or_blamed():
    node = core()
    assert pull(node, {}, [said(expires_ms=NOW_MS)]) == []
    late = said(expires_ms=NOW_MS - broadcast.SKEW_MS.value)
    effects = pull(node, {}, [late, said(seq=9), late], peer=CID)
    assert [(effect.node, effect.points) for effect in effects] == [(CID, scores.RATE)]
    effects = pull(node, {}, [envelopes.encode(envelope(), bytes(64))], peer=CID)
    assert [(effect.node, effect.points) for effect in effects] == [(CID, scores.LIE)]


def test_a_vector_that_claims_everything_gets_nothing_and_one_that_claims_nothing_a_bounded_answer():
    node = core()
    for seq in range(circles.MEMBER_BURST.value):
        node.publish(0.0, NOW_MS, "news/", bytes(4_000), seq, PAIRS[0].sign)
    assert node.answer(0.0, NOW_MS, BOB, {ME: ((0, 2**64 - 1),)}) == []
    answer = gossip.encode_answer(node.answer(0.0, NOW_MS, BOB, {}))
    assert 0 < len(answer) <= gossip.MAX_ANSWER_BYTES.value
    assert node.lacks({ME: ((0, 2**64 - 1),)}), "a lie about more than there is only has us ask"


def test_what_little_others_said_is_in_the_answer_before_much_of_one():
    node = core()
    for seq in range(circles.MEMBER_BURST.value):
        hear(node, said(seq=seq, payload=bytes(4_000)))
    hear(node, said(PAIRS[2], payload=b"small"))
    raws = node.answer(0.0, NOW_MS, CID, {})
    assert envelopes.decode(raws[0])[0].origin == BOB


def test_what_has_expired_is_in_no_answer():
    node = core()
    hear(node, said(seq=1, expires_ms=NOW_MS + 10))
    hear(node, said(seq=2))
    later = node.answer(0.0, NOW_MS + 10, CID, {})
    assert [envelopes.decode(raw)[0].seq for raw in later] == [2]


def test_who_asks_too_often_is_told_to_wait():
    node = core()
    for _ in range(broadcast.ANSWERS_BURST.value):
        node.answer(0.0, NOW_MS, BOB, {})
    with pytest.raises(Refusal) as refused:
        node.answer(0.0, NOW_MS, BOB, {})
    assert refused.value.code == "busy"
    assert node.answer(0.0, NOW_MS, CID, {}) == []


def test_after_an_absence_more_is_caught_up_with_than_anybody_may_say_at_once():
    ann = core(ANN)
    raws = []
    for seq in range(200):
        raws.append(ann.publish(seq * 0.2, NOW_MS, "news/", b"x", seq, PAIRS[1].sign)[1])
    node = core()
    assert len(pull(node, {}, raws)) == 200
    assert kinds(hear(node, said(seq=500))) == DELIVERED


def test_what_has_expired_is_let_go_and_its_numbers_a_while_later():
    node = core()
    hear(node, said())
    assert node.kept_bytes > 0
    assert node.vector(NOW_MS + LIFE_MS) == {ANN: ((1, 1),)}
    assert node.kept_bytes == 0
    assert node.vector(NOW_MS + 3 * LIFE_MS) == {}


# -- what is kept --

ROOM = Room(origins=4, origin_bytes=1_000, origin_count=10, bytes=2_500)


def kept(seq, size=100):
    return Kept(seq, NOW_MS + LIFE_MS, b"%d" % seq, bytes(size))


def test_a_spammer_pushes_out_only_what_it_said_itself():
    pool = Pool(ROOM)
    for origin in IDS[:3]:
        pool.add(origin, kept(1))
    for seq in range(500):
        pool.add(CID, kept(seq, 300))
    held = dict(pool.kept())
    assert all([one.seq for one in held[origin]] == [1] for origin in IDS[:3])
    assert [one.seq for one in held[CID]] == [497, 498, 499]
    assert pool.came(CID, 3), "its numbers stay"


def test_where_all_have_too_much_the_largest_gives_way_and_who_said_little_longest_ago_stays():
    pool = Pool(Room(origins=9, origin_bytes=2_000, origin_count=99, bytes=2_500))
    pool.add(ANN, kept(1))
    for seq in range(9):
        pool.add(BOB, kept(seq, 200))
    for seq in range(9):
        pool.add(CID, kept(seq, 150))
    held = dict(pool.kept())
    assert [one.seq for one in held[ANN]] == [1]
    assert 1_000 < sum(len(one.raw) for one in held[BOB]) < 1_400
    assert 1_000 < sum(len(one.raw) for one in held[CID]) < 1_400


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 40), st.integers(1, 400)), max_size=120))
def test_a_pool_keeps_its_bounds_and_its_account(added):
    pool = Pool(ROOM)
    for origin, seq, size in added:  # a number may come twice: ours does once half of all numbers are used
        pool.add(IDS[origin], kept(seq, size))
        rows = dict(pool.kept())
        assert len(rows) <= ROOM.origins
        assert pool.bytes == sum(len(one.raw) for row in rows.values() for one in row) <= ROOM.bytes
        assert all(sum(len(one.raw) for one in row) <= ROOM.origin_bytes for row in rows.values())
        assert all(len(row) <= ROOM.origin_count for row in rows.values())
    pool.expire(NOW_MS + LIFE_MS, 0)
    assert (len(pool), pool.bytes) == (0, 0)


def test_the_vector_of_full_pools_fits_its_bound():
    members = frozenset(NodeId(number.to_bytes(32, "big")) for number in range(circles.MEMBERS_ROOM.origins))
    node = core(members=members, verify=lambda public, message, signature: True)
    now = 0.0
    for origin in members:
        for seq in range(0, 80, 2):
            now += 1 / 400
            raw = envelopes.encode(envelope(origin=origin, seq=seq, payload=b""), bytes(64))
            hear(node, raw, now=now, sender=IDS[seq % 7])
    vector = node.vector(NOW_MS)
    assert len(vector) == len(members)
    assert len(gossip.encode_vector(vector)) <= gossip.MAX_VECTOR_BYTES.value


def test_time_that_runs_backwards_raises_nothing():
    node = core()
    hear(node, said(seq=1), now=100.0)
    assert kinds(hear(node, said(seq=2), now=1.0)) == DELIVERED
    assert node.vector(0) == {ANN: ((1, 2),)}


def test_what_a_node_said_as_a_guest_it_has_said_when_it_is_a_member():
    members = {ANN, CID}
    made = core(members=members)
    raws = [said(PAIRS[2], seq=seq) for seq in (3, 4, 5)]
    for at, raw in enumerate(raws):
        assert kinds(made.on_frame(60.0 * at, NOW_MS, ANN, frame(raw))) == DELIVERED
    members.add(BOB)
    assert kinds(made.on_frame(200.0, NOW_MS, ANN, frame(said(PAIRS[2], seq=7)))) == DELIVERED
    vector = made.vector(NOW_MS)
    assert vector[BOB] == ((3, 5), (7, 7))
    assert not made.lacks(vector)
    assert not made.lacks({BOB: ((4, 5), (7, 7))})
    assert made.lacks({BOB: ((4, 6),)})
    made._members.told, made._guests.told = core()._members.told, core()._guests.told  # numbers are enough
    assert made.on_frame(400.0, NOW_MS, ANN, frame(raws[0])) == ()
    lie = made.on_frame(401.0, NOW_MS, ANN, frame(said(PAIRS[2], seq=3, payload=b"other")))
    assert [(effect.node, effect.points) for effect in lie] == [(BOB, scores.LIE)]
