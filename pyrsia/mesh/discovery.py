"""How a node comes to know the others: whom it asks for records, when, and what it believes of the answers.

At every link that we dialled, and then from time to time, one peer is asked: it gets some of our records and gives
some of its own that we lack (`wire.records`). While that brings news, or few nodes are known, the next question comes
soon; once nothing is new the pause grows to a minute. A joining node so learns a network of 50 in two or three
questions, and one at rest asks once a minute whatever its size.

Names of DNS and addresses of nodes' HTTP ports are asked when fewer than three peers that others could dial have a
link, and every half hour. Their answers are believed no more than a peer's: an id that answers proves itself.

What a peer sends too much of is not looked at and costs it points; what no honest one sends costs more.

Pure: `on_x(now, ...) -> effects`. Which nodes are dialled is for `outbound`, where others reach us for `reach`.

Source: docs/mesh-discovery.md, "Who asks whom".
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pyrsia.buckets import Buckets
from pyrsia.errors import Malformed
from pyrsia.mesh.outbound import Dial, Draw, Outbound, Resolve, Undial
from pyrsia.mesh.scores import FAULT, LIE, RATE
from pyrsia.mesh.table import NEWS, Row, Table, Taken
from pyrsia.units import FUTURE_MS, MAX_RECORDS, MAX_SOUGHT, Limit, NodeId
from pyrsia.wire import records
from pyrsia.wire.records import Asked

SOON_S: Final = 0.3
REST_S: Final = 60.0
OUTSIDE_FIRST_S: Final = 0.05
OUTSIDE_LAST_S: Final = 10.0
OUTSIDE_AGAIN_S: Final = 1_800.0
FEW_PEERS: Final = 3
TICK_S: Final = 1.0
SETTLE_S: Final = 5.0  # each look asks the log about every known node
RECORDS_BURST = Limit(
    512, "records of one peer at once: ten answers to a newcomer's questions, and some to spare"
)
RECORDS_RATE: Final = 8.0
ASKED_BURST = Limit(32, "questions of one peer at once: a newcomer asks a dozen in its first seconds")
ASKED_RATE: Final = 0.5
GIVEN = Limit(16, "records that go with a question: the asker knows least of all who is new")
SKEW_MS = Limit(120_000, "clocks that differ by more than two minutes are a fault of their own")
MOST_SOUGHT = Limit(256, "nodes that somebody mentioned and nobody has described yet")
SOUGHT_OF_ONE = Limit(64, "the same of one peer: a quarter, and what four questions ask for")


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask `node` for records with this question; hand the answer to `on_answer`."""

    node: NodeId
    question: bytes


@dataclass(frozen=True, slots=True)
class AskOutside:
    """Ask DNS names, and the HTTP ports of nodes; hand over what they say by `on_hint` and `on_outside`."""


@dataclass(frozen=True, slots=True)
class Blame:
    """`node` lost points."""

    node: NodeId
    points: float
    why: str


@dataclass(frozen=True, slots=True)
class Save:
    """Keep the record of `node` for the next start: a member, or a stranger that we dialled ourselves."""

    node: NodeId
    raw: bytes


Effect = Ask | AskOutside | Blame | Save | Dial | Undial | Resolve


class Discovery:
    """Of one node.

    Args:
        ignored: whether a peer's records are dropped unread, for its score.
        outside: whether there is anybody outside to ask: a DNS name or an HTTP address.
    """

    def __init__(
        self,
        table: Table,
        outbound: Outbound,
        draw: Draw,
        *,
        ignored: Callable[[NodeId], bool] = lambda node: False,
        outside: bool = False,
    ) -> None:
        self.table = table
        self.outbound = outbound
        self._draw = draw
        self._ignored = ignored
        self._outside = outside
        self._own = b""
        self._now_ms = 0  # wall time, as of the last look or question
        self._linked: dict[NodeId, bool] = {}  # whether we dialled
        self._asked_s: dict[NodeId, float] = {}  # of those linked
        self._sought: dict[NodeId, NodeId] = {}  # who was mentioned -> by whom
        self._saved: dict[NodeId, bytes] = {}  # what is on disk, of those linked and of an earlier life
        self._taken: Buckets[NodeId] = Buckets(RECORDS_RATE, RECORDS_BURST.value)
        self._questions: Buckets[NodeId] = Buckets(ASKED_RATE, ASKED_BURST.value)
        self._pause_s = SOON_S
        self._ask_at_s = 0.0
        self._outside_s = OUTSIDE_FIRST_S
        self._outside_at_s = 0.0
        self._settled_s = float("-inf")
        self._unsaved = False

    # -- what happens --

    def renew(self, raw: bytes, *, moved: bool = False) -> None:
        """Our own record, which goes to whoever asks or is asked; soon, where we can be reached elsewhere now."""
        self._own = raw
        if moved:
            self._pause_s, self._ask_at_s = SOON_S, 0.0

    def remember(self, now_ms: int, raws: Iterable[bytes]) -> None:
        """Records of an earlier life. Who had one and is silent since may be where it was."""
        for raw in raws:
            try:
                record, _ = records.decode(raw)
                self.table.take(now_ms, raw, record.node)
            except Malformed:
                continue  # of another version of this program, or of a broken disk
            self._saved[record.node] = raw
            if record.control:
                self.outbound.hint(record.node, record.control)

    def on_linked(self, now: float, node: NodeId, *, dialled: bool) -> list[Effect]:
        self._linked[node] = dialled
        self._unsaved = True
        self._asked_s.pop(node, None)
        self.table.linked(node)
        self.outbound.on_linked(node)
        self._soon(now)
        return [self._question(now, node)] if dialled else []

    def on_lost(self, now: float, node: NodeId) -> None:
        if not self._linked.pop(node, False):  # whom we dial is our own choice, and stands for itself
            self.table.unlinked(node)
        self._asked_s.pop(node, None)
        self._saved.pop(node, None)
        self.outbound.on_lost(now, node)

    def on_mentioned(self, now: float, node: NodeId, by: NodeId) -> None:
        """Somebody spoke of a node that is not known here: its record is asked for."""
        if node in self.table or node in self._sought or len(self._sought) >= MOST_SOUGHT.value:
            return
        if sum(one == by for one in self._sought.values()) >= SOUGHT_OF_ONE.value:
            return
        self._sought[node] = by
        self._asked_s.pop(by, None)
        self._soon(now)

    def on_asked(
        self, now: float, now_ms: int, node: NodeId, asked: Asked
    ) -> tuple[list[bytes], list[Effect]]:
        """`node` asks: what it gets, and what comes of what it sent along."""
        if not self._questions.of(node).take(now):
            return [], [Blame(node, RATE, "asks for records without end")]
        self._now_ms = now_ms
        effects = self._take(now, now_ms, node, asked.raws[: GIVEN.value])
        known = [self.table.row(name) for name in asked.sought]
        first = [self._own, *(row.raw for row in known if row is not None and self._lasts(row))]
        given = records.news(filter(None, first), asked.have)
        others = self._some(MAX_RECORDS.value, {node, *asked.sought}, asked.have)
        return [*given, *others][: MAX_RECORDS.value], effects

    def on_answer(self, now: float, now_ms: int, node: NodeId, raws: Sequence[bytes]) -> list[Effect]:
        """What `node` answered."""
        effects = self._take(now, now_ms, node, raws)
        for name in self._sought_of(node):
            del self._sought[name]  # it has said what it knows; who named others and left has no say any more
        return effects

    def on_outside(self, now: float, now_ms: int, source: NodeId, raws: Sequence[bytes]) -> bool:
        """Records from an HTTP port or the cable; whether all had the form and signatures of records."""
        honest = True
        for raw in raws:
            try:
                self._note(now, self.table.take(now_ms, raw, source))
            except Malformed:
                honest = False
        return honest

    def on_hint(self, now: float, node: NodeId, address: str, *, here: bool = False) -> None:
        """An address that nobody signed."""
        self.outbound.hint(node, address, here=here)

    # -- time --

    def wait_s(self, now: float) -> float:
        """Seconds until `on_timer` has something to do at the soonest."""
        return max(0.0, min(TICK_S, self._ask_at_s - now)) if self._linked else min(TICK_S, SOON_S)

    def on_timer(self, now: float, now_ms: int) -> list[Effect]:
        self._now_ms = now_ms
        if now - self._settled_s >= SETTLE_S:
            self._settled_s = now
            self.table.settle(now_ms)
        effects: list[Effect] = list(self.outbound.plan(now, self._linked))
        if self._linked and now >= self._ask_at_s:
            effects.append(self._question(now, self._whom()))
            self._ask_at_s = now + self._pause_s * self._jitter()
            self._pause_s = min(REST_S, 2 * self._pause_s)
        if self._outside and now >= self._outside_at_s:
            effects.extend(self._look_outside(now))
        if self._unsaved:
            effects.extend(self._save())
        return effects

    # -- inside --

    def _take(self, now: float, now_ms: int, node: NodeId, raws: Sequence[bytes]) -> list[Effect]:
        if self._ignored(node):
            return []
        if raws and not self._taken.of(node).take(now, len(raws)):
            return [Blame(node, RATE, "floods records")]
        effects: list[Effect] = []
        for raw in raws:
            try:
                taken = self.table.take(now_ms, raw, node)
            except Malformed as error:
                lie = "unsigned" in str(error) or "wrong-net" in str(error)
                effects.append(Blame(node, LIE if lie else FAULT, str(error)))
                break  # whoever sends one such record is not read to the end
            self._note(now, taken)
            if taken in (Taken.EXPIRED, Taken.FUTURE) and _by_far(
                now_ms, raw
            ):  # a wrong clock, or on purpose
                effects.append(Blame(node, RATE / 4, f"a record was of no use: {taken.value}"))
        return effects

    def _note(self, now: float, taken: Taken) -> None:
        self._unsaved |= taken in NEWS
        if taken is Taken.NEW:
            self._soon(now)
        elif taken in NEWS:
            self._pause_s = min(self._pause_s, REST_S / 2)

    def _soon(self, now: float) -> None:
        self._pause_s = SOON_S
        self._ask_at_s = min(self._ask_at_s, now + SOON_S * self._jitter())

    def _question(self, now: float, node: NodeId) -> Ask:
        self._asked_s[node] = now
        own = [self._own] if self._own else []
        given = self._some(GIVEN.value - len(own), {node})
        sought = self._sought_of(node)
        return Ask(
            node,
            records.encode_asked([*own, *given], (row.digest for row in self.table), sought),
        )

    def _sought_of(self, node: NodeId) -> list[NodeId]:
        """Whom a question to `node` asks for: whom it mentioned, and whom somebody did who has no link any more."""
        found = [name for name, by in self._sought.items() if by == node or by not in self._linked]
        return found[: MAX_SOUGHT.value]

    def _whom(self) -> NodeId:
        """One of the linked peers at random, first of all one that was not asked since its link is up."""
        fresh = [node for node in self._linked if node not in self._asked_s]
        some = sorted(fresh or self._linked)
        return some[self._draw.randrange(len(some))]

    def _some(self, most: int, but: Collection[NodeId], have: Collection[bytes] = frozenset()) -> list[bytes]:
        """At most so many records at random, none of these nodes and none that is had already."""
        rows = [
            row
            for row in self.table
            if row.record.node not in but and row.digest not in have and self._lasts(row)
        ]
        for at in range(min(most, len(rows))):
            other = at + self._draw.randrange(len(rows) - at)
            rows[at], rows[other] = rows[other], rows[at]
        return [row.raw for row in rows[:most]]

    def _lasts(self, row: Row) -> bool:
        """Whether it is no record that has expired by the time, or the clock, of whoever gets it."""
        return row.record.expires_ms > self._now_ms + SKEW_MS.value

    def _look_outside(self, now: float) -> list[Effect]:
        routable = [node for node, dialled in self._linked.items() if dialled or self.table.address(node)]
        if len(routable) < FEW_PEERS:
            self._outside_at_s = now + self._outside_s * self._jitter()
            self._outside_s = min(OUTSIDE_LAST_S, 2 * self._outside_s)
            return [AskOutside()]
        if now - self._outside_at_s >= OUTSIDE_AGAIN_S:
            self._outside_at_s = now
            self._outside_s = OUTSIDE_FIRST_S
            return [AskOutside()]
        return []

    def _save(self) -> list[Effect]:
        """Records of linked nodes that are not on disk yet; strangers that only dialled us would fill it."""
        self._unsaved = False
        found: list[Effect] = []
        for node, dialled in self._linked.items():
            row = self.table.row(node)
            if row is None or not row.record.control or not (dialled or row.member):
                continue
            if self._saved.get(node) != row.raw:
                self._saved[node] = row.raw
                found.append(Save(node, row.raw))
        return found

    def _jitter(self) -> float:
        return 0.5 + self._draw.randrange(1_000) / 1_000


def _by_far(now_ms: int, raw: bytes) -> bool:
    """Whether no honest clock takes this record for one that counts: whose it is chooses its times, and who hands it
    on must not pay for a second."""
    record, _ = records.decode(raw)
    return (
        record.expires_ms <= now_ms - SKEW_MS.value
        or record.issued_ms > now_ms + FUTURE_MS.value + SKEW_MS.value
    )
