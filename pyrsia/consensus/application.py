"""What agreement needs of the thing agreed about. The ledger's chain implements it; so does the simulator's toy.

Everything here but `has_work`, `build` and `lacks` MUST be a pure function of the chain: no clock, no set order.

Source: docs/agreement.md, "P: when to vote NOT"; docs/ledger.md, "A block".
"""

from dataclasses import dataclass
from typing import Protocol

from pyrsia.errors import PyrsiaError
from pyrsia.wire.blocks import ZERO, Header
from pyrsia.wire.epochs import Seats as Seats


class InvalidBlock(PyrsiaError):
    """A block that breaks a deterministic rule: every honest member refuses it for ever."""


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block that was executed, and the log after it."""

    hash: bytes
    height: int
    view: int
    time_ms: int
    tree_size: int
    tree_root: bytes
    beacon: bytes
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Slot:
    """What the view fixes for the block that its leader builds.

    Attributes:
        next_chain: the end of the proposer's next chain of links, or ZERO.
    """

    epoch: int
    view: int
    proposer: int
    time_ms: int
    reveal: bytes
    next_chain: bytes = ZERO


@dataclass(frozen=True, slots=True)
class Draft:
    """A block's content, executed: agreement adds the rest of the header.

    Attributes:
        next_members: what the header says of the next epoch's validators if the block ends its epoch, else empty.
    """

    height: int
    entries: tuple[bytes, ...]
    tree_size: int
    tree_root: bytes
    beacon: bytes
    next_members: bytes = b""


class Executed(Protocol):
    """What `BlockRef` says, in whatever class the application keeps it."""

    @property
    def hash(self) -> bytes: ...
    @property
    def height(self) -> int: ...
    @property
    def view(self) -> int: ...
    @property
    def time_ms(self) -> int: ...
    @property
    def tree_size(self) -> int: ...
    @property
    def tree_root(self) -> bytes: ...
    @property
    def beacon(self) -> bytes: ...
    @property
    def epoch(self) -> int: ...


class Drafted(Protocol):
    """What `Draft` says, in whatever class the application keeps it."""

    @property
    def height(self) -> int: ...
    @property
    def entries(self) -> tuple[bytes, ...]: ...
    @property
    def tree_size(self) -> int: ...
    @property
    def tree_root(self) -> bytes: ...
    @property
    def beacon(self) -> bytes: ...
    @property
    def next_members(self) -> bytes: ...


class Application(Protocol):
    """MUST remember the outcome of each checked block under its hash until another block of its height is final.

    It never sees a tail: those add nothing, and agreement checks them by itself. It is asked about the children of a
    block that ends its epoch in the turn in which that block becomes final, before the block is written.
    """

    def head(self) -> Executed:
        """The last final block."""
        ...

    def has_work(self, parent: bytes) -> bool:
        """Whether a block on `parent` would change the log: pending entries, a draw or a deadline that is due."""
        ...

    def build(self, parent: bytes, slot: Slot) -> Drafted:
        """Fill and execute a block on `parent`, leaving out entries that no longer apply."""
        ...

    def check(self, header: Header, entries: tuple[bytes, ...]) -> None:
        """Execute a block whose parent was checked before.

        Raises:
            InvalidBlock: it breaks P4 (clock excepted), P5 or P6, or its reveal or beacon is wrong.
        """
        ...

    def seats(self, block_hash: bytes) -> Seats:
        """Who decides on the children of this known block: the next epoch's seats behind one that ends its epoch."""
        ...

    def lacks(self, block_hash: bytes) -> str:
        """Why this software cannot judge a child of this known block, as a sentence; empty if it can."""
        ...

    def knows(self, block_hash: bytes) -> bool:
        """Whether this block was checked and is still remembered."""
        ...
