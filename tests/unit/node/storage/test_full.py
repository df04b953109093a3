"""A client that asks for a file which finds no room here is told so, in one code and with the numbers."""

import pytest
import trio

from pyrsia.errors import StorageFull
from pyrsia.node.storage.arriving import Arrivals
from pyrsia.node.storage.shelf import Shelf
from pyrsia.store.blobs import Blobs
from pyrsia.store.growing import Growing
from pyrsia.store.quota import Rules, disk_full
from tests.reference.memory_database import MemoryDatabase
from tests.reference.waiting import bounded, until
from tests.unit.node.storage.test_arriving import Plane, ref
from tests.unit.serve.http.test_arriving import GET, STEP, sourced
from tests.unit.serve.talk import dial, read_answer, read_to_end


async def told(tmp_path, rules, free=1 << 40):
    """How an asker ends whose file is to be brought to a store of these rules; the plane, and the store."""
    plane = Plane()
    blobs = Blobs(tmp_path / "blobs", MemoryDatabase(), rules, free=lambda _: free)
    shelf = Shelf(blobs._database, blobs, plane, named=lambda _: True)
    arrivals = Arrivals(shelf)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(arrivals.run)
            arriving = arrivals.bring(ref(plane), [b"\1" * 32])
            try:
                with bounded(), pytest.raises(StorageFull) as caught:
                    await arriving.ready(0)
            finally:
                arriving.close()
            nursery.cancel_scope.cancel()
    finally:
        plane.turns.close()
        plane.give.close()
    return caught.value, plane, blobs


async def test_a_file_larger_than_the_quota_asks_no_peer_for_a_byte(tmp_path):
    refusal, plane, blobs = await told(tmp_path, Rules(quota=1_000))
    assert (refusal.code, refusal.answer.http) == ("storage-full", 507)
    assert "1,000 bytes are allocated" in refusal.what
    assert (plane.fetches, blobs.account.promised) == (0, 0)


async def test_a_disk_without_room_asks_no_peer_for_a_byte(tmp_path):
    refusal, plane, blobs = await told(tmp_path, Rules(spare=1 << 20), free=1 << 20)
    assert "takes no more files" in refusal.what
    assert (plane.fetches, bool(blobs.space.full)) == (0, True)


async def test_each_of_many_askers_gets_an_error_of_its_own(tmp_path):
    growing = Growing(10)
    growing.fail(disk_full("no space"))
    seen = []
    for _ in range(2):
        with pytest.raises(StorageFull) as caught:
            await growing.ready(0)
        seen.append(caught.value)
    assert seen[0] is not seen[1]
    assert seen[0].what == seen[1].what


async def test_over_http_it_is_a_507_before_the_first_byte(tmp_path):
    async with sourced(tmp_path) as (source, server), await dial(server) as stream:
        await stream.send_all(GET % b"")
        await until(lambda: source.growing.readers == 1)
        source.growing.fail(disk_full("no space left on device"))
        with bounded():
            status, _, body = await read_answer(stream, bytearray())
    assert status == 507
    assert b"storage-full" in body
    assert b"no space left on device" in body


async def test_after_the_first_byte_the_answer_is_cut_and_not_passed_off_as_whole(tmp_path):
    async with sourced(tmp_path) as (source, server), await dial(server) as stream:
        await stream.send_all(GET % b"")
        source.come(0)
        with bounded():
            first = await stream.receive_some()
            source.growing.fail(disk_full("no space left on device"))
            got = first + await read_to_end(stream)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert len(got) < 6 * STEP
