"""What waits for one peer: who goes first, what starves never, what is too much."""

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.net.outbox import ORDINARY, URGENT, Outbox
from pyrsia.units import (
    LINK_BATCH_FRAMES,
    LINK_QUEUE_BYTES,
    LINK_QUEUE_MESSAGES,
    MAX_LINK_MESSAGE_BYTES,
    MAX_PART_BYTES,
)
from pyrsia.wire import frames
from pyrsia.wire.frames import Assembler, Frame, Type
from tests.reference.waiting import bounded

STEP, MOST = MAX_PART_BYTES.value, MAX_LINK_MESSAGE_BYTES.value


def message(size, word=b"x"):
    """An encoded message of `size` bytes in all."""
    data = frames.encode(Frame(Type.REPLY, body=word * (size - frames.HEADER_BYTES)))
    assert len(data) == size
    return data


def drained(box):
    batches = []
    while box:
        batches.append(box.take())
    return batches


def is_part(data):
    return frames.decode(data).type is Type.PART


def test_urgent_goes_before_ordinary_and_each_lane_keeps_its_order():
    box = Outbox()
    for i in range(3):
        assert box.push(b"o%d" % i, ORDINARY)
        assert box.push(b"u%d" % i, URGENT)

    assert box.take() == [b"u0", b"u1", b"u2", b"o0", b"o1", b"o2"]
    assert box.take() == []


def test_a_big_message_goes_a_part_a_batch_and_small_ones_between():
    box, big = Outbox(), message(3 * STEP)
    box.push(big, URGENT)
    batches = []
    for i in range(3):
        box.push(b"vote%d" % i, URGENT)
        batches.append(box.take())

    assert [batch[0] for batch in batches] == [b"vote0", b"vote1", b"vote2"]
    assert all(len(batch) == 2 and is_part(batch[1]) for batch in batches)
    assembler = Assembler()
    wholes = [assembler.add(frames.decode(batch[1])) for batch in batches]
    assert frames.encode(wholes[-1]) == big
    assert len(box) == 0


@pytest.mark.parametrize("size", [STEP, STEP + 1])
def test_a_message_is_cut_only_when_it_must_be(size):
    box = Outbox()
    box.push(message(size), ORDINARY)
    batches = drained(box)
    assert len(batches) == (1 if size <= STEP else 2)
    assert is_part(batches[0][0]) == (size > STEP)


def test_a_flood_of_urgent_frames_starves_neither_ordinary_ones_nor_parts():
    box = Outbox()
    box.push(message(2 * STEP), ORDINARY)
    for _ in range(3):
        box.push(b"ordinary", ORDINARY)
    for _ in range(2):
        for _ in range(2 * LINK_BATCH_FRAMES.value):
            box.push(b"vote", URGENT)
        batch = box.take()
        assert batch.count(b"ordinary") == 1
        assert sum(map(is_part, [item for item in batch if len(item) > 100])) == 1


def test_large_urgent_frames_leave_room_for_an_ordinary_one():
    box = Outbox()
    for _ in range(3):
        box.push(message(STEP), URGENT)
    box.push(b"ordinary", ORDINARY)
    assert box.take()[-1] == b"ordinary"


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from([URGENT, ORDINARY]), st.sampled_from([1, 500, STEP, STEP + 1, 3 * STEP]))
    )
)
def test_everything_comes_out_once_in_batches_of_bounded_size(pushes):
    box, taken = Outbox(), []
    for i, (lane, size) in enumerate(pushes):
        data = (b"%08d" % i) * 2 + bytes(size)
        if box.push(data, lane):
            taken.append(data)
    out, halves = [], []
    for batch in drained(box):
        assert 0 < len(batch) <= LINK_BATCH_FRAMES.value + 2
        assert sum(map(len, batch)) <= 4 * STEP
        for item in batch:
            body = item[frames.HEADER_BYTES + 4 :]
            if item[:1] == bytes([Type.PART]):
                halves.append(body)
            else:
                out.append(item)
    assert sorted([*out, b"".join(halves)]) == sorted(
        [*(data for data in taken if len(data) <= STEP), b"".join(data for data in taken if len(data) > STEP)]
    )
    assert (box._bytes, len(box)) == (0, 0)


def test_each_lane_holds_a_bounded_number():
    box = Outbox()
    for lane in (ORDINARY, URGENT):
        taken = 0
        while box.push(b"x", lane):
            taken += 1
        assert taken == LINK_QUEUE_MESSAGES.value
    box.take()
    assert box.push(b"x", ORDINARY)


def test_bytes_are_bounded_and_a_queue_full_of_blocks_still_takes_votes():
    box = Outbox()
    taken = 0
    while box.push(message(MOST), ORDINARY):
        taken += 1
    assert taken == LINK_QUEUE_BYTES.value // MOST - 1
    assert not box.push(message(STEP), ORDINARY)
    assert not box.push(message(MOST), URGENT)  # a big one is no vote
    votes = 0
    while box.push(message(STEP), URGENT):
        votes += 1
    assert votes == MOST // STEP
    assert box._bytes <= LINK_QUEUE_BYTES.value
    box.clear()
    assert (len(box), box._bytes, box.take()) == (0, 0, [])
    assert box.push(message(MOST), ORDINARY)


def test_a_big_message_that_was_half_out_starts_over_on_another_link():
    box, big = Outbox(), message(3 * STEP)
    box.push(big, ORDINARY)
    box.take()
    box.rewind()

    assembler = Assembler()
    wholes = [assembler.add(frames.decode(item)) for batch in drained(box) for item in batch]
    assert [whole is not None for whole in wholes] == [False, False, True]
    assert frames.encode(wholes[-1]) == big


async def test_waiting_ends_with_a_push_or_a_kick_and_not_before():
    for wake in (lambda box: box.push(b"x", ORDINARY), lambda box: box.kick()):
        box, woken = Outbox(), trio.Event()

        async def wait(box=box, woken=woken):
            await box.wait()
            woken.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            assert not woken.is_set()
            wake(box)
            with bounded():
                await woken.wait()
    box = Outbox()
    box.push(b"x", ORDINARY)
    await box.wait()  # something waits already
    assert len(box) == 1
