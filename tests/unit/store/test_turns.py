"""Turns: one at a time, in order, and none for who was cancelled before."""

import trio
import trio.testing

from pyrsia.store.turns import Turns


async def test_a_free_turn_lets_no_other_task_run():
    turns, ran = Turns(), []

    async def other():
        ran.append("other")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        async with turns:
            assert ran == []


async def test_a_taken_turn_is_waited_for_in_order_and_nobody_overtakes():
    turns, seen = Turns(), []

    async def take(name):
        async with turns:
            seen.append(f"{name} in")
            await trio.testing.wait_all_tasks_blocked()
            seen.append(f"{name} out")

    async with trio.open_nursery() as nursery:
        async with turns:
            for name in "abc":
                nursery.start_soon(take, name)
                await trio.testing.wait_all_tasks_blocked()
            assert seen == []
        async with turns:
            seen.append("last")
    assert seen == ["a in", "a out", "b in", "b out", "c in", "c out", "last"]


async def test_who_is_cancelled_before_its_turn_never_has_it():
    turns, had = Turns(), []
    with trio.CancelScope() as scope:
        scope.cancel()
        async with turns:
            had.append("free")
    async with turns:
        with trio.move_on_after(0):
            async with turns:
                had.append("taken")
    async with turns:
        had.append("after")
    assert had == ["after"]
