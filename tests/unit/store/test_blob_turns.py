"""Two that want the same blob at once, or one that leaves in the middle: what is said is so."""

import threading

import trio
import trio.testing

from pyrsia.store import blobs as module
from pyrsia.store.blobs import Blobs
from pyrsia.store.quota import Rules
from tests.reference.memory_database import MemoryDatabase


async def test_a_pin_that_another_wrote_a_moment_ago_is_durable_when_it_is_said(tmp_path):
    database = MemoryDatabase()
    blobs = Blobs(tmp_path, database)
    sha256 = await blobs.put_bytes(b"bytes")
    await blobs.pin(sha256, "receipt:aa", sync=False)
    await blobs.pin(sha256, "receipt:aa")
    assert Blobs(tmp_path, database.crash(0)).pins(sha256) == ("receipt:aa",)


async def test_what_comes_again_does_not_keep_others_from_making_room(tmp_path, monkeypatch):
    now_s = [1_000]
    blobs = Blobs(tmp_path, MemoryDatabase(), Rules(quota=1_000), clock_s=lambda: now_s[0])
    oldest = await blobs.put_bytes(b"a" * 400)
    now_s[0] += 100
    other = await blobs.put_bytes(b"b" * 400)
    now_s[0] += 100
    gate, began, real = threading.Event(), trio.Event(), module._into_place
    token = trio.lowlevel.current_trio_token()

    def slowly(temporary, target):
        token.run_sync_soon(began.set)
        assert gate.wait(10)
        real(temporary, target)

    monkeypatch.setattr(module, "_into_place", slowly)
    (tmp_path / "again").write_bytes(b"a" * 400)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(blobs.settle, tmp_path / "again", oldest, 400)
            await began.wait()
            (await blobs.reserve(300)).release()
            gate.set()
    finally:
        gate.set()
    assert (blobs.has(oldest), blobs.has(other)) == (True, False)


async def test_who_leaves_while_the_index_is_synced_leaves_a_blob_of_which_all_have_heard(tmp_path):
    database, told, scope = MemoryDatabase(), [], trio.CancelScope()
    blobs = Blobs(tmp_path, database)
    blobs.on_kept.append(told.append)
    sync = database.sync

    async def leaving():
        scope.cancel()
        await sync()

    database.sync = leaving
    with scope:
        await blobs.put_bytes(b"bytes")
    assert len(told) == 1
    assert Blobs(tmp_path, database.crash(0)).has(told[0])
