"""A node among members: what it tells of them, what it proposes and approves, and what it refuses before it is sent."""

import json
from contextlib import asynccontextmanager

import pytest
import trio

from pyrsia.errors import Refusal, Unavailable
from pyrsia.ledger import entries
from pyrsia.ledger.bodies.motions import MOTIONS
from pyrsia.ledger.genesis import MEMBER
from pyrsia.node.log.submission import Submitter, Waiters
from pyrsia.node.members.founding import fitted
from pyrsia.node.members.governing import Governing
from pyrsia.node.members.membership import Membership, summary
from pyrsia.node.pulse import Pulse
from pyrsia.units import COMMIT_WINDOW_MS, REVEAL_WINDOW_MS
from pyrsia.wire.text import b32
from tests.reference.governance import REASON, about, every_motion, mapping, member_motion, newcomer, numbers
from tests.reference.housed import ME, Housed
from tests.reference.ledger import key
from tests.reference.waiting import bounded

NEW = newcomer("new", roles=())


class Member(Housed):
    """The first validator: what it submits goes into the ledger at once."""

    def __init__(self, folder):
        super().__init__(folder)
        self.waiters, self.pulse, self.sent = Waiters(), Pulse(), []
        self.documents = {}
        submitter = Submitter(
            self.house.keys,
            self.genesis,
            request=None,
            validators=lambda: [one.node for one in self.genesis.validators],
            leaf_of=self.house.archive.leaf_of,
            waiters=self.waiters,
            local=self._take,
            now_ms=lambda: self.time,
        )
        self.membership = Membership(self.house, lambda node: node == self.nodes[1].public)
        self.governing = Governing(
            self.house,
            submitter,
            self.membership,
            pulse=self.pulse,
            ask=self._ask,
            now_ms=lambda: self.time,
        )

    def _take(self, raw, *_):
        self.sent.append(entries.parse(raw).kind)
        self.block(raw)
        self.pulse.beat()
        self.waiters.settled([entries.parse(raw).id])

    async def _ask(self, node):
        await trio.lowlevel.checkpoint()
        if node not in self.documents:
            raise Unavailable("no link")
        return self.documents[node]

    def approve(self, motion, *who):
        self.block(*(self.approval(motion, self.nodes[one]) for one in who))

    def me(self):
        return b32(self.nodes[ME].public)


@pytest.fixture
async def member(tmp_path):
    made = Member(tmp_path)
    yield made
    made.house.close()


@asynccontextmanager
async def refused(code, what=""):
    with pytest.raises(Refusal) as no:
        yield
    assert no.value.code == code, no.value
    assert what in no.value.what


async def test_members_are_told_with_their_seats_and_links(member):
    told = member.membership.members()
    names = {one.name: one for one in told.members}

    assert (told.epoch, told.validators, told.quorum, told.motions) == (0, 4, 3, ())
    assert len(told.members) == 5
    assert [names[f"node {i}"].validates for i in range(5)] == [True] * 4 + [False]
    assert (names["node 0"].connected, names["node 1"].connected, names["node 2"].connected) == (
        True,
        True,
        False,
    )
    assert names["node 4"].keys == {}
    assert names["node 1"].since_epoch == 0


async def test_a_builder_that_kept_others_waiting_is_told_with_its_strikes(member):
    request, builders = member.drawn()
    body = member.reveal(request)
    member.block(*(member.commit(one, body) for one in builders[:2]))
    member.propose(wait=COMMIT_WINDOW_MS.value + REVEAL_WINDOW_MS.value + 2_000)
    member.settle()
    struck = {one.node_id: one.strikes for one in member.membership.members().members if one.strikes}
    assert {node: [one.word for one in rows] for node, rows in struck.items()} == {
        b32(builders[0].public): ["withheld"],
        b32(builders[1].public): ["withheld"],
        b32(builders[2].public): ["silent"],
    }
    assert {(one.ecosystem, one.request) for rows in struck.values() for one in rows} == {("pip", request)}


async def test_a_motion_stands_final_and_says_what_it_waits_for(member):
    motion = await member.governing.propose(member_motion("member.add", member=NEW))

    assert member.sent == ["motion.propose"]
    assert (motion.phase, motion.approvals, motion.needed, motion.accepts) == ("open", (), 3, "")
    assert motion.summary == "node new of operator-new becomes a member without a role: it follows"
    approved = await member.governing.approve(motion.id)
    assert approved.approvals == ("node 0",)
    assert set(approved.missing) == {"node 1", "node 2", "node 3"}
    member.approve(motion.id, 1, 2)
    assert member.membership.motion(motion.id[:6]).phase == "enacted"
    assert member.membership.members().motions == ()


async def test_a_seat_waits_for_its_acceptance_and_opens_an_epoch(member):
    await member.governing.propose(member_motion("member.add", member=NEW))
    member.approve(member.membership.members().motions[0].id, 0, 1, 2)
    seat = newcomer("new", roles=("validator",))
    motion = await member.governing.propose(member_motion("member.replace", member=seat, node=seat["node"]))
    member.approve(motion.id, 0, 1, 2)
    waits = member.membership.motion(motion.id)
    assert (waits.phase, waits.accepts, waits.accepted) == ("awaits-acceptance", "node new", "")

    member.block(member.approval(motion.id, key("new", "node")))
    done = member.membership.motion(motion.id)
    told = member.membership.members()
    mine = next(one for one in told.members if one.name == "node new")
    assert (done.phase, done.epoch, done.accepted) == ("enacted", 1, "node new")
    assert (told.epoch, told.validators, told.quorum, mine.since_epoch) == (1, 5, 4, 1)


@pytest.mark.parametrize("kind", MOTIONS)
async def test_every_kind_of_motion_is_told_in_a_sentence(member, kind):
    body = every_motion(member)[kind]

    told = summary(body, lambda node: f"<{node[:4]}>")

    assert len(told.split()) >= 3


@pytest.mark.parametrize(
    ("body", "code", "what"),
    [
        ({}, "bad-request", "no kind of motion"),
        ({"kind": "member.crown"}, "bad-request", "no kind of motion"),
        ({"kind": ["member.add"]}, "bad-request", "no kind of motion"),
        ({"kind": "member.remove", "node": "x", "reason": REASON}, "bad-request", "not a motion"),
        ({"kind": "member.remove", "reason": REASON}, "bad-request", "not a motion"),
        ({"kind": "member.remove", "node": 1.5, "reason": REASON}, "bad-request", "not a motion"),
        (member_motion("member.add", member={**NEW, "roles": ["builder"]}), "bad-request", "not a motion"),
        (member_motion("member.remove", node=NEW["node"]), "entry-refused", "not a member"),
        (about("artifact.withdraw", "ab" * 32), "entry-refused", ""),
        (numbers(agreeing=1), "entry-refused", "T (agreeing)"),
        (mapping(replaces=7), "entry-refused", "it replaces version 7"),
        (
            member_motion("member.add", member=newcomer("new", roles=("validator",))),
            "entry-refused",
            "is a member first",
        ),
    ],
)
async def test_what_could_not_stand_is_refused_here_and_nothing_is_sent(member, body, code, what):
    async with refused(code, what):
        await member.governing.propose(body)

    assert member.sent == []


async def test_a_mapping_replaces_the_version_in_force_unless_another_is_named(member):
    body = mapping()
    del body["replaces"]
    first = await member.governing.propose(body)
    member.approve(first.id, 0, 1, 2)

    second = await member.governing.propose({**body, "tag": "release-{version}"})

    assert (first.body["replaces"], second.body["replaces"]) == (0, 1)


async def test_too_many_open_motions_are_refused_at_once_instead_of_waiting(member):
    for number in range(4):
        await member.governing.propose(numbers(limits=[["member", 1_000 + number]]))

    async with refused("conflict", "4 motions open"):
        await member.governing.propose(numbers(limits=[["member", 2_000]]))


async def test_an_approval_that_would_not_count_is_refused_with_the_reason(member):
    motion = await member.governing.propose(member_motion("member.add", member=NEW))
    await member.governing.approve(motion.id)

    async with refused("entry-refused", "approved it already"):
        await member.governing.approve(motion.id[:8])
    member.approve(motion.id, 1, 2)
    async with refused("entry-refused", "enacted"):
        await member.governing.approve(motion.id)
    assert not member.membership.may_approve(member.membership.motion(motion.id))


async def test_an_approval_that_others_have_made_needless_is_not_waited_for(
    member, autojump_clock, monkeypatch
):
    motion = await member.governing.propose(member_motion("member.add", member=NEW))

    async def others_first(raw, **_):
        member.approve(motion.id, 1, 2, 3)
        member.pulse.beat()
        await trio.sleep_forever()  # no block will ever hold it

    monkeypatch.setattr(member.governing._submitter, "submit_entry", others_first)
    with bounded(10):
        told = await member.governing.approve(motion.id)

    assert (told.phase, sorted(told.approvals)) == ("enacted", ["node 1", "node 2", "node 3"])


async def test_who_has_approved_without_knowing_it_does_not_wait_for_a_second_time(
    member, autojump_clock, monkeypatch
):
    """As after a crash: the approval went out, and the log of this node had yet to catch up."""
    motion = await member.governing.propose(member_motion("member.add", member=NEW))

    async def caught_up(raw, **_):
        member.approve(motion.id, 0)
        member.pulse.beat()
        await trio.sleep_forever()  # the log holds one approval, and not this one

    monkeypatch.setattr(member.governing._submitter, "submit_entry", caught_up)
    with bounded(10):
        told = await member.governing.approve(motion.id)

    assert (told.phase, told.approvals) == ("open", ("node 0",))


async def test_a_refusal_of_an_approval_is_told_while_the_motion_is_open(member, monkeypatch):
    motion = await member.governing.propose(member_motion("member.add", member=NEW))

    async def refuses(raw, **_):
        raise Refusal("busy", what="no room", who="the network", do="wait")

    monkeypatch.setattr(member.governing._submitter, "submit_entry", refuses)
    async with refused("busy"):
        await member.governing.approve(motion.id)


async def test_an_operator_is_told_what_the_log_says_of_the_node(member):
    assert member.membership.notices() == ()

    seat = newcomer("new", roles=("validator",))
    member.enact(member_motion("member.add", member=NEW))
    member.know("new")
    motion = member.propose_motion(member_motion("member.replace", member=seat, node=member.me()))
    member.block(member.approval(motion, key("new", "node")))
    member.approve(motion, 1, 2, 3)
    assert "no member any more, since entry" in member.membership.notices()[0]

    member.house.keys.node = key("stranger", "node")
    assert "it follows as a guest" in member.membership.notices()[0]


async def test_an_operator_is_told_of_rules_that_this_software_does_not_have(member, monkeypatch):
    with monkeypatch.context() as newer:
        for module in ("motions", "views"):
            newer.setattr(f"pyrsia.ledger.{module}.RULES", (1, 2))
        member.enact(numbers(rules={"height": 1_000, "version": 2}))
        assert member.membership.notices() == ()

    (told,) = member.membership.notices()
    assert told.startswith("rules version 2 begins with block 1000 and is not known to this node: install")


async def test_a_motion_that_is_not_here_yet_is_awaited_and_not_for_ever(member, autojump_clock):
    raw = member.entry(member.nodes[1], "motion.propose", member_motion("member.add", member=NEW))
    motion = entries.entry_id(raw).hex()

    async def later():
        await trio.sleep(2)
        member.block(raw)
        member.pulse.beat()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(later)
        told = await member.governing.approve(motion)
    async with refused("not-found"):
        await member.governing.approve("0" * 64)

    assert told.approvals == ("node 0",)


async def test_authorising_a_follower_asks_it_for_its_document_and_keeps_what_the_log_says_of_it(member):
    follower = member.nodes[4]
    told = {**newcomer("x", ("builder", "validator")), "node": b32(follower.public), "operator": "a liar"}
    member.documents[follower.public] = json.dumps(told).encode()

    motion = await member.governing.authorize(b32(follower.public), None, REASON)

    assert (motion.kind, motion.approvals) == ("member.replace", ("node 0",))
    assert motion.body["member"]["roles"] == ["builder", "issuer"]
    assert (motion.body["member"]["operator"], motion.body["member"]["name"]) == ("operator-4", "node 4")
    assert motion.body["member"]["vote"] == ""


async def test_authorising_a_stranger_needs_its_document(member):
    async with refused("bad-request", "no link to this node"):
        await member.governing.authorize(NEW["node"], None, REASON)

    motion = await member.governing.authorize(NEW["node"], newcomer("new", ("builder", "validator")), REASON)

    assert (motion.kind, motion.body["member"]["roles"]) == ("member.add", ["builder"])


@pytest.mark.parametrize(
    ("node", "told", "what"),
    [
        ("peer", None, "no node id"),
        (None, None, "already exists"),
        (NEW["node"], {}, "no member document"),
        (NEW["node"], newcomer("other"), "another node's"),
        (NEW["node"], {**NEW, "node": 7}, "no member document"),
    ],
)
async def test_what_cannot_be_authorised_is_a_bad_request(member, node, told, what):
    async with refused("bad-request", what):
        await member.governing.authorize(node or member.me(), told, REASON)

    assert member.sent == []


@pytest.mark.parametrize("answer", [b"", b"[" * 9_000, b'{"node":1}', b"\xff", b"7"])
async def test_a_peer_that_answers_rubbish_is_refused_and_nothing_breaks(member, answer):
    member.documents[member.nodes[4].public] = answer

    async with refused("bad-request"):
        await member.governing.authorize(b32(member.nodes[4].public), None, REASON)


async def test_a_document_has_every_key_and_a_member_only_those_of_its_roles(member):
    told = member.governing.document()
    MEMBER(told)
    follower = fitted(told, (), ())
    builder = fitted(told, ("builder",), ("pip",))

    assert (told["name"], told["operator"]) == ("node 0", "operator-0")
    assert all(told[name] for name in ("build", "chain_end", "cosign", "log", "vote"))
    assert [name for name in follower if follower[name] == ""] == [
        "build",
        "chain_end",
        "cosign",
        "log",
        "vote",
    ]
    assert (builder["build"], builder["vote"]) == (told["build"], "")


async def test_keys_are_told_with_their_states_and_no_secret(member):
    house = member.house
    body, motion, _ = await member.governing.rotate(["vote", "log"], REASON, propose=True)
    told = {(one.purpose, one.state) for one in member.governing.own_keys()}

    assert motion.approvals == ("node 0",)
    assert {name for name in body if name not in ("kind", "node", "reason")} == {"vote", "log"}
    assert {("vote", "in force"), ("vote", "to come"), ("log", "to come"), ("node", "in force")} <= told
    shown = json.dumps([one.public for one in member.governing.own_keys()])
    secrets = [getattr(house.keys, one).seed.hex() for one in ("node", "vote", "log", "cosign", "build")]
    assert not any(secret in shown for secret in [*secrets, house.keys.chain_seed.hex()])
    member.approve(motion.id, 1, 2)
    assert ("vote", "in force") in {
        (one.purpose, one.state) for one in member.governing.own_keys() if one.public == body["vote"]
    }


async def test_a_rotation_can_be_left_to_another_member(member):
    body, motion, replaced = await member.governing.rotate(["build"], REASON, propose=False)

    assert (motion, member.sent, body["kind"], replaced) == (None, [], "member.rotate", ())


async def test_whoever_left_its_seat_makes_new_keys_by_itself_and_can_have_one_again(member):
    house, me = member.house, member.me()
    told = member.governing.document()
    seat = ("vote", "log", "cosign", "chain")
    member.enact(member_motion("member.add", member=NEW))
    member.know("new")
    motion = member.propose_motion(
        member_motion("member.replace", member=newcomer("new", roles=("validator",)), node=NEW["node"])
    )
    member.block(member.approval(motion, key("new", "node")))
    member.approve(motion, 0, 1, 2)
    member.enact(member_motion("member.replace", member=fitted(told, (), ()), node=me))
    assert (member.membership.members().epoch, house.roles) == (2, frozenset())
    again = member_motion("member.replace", member=fitted(told, ("validator",), ()), node=me)

    async with refused("conflict", "vote, log, cosign"):
        await member.governing.propose(again)
    async with refused("conflict", "has only just ended"):
        await member.governing.rotate(seat, REASON, propose=True)
    old = {getattr(house.keys, one).seed.hex() for one in ("vote", "log", "cosign")} | {
        house.keys.chain_seed.hex()
    }
    member.next_block()
    assert await member.governing.rotate(seat, REASON, propose=True) == ({}, None, tuple(sorted(seat)))

    new = member.governing.document()
    assert not old & {file.read_text().strip() for file in (member.data / "keys").rglob("*.key")}
    keys = ("build", "chain_end", "cosign", "log", "vote")
    assert [name for name in keys if new[name] != told[name]] == ["chain_end", "cosign", "log", "vote"]
    motion = await member.governing.propose({**again, "member": fitted(new, ("validator",), ())})
    member.approve(motion.id, 1, 2, 3)
    done = member.membership.motion(motion.id)
    assert done.phase in ("enacted", "awaits-acceptance"), done


@pytest.mark.parametrize(
    ("purposes", "what"), [((), "nothing"), (("node",), "node"), (("vote", "colour"), "colour")]
)
async def test_what_cannot_be_rotated_is_refused(member, purposes, what):
    async with refused("bad-request", what):
        await member.governing.rotate(purposes, REASON, propose=True)

    assert member.house.keys.coming == {}
