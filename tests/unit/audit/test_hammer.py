"""Hammering a node of our own HTTP server over a real ledger: honest, and lying in every way that matters."""

import json
from contextlib import asynccontextmanager

import pytest
import trio

from pyrsia.audit import hammer
from pyrsia.audit.hammer import Hammer, Plan
from pyrsia.audit.lane import MAX_ANSWER_BYTES, Lane
from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.ledger import entries
from pyrsia.serve.desks.views import Inclusion, SubmitAck
from tests.unit.audit.signed import SignedLog, signed
from tests.unit.serve.toy import TOKEN, ToyNode, serving, toy_app


class Network(ToyNode):
    """A node whose facts go into a ledger at once; what it says of them is up to the test."""

    def __init__(self, folder):
        super().__init__(folder)
        self.log = SignedLog().follow()
        self.world = self.log.world
        self.where = {}
        self.lie = lambda ack: ack
        self.lose = self.refuse = 0
        self.resent = lambda ack: ack
        self.lags = lambda index: False
        self.lagged = 0

    def checkpoint(self):
        return self.log.note

    def genesis(self):
        return self.world.genesis.raw

    async def add_fact(self, kind, subject, text, fields):
        if self.refuse:
            self.refuse -= 1
            raise Refusal("busy", what="full", who="x", do="later")
        body = {"kind": kind, "subject": subject, "text": text, "valid_from": 1}
        raw = self.world.entry(self.world.follower, "fact.add", body)
        entry = entries.parse(raw)
        index = len(self.world.leaves)
        if self.lose:
            self.lose -= 1
            other = self.world.entry(self.world.follower, "fact.add", body)
            self.world.block(other)
        else:
            self.world.block(raw)
        self.log.follow()
        self.where[entry.id.hex()] = index
        return self.lie(SubmitAck(entry.id.hex(), "committed", index))

    async def prove(self, index):
        if self.lags(index):
            self.lagged += 1
            return None
        leaf = self.world.leaves[index].decode()
        return Inclusion(index, len(self.world.leaves), "00" * 32, "11" * 32, (), leaf)

    async def submit_entry(self, entry):
        entry_id = entries.parse(entry).id.hex()
        return self.resent(SubmitAck(entry_id, "duplicate", self.where[entry_id]))


@pytest.fixture
def net(tmp_path, monkeypatch):
    monkeypatch.setenv("PYRSIA_TOKEN", TOKEN)
    return Network(tmp_path)


async def hammered(net, goal=40, seconds=20.0, **plan):
    said = []
    plan = {"writers": 4, "readers": 2, "text_bytes": 60, "resend": 0.3, **plan}
    async with serving(toy_app(net)) as server:
        hammer = Hammer(
            Plan(goal, seconds, **plan),
            server.url,
            net.log,
            net.log.rule,
            lambda done, goal: said.append((done, goal)),
        )
        with trio.fail_after(30):
            return await hammer.run(), said


async def test_a_goal_that_is_reached_with_everything_verified_is_ok(net):
    report, said = await hammered(net)
    assert (report.ok, report.why) == (True, "")
    assert report.acknowledged == report.verified >= 40
    assert report.resent > 0
    assert report.verifications > 0
    assert (report.write_p50_ms, report.verify_p50_ms) > (0, 0)
    assert report.write_p99_ms >= report.write_p50_ms
    assert said == [(done, 40) for done in range(1, report.acknowledged + 1)]
    facts = [leaf for leaf in net.world.leaves if b'"type":"fact.add"' in leaf]
    assert len(facts) == report.acknowledged


async def test_a_goal_that_is_not_reached_in_time_fails_with_what_was_reached(net):
    report, _ = await hammered(net, goal=100_000, seconds=0.5)
    assert not report.ok
    assert f"{report.acknowledged} of 100000 entries" in report.why
    assert report.verified == report.acknowledged


async def test_a_busy_node_is_asked_again(net):
    net.refuse = 3
    report, _ = await hammered(net, goal=10)
    assert (report.ok, report.refused) == (True, 3)


def other_leaf(ack):
    return SubmitAck(ack.entry, ack.state, ack.index + 1)


def one_leaf_for_all(ack):
    return SubmitAck(ack.entry, ack.state, 2)


def far_away(ack):
    return SubmitAck(ack.entry, ack.state, 10**9 + ack.index)


@pytest.mark.parametrize(
    ("lie", "word"),
    [
        (other_leaf, "not the entry that was acknowledged"),
        (one_leaf_for_all, "for two entries"),
        (lambda ack: SubmitAck("zz" * 32, ack.state, ack.index), "no hex"),
        (far_away, "in no checkpoint"),
    ],
)
async def test_an_acknowledgement_that_is_not_true_fails(net, lie, word, monkeypatch):
    if lie is far_away:  # no checkpoint comes, however long one waits
        monkeypatch.setattr("pyrsia.audit.hammer.SETTLE_S", type("L", (), {"value": 1})())
    net.lie = lie
    report, _ = await hammered(net, goal=10, resend=0.0)
    assert not report.ok
    assert word in report.why


async def test_an_acknowledged_entry_that_is_not_in_the_log_fails(net):
    net.lose = 1
    report, _ = await hammered(net, goal=30, resend=0.0)
    assert not report.ok
    assert "not the entry that was acknowledged" in report.why


@pytest.mark.parametrize(
    "answer",
    [
        lambda ack: SubmitAck(ack.entry, "committed", ack.index),
        lambda ack: SubmitAck(ack.entry, "duplicate", ack.index + 1),
    ],
)
async def test_an_entry_sent_again_that_is_not_the_same_leaf_fails(net, answer):
    net.resent = answer
    report, _ = await hammered(net, goal=200, resend=0.5)
    assert not report.ok
    assert "sent again" in report.why


async def test_a_node_that_lags_behind_what_validators_proved_is_no_liar(net):
    """A follower acknowledges by a validator's proof, and has the leaf itself a moment later."""
    net.lags = lambda index: net.lagged < 20
    report, _ = await hammered(net, goal=100, resend=0.5)
    assert (report.ok, report.why) == (True, "")
    assert net.lagged
    assert report.resent


async def test_a_node_without_a_leaf_that_its_own_checkpoint_covers_fails(net, monkeypatch):
    monkeypatch.setattr("pyrsia.audit.hammer.HEAD_S", 0.01)
    net.lags = lambda index: True
    report, _ = await hammered(net, goal=100_000, resend=0.5)
    assert not report.ok
    assert "below the node's checkpoint" in report.why


def fork(log):
    """Another history, whole in itself."""
    other = SignedLog([b"another", *log.entries[1:]], log.world)
    log.entries, log.tiles, log.frontier, log.note = other.entries, other.tiles, other.frontier, other.note


def root_of_nothing(log):
    log.note = signed(log.world, log.frontier.size, b"x" * 32)


def never_again(log):
    size = log.frontier.size + 5
    log.note = signed(log.world, size, b"x" * 32)


def shrink(log):
    log.note = signed(log.world, 1, b"x" * 32)


def unsigned(log):
    log.note = signed(log.world, log.frontier.size, log.frontier.root(), signers=2)


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        (fork, ("forked", "the proof leads to")),  # who reads under the head of before may see it first
        (shrink, ("shrank",)),
        (unsigned, ("are needed",)),
        (root_of_nothing, ("other roots",)),
        (never_again, ("",)),
    ],
    ids=["fork", "shrink", "unsigned", "root of nothing", "never again"],
)
async def test_a_log_that_turns_fails(net, turn, words):
    honest = net.log.append

    def append(leaves):
        honest(leaves)
        if len(net.log.entries) > 30:
            turn(net.log)

    net.log.append = append
    report, _ = await hammered(net, goal=100_000, seconds=10)
    assert not report.ok
    assert any(word in report.why for word in words)
    assert "of 100000" not in report.why


async def test_who_may_not_write_is_told_so_at_once(net, monkeypatch):
    monkeypatch.setenv("PYRSIA_TOKEN", "wrong")
    async with serving(toy_app(net)) as server:
        hammer = Hammer(Plan(5, 20.0), server.url, net.log, net.log.rule, lambda done, goal: None)
        with pytest.raises(Refusal) as refused:
            await hammer.run()
    assert refused.value.code == "unauthenticated"


# -- the lane --


@asynccontextmanager
async def answering(*answers):
    """A server that reads one request a time and gives these bytes, then hangs up."""

    async def serve(stream):
        async with stream:
            for answer in answers:
                await stream.receive_some()
                await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}/prefix/"
        nursery.cancel_scope.cancel()


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


async def test_a_lane_keeps_its_connection_and_makes_a_new_one_when_it_must():
    async with answering(OK, OK) as url:
        lane = Lane(url)
        assert [await lane.ask("GET", "/a") for _ in range(2)] == [(200, b"hi")] * 2
        with pytest.raises(Unavailable):
            await lane.ask("GET", "/a")
        assert await lane.ask("POST", "/a", b"x") == (200, b"hi")
        await lane.close()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", Unavailable),
        (b"SSH-2.0-OpenSSH\r\n\r\n", Malformed),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhi", Unavailable),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_ANSWER_BYTES.value + 1), Malformed),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 3 * MAX_ANSWER_BYTES.value, Malformed),
    ],
)
async def test_an_answer_that_is_none_is_refused_by_its_kind(answer, kind):
    async with answering(answer) as url:
        lane = Lane(url)
        with pytest.raises(kind):
            await lane.ask("GET", "/")


async def test_the_token_of_a_data_directory_goes_to_the_nodes_address(net, tmp_path, monkeypatch):
    monkeypatch.delenv("PYRSIA_TOKEN")
    (tmp_path / "control.token").write_text(TOKEN)
    async with serving(toy_app(net)) as server:
        for token_of, status in (("", 401), (str(tmp_path), 200)):
            lane = Lane(server.url, token_of)
            fact = b'{"kind":"description","subject":"pkg:pypi/a","text":"x"}'
            assert (await lane.ask("POST", "/api/v1/facts", fact))[0] == status
            await lane.close()


async def test_nobody_there_is_said_so(tmp_path):
    with pytest.raises(Unavailable):
        await Lane(str(tmp_path)).ask("GET", "/")
    with pytest.raises(Refusal):
        Lane("http://")


def test_a_report_is_json(net):
    report = Hammer(Plan(1, 1.0), "x", net.log, net.log.rule, lambda a, b: None)._report("why", 1.0)
    assert (
        json.loads(json.dumps({name: getattr(report, name) for name in report.__struct_fields__}))["ok"]
        is False
    )


class Coming:
    """A log whose first checkpoint comes after some looks; until then the node says so."""

    def __init__(self, *errors):
        self.errors = list(errors)

    def checkpoint(self):
        if self.errors:
            raise self.errors.pop(0)
        return b"the note"


def test_the_first_checkpoint_is_waited_for_and_nothing_else(monkeypatch):
    passed = [0.0]
    monkeypatch.setattr(hammer.time, "monotonic", lambda: passed[0])
    monkeypatch.setattr(hammer.time, "sleep", lambda seconds: passed.__setitem__(0, passed[0] + seconds))
    soon = Refusal("unavailable", what="none yet", who="validators", do="wait")
    assert hammer.first_checkpoint(Coming(soon, Unavailable("no answer"), soon)) == b"the note"
    assert passed[0] == 3 * hammer.HEAD_S
    with pytest.raises(Refusal, match="none yet"):
        hammer.first_checkpoint(Coming(*[soon] * 1_000))
    assert passed[0] <= 2 * hammer.FIRST_S.value
    before = passed[0]
    with pytest.raises(Refusal, match="forbidden"):
        hammer.first_checkpoint(Coming(Refusal("forbidden", what="forbidden", who="you", do="ask"), soon))
    assert passed[0] == before
