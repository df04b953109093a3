"""Nodes that broadcast, in a network in memory: the pure cores, wired as a node's shell wires them."""

import random

from blake3 import blake3

from pyrsia.mesh.broadcast import Blame, Broadcasts, Deliver, Republish
from pyrsia.mesh.choosing import chosen
from pyrsia.mesh.pulling import Pulls
from pyrsia.units import NodeId
from pyrsia.wire import gossip

NET = b"n" * 32


def node_id(number):
    return NodeId(number.to_bytes(32, "big"))


def sign_as(node):
    """A signature that only works here, and takes a microsecond."""
    return lambda message: blake3(node + message).digest(64)


def verify(public, message, signature):
    return signature == blake3(bytes(public) + message).digest(64)


class Caller:
    """One life of one node. Everybody is linked with everybody from the start.

    Attributes:
        heard: payload -> how often it was delivered in this life.
        blames: what it found fault with.
    """

    def __init__(self, network, me, others, *, seed, life, member=lambda node: True):
        self.network, self.me, self.life = network, me, life
        draw = random.Random(seed)
        self.core = Broadcasts(me, NET, verify=verify, member=member)
        self.pulls = Pulls(network.now, draw)
        self.follows = chosen(others, (), (), draw)
        for node in self.follows:
            network.send(me, node, ("subscribe", b""))
        for node in others:
            self.pulls.on_linked(network.now, node)
        self.followers = set()
        self.asked = {}
        self.heard = {}
        self.blames = []
        self.seq = life << 20

    @property
    def wake_at(self):
        return self.pulls.wake_at

    def say(self, payload, topic="news/"):
        self.seq = max(self.seq + 1, self.core.next_seq())
        envelope, raw = self.core.publish(
            self.network.now, self._ms(), topic, payload, self.seq, sign_as(self.me)
        )
        self._do((Deliver(envelope), Republish(topic, raw)))

    def tick(self, now):
        for node in self.pulls.due(now):
            vector = self.core.vector(self._ms())
            self.asked[node] = vector
            self.network.send(self.me, node, ("ask", gossip.encode_vector(vector)))
            if node in self.follows:  # as a link that came anew would
                self.network.send(self.me, node, ("subscribe", b""))

    def take(self, now, sender, message):
        kind, data = message
        if kind == "subscribe":
            self.followers.add(sender)
        elif kind == "frame":
            self._do(self.core.on_frame(now, self._ms(), sender, data))
        elif kind == "ask":
            vector = gossip.decode_vector(data)
            found = self.core.answer(now, self._ms(), sender, vector)
            if self.core.lacks(vector):
                self.pulls.on_ahead(now, sender)
            self.network.send(self.me, sender, ("answer", gossip.encode_answer(found)))
        elif kind == "answer" and sender in self.asked:
            asked = self.asked.pop(sender)
            for effects in self.core.on_answer(now, self._ms(), sender, asked, gossip.decode_answer(data)):
                self._do(effects)

    def _do(self, effects):
        for effect in effects:
            match effect:
                case Deliver(envelope):
                    self.heard[envelope.payload] = self.heard.get(envelope.payload, 0) + 1
                case Republish(topic, raw):
                    for node in sorted(self.followers):
                        self.network.send(self.me, node, ("frame", gossip.frame(topic, raw)))
                case Blame():
                    self.blames.append(effect)

    def _ms(self):
        return 1_700_000_000_000 + int(self.network.now * 1000)
