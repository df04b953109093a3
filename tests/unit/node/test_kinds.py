"""Requests that take no body: one with a body is no such request, and costs its link what every other garbage does."""

from types import SimpleNamespace

import pytest
import trio

from pyrsia.errors import Malformed, Unavailable
from pyrsia.mesh.scores import FAULT, Scores
from pyrsia.node import service
from pyrsia.node.kinds import Method, nothing
from pyrsia.node.sync.points import Points
from pyrsia.units import LINK_FAULTS
from tests.reference.waiting import until
from tests.unit.net.nodes import Node, join, pairs_by_id

ANN, BOB = pairs_by_id(2)


def test_no_body_is_the_form_and_any_body_is_none():
    for method in (Method.PING, Method.DOCUMENT, Method.POINTS):
        nothing(method, b"")
        with pytest.raises(Malformed, match=f"{method.name} takes no body, and 70000 bytes came"):
            nothing(method, bytes(70_000))


async def test_who_asks_for_a_document_or_points_with_a_body_gets_none():
    here = SimpleNamespace(governing=SimpleNamespace(document=dict))
    assert await service.Node._on_document(here, b"n" * 32, b"") == b"{}"
    with pytest.raises(Malformed):
        await service.Node._on_document(here, b"n" * 32, b"x")
    with pytest.raises(Malformed):
        await Points._on_points(SimpleNamespace(), b"n" * 32, b"x")


async def test_who_pings_with_bodies_loses_points_and_its_link_in_the_end():
    book = Scores()
    blame = lambda node, why: book.note(trio.current_time(), node, FAULT, why)  # noqa: E731
    here, there = Node(ANN, methods={Method.PING: service._on_ping}, blame=blame), Node(BOB)
    async with trio.open_nursery() as nursery:
        await join(nursery, here, there)
        assert await there.links.request(here.id, Method.PING, b"", 5) == b""
        for count in range(1, LINK_FAULTS.value):
            with pytest.raises(Unavailable, match="could not answer"):
                await there.links.request(here.id, Method.PING, bytes(70_000), 5)
            assert sum(book.faults(there.id).values()) == count
        # The last one goes over a link that is gone before it is answered.
        nursery.start_soon(there.links.request, here.id, Method.PING, bytes(70_000), 60)
        await until(lambda: not here.links.connected(there.id))
        assert sum(book.faults(there.id).values()) == LINK_FAULTS.value
        assert here.links.refused_s(there.id) > 0
        assert book.ignored(trio.current_time(), there.id)
        nursery.cancel_scope.cancel()
