"""Nodes that discover each other in virtual time: the pure core with links, delays and crowds, and no sockets.

A signature here is a hash that only who knows the id's maker could make; nothing in these tests finds one by chance.
"""

import heapq
import random
from dataclasses import dataclass, field

from blake3 import blake3

from pyrsia.errors import Malformed
from pyrsia.mesh import scopes
from pyrsia.mesh.discovery import Ask, AskOutside, Blame, Discovery, Save
from pyrsia.mesh.outbound import Dial, Outbound, Resolve, Undial
from pyrsia.mesh.scopes import Scope
from pyrsia.mesh.table import Table
from pyrsia.units import NodeId
from pyrsia.wire import records
from pyrsia.wire.records import Record

NET = b"n" * 32
NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000


def ident(number, crowd=0):
    return NodeId(blake3(b"%d/%d" % (crowd, number)).digest())


def sign(record):
    return blake3(records.to_sign(record)).digest(64)


def verify(public, message, signature):
    return blake3(message).digest(64) == signature


def curve(node):
    """Ids that differ in their last bit alone are twins; all zero is no key."""
    if node == bytes(32):
        raise Malformed("node id: not a public key")
    return node[:31] + bytes([node[31] & 0x7F])


def record_of(node, *, seq=1, at_ms=NOW_MS, life_ms=DAY_MS, address="tcp://127.0.0.1:44000", net=NET, **more):
    said = {
        "log_size": 7,
        "log_root": bytes(32),
        "name": "n",
        "version": "0.1.0",
        "data": "",
        "broadcast": "",
        **more,
    }
    return Record(node, net, seq, at_ms, at_ms + life_ms, control=address, **said)


def raw_of(node, **more):
    record = record_of(node, **more)
    return records.encode(record, sign(record))


def table_of(me=None, members=()):
    return Table(me or ident(0), NET, verify=verify, curve=curve, member=lambda node: node in members)


def outbound_of(
    table, draw, *, members=(), needed=(), fixed=(), unwanted=(), ours=(Scope.GLOBAL, Scope.MACHINE)
):
    return Outbound(
        table,
        draw,
        ours=frozenset(ours),
        fixed=fixed,
        member=lambda node: node in members,
        members=lambda: len(members),
        needed=lambda: needed,
        unwanted=lambda node: node in unwanted,
    )


@dataclass
class Member:
    """One node of the crowd."""

    node: NodeId
    core: Discovery
    address: str
    up: dict = field(default_factory=dict)
    blamed: list = field(default_factory=list)
    dialled: list = field(default_factory=list)
    asked: int = 0


class Crowd:
    """All nodes, in one heap of events. Links last; a dial to an address that nobody has fails."""

    def __init__(
        self, count, seed, *, members=0, peers_of=lambda number: (), delay_s=(0.005, 0.1), tick_s=0.1
    ):
        self.draw = random.Random(seed)
        self.now = 0.0
        self.delay_s, self.tick_s = delay_s, tick_s
        self.heap, self.count = [], 0
        self.members = frozenset(ident(number) for number in range(members))
        self.nodes = {}
        self.by_address = {}
        for number in range(count):
            self.add(number, peers_of(number))

    def add(self, number, fixed=()):
        node = ident(number)
        address = f"tcp://127.0.0.1:{20_000 + number}"
        table = table_of(node, self.members)
        outbound = outbound_of(table, self.draw, members=self.members, fixed=[ident(one) for one in fixed])
        made = Member(node, Discovery(table, outbound, self.draw), address)
        made.core.renew(raw_of(node, address=address))
        self.nodes[node] = self.by_address[address] = made
        for one in map(ident, fixed):
            self.later(lambda other=one: self.link(made, other))
        self.at(self.now + self.draw.random() * self.tick_s, lambda: self.tick(made))
        return made

    def at(self, when, what):
        self.count += 1
        heapq.heappush(self.heap, (when, self.count, what))

    def later(self, what):
        self.at(self.now + self.draw.uniform(*self.delay_s), what)

    def run(self, until):
        while self.heap and self.heap[0][0] <= until:
            self.now, _, what = heapq.heappop(self.heap)
            what()
        self.now = until

    def tick(self, who):
        self.do(who, who.core.on_timer(self.now, NOW_MS))
        self.at(self.now + max(self.tick_s, who.core.wait_s(self.now)), lambda: self.tick(who))

    def do(self, who, effects):
        for effect in effects:
            match effect:
                case Ask(node, question):
                    who.asked += 1
                    self.later(lambda node=node, question=question: self.answer(who, node, question))
                case Dial(node, address):
                    who.dialled.append((node, address))
                    if address in self.by_address:
                        self.later(lambda node=node: self.link(who, node))
                case Undial(node):
                    if who.up.get(node):
                        self.unlink(who, self.nodes[node])
                case Blame(node, points, why):
                    who.blamed.append((node, points, why))
                case Resolve() | AskOutside() | Save():
                    pass

    def link(self, who, node):
        other = self.nodes[node]
        if node in who.up or who is other:
            return
        who.up[node], other.up[who.node] = True, False
        self.do(who, who.core.on_linked(self.now, node, dialled=True))
        self.do(other, other.core.on_linked(self.now, who.node, dialled=False))

    def unlink(self, who, other):
        for one, two in ((who, other), (other, who)):
            one.up.pop(two.node, None)
            one.core.on_lost(self.now, two.node)

    def answer(self, who, node, question):
        other = self.nodes[node]
        if node not in who.up:
            return
        raws, effects = other.core.on_asked(self.now, NOW_MS, who.node, records.decode_asked(question))
        self.do(other, effects)
        self.later(lambda: self.do(who, who.core.on_answer(self.now, NOW_MS, node, raws)))


__all__ = ["Crowd", "curve", "ident", "outbound_of", "raw_of", "record_of", "scopes", "table_of"]
