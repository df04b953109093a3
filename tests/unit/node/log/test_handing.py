"""Many entries handed to validators at once: each has its own end, liars settle nothing, and silence loses nothing."""

import msgspec
import pytest
import trio
import trio.testing

from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.ledger import entries
from pyrsia.net.requests import Wordless
from pyrsia.node.kinds import Method
from pyrsia.node.log.handing import HEDGE_S, Desk, Going, Handing, read_answers, write_answers
from pyrsia.node.log.submission import no_order
from pyrsia.units import SHARE_ENTRIES, SUBMIT_ANSWER_S, SUBMIT_RESEND_S
from pyrsia.wire import sharing
from pyrsia.wire.sharing import Want
from tests.reference.ledger import START, World
from tests.reference.parts import ring

NO = Refusal("conflict", what="it stands already", who="the entry's author", do="look again")
LIFE_MS = 60_000


def busy(retry_s):
    return Refusal("busy", what="full", who="the network's load", do="wait", retry_s=retry_s)


def fact(number, life_ms=LIFE_MS):
    body = {"kind": "description", "subject": "pkg:pypi/idna@1.0", "text": f"{number}", "valid_from": 1}
    keys = ring(4)
    return entries.parse(
        entries.author(
            "fact.add",
            body,
            net=World().genesis.net,
            author=keys.node_id,
            nonce=bytes(16),
            until_ms=START + life_ms,
            sign=keys.node.sign,
        )
    )


class Network:
    """Four validators that answer each batch as the test says: bytes, an error, or a function of its entries."""

    def __init__(self, answers=None, *, count=4, me=4):
        self.answers = answers or {}
        self.going = [Going(place, fact(place), trio.Event()) for place in range(count)]
        self.asked = []  # (validator, entries)
        self.began = trio.current_time()
        self.validators = [ring(number).node_id for number in range(4)]
        self.handing = Handing(
            node=ring(me).node_id,
            request=self.request,
            validators=lambda: self.validators,
            now_ms=lambda: START + int((trio.current_time() - self.began) * 1_000),
        )

    async def request(self, node, method, payload, deadline_s):
        assert (method, deadline_s) == (Method.SUBMIT_MANY, SUBMIT_ANSWER_S.value)
        number = self.validators.index(node)
        raws = sharing.decode(payload).raws
        self.asked.append((number, raws))
        answer = self.answers.get(number, b"")
        await trio.lowlevel.checkpoint()
        if callable(answer):
            answer = await answer(raws)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def numbers(self):
        """Validators that were asked."""
        return sorted(number for number, _ in self.asked)

    @property
    def raws(self):
        return tuple(one.entry.raw for one in self.going)

    @property
    def ends(self):
        return [one.refusal and one.refusal.code for one in self.going]

    def final(self, *places):
        for place in places:
            self.going[place].final.set()

    async def see(self, *, final_after_s=0.5):
        with trio.fail_after(700):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.handing.see, self.going)
                await trio.sleep(final_after_s)
                self.final(*range(len(self.going)))


async def silent(_):
    await trio.sleep(SUBMIT_ANSWER_S.value)
    return Unavailable("no answer in time")


async def test_as_many_as_must_hold_them_are_given_them_at_once_and_nothing_is_claimed(autojump_clock):
    network = Network()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.handing.see, network.going)
        await trio.sleep(SUBMIT_RESEND_S.value / 2)
        assert sorted(network.asked) == [(0, network.raws), (1, network.raws)]
        assert [one.is_open for one in network.going] == [True] * 4
        network.final(0, 1, 2, 3)
    assert network.ends == [None] * 4


async def test_what_is_not_final_goes_to_the_next_validators_and_nothing_else(autojump_clock):
    network = Network()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.handing.see, network.going)
        network.final(0, 2)
        await trio.sleep(SUBMIT_RESEND_S.value * 1.5)
        network.final(1, 3)
    left = (network.raws[1], network.raws[3])
    assert sorted(network.asked[:2]) == [(0, left), (1, left)]
    assert sorted(network.asked[2:]) == [(2, left), (3, left)]


async def test_an_order_of_many_is_cut_into_messages(autojump_clock):
    network = Network(count=SHARE_ENTRIES.value + 3)
    await network.see()
    assert sorted(len(raws) for _, raws in network.asked) == [3, 3, SHARE_ENTRIES.value, SHARE_ENTRIES.value]


async def test_one_validators_no_settles_nothing(autojump_clock):
    network = Network({0: write_answers([NO] * 4)})
    await network.see()
    assert network.numbers == [0, 1, 2]  # f + 1 must hold them
    assert network.ends == [None] * 4


async def test_each_entry_has_its_own_end(autojump_clock):
    said = write_answers([None, NO, busy(9), busy(5)])
    network = Network({number: said for number in range(4)})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.handing.see, network.going)
        await trio.sleep(SUBMIT_RESEND_S.value / 2)
        network.final(0)
    assert network.ends == [None, "conflict", "busy", "busy"]
    assert network.going[2].refusal.retry_s == 9


async def test_the_shortest_wait_of_several_counts(autojump_clock):
    network = Network(
        {0: write_answers([busy(50)] * 4), 1: busy(3), 2: Unavailable("x"), 3: Unavailable("x")}
    )
    await network.handing.see(network.going)
    assert [one.refusal.retry_s for one in network.going] == [3] * 4


async def test_what_was_taken_is_not_refused_by_those_who_validate_no_more(autojump_clock):
    """A follower that lags behind a change of validators asks old ones; the entry is in others' hands meanwhile."""
    network = Network({2: no_order(), 3: no_order()})
    await network.see(final_after_s=3 * SUBMIT_RESEND_S.value)
    assert {2, 3} <= set(network.numbers)
    assert network.ends == [None] * 4


async def test_where_all_whom_this_node_knows_validate_no_more_its_log_is_waited_for(autojump_clock):
    network = Network(dict.fromkeys(range(4), no_order()))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.handing.see, network.going)
        await trio.sleep(SUBMIT_RESEND_S.value * 1.5)
        assert all(one.is_open for one in network.going)
        network.answers = {}
        await trio.sleep(SUBMIT_RESEND_S.value)
        network.final(0, 1, 2, 3)
    assert network.ends == [None] * 4


async def test_what_was_taken_and_is_refused_later_may_still_come_and_is_said_so(autojump_clock):
    network = Network({2: NO, 3: NO})
    await network.handing.see(network.going)
    assert network.ends == ["unavailable"] * 4
    assert "it stands already" in network.going[0].refusal.what
    # Offered once more, and taken by nobody, it is refused in their own words.
    again = Network(dict.fromkeys(range(4), NO))
    await again.handing.see(again.going)
    assert again.ends == ["conflict"] * 4


async def test_one_that_lies_that_it_took_them_hides_no_pushback_for_longer_than_a_moment(autojump_clock):
    network = Network({number: busy(60) for number in range(1, 4)})
    await network.handing.see(network.going)
    assert [(one.refusal.code, one.refusal.retry_s) for one in network.going] == [("busy", 60)] * 4
    assert trio.current_time() - network.began <= 2 * HEDGE_S + SUBMIT_RESEND_S.value
    assert network.numbers == [0, 1, 2, 3]


async def test_one_that_took_them_and_does_not_lie_is_given_a_moment_to_bring_them_in(autojump_clock):
    network = Network({number: busy(60) for number in range(1, 4)})
    await network.see(final_after_s=SUBMIT_RESEND_S.value / 2)
    assert network.ends == [None] * 4


async def test_a_validator_is_asked_again_for_an_entry_when_it_said_and_not_before(autojump_clock):
    gone = Unavailable("there is no link")
    network = Network({1: write_answers([None, busy(9), None, None]), 2: gone, 3: gone})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.handing.see, network.going)
        await trio.sleep(8.5)
        of_one = [raws for number, raws in network.asked if number == 1]
        assert len(of_one) > 2
        assert of_one == [network.raws] + [(network.raws[0], *network.raws[2:])] * (len(of_one) - 1)
        network.answers[1] = b""
        await trio.sleep(SUBMIT_RESEND_S.value * 2)
        assert network.raws in [raws for number, raws in network.asked if number == 1][1:]
        network.final(0, 1, 2, 3)
    assert network.ends == [None] * 4


async def test_silence_of_the_first_ones_costs_a_moment(autojump_clock):
    network = Network({0: silent, 1: silent})
    await network.see(final_after_s=2.5 * HEDGE_S)
    assert network.numbers == [0, 1, 2, 3]


@pytest.mark.parametrize("others", [Wordless("it knows no such method"), Unavailable("there is no link")])
async def test_where_validators_know_no_batches_the_entries_are_left_to_the_way_of_single_ones(
    others, autojump_clock
):
    network = Network({0: Wordless("it knows no such method"), 1: others, 2: others, 3: others})
    await network.handing.see(network.going)
    assert trio.current_time() - network.began < HEDGE_S
    assert all(one.is_open for one in network.going)


async def test_validators_that_cannot_be_reached_are_asked_again(autojump_clock):
    network = Network(dict.fromkeys(range(4), Unavailable("there is no link")))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.handing.see, network.going)
        await trio.sleep(SUBMIT_RESEND_S.value * 1.5)
        assert network.numbers == [0, 0, 1, 1, 2, 2, 3, 3]
        network.answers = {0: Wordless("a bug of its own")}
        await trio.sleep(SUBMIT_RESEND_S.value)
        network.final(0, 1, 2, 3)
    assert network.ends == [None] * 4


async def test_what_no_log_holds_by_its_time_ends(autojump_clock):
    network = Network()
    network.final(3)
    await network.handing.see(network.going)
    assert network.ends == ["unavailable"] * 3 + [None]
    assert (
        LIFE_MS / 1_000 <= trio.current_time() - network.began <= LIFE_MS / 1_000 + 2 * SUBMIT_RESEND_S.value
    )


async def test_a_batch_that_is_final_waits_for_no_silent_validator(autojump_clock):
    network = Network(dict.fromkeys(range(4), silent))
    await network.see(final_after_s=0.5)
    assert trio.current_time() - network.began == 0.5


@pytest.mark.parametrize(
    "answer",
    [
        b"x",
        b"\xff",
        b"[]",
        b"[null]",
        b"{}",
        b"[null,null,null,null,null]",
        b"[1,2,3,4]",
        b'[{"code":[]},null,null,null]',
        b"[" * 100_000,
        b'"' + b"a" * 100_000,
    ],
)
async def test_a_liars_answer_is_no_yes(answer, autojump_clock):
    assert [one.code for one in read_answers(answer, 4)] == ["internal"] * 4
    network = Network({0: answer})
    await network.see()
    assert network.numbers == [0, 1, 2]


def test_answers_come_back_as_they_were_given():
    told = [None, NO, busy(4), None]
    found = read_answers(write_answers(told), 4)
    assert [one and one.as_dict() for one in found] == [one and one.as_dict() for one in told]
    assert write_answers([None] * 64) == b""
    assert read_answers(b"", 3) == [None] * 3


class Door:
    """A validator's mempool, and its log."""

    def __init__(self, *, orders=True, member=True):
        self.refuses, self.log, self.taken = {}, {}, []
        self.member = member
        self.desk = Desk(orders=lambda: orders, offer=self.offer, leaf_of=self.log.get, may=self.may)

    def offer(self, raw, node):
        assert node == b"peer"
        if raw in self.refuses:
            raise self.refuses[raw]
        self.taken.append(raw)

    def may(self, _):
        if not self.member:
            raise Refusal("forbidden", what="no member", who="you", do="join")


def batch(*raws):
    return sharing.Entries(raws).encode()


def test_a_validator_takes_what_it_can_and_says_of_each_what_it_did_not_take():
    door, raws = Door(), [fact(number).raw for number in range(3)]
    door.refuses = {raws[1]: NO}
    told = msgspec.json.decode(door.desk.answer(b"peer", batch(*raws)))
    assert [one and one["code"] for one in told] == [None, "conflict", None]
    assert door.taken == [raws[0], raws[2]]


def test_what_stands_in_a_validators_log_is_not_refused_whatever_its_door_says():
    door, entry = Door(), fact(1)
    door.refuses = {entry.raw: NO}
    door.log[entry.id] = 5
    assert door.desk.answer(b"peer", batch(entry.raw)) == b""


def test_bytes_that_are_no_entry_are_refused_alone():
    door, good = Door(), fact(1).raw
    door.refuses = {b"{}": Refusal("entry-refused", what="it is none", who="you", do="look")}
    told = msgspec.json.decode(door.desk.answer(b"peer", batch(b"{}", good)))
    assert (told[0]["code"], told[1], door.taken) == ("entry-refused", None, [good])


@pytest.mark.parametrize("door", [Door(orders=False), Door(member=False)])
def test_who_may_not_submit_or_asks_no_validator_is_told_and_nothing_is_read(door):
    with pytest.raises(Refusal) as refused:
        door.desk.answer(b"peer", b"\xff")
    assert (refused.value.code, door.taken) == ("forbidden", [])


@pytest.mark.parametrize(
    "payload", [b"", b"\x01\x00", b"\xff" * 9, Want((), True).encode(), batch(b"x") + b"y"]
)
def test_a_message_that_is_no_batch_is_its_senders_fault(payload):
    with pytest.raises(Malformed):
        Door().desk.answer(b"peer", payload)
