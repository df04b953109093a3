"""The ledger as agreement sees it: executed blocks on top of the final state.

Keeps one overlay of writes for each block that was executed and is not final yet; forgets them when
another block of their height is final. Decides whether a header tells the truth about its entries
(P4 without the clock, P5 and P6 of docs/agreement.md; the beacon's link). It never signs and never stores:
`commit` hands out what the store must write, and `final` moves the base once that is written.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from pyrsia.errors import Malformed, PyrsiaError
from pyrsia.ledger import beacon, seats, state
from pyrsia.ledger.context import Verify
from pyrsia.ledger.execute import BlockIn, Executed, UnknownRules, due, execute, lacks
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.index import Growth
from pyrsia.ledger.mempool import Mempool
from pyrsia.ledger.prefixtree import Fetch
from pyrsia.ledger.seats import Epoch
from pyrsia.ledger.state import Reads, View
from pyrsia.log.tree import Frontier
from pyrsia.units import MAX_BLOCK_BYTES, MAX_BLOCK_ENTRIES, MAX_TIME_MS, MAX_VALIDATORS
from pyrsia.wire.blocks import EPOCH_END, NORMAL, ZERO, Header, entries_root
from pyrsia.wire.epochs import Seats


class InvalidBlock(PyrsiaError):
    """A block that breaks a deterministic rule. Agreement brings its own type (`Chain(invalid=...)`)."""


class Slot(Protocol):
    """What the view fixes for a block that its leader builds."""

    @property
    def epoch(self) -> int: ...
    @property
    def view(self) -> int: ...
    @property
    def proposer(self) -> int: ...
    @property
    def time_ms(self) -> int: ...
    @property
    def reveal(self) -> bytes: ...
    @property
    def next_chain(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block that was executed, and the log after it. `epoch` is the one that it stands in."""

    hash: bytes
    height: int
    view: int
    time_ms: int
    tree_size: int
    tree_root: bytes
    beacon: bytes
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Draft:
    """The content of a block to propose, executed.

    Attributes:
        next_members: what its header says of the next epoch's validators if it ends its epoch, else empty.
    """

    height: int
    entries: tuple[bytes, ...]
    tree_size: int
    tree_root: bytes
    beacon: bytes
    next_members: bytes = b""


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The last final block as the store keeps it. `frontier` is the encoded compact range of the tree."""

    block_hash: bytes
    height: int
    view: int
    time_ms: int
    tree_size: int
    tree_root: bytes
    beacon: bytes
    frontier: bytes
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Commit:
    """What one final block adds. A block without a seal has no leaves and no writes, only a new head.

    Attributes:
        leaf_hashes: 32 bytes a leaf, joined.
        growth: rows of the verifiable index to write, and pages that only older seals need.
        entry_ids: one 32-byte id a leaf, in leaf order, for authored entries; empty bytes otherwise.
    """

    height: int
    leaves: tuple[bytes, ...]
    leaf_hashes: bytes
    first_leaf: int
    writes: dict[bytes, bytes | None]
    growth: Growth
    tree_size: int
    tree_root: bytes
    head: ChainHead
    entry_ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class _Node:
    ref: BlockRef
    parent: bytes
    frontier: Frontier
    executed: Executed


@dataclass(frozen=True, slots=True)
class _Proven:
    """The newest link that was proven from one link of the state: the next proof need not hash that way again."""

    start: tuple[bytes, int]
    link: bytes
    next: int


class Chain:
    """Agreement's `Application` over one ledger."""

    def __init__(
        self,
        genesis: Genesis,
        reads: Reads,
        *,
        verify: Verify,
        fetch: Fetch | None = None,
        head: ChainHead | None = None,
        mempool: Mempool | None = None,
        invalid: Callable[[str], Exception] = InvalidBlock,
    ) -> None:
        """Continue after `head`, or start at block 0 whose `genesis_commit` must be written first.

        Args:
            reads: the state after `head` (later after the newest block given to `final`).
            verify: (public key, message, signature) -> bool, libsodium's.
            fetch: rows of the index as of then, many at once; `reads` is asked one by one without it.
            invalid: makes the exception that `check` raises.
        """
        self.genesis = genesis
        self.mempool = mempool if mempool is not None else Mempool(genesis, verify)
        self._reads = reads
        self._fetch: Fetch = fetch if fetch is not None else lambda keys: [reads(key) for key in keys]
        self._invalid = invalid
        self._parse = self.mempool.parse
        self._nodes: dict[bytes, _Node] = {}
        self._built: tuple[bytes, BlockIn, Executed] | None = None  # the newest draft
        self._links: dict[bytes, _Proven] = {}  # by proposer; those of the present validators
        start = head if head is not None else self.genesis_commit().head
        self._base = _reference(start)
        self._frontier = Frontier.decode(start.frontier)

    # -- block 0 --

    def genesis_commit(self) -> Commit:
        """Block 0 = [genesis, seal]; its hash is the chain id."""
        block = BlockIn(0, 0, 0, self.genesis.created_ms, 0, ZERO, (), 0, ZERO)  # (of epoch 0, at view 0)
        nothing: Reads = lambda _: None  # noqa: E731
        executed = execute(block, nothing, self.genesis, self._parse, lambda keys: [None] * len(keys))
        node = self._grown(self.genesis.chain_id, block, b"", Frontier(), executed)
        return _commit(node, 0)

    # -- agreement's questions --

    def head(self) -> BlockRef:
        return self._base

    def knows(self, block_hash: bytes) -> bool:
        return block_hash == self._base.hash or block_hash in self._nodes

    def seats(self, block_hash: bytes) -> Seats:
        """Who decides on the children of this known block: the next epoch's seats behind one that ends its epoch."""
        return seats.seats(View(self._over(block_hash)))

    def has_work(self, parent: bytes) -> bool:
        """Whether a block on `parent` would change the log."""
        if not self.knows(parent):
            return False
        reads = self._over(parent)
        if due(reads, self._ref(parent).time_ms):
            return True
        return self.mempool.waiting(_root(reads), self._held(parent))

    def lacks(self, block_hash: bytes) -> str:
        """Why this software cannot judge a child of this known block, empty if it can: rules that it does not have."""
        return lacks(self._over(block_hash), self.genesis, self._ref(block_hash).height + 1)

    def build(self, parent: bytes, slot: Slot) -> Draft:
        """Fill and execute a block on `parent`; entries that no longer apply are left out.

        What may apply later is not counted as work again until the state has changed; a heartbeat tries it.
        Under rules that are not known here the draft is empty, and no valid block.
        """
        reads = self._over(parent)
        offered = self.mempool.pick(
            MAX_BLOCK_ENTRIES.value, MAX_BLOCK_BYTES.value, _root(reads), slot.time_ms, self._held(parent)
        )
        block = self._block(parent, slot, offered)
        try:
            executed = execute(block, reads, self.genesis, self._parse, self._rows_over(parent))
        except UnknownRules:
            before = self._ref(parent)
            return Draft(block.height, (), before.tree_size, before.tree_root, before.beacon)
        self.mempool.set_aside(executed.refused, _root(reads), slot.time_ms)
        # What was left out has left no trace, so the block as proposed has this very outcome.
        self._built = parent, replace(block, entries=executed.applied), replace(executed, refused=())
        frontier = _appended(self._tree(parent), executed)
        return Draft(
            block.height,
            executed.applied,
            int(frontier.size),
            frontier.root(),
            executed.beacon,
            executed.next_members,
        )

    def check(self, header: Header, entries: tuple[bytes, ...]) -> None:
        """Execute a block whose parent is known, and remember the outcome. Tails, which add nothing, are agreement's.

        Raises:
            InvalidBlock: (or what `invalid` makes) a deterministic rule is broken.
            KeyError: the parent is not known; the caller has a bug.
        """
        if header.n_entries != len(entries) or header.entries_root != entries_root(entries):
            raise self._invalid("the body is not the one that the header names")
        if header.hash() in self._nodes:
            return
        parent = self._ref(header.parent_hash)
        if header.chain_id != self.genesis.chain_id:
            raise self._invalid("it belongs to another chain")
        if header.time_ms <= parent.time_ms:
            raise self._invalid("its time does not follow its parent's")
        if header.time_ms > MAX_TIME_MS.value:
            raise self._invalid("its time, or a deadline after it, is no number of the log")
        if header.view <= (parent.view if header.epoch == parent.epoch else 0):
            raise self._invalid("its view does not follow its parent's")
        if header.height != parent.height + 1:
            raise self._invalid("its height does not follow its parent's")
        if header.kind not in (NORMAL, EPOCH_END):
            raise self._invalid("no block of this kind stands in the log")
        self._nodes[header.hash()] = self._executed(header, entries)

    def _executed(self, header: Header, entries: tuple[bytes, ...]) -> _Node:
        view = View(self._over(header.parent_hash))
        epoch = seats.current(view)
        if header.epoch != epoch.number:
            raise self._invalid("another epoch, or one that has ended below it")
        self._check_link(header, epoch, view)
        block = self._block(header.parent_hash, header, entries)
        executed = self._outcome(header.parent_hash, block)
        if executed.refused:
            raise self._invalid(f"an entry does not apply: {executed.refused[0].why}")
        if (header.kind == EPOCH_END) != bool(executed.next_members):
            raise self._invalid("a block ends its epoch exactly if it changes the validators")
        if header.next_members_hash != (executed.next_members or epoch.members_hash):
            raise self._invalid("execution gives other validators after it")
        node = self._grown(header.hash(), block, header.parent_hash, self._tree(header.parent_hash), executed)
        if (node.ref.tree_size, node.ref.tree_root) != (header.tree_size, header.tree_root):
            raise self._invalid("execution gives another tree")
        if node.ref.beacon != header.beacon:
            raise self._invalid("execution gives another beacon")
        return node

    def _outcome(self, parent: bytes, block: BlockIn) -> Executed:
        """Execute, except what this node has just built itself."""
        if self._built is not None and self._built[:2] == (parent, block):
            return self._built[2]
        try:
            return execute(block, self._over(parent), self.genesis, self._parse, self._rows_over(parent))
        except UnknownRules as error:
            raise self._invalid(str(error)) from None

    def _check_link(self, header: Header, epoch: Epoch, view: View) -> None:
        """The reveal is the link that the view fixes. What was proven once is not hashed again."""
        if header.proposer >= epoch.n:
            raise self._invalid("its proposer is no validator")
        node = epoch.validators[header.proposer].node
        mine = seats.link(view, node)
        at = beacon.position(header.view, epoch.leaders, mine.base)
        try:
            seats.check_next(view, mine, at, header.next_chain)
            start = mine.start(at)
            proven = self._links.get(node)
            if proven is None or proven.start != start:
                proven = _Proven(start, *start)
            if proven.next == at + 1:
                if header.reveal != proven.link:
                    raise Malformed("its reveal is not the link of its view")
                return
            link, following = (proven.link, proven.next) if proven.next <= at else start
            beacon.check_link(header.reveal, at, link, following)
        except Malformed as error:
            raise self._invalid(str(error)) from None
        if proven.next <= at:
            self._links[node] = _Proven(start, header.reveal, at + 1)
            if len(self._links) > MAX_VALIDATORS.value:
                del self._links[next(iter(self._links))]

    # -- delivery --

    def commit(self, block_hash: bytes) -> Commit:
        """What to write for a checked block whose parent is the head.

        Raises:
            KeyError: the block was not checked.
            ValueError: its parent is not the head.
        """
        node = self._nodes[block_hash]
        if node.parent != self._base.hash:
            raise ValueError("blocks become final in order")
        return _commit(node, self._base.tree_size)

    def final(self, block_hash: bytes) -> None:
        """The block's commit is written: it is the head, and what does not grow from it is forgotten."""
        if block_hash == self._base.hash:
            return
        node = self._nodes[block_hash]
        if node.parent != self._base.hash:
            raise ValueError("blocks become final in order")
        del self._nodes[block_hash]
        self._base, self._frontier = node.ref, node.frontier
        kept = {block_hash}
        # Insertion order: a parent was checked before its children.
        alive: dict[bytes, _Node] = {}
        for name, other in self._nodes.items():
            if other.parent in kept:
                kept.add(name)
                alive[name] = other
        self._nodes = alive
        self.mempool.remove(node.executed.ids)
        self.mempool.expire(node.ref.time_ms)

    # -- overlays --

    def reads_at(self, block_hash: bytes) -> Reads:
        """The state after a known block."""
        return self._over(block_hash)

    def _held(self, block_hash: bytes) -> frozenset[bytes]:
        """Ids of the entries in blocks from `block_hash` down that are not final yet.

        Without them every block would have another behind it, made for entries that it holds already.
        """
        ids: set[bytes] = set()
        while block_hash != self._base.hash:
            node = self._nodes[block_hash]
            ids.update(node.executed.ids)
            block_hash = node.parent
        return frozenset(ids)

    def _over(self, block_hash: bytes) -> Reads:
        layers: list[dict[bytes, bytes | None]] = []
        name = block_hash
        while name != self._base.hash:
            node = self._nodes[name]
            if node.executed.writes:
                layers.append(node.executed.writes)
            name = node.parent
        if not layers:
            return self._reads
        base = self._reads

        def read(key: bytes) -> bytes | None:
            for layer in layers:
                if key in layer:
                    return layer[key]
            return base(key)

        return read

    def _rows_over(self, block_hash: bytes) -> Fetch:
        """Rows of the index after a known block. A page's key is its own, so the first layer that has it is right."""
        layers: list[dict[bytes, bytes]] = []
        while block_hash != self._base.hash:
            node = self._nodes[block_hash]
            if node.executed.growth.rows:
                layers.append(node.executed.growth.rows)
            block_hash = node.parent
        if not layers:
            return self._fetch

        def fetch(keys: list[bytes]) -> list[bytes | None]:
            found = [next((layer[key] for layer in layers if key in layer), None) for key in keys]
            missing = [at for at, row in enumerate(found) if row is None]
            for at, row in zip(missing, self._fetch([keys[at] for at in missing]), strict=True):
                found[at] = row
            return found

        return fetch

    def _ref(self, block_hash: bytes) -> BlockRef:
        return self._base if block_hash == self._base.hash else self._nodes[block_hash].ref

    def _tree(self, block_hash: bytes) -> Frontier:
        return self._frontier if block_hash == self._base.hash else self._nodes[block_hash].frontier

    def _block(self, parent: bytes, slot: Slot, entries: tuple[bytes, ...]) -> BlockIn:
        before = self._ref(parent)
        return BlockIn(
            before.height + 1,
            slot.epoch,
            slot.view,
            slot.time_ms,
            slot.proposer,
            slot.reveal,
            entries,
            before.tree_size,
            before.beacon,
            slot.next_chain,
        )

    def _grown(
        self, name: bytes, block: BlockIn, parent: bytes, frontier: Frontier, executed: Executed
    ) -> _Node:
        grown = _appended(frontier, executed)
        ref = BlockRef(
            name,
            block.height,
            block.view,
            block.time_ms,
            int(grown.size),
            grown.root(),
            executed.beacon,
            block.epoch,
        )
        return _Node(ref, parent, grown, executed)


def _appended(frontier: Frontier, executed: Executed) -> Frontier:
    return frontier.append(executed.leaf_hashes)[0] if executed.leaf_hashes else frontier


def _commit(node: _Node, first_leaf: int) -> Commit:
    ref, executed = node.ref, node.executed
    head = ChainHead(
        ref.hash,
        ref.height,
        ref.view,
        ref.time_ms,
        ref.tree_size,
        ref.tree_root,
        ref.beacon,
        node.frontier.encode(),
        ref.epoch,
    )
    ids = executed.ids + (b"",) * (len(executed.leaves) - len(executed.ids))
    return Commit(
        ref.height,
        executed.leaves,
        executed.leaf_hashes,
        first_leaf,
        executed.writes,
        executed.growth,
        ref.tree_size,
        ref.tree_root,
        head,
        ids,
    )


def _reference(head: ChainHead) -> BlockRef:
    return BlockRef(
        head.block_hash,
        head.height,
        head.view,
        head.time_ms,
        head.tree_size,
        head.tree_root,
        head.beacon,
        head.epoch,
    )


def _root(reads: Reads) -> bytes:
    return reads(state.ROOT.encode()) or b""
