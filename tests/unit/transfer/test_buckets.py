"""Limits on bytes in one direction: of all peers, of each, and what may pass at once."""

import random

import pytest

from pyrsia.transfer.buckets import BURST_LEAST_BYTES, BURST_S, Flow, flow_of
from pyrsia.units import CHUNK_BYTES, NodeId

CHUNK = CHUNK_BYTES.value
A, B = (NodeId(letter * 32) for letter in (b"a", b"b"))


def passed(flow, nodes, seconds, step_s=0.01, sizes=(CHUNK,), draw=None):
    """Bytes of each that passed when all want all they can get."""
    draw, given, now = draw or random.Random(3), dict.fromkeys(nodes, 0), 0.0
    while now < seconds:
        for node in nodes:
            size = draw.choice(sizes)
            while not flow.wait_s(now, node, size):
                flow.take(now, node, size)
                given[node] += size
        now += step_s
    return given


def test_no_limit_waits_for_nothing():
    flow = Flow()
    assert flow.wait_s(0.0, A, 1 << 40) == 0.0
    flow.take(0.0, A, 1 << 40)
    assert flow.wait_s(0.0, A, 1 << 40) == 0.0
    assert flow_of(0, 50) is None


@pytest.mark.parametrize("rate", [300_000, 5_000_000, 100_000_000])
def test_all_together_get_the_rate_and_a_first_burst_and_no_more(rate):
    total = sum(passed(Flow(rate), [A, B], 20, sizes=(CHUNK, 70_000)).values())
    burst = max(BURST_LEAST_BYTES, rate * BURST_S)
    assert 0.95 * 20 * rate <= total <= 20 * rate + burst + CHUNK


def test_one_peer_gets_its_share_and_the_other_the_rest():
    given = passed(flow_of(10, 50), [A], 20)
    assert given[A] <= 5e6 * 20 + max(BURST_LEAST_BYTES, 5e6 * BURST_S) + CHUNK
    given = passed(flow_of(10, 50), [A, B], 20)
    assert sum(given.values()) >= 0.95 * 10e6 * 20
    assert given[B] >= 0.9 * 5e6 * 20


def test_what_is_larger_than_the_burst_passes_in_its_time():
    flow = Flow(1_000_000)
    assert flow.wait_s(0.0, A, 8 << 20) == 0.0
    flow.take(0.0, A, 8 << 20)
    assert flow.wait_s(0.0, A, CHUNK) == pytest.approx(((8 << 20) - BURST_LEAST_BYTES + CHUNK) / 1e6)
    assert flow.wait_s(100.0, A, CHUNK) == 0.0
