"""XPUB and SUB between nodes on loopback: who is granted what, what comes through, what a stranger gets."""

import contextlib

import pytest
import trio
import trio.testing
import zmq

from pyrsia import keys
from pyrsia.errors import Unavailable
from pyrsia.net import broadcasting
from pyrsia.net.broadcasting import MAX_GRANTS, MAX_RESTING, MAX_SAID, MAX_STRANGE, MAX_WIRES, Air
from pyrsia.net.curve import curve_keys, curve_public
from pyrsia.net.links import Links
from pyrsia.net.zsock import ZSock
from pyrsia.units import BROADCAST_FRAME_BYTES, NodeId
from pyrsia.wire import gossip
from tests.reference.waiting import bounded, until

ANY = "tcp://127.0.0.1:*"
PAIRS = sorted((keys.KeyPair(bytes([i + 1]) * 32) for i in range(4)), key=lambda pair: pair.public)


class Caster:
    def __init__(self, pair):
        self.got = []
        self.followed = []
        self.links = Links(
            pair,
            b"c" * 32,
            control_addr=ANY,
            broadcast_addr=ANY,
            allow=lambda node: True,
            on_message=lambda *message: None,
            methods={},
            on_link=self.on_link,
        )
        self.air = Air(self.links, lambda *frame: self.got.append(frame), self.followed.append)
        self.id = self.links.node

    def on_link(self, node, up):
        if not up:
            self.air.forget(node)


@contextlib.asynccontextmanager
async def casters(count, *, linked=True):
    nodes = [Caster(pair) for pair in PAIRS[:count]]
    async with trio.open_nursery() as nursery:
        for node in nodes:
            await nursery.start(node.links.run)
            nursery.start_soon(node.air.run)
        if linked:
            for i, node in enumerate(nodes):
                node.links.dial([(other.id, other.links.control_endpoint) for other in nodes[:i]])
            await until(lambda: all(a is b or a.links.connected(b.id) for a in nodes for b in nodes))
        yield nodes
        nursery.cancel_scope.cancel()


async def published_until(node, condition):
    """A subscription takes a moment, and what is published before it is lost."""
    number = 0
    with bounded():
        while not condition():
            number += 1
            assert node.air.publish("news/", b"number %d" % number)
            await trio.sleep(0.01)


async def test_a_linked_peer_that_follows_gets_what_is_published_and_one_that_does_not_gets_nothing():
    async with casters(3) as (ann, bob, eve):
        bob.air.follow([ann.id])
        await published_until(ann, lambda: bob.got)
        assert {node for node, _ in bob.got} == {ann.id}
        assert gossip.unframe(bob.got[0][1])[0] == b"news/"
        assert bob.followed == [ann.id]
        assert not eve.got
        bob.air.follow([])
        await until(lambda: not bob.air.following)


async def test_whose_link_is_gone_is_followed_no_more_and_may_be_followed_again():
    async with casters(2) as (ann, bob):
        bob.air.follow([ann.id])
        await published_until(ann, lambda: bob.got)
        bob.links.ban(ann.id, "test")
        await until(lambda: not bob.air.following)
        assert bob.air.following == set()


@contextlib.contextmanager
def subscriber(caster, pair):
    """A SUB of somebody, made with his own hands."""
    context = zmq.Context()
    sock = context.socket(zmq.XSUB)
    mine = curve_keys(pair.seed)
    sock.setsockopt(zmq.LINGER, 0)
    sock.setsockopt(zmq.CURVE_SERVERKEY, curve_public(caster.id))
    sock.setsockopt(zmq.CURVE_PUBLICKEY, mine.public)
    sock.setsockopt(zmq.CURVE_SECRETKEY, mine.secret)
    sock.connect(caster.links.broadcast_endpoint)
    face = ZSock(sock)
    try:
        yield face
    finally:
        face.close()
        context.destroy(linger=0)


async def test_a_stranger_without_a_link_is_granted_nothing_whatever_he_asks_for():
    async with casters(2) as (ann, bob):
        bob.air.follow([ann.id])
        with subscriber(ann, PAIRS[3]) as stranger:
            await stranger.send([b"\x01"])
            await stranger.send([b"\x01news/"])
            await until(lambda: ann.air.counted["subscription-stranger"] == 2)
            await published_until(ann, lambda: len(bob.got) > 10)
            with trio.move_on_after(0.05) as waited:
                await stranger.recv()
            assert waited.cancelled_caught


@pytest.mark.parametrize("said", [b"", b"\x02", b"news", b"\x01news", b"\x01a/b/", b"\x01" + b"x" * 500])
async def test_what_is_no_subscription_grants_nothing_and_the_others_go_on(said):
    async with casters(3) as (ann, bob, eve):
        bob.air.follow([ann.id])
        with subscriber(ann, PAIRS[[node.id for node in (ann, bob, eve)].index(eve.id)]) as hers:
            await hers.send([said])
            await until(lambda: ann.air.counted["subscription-none"] == 1)
        await published_until(ann, lambda: len(bob.got) > 3)


async def test_subscriptions_of_one_peer_are_bounded():
    async with casters(2) as (ann, bob):
        with subscriber(ann, PAIRS[1]) as hers:
            for number in range(MAX_GRANTS.value + 3):
                await hers.send([b"\x01t%d/" % number])
            await until(lambda: ann.air.counted["subscription-none"] == 3)
            await published_until(ann, lambda: ann.air.counted["published"] > 3)
        assert ann.links.connected(bob.id)


async def test_a_frame_over_the_limit_costs_its_publisher_the_connection_and_no_memory_here():
    async with casters(2) as (ann, bob):
        bob.air.follow([ann.id])
        await published_until(ann, lambda: bob.got)
        before = len(bob.got)
        await ann.links.publisher.send([b"x/" + bytes(BROADCAST_FRAME_BYTES.value + 200)])
        await until(lambda: not bob.air.following)
        assert all(len(data) < 100 for _, data in bob.got[before:])
        bob.air.follow([ann.id])
        await published_until(ann, lambda: len(bob.got) > before + 3)


async def test_a_message_of_several_frames_is_handed_over_as_none():
    async with casters(2) as (ann, bob):
        bob.air.follow([ann.id])
        await published_until(ann, lambda: bob.got)
        await ann.links.publisher.send([b"news/", b"second"])
        await until(lambda: (ann.id, b"") in bob.got)


async def test_whoever_is_to_be_followed_while_the_node_stops_is_not():
    async with casters(2) as (ann, bob):
        air = Air(bob.links, lambda *frame: None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(air.run)
            await trio.testing.wait_all_tasks_blocked()

            async def follow_when_cancelled():
                try:
                    await trio.sleep_forever()
                finally:
                    air.follow([ann.id])

            air._nursery.start_soon(follow_when_cancelled)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert not air.following


async def test_without_a_broadcast_address_nothing_is_published_and_nobody_is_followed():
    links = Links(
        PAIRS[0], b"c" * 32, control_addr=ANY, allow=lambda node: True, on_message=print, methods={}
    )
    air = Air(links, lambda *frame: None)
    async with trio.open_nursery() as nursery:
        await nursery.start(links.run)
        nursery.start_soon(air.run)
        await trio.testing.wait_all_tasks_blocked()
        assert not air.publish("news/", b"to nobody")
        air.follow([PAIRS[1].public])
        assert not air.following
        nursery.cancel_scope.cancel()


async def copies(socks, publish):
    """How many of these sockets get what is published now."""
    got = [0] * len(socks)

    async def read(at, sock):
        with contextlib.suppress(Unavailable):
            while True:
                frame = (await sock.recv())[0].bytes
                got[at] += frame.endswith(b"marked")

    async with trio.open_nursery() as nursery:
        for at, sock in enumerate(socks):
            nursery.start_soon(read, at, sock)
        for _ in range(30):
            publish(b"marked")
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    return sum(map(bool, got))


async def test_one_key_gets_few_copies_however_many_connections_it_makes_and_none_without_a_link():
    async with casters(2) as (ann, bob):
        where, socks = bob.links.broadcast_address(ann.id), []
        with contextlib.ExitStack() as held:
            for _ in range(20):
                sock, monitor = bob.links.subscriber(ann.id, where)
                held.callback(sock.close)
                held.callback(monitor.close)
                sock.subscribe(b"")
                socks.append(sock)
                await until(lambda: ann.air._grants.get(bob.id))
            await until(lambda: ann.air.counted["subscription-cut"] == 20 - MAX_WIRES.value)
            assert 1 <= await copies(socks, lambda text: ann.air.publish("news/", text)) <= MAX_WIRES.value
            assert ann.links.connected(bob.id)

            ann.links.ban(bob.id, "test")
            assert bob.id not in ann.air._grants
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert await copies(socks, lambda text: ann.air.publish("news/", text)) == 0


async def test_whoever_is_followed_in_vain_rests_longer_each_time(monkeypatch):
    monkeypatch.setattr(broadcasting, "FIRST_REST_S", 50.0)
    knocked = []

    async def knock(stream):
        knocked.append(stream)
        await stream.aclose()

    async with casters(2) as (ann, bob), trio.open_nursery() as nursery:
        [door] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, knock, [door])
        where = f"tcp://127.0.0.1:{door.socket.getsockname()[1]}"
        monkeypatch.setattr(bob.links, "broadcast_address", lambda node: where)
        for times in range(4):
            before, rest_s = len(knocked), (0, 50, 100, 200)[times]
            bob.air.follow([ann.id])
            await until(lambda before=before: len(knocked) > before and not bob.air.following)
            rest = bob.air._rests[ann.id]
            assert rest.times == times
            assert rest_s - 15 < rest.until_s - trio.current_time() <= rest_s
            if times:
                bob.air.follow([ann.id])
                assert not bob.air.following
            bob.air._rests[ann.id] = broadcasting._Rest(times, trio.current_time())  # it is over
        nursery.cancel_scope.cancel()
        air, now_s = bob.air, trio.current_time()
        for _ in range(20):
            air._rest(ann.id, now_s)
        assert air._rests[ann.id].until_s - trio.current_time() <= broadcasting.LAST_REST_S
        air._rest(ann.id, now_s - broadcasting.STEADY_S)
        assert ann.id not in air._rests
        for number in range(MAX_RESTING.value + 10):
            air._rest(NodeId(number.to_bytes(32, "big")), now_s)
        assert len(air._rests) == MAX_RESTING.value


async def test_a_guest_whose_link_comes_and_goes_is_not_followed_sooner_and_a_member_is():
    async with casters(2) as (ann, bob):
        for guest in (False, True):
            bob.links.guest = lambda node, guest=guest: guest
            for _ in range(2):  # once is no reason yet
                bob.air.follow([ann.id])
                assert bob.air.following
                await trio.testing.wait_all_tasks_blocked()
                bob.air.forget(ann.id)
                await trio.testing.wait_all_tasks_blocked()
            bob.air.follow([ann.id])
            assert bool(bob.air.following) is not guest
            bob.air.forget(ann.id)
            await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize("linked", [False, True])
async def test_who_subscribes_without_end_loses_the_connection_and_the_others_go_on(linked):
    async with casters(3) as (ann, bob, eve):
        bob.air.follow([ann.id])
        most = (MAX_SAID if linked else MAX_STRANGE).value
        at = [node.id for node in (ann, bob, eve)].index(eve.id) if linked else 3
        with subscriber(ann, PAIRS[at]) as flood:
            for number in range(4 * most):  # the same again where it has a link: that is no fault by itself
                await flood.send([b"\x01a/" if linked else b"\x01%d/" % number])
            await until(lambda: ann.air.counted["subscription-flood"] == 1)
            await until(lambda: not any(wire.there for wire in ann.air._said if ann.air._said[wire] > most))
        await published_until(ann, lambda: len(bob.got) > 3)
        assert ann.links.counted["loiterer-cut"] == 0
