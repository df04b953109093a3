"""Two nodes and more on loopback: messages, requests, one link per pair, and links that come back."""

import importlib.util
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from pyrsia.errors import Refusal, Unavailable
from pyrsia.net.links import Busy
from pyrsia.units import MAX_REQUESTS_PER_PEER
from tests.reference.waiting import until

sys.path.insert(0, str(Path(__file__).parent))
from nodes import Node, join, pairs_by_id

assert importlib.util.find_spec("nodes")


@pytest.fixture
def two():
    return [Node(pair) for pair in pairs_by_id(2)]


async def test_messages_of_every_size_cross_whole_in_both_directions(two):
    a, b = two
    sizes = [0, 1, 65_000, 65_536, 65_537, 300_000, 1 << 20]
    async with trio.open_nursery() as nursery:
        await join(nursery, a, b)
        for kind, size in enumerate(sizes, 2):
            assert a.links.send(b.id, kind, bytes([kind]) * size)
            assert b.links.send(a.id, kind, bytes([kind]) * size)
        await until(lambda: len(a.got) == len(b.got) == len(sizes))
        nursery.cancel_scope.cancel()

    for node, other in ((a, b), (b, a)):
        expected = [(other.id, kind, bytes([kind]) * size) for kind, size in enumerate(sizes, 2)]
        assert sorted(node.got) == sorted(expected)
    assert len(sizes) == 7


async def test_an_urgent_message_overtakes_big_ones_that_were_queued_before_it(two):
    a, b = two
    async with trio.open_nursery() as nursery:
        await join(nursery, a, b)
        for _ in range(6):
            a.links.send(b.id, 9, bytes(1 << 20))
        a.links.send(b.id, 1, b"vote")
        await until(lambda: len(b.got) == 7)
        nursery.cancel_scope.cancel()

    assert b.got[0] == (a.id, 1, b"vote")


async def test_urgent_messages_keep_their_order_whether_or_not_they_have_to_wait(two):
    a, b = two
    many = [number.to_bytes(2, "big") for number in range(600)]
    async with trio.open_nursery() as nursery:
        await join(nursery, a, b)
        for number, body in enumerate(many):  # far more than ZeroMQ takes at once, and now and then a pause
            assert a.links.send(b.id, 1, body)
            if number % 100 == 99:
                a.links.send(b.id, 9, bytes(70_000))
                await until(lambda number=number: len([one for one in b.got if one[1] == 1]) > number)
        await until(lambda: len(b.got) == len(many) + 6)
        nursery.cancel_scope.cancel()

    assert [body for _, kind, body in b.got if kind == 1] == many
    assert not [name for name in b.links.counted if name.startswith("frame")]


async def test_a_message_over_the_limit_is_the_callers_mistake_and_a_full_queue_says_no(two):
    a, b = two
    async with trio.open_nursery() as nursery:
        await join(nursery, a, b)
        with pytest.raises(ValueError, match="over"):
            a.links.send(b.id, 2, bytes((1 << 20) + 1))
        taken = sum(a.links.send(b.id, 2, bytes(1 << 20)) for _ in range(20))
        nursery.cancel_scope.cancel()

    assert 0 < taken < 20
    assert not a.links.send(b.id, 2, b"after the end")


async def test_both_sides_ask_and_answer_over_one_link_and_a_refusal_keeps_its_words():
    async def echo(node, body):
        return body + b"!"

    async def refuse(node, body):
        raise Refusal("entry-refused", what="no", who="you", do="stop")

    async def crash(node, body):
        raise KeyError(body)

    a, b = (Node(pair, methods={1: echo, 2: refuse, 3: crash}) for pair in pairs_by_id(2))
    async with trio.open_nursery() as nursery:
        await join(nursery, a, b)
        assert await a.links.request(b.id, 1, b"x" * 200_000, 10) == b"x" * 200_000 + b"!"
        assert await b.links.request(a.id, 1, b"from b", 10) == b"from b!"
        with pytest.raises(Refusal) as refused:
            await a.links.request(b.id, 2, b"", 10)
        for method in (3, 77):
            with pytest.raises(Unavailable, match="could not answer"):
                await a.links.request(b.id, method, b"", 10)
        with pytest.raises(Unavailable, match="no link"):
            await a.links.request(a.id, 1, b"", 10)
        nursery.cancel_scope.cancel()

    assert refused.value.as_dict() == {"code": "entry-refused", "what": "no", "who": "you", "do": "stop"}
    assert b.links.counted["request-crashed"] == 1


async def test_an_answer_that_comes_too_late_is_dropped_and_too_many_requests_are_told_busy():
    opened = trio.Event()

    async def slow(node, body):
        with trio.CancelScope(shield=True):
            await opened.wait()
        return b"late"

    a, b = (Node(pair, methods={1: slow}) for pair in pairs_by_id(2))
    limit = MAX_REQUESTS_PER_PEER.value
    outcomes = []

    async def ask():
        try:
            outcomes.append(await a.links.request(b.id, 1, b"", 20))
        except Busy as busy:
            outcomes.append(busy.retry_s)

    async with trio.open_nursery() as nursery:
        await join(nursery, a, b)
        with pytest.raises(Unavailable, match="no answer within"):
            await a.links.request(b.id, 1, b"", 0.02)
        async with trio.open_nursery() as asking:
            for _ in range(limit):
                asking.start_soon(ask)
            await until(lambda: outcomes)  # the peer counts the one that we gave up as well
            opened.set()
        await until(lambda: a.links.counted["reply-late"])
        nursery.cancel_scope.cancel()

    assert outcomes.count(b"late") == limit - 1
    assert len(outcomes) == limit
    assert b.links.counted["request-busy"] == 1


async def test_when_all_dial_all_each_pair_keeps_the_link_of_its_smaller_id_and_no_other():
    nodes = [Node(pair) for pair in pairs_by_id(4)]
    async with trio.open_nursery() as nursery:
        for node in nodes:
            await nursery.start(node.links.run)
        for node in nodes:
            node.links.dial([other.at for other in nodes])
        await until(
            lambda: (
                all(
                    sum(
                        peer.connected and peer.dialled == (node.id < peer.node)
                        for peer in node.links.peers()
                    )
                    == 3
                    for node in nodes
                )
                or one_link_each(nodes)
            )
        )
        for node in nodes:
            for other in nodes:
                if node is not other:
                    await until(lambda node=node, other=other: node.links.send(other.id, 5, b"hello"))
        await until(lambda: all(len(node.got) == 3 for node in nodes))
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert one_link_each(nodes)
        nursery.cancel_scope.cancel()


def one_link_each(nodes):
    """Each pair agrees on who dialled the link that both use."""
    dialled = {
        (node.id, peer.node): peer.dialled for node in nodes for peer in node.links.peers() if peer.connected
    }
    return len(dialled) == len(nodes) * (len(nodes) - 1) and all(
        dialled[a, b] != dialled[b, a] for a, b in dialled
    )


async def test_a_peer_that_restarts_is_linked_again_and_its_absence_is_told(two):
    a, b = two
    async with trio.open_nursery() as nursery:
        await nursery.start(a.links.run)
        async with trio.open_nursery() as life:
            await life.start(b.links.run)
            endpoint = b.links.control_endpoint
            a.links.dial([b.at])
            await until(lambda: a.links.connected(b.id))
            life.cancel_scope.cancel()
        await until(lambda: not a.links.connected(b.id))
        assert not a.links.send(b.id, 2, b"nobody there")
        again = Node(pairs_by_id(2)[1], address=endpoint)
        await nursery.start(again.links.run)
        await until(lambda: a.links.connected(b.id))
        a.links.send(b.id, 2, b"welcome back")
        await until(lambda: again.got)
        nursery.cancel_scope.cancel()

    assert again.got == [(a.id, 2, b"welcome back")]
    assert [up for _, up in a.events[:3]] == [True, False, True]


async def test_peers_are_shown_with_name_address_traffic_and_round_trip(two):
    a, b = two
    async with trio.open_nursery() as nursery:
        await join(nursery, a, b)
        await until(lambda: all(n.links.peers()[0].rtt_ms >= 0 for n in two))
        (shown,) = a.links.peers()
        nursery.cancel_scope.cancel()

    assert shown.node == b.id
    assert shown.name == "n" + b.id.hex()[:4]
    assert shown.address == b.links.control_endpoint
    assert shown.connected
    assert not shown.dialled
    assert shown.in_bytes > 0
    assert shown.out_bytes > 0
    assert shown.since_ms > 0


async def test_an_address_in_use_is_a_refusal_that_names_it(two):
    a, _ = two
    async with trio.open_nursery() as nursery:
        await nursery.start(a.links.run)
        with pytest.raises(Refusal, match=a.links.control_endpoint) as refused:
            Node(pairs_by_id(2)[1], address=a.links.control_endpoint).links.open()
        nursery.cancel_scope.cancel()

    assert refused.value.code == "port-taken"
