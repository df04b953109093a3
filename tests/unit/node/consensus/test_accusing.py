"""Evidence goes to the log once, patiently, and never twice for one fault."""

import trio

from pyrsia.consensus.effects import Blame
from pyrsia.errors import Refusal
from pyrsia.node.consensus.accusing import SEEN, TRIES, Accusing
from pyrsia.wire import canonical
from pyrsia.wire.blocks import Vote, nullify
from pyrsia.wire.text import b32
from tests.reference.waiting import until

LIAR, OTHER = b"l" * 32, b"o" * 32


def blame(node=LIAR, epoch=0, view=1):
    first = Vote(nullify(epoch, view), 0, b"1" * 64)
    return Blame(node, epoch, first, Vote(nullify(epoch, view), 0, b"2" * 64))


class World:
    """A log that answers as told."""

    def __init__(self, answers=()):
        self.answers, self.tried, self.notices, self.rows = list(answers), [], [], {}
        self.accusing = Accusing(
            reads=self.rows.get,
            submit=self.submit,
            name_of=lambda node: b32(node)[:4],
            notice=self.notices.append,
        )

    async def submit(self, kind, body):
        await trio.lowlevel.checkpoint()
        self.tried.append((kind, body))
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise Refusal(answer, what="no", who="the log", do="wait")
        return b"i" * 32, 41

    async def run(self, *blames, done):
        with trio.fail_after(200):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.accusing.run)
                for one in blames:
                    self.accusing.blame(one)
                await until(done, 150)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()


async def test_a_fault_is_put_on_record_once_and_its_operator_told(autojump_clock):
    world = World()
    await world.run(blame(), blame(view=2), done=lambda: len(world.notices) == 2)
    assert [kind for kind, _ in world.tried] == ["fault.evidence"]
    assert world.tried[0][1] == blame().body()
    assert world.notices[0].startswith("ALARM: ")
    assert "leaf 41" in world.notices[1]


async def test_other_validators_epochs_and_kinds_are_faults_of_their_own(autojump_clock):
    world = World()
    await world.run(blame(), blame(node=OTHER), blame(epoch=1), done=lambda: len(world.tried) == 3)
    assert len({(body["validator"], body["epoch"]) for _, body in world.tried}) == 3


async def test_a_busy_network_is_asked_again_a_bounded_number_of_times(autojump_clock):
    world = World(["busy", "unavailable"])
    await world.run(blame(), done=lambda: len(world.tried) == 3)
    assert "leaf 41" in world.notices[-1]

    silent = World(["busy"] * 100)
    await silent.run(blame(), blame(node=OTHER), done=lambda: len(silent.tried) == 2 * TRIES.value)
    assert len(silent.notices) == 2


async def test_what_the_log_refuses_or_holds_already_is_left(autojump_clock):
    world = World(["entry-refused"])
    await world.run(blame(), done=lambda: world.tried)
    assert len(world.tried) == 1

    told = World()
    told.rows[f"fault/{b32(LIAR)}/0/votes".encode()] = canonical.encode({"author": "a", "leaf": 3, "view": 1})
    await told.run(blame(), blame(node=OTHER), done=lambda: told.tried)
    assert [body["validator"] for _, body in told.tried] == [b32(OTHER)]
    assert "is leaf 3 of the log" in told.notices[2]  # behind both alarms


async def test_memory_is_bounded(autojump_clock):
    world = World()
    for epoch in range(3 * SEEN.value):
        world.accusing.blame(blame(epoch=epoch))
    assert len(world.accusing._seen) <= SEEN.value
    assert len(world.notices) <= SEEN.value
