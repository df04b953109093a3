"""The queue of what is given to peers: fair by bytes, bounded for each, cancelled and forgotten whole."""

import random

from pyrsia.transfer.buckets import Flow
from pyrsia.transfer.uploads import QUEUE_BYTES, QUEUE_ITEMS, SHORT_BYTES, Uploads
from pyrsia.units import CHUNK_BYTES, MAX_PEERS, UPLOAD_QUEUE_CHUNKS, NodeId

CHUNK = CHUNK_BYTES.value
A, B, C = (NodeId(letter * 32) for letter in (b"a", b"b", b"c"))


def served(uploads, lanes, turns):
    """Who gets each of the next turns when all lanes are ready."""
    order = []
    for _ in range(turns):
        lane = uploads.turn(lanes)
        if lane is None:
            break
        order.append(uploads.pop(lane))
    return order


def test_a_peer_that_asks_for_little_is_served_between_the_chunks_of_one_that_asks_for_much():
    uploads = Uploads()
    for i in range(60):
        uploads.push(A, b"a", f"a{i}", CHUNK)
    assert served(uploads, [b"a", b"b"], 10) == [f"a{i}" for i in range(10)]
    uploads.push(B, b"b", "b0", CHUNK)
    uploads.push(B, b"b", "b1", CHUNK)

    assert served(uploads, [b"a", b"b"], 5) == ["b0", "b1", "a10", "a11", "a12"]


def test_what_was_popped_and_did_not_go_is_as_if_it_had_never_been():
    """In its place in front, to be cancelled by its name, and charged neither to its peer nor to guests nor a limit."""
    for guest in (False, True):
        uploads = Uploads(Flow(8 * CHUNK, 4 * CHUNK), guest=lambda node, guest=guest: guest)
        for i in range(4):
            uploads.push(A, b"a", f"a{i}", CHUNK, (b"m", i))
        uploads.push(B, b"b", "b0", CHUNK)
        popped = [uploads.pop(b"a") for _ in range(4)]
        assert (popped, uploads.waits(b"a")) == (["a0", "a1", "a2", "a3"], False)
        uploads.give_back(A, b"a", [((b"m", i), CHUNK, f"a{i}") for i in (1, 2, 3)])
        assert (uploads.first(b"a"), len(uploads)) == ("a1", 4)
        assert uploads.wait_s([b"a"], 0.0) == 0.0
        assert uploads.cancel(b"a", [(b"m", 2)]) == 1
        uploads.push(A, b"a", "a4", CHUNK)
        # Four chunks may go at once, all together: a0, and these.
        assert served(uploads, [b"a", b"b"], 9) == ["b0", "a1", "a3"]
        assert uploads.wait_s([b"a"], 0.0) > 0
        assert (uploads.pop(b"a"), len(uploads), uploads.waits(b"a")) == ("a4", 0, False)


def test_among_equals_the_one_with_fewer_bytes_queued_goes_first():
    uploads = Uploads()
    for i in range(3):
        uploads.push(A, b"a", f"a{i}", CHUNK)
    uploads.push(B, b"b", "b0", CHUNK)

    assert served(uploads, [b"a", b"b"], 9) == ["b0", "a0", "a1", "a2"]


def test_peers_that_always_want_more_get_equal_bytes_however_they_ask():
    """One keeps a full queue, one never has more than one chunk waiting, one uses three connections."""
    uploads, draw, given = Uploads(), random.Random(4), {A: 0, B: 0, C: 0}
    for _ in range(3000):
        while uploads.push(A, b"a", A, CHUNK):
            pass
        if not uploads.waits(b"b"):
            uploads.push(B, b"b", B, CHUNK)
        uploads.push(C, b"c%d" % draw.randrange(3), C, CHUNK // 2)
        lane = uploads.turn([b"a", b"b", b"c0", b"c1", b"c2"])
        node = uploads.pop(lane)
        given[node] += CHUNK // 2 if node == C else CHUNK

    assert max(given.values()) - min(given.values()) <= 2 * CHUNK


def test_one_peer_has_bounds_in_bytes_and_items_over_all_its_connections_and_others_have_their_own():
    uploads = Uploads()
    taken = sum(uploads.push(A, b"a%d" % (i % 3), i, CHUNK) for i in range(100))
    assert taken == UPLOAD_QUEUE_CHUNKS.value
    assert taken * CHUNK == QUEUE_BYTES
    assert uploads.push(A, b"a0", "no room", SHORT_BYTES)
    assert uploads.push(B, b"b", "b", CHUNK)
    small = sum(uploads.push(C, b"c", i, 1) for i in range(1000))
    assert small == QUEUE_ITEMS
    assert len(uploads) == taken + 2 + small


def test_what_is_cancelled_or_forgotten_makes_room_and_leaves_nothing_behind():
    uploads = Uploads()
    for i in range(UPLOAD_QUEUE_CHUNKS.value):
        uploads.push(A, b"a", i, CHUNK, (b"m", i))
    assert not uploads.push(A, b"a", "more", CHUNK)

    assert uploads.cancel(b"a", [(b"m", 1), (b"m", 3), (b"m", 3), (b"other", 5), (b"m", 999)]) == 2
    assert uploads.cancel(b"nobody", [(b"m", 1)]) == 0
    assert uploads.push(A, b"a", "more", CHUNK)
    assert [uploads.pop(b"a") for _ in range(3)] == [0, 2, 4]
    uploads.forget(b"a")
    uploads.forget(b"a")

    assert len(uploads) == 0
    assert not uploads.waits(b"a")
    assert uploads.turn([b"a"]) is None
    assert uploads.pop(b"a") is None
    assert uploads.cancel(b"a", [(b"m", 5)]) == 0


def test_the_accounts_of_peers_that_came_and_went_are_bounded():
    uploads = Uploads()
    for i in range(2000):
        node = NodeId(b"%032d" % i)
        assert uploads.push(node, b"%d" % i, i, CHUNK)
        assert uploads.pop(b"%d" % i) == i

    assert len(uploads._peers) <= MAX_PEERS.value


def test_a_lane_that_is_not_ready_holds_nobody_up():
    uploads = Uploads()
    uploads.push(A, b"a", "a", CHUNK)
    uploads.push(B, b"b", "b", CHUNK)

    assert uploads.turn([b"b"]) == b"b"
    assert uploads.turn([]) is None


def test_what_a_node_has_and_refuses_goes_before_the_chunks_of_its_lane():
    uploads = Uploads()
    uploads.push(A, b"a", "chunk", CHUNK, (b"m", 1))
    uploads.push(A, b"a", "have", SHORT_BYTES)
    uploads.push(A, b"a", "also", SHORT_BYTES)
    uploads.push(A, b"a", "last", 9, (b"m", 2))  # a short chunk is a chunk

    assert [uploads.pop(b"a") for _ in range(4)] == ["have", "also", "chunk", "last"]
    assert not uploads.waits(b"a")


def test_a_limit_delays_chunks_and_no_short_answer():
    uploads = Uploads(Flow(1_000_000))
    for i in range(8):
        uploads.push(A, b"a", i, CHUNK, (b"m", i))
    first = []
    while uploads.turn([b"a"], 0.0) is not None:
        first.append(uploads.pop(b"a", 0.0))
    assert first == [0, 1, 2, 3]  # a megabyte at once
    wait_s = uploads.wait_s([b"a"], 0.0)
    assert 0 < wait_s <= CHUNK / 1e6 + 1e-9
    assert uploads.turn([b"a"], wait_s - 0.001) is None
    uploads.push(B, b"b", "nak", SHORT_BYTES)
    assert uploads.turn([b"a", b"b"], 0.0) == b"b"
    assert uploads.wait_s([b"a", b"b"], 0.0) == 0.0
    assert uploads.turn([b"a"], wait_s + 1e-6) == b"a"
    assert uploads.wait_s([b"nobody"], 0.0) == float("inf")


def test_who_has_had_its_share_keeps_nobody_else_waiting():
    uploads, given, now = Uploads(Flow(0, 1_000_000)), {A: 0, B: 0}, 0.0
    while now < 10.0:
        for node, lane in ((A, b"a"), (B, b"b")):
            uploads.push(node, lane, node, CHUNK)
        while (lane := uploads.turn([b"a", b"b"], now)) is not None:
            given[uploads.pop(lane, now)] += CHUNK
        now += 0.05
    assert min(given.values()) > 0.9 * 10e6
    assert max(given.values()) < 1.2 * 10e6


def test_under_a_limit_peers_still_get_equal_bytes():
    uploads, given, now = Uploads(Flow(4_000_000)), {A: 0, B: 0}, 0.0
    while now < 10.0:
        while uploads.push(A, b"a", A, CHUNK):
            pass
        if not uploads.waits(b"b"):
            uploads.push(B, b"b", B, CHUNK)
        lane = uploads.turn([b"a", b"b"], now)
        if lane is None:
            now += max(1e-6, uploads.wait_s([b"a", b"b"], now))  # rounding may leave a hair
        else:
            given[uploads.pop(lane, now)] += CHUNK
    assert max(given.values()) - min(given.values()) <= 2 * CHUNK
    assert sum(given.values()) <= 4e6 * 10 + (1 << 20) + CHUNK


def given_to(uploads, names, turns):
    """Bytes of each when all always want more."""
    given = dict.fromkeys(names, 0)
    for _ in range(turns):
        for node in names:
            while not uploads.waits(node):
                uploads.push(node, node, node, CHUNK)
        given[uploads.pop(uploads.turn(names))] += CHUNK
    return given


def test_all_guests_together_get_what_one_member_gets_and_share_it():
    guests = [NodeId(bytes([number]) * 32) for number in range(60)]
    uploads = Uploads(guest=guests.__contains__)
    assert len(set(given_to(uploads, guests, 120).values())) == 1  # alone they have it all
    given = given_to(uploads, [A, B, *guests], 1_800)
    theirs = [given[node] for node in guests]
    assert abs(given[A] - 600 * CHUNK) <= CHUNK
    assert abs(given[B] - 600 * CHUNK) <= CHUNK
    assert max(theirs) - min(theirs) <= CHUNK
    assert sum(theirs) == sum(given.values()) - given[A] - given[B]


def test_guests_that_come_one_after_the_other_have_no_claim_of_what_they_did_not_want():
    uploads = Uploads(guest=lambda node: node != A)
    given_to(uploads, [A], 500)
    late = given_to(uploads, [A, B], 100)
    assert late[B] <= 51 * CHUNK
    later = given_to(uploads, [A, B, C], 120)
    assert abs(later[A] - 60 * CHUNK) <= CHUNK
    assert abs(later[C] - later[B]) <= 2 * CHUNK


def test_who_becomes_a_member_has_a_share_of_its_own_from_then_on():
    guests = {B, C}
    uploads = Uploads(guest=guests.__contains__)
    given_to(uploads, [A, B, C], 90)
    for node in (A, B, C):
        uploads.forget(node)
    guests.clear()
    after = given_to(uploads, [A, B, C], 90)
    assert max(after.values()) - min(after.values()) <= 2 * CHUNK


def test_what_comes_next_is_seen_before_it_is_taken_and_no_short_answer_is():
    uploads = Uploads()
    assert uploads.first(b"a") is None
    uploads.push(A, b"a", "chunk", CHUNK)
    assert uploads.first(b"a") == "chunk"
    assert uploads.first(b"b") is None
    uploads.push(A, b"a", "no", SHORT_BYTES)
    assert uploads.first(b"a") is None
    assert [uploads.pop(b"a"), uploads.first(b"a"), uploads.pop(b"a")] == ["no", "chunk", "chunk"]
    assert uploads.first(b"a") is None
