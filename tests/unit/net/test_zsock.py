"""The adapter loses nothing, doubles nothing and forgets to wake nobody."""

import random

import pytest
import trio
import zmq
from trio.testing import wait_all_tasks_blocked

from pyrsia.errors import Unavailable
from pyrsia.net.zsock import ZSock
from tests.reference.waiting import bounded

MESSAGES = 16_000
TASKS = 8


def pair(context, left_kind, right_kind, hwm=4):
    """Two joined sockets on loopback with tiny queues."""
    left, right = context.socket(left_kind), context.socket(right_kind)
    for sock in (left, right):
        sock.setsockopt(zmq.SNDHWM, hwm)
        sock.setsockopt(zmq.RCVHWM, hwm)
        sock.setsockopt(zmq.LINGER, 0)
    if left_kind == zmq.ROUTER:
        left.setsockopt(zmq.ROUTER_MANDATORY, 1)  # without it a ROUTER drops what a full peer cannot take
    left.bind("tcp://127.0.0.1:*")
    right.connect(left.getsockopt_string(zmq.LAST_ENDPOINT))
    return ZSock(left), ZSock(right)


@pytest.fixture
def context():
    made = zmq.Context()
    yield made
    made._warn_destroy_close = False  # a failed test leaves sockets open; its own message is the one to read
    made.destroy(linger=0)


async def send_all(sock, prefix, label, count, rng, stats):
    """Send `count` numbered messages, some only if that takes no waiting; give up at random, and send it again."""
    for number in range(count):
        parts = [*prefix, b"%s:%d" % (label, number)]
        sent = rng.random() < 0.3 and sock.send_now(parts)
        stats["at once"] += sent
        while not sent:
            with trio.move_on_after(rng.choice([0.00005, 0.001, 1])) as scope:
                await sock.send(parts)
                sent = True
            stats["cancelled"] += scope.cancelled_caught


async def receive_all(sock, into, expected, rng, done, stats):
    while not done.is_set():
        with trio.move_on_after(rng.choice([0.00005, 0.001, 0.05])) as scope:
            frames = (sock.recv_now() if rng.random() < 0.5 else None) or await sock.recv()
            into.append(frames[-1].bytes)
            if len(into) >= expected:
                done.set()
        stats["cancelled"] += scope.cancelled_caught


@pytest.mark.parametrize("seed", [1, 20261122])
async def test_every_message_arrives_exactly_once_both_ways_through_random_cancellation(context, seed):
    rng = random.Random(seed)
    router, dealer = pair(context, zmq.ROUTER, zmq.DEALER)
    stats = {"cancelled": 0, "at once": 0}
    at_router, at_dealer = [], []
    share = MESSAGES // TASKS
    with trio.fail_after(30):
        await dealer.send([b"hello"])
        peer = (await router.recv())[0].bytes
        async with trio.open_nursery() as work:
            done = trio.Event(), trio.Event()
            for task in range(TASKS):
                work.start_soon(send_all, dealer, [], b"d%d" % task, share, rng, stats)
                work.start_soon(send_all, router, [peer], b"r%d" % task, share, rng, stats)
                work.start_soon(receive_all, router, at_router, MESSAGES, rng, done[0], stats)
                work.start_soon(receive_all, dealer, at_dealer, MESSAGES, rng, done[1], stats)
        router.close()
        dealer.close()

    assert stats["cancelled"] > 50
    assert stats["at once"] > 50
    assert sorted(at_router) == sorted(b"d%d:%d" % (t, n) for t in range(TASKS) for n in range(share))
    assert sorted(at_dealer) == sorted(b"r%d:%d" % (t, n) for t in range(TASKS) for n in range(share))


def joined_in_process(context, hwm):
    """Two DEALERs whose messages arrive at once, so that the cases below need no luck."""
    left, right = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
    for sock in (left, right):
        sock.setsockopt(zmq.SNDHWM, hwm)
        sock.setsockopt(zmq.RCVHWM, hwm)
    left.bind("inproc://directed")
    right.connect("inproc://directed")
    return ZSock(left), ZSock(right)


async def test_a_parked_receiver_is_woken_when_another_takes_the_signal_with_the_first_of_two(context):
    left, right = joined_in_process(context, hwm=32)
    got = []

    async def receive_one():
        got.append((await left.recv())[0].bytes)

    with bounded():
        async with trio.open_nursery() as work:
            work.start_soon(receive_one)
            await wait_all_tasks_blocked()
            await right.send([b"one"])
            await right.send([b"two"])
            await receive_one()
    left.close()
    right.close()

    assert sorted(got) == [b"one", b"two"]


async def test_a_parked_sender_is_woken_when_another_takes_the_signal_after_the_peer_has_drained(context):
    left, right = joined_in_process(context, hwm=2)
    sent = []

    async def send_one(number):
        await left.send([b"%d" % number])
        sent.append(number)

    with bounded():
        full = 0
        while True:
            with trio.move_on_after(0.05) as scope:
                await send_one(full)
            if scope.cancelled_caught:
                break
            full += 1
        async with trio.open_nursery() as work:
            work.start_soon(send_one, full)
            await wait_all_tasks_blocked()
            for _ in range(full):
                await right.recv()
            while full + 1 not in sent:  # libzmq looks for news at most once a millisecond
                with trio.move_on_after(0.01):
                    await send_one(full + 1)
    left.close()
    right.close()

    assert full == 4
    assert sorted(sent) == list(range(full + 2))


async def test_closing_wakes_the_one_who_watches_and_the_parked(context):
    left, right = joined_in_process(context, hwm=4)
    told = []

    async def receive():
        try:
            await left.recv()
        except Unavailable as error:
            told.append(str(error))

    with bounded():
        async with trio.open_nursery() as work:
            for _ in range(3):
                work.start_soon(receive)
            await wait_all_tasks_blocked()
            left.close()
            left.close()
    right.close()

    assert told == ["the socket is closed"] * 3


async def test_another_watches_when_the_one_who_did_is_cancelled(context):
    left, right = joined_in_process(context, hwm=4)
    got = []

    async def receive(scope):
        with scope:
            got.append((await left.recv())[0].bytes)

    with bounded():
        for gone in range(3):
            scopes = [trio.CancelScope() for _ in range(3)]
            async with trio.open_nursery() as work:
                for scope in scopes:
                    work.start_soon(receive, scope)
                    await wait_all_tasks_blocked()
                for scope in (*scopes[:gone], *scopes[gone + 1 :])[:2]:
                    scope.cancel()
                await wait_all_tasks_blocked()
                await right.send([b"%d" % gone])
    left.close()
    right.close()

    assert got == [b"0", b"1", b"2"]


async def test_a_router_says_that_a_peer_is_gone_instead_of_dropping(context):
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)
    router.bind("tcp://127.0.0.1:*")
    sock = ZSock(router)

    with pytest.raises(Unavailable, match="gone"):
        await sock.send([b"nobody", b"text"])

    sock.close()


async def test_messages_in_a_row_come_in_order_and_the_one_without_room_is_given_back(context):
    router, dealer = pair(context, zmq.ROUTER, zmq.DEALER)
    made, refused, came = [], 0, []

    def messages(route):
        for number in range(len(made), 500):
            made.append(number)
            yield [route, b"%d" % number]

    async def receive():
        while len(came) < 500:
            came.append(int((await dealer.recv())[0].bytes))

    with trio.fail_after(30):
        await dealer.send([b"hello"])
        route = (await router.recv())[0].bytes
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            while len(made) < 500:
                left = router.send_some(messages(route))
                if left is not None:
                    refused += 1
                    assert left == [route, b"%d" % made[-1]]  # nothing beyond it was asked for
                    await router.send(left, copy=False, retry_s=0.05)
                await router.breathe()
    assert came == list(range(500))
    assert refused
    router.close()
    dealer.close()


async def test_messages_in_a_row_to_nobody_are_refused(context):
    router, dealer = pair(context, zmq.ROUTER, zmq.DEALER)
    dealer.close()
    with pytest.raises(Unavailable, match="the peer is gone"):
        router.send_some(iter([[b"nobody", b"x"]]))
    router.close()
    with pytest.raises(Unavailable, match="closed"):
        router.send_some(iter([]))
