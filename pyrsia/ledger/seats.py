"""Who validates: the network's epochs and each validator's chain of beacon links, as the state has them.

Decides what is written when an epoch begins, whom evidence keeps from leading in it, and which link a validator
owes at a view. Which motion begins an epoch is `motions`' business.

Source: docs/ledger.md, "Epochs", "Beacon".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final, NamedTuple

from pyrsia.errors import Malformed
from pyrsia.ledger import beacon, state
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.state import View, load
from pyrsia.units import needed, tolerated
from pyrsia.wire.blocks import rotation
from pyrsia.wire.epochs import Seats, Validator, members_hash
from pyrsia.wire.text import b32, unb32

GENESIS_LEAVES: Final = 2  # block 0 is the genesis and its seal
_KEYS: Final = ("vote", "log", "cosign", "chain_end")
_EPOCHS: Final = 8  # records kept parsed: the current one, and those that evidence or a reader asks for


@dataclass(frozen=True)
class Epoch:
    """Who validates in an epoch, and where it begins.

    Attributes:
        height, size: of the block it starts from, and of the log after that block.
        validators: sorted by vote key; the position is a validator's index.
        convicted: indices of those that lead no view, unless they are more than f.
    """

    number: int
    height: int
    size: int
    validators: tuple[Validator, ...]
    convicted: frozenset[int]

    @property
    def n(self) -> int:
        return len(self.validators)

    @property
    def f(self) -> int:
        return tolerated(self.n)

    @property
    def q(self) -> int:
        return needed(self.n)

    @property
    def leaders(self) -> int:
        """L: how many lead in turn."""
        return self.n - len(self.convicted) if len(self.convicted) <= self.f else self.n

    @cached_property
    def members_hash(self) -> bytes:
        return members_hash(self.validators)

    @cached_property
    def _places(self) -> dict[bytes, int]:
        return {one.node: at for at, one in enumerate(self.validators)}

    def index(self, node: bytes) -> int | None:
        """Index of the validator with this node key, None for others."""
        return self._places.get(node)

    def rotation(self, chain_id: bytes) -> tuple[int, ...]:
        """Indices in the order in which they lead."""
        return rotation(chain_id, self.number, [one.vote for one in self.validators], self.convicted)


class Link(NamedTuple):
    """Where a validator stands in its chains of links.

    Attributes:
        base: its position at view 0 of this epoch. Positions count through all its chains.
        link: the newest one revealed, or the end of its first chain.
        next: the position after that one.
        next_chain: the end of the chain after this one if it has committed to it, else empty.
    """

    base: int
    link: bytes
    next: int
    next_chain: bytes = b""

    def start(self, at: int) -> tuple[bytes, int]:
        """From where the link at position `at` is proven: a link that it leads to, and the position after that.

        Raises:
            Malformed: it lies behind the newest link, or in a chain that nobody knows.
        """
        if at < self.next:
            raise Malformed("its reveal lies behind the newest link")
        if at // beacon.LINKS == self._chain:
            return self.link, self.next
        if at // beacon.LINKS == self._chain + 1 and self.next_chain:
            return self.next_chain, at // beacon.LINKS * beacon.LINKS
        raise Malformed("its chain of links is used up, and it has committed to no next one")

    def lacks_next(self, at: int) -> bool:
        """Whether the chain of position `at` has no successor yet, so that one named there counts."""
        return not self.next_chain or at // beacon.LINKS != self._chain

    def commits(self, at: int, next_chain: bytes) -> bool:
        """Whether `next_chain`, named by a header at position `at`, is the chain that follows from now on."""
        return next_chain != beacon.ZERO and beacon.offers_next(at) and self.lacks_next(at)

    def after(self, at: int, reveal: bytes, next_chain: bytes) -> "Link":
        """With the reveal of a sealed block. `next_chain`: what its header says, or ZERO."""
        following = b"" if self.lacks_next(at) else self.next_chain
        if self.commits(at, next_chain):
            following = next_chain
        return Link(self.base, reveal, at + 1, following)

    @property
    def _chain(self) -> int:
        """Number of the chain that `link` belongs to."""
        return max(self.next - 1, 0) // beacon.LINKS


# -- asked --


def number(view: View) -> int:
    """Number of the current epoch."""
    return int(view.get(state.EPOCH, 0))


def current(view: View) -> Epoch:
    """The epoch in which the next block stands, unless it is a tail."""
    found = of(view, number(view))
    assert found is not None  # noqa: S101  (block 0 wrote the first, `begin` the others)
    return found


def of(view: View, epoch: int) -> Epoch | None:
    """An epoch that has begun, by its number."""
    raw = view.raw(f"epoch/{epoch:016}")
    return None if raw is None else _epoch(epoch, raw)


def seats(view: View) -> Seats:
    """What agreement needs of the current epoch."""
    now = current(view)
    bases = tuple(link(view, one.node).base for one in now.validators)
    return Seats(now.number, now.validators, now.convicted, bases)


def link(view: View, node: bytes) -> Link:
    """Where a validator of the current epoch stands in its chains."""
    record = view.get(f"link/{b32(node)}")
    return Link(
        record["base"],
        bytes.fromhex(record["link"]),
        record["next"],
        bytes.fromhex(record.get("next_chain", "")),
    )


def check_next(view: View, mine: Link, at: int, next_chain: bytes) -> None:
    """Whether a header at position `at` may name the end of its proposer's next chain, which ZERO always may.

    Raises:
        Malformed: it comes too early, or is a key that somebody has or had.
    """
    if next_chain == beacon.ZERO:
        return
    if not beacon.offers_next(at):
        raise Malformed("it names a next chain before the present one is nearly used up")
    if mine.lacks_next(at) and view.raw(f"key/{next_chain.hex()}") is not None:
        raise Malformed("its next chain ends in a key that is or was somebody's")


# -- changed --


def found(view: View, genesis: Genesis) -> None:
    """Block 0: the first epoch."""
    for one in genesis.founders:
        _put_link(view, one.node, Link(0, one.chain_end, 0))
    _put(view, 0, 0, GENESIS_LEAVES, genesis.founders, [])


def reveal(view: View, node: bytes, at: int, revealed: bytes, next_chain: bytes) -> None:
    """A sealed block of this proposer showed the link at position `at`, which the caller has checked."""
    before = link(view, node)
    after = before.after(at, revealed, next_chain)
    if after.next_chain and after.next_chain != before.next_chain:
        view.put(f"key/{after.next_chain.hex()}", b32(node))
    _put_link(view, node, after)


def convict(view: View, vote: bytes, leaf: int) -> None:
    """Evidence against a vote key is on record: from the next epoch on it leads no view."""
    key = f"convict/{vote.hex()}"
    if view.raw(key) is None:
        view.put(key, leaf)


def begin(view: View, validators: Sequence[Validator], *, ended_at: int, height: int, size: int) -> None:
    """The next epoch begins behind this block.

    Args:
        validators: sorted by vote key.
        ended_at: the view of the block; links up to it count as used, revealed or not, and some behind it, which
            blocks of later views may have revealed that were abandoned for a tail.
        height, size: of the block, and of the log after it.
    """
    old = current(view)
    used = ended_at // old.leaders + 1 + beacon.END_MARGIN
    leaving = {one.node: one for one in old.validators}
    for one in validators:
        before = leaving.pop(one.node, None)
        if before is not None and before.chain_end == one.chain_end:
            mine = link(view, one.node)
            _put_link(view, one.node, mine._replace(base=mine.base + used))
        else:
            _put_link(view, one.node, Link(0, one.chain_end, 0))
    for node in leaving:
        view.delete(f"link/{b32(node)}")
    guilty = [b32(one.node) for one in validators if view.raw(f"convict/{one.vote.hex()}") is not None]
    _put(view, old.number + 1, height, size, validators, guilty)


def _put(
    view: View, epoch: int, height: int, size: int, validators: Sequence[Validator], convicted: list[str]
) -> None:
    told = [
        {"node": b32(one.node), **{name: getattr(one, name).hex() for name in _KEYS}} for one in validators
    ]
    record = {"convicted": convicted, "height": height, "size": size, "validators": told}
    view.put(f"epoch/{epoch:016}", record)
    view.put(state.EPOCH, epoch)


def _put_link(view: View, node: bytes, told: Link) -> None:
    record = {"base": told.base, "link": told.link.hex(), "next": told.next}
    if told.next_chain:
        record["next_chain"] = told.next_chain.hex()
    view.put(f"link/{b32(node)}", record)


@lru_cache(_EPOCHS)
def _epoch(number: int, raw: bytes) -> Epoch:
    """By its bytes: the same bytes are the same epoch, whatever the state around them."""
    record: dict[str, Any] = load(raw)
    validators = tuple(
        Validator(unb32(one["node"]), *(bytes.fromhex(one[name]) for name in _KEYS))
        for one in record["validators"]
    )
    guilty = frozenset(record["convicted"])
    convicted = frozenset(at for at, one in enumerate(validators) if b32(one.node) in guilty)
    return Epoch(number, record["height"], record["size"], validators, convicted)
