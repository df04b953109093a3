"""The rules about servers that fail, answers that age, and questions that are shared, each by itself."""

from email.utils import formatdate

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from pyrsia.errors import Refusal, Unavailable
from pyrsia.node.upstream import gate, turns
from pyrsia.node.upstream.circuits import (
    FIRST_REST_S,
    LONGEST_REST_S,
    MAX_ORIGINS,
    MAX_RETRY_S,
    Circuits,
    rest_s,
)
from pyrsia.node.upstream.fresh import MAX_ABSENT, Absent, Freshness
from pyrsia.node.upstream.gate import AT_ONCE_OF_ONE, Gate, Resting
from pyrsia.node.upstream.turns import Turns
from pyrsia.units import UPSTREAM_AT_ONCE, Limit

ONE = ("https", "one.example", 443)
TWO = ("https", "two.example", 443)


def test_after_three_failures_a_server_rests_and_the_rest_doubles_while_it_fails():
    known, now = Circuits(), 0.0
    for _ in range(2):
        assert known.wait_s(ONE, now) == 0
        known.bad(ONE, now)
    assert known.wait_s(ONE, now) == 0
    known.bad(ONE, now)
    rests = []
    for _ in range(8):
        rests.append(known.wait_s(ONE, now))
        now += rests[-1]
        assert known.wait_s(ONE, now) == 0  # one asks
        assert known.wait_s(ONE, now) > 0  # and no second one
        known.bad(ONE, now)

    assert rests[:4] == [5, 10, 20, 40]
    assert rests[-1] == LONGEST_REST_S.value
    assert known.wait_s(TWO, now) == 0


def test_one_answer_makes_it_good_again_and_one_that_left_lets_the_next_try():
    known = Circuits()
    for _ in range(3):
        known.bad(ONE, 0)
    now = float(FIRST_REST_S.value)
    assert known.wait_s(ONE, now) == 0
    known.unsaid(ONE)
    assert known.wait_s(ONE, now) == 0
    known.good(ONE)
    known.bad(ONE, now)
    assert known.wait_s(ONE, now) == 0


def test_a_rest_that_a_server_asks_for_counts_from_its_first_answer():
    known = Circuits()
    known.bad(ONE, 100, 60)

    assert known.wait_s(ONE, 101) == 59
    assert known.wait_s(ONE, 160) == 0


@pytest.mark.parametrize(
    ("status", "told", "rest"),
    [
        (429, "", 30), (429, "7", 7), (429, "0", 30), (503, "", 0), (503, "120", 120), (503, "-5", 0), (503, "x", 0),
        (429, "9" * 400, MAX_RETRY_S.value), (503, formatdate(1_090, usegmt=True), 90), (429, "٣", 30),
        (503, formatdate(10, usegmt=True), 0), (503, "Mon, 99 Foo 99999 99:99:99 GMT", 0),
        (503, formatdate(9_999_999_999, usegmt=True), MAX_RETRY_S.value),
    ],
)  # fmt: skip
def test_how_long_a_server_wants_to_be_left_alone(status, told, rest):
    assert rest_s(status, told, 1_000) == rest


@given(st.text(max_size=60), st.sampled_from([200, 429, 503]), st.floats(0, 1e10))
def test_no_retry_after_is_believed_beyond_its_bound(told, status, now):
    assert 0 <= rest_s(status, told, now) <= MAX_RETRY_S.value


def test_the_servers_that_are_known_are_bounded():
    known = Circuits()
    for number in range(2 * MAX_ORIGINS.value):
        for _ in range(3):
            known.bad(("https", f"{number}.example", 443), 0)

    assert known.wait_s(("https", "0.example", 443), 1) == 0
    assert known.wait_s(("https", f"{2 * MAX_ORIGINS.value - 1}.example", 443), 1) > 0


async def test_a_few_ask_at_once_and_a_slow_server_takes_no_place_from_the_others():
    place, entered = Gate(Circuits(), lambda: 0.0), {ONE: 0, TWO: 0}

    async def ask(origin):
        async with place.place(origin):
            entered[origin] += 1
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(ask, ONE)
        await wait_all_tasks_blocked()
        for _ in range(2):
            nursery.start_soon(ask, TWO)
        await wait_all_tasks_blocked()
        assert entered == {ONE: AT_ONCE_OF_ONE.value, TWO: 2}
        nursery.cancel_scope.cancel()
    assert UPSTREAM_AT_ONCE.value > AT_ONCE_OF_ONE.value
    async with place.place(ONE):
        pass
    assert place._of == {}


async def test_the_queue_for_places_is_bounded(monkeypatch):
    monkeypatch.setattr(gate, "MAX_QUEUE", Limit(3, "a test"))
    place, told = Gate(Circuits(), lambda: 0.0), []

    async def ask():
        try:
            async with place.place(ONE):
                await trio.sleep_forever()
        except Refusal as refusal:
            told.append(refusal.code)

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE_OF_ONE.value + 5):
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert told == ["busy"] * 2


async def test_nobody_passes_the_gate_to_a_server_that_rests(autojump_clock):
    place = Gate(Circuits(), lambda: 0.0)
    for _ in range(3):
        async with place.place(ONE) as asking:
            asking.failed()
    with pytest.raises(Resting, match="is not asked for 5 s"):
        async with place.place(ONE):
            pass
    await trio.sleep(5)
    async with place.place(ONE):
        pass


def test_what_upstream_said_counts_for_a_while_and_never_from_the_future():
    fresh = Freshness(fresh_ms=1_000, absent_ms=100)
    absent = Absent(fresh)
    absent.add("p", "x", 5_000)

    assert [fresh.holds(5_000, now) for now in (4_999, 5_000, 5_999, 6_000)] == [False, True, True, False]
    assert [("p", "x", now) in absent for now in (4_999, 5_000, 5_099, 5_100)] == [False, True, True, False]
    absent.forget("p", "x")
    assert ("p", "x", 5_000) not in absent
    assert not Freshness(0, 0).holds(5, 5)
    nothing = Absent(Freshness(0, 0))
    nothing.add("p", "x", 5)
    absent.add("p", "x" * 501, 5_000)
    assert ("p", "x" * 501, 5_000) not in absent
    assert ("p", "x", 5) not in nothing


def test_what_is_known_to_be_absent_is_bounded():
    absent = Absent(Freshness(1, 1_000))
    for number in range(MAX_ABSENT.value + 5):
        absent.add("p", str(number), 0)

    assert ("p", "4", 0) not in absent
    assert ("p", "5", 0) in absent


async def test_a_failure_is_everybody_s_and_the_next_asks_anew():
    asked, go_on, told = [], trio.Event(), []

    async def work():
        asked.append(1)
        await go_on.wait()
        raise Refusal("busy", what="no", who="you", do="wait", retry_s=3)

    async def ask(shared):
        with pytest.raises(Refusal) as caught:
            await shared.join("key", work)
        told.append(caught.value)

    async with trio.open_nursery() as nursery:
        shared = Turns(nursery)
        async with trio.open_nursery() as askers:
            for _ in range(3):
                askers.start_soon(ask, shared)
            await wait_all_tasks_blocked()
            go_on.set()
        assert len(asked) == 1
        assert len({id(one) for one in told}) == 3
        assert {one.retry_s for one in told} == {3}
        await ask(shared)
        assert len(asked) == 2
        assert len(shared) == 0


async def test_what_nobody_waits_for_ends_unless_its_result_is_worth_having(autojump_clock):
    ended, done = [], []

    async def work(name):
        try:
            await trio.sleep(10)
            done.append(name)
        except trio.Cancelled:
            ended.append(name)
            raise

    async with trio.open_nursery() as nursery:
        shared = Turns(nursery)
        for name, lasting in (("plain", False), ("lasting", True)):
            with pytest.raises(trio.TooSlowError):
                await shared.join(name, lambda name=name: work(name), patience_s=1, lasting=lasting)
        await trio.sleep(20)

    assert (ended, done) == (["plain"], ["lasting"])


async def test_a_fault_is_told_to_who_asked_and_ends_nothing_else():
    async def broken():
        raise ZeroDivisionError("a fault")

    async def fine():
        return 7

    async with trio.open_nursery() as nursery:
        shared = Turns(nursery)
        with pytest.raises(ZeroDivisionError):
            await shared.join("one", broken)
        assert await shared.join("two", fine) == 7


async def test_questions_under_way_are_bounded_and_end_with_the_node(monkeypatch):
    monkeypatch.setattr(turns, "MAX_RUNS", Limit(2, "a test"))
    told = []

    async def ask(shared, key):
        try:
            await shared.join(key, trio.sleep_forever)
        except (Refusal, Unavailable) as error:
            told.append(str(error))

    async with trio.open_nursery() as askers:
        async with trio.open_nursery() as nursery:
            shared = Turns(nursery)
            for key in range(3):
                askers.start_soon(ask, shared, key)
            await wait_all_tasks_blocked()
            assert len(told) == 1
            assert "under way already" in told[0]
            nursery.cancel_scope.cancel()
        await wait_all_tasks_blocked()

    assert told[1:] == ["the node stops"] * 2
