"""Motions: who may propose and approve, when one is enacted, what each kind does, and each lie about it."""

import pytest

from pyrsia.errors import Refusal
from pyrsia.keys import verify
from pyrsia.ledger import chain, entries, execute, roster, views
from pyrsia.ledger.context import NotApplied
from pyrsia.ledger.execute import Parses
from pyrsia.ledger.genesis import RULES
from pyrsia.ledger.motions import LEAST_QUOTA, MEMBER_MOTIONS, MOTION_LIFE_MS, VALIDATOR_MOTIONS
from pyrsia.ledger.replay import NotReplayed, Replay
from pyrsia.ledger.state import View
from pyrsia.units import needed
from pyrsia.wire.text import b32, unb32
from tests.reference.governance import (
    REASON,
    Governed,
    about,
    every_motion,
    fact,
    mapping,
    member_motion,
    newcomer,
    numbers,
    withdrawal,
)
from tests.reference.ledger import ENVIRONMENT, blob, key

APPLIES = "execution gives another tree"  # what `forced` says of a block whose entries all apply


@pytest.fixture
def world():
    return Governed()


def phase(world, motion):
    return views.motion(world.db.get, motion)["phase"]


def refused(world, raw, why):
    """At the door, and in the block of a leader that puts it in all the same."""
    with pytest.raises(Refusal, match=why):
        world.chain.mempool.add(raw, world.time + 1_000, world.db.get)
    assert why in world.forced(raw)


def proposal(world, body, author=None):
    return world.entry(author or world.follower, "motion.propose", body)


def add(member):
    return member_motion("member.add", member=member)


# -- proposing and approving --


@pytest.mark.parametrize("kind", sorted(every_motion(Governed())))
def test_the_approval_that_completes_the_quorum_enacts_and_none_before(world, kind):
    sha256 = world.published()
    if kind == "dispute.resolve":
        dispute(world, sha256)
    body = every_motion(world, sha256)[kind]
    motion = world.propose_motion(body)
    before = state_of(world)
    for validator in world.validators()[: needed(len(world.genesis.validators)) - 1]:
        world.block(world.approval(motion, validator))
        assert (phase(world, motion), state_of(world)) == ("open", before)
    last = world.approval(motion, world.validators()[-1])
    world.block(last)
    told = views.motion(world.db.get, motion)
    assert told["phase"] == "enacted"
    assert entries.parse(world.leaves[told["decided"]]).raw == last
    assert state_of(world) != before
    assert views.motions_open(world.db.get) == ()


def state_of(world):
    """What motions may change."""
    names = (b"member", b"key/", b"config", b"mapping/", b"status/")
    return {name: value for name, value in world.db.items() if name.startswith(names)}


def dispute(world, sha256):
    """As a later rule will: nothing in rules 1 disputes an artifact."""
    world.db[f"status/{sha256}/pkg:pypi/idna@1.0".encode()] = b'{"leaf":1,"status":"DISPUTED"}'
    world.chain.final(world.chain.head().hash)


def test_one_validator_counts_once(world):
    motion = world.enact(mapping(), missing=1)
    refused(world, world.approval(motion, world.validators()[0]), "has approved it already")
    assert phase(world, motion) == "open"


def test_only_validators_approve(world):
    motion = world.propose_motion(mapping())
    refused(world, world.approval(motion, world.follower), "only validators approve")


def test_an_unknown_motion_waits_at_the_door_and_spoils_a_block(world):
    raw = world.approval("ab" * 32, world.validators()[0])
    assert world.chain.mempool.add(raw, world.time, world.db.get) == "accepted"
    assert "no such motion" in world.forced(raw)


def test_what_is_enacted_is_approved_no_further(world):
    motion = world.enact(mapping())
    refused(world, world.approval(motion, world.validators()[-1]), "this motion is enacted")


def test_a_motion_lives_a_week_of_block_time_and_makes_room_when_it_is_over(world):
    motion = world.propose_motion(mapping())
    opened = world.time
    refused(world, proposal(world, numbers(agreeing=3)), f"has {MEMBER_MOTIONS.value} motions open")
    world.time = opened + MOTION_LIFE_MS.value - 1
    world.block(world.approval(motion, world.validators()[0]), wait=1)
    assert phase(world, motion) == "open"
    late = world.approval(motion, world.validators()[1])
    assert "time is over" in world.forced(late, wait=1)
    assert views.motions_open(world.db.get) == (motion,)
    other = proposal(world, numbers(agreeing=3))
    world.block(other)
    assert views.motions_open(world.db.get) == (entries.entry_id(other).hex(),)
    assert phase(world, motion) == "expired"
    assert "this motion is expired" in world.forced(world.approval(motion, world.validators()[1]))


def test_members_cannot_shut_validators_out(world):
    validator = world.validators()[0]
    for at in range(VALIDATOR_MOTIONS.value):
        world.propose_motion(mapping(f"pkg:pypi/a{at}"), validator)
    refused(world, proposal(world, mapping(), validator), f"has {VALIDATOR_MOTIONS.value} motions open")
    world.propose_motion(mapping())


def test_who_has_left_neither_proposes_nor_approves(world):
    world.enact(member_motion("member.remove", node=b32(world.follower.public)), world.validators()[0])
    refused(world, proposal(world, mapping()), "member")


def test_what_can_no_longer_be_done_keeps_its_last_approval_out(world):
    """Two motions for the same mapping: the second one's quorum never comes, however many approve."""
    second = world.propose_motion(mapping(tag="{version}"), world.validators()[0])
    world.enact(mapping())
    world.block(*(world.approval(second, one) for one in world.validators()[:2]))
    before = state_of(world)
    last = world.approval(second, world.validators()[2])
    assert "this mapping, 1 is in force" in world.forced(last)
    assert (phase(world, second), state_of(world)) == ("open", before)


# -- members --


def test_a_member_that_is_added_authors_builds_and_is_drawn():
    world = Governed(builders=2, validators=4)  # two builders only: no draw of three
    assert "2 operators" in world.forced(world.request()[0])
    world.enact(add(newcomer()))
    world.nodes.append(key("new", "node"))
    request, builders = world.drawn()
    assert key("new", "node").public in {builder.public for builder in builders}
    done = world.run(request, [(builder, world.reveal(request)) for builder in builders])
    assert done.verdict.body["verdict"] == "REPRODUCED"
    world.block(world.entry(key("new", "node"), "fact.add", fact()))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"name": "node 2"}, "another member has this name"),
        ({"node": b32(key(2, "node").public)}, "is a member already"),
        ({"build": key(2, "vote").public.hex()}, "is or was somebody's"),
    ],
)
def test_a_newcomer_takes_nothing_that_is_anothers(world, changes, why):
    refused(world, proposal(world, add(newcomer(**changes))), why)


def test_a_network_has_a_bounded_number_of_members(world, monkeypatch):
    monkeypatch.setattr("pyrsia.ledger.motions.MAX_MEMBERS", 5)
    refused(world, proposal(world, add(newcomer())), "has its 5 members")


def test_who_is_removed_authors_nothing_any_more_and_its_keys_never_come_back(world):
    world.enact(add(newcomer()))
    left = key("new", "node")
    motion = world.enact(member_motion("member.remove", node=b32(left.public)), world.validators()[0])
    refused(world, world.entry(left, "fact.add", fact()), "member")
    record = views.member(world.db.get, left.public)
    assert record["left"] == views.motion(world.db.get, motion)["decided"]
    assert b32(left.public) not in views.members(world.db.get)
    refused(world, proposal(world, add(newcomer())), "is or was somebody's")
    refused(world, proposal(world, member_motion("member.remove", node=b32(left.public))), "not a member")
    again = add(newcomer("other", build=newcomer()["build"]))
    refused(world, proposal(world, again), "is or was somebody's")


def test_a_builder_that_leaves_during_a_build_stays_in_the_denominator():
    world = Governed(count=8, builders=8)
    request, builders = world.drawn()
    gone = next(one for one in builders if one not in world.validators())
    body = {builder: world.reveal(request) for builder in builders}
    world.block(*(world.commit(builder, body[builder]) for builder in builders))
    world.enact(member_motion("member.remove", node=b32(gone.public)), world.validators()[0])
    late = world.entry(gone, "build.reveal", body[gone])
    assert "not a member" in world.forced(late)
    world.block(*(world.entry(one, "build.reveal", body[one]) for one in builders if one != gone))
    world.block(wait=1_000_000)
    world.settle()
    done = views.request(world.db.get, request).verdict.body
    assert (done["verdict"], done["silent"]) == ("REPRODUCED", [b32(gone.public)])
    assert roster.operator(View(world.db.get), b32(gone.public)).startswith("operator-")


def test_a_builders_key_is_rotated_and_the_old_one_is_nobodys(world):
    node = b32(world.nodes[0].public)
    old = views.member(world.db.get, world.nodes[0].public)
    new = key("next", "build").public.hex()
    world.enact(member_motion("member.rotate", node=node, build=new))
    assert views.member(world.db.get, world.nodes[0].public) == {**old, "build": new}
    back = member_motion("member.rotate", node=node, build=old["build"])
    refused(world, proposal(world, back), "is or was somebody's")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"node": b32(key("nobody").public)}, "not a member"),
        ({"vote": key("next").public.hex()}, "exactly the keys that its roles need"),
    ],
)
def test_a_rotation_is_of_a_member_and_of_keys_that_it_has(world, fields, why):
    body = member_motion(
        "member.rotate",
        **{"node": b32(world.follower.public), "build": key("next", "b").public.hex(), **fields},
    )
    refused(world, proposal(world, body), why if "node" in fields else "exactly the keys")


def test_a_member_takes_another_role_under_its_own_name(world):
    world.enact(add(newcomer()))
    node = newcomer()["node"]
    wider = newcomer(roles=("builder", "issuer"), capabilities=["conan", "pip"])
    world.enact(member_motion("member.replace", node=node, member=wider))
    assert views.member(world.db.get, key("new", "node").public) == wider
    swapped = newcomer(roles=("builder", "storage"), build=newcomer()["build"])
    world.enact(member_motion("member.replace", node=node, member=swapped))
    assert views.members(world.db.get).count(node) == 1


def test_a_kept_key_stays_what_it_was_for(world):
    world.enact(add(newcomer()))
    mixed = newcomer(node=newcomer("third")["node"], name="third", build=newcomer()["build"])
    body = member_motion("member.replace", node=newcomer()["node"], member=mixed)
    refused(world, proposal(world, body), "is or was somebody's")


VALIDATOR = b32(key(0, "node").public)


def test_what_leaves_a_validator_as_it_votes_needs_no_epoch(world):
    fields = views.member(world.db.get, key(0, "node").public)
    told = {**fields, "operator": "another operator", "capabilities": ["conan"]}
    motion = world.enact(member_motion("member.replace", node=VALIDATOR, member=told))
    assert phase(world, motion) == "enacted"
    assert views.member(world.db.get, key(0, "node").public) == told
    assert world.seats().epoch == 0


# -- mappings and artifacts --


def test_a_mapping_names_the_version_that_it_replaces(world):
    refused(world, proposal(world, mapping(replaces=1)), "this mapping, 0 is in force")
    world.enact(mapping())
    refused(world, proposal(world, mapping()), "this mapping, 1 is in force")
    world.enact(mapping(replaces=1, tag="{version}"))
    told = views.mapping(world.db.get, "pkg:pypi/idna")
    assert (told["version"], told["tag"]) == (2, "{version}")
    strange = mapping("pkg:pypi/other", recipe={"environment": "oci:none"})
    refused(world, proposal(world, strange), "environment is not admitted")


def test_bytes_that_were_never_published_are_neither_withdrawn_nor_undisputed(world):
    sha256 = world.published()
    for kind in ("artifact.withdraw", "dispute.resolve"):
        raw = proposal(world, about(kind, "ab" * 32))
        assert "has not published these bytes" in world.forced(raw)
        raw = proposal(world, about(kind, sha256, "pkg:pypi/other@1.0"))
        assert "has not published these bytes" in world.forced(raw)
    refused(world, proposal(world, about("dispute.resolve", sha256)), "not disputed")


def test_a_withdrawn_artifact_is_offered_no_more_and_its_history_stays(world):
    sha256 = world.published()
    artifact = views.artifact(world.db.get, sha256)
    assert views.status(world.db.get, sha256) == {"leaf": artifact.leaf, "status": "REPRODUCED"}
    assert [one.body["sha256"] for one in views.project_files(world.db.get, "idna")] == [sha256]
    motion = world.enact(about("artifact.withdraw", sha256))
    decided = views.motion(world.db.get, motion)["decided"]
    assert views.status(world.db.get, sha256) == {"leaf": decided, "reason": REASON, "status": "WITHDRAWN"}
    assert views.project_files(world.db.get, "idna") == ()
    assert len(views.project_files(world.db.get, "idna", every=True)) == 1
    assert views.artifact(world.db.get, sha256) == artifact
    refused(world, proposal(world, about("artifact.withdraw", sha256)), "withdrawn already")


def test_a_dispute_is_resolved_to_the_verdict_of_the_publication(world):
    sha256 = world.published()
    dispute(world, sha256)
    motion = world.enact(about("dispute.resolve", sha256))
    decided = views.motion(world.db.get, motion)["decided"]
    assert views.status(world.db.get, sha256) == {"leaf": decided, "reason": REASON, "status": "REPRODUCED"}


def test_the_same_bytes_built_again_do_not_come_back(world):
    sha256 = world.published()
    world.enact(about("artifact.withdraw", sha256))
    world.time += 25 * 3_600_000
    request, builders = world.drawn(version="1.0")
    again = world.run(request, [(builder, world.reveal(request, "1.0")) for builder in builders])
    assert again.artifact.body["sha256"] == sha256
    assert views.status(world.db.get, sha256)["status"] == "WITHDRAWN"
    assert views.project_files(world.db.get, "idna") == ()


# -- a maintainer's word --


def test_a_maintainer_withdraws_through_any_member(world):
    sha256 = world.published()
    raw = world.entry(world.follower, "artifact.withdraw", withdrawal(world, sha256))
    assert world.chain.mempool.add(raw, world.time, world.db.get) == "accepted"  # the mapping may come yet
    assert "has no mapping" in world.forced(raw)
    world.enact(mapping(), world.validators()[0])
    world.propose()
    assert views.status(world.db.get, sha256)["status"] == "WITHDRAWN"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"signer": key("stranger")}, "not one of the package's maintainer keys"),
        ({"sig": "00" * 64}, "signature does not hold"),
        ({"reason": "another reason"}, "signature does not hold"),
        ({"net": b32(bytes(32))}, "signature does not hold"),
    ],
)
def test_a_withdrawal_by_nobody_or_of_another_text_is_refused(world, changes, why):
    sha256 = world.published()
    world.enact(mapping())
    refused(
        world, world.entry(world.follower, "artifact.withdraw", withdrawal(world, sha256, **changes)), why
    )
    assert views.status(world.db.get, sha256)["status"] == "REPRODUCED"


def test_a_key_of_one_package_withdraws_no_other(world):
    sha256 = world.published()
    world.enact(mapping("pkg:pypi/other"))
    other = withdrawal(world, sha256, "pkg:pypi/other@1.0")
    raw = world.entry(world.follower, "artifact.withdraw", other)
    assert "has not published these bytes" in world.forced(raw)


def test_a_key_that_the_mapping_dropped_withdraws_nothing(world):
    sha256 = world.published()
    world.enact(mapping())
    world.enact(mapping(replaces=1, keys=[]))
    raw = world.entry(world.follower, "artifact.withdraw", withdrawal(world, sha256))
    refused(world, raw, "not one of the package's maintainer keys")


# -- the network's numbers --


def test_numbers_hold_from_the_next_block_on():
    """In the block that enacts them the old ones still count; the author has one entry too many."""
    world = Governed(limits=[["member", 100]])
    motion = world.propose_motion(numbers(limits=[["member", LEAST_QUOTA]]), world.validators()[0])
    for at in range(LEAST_QUOTA):
        world.block(world.entry(world.follower, "fact.add", fact(text=str(at))))
    approvals = [world.approval(motion, one) for one in world.validators()[:3]]
    same = world.entry(world.follower, "fact.add", fact(text="same block"))
    world.chain.mempool.add(same, world.time, world.db.get)
    kinds = world.block(*approvals)
    assert kinds.count("fact.add") == 1
    assert phase(world, motion) == "enacted"
    after = world.entry(world.follower, "fact.add", fact(text="next block"))
    assert f"has used its {LEAST_QUOTA} entries" in world.forced(after)


def test_an_environment_is_admitted_and_dropped(world):
    new = "oci:" + "1" * 64
    recipe = {**entries.parse(world.request()[0]).body["recipe"], "environment": new}
    assert "environment is not admitted" in world.forced(world.request(recipe=recipe)[0])
    world.enact(numbers(environments=[new]))
    assert APPLIES in world.forced(world.request(recipe=recipe)[0])
    assert "environment is not admitted" in world.forced(world.request()[0])


def test_more_builders_are_drawn_once_the_network_says_so():
    world = Governed(count=8, builders=8)
    before, builders = world.drawn()
    assert len(builders) == 3
    world.enact(numbers(builders=5, agreeing=3))
    _, more = world.drawn(version="2.0")
    assert len(more) == 5
    # T of the draw: with the new T of 3 the two that agree here would be too few.
    done = world.run(before, [(one, world.reveal(before, at // 2)) for at, one in enumerate(builders)])
    assert done.verdict.body["verdict"] == "REPRODUCED"


def test_a_smaller_t_never_makes_a_minority_of_an_earlier_draw_enough():
    world = Governed(count=8, builders=8)
    world.enact(numbers(builders=5, agreeing=3))
    request, builders = world.drawn()
    world.enact(numbers(builders=3, agreeing=2))
    bodies = [
        (one, world.reveal(request, at // 2)) for at, one in enumerate(builders)
    ]  # two, two and one agree
    assert world.run(request, bodies).verdict.body["verdict"] == "DIVERGED"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"builders": 4}, "more than half"),  # T is 2 of genesis
        ({"agreeing": 4}, "at most K"),
        ({"rules": {"height": 1_000, "version": 3}}, "the next version is one more"),
        ({"rules": {"height": 1, "version": 1}}, "height that has passed"),
        ({"limits": []}, "could not undo it"),
        ({"limits": [["builder", 9_999], ["member", LEAST_QUOTA - 1]]}, "could not undo it"),
    ],
)
def test_numbers_that_would_break_the_network_are_refused_when_proposed(world, changes, why):
    world.block(world.entry(world.follower, "fact.add", fact()))
    refused(world, proposal(world, numbers(**changes)), why)


def test_two_motions_that_are_sound_alone_and_not_together(world):
    """Each is checked again on the numbers that hold when its quorum comes."""
    first = world.propose_motion(numbers(builders=4, agreeing=3), world.validators()[0])
    second = world.propose_motion(numbers(builders=3, agreeing=2), world.validators()[1])
    third = world.propose_motion(numbers(agreeing=3), world.validators()[2])
    for motion in (first, second):
        world.block(*(world.approval(motion, one) for one in world.validators()[:3]))
    world.block(*(world.approval(third, one) for one in world.validators()[:3]))
    assert views.config(world.db.get)["agreeing"] == 3
    fourth = world.propose_motion(numbers(builders=5), world.validators()[0])
    world.enact(numbers(agreeing=2))
    world.block(*(world.approval(fourth, one) for one in world.validators()[:2]))
    assert "more than half" in world.forced(world.approval(fourth, world.validators()[2]))


def test_rules_begin_at_the_height_that_the_motion_names(world):
    height = world.chain.head().height + 10
    world.enact(numbers(rules={"height": height, "version": 1}))
    told = views.config(world.db.get)
    assert (told["rules"], told["next_rules"]) == (1, {"height": height, "version": 1})
    now = roster.numbers(View(world.db.get), world.genesis)
    assert [now.rules_at(at) for at in (height - 1, height)] == [1, 1]
    while world.chain.head().height < height:
        world.block(world.entry(world.follower, "fact.add", fact(text=str(world.count))))
    world.enact(numbers(agreeing=3))
    assert "next_rules" not in views.config(world.db.get)


class Later:
    """A second version of the rules, as a later release would bring it: any fact is refused."""

    def __init__(self, monkeypatch, known=(1, 2)):
        self.handlers = {
            version: dict(execute._HANDLERS[1], **({"fact.add": self.no} if version == 2 else {}))
            for version in known
        }
        monkeypatch.setattr(execute, "_HANDLERS", self.handlers)
        monkeypatch.setattr("pyrsia.ledger.motions.RULES", known)

    @staticmethod
    def no(ctx, entry, author, leaf) -> None:
        raise NotApplied("no facts any more")


def test_the_next_rules_hold_from_their_height_on_for_execution_and_for_replay(world, monkeypatch):
    Later(monkeypatch)
    height = world.chain.head().height + 6
    world.enact(numbers(rules={"height": height, "version": 2}))
    facts = 0
    while world.chain.head().height < height + 3:
        facts += "fact.add" in world.offered_kinds(a_fact(world))
    assert facts == 3  # heights 3 to 5; the motion stands in 1 and 2
    assert replay_of(world).kept.rows[b"config"] == world.db[b"config"]
    world.enact(numbers(agreeing=3))
    assert views.config(world.db.get)["rules"] == 2
    later = replay_of(world)
    assert {name: row for name, row in later.kept.rows.items() if name[0] > 31} == world.state()
    refused(world, proposal(world, numbers(rules={"height": 1_000, "version": 1})), "rules 2 are in force")


def test_a_node_without_the_next_rules_goes_on_to_their_height_and_says_what_it_lacks(world, monkeypatch):
    """What it knows decides at its own door, never whether a block is valid."""
    height = world.chain.head().height + 6
    body = numbers(rules={"height": height, "version": 2})
    raw = proposal(world, body)
    with pytest.raises(Refusal, match="rules version 2 is not known to this node: install a newer one"):
        world.chain.mempool.add(raw, world.time + 1_000, world.db.get)
    assert world.offer(raw) == (raw,)
    motion = entries.entry_id(raw).hex()
    approvals = [world.approval(motion, one) for one in world.validators()[:3]]
    with pytest.raises(Refusal, match="rules version 2 is not known to this node"):
        world.chain.mempool.add(approvals[0], world.time + 1_000, world.db.get)
    assert views.unknown_rules(world.db.get) is None
    assert world.offer(*approvals) == tuple(approvals)
    assert views.unknown_rules(world.db.get) == (2, height)
    while world.chain.head().height < height - 1:
        assert "fact.add" in world.offered_kinds(a_fact(world))
    late = a_fact(world)
    with pytest.raises(Refusal, match="rules version 2 is in force and not known to this node"):
        world.chain.mempool.add(late, world.time + 1_000, world.db.get)
    slot = world.slot()
    draft = world.chain.build(world.chain.head().hash, slot)
    assert draft.entries == ()
    with pytest.raises(chain.InvalidBlock, match="not known to this node: install a newer one"):
        world.chain.check(world.header(draft, slot), ())
    Later(monkeypatch)
    world.offered_kinds(numbers_entry := proposal(world, numbers(agreeing=3)))
    newer = list(world.leaves)
    assert numbers_entry in newer
    Later(monkeypatch, known=(1,))
    with pytest.raises(NotReplayed, match="not known to this node"):
        replay_of(world)


def test_an_agreed_version_can_be_put_off_and_taken_back_before_its_height(world, monkeypatch):
    Later(monkeypatch)
    world.enact(numbers(rules={"height": 50, "version": 2}))
    world.enact(numbers(rules={"height": 60, "version": 2}), world.validators()[0])
    assert views.config(world.db.get)["next_rules"] == {"height": 60, "version": 2}
    world.enact(numbers(rules={"height": 55, "version": 1}), world.validators()[0])
    assert views.config(world.db.get)["next_rules"] == {"height": 55, "version": 1}


def a_fact(world):
    return world.entry(world.follower, "fact.add", fact(text=str(world.count)))


def replay_of(world):
    replay = Replay(world.genesis, Parses(verify, 1_000))
    replay.feed(world.leaves)
    return replay


def test_every_version_that_may_found_a_network_has_its_rules():
    assert set(execute._HANDLERS) == set(RULES)


def test_a_later_version_of_the_rules_counts_from_its_height_on():
    following = roster.Numbers(2, 3, frozenset(), {}, "namespace", rules=1, following=(2, 50))
    assert [following.rules_at(at) for at in (49, 50, 51)] == [1, 2, 2]


def test_an_approval_quorum_can_always_be_authored_again():
    """The least quota that a motion may leave is enough for a quorum of approvals by each validator."""
    world = Governed()
    world.enact(numbers(limits=[["member", 0], ["validator", LEAST_QUOTA]]))
    world.enact(numbers(limits=[["member", 5_000]]), world.validators()[0])
    assert views.config(world.db.get)["limits"] == [["member", 5_000]]


# -- all of it --


def test_a_governed_log_replays_from_its_leaves_alone():
    world = Governed(count=8, builders=8)
    sha256 = world.published()
    world.enact(mapping())
    world.enact(add(newcomer()))
    world.enact(numbers(agreeing=3, builders=4, environments=[ENVIRONMENT, "oci:x"]))
    world.enact(member_motion("member.remove", node=newcomer()["node"]))
    world.enact(member_motion("member.rotate", node=VALIDATOR, vote=key("next", "vote").public.hex()))
    world.block(world.entry(world.follower, "artifact.withdraw", withdrawal(world, sha256)))
    recipe = entries.parse(world.request()[0]).body["recipe"]
    git = {"commit": "ab" * 20, "tag": "v2.0", "tree": "cd" * 32}
    source = {"file": "idna.tar", "git": git, "sha256": blob("source")["sha256"], "size": 5}
    world.drawn(version="2.0", source=source, recipe={**recipe, "parameters": [["extras", "none"]]})
    replay = Replay(world.genesis, Parses(verify, 1_000))
    replay.feed(world.leaves)
    assert {name: row for name, row in replay.kept.rows.items() if name[0] > 31} == world.state()
    assert views.trees(replay.kept.get) == views.trees(world.db.get)


def test_who_is_a_member_now_and_what_people_call_everybody():
    """What a node lets link to it, and the names that people read."""
    world = Governed()
    reads, new = world.db.get, newcomer()
    node = unb32(new["node"])
    assert (views.is_member(reads, node), new["node"] in views.names(reads)) == (False, False)
    world.enact(member_motion("member.add", member=new))
    assert (views.is_member(reads, node), views.names(reads)[new["node"]]) == (True, "node new")
    world.enact(member_motion("member.remove", node=new["node"]))
    assert (views.is_member(reads, node), new["node"] in views.names(reads)) == (False, False)
    assert views.member(reads, node)["left"] > 0
    assert len(views.names(reads)) == len(world.nodes)
