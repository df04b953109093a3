"""Epochs: what a change of the validators needs, what it changes and what it leaves; each lie about it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Malformed, Refusal
from pyrsia.keys import verify
from pyrsia.ledger import beacon, entries, views
from pyrsia.ledger.chain import Chain, InvalidBlock
from pyrsia.ledger.execute import Parses
from pyrsia.ledger.replay import NotReplayed, Replay
from pyrsia.units import Limit
from pyrsia.wire.blocks import EPOCH_END, NORMAL, TAIL, entries_root
from pyrsia.wire.epochs import members_hash
from pyrsia.wire.text import b32
from tests.reference.governance import Governed, fact, member_motion, newcomer
from tests.reference.ledger import ZERO, key, links_at, links_end
from tests.reference.misdeeds import Misdeeds
from tests.unit.ledger.test_chain import LIES, lie_of

BOTH = ("builder", "validator")


def node(word):
    return b32(key(word, "node").public)


def seat(word, roles=BOTH, **changes):
    """The member takes a seat (or keeps the one that it has)."""
    return member_motion("member.replace", node=node(word), member=newcomer(word, roles, **changes))


def instead(old, new, roles=("validator",)):
    """Another member takes the seat of `old`, which leaves the network."""
    return member_motion("member.replace", node=node(old), member=newcomer(new, roles))


def rotate(word, turn=1, **fields):
    names = fields or {"vote": newcomer(word, BOTH, turn)["vote"]}
    return member_motion("member.rotate", node=node(word), **names)


def seated(world):
    return {one.node for one in world.seats().validators}


def phase(world, motion):
    return views.motion(world.db.get, motion)["phase"]


def refused(world, raw, why):
    """At the door, and in the block of a leader that puts it in all the same."""
    with pytest.raises(Refusal, match=why):
        world.chain.mempool.add(raw, world.time + 1_000, world.db.get)
    assert why in world.forced(raw)


def replays(world):
    replay = Replay(world.genesis, Parses(verify, 1_000))
    replay.feed(world.leaves)
    assert {name: row for name, row in replay.kept.rows.items() if name[0] > 31} == world.state()
    assert replay.epoch.number == world.seats().epoch
    return replay


@pytest.fixture
def world():
    """Four validators and two plain members, of which the last one authors."""
    return Governed(count=6)


def a_fact(world, word=5):
    return world.entry(key(word, "node"), "fact.add", fact(text=str(world.count)))


# -- joining --


def test_a_dead_validator_is_replaced_at_four_by_the_three_others_and_the_newcomer_itself(world):
    motion = world.propose_motion(instead(3, 4))
    world.block(*(world.approval(motion, key(i, "node")) for i in (0, 1)))
    assert phase(world, motion) == "open"
    world.block(world.approval(motion, key(2, "node")))
    assert (phase(world, motion), world.seats().epoch) == ("awaits-acceptance", 0)
    leaf = len(world.leaves)
    world.block(world.approval(motion, key(4, "node")))
    told = views.motion(world.db.get, motion)
    assert (told["phase"], told["accepted"], told["decided"], told["epoch"]) == ("enacted", leaf, leaf, 1)
    assert seated(world) == {key(i, "node").public for i in (0, 1, 2, 4)}
    assert node(3) not in views.members(world.db.get)
    led = set()
    for _ in range(8):
        world.block(a_fact(world))
        led.add(views.chain(world.db.get)["height"])
    assert len(led) == 8  # the newcomer led two of these views, with links of its own
    replays(world)


@pytest.mark.parametrize("order", [(4, 0, 1, 2), (0, 4, 1, 2), (0, 1, 4, 2), (0, 1, 2, 4)])
def test_acceptance_and_approvals_come_in_any_order(world, order):
    motion = world.propose_motion(seat(4))
    for i in order[:-1]:
        world.block(world.approval(motion, key(i, "node")))
        assert world.seats().epoch == 0
    world.block(world.approval(motion, key(order[-1], "node")))
    assert (phase(world, motion), len(world.seats().validators)) == ("enacted", 5)


def test_a_seat_is_accepted_once_and_by_nobody_else(world):
    motion = world.propose_motion(seat(4), key(4, "node"))  # to propose it is not to accept it
    for i in (0, 1, 2):
        world.block(world.approval(motion, key(i, "node")))
    refused(world, world.approval(motion, key(5, "node")), "only validators approve, and the member that")
    assert phase(world, motion) == "awaits-acceptance"
    world.block(world.approval(motion, key(4, "node")))
    assert phase(world, motion) == "enacted"
    refused(world, world.approval(motion, key(4, "node")), "this motion is enacted")
    second = world.propose_motion(instead(3, "new", ()), key(0, "node"))
    refused(world, world.approval(second, key(5, "node")), "only validators approve")
    third = world.propose_motion(seat(5), key(0, "node"))
    world.block(world.approval(third, key(5, "node")))
    refused(world, world.approval(third, key(5, "node")), "its author has approved it already")


@pytest.mark.parametrize(
    "body", [member_motion("member.add", member=newcomer("new", BOTH)), instead(3, "new")]
)
def test_whoever_is_to_validate_is_a_member_first(world, body):
    refused(world, world.entry(world.follower, "motion.propose", body), "is a member first")


def test_a_seat_is_not_given_to_one_that_left_before_it_accepted(world):
    motion = world.propose_motion(seat(4))
    for i in (0, 1, 2):
        world.block(world.approval(motion, key(i, "node")))
    world.enact(member_motion("member.remove", node=node(4)), key(0, "node"))
    refused(world, world.approval(motion, key(4, "node")), "member")
    world.block(world.approval(motion, key(3, "node")))
    assert (phase(world, motion), world.seats().epoch) == ("awaits-acceptance", 0)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (member_motion("member.remove", node=node(0)), "it leaves 3 validators, and 4 are needed"),
        (seat(0, ("builder",)), "it leaves 3 validators, and 4 are needed"),
        (instead(0, 4, ()), "it leaves 3 validators, and 4 are needed"),
        (instead(0, 1, ("builder",)), "changes two validators"),
        (
            member_motion("member.replace", node=node(0), member=newcomer(1, BOTH, turn=1)),
            "changes two validators",
        ),
    ],
)
def test_the_set_keeps_its_size_and_changes_one_by_one(world, body, why):
    refused(world, world.entry(world.follower, "motion.propose", body), why)


def test_a_network_has_a_bounded_number_of_validators(world, monkeypatch):
    monkeypatch.setattr("pyrsia.ledger.motions.MAX_VALIDATORS", Limit(4, "a test"))
    refused(world, world.entry(world.follower, "motion.propose", seat(4)), "the network has its 4 validators")


# -- leaving, and new keys --


def test_a_validator_that_gives_up_its_seat_stays_a_member_and_can_come_back_with_new_keys():
    world = Governed(count=6, validators=5, builders=5)
    world.enact(seat(4, ("builder",)), key(0, "node"))
    assert key(4, "node").public not in seated(world)
    assert views.is_member(world.db.get, key(4, "node").public)
    assert world.db.get(f"link/{node(4)}".encode()) is None
    world.block(a_fact(world, 4))
    refused(world, world.entry(key(4, "node"), "motion.propose", seat(4)), "is or was somebody's")
    world.know(4, 1)
    motion = world.propose_motion(seat(4, turn=1, build=newcomer(4)["build"]), key(4, "node"))
    for i in (0, 1, 2, 4):
        world.block(world.approval(motion, key(i, "node")))
    assert key(4, "node").public in seated(world)
    assert world.seats().epoch == 2
    replays(world)


def test_a_validator_that_is_removed_neither_validates_nor_speaks():
    world = Governed(count=6, validators=5, builders=5)
    world.enact(member_motion("member.remove", node=node(4)), key(0, "node"))
    assert (len(world.seats().validators), world.seats().epoch) == (4, 1)
    refused(world, a_fact(world, 4), "member")
    replays(world)


@pytest.mark.parametrize("purpose", ["vote", "log", "cosign", "chain_end"])
def test_a_validators_own_keys_are_rotated_by_a_quorum_alone(world, purpose):
    world.know(0, 1)
    new = newcomer(0, BOTH, 1)[purpose]
    world.enact(rotate(0, **{purpose: new}), key(1, "node"))
    told = world.seats()
    mine = next(at for at, one in enumerate(told.validators) if one.node == key(0, "node").public)
    assert told.epoch == 1
    assert getattr(told.validators[mine], purpose).hex() == new
    assert [one.vote for one in told.validators] == sorted(one.vote for one in told.validators)
    assert (told.bases[mine] == 0) is (purpose == "chain_end")
    for _ in range(8):
        world.block(a_fact(world))
    replays(world)


def test_a_build_key_or_a_name_is_nothing_that_validators_agree_on(world):
    world.enact(rotate(0, build=key("next", "build").public.hex()), key(1, "node"))
    world.enact(seat(1, name="other", operator="o", capabilities=[]), key(1, "node"))
    assert world.seats().epoch == 0


def test_a_quorum_that_became_smaller_is_completed_by_one_who_has_approved_before():
    """Else a motion that three of four approved would wait for the fourth, which may be dead."""
    world = Governed(count=6, validators=5, builders=5)
    motion = world.propose_motion(rotate(0), key(0, "node"))
    world.know(0, 1)
    world.block(*(world.approval(motion, key(i, "node")) for i in (0, 1, 2)))
    refused(world, world.approval(motion, key(0, "node")), "has approved it already")
    world.enact(member_motion("member.remove", node=node(4)), key(1, "node"))
    assert phase(world, motion) == "open"
    world.block(world.approval(motion, key(0, "node")))
    assert (phase(world, motion), world.seats().epoch) == ("enacted", 2)


def test_approvals_of_those_that_left_count_no_more():
    world = Governed(count=6, validators=5, builders=5)
    motion = world.propose_motion(rotate(0), key(0, "node"))
    world.block(*(world.approval(motion, key(i, "node")) for i in (4, 1)))
    world.enact(member_motion("member.remove", node=node(4)), key(1, "node"))
    world.block(world.approval(motion, key(2, "node")))
    assert phase(world, motion) == "open"  # 1 and 2 of 4
    world.block(world.approval(motion, key(3, "node")))
    assert phase(world, motion) == "enacted"


# -- the block that ends an epoch --


def ending(world, *more):
    """(header, entries) of a block that ends the epoch, not checked yet; and what a leader left out of it."""
    motion = world.propose_motion(rotate(0), key(1, "node"))
    world.know(0, 1)
    world.block(*(world.approval(motion, key(i, "node")) for i in (0, 1)))
    last = world.approval(motion, key(2, "node"))
    world.chain.mempool.pick = lambda *_: (last, *more)
    slot = world.slot()
    draft = world.chain.build(world.chain.head().hash, slot)
    del world.chain.mempool.pick
    return world.header(draft, slot), draft.entries


@pytest.fixture(scope="module")
def end():
    world = Governed(count=6)
    return world, *ending(world)


def settle(world, header, body):
    world.chain.check(header, body)
    world.write(world.chain.commit(header.hash()))
    world.chain.final(header.hash())
    world.view = 0


def test_the_entry_that_ends_an_epoch_is_its_blocks_last_and_others_wait(world):
    after = a_fact(world)
    header, body = ending(world, after)
    assert (len(body), header.kind) == (1, EPOCH_END)
    longer = world.forced(*body, after)
    assert "ends the epoch, and with it the block" in longer
    world.view -= 1
    settle(world, header, body)
    world.chain.mempool.add(after, world.time, world.db.get)
    assert world.propose() == ["fact.add", "block.seal"]
    assert entries.parse(world.leaves[-1]).body["epoch"] == 1


def test_its_header_says_so_and_names_the_next_validators(world):
    header, body = ending(world)
    members = members_hash(world.seats().validators)
    lies = [
        ({"kind": NORMAL}, "exactly if it changes the validators"),
        ({"kind": NORMAL, "next_members_hash": members}, "exactly if it changes the validators"),
        ({"next_members_hash": members}, "other validators after it"),
        ({"next_members_hash": ZERO}, "other validators after it"),
        ({"kind": TAIL}, "no block of this kind"),
    ]
    for changes, why in lies:
        with pytest.raises(InvalidBlock, match=why):
            world.chain.check(replace(header, **changes), body)
    world.chain.check(header, body)
    assert world.chain.seats(header.parent_hash) == world.seats()
    later = world.chain.seats(header.hash())
    assert (later.epoch, members_hash(later.validators)) == (1, header.next_members_hash)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_header_that_ends_an_epoch_with_one_lie_is_refused(end, data):
    world, header, body = end
    name = data.draw(st.sampled_from(LIES))
    lie = replace(header, **{name: lie_of(getattr(header, name), 255 if name == "kind" else 65_535, data)})
    with pytest.raises(InvalidBlock):
        world.chain.check(lie, body)
    assert not world.chain.knows(lie.hash())


def test_no_block_of_the_old_epoch_adds_to_the_log_behind_its_end(world):
    header, body = ending(world)
    world.chain.check(header, body)
    view = header.view + 1
    more = replace(
        header, kind=NORMAL, view=view, parent_view=header.view, parent_hash=header.hash(), height=header.height + 1,
        proposer=world.leader(view), time_ms=header.time_ms + 1, n_entries=0, entries_root=entries_root(()),
        next_members_hash=header.members_hash,
    )  # fmt: skip
    with pytest.raises(InvalidBlock, match="has ended below it"):
        world.chain.check(more, ())


def test_views_of_an_epoch_count_from_one_and_heights_go_on(world):
    header, body = ending(world)
    settle(world, header, body)
    height = world.chain.head().height
    for view in (1, 2):
        world.propose()
        assert world.chain.head().view == view
        assert world.chain.head().height == height + view
        assert world.chain.head().epoch == 1
    draft = world.chain.build(world.chain.head().hash, slot := world.slot())
    with pytest.raises(InvalidBlock, match="view does not follow"):
        world.chain.check(world.header(draft, slot, view=2), draft.entries)


def test_a_chain_that_starts_again_behind_the_end_of_an_epoch_goes_on_in_the_next(world):
    header, body = ending(world)
    world.chain.check(header, body)
    head = world.chain.commit(header.hash()).head
    settle(world, header, body)
    again = Chain(world.genesis, world.db.get, verify=verify, head=head)
    assert (again.head(), again.seats(header.hash()).epoch) == (world.chain.head(), 1)
    raw = a_fact(world)
    world.chain.mempool.add(raw, world.time, world.db.get)
    draft = world.chain.build(header.hash(), slot := world.slot())
    following = world.header(draft, slot)
    again.check(following, draft.entries)
    world.chain.check(following, draft.entries)
    assert again.commit(following.hash()) == world.chain.commit(following.hash())


# -- who leads, and which link it owes --


def seals(world):
    parsed = map(entries.parse, world.leaves)
    return [entry.body for entry in parsed if entry.kind == "block.seal"]


def test_links_up_to_the_view_of_the_end_are_used_up_revealed_or_not_and_some_behind_it(world):
    world.view = 20
    world.enact(rotate(0), key(1, "node"))
    world.know(0, 1)
    assert set(world.seats().bases) == {seals(world)[-1]["view"] // 4 + 1 + 64}
    first = world.seats().bases
    world.view = 9
    world.enact(rotate(1), key(0, "node"))
    view = seals(world)[-1]["view"]
    assert world.seats().bases == tuple(base + view // 4 + 1 + 64 for base in first)


def test_a_link_shown_in_an_abandoned_block_behind_the_end_of_an_epoch_is_not_shown_again(world):
    """The end is notarized and its view given up; leaders stand on its parent until one stands on the end."""
    header, body = ending(world)
    shown = {}
    for view in range(header.view + 1, header.view + 200):  # the epoch's own leaders, before the end is final
        shown.setdefault(world.seats().validators[world.leader(view)].node, set()).add(world.position(view))
    world.chain.check(header, body)
    settle(world, header, body)
    world.know(0, 1)
    for view in range(1, 40):
        node_key = world.seats().validators[world.leader(view)].node
        assert world.position(view) not in shown[node_key]
    world.block(a_fact(world))
    replays(world)


def accuse(world, did, index):
    one, two, *_ = did.statements()
    world.block(world.entry(world.follower, "fault.evidence", did.pair(index, one, two)))


def test_a_convicted_validator_leads_nothing_from_the_next_epoch_on_until_its_key_is_another(world):
    did = Misdeeds(world)
    at = next(i for i in range(4) if did.node(i) == node(2))
    accuse(world, did, at)
    assert world.seats().convicted == frozenset()
    world.enact(rotate(0), key(1, "node"))
    world.know(0, 1)
    told = world.seats()
    assert {told.validators[i].node for i in told.convicted} == {key(2, "node").public}
    led = {told.validators[world.leader(view)].node for view in range(20)}
    assert led == seated(world) - {key(2, "node").public}
    for _ in range(4):
        world.block(a_fact(world))
    motion = world.propose_motion(rotate(2), key(2, "node"))  # it still approves
    world.know(2, 1)
    world.block(*(world.approval(motion, key(i, "node")) for i in (0, 1, 2)))
    assert (world.seats().epoch, world.seats().convicted) == (2, frozenset())
    replays(world)


def test_if_more_than_f_are_convicted_everybody_leads(world):
    did = Misdeeds(world)
    for at in [at for at in range(4) if did.node(at) in (node(1), node(2))]:
        accuse(world, did, at)
    world.enact(rotate(0), key(1, "node"))
    world.know(0, 1)
    told = world.seats()
    assert len(told.convicted) == len(views.current(world.db.get, world.genesis).convicted) == 2
    assert len({world.leader(view) for view in range(8)}) == 4
    world.block(a_fact(world))
    replays(world)


def test_a_past_epochs_fault_convicts_also_whoever_left_since(world):
    did = Misdeeds(world)
    gone = next(i for i in range(4) if did.node(i) == node(3))
    motion = world.propose_motion(instead(3, 4))
    world.block(*(world.approval(motion, key(i, "node")) for i in (0, 1, 2, 4)))
    accuse(world, did, gone)
    assert views.fault(world.db.get, node(3), 0, "votes")
    late = Misdeeds(world)
    seats = [late.node(i) for i in range(4)]
    assert node(3) not in seats
    one, two, *_ = late.statements()
    body = {**late.pair(seats.index(node(4)), one, two), "validator": node(3)}
    refused(world, world.entry(world.follower, "fault.evidence", body), "was no validator in this epoch")
    # Under its new index the same seat answers for the new epoch alone.
    at = seats.index(node(0))
    accuse(world, late, at)
    assert views.fault(world.db.get, node(0), 1, "votes")
    assert views.fault(world.db.get, node(0), 0, "votes") is None


# -- builds that are under way --


def under_way(world):
    """A request with its builders drawn, and what each would reveal."""
    request, builders = world.drawn()
    return request, builders, {builder: world.reveal(request) for builder in builders}


def commits(world, bodies):
    return [world.commit(builder, body) for builder, body in bodies.items()]


def reveals(world, bodies):
    return [world.entry(builder, "build.reveal", body) for builder, body in bodies.items()]


def test_drawn_builders_keep_their_rights_when_seats_and_roles_change():
    world = Governed(count=7, validators=5, builders=6)
    request, builders, bodies = under_way(world)
    word = next(w for w in range(6) if key(w, "node").public == builders[0].public)
    other = next(w for w in range(5) if w != word)
    world.block(*commits(world, bodies))
    roles = ("validator",) if word < 5 else ()
    fields = newcomer(word, roles)
    world.enact(member_motion("member.replace", node=node(word), member=fields), key(other, "node"))
    world.enact(rotate(other), key(other, "node"))
    world.know(other, 1)
    assert world.seats().epoch == 1
    assert views.member(world.db.get, builders[0].public)["build"] == ""
    world.block(*reveals(world, bodies))
    world.settle()
    done = views.request(world.db.get, request)
    assert len(done.verdict.body["agreeing"]) == 3
    replays(world)


@pytest.mark.parametrize("committed", [False, True])
def test_a_builder_whose_build_key_was_revoked_counts_no_more(committed):
    world = Governed(count=7, builders=6)
    request, builders, bodies = under_way(world)
    word = next(w for w in range(6) if key(w, "node").public == builders[0].public)
    if committed:
        world.block(*commits(world, bodies))
    world.enact(rotate(word, build=newcomer(word, turn=1)["build"]), key(0, "node"))
    late = reveals(world, bodies)[0] if committed else commits(world, bodies)[0]
    owed = [len(views.assignments(world.db.get, world.genesis, one.public)) for one in builders]
    assert owed == [0, 1, 1]
    assert "build key is another one than when it was drawn" in world.forced(late)
    rest = {builder: body for builder, body in bodies.items() if builder != builders[0]}
    if not committed:
        world.block(*commits(world, rest))
        world.block(wait=600_001)  # at the deadline T commits are enough
    world.block(*reveals(world, rest))
    world.block(wait=1_000_000)
    world.settle()
    done = views.request(world.db.get, request).verdict.body
    assert (done["verdict"], done["silent"]) == ("REPRODUCED", [b32(builders[0].public)])


def test_preimages_are_of_distinct_nodes_whatever_index_they_have_in_which_epoch(world):
    """A new vote key moves everybody's index: the same node again must not count as another."""
    raw, request = world.request()
    motion = world.propose_motion(rotate(0), key(1, "node"))
    world.know(0, 1)
    world.block(raw)
    assert world.chain.has_work(world.chain.head().hash)
    first = world.seats().validators[world.leader(world.view + 1)].node
    world.block(*(world.approval(motion, key(i, "node")) for i in (0, 1, 2)))
    assert world.seats().epoch == 1
    height = world.chain.head().height - 1
    assert [who for who, _ in views._get(world.db.get, f"waiting/{height}")["reveals"]] == [b32(first)]
    world.view = next(v for v in range(8) if world.seats().validators[world.leader(v + 1)].node == first)
    world.propose()
    assert views.request(world.db.get, request).draw is None
    assert len(views._get(world.db.get, f"waiting/{height}")["reveals"]) == 1
    world.settle()
    assert views.request(world.db.get, request).draw is not None
    replays(world)


# -- a chain of links that ends --


@pytest.fixture
def short(monkeypatch):
    """A network with chains of 40 links, the last 10 of which may name the next chain."""
    monkeypatch.setattr("tests.reference.ledger.LINKS", 40)
    monkeypatch.setattr(beacon, "LINKS", 40)
    monkeypatch.setattr(beacon, "NEXT_WITHIN", 10)
    monkeypatch.setattr(beacon, "END_MARGIN", 2)
    return Governed(count=6)


def following(world, number=1):
    """The end of the chain `number` of whoever leads the next view."""
    return links_end(beacon.chain_seed(world.seed(world.leader(world.view + 1)), number))


def link_of(world, proposer):
    return views._get(world.db.get, f"link/{b32(world.seats().validators[proposer].node)}")


def test_a_chain_that_ends_is_followed_by_the_next_again_and_again(short):
    world = short
    for chain in (0, 1, 2):
        world.view = 160 * chain + 4 * 31
        for _ in range(4):
            world.chain.mempool.add(a_fact(world), world.time, world.db.get)
            proposer = world.leader(world.view + 1)
            world.propose(next_chain=following(world, chain + 1))
            assert bytes.fromhex(link_of(world, proposer)["next_chain"]) == links_end(
                beacon.chain_seed(world.seed(proposer), chain + 1)
            )
        for _ in range(40):  # over the end
            world.block(a_fact(world))
        assert all("next_chain" not in link_of(world, proposer) for proposer in range(4))
    assert sum("next_chain" in seal for seal in seals(world)) == 12
    replays(world)


def idle(world):
    """A heartbeat of a leader who names its next chain whenever it may, as proposers do; its leaves."""
    at = world.position(world.view + 1)
    number = at // 40 + 1
    return world.propose(next_chain=following(world, number) if beacon.offers_next(at) else ZERO)


def test_a_network_at_rest_goes_on_over_the_end_of_its_chains(short):
    """Nobody writes anything for two lives of a chain: each validator commits once a life, by a seal of its own."""
    world = short
    kinds = [idle(world) for _ in range(4 * 80)]
    assert kinds.count(["block.seal"]) == 4 * 2
    assert kinds.count([]) == 4 * 80 - 4 * 2
    assert world.block(a_fact(world)) == ["fact.add", "block.seal"]
    replays(world)


def test_only_a_next_chain_that_counts_seals_an_idle_block(short):
    """None, one too early, and one that is committed already leave no trace; the beacon stands still."""
    world = short
    world.view = 4 * 30
    beacons = [world.chain.head().beacon]
    for _ in range(4):
        assert idle(world) == ["block.seal"]
        beacons.append(world.chain.head().beacon)
    assert len(set(beacons)) == 5
    size = len(world.leaves)
    for _ in range(8):
        assert idle(world) == []
        assert world.propose(next_chain=b"\7" * 32) == world.propose() == []
    assert (len(world.leaves), world.chain.head().beacon) == (size, beacons[-1])
    replays(world)


def test_a_seal_for_a_next_chain_that_does_not_count_is_no_replay(short):
    """The seal of a block at rest, put into the log once more: execution makes no leaf of it."""
    world = short
    world.view = 4 * 30
    idle(world)
    world.view += 3
    honest, base = list(world.leaves), seals(world)[-1]
    at = world.position(world.view + 1)
    reveal = links_at(world.seed(world.leader(world.view + 1)), at)
    body = {**base, "first_leaf": len(honest), "height": base["height"] + 1, "view": world.view + 1,
            "time_ms": base["time_ms"] + 1, "reveal": reveal.hex()}  # fmt: skip
    lie = entries.derive("block.seal", body, net=world.genesis.net)
    with pytest.raises(NotReplayed, match="execution of the log before it gives another leaf"):
        Replay(world.genesis, Parses(verify, 1_000)).feed([*honest, lie])
    assert Replay(world.genesis, Parses(verify, 1_000)).feed(honest) == 2


def test_without_a_next_chain_nobody_leads_beyond_the_end(short):
    world = short
    world.view = 160
    with pytest.raises(InvalidBlock, match="used up, and it has committed to no next one"):
        world.block(a_fact(world))


def test_a_next_chain_is_named_in_time_once_and_is_nobodys_key(short):
    world = short
    world.view = 4 * 29 - 1
    slot = world.slot(next_chain=following(world))
    draft = world.chain.build(world.chain.head().hash, slot)
    with pytest.raises(InvalidBlock, match="before the present one is nearly used up"):
        world.chain.check(world.header(draft, slot), draft.entries)
    world.view = 4 * 31
    for other in world.seats().validators:
        slot = world.slot(next_chain=other.chain_end)
        draft = world.chain.build(world.chain.head().hash, slot)
        with pytest.raises(InvalidBlock, match="is or was somebody's"):
            world.chain.check(world.header(draft, slot), draft.entries)


def test_the_first_next_chain_in_a_sealed_block_counts(short):
    world = short
    world.view = 4 * 31
    proposer = world.leader(world.view + 1)
    world.block(a_fact(world))  # it names none yet
    assert "next_chain" not in link_of(world, proposer)
    world.view = 4 * 32
    first = following(world)
    slot = world.slot(next_chain=first)
    draft = world.chain.build(world.chain.head().hash, slot)
    world.chain.check(world.header(draft, slot), draft.entries)  # a block that is abandoned: nothing counts
    assert "next_chain" not in link_of(world, proposer)
    world.view = 4 * 32
    assert world.propose(next_chain=first) == ["block.seal"]  # an idle block is sealed for it
    world.view = 4 * 33
    world.chain.mempool.add(a_fact(world), world.time, world.db.get)
    world.propose(next_chain=b"\7" * 32)
    assert link_of(world, proposer)["next_chain"] == first.hex()
    taken = rotate(4, turn=0, chain_end=first.hex())
    refused(world, world.entry(world.follower, "motion.propose", taken), "is or was somebody's")
    replays(world)


def test_a_new_chain_of_links_begins_at_its_first_position_and_forgets_the_committed_one(short):
    world = short
    world.view = 4 * 31
    for _ in range(4):
        world.chain.mempool.add(a_fact(world), world.time, world.db.get)
        world.propose(next_chain=following(world))
    world.know(0, 1)
    world.enact(rotate(0, chain_end=newcomer(0, BOTH, 1)["chain_end"]), key(1, "node"))
    told = world.seats()
    mine = next(at for at, one in enumerate(told.validators) if one.node == key(0, "node").public)
    assert link_of(world, mine) == {"base": 0, "link": told.validators[mine].chain_end.hex(), "next": 0}
    assert all("next_chain" in link_of(world, at) for at in range(4) if at != mine)
    for _ in range(40):
        world.block(a_fact(world))
    replays(world)


# -- what proposers keep --


def test_the_chains_of_one_seed_are_different_and_each_has_positions_of_its_own(monkeypatch):
    monkeypatch.setattr(beacon, "LINKS", 2_048)
    monkeypatch.setattr(beacon, "NEXT_WITHIN", 100)
    seed = b"\5" * 32
    chains = [beacon.Chain20(beacon.chain_seed(seed, number)) for number in range(3)]
    assert chains[0].end == beacon.chain_end(seed)
    assert len({one.end for one in chains}) == 3
    assert [at for at in range(3 * 2_048) if beacon.offers_next(at)] == [
        at for chain in (1, 2, 3) for at in range(2_048 * chain - 100, 2_048 * chain)
    ]
    beacon.check_link(chains[1].link(7), 2_048 + 7, chains[1].end, 2_048)
    for at, following in ((2_048 + 7, 0), (2 * 2_048, 2_048), (2_048, 2_048 + 7)):
        with pytest.raises(Malformed, match="of a chain whose next is"):
            beacon.check_link(chains[1].link(7), at, chains[1].end, following)


def test_who_validates_is_told_before_the_first_block_is_written():
    world = Governed()
    nothing = {}.get
    assert views.seats(nothing, world.genesis) == world.seats() == views.seats(world.db.get, world.genesis)
    assert views.validators(nothing, world.genesis) == world.seats().validators
    assert (views.epoch(nothing, 0), views.epoch(world.db.get, 1)) == (None, None)
    assert views.epoch(world.db.get, 0) == views.current(nothing, world.genesis)
