"""What one node believes of the others, from signed statements and from what it hears itself.

1. Only a node itself says that it is alive, or leaves, and only its own word raises its incarnation. So nobody can
   carry it beyond reach: what is said of an incarnation that the node has not signed, or of an older one, is void.
2. A suspicion is signed by who could not reach the node. It starts a wait of `least` to `most` seconds, shorter with
   every further author. A newer incarnation ends it; when it runs out the node is dead, for us.
3. That a node is dead travels as its suspicion: each node waits itself, so a lie costs a live node one answer.
4. What comes over a link of its own is certain: a node that was heard after the last thing that was said against it
   is not dead, and one that was dead is alive again. Only who left must say itself that it is back.
5. An author whose suspicion stood alone and was answered by the next incarnation was wrong (`wrong`).
6. Whoever is not tracked is nobody: what is said or heard of it changes nothing here. Guests come and go, and what is
   under way when one is forgotten must not bring half of it back.

Pure; statements are verified by the caller before they come here.

Source: docs/mesh-membership.md, "Rules".
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final

from pyrsia.mesh.liveness import State
from pyrsia.units import Limit, NodeId
from pyrsia.wire.membership import Row, Statement, Word

LEAST_FACTOR: Final = 5.0  # x log10(nodes + 1) x the interval of probes
MOST_TIMES: Final = 3.0  # a lone author is believed after so many times the least
AUTHORS: Final = 4  # kept of one node: the first and three that agree
RENEW_S: Final = 0.5  # between two statements of one node; nobody has to answer more often
SLACK = Limit(256, "deadlines that nobody waits for any more; with more of them the list is made anew")


@dataclass(slots=True)
class _Suspicion:
    since_s: float
    said_s: float  # the last thing that was said against it
    deadline_s: float
    by: dict[NodeId, Statement]


@dataclass(slots=True)
class _Gone:
    state: State
    since_s: float
    by: dict[NodeId, Statement]


class Beliefs:
    """Of one node about all others that it keeps track of.

    Args:
        interval_s: between two probes.
        listen: when a node was last heard on its link, whatever it said; `-math.inf` for never.

    Attributes:
        last_heard_s: when anybody was heard.
        version: another one whenever what is known of somebody is newer, or somebody else is tracked.
        changed: nodes whose state became another, for the caller to take away.
        wrong: authors of suspicions that proved false, with the node; the same.
    """

    def __init__(self, interval_s: float, listen: Callable[[NodeId], float]) -> None:
        self.last_heard_s = -math.inf
        self.version = 0
        self.changed: list[tuple[NodeId, State]] = []
        self.wrong: list[tuple[NodeId, NodeId]] = []
        self._interval_s = interval_s
        self._listen = listen
        self._said: dict[NodeId, Statement | None] = {}  # everybody, with the newest word of its own
        self._nodes: list[NodeId] | None = None  # everybody, until that changes
        self._silent: dict[NodeId, float] = {}  # of whom nothing is known at all: since when
        self._suspects: dict[NodeId, _Suspicion] = {}
        self._gone: dict[NodeId, _Gone] = {}
        self._heard: dict[NodeId, float] = {}
        self._renewed: dict[NodeId, float] = {}
        self._deadlines: list[tuple[float, NodeId]] = []

    # -- whom it concerns --

    def __contains__(self, node: NodeId) -> bool:
        return node in self._said

    def __len__(self) -> int:
        return len(self._said)

    @property
    def present(self) -> int:
        """How many are not gone."""
        return len(self._said) - len(self._gone)

    def track(self, now: float, node: NodeId, said: Statement | None = None) -> None:
        """Keep track of `node`. `said`: a verified word of its own that was kept."""
        if node not in self._said:
            self._nodes = None
            self.version += 1
            self._said[node] = said
            if said is None:
                self._silent[node] = now

    def forget(self, node: NodeId) -> None:
        self._nodes = None
        self.version += 1
        for table in (self._said, self._silent, self._suspects, self._gone, self._heard, self._renewed):
            table.pop(node, None)

    # -- reading --

    def nodes(self) -> Sequence[NodeId]:
        """Everybody who is tracked, in no order that counts."""
        if self._nodes is None:
            self._nodes = list(self._said)
        return self._nodes

    def state(self, node: NodeId) -> State:
        gone = self._gone.get(node)
        if gone is not None:
            return gone.state
        if node in self._suspects:
            return State.SUSPECT
        if node in self._silent or node not in self._said:
            return State.UNKNOWN
        return State.ALIVE

    def gone_s(self, now: float, node: NodeId) -> float | None:
        """For how long it has been dead or gone."""
        gone = self._gone.get(node)
        return None if gone is None else max(0.0, now - gone.since_s)

    def gone(self) -> list[NodeId]:
        return list(self._gone)

    @property
    def silent(self) -> int:
        """Of how many nothing at all is known."""
        return len(self._silent)

    def silent_s(self, now: float, node: NodeId) -> float:
        """For how long nothing at all was known of it; 0 once something is."""
        return now - self._silent.get(node, now)

    def incarnation(self, node: NodeId) -> int:
        """The newest that it signed; 0 for none."""
        said = self._said.get(node)
        return 0 if said is None else said.incarnation

    def heard_s(self, node: NodeId) -> float:
        """When it was last heard over a link of its own."""
        return max(self._heard.get(node, -math.inf), self._listen(node))

    def against(self, node: NodeId) -> list[Statement]:
        """Suspicions of `node` that stand, the first author's first."""
        held = self._suspects.get(node) or self._gone.get(node)
        return [] if held is None else list(held.by.values())

    def newest(self, node: NodeId) -> tuple[int, Word]:
        """How new what we know is: an incarnation, and the later of its words. Of two, the larger is newer."""
        said = self._said.get(node)
        if said is None:
            incarnation, word = 0, Word.ALIVE
        else:
            incarnation, word = said.incarnation, said.word
        if (node in self._suspects or node in self._gone) and word is Word.ALIVE and self.against(node):
            word = Word.SUSPECT
        return incarnation, word

    def rows(self, nodes: Sequence[NodeId], own: Statement) -> tuple[Row, ...]:
        """What a comparison lists of these, of ourselves by `own`."""
        said = {**{node: self._said.get(node) for node in nodes}, own.node: own}
        doubted = self._suspects.keys() | self._gone.keys()
        return tuple(
            Row(node, word.incarnation, word.word)
            if (word := said[node]) is not None and node not in doubted
            else Row(node, *self.newest(node))
            for node in nodes
        )

    def since(self, node: NodeId, theirs: tuple[int, Word]) -> list[Statement]:
        """What is known here that somebody lacks whose newest is `theirs`."""
        said = self._said.get(node)
        if self.newest(node) <= theirs:
            return []
        if said is None or said.word is Word.LEFT:
            return self.against(node) if said is None else [said]
        return ([said] if said.incarnation > theirs[0] else []) + self.against(node)

    # -- what comes in --

    def matters(self, now: float, one: Statement) -> bool:
        """Whether `one` would change anything: only then is it worth checking."""
        if one.node not in self._said:
            return False
        said = self._said[one.node]
        known = 0 if said is None else said.incarnation
        if one.word is not Word.SUSPECT:
            newer = (one.incarnation, one.word) > (known, 0 if said is None else said.word)
            goodbye = one.word is Word.LEFT and one.incarnation == known  # there is one of each incarnation
            return newer and (goodbye or now - self._renewed.get(one.node, -math.inf) >= RENEW_S)
        if one.incarnation != known or (said is not None and said.word is Word.LEFT):
            return False
        held = self._suspects.get(one.node) or self._gone.get(one.node)
        return held is None or (one.author not in held.by and len(held.by) < AUTHORS)

    def take(self, now: float, one: Statement) -> None:
        """A verified statement that matters."""
        if one.node not in self._said:
            return
        self.version += 1
        if one.word is Word.SUSPECT:
            self._suspect(now, one)
            return
        self._blame(one)
        self._said[one.node] = one
        self._renewed[one.node] = now
        if one.word is Word.LEFT:
            self._go(now, one.node, State.LEFT, {})
        else:
            self._live(one.node)

    def heard(self, now: float, node: NodeId) -> None:
        """Something came over a link of its own."""
        if node not in self._said:
            return
        self._heard[node] = self.last_heard_s = now
        if node in self._silent:
            self._live(node)
            return
        gone = self._gone.get(node)
        if gone is not None and gone.state is State.DEAD:
            self._live(node)

    def again(self, now: float, node: NodeId) -> None:
        """We tried once more to reach it, and could not."""
        held = self._suspects.get(node)
        if held is not None:
            held.said_s = now

    def bury(self, now: float, node: NodeId) -> None:
        """It never gave a sign of life, and there is no way to it."""
        if node in self._silent:
            self._go(now, node, State.DEAD, {})

    # -- time --

    @property
    def due_s(self) -> float:
        """When `settle` is wanted."""
        while self._deadlines:
            deadline, node = self._deadlines[0]
            held = self._suspects.get(node)
            if held is not None and held.deadline_s == deadline:
                return deadline
            heappop(self._deadlines)
        return math.inf

    def settle(self, now: float) -> None:
        """Whose time is over is dead, unless it was heard since."""
        while self.due_s <= now:
            _, node = heappop(self._deadlines)
            held = self._suspects[node]
            if self.heard_s(node) > held.said_s:
                self._live(node)
            else:
                self._go(now, node, State.DEAD, held.by)

    def postpone(self, by_s: float) -> None:
        """We stood still: nobody's time has passed meanwhile."""
        for held in self._suspects.values():
            held.deadline_s += by_s
        self._sweep()
        for gone in self._gone.values():  # who was away for a moment then had no time to come back in
            gone.since_s += by_s

    def wait_s(self, authors: int) -> float:
        """How long a node that so many suspect has to answer."""
        least = LEAST_FACTOR * max(1.0, math.log10(self.present + 2)) * self._interval_s
        others = min(AUTHORS, max(1, self.present))  # in a small network there are not so many
        if others == 1:
            return least
        agree = math.log(min(authors, others)) / math.log(others)
        return least * (MOST_TIMES - (MOST_TIMES - 1.0) * agree)

    # -- inside --

    def _suspect(self, now: float, one: Statement) -> None:
        gone = self._gone.get(one.node)
        if gone is not None:
            gone.by[one.author] = one
            return
        held = self._suspects.get(one.node)
        if held is None:
            held = self._suspects[one.node] = _Suspicion(now, now, math.inf, {})
            self._silent.pop(one.node, None)
            self.changed.append((one.node, State.SUSPECT))
        held.by[one.author] = one
        held.said_s = now
        deadline = held.since_s + self.wait_s(len(held.by))
        if deadline < held.deadline_s:
            held.deadline_s = deadline
            heappush(self._deadlines, (deadline, one.node))
            if len(self._deadlines) > SLACK.value + AUTHORS * len(self._suspects):
                self._sweep()

    def _sweep(self) -> None:
        """Who was forgotten, or answered, left its deadlines behind."""
        self._deadlines = [(held.deadline_s, node) for node, held in self._suspects.items()]
        heapify(self._deadlines)

    def _blame(self, one: Statement) -> None:
        held = self._suspects.get(one.node) or self._gone.get(one.node)
        if held is None or len(held.by) != 1 or one.word is Word.LEFT:
            return
        ((author, suspicion),) = held.by.items()
        if one.incarnation == suspicion.incarnation + 1:  # an answer; who starts anew counts from its clock
            self.wrong.append((author, one.node))

    def _live(self, node: NodeId) -> None:
        before = self.state(node)
        self.version += 1
        for table in (self._silent, self._suspects, self._gone):
            table.pop(node, None)
        if before is not State.ALIVE:
            self.changed.append((node, State.ALIVE))

    def _go(self, now: float, node: NodeId, state: State, by: dict[NodeId, Statement]) -> None:
        before = self.state(node)
        self.version += 1
        self._silent.pop(node, None)
        self._suspects.pop(node, None)
        gone = self._gone.get(node)
        since_s = (
            now if gone is None else gone.since_s
        )  # who was dead and turns out to have left was gone before
        self._gone[node] = _Gone(state, since_s, by)
        if before is not state:
            self.changed.append((node, state))
