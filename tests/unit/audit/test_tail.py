"""Reading along: entries once each, in order, only under heads that go on from each other."""

import json

import pytest

from pyrsia.audit.follow import Follow
from pyrsia.audit.tail import Tail, Unsigned, begin
from pyrsia.errors import Refusal
from tests.reference.story import Story
from tests.unit.audit.signed import TIME_S, SignedLog, signed
from tests.unit.log.logs import numbered


class Reader:
    """One `tail` of a log, by rounds."""

    def __init__(self, log, *, newest=10, pinned=True):
        self.log, self.pinned = log, pinned
        self.rows, self.warned, self.slept, self.kept = [], [], [], []
        self.loop = Follow(
            lambda: self.log,
            lambda source, note: begin(
                source, note, self.rule, self.hands, newest=newest, warn=self.warned.append
            ),
            warn=self.warned.append,
            now_s=lambda: TIME_S,
            sleep=self.slept.append,
        )

    def rule(self, source, note):
        if self.pinned:
            return self.log.rule
        raise Refusal("not-pinned", what="not pinned: who?", who="x", do="y")

    def hands(self, names, genesis):
        return Tail(self.rows.append, names=names, saw=self.kept.append, warn=self.warned.append)

    def rounds(self, count):
        return [self.loop.round() for _ in range(count)]

    @property
    def indices(self):
        return [row.index for row in self.rows]


@pytest.fixture
def log():
    return SignedLog(world=Story().world).follow()


def grow(log, text="more"):
    log.world.block(log.world.entry(log.world.follower, "fact.add", {
        "kind": "description", "subject": "pkg:pypi/a", "text": text, "valid_from": 1}))  # fmt: skip
    log.follow()


@pytest.mark.parametrize("newest", [0, 1, 5, 100_000])
def test_the_newest_entries_then_those_to_come(log, newest):
    size = len(log.entries)
    reader = Reader(log, newest=newest)
    reader.rounds(2)
    first = max(0, size - newest)
    assert reader.indices == list(range(first, size))
    grow(log)
    grow(log)
    reader.rounds(2)
    assert reader.indices == list(range(first, size + 4))
    assert [row.kind for row in reader.rows[-2:]] == ["fact.add", "block.seal"]
    assert all(row.time_ms > 0 for row in reader.rows)
    assert reader.warned == []


def test_members_are_called_by_their_names_with_a_pin_and_without(log):
    grow(log)
    for pinned in (True, False):
        reader = Reader(log, pinned=pinned)
        reader.rounds(1)
        assert any(row.summary.endswith("by node 4") for row in reader.rows)


def test_a_log_that_rests_or_does_not_answer_is_waited_for(log):
    reader = Reader(log)
    waits = reader.rounds(3)
    log.down = "the node restarts"
    waits += reader.rounds(3)
    log.down = None
    grow(log)
    waits += reader.rounds(1)
    assert waits == [5, 5, 5, 1, 2, 4, 5]
    assert reader.warned == ["the node restarts"]
    assert reader.indices == sorted(set(reader.indices))
    assert reader.indices[-1] == len(log.entries) - 1


def test_a_node_that_is_not_there_yet_is_waited_for(log):
    log.down = "not yet"
    reader = Reader(log)
    assert reader.rounds(2) == [1, 2]
    log.down = None
    reader.rounds(1)
    assert reader.indices[-1] == len(log.entries) - 1


def test_a_node_that_lags_is_waited_for_and_nothing_is_told_twice(log):
    reader = Reader(log)
    reader.rounds(1)
    told = list(reader.indices)
    newest = reader.log
    reader.log = SignedLog(log.entries[:-2], log.world)
    reader.loop._source = None
    reader.rounds(3)
    assert len(reader.warned) == 1
    reader.log, reader.loop._source = newest, None
    grow(log)
    reader.rounds(1)
    assert reader.indices == [*told, told[-1] + 1, told[-1] + 2]


def test_a_fork_ends_it_with_the_evidence_kept(log, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    reader = Reader(log)
    reader.rounds(1)
    before, told = log.note, list(reader.indices)
    log.note = signed(log.world, log.frontier.size, b"x" * 32)
    with pytest.raises(Refusal, match="ALARM") as refused:
        reader.rounds(1)
    assert refused.value.answer.exit == 1
    (kept,) = (tmp_path / "pyrsia" / "alarms").iterdir()
    found = json.loads(kept.read_text())
    assert (found["kept"].encode(), found["offered"].encode()) == (before, log.note)
    assert set(found) == {"kept", "offered", "said", "source", "why"}
    assert str(kept) in refused.value.do
    assert reader.indices == told


def test_without_a_pin_that_is_said_and_a_fork_is_found_all_the_same(log, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    reader = Reader(log, pinned=False)
    log.note = (
        signed(log.world, log.frontier.size, log.frontier.root(), signers=0) + "— x AAAAAAA=\n".encode()
    )
    reader.rounds(1)
    assert reader.indices[-1] == len(log.entries) - 1
    assert len(reader.warned) == 1
    assert "nobody's signatures" in reader.warned[0]
    other = SignedLog([b"another", *log.entries], log.world)
    reader.log, reader.loop._source = other, None
    with pytest.raises(Refusal, match="does not begin"):
        reader.rounds(1)


def test_with_a_pin_what_too_few_signed_is_not_read(log):
    reader = Reader(log)
    honest, log.note = log.note, signed(log.world, log.frontier.size, log.frontier.root(), signers=2)
    reader.rounds(2)
    assert (reader.rows, len(reader.warned)) == ([], 1)
    log.note = honest
    reader.rounds(1)
    assert reader.rows


def test_once_refuses_what_a_loop_would_wait_for(log):
    log.down = "nobody answers"
    with pytest.raises(Refusal) as refused:
        Reader(log).loop.once()
    assert refused.value.code == "unavailable"
    silent = Reader(log)
    with pytest.raises(Refusal):
        silent.loop.once()
    assert silent.warned == []  # the refusal says it
    log.down, log.note = None, b"garbage"
    with pytest.raises(Refusal) as refused:
        Reader(log).loop.once()
    assert refused.value.code == "proof-invalid"


def test_another_kind_of_log_is_read_too():
    log = SignedLog(numbered(300))
    reader = Reader(log, newest=3, pinned=False)
    reader.rounds(1)
    assert [(row.index, row.kind, row.time_ms) for row in reader.rows] == [
        (index, "unreadable", 0) for index in (297, 298, 299)
    ]


def test_an_unsigned_rule_reads_any_note_and_nothing_else(log):
    head = Unsigned().read(log.note)
    assert (head.checkpoint.size, head.signers, head.time_s) == (len(log.entries), (), None)
