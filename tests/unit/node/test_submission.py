"""Entries on their way: idempotent, sent again to others, refused only by more than liars, acknowledged once final."""

import pytest
import trio
import trio.testing

from pyrsia.errors import Refusal, Unavailable
from pyrsia.ledger import entries
from pyrsia.node.kinds import Method
from pyrsia.node.submission import (
    ANSWER_S,
    RESEND_S,
    UNTIL_MS,
    Submitter,
    Waiters,
    read_answer,
    write_refusal,
)
from tests.reference.ledger import START, World
from tests.reference.parts import ring

BODY = {"kind": "description", "subject": "pkg:pypi/idna@1.0", "text": "x", "valid_from": 1}
NO = Refusal("entry-refused", what="no such request", who="the author", do="look again")


class Network:
    """Four validators that answer as the test says, and a log that the test fills."""

    def __init__(self, answers=None, *, local=None, me=4):
        self.genesis = World().genesis
        self.keys = ring(me)
        self.waiters, self.log, self.asked = Waiters(), {}, []
        self.answers = answers or {}
        self.began = trio.current_time()
        self.submitter = Submitter(
            self.keys,
            self.genesis,
            request=self.request,
            validators=lambda: [member.node for member in self.genesis.validators],
            leaf_of=self.log.get,
            waiters=self.waiters,
            local=local,
            now_ms=self.now_ms,
        )

    def now_ms(self):
        return START + int((trio.current_time() - self.began) * 1000)

    async def request(self, node, method, raw, deadline_s):
        assert method == Method.SUBMIT
        number = next(i for i, one in enumerate(self.genesis.validators) if one.node == node)
        self.asked.append(number)
        answer = self.answers.get(number, b"")
        if callable(answer):
            return await answer(raw)
        if isinstance(answer, Exception):
            raise answer
        await trio.lowlevel.checkpoint()
        return answer

    def final(self, raw, index=7):
        entry_id = entries.parse(raw).id
        self.log[entry_id] = index
        self.waiters.settled([entry_id])


async def silent(_):
    await trio.sleep(ANSWER_S.value)
    raise Unavailable("no answer in time")


async def test_an_entry_is_acknowledged_only_when_it_is_final(autojump_clock):
    network = Network()
    raw = network.submitter.author("fact.add", BODY)
    got = []

    async def submit():
        got.append(await network.submitter.submit_entry(raw))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit)
        await trio.sleep(1)
        assert (got, network.asked) == ([], [0, 1])  # f + 1 hold it, and nothing is claimed
        network.final(raw)
    assert got == [(entries.parse(raw).id, 7)]
    assert len(network.waiters) == 0


async def test_what_is_in_the_log_already_is_told_without_asking_anybody(autojump_clock):
    network = Network()
    raw = network.submitter.author("fact.add", BODY)
    network.final(raw, 3)
    assert await network.submitter.submit_entry(raw) == (entries.parse(raw).id, 3)
    assert (network.asked, len(network.waiters)) == ([], 0)


async def test_the_same_words_said_twice_are_two_entries(autojump_clock):
    submitter = Network().submitter
    first, second = (entries.parse(submitter.author("fact.add", BODY)) for _ in range(2))
    assert first.id != second.id
    assert first.until_ms == START + UNTIL_MS.value


async def test_the_same_bytes_go_to_other_validators_until_they_are_final(autojump_clock):
    network = Network()
    raw = network.submitter.author("fact.add", BODY)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.submitter.submit_entry, raw)
        await trio.sleep(RESEND_S.value * 1.5)
        assert network.asked == [0, 1, 2, 3]
        network.final(raw)


async def test_unreachable_and_busy_validators_are_passed_over(autojump_clock):
    busy = write_refusal(Refusal("busy", what="full", who="me", do="wait"))
    network = Network({0: Unavailable("no link"), 1: busy, 2: b"", 3: b""})
    raw = network.submitter.author("fact.add", BODY)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.submitter.submit_entry, raw)
        await trio.sleep(1)
        assert network.asked == [0, 1, 2, 3]
        network.final(raw)


async def test_a_refusal_of_more_than_liars_comes_through_in_its_own_words(autojump_clock):
    network = Network(dict.fromkeys(range(4), write_refusal(NO)))
    with pytest.raises(Refusal) as caught:
        await network.submitter.submit("fact.add", BODY)
    assert caught.value.as_dict() == NO.as_dict()
    assert (network.asked, len(network.waiters)) == ([0, 1], 0)


async def test_a_refusal_raised_by_the_link_counts_as_one(autojump_clock):
    network = Network(dict.fromkeys(range(4), NO))
    with pytest.raises(Refusal, match="no such request"):
        await network.submitter.submit("fact.add", BODY)
    assert network.asked == [0, 1]


async def test_one_lying_validator_refuses_nothing(autojump_clock):
    network = Network({0: write_refusal(NO)})
    raw = network.submitter.author("fact.add", BODY)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.submitter.submit_entry, raw)
        await trio.sleep(1)
        assert network.asked == [0, 1, 2]
        network.final(raw)


async def test_a_silent_validator_delays_no_acknowledgement(autojump_clock):
    network = Network({0: silent})
    raw = network.submitter.author("fact.add", BODY)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.submitter.submit_entry, raw)
        await trio.sleep(0.5)
        network.final(raw)
    assert trio.current_time() - began == pytest.approx(0.5)


async def test_when_nobody_answers_it_ends_at_until_and_not_before(autojump_clock):
    network = Network(dict.fromkeys(range(4), silent))
    began = trio.current_time()
    with pytest.raises(Refusal) as caught:
        await network.submitter.submit("fact.add", BODY)
    assert caught.value.code == "unavailable"
    waited = trio.current_time() - began
    assert UNTIL_MS.value / 1000 <= waited < UNTIL_MS.value / 1000 + 4 * ANSWER_S.value + RESEND_S.value
    assert len(network.waiters) == 0


async def test_what_is_taken_and_never_final_ends_at_until_too(autojump_clock):
    network = Network()
    with pytest.raises(Refusal) as caught:
        await network.submitter.submit("fact.add", BODY)
    assert caught.value.code == "unavailable"
    assert len(network.asked) <= 2 * (UNTIL_MS.value / 1000 / RESEND_S.value + 1)


async def test_two_that_wait_for_one_entry_are_both_told_whoever_gives_up_first(autojump_clock):
    network = Network()
    raw = network.submitter.author("fact.add", BODY)
    got = []

    async def submit():
        got.append(await network.submitter.submit_entry(raw))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit)
        with trio.move_on_after(3):
            await network.submitter.submit_entry(raw)
        assert len(network.waiters) == 1
        network.final(raw)
        with trio.fail_after(1):
            await trio.testing.wait_all_tasks_blocked()
            while not got:
                await trio.sleep(0.01)
    assert got == [(entries.parse(raw).id, 7)]


async def test_a_validator_gives_to_its_own_mempool_and_asks_nobody(autojump_clock):
    taken = []
    network = Network(local=taken.append, me=0)
    raw = network.submitter.author("fact.add", BODY)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.submitter.submit_entry, raw)
        await trio.sleep(RESEND_S.value * 1.5)
        network.final(raw)
    assert (taken, network.asked) == ([raw, raw], [])


async def test_our_own_mempools_no_is_final_and_its_busy_is_not(autojump_clock):
    answers = [Refusal("busy", what="full", who="me", do="wait"), NO]

    def local(_):
        raise answers.pop(0)

    with pytest.raises(Refusal, match="no such request"):
        await Network(local=local, me=0).submitter.submit("fact.add", BODY)
    assert not answers


async def test_what_is_no_entry_or_one_that_nobody_may_send_is_refused_at_once(autojump_clock):
    network = Network()
    genesis = network.genesis
    derived = entries.derive("build.draw", {
        "beacon": "0" * 64, "builders": [], "commit_deadline": 1, "request": "0" * 64, "reveal_deadline": 1, "round": 0,
    }, net=genesis.net)  # fmt: skip
    for raw in (b"", b"{}", b"\xff", derived, genesis.raw):
        with pytest.raises(Refusal) as caught:
            await network.submitter.submit_entry(raw)
        assert caught.value.code == "entry-refused"
    assert (network.asked, len(network.waiters)) == ([], 0)


async def test_fields_that_are_no_entry_are_the_callers_bug(autojump_clock):
    with pytest.raises(ValueError, match="fact"):
        await Network().submitter.submit("fact.add", {"kind": "x"})


@pytest.mark.parametrize(
    "answer",
    [b"x", b"[]", b"{}", b'{"code":5}', b'{"code":"nonsense"}', b"\xff\xfe", b"[" * 100_000, b"null"],
)
def test_an_unreadable_answer_is_some_refusal(answer):
    refusal = read_answer(answer)
    assert refusal.code == "internal"
    assert refusal.what


def test_a_refusal_crosses_the_wire_whole():
    assert read_answer(write_refusal(NO)).as_dict() == NO.as_dict()
