"""Blocks on top of the final state: each lie of a header, competing blocks, what is forgotten, delivery."""

from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.keys import verify
from pyrsia.ledger import entries, views
from pyrsia.ledger.chain import Chain, InvalidBlock
from pyrsia.wire.blocks import EPOCH_END, TAIL, Header, entries_root
from tests.reference import merkle
from tests.reference.ledger import ZERO, World, links_at

# What a chain cannot judge: the view's rules, certificates and committees are agreement's (docs/agreement.md).
AGREEMENTS = {"parent_hash", "parent_view", "members_hash", "just_hash", "_hash"}
LIES = sorted({field.name for field in fields(Header)} - AGREEMENTS)


def fact(world, author=None, text="x"):
    body = {"kind": "description", "subject": "pkg:pypi/idna@1.0", "text": text, "valid_from": 1}
    return world.entry(author or world.follower, "fact.add", body)


def proposed(world, *raw, parent=None, wait=1_000):
    """(header, entries) of an honest block on `parent`, not yet checked."""
    for item in raw:
        world.chain.mempool.add(item, world.time, world.db.get)
    slot = world.slot(wait)
    draft = world.chain.build((parent or world.chain.head()).hash, slot)
    header = world.header(draft, slot)
    if parent is not None:
        header = replace(header, parent_hash=parent.hash, parent_view=parent.view)
    return header, draft.entries


def put(chain, header, body):
    chain.check(header, body)
    node = chain._nodes[header.hash()]
    return node.ref


@pytest.fixture(scope="module")
def honest():
    """A world with history, and an honest block with one entry that nobody has checked."""
    world = World()
    request, builders = world.drawn()
    world.run(request, [(b, world.reveal(request)) for b in builders])
    return world, *proposed(world, fact(world))


def lie_of(value, most, data):
    if isinstance(value, bytes):
        other = bytearray(value)
        at = data.draw(st.integers(0, 8 * len(value) - 1))
        other[at // 8] ^= 1 << at % 8
        return bytes(other)
    return data.draw(st.integers(0, most).filter(lambda number: number != value))


@settings(max_examples=400)
@given(st.data())
def test_a_header_with_one_lie_is_refused(honest, data):
    world, header, body = honest
    name = data.draw(st.sampled_from(LIES))
    lie = replace(header, **{name: lie_of(getattr(header, name), 255 if name == "kind" else 65_535, data)})

    with pytest.raises(InvalidBlock):
        world.chain.check(lie, body)
    assert not world.chain.knows(lie.hash())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"chain_id": ZERO}, "another chain"),
        ({"epoch": 1}, "another epoch"),
        ({"kind": EPOCH_END}, "exactly if it changes the validators"),
        ({"kind": TAIL}, "no block of this kind"),
        ({"kind": 3}, "no block of this kind"),
        ({"next_members_hash": ZERO}, "other validators after it"),
        ({"tree_root": ZERO}, "another tree"),
        ({"tree_size": 3}, "another tree"),
        ({"beacon": ZERO}, "another beacon"),
        ({"reveal": ZERO}, "not the link of its view|does not lead"),
        ({"entries_root": ZERO}, "not the one that the header names"),
        ({"n_entries": 2}, "not the one that the header names"),
        ({"next_chain": b"\1" * 32}, "before the present one is nearly used up"),
        ({"proposer": 99}, "is no validator"),
        ({"view": 0}, "does not follow"),
        ({"time_ms": 0}, "does not follow"),
    ],
)
def test_the_reason_is_told(honest, change, why):
    world, header, body = honest
    with pytest.raises(InvalidBlock, match=why):
        world.chain.check(replace(header, **change), body)


@pytest.mark.parametrize("time_ms", [1 << 52, 1 << 53, (1 << 64) - 1])
def test_a_leader_whose_clock_left_the_numbers_of_json_makes_no_valid_block(time_ms):
    """With a deadline due, such a block would be sealed: with a time that no leaf can hold."""
    world = World()
    world.drawn()
    slot = world.slot()
    draft = world.chain.build(world.chain.head().hash, slot)
    with pytest.raises(InvalidBlock) as no:
        world.chain.check(world.header(draft, slot, time_ms=time_ms), draft.entries)
    assert ("no number of the log" in str(no.value)) is (time_ms > 1 << 52)


@pytest.mark.parametrize("name", ["view", "time_ms"])
def test_view_and_time_grow_with_every_block(honest, name):
    world, header, body = honest
    parent = getattr(world.chain.head(), name)
    with pytest.raises(InvalidBlock, match="does not follow"):
        world.chain.check(replace(header, **{name: parent}), body)


@pytest.mark.parametrize("step", [0, 2])
def test_height_is_the_parents_and_one(honest, step):
    world, header, body = honest
    with pytest.raises(InvalidBlock, match="does not follow"):
        world.chain.check(replace(header, height=header.height - 1 + step), body)


def test_the_link_of_another_view_is_refused(honest):
    """A proposer that knows its whole chain cannot choose which link it reveals."""
    world, header, body = honest
    seed = world.seed(header.proposer)
    at = header.view // len(world.genesis.validators)
    for other in (at - 1, at + 1):
        with pytest.raises(InvalidBlock):
            world.chain.check(replace(header, reveal=links_at(seed, other)), body)


@given(st.data())
@settings(max_examples=50)
def test_another_body_is_refused_even_for_a_header_that_was_checked(data):
    world = World()
    header, body = proposed(world, fact(world), fact(world, world.nodes[0]))
    other = data.draw(st.sampled_from([(), body[:1], body[::-1], (*body, b"{}"), (body[0], body[1] + b" ")]))

    for _ in range(2):
        with pytest.raises(InvalidBlock, match="not the one"):
            world.chain.check(header, other)
        world.chain.check(header, body)  # the truth is taken, before and after the lie


def test_a_block_on_an_unknown_parent_is_the_callers_mistake(honest):
    world, header, body = honest
    with pytest.raises(KeyError):
        world.chain.check(replace(header, parent_hash=ZERO), body)


def test_agreement_may_bring_its_own_exception(world):
    class Mine(Exception):
        pass

    chain = Chain(world.genesis, world.db.get, verify=verify, invalid=Mine)
    header, body = proposed(world)
    with pytest.raises(Mine, match="another tree"):
        chain.check(replace(header, tree_root=ZERO), body)


def test_the_tree_is_the_rfcs(world):
    request, builders = world.drawn()
    world.run(request, [(b, world.reveal(request)) for b in builders])
    assert world.chain.head().tree_size == len(world.leaves)
    assert world.chain.head().tree_root == merkle.root([merkle.leaf_hash(leaf) for leaf in world.leaves])


# -- competing blocks --


def test_each_branch_sees_its_own_state_and_the_losing_one_is_forgotten(world):
    head = world.chain.head()
    left = put(world.chain, *proposed(world, fact(world, text="left")))
    above = put(world.chain, *proposed(world, fact(world, text="above"), parent=left))
    world.chain.mempool.remove(world.chain.mempool.ids())
    right = put(world.chain, *proposed(world, fact(world, text="right")))
    on_right = put(world.chain, *proposed(world, fact(world, text="on right"), parent=right))

    roots = {ref.hash: views.state_root(world.chain.reads_at(ref.hash)) for ref in (head, left, above, right)}
    assert len(set(roots.values())) == 4
    assert views.state_root(world.db.get) == roots[head.hash]  # nothing is written yet

    world.write(world.chain.commit(right.hash))
    world.chain.final(right.hash)
    assert world.chain.head() == right
    assert [world.chain.knows(ref.hash) for ref in (head, left, above, right, on_right)] == [
        False, False, False, True, True,
    ]  # fmt: skip
    assert len(world.chain._nodes) == 1
    assert views.state_root(world.db.get) == roots[right.hash]
    with pytest.raises(KeyError):
        world.chain.build(left.hash, world.slot())
    world.write(world.chain.commit(on_right.hash))
    world.chain.final(on_right.hash)
    assert not world.chain._nodes


def test_an_entry_of_a_losing_branch_still_waits_for_a_block(world):
    raw = fact(world)
    put(world.chain, *proposed(world, raw))
    header, _ = proposed(world)
    empty = replace(header, n_entries=0, entries_root=entries_root(()), tree_size=2)
    idle = replace(empty, tree_root=world.chain.head().tree_root, beacon=world.chain.head().beacon)
    put(world.chain, idle, ())
    world.write(world.chain.commit(idle.hash()))
    world.chain.final(idle.hash())
    assert world.propose() == ["fact.add", "block.seal"]


def test_blocks_become_final_in_order_and_a_mistake_loses_nothing(world):
    first = put(world.chain, *proposed(world, fact(world)))
    second = put(world.chain, *proposed(world, fact(world), parent=first))
    for call in (world.chain.commit, world.chain.final):
        with pytest.raises(ValueError, match="in order"):
            call(second.hash)
    for ref in (first, second):
        world.write(world.chain.commit(ref.hash))
        world.chain.final(ref.hash)
    world.chain.final(second.hash)  # twice is harmless
    assert world.chain.head() == second


def test_a_commit_names_ids_and_hashes_leaf_by_leaf(world):
    raws = [fact(world), fact(world, world.nodes[0])]
    header, body = proposed(world, *raws)
    world.chain.check(header, body)
    commit = world.chain.commit(header.hash())
    assert commit.leaves[:2] == tuple(raws)
    assert commit.entry_ids == (*map(entries.entry_id, raws), b"")
    assert commit.leaf_hashes == b"".join(merkle.leaf_hash(leaf) for leaf in commit.leaves)
    assert commit.first_leaf == len(world.leaves)
    assert (commit.head.block_hash, commit.head.tree_size) == (header.hash(), commit.first_leaf + 3)


def test_a_restarted_chain_goes_on_where_the_store_stopped(world):
    request, builders = world.drawn()
    header, body = proposed(world, world.commit(builders[0], world.reveal(request)))
    world.chain.check(header, body)
    commit = world.chain.commit(header.hash())
    world.write(commit)
    world.chain.final(header.hash())
    again = Chain(world.genesis, world.db.get, verify=verify, head=commit.head)
    assert again.head() == world.chain.head()
    next_header, next_body = proposed(world, fact(world))
    again.check(next_header, next_body)
    world.chain.check(next_header, next_body)
    assert again.commit(next_header.hash()) == world.chain.commit(next_header.hash())


# -- everybody computes the same --


@settings(max_examples=25)
@given(st.permutations(range(6)), st.permutations(range(6)))
def test_whatever_order_entries_arrived_in_the_leaders_block_gives_everybody_one_state(mine, theirs):
    leader, other = World(), World()
    raws = [fact(leader, leader.nodes[i % 3], text=str(i)) for i in range(6)]
    for i in theirs:
        other.chain.mempool.add(raws[i], other.time, other.db.get)
    header, body = proposed(leader, *(raws[i] for i in mine))

    leader.chain.check(header, body)
    other.chain.check(header, body)

    assert leader.chain.commit(header.hash()) == other.chain.commit(header.hash())
    other.write(other.chain.commit(header.hash()))
    other.chain.final(header.hash())
    assert len(other.chain.mempool) == 0


def test_a_link_proven_once_is_not_hashed_again_and_a_lie_about_it_is_still_seen(world):
    header, body = proposed(world, fact(world))
    world.chain.check(header, body)
    other = replace(header, time_ms=header.time_ms + 1)
    with pytest.raises(InvalidBlock, match="not the link of its view"):
        world.chain.check(replace(other, reveal=ZERO), body)
    with pytest.raises(InvalidBlock, match="another tree"):  # its link is right, its seal has another time
        world.chain.check(other, body)


def test_work_is_pending_entries_draws_deadlines_and_nothing_else(world):
    chain = world.chain
    assert not chain.has_work(chain.head().hash)
    assert not chain.has_work(ZERO)
    raw, _ = world.request()
    chain.mempool.add(raw, world.time, world.db.get)
    assert chain.has_work(chain.head().hash)
    world.propose()
    assert chain.has_work(chain.head().hash)  # preimages are wanted
    world.settle()
    assert not chain.has_work(chain.head().hash)
    world.propose(wait=700_000)
    assert chain.has_work(chain.head().hash)  # that block saw to the deadline: a second draw
    world.settle()
    assert not chain.has_work(chain.head().hash)


def test_what_stands_in_a_block_that_is_not_final_yet_is_no_work_and_not_offered_again(world):
    chain = world.chain
    first, second = (fact(world, text=text) for text in ("one", "two"))
    chain.mempool.add(first, world.time, world.db.get)
    draft = chain.build(chain.head().hash, slot := world.slot())
    header = world.header(draft, slot)
    chain.check(header, draft.entries)

    assert draft.entries == (first,)
    assert not chain.has_work(header.hash())
    assert chain.build(header.hash(), world.slot()).entries == ()

    chain.mempool.add(second, world.time, world.db.get)
    assert chain.has_work(header.hash())
    assert chain.build(header.hash(), world.slot()).entries == (second,)
    assert set(chain.build(chain.head().hash, world.slot()).entries) == {first, second}  # on another branch
