"""Whom to ping next, and what follows from an answer or from none.

Each node has its turn once in a round, in random order; a member whose link broke comes at once, but not more often
than the round would come to it. Whoever comes and goes beyond that, and guests, share every fourth probe. No answer
after `DIRECT_S`: three others are asked to ping it, and it is pinged once more. No answer by any way after `PROBE_S` in
all: `failed`. Anything that came from the node since is an answer.

Helpers of a member are members, as long as there are any. Their word that the node answered them proves nothing: it
ends a probe, and four such in a row without an answer of its own, where we have a way to the node, are as good as no
answer. A living node answers the suspicion; whoever was wrong about it needs more of the same the next time.

A helper that has no way to the node says so, and that says nothing of the node. A node that nobody of us can reach is
suspected only where its link just broke; those that are linked with it probe it.

Source: docs/mesh-membership.md, "Probes".
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pyrsia.mesh.beliefs import Beliefs
from pyrsia.mesh.health import WORST, WORST_HEARD, Health
from pyrsia.mesh.liveness import State
from pyrsia.mesh.membership import Draw, Effect, Send, World
from pyrsia.units import Limit, NodeId
from pyrsia.wire.membership import Ack, Ask, Nack, Ping, Relayed, Told, Vitals

DIRECT_S: Final = 0.5  # then others are asked; a link across the world answers in half of it
PROBE_S: Final = 1.5  # the way there and back by way of another, twice
RELAY_S: Final = 0.8  # a helper says no in time for its no to count
UNHEARD_S: Final = 60.0  # a node that was never heard and has no address is as good as dead
HEARD_S: Final = 4.0  # whoever hears others once in this time is not alone; a message a second is usual
HELPERS: Final = 3
FAILED: Final = 4  # doubts that a probe without an answer adds
VOUCHED: Final = 1  # the same, where only a helper says that there was one
MOST: Final = 16 * FAILED  # wanted of a node that proved us wrong again and again
FORGIVEN_S: Final = 600.0  # after the last time
TRIES: Final = 8  # at random for each node that is wanted: in a network of living nodes the first one fits
MAX_RELAYS = Limit(256, "pings for others under way; more are refused, which costs the asker a helper")
GUEST_RELAYS = Limit(64, "of them for guests together: a quarter, for ids of guests are free")
SHARE: Final = (
    4  # of so many probes one is for guests whose links broke, and for members that lose theirs all the time
)
MAX_FIRST = Limit(64, "nodes whose link broke just now; all others have their turn in the round")


@dataclass(slots=True)
class Contact:
    """How fast a node answers, and what it says of itself. `rtt_s` is negative while unknown."""

    rtt_s: float = -1.0
    vitals: Vitals | None = None


@dataclass(slots=True)
class _Probe:
    target: NodeId
    sent_s: float
    due_s: float
    lost: bool  # its link broke just now
    asked: bool = False
    helpers: set[NodeId] = field(default_factory=set)  # that have said nothing yet
    able: int = 0  # helpers that have a way to it, or have said nothing


@dataclass(slots=True)
class _Doubt:
    """Of a node that did not answer us itself."""

    points: int = 0
    enough: int = FAILED
    wrong_s: float = -math.inf  # when it last proved us wrong


@dataclass(frozen=True, slots=True)
class _Relay:
    asker: NodeId
    seq: int
    target: NodeId
    due_s: float


class Prober:
    """Probes of one node.

    Args:
        told: what goes along with a message to a node, and whether the node is new to us.
        failed: a probe had no answer by any way.
        out: where effects go.

    Attributes:
        contacts: of nodes that answered once.
    """

    def __init__(
        self,
        me: NodeId,
        world: World,
        draw: Draw,
        beliefs: Beliefs,
        health: Health,
        told: Callable[[NodeId, bool], Told],
        failed: Callable[[float, NodeId], None],
        out: list[Effect],
    ) -> None:
        self.contacts: dict[NodeId, Contact] = {}
        self._me = me
        self._world = world
        self._draw = draw
        self._beliefs = beliefs
        self._health = health
        self._told = told
        self._failed = failed
        self._out = out
        self._seq = draw.randrange(1 << 31)
        self._probes: dict[int, _Probe] = {}
        self._relays: dict[int, _Relay] = {}
        self._doubts: dict[NodeId, _Doubt] = {}
        self._turn = 0  # probes so far
        self._first: deque[NodeId] = deque(maxlen=MAX_FIRST.value)
        self._jumped: dict[NodeId, int] = {}  # in which turn a member came first the last time
        self._restless: deque[NodeId] = deque(maxlen=MAX_FIRST.value)
        self._rest = 0  # the turn before which none of those has one
        self._round: list[NodeId] = []
        self._room = 0  # for so many that come meanwhile

    # -- pings --

    def next(self, now: float) -> None:
        """Ping whose turn it is."""
        self._turn += 1
        found = self._next_target(now)
        if found is None:
            return
        target, lost = found
        self._probes[self._number()] = _Probe(target, now, now + DIRECT_S * self._health.factor, lost)
        self._out.append(Send(target, Ping(self._seq, self._told(target, target not in self.contacts))))

    def add(self, node: NodeId) -> None:
        """`node` has its turn in this round already, if there is room: those that come and go must not keep it from
        ending, or nobody else has a turn again."""
        if self._room:
            self._room -= 1
            self._round.append(node)

    def first(self, node: NodeId) -> None:
        """The link with `node` broke: it is next, if it is a member and this is not its habit.

        Each probe that one takes out of its turn is one that the round waits for.
        """
        if node in self._first or node in self._restless:
            return
        since = self._turn - self._jumped.get(node, -math.inf)
        if self._world.member(node) and since >= len(self._beliefs):
            self._jumped[node] = self._turn
            self._first.append(node)
        else:
            self._restless.append(node)

    def greet(self, node: NodeId) -> None:
        """Ping `node` and tell it what we are; nothing follows from its silence."""
        self._out.append(Send(node, Ping(self._number(), self._told(node, True))))

    def knock(self) -> None:
        """Greet somebody who is gone: a network that was cut in two finds together again."""
        gone = [node for node in self._beliefs.gone() if self._world.reach(node)]
        if gone:
            self.greet(gone[self._draw.randrange(len(gone))])

    def others(
        self, most: int, but: set[NodeId], of: Callable[[NodeId], bool] = lambda _: True
    ) -> list[NodeId]:
        """So many random nodes `of` a kind, alive, within reach, and not these; fewer where there are not more."""
        nodes, found = self._beliefs.nodes(), dict.fromkeys(but)
        if len(nodes) <= most * TRIES:
            rest = [node for node in nodes if node not in but and of(node) and self._good(node)]
            while len(rest) > most:
                rest.pop(self._draw.randrange(len(rest)))
            return rest
        for _ in range(most * TRIES):
            node = nodes[self._draw.randrange(len(nodes))]
            if node not in found and of(node) and self._good(node):
                found[node] = None
                if len(found) == len(but) + most:
                    break
        return list(found)[len(but) :]

    # -- what comes back --

    def answered(self, now: float, sender: NodeId, ack: Ack) -> None:
        contact = self.contacts.setdefault(sender, Contact())
        contact.vitals = ack.vitals
        relay = self._relays.get(ack.seq)
        if relay is not None and relay.target == sender:
            del self._relays[ack.seq]
            self._out.append(Send(relay.asker, Relayed(relay.seq)))
            return
        probe = self._probes.get(ack.seq)
        if probe is None or probe.target != sender:
            return
        del self._probes[ack.seq]
        self._trust(sender)
        if not probe.asked:  # else nobody knows which ping this answers
            took_s = now - probe.sent_s
            contact.rtt_s = took_s if contact.rtt_s < 0 else 0.8 * contact.rtt_s + 0.2 * took_s
        self._health.better()

    def helped(self, now: float, sender: NodeId, said: Relayed | Nack) -> None:
        """A helper's word; of anybody else, or a second one, it is none."""
        probe = self._probes.get(said.seq)
        if probe is None or sender not in probe.helpers:
            return
        probe.helpers.discard(sender)
        if isinstance(said, Nack):
            probe.able -= not said.able
        elif not self._vouched_for_nothing(now, probe):
            del self._probes[said.seq]
            self._health.better()

    def help(self, now: float, asker: NodeId, ask: Ask) -> None:
        """Ping somebody for `asker`."""
        if ask.target == self._me:
            self._out.append(Send(asker, Relayed(ask.seq)))
        elif (
            ask.target not in self._beliefs or not self._has_room(asker) or not self._world.reach(ask.target)
        ):
            self._out.append(Send(asker, Nack(ask.seq, False)))
        else:
            self._relays[self._number()] = _Relay(asker, ask.seq, ask.target, now + RELAY_S)
            self._out.append(Send(ask.target, Ping(self._seq, self._told(ask.target, False))))

    def _has_room(self, asker: NodeId) -> bool:
        """Whether one more ping for `asker` may be under way."""
        if len(self._relays) >= MAX_RELAYS.value:
            return False
        member = self._world.member
        if member(asker):
            return True
        return sum(not member(relay.asker) for relay in self._relays.values()) < GUEST_RELAYS.value

    # -- time --

    @property
    def due_s(self) -> float:
        """When `settle` is wanted."""
        due = [probe.due_s for probe in self._probes.values()]
        due += [relay.due_s for relay in self._relays.values()]
        return min(due, default=float("inf"))

    def settle(self, now: float) -> None:
        """Judge what is due."""
        for seq in [seq for seq, relay in self._relays.items() if relay.due_s <= now]:
            relay = self._relays.pop(seq)
            self._out.append(Send(relay.asker, Nack(relay.seq, True)))
        for seq in [seq for seq, probe in self._probes.items() if probe.due_s <= now]:
            probe = self._probes[seq]
            if self._beliefs.heard_s(probe.target) >= probe.sent_s:
                del self._probes[seq]
                self._trust(probe.target)
                self._health.better()
            elif not probe.asked:
                self._ask(now, seq, probe)
            else:
                del self._probes[seq]
                self._judge(now, probe)

    def void(self) -> None:
        """We stood still: what was under way says nothing."""
        self._probes.clear()
        self._relays.clear()

    def forget(self, node: NodeId) -> None:
        """It is of no interest any more, nor is what is under way to it, by it or for it."""
        self.contacts.pop(node, None)
        self._doubts.pop(node, None)
        self._probes = {seq: probe for seq, probe in self._probes.items() if probe.target != node}
        for probe in self._probes.values():
            if node in probe.helpers:  # it says nothing any more, and that says nothing of anybody
                probe.helpers.discard(node)
                probe.able -= 1
        for seq in [seq for seq, relay in self._relays.items() if node in (relay.asker, relay.target)]:
            relay = self._relays.pop(seq)
            if relay.asker != node:
                self._out.append(Send(relay.asker, Nack(relay.seq, False)))
        self._jumped.pop(node, None)
        for line in (self._first, self._restless):
            if node in line:
                line.remove(node)

    def erred(self, now: float, node: NodeId) -> None:
        """We alone suspected `node`, and it answered."""
        if node not in self._beliefs:
            return
        doubt = self._doubts.setdefault(node, _Doubt())
        doubt.points, doubt.enough, doubt.wrong_s = 0, min(MOST, 2 * doubt.enough), now

    # -- inside --

    def _next_target(self, now: float) -> tuple[NodeId, bool] | None:
        """Whose turn it is, and whether that is because its link broke."""
        beliefs = self._beliefs
        for line in (self._first, self._restless):
            while line and (line is self._first or self._turn >= self._rest):
                node = line.popleft()
                if node in beliefs and beliefs.gone_s(now, node) is None:
                    if line is self._restless:
                        self._rest = self._turn + SHARE
                    return node, True
        if not self._round:
            self._round = list(beliefs.nodes())
            self._room = len(self._round)
        while self._round:
            at = self._draw.randrange(len(self._round))
            self._round[at], self._round[-1] = self._round[-1], self._round[at]
            node = self._round.pop()
            if node not in beliefs or beliefs.gone_s(now, node) is not None:
                continue
            if self._world.reach(node):
                return node, False
            if beliefs.silent_s(now, node) > UNHEARD_S:
                beliefs.bury(now, node)
        return None

    def _ask(self, now: float, seq: int, probe: _Probe) -> None:
        helpers = self._helpers(probe.target)
        probe.asked, probe.helpers, probe.able = True, set(helpers), len(helpers)
        probe.due_s = now + (PROBE_S - DIRECT_S) * self._health.factor
        self._out.append(Send(probe.target, Ping(seq, self._told(probe.target, False))))
        for helper in helpers:
            self._out.append(Send(helper, Ask(seq, probe.target, self._told(helper, False))))

    def _judge(self, now: float, probe: _Probe) -> None:
        """No answer. Helpers that did not even say no speak against us and not against the node."""
        silent = len(probe.helpers) if self._beliefs.present > 1 else 1
        heard = now - self._beliefs.last_heard_s <= HEARD_S * self._health.factor
        self._health.worse(silent, WORST_HEARD if heard else WORST)
        if probe.able or probe.lost or self._world.reach(probe.target):
            if self._doubted(now, probe.target, FAILED):
                self._failed(now, probe.target)

    def _helpers(self, target: NodeId) -> list[NodeId]:
        member = self._world.member
        if member(target):
            found = self.others(HELPERS, {target}, member)
            if found:
                return found
        return self.others(HELPERS, {target})

    def _vouched_for_nothing(self, now: float, probe: _Probe) -> bool:
        """Whether only others say that a node answers that we could hear ourselves, once too often."""
        target = probe.target
        if self._beliefs.heard_s(target) >= probe.sent_s or not self._world.reach(target):
            return False
        return self._doubted(now, target, VOUCHED)

    def _doubted(self, now: float, node: NodeId, points: int) -> bool:
        """Whether it is enough now."""
        doubt = self._doubts.setdefault(node, _Doubt())
        if now - doubt.wrong_s > FORGIVEN_S:
            doubt.enough = FAILED
        doubt.points = min(MOST, doubt.points + points)
        return doubt.points >= doubt.enough

    def _trust(self, node: NodeId) -> None:
        """It answered."""
        doubt = self._doubts.get(node)
        if doubt is not None:
            doubt.points = 0

    def _good(self, node: NodeId) -> bool:
        return self._beliefs.state(node) is State.ALIVE and self._world.reach(node)

    def _number(self) -> int:
        self._seq = (self._seq + 1) & 0xFFFFFFFF
        return self._seq
