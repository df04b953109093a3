"""Which direct messages are taken, carried and remembered; what becomes of one's own."""

import collections
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia import keys
from pyrsia.errors import Malformed, Refusal
from pyrsia.mesh import mail, outbox
from pyrsia.mesh.mail import PAST_S, Again, Carry, Could, Forged, Keep, Past, Post, Shelf, Window, check_life
from pyrsia.mesh.outbox import Outbox, Sent
from pyrsia.units import MAX_MAIL_BYTES, NodeId
from pyrsia.wire import envelopes
from pyrsia.wire import mail as wire
from pyrsia.wire.envelopes import Envelope, Kind
from pyrsia.wire.mail import Form, Hops
from tests.unit.mesh.speakers import ANN, BOB, CID, GUEST, IDS, ME, MEMBERS, NET, NOW_MS, PAIRS

HOUR_MS = 3_600_000


def post(accept="members", members=MEMBERS, me=ME):
    return Post(me, NET, verify=keys.verify, member=lambda node: node in members, accept=accept)


def letter(pair=PAIRS[1], **fields):
    given = {
        "kind": Kind.MAIL,
        "net": NET,
        "origin": NodeId(pair.public),
        "to": ME,
        "seq": 1,
        "expires_ms": NOW_MS + HOUR_MS,
        "topic": "",
        "payload": wire.payload(Form.PLAIN, b"hello"),
    }
    return Envelope(**given | fields)


def raw_of(one, pair=PAIRS[1]):
    return envelopes.encode(one, pair.sign(envelopes.to_sign(one)))


def hand(box, one, pair=PAIRS[1], sender=None, hops=Hops.AUTHOR, now=0.0, now_ms=NOW_MS):
    sender = NodeId(pair.public) if sender is None else sender
    return box.on_handed(now, now_ms, sender, wire.handed(hops, raw_of(one, pair)))


def take(box, one, **how):
    """As the shell does: what is kept is put into window and inbox."""
    verdict = hand(box, one, **how)
    if isinstance(verdict, Keep):
        box.window.add(one.id, one.expires_ms, one.origin, member=verdict.member)
        box.inbox.add(len(box.inbox), one.origin, len(one.payload), member=verdict.member)
    return verdict


def code(call, *given, **how):
    with pytest.raises(Refusal) as refused:
        call(*given, **how)
    return refused.value.code


def test_a_message_is_kept_once_and_its_receipt_given_as_often_as_it_comes():
    box, one = post(), letter()
    assert take(box, one) == Keep(one, member=True, carried=False)
    assert take(box, one) == Again(one)
    assert take(box, one, sender=CID, hops=Hops.CARRIER) == Again(one)
    assert len(box.inbox) == 1


def test_what_a_carrier_hands_over_is_kept_too_and_said_to_be_carried():
    one = letter()
    assert take(post(), one, sender=CID, hops=Hops.CARRIER) == Keep(one, member=True, carried=True)


def test_a_message_for_another_one_is_to_be_carried_where_its_author_asks():
    one = letter(to=BOB)
    assert hand(post(), one) == Carry(one, raw_of(one))


@pytest.mark.parametrize(
    ("fields", "how"),
    [
        ({"to": BOB}, {"sender": CID, "hops": Hops.CARRIER}),
        ({"to": BOB}, {"sender": CID}),
        ({}, {"sender": CID}),
        ({}, {"hops": Hops.CARRIER}),
        ({"net": b"m" * 32}, {}),
        ({"kind": Kind.BROADCAST}, {}),
        ({"kind": Kind.MAIL_RECEIPT}, {}),
        ({"topic": "news/"}, {}),
        ({"payload": b""}, {}),
        ({"payload": b"\x07text"}, {}),
        ({"payload": wire.payload(Form.PLAIN, bytes(MAX_MAIL_BYTES.value + 1))}, {}),
        ({"to": ANN}, {}),
    ],
    ids=[
        "second-hop", "others-mail", "not-its-author", "own-carrier", "net", "broadcast", "receipt", "topic", "empty",
        "form", "large", "to-itself",
    ],
)  # fmt: skip
def test_what_no_honest_node_hands_over_is_a_fault_of_who_does(fields, how):
    with pytest.raises(Malformed):
        hand(post(), letter(**fields), **how)


def test_our_own_message_does_not_come_back_as_news():
    with pytest.raises(Malformed):
        hand(post(), letter(PAIRS[0], to=BOB), PAIRS[0], sender=CID, hops=Hops.CARRIER)


def test_a_forged_one_is_never_kept_or_carried_and_uses_up_no_share_of_its_victim():
    box = post()
    for to in (ME, BOB):
        data = wire.handed(Hops.AUTHOR, envelopes.encode(letter(to=to), bytes(64)))
        with pytest.raises(Forged):
            box.on_handed(0.0, NOW_MS, ANN, data)
    for seq in range(mail.HANDED_BURST.value - 2):
        data = wire.handed(Hops.CARRIER, envelopes.encode(letter(seq=seq), bytes(64)))
        with pytest.raises(Forged):
            box.on_handed(0.0, NOW_MS, CID, data)
    assert isinstance(take(box, letter()), Keep)


def test_the_twin_of_an_author_is_not_believed():
    twin = NodeId(ANN[:31] + bytes([ANN[31] ^ 0x80]))
    box = post(members=frozenset((*MEMBERS, twin)))
    with pytest.raises(Forged):
        hand(box, letter(origin=twin), sender=twin)


def test_a_message_for_our_twin_is_not_for_us():
    twin = NodeId(ME[:31] + bytes([ME[31] ^ 0x80]))
    assert isinstance(hand(post(), letter(to=twin)), Carry)


@pytest.mark.parametrize(
    ("expires_ms", "told"),
    [
        (NOW_MS, "too-old"),
        (0, "too-old"),
        (NOW_MS + mail.MAX_LIFE_MS.value + mail.SKEW_MS.value + 1, "bad-request"),
        (2**53 - 1, "bad-request"),
    ],
)
def test_what_has_expired_or_would_not_is_refused_with_the_reason(expires_ms, told):
    assert code(hand, post(), letter(expires_ms=expires_ms)) == told


def test_a_message_is_not_taken_again_when_its_id_has_expired():
    box, one = post(), letter()
    take(box, one)
    later = one.expires_ms
    assert box.window.expire(later) == [(one.expires_ms, one.id)]
    assert code(hand, box, one, now_ms=later) == "too-old"


@pytest.mark.parametrize(
    ("accept", "pair", "taken"),
    [
        ("members", PAIRS[1], True),
        ("members", PAIRS[4], False),
        ("anyone", PAIRS[4], True),
        ("nobody", PAIRS[1], False),
    ],
)
def test_who_may_write_is_the_operators_choice(accept, pair, taken):
    box = post(accept)
    if taken:
        assert isinstance(hand(box, letter(pair), pair), Keep)
    else:
        assert code(hand, box, letter(pair), pair) == "forbidden"


def test_authors_and_carriers_that_write_without_end_are_told_to_wait():
    box = post("anyone")
    for pair, burst in ((PAIRS[1], mail.MEMBER_BURST.value), (PAIRS[4], mail.GUEST_BURST.value)):
        for seq in range(burst):
            assert isinstance(take(box, letter(pair, seq=seq), pair=pair), Keep)
        with pytest.raises(Refusal) as refused:
            take(box, letter(pair, seq=burst), pair=pair)
        assert refused.value.code == "busy"
        assert refused.value.retry_s > 0


def test_one_carrier_hands_over_no_more_than_its_share_whoever_wrote_it():
    box = post("anyone", members=frozenset(IDS))
    taken = refused = 0
    for seq in range(5):
        for pair in PAIRS[5:]:
            try:
                verdict = take(box, letter(pair, seq=seq), pair=pair, sender=CID, hops=Hops.CARRIER)
                taken += isinstance(verdict, Keep)
            except Refusal:
                refused += 1
    assert taken == mail.HANDED_BURST.value
    assert refused == 5 * len(PAIRS[5:]) - taken


def test_carrying_for_others_has_a_bound_of_its_own():
    box = post(members=frozenset(IDS))
    every = [(pair, seq) for seq in range(4) for pair in PAIRS[5:]]
    for pair, seq in every[: mail.CARRY_BURST.value]:
        assert isinstance(hand(box, letter(pair, to=BOB, seq=seq), pair), Carry)
    pair, seq = every[mail.CARRY_BURST.value]
    assert code(hand, box, letter(pair, to=BOB, seq=seq), pair) == "busy"


def test_a_full_inbox_says_so_and_what_came_stays():
    box = post("anyone", members=frozenset((*MEMBERS, *IDS)))
    now = 0.0
    for seq in range(mail.MAX_KEPT_OF_ONE.value):
        now += mail.MEMBER_RATE_S.value
        assert isinstance(take(box, letter(seq=seq), now=now), Keep)
    assert code(hand, box, letter(seq=9_999), now=now + 100) == "busy"
    assert isinstance(take(box, letter(PAIRS[2]), pair=PAIRS[2], now=now), Keep)
    box.inbox.remove(0)
    assert isinstance(take(box, letter(seq=9_999), now=now + 200), Keep)


def test_an_author_whose_messages_were_all_deleted_still_waits_until_their_ids_expire():
    box, one = post(), letter(seq=9_999)
    for number in range(mail.MAX_WINDOW_OF_ONE.value):
        box.window.add(b"%016d" % number, NOW_MS + HOUR_MS + number, ANN, member=True)
    assert code(hand, box, one) == "busy"
    box.window.expire(NOW_MS + HOUR_MS)
    assert isinstance(hand(box, one), Keep)


def test_strangers_with_many_ids_fill_a_quarter_of_the_inbox_and_no_more():
    shelf = Shelf(mail.MAX_KEPT.value, mail.MAX_KEPT_OF_ONE.value, mail.MAX_KEPT_BYTES.value, 4 << 20)
    number = 0
    while not shelf.room(stranger := NodeId(number.to_bytes(32, "big")), 10, member=False):
        shelf.add(number, stranger, 10, member=False)
        number += 1
    assert number == mail.MAX_KEPT.value // mail.GUESTS_PART
    assert shelf.room(ANN, 10, member=True) == ""
    assert "no members" in shelf.room(GUEST, 10, member=False)


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 4), st.integers(1, 900), st.booleans()), max_size=80
    )
)
def test_a_shelf_keeps_its_bounds_and_its_account(rows):
    shelf, held = Shelf(20, 6, 5_000, 2_000), {}
    for key, author, size, member in rows:
        if key in held and size % 3 == 0:
            shelf.remove(key)
            del held[key]
        elif key not in held and not shelf.room(IDS[author], size, member=member):
            shelf.add(key, IDS[author], size, member=member)
            held[key] = (author, size, member)
    sizes = [size for _, size, _ in held.values()]
    assert (len(shelf), shelf.bytes) == (len(held), sum(sizes))
    assert len(held) <= 20
    assert sum(sizes) <= 5_000
    assert all(sum(1 for one in held.values() if one[0] == author) <= 6 for author in range(5))
    assert sum(1 for one in held.values() if not one[2]) <= 5
    assert sum(size for _, size, member in held.values() if not member) <= 1_250


def test_the_window_forgets_in_order_and_only_what_has_expired():
    window = Window()
    for number, expires_ms in enumerate((30, 10, 20)):
        window.add(b"%d" % number, expires_ms, ANN, member=True)
    assert window.expire(5) == []
    assert window.expire(20) == [(10, b"1"), (20, b"2")]
    assert b"0" in window.shelf
    assert len(window.shelf) == 1


@pytest.mark.parametrize("seconds", [0, -1, 7 * 86_400 + 1, 2**62])
def test_a_life_that_is_none_is_refused(seconds):
    assert code(check_life, seconds) == "bad-request"


@given(st.binary(max_size=400))
def test_noise_raises_only_what_says_whose_fault_it_is(data):
    with pytest.raises((Malformed, Refusal)):
        post().on_handed(0.0, NOW_MS, ANN, data)


@pytest.mark.parametrize("cut", range(0, len(raw_of(letter())), 11))
def test_a_cut_message_is_a_fault(cut):
    with pytest.raises(Malformed):
        post().on_handed(0.0, NOW_MS, ANN, wire.handed(Hops.AUTHOR, raw_of(letter())[:cut]))


# -- receipts --


def receipt_of(one, pair=PAIRS[0], received_ms=NOW_MS + 5):
    told = wire.receipt(one, received_ms)
    return envelopes.encode(told, pair.sign(envelopes.to_sign(told)))


def test_a_receipt_tells_when_its_message_came_and_fits_no_other_one():
    one = letter()
    found, signature, received_ms = wire.read_receipt(one, receipt_of(one))
    assert received_ms == NOW_MS + 5
    assert keys.verify(ME, envelopes.to_sign(found), signature)
    for other in (letter(seq=2), letter(to=BOB), letter(net=b"m" * 32), letter(PAIRS[2])):
        with pytest.raises(Malformed):
            wire.read_receipt(other, receipt_of(one))
    with pytest.raises(Malformed):
        wire.read_receipt(one, raw_of(one))
    with pytest.raises(Malformed):
        wire.read_receipt(one, receipt_of(one, received_ms=2**60))


def test_what_is_under_a_seal_is_its_authors_alone():
    under = wire.under_seal(ANN, b"text")
    assert wire.read_under_seal(ANN, under) == b"text"
    for author in (BOB, CID):
        with pytest.raises(Malformed):
            wire.read_under_seal(author, under)
    with pytest.raises(Malformed):
        wire.read_under_seal(ANN, ANN[:20])


# -- what one wrote --

AWAY = Refusal("unavailable", what="it is away", who="the recipient", do="wait")
NO = Refusal("forbidden", what="it does not want it", who="the recipient", do="stop")


def sent(number=1, *, kept=True, to=BOB, expires_ms=NOW_MS + HOUR_MS):
    return Sent(number, to, expires_ms, kept=kept)


def test_what_nobody_takes_is_tried_again_with_growing_pauses_until_it_expires():
    box, now, tried = Outbox(), 0.0, []
    box.add(sent())
    box.on_failed(now, 1, AWAY)
    while box.wake_at < math.inf:
        now = box.wake_at
        assert now < 2 * HOUR_MS / 1_000, "it is tried for ever"
        due, expired = box.due(now, NOW_MS + int(now * 1000))
        if due:
            tried.append(now)
            box.on_failed(now, 1, AWAY)
    assert [row.state for row in box.rows()] == [outbox.EXPIRED]
    assert [row.number for row in expired] == [1]
    pauses = [b - a for a, b in itertools.pairwise(tried)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == outbox.MOST_PAUSE_S
    assert tried[0] == 4.0


def test_a_recipient_that_comes_is_tried_at_once():
    box = Outbox()
    box.add(sent())
    box.add(sent(2, to=CID))
    box.on_failed(0.0, 1, AWAY)
    box.on_failed(0.0, 2, AWAY)
    box.on_linked(0.5, BOB)
    assert [row.number for row in box.due(0.5, NOW_MS)[0]] == [1]


@pytest.mark.parametrize("retry_s", [0, 3600])
def test_a_recipient_that_comes_and_goes_causes_few_tries_and_none_before_its_own_time(retry_s):
    box, tries = Outbox(), collections.Counter()
    busy = Refusal("busy", what="later", who="the recipient", do="wait", retry_s=retry_s)
    for number in range(1, 21):
        box.add(sent(number))
        box.on_failed(0.0, number, busy)
    for second in range(1, 601):
        box.on_linked(float(second), BOB)
        for row in box.due(float(second), NOW_MS)[0]:
            tries[row.number] += 1
            box.on_failed(float(second), row.number, busy)
    assert all(count < 2 * 14 for count in tries.values())  # the clock alone makes 14, and its own 600
    assert sorted(tries) == ([] if retry_s else list(range(1, 21)))
    for number in range(1, 21):
        box.on_delivered(number, b"", NOW_MS)
    assert (box._hasty, box._patient_s) == (set(), {})


def test_what_its_recipient_refuses_or_nobody_wanted_to_keep_is_tried_no_more_and_says_why():
    box = Outbox()
    for number, kept, refusal in ((1, True, NO), (2, False, AWAY)):
        box.add(sent(number, kept=kept))
        box.on_failed(0.0, number, refusal)
    assert [(row.state, row.why) for row in box.rows()] == [
        (outbox.REFUSED, "it does not want it"),
        (outbox.FAILED, "it is away"),
    ]
    assert box.wake_at == math.inf


def test_a_receipt_ends_it_and_a_row_that_was_deleted_meanwhile_is_nobodys():
    box = Outbox()
    box.add(sent())
    row = box.on_delivered(1, CID, NOW_MS)
    assert (row.state, row.via, row.delivered_ms) == (outbox.DELIVERED, CID, NOW_MS)
    box.add(sent(2))
    assert box.delete(2)
    assert not box.delete(2)
    assert box.on_delivered(2, b"", NOW_MS) is None
    assert box.on_failed(0.0, 2, AWAY) is None


def test_too_many_that_wait_are_refused_and_settled_ones_make_room():
    box = Outbox()
    for number in range(1, outbox.MAX_WAITING.value + 1):
        box.add(sent(number))
    assert code(box.add, sent(999)) == "busy"
    for number in range(1, outbox.MAX_WAITING.value + 1):
        box.on_delivered(number, b"", NOW_MS)
    gone = []
    for number in range(1_000, 1_000 + outbox.MAX_ROWS.value):
        gone += box.add(sent(number))
        box.on_delivered(number, b"", NOW_MS)
    assert gone == list(range(1, outbox.MAX_WAITING.value + 1))
    assert len(list(box.rows())) == outbox.MAX_ROWS.value


def test_after_a_restart_what_waits_is_tried_and_what_was_being_tried_says_that_it_was_not_delivered():
    box = Outbox()
    box.load(5.0, sent(1))
    box.load(5.0, sent(2, kept=False))
    box.load(5.0, Sent(3, BOB, NOW_MS, state=outbox.DELIVERED))
    assert [row.state for row in box.rows()] == [outbox.WAITING, outbox.FAILED, outbox.DELIVERED]
    assert "stopped" in box.get(2).why
    assert [row.number for row in box.due(5.0, NOW_MS)[0]] == [1]


# -- whether it could be carried --


def test_who_is_asked_whether_it_could_carry_a_message_says_whether_it_has_a_link_and_nothing_else():
    box = post()
    box._linked = {CID}.__contains__
    for node, yes in ((CID, True), (ME, False)):
        assert box.on_handed(0.0, NOW_MS, CID, wire.ask(node)) == Could(yes)
    for garbage in (b"\x02", wire.ask(CID) + b"x", b"\x02" + bytes(31)):
        with pytest.raises(Malformed):
            box.on_handed(0.0, NOW_MS, CID, garbage)
    assert [wire.read_could(answer) for answer in (wire.could(True), wire.could(False), b"", b"\x01x")] == [
        True, False, False, False,
    ]  # fmt: skip


def test_an_id_outlives_a_wall_clock_that_is_ahead_for_a_while():
    box, one, past = post(), letter(), Past()
    assert isinstance(take(box, one), Keep)
    for second in range(0, 4_000, 60):
        ahead = 2 * HOUR_MS if 1_800 <= second < 1_800 + PAST_S.value - 60 else 0
        box.window.expire(past.sure_ms(float(second), NOW_MS + second * 1_000 + ahead))
        if not ahead and second < 3_600:
            assert hand(box, one, now=float(second), now_ms=NOW_MS + second * 1_000) == Again(one)
    assert one.id in box.window.shelf
    late = 3_600 + PAST_S.value + 60
    assert past.sure_ms(float(late), NOW_MS + late * 1_000) <= NOW_MS + late * 1_000
    for second in range(late, late + PAST_S.value + 60, 60):
        box.window.expire(past.sure_ms(float(second), NOW_MS + second * 1_000))
    assert one.id not in box.window.shelf


def test_what_cannot_arrive_uses_up_no_share_of_its_author():
    box = post()
    box._linked = set().__contains__
    for seq in range(2 * mail.MEMBER_BURST.value):
        assert code(hand, box, letter(to=CID, seq=seq)) == "not-found"
    box._linked = {CID}.__contains__
    assert isinstance(hand(box, letter(to=CID, seq=99)), Carry)
