"""What others who built on ZeroMQ ran into, and has no other test: rows of docs/mesh.md, "Pitfalls"."""

import contextlib
from collections import Counter

import pytest
import trio
import zmq

from pyrsia.errors import Unavailable
from pyrsia.net import dialling, sockets
from pyrsia.net.curve import curve_keys, curve_public
from pyrsia.net.sockets import CURVE_BYTES, DATA_THREADS, Sockets
from pyrsia.net.zap import Bans
from pyrsia.net.zsock import ZSock
from pyrsia.units import BROADCAST_FRAME_BYTES, DATA_HWM, LINK_HWM, MAX_DATA_FRAME_BYTES, MAX_PEERS, Limit
from pyrsia.wire import frames
from pyrsia.wire.frames import Type
from tests.reference.waiting import bounded, until
from tests.unit.net.nodes import Node, pairs_by_id
from tests.unit.net.test_hostile import EVE, Villain, town

ANN, BOB = pairs_by_id(2)
HERE = "tcp://127.0.0.1:*"


@contextlib.asynccontextmanager
async def opened():
    made = Sockets(curve_keys(ANN.seed), Bans(trio.current_time), Counter())
    made.open(HERE, HERE, HERE, HERE)
    try:
        yield made
    finally:
        made.close()


def dialled(made, *, frame_bytes=frames.FRAME_BYTES, hwm=LINK_HWM.value, plain=False):
    return made.client(ANN.public, made.control_endpoint, frame_bytes=frame_bytes, hwm=hwm, plain=plain)


async def test_every_socket_bounds_the_size_of_a_message_and_how_many_wait_and_lingers_for_nobody():
    """Neither MAXMSGSIZE nor LINGER has a bound of its own; with the latter an end waits for the dead."""
    async with opened() as made:
        control = frames.FRAME_BYTES
        data = MAX_DATA_FRAME_BYTES.value + 1024
        clients = [
            (dialled(made), control),
            (dialled(made, frame_bytes=data, hwm=DATA_HWM.value), data),
            (dialled(made, frame_bytes=data, hwm=DATA_HWM.value, plain=True), data),
            (made.subscriber(ANN.public, made.broadcast_endpoint), BROADCAST_FRAME_BYTES.value),
        ]
        bounds = [
            (made.control, control),
            (made.data, data),
            (made.plain, data),
            (made.broadcast, BROADCAST_FRAME_BYTES.value),
            *((sock, most) for (sock, _), most in clients),
        ]
        kinds = set()
        for one, most in bounds:
            sock = one._sock
            kinds.add(sock.getsockopt(zmq.TYPE))
            assert sock.getsockopt(zmq.MAXMSGSIZE) == most + CURVE_BYTES
            assert sock.getsockopt(zmq.LINGER) == 0
            assert 0 < sock.getsockopt(zmq.SNDHWM) <= 10_000
            assert 0 < sock.getsockopt(zmq.RCVHWM) <= 10_000
        assert kinds == {zmq.ROUTER, zmq.DEALER, zmq.XPUB, zmq.SUB}
        for (sock, monitor), _ in clients:
            sock.close()
            monitor.close()


async def test_chunks_have_io_threads_of_their_own_and_votes_never_wait_behind_their_encryption():
    """One thread encrypts one connection; which one it is nobody can choose but by affinity."""
    async with opened() as made:
        both = dialled(made, frame_bytes=MAX_DATA_FRAME_BYTES.value, hwm=DATA_HWM.value)
        assert made._context.get(zmq.IO_THREADS) == 1 + DATA_THREADS
        chunks = {sock._sock.getsockopt(zmq.AFFINITY) for sock in (made.data, made.plain, both[0])}
        assert chunks == {sum(1 << thread for thread in range(1, 1 + DATA_THREADS))}
        for sock in both:
            sock.close()


async def test_where_no_socket_is_left_dialling_is_refused_and_goes_on_when_one_is(monkeypatch):
    """MAX_SOCKETS counts once the first one exists; so the bound is set before."""
    async with opened() as made:
        assert made._context.get(zmq.MAX_SOCKETS) == 4 * MAX_PEERS.value
    monkeypatch.setattr(sockets, "MAX_PEERS", Limit(4, "few"))
    async with opened() as made:
        held = []
        with contextlib.suppress(Unavailable):
            for _ in range(20):
                held.append(dialled(made))
        assert len(held) < 20
        assert held
        for sock in held.pop():
            sock.close()

        def again():
            with contextlib.suppress(Unavailable):
                held.append(dialled(made))
                return True
            return False

        await until(again)  # ZeroMQ takes a closed socket back in a thread of its own
        for pair in held:
            for sock in pair:
                sock.close()


async def test_a_node_with_much_unsent_to_a_peer_that_reads_nothing_ends_all_the_same():
    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + 30
        async with town() as here:
            await (await Villain.at(here)).greet()
            with bounded():
                while here.ann.links.send(EVE.public, 9, bytes(60_000)):  # until its queue is full
                    await trio.lowlevel.checkpoint()
            assert here.ann.links.queued(EVE.public)
        nursery.cancel_scope.cancel()  # `town` has closed both nodes, sockets and contexts
    assert not nursery.cancel_scope.deadline < trio.current_time()
    assert here.ann.links._sockets._context is None


async def test_what_waits_for_a_link_goes_with_it():
    """The next link begins with what is said then, and no peer is told late what it missed."""
    async with town() as here:
        here.ann.links.dial([(EVE.public, "tcp://127.0.0.1:9")])  # so that it stays known without a link
        villain = await (await Villain.at(here)).greet()
        with bounded():
            while here.ann.links.send(EVE.public, 9, b"old" + bytes(60_000)):
                await trio.lowlevel.checkpoint()
        villain.sock.close()
        villain.monitor.close()
        await until(lambda: not here.ann.links.connected(EVE.public))
        assert not here.ann.links.queued(EVE.public)
        again = await (await Villain.at(here)).greet()
        assert here.ann.links.send(EVE.public, 9, b"new")
        assert (await again.heard(Type.SEND)).body == b"new"


async def test_a_refusal_by_zap_is_seen_by_who_dials_and_it_rests_longer_each_time(monkeypatch):
    """ZeroMQ by itself would dial again and again, ten times a second, and say nothing."""
    pauses = []

    class Hurried:
        """trio, in which the pauses of the dialler are noted and short."""

        def __getattr__(self, name):
            return getattr(trio, name)

        async def sleep(self, seconds):
            pauses.append(seconds)
            await trio.sleep(0.02)

    monkeypatch.setattr(dialling, "trio", Hurried())
    monkeypatch.setattr(dialling.secrets, "randbelow", lambda most: most // 2)
    here, there = Node(ANN), Node(BOB)
    async with trio.open_nursery() as nursery:
        for node in (here, there):
            await nursery.start(node.links.run)
        here.links.bans.add(curve_public(there.id), 60)
        there.links.dial([here.at])
        await until(lambda: len(pauses) >= 9)
        counted, refused = there.links.counted, here.links.counted["connect-banned"]
        assert pauses[:9] == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
        assert counted["dial-timeout"] == 0, "it waits for no greeting: the refusal is seen"
        assert 9 <= refused <= counted["dialled"], "one attempt each, and none of ZeroMQ's own"
        assert not there.links.connected(here.id)
        nursery.cancel_scope.cancel()


@pytest.fixture
async def joined():
    """Two sockets between which nothing ever has to wait."""
    context = zmq.Context()
    left, right = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    for sock in (left, right):
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.SNDHWM, 0)
        sock.setsockopt(zmq.RCVHWM, 0)
    left.bind("inproc://joined")
    right.connect("inproc://joined")
    pair = ZSock(left), ZSock(right)
    yield pair
    for sock in pair:
        sock.close()
    context.destroy(linger=0)


async def test_sends_and_receives_that_succeed_at_once_leave_others_their_turn(joined):
    """Rule 7: without it the loop belongs to whoever never has to wait, until it has no more to say."""
    left, right = joined
    turns, most = 0, 100_000

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await trio.lowlevel.checkpoint()
        for act in (lambda: left.send([b"x"]), right.recv):
            turns, count = 0, 0
            while turns < 3 and count < most:
                await act()
                count += 1
            assert turns >= 3, "another task had no turn"
            if act is not right.recv:
                for _ in range(most - count):
                    await left.send([b"x"])
        nursery.cancel_scope.cancel()
