"""The smallest thing that can be agreed about: a hash-chained counter with a root, whose entries may change the seats.

An entry that begins with `seats` changes who validates from the next block on (it ends its epoch), one that begins
with `fault` marks a vote key whose owner leads no view from the next epoch on; all others only count.
`turn` is the definition: the auditor computes it anew for each final block.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from blake3 import blake3

from pyrsia.consensus.application import BlockRef, Draft, InvalidBlock, Seats, Slot
from pyrsia.wire.blocks import EPOCH_END, NORMAL, Block, Header
from pyrsia.wire.epochs import Validator, members_hash

GENESIS = BlockRef(blake3(b"toy genesis").digest(), 0, 0, 0, 2, blake3(b"toy root").digest(), bytes(32))
SPARE = 2  # seats that may be added to those of genesis
BLOCK_ENTRIES = 50


@lru_cache(maxsize=4096)
def key_of(member: int, turn: int = 0) -> bytes:
    """A member's vote key; `turn` counts the keys that it has had."""
    return b"%016d%016d" % (member, turn)


@lru_cache(maxsize=4096)
def node_of(member: int) -> bytes:
    return b"node%028d" % member


def number_of(node: bytes) -> int:
    return int(node[4:])


def turn_of(vote: bytes) -> int:
    return int(vote[16:])


@lru_cache(maxsize=4096)
def validator(member: int, turn: int = 0) -> Validator:
    end = b"end %028d" % (member * 1000 + turn)
    return Validator(node_of(member), key_of(member, turn), bytes(32), bytes(32), end)


def reveal_of(one: Validator, position: int) -> bytes:
    """The link of a validator's chain; it lies behind nobody's back here, so that any one can check it."""
    return blake3(b"reveal" + one.chain_end + b"%d" % position).digest()


@dataclass(frozen=True, slots=True)
class World:
    """What the entries have made of the network: seats of the epoch of the next block, and vote keys with a fault."""

    seats: Seats
    faults: frozenset[bytes]
    least: int

    @property
    def leaders(self) -> int:
        n, out = len(self.seats.validators), len(self.seats.convicted)
        return n - out if out <= (n - 1) // 3 else n

    def owes(self, proposer: int, view: int) -> bytes:
        """The link that the leader of `view` reveals."""
        seats = self.seats
        return reveal_of(seats.validators[proposer], seats.bases[proposer] + view // self.leaders)


def begin(n: int) -> World:
    """Epoch 0 with n validators; a member's number is its index."""
    seats = Seats(0, tuple(validator(i) for i in range(n)), frozenset(), (0,) * n)
    return World(seats, frozenset(), n)


def reseated(before: World, entry: bytes) -> tuple[Validator, ...] | None:
    """Who validates after an entry `seats + 5`, `seats - 2` or `seats ~ 1 3` (a new key); None if it does not apply."""
    what, who, *key = entry.split(b"#")[0].split()[1:]
    member = int(who)
    now = {number_of(one.node): one for one in before.seats.validators}
    if what == b"+" and member not in now and len(now) < before.least + SPARE:
        now[member] = validator(member)
    elif what == b"-" and member in now and len(now) > before.least:
        del now[member]
    elif what == b"~" and member in now and turn_of(now[member].vote) < int(key[0]):
        now[member] = validator(member, int(key[0]))
    else:
        return None
    return tuple(sorted(now.values(), key=lambda one: one.vote))


def turn(before: World, entries: Sequence[bytes], view: int) -> World | None:
    """What the entries of a block at `view` make of the world; None if they may not stand in one block."""
    faults = before.faults
    for entry in entries:
        if entry.startswith(b"fault "):
            faults |= {entry[6:38]}
    last = entries[-1] if entries else b""
    if any(entry.startswith(b"seats ") for entry in entries[:-1]):
        return None
    if not last.startswith(b"seats "):
        return replace(before, faults=faults) if faults != before.faults else before
    after = reseated(before, last)
    if after is None:
        return None
    old = before.seats
    bases = {
        one.chain_end: base + view // before.leaders + 1
        for one, base in zip(old.validators, old.bases, strict=True)
    }
    convicted = frozenset(i for i, one in enumerate(after) if one.vote in faults)
    seats = Seats(old.epoch + 1, after, convicted, tuple(bases.get(one.chain_end, 0) for one in after))
    return World(seats, faults, before.least)


def execute(
    size: int, root: bytes, beacon: bytes, entries: Sequence[bytes], time_ms: int, reveal: bytes
) -> tuple[int, bytes, bytes]:
    """(tree_size, tree_root, beacon) after a block: a block without entries changes nothing."""
    if not entries:
        return size, root, beacon
    made = blake3(root + b"|".join(entries) + b"%d" % time_ms + reveal).digest()
    return size + len(entries) + 1, made, blake3(beacon + reveal).digest()


@dataclass(frozen=True, slots=True)
class Over:
    """A block that was executed and is not final here yet."""

    ref: BlockRef
    parent: bytes
    entries: tuple[bytes, ...]
    world: World


class Toy:
    """Implements `Application`; what is final survives a crash, overlays and pending entries do not."""

    def __init__(self, n: int = 4, me: int = 0, impure: bool = False) -> None:
        self.final: BlockRef = GENESIS
        self.world = begin(n)
        self.done: set[bytes] = set()
        self.pending: dict[bytes, None] = {}
        self.over: dict[bytes, Over] = {}
        self.impure = impure  # a mutant: the rule asks which machine it runs on
        self.me = me

    # -- agreement's questions --

    def head(self) -> BlockRef:
        return self.final

    def lacks(self, block_hash: bytes) -> str:
        return ""

    def has_work(self, parent: bytes) -> bool:
        if not self.pending:
            return False
        used = self._used(parent)
        return any(entry not in used for entry in self.pending)

    def build(self, parent: bytes, slot: Slot) -> Draft:
        used, at = self._used(parent), self._ref(parent)
        chosen: list[bytes] = []
        for entry in self.pending:
            if entry in used or entry in self.done:
                continue
            if entry.startswith(b"seats "):
                if turn(self._world(parent), (entry,), slot.view) is None:
                    continue
                chosen.append(entry)
                break
            chosen.append(entry)
            if len(chosen) == BLOCK_ENTRIES:
                break
        return self.draft(at, tuple(chosen), slot)

    def draft(self, at: BlockRef, entries: tuple[bytes, ...], slot: Slot) -> Draft:
        before = self._world(at.hash)
        after = turn(before, entries, slot.view) or before
        ends = after.seats.epoch != before.seats.epoch
        members = members_hash(after.seats.validators) if ends else b""
        return Draft(at.height + 1, entries, *self._run(at, entries, slot.time_ms, slot.reveal), members)

    def forge(self, parent: bytes, slot: Slot, rng: random.Random) -> Draft:
        """A liar's block for a slot that has one: executed rightly, with other entries."""
        entries = () if rng.random() < 0.5 else (b"forged %d %d" % (slot.epoch, slot.view),)
        return self.draft(self._ref(parent), entries, slot)

    def check(self, header: Header, entries: tuple[bytes, ...]) -> None:
        at, before = self._ref(header.parent_hash), self._world(header.parent_hash)
        if header.epoch != before.seats.epoch:
            raise InvalidBlock("another epoch")
        if header.reveal != before.owes(header.proposer, header.view):
            raise InvalidBlock("wrong reveal")
        used = self._used(header.parent_hash) | self.done
        if len(set(entries)) != len(entries) or any(e in used for e in entries):
            raise InvalidBlock("an entry twice")
        after = turn(before, entries, header.view)
        if after is None:
            raise InvalidBlock("a change of seats that does not apply, or is not last")
        ends = after.seats.epoch != before.seats.epoch
        if header.kind != (EPOCH_END if ends else NORMAL):
            raise InvalidBlock("it does not say rightly whether it ends the epoch")
        if ends and header.next_members_hash != members_hash(after.seats.validators):
            raise InvalidBlock("it names other next members")
        told = header.tree_size, header.tree_root, header.beacon
        if told != self._run(at, entries, header.time_ms, header.reveal):
            raise InvalidBlock("wrong root")
        ref = BlockRef(
            header.hash(), header.height, header.view, header.time_ms, header.tree_size, header.tree_root,
            header.beacon, header.epoch,
        )  # fmt: skip
        self.over[ref.hash] = Over(ref, header.parent_hash, entries, after)

    def seats(self, block_hash: bytes) -> Seats:
        return self._world(block_hash).seats

    def knows(self, block_hash: bytes) -> bool:
        return block_hash in self.over or block_hash == self.final.hash

    # -- inside --

    def _run(
        self, at: BlockRef, entries: tuple[bytes, ...], time_ms: int, reveal: bytes
    ) -> tuple[int, bytes, bytes]:
        size, root, beacon = execute(at.tree_size, at.tree_root, at.beacon, entries, time_ms, reveal)
        if self.impure and entries:
            root = blake3(root + bytes([self.me % 2])).digest()
        return size, root, beacon

    def _ref(self, block_hash: bytes) -> BlockRef:
        return self.final if block_hash == self.final.hash else self.over[block_hash].ref

    def _world(self, block_hash: bytes) -> World:
        return self.world if block_hash == self.final.hash else self.over[block_hash].world

    def _used(self, block_hash: bytes) -> set[bytes]:
        used: set[bytes] = set()
        while block_hash in self.over:
            at = self.over[block_hash]
            used.update(at.entries)
            block_hash = at.parent
        return used

    # -- the store's part --

    def submit(self, entry: bytes) -> bool:
        """Whether it is news."""
        if entry in self.done:
            return False
        self.pending[entry] = None
        return True

    def finalize(self, block: Block) -> None:
        """What the shell does with each delivered block."""
        at = self.over[block.hash]
        self.final, self.world = at.ref, at.world
        self.done.update(block.body.entries)
        for entry in block.body.entries:
            self.pending.pop(entry, None)
        height = self.final.height
        self.over = {h: o for h, o in self.over.items() if o.ref.height > height}

    def crash(self) -> None:
        self.over.clear()
        self.pending.clear()

    def image(self) -> tuple[object, ...]:
        """A copy of what is on disk."""
        return self.final, self.world, set(self.done)

    def restore(self, image: tuple[object, ...]) -> None:
        self.crash()
        self.final, self.world, self.done = image[0], image[1], set(image[2])  # type: ignore[assignment,call-overload]
