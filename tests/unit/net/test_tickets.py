"""Tickets are good once, for one node, for a while."""

import itertools

from pyrsia.net.tickets import GOOD_S, MAX_ALL_TICKETS, MAX_TICKETS, TICKET_BYTES, Tickets
from pyrsia.units import NodeId

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
