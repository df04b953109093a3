"""A monitor over a real ledger's log: who is told of what, across kills, liars and hooks that fail."""

import json

import pytest

from pyrsia.audit import monitor as monitors
from pyrsia.audit.follow import Begun, Follow, Undelivered
from pyrsia.audit.following import Following
from pyrsia.audit.monitor import Monitor, State, default_path
from pyrsia.errors import Refusal
from pyrsia.ledger import entries
from pyrsia.ledger.matching import Filter, PurlGlob
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.wire.text import safe
from tests.reference.ledger import World
from tests.reference.story import Story
from tests.unit.audit.signed import TIME_S, SignedLog, signed

IDNA = Filter(purls=(PurlGlob.parse("pkg:pypi/idna"),))


class Killed(BaseException):
    """What kill -9 is to a test: nothing after it runs, not even an except clause."""


class Inbox:
    """An outlet that keeps events; `refuse`: how many more it will not take; `die`: after which it is killed."""

    def __init__(self):
        self.events, self.refuse, self.die = [], 0, None

    def send(self, event):
        if self.refuse:
            self.refuse -= 1
            raise Undelivered("the hook is ill")
        self.events.append(json.loads(json.dumps(event)))
        if self.die == len(self.events):
            raise Killed

    @property
    def indices(self):
        return [one["index"] for one in self.events if one["event"] != "alarm"]


class Watch:
    """One monitor's runs over one log, with one state file; time is what the test says."""

    def __init__(self, folder, log, watched=IDNA, first=0):
        self.path, self.log, self.watched, self.first = folder / "state.json", log, watched, first
        self.inbox, self.warned, self.slept, self.heads = Inbox(), [], [], []
        self.now_s = TIME_S

    def run(self, rounds=None):
        """`once` without `rounds`; else so many rounds of a run."""
        states = []

        def begin(source, note):
            rule = self.log.rule
            rule.read(note)
            state = State.open(self.path, rule.genesis, self.watched)
            states.append(state)
            position = state.begin(self.first if state.position is None else None)
            hands = Monitor(
                state,
                [self.inbox],
                names={member.text: member.name for member in rule.genesis.members},
                saw=lambda e: self.heads.append(e.head),
                warn=self.warned.append,
            )
            return Begun(rule, Following(last=state.last(rule), position=position), hands)

        loop = Follow(
            lambda: self.log,
            begin,
            warn=self.warned.append,
            now_s=lambda: self.now_s,
            sleep=self.slept.append,
        )
        try:
            if rounds is None:
                loop.once()
            for _ in range(rounds or 0):
                self.slept.append(loop.round())
        finally:
            for state in states:
                state.close()


@pytest.fixture
def story():
    return Story(dissenter=True)


@pytest.fixture
def watch(tmp_path, story):
    return Watch(tmp_path, SignedLog(world=story.world).follow())


def fact(world, text="x", subject="pkg:pypi/idna@1.0"):
    body = {"kind": "description", "subject": subject, "text": text, "valid_from": 1}
    world.block(world.entry(world.follower, "fact.add", body))


def test_every_entry_about_the_package_is_told_and_nothing_else(watch, story):
    fact(story.world, "bad", "pkg:pypi/idna")
    fact(story.world, "other", "pkg:pypi/other")
    watch.log.follow()
    watch.run()
    about = [i for i, leaf in enumerate(watch.log.entries) if b"bad" in leaf]
    assert watch.inbox.indices == sorted([*story.leaves(), *about])
    by_type = {one["type"]: one for one in watch.inbox.events}
    assert {
        "build.request",
        "build.draw",
        "build.commit",
        "build.reveal",
        "build.verdict",
        "artifact.add",
    } < set(by_type)
    for event in watch.inbox.events:
        entry = entries.parse(event["leaf"].encode())
        assert (event["type"], event["leaf"].encode()) == (entry.kind, watch.log.entries[event["index"]])
        assert event["log"] == story.genesis.origin
        assert event["time_ms"] > 0
        assert event["purls"] in (["pkg:pypi/idna@1.0"], ["pkg:pypi/idna"])
    assert by_type["build.verdict"]["verdict"] == "REPRODUCED"


def test_a_start_at_the_end_still_knows_the_builds_that_go_on(tmp_path):
    world = World()
    request, builders = world.drawn()
    watch = Watch(tmp_path, SignedLog(world=world).follow(), first=None)
    watch.run()
    assert watch.inbox.events == []
    before = len(world.leaves)
    world.run(request, [(builder, world.reveal(request)) for builder in builders])
    watch.log.follow()
    watch.run()
    kinds = [one["type"] for one in watch.inbox.events]
    assert kinds.count("build.commit") == kinds.count("build.reveal") == 3
    assert min(watch.inbox.indices) >= before


def test_a_digest_is_watched_wherever_it_is_named(tmp_path, story):
    world = story.world
    fact(world, "of a file", "sha256:" + story.sha256)
    watch = Watch(tmp_path, SignedLog(world=world).follow(), Filter(digests=(story.sha256,)))
    watch.run()
    kinds = {one["type"] for one in watch.inbox.events}
    assert kinds == {"build.reveal", "artifact.add", "fact.add"}


@pytest.mark.parametrize("after", range(1, 9))
def test_a_kill_between_delivery_and_state_repeats_that_entry_and_loses_none(watch, story, after):
    watch.inbox.die = after
    with pytest.raises(Killed):
        watch.run()
    watch.inbox.die = None
    watch.run()
    told = watch.inbox.indices
    assert told[after - 1] == told[after]
    assert told[:after] + told[after + 1 :] == story.leaves()
    watch.run()
    assert watch.inbox.indices == told


def test_a_kill_at_any_write_of_the_state_loses_nothing(watch, story, monkeypatch):
    saves, die = 0, 0
    honest = State.save

    def save(state):
        nonlocal saves
        saves += 1
        if saves == die:
            raise Killed
        honest(state)

    monkeypatch.setattr(State, "save", save)
    for die in range(1, 7):
        saves = 0
        with pytest.raises(Killed):
            watch.run()
        for number in range(die):
            fact(story.world, f"round {number}")
        watch.log.follow()
    monkeypatch.setattr(State, "save", honest)
    watch.run()
    wanted = [*story.leaves(), *(i for i, leaf in enumerate(watch.log.entries) if b"round " in leaf)]
    told = watch.inbox.indices
    assert sorted(set(told)) == sorted(wanted)
    assert all(told[i + 1] >= told[i] for i in range(len(told) - 1))
    assert 0 < len(told) - len(set(told)) <= 6


def test_a_hook_that_fails_holds_the_position_and_is_tried_again(watch, story):
    watch.inbox.refuse = 3
    watch.run(rounds=5)
    assert watch.inbox.indices == story.leaves()
    assert watch.slept == [1, 2, 4, 5, 5]
    assert watch.warned == ["the hook is ill"]


def test_once_says_that_a_hook_failed_and_the_next_run_goes_on(watch, story):
    watch.inbox.refuse = 1
    with pytest.raises(Refusal, match="ill") as refused:
        watch.run()
    assert refused.value.answer.exit == 1
    watch.run()
    assert watch.inbox.indices == story.leaves()


def test_no_growth_and_no_answer_are_survived(watch, story):
    watch.run(rounds=3)
    watch.log.down = "nobody answers"
    watch.run(rounds=4)
    watch.log.down = None
    watch.log.cosign(TIME_S + 60)
    watch.run(rounds=2)
    assert watch.inbox.indices == story.leaves()
    assert watch.warned == ["nobody answers"]
    assert watch.heads[-1].time_s == TIME_S + 60


@pytest.mark.parametrize(
    "note",
    [b"", b"<html>502 Bad Gateway</html>", b"x" * 100_000, "two signers"],
)
def test_a_checkpoint_that_nobody_signed_is_no_news_and_no_alarm(watch, story, note):
    watch.run()
    size, root = watch.log.frontier.size, watch.log.frontier.root()
    if note == "two signers":
        note = signed(story.world, size + 5, b"x" * 32, signers=2)
    honest, watch.log.note = watch.log.note, note
    watch.run(rounds=2)
    assert len(watch.warned) == 1
    assert watch.inbox.indices == story.leaves()
    watch.log.note = honest
    watch.run(rounds=1)
    assert watch.heads[-1].checkpoint == Checkpoint(story.genesis.origin, size, root)


def lie_fork_at_one_size(watch):
    watch.log.note = signed(watch.log.world, watch.log.frontier.size, b"x" * 32)


def lie_fork_that_grew(watch):
    """The whole log is another one: its tiles lead to its root, and the old root is not among them."""
    entries_ = list(watch.log.entries)
    entries_[3] = entries_[4]
    watch.log = SignedLog([*entries_, *entries_[:7]], watch.log.world)


def lie_shrunk(watch):
    watch.log = SignedLog(watch.log.entries[:-3], watch.log.world)


@pytest.mark.parametrize(
    ("lie", "trouble", "word", "why"),
    [
        (lie_fork_at_one_size, "fork", "two roots", "forked"),
        (lie_fork_that_grew, "fork", "does not begin", "inconsistent"),
        (lie_shrunk, "shrunk", "shrank", "shrunk"),
    ],
)
def test_a_log_that_forks_or_shrinks_is_kept_told_and_ends_the_monitor(watch, lie, trouble, word, why):
    watch.run()
    before, honest = len(watch.inbox.events), watch.log.note
    lie(watch)
    for _ in range(2):  # and again after a restart: nothing of it was believed
        with pytest.raises(Refusal, match=word) as refused:
            watch.run(rounds=1)
        assert refused.value.answer.exit == 1
        assert "ALARM" in refused.value.what
    first, second = watch.inbox.events[before:]
    assert first == second
    assert (first["event"], first["trouble"]) == ("alarm", trouble)
    assert (first["first"].encode(), first["second"].encode()) == (honest, watch.log.note)
    kept = json.loads((watch.path.parent / "state.alarm").read_text())
    assert (kept["kept"].encode(), kept["offered"].encode()) == (honest, watch.log.note)
    assert (kept["why"], kept["said"]) == (why, first["summary"])
    assert first["evidence"] == str(watch.path.parent / "state.alarm")


def test_an_alarm_that_no_hook_takes_is_an_alarm_all_the_same(watch):
    watch.run()
    lie_shrunk(watch)
    watch.inbox.refuse = 5
    with pytest.raises(Refusal, match="ALARM"):
        watch.run()
    assert any("not delivered" in one for one in watch.warned)
    assert (watch.path.parent / "state.alarm").exists()


def test_a_fork_that_another_command_saw_first_is_an_alarm_too(watch, monkeypatch):
    def saw(effect):
        raise Refusal("proof-invalid", what="two histories", who="x", do="see the .fork")

    monkeypatch.setattr(watch, "heads", type("Fork", (), {"append": staticmethod(lambda head: saw(head))})())
    with pytest.raises(Refusal, match="two histories"):
        watch.run()
    (event,) = watch.inbox.events
    assert (event["event"], event["trouble"], event["second"].encode()) == ("alarm", "fork", watch.log.note)
    assert not watch.path.exists()


def test_a_source_that_lies_about_entries_delivers_nothing_wrong(watch, story):
    bundles = [(path, data) for path, data in watch.log.every() if "entries" in path]
    lies = [
        (path, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        for path, data in bundles
        for at in range(0, len(data), len(data) // 17)
    ]
    for path, changed in lies:
        watch.log.forge = {path: changed}
        watch.warned.clear()
        watch.run(rounds=1)
        assert (len(watch.warned), watch.inbox.events) == (1, [])
    watch.log.forge = {}
    watch.run()
    assert watch.inbox.indices == story.leaves()


def test_an_entry_that_cannot_be_read_is_told_to_everybody(tmp_path, story):
    strange = b'{"body":{"x":"\x1b[31m"},"net":"n","type":"new.kind","v":2}\xff'
    log = SignedLog([*story.world.leaves, strange], story.world)
    watch = Watch(tmp_path, log, Filter(purls=(PurlGlob.parse("pkg:npm/none"),)))
    watch.run()
    (event,) = watch.inbox.events
    assert (event["event"], event["type"], event["index"]) == (
        "unreadable",
        "unreadable",
        len(log.entries) - 1,
    )
    assert event["summary"] == safe(event["summary"])
    assert "cannot be read" in watch.warned[0]


# -- the state file --


def test_where_to_begin_is_said_at_the_first_start_alone(watch, story):
    watch.run()
    state = State.open(watch.path, story.genesis, IDNA)
    end = state.position
    assert (state.begin(None), state.begin(end)) == (end, end)
    with pytest.raises(Refusal, match=f"goes on at entry {end}") as refused:
        state.begin(0)
    assert (refused.value.code, str(watch.path) in refused.value.who) == ("usage", True)
    state.close()


def test_two_monitors_cannot_share_a_state(watch, story):
    state = State.open(watch.path, story.genesis, IDNA)
    with pytest.raises(Refusal) as refused:
        watch.run()
    assert refused.value.code == "data-in-use"
    state.close()
    watch.run()


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: b"",
        lambda fields: b"[" * 100_000,
        lambda fields: json.dumps(fields).encode()[:-9],
        lambda fields: json.dumps(fields | {"more": 1}).encode(),
        lambda fields: json.dumps(fields | {"v": 2}).encode(),
        lambda fields: json.dumps(fields | {"position": -1}).encode(),
        lambda fields: json.dumps(fields | {"position": "5"}).encode(),
        lambda fields: json.dumps(fields | {"note": fields["note"].replace("AAA", "BBB", 1)[:-30]}).encode(),
    ],
)
def test_a_damaged_state_is_refused_and_left_alone(watch, change):
    watch.run()
    fields = json.loads(watch.path.read_bytes())
    damaged = change(fields)
    watch.path.write_bytes(damaged)
    with pytest.raises(Refusal) as refused:
        watch.run()
    assert refused.value.code == "data-damaged"
    assert watch.path.read_bytes() == damaged


def test_a_state_of_other_patterns_or_another_network_is_refused(watch, story, tmp_path):
    watch.run()
    for genesis, watched in (
        (story.genesis, Filter(purls=(PurlGlob.parse("pkg:pypi/x"),))),
        (World(name="another").genesis, IDNA),
    ):
        with pytest.raises(Refusal) as refused:
            State.open(watch.path, genesis, watched)
        assert refused.value.code == "data-foreign"


def test_each_network_and_filter_has_its_own_file(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    paths = {
        default_path(network, watched)
        for network in ("a", "b")
        for watched in (IDNA, Filter(digests=("a" * 64,)), Filter(purls=IDNA.purls, digests=("a" * 64,)))
    }
    assert len(paths) == 6
    assert all(path.is_relative_to(tmp_path) for path in paths)


def test_the_state_is_written_for_every_delivery_and_seldom_else(tmp_path, monkeypatch):
    world = World()
    for at in range(60):
        fact(world, "y" * 10, f"pkg:pypi/p{at}")
    monkeypatch.setattr(monitors, "SAVE_EVERY", monitors.SAVE_EVERY.__class__(50, "a test's"))
    watch = Watch(tmp_path, SignedLog(world=world).follow(), Filter(purls=(PurlGlob.parse("pkg:pypi/p7"),)))
    saves = []
    honest = State.save
    monkeypatch.setattr(State, "save", lambda state: (saves.append(state.position), honest(state)))
    watch.run()
    assert len(watch.inbox.events) == 1
    assert len(saves) == 1 + 1 + len(watch.log.entries) // 50 + 1
    assert saves[-1] == len(watch.log.entries)
