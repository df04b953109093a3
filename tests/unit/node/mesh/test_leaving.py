"""Who hands over what it keeps says so to everybody with a link, and is shown so for as long as it means it."""

import os

import pytest
import trio

from pyrsia.node.kinds import Method
from pyrsia.store.rocks import Database
from pyrsia.wire.providers import Leaving
from tests.unit.node.keepers import Crowd


@pytest.fixture
def crowd(tmp_path, autojump_clock, monkeypatch):
    """Four storage members and one that keeps no copies, in virtual time; disks are always in sync."""

    async def sync(_):
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(Database, "sync", sync)
    monkeypatch.setattr(os, "fdatasync", lambda _: None)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    return Crowd(tmp_path)


def believers(crowd, node):
    """The places of those who show that `node` leaves."""
    return [at for at, one in enumerate(crowd.all) if one.keeping.replicating.leaves(node)]


async def test_who_leaves_is_shown_so_by_everybody_with_a_link_until_it_takes_that_back(crowd):
    async def test():
        leaver = crowd.all[0]
        await leaver.keeping.drain(leave=True)
        await trio.sleep(10)
        assert believers(crowd, leaver.node) == [1, 2, 3, 4]
        await trio.sleep(3_600)  # it says so again and again
        assert believers(crowd, leaver.node) == [1, 2, 3, 4]
        await leaver.keeping.drain(leave=False)
        await trio.sleep(10)
        assert believers(crowd, leaver.node) == []

    await crowd.run(test)


async def test_who_links_later_hears_it_at_the_next_look_and_alone(crowd):
    async def test():
        leaver, late = crowd.all[0], crowd.all[4]
        crowd.down.add(late.node)
        await leaver.keeping.drain(leave=True)
        await trio.sleep(10)
        assert believers(crowd, leaver.node) == [1, 2, 3]
        crowd.down.clear()
        crowd.asked.clear()
        for _ in range(50):  # a link that comes and goes costs one message a look, and wakes nobody
            leaver.keeping.draining.linked(late.node, False)
            leaver.keeping.draining.linked(late.node, True)
        await trio.sleep(10)
        assert believers(crowd, leaver.node) == [1, 2, 3, 4]
        told = [row for row in crowd.asked if row[0] == leaver.node and row[2] == Method.PROVIDE]
        assert told == [(leaver.node, late.node, int(Method.PROVIDE))]

    await crowd.run(test)


async def test_who_says_once_that_it_leaves_is_shown_so_for_half_an_hour(crowd):
    async def test():
        one, other = crowd.all[4], crowd.all[1].keeping  # no storage member: shown, and passed over by nobody
        await other.providing.take(one.node, Leaving(True).encode())
        await trio.sleep(5)
        assert other.replicating.leaves(one.node)
        assert not other.status().gone
        await trio.sleep(1_800)
        assert not other.replicating.leaves(one.node)

    await crowd.run(test)


async def test_a_peer_that_never_answers_delays_the_look_at_what_is_here_by_a_second(crowd):
    async def test():
        leaver, deaf = crowd.all[0], crowd.all[4]
        ask = leaver.link.request

        async def request(node, method, payload, deadline_s):
            if node == deaf.node:
                await trio.sleep(deadline_s)
            return await ask(node, method, payload, deadline_s)

        leaver.link.request = request
        await leaver.keeping.drain(leave=True)
        await trio.sleep(2)
        assert leaver.keeping.drained().rounds == 1
        assert believers(crowd, leaver.node) == [1, 2, 3]

    await crowd.run(test)
