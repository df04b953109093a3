"""Members and motions of the past against the state of then, whatever was proposed, approved, accepted or expired."""

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.ledger import views
from pyrsia.node.log import times
from pyrsia.node.members.membership import Members, Membership
from pyrsia.node.members.past import PastMembers
from pyrsia.serve.desks.knowing import AsOf
from pyrsia.wire.text import b32
from tests.reference.governance import Governed, fact, mapping, member_motion, newcomer, numbers, secret
from tests.reference.housed import Housed
from tests.reference.ledger import START, key
from tests.reference.pasts import Eventful

BOTH = ("builder", "validator")
WEEK_MS = 604_800_000


def node(word):
    return b32(key(word, "node").public)


def bodies(turn):
    """Motions that change members in each way, and two that do not; `turn` makes those of one kind differ."""
    word = ("new", "other", "third")[turn % 3]
    changed = newcomer(4, ("builder",), name=f"node 4, called otherwise {turn}")
    return (
        member_motion("member.add", member=newcomer(word, ())),
        member_motion("member.remove", node=node(word)),
        member_motion("member.replace", node=node(4), member=changed),
        member_motion("member.replace", node=node(4), member=newcomer(4, BOTH)),
        member_motion("member.replace", node=node(3), member=newcomer(4, BOTH)),
        member_motion("member.rotate", node=node(1), build=secret(1, "build", turn + 1).public.hex()),
        member_motion("member.rotate", node=node(1), vote=secret(1, "vote", turn + 1).public.hex()),
        mapping(),
        numbers(limits=[["builder", 500 + turn], ["member", 100]]),
    )


class Log:
    """What is asked of an archive, out of a world; `states`: the whole state behind each block, by the log's size."""

    def __init__(self, world):
        self.world = world
        self.states = {}
        self.keep()

    def keep(self):
        self.states[self.size] = dict(self.world.db)

    @property
    def size(self):
        return len(self.world.leaves)

    def entries(self, first, count):
        return self.world.leaves[first : first + count]

    def state(self, key):
        return self.world.db.get(key)

    def rows(self, start, count):
        return sorted((name, row) for name, row in self.world.db.items() if name >= start)[:count]


class History:
    """A network in which acts happen, each as a number of a list; what cannot be is refused and changes nothing."""

    def __init__(self):
        self.world = Governed(count=6)
        for turn in range(1, 40):
            self.world.know(1, turn)
        self.log = Log(self.world)
        self.motions = []
        self.past = PastMembers(self.log, self.world.genesis, self.log.rows)

    def act(self, number):
        world = self.world
        try:
            if number < 30 or not self.motions:
                choices = bodies(number // 9)
                author = key((number * 7) % 6, "node")
                self.motions.append(world.propose_motion(choices[number % len(choices)], author))
            elif number < 90:
                motion = self.motions[-1 - number % min(3, len(self.motions))]
                who = world.validators()[number % 4 :][: 1 + number % 3]
                world.block(*(world.approval(motion, one) for one in who))
            elif number < 97:
                world.block(world.approval(self.motions[-1], key(4, "node")))
            else:
                world.propose(wait=WEEK_MS if number == 99 else WEEK_MS // 2)
        except Refusal:
            pass
        self.log.keep()

    async def then(self, size):
        moment = await times.moment(self.log, size, None, 4_070_908_800_000)
        return Members(await self.past.at(moment), self.world.genesis)

    def oracle(self, size):
        return Members(self.log.states[size].get, self.world.genesis)


async def differing(history):
    """Sizes of which the answer is not that of the state of then."""
    found = []
    for size in history.log.states:
        then, oracle = await history.then(size), history.oracle(size)
        same = then.told() == oracle.told()
        if not same or any(then.motion(one) != oracle.motion(one) for one in history.motions):
            found.append(size)
    return found


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 99), max_size=25))
def test_at_each_moment_members_and_motions_are_those_of_the_log_that_ended_there(acts):
    history = History()
    for number in acts:
        history.act(number)
    assert trio.run(differing, history) == []


def test_a_seat_that_is_given_a_vote_that_expires_and_keys_that_change_are_told_as_they_were():
    history = History()
    world = history.world
    motions = history.motions

    def approve(*who):
        for one in who:
            world.block(world.approval(motions[-1], key(one, "node")))
            history.log.keep()

    def propose(body, author=None):
        motions.append(world.propose_motion(body, author))
        history.log.keep()

    propose(member_motion("member.replace", node=node(4), member=newcomer(4, BOTH)))
    approve(0, 1, 2, 4)
    propose(member_motion("member.rotate", node=node(1), vote=secret(1, "vote", 1).public.hex()))
    approve(0, 1, 2, 3)
    propose(member_motion("member.replace", node=node(3), member=newcomer(5, BOTH)))
    approve(0, 1)
    propose(member_motion("member.remove", node=node(2)), key(0, "node"))
    approve(0, 1, 2, 3)
    world.propose(wait=WEEK_MS + 10_000)
    history.log.keep()
    world.propose_motion(mapping(), key(0, "node"))  # writes down what expired
    history.log.keep()

    seen = {views.motion(state.get, one)["phase"] for state in history.log.states.values() for one in motions
            if views.motion(state.get, one)}  # fmt: skip
    assert seen == {"open", "awaits-acceptance", "enacted", "expired"}
    assert {one.number for one in map(history_epoch(history), history.log.states)} >= {0, 1, 2, 3}
    assert trio.run(differing, history) == []


def test_at_the_very_end_of_its_time_a_motion_still_waits():
    history = History()
    history.motions.append(history.world.propose_motion(mapping()))
    history.world.propose(wait=WEEK_MS - 1_000)  # without an entry it is no block of the log's
    for text in ("at its end", "behind it"):
        history.world.block(history.world.entry(history.world.follower, "fact.add", fact(text=text)))
        history.log.keep()
    last, over = list(history.log.states)[-2:]
    assert [len(trio.run(history.then, size).told().motions) for size in (last, over)] == [1, 0]
    assert trio.run(differing, history) == []


def history_epoch(history):
    return lambda size: views.current(history.log.states[size].get, history.world.genesis)


async def test_every_size_between_two_blocks_has_an_answer_in_which_nothing_later_shines_through(tmp_path):
    world = Eventful(tmp_path)
    rows = lambda start, count: world.database.scan(world.archive.live.state, start, count)  # noqa: E731
    past = PastMembers(world.archive, world.genesis, rows)
    counts = []
    for size in range(1, world.archive.size + 1):
        moment = await times.moment(world.archive, size, None, 4_070_908_800_000)
        told = Members(await past.at(moment), world.genesis).told()
        assert all(one.leaf < size and one.decided < size for one in told.motions)
        counts.append(len(told.members))
    world.close()
    assert [one for at, one in enumerate(counts) if at == 0 or counts[at - 1] != one] == [12, 13, 12]


async def test_the_nodes_own_answer_names_its_moment_and_knows_no_links_and_no_strikes(tmp_path):
    world = Housed(tmp_path)
    clock = lambda: world.time / 1_000  # noqa: E731
    membership = Membership(world.house, lambda _: True, clock=clock)
    before, before_ms = world.house.archive.size, world.time
    world.enact(member_motion("member.add", member=newcomer("new", ())))
    motion = world.propose_motion(member_motion("member.remove", node=newcomer("new")["node"]))

    now = await membership.members_at(AsOf())
    assert (now, now.size) == (membership.members(), -1)
    then = await membership.members_at(AsOf(size=before))
    assert (then.size, then.time_ms, len(then.members)) == (before, times.time_of(world.house.archive, 0), 5)
    assert {(one.connected, one.strikes) for one in then.members} == {(None, None)}
    assert len((await membership.members_at(AsOf(time_ms=before_ms + 60_000))).members) == 6
    assert (await membership.motion_at(motion[:8], AsOf())).phase == "open"
    assert await membership.motion_at(motion[:8], AsOf(size=before)) is None
    assert await membership.motion_at("0" * 64, AsOf(size=before)) is None
    world.house.close()


@pytest.mark.parametrize(
    ("at", "what"),
    [
        (AsOf(size=0), "the log began later"),
        (AsOf(size=10**9), "never as long"),
        (AsOf(time_ms=START + 10**9), "lies ahead"),
        (AsOf(time_ms=START - 5_000), "the log began later"),
        (AsOf(1, 1), "two moments"),
    ],
)
async def test_what_is_no_moment_is_refused(tmp_path, at, what):
    world = Housed(tmp_path)
    membership = Membership(world.house, lambda _: True, clock=lambda: world.time / 1_000)
    for asked in (membership.members_at(at), membership.motion_at("0" * 64, at)):
        with pytest.raises(Refusal, match=what) as caught:
            await asked
        assert caught.value.code == "bad-request"
    world.house.close()


async def test_a_question_about_many_motions_lets_others_have_their_turn(tmp_path):
    history = History()
    raw = {f"motion/{number:064x}".encode(): b'{"author":"x","body":{"kind":"mapping.set"},"deadline":1,"leaf":1}'
           for number in range(2_000)}  # fmt: skip
    history.log.rows = lambda start, count: [row for row in sorted(raw.items()) if row[0] >= start][:count]
    past = PastMembers(history.log, history.world.genesis, history.log.rows)
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        await past.at(await times.moment(history.log, 2, None, 4_070_908_800_000))
        nursery.cancel_scope.cancel()
    assert turns > 2_000 // 256
