"""How fast a source is taken to be, and so what it may owe."""

from pyrsia.transfer.sources import MIN_CREDIT_BYTES, RATE_LEAST, Source
from pyrsia.units import CHUNK_BYTES, PEER_CREDIT_BYTES

CHUNK = CHUNK_BYTES.value


def fed(source, chunk_s, until_s):
    """`source` gives a chunk each `chunk_s`, and always owes four or what it may."""
    now, number = 0.0, 0
    while now < until_s:
        while source.owed_bytes + CHUNK <= source.credit:
            source.owe(now, number, CHUNK)
            number += 1
        now += chunk_s
        asked_s = source.owed.pop(min(source.owed))
        source.owed_bytes -= CHUNK
        source.came(now, asked_s, CHUNK)
    return source


def source():
    return Source(b"n" * 32, rtt_s=0.001)


def test_a_near_source_may_owe_all_it_can_within_a_twentieth_of_a_second():
    assert source().credit == MIN_CREDIT_BYTES
    assert fed(source(), 0.0001, 0.04).credit == PEER_CREDIT_BYTES.value


def test_what_comes_in_one_go_counts_for_twice_as_much_and_no_more():
    assert fed(source(), 0.0001, 0.0055).rate == 2 * RATE_LEAST


def test_a_source_that_is_not_near_is_measured_as_before():
    slow = fed(source(), 0.02, 0.05)  # 13 MB/s: what it may owe takes longer than any window
    assert slow.rate == 3 * CHUNK / 0.06
    assert slow.credit == MIN_CREDIT_BYTES
