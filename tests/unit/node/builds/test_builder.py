"""A drawn builder: its job is on disk before its commitment is sent, and a restart opens the same one."""

import hashlib
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import trio
import trio.testing

from pyrsia.builds import attest
from pyrsia.builds.model import Built, FileOut, Output, Packed, PhaseFailed, SourceWithheld
from pyrsia.errors import Refusal, Unavailable
from pyrsia.keys import verify
from pyrsia.ledger import entries, views
from pyrsia.node.builds.builder import RETRY_MOST_S, RETRY_S, UNABLE, Builder
from pyrsia.node.pulse import Pulse
from pyrsia.node.storage.shelf import BlobRef
from pyrsia.store import layout
from pyrsia.store.rocks import Database
from pyrsia.units import COMMIT_WINDOW_MS, REVEAL_WINDOW_MS
from pyrsia.wire import canonical
from pyrsia.wire.text import b32
from tests.reference.ledger import ENVIRONMENT, blob, key
from tests.reference.parts import Kept, ring
from tests.reference.story import WHEEL
from tests.reference.waiting import until

LOCK = repr("lock").encode()  # whose digest the reference's requests name
assert hashlib.sha256(LOCK).hexdigest() == blob("lock")["sha256"]


class Result(Built):
    """Swept on the loop: on virtual time, waiting for a worker thread would take for ever."""

    async def discard(self):
        shutil.rmtree(self.folder)


class Plugin:
    """Builds what the test says. `log`: what was asked of it, in order."""

    def __init__(self, folder):
        self.folder, self.log, self.lock, self.number = Path(folder), [], LOCK, 0
        self.why = []
        self.raises, self.changes, self.gate = {}, {}, None

    def file(self, data):
        self.number += 1
        path = self.folder / f"{self.number}"
        path.write_bytes(data)
        return FileOut(path, hashlib.sha256(data).hexdigest(), len(data))

    def ask(self, what):
        self.log.append(what)
        if self.raises.get(what):
            raise self.raises[what].pop(0)

    async def relock(self, request):
        self.ask("relock")
        return self.lock

    async def prefetch(self, request, locked):
        self.ask("prefetch")
        return "inputs"

    async def build(self, request, inputs, progress):
        self.ask("build")
        progress("building")
        if self.gate is not None:
            await self.gate.wait()
        wheel = Packed(self.file(b"wheel"), self.file(b"members"), self.file(b"metadata"), "")
        fields = {
            "name": WHEEL, "raw": wheel, "canonical": wheel, "stable": "5" * 64, "upstream": None,
            "upstream_relation": "different", "containment": "full", "normalised": (), "requires_python": "",
            "missing": (), "upstream_reason": "",
        }  # fmt: skip
        return self.built(
            "built", "", (Output(**{**fields, **self.changes}),), hashlib.sha256(LOCK).hexdigest()
        )

    async def failed(self, error, lock_sha256, phase="prefetch"):
        self.why.append(error.what)
        self.log.append(("failed", error.code, phase))
        return self.built("failed", phase, (), lock_sha256)

    def built(self, outcome, phase, outputs, lock_sha256):
        folder = self.folder / f"built-{self.number}"
        folder.mkdir(exist_ok=True)
        return Result(
            outcome, phase, lock_sha256, "registry", outputs, ENVIRONMENT, "namespace", self.file(b"log"), folder,
            tools=(("tool-1-py3-none-any.whl", "7" * 64),),
        )  # fmt: skip


class Shelf:
    def __init__(self):
        self.pinned, self.kept, self.held = [], [], set()

    async def adopt(self, file, sha256, *, pin=""):
        data = file.read_bytes()
        assert hashlib.sha256(data).digest() == sha256
        self.pinned.append((sha256, pin))
        self.kept.append(data)
        return BlobRef(sha256[::-1], sha256, len(data))

    async def put(self, data, *, pin):
        return self.described(hashlib.sha256(data).digest(), pin)

    async def keep(self, sha256, *, pin):
        return self.described(sha256, pin) if sha256 in self.held else None

    def described(self, sha256, pin):
        """As the reference describes every blob."""
        self.pinned.append((sha256, pin))
        return BlobRef(bytes.fromhex(sha256.hex()[::-1]), sha256, 100)


class Members:
    """Storage members together: they sign when the test lets them."""

    def __init__(self):
        self.needed, self.asked, self.go = 2, [], trio.Event()
        self.given = [{"node": letter * 52, "sig": "ab" * 64} for letter in "ab"]

    async def gather(self, request, reveal, asked, say):
        self.asked.append((request, reveal["receipts"], asked["purl"]))
        say("waiting for receipts: 1 of 2 failure domains")
        await self.go.wait()
        return self.given


class Stage:
    """One builder in the reference's world; the other two builders are played by the test."""

    members = None

    def __init__(self, folder, **changes):
        self.world = Kept(folder)
        self.request, self.builders = self.world.drawn(**changes)
        self.me = self.builders[0]
        self.keys = ring(self.world.number(self.me))
        self.plugin, self.shelf = Plugin(folder), Shelf()
        self.submitted, self.jobs, self.refuse = [], [], []
        self.hold = None
        self.start()

    def start(self):
        self.pulse = Pulse()
        self.builder = Builder(
            self.keys,
            self.world.genesis,
            plugins={"pip": self.plugin},
            shelf=self.shelf,
            submitter=self,
            reads=self.world.db.get,
            database=self.world.database,
            pulse=self.pulse,
            parallel=1,
            receipts=self.members,
            now_ms=lambda: self.world.time,
        )

    def ticks(self):
        """From now on the world's time follows trio's; the seconds until the commit deadline."""
        began = trio.current_time()
        self.builder._now_ms = lambda: self.world.time + int((trio.current_time() - began) * 1000)
        draw = views.request(self.world.db.get, self.request).draw
        return (draw.body["commit_deadline"] - self.world.time) / 1000

    def restart(self):
        path = self.world.database.path
        self.world.database.close()
        self.world.database = self.world.archive._database = Database.open(path)
        self.start()

    def job(self):
        key = bytes.fromhex(self.request) + bytes((views.request(self.world.db.get, self.request).round,))
        raw = self.world.database.get(layout.JOBS, key)
        return None if raw is None else canonical.decode(raw)

    async def submit(self, kind, body):
        self.jobs.append(self.job())
        if self.hold is not None:
            await self.hold.wait()
        if self.refuse:
            raise self.refuse.pop(0)
        self.submitted.append((kind, body))
        raw = self.world.entry(self.me, kind, body)
        self.world.block(raw)
        self.pulse.beat()
        return entries.entry_id(raw), 0

    def others(self, kind):
        """The other two builders commit, or reveal, the same."""
        bodies = self.__dict__.setdefault(
            "theirs", [(one, self.world.reveal(self.request)) for one in self.builders[1:]]
        )
        if kind == "commit":
            self.world.block(*(self.world.commit(*pair) for pair in bodies))
        else:
            self.world.block(*(self.world.entry(one, "build.reveal", body) for one, body in bodies))
        self.pulse.beat()

    async def run(self, test):
        with trio.fail_after(10_000):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.builder.run)
                await test()
                nursery.cancel_scope.cancel()

    def kinds(self):
        return [kind for kind, _ in self.submitted]


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    made.world.close()


async def test_the_job_is_on_disk_before_the_commitment_is_sent_and_gone_after_the_reveal(stage):
    async def test():
        await until(lambda: stage.kinds() == ["build.commit"])
        stage.others("commit")
        await until(lambda: stage.kinds() == ["build.commit", "build.reveal"])
        await trio.testing.wait_all_tasks_blocked()

    await stage.run(test)
    reveal = stage.submitted[1][1]
    assert stage.jobs == [reveal, reveal]
    made = entries.commitment(bytes.fromhex(stage.request), stage.me.public, reveal)
    assert stage.submitted[0][1] == {"commitment": made.hex(), "request": stage.request}
    assert stage.job() is None
    assert (stage.builder.built, stage.builder.notes) == (1, {})


async def test_what_is_revealed_is_signed_by_the_build_key_and_every_blob_is_pinned(stage):
    async def test():
        await until(lambda: stage.kinds() == ["build.commit"])

    await stage.run(test)
    body = stage.job()
    statement = attest.open_envelope(body["attestation"], stage.keys.build.public, verify)
    assert {one["digest"]["sha256"] for one in statement["subject"]} == {hashlib.sha256(b"wheel").hexdigest()}
    assert statement["predicate"]["runDetails"]["metadata"]["invocationId"] == stage.request
    inputs = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {"digest": {"sha256": "7" * 64}, "name": "tool-1-py3-none-any.whl"} in inputs
    assert {pin for _, pin in stage.shelf.pinned} == {"build"}
    named = {
        body["log"]["sha256"],
        *(body["outputs"][0]["raw"][one]["sha256"] for one in ("members", "metadata")),
    }
    assert named <= {sha256.hex() for sha256, _ in stage.shelf.pinned}
    assert body["outputs"][0]["upstream_relation"] == "none"  # no upstream file, no relation to it


async def test_a_restarted_builder_opens_the_commitment_that_it_made(stage):
    async def first():
        await until(lambda: stage.kinds() == ["build.commit"])

    await stage.run(first)
    job, built = stage.job(), list(stage.plugin.log)
    stage.others("commit")
    stage.restart()

    async def second():
        await until(lambda: len(stage.submitted) == 2)

    await stage.run(second)
    assert stage.submitted[1] == ("build.reveal", job)
    assert stage.plugin.log == built  # nothing was built again


async def test_a_builder_killed_before_its_commitment_was_sent_commits_to_the_same_job(stage):
    stage.hold = trio.Event()

    async def killed():
        await until(lambda: stage.jobs)

    await stage.run(killed)
    assert (stage.submitted, stage.job() is not None) == ([], True)
    job, stage.hold = stage.job(), None
    stage.restart()

    async def again():
        await until(lambda: stage.kinds() == ["build.commit"])

    await stage.run(again)
    made = entries.commitment(bytes.fromhex(stage.request), stage.me.public, job)
    assert stage.submitted[0][1]["commitment"] == made.hex()
    assert stage.plugin.log.count("build") == 1


async def test_another_lock_is_revealed_as_a_mismatch_and_nothing_is_built(stage):
    stage.plugin.lock = b"other lines"

    async def test():
        await until(lambda: stage.kinds() == ["build.commit"])

    await stage.run(test)
    job = stage.job()
    assert (job["outcome"], job["phase"], job["outputs"]) == ("failed", "lock-mismatch", [])
    assert job["lock_sha256"] == hashlib.sha256(b"other lines").hexdigest()
    assert job["attestation"] == ""
    assert "build" not in stage.plugin.log


@pytest.mark.parametrize("phase", ["relock", "prefetch"])
@pytest.mark.parametrize("code", ["version-unknown", "digest-mismatch", "build-failed"])
async def test_what_fails_before_the_build_is_revealed_as_failed(stage, phase, code):
    stage.plugin.raises = {phase: [Refusal(code, what="w", who="h", do="d")]}

    async def test():
        await until(lambda: stage.kinds() == ["build.commit"])

    await stage.run(test)
    assert (stage.job()["outcome"], stage.job()["lock_sha256"]) == ("failed", blob("lock")["sha256"])


@pytest.mark.parametrize("phase", ["relock", "prefetch", "build"])
@pytest.mark.parametrize("code", sorted(UNABLE))
async def test_what_the_world_did_says_nothing_about_the_package(stage, phase, code, autojump_clock):
    stage.plugin.raises = {phase: [Refusal(code, what="w", who="h", do="d")]}

    async def test():
        await until(lambda: stage.plugin.log)
        await trio.testing.wait_all_tasks_blocked()
        assert (stage.submitted, stage.job()) == ([], None)
        await until(lambda: stage.kinds() == ["build.commit"], RETRY_S.value + 1)

    await stage.run(test)
    assert stage.job()["outcome"] == "built"


async def test_an_index_that_stays_away_is_asked_until_a_minute_before_the_deadline_and_nothing_is_said(
    stage, autojump_clock
):
    left_s, asked = stage.ticks(), []
    original = stage.plugin.ask

    def ask(what):
        asked.append(trio.current_time())
        original(what)

    stage.plugin.ask = ask
    stage.plugin.raises = {"relock": [Refusal("index-unreachable", what="w", who="h", do="d")] * 1_000}
    began = trio.current_time()

    async def test():
        await trio.sleep(left_s + 60)

    await stage.run(test)
    assert (stage.submitted, stage.job()) == ([], None)
    last = asked[-1] - began
    assert left_s - 60 - RETRY_MOST_S.value <= last <= left_s - 60


@pytest.mark.parametrize("error", [Unavailable("disk full"), OSError("gone"), ValueError("a surprise")])
async def test_a_fault_is_tried_again_and_ends_no_node(stage, error, autojump_clock):
    stage.plugin.raises = {"build": [error]}
    began = trio.current_time()

    async def test():
        await until(lambda: stage.kinds() == ["build.commit"], RETRY_S.value + 1)

    await stage.run(test)
    assert trio.current_time() - began >= RETRY_S.value


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../evil.whl"},
        {"name": "x" * 300},
        {"name": "x" * 20_000},
        {"normalised": ("x",) * 100},
        {"normalised": ("x" * 300,)},
        {"requires_python": ">=3" + ",!=3.0" * 40},
        {"requires_python": "\ud800"},
        {"stable": "short"},
    ],
)
async def test_a_result_that_the_log_cannot_hold_is_this_packages_failure_and_ends_no_node(stage, changes):
    """What a hostile source can put into names and METADATA must not stop the builders that are drawn for it."""
    stage.plugin.changes = changes

    async def test():
        await until(lambda: stage.kinds() == ["build.commit"])
        stage.others("commit")
        await until(lambda: stage.kinds() == ["build.commit", "build.reveal"])

    await stage.run(test)
    reveal = stage.submitted[1][1]
    assert (reveal["outcome"], reveal["phase"], reveal["outputs"]) == ("failed", "normalise", [])
    assert stage.builder.built == 0


async def test_an_entry_that_the_log_will_not_take_is_not_pressed_on_it(stage, autojump_clock):
    stage.refuse = [Refusal("entry-refused", what="too late", who="h", do="d")]

    async def test():
        await until(lambda: stage.jobs)
        await trio.sleep(10 * RETRY_S.value)

    await stage.run(test)
    assert (stage.submitted, len(stage.jobs)) == ([], 1)


async def test_an_unavailable_network_is_asked_again_until_the_deadline(stage, autojump_clock):
    stage.refuse = [Unavailable("nobody there")] * 1_000

    async def test():
        await until(lambda: len(stage.jobs) == 4, 60)
        stage.world.time += 10_000_000
        await trio.sleep(10 * RETRY_S.value)

    await stage.run(test)
    assert (len(stage.jobs), stage.plugin.log.count("build"), stage.builder.notes) == (4, 1, {})


async def test_a_lost_job_is_said_and_no_other_reveal_is_made_up(stage, caplog):
    async def first():
        await until(lambda: stage.kinds() == ["build.commit"])

    await stage.run(first)
    stage.world.database.write(_without_jobs(stage))
    stage.others("commit")
    stage.start()

    async def second():
        await until(lambda: "is gone" in caplog.text)

    await stage.run(second)
    assert stage.kinds() == ["build.commit"]


def _without_jobs(stage):
    from pyrsia.store.rocks import Batch

    batch = Batch()
    for row, _ in stage.world.database.scan(layout.JOBS, b"", 10):
        batch.delete(layout.JOBS, row)
    return batch


async def test_a_second_draw_is_built_anew_with_a_job_of_its_own(stage):
    world = stage.world

    async def first():
        await until(lambda: stage.kinds() == ["build.commit"])

    await stage.run(first)
    old = stage.job()
    world.propose(wait=700_000)
    world.settle()
    view = views.request(world.db.get, stage.request)
    assert view.round == 1
    assert b32(stage.me.public) in view.draw.body["builders"]
    stage.start()

    async def second():
        await until(lambda: stage.kinds() == ["build.commit"] * 2)

    await stage.run(second)
    assert stage.job()["nonce"] != old["nonce"]


async def test_jobs_of_settled_requests_are_forgotten_at_the_next_start(stage):
    world = stage.world

    async def first():
        await until(lambda: stage.kinds() == ["build.commit"])

    await stage.run(first)
    stage.others("commit")
    stage.others("reveal")
    world.propose(wait=1_000_000)
    world.propose()
    world.settle()
    assert views.request(world.db.get, stage.request).state == "done"
    assert stage.job() is not None
    stage.restart()

    async def second():
        await until(lambda: stage.job() is None)

    await stage.run(second)
    assert stage.kinds() == ["build.commit"]


async def test_who_is_not_drawn_builds_nothing(tmp_path):
    stage = Stage(tmp_path)
    drawn = {one.public for one in stage.builders}
    spare = next(i for i in range(4) if stage.world.nodes[i].public not in drawn)
    stage.keys = ring(spare)
    stage.start()

    async def test():
        stage.pulse.beat()
        await trio.testing.wait_all_tasks_blocked()

    await stage.run(test)
    assert (stage.plugin.log, stage.submitted) == ([], [])
    stage.world.close()


async def test_what_is_being_done_can_be_read_and_one_at_a_time_is_built(stage):
    stage.plugin.gate = trio.Event()
    stage.world.drawn(version="2.0")

    async def test():
        await until(lambda: "build" in stage.plugin.log)
        await trio.testing.wait_all_tasks_blocked()
        assert stage.plugin.log.count("build") == 1
        assert "building" in stage.builder.notes.values()
        stage.plugin.gate.set()

    await stage.run(test)


# -- ends and turns --


async def test_a_build_of_a_request_that_was_settled_without_us_is_cancelled_and_gives_its_turn_back(stage):
    stage.plugin.gate = trio.Event()
    world = stage.world

    async def test():
        await until(lambda: "building" in stage.builder.notes.values())
        assert not stage.builder.turns.idle
        stage.others("commit")
        world.propose(wait=700_000)  # the commit deadline passes; two of three have committed
        stage.others("reveal")
        world.propose(wait=1_000_000)
        world.settle()
        assert views.request(world.db.get, stage.request).state == "done"
        stage.pulse.beat()
        await until(lambda: stage.builder.turns.idle)

    await stage.run(test)
    assert (stage.builder.notes, stage.submitted, stage.job()) == ({}, [], None)


async def test_a_build_that_hangs_is_committed_as_failed_a_minute_before_its_deadline(stage, autojump_clock):
    stage.plugin.gate = trio.Event()
    left_s, began = stage.ticks(), trio.current_time()

    async def test():
        await until(lambda: stage.kinds() == ["build.commit"], left_s)

    await stage.run(test)
    assert trio.current_time() - began == pytest.approx(left_s - 60, abs=2)
    assert (stage.job()["outcome"], stage.job()["phase"]) == ("failed", "build")
    (why,) = [one for one in stage.plugin.why if "not done in time" in one]
    assert why.startswith("build: ")
    assert stage.builder.turns.idle


async def test_a_run_that_asks_for_what_no_server_answers_is_told_at_the_end_and_strikes_nobody(
    stage, autojump_clock
):
    """Code of the package chose what was asked for, perhaps on this machine alone."""
    left_s, began = stage.ticks(), trio.current_time()
    why = PhaseFailed("prefetch", "no answer", who="w", do="d", code="index-unreachable")
    stage.plugin.raises = {"relock": [why] * 1_000}

    async def test():
        await until(lambda: stage.kinds() == ["build.commit"], left_s)

    await stage.run(test)
    assert trio.current_time() - began == pytest.approx(left_s - 60, abs=2)
    assert (stage.job()["outcome"], stage.job()["phase"]) == ("failed", "prefetch")


async def test_hooks_before_the_build_have_no_time_of_their_own(stage, autojump_clock):
    left_s, began = stage.ticks(), trio.current_time()
    original = stage.plugin.relock

    async def relock(request):
        await trio.sleep(left_s / 2)
        return await original(request)

    stage.plugin.relock, stage.plugin.gate = relock, trio.Event()

    async def test():
        await until(lambda: stage.kinds() == ["build.commit"], left_s)

    await stage.run(test)
    assert trio.current_time() - began == pytest.approx(left_s - 60, abs=2)
    assert (stage.job()["outcome"], stage.job()["phase"]) == ("failed", "build")


async def test_after_faults_of_the_world_a_try_that_had_no_time_says_nothing(stage, autojump_clock):
    left_s = stage.ticks()
    stage.plugin.gate, asked = trio.Event(), []

    async def relock(request):
        asked.append(trio.current_time())
        if len(asked) == 1:
            await trio.sleep(left_s - 100)
            raise Refusal("index-unreachable", what="w", who="h", do="d")
        return LOCK

    stage.plugin.relock = relock

    async def test():
        await trio.sleep(left_s + 60)

    await stage.run(test)
    assert len(asked) == 2
    assert (stage.submitted, stage.job()) == ([], None)


async def test_who_starts_late_still_builds_for_half_of_what_is_left(stage, autojump_clock):
    left_s = stage.ticks()
    stage.world.time += int(left_s * 1000) - 40_000
    stage.plugin.gate, began = trio.Event(), trio.current_time()

    async def test():
        await until(lambda: stage.kinds() == ["build.commit"], 39)

    await stage.run(test)
    assert trio.current_time() - began == pytest.approx(20, abs=2)
    assert stage.job()["phase"] == "build"


@pytest.mark.parametrize("phase", ["relock", "prefetch"])
async def test_a_source_that_is_kept_back_is_the_requesters_failure_after_two_thirds_of_the_window(
    stage, phase, autojump_clock
):
    left_s, began = stage.ticks(), trio.current_time()
    stage.plugin.raises = {phase: [SourceWithheld("nobody gave it")] * 1_000}

    async def test():
        await until(lambda: stage.kinds() == ["build.commit"], left_s)

    await stage.run(test)
    assert (stage.job()["outcome"], stage.job()["phase"]) == ("failed", "prefetch")
    window_s = COMMIT_WINDOW_MS.value / 1000
    assert trio.current_time() - began == pytest.approx(left_s - window_s / 3, abs=2)


async def test_a_source_that_comes_late_is_built(stage, autojump_clock):
    stage.ticks()
    stage.plugin.raises = {"relock": [SourceWithheld("nobody gave it")] * 5}

    async def test():
        await until(lambda: stage.kinds() == ["build.commit"], 200)

    await stage.run(test)
    assert stage.job()["outcome"] == "built"


async def test_a_build_that_hangs_gives_way_after_a_third_of_its_window_and_others_are_built(
    stage, autojump_clock
):
    """One slot, two requests: the one whose source hangs is committed as failed, the other one is built in time."""
    stage.world.drawn(version="2.0")
    hanging, began = [], trio.current_time()
    original = stage.plugin.build

    async def build(request, inputs, progress):
        if not hanging:
            hanging.append(request["purl"])
        if request["purl"] in hanging:
            await trio.sleep_forever()
        return await original(request, inputs, progress)

    stage.plugin.build = build
    stage.ticks()
    done = []
    committed = stage.submit

    async def submit(kind, body):
        purl = views.request(stage.world.db.get, body["request"]).request.body["purl"]
        done.append((purl in hanging, trio.current_time() - began))
        return await committed(kind, body)

    stage.submit = submit

    async def test():
        await until(lambda: len(done) == 2, 600)

    await stage.run(test)
    third_s = COMMIT_WINDOW_MS.value / 3000
    assert [hung for hung, _ in done] == [False, True]
    assert done[0][1] == pytest.approx(third_s, abs=2)
    assert COMMIT_WINDOW_MS.value / 1000 - done[1][1] >= 59


async def test_each_wait_before_another_try_is_longer_up_to_a_bound(stage, autojump_clock):
    tries = []
    original = stage.plugin.ask

    def ask(what):
        if what == "build":
            tries.append(trio.current_time())
        original(what)

    stage.plugin.ask = ask
    stage.plugin.raises = {"build": [Unavailable("disk full")] * 14}

    async def test():
        await until(lambda: stage.kinds() == ["build.commit"], 2_000)

    await stage.run(test)
    waits = [round(later - earlier) for earlier, later in pairwise(tries)]
    assert waits[:3] == [5, 10, 15]
    assert waits == sorted(waits)
    assert waits[-1] == 60


async def test_a_build_that_failed_here_before_comes_after_new_ones(stage, autojump_clock):
    asked = []
    turns = stage.builder.turns
    original = turns.turn

    def turn(request, requester, priority, share_s):
        asked.append(priority.name)
        return original(request, requester, priority, share_s)

    turns.turn = turn
    stage.plugin.raises = {"build": [Unavailable("disk full")]}

    async def test():
        await until(lambda: stage.kinds() == ["build.commit"], 30)

    await stage.run(test)
    assert asked == ["NEW", "RETRY"]


async def test_what_waits_is_told_in_its_order(stage):
    stage.plugin.gate = trio.Event()
    request, _ = stage.world.drawn(version="2.0")

    async def test():
        await until(lambda: "build" in stage.plugin.log and stage.builder.waiting())
        (line,) = stage.builder.waiting()
        assert line.split(":")[0] in (request[:16], stage.request[:16])
        assert ": new, asked by " in line
        stage.plugin.gate.set()

    await stage.run(test)


async def test_a_log_that_fills_its_limit_ends_with_a_marker_and_is_no_longer(stage, monkeypatch):
    monkeypatch.setattr("pyrsia.builds.unbuilt.BUILD_LOG_BYTES", type(RETRY_S)(1_000, "a test's"))
    original = stage.plugin.file
    stage.plugin.file = lambda data: original(b"line\n" * 200 if data == b"log" else data)

    async def test():
        await until(lambda: stage.kinds() == ["build.commit"])

    await stage.run(test)
    told = stage.job()["log"]
    (kept,) = [data for data in stage.shelf.kept if hashlib.sha256(data).hexdigest() == told["sha256"]]
    assert (len(kept), kept.endswith(b"more than its limit]\n")) == (1_000, True)


# -- receipts --


async def test_receipts_are_sought_after_the_gate_and_stand_in_the_reveal_and_in_no_commitment(stage):
    stage.members = Members()
    stage.start()
    sent = []

    async def submit(kind, body):
        sent.append((kind, body))
        if kind == "build.commit":
            await Stage.submit(stage, kind, body)
        else:
            stage.pulse.beat()

    stage.builder._submitter = type("Submitter", (), {"submit": staticmethod(submit)})

    async def test():
        await until(lambda: stage.kinds() == ["build.commit"])
        await trio.testing.wait_all_tasks_blocked()
        assert stage.members.asked == []
        stage.others("commit")
        await until(lambda: stage.members.asked)
        assert stage.builder.notes[stage.request].startswith("waiting for receipts: 1 of 2")
        assert len(sent) == 1
        job = stage.job()
        stage.members.go.set()
        await until(lambda: len(sent) == 2)
        assert sent[1] == ("build.reveal", {**job, "receipts": stage.members.given})
        made = entries.commitment(bytes.fromhex(stage.request), stage.me.public, sent[1][1])
        assert made.hex() == sent[0][1]["commitment"]

    await stage.run(test)
    assert stage.members.asked == [(stage.request, [], "pkg:pypi/idna@1.0")]


async def test_receipts_that_the_log_does_not_take_are_sought_again(stage, autojump_clock):
    stage.members = Members()
    stage.members.go.set()
    stage.members.given = []
    stage.start()

    async def test():
        await until(lambda: stage.kinds() == ["build.commit"])
        stage.refuse = [Refusal("receipts-missing", what="a member left", who="h", do="d")]
        stage.others("commit")
        await until(lambda: stage.kinds() == ["build.commit", "build.reveal"], 60)

    await stage.run(test)
    assert len(stage.members.asked) == 2


async def test_without_receipts_a_builder_tries_until_the_deadline_and_is_silent(stage, autojump_clock):
    stage.members = Members()
    stage.start()

    async def test():
        await until(lambda: stage.kinds() == ["build.commit"])
        stage.others("commit")
        left_s = stage.ticks() + REVEAL_WINDOW_MS.value / 1000
        await until(lambda: stage.members.asked)
        await trio.sleep(left_s - 1)
        assert "receipts" in stage.builder.notes[stage.request]
        await trio.sleep(2)
        assert stage.builder.notes == {}

    await stage.run(test)
    assert (stage.kinds(), len(stage.members.asked)) == (["build.commit"], 1)


async def test_a_result_that_leaves_no_room_for_its_receipts_is_a_failure(stage):
    stage.members = Members()
    stage.members.needed = 300
    stage.start()

    async def test():
        await until(lambda: stage.kinds() == ["build.commit"])

    await stage.run(test)
    assert (stage.job()["outcome"], stage.job()["phase"]) == ("failed", "normalise")


SAID = blob("source")
OWN = f"pkg:generic/{b32(key(4, 'node').public)}/pypi/idna@1.0"  # under the name of who asks


@pytest.mark.parametrize("field", ["manifest", "size"])
@pytest.mark.parametrize(("what", "phase"), [("lock", "lock-mismatch"), ("source", "prefetch")])
async def test_a_request_that_misnames_its_blobs_fails_by_that_and_no_builder_is_struck(
    tmp_path, what, phase, field
):
    """Nobody could fetch them by that name, so nobody could give a receipt for them."""
    wrong = {"manifest": "ab" * 32, "size": 99}[field]
    given = {**SAID, "file": "idna.tar.gz"}
    changes = {
        "lock": {"lock": {**blob("lock"), field: wrong}},
        "source": {"purl": OWN, "source": {**given, field: wrong}},
    }[what]
    stage = Stage(tmp_path, **changes)
    stage.shelf.held.add(bytes.fromhex(SAID["sha256"]))

    async def test():
        await until(lambda: stage.kinds() == ["build.commit"])

    await stage.run(test)
    assert (stage.job()["outcome"], stage.job()["phase"], stage.job()["outputs"]) == ("failed", phase, [])
    assert "another size or manifest" in stage.plugin.why[0]
    stage.world.close()


async def test_a_source_that_was_given_along_stays_with_who_built_from_it(tmp_path):
    source = {**SAID, "file": "idna.tar.gz"}
    stage = Stage(tmp_path, source=source, purl=OWN)
    stage.shelf.held.add(bytes.fromhex(SAID["sha256"]))

    async def test():
        await until(lambda: stage.kinds() == ["build.commit"])

    await stage.run(test)
    assert stage.job()["outcome"] == "built"
    for one in (SAID, blob("lock")):
        assert (bytes.fromhex(one["sha256"]), "build") in stage.shelf.pinned
    stage.world.close()
