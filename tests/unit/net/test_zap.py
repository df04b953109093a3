"""Who may connect at all: bans by transport key, CURVE only, and nobody without the handler."""

import contextlib
from collections import Counter

import pytest
import trio
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st
from zmq.utils import z85

from pyrsia.errors import Malformed
from pyrsia.keys import KeyPair
from pyrsia.net.curve import curve_keys, curve_public
from pyrsia.net.zap import DOMAIN, Bans, Zap, key_of, serve_with_curve
from pyrsia.net.zsock import ZSock
from pyrsia.units import MAX_BANS
from tests.reference.waiting import bounded

SERVER, CLIENT = (curve_keys(bytes([i]) * 32) for i in (1, 2))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


# -- bans --


def test_a_ban_ends_by_itself_and_is_forgotten():
    clock = Clock()
    bans = Bans(clock)
    bans.add(b"a", 5)
    assert b"a" in bans
    assert b"b" not in bans
    clock.now = 4.9
    assert b"a" in bans
    clock.now = 5.0
    assert b"a" not in bans
    assert len(bans) == 0


def test_a_shorter_ban_does_not_shorten_a_longer_one():
    clock = Clock()
    bans = Bans(clock)
    bans.add(b"a", 60)
    bans.add(b"a", 5)
    clock.now = 59
    assert b"a" in bans
    bans.add(b"a", 60)
    clock.now = 118
    assert b"a" in bans


def test_the_list_is_bounded_and_the_oldest_ban_makes_room():
    bans = Bans(Clock())
    for i in range(MAX_BANS.value + 10):
        bans.add(i.to_bytes(32, "big"), 60)
    assert len(bans) == MAX_BANS.value
    assert (9).to_bytes(32, "big") not in bans
    assert (10).to_bytes(32, "big") in bans


# -- transport keys --


@settings(max_examples=50)
@given(st.binary(min_size=32, max_size=32))
def test_the_image_of_a_node_key_is_the_key_that_its_secret_makes(seed):
    keys = curve_keys(seed)
    assert curve_public(KeyPair(seed).public) == keys.public
    assert zmq.curve_public(z85.encode(keys.secret)) == z85.encode(keys.public)
    assert repr(keys).find(keys.secret.hex()) == -1


@pytest.mark.parametrize(
    "node",
    [b"", bytes(31), bytes(33), bytes(32), b"\1" + bytes(31), b"\xff" * 32, b"\x02" + bytes(31)],
    ids=["empty", "short", "long", "order 4", "identity", "no element", "no point"],
)
def test_a_node_id_that_is_no_good_point_is_malformed(node):
    with pytest.raises(Malformed, match="not a public key"):
        curve_public(node)


@given(st.binary(min_size=32, max_size=32))
def test_only_malformed_escapes_for_any_node_id(node):
    try:
        image = curve_public(node)
    except Malformed:
        return
    assert len(image) == 32


# -- the handler's answers --


class Asked:
    """A handler whose answers are looked at without a socket."""

    def __init__(self):
        zap = Zap.__new__(Zap)
        self.bans = zap._bans = Bans(Clock())
        self.counted = zap._counted = Counter()
        zap._may_come = lambda address: True
        self.answer = zap._answer


GOOD = [b"route", b"", b"1.0", b"7", DOMAIN, b"127.0.0.1", b"", b"CURVE", b"k" * 32]


def test_a_curve_key_is_let_in_and_handed_on_as_the_user_id():
    asked = Asked()
    assert asked.answer(GOOD) == [b"route", b"", b"1.0", b"7", b"200", b"OK", (b"k" * 32).hex().encode(), b""]


@pytest.mark.parametrize(
    ("at", "word"), [(2, b"2.0"), (4, b"other"), (4, b""), (7, b"NULL"), (7, b"PLAIN"), (7, b"GSSAPI")]
)
def test_another_mechanism_domain_or_version_is_turned_away(at, word):
    asked = Asked()
    answer = asked.answer([*GOOD[:at], word, *GOOD[at + 1 :]])
    assert answer[4:] == [b"400", b"CURVE only", b"", b""]
    assert asked.counted["connect-not-curve"] == 1


def test_no_key_or_two_keys_are_turned_away_and_stumps_get_no_answer():
    asked = Asked()
    assert asked.answer(GOOD[:-1])[4] == b"400"
    assert asked.answer([*GOOD, b"second"])[4] == b"400"
    assert [asked.answer(GOOD[:length]) for length in range(8)] == [None] * 8


def test_a_banned_key_is_turned_away():
    asked = Asked()
    asked.bans.add(b"k" * 32, 60)
    assert asked.answer(GOOD)[4:6] == [b"400", b"banned"]
    assert asked.counted["connect-banned"] == 1


# -- on real sockets --


def dealer(context, endpoint):
    """A client of the server's key, and the socket that tells what becomes of its connection."""
    client = context.socket(zmq.DEALER)
    client.setsockopt(zmq.CURVE_SERVERKEY, SERVER.public)
    client.setsockopt(zmq.CURVE_PUBLICKEY, CLIENT.public)
    client.setsockopt(zmq.CURVE_SECRETKEY, CLIENT.secret)
    client.setsockopt(zmq.RECONNECT_IVL, -1)
    monitor = client.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | LOST)
    client.connect(endpoint)
    return client, monitor


LOST = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
)


@contextlib.asynccontextmanager
async def loopback(bans=None, counted=None, handler=True):
    """A server, a client and its monitor, running; all closed at the end."""
    context = zmq.Context()
    # Made and closed again, it would take a moment to be gone, and a handshake that meets it waits for ever.
    zap = (
        Zap(context, bans or Bans(trio.current_time), Counter() if counted is None else counted)
        if handler
        else None
    )
    server = context.socket(zmq.ROUTER)
    serve_with_curve(server, SERVER.secret)
    server.bind("tcp://127.0.0.1:*")
    client, monitor = dealer(context, server.getsockopt_string(zmq.LAST_ENDPOINT))
    socks = [ZSock(sock) for sock in (server, client, monitor)]
    try:
        async with trio.open_nursery() as nursery:
            if zap is not None:
                await nursery.start(zap.run)
            yield socks
            nursery.cancel_scope.cancel()
    finally:
        for sock in (*socks, *([zap] if zap is not None else [])):
            sock.close()
        context.destroy(linger=0)


async def first_event(monitor):
    with bounded():
        event = (await monitor.recv())[0].bytes
    return int.from_bytes(event[:2], "little")


async def test_with_the_handler_a_key_connects_and_its_frames_carry_the_key():
    async with loopback() as (server, client, monitor):
        assert await first_event(monitor) == zmq.EVENT_HANDSHAKE_SUCCEEDED
        await client.send([b"hello"])
        with bounded():
            _, frame = await server.recv()
        assert key_of(frame) == CLIENT.public


async def test_without_the_handler_nobody_connects():
    """ZAP_ENFORCE_DOMAIN: a node whose handler died is closed, not open to all."""
    async with loopback(handler=False) as (server, _, monitor):
        assert await first_event(monitor) & LOST
        with trio.move_on_after(0.2) as waited:
            await server.recv()
        assert waited.cancelled_caught


async def test_a_banned_key_does_not_connect():
    bans, counted = Bans(trio.current_time), Counter()
    bans.add(CLIENT.public, 60)
    async with loopback(bans, counted) as (_, _, monitor):
        assert await first_event(monitor) & LOST
    assert counted["connect-banned"] == 1


def test_a_frame_without_a_user_id_has_no_key():
    assert key_of(zmq.Frame(b"x")) == b""
