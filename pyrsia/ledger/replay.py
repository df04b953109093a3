"""A log executed again from its leaves alone: what an auditor does who believes nobody.

Takes the leaves up to each seal, checks that the seal may follow the one before it and reveals the link of its
view, executes the entries that somebody signed, and compares every leaf. What certificates say about a block is
agreement's; that the leaves lie under a checkpoint is the tree's.

Source: docs/ledger.md, "Replaying".
"""

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, Final

from pyrsia.errors import Malformed, PyrsiaError
from pyrsia.ledger import beacon, entries, glance, index, seats
from pyrsia.ledger.context import Parse
from pyrsia.ledger.execute import BlockIn, Executed, UnknownRules, execute
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.index import Growth
from pyrsia.ledger.seats import Epoch
from pyrsia.ledger.state import View
from pyrsia.units import MAX_BLOCK_ENTRIES, MAX_DERIVED, MAX_TIME_MS

_SEAL: Final = "block.seal"
_MOST: Final = MAX_BLOCK_ENTRIES.value + MAX_DERIVED.value + 1  # leaves of one block


class NotReplayed(PyrsiaError):
    """A log that its own rules do not lead to.

    Attributes:
        leaf: index of the first leaf that is not what it must be.
    """

    def __init__(self, leaf: int, why: str) -> None:
        super().__init__(f"leaf {leaf}: {why}")
        self.leaf = leaf
        self.why = why


class Kept:
    """State and index of a replay, in memory; only the newest version of each page, and no history's rows."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def fetch(self, keys: list[bytes]) -> list[bytes | None]:
        return [self.rows.get(key) for key in keys]

    def keep(self, writes: dict[bytes, bytes | None], growth: Growth) -> None:
        """Apply one block."""
        self.rows.update((key, row) for key, row in growth.rows.items() if not index.is_row(key))
        for key in growth.dropped:
            self.rows.pop(key, None)
        for key, value in writes.items():
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value


class Replay:
    """Feed it leaves in order; it raises at the first one that does not follow.

    Attributes:
        size: leaves that were fed and executed: it ends behind a seal.
        height, time_ms: of the newest seal.
        epoch: the one that the next block stands in; None before block 0.
        kept: the state after it.
    """

    def __init__(self, genesis: Genesis, parse: Parse, *, kept: Kept | None = None) -> None:
        """
        Args:
            parse: gives an entry whose signature is checked (`Parses`); one that does not check leaves
                signatures to the caller.
        """
        self.genesis = genesis
        self.kept = Kept() if kept is None else kept
        self.size = 0
        self.height = -1
        self.time_ms = -1
        self.epoch: Epoch | None = None
        self._rotation: tuple[int, ...] = ()
        self._view = 0
        self._beacon = beacon.ZERO
        self._parse = parse
        self._pending: list[bytes] = []

    @property
    def pending(self) -> int:
        """Leaves that wait for their seal; a whole log leaves none."""
        return len(self._pending)

    def feed(self, leaves: Iterable[bytes]) -> int:
        """Execute what these leaves complete; how many blocks that were.

        Raises:
            NotReplayed: the first leaf that is not what the log before it leads to. The replay is over then.
        """
        blocks = 0
        for leaf in leaves:
            self._pending.append(leaf)
            if glance.is_seal(leaf):  # by its last bytes, not by a parse of every leaf
                self._block(tuple(self._pending))
                self._pending = []
                blocks += 1
            elif len(self._pending) > _MOST:
                raise NotReplayed(self.size, f"no seal within {_MOST} leaves")
        return blocks

    def _block(self, leaves: tuple[bytes, ...]) -> None:
        last = self.size + len(leaves) - 1
        try:
            seal = entries.parse(leaves[-1])
        except Malformed as error:
            raise NotReplayed(last, str(error)) from None
        if seal.kind != _SEAL:
            raise NotReplayed(last, "it ends like a seal and is none")
        block = self._read(seal.body, leaves, last)
        try:
            executed = execute(block, self.kept.get, self.genesis, self._parse, self.kept.fetch)
        except UnknownRules as error:
            raise NotReplayed(self.size, str(error)) from None
        self._compare(leaves, executed)
        self.kept.keep(executed.writes, executed.growth)
        self.size += len(leaves)
        self.height, self.time_ms, self._view = block.height, block.time_ms, block.view
        self._beacon = executed.beacon
        if executed.next_members or self.epoch is None:
            self._begin()

    def _begin(self) -> None:
        """An epoch begins: its views count from 1."""
        self.epoch = seats.current(View(self.kept.get))
        self._rotation = self.epoch.rotation(self.genesis.chain_id)
        self._view = 0

    def _read(self, body: dict[str, Any], leaves: Sequence[bytes], last: int) -> BlockIn:
        """The block that a seal speaks of, checked as far as the log can tell."""
        height, view, time_ms, proposer = (body[name] for name in ("height", "view", "time_ms", "proposer"))
        if self.size == 0:
            wanted = (0, 0, self.genesis.created_ms, 0)
            if (
                (height, view, time_ms, proposer) != wanted
                or leaves[0] != self.genesis.raw
                or len(leaves) != 2
            ):
                raise NotReplayed(0, "block 0 is not the genesis and its seal")
            return BlockIn(0, 0, 0, time_ms, 0, beacon.ZERO, (), 0, beacon.ZERO)
        if not (height > self.height and view > self._view and self.time_ms < time_ms <= MAX_TIME_MS.value):
            raise NotReplayed(last, "height, view or time do not follow those of the seal before it")
        epoch = self.epoch
        assert epoch is not None  # noqa: S101  (block 0 began the first)
        if body["epoch"] != epoch.number or proposer != self._rotation[view % len(self._rotation)]:
            raise NotReplayed(last, "its epoch or proposer is not the one of its view")
        reveal, next_chain = bytes.fromhex(body["reveal"]), bytes.fromhex(body.get("next_chain", "00" * 32))
        self._check_link(epoch.validators[proposer].node, view, reveal, next_chain, last)
        authored = tuple(leaf for leaf in leaves if leaf.startswith(b'{"author":'))
        return BlockIn(
            height,
            epoch.number,
            view,
            time_ms,
            proposer,
            reveal,
            authored,
            self.size,
            self._beacon,
            next_chain,
        )

    def _check_link(self, node: bytes, view: int, reveal: bytes, next_chain: bytes, last: int) -> None:
        now = View(self.kept.get)
        link = seats.link(now, node)
        at = beacon.position(view, len(self._rotation), link.base)
        try:
            beacon.check_link(reveal, at, *link.start(at))
            seats.check_next(now, link, at, next_chain)
        except Malformed as error:
            raise NotReplayed(last, str(error)) from None

    def _compare(self, leaves: Sequence[bytes], executed: Executed) -> None:
        for item in executed.refused:
            raise NotReplayed(self.size + leaves.index(item.raw), f"it may not stand here: {item.why}")
        for at, (found, due) in enumerate(zip_longest(leaves, executed.leaves)):
            if found != due:
                raise NotReplayed(self.size + at, "execution of the log before it gives another leaf")
