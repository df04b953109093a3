"""Membership: who is there. Messages and the time go in, effects come out.

1. Once an interval one node is pinged, directly and if need be by way of others (`probing.py`). Who gives no sign of
   life is suspected, signed (`hearsay.py`), and has time to answer (`beliefs.py`).
2. A node that stood still (its own timer came late) has seen nothing: its open probes are void, all waits are longer by
   as much, and it accuses nobody until it has read what waits. A node that is late takes its time (`health.py`).
3. News travel with pings and answers, each a bounded number of times (`dissemination.py`).
4. Two nodes compare all that they know from time to time (`comparing.py`), and when a link is new.
5. Who is gone is pinged now and then: a network that was cut in two finds together again.
6. What peers with a bad score tell is not looked at; whether they live still is.

Time comes as `now` in seconds of any steady clock, randomness as a generator of the caller's. It answers the same to
the same calls.

Source: docs/mesh-membership.md. SWIM: Das, Gupta, Motivala, "SWIM: Scalable Weakly-consistent Infection-style Process
Group Membership Protocol", 2002.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Final

from pyrsia.buckets import Buckets
from pyrsia.mesh import scores
from pyrsia.mesh.beliefs import Beliefs
from pyrsia.mesh.comparing import Ledger
from pyrsia.mesh.health import Health
from pyrsia.mesh.hearsay import Hearsay
from pyrsia.mesh.liveness import State
from pyrsia.mesh.membership import Blame, Changed, Draw, Effect, Mentioned, Send, World
from pyrsia.mesh.probing import Contact, Prober
from pyrsia.units import Limit, NodeId
from pyrsia.wire import membership as wire
from pyrsia.wire.membership import (
    FIRST,
    LAST,
    Ack,
    Ask,
    Message,
    Nack,
    Ping,
    Relayed,
    Statement,
    Sync,
    Tell,
)

INTERVAL_S: Final = 1.0
STALL_S: Final = 0.3  # a timer later than this says that we stood still
QUIET_S: Final = 2.0  # at most so long after that nobody is accused: what waited is read first
KNOCK_S: Final = 10.0  # between two pings of nodes that are gone
SYNC_LEAST_S: Final = 30.0
SYNC_MOST_S: Final = 60.0
JOIN_SYNC_S: Final = 1.0  # between two comparisons with peers whose links are new
PAGE_S: Final = 5.0  # for the answer to a page; then a comparison is over
EAGER_S: Final = 4.0  # between two comparisons of a node that still knows nothing of some
EAGER: Final = 10  # such comparisons: some may be nowhere
MAX_TRACKED = Limit(8_448, "the members and strangers of a full table, and all links")
RATE: Final = 30.0  # messages a second of one peer; an honest one needs two or three
BURST: Final = 120.0
SYNC_RATE: Final = 1.0  # pages a second of one peer
SYNC_BURST: Final = 64.0  # a node that joins is told of 4,096 others


class Swim:
    """Membership of one node.

    Args:
        me: our id. net: chain id.
        incarnation: larger than in any life before: milliseconds since 1970.
        known: words of others that were kept, verified.

    Attributes:
        wake_at: when `on_timer` is wanted.
    """

    def __init__(
        self,
        me: NodeId,
        net: bytes,
        world: World,
        draw: Draw,
        *,
        now: float,
        incarnation: int,
        known: Mapping[NodeId, Statement] | None = None,
    ) -> None:
        self.me = me
        self.health = Health()
        self.beliefs = Beliefs(INTERVAL_S, world.listen)
        self.wake_at = self._now = now
        self._out: list[Effect] = []
        self._world = world
        self._draw = draw
        self._hearsay = Hearsay(
            me,
            net,
            world,
            self.beliefs,
            self.health,
            lambda most, but: self._prober.others(most, but),
            self._out,
            incarnation=incarnation,
        )
        self._prober = Prober(
            me,
            world,
            draw,
            self.beliefs,
            self.health,
            lambda node, new: self._hearsay.told(node, new=new),
            self._failed,
            self._out,
        )
        self._ledger = Ledger(me)
        self._messages: Buckets[NodeId] = Buckets(RATE, BURST)
        self._pages: Buckets[NodeId] = Buckets(SYNC_RATE, SYNC_BURST)
        self._probe_s = now + self._spread(INTERVAL_S)
        self._knock_s = now + self._spread(KNOCK_S)
        self._sync_s = now + self._spread(EAGER_S)
        self._eager = EAGER
        self._joined_s = {
            True: -math.inf,
            False: -math.inf,
        }  # the last comparison for a member's new link, a guest's
        self._page: tuple[NodeId, NodeId, NodeId] | None = (
            None  # with whom we compare, where a page begins and ends
        )
        self._page_s = -math.inf  # when it was sent
        self._quiet_s = -math.inf
        for node, said in (known or {}).items():
            if node != me and len(self.beliefs) < MAX_TRACKED.value:
                self._track(now, node, said)
        self._plan()

    # -- reading --

    @property
    def own(self) -> Statement:
        """What we say of ourselves."""
        return self._hearsay.own

    @property
    def rumours(self) -> int:
        """How many statements are still told on."""
        return len(self._hearsay.rumours)

    def state(self, node: NodeId) -> State:
        return self.beliefs.state(node)

    def contact(self, node: NodeId) -> Contact | None:
        """What `node` said with its answers; None before the first."""
        return self._prober.contacts.get(node)

    # -- what comes in --

    def on_known(self, now: float, nodes: Iterable[NodeId]) -> list[Effect]:
        """Keep track of these as well: members, nodes with a record, nodes with a link."""
        for node in nodes:
            if node != self.me and node not in self.beliefs and len(self.beliefs) < MAX_TRACKED.value:
                self._track(now, node, None)
        return self._done()

    def on_forgotten(self, nodes: Iterable[NodeId]) -> list[Effect]:
        """These are of no interest any more."""
        for node in nodes:
            if node in self.beliefs:
                self._hearsay.forget(node)
                self.beliefs.forget(node)
                self._ledger.remove(node)
                self._prober.forget(node)
        return self._done()

    def on_linked(self, now: float, node: NodeId, up: bool) -> list[Effect]:
        """A link came or went. A new one is a sign of life; after a lost one the node is probed next."""
        self._moment(now)
        if node not in self.beliefs:
            return self._done()
        if not up:
            self._prober.first(node)
            return self._done()
        self._hear(now, node)
        self._prober.greet(node)
        member = self._world.member(node)
        if now - self._joined_s[member] >= JOIN_SYNC_S and (member or not self._compares_with_member(now)):
            self._joined_s[member] = now
            self._compare(node, FIRST)
        return self._done()

    def on_bytes(self, now: float, sender: NodeId, data: bytes) -> list[Effect]:
        """An encoded message of `sender`.

        Raises:
            Malformed: no honest peer sends this.
        """
        self._moment(now)
        if self._admits(now, sender):
            self._take(now, sender, wire.decode(data))
        return self._done()

    def on_message(self, now: float, sender: NodeId, message: Message) -> list[Effect]:
        """A message of `sender`; who it is has been proved."""
        self._moment(now)
        if self._admits(now, sender):
            self._take(now, sender, message)
        return self._done()

    def on_lag(self, lag_s: float) -> None:
        """How late our loop was at worst in the last seconds."""
        self.health.late(lag_s)

    def on_timer(self, now: float) -> list[Effect]:
        """Call at `wake_at`, or later."""
        self._moment(now)
        if now >= self._hearsay.refute_s:
            self._hearsay.refute(now)
        self._prober.settle(now)
        if now >= self._quiet_s:
            self.beliefs.settle(now)
        if now >= self._probe_s:
            self._probe_s = now + INTERVAL_S * self.health.factor
            self._prober.next(now)
        if now >= self._knock_s:
            self._knock_s = now + KNOCK_S
            self._prober.knock()
        if now >= self._sync_s:
            self._sync_s = now + self._until_sync_s()
            for node in self._prober.others(1, set()):
                self._compare(node, FIRST)
        return self._done()

    def on_leave(self, nodes: Iterable[NodeId]) -> list[Effect]:
        """We stop, on purpose: `nodes` have a link and are told. Nothing is done after this."""
        told = Tell((self._hearsay.leave(),))
        return [Send(node, told) for node in nodes]

    # -- time --

    def _moment(self, now: float) -> None:
        """What everything begins with: did we stand still?"""
        late_s, self._now = now - self.wake_at, now
        if late_s <= STALL_S:
            return
        self._prober.void()
        self._quiet_s = now + min(late_s, QUIET_S)  # who is late by little is soon up to date
        self._probe_s = max(self._probe_s, now + self._spread(INTERVAL_S))
        self.beliefs.postpone(late_s)
        self.health.worse(1 + int(late_s))
        self.wake_at = now  # told once

    def _plan(self) -> None:
        due_s = min(
            self._probe_s,
            self._knock_s,
            self._sync_s,
            self._hearsay.refute_s,
            self._prober.due_s,
            max(self.beliefs.due_s, self._quiet_s),
        )
        self.wake_at = max(self._now, due_s)  # what is overdue is so by its nature, not since we were late

    def _until_sync_s(self) -> float:
        if self.beliefs.silent and self._eager:
            self._eager -= 1
            return EAGER_S / 2 + self._spread(EAGER_S)
        return SYNC_LEAST_S + self._spread(SYNC_MOST_S - SYNC_LEAST_S)

    def _spread(self, most_s: float) -> float:
        return self._draw.randrange(1_000) * most_s / 1_000

    def _done(self) -> list[Effect]:
        for author, node in self.beliefs.wrong:
            if author == self.me:
                self._prober.erred(self._now, node)
        self._hearsay.settle()  # what came of the beliefs
        effects = [*self._out, *(Changed(node, state) for node, state in self.beliefs.changed)]
        self._out.clear()
        self.beliefs.changed.clear()
        self._plan()
        return effects

    # -- messages --

    def _admits(self, now: float, sender: NodeId) -> bool:
        if self._messages.of(sender).take(now):
            return True
        self._out.append(Blame(sender, scores.RATE, "more membership messages than a node has to say"))
        return False

    def _take(self, now: float, sender: NodeId, message: Message) -> None:
        tracked = sender in self.beliefs
        if not tracked:
            self._out.append(Mentioned(sender))
            if isinstance(message, Ping):
                self._out.append(Send(sender, Ack(message.seq, self._world.vitals(), ())))
            return
        self._hear(now, sender)
        if isinstance(message, Ping):
            told = self._hearsay.told(sender)
            self._out.append(Send(sender, Ack(message.seq, self._world.vitals(), told)))
        elif isinstance(message, Ack):
            self._prober.answered(now, sender, message)
        elif isinstance(message, Relayed | Nack):
            self._prober.helped(now, sender, message)
        if not self._world.ignored(now, sender):
            self._heed(now, sender, message)

    def _heed(self, now: float, sender: NodeId, message: Message) -> None:
        """What a message tells or asks beside a sign of life."""
        match message:
            case Ping() | Ack():
                self._hearsay.listen(now, sender, message.told)
            case Ask():
                self._prober.help(now, sender, message)
                self._hearsay.listen(now, sender, message.told)
            case Sync():
                self._answer(now, sender, message)
            case Tell():
                self._hearsay.listen(now, sender, message.told)
                self._go_on(sender, message)
            case _:
                pass

    def _hear(self, now: float, node: NodeId) -> None:
        """A sign of life. Who we thought was dead is told so: others may think it still."""
        was_dead = self.beliefs.state(node) is State.DEAD
        against = self.beliefs.against(node) if was_dead else []
        self.beliefs.heard(now, node)
        if against:
            self._out.append(Send(node, Tell(tuple(against))))

    def _failed(self, now: float, node: NodeId) -> None:
        if now >= self._quiet_s:
            self._hearsay.accuse(now, node)

    def _track(self, now: float, node: NodeId, said: Statement | None) -> None:
        self.beliefs.track(now, node, said)
        self._ledger.add(node)
        self._prober.add(node)

    # -- comparing --

    def _compare(self, node: NodeId, after: NodeId) -> None:
        page = self._ledger.page(self.beliefs, self._hearsay.own, after)
        self._page, self._page_s = (node, page.after, page.last), self._now
        self._out.append(Send(node, page))

    def _compares_with_member(self, now: float) -> bool:
        """Guests, who come and go as they like, do not end a comparison that goes from page to page."""
        if self._page is None or now - self._page_s > PAGE_S:
            return False
        return self._world.member(self._page[0])

    def _answer(self, now: float, sender: NodeId, page: Sync) -> None:
        if not self._pages.of(sender).take(now):
            return
        answer = self._ledger.answer(self.beliefs, self._hearsay.own, page)
        self._out.append(Send(sender, answer.tell))
        self._hearsay.mention(answer.strangers)

    def _go_on(self, sender: NodeId, answer: Tell) -> None:
        """The rest of an answer to our page: what the other one wants, and the next page."""
        if self._page is None or self._page[0] != sender:
            return
        _, after, last = self._page
        self._page = None
        if answer.wants:
            told = self._ledger.wanted(self.beliefs, self._hearsay.own, answer.wants)
            self._out.append(Send(sender, told))
        if answer.more is not None and after < answer.more < last:  # only forwards: no answer has an end else
            self._compare(sender, answer.more)
        elif last != LAST:
            self._compare(sender, last)
