"""The queue of what is given to peers: fair by bytes, bounded for each, cancelled and forgotten whole."""

import random

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
