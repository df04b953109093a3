"""Requests whose handlers answer at once: no task, the same rules. And what goes past the writer loses no order."""

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import pytest
import trio

from pyrsia.errors import Malformed, PeerFault, Refusal, Unavailable
from pyrsia.net.faults import Faults
from pyrsia.net.outbox import ORDINARY, URGENT
from pyrsia.net.peers import Conn, Peer, Peers
from pyrsia.net.requests import Answers, Questions
from pyrsia.net.traffic import Traffic
from pyrsia.net.zap import Bans
from pyrsia.units import LINK_FAULTS, MAX_LINK_MESSAGE_BYTES, MAX_REQUESTS_PER_PEER
from pyrsia.wire import frames
from pyrsia.wire.frames import Frame, Type
from tests.reference.waiting import bounded, until

sys.path.insert(0, str(Path(__file__).parent))
from nodes import Node, join, pairs_by_id

assert importlib.util.find_spec("nodes")

ANN, BOB = pairs_by_id(2)


def refuse(node, body):
    raise Refusal("not-found", what="it is not done", who="nobody", do="ask for something else")


def blame(node, body):
    raise Malformed("odd: no honest node sends this")


def crash(node, body):
    return 1 // 0


METHODS = {
    1: lambda node, body: body[::-1],
    2: refuse,
    3: blame,
    4: crash,
    5: lambda node, body: bytes(MAX_LINK_MESSAGE_BYTES.value + 1),
}


async def linked(nursery):
    a, b = Node(ANN, methods=METHODS), Node(BOB)
    await join(nursery, a, b)
    return a, b


async def test_a_handler_that_answers_at_once_does_so_in_order_for_many_and_for_one():
    async with trio.open_nursery() as nursery:
        a, b = await linked(nursery)
        got = {}

        async def ask(number):
            word = b"%d" % number
            got[number] = await b.links.request(a.id, 1, word, 10)

        for number in range(20):
            await ask(number)
        async with trio.open_nursery() as asking:
            for number in range(20, 20 + MAX_REQUESTS_PER_PEER.value):
                asking.start_soon(ask, number)
        large = bytes(300_000) + b"end"
        assert await b.links.request(a.id, 1, large, 10) == large[::-1]
        nursery.cancel_scope.cancel()

    assert got == {number: b"%d" % number for number in got} | {
        number: (b"%d" % number)[::-1] for number in got
    }
    assert a.links._peers.get(b.id) is None or a.links._peers.get(b.id).serving == 0


async def test_what_such_a_handler_raises_is_told_or_counted_and_the_link_goes_on():
    async with trio.open_nursery() as nursery:
        a, b = await linked(nursery)
        with pytest.raises(Refusal, match="it is not done"):
            await b.links.request(a.id, 2, b"", 10)
        for method in (3, 4, 5, 99):
            with pytest.raises(Unavailable, match="could not answer"):
                await b.links.request(a.id, method, b"", 10)
        assert await b.links.request(a.id, 1, b"on", 10) == b"no"
        nursery.cancel_scope.cancel()

    assert a.links.counted["bad-odd"] == 1
    assert a.links.counted["request-crashed"] == 2
    assert a.links.counted["request-unknown"] == 1
    assert LINK_FAULTS.value > 2


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "in a task"])
async def test_who_asks_what_no_honest_node_asks_has_the_blame_and_loses_its_link(at_once):
    async def later(node, body):
        await trio.lowlevel.checkpoint()
        raise PeerFault("odd: no honest node sends this", peer=node)

    blamed = []
    async with trio.open_nursery() as nursery:
        a = Node(ANN, methods={1: blame if at_once else later}, blame=lambda *told: blamed.append(told))
        b = Node(BOB)
        await join(nursery, a, b)
        for _ in range(LINK_FAULTS.value - 1):
            with pytest.raises(Unavailable, match="could not answer"):
                await b.links.request(a.id, 1, b"", 10)
        nursery.start_soon(
            b.links.request, a.id, 1, b"", 10
        )  # over a link that is gone before it is answered
        await until(lambda: not a.links.connected(b.id))
        nursery.cancel_scope.cancel()

    assert blamed == [(b.id, "odd: no honest node sends this")] * LINK_FAULTS.value
    assert a.links.counted["banned-faults"] == 1


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "in a task"])
@pytest.mark.parametrize("place", [0, 40], ids=["before", "behind"])
async def test_who_says_goodbye_beside_what_no_honest_node_asks_gets_away_with_nothing(at_once, place):
    """Else links, which cost nothing, would buy any number of bad requests: nothing is counted where there is none."""
    asked = []

    def bad(node, body):
        asked.append(body)
        raise Malformed("odd: no honest node sends this")

    async def later(node, body):
        await trio.lowlevel.checkpoint()
        bad(node, body)

    blamed = []
    async with trio.open_nursery() as nursery:
        a = Node(ANN, methods={1: bad if at_once else later}, blame=lambda *told: blamed.append(told))
        b = Node(BOB)
        await join(nursery, a, b)
        peer = b.links._peers.linked(a.id)
        said = [frames.request(number, 5_000, 1, b"") for number in range(1, 41)]
        said.insert(place, frames.encode(Frame(Type.BYE)))
        said.append(frames.encode(Frame(Type.SEND, number=7, body=b"after the end")))
        for one in said:
            peer.outbox.push(one, URGENT, wake=False)
        peer.conn.flush()
        await until(lambda: (b.id, False) in a.events)
        if place:
            await until(lambda: a.links.refused_s(b.id) > 0)
        nursery.cancel_scope.cancel()

    assert a.got == []
    assert blamed == [(b.id, "odd: no honest node sends this")] * len(asked)
    if place:
        assert len(asked) >= LINK_FAULTS.value
        assert a.links.counted["banned-faults"] >= 1
    else:
        assert asked == []
        assert a.links.counted["frame-late"] == 41


async def test_no_answer_ends_at_the_deadline_and_a_link_that_breaks_says_so():
    async def never(node, body):
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        a, b = Node(ANN, methods={1: never}), Node(BOB)
        await join(nursery, a, b)
        with bounded(), pytest.raises(Unavailable, match="no answer within"):
            await b.links.request(a.id, 1, b"", 0.05)
        await until(lambda: not a.links._peers.get(b.id).serving)  # else the next wait sees this request
        told = []

        async def ask():
            try:
                await b.links.request(a.id, 1, b"", 60)
            except Unavailable as error:
                told.append(str(error))

        nursery.start_soon(ask)
        await until(lambda: a.links._peers.get(b.id).serving)
        b.links.ban(a.id, "test")
        await until(lambda: told)
        assert not b.links._questions._under_way
        nursery.cancel_scope.cancel()

    assert told == ["the link broke"]


async def test_a_request_that_its_asker_gives_up_is_forgotten():
    async def never(node, body):
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        a, b = Node(ANN, methods={1: never, 2: lambda node, body: body}), Node(BOB)
        await join(nursery, a, b)
        with trio.move_on_after(0.05) as scope:
            await b.links.request(a.id, 1, b"", 60)
        assert scope.cancelled_caught
        assert not b.links._questions._under_way
        assert not b.links._peers.get(a.id).waiting
        assert await b.links.request(a.id, 2, b"x", 10) == b"x"
        nursery.cancel_scope.cancel()


class Pipe:
    """A socket that takes what it has room for."""

    def __init__(self, room):
        self.room, self.sent = room, []

    def send_now(self, parts):
        if self.room == 0:
            return False
        self.room -= 1
        self.sent.append(parts)
        return True


async def test_what_is_asked_over_a_link_that_is_read_out_is_answered_at_once_over_the_one_in_its_place():
    """Two nodes that dial each other at once ask over both; nothing else would send it before the next ping."""
    counted = Counter()
    peers = Peers(counted, None)
    peer = peers.know(ANN.public)
    faults = Faults(peers, Bans(trio.current_time), counted)
    async with trio.open_nursery() as nursery:
        answers = Answers(METHODS.get, faults, counted, nursery)
        traffic = Traffic(peers, faults, Questions(counted), answers, lambda *message: None, counted)
        losing, kept = (Conn(peer, Pipe(room=1), route, [], 0) for route in (b"losing", b"kept"))
        for conn in (losing, kept):
            peers.adopt(conn, None)
        kept.idle = True
        traffic.take(losing, [frames.with_seq(1, frames.request(7, 5_000, 1, b"no"))])

    assert losing.sock.sent == []
    assert [parts[0] for parts in kept.sock.sent] == [b"kept"]
    assert frames.decode(frames.split_seq(kept.sock.sent[0][1])[1]).body == b"on"
    assert not peer.outbox


async def test_what_a_full_socket_does_not_take_keeps_its_place_and_its_numbers():
    peer = Peer(ANN.public, b"")
    pipe = Pipe(room=1)
    conn = peer.conn = Conn(peer, pipe, b"", [], 0)
    conn.idle = True
    for word in (b"one", b"two"):
        peer.outbox.push(word, URGENT, wake=False)
    conn.flush()
    assert [frames.split_seq(part) for part in pipe.sent[0]] == [(1, frames.bundled([b"one", b"two"])[0])]
    peer.outbox.push(b"three", ORDINARY, wake=False)
    conn.flush()
    assert (conn.unsent, conn.seq_out, len(peer.outbox)) == ([b"three"], 1, 0)
    peer.outbox.push(b"four", URGENT, wake=False)
    conn.flush()  # nothing overtakes what is unsent
    assert conn.unsent == [b"three"]
    assert len(peer.outbox) == 1
    assert len(pipe.sent) == 1


async def test_nothing_that_is_sent_at_once_overtakes_what_a_full_socket_did_not_take():
    """A vote went before the one that waited: the queue was empty, and the socket had room again."""
    peer = Peer(ANN.public, b"")
    pipe = Pipe(room=0)
    conn = peer.conn = Conn(peer, pipe, b"", [], 0)
    conn.idle = True
    peer.outbox.push(b"one", URGENT, wake=False)
    conn.flush()
    assert (conn.unsent, bool(peer.outbox)) == ([b"one"], False)
    pipe.room = 1
    assert not conn.send_now(b"two")
    assert pipe.sent == []
