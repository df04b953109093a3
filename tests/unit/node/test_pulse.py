"""No beat is missed, however late one looks."""

import trio
import trio.testing

from pyrsia.node.pulse import Pulse
from tests.reference.waiting import bounded


async def test_a_beat_before_the_wait_counts():
    pulse = Pulse()
    pulse.beat()
    pulse.beat()
    with bounded():
        assert await pulse.after(0) == 2


async def test_all_who_wait_are_woken_by_one_beat():
    pulse, woken = Pulse(), []

    async def wait():
        woken.append(await pulse.after(pulse.beats))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert woken == []
        pulse.beat()
    assert woken == [1] * 5


async def test_a_loop_sees_the_newest_beat_and_then_waits(autojump_clock):
    pulse, seen = Pulse(), []

    async def follow():
        at = 0
        while True:
            at = await pulse.after(at)
            seen.append(at)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        for _ in range(3):
            pulse.beat()
        await trio.sleep(1)
        pulse.beat()
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert seen == [3, 4]
