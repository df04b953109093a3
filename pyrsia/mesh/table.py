"""Which nodes are known: their signed records, a bounded number, of which no source may fill more than a quarter.

A record counts when its signature is good, it is of our network, has not expired, is not from the future, and is newer
than the one that is here. Anything else changes nothing. Members of the log have places of their own: strangers cannot
take them, however many there are. Ids are free, so a source that brings strangers has a share: when the table is full,
a newcomer takes the place of a record of the source that has most. A node that we have a link with is its own source.
Strangers that dialled us and are gone are one source together, with all that they told: such links can be made by the
thousand, one after the other.

Two ids that have one transport key (an Ed25519 key and its sign-flipped twin) are one node: the first one here stays,
and a member's comes before any other.

Who may send how many records is for `mesh.discovery` to say. Pure: time, signatures and the log's members are
arguments.

Source: docs/mesh-discovery.md, "The table".
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from pyrsia.errors import Malformed
from pyrsia.units import FUTURE_MS, Limit, NodeId
from pyrsia.wire import records
from pyrsia.wire.records import Record

MAX_STRANGERS = Limit(4_096, "4 MiB of records; who needs more nodes than these for links and bytes?")
MAX_OF_SOURCE = Limit(1_024, "a quarter of the table: four sources that lie alike are needed to fill it")
MAX_MEMBERS = Limit(4_096, "members come from the log, by motion: more than a network will ever admit")

Verify = Callable[[bytes, bytes, bytes], bool]
Curve = Callable[[bytes], bytes]


class Taken(Enum):
    """What became of a record."""

    NEW = "a node that was not known"
    NEWER = "the record of a known node is newer"
    OLD = "the same record, or an older one"
    EXPIRED = "it has expired"
    FUTURE = "it is from the future"
    FULL = "its source has its share of the table, or the table is full"
    TWIN = "another id with the same transport key is here"
    OWN = "it is our own"


# The source of strangers that had a link: nobody's id.
PASSERS: Final = NodeId(b"strangers that came and went".ljust(32, b"."))
NEWS: Final = frozenset({Taken.NEW, Taken.NEWER})


@dataclass(slots=True)
class Row:
    """One known node. `source` is who told us first; the node itself once we had a link, or `PASSERS`."""

    record: Record
    raw: bytes
    curve: bytes
    source: NodeId
    member: bool
    digest: bytes


class Table:
    """What one node knows of the others.

    Args:
        me: our own id, which is never in it.
        net: chain id.
        verify: whether a signature over a message is a key's: `(public, message, signature)`.
        curve: the transport key of an id; raises Malformed for what is no key.
        member: whether the log has this node as a member now.
    """

    def __init__(
        self, me: NodeId, net: bytes, *, verify: Verify, curve: Curve, member: Callable[[NodeId], bool]
    ) -> None:
        self._me = me
        self._net = net
        self._verify = verify
        self._curve = curve
        self._member = member
        self._rows: dict[NodeId, Row] = {}
        self._by_curve: dict[bytes, NodeId] = {}
        self._strangers: dict[NodeId, set[NodeId]] = {}  # by source
        self._count_of_strangers = 0

    # -- what others read --

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, node: NodeId) -> bool:
        return node in self._rows

    def __iter__(self) -> Iterator[Row]:
        return iter(list(self._rows.values()))

    def records(self) -> list[Record]:
        """Every known node's, by node id."""
        return [self._rows[node].record for node in sorted(self._rows)]

    def record(self, node: NodeId) -> Record | None:
        row = self._rows.get(node)
        return row.record if row is not None else None

    def row(self, node: NodeId) -> Row | None:
        return self._rows.get(node)

    def address(self, node: NodeId) -> str:
        """Where its control socket can be dialled, by its own word; empty where it cannot, or is not known."""
        row = self._rows.get(node)
        return row.record.control if row is not None else ""

    def strangers_of(self, source: NodeId) -> int:
        """How many records of strangers are here by the word of `source`."""
        return len(self._strangers.get(source, ()))

    # -- what comes in --

    def take(self, now_ms: int, raw: bytes, source: NodeId) -> Taken:
        """Look at a record that `source` sent.

        Raises:
            Malformed: no honest node sends this: its form, its network or its signature.
        """
        known = self._rows.get(records.whose(raw))
        if known is not None and known.raw == raw:  # checked before
            self._heard(known, source)
            return Taken.OLD
        record, signature = records.decode(raw)
        if record.net != self._net:
            raise Malformed("record-wrong-net: of another network")
        curve = self._curve(record.node)
        if not self._verify(record.node, records.to_sign(record), signature):
            raise Malformed("record-unsigned: the signature is wrong")
        if record.node == self._me:
            return Taken.OWN
        if record.expires_ms <= now_ms:
            return Taken.EXPIRED
        if record.issued_ms > now_ms + FUTURE_MS.value:
            return Taken.FUTURE
        row = Row(record, raw, curve, source, self._member(record.node), records.digest(raw))
        if known is not None:
            return self._renew(known, row)
        return self._add(row)

    def linked(self, node: NodeId) -> None:
        """There is a link with `node`: from now on it stands for itself and not in the share of who told of it."""
        row = self._rows.get(node)
        if row is not None:
            self._heard(row, node)

    def unlinked(self, node: NodeId) -> None:
        """It had dialled us and is gone: it, and what a stranger told, share one allowance with all others like it."""
        told = set() if self._member(node) else set(self._strangers.get(node, ()))
        row = self._rows.get(node)
        if row is not None and row.source == node:
            told.add(node)
        for name in told:
            self._move(self._rows[name], PASSERS)
        self._trim(PASSERS)

    def settle(self, now_ms: int) -> list[NodeId]:
        """Forget what has expired, and see who is a member now; who was forgotten."""
        gone = [node for node, row in self._rows.items() if row.record.expires_ms <= now_ms]
        for node in gone:
            self.forget(node)
        for row in self._rows.values():
            member = self._member(row.record.node)
            if member is not row.member:
                self._count(row, -1)
                row.member = member
                self._count(row, 1)
        return gone

    def forget(self, node: NodeId) -> None:
        row = self._rows.pop(node, None)
        if row is not None:
            self._count(row, -1)
            del self._by_curve[row.curve]

    # -- inside --

    def _renew(self, known: Row, row: Row) -> Taken:
        if row.record.seq <= known.record.seq:
            return Taken.OLD
        known.record, known.raw, known.digest = row.record, row.raw, row.digest
        self._heard(known, row.source)
        return Taken.NEWER

    def _heard(self, row: Row, source: NodeId) -> None:
        """Who speaks for itself is nobody's share; that others repeat it changes nothing."""
        if source == row.record.node and row.source != source:
            self._move(row, source)

    def _move(self, row: Row, source: NodeId) -> None:
        self._count(row, -1)
        row.source = source
        self._count(row, 1)

    def _add(self, row: Row) -> Taken:
        twin = self._by_curve.get(row.curve)
        if twin is not None:
            if not row.member or self._rows[twin].member:
                return Taken.TWIN
            self.forget(twin)
        if not self._room(row):
            return Taken.FULL
        self._rows[row.record.node] = row
        self._by_curve[row.curve] = row.record.node
        self._count(row, 1)
        return Taken.NEW

    def _room(self, row: Row) -> bool:
        """Whether there is a place for a new row; makes one where that is fair."""
        strangers = self._count_of_strangers
        if row.member:
            return len(self._rows) - strangers < MAX_MEMBERS.value
        own = self.strangers_of(row.source)
        if own >= MAX_OF_SOURCE.value:
            return False
        if strangers < MAX_STRANGERS.value:
            return True
        most = max(self._strangers, key=self.strangers_of)
        if self.strangers_of(most) <= own + 1:
            return False
        self.forget(min(self._strangers[most], key=self._expires))
        return True

    def _trim(self, source: NodeId) -> None:
        """What is over the share of `source` goes, those whose records expire first."""
        over = self.strangers_of(source) - MAX_OF_SOURCE.value
        for node in sorted(self._strangers.get(source, ()), key=self._expires)[: max(0, over)]:
            self.forget(node)

    def _expires(self, node: NodeId) -> tuple[int, NodeId]:
        return self._rows[node].record.expires_ms, node

    def _count(self, row: Row, by: int) -> None:
        if row.member:
            return
        node, theirs = row.record.node, self._strangers.setdefault(row.source, set())
        if by > 0:
            theirs.add(node)
        else:
            theirs.discard(node)
        self._count_of_strangers += by
        if not theirs:
            del self._strangers[row.source]
