"""Hostile peers on real sockets, each beside an honest link that must not notice."""

import contextlib
import importlib.util
import sys
from pathlib import Path

import pytest
import trio
import zmq

from pyrsia.errors import Malformed
from pyrsia.net import sockets
from pyrsia.net.curve import curve_keys, curve_public
from pyrsia.net.sockets import MOST_FRAMES
from pyrsia.net.zsock import ZSock
from pyrsia.units import BAN_S, LINK_DEAD_S, LINK_FAULTS, MAX_PART_BYTES, Limit
from pyrsia.wire import frames
from pyrsia.wire.frames import Frame, Greeting, Type
from tests.reference.waiting import bounded, until

sys.path.insert(0, str(Path(__file__).parent))
from nodes import CHAIN, Node, join, pairs_by_id

assert importlib.util.find_spec("nodes")

ANN, BOB, EVE, MALLORY = pairs_by_id(4)
LOST = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
)


async def echo(node, body):
    return body


class Town:
    """Two honest nodes with a link, and a context for villains."""

    def __init__(self, allow):
        self.ann = Node(ANN, methods={1: echo}, data="tcp://127.0.0.1:*", allow=allow)
        self.bob = Node(BOB, methods={1: echo})
        self.context = zmq.Context()
        self.socks = []
        self.checks = 0

    async def goes_on(self):
        """The honest link carries messages and answers, and was never lost."""
        self.checks += 1
        word = b"check %d" % self.checks
        with bounded():
            assert await self.bob.links.request(self.ann.id, 1, word, 10) == word
            assert self.ann.links.send(self.bob.id, 9, word)
            await until(lambda: (self.ann.id, 9, word) in self.bob.got)
        assert [up for node, up in self.ann.events if node == self.bob.id] == [True]

    @property
    def counted(self):
        return self.ann.links.counted


@contextlib.asynccontextmanager
async def town(allow=lambda node: True):
    made = Town(allow)
    try:
        async with trio.open_nursery() as nursery:
            made.nursery = nursery
            await join(nursery, made.ann, made.bob)
            await made.goes_on()
            yield made
            await made.goes_on()
            nursery.cancel_scope.cancel()
    finally:
        for sock in made.socks:
            sock.close()
        made.context.destroy(linger=0)


class Villain:
    """A DEALER that says what it likes."""

    def __init__(self, town, pair, sock, monitor):
        self.town, self.pair, self.sock, self.monitor = town, pair, sock, monitor
        self.seq = 0

    @classmethod
    async def at(cls, town, pair=EVE, endpoint=None, curve=True) -> "Villain":
        sock = town.context.socket(zmq.DEALER)
        sock.setsockopt(zmq.LINGER, 0)
        if curve:
            keys = curve_keys(pair.seed)
            sock.setsockopt(zmq.CURVE_SERVERKEY, curve_public(town.ann.id))
            sock.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
            sock.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        sock.setsockopt(zmq.RECONNECT_IVL, -1)
        monitor = sock.get_monitor_socket(LOST)
        sock.connect(endpoint or town.ann.links.control_endpoint)
        villain = cls(town, pair, ZSock(sock), ZSock(monitor))
        for item in (villain.sock, villain.monitor):
            town.socks.append(item)
        return villain

    def hello(self, **changes):
        said = {
            "node": self.pair.public, "chain_id": CHAIN, "to": self.town.ann.id, "nonce": bytes(16), "issued_ms": 0,
            "name": "eve", "control": "", "data": "", "broadcast": "", **changes,
        }  # fmt: skip
        greeting = Greeting(**said)
        signature = self.pair.sign(frames.greeting_to_sign(greeting, welcome=False))
        return frames.encode(Frame(Type.HELLO, body=frames.encode_greeting(greeting, signature)))

    async def say(self, *messages, seq=None):
        """Frames in one ZeroMQ message, numbered on."""
        numbered = []
        for message in messages:
            self.seq = self.seq + 1 if seq is None else seq
            numbered.append(frames.with_seq(self.seq, message))
        with bounded():
            await self.sock.send(numbered)

    async def greet(self):
        await self.say(self.hello())
        await until(lambda: self.town.ann.links.connected(self.pair.public))
        return self

    async def heard(self, kind):
        """The next frame of this type."""
        with bounded():
            while True:
                for part in await self.sock.recv():
                    frame = frames.decode(frames.split_seq(part.bytes)[1])
                    if frame.type is kind:
                        return frame

    async def is_cut_off(self):
        with bounded():
            await self.monitor.recv()


def where(endpoint):
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    return host, int(port)


# -- before a greeting --


ZMTP_NULL = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + bytes(32)


@pytest.mark.parametrize(
    "noise", [b"GET / HTTP/1.1\r\n\r\n" * 50, bytes(5_000), b"\xff" * 5_000, ZMTP_NULL * 3, b""]
)
async def test_garbage_on_the_ports_is_cut_off(noise, monkeypatch):
    async def is_cut_off(endpoint):
        async with await trio.open_tcp_stream(*where(endpoint)) as stream:
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(noise)
                await here.goes_on()
                while await stream.receive_some():  # HANDSHAKE_IVL ends silence
                    pass

    monkeypatch.setattr(sockets, "DIAL_WAIT_S", Limit(2, "a test waits for it"))
    async with town() as here:
        with bounded():
            async with trio.open_nursery() as nursery:
                for endpoint in (here.ann.links.control_endpoint, here.ann.links.data_endpoint):
                    nursery.start_soon(is_cut_off, endpoint)
        assert [peer.node for peer in here.ann.links.peers()] == [here.bob.id]


async def test_without_curve_there_is_no_connection():
    async with town() as here:
        for endpoint in (here.ann.links.control_endpoint, here.ann.links.data_endpoint):
            villain = await Villain.at(here, curve=False, endpoint=endpoint)
            await villain.is_cut_off()
        assert len(here.ann.links.peers()) == 1


async def test_a_flood_of_connections_keeps_nobody_out():
    async with town() as here:
        streams = []
        for _ in range(200):
            streams.append(await trio.open_tcp_stream(*where(here.ann.links.control_endpoint)))
        await here.goes_on()
        villains = [await Villain.at(here) for _ in range(10)]  # with a key, and silent
        await here.goes_on()
        late = await Villain.at(here, MALLORY)
        await late.greet()
        assert here.ann.links.connected(MALLORY.public)
        assert len(villains) == 10
        for stream in streams:
            await stream.aclose()


@pytest.mark.parametrize(
    ("changes", "counter"),
    [
        ({"node": MALLORY.public}, "bad-greeting-not-its-key"),
        ({"node": bytes(32)}, "bad-node id"),
        ({"node": BOB.public}, "bad-greeting-not-its-key"),
        ({"chain_id": b"d" * 32}, "bad-greeting-wrong-chain"),
        ({"to": BOB.public}, "bad-greeting-replayed"),
        ({"control": "tcp://"}, "bad-greeting"),
        ({"name": "\u202e"}, "bad-greeting"),
    ],
)
async def test_a_greeting_that_lies_makes_no_link(changes, counter):
    async with town() as here:
        villain = await Villain.at(here)
        await villain.say(villain.hello(**changes))
        await until(lambda: here.counted[counter] == 1)
        assert [peer.node for peer in here.ann.links.peers()] == [here.bob.id]


async def test_a_greeting_signed_by_another_key_makes_no_link():
    async with town() as here:
        villain = await Villain.at(here)
        hello = bytearray(villain.hello())
        hello[-1] ^= 1
        await villain.say(bytes(hello))
        await until(lambda: here.counted["bad-greeting"] == 1)
        assert not here.ann.links.connected(EVE.public)


async def test_a_greeting_of_another_connection_is_worth_nothing_without_its_key():
    """Mallory saw Eve's true greeting; the transport key is Mallory's."""
    async with town() as here:
        eve = await Villain.at(here)
        await eve.greet()
        mallory = await Villain.at(here, MALLORY)
        await mallory.say(eve.hello())
        await until(lambda: here.counted["bad-greeting-not-its-key"] == 1)
        assert here.ann.links.connected(EVE.public)
        assert not here.ann.links.connected(MALLORY.public)


async def test_a_welcome_of_another_connection_makes_no_link():
    """Eve answers whoever dials her with a welcome that she signed for an earlier nonce."""
    async with town() as here:
        server = here.context.socket(zmq.ROUTER)
        server.setsockopt(zmq.CURVE_SERVER, 1)
        server.setsockopt(zmq.CURVE_SECRETKEY, curve_keys(EVE.seed).secret)
        server.bind("tcp://127.0.0.1:*")
        endpoint = server.getsockopt_string(zmq.LAST_ENDPOINT)
        server = ZSock(server)
        here.socks.append(server)
        here.ann.links.dial([(EVE.public, endpoint)])
        with bounded():
            route, first = await server.recv()
        hello = frames.decode(frames.split_seq(first.bytes)[1])
        asked, _ = frames.decode_greeting(hello.body)
        assert (asked.node, asked.to) == (here.ann.id, EVE.public)
        old = Greeting(EVE.public, CHAIN, here.ann.id, b"o" * 16, 0, "eve", "", "")
        signature = EVE.sign(frames.greeting_to_sign(old, welcome=True))
        welcome = frames.encode(Frame(Type.WELCOME, body=frames.encode_greeting(old, signature)))
        await server.send([route.bytes, frames.with_seq(1, welcome)])
        await until(lambda: here.counted["bad-greeting-replayed"] == 1)
        assert not here.ann.links.connected(EVE.public)


async def test_a_node_that_is_not_allowed_has_no_link_and_is_kept_away_for_a_while():
    async with town(allow=lambda node: node != EVE.public) as here:
        villain = await Villain.at(here)
        await villain.say(villain.hello())
        await until(lambda: here.counted["not-allowed"] == 1)
        again = await Villain.at(here)
        await again.is_cut_off()
        assert here.counted["connect-banned"] >= 1
        assert not here.ann.links.connected(EVE.public)


@pytest.mark.parametrize(
    "first",
    [b"", b"\0", frames.encode(Frame(Type.SEND, number=1, body=b"let me in")), bytes(9_000)],
    ids=["empty", "byte", "message", "long"],
)
async def test_strangers_who_never_greet_are_banned_and_nothing_they_say_is_handed_on(first):
    async with town() as here:
        villain = await Villain.at(here)
        for _ in range(LINK_FAULTS.value):
            await villain.say(first)
        await until(lambda: here.counted["banned-stranger"] == 1)
        assert {node for node, _, _ in here.ann.got} <= {here.bob.id}
        again = await Villain.at(here)
        await again.is_cut_off()


async def test_a_strangers_batch_of_too_many_frames_is_no_greeting():
    async with town() as here:
        villain = await Villain.at(here)
        await villain.say(villain.hello(), *[b"x"] * MOST_FRAMES)
        await until(lambda: here.counted["bad-frame-batch"] == 1)
        assert not here.ann.links.connected(EVE.public)


# -- after a greeting --


async def test_a_frame_over_the_size_cuts_the_sender_off():
    async with town() as here:
        villain = await (await Villain.at(here)).greet()
        await villain.say(bytes(frames.FRAME_BYTES + 1_000))
        await villain.is_cut_off()
        await until(lambda: not here.ann.links.connected(EVE.public))


async def test_a_repeated_frame_is_taken_once():
    async with town() as here:
        villain = await (await Villain.at(here)).greet()
        message = frames.encode(Frame(Type.SEND, number=5, body=b"pay"))
        await villain.say(message, seq=2)
        await villain.say(message, message, seq=2)
        await villain.say(message, seq=1)
        await until(lambda: here.counted["bad-frame-replayed"] == 3)
        assert here.ann.got.count((EVE.public, 5, b"pay")) == 1
        assert here.ann.links.connected(EVE.public)


GARBAGE = [
    b"",
    bytes(40),
    b"\xff" * 14,
    frames.encode(Frame(Type.HELLO)),
    frames.encode(Frame(Type.WELCOME)),
    frames.encode(Frame(Type.PART, body=b"\0\1\0\2x")),
    frames.encode(Frame(Type.PART)),
    b"\x03\x01" + bytes(12),
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_after_the_greeting_is_forgiven_a_few_times_and_then_banned(garbage):
    async with town() as here:
        villain = await (await Villain.at(here)).greet()
        for _ in range(LINK_FAULTS.value - 1):
            await villain.say(garbage)
        await villain.say(frames.encode(Frame(Type.SEND, number=5, body=b"still here")))
        await until(lambda: (EVE.public, 5, b"still here") in here.ann.got)
        await villain.say(garbage)
        await until(lambda: here.counted["banned-faults"] == 1)
        assert not here.ann.links.connected(EVE.public)
        await villain.say(frames.encode(Frame(Type.SEND, number=5, body=b"banned")))
        again = await Villain.at(here)
        await again.is_cut_off()
        assert (EVE.public, 5, b"banned") not in here.ann.got


async def test_a_batch_of_more_frames_than_a_peer_sends_is_not_looked_at():
    async with town() as here:
        villain = await (await Villain.at(here)).greet()
        message = frames.encode(Frame(Type.SEND, number=5, body=b"one of many"))
        await villain.say(*[message] * (MOST_FRAMES + 1))
        await until(lambda: here.counted["bad-frame-batch"] == 1)
        assert not here.ann.got
        await villain.say(*[message] * MOST_FRAMES)
        await until(lambda: len(here.ann.got) == MOST_FRAMES)


@pytest.mark.parametrize("split", [1, 2, 3])
async def test_bundles_of_more_frames_than_a_peer_sends_are_not_looked_at(split):
    """However many bundles a message has: together they hold no more frames than frames that come alone."""
    message = frames.encode(Frame(Type.SEND, number=9, body=b"x"))
    async with town() as here:
        villain = await Villain.at(here)
        await villain.greet()
        bundles = [frames.bundled([message] * (MOST_FRAMES // split))[0] for _ in range(split)]
        await villain.say(*bundles, *[frames.bundled([message] * 2)[0]])
        await until(lambda: here.counted["bad-bundle"] == 1)
        assert len(here.ann.got) == MOST_FRAMES // split * split
        await villain.say(frames.bundled([message] * MOST_FRAMES)[0])
        await until(lambda: len(here.ann.got) == MOST_FRAMES // split * split + MOST_FRAMES)


@pytest.mark.parametrize(
    "inner",
    [
        frames.bundled([frames.encode(Frame(Type.PING))] * 2)[0],  # a bundle within a bundle
        frames.encode(Frame(Type.HELLO)),
        b"",
        b"\x63\x01" + bytes(12),
    ],
)
async def test_a_bad_frame_in_a_bundle_takes_no_other_with_it_and_costs_its_sender(inner):
    good = frames.encode(Frame(Type.SEND, number=9, body=b"x"))
    async with town() as here:
        villain = await Villain.at(here)
        await villain.greet()
        for count in range(1, 16):
            await villain.say(frames.bundled([good, inner, good])[0])
            await until(lambda sent=count: len(here.ann.got) == 2 * sent)
        assert here.ann.links.connected(villain.pair.public)
        await villain.say(frames.bundled([inner, good, good])[0])
        await until(lambda: not here.ann.links.connected(villain.pair.public))
        assert len(here.ann.got) == 30  # after the sixteenth fault nothing more is taken


async def test_parts_that_never_end_take_no_memory():
    async with town() as here:
        villain = await (await Villain.at(here)).greet()
        full = bytes(MAX_PART_BYTES.value)

        def part(index):
            return frames.encode(Frame(Type.PART, 1, body=index.to_bytes(2, "big") + b"\0\2" + full))

        for index in range(8):
            await villain.say(part(index))
        await until(lambda: here.counted["bad-part"] + here.counted["bad-frame"] >= 7)
        (conn,) = [conn for conn in here.ann.links._peers.inbound.values() if conn.peer.node == EVE.public]
        assert sum(map(len, conn.assembler._pieces)) <= 2 * len(full)


async def test_unknown_kinds_are_the_nodes_business_and_unknown_methods_get_an_error():
    async with town() as here:
        villain = await (await Villain.at(here)).greet()
        await villain.say(frames.encode(Frame(Type.SEND, number=65_535, body=b"?")))
        await villain.say(frames.encode(Frame(Type.REQUEST, 77, 5_000, 65_535, b"?")))
        answer = await villain.heard(Type.ERROR)
        assert (answer.request, answer.body) == (77, b"")
        assert (EVE.public, 65_535, b"?") in here.ann.got
        assert here.counted["request-unknown"] == 1
        await villain.say(frames.encode(Frame(Type.REPLY, 1, body=b"nobody asked")))
        await until(lambda: here.counted["reply-late"] == 1)


async def test_an_answer_to_a_question_asked_of_somebody_else_is_dropped():
    """Request numbers are small and count up; only the peer that was asked may answer."""
    opened, outcome = trio.Event(), []

    async def slow(node, body):
        await opened.wait()
        return b"truth"

    async with town() as here:
        here.bob.methods[1] = slow
        villain = await (await Villain.at(here)).greet()

        async def ask():
            outcome.append(await here.ann.links.request(here.bob.id, 1, b"", 20))

        async with trio.open_nursery() as asking:
            asking.start_soon(ask)
            waiting = here.ann.links._peers.get(here.bob.id).waiting
            await until(lambda: waiting)
            (ident,) = waiting
            await villain.say(frames.encode(Frame(Type.REPLY, ident, body=b"lie")))
            await until(lambda: here.counted["reply-late"] == 1)
            opened.set()
        assert outcome == [b"truth"]


async def test_a_bug_in_a_handler_ends_neither_the_node_nor_the_link():
    async with town() as here:
        villain = await (await Villain.at(here)).greet()
        honest = here.ann.hear

        def crash(node, kind, payload):
            if node == EVE.public:
                raise KeyError(payload)
            honest(node, kind, payload)

        here.ann.hear = crash
        for _ in range(2 * LINK_FAULTS.value):
            await villain.say(frames.encode(Frame(Type.SEND, number=5, body=b"boom")))
        await until(lambda: here.counted["message-crashed"] == 2 * LINK_FAULTS.value)
        assert here.ann.links.connected(EVE.public)  # a bug of ours is no fault of theirs


async def test_messages_that_the_node_finds_malformed_count_against_their_sender():
    async with town() as here:
        villain = await (await Villain.at(here)).greet()

        def refuse(node, kind, payload):
            raise Malformed("vote: not signed")

        here.ann.hear = refuse
        for _ in range(LINK_FAULTS.value):
            await villain.say(frames.encode(Frame(Type.SEND, number=1, body=b"vote")))
        await until(lambda: here.counted["banned-faults"] == 1)
        assert here.counted["bad-vote"] == LINK_FAULTS.value
        assert not here.ann.links.connected(EVE.public)


async def test_a_node_that_comes_anew_replaces_its_own_link_and_nobody_elses():
    async with town() as here:
        first = await (await Villain.at(here)).greet()
        second = await Villain.at(here)
        await second.say(second.hello())
        await second.heard(Type.WELCOME)
        await second.say(frames.encode(Frame(Type.SEND, number=5, body=b"second")))
        await until(lambda: (EVE.public, 5, b"second") in here.ann.got)
        await first.say(frames.encode(Frame(Type.SEND, number=5, body=b"first")))
        await until(lambda: here.counted["frame-late"] == 1)  # its route has to greet again
        assert (EVE.public, 5, b"first") not in here.ann.got


async def test_lies_that_the_node_finds_in_messages_cost_their_sender_its_link_after_a_few():
    async with town() as here:
        villain = await (await Villain.at(here)).greet()
        for _ in range(LINK_FAULTS.value - 1):
            here.ann.links.fault(EVE.public, "cert: none")
        await villain.say(frames.encode(Frame(Type.SEND, number=5, body=b"still here")))
        await until(lambda: (EVE.public, 5, b"still here") in here.ann.got)
        assert here.counted["banned-faults"] == 0
        began_s = trio.current_time()

        here.ann.links.fault(EVE.public, "cert: none")
        assert (here.counted["bad-cert"], here.counted["banned-faults"]) == (LINK_FAULTS.value, 1)
        assert not here.ann.links.connected(EVE.public)
        again = await Villain.at(here)
        await again.is_cut_off()
        assert here.counted["connect-banned"] >= 1

        curve, bans = curve_public(EVE.public), here.ann.links.bans
        bans._clock = lambda: began_s + BAN_S.value - 1
        assert curve in bans
        bans._clock = lambda: trio.current_time() + BAN_S.value
        assert curve not in bans
        late = await (await Villain.at(here)).greet()
        here.ann.links.fault(EVE.public, "cert: none")  # the first of a new link
        await late.say(frames.encode(Frame(Type.SEND, number=5, body=b"back")))
        await until(lambda: (EVE.public, 5, b"back") in here.ann.got)


async def test_a_fault_of_a_node_without_a_link_is_nothing():
    async with town() as here:
        for _ in range(2 * LINK_FAULTS.value):
            here.ann.links.fault(EVE.public, "cert: none")
        assert (here.counted["bad-cert"], here.counted["banned-faults"]) == (0, 0)
        await (await Villain.at(here)).greet()
        assert here.ann.links.connected(EVE.public)


async def test_what_was_sent_on_a_link_that_is_no_more_is_late_and_nobodys_fault():
    async with town() as here:
        villain = await (await Villain.at(here)).greet()
        here.ann.links._peers.lose(here.ann.links._peers.linked(EVE.public).conn)
        for _ in range(4 * LINK_FAULTS.value):
            await villain.say(frames.encode(Frame(Type.SEND, number=5, body=b"late")))
        await until(lambda: here.counted["frame-late"] == 4 * LINK_FAULTS.value)
        assert (here.counted["banned-stranger"], here.counted["bad-greeting"], here.ann.got) == (0, 0, [])

        again = await (await Villain.at(here)).greet()
        await again.say(frames.encode(Frame(Type.SEND, number=5, body=b"anew")))
        await until(lambda: (EVE.public, 5, b"anew") in here.ann.got)


@pytest.mark.parametrize("stood", [True, False])
async def test_a_process_that_stood_still_holds_nobodys_silence_against_him(monkeypatch, stood):
    monkeypatch.setattr("pyrsia.net.links.PING_S", 0.02)
    monkeypatch.setattr("pyrsia.net.links.STOOD_S", -1.0 if stood else 5.0)
    async with town() as here:
        await (await Villain.at(here)).greet()
        conn = here.ann.links._peers.linked(EVE.public).conn
        conn.heard_s -= 2 * LINK_DEAD_S.value
        silent_s = conn.heard_s
        if stood:
            await until(lambda: conn.heard_s > silent_s + LINK_DEAD_S.value)
        else:
            await until(lambda: not here.ann.links.connected(EVE.public))
        assert here.ann.links.connected(EVE.public) is stood
