"""Since when a webhook fails: kept with its place, over restarts of the node, until an answer is good."""

import msgspec
import pytest

from pyrsia.config import Webhook
from pyrsia.knowledge import calling
from pyrsia.store import layout
from pyrsia.store.rocks import Batch
from pyrsia.units import Limit
from tests.reference.waiting import until
from tests.unit.builds.outbound.upstream import serving
from tests.unit.node.knowledge.test_webhooks import Node, answers, hook, running


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A node whose webhooks do not rest."""
    monkeypatch.setattr(calling, "FIRST_REST_S", Limit(0, "a test's"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    made = Node(tmp_path)
    made.say((0, "review", "pkg:pypi/idna", 0))
    yield made
    made.world.close()


async def test_since_when_it_fails_is_no_later_after_a_restart_and_over_with_the_first_good_answer(world):
    async with serving() as server:
        answers(server, 503)
        hooks = world.hooks(hook(server))
        async with running(hooks):
            world.say((0, "advisory", "pkg:pypi/idna", 0))
            await until(lambda: hooks.told().webhooks[0].failures)
        since_ms = hooks.told().webhooks[0].since_ms
        assert since_ms > 0

        world.say((0, "review", "pkg:pypi/other", 0))  # time goes on
        assert world.world.time > since_ms
        hooks = world.hooks(hook(server))
        assert hooks.told().webhooks[0].since_ms == since_ms
        async with running(hooks):
            await until(hooks.notices)
            [row] = hooks.told().webhooks
            assert (row.state, row.since_ms) == ("failing", since_ms)
            answers(server, 200)
            await until(lambda: hooks.told().webhooks[0].delivered)
        assert world.hooks(hook(server)).told().webhooks[0].since_ms == 0


def test_a_place_that_was_written_without_since_when_is_read_as_it_was(world):
    settings = Webhook("https://hooks.example/facts")
    world.hooks(settings)
    [(key, _)] = world.world.database.scan(layout.MISC, b"webhook/", 10, before=b"webhook/\xff")
    anew = (world.world.archive.size, 0)
    for kept, expected in (
        ((2, -1, 5), (2, 0)),
        ((2, 3, 5, 77), (2, 77)),
        ((2, 3), anew),  # nobody wrote that
        ((2, 3, 5, 77, 1), anew),
    ):
        world.world.database.write(Batch().put(layout.MISC, key, msgspec.msgpack.encode(kept)))
        [row] = world.hooks(settings).told().webhooks
        assert (row.next, row.since_ms) == expected
