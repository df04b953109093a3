"""Batches: one wait for many entries, each told its own outcome, and nothing said before it is final."""

import trio

from pyrsia.errors import Refusal, Unavailable
from pyrsia.ledger import entries
from pyrsia.node.log.batch import BATCH_WAIT_S, Batches
from pyrsia.node.log.submission import Waiters
from tests.reference.ledger import START, World
from tests.reference.parts import ring

NO = Refusal("conflict", what="it stands already", who="the entry's author", do="look again")
BUSY = Refusal("busy", what="full", who="the network's load", do="wait")


def fact(number):
    body = {"kind": "description", "subject": "pkg:pypi/idna@1.0", "text": f"{number}", "valid_from": 1}
    keys = ring(4)
    return entries.author(
        "fact.add",
        body,
        net=World().genesis.net,
        author=keys.node_id,
        nonce=bytes(16),
        until_ms=START,
        sign=keys.node.sign,
    )


class Node:
    """A mempool that answers as the test says, a log that the test fills, and the path of single entries."""

    def __init__(self, *, refuse=None, mempool=True, known=lambda _: None, hand=None):
        self.raws = [fact(number) for number in range(4)]
        self.refuse = refuse or {}
        self.log, self.waiters, self.taken, self.single = {}, Waiters(), [], []
        self.batches = Batches(
            take=self.take,
            orders=lambda: mempool,
            waiters=self.waiters,
            leaf_of=self.log.get,
            one_by_one=self.one_by_one,
            hand=hand or self.hand,
            known=known,
        )

    async def hand(self, going):
        """Validators that know single entries only."""
        assert (self.taken, await trio.lowlevel.checkpoint()) == ([], None)
        assert all(one.is_open for one in going)

    def take(self, raw):
        if raw in self.refuse:
            raise self.refuse[raw]
        self.taken.append(raw)

    async def one_by_one(self, raw):
        self.single.append(raw)
        await trio.lowlevel.checkpoint()
        if raw in self.refuse:
            raise self.refuse[raw]
        return b"single", 9

    def final(self, raw, leaf):
        name = entries.parse(raw).id
        self.log[name] = leaf
        self.waiters.settled([name])


async def test_what_was_read_before_is_not_read_again(monkeypatch):
    made = {raw: entries.parse(raw) for raw in Node().raws}
    node = Node(known=made.get)
    for leaf, raw in enumerate(node.raws):
        node.final(raw, leaf)
    monkeypatch.setattr(entries, "parse", None)
    assert [leaf for _, leaf in await node.batches.submit(node.raws)] == [0, 1, 2, 3]


async def test_a_batch_is_answered_in_its_order_once_all_of_it_is_final(autojump_clock):
    node, told = Node(), []

    async def submit():
        told.append(await node.batches.submit(node.raws))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit)
        await trio.sleep(0.1)
        for leaf, raw in enumerate(node.raws[1:], 5):
            node.final(raw, leaf)
        await trio.sleep(0.1)
        assert (told, node.taken) == ([], node.raws)
        node.final(node.raws[0], 8)
    ids = [entries.parse(raw).id for raw in node.raws]
    assert told == [list(zip(ids, (8, 5, 6, 7), strict=True))]
    assert (node.single, len(node.waiters)) == ([], 0)


async def test_each_entry_has_its_own_refusal_and_busy_ones_are_tried_singly(autojump_clock):
    node = Node()
    node.refuse = {node.raws[0]: NO, node.raws[1]: BUSY}
    node.final(node.raws[2], 3)
    node.refuse[node.raws[3]] = Unavailable("no quorum")
    told = await Batches(
        take=lambda raw: node.take(raw) if raw != node.raws[3] else None,
        orders=lambda: True,
        waiters=node.waiters,
        leaf_of=node.log.get,
        one_by_one=node.one_by_one,
        hand=node.hand,
    ).submit(node.raws)
    assert told[0] is NO
    assert told[1] is BUSY
    assert told[2] == (entries.parse(node.raws[2]).id, 3)
    assert told[3].code == "unavailable"
    assert (sorted(node.single), len(node.waiters)) == (sorted([node.raws[1], node.raws[3]]), 0)


async def test_what_is_not_final_in_time_goes_the_way_of_single_entries(autojump_clock):
    node = Node()
    began = trio.current_time()
    told = await node.batches.submit([*node.raws[:2], b"{}"])
    assert trio.current_time() - began == BATCH_WAIT_S.value
    assert (told, sorted(node.single)) == ([(b"single", 9)] * 3, sorted([*node.raws[:2], b"{}"]))
    assert len(node.waiters) == 0


async def test_a_node_without_a_vote_hands_each_entry_on(autojump_clock):
    node = Node(mempool=False)
    assert await node.batches.submit(node.raws) == [(b"single", 9)] * 4
    assert (sorted(node.single), node.taken) == (sorted(node.raws), [])


async def test_what_a_node_without_a_vote_is_given_goes_together_and_each_has_its_own_end():
    async def hand(going):
        await trio.lowlevel.checkpoint()
        first, second, third = going
        node.final(first.entry.raw, 6)
        second.refusal = NO
        assert third.is_open

    node = Node(mempool=False, hand=hand)
    node.final(node.raws[0], 2)
    told = await node.batches.submit([*node.raws, b"{}"])
    assert told[0] == (entries.parse(node.raws[0]).id, 2)  # was there before, and is not handed on
    assert told[1] == (entries.parse(node.raws[1]).id, 6)
    assert told[2] is NO
    assert (set(node.single), told[3:]) == ({node.raws[3], b"{}"}, [(b"single", 9)] * 2)
    assert (node.taken, len(node.waiters)) == ([], 0)


async def test_an_entry_that_came_after_all_counts_though_it_was_refused():
    async def hand(going):
        await trio.lowlevel.checkpoint()
        for one in going:
            one.refusal = NO
        node.final(going[0].entry.raw, 6)

    node = Node(mempool=False, hand=hand)
    assert await node.batches.submit(node.raws[:2]) == [(entries.parse(node.raws[0]).id, 6), NO]
