"""Work that goes on when the disk says no: said once, and a fault of ours is not hidden by it."""

import logging

import pytest
import trio

from pyrsia.errors import DatabaseDamaged, Unavailable
from pyrsia.node.mesh.enduring import TOLD_S, Border, Enduring
from pyrsia.node.mesh.parts import Mesh


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "pyrsia.mesh")
    return lambda: [one.getMessage() for one in caplog.records]


def test_trouble_is_said_once_and_once_that_it_is_over(said):
    endures = Enduring("nothing is kept")
    for error in (
        Unavailable("the disk is full"),
        Unavailable("the disk is full"),
        OSError(5, "EIO"),
        None,
        None,
    ):
        with endures.turn():
            if error is not None:
                raise error
    assert said() == [
        "nothing is kept: the disk is full",
        "nothing is kept: [Errno 5] EIO",
        "nothing is kept: this is over",
    ]


async def test_trouble_of_tasks_is_trouble_too(said):
    async def fail():
        raise Unavailable("the disk is full")

    with Enduring("nothing is kept").turn():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(trio.sleep_forever)
    assert said() == ["nothing is kept: the disk is full"]


@pytest.mark.parametrize("error", [ValueError("a fault"), ExceptionGroup("two", [OSError(), KeyError()])])
def test_a_fault_of_ours_goes_through(said, error):
    with pytest.raises(type(error)), Enduring("nothing is kept").turn():
        raise error
    assert said() == []


async def test_who_is_cancelled_is_cancelled():
    with trio.move_on_after(0) as scope, Enduring("nothing is kept").turn():
        await trio.sleep_forever()
    assert scope.cancelled_caught


@pytest.mark.parametrize("grouped", [False, True])
def test_a_damaged_database_is_nothing_to_be_endured(grouped):
    error = DatabaseDamaged("a page is not there")
    with pytest.raises((DatabaseDamaged, BaseExceptionGroup)) as raised, Enduring("nothing is kept").turn():
        raise BaseExceptionGroup("of a nursery", [error, Unavailable("no")]) if grouped else error
    assert raised.value is error or raised.group_contains(DatabaseDamaged)


async def test_a_border_tells_a_fault_of_ours_once_a_minute_and_goes_on(said, autojump_clock):
    border = Border("nobody is looked for")
    for _ in range(10):
        with border.turn():
            raise KeyError("a node that was forgotten")
        await trio.sleep(TOLD_S / 4)
    assert said() == ["nobody is looked for: a fault of ours"] * 3


@pytest.mark.parametrize("grouped", [False, True])
def test_no_border_hides_a_damaged_database(grouped):
    error = DatabaseDamaged("a checksum is wrong")
    with pytest.raises((DatabaseDamaged, ExceptionGroup)) as raised, Border("nobody is looked for").turn():
        raise ExceptionGroup("of a nursery", [KeyError("a bug beside it"), error]) if grouped else error
    assert raised.value is error or raised.group_contains(DatabaseDamaged)


async def test_a_part_with_a_bug_keeps_no_other_from_hearing_of_a_link(said):
    class Part:
        methods, messages = {}, {}

        def __init__(self, bug):
            self.bug, self.heard = bug, []

        def linked(self, node, up):
            if self.bug:
                raise ZeroDivisionError
            self.heard.append((node, up))

    broken, well = Part(True), Part(False)
    Mesh([broken, well]).linked(b"n" * 32, True)
    assert well.heard == [(b"n" * 32, True)]
    assert said() == ["a part was not told of a link: a fault of ours"]
