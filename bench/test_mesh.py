"""Broadcasts: how many signed messages a node takes in a second, alone and over sockets.

The core alone: bytes in, verified, kept, to be handed over and carried on; beside the bare verification of the same
signatures. Over sockets: one node publishes, another one takes, in one process and on one loop, encrypted; beside the
same bytes from a bare XPUB to a bare SUB, which are read and dropped. Both count processor time, I/O threads and all.
"""

import threading
import time
from itertools import count

import trio
import zmq

from bench.harness import Figure, Timed, row
from pyrsia import keys
from pyrsia.mesh.broadcast import Broadcasts, Deliver
from pyrsia.mesh.scores import Scores
from pyrsia.net.broadcasting import Air
from pyrsia.net.curve import curve_keys
from pyrsia.net.links import Links
from pyrsia.units import BROADCAST_HWM, NodeId
from pyrsia.wire import envelopes, gossip
from pyrsia.wire.envelopes import EVERYBODY, Envelope, Kind

NET = b"n" * 32
NOW_MS = 1_700_000_000_000
MESSAGES = 2_000
SPEAKERS = [keys.KeyPair(bytes([number + 1]) * 32) for number in range(50)]
MEMBERS = frozenset(NodeId(pair.public) for pair in SPEAKERS)
BURST = BROADCAST_HWM.value // 2  # of so many ZeroMQ drops none


def said(number: int) -> bytes:
    """One frame; no two are alike, and none of its speakers says more than its share."""
    pair = SPEAKERS[number % len(SPEAKERS)]
    envelope = Envelope(
        Kind.BROADCAST, NET, NodeId(pair.public), EVERYBODY, number, NOW_MS + 600_000, "news/", b"m" * 200
    )
    return gossip.frame("news/", envelopes.encode(envelope, pair.sign(envelopes.to_sign(envelope))))


FRAMES = [said(number) for number in range(MESSAGES)]


def core() -> Broadcasts:
    book = Scores()
    return Broadcasts(
        NodeId(bytes(32)), NET, verify=keys.verify, member=MEMBERS.__contains__, ignored=book.ignored
    )


def taken() -> int:
    """How many of the frames a fresh node delivers, each of another peer's in turn."""
    node, delivered = core(), 0
    for number, frame in enumerate(FRAMES):
        effects = node.on_frame(number / 1_000, NOW_MS, NodeId(SPEAKERS[number % 8].public), frame)
        delivered += bool(effects) and isinstance(effects[0], Deliver)
    return delivered


def verified() -> int:
    """The same signatures, and nothing else."""
    return sum(keys.verify(public, message, signature) for public, message, signature in SIGNED)


def parts(frame: bytes) -> tuple[bytes, bytes, bytes]:
    envelope, signature = envelopes.decode(gossip.unframe(frame)[1])
    return envelope.origin, envelopes.to_sign(envelope), signature


SIGNED = [parts(frame) for frame in FRAMES]


@row(
    "gossip/verified",
    "signed broadcasts taken by the core, one core",
    unit="messages/s",
    clock="cpu",
    goal=8_000,
)
def test_signed_gossip_verified(measure):
    assert taken() == verified() == MESSAGES
    measure(Timed(taken, MESSAGES), {"PyNaCl verify alone": Timed(verified, MESSAGES)})


def links_of(seed: int) -> Links:
    address = "tcp://127.0.0.1:*"
    return Links(
        keys.KeyPair(bytes([seed]) * 32),
        NET,
        control_addr=address,
        broadcast_addr=address,
        allow=lambda node: True,
        on_message=lambda node, kind, payload: None,
        methods={},
    )


async def rate_between_nodes() -> float:
    """Messages in a second of processor that one node publishes and the other one takes and publishes again."""
    speaker, listener = links_of(60), links_of(61)
    node, ticks, delivered = core(), count(), 0

    def on_frame(peer: NodeId, data: bytes) -> None:
        nonlocal delivered
        effects = node.on_frame(next(ticks) / 500, NOW_MS, peer, data)
        if effects and isinstance(effects[0], Deliver):
            delivered += 1
            again.publish("news/", data[5:])

    again = Air(listener, on_frame)
    loud = Air(speaker, lambda peer, data: None)
    async with trio.open_nursery() as nursery:
        for links, air in ((speaker, loud), (listener, again)):
            await nursery.start(links.run)
            nursery.start_soon(air.run)
        listener.dial([(speaker.node, speaker.control_endpoint)])
        with trio.fail_after(20):
            while not listener.broadcast_address(speaker.node):  # noqa: ASYNC110
                await trio.sleep(0.01)
            again.follow([speaker.node])
            while not delivered:  # until the subscription has arrived
                loud.publish("news/", FRAMES[0][5:])
                await trio.sleep(0.01)
            began_s = time.process_time()
            for start in range(1, MESSAGES, BURST):
                for frame in FRAMES[start : start + BURST]:
                    loud.publish("news/", frame[5:])
                while delivered < min(start + BURST, MESSAGES):
                    await trio.lowlevel.checkpoint()
            took_s = time.process_time() - began_s
        nursery.cancel_scope.cancel()
    assert not node._frames.of(speaker.node).wait_s(0.0)
    return (MESSAGES - 1) / took_s


def raw_rate(*, check: bool) -> float:
    """The same frames from a bare XPUB to a bare SUB, CURVE, two threads; `check`: with each signature verified."""
    context = zmq.Context()
    server, client = curve_keys(b"s" * 32), curve_keys(b"c" * 32)
    xpub, sub = context.socket(zmq.XPUB), context.socket(zmq.SUB)
    try:
        for sock in (xpub, sub):
            sock.setsockopt(zmq.LINGER, 0)
            sock.setsockopt(zmq.RCVTIMEO, 20_000)
        xpub.setsockopt(zmq.XPUB_NODROP, 1)
        xpub.setsockopt(zmq.CURVE_SERVER, 1)
        xpub.setsockopt(zmq.CURVE_SECRETKEY, server.secret)
        port = xpub.bind_to_random_port("tcp://127.0.0.1")
        sub.setsockopt(zmq.CURVE_SERVERKEY, server.public)
        sub.setsockopt(zmq.CURVE_PUBLICKEY, client.public)
        sub.setsockopt(zmq.CURVE_SECRETKEY, client.secret)
        sub.connect(f"tcp://127.0.0.1:{port}")
        sub.setsockopt(zmq.SUBSCRIBE, b"")
        assert xpub.recv() == b"\x01"
        giving = threading.Thread(target=lambda: [xpub.send(frame) for frame in FRAMES])
        began_s = time.process_time()
        giving.start()
        for at in range(MESSAGES):
            sub.recv()
            assert not check or keys.verify(*SIGNED[at])
        took_s = time.process_time() - began_s
        giving.join(20)
    finally:
        xpub.close()
        sub.close()
        context.destroy(linger=0)
    return MESSAGES / took_s


@row(
    "gossip/carried",
    "published, taken and published again, CURVE, one process",
    unit="messages/CPU s",
    rounds=7,
)
def test_gossip_between_nodes(measure):
    measure(
        Figure(lambda: trio.run(rate_between_nodes)),
        {
            "bare XPUB and SUB": Figure(lambda: raw_rate(check=False)),
            "XPUB, SUB and PyNaCl": Figure(lambda: raw_rate(check=True)),
        },
    )
