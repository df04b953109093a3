"""Guests, links for a while, reconnect loops, twins, and where a node is seen: on real sockets."""

import importlib.util
import sys
from pathlib import Path

import pytest
import trio

from pyrsia import keys
from pyrsia.errors import Unavailable
from pyrsia.mesh import scopes
from pyrsia.net import door, faults, targets
from pyrsia.net.curve import curve_public
from pyrsia.net.links import Busy
from pyrsia.net.requests import GUEST_BURST, GUEST_REQUESTS
from pyrsia.units import MAX_REQUESTS_PER_PEER, Limit, NodeId
from pyrsia.wire import frames
from pyrsia.wire.frames import Greeting
from tests.reference.waiting import until

sys.path.insert(0, str(Path(__file__).parent))
from nodes import CHAIN, Node, join, pairs_by_id

assert importlib.util.find_spec("nodes")

PAIRS = pairs_by_id(6)
ANN, BOB, *STRANGERS = PAIRS


def members_only(node):
    return node in (ANN.public, BOB.public)


def hall(guests=2, **more):
    """Ann, who knows Bob and has so many places for guests."""
    return Node(ANN, allow=members_only, guest=lambda node: True, guests=guests, **more)


async def refused(node, host):
    """`node` was told that there is no place."""
    await until(lambda: node.links.counted["dial-refused"] >= 1)
    assert not host.links.connected(node.id)


async def test_strangers_are_guests_while_there_is_room_and_members_always_get_in():
    ann, bob = hall(guests=2), Node(BOB)
    guests = [Node(pair) for pair in STRANGERS[:3]]
    async with trio.open_nursery() as nursery:
        for node in (ann, bob, *guests):
            await nursery.start(node.links.run)
        for guest in guests[:2]:
            guest.links.dial([ann.at])
            await until(lambda guest=guest: ann.links.connected(guest.id))
        guests[2].links.dial([ann.at])
        await refused(guests[2], ann)
        bob.links.dial([ann.at])
        await until(lambda: ann.links.connected(bob.id))
        told = {peer.node: peer.guest for peer in ann.links.peers() if peer.connected}
        nursery.cancel_scope.cancel()

    assert told == {bob.id: False, guests[0].id: True, guests[1].id: True}
    assert ann.links.counted["too-many-guests"] >= 1


async def test_a_short_link_with_something_under_way_makes_no_room_for_another(monkeypatch):
    monkeypatch.setattr(targets, "MAX_SHORT", Limit(1, "one"))
    go_on = trio.Event()

    async def slow(node, body):
        await go_on.wait()
        return b"done"

    ann, bob, cid = Node(ANN, methods={1: slow}), Node(BOB), Node(STRANGERS[0])
    told = []
    async with trio.open_nursery() as nursery:
        for node in (ann, bob, cid):
            await nursery.start(node.links.run)
        bob.links.dial([ann.at], for_s=30)
        await until(lambda: bob.links.connected(ann.id))

        async def ask():
            told.append(await bob.links.request(ann.id, 1, b"", 20))

        nursery.start_soon(ask)
        await until(lambda: ann.links._peers.get(bob.id).serving)
        bob.links.dial([cid.at], for_s=30)
        assert (bob.links.dials(ann.id), bob.links.dials(cid.id)) == (True, False)
        go_on.set()
        await until(lambda: told)
        bob.links.dial([cid.at], for_s=30)
        assert (bob.links.dials(ann.id), bob.links.dials(cid.id)) == (False, True)
        await until(lambda: bob.links.connected(cid.id))
        nursery.cancel_scope.cancel()
    assert told == [b"done"]


async def test_guests_whose_questions_take_long_leave_members_their_places():
    go_on = trio.Event()

    async def slow(node, body):
        await go_on.wait()
        return b""

    guests = [Node(pair) for pair in STRANGERS[:3]]
    ann, bob = hall(guests=3, methods={1: slow, 2: lambda node, body: body}), Node(BOB)
    told = []
    async with trio.open_nursery() as nursery:
        for node in (ann, bob, *guests):
            await nursery.start(node.links.run)
        for node in (bob, *guests):
            node.links.dial([ann.at])
            await until(lambda node=node: node.links.connected(ann.id))

        async def ask(guest):
            try:
                await guest.links.request(ann.id, 1, b"", 60)
            except Busy:
                told.append(guest.id)

        for guest in guests:
            for _ in range(MAX_REQUESTS_PER_PEER.value):
                nursery.start_soon(ask, guest)
        await until(lambda: len(told) == 3 * MAX_REQUESTS_PER_PEER.value - GUEST_REQUESTS.value)
        with pytest.raises(Busy):
            await guests[0].links.request(ann.id, 2, b"", 10)

        assert await bob.links.request(ann.id, 2, b"pong", 10) == b"pong"
        go_on.set()
        assert await bob.links.request(ann.id, 1, b"", 10) == b""
        for guest in guests:  # the places are free again
            assert await guest.links.request(ann.id, 2, b"pong", 10) == b"pong"
        nursery.cancel_scope.cancel()


async def test_without_places_for_guests_strangers_get_nothing():
    ann, stranger = hall(guests=0), Node(STRANGERS[0])
    async with trio.open_nursery() as nursery:
        for node in (ann, stranger):
            await nursery.start(node.links.run)
        stranger.links.dial([ann.at])
        await refused(stranger, ann)
        nursery.cancel_scope.cancel()
    assert ann.links.counted["not-allowed"] >= 1


async def test_who_left_the_network_is_no_guest():
    ann = Node(ANN, allow=members_only, guest=lambda node: node != STRANGERS[0].public, guests=5)
    stranger = Node(STRANGERS[0])
    async with trio.open_nursery() as nursery:
        for node in (ann, stranger):
            await nursery.start(node.links.run)
        stranger.links.dial([ann.at])
        await refused(stranger, ann)
        nursery.cancel_scope.cancel()
    assert ann.links.counted["not-allowed"] >= 1


async def test_where_all_places_are_taken_the_longest_idle_guest_makes_room_for_a_member(monkeypatch):
    monkeypatch.setattr(door, "MAX_PEERS", Limit(2, "a small hall"))
    ann, bob = hall(guests=5), Node(BOB)
    idle, busy = (Node(pair) for pair in STRANGERS[:2])
    async with trio.open_nursery() as nursery:
        for node in (ann, bob, idle, busy):
            await nursery.start(node.links.run)
        for guest in (idle, busy):
            guest.links.dial([ann.at])
            await until(lambda guest=guest: guest.links.connected(ann.id))
        idle.links.send(ann.id, 9, b"first")
        await until(lambda: len(ann.got) == 1)
        busy.links.send(ann.id, 9, b"then")
        await until(lambda: len(ann.got) == 2)
        bob.links.dial([ann.at])
        await until(lambda: ann.links.connected(bob.id) and not ann.links.connected(idle.id))
        assert ann.links.connected(busy.id)
        nursery.cancel_scope.cancel()
    assert ann.links.counted["guest-gave-way"] == 1


async def test_a_guest_that_became_a_member_takes_no_guests_place():
    admitted = {BOB.public}
    ann = Node(ANN, allow=lambda node: node in admitted, guest=lambda node: True, guests=1)
    first, second = (Node(pair) for pair in STRANGERS[:2])
    async with trio.open_nursery() as nursery:
        for node in (ann, first, second):
            await nursery.start(node.links.run)
        first.links.dial([ann.at])
        await until(lambda: ann.links.connected(first.id))
        admitted.add(first.id)
        await until(lambda: not any(peer.guest for peer in ann.links.peers()))
        second.links.dial([ann.at])
        await until(lambda: ann.links.connected(second.id))
        assert ann.links.connected(first.id)
        nursery.cancel_scope.cancel()


async def test_a_node_that_can_only_dial_out_is_asked_over_its_own_link():
    """Nobody can dial it, and yet it serves: requests go both ways."""

    async def chunk(node, body):
        return b"bytes of " + body

    ann, inside = hall(), Node(STRANGERS[0], methods={9: chunk})
    async with trio.open_nursery() as nursery:
        for node in (ann, inside):
            await nursery.start(node.links.run)
        inside.links.hide()
        inside.links.dial([ann.at])
        await until(lambda: ann.links.connected(inside.id))
        assert await ann.links.request(inside.id, 9, b"x", 10) == b"bytes of x"
        assert (ann.links.data_address(inside.id), ann.links.broadcast_address(inside.id)) == ("", "")
        assert ann.links.remote(inside.id) == inside.links.seen_at(ann.id) == "127.0.0.1"
        assert (ann.links.dialled(inside.id), inside.links.dialled(ann.id)) == (False, True)
        assert (inside.links.remote(ann.id), ann.links.seen_at(inside.id)) == ("", "")
        nursery.cancel_scope.cancel()


async def test_a_dial_back_finds_only_a_socket_with_the_right_key():
    ann, bob = Node(ANN, data="tcp://127.0.0.1:*"), Node(BOB)
    async with trio.open_nursery() as nursery:
        for node in (ann, bob):
            await nursery.start(node.links.run)
        assert await bob.links.answers_at(ann.id, ann.links.control_endpoint)
        assert await bob.links.answers_at(ann.id, ann.links.data_endpoint)
        assert not await bob.links.answers_at(NodeId(STRANGERS[0].public), ann.links.control_endpoint)
        listener = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener[0].socket.getsockname()[1]
        await listener[0].aclose()
        assert not await bob.links.answers_at(ann.id, f"tcp://127.0.0.1:{port}")
        assert not await bob.links.answers_at(ann.id, "tcp://nonsense")
        assert not ann.links.linked()
        nursery.cancel_scope.cancel()


# -- for a while --


async def test_a_link_for_a_while_ends_when_its_while_is_over_and_nothing_is_under_way():
    going = trio.Event()

    async def slow(node, body):
        await going.wait()
        return b"done"

    ann, bob = Node(ANN, methods={1: slow}), Node(BOB)
    async with trio.open_nursery() as nursery:
        for node in (ann, bob):
            await nursery.start(node.links.run)
        bob.links.dial([ann.at], for_s=0.5)
        await until(lambda: bob.links.connected(ann.id))
        answers = []

        async def ask():
            answers.append(await bob.links.request(ann.id, 1, b"", 20))

        nursery.start_soon(ask)
        target = bob.links._targets._targets[ann.id]
        await until(lambda: trio.current_time() > target.until_s + 1.2)  # the next look has passed
        assert bob.links.connected(ann.id)
        going.set()
        await until(lambda: not bob.links.connected(ann.id) and not ann.links.connected(bob.id))
        assert (answers, bob.links.dials(ann.id), bob.links.peers()) == ([b"done"], False, ())
        nursery.cancel_scope.cancel()


async def test_a_link_for_a_while_may_become_one_that_is_kept_and_a_kept_one_stays():
    ann, bob = Node(ANN), Node(BOB)
    async with trio.open_nursery() as nursery:
        for node in (ann, bob):
            await nursery.start(node.links.run)
        bob.links.dial([ann.at], for_s=0.1)
        bob.links.dial([ann.at])
        bob.links.dial([ann.at], for_s=0.1)
        await until(lambda: bob.links.connected(ann.id))
        bob.links._targets.sweep()
        assert not bob.links._targets._targets[ann.id].short
        bob.links.undial(ann.id)
        await until(lambda: not ann.links.connected(bob.id))
        assert not bob.links.dials(ann.id)
        nursery.cancel_scope.cancel()
    assert ann.events == [(bob.id, True), (bob.id, False)]


async def test_a_link_that_is_there_makes_none_for_a_while_and_outlives_its_end():
    ann, bob = Node(ANN), Node(BOB)
    async with trio.open_nursery() as nursery:
        await join(nursery, ann, bob)
        ann.links.dial([bob.at], for_s=0.1)  # Bob dialled
        assert not ann.links.dials(bob.id)
        ann.links.undial(bob.id)
        assert ann.links.connected(bob.id)
        nursery.cancel_scope.cancel()


async def test_links_for_a_while_are_few_and_the_oldest_makes_room(monkeypatch):
    monkeypatch.setattr(targets, "MAX_SHORT", Limit(3, "some"))
    bob = Node(BOB)
    async with trio.open_nursery() as nursery:
        await nursery.start(bob.links.run)
        bob.links.dial([(NodeId(STRANGERS[0].public), "tcp://127.0.0.1:1")])
        for number in range(10):
            node = NodeId(keys.KeyPair(bytes([40 + number]) * 32).public)
            bob.links.dial([(node, "tcp://127.0.0.1:1")], for_s=60)
        assert sum(target.short for target in bob.links._targets._targets.values()) == 3
        assert bob.links.dials(node)
        assert bob.links.dials(NodeId(STRANGERS[0].public))
        assert len(bob.links.peers()) <= 4
        nursery.cancel_scope.cancel()


# -- loops and twins --


async def test_who_reconnects_in_a_loop_waits_and_is_named(monkeypatch):
    monkeypatch.setattr(door, "COMINGS", Limit(4, "soon used up"))
    monkeypatch.setattr(door, "COMINGS_RATE", 0.1)
    blamed = []
    ann = Node(ANN, blame=lambda node, why: blamed.append((node, why)))
    bob = Node(BOB)
    async with trio.open_nursery() as nursery:
        for node in (ann, bob):
            await nursery.start(node.links.run)
        for _ in range(2 * door.COMINGS.value):
            bob.links.dial([ann.at])
            await until(lambda: ann.links.connected(bob.id) or blamed)
            if blamed:
                break
            bob.links.undial(ann.id)
            await until(lambda: not bob.links.connected(ann.id) and not ann.links.connected(bob.id))
        assert blamed[0] == (bob.id, "reconnects in a loop")
        assert ann.links.counted["reconnect-loop"] == 1
        assert ann.links.counted["linked"] >= door.COMINGS.value
        assert curve_public(bob.id) in ann.links.bans
        nursery.cancel_scope.cancel()


async def test_from_one_address_only_so_many_greetings_are_read_at_once(monkeypatch):
    monkeypatch.setattr(door, "COMINGS_OF_ADDRESS", Limit(2, "soon used up"))
    monkeypatch.setattr(door, "COMINGS_OF_ADDRESS_RATE", 0.001)
    ann = Node(ANN)
    others = [Node(pair) for pair in PAIRS[1:5]]
    async with trio.open_nursery() as nursery:
        for node in (ann, *others):
            await nursery.start(node.links.run)
        for node in others:
            node.links.dial([ann.at])
        await until(lambda: ann.links.counted["greetings-of-address"] == 2)
        assert len(ann.links.linked()) == 2
        nursery.cancel_scope.cancel()


@pytest.fixture
def addresses(monkeypatch):
    """Where connections come from, by id; others from here."""
    at = {}
    monkeypatch.setattr(door, "remote_of", lambda frame: at.get(door.key_of(frame), "127.0.0.1"))

    def says(node, address):
        at[curve_public(node)] = address

    return says


async def test_one_address_that_holds_all_places_of_guests_makes_room_for_another_and_not_the_other_way(
    addresses,
):
    ann = hall(guests=4)
    crowd, honest = [Node(keys.KeyPair(bytes([100 + number]) * 32)) for number in range(6)], Node(BOB)
    ann.links._greeter.allows = lambda node: False
    for number, node in enumerate(crowd):
        addresses(node.id, f"8.8.8.{number}")
    addresses(honest.id, "1.1.1.1")
    async with trio.open_nursery() as nursery:
        for node in (ann, honest, *crowd):
            await nursery.start(node.links.run)
        for node in crowd[:4]:
            node.links.dial([ann.at])
            await until(lambda node=node: ann.links.connected(node.id))
        honest.links.dial([ann.at])
        await until(lambda: ann.links.connected(honest.id))
        assert ann.links.counted["guest-gave-way"] == 1
        ann.links._peers.linked(honest.id).conn.used_s -= 1000  # however idle: the crowd has more than it
        for node in crowd[4:]:
            node.links.dial([ann.at])
            await refused(node, ann)
        assert ann.links.connected(honest.id)
        assert len(ann.links.linked()) == 4
        nursery.cancel_scope.cancel()


async def test_a_guest_that_is_idle_for_a_minute_gives_way_to_one_of_another_address_and_a_busy_one_does_not(
    addresses, monkeypatch
):
    monkeypatch.setattr(faults, "REFUSED_S", 0.2)  # else the third is refused for five seconds, place or none
    ann = hall(guests=2)
    first, second, third = (Node(pair) for pair in STRANGERS[:3])
    for number, node in enumerate((first, second, third)):
        addresses(node.id, f"9.{number}.0.1")
    async with trio.open_nursery() as nursery:
        for node in (ann, first, second, third):
            await nursery.start(node.links.run)
        for node in (first, second):
            node.links.dial([ann.at])
            await until(lambda node=node: ann.links.connected(node.id))
        third.links.dial([ann.at])
        await refused(third, ann)
        ann.links._peers.linked(second.id).conn.used_s -= door.GUEST_IDLE_S.value + 1
        await until(lambda: ann.links.connected(third.id))
        assert ann.links.connected(first.id)
        assert not ann.links.connected(second.id)
        nursery.cancel_scope.cancel()


class Flipped:
    """The sign-flipped twin of a key: another id, the same transport key. Signs with the negated scalar."""

    def __init__(self, pair):
        from nacl.bindings import (
            crypto_core_ed25519_scalar_negate,
            crypto_core_ed25519_scalar_reduce,
        )
        from nacl.encoding import RawEncoder
        from nacl.hash import sha512

        self.pair = pair
        self.public = pair.public[:31] + bytes([pair.public[31] ^ 0x80])
        self.seed = pair.seed
        half = bytearray(sha512(pair.seed, encoder=RawEncoder))
        half[0] &= 248
        half[31] = half[31] & 127 | 64
        self.prefix = bytes(half[32:])
        self.scalar = crypto_core_ed25519_scalar_negate(
            crypto_core_ed25519_scalar_reduce(bytes(half[:32]) + bytes(32))
        )

    def sign(self, message):
        from nacl.bindings import (
            crypto_core_ed25519_scalar_add,
            crypto_core_ed25519_scalar_mul,
            crypto_core_ed25519_scalar_reduce,
            crypto_scalarmult_ed25519_base_noclamp,
        )
        from nacl.encoding import RawEncoder
        from nacl.hash import sha512

        r = crypto_core_ed25519_scalar_reduce(sha512(self.prefix + message, encoder=RawEncoder))
        point = crypto_scalarmult_ed25519_base_noclamp(r)
        k = crypto_core_ed25519_scalar_reduce(sha512(point + self.public + message, encoder=RawEncoder))
        s = crypto_core_ed25519_scalar_add(crypto_core_ed25519_scalar_mul(k, self.scalar), r)
        return point + s


def test_the_twin_of_these_tests_signs_like_a_key_of_its_own():
    twin = Flipped(BOB)
    assert keys.verify(twin.public, b"word", twin.sign(b"word"))
    assert not keys.verify(BOB.public, b"word", twin.sign(b"word"))
    assert curve_public(twin.public) == curve_public(BOB.public)


@pytest.mark.parametrize("dials", ["the twin", "the host"])
async def test_two_ids_with_one_transport_key_have_one_link(dials):
    ann, bob, twin = Node(ANN), Node(BOB), Node(Flipped(BOB))
    async with trio.open_nursery() as nursery:
        for node in (ann, bob, twin):
            await nursery.start(node.links.run)
        bob.links.dial([ann.at])
        await until(lambda: ann.links.connected(bob.id))
        if dials == "the twin":
            twin.links.dial([ann.at])
        else:
            ann.links.dial([twin.at])
        await until(lambda: ann.links.counted["bad-greeting-twin"] >= 1)
        assert ann.links.linked() == [bob.id]
        assert ann.links.node_of_curve(curve_public(bob.id)) == bob.id
        nursery.cancel_scope.cancel()


async def test_an_address_under_a_twins_id_keeps_nobody_out():
    """DNS or HTTP may name any id: that the twin is dialled must not take the place of the node itself."""
    ann, bob = Node(ANN), Node(BOB)
    async with trio.open_nursery() as nursery:
        for node in (ann, bob):
            await nursery.start(node.links.run)
        ann.links.dial([(NodeId(Flipped(BOB).public), bob.links.control_endpoint)])
        await until(lambda: bob.links.counted["bad-greeting-replayed"] >= 1)
        bob.links.dial([ann.at])
        await until(lambda: ann.links.connected(bob.id))
        assert ann.links.linked() == [bob.id]
        nursery.cancel_scope.cancel()


def test_a_greeting_says_where_it_sees_us_and_nothing_but_an_address():
    fields = dict(node=NodeId(ANN.public), chain_id=CHAIN, to=NodeId(BOB.public), nonce=bytes(16), issued_ms=0,
                  name="ann", control="", data="")  # fmt: skip

    def sent(seen):
        greeting = Greeting(**fields, seen=seen)
        return frames.decode_greeting(
            frames.encode_greeting(greeting, ANN.sign(frames.greeting_to_sign(greeting, welcome=True)))
        )[0]

    assert [sent(seen).seen for seen in ("", "192.0.2.1", "2001:db8::1")] == ["", "192.0.2.1", "2001:db8::1"]
    for seen in ("evil.example", "1.2.3.4\n", "x" * 46, "192.0.2.1:80/"):
        with pytest.raises(frames.Malformed, match="numeric"):
            sent(seen)


async def test_a_link_that_is_gone_answers_nothing_more():
    ann, bob = Node(ANN), Node(BOB)
    async with trio.open_nursery() as nursery:
        await join(nursery, ann, bob)
        bob.links.undial(ann.id)
        await until(lambda: not bob.links.connected(ann.id))
        with pytest.raises(Unavailable, match="no link"):
            await bob.links.request(ann.id, 1, b"", 5)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("said", "dialled"),
    [
        ("tcp://127.0.0.1:7", "tcp://127.0.0.1:7"),
        ("tcp://8.8.8.8:7", "tcp://8.8.8.8:7"),
        ("tcp://0.0.0.0:7", "tcp://127.0.0.1:7"),
        ("tcp://10.0.0.1:22", "tcp://127.0.0.1:22"),
        ("tcp://internal.example:22", "tcp://127.0.0.1:22"),
        ("", ""),
    ],
)
async def test_an_address_of_a_greeting_leads_to_no_machine_that_is_none_of_the_peers(said, dialled):
    ann = Node(ANN, ours=scopes.scopes_of(["127.0.0.1"]))
    bob = Node(BOB, data="tcp://127.0.0.1:*")
    async with trio.open_nursery() as nursery:
        for node in (ann, bob):
            await nursery.start(node.links.run)
        bob.links._greeter._addresses = lambda: ("tcp://127.0.0.1:1", said, said)
        bob.links.dial([ann.at])
        await until(lambda: ann.links.connected(bob.id))
        assert ann.links.data_address(bob.id) == ann.links.broadcast_address(bob.id) == dialled
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("said", ["tcp://8.8.8.8:7", "tcp://127.0.0.1:7", "tcp://victim.example:7"])
@pytest.mark.parametrize("dials", ["the guest", "we"])
async def test_a_guest_is_where_its_link_leads_whatever_it_says(said, dials):
    ann, guest = hall(ours=scopes.scopes_of(["127.0.0.1"])), Node(STRANGERS[0])
    async with trio.open_nursery() as nursery:
        for node in (ann, guest):
            await nursery.start(node.links.run)
        guest.links._greeter._addresses = lambda: ("tcp://127.0.0.1:1", said, said)
        one, other = (guest, ann) if dials == "the guest" else (ann, guest)
        one.links.dial([other.at])
        await until(lambda: ann.links.connected(guest.id))
        where = ann.links.data_address(guest.id), ann.links.broadcast_address(guest.id)
        assert where == ("tcp://127.0.0.1:7", "tcp://127.0.0.1:7")
        nursery.cancel_scope.cancel()


async def test_a_stranger_that_we_dialled_is_a_guest_too_until_it_is_admitted():
    members = {BOB.public}
    ann = Node(ANN, allow=lambda node: node in members, guest=lambda node: True, guests=2)
    bob, eve = Node(BOB), Node(pairs_by_id(9)[5])
    async with trio.open_nursery() as nursery:
        for node in (ann, bob, eve):
            await nursery.start(node.links.run)
        ann.links.dial([bob.at, eve.at])
        await until(lambda: ann.links.connected(bob.id) and ann.links.connected(eve.id))
        assert (ann.links.guest(bob.id), ann.links.guest(eve.id)) == (False, True)
        members.add(eve.id)
        await until(lambda: not ann.links.guest(eve.id))
        nursery.cancel_scope.cancel()


async def test_guests_that_ask_without_end_leave_members_the_loop():
    asked = []

    def counted(node, body):
        asked.append(node)
        return b""

    ann, bob, eve = hall(guests=2, methods={1: counted}), Node(BOB), Node(STRANGERS[0])
    async with trio.open_nursery() as nursery:
        await join(nursery, ann, bob)
        await nursery.start(eve.links.run)
        eve.links.dial([ann.at])
        await until(lambda: ann.links.connected(eve.id) and eve.links.connected(ann.id))
        busy = 0
        for _ in range(2 * GUEST_BURST.value):
            try:
                await eve.links.request(ann.id, 1, b"", 5)
            except Busy:
                busy += 1
        assert busy > 0
        assert asked.count(eve.id) == 2 * GUEST_BURST.value - busy
        for _ in range(2 * GUEST_BURST.value):
            await bob.links.request(ann.id, 1, b"", 5)
        assert asked.count(bob.id) == 2 * GUEST_BURST.value
        nursery.cancel_scope.cancel()
