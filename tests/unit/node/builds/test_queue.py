"""Who builds next: priorities, then turns between requesters, then arrival; a given turn is never lost."""

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.node.builds.queue import MAX_WAITING, Line, Priority, Turns, slots


def names(line):
    return [ticket.request for ticket in line.order()]


def test_a_smaller_priority_goes_first_and_equals_in_order_of_arrival():
    line = Line()
    for request, priority in (
        ("r", Priority.RETRY),
        ("c", Priority.RECHECK),
        ("a", Priority.NEW),
        ("b", Priority.NEW),
    ):
        line.join(request, "x", priority)
    assert names(line) == ["a", "b", "r", "c"]
    assert [line.take().request for _ in range(4)] == ["a", "b", "r", "c"]
    assert line.take() is None


def test_who_asks_for_many_delays_only_its_own():
    line = Line()
    for at in range(5):
        line.join(f"many-{at}", "greedy", Priority.NEW)
    assert line.take().request == "many-0"
    line.join("one", "modest", Priority.NEW)
    assert names(line)[0] == "one" or names(line)[1] == "one"
    line.take()
    line.take()
    assert "one" not in names(line)


def test_who_was_away_brings_no_turns_along():
    line = Line()
    for at in range(10):
        line.join(f"a{at}", "a", Priority.NEW)
        line.take()
    line.join("a10", "a", Priority.NEW)
    line.take()
    for at in range(4):
        line.join(f"a1{at}", "a", Priority.NEW)
        line.join(f"b{at}", "b", Priority.NEW)
    first = names(line)[:4]
    assert sum(name.startswith("b") for name in first) <= 3  # and not all of b's before any of a's


def test_what_the_operator_puts_first_is_first_also_when_it_comes_later():
    line = Line()
    line.prefer("late")
    line.join("early", "x", Priority.NEW)
    line.join("late", "x", Priority.RECHECK)
    assert names(line) == ["late", "early"]


def test_a_full_line_is_the_callers_bug():
    line = Line()
    for at in range(MAX_WAITING.value):
        line.join(str(at), "x", Priority.NEW)
    with pytest.raises(ValueError, match="full"):
        line.join("more", "x", Priority.NEW)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(list(Priority)))))
def test_the_order_that_is_told_is_the_order_that_is_taken_and_nobody_starves(asked):
    line = Line()
    for at, (requester, priority) in enumerate(asked):
        line.join(str(at), requester, priority)
    told = names(line)
    assert [line.take().request for _ in asked] == told
    assert sorted(told, key=int) == [str(at) for at in range(len(asked))]
    if asked:  # between equals of one requester, the first that came
        places = {request: place for place, request in enumerate(told)}
        for at, one in enumerate(asked):
            later = [str(i) for i in range(at + 1, len(asked)) if asked[i] == one]
            assert all(places[str(at)] < places[other] for other in later)


async def test_as_many_at_once_as_there_are_slots_and_the_next_when_one_ends():
    turns, running, gates = Turns(2), [], {}

    async def build(name):
        async with turns.turn(name, "x", Priority.NEW):
            running.append(name)
            gates[name] = trio.Event()
            await gates[name].wait()
            running.remove(name)

    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(build, name)
            await trio.testing.wait_all_tasks_blocked()
        assert running == ["a", "b"]
        assert [one.request for one in turns.waiting()] == ["c"]
        assert not turns.idle
        gates["a"].set()
        await trio.testing.wait_all_tasks_blocked()
        assert running == ["b", "c"]
        gates["b"].set()
        gates["c"].set()
    assert turns.idle


async def test_a_cancelled_wait_and_a_cancelled_turn_give_the_slot_back():
    turns = Turns(1)

    async def build(name, scope, done):
        with scope:
            async with turns.turn(name, "x", Priority.NEW):
                done.append(name)
                await trio.sleep_forever()

    done: list[str] = []
    scopes = [trio.CancelScope() for _ in range(3)]
    async with trio.open_nursery() as nursery:
        for name, scope in zip("abc", scopes, strict=True):
            nursery.start_soon(build, name, scope, done)
            await trio.testing.wait_all_tasks_blocked()
        scopes[1].cancel()  # it waits
        scopes[0].cancel()  # it has its turn
        await trio.testing.wait_all_tasks_blocked()
        assert done == ["a", "c"]
        scopes[2].cancel()
    assert turns.idle


def test_builds_at_once_follow_the_cores_unless_they_are_configured(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(7)))
    assert (slots(0), slots(5)) == (3, 5)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    assert slots(0) == 1
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(256)))
    assert slots(0) == 16


# -- shares --


async def held_for(turns, bound_s, share_s=100.0, priority=Priority.NEW):
    """How long a holder that never ends by itself has its turn, and whether it was cut; None if it was not."""
    began, cut = trio.current_time(), False
    with trio.move_on_after(bound_s):
        async with turns.turn("long", "x", priority, share_s) as turn:
            await trio.sleep_forever()
        cut = turn.cut
    return trio.current_time() - began if cut else None


async def waits(turns, after_s, priority=Priority.NEW):
    await trio.sleep(after_s)
    async with turns.turn("other", "y", priority):
        pass


@pytest.mark.parametrize(
    ("comes_s", "priority", "held_s"),
    [
        (10, Priority.NEW, 100),  # it waits until the share is used
        (300, Priority.NEW, 300),  # used long ago: at once
        (10, Priority.MANUAL, 100),
        (10, Priority.RETRY, None),  # what gave way before, or failed here, does not drive out what is new
        (10, Priority.SELF_CHECK, None),
    ],
)
async def test_a_turn_ends_after_its_share_once_something_as_urgent_waits(
    comes_s, priority, held_s, autojump_clock
):
    turns, found = Turns(1), []

    async def hold():
        found.append(await held_for(turns, 1_000))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(waits, turns, comes_s, priority)
    assert found == [held_s if held_s is None else pytest.approx(held_s)]
    assert turns.idle


async def test_alone_a_turn_has_no_end_and_who_stops_waiting_ends_none(autojump_clock):
    turns, found = Turns(1), []

    async def hold():
        found.append(await held_for(turns, 1_000))

    async def impatient():
        with trio.move_on_after(50):
            await waits(turns, 10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(impatient)
    assert found == [None]


async def test_a_check_gives_way_at_once(autojump_clock):
    turns, found = Turns(1), []

    async def hold():
        found.append(await held_for(turns, 1_000, 0.0, Priority.RECHECK))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(waits, turns, 7)
    assert found == [pytest.approx(7)]


async def test_with_a_free_slot_nobody_gives_way(autojump_clock):
    turns, found = Turns(2), []

    async def hold():
        found.append(await held_for(turns, 1_000))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(waits, turns, 200)
    assert found == [None]


# -- wishes --


def test_of_too_many_wishes_the_newest_are_kept():
    line = Line()
    for at in range(MAX_WAITING.value + 1):
        line.prefer(f"wish-{at}")
    for name in ("other", "wish-0", f"wish-{MAX_WAITING.value}"):
        line.join(name, "x", Priority.NEW)
    assert names(line) == [f"wish-{MAX_WAITING.value}", "other", "wish-0"]


def test_wishes_for_what_will_not_come_are_dropped():
    line = Line()
    line.prefer("settled")
    line.prefer("open")
    line.drop_wishes(("open", "another"))
    for name in ("new", "settled", "open"):
        line.join(name, "x", Priority.NEW)
    assert names(line) == ["open", "new", "settled"]
