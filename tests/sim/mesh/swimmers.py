"""A network of membership cores, and the account of what they believed wrongly.

Signatures are short hashes under a secret of each node: cheap, and only who has the secret can make one.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import blake2b

from pyrsia.mesh.liveness import State
from pyrsia.mesh.membership import Blame, Changed, Effect, Mentioned, Send, World
from pyrsia.mesh.scores import Scores
from pyrsia.mesh.swim import Swim
from pyrsia.units import NodeId
from pyrsia.wire.membership import Message, Statement, Vitals, Word, encode, to_sign

from .network import CALM, Network, Weather

NET = b"n" * 32
GRACE_S = 30.0  # after a stall or a start: the longest wait of a small network, and an answer


def node_id(number: int) -> NodeId:
    return NodeId(blake2b(b"node %d" % number, digest_size=32).digest())


def sign(node: NodeId, data: bytes) -> bytes:
    return blake2b(data, key=node, digest_size=64).digest()


def verify(node: bytes, data: bytes, signature: bytes) -> bool:
    return blake2b(data, key=node, digest_size=64).digest() == signature


def said(word: Word, node: NodeId, incarnation: int, author: NodeId | None = None) -> Statement:
    """A good statement; by the node itself unless somebody else is named."""
    author = author or node
    return Statement(word, node, incarnation, author, sign(author, to_sign(NET, word, node, incarnation)))


class Swimmer:
    """One node: its core, and what it noted."""

    def __init__(self, pool: "Pool", node: NodeId, incarnation: int, known: dict[NodeId, Statement]) -> None:
        self.pool = pool
        self.node = node
        self.scores = Scores()
        self.mentioned: Counter[NodeId] = Counter()
        vitals = Vitals(7, 0, "1")
        world = World(
            sign=lambda data: sign(node, data),
            verify=verify,
            reach=lambda other: pool.reach(node, other),
            listen=lambda other: -math.inf,
            ignored=self.scores.ignored,
            vitals=lambda: vitals,
            member=lambda other: pool.member(other),
        )
        now = pool.net.now
        draw = random.Random(f"{pool.seed} {node.hex()} {incarnation}")
        self.core = Swim(node, NET, world, draw, now=now, incarnation=incarnation, known=known)

    @property
    def wake_at(self) -> float:
        return self.core.wake_at

    def take(self, now: float, sender: NodeId, message: Message | bytes) -> None:
        if isinstance(message, bytes):
            self.run(self.core.on_bytes(now, sender, message))
        else:
            self.run(self.core.on_message(now, sender, message))

    def tick(self, now: float) -> None:
        self.run(self.core.on_timer(now))

    def run(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, message):
                    self.pool.net.send(self.node, to, encode(message) if self.pool.coded else message)
                case Changed(node, state):
                    self.pool.believes(self.node, node, state)
                case Blame(node, points, reason):
                    self.scores.note(self.pool.net.now, node, points, reason)
                case Mentioned(node):
                    self.mentioned[node] += 1
                    self.pool.mentioned(self, node)


class Pool:
    """All of them.

    Attributes:
        coded: whether messages travel as bytes.
        reach: whether the first node has a way to the second. member: whether the log names a node.
        false_suspects, false_dead: (time, who, of whom) of nodes that were running, and not standing still.
    """

    def __init__(
        self,
        seed: int,
        count: int,
        weather: Weather = CALM,
        *,
        coded: bool = False,
        settled: bool = True,
        reach: Callable[[NodeId, NodeId], bool] = lambda _, __: True,
        member: Callable[[NodeId], bool] = lambda _: True,
    ) -> None:
        self.seed = seed
        self.coded = coded
        self.reach = reach
        self.member = member
        self.net = Network(seed, weather)
        self.ids = [node_id(number) for number in range(count)]
        self.at: dict[NodeId, Swimmer] = {}
        self.excused: dict[NodeId, float] = {}  # until when whoever doubts it is right
        self.false_suspects: list[tuple[float, NodeId, NodeId]] = []
        self.false_dead: list[tuple[float, NodeId, NodeId]] = []
        self.accused: list[tuple[NodeId, NodeId]] = []  # by its own word
        words = {node: said(Word.ALIVE, node, 1) for node in self.ids} if settled else {}
        for node in self.ids:
            self.start(node, 1, {one: word for one, word in words.items() if one != node})

    def start(self, node: NodeId, incarnation: int, known: dict[NodeId, Statement] | None = None) -> Swimmer:
        """A node begins a life, knowing of everybody."""
        swimmer = self.at[node] = Swimmer(self, node, incarnation, known or {})
        swimmer.run(swimmer.core.on_known(self.net.now, self.ids))
        self.net.start(node, swimmer)
        self._excuse(node, GRACE_S)
        return swimmer

    def crash(self, node: NodeId) -> None:
        self._excuse(node, math.inf)
        self.net.crash(node)
        del self.at[node]

    def leave(self, node: NodeId) -> None:
        swimmer = self.at[node]
        swimmer.run(swimmer.core.on_leave(self.ids))
        self.crash(node)

    def stall(self, node: NodeId, for_s: float) -> None:
        self._excuse(node, for_s + GRACE_S)
        self.net.stall(node, for_s)

    def _excuse(self, node: NodeId, for_s: float) -> None:
        """That others doubt it is no fault of theirs, until it could answer."""
        self.excused[node] = self.net.now + for_s

    def believes(self, who: NodeId, of: NodeId, state: State) -> None:
        if self.net.now < self.excused.get(of, 0.0):
            return
        if state is State.SUSPECT:
            self.false_suspects.append((self.net.now, who, of))
        elif state is State.DEAD:
            self.false_dead.append((self.net.now, who, of))

    def mentioned(self, who: Swimmer, node: NodeId) -> None:
        """What a table of records would do: here nothing."""

    # -- accounts --

    def states(self, of: NodeId) -> Counter[State]:
        """What all others that run believe of a node."""
        return Counter(one.core.state(of) for node, one in self.at.items() if node != of)

    def all_believe(self, of: Iterable[NodeId], state: State) -> bool:
        return all(self.states(node).keys() <= {state} for node in of)

    def agree(self) -> bool:
        """Whether everybody takes everybody who runs for alive."""
        return self.all_believe(self.at, State.ALIVE)

    def present(self) -> bool:
        """Whether everybody who runs takes nobody who runs for gone; under loss somebody is suspected all the time."""
        there = {State.ALIVE, State.SUSPECT}
        return all(self.states(node).keys() <= there for node in self.at)

    def messages(self) -> float:
        """Sent by a node in a second, so far."""
        return self.net.sent.total() / len(self.ids) / self.net.now
