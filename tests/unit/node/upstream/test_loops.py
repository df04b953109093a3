"""Nodes that are each other's upstream: no question goes in a circle, and nobody waits for himself."""

from contextlib import AsyncExitStack

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.serve import via
from tests.reference.waiting import bounded
from tests.unit.node.upstream.toy import SIX, Upstream, in_front, listening, plain, whole

pytestmark = pytest.mark.usefixtures("bare_environment")
IDS = ("a" * 52, "b" * 52, "c" * 52)


async def circle(stack, tmp_path, size):
    """`size` nodes, each the only upstream of the one before it."""
    doors = [await stack.enter_async_context(listening(Upstream())) for _ in range(size)]
    fronts = []
    for number in range(size):
        ups = {"pip": (f"{doors[(number + 1) % size].url}/simple",)}
        fronts.append(
            await stack.enter_async_context(in_front(tmp_path / str(number), ups, node=IDS[number]))
        )

    def answering(front):
        async def say(stream, asked):
            via.note([(name.encode(), value.encode()) for name, value in asked.headers.items()])
            found = await front.proxy.document(SIX, "six/")
            await stream.send_all(plain(b"", "404 Not Found") if found is None else plain(found.data))

        return say

    for door, front in zip(doors, fronts, strict=True):
        door.says["/simple/six/"] = answering(front)
    return doors, fronts


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_a_question_ends_where_it_comes_round(tmp_path, size):
    async with AsyncExitStack() as stack:
        doors, fronts = await circle(stack, tmp_path, size)
        with bounded():
            assert await fronts[0].proxy.document(SIX, "six/") is None
        chains = [one.headers["pyrsia-via"] for door in (*doors[1:], doors[0]) for one in door.asked]

    assert chains == [", ".join(IDS[: number + 1]) for number in range(size)]


async def test_all_nodes_of_a_circle_ask_at_once_and_none_waits_for_ever(tmp_path):
    found = []
    async with AsyncExitStack() as stack:
        _, fronts = await circle(stack, tmp_path, 3)

        async def ask(front):
            found.append(await front.proxy.document(SIX, "six/"))

        with bounded():
            async with trio.open_nursery() as nursery:
                for front in fronts * 3:
                    nursery.start_soon(ask, front)

    assert found == [None] * 9


async def test_one_that_is_asked_in_a_circle_gives_what_it_has(tmp_path):
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(listening())
        up.says["/simple/six/"] = plain(b"page")
        up.says["/m2/g/a/1/a-1.jar"] = plain(b"jar")
        ups = {"pip": (f"{up.url}/simple",), "maven": (f"{up.url}/m2",)}
        front = await stack.enter_async_context(in_front(tmp_path, ups, node=IDS[0]))
        await front.proxy.document(SIX, "six/")
        await whole(await front.proxy.file("pkg:maven/g/a", "g/a/1/a-1.jar"))
        front.later(100_000)
        via.note([(b"pyrsia-via", f"{IDS[1]}, {IDS[0]}".encode())])
        page = await front.proxy.document(SIX, "six/")
        jar = await front.proxy.file("pkg:maven/g/a", "g/a/1/a-1.jar")

        assert (page.data, page.stale, await whole(jar)) == (b"page", True, b"jar")
        assert await front.proxy.file("pkg:maven/g/a", "g/a/2/a-2.jar") is None
        assert len(up.asked) == 2


@given(st.lists(st.sampled_from([*IDS, "", "x", "a" * 51, "A" * 52, "a" * 52 + ",b"]), max_size=12))
def test_a_chain_that_cannot_be_read_or_is_too_long_asks_nobody(names):
    via.note([(b"pyrsia-via", ",".join(names).encode())] if names else [])
    good = all(len(name) == 52 and name.islower() for name in names) and len(names) < via.MAX_HOPS.value

    found = via.onward("d" * 52)

    assert (found is not None) == good
    assert found is None or found == (*names, "d" * 52)
    via.note([])
    assert via.onward("d" * 52) == ("d" * 52,)
