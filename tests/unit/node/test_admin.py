"""A node's face: snapshots out of its parts, and requests that are checked before they become entries."""

import json
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import pytest
import trio

from pyrsia.config import Config
from pyrsia.errors import Refusal, Unavailable
from pyrsia.ledger import entries, views
from pyrsia.log.tree import verify_inclusion
from pyrsia.mesh.liveness import State
from pyrsia.mesh.scores import LIE, Scores
from pyrsia.net.links import PeerLink
from pyrsia.node.admin import FACT_KINDS, Admin
from pyrsia.node.log.acknowledging import Acknowledgements
from pyrsia.node.log.batch import Batches
from pyrsia.node.log.proofs import Proofs
from pyrsia.node.log.submission import Submitter, Waiters
from pyrsia.node.mesh.peering import Peering
from pyrsia.node.mesh.rates import Rate
from pyrsia.node.mesh.swimming import Seen
from pyrsia.node.packages.catalog import Catalog
from pyrsia.serve.desks.providing import WithdrawalOrder
from pyrsia.status import AgreementStatus
from pyrsia.wire.membership import Vitals
from pyrsia.wire.text import b32
from tests.reference.parts import Kept, ring
from tests.reference.story import Story

AGREEMENT = AgreementStatus(1, 9, "votes", "amber", 4, 3)


async def one_by_one(_):
    """Validators that know no batches."""


class Links:
    control_address = "tcp://127.0.0.1:1"

    def __init__(self):
        self.connected, self.fails, self.asked = [], None, []

    def peers(self):
        return [
            PeerLink(node, "n", "tcp://x:1", "", True, False, 1.234, 10, 20, 30) for node in self.connected
        ]

    def refused_s(self, node):
        return 0.0

    async def request(self, node, method, payload, deadline_s):
        self.asked.append(node)
        if self.fails:
            raise self.fails
        return b""


async def no_bundle(sha256):
    return None


class Requests:
    note = "planning idna"


class Node:
    """An `Admin` over one story's archive; what it submits goes into that ledger."""

    def __init__(self, folder, *, requests=True, builder=None):
        self.story = Story(world=Kept(folder), dissenter=True)
        world = self.world = self.story.world
        self.links, self.waiters, self.refuse = Links(), Waiters(), None
        self.scores = Scores()
        self.seen = Seen(State.ALIVE, -1.0, 0.5, -1.0, Rate(), None, ())
        self.stale = "the log's head is 2 days old, 10 minutes at most"
        keys = ring(4)
        shelf = SimpleNamespace(
            counters=SimpleNamespace(
                chunks_received=1, bytes_received=2, chunks_sent=3, bytes_sent=4, received_from={b"n" * 32: 2}
            )
        )
        submitter = Submitter(
            keys,
            world.genesis,
            request=self.request,
            validators=lambda: [one.node for one in world.genesis.validators],
            leaf_of=world.archive.leaf_of,
            waiters=self.waiters,
            local=None,
            now_ms=lambda: world.time,
        )
        proofs = Proofs(world.archive)
        self.admin = Admin(
            genesis=world.genesis,
            config=Config(),
            node_id=keys.node_id,
            role=lambda: "follower",
            isolation="none",
            archive=world.archive,
            cosigning=SimpleNamespace(cosigned=(7, 100, 3), notices=["ALARM"]),
            links=self.links,
            peer_rows=Peering(
                me=keys.node_id,
                links=self.links,
                scores=self.scores,
                members=lambda: views.members(world.archive.state),
                member=lambda node: views.member(world.archive.state, node),
                seen=lambda node: self.seen,
                record=lambda node: None,
            ).rows,
            catalog=Catalog(world.archive, shelf, proofs, no_bundle),
            proofs=proofs,
            explaining=SimpleNamespace(),  # tests of its own
            shelf=shelf,
            submitter=submitter,
            membership=SimpleNamespace(),  # tests of their own
            governing=SimpleNamespace(),
            batches=Batches(
                take=lambda raw: None,
                orders=lambda: False,
                waiters=self.waiters,
                leaf_of=world.archive.leaf_of,
                one_by_one=submitter.submit_entry,
                hand=one_by_one,
            ),
            acknowledge=Acknowledgements(world.archive).of,
            acknowledge_all=Acknowledgements(world.archive).many,
            requests=Requests() if requests else None,
            builder=builder,
            desk=SimpleNamespace(),  # tests of its own
            tokens=SimpleNamespace(),
            messages=SimpleNamespace(),  # tests of its own
            storage=SimpleNamespace(),
            copies=SimpleNamespace(),
            knowledge=None,
            provider=None,
            judge=SimpleNamespace(stale=lambda: self.stale),
            http=lambda: "http://127.0.0.1:1",
            notices=["stopped voting: rotate the key"],
            stopped=[],
            started_s=trio.current_time(),
            agreement=lambda: AGREEMENT,
        )

    async def request(self, node, method, raw, deadline_s):
        if self.refuse:
            raise self.refuse
        self.world.block(raw)
        self.waiters.settled([entries.parse(raw).id])
        await trio.lowlevel.checkpoint()
        return b""


@pytest.fixture
async def node(tmp_path):
    made = Node(tmp_path)
    yield made
    made.world.close()


async def test_the_status_tells_the_log_the_peers_and_what_went_wrong(node):
    node.links.connected = [node.world.genesis.members[0].node]
    told = await node.admin.status()
    head = node.world.chain.head()
    assert (told.node_id, told.role, told.network, told.demo) == (
        b32(ring(4).node_id),
        "follower",
        "test",
        False,
    )
    assert (told.log.size, told.log.root, told.log.height) == (
        node.story.size,
        head.tree_root.hex(),
        head.height,
    )
    assert (told.log.checkpoint_size, told.log.cosigned, told.log.validators) == (7, 3, 4)
    assert (told.peers, told.peer_count_expected) == (1, 4)
    assert told.notices == ("stopped voting: rotate the key", "ALARM")
    assert told.agreement == AGREEMENT
    node.admin.stopped.append("agreement stopped here: no further")
    assert (await node.admin.status()).notices[0] == "agreement stopped here: no further"
    assert told.building == ("planning idna",)
    assert told.transfer.sources == {b32(b"n" * 32): 2}
    assert msgspec.json.encode(told)


async def test_every_other_member_is_a_peer_whether_it_is_connected_or_not(node):
    node.links.connected = [node.world.genesis.validators[0].node]
    rows = await node.admin.peers()
    assert len(rows) == 4
    assert b32(ring(4).node_id) not in {one.node_id for one in rows}
    up = [one for one in rows if one.connected]
    assert [(one.rtt_ms, one.received_bytes, one.sent_bytes, one.role) for one in up] == [
        (1.23, 10, 20, "validator+builder+issuer")
    ]
    assert {(one.rtt_ms, one.address) for one in rows if not one.connected} == {(None, "")}
    assert {(one.gone_s, one.heard_s, one.load_ms) for one in rows} == {(None, 0.5, None)}
    assert {one.state for one in rows} == {"alive"}
    assert "validator" in up[0].roles
    assert up[0].known == ("log", "its dial")


async def test_a_guest_with_a_link_is_a_row_and_what_it_did_stands_in_it(node):
    guest = b"g" * 32
    node.links.connected = [guest]
    for _ in range(3):
        node.scores.note(trio.current_time(), guest, LIE, "sent a wrong chunk")
    node.seen = Seen(State.DEAD, 12.34, -1.0, 7.891, Rate(1.4, 2.6), Vitals(9, 5, "0.2"), (b"w" * 32,))
    *members, row = await node.admin.peers()
    assert (len(members), row.node_id, row.role, row.roles, row.name) == (4, b32(guest), "guest", (), "n")
    assert (row.score, row.ignored, row.reason) == (
        pytest.approx(3 * LIE, abs=0.2),
        True,
        "sent a wrong chunk",
    )
    assert row.faults == {"sent a wrong chunk": 3}
    assert (row.state, row.gone_s, row.heard_s, row.suspected_by) == ("dead", 12.3, None, (b32(b"w" * 32),))
    assert (row.received_rate, row.sent_rate, row.version, row.log_size, row.load_ms) == (1, 3, "0.2", 9, 5)
    assert members[0].rtt_ms == 7.89  # of a probe, where no link measures it
    node.links.connected = []
    *others, gone = await node.admin.peers()
    assert (len(others), gone.node_id, gone.connected) == (4, b32(guest), False)  # for what it did
    assert gone.faults == row.faults


async def test_builds_name_builders_verdict_and_dissent(node):
    (build,) = await node.admin.builds()
    assert build == await node.admin.build(node.story.request)
    assert (build.state, build.verdict, build.file) == ("done", "REPRODUCED", "idna-1.0-py3-none-any.whl")
    assert (len(build.builders), len(build.committed), len(build.revealed)) == (3, 3, 3)
    assert (len(build.agreeing), len(build.dissenting)) == (2, 1)
    assert build.note.endswith(": other contents")
    assert await node.admin.build("0" * 64) is None


async def test_entries_are_told_in_a_line_each_with_members_by_name(node):
    rows = await node.admin.log_entries(0, 1_000)
    assert [one.index for one in rows] == list(range(node.story.size))
    assert any(one.summary.endswith("by node 4") for one in rows)
    assert await node.admin.log_entries(node.story.size, 5) == []


async def test_a_leaf_is_proved_to_the_root_that_is_told(node):
    for index in range(node.story.size):
        told = await node.admin.prove(index)
        hashes = [bytes.fromhex(one) for one in told.hashes]
        verify_inclusion(bytes.fromhex(told.leaf_hash), index, told.size, hashes, bytes.fromhex(told.root))
        assert told.entry.encode() == node.world.leaves[index]
        assert told.proof == ""
    node.world.archive.keep_checkpoint(node.story.note())
    assert (await node.admin.prove(0)).proof.startswith("c2sp.org/tlog-proof@v1")
    assert [await node.admin.prove(index) for index in (-1, node.story.size, 1 << 60)] == [None] * 3


async def test_an_artifact_is_told_with_its_place_and_its_proof(node):
    told = await node.admin.artifact(node.story.sha256)
    assert (told["log_index"], told["purl"]) == (node.story.artifact.leaf, "pkg:pypi/idna@1.0")
    assert (await node.admin.artifact("0" * 64), await node.admin.proof_file(node.story.sha256)) == (
        None,
        None,
    )
    node.world.archive.keep_checkpoint(node.story.note())
    assert await node.admin.proof_file(node.story.sha256) == node.story.proof()
    for purl in (
        "pkg:pypi/idna@1.0",
        "pkg:pypi/none@1.0",
    ):  # of no such name: the one that stands for the bytes
        assert await node.admin.proof_file(node.story.sha256, purl) == node.story.proof()


async def test_what_was_pushed_here_is_no_package_of_the_log_and_nobody_is_told_of_the_question(node):
    asked = []

    async def prepare(package):
        await trio.lowlevel.checkpoint()

    catalog = SimpleNamespace(files=lambda package: asked.append(package) or [], prepare=prepare)
    admin = replace(node.admin, catalog=catalog, pushed=lambda package: package == "pkg:pypi/ours")
    with pytest.raises(Refusal) as caught:
        await admin.package_files("pkg:pypi/ours")
    assert "was pushed to this node" in caught.value.what
    assert "build request" not in caught.value.do
    assert (list(await admin.package_files("pkg:pypi/theirs")), asked) == ([], ["pkg:pypi/theirs"])


async def test_a_stopped_node_with_an_old_head_is_not_ready(node):
    node.admin.stopped.append("agreement stopped here: no further")
    reasons = await node.admin.ready()
    assert reasons[0] == "agreement stopped here: no further"
    assert reasons[1] == node.stale
    node.stale = ""
    assert await node.admin.ready() == ["agreement stopped here: no further"]


async def test_a_validator_that_only_must_not_vote_stays_ready_and_says_so(node):
    node.stale = ""
    assert await node.admin.ready() == []
    assert (await node.admin.status()).notices[0].startswith("stopped voting")


async def test_a_fact_becomes_an_entry_of_this_node(node):
    told = await node.admin.add_fact("description", "pkg:pypi/idna@1.0", "a library")
    entry = entries.parse(node.world.archive.entry(told.index))
    assert (told.state, entry.id.hex(), entry.author) == ("committed", told.entry, ring(4).node_id)
    assert entry.body["text"] == "a library"
    assert (told.leaf.encode(), told.acknowledgement.index) == (entry.raw, told.index)


@pytest.mark.parametrize(
    ("kind", "subject", "text"),
    [("gossip", "x", "y"), (FACT_KINDS[0], "", "y"), (FACT_KINDS[0], "x" * 400, "y"), (FACT_KINDS[0], "x", "y" * 2_000),
     (FACT_KINDS[0], "\ud800", "y")],
)  # fmt: skip
async def test_what_is_no_fact_is_refused_before_anybody_is_asked(node, kind, subject, text):
    size = node.story.size
    with pytest.raises(Refusal) as caught:
        await node.admin.add_fact(kind, subject, text)
    assert (caught.value.code, node.story.size) == ("bad-request", size)


async def test_who_may_not_say_a_fact_hears_so_before_anybody_is_asked(node, monkeypatch):
    words = "advisory", "pkg:pypi/idna", "weak", {"advisory": "CVE-1", "severity": "high"}
    size, member = node.story.size, views.member(node.world.archive.state, ring(4).node_id)
    for told, why in (
        ({**member, "roles": ["validator"]}, "role issuer"),
        (None, "no member"),
        ({**member, "left": 1}, "no member"),
    ):
        monkeypatch.setattr("pyrsia.node.admin.views.member", lambda *_, told=told: told)
        with pytest.raises(Refusal, match=why) as caught:
            await node.admin.add_fact(*words)
        assert (caught.value.code, node.story.size) == ("forbidden", size)
    monkeypatch.undo()
    assert (await node.admin.add_fact(*words)).state == "committed"


@pytest.mark.parametrize(
    "change", [{"purl": "idna"}, {"key": "ab"}, {"sig": "x" * 128}, {"reason": ""}, {"sha256": "AB" * 32}]
)
async def test_a_withdrawal_of_another_shape_is_refused_before_anybody_is_asked(node, change):
    words = {
        "purl": "pkg:pypi/idna@1.0",
        "sha256": "ab" * 32,
        "reason": "r",
        "key": "cd" * 32,
        "sig": "ef" * 64,
    }
    size = node.story.size
    with pytest.raises(Refusal) as caught:
        await node.admin.withdraw(WithdrawalOrder(**{**words, **change}))
    assert (caught.value.code, node.story.size) == ("bad-request", size)


async def test_an_entry_is_taken_once_and_then_a_duplicate(node):
    raw = node.world.fact("signed elsewhere")
    first = await node.admin.submit_entry(raw)
    again = await node.admin.submit_entry(raw)
    assert (first.state, again.state, again.index) == ("committed", "duplicate", first.index)
    assert first.acknowledgement == again.acknowledgement
    for bad in (b"", b"{}", b"\xff" * 9, json.dumps({"type": "x"}).encode()):
        with pytest.raises(Refusal) as caught:
            await node.admin.submit_entry(bad)
        assert caught.value.code == "entry-refused"


async def test_a_batch_is_told_entry_by_entry(node):
    good, known = node.world.fact("signed elsewhere"), node.world.fact("and this")
    await node.admin.submit_entry(known)
    told = await node.admin.submit_entries([good, b"{}", known])
    assert [one.state for one in told.entries] == ["committed", "refused", "committed"]
    assert told.entries[1].error["code"] == "entry-refused"
    assert told.entries[0].entry == entries.parse(good).id.hex()
    assert {told.entries[0].height, told.entries[2].height} == {block.height for block in told.blocks}


async def test_a_node_that_builds_nothing_has_nothing_to_tell_of_it(node):
    node.admin.requests = None
    assert (await node.admin.status()).building == ()


async def test_ping_names_the_peer_or_says_why_not(node):
    name = node.world.genesis.members[0].text
    told = await node.admin.ping(name)
    assert (told.node_id, told.rtt_ms >= 0, node.links.asked) == (
        name,
        True,
        [node.world.genesis.members[0].node],
    )
    node.links.fails = Unavailable("there is no link to the peer")
    for text, code in (
        (name, "unavailable"),
        ("x", "bad-request"),
        ("\x1b" * 52, "bad-request"),
        ("", "bad-request"),
    ):
        with pytest.raises(Refusal) as caught:
            await node.admin.ping(text)
        assert caught.value.code == code


async def test_what_a_builder_does_is_part_of_the_picture(node):
    node.admin.builder = SimpleNamespace(
        notes={node.story.request: "building"}, built=2, waiting=lambda: ["ab: new, asked by c"]
    )
    assert (await node.admin.status()).queue == ("ab: new, asked by c",)
    assert f"{node.story.request[:8]}: building" in (await node.admin.status()).building
    assert (await node.admin.build(node.story.request)).note == "building"
    assert (await node.admin.status()).transfer.artifacts_built == 2
