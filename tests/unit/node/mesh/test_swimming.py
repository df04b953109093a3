"""Membership over real links: nodes that come, go, stand still, send garbage, and what an operator sees of them."""

import logging
import math
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import trio
import trio.testing

from pyrsia.errors import Malformed
from pyrsia.mesh.liveness import State
from pyrsia.mesh.scores import FAULT, Scores
from pyrsia.net.links import Links
from pyrsia.node.clock import wall_ms
from pyrsia.node.kinds import Kind
from pyrsia.node.mesh.loop_lag import LOOK_S, LoopLag
from pyrsia.node.mesh.parts import Mesh
from pyrsia.node.mesh.peering import MAX_WORST, Peering, _role
from pyrsia.node.mesh.rates import Rate, Rates
from pyrsia.node.mesh.refusing import LINES, Refusing
from pyrsia.node.mesh.swimming import Around, Seen, Swimming
from pyrsia.status import seen_in_words
from pyrsia.units import BAN_S, LINK_FAULTS, NodeId
from pyrsia.wire.membership import Ping, Statement, Tell, Word, encode
from pyrsia.wire.text import b32
from tests.reference.waiting import until
from tests.unit.net.nodes import CHAIN, pairs_by_id

PAIRS = pairs_by_id(4)


class Swimmer:
    """Links and membership; no log, no table."""

    def __init__(self, pair, members, ways):
        self.id = NodeId(pair.public)
        self.scores = Scores()
        self.mentioned = []
        self.changes = []
        self.links = Links(
            pair,
            CHAIN,
            control_addr="tcp://127.0.0.1:*",
            allow=lambda node: True,
            on_message=lambda *message: self.mesh.take(*message),
            methods={},
            name="n" + pair.public.hex()[:4],
            on_link=lambda node, up: self.mesh.linked(node, up),
            blame=lambda node, why: self.scores.note(trio.current_time(), node, FAULT, why),
        )
        around = Around(
            members=lambda: members,
            recorded=lambda: [],
            way=lambda node: ways.get(node, ""),
            mentioned=lambda node, by: self.mentioned.append((node, by)),
            log_size=lambda: 41,
        )
        self.part = Swimming(pair, CHAIN, self.links, self.scores, around)
        self.part.on_change.append(lambda node, state: self.changes.append((node, state)))
        self.mesh = Mesh([self.part])
        self.peering = Peering(
            me=self.id,
            links=self.links,
            scores=self.scores,
            members=tuple,
            member=lambda node: None,
            seen=self.part.seen,
            record=lambda node: None,
        )

    def row(self, node):
        return next(row for row in self.peering.rows() if row.node_id == b32(node))


@asynccontextmanager
async def swimmers(count, *, linked=True):
    """So many nodes that know each other; each dials those before it."""
    members, ways = [NodeId(pair.public) for pair in PAIRS[:count]], {}
    nodes = [Swimmer(pair, members, ways) for pair in PAIRS[:count]]
    async with trio.open_nursery() as nursery:
        for node in nodes:
            await nursery.start(node.links.run)
            nursery.start_soon(node.mesh.run)
        if linked:
            for at, node in enumerate(nodes):
                node.links.dial([(other.id, other.links.control_endpoint) for other in nodes[:at]])
            await until(lambda: all(len(node.links.linked()) == count - 1 for node in nodes))
        yield nodes, ways
        nursery.cancel_scope.cancel()


def see(node, others, state):
    return all(node.part.state(other.id) is state for other in others if other is not node)


async def test_linked_nodes_are_alive_and_tell_version_log_and_load():
    async with swimmers(3) as (nodes, _):
        await until(lambda: all(see(node, nodes, State.ALIVE) for node in nodes))
        ann, bob, _ = nodes
        await until(lambda: ann.part.seen(bob.id).vitals is not None)
        seen = ann.part.seen(bob.id)
        assert seen.vitals.log_size == 41
        assert seen.vitals.version
        assert 0 <= seen.vitals.load < 65_535
        assert (seen.gone_s, seen.suspected_by) == (-1.0, ())
        assert 0 <= seen.heard_s < 15
        assert ann.part.dead_since(bob.id, trio.current_time()) is None
        row = ann.row(bob.id)
        assert (row.state, row.role, row.connected, row.log_size) == ("alive", "guest", True, 41)
        assert row.refused_until_ms == 0
        assert "its dial" in row.known


async def test_a_node_that_says_goodbye_has_left_and_is_no_failure():
    async with swimmers(3) as (nodes, _):
        ann, bob, cid = nodes
        await until(lambda: all(see(node, nodes, State.ALIVE) for node in nodes))
        await cid.part.leave()
        await until(lambda: ann.part.state(cid.id) is bob.part.state(cid.id) is State.LEFT)
        assert (cid.id, State.DEAD) not in ann.changes
        assert ann.changes[-1] == (cid.id, State.LEFT)
        assert ann.part.dead_since(cid.id, trio.current_time()) >= 0


async def test_the_diary_calls_members_by_their_names_and_says_when_one_is_back(caplog):
    caplog.set_level(logging.INFO, "pyrsia.mesh")
    async with swimmers(3) as (nodes, _):
        ann, bob, cid = nodes
        await until(lambda: all(ann.part.core.contact(one.id) is not None for one in (bob, cid)))
        guests = {cid.id}
        ann.part._around = replace(
            ann.part._around, called=lambda node: "birch", member=lambda node: node not in guests
        )
        for node in (bob.id, cid.id):
            for state in (State.SUSPECT, State.DEAD, State.ALIVE, State.ALIVE, State.LEFT, State.ALIVE):
                ann.part._tell(node, state)
        assert [one.getMessage() for one in caplog.records if "birch" in one.getMessage()] == [
            "birch does not answer any more", "birch is back", "birch said goodbye", "birch is back",
        ]  # fmt: skip
        ann.part._missed = {NodeId(b"f" * 32), bob.id}
        ann.part._follow(trio.current_time())
        assert ann.part._missed == {bob.id}


async def test_a_node_without_a_link_is_probed_by_one_that_is_made_for_it():
    async with swimmers(2, linked=False) as ((ann, bob), ways):
        assert ann.part.state(bob.id) is State.UNKNOWN
        ways[bob.id] = bob.links.control_endpoint  # discovery has its record now
        await until(lambda: ann.part.state(bob.id) is State.ALIVE)
        await until(lambda: ann.part.seen(bob.id).rtt_ms >= 0)
        assert bob.part.state(ann.id) is State.ALIVE


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        (b"", "membership: no message"),
        (b"\x63" * 40, "membership: no message"),
        (encode(Ping(1, ()))[:-1], "membership: cut short"),
        (encode(Ping(1, ())) + b"\0", "membership: bytes left over"),
        (b"\x01" + b"\0" * 30_000, "membership: longer than any message"),
    ],
    ids=["empty", "unknown", "short", "long", "oversize"],
)
async def test_garbage_costs_its_sender_points_with_a_reason_that_the_operator_sees(garbage, reason):
    async with swimmers(2) as ((ann, bob), _):
        bob.links.send(ann.id, Kind.SWIM, garbage)
        await until(lambda: ann.scores.reason(bob.id) != "")
        row = ann.row(bob.id)
        assert row.score == pytest.approx(FAULT, abs=0.2)
        assert row.reason.startswith(reason)
        assert list(row.faults.values()) == [1]
        assert ann.links.connected(bob.id)


async def test_who_was_refused_for_its_garbage_is_shown_with_score_reason_and_until_when_and_told_once(
    caplog,
):
    """Its link is gone, and it is nobody to the log: all the same it is whom the operator looks for."""
    async with swimmers(2) as ((ann, bob), _):
        refusing = Refusing(ann.scores, lambda node: b32(node)[:8], lambda node: False)
        ann.links.on_refused = refusing.on_refused
        began_ms = wall_ms()
        for _ in range(2 * LINK_FAULTS.value):
            bob.links.send(ann.id, Kind.SWIM, b"\x63" * 40)
        await until(lambda: not ann.links.connected(bob.id))
        row = ann.row(bob.id)
        assert (row.role, row.connected, row.score < -100) == ("guest", False, True)
        assert list(row.faults.values()) == [LINK_FAULTS.value]
        assert 0 < row.refused_until_ms - began_ms <= BAN_S.value * 1000 + 15_000
        assert seen_in_words(row.state, False, row.refused_until_ms).startswith("refused until ")
        lines = [one.getMessage() for one in caplog.records if "gets no connection" in one.getMessage()]
        assert lines == [f"guest {b32(bob.id)[:8]} gets no connection for 60 s: {row.reason}"]


async def test_a_crowd_that_has_itself_refused_fills_no_diary_and_no_table(caplog, autojump_clock):
    book = Scores()
    refusing = Refusing(book, lambda node: b32(node)[:8], lambda node: node[0] == 7)
    crowd = [NodeId(number.to_bytes(32, "big")) for number in range(1_000)]
    for node in crowd:
        book.note(trio.current_time(), node, FAULT, "garbage")
        refusing.on_refused(node, "faults")
    assert len(caplog.records) == LINES.value
    await trio.sleep(31)
    refusing.on_refused(NodeId(b"\x07" * 32), "evidence")
    assert caplog.records[-1].getMessage() == (
        f"member {b32(bytes([7] * 32))[:8]} gets no connection for 60 s: evidence"
        f" (and {1_000 - LINES.value} more nodes before it)"
    )
    links = SimpleNamespace(peers=list, refused_s=lambda node: 0.0)
    seen = Seen(State.UNKNOWN, -1.0, -1.0, -1.0, Rate(), None, ())
    shown = Peering(
        me=NodeId(b"m" * 32), links=links, scores=book, members=tuple, member=lambda node: None,
        seen=lambda node: seen, record=lambda node: None,
    )  # fmt: skip
    assert len(shown.rows()) == MAX_WORST.value


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        ((), "member"),
        (("storage",), "storage"),
        (("storage", "builder", "validator"), "validator+builder+storage"),
        (("witness", "issuer"), "issuer+witness"),
    ],
)
def test_roles_are_told_as_the_log_has_them(roles, said):
    assert _role({"roles": roles}) == said
    assert _role(None) == "guest"


async def test_a_false_signature_and_a_flood_cost_points_too_and_one_is_ignored_in_the_end():
    async with swimmers(2) as ((ann, bob), _):
        await until(lambda: ann.part.state(bob.id) is State.ALIVE)
        await until(lambda: ann.part.core.beliefs.incarnation(bob.id) > 0)
        now = ann.part.core.beliefs.incarnation(bob.id)
        forged = Statement(Word.ALIVE, bob.id, now + 1, bob.id, bytes(64))
        for _ in range(2):
            await until(lambda: ann.part.core.beliefs.matters(trio.current_time(), forged))
            bob.links.send(ann.id, Kind.SWIM, encode(Tell((forged,))))
        await until(lambda: ann.row(bob.id).ignored)
        row = ann.row(bob.id)
        assert row.faults == {"passed on a statement with a false signature": 2}
        for number in range(300):
            bob.links.send(ann.id, Kind.SWIM, encode(Ping(number, ())))
        await until(lambda: "more membership messages than a node has to say" in ann.row(bob.id).faults)
        assert ann.row(bob.id).state == "alive"  # that it lives is seen all the same
        assert ann.part.core.beliefs.incarnation(bob.id) == now


async def test_a_message_of_a_node_that_nobody_knows_only_asks_discovery():
    async with swimmers(2) as ((ann, bob), _):
        await until(lambda: ann.part.core.beliefs.incarnation(bob.id) > 0)
        stranger = NodeId(PAIRS[3].public)
        word = Statement(Word.ALIVE, stranger, 1, stranger, bytes(64))
        bob.links.send(ann.id, Kind.SWIM, encode(Tell((word,))))
        await until(lambda: ann.mentioned == [(stranger, bob.id)])
        assert ann.part.state(stranger) is State.UNKNOWN
        assert ann.part.dead_since(stranger, trio.current_time()) is None


async def test_what_waits_for_a_link_is_bounded(monkeypatch):
    async with swimmers(2, linked=False) as ((ann, _), ways):
        monkeypatch.setattr(ann.links, "dial", lambda addresses, **_: None)
        for number in range(400):
            node = NodeId(number.to_bytes(32, "big"))
            ways[node] = "tcp://127.0.0.1:9"
            for _ in range(9):
                ann.part._send(node, b"x")
        assert len(ann.part._held) == 256
        assert {len(held) for held in ann.part._held.values()} == {4}


def test_a_part_takes_garbage_as_malformed_and_nothing_else():
    class Idle:
        node = NodeId(PAIRS[0].public)

        def connected(self, node):
            return False

        def heard_s(self, node):
            return -math.inf

    async def main():
        around = Around(list, list, lambda node: "", lambda node, by: None, lambda: 0)
        part = Swimming(PAIRS[0], CHAIN, Idle(), Scores(), around)
        outcomes = Counter()
        for length in range(200):
            try:
                part._receive(NodeId(PAIRS[1].public), bytes(range(1, 1 + min(length, 200))))
                outcomes["taken"] += 1
            except Malformed:
                outcomes["malformed"] += 1
        return outcomes

    assert trio.run(main)["malformed"] > 100


# -- lag and rates --


async def test_the_lag_is_the_worst_of_the_last_seconds(autojump_clock):
    told = []
    lag = LoopLag(told.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lag.run)
        await trio.sleep(10 * LOOK_S + 0.01)
        assert (lag.worst_s, set(told)) == (0.0, {0.0})
        autojump_clock.jump(1.0)
        await trio.sleep(2 * LOOK_S)
        assert 0.7 < lag.worst_s < 1.0
        await trio.sleep(4.0)
        assert lag.worst_s > 0.7
        await trio.sleep(3.0)
        assert lag.worst_s == 0.0
        nursery.cancel_scope.cancel()


def test_rates_are_of_the_window_and_a_new_link_begins_anew():
    ann, bob = (NodeId(pair.public) for pair in PAIRS[:2])
    rates = Rates()
    assert rates.of(ann) == Rate()
    for at in range(0, 40, 2):
        rates.sample(float(at), {ann: (at * 100, at * 10)})
    assert rates.of(ann) == Rate(100.0, 10.0)
    rates.sample(40.0, {ann: (50, 5), bob: (1, 1)})
    assert rates.of(ann) == rates.of(bob) == Rate()
    rates.sample(42.0, {ann: (250, 5)})
    assert rates.of(ann) == Rate(100.0, 0.0)
    assert rates.of(bob) == Rate()


async def test_a_bug_in_a_timer_of_membership_ends_no_node(monkeypatch, caplog):
    """As "math domain error" did, which a crowd of guests brought about."""
    monkeypatch.setattr("pyrsia.node.mesh.swimming.CRASHED_S", 0.05)
    async with swimmers(2) as (nodes, _):
        ann, bob = nodes
        await until(lambda: see(ann, nodes, State.ALIVE))
        failed, good = [], ann.part.core.on_timer

        def fails(now):
            failed.append(now)
            ann.part.core.on_timer = good if len(failed) > 2 else fails
            raise ValueError("math domain error")

        ann.part.core.on_timer = fails
        await until(lambda: len(failed) > 2)
        ann.part.core.on_forgotten([bob.id])
        await until(lambda: see(ann, nodes, State.ALIVE))  # followed again, and heard
    assert [one.getMessage() for one in caplog.records].count(
        "who is there is not looked after: a fault of ours"
    ) == 1
