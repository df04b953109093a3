"""A file that fills up in any order: what its readers may see, and how it ends for them."""

import itertools
import random
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Unavailable
from pyrsia.store.growing import Growing, Whole
from pyrsia.units import CHUNK_BYTES

HELD = CHUNK_BYTES.value
SIZE = 3 * HELD + 17


@pytest.fixture
def anyio_backend():
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


async def at_once(growing: Growing, offset: int) -> int | None:
    """What `ready` returns without waiting; None where it waits."""
    with trio.move_on_after(0):
        return await growing.ready(offset)
    return None


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 4 * HELD), st.integers(1, 9))
def test_whatever_the_order_a_run_is_exactly_what_was_written(
    draw: random.Random, size: int, pieces: int
) -> None:
    async def check() -> None:
        growing, cuts = Growing(size), sorted({0, size, *(draw.randrange(size + 1) for _ in range(pieces))})
        parts = list(itertools.pairwise(cuts))
        draw.shuffle(parts)
        here: set[tuple[int, int]] = set()
        for start, end in parts:
            growing.wrote(start, end - start)
            here.add((start, end))
            offset = expected = draw.randrange(size)
            while found := next((e for s, e in here if s <= expected < e), None):
                expected = found
            expected = min(expected, max(0, size - HELD))
            assert await at_once(growing, offset) == (expected if expected > offset else None)
        assert await at_once(growing, size - 1) is None  # every byte is here, and the last ones are held back

    trio.run(check)


async def test_a_reader_is_woken_by_its_own_byte_and_by_no_other() -> None:
    growing, got = Growing(SIZE), []

    async def read(offset: int) -> None:
        got.append((offset, await growing.ready(offset)))

    async with trio.open_nursery() as nursery:
        for offset in (0, 0, 10, HELD, SIZE - 1):
            nursery.start_soon(read, offset)
        await trio.testing.wait_all_tasks_blocked()
        growing.wrote(HELD, 5)
        await trio.testing.wait_all_tasks_blocked()
        assert got == [(HELD, HELD + 5)]
        growing.wrote(0, 10)
        await trio.testing.wait_all_tasks_blocked()
        assert got[1:] == [(0, 10), (0, 10)]
        growing.wrote(10, HELD - 10)  # joins the two runs
        await trio.testing.wait_all_tasks_blocked()
        assert got[3:] == [(10, HELD + 5)]
        growing.finish(Path("x"))
    assert got[4:] == [(SIZE - 1, SIZE)]


async def test_a_small_file_is_shown_only_once_it_was_checked() -> None:
    growing = Growing(HELD)
    growing.wrote(0, HELD)
    with trio.move_on_after(1) as waited:
        await growing.ready(0)
    growing.finish(Path("kept"))
    assert waited.cancelled_caught
    assert (await growing.ready(0), await growing.ready(HELD), growing.path) == (HELD, HELD, Path("kept"))


async def test_an_empty_file_is_waited_for_as_well() -> None:
    growing = Growing(0)
    with trio.move_on_after(1) as waited:
        await growing.ready(0)
    growing.finish(Path("kept"))
    assert waited.cancelled_caught
    assert await growing.ready(0) == 0


async def test_a_failure_reaches_those_who_wait_and_those_who_come() -> None:
    growing, told = Growing(SIZE), []

    async def read(offset: int) -> None:
        try:
            await growing.ready(offset)
        except Unavailable as error:
            told.append(str(error))

    growing.wrote(0, 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, 10)
        nursery.start_soon(read, SIZE)
        await trio.testing.wait_all_tasks_blocked()
        growing.fail("it burnt")
    await read(0)  # not even what was here: the whole is not what it must be
    growing.fail("again")
    assert told == ["it burnt"] * 3
    assert growing.over


async def test_what_was_opened_stays_readable_while_the_file_is_renamed(tmp_path: Path) -> None:
    file = tmp_path / "partial"
    file.write_bytes(b"x" * SIZE)
    growing = Growing(SIZE)
    growing.opened(file)
    growing.wrote(0, SIZE)
    reader = growing.reader()
    file.rename(tmp_path / "kept")  # done in a thread, before the loop hears of it
    assert reader.path.read_bytes() == b"x" * SIZE
    descriptor = reader.path
    growing.finish(tmp_path / "kept")
    assert reader.path == tmp_path / "kept"
    assert not descriptor.exists()


async def test_who_leaves_is_waited_for_no_more_and_who_stays_is() -> None:
    growing, got = Growing(SIZE), []

    async def stay() -> None:
        got.append(await growing.ready(1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stay)
        for offset in range(200):
            assert await at_once(growing, offset) is None
        assert list(growing._waiting) == [1]
        growing.wrote(0, HELD)
    assert got == [HELD]
    assert not growing._waiting


async def test_readers_are_counted_once_each() -> None:
    seen: list[int] = []
    growing = Growing(1, changed=lambda: seen.append(growing.readers))
    first, second = growing.reader(), growing.reader()
    first.close()
    first.close()
    second.close()
    assert seen == [1, 2, 1, 0]


async def test_a_file_that_is_here_is_ready_at_once() -> None:
    whole = Whole(Path("x"), 5, "ab")
    whole.close()
    assert (await whole.ready(0), await whole.ready(5), whole.size) == (5, 5, 5)


@pytest.mark.parametrize("size", [1, HELD, HELD + 1, SIZE])
async def test_the_last_bytes_are_never_given_out_before_the_end(size: int) -> None:
    growing = Growing(size)
    growing.wrote(0, size)
    with trio.move_on_after(1):
        offset = 0
        while True:
            offset = await growing.ready(offset)
    assert offset == max(0, size - HELD)
