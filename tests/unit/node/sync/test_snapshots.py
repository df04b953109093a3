"""A node that is far behind becomes what it would be had it executed everything, whoever lies and whatever breaks."""

import random
from collections import Counter
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia._native import merkle
from pyrsia.consensus.light import Contradiction
from pyrsia.errors import Refusal, Unavailable
from pyrsia.keys import verify
from pyrsia.ledger import entries, snapshot, views
from pyrsia.ledger.chain import Chain, ChainHead
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.snapshot import Gathering
from pyrsia.log.tree import Frontier
from pyrsia.node.kinds import Method
from pyrsia.node.log.archive import Archive, Hole
from pyrsia.node.log.explorer import Explorer
from pyrsia.node.opening import measure
from pyrsia.node.sync.backfill import Backfill
from pyrsia.node.sync.points import Points
from pyrsia.node.sync.snapshots import LIAR_S, Liars, NotGiven, Peers, Snapshots, _Fetch
from pyrsia.node.sync.staging import Staging, adopt
from pyrsia.serve.desks.views import LogQuery
from pyrsia.store import layout, segments
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import MAX_PEERS, NodeId
from pyrsia.wire import snapshots as wire
from pyrsia.wire.blocks import Block
from pyrsia.wire.epochs import EpochEnd, SealedEnd, members_hash
from pyrsia.wire.text import b32
from tests.reference.ledger import key, make_genesis
from tests.reference.past import Past
from tests.reference.waiting import bounded

MANY = 10**9


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Giver:
    """A peer with a past; `lie`: (method, answer) -> another answer."""

    def __init__(self, world):
        self.world = world
        self.clock = Clock()
        self.points = Points(world.archive, world.database, clock=self.clock)
        self.clock.now += 100  # the log is at rest
        self.lie = lambda method, answer: answer
        self.counted = Counter()
        self.octets = Counter()

    async def answer(self, method, payload):
        await trio.lowlevel.checkpoint()
        self.counted[method] += 1
        answer = self.lie(method, await self.points.methods[method](NodeId(b"x" * 32), payload))
        self.octets[method] += len(answer)
        return answer


class Joiner:
    """A node in a folder of its own, begun from genesis, linked to givers."""

    def __init__(self, folder, givers, genesis=None):
        self.folder = folder
        self.genesis = genesis or Genesis.parse(make_genesis())
        self.givers = {NodeId(b"%032d" % at): giver for at, giver in enumerate(givers)}
        self.blamed = {}
        self.alarms = []
        self.open()
        if self.archive.head is None:
            chain = Chain(self.genesis, self.archive.state, verify=verify)
            self.archive.write(chain.genesis_commit(), None, None)

    def open(self):
        self.database = Database.open(self.folder / "db")
        self.said = adopt(self.database, self.genesis)
        self.archive = Archive(self.database, self.genesis)
        peers = Peers(
            lambda: list(self.givers), self.request, self.blamed.__setitem__, shuffle=random.Random(3).shuffle
        )
        self.snapshots = Snapshots(
            self.genesis, self.archive, self.database, peers, verify=verify, alarm=self.alarms.append,
            far_leaves=0,
        )  # fmt: skip
        self.backfill = Backfill(self.archive, self.database, peers)

    def restart(self):
        self.database.close()
        self.open()
        return self

    async def request(self, node, method, payload, deadline_s):
        return await self.givers[node].answer(method, payload)

    def chain(self):
        return Chain(
            self.genesis, self.archive.state, verify=verify, fetch=self.archive.index, head=self.archive.head
        )

    def follow(self, blocks):
        """Execute final blocks, as the follower does."""
        chain = self.chain()
        for block in blocks:
            chain.check(block.header, block.body.entries)
            self.archive.write(chain.commit(block.hash), block, None)
            chain.final(block.hash)


@pytest.fixture
def made(tmp_path):
    with ExitStack() as closing:

        def past(name="giver", **how):
            folder = tmp_path / name
            folder.mkdir()
            world = Past(folder, **how)
            closing.callback(world.close)
            return world

        def joiner(givers, name="joiner", genesis=None):
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            found = Joiner(folder, givers, genesis)
            closing.callback(lambda: found.database.close())
            return found

        yield past, joiner


def story(world, blocks=12, a_block=30):
    """Facts, a build from request to artifact, a motion and quiet blocks."""
    request, builders = world.drawn()
    for number in range(blocks):
        world.block(*(world.fact(f"{number} {at}") for at in range(a_block)))
        if number == blocks // 2:
            world.run(request, [(builder, world.reveal(request)) for builder in builders])
    world.propose()  # a heartbeat: no seal
    return world


def contents(archive, database, families):
    return [dict(database.scan(family, b"", MANY)) for family in families]


def plain_state(archive, database):
    """The live state without what is outside of every root and each node's own."""
    rows = dict(database.scan(archive.live.state, b"", MANY))
    rows.pop(b"root")
    return rows


async def test_a_snapshot_equals_what_execution_gives(made):
    past, joiner = made
    world = story(past())
    node = joiner([Giver(world)])
    size = world.archive.size
    assert await node.snapshots.look()
    node.restart()

    assert "began from the state after block" in node.said
    assert node.archive.size == size
    assert plain_state(node.archive, node.database) == plain_state(world.archive, world.database)
    mine, theirs = views.trees(node.archive.state), views.trees(world.archive.state)
    assert (mine.state.root, mine.packages.root) == (theirs.state.root, theirs.packages.root)
    assert measure(node.database, node.genesis) == node.archive.head.height
    keys = [dict(one.database.scan(one.archive.live.keys, b"", MANY)) for one in (node, world)]
    assert keys[0] == keys[1]


async def test_the_next_blocks_execute_the_same(made):
    past, joiner = made
    world = story(past())
    giver = Giver(world)
    node = joiner([giver])
    await node.snapshots.look()
    node.restart()
    for number in range(6):
        world.block(*(world.fact(f"later {number} {at}") for at in range(40)))
    world.drawn(version="2.0")
    blocks = [  # everything above the point, also the heartbeat
        world_block(world, height)
        for height in range(node.archive.head.height + 1, world.archive.head.height + 1)
    ]
    node.follow(blocks)

    assert node.archive.head == world.archive.head
    assert plain_state(node.archive, node.database) == plain_state(world.archive, world.database)
    size = world.archive.size
    assert node.archive.inclusion(size - 1, size) == world.archive.inclusion(size - 1, size)


def act(world, action):
    """One thing that happens to a network."""
    match action:
        case "quiet":
            world.propose()
        case "build":
            request, builders = world.drawn(version=f"1.{world.count}")
            world.run(request, [(builder, world.reveal(request)) for builder in builders])
        case "epoch":
            rotate(world)
        case int():
            world.block(*(world.fact(f"{world.count}") for _ in range(action)))


actions = st.one_of(st.integers(1, 60), st.sampled_from(("quiet", "build", "epoch")))


@given(before=st.lists(actions, min_size=1, max_size=6), after=st.lists(actions, max_size=4))
@settings(max_examples=10, deadline=None)
def test_whatever_happened_a_snapshot_equals_replay(before, after):
    """State, roots and heads are equal at the point, and again after whatever happens next."""

    async def both(folder):
        for name in ("giver", "joiner"):
            (folder / name).mkdir()
        world = Past(folder / "giver")
        world.block(world.fact("first"))
        for action in before:
            act(world, action)
        node = Joiner(folder / "joiner", [Giver(world)])
        assert await node.snapshots.look()
        node.restart()
        assert plain_state(node.archive, node.database) == plain_state(world.archive, world.database)
        for action in after:
            act(world, action)
        first, last = node.archive.head.height + 1, world.archive.head.height
        node.follow([world_block(world, height) for height in range(first, last + 1)])
        assert node.archive.head == world.archive.head
        assert plain_state(node.archive, node.database) == plain_state(world.archive, world.database)
        trees = [views.trees(one.archive.state) for one in (node, world)]
        assert trees[0].state.root == trees[1].state.root
        assert trees[0].packages.root == trees[1].packages.root
        node.database.close()
        world.close()

    with TemporaryDirectory() as folder:
        trio.run(both, Path(folder))


def world_block(world, height):
    return Block.decode(world.archive.block(height))


async def fill(node, most=1_000):
    for _ in range(most):
        if node.archive.hole is None:
            return
        await node.backfill.step()
    raise AssertionError("the hole does not close")


@pytest.mark.parametrize("a_block", [1, 30, 81])
async def test_the_log_below_is_fetched_later_and_served_like_any(made, a_block):
    past, joiner = made
    world = story(past(), a_block=a_block)
    node = joiner([Giver(world)])
    await node.snapshots.look()
    node.restart()
    assert node.archive.behind
    with pytest.raises(Refusal, match="not here yet"):
        node.archive.entry(5)
    with pytest.raises(Refusal, match="not here yet"):
        node.archive.history(b"k" * 32, 0, 10)
    with pytest.raises(Refusal, match="not here yet"):
        node.archive.bundle(0, 10)
    await fill(node)

    assert node.archive.behind == ""
    size = world.archive.size
    assert node.archive.entries(0, size) == world.archive.entries(0, size)
    for families in ((layout.TILES,), (layout.IDS,), (layout.NAMED,)):
        assert contents(node.archive, node.database, families) == contents(
            world.archive, world.database, families
        )
    rows = [
        {key: row for key, row in one.database.scan(one.archive.live.pages, b"\3", MANY)}
        for one in (node, world)
    ]
    assert rows[0] == rows[1]
    for index in range(0, size // 256):
        assert node.archive.bundle(index, 256) == world.archive.bundle(index, 256)
    assert node.archive.consistency(3, size) == world.archive.consistency(3, size)
    assert node.restart().archive.hole is None


async def test_blocks_may_come_while_the_log_below_is_fetched(made):
    past, joiner = made
    world = story(past(), blocks=20, a_block=40)
    node = joiner([Giver(world)])
    await node.snapshots.look()
    node.restart()
    chain_from = node.archive.head.height + 1
    await node.backfill.step()
    for number in range(8):
        world.block(*(world.fact(f"later {number} {at}") for at in range(40)))
    node.follow([world_block(world, height) for height in range(chain_from, world.archive.head.height + 1)])
    await fill(node)

    size = world.archive.size
    assert node.archive.entries(0, 1_000) == world.archive.entries(0, 1_000)
    assert node.archive.entries(size - 300, 300) == world.archive.entries(size - 300, 300)
    tiles = [dict(one.database.scan(layout.TILES, b"", MANY)) for one in (node, world)]
    assert tiles[0] == tiles[1]


async def test_a_node_with_a_past_of_its_own_keeps_it_and_takes_the_rest(made):
    """Also twice: the second snapshot grows over what the first one left."""
    past, joiner = made
    world = story(past())
    giver = Giver(world)
    node = joiner([giver])
    node.follow([world_block(world, height) for height in range(1, 6)])
    first = node.archive.size
    await node.snapshots.look()
    node.restart()
    assert node.archive.hole.first == first
    assert node.archive.entry(first - 1) == world.archive.entry(first - 1)
    for number in range(10):
        world.block(*(world.fact(f"second {number} {at}") for at in range(30)))
    giver.clock.now += 100
    await node.backfill.step()
    await node.snapshots.look()
    node.restart()
    await fill(node)

    size = world.archive.size
    assert node.archive.size == size
    assert node.archive.entries(0, size) == world.archive.entries(0, size)
    assert plain_state(node.archive, node.database) == plain_state(world.archive, world.database)


async def test_epochs_are_followed_up_to_the_point(made):
    past, joiner = made
    world = story(past(), blocks=3)
    for _ in range(2):
        rotate(world)
        story(world, blocks=2)
    assert world.chain.head().epoch == 2
    node = joiner([Giver(world)])
    await node.snapshots.look()
    node.restart()

    assert node.archive.head.epoch == 2
    for number in (0, 1):
        assert node.archive.epoch_end(number) == world.archive.epoch_end(number) is not None
    assert views.seats(node.archive.state, node.genesis) == views.seats(world.archive.state, world.genesis)
    # and it gives what it took
    second = joiner([Giver(Whole(node))], "second")
    await second.snapshots.look()
    assert second.restart().archive.head == node.archive.head


async def test_a_state_at_the_very_end_of_an_epoch_proves_that_end_to_the_next(made):
    """The seal that names the next validators is the newest leaf, and all that is here of the log."""
    past, joiner = made
    world = story(past(), blocks=6)
    rotate(world)
    assert world.archive.head.tree_size == views.epoch(world.archive.state, 1).size
    node = joiner([Giver(world)])
    await node.snapshots.look()
    node.restart()

    step = EpochEnd.decode(node.archive.epoch_end(0))
    assert node.archive.behind
    assert step == EpochEnd.decode(world.archive.epoch_end(0))
    assert SealedEnd.read(step.seal) == (0, world.archive.head.height, members_hash(step.validators))


class Whole:
    """A joined node as a giver."""

    def __init__(self, node):
        self.archive, self.database = node.archive, node.database


def rotate(world):
    """One validator's vote key changes by a motion: an epoch ends."""
    number = len(world.vote_keys)
    fresh = key(number, "vote", "rotated")
    world.vote_keys[fresh.public] = fresh
    body = {
        "kind": "member.rotate",
        "node": b32(world.nodes[0].public),
        "reason": "r",
        "vote": fresh.public.hex(),
    }
    raw = world.entry(world.nodes[0], "motion.propose", body)
    world.block(raw)
    motion = entries.entry_id(raw).hex()
    for node in world.nodes[:3]:
        world.block(world.entry(node, "motion.approve", {"motion": motion}))


# -- lies --


def altered(kind):
    """An answer with one byte changed, in the middle."""

    def lie(method, answer):
        if method != kind or not answer:
            return answer
        at = len(answer) // 2
        return answer[:at] + bytes((answer[at] ^ 1,)) + answer[at + 1 :]

    return lie


@pytest.mark.parametrize("method", [Method.ANCHOR, Method.PARTS])
async def test_a_liar_is_found_and_the_others_bring_the_state(made, method):
    past, joiner = made
    world = story(past())
    givers = [Giver(world) for _ in range(4)]
    for liar in givers[:3]:
        liar.lie = altered(method)
    node = joiner(givers)
    assert await node.snapshots.look()
    node.restart()

    assert plain_state(node.archive, node.database) == plain_state(world.archive, world.database)
    asked = {name for name, giver in list(node.givers.items())[:3] if giver.counted[method]}
    assert set(node.blamed) == asked


async def test_a_liar_about_entries_is_found(made):
    past, joiner = made
    world = story(past(), blocks=10, a_block=60)
    givers = [Giver(world) for _ in range(2)]
    node = joiner(givers)
    await node.snapshots.look()
    node.restart()
    givers[1].lie = altered(Method.BUNDLES)
    await fill(node)

    assert list(node.blamed) == list(node.givers)[1:]
    assert node.archive.entries(0, 100) == world.archive.entries(0, 100)


async def test_with_liars_alone_nothing_is_staged(made):
    past, joiner = made
    world = story(past())
    giver = Giver(world)
    giver.lie = altered(Method.PARTS)
    node = joiner([giver])
    with pytest.raises(NotGiven):
        await node.snapshots.look()
    node.restart()

    assert node.said == ""
    assert node.archive.size == 2
    assert node.blamed


async def test_a_peer_that_gives_up_half_way_costs_nothing_that_came(made):
    past, joiner = made
    world = story(past(), blocks=30)
    giver = Giver(world)

    def breaks(method, answer):
        if method is Method.PARTS and giver.counted[method] > 8:
            raise Unavailable("gone")
        return answer

    giver.lie = breaks
    with pytest.MonkeyPatch.context() as patched, bounded(20):
        patched.setattr(snapshot.answer, "__defaults__", (20_000,))
        node = joiner([giver])
        with pytest.raises(NotGiven):
            await node.snapshots.look()
        node.restart()
        before = giver.octets[Method.PARTS]
        giver.lie = lambda method, answer: answer
        assert await node.snapshots.look()
    after = giver.octets[Method.PARTS] - before
    fresh = Giver(world)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(snapshot.answer, "__defaults__", (20_000,))
        other = joiner([fresh], "other")
        assert await other.snapshots.look()
    assert before > 60_000
    assert after < fresh.octets[Method.PARTS] - before // 4  # (roots of places come twice)
    node.restart()
    assert plain_state(node.archive, node.database) == plain_state(world.archive, world.database)


async def test_a_crash_before_the_last_write_leaves_the_old_state(made):
    past, joiner = made
    world = story(past())
    node = joiner([Giver(world)])
    before = plain_state(node.archive, node.database)
    complete = type(node.snapshots)._gather

    async def without_end(self, anchor, sealed, givers):
        staging = Staging(self._database)
        fetch = _Fetch(self, anchor, staging, Gathering(sealed.roots, staging.held))
        await fetch.run(givers)
        assert fetch.gathering.finished

    node.snapshots._gather = without_end.__get__(node.snapshots)
    await node.snapshots.look()
    node.restart()
    assert node.archive.size == 2
    assert plain_state(node.archive, node.database) == before
    node.snapshots._gather = complete.__get__(node.snapshots)
    await node.snapshots.look()
    assert node.restart().archive.size == world.archive.size


async def test_another_final_history_than_ours_is_an_alarm(made):
    """A node that holds a final block asks where a quorum has signed another past: it must not follow."""
    past, joiner = made
    mine, theirs = past("mine"), past("theirs")
    for number in range(4):
        mine.block(mine.fact(f"mine {number}"))
        theirs.block(theirs.fact(f"theirs {number}"))
    giver = Giver(theirs)
    node = joiner([giver])
    node.follow([world_block(mine, height) for height in range(1, 5)])
    [point] = wire.decode_points(await giver.answer(Method.POINTS, b""))
    with pytest.raises(Contradiction):
        await node.snapshots._anchor(point, list(node.givers), set())


async def test_who_is_not_far_behind_asks_for_nothing_more(made):
    past, joiner = made
    world = story(past(), blocks=2)
    giver = Giver(world)
    node = joiner([giver])
    node.snapshots._far_leaves = 10_000
    assert not await node.snapshots.look()
    assert set(giver.counted) == {Method.POINTS}


async def test_points_are_kept_at_the_same_moments_by_all_and_boundedly(made):
    past, _ = made
    world = past()
    giver = Giver(world)
    for number in range(40):
        world.block(world.fact(f"{number}"), wait=30_000)
    kept = wire.decode_points(await giver.answer(Method.POINTS, b""))
    assert len(kept) == 8
    heights = [point.height for point in kept]
    assert {high - low for low, high in pairwise(heights)} == {2}


async def test_a_point_may_end_where_a_tile_is_full(made):
    past, joiner = made
    world = past()
    world.block(*(world.fact(f"{at}") for at in range(100)))
    world.block(*(world.fact(f"more {at}") for at in range(152)))
    assert world.archive.size == 256
    node = joiner([Giver(world)])
    await node.snapshots.look()
    node.restart()
    assert measure(node.database, node.genesis) == 2
    world.block(world.fact("next"))
    node.follow([world_block(world, 3)])
    assert node.archive.head == world.archive.head
    assert measure(node.database, node.genesis) == 3
    await fill(node)
    assert node.archive.consistency(3, 256) == world.archive.consistency(3, 256)


class Tall:
    """A log of short leaves, tall enough for tiles above the lowest level; nobody executes it."""

    def __init__(self, folder, size):
        self.database = Database.open(folder / "db")
        self.archive = Archive(self.database, Genesis.parse(make_genesis()))
        self.leaves = [b"%d" % at for at in range(size)]
        self.frontier = Frontier()
        for at in range(0, size, 4_096):
            some = self.leaves[at : at + 4_096]
            batch = Batch()
            segments.put(batch, at, some)
            self.frontier, changed = self.frontier.append(merkle.leaf_hashes(some))
            for place, row in changed.items():
                batch.put(layout.TILES, layout.tile(*place), row)
            self.database.write(batch)
        self.archive.head = head_of(self.frontier)


def head_of(frontier):
    return ChainHead(b"h" * 32, 9, 9, 1, int(frontier.size), frontier.root(), bytes(32), frontier.encode(), 0)


async def test_tiles_of_every_level_are_held_against_the_edge(tmp_path, monkeypatch):
    """Entries mean nothing here: what is known by them is left out."""
    monkeypatch.setattr(Backfill, "_know", lambda *_: None)
    (tmp_path / "tall").mkdir()
    size = 256 * 256 * 2 + 256 * 3 + 5
    tall = Tall(tmp_path / "tall", size)
    giver = Giver.__new__(Giver)
    giver.counted, giver.octets, giver.lie = Counter(), Counter(), altered(Method.TILES)
    honest = Giver.__new__(Giver)
    honest.counted, honest.octets, honest.lie = Counter(), Counter(), lambda method, answer: answer
    giver.points = honest.points = Points(tall.archive, tall.database)
    node = Joiner(tmp_path / "low", [honest, giver])
    batch = Batch()
    for level, row in enumerate(tall.archive.edge(size)):
        number = ((size >> 8 * level) - 1) // 256
        batch.put(layout.TILES, layout.tile(level, number), row)
    segments.put(batch, size - 1, tall.leaves[-1:])
    node.archive.head = head_of(tall.frontier)
    node.archive.keep_hole(batch, Hole(2, size, size - 1))
    await fill(node)

    assert list(node.blamed) == list(node.givers)[1:]
    assert node.archive.entries(700, 1_000) == tall.archive.entries(700, 1_000)
    tiles = [dict(one.database.scan(layout.TILES, b"", MANY)) for one in (node, tall)]
    assert tiles[0] == tiles[1]
    node.database.close()
    tall.database.close()


async def test_readers_of_the_newest_are_given_what_is_here(made):
    """The first pages of a list, on a node whose older log has not come yet."""
    past, joiner = made
    world = story(past())
    node = joiner([Giver(world)])
    await node.snapshots.look()
    node.restart()
    for number in range(3):
        world.block(world.fact(f"later {number}"))
    node.follow(
        [world_block(world, at) for at in range(node.archive.head.height + 1, world.archive.head.height + 1)]
    )
    size = node.archive.size
    explorer = Explorer(node.archive, node.genesis)
    here = node.archive.here_from(size - 50)
    assert size - 50 < here < size - 5
    newest = await explorer.find(LogQuery(count=5, order="newest"))
    assert [row.index for row in newest.entries] == list(range(size - 5, size))[::-1]
    page = await explorer.find(LogQuery(count=50))
    assert [row.index for row in page.entries] == list(range(here, size))
    with pytest.raises(Refusal, match="not here yet"):
        await explorer.find(LogQuery(count=5, order="oldest"))


async def test_who_offers_and_does_not_answer_is_asked_once_and_holds_nobody_up(made):
    past, joiner = made
    world = story(past())
    points = tuple(wire.Point(10**6 + at, 10**9 + at, bytes([at]) * 32) for at in range(16))
    silent = Giver(world)

    def says_nothing(method, answer):
        if method is Method.POINTS:
            return wire.encode_points(points)
        raise Unavailable("no answer")

    async def answer(method, payload):
        await trio.lowlevel.checkpoint()
        silent.counted[method] += 1
        return says_nothing(method, b"")

    silent.answer = answer
    node = joiner([silent, Giver(world)])
    held = []
    node.snapshots._hold = held.append
    assert await node.snapshots.look()

    assert silent.counted == {Method.POINTS: 1, Method.ANCHOR: 1}
    assert held == [False, True]
    assert node.restart().archive.size == world.archive.size


async def test_members_are_asked_first_and_nobody_by_the_order_of_ids(autojump_clock):
    """Ids cost nothing: whoever made the lowest ones is not whom a newcomer asks."""
    members = [NodeId(bytes([250, number]) + bytes(30)) for number in range(3)]
    guests = [NodeId(bytes([number]) + bytes(31)) for number in range(60)]
    peers = Peers(lambda: sorted([*guests, *members]), None, None, member=members.__contains__)
    liars = Liars()
    assert {frozenset(peers.drawn(liars)[:3]) for _ in range(20)} == {frozenset(members)}
    assert len({tuple(peers.drawn(liars)[3:]) for _ in range(20)}) > 1
    liars.add(members[0])
    assert members[0] not in peers.drawn(liars)
    await trio.sleep(LIAR_S.value)
    assert members[0] in peers.drawn(liars)


async def test_the_list_of_liars_is_bounded(autojump_clock):
    liars = Liars()
    for number in range(2 * MAX_PEERS.value):
        liars.add(NodeId(number.to_bytes(32, "big")))
    assert len(liars._until_s) == MAX_PEERS.value
