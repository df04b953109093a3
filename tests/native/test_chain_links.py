"""Links of a beacon chain against BLAKE3 as its authors wrote it."""

import threading

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from pyrsia._native import links


@given(st.binary(min_size=32, max_size=32), st.integers(0, 40))
def test_a_link_is_hashed_as_often_as_it_says(link, steps):
    wanted = link
    for _ in range(steps):
        wanted = blake3(wanted).digest()
    before = bytes(bytearray(link))
    assert links.forward(link, steps) == wanted
    assert link == before  # bytes of others are not written to


def test_steps_add_up():
    link = blake3(b"a link").digest()
    assert links.forward(links.forward(link, 1_023), 7_169) == links.forward(link, 8_192)


def test_what_is_no_link_or_no_count_is_refused():
    for link in (b"", bytes(31), bytes(33), bytes(64)):
        with pytest.raises(ValueError, match="steps"):
            links.forward(link, 1)
    with pytest.raises(ValueError, match="steps"):
        links.forward(bytes(32), -1)
    for link in (None, "a" * 32, bytearray(32), 32):
        with pytest.raises(TypeError):
            links.forward(link, 1)
    with pytest.raises(OverflowError):
        links.forward(bytes(32), 1 << 64)


def test_several_threads_at_once_are_in_nobody_s_way():
    starts = [bytes([number]) * 32 for number in range(4)]
    found = [b""] * 4

    def walk(number):
        found[number] = links.forward(starts[number], 20_000)

    threads = [threading.Thread(target=walk, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [links.forward(start, 20_000) for start in starts]
