"""Built again: own results otherwise, old verdicts at random; both are facts, after everything else."""

import hashlib

import pytest
import trio

from pyrsia.builds.model import Built, FileOut, Output, Packed
from pyrsia.errors import Refusal
from pyrsia.ledger import entries, views
from pyrsia.node.builds.checks import DAY_S, QUIET_S, Checker
from pyrsia.node.builds.queue import Priority, Turns
from tests.reference.ledger import ENVIRONMENT, blob
from tests.reference.story import WHEEL, Story
from tests.reference.waiting import bounded

LOCK = repr("lock").encode()


class Result(Built):
    async def discard(self):
        self.folder.mkdir(exist_ok=True)
        self.folder.rmdir()


class Plugin:
    """Builds `data` in a plain build, `varied` in one that varies."""

    name = "pip"

    def __init__(self, folder, data):
        self.folder, self.data, self.varied, self.lock = folder, data, data, LOCK
        self.built, self.outcome, self.raises = [], "built", None

    async def relock(self, request):
        if self.raises:
            raise self.raises
        return self.lock

    async def prefetch(self, request, locked):
        return "inputs"

    async def build(self, request, inputs, progress, vary=False):
        progress("building")
        self.built.append(vary)
        data = self.varied if vary else self.data
        sha256 = hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else data
        file = FileOut(self.folder / "x", sha256, 5)
        packed = Packed(file, file)
        output = Output(WHEEL, packed, packed, "5" * 64, None, "none", "full", ())
        outputs = (output,) if self.outcome == "built" else ()
        phase = "" if self.outcome == "built" else "build"
        return Result(
            self.outcome,
            phase,
            "0" * 64,
            "registry",
            outputs,
            ENVIRONMENT,
            "namespace",
            file,
            self.folder / "made",
        )


class Stage:
    """One settled request, a checker on one of its builders, and the ledger that takes its facts."""

    def __init__(self, folder, **options):
        self.story = Story()
        self.world = self.story.world
        self.me = self.story.builders[0]
        view = views.request(self.world.db.get, self.story.request)
        self.reveal = next(one.body for one in view.reveals)
        self.plugin = Plugin(folder, self.reveal["outputs"][0]["raw"]["sha256"])
        self.turns, self.facts, self.told = Turns(1), [], trio.Event()
        self.checker = Checker(
            self.me.public,
            plugins={"pip": self.plugin},
            turns=self.turns,
            reads=self.world.db.get,
            add_fact=self.add,
            **{"self_check": True, "per_day": 0, "pick": lambda below: 0, **options},
        )

    async def add(self, body):
        await trio.lowlevel.checkpoint()
        self.facts.append(body)
        self.told.set()
        raw = self.world.entry(self.me, "fact.add", {**body, "valid_from": 1})
        self.world.block(raw)  # the ledger refuses what it does not take
        assert raw in self.world.leaves

    async def fact(self, bound_s):
        with bounded(bound_s):
            await self.told.wait()

    async def run(self, test):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.checker.run)
            await test()
            nursery.cancel_scope.cancel()


async def test_a_result_that_comes_out_the_same_otherwise_is_stable(tmp_path, autojump_clock):
    stage = Stage(tmp_path)
    stage.checker.revealed(stage.story.request, stage.reveal)
    began = trio.current_time()

    async def test():
        await stage.fact(1_000)

    await stage.run(test)
    (fact,) = stage.facts
    assert (fact["outcome"], fact["self"], fact["request"]) == ("stable", True, stage.story.request)
    assert stage.plugin.built == [True]
    assert trio.current_time() - began >= QUIET_S.value


async def test_a_result_that_comes_out_otherwise_is_unstable_and_names_the_file(tmp_path, autojump_clock):
    stage = Stage(tmp_path)
    stage.plugin.varied = b"other"
    stage.checker.revealed(stage.story.request, stage.reveal)

    async def test():
        await stage.fact(1_000)

    await stage.run(test)
    (fact,) = stage.facts
    assert fact["outcome"] == "unstable"
    (row,) = fact["files"]
    assert (row["file"], row["found"]) == (WHEEL, hashlib.sha256(b"other").hexdigest())
    assert row["expected"] == stage.reveal["outputs"][0]["raw"]["sha256"]


async def test_nothing_is_built_again_while_something_is_to_be_built(tmp_path, autojump_clock):
    stage = Stage(tmp_path)
    stage.checker.revealed(stage.story.request, stage.reveal)

    async def test():
        async with stage.turns.turn("x", "y", Priority.NEW):
            await trio.sleep(20 * QUIET_S.value)
            assert (stage.plugin.built, stage.facts) == ([], [])
        await stage.fact(1_000)

    await stage.run(test)


@pytest.mark.parametrize("what", ["another lock", "no index", "not wanted", "failed build"])
async def test_where_nothing_can_be_said_nothing_is(tmp_path, autojump_clock, what):
    stage = Stage(tmp_path, self_check=what != "not wanted")
    if what == "another lock":
        stage.plugin.lock = b"moved on"
    if what == "no index":
        stage.plugin.raises = Refusal("index-unreachable", what="w", who="h", do="d")
    reveal = {**stage.reveal, "outcome": "failed"} if what == "failed build" else stage.reveal
    stage.checker.revealed(stage.story.request, reveal)

    async def test():
        await trio.sleep(20 * QUIET_S.value)

    await stage.run(test)
    assert (stage.plugin.built, stage.facts) == ([], [])


@pytest.mark.parametrize(
    ("data", "outcome", "expected"),
    [(None, "built", "agrees"), (b"other", "built", "contradicts"), (None, "failed", "failed")],
)
async def test_an_old_verdict_is_checked_now_and_then_and_the_word_is_a_fact(
    tmp_path, autojump_clock, data, outcome, expected
):
    stage = Stage(tmp_path, per_day=4)
    agreed = views.request(stage.world.db.get, stage.story.request)
    assert agreed.artifact is not None
    stage.plugin.data = data or agreed.reveals[0].body["outputs"][0]["raw"]["sha256"]
    stage.plugin.outcome = outcome

    async def test():
        await stage.fact(2 * DAY_S)

    await stage.run(test)
    assert (stage.facts[0]["outcome"], "self" in stage.facts[0], stage.plugin.built[0]) == (
        expected,
        False,
        False,
    )
    status = views.status(stage.world.db.get, stage.story.sha256)
    assert status["status"] == "offered" or status["status"] == agreed.verdict.body["verdict"]


async def test_who_builds_nothing_checks_no_old_verdicts_and_none_a_day_is_none(tmp_path, autojump_clock):
    for options in ({"per_day": 4, "may": lambda: False}, {"per_day": 0}):
        stage = Stage(tmp_path, **options)

        async def test():
            await trio.sleep(3 * DAY_S)

        await stage.run(test)
        assert stage.facts == []


async def test_a_check_gives_way_to_what_is_to_be_built_and_says_nothing(tmp_path, autojump_clock):
    stage = Stage(tmp_path)
    started, waited = trio.Event(), []

    async def build(request, inputs, progress, vary=False):
        started.set()
        await trio.sleep_forever()

    stage.plugin.build = build
    stage.checker.revealed(stage.story.request, stage.reveal)

    async def test():
        await started.wait()
        began = trio.current_time()
        async with stage.turns.turn("new", "y", Priority.NEW):
            waited.append(trio.current_time() - began)
        await trio.sleep(20 * QUIET_S.value)

    await stage.run(test)
    assert (waited, stage.facts, stage.turns.idle) == ([0], [], True)


def test_the_lock_of_these_tests_is_the_reference_requests():
    assert hashlib.sha256(LOCK).hexdigest() == blob("lock")["sha256"]
    assert entries.AUTHORED
