"""Work that ends with its client: what was opened for one that does not get it is closed."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pyrsia.serve.http.exchange import BodyFault, Fault
from pyrsia.serve.http.waiting import while_there
from tests.reference.waiting import until
from tests.unit.node.upstream.toy import bare_environment as bare_environment
from tests.unit.node.upstream.toy import in_front, listening, plain, sha256, whole


class Opened:
    def __init__(self):
        self.closed = 0

    def close(self):
        self.closed += 1


async def for_ever():
    await trio.sleep_forever()


async def no_body():
    raise BodyFault(Fault(400, "it is no body"))


async def test_what_was_opened_is_the_caller_s_and_stays_open():
    one = Opened()

    async def work():
        return one

    assert await while_there(for_ever, work) is one
    assert one.closed == 0


@pytest.mark.parametrize("first", ["work", "body"])
async def test_what_was_opened_for_a_body_that_is_none_is_closed(first):
    one, opened, told = Opened(), trio.Event(), trio.Event()

    async def work():
        if first == "body":
            with trio.CancelScope(shield=True):
                await told.wait()
        opened.set()
        return one

    async def receive():
        if first == "work":
            with trio.CancelScope(shield=True):
                await opened.wait()
        told.set()
        return await no_body()

    with pytest.raises(BodyFault):
        await while_there(receive, work)
    assert one.closed == 1


async def test_what_was_opened_when_the_caller_was_cancelled_is_closed():
    one, go_on, scope = Opened(), trio.Event(), trio.CancelScope()

    async def work():
        with trio.CancelScope(shield=True):
            await go_on.wait()
        return one

    async def caller():
        with scope:
            await while_there(for_ever, work)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller)
        await wait_all_tasks_blocked()
        scope.cancel()
        go_on.set()
    assert (scope.cancelled_caught, one.closed) == (True, 1)


@pytest.mark.usefixtures("bare_environment")
async def test_a_request_whose_body_is_none_holds_no_copy(tmp_path):
    layer, other = b"x" * 600, b"y" * 600
    paths = [f"v2/team/app/blobs/sha256:{sha256(one)}" for one in (layer, other)]
    async with listening() as up:
        up.says |= {f"/{path}": plain(data) for path, data in zip(paths, (layer, other), strict=True)}
        async with in_front(tmp_path, {"oci": (up.url,)}, quota=1_000) as front:

            async def ask(path):
                return await front.proxy.file("pkg:docker/team/app", path)

            await whole(await ask(paths[0]))
            await until(lambda: front.under_way == 0)
            for _ in range(5):
                with pytest.raises(BodyFault):
                    await while_there(no_body, lambda: ask(paths[0]))
            front.later(3_600)
            assert await whole(await ask(paths[1])) == other  # there is room: nobody holds the first any more
