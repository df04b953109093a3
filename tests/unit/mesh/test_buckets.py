"""Token buckets: never more than the burst and the rate allow, whatever is asked when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.buckets import Bucket, Buckets


@given(
    st.integers(1, 20),
    st.integers(1, 30),
    st.lists(st.tuples(st.floats(0, 3), st.integers(1, 12)), max_size=80),
)
def test_what_is_taken_in_any_span_is_at_most_the_burst_and_what_came_in_meanwhile(rate, burst, asks):
    bucket, now, taken = Bucket(rate, burst), 0.0, []
    for pause, amount in asks:
        now += pause
        amount = min(amount, burst)
        if bucket.take(now, amount):
            taken.append((now, amount))
        else:
            wait = bucket.wait_s(now, amount)
            assert wait > 0
            assert bucket.has(now + wait + 1e-6, amount)
            now += wait + 1e-6
    for at, (began, _) in enumerate(taken):
        for to in range(at, len(taken)):
            total = sum(amount for _, amount in taken[at : to + 1])
            assert total <= burst + rate * (taken[to][0] - began) + 1e-3


def test_more_than_the_burst_is_let_through_once_it_is_full_and_leaves_a_debt():
    bucket = Bucket(10, 100)
    assert bucket.take(0.0, 300)
    assert not bucket.take(19.0, 1.0)
    assert bucket.wait_s(19.0, 1.0) == pytest.approx(1.1)
    assert bucket.take(20.2, 1.0)


def test_time_that_runs_backwards_fills_nothing_twice():
    bucket = Bucket(1, 5)
    assert bucket.take(100.0, 5)
    assert not bucket.take(50.0)
    assert not bucket.take(100.0)
    assert bucket.take(101.0)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (1, 0), (-1, 5)])
def test_a_bucket_that_never_fills_is_the_callers_mistake(rate, burst):
    with pytest.raises(ValueError, match="never fills"):
        Bucket(rate, burst)


def test_each_key_has_its_own_and_there_are_only_so_many():
    buckets = Buckets(1, 2, most=3)
    assert buckets.of("a").take(0.0, 2)
    assert buckets.of("b").take(0.0)
    assert not buckets.of("a").take(0.0)
    for key in "cde":
        buckets.of(key)
    assert len(buckets) == 3
    assert buckets.of("a").take(0.0, 2), "who comes back after many others begins anew"
