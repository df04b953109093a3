"""Discovery on real links in one process: a newcomer among fifty nodes, dial-back, disk, HTTP, names, the cable."""

import itertools
import random
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
import trio

from pyrsia import keys
from pyrsia.config import NetSection
from pyrsia.errors import Refusal, Unavailable
from pyrsia.keys import KeyPair
from pyrsia.mesh import scopes
from pyrsia.mesh.scores import Scores
from pyrsia.net import beacon as cables
from pyrsia.net import bootstrap
from pyrsia.net.links import Links
from pyrsia.node.kinds import Method
from pyrsia.node.mesh import discovering, saved
from pyrsia.node.mesh.desk import make_desk
from pyrsia.node.mesh.discovering import Discovering, Log
from pyrsia.serve.desks.messages import MessageOrder
from pyrsia.store import layout
from pyrsia.units import RECORD_LIFE_MS, NodeId
from pyrsia.wire import backs, beacons, records
from pyrsia.wire.text import b32
from tests.reference.waiting import unhindered_s, until

CHAIN = b"c" * 32


def reach_at(ports):
    return discovering.Reach("127.0.0.1", ports, draw=random.Random(0), within=lambda host: True)


class Rows:
    """What discovery needs of the database."""

    def __init__(self):
        self.rows = {}

    def get(self, family, key):
        return self.rows.get((family, key))

    def scan(self, family, start, limit, *, before=None):
        found = sorted((key, value) for (name, key), value in self.rows.items() if name == family)
        return [one for one in found if start <= one[0] and (before is None or one[0] < before)][:limit]

    def write(self, batch):
        for family, key, value in batch:
            if value is None:
                self.rows.pop((family, key), None)
            else:
                self.rows[family, key] = value


class Node:
    """Links and discovery of one node, without a log."""

    def __init__(self, number, *, fixed=(), members=(), left=(), rows=None, host="127.0.0.1", **net):
        self.pair = KeyPair(number.to_bytes(32, "big"))
        self.id = NodeId(self.pair.public)
        self.links = Links(
            self.pair,
            CHAIN,
            control_addr="tcp://127.0.0.1:*",
            allow=lambda node: node in members,
            guest=lambda node: True,
            guests=192,
            on_message=lambda *message: None,
            methods={},
            on_link=lambda node, up: self.discovering.linked(node, up),
        )
        self.links.open()
        self.scores, self.rows = Scores(), rows or Rows()
        self.discovering = Discovering(
            self.pair,
            CHAIN,
            NetSection(host=host, **net),
            name=lambda: f"node {number}",
            links=self.links,
            database=self.rows,
            scores=self.scores,
            log=Log(
                head=lambda: (number, bytes(32)),
                member=lambda node: node in members,
                left=lambda node: node in left,
                members=lambda: len(members),
                needed=lambda: (),
            ),
            fixed=dict(fixed),
            ours=scopes.scopes_of(["127.0.0.1"]),
        )
        self.links.answer(self.discovering.methods)
        self.links.dial(fixed)

    @property
    def at(self):
        return self.id, self.links.control_endpoint

    @property
    def known(self):
        return len(self.discovering.table)

    async def run(self, task_status=trio.TASK_STATUS_IGNORED):
        async with trio.open_nursery() as nursery:
            await nursery.start(self.links.run)
            nursery.start_soon(self.discovering.run)
            task_status.started()


class Few:
    """Nodes that are closed whatever happens."""

    def __init__(self):
        self.nodes = []
        self.numbers = itertools.count(1)

    def node(self, **more):
        made = Node(next(self.numbers), **more)
        self.nodes.append(made)
        return made


@pytest.fixture
async def few() -> AsyncIterator[Few]:
    made = Few()
    yield made
    for node in made.nodes:
        node.links.close()


async def linked(one, two):
    """Both ends: one of them knows of a new link before the other does."""
    await until(lambda: one.links.connected(two.id) and two.links.connected(one.id))


async def test_a_newcomer_to_fifty_nodes_knows_all_of_them_within_five_seconds(few):
    """The fifty have some links each; the newcomer is told of one of them."""
    async with trio.open_nursery() as nursery:
        crowd = [few.node()]
        for number in range(1, 50):
            crowd.append(few.node(fixed=[crowd[number * 7 % number].at]))
        for node in crowd:
            await nursery.start(node.run)
        await until(lambda: all(node.known == 49 for node in crowd))

        newcomer = few.node(fixed=[crowd[17].at])
        await nursery.start(newcomer.run)
        began_s = unhindered_s()
        await until(lambda: newcomer.known == 50)
        assert unhindered_s() - began_s < 5
        told = {record.node: record.control for record in newcomer.discovering.table.records()}
        assert told == {node.id: node.links.control_endpoint for node in crowd}
        await until(lambda: len(newcomer.links.linked()) >= 8)
        assert not any(node.scores.of(trio.current_time(), other.id) < 0 for node in crowd for other in crowd)
        nursery.cancel_scope.cancel()


async def test_members_of_a_small_network_all_come_to_have_links_and_who_left_loses_them(few):
    members, left = set(), set()
    async with trio.open_nursery() as nursery:
        first = few.node(members=members, left=left)
        others = [few.node(members=members, left=left, fixed=[first.at]) for _ in range(4)]
        members |= {node.id for node in (first, *others)}
        for node in (first, *others):
            await nursery.start(node.run)
        await until(lambda: all(len(node.links.linked()) == 4 for node in (first, *others)))
        gone = max(others, key=lambda node: node.id)
        members.discard(gone.id)
        left.add(gone.id)
        by_choice = [node for node in (first, *others) if node.links.dials(gone.id)]
        await until(lambda: not any(node.links.dials(gone.id) for node in by_choice))
        assert len(by_choice) + sum(gone.links.dials(node.id) for node in (first, *others)) >= 4
        nursery.cancel_scope.cancel()


async def test_who_listens_everywhere_advertises_where_it_was_reached_and_who_was_not_reached_nothing(
    few, monkeypatch
):
    anywhere = "0.0.0.0"  # noqa: S104 (told to discovery; the links listen on loopback)
    async with trio.open_nursery() as nursery:
        first = few.node()
        await nursery.start(first.run)
        seen, walled = few.node(fixed=[first.at], host=anywhere), few.node(fixed=[first.at], host=anywhere)
        monkeypatch.setattr(walled.discovering, "_ports", lambda: (1, 1, 1))  # nothing answers there
        for node in (seen, walled):
            await nursery.start(node.run)
        await until(lambda: seen.discovering.record.control == seen.links.control_endpoint)
        await until(lambda: first.discovering.table.address(seen.id) == seen.links.control_endpoint)
        await until(lambda: walled.discovering._reach is not None and walled.discovering._reach._words)
        await until(lambda: walled.id in first.discovering.table)
        assert walled.discovering.record.control == first.discovering.table.address(walled.id) == ""
        await until(lambda: walled.links._hidden)
        assert not seen.links._hidden
        nursery.cancel_scope.cancel()


async def test_who_is_configured_by_name_opens_the_scope_where_it_answered_and_not_all_that_the_name_means(
    few, monkeypatch
):
    asked, opened = [], []
    monkeypatch.setattr("pyrsia.net.names.resolve", lambda host: asked.append(host))
    first = few.node()
    node, other = (first.id, first.links.control_endpoint.replace("127.0.0.1", "localhost")), few.node()
    named = few.node(fixed=[node, other.at])
    monkeypatch.setattr(named.discovering._core.outbound, "widen", opened.append)
    async with trio.open_nursery() as nursery:
        for one in (first, other, named):
            await nursery.start(one.run)
        await until(lambda: len(named.links.linked()) == 2)
        assert (named.links.reached(first.id), first.links.reached(named.id)) == ("127.0.0.1", "")
        nursery.cancel_scope.cancel()
    assert (opened, asked) == (["127.0.0.1"], [])


async def test_a_dial_back_goes_where_the_link_comes_from_and_not_on_and_on(few):
    async with trio.open_nursery() as nursery:
        first = few.node()
        second = few.node(fixed=[first.at])
        for node in (first, second):
            await nursery.start(node.run)
        await linked(first, second)
        dialled = []
        first.links.answers_at = _noted(dialled)
        ports = backs.encode_ports((7, 8, 0))
        answer = await second.links.request(first.id, Method.DIAL_BACK, ports, 10)
        assert backs.decode_reached(answer) == (True, True, False)
        assert dialled == [(second.id, "tcp://127.0.0.1:7"), (second.id, "tcp://127.0.0.1:8")]
        await second.links.request(first.id, Method.DIAL_BACK, ports, 10)
        with pytest.raises(Refusal, match="too often"):
            await second.links.request(first.id, Method.DIAL_BACK, ports, 10)
        with pytest.raises(Refusal, match="dialled you"):
            await first.links.request(second.id, Method.DIAL_BACK, ports, 10)
        for bad in (b"", bytes(6), bytes(7)):
            with pytest.raises(Unavailable):
                await second.links.request(first.id, Method.DIAL_BACK, bad, 10)
        assert first.links.counted["bad-dial-back"] >= 3
        nursery.cancel_scope.cancel()


def _noted(dialled):
    async def answers_at(node, address):
        dialled.append((node, address))
        return True

    return answers_at


async def test_garbage_for_records_costs_its_sender_and_gives_nothing(few):
    async with trio.open_nursery() as nursery:
        first = few.node()
        second = few.node(fixed=[first.at])
        for node in (first, second):
            await nursery.start(node.run)
        await linked(first, second)
        for bad in (b"", bytes([33]), b"\1\0\5abc", bytes(40_000)):
            with pytest.raises(Unavailable):
                await second.links.request(first.id, Method.RECORDS, bad, 10)
        forged = bytearray(second.discovering._raw)
        forged[-1] ^= 1
        await second.links.request(first.id, Method.RECORDS, records.encode_asked([bytes(forged)], ()), 10)
        await until(lambda: first.scores.of(trio.current_time(), second.id) < 0)
        assert first.scores.reason(second.id).startswith("record-unsigned")
        assert first.links.counted["bad-records"] >= 4
        nursery.cancel_scope.cancel()


async def test_peers_are_found_again_after_a_restart_without_any_configuration(few):
    async with trio.open_nursery() as nursery:
        first = few.node()
        second = few.node(fixed=[first.at])
        await nursery.start(first.run)
        async with trio.open_nursery() as life:
            await life.start(second.run)
            await until(lambda: any(key.startswith(b"record/") for _, key in second.rows.rows))
            life.cancel_scope.cancel()
        seq = second.discovering.record.seq
        number = int.from_bytes(second.pair.seed, "big")
        again = Node(number, rows=second.rows)
        few.nodes.append(again)
        await nursery.start(again.run)
        await linked(again, first)
        await until(lambda: again.discovering.record is not None)
        assert again.discovering.record.seq > seq
        assert not again.links.peers()[0].address.endswith(":0")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "address", ["tcp://10.0.0.1:22", "tcp://169.254.169.254:80", "tcp://evil.example:22"]
)
async def test_a_message_leads_to_no_address_outside_our_scopes(few, monkeypatch, address):
    node, pair, now_ms = few.node(), KeyPair(bytes([77]) * 32), discovering._now_ms()
    record = records.Record(NodeId(pair.public), CHAIN, 1, now_ms, now_ms + RECORD_LIFE_MS.value, 0, bytes(32),
                            "eve", "", address, "", "")  # fmt: skip
    raw = records.encode(record, pair.sign(records.to_sign(record)))
    node.discovering.table.take(now_ms, raw, record.node)
    house = SimpleNamespace(
        archive=SimpleNamespace(state=lambda key: None),
        keys=SimpleNamespace(node=node.pair),
        genesis=SimpleNamespace(chain_id=CHAIN),
        database=node.rows,
        settings=SimpleNamespace(messages=SimpleNamespace(accept="anyone")),
    )
    node.rows.sync = trio.lowlevel.checkpoint
    desk = make_desk(house, node.links, node.scores, validators=lambda: (), discovering=node.discovering)
    dialled = []
    monkeypatch.setattr(node.links, "dial", lambda targets, **how: dialled.extend(targets))
    with pytest.raises(Refusal) as told:
        await desk.send(MessageOrder(b32(record.node), "hello"))
    assert told.value.code == "unavailable"
    assert (node.discovering.table.address(record.node), dialled) == (address, [])


async def test_who_comes_from_a_relay_on_this_machine_has_no_port_of_it_dialled(few):
    async with trio.open_nursery() as nursery:
        first = few.node()
        second = few.node(fixed=[first.at])
        for node in (first, second):
            await nursery.start(node.run)
        await linked(first, second)
        dialled = []
        first.links.answers_at = _noted(dialled)
        first.discovering._core.outbound._ours = frozenset({scopes.Scope.GLOBAL})
        with pytest.raises(Refusal, match="behind a relay"):
            await second.links.request(first.id, Method.DIAL_BACK, backs.encode_ports((6379, 80, 22)), 10)
        assert dialled == []
        nursery.cancel_scope.cancel()


async def test_a_clock_that_was_set_back_makes_no_older_record(few, monkeypatch):
    node = few.node()
    node.discovering._reach = reach_at((1, 0, 0))
    now_ms = discovering._now_ms()
    node.discovering._renew(0.0, now_ms)
    again = Node(int.from_bytes(node.pair.seed, "big"), rows=node.rows)
    few.nodes.append(again)
    again.discovering._reach = reach_at((1, 0, 0))
    again.discovering._renew(0.0, now_ms - 60_000)
    assert again.discovering.record.seq == node.discovering.record.seq + 1


async def test_rubbish_and_too_many_rows_on_the_disk_are_no_reason_not_to_start(few, monkeypatch):
    monkeypatch.setattr(saved, "MAX_SAVED", saved.Limit(2, "few"))
    node = few.node()
    now_ms = discovering._now_ms()
    for number in range(200, 205):
        pair = KeyPair(number.to_bytes(32, "big"))
        record = records.Record(NodeId(pair.public), CHAIN, 1, now_ms + number, now_ms + RECORD_LIFE_MS.value, 0,
                                bytes(32), "n", "", "tcp://127.0.0.1:1", "", "")  # fmt: skip
        raw = records.encode(record, pair.sign(records.to_sign(record)))
        node.rows.rows[layout.PEERS, b"record/" + pair.public] = raw
    node.rows.rows[layout.PEERS, b"record/" + bytes(32)] = b"rubbish"
    node.rows.rows[layout.PEERS, b"own"] = b"rubbish"
    node.rows.rows[layout.PEERS, b"z"] = b"another part's"
    kept = saved.Saved(node.rows)
    assert len(kept.load()) == 2
    assert node.rows.get(layout.PEERS, b"z") == b"another part's"
    assert kept.own_seq(now_ms) == 0
    for number in range(10):  # and in a life that meets many
        kept.keep(NodeId(bytes([number]) * 32), raw)
    assert len([key for _, key in node.rows.rows if key.startswith(b"record/")]) <= 4


async def test_the_http_port_of_any_node_gives_records_to_who_knows_nobody(few, monkeypatch):
    async with trio.open_nursery() as nursery:
        crowd = [few.node()]
        crowd += [few.node(fixed=[crowd[0].at]) for _ in range(3)]
        for node in crowd:
            await nursery.start(node.run)
        await until(lambda: crowd[0].known == 3)
        asked = []

        async def fetch(url):
            asked.append(url)
            return crowd[0].discovering.given() if "good" in url else [b"a lie"]

        monkeypatch.setattr(bootstrap, "fetch", fetch)
        newcomer = few.node(bootstrap=("http://evil", "http://good"))
        await nursery.start(newcomer.run)
        await until(lambda: newcomer.known == 4 and len(newcomer.links.linked()) >= 3)
        nursery.cancel_scope.cancel()
    assert asked[:2] == ["http://evil", "http://good"]


async def test_a_beacon_is_heard_on_the_cable_and_what_is_none_is_not(few, monkeypatch):
    """Broadcast on loopback: both ends hear the address."""
    monkeypatch.setattr(cables, "EVERY_S", 0.2)
    port = _free_port()
    cable = f"127.255.255.255:{port}"
    async with trio.open_nursery() as nursery:
        one, two = few.node(lan=cable), few.node(lan=cable)
        for node in (one, two):
            await nursery.start(node.run)
        await until(lambda: one.links.connected(two.id) and one.known and two.known)
        assert {one.discovering.table.record(two.id).name, two.discovering.table.record(one.id).name} == {
            "node 1",
            "node 2",
        }
        nursery.cancel_scope.cancel()


def _free_port():
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


async def test_beacons_that_are_old_forged_or_of_another_network_lead_to_no_dial(few, monkeypatch):
    monkeypatch.setattr(cables, "on_cable", lambda host: host != "10.9.9.9")
    node, other = few.node(), few.node()
    heard = node.discovering.cable("127.255.255.255:9")._hear
    other.discovering._reach = reach_at((7, 0, 0))
    now_ms = int(time.time() * 1000)
    other.discovering._renew(0.0, now_ms)
    raw = other.discovering._raw

    def beacon(pair=other.pair, at_ms=now_ms, raw=raw, port=7):
        return beacons.encode(port, at_ms, raw, pair.sign(beacons.to_sign(port, at_ms, raw)))

    record, _ = records.decode(raw)
    foreign = discovering.Record(
        **{name: getattr(record, name) for name in record.__slots__} | {"net": b"d" * 32}
    )
    foreign_raw = records.encode(foreign, other.pair.sign(records.to_sign(foreign)))
    for bad in (
        b"",
        b"pyrsia-1",
        beacon()[:-1],
        beacon(pair=node.pair),
        beacon(at_ms=now_ms - 70_000),
        beacon(at_ms=now_ms + 70_000),
        beacon(raw=foreign_raw),
    ):
        heard(bad, "10.0.0.7")
    assert (node.known, len(node.discovering._core.outbound._hints)) == (0, 0)
    for forged in ("169.254.169.254", "10.9.9.9", "0.0.0.0"):  # noqa: S104 (what a datagram says of its sender)
        heard(beacon(), forged)
    assert (node.known, len(node.discovering._core.outbound._hints)) == (1, 0)
    heard(beacon(), "10.0.0.7")
    assert node.known == 1
    assert node.discovering._core.outbound._hints[other.id] == ("tcp://10.0.0.7:7", True)
    assert scopes.scope_of("10.0.0.7") is scopes.Scope.PRIVATE
    assert keys.verify(other.id, records.to_sign(record), records.decode(raw)[1])


async def test_a_bug_that_an_answer_or_a_timer_finds_ends_one_question_and_no_node(few, caplog):
    one = few.node()
    two = few.node(fixed=[one.at])
    core, failed = two.discovering._core, []

    def fails_once(name):
        good = getattr(core, name)

        def fails(*given):
            failed.append(name)
            setattr(core, name, good)
            raise KeyError("a node that was forgotten")

        setattr(core, name, fails)

    fails_once("on_answer")
    fails_once("on_timer")
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await nursery.start(two.run)
        await until(lambda: len(failed) == 2)
        await until(lambda: one.id in two.discovering.table)
        nursery.cancel_scope.cancel()
    lines = [record.getMessage() for record in caplog.records]
    assert lines.count("nodes are not looked for: a fault of ours") == 1
