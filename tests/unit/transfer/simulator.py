"""A swarm among simulated sources in virtual time: seeded, no sockets, no waiting.

Each source has a rate, a round trip and manners. The world keeps its own account of what was asked and
given, so that the swarm's credit, writes and accusations are checked against what really happened.
"""

import heapq
import random
from dataclasses import dataclass, field

from pyrsia.transfer import swarm
from pyrsia.units import (
    CHUNK_BYTES,
    MAX_ASK_CHUNKS,
    MAX_SOURCES,
    PEER_CREDIT_BYTES,
    SWARM_CREDIT_BYTES,
    NodeId,
)

CHUNK = CHUNK_BYTES.value


class Paper:
    """A manifest whose chunks are short texts that stand for 256 KiB, so that gigabytes cost nothing."""

    def __init__(self, count, last=CHUNK):
        self.count = count
        self.size = CHUNK * (count - 1) + last if count else 0

    def span(self, index):
        if not 0 <= index < self.count:
            raise ValueError(index)
        return index * CHUNK, min(CHUNK, self.size - index * CHUNK)

    def holds(self, index, data):
        return data == self.data(index)

    def data(self, index):
        return b"chunk %d" % index


@dataclass
class Peer:
    """One source. Chances are of one answer, times in seconds, rates in bytes a second."""

    name: str
    rate: float = 50e6
    rtt_s: float = 0.002
    open_s: float = 0.005
    held: int = -1
    lies: float = 0.0
    loses: float = 0.0
    naks: float = 0.0
    busy: float = 0.0
    mute: bool = False
    silent: bool = False
    offers: bool = True
    wrong_count: bool = False
    pushes: bool = False
    vanishes_s: float = float("inf")
    returns: bool = False
    queue: list[int] = field(default_factory=list)
    free_s: float = 0.0
    connected: bool = False
    life: int = 0
    owes: set[int] = field(default_factory=set)
    gave: int = 0

    @property
    def node(self):
        return NodeId(self.name.encode().ljust(32, b"."))

    @property
    def honest(self):
        return not (self.lies or self.wrong_count or self.pushes)


class World:
    """Runs one swarm to its end."""

    def __init__(self, count, peers, seed=0, held=0, last=CHUNK):
        self.random = random.Random(seed)
        self.paper = Paper(count, last)
        self.peers = {peer.node: peer for peer in peers}
        self.swarm = swarm.Swarm(self.paper, list(self.peers), random.Random(seed + 1), held)
        self.now = 0.0
        self.written = {}
        self.asked = []
        self.dropped = {}
        self.ended = None
        self.came = self.wrong = 0
        self.most_owed = self.most_owed_by_all = 0
        self._heap = []
        self._seq = 0
        self._wake = 0

    def run(self, until_s=600.0):
        for peer in self.peers.values():
            if peer.vanishes_s < float("inf"):
                self._at(peer.vanishes_s, self._vanish, peer)
        self._do(self.swarm.on_start(self.now))
        while self._heap and self.ended is None:
            self.now, _, what, args = heapq.heappop(self._heap)
            assert self.now < until_s, "the swarm does not end"
            what(*args)
        assert self.ended is not None, "the swarm waits for nothing"
        return self

    @property
    def done(self):
        return isinstance(self.ended, swarm.Done)

    @property
    def used(self):
        return {node for node, _ in self.written.values()}

    @property
    def duplicates(self):
        return self.came - len(self.written)

    # -- effects --

    def _do(self, effects):
        for effect in effects:
            assert self.ended is None, "an effect after the end"
            match effect:
                case swarm.Open(node):
                    assert node not in {n for n, guilty in self.dropped.items() if guilty}
                    self._open(self.peers[node])
                case swarm.Ask(node, chunks):
                    self._ask(self.peers[node], chunks)
                case swarm.Cancel(node, chunks):
                    peer = self.peers[node]
                    peer.owes -= set(chunks)
                    self._at(self.now + peer.rtt_s / 2, self._cancelled, peer, peer.life, chunks)
                case swarm.Look(node):
                    peer = self.peers[node]
                    assert peer.connected
                    if not peer.mute:
                        self._at(self.now + peer.rtt_s, self._say_have, peer, peer.life)
                case swarm.Write(node, index, offset, data):
                    assert index not in self.written
                    assert data == self.paper.data(index)
                    assert offset == self.paper.span(index)[0]
                    self.written[index] = (node, self.now)
                case swarm.Drop(node, why, guilty):
                    assert why
                    self.dropped[node] = guilty
                    self.peers[node].connected = False
                    self.peers[node].owes.clear()
                case swarm.WakeAt(at_s):
                    self._wake += 1
                    self._at(at_s, self._tick, self._wake)
                case swarm.Done() | swarm.Failed():
                    self.ended = effect
        self._check()

    def _check(self):
        owed = [len(peer.owes) * CHUNK for peer in self.peers.values()]
        self.most_owed = max(self.most_owed, *owed)
        self.most_owed_by_all = max(self.most_owed_by_all, sum(owed))
        assert max(owed) <= PEER_CREDIT_BYTES.value
        assert sum(owed) <= SWARM_CREDIT_BYTES.value
        assert sum(peer.connected for peer in self.peers.values()) <= MAX_SOURCES.value
        if self.ended is None:
            kept = self.swarm.owed_bytes
            assert all(kept[node] <= len(peer.owes) * CHUNK for node, peer in self.peers.items())

    # -- sources --

    def _open(self, peer):
        assert not peer.connected
        peer.life += 1
        peer.connected = True
        peer.queue.clear()
        peer.owes.clear()
        peer.free_s = self.now
        if self.now >= peer.vanishes_s and not peer.returns:
            self._at(self.now + peer.rtt_s, self._lost, peer, peer.life)
        elif not peer.mute:
            self._at(self.now + peer.open_s, self._say_have, peer, peer.life)

    def _say_have(self, peer, life):
        if not peer.connected or peer.life != life:
            return
        if not peer.offers:
            self._do(self.swarm.on_nak(self.now, peer.node, ()))
            return
        everything = (1 << self.paper.count) - 1
        count = self.paper.count + peer.wrong_count
        self._do(self.swarm.on_have(self.now, peer.node, count, everything & peer.held))

    def _ask(self, peer, chunks):
        assert peer.connected
        assert 1 <= len(chunks) <= MAX_ASK_CHUNKS.value
        assert not peer.owes & set(chunks)
        assert not set(chunks) & set(self.written)
        peer.owes |= set(chunks)
        self.asked += [(self.now, peer.node, chunk) for chunk in chunks]
        self._at(self.now + peer.rtt_s / 2, self._asked, peer, peer.life, chunks)

    def _asked(self, peer, life, chunks):
        if not peer.connected or peer.life != life or peer.silent:
            return
        roll = self.random.random()
        if roll < peer.naks + peer.busy:
            answer = self.swarm.on_nak if roll < peer.naks else self.swarm.on_busy
            self._at(self.now + peer.rtt_s / 2, self._answer, peer, life, answer, chunks)
            return
        if peer.pushes:
            chunks = [(chunk + 1) % self.paper.count for chunk in chunks]
        idle = not peer.queue
        peer.queue += chunks
        if idle:
            self._serve(peer, life)

    def _answer(self, peer, life, answer, chunks):
        if peer.connected and peer.life == life:
            peer.owes -= set(chunks)
            self._do(answer(self.now, peer.node, chunks))

    def _serve(self, peer, life):
        """The first of the queue goes out; it takes its time on the line."""
        if peer.connected and peer.life == life and peer.queue:
            took = self.paper.span(peer.queue[0])[1] / peer.rate
            self._at(self.now + took, self._served, peer, life)

    def _served(self, peer, life):
        if not peer.connected or peer.life != life or not peer.queue:
            return
        index = peer.queue.pop(0)
        if self.random.random() >= peer.loses:
            data = self.paper.data(index)
            if self.random.random() < peer.lies:
                data += b"!"
            self._at(self.now + peer.rtt_s / 2, self._arrive, peer, life, index, data)
        self._serve(peer, life)

    def _arrive(self, peer, life, index, data):
        if peer.connected and peer.life == life:
            peer.owes.discard(index)
            peer.gave += 1
            self.came += 1
            self.wrong += data != self.paper.data(index)
            self._do(self.swarm.on_chunk(self.now, peer.node, index, data))

    def _cancelled(self, peer, life, chunks):
        # The chunk that is on the line already goes out all the same.
        if peer.life == life:
            peer.queue = peer.queue[:1] + [chunk for chunk in peer.queue[1:] if chunk not in chunks]

    def _vanish(self, peer):
        if peer.connected:
            self._lost(peer, peer.life)

    def _lost(self, peer, life):
        if peer.connected and peer.life == life:
            peer.connected = False
            peer.owes.clear()
            self._do(self.swarm.on_lost(self.now, peer.node, "vanished"))

    def _tick(self, wake):
        if wake == self._wake:
            self._do(self.swarm.on_timer(self.now))

    def _at(self, at_s, what, *args):
        self._seq += 1
        heapq.heappush(self._heap, (at_s, self._seq, what, args))
