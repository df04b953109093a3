"""The replicated state machine: one block in, its leaves and its writes out.

A pure function of the block and the state before it. Decides which authored entries apply, what is
derived from them and from the passing of block time, and in which order. Consensus decides which block
it is; `chain` decides whether a header tells the truth about the outcome.

Order of a block's leaves: authored entries, derived entries (at most 256, the rest waits in the state's
queue), `block.seal` last. A block without entries, without anything due and whose header commits its proposer to
no next chain of links has no leaf and writes nothing.

Source: docs/ledger.md, "A block", "The draw", "The verdict".
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from pyrsia._native import merkle
from pyrsia.errors import Malformed, PyrsiaError
from pyrsia.ledger import (
    beacon,
    building,
    entries,
    facts,
    faults,
    index,
    motions,
    roster,
    seats,
    state,
    touches,
    withdrawing,
)
from pyrsia.ledger.context import Context, NotApplied, Parse, Verify
from pyrsia.ledger.entries import Entry
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.index import Growth, Trees
from pyrsia.ledger.prefixtree import Fetch
from pyrsia.ledger.state import Reads, View
from pyrsia.units import (
    HASH_BYTES,
    MAX_BLOCK_BYTES,
    MAX_BLOCK_ENTRIES,
    MAX_CACHED_BYTES,
    MAX_EXPIRED,
    MAX_UNTIL_MS,
)
from pyrsia.wire import canonical
from pyrsia.wire.epochs import members_hash
from pyrsia.wire.text import b32

HOUR_MS: Final = 3_600_000
_STANDS: Final = canonical.encode(1)  # what the row of an id says
_MOTIONS: Final = ("motion.approve", "motion.propose")


@dataclass(frozen=True, slots=True)
class BlockIn:
    """What execution needs of a block. `parent_beacon` and `first_leaf` speak of the log before it."""

    height: int
    epoch: int
    view: int
    time_ms: int
    proposer: int
    reveal: bytes
    entries: tuple[bytes, ...]
    first_leaf: int
    parent_beacon: bytes
    next_chain: bytes = beacon.ZERO


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry that does not apply. `later`: the state may come to allow it before its `until`."""

    raw: bytes
    code: str
    why: str
    later: bool


@dataclass(frozen=True, slots=True)
class Executed:
    """A block's outcome.

    Attributes:
        leaf_hashes: 32 bytes a leaf, joined.
        growth: what the block adds to the verifiable index.
        applied: the entries that stand, in order.
        ids: theirs, 32 bytes each.
        next_members: what headers say of the next epoch's validators if the block ends its epoch, else empty.
    """

    leaves: tuple[bytes, ...]
    leaf_hashes: bytes
    growth: Growth
    writes: dict[bytes, bytes | None]
    refused: tuple[Refused, ...]
    applied: tuple[bytes, ...]
    ids: tuple[bytes, ...]
    beacon: bytes
    sealed: bool
    next_members: bytes = b""


class UnknownRules(PyrsiaError):
    """The block stands under rules that this software does not have: it can neither judge nor execute it."""

    def __init__(self, version: int) -> None:
        super().__init__(
            f"rules version {version} is in force and not known to this node: install a newer one"
        )
        self.version = version


def lacks(reads: Reads, genesis: Genesis, height: int) -> str:
    """Why this software cannot execute the block at `height` above the state that `reads` reads; empty if it can."""
    numbers = roster.numbers(View(reads), genesis)
    version = numbers.rules_at(height)
    if version in _HANDLERS:
        return ""
    since = "is in force" if numbers.following is None else f"begins with block {numbers.following[1]}"
    return f"rules version {version} {since} and is not known to this node: install a newer one"


class Parses:
    """Entries parsed and signature-checked once, by their bytes; signatures inside bodies likewise. Bounded."""

    def __init__(self, verify: Verify, most: int) -> None:
        self._verify = verify
        self._most = most
        self._known: OrderedDict[bytes, Entry] = OrderedDict()  # (the first of a plain one is dear to find)
        self._bytes = 0
        self._held: OrderedDict[bytes, bool] = OrderedDict()

    def __call__(self, raw: bytes) -> Entry:
        """The entry, its signature checked.

        Raises:
            Malformed: no authored entry, or its signature does not hold.
        """
        found = self._known.get(raw)
        if found is None:
            found = entries.parse(raw)
            if not found.signature_holds(self._verify):
                raise Malformed("not signed by its author")
            self.know(found)
        return found

    def holds(self, key: bytes, text: bytes, signature: bytes) -> bool:
        """Whether `signature` of `text` is `key`'s. Asked at the door, by the leader and by every voter."""
        name = blake3(key + signature + text).digest()  # (keys and signatures have one length, by their form)
        held = self._held.get(name)
        if held is None:
            held = self._verify(key, text, signature)
            self._held[name] = held
            if len(self._held) > self._most:
                self._held.popitem(last=False)
        return held

    def known(self, raw: bytes) -> Entry | None:
        """The entry with exactly these bytes, if its signature was checked, or made here, lately."""
        return self._known.get(raw)

    def know(self, entry: Entry) -> None:
        """Remember an entry whose signature the caller has checked, or has made itself."""
        if entry.raw in self._known:
            return
        self._known[entry.raw] = entry
        self._bytes += len(entry.raw)
        while len(self._known) > self._most or self._bytes > MAX_CACHED_BYTES.value:
            oldest, _ = self._known.popitem(last=False)
            self._bytes -= len(oldest)


def execute(block: BlockIn, reads: Reads, genesis: Genesis, parse: Parse, fetch: Fetch) -> Executed:
    """Execute `block` on the state behind `reads`, and the index behind `fetch`.

    Entries that do not apply are left out and listed in `refused`; whether that spoils the block is the
    caller's decision. `parse` gives checked entries (`Parses`).
    """
    run = _Run(block, reads, genesis, parse.holds)
    if block.height == 0:
        return run.found(fetch)
    size = 0
    for raw in block.entries:
        try:
            size += len(raw)
            if size > MAX_BLOCK_BYTES.value or len(run.applied) >= MAX_BLOCK_ENTRIES.value:
                raise NotApplied("the block is full", later=True)
            run.apply(parse(raw))
        except Malformed as error:
            run.refused.append(Refused(raw, "entry-refused", str(error), False))
        except NotApplied as no:
            run.refused.append(Refused(raw, no.code, no.why, no.later))
    if not run.applied and not run.commits() and not due(reads, block.time_ms):
        return Executed((), b"", index.NOTHING, {}, tuple(run.refused), (), (), block.parent_beacon, False)
    return run.seal(fetch)


def due(reads: Reads, time_ms: int) -> bool:
    """Whether the state wants a sealed block at `time_ms`: a draw, a deadline or queued derived work."""
    view = View(reads)
    buckets = view.get(state.DUE, [])
    queue = view.get(state.QUEUE, {"end": 0, "first": 0})
    return (
        bool(view.get(state.WAITING, []))
        or queue["first"] < queue["end"]
        or bool(buckets and buckets[0] * state.DUE_MS <= time_ms)
    )


def admit(entry: Entry, reads: Reads, genesis: Genesis, time_ms: int, holds: Verify) -> None:
    """Whether `entry` could stand in the next block on this state, its author's signature aside.

    Raises:
        NotApplied: it could not; `later` says whether that may change.
    """
    height = View(reads).get(state.CHAIN, {"height": 0})["height"] + 1
    block = BlockIn(height, 0, 0, time_ms, 0, beacon.ZERO, (), 0, beacon.ZERO)
    try:
        _Run(block, reads, genesis, holds).apply(entry)
    except UnknownRules as error:
        raise NotApplied(str(error)) from None
    if entry.kind in _MOTIONS:
        motions.check_known(reads, entry)


class _Run:
    """One block being executed. Handlers check everything before they write anything."""

    def __init__(self, block: BlockIn, reads: Reads, genesis: Genesis, holds: Verify) -> None:
        self._block = block
        self._genesis = genesis
        self._view = View(reads)
        self._now = block.time_ms
        self._ctx = Context(
            genesis,
            self._view,
            roster.numbers(self._view, genesis),
            holds,
            block.time_ms,
            block.height,
            block.first_leaf,
        )
        version = self._ctx.numbers.rules_at(block.height)
        if version not in _HANDLERS:
            raise UnknownRules(version)
        self._handlers = _HANDLERS[version]
        self.applied = self._ctx.applied
        self.refused: list[Refused] = []
        self._ids: list[bytes] = []
        self._entries: list[Entry] = []  # the applied ones, parsed
        self._quotas: dict[bytes, dict[str, int]] = {}
        self._fresh: dict[int, list[str]] = {}  # bucket -> ids of this block
        self._seen: set[bytes] = set()

    # -- block 0 --

    def found(self, fetch: Fetch) -> Executed:
        """Members, their chains and the network's numbers enter the state."""
        genesis = self._genesis
        roster.found(self._view, genesis)
        seats.found(self._view, genesis)
        return self._sealed([genesis.raw], self._block.parent_beacon, fetch)

    # -- authored entries --

    def apply(self, entry: Entry) -> None:
        block, view = self._block, self._view
        if self._ctx.successors:
            raise NotApplied("the entry before it ends the epoch, and with it the block", later=True)
        if entry.author is None or entry.net != self._genesis.net:
            raise NotApplied("not an authored entry of this network")
        if not block.time_ms <= entry.until_ms <= block.time_ms + MAX_UNTIL_MS.value:
            late = entry.until_ms < block.time_ms
            raise NotApplied(
                "its time is over" if late else "its `until` is more than 24 hours ahead", later=not late
            )
        member = roster.member(view, entry.author)
        if member is None:
            raise NotApplied("its author is not a member")
        name = entry.id.hex()
        if entry.id in self._seen or view.raw(f"id/{name}") is not None:
            raise NotApplied("it stands in the log already")
        quota = self._quota(entry.author)
        most = self._ctx.numbers.quota(member)
        if quota["used"] >= most:
            raise NotApplied(f"its author has used its {most} entries of this hour", later=True, code="busy")
        leaf = block.first_leaf + len(self.applied)
        self._handlers[entry.kind](self._ctx, entry, b32(entry.author), leaf)
        quota["used"] += 1
        self._quotas[entry.author] = quota  # only now: what is left out must leave no trace in the writes
        self._seen.add(entry.id)
        self._fresh.setdefault(entry.until_ms // state.BUCKET_MS, []).append(name)
        self._ids.append(entry.id)
        self._entries.append(entry)
        self.applied.append(entry.raw)

    def _quota(self, author: bytes) -> dict[str, int]:
        quota = self._quotas.get(author)
        if quota is None:
            hour = self._now // HOUR_MS
            quota = self._view.get(f"quota/{b32(author)}")
            if quota is None or quota["hour"] != hour:
                quota = {"hour": hour, "used": 0}
        return quota

    # -- the seal --

    def commits(self) -> bool:
        """Whether the header names its proposer's next chain of links and that counts.

        Such a block is sealed for that alone: a network at rest seals nothing else, and without it all its chains
        would end at about the same view, after which nobody leads.
        """
        block = self._block
        if block.next_chain == beacon.ZERO:
            return False
        mine = seats.link(self._view, self._proposer)
        return mine.commits(self._position(mine), block.next_chain)

    @property
    def _proposer(self) -> bytes:
        return self._ctx.epoch.validators[self._block.proposer].node

    def _position(self, mine: seats.Link) -> int:
        return beacon.position(self._block.view, self._ctx.epoch.leaders, mine.base)

    def seal(self, fetch: Fetch) -> Executed:
        block, ctx = self._block, self._ctx
        proposer = self._proposer
        building.collect(ctx, b32(proposer), block.reveal)
        building.deadlines(ctx)
        building.work(ctx)
        facts.keep(ctx)
        self._remember()
        at = self._position(seats.link(self._view, proposer))
        seats.reveal(self._view, proposer, at, block.reveal, block.next_chain)
        leaves = [*self.applied, *ctx.derived]
        if ctx.successors:
            size = block.first_leaf + len(leaves) + 1
            seats.begin(self._view, ctx.successors, ended_at=block.view, height=block.height, size=size)
        return self._sealed(leaves, beacon.mix(block.parent_beacon, block.reveal), fetch)

    def _remember(self) -> None:
        """Quotas, and the ids of this block until their time is over; a bounded number is forgotten."""
        view = self._view
        for author, quota in self._quotas.items():
            view.put(f"quota/{b32(author)}", quota)
        for bucket in sorted(self._fresh):
            ids = self._fresh[bucket]
            for name in ids:
                view.put_encoded(f"id/{name}", _STANDS)
            count = view.get(f"ids/{bucket}", 0)
            view.put(f"ids/{bucket}/{count}", ids)
            view.put(f"ids/{bucket}", count + 1)
        self._forget()

    def _forget(self) -> None:
        view = self._view
        current = self._now // state.BUCKET_MS
        before = view.get(state.IDS, current)
        bucket, budget = before, MAX_EXPIRED.value
        # An id lies at most a day ahead of its block, so after a long pause old buckets end by themselves;
        # an empty one costs a read, a day of them 144.
        while bucket < current and budget > 0:
            count = view.get(f"ids/{bucket}", 0)
            while count and budget > 0:
                count -= 1
                for name in view.get(f"ids/{bucket}/{count}", []):
                    view.delete(f"id/{name}")
                    budget -= 1
                view.delete(f"ids/{bucket}/{count}")
                view.put(f"ids/{bucket}", count)
            if count == 0:
                if view.raw(f"ids/{bucket}") is not None:
                    view.delete(f"ids/{bucket}")
                bucket += 1
                budget -= 1
        if bucket != before or view.raw(state.IDS) is None:
            view.put(state.IDS, bucket)

    def _sealed(self, leaves: list[bytes], now: bytes, fetch: Fetch) -> Executed:
        """The block's leaves with the seal over everything before it; the newest chain facts are written first."""
        block, view = self._block, self._view
        view.put(state.CHAIN, {"beacon": now.hex(), "height": block.height, "time_ms": block.time_ms})
        hashes = merkle.leaf_hashes(leaves)
        before = Trees.of(view.get(state.ROOT))
        growth = index.grow(before, fetch, block.height, self._touched(hashes), view.writes)
        view.put(state.ROOT, growth.trees.value())
        seal = self._seal_leaf(growth.trees, now)
        return Executed(
            (*leaves, seal),
            hashes + merkle.leaf_hashes((seal,)),
            growth,
            view.writes,
            tuple(self.refused),
            tuple(self.applied),
            tuple(self._ids),
            now,
            True,
            members_hash(self._ctx.successors) if self._ctx.successors else b"",
        )

    def _seal_leaf(self, trees: Trees, now: bytes) -> bytes:
        block = self._block
        body = {
            "beacon": now.hex(),
            "epoch": block.epoch,
            "first_leaf": block.first_leaf,
            "height": block.height,
            "index_root": trees.packages.root.hex(),
            "proposer": block.proposer,
            "reveal": block.reveal.hex(),
            "state_root": trees.state.root.hex(),
            "time_ms": block.time_ms,
            "view": block.view,
        }
        if block.next_chain != beacon.ZERO:
            body["next_chain"] = block.next_chain.hex()
        if self._ctx.successors:  # in the log itself, so that whoever holds a later head knows who came next
            body["next_members"] = members_hash(self._ctx.successors).hex()
        return entries.derive("block.seal", body, net=self._genesis.net)

    def _touched(self, hashes: bytes) -> dict[bytes, list[tuple[int, bytes]]]:
        """The histories that the block's leaves belong to. Genesis, which stands alone in block 0, touches none."""
        touched: dict[bytes, list[tuple[int, bytes]]] = {}
        derived = map(entries.parse, self._ctx.derived)
        for at, entry in enumerate((*self._entries, *derived)):
            leaf_hash = hashes[at * HASH_BYTES : (at + 1) * HASH_BYTES]
            for key in touches.touched(entry, self._view):
                touched.setdefault(key, []).append((self._block.first_leaf + at, leaf_hash))
        return touched


Handler = Callable[[Context, Entry, str, int], None]  # entry, author, leaf index

# rules version -> type -> what it needs and does. Every version ever active stays.
_HANDLERS: Final[dict[int, dict[str, Handler]]] = {
    1: {
        "artifact.withdraw": withdrawing.withdraw,
        "build.cancel": building.cancel,
        "build.commit": building.commit,
        "build.request": building.request,
        "build.reveal": building.reveal,
        "fact.add": facts.add,
        "fault.evidence": faults.evidence,
        "motion.approve": motions.approve,
        "motion.propose": motions.propose,
    },
}
