"""Entries that wait for a block: who may hold how many, whose turn it is, and how long until there is room.

Pure: time and state come in as arguments. Decides admission and order only; whether an entry applies is
decided again by whoever executes the block. How entries come to the other validators is `sharing`'s.

Source: docs/submission.md, "At the door".
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger import entries, roster, state
from pyrsia.ledger.context import NotApplied, Verify
from pyrsia.ledger.entries import Entry
from pyrsia.ledger.execute import HOUR_MS, Parses, Refused, admit
from pyrsia.ledger.genesis import Genesis, Member
from pyrsia.ledger.state import Reads, View
from pyrsia.units import (
    CACHED_ENTRIES,
    MAX_UNTIL_MS,
    MEMPOOL_AUTHOR_BYTES,
    MEMPOOL_AUTHOR_ENTRIES,
    MEMPOOL_BYTES,
    MEMPOOL_ENTRIES,
    MEMPOOL_ISSUER_ENTRIES,
    RECENT_IDS,
    Limit,
)
from pyrsia.wire.text import b32

ACCEPTED: Final = "accepted"
DUPLICATE: Final = "duplicate"
RETRY_MS: Final = 1_000  # on an idle network the state stands still, and each heartbeat tries again
SWEEP_MS: Final = 1_000  # between two looks for entries whose time is over; no block would take one meanwhile

CLOCK_AHEAD_MS = Limit(
    60_000, "that much longer than the newest block's time is believed: heartbeats come every few seconds"
)
RETRY_AFTER_S = Limit(60, "a queue of a minute; whoever waits longer would rather ask and be told anew")
QUOTA_AFTER_S = Limit(3_600, "an hour's quota is new at the next full hour of block time")
_STILL_S: Final = 5  # told while nothing has left the queue yet: one heartbeat
_SMOOTHED: Final = 0.3  # weight of the newest second in the rate at which the queue empties


class Unsound(Refusal):
    """Bytes that no honest validator passes on: no entry that somebody may author, or not signed by its author."""

    def __init__(self, what: str) -> None:
        super().__init__(
            "entry-refused", what=what, who="the entry's author", do="correct it and sign it anew"
        )


@dataclass(slots=True)
class _Pending:
    entry: Entry
    tried_at: bytes = b""  # state_root on which it did not apply
    tried_ms: int = 0  # block time of that; time alone may allow it (an hour's quota, a clock ahead)
    hopeless: bool = False  # it never will, unless the block that forbade it is abandoned

    def ripe(self, root: bytes, time_ms: int) -> bool:
        return not root or self.tried_at != root or time_ms >= self.tried_ms + RETRY_MS


@dataclass(slots=True)
class _Author:
    """One author's pending entries, in order of arrival. `told` were turned away and told to come back."""

    queue: dict[bytes, _Pending] = field(default_factory=dict)
    size: int = 0
    told: int = 0


class _Checked(Parses):
    """Gives pending entries as they were checked at the door, however long ago: a block verifies none again."""

    def __init__(self, verify: Verify, pool: "Mempool") -> None:
        super().__init__(verify, CACHED_ENTRIES.value)
        self._pool = pool

    def __call__(self, raw: bytes) -> Entry:
        return self._pool.pending(raw) or super().__call__(raw)


class Mempool:
    """Pending entries by author, in order of arrival."""

    def __init__(self, genesis: Genesis, verify: Verify) -> None:
        self._genesis = genesis
        self._verify = verify
        self.parse: Parses = _Checked(verify, self)  # shared with the chain: one check an entry
        self._by_id: dict[bytes, _Pending] = {}
        self._by_author: dict[bytes, _Author] = {}
        self._id_of: dict[bytes, bytes] = {}  # raw -> id
        self._bytes = 0
        self._recent: OrderedDict[bytes, None] = OrderedDict()
        self._drain = _Drain()
        self._told = 0  # turned away because the whole table was full
        self._swept_ms = 0

    def __len__(self) -> int:
        return len(self._by_id)

    # -- the door --

    def add(self, raw: bytes, now_ms: int, reads: Reads) -> str:
        """`read` and `take` in one."""
        return self.take(self.read(raw), now_ms, reads)

    def read(self, raw: bytes) -> Entry:
        """The entry that these bytes are; unless it is known here, its signature is not checked yet.

        Raises:
            Unsound: they are none.
        """
        known = self.pending(raw) or self.parse.known(raw)
        if known is not None:
            return known
        try:
            entry = entries.parse(raw)
        except Malformed as error:
            raise Unsound(f"the entry breaks its format: {error}") from None
        if entry.author is None:
            raise Unsound(f"a {entry.kind} has no author: nodes compute it themselves")
        return entry

    def take(self, entry: Entry, now_ms: int, reads: Reads) -> str:
        """Take an entry in: `ACCEPTED`, or `DUPLICATE` if it waits or stands in the log already.

        Args:
            now_ms: this node's clock. The newest block's time corrects one that is far off.
            reads: the final state.

        Raises:
            Unsound: its signature does not hold.
            Refusal: `entry-refused` (or a more telling code) for good; `busy` for now, with `retry_s`.
        """
        if self.knows(entry.id, reads):
            return DUPLICATE
        author = entry.author
        if author is None:
            raise ValueError("only `read` gives entries to take")
        view = View(reads)
        member = roster.member(view, author)
        if member is None or entry.net != self._genesis.net:
            raise _no("entry-refused", "the entry's author is no member of this network")
        now_ms, wall_ms = self.clock(now_ms, view), now_ms
        _within_a_day(entry, max(now_ms, wall_ms))
        self._within_quota(view, author, member, now_ms)
        self._within_author(author, member, len(entry.raw))
        crowded = self._crowding(author, len(entry.raw))
        # The dearest question last: a flood of what has no room costs no check of a signature.
        if self.parse.known(entry.raw) is None and not entry.signature_holds(self._verify):
            raise Unsound("the entry is not signed by its author")
        try:
            admit(entry, reads, self._genesis, now_ms, self.parse.holds)
        except NotApplied as no:
            # What a later state may allow waits here, except what a person had better hear now.
            if not no.later or no.code != "entry-refused":
                raise self._later(no) from None
        for name in crowded:
            self._drop(name)
        self._put(entry, author)
        return ACCEPTED

    def clock(self, wall_ms: int, view: View) -> int:
        """The time that a block would have now: this node's clock, unless the newest block says that it is wrong."""
        block_ms = self._drain.block_ms or int(view.get(state.CHAIN, {"time_ms": 0})["time_ms"])
        if not block_ms:
            return wall_ms
        return min(max(wall_ms, block_ms), block_ms + CLOCK_AHEAD_MS.value)

    # -- asked --

    def knows(self, entry_id: bytes, reads: Reads) -> bool:
        """Whether it waits here, or stands in the log and its `until` is not over."""
        return (
            entry_id in self._by_id
            or entry_id in self._recent
            or reads(b"id/" + entry_id.hex().encode()) is not None
        )

    def pending(self, raw: bytes) -> Entry | None:
        """The waiting entry with exactly these bytes; its signature was checked."""
        name = self._id_of.get(raw)
        return None if name is None else self._by_id[name].entry

    def ids(self) -> tuple[bytes, ...]:
        return tuple(self._by_id)

    def get(self, entry_id: bytes) -> bytes | None:
        pending = self._by_id.get(entry_id)
        return pending.entry.raw if pending is not None else None

    def waiting(self, root: bytes = b"", held: Collection[bytes] = ()) -> bool:
        """Whether something has not been tried on the state with this root.

        What did not apply for good is no work, or it would cost an empty block after every other one until its time
        is over; blocks that are made anyway try it again.

        `held`: ids of entries that stand in blocks below already, which are not final yet.
        """
        return any(
            (not root or (pending.tried_at != root and not pending.hopeless)) and name not in held
            for name, pending in self._by_id.items()
        )

    def pick(
        self,
        most: int,
        most_bytes: int,
        root: bytes = b"",
        time_ms: int = 0,
        held: Collection[bytes] = (),
    ) -> tuple[bytes, ...]:
        """Entries for one block: one of each author in turn, each author's in order of arrival.

        What did not apply on the state with this `root` is offered again a second later; what is `held` is not.
        """

        def ripe(author: _Author) -> Iterator[bytes]:
            for name, item in author.queue.items():
                if name not in held and item.ripe(root, time_ms):
                    yield item.entry.raw

        turns = [ripe(author) for author in self._by_author.values()]
        chosen: list[bytes] = []
        while turns:
            left = []
            for turn in turns:
                raw = next(turn, None)
                if raw is None:
                    continue
                if len(chosen) == most or len(raw) > most_bytes:
                    return tuple(chosen)
                chosen.append(raw)
                most_bytes -= len(raw)
                left.append(turn)
            turns = left
        return tuple(chosen)

    # -- told --

    def set_aside(self, refused: Iterable[Refused], root: bytes, time_ms: int = 0) -> None:
        """Remember where these did not apply; what never will is dropped when its time is over."""
        for item in refused:
            name = self._id_of.get(item.raw)
            if name is not None:
                pending = self._by_id[name]
                pending.tried_at, pending.tried_ms, pending.hopeless = root, time_ms, not item.later

    def remove(self, ids: Iterable[bytes]) -> None:
        """These are final. Whoever was served waits behind those who were not."""
        for name in ids:
            pending = self._by_id.get(name)
            if pending is not None:
                self._drain.left += 1
                self._drain.left_bytes += len(pending.entry.raw)
                self._told = max(0, self._told - 1)
            self._drop(name)
            author = pending.entry.author if pending is not None else None
            if author is not None and author in self._by_author:
                self._by_author[author] = self._by_author.pop(author)
            self._recent[name] = None
            if len(self._recent) > RECENT_IDS.value:
                self._recent.popitem(last=False)

    def expire(self, now_ms: int) -> None:
        """A block with this time is final: forget what no later one may hold."""
        self._drain.at(now_ms)
        if now_ms < self._swept_ms + SWEEP_MS and self._swept_ms:
            return
        self._swept_ms = now_ms
        for name in [name for name, item in self._by_id.items() if item.entry.until_ms < now_ms]:
            self._drop(name)

    # -- room --

    def _within_quota(self, view: View, author: bytes, member: Member, now_ms: int) -> None:
        """What waits counts too: the leader would leave it out, and it would keep its place until its time is over."""
        most = roster.numbers(view, self._genesis).quota(member)
        spent = view.get(f"quota/{b32(author)}")
        used = spent["used"] if spent is not None and spent["hour"] == now_ms // HOUR_MS else 0
        known = self._by_author.get(author)
        if used + (len(known.queue) if known is not None else 0) < most:
            return
        left_s = -(-(HOUR_MS - now_ms % HOUR_MS) // 1000)
        raise _busy(
            f"its author has used its {most} entries of this hour",
            "the entry's author",
            min(left_s, QUOTA_AFTER_S.value),
        )

    def _within_author(self, author: bytes, member: Member, size: int) -> None:
        known = self._by_author.get(author)
        if known is None:
            return
        issues = roster.ISSUER in member.roles
        most = MEMPOOL_ISSUER_ENTRIES.value if issues else MEMPOOL_AUTHOR_ENTRIES.value
        over = len(known.queue) + 1 - most
        over_bytes = known.size + size - MEMPOOL_AUTHOR_BYTES.value
        if over <= 0 and over_bytes <= 0:
            return
        known.told = min(known.told + 1, most)
        # A block takes one of each author in turn, so one of its own leaves as often as a whole round does.
        share = len(self._by_author)
        raise _busy(
            "the author has as many pending entries as one author may",
            "the entry's author",
            self._drain.seconds_for(known.told * share, max(0, over_bytes) * share),
        )

    def _crowding(self, author: bytes, size: int) -> list[bytes]:
        """Who goes if this entry comes: the newest of the heaviest author, never of one no heavier than its own.

        Raises:
            Refusal: `busy`; the author is the heaviest itself.
        """
        over = len(self._by_id) + 1 - MEMPOOL_ENTRIES.value
        over_bytes = self._bytes + size - MEMPOOL_BYTES.value
        if over <= 0 and over_bytes <= 0:
            return []
        heaviest = max(self._by_author.values(), key=lambda one: (one.size, len(one.queue)))
        own = self._by_author.get(author)
        gone: list[bytes] = []
        freed = 0
        for name, item in reversed(heaviest.queue.items()):
            if len(gone) >= over and freed >= over_bytes:
                break
            gone.append(name)
            freed += len(item.entry.raw)
        mine = (own.size if own is not None else 0) + size
        if own is heaviest or heaviest.size - freed < mine or len(gone) < over or freed < over_bytes:
            self._told = min(self._told + 1, MEMPOOL_ENTRIES.value)
            raise _busy(
                "this validator holds as many pending entries as it may",
                "the network's load",
                self._drain.seconds_for(self._told, max(0, over_bytes)),
            )
        return gone

    def _later(self, no: NotApplied) -> Refusal:
        if no.code == "busy":
            return _busy(no.why, "the entry's author", self._drain.seconds_for(1, 0))
        return _no(no.code, no.why)

    # -- the table --

    def _put(self, entry: Entry, author: bytes) -> None:
        pending = _Pending(entry)
        owner = self._by_author.setdefault(author, _Author())
        owner.queue[entry.id] = pending
        owner.size += len(entry.raw)
        self._by_id[entry.id] = pending
        self._id_of[entry.raw] = entry.id
        self._bytes += len(entry.raw)

    def _drop(self, name: bytes) -> None:
        pending = self._by_id.pop(name, None)
        if pending is None or pending.entry.author is None:
            return
        size = len(pending.entry.raw)
        del self._id_of[pending.entry.raw]
        self._bytes -= size
        owner = self._by_author[pending.entry.author]
        del owner.queue[name]
        owner.size -= size
        owner.told = max(0, owner.told - 1)
        if not owner.queue:
            del self._by_author[pending.entry.author]


@dataclass(slots=True)
class _Drain:
    """How fast the queue empties, by block time: what pushback is computed from.

    Attributes:
        block_ms: time of the newest final block; 0 before the first.
        left, left_bytes: what became final since the last full second.
    """

    block_ms: int = 0
    left: int = 0
    left_bytes: int = 0
    _since_ms: int = 0
    _per_s: float = 0.0
    _bytes_per_s: float = 0.0

    def at(self, block_ms: int) -> None:
        """A block of this time is final; what it took is counted already."""
        self.block_ms = block_ms
        if not self._since_ms:
            self._since_ms = block_ms
        took_s = (block_ms - self._since_ms) / 1000
        if took_s < 1:
            return
        # A long silence of an idle network says nothing about how fast a full queue would empty.
        if self.left:
            weight = _SMOOTHED if self._per_s else 1.0
            self._per_s += weight * (self.left / took_s - self._per_s)
            self._bytes_per_s += weight * (self.left_bytes / took_s - self._bytes_per_s)
        self._since_ms, self.left, self.left_bytes = block_ms, 0, 0

    def seconds_for(self, count: int, size: int) -> int:
        """Until `count` entries and `size` bytes have left, 1 to `RETRY_AFTER_S`."""
        if not self._per_s:
            return _STILL_S
        wait_s = max(count / self._per_s, size / self._bytes_per_s)
        return max(1, min(RETRY_AFTER_S.value, int(wait_s) + 1))


def _within_a_day(entry: Entry, now_ms: int) -> None:
    """Refuse what no block takes for longer than clocks differ: it would wait here, and its author without a word.

    Not for good: a builder tries again once its clock is right.

    Args:
        now_ms: by whichever clock is ahead; after a day without blocks theirs is a day behind.
    """
    if entry.until_ms > now_ms + MAX_UNTIL_MS.value + CLOCK_AHEAD_MS.value:
        raise Refusal(
            "not-yet",
            what="its `until` is more than 24 hours ahead",
            who="the entry's author",
            do="look at the clock of the machine that signed it, and sign it anew",
        )


def _no(code: str, what: str) -> Refusal:
    do = "wait and send it again" if code in ("busy", "conflict") else "correct it and sign it anew"
    return Refusal(code, what=what, who="the entry's author", do=do)


def _busy(what: str, who: str, retry_s: int) -> Refusal:
    return Refusal("busy", what=what, who=who, do=f"send it again in {retry_s} s", retry_s=retry_s)
