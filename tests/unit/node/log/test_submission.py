"""Entries on their way: idempotent, sent again to others, refused only by more than liars, acknowledged once final."""

import itertools

import pytest
import trio
import trio.testing

from pyrsia.errors import Refusal, Unavailable
from pyrsia.ledger import entries
from pyrsia.node.kinds import Method
from pyrsia.node.log.submission import (
    UNTIL_MS,
    Reception,
    Submitter,
    Waiters,
    no_order,
    read_answer,
    write_acknowledgement,
    write_refusal,
)
from pyrsia.units import SUBMIT_ANSWER_S, SUBMIT_PUSHBACK_S, SUBMIT_RESEND_S
from pyrsia.verify.acknowledged import Acknowledgement, FinalBlock
from tests.reference.ledger import START, World
from tests.reference.parts import ring
from tests.reference.waiting import until

BODY = {"kind": "description", "subject": "pkg:pypi/idna@1.0", "text": "x", "valid_from": 1}
NO = Refusal("entry-refused", what="no such request", who="the author", do="look again")


class Network:
    """Four validators that answer as the test says, and a log that the test fills."""

    def __init__(self, answers=None, *, local=None, me=4):
        self.genesis = World().genesis
        self.keys = ring(me)
        self.waiters, self.log, self.asked = Waiters(), {}, []
        self.unsynced = {}  # leaves that are written, and not on the disk yet
        self.answers = answers or {}
        self.began = trio.current_time()
        self.admitted = True
        self.made = []
        self.submitter = Submitter(
            self.keys,
            self.genesis,
            request=self.request,
            validators=lambda: [member.node for member in self.genesis.validators],
            leaf_of=self.log.get,
            waiters=self.waiters,
            local=local,
            written=lambda entry_id: self.log.get(entry_id, self.unsynced.get(entry_id)),
            admitted=lambda: self.admitted,
            made=self.made.append,
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
    await trio.sleep(SUBMIT_ANSWER_S.value)
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
    network = Network()
    first, second = (entries.parse(network.submitter.author("fact.add", BODY)) for _ in range(2))
    assert first.id != second.id
    assert network.made == [first, second]
    assert first.until_ms == START + UNTIL_MS.value


async def test_the_same_bytes_go_to_other_validators_until_they_are_final(autojump_clock):
    network = Network()
    raw = network.submitter.author("fact.add", BODY)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.submitter.submit_entry, raw)
        await trio.sleep(SUBMIT_RESEND_S.value * 1.5)
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


async def test_those_who_validate_no_more_refuse_nothing(autojump_clock):
    told = write_refusal(no_order())
    network = Network({0: told, 1: told, 2: no_order()})
    raw = network.submitter.author("fact.add", BODY)
    got = []

    async def submit():
        got.append(await network.submitter.submit_entry(raw))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit)
        await trio.sleep(SUBMIT_RESEND_S.value * 1.5)
        assert 3 in network.asked
        network.final(raw)
    assert got == [(entries.parse(raw).id, 7)]


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
    assert (
        UNTIL_MS.value / 1000
        <= waited
        < UNTIL_MS.value / 1000 + 4 * SUBMIT_ANSWER_S.value + SUBMIT_RESEND_S.value
    )
    assert len(network.waiters) == 0


async def test_what_is_taken_and_never_final_ends_at_until_too(autojump_clock):
    network = Network()
    with pytest.raises(Refusal) as caught:
        await network.submitter.submit("fact.add", BODY)
    assert caught.value.code == "unavailable"
    assert len(network.asked) <= 2 * (UNTIL_MS.value / 1000 / SUBMIT_RESEND_S.value + 1)


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
        await trio.testing.wait_all_tasks_blocked()
        await until(lambda: got, 1)
    assert got == [(entries.parse(raw).id, 7)]


async def test_a_validator_gives_to_its_own_mempool_and_asks_nobody(autojump_clock):
    taken = []
    network = Network(local=taken.append, me=0)
    raw = network.submitter.author("fact.add", BODY)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.submitter.submit_entry, raw)
        await trio.sleep(SUBMIT_RESEND_S.value * 1.5)
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


# -- pushback --


def busy(retry_s):
    return write_refusal(Refusal("busy", what="full", who="me", do="wait", retry_s=retry_s))


async def test_a_busy_validator_is_not_asked_before_its_time_and_the_others_are(autojump_clock):
    network = Network({0: busy(30), 1: busy(1), 2: b"", 3: b""})
    raw = network.submitter.author("fact.add", BODY)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.submitter.submit_entry, raw)
        await trio.sleep(29)
        assert network.asked.count(0) == 1
        assert network.asked.count(1) > 1
        await trio.sleep(6)
        assert network.asked.count(0) == 2
        network.final(raw)


async def test_whoever_can_wait_better_is_told_how_long_and_at_once(autojump_clock):
    """The shortest of f + 1 answers: a liar that asks for a day's patience binds nobody."""
    network = Network(dict(enumerate([busy(80_000), busy(7), busy(9), busy(8)])))
    raw = network.submitter.author("fact.add", BODY)
    began = trio.current_time()
    with pytest.raises(Refusal) as caught:
        await network.submitter.submit_entry(raw, patient=False)
    assert (caught.value.code, caught.value.retry_s) == ("busy", 7)
    assert trio.current_time() - began < 1
    # Asked again too soon: nobody is bothered, and what is left is told.
    await trio.sleep(2)
    network.asked.clear()
    with pytest.raises(Refusal) as caught:
        await network.submitter.submit_entry(raw, patient=False)
    assert (caught.value.retry_s, network.asked) == (6, [])


async def test_one_validator_that_lies_that_it_took_it_hides_no_pushback_from_who_can_wait_better(
    autojump_clock,
):
    full = Refusal("busy", what="full", who="the network's load", do="wait", retry_s=60)
    network = Network({number: write_refusal(full) for number in range(1, 4)})
    with pytest.raises(Refusal, match="full") as refused:
        await network.submitter.submit_entry(network.submitter.author("fact.add", BODY), patient=False)
    assert (refused.value.code, refused.value.retry_s) == ("busy", 60)
    assert trio.current_time() - network.began <= 2 * SUBMIT_RESEND_S.value


async def test_one_validator_that_says_busy_holds_nothing_up(autojump_clock):
    network = Network({0: busy(60)})
    raw = network.submitter.author("fact.add", BODY)
    got = []

    async def submit():
        got.append(await network.submitter.submit_entry(raw, patient=False))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit)
        await trio.sleep(1)
        assert network.asked == [0, 1, 2]
        network.final(raw)
    assert got == [(entries.parse(raw).id, 7)]


async def test_our_own_mempools_patience_is_honoured_and_bounded(autojump_clock):
    offered = []

    def local(_):
        offered.append(trio.current_time())
        raise Refusal("busy", what="full", who="me", do="wait", retry_s=80_000 if len(offered) > 1 else 9)

    network = Network(local=local, me=0)
    raw = network.submitter.author("fact.add", BODY)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.submitter.submit_entry, raw)
        await trio.sleep(SUBMIT_PUSHBACK_S.value + 20)
        network.final(raw)
    pauses = [later - sooner for sooner, later in itertools.pairwise(offered)]
    assert pauses == pytest.approx([9, SUBMIT_PUSHBACK_S.value])
    with pytest.raises(Refusal) as caught:
        await Network(local=local, me=0).submitter.submit_entry(raw, patient=False)
    assert caught.value.retry_s == 80_000


async def test_validators_that_left_are_forgotten_with_their_patience(autojump_clock):
    network = Network(dict.fromkeys(range(4), busy(60)))
    with pytest.raises(Refusal):
        await network.submitter.submit_entry(network.submitter.author("fact.add", BODY), patient=False)
    assert len(network.submitter._not_before_s) >= 2
    await trio.sleep(SUBMIT_PUSHBACK_S.value)
    network.submitter._all = lambda: [member.node for member in network.genesis.validators][3:]
    with pytest.raises(Refusal):
        await network.submitter.submit_entry(network.submitter.author("fact.add", BODY), patient=False)
    assert len(network.submitter._not_before_s) == 1


# -- acknowledgements --


SAID = Acknowledgement("ab" * 32, 7, ("cd" * 32,), FinalBlock(3, 9, "ef" * 32, "AAAA"))


def acknowledge(entry_id, index):
    return Acknowledgement(entry_id.hex(), index, (), SAID.block)


async def test_the_same_bytes_are_acknowledged_the_same_before_and_after_finality(autojump_clock):
    network = Network()
    raw = network.submitter.author("fact.add", BODY)
    got = []

    async def submit():
        got.append(await network.submitter.acknowledged(raw, acknowledge))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit)
        nursery.start_soon(submit)
        await trio.sleep(0.5)
        network.final(raw)
    again = await network.submitter.acknowledged(raw, acknowledge)
    said = acknowledge(entries.parse(raw).id, 7)
    assert [*got, again] == [(said, False), (said, False), (said, True)]


async def test_an_acknowledgement_of_a_validator_will_do_where_our_log_lags_and_it_proves_itself(
    autojump_clock,
):
    network = Network({0: write_acknowledgement(SAID)})
    network.submitter._believe = lambda raw, said: said == SAID
    raw = network.submitter.author("fact.add", BODY)
    assert await network.submitter.acknowledged(raw, acknowledge) == (SAID, False)
    assert (network.asked, len(network.waiters)) == ([0], 0)


async def test_what_readers_see_in_the_log_stood_there_already_though_the_disk_does_not_have_it_yet(
    autojump_clock,
):
    """A leaf is shown once it is written; who sends it again hears that it is there, whoever proves it."""
    network = Network({0: write_acknowledgement(SAID)})
    network.submitter._believe = lambda raw, said: said == SAID
    raw = network.submitter.author("fact.add", BODY)
    network.unsynced[entries.parse(raw).id] = SAID.index
    assert await network.submitter.acknowledged(raw, acknowledge) == (SAID, True)
    network.answers = {}
    got = []

    async def submit():
        got.append(await network.submitter.acknowledged(raw, acknowledge))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit)
        await trio.sleep(0.5)
        assert not got  # nothing is acknowledged before it is on the disk
        network.final(raw)
    assert got == [(acknowledge(entries.parse(raw).id, 7), True)]


async def test_an_acknowledgement_that_proves_nothing_is_no_answer(autojump_clock):
    network = Network(dict.fromkeys(range(4), write_acknowledgement(SAID)))
    raw = network.submitter.author("fact.add", BODY)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.submitter.acknowledged, raw, acknowledge)
        await trio.sleep(1)
        assert network.asked == [0, 1, 2, 3]
        network.final(raw)


async def test_who_needs_our_own_log_waits_for_it_though_others_have_the_entry(autojump_clock):
    network = Network(dict.fromkeys(range(4), write_acknowledgement(SAID)))
    network.submitter._believe = lambda raw, said: True
    raw = network.submitter.author("fact.add", BODY)
    got = []

    async def submit():
        got.append(await network.submitter.submit_entry(raw))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit)
        await trio.sleep(5)
        assert got == []
        network.final(raw)
    assert got == [(entries.parse(raw).id, 7)]


# -- the validator's side --


def reception(**changes):
    parts = {
        "orders": lambda: True,
        "offer": lambda raw, node: "accepted",
        "leaf_of": lambda entry_id: None,
        "acknowledge": acknowledge,
    }
    return Reception(**{**parts, **changes})


async def test_a_submitted_entry_is_taken_refused_or_acknowledged(autojump_clock):
    raw = Network().submitter.author("fact.add", BODY)

    def full(_, __):
        raise Refusal("busy", what="full", who="me", do="wait", retry_s=3)

    assert await reception().answer(b"n" * 32, raw) == b""
    assert read_answer(await reception(offer=full).answer(b"n" * 32, raw)).retry_s == 3
    for orders in (True, False):  # any node that has it acknowledges it, whatever it is
        answer = await reception(leaf_of=lambda _: 5, orders=lambda o=orders: o).answer(b"n" * 32, raw)
        assert read_answer(answer) == acknowledge(entries.parse(raw).id, 5)
    assert read_answer(await reception(orders=lambda: False).answer(b"n" * 32, raw)).code == "forbidden"


async def test_what_is_no_entry_is_the_doors_to_refuse(autojump_clock):
    offered = []
    await reception(offer=lambda raw, node: offered.append((raw, node))).answer(b"n" * 32, b"{}")
    assert offered == [(b"{}", b"n" * 32)]


@pytest.mark.parametrize(
    "answer",
    [b'{"acknowledgement":1}', b'{"acknowledgement":{}}', b'{"acknowledgement":{"entry":[]}}',
     b'{"code":"busy","retry_s":-1}', b'{"code":"busy","retry_s":1e300}', b'{"code":"busy","what":{}}'],
)  # fmt: skip
def test_an_answer_that_lies_about_its_form_is_a_refusal_without_patience(answer):
    said = read_answer(answer)
    assert isinstance(said, Refusal)
    assert said.retry_s == 0


async def test_an_entry_whose_time_is_over_is_asked_about_once(autojump_clock):
    """Others may hold what this node never saw; else they say why it cannot stand, which is more than silence."""
    network = Network({0: write_acknowledgement(SAID)})
    network.submitter._believe = lambda raw, said: True
    raw = network.submitter.author("fact.add", BODY)
    await trio.sleep(UNTIL_MS.value / 1000 + 1)
    assert await network.submitter.acknowledged(raw, acknowledge) == (SAID, False)
    over = write_refusal(
        Refusal("entry-refused", what="its time is over", who="its author", do="sign it anew")
    )
    network.answers = dict.fromkeys(range(4), over)
    with pytest.raises(Refusal, match="its time is over"):
        await network.submitter.acknowledged(raw, acknowledge)
    network.answers = dict.fromkeys(range(4), Unavailable("no link"))
    with pytest.raises(Refusal) as caught:
        await network.submitter.acknowledged(raw, acknowledge)
    assert caught.value.code == "unavailable"


async def test_a_node_that_is_no_member_authors_nothing_and_says_so_at_once(autojump_clock):
    network = Network()
    network.admitted = False
    with pytest.raises(Refusal, match="no member of the network") as caught:
        await network.submitter.submit("fact.add", BODY)
    assert (caught.value.code, network.asked, len(network.waiters)) == ("forbidden", [], 0)


async def test_a_silent_validator_is_not_waited_for_before_the_next_is_asked(autojump_clock):
    network = Network({0: silent})
    raw = network.submitter.author("fact.add", BODY)
    began_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.submitter.submit_entry, raw)
        await until(lambda: len(network.asked) == 3)
        asked_after_s = trio.current_time() - began_s
        network.final(raw)
    assert network.asked == [0, 1, 2]
    assert asked_after_s < SUBMIT_ANSWER_S.value / 2
