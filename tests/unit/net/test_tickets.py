"""Tickets are good once, for one node, for a while."""

import itertools
from types import SimpleNamespace

import trio

from pyrsia.errors import Unavailable
from pyrsia.net import datalinks
from pyrsia.net.tickets import GOOD_S, MAX_ALL_TICKETS, MAX_TICKETS, TICKET_BYTES, Tickets
from pyrsia.units import Limit, NodeId
from tests.reference.waiting import until

ANN, BOB = NodeId(b"a" * 32), NodeId(b"b" * 32)


def numbered():
    """Tickets that draw 0, 1, 2, ... for random bytes."""
    count = itertools.count()
    return Tickets(lambda size: next(count).to_bytes(size, "big"))


def test_a_ticket_names_whom_it_was_given_to_once():
    tickets = numbered()
    ticket = tickets.give(0, ANN)
    assert len(ticket) == TICKET_BYTES
    assert tickets.use(1, bytes(31) + b"\xff") is None
    assert tickets.use(1, ticket) == ANN
    assert tickets.use(1, ticket) is None
    assert len(tickets) == 0


def test_an_old_ticket_is_void():
    tickets = numbered()
    first, second = tickets.give(0, ANN), tickets.give(1, ANN)
    assert tickets.use(GOOD_S + 0.5, first) is None
    assert tickets.use(GOOD_S + 0.5, second) == ANN


def test_who_asks_without_end_loses_its_own_oldest_and_nobody_elses():
    tickets = numbered()
    kept = tickets.give(0, BOB)
    given = [tickets.give(0, ANN) for _ in range(3 * MAX_TICKETS.value)]
    assert len(tickets) == 1 + MAX_TICKETS.value
    assert [tickets.use(0, one) for one in given[-MAX_TICKETS.value :]] == [ANN] * MAX_TICKETS.value
    assert [tickets.use(0, one) for one in given] == [None] * len(given)
    assert tickets.use(0, kept) == BOB


def test_all_together_are_bounded():
    tickets = numbered()
    for i in range(2 * MAX_ALL_TICKETS.value):
        tickets.give(0, NodeId(i.to_bytes(32, "big")))
    assert len(tickets) == MAX_ALL_TICKETS.value


class Slow:
    """Links to nodes that all wait before they say that they have no ticket."""

    def __init__(self):
        self.asked = 0
        self.said = trio.Event()
        self.data_router = self.plain_router = Idle()
        self.data_endpoint = self.plain_endpoint = "tcp://127.0.0.1:1"
        self.callers = SimpleNamespace(know=lambda endpoint, inodes: None)

    def answer(self, methods):
        pass

    def guest(self, node):
        return False

    def connected(self, node):
        return True

    def data_address(self, node):
        return "tcp://127.0.0.1:9"

    async def request(self, node, method, body, deadline_s):
        self.asked += 1
        await self.said.wait()
        return b""

    def client(self, node, address, **options):
        return Idle(), Idle()


class Idle:
    """A socket over which nothing comes."""

    def send_now(self, parts):
        return True

    def recv_now(self):
        return None

    async def recv(self):
        await trio.sleep_forever()

    def close(self):
        pass


async def test_who_waits_for_a_ticket_finds_the_places_taken_of_those_who_waited_as_long(monkeypatch):
    """All looked for a place before they asked for their tickets, and all found one: 200 lines where 32 may be."""
    monkeypatch.setattr(datalinks, "MAX_ASKED", Limit(3, "as 32"))
    monkeypatch.setattr(datalinks, "MAX_LINES", Limit(5, "as 64"))
    links = Slow()
    lines = datalinks.DataLinks(
        links, lambda *ask: None, lambda *fault: None, lambda key: True, lambda *ask: None
    )
    refused = []

    async def want(node):
        try:
            await lines.line(node)
        except Unavailable as error:
            refused.append(str(error))

    async with trio.open_nursery() as nursery:
        await nursery.start(lines.run)
        for number in range(20):
            await lines._answer(NodeId(bytes([number]) * 32), datalinks.DIAL_ME)
        await until(lambda: links.asked == 20)
        links.said.set()
        await until(lambda: not lines._opening)
        assert len(lines._dialled) == 3
        links.said = trio.Event()
        for number in range(100, 120):
            nursery.start_soon(want, NodeId(bytes([number]) * 32))
        await until(lambda: links.asked == 40)
        links.said.set()
        await until(lambda: not lines._opening)
        assert len(lines._dialled) == 5
        nursery.cancel_scope.cancel()
    assert set(refused) == {"too many data links are in use"}
