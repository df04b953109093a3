"""Many nodes that fetch one file from each other in virtual time: real swarms, real upload queues, capped lines.

Each member gives what it has over one line of its own rate, and hears of the others only as nodes do: from whom it
asks, and from who asks it. Nothing else is known to it.
"""

import heapq
import random

from simulator import Paper

from pyrsia.transfer import swarm
from pyrsia.transfer.buckets import Flow
from pyrsia.transfer.sharing import Askers
from pyrsia.transfer.uploads import Uploads
from pyrsia.units import NodeId

FILE = b"m" * 32


class Member:
    """One node.

    Args:
        up: bytes a second that it gives at most.
        starts_s: when it begins to fetch; None for one that has the file.
        claims: it says that it has everything (a lie unless it has).
        gives: False: it takes asks and never answers them.
        ends_s: when it vanishes.
    """

    def __init__(self, name, up, *, starts_s=None, claims=False, gives=True, ends_s=None, at=None, down=None):
        self.node = NodeId(name.encode().ljust(32, b"."))
        self.name, self.up, self.starts_s, self.ends_s = name, up, starts_s, ends_s
        self.claims, self.gives, self.places, self.down = claims, gives, at, down
        self.swarm = None
        self.whole = starts_s is None and not claims
        self.uploads, self.askers = Uploads(Flow(up)), Askers()
        self.busy = False
        self.lanes = {}  # source -> life of the connection
        self.gave, self.came, self.here = 0, 0, set()
        self.done_s = None
        self.failed = None
        self.dropped = {}
        self.wake = 0

    def held(self, count):
        if self.whole or self.claims:
            return (1 << count) - 1
        return None if self.swarm is None else self.swarm.held

    @property
    def duplicates(self):
        return self.came - len(self.here)


class Crowd:
    def __init__(self, count, members, *, knows, seed=0, rtt_s=0.002):
        """`knows`: names of the sources that everybody is told of."""
        self.paper, self.rtt_s, self.now = Paper(count), rtt_s, 0.0
        self.members = {m.node: m for m in members}
        self.knows = [m.node for m in members if m.name in knows]
        self.random = random.Random(seed)
        self._heap, self._seq, self._life = [], 0, 0

    def run(self, until_s=600.0, only=None):
        """Until all are done or have given up; `only`: these."""
        for m in self.members.values():
            if m.starts_s is not None and not m.claims:
                self._at(m.starts_s, self._start, m)
        waiting = only or [m for m in self.members.values() if m.starts_s is not None and not m.claims]
        while self._heap and any(m.done_s is None and m.failed is None for m in waiting):
            self.now, _, what, args = heapq.heappop(self._heap)
            assert self.now < until_s, "the crowd does not end"
            what(*args)
        self.fetchers = waiting
        return self

    def _at(self, at_s, what, *args):
        self._seq += 1
        heapq.heappush(self._heap, (at_s, self._seq, what, args))

    def _later(self, what, *args):
        self._at(self.now + self.rtt_s / 2, what, *args)

    def _online(self, m):
        return m.ends_s is None or self.now < m.ends_s

    def _start(self, m):
        draw = random.Random(self.random.random())
        m.swarm = swarm.Swarm(
            self.paper, [n for n in self.knows if n != m.node], draw, places=m.places, down=m.down, me=m.node
        )
        self._do(m, m.swarm.on_start(self.now))

    # -- what a swarm wants --

    def _do(self, m, effects):
        for effect in effects:
            assert m.done_s is None, "an effect after the end"
            assert m.failed is None, "an effect after the end"
            match effect:
                case swarm.Open(node):
                    self._life += 1
                    m.lanes[node] = self._life
                    self._later(self._looked, m, self.members[node], self._life)
                case swarm.Look(node):
                    self._later(self._looked, m, self.members[node], m.lanes[node])
                case swarm.Ask(node, chunks):
                    self._later(self._asked, m, self.members[node], m.lanes[node], chunks)
                case swarm.Cancel(node, chunks):
                    self._later(self._cancelled, m, self.members[node], m.lanes[node], chunks)
                case swarm.Write(_, index, _, _):
                    assert index not in m.here
                    m.here.add(index)
                case swarm.Drop(node, _, guilty):
                    m.dropped[node] = guilty
                    self.members[node].uploads.forget(self._lane(m, m.lanes.pop(node)))
                case swarm.WakeAt(at_s):
                    m.wake += 1
                    self._at(at_s, self._tick, m, m.wake)
                case swarm.Done():
                    m.done_s, m.whole = self.now, True
                    self._leave(m)
                case swarm.Failed(why):
                    m.failed = why
                    self._leave(m)

    def _leave(self, m):
        for node, life in m.lanes.items():
            self.members[node].uploads.forget(self._lane(m, life))
        m.lanes.clear()

    def _tick(self, m, wake):
        if wake == m.wake and m.done_s is None and m.failed is None:
            for node in m.askers.fetching(self.now, FILE):
                self._do(m, m.swarm.on_source(self.now, node))
            if m.done_s is None and m.failed is None:
                self._do(m, m.swarm.on_timer(self.now))

    # -- what reaches a source, and what comes back --

    def _lane(self, m, life):
        return m.node + life.to_bytes(8, "big")

    def _open(self, m, source, life):
        return m.lanes.get(source.node) == life and m.done_s is None and m.failed is None

    def _looked(self, m, source, life):
        if not self._open(m, source, life):
            return
        if not self._online(source):
            self._lost(m, source)
            return
        held = source.held(self.paper.count)
        if held is None:
            self._later(self._answer, m, source, life, "on_nak", ())
            return
        others = source.askers.asked(self.now, m.node, FILE)
        self._later(self._answer, m, source, life, "on_have", self.paper.count, held)
        for other in others:
            self._later(self._told, m, source, life, other)

    def _answer(self, m, source, life, event, *args):
        if self._open(m, source, life):
            self._do(m, getattr(m.swarm, event)(self.now, source.node, *args))

    def _told(self, m, source, life, other):
        if self._open(m, source, life):
            self._do(m, m.swarm.on_source(self.now, other, source.node))

    def _asked(self, m, source, life, chunks):
        if not self._open(m, source, life):
            return
        if not self._online(source):
            self._lost(m, source)
            return
        if not source.gives:
            return
        held, lane = source.held(self.paper.count), self._lane(m, life)
        if source.claims and not source.whole:
            held = 0
        refused = [c for c in chunks if not held >> c & 1]
        full = [
            c
            for c in chunks
            if c not in refused
            and not source.uploads.push(m.node, lane, (m, life, c), self.paper.span(c)[1], (FILE, c))
        ]
        if refused:
            self._later(self._answer, m, source, life, "on_nak", refused)
        if full:
            self._later(self._answer, m, source, life, "on_busy", full)
        self._serve(source)

    def _lost(self, m, source):
        m.lanes.pop(source.node)
        self._do(m, m.swarm.on_lost(self.now, source.node, "vanished"))

    def _cancelled(self, m, source, life, chunks):
        source.uploads.cancel(self._lane(m, life), [(FILE, c) for c in chunks])

    def _serve(self, source):
        """The line takes the next chunk when it is free and the limit allows."""
        if source.busy or not self._online(source):
            return
        lanes = list(source.uploads._lanes)
        lane = source.uploads.turn(lanes, self.now)
        if lane is None:
            wait_s = source.uploads.wait_s(lanes, self.now)
            if wait_s < float("inf"):
                source.busy = True
                self._at(self.now + max(wait_s, 1e-6), self._free, source)
            return
        m, life, chunk = source.uploads.pop(lane, self.now)
        source.gave += 1
        source.busy = True
        self._later(self._arrive, m, source, life, chunk)
        self._at(self.now + 1e-5, self._free, source)

    def _free(self, source):
        source.busy = False
        self._serve(source)

    def _arrive(self, m, source, life, chunk):
        if self._open(m, source, life):
            m.came += 1
            self._do(m, m.swarm.on_chunk(self.now, source.node, chunk, self.paper.data(chunk)))
