"""Packages of the past: long histories are read to their end, few at once, and remembered; what is too long says so."""

import pytest
import trio

from pyrsia.ledger.touches import package_key
from pyrsia.node.inspecting import past
from pyrsia.node.inspecting.past import Pasts
from pyrsia.units import Limit
from tests.reference.pasts import Eventful

KEY = package_key("pkg:pypi/idna")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = Eventful(tmp_path_factory.mktemp("world"))
    yield made
    made.close()


class Long:
    """The archive of a world as it would be after `times` as much: its history again and again, under higher leaves."""

    def __init__(self, world, times):
        self._archive, self._per = world.archive, world.archive.size
        self.size, self.hole, self.head = self._per * times, None, world.archive.head
        self._rows = [index for index, _ in world.archive.history(KEY, 0, 1_000)]

    def state(self, key):
        return self._archive.state(key)

    def history(self, key, first, count):
        turn, rest = divmod(first, self._per)
        found = []
        while len(found) < count and turn * self._per < self.size:
            found += [(turn * self._per + row, b"") for row in self._rows if row >= rest]
            turn, rest = turn + 1, 0
        return found[:count]

    def entry(self, index):
        return self._archive.entry(index % self._per)

    def entries(self, first, count):
        return [self.entry(index) for index in range(first, min(first + count, self.size))]


def statuses(found, world):
    return [found.status(world.sha256(one), f"pkg:pypi/idna@{version}")
            for one, version in ((world.first, "1.0"), (world.other, "2.0"), (world.third, "3.0"))]  # fmt: skip


async def test_a_history_of_more_than_twenty_thousand_leaves_is_told_whole(world):
    log = Long(world, 400)
    found, read = await Pasts(log).at(KEY, log.size)
    assert read > 20_000
    assert (found.whole, found.cut) == (True, False)
    assert statuses(found, world) == ["WITHDRAWN", "REPRODUCED", "WITHDRAWN"]
    assert len(found.facts) == 2 * 400


async def test_what_was_read_long_for_is_remembered_and_the_same(world):
    log = Long(world, 60)
    pasts = Pasts(log)
    first, read = await pasts.at(KEY, log.size)
    again, more = await pasts.at(KEY, log.size)
    assert (again is first, more, read > past.LONG.value) == (True, 0, True)
    short, _ = await pasts.at(KEY, 50)
    assert (await pasts.at(KEY, 50))[0] is not short  # what is read at once takes no room


async def test_of_what_is_remembered_the_oldest_goes(world, monkeypatch):
    monkeypatch.setattr(past, "LONG", Limit(10, "a test's"))
    pasts, size = Pasts(world.archive), world.archive.size
    one, _ = await pasts.at(KEY, size)
    assert one.weight > 100 * one.read + 4 * sum(map(len, map(repr, (each.body for each in one.facts))))
    monkeypatch.setattr(past, "REMEMBERED", Limit(2 * one.weight + 10, "a test's"))
    pasts = Pasts(world.archive)
    kept = [await pasts.at(KEY, one) for one in (size - 2, size - 1, size)]
    read = [(await pasts.at(KEY, one))[1] for one in (size, size - 1, size - 2)]
    assert (read[0], read[2]) == (0, kept[0][1])


async def test_one_leaf_fewer_than_the_bound_is_whole_and_one_more_is_not(world, monkeypatch):
    """What nobody read to the end says nothing of any file, rather than something that was true in the middle."""
    size = world.archive.size
    whole, count = await Pasts(world.archive).at(KEY, size)
    monkeypatch.setattr(past, "LONG", Limit(1, "a test's"))
    monkeypatch.setattr(past, "STRETCH", Limit(1, "a test's"))
    for most in (count + 1, count):
        monkeypatch.setattr(past, "MAX_HISTORY", Limit(most, "a test's"))
        found, _ = await Pasts(world.archive).at(KEY, size)
        assert (found.whole, statuses(found, world)) == (True, statuses(whole, world))
    monkeypatch.setattr(past, "MAX_HISTORY", Limit(count - 1, "a test's"))
    found, _ = await Pasts(world.archive).at(KEY, size)
    assert (found.whole, found.cut, set(statuses(found, world))) == (False, True, {""})


async def test_facts_for_which_there_is_no_room_are_said_to_be_missing_and_files_are_told_all_the_same(
    world, monkeypatch
):
    monkeypatch.setattr(past, "MAX_FACT_BYTES", Limit(600, "a test's"))
    found, _ = await Pasts(world.archive).at(KEY, world.archive.size)
    assert (found.whole, len(found.facts)) == (False, 1)
    assert statuses(found, world) == ["WITHDRAWN", "REPRODUCED", "WITHDRAWN"]


async def test_few_long_histories_are_read_at_once_and_short_ones_do_not_wait(world, monkeypatch):
    monkeypatch.setattr(past, "LONG", Limit(100, "a test's"))
    log = Long(world, 40)
    pasts = Pasts(log)
    order = []

    async def ask(size):
        _, read = await pasts.at(KEY, size)
        order.append(read)

    async with trio.open_nursery() as nursery:
        for at in range(6):
            nursery.start_soon(ask, log.size - at)
        nursery.start_soon(ask, 40)
    assert order[0] < 100 < min(order[1:])
    assert pasts._turns.statistics().borrowed_tokens == 0


async def test_who_leaves_gives_its_place_to_the_next(world, monkeypatch):
    monkeypatch.setattr(past, "LONG", Limit(100, "a test's"))
    log = Long(world, 400)
    pasts = Pasts(log)
    async with trio.open_nursery() as nursery:
        for at in range(4):
            nursery.start_soon(pasts.at, KEY, log.size - at)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert pasts._turns.statistics().borrowed_tokens == 0
    assert (await pasts.at(KEY, log.size))[0].whole
