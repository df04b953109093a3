"""Messages over real sockets: delivered with a receipt, carried once, kept, replayed, refused, reported."""

import pytest
import trio

from pyrsia import keys
from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.mesh import mail, outbox, scores
from pyrsia.node.kinds import Method
from pyrsia.node.mesh import delivering, sealing
from pyrsia.node.mesh.letters import SENT, Letters
from pyrsia.serve.desks.messages import MessageOrder
from pyrsia.units import MAX_MAIL_BYTES, Limit, NodeId
from pyrsia.wire import envelopes
from pyrsia.wire import mail as wire
from pyrsia.wire.mail import Hops
from pyrsia.wire.text import b32
from tests.reference.waiting import bounded, until
from tests.unit.node.mesh.talkers import CHAIN, NAMES, PAIRS, town


def order(to, text="hello", **fields):
    return MessageOrder(to, text, **fields)


async def refused(call, *given):
    with pytest.raises(Refusal) as told:
        await call(*given)
    return told.value


def carrying(handed):
    """A method of a carrier that says that it could, and does this with what it is handed."""

    async def carry(node, payload):
        return wire.could(True) if wire.read_ask(payload) is not None else await handed(node, payload)

    return carry


def sent_raw(talker):
    """The newest envelope that this node wrote."""
    return list(Letters(talker.database).all_mine())[-1][1].raw


async def test_a_message_is_in_the_inbox_when_its_author_has_the_receipt():
    async with town(None, "ann", "bob") as made:
        await made.joined("ann", "bob")
        told = await made.ann.desk.send(order("bob", "hello\x1b[31m"))
        assert (told.state, told.name, told.via, told.tries) == ("delivered", "bob", "", 1)
        assert await made.bob.letters() == [("ann", "hello\x1b[31m")]
        assert [row.state for row in made.ann.desk.sent().messages] == ["delivered"]
        page = await made.bob.desk.inbox(0, 10, 0)
        assert (page.count, page.next, page.messages[0].via) == (1, 1, "")


async def test_a_message_that_a_full_disk_did_not_take_has_no_receipt_until_it_comes_again():
    async with town(None, "ann", "bob") as made:
        await made.joined("ann", "bob")
        memory, full = made.bob.database, [True]
        write = memory.write

        def writes(batch):
            if full:
                raise Unavailable("the disk is full")
            write(batch)

        memory.write = writes
        assert (await refused(made.ann.desk.send, order("bob", "once"))).code == "unavailable"
        assert await made.bob.letters() == []
        full.clear()
        raw = sent_raw(made.ann)
        handed = wire.handed(Hops.AUTHOR, raw)
        receipt, _, _ = wire.read_receipt(
            envelopes.decode(raw)[0], await made.ann.links.request(made.bob.id, Method.MAIL, handed, 10)
        )
        assert receipt.origin == made.bob.id
        assert await made.bob.letters() == [("ann", "once")]


def given_up(node):
    return sum(row.text == "given up" for row in node.desk.sent().messages)


async def test_what_the_disk_did_not_take_and_what_nobody_waits_for_takes_no_place_for_ever(monkeypatch):
    monkeypatch.setattr(outbox, "MAX_WAITING", Limit(3, "few"))
    async with town(None, "ann", "bob") as made:
        await made.ann.desk.send(order("bob", "kept", keep=True))
        database, full = made.ann.database, [True]
        write = database.write

        def writes(batch):
            if full:
                raise Unavailable("the disk is full")
            write(batch)

        database.write = writes
        for _ in range(5):
            with pytest.raises(Unavailable):
                await made.ann.desk.send(order("bob"))
        full.clear()
        await made.joined("ann", "bob")
        real, gone = made.ann.links.request, trio.Event()

        async def silent(*asked):
            await gone.wait()
            raise Unavailable("the link broke")

        made.ann.links.request = silent
        for turn in range(1, 6):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(made.ann.desk.send, order("bob", "given up"))
                await until(lambda turn=turn: given_up(made.ann) == turn)
                nursery.cancel_scope.cancel()
        gone.set()
        await until(lambda: not made.ann.mail._sending._lines)
        made.ann.links.request = real
        assert (await made.ann.desk.send(order("bob", "arrives"))).state == "delivered"
        told = [(row.text, row.state) for row in made.ann.desk.sent().messages if row.text != "kept"]
        assert told == [("given up", "not delivered")] * 5 + [("arrives", "delivered")]


async def test_a_sealed_message_is_read_by_its_recipient_and_by_nobody_on_the_way():
    async with town(None, "ann", "bob") as made:
        await made.joined("ann", "bob")
        await made.ann.desk.send(order("bob", "for bob alone", seal=True))
        assert await made.bob.letters() == [("ann", "for bob alone")]
        assert (await made.bob.desk.inbox(0, 10, 0)).messages[0].sealed
        assert b"for bob alone" not in sent_raw(made.ann)


async def test_a_seal_opens_for_its_recipient_and_its_author_only():
    ann, bob, eve = (NodeId(pair.public) for pair in PAIRS[:3])
    seal = sealing.sealed(bob, ann, b"text")
    assert sealing.opened(PAIRS[1].seed, ann, seal) == b"text"
    for pair, author in ((PAIRS[0], ann), (PAIRS[2], ann), (PAIRS[1], eve)):
        with pytest.raises(Malformed):
            sealing.opened(pair.seed, author, seal)
    for noise in (b"", seal[:-1], bytes(48), bytes(2_000)):
        with pytest.raises(Malformed):
            sealing.opened(PAIRS[1].seed, ann, noise)
    with pytest.raises(Malformed):
        sealing.sealed(NodeId(bytes(32)), ann, b"text")


async def test_a_message_to_a_node_that_is_away_is_reported_with_what_to_do_and_never_dropped():
    async with town(None, "ann", "bob") as made:
        await made.joined("ann", "bob")
        told = await refused(made.ann.desk.send, order("cid"))
        assert told.code == "unavailable"
        assert "cid cannot be reached" in told.what
        assert "--keep" in told.do
        row = made.ann.desk.sent().messages[0]
        assert (row.state, row.text, row.tries) == ("not delivered", "hello", 1)
        assert "cid cannot be reached" in row.why


async def test_without_any_link_it_says_so():
    async with town(None, "ann") as made:
        told = await refused(made.ann.desk.send, order("bob"))
        assert "this node has no link to any other" in told.what


async def test_what_is_kept_arrives_when_its_recipient_comes_also_after_a_restart_of_its_author(tmp_path):
    async with town(tmp_path, "ann") as made:
        told = await made.ann.desk.send(order("bob", "when you come", keep=True))
        assert (told.state, told.tries) == ("waiting", 1)
        await made.stop("ann")
        await made.start("ann")
        assert [row.state for row in made.ann.desk.sent().messages] == ["waiting"]
        await made.start("bob")
        await made.joined("ann", "bob")
        await until(lambda: made.ann.desk.sent().messages[0].state == "delivered")
        assert await made.bob.letters() == [("ann", "when you come")]


async def test_a_bug_that_an_answer_finds_ends_one_try_and_no_node(caplog, monkeypatch):
    monkeypatch.setattr(outbox, "LEAST_PAUSE_S", 0.01)
    async with town(None, "ann", "bob") as made:
        sending = made.ann.mail._sending
        await made.ann.desk.send(order("bob", keep=True))
        failed, good = [], sending._deliverer.deliver

        async def fails(*given):
            failed.append(given)
            sending._deliverer.deliver = good
            raise KeyError("a carrier that was forgotten")

        sending._deliverer.deliver = fails
        await made.joined("ann", "bob")
        await until(lambda: made.ann.desk.sent().messages[0].state == outbox.DELIVERED)
        assert len(failed) == 1
        assert "a message is not tried again now: a fault of ours" in [
            one.getMessage() for one in caplog.records
        ]


async def test_what_nobody_took_in_time_says_that_it_has_expired():
    async with town(None, "ann") as made:
        await made.ann.desk.send(order("bob", keep=True, expires_s=60))
        made.ann.clock_ms = 61_000
        made.ann.mail._sending.linked(NodeId(PAIRS[1].public))
        kept = made.ann.mail._sending._outbox
        await until(lambda: next(kept.rows()).state != outbox.WAITING)
        assert made.ann.desk.sent().messages[0].state == outbox.EXPIRED


async def test_a_message_is_carried_by_one_peer_that_has_a_link_and_cannot_read_a_sealed_one():
    async with town(None, "ann", "bob", "cid") as made:
        await made.joined("ann", "bob")
        await made.joined("bob", "cid")
        told = await made.ann.desk.send(order("cid", "over bob", seal=True))
        assert (told.state, told.via) == ("delivered", "bob")
        letter = (await made.cid.desk.inbox(0, 10, 0)).messages[0]
        assert (letter.name, letter.text, letter.via) == ("ann", "over bob", "bob")
        assert await made.bob.letters() == []
        assert b"over bob" not in sent_raw(made.ann)


@pytest.mark.parametrize("seal", [False, True])
async def test_who_has_no_link_with_the_recipient_or_is_no_member_is_not_handed_what_it_could_read(seal):
    def watched(talker, saw):
        post = talker.mail._receiving._post
        handed = post.on_handed

        def spy(now, now_ms, sender, data):
            if wire.read_ask(data) is None:
                saw.append(talker.name)
            return handed(now, now_ms, sender, data)

        post.on_handed = spy

    async with town(None, "ann", "bob", "cid", "dot", "eve", members=("ann", "bob", "cid", "dot")) as made:
        for name in ("bob", "cid", "eve"):
            await made.joined("ann", name)
        saw = []
        for name in ("bob", "cid", "eve"):
            watched(made.talkers[name], saw)
        await refused(made.ann.desk.send, order("dot", seal=seal))
        assert saw == []
        await made.joined("eve", "dot")
        if seal:
            assert (await made.ann.desk.send(order("dot", seal=seal))).state == "delivered"
            assert saw == ["eve"]
        else:
            await refused(made.ann.desk.send, order("dot", seal=seal))
            assert saw == []
        await made.joined("bob", "dot")
        assert (await made.ann.desk.send(order("dot"))).via == "bob"
        assert saw[-1] == "bob"


async def test_where_only_guests_could_carry_what_is_not_sealed_it_says_so():
    async with town(None, "ann", "eve", members=("ann", "bob")) as made:
        await made.joined("ann", "eve")
        told = await refused(made.ann.desk.send, order("bob"))
        assert "with a member that may carry what is not sealed" in told.what


async def test_a_hundred_messages_to_a_node_that_is_away_cost_one_try_and_hold_up_no_other():
    async with town(None, "ann", "bob", "cid") as made:
        await made.joined("ann", "bob")
        deliverer, tries, away = made.ann.mail._sending._deliverer, [], trio.Event()
        deliver = deliverer.deliver

        async def watched(envelope, raw):
            if envelope.to == made.bob.id:
                return await deliver(envelope, raw)
            tries.append(envelope.seq)
            await away.wait()
            raise deliverer._unreachable(envelope.to, "", 0)

        deliverer.deliver = watched
        states = []

        async def keep(number):
            states.append((await made.ann.desk.send(order("cid", f"page {number}", keep=True))).state)

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(keep, number)
            await until(
                lambda: tries and sum(line.users for line in made.ann.mail._sending._lines.values()) == 100
            )
            assert (await made.ann.desk.send(order("bob", "meanwhile"))).state == "delivered"
            assert len(tries) == 1
            away.set()
        assert states == ["waiting"] * 100
        assert len(tries) == 1
        assert not made.ann.mail._sending._lines
        await refused(made.ann.desk.send, order("cid", "later"))  # what is new is tried
        assert len(tries) == 2


async def test_a_message_makes_one_hop_and_no_second_one():
    async with town(None, "ann", "bob", "cid", "dot") as made:
        for one, other in (("ann", "bob"), ("bob", "cid"), ("cid", "dot")):
            await made.joined(one, other)
        told = await refused(made.ann.desk.send, order("dot"))
        assert "none of the 1 nodes that were asked has one with it" in told.what
        assert await made.dot.letters() == []
        # And who tries to have it carried on all the same is at fault.
        handed = wire.handed(Hops.CARRIER, sent_raw(made.ann))
        await refused(made.bob.links.request, made.cid.id, Method.MAIL, handed, 10)
        assert made.cid.links.counted["bad-mail"] == 1


async def test_a_carrier_that_invents_a_receipt_loses_points_and_the_message_is_not_delivered():
    async def lie(node, payload):
        message, _ = envelopes.decode(wire.read_handed(payload)[1])
        receipt = wire.receipt(message, 5)
        return envelopes.encode(receipt, PAIRS[1].sign(envelopes.to_sign(receipt)))

    async with town(None, "ann", "bob") as made:
        made.bob.links._more[Method.MAIL] = carrying(lie)
        await made.joined("ann", "bob")
        told = await refused(made.ann.desk.send, order("cid"))
        assert told.code == "unavailable"
        now = trio.current_time()
        assert made.ann.book.of(now, made.bob.id) < scores.LIE * 0.9
        assert "receipt" in made.ann.book.reason(made.bob.id)


class Patience:
    """A bound that is another one each time that it is asked for: short for who stalls, long for who must answer."""

    def __init__(self, *each_s):
        self._left_s = list(each_s)

    @property
    def value(self):
        return self._left_s.pop(0)


@pytest.mark.parametrize("says_that_it_could", [True, False])
async def test_carriers_that_never_answer_keep_no_message_from_the_one_that_has_the_link(
    says_that_it_could, monkeypatch
):
    async def stalls(node, payload):
        await trio.sleep_forever()

    monkeypatch.setattr(delivering, "NEXT_S", Patience(0.05, 0.05, 60))
    async with town(None, "ann", "bob", "cid", "eve", "fay") as made:
        await made.joined("ann", "cid", "eve", "fay")
        await made.joined("cid", "bob")
        for slow in (made.eve, made.fay):
            slow.links._more[Method.MAIL] = carrying(stalls) if says_that_it_could else stalls
        deliverer = made.ann.mail._sending._deliverer
        monkeypatch.setattr(
            deliverer._draw, "shuffle", lambda linked: linked.sort(key=lambda one: one == made.cid.id)
        )
        with bounded():
            told = await made.ann.desk.send(order("bob"))
        assert (told.state, told.via) == ("delivered", "cid")
        assert await made.bob.letters() == [("ann", "hello")]
        assert deliverer._slow == {made.eve.id, made.fay.id}
        assert deliverer._carriers(made.bob.id, sealed=False)[0] == made.cid.id


@pytest.mark.parametrize("answer", [b"", b"thanks", bytes(100_000)])
async def test_a_recipient_that_answers_with_anything_else_has_not_received_it(answer):
    async def lie(node, payload):
        return answer

    async with town(None, "ann", "bob") as made:
        made.bob.links._more[Method.MAIL] = lie
        await made.joined("ann", "bob")
        told = await refused(made.ann.desk.send, order("bob"))
        assert "a receipt that is none" in told.what


async def test_what_a_carrier_says_of_a_refusal_is_hearsay_and_what_is_kept_is_tried_on():
    async def lie(node, payload):
        raise Refusal("forbidden", what="cid hates you", who="cid", do="stop")

    async with town(None, "ann", "bob") as made:
        made.bob.links._more[Method.MAIL] = carrying(lie)
        await made.joined("ann", "bob")
        told = await made.ann.desk.send(order("cid", keep=True))
        assert told.state == "waiting"
        assert "bob would have carried it: cid hates you" in told.why


@pytest.mark.parametrize(("accept", "members"), [("nobody", NAMES), ("members", ("bob",))])
async def test_who_is_not_wanted_is_told_so_and_what_was_kept_is_tried_no_more(accept, members):
    async with town(None, "ann", "bob", accept=accept, members=members) as made:
        await made.joined("ann", "bob")
        told = await refused(made.ann.desk.send, order(b32(made.bob.id), keep=True))
        assert told.code == "forbidden"
        assert [row.state for row in made.ann.desk.sent().messages] == ["refused"]
        assert await made.bob.letters() == []


async def test_a_guest_writes_where_anyone_may():
    async with town(None, "ann", "bob", accept="anyone", members=("bob",)) as made:
        await made.joined("ann", "bob")
        await made.ann.desk.send(order("bob", "from nobody"))
        assert await made.bob.letters() == [("", "from nobody")]


async def test_a_replayed_message_is_shown_once_also_after_a_restart_and_when_it_was_deleted(tmp_path):
    async with town(tmp_path, "ann", "bob", "cid") as made:
        await made.joined("ann", "bob")
        await made.joined("bob", "cid")
        await made.ann.desk.send(order("bob", "once"))
        handed = wire.handed(Hops.CARRIER, sent_raw(made.ann))
        assert await made.cid.links.request(made.bob.id, Method.MAIL, handed, 10)
        assert await made.bob.letters() == [("ann", "once")]
        await made.bob.desk.delete(1, sent=False)
        await made.stop("bob")
        await made.start("bob")
        await made.joined("bob", "cid")
        assert await made.cid.links.request(made.bob.id, Method.MAIL, handed, 10)
        assert await made.bob.letters() == []
        made.bob.clock_ms = 3_700_000
        told = await refused(made.cid.links.request, made.bob.id, Method.MAIL, handed, 10)
        assert told.code == "too-old"


async def test_a_full_disk_ends_neither_the_forgetting_nor_the_trying_again(monkeypatch):
    monkeypatch.setattr(mail, "PAST_S", Limit(0, "a test"))
    monkeypatch.setattr(outbox, "LEAST_PAUSE_S", 0.01)
    async with town(None, "ann", "bob") as made:
        await made.joined("ann", "bob")
        await made.ann.desk.send(order("bob", expires_s=60))
        kept = await made.bob.desk.send(order(b32(PAIRS[6].public), expires_s=60, keep=True))
        tried, database = [], made.bob.database

        def full(batch):
            tried.append(batch)
            raise Unavailable("the disk is full")

        made.bob.clock_ms = 61_000
        database.write = full
        made.bob.mail._sending._wake()
        async with trio.open_nursery() as nursery:  # (its own turn comes once a minute)
            nursery.start_soon(made.bob.mail._receiving.run)
            await until(lambda: len(tried) >= 2)
            nursery.cancel_scope.cancel()
        del database.write
        assert kept.state == "waiting"
        await made.ann.desk.send(order("bob", "still there"))
        assert await made.bob.letters() == [("ann", "hello"), ("ann", "still there")]


async def test_ids_that_have_expired_are_forgotten_on_disk_too(tmp_path, monkeypatch):
    monkeypatch.setattr(mail, "PAST_S", Limit(0, "a test"))
    async with town(tmp_path, "ann", "bob") as made:
        await made.joined("ann", "bob")
        await made.ann.desk.send(order("bob", expires_s=60))
        assert len(list(Letters(made.bob.database).window())) == 1
        await made.stop("bob")
        bob = await made.start("bob")
        bob.clock_ms = 61_000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bob.mail._receiving.run)
            await until(lambda: not list(Letters(bob.database).window()))
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "garbage", [b"", b"\x00", b"\x02" + bytes(300), b"\x00" + bytes(300), bytes(100_000)], ids=range(5)
)
async def test_garbage_is_refused_and_is_a_fault_and_the_link_goes_on(garbage):
    async with town(None, "ann", "bob") as made:
        await made.joined("ann", "bob")
        told = await refused(made.bob.links.request, made.ann.id, Method.MAIL, garbage, 10)
        assert told.code == "bad-request"
        await made.bob.desk.send(order("ann"))
        assert await made.ann.letters() == [("bob", "hello")]


async def test_who_hands_over_a_forged_message_loses_points_with_a_reason():
    async with town(None, "ann", "bob") as made:
        await made.joined("ann", "bob")
        await made.ann.desk.send(order("bob"))
        raw = sent_raw(made.ann)
        forged = wire.handed(Hops.AUTHOR, raw[:-64] + bytes(64))
        await refused(made.ann.links.request, made.bob.id, Method.MAIL, forged, 10)
        assert made.bob.book.of(trio.current_time(), made.ann.id) < scores.LIE * 0.9
        assert "false signature" in made.bob.book.reason(made.ann.id)


async def test_a_sealed_message_that_is_not_for_this_key_is_refused_and_costs_its_carrier_nothing():
    async with town(None, "ann", "bob", "cid") as made:
        await made.joined("ann", "bob")
        await made.joined("bob", "cid")
        seal = sealing.sealed(made.ann.id, made.ann.id, b"to myself")
        one = envelopes.Envelope(
            envelopes.Kind.MAIL, CHAIN, made.ann.id, made.cid.id, 1, made.ann._now_ms() + 60_000, "",
            wire.payload(wire.Form.SEALED, seal),
        )  # fmt: skip
        raw = envelopes.encode(one, PAIRS[0].sign(envelopes.to_sign(one)))
        told = await refused(
            made.ann.links.request, made.bob.id, Method.MAIL, wire.handed(Hops.AUTHOR, raw), 10
        )
        assert "seal" in told.what
        assert not made.cid.book.reason(made.bob.id)
        assert await made.cid.letters() == []


async def test_a_link_is_made_where_it_is_known_where():
    places = {}
    async with town(None, "ann", "bob", address_of=lambda node: places.get(node, "")) as made:
        places[made.bob.id] = made.bob.links.control_endpoint
        told = await made.ann.desk.send(order("bob", "I looked you up"))
        assert (told.state, told.via) == ("delivered", "")


async def test_a_reader_of_the_inbox_waits_for_the_next_one():
    async with town(None, "ann", "bob") as made:
        await made.joined("ann", "bob")
        await made.ann.desk.send(order("bob", "first"))
        pages = []

        async def read():
            pages.append(await made.bob.desk.inbox(1, 10, 20))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await made.ann.desk.send(order("bob", "second"))
        assert [[row.text for row in page.messages] for page in pages] == [["second"]]
        assert pages[0].next == 2


async def test_what_is_deleted_is_gone_and_what_is_not_there_is_refused():
    async with town(None, "ann", "bob") as made:
        await made.joined("ann", "bob")
        await made.ann.desk.send(order("bob"))
        assert (await made.bob.desk.delete(1, sent=False)).number == 1
        assert (await made.ann.desk.delete(1, sent=True)).number == 1
        for talker, sent in ((made.bob, False), (made.ann, True)):
            assert (await refused_delete(talker, sent)).code == "not-found"
        assert (await made.bob.desk.inbox(0, 10, 0)).count == 0
        assert made.ann.desk.sent().messages == ()
        await made.ann.desk.send(order("bob"))
        assert (await made.bob.desk.inbox(0, 10, 0)).messages[0].number == 2, "numbers are not given twice"


async def refused_delete(talker, sent):
    with pytest.raises(Refusal) as told:
        await talker.desk.delete(1, sent=sent)
    return told.value


async def test_whom_a_name_or_the_start_of_an_id_means():
    async with town(None, "ann", "bob", members=("ann", "bob")) as made:
        bob = b32(made.bob.id)
        for text in ("bob", bob, bob[:6]):
            assert made.ann.who.find(text) == made.bob.id
        stranger = b32(keys.KeyPair(bytes([77]) * 32).public)
        assert made.ann.who.find(stranger) == NodeId(keys.KeyPair(bytes([77]) * 32).public)
        for text in ("cid", bob[:5], stranger[:10], "", bob.upper()):
            assert (await refused(made.ann.desk.send, order(text or "x"))).code == "not-found"
        twin = NodeId(made.bob.id[:4] + bytes(28))
        made.members[twin] = "bob"
        assert (await refused(made.ann.desk.send, order("bob"))).code == "conflict"
        assert (await refused(made.ann.desk.send, order(bob[:6]))).code == "conflict"
        assert (await refused(made.ann.desk.send, order("ann"))).code == "conflict"


async def test_the_name_that_a_guest_gave_itself_means_nobody_and_the_refusal_says_whose_it_is():
    async with town(None, "ann", "bob", members=("ann", "bob")) as made:
        guests = [NodeId(bytes([number]) * 32) for number in (1, 2)]
        names = [(guests[0], "ivy"), (guests[1], "bob"), (made.bob.id, "bob")]
        made.ann.who._names_of_linked = lambda: names
        told = await refused(made.ann.desk.send, order("ivy"))
        assert told.code == "not-found"
        assert "ivy is what 1 guest calls itself" in told.what
        assert b32(guests[0]) in told.do
        assert made.ann.who.find("bob") == made.bob.id  # whatever a guest calls itself
        names.append((guests[1], "ivy"))
        told = await refused(made.ann.desk.send, order("ivy"))
        assert "2 guests call themselves" in told.what
        assert all(b32(node) in told.do for node in guests)


async def test_a_message_whose_time_is_over_is_told_as_expired_before_its_row_is_looked_at_again():
    async with town(None, "ann", "bob", members=("ann", "bob")) as made:
        number = (await made.ann.desk.send(order("bob", keep=True, expires_s=60))).number
        kept = made.ann.mail._sending._outbox
        for clock_ms, told in ((30_000, outbox.WAITING), (61_000, outbox.EXPIRED)):
            made.ann.clock_ms = clock_ms
            assert made.ann.desk.sent().messages[-1].state == told
            assert kept.get(number).state == outbox.WAITING


async def test_a_text_over_the_limit_in_bytes_and_a_seal_for_no_key_are_refused_before_anything_is_sent(
    tmp_path,
):
    async with town(None, "ann") as made:
        text = "\u20ac" * (MAX_MAIL_BYTES.value // 3 + 1)
        assert (await refused(made.ann.desk.send, order("bob", text))).code == "too-large"
        assert (await refused(made.ann.desk.send, order(b32(bytes(32)), seal=True))).code == "bad-request"
        assert (
            await refused(made.ann.desk.send, order("bob", expires_s=mail.MAX_LIFE_MS.value))
        ).code == "bad-request"
        assert made.ann.desk.sent().messages == ()
        assert not list(made.ann.database.scan("mail", SENT, 10, before=bytes([SENT[0] + 1])))
