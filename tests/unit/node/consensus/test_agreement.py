"""Agreement's shell: durable before sent, bounded, deaf to what is malformed, silent once halted."""

import pytest
import trio
import trio.testing

from pyrsia.consensus.effects import Answer, Blame, Deliver, Fault, Halt, Mute, Persist, Post, WakeAt
from pyrsia.errors import Unavailable
from pyrsia.node.consensus import agreement
from pyrsia.node.consensus.agreement import (
    GUEST_WAITING,
    GUESTS_WAITING,
    INBOX,
    LAZY,
    WAITING,
    Agreement,
    Hands,
)
from pyrsia.node.kinds import Kind
from pyrsia.units import Limit
from pyrsia.wire.blocks import GetBlocks, Vote, encode_message, nullify
from tests.reference.waiting import bounded, until

ASK = GetBlocks(1, 2)
MEMBERS = [bytes([i]) * 32 for i in range(5)]
TO_ALL = Post(tuple(MEMBERS[:4]), ASK)


def to(member):
    return Post((MEMBERS[member],), ASK)


class Core:
    """Answers what the test put in; remembers what it heard."""

    def __init__(self, start=(), answers=None, timer=()):
        self.start, self.answers, self.timer = list(start), answers or (lambda message: []), list(timer)
        self.heard, self.timers, self.worked, self.peers = [], [], 0, []
        self.heard_before = []  # each timer

    def on_start(self, now):
        return self.start

    def on_message(self, now, sender, message):
        self.heard.append((sender[0], message))
        return self.answers(message)

    def on_timer(self, now):
        self.timers.append(now.mono_s)
        self.heard_before.append(len(self.heard))
        return list(self.timer)

    def on_work(self, now):
        self.worked += 1
        return []

    def on_peer(self, now, node):
        self.peers.append(node[0])
        return []


class World:
    """Hands that write down what they were asked, in order."""

    def __init__(self, core, *, answer=None):
        self.core, self.did, self.gate = core, [], None
        self.broken = False
        self.queued = 0
        self.guests = set()
        hands = Hands(
            send=lambda node, kind, data: self.did.append(("send", node[0], kind, data)) or True,
            persist=self.persist,
            deliver=lambda effect: self.did.append(("deliver", effect)),
            linked=lambda: MEMBERS,
            serve=lambda first, last: self.did.append(("serve", first, last)) or answer,
            blame=lambda effect: self.did.append(("blame", effect)),
            fault=lambda node, why: self.did.append(("fault", node[0], why)),
            halt=lambda reason: self.did.append(("halt", reason)),
            mute=lambda reason, lost: self.did.append(("mute", reason, lost)),
            queued=lambda node: self.queued,
            guest=lambda node: node in self.guests,
        )
        self.agreement = Agreement(core, hands)

    async def persist(self, records):
        self.did.append(("writing", *records))
        if self.gate is not None:
            await self.gate.wait()
        if self.broken:
            raise Unavailable("the disk is full")
        self.did.append(("durable", *records))

    def sent(self):
        return [one for one in self.did if one[0] == "send"]

    async def run(self, test):
        with bounded(10):
            async with trio.open_nursery() as nursery:
                await nursery.start(self.agreement.run)
                await test()
                nursery.cancel_scope.cancel()


async def test_a_vote_is_durable_before_anything_of_its_turn_is_sent():
    core = Core(answers=lambda _: [to(1), TO_ALL, Persist(b"vote")])
    world = World(core)
    world.gate = trio.Event()

    async def test():
        world.agreement.receive(MEMBERS[2], encode_message(ASK))
        await until(lambda: ("writing", b"vote") in world.did)
        await trio.testing.wait_all_tasks_blocked()
        assert not world.sent()
        world.gate.set()
        await until(lambda: len(world.sent()) == 5)
        assert world.did[:2] == [("writing", b"vote"), ("durable", b"vote")]

    await world.run(test)
    assert {one[2] for one in world.sent()} == {Kind.CONSENSUS}


async def test_a_vote_that_cannot_be_written_is_never_sent():
    world = World(Core(start=[Persist(b"vote"), TO_ALL]))
    world.broken = True
    with pytest.raises(Unavailable):
        await world.agreement.run()
    assert not world.sent()


async def test_a_cancelled_shell_finishes_the_write_it_began():
    world = World(Core(answers=lambda _: [Persist(b"vote"), to(1)]))
    world.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(world.agreement.run)
        world.agreement.receive(MEMBERS[1], encode_message(ASK))
        await until(lambda: world.did)
        nursery.cancel_scope.cancel()
        world.gate.set()
    assert world.did[1] == ("durable", b"vote")


async def test_what_came_together_shares_one_write():
    core = Core(answers=lambda message: [Persist(b"%d" % message.first), Post((MEMBERS[1],), message)])
    world = World(core)
    world.gate = trio.Event()

    async def test():
        world.agreement.receive(MEMBERS[1], encode_message(GetBlocks(1, 1)))
        await until(lambda: world.did)
        for at in range(2, 6):
            world.agreement.receive(MEMBERS[1], encode_message(GetBlocks(at, at)))
        world.gate.set()
        await until(lambda: len(world.sent()) == 5)

    await world.run(test)
    assert ("durable", b"2", b"3", b"4", b"5") in world.did


async def test_lazy_records_wait_for_a_vote_and_stay_before_it():
    answers = {1: [Persist(b"lazy 1", lazy=True), to(1)], 2: [Persist(b"vote"), to(1)]}
    world = World(Core(answers=lambda message: answers[message.first]))

    async def test():
        world.agreement.receive(MEMBERS[1], encode_message(GetBlocks(1, 1)))
        await until(lambda: len(world.sent()) == 1)
        assert not [one for one in world.did if one[0] == "writing"]
        world.agreement.receive(MEMBERS[1], encode_message(GetBlocks(2, 2)))
        await until(lambda: len(world.sent()) == 2)

    await world.run(test)
    assert ("durable", b"lazy 1", b"vote") in world.did


async def test_lazy_records_are_bounded():
    world = World(Core(answers=lambda _: [Persist(b"lazy", lazy=True)]))

    async def test():
        for _ in range(LAZY.value):
            world.agreement.receive(MEMBERS[1], encode_message(ASK))
        await until(lambda: world.did)

    await world.run(test)
    assert world.did[1] == ("durable", *[b"lazy"] * LAZY.value)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"\xff" * 40, encode_message(ASK)[:-1], encode_message(ASK) + b"x", b"\x01" * 70_000],
)
async def test_malformed_messages_are_dropped(data, caplog):
    world = World(Core())

    async def test():
        world.agreement.receive(MEMBERS[1], data)
        world.agreement.receive(MEMBERS[1], encode_message(ASK))
        await until(lambda: world.core.heard)

    await world.run(test)
    assert world.core.heard == [(1, ASK)]
    assert "malformed" in caplog.text
    assert [one[:2] for one in world.did] == [("fault", 1)]
    assert world.agreement.counted["malformed"] == 1


async def test_a_full_inbox_drops_and_goes_on():
    core = Core()
    world = World(core)
    for _ in range(INBOX.value + 500):
        world.agreement.work()

    async def test():
        await until(lambda: core.worked == INBOX.value)
        world.agreement.receive(MEMBERS[2], encode_message(ASK))
        await until(lambda: core.heard)

    await world.run(test)
    assert core.heard == [(2, ASK)]
    assert world.agreement.counted["inbox-full"] == 500


async def test_one_peer_cannot_push_out_what_others_say():
    core = Core()
    world = World(core)
    for _ in range(INBOX.value + 500):
        world.agreement.receive(MEMBERS[1], encode_message(ASK))
    world.agreement.receive(MEMBERS[2], encode_message(ASK))

    async def test():
        await until(lambda: core.heard and core.heard[-1][0] == 2)
        world.agreement.receive(MEMBERS[1], encode_message(ASK))
        await until(lambda: core.heard[-1][0] == 1)

    await world.run(test)
    assert len(core.heard) == WAITING.value + 2
    assert world.agreement.counted["peer-full"] == INBOX.value + 500 - WAITING.value


async def test_guests_push_out_nothing_of_those_who_vote_and_have_a_little_room_together():
    core = Core()
    world = World(core)
    guests = [bytes([100 + number]) * 32 for number in range(40)]
    world.guests.update(guests)
    for node in guests:
        for _ in range(WAITING.value):
            world.agreement.receive(node, encode_message(ASK))
    assert sum(world.agreement._waiting.values()) == GUESTS_WAITING.value
    assert max(world.agreement._waiting.values()) == GUEST_WAITING.value
    world.agreement.receive(MEMBERS[2], encode_message(ASK))

    async def test():
        await until(lambda: core.heard and core.heard[-1][0] == 2)
        world.agreement.receive(guests[-1], encode_message(ASK))  # there is room again
        await until(lambda: core.heard[-1][0] == guests[-1][0])

    await world.run(test)
    assert not world.agreement._waiting
    assert world.agreement._of_guests == world.agreement._of_guests_bytes == 0


@pytest.mark.parametrize("guest", [True, False])
async def test_what_waits_of_a_peer_is_bounded_in_bytes(guest, monkeypatch):
    core = Core()
    world = World(core)
    size = len(encode_message(ASK))
    bound = "GUESTS_WAITING_BYTES" if guest else "WAITING_BYTES"
    monkeypatch.setattr(agreement, bound, Limit(3 * size + 1, "three of them"))
    if guest:
        world.guests.add(MEMBERS[1])
    for _ in range(10):
        world.agreement.receive(MEMBERS[1], encode_message(ASK))
    assert world.agreement.counted["peer-full"] == 7

    async def test():
        await until(lambda: len(core.heard) == 3)

    await world.run(test)
    assert not world.agreement._waiting_bytes


async def test_a_halted_core_does_nothing_more_but_serve_not_even_in_the_same_turn():
    core = Core(
        answers=lambda message: (
            [Halt("no further")] if message.first == 1 else [to(1), Answer(MEMBERS[1], 1, message.first)]
        )
    )
    core.timer = [to(1)]
    world = World(core)
    for at in (1, 2, 3):
        world.agreement.receive(MEMBERS[1], encode_message(GetBlocks(at, at)))

    async def test():
        await until(lambda: ("serve", 1, 3) in world.did)
        core.answers = lambda message: [to(1), Persist(b"vote"), Answer(MEMBERS[1], 1, message.first)]
        world.agreement.receive(MEMBERS[1], encode_message(ASK))
        world.agreement.work()
        world.agreement.linked(MEMBERS[1])
        await trio.testing.wait_all_tasks_blocked()

    await world.run(test)
    assert world.did == [("halt", "no further"), *[("serve", 1, at) for at in (2, 3, 1)]]


async def test_a_core_that_halts_at_its_start_says_nothing():
    world = World(Core(start=[Halt("newer vote elsewhere")]))

    async def test():
        world.agreement.receive(MEMBERS[1], encode_message(ASK))
        await trio.testing.wait_all_tasks_blocked()

    await world.run(test)
    assert world.did == [("halt", "newer vote elsewhere")]


async def test_timers_fire_when_asked_and_the_last_wish_counts(autojump_clock):
    core = Core(start=[WakeAt(trio.current_time() + 5), WakeAt(trio.current_time() + 3)])
    world, began = World(core), trio.current_time()
    async with trio.open_nursery() as nursery:
        await nursery.start(world.agreement.run)
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert [at - began for at in core.timers] == [pytest.approx(3)]


async def test_a_flood_does_not_hold_up_a_timer(autojump_clock):
    core = Core(start=[WakeAt(trio.current_time())])
    world = World(core)
    for _ in range(INBOX.value):
        world.agreement.receive(MEMBERS[1], encode_message(ASK))
    async with trio.open_nursery() as nursery:
        await nursery.start(world.agreement.run)
        await until(lambda: core.timers)
        nursery.cancel_scope.cancel()
    assert core.heard_before[0] < 200


async def test_a_message_goes_to_those_it_names_or_to_everybody_linked():
    for post, expected in ((TO_ALL, [0, 1, 2, 3]), (Post(None, ASK), [0, 1, 2, 3, 4])):
        world = World(Core(start=[post]))

        async def nothing():
            await trio.testing.wait_all_tasks_blocked()

        await world.run(nothing)
        assert [one[1] for one in world.sent()] == expected


async def test_every_other_effect_reaches_its_hand():
    deliver, blame = Deliver((), None), Blame(MEMBERS[1], 0, Vote(nullify(0, 1), 1, b"s" * 64))
    world = World(
        Core(start=[deliver, blame, Answer(MEMBERS[2], 5, 9), Fault(MEMBERS[3], "a lie")]), answer=ASK
    )

    async def nothing():
        await trio.testing.wait_all_tasks_blocked()

    await world.run(nothing)
    assert world.did[:3] == [("deliver", deliver), ("blame", blame), ("serve", 5, 9)]
    assert world.did[-1] == ("fault", 3, "a lie")
    assert [one[1] for one in world.sent()] == [2]


async def test_a_peer_to_which_more_than_an_answer_waits_gets_no_further_range():
    """Its link is slower than its questions; votes for it must not wait behind answers that it has given up."""
    world = World(Core(start=[Answer(MEMBERS[2], 5, 9)]), answer=ASK)
    world.queued = (1 << 20) + 1

    async def test():
        await trio.testing.wait_all_tasks_blocked()
        assert world.did == []
        world.queued = 1 << 20
        world.agreement.receive(MEMBERS[2], encode_message(ASK))
        await until(lambda: world.sent())

    world.core.answers = lambda message: [Answer(MEMBERS[2], 5, 9)]
    await world.run(test)
    assert world.agreement.counted["answer-queue-full"] == 1
    assert [one[0] for one in world.did] == ["serve", "send"]


async def test_a_range_that_is_not_here_is_answered_by_nothing():
    world = World(Core(start=[Answer(MEMBERS[2], 5, 9)]))

    async def nothing():
        await trio.testing.wait_all_tasks_blocked()

    await world.run(nothing)
    assert world.did == [("serve", 5, 9)]


async def test_work_and_links_reach_the_core():
    world = World(Core())

    async def test():
        world.agreement.work()
        for peer in (MEMBERS[3], MEMBERS[4]):
            world.agreement.linked(peer)
        world.agreement.receive(MEMBERS[1], encode_message(ASK))
        await until(lambda: world.core.heard)

    await world.run(test)
    assert (world.core.worked, world.core.peers) == (1, [3, 4])


async def test_a_key_that_must_not_vote_again_is_told_and_its_core_goes_on_following():
    core = Core(answers=lambda _: [Mute("the file lacks a vote", lost=True), to(1)])
    world = World(core)

    async def test():
        world.agreement.receive(MEMBERS[2], encode_message(ASK))
        await until(lambda: len(world.sent()) == 1)
        world.agreement.receive(MEMBERS[2], encode_message(ASK))
        await until(lambda: len(world.sent()) == 2)

    await world.run(test)
    assert [one for one in world.did if one[0] != "send"] == [("mute", "the file lacks a vote", True)] * 2


async def test_agreement_that_is_held_stands_still_and_goes_on_later():
    core = Core(start=[WakeAt(0.0)], timer=[])
    world = World(core)

    async def test():
        await until(lambda: core.timers)
        world.agreement.hold(True)
        world.agreement.receive(MEMBERS[1], encode_message(ASK))
        world.agreement.receive(MEMBERS[2], encode_message(ASK))
        await trio.testing.wait_all_tasks_blocked()
        assert core.heard == []
        world.agreement.hold(False)
        await until(lambda: len(core.heard) == 2)

    await world.run(test)
    assert [sender for sender, _ in core.heard] == [1, 2]
