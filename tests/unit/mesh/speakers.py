"""Who broadcasts in tests of the core: real keys, a world of one node that hears."""

from pyrsia import keys
from pyrsia.mesh.broadcast import Blame, Broadcasts, Deliver, Republish
from pyrsia.units import NodeId
from pyrsia.wire import envelopes, gossip
from pyrsia.wire.envelopes import EVERYBODY, Envelope, Kind

NET = b"n" * 32
NOW_MS = 1_700_000_000_000
LIFE_MS = 600_000
PAIRS = [keys.KeyPair(bytes([number + 1]) * 32) for number in range(30)]
IDS = [NodeId(pair.public) for pair in PAIRS]
ME, ANN, BOB, CID, GUEST = IDS[:5]
MEMBERS = frozenset(IDS[:4])


def core(me=ME, members=MEMBERS, verify=keys.verify, **more):
    return Broadcasts(me, NET, verify=verify, member=lambda node: node in members, **more)


def envelope(pair=PAIRS[1], **fields):
    given = {
        "kind": Kind.BROADCAST,
        "net": NET,
        "origin": NodeId(pair.public),
        "to": EVERYBODY,
        "seq": 1,
        "expires_ms": NOW_MS + LIFE_MS,
        "topic": "news/",
        "payload": b"hello",
    }
    return Envelope(**given | fields)


def signed(one, pair=PAIRS[1]):
    return envelopes.encode(one, pair.sign(envelopes.to_sign(one)))


def said(pair=PAIRS[1], **fields):
    """Bytes of an envelope of this speaker's."""
    return signed(envelope(pair, **fields), pair)


def frame(raw, topic="news/"):
    return gossip.frame(topic, raw)


def kinds(effects):
    return [type(effect) for effect in effects]


DELIVERED = [Deliver, Republish]
BLAMED = [Blame]
