"""The shell of sharing: what the core asks for is done, on time, and a liar is named."""

import pytest
import trio
import trio.testing

from pyrsia.errors import PeerFault, Refusal
from pyrsia.ledger.mempool import Mempool
from pyrsia.ledger.sharing import ACCEPTED, DUPLICATE, GATHER_S, ROUND_S, Sharing
from pyrsia.node.kinds import Kind
from pyrsia.node.log.sharing import Sharer
from pyrsia.wire import sharing as wire
from pyrsia.wire.sharing import Entries, Have
from tests.reference.ledger import START
from tests.reference.sharing import WORLD, fact, once

ME, A, B = (bytes([i + 1]) * 32 for i in range(3))
FACTS = [fact(i % 5, f"shell {i}") for i in range(20)]


class Node:
    def __init__(self):
        self.sent, self.worked = [], 0
        self.pool = Mempool(WORLD.genesis, once)
        core = Sharing(self.pool, WORLD.db.get, node=ME, validators=lambda: [ME, A, B])
        self.sharer = Sharer(core, send=self.send, work=self.work, now_ms=lambda: START)

    def send(self, node, kind, data):
        assert kind == Kind.SHARE
        self.sent.append((node, wire.decode(data)))
        return True

    def work(self):
        self.worked += 1


async def test_entries_go_out_when_their_moment_has_come(autojump_clock):
    node = Node()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.sharer.run)
        await trio.testing.wait_all_tasks_blocked()
        node.sharer.linked(A, True)
        node.sharer.linked(B, True)
        assert node.sharer.offer(FACTS[0]) == ACCEPTED
        assert node.sharer.offer(FACTS[0]) == DUPLICATE
        assert node.sent == [(A, Entries((FACTS[0],))), (B, Entries((FACTS[0],)))]
        for raw in FACTS[1:5]:
            node.sharer.offer(raw)
        assert (len(node.sent), node.worked) == (2, 1)
        await trio.sleep(2 * GATHER_S)
        assert node.sent[2:] == [(A, Entries(tuple(FACTS[1:5]))), (B, Entries(tuple(FACTS[1:5])))]
        assert node.worked == 2
        await trio.sleep(2 * ROUND_S)
        assert [message for _, message in node.sent[4:]] == [Have(node.pool.ids(), False)]
        nursery.cancel_scope.cancel()


async def test_a_liar_is_named_with_what_it_sent_and_the_good_is_kept(autojump_clock):
    node = Node()
    node.sharer.linked(A, True)
    with pytest.raises(PeerFault) as caught:
        node.sharer.receive(A, Entries((FACTS[0], b"{}")).encode())
    assert (caught.value.peer, caught.value.evidence) == (A, b"{}")
    assert (len(node.pool), node.worked) == (1, 1)
    with pytest.raises(PeerFault):
        node.sharer.receive(A, b"noise")


async def test_what_a_peer_submits_is_refused_to_it_alone(autojump_clock):
    node = Node()
    with pytest.raises(Refusal, match="breaks its format"):
        node.sharer.offer(b"{}", A)
    assert (node.sent, node.worked) == ([], 0)
