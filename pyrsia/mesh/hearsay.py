"""Statements: which are taken from others, which we make, what is told to whom.

A statement is checked only if it would change something, and passed on only after that. So whoever sends one with a
false signature made it up, and is blamed. What is said of nodes that are not tracked is only mentioned. What we say of
ourselves answers whoever suspects us, once in a while: members aloud, for what strangers say only to a member that
brings it.

Source: docs/mesh-membership.md, "Rules", "What is told on".
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from pyrsia.mesh import scores
from pyrsia.mesh.beliefs import Beliefs
from pyrsia.mesh.dissemination import Rumours
from pyrsia.mesh.health import Health
from pyrsia.mesh.liveness import State
from pyrsia.mesh.membership import Blame, Effect, Mentioned, Send, World
from pyrsia.units import MAX_INCARNATION, Limit, NodeId
from pyrsia.wire.membership import Statement, Tell, Told, Word, to_sign

REFUTE_S: Final = 1.0  # between two incarnations of ours: the shortest wait is five times as long
FANOUT: Final = 3
PIGGYBACK = Limit(48, "statements told with a ping: 6.5 KB, when half of a large network has news at once")
MAX_MENTIONS = Limit(
    16, "strangers of one message that are asked for; the rest comes with the next comparison"
)
WRONG: Final = -3.0  # a suspicion that proved false; forty of them within minutes are no accident
_WRONG: Final = "suspected a node that was there"

Others = Callable[[int, set[NodeId]], list[NodeId]]


class Hearsay:
    """Of one node.

    Args:
        others: so many random nodes that are alive, but not these.
        out: where effects go.

    Attributes:
        own: what we say of ourselves.
        refute_s: when `refute` is wanted; `math.inf` for never.
    """

    def __init__(
        self,
        me: NodeId,
        net: bytes,
        world: World,
        beliefs: Beliefs,
        health: Health,
        others: Others,
        out: list[Effect],
        *,
        incarnation: int,
    ) -> None:
        self.rumours = Rumours()
        self.refute_s = math.inf
        self._me = me
        self._net = net
        self._world = world
        self._beliefs = beliefs
        self._health = health
        self._others = others
        self._out = out
        self._refuted_s = -math.inf
        self._doubters: set[NodeId] = set()  # members that suspect us, since the last answer
        self._bearers: set[NodeId] = set()  # members that told us of a stranger's suspicion
        self._behind = False  # we said more in an earlier life than we count now
        self.own = self._signed(Word.ALIVE, me, max(1, min(incarnation, MAX_INCARNATION.value)))
        self.rumours.add(self.own)

    # -- what comes in --

    def listen(self, now: float, sender: NodeId, told: Iterable[Statement]) -> None:
        """Statements that `sender` makes or passes on."""
        strangers: list[NodeId] = []
        for one in told:
            if one.node == self._me:
                good = self._of_us(now, sender, one)
            elif one.node in self._beliefs:
                good = self._of_another(now, one)
            else:
                strangers.append(one.node)
                continue
            if not good:
                self._out.append(Blame(sender, scores.LIE, "passed on a statement with a false signature"))
                break
        self.mention(strangers)

    def mention(self, nodes: Sequence[NodeId]) -> None:
        self._out += [Mentioned(node) for node in nodes[: MAX_MENTIONS.value]]

    def settle(self) -> None:
        """Tell what came of the beliefs: who was wrong."""
        for author, node in self._beliefs.wrong:
            if author != self._me and self._world.member(node):  # else free ids could answer late on purpose
                self._out.append(Blame(author, WRONG, _WRONG))
        self._beliefs.wrong.clear()

    # -- what we say --

    def accuse(self, now: float, node: NodeId) -> None:
        """We could not reach `node`: say so to it, to some others, and with everything from now on."""
        if node not in self._beliefs:
            return
        self._beliefs.again(now, node)
        incarnation = self._beliefs.incarnation(node)
        if any(held.author == self._me for held in self._beliefs.against(node)):
            return
        one = self._signed(Word.SUSPECT, node, incarnation)
        if not self._beliefs.matters(now, one):
            return
        self._beliefs.take(now, one)
        self._out.append(Send(node, Tell((one,))))
        self._shout(one, {node})

    def forget(self, node: NodeId) -> None:
        """`node` is about to be forgotten: nothing is told of it any more. Whoever keeps track of it asks it itself."""
        self.rumours.forget(node, [held.author for held in self._beliefs.against(node)])

    def refute(self, now: float) -> None:
        """Answer who suspects us: members say something of our health, and who did so alone was wrong."""
        self.refute_s, self._refuted_s = math.inf, now
        doubters, bearers, behind = self._doubters, self._bearers, self._behind
        self._doubters, self._bearers, self._behind = set(), set(), False
        if self.own.incarnation >= MAX_INCARNATION.value:
            return  # only our own key signs so large a number: nobody else can bring us there
        self.own = self._signed(Word.ALIVE, self._me, self.own.incarnation + 1)
        if doubters or behind:
            self._shout(self.own, set())
        else:
            self.rumours.add(self.own)
            self._out += [Send(node, Tell((self.own,))) for node in sorted(bearers)]
        if doubters:
            self._health.worse()
        if len(doubters) == 1:
            self._out.append(Blame(doubters.pop(), WRONG, _WRONG))

    def leave(self) -> Statement:
        """We stop, on purpose."""
        self.own = self._signed(Word.LEFT, self._me, self.own.incarnation)
        return self.own

    def told(self, to: NodeId, *, new: bool = False) -> Told:
        """What goes along with a message: what concerns `to` first, and what we are if it may not know."""
        if not new and not self.rumours and self._beliefs.state(to) in (State.ALIVE, State.UNKNOWN):
            return ()
        first = self._beliefs.against(to) + ([self.own] if new else [])
        rest = self.rumours.take(PIGGYBACK.value - len(first), self._beliefs.present + 1)
        return (*first, *(one for one in rest if one not in first))

    # -- inside --

    def _of_another(self, now: float, one: Statement) -> bool:
        """Believe `one` if it is worth it; False if its signature is no good."""
        beliefs = self._beliefs
        if not beliefs.matters(now, one):
            return True
        if one.word is Word.SUSPECT and (
            one.author == self._me or one.author not in beliefs or self._world.ignored(now, one.author)
        ):
            return True
        if not self._good(one):
            return False
        if one.word is not Word.SUSPECT:
            self.rumours.void(one.node, [held.author for held in beliefs.against(one.node)])
        beliefs.take(now, one)
        self.rumours.add(one)
        return True

    def _of_us(self, now: float, sender: NodeId, one: Statement) -> bool:
        """Somebody suspects us, or we hear what we said in a life whose clock was ahead; False as above."""
        if one.incarnation < self.own.incarnation:
            if one.word is Word.SUSPECT:  # whoever passes it on does not know what we said since
                answer = Send(sender, Tell((self.own,)))
                self._out += [answer] * (answer not in self._out)  # one, however many it passes on at once
            return True
        if one.word is Word.SUSPECT and one.incarnation > self.own.incarnation:
            return True  # we never signed it, so nobody believes this
        if one == self.own:
            return True
        weighty = one.word is not Word.SUSPECT or self._weighs(now, one.author)
        if not weighty and not self._world.member(sender):
            return True  # ids cost nothing: what one of them says of us to our face is no reason for work
        if not self._good(one):
            return False
        if one.word is Word.SUSPECT:
            (self._doubters if weighty else self._bearers).add(one.author if weighty else sender)
        else:
            self._behind = True
            self.own = self._signed(Word.ALIVE, self._me, one.incarnation)
        self.refute_s = min(self.refute_s, max(now, self._refuted_s + REFUTE_S))
        if self.refute_s <= now:
            self.refute(now)
        return True

    def _weighs(self, now: float, author: NodeId) -> bool:
        """Whether what `author` says of us tells us something: a member's word, if it is not ignored."""
        world = self._world
        return author in self._beliefs and world.member(author) and not world.ignored(now, author)

    def _shout(self, one: Statement, but: set[NodeId]) -> None:
        self.rumours.add(one)
        self._out += [Send(node, Tell((one,))) for node in self._others(FANOUT, but)]

    def _good(self, one: Statement) -> bool:
        signed = to_sign(self._net, one.word, one.node, one.incarnation)
        return self._world.verify(one.author, signed, one.signature)

    def _signed(self, word: Word, node: NodeId, incarnation: int) -> Statement:
        signature = self._world.sign(to_sign(self._net, word, node, incarnation))
        return Statement(word, node, incarnation, self._me, signature)
