"""A small network of sharing cores on a clock of its own: links that lose and delay, nodes that restart and lie.

The oracle is one sentence: an entry that was given to an honest node which has not restarted since is, a bounded
time after the last fault, waiting at every honest node or final there. Nothing of `Sharing` is asked for that.
"""

import heapq
import random
from functools import lru_cache

from pyrsia.errors import Refusal
from pyrsia.keys import verify
from pyrsia.ledger import entries
from pyrsia.ledger.mempool import Mempool
from pyrsia.ledger.sharing import ROUND_S, Blame, Now, Sharing, Tell, WakeAt, Work
from pyrsia.wire.sharing import Entries, Have, Want
from tests.reference.ledger import START, World

WORLD = World()
once = lru_cache(maxsize=20_000)(verify)


def fact(author, word, **more):
    body = {"kind": "description", "subject": "pkg:pypi/idna@1.0", "text": str(word), "valid_from": 1}
    return WORLD.entry(WORLD.nodes[author], "fact.add", body, **more)


class Seat:
    """One validator: its state outlives a restart, its mempool and its core do not."""

    def __init__(self, net, node):
        self.net, self.node = net, node
        self.final = set()
        self.life = 0
        self.blamed = []
        self.begin()

    def begin(self):
        self.pool = Mempool(WORLD.genesis, once)
        self.core = Sharing(self.pool, self.reads, node=self.node, validators=lambda: self.net.validators)
        self.wake_s = float("inf")
        self.worked = 0
        self.do(self.core.on_start(self.net.now))

    def reads(self, key):
        return b"1" if key in self.final else WORLD.db.get(key)

    def settle(self, entry_id):
        self.final.add(b"id/" + entry_id.hex().encode())
        self.pool.remove([entry_id])

    def holds(self, entry_id):
        return self.pool.get(entry_id) is not None or b"id/" + entry_id.hex().encode() in self.final

    def do(self, effects):
        for effect in effects:
            match effect:
                case Tell(to, data):
                    for other in to:
                        self.net.send(self.node, other, data)
                case WakeAt(at_s):
                    self.wake_s = at_s
                    self.net.at(at_s, lambda s=self, life=self.life, at_s=at_s: s.wake(life, at_s))
                case Work():
                    self.worked += 1
                case Blame():
                    self.blamed.append(effect)

    def wake(self, life, at_s):
        if life == self.life and at_s == self.wake_s:
            self.do(self.core.on_timer(self.net.now))


class Net:
    """`count` validators, the last `liars` of them worked by the test."""

    def __init__(self, count=4, liars=1, seed=0, loss=0.0, delay_s=0.05):
        self.rng = random.Random(seed)
        self.time_s, self.heap, self.sent = 0.0, [], 0
        self.loss, self.delay_s = loss, delay_s
        self.validators = [bytes([i + 1]) * 32 for i in range(count)]
        self.liars = self.validators[count - liars :] if liars else []
        self.frames = []  # (from, to, data)
        self.seats = {node: Seat(self, node) for node in self.validators}
        self.up = set()
        self.given = {}  # entry id -> [(node, its life then)]
        for a in self.validators:
            for b in self.validators:
                if a < b:
                    self.link(a, b, True)

    @property
    def now(self):
        return Now(self.time_s, START + int(self.time_s * 1000))

    @property
    def honest(self):
        return [self.seats[node] for node in self.validators if node not in self.liars]

    def at(self, at_s, do):
        self.sent += 1
        heapq.heappush(self.heap, (max(at_s, self.time_s), self.sent, do))

    def run(self, seconds):
        until_s = self.time_s + seconds
        while self.heap and self.heap[0][0] <= until_s:
            self.time_s, _, do = heapq.heappop(self.heap)
            do()
        self.time_s = until_s

    # -- wires --

    def link(self, a, b, up):
        a, b = min(a, b), max(a, b)
        if up == ((a, b) in self.up):
            return
        (self.up.add if up else self.up.discard)((a, b))
        for one, other in ((a, b), (b, a)):
            self.seats[one].do(self.seats[one].core.on_link(self.now, other, up))

    def send(self, sender, to, data):
        self.frames.append((sender, to, data))
        if (min(sender, to), max(sender, to)) not in self.up or self.rng.random() < self.loss:
            return
        copies = 2 if self.loss and self.rng.random() < 0.1 else 1
        for _ in range(copies):
            self.at(self.time_s + self.rng.random() * self.delay_s, lambda: self.arrive(sender, to, data))

    def arrive(self, sender, to, data):
        if (min(sender, to), max(sender, to)) in self.up and to not in self.liars:
            self.seats[to].do(self.seats[to].core.on_message(self.now, sender, data))

    # -- what happens --

    def give(self, node, raw):
        """An entry comes from outside; whether it was taken."""
        seat = self.seats[node]
        try:
            _, effects = seat.core.on_entry(self.now, raw)
        except Refusal:
            return False
        seat.do(effects)
        if node not in self.liars:
            self.given.setdefault(entries.entry_id(raw), []).append((node, seat.life))
        return True

    def restart(self, node):
        pairs = [pair for pair in self.up if node in pair]
        for pair in pairs:
            self.link(*pair, False)
        seat = self.seats[node]
        seat.life += 1
        seat.begin()
        for pair in pairs:
            self.link(*pair, True)

    def finalize(self, raw):
        """Final everywhere, at each node in its own time."""
        name = entries.entry_id(raw)
        for seat in self.seats.values():
            self.at(self.time_s + self.rng.random(), lambda seat=seat: seat.settle(name))

    def lie(self, liar, kind, names, raws):
        """One lie to everybody, made of real ids and entries where that helps it."""
        made = {
            "nothing": lambda: Have(tuple(self.rng.randbytes(32) for _ in range(50)), True),
            "names": lambda: Have(tuple(names) or (bytes(32),), False),
            "everything": lambda: Want(tuple(names), True),
            "garbage": lambda: Entries((self.rng.randbytes(40), b"{}")),
            "again": lambda: Entries(tuple(raws[:64]) or (b"{}",)),
            "forged": lambda: Entries((raws[0].replace(b'"sig":"', b'"sig":"0')[:-1] if raws else b"{}",)),
        }
        data = made[kind]().encode() if kind in made else self.rng.randbytes(30)
        for node in self.validators:
            if node != liar:
                self.send(liar, node, data)

    # -- the oracle --

    def owed(self):
        """Ids of entries that some honest node, up since, was given."""
        return [
            name
            for name, given in self.given.items()
            if any(self.seats[node].life == life for node, life in given)
        ]

    def missing(self):
        return [(seat.node[0], name) for name in self.owed() for seat in self.honest if not seat.holds(name)]

    def heal(self):
        """No fault any more; how long it may take from here: one turn of the rounds, and two for what is fresh."""
        self.loss = 0.0
        for a in self.validators:
            for b in self.validators:
                if a < b and (a, b) not in self.up:
                    self.link(a, b, True)
        return (len(self.validators) + 2) * ROUND_S
