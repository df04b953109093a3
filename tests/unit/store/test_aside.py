"""Work in a thread whose end wakes one task: what it gives, what it raises, and that it is never left behind."""

import os
import threading

import pytest
import trio
import trio.testing

from pyrsia.store import aside as module
from pyrsia.store.aside import Aside

pytestmark = pytest.mark.anyio


@pytest.fixture
def aside():
    found = Aside()
    yield found
    found.close()


async def test_work_is_done_in_another_thread_and_is_over_when_run_returns(aside):
    did = []

    for number in range(20):
        await aside.run(lambda number=number: did.append((number, threading.get_ident())))
        assert did[-1][0] == number

    assert threading.get_ident() not in {thread for _, thread in did}


async def test_what_the_work_raises_comes_out_and_the_next_piece_is_done(aside):
    def broken() -> None:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        await aside.run(broken)
    did = []
    await aside.run(lambda: did.append(1))
    assert did == [1]


async def test_work_that_has_begun_is_waited_for_whatever_is_cancelled(aside):
    begun, goes_on, did = threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        assert goes_on.wait(10)
        did.append(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(aside.run, work)
        while not begun.is_set():
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
        goes_on.set()
    assert did == [1]


async def test_cancelled_before_it_begins_nothing_is_done(aside):
    did = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await aside.run(lambda: did.append(1))
    assert scope.cancelled_caught
    assert did == []


async def test_other_tasks_run_meanwhile(aside):
    goes_on = threading.Event()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(aside.run, lambda: goes_on.wait(10))
        await trio.testing.wait_all_tasks_blocked()
        goes_on.set()
    assert goes_on.is_set()


async def test_a_result_that_is_seen_before_the_descriptor_is_raised_is_waited_for(aside, monkeypatch):
    """A thread can stand still between the two; a node whose disk was written ended over it."""
    delivered, goes_on, over = threading.Event(), threading.Event(), []
    raise_it, start = os.eventfd_write, module.start_thread_soon

    def late(fd: int, value: int) -> None:
        delivered.set()
        assert goes_on.wait(10)
        raise_it(fd, value)

    def started(work, deliver) -> None:
        start(work, deliver)
        assert delivered.wait(10)

    async def run() -> None:
        await aside.run(lambda: None)
        over.append(1)

    monkeypatch.setattr(module.os, "eventfd_write", late)
    monkeypatch.setattr(module, "start_thread_soon", started)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        assert over == []
        goes_on.set()
    assert over == [1]


async def test_closed_it_refuses_and_gives_its_descriptor_back():
    aside = Aside()
    await aside.run(lambda: None)
    before = len(os.listdir("/proc/self/fd"))
    aside.close()
    aside.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1
    with pytest.raises(ValueError, match="closed"):
        await aside.run(lambda: None)
