"""Virtual time for the shells: a test that waits an hour takes a millisecond."""

import pytest
import trio
import trio.testing

from pyrsia.store.aside import Aside
from pyrsia.store.rocks import Database


@pytest.fixture
def autojump_clock(monkeypatch):
    """Time jumps whenever every task waits. A worker thread is no task, so what one would do is done on the loop."""

    async def sync(database):
        database.flush()
        await trio.lowlevel.checkpoint()

    async def inline(work, *args, **_):
        await trio.lowlevel.checkpoint()
        return work(*args)

    monkeypatch.setattr(Database, "sync", sync)

    async def aside(_, work):
        await inline(work)

    monkeypatch.setattr(trio.to_thread, "run_sync", inline)
    monkeypatch.setattr(Aside, "run", aside)
    return trio.testing.MockClock(autojump_threshold=0)


@pytest.fixture
def anyio_backend(request):
    """trio; on virtual time where the test asks for `autojump_clock`."""
    if "autojump_clock" in request.fixturenames:
        return "trio", {"clock": request.getfixturevalue("autojump_clock")}
    return "trio"
